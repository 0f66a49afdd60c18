//! One GET or HEAD without a body, from the choice of a server to a stream of the response's body.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, Version};
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use tokio::time::Instant;

use crate::attempt::{Again, Answer, Failure, attempt};
use crate::body::BodyStream;
use crate::error::{ErrorKind, FetchError};
use crate::head;
use crate::pool::{Pick, Pool};

pub use crate::head::{MAX_HEAD_BYTES, MAX_HEAD_FIELDS};
pub use crate::request::{Informational, Request};

/// The most informational responses before a final one.
pub const MAX_INFORMATIONAL: usize = 8;

/// How long each phase took. Those of a connection are zero where one was reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Finding an address.
    pub resolve: Duration,
    /// TCP.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// From the request sent to the whole response head.
    pub first_byte: Duration,
}

/// A response whose head has come.
#[derive(Debug)]
pub struct Response {
    /// 200 to 599.
    pub status: StatusCode,
    /// The version that the server spoke.
    pub version: Version,
    /// All fields, hop-by-hop ones included.
    pub headers: HeaderMap,
    /// The body.
    pub body: BodyStream,
    /// The server, as `scheme://host:port`.
    pub server: Arc<str>,
    /// The server's address.
    pub address: Option<SocketAddr>,
    /// True where an earlier connection was used again.
    pub reused: bool,
    /// Tries before this one that failed.
    pub retries: u32,
    /// How long it took.
    pub timings: Timings,
}

/// Fetches from origins. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Client {
    connector: Arc<Connector>,
}

impl Client {
    /// A client that keeps at most so many idle connections, over all sites.
    ///
    /// # Panics
    /// The system's authorities, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, cannot be
    /// read: Pingora loads them here, once. None at all is no panic; then only sites with an
    /// authority of their own can verify.
    #[must_use]
    pub fn new(idle_connections: usize) -> Self {
        let options = ConnectorOptions::new(idle_connections);
        Self {
            connector: Arc::new(Connector::new(Some(options))),
        }
    }

    /// Fetches from a pool. Tries again, elsewhere first, what failed before a response head came.
    ///
    /// # Errors
    /// The last try's.
    pub async fn fetch(&self, pool: &Arc<Pool>, request: &Request) -> Result<Response, FetchError> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            let detail = format!("{} cannot be fetched", request.method);
            return Err(FetchError::new(ErrorKind::ProxyInternalError, detail));
        }
        let mut pick = pool.pick(request.client)?;
        let mut retries = 0;
        let mut again = Again::No;
        loop {
            let fresh = again == Again::Fresh;
            let tried = Box::pin(attempt(&self.connector, &pick, request, fresh));
            let failure = match tried.await {
                Ok(answer) => return respond(answer, pick, request, retries).await,
                Err(failure) => failure,
            };
            let Failure { error, again: next } = failure;
            let error = error.at(pick.site(), pick.server());
            if next != Again::No && again == Again::No {
                tracing::debug!(
                    site = %pick.site(),
                    server = %pick.server(),
                    %error,
                    "a kept connection was of no use",
                );
                again = next;
                continue;
            }
            again = Again::No;
            tracing::warn!(
                site = %pick.site(),
                server = %pick.server(),
                address = error.address.map(tracing::field::display),
                %error,
                "a fetch from the origin failed",
            );
            if let Some(address) = error.address {
                pick.used(address);
            }
            if !pick.retry(&error, true) {
                return Err(error);
            }
            retries += 1;
        }
    }
}

async fn respond(
    answer: Answer,
    pick: Pick,
    request: &Request,
    retries: u32,
) -> Result<Response, FetchError> {
    let Answer {
        mut exchange,
        head,
        connected,
        reused,
        timings,
    } = answer;
    pick.answered(head.status);
    if let Some(server) = head::keep_alive(&head.headers) {
        exchange.limit_idle(server);
    }
    let server = Arc::clone(pick.server());
    let expected = head::length(&head, request.method == Method::HEAD);
    let done = exchange.session().is_some_and(HttpSession::response_done);
    let mut body = BodyStream::open(exchange, pick, expected, connected);
    if done {
        // Nothing is to come: the connection is free before anyone reads the body.
        let between = Duration::from_secs(1);
        body.end(Instant::now() + between).await?;
    }
    Ok(Response {
        status: head.status,
        version: head.version,
        headers: head.headers,
        body,
        server,
        address: connected.map(|it| it.address),
        reused,
        retries,
        timings,
    })
}
