//! Writing flat JSON objects into a reused buffer: no tree, no allocation for a field.

use std::io::Write as _;
use std::time::Duration;

/// The most bytes of one text that are written; what is cut ends in `…`. Request heads are bounded by `limits.header_bytes`; this bounds a
/// line even where an operator raised that.
pub(super) const TEXT_LIMIT: usize = 16 * 1024;

/// One JSON object being written to the end of a buffer. The closing brace is written by [`Object::end`].
#[derive(Debug)]
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens an object.
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Closes it.
    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    /// Keys are this program's own words and need no escaping.
    fn key(&mut self, key: &'static str) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A text whose bytes may be anything; an empty one is left out.
    pub(super) fn text(&mut self, key: &'static str, value: &[u8]) {
        if !value.is_empty() {
            self.key(key);
            string(self.out, value);
        }
    }

    /// A text of this program's own, free of quotes, backslashes and control characters; an empty one is left out.
    pub(super) fn word(&mut self, key: &'static str, value: &[u8]) {
        if !value.is_empty() {
            self.key(key);
            self.out.push(b'"');
            self.out.extend_from_slice(value);
            self.out.push(b'"');
        }
    }

    /// A value as its `Display` writes it, in quotes: for addresses and the like, which never need escaping.
    pub(super) fn display(&mut self, key: &'static str, value: impl std::fmt::Display) {
        self.key(key);
        // Writing into a vector cannot fail.
        let _ = write!(self.out, "\"{value}\"");
    }

    /// A whole number.
    pub(super) fn number(&mut self, key: &'static str, value: u64) {
        self.key(key);
        number(self.out, value);
    }

    /// A whole number, with its sign.
    pub(super) fn signed(&mut self, key: &'static str, value: i64) {
        self.key(key);
        if value < 0 {
            self.out.push(b'-');
        }
        number(self.out, value.unsigned_abs());
    }

    /// A duration in seconds with six decimals.
    pub(super) fn seconds(&mut self, key: &'static str, value: Duration) {
        self.key(key);
        number(self.out, value.as_secs());
        let mut decimals = *b".000000";
        let mut micros = value.subsec_micros();
        for place in decimals[1..].iter_mut().rev() {
            // The remainder is below ten.
            *place = b'0' + (micros % 10) as u8;
            micros /= 10;
        }
        self.out.extend_from_slice(&decimals);
    }

    /// `true`; false is left out.
    pub(super) fn flag(&mut self, key: &'static str, value: bool) {
        if value {
            self.key(key);
            self.out.extend_from_slice(b"true");
        }
    }
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // The remainder is below ten; twenty digits hold every u64.
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes `bytes` as a JSON string (RFC 8259 §7). Each maximal run of bytes that is not UTF-8 becomes `\ufffd`, and control characters,
/// DEL and the C1 range included, become `\u00XX`: a terminal that shows the log cannot be steered by a client.
pub(super) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let (shown, cut) = match bytes.get(..TEXT_LIMIT) {
        Some(head) if bytes.len() > TEXT_LIMIT => (&head[..head.floor_char()], true),
        _ => (bytes, false),
    };
    out.push(b'"');
    let plain = shown
        .iter()
        .position(|&byte| !is_plain(byte))
        .unwrap_or(shown.len());
    let (head, rest) = shown.split_at(plain);
    out.extend_from_slice(head);
    for chunk in rest.utf8_chunks() {
        escape(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    if cut {
        out.extend_from_slice("…".as_bytes());
    }
    out.push(b'"');
}

/// Bytes that stand for themselves: printable ASCII but for the quote and the backslash.
fn is_plain(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'
}

fn escape(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            // Line separators are legal in JSON but end a line for some readers.
            control if control.is_control() || matches!(control, '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            plain => out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Cutting without splitting a character.
trait FloorChar {
    /// The length without the bytes of a character whose end is missing.
    fn floor_char(&self) -> usize;
}

impl FloorChar for [u8] {
    fn floor_char(&self) -> usize {
        // At most three bytes of a character can stand before the one that is missing.
        for back in 1..=self.len().min(3) {
            let at = self.len() - back;
            match self[at] {
                0x80..=0xbf => {}
                0xc0.. => return at,
                _ => break,
            }
        }
        self.len()
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
    use proptest::prelude::*;

    use super::*;

    fn written(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        string(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts() {
        for (bytes, json) in [
            (&b"/plain?a=b"[..], r#""/plain?a=b""#),
            (b"", r#""""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (
                b"\n\r\t\x00\x1b[31m\x7f",
                r#""\n\r\t\u0000\u001b[31m\u007f""#,
            ),
            ("é\u{2028}\u{85}😀".as_bytes(), "\"é\\u2028\\u0085😀\""),
            (b"a\xffb\xe2\x82c", r#""a\ufffdb\ufffdc""#),
        ] {
            assert_eq!(written(bytes), json);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "é".repeat(TEXT_LIMIT);
        let odd = format!("x{long}");
        for text in [&long, &odd] {
            let back: String = serde_json::from_str(&written(text.as_bytes())).unwrap();
            assert!(back.len() <= TEXT_LIMIT + '…'.len_utf8());
            assert!(back.ends_with("é…"), "no half character");
        }
        let exact = "x".repeat(TEXT_LIMIT);
        assert_eq!(
            serde_json::from_str::<String>(&written(exact.as_bytes())).unwrap(),
            exact
        );
    }

    #[test]
    fn numbers() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.number("a", 0);
        object.number("b", u64::MAX);
        object.signed("c", i64::MIN);
        object.seconds("d", Duration::from_micros(1_000_042));
        object.flag("e", false);
        object.flag("f", true);
        object.end();
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            r#"{"a":0,"b":18446744073709551615,"c":-9223372036854775808,"d":1.000042,"f":true}"#
        );
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_line_that_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let json = written(&bytes);
            prop_assert!(!json.contains('\n'));
            let back: String = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(back, String::from_utf8_lossy(&bytes));
        }
    }
}
