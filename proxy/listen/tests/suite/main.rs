//! The crate over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;
mod h1;
mod h2;
mod listener;
mod pingora;
mod tls;
