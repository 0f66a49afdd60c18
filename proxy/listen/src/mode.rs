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
pub(crate) struct ModeWatch(watch::Receiver<Mode>);

impl ModeWatch {
    pub(crate) fn new(receiver: watch::Receiver<Mode>) -> Self {
        Self(receiver)
    }

    /// Whether connections are to end.
    pub(crate) fn leaving(&self) -> bool {
        *self.0.borrow() != Mode::Serve
    }

    /// Waits until connections are to end. A sender that is gone changes nothing any more: pending for good.
    pub(crate) async fn until_leaving(mut self) {
        if self.0.wait_for(|mode| *mode != Mode::Serve).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the listener is to stop; pending for good when the sender is gone.
    pub(crate) async fn until_stopped(mut self) {
        if self.0.wait_for(|mode| *mode == Mode::Stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
