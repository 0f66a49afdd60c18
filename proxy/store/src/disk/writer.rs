//! The writer of a disk: appends records, begins segments, and takes the oldest away.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::device::Disk;
use super::format::{
    self, ALIGN, Extent, Footer, FooterEntry, Kind, RecordHeader, SEGMENT_HEADER, TRAILER, Trailer,
};
use super::head::Head;
use super::index::Record;
use super::recall;
use super::segment::{Mode, Segment};

pub(crate) struct Writer {
    open: Option<Open>,
    /// The number of the next segment.
    next: u32,
    /// The record that is being put together.
    scratch: Vec<u8>,
}

/// The segment that is written.
struct Open {
    segment: Arc<Segment>,
    cursor: u64,
    /// Bytes written since they were last made durable.
    unsynced: u64,
    footer: Footer,
    /// Places of sites in the footer, by their numbers on the disk.
    sites: HashMap<u32, u16>,
}

/// Why something was not written.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is bigger than what the disk can take.
    TooBig,
    /// All segments are held by readers.
    Full,
    /// A part of the body is not there any more.
    Gone,
    /// The disk is out of service.
    Failed,
}

/// A record to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draft {
    pub(crate) kind: Kind,
    pub(crate) hash: u128,
    pub(crate) variant: u32,
    pub(crate) site: u32,
    pub(crate) began: u64,
    /// The oldest segment of other records of the object.
    pub(crate) oldest: u32,
    /// What other records of the object take, in units of [`ALIGN`].
    pub(crate) others: u32,
}

/// What an object is stored under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) hash: u128,
    pub(crate) variant: u32,
    pub(crate) began: u64,
}

/// Where a record was written.
pub(crate) struct Placed {
    pub(crate) segment: Arc<Segment>,
    pub(crate) record: Record,
    pub(crate) data: Extent,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            open: None,
            next: 1,
            scratch: Vec::new(),
        }
    }

    /// The next segment gets this number.
    pub(crate) fn begin_at(&mut self, next: u32) {
        self.next = next;
    }

    /// Writes a whole object, in one record or, if its body is longer than a fragment, in several.
    pub(crate) fn store<'a>(
        &mut self,
        disk: &Disk,
        identity: Identity,
        head: Head,
        body: impl Iterator<Item = &'a Bytes>,
    ) -> Result<Vec<Extent>, Refused> {
        if head.length > disk.biggest() {
            return Err(Refused::TooBig);
        }
        if head.length <= disk.fragment {
            let head = Head {
                extents: Vec::new(),
                ..head
            };
            let pieces = body.map(|bytes| &**bytes);
            let placed = self.write_head(disk, identity, &head, pieces)?;
            return Ok(if placed.data.length > 0 {
                vec![placed.data]
            } else {
                Vec::new()
            });
        }
        let mut extents = Vec::new();
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut length = 0;
        for bytes in body {
            // Fragments of memory are blocks: a whole number of them makes a fragment of the disk.
            if length + bytes.len() as u64 > disk.fragment {
                let placed = self.fragment(disk, identity.hash, pieces.iter().copied())?;
                extents.push(placed.data);
                pieces.clear();
                length = 0;
            }
            length += bytes.len() as u64;
            pieces.push(bytes);
        }
        let placed = self.fragment(disk, identity.hash, pieces.iter().copied())?;
        extents.push(placed.data);
        let head = Head {
            extents: extents.clone(),
            ..head
        };
        self.write_head(disk, identity, &head, std::iter::empty())?;
        Ok(extents)
    }

    /// Writes the head of an object whose body is where the head says, and enters the object into the index.
    pub(crate) fn refer(
        &mut self,
        disk: &Disk,
        identity: Identity,
        head: &Head,
    ) -> Result<(), Refused> {
        self.write_head(disk, identity, head, std::iter::empty())
            .map(|_| ())
    }

    fn write_head<'a>(
        &mut self,
        disk: &Disk,
        identity: Identity,
        head: &Head,
        body: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Placed, Refused> {
        let bytes = head.encode().ok_or(Refused::TooBig)?;
        let mut draft = Draft {
            kind: Kind::Object,
            hash: identity.hash,
            variant: identity.variant,
            site: disk.sites.number(head.key.site()),
            began: identity.began,
            oldest: u32::MAX,
            others: 0,
        };
        let mut others = 0;
        for extent in &head.extents {
            draft.oldest = draft.oldest.min(extent.segment);
            others += format::align(format::stored_length(extent.length.into())) / ALIGN;
        }
        draft.others = u32::try_from(others).map_err(|_| Refused::TooBig)?;
        let data = if head.extents.is_empty() {
            u32::try_from(head.length).map_err(|_| Refused::TooBig)?
        } else {
            0
        };
        // Room first: making it may take away what the head refers to.
        self.room_for(disk, record_length(bytes.len(), data)?)?;
        let whole = {
            let segments = disk.segments.read();
            let there = |extent: &Extent| segments.contains_key(&extent.segment);
            head.extents.iter().all(there)
        };
        if !whole {
            return Err(Refused::Gone);
        }
        let placed = self.append(disk, draft, &bytes, body, data)?;
        disk.enter(identity.hash, placed.record);
        disk.counters.written.add();
        Ok(placed)
    }

    /// Writes a part of a body.
    pub(crate) fn fragment<'a>(
        &mut self,
        disk: &Disk,
        hash: u128,
        pieces: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<Placed, Refused> {
        let length: usize = pieces.clone().map(<[u8]>::len).sum();
        let length = u32::try_from(length).map_err(|_| Refused::TooBig)?;
        let draft = Draft {
            kind: Kind::Fragment,
            hash,
            variant: 0,
            site: disk.sites.number(""),
            began: 0,
            oldest: u32::MAX,
            others: 0,
        };
        self.append(disk, draft, &[], pieces, length)
    }

    /// Notes that what was stored before under this hash and variant is gone, so that it stays so after a restart.
    pub(crate) fn drop_variant(
        &mut self,
        disk: &Disk,
        hash: u128,
        variant: u32,
    ) -> Result<(), Refused> {
        disk.forget_variant(hash, variant);
        let draft = Draft {
            kind: Kind::Drop,
            hash,
            variant,
            site: disk.sites.number(""),
            began: 0,
            oldest: u32::MAX,
            others: 0,
        };
        self.append(disk, draft, &[], std::iter::empty(), 0)
            .map(|_| ())
    }

    fn append<'a>(
        &mut self,
        disk: &Disk,
        draft: Draft,
        head: &[u8],
        pieces: impl Iterator<Item = &'a [u8]>,
        data: u32,
    ) -> Result<Placed, Refused> {
        let length = record_length(head.len(), data)?;
        self.room_for(disk, length)?;
        let Some(open) = &mut self.open else {
            return Err(Refused::Failed);
        };
        let (id, at) = (open.segment.id, open.cursor);
        let size = u32::try_from(length / ALIGN)
            .ok()
            .and_then(|own| own.checked_add(draft.others))
            .ok_or(Refused::TooBig)?;
        let header = RecordHeader {
            kind: draft.kind,
            hash: draft.hash,
            variant: draft.variant,
            head: head.len() as u32,
            head_sum: format::sum_at(id, at, head),
            data,
            oldest: draft.oldest.min(id),
            size,
            began: draft.began,
        };
        let scratch = &mut self.scratch;
        scratch.clear();
        scratch.extend_from_slice(&header.encode(id, at));
        scratch.extend_from_slice(head);
        scratch.resize(header.data_at() as usize, 0);
        format::encode_blocks(pieces, id, at + header.data_at(), scratch);
        scratch.resize(length as usize, 0);
        if let Err(error) = open.segment.file.write_at(scratch, at) {
            disk.fail("writing", &error);
            return Err(Refused::Failed);
        }
        open.cursor += length;
        open.unsynced += length;
        if open.unsynced >= SYNC {
            open.unsynced = 0;
            if let Err(error) = open.segment.file.sync() {
                disk.fail("writing", &error);
                return Err(Refused::Failed);
            }
        }
        let site = open.number_of(disk, draft.site);
        // Segments are at most 2^32 units long.
        let unit = |at: u64| u32::try_from(at / ALIGN).unwrap_or(u32::MAX);
        open.footer.entries.push(FooterEntry {
            kind: header.kind,
            hash: header.hash,
            variant: header.variant,
            site,
            offset: unit(at),
            oldest: header.oldest,
            size,
            began: header.began,
        });
        let record = Record {
            segment: id,
            offset: unit(at),
            oldest: header.oldest,
            size,
            variant: draft.variant,
            site: draft.site,
            began: draft.began,
        };
        Ok(Placed {
            segment: open.segment.clone(),
            record,
            data: Extent {
                segment: id,
                offset: unit(at + header.data_at()),
                length: data,
            },
        })
    }

    /// Makes sure that a record of this length fits behind the last one.
    fn room_for(&mut self, disk: &Disk, length: u64) -> Result<(), Refused> {
        if disk.failure().is_some() {
            return Err(Refused::Failed);
        }
        // Room for a footer with one more entry and one more site is part of it.
        if SEGMENT_HEADER + length + FOOTER_SLACK + TRAILER > disk.segment {
            return Err(Refused::TooBig);
        }
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.fits(disk, length))
        {
            return Ok(());
        }
        self.roll(disk)?;
        match &self.open {
            Some(open) if open.fits(disk, length) => Ok(()),
            _ => Err(Refused::TooBig),
        }
    }

    /// Seals the open segment and begins the next.
    fn roll(&mut self, disk: &Disk) -> Result<(), Refused> {
        let failed = |doing: &str, error: &dyn std::fmt::Display| {
            disk.fail(doing, error);
            Refused::Failed
        };
        self.seal(disk)
            .map_err(|error| failed("sealing a segment", &error))?;
        while disk.used() + disk.segment > disk.size {
            if !self.evict(disk, false)? {
                return Err(Refused::Full);
            }
        }
        let id = self.next;
        let name = segment_name(id);
        let file = loop {
            match disk.volume.create(&name, disk.segment) {
                Ok(file) => break file,
                // Others have filled the file system: what is configured is more than there is.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    if !self.evict(disk, false)? {
                        return Err(failed("beginning a segment", &error));
                    }
                }
                Err(error) => return Err(failed("beginning a segment", &error)),
            }
        };
        self.next = self.next.checked_add(1).ok_or(Refused::Full)?;
        file.write_at(&format::segment_header(id), 0)
            .and_then(|()| disk.volume.sync())
            .map_err(|error| failed("beginning a segment", &error))?;
        let segment = Arc::new(Segment::new(id, file, disk.segment, disk.used.clone()));
        disk.segments.write().insert(id, segment.clone());
        self.open = Some(Open {
            segment,
            cursor: SEGMENT_HEADER,
            unsynced: 0,
            footer: Footer::default(),
            sites: HashMap::new(),
        });
        if disk.used() + disk.segment > disk.size {
            // Ahead of need, while there is a new segment that what is hot can be written to again.
            self.evict(disk, true)?;
        }
        Ok(())
    }

    /// Seals the open segment, if there is one.
    pub(crate) fn seal(&mut self, disk: &Disk) -> io::Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        seal(&open.segment, &open.footer, open.cursor)?;
        tracing::debug!(
            disk = disk.path,
            segment = open.segment.id,
            "sealed a segment"
        );
        Ok(())
    }

    /// Takes the oldest segment away. What was hit since it was written, or since it was last spared, is written again if
    /// `spare`. `false`: there is none.
    fn evict(&mut self, disk: &Disk, spare: bool) -> Result<bool, Refused> {
        let current = self.open.as_ref().map(|open| open.segment.id);
        let oldest = disk
            .segments
            .read()
            .first_key_value()
            .map(|(_, oldest)| oldest.clone());
        let Some(oldest) = oldest.filter(|oldest| Some(oldest.id) != current) else {
            return Ok(false);
        };
        match oldest.footer() {
            Ok(Some(footer)) => {
                for entry in &footer.entries {
                    for record in disk.index.find(entry.hash) {
                        if record.oldest > oldest.id {
                            continue;
                        }
                        let again = spare && disk.is_hot(entry.hash, &record);
                        if !(again && self.write_again(disk, entry.hash, &record)) {
                            disk.forget(entry.hash, &record);
                            disk.counters.evicted.add();
                        }
                    }
                }
            }
            // Without its footer, all are asked whether they were in it.
            Ok(None) | Err(_) => disk.index.retain(
                |record| record.oldest > oldest.id,
                |record| {
                    disk.sites.subtract(&record);
                    disk.counters.evicted.add();
                },
            ),
        }
        disk.segments.write().remove(&oldest.id);
        oldest.evict();
        // Durably before the next: what a later segment says was dropped must not come back from an older one.
        let removed = disk.volume.remove(&segment_name(oldest.id));
        if let Err(error) = removed.and_then(|()| disk.volume.sync()) {
            disk.fail("taking a segment away", &error);
            return Err(Refused::Failed);
        }
        Ok(true)
    }

    /// Takes the oldest objects of a site off the disk, so many bytes of them and a tenth of what it has.
    pub(crate) fn trim_site(&mut self, disk: &Disk, name: &str, surplus: u64) {
        let Some(site) = disk.sites.by_name(name) else {
            return;
        };
        let number = disk.sites.number(name);
        let target = site.usage().bytes.saturating_sub(surplus) / 10 * 9;
        let segments: Vec<Arc<Segment>> = disk.segments.read().values().cloned().collect();
        for segment in segments {
            let footer = match &self.open {
                Some(open) if open.segment.id == segment.id => Some(open.footer.clone()),
                _ => segment.footer().ok().flatten(),
            };
            for entry in footer.map_or_else(Vec::new, |footer| footer.entries) {
                if site.usage().bytes <= target {
                    return;
                }
                for record in disk.index.find(entry.hash) {
                    let here = record.segment == segment.id && record.offset == entry.offset;
                    if here && record.site == number && disk.forget(entry.hash, &record) {
                        disk.counters.evicted.add();
                    }
                }
            }
        }
    }

    /// Writes an object again whose segment goes. `false`: it goes too.
    fn write_again(&mut self, disk: &Disk, hash: u128, record: &Record) -> bool {
        // Half of the new segment is for newcomers, and it must not be sealed while it takes refugees.
        let fits = self.open.as_ref().is_some_and(|open| {
            open.cursor + record.bytes() + FOOTER_SLACK < disk.segment / 2
                && open.fits(disk, record.bytes())
        });
        if !fits {
            return false;
        }
        let identity = Identity {
            hash,
            variant: record.variant,
            began: record.began,
        };
        let Ok(loaded) = recall::load(disk, record, u64::MAX, Mode::Blocking) else {
            return false;
        };
        let body = loaded.body.unwrap_or_default();
        let written = self.store(disk, identity, loaded.head, body.iter()).is_ok();
        if written {
            disk.counters.reinserted.add();
        }
        written
    }
}

/// Bytes that may be written before they are made durable: a power cut costs no more, and sealing a segment has little left
/// to wait for.
const SYNC: u64 = 16 * 1024 * 1024;

/// Bytes that one more record may add to the footer.
const FOOTER_SLACK: u64 = 2 * format::FOOTER_ENTRY + 512;

impl Open {
    /// Whether a record of this length fits, and then still the footer.
    fn fits(&self, disk: &Disk, length: u64) -> bool {
        let footer = Footer::length(&self.footer.sites, self.footer.entries.len());
        let room = self.footer.sites.len() < usize::from(u16::MAX);
        room && self.cursor + length + footer + FOOTER_SLACK + TRAILER <= disk.segment
    }

    fn number_of(&mut self, disk: &Disk, site: u32) -> u16 {
        *self.sites.entry(site).or_insert_with(|| {
            let name = disk.sites.get(site);
            let name = name.map_or(String::new(), |site| site.name.to_string());
            self.footer.sites.push(name);
            // `fits` bounds their number.
            (self.footer.sites.len() - 1) as u16
        })
    }
}

/// Writes footer and trailer behind the last record, and cuts the file there.
pub(crate) fn seal(segment: &Segment, footer: &Footer, end: u64) -> io::Result<()> {
    let mut bytes = footer.encode();
    let trailer = Trailer {
        footer: end,
        length: bytes.len() as u64,
        sum: format::sum_at(segment.id, end, &bytes),
    };
    bytes.extend_from_slice(&trailer.encode(segment.id));
    segment.file.write_at(&bytes, end)?;
    // Before the file is cut: a segment is sealed by what is at its end.
    segment.file.sync()?;
    let size = end + bytes.len() as u64;
    segment.file.truncate(size)?;
    segment.resize(size);
    Ok(())
}

fn record_length(head: usize, data: u32) -> Result<u64, Refused> {
    let head = u32::try_from(head).map_err(|_| Refused::TooBig)?;
    let header = RecordHeader {
        kind: Kind::Object,
        hash: 0,
        variant: 0,
        head,
        head_sum: 0,
        data,
        oldest: 0,
        size: 0,
        began: 0,
    };
    Ok(header.length())
}

/// The name of a segment's file.
pub(crate) fn segment_name(id: u32) -> String {
    format!("segment-{id:08x}")
}

/// The number of a segment, from its file's name.
pub(crate) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("segment-")?;
    (digits.len() == 8)
        .then(|| u32::from_str_radix(digits, 16).ok())
        .flatten()
}
