//! A connection's stream and buffers, and the state of its current request, driven by polls so that every step can be cancelled.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::body::RequestState;
use super::out::Out;
use super::response::ResponseState;
use super::spare;
use crate::head::Refusal;
use crate::mode::ModeWatch;
use crate::settings::Limits;
use crate::stream::ClientStream;
use crate::timer::Timer;

/// Loop and session hold this together.
pub(super) struct Shared {
    pub(super) wire: Mutex<Wire>,
    /// Told when a session is dropped.
    pub(super) returned: Notify,
}

/// Why the wire does not go on.
#[derive(Debug)]
pub(super) enum WireError {
    /// The client closed, or the connection was given up before.
    Closed,
    /// The socket or TLS failed.
    Io(io::Error),
    /// The client sent nothing, or too little, for too long.
    ReadTimeout,
    /// The client took nothing for too long.
    WriteTimeout,
    /// The request body's framing is wrong.
    Malformed(Refusal),
    /// The response cannot be written as asked.
    Response(&'static str),
}

pub(super) struct Wire {
    pub(super) stream: ClientStream,
    /// Bytes read and not yet taken.
    pub(super) input: BytesMut,
    pub(super) out: Out,
    pub(super) limits: Arc<Limits>,
    pub(super) request: RequestState,
    pub(super) response: ResponseState,
    /// The connection has had all the requests it may have.
    pub(super) last: bool,
    /// Whether the node lets connections live on.
    pub(super) mode: ModeWatch,
    /// A session holds the wire.
    pub(super) lent: bool,
    pub(super) read_timer: Timer,
    pub(super) write_timeout: Duration,
    write_timer: Timer,
    write_deadline: Option<Instant>,
    eof: bool,
    broken: bool,
}

impl Wire {
    pub(super) fn new(
        stream: ClientStream,
        input: BytesMut,
        limits: Arc<Limits>,
        mode: ModeWatch,
    ) -> Self {
        Self {
            stream,
            input,
            out: Out::default(),
            write_timeout: limits.write_timeout,
            limits,
            request: RequestState::default(),
            response: ResponseState::default(),
            last: false,
            mode,
            lent: false,
            read_timer: Timer::default(),
            write_timer: Timer::default(),
            write_deadline: None,
            eof: false,
            broken: false,
        }
    }

    /// Whether nothing can be read or written any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether the client has closed its side.
    pub(super) fn is_eof(&self) -> bool {
        self.eof
    }

    /// Gives the connection up; nothing is written any more.
    pub(super) fn break_off(&mut self) {
        self.broken = true;
    }

    /// Reads once into the input, for which room for `room` bytes is made; 0 at the end of the stream.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
    ) -> Poll<Result<usize, WireError>> {
        if self.broken {
            return Poll::Ready(Err(WireError::Closed));
        }
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        if self.input.capacity() == 0 {
            self.input = spare::take();
        }
        self.input.reserve(room);
        match pin!(self.stream.read_buf(&mut self.input)).poll(cx) {
            Poll::Pending => {
                // An idle connection holds no buffer.
                if self.input.is_empty() {
                    spare::give(std::mem::take(&mut self.input), room);
                    self.out.release();
                }
                Poll::Pending
            }
            Poll::Ready(Ok(n)) => {
                self.eof = n == 0;
                Poll::Ready(Ok(n))
            }
            // TLS without a close_notify: an end like any other where the end is not the message's.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.eof = true;
                Poll::Ready(Ok(0))
            }
            Poll::Ready(Err(error)) => {
                self.broken = true;
                Poll::Ready(Err(WireError::Io(error)))
            }
        }
    }

    /// Writes until at most `left` bytes wait.
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        left: usize,
    ) -> Poll<Result<(), WireError>> {
        if self.broken {
            return Poll::Ready(Err(WireError::Closed));
        }
        let deadline = &mut self.write_deadline;
        match self
            .out
            .poll_drain(cx, &mut self.stream, left, || *deadline = None)
        {
            Poll::Ready(Ok(())) => {
                self.write_deadline = None;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                self.broken = true;
                Poll::Ready(Err(WireError::Io(error)))
            }
            Poll::Pending => {
                let timeout = self.write_timeout;
                let deadline = *self
                    .write_deadline
                    .get_or_insert_with(|| Instant::now() + timeout);
                ready!(self.write_timer.poll(cx, deadline));
                self.broken = true;
                Poll::Ready(Err(WireError::WriteTimeout))
            }
        }
    }

    /// Says goodbye: no more bytes come from here.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
