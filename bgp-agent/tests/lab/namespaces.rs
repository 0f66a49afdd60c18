//! Two network namespaces and what runs in them. Nothing outlives the lab, also not when a test panics.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A router's namespace and a PoP's, with a link between them.
pub(crate) struct Lab {
    pub(crate) router: String,
    pub(crate) pop: String,
    pub(crate) folder: tempfile::TempDir,
    children: Vec<Child>,
}

/// Why there can be no lab here; none if there can.
pub(crate) fn missing() -> Option<&'static str> {
    // Only root may read it.
    if File::open("/etc/shadow").is_err() {
        return Some("not root");
    }
    for (program, flag, message) in [
        ("ip", "-V", "ip (iproute2) is missing"),
        ("bird", "--version", "bird (bird2) is missing"),
    ] {
        let found = Command::new(program)
            .arg(flag)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if found.is_err() {
            return Some(message);
        }
    }
    let name = format!("anypop-try-{}", std::process::id());
    let able = ip(&["netns", "add", &name]).is_ok();
    let _ = ip(&["netns", "del", &name]);
    (!able).then_some("network namespaces cannot be made")
}

fn ip(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Lab {
    pub(crate) fn new(name: &str) -> Self {
        let id = std::process::id();
        let lab = Self {
            router: format!("anypop-r-{name}-{id}"),
            pop: format!("anypop-p-{name}-{id}"),
            folder: tempfile::tempdir().unwrap(),
            children: Vec::new(),
        };
        for namespace in [&lab.router, &lab.pop] {
            ip(&["netns", "add", namespace]).unwrap();
            lab.ip(namespace, &["link", "set", "lo", "up"]);
            // No duplicate address detection: addresses are usable at once.
            for key in ["all", "default"] {
                let setting = format!("/proc/sys/net/ipv6/conf/{key}/accept_dad");
                let script = format!("echo 0 > {setting}");
                lab.run(namespace, &["sh", "-c", &script]);
            }
        }
        let (router, pop) = (lab.router.as_str(), lab.pop.as_str());
        ip(&[
            "link", "add", "up0", "netns", router, "type", "veth", "peer", "name", "up0", "netns",
            pop,
        ])
        .unwrap();
        for (namespace, host) in [(router, "1"), (pop, "2")] {
            lab.ip(
                namespace,
                &["addr", "add", &format!("10.99.0.{host}/24"), "dev", "up0"],
            );
            let v6 = format!("fd00:99::{host}/64");
            lab.ip(namespace, &["addr", "add", &v6, "dev", "up0", "nodad"]);
            lab.ip(namespace, &["link", "set", "up0", "up"]);
        }
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `ip` in a namespace.
    pub(crate) fn ip(&self, namespace: &str, arguments: &[&str]) -> String {
        let mut all = vec!["-n", namespace];
        all.extend(arguments);
        ip(&all).unwrap_or_else(|error| panic!("ip {all:?}: {error}"))
    }

    /// A command in a namespace, to its end.
    pub(crate) fn run(&self, namespace: &str, command: &[&str]) -> String {
        self.attempt(namespace, command)
            .unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// A command in a namespace, which may fail.
    pub(crate) fn attempt(&self, namespace: &str, command: &[&str]) -> Result<String, String> {
        let mut all = vec!["netns", "exec", namespace];
        all.extend(command);
        ip(&all)
    }

    /// A command in a namespace that goes on, its standard error in a file.
    pub(crate) fn start(&mut self, namespace: &str, log: &str, command: &[&str]) -> usize {
        let child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(self.path(log)).unwrap())
            .spawn()
            .unwrap();
        self.children.push(child);
        self.children.len() - 1
    }

    pub(crate) fn child(&mut self, index: usize) -> &mut Child {
        &mut self.children[index]
    }

    /// SIGKILL, and gone when this returns. `ip netns exec` becomes the command, so it is the command's.
    pub(crate) fn kill(&mut self, index: usize) {
        let _ = self.children[index].kill();
        let _ = self.children[index].wait();
    }

    /// SIGTERM, and gone when this returns.
    pub(crate) fn terminate(&mut self, index: usize) {
        let pid = self.children[index].id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.children[index].wait();
    }

    pub(crate) fn bird(&mut self, config: &str) -> PathBuf {
        let file = self.write("bird.conf", config);
        let socket = self.path("bird.ctl");
        let pid = self.path("bird.pid");
        let router = self.router.clone();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        self.start(
            &router,
            "bird.log",
            &[
                "bird",
                "-f",
                "-c",
                &text(&file),
                "-s",
                &text(&socket),
                "-P",
                &text(&pid),
            ],
        );
        socket
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for namespace in [&self.router, &self.pop] {
            // What a child started lives in the namespace that this test made, and nobody else does.
            let left = ip(&["netns", "pids", namespace]).unwrap_or_default();
            for pid in left.split_whitespace() {
                let _ = Command::new("kill").args(["-KILL", pid]).status();
            }
            let _ = ip(&["netns", "del", namespace]);
        }
        if std::thread::panicking() {
            for log in ["agent.log", "bird.log"] {
                let text = std::fs::read_to_string(self.path(log)).unwrap_or_default();
                let tail: Vec<_> = text.lines().rev().take(30).collect();
                for line in tail.iter().rev() {
                    eprintln!("{log}: {line}");
                }
            }
        }
    }
}
