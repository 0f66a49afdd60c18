use std::{fmt, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::{Hostname, ServerUrl, duration};

/// Where a site's content comes from, as the document has it: `[origin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["servers"]))]
pub struct OriginSection {
    /// Which servers are asked? At least one is needed.
    #[schemars(length(min = 1))]
    pub servers: Vec<Server>,
    /// Which of them is asked first: `round-robin`, `random`, `least-requests` or `client-hash`?
    pub balance: Balance,
    /// Which `Host` (`:authority` in HTTP/2) is sent to them? The client's if not given.
    pub host: Option<Hostname>,
    /// Which name is asked for in TLS and expected in the certificate? The host of the server's URL if not given.
    pub sni: Option<Hostname>,
    /// Must their certificates be valid?
    pub verify: bool,
    /// Which PEM file holds the authorities that their certificates are verified against? The system's if not given.
    pub ca: Option<PathBuf>,
    /// Which PEM file holds the certificate that is shown to them? None is shown if not given.
    pub client_certificate: Option<PathBuf>,
    /// Which PEM file holds its private key?
    pub client_key: Option<PathBuf>,
    /// Is HTTP/2 spoken: `true` offers it by ALPN to https servers, `"h2c"` speaks it by prior knowledge with http servers?
    pub http2: OriginHttp2,
    /// How long may a TCP connection take to open?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub connect_timeout: Duration,
    /// How long may the TLS handshake take?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub tls_timeout: Duration,
    /// How long may the first byte of a response take, from the end of the request?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub first_byte_timeout: Duration,
    /// How long may pass between two pieces of a response?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub between_bytes_timeout: Duration,
    /// How long may writing a request make no progress?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub write_timeout: Duration,
    /// How long is an idle connection kept for the next request?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub idle_timeout: Duration,
    /// How many further tries does an idempotent request get? Other addresses come first.
    pub retries: u32,
    /// How many connections may be open to each server? 0: no limit.
    pub max_connections: u32,
    /// How is the client named to the origin: `x-forwarded` (`X-Forwarded-For`, `-Host`, `-Proto`), `forwarded` (RFC 7239), `both` or `none`?
    pub forwarded: ForwardedStyle,
}

impl OriginSection {
    /// Default of `connect_timeout`.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
    /// Default of `tls_timeout`.
    pub const TLS_TIMEOUT: Duration = Duration::from_secs(5);
    /// Default of `first_byte_timeout`.
    pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(30);
    /// Default of `between_bytes_timeout`.
    pub const BETWEEN_BYTES_TIMEOUT: Duration = Duration::from_secs(30);
    /// Default of `write_timeout`.
    pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
    /// Default of `idle_timeout`.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
    /// Default of `retries`.
    pub const RETRIES: u32 = 2;
}

impl OriginSection {
    /// The checked origin, with the paths made absolute.
    pub(crate) fn into_origin(
        self,
        ca: Option<PathBuf>,
        client_identity: Option<(PathBuf, PathBuf)>,
    ) -> Origin {
        Origin {
            servers: self.servers.into(),
            balance: self.balance,
            host: self.host,
            sni: self.sni,
            verify: self.verify,
            ca,
            client_identity,
            http2: self.http2,
            connect_timeout: self.connect_timeout,
            tls_timeout: self.tls_timeout,
            first_byte_timeout: self.first_byte_timeout,
            between_bytes_timeout: self.between_bytes_timeout,
            write_timeout: self.write_timeout,
            idle_timeout: self.idle_timeout,
            retries: self.retries,
            max_connections: self.max_connections,
            forwarded: self.forwarded,
        }
    }
}

impl Default for OriginSection {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            balance: Balance::default(),
            host: None,
            sni: None,
            verify: true,
            ca: None,
            client_certificate: None,
            client_key: None,
            http2: OriginHttp2::default(),
            connect_timeout: Self::CONNECT_TIMEOUT,
            tls_timeout: Self::TLS_TIMEOUT,
            first_byte_timeout: Self::FIRST_BYTE_TIMEOUT,
            between_bytes_timeout: Self::BETWEEN_BYTES_TIMEOUT,
            write_timeout: Self::WRITE_TIMEOUT,
            idle_timeout: Self::IDLE_TIMEOUT,
            retries: Self::RETRIES,
            max_connections: 0,
            forwarded: ForwardedStyle::default(),
        }
    }
}

/// One of a site's servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Where is it? `http` or `https`, a host, perhaps a port; no path. Required.
    pub url: ServerUrl,
    /// How many requests does it get beside the others? At least 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// Which server is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Balance {
    /// One after the other, by weight.
    #[default]
    RoundRobin,
    /// Any, by weight.
    Random,
    /// The one with the fewest requests in flight, by weight.
    LeastRequests,
    /// The same one for the same client address, by weight.
    ClientHash,
}

/// How a client is named to the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum ForwardedStyle {
    /// `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// Both of them.
    Both,
    /// Not at all; what clients send of the kind is removed.
    None,
}

/// Whether HTTP/2 is spoken with the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OriginHttp2 {
    /// No: `false`.
    #[default]
    Off,
    /// Offered by ALPN to https servers: `true`.
    Alpn,
    /// By prior knowledge with http servers (RFC 9113 §3.3): `"h2c"`.
    PriorKnowledge,
}

impl Serialize for OriginHttp2 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::Alpn => serializer.serialize_bool(true),
            Self::PriorKnowledge => serializer.serialize_str("h2c"),
        }
    }
}

impl<'de> Deserialize<'de> for OriginHttp2 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;
        impl serde::de::Visitor<'_> for Choice {
            type Value = OriginHttp2;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or \"h2c\"")
            }
            fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<OriginHttp2, E> {
                Ok(if on {
                    OriginHttp2::Alpn
                } else {
                    OriginHttp2::Off
                })
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<OriginHttp2, E> {
                if text == "h2c" {
                    Ok(OriginHttp2::PriorKnowledge)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
                }
            }
        }
        deserializer.deserialize_any(Choice)
    }
}

impl JsonSchema for OriginHttp2 {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OriginHttp2".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "enum": [true, false, "h2c"] })
    }
}

/// Where a site's content comes from, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The servers. Never empty; no weight is 0.
    pub servers: Box<[Server]>,
    /// Which is asked first.
    pub balance: Balance,
    /// The `Host` to send; the client's if none.
    pub host: Option<Hostname>,
    /// The name to ask for in TLS; the host of the server's URL if none.
    pub sni: Option<Hostname>,
    /// Whether certificates must be valid.
    pub verify: bool,
    /// The authorities' PEM file. Absolute; the system's if none.
    pub ca: Option<PathBuf>,
    /// The PEM files of the certificate to show and of its key. Absolute.
    pub client_identity: Option<(PathBuf, PathBuf)>,
    /// Whether HTTP/2 is spoken.
    pub http2: OriginHttp2,
    /// For a TCP connection to open.
    pub connect_timeout: Duration,
    /// For the TLS handshake.
    pub tls_timeout: Duration,
    /// For the first byte of a response, from the end of the request.
    pub first_byte_timeout: Duration,
    /// Between two pieces of a response.
    pub between_bytes_timeout: Duration,
    /// For writing a request without progress.
    pub write_timeout: Duration,
    /// For an idle connection to be kept.
    pub idle_timeout: Duration,
    /// Further tries of an idempotent request.
    pub retries: u32,
    /// Connections to each server; 0: no limit.
    pub max_connections: u32,
    /// How the client is named.
    pub forwarded: ForwardedStyle,
}
