use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::{AccessLog, ByteSize, HttpUrl, Networks};

/// Who the node is: `[node]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSection {
    /// What is the node called, in logs, `Via` and `Cache-Status`? The machine's host name if not given.
    pub name: Option<String>,
    /// What is its PoP called?
    pub pop: String,
    /// How many worker runtimes does it have? 0: one per core.
    pub threads: u16,
    /// Which file holds the token for debuggers? A request with `anypop-debug: <token>` gets key and detail in `Cache-Status`. Nobody does if not given.
    pub debug_token_file: Option<PathBuf>,
    /// Whose `X-Forwarded-For` and `Forwarded` are appended to instead of replaced?
    pub trusted_forwarders: Networks,
}

impl NodeSection {
    /// Default of `pop`.
    pub const POP: &str = "pop";
}

impl Default for NodeSection {
    fn default() -> Self {
        Self {
            name: None,
            pop: Self::POP.into(),
            threads: 0,
            debug_token_file: None,
            trusted_forwarders: Networks::default(),
        }
    }
}

/// A place to listen for clients: `[[listen]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// At which address and port? Required.
    pub address: SocketAddr,
    /// With TLS?
    #[serde(default)]
    pub tls: bool,
    /// With HTTP/2: by ALPN with TLS, by prior knowledge without (RFC 9113 §3)?
    #[serde(default = "yes")]
    pub http2: bool,
    /// From which networks must connections begin with a PROXY protocol header, version 1 or 2? From others it is an error.
    #[serde(default)]
    pub proxy_protocol: Networks,
}

fn yes() -> bool {
    true
}

/// TLS towards clients: `[tls]` in the node's document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NodeTls {
    /// Which version of TLS must clients speak at least?
    pub min_version: TlsVersion,
    /// Which file holds the keys of session tickets? Nodes that share it resume each other's sessions. The first key encrypts, all decrypt; the file is read again when it
    /// changes. If not given, the node makes keys of its own.
    pub ticket_keys: Option<PathBuf>,
    /// May clients resume sessions by tickets?
    pub tickets: bool,
}

impl Default for NodeTls {
    fn default() -> Self {
        Self {
            min_version: TlsVersion::default(),
            ticket_keys: None,
            tickets: true,
        }
    }
}

/// A version of TLS.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[schemars(inline)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V1_3,
}

/// The admin API: `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// At which Unix socket?
    pub socket: PathBuf,
    /// At which TCP address besides? Needs `token_file`.
    pub address: Option<SocketAddr>,
    /// Which file holds the token that callers at the TCP address must show?
    pub token_file: Option<PathBuf>,
}

impl Admin {
    /// Default of `socket`.
    pub const SOCKET: &str = "/run/anypop/admin.sock";
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            socket: Self::SOCKET.into(),
            address: None,
            token_file: None,
        }
    }
}

/// The status stream: `[status]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatusStream {
    /// At which Unix socket?
    pub socket: PathBuf,
}

impl StatusStream {
    /// Default of `socket`.
    pub const SOCKET: &str = "/run/anypop/status.sock";
}

impl Default for StatusStream {
    fn default() -> Self {
        Self {
            socket: Self::SOCKET.into(),
        }
    }
}

/// The cache's tiers: `[cache]` in the node's document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NodeCache {
    /// How much memory may the memory tier take?
    pub memory: ByteSize,
    /// How large may one object in the memory tier be?
    pub max_object: ByteSize,
    /// What is written to disk?
    pub admission: Admission,
    /// Which disks are used?
    pub disk: Vec<DiskTier>,
}

/// What is written to disk: `cache.admission`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Admission {
    /// Everything that is stored.
    Always,
    /// What is asked for again: most of what is fetched never is.
    #[default]
    SecondHit,
}

impl NodeCache {
    /// Default of `memory`.
    pub const MEMORY: ByteSize = ByteSize::mib(512);
    /// Default of `max_object`.
    pub const MAX_OBJECT: ByteSize = ByteSize::mib(64);
}

impl Default for NodeCache {
    fn default() -> Self {
        Self {
            memory: Self::MEMORY,
            max_object: Self::MAX_OBJECT,
            admission: Admission::default(),
            disk: Vec::new(),
        }
    }
}

/// A disk for the cache: `[[cache.disk]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskTier {
    /// In which directory? Only its last part is made if it is missing.
    pub path: PathBuf,
    /// How many bytes may it take?
    pub size: ByteSize,
}

impl DiskTier {
    /// The smallest `size`.
    pub const SMALLEST: ByteSize = ByteSize::mib(16);
}

/// How origins are reached: `[origin]` in the node's document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NodeOrigin {
    /// In which networks may origins be although those are loopback, private, link-local or hold a cloud's metadata service?
    pub allow: Networks,
    /// Which DNS servers resolve origins' names? The system's if none is given.
    pub resolver: Vec<SocketAddr>,
}

/// Logs: `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Where do access log lines go: `stdout`, `off`, `file:/path`, `syslog:/dev/log` or `syslog:host:514`?
    pub access: AccessLog,
    /// How much does the daemon say about itself, on stderr?
    pub level: LogLevel,
    /// How do those lines look?
    pub format: LogFormat,
}

/// How the daemon's own log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogFormat {
    /// Lines for people; with the journal's priorities where stderr goes to the journal.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
}

/// How much the daemon says: this and everything graver.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogLevel {
    /// What an operator must act on.
    Error,
    /// What an operator should look at.
    Warn,
    /// What happened.
    #[default]
    Info,
    /// Why it happened.
    Debug,
    /// Everything.
    Trace,
}

/// Traces: `[tracing]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tracing {
    /// Where do spans go, as OTLP over HTTP? Nowhere if not given.
    pub otlp: Option<HttpUrl>,
    /// Which share of the requests that bring no decision of their own is traced, from 0 to 1?
    #[schemars(range(min = 0, max = 1))]
    pub sample: f64,
}

impl Tracing {
    /// Default of `sample`.
    pub const SAMPLE: f64 = 0.01;
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            otlp: None,
            sample: Self::SAMPLE,
        }
    }
}

/// The sites' documents: `[sites]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sites {
    /// In which directory, one `*.toml` each? Relative to the node document's own folder.
    pub directory: PathBuf,
}

impl Sites {
    /// Default of `directory`.
    pub const DIRECTORY: &str = "sites";
}

impl Default for Sites {
    fn default() -> Self {
        Self {
            directory: Self::DIRECTORY.into(),
        }
    }
}
