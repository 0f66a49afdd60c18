//! What the end-to-end tests are written with: a programmable origin, the real `anypop` daemon on a folder of its own, and clients
//! that send exactly the bytes they are told to.
//!
//! A test is a short play: an [`Origin`] with its lines, an [`Edge`] in front of it, a [`Client`] that asks, and what everybody saw.
//! - [`origin`]: answers by path, scripted to the byte, held at [`Gate`]s; keeps what it received.
//! - [`edge`]: writes documents, starts the daemon on free ports, knows its sockets, stops it.
//! - [`client`]: one raw HTTP/1.1 connection, over TCP or a Unix socket.
//! - [`message`]: reading requests and responses, in no way forgiving.
//! - [`certificate`]: a throw-away certificate authority.
//! - [`command`]: curl, openssl, h2load with a deadline.
//!
//! Nothing here sleeps to let something else happen: it waits for the event, and gives up at [`DEADLINE`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is how a test ends"
)]

pub mod certificate;
pub mod client;
pub mod command;
pub mod edge;
pub mod gate;
pub mod message;
pub mod origin;

use std::{future::Future, time::Duration};

pub use certificate::Authority;
pub use client::{Client, Connection};
pub use edge::{Edge, EdgeBuilder, anypop};
pub use gate::Gate;
pub use message::{Request, Response};
pub use origin::{Origin, Reply};

/// How long any single wait of a test may last. Long, because it is only ever reached by a failure, and machines that run tests are slow.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for `event`, and fails the test with `what` when it has not come by [`DEADLINE`].
///
/// # Panics
/// When the deadline passes.
pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, event).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing within {DEADLINE:?}"),
    }
}
