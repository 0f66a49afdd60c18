//! systemd's notification protocol: ready, the watchdog, and what the agent is doing.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

/// systemd, if it started us with `Type=notify`.
#[derive(Debug)]
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl Notify {
    /// As the environment says.
    pub fn from_environment() -> Self {
        let open = || -> io::Result<Option<(UnixDatagram, SocketAddr)>> {
            let Some(path) = env::var_os("NOTIFY_SOCKET") else {
                return Ok(None);
            };
            let address = match path.as_encoded_bytes().split_first() {
                Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
                _ => SocketAddr::from_pathname(&path)?,
            };
            Ok(Some((UnixDatagram::unbound()?, address)))
        };
        Self {
            socket: open().unwrap_or_else(|error| {
                tracing::warn!(%error, "systemd cannot be notified");
                None
            }),
        }
    }

    /// Says something, for example `READY=1`. That nobody listens is no error.
    pub fn say(&self, text: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }

    /// How often the watchdog wants to hear of us: at half its patience.
    pub fn watchdog() -> Option<Duration> {
        let micros: u64 = env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
        if let Ok(pid) = env::var("WATCHDOG_PID")
            && pid.parse() != Ok(std::process::id())
        {
            return None;
        }
        (micros > 0).then(|| Duration::from_micros(micros / 2))
    }
}
