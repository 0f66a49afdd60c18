//! The index: from keys to variants and to fills that have no header yet.

use std::collections::HashMap;
use std::sync::Arc;

use anypop_cache::key::CacheKey;
use foldhash::fast::RandomState;
use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::fill::Fill;
use crate::object::Object;
use crate::s3fifo::Id;
use crate::stats::ShardCounters;

/// All shards. A key's shard is found by its hash.
pub(crate) struct Index {
    shards: Box<[Shard]>,
}

/// A part of the index. Its lock is held to find, to add or to take out, never while anything is compared with a request.
#[derive(Default)]
pub(crate) struct Shard {
    pub(crate) map: RwLock<Map>,
    pub(crate) counters: ShardCounters,
}

/// Keys are hashed by their 128 bits, again with a seed of this process.
pub(crate) type Map = HashMap<CacheKey, Entry, RandomState>;

/// What is known under a key.
#[derive(Default)]
pub(crate) struct Entry {
    /// Oldest first.
    pub(crate) variants: Variants,
    /// Fills without a header.
    pub(crate) fills: SmallVec<[Arc<Fill>; 1]>,
}

/// The variants of an entry.
pub(crate) type Variants = SmallVec<[Variant; 1]>;

/// An object in the index and its place in memory.
#[derive(Clone)]
pub(crate) struct Variant {
    pub(crate) id: Id,
    pub(crate) object: Arc<Object>,
}

/// Bytes counted for an entry: an element of the map at its usual load.
pub(crate) const ENTRY_OVERHEAD: usize = 2 * (size_of::<CacheKey>() + size_of::<Entry>());

const SHARDS: usize = 64;

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
        }
    }

    pub(crate) fn shard(&self, key: &CacheKey) -> &Shard {
        // High bits: the map uses the others.
        let index = (key.hash().0 >> 96) as usize % SHARDS;
        #[expect(clippy::indexing_slicing, reason = "there are SHARDS shards")]
        &self.shards[index]
    }

    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }
}

impl Entry {
    /// Takes a variant out by its place.
    pub(crate) fn take(&mut self, id: Id) -> Option<Variant> {
        let position = self.variants.iter().position(|variant| variant.id == id)?;
        Some(self.variants.remove(position))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.variants.is_empty() && self.fills.is_empty()
    }
}

impl Shard {
    /// Takes a variant out of the map.
    pub(crate) fn take(&self, key: &CacheKey, id: Id) -> Option<Variant> {
        let mut map = self.map.write();
        let entry = map.get_mut(key)?;
        let variant = entry.take(id);
        if entry.is_empty() {
            map.remove(key);
        }
        variant
    }
}
