//! What the edge gives to this crate, and what it is told.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use pingora_core::protocols::http::custom::server::Session;
use pingora_http::RequestHeader;

use crate::client::ClientInfo;
use crate::head::Head;

/// The application behind the listeners.
pub trait Application: Send + Sync + 'static {
    /// Serves one request and returns when its response is finished.
    ///
    /// The request's header carries an `Arc<ClientInfo>` and an [`Authority`](crate::head::Authority) in its extensions; its URI is
    /// in origin form and its `Host` field is set and valid, in HTTP/2 as in HTTP/1. A session that is dropped before its response
    /// is complete ends the connection (HTTP/1) or resets the stream (HTTP/2), so that the client sees a truncation.
    fn serve(&self, session: Box<dyn Session>) -> impl Future<Output = ()> + Send;

    /// Answers a request without a body from memory, or declines it (false), in which case `response` is ignored. HTTP/1 only; called
    /// on the connection's task, so it may not block.
    fn hot(
        &self,
        _head: &Head<'_>,
        _client: &Arc<ClientInfo>,
        _response: &mut HotResponse<'_>,
    ) -> bool {
        false
    }

    /// The same for HTTP/2: the answer to a request without a body, or `None` to decline it. Called on the connection's task, so it
    /// may not block. The request's header is as that of a session.
    fn hot_stream(&self, _request: &RequestHeader, _client: &Arc<ClientInfo>) -> Option<HotReply> {
        None
    }

    /// Something to count or log. Called on the accept loop or the connection's task, so it may not block.
    fn event(&self, _event: Event<'_>) {}
}

/// Where [`Application::hot`] writes a response.
#[derive(Debug)]
pub struct HotResponse<'a> {
    /// Status line and fields, each with its CRLF, without the empty line that ends the head and without `Connection`.
    /// The head says how long the body is (RFC 9112 §6.3: `Content-Length`, or a status that has no body).
    pub head: &'a mut BytesMut,
    /// The body; empty for HEAD, 204 and 304.
    pub body: Bytes,
    /// Whether the connection is kept; false makes it close after this response.
    pub keep_alive: bool,
}

/// A response that [`Application::hot_stream`] gives whole.
#[derive(Debug)]
pub struct HotReply {
    /// A final status.
    pub status: StatusCode,
    /// The fields; `Content-Length` tells the body's length.
    pub headers: HeaderMap,
    /// The body; empty for HEAD.
    pub body: Bytes,
}

/// Why a connection was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// `limits.connections` are open.
    Total,
    /// `limits.connections_per_client` are open from its address.
    PerClient,
}

/// Why a connection ended before it carried a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The PROXY header is missing, malformed or late.
    ProxyProtocol,
    /// No site has the name the client asked for.
    UnknownName,
    /// The handshake took longer than `limits.tls_handshake`.
    Timeout,
    /// The client or rustls gave up; the detail says why.
    Tls,
}

/// What happened, for metrics and logs.
#[derive(Debug)]
pub enum Event<'a> {
    /// A connection is ready for requests.
    Opened(&'a Arc<ClientInfo>),
    /// A connection that was [`Opened`](Self::Opened) is closed.
    Closed(&'a Arc<ClientInfo>),
    /// A connection was closed at once for want of room.
    Refused {
        /// Its other end.
        peer: SocketAddr,
        /// The bound that was reached.
        limit: ConnectionLimit,
    },
    /// A connection ended in its PROXY header or TLS handshake.
    HandshakeFailed {
        /// The client's address as far as it was known.
        peer: SocketAddr,
        /// What went wrong.
        failure: HandshakeFailure,
        /// More about it, for a log.
        detail: &'a str,
    },
    /// A request was refused before it became a session.
    RequestRefused {
        /// Who sent it.
        client: &'a Arc<ClientInfo>,
        /// The status answered; 0 when the stream was reset without an answer.
        status: u16,
        /// What was wrong with it.
        reason: &'a str,
    },
    /// An HTTP/2 connection was ended for abuse.
    Abuse {
        /// Who it was.
        client: &'a Arc<ClientInfo>,
        /// What was done too often.
        reason: &'a str,
    },
    /// `accept` failed; the loop waits and goes on.
    AcceptFailed(&'a std::io::Error),
}
