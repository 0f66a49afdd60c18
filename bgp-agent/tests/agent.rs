//! The whole agent as a process, without privileges: a proxy's status stream and admin socket, a data
//! path to probe, and a named pipe where ExaBGP would read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, UnixListener},
    sync::watch,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A process that ends with the test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anypop-bgp"))
        .args(arguments)
        .arg("--socket")
        .arg(folder.join("bgp.sock"))
        .output()
        .unwrap()
}

/// Serves the status stream: the state that `state` holds.
async fn proxy(listener: UnixListener, state: watch::Receiver<&'static str>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut state = state.clone();
        tokio::spawn(async move {
            loop {
                let now = *state.borrow_and_update();
                let line = format!(
                    "{{\"seq\":1,\"generation\":1,\"state\":\"{now}\",\"connections\":0,\"lease_ms\":3000}}\n"
                );
                if stream.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
                let _ = tokio::time::timeout(Duration::from_millis(100), state.changed()).await;
            }
        });
    }
}

/// What is written to the pipe, line by line.
fn pipe(path: &Path) -> mpsc::Receiver<String> {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    // For writing too, so that it never ends.
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(file).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_hooks_guard_and_drain() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let lines = pipe(&path("exabgp.in"));
    let next = || lines.recv_timeout(PATIENCE).unwrap();

    // The data path.
    let healthy = Arc::new(AtomicBool::new(true));
    let app = Router::new()
        .route(
            "/health",
            get(|State(healthy): State<Arc<AtomicBool>>| async move {
                if healthy.load(Ordering::Relaxed) {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                }
            }),
        )
        .with_state(healthy.clone());
    let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = web.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(web, app).await.unwrap() });

    // The proxy: its stream, and its admin socket that does as it is asked.
    let (state, stated) = watch::channel("ready");
    let status = UnixListener::bind(path("status.sock")).unwrap();
    tokio::spawn(proxy(status, stated));
    let (asks, asked) = mpsc::channel();
    let state = Arc::new(state);
    let obey = state.clone();
    let admin = Router::new().fallback(move |request: axum::extract::Request| {
        let (asks, obey) = (asks.clone(), obey.clone());
        async move {
            let path = request.uri().path().to_owned();
            let body = axum::body::to_bytes(request.into_body(), 1024)
                .await
                .unwrap();
            let body = String::from_utf8_lossy(&body).into_owned();
            obey.send_replace(match path.as_str() {
                "/v1/undrain" => "ready",
                _ if body.contains("quiesce") => "quiescing",
                _ => "bleeding",
            });
            let _ = asks.send(format!("{path} {body}"));
            StatusCode::OK
        }
    });
    let listener = UnixListener::bind(path("admin.sock")).unwrap();
    tokio::spawn(async move { axum::serve(listener, admin).await.unwrap() });

    let hooked = path("hooked");
    let script = format!("echo $ANYPOP_FROM $ANYPOP_TO >> {}", hooked.display());
    let document = format!(
        r#"
[agent]
pop = "pop1"
asn = 64512
router_id = "192.0.2.2"
speaker = "exabgp"
drain_file = "drain"
[exabgp]
pipe = "exabgp.in"
[proxy]
status_socket = "status.sock"
admin_socket = "admin.sock"
[[vip]]
prefix = "127.0.0.1/32"
[[vip.check]]
url = "http://{at}/health"
interval = "20ms"
[guard]
min_pops = 1
pops_file = "pops"
[drain]
deadline = "5s"
quiesce = "100ms"
lead = "100ms"
[control]
socket = "bgp.sock"
[hooks]
on_transition = ["sh", "-c", "{script}"]
"#
    );
    std::fs::write(path("agent.toml"), document).unwrap();
    let agent = Command::new(env!("CARGO_BIN_EXE_anypop-bgp"))
        .args(["run", "--config"])
        .arg(path("agent.toml"))
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(path("log")).unwrap())
        .spawn()
        .unwrap();
    let mut agent = Agent(agent);

    tokio::task::block_in_place(|| {
        assert_eq!(next(), "announce route 127.0.0.1/32 next-hop self");
        healthy.store(false, Ordering::Relaxed);
        assert_eq!(next(), "withdraw route 127.0.0.1/32 next-hop self");
        healthy.store(true, Ordering::Relaxed);
        assert_eq!(next(), "announce route 127.0.0.1/32 next-hop self");
        let expected = "withdrawn announced\nannounced withdrawn\nwithdrawn announced\n";
        until("the hook", || {
            std::fs::read_to_string(&hooked).is_ok_and(|seen| seen == expected)
        });

        // Not to know how many PoPs are announced is no permission.
        let refused = command(folder.path(), &["drain"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            String::from_utf8_lossy(&refused.stderr).contains("--force"),
            "{refused:?}"
        );
        let forced = command(folder.path(), &["drain", "--force", "--wait"]);
        let said = String::from_utf8_lossy(&forced.stdout).into_owned();
        assert!(
            forced.status.success() && said.contains("overridden:"),
            "{forced:?}"
        );
        assert_eq!(
            next(),
            "announce route 127.0.0.1/32 next-hop self community [ 65535:0 ]"
        );
        assert_eq!(next(), "withdraw route 127.0.0.1/32 next-hop self");
        let asked = || asked.recv_timeout(PATIENCE).unwrap();
        assert_eq!(asked(), r#"/v1/drain {"step":"bleed","by":"anypop-bgp"}"#);
        assert_eq!(asked(), r#"/v1/drain {"step":"quiesce","by":"anypop-bgp"}"#);
        assert!(command(folder.path(), &["undrain"]).status.success());
        assert_eq!(asked(), r#"/v1/undrain {"by":"anypop-bgp"}"#);
        assert_eq!(next(), "announce route 127.0.0.1/32 next-hop self");

        // The drain file, now with the fleet's permission.
        std::fs::write(path("pops"), "pop2 announced\n").unwrap();
        std::fs::write(path("drain"), "new kernel\n").unwrap();
        assert!(next().ends_with("[ 65535:0 ]"));
        assert!(next().starts_with("withdraw"));
        let status = command(folder.path(), &["status"]);
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(status.contains("wanted by file (new kernel)"), "{status}");
        assert_eq!(command(folder.path(), &["undrain"]).status.code(), Some(1));
        std::fs::remove_file(path("drain")).unwrap();
        assert!(next().starts_with("announce"));

        // SIGTERM drains, and the end is a clean one.
        let pid = agent.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        assert!(next().ends_with("[ 65535:0 ]"));
        assert!(next().starts_with("withdraw"));
        assert!(agent.0.wait().unwrap().success());
        assert!(!path("bgp.sock").exists(), "the socket's file goes with it");
        let log = std::fs::read_to_string(path("log")).unwrap();
        for line in log.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_ne!(line["level"], "ERROR", "{line}");
        }
    });
}

#[test]
fn what_is_wrong_ends_with_2_and_what_fails_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("agent.toml");
    std::fs::write(
        &wrong,
        "[agent]\nasn = 1\nrouter_id = \"192.0.2.1\"\nx = 1\n",
    )
    .unwrap();
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_anypop-bgp"))
            .args(arguments)
            .arg(&wrong)
            .output()
            .unwrap()
    };
    for arguments in [["check", "--config"], ["run", "--config"]] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("agent.toml:4: agent.x: unknown field"),
            "{said}"
        );
    }
    assert_eq!(command(folder.path(), &["status"]).status.code(), Some(1));
}
