//! How far a node is on its way out.

use tokio::sync::watch;

/// What the listeners do; the edge sends it over a `watch` channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Connections are accepted and kept.
    #[default]
    Serve,
    /// Connections are accepted, and serve one request each: responses carry `Connection: close`, HTTP/2 gets GOAWAY, idle connections close.
    Bleed,
    /// As `Bleed`, and no connection is accepted any more.
    Stop,
}

/// A connection's view of the [`Mode`].
#[derive(Clone, Debug)]
pub(crate) struct ModeWatch {
    receiver: watch::Receiver<Mode>,
    leaving: bool,
    changes: u32,
}

impl ModeWatch {
    pub(crate) fn new(mut receiver: watch::Receiver<Mode>) -> Self {
        let leaving = *receiver.borrow_and_update() != Mode::Serve;
        Self {
            receiver,
            leaving,
            changes: 0,
        }
    }

    /// Whether connections are to end. Asked for every request: one load while nothing changes, where a look at the value would
    /// take a lock that all connections share.
    pub(crate) fn leaving(&mut self) -> bool {
        // A sender that is gone may have said something last.
        if self.receiver.has_changed().unwrap_or(true) {
            self.leaving = *self.receiver.borrow_and_update() != Mode::Serve;
            self.changes = self.changes.wrapping_add(1);
        }
        self.leaving
    }

    /// Counts the changes that [`leaving`](Self::leaving) has noticed.
    pub(crate) fn changes(&self) -> u32 {
        self.changes
    }

    /// Waits until connections are to end. A sender that is gone changes nothing any more: pending for good.
    pub(crate) async fn until_leaving(mut self) {
        if self
            .receiver
            .wait_for(|mode| *mode != Mode::Serve)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the listener is to stop; pending for good when the sender is gone.
    pub(crate) async fn until_stopped(mut self) {
        if self
            .receiver
            .wait_for(|mode| *mode == Mode::Stop)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }
}
