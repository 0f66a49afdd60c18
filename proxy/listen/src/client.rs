//! Who is at the other end of a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The protocol that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1 (RFC 9112).
    H1,
    /// HTTP/2 (RFC 9113).
    H2,
}

/// What a TLS handshake settled.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// "TLSv1.2" or "TLSv1.3".
    pub version: &'static str,
    /// The cipher suite's IANA name.
    pub cipher: String,
    /// The group of the key exchange, e.g. "X25519MLKEM768".
    pub key_exchange: Option<String>,
    /// The name the client asked for, in lower case.
    pub sni: Option<String>,
    /// The site whose certificate was used. A request for a site with client certificates is only to be trusted when this is that site.
    pub site: Option<Arc<str>>,
    /// The protocol chosen by ALPN.
    pub alpn: Option<String>,
    /// The client's certificate, verified against the site's CA.
    pub client_certificate: Option<ClientCertificate>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

/// A verified client certificate.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Its subject, e.g. "CN=alice, O=Example".
    pub subject: String,
    /// SHA-256 of `der`.
    pub sha256: [u8; 32],
}

/// One connection's other end; every request carries it as `Arc<ClientInfo>` in its extensions.
#[derive(Debug)]
pub struct ClientInfo {
    /// The client's address, after the PROXY protocol.
    pub peer: SocketAddr,
    /// The other end of the TCP connection: the client or a balancer in front.
    pub direct_peer: SocketAddr,
    /// The address the client connected to (the VIP), after the PROXY protocol.
    pub local: SocketAddr,
    /// What TLS settled; `None` on plain listeners.
    pub tls: Option<TlsInfo>,
    /// The protocol of the connection.
    pub protocol: Protocol,
    /// Unique in this process, counted from 1.
    pub connection_id: u64,
    /// When the connection was accepted.
    pub accepted: Instant,
    /// Bytes on the wire so far.
    pub traffic: Arc<Traffic>,
    /// Requests so far, the current one included.
    pub requests: AtomicU64,
}

impl ClientInfo {
    /// "https" over TLS, else "http".
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// Bytes that went over a connection's socket, TLS and framing included.
#[derive(Debug, Default)]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    /// Bytes from the client.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes to the client.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
