//! The request body as it comes off the wire.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::chunked::{Chunk, ChunkedDecoder};
use super::wire::{Wire, WireError};
use crate::head::{BodyLength, Head, Refusal, Version};
use crate::pace::Pace;

/// How much of a body that nobody wanted is read so that the connection can be kept.
pub(super) const DRAIN_BYTES: u64 = 64 * 1024;
const BODY_ROOM: usize = 16 * 1024;
const TUNNEL_ROOM: usize = 4 * 1024;

/// What is left of the body.
#[derive(Debug, Default)]
pub(super) enum Body {
    #[default]
    Done,
    Length(u64),
    Chunked(ChunkedDecoder),
    /// After 101: bytes without framing until the client closes.
    Tunnel,
}

/// The current request, as far as the wire has to know it.
#[derive(Debug, Default)]
pub(super) struct RequestState {
    pub(super) body: Body,
    /// The head announced no body, or one of length 0.
    pub(super) empty: bool,
    /// The client waits for "100 Continue".
    pub(super) expects_continue: bool,
    pub(super) keep_alive: bool,
    pub(super) head_method: bool,
    pub(super) http10: bool,
    pub(super) takes_trailers: bool,
    pub(super) upgrade: bool,
    /// What was wrong with the body.
    pub(super) refusal: Option<Refusal>,
    pub(super) timed_out: bool,
    /// Longest pause between pieces; `None` in a tunnel unless the application asks for one.
    pub(super) body_timeout: Option<Duration>,
    pace: Pace,
}

impl RequestState {
    pub(super) fn new(head: &Head<'_>, body_timeout: Duration) -> Self {
        let (body, empty) = match head.body() {
            BodyLength::None | BodyLength::Length(0) => (Body::Done, true),
            BodyLength::Length(length) => (Body::Length(length), false),
            BodyLength::Chunked => (Body::Chunked(ChunkedDecoder::default()), false),
        };
        Self {
            body,
            empty,
            expects_continue: head.expects_continue() && !empty,
            keep_alive: head.keep_alive(),
            head_method: head.method() == "HEAD",
            http10: head.version() == Version::Http10,
            takes_trailers: head.takes_trailers(),
            upgrade: head.is_upgrade(),
            body_timeout: Some(body_timeout),
            ..Self::default()
        }
    }

    /// A request without a body whose response is queued.
    pub(super) fn answered(keep_alive: bool) -> Self {
        Self {
            empty: true,
            keep_alive,
            ..Self::default()
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.body, Body::Done)
    }

    /// Whether what is left of the body is worth reading for the sake of the connection. A client that waits for "100 Continue" may
    /// send its body or not, so its next bytes have two meanings.
    pub(super) fn is_drainable(&self) -> bool {
        match self.body {
            Body::Done => true,
            Body::Length(left) => left <= DRAIN_BYTES && !self.expects_continue,
            Body::Chunked(_) => !self.expects_continue,
            Body::Tunnel => false,
        }
    }

    /// Turns the rest of the stream into a tunnel.
    pub(super) fn start_tunnel(&mut self) {
        self.body = Body::Tunnel;
        self.body_timeout = None;
    }

    /// Takes what it can from the input; `Ok(None)` when more input is needed.
    fn take(&mut self, input: &mut bytes::BytesMut) -> Result<Option<Option<Bytes>>, Refusal> {
        match &mut self.body {
            Body::Done => Ok(Some(None)),
            _ if input.is_empty() => Ok(None),
            Body::Length(left) => {
                let n = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                *left -= n as u64;
                if *left == 0 {
                    self.body = Body::Done;
                }
                Ok(Some(Some(input.split_to(n).freeze())))
            }
            Body::Chunked(decoder) => match decoder.decode(input)? {
                Chunk::Data(data) => Ok(Some(Some(data))),
                Chunk::More => Ok(None),
                Chunk::End => {
                    self.body = Body::Done;
                    Ok(Some(None))
                }
            },
            Body::Tunnel => Ok(Some(Some(input.split().freeze()))),
        }
    }
}

impl Wire {
    /// The next piece of the body; `None` when it is over.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, WireError>> {
        loop {
            if let Some(refusal) = self.request.refusal {
                return Poll::Ready(Err(WireError::Malformed(refusal)));
            }
            match self.request.take(&mut self.input) {
                Ok(Some(piece)) => return Poll::Ready(Ok(piece)),
                Ok(None) => {}
                Err(refusal) => {
                    self.request.refusal = Some(refusal);
                    self.request.keep_alive = false;
                    return Poll::Ready(Err(WireError::Malformed(refusal)));
                }
            }
            if self.request.expects_continue {
                self.request.expects_continue = false;
                if self.response.is_open() {
                    self.out.push(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
            }
            if !self.out.is_empty() {
                // The client may wait for what is written before it sends more. A failure shows in the read.
                let _ = self.poll_flush(cx, 0);
            }
            let tunnel = matches!(self.request.body, Body::Tunnel);
            let n = match self.poll_fill(cx, if tunnel { TUNNEL_ROOM } else { BODY_ROOM }) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    ready!(self.poll_body_deadline(cx));
                    self.request.timed_out = true;
                    self.request.keep_alive = false;
                    return Poll::Ready(Err(WireError::ReadTimeout));
                }
            };
            if n == 0 {
                if tunnel {
                    self.request.body = Body::Done;
                    return Poll::Ready(Ok(None));
                }
                self.request.keep_alive = false;
                return Poll::Ready(Err(WireError::Closed));
            }
            if !self
                .request
                .pace
                .came(n, Instant::now(), self.limits.body_min_rate)
            {
                self.request.timed_out = true;
                self.request.keep_alive = false;
                return Poll::Ready(Err(WireError::ReadTimeout));
            }
        }
    }

    fn poll_body_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = self.request.pace.waits(Instant::now());
        match self.request.body_timeout {
            Some(timeout) => self.read_timer.poll(cx, since + timeout),
            None => Poll::Pending,
        }
    }

    /// Waits for the client to go away, after its body is read. Bytes that come belong to the next request and stay where they are.
    ///
    /// A client that closes its side only (FIN) counts as gone, although RFC 9112 §9.6 lets it wait for the response: nobody can tell
    /// it from one that has closed altogether, and those must not hold an origin's connection.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<WireError> {
        if self.is_broken() || self.is_eof() {
            return Poll::Ready(WireError::Closed);
        }
        // Once something is there nothing more is read: a client that sends ahead gets no more than a buffer.
        if !self.input.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_fill(cx, super::connection::HEAD_ROOM)) {
            Ok(0) => {
                self.request.keep_alive = false;
                Poll::Ready(WireError::Closed)
            }
            Ok(_) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        }
    }
}
