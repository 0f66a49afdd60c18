//! Where log lines end up: a file or pipe, or syslog datagrams. Used by the one writing thread only, so that everything here may block.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::stamp;

/// Takes batches of whole lines.
pub(super) trait Sink: Send {
    /// Writes `lines`, each of which ends in a line feed.
    fn write(&mut self, lines: &[u8]) -> Result<(), Lost>;
    /// Opens the destination anew; on failure the old one stays in use.
    fn reopen(&mut self) -> io::Result<()>;
}

/// Lines that could not be written, and the last reason.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) lines: u64,
    pub(super) error: io::Error,
}

/// A file or stdout.
pub(super) struct FileSink {
    file: File,
    /// `None` for stdout, which cannot be reopened.
    path: Option<PathBuf>,
    /// The last write ended within a line: the next begins with a line feed, so that only one line is spoilt.
    torn: bool,
}

impl FileSink {
    pub(super) fn stdout() -> io::Result<Self> {
        // Without std's line buffer in between, whose flushes would cut batches into single writes.
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self {
            file,
            path: None,
            torn: false,
        })
    }

    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: Self::append_to(path)?,
            path: Some(path.to_owned()),
            torn: false,
        })
    }

    /// Append mode: two generations of the daemon may write to one file during an upgrade.
    fn append_to(path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err((done, ErrorKind::WriteZero.into())),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody who shares stdout made it non-blocking. Only the writing thread waits.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::park_timeout(Duration::from_millis(5))
                }
                Err(error) => return Err((done, error)),
            }
        }
        Ok(())
    }
}

impl Sink for FileSink {
    fn write(&mut self, lines: &[u8]) -> Result<(), Lost> {
        if self.torn {
            self.write_all(b"\n").map_err(|(_, error)| Lost {
                lines: count(lines),
                error,
            })?;
            self.torn = false;
        }
        self.write_all(lines).map_err(|(done, error)| {
            let (written, rest) = lines.split_at(done.min(lines.len()));
            self.torn = written.last().is_some_and(|&last| last != b'\n');
            Lost {
                lines: count(rest),
                error,
            }
        })
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.file = Self::append_to(path)?;
            self.torn = false;
        }
        Ok(())
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// Facility local0, severity informational: 16 × 8 + 6 (RFC 5424 §6.2.1).
const PRIORITY: u8 = 134;

/// Syslog datagrams, one per line (RFC 5424; over UDP RFC 5426).
pub(super) struct SyslogSink {
    destination: Destination,
    socket: Socket,
    /// What follows the timestamp: host name, program, process id, message id, no structured data.
    origin: String,
    message: Vec<u8>,
}

enum Destination {
    Unix(PathBuf),
    Udp(String),
}

enum Socket {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

impl Destination {
    fn connect(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Socket::Unix(socket))
            }
            Self::Udp(address) => {
                let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
                for target in address.to_socket_addrs()? {
                    let local: SocketAddr = match target {
                        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                    };
                    match UdpSocket::bind(local)
                        .and_then(|socket| socket.connect(target).map(|()| socket))
                    {
                        Ok(socket) => return Ok(Socket::Udp(socket)),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

impl Socket {
    fn send(&self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.send(message),
            Self::Udp(socket) => socket.send(message),
        }
        .map(drop)
    }
}

impl SyslogSink {
    pub(super) fn unix(path: &Path, node: &str) -> io::Result<Self> {
        Self::new(Destination::Unix(path.to_owned()), node)
    }

    pub(super) fn udp(address: &str, node: &str) -> io::Result<Self> {
        Self::new(Destination::Udp(address.to_owned()), node)
    }

    fn new(destination: Destination, node: &str) -> io::Result<Self> {
        // HOSTNAME is printable ASCII, 1 to 255 characters (§6.2.4).
        let mut host: String = node
            .chars()
            .filter(char::is_ascii_graphic)
            .take(255)
            .collect();
        if host.is_empty() {
            host.push('-');
        }
        let origin = format!(" {host} anypop {} access - ", std::process::id());
        Ok(Self {
            socket: destination.connect()?,
            destination,
            origin,
            message: Vec::new(),
        })
    }

    /// Sends one line; once more on a new connection when the daemon was restarted.
    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        self.message.clear();
        // Writing into a vector cannot fail.
        let _ = write!(self.message, "<{PRIORITY}>1 ");
        // Every line begins with {"time":"<stamp>": the message carries the request's time, not that of this batch.
        const BEFORE: usize = br#"{"time":""#.len();
        self.message
            .extend_from_slice(line.get(BEFORE..BEFORE + stamp::LENGTH).unwrap_or(b"-"));
        self.message.extend_from_slice(self.origin.as_bytes());
        self.message.extend_from_slice(line);
        match self.socket.send(&self.message) {
            Err(error) if !is_too_long(&error) => {
                self.reopen()?;
                self.socket.send(&self.message)
            }
            result => result,
        }
    }
}

/// The line is longer than a datagram may be (65,507 bytes over UDP): only this line is lost.
fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

impl Sink for SyslogSink {
    fn write(&mut self, lines: &[u8]) -> Result<(), Lost> {
        let mut lost: Option<Lost> = None;
        let mut rest = lines;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            match self.send(line) {
                Ok(()) => {}
                Err(error) if is_too_long(&error) => {
                    lost = Some(Lost {
                        lines: lost.map_or(0, |lost| lost.lines) + 1,
                        error,
                    });
                }
                // Nobody listens: no use in trying line by line.
                Err(error) => {
                    return Err(Lost {
                        lines: lost.map_or(0, |lost| lost.lines) + count(rest),
                        error,
                    });
                }
            }
            rest = after.get(1..).unwrap_or_default();
        }
        lost.map_or(Ok(()), Err)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.socket = self.destination.connect()?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
