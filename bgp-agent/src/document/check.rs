//! What each key alone cannot show.

use std::{collections::BTreeSet, net::IpAddr, path::Path, time::Duration};

use super::{Document, Neighbor, NextHop, NodeCheck, OnExit, Probe, SpeakerKind, Vip};

/// More attributes than this have no use and could make a message too long.
const MAX_COMMUNITIES: usize = 64;
/// RFC 2385's keys are as long as the kernel takes.
const MAX_PASSWORD: usize = 80;

type Found<'a> = dyn FnMut(String, String) + 'a;

/// Calls `found` with key and message for everything that is wrong. Files that are named are looked
/// up relative to `folder`.
pub fn check(document: &Document, folder: &Path, found: &mut Found<'_>) {
    agent(document, found);
    speaker(document, found);
    for (index, neighbor) in document.neighbor.iter().enumerate() {
        self::neighbor(
            document,
            folder,
            &format!("neighbor[{index}]"),
            neighbor,
            found,
        );
    }
    let mut seen = BTreeSet::new();
    for (index, vip) in document.vip.iter().enumerate() {
        let key = format!("vip[{index}]");
        if !seen.insert(vip.prefix) {
            found(format!("{key}.prefix"), "given twice".to_owned());
        }
        self::vip(document, folder, &key, vip, found);
    }
    for (index, check) in document.check.iter().enumerate() {
        node_check(&format!("check[{index}]"), check, found);
    }
    at_least_one("proxy.rise", document.proxy.rise, found);
    at_least_one("proxy.fall", document.proxy.fall, found);
    at_least_one("guard.withdrawals", document.guard.withdrawals, found);
    if document.hold_down.max < document.hold_down.base {
        found(
            "hold_down.max".to_owned(),
            "less than hold_down.base".to_owned(),
        );
    }
    if document.guard.min_pops > 0 && document.guard.pops_file.is_none() {
        found(
            "guard.min_pops".to_owned(),
            "needs guard.pops_file, which says how many PoPs are announced".to_owned(),
        );
    }
    if document.guard.min_pops > 0 && document.agent.pop.is_empty() {
        found(
            "guard.min_pops".to_owned(),
            "needs agent.pop, so that this PoP is not counted among the others".to_owned(),
        );
    }
}

fn at_least_one(key: &str, value: u32, found: &mut Found<'_>) {
    if value == 0 {
        found(key.to_owned(), "must be at least 1".to_owned());
    }
}

fn agent(document: &Document, found: &mut Found<'_>) {
    let agent = &document.agent;
    // 0 (RFC 7607), AS_TRANS (RFC 6793) and the last of each size (RFC 7300) are nobody's.
    if matches!(agent.asn, 0 | 23456 | 65535 | u32::MAX) {
        found("agent.asn".to_owned(), "a reserved number".to_owned());
    }
    if agent.router_id.is_unspecified() {
        found(
            "agent.router_id".to_owned(),
            "must not be 0.0.0.0".to_owned(),
        );
    }
    if document.vip.is_empty() {
        found(
            "vip".to_owned(),
            "nothing to announce: give a [[vip]]".to_owned(),
        );
    }
}

fn speaker(document: &Document, found: &mut Found<'_>) {
    let kind = document.agent.speaker;
    let native = kind == SpeakerKind::Native;
    if native && document.neighbor.is_empty() {
        found(
            "neighbor".to_owned(),
            "nobody to speak to: give a [[neighbor]]".to_owned(),
        );
    }
    if !native && !document.neighbor.is_empty() {
        found(
            "neighbor".to_owned(),
            "only with speaker = \"native\"; another daemon's neighbours are in its own configuration"
                .to_owned(),
        );
    }
    if (kind == SpeakerKind::Bird) != document.bird.is_some() {
        found(
            "bird".to_owned(),
            "goes together with speaker = \"bird\"".to_owned(),
        );
    }
    if document.exabgp.is_some() && kind != SpeakerKind::Exabgp {
        found(
            "exabgp".to_owned(),
            "goes together with speaker = \"exabgp\"".to_owned(),
        );
    }
    if native && document.agent.on_exit == OnExit::Keep {
        for (index, neighbor) in document.neighbor.iter().enumerate() {
            if neighbor.graceful_restart.0.is_zero() {
                found(
                    format!("neighbor[{index}].graceful_restart"),
                    "on_exit = \"keep\" needs it: without, a router drops the routes with the session"
                        .to_owned(),
                );
            }
        }
    }
}

fn neighbor(
    document: &Document,
    folder: &Path,
    key: &str,
    neighbor: &Neighbor,
    found: &mut Found<'_>,
) {
    let mut wrong = |name: &str, message: &str| found(format!("{key}.{name}"), message.to_owned());
    let same = |other: &&Neighbor| other.address == neighbor.address && other.port == neighbor.port;
    if document.neighbor.iter().filter(same).count() > 1 {
        wrong("address", "given twice");
    }
    if let IpAddr::V6(address) = neighbor.address
        && address.is_unicast_link_local()
    {
        wrong(
            "address",
            "link-local addresses are not supported; give a global one",
        );
    }
    if matches!(neighbor.asn, 0 | 23456 | 65535 | u32::MAX) {
        wrong("asn", "a reserved number");
    }
    if neighbor.port == 0 {
        wrong("port", "must not be 0");
    }
    let hold = neighbor.hold_time.0;
    if hold.subsec_nanos() != 0 || !hold.is_zero() && hold < Duration::from_secs(3) {
        wrong(
            "hold_time",
            "whole seconds, and 0s or at least 3s (RFC 4271 §4.2)",
        );
    }
    if hold > Duration::from_secs(65_535) {
        wrong("hold_time", "at most 65535s");
    }
    let retry = neighbor.connect_retry.0;
    if retry > Duration::from_secs(5) || retry < Duration::from_millis(100) {
        wrong("connect_retry", "100ms to 5s");
    }
    let restart = neighbor.graceful_restart.0;
    if restart.subsec_nanos() != 0 || restart > Duration::from_secs(4095) {
        wrong(
            "graceful_restart",
            "whole seconds, at most 4095s (RFC 4724 §3)",
        );
    }
    if neighbor.ttl == Some(0) {
        wrong("ttl", "must be at least 1");
    }
    if neighbor.ttl.is_some() && neighbor.ttl_security {
        wrong("ttl", "ttl_security sends with 255; leave one of them out");
    }
    if let Some(source) = neighbor.source_address
        && source.is_ipv4() != neighbor.address.is_ipv4()
    {
        wrong("source_address", "not of the neighbour's family");
    }
    if let Some(file) = &neighbor.password_file {
        match std::fs::read(folder.join(file)) {
            Err(error) => wrong("password_file", &error.to_string()),
            Ok(bytes) => {
                let password = bytes.trim_ascii();
                if password.is_empty() || password.len() > MAX_PASSWORD {
                    wrong("password_file", "must hold 1 to 80 bytes");
                }
            }
        }
    }
}

fn vip(document: &Document, folder: &Path, key: &str, vip: &Vip, found: &mut Found<'_>) {
    let mut wrong = |name: &str, message: String| found(format!("{key}.{name}"), message);
    if vip.prefix.trunc() != vip.prefix {
        wrong(
            "prefix",
            format!("has bits beyond its length; write {}", vip.prefix.trunc()),
        );
    }
    if vip.prefix.prefix_len() == 0 {
        wrong("prefix", "a default route is nobody's VIP".to_owned());
    }
    if vip.addresses.is_empty() && vip.prefix.prefix_len() != vip.prefix.max_prefix_len() {
        wrong(
            "addresses",
            "say which addresses of the prefix this node serves".to_owned(),
        );
    }
    for address in &vip.addresses {
        if !vip.prefix.contains(address) {
            wrong("addresses", format!("{address} is not in {}", vip.prefix));
        }
    }
    let count = |plain: usize, degraded: usize| plain + degraded > MAX_COMMUNITIES;
    if count(vip.communities.len(), vip.degraded.communities.len()) {
        wrong("communities", format!("at most {MAX_COMMUNITIES}"));
    }
    if count(
        vip.large_communities.len(),
        vip.degraded.large_communities.len(),
    ) {
        wrong("large_communities", format!("at most {MAX_COMMUNITIES}"));
    }
    let prepends = u16::from(vip.prepend)
        + u16::from(vip.degraded.prepend)
        + u16::from(document.drain.prepend);
    if prepends > 32 {
        wrong("prepend", "more than 32 prepends in all".to_owned());
    }
    let own = document.agent.asn;
    let internal = document.neighbor.iter().any(|n| n.asn == own);
    if prepends > 0 && internal {
        wrong("prepend", "means nothing to an iBGP neighbour".to_owned());
    }
    if vip.local_pref.is_some() && (!internal || document.agent.speaker != SpeakerKind::Native) {
        wrong(
            "local_pref",
            "is sent to iBGP neighbours of the native speaker only".to_owned(),
        );
    }
    let v4 = vip.prefix.addr().is_ipv4();
    match vip.next_hop {
        NextHop::Own => {
            if !v4 && document.neighbor.iter().any(|n| n.address.is_ipv4()) {
                wrong(
                    "next_hop",
                    "\"self\" has no IPv6 address on a session over IPv4; name one".to_owned(),
                );
            }
        }
        NextHop::Address(address) => {
            if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
                wrong("next_hop", "no address of a machine".to_owned());
            }
            if !v4 && address.is_ipv4() {
                wrong(
                    "next_hop",
                    "an IPv6 prefix needs an IPv6 next hop".to_owned(),
                );
            }
            if document.agent.speaker == SpeakerKind::Bird {
                wrong("next_hop", "is BIRD's to choose; leave it out".to_owned());
            }
        }
    }
    if vip.interface.is_empty() || vip.interface.len() > 15 {
        wrong("interface", "1 to 15 bytes".to_owned());
    }
    for (index, probe) in vip.check.iter().enumerate() {
        self::probe(folder, &format!("{key}.check[{index}]"), vip, probe, found);
    }
}

fn probe(folder: &Path, key: &str, vip: &Vip, probe: &Probe, found: &mut Found<'_>) {
    timing(
        key,
        probe.interval.0,
        probe.timeout.0,
        probe.rise,
        probe.fall,
        found,
    );
    let mut wrong = |name: &str, message: String| found(format!("{key}.{name}"), message);
    let https = match probe.url.scheme() {
        "http" => false,
        "https" => true,
        _ => {
            wrong("url", "must be http or https".to_owned());
            return;
        }
    };
    let address = match probe.url.host() {
        Some(url::Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(url::Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        _ => None,
    };
    match address {
        None => wrong(
            "url",
            "the host must be an address of the VIP; give a name as host = \"…\"".to_owned(),
        ),
        Some(address) if !vip.prefix.contains(&address) => {
            wrong("url", format!("{address} is not in {}", vip.prefix));
        }
        Some(_) => {}
    }
    if !probe.url.username().is_empty() || probe.url.password().is_some() {
        wrong("url", "credentials are not supported".to_owned());
    }
    if let Some(host) = &probe.host
        && (host.is_empty()
            || !host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-:".contains(&b)))
    {
        wrong("host", "no host name".to_owned());
    }
    if probe.status.is_empty() || probe.status.iter().any(|code| !(100..600).contains(code)) {
        wrong("status", "codes from 100 to 599, at least one".to_owned());
    }
    if probe.body.as_deref() == Some("") {
        wrong(
            "body",
            "every body contains nothing; leave it out".to_owned(),
        );
    }
    if !https && (probe.verify.is_some() || probe.ca_file.is_some()) {
        wrong("url", "certificates are for https".to_owned());
    }
    if https && probe.verify != Some(false) && probe.ca_file.is_none() {
        wrong("verify", "name a ca_file, or say verify = false".to_owned());
    }
    if probe.verify == Some(false) && probe.ca_file.is_some() {
        wrong("ca_file", "verify = false leaves it without use".to_owned());
    }
    if let Some(file) = &probe.ca_file
        && let Err(error) = crate::probe::roots(&folder.join(file))
    {
        wrong("ca_file", error);
    }
}

fn node_check(key: &str, check: &NodeCheck, found: &mut Found<'_>) {
    timing(
        key,
        check.interval.0,
        check.timeout.0,
        check.rise,
        check.fall,
        found,
    );
    let mut wrong = |name: &str, message: &str| found(format!("{key}.{name}"), message.to_owned());
    let given = [
        check.disk.is_some(),
        check.load.is_some(),
        check.command.is_some(),
    ];
    if given.iter().filter(|given| **given).count() != 1 {
        wrong("disk", "give exactly one of disk, load and command");
    }
    if check.disk.is_some() != check.min_free.is_some() {
        wrong("min_free", "goes together with disk");
    }
    if check
        .load
        .is_some_and(|load| !load.is_finite() || load <= 0.0)
    {
        wrong("load", "must be more than 0");
    }
    if check
        .command
        .as_ref()
        .is_some_and(|command| command.first().is_none_or(String::is_empty))
    {
        wrong("command", "names no program");
    }
}

fn timing(
    key: &str,
    interval: Duration,
    timeout: Duration,
    rise: u32,
    fall: u32,
    found: &mut Found<'_>,
) {
    if interval < Duration::from_millis(10) {
        found(format!("{key}.interval"), "at least 10ms".to_owned());
    }
    if timeout.is_zero() {
        found(format!("{key}.timeout"), "must be more than 0".to_owned());
    }
    at_least_one(&format!("{key}.rise"), rise, found);
    at_least_one(&format!("{key}.fall"), fall, found);
}
