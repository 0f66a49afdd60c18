//! The one writer of a disk and what waits for it.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::device::Disk;
use super::writer::Writer;

/// Work for the writer, bounded by the bytes that it keeps in memory.
pub(crate) struct Queue {
    shared: Arc<Shared>,
    budget: Arc<Semaphore>,
    /// Permits in all.
    permits: u32,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

type Work = Box<dyn FnOnce(&Disk, &mut Writer) + Send>;

struct Job {
    work: Work,
    room: Option<Room>,
}

/// The right to add work that keeps so many bytes in memory. It ends when the work is done.
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
}

/// Bytes of a permit.
const UNIT: u64 = 1024;

impl Queue {
    pub(crate) fn new(bytes: u64) -> Self {
        let permits = u32::try_from(bytes / UNIT)
            .unwrap_or(u32::MAX)
            .clamp(4096, 1 << 28);
        Self {
            shared: Arc::default(),
            budget: Arc::new(Semaphore::new(permits as usize)),
            permits,
        }
    }

    /// Starts the writer's thread of a disk. It ends with the disk.
    pub(crate) fn begin(disk: &Arc<Disk>) -> std::io::Result<()> {
        let (shared, weak) = (disk.queue.shared.clone(), Arc::downgrade(disk));
        std::thread::Builder::new()
            .name("disk-write".to_owned())
            .spawn(move || {
                while shared.wait() {
                    let Some(disk) = weak.upgrade() else { return };
                    // Locked before the job is taken: who closes the disk finds either the job or its result.
                    let mut writer = disk.writer.lock();
                    disk.queue.work(&disk, &mut writer, 1);
                }
            })?;
        Ok(())
    }

    /// Room for work that keeps so many bytes, if there is some now.
    pub(crate) fn try_room(&self, bytes: u64) -> Option<Room> {
        let permits = self.permits_for(bytes);
        let permit = self.budget.clone().try_acquire_many_owned(permits).ok()?;
        Some(Room { _permit: permit })
    }

    /// Room for work that keeps so many bytes, as soon as there is.
    pub(crate) async fn room(&self, bytes: u64) -> Option<Room> {
        let permits = self.permits_for(bytes);
        let permit = self.budget.clone().acquire_many_owned(permits).await.ok()?;
        Some(Room { _permit: permit })
    }

    /// Adds work in its turn. Work that comes after the disk is closed is dropped.
    pub(crate) fn add(&self, room: Room, work: impl FnOnce(&Disk, &mut Writer) + Send + 'static) {
        self.push(Some(room), Box::new(work));
    }

    /// Adds work that keeps next to nothing in memory, whatever the queue's length.
    pub(crate) fn urgent(&self, work: impl FnOnce(&Disk, &mut Writer) + Send + 'static) {
        self.push(None, Box::new(work));
    }

    fn push(&self, room: Option<Room>, work: Work) {
        let mut state = self.shared.state.lock();
        if !state.closed {
            state.jobs.push_back(Job { work, room });
            drop(state);
            self.shared.wake.notify_one();
        }
    }

    /// Does as many jobs as there are, at most `limit`.
    pub(crate) fn work(&self, disk: &Disk, writer: &mut Writer, limit: usize) {
        for _ in 0..limit {
            let Some(job) = self.shared.state.lock().jobs.pop_front() else {
                return;
            };
            (job.work)(disk, writer);
            drop(job.room);
        }
    }

    fn permits_for(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT))
            .unwrap_or(u32::MAX)
            .min(self.permits)
    }

    /// Takes no more work. `false`: it was closed already.
    pub(crate) fn close(&self) -> bool {
        let closed = std::mem::replace(&mut self.shared.state.lock().closed, true);
        self.shared.wake.notify_all();
        !closed
    }
}

impl Shared {
    /// Waits for a job. `false`: there will be none.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return false;
            }
            self.wake.wait(&mut state);
        }
        true
    }
}
