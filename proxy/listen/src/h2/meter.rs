//! Counts frames as they come in, below the `h2` crate.
//!
//! Some frames cost a server more than they cost their sender: streams that are reset as soon as they are opened (CVE-2023-44487),
//! field blocks in many small frames (CVE-2024-27316), pings and settings that want an answer. The meter reads frame heads off the
//! stream (RFC 9113 §4.1), counts, and says when a client does too much of one thing. It changes nothing.
//!
//! On the way out it gathers: `h2` writes what there is before it hands out the next request, so that ten answers given at once would
//! go out in ten writes, ten TLS records and ten packets.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::stream::ClientStream;

/// Over how long frames are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// CONTINUATION frames of one field block. The largest list that is taken fits three; small frames have no use.
const CONTINUATIONS: u32 = 32;
/// Frames that want an answer or none at all, in a window. Browsers send a handful.
const CONTROL: u32 = 256;
/// Bytes that gather before they are written after all: a TLS record's worth.
const GATHERED: usize = 16 * 1024;
const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;

/// What the connection's loop sees of the meter.
#[derive(Debug)]
pub(super) struct Reading {
    /// What is done too often, once it is.
    pub(super) abuse: Option<&'static str>,
    /// When bytes came last.
    pub(super) last_read: Instant,
    /// Since when a field block, or a frame other than DATA, is not whole.
    pub(super) partial_since: Option<Instant>,
}

/// The stream that `h2` works on, with a meter in it.
#[derive(Debug)]
pub(super) struct Metered {
    stream: ClientStream,
    meter: Meter,
    reading: Arc<Mutex<Reading>>,
    gather: Gather,
    gathered: BytesMut,
}

/// Whether answers gather; the connection's loop says so, and has them written when there is no further request.
#[derive(Clone, Debug, Default)]
pub(super) struct Gather(Arc<AtomicBool>);

impl Gather {
    /// From now on they gather.
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// They go out with the next flush. Says whether any may have gathered.
    pub(super) fn end(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metered {
    pub(super) fn new(
        stream: ClientStream,
        resets: u32,
        gather: Gather,
    ) -> (Self, Arc<Mutex<Reading>>) {
        let now = Instant::now();
        let reading = Arc::new(Mutex::new(Reading {
            abuse: None,
            last_read: now,
            partial_since: Some(now),
        }));
        (
            Self {
                stream,
                meter: Meter::new(resets, now),
                reading: Arc::clone(&reading),
                gather,
                gathered: BytesMut::new(),
            },
            reading,
        )
    }

    /// Whether `more` bytes are to be gathered.
    fn takes(&self, more: usize) -> bool {
        self.gather.is_on() && self.gathered.len().saturating_add(more) <= GATHERED
    }

    /// Writes what has gathered.
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.gathered))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(n);
            if self.gathered.is_empty() {
                // An idle connection holds no buffer.
                self.gathered = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if !fresh.is_empty() {
            let now = Instant::now();
            this.meter.feed(fresh, now);
            let mut reading = this.reading.lock();
            reading.abuse = reading.abuse.or(this.meter.abuse);
            reading.last_read = now;
            reading.partial_since = this.meter.partial_since();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.takes(buf.len()) {
            this.gathered.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(this.poll_gathered(cx))?;
        Pin::new(&mut this.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if this.takes(len) {
            for buf in bufs {
                this.gathered.extend_from_slice(buf);
            }
            return Poll::Ready(Ok(len));
        }
        ready!(this.poll_gathered(cx))?;
        Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.gather.is_on() {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_gathered(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_gathered(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

/// The counting itself.
#[derive(Debug)]
struct Meter {
    max_resets: u32,
    /// Bytes to skip: the preface's, or a payload's.
    skip: usize,
    head: [u8; FRAME_HEAD],
    head_len: usize,
    /// The frame that is skipped is DATA.
    in_data: bool,
    /// A field block began and has not ended; when.
    block_since: Option<Instant>,
    frame_since: Option<Instant>,
    continuations: u32,
    window_start: Instant,
    resets: u32,
    control: u32,
    abuse: Option<&'static str>,
}

impl Meter {
    fn new(max_resets: u32, now: Instant) -> Self {
        Self {
            max_resets,
            skip: PREFACE,
            head: [0; FRAME_HEAD],
            head_len: 0,
            in_data: false,
            block_since: None,
            frame_since: Some(now),
            continuations: 0,
            window_start: now,
            resets: 0,
            control: 0,
            abuse: None,
        }
    }

    fn partial_since(&self) -> Option<Instant> {
        self.block_since
            .or(self.frame_since.filter(|_| !self.in_data))
    }

    fn feed(&mut self, mut bytes: &[u8], now: Instant) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                bytes = bytes.get(n..).unwrap_or_default();
                self.skip -= n;
                if self.skip == 0 {
                    self.frame_since = None;
                }
                continue;
            }
            let room = self.head.get_mut(self.head_len..).unwrap_or_default();
            let n = room.len().min(bytes.len());
            for (to, from) in room.iter_mut().zip(bytes) {
                *to = *from;
            }
            bytes = bytes.get(n..).unwrap_or_default();
            self.head_len += n;
            self.in_data = false;
            self.frame_since.get_or_insert(now);
            if self.head_len == FRAME_HEAD {
                self.head_len = 0;
                self.frame(now);
            }
        }
    }

    /// A frame's head is whole.
    fn frame(&mut self, now: Instant) {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if self.skip == 0 {
            self.frame_since = None;
        }
        if now.saturating_duration_since(self.window_start) >= WINDOW {
            self.window_start = now;
            self.resets = 0;
            self.control = 0;
        }
        const END_HEADERS: u8 = 4;
        const ACK: u8 = 1;
        match kind {
            0 => self.in_data = true,
            1 => {
                self.continuations = 0;
                self.block_since = (flags & END_HEADERS == 0).then_some(now);
            }
            9 => {
                self.continuations += 1;
                if self.continuations > CONTINUATIONS {
                    self.abuse = Some("field block in too many frames");
                }
                if flags & END_HEADERS != 0 {
                    self.block_since = None;
                }
            }
            3 => {
                self.resets += 1;
                if self.resets > self.max_resets {
                    self.abuse = Some("too many streams reset");
                }
            }
            // WINDOW_UPDATE comes as often as the client reads.
            8 => {}
            // Acknowledgements are as many as our own frames.
            4 | 6 if flags & ACK != 0 => {}
            // SETTINGS, PING, PRIORITY, and what nobody knows.
            _ => {
                self.control += 1;
                if self.control > CONTROL {
                    self.abuse = Some("too many control frames");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, kind, flags, 0, 0, 0, 1];
        bytes[1] = u8::try_from(payload >> 8).unwrap_or(u8::MAX);
        bytes[2] = u8::try_from(payload & 0xff).unwrap_or(u8::MAX);
        bytes.resize(FRAME_HEAD + payload, 3);
        bytes
    }

    fn meter(now: Instant) -> Meter {
        let mut meter = Meter::new(4, now);
        meter.feed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", now);
        meter
    }

    #[test]
    fn resets_in_a_window() {
        let now = Instant::now();
        let mut m = meter(now);
        for _ in 0..4 {
            m.feed(&frame(1, 5, 20), now);
            m.feed(&frame(3, 0, 4), now);
        }
        assert_eq!(m.abuse, None);
        m.feed(&frame(3, 0, 4), now + WINDOW);
        assert_eq!(m.abuse, None);
        for _ in 0..4 {
            m.feed(&frame(3, 0, 4), now + WINDOW);
        }
        assert_eq!(m.abuse, Some("too many streams reset"));
    }

    #[test]
    fn a_field_block_in_too_many_frames_or_never_whole() {
        let now = Instant::now();
        let mut m = meter(now);
        m.feed(&frame(1, 0, 10), now);
        assert_eq!(m.partial_since(), Some(now));
        for _ in 0..CONTINUATIONS {
            m.feed(&frame(9, 0, 1), now + WINDOW);
        }
        assert_eq!((m.abuse, m.partial_since()), (None, Some(now)));
        m.feed(&frame(9, 0, 1), now);
        assert_eq!(m.abuse, Some("field block in too many frames"));
        let mut m = meter(now);
        m.feed(&frame(1, 0, 10), now);
        m.feed(&frame(9, 4, 10), now);
        assert_eq!(m.partial_since(), None);
        // Half a frame.
        m.feed(&frame(1, 4, 10)[..12], now);
        assert_eq!(m.partial_since(), Some(now));
        // DATA has its own deadline.
        let mut m = meter(now);
        m.feed(&frame(0, 0, 10)[..12], now);
        assert_eq!(m.partial_since(), None);
    }

    #[test]
    fn control_frames() {
        let now = Instant::now();
        let mut m = meter(now);
        for _ in 0..1000 {
            m.feed(&frame(6, 1, 8), now);
            m.feed(&frame(8, 0, 4), now);
        }
        assert_eq!(m.abuse, None);
        for _ in 0..=CONTROL {
            m.feed(&frame(6, 0, 8), now);
        }
        assert_eq!(m.abuse, Some("too many control frames"));
    }

    proptest! {
        #[test]
        fn split_anywhere_counts_the_same(
            frames in prop::collection::vec((0u8..12, 0u8..8, 0usize..40), 0..30),
            step in 1usize..30,
        ) {
            let now = Instant::now();
            let wire: Vec<u8> = frames.iter().flat_map(|(kind, flags, len)| frame(*kind, *flags, *len)).collect();
            let mut whole = meter(now);
            whole.feed(&wire, now);
            let mut split = meter(now);
            for piece in wire.chunks(step) {
                split.feed(piece, now);
            }
            prop_assert_eq!(whole.resets, split.resets);
            prop_assert_eq!(whole.control, split.control);
            prop_assert_eq!(whole.abuse, split.abuse);
            prop_assert_eq!(whole.partial_since(), split.partial_since());
        }
    }
}
