//! TLS toward clients.
//!
//! A ClientHello is read first; who answers it, with which certificate and under which rules, is asked of [`Certificates`].
//! [`CertificateStore`] is the implementation; [`tickets`] keeps sessions resumable across nodes.

mod accept;
mod info;
mod load;
mod store;
pub mod tickets;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;

pub(crate) use accept::accept;
pub use load::{CertificateError, load_certified_key, load_roots};
pub use store::{CertificateStore, ClientAuth, MinVersion, SiteTls, StoreError};
pub use tickets::{TicketKeyError, TicketKeys};

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

/// aws-lc-rs, with the post-quantum key exchange X25519MLKEM768 preferred.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::LazyLock<Arc<CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}
