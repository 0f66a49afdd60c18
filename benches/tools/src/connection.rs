//! One client connection, plain or TLS, that never blocks.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

/// A connection and what waits to be written to it.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Bytes that the socket did not take yet (plain TCP only: rustls keeps its own).
    unsent: Vec<u8>,
    connected: bool,
}

/// What reading brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Pumped {
    /// The connection goes on.
    Open,
    /// The server closed it; bytes may have come before.
    Closed,
}

impl Connection {
    /// Begins to connect. What is sent meanwhile goes out once that, and the TLS handshake, is done.
    ///
    /// # Errors
    /// No socket, or a host that cannot be a server name.
    pub fn open(
        address: SocketAddr,
        tls: Option<(&Arc<ClientConfig>, &str)>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let tls = match tls {
            None => None,
            Some((config, host)) => {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                let connection =
                    ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                Some(Box::new(connection))
            }
        };
        Ok(Self {
            socket,
            tls,
            unsent: Vec::new(),
            connected: false,
        })
    }

    /// Sends bytes, as far as the socket takes them now; [`Connection::pump`] sends the rest.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes)?,
            None => self.unsent.extend_from_slice(bytes),
        }
        if self.connected { self.flush() } else { Ok(()) }
    }

    /// To be called at every event: writes what waits, reads all there is and gives it to `sink`.
    ///
    /// # Errors
    /// The connection is broken, TLS fails, or `sink` says so.
    pub fn pump(
        &mut self,
        scratch: &mut [u8],
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Pumped> {
        if !self.connected {
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            if self.socket.peer_addr().is_err() {
                return Ok(Pumped::Open);
            }
            self.connected = true;
            self.socket.set_nodelay(true)?;
        }
        self.flush()?;
        let pumped = if self.tls.is_some() {
            self.pump_tls(scratch, &mut sink)?
        } else {
            self.pump_plain(scratch, &mut sink)?
        };
        if pumped == Pumped::Open {
            self.flush()?;
        }
        Ok(pumped)
    }

    /// How the TLS handshake was done, once it is.
    #[must_use]
    pub fn handshake(&self) -> Option<HandshakeKind> {
        self.tls.as_ref().and_then(|tls| tls.handshake_kind())
    }

    fn pump_plain(
        &mut self,
        scratch: &mut [u8],
        sink: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Pumped> {
        loop {
            match self.socket.read(scratch) {
                Ok(0) => return Ok(Pumped::Closed),
                Ok(count) => {
                    sink(scratch.get(..count).unwrap_or_default())?;
                    // Less than asked for means that the socket is empty: the next bytes are an event of their own.
                    if count < scratch.len() {
                        return Ok(Pumped::Open);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Pumped::Open),
                Err(error) => return Err(error),
            }
        }
    }

    fn pump_tls(
        &mut self,
        scratch: &mut [u8],
        sink: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Pumped> {
        let Some(tls) = &mut self.tls else {
            return Ok(Pumped::Open);
        };
        let mut closed = false;
        loop {
            match tls.read_tls(&mut self.socket) {
                Ok(0) => closed = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Pumped::Open),
                Err(error) => return Err(error),
            }
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            closed |= state.peer_has_closed();
            let mut plain = state.plaintext_bytes_to_read();
            while plain > 0 {
                let count = tls.reader().read(scratch)?;
                sink(scratch.get(..count).unwrap_or_default())?;
                plain = plain.saturating_sub(count.max(1));
            }
            if closed {
                return Ok(Pumped::Closed);
            }
            if tls.wants_write() {
                write_tls(tls, &mut self.socket)?;
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            return write_tls(tls, &mut self.socket);
        }
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn write_tls(tls: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(socket) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
