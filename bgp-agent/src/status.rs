//! What `anypop-bgp status` shows, for programs and for people.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{policy::Snapshot, speaker::Peer};

/// The agent's standing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// For how long it has been running, in seconds.
    pub uptime: f64,
    /// Whether it speaks to nobody.
    pub dry_run: bool,
    /// Health, policy, announcements.
    pub policy: Snapshot,
    /// The routers, or the daemon in between.
    pub peers: Vec<Peer>,
    /// Counters since the start.
    pub counters: Counters,
}

/// Counters since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Lines of the status stream.
    pub lines: u64,
    /// VIPs' changes of state.
    pub transitions: u64,
    /// Withdrawals.
    pub withdrawals: u64,
    /// Withdrawals that the guard held back.
    pub held: u64,
    /// Connections that were open when a drain's route shifted.
    pub cut: u64,
    /// Hooks that did not end well.
    pub hook_failures: u64,
}

impl Status {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let policy = &self.policy;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "proxy     {}{}, {} connections",
            policy.proxy.state,
            bracket(&policy.proxy.reason),
            policy.proxy.connections
        );
        if policy.drain.step != "none" {
            let _ = writeln!(
                text,
                "drain     {} for {:.1} s, wanted by {}{}",
                policy.drain.step,
                policy.drain.seconds,
                policy.drain.sources.join(" and "),
                bracket(&policy.drain.reason)
            );
        }
        for vip in &policy.vips {
            let _ = writeln!(
                text,
                "vip       {} {} for {:.1} s{}{}",
                vip.prefix,
                vip.state,
                vip.seconds,
                bracket(&vip.reason),
                if vip.held { ", held by the guard" } else { "" }
            );
            for check in &vip.checks {
                let up = if check.up { "up" } else { "down" };
                let _ = writeln!(
                    text,
                    "  check   {} {up}{}",
                    check.name,
                    bracket(&check.detail)
                );
            }
        }
        for check in &policy.checks {
            let up = if check.up { "up" } else { "down" };
            let _ = writeln!(
                text,
                "check     {} {up}{}",
                check.name,
                bracket(&check.detail)
            );
        }
        for peer in &self.peers {
            let _ = writeln!(
                text,
                "neighbour {} {}, {} announced, {} received{}",
                peer.name,
                peer.state,
                peer.announced,
                peer.received,
                bracket(&peer.last_error)
            );
            for refusal in &peer.refused {
                let _ = writeln!(text, "  refused {refusal}");
            }
        }
        if self.dry_run {
            text.push_str("dry run: nobody is spoken to\n");
        }
        text
    }
}

fn bracket(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(" ({reason})")
    }
}
