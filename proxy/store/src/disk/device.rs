//! One disk: its segments, its index, and what became of it.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use super::DiskSettings;
use super::format::{self, BLOCK, FRAGMENT, MAX_HEAD};
use super::index::{Index, Record};
use super::pool::Pool;
use super::queue::Queue;
use super::segment::{ReadError, Segment};
use super::sites::Sites;
use super::volume::Volume;
use super::writer::Writer;
use crate::stats::Counter;

pub(crate) struct Disk {
    pub(crate) path: String,
    pub(crate) volume: Arc<dyn Volume>,
    /// Bytes that all segments may take.
    pub(crate) size: u64,
    /// Bytes of a segment.
    pub(crate) segment: u64,
    /// Bytes of data in a record at most.
    pub(crate) fragment: u64,
    pub(crate) index: Index,
    pub(crate) sites: Sites,
    pub(crate) segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
    pub(crate) used: Arc<AtomicU64>,
    pub(crate) pool: Pool,
    pub(crate) counters: DiskCounters,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) queue: Queue,
    failure: OnceLock<String>,
    /// Says what memory has been asked for lately.
    memory: OnceLock<Memory>,
}

/// Whether an object with this hash and variant is hot in memory.
pub(crate) type Memory = Arc<dyn Fn(u128, u32) -> bool + Send + Sync>;

/// What a disk counts.
#[derive(Default)]
pub(crate) struct DiskCounters {
    pub(crate) hits: Counter,
    pub(crate) written: Counter,
    pub(crate) refused: Counter,
    pub(crate) reinserted: Counter,
    pub(crate) evicted: Counter,
    pub(crate) damaged: Counter,
    pub(crate) errors: Counter,
}

/// The mark of a disk that failed, so that it is not believed after a restart: what was removed or purged while it was
/// out of service is not on it.
pub(crate) const FAILED: &str = "failed";

/// Errors of reading after which a disk is taken out of service.
const PATIENCE: u64 = 8;

/// Segments that a disk has at least.
const LEAST_SEGMENTS: u64 = 8;
/// Bytes of a segment at least.
const LEAST_SEGMENT: u64 = 256 * 1024;
/// Bytes of a segment unless it is set, for disks of up to [`MANY`] of them.
const SEGMENT: u64 = 256 * 1024 * 1024;
/// Segments are open files: bigger ones on bigger disks.
const MANY: u64 = 4096;

impl Disk {
    /// A disk of these settings that has nothing yet. Its writer does not work before [`Queue::begin`].
    pub(crate) fn new(settings: &DiskSettings, volume: Arc<dyn Volume>) -> io::Result<Self> {
        let size = settings.size.max(LEAST_SEGMENTS * LEAST_SEGMENT);
        let wanted = settings
            .segment
            .unwrap_or_else(|| (size / MANY).max(SEGMENT));
        let most = (u64::from(u32::MAX) * format::ALIGN).min(size / LEAST_SEGMENTS);
        let segment = wanted.clamp(LEAST_SEGMENT, most) / format::ALIGN * format::ALIGN;
        let fragment = FRAGMENT.min(segment / 4) / BLOCK as u64 * BLOCK as u64;
        Ok(Self {
            path: settings.path.display().to_string(),
            volume,
            size,
            segment,
            fragment: fragment.max(BLOCK as u64),
            index: Index::new(),
            sites: Sites::default(),
            segments: RwLock::default(),
            used: Arc::default(),
            pool: Pool::new(settings.readers)?,
            counters: DiskCounters::default(),
            writer: Mutex::new(Writer::new()),
            queue: Queue::new(settings.queue),
            failure: OnceLock::new(),
            memory: OnceLock::new(),
        })
    }

    /// Bytes that all segments take now, those held by readers only included.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes of body of the biggest object it takes: what is bigger would push itself out, or its head would not fit.
    pub(crate) fn biggest(&self) -> u64 {
        let extents = u64::from(MAX_HEAD.min((self.segment / 4) as u32)) / 32;
        (self.size / 2).min(extents * self.fragment).min(60 << 30)
    }

    pub(crate) fn segment(&self, id: u32) -> Option<Arc<Segment>> {
        self.segments.read().get(&id).cloned()
    }

    /// Why it is out of service, if it is.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Takes it out of service.
    pub(crate) fn fail(&self, doing: &str, error: &dyn std::fmt::Display) {
        self.counters.errors.add();
        let reason = format!("{doing}: {error}");
        if self.failure.set(reason).is_ok() {
            tracing::error!(
                disk = self.path,
                doing,
                %error,
                "a cache disk failed and is out of service; the node goes on without it"
            );
            // By the writer's thread: this may be an event loop.
            self.queue.urgent(|disk, _| {
                if let Err(error) = disk.volume.create(FAILED, 0).and_then(|_| disk.volume.sync()) {
                    tracing::warn!(disk = disk.path, %error, "the failed disk could not be marked as such");
                }
            });
        }
    }

    /// Sets whom to ask what is hot in memory.
    pub(crate) fn ask_memory(&self, memory: Memory) {
        // Set once, when the disk is opened.
        let _ = self.memory.set(memory);
    }

    /// Whether an object has been hit lately. What memory answers for it, the disk does not see.
    pub(crate) fn is_hot(&self, hash: u128, record: &Record) -> bool {
        let in_memory = |memory: &Memory| memory(hash, record.variant);
        self.index.cool(hash, record) > 0 || self.memory.get().is_some_and(in_memory)
    }

    /// Adds an object to the index.
    pub(crate) fn enter(&self, hash: u128, record: Record) {
        self.sites.add(&record);
        if let Some(old) = self.index.insert(hash, record) {
            self.sites.subtract(&old);
        }
    }

    /// Takes an object out of the index. `false`: it was not where it was thought to be.
    pub(crate) fn forget(&self, hash: u128, record: &Record) -> bool {
        let gone = self.index.remove(hash, record);
        gone.inspect(|record| self.sites.subtract(record)).is_some()
    }

    /// Takes what there is of a variant out of the index.
    pub(crate) fn forget_variant(&self, hash: u128, variant: u32) -> bool {
        let gone = self.index.remove_variant(hash, variant);
        gone.inspect(|record| self.sites.subtract(record)).is_some()
    }

    /// An object could not be read: it is forgotten, so that it is fetched again.
    pub(crate) fn unreadable(&self, hash: u128, record: &Record, error: &ReadError) {
        match error {
            ReadError::WouldBlock => return,
            ReadError::Gone => {}
            ReadError::Damaged => {
                self.counters.damaged.add();
                tracing::warn!(
                    disk = self.path,
                    segment = record.segment,
                    offset = u64::from(record.offset) * format::ALIGN,
                    "a stored object is damaged and is fetched again"
                );
            }
            ReadError::Io(error) => {
                self.counters.errors.add();
                tracing::warn!(disk = self.path, segment = record.segment, %error, "a stored object cannot be read");
                if self.counters.errors.get() >= PATIENCE {
                    self.fail("reading", error);
                }
            }
        }
        self.forget(hash, record);
    }

    /// The same for an object whose key cannot be read: it is found in the index by its place.
    pub(crate) fn unreadable_place(&self, record: &Record, error: &ReadError) {
        let same =
            |other: &Record| (other.segment, other.offset) == (record.segment, record.offset);
        if matches!(error, ReadError::Damaged) {
            self.counters.damaged.add();
        }
        self.index
            .retain(|other| !same(other), |gone| self.sites.subtract(&gone));
    }

    /// Writes what is queued, seals the open segment and lets others have the disk.
    pub(crate) fn close(&self) {
        if !self.queue.close() {
            return;
        }
        {
            let mut writer = self.writer.lock();
            self.queue.work(self, &mut writer, usize::MAX);
            if self.failure().is_none()
                && let Err(error) = writer.seal(self)
            {
                tracing::warn!(disk = self.path, %error, "the last segment could not be sealed; it is scanned when the disk is opened again");
            }
        }
        self.volume.release();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}
