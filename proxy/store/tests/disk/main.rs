//! The store with disks, through its public API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../store/common.rs"]
mod common;
mod crash;
mod failures;
mod faulty;
mod large;
mod purging;
mod restarts;
mod setup;
mod tiers;
