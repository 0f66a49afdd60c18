//! HTTP/1 toward clients (RFC 9112).
//!
//! [`connection`] is the loop: it reads a head, lets the application answer it at once or builds a [`session`] for it, and goes on when
//! the session has come back. Loop and session share a [`wire`]: stream, buffers and what is known of request and response.
//! Both run on the connection's task, so the loop can write out what the session left when the session waits for something else.

mod body;
mod chunked;
mod connection;
mod out;
mod request;
mod response;
mod session;
mod spare;
mod wire;

pub use chunked::{Chunk, ChunkedDecoder};
pub(crate) use connection::Connection;
pub use response::write_whole_head;
