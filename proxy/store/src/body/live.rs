//! The state of a body that is still being written. Plain data under the body's lock; time is a parameter.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{AbortReason, BodyError, FRAGMENT};

/// Pieces of an unfinished fragment before they are merged: an origin that sends single bytes must not cost a list
/// element for each.
const LOOSE_PIECES: usize = 32;

pub(super) enum Phase {
    /// Every byte stays.
    Retained,
    /// Bytes that all readers have taken may go.
    Windowed,
    /// Bytes go to disk; those that are there may go from memory.
    Spooled {
        /// It has ended well.
        ended: bool,
    },
    /// A windowed body has ended well; its readers take what is left.
    Ended,
    /// A retained body has ended well; the bytes are in [`super::Complete`].
    Complete,
    Aborted(AbortReason),
}

pub(super) struct Live {
    pub(super) phase: Phase,
    pieces: VecDeque<Piece>,
    /// How many of the pieces in front are whole fragments.
    sealed: usize,
    /// Offset of the first byte still held.
    base: u64,
    /// Bytes written.
    head: u64,
    /// Bytes that are on disk, from the first on.
    flushed: u64,
    readers: Vec<Option<Place>>,
    /// Places in `readers` that nobody has.
    vacant: Vec<usize>,
    /// Somebody has read, or begun to.
    read: bool,
    /// Where a windowed body counts the bytes it holds.
    gauge: Option<Arc<AtomicU64>>,
    /// The trailer section of a windowed body that has ended.
    trailers: Option<Box<HeaderMap>>,
}

struct Piece {
    start: u64,
    bytes: Bytes,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// Where a reader stands.
pub(super) struct Place {
    /// The next byte it wants; `None` once it wants no more.
    pub(super) at: Option<u64>,
    /// When it last took bytes.
    pub(super) progressed: Instant,
    /// It was too slow; its next step says so.
    pub(super) cut: bool,
}

impl Place {
    /// The next byte this reader still needs to be kept.
    pub(super) fn needs(&self) -> Option<u64> {
        if self.cut { None } else { self.at }
    }
}

/// What a reader finds at an offset.
pub(super) enum Found {
    Bytes(Bytes),
    /// Not written yet.
    Pending,
    /// On disk.
    OnDisk,
    /// The body is complete: look there.
    Complete,
    /// The body ended here, well.
    End,
    Error(BodyError),
}

impl Live {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Retained,
            pieces: VecDeque::new(),
            sealed: 0,
            base: 0,
            head: 0,
            flushed: 0,
            readers: Vec::new(),
            vacant: Vec::new(),
            read: false,
            gauge: None,
            trailers: None,
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// Bytes held right now.
    pub(super) fn held(&self) -> u64 {
        self.head - self.base
    }

    pub(super) fn append(&mut self, mut bytes: &[u8]) -> bool {
        if !matches!(
            self.phase,
            Phase::Retained | Phase::Spooled { ended: false }
        ) {
            return false;
        }
        while !bytes.is_empty() {
            let loose: usize = self
                .pieces
                .range(self.sealed..)
                .map(|piece| piece.bytes.len())
                .sum();
            let (now, rest) = bytes.split_at(bytes.len().min(FRAGMENT - loose));
            self.push(now);
            if loose + now.len() == FRAGMENT {
                self.merge();
                self.sealed = self.pieces.len();
            } else if self.pieces.len() - self.sealed >= LOOSE_PIECES {
                self.merge();
            }
            bytes = rest;
        }
        true
    }

    /// Adds a piece of exactly these bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.pieces.push_back(Piece {
            start: self.head,
            bytes: Bytes::copy_from_slice(bytes),
        });
        self.head += bytes.len() as u64;
        self.count(bytes.len() as u64, 0);
    }

    /// Makes one piece of the loose ones.
    fn merge(&mut self) {
        if self.pieces.len() - self.sealed < 2 {
            return;
        }
        let start = self
            .pieces
            .get(self.sealed)
            .map_or(self.head, |piece| piece.start);
        let mut merged = BytesMut::with_capacity((self.head - start) as usize);
        for piece in self.pieces.drain(self.sealed..) {
            merged.extend_from_slice(&piece.bytes);
        }
        self.pieces.push_back(Piece {
            start,
            bytes: merged.freeze(),
        });
    }

    /// Ends a retained body: its fragments and its length.
    pub(super) fn complete(&mut self) -> Option<(SmallVec<[Bytes; 1]>, u64)> {
        if !matches!(self.phase, Phase::Retained) {
            return None;
        }
        self.merge();
        self.phase = Phase::Complete;
        self.readers = Vec::new();
        let fragments = std::mem::take(&mut self.pieces)
            .into_iter()
            .map(|piece| piece.bytes)
            .collect();
        Some((fragments, self.head))
    }

    pub(super) fn abort(&mut self, reason: AbortReason) {
        self.count(0, self.held());
        self.phase = Phase::Aborted(reason);
        self.pieces = VecDeque::new();
        self.base = self.head;
    }

    /// Gives up retaining: from here on bytes go when all readers have taken them.
    pub(super) fn open_window(&mut self, gauge: Arc<AtomicU64>) {
        if matches!(self.phase, Phase::Retained) {
            self.window(gauge);
        }
    }

    /// Gives up writing to disk what is not there yet.
    pub(super) fn stop_spooling(&mut self, gauge: Arc<AtomicU64>) {
        if matches!(self.phase, Phase::Spooled { ended: false }) {
            self.window(gauge);
        }
    }

    fn window(&mut self, gauge: Arc<AtomicU64>) {
        self.phase = Phase::Windowed;
        // What it counted while it was spooled is counted anew.
        self.count(0, self.held());
        gauge.fetch_add(self.held(), Ordering::Relaxed);
        self.gauge = Some(gauge);
    }

    /// Begins to send bytes to disk. `false`: it is not retained (any more).
    pub(super) fn spool(&mut self, gauge: Arc<AtomicU64>) -> bool {
        let retained = matches!(self.phase, Phase::Retained);
        if retained {
            self.phase = Phase::Spooled { ended: false };
            gauge.fetch_add(self.held(), Ordering::Relaxed);
            self.gauge = Some(gauge);
        }
        retained
    }

    /// A body that has ended, and all of which is on disk.
    pub(super) fn on_disk(length: u64) -> Self {
        let mut live = Self::new();
        live.phase = Phase::Spooled { ended: true };
        (live.base, live.head, live.flushed) = (length, length, length);
        live
    }

    /// Ends a spooled body well.
    pub(super) fn end_spool(&mut self) -> bool {
        let spooled = matches!(self.phase, Phase::Spooled { ended: false });
        if spooled {
            self.phase = Phase::Spooled { ended: true };
        }
        spooled
    }

    /// The bytes that are not on disk, at most `limit` of them.
    pub(super) fn unflushed(&self, limit: u64) -> Vec<Bytes> {
        let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut pieces = Vec::new();
        for piece in &self.pieces {
            let skip = self.flushed.saturating_sub(piece.start);
            let skip = usize::try_from(skip)
                .unwrap_or(usize::MAX)
                .min(piece.bytes.len());
            let take = (piece.bytes.len() - skip).min(left);
            if take > 0 {
                pieces.push(piece.bytes.slice(skip..skip + take));
                left -= take;
            }
        }
        pieces
    }

    pub(super) fn flushed(&self) -> u64 {
        self.flushed
    }

    /// So many more bytes are on disk: they go from memory.
    pub(super) fn flush(&mut self, more: u64) {
        self.flushed = (self.flushed + more).min(self.head);
        let mut dropped = 0;
        while let Some(piece) = self.pieces.front()
            && piece.end() <= self.flushed
        {
            dropped += piece.bytes.len() as u64;
            self.base = piece.end();
            self.pieces.pop_front();
            self.sealed = self.sealed.saturating_sub(1);
        }
        self.count(0, dropped);
    }

    /// Ends a windowed body well.
    pub(super) fn end_window(&mut self, trailers: Option<HeaderMap>) -> bool {
        let windowed = matches!(self.phase, Phase::Windowed);
        if windowed {
            self.phase = Phase::Ended;
            self.trailers = trailers.map(Box::new);
            self.trim_ended();
        }
        windowed
    }

    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }

    fn count(&self, more: u64, less: u64) {
        if let Some(gauge) = &self.gauge {
            gauge.fetch_add(more, Ordering::Relaxed);
            gauge.fetch_sub(less, Ordering::Relaxed);
        }
    }

    /// What is at `at`.
    pub(super) fn find(&self, at: u64) -> Found {
        match &self.phase {
            Phase::Complete => return Found::Complete,
            Phase::Aborted(reason) => return Found::Error(BodyError::Aborted(reason.clone())),
            Phase::Retained | Phase::Spooled { .. } | Phase::Windowed | Phase::Ended => {}
        }
        if at < self.base && at < self.flushed {
            return Found::OnDisk;
        }
        if at < self.base {
            return Found::Error(BodyError::Gone);
        }
        if at < self.head {
            let after = self.pieces.partition_point(|piece| piece.start <= at);
            // The pieces cover base..head without gaps, so there is one that starts at or before `at`.
            return match after
                .checked_sub(1)
                .and_then(|index| self.pieces.get(index))
            {
                Some(piece) => Found::Bytes(piece.bytes.slice((at - piece.start) as usize..)),
                None => Found::Error(BodyError::Gone),
            };
        }
        match self.phase {
            Phase::Ended | Phase::Spooled { ended: true } if at == self.head => Found::End,
            Phase::Ended | Phase::Spooled { ended: true } => {
                Found::Error(BodyError::OutOfRange { length: self.head })
            }
            _ => Found::Pending,
        }
    }

    /// Drops pieces that no reader needs while more than `keep` bytes are held.
    pub(super) fn trim(&mut self, keep: u64) {
        let needed = self
            .readers
            .iter()
            .flatten()
            .filter_map(Place::needs)
            .min()
            .unwrap_or(self.head);
        let mut dropped = 0;
        while self.held() > keep {
            match self.pieces.front() {
                Some(piece) if piece.end() <= needed => {
                    dropped += piece.bytes.len() as u64;
                    self.base = piece.end();
                    self.pieces.pop_front();
                }
                _ => break,
            }
        }
        self.count(0, dropped);
    }

    /// Drops what all readers have taken of a body that has ended, unless a new reader could still have it from the
    /// start: it is no more than a window then.
    pub(super) fn trim_ended(&mut self) {
        if self.base > 0 {
            self.trim(0);
        }
    }

    /// Whether a reader of the whole body could begin now.
    pub(super) fn has_start(&self) -> bool {
        self.base == 0
    }

    /// Whether anybody has read this body so far.
    pub(super) fn was_read(&self) -> bool {
        self.read
    }

    pub(super) fn enter(&mut self, at: u64, now: Instant) -> usize {
        self.read = true;
        let place = Some(Place {
            at: Some(at),
            progressed: now,
            cut: false,
        });
        if let Some(index) = self.vacant.pop()
            && let Some(slot) = self.readers.get_mut(index)
        {
            *slot = place;
            return index;
        }
        self.readers.push(place);
        self.readers.len() - 1
    }

    pub(super) fn leave(&mut self, index: usize) {
        if self.readers.get_mut(index).and_then(Option::take).is_some() {
            self.vacant.push(index);
        }
    }

    pub(super) fn place(&mut self, index: usize) -> Option<&mut Place> {
        self.readers.get_mut(index)?.as_mut()
    }

    pub(super) fn places(&mut self) -> impl Iterator<Item = &mut Place> {
        self.readers.iter_mut().flatten()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.count(0, self.held());
    }
}
