//! Connecting, below Pingora's connectors: resolution, guard and Happy Eyeballs.
//!
//! Pingora takes one socket address per peer and resolves names synchronously. So a peer of ours
//! names no address: it carries a connector that finds one. Its reuse identity is then the server,
//! not the address, and connections are shared within one site and server only.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::ext::TcpKeepalive;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{Digest, GetProxyDigest};
use pingora_core::upstreams::peer::{ALPN, HttpPeer};
use pingora_http::ResponseHeader;
use tokio::time::Instant;

use crate::dial::Dial;
use crate::error::FetchError;
use crate::guard::Guard;
use crate::race::{Judge, Race};
use crate::resolve::{Family, Resolver};
use crate::server::Server;
use crate::settings::{Http2, PoolSettings, Timeouts};

/// Streams that share one HTTP/2 connection to a server.
const H2_STREAMS: usize = 100;
/// How often an HTTP/2 connection is asked whether it still lives.
const H2_PING: Duration = Duration::from_secs(30);
/// What Pingora's timers get beyond ours, so that ours, which say more, come first.
const SLACK: Duration = Duration::from_secs(2);

/// What every connect of the node shares.
#[derive(Debug)]
pub struct Network {
    resolver: Resolver,
    guard: ArcSwap<Guard>,
    dial: Arc<dyn Dial>,
}

impl Network {
    /// Puts a node's network together.
    pub fn new(resolver: Resolver, guard: Guard, dial: Arc<dyn Dial>) -> Arc<Self> {
        Arc::new(Self {
            resolver,
            guard: ArcSwap::from_pointee(guard),
            dial,
        })
    }

    /// Replaces the guard, for every connect from now on. Connections that stand are left alone.
    pub fn set_guard(&self, guard: Guard) {
        self.guard.store(Arc::new(guard));
    }
}

/// What is known about an established connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The address that was dialled.
    pub address: SocketAddr,
    /// How long the first address took to be found.
    pub resolve: Duration,
    /// How long TCP took from then on.
    pub connect: Duration,
}

impl Connected {
    /// Reads it from a connection's digest, as Pingora's hooks get it.
    #[must_use]
    pub fn of(digest: &Digest) -> Option<Self> {
        let data = digest.proxy_digest.as_ref()?.user_data.as_ref()?;
        data.downcast_ref::<Self>().copied()
    }
}

/// Addresses that one request has used up.
pub(crate) type Tried = Arc<Mutex<Vec<IpAddr>>>;

/// Pingora's way to a new connection, for one request.
#[derive(Debug)]
pub(crate) struct Connect {
    pub(crate) network: Arc<Network>,
    pub(crate) server: Arc<Server>,
    pub(crate) site: Arc<str>,
    pub(crate) limit: Duration,
    pub(crate) tried: Tried,
}

impl Judge for Connect {
    fn is_last(&self, ip: IpAddr) -> bool {
        self.tried.lock().contains(&ip) || self.server.address_is_down(ip, Instant::now())
    }

    fn failed(&self, ip: IpAddr) {
        self.server.address_failed(ip, Instant::now());
    }
}

impl Connect {
    async fn dial(&self) -> Result<(Stream, Connected), FetchError> {
        let url = &self.server.identity.url;
        let start = Instant::now();
        let guard = self.network.guard.load_full();
        let race = Race {
            dial: &self.network.dial,
            guard: &guard,
            judge: self,
            port: url.port(),
            rotation: self.server.rotate(),
            deadline: start + self.limit,
        };
        let resolver = &self.network.resolver;
        let v6 = resolver.resolve(url.host(), Family::V6);
        let v4 = resolver.resolve(url.host(), Family::V4);
        let won = race.run(v6, v4).await?;
        let ip = won.address.ip();
        self.server.address_succeeded(ip);
        // Should the request come back, it goes to another address first.
        self.tried.lock().push(ip);
        let connected = Connected {
            address: won.address,
            resolve: won.resolved,
            connect: start.elapsed().saturating_sub(won.resolved),
        };
        Ok((Stream::from(won.stream), connected))
    }
}

#[async_trait]
impl L4Connect for Connect {
    async fn connect(&self, _placeholder: &PeerAddress) -> pingora_error::Result<Stream> {
        let dialled = self.dial().await;
        let (mut stream, connected) =
            dialled.map_err(|error| error.at(&self.site, &self.server.name))?;
        // The digest of a CONNECT proxy, which we never use, is the one place of a stream that
        // carries data of ours through both of Pingora's connectors.
        let response = ResponseHeader::build(200, None)?;
        let data = ProxyDigest::new(Box::new(response), Some(Box::new(connected)));
        stream.set_proxy_digest(data);
        Ok(stream)
    }
}

/// The peer of a site's server, but for the connector, which every request brings itself.
pub(crate) fn template(settings: &PoolSettings, server: &Server) -> HttpPeer {
    let url = &server.identity.url;
    // 0.0.0.0 is the one address that Pingora does not compare with that of a kept connection.
    let placeholder = SocketAddr::from((Ipv4Addr::UNSPECIFIED, url.port()));
    let tls = &settings.tls;
    // Without a name Pingora would not verify the certificate either.
    let name = match tls.sni.as_deref() {
        None | Some("") => url.server_name(),
        Some(sni) => sni.to_owned(),
    };
    let mut peer = HttpPeer::new(placeholder, url.tls(), name);
    peer.group_key = server.group;
    peer.client_cert_key = tls.identity.as_ref().map(|it| Arc::clone(it.pair()));
    let Timeouts {
        connect,
        tls: handshake,
        first_byte,
        between_bytes,
        write,
        idle,
    } = settings.timeouts;
    let options = &mut peer.options;
    options.alpn = match (settings.http2, url.tls()) {
        (Http2::Off, _) | (Http2::Offered, false) => ALPN::H1,
        (Http2::Offered, true) => ALPN::H2H1,
        (Http2::PriorKnowledge, _) => ALPN::H2,
    };
    options.verify_cert = tls.verify;
    options.verify_hostname = tls.verify;
    options.ca = tls.trust.as_ref().map(|it| Arc::clone(it.authorities()));
    // With a connector of its own, Pingora applies this one to the TLS handshake only.
    options.connection_timeout = Some(handshake);
    options.total_connection_timeout =
        Some(connect.saturating_add(handshake).saturating_add(SLACK));
    // Pingora's proxy has one for both; fetches have their own timers.
    options.read_timeout = Some(first_byte.max(between_bytes));
    options.write_timeout = Some(write);
    options.idle_timeout = Some(idle);
    options.max_h2_streams = H2_STREAMS;
    options.h2_ping_interval = Some(H2_PING);
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: Duration::from_secs(60),
        interval: Duration::from_secs(10),
        count: 5,
        user_timeout: Duration::ZERO,
    });
    peer
}
