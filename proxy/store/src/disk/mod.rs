//! The disk tier: what outlives restarts, kills and power cuts.
//!
//! Each disk is a log of **segments**: files that are only ever appended to, sealed when full, and taken away oldest
//! first. An index in memory says where each object is. Nothing on a disk is changed in place, so nothing can be torn
//! but the last record, and that is found by its checksum.
//!
//! From the bytes up:
//!
//! - [`volume`]: the files, and where tests make them fail.
//! - [`mod@format`], [`head`]: what the bytes mean.
//! - `segment`: reading one, and scanning one that was not sealed.
//! - `index`, `sites`: what a disk has, in 64 bytes an object, and whose it is.
//! - `writer`, behind a bounded `queue`: the one thread of a disk that writes; eviction.
//! - `recall`: reading objects back, by way of the page cache or the disk's `pool` of threads.
//! - `open`, `device`: a disk as a whole.
//! - `tier`: all disks, each in its `slot`, and what goes to them; `seen` says what is asked for again, `spool` is the way
//!   of what memory cannot keep.
//! - `inspect`: listing and verifying.

mod codec;
pub(crate) mod device;
pub mod format;
pub mod head;
mod index;
pub mod inspect;
mod open;
mod pool;
mod queue;
pub(crate) mod recall;
mod seen;
mod segment;
mod sites;
mod slot;
pub(crate) mod spool;
pub(crate) mod tier;
pub mod volume;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

pub use self::inspect::{Listed, Progress, Verified, check_segment_bytes};
pub use self::slot::{DiskState, DiskStats};

/// One disk for the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSettings {
    /// The folder; made if only its last part is missing.
    pub path: PathBuf,
    /// Bytes it may take; at least 2 MiB are used.
    pub size: u64,
    /// Bytes of a segment. `None`: 256 MiB, and more on disks beyond a terabyte. At most an eighth of the size is used.
    pub segment: Option<u64>,
    /// Threads that read what is not in the page cache: reads that the disk works on at once.
    pub readers: usize,
    /// Bytes that may wait in memory to be written.
    pub queue: u64,
    /// How long another process may still have the disk when it is opened: the one that this one succeeds.
    pub claim_timeout: Duration,
}

impl DiskSettings {
    /// A disk of so many bytes with everything else as it is by default.
    pub fn new(path: impl Into<PathBuf>, size: u64) -> Self {
        Self {
            path: path.into(),
            size,
            segment: None,
            readers: 16,
            queue: 64 * 1024 * 1024,
            claim_timeout: Duration::from_secs(10),
        }
    }
}

/// What is written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Admission {
    /// Everything that is stored.
    Always,
    /// What is asked for a second time.
    #[default]
    SecondHit,
}

/// How memory and disks share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierSettings {
    /// What is written to disk?
    pub admission: Admission,
    /// Bytes of the biggest body that comes back to memory when it is asked for; bigger ones are read from disk each time.
    pub promote: u64,
    /// Bytes of the biggest body that goes to disk; at most half a disk is used.
    pub max_object: u64,
}

impl Default for TierSettings {
    fn default() -> Self {
        Self {
            admission: Admission::default(),
            promote: 1024 * 1024,
            max_object: 50 * 1024 * 1024 * 1024,
        }
    }
}
