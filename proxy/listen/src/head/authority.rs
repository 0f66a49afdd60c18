//! Hosts and ports (RFC 3986 §3.2, narrowed).

use std::net::Ipv6Addr;

/// A host and an optional port, checked and normalised: the host in lower case without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    host: Box<str>,
    port: Option<u16>,
}

impl Authority {
    /// The host in lower case: a DNS name, an IPv4 address or an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, when one was given.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Parses `host`, `host:port`, `192.0.2.1:80` or `[2001:db8::1]:443`; `None` if it is anything else.
    ///
    /// Narrower than RFC 3986: a name has letters, digits, "-", "_" and dots only, labels of 1 to 63 characters, and a port that is
    /// announced by a colon is there. User information is not taken (RFC 9110 §4.2.4).
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        AuthorityRef::parse(bytes).map(AuthorityRef::to_owned)
    }
}

/// The same, borrowed and as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AuthorityRef<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
}

impl<'a> AuthorityRef<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        if let Some(rest) = text.strip_prefix('[') {
            let (inner, after) = rest.split_once(']')?;
            // Only the plain forms: no zone, no future version.
            inner.parse::<Ipv6Addr>().ok()?;
            let host = text.get(..inner.len().checked_add(2)?)?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(parse_port(port)?),
                None if after.is_empty() => None,
                None => return None,
            };
            return Some(Self { host, port });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(parse_port(port)?)),
            None => (text, None),
        };
        is_name(host).then_some(Self { host, port })
    }

    pub(crate) fn to_owned(self) -> Authority {
        let host = self.host.strip_suffix('.').unwrap_or(self.host);
        Authority {
            host: host.to_ascii_lowercase().into_boxed_str(),
            port: self.port,
        }
    }

    /// Whether both name the same host and port; letter case apart, nothing is forgiven.
    pub(crate) fn same(self, other: Self) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(other.host)
    }
}

fn parse_port(text: &str) -> Option<u16> {
    // u16's parser takes a sign, a port has none.
    (!text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

fn is_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}
