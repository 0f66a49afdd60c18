//! The agent and a BIRD router in network namespaces, with real sessions and the kernel's own routes.
//!
//! Wants root, iproute2 and bird2; says so and passes where they are missing. Figures are printed
//! (`cargo nextest run -p anypop-bgp --test lab --no-capture`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod daemons;
mod namespaces;

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use namespaces::{Lab, missing};

const PATIENCE: Duration = Duration::from_secs(30);
const VIP: &str = "203.0.113.10";
const VIP6: &str = "2001:db8:53::10";
const LEASE_MS: u64 = 300;
const RUNS: usize = 20;

/// A proxy as the agent sees it: its status stream. Dropped, it is as dead as after `kill -9`: the
/// stream ends and nobody answers.
struct Proxy {
    alive: Arc<AtomicBool>,
    frozen: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
    socket: PathBuf,
}

impl Proxy {
    fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let alive = Arc::new(AtomicBool::new(true));
        let frozen = Arc::new(AtomicBool::new(false));
        let (living, ice) = (alive.clone(), frozen.clone());
        let task = std::thread::spawn(move || {
            let line = format!(
                "{{\"seq\":1,\"generation\":1,\"state\":\"ready\",\"connections\":0,\"vips\":{{}},\"lease_ms\":{LEASE_MS}}}\n"
            );
            let mut readers = Vec::new();
            while living.load(Ordering::Relaxed) {
                if let Ok((stream, _)) = listener.accept() {
                    readers.push(stream);
                }
                if !ice.load(Ordering::Relaxed) {
                    readers.retain_mut(|reader| reader.write_all(line.as_bytes()).is_ok());
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        Self {
            alive,
            frozen,
            task: Some(task),
            socket: socket.to_owned(),
        }
    }

    /// Dead when this returns.
    fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.alive.store(false, Ordering::Relaxed);
        if let Some(task) = self.task.take() {
            task.thread().unpark();
            let _ = task.join();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the router's kernel says of its routes, as it happens.
struct Monitor(mpsc::Receiver<(Instant, String)>);

impl Monitor {
    fn start(lab: &mut Lab) -> Self {
        let router = lab.router.clone();
        let index = lab.start(&router, "monitor.log", &["ip", "monitor", "route"]);
        let output = lab.child(index).stdout.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        let monitor = Self(receiver);
        // It listens once it has seen a change made for it.
        let deadline = Instant::now() + PATIENCE;
        loop {
            for change in ["replace", "del"] {
                lab.ip(&router, &["route", change, "blackhole", "192.0.2.77/32"]);
            }
            let seen = monitor.0.recv_timeout(Duration::from_millis(20));
            if seen.is_ok_and(|(_, line)| line.contains("192.0.2.77")) {
                return monitor;
            }
            assert!(Instant::now() < deadline, "ip monitor does not start");
        }
    }

    /// Waits until the route is there, or gone, and says when it was.
    fn wait(&self, vip: &str, gone: bool) -> Instant {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (at, line) = self.0.recv_timeout(left).unwrap_or_else(|_| {
                panic!("{vip}: no such route change (gone: {gone}) within {PATIENCE:?}")
            });
            if line.contains(vip) && line.starts_with("Deleted") == gone {
                return at;
            }
        }
    }
}

struct Variant {
    name: &'static str,
    /// The router's address and the agent's.
    router: &'static str,
    pop: &'static str,
    secure: bool,
}

const PLAIN_V6: Variant = Variant {
    name: "v6",
    router: "fd00:99::1",
    pop: "fd00:99::2",
    secure: false,
};
const SECURE_V4: Variant = Variant {
    name: "v4",
    router: "10.99.0.1",
    pop: "10.99.0.2",
    secure: true,
};

fn bird_conf(variant: &Variant) -> String {
    let secure = if variant.secure {
        "ttl security on; password \"sesame\";"
    } else {
        ""
    };
    let extended = if variant.name == "v6" {
        "extended next hop on;"
    } else {
        ""
    };
    format!(
        r#"router id 10.99.0.1;
protocol device {{ scan time 1; }}
protocol direct {{ ipv4; ipv6; }}
protocol kernel k4 {{ ipv4 {{ export where source = RTS_BGP; import none; }}; }}
protocol kernel k6 {{ ipv6 {{ export where source = RTS_BGP; import none; }}; }}
filter vips4 {{ if net ~ [ 203.0.113.0/24{{32,32}} ] then accept; reject; }}
filter vips6 {{ if net ~ [ 2001:db8:53::/48{{128,128}} ] then accept; reject; }}
protocol bgp pop {{
  local {router} as 64500; neighbor {pop} as 64512;
  passive on; hold time 9; keepalive time 3; error wait time 1,1; {secure}
  ipv4 {{ {extended} import filter vips4; export none; import limit 50 action block; }};
  ipv6 {{ import filter vips6; export none; import limit 50 action block; }};
}}
"#,
        router = variant.router,
        pop = variant.pop
    )
}

fn agent_toml(lab: &Lab, variant: &Variant) -> String {
    let secure = if variant.secure {
        lab.write("bgp.key", "sesame\n");
        "password_file = \"bgp.key\"\nttl_security = true"
    } else {
        ""
    };
    // The VIP of the other family than the session's wants a next hop of its own.
    let (hop4, hop6) = match variant.name {
        "v4" => ("self", "fd00:99::2"),
        _ => ("self", "self"),
    };
    format!(
        r#"
[agent]
asn = 64512
router_id = "10.99.0.2"
[proxy]
status_socket = "status.sock"
[[neighbor]]
address = "{router}"
asn = 64500
connect_retry = "200ms"
{secure}
[[vip]]
prefix = "{VIP}/32"
next_hop = "{hop4}"
communities = ["64512:100"]
large_communities = ["64512:1:2"]
prepend = 1
manage_address = true
[[vip]]
prefix = "{VIP6}/128"
next_hop = "{hop6}"
manage_address = true
[drain]
deadline = "100ms"
quiesce = "100ms"
lead = "3s"
[hold_down]
base = "0s"
[control]
socket = "bgp.sock"
"#,
        router = variant.router
    )
}

fn start_agent(lab: &mut Lab) -> usize {
    let config = lab.path("agent.toml");
    let pop = lab.pop.clone();
    let agent = env!("CARGO_BIN_EXE_anypop-bgp");
    lab.start(
        &pop,
        "agent.log",
        &[agent, "run", "--config", config.to_str().unwrap()],
    )
}

fn control(lab: &Lab, command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_anypop-bgp"))
        .args(command)
        .arg("--socket")
        .arg(lab.path("bgp.sock"))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the router knows of a prefix.
fn bird_route(lab: &Lab, prefix: &str) -> String {
    let socket = lab.path("bird.ctl");
    let command = format!("show route all for {prefix}");
    let arguments = ["birdc", "-s", socket.to_str().unwrap(), &command];
    // A route that is not there is an error to birdc.
    lab.attempt(&lab.router, &arguments).unwrap_or_default()
}

fn report(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!(
        "{what}: median {median:.2?}, worst {worst:.2?}, {} runs",
        times.len()
    );
    median
}

fn lab(variant: &Variant) -> Option<Lab> {
    if let Some(reason) = missing() {
        eprintln!("SKIPPED, the lab needs root, iproute2 and bird2: {reason}");
        return None;
    }
    let mut lab = Lab::new(variant.name);
    lab.bird(&bird_conf(variant));
    let text = agent_toml(&lab, variant);
    lab.write("agent.toml", &text);
    Some(lab)
}

#[test]
fn routes_stand_and_fall_with_the_proxy_and_the_agent() {
    let Some(mut lab) = lab(&SECURE_V4) else {
        return;
    };
    let monitor = Monitor::start(&mut lab);
    let status = lab.path("status.sock");
    let mut proxy = Proxy::start(&status);
    let mut agent = start_agent(&mut lab);
    monitor.wait(VIP, false);
    let deadline = Instant::now() + PATIENCE;
    while lab
        .ip(&lab.router, &["-6", "route", "show", VIP6])
        .is_empty()
    {
        assert!(Instant::now() < deadline, "no IPv6 route");
    }

    let seen = bird_route(&lab, &format!("{VIP}/32"));
    for wanted in ["(64512,100)", "(64512, 1, 2)", "64512 64512", "10.99.0.2"] {
        assert!(seen.contains(wanted), "{wanted} in {seen}");
    }
    assert!(!seen.contains("bgp_med"), "{seen}");
    let seen = bird_route(&lab, &format!("{VIP6}/128"));
    assert!(seen.contains("fd00:99::2"), "{seen}");

    let (mut dead, mut back) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let died = Instant::now();
        proxy.kill();
        dead.push(monitor.wait(VIP, true).saturating_duration_since(died));
        let born = Instant::now();
        proxy = Proxy::start(&status);
        back.push(monitor.wait(VIP, false).saturating_duration_since(born));
    }
    let median = report("proxy killed -> route gone", dead);
    assert!(median < Duration::from_millis(100), "{median:?}");
    let median = report("proxy back -> route there", back);
    assert!(median < Duration::from_millis(200), "{median:?}");

    let mut frozen = Vec::new();
    for _ in 0..5 {
        let since = Instant::now();
        proxy.frozen.store(true, Ordering::Relaxed);
        frozen.push(monitor.wait(VIP, true).saturating_duration_since(since));
        proxy.frozen.store(false, Ordering::Relaxed);
        monitor.wait(VIP, false);
    }
    let median = report("proxy frozen (lease 300 ms) -> route gone", frozen);
    assert!(median < Duration::from_millis(LEASE_MS + 150), "{median:?}");

    let mut killed = Vec::new();
    for _ in 0..RUNS {
        let died = Instant::now();
        lab.kill(agent);
        killed.push(monitor.wait(VIP, true).saturating_duration_since(died));
        agent = start_agent(&mut lab);
        monitor.wait(VIP, false);
    }
    let median = report("agent killed -> route gone", killed);
    assert!(median < Duration::from_millis(100), "{median:?}");
}

/// Everything that is on the link, for a second pair of eyes; none without tshark.
fn capture(lab: &mut Lab) -> Option<(usize, PathBuf)> {
    if Command::new("tshark").arg("-v").output().is_err() {
        eprintln!("SKIPPED, tshark is missing: nobody else reads what was sent");
        return None;
    }
    let file = lab.path("link.pcap");
    let router = lab.router.clone();
    let text = file.to_str().unwrap().to_owned();
    // Unbuffered, and started before anything is sent: its first packet says that it looks.
    let index = lab.start(
        &router,
        "tshark.log",
        &["dumpcap", "-q", "-i", "up0", "-f", "tcp", "-w", &text],
    );
    let deadline = Instant::now() + PATIENCE;
    while std::fs::metadata(&file).map_or(0, |file| file.len()) == 0 {
        assert!(Instant::now() < deadline, "dumpcap does not start");
        std::thread::yield_now();
    }
    Some((index, file))
}

/// Nothing that the agent sent is malformed in tshark's eyes, and it did see what was sent.
fn inspect(lab: &mut Lab, capture: Option<(usize, PathBuf)>, pop: &str) {
    let Some((index, file)) = capture else { return };
    let from = if pop.contains(':') {
        "ipv6.src"
    } else {
        "ip.src"
    };
    let seen = |filter: &str| {
        let filter = format!("{from}=={pop} && ({filter})");
        let arguments = ["-r", file.to_str().unwrap(), "-Y", &filter];
        let output = Command::new("tshark").args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // The capture is written with some delay; the NOTIFICATION is the last word.
    let deadline = Instant::now() + PATIENCE;
    for kind in ["1", "2", "4", "3"] {
        while seen(&format!("bgp.type=={kind}")).is_empty() {
            assert!(Instant::now() < deadline, "no message of type {kind}");
        }
    }
    assert_eq!(
        seen("bgp && (_ws.malformed || _ws.expert.severity>=6291456)"),
        ""
    );
    lab.kill(index);
}

#[test]
fn bird_as_the_speaker_takes_what_the_agent_writes() {
    if let Some(reason) = missing() {
        eprintln!("SKIPPED, the lab needs root, iproute2 and bird2: {reason}");
        return;
    }
    let mut lab = Lab::new("bird");
    let include = lab.write("anypop.conf", "");
    let socket = lab.bird(&format!(
        "router id 10.99.0.1;\nprotocol device {{}}\ninclude \"{}\";\n",
        include.display()
    ));
    let proxy = Proxy::start(&lab.path("status.sock"));
    let text = format!(
        r#"
[agent]
asn = 64512
router_id = "10.99.0.2"
speaker = "bird"
on_exit = "withdraw"
[bird]
control_socket = "bird.ctl"
include_file = "anypop.conf"
[proxy]
status_socket = "status.sock"
[[vip]]
prefix = "{VIP}/32"
communities = ["64512:100"]
large_communities = ["64512:1:2"]
prepend = 2
med = 7
manage_address = true
[[vip]]
prefix = "{VIP6}/128"
manage_address = true
[control]
socket = "bgp.sock"
"#
    );
    lab.write("agent.toml", &text);
    let agent = start_agent(&mut lab);
    let show = |lab: &Lab| {
        let arguments = ["birdc", "-s", socket.to_str().unwrap(), "show route all"];
        lab.attempt(&lab.router, &arguments)
    };
    let deadline = Instant::now() + PATIENCE;
    let seen = loop {
        match show(&lab) {
            Ok(seen) if seen.contains(VIP) && seen.contains(VIP6) => break seen,
            // BIRD may not have its socket yet.
            seen => assert!(Instant::now() < deadline, "{seen:?}"),
        }
    };
    for wanted in ["(64512,100)", "(64512, 1, 2)", "64512 64512", "bgp_med: 7"] {
        let wanted = wanted.trim_start_matches("bgp_");
        assert!(seen.to_lowercase().contains(wanted), "{wanted} in {seen}");
    }
    proxy.kill();
    let deadline = Instant::now() + PATIENCE;
    // An answer that fails says nothing.
    while !show(&lab).is_ok_and(|seen| !seen.contains(VIP)) {
        assert!(Instant::now() < deadline, "not withdrawn");
    }
    let pid = lab.child(agent).id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(lab.child(agent).wait().unwrap().success());
}

#[test]
fn a_drain_shifts_before_it_withdraws_and_addresses_leave_last() {
    let Some(mut lab) = lab(&PLAIN_V6) else {
        return;
    };
    let monitor = Monitor::start(&mut lab);
    let capture = capture(&mut lab);
    let proxy = Proxy::start(&lab.path("status.sock"));
    let agent = start_agent(&mut lab);
    monitor.wait(VIP, false);
    // RFC 8950: the IPv4 route has an IPv6 next hop.
    let route = lab.ip(&lab.router, &["route", "show", VIP]);
    assert!(route.contains("via inet6 fd00:99::2"), "{route}");

    control(&lab, &["drain", "--reason", "lab"]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = bird_route(&lab, &format!("{VIP}/32"));
        if seen.contains("(65535,0)") {
            break;
        }
        assert!(seen.contains(VIP), "withdrawn without a shift: {seen}");
        assert!(Instant::now() < deadline);
    }
    monitor.wait(VIP, true);
    let status: serde_json::Value =
        serde_json::from_str(&control(&lab, &["status", "--json"])).unwrap();
    assert_eq!(status["policy"]["drain"]["step"], "drained");
    assert_eq!(
        status["peers"][0]["state"], "established",
        "the session stays"
    );
    let addresses = lab.ip(&lab.pop, &["addr", "show", "dev", "lo"]);
    assert!(
        addresses.contains(VIP) && addresses.contains(VIP6),
        "the VIPs stay"
    );

    control(&lab, &["undrain"]);
    monitor.wait(VIP, false);

    // An address that somebody takes away is put back.
    lab.ip(
        &lab.pop,
        &["addr", "del", &format!("{VIP}/32"), "dev", "lo"],
    );
    let deadline = Instant::now() + PATIENCE;
    while !lab
        .ip(&lab.pop, &["addr", "show", "dev", "lo"])
        .contains(VIP)
    {
        assert!(Instant::now() < deadline, "the address is not put back");
    }

    // SIGTERM drains, then ends the session, then takes the addresses off.
    let pid = lab.child(agent).id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    monitor.wait(VIP, true);
    assert!(lab.child(agent).wait().unwrap().success());
    let addresses = lab.ip(&lab.pop, &["addr", "show", "dev", "lo"]);
    assert!(
        !addresses.contains(VIP) && !addresses.contains(VIP6),
        "{addresses}"
    );
    let socket = lab.path("bird.ctl");
    let arguments = [
        "birdc",
        "-s",
        socket.to_str().unwrap(),
        "show protocols all pop",
    ];
    let protocol = lab.run(&lab.router, &arguments);
    assert!(
        protocol.contains("Received: Administrative shutdown"),
        "{protocol}"
    );
    inspect(&mut lab, capture, PLAIN_V6.pop);
    drop(proxy);
}

#[test]
fn the_agent_restarts_without_a_flap_where_graceful_restart_is_on() {
    let Some(mut lab) = lab(&SECURE_V4) else {
        return;
    };
    let text = agent_toml(&lab, &SECURE_V4)
        .replace("[proxy]", "on_exit = \"keep\"\n[proxy]")
        .replace("asn = 64500", "asn = 64500\ngraceful_restart = \"30s\"");
    lab.write("agent.toml", &text);
    let monitor = Monitor::start(&mut lab);
    let _proxy = Proxy::start(&lab.path("status.sock"));
    let agent = start_agent(&mut lab);
    monitor.wait(VIP, false);
    lab.terminate(agent);
    let seen = bird_route(&lab, &format!("{VIP}/32"));
    assert!(seen.contains(VIP), "kept by the router: {seen}");
    start_agent(&mut lab);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let peer = Command::new(env!("CARGO_BIN_EXE_anypop-bgp"))
            .args(["status", "--json", "--socket"])
            .arg(lab.path("bgp.sock"))
            .output()
            .unwrap();
        let status: serde_json::Value = serde_json::from_slice(&peer.stdout).unwrap_or_default();
        if status["peers"][0]["announced"] == 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{status}");
    }
    // The router has sorted out what is stale once it has answered after that.
    let seen = bird_route(&lab, &format!("{VIP}/32"));
    assert!(seen.contains(VIP), "{seen}");
    for (_, line) in monitor.0.try_iter() {
        let flap = line.starts_with("Deleted") && !line.contains("192.0.2.77");
        assert!(!flap, "a flap: {line}");
    }
}
