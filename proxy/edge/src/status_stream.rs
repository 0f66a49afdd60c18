//! The status stream: how the proxy tells the BGP agent that it can serve.
//!
//! Whoever connects to the Unix socket gets one JSON line at once, another at every change of
//! state, and one at least every second, which is the lease. An agent that sees the stream end, or
//! no line within `lease_ms`, knows that the data plane is gone.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::lifecycle::{Lifecycle, State};

/// The longest silence between two lines.
const BEAT: Duration = Duration::from_secs(1);
/// After how long without a line a reader must take the proxy for dead, in milliseconds.
const LEASE_MS: u64 = 3_000;
/// How long a reader may take to accept a line before it is dropped.
const READER_PATIENCE: Duration = Duration::from_secs(2);

/// What a line says beside the state.
pub trait Vitals: Send + Sync + 'static {
    /// Open client connections.
    fn connections(&self) -> u64;
    /// The addresses served, as prefixes.
    fn vips(&self) -> Vec<String>;
}

#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    generation: u64,
    pid: u32,
    state: State,
    reason: &'a str,
    connections: u64,
    vips: BTreeMap<String, State>,
    lease_ms: u64,
}

/// A bound status socket; its file is removed when this is dropped.
#[derive(Debug)]
pub struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl StatusSocket {
    /// Binds `path`, in place of a socket that nobody serves any more.
    ///
    /// # Errors
    /// When the folder is missing or not writable, or a living process serves the path.
    pub fn bind(path: &Path) -> io::Result<Self> {
        Ok(Self {
            listener: crate::unix_socket::bind(path, 0o660)?,
            path: path.to_owned(),
        })
    }

    /// Serves every reader until dropped.
    pub async fn serve(self, lifecycle: Arc<Lifecycle>, vitals: Arc<dyn Vitals>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(tell(stream, lifecycle.clone(), vitals.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the status socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn tell(mut stream: UnixStream, lifecycle: Arc<Lifecycle>, vitals: Arc<dyn Vitals>) {
    let mut changes = lifecycle.watch();
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
        let standing = changes.borrow_and_update().clone();
        let line = Line {
            seq: standing.seq,
            generation: 1,
            pid: std::process::id(),
            state: standing.state,
            reason: &standing.reason,
            connections: vitals.connections(),
            vips: vitals
                .vips()
                .into_iter()
                .map(|vip| (vip, standing.state))
                .collect(),
            lease_ms: LEASE_MS,
        };
        let Ok(mut text) = serde_json::to_vec(&line) else {
            return;
        };
        text.push(b'\n');
        if !matches!(
            timeout(READER_PATIENCE, stream.write_all(&text)).await,
            Ok(Ok(()))
        ) {
            return;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    struct Fixed;

    impl Vitals for Fixed {
        fn connections(&self) -> u64 {
            7
        }

        fn vips(&self) -> Vec<String> {
            vec!["203.0.113.10/32".to_owned()]
        }
    }

    #[tokio::test]
    async fn a_reader_gets_a_line_at_once_and_at_every_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status.sock");
        let lifecycle = Arc::new(Lifecycle::default());
        let socket = StatusSocket::bind(&path).unwrap();
        let server = tokio::spawn(socket.serve(lifecycle.clone(), Arc::new(Fixed)));
        let mut lines = BufReader::new(UnixStream::connect(&path).await.unwrap()).lines();
        let first: serde_json::Value =
            serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        assert_eq!(first["state"], "starting");
        assert_eq!(first["connections"], 7);
        lifecycle.change(State::Ready, "");
        loop {
            let line: serde_json::Value =
                serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
            if line["state"] == "ready" {
                assert_eq!(line["vips"]["203.0.113.10/32"], "ready");
                assert_eq!(line["seq"], 2);
                break;
            }
        }
        server.abort();
        let _ = server.await;
        assert!(!path.exists(), "the socket's file goes with it");
    }
}
