//! The purges of a node, written down: one copy on each disk.
//!
//! A purge is appended to every disk's log and made durable before anybody hears that it was done. When a log has grown
//! long, the clocks themselves are written beside it and it begins anew. At start the newest clocks of all disks are
//! taken, and what any log has after them.

use std::io;
use std::sync::Arc;

use anypop_cache::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::clocks::Clocks;
use super::{PurgeRequest, PurgeScope};
use crate::disk::device::Disk;
use crate::disk::format::sum_at;
use crate::disk::volume::File;

/// A purge took effect but is not written down: a restart would undo it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the purge holds, but no disk could write it down, so a restart would undo it; purge again once a disk is in service"
)]
pub struct NotDurable {
    /// The purge's place in the sequence.
    pub seq: super::PurgeSeq,
}

/// The logs of all disks.
pub(super) struct Journal {
    members: Vec<Member>,
    /// There is no disk, nor ever was: nothing outlives a restart, so nothing purged does.
    diskless: bool,
    /// Bytes that a log may have before it begins anew.
    limit: u64,
}

struct Member {
    disk: Arc<Disk>,
    log: Arc<dyn File>,
    end: u64,
}

/// A purge as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    seq: u64,
    at: u64,
    soft: bool,
    scope: Scope,
}

/// [`PurgeScope`] by position: its own form is by name, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Scope {
    Url(String, String, String, Option<String>),
    Prefix(String, String, String),
    Tag(String, String),
    Host(String, String),
    Site(String),
    Everything,
}

/// What the disks had.
pub(super) struct Restored {
    pub(super) clocks: Option<Clocks>,
    /// The last purge that is in the clocks, or in `later`.
    pub(super) latest: u64,
    /// Purges after the clocks, in order.
    pub(super) later: Vec<(u64, PurgeRequest, Timestamp)>,
}

const LOG: &str = "purges.log";
const BASE: &str = "purges.base";
const NEW_BASE: &str = "purges.base.new";

/// Bytes that a log may have before it begins anew, unless a test says otherwise.
pub(super) const LOG_LIMIT: u64 = 4 * 1024 * 1024;

impl Journal {
    /// Reads what the disks have, and goes on from there. A disk that cannot be read is taken out of service.
    pub(super) fn open(disks: Vec<Arc<Disk>>, limit: u64) -> (Self, Restored) {
        let mut restored = Restored {
            clocks: None,
            latest: 0,
            later: Vec::new(),
        };
        let mut members = Vec::new();
        let mut base_seq = 0;
        for disk in disks {
            match Member::open(disk.clone()) {
                Ok((member, base, entries)) => {
                    if let Some((seq, clocks)) = base
                        && (restored.clocks.is_none() || seq > base_seq)
                    {
                        base_seq = seq;
                        restored.clocks = Some(clocks);
                    }
                    restored.later.extend(entries);
                    members.push(member);
                }
                Err(error) => disk.fail("reading its purges", &error),
            }
        }
        restored.later.retain(|(seq, ..)| *seq > base_seq);
        restored.later.sort_by_key(|(seq, ..)| *seq);
        restored.later.dedup_by_key(|(seq, ..)| *seq);
        restored.latest = restored.later.last().map_or(base_seq, |(seq, ..)| *seq);
        let journal = Self {
            members,
            diskless: false,
            limit,
        };
        (journal, restored)
    }

    /// Of a node without disks.
    pub(super) fn diskless() -> Self {
        Self {
            members: Vec::new(),
            diskless: true,
            limit: LOG_LIMIT,
        }
    }

    /// Adds a disk that has come back.
    pub(super) fn join(&mut self, disk: Arc<Disk>, seq: u64, clocks: &Clocks) -> io::Result<()> {
        self.members.retain(|member| member.disk.path != disk.path);
        let (mut member, _, _) = Member::open(disk)?;
        member.fold(seq, clocks)?;
        self.members.push(member);
        Ok(())
    }

    /// Lets go of all disks. What comes now is not durable.
    pub(super) fn leave(&mut self) {
        self.members.clear();
    }

    /// Writes a purge to all disks. `false`: there are disks, and none of them has it.
    pub(super) fn append(&mut self, seq: u64, request: &PurgeRequest, now: Timestamp) -> bool {
        if self.diskless {
            return true;
        }
        let Some(bytes) = encode(seq, request, now) else {
            return false;
        };
        self.members.retain_mut(|member| {
            if member.disk.failure().is_some() {
                return false;
            }
            match member.append(&bytes) {
                Ok(()) => true,
                Err(error) => {
                    member.disk.fail("writing a purge", &error);
                    false
                }
            }
        });
        let durable = !self.members.is_empty();
        if !durable {
            tracing::error!("no cache disk is left to write purges to");
        }
        durable
    }

    /// Whether a log has grown long.
    pub(super) fn is_long(&self) -> bool {
        self.members.iter().any(|member| member.end > self.limit)
    }

    /// Writes the clocks, and begins the logs anew.
    pub(super) fn fold(&mut self, seq: u64, clocks: &Clocks) {
        for member in &mut self.members {
            if let Err(error) = member.fold(seq, clocks) {
                member.disk.fail("folding its purges", &error);
            }
        }
    }
}

type Entries = Vec<(u64, PurgeRequest, Timestamp)>;
type Base = Option<(u64, Clocks)>;

impl Member {
    fn open(disk: Arc<Disk>) -> io::Result<(Self, Base, Entries)> {
        let names = disk.volume.list()?;
        let has = |wanted: &str| names.iter().any(|name| name == wanted);
        let base = if has(BASE) {
            let bytes = read_all(&*disk.volume.open(BASE)?)?;
            let base = decode_base(&bytes);
            if base.is_none() {
                // It was durable before the log began anew, so this is damage, and what was purged is not known.
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the purge clocks are damaged",
                ));
            }
            base
        } else {
            None
        };
        let log = if has(LOG) {
            disk.volume.open(LOG)?
        } else {
            let log = disk.volume.create(LOG, 0)?;
            disk.volume.sync()?;
            log
        };
        let bytes = read_all(&*log)?;
        let (entries, end) = decode_log(&bytes);
        let rest = bytes.get(end..).unwrap_or_default();
        if !rest.is_empty() {
            // Each is durable before the next is written: only the last can be torn.
            if (1..rest.len()).any(|at| rest.get(at..).is_some_and(|rest| unframe(rest).is_some()))
            {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the log of purges is damaged",
                ));
            }
            // The last one was being written, and nobody was told that it was done.
            log.truncate(end as u64)?;
            log.sync()?;
        }
        let member = Self {
            disk,
            log,
            end: end as u64,
        };
        Ok((member, base, entries))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.log.write_at(bytes, self.end)?;
        self.log.sync()?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn fold(&mut self, seq: u64, clocks: &Clocks) -> io::Result<()> {
        let bytes = encode_base(seq, clocks)
            .ok_or_else(|| io::Error::other("the purge clocks cannot be written down"))?;
        let volume = &self.disk.volume;
        let file = volume.create(NEW_BASE, 0)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        volume.rename(NEW_BASE, BASE)?;
        volume.sync()?;
        // Only now: entries that are in the clocks too are passed over when both are read.
        self.log.truncate(0)?;
        self.log.sync()?;
        self.end = 0;
        Ok(())
    }
}

fn read_all(file: &dyn File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.size()?).unwrap_or(usize::MAX)];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

fn frame(payload: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok()?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&sum_at(length, 0, payload).to_le_bytes());
    bytes.extend_from_slice(payload);
    Some(bytes)
}

/// The payload at the beginning of `bytes`, and what comes after it.
fn unframe(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    // No entry is empty; a run of zeros is none.
    if length == 0 {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(length as usize)?;
    (sum_at(length, 0, payload).to_le_bytes() == *sum).then_some((payload, rest))
}

fn encode(seq: u64, request: &PurgeRequest, now: Timestamp) -> Option<Vec<u8>> {
    let scope = match request.scope.clone() {
        PurgeScope::Url {
            site,
            host,
            path,
            query,
        } => Scope::Url(site, host, path, query),
        PurgeScope::Prefix { site, host, prefix } => Scope::Prefix(site, host, prefix),
        PurgeScope::Tag { site, tag } => Scope::Tag(site, tag.as_str().to_owned()),
        PurgeScope::Host { site, host } => Scope::Host(site, host),
        PurgeScope::Site { site } => Scope::Site(site),
        PurgeScope::Everything => Scope::Everything,
    };
    let entry = Entry {
        seq,
        at: now.as_millis(),
        soft: request.soft,
        scope,
    };
    frame(&postcard::to_stdvec(&entry).ok()?)
}

/// The entries of a log, up to the first that is not whole, and where that begins.
pub(crate) fn decode_log(bytes: &[u8]) -> (Entries, usize) {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while let Some((payload, after)) = unframe(rest) {
        let Some(entry) = decode(payload) else { break };
        entries.push(entry);
        rest = after;
    }
    (entries, bytes.len() - rest.len())
}

fn decode(payload: &[u8]) -> Option<(u64, PurgeRequest, Timestamp)> {
    let entry: Entry = postcard::from_bytes(payload).ok()?;
    let scope = match entry.scope {
        Scope::Url(site, host, path, query) => PurgeScope::Url {
            site,
            host,
            path,
            query,
        },
        Scope::Prefix(site, host, prefix) => PurgeScope::Prefix { site, host, prefix },
        Scope::Tag(site, tag) => PurgeScope::Tag {
            site,
            tag: anypop_cache::tags::Tag::new(&tag).ok()?,
        },
        Scope::Host(site, host) => PurgeScope::Host { site, host },
        Scope::Site(site) => PurgeScope::Site { site },
        Scope::Everything => PurgeScope::Everything,
    };
    let request = PurgeRequest {
        scope,
        soft: entry.soft,
    };
    Some((entry.seq, request, Timestamp::from_millis(entry.at)))
}

fn encode_base(seq: u64, clocks: &Clocks) -> Option<Vec<u8>> {
    frame(&postcard::to_stdvec(&(seq, clocks)).ok()?)
}

/// The clocks of a node, as one of its disks has them.
pub(super) fn decode_base(bytes: &[u8]) -> Option<(u64, Clocks)> {
    let (payload, _) = unframe(bytes)?;
    postcard::from_bytes(payload).ok()
}

/// Reads bytes as a log and as clocks: for the fuzzer.
pub fn check_journal_bytes(bytes: &[u8]) {
    let (entries, end) = decode_log(bytes);
    assert!(end <= bytes.len());
    drop((entries, decode_base(bytes)));
}
