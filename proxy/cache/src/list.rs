//! Comma-separated lists (RFC 9110 §5.6.1) with quoted strings (§5.6.4), on bytes.

/// The elements of one field line: split at commas outside quoted strings, trimmed, empty elements
/// skipped.
///
/// A quoted string that never ends swallows the rest of the line; [`Elements::unterminated`] tells
/// so after the last element.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
    unterminated: bool,
}

impl<'a> Elements<'a> {
    /// The elements of `line`.
    #[must_use]
    pub fn new(line: &'a [u8]) -> Self {
        Self {
            rest: line,
            unterminated: false,
        }
    }

    /// Whether a quoted string was still open at the end of the line.
    #[must_use]
    pub fn unterminated(&self) -> bool {
        self.unterminated
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (end, open) = element_end(self.rest);
            let (element, tail) = self.rest.split_at(end);
            self.rest = tail.get(1..).unwrap_or_default();
            self.unterminated = open;
            let element = trim(element);
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// Where the first element ends, and whether a quoted string was open there.
fn element_end(bytes: &[u8]) -> (usize, bool) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return (at, false),
            _ => {}
        }
    }
    (bytes.len(), quoted)
}

/// Without spaces and tabs at both ends (OWS, RFC 9110 §5.6.3).
#[must_use]
pub fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', tail @ ..] = bytes {
        bytes = tail;
    }
    while let [head @ .., b' ' | b'\t'] = bytes {
        bytes = head;
    }
    bytes
}

/// The inside of a quoted string without escapes; `None` if `bytes` is not exactly one quoted
/// string or has an escape, which no field that this crate reads needs.
#[must_use]
pub fn unquote(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'"') && !inner.contains(&b'\\') => {
            Some(inner)
        }
        _ => None,
    }
}

/// Whether `byte` may stand in a token (RFC 9110 §5.6.2).
#[must_use]
pub fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether `bytes` is a token.
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| is_tchar(*b))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(line: &str) -> Vec<String> {
        Elements::new(line.as_bytes())
            .map(|e| String::from_utf8_lossy(e).into_owned())
            .collect()
    }

    #[test]
    fn splits_outside_quotes_only() {
        assert_eq!(all("a, b ,,\tc"), ["a", "b", "c"]);
        assert_eq!(all(r#"a="x, y", b"#), [r#"a="x, y""#, "b"]);
        assert_eq!(all(r#"a="x\", y", b"#), [r#"a="x\", y""#, "b"]);
        assert_eq!(all(""), Vec::<String>::new());
        let mut open = Elements::new(br#"a, b="x, c"#);
        assert_eq!(open.by_ref().count(), 2);
        assert!(open.unterminated());
    }

    #[test]
    fn unquotes_only_whole_plain_strings() {
        assert_eq!(unquote(br#""a b""#), Some(&b"a b"[..]));
        for bad in [&br#"""#[..], b"a", br#""a"b"#, br#""a\b""#, br#""a"b""#] {
            assert_eq!(unquote(bad), None);
        }
    }

    proptest! {
        #[test]
        fn elements_never_panic_and_are_trimmed(line: Vec<u8>) {
            for element in Elements::new(&line) {
                prop_assert!(!element.is_empty());
                prop_assert_eq!(trim(element), element);
            }
        }
    }
}
