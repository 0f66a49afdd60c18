//! One stream's two directions, driven by polls so that every step can be cancelled.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response, StatusCode, header};
use pingora_http::ResponseHeader;
use tokio::time::Instant;

use crate::application::HotReply;
use crate::head::content_length;
use crate::pace::Pace;
use crate::settings::Limits;
use crate::timer::Timer;

/// Why a stream does not go on.
#[derive(Debug)]
pub(super) enum StreamError {
    /// The client reset the stream, or the connection is gone.
    Gone(String),
    /// The client sent nothing, or too little, for too long.
    ReadTimeout,
    /// The client took nothing for too long.
    WriteTimeout,
    /// The response cannot be written as asked.
    Response(&'static str),
}

impl From<h2::Error> for StreamError {
    fn from(error: h2::Error) -> Self {
        Self::Gone(error.to_string())
    }
}

/// How a body ends.
#[derive(Debug)]
enum End {
    Data,
    Trailers(HeaderMap),
}

pub(super) struct Stream {
    limits: Arc<Limits>,
    body: RecvStream,
    body_done: bool,
    pub(super) expects_continue: bool,
    pub(super) body_timeout: Option<Duration>,
    pub(super) timed_out: bool,
    pace: Pace,
    read_timer: Timer,

    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
    head_method: bool,
    /// Pieces that wait for room in the flow-control windows; none is empty.
    queue: VecDeque<Bytes>,
    end: Option<End>,
    /// The end has been given to `h2`.
    ended: bool,
    /// Bytes that the announced length leaves.
    left: Option<u64>,
    pub(super) body_sent: u64,
    pub(super) write_timeout: Duration,
    write_deadline: Option<Instant>,
    write_timer: Timer,
}

impl Stream {
    pub(super) fn new(
        body: RecvStream,
        respond: SendResponse<Bytes>,
        head_method: bool,
        expects_continue: bool,
        limits: Arc<Limits>,
    ) -> Self {
        Self {
            body_done: body.is_end_stream(),
            body,
            expects_continue,
            body_timeout: Some(limits.body_timeout),
            timed_out: false,
            pace: Pace::default(),
            read_timer: Timer::default(),
            respond,
            send: None,
            head_method,
            queue: VecDeque::new(),
            end: None,
            ended: false,
            left: None,
            body_sent: 0,
            write_timeout: limits.write_timeout,
            write_deadline: None,
            write_timer: Timer::default(),
            limits,
        }
    }

    pub(super) fn is_body_done(&self) -> bool {
        self.body_done || self.body.is_end_stream()
    }

    /// Whether no final head has been written.
    pub(super) fn is_open(&self) -> bool {
        self.send.is_none() && !self.ended
    }

    /// Whether the whole response has been given to `h2`.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether the response's end is known, if not yet written.
    pub(super) fn is_ending(&self) -> bool {
        self.ended || self.end.is_some()
    }

    /// Whether something waits for the client's windows.
    pub(super) fn has_pending(&self) -> bool {
        !self.ended && (!self.queue.is_empty() || self.end.is_some())
    }

    /// The next piece of the body; `None` when it is over. Trailers are dropped (RFC 9110 §6.5.1).
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        if self.body_done {
            return Poll::Ready(Ok(None));
        }
        if std::mem::take(&mut self.expects_continue) && self.is_open() {
            self.send_interim(StatusCode::CONTINUE, HeaderMap::new())?;
        }
        loop {
            match self.body.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    // Room for more is made when a piece is taken, so a slow origin slows the client down.
                    self.body.flow_control().release_capacity(data.len())?;
                    if !self
                        .pace
                        .came(data.len(), Instant::now(), self.limits.body_min_rate)
                    {
                        self.timed_out = true;
                        return Poll::Ready(Err(StreamError::ReadTimeout));
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.into())),
                Poll::Ready(None) => match self.body.poll_trailers(cx) {
                    Poll::Ready(Ok(_)) => {
                        self.body_done = true;
                        return Poll::Ready(Ok(None));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                    Poll::Pending => return self.poll_read_deadline(cx),
                },
                Poll::Pending => return self.poll_read_deadline(cx),
            }
        }
    }

    fn poll_read_deadline(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        let since = self.pace.waits(Instant::now());
        let Some(limit) = self.body_timeout else {
            return Poll::Pending;
        };
        ready!(self.read_timer.poll(cx, since + limit));
        self.timed_out = true;
        Poll::Ready(Err(StreamError::ReadTimeout))
    }

    /// Waits for the client to reset the stream or to go away.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        if self.ended {
            return Poll::Pending;
        }
        let reset = match &mut self.send {
            Some(send) => send.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        match ready!(reset) {
            Ok(reason) => Poll::Ready(StreamError::Gone(format!(
                "the client reset the stream: {reason}"
            ))),
            Err(error) => Poll::Ready(error.into()),
        }
    }

    fn send_interim(&mut self, status: StatusCode, headers: HeaderMap) -> Result<(), StreamError> {
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(self.respond.send_informational(response)?)
    }

    /// Sends a head: any number of 1xx, then one that is final. True if it was the final one.
    pub(super) fn put_head(
        &mut self,
        head: &ResponseHeader,
        end: bool,
    ) -> Result<bool, StreamError> {
        if !self.is_open() {
            return Err(StreamError::Response("a second response head"));
        }
        let status = head.status;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(StreamError::Response("101 in HTTP/2"));
        }
        let mut headers = head.headers.clone();
        remove_hop_by_hop(&mut headers);
        if status.is_informational() {
            headers.remove(header::CONTENT_LENGTH);
            if status != StatusCode::CONTINUE || std::mem::take(&mut self.expects_continue) {
                self.send_interim(status, headers)?;
            }
            return Ok(false);
        }
        self.put_final(status, headers, end)?;
        Ok(true)
    }

    /// Sends a final head, whose fields are none of a hop.
    fn put_final(
        &mut self,
        status: StatusCode,
        mut headers: HeaderMap,
        end: bool,
    ) -> Result<(), StreamError> {
        if status == StatusCode::NO_CONTENT {
            headers.remove(header::CONTENT_LENGTH);
        }
        let no_body =
            self.head_method || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = announced_length(&mut headers)?;
        let end = end || no_body || length == Some(0);
        if end && !no_body && length.is_none() {
            headers.insert(header::CONTENT_LENGTH, 0.into());
        } else if end && !no_body && length != Some(0) {
            return Err(StreamError::Response(
                "the response body is shorter than its Content-Length",
            ));
        }
        if !headers.contains_key(header::DATE) {
            let mut date = bytes::BytesMut::with_capacity(32);
            crate::date::append_date(&mut date);
            // A date is a field value.
            if let Ok(date) = http::HeaderValue::from_maybe_shared(date.freeze()) {
                headers.insert(header::DATE, date);
            }
        }
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        self.left = length;
        self.send = Some(self.respond.send_response(response, end)?);
        self.ended = end;
        Ok(())
    }

    /// Queues a whole response.
    pub(super) fn put_whole(&mut self, reply: HotReply) -> Result<(), StreamError> {
        let HotReply {
            status,
            mut headers,
            body,
        } = reply;
        remove_hop_by_hop(&mut headers);
        self.put_final(status, headers, false)?;
        self.put_body(body)?;
        self.put_end(None)
    }

    /// Queues a piece of the body. What exceeds the announced length is dropped.
    pub(super) fn put_body(&mut self, mut data: Bytes) -> Result<(), StreamError> {
        if self.is_ending() || data.is_empty() {
            return Ok(());
        }
        if self.send.is_none() {
            return Err(StreamError::Response("a body before the head"));
        }
        if let Some(left) = &mut self.left {
            data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= data.len() as u64;
            if *left == 0 {
                self.end = Some(End::Data);
            }
        }
        if !data.is_empty() {
            self.queue.push_back(data);
        }
        Ok(())
    }

    /// Queues the end of the body, with trailers if there are some.
    pub(super) fn put_end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), StreamError> {
        if self.is_ending() || self.send.is_none() {
            return Ok(());
        }
        if self.left.is_some_and(|left| left > 0) {
            return Err(StreamError::Response(
                "the response body is shorter than its Content-Length",
            ));
        }
        self.end = Some(match trailers {
            None => End::Data,
            Some(trailers) => {
                let mut trailers = trailers.clone();
                remove_hop_by_hop(&mut trailers);
                trailers.remove(header::CONTENT_LENGTH);
                if trailers.is_empty() {
                    End::Data
                } else {
                    End::Trailers(trailers)
                }
            }
        });
        Ok(())
    }

    /// Gives `h2` all that waits, as the windows have room for it.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        loop {
            match self.poll_send(cx) {
                Poll::Ready(Ok(true)) => self.write_deadline = None,
                Poll::Ready(Ok(false)) => {
                    self.write_deadline = None;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let timeout = self.write_timeout;
                    let deadline = *self
                        .write_deadline
                        .get_or_insert_with(|| Instant::now() + timeout);
                    ready!(self.write_timer.poll(cx, deadline));
                    return Poll::Ready(Err(StreamError::WriteTimeout));
                }
            }
        }
    }

    /// One step; false when there is nothing to do.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, StreamError>> {
        let Some(send) = self.send.as_mut().filter(|_| !self.ended) else {
            return Poll::Ready(Ok(false));
        };
        if let Some(front) = self.queue.front_mut() {
            send.reserve_capacity(front.len());
            let mut room = send.capacity();
            while room == 0 {
                room = match ready!(send.poll_capacity(cx)) {
                    Some(room) => room?,
                    None => {
                        return Poll::Ready(Err(StreamError::Gone(
                            "the stream is closed".to_owned(),
                        )));
                    }
                };
            }
            let n = room.min(front.len());
            let chunk = front.split_to(n);
            self.body_sent += n as u64;
            if !front.has_remaining() {
                self.queue.pop_front();
            }
            let last = self.queue.is_empty() && matches!(self.end, Some(End::Data));
            send.send_data(chunk, last)?;
            self.ended = last;
            return Poll::Ready(Ok(true));
        }
        match self.end.take() {
            None => return Poll::Ready(Ok(false)),
            Some(End::Data) => send.send_data(Bytes::new(), true)?,
            Some(End::Trailers(trailers)) => send.send_trailers(trailers)?,
        }
        self.ended = true;
        Poll::Ready(Ok(true))
    }

    /// Tells the client that the response will not be whole.
    pub(super) fn reset(&mut self, reason: Reason) {
        if !self.ended {
            match &mut self.send {
                Some(send) => send.send_reset(reason),
                None => self.respond.send_reset(reason),
            }
            self.ended = true;
        }
    }

    /// Answers with a status alone.
    pub(super) fn answer(&mut self, status: StatusCode) {
        let mut response = Response::new(());
        *response.status_mut() = status;
        // The stream may be gone, which is as well.
        let _ = self.respond.send_response(response, true);
        self.ended = true;
    }
}

/// The announced length; equal repetitions become one.
fn announced_length(headers: &mut HeaderMap) -> Result<Option<u64>, StreamError> {
    const BAD: StreamError =
        StreamError::Response("Content-Length of the response is not a number");
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next().cloned() else {
        return Ok(None);
    };
    let mut more = false;
    for other in lengths {
        if *other != first {
            return Err(BAD);
        }
        more = true;
    }
    let length = content_length(first.as_bytes()).map_err(|_| BAD)?;
    if more {
        headers.insert(header::CONTENT_LENGTH, first);
    }
    Ok(Some(length))
}

/// Fields of HTTP/1's hops, and those that the response's own `Connection` names (RFC 9113 §8.2.2).
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<header::HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|b| *b == b','))
            .filter_map(|option| header::HeaderName::from_bytes(option.trim_ascii()).ok())
            .filter(|name| name != header::CONTENT_LENGTH && name != header::DATE)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}
