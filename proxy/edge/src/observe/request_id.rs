//! Request ids: what ties a line of the log to what a client or an origin saw.

use super::trace::hex_into;

/// The most characters of an id that a trusted client may choose.
pub const LONGEST: usize = 64;

/// A request's id: 128 random bits in hexadecimal, or what a trusted client sent. Letters, digits, `.`, `_` and `-` only, so that it can
/// stand in a header field, a log and a URL as it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    text: [u8; LONGEST],
    length: u8,
}

impl RequestId {
    /// A new random id.
    pub fn random() -> Self {
        Self::from_bits(rand::random())
    }

    /// The id of 128 given bits.
    pub fn from_bits(bits: [u8; 16]) -> Self {
        let mut text = [0; LONGEST];
        hex_into(&bits, &mut text[..32]);
        Self { text, length: 32 }
    }

    /// An id as a client sent it. Whether the client may choose ids (`node.trusted_forwarders`) is the caller's question. `None` when it is
    /// empty, longer than [`LONGEST`] or holds other characters: the caller then makes a new one.
    pub fn parse(sent: &[u8]) -> Option<Self> {
        let allowed =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if sent.is_empty() || !sent.iter().all(allowed) {
            return None;
        }
        let mut text = [0; LONGEST];
        text.get_mut(..sent.len())?.copy_from_slice(sent);
        Some(Self {
            text,
            length: u8::try_from(sent.len()).ok()?,
        })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever stored, and the length never exceeds the array.
        self.text
            .get(..usize::from(self.length))
            .and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or_default()
    }
}

impl Default for RequestId {
    /// The empty id.
    fn default() -> Self {
        Self {
            text: [0; LONGEST],
            length: 0,
        }
    }
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "RequestId({})", self.as_str())
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests"
    )]
    use super::*;

    #[test]
    fn random_ids_are_hexadecimal_and_differ() {
        let (one, two) = (RequestId::random(), RequestId::random());
        assert_ne!(one, two);
        assert_eq!(one.as_str().len(), 32);
        assert!(
            one.as_str()
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        );
    }

    #[test]
    fn chosen_ids() {
        let longest = "x".repeat(LONGEST);
        for good in ["a", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "a-b_c.d", &longest] {
            assert_eq!(RequestId::parse(good.as_bytes()).unwrap().as_str(), good);
        }
        let long = "x".repeat(LONGEST + 1);
        for bad in ["", "a b", "a\"b", "é", "a\r\nb", &long] {
            assert!(RequestId::parse(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }
}
