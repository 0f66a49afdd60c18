//! BGP-4 by the agent itself: it connects to routers, announces, and believes nothing they say.

mod adjacency;
mod codec;
mod neighbor;
mod session;
mod socket;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet};

use super::{Close, Mouth, Peer, Promise, Speaker, Table};
use neighbor::Shared;

pub use codec::{Outbound, Updates, decode};

/// A router to speak to.
#[derive(Clone, Debug)]
pub struct Neighbor {
    /// Where it is.
    pub address: SocketAddr,
    /// Its AS.
    pub asn: u32,
    /// The agent's AS.
    pub local_asn: u32,
    /// The agent's BGP identifier.
    pub router_id: Ipv4Addr,
    /// The TCP-MD5 password (RFC 2385).
    pub password: Option<Vec<u8>>,
    /// GTSM (RFC 5082).
    pub ttl_security: bool,
    /// The TTL of packets sent.
    pub ttl: Option<u8>,
    /// The address to connect from.
    pub source: Option<IpAddr>,
    /// The hold time that is proposed, whole seconds.
    pub hold_time: u16,
    /// The wait between tries.
    pub connect_retry: Duration,
    /// `TCP_USER_TIMEOUT`.
    pub user_timeout: Duration,
    /// The restart time of RFC 4724 in seconds; 0: off.
    pub graceful_restart: u16,
    /// How many prefixes the router may announce.
    pub max_received: usize,
}

/// The native speaker.
#[derive(Debug)]
pub struct Native {
    mouth: Mouth,
    closing: watch::Sender<Option<Close>>,
    neighbors: Vec<Arc<Shared>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Native {
    /// Starts to connect to the neighbours. Must be called within a tokio runtime.
    pub fn start(neighbors: Vec<Neighbor>) -> Self {
        let mouth = Mouth::new();
        let closing = watch::Sender::new(None);
        let mut tasks = JoinSet::new();
        let neighbors = neighbors
            .into_iter()
            .map(|config| {
                let shared = Arc::new(Shared::new(&config));
                tasks.spawn(neighbor::run(
                    config,
                    mouth.listen(),
                    closing.subscribe(),
                    shared.clone(),
                ));
                shared
            })
            .collect();
        Self {
            mouth,
            closing,
            neighbors,
            tasks: Mutex::new(tasks),
        }
    }
}

impl Speaker for Native {
    fn say(&self, table: Arc<Table>) {
        self.mouth.say(table);
    }

    fn flushed(&self) -> Promise<'_, ()> {
        let revision = self.mouth.revision();
        Box::pin(async move {
            for neighbor in &self.neighbors {
                let mut out = neighbor.out();
                // No session: the router has nothing of ours to be told about.
                let _ = out
                    .wait_for(|out| out.is_none_or(|out| out >= revision))
                    .await;
            }
        })
    }

    fn peers(&self) -> Vec<Peer> {
        self.neighbors.iter().map(|shared| shared.peer()).collect()
    }

    fn close(&self, how: Close) -> Promise<'_, ()> {
        self.closing.send_replace(Some(how));
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        Box::pin(async move { while tasks.join_next().await.is_some() {} })
    }
}
