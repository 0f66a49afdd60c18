//! The way of a body that memory cannot keep: to disk while it comes, with bounded memory.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::recall::DiskBody;
use super::tier::head_of;
use super::writer::{Refused, Writer};
use crate::disk::device::Disk;
use crate::object::{Object, Whereabouts};
use crate::purge::Verdict;
use crate::s3fifo::Id;
use crate::store::Inner;

/// The disk's end of a fill.
pub(crate) struct Spool {
    on_disk: Arc<DiskBody>,
}

/// The disk takes no more.
pub(crate) struct Lost;

impl Spool {
    pub(crate) fn new(on_disk: Arc<DiskBody>) -> Self {
        Self { on_disk }
    }

    /// Adds bytes. Waits for the disk when a fragment is full.
    pub(crate) async fn write(&self, object: &Arc<Object>, bytes: &Bytes) -> Result<(), Lost> {
        let body = object.body();
        if body.written().saturating_add(bytes.len() as u64) > self.on_disk.disk.biggest() {
            return Err(Lost);
        }
        if !body.append(bytes) {
            return Err(Lost);
        }
        self.flush(object).await
    }

    /// Sends all whole fragments to disk.
    pub(crate) async fn flush(&self, object: &Arc<Object>) -> Result<(), Lost> {
        let body = object.body();
        let disk = &self.on_disk.disk;
        while let Some(pieces) = body.unflushed(disk.fragment) {
            let room = disk.queue.room(disk.fragment).await.ok_or(Lost)?;
            let (reply, written) = oneshot::channel();
            let hash = object.key().hash().0;
            disk.queue.add(room, move |disk, writer| {
                let placed = writer.fragment(disk, hash, pieces.iter().map(|bytes| &**bytes));
                // Who asked may have left: then nothing refers to the fragment, and it goes with its segment.
                let _ = reply.send(placed);
            });
            match written.await {
                Ok(Ok(placed)) => {
                    let length = placed.data.length;
                    self.on_disk.push(placed.data, placed.segment);
                    body.flushed(length.into());
                }
                Ok(Err(_)) | Err(_) => return Err(Lost),
            }
        }
        Ok(())
    }

    /// The fill has ended well: the rest and the head are queued. When they are written, the object is found on disk and
    /// leaves memory.
    pub(crate) fn finish(self, store: Arc<Inner>, object: Arc<Object>, place: Option<Id>) {
        let disk = self.on_disk.disk.clone();
        // Less than a fragment waits in memory: no more than it did while the fill was at work.
        disk.queue.urgent(move |disk, writer| {
            match self.write_end(disk, writer, &store, &object) {
                Ok(()) => object.set_whereabouts(Whereabouts::Settled),
                Err(refused) => {
                    tracing::debug!(disk = disk.path, key = %object.key(), ?refused, "a large object was not stored");
                    disk.counters.refused.add();
                }
            }
            if let Some(place) = place {
                store.take_out(&object, place);
            }
        });
    }

    fn write_end(
        &self,
        disk: &Disk,
        writer: &mut Writer,
        store: &Inner,
        object: &Arc<Object>,
    ) -> Result<(), Refused> {
        let body = object.body();
        let pieces = body.unflushed_rest();
        if !pieces.is_empty() {
            let pieces = pieces.iter().map(|bytes| &**bytes);
            let placed = writer.fragment(disk, object.key().hash().0, pieces)?;
            let length = placed.data.length;
            self.on_disk.push(placed.data, placed.segment);
            body.flushed(length.into());
        }
        let removed = object.whereabouts() == Whereabouts::Removed;
        if removed || object.verdict(&store.purges) == Verdict::Gone || !self.on_disk.is_whole() {
            return Err(Refused::Gone);
        }
        writer.refer(
            disk,
            object.identity(),
            &head_of(object, self.on_disk.extents()),
        )
    }
}
