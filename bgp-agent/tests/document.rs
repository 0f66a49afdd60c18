//! The agent's document: what is read, what is refused, and the files in `conf/`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::{Path, PathBuf};

use anypop_bgp::document::{load, read, schema};

const GOOD: &str = r#"
[agent]
asn = 64512
router_id = "192.0.2.2"
[[neighbor]]
address = "192.0.2.1"
asn = 64500
[[vip]]
prefix = "203.0.113.10/32"
"#;

fn conf(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../conf")
        .join(name)
}

/// What is said of a text, one diagnostic a line.
fn said(text: &str) -> String {
    match read(Path::new("agent.toml"), text) {
        Ok(_) => String::new(),
        Err(found) => found
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

#[test]
fn the_document_in_conf_is_good() {
    assert!(
        load(&conf("agent.toml")).is_ok(),
        "{:?}",
        load(&conf("agent.toml"))
    );
}

#[test]
fn everything_the_document_in_conf_shows_in_comments_is_a_key() {
    let text = std::fs::read_to_string(conf("agent.toml")).unwrap();
    let shown: String = text
        .lines()
        .map(|line| {
            let bare = line.strip_prefix('#').unwrap_or(line);
            let key = bare.starts_with(|c: char| c.is_ascii_lowercase()) && bare.contains(" = ");
            if key || bare.starts_with('[') { bare } else { line }
        })
        // Two kinds of TTL are one too many, and the files are not there.
        .filter(|line| !line.starts_with("password_file"))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(said(&shown), "", "{shown}");
    assert!(shown.contains("\nmin_pops") && shown.contains("\n[vip.degraded]"));
}

#[test]
fn the_schema_in_conf_is_what_the_agent_prints() {
    let kept = std::fs::read_to_string(conf("agent.schema.json")).unwrap();
    assert!(
        kept == schema(),
        "run: anypop-bgp schema > conf/agent.schema.json"
    );
}

#[test]
fn every_error_names_file_line_and_key() {
    assert_eq!(said(GOOD), "");
    for (from, to, expected) in [
        (
            "asn = 64512",
            "asn = 64512\nasm = 1",
            "agent.toml:4: agent.asm: unknown field `asm`",
        ),
        (
            "asn = 64512",
            "asn = \"x\"",
            "agent.toml:3: agent.asn: invalid type",
        ),
        (
            "asn = 64512",
            "asn = 23456",
            "agent.toml:3: agent.asn: a reserved number",
        ),
        ("asn = 64512", "asn =", "agent.toml:3:"),
        (
            "\"192.0.2.2\"",
            "\"0.0.0.0\"",
            "agent.toml:4: agent.router_id: must not be",
        ),
        (
            "asn = 64500",
            "asn = 64500\nhold_time = \"9\"",
            "agent.toml:8: neighbor[0].hold_time: \"9\" is no length of time",
        ),
        (
            "asn = 64500",
            "asn = 64500\nhold_time = \"2s\"",
            "agent.toml:8: neighbor[0].hold_time: whole seconds",
        ),
        (
            "asn = 64500",
            "asn = 64500\nconnect_retry = \"6s\"",
            "agent.toml:8: neighbor[0].connect_retry: 100ms to 5s",
        ),
        (
            "asn = 64500",
            "asn = 64500\npassword_file = \"/nonexistent\"",
            "agent.toml:8: neighbor[0].password_file: No such file",
        ),
        (
            "asn = 64500",
            "asn = 64500\nttl = 3\nttl_security = true",
            "agent.toml:8: neighbor[0].ttl: ttl_security",
        ),
        (
            "203.0.113.10/32",
            "203.0.113.10/24",
            "agent.toml:9: vip[0].prefix: has bits beyond its length; write 203.0.113.0/24",
        ),
        (
            "203.0.113.10/32",
            "203.0.113.0/24",
            "agent.toml:8: vip[0].addresses: say which",
        ),
        (
            "203.0.113.10/32\"",
            "203.0.113.10/32\"\ncommunities = [\"70000:1\"]",
            "agent.toml:10: vip[0].communities[0]: \"70000:1\" is no community",
        ),
        (
            "203.0.113.10/32",
            "2001:db8::1/128",
            "agent.toml:8: vip[0].next_hop: \"self\" has no IPv6 address",
        ),
        (
            "203.0.113.10/32\"",
            "203.0.113.10/32\"\n[[vip.check]]\nurl = \"http://www.example/\"",
            "agent.toml:11: vip[0].check[0].url: the host must be an address",
        ),
        (
            "203.0.113.10/32\"",
            "203.0.113.10/32\"\n[[vip.check]]\nurl = \"https://203.0.113.10/\"",
            "agent.toml:10: vip[0].check[0].verify: name a ca_file",
        ),
        (
            "203.0.113.10/32\"",
            "203.0.113.10/32\"\n[guard]\nmin_pops = 1",
            "agent.toml:11: guard.min_pops: needs guard.pops_file",
        ),
        (
            "203.0.113.10/32\"",
            "203.0.113.10/32\"\n[[check]]\nload = 1.0\ndisk = \"/\"",
            "check[0].disk: give exactly one",
        ),
        (
            "asn = 64512",
            "asn = 64512\non_exit = \"keep\"",
            "neighbor[0].graceful_restart: on_exit = \"keep\" needs it",
        ),
        (
            "asn = 64512",
            "asn = 64512\nspeaker = \"bird\"",
            "bird: goes together with",
        ),
        (
            "asn = 64512",
            "asn = 64512\nspeaker = \"carrier-pigeon\"",
            "agent.toml:4: agent.speaker: unknown variant",
        ),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let said = said(&text);
        assert!(
            said.contains(expected),
            "{to}\nsaid {said}\nnot  {expected}"
        );
    }
}

#[test]
fn several_errors_are_all_said() {
    let text = GOOD
        .replace("\"192.0.2.2\"", "\"0.0.0.0\"")
        .replace("203.0.113.10/32", "203.0.113.10/24");
    assert!(said(&text).lines().count() >= 2, "{}", said(&text));
}
