//! A programmable origin on raw sockets: it sends exactly what a test wrote down, and remembers what it was sent.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{io::AsyncWriteExt, net::TcpListener, sync::watch, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::{
    certificate::Pair,
    client::Connection,
    gate::Gate,
    message::{Buffer, Request},
    within,
};

/// One line of a script.
#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    Wait(Gate),
    Close,
    Echo,
}

/// What an origin does with one request: bytes to send, gates to wait at, an end.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    head: Option<(u16, String)>,
    steps: Vec<Step>,
}

impl Reply {
    /// A response with this status, to be given fields and a body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            head: Some((status, String::new())),
            steps: Vec::new(),
        }
    }

    /// Exactly these bytes, instead of a well-formed response.
    #[must_use]
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            head: None,
            steps: vec![Step::Send(bytes.into())],
        }
    }

    /// Adds a header field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        if let Some((_, fields)) = &mut self.head {
            fields.push_str(&format!("{name}: {value}\r\n"));
        }
        self
    }

    /// Ends the head with a Content-Length and sends this body.
    #[must_use]
    pub fn body(self, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        self.announce(body.len()).then(body)
    }

    /// Ends the head with a Content-Length of `length`, whatever follows.
    #[must_use]
    pub fn announce(self, length: usize) -> Self {
        self.field("Content-Length", &length.to_string()).end_head()
    }

    /// Ends the head with `Transfer-Encoding: chunked`; follow with [`Reply::chunk`]s and [`Reply::last_chunk`].
    #[must_use]
    pub fn chunked(self) -> Self {
        self.field("Transfer-Encoding", "chunked").end_head()
    }

    /// Ends the head as it is.
    #[must_use]
    pub fn end_head(mut self) -> Self {
        if let Some((status, fields)) = self.head.take() {
            self.steps.push(Step::Send(
                format!("HTTP/1.1 {status} Scripted\r\n{fields}\r\n").into_bytes(),
            ));
        }
        self
    }

    /// Sends these bytes next.
    #[must_use]
    pub fn then(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.steps.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    /// Sends one chunk.
    #[must_use]
    pub fn chunk(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.then(framed)
    }

    /// Ends a chunked body, with trailer fields.
    #[must_use]
    pub fn last_chunk(self, trailers: &[(&str, &str)]) -> Self {
        let fields: String = trailers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        self.then(format!("0\r\n{fields}\r\n"))
    }

    /// Waits at a gate before going on.
    #[must_use]
    pub fn wait(mut self, gate: &Gate) -> Self {
        self.steps.push(Step::Wait(gate.clone()));
        self
    }

    /// Closes the connection.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.steps.push(Step::Close);
        self
    }

    /// From here on sends back whatever comes, until the peer closes.
    #[must_use]
    pub fn echo(mut self) -> Self {
        self.steps.push(Step::Echo);
        self
    }
}

type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

struct Shared {
    handlers: parking::Lock<HashMap<String, Handler>>,
    seen: parking::Lock<Vec<Request>>,
    count: watch::Sender<usize>,
    connections: AtomicUsize,
}

/// Standard locks, whose poisoning only follows a panic that has failed the test already.
mod parking {
    #[expect(
        clippy::disallowed_types,
        reason = "a test needs no fairness, and one dependency less"
    )]
    pub(super) struct Lock<T>(std::sync::Mutex<T>);

    impl<T> Lock<T> {
        #[expect(clippy::disallowed_types, reason = "as above")]
        pub(super) fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub(super) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
            f(&mut self.0.lock().unwrap())
        }
    }
}

/// An origin server; it stops when dropped.
pub struct Origin {
    address: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Origin {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When loopback cannot be bound.
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// Starts with TLS.
    ///
    /// # Panics
    /// When the certificate does not load.
    pub async fn start_tls(pair: &Pair) -> Self {
        let certificates = CertificateDer::pem_file_iter(&pair.certificate)
            .unwrap()
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handlers: parking::Lock::new(HashMap::new()),
            seen: parking::Lock::new(Vec::new()),
            count: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
        });
        let is_tls = tls.is_some();
        let accepting = tokio::spawn(accept(listener, tls, Arc::clone(&shared)));
        Self {
            address,
            tls: is_tls,
            shared,
            accepting,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, without path.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "{}://{}",
            if self.tls { "https" } else { "http" },
            self.address
        )
    }

    /// Always answers requests for `path` (the query does not count) with `reply`.
    pub fn on(&self, path: &str, reply: Reply) {
        self.answer(path, move |_| reply.clone());
    }

    /// Answers requests for `path` with what `handler` says.
    pub fn answer(&self, path: &str, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
        self.shared
            .handlers
            .with(|handlers| handlers.insert(path.to_owned(), Arc::new(handler)));
    }

    /// What it received so far, in the order the heads came.
    #[must_use]
    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.with(|seen| seen.clone())
    }

    /// What it received for `path`.
    #[must_use]
    pub fn seen_at(&self, path: &str) -> Vec<Request> {
        self.seen()
            .into_iter()
            .filter(|request| request.path() == path)
            .collect()
    }

    /// How many requests it received for `path`.
    #[must_use]
    pub fn count(&self, path: &str) -> usize {
        self.seen_at(path).len()
    }

    /// How many connections it accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until it has received `count` requests in all.
    ///
    /// # Panics
    /// When it has not within the deadline.
    pub async fn received(&self, count: usize) {
        let mut seen = self.shared.count.subscribe();
        within("requests at the origin", seen.wait_for(|n| *n >= count))
            .await
            .unwrap();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    // Dropped with this task: an origin that is gone answers on no connection any more.
    let mut conversations = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        conversations.spawn(async move {
            let _ = stream.set_nodelay(true);
            let _ = match tls {
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => converse(stream, &shared).await,
                    Err(error) => Err(error),
                },
                None => converse(stream, &shared).await,
            };
        });
    }
}

async fn converse(mut io: impl Connection, shared: &Shared) -> io::Result<()> {
    let mut buffer = Buffer::default();
    while let Some(mut request) = buffer.request_head(&mut io).await? {
        if request.header("expect").is_some() {
            io.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        // Noted before the body is there: tests wait for a request that hangs in its body, too.
        let index = shared.seen.with(|seen| {
            seen.push(request.clone());
            seen.len() - 1
        });
        shared.count.send_modify(|n| *n += 1);
        request.body = buffer.request_body(&mut io, &request).await?;
        shared
            .seen
            .with(|seen| seen[index].body.clone_from(&request.body));
        let handler = shared
            .handlers
            .with(|handlers| handlers.get(request.path()).cloned());
        let reply = match handler {
            Some(handler) => handler(&request).end_head(),
            None => Reply::new(404)
                .field("Cache-Control", "no-store")
                .body("no line for this path"),
        };
        if !play(reply, &mut io, &mut buffer).await? {
            return io.shutdown().await;
        }
    }
    Ok(())
}

/// Plays a script; false when the connection ends with it.
async fn play(reply: Reply, io: &mut impl Connection, buffer: &mut Buffer) -> io::Result<bool> {
    for step in reply.steps {
        match step {
            Step::Send(bytes) => {
                io.write_all(&bytes).await?;
                io.flush().await?;
            }
            Step::Wait(gate) => gate.pass().await,
            Step::Close => return Ok(false),
            Step::Echo => loop {
                let bytes = buffer.some(io).await?;
                if bytes.is_empty() {
                    return Ok(false);
                }
                io.write_all(&bytes).await?;
                io.flush().await?;
            },
        }
    }
    Ok(true)
}
