//! What `Cache-Status` and `Proxy-Status` have in common: members of a structured-field list (RFC
//! 9651), appended to what upstream sent.

use std::borrow::Cow;
use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{
    KeyRef, List, ListSerializer, ParameterSerializer, Parser, RefBareItem, StringRef, TokenRef,
};

/// A list member under construction.
pub(crate) struct Member<'b>(ParameterSerializer<&'b mut String>);

impl Member<'_> {
    pub(crate) fn flag(self, key: &'static str, set: bool) -> Self {
        if set {
            self.put(key, RefBareItem::Boolean(true))
        } else {
            self
        }
    }

    pub(crate) fn integer(self, key: &'static str, value: Option<i64>) -> Self {
        // Structured fields have 15 digits; no status, length or lifetime needs more.
        let value = value.map(|v| v.clamp(-999_999_999_999_999, 999_999_999_999_999));
        match value.and_then(|v| sfv::Integer::try_from(v).ok()) {
            Some(value) => self.put(key, RefBareItem::Integer(value)),
            None => self,
        }
    }

    pub(crate) fn token(self, key: &'static str, value: Option<&str>) -> Self {
        match value.and_then(|v| TokenRef::from_str(v).ok()) {
            Some(value) => self.put(key, RefBareItem::Token(value)),
            None => self,
        }
    }

    pub(crate) fn string(self, key: &'static str, value: Option<&str>) -> Self {
        let Some(value) = value else { return self };
        let ascii = printable(value);
        match StringRef::from_str(&ascii) {
            Ok(value) => self.put(key, RefBareItem::String(value)),
            Err(_) => self,
        }
    }

    /// A token where it is one, else a string: both are allowed for `detail` and for names of
    /// caches.
    pub(crate) fn token_or_string(self, key: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(text) if TokenRef::from_str(text).is_ok() => self.token(key, value),
            _ => self.string(key, value),
        }
    }

    fn put(self, key: &'static str, value: RefBareItem<'_>) -> Self {
        match KeyRef::from_str(key) {
            Ok(key) => Self(self.0.parameter(key, value)),
            Err(_) => self,
        }
    }
}

/// Renders one member named `name` (a token, or else a string) with its parameters.
pub(crate) fn member(name: &str, parameters: impl FnOnce(Member<'_>)) -> String {
    let mut serializer = ListSerializer::new();
    let ascii = printable(name);
    match (TokenRef::from_str(name), StringRef::from_str(&ascii)) {
        (Ok(token), _) => parameters(Member(serializer.bare_item(token))),
        (_, Ok(string)) => parameters(Member(serializer.bare_item(string))),
        _ => {}
    }
    serializer.finish().unwrap_or_default()
}

/// Appends a member after those of upstream. An upstream value that is empty or no structured list
/// goes, or it would take ours with it.
pub(crate) fn append(headers: &mut HeaderMap, name: HeaderName, member: &str) {
    let lines: Vec<&[u8]> = headers
        .get_all(&name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let members = Parser::new(&lines.join(&b", "[..]))
        .parse::<List>()
        .map_or(0, |list| list.len());
    if members == 0 {
        headers.remove(&name);
    }
    // Structured fields are printable ASCII, so the conversion cannot fail.
    if let Ok(value) = HeaderValue::from_str(member) {
        // A header that is full (32,768 fields) does without.
        let _ = headers.try_append(name, value);
    }
}

/// A structured-field string holds printable ASCII only (RFC 9651 §3.3.3); other bytes are shown
/// percent-encoded.
fn printable(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if (0x20..0x7f).contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Cow::Owned(out)
}
