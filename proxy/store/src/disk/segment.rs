//! A segment that is open, and reading from it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use smallvec::SmallVec;

use super::format::{
    self, ALIGN, BLOCK, Extent, Footer, FooterEntry, Kind, RECORD_HEADER, RecordHeader,
    SEGMENT_HEADER, SUM, TRAILER, Trailer,
};
use super::head::Head;
use super::volume::File;

/// One file. Whoever holds it can read it, evicted or not: the file system keeps the bytes until the last one lets go.
pub(crate) struct Segment {
    pub(crate) id: u32,
    pub(crate) file: Arc<dyn File>,
    /// Bytes it takes on disk.
    size: AtomicU64,
    /// What all segments of the disk take, those included that are only held by readers.
    used: Arc<AtomicU64>,
    evicted: AtomicBool,
}

/// Why nothing could be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// Not without waiting for the disk.
    WouldBlock,
    /// The disk said no.
    Io(io::Error),
    /// The bytes are not those that were written.
    Damaged,
    /// A part of it is not there any more.
    Gone,
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock {
            Self::WouldBlock
        } else {
            Self::Io(error)
        }
    }
}

/// Whether a read may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// No: on an event loop.
    Cached,
    /// Yes: on a thread of its own.
    Blocking,
}

impl Segment {
    pub(crate) fn new(id: u32, file: Arc<dyn File>, size: u64, used: Arc<AtomicU64>) -> Self {
        used.fetch_add(size, Ordering::Relaxed);
        Self {
            id,
            file,
            size: AtomicU64::new(size),
            used,
            evicted: AtomicBool::new(false),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// It was cut to this size.
    pub(crate) fn resize(&self, size: u64) {
        let before = self.size.swap(size, Ordering::Relaxed);
        self.used.fetch_add(size, Ordering::Relaxed);
        self.used.fetch_sub(before, Ordering::Relaxed);
    }

    pub(crate) fn evict(&self) {
        self.evicted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::Relaxed)
    }

    /// As many of these bytes as the file has.
    pub(crate) fn read(
        &self,
        offset: u64,
        length: usize,
        mode: Mode,
    ) -> Result<Vec<u8>, ReadError> {
        let mut buffer = vec![0; length];
        let read = match mode {
            Mode::Blocking => self.file.read_at(&mut buffer, offset)?,
            Mode::Cached => {
                let read = self.file.read_cached(&mut buffer, offset)?;
                // The end of the file, or of what is in memory: waiting tells.
                if read < length {
                    return Err(ReadError::WouldBlock);
                }
                read
            }
        };
        buffer.truncate(read);
        Ok(buffer)
    }

    /// Checked data of an extent, from a block of it on, up to so many blocks; each block one slice of one buffer.
    pub(crate) fn read_blocks(
        &self,
        extent: Extent,
        first: usize,
        blocks: usize,
        mode: Mode,
    ) -> Result<SmallVec<[Bytes; 4]>, ReadError> {
        let length = (extent.length as usize)
            .saturating_sub(first * BLOCK)
            .min(blocks * BLOCK);
        let offset = u64::from(extent.offset) * ALIGN + (first * (BLOCK + SUM)) as u64;
        let stored = format::stored_length(length as u64) as usize;
        let bytes = self.read(offset, stored, mode)?;
        let ranges =
            format::check_blocks(&bytes, length, self.id, offset).ok_or(ReadError::Damaged)?;
        let bytes = Bytes::from(bytes);
        Ok(ranges.map(|range| bytes.slice(range)).collect())
    }

    /// The footer of a sealed segment.
    pub(crate) fn footer(&self) -> Result<Option<Footer>, ReadError> {
        read_footer(&*self.file, self.id)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.used.fetch_sub(self.size(), Ordering::Relaxed);
    }
}

/// The footer of a segment; `None`: it is not sealed, or damaged.
pub(crate) fn read_footer(file: &dyn File, segment: u32) -> Result<Option<Footer>, ReadError> {
    let size = file.size()?;
    let Some(at) = size.checked_sub(TRAILER) else {
        return Ok(None);
    };
    let mut bytes = [0; TRAILER as usize];
    let read = file.read_at(&mut bytes, at)?;
    let Some(trailer) = Trailer::decode(bytes.get(..read).unwrap_or_default(), segment) else {
        return Ok(None);
    };
    if trailer.footer.checked_add(trailer.length) != Some(at) {
        return Ok(None);
    }
    let mut bytes = vec![0; trailer.length as usize];
    let read = file.read_at(&mut bytes, trailer.footer)?;
    let right =
        read == bytes.len() && format::sum_at(segment, trailer.footer, &bytes) == trailer.sum;
    Ok(right.then(|| Footer::decode(&bytes)).flatten())
}

/// What a walk over the records of a segment finds.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Whole records.
    pub(crate) footer: Footer,
    /// Where the last of them ends.
    pub(crate) end: u64,
    /// Records that are damaged.
    pub(crate) damaged: u64,
}

/// Walks over the records of a segment that was not sealed, checking every byte.
///
/// It ends at the first place without a record's header: what is written there later comes from the same process, in
/// order, so nothing whole lies behind it, unless the machine lost power; and then bytes of a body could pose as a record
/// to whoever searched on.
pub(crate) fn scan(file: &dyn File, segment: u32) -> Result<Scan, ReadError> {
    let size = file.size()?;
    let mut scan = Scan {
        end: SEGMENT_HEADER,
        ..Scan::default()
    };
    let mut header = [0; RECORD_HEADER as usize];
    // Where the last record begins, if it is damaged.
    let mut torn = None;
    loop {
        let at = scan.end;
        let read = file.read_at(&mut header, at)?;
        let record = RecordHeader::decode(header.get(..read).unwrap_or_default(), segment, at);
        let Some(record) = record else {
            return Ok(scan.without(torn));
        };
        let end = at + record.length();
        if end > size {
            return Ok(scan.without(torn));
        }
        scan.end = end;
        let mut bytes = vec![0; (record.length() - RECORD_HEADER) as usize];
        let read = file.read_at(&mut bytes, at + RECORD_HEADER)?;
        let site = check_record(&record, bytes.get(..read).unwrap_or_default(), segment, at);
        let (Some(site), Ok(offset)) = (site, u32::try_from(at / ALIGN)) else {
            scan.damaged += 1;
            torn = Some(at);
            continue;
        };
        let site = match scan.footer.sites.iter().position(|known| *known == site) {
            Some(number) => number,
            None => {
                scan.footer.sites.push(site);
                scan.footer.sites.len() - 1
            }
        };
        let Ok(site) = u16::try_from(site) else {
            scan.damaged += 1;
            torn = Some(at);
            continue;
        };
        torn = None;
        scan.footer.entries.push(FooterEntry {
            kind: record.kind,
            hash: record.hash,
            variant: record.variant,
            site,
            offset,
            oldest: record.oldest,
            size: record.size,
            began: record.began,
        });
    }
}

impl Scan {
    /// The last record, if it is damaged, was being written when the process was killed: it is no damage, and no record.
    fn without(mut self, torn: Option<u64>) -> Self {
        if let Some(at) = torn {
            self.end = at;
            self.damaged = self.damaged.saturating_sub(1);
        }
        self
    }
}

/// The site of a whole record. `bytes` are those after its header.
fn check_record(record: &RecordHeader, bytes: &[u8], segment: u32, at: u64) -> Option<String> {
    let data_at = (record.data_at() - RECORD_HEADER) as usize;
    let data = bytes.get(data_at..)?;
    drop(format::check_blocks(
        data,
        record.data as usize,
        segment,
        at + record.data_at(),
    )?);
    match record.kind {
        Kind::Object => Some(head_of(record, bytes, segment, at)?.key.site().to_owned()),
        Kind::Fragment | Kind::Drop => Some(String::new()),
    }
}

/// The head of an object's record, checked. `bytes` are those after its header.
pub(crate) fn head_of(record: &RecordHeader, bytes: &[u8], segment: u32, at: u64) -> Option<Head> {
    let bytes = bytes.get(..record.head as usize)?;
    if format::sum_at(segment, at, bytes) != record.head_sum {
        return None;
    }
    let head = Head::decode(bytes)?;
    let inline = head.extents.is_empty();
    let fits = !inline || head.length == u64::from(record.data);
    (fits && head.key.hash().0 == record.hash).then_some(head)
}
