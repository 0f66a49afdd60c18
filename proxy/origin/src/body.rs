//! A response body as a stream that never ends early without saying so.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::http::client::HttpSession;
use tokio::time::{Instant, timeout_at};

use crate::connect::Connected;
use crate::error::{ErrorKind, FetchError};
use crate::exchange::Exchange;
use crate::pool::Pick;

/// A response body.
///
/// The connection is kept for others only after a clean end. Dropping the stream before that
/// closes it (HTTP/1.1) or resets it (HTTP/2).
pub struct BodyStream {
    state: State,
    pick: Option<Pick>,
    between: Duration,
    expected: Option<u64>,
    received: u64,
    trailers: Option<HeaderMap>,
    connected: Option<Connected>,
}

enum State {
    Open(Box<Exchange>),
    Ended,
    Failed(FetchError),
}

impl BodyStream {
    pub(crate) fn open(
        exchange: Exchange,
        pick: Pick,
        expected: Option<u64>,
        connected: Option<Connected>,
    ) -> Self {
        Self {
            between: pick.pool().settings().timeouts.between_bytes,
            state: State::Open(Box::new(exchange)),
            pick: Some(pick),
            expected,
            received: 0,
            trailers: None,
            connected,
        }
    }

    /// The length that the response head says, in bytes.
    #[must_use]
    pub fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// Bytes received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// True once the whole body has come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The trailer section (RFC 9110 §6.5), once the body has ended. HTTP/2 only: Pingora drops
    /// that of HTTP/1.1.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// The next piece, never empty; None after the last one. Not cancel safe: a stream whose
    /// `next` was given up can only be dropped.
    ///
    /// # Errors
    /// The body ended early, stalled, or is malformed. The same error comes again if asked again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let exchange = match &mut self.state {
            State::Open(exchange) => exchange,
            State::Ended => return Ok(None),
            State::Failed(error) => return Err(error.clone()),
        };
        let deadline = Instant::now() + self.between;
        let read = timeout_at(deadline, read(exchange));
        match read.await.unwrap_or_else(|_| Err(stalled(self.between))) {
            Ok(Some(piece)) => {
                let received = self.received.saturating_add(piece.len() as u64);
                self.received = received;
                match self.expected {
                    Some(expected) if received > expected => {
                        Err(self.fail(ErrorKind::HttpProtocolError, "more bytes than said"))
                    }
                    _ => Ok(Some(piece)),
                }
            }
            Ok(None) => self.end(deadline).await.map(|()| None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The body has ended as far as its framing goes.
    pub(crate) async fn end(&mut self, deadline: Instant) -> Result<(), FetchError> {
        if self
            .expected
            .is_some_and(|expected| expected != self.received)
        {
            return Err(self.fail(ErrorKind::HttpResponseIncomplete, "fewer bytes than said"));
        }
        let State::Open(exchange) = &mut self.state else {
            return Ok(());
        };
        let trailers = timeout_at(deadline, trailers(exchange));
        match trailers
            .await
            .unwrap_or_else(|_| Err(stalled(self.between)))
        {
            Ok(trailers) => self.trailers = trailers,
            Err(error) => return Err(self.failed(error)),
        }
        exchange.release().await;
        self.state = State::Ended;
        // The place under the site's cap is free as soon as the connection is.
        self.pick = None;
        Ok(())
    }

    fn fail(&mut self, kind: ErrorKind, detail: &'static str) -> FetchError {
        let detail = format!("{detail}: {} of {:?}", self.received, self.expected);
        self.failed(FetchError::new(kind, detail))
    }

    fn failed(&mut self, mut error: FetchError) -> FetchError {
        if let Some(pick) = self.pick.take() {
            error = error.at(pick.site(), pick.server());
            error = error.address(self.connected.map(|it| it.address));
            pick.failed(&error);
            tracing::warn!(
                site = %pick.site(),
                server = %pick.server(),
                received = self.received,
                expected = self.expected,
                %error,
                "a response from the origin broke off",
            );
        }
        self.state = State::Failed(error.clone());
        error
    }

    /// The site's id, while the body is still coming.
    #[must_use]
    pub fn site(&self) -> Option<&Arc<str>> {
        self.pick.as_ref().map(Pick::site)
    }
}

impl fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyStream")
            .field("received", &self.received)
            .field("expected", &self.expected)
            .field("ended", &self.is_ended())
            .finish_non_exhaustive()
    }
}

fn stalled(limit: Duration) -> FetchError {
    let detail = format!("no byte of the body in {limit:?}");
    FetchError::new(ErrorKind::ConnectionReadTimeout, detail)
}

fn given_back() -> FetchError {
    FetchError::new(
        ErrorKind::ProxyInternalError,
        "the connection was given back",
    )
}

async fn read(exchange: &mut Exchange) -> Result<Option<Bytes>, FetchError> {
    let session = exchange.session().ok_or_else(given_back)?;
    loop {
        match session.read_response_body().await {
            // Pingora hands out an empty piece where it read half of a chunk's head.
            Ok(Some(piece)) if piece.is_empty() => {}
            Ok(piece) => return Ok(piece),
            Err(error) => return Err(FetchError::from_body(&error)),
        }
    }
}

async fn trailers(exchange: &mut Exchange) -> Result<Option<HeaderMap>, FetchError> {
    let HttpSession::H2(h2) = exchange.session().ok_or_else(given_back)? else {
        return Ok(None);
    };
    let trailers = h2.read_trailers().await;
    let trailers = trailers.map_err(|error| FetchError::from_body(&error))?;
    // A stream that was reset looks ended, too.
    match h2.check_response_end_or_error() {
        Ok(true) => Ok(trailers),
        Ok(false) => Err(FetchError::new(
            ErrorKind::HttpResponseIncomplete,
            "the stream has not ended",
        )),
        Err(error) => Err(FetchError::from_body(&error)),
    }
}
