//! The loop of an HTTP/1 connection: head, answer, next.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
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
use crate::head::{BodyLength, FieldSpan, Head, HeadLimits, Parse, Parsed, Refusal, Scheme, parse};
use crate::mode::ModeWatch;
use crate::session::digest;
use crate::settings::Limits;
use crate::stream::ClientStream;

/// Room for a head at a time; most heads fit.
pub(super) const HEAD_ROOM: usize = 2048;
/// Responses that were ready at once gather up to this many bytes before they are written.
const GATHERED: usize = 64 * 1024;
/// How long an unwanted body is read before the connection is closed instead.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// How long, and how much, is read after the last byte was written, so that a reset does not overtake it (RFC 9112 §9.6).
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 512 * 1024;

/// What became of a request.
enum Step {
    /// A session is to be served.
    Session(Box<H1Session>),
    Refused(Refusal),
}

/// How the wait for a head ended.
enum Next {
    /// One for a session.
    Head(Parsed),
    Refused(Refusal),
    Close,
    /// The client is gone.
    Lost,
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
    watched: Watched,
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
            watched: Watched::default(),
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
                Next::Lost => return,
            };
            let keep = match self.begin(&parsed) {
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

    /// Waits for a head that is worth a session. What the application answers at once never leaves this loop: responses to
    /// pipelined requests gather, and go out in one write before the next read.
    async fn next_head(&mut self) -> Next {
        // From when a whole head is waited for: its first byte, or the start of the connection.
        let mut head_since = (self.served == 0).then(Instant::now);
        let mut idle_since = None;
        let mut looked_at = 0usize;
        let mut closing = false;
        let Self {
            shared,
            app,
            client,
            leaving,
            watched,
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
                if !closing
                    && wire.out.len() < GATHERED
                    && !fresh.is_empty()
                    && (looked_at == 0
                        || memchr::memchr(b'\n', fresh).is_some()
                        || wire.input.len() >= look_again_at)
                {
                    match parse(&wire.input, head_limits, spans) {
                        Parse::Complete(parsed) => {
                            *served = served.saturating_add(1);
                            client.requests.store(*served, Ordering::Relaxed);
                            wire.last = *served >= limits.keepalive_requests;
                            let Some(keep_alive) =
                                answer_at_once(wire, app.as_ref(), client, &parsed, spans)
                            else {
                                return Poll::Ready(Next::Head(parsed));
                            };
                            closing = !keep_alive;
                            looked_at = 0;
                            head_since = None;
                            idle_since = None;
                            continue;
                        }
                        Parse::Refused(refusal) => return Poll::Ready(Next::Refused(refusal)),
                        Parse::Partial => looked_at = wire.input.len(),
                    }
                }
                if !wire.out.is_empty() {
                    match wire.poll_flush(cx, 0) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Err(_)) => {
                            wire.stream.reset_on_close();
                            return Poll::Ready(Next::Lost);
                        }
                        // What was held back by the bound on what gathers is looked at now.
                        Poll::Ready(Ok(())) => continue,
                    }
                }
                if closing {
                    return Poll::Ready(Next::Close);
                }
                match wire.poll_fill(cx, HEAD_ROOM) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::Close),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending => {
                        let idle = wire.input.is_empty();
                        let now = Instant::now();
                        // Woken without a byte: whatever it was is asked.
                        let woken = idle_since.is_some();
                        let since = *idle_since.get_or_insert(now);
                        if idle
                            && *served > 0
                            && watched.leaving(cx, &mut wire.mode, leaving, woken)
                        {
                            return Poll::Ready(Next::Close);
                        }
                        let deadline = if idle && head_since.is_none() {
                            since + limits.idle_timeout
                        } else {
                            *head_since.get_or_insert(now) + limits.header_timeout
                        };
                        if wire.read_timer.poll_at(cx, deadline, now).is_pending() {
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

    /// Makes a session.
    fn begin(&mut self, parsed: &Parsed) -> Step {
        let mut wire = self.shared.wire.lock();
        let wire_ref = &mut *wire;
        let head = parsed.view(&wire_ref.input, &self.spans);
        if is_other_scheme(&head, &self.client) {
            return Step::Refused(Refusal::bad("the target's scheme is not the connection's"));
        }
        wire_ref.response = ResponseState::default();
        wire_ref.write_timeout = self.limits.write_timeout;
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

/// Lets the application answer a request without a session; whether the connection is kept then. `None`: it wants one.
fn answer_at_once<A: Application>(
    wire: &mut Wire,
    app: &A,
    client: &Arc<ClientInfo>,
    parsed: &Parsed,
    spans: &[FieldSpan],
) -> Option<bool> {
    let head = parsed.view(&wire.input, spans);
    let empty = matches!(head.body(), BodyLength::None | BodyLength::Length(0));
    if !empty || head.is_upgrade() || is_other_scheme(&head, client) {
        return None;
    }
    let keep_alive = head.keep_alive() && !wire.last && !wire.mode.leaving();
    let mut buffer = wire.out.buffer();
    let start = buffer.len();
    let mut response = HotResponse {
        head: &mut buffer,
        body: Bytes::new(),
        keep_alive,
    };
    if !app.hot(&head, client, &mut response) {
        buffer.truncate(start);
        wire.out.put_back(buffer);
        return None;
    }
    let keep_alive = response.keep_alive && keep_alive;
    let body = response.body;
    if !keep_alive {
        buffer.put_slice(b"Connection: close\r\n");
    } else if head.version() == crate::head::Version::Http10 {
        buffer.put_slice(b"Connection: keep-alive\r\n");
    }
    buffer.put_slice(b"\r\n");
    wire.out.push_owned(buffer);
    wire.out.push_bytes(body);
    let len = parsed.head_len().min(wire.input.len());
    wire.input.advance(len);
    wire.request = RequestState::answered(keep_alive);
    wire.response = ResponseState::answered(keep_alive);
    Some(keep_alive)
}

fn is_other_scheme(head: &Head<'_>, client: &ClientInfo) -> bool {
    match head.scheme() {
        Some(Scheme::Http) => client.tls.is_some(),
        Some(Scheme::Https) => client.tls.is_none(),
        None => false,
    }
}

/// Who is woken when connections are to end.
#[derive(Default)]
struct Watched {
    waker: Option<Waker>,
    /// The mode's changes when it was noted.
    changes: u32,
}

impl Watched {
    /// Whether the connection is to end. The wait for that is polled only where it may have lost this task: it takes a lock that all
    /// connections share.
    fn leaving(
        &mut self,
        cx: &mut Context<'_>,
        mode: &mut ModeWatch,
        wait: &mut Pin<Box<dyn Future<Output = ()> + Send>>,
        woken: bool,
    ) -> bool {
        if mode.leaving() {
            return true;
        }
        let noted = self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()));
        if !woken && noted && self.changes == mode.changes() {
            return false;
        }
        if wait.as_mut().poll(cx).is_ready() {
            return true;
        }
        if !noted {
            self.waker = Some(cx.waker().clone());
        }
        self.changes = mode.changes();
        false
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
