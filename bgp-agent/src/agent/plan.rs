//! From the document to what the parts of the agent are given.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    address::Place,
    document::{self, Community, Document, OnExit, SpeakerKind},
    fleet::{Anything, Fleet, PopsFile},
    policy::{
        CheckSettings, Counts, DrainSettings, GuardSettings, HoldDown, Level, NodeCheckSettings,
        Scope, Settings, VipSettings,
    },
    probe::NodeProbe,
    speaker::{Bird, Exabgp, Native, Route, Silent, Speaker, native},
};

/// How long another daemon's routes from before are left alone with `on_exit = "keep"`.
const KEEP_PATIENCE: Duration = Duration::from_secs(10);

/// What the policy is told.
pub(super) fn settings(document: &Document) -> Settings {
    let check = |name: String, interval: Duration, timeout: Duration, rise, fall| CheckSettings {
        name,
        counts: Counts { rise, fall },
        // Two results may be so far apart; what is above that is a prober that hangs.
        lease: interval + timeout + interval.max(Duration::from_secs(1)),
    };
    Settings {
        vips: document
            .vip
            .iter()
            .map(|vip| VipSettings {
                prefix: vip.prefix,
                addresses: addresses(vip),
                checks: vip
                    .check
                    .iter()
                    .map(|p| {
                        let name = p.url.to_string();
                        check(name, p.interval.0, p.timeout.0, p.rise, p.fall)
                    })
                    .collect(),
            })
            .collect(),
        checks: document
            .check
            .iter()
            .filter_map(|c| {
                let name = NodeProbe::new(c)?.name();
                Some(NodeCheckSettings {
                    check: check(name, c.interval.0, c.timeout.0, c.rise, c.fall),
                    scope: match c.scope {
                        document::Scope::Local => Scope::Local,
                        document::Scope::Shared => Scope::Shared,
                    },
                })
            })
            .collect(),
        proxy: Counts {
            rise: document.proxy.rise,
            fall: document.proxy.fall,
        },
        drain: DrainSettings {
            deadline: document.drain.deadline.0,
            connections: document.drain.connections,
            quiesce: document.drain.quiesce.0,
            lead: document.drain.lead.0,
        },
        hold_down: HoldDown {
            base: document.hold_down.base.0,
            max: document.hold_down.max.0,
            forget: document.hold_down.forget.0,
        },
        guard: GuardSettings {
            withdrawals: document.guard.withdrawals,
            window: document.guard.window.0,
        },
    }
}

fn addresses(vip: &document::Vip) -> Vec<std::net::IpAddr> {
    if vip.addresses.is_empty() {
        vec![vip.prefix.addr()]
    } else {
        vip.addresses.clone()
    }
}

/// Where the VIPs' addresses are.
pub(super) fn places(document: &Document, dry_run: bool) -> Vec<Place> {
    document
        .vip
        .iter()
        .map(|vip| Place {
            addresses: addresses(vip),
            managed: (vip.manage_address && !dry_run).then(|| vip.interface.clone()),
        })
        .collect()
}

/// A VIP's route at a level.
pub(super) fn route(document: &Document, vip: usize, level: Level) -> Option<Route> {
    let vip = document.vip.get(vip)?;
    let mut communities: BTreeSet<_> = vip.communities.iter().copied().collect();
    let mut large_communities: BTreeSet<_> = vip.large_communities.iter().copied().collect();
    let mut prepend = u16::from(vip.prepend);
    match level {
        Level::Normal => {}
        Level::Degraded => {
            communities.extend(&vip.degraded.communities);
            large_communities.extend(&vip.degraded.large_communities);
            prepend += u16::from(vip.degraded.prepend);
        }
        Level::Shifting => {
            communities.insert(Community::GRACEFUL_SHUTDOWN);
            prepend += u16::from(document.drain.prepend);
        }
    }
    Some(Route {
        next_hop: vip.next_hop,
        communities: communities.into_iter().collect(),
        large_communities: large_communities.into_iter().collect(),
        prepend,
        med: vip.med,
        local_pref: vip.local_pref.unwrap_or(100),
    })
}

/// Who is asked before an elective drain.
pub(super) fn fleet(document: &Document) -> Arc<dyn Fleet> {
    match &document.guard.pops_file {
        Some(file) if document.guard.min_pops > 0 => Arc::new(PopsFile {
            file: file.clone(),
            own: document.agent.pop.clone(),
            least: document.guard.min_pops,
            max_age: document.guard.pops_max_age.0,
        }),
        _ => Arc::new(Anything),
    }
}

/// Who speaks. Must be called within a tokio runtime.
///
/// # Errors
/// When a password file cannot be read any more.
pub(super) fn speaker(document: &Document, dry_run: bool) -> Result<Box<dyn Speaker>, String> {
    if dry_run {
        return Ok(Box::new(Silent::default()));
    }
    let asn = document.agent.asn;
    Ok(match (document.agent.speaker, &document.bird) {
        (SpeakerKind::Native, _) => {
            let neighbors: Result<_, _> = document
                .neighbor
                .iter()
                .map(|neighbor| self::neighbor(document, neighbor))
                .collect();
            Box::new(Native::start(neighbors?))
        }
        (SpeakerKind::Bird, Some(bird)) => {
            let patience = match document.agent.on_exit {
                OnExit::Keep => KEEP_PATIENCE,
                _ => Duration::ZERO,
            };
            Box::new(Bird::start(
                bird.control_socket.clone(),
                bird.include_file.clone(),
                asn,
                patience,
            ))
        }
        (SpeakerKind::Bird, None) => return Err("bird: not given".to_owned()),
        (SpeakerKind::Exabgp, _) => {
            let pipe = document.exabgp.as_ref().and_then(|e| e.pipe.clone());
            Box::new(Exabgp::start(pipe, asn))
        }
    })
}

fn neighbor(
    document: &Document,
    neighbor: &document::Neighbor,
) -> Result<native::Neighbor, String> {
    let password = match &neighbor.password_file {
        None => None,
        Some(file) => {
            let bytes =
                std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
            Some(bytes.trim_ascii().to_vec())
        }
    };
    let seconds = |span: document::Span| u16::try_from(span.0.as_secs()).unwrap_or(u16::MAX);
    Ok(native::Neighbor {
        address: SocketAddr::new(neighbor.address, neighbor.port),
        asn: neighbor.asn,
        local_asn: document.agent.asn,
        router_id: document.agent.router_id,
        password,
        ttl_security: neighbor.ttl_security,
        ttl: neighbor.ttl,
        source: neighbor.source_address,
        hold_time: seconds(neighbor.hold_time),
        connect_retry: neighbor.connect_retry.0,
        user_timeout: neighbor.user_timeout.unwrap_or(neighbor.hold_time).0,
        graceful_restart: seconds(neighbor.graceful_restart),
        max_received: neighbor.max_received as usize,
    })
}
