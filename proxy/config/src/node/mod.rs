//! The node's sections, and the [`Node`] made of them.

mod limits;
mod sections;

pub use limits::ProxyLimits;
pub use sections::{
    Admin, DiskTier, Listen, Log, LogLevel, NodeCache, NodeOrigin, NodeSection, NodeTls, Sites,
    StatusStream, TlsVersion, Tracing,
};

use crate::value::{Networks, Token};

/// A node's document, checked: every path is absolute, every file that it names could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The node's name.
    pub name: String,
    /// The name of the PoP that it belongs to.
    pub pop: String,
    /// Worker runtimes; 0: one per core.
    pub threads: usize,
    /// What a client shows to get key and detail in `Cache-Status`.
    pub debug_token: Option<Token>,
    /// Whose `X-Forwarded-For` and `Forwarded` are appended to instead of replaced.
    pub trusted_forwarders: Networks,
    /// Where it listens. Never empty; no address twice.
    pub listen: Vec<Listen>,
    /// What clients may ask of it.
    pub limits: ProxyLimits,
    /// TLS towards clients.
    pub tls: NodeTls,
    /// The admin API.
    pub admin: Admin,
    /// What callers of the admin API's TCP address show. There is one exactly when there is an address.
    pub admin_token: Option<Token>,
    /// The status stream.
    pub status: StatusStream,
    /// The cache's tiers.
    pub cache: NodeCache,
    /// How origins are reached.
    pub origin: NodeOrigin,
    /// Logs.
    pub log: Log,
    /// Traces.
    pub tracing: Tracing,
    /// The sites' documents.
    pub sites: Sites,
}
