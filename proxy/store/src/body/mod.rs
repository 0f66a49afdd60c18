//! A response body: written once by a fill, read by many.
//!
//! A body lives through one of three lives:
//!
//! - **retained**: every byte stays until the body is complete, and then for as long as somebody holds it. Readers may
//!   start anywhere and seek anywhere.
//! - **spooled**: the body is too big for memory and goes to disk piece by piece. Memory has what is not there yet;
//!   readers may start and seek anywhere.
//! - **windowed**: the body outgrew what the store may keep (or was pushed out while being filled). It goes on for the
//!   readers it has, through a bounded buffer, and is never stored.
//!
//! Network buffers are copied into fragments of exactly the bytes they hold: a slice of a 64 KiB read buffer would pin
//! all 64 KiB for the life of the object. From then on nothing is copied: readers get clones of the fragments.

mod live;
mod reader;
mod spooled;
mod window;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;

pub use self::reader::BodyReader;
pub use self::window::WindowLimits;

use self::live::{Live, Phase};
use crate::disk::format::Extent;
use crate::disk::recall::DiskBody;

/// Bytes per fragment of a stored body. Every fragment but the last has exactly this length, so the fragment of an
/// offset is found by a division; a body of at most this length is one contiguous [`Bytes`].
pub const FRAGMENT: usize = 64 * 1024;

/// Why a fill ended before its body did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AbortReason {
    /// The writer was dropped without `finish`: the fill's task ended or panicked.
    #[error("the fill ended before the body did")]
    Dropped,
    /// The bytes received are not as many as the response had declared (RFC 9112 §6.3: incomplete).
    #[error("the body declared {declared} bytes and {written} came")]
    Length {
        /// Bytes declared by the response.
        declared: u64,
        /// Bytes that came; when more came than declared, those up to the excess.
        written: u64,
    },
    /// The last reader of a body that is not being stored has left.
    #[error("nobody reads this body any more")]
    Abandoned,
    /// What the fill said, such as an origin's error.
    #[error("{0}")]
    Fill(Arc<str>),
}

impl From<&str> for AbortReason {
    fn from(text: &str) -> Self {
        Self::Fill(text.into())
    }
}

/// Why a reader gets no more bytes. Never a clean end: whoever has begun a response from it must break that response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The fill failed.
    #[error("the fill of this body failed: {0}")]
    Aborted(AbortReason),
    /// The reader held up a windowed body for too long and was cut.
    #[error("this reader was too slow for a body that is not stored, and was cut")]
    TooSlow,
    /// The wanted bytes have left the window of a body that is not stored: fetch them from the origin.
    #[error("these bytes have left the window of a body that is not stored; fetch them again")]
    Gone,
    /// The bytes on disk are not those that were written, or the disk does not give them. The object is forgotten:
    /// fetch it again.
    #[error("the stored bytes cannot be read; fetch them again")]
    Damaged,
    /// The wanted range ends beyond the body.
    #[error("the range ends beyond the {length} bytes of the body")]
    OutOfRange {
        /// Bytes in the whole body.
        length: u64,
    },
}

/// Why a writer may not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The body is aborted; its readers have been told. Stop the fill.
    #[error("the body was aborted: {0}")]
    Aborted(AbortReason),
}

/// A body, complete or on its way. Cheap to clone: all clones are the same body.
#[derive(Clone)]
pub struct Body {
    inner: Arc<Inner>,
}

/// What [`crate::overhead`] counts for a body besides its bytes.
pub(crate) const BODY_OVERHEAD: usize = size_of::<Inner>() + 16;

struct Inner {
    /// Bytes the response declared.
    declared: Option<u64>,
    /// Set once, when a retained body has ended well: from then on readers take no lock.
    complete: OnceLock<Complete>,
    /// Where a body is, or goes, that is on disk and not in memory.
    on_disk: OnceLock<Arc<DiskBody>>,
    /// Where on disk the bytes of a complete body are too, the last time they were written; empty: nowhere.
    place: Mutex<Box<[Extent]>>,
    live: Mutex<Live>,
    /// Readers wait here for bytes or an end.
    grew: Notify,
    /// The writer of a windowed body waits here for its readers.
    room: Notify,
}

/// All the bytes of a body that has ended well.
#[derive(Debug)]
pub struct Complete {
    fragments: SmallVec<[Bytes; 1]>,
    length: u64,
    trailers: Option<Box<HeaderMap>>,
}

impl Complete {
    /// The bytes in order; every fragment but the last is [`FRAGMENT`] long, and none is empty.
    pub fn fragments(&self) -> &[Bytes] {
        &self.fragments
    }

    /// The whole body as one slice, where it is at most [`FRAGMENT`] long (a clone is a reference).
    pub fn contiguous(&self) -> Option<Bytes> {
        match self.fragments.as_slice() {
            [] => Some(Bytes::new()),
            [one] => Some(one.clone()),
            _ => None,
        }
    }

    /// Bytes in the body.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The trailer section that came after the body, if any.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }

    /// The bytes from `at` up to the end of their fragment; `None` at or beyond the end.
    fn read(&self, at: u64) -> Option<Bytes> {
        let fragment = usize::try_from(at / FRAGMENT as u64).ok()?;
        let offset = (at % FRAGMENT as u64) as usize;
        let bytes = self.fragments.get(fragment)?;
        (offset < bytes.len()).then(|| bytes.slice(offset..))
    }
}

impl Body {
    /// A body that is about to be written, with the length the response declared.
    pub(crate) fn begin(declared: Option<u64>) -> Self {
        Self {
            inner: Arc::new(Inner {
                declared,
                complete: OnceLock::new(),
                on_disk: OnceLock::new(),
                place: Mutex::default(),
                live: Mutex::new(Live::new()),
                grew: Notify::new(),
                room: Notify::new(),
            }),
        }
    }

    /// All of the body at once, when it is complete: the way of a hot hit, without a lock or a reader.
    pub fn try_complete(&self) -> Option<&Complete> {
        self.inner.complete.get()
    }

    /// Whether every byte is here and the fill ended well.
    pub fn is_complete(&self) -> bool {
        self.inner.complete.get().is_some() || self.ended_on_disk().is_some()
    }

    /// Bytes of a body that has ended well and is on disk.
    fn ended_on_disk(&self) -> Option<u64> {
        self.inner.on_disk.get()?.length()
    }

    /// Bytes of the whole body where they are known: the body is complete, or its response declared them.
    pub fn length(&self) -> Option<u64> {
        match self.inner.complete.get() {
            Some(complete) => Some(complete.length),
            None => self.ended_on_disk().or(self.inner.declared),
        }
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        match self.inner.complete.get() {
            Some(complete) => complete.length,
            None => self.inner.live.lock().head(),
        }
    }

    /// A reader of the whole body, from its first byte, following the writer if there is one.
    ///
    /// On a windowed body that has moved on, the reader's first step says [`BodyError::Gone`].
    pub fn reader(&self) -> BodyReader {
        BodyReader::new(self.clone(), 0, None)
    }

    /// A reader of the bytes `range.start..range.end`. It waits for bytes that have not come yet.
    pub fn range(&self, range: std::ops::Range<u64>) -> BodyReader {
        BodyReader::new(self.clone(), range.start, Some(range.end.max(range.start)))
    }

    /// Whether two handles are the same body: a refreshed object shares its predecessor's.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Appends to a retained body. `false`: it's not retained (any more), and nothing was appended.
    pub(crate) fn append(&self, bytes: &[u8]) -> bool {
        let appended = self.inner.live.lock().append(bytes);
        if appended {
            self.inner.grew.notify_waiters();
        }
        appended
    }

    /// Ends a retained body well. `false`: it is not retained (any more).
    pub(crate) fn complete(&self, trailers: Option<HeaderMap>) -> bool {
        let mut live = self.inner.live.lock();
        let Some((fragments, length)) = live.complete() else {
            return false;
        };
        // Before the lock goes: whoever sees the phase `Complete` finds the body.
        let _ = self.inner.complete.set(Complete {
            fragments,
            length,
            trailers: trailers.map(Box::new),
        });
        drop(live);
        self.inner.grew.notify_waiters();
        true
    }

    /// Breaks the body for every reader, now. Nothing happens to a body that has ended.
    pub(crate) fn abort(&self, reason: AbortReason) {
        let mut live = self.inner.live.lock();
        if matches!(
            live.phase,
            Phase::Retained | Phase::Windowed | Phase::Spooled { ended: false }
        ) {
            live.abort(reason);
        }
        drop(live);
        self.inner.grew.notify_waiters();
        self.inner.room.notify_one();
    }

    /// Why the body broke, if it did.
    pub(crate) fn aborted(&self) -> Option<AbortReason> {
        match &self.inner.live.lock().phase {
            Phase::Aborted(reason) => Some(reason.clone()),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("complete", &self.is_complete())
            .field("written", &self.written())
            .finish()
    }
}
