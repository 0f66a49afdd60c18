//! Fills: one fetch for many requests.
//!
//! A fill belongs to the task that owns its [`FillPermit`], never to a client. Requests that come while it has no
//! response header hold a [`FillWatch`]; all of them are released by one event, as soon as it is known what they can do.
//! From the header on the object is in the index, and requests find it by lookup.

mod permit;
mod writer;

use std::sync::Arc;

use anypop_cache::vary::VaryKey;
use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::permit::{FillPermit, RefreshRefused};
pub use self::writer::BodyWriter;

use crate::object::Object;
use crate::purge::{PurgeSeq, Verdict};
use crate::store::Inner;

/// What became of a fill, for those who waited for its header.
#[derive(Debug, Clone)]
pub enum FillOutcome {
    /// The header is in, the body is on its way. Whether it answers the waiter's request is the waiter's to check
    /// (`Vary`); if it doesn't, the waiter begins a fill of its own.
    Stored(Arc<Object>),
    /// The stored response was validated, and has new metadata.
    Refreshed(Arc<Object>),
    /// The response is not for anyone else. Fetch alone; the key is remembered so that others don't wait.
    Uncacheable,
    /// No response.
    Failed(FillError),
}

/// Why a fill brought no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// The fill's task ended without a word. Begin a fill.
    #[error("the fill was given up")]
    Dropped,
    /// The response was purged before this waiter got it. Begin a fill.
    #[error("the response was purged while it was awaited")]
    Purged,
    /// The origin failed; asking again would most likely fail too.
    #[error("the origin failed: {reason}")]
    Origin {
        /// What to answer.
        status: StatusCode,
        /// What happened, such as an error type of RFC 9209.
        reason: Arc<str>,
    },
}

/// A fill without a header, as the index knows it.
pub(crate) struct Fill {
    /// What selects the response among variants, where that is known.
    hint: Option<VaryKey>,
    /// When it began; later after a refused refresh, when the origin is asked again.
    began: Mutex<PurgeSeq>,
    outcome: watch::Sender<Option<FillOutcome>>,
}

impl Fill {
    pub(crate) fn new(hint: Option<VaryKey>, began: PurgeSeq) -> Self {
        Self {
            hint,
            began: Mutex::new(began),
            outcome: watch::Sender::new(None),
        }
    }

    pub(crate) fn began(&self) -> PurgeSeq {
        *self.began.lock()
    }

    pub(crate) fn is_for(&self, hint: Option<&VaryKey>) -> bool {
        self.hint.as_ref() == hint
    }

    pub(crate) fn watch(&self, store: Arc<Inner>) -> FillWatch {
        FillWatch {
            outcome: self.outcome.subscribe(),
            store,
        }
    }

    fn settle(&self, outcome: FillOutcome) {
        self.outcome.send_replace(Some(outcome));
    }
}

/// Waits for another's fill.
pub struct FillWatch {
    outcome: watch::Receiver<Option<FillOutcome>>,
    store: Arc<Inner>,
}

impl FillWatch {
    /// What becomes of the fill. A response that has been purged meanwhile is never given out.
    pub async fn outcome(mut self) -> FillOutcome {
        let outcome = match self.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        match outcome {
            Some(FillOutcome::Stored(object) | FillOutcome::Refreshed(object))
                if object.verdict(&self.store.purges) == Verdict::Gone =>
            {
                FillOutcome::Failed(FillError::Purged)
            }
            Some(outcome) => outcome,
            None => FillOutcome::Failed(FillError::Dropped),
        }
    }
}

impl std::fmt::Debug for FillWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FillWatch").finish_non_exhaustive()
    }
}
