//! The store through its public API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod bodies;
mod common;
mod fills;
mod memory;
mod purges;
mod races;
mod variants;
mod windows;
