//! Heads and trailers in the order they came, with the pseudo-headers (`:method`, `:status` …) among them, as
//! guests expect.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// An ordered list of names and values; names are lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    pairs: Vec<(Bytes, Bytes)>,
}

impl Fields {
    /// No fields: trailers begin so.
    pub fn new() -> Self {
        Self::default()
    }

    /// A request's head. `authority` is Host or `:authority`; a `host` among `headers` is left out, since
    /// guests see it as `:authority`. `path` is the path with its query.
    pub fn request(
        method: &str,
        scheme: &str,
        authority: &str,
        path: &str,
        headers: &HeaderMap,
    ) -> Self {
        let mut pairs = Vec::with_capacity(headers.len() + 4);
        for (name, value) in [
            (":authority", authority),
            (":path", path),
            (":method", method),
            (":scheme", scheme),
        ] {
            pairs.push((
                Bytes::copy_from_slice(name.as_bytes()),
                Bytes::copy_from_slice(value.as_bytes()),
            ));
        }
        let mut fields = Self { pairs };
        fields.extend(headers, |name| name != http::header::HOST);
        fields
    }

    /// A response's head.
    pub fn response(status: u16, headers: &HeaderMap) -> Self {
        let mut pairs = Vec::with_capacity(headers.len() + 1);
        pairs.push((
            Bytes::from_static(b":status"),
            Bytes::from(status.to_string()),
        ));
        let mut fields = Self { pairs };
        fields.extend(headers, |_| true);
        fields
    }

    /// Trailers, or any other plain list.
    pub fn plain(headers: &HeaderMap) -> Self {
        let mut fields = Self::default();
        fields.extend(headers, |_| true);
        fields
    }

    fn extend(&mut self, headers: &HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
        for (name, value) in headers {
            if keep(name) {
                self.pairs.push((
                    Bytes::copy_from_slice(name.as_str().as_bytes()),
                    Bytes::copy_from_slice(value.as_bytes()),
                ));
            }
        }
    }

    /// The first value of `name`, whatever its case; `host` is `:authority`.
    pub fn value(&self, name: &[u8]) -> Option<&Bytes> {
        let name = alias(name);
        self.pairs
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The first value of `name` as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name.as_bytes())
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The response's status, if there is one.
    pub fn status(&self) -> Option<u16> {
        self.text(":status")?.parse().ok()
    }

    /// The request's method; empty in a response.
    pub fn method(&self) -> &str {
        self.text(":method").unwrap_or_default()
    }

    /// The request's path with its query; empty in a response.
    pub fn path(&self) -> &str {
        self.text(":path").unwrap_or_default()
    }

    /// The request's authority; empty in a response.
    pub fn authority(&self) -> &str {
        self.text(":authority").unwrap_or_default()
    }

    /// All pairs in order, pseudo-headers too.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.pairs
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Names and values together, in bytes.
    pub fn size(&self) -> usize {
        self.pairs
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }

    /// Everything but the pseudo-headers, for Pingora and hyper. What is no header there is left out; what the
    /// guards let through always is one.
    pub fn to_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.pairs.len());
        for (name, value) in self
            .pairs
            .iter()
            .filter(|(name, _)| !name.starts_with(b":"))
        {
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name),
                HeaderValue::from_maybe_shared(value.clone()),
            ) {
                headers.append(name, value);
            }
        }
        headers
    }

    pub(crate) fn push(&mut self, name: Bytes, value: Bytes) {
        self.pairs.push((name, value));
    }

    /// Sets `name` in place of its first value, drops its others, or adds it at the end.
    pub(crate) fn set(&mut self, name: Bytes, value: Bytes) {
        match self.pairs.iter().position(|(n, _)| *n == name) {
            Some(first) => {
                let mut index = 0;
                self.pairs.retain(|(n, _)| {
                    index += 1;
                    index - 1 <= first || *n != name
                });
                if let Some(pair) = self.pairs.get_mut(first) {
                    pair.1 = value;
                }
            }
            None => self.pairs.push((name, value)),
        }
    }

    pub(crate) fn remove(&mut self, name: &[u8]) {
        self.pairs.retain(|(n, _)| n != name);
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        self.pairs.retain(|(name, _)| keep(name));
    }
}

/// Guests written for HTTP/1 ask for `host`.
pub(crate) fn alias(name: &[u8]) -> &[u8] {
    if name.eq_ignore_ascii_case(b"host") {
        b":authority"
    } else {
        name
    }
}
