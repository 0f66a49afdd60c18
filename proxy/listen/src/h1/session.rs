//! One HTTP/1 request and its response, as Pingora's pipeline sees them.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::timeout;

use super::body::Body;
use super::wire::{Shared, WireError};
use crate::session::{MessageReader, RetryBuffer, raw_head, summary};

/// So many bytes may wait for the connection's task to write them out; more hold the writer up.
const WRITE_BEHIND: usize = 16 * 1024;

/// One request and its response. The connection goes on when this is dropped; it ends if the response is not complete by then.
pub(super) struct H1Session {
    shared: Arc<Shared>,
    request: RequestHeader,
    digest: Arc<Digest>,
    /// The connection's task. Only there is what is left in the buffer written out when the pipeline waits.
    task: Option<tokio::task::Id>,
    response: Option<Box<ResponseHeader>>,
    retry: RetryBuffer,
    tasks: VecDeque<HttpTask>,
    tasks_enabled: bool,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    drain_timeout: Option<Duration>,
    body_read: usize,
    upgraded: bool,
    is_upgrade: bool,
    /// An upgrade was asked for and sent on, and nobody has said yet what becomes of it.
    ///
    /// Pingora tells the origin's side at once that a request without a body has ended. When that word comes after the 101, which
    /// is a matter of luck, it ends the tunnel. So until the response decides, such a request is neither empty nor done.
    undecided: bool,
}

impl H1Session {
    pub(super) fn new(shared: Arc<Shared>, request: RequestHeader, digest: Arc<Digest>) -> Self {
        let (is_upgrade, read_timeout, write_timeout) = {
            let mut wire = shared.wire.lock();
            wire.lent = true;
            (
                wire.request.upgrade,
                wire.request.body_timeout,
                wire.write_timeout,
            )
        };
        Self {
            shared,
            request,
            digest,
            task: tokio::task::try_id(),
            response: None,
            retry: RetryBuffer::default(),
            tasks: VecDeque::new(),
            tasks_enabled: false,
            read_timeout,
            write_timeout: Some(write_timeout),
            drain_timeout: None,
            body_read: 0,
            upgraded: false,
            is_upgrade,
            undecided: false,
        }
    }

    /// Queues a head; what it leaves in the buffer goes out with the body, or when the pipeline waits.
    fn put_head(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        let is_final = self
            .shared
            .wire
            .lock()
            .put_head(&head, end)
            .map_err(into_pingora)?;
        if is_final {
            self.upgraded = head.status == http::StatusCode::SWITCHING_PROTOCOLS;
            self.undecided = false;
            self.response = Some(head);
        }
        Ok(())
    }

    fn put_body(&mut self, data: Option<Bytes>, end: bool) -> Result<()> {
        let mut wire = self.shared.wire.lock();
        if let Some(data) = data {
            wire.put_body(data).map_err(into_pingora)?;
        }
        if end {
            wire.put_end().map_err(into_pingora)
        } else {
            Ok(())
        }
    }

    /// Writes until little enough waits.
    async fn flush_some(&self) -> Result<()> {
        let left = if self.task.is_some() && self.task == tokio::task::try_id() {
            WRITE_BEHIND
        } else {
            0
        };
        self.flush(left).await
    }

    async fn flush(&self, left: usize) -> Result<()> {
        poll_fn(|cx| self.shared.wire.lock().poll_flush(cx, left))
            .await
            .map_err(into_pingora)
    }

    /// Queues what a task carries; true at the response's end.
    fn put_task(&mut self, task: HttpTask) -> Result<bool> {
        match task {
            HttpTask::Header(head, end) => {
                let is_interim = head.status.is_informational()
                    && head.status != http::StatusCode::SWITCHING_PROTOCOLS;
                self.put_head(head, end && !is_interim)?;
                Ok(end && !is_interim)
            }
            HttpTask::Body(data, end) | HttpTask::UpgradedBody(data, end) => {
                self.put_body(data, end).map(|()| end)
            }
            HttpTask::Trailer(trailers) => {
                self.shared
                    .wire
                    .lock()
                    .put_end_with(trailers.as_deref())
                    .map_err(into_pingora)?;
                Ok(true)
            }
            HttpTask::Done => self.put_body(None, true).map(|()| true),
            HttpTask::Failed(error) => Err(error),
        }
    }

    /// Whether nothing more of this response can be written.
    fn is_ended(&self) -> bool {
        self.shared.wire.lock().response.is_ended()
    }

    async fn drain(&mut self) -> Result<()> {
        while self.read_body_bytes().await?.is_some() {}
        Ok(())
    }
}

impl Drop for H1Session {
    fn drop(&mut self) {
        self.shared.wire.lock().lent = false;
        self.shared.returned.notify_one();
    }
}

/// The error's type tells Pingora (`fail_to_proxy`) whether an answer makes sense: to a closed connection none does, a malformed body gets 400.
fn into_pingora(error: WireError) -> Box<Error> {
    match error {
        WireError::Closed => Error::explain(
            ErrorType::ConnectionClosed,
            "the client closed the connection",
        ),
        WireError::Io(error) => {
            Error::because(ErrorType::ReadError, "on the client's connection", error)
        }
        WireError::ReadTimeout => Error::explain(
            ErrorType::HTTPStatus(408),
            "the client sends its body too slowly",
        ),
        WireError::WriteTimeout => Error::explain(
            ErrorType::WriteTimedout,
            "the client does not take the response",
        ),
        WireError::Malformed(refusal) => {
            Error::explain(ErrorType::HTTPStatus(refusal.status), refusal.reason)
        }
        WireError::Response(what) => Error::explain(ErrorType::WriteError, what),
    }
    .into_down()
}

#[async_trait]
impl Session for H1Session {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        if self.undecided {
            let error = poll_fn(|cx| self.shared.wire.lock().poll_gone(cx)).await;
            return Err(into_pingora(error));
        }
        let piece = poll_fn(|cx| self.shared.wire.lock().poll_body(cx))
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
        self.put_head(resp, end)?;
        self.flush_some().await
    }

    async fn write_response_header_ref(&mut self, resp: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(resp.clone()), end)
            .await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.put_body(Some(data), end)?;
        self.flush_some().await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.shared
            .wire
            .lock()
            .put_end_with(Some(&trailers))
            .map_err(into_pingora)?;
        self.flush_some().await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            match self.put_task(task) {
                Ok(ended) => end |= ended,
                Err(error) => {
                    // What came before the failure is the client's.
                    let _ = self.flush_some().await;
                    return Err(error);
                }
            }
        }
        if end {
            self.put_body(None, true)?;
        }
        self.flush_some().await?;
        Ok(end || self.is_ended())
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
        !self.tasks.is_empty() || self.shared.wire.lock().out.len() > WRITE_BEHIND
    }

    async fn write_proxy_tasks(&mut self) -> Result<bool> {
        // Queueing is synchronous and the queue is the wire's, so whatever cancels this loses nothing.
        let mut end = false;
        loop {
            self.flush_some().await?;
            let Some(task) = self.tasks.pop_front() else {
                break;
            };
            end |= self.put_task(task)?;
        }
        if end {
            self.put_body(None, true)?;
        }
        Ok(end || self.is_ended())
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
        self.shared.wire.lock().request.body_timeout = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.read_timeout
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write_timeout = timeout;
        if let Some(timeout) = timeout {
            self.shared.wire.lock().write_timeout = timeout;
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
        let mut wire = self.shared.wire.lock();
        if !wire.response.is_ended() {
            wire.stream.reset_on_close();
            wire.break_off();
        }
    }

    fn is_body_done(&mut self) -> bool {
        !self.undecided && self.shared.wire.lock().request.is_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.put_body(None, true)?;
        self.flush_some().await
    }

    fn is_body_empty(&mut self) -> bool {
        let wire = self.shared.wire.lock();
        !self.undecided && wire.request.empty && !matches!(wire.request.body, Body::Tunnel)
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.is_body_done() {
            return self.read_body_bytes().await;
        }
        let error = poll_fn(|cx| self.shared.wire.lock().poll_gone(cx)).await;
        if self.is_ended() {
            // The response is complete; that the client left after it is no error.
            return pending().await;
        }
        Err(into_pingora(error))
    }

    fn body_bytes_sent(&self) -> usize {
        usize::try_from(self.shared.wire.lock().response.body_sent).unwrap_or(usize::MAX)
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
        // This is Pingora's last call before the request goes to the origin.
        self.undecided = self.is_upgrade && self.response.is_none();
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

    fn is_upgrade_req(&self) -> bool {
        self.is_upgrade
    }

    fn was_upgraded(&self) -> bool {
        self.upgraded
    }
}
