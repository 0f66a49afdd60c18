//! What the agent looks at itself: each VIP's data path by HTTP(S), and the node.

mod http;
mod node;
mod tls;

use std::{future::Future, time::Duration};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

pub use http::HttpProbe;
pub use node::{NodeProbe, run_command};
pub use tls::roots;

use crate::policy::Event;

/// Runs `probe` every `every`, each time for at most `patience`, and tells the results.
pub async fn watch<F>(
    every: Duration,
    patience: Duration,
    mut probe: impl FnMut() -> F,
    event: impl Fn(Result<(), String>) -> Event,
    events: mpsc::Sender<Event>,
) where
    F: Future<Output = Result<(), String>>,
{
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let result = timeout(patience, probe())
            .await
            .unwrap_or_else(|_| Err(format!("no result within {patience:?}")));
        if events.send(event(result)).await.is_err() {
            return;
        }
    }
}
