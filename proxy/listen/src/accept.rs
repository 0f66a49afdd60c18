//! From an accepted socket to its protocol: PROXY header, TLS, HTTP/1 or HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use crate::application::{Application, Event, HandshakeFailure};
use crate::client::{ClientInfo, Protocol, Traffic};
use crate::h1;
use crate::h2;
use crate::limits::Slot;
use crate::listener::Server;
use crate::proxy_protocol::{ProxyAddresses, ProxyHeader, parse_proxy_header};
use crate::settings::{Limits, ListenSettings};
use crate::stream::{ClientStream, Socket};
use crate::tls;

/// A connection as the accept loop has it.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) accepted: Instant,
    pub(crate) slot: Slot,
    pub(crate) limits: Arc<Limits>,
    pub(crate) settings: Arc<ListenSettings>,
}

/// A failure before the first request.
pub(crate) struct Failed {
    pub(crate) failure: HandshakeFailure,
    pub(crate) detail: String,
}

impl Failed {
    pub(crate) fn new(failure: HandshakeFailure, detail: impl Into<String>) -> Self {
        Self {
            failure,
            detail: detail.into(),
        }
    }
}

/// Serves one connection from its first byte to its last.
pub(crate) async fn serve_connection<A: Application>(server: Arc<Server<A>>, accepted: Accepted) {
    let Accepted {
        stream,
        peer: direct_peer,
        local,
        accepted,
        mut slot,
        limits,
        settings,
    } = accepted;
    let traffic = Arc::new(Traffic::default());
    let mut socket = Socket::new(stream, Arc::clone(&traffic));
    let deadline = tokio::time::Instant::from_std(accepted) + limits.tls_handshake;
    let failed = |peer: SocketAddr, failed: &Failed| {
        server.app.event(Event::HandshakeFailed {
            peer,
            failure: failed.failure,
            detail: &failed.detail,
        });
    };

    let mut ends = ProxyAddresses {
        source: direct_peer,
        destination: local,
    };
    if settings
        .proxy_protocol
        .iter()
        .any(|network| network.contains(&direct_peer.ip()))
    {
        match timeout_at(deadline, read_proxy_header(&mut socket)).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(addresses))) => ends = addresses,
            Ok(Err(failure)) => return failed(direct_peer, &failure),
            Err(_) => {
                return failed(
                    direct_peer,
                    &Failed::new(
                        HandshakeFailure::ProxyProtocol,
                        "no whole PROXY header in time",
                    ),
                );
            }
        }
    }
    let peer = SocketAddr::new(ends.source.ip().to_canonical(), ends.source.port());
    if let Err(limit) = slot.claim(peer.ip(), limits.connections_per_client) {
        return server.app.event(Event::Refused { peer, limit });
    }

    let (stream, tls, http2) = if settings.tls {
        match timeout_at(
            deadline,
            Box::pin(tls::accept(
                socket,
                server.certificates.as_ref(),
                settings.http2,
            )),
        )
        .await
        {
            Ok(Ok((stream, info))) => {
                let http2 = info.alpn.as_deref() == Some("h2");
                (
                    stream,
                    Some(info),
                    Found {
                        http2,
                        read: BytesMut::new(),
                    },
                )
            }
            Ok(Err(failure)) => return failed(peer, &failure),
            Err(_) => {
                return failed(
                    peer,
                    &Failed::new(HandshakeFailure::Timeout, "no whole TLS handshake in time"),
                );
            }
        }
    } else {
        let deadline = tokio::time::Instant::from_std(accepted) + limits.header_timeout;
        let found = if settings.http2 {
            match timeout_at(deadline, find_protocol(&mut socket)).await {
                Ok(Ok(found)) => found,
                // Gone, or silent: nobody to talk to.
                Ok(Err(_)) | Err(_) => return,
            }
        } else {
            Found {
                http2: false,
                read: BytesMut::new(),
            }
        };
        (ClientStream::Plain(socket), None, found)
    };

    let client = Arc::new(ClientInfo {
        peer,
        direct_peer,
        local: ends.destination,
        tls,
        protocol: if http2.http2 {
            Protocol::H2
        } else {
            Protocol::H1
        },
        connection_id: server.next_id(),
        accepted,
        traffic,
        requests: AtomicU64::new(0),
    });
    let app = Arc::clone(&server.app);
    let _open = Opened::new(Arc::clone(&app), Arc::clone(&client), slot);
    let mode = server.mode();
    if http2.http2 {
        Box::pin(h2::serve(
            stream,
            http2.read.freeze(),
            Arc::clone(&client),
            app,
            limits,
            mode,
        ))
        .await;
    } else {
        let connection =
            h1::Connection::new(stream, http2.read, Arc::clone(&client), app, limits, mode);
        Box::pin(connection.run()).await;
    }
}

/// Says that a connection is open and, whatever ends it, that it is closed.
struct Opened<A: Application> {
    app: Arc<A>,
    client: Arc<ClientInfo>,
    slot: Option<Slot>,
}

impl<A: Application> Opened<A> {
    fn new(app: Arc<A>, client: Arc<ClientInfo>, slot: Slot) -> Self {
        app.event(Event::Opened(&client));
        Self {
            app,
            client,
            slot: Some(slot),
        }
    }
}

impl<A: Application> Drop for Opened<A> {
    fn drop(&mut self) {
        // Whoever hears of it may count on the place.
        self.slot = None;
        self.app.event(Event::Closed(&self.client));
    }
}

async fn read_proxy_header(socket: &mut Socket) -> Result<Option<ProxyAddresses>, Failed> {
    let failed = |detail: &str| Failed::new(HandshakeFailure::ProxyProtocol, detail);
    let mut buffer = BytesMut::with_capacity(512);
    loop {
        match socket.read_buf(&mut buffer).await {
            Ok(0) => return Err(failed("closed before its PROXY header was whole")),
            Ok(_) => {}
            Err(error) => return Err(failed(&error.to_string())),
        }
        match parse_proxy_header(&buffer) {
            ProxyHeader::Partial => {}
            ProxyHeader::Malformed(reason) => return Err(failed(reason)),
            ProxyHeader::Complete { addresses, len } => {
                let rest = buffer.split_off(len.min(buffer.len()));
                socket.unread(rest.freeze());
                return Ok(addresses);
            }
        }
    }
}

/// What is spoken on a plain connection.
struct Found {
    http2: bool,
    /// What was read to find out.
    read: BytesMut,
}

/// Tells HTTP/2 by prior knowledge from HTTP/1 by its first bytes (RFC 9113 §3.4).
async fn find_protocol(socket: &mut Socket) -> io::Result<Found> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut read = BytesMut::with_capacity(2048);
    loop {
        if socket.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if read.starts_with(PREFACE) {
            return Ok(Found { http2: true, read });
        }
        if !PREFACE.starts_with(&read) {
            return Ok(Found { http2: false, read });
        }
    }
}

/// Puts what was read ahead back in front of a plain stream.
pub(crate) fn unread(stream: &mut ClientStream, bytes: Bytes) {
    if let ClientStream::Plain(socket) = stream
        && !bytes.is_empty()
    {
        socket.unread(bytes);
    }
}
