//! What the store counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that lookups touch: each shard has its own, on its own cache line.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct ShardCounters {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
}

/// Counters of what is rarer.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) recalled: Counter,
    pub(crate) stored: Counter,
    pub(crate) refreshed: Counter,
    pub(crate) evictions: Counter,
    pub(crate) purged: Counter,
    pub(crate) aborted: Counter,
    pub(crate) joined: Counter,
    pub(crate) overruns: Counter,
    pub(crate) begun: Counter,
    pub(crate) settled: Counter,
}

/// A counter without order.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_many(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A snapshot of the store. Counters count from the process's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes the memory tier may hold.
    pub limit: u64,
    /// Bytes it holds: bodies, headers, keys and a constant per object. Never more than the limit.
    pub bytes: u64,
    /// Objects it holds, those being filled included.
    pub objects: u64,
    /// Bytes in the windows of bodies that are not stored; these come on top.
    pub window_bytes: u64,
    /// Fills at work now.
    pub fills: u64,
    /// Lookups that found an object.
    pub hits: u64,
    /// Lookups that found none in memory.
    pub misses: u64,
    /// Objects that memory missed and a disk had.
    pub recalled: u64,
    /// Requests that waited for another's fill.
    pub joined: u64,
    /// Bodies stored whole.
    pub stored: u64,
    /// Objects given new metadata.
    pub refreshed: u64,
    /// Objects that went to make room.
    pub evictions: u64,
    /// Purged objects whose memory was reclaimed; until then they only wait to be touched or evicted.
    pub purged: u64,
    /// Fills that failed before or within the body.
    pub aborted: u64,
    /// Bodies that were passed through because they were too big, or lost their place while being filled.
    pub overruns: u64,
    /// Clocks kept for purges.
    pub purge_clocks: u64,
}
