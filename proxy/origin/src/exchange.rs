//! One request on a connection of Pingora's, given back or closed exactly once.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;

/// A session, and what it takes to give it back. Dropping it closes the connection (HTTP/1.1) or
/// resets the stream (HTTP/2).
pub(crate) struct Exchange {
    connector: Arc<Connector>,
    /// The peer under whose identity the connection is kept.
    peer: Box<HttpPeer>,
    session: Option<HttpSession>,
    idle: Option<Duration>,
}

impl Exchange {
    pub(crate) fn new(
        connector: Arc<Connector>,
        peer: Box<HttpPeer>,
        session: HttpSession,
        idle: Duration,
    ) -> Self {
        Self {
            connector,
            peer,
            session: Some(session),
            idle: Some(idle),
        }
    }

    /// None once it is given back.
    pub(crate) fn session(&mut self) -> Option<&mut HttpSession> {
        self.session.as_mut()
    }

    /// Keeps the connection no longer than the server says it will (less a second, so that we are
    /// the ones to close it and no request meets a closing connection).
    pub(crate) fn limit_idle(&mut self, server: Duration) {
        let ours = server.checked_sub(Duration::from_secs(1));
        self.idle = self.idle.min(ours.filter(|left| !left.is_zero()));
    }

    /// The response has come whole: the connection may serve again.
    pub(crate) async fn release(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        match (self.idle, session) {
            (None, HttpSession::H1(_)) => {}
            (idle, session) => {
                let idle = idle.unwrap_or(Duration::from_secs(1));
                let peer = &*self.peer;
                self.connector
                    .release_http_session(session, peer, Some(idle))
                    .await;
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some(session @ HttpSession::H2(_)) = self.session.take() else {
            return;
        };
        // An HTTP/2 connection outlives its stream, and Pingora forgets to let it age unless the
        // stream is handed back. For HTTP/2 that is done when first polled. Without a runtime
        // (at the very end) all connections are gone anyway.
        if tokio::runtime::Handle::try_current().is_ok() {
            let idle = self.idle.or(Some(Duration::from_secs(1)));
            let released = self
                .connector
                .release_http_session(session, &*self.peer, idle);
            let _ = pin!(released).poll(&mut Context::from_waker(Waker::noop()));
        }
    }
}
