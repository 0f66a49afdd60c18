//! One TCP connect, as a trait: tests put black holes and counters in its place.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::net::TcpStream;

/// Establishes TCP connections.
#[async_trait]
pub trait Dial: Debug + Send + Sync {
    /// Connects to one address. Without a time limit of its own: who calls has one.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// Dials by the system's TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpDial;

#[async_trait]
impl Dial for TcpDial {
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }
}
