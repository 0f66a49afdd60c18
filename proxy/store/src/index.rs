//! The index: from keys to variants and to fills that have no header yet.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anypop_cache::key::{CacheKey, KeyHash};
use foldhash::fast::RandomState;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use smallvec::SmallVec;

use crate::fill::Fill;
use crate::object::Object;
use crate::s3fifo::{Id, Resident};
use crate::stats::ShardCounters;

/// All shards. A key's shard is found by its hash.
pub(crate) struct Index {
    shards: Box<[Shard]>,
}

/// A part of the index. Its lock is held to find, to add or to take out, never while anything is compared with a request.
#[derive(Default)]
pub(crate) struct Shard {
    map: RwLock<Map>,
    changes: Changes,
    pub(crate) counters: ShardCounters,
}

/// How often a shard was locked to be changed. On a cache line of its own: who only asks whether anything has changed
/// shares it with nobody that writes.
#[derive(Default)]
#[repr(align(128))]
struct Changes(AtomicU64);

/// Keys are hashed by their 128 bits, again with a seed of this process.
pub(crate) type Map = HashMap<Key, Entry, RandomState>;

/// A key that is also found by its hash alone, as the disk tier knows it.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Key(CacheKey);

impl From<&CacheKey> for Key {
    fn from(key: &CacheKey) -> Self {
        Self(key.clone())
    }
}

impl Borrow<CacheKey> for Key {
    fn borrow(&self) -> &CacheKey {
        &self.0
    }
}

/// Something with a key's hash. Nobody can construct two keys with one hash, so equal hashes are equal keys.
trait Hashed {
    fn key_hash(&self) -> KeyHash;
}

impl Hashed for Key {
    fn key_hash(&self) -> KeyHash {
        self.0.hash()
    }
}

impl Hashed for KeyHash {
    fn key_hash(&self) -> KeyHash {
        *self
    }
}

impl<'a> Borrow<dyn Hashed + 'a> for Key {
    fn borrow(&self) -> &(dyn Hashed + 'a) {
        self
    }
}

impl Hash for dyn Hashed + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As the key itself does.
        self.key_hash().hash(state);
    }
}

impl PartialEq for dyn Hashed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.key_hash() == other.key_hash()
    }
}

impl Eq for dyn Hashed + '_ {}

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
        self.shard_of(key.hash())
    }

    /// Whether an object of this variant under a key of this hash was hit lately.
    pub(crate) fn is_hot(&self, hash: u128, variant: u32) -> bool {
        let hash = KeyHash(hash);
        let map = self.shard_of(hash).read();
        let entry = map.get(&hash as &dyn Hashed);
        entry.is_some_and(|entry| {
            let mut objects = entry.variants.iter().map(|known| &known.object);
            objects.any(|object| object.heat() > 0 && object.variant() == variant)
        })
    }

    fn shard_of(&self, hash: KeyHash) -> &Shard {
        // High bits: the map uses the others.
        let index = (hash.0 >> 96) as usize % SHARDS;
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
    /// To look something up.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Map> {
        self.map.read()
    }

    /// To change something. Counted before anything changes: who reads the count first and then looks up, and finds the
    /// same count later, has missed no change.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Map> {
        let map = self.map.write();
        self.changes.0.fetch_add(1, Ordering::Release);
        map
    }

    /// How often it was locked to be changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.0.load(Ordering::Acquire)
    }

    /// Takes a variant out of the map.
    pub(crate) fn take(&self, key: &CacheKey, id: Id) -> Option<Variant> {
        let mut map = self.write();
        let entry = map.get_mut(key)?;
        let variant = entry.take(id);
        if entry.is_empty() {
            map.remove(key);
        }
        variant
    }
}
