//! The policy's standing, for people and programs.

use serde::{Deserialize, Serialize};

use super::{Level, Moment, Policy, Scope, Step};

/// Everything that `anypop-bgp status` shows of the policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The proxy.
    pub proxy: ProxySnapshot,
    /// The drain.
    pub drain: DrainSnapshot,
    /// The VIPs.
    pub vips: Vec<VipSnapshot>,
    /// The node's checks.
    pub checks: Vec<CheckSnapshot>,
}

/// The proxy, as the status stream shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProxySnapshot {
    /// Whether its lease holds.
    pub alive: bool,
    /// Its state, or `gone`.
    pub state: String,
    /// Why.
    pub reason: String,
    /// Which process.
    pub generation: u64,
    /// Open client connections.
    pub connections: u64,
}

/// The drain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainSnapshot {
    /// `none`, `bleeding`, `quiescing`, `shifting` or `drained`.
    pub step: String,
    /// For how long, in seconds.
    pub seconds: f64,
    /// Who wants it.
    pub sources: Vec<String>,
    /// Why.
    pub reason: String,
}

/// A VIP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VipSnapshot {
    /// Its prefix.
    pub prefix: String,
    /// `announced`, `degraded`, `draining` or `withdrawn`.
    pub state: String,
    /// Why.
    pub reason: String,
    /// For how long it has been announced or withdrawn, in seconds.
    pub seconds: f64,
    /// Failures that count for the hold-down.
    pub failures: u32,
    /// Seconds that the hold-down still lasts.
    pub hold_down: f64,
    /// Whether the guard holds a withdrawal back.
    pub held: bool,
    /// Whether its addresses are on an interface.
    pub address: bool,
    /// Its checks.
    pub checks: Vec<CheckSnapshot>,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckSnapshot {
    /// What it looks at.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// What its last failure said.
    pub detail: String,
    /// Whether its failure can withdraw.
    pub withdraws: bool,
}

impl Policy {
    /// What stands now.
    pub fn snapshot(&self, now: Moment) -> Snapshot {
        let line = self.proxy.line.as_ref();
        Snapshot {
            proxy: ProxySnapshot {
                alive: self.proxy.dead.is_none(),
                state: match (&self.proxy.dead, line) {
                    (None, Some(line)) => line.state.to_string(),
                    _ => "gone".to_owned(),
                },
                reason: self
                    .proxy
                    .dead
                    .clone()
                    .or_else(|| line.map(|line| line.reason.clone()))
                    .unwrap_or_default(),
                generation: line.map_or(0, |line| line.generation),
                connections: line.map_or(0, |line| line.connections),
            },
            drain: DrainSnapshot {
                step: self.drain.step().to_string(),
                seconds: now.saturating_sub(self.drain.since()).as_secs_f64(),
                sources: self
                    .drain
                    .sources()
                    .map(|source| format!("{source:?}").to_lowercase())
                    .collect(),
                reason: self.drain.reason(),
            },
            vips: (0..self.vips.len())
                .filter_map(|index| self.vip_snapshot(now, index))
                .collect(),
            checks: self
                .checks
                .iter()
                .map(|(scope, check)| CheckSnapshot {
                    name: check.settings.name.clone(),
                    up: check.standing.up(),
                    detail: check.detail.clone(),
                    withdraws: *scope == Scope::Local,
                })
                .collect(),
        }
    }

    /// A VIP's state in one word.
    pub fn vip_state(&self, index: usize) -> &'static str {
        match self.vips.get(index).and_then(|vip| vip.announced) {
            None => "withdrawn",
            Some(Level::Shifting) => "draining",
            Some(_) if self.step() != Step::None => "draining",
            Some(Level::Degraded) => "degraded",
            Some(Level::Normal) => "announced",
        }
    }

    fn vip_snapshot(&self, now: Moment, index: usize) -> Option<VipSnapshot> {
        let vip = self.vips.get(index)?;
        Some(VipSnapshot {
            prefix: vip.settings.prefix.to_string(),
            state: self.vip_state(index).to_owned(),
            reason: vip.reason.clone(),
            seconds: now.saturating_sub(vip.since).as_secs_f64(),
            failures: vip.failures(),
            hold_down: vip.hold_until().saturating_sub(now).as_secs_f64(),
            held: vip.held,
            address: vip.address == Some(true),
            checks: vip
                .checks
                .iter()
                .map(|check| CheckSnapshot {
                    name: check.settings.name.clone(),
                    up: check.standing.up(),
                    detail: check.detail.clone(),
                    withdraws: true,
                })
                .collect(),
        })
    }
}
