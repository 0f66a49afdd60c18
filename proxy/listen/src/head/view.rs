//! A parsed head, to look at.

use super::authority::AuthorityRef;
use super::fields::BodyLength;
use super::parse::Parsed;
use super::{Authority, FieldSpan};

/// The HTTP version of an HTTP/1 request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// The scheme of a target in absolute form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// http
    Http,
    /// https
    Https,
}

/// A parsed request head, borrowed from the connection's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    bytes: &'a [u8],
    parsed: &'a Parsed,
    spans: &'a [FieldSpan],
}

impl Parsed {
    /// Shows the head; `bytes` and `spans` are those it was parsed from and into.
    pub fn view<'a>(&'a self, bytes: &'a [u8], spans: &'a [FieldSpan]) -> Head<'a> {
        Head {
            bytes,
            parsed: self,
            spans,
        }
    }
}

impl<'a> Head<'a> {
    /// The method, a token as it was sent.
    pub fn method(&self) -> &'a str {
        text(self.parsed.method.of(self.bytes))
    }

    /// Path and query in origin form, or "*". An absolute target without a path has "/".
    pub fn path(&self) -> &'a str {
        match text(self.parsed.path.of(self.bytes)) {
            "" => "/",
            path => path,
        }
    }

    /// The scheme of a target in absolute form.
    pub fn scheme(&self) -> Option<Scheme> {
        self.parsed.scheme
    }

    /// The host as it was sent, without port; IPv6 addresses have their brackets.
    pub fn host(&self) -> &'a str {
        self.authority_ref().map_or("", |authority| authority.host)
    }

    /// The port of `Host`, if it has one.
    pub fn port(&self) -> Option<u16> {
        self.authority_ref().and_then(|authority| authority.port)
    }

    /// Host and port as they were sent.
    pub fn authority_bytes(&self) -> &'a [u8] {
        self.parsed.host.of(self.bytes)
    }

    /// Host and port, normalised.
    pub fn authority(&self) -> Option<Authority> {
        self.authority_ref().map(AuthorityRef::to_owned)
    }

    fn authority_ref(&self) -> Option<AuthorityRef<'a>> {
        AuthorityRef::parse(self.parsed.host.of(self.bytes))
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.parsed.version
    }

    /// How long the body is.
    pub fn body(&self) -> BodyLength {
        self.parsed.body
    }

    /// Whether the client lets the connection live on (RFC 9112 §9.3).
    pub fn keep_alive(&self) -> bool {
        let meaning = &self.parsed.meaning;
        match self.parsed.version {
            Version::Http11 => !meaning.close,
            Version::Http10 => meaning.keep_alive && !meaning.close,
        }
    }

    /// Whether the client waits for "100 Continue" before its body (RFC 9110 §10.1.1). Not in HTTP/1.0.
    pub fn expects_continue(&self) -> bool {
        self.parsed.meaning.expect_continue && self.parsed.version == Version::Http11
    }

    /// Whether the client asks for another protocol (RFC 9110 §7.8).
    pub fn is_upgrade(&self) -> bool {
        let meaning = &self.parsed.meaning;
        meaning.upgrade && meaning.connection_upgrade && self.parsed.version == Version::Http11
    }

    /// Whether the client takes trailers (RFC 9110 §10.1.4).
    pub fn takes_trailers(&self) -> bool {
        self.parsed.meaning.te_trailers
    }

    /// The fields in order: names as sent, values without surrounding white space.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let bytes = self.bytes;
        self.spans
            .iter()
            .map(move |field| (text(field.name.of(bytes)), field.value.of(bytes)))
    }

    /// The value of the first field of that name, letter case apart.
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn spans(&self) -> &'a [FieldSpan] {
        self.spans
    }
}

/// What is called has been checked to be ASCII.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
