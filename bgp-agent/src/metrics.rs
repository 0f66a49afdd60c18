//! The agent's standing as Prometheus reads it (text format 0.0.4).

use std::fmt::Write as _;

use crate::status::Status;

/// States and steps that a series has one label value for each.
const VIP_STATES: [&str; 4] = ["withdrawn", "announced", "degraded", "draining"];
const STEPS: [&str; 5] = ["none", "bleeding", "quiescing", "shifting", "drained"];

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let mark = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{mark}{label}=\"{}\"", escape(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn alone(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counters that pass 2^53 lose their last digits, as in every Prometheus client"
)]
fn count(value: u64) -> f64 {
    value as f64
}

/// Renders everything.
pub fn render(status: &Status) -> String {
    let mut text = Text(String::new());
    vips(&mut text, status);
    proxy(&mut text, status);
    neighbors(&mut text, status);
    let counters = &status.counters;
    for (name, help, value) in [
        (
            "anypop_bgp_status_lines_total",
            "Lines of the status stream.",
            counters.lines,
        ),
        (
            "anypop_bgp_transitions_total",
            "Changes of state of VIPs.",
            counters.transitions,
        ),
        (
            "anypop_bgp_withdrawals_total",
            "Withdrawals of VIPs.",
            counters.withdrawals,
        ),
        (
            "anypop_bgp_held_total",
            "Withdrawals that the guard held back.",
            counters.held,
        ),
        (
            "anypop_bgp_cut_connections_total",
            "Connections open when a drain's route shifted.",
            counters.cut,
        ),
        (
            "anypop_bgp_hook_failures_total",
            "Hooks that failed, took too long or were not run.",
            counters.hook_failures,
        ),
    ] {
        text.alone(name, "counter", help, count(value));
    }
    text.0
}

fn vips(text: &mut Text, status: &Status) {
    let vips = &status.policy.vips;
    text.family(
        "anypop_bgp_vip_state",
        "gauge",
        "1 for the state that the VIP is in.",
    );
    for vip in vips {
        for state in VIP_STATES {
            let labels = [("prefix", vip.prefix.as_str()), ("state", state)];
            text.sample("anypop_bgp_vip_state", &labels, flag(vip.state == state));
        }
    }
    text.family(
        "anypop_bgp_vip_hold_down_seconds",
        "gauge",
        "How long the VIP must still stay away.",
    );
    for vip in vips {
        text.sample(
            "anypop_bgp_vip_hold_down_seconds",
            &[("prefix", &vip.prefix)],
            vip.hold_down,
        );
    }
    text.family(
        "anypop_bgp_vip_held",
        "gauge",
        "1 while the guard holds a withdrawal back.",
    );
    for vip in vips {
        text.sample(
            "anypop_bgp_vip_held",
            &[("prefix", &vip.prefix)],
            flag(vip.held),
        );
    }
    text.family(
        "anypop_bgp_check_up",
        "gauge",
        "Whether a check is up; without a prefix, one of the node.",
    );
    for vip in vips {
        for check in &vip.checks {
            let labels = [
                ("prefix", vip.prefix.as_str()),
                ("check", check.name.as_str()),
            ];
            text.sample("anypop_bgp_check_up", &labels, flag(check.up));
        }
    }
    for check in &status.policy.checks {
        text.sample(
            "anypop_bgp_check_up",
            &[("check", &check.name)],
            flag(check.up),
        );
    }
}

fn proxy(text: &mut Text, status: &Status) {
    let policy = &status.policy;
    text.alone(
        "anypop_bgp_proxy_alive",
        "gauge",
        "Whether the proxy's lease holds.",
        flag(policy.proxy.alive),
    );
    text.alone(
        "anypop_bgp_proxy_connections",
        "gauge",
        "Open client connections, as the proxy last told.",
        count(policy.proxy.connections),
    );
    text.family(
        "anypop_bgp_drain_step",
        "gauge",
        "1 for the step that the drain is at.",
    );
    for step in STEPS {
        text.sample(
            "anypop_bgp_drain_step",
            &[("step", step)],
            flag(policy.drain.step == step),
        );
    }
}

fn neighbors(text: &mut Text, status: &Status) {
    type Value = fn(&crate::speaker::Peer) -> f64;
    let families: [(&str, &str, &str, Value); 6] = [
        (
            "anypop_bgp_neighbor_up",
            "gauge",
            "Whether there is a session, or the daemon takes routes.",
            |peer| flag(peer.state == "established" || peer.state == "up"),
        ),
        (
            "anypop_bgp_neighbor_sessions_total",
            "counter",
            "Sessions that came to be.",
            |peer| count(peer.established),
        ),
        (
            "anypop_bgp_neighbor_announced",
            "gauge",
            "Prefixes announced to it now.",
            |peer| count(peer.announced),
        ),
        (
            "anypop_bgp_neighbor_received",
            "gauge",
            "Prefixes it announces, which are ignored.",
            |peer| count(peer.received),
        ),
        (
            "anypop_bgp_neighbor_updates_total",
            "counter",
            "UPDATEs, or commands, sent.",
            |peer| count(peer.updates),
        ),
        (
            "anypop_bgp_neighbor_malformed_total",
            "counter",
            "Malformed UPDATEs received (RFC 7606).",
            |peer| count(peer.malformed),
        ),
    ];
    for (name, kind, help, value) in families {
        text.family(name, kind, help);
        for peer in &status.peers {
            text.sample(name, &[("neighbor", &peer.name)], value(peer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text(String::new());
        text.sample("x", &[("a", "say \"hi\"\n"), ("b", "\\")], 1.0);
        assert_eq!(text.0, "x{a=\"say \\\"hi\\\"\\n\",b=\"\\\\\"} 1\n");
    }
}
