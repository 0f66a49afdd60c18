//! The store's limits.

use crate::body::WindowLimits;
use crate::purge::PurgeLimits;

/// What a store may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the memory tier, everything counted that an object costs. Beside it the store uses the windows of bodies
    /// that are not stored, about 1.5 MiB of fixed tables, and the purge clocks.
    pub memory: u64,
    /// Bytes of the biggest body that is kept; at most an eighth of `memory` is used, so that one object cannot empty
    /// the store.
    pub max_object: u64,
    /// Variants (`Vary`) kept under one key; the oldest goes when there are more.
    pub max_variants: usize,
    /// Limits of bodies that are not stored.
    pub window: WindowLimits,
    /// How many purge clocks are kept.
    pub purges: PurgeLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 512 * 1024 * 1024,
            max_object: 64 * 1024 * 1024,
            max_variants: 16,
            window: WindowLimits::default(),
            purges: PurgeLimits::default(),
        }
    }
}

impl Limits {
    /// The bound on bodies that holds.
    pub fn biggest(&self) -> u64 {
        self.max_object.min(self.memory / 8)
    }
}
