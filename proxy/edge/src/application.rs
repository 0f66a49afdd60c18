//! Between the listeners and the pipeline: sessions go in, events come out.

use std::sync::Arc;

use anypop_listen::{
    Application, ClientInfo, ConnectionLimit, Event, HandshakeFailure, HotReply, HotResponse,
    Session, head::Head,
};
use pingora_core::{
    apps::HttpServerApp,
    protocols::http::ServerSession,
    server::{ShutdownWatch, configuration::ServerConf},
};
use pingora_http::RequestHeader;
use pingora_proxy::HttpProxy;
use tokio::sync::watch;

use crate::{
    edge::{Edge, Raised},
    hot,
    observe::labels::{ConnectionRefusal, HandshakeResult, Resumption, TlsVersion},
    pipeline::{Pipeline, record_refused},
};

/// What the listeners drive.
pub struct Front {
    edge: Arc<Edge>,
    proxy: Arc<HttpProxy<Pipeline>>,
    /// Pingora wants to know when a process ends; sessions are told by the listeners, so this
    /// never changes.
    running: ShutdownWatch,
    _running: watch::Sender<bool>,
}

impl Front {
    /// A front before `edge`.
    pub fn new(edge: Arc<Edge>) -> Self {
        // The pools decide about tries; Pingora only must not stop them early.
        let conf = ServerConf {
            max_retries: 64,
            ..ServerConf::default()
        };
        let mut proxy = HttpProxy::new(Pipeline::new(edge.clone()), Arc::new(conf));
        proxy.handle_init_modules();
        let (sender, running) = watch::channel(false);
        Self {
            edge,
            proxy: Arc::new(proxy),
            running,
            _running: sender,
        }
    }
}

impl Application for Front {
    async fn serve(&self, session: Box<dyn Session>) {
        let _open = Raised::new(&self.edge.metrics.requests_open);
        // The proxy's future is large; boxed, a connection's own stays small while it is idle.
        let served = self
            .proxy
            .process_new_http(ServerSession::new_custom(session), &self.running);
        Box::pin(served).await;
    }

    fn hot(
        &self,
        head: &Head<'_>,
        client: &Arc<ClientInfo>,
        response: &mut HotResponse<'_>,
    ) -> bool {
        hot::answer(&self.edge, head, client, response)
    }

    fn hot_stream(&self, request: &RequestHeader, client: &Arc<ClientInfo>) -> Option<HotReply> {
        hot::answer_stream(&self.edge, request, client)
    }

    fn event(&self, event: Event<'_>) {
        let metrics = &self.edge.metrics;
        match event {
            Event::Opened(client) => {
                metrics.connections_accepted.inc();
                metrics.connections_open.up();
                if let Some(tls) = &client.tls {
                    let version = match tls.version {
                        "TLSv1.3" => TlsVersion::Tls13,
                        _ => TlsVersion::Tls12,
                    };
                    let resumed = if tls.resumed {
                        Resumption::Resumed
                    } else {
                        Resumption::Full
                    };
                    metrics
                        .handshakes
                        .inc((version, HandshakeResult::Ok, resumed));
                }
            }
            Event::Closed(_) => {
                metrics.connections_open.down();
                self.edge.closed.notify_one();
            }
            Event::Refused { peer, limit } => {
                tracing::debug!(%peer, ?limit, "connection refused");
                metrics.connections_refused.inc(match limit {
                    ConnectionLimit::Total => ConnectionRefusal::NodeLimit,
                    ConnectionLimit::PerClient => ConnectionRefusal::ClientLimit,
                });
            }
            Event::HandshakeFailed {
                peer,
                failure,
                detail,
            } => {
                tracing::debug!(%peer, ?failure, detail, "handshake failed");
                let result = match failure {
                    HandshakeFailure::ProxyProtocol => {
                        metrics
                            .connections_refused
                            .inc(ConnectionRefusal::ProxyHeader);
                        return;
                    }
                    HandshakeFailure::UnknownName => HandshakeResult::UnknownName,
                    HandshakeFailure::Timeout => HandshakeResult::Timeout,
                    HandshakeFailure::Tls => HandshakeResult::Error,
                };
                metrics
                    .handshakes
                    .inc((TlsVersion::Unknown, result, Resumption::Full));
            }
            Event::RequestRefused {
                client,
                status,
                reason,
            } => {
                record_refused(&self.edge, client, status, reason);
            }
            Event::Abuse { client, reason } => {
                tracing::info!(peer = %client.peer, reason, "connection ended for abuse");
                metrics
                    .refusals
                    .inc(crate::observe::labels::Refusal::Http2Abuse);
            }
            Event::AcceptFailed(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                metrics.connections_refused.inc(ConnectionRefusal::Accept);
            }
        }
    }
}
