//! The real daemon, on a folder and ports of its own.

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::{Client, DEADLINE, Response, command::Output, origin::Origin, within};

/// The daemon's binary: the one beside the tests' own, or what `ANYPOP_BIN` names.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ANYPOP_BIN") {
        return PathBuf::from(path);
    }
    // target/<profile>/deps/<test> → target/<profile>/anypop
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("anypop");
    assert!(
        path.exists(),
        "{} is not there: `cargo build -p anypop` first, or use `./x test`",
        path.display()
    );
    path
}

/// Runs `anypop` with these arguments to its end.
pub async fn anypop<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    crate::command::run(binary(), arguments, b"").await
}

/// The documents of a node before it starts.
pub struct EdgeBuilder {
    folder: tempfile::TempDir,
    listen: String,
    node: String,
    admin: String,
    arguments: Vec<String>,
}

impl Default for EdgeBuilder {
    fn default() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("anypop-test")
            .tempdir()
            .unwrap();
        std::fs::create_dir(folder.path().join("sites")).unwrap();
        Self {
            folder,
            listen: String::new(),
            node: String::new(),
            admin: String::new(),
            arguments: Vec::new(),
        }
    }
}

impl EdgeBuilder {
    /// The folder that the documents are in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds a listener on a free port; `more` is further keys of its table.
    #[must_use]
    pub fn listen(mut self, more: &str) -> Self {
        self.listen
            .push_str(&format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{more}\n"));
        self
    }

    /// Adds tables to the node document (not `[[listen]]`, `[admin]`, `[status]`, `[origin]` nor `[sites]`, which are there).
    #[must_use]
    pub fn node(mut self, text: &str) -> Self {
        self.node.push_str(text);
        self.node.push('\n');
        self
    }

    /// Adds keys to the `[admin]` table.
    #[must_use]
    pub fn admin(mut self, text: &str) -> Self {
        self.admin.push_str(text);
        self.admin.push('\n');
        self
    }

    /// Writes a site's document.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn site(self, id: &str, text: &str) -> Self {
        std::fs::write(
            self.folder.path().join("sites").join(format!("{id}.toml")),
            text,
        )
        .unwrap();
        self
    }

    /// Adds a site for any host in front of `origin`; `more` is further tables and keys of `[cache]`, which comes last.
    #[must_use]
    pub fn any_host(self, origin: &Origin, more: &str) -> Self {
        let text = site("any", &["*"], origin, more);
        self.site("any", &text)
    }

    /// Adds an argument to `anypop serve`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Writes the node document and returns where it is.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn write(&self) -> PathBuf {
        let folder = self.folder.path().display();
        let listen = if self.listen.is_empty() {
            "[[listen]]\naddress = \"127.0.0.1:0\"\n"
        } else {
            &self.listen
        };
        let origin = if self.node.contains("[origin]") {
            ""
        } else {
            "[origin]\nallow = [\"127.0.0.0/8\", \"::1/128\"]\n"
        };
        let text = format!(
            "{listen}[admin]\nsocket = \"{folder}/admin.sock\"\n{}[status]\nsocket = \"{folder}/status.sock\"\n{origin}[sites]\ndirectory = \"sites\"\n{}",
            self.admin, self.node
        );
        let path = self.folder.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts the daemon and waits until it serves.
    ///
    /// # Panics
    /// When it ends instead, with what it said.
    pub async fn start(self) -> Edge {
        let document = self.write();
        let running = Running::start(&config(&document), self.folder.path(), &self.arguments).await;
        Edge {
            builder: self,
            running,
        }
    }

    /// Starts a daemon that is expected to end by itself, at once.
    pub async fn start_and_fail(&self) -> Output {
        let document = self.write();
        anypop([
            OsStr::new("serve"),
            OsStr::new("--config"),
            document.as_os_str(),
        ])
        .await
    }
}

/// The text of a site document: `more` follows the origin table (`[cache]` keys first come with their own header).
#[must_use]
pub fn site(id: &str, hostnames: &[&str], origin: &Origin, more: &str) -> String {
    format!(
        "id = \"{id}\"\nhostnames = {hostnames:?}\n[origin]\nservers = [{{ url = \"{}\" }}]\n{more}\n",
        origin.url()
    )
}

fn config(document: &Path) -> [OsString; 3] {
    ["serve".into(), "--config".into(), document.into()]
}

/// Starts `anypop serve --origin URL --listen 127.0.0.1:0`, without any document.
pub async fn serve_origin(url: &str) -> Edge {
    let builder = EdgeBuilder::default();
    let what: Vec<OsString> = ["serve", "--origin", url, "--listen", "127.0.0.1:0"]
        .map(Into::into)
        .into();
    let running = Running::start(&what, builder.folder(), &[]).await;
    Edge { builder, running }
}

/// Starts `anypop demo` on free ports.
pub async fn demo() -> Edge {
    let builder = EdgeBuilder::default();
    let what: Vec<OsString> = ["demo", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0"]
        .map(Into::into)
        .into();
    let running = Running::start(&what, builder.folder(), &[]).await;
    Edge { builder, running }
}

/// A running daemon; it is killed when dropped.
pub struct Edge {
    builder: EdgeBuilder,
    running: Running,
}

struct Running {
    child: Child,
    listeners: Vec<SocketAddr>,
    log: watch::Receiver<String>,
    output: watch::Receiver<String>,
}

impl Running {
    async fn start(what: &[OsString], folder: &Path, arguments: &[String]) -> Self {
        let announce = folder.join("announce.json");
        let _ = std::fs::remove_file(&announce);
        let mut child = Command::new(binary())
            .args(what)
            .arg("--announce")
            .arg(&announce)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = collect(child.stderr.take().unwrap());
        let output = collect(child.stdout.take().unwrap());
        let deadline = Instant::now() + DEADLINE;
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let text = loop {
            tick.tick().await;
            if let Ok(text) = std::fs::read_to_string(&announce) {
                break text;
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{}", log.borrow().as_str());
            }
            assert!(
                Instant::now() < deadline,
                "the daemon does not announce itself:\n{}",
                log.borrow().as_str()
            );
        };
        let announced: serde_json::Value = serde_json::from_str(&text).unwrap();
        let listeners = announced["listeners"]
            .as_array()
            .unwrap()
            .iter()
            .map(|listener| listener["address"].as_str().unwrap().parse().unwrap())
            .collect();
        assert_eq!(announced["pid"].as_u64(), child.id().map(u64::from));
        Self {
            child,
            listeners,
            log,
            output,
        }
    }
}

/// Reads a stream of lines for as long as it lasts.
fn collect(stream: impl AsyncRead + Unpin + Send + 'static) -> watch::Receiver<String> {
    let (sender, receiver) = watch::channel(String::new());
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            sender.send_modify(|text| {
                text.push_str(&line);
                text.push('\n');
            });
        }
    });
    receiver
}

impl Edge {
    /// A node with one plain listener, one site for any host, and default settings.
    pub async fn before(origin: &Origin) -> Self {
        Self::builder().any_host(origin, "").start().await
    }

    /// As [`Edge::before`], with further text for the site document.
    pub async fn before_with(origin: &Origin, more: &str) -> Self {
        Self::builder().any_host(origin, more).start().await
    }

    /// A node to be described.
    #[must_use]
    pub fn builder() -> EdgeBuilder {
        EdgeBuilder::default()
    }

    /// The address of the first listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener(0)
    }

    /// The address of the listener with this index in the document.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn listener(&self, index: usize) -> SocketAddr {
        self.running.listeners[index]
    }

    /// The node's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.builder.folder()
    }

    /// The node document.
    #[must_use]
    pub fn document(&self) -> PathBuf {
        self.builder.folder().join("node.toml")
    }

    /// A new connection to the first listener.
    pub async fn client(&self) -> Client {
        Client::connect(self.address()).await
    }

    /// One GET on a connection of its own.
    pub async fn get(&self, target: &str) -> Response {
        self.client().await.get(target).await
    }

    /// One GET with header fields, on a connection of its own.
    pub async fn get_with(&self, target: &str, fields: &[(&str, &str)]) -> Response {
        self.client().await.request("GET", target, fields).await
    }

    /// One request to the admin socket; a body is sent as JSON.
    pub async fn admin(
        &self,
        method: &str,
        target: &str,
        body: Option<&serde_json::Value>,
    ) -> Response {
        let mut client = Client::unix(&self.folder().join("admin.sock")).await;
        let body = body.map(ToString::to_string).unwrap_or_default();
        client
            .send(format!(
                "{method} {target} HTTP/1.1\r\nHost: admin\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            ))
            .await;
        client.response(method).await.unwrap()
    }

    /// One GET to the admin socket that must answer 200 with JSON.
    pub async fn admin_json(&self, target: &str) -> serde_json::Value {
        let response = self.admin("GET", target, None).await;
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        serde_json::from_slice(&response.body).unwrap()
    }

    /// Purges through the admin socket, which must succeed.
    pub async fn purge(&self, purge: serde_json::Value) {
        let response = self.admin("POST", "/v1/purges", Some(&purge)).await;
        assert!(
            (200..300).contains(&response.status),
            "{}: {}",
            response.status,
            response.text()
        );
    }

    /// The daemon's own log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.running.log.borrow().clone()
    }

    /// Waits for a line of the access log (or anything else on standard output) that contains all of `parts`, and returns it.
    pub async fn access_log(&self, parts: &[&str]) -> String {
        let mut output = self.running.output.clone();
        let found = |text: &str| {
            text.lines()
                .find(|line| parts.iter().all(|part| line.contains(part)))
                .map(str::to_owned)
        };
        let text = within(
            &format!("a log line with {parts:?}"),
            output.wait_for(|text| found(text).is_some()),
        )
        .await
        .unwrap();
        found(&text).unwrap()
    }

    /// What the daemon has printed on standard output so far, once `enough` says that it is enough.
    ///
    /// # Panics
    /// When that does not come within the deadline.
    pub async fn printed(&self, enough: impl Fn(&str) -> bool) -> String {
        let mut output = self.running.output.clone();
        within(
            "what the daemon prints",
            output.wait_for(|text| enough(text)),
        )
        .await
        .unwrap()
        .clone()
    }

    /// The process id.
    ///
    /// # Panics
    /// When the daemon has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.child.id().unwrap()
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// When the daemon has ended.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 1024
    }

    /// Sends a signal by name.
    ///
    /// # Panics
    /// When the daemon has ended.
    pub async fn signal(&self, name: &str) {
        let output = crate::command::run("kill", ["-s", name, &self.pid().to_string()], b"").await;
        assert_eq!(output.code, Some(0), "{}", output.all());
    }

    /// Waits until the daemon ends by itself; its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        within("the daemon's end", self.running.child.wait())
            .await
            .unwrap()
            .code()
    }

    /// Whether the daemon is still there.
    #[must_use]
    pub fn is_alive(&mut self) -> bool {
        self.running.child.try_wait().unwrap().is_none()
    }

    /// Kills the daemon as a power cut would, and starts it again with the same documents.
    pub async fn kill_and_restart(&mut self) {
        within("the daemon's end", self.running.child.kill())
            .await
            .unwrap();
        self.running = Running::start(
            &config(&self.document()),
            self.folder(),
            &self.builder.arguments,
        )
        .await;
    }
}
