//! What a site says about its origin, parsed once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use url::{Host, Url};

use crate::tls::TlsSettings;

/// How are requests spread over a site's servers?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Smooth weighted round robin.
    #[default]
    RoundRobin,
    /// At random, by weight.
    Random,
    /// To the server with the fewest exchanges under way, by weight.
    LeastRequests,
    /// The same client always to the same server (weighted rendezvous hashing), on every node.
    ClientHash,
}

/// Which HTTP version is spoken to the servers?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Http2 {
    /// HTTP/1.1 only.
    #[default]
    Off,
    /// HTTP/2 is offered by ALPN (RFC 9113 §3.2); HTTP/1.1 where the server does not take it, and
    /// for `http` URLs.
    Offered,
    /// HTTP/2 with prior knowledge (RFC 9113 §3.3), for `http` and `https` URLs.
    PriorKnowledge,
}

/// How long may each phase of an exchange take?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Resolution and TCP together, over all addresses of a server.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// From the request sent to a whole response head.
    pub first_byte: Duration,
    /// Between two pieces of a response body.
    pub between_bytes: Duration,
    /// One write of a request.
    pub write: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            tls: Duration::from_secs(5),
            first_byte: Duration::from_secs(30),
            between_bytes: Duration::from_secs(30),
            write: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        }
    }
}

/// A server's URL is not one of `http://host[:port]` or `https://host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{url}' is not the URL of an origin server: {reason}")]
pub struct ServerUrlError {
    url: String,
    reason: &'static str,
}

/// The scheme, host and port of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerUrl {
    tls: bool,
    host: Host<String>,
    port: u16,
}

impl ServerUrl {
    /// A server by its parts. `host` is a name or an address, without brackets.
    ///
    /// # Errors
    /// Where `host` is neither a name nor an address, or the port is 0.
    pub fn new(tls: bool, host: &str, port: u16) -> Result<Self, ServerUrlError> {
        let error = |reason| ServerUrlError {
            url: format!("{host}:{port}"),
            reason,
        };
        if port == 0 {
            return Err(error("port 0 cannot be dialled"));
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let host = match bare.parse::<std::net::Ipv6Addr>() {
            Ok(v6) => Host::Ipv6(v6),
            Err(_) => Host::parse(host).map_err(|_| error("the host is malformed"))?,
        };
        Ok(Self { tls, host, port })
    }

    /// Parses `http://host[:port]` or `https://host[:port]`.
    ///
    /// # Errors
    /// Another scheme; no or a malformed host; a user, path, query or fragment.
    pub fn parse(text: &str) -> Result<Self, ServerUrlError> {
        let error = |reason| ServerUrlError {
            url: text.to_owned(),
            reason,
        };
        let url = Url::parse(text).map_err(|_| error("it does not parse"))?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(error("the scheme is neither http nor https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(error("it must not hold a user or password"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(error("it must end after host and port"));
        }
        let host = url
            .host()
            .ok_or_else(|| error("it has no host"))?
            .to_owned();
        let port = url
            .port_or_known_default()
            .filter(|port| *port != 0)
            .ok_or_else(|| error("port 0 cannot be dialled"))?;
        Ok(Self { tls, host, port })
    }

    /// Whether the server is spoken to over TLS.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The name or address.
    #[must_use]
    pub fn host(&self) -> &Host<String> {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The name as it goes into SNI: without brackets and without a final dot (RFC 6066 §3).
    pub(crate) fn server_name(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.trim_end_matches('.').to_owned(),
            Host::Ipv4(v4) => v4.to_string(),
            Host::Ipv6(v6) => v6.to_string(),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// One server of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Where it is.
    pub url: ServerUrl,
    /// Its share against the others. 0: only where no other server can be used.
    pub weight: u32,
}

/// What a site says about its origin.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// The site's id, for the registry and the log.
    pub site: Arc<str>,
    /// The servers, at least one.
    pub servers: Vec<ServerSettings>,
    /// How requests are spread.
    pub balance: Balance,
    /// What is sent as Host or `:authority`. None: what the request says.
    pub host: Option<HeaderValue>,
    /// The TLS side.
    pub tls: TlsSettings,
    /// The HTTP version.
    pub http2: Http2,
    /// Time limits.
    pub timeouts: Timeouts,
    /// How many further tries a request may have, elsewhere first.
    pub retries: u32,
    /// Exchanges that may be under way with one server. 0: no limit. Idle connections do not
    /// count, so that for HTTP/1.1 this is the number of connections in use.
    pub max_connections: usize,
}

impl PoolSettings {
    /// Settings with every default of the manual, for one or more servers.
    pub fn new(site: impl Into<Arc<str>>, servers: Vec<ServerSettings>) -> Self {
        Self {
            site: site.into(),
            servers,
            balance: Balance::default(),
            host: None,
            tls: TlsSettings::default(),
            http2: Http2::default(),
            timeouts: Timeouts::default(),
            retries: 2,
            max_connections: 0,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, shown) in [
            ("http://origin.example", "http://origin.example:80"),
            ("https://origin.example/", "https://origin.example:443"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            // A literal in any clothes is a literal, so that the guard sees an address.
            ("http://0x7f.1", "http://127.0.0.1:80"),
        ] {
            assert_eq!(ServerUrl::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "origin.example",
            "ftp://origin.example",
            "http://",
            "http://user@origin.example",
            "http://origin.example/path",
            "http://origin.example?x",
            "http://origin.example:0",
            "http://origin.example:99999",
        ] {
            assert!(ServerUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parts() {
        let url = ServerUrl::new(true, "::1", 443).unwrap();
        assert_eq!(url, ServerUrl::parse("https://[::1]").unwrap());
        assert_eq!(url.server_name(), "::1");
        assert!(ServerUrl::new(false, "a b", 80).is_err());
        assert!(ServerUrl::new(false, "origin.example", 0).is_err());
    }
}
