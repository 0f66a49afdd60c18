//! Bodies on disk, or on their way there.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;

use super::live::Live;
use super::window::WindowLimits;
use super::{Body, Complete, Inner};
use crate::disk::format::Extent;
use crate::disk::recall::DiskBody;

impl Body {
    /// A body that was read from disk into memory. `fragments` are as [`Complete::fragments`] says.
    pub(crate) fn recalled(
        fragments: SmallVec<[Bytes; 1]>,
        trailers: Option<HeaderMap>,
        place: Vec<Extent>,
    ) -> Self {
        let length = fragments.iter().map(|bytes| bytes.len() as u64).sum();
        let body = Self::begin(None);
        // New: nobody else has set it.
        let _ = body.inner.complete.set(Complete {
            fragments,
            length,
            trailers: trailers.map(Box::new),
        });
        *body.inner.place.lock() = place.into();
        body
    }

    /// A body that is on disk and stays there.
    pub(crate) fn of_disk(on_disk: Arc<DiskBody>) -> Self {
        let length = on_disk.length().unwrap_or(0);
        Self {
            inner: Arc::new(Inner {
                declared: Some(length),
                complete: OnceLock::new(),
                on_disk: OnceLock::from(on_disk),
                place: Mutex::default(),
                live: Mutex::new(Live::on_disk(length)),
                grew: Notify::new(),
                room: Notify::new(),
            }),
        }
    }

    /// Sends a body that is being written to disk, from its first byte on. `gauge` counts what waits in memory. `false`:
    /// bytes are lost already.
    pub(crate) fn spool(&self, on_disk: Arc<DiskBody>, gauge: Arc<AtomicU64>) -> bool {
        let mut live = self.inner.live.lock();
        // A body is spooled once, and before the phase says so.
        self.inner.on_disk.set(on_disk).is_ok() && live.spool(gauge)
    }

    /// The body on disk, complete or on its way.
    pub(crate) fn on_disk(&self) -> Option<&Arc<DiskBody>> {
        self.inner.on_disk.get()
    }

    /// Where on disk the bytes of a complete body are too.
    pub(crate) fn place(&self) -> Option<Vec<Extent>> {
        let place = self.inner.place.lock();
        (!place.is_empty()).then(|| place.to_vec())
    }

    pub(crate) fn set_place(&self, extents: Vec<Extent>) {
        *self.inner.place.lock() = extents.into();
    }

    /// Bytes that are not on disk yet: a whole number of them, or `None` if there are fewer than `limit`.
    pub(crate) fn unflushed(&self, limit: u64) -> Option<Vec<Bytes>> {
        let live = self.inner.live.lock();
        (live.head() - live.flushed() >= limit).then(|| live.unflushed(limit))
    }

    /// All bytes that are not on disk yet.
    pub(crate) fn unflushed_rest(&self) -> Vec<Bytes> {
        self.inner.live.lock().unflushed(u64::MAX)
    }

    /// So many more bytes are on disk.
    pub(crate) fn flushed(&self, more: u64) {
        self.inner.live.lock().flush(more);
    }

    /// Ends a spooled body well. `false`: it is not spooled (any more).
    pub(crate) fn end_spool(&self, trailers: Option<HeaderMap>) -> bool {
        let mut live = self.inner.live.lock();
        let Some(on_disk) = self.inner.on_disk.get() else {
            return false;
        };
        let ended = live.end_spool();
        if ended {
            on_disk.end(live.head(), trailers);
        }
        drop(live);
        self.inner.grew.notify_waiters();
        ended
    }

    /// The disk takes no more: the body goes on for the readers it has.
    pub(crate) fn stop_spooling(&self, gauge: Arc<AtomicU64>, limits: WindowLimits) {
        let mut live = self.inner.live.lock();
        live.stop_spooling(gauge);
        live.trim(limits.bytes());
    }

    /// The trailer section, once the body has ended well.
    pub(crate) fn trailers(&self) -> Option<HeaderMap> {
        if let Some(complete) = self.try_complete() {
            return complete.trailers().cloned();
        }
        let on_disk = self.on_disk().and_then(|on_disk| on_disk.trailers());
        match on_disk {
            Some(trailers) => Some(trailers.clone()),
            None => self.inner.live.lock().trailers().cloned(),
        }
    }
}
