//! What goes into the policy and what comes out.

use std::{collections::BTreeMap, fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// Where the proxy says it stands. The words are those of the status stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyState {
    /// Not serving yet.
    Starting,
    /// Serving.
    Ready,
    /// Serving, and asking its clients to come back on new connections.
    Bleeding,
    /// Serving what is open; new connections are dropped in silence.
    Quiescing,
    /// Serving nothing any more.
    Drained,
    /// Not able to serve.
    Failing,
    /// A word that this version does not know; counts as failing.
    #[serde(other)]
    #[default]
    Unknown,
}

impl fmt::Display for ProxyState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Bleeding => "bleeding",
            Self::Quiescing => "quiescing",
            Self::Drained => "drained",
            Self::Failing => "failing",
            Self::Unknown => "unknown",
        })
    }
}

/// One line of the status stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which proxy process.
    pub generation: u64,
    /// Its state.
    pub state: ProxyState,
    /// Why, in its words.
    pub reason: String,
    /// Open client connections.
    pub connections: u64,
    /// Those of them that are older than the drain, where the proxy tells.
    pub old_connections: Option<u64>,
    /// States by address, where they differ.
    pub vips: BTreeMap<IpAddr, ProxyState>,
    /// For how long this line holds.
    pub lease: Duration,
}

/// Who wants the drain. It goes on while anybody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `anypop-bgp drain`.
    Operator,
    /// The drain file.
    File,
    /// The proxy: `anypop drain`, or SIGTERM to it.
    Proxy,
    /// The agent is told to end.
    Exit,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing but time passing; due at [`Policy::next_deadline`](super::Policy::next_deadline).
    Tick,
    /// A line of the status stream.
    Line(Line),
    /// Nobody answers at the status socket.
    Gone(String),
    /// A probe of a VIP's data path has ended.
    Probed {
        /// Which VIP, by its place in the settings.
        vip: usize,
        /// Which of its checks.
        check: usize,
        /// What went wrong; `Ok` if nothing.
        result: Result<(), String>,
    },
    /// A check of the node has ended.
    Checked {
        /// Which, by its place in the settings.
        check: usize,
        /// What went wrong; `Ok` if nothing.
        result: Result<(), String>,
    },
    /// Whether the VIP's addresses are on an interface of this machine.
    Address {
        /// Which VIP.
        vip: usize,
        /// Whether they are.
        present: bool,
    },
    /// Somebody wants a drain. Whether the fleet permits it has been asked before.
    Drain {
        /// Who.
        source: Source,
        /// Why.
        reason: String,
    },
    /// Who wanted it does no longer.
    Undrain(Source),
    /// Withdraw everything now and end: exiting without a drain.
    Leave(String),
}

/// How a route is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As configured.
    Normal,
    /// With the attributes for a node that is not at its best.
    Degraded,
    /// With `GRACEFUL_SHUTDOWN`, about to be withdrawn.
    Shifting,
}

/// What the proxy is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// Bleed: serve on, and send clients to new connections.
    Bleed,
    /// Drop new connections in silence.
    Quiesce,
    /// Serve as before.
    Resume,
}

/// A drain's step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// No drain.
    None,
    /// Announced; the proxy sends its clients to new connections.
    Bleeding,
    /// Announced; the proxy drops new connections.
    Quiescing,
    /// Announced with `GRACEFUL_SHUTDOWN`.
    Shifting,
    /// Withdrawn.
    Drained,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::Bleeding => "bleeding",
            Self::Quiescing => "quiescing",
            Self::Shifting => "shifting",
            Self::Drained => "drained",
        })
    }
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Announce the VIP so, or change how it is announced.
    Announce {
        /// Which VIP.
        vip: usize,
        /// How.
        level: Level,
        /// Why.
        reason: String,
    },
    /// Withdraw the VIP.
    Withdraw {
        /// Which VIP.
        vip: usize,
        /// Why.
        reason: String,
    },
    /// Ask the proxy.
    AskProxy(Ask),
    /// The drain came to another step.
    Stepped {
        /// From.
        from: Step,
        /// To.
        to: Step,
        /// Why.
        reason: String,
        /// Connections that were open then, as the proxy last told.
        connections: u64,
    },
    /// A withdrawal that checks ask for is held back by the guard.
    Held {
        /// Which VIP.
        vip: usize,
        /// What the checks say.
        reason: String,
    },
    /// Everything is withdrawn and the agent may end.
    MayExit,
}
