//! `anypop serve`

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    path::Path,
    sync::Arc,
};

use anypop_config::{
    Node, Snapshot,
    node::LogFormat,
    value::{AccessLog, ByteSize, Network, ServerUrl},
};

use super::{Failure, args::Serve, check};
use crate::{
    observe::daemon_log::{DaemonLog, Form},
    server::{self, Document, Doors, Ready, StartError},
    settings,
};

pub(super) fn run(args: Serve) -> Result<(), Failure> {
    let (snapshot, doors, document) = match &args.config {
        Some(file) => {
            let loaded = anypop_config::load_node(file).map_err(check::failure)?;
            let log = start_log(&loaded.snapshot.node)?;
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            let document = Document {
                source: file.clone(),
                log: Some(log),
            };
            (loaded.snapshot, Doors::All, Some(document))
        }
        None => {
            let (snapshot, doors) = single_origin(&args)?;
            (snapshot, doors, None)
        }
    };
    serve(snapshot, doors, document, args.announce.as_deref(), |_| {})
}

/// Serves until told to end.
pub(super) fn serve(
    snapshot: Snapshot,
    doors: Doors,
    document: Option<Document>,
    announce: Option<&Path>,
    on_ready: impl FnOnce(&Ready),
) -> Result<(), Failure> {
    let threads = match snapshot.node.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("anypop")
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let running =
            server::start(snapshot, doors, document)
                .await
                .map_err(|error| match error {
                    StartError::Unusable(wrong) => {
                        Failure::Wrong(wrong.iter().map(ToString::to_string).collect())
                    }
                    other => Failure::wrong(other.to_string()),
                })?;
        for bound in &running.ready().listeners {
            tracing::info!(address = %bound.address, tls = bound.tls, "listening");
        }
        if let Some(path) = announce {
            write_whole(path, running.ready())?;
        }
        on_ready(running.ready());
        server::until_told(running).await.map_err(Failure::from)
    })
}

pub(super) fn start_log(node: &Node) -> Result<DaemonLog, Failure> {
    let journal = std::env::var("JOURNAL_STREAM").ok();
    let form = match node.log.format {
        LogFormat::Auto => Form::for_stderr(journal.as_deref()),
        LogFormat::Json => Form::Json,
    };
    DaemonLog::start(settings::level(node.log.level), form)
        .map_err(|error| Failure::Running(error.to_string()))
}

/// Writes the file so that who sees it sees all of it.
fn write_whole(path: &Path, ready: &Ready) -> io::Result<()> {
    let text = serde_json::to_vec(ready)?;
    let part = path.with_extension("part");
    std::fs::write(&part, text)?;
    std::fs::rename(part, path)
}

fn single_origin(args: &Serve) -> Result<(Snapshot, Doors), Failure> {
    let (Some(origin), Some(listen)) = (&args.origin, args.listen) else {
        return Err(Failure::wrong("--origin needs --listen, or use --config"));
    };
    let server: ServerUrl = origin
        .parse()
        .map_err(|error| Failure::wrong(format!("--origin: {error}")))?;
    let networks = networks_of(&server)?;
    let memory: ByteSize = args
        .memory
        .parse()
        .map_err(|error| Failure::wrong(format!("--memory: {error}")))?;
    let access: AccessLog = args
        .access_log
        .parse()
        .map_err(|error| Failure::wrong(format!("--access-log: {error}")))?;
    let mut snapshot = Snapshot::for_single_origin(server, listen, networks);
    let node = Arc::make_mut(&mut snapshot.node);
    node.cache.memory = memory;
    node.log.access = access;
    let doors = match &args.admin_socket {
        Some(socket) => {
            node.admin.socket = socket.clone();
            node.status.socket = socket.with_extension("status.sock");
            Doors::All
        }
        None => Doors::None,
    };
    start_log(node)?;
    Ok((snapshot, doors))
}

/// The networks that the one origin is in, as it resolves now: they are allowed however private.
fn networks_of(server: &ServerUrl) -> Result<Vec<Network>, Failure> {
    let host = server
        .host
        .as_str()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let addresses: Vec<SocketAddr> = (host, server.port)
        .to_socket_addrs()
        .map_err(|error| Failure::wrong(format!("--origin: {host} does not resolve: {error}")))?
        .collect();
    Ok(addresses
        .iter()
        .map(|address| Network::of(address.ip()))
        .collect())
}
