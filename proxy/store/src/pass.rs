//! What is known to be uncacheable, so that requests for it do not wait for each other ("hit for pass").
//!
//! A table of fixed size: a client that asks for ever new uncacheable URLs costs no memory. What is forgotten early, or
//! taken for something else (64 bits of the hash are kept), costs one wait or one fill too many and nothing else.

use parking_lot::Mutex;
use tokio::time::Instant;

/// The table.
pub(crate) struct PassTable {
    shards: Box<[Mutex<Box<[Bucket]>>]>,
}

type Bucket = [Option<(u64, Instant)>; WAYS];

const SHARDS: usize = 64;
const BUCKETS: usize = 256;
const WAYS: usize = 4;

impl PassTable {
    pub(crate) fn new() -> Self {
        let shard = || Mutex::new(vec![Bucket::default(); BUCKETS].into_boxed_slice());
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
        }
    }

    /// Remembers a key until a time.
    pub(crate) fn put(&self, hash: u128, until: Instant) {
        self.bucket(hash, |bucket, mark| {
            let place = match bucket
                .iter()
                .position(|slot| slot.is_some_and(|(other, _)| other == mark))
            {
                Some(place) => Some(place),
                // The one that ends first goes; an empty one ends before all.
                None => (0..WAYS).min_by_key(|place| {
                    bucket
                        .get(*place)
                        .copied()
                        .flatten()
                        .map(|(_, until)| until)
                }),
            };
            if let Some(slot) = place.and_then(|place| bucket.get_mut(place)) {
                *slot = Some((mark, until));
            }
        });
    }

    /// Whether a key is remembered.
    pub(crate) fn has(&self, hash: u128, now: Instant) -> bool {
        self.bucket(hash, |bucket, mark| {
            bucket
                .iter()
                .flatten()
                .any(|(other, until)| *other == mark && *until > now)
        })
        .unwrap_or(false)
    }

    /// Forgets a key.
    pub(crate) fn forget(&self, hash: u128) {
        self.bucket(hash, |bucket, mark| {
            for slot in bucket
                .iter_mut()
                .filter(|slot| slot.is_some_and(|(other, _)| other == mark))
            {
                *slot = None;
            }
        });
    }

    fn bucket<T>(&self, hash: u128, act: impl FnOnce(&mut Bucket, u64) -> T) -> Option<T> {
        let mark = (hash >> 64) as u64;
        let mut shard = self.shards.get(hash as usize % SHARDS)?.lock();
        let bucket = shard.get_mut((hash as usize / SHARDS) % BUCKETS)?;
        Some(act(bucket, mark))
    }
}
