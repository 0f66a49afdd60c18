//! One HTTP/1.1 connection that sends exactly what it is told to.

use std::{io, net::SocketAddr, path::Path};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use crate::{
    message::{Buffer, Response},
    within,
};

/// Anything that bytes go through both ways.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// A client with one connection. Every call waits at most the tests' deadline.
pub struct Client {
    io: Box<dyn Connection>,
    buffer: Buffer,
}

impl Client {
    /// Connects by TCP.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("connect", TcpStream::connect(address))
            .await
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// Connects to a Unix socket.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn unix(path: &Path) -> Self {
        Self::over(within("connect", UnixStream::connect(path)).await.unwrap())
    }

    /// Uses a connection that is already there.
    pub fn over(io: impl Connection + 'static) -> Self {
        Self {
            io: Box::new(io),
            buffer: Buffer::default(),
        }
    }

    /// Sends bytes. A peer that has closed is not an error here: what it answered is what counts.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("send", self.io.write_all(bytes.as_ref())).await;
        let _ = within("flush", self.io.flush()).await;
    }

    /// Sends a GET with the host `test.example`.
    pub async fn send_get(&mut self, target: &str, fields: &[(&str, &str)]) {
        self.send(request("GET", target, fields)).await;
    }

    /// One GET and its whole response.
    ///
    /// # Panics
    /// When the response is no valid HTTP or is cut short.
    pub async fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, &[]).await
    }

    /// One request without a body, and its whole response.
    ///
    /// # Panics
    /// When the response is no valid HTTP or is cut short.
    pub async fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
    ) -> Response {
        self.send(request(method, target, fields)).await;
        self.response(method).await.unwrap()
    }

    /// Reads a whole response to a request made with `method`.
    ///
    /// # Errors
    /// When it is malformed or cut short.
    pub async fn response(&mut self, method: &str) -> io::Result<Response> {
        within("a response", self.buffer.response(&mut self.io, method)).await
    }

    /// Reads the head of a response only.
    ///
    /// # Errors
    /// When it is malformed or cut short.
    pub async fn response_head(&mut self) -> io::Result<Response> {
        within("a response head", self.buffer.response_head(&mut self.io)).await
    }

    /// Reads exactly `n` bytes.
    ///
    /// # Errors
    /// When the stream ends first.
    pub async fn exactly(&mut self, n: usize) -> io::Result<Vec<u8>> {
        within("bytes", self.buffer.exactly(&mut self.io, n)).await
    }

    /// Reads what is there, at least one byte; empty at the end of the stream.
    ///
    /// # Errors
    /// When the connection is reset.
    pub async fn some(&mut self) -> io::Result<Vec<u8>> {
        within("bytes", self.buffer.some(&mut self.io)).await
    }

    /// Reads until the stream ends.
    ///
    /// # Errors
    /// When the connection is reset.
    pub async fn rest(&mut self) -> io::Result<Vec<u8>> {
        within("the end of the stream", self.buffer.rest(&mut self.io)).await
    }

    /// Waits until the peer has closed or reset; true if it sent nothing more before that.
    pub async fn closed(&mut self) -> bool {
        self.rest().await.map_or(true, |rest| rest.is_empty())
    }
}

/// The bytes of a request without a body, for the host `test.example` unless `fields` has a Host of its own.
#[must_use]
pub fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    if !fields
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        text.push_str("Host: test.example\r\n");
    }
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text
}
