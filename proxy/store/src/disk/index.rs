//! The index of a disk: which objects it has, and where.
//!
//! Sharded, in memory, and small: an entry takes 48 bytes and its share of the buckets 4 to 8 more, nothing grows by
//! doubling but the buckets, one shard at a time. Keys are not kept; the head on disk has them, and is compared before
//! it is believed.

use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::RwLock;
use smallvec::SmallVec;

/// An object on disk, as the index knows it. Offsets and sizes are in units of [`super::format::ALIGN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// The segment of its head.
    pub(crate) segment: u32,
    /// Where its head's record begins.
    pub(crate) offset: u32,
    /// The oldest segment that has a part of it.
    pub(crate) oldest: u32,
    /// What it takes on disk.
    pub(crate) size: u32,
    /// Tells variants under one key apart.
    pub(crate) variant: u32,
    /// Its site, as [`super::sites::Sites`] numbers them.
    pub(crate) site: u32,
    /// The purge sequence when its fill began.
    pub(crate) began: u64,
}

impl Record {
    /// What it takes on disk, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.size) * super::format::ALIGN
    }

    fn is_at(&self, place: &Self) -> bool {
        (self.segment, self.offset) == (place.segment, place.offset)
    }
}

/// The records under one hash, newest first.
pub(crate) type Records = SmallVec<[Record; 2]>;

pub(crate) struct Index {
    shards: Box<[RwLock<Shard>]>,
}

const SHARDS: usize = 256;

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }

    /// Adds a record in place of the one with the same hash and variant, which is given back.
    pub(crate) fn insert(&self, hash: u128, record: Record) -> Option<Record> {
        let (shard, hash) = self.shard(hash);
        let mut shard = shard.write();
        match shard.find(hash, |entry| entry.record.variant == record.variant) {
            Some(at) => shard
                .entry_mut(at)
                .map(|entry| std::mem::replace(&mut entry.record, record)),
            None => {
                shard.add(hash, record);
                None
            }
        }
    }

    /// All records under a hash.
    pub(crate) fn find(&self, hash: u128) -> Records {
        let (shard, hash) = self.shard(hash);
        let mut found: Records = shard.read().chain(hash).map(|entry| entry.record).collect();
        if found.len() > 1 {
            found.sort_unstable_by_key(|record| std::cmp::Reverse((record.segment, record.offset)));
        }
        found
    }

    /// Whether there is any record under a hash.
    pub(crate) fn has(&self, hash: u128) -> bool {
        let (shard, hash) = self.shard(hash);
        shard.read().chain(hash).next().is_some()
    }

    /// Whether a record is still the one of its hash and variant.
    pub(crate) fn is_current(&self, hash: u128, record: &Record) -> bool {
        let (shard, hash) = self.shard(hash);
        shard
            .read()
            .chain(hash)
            .any(|entry| entry.record.is_at(record))
    }

    /// Takes out a record, if it is still where it was.
    pub(crate) fn remove(&self, hash: u128, record: &Record) -> Option<Record> {
        let (shard, hash) = self.shard(hash);
        shard.write().take(hash, |entry| entry.record.is_at(record))
    }

    /// Takes out the record of a hash and variant.
    pub(crate) fn remove_variant(&self, hash: u128, variant: u32) -> Option<Record> {
        let (shard, hash) = self.shard(hash);
        shard
            .write()
            .take(hash, |entry| entry.record.variant == variant)
    }

    /// Counts a hit for what is under a hash.
    pub(crate) fn warm(&self, hash: u128) {
        let (shard, hash) = self.shard(hash);
        for entry in shard.read().chain(hash) {
            let heat = entry.heat.load(Ordering::Relaxed);
            entry.heat.store((heat + 1).min(HOTTEST), Ordering::Relaxed);
        }
    }

    /// Hits since this was last asked, 0 to 3, halved by asking.
    pub(crate) fn cool(&self, hash: u128, record: &Record) -> u8 {
        let (shard, hash) = self.shard(hash);
        let shard = shard.read();
        let Some(entry) = shard.chain(hash).find(|entry| entry.record.is_at(record)) else {
            return 0;
        };
        let heat = entry.heat.load(Ordering::Relaxed);
        entry.heat.store(heat / 2, Ordering::Relaxed);
        heat
    }

    /// Takes out all records that `keep` doesn't want, and gives them to `gone`.
    pub(crate) fn retain(&self, keep: impl Fn(&Record) -> bool, mut gone: impl FnMut(Record)) {
        for shard in &self.shards {
            let mut shard = shard.write();
            let drop: Vec<(u64, Record)> = shard
                .all()
                .filter(|entry| !keep(&entry.record))
                .map(|entry| (entry.hash, entry.record))
                .collect();
            for (hash, record) in drop {
                if let Some(record) = shard.take(hash, |entry| entry.record.is_at(&record)) {
                    gone(record);
                }
            }
        }
    }

    /// All records with the low half of their hash, a shard at a time; no lock is held while `each` runs.
    pub(crate) fn for_each(&self, mut each: impl FnMut(Record) -> std::ops::ControlFlow<()>) {
        for shard in &self.shards {
            let records: Vec<Record> = shard.read().all().map(|entry| entry.record).collect();
            for record in records {
                if each(record).is_break() {
                    return;
                }
            }
        }
    }

    /// Number of records.
    pub(crate) fn len(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.read().count as u64)
            .sum()
    }

    /// Bytes it takes.
    pub(crate) fn memory(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.read().memory() as u64)
            .sum()
    }

    fn shard(&self, hash: u128) -> (&RwLock<Shard>, u64) {
        #[expect(clippy::indexing_slicing, reason = "there are SHARDS shards")]
        let shard = &self.shards[(hash >> 64) as usize % SHARDS];
        (shard, hash as u64)
    }
}

struct Entry {
    /// The low half of the key's hash.
    hash: u64,
    record: Record,
    next: u32,
    heat: AtomicU8,
}

const HOTTEST: u8 = 3;

/// Entries are allocated this many at a time.
const CHUNK: usize = 256;

/// The end of a chain.
const NONE: u32 = u32::MAX;

struct Shard {
    /// First entry of each chain; a power of two of them.
    buckets: Vec<u32>,
    chunks: Vec<Vec<Entry>>,
    /// First entry that nobody uses.
    free: u32,
    count: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            buckets: Vec::new(),
            chunks: Vec::new(),
            free: NONE,
            count: 0,
        }
    }
}

impl Shard {
    fn entry(&self, at: u32) -> Option<&Entry> {
        self.chunks
            .get(at as usize / CHUNK)?
            .get(at as usize % CHUNK)
    }

    fn entry_mut(&mut self, at: u32) -> Option<&mut Entry> {
        self.chunks
            .get_mut(at as usize / CHUNK)?
            .get_mut(at as usize % CHUNK)
    }

    fn first(&self, hash: u64) -> u32 {
        let bucket = hash as usize & self.buckets.len().wrapping_sub(1);
        self.buckets.get(bucket).copied().unwrap_or(NONE)
    }

    fn set_first(&mut self, hash: u64, at: u32) {
        let bucket = hash as usize & self.buckets.len().wrapping_sub(1);
        if let Some(first) = self.buckets.get_mut(bucket) {
            *first = at;
        }
    }

    /// The entries with this hash.
    fn chain(&self, hash: u64) -> impl Iterator<Item = &Entry> {
        let mut at = self.first(hash);
        std::iter::from_fn(move || {
            let entry = self.entry(at)?;
            at = entry.next;
            Some(entry)
        })
        .filter(move |entry| entry.hash == hash)
    }

    /// All entries.
    fn all(&self) -> impl Iterator<Item = &Entry> {
        self.buckets.iter().flat_map(move |first| {
            let mut at = *first;
            std::iter::from_fn(move || {
                let entry = self.entry(at)?;
                at = entry.next;
                Some(entry)
            })
        })
    }

    fn find(&self, hash: u64, which: impl Fn(&Entry) -> bool) -> Option<u32> {
        let mut at = self.first(hash);
        while let Some(entry) = self.entry(at) {
            if entry.hash == hash && which(entry) {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    fn add(&mut self, hash: u64, record: Record) {
        if self.count >= self.buckets.len() {
            self.grow();
        }
        let entry = Entry {
            hash,
            record,
            next: self.first(hash),
            heat: AtomicU8::new(0),
        };
        let at = match self.entry(self.free).map(|entry| entry.next) {
            Some(next) => {
                let at = self.free;
                self.free = next;
                if let Some(slot) = self.entry_mut(at) {
                    *slot = entry;
                }
                at
            }
            None => self.append(entry),
        };
        self.set_first(hash, at);
        self.count += 1;
    }

    fn append(&mut self, entry: Entry) -> u32 {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        match self.chunks.last_mut() {
            Some(chunk) => {
                chunk.push(entry);
                (before + chunk.len() - 1) as u32
            }
            None => NONE,
        }
    }

    fn take(&mut self, hash: u64, which: impl Fn(&Entry) -> bool) -> Option<Record> {
        let mut before = None;
        let mut at = self.first(hash);
        loop {
            let entry = self.entry(at)?;
            let next = entry.next;
            if entry.hash == hash && which(entry) {
                let record = entry.record;
                match before.and_then(|before| self.entry_mut(before)) {
                    Some(before) => before.next = next,
                    None => self.set_first(hash, next),
                }
                let free = self.free;
                if let Some(entry) = self.entry_mut(at) {
                    entry.next = free;
                }
                self.free = at;
                self.count -= 1;
                return Some(record);
            }
            before = Some(at);
            at = next;
        }
    }

    fn grow(&mut self) {
        let buckets = (self.buckets.len() * 2).max(16);
        let old = std::mem::replace(&mut self.buckets, vec![NONE; buckets]);
        for first in old {
            let mut at = first;
            while let Some(entry) = self.entry(at) {
                let (hash, next) = (entry.hash, entry.next);
                let first = self.first(hash);
                if let Some(entry) = self.entry_mut(at) {
                    entry.next = first;
                }
                self.set_first(hash, at);
                at = next;
            }
        }
    }

    fn memory(&self) -> usize {
        let chunks = self.chunks.len() * CHUNK * size_of::<Entry>();
        chunks + self.chunks.capacity() * size_of::<Vec<Entry>>() + self.buckets.capacity() * 4
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
