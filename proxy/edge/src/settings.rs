//! The documents' values in the forms that the other crates take.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anypop_config::{
    Node, Site,
    node::{Admission, LogLevel, ProxyLimits},
    site::{self, OriginHttp2},
    value::{AccessLog, Networks, Scheme, SyslogTarget},
};
use anypop_listen as listen;
use anypop_origin as origin;
use anypop_store::{self as store, DiskSettings, TierSettings};
use http::HeaderValue;
use ipnet::IpNet;
use tracing_subscriber::filter::LevelFilter;

use crate::observe::access_log::LogTarget;

/// A node's or site's document names something that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{subject}: {problem}")]
pub struct Unusable {
    /// The site, or the file.
    pub subject: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Unusable {
    pub(crate) fn new(subject: impl ToString, problem: impl ToString) -> Self {
        Self {
            subject: subject.to_string(),
            problem: problem.to_string(),
        }
    }
}

/// What clients may ask of the listeners.
pub fn limits(limits: &ProxyLimits) -> listen::Limits {
    listen::Limits {
        connections: limits.connections as usize,
        connections_per_client: limits.connections_per_client as usize,
        tls_handshake: limits.tls_handshake,
        header_timeout: limits.header_timeout,
        body_timeout: limits.body_timeout,
        body_min_rate: limits.body_min_rate.bytes(),
        idle_timeout: limits.idle_timeout,
        write_timeout: limits.write_timeout,
        header_bytes: limits.header_bytes.as_usize(),
        header_count: limits.header_count as usize,
        uri_bytes: limits.uri_bytes.as_usize(),
        h2_streams: limits.h2_streams,
        h2_resets: limits.h2_resets,
        h2_header_list: u32::try_from(limits.h2_header_list.bytes()).unwrap_or(u32::MAX),
        keepalive_requests: limits.keepalive_requests.into(),
    }
}

/// The node's listeners.
pub fn listeners(node: &Node) -> impl Iterator<Item = listen::ListenSettings> {
    node.listen.iter().map(|one| listen::ListenSettings {
        tls: one.tls,
        http2: one.http2,
        proxy_protocol: networks(&one.proxy_protocol),
        ..listen::ListenSettings::new(one.address)
    })
}

/// Networks as the other crates take them.
pub fn networks(networks: &Networks) -> Vec<IpNet> {
    networks
        .iter()
        .map(anypop_config::value::Network::net)
        .collect()
}

/// A site's origin.
///
/// # Errors
/// When a certificate or key cannot be read or used.
pub fn pool(site: &Site) -> Result<origin::PoolSettings, Unusable> {
    let unusable =
        |problem: &dyn std::fmt::Display| Unusable::new(format!("site {}", site.id), problem);
    let from = &site.origin;
    let mut servers = Vec::with_capacity(from.servers.len());
    for server in &from.servers {
        let tls = server.url.scheme == Scheme::Https;
        let url = origin::ServerUrl::new(tls, server.url.host.as_str(), server.url.port)
            .map_err(|error| unusable(&error))?;
        servers.push(origin::ServerSettings {
            url,
            weight: server.weight,
        });
    }
    let trust = from.ca.as_deref().map(|path| {
        origin::Trust::from_pem(&read(path)?).map_err(|error| Unusable::new(path.display(), error))
    });
    let identity = from.client_identity.as_ref().map(|(certificate, key)| {
        origin::Identity::from_pem(&read(certificate)?, &read(key)?)
            .map_err(|error| Unusable::new(certificate.display(), error))
    });
    Ok(origin::PoolSettings {
        balance: match from.balance {
            site::Balance::RoundRobin => origin::Balance::RoundRobin,
            site::Balance::Random => origin::Balance::Random,
            site::Balance::LeastRequests => origin::Balance::LeastRequests,
            site::Balance::ClientHash => origin::Balance::ClientHash,
        },
        host: from
            .host
            .as_ref()
            .and_then(|host| HeaderValue::from_str(host.as_str()).ok()),
        tls: origin::TlsSettings {
            sni: from.sni.as_ref().map(ToString::to_string),
            verify: from.verify,
            trust: trust.transpose()?,
            identity: identity.transpose()?,
        },
        http2: match from.http2 {
            OriginHttp2::Off => origin::Http2::Off,
            OriginHttp2::Alpn => origin::Http2::Offered,
            OriginHttp2::PriorKnowledge => origin::Http2::PriorKnowledge,
        },
        timeouts: origin::Timeouts {
            connect: from.connect_timeout,
            tls: from.tls_timeout,
            first_byte: from.first_byte_timeout,
            between_bytes: from.between_bytes_timeout,
            write: from.write_timeout,
            // Pingora cannot count down from nothing.
            idle: from.idle_timeout.max(Duration::from_millis(1)),
        },
        retries: from.retries,
        max_connections: from.max_connections as usize,
        ..origin::PoolSettings::new(Arc::<str>::from(site.id.as_str()), servers)
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    fs::read(path).map_err(|error| Unusable::new(path.display(), error))
}

/// The node's disks, and what goes to them.
pub fn disks(node: &Node) -> (TierSettings, Vec<DiskSettings>) {
    let tier = TierSettings {
        admission: match node.cache.admission {
            Admission::Always => store::Admission::Always,
            Admission::SecondHit => store::Admission::SecondHit,
        },
        ..TierSettings::default()
    };
    let disks = node.cache.disk.iter();
    (
        tier,
        disks
            .map(|disk| DiskSettings::new(&disk.path, disk.size.bytes()))
            .collect(),
    )
}

/// Where the access log goes.
pub fn access_log(target: &AccessLog) -> LogTarget {
    match target {
        AccessLog::Stdout => LogTarget::Stdout,
        AccessLog::Off => LogTarget::Off,
        AccessLog::File(path) => LogTarget::File(path.clone()),
        AccessLog::Syslog(SyslogTarget::Unix(path)) => LogTarget::SyslogSocket(path.clone()),
        AccessLog::Syslog(SyslogTarget::Udp(host, port)) => {
            LogTarget::SyslogUdp(format!("{host}:{port}"))
        }
    }
}

/// How much the daemon's own log says.
pub fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
