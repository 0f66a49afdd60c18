//! The thread that gives guests their ticks and queues, and rebuilds those that crashed, off the request path.

use std::{
    sync::{OnceLock, Weak},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use crate::host::Host;

/// How long it sleeps when nothing is due; wakes come sooner.
const IDLE: Duration = Duration::from_millis(500);

/// Wakes the thread, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Waker {
    thread: OnceLock<Thread>,
}

impl Waker {
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// Starts the thread. It ends when the host is dropped.
pub(crate) fn start(host: Weak<Host>, waker: &Waker) -> std::io::Result<()> {
    let thread = thread::Builder::new()
        .name("plugin-chores".into())
        .spawn(move || {
            loop {
                let next = match host.upgrade() {
                    Some(host) => host.run_due(Instant::now()),
                    None => return,
                };
                let wait = next.map_or(IDLE, |at| {
                    at.saturating_duration_since(Instant::now()).min(IDLE)
                });
                // An unpark since the last round ends this at once: nothing is missed between the two lines.
                thread::park_timeout(wait);
            }
        })?;
    _ = waker.thread.set(thread.thread().clone());
    Ok(())
}
