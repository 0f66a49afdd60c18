//! The loop of an HTTP/1 connection: head, answer, next.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::StatusCode;
use parking_lot::Mutex;
use pingora_core::protocols::Digest;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::body::{DRAIN_BYTES, RequestState};
use super::request;
use super::response::ResponseState;
use super::session::H1Session;
use super::wire::{Shared, Wire, WireError};
use crate::application::{Application, Event, HotResponse};
use crate::client::ClientInfo;
use crate::date::append_date;
use crate::head::{BodyLength, FieldSpan, HeadLimits, Parse, Parsed, Refusal, Scheme, parse};
use crate::mode::ModeWatch;
use crate::session::digest;
use crate::settings::Limits;
use crate::stream::ClientStream;

/// Room for a head at a time; most heads fit.
pub(super) const HEAD_ROOM: usize = 2048;
/// How long an unwanted body is read before the connection is closed instead.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// How long, and how much, is read after the last byte was written, so that a reset does not overtake it (RFC 9112 §9.6).
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 512 * 1024;

/// What became of a request.
enum Step {
    /// The application answered at once.
    Answered,
    /// A session is to be served.
    Session(Box<H1Session>),
    Refused(Refusal),
}

/// How the wait for a head ended.
enum Next {
    Head(Parsed),
    Refused(Refusal),
    Close,
}

/// One connection.
pub(crate) struct Connection<A> {
    shared: Arc<Shared>,
    app: Arc<A>,
    client: Arc<ClientInfo>,
    digest: Arc<Digest>,
    limits: Arc<Limits>,
    head_limits: HeadLimits,
    leaving: Pin<Box<dyn Future<Output = ()> + Send>>,
    spans: Vec<FieldSpan>,
    served: u64,
}

impl<A: Application> Connection<A> {
    /// `input` is what was read while the protocol was found out.
    pub(crate) fn new(
        stream: ClientStream,
        input: BytesMut,
        client: Arc<ClientInfo>,
        app: Arc<A>,
        limits: Arc<Limits>,
        mode: ModeWatch,
    ) -> Self {
        let digest = digest(&client, &stream);
        let wire = Mutex::new(Wire::new(stream, input, Arc::clone(&limits), mode.clone()));
        Self {
            shared: Arc::new(Shared {
                wire,
                returned: Notify::new(),
            }),
            app,
            client,
            digest,
            head_limits: HeadLimits {
                bytes: limits.header_bytes,
                fields: limits.header_count,
                target: limits.uri_bytes,
            },
            limits,
            leaving: Box::pin(mode.until_leaving()),
            spans: Vec::new(),
            served: 0,
        }
    }

    /// Serves requests until the connection ends.
    pub(crate) async fn run(mut self) {
        loop {
            let parsed = match self.next_head().await {
                Next::Head(parsed) => parsed,
                Next::Refused(refusal) => return self.refuse(refusal).await,
                Next::Close => return self.close().await,
            };
            self.served = self.served.saturating_add(1);
            self.client.requests.store(self.served, Ordering::Relaxed);
            let keep = match self.begin(&parsed) {
                Step::Answered => self.end_response().await,
                Step::Session(session) => {
                    self.serve(session).await;
                    self.end_response().await
                }
                Step::Refused(refusal) => return self.refuse(refusal).await,
            };
            match keep {
                Ok(true) => {}
                Ok(false) => return self.close().await,
                Err(Some(refusal)) => return self.refuse(refusal).await,
                Err(None) => return,
            }
        }
    }

    /// Waits for a whole head and parses it.
    async fn next_head(&mut self) -> Next {
        let started = Instant::now();
        // From when a whole head is waited for: its first byte, or the start of the connection.
        let mut head_since = (self.served == 0).then_some(started);
        let mut looked_at = 0usize;
        let Self {
            shared,
            leaving,
            spans,
            head_limits,
            limits,
            served,
            ..
        } = self;
        // Beyond this a head without a line's end is refused by the parser.
        let look_again_at = head_limits.bytes.min(head_limits.target.saturating_add(64));
        poll_fn(|cx| {
            let mut wire = shared.wire.lock();
            let wire = &mut *wire;
            loop {
                let fresh = wire.input.get(looked_at..).unwrap_or_default();
                // Only an end of line can complete or spoil what was partial before.
                if !fresh.is_empty()
                    && (looked_at == 0
                        || memchr::memchr(b'\n', fresh).is_some()
                        || wire.input.len() >= look_again_at)
                {
                    match parse(&wire.input, head_limits, spans) {
                        Parse::Complete(parsed) => return Poll::Ready(Next::Head(parsed)),
                        Parse::Refused(refusal) => return Poll::Ready(Next::Refused(refusal)),
                        Parse::Partial => {}
                    }
                }
                looked_at = wire.input.len();
                match wire.poll_fill(cx, HEAD_ROOM) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::Close),
                    Poll::Ready(Ok(_)) => {
                        head_since.get_or_insert_with(Instant::now);
                    }
                    Poll::Pending => {
                        let idle = wire.input.is_empty();
                        if idle && *served > 0 && leaving.as_mut().poll(cx).is_ready() {
                            return Poll::Ready(Next::Close);
                        }
                        let deadline = match head_since {
                            Some(since) => since + limits.header_timeout,
                            None => started + limits.idle_timeout,
                        };
                        if wire.read_timer.poll(cx, deadline).is_pending() {
                            return Poll::Pending;
                        }
                        // Who has sent nothing gets nothing.
                        return Poll::Ready(if idle {
                            Next::Close
                        } else {
                            Next::Refused(HEAD_TIMEOUT)
                        });
                    }
                }
            }
        })
        .await
    }

    /// Lets the application answer at once, or makes a session.
    fn begin(&mut self, parsed: &Parsed) -> Step {
        let mut wire = self.shared.wire.lock();
        let wire_ref = &mut *wire;
        let head = parsed.view(&wire_ref.input, &self.spans);
        let other_scheme = match head.scheme() {
            Some(Scheme::Http) => self.client.tls.is_some(),
            Some(Scheme::Https) => self.client.tls.is_none(),
            None => false,
        };
        if other_scheme {
            return Step::Refused(Refusal::bad("the target's scheme is not the connection's"));
        }
        wire_ref.last = self.served >= self.limits.keepalive_requests;
        wire_ref.response = ResponseState::default();
        wire_ref.write_timeout = self.limits.write_timeout;
        if matches!(head.body(), BodyLength::None | BodyLength::Length(0)) && !head.is_upgrade() {
            let keep_alive = head.keep_alive() && !wire_ref.last && !wire_ref.mode.leaving();
            let mut buffer = wire_ref.out.buffer();
            let mut response = HotResponse {
                head: &mut buffer,
                body: Bytes::new(),
                keep_alive,
            };
            if self.app.hot(&head, &self.client, &mut response) {
                let keep_alive = response.keep_alive && keep_alive;
                let body = response.body;
                if !keep_alive {
                    buffer.put_slice(b"Connection: close\r\n");
                } else if head.version() == crate::head::Version::Http10 {
                    buffer.put_slice(b"Connection: keep-alive\r\n");
                }
                buffer.put_slice(b"\r\n");
                wire_ref.out.push_owned(buffer);
                wire_ref.out.push_bytes(body);
                let len = parsed.head_len().min(wire_ref.input.len());
                wire_ref.input.advance(len);
                wire_ref.request = RequestState::answered(keep_alive);
                wire_ref.response = ResponseState::answered(keep_alive);
                return Step::Answered;
            }
        }
        wire_ref.request = RequestState::new(&head, self.limits.body_timeout);
        let bytes = wire_ref
            .input
            .split_to(parsed.head_len().min(wire_ref.input.len()))
            .freeze();
        match request::build(&bytes, parsed, &self.spans, &self.client) {
            Ok(request) => {
                drop(wire);
                Step::Session(Box::new(H1Session::new(
                    Arc::clone(&self.shared),
                    request,
                    Arc::clone(&self.digest),
                )))
            }
            Err(refusal) => Step::Refused(refusal),
        }
    }

    /// Runs the application; whenever it waits, what the session has left to write is written.
    async fn serve(&mut self, session: Box<H1Session>) {
        {
            let mut serving = Box::pin(self.app.serve(session));
            let shared = &self.shared;
            poll_fn(|cx: &mut Context<'_>| {
                if serving.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                let mut wire = shared.wire.lock();
                if !wire.is_broken()
                    && !wire.out.is_empty()
                    && matches!(wire.poll_flush(cx, 0), Poll::Ready(Err(_)))
                {
                    // The session's next step is to learn of it.
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            })
            .await;
        }
        // An application that keeps the session in another task still holds the connection.
        while self.shared.wire.lock().lent {
            self.shared.returned.notified().await;
        }
    }

    /// After a response: whether the connection goes on. An error carries what is still to be answered.
    async fn end_response(&mut self) -> Result<bool, Option<Refusal>> {
        let keep_alive = {
            let wire = self.shared.wire.lock();
            if wire.is_broken() {
                wire.stream.reset_on_close();
                return Err(None);
            }
            // A tunnel has no end of its own: whoever closes first ends it.
            if !wire.response.is_ended() && !wire.response.is_tunnel() {
                if !wire.response.is_open() {
                    // Cut short: the client is to see it.
                    wire.stream.reset_on_close();
                    return Err(None);
                }
                return Err(Some(unanswered(&wire)));
            }
            wire.response.keep_alive && wire.request.keep_alive
        };
        self.flush().await.map_err(|_| None)?;
        if !keep_alive {
            return Ok(false);
        }
        Ok(self.drain_body().await)
    }

    async fn flush(&mut self) -> Result<(), WireError> {
        poll_fn(|cx| self.shared.wire.lock().poll_flush(cx, 0)).await
    }

    /// Reads what is left of the body; false when it is too much or too slow.
    async fn drain_body(&mut self) -> bool {
        if self.shared.wire.lock().request.is_done() {
            return true;
        }
        if !self.shared.wire.lock().request.is_drainable() {
            return false;
        }
        let drain = async {
            let mut left = DRAIN_BYTES;
            loop {
                match poll_fn(|cx| self.shared.wire.lock().poll_body(cx)).await {
                    Ok(None) => return true,
                    Ok(Some(piece)) => match left.checked_sub(piece.len() as u64) {
                        Some(rest) => left = rest,
                        None => return false,
                    },
                    Err(_) => return false,
                }
            }
        };
        timeout(DRAIN_TIME, drain).await.unwrap_or(false)
    }

    /// Answers a request that has no meaning, and closes.
    async fn refuse(mut self, refusal: Refusal) {
        self.app.event(Event::RequestRefused {
            client: &self.client,
            status: refusal.status,
            reason: refusal.reason,
        });
        self.shared
            .wire
            .lock()
            .out
            .push_owned(refusal_response(refusal));
        if self.flush().await.is_ok() {
            self.close().await;
        }
    }

    /// Closes such that what was written arrives.
    async fn close(self) {
        if self.shared.wire.lock().is_broken() {
            return;
        }
        let goodbye = async {
            if poll_fn(|cx| self.shared.wire.lock().poll_shutdown(cx))
                .await
                .is_err()
                || self.shared.wire.lock().is_eof()
            {
                return;
            }
            let mut left = LINGER_BYTES;
            while left > 0 {
                let read = poll_fn(|cx| {
                    let mut wire = self.shared.wire.lock();
                    wire.input.clear();
                    wire.poll_fill(cx, HEAD_ROOM)
                })
                .await;
                match read {
                    Ok(0) | Err(_) => return,
                    Ok(n) => left = left.saturating_sub(n),
                }
            }
        };
        // Whoever has not closed by now has had its time.
        let _ = timeout(LINGER_TIME, goodbye).await;
    }
}

const HEAD_TIMEOUT: Refusal = Refusal::new(408, "request head takes too long");

/// What to tell a client whose request the application left unanswered.
fn unanswered(wire: &Wire) -> Refusal {
    match wire.request.refusal {
        Some(refusal) => refusal,
        None if wire.request.timed_out => Refusal::new(408, "request body takes too long"),
        None => Refusal::new(500, "no answer"),
    }
}

/// A whole response that refuses a request and closes the connection.
fn refusal_response(refusal: Refusal) -> BytesMut {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let text = status.canonical_reason().unwrap_or("Refused");
    let mut out = BytesMut::with_capacity(256);
    out.put_slice(format!("HTTP/1.1 {} {text}\r\nDate: ", status.as_u16()).as_bytes());
    append_date(&mut out);
    let body = format!("{} {text}: {}\n", status.as_u16(), refusal.reason);
    out.put_slice(
        format!(
            "\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    out
}
