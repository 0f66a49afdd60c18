//! Bytes on their way to the client: small ones are gathered, large ones are passed on without a copy, all of them go out in as few
//! writes as the socket takes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::spare;

/// Up to this size a copy is cheaper than a buffer of its own in the write.
const COPY_UP_TO: usize = 4096;
const SLICES: usize = 16;

#[derive(Debug)]
enum Piece {
    Gathered(BytesMut),
    Shared(Bytes),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Gathered(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Self::Gathered(bytes) => bytes.advance(n),
            Self::Shared(bytes) => bytes.advance(n),
        }
    }
}

/// A queue of bytes to write. No piece in it is empty.
#[derive(Debug, Default)]
pub(super) struct Out {
    pieces: VecDeque<Piece>,
    len: usize,
    /// Whether bytes were written that the stream below may still hold (TLS records).
    unflushed: bool,
    /// A buffer that was written out, for the next bytes to gather.
    spare: BytesMut,
}

impl Out {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0 && !self.unflushed
    }

    /// An empty buffer to fill and give to [`push_owned`](Self::push_owned).
    pub(super) fn buffer(&mut self) -> BytesMut {
        if self.spare.capacity() == 0 {
            return spare::take();
        }
        std::mem::take(&mut self.spare)
    }

    /// Takes back a buffer that nothing was put into.
    pub(super) fn put_back(&mut self, buffer: BytesMut) {
        self.spare = buffer;
    }

    /// Frees what an idle connection does not need.
    pub(super) fn release(&mut self) {
        if self.spare.capacity() > 0 {
            spare::give(std::mem::take(&mut self.spare), 0);
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        if let Some(Piece::Gathered(last)) = self.pieces.back_mut() {
            last.extend_from_slice(bytes);
        } else {
            let mut buffer = self.buffer();
            buffer.extend_from_slice(bytes);
            self.pieces.push_back(Piece::Gathered(buffer));
        }
    }

    /// Adds a buffer that is given away.
    pub(super) fn push_owned(&mut self, bytes: BytesMut) {
        if bytes.is_empty() {
            return;
        }
        if matches!(self.pieces.back(), Some(Piece::Gathered(_))) && bytes.len() <= COPY_UP_TO {
            self.push(&bytes);
            return;
        }
        self.len += bytes.len();
        self.pieces.push_back(Piece::Gathered(bytes));
    }

    pub(super) fn push_bytes(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_UP_TO {
            self.push(&bytes);
        } else {
            self.len += bytes.len();
            self.pieces.push_back(Piece::Shared(bytes));
        }
    }

    /// Writes once; ready with the number of bytes taken. Call only when something waits.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut W,
    ) -> Poll<io::Result<usize>> {
        let n = match self.pieces.front() {
            None => 0,
            Some(first) if self.pieces.len() == 1 => {
                ready!(Pin::new(stream).poll_write(cx, first.bytes()))?
            }
            Some(_) => {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let mut used = 0;
                for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                    *slice = IoSlice::new(piece.bytes());
                    used += 1;
                }
                ready!(
                    Pin::new(stream)
                        .poll_write_vectored(cx, slices.get(..used).unwrap_or_default())
                )?
            }
        };
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.consume(n);
        Poll::Ready(Ok(n))
    }

    fn consume(&mut self, mut n: usize) {
        self.len = self.len.saturating_sub(n);
        while n > 0 {
            let Some(front) = self.pieces.front_mut() else {
                return;
            };
            let len = front.bytes().len();
            if n < len {
                front.advance(n);
                return;
            }
            n -= len;
            if let Some(Piece::Gathered(mut buffer)) = self.pieces.pop_front() {
                buffer.clear();
                self.spare = buffer;
            }
        }
    }

    /// Writes until at most `left` bytes wait; with `left` 0 the stream below is flushed too. `progress` is called at every write that took bytes.
    pub(super) fn poll_drain<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut W,
        left: usize,
        mut progress: impl FnMut(),
    ) -> Poll<io::Result<()>> {
        while self.len > left {
            ready!(self.poll_write(cx, stream))?;
            self.unflushed = true;
            progress();
        }
        if left == 0 && self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
