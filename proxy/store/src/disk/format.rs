//! What the bytes on a disk mean. Pure functions over slices; none panics whatever the bytes are.
//!
//! A **segment** is one file:
//!
//! ```text
//! segment header   64 bytes
//! record …         each begins at a multiple of 16
//! footer           one entry per record, once the segment is sealed
//! trailer          64 bytes, at the file's very end
//! ```
//!
//! A **record** is a header of 64 bytes, a head (of an object: key, response header, metadata) and data in blocks of
//! 64 KiB, each followed by its checksum. Checksums cover the place too: bytes that a disk wrote or read somewhere else
//! do not pass. Integers are little-endian.

use super::codec::{Reader, Writer};

/// Records begin at multiples of this, so that 32 bits say where in a segment of up to 64 GiB.
pub const ALIGN: u64 = 16;
/// Bytes of data under one checksum.
pub const BLOCK: usize = 64 * 1024;
/// Bytes of a block's checksum.
pub const SUM: usize = 4;
/// Bytes of data in one record at most.
pub const FRAGMENT: u64 = 1024 * 1024;
/// Bytes of the header of a segment.
pub const SEGMENT_HEADER: u64 = 64;
/// Bytes of the header of a record.
pub const RECORD_HEADER: u64 = 64;
/// Bytes of the trailer of a sealed segment.
pub const TRAILER: u64 = 64;
/// Bytes of an entry of the footer.
pub const FOOTER_ENTRY: u64 = 48;
/// Bytes of a head at most; the list of fragments of a 64 GiB object takes some 700 KiB.
pub const MAX_HEAD: u32 = 4 * 1024 * 1024;

const SEGMENT_MAGIC: u32 = 0x3167_7061;
const RECORD_MAGIC: u32 = 0x3172_7061;
const TRAILER_MAGIC: u32 = 0x3174_7061;
const VERSION: u32 = 1;

/// Rounds up to where a record may begin.
pub const fn align(offset: u64) -> u64 {
    offset.div_ceil(ALIGN) * ALIGN
}

/// What `length` bytes of data take with their checksums.
pub const fn stored_length(length: u64) -> u64 {
    length + length.div_ceil(BLOCK as u64) * SUM as u64
}

/// The checksum of bytes at a place.
pub fn sum_at(segment: u32, offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Where data lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Extent {
    /// The segment.
    pub segment: u32,
    /// Where its first block begins, in units of [`ALIGN`].
    pub offset: u32,
    /// Bytes of data, without checksums; at most [`FRAGMENT`].
    pub length: u32,
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An object: a head, and its data right behind it, unless the head lists fragments.
    Object,
    /// A part of the data of an object whose head comes later.
    Fragment,
    /// What was stored under this hash and variant before is to be forgotten.
    Drop,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Object => 1,
            Self::Fragment => 2,
            Self::Drop => 3,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Object),
            2 => Some(Self::Fragment),
            3 => Some(Self::Drop),
            _ => None,
        }
    }
}

/// The header of a segment.
pub fn segment_header(segment: u32) -> [u8; SEGMENT_HEADER as usize] {
    let mut writer = Writer::new();
    writer.u32(SEGMENT_MAGIC);
    writer.u32(VERSION);
    writer.u32(segment);
    writer.sealed(segment, 0)
}

/// Whether these bytes are the header of this segment.
pub fn is_segment_header(bytes: &[u8], segment: u32) -> bool {
    bytes.get(..SEGMENT_HEADER as usize) == Some(segment_header(segment).as_slice())
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// What it is.
    pub kind: Kind,
    /// The key's hash.
    pub hash: u128,
    /// Tells variants under one key apart.
    pub variant: u32,
    /// Bytes of the head.
    pub head: u32,
    /// The head's checksum.
    pub head_sum: u32,
    /// Bytes of data in this record.
    pub data: u32,
    /// The oldest segment that has a part of the object.
    pub oldest: u32,
    /// What the object takes on disk in all its records, in units of [`ALIGN`].
    pub size: u32,
    /// The purge sequence when the object's fill began.
    pub began: u64,
}

impl RecordHeader {
    /// The header's bytes, for its place.
    pub fn encode(&self, segment: u32, offset: u64) -> [u8; RECORD_HEADER as usize] {
        let mut writer = Writer::new();
        writer.u32(RECORD_MAGIC);
        writer.u32(u32::from(self.kind.code()));
        writer.u128(self.hash);
        for field in [
            self.variant,
            self.head,
            self.head_sum,
            self.data,
            self.oldest,
            self.size,
        ] {
            writer.u32(field);
        }
        writer.u64(self.began);
        writer.sealed(segment, offset)
    }

    /// Reads a header that was written for this place. `None`: there is none.
    pub fn decode(bytes: &[u8], segment: u32, offset: u64) -> Option<Self> {
        let mut reader = Reader::sealed(bytes.get(..RECORD_HEADER as usize)?, segment, offset)?;
        if reader.u32()? != RECORD_MAGIC {
            return None;
        }
        let kind = Kind::of(u8::try_from(reader.u32()?).ok()?)?;
        let hash = reader.u128()?;
        let header = Self {
            kind,
            hash,
            variant: reader.u32()?,
            head: reader.u32()?,
            head_sum: reader.u32()?,
            data: reader.u32()?,
            oldest: reader.u32()?,
            size: reader.u32()?,
            began: reader.u64()?,
        };
        (header.head <= MAX_HEAD && u64::from(header.data) <= FRAGMENT).then_some(header)
    }

    /// Where the head begins, from the record's beginning.
    pub const fn head_at() -> u64 {
        RECORD_HEADER
    }

    /// Where the data begins, from the record's beginning.
    pub const fn data_at(&self) -> u64 {
        align(RECORD_HEADER + self.head as u64)
    }

    /// Bytes of the record, up to where the next may begin.
    pub const fn length(&self) -> u64 {
        align(self.data_at() + stored_length(self.data as u64))
    }
}

/// What a record left in the footer of its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FooterEntry {
    /// What it is.
    pub kind: Kind,
    /// The key's hash.
    pub hash: u128,
    /// Tells variants under one key apart.
    pub variant: u32,
    /// The site's place in the footer's list.
    pub site: u16,
    /// Where the record begins, in units of [`ALIGN`].
    pub offset: u32,
    /// The oldest segment that has a part of the object.
    pub oldest: u32,
    /// What the object takes on disk, in units of [`ALIGN`].
    pub size: u32,
    /// The purge sequence when the object's fill began.
    pub began: u64,
}

/// The footer of a sealed segment: all its records in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footer {
    /// The sites of its objects.
    pub sites: Vec<String>,
    /// The records.
    pub entries: Vec<FooterEntry>,
}

impl Footer {
    /// Bytes that [`Footer::encode`] gives.
    pub fn length(sites: &[String], entries: usize) -> u64 {
        let names: usize = sites.iter().map(|site| site.len() + 4).sum();
        8 + names as u64 + entries as u64 * FOOTER_ENTRY
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u32(self.sites.len() as u32);
        writer.u32(self.entries.len() as u32);
        for site in &self.sites {
            writer.u32(site.len() as u32);
            writer.bytes(site.as_bytes());
        }
        for entry in &self.entries {
            writer.u128(entry.hash);
            writer.u64(entry.began);
            for field in [entry.variant, entry.offset, entry.oldest, entry.size] {
                writer.u32(field);
            }
            writer.u32(u32::from(entry.kind.code()));
            writer.u32(u32::from(entry.site));
        }
        writer.finish()
    }

    /// Reads it back. `None`: these bytes are no footer.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (sites, entries) = (reader.u32()?, reader.u32()?);
        let fits = |count: u32, each: u64| u64::from(count) * each <= bytes.len() as u64;
        if !fits(sites, 4) || !fits(entries, FOOTER_ENTRY) {
            return None;
        }
        let mut footer = Self::default();
        for _ in 0..sites {
            let length = reader.u32()?;
            let name = std::str::from_utf8(reader.bytes(length as usize)?).ok()?;
            footer.sites.push(name.to_owned());
        }
        footer.entries.reserve_exact(entries as usize);
        for _ in 0..entries {
            let (hash, began) = (reader.u128()?, reader.u64()?);
            let (variant, offset) = (reader.u32()?, reader.u32()?);
            let (oldest, size) = (reader.u32()?, reader.u32()?);
            let kind = Kind::of(u8::try_from(reader.u32()?).ok()?)?;
            let site = u16::try_from(reader.u32()?).ok()?;
            footer.entries.push(FooterEntry {
                kind,
                hash,
                variant,
                site,
                offset,
                oldest,
                size,
                began,
            });
        }
        reader.is_empty().then_some(footer)
    }
}

/// The trailer of a sealed segment: where the footer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Where the footer begins.
    pub footer: u64,
    /// Bytes of the footer.
    pub length: u64,
    /// The footer's checksum.
    pub sum: u32,
}

impl Trailer {
    /// Its bytes, for its segment. They hold wherever the file ends.
    pub fn encode(&self, segment: u32) -> [u8; TRAILER as usize] {
        let mut writer = Writer::new();
        writer.u32(TRAILER_MAGIC);
        writer.u64(self.footer);
        writer.u64(self.length);
        writer.u32(self.sum);
        writer.sealed(segment, u64::MAX)
    }

    /// Reads it back. `None`: the segment is not sealed.
    pub fn decode(bytes: &[u8], segment: u32) -> Option<Self> {
        let mut reader = Reader::sealed(bytes.get(..TRAILER as usize)?, segment, u64::MAX)?;
        if reader.u32()? != TRAILER_MAGIC {
            return None;
        }
        Some(Self {
            footer: reader.u64()?,
            length: reader.u64()?,
            sum: reader.u32()?,
        })
    }
}

/// Puts data into blocks with checksums. `offset` is where the first block will be.
pub fn encode_blocks<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    segment: u32,
    offset: u64,
    into: &mut Vec<u8>,
) {
    let base = into.len();
    let mut block = base;
    let seal = |into: &mut Vec<u8>, block: usize| {
        let sum = {
            let bytes = into.get(block..).unwrap_or_default();
            sum_at(segment, offset + (block - base) as u64, bytes)
        };
        into.extend_from_slice(&sum.to_le_bytes());
    };
    for mut piece in pieces {
        while !piece.is_empty() {
            let room = BLOCK - (into.len() - block);
            let (now, rest) = piece.split_at(piece.len().min(room));
            into.extend_from_slice(now);
            piece = rest;
            if into.len() - block == BLOCK {
                seal(into, block);
                block = into.len();
            }
        }
    }
    if into.len() > block {
        seal(into, block);
    }
}

/// The blocks in `bytes`, which begin at `offset` and hold `length` bytes of data; each as its range in `bytes`.
///
/// `None`: a checksum is wrong, or bytes are missing.
pub fn check_blocks(
    bytes: &[u8],
    length: usize,
    segment: u32,
    offset: u64,
) -> Option<impl Iterator<Item = std::ops::Range<usize>> + use<>> {
    let stride = BLOCK + SUM;
    let blocks = length.div_ceil(BLOCK);
    let range = move |block: usize| {
        let start = block * stride;
        start..start + BLOCK.min(length - block * BLOCK)
    };
    for block in 0..blocks {
        let range = range(block);
        let data = bytes.get(range.clone())?;
        let sum = bytes.get(range.end..range.end.checked_add(SUM)?)?;
        if sum_at(segment, offset + range.start as u64, data).to_le_bytes() != sum {
            return None;
        }
    }
    Some((0..blocks).map(range))
}
