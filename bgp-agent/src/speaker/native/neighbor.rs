//! One neighbour's task: connect, keep the session, try again.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    super::{Close, Peer, Said},
    Neighbor,
    session::{End, Session},
    socket,
};

/// What the rest of the agent may see of it.
#[derive(Debug)]
pub(super) struct Shared {
    peer: Mutex<Peer>,
    /// The last table that is on its way to the router; none while there is no session.
    out: watch::Sender<Option<u64>>,
}

impl Shared {
    pub(super) fn new(config: &Neighbor) -> Self {
        Self {
            peer: Mutex::new(Peer {
                name: config.address.ip().to_string(),
                asn: config.asn,
                state: "idle".to_owned(),
                ..Peer::default()
            }),
            out: watch::Sender::new(None),
        }
    }

    pub(super) fn peer(&self) -> Peer {
        self.peer.lock().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Peer)) {
        change(&mut self.peer.lock());
    }

    pub(super) fn out(&self) -> watch::Receiver<Option<u64>> {
        self.out.subscribe()
    }

    pub(super) fn sent(&self, revision: u64) {
        self.out.send_replace(Some(revision));
    }

    /// The session is over.
    pub(super) fn down(&self, error: &str) {
        self.out.send_replace(None);
        self.change(|peer| {
            peer.state = "idle".to_owned();
            peer.announced = 0;
            peer.received = 0;
            peer.refused.clear();
            error.clone_into(&mut peer.last_error);
        });
    }
}

/// Runs until the speaker is closed.
pub(super) async fn run(
    config: Neighbor,
    mut table: watch::Receiver<Said>,
    mut closing: watch::Receiver<Option<Close>>,
    shared: Arc<Shared>,
) {
    if config.graceful_restart > 0 {
        // The router may still hold our routes as stale ones. Coming back with an empty table would
        // drop them: wait until there is something to say, for half the time that it waits.
        let patience = Duration::from_secs(u64::from(config.graceful_restart)) / 2;
        tokio::select! {
            () = said_something(&mut table, patience) => {}
            _ = closed(&mut closing) => return,
        }
    }
    let mut first = true;
    loop {
        let attempt = async {
            shared.change(|peer| "connect".clone_into(&mut peer.state));
            socket::connect(&config).await
        };
        let connected = tokio::select! {
            connected = attempt => connected,
            _ = closed(&mut closing) => return,
        };
        let error = match connected {
            Err(error) => error.to_string(),
            Ok(stream) => {
                let session = Session::new(
                    &config,
                    stream,
                    table.clone(),
                    closing.clone(),
                    &shared,
                    first,
                );
                match session.run(&mut first).await {
                    End::Closed => {
                        shared.down("closed");
                        return;
                    }
                    End::Failed(error) => error,
                }
            }
        };
        if shared.peer().last_error != error {
            tracing::warn!(neighbor = %config.address, error, "no BGP session");
        }
        shared.down(&error);
        tokio::select! {
            () = sleep(config.connect_retry) => {}
            _ = closed(&mut closing) => return,
        }
    }
}

/// Resolves when the speaker is to be closed, and says how.
pub(super) async fn closed(closing: &mut watch::Receiver<Option<Close>>) -> Option<Close> {
    let how = closing.wait_for(Option::is_some).await;
    how.ok().and_then(|how| how.clone())
}

async fn said_something(table: &mut watch::Receiver<Said>, patience: Duration) {
    let _ = timeout(patience, table.wait_for(|said| !said.table.is_empty())).await;
}
