//! The states a proxy goes through, and who is told.

use std::{fmt, sync::Arc, time::Instant};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

/// Where a proxy process stands. The words are those of the status stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not serving yet.
    Starting,
    /// Serving.
    Ready,
    /// Still serving, and asking its clients to come back on new connections.
    Bleeding,
    /// No open connection is left; the process may end.
    Drained,
    /// It cannot serve.
    Failing,
}

impl State {
    /// Whether new requests are answered: what `/readyz` says.
    pub fn serves(self) -> bool {
        matches!(self, State::Ready | State::Bleeding)
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            State::Starting => "starting",
            State::Ready => "ready",
            State::Bleeding => "bleeding",
            State::Drained => "drained",
            State::Failing => "failing",
        })
    }
}

/// A state, why, and since when.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The state.
    pub state: State,
    /// Why, for people; empty where the state says it all.
    pub reason: Arc<str>,
    /// Counts the changes, from 1.
    pub seq: u64,
    /// When it began.
    pub since: Instant,
}

/// The one place where the state changes. Everybody else watches.
#[derive(Debug)]
pub struct Lifecycle {
    standing: watch::Sender<Standing>,
    changing: Mutex<()>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        let (standing, _) = watch::channel(Standing {
            state: State::Starting,
            reason: Arc::from(""),
            seq: 1,
            since: Instant::now(),
        });
        Self {
            standing,
            changing: Mutex::new(()),
        }
    }
}

impl Lifecycle {
    /// Moves to `state`; the same state with the same reason is no change.
    pub fn change(&self, state: State, reason: &str) {
        let _one_at_a_time = self.changing.lock();
        self.standing.send_if_modified(|standing| {
            if standing.state == state && &*standing.reason == reason {
                return false;
            }
            tracing::info!(from = %standing.state, to = %state, reason, "state changed");
            *standing = Standing {
                state,
                reason: Arc::from(reason),
                seq: standing.seq + 1,
                since: Instant::now(),
            };
            true
        });
    }

    /// The state now.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Resolves at every change.
    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watcher_sees_every_change_and_no_repetition() {
        let lifecycle = Lifecycle::default();
        let mut watcher = lifecycle.watch();
        assert_eq!(watcher.borrow_and_update().state, State::Starting);
        lifecycle.change(State::Ready, "");
        assert!(watcher.changed().await.is_ok());
        assert_eq!(watcher.borrow_and_update().seq, 2);
        lifecycle.change(State::Ready, "");
        assert_eq!(watcher.has_changed().ok(), Some(false));
        lifecycle.change(State::Bleeding, "SIGTERM");
        assert!(watcher.has_changed().is_ok_and(|changed| changed));
        assert!(lifecycle.standing().state.serves());
    }
}
