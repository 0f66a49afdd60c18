//! Reading objects back.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::RwLock;
use smallvec::SmallVec;

use super::device::Disk;
use super::format::{self, ALIGN, BLOCK, Extent, Kind, RECORD_HEADER, RecordHeader};
use super::head::Head;
use super::index::Record;
use super::segment::{Mode, ReadError, Segment, head_of};
use crate::body::BodyError;

/// An object as it was found on disk.
pub(crate) struct Loaded {
    pub(crate) head: Head,
    /// Where its body is; the segments are held.
    pub(crate) parts: Vec<Part>,
    /// The body itself, if it is no longer than asked for: blocks, each with memory of its own.
    pub(crate) body: Option<SmallVec<[Bytes; 1]>>,
}

/// A part of a body on disk. Whoever has it can read it.
#[derive(Clone)]
pub(crate) struct Part {
    /// Its first byte's place in the body.
    pub(crate) start: u64,
    pub(crate) extent: Extent,
    pub(crate) segment: Arc<Segment>,
}

/// Bytes that the first read of a record gets.
const FIRST: u64 = 32 * 1024;

/// Reads the head of an object, holds all the segments of its body, and reads the body if it has at most `most` bytes.
///
/// Every byte is checked. A body of which a part is missing is not there at all.
pub(crate) fn load(
    disk: &Disk,
    record: &Record,
    most: u64,
    mode: Mode,
) -> Result<Loaded, ReadError> {
    let segment = disk.segment(record.segment).ok_or(ReadError::Gone)?;
    let at = u64::from(record.offset) * ALIGN;
    // A small object comes in one read.
    let first = if record.bytes() <= most.saturating_add(FIRST).min(format::FRAGMENT) {
        record.bytes()
    } else {
        FIRST
    };
    // A cached read must not ask for what lies beyond the end of the file.
    let first = first.min(segment.size().saturating_sub(at));
    let mut bytes = segment.read(at, first as usize, mode)?;
    let header = RecordHeader::decode(&bytes, record.segment, at)
        .filter(|header| header.kind == Kind::Object && header.variant == record.variant)
        .ok_or(ReadError::Damaged)?;
    if (bytes.len() as u64) < RECORD_HEADER + u64::from(header.head) {
        bytes = segment.read(at, header.data_at() as usize, mode)?;
    }
    let after = bytes.get(RECORD_HEADER as usize..).unwrap_or_default();
    let head = head_of(&header, after, record.segment, at).ok_or(ReadError::Damaged)?;
    if !head.extents.is_empty() || header.data == 0 {
        let parts = hold(disk, &head.extents)?;
        let body = if head.length <= most {
            Some(read_parts(&parts, mode)?)
        } else {
            None
        };
        return Ok(Loaded { head, parts, body });
    }
    let data_at = at + header.data_at();
    let extent = Extent {
        segment: record.segment,
        offset: u32::try_from(data_at / ALIGN).map_err(|_| ReadError::Damaged)?,
        length: header.data,
    };
    let part = Part {
        start: 0,
        extent,
        segment: segment.clone(),
    };
    let body = if head.length > most {
        None
    } else {
        let stored = format::stored_length(header.data.into()) as usize;
        let from = header.data_at() as usize;
        match bytes.get(from..from + stored) {
            Some(data) => {
                let ranges =
                    format::check_blocks(data, header.data as usize, record.segment, data_at);
                let ranges = ranges.ok_or(ReadError::Damaged)?;
                let block = |range| {
                    data.get(range)
                        .map(Bytes::copy_from_slice)
                        .unwrap_or_default()
                };
                Some(ranges.map(block).collect())
            }
            None => Some(read_parts(std::slice::from_ref(&part), mode)?),
        }
    };
    Ok(Loaded {
        head,
        parts: vec![part],
        body,
    })
}

/// Holds the segments of a body: all, or none.
fn hold(disk: &Disk, extents: &[Extent]) -> Result<Vec<Part>, ReadError> {
    let segments = disk.segments.read();
    let mut start = 0;
    extents
        .iter()
        .map(|extent| {
            let segment = segments.get(&extent.segment).ok_or(ReadError::Gone)?;
            let part = Part {
                start,
                extent: *extent,
                segment: segment.clone(),
            };
            start += u64::from(extent.length);
            Ok(part)
        })
        .collect()
}

fn read_parts(parts: &[Part], mode: Mode) -> Result<SmallVec<[Bytes; 1]>, ReadError> {
    let mut body = SmallVec::new();
    for part in parts {
        let blocks = (part.extent.length as usize).div_ceil(BLOCK);
        let read = part.segment.read_blocks(part.extent, 0, blocks, mode)?;
        // Copied: slices of one buffer would keep all of it for as long as any of them lives.
        body.extend(read.iter().map(|block| Bytes::copy_from_slice(block)));
    }
    Ok(body)
}

/// A body on disk: all of it, or what its fill has written so far.
pub(crate) struct DiskBody {
    pub(crate) disk: Arc<Disk>,
    hash: u128,
    /// Its place in the index, if it was found there.
    record: Option<Record>,
    parts: RwLock<Vec<Part>>,
    ended: OnceLock<Ended>,
}

struct Ended {
    length: u64,
    trailers: Option<HeaderMap>,
}

/// Blocks that a reader on an event loop takes at once from memory, and that one who waits for the disk gets.
const CACHED_BLOCKS: usize = 2;
const WAITED_BLOCKS: usize = 8;

/// Checked bytes in a row.
pub(crate) type Run = SmallVec<[Bytes; 4]>;

impl DiskBody {
    /// Of a fill that goes to disk.
    pub(crate) fn begin(disk: Arc<Disk>, hash: u128) -> Self {
        Self {
            disk,
            hash,
            record: None,
            parts: RwLock::default(),
            ended: OnceLock::new(),
        }
    }

    /// Of an object that was found on disk.
    pub(crate) fn found(disk: Arc<Disk>, record: Record, head: &Head, parts: Vec<Part>) -> Self {
        let ended = Ended {
            length: head.length,
            trailers: head.trailers.clone(),
        };
        Self {
            disk,
            hash: head.key.hash().0,
            record: Some(record),
            parts: RwLock::new(parts),
            ended: OnceLock::from(ended),
        }
    }

    /// The fill has written one more part.
    pub(crate) fn push(&self, extent: Extent, segment: Arc<Segment>) {
        let mut parts = self.parts.write();
        let start = parts
            .last()
            .map_or(0, |part| part.start + u64::from(part.extent.length));
        parts.push(Part {
            start,
            extent,
            segment,
        });
    }

    /// The fill has ended well.
    pub(crate) fn end(&self, length: u64, trailers: Option<HeaderMap>) {
        // Only its writer ends it, once.
        let _ = self.ended.set(Ended { length, trailers });
    }

    /// Bytes of the whole body, once it has ended well.
    pub(crate) fn length(&self) -> Option<u64> {
        self.ended.get().map(|ended| ended.length)
    }

    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        self.ended.get()?.trailers.as_ref()
    }

    /// Where its parts are.
    pub(crate) fn extents(&self) -> Vec<Extent> {
        self.parts.read().iter().map(|part| part.extent).collect()
    }

    /// Whether all its parts are still in the store.
    pub(crate) fn is_whole(&self) -> bool {
        !self
            .parts
            .read()
            .iter()
            .any(|part| part.segment.is_evicted())
    }

    /// Some bytes from `at` on: at once if they are in the page cache, else by the disk's readers.
    pub(crate) async fn read(&self, at: u64) -> Result<Run, BodyError> {
        let Some((part, block, skip)) = self.find(at) else {
            return Err(BodyError::Gone);
        };
        let cached = part
            .segment
            .read_blocks(part.extent, block, CACHED_BLOCKS, Mode::Cached);
        let read = match cached {
            Err(ReadError::WouldBlock) => {
                let job = move || {
                    part.segment
                        .read_blocks(part.extent, block, WAITED_BLOCKS, Mode::Blocking)
                };
                self.disk
                    .pool
                    .run(job)
                    .await
                    .unwrap_or(Err(ReadError::Gone))
            }
            read => read,
        };
        let mut run = read.map_err(|error| {
            match &self.record {
                Some(record) => self.disk.unreadable(self.hash, record, &error),
                None => self.disk.counters.damaged.add(),
            }
            BodyError::Damaged
        })?;
        if let Some(first) = run.first_mut() {
            *first = first.slice(skip.min(first.len())..);
        }
        Ok(run)
    }

    /// The part with this byte, the block in it, and the byte's place in that.
    fn find(&self, at: u64) -> Option<(Part, usize, usize)> {
        let parts = self.parts.read();
        let after = parts.partition_point(|part| part.start <= at);
        let part = parts.get(after.checked_sub(1)?)?;
        let within = usize::try_from(at - part.start).ok()?;
        let there = within < part.extent.length as usize;
        there.then(|| (part.clone(), within / BLOCK, within % BLOCK))
    }
}
