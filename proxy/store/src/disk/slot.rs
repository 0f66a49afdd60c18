//! The place of a disk, and how the disk in it is.

use std::io;
use std::sync::Arc;

use parking_lot::RwLock;

use super::DiskSettings;
use super::device::Disk;
use super::volume::Volume;

/// The place of a disk, whether it is there or not.
pub(crate) struct Slot {
    pub(crate) settings: DiskSettings,
    pub(crate) volume: Arc<dyn Volume>,
    /// Tells disks apart when keys are shared out; the same in every process.
    pub(crate) name: u64,
    pub(crate) state: RwLock<State>,
}

pub(crate) enum State {
    Up(Arc<Disk>),
    Down(String),
}

/// Whether a disk is in service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskState {
    /// It is.
    Online,
    /// It isn't, and why.
    Offline(String),
}

/// A snapshot of one disk. Counters count since the disk was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskStats {
    /// Its folder.
    pub path: String,
    /// Whether it is in service.
    pub state: DiskState,
    /// Bytes it may take.
    pub size: u64,
    /// Bytes it takes, segments that only readers hold included.
    pub used: u64,
    /// Objects it has.
    pub objects: u64,
    /// Bytes of memory that its index takes.
    pub index_bytes: u64,
    /// Segments it has.
    pub segments: u64,
    /// Objects read.
    pub hits: u64,
    /// Objects written, new metadata included.
    pub written: u64,
    /// Objects that were not written: the queue was full, the site's quota used up, or they were too big.
    pub refused: u64,
    /// Objects that were written again because they were hot when their segment went.
    pub reinserted: u64,
    /// Objects that went with their segment.
    pub evicted: u64,
    /// Objects whose bytes were not those written.
    pub damaged: u64,
    /// Errors of the disk itself.
    pub errors: u64,
}

impl Slot {
    pub(crate) fn disk(&self) -> Option<Arc<Disk>> {
        match &*self.state.read() {
            State::Up(disk) if disk.failure().is_none() => Some(disk.clone()),
            _ => None,
        }
    }

    pub(crate) fn stats(&self) -> DiskStats {
        let state = self.state.read();
        let (disk, reason) = match &*state {
            State::Up(disk) => (Some(disk), disk.failure()),
            State::Down(reason) => (None, Some(reason.as_str())),
        };
        let count = |of: fn(&Disk) -> u64| disk.map_or(0, |disk| of(disk));
        DiskStats {
            path: self.settings.path.display().to_string(),
            state: match reason {
                None => DiskState::Online,
                Some(reason) => DiskState::Offline(reason.to_owned()),
            },
            size: self.settings.size,
            used: count(Disk::used),
            objects: count(|disk| disk.index.len()),
            index_bytes: count(|disk| disk.index.memory()),
            segments: count(|disk| disk.segments.read().len() as u64),
            hits: count(|disk| disk.counters.hits.get()),
            written: count(|disk| disk.counters.written.get()),
            refused: count(|disk| disk.counters.refused.get()),
            reinserted: count(|disk| disk.counters.reinserted.get()),
            evicted: count(|disk| disk.counters.evicted.get()),
            damaged: count(|disk| disk.counters.damaged.get()),
            errors: count(|disk| disk.counters.errors.get()),
        }
    }
}

/// Says why a disk cannot be opened.
pub(crate) fn out_of_service(settings: &DiskSettings, error: &io::Error) -> String {
    let path = settings.path.display();
    let reason = match error.kind() {
        io::ErrorKind::WouldBlock => "another process has it".to_owned(),
        _ => error.to_string(),
    };
    tracing::error!(disk = %path, reason, "a cache disk cannot be opened; the node goes on without it");
    reason
}
