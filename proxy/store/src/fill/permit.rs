//! The right and the duty to say what becomes of a fill.

use std::sync::Arc;
use std::time::Duration;

use anypop_cache::key::CacheKey;
use anypop_cache::meta::StoredMeta;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::{BodyWriter, Fill, FillError, FillOutcome};
use crate::object::{Object, Response};
use crate::purge::{PurgeSeq, Verdict};
use crate::store::Inner;

/// Owned by the task that fetches. Dropping it without an outcome releases the waiters with [`FillError::Dropped`].
#[must_use = "waiters are released when a permit is dropped"]
pub struct FillPermit {
    store: Arc<Inner>,
    key: CacheKey,
    fill: Arc<Fill>,
    /// Others may wait for it: it is in the index.
    shared: bool,
    settled: bool,
}

/// The stored response that was to be refreshed has been purged: its body must not be served again. Ask the origin
/// anew, unconditionally, with this permit.
#[derive(Debug)]
pub struct RefreshRefused(pub FillPermit);

impl FillPermit {
    pub(crate) fn new(store: Arc<Inner>, key: CacheKey, fill: Arc<Fill>, shared: bool) -> Self {
        store.counters.begun.add();
        Self {
            store,
            key,
            fill,
            shared,
            settled: false,
        }
    }

    /// The purge sequence when the fill began: for [`StoredMeta`]. The origin is asked after this.
    pub fn began(&self) -> PurgeSeq {
        self.fill.began()
    }

    /// The key to fill.
    pub fn key(&self) -> &CacheKey {
        &self.key
    }

    /// The header is in: the object is visible from here on, its body follows through the writer.
    ///
    /// A response whose declared length is beyond the store's bound is passed through a window to those who wait now,
    /// and not stored, unless a disk takes it.
    pub fn store(mut self, response: Response) -> BodyWriter {
        let object = Arc::new(Object::new(self.key.clone(), response, self.fill.began()));
        let withdrawn = self.shared.then_some(&self.fill);
        let large = object
            .body()
            .length()
            .is_some_and(|length| length > self.store.limits.biggest());
        let spool = if large {
            self.store.spool(&object)
        } else {
            None
        };
        let place = self.store.insert(&object, withdrawn);
        self.store.pass.forget(self.key.hash().0);
        self.settle_out_of_index(FillOutcome::Stored(object.clone()));
        BodyWriter::new(self.store.clone(), object, place, spool)
    }

    /// The response is for its requester alone; that is remembered for a while, so that others don't wait for nothing.
    pub fn uncacheable(mut self, remember_for: Duration) {
        if !remember_for.is_zero() {
            self.store
                .pass
                .put(self.key.hash().0, Instant::now() + remember_for);
        }
        self.settle(FillOutcome::Uncacheable);
    }

    /// The origin says that a stored response is still good (RFC 9111 §4.3.4): its body gets a new header and new
    /// metadata.
    ///
    /// # Errors
    /// [`RefreshRefused`] if the stored response has been purged.
    pub fn refresh(
        mut self,
        base: &Arc<Object>,
        headers: &HeaderMap,
        meta: StoredMeta,
    ) -> Result<Arc<Object>, RefreshRefused> {
        if base.verdict(&self.store.purges) == Verdict::Gone {
            *self.fill.began.lock() = self.store.purges.now();
            return Err(RefreshRefused(self));
        }
        let object = Arc::new(Object::refreshed(base, headers, meta, self.fill.began()));
        self.store.replace(base, &object);
        self.store.counters.refreshed.add();
        self.settle(FillOutcome::Refreshed(object.clone()));
        Ok(object)
    }

    /// There is no response: waiters answer with `status`, or a stale response.
    pub fn fail(mut self, status: StatusCode, reason: impl Into<Arc<str>>) {
        self.store.counters.aborted.add();
        self.settle(FillOutcome::Failed(FillError::Origin {
            status,
            reason: reason.into(),
        }));
    }

    /// Withdraws the fill from the index, then releases the waiters: who looks again must not join it.
    fn settle(&mut self, outcome: FillOutcome) {
        if self.shared {
            self.store.withdraw(&self.key, &self.fill);
        }
        self.settle_out_of_index(outcome);
    }

    fn settle_out_of_index(&mut self, outcome: FillOutcome) {
        self.settled = true;
        if !matches!(outcome, FillOutcome::Stored(_)) {
            self.store.counters.settled.add();
        }
        self.fill.settle(outcome);
    }
}

impl Drop for FillPermit {
    fn drop(&mut self) {
        if !self.settled {
            self.store.counters.aborted.add();
            self.settle(FillOutcome::Failed(FillError::Dropped));
        }
    }
}

impl std::fmt::Debug for FillPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FillPermit")
            .field("key", &self.key)
            .field("began", &self.began())
            .finish_non_exhaustive()
    }
}
