//! What the backends for other daemons share: a task that hands the newest table on until it takes.

use std::{io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{Mouth, Peer, Promise, Said, Table};

/// The wait after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How long the daemon may take over one table.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hands a table to a daemon.
pub(super) trait Outlet: Send + 'static {
    /// Makes the daemon announce this and nothing else; returns how many commands that took.
    fn put<'a>(&'a mut self, table: &'a Table) -> Promise<'a, io::Result<u64>>;
}

/// The task and what it knows.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) mouth: Mouth,
    peer: Arc<Mutex<Peer>>,
    done: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts it. For `patience` an empty table is not handed on: what the daemon has from before may
    /// still be right.
    pub(super) fn start(name: String, outlet: impl Outlet, patience: Duration) -> Self {
        let mouth = Mouth::new();
        let peer = Arc::new(Mutex::new(Peer {
            name,
            state: "down".to_owned(),
            ..Peer::default()
        }));
        let (sender, done) = watch::channel(0);
        let task = tokio::spawn(run(mouth.listen(), outlet, peer.clone(), sender, patience));
        Self {
            mouth,
            peer,
            done,
            task,
        }
    }

    pub(super) fn peer(&self) -> Peer {
        self.peer.lock().clone()
    }

    pub(super) async fn flushed(&self) {
        let revision = self.mouth.revision();
        let _ = self.done.clone().wait_for(|done| *done >= revision).await;
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

async fn run(
    mut table: watch::Receiver<Said>,
    mut outlet: impl Outlet,
    peer: Arc<Mutex<Peer>>,
    done: watch::Sender<u64>,
    patience: Duration,
) {
    let _ = timeout(patience, table.wait_for(|said| !said.table.is_empty())).await;
    loop {
        let said = table.borrow_and_update().clone();
        let put = timeout(PATIENCE, outlet.put(&said.table)).await;
        let error = match put {
            Ok(Ok(commands)) => {
                {
                    let mut peer = peer.lock();
                    if peer.state != "up" {
                        peer.established += 1;
                        tracing::info!(daemon = peer.name, "the daemon takes routes");
                    }
                    "up".clone_into(&mut peer.state);
                    peer.last_error.clear();
                    peer.updates += commands;
                    peer.announced = said.table.len() as u64;
                }
                done.send_replace(said.revision);
                if table.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        {
            let mut peer = peer.lock();
            if peer.last_error != error {
                tracing::error!(daemon = peer.name, error, "the daemon does not take routes");
            }
            "down".clone_into(&mut peer.state);
            peer.last_error = error;
        }
        // A newer table is worth a try at once.
        let _ = timeout(RETRY, table.changed()).await;
        sleep(Duration::from_millis(10)).await;
    }
}
