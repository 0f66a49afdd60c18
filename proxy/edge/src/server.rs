//! A node from its configuration: everything is opened and bound before anything serves, so that a
//! node that cannot start has not half started; and everything is put down in order at the end.

mod certificates;
mod reload;
mod signals;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use anypop_config::{Live, Node, Snapshot};
use anypop_listen::{Listener, Mode, Server};
use anypop_origin::{Client, Guard, Network, Pool, Pools, Resolver, TcpDial};
use anypop_store::{DiskState, Limits, Store};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{
    net::UnixListener,
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin,
    application::Front,
    edge::{Bound, Edge, IDLE_ORIGIN_CONNECTIONS},
    hot::Hot,
    lifecycle::{Lifecycle, State},
    observe::{
        access_log::AccessLog,
        daemon_log::DaemonLog,
        labels::{Health, Outcome},
        metrics::{Build, Metrics, OriginHealth, StoreFigures},
        otlp::{self, Endpoint, Resource},
        trace::Sampler,
    },
    pipeline::{Identity, RateLimiter},
    settings::{self, Unusable},
    status_stream::StatusSocket,
    unix_socket,
};

pub(crate) use reload::Reloader;
pub use reload::{Reloaded, reload};
pub use signals::until_told;

/// How long open connections may take to end by themselves after SIGTERM.
const BLEED: Duration = Duration::from_secs(60);
/// How long log lines may take to be written at the end.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Why a node did not start. Nothing of it runs then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A document names something that cannot be used.
    #[error("{}", lines(.0))]
    Unusable(Vec<Unusable>),
    /// An address or socket could not be bound.
    #[error("{0}")]
    Bind(String),
    /// Anything else.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// What a running node tells those who started it.
#[derive(Clone, Debug, Serialize)]
pub struct Ready {
    /// The process.
    pub pid: u32,
    /// Where clients are accepted.
    pub listeners: Vec<Bound>,
    /// The control socket, if there is one.
    pub admin: Option<PathBuf>,
    /// The control API's TCP address, if there is one.
    pub admin_address: Option<SocketAddr>,
}

/// Where a node's configuration came from, for a reload.
pub struct Document {
    /// The node's document.
    pub source: PathBuf,
    /// The daemon's log, whose level follows the document.
    pub log: Option<DaemonLog>,
}

/// Which of a node's control doors are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doors {
    /// Admin API and status stream, as the document says.
    All,
    /// Neither: a node without a document has no place for them, unless one was named.
    None,
}

/// A node that serves.
pub struct Running {
    edge: Arc<Edge>,
    ready: Ready,
    mode: watch::Sender<Mode>,
    serving: Vec<JoinHandle<io::Result<()>>>,
    control: Vec<JoinHandle<()>>,
    stop_control: CancellationToken,
    cut: CancellationToken,
}

/// Starts a node.
///
/// # Errors
/// When anything that its documents ask for cannot be had; nothing runs then.
pub async fn start(
    snapshot: Snapshot,
    doors: Doors,
    document: Option<Document>,
) -> Result<Running, StartError> {
    // Not the first to start in this process: then the provider is the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let node = snapshot.node.clone();
    let metrics = Arc::new(Metrics::new(Build {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("ANYPOP_COMMIT").unwrap_or(""),
    }));
    let limits = Limits {
        memory: node.cache.memory.bytes(),
        max_object: node.cache.max_object.bytes(),
        // Each site has a bound of its own, which is kept where variants are stored.
        max_variants: usize::MAX,
        ..Limits::default()
    };
    // Reading the index of a large disk takes seconds.
    let (tier, disks) = settings::disks(&node);
    let opened = tokio::task::spawn_blocking(move || Store::open(limits, tier, disks)).await;
    let store = opened.map_err(|error| StartError::Io {
        what: "the store".to_owned(),
        source: io::Error::other(error),
    })?;
    for disk in store.disks() {
        if let DiskState::Offline(why) = &disk.state {
            tracing::error!(disk = disk.path, why, "a disk is out of service");
        }
    }
    let listeners: Vec<Listener> = settings::listeners(&node)
        .map(Listener::bind)
        .collect::<Result<_, _>>()
        .map_err(|error| StartError::Bind(error.to_string()))?;
    let bound = bound(&node, &listeners)?;
    let network = network(&node, &bound)?;
    let pools = Pools::new(network.clone());
    let pool_settings: Vec<_> = snapshot
        .sites
        .iter()
        .map(|site| settings::pool(site))
        .collect::<Result<_, _>>()
        .map_err(one)?;
    pools.replace(pool_settings);
    let (certificates, tickets) = certificates::load(&snapshot).map_err(StartError::Unusable)?;
    let control = Control::bind(&node, doors).await?;
    let access_log = AccessLog::open(
        &settings::access_log(&node.log.access),
        &node.name,
        metrics.clone(),
    )
    .map_err(|source| StartError::Io {
        what: format!("access log {}", node.log.access),
        source,
    })?;
    let stop_control = CancellationToken::new();
    let (spans, exporter) = match &node.tracing.otlp {
        Some(url) => {
            let endpoint: Endpoint = url
                .to_string()
                .parse()
                .map_err(|error| one(Unusable::new("tracing.otlp", error)))?;
            let (spans, exporter) = otlp::exporter(endpoint, resource(&node), metrics.clone());
            (Some(spans), Some(exporter))
        }
        None => (None, None),
    };
    let site_count = snapshot.sites.len() as u64;
    let edge = Arc::new(Edge {
        live: Live::new(snapshot),
        origin: Client::new(IDLE_ORIGIN_CONNECTIONS),
        pools,
        certificates: certificates.clone(),
        lifecycle: Arc::new(Lifecycle::default()),
        metrics: metrics.clone(),
        access_log,
        sampler: if spans.is_some() {
            Sampler::new(node.tracing.sample)
        } else {
            Sampler::off()
        },
        spans,
        identity: Identity::new(&node.name),
        rates: RateLimiter::default(),
        hot: Hot::default(),
        tasks: TaskTracker::new(),
        closed: Notify::new(),
        started: Instant::now(),
        listeners: OnceLock::from(bound.clone()),
        reloader: OnceLock::new(),
        reloading: Mutex::default(),
        store,
    });
    let figures = edge.store.clone();
    metrics.set_store_source(move || store_figures(&figures));
    let served = Arc::downgrade(&edge);
    metrics.set_origin_source(move || served.upgrade().map_or_else(Vec::new, |edge| health(&edge)));
    metrics.reloaded(Outcome::Ok, 1, site_count, SystemTime::now());

    let (mode, watched) = watch::channel(Mode::Serve);
    let front = Arc::new(Front::new(edge.clone()));
    let server = Arc::new(Server::new(
        front,
        settings::limits(&node.limits),
        certificates.clone(),
        watched,
    ));
    if let Some(Document { source, log }) = document {
        let reloader = Reloader {
            source,
            server: Arc::downgrade(&server),
            network,
            log,
        };
        // The cell was made empty above.
        let _ = edge.reloader.set(reloader);
    }
    let serving = listeners
        .into_iter()
        .map(|listener| tokio::spawn(listener.run(server.clone())))
        .collect();
    let ready = Ready {
        pid: std::process::id(),
        listeners: bound,
        admin: control.admin.as_ref().map(|_| node.admin.socket.clone()),
        admin_address: control.address,
    };
    let mut tasks = control.serve(&edge, &node, &stop_control);
    if let Some(tickets) = tickets {
        let stop = stop_control.clone();
        tasks.push(tokio::spawn(async move {
            tokio::select! {
                () = tickets.keep_fresh() => {}
                () = stop.cancelled() => {}
            }
        }));
    }
    if let Some(exporter) = exporter {
        let stop = stop_control.clone();
        tasks.push(tokio::spawn(
            exporter.run(async move { stop.cancelled().await }),
        ));
    }
    edge.lifecycle.change(State::Ready, "");
    Ok(Running {
        edge,
        ready,
        mode,
        serving,
        control: tasks,
        stop_control,
        cut: CancellationToken::new(),
    })
}

impl Running {
    /// What it tells those who started it.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Its shared parts.
    pub fn edge(&self) -> &Arc<Edge> {
        &self.edge
    }

    /// Cancelled, it ends a drain at once.
    pub fn cutter(&self) -> CancellationToken {
        self.cut.clone()
    }

    /// Lets open connections end by themselves, in their own time but not for longer than a
    /// minute, and then ends. New connections are served meanwhile, one request each.
    pub async fn drain(self, reason: &str) {
        self.edge.lifecycle.change(State::Bleeding, reason);
        self.mode.send_replace(Mode::Bleed);
        let deadline = tokio::time::sleep(BLEED);
        tokio::pin!(deadline);
        while self.edge.metrics.connections_open.value() > 0 {
            tokio::select! {
                () = &mut deadline => {
                    let left = self.edge.metrics.connections_open.value();
                    tracing::warn!(connections = left, "the deadline is over; open connections are cut");
                    break;
                }
                () = self.cut.cancelled() => break,
                // It keeps one word for who comes late, so none between check and wait is lost.
                () = self.edge.closed.notified() => {}
            }
        }
        self.stop().await;
    }

    /// Ends at once; responses under way are cut.
    pub async fn stop(self) {
        self.mode.send_replace(Mode::Stop);
        for serving in &self.serving {
            serving.abort();
        }
        self.edge.lifecycle.change(State::Drained, "");
        self.stop_control.cancel();
        for task in self.control {
            // Each ends by itself when told; one that panicked has ended too.
            let _ = task.await;
        }
        let edge = self.edge;
        let closed = tokio::task::spawn_blocking(move || {
            // What waits to be written to disk is written, and the disks are free for a successor.
            edge.store.close();
            edge.access_log.close(LAST_WORDS)
        })
        .await;
        if !matches!(closed, Ok(true)) {
            tracing::warn!("the access log did not take its last lines in time");
        }
    }
}

/// The sockets of admin API and status stream.
struct Control {
    admin: Option<UnixListener>,
    tcp: Option<tokio::net::TcpListener>,
    address: Option<SocketAddr>,
    status: Option<StatusSocket>,
}

impl Control {
    async fn bind(node: &Node, doors: Doors) -> Result<Self, StartError> {
        let mut control = Self {
            admin: None,
            tcp: None,
            address: None,
            status: None,
        };
        if doors == Doors::None {
            return Ok(control);
        }
        let socket = &node.admin.socket;
        let bind = |what: &str, error: io::Error| StartError::Bind(format!("{what}: {error}"));
        control.admin = Some(
            unix_socket::bind(socket, 0o660)
                .map_err(|error| bind(&format!("admin socket {}", socket.display()), error))?,
        );
        let path = &node.status.socket;
        control.status = Some(
            StatusSocket::bind(path)
                .map_err(|error| bind(&format!("status socket {}", path.display()), error))?,
        );
        if let Some(address) = node.admin.address {
            let listener = tokio::net::TcpListener::bind(address)
                .await
                .map_err(|error| bind(&format!("admin address {address}"), error))?;
            control.address = listener.local_addr().ok();
            control.tcp = Some(listener);
        }
        Ok(control)
    }

    fn serve(self, edge: &Arc<Edge>, node: &Node, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        if let Some(listener) = self.admin {
            let socket = node.admin.socket.clone();
            let serve = axum::serve(listener, admin::router(edge.clone()));
            let stop = stop.clone();
            tasks.push(tokio::spawn(async move {
                let served = serve
                    .with_graceful_shutdown(async move { stop.cancelled().await })
                    .await;
                if let Err(error) = served {
                    tracing::error!(%error, "the admin API ended");
                }
                let _ = std::fs::remove_file(socket);
            }));
        }
        if let (Some(listener), Some(token)) = (self.tcp, node.admin_token.clone()) {
            let serve = axum::serve(listener, admin::guarded(edge.clone(), token));
            let stop = stop.clone();
            tasks.push(tokio::spawn(async move {
                let served = serve
                    .with_graceful_shutdown(async move { stop.cancelled().await })
                    .await;
                if let Err(error) = served {
                    tracing::error!(%error, "the admin API's TCP listener ended");
                }
            }));
        }
        if let Some(status) = self.status {
            let (lifecycle, vitals) = (edge.lifecycle.clone(), edge.clone());
            let stop = stop.clone();
            tasks.push(tokio::spawn(async move {
                tokio::select! {
                    () = status.serve(lifecycle, vitals) => {}
                    () = stop.cancelled() => {}
                }
            }));
        }
        tasks
    }
}

fn bound(node: &Node, listeners: &[Listener]) -> Result<Vec<Bound>, StartError> {
    listeners
        .iter()
        .zip(&node.listen)
        .map(|(listener, document)| {
            let address = listener.local_addr().map_err(|source| StartError::Io {
                what: "a bound listener".to_owned(),
                source,
            })?;
            Ok(Bound {
                address,
                tls: document.tls,
            })
        })
        .collect()
}

fn network(node: &Node, bound: &[Bound]) -> Result<Arc<Network>, StartError> {
    let resolver = Resolver::dns(&node.origin.resolver)
        .map_err(|error| one(Unusable::new("origin.resolver", error)))?;
    let own = bound.iter().map(|bound| bound.address).collect();
    let guard = Guard::new(settings::networks(&node.origin.allow)).with_own(own);
    Ok(Network::new(resolver, guard, Arc::new(TcpDial)))
}

fn resource(node: &Node) -> Resource {
    Resource {
        node: node.name.clone(),
        pop: node.pop.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The health of every site's servers.
fn health(edge: &Edge) -> Vec<OriginHealth> {
    let of_pool = |pool: Arc<Pool>| {
        let site = pool.settings().site.to_string();
        pool.servers().into_iter().map(move |status| OriginHealth {
            site: site.clone(),
            server: status.server.to_string(),
            health: if status.up { Health::Up } else { Health::Down },
        })
    };
    edge.pools.all().into_iter().flat_map(of_pool).collect()
}

/// Those of memory, and those of all disks in service together.
fn store_figures(store: &Store) -> Vec<(&'static str, StoreFigures)> {
    let stats = store.stats();
    let memory = StoreFigures {
        objects: stats.objects,
        bytes: stats.bytes,
        capacity: stats.limit,
        evictions: stats.evictions,
    };
    let disks = store.disks();
    let online = disks.iter().filter(|disk| disk.state == DiskState::Online);
    let disk = online.fold(StoreFigures::default(), |sum, disk| StoreFigures {
        objects: sum.objects + disk.objects,
        bytes: sum.bytes + disk.used,
        capacity: sum.capacity + disk.size,
        evictions: sum.evictions + disk.evicted,
    });
    if disks.is_empty() {
        vec![("memory", memory)]
    } else {
        vec![("memory", memory), ("disk", disk)]
    }
}

fn one(error: Unusable) -> StartError {
    StartError::Unusable(vec![error])
}

fn lines(wrong: &[Unusable]) -> String {
    wrong
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// What of a configuration that parses cannot be used: certificates, keys, origins.
pub fn check(snapshot: &Snapshot) -> Vec<Unusable> {
    let mut found: Vec<Unusable> = snapshot
        .sites
        .iter()
        .filter_map(|site| settings::pool(site).err())
        .collect();
    found.extend(certificates::load(snapshot).err().unwrap_or_default());
    if let Some(url) = &snapshot.node.tracing.otlp
        && let Err(error) = url.to_string().parse::<Endpoint>()
    {
        found.push(Unusable::new("tracing.otlp", error));
    }
    found
}
