//! A new configuration for a running node: all of it, or nothing of it.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::SystemTime,
};

use anypop_config::{Node, Snapshot};
use anypop_listen::Server;
use anypop_origin::{Guard, Network};

use super::certificates;
use crate::{
    application::Front,
    edge::Edge,
    observe::{daemon_log::DaemonLog, labels::Outcome},
    settings,
};

/// What a reload needs beside the edge itself.
pub(crate) struct Reloader {
    /// The node's document.
    pub(super) source: PathBuf,
    pub(super) server: Weak<Server<Front>>,
    pub(super) network: Arc<Network>,
    pub(super) log: Option<DaemonLog>,
}

/// A configuration that came into force.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Reloaded {
    /// Counts the configurations applied since start.
    pub generation: u64,
    /// How many sites it has.
    pub sites: usize,
    /// What is probably not meant.
    pub warnings: Vec<String>,
}

/// Reads the documents again and puts them in force: sites, origins, certificates, limits, networks,
/// log level. Requests under way end with the configuration they began with.
///
/// # Errors
/// Everything that is wrong, a line each, or the keys that only a restart can change. Nothing has
/// changed then.
pub fn reload(edge: &Edge) -> Result<Reloaded, Vec<String>> {
    let outcome = apply(edge);
    let (result, at) = (
        if outcome.is_ok() {
            Outcome::Ok
        } else {
            Outcome::Failed
        },
        SystemTime::now(),
    );
    let snapshot = edge.live.load();
    edge.metrics
        .reloaded(result, snapshot.generation, snapshot.sites.len() as u64, at);
    match &outcome {
        Ok(done) => tracing::info!(generation = done.generation, sites = done.sites, "reloaded"),
        Err(wrong) => {
            for line in wrong {
                tracing::error!("not reloaded: {line}");
            }
        }
    }
    outcome
}

fn apply(edge: &Edge) -> Result<Reloaded, Vec<String>> {
    let Some(reloader) = edge.reloader.get() else {
        return Err(vec![
            "this node was started without a document, so there is none to read again".to_owned(),
        ]);
    };
    let lines = |all: Vec<anypop_config::Diagnostic>| all.iter().map(ToString::to_string).collect();
    let loaded = anypop_config::load_node(&reloader.source).map_err(
        |all: Vec<anypop_config::Diagnostic>| -> Vec<String> {
            all.iter()
                .filter(|one| !one.is_warning())
                .map(ToString::to_string)
                .collect()
        },
    )?;
    let new = loaded.snapshot;
    let _one_at_a_time = edge.reloading.lock();
    let needs_restart = unchangeable(&edge.live.load().node, &new.node);
    if !needs_restart.is_empty() {
        return Err(needs_restart);
    }
    // All that can fail comes before anything is changed; the certificates last, as they are
    // checked and changed in one.
    let mut pools = Vec::with_capacity(new.sites.len());
    let mut wrong: Vec<String> = Vec::new();
    for site in new.sites.iter() {
        match settings::pool(site) {
            Ok(pool) => pools.push(pool),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    certificates::fill(&edge.certificates, &new)
        .map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    edge.pools.replace(pools);
    Ok(enforce(edge, reloader, new, lines(loaded.warnings)))
}

fn enforce(edge: &Edge, reloader: &Reloader, new: Snapshot, warnings: Vec<String>) -> Reloaded {
    let own = edge.listeners().iter().map(|bound| bound.address).collect();
    let guard = Guard::new(settings::networks(&new.node.origin.allow)).with_own(own);
    reloader.network.set_guard(guard);
    if let Some(server) = reloader.server.upgrade() {
        server.set_limits(settings::limits(&new.node.limits));
    }
    if let Some(log) = &reloader.log {
        log.set_level(settings::level(new.node.log.level));
    }
    let sites = new.sites.len();
    let generation = edge.live.replace(new.node, new.sites);
    let snapshot = edge.live.snapshot();
    edge.metrics
        .retain_sites(|id| snapshot.sites.by_id(id).is_some());
    Reloaded {
        generation,
        sites,
        warnings,
    }
}

/// The keys that differ and that a running process cannot change.
fn unchangeable(old: &Node, new: &Node) -> Vec<String> {
    let keys = [
        ("node.name", old.name == new.name),
        ("node.pop", old.pop == new.pop),
        ("node.threads", old.threads == new.threads),
        ("listen", old.listen == new.listen),
        ("tls", old.tls == new.tls),
        (
            "admin",
            old.admin == new.admin && old.admin_token == new.admin_token,
        ),
        ("status", old.status == new.status),
        ("cache", old.cache == new.cache),
        (
            "origin.resolver",
            old.origin.resolver == new.origin.resolver,
        ),
        (
            "log",
            old.log.access == new.log.access && old.log.format == new.log.format,
        ),
        ("tracing", old.tracing == new.tracing),
    ];
    keys.iter()
        .filter(|(_, same)| !same)
        .map(|(key, _)| format!("{key}: it is changed, which needs a restart of the daemon"))
        .collect()
}
