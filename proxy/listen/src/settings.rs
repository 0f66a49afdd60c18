//! What a listener is told: plain values that the edge builds from the node's document.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

/// One listening socket.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// Address and port. `[::]` is IPv6 only, so that it can stand beside `0.0.0.0`; port 0 lets the system choose (see [`Listener::local_addr`](crate::Listener::local_addr)).
    pub address: SocketAddr,
    /// Whether connections start with a TLS handshake.
    pub tls: bool,
    /// Whether HTTP/2 is offered: by ALPN with TLS, by prior knowledge without (RFC 9113 §3).
    pub http2: bool,
    /// Networks from which a PROXY protocol header is required. Connections from elsewhere may not send one.
    pub proxy_protocol: Vec<IpNet>,
    /// Length of the queue of connections the kernel has set up and nobody has accepted yet.
    pub backlog: i32,
    /// Whether several sockets may be bound to the address (`SO_REUSEPORT`), e.g. by the next generation of the process.
    pub reuse_port: bool,
}

impl ListenSettings {
    /// A plain listener with HTTP/2, no PROXY protocol and a backlog of [`DEFAULT_BACKLOG`].
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            tls: false,
            http2: true,
            proxy_protocol: Vec::new(),
            backlog: DEFAULT_BACKLOG,
            reuse_port: false,
        }
    }
}

/// Default of [`ListenSettings::backlog`]; the kernel cuts it to `net.core.somaxconn`.
pub const DEFAULT_BACKLOG: i32 = 4096;

/// The bounds on what a client may use, the same for all listeners of a node.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many connections may be open at once?
    pub connections: usize,
    /// How many of them may come from one IPv4 address or one IPv6 /64?
    pub connections_per_client: usize,
    /// How long may a TLS handshake take, a PROXY header included?
    pub tls_handshake: Duration,
    /// How long may a whole request head take, from its first byte (of a new connection: from its start)?
    pub header_timeout: Duration,
    /// How long may a client pause between two pieces of a request body?
    pub body_timeout: Duration,
    /// How many bytes per second must a client send while a body is waited for, averaged over 10 s? 0 is off.
    pub body_min_rate: u64,
    /// How long may a connection idle between two requests?
    pub idle_timeout: Duration,
    /// How long may a client take none of the bytes of a response?
    pub write_timeout: Duration,
    /// How many bytes may a request head have, request line and empty line included?
    pub header_bytes: usize,
    /// How many fields may it have?
    pub header_count: usize,
    /// How many bytes may a request target have?
    pub uri_bytes: usize,
    /// How many HTTP/2 streams may a connection have open at once?
    pub h2_streams: u32,
    /// How many streams may a client reset on one connection in 10 s before the connection is closed?
    pub h2_resets: u32,
    /// How many bytes may an HTTP/2 field list have, counted as RFC 9113 §6.5.2 counts?
    pub h2_header_list: u32,
    /// How many requests may one HTTP/1 connection carry?
    pub keepalive_requests: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            connections_per_client: 1024,
            tls_handshake: Duration::from_secs(10),
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(60),
            body_min_rate: 0,
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            header_bytes: 32 * 1024,
            header_count: 128,
            uri_bytes: 16 * 1024,
            h2_streams: 128,
            h2_resets: 64,
            h2_header_list: 32 * 1024,
            keepalive_requests: 10_000,
        }
    }
}
