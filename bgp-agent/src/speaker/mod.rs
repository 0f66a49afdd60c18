//! Who says to the routers what is announced: one trait, three backends.
//!
//! A speaker is told the whole table every time and finds out itself what changed: nothing is sent
//! twice, and nothing is withdrawn that was never announced.

mod bird;
mod exabgp;
pub mod native;
mod relay;
mod silent;

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use bird::Bird;
pub use exabgp::Exabgp;
pub use native::Native;
pub use silent::Silent;

use crate::document::{Community, LargeCommunity, NextHop};

/// A prefix's attributes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The next hop.
    pub next_hop: NextHop,
    /// Communities, RFC 1997; sorted, each once.
    pub communities: Vec<Community>,
    /// Large communities, RFC 8092; sorted, each once.
    pub large_communities: Vec<LargeCommunity>,
    /// How many times more the AS is in the path.
    pub prepend: u16,
    /// `MULTI_EXIT_DISC`, if any.
    pub med: Option<u32>,
    /// `LOCAL_PREF`, for iBGP.
    pub local_pref: u32,
}

/// All that is announced.
pub type Table = BTreeMap<IpNet, Route>;

/// What a speaker's method promises.
pub type Promise<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a speaker ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Close {
    /// With a NOTIFICATION Cease / Administrative Shutdown and this reason (RFC 9003).
    Cease(String),
    /// Without a word, so that a router with graceful restart keeps the routes.
    Silent,
}

/// How a neighbour, or the daemon in between, is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its address, or its name.
    pub name: String,
    /// Its AS; 0 where there is none.
    pub asn: u32,
    /// The state of RFC 4271 §8, or `up` and `down`.
    pub state: String,
    /// Sessions that came to be.
    pub established: u64,
    /// Prefixes announced to it now.
    pub announced: u64,
    /// Prefixes it announces, which are ignored.
    pub received: u64,
    /// UPDATE messages, or commands, sent.
    pub updates: u64,
    /// Malformed UPDATEs received that were treated as withdrawals (RFC 7606).
    pub malformed: u64,
    /// What ended the last session, or why there is none.
    pub last_error: String,
    /// Prefixes that cannot be announced to it, and why.
    pub refused: Vec<String>,
}

/// Says to routers what is announced.
pub trait Speaker: Send + Sync {
    /// Announces this and nothing else. Returns at once.
    fn say(&self, table: Arc<Table>);

    /// Resolves when everything said before is on its way to every router that has a session.
    fn flushed(&self) -> Promise<'_, ()>;

    /// How the neighbours are doing.
    fn peers(&self) -> Vec<Peer>;

    /// Ends every session.
    fn close(&self, how: Close) -> Promise<'_, ()>;
}

/// A table and its number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) revision: u64,
    pub(crate) table: Arc<Table>,
}

/// The last thing said, for the tasks that say it on.
#[derive(Debug)]
pub(crate) struct Mouth(watch::Sender<Said>);

impl Mouth {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Said::default()))
    }

    pub(crate) fn say(&self, table: Arc<Table>) {
        self.0.send_modify(|said| {
            said.revision += 1;
            said.table = table;
        });
    }

    pub(crate) fn revision(&self) -> u64 {
        self.0.borrow().revision
    }

    pub(crate) fn listen(&self) -> watch::Receiver<Said> {
        self.0.subscribe()
    }
}
