//! What the policy is told once, at the start.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;

/// How often, and for how long, something must hold before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Successes in a row until it is up. At least 1.
    pub rise: u32,
    /// Failures in a row until it is down. At least 1.
    pub fall: u32,
}

/// A check: its counts, and after which silence of its prober it counts as down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSettings {
    /// What people call it: the URL, the path, the command.
    pub name: String,
    /// When it turns.
    pub counts: Counts,
    /// The longest time between two results: a frozen prober must not keep a route alive.
    pub lease: Duration,
}

/// What a node-wide check may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It looks at this node only: its failure withdraws.
    Local,
    /// It looks at something that other PoPs share: its failure degrades, and never withdraws.
    Shared,
}

/// A check of the node, for all its VIPs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCheckSettings {
    /// The check.
    pub check: CheckSettings,
    /// What its failure does.
    pub scope: Scope,
}

/// A VIP and what must hold for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipSettings {
    /// The prefix that is announced.
    pub prefix: IpNet,
    /// The addresses of it that the proxy serves.
    pub addresses: Vec<IpAddr>,
    /// Probes of its data path, all of which must be up.
    pub checks: Vec<CheckSettings>,
}

/// The drain's steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// How long connections from before the drain may take.
    pub deadline: Duration,
    /// How many open connections count as none.
    pub connections: u64,
    /// How long new connections are dropped in silence while still announced.
    pub quiesce: Duration,
    /// How long the route stands with `GRACEFUL_SHUTDOWN` (RFC 8326) before it is withdrawn.
    pub lead: Duration,
}

/// How long a VIP that failed stays away after it has recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldDown {
    /// After the second failure; each further one doubles it. The first costs nothing.
    pub base: Duration,
    /// Never longer than this.
    pub max: Duration,
    /// Announced for so long without a failure, the count starts anew.
    pub forget: Duration,
}

/// How many withdrawals by checks the agent allows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardSettings {
    /// At most so many within the window; at least 1.
    pub withdrawals: u32,
    /// The window.
    pub window: Duration,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The VIPs.
    pub vips: Vec<VipSettings>,
    /// The node's checks.
    pub checks: Vec<NodeCheckSettings>,
    /// Lines of the status stream until the proxy counts as serving, or as failing.
    pub proxy: Counts,
    /// The drain.
    pub drain: DrainSettings,
    /// The hold-down.
    pub hold_down: HoldDown,
    /// The guard.
    pub guard: GuardSettings,
}
