//! Chance for balancing and jitter. Nothing here is a secret.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};

thread_local! {
    static STATE: Cell<u64> = Cell::new(seed());
}

/// A number that differs in every process and at every call.
pub(crate) fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The next number of this thread's sequence (SplitMix64).
pub(crate) fn next() -> u64 {
    STATE.with(|state| {
        let at = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(at);
        mix(at)
    })
}

/// Spreads a number over all 64 bits; the same on every node and in every version.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number from 0 to below 1.
pub(crate) fn unit(bits: u64) -> f64 {
    // 53 bits are what a double holds exactly.
    (bits >> 11) as f64 / (1u64 << 53) as f64
}
