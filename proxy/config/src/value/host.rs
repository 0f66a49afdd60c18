use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use super::{ValueError, shown};

/// A host's name as requests carry it: a DNS name in lower case (letters, digits and hyphens; RFC 1123 §2.1), or an IP address, IPv6 in brackets (RFC 3986 §3.2.2).
/// Cloning shares the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(Arc<str>);

/// What a [`Hostname`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name that DNS knows.
    Name(&'a str),
    /// An address, which needs no resolution.
    Address(IpAddr),
}

impl Hostname {
    /// The text, lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a name or an address.
    pub fn host(&self) -> Host<'_> {
        match address(&self.0) {
            Some(address) => Host::Address(address),
            None => Host::Name(&self.0),
        }
    }

    /// The name of an address.
    pub fn from_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self(address.to_string().into()),
            IpAddr::V6(address) => Self(format!("[{address}]").into()),
        }
    }
}

fn address(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')?
            .parse::<Ipv6Addr>()
            .ok()
            .map(IpAddr::V6),
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

impl std::str::FromStr for Hostname {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refuse = |why: &str| {
            Err(ValueError(format!(
                "\"{}\" is no host name: {why}",
                shown(text)
            )))
        };
        if let Some(address) = address(text) {
            return Ok(Self::from_address(address));
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return refuse("write an IPv6 address in brackets");
        }
        if text.is_empty() {
            return refuse("it is empty");
        }
        if !text.is_ascii() {
            return refuse("write an international name in its punycode form (xn--…)");
        }
        if text.contains("://") || text.contains('/') {
            return refuse("give the name alone, without scheme or path");
        }
        if text.contains(':') {
            return refuse("give the name alone, without a port");
        }
        if text.ends_with('.') {
            return refuse("leave out the dot at the end");
        }
        if text.contains('*') {
            return refuse(
                "\"*\" may only stand for whole labels at the front, as in \"*.shop.example\"",
            );
        }
        if text.len() > 253 {
            return refuse("it is longer than 253 characters");
        }
        for label in text.split('.') {
            if label.is_empty() {
                return refuse("it has an empty label");
            }
            if label.len() > 63 {
                return refuse("a label is longer than 63 characters");
            }
            if !label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            {
                return refuse("only letters, digits, \"-\" and \".\" may stand in it");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return refuse("a label begins or ends with \"-\"");
            }
        }
        // A name whose last label is a number is read as an IPv4 address by browsers (WHATWG URL, "ends in a number"), and this one is none.
        if text
            .rsplit('.')
            .next()
            .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return refuse("it ends in a number but is no IPv4 address");
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
        &self.0
    }
}

super::as_text!(Hostname, "a host name such as \"www.shop.example\"", {
    "type": "string",
    "pattern": "^([A-Za-z0-9.-]{1,253}|\\[[0-9A-Fa-f:.]+\\])$"
});

/// Which hosts a site answers for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(Hostname),
    /// `*.suffix`: every host with one or more labels before the suffix, but not the suffix itself.
    Wildcard(Hostname),
    /// `*`: every host that no other site answers for.
    Any,
}

impl HostPattern {
    /// Whether a host (lower case, without port) fits.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name.as_str() == host,
            Self::Wildcard(suffix) => host
                .strip_suffix(suffix.as_str())
                .and_then(|front| front.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty()),
            Self::Any => true,
        }
    }
}

impl std::str::FromStr for HostPattern {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let Some(suffix) = text.strip_prefix("*.") else {
            return text.parse().map(Self::Exact);
        };
        let suffix: Hostname = suffix.parse()?;
        match suffix.host() {
            Host::Name(_) => Ok(Self::Wildcard(suffix)),
            Host::Address(_) => Err(ValueError(format!(
                "\"{}\" is no host name: an address has no names below it",
                shown(text)
            ))),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

super::as_text!(HostPattern, "a host name such as \"www.shop.example\", \"*.shop.example\" or \"*\"", {
    "type": "string",
    "pattern": "^(\\*|(\\*\\.)?[A-Za-z0-9.-]{1,253}|\\[[0-9A-Fa-f:.]+\\])$"
});
