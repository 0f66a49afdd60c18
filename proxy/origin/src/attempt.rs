//! One try of a fetch: a connection, the request, and the head of the response.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, RetryType};
use tokio::time::{Instant, timeout};

use crate::connect::Connected;
use crate::error::{ErrorKind, FetchError};
use crate::exchange::Exchange;
use crate::fetch::{MAX_INFORMATIONAL, Timings};
use crate::head::{self, Head};
use crate::pool::Pick;
use crate::random;
use crate::request::{self, Informational, Request};

/// What a connect gets beyond its own time limits, which say more when they end it.
const SLACK: Duration = Duration::from_secs(4);

/// A response head, and the exchange whose body is to come.
pub(crate) struct Answer {
    pub(crate) exchange: Exchange,
    pub(crate) head: Head,
    pub(crate) connected: Option<Connected>,
    pub(crate) reused: bool,
    pub(crate) timings: Timings,
}

/// A failed try.
pub(crate) struct Failure {
    pub(crate) error: FetchError,
    pub(crate) again: Again,
}

/// Whether to try the same once more, because it says nothing about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// No.
    No,
    /// Yes: the server did not look at the request (RFC 9113 §8.7), or an HTTP/2 connection died.
    /// Pingora knows that connection as dead by now.
    Yes,
    /// Yes, on a new connection: a kept one was found closed, and so may be the others.
    Fresh,
}

impl Failure {
    fn of(error: FetchError) -> Self {
        let again = Again::No;
        Self { error, again }
    }

    /// A failure between the request and the response head.
    fn judge(error: &Error, reused: bool, is_h1: bool) -> Self {
        // Which requests were not looked at, Pingora knows. Of kept connections that have closed it
        // passes over those over TLS, since some requests must not be made twice: ours may.
        let unseen = error.retry == RetryType::Decided(true);
        let error = FetchError::from_pingora(error);
        let closed = reused && error.kind == ErrorKind::ConnectionTerminated;
        let again = match (closed, is_h1) {
            (true, true) => Again::Fresh,
            (true, false) => Again::Yes,
            (false, _) if unseen => Again::Yes,
            (false, _) => Again::No,
        };
        Self { error, again }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::of(error)
    }
}

/// Asks the picked server once.
pub(crate) async fn attempt(
    connector: &Arc<Connector>,
    pick: &Pick,
    request: &Request,
    fresh: bool,
) -> Result<Answer, Failure> {
    let (mut exchange, reused) = connect(connector, pick, fresh).await?;
    let session = exchange.session();
    let digest = session.and_then(|session| session.digest());
    let connected = digest.and_then(Connected::of);
    let tls = digest.and_then(|digest| {
        // The lowest layer, TCP, comes first.
        let layer = digest.timing_digest.get(1)?.as_ref()?;
        layer.establishment_duration
    });
    let mut timings = match connected {
        Some(connected) if !reused => Timings {
            resolve: connected.resolve,
            connect: connected.connect,
            tls: tls.unwrap_or_default(),
            first_byte: Duration::ZERO,
        },
        _ => Timings::default(),
    };
    let sent = Instant::now();
    let head = match ask(connector, &mut exchange, pick, request, reused).await {
        Ok(head) => head,
        Err(Failure { error, again }) => {
            let error = error.address(connected.map(|it| it.address));
            return Err(Failure { error, again });
        }
    };
    timings.first_byte = sent.elapsed();
    Ok(Answer {
        exchange,
        head,
        connected,
        reused,
        timings,
    })
}

async fn connect(
    connector: &Arc<Connector>,
    pick: &Pick,
    fresh: bool,
) -> Result<(Exchange, bool), Failure> {
    let limits = pick.pool().settings().timeouts;
    let peer = pick.peer();
    let used = fresh.then(|| {
        // Under an identity that nobody has there is no kept connection.
        let mut used: Box<HttpPeer> = peer.clone();
        used.group_key = random::seed();
        used
    });
    let limit = limits
        .connect
        .saturating_add(limits.tls)
        .saturating_add(SLACK);
    let got = connector.get_http_session(used.as_deref().unwrap_or(&*peer));
    let (session, reused) = match timeout(limit, got).await {
        Ok(Ok(got)) => got,
        Ok(Err(error)) => {
            let mut failure = Failure::of(FetchError::from_pingora(&error));
            // Only an HTTP/2 connection that was kept fails so: a new one would fail to connect.
            if *error.etype() == ErrorType::H2Error {
                failure.again = Again::Yes;
            }
            return Err(failure);
        }
        Err(_) => {
            let detail = "no connection in time";
            return Err(FetchError::new(ErrorKind::ConnectionTimeout, detail).into());
        }
    };
    let connector = Arc::clone(connector);
    let exchange = match (used, &session) {
        // Pingora has noted an HTTP/2 connection under the identity it was made with, so it is
        // given back under that one too, where nobody finds it: it ages quickly.
        (Some(used), HttpSession::H2(_)) => {
            Exchange::new(connector, used, session, Duration::from_secs(1))
        }
        // One of HTTP/1.1 is noted when it is given back, and so under the right identity.
        _ => Exchange::new(connector, peer, session, limits.idle),
    };
    Ok((exchange, reused))
}

async fn ask(
    connector: &Connector,
    exchange: &mut Exchange,
    pick: &Pick,
    request: &Request,
    reused: bool,
) -> Result<Head, Failure> {
    let settings = pick.pool().settings();
    let limits = settings.timeouts;
    let Some(session) = exchange.session() else {
        return Err(fault("the session is gone").into());
    };
    let authority = settings.host.as_ref().unwrap_or(&request.authority);
    let is_h1 = matches!(session, HttpSession::H1(_));
    match session {
        HttpSession::H1(h1) => {
            let header = request::head_h1(request, authority)?;
            let written = timeout(limits.write, h1.write_request_header(header));
            match written.await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Failure::judge(&error, reused, is_h1)),
                Err(_) => {
                    let detail = format!("the request was not taken in {:?}", limits.write);
                    let kind = ErrorKind::ConnectionWriteTimeout;
                    return Err(FetchError::new(kind, detail).into());
                }
            }
        }
        HttpSession::H2(h2) => {
            let header = request::head_h2(request, authority, pick.tls())?;
            h2.write_request_header(header, true)
                .map_err(|error| Failure::judge(&error, reused, is_h1))?;
        }
        HttpSession::Custom(()) => return Err(fault("no such protocol").into()),
    }
    for _ in 0..=MAX_INFORMATIONAL {
        let read = timeout(limits.first_byte, session.read_response_header());
        match read.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                if matches!(error.etype(), ErrorType::H2Downgrade | ErrorType::InvalidH2) {
                    connector.prefer_h1(&*pick.peer());
                }
                return Err(Failure::judge(&error, reused, is_h1));
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
        if !is_h1 {
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

fn fault(detail: &'static str) -> FetchError {
    FetchError::new(ErrorKind::ProxyInternalError, detail)
}
