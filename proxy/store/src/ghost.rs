//! The ghost queue: fingerprints of newcomers that went without having earned a place.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

/// Remembers as many fingerprints as there are residents, and some in an empty store.
pub(crate) struct Ghost {
    /// Oldest first; an entry whose stamp differs from the map's has been taken since.
    queue: VecDeque<(u64, u64)>,
    stamps: HashMap<u64, u64, RandomState>,
    stamp: u64,
}

/// What is remembered however few residents there are.
const LEAST: usize = 1024;

impl Ghost {
    /// Bytes of one remembered fingerprint: a queue element, and a map element at the map's usual load.
    pub(crate) const ENTRY: usize = 16 + 24;

    pub(crate) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            stamps: HashMap::default(),
            stamp: 0,
        }
    }

    /// Remembers one, forgetting the oldest beyond `room`.
    pub(crate) fn put(&mut self, fingerprint: u64, room: usize) {
        self.stamp += 1;
        self.stamps.insert(fingerprint, self.stamp);
        self.queue.push_back((fingerprint, self.stamp));
        while self.queue.len() > room.max(LEAST) {
            if let Some((oldest, stamp)) = self.queue.pop_front()
                && self.stamps.get(&oldest) == Some(&stamp)
            {
                self.stamps.remove(&oldest);
            }
        }
    }

    /// Whether it is remembered; it is forgotten by this.
    pub(crate) fn take(&mut self, fingerprint: u64) -> bool {
        self.stamps.remove(&fingerprint).is_some()
    }
}
