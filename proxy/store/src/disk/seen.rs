//! What was asked about before.

use std::sync::atomic::{AtomicU32, Ordering};

/// Keys that were asked about before: a table of fixed size that forgets what is pushed out.
pub(crate) struct Seen {
    marks: Box<[AtomicU32]>,
}

const MARKS: usize = 1 << 18;

impl Seen {
    pub(crate) fn new() -> Self {
        Self {
            marks: (0..MARKS).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Notes a key. Whether it was noted before.
    pub(crate) fn mark(&self, hash: u128) -> bool {
        let mark = (hash >> 96) as u32 | 1;
        self.marks
            .get(hash as usize % MARKS)
            .is_some_and(|slot| slot.swap(mark, Ordering::Relaxed) == mark)
    }
}
