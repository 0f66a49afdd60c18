//! The status stream: the proxy's own word on whether it can serve.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::UnixStream,
    sync::mpsc,
    time::sleep,
};

use crate::policy::{Event, Line, ProxyState};

/// A line is never longer.
const LONGEST: u64 = 64 * 1024;
/// The wait between tries while nobody answers; recovery is not seen sooner.
const RETRY: Duration = Duration::from_millis(20);
/// What a lease may be, whatever the proxy says.
const LEASES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    generation: u64,
    #[serde(default)]
    state: ProxyState,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    connections: u64,
    old_connections: Option<u64>,
    #[serde(default)]
    vips: BTreeMap<String, ProxyState>,
    lease_ms: u64,
}

/// Reads one line of the stream. Fields that are not known are passed over, so that a newer proxy can
/// say more.
///
/// # Errors
/// When it is no JSON object of that form.
pub fn parse(line: &[u8]) -> Result<Line, serde_json::Error> {
    let wire: Wire = serde_json::from_slice(line)?;
    let address = |vip: &str| -> Option<IpAddr> {
        let prefix = vip.parse::<IpNet>().ok()?;
        (prefix.prefix_len() == prefix.max_prefix_len()).then(|| prefix.addr())
    };
    Ok(Line {
        generation: wire.generation,
        state: wire.state,
        reason: wire.reason,
        connections: wire.connections,
        old_connections: wire.old_connections,
        vips: wire
            .vips
            .iter()
            .filter_map(|(vip, state)| Some((address(vip)?, *state)))
            .collect(),
        lease: Duration::from_millis(wire.lease_ms).clamp(LEASES.0, LEASES.1),
    })
}

/// Follows the stream at `socket` until nobody wants its events any more.
///
/// When it ends, it is opened again at once: if somebody answers with a line, that is a new
/// generation, and nothing happened. If nobody does, the data plane is dead.
pub async fn follow(socket: PathBuf, events: mpsc::Sender<Event>) {
    let mut gone = false;
    // The second try in a row without a line in between is one too many.
    let mut barren = false;
    loop {
        let error = match UnixStream::connect(&socket).await {
            Ok(stream) => match read(stream, &events, &mut gone).await {
                Ok(0) if barren => "the proxy ends its status stream without a line".to_owned(),
                Ok(lines) => {
                    barren = lines == 0;
                    continue;
                }
                Err(Ended::Unwanted) => return,
            },
            Err(error) => explain(&socket, &error),
        };
        if !gone {
            gone = true;
            if events.send(Event::Gone(error)).await.is_err() {
                return;
            }
        }
        sleep(RETRY).await;
    }
}

enum Ended {
    /// Nobody listens to us.
    Unwanted,
}

/// Reads lines to the stream's end and says how many there were.
async fn read(
    stream: UnixStream,
    events: &mpsc::Sender<Event>,
    gone: &mut bool,
) -> Result<u64, Ended> {
    let mut stream = BufReader::new(stream);
    let mut text = Vec::new();
    let mut lines = 0;
    loop {
        text.clear();
        let read = (&mut stream)
            .take(LONGEST)
            .read_until(b'\n', &mut text)
            .await;
        if !read.is_ok_and(|read| read > 0) || text.last() != Some(&b'\n') {
            return Ok(lines);
        }
        match parse(&text) {
            Ok(line) => {
                lines += 1;
                *gone = false;
                if events.send(Event::Line(line)).await.is_err() {
                    return Err(Ended::Unwanted);
                }
            }
            // It does not renew the lease: a proxy that talks nonsense is as good as silent.
            Err(error) => tracing::warn!(%error, "a line of the status stream cannot be read"),
        }
    }
}

fn explain(socket: &Path, error: &io::Error) -> String {
    format!("nobody answers at {}: {error}", socket.display())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use tokio::{io::AsyncWriteExt, net::UnixListener};

    use super::*;

    const LINE: &str = r#"{"seq":41,"generation":7,"pid":4242,"state":"ready","reason":"","connections":812,"vips":{"203.0.113.10/32":"ready","0.0.0.0/0":"failing"},"lease_ms":3000}"#;

    #[test]
    fn a_line_is_read_and_what_is_new_in_it_is_passed_over() {
        let line = parse(LINE.as_bytes()).unwrap();
        assert_eq!((line.generation, line.connections), (7, 812));
        assert_eq!(line.state, ProxyState::Ready);
        assert_eq!(line.lease, Duration::from_secs(3));
        assert_eq!(line.vips.len(), 1);
        let odd = parse(br#"{"state":"melting","lease_ms":1,"new":{"a":[1]}}"#).unwrap();
        assert_eq!(odd.state, ProxyState::Unknown);
        assert_eq!(odd.lease, LEASES.0);
        for wrong in ["", "{}", "[]", "{\"lease_ms\":-1}", "ready"] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_new_generation_changes_nothing_and_nobody_is_death() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (sender, mut events) = mpsc::channel(8);
        let task = tokio::spawn(follow(path.clone(), sender));
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream
                .write_all(format!("{LINE}\n").as_bytes())
                .await
                .unwrap();
            assert!(matches!(events.recv().await, Some(Event::Line(_))));
            // Its end is no event as long as somebody answers.
        }
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        drop(stream);
        let event = events.recv().await;
        assert!(matches!(event, Some(Event::Gone(_))), "{event:?}");
        std::fs::remove_file(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(format!("{LINE}\n").as_bytes())
            .await
            .unwrap();
        assert!(matches!(events.recv().await, Some(Event::Line(_))));
        task.abort();
    }

    #[tokio::test]
    async fn a_stream_that_says_nothing_is_death_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (sender, mut events) = mpsc::channel(8);
        let task = tokio::spawn(follow(path, sender));
        let closer = tokio::spawn(async move {
            loop {
                drop(listener.accept().await.unwrap());
            }
        });
        assert!(matches!(events.recv().await, Some(Event::Gone(_))));
        task.abort();
        closer.abort();
    }
}
