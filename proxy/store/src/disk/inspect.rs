//! Looking at what is stored: lists, and the test of every checksum.

use std::ops::ControlFlow;

use super::device::Disk;
use super::format::BLOCK;
use super::index::Record;
use super::recall::load;
use super::segment::{Mode, ReadError, read_footer, scan};
use super::tier::Tier;
use super::volume::File;
use anypop_cache::key::CacheKey;
use anypop_cache::meta::StoredMeta;
use http::StatusCode;

/// An object on disk, as a list shows it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The disk's folder.
    pub disk: String,
    /// The key it is stored under.
    pub key: CacheKey,
    /// Status code.
    pub status: StatusCode,
    /// What the cache's rules know of it.
    pub meta: StoredMeta,
    /// Bytes of the body.
    pub length: u64,
    /// Bytes on disk.
    pub stored: u64,
    /// The segment its head is in.
    pub segment: u32,
    /// The purge sequence when its fill began.
    pub began: u64,
}

/// How far a verification has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Objects read.
    pub objects: u64,
    /// Objects there were at the beginning.
    pub of: u64,
    /// Bytes on disk read.
    pub bytes: u64,
}

/// What a verification found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Objects whose every byte is right.
    pub right: u64,
    /// Objects that were damaged, or could not be read. They are forgotten, and fetched again when asked for.
    pub damaged: u64,
    /// Objects that went meanwhile.
    pub gone: u64,
    /// Bytes on disk read.
    pub bytes: u64,
}

impl Tier {
    /// Reads the head of each object. Damaged ones are passed over.
    pub(crate) fn list(&self, mut each: impl FnMut(&Disk, &Record, Listed) -> ControlFlow<()>) {
        self.for_each(|disk, record| {
            let Ok(loaded) = load(disk, &record, 0, Mode::Blocking) else {
                return ControlFlow::Continue(());
            };
            let listed = Listed {
                disk: disk.path.clone(),
                key: loaded.head.key,
                status: loaded.head.status,
                meta: loaded.head.meta,
                length: loaded.head.length,
                stored: record.bytes(),
                segment: record.segment,
                began: record.began,
            };
            each(disk, &record, listed)
        });
    }

    /// Reads every byte of every object.
    pub(crate) fn verify(&self, mut progress: impl FnMut(Progress) -> ControlFlow<()>) -> Verified {
        let of = self.disks().iter().map(|disk| disk.index.len()).sum();
        let mut verified = Verified::default();
        self.for_each(|disk, record| {
            match check(disk, &record) {
                Ok(()) => {
                    verified.right += 1;
                    verified.bytes += record.bytes();
                }
                Err(Wrong { error, hash }) => {
                    // What was evicted or replaced while this ran is no damage.
                    let current = match hash {
                        Some(hash) => disk.index.is_current(hash, &record),
                        None => disk.segment(record.segment).is_some(),
                    };
                    if matches!(error, ReadError::Gone) || !current {
                        verified.gone += 1;
                    } else {
                        verified.damaged += 1;
                    }
                    match hash {
                        Some(hash) => disk.unreadable(hash, &record, &error),
                        None => disk.unreadable_place(&record, &error),
                    }
                }
            }
            progress(Progress {
                objects: verified.right + verified.damaged + verified.gone,
                of,
                bytes: verified.bytes,
            })
        });
        verified
    }
}

struct Wrong {
    error: ReadError,
    /// The key's hash, if the head could be read.
    hash: Option<u128>,
}

/// Reads all of an object, a part at a time.
fn check(disk: &Disk, record: &Record) -> Result<(), Wrong> {
    let loaded =
        load(disk, record, 0, Mode::Blocking).map_err(|error| Wrong { error, hash: None })?;
    for part in &loaded.parts {
        let blocks = (part.extent.length as usize).div_ceil(BLOCK);
        let read = part
            .segment
            .read_blocks(part.extent, 0, blocks, Mode::Blocking);
        read.map_err(|error| Wrong {
            error,
            hash: Some(loaded.head.key.hash().0),
        })?;
    }
    Ok(())
}

/// Reads bytes as a segment, sealed or not, the way a disk is opened: for the fuzzer. Gives the number of records.
pub fn check_segment_bytes(bytes: &[u8], segment: u32) -> usize {
    struct Bytes<'a>(&'a [u8]);
    impl File for Bytes<'_> {
        fn size(&self) -> std::io::Result<u64> {
            Ok(self.0.len() as u64)
        }
        fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let there = self.0.get(from..).unwrap_or_default();
            let read = there.len().min(into.len());
            for (to, from) in into.iter_mut().zip(there) {
                *to = *from;
            }
            Ok(read)
        }
        fn read_cached(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
            self.read_at(into, offset)
        }
        fn write_at(&self, _: &[u8], _: u64) -> std::io::Result<()> {
            Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
        }
        fn sync(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn truncate(&self, _: u64) -> std::io::Result<()> {
            Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
        }
    }
    let file = Bytes(bytes);
    let sealed = read_footer(&file, segment).ok().flatten();
    let scanned = scan(&file, segment).map(|scan| scan.footer.entries.len());
    let listed = sealed.map_or(0, |footer| footer.entries.len());
    listed + scanned.unwrap_or(0)
}
