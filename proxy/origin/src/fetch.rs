//! One GET or HEAD without a body, from the choice of a server to a stream of the response's body.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, RetryType};
use pingora_http::RequestHeader;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::body::BodyStream;
use crate::connect::Connected;
use crate::error::{ErrorKind, FetchError};
use crate::exchange::Exchange;
use crate::head::{self, Head};
use crate::pool::{Pick, Pool};
use crate::random;

pub use crate::head::{MAX_HEAD_BYTES, MAX_HEAD_FIELDS};

/// The most informational responses before a final one.
pub const MAX_INFORMATIONAL: usize = 8;
/// What a connect gets beyond its own time limits, which say more when they end it.
const SLACK: Duration = Duration::from_secs(4);

/// A request without a body, cleaned of hop-by-hop fields.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET or HEAD.
    pub method: Method,
    /// What is sent as Host or `:authority`, unless the site says another.
    pub authority: HeaderValue,
    /// The target in origin form, `/path?query`.
    pub path_and_query: Bytes,
    /// All other fields. Framing and hop-by-hop fields among them are not sent.
    pub headers: HeaderMap,
    /// The client, for [`Balance::ClientHash`](crate::Balance::ClientHash).
    pub client: Option<IpAddr>,
    /// Where informational responses go (103 Early Hints, RFC 8297). What finds it full is lost:
    /// hints are not worth waiting for.
    pub informational: Option<mpsc::Sender<Informational>>,
}

/// A 1xx response.
#[derive(Clone, Debug)]
pub struct Informational {
    /// 100 or 102 to 199.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
}

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
        let mut fresh = false;
        loop {
            let failure = match Box::pin(self.attempt(&pick, request, fresh)).await {
                Ok(answer) => return self.respond(answer, pick, request, retries).await,
                Err(failure) => failure,
            };
            let Failure { error, stale } = failure;
            let error = error.at(pick.site(), pick.server());
            // A kept connection that the server has closed meanwhile says nothing about it.
            if stale && !fresh {
                tracing::debug!(site = %pick.site(), server = %pick.server(), %error, "stale");
                fresh = true;
                continue;
            }
            fresh = false;
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

    async fn respond(
        &self,
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

    async fn attempt(
        &self,
        pick: &Pick,
        request: &Request,
        fresh: bool,
    ) -> Result<Answer, Failure> {
        let limits = pick.pool().settings().timeouts;
        let peer = pick.peer();
        let (session, reused) = self.session(&peer, pick, fresh).await?;
        let connected = session.digest().and_then(Connected::of);
        let address = connected.map(|it| it.address);
        let mut timings = match connected {
            Some(connected) if !reused => Timings {
                resolve: connected.resolve,
                connect: connected.connect,
                tls: handshake(&session),
                first_byte: Duration::ZERO,
            },
            _ => Timings::default(),
        };
        let connector = Arc::clone(&self.connector);
        let mut exchange = Exchange::new(connector, peer, session, limits.idle);
        let sent = Instant::now();
        let head = self.ask(&mut exchange, pick, request).await;
        timings.first_byte = sent.elapsed();
        match head {
            Ok(head) => Ok(Answer {
                exchange,
                head,
                connected,
                reused,
                timings,
            }),
            Err(Failure { error, stale }) => Err(Failure {
                error: error.address(address),
                stale: stale.decide(reused),
            }),
        }
    }

    async fn session(
        &self,
        peer: &HttpPeer,
        pick: &Pick,
        fresh: bool,
    ) -> Result<(HttpSession, bool), Failure> {
        let limits = pick.pool().settings().timeouts;
        let mut peer = peer.clone();
        if fresh && peer.options.alpn.get_max_http_version() == 1 {
            // Under an identity that nobody has there is no kept connection. The new one is kept
            // under the right identity all the same: that is given when it is handed back.
            peer.group_key = random::seed();
        }
        let limit = limits
            .connect
            .saturating_add(limits.tls)
            .saturating_add(SLACK);
        let got = timeout(limit, self.connector.get_http_session(&peer)).await;
        let error = match got {
            Ok(Ok(got)) => return Ok(got),
            Ok(Err(error)) => FetchError::from_pingora(&error),
            Err(_) => FetchError::new(ErrorKind::ConnectionTimeout, "no connection in time"),
        };
        Err(Failure {
            error,
            stale: false,
        })
    }

    async fn ask(
        &self,
        exchange: &mut Exchange,
        pick: &Pick,
        request: &Request,
    ) -> Result<Head, Failure<Stale>> {
        let limits = pick.pool().settings().timeouts;
        let Some(session) = exchange.session() else {
            return Err(fault("the session is gone").into());
        };
        let host = pick.pool().settings().host.as_ref();
        let authority = host.unwrap_or(&request.authority);
        match session {
            HttpSession::H1(h1) => {
                let header = head_h1(request, authority)?;
                let written = timeout(limits.write, h1.write_request_header(header));
                match written.await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => {
                        return Err(Failure {
                            error: FetchError::from_pingora(&error),
                            stale: Stale::IfReused,
                        });
                    }
                    Err(_) => {
                        let detail = "the request could not be written in time";
                        let kind = ErrorKind::ConnectionWriteTimeout;
                        return Err(FetchError::new(kind, detail).into());
                    }
                }
            }
            HttpSession::H2(h2) => {
                let header = head_h2(request, authority, pick.tls())?;
                h2.write_request_header(header, true).map_err(stale)?;
            }
            HttpSession::Custom(()) => return Err(fault("no such protocol").into()),
        }
        for _ in 0..=MAX_INFORMATIONAL {
            let read = timeout(limits.first_byte, session.read_response_header());
            match read.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    if matches!(error.etype(), ErrorType::H2Downgrade | ErrorType::InvalidH2) {
                        self.connector.prefer_h1(&*pick.peer());
                    }
                    return Err(stale(error));
                }
                Err(_) => {
                    let detail = format!("no response head in {:?}", limits.first_byte);
                    let kind = ErrorKind::ConnectionReadTimeout;
                    return Err(FetchError::new(kind, detail).into());
                }
            }
            let head = head::take(session)?;
            if !head.status.is_informational() {
                return Ok(head);
            }
            if !matches!(session, HttpSession::H1(_)) {
                // Pingora passes only the final head of HTTP/2 on, and panics when asked for more.
                break;
            }
            if let Some(sender) = &request.informational {
                let Head {
                    status, headers, ..
                } = head;
                // Full or closed: nobody waits for a hint.
                let _ = sender.try_send(Informational { status, headers });
            }
        }
        let detail = "too many informational responses";
        Err(FetchError::new(ErrorKind::HttpProtocolError, detail).into())
    }
}

struct Answer {
    exchange: Exchange,
    head: Head,
    connected: Option<Connected>,
    reused: bool,
    timings: Timings,
}

/// A failed try. `stale`: a kept connection was found closed, or the server asked to try again.
struct Failure<S = bool> {
    error: FetchError,
    stale: S,
}

#[derive(Clone, Copy)]
enum Stale {
    Never,
    IfReused,
    Always,
}

impl Stale {
    fn decide(self, reused: bool) -> bool {
        match self {
            Self::Never => false,
            Self::IfReused => reused,
            Self::Always => true,
        }
    }
}

impl From<FetchError> for Failure<Stale> {
    fn from(error: FetchError) -> Self {
        Self {
            error,
            stale: Stale::Never,
        }
    }
}

/// Pingora knows which failures before a response mean that the connection was closed, and which
/// of HTTP/2 mean that the request was not looked at.
fn stale(error: Box<Error>) -> Failure<Stale> {
    let stale = match error.retry {
        RetryType::Decided(true) => Stale::Always,
        RetryType::ReusedOnly => Stale::IfReused,
        RetryType::Decided(false) => Stale::Never,
    };
    Failure {
        error: FetchError::from_pingora(&error),
        stale,
    }
}

fn fault(detail: &'static str) -> FetchError {
    FetchError::new(ErrorKind::ProxyInternalError, detail)
}

fn handshake(session: &HttpSession) -> Duration {
    // The lowest layer, TCP, comes first.
    let layers = session.digest().map(|digest| &digest.timing_digest);
    let tls = layers.and_then(|layers| layers.get(1)?.as_ref()?.establishment_duration);
    tls.unwrap_or_default()
}

/// Fields that frame a message or belong to one connection; there is no body to frame.
fn is_ours(name: &HeaderName) -> bool {
    [
        HOST,
        CONNECTION,
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        UPGRADE,
        EXPECT,
        TE,
        TRAILER,
    ]
    .contains(name)
        || matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "http2-settings"
        )
}

fn head_h1(request: &Request, host: &HeaderValue) -> Result<Box<RequestHeader>, FetchError> {
    let fields = request.headers.len() + 1;
    let path = &request.path_and_query;
    let build = || -> pingora_error::Result<RequestHeader> {
        let mut header = RequestHeader::build_no_case(request.method.clone(), path, Some(fields))?;
        header.append_header(HOST, host.clone())?;
        copy(request, &mut header)?;
        Ok(header)
    };
    build()
        .map(Box::new)
        .map_err(|error| unsendable(&error.to_string()))
}

fn head_h2(
    request: &Request,
    authority: &HeaderValue,
    tls: bool,
) -> Result<Box<RequestHeader>, FetchError> {
    let uri = Uri::builder()
        .scheme(if tls { "https" } else { "http" })
        .authority(authority.as_bytes())
        .path_and_query(&*request.path_and_query)
        .build()
        .map_err(|error| unsendable(&error.to_string()))?;
    let fields = Some(request.headers.len());
    let build = || -> pingora_error::Result<RequestHeader> {
        let mut header = RequestHeader::build_no_case(request.method.clone(), b"/", fields)?;
        header.set_uri(uri.clone());
        copy(request, &mut header)?;
        Ok(header)
    };
    build()
        .map(Box::new)
        .map_err(|error| unsendable(&error.to_string()))
}

fn copy(request: &Request, header: &mut RequestHeader) -> pingora_error::Result<()> {
    for (name, value) in &request.headers {
        if !is_ours(name) {
            header.append_header(name.clone(), value.clone())?;
        }
    }
    Ok(())
}

fn unsendable(why: &str) -> FetchError {
    let detail = format!("the request cannot be sent: {why}");
    FetchError::new(ErrorKind::ProxyInternalError, detail)
}
