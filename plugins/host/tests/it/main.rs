//! The plugin host through its public API, with guests in the text format: no WASM toolchain is needed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod artifacts;
mod bodies;
mod breaker;
mod callouts;
mod examples;
mod failing;
mod flow;
mod fuzzed;
mod guard;
mod guests;
mod heads;
mod higress;
mod hostile;
mod map;
mod misc;
mod sharing;
mod starting;
mod support;
mod threads;
