//! Other people's daemons: FRR and GoBGP as routers, ExaBGP as the speaker.

use std::{os::unix::fs::PermissionsExt, path::Path, time::Instant};

use super::{Lab, PATIENCE, Proxy, VIP, VIP6, missing, start_agent};

const BGPD: &str = "/usr/lib/frr/bgpd";

/// A lab, if it can be had and the programs are there.
fn lab(name: &str, programs: &[&str]) -> Option<Lab> {
    if let Some(reason) = missing() {
        eprintln!("SKIPPED, the lab needs root, iproute2 and bird2: {reason}");
        return None;
    }
    let paths = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/"];
    for program in programs {
        if !paths
            .iter()
            .any(|path| Path::new(path).join(program).exists())
        {
            eprintln!("SKIPPED, {program} is missing");
            return None;
        }
    }
    Some(Lab::new(name))
}

fn agent_toml(speaker: &str) -> String {
    format!(
        r#"
[agent]
asn = 64512
router_id = "10.99.0.2"
on_exit = "withdraw"
{speaker}
[[vip]]
prefix = "{VIP}/32"
communities = ["64512:100"]
large_communities = ["64512:1:2"]
prepend = 1
med = 7
manage_address = true
[[vip]]
prefix = "{VIP6}/128"
next_hop = "fd00:99::2"
manage_address = true
[proxy]
status_socket = "status.sock"
[control]
socket = "bgp.sock"
"#
    )
}

const NATIVE: &str = r#"[[neighbor]]
address = "10.99.0.1"
asn = 64500
password_file = "bgp.key"
connect_retry = "200ms""#;

/// Asks the router until it says everything; then kills the proxy and asks until the VIP is gone.
fn stands_and_falls(lab: &Lab, proxy: Proxy, questions: &[&[&str]], wanted: &[&str]) {
    let ask = || -> Result<String, String> {
        let mut answers = String::new();
        for question in questions {
            let answer = lab.attempt(&lab.router, question)?;
            answers.push_str(&answer.replace([' ', '\n'], ""));
        }
        Ok(answers)
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The daemon may not listen yet.
        let seen = ask();
        let text = seen.clone().unwrap_or_default();
        let Some(missing) = wanted.iter().find(|wanted| !text.contains(**wanted)) else {
            break;
        };
        assert!(Instant::now() < deadline, "{missing} in {seen:?}");
    }
    proxy.kill();
    let deadline = Instant::now() + PATIENCE;
    // An answer that fails says nothing.
    while !ask().is_ok_and(|seen| !seen.contains(wanted[0])) {
        assert!(Instant::now() < deadline, "not withdrawn: {:?}", ask());
    }
}

fn gobgp_toml(password: &str) -> String {
    format!(
        r#"
[global.config]
  as = 64500
  router-id = "10.99.0.1"
  local-address-list = ["10.99.0.1"]
[[neighbors]]
  [neighbors.config]
    neighbor-address = "10.99.0.2"
    peer-as = 64512
    {password}
  [neighbors.transport.config]
    passive-mode = true
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-unicast"
"#
    )
}

fn start_gobgp(lab: &mut Lab, password: &str) {
    let config = lab.write("gobgp.toml", &gobgp_toml(password));
    let router = lab.router.clone();
    lab.start(
        &router,
        "gobgp.log",
        &[
            "gobgpd",
            "-f",
            config.to_str().unwrap(),
            "--api-hosts",
            "127.0.0.1:50051",
            "--pprof-disable",
        ],
    );
}

const GOBGP: [&[&str]; 2] = [
    &["gobgp", "-j", "global", "rib"],
    &["gobgp", "-j", "global", "rib", "-a", "ipv6"],
];
/// What GoBGP shows of both routes: 64512:100 is 4227858532 to it.
const GOBGP_SHOWS: [&str; 7] = [
    "203.0.113.10/32",
    "2001:db8:53::10/128",
    "\"asns\":[64512,64512]",
    "\"communities\":[4227858532]",
    "\"ASN\":64512,\"LocalData1\":1,\"LocalData2\":2",
    "\"metric\":7",
    "\"nexthop\":\"fd00:99::2\"",
];

#[test]
fn gobgp_shows_what_the_agent_announces() {
    let Some(mut lab) = lab("gobgp", &["gobgpd", "gobgp"]) else {
        return;
    };
    lab.write("bgp.key", "sesame\n");
    lab.write("agent.toml", &agent_toml(NATIVE));
    let proxy = Proxy::start(&lab.path("status.sock"));
    start_gobgp(&mut lab, "auth-password = \"sesame\"");
    start_agent(&mut lab);
    stands_and_falls(&lab, proxy, &GOBGP, &GOBGP_SHOWS);
}

#[test]
fn exabgp_says_what_the_agent_tells_it() {
    let Some(mut lab) = lab("exabgp", &["gobgpd", "gobgp", "exabgp"]) else {
        return;
    };
    let config = lab.write("agent.toml", &agent_toml("speaker = \"exabgp\""));
    let exabgp = format!(
        r"
process agent {{
  run {} run --config {};
  encoder text;
}}
neighbor 10.99.0.1 {{
  router-id 10.99.0.2;
  local-address 10.99.0.2;
  local-as 64512;
  peer-as 64500;
  family {{ ipv4 unicast; ipv6 unicast; }}
  api {{ processes [ agent ]; }}
}}
",
        env!("CARGO_BIN_EXE_anypop-bgp"),
        config.display()
    );
    let exabgp_conf = lab.write("exabgp.conf", &exabgp);
    let proxy = Proxy::start(&lab.path("status.sock"));
    start_gobgp(&mut lab, "");
    let pop = lab.pop.clone();
    let exabgp = lab.start(
        &pop,
        "exabgp.log",
        &[
            "env",
            "exabgp.daemon.user=root",
            "exabgp",
            exabgp_conf.to_str().unwrap(),
        ],
    );
    stands_and_falls(&lab, proxy, &GOBGP, &GOBGP_SHOWS);
    // Killed, it could not end its process; told to end, it does.
    lab.terminate(exabgp);
}

#[test]
fn frr_shows_what_the_agent_announces() {
    let Some(mut lab) = lab("frr", &["vtysh", BGPD.trim_start_matches('/')]) else {
        return;
    };
    lab.write("bgp.key", "sesame\n");
    lab.write("agent.toml", &agent_toml(NATIVE));
    // FRR runs as a user of its own.
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(lab.folder.path(), 0o755);
    let sockets = lab.path("frr");
    std::fs::create_dir(&sockets).unwrap();
    open(&sockets, 0o777);
    let config = lab.write(
        "bgpd.conf",
        "hostname r
router bgp 64500
 bgp router-id 10.99.0.1
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 timers bgp 3 9
 neighbor 10.99.0.2 remote-as 64512
 neighbor 10.99.0.2 passive
 neighbor 10.99.0.2 password sesame
 address-family ipv4 unicast
  neighbor 10.99.0.2 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor 10.99.0.2 activate
 exit-address-family
",
    );
    let router = lab.router.clone();
    let (sockets, pid) = (
        sockets.to_str().unwrap().to_owned(),
        format!("{}/pid", sockets.display()),
    );
    lab.start(
        &router,
        "frr.log",
        &[
            BGPD,
            "-Z",
            "-f",
            config.to_str().unwrap(),
            "--vty_socket",
            &sockets,
            "-i",
            &pid,
            "-l",
            "10.99.0.1",
        ],
    );
    let proxy = Proxy::start(&lab.path("status.sock"));
    start_agent(&mut lab);
    let (v4, v6) = (
        format!("show bgp ipv4 unicast {VIP}/32 json"),
        format!("show bgp ipv6 unicast {VIP6}/128 json"),
    );
    let questions: [&[&str]; 2] = [
        &["vtysh", "--vty_socket", &sockets, "-c", &v4],
        &["vtysh", "--vty_socket", &sockets, "-c", &v6],
    ];
    let wanted = [
        "\"prefix\":\"203.0.113.10/32\"",
        "\"prefix\":\"2001:db8:53::10/128\"",
        "\"list\":[64512,64512]",
        "\"list\":[\"64512:100\"]",
        "\"list\":[\"64512:1:2\"]",
        "\"metric\":7",
        "\"ip\":\"fd00:99::2\"",
    ];
    stands_and_falls(&lab, proxy, &questions, &wanted);
}
