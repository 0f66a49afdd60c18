//! TLS toward clients.
//!
//! A ClientHello is read first; who answers it, with which certificate and under which rules, is asked of [`Certificates`].
//! [`CertificateStore`](store) is the implementation; [`tickets`] keeps sessions resumable across nodes.

mod accept;
mod info;

use std::sync::Arc;

use rustls::ServerConfig;

pub(crate) use accept::accept;

/// Chooses what answers a ClientHello.
pub trait Certificates: Send + Sync + 'static {
    /// The configuration for the name asked for; `http2` says whether "h2" may be offered. `None` refuses the handshake with the alert
    /// `unrecognized_name` (RFC 6066 §3). The name is in lower case.
    fn select(&self, server_name: Option<&str>, http2: bool) -> Option<Selected>;
}

/// What answers a handshake.
#[derive(Clone, Debug)]
pub struct Selected {
    /// rustls' configuration, with its ALPN protocols.
    pub config: Arc<ServerConfig>,
    /// The site it belongs to.
    pub site: Arc<str>,
}
