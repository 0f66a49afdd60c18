//! What the benchmarks need beside wrk and h2load.
//!
//! - [`limit`]: a server that knows one answer and does nothing else: as fast as the machine allows.
//! - [`rate`]: requests at a constant rate, timed from when each was due (no coordinated omission).
//! - [`handshakes`]: one connection for each request, full or resumed TLS handshakes.
//! - [`hold`]: thousands of idle connections, to weigh them in the server.
//!
//! All of them are one thread and one epoll loop, so that they can be pinned to one core. They are made for loopback and for servers
//! that the benchmark itself has started: certificates are not verified.

pub mod args;
pub mod connection;
pub mod h2;
pub mod handshakes;
pub mod hold;
pub mod latency;
pub mod limit;
pub mod rate;
pub mod response;
pub mod target;
