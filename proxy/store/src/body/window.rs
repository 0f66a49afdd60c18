//! Windowed bodies: a bounded buffer between one writer and the readers it has, for what the store will not keep.
//!
//! The slowest reader holds the writer back, within limits: a reader that takes nothing for [`WindowLimits::stall`] while
//! the writer waits for it is cut; and where other readers have run dry meanwhile, it must free half a window in that
//! time, so that a client that drips cannot starve the others.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, timeout_at};

use super::live::{Live, Phase};
use super::{AbortReason, Body, FRAGMENT, WriteError};

/// Limits of a body that is passed through and not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// Bytes buffered between the writer and its slowest reader; at least two [`FRAGMENT`]s are used.
    pub bytes: u64,
    /// How long a reader may hold the writer up without taking anything before it is cut.
    pub stall: Duration,
}

impl Default for WindowLimits {
    fn default() -> Self {
        Self {
            bytes: 1024 * 1024,
            stall: Duration::from_secs(30),
        }
    }
}

impl WindowLimits {
    pub(super) fn bytes(self) -> u64 {
        self.bytes.max(2 * FRAGMENT as u64)
    }
}

/// What the writer found when it asked for room.
enum Room {
    Free,
    /// Readers hold it up; look again at this time at the latest.
    Full(Instant),
}

impl Body {
    /// Gives up retaining this body; `gauge` counts the bytes that it holds from here on.
    pub(crate) fn open_window(&self, gauge: Arc<AtomicU64>, limits: WindowLimits) {
        let mut live = self.inner.live.lock();
        live.open_window(gauge);
        live.trim(limits.bytes());
    }

    /// Passes bytes on to the readers, waiting for the slowest.
    ///
    /// # Errors
    /// The body is aborted, by this call when its last reader has left.
    pub(crate) async fn pass(&self, bytes: &[u8], limits: WindowLimits) -> Result<(), WriteError> {
        for part in bytes.chunks(FRAGMENT) {
            self.wait_for_room(part.len() as u64, limits).await?;
            self.inner.live.lock().push(part);
            self.inner.grew.notify_waiters();
        }
        Ok(())
    }

    /// Ends a windowed body well. `false`: it was not windowed.
    pub(crate) fn end_window(&self, trailers: Option<HeaderMap>) -> bool {
        let ended = self.inner.live.lock().end_window(trailers);
        self.inner.grew.notify_waiters();
        ended
    }

    async fn wait_for_room(&self, wanted: u64, limits: WindowLimits) -> Result<(), WriteError> {
        let keep = limits.bytes().saturating_sub(wanted);
        if let Room::Free = self.look_for_room(keep, None, limits.stall)? {
            return Ok(());
        }
        let since = Instant::now();
        // Once full, wait for half a window: one wake-up for many writes.
        let keep = (limits.bytes() / 2).saturating_sub(wanted);
        loop {
            let room = self.inner.room.notified();
            match self.look_for_room(keep, Some(since), limits.stall)? {
                Room::Free => return Ok(()),
                // Woken or not, the answer is found by looking again.
                Room::Full(until) => drop(timeout_at(until, room).await),
            }
        }
    }

    /// There is room when at most `keep` bytes are held. The writer has waited `since`, if it has.
    fn look_for_room(
        &self,
        keep: u64,
        since: Option<Instant>,
        stall: Duration,
    ) -> Result<Room, WriteError> {
        let mut live = self.inner.live.lock();
        if let Phase::Aborted(reason) = &live.phase {
            return Err(WriteError::Aborted(reason.clone()));
        }
        let now = Instant::now();
        let until = match since {
            Some(since) => cut_laggards(&mut live, keep, since, now, stall),
            None => now,
        };
        let is_read = live.places().any(|place| place.needs().is_some());
        if is_read {
            live.trim(keep);
        }
        if live.held() <= keep && (is_read || live.has_start()) {
            return Ok(Room::Free);
        }
        if is_read {
            return Ok(Room::Full(until));
        }
        // Those who waited for the header may not have come to read yet. Once somebody has, or the start is lost, the
        // last one to leave takes the body along.
        let deadline = since.unwrap_or(now) + stall;
        if live.has_start() && !live.was_read() && now < deadline {
            return Ok(Room::Full(deadline));
        }
        live.abort(AbortReason::Abandoned);
        drop(live);
        self.inner.grew.notify_waiters();
        Err(WriteError::Aborted(AbortReason::Abandoned))
    }
}

/// Cuts the readers that have held up the writer, who waits `since`, for too long. Returns when to look again.
fn cut_laggards(
    live: &mut Live,
    keep: u64,
    since: Instant,
    now: Instant,
    stall: Duration,
) -> Instant {
    let head = live.head();
    let starving = live
        .places()
        .filter_map(|place| place.needs())
        .any(|at| at >= head);
    let mut next = now + stall;
    for place in live.places() {
        let Some(at) = place.needs() else { continue };
        if head.saturating_sub(at) <= keep {
            continue;
        }
        let deadline = if starving {
            since
        } else {
            place.progressed.max(since)
        } + stall;
        if deadline <= now {
            place.cut = true;
            tracing::debug!(
                at,
                head,
                "cut a reader that held up a body which is not stored"
            );
        } else {
            next = next.min(deadline);
        }
    }
    next
}
