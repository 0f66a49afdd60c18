use std::fmt;

use super::{Host, Hostname, ValueError, shown};

/// How an origin is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// 80 or 443.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An origin server's address: `http` or `https`, a host, perhaps a port; no path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerUrl {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Name or address.
    pub host: Hostname,
    /// The port, the scheme's own if the URL has none.
    pub port: u16,
}

impl ServerUrl {
    /// Host and port as they stand in a `Host` field: the port only if it isn't the scheme's own.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether the host is a name or an address.
    pub fn target(&self) -> Host<'_> {
        self.host.host()
    }
}

impl std::str::FromStr for ServerUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refuse = |why: &str| ValueError(format!("\"{}\" is no origin: {why}", shown(text)));
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| refuse("write a URL such as \"https://origin.shop.example\""))?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(refuse("only http and https origins can be asked")),
        };
        // One slash at the end is what people copy from a browser, and means nothing.
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(refuse("it must not have a path; requests keep their own"));
        }
        if authority.contains('@') {
            return Err(refuse("it must not have a user or password"));
        }
        let end_of_host = if authority.starts_with('[') {
            authority.find(']').map_or(authority.len(), |at| at + 1)
        } else {
            authority.find(':').unwrap_or(authority.len())
        };
        let (host, port) = authority
            .split_at_checked(end_of_host)
            .unwrap_or((authority, ""));
        let host: Hostname = host.parse()?;
        let port = match port {
            "" => scheme.default_port(),
            _ => port
                .strip_prefix(':')
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|port| *port != 0)
                .ok_or_else(|| refuse("its port is no number from 1 to 65535"))?,
        };
        Ok(Self { scheme, host, port })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

super::as_text!(ServerUrl, "an origin such as \"https://origin.shop.example\"", {
    "type": "string",
    "pattern": "^https?://[^/?#@]+/?$"
});

/// The URL of a service that this node sends something to: `http` or `https`, with any path and query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpUrl(url::Url);

impl HttpUrl {
    /// The URL. It has a host, and no user or password.
    pub fn as_url(&self) -> &url::Url {
        &self.0
    }
}

impl std::str::FromStr for HttpUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refuse = |why: &str| ValueError(format!("\"{}\" is no URL: {why}", shown(text)));
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err(refuse("it must begin with http:// or https://"));
        }
        let url = url::Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("it must not have a user or password"));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

super::as_text!(HttpUrl, "a URL such as \"http://127.0.0.1:4318/v1/traces\"", { "type": "string", "pattern": "^https?://" });
