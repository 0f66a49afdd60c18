//! The node's sections, and the [`Node`] made of them.

mod limits;
mod sections;

pub use limits::ProxyLimits;
pub use sections::{
    Admin, Admission, DiskTier, Listen, Log, LogFormat, LogLevel, NodeCache, NodeOrigin,
    NodeSection, NodeTls, Sites, StatusStream, TlsVersion, Tracing,
};

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{
    check::{Checker, check_node, machine_name},
    diagnostic::Diagnostic,
    document::NodeDocument,
    value::{Networks, Token},
};

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
    /// The directory of the sites' documents. None for a node without documents.
    pub sites_directory: Option<PathBuf>,
}

impl Node {
    /// A node without a document: everything at its default but one listener, in plain text, and the networks that origins may be in.
    pub(crate) fn without_document(listen: SocketAddr, allow: Networks) -> Self {
        let document = NodeDocument::default();
        Self {
            name: machine_name(),
            pop: document.node.pop,
            threads: document.node.threads.into(),
            debug_token: None,
            trusted_forwarders: document.node.trusted_forwarders,
            listen: vec![Listen {
                address: listen,
                tls: false,
                http2: true,
                proxy_protocol: Networks::default(),
            }],
            limits: document.limits,
            tls: document.tls,
            admin: document.admin,
            admin_token: None,
            status: document.status,
            cache: document.cache,
            origin: NodeOrigin {
                allow,
                resolver: Vec::new(),
            },
            log: document.log,
            tracing: document.tracing,
            sites_directory: None,
        }
    }

    /// Checks a node's document in TOML whose relative paths start at `base`. The sites are not read.
    ///
    /// # Errors
    /// With everything that is wrong, in the order of the text. `file` is only named there.
    pub fn from_toml(text: &str, file: &Path, base: &Path) -> Result<Self, Vec<Diagnostic>> {
        Self::checked(Checker::toml(file, text, base))
    }

    /// The same for a document in JSON; what is wrong is named by JSON Pointers.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn from_json(text: &str, base: &Path) -> Result<Self, Vec<Diagnostic>> {
        Self::checked(Checker::json(text, base))
    }

    fn checked(mut checker: Checker<'_>) -> Result<Self, Vec<Diagnostic>> {
        let node = check_node(&mut checker);
        checker.sort();
        if checker.failed() {
            Err(checker.diagnostics)
        } else {
            Ok(node)
        }
    }
}
