//! The crate through its public API: tables from the RFCs, and properties that hold for any input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod conditional;
mod directives;
mod fields;
mod freshness;
mod key;
mod meta;
mod range;
mod status_fields;
mod storability;
mod support;
mod update;
mod vary;
