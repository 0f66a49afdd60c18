//! A point in a script that waits for the test, and that the test can wait for.

use std::sync::Arc;

use tokio::sync::watch;

/// A gate: a script stops at it until the test opens it. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    open: watch::Sender<bool>,
    reached: watch::Sender<usize>,
}

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Inner {
            open: watch::Sender::new(false),
            reached: watch::Sender::new(0),
        }))
    }
}

impl Gate {
    /// A closed gate that nobody stands at.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.open.send_replace(true);
    }

    /// Waits until `count` scripts have come to this gate.
    ///
    /// # Panics
    /// When they have not within the deadline.
    pub async fn reached(&self, count: usize) {
        let mut reached = self.0.reached.subscribe();
        crate::within(
            "a script at the gate",
            reached.wait_for(|seen| *seen >= count),
        )
        .await
        .unwrap();
    }

    pub(crate) async fn pass(&self) {
        self.0.reached.send_modify(|seen| *seen += 1);
        // The sender lives in `self`, so this ends only by the gate being opened.
        let _ = self.0.open.subscribe().wait_for(|open| *open).await;
    }
}
