//! Plays with real sockets on loopback: a client, and origins that behave, misbehave or vanish.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod dns;
mod fake;
mod h1;
mod h2;
mod pools;
mod retry;
mod tls;
