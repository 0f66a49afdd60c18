//! The loop of an HTTP/2 connection: streams in, tasks out, and an eye on the client.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::{Method, Request, Response, StatusCode, header};
use parking_lot::Mutex;
use pingora_core::protocols::Digest;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::meter::{Gather, Metered, Reading};
use super::request::{Checked, check};
use super::session::H2Session;
use super::stream::Stream;
use crate::accept::unread;
use crate::application::{Application, Event};
use crate::client::ClientInfo;
use crate::head::Refusal;
use crate::mode::ModeWatch;
use crate::session::digest;
use crate::settings::Limits;
use crate::stream::ClientStream;
use crate::timer::Timer;

/// Windows for request bodies. Their sum bounds what a connection can make us hold.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How much of responses may wait within `h2` for each stream.
const SEND_BUFFER: usize = 64 * 1024;
/// After so long without a byte from a client with open streams it is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(30);
/// And has so long to answer.
const PONG_WITHIN: Duration = Duration::from_secs(15);
/// How long a GOAWAY may take to be written, and a client without streams to close after it.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves a connection until it ends. `ahead` is what was read while the protocol was found out.
pub(crate) async fn serve<A: Application>(
    mut stream: ClientStream,
    ahead: Bytes,
    client: Arc<ClientInfo>,
    app: Arc<A>,
    limits: Arc<Limits>,
    mut mode: ModeWatch,
) {
    let digest = digest(&client, &stream);
    unread(&mut stream, ahead);
    let gather = Gather::default();
    let (stream, reading) = Metered::new(stream, limits.h2_resets, gather.clone());
    let resets = usize::try_from(limits.h2_resets).unwrap_or(usize::MAX);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(limits.h2_header_list)
        .max_concurrent_reset_streams(resets)
        .max_pending_accept_reset_streams(resets)
        .max_local_error_reset_streams(Some(resets));
    let Ok(Ok(mut connection)) = timeout(limits.header_timeout, builder.handshake(stream)).await
    else {
        return;
    };
    let pings = connection.ping_pong();
    let loop_ = Loop {
        connection,
        app,
        client,
        digest,
        limits,
        reading,
        gather,
        open: Arc::new(Open::default()),
        leaving: Box::pin(mode.clone().until_leaving()),
        new_while_leaving: mode.leaving(),
        goodbye_said: false,
        served: 0,
        malformed: 0,
        idle_since: None,
        ping: pings.map(|pings| Pings { pings, sent: None }),
        timer: Timer::default(),
    };
    loop_.run().await;
}

/// How many sessions are open.
#[derive(Debug, Default)]
struct Open {
    count: AtomicUsize,
    changed: Notify,
}

/// One of them.
struct OpenGuard(Arc<Open>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_one();
        }
    }
}

struct Pings {
    pings: PingPong,
    /// When a ping was sent that has not been answered.
    sent: Option<Instant>,
}

enum Step {
    Request(Box<(Request<RecvStream>, SendResponse<Bytes>)>),
    Abuse(&'static str),
    End,
}

struct Loop<A> {
    connection: Connection<Metered, Bytes>,
    app: Arc<A>,
    client: Arc<ClientInfo>,
    digest: Arc<Digest>,
    limits: Arc<Limits>,
    reading: Arc<Mutex<Reading>>,
    gather: Gather,
    open: Arc<Open>,
    leaving: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The connection came when the node was leaving already: it is served one request.
    new_while_leaving: bool,
    goodbye_said: bool,
    served: u64,
    malformed: u32,
    idle_since: Option<Instant>,
    ping: Option<Pings>,
    timer: Timer,
}

impl<A: Application> Loop<A> {
    async fn run(mut self) {
        loop {
            let open = Arc::clone(&self.open);
            let mut changed = std::pin::pin!(open.changed.notified());
            let step = poll_fn(|cx| {
                // Woken when the last session closes, so that the idle time begins; the next turn waits anew.
                if changed.as_mut().poll(cx).is_ready() {
                    changed.set(open.changed.notified());
                    let _ = changed.as_mut().poll(cx);
                }
                self.poll_step(cx)
            })
            .await;
            match step {
                Step::Request(request) => {
                    let (request, respond) = *request;
                    self.accept(request, respond);
                }
                Step::Abuse(reason) => return self.throw_out(reason).await,
                Step::End => return,
            }
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok(request))) => {
                    return Poll::Ready(Step::Request(Box::new(request)));
                }
                Poll::Ready(None) => return Poll::Ready(Step::End),
                // An error is the connection's: the client is gone, or has been told by GOAWAY.
                Poll::Ready(Some(Err(error))) => {
                    let calm =
                        error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
                    let abuse = self
                        .reading
                        .lock()
                        .abuse
                        .or(calm.then_some("too many frames of a kind"));
                    if let Some(reason) = abuse {
                        self.app.event(Event::Abuse {
                            client: &self.client,
                            reason,
                        });
                    }
                    return Poll::Ready(Step::End);
                }
                // No further request: what was answered at once goes out now.
                Poll::Pending if self.gather.end() => continue,
                Poll::Pending => {}
            }
            let (abuse, last_read, partial_since) = {
                let reading = self.reading.lock();
                (reading.abuse, reading.last_read, reading.partial_since)
            };
            if let Some(reason) = abuse {
                return Poll::Ready(Step::Abuse(reason));
            }
            if self.malformed > self.limits.h2_resets {
                return Poll::Ready(Step::Abuse("too many malformed requests"));
            }
            let now = Instant::now();
            // What a finished session left with `h2` is still on its way.
            let idle =
                self.open.count.load(Ordering::Acquire) == 0 && !self.connection.has_streams();
            if self.wants_goodbye(cx) && !self.goodbye_said {
                self.goodbye_said = true;
                self.idle_since = None;
                self.connection.graceful_shutdown();
                // The GOAWAY is to be written.
                continue;
            }
            let mut deadline = None;
            let mut sooner =
                |at: Instant| deadline = Some(deadline.map_or(at, |other: Instant| other.min(at)));
            if let Some(since) = partial_since {
                if now >= since + self.limits.header_timeout {
                    return Poll::Ready(Step::Abuse("field block takes too long"));
                }
                sooner(since + self.limits.header_timeout);
            }
            if idle {
                let since = *self.idle_since.get_or_insert(now);
                let limit = if self.goodbye_said {
                    GOODBYE
                } else {
                    self.limits.idle_timeout
                };
                if now >= since + limit {
                    if self.goodbye_said {
                        return Poll::Ready(Step::End);
                    }
                    self.goodbye_said = true;
                    self.idle_since = None;
                    self.connection.graceful_shutdown();
                    continue;
                }
                sooner(since + limit);
            } else {
                self.idle_since = None;
                if self.poll_ping(cx, now, last_read, &mut sooner).is_ready() {
                    return Poll::Ready(Step::End);
                }
            }
            match deadline {
                None => return Poll::Pending,
                Some(at) if self.timer.poll(cx, at).is_pending() => return Poll::Pending,
                Some(_) => {}
            }
        }
    }

    /// Whether the connection is to end: the node is leaving, or it has carried enough.
    fn wants_goodbye(&mut self, cx: &mut Context<'_>) -> bool {
        if self.goodbye_said || self.served >= self.limits.keepalive_requests {
            return true;
        }
        if self.new_while_leaving {
            return self.served > 0;
        }
        self.leaving.as_mut().poll(cx).is_ready()
    }

    /// Asks a silent client whether it is there; ready when it is not.
    fn poll_ping(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        last_read: Instant,
        sooner: &mut impl FnMut(Instant),
    ) -> Poll<()> {
        let Some(ping) = &mut self.ping else {
            return Poll::Pending;
        };
        if ping.sent.is_some() && ping.pings.poll_pong(cx).is_ready() {
            ping.sent = None;
        }
        match ping.sent {
            // Any byte is a sign of life.
            Some(sent) if last_read <= sent && now >= sent + PONG_WITHIN => return Poll::Ready(()),
            Some(sent) if last_read <= sent => sooner(sent + PONG_WITHIN),
            Some(_) => {}
            None if now >= last_read + PING_AFTER => {
                if ping.pings.send_ping(Ping::opaque()).is_ok() {
                    ping.sent = Some(now);
                    // Registers for the answer, and has the ping written.
                    let _ = ping.pings.poll_pong(cx);
                    cx.waker().wake_by_ref();
                }
                sooner(now + PONG_WITHIN);
            }
            None => sooner(last_read + PING_AFTER),
        }
        Poll::Pending
    }

    /// Checks a request and gives it a task.
    fn accept(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        self.served = self.served.saturating_add(1);
        self.client.requests.store(self.served, Ordering::Relaxed);
        let (parts, body) = request.into_parts();
        let head_method = parts.method == Method::HEAD;
        let Checked {
            request,
            expects_continue,
        } = match check(parts, body.is_end_stream(), &self.client, &self.limits) {
            Ok(checked) => checked,
            Err(refusal) => {
                self.malformed = self.malformed.saturating_add(1);
                self.app.event(Event::RequestRefused {
                    client: &self.client,
                    status: refusal.status,
                    reason: refusal.reason,
                });
                return refuse(refusal, head_method, &mut respond);
            }
        };
        let hot = body
            .is_end_stream()
            .then(|| self.app.hot_stream(&request, &self.client))
            .flatten();
        let mut stream = Stream::new(
            body,
            respond,
            head_method,
            expects_continue,
            Arc::clone(&self.limits),
        );
        if let Some(reply) = hot {
            // A stream that is gone needs no answer.
            if stream.put_whole(reply).is_ok() {
                self.gather.begin();
                self.finish(stream);
            }
            return;
        }
        let guard = self.count();
        let session = Box::new(H2Session::new(
            stream,
            request,
            Arc::clone(&self.digest),
            Box::new(guard),
        ));
        let app = Arc::clone(&self.app);
        tokio::spawn(async move { app.serve(session).await });
    }

    fn count(&self) -> OpenGuard {
        self.open.count.fetch_add(1, Ordering::AcqRel);
        OpenGuard(Arc::clone(&self.open))
    }

    /// Gives `h2` a whole response: at once where the client's windows have room, else in a task that waits for it.
    fn finish(&self, mut stream: Stream) {
        if stream
            .poll_flush(&mut Context::from_waker(Waker::noop()))
            .is_ready()
        {
            return;
        }
        let guard = self.count();
        tokio::spawn(async move {
            let _guard = guard;
            if poll_fn(|cx| stream.poll_flush(cx)).await.is_err() {
                stream.reset(Reason::INTERNAL_ERROR);
            }
        });
    }

    /// Ends the connection with ENHANCE_YOUR_CALM.
    async fn throw_out(mut self, reason: &'static str) {
        self.app.event(Event::Abuse {
            client: &self.client,
            reason,
        });
        self.gather.end();
        self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        // It is told once; what it still sends is not read for long.
        let _ = timeout(GOODBYE, poll_fn(|cx| self.connection.poll_closed(cx))).await;
    }
}

/// Answers a request that has no meaning.
fn refuse(refusal: Refusal, head_method: bool, respond: &mut SendResponse<Bytes>) {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let text = format!(
        "{} {}: {}\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Refused"),
        refusal.reason
    );
    let mut response = Response::new(());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    headers.insert(header::CONTENT_LENGTH, text.len().into());
    // The stream may be gone, which is as well. The text is shorter than the smallest window that makes sense; with a smaller one it waits in `h2`.
    if let Ok(mut send) = respond.send_response(response, head_method)
        && !head_method
    {
        let _ = send.send_data(text.into(), true);
    }
}
