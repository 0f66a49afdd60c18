//! What is run when a VIP changes its state.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, time::timeout};

use crate::probe::run_command;

/// More transitions than this waiting for a hook are not worth one each.
const WAITING: usize = 64;

/// A VIP's change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The VIP's prefix.
    pub prefix: String,
    /// The state before.
    pub from: &'static str,
    /// The state after.
    pub to: &'static str,
    /// Why.
    pub reason: String,
}

/// Runs the hook, one after the other and never in the way of an announcement.
#[derive(Debug)]
pub struct Hooks {
    queue: Option<mpsc::Sender<Transition>>,
    failures: Arc<AtomicU64>,
}

impl Hooks {
    /// With this command; none at all if it is empty. Must be called within a tokio runtime.
    pub fn start(command: Vec<String>, patience: Duration) -> Self {
        let failures = Arc::new(AtomicU64::new(0));
        let queue = (!command.is_empty()).then(|| {
            let (sender, queue) = mpsc::channel(WAITING);
            tokio::spawn(run(command, patience, queue, failures.clone()));
            sender
        });
        Self { queue, failures }
    }

    /// Has the hook run for this.
    pub fn tell(&self, transition: Transition) {
        if let Some(queue) = &self.queue
            && queue.try_send(transition).is_err()
        {
            self.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("a transition's hook is not run: too many are waiting");
        }
    }

    /// How many did not end well.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

async fn run(
    command: Vec<String>,
    patience: Duration,
    mut queue: mpsc::Receiver<Transition>,
    failures: Arc<AtomicU64>,
) {
    while let Some(transition) = queue.recv().await {
        let environment = [
            ("ANYPOP_PREFIX", transition.prefix),
            ("ANYPOP_FROM", transition.from.to_owned()),
            ("ANYPOP_TO", transition.to.to_owned()),
            ("ANYPOP_REASON", transition.reason),
        ];
        let ended = timeout(patience, run_command(&command, &environment))
            .await
            .unwrap_or_else(|_| Err(format!("took longer than {patience:?}")));
        if let Err(error) = ended {
            failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(error, "a transition's hook failed");
        }
    }
}
