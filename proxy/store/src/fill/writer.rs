//! The writer of a body.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::body::{AbortReason, WriteError};
use crate::disk::spool::Spool;
use crate::headers;
use crate::object::Object;
use crate::s3fifo::Id;
use crate::store::Inner;

/// Writes the body of an object that is being filled. Dropping it without [`BodyWriter::finish`] aborts the body.
#[must_use = "a body is aborted when its writer is dropped"]
pub struct BodyWriter {
    store: Arc<Inner>,
    object: Arc<Object>,
    /// Where the object's bytes are counted; `None`: it is passed through and not stored.
    place: Option<Id>,
    /// It goes to disk as it comes.
    spool: Option<Spool>,
    written: u64,
    /// The largest body that is stored, wherever.
    limit: u64,
    ended: bool,
}

impl BodyWriter {
    pub(crate) fn new(
        store: Arc<Inner>,
        object: Arc<Object>,
        place: Option<Id>,
        spool: Option<Spool>,
    ) -> Self {
        Self {
            spool,
            limit: u64::MAX,
            store,
            object,
            place,
            written: 0,
            ended: false,
        }
    }

    /// Lowers the bound for this body, in bytes: beyond it the body passes through a window to those who wait, and is
    /// not stored. The store's own bounds hold besides.
    pub fn limit(&mut self, bytes: u64) {
        self.limit = self.limit.min(bytes);
    }

    /// The object that is being filled.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Adds bytes. Waits where the body goes to disk, for the disk; and where it is not (or no longer) stored, for the
    /// slowest of its readers.
    ///
    /// # Errors
    /// The body is aborted: more bytes than declared, or nobody reads a body that is not stored. Stop the fill.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), WriteError> {
        let more = bytes.len() as u64;
        let written = self.written.saturating_add(more);
        if let Some(declared) = self.declared()
            && written > declared
        {
            return Err(self.abort_with(AbortReason::Length { declared, written }));
        }
        if self.spool.is_none()
            && let Some(place) = self.place
        {
            let fits = written <= self.limit.min(self.store.limits.biggest());
            if !(fits && self.store.grow(place, more)) {
                self.place = None;
                let spool = (written <= self.limit)
                    .then(|| self.store.spool(&self.object))
                    .flatten();
                match spool {
                    Some(spool) => {
                        self.store.take_out(&self.object, place);
                        self.place = self.store.insert(&self.object, None);
                        self.spool = Some(spool);
                    }
                    None => self.store.give_up(&self.object, place, !fits),
                }
            } else if !self.object.body().append(&bytes) {
                // Evicted between the two.
                self.place = None;
            } else {
                self.written = written;
                return Ok(());
            }
        }
        if let Some(spool) = &self.spool {
            let fits = written <= self.limit;
            if fits && spool.write(&self.object, &bytes).await.is_ok() {
                self.written = written;
                return Ok(());
            }
            // Perhaps the bytes were taken and only their way to disk was barred.
            let taken = self.object.body().written() >= written;
            self.lose_disk();
            if taken {
                self.written = written;
                return Ok(());
            }
        }
        if let Err(error) = self
            .object
            .body()
            .pass(&bytes, self.store.limits.window)
            .await
        {
            self.end(false);
            return Err(error);
        }
        self.written = written;
        Ok(())
    }

    /// Ends the body well, with the trailer section that came, if any. From here on the object is complete, and
    /// supersedes what was stored for the same request.
    ///
    /// # Errors
    /// The body was aborted, by this call if it is shorter than declared: every reader gets an error.
    pub fn finish(mut self, trailers: Option<HeaderMap>) -> Result<Arc<Object>, WriteError> {
        if let Some(declared) = self.declared()
            && self.written != declared
        {
            return Err(self.abort_with(AbortReason::Length {
                declared,
                written: self.written,
            }));
        }
        let trailers = trailers.map(|trailers| headers::compact(&trailers));
        if let Some(spool) = self.spool.take()
            && self.object.body().end_spool(trailers.clone())
        {
            self.store.counters.stored.add();
            self.store.supersede(&self.object, self.place);
            spool.finish(self.store.clone(), self.object.clone(), self.place);
            self.end(true);
            return Ok(self.object.clone());
        }
        if let (Some(place), Some(trailers)) = (self.place, &trailers)
            && !self.store.grow(place, headers::weight(trailers) as u64)
        {
            self.store.give_up(&self.object, place, false);
        }
        let body = self.object.body();
        if let Some(place) = self.place
            && body.complete(trailers.clone())
        {
            self.store.completed(&self.object, place);
        } else if !body.end_window(trailers) {
            let reason = body.aborted().unwrap_or(AbortReason::Dropped);
            return Err(self.abort_with(reason));
        }
        self.end(true);
        Ok(self.object.clone())
    }

    /// Breaks the body: the object leaves the index, every reader gets an error.
    pub fn abort(mut self, reason: AbortReason) {
        self.abort_with(reason);
    }

    /// The disk takes no more: the body goes on for those who read it.
    fn lose_disk(&mut self) {
        self.spool = None;
        self.store.stop_spooling(&self.object);
        if let Some(place) = self.place.take() {
            self.store.take_out(&self.object, place);
        }
    }

    fn declared(&self) -> Option<u64> {
        self.object.body().length()
    }

    fn abort_with(&mut self, reason: AbortReason) -> WriteError {
        // Out of the index first, so that nobody new finds it.
        if let Some(place) = self.place.take() {
            self.store.take_out(&self.object, place);
        }
        self.object.body().abort(reason.clone());
        self.end(false);
        WriteError::Aborted(reason)
    }

    fn end(&mut self, well: bool) {
        if !self.ended {
            self.ended = true;
            self.store.counters.settled.add();
            if !well {
                self.store.counters.aborted.add();
            }
        }
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        if !self.ended {
            self.abort_with(AbortReason::Dropped);
        }
    }
}

impl std::fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyWriter")
            .field("key", self.object.key())
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}
