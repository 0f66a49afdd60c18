//! One HTTP/2 request and its response, as Pingora's pipeline sees them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::timeout;

use super::stream::{Stream, StreamError};
use crate::session::{MessageReader, RetryBuffer, raw_head, summary};

/// One request and its response. Dropped before the response is complete, it resets the stream.
pub(super) struct H2Session {
    /// Locked within polls only and never shared: the lock makes the session `Sync`, as the trait wants it.
    stream: Mutex<Stream>,
    request: RequestHeader,
    digest: Arc<Digest>,
    response: Option<Box<ResponseHeader>>,
    retry: RetryBuffer,
    tasks: VecDeque<HttpTask>,
    tasks_enabled: bool,
    body_empty: bool,
    body_read: usize,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    drain_timeout: Option<Duration>,
    /// Held as long as the session: an idle connection has none.
    _open: Box<dyn std::any::Any + Send + Sync>,
}

impl H2Session {
    pub(super) fn new(
        mut stream: Stream,
        request: RequestHeader,
        digest: Arc<Digest>,
        open: Box<dyn std::any::Any + Send + Sync>,
    ) -> Self {
        Self {
            body_empty: stream.is_body_done(),
            read_timeout: stream.body_timeout,
            write_timeout: Some(stream.write_timeout),
            stream: Mutex::new({
                stream.timed_out = false;
                stream
            }),
            request,
            digest,
            response: None,
            retry: RetryBuffer::default(),
            tasks: VecDeque::new(),
            tasks_enabled: false,
            body_read: 0,
            drain_timeout: None,
            _open: open,
        }
    }

    fn put_head(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        if self
            .stream
            .get_mut()
            .put_head(&head, end)
            .map_err(into_pingora)?
        {
            self.response = Some(head);
        }
        Ok(())
    }

    fn put_body(&mut self, data: Option<Bytes>, end: bool) -> Result<()> {
        let stream = self.stream.get_mut();
        if let Some(data) = data {
            stream.put_body(data).map_err(into_pingora)?;
        }
        if end {
            stream.put_end(None).map_err(into_pingora)
        } else {
            Ok(())
        }
    }

    /// Queues what a task carries; true at the response's end.
    fn put_task(&mut self, task: HttpTask) -> Result<bool> {
        match task {
            HttpTask::Header(head, end) => {
                let end = end && !head.status.is_informational();
                self.put_head(head, end)?;
                Ok(end)
            }
            HttpTask::Body(data, end) => self.put_body(data, end).map(|()| end),
            HttpTask::UpgradedBody(..) => Err(Error::explain(
                ErrorType::InternalError,
                "a tunnel over an HTTP/2 session",
            )
            .into_down()),
            HttpTask::Trailer(trailers) => {
                self.stream
                    .get_mut()
                    .put_end(trailers.as_deref())
                    .map_err(into_pingora)?;
                Ok(true)
            }
            HttpTask::Done => self.put_body(None, true).map(|()| true),
            HttpTask::Failed(error) => Err(error),
        }
    }

    async fn flush(&mut self) -> Result<()> {
        let stream = self.stream.get_mut();
        poll_fn(|cx| stream.poll_flush(cx))
            .await
            .map_err(into_pingora)
    }

    async fn drain(&mut self) -> Result<()> {
        while self.read_body_bytes().await?.is_some() {}
        Ok(())
    }
}

impl Drop for H2Session {
    fn drop(&mut self) {
        let stream = self.stream.get_mut();
        if stream.is_ended() {
            return;
        }
        if !stream.is_open() {
            // Begun and not whole: the client is to see it.
            stream.reset(Reason::INTERNAL_ERROR);
        } else if stream.timed_out {
            stream.answer(StatusCode::REQUEST_TIMEOUT);
        } else {
            stream.answer(StatusCode::INTERNAL_SERVER_ERROR);
        }
    }
}

/// The error's type tells Pingora (`fail_to_proxy`) whether an answer makes sense.
fn into_pingora(error: StreamError) -> Box<Error> {
    match error {
        StreamError::Gone(what) => Error::explain(ErrorType::ConnectionClosed, what),
        StreamError::ReadTimeout => Error::explain(
            ErrorType::HTTPStatus(408),
            "the client sends its body too slowly",
        ),
        StreamError::WriteTimeout => Error::explain(
            ErrorType::WriteTimedout,
            "the client does not take the response",
        ),
        StreamError::Response(what) => Error::explain(ErrorType::WriteError, what),
    }
    .into_down()
}

#[async_trait]
impl Session for H2Session {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let stream = self.stream.get_mut();
        let piece = poll_fn(|cx| stream.poll_body(cx))
            .await
            .map_err(into_pingora)?;
        if let Some(piece) = &piece {
            self.body_read = self.body_read.saturating_add(piece.len());
            self.retry.add(piece);
        }
        Ok(piece)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        match self.drain_timeout {
            None => self.drain().await,
            Some(limit) => match timeout(limit, self.drain()).await {
                Ok(result) => result,
                Err(_) => Err(
                    Error::explain(ErrorType::ReadTimedout, "draining the request body")
                        .into_down(),
                ),
            },
        }
    }

    async fn write_response_header(&mut self, resp: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.put_head(resp, end)
    }

    async fn write_response_header_ref(&mut self, resp: &ResponseHeader, end: bool) -> Result<()> {
        self.put_head(Box::new(resp.clone()), end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.put_body(Some(data), end)?;
        self.flush().await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.stream
            .get_mut()
            .put_end(Some(&trailers))
            .map_err(into_pingora)?;
        self.flush().await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            match self.put_task(task) {
                Ok(ended) => end |= ended,
                Err(error) => {
                    // What came before the failure is the client's.
                    let _ = self.flush().await;
                    return Err(error);
                }
            }
        }
        if end {
            self.put_body(None, true)?;
        }
        self.flush().await?;
        Ok(end || self.stream.get_mut().is_ended())
    }

    fn proxy_tasks_enabled(&self) -> bool {
        self.tasks_enabled
    }

    fn set_proxy_tasks_enabled(&mut self, enabled: bool) {
        self.tasks_enabled = enabled;
    }

    fn send_proxy_task(&mut self, task: HttpTask) {
        self.tasks.push_back(task);
    }

    fn has_pending_proxy_tasks(&self) -> bool {
        !self.tasks.is_empty() || self.stream.lock().has_pending()
    }

    async fn write_proxy_tasks(&mut self) -> Result<bool> {
        // Queueing is synchronous and the queue is the stream's, so whatever cancels this loses nothing.
        let mut end = false;
        loop {
            self.flush().await?;
            let Some(task) = self.tasks.pop_front() else {
                break;
            };
            end |= self.put_task(task)?;
        }
        if end {
            self.put_body(None, true)?;
            self.flush().await?;
        }
        Ok(end || self.stream.get_mut().is_ended())
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
        self.stream.get_mut().body_timeout = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.read_timeout
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write_timeout = timeout;
        if let Some(timeout) = timeout {
            self.stream.get_mut().write_timeout = timeout;
        }
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.write_timeout
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.drain_timeout = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.drain_timeout
    }

    fn request_summary(&self) -> String {
        summary(&self.request)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.response.as_deref()
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {
        self.stream.get_mut().reset(Reason::INTERNAL_ERROR);
    }

    fn is_body_done(&mut self) -> bool {
        self.stream.get_mut().is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.put_body(None, true)?;
        self.flush().await
    }

    fn is_body_empty(&mut self) -> bool {
        self.body_empty
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.is_body_done() {
            return self.read_body_bytes().await;
        }
        let stream = self.stream.get_mut();
        Err(into_pingora(poll_fn(|cx| stream.poll_gone(cx)).await))
    }

    fn body_bytes_sent(&self) -> usize {
        usize::try_from(self.stream.lock().body_sent).unwrap_or(usize::MAX)
    }

    fn body_bytes_read(&self) -> usize {
        self.body_read
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Arc::get_mut(&mut self.digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref()?.peer_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref()?.local_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        raw_head(&self.request)
    }

    fn enable_retry_buffering(&mut self) {
        self.retry.enable();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.retry.is_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.retry.whole()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<MessageReader> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: MessageReader) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }
}
