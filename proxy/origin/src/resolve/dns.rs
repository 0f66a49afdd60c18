//! The DNS behind the resolver.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, RecordType};

use super::{Answer, Family, Lookup, LookupError};

/// The system's resolver configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up DNS: {0}; name servers in [origin] resolver, or repair /etc/resolv.conf")]
pub struct DnsSetupError(String);

/// Asks DNS servers, after `/etc/hosts`.
pub struct Dns {
    resolver: TokioResolver,
}

impl Dns {
    /// Asks the given servers by UDP and TCP, or the system's where there is none.
    ///
    /// # Errors
    /// The system's configuration cannot be read.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, DnsSetupError> {
        let error = |error: NetError| DnsSetupError(error.to_string());
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(error)?
        } else {
            let servers = servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        // Answers are kept above, with a clock that tests can turn.
        builder.options_mut().cache_size = 0;
        let resolver = builder.build().map_err(error)?;
        Ok(Self { resolver })
    }
}

fn name_server(at: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = at.port();
    }
    NameServerConfig::new(at.ip(), true, connections)
}

#[async_trait]
impl Lookup for Dns {
    async fn lookup(&self, name: &str, family: Family) -> Result<Answer, LookupError> {
        let kind = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        let lookup = match self.resolver.lookup(name, kind).await {
            Ok(lookup) => lookup,
            Err(error) => return failure(&error),
        };
        let mut addresses = Vec::new();
        let mut ttl = u32::MAX;
        for record in lookup.answers() {
            // A CNAME on the way bounds the time as much as the address at its end.
            ttl = ttl.min(record.ttl);
            match &record.data {
                RData::A(a) => addresses.push(IpAddr::V4(a.0)),
                RData::AAAA(aaaa) => addresses.push(IpAddr::V6(aaaa.0)),
                _ => {}
            }
        }
        Ok(Answer {
            addresses,
            ttl: Duration::from_secs(u64::from(ttl)),
        })
    }
}

fn failure(error: &NetError) -> Result<Answer, LookupError> {
    match error {
        NetError::Timeout => Err(LookupError::Timeout),
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let ttl = none
                .negative_ttl
                .map(|ttl| Duration::from_secs(u64::from(ttl)));
            if error.is_nx_domain() {
                Err(LookupError::NoSuchName { ttl })
            } else {
                Ok(Answer {
                    addresses: Vec::new(),
                    ttl: ttl.unwrap_or(super::MAX_NEGATIVE).min(super::MAX_NEGATIVE),
                })
            }
        }
        NetError::Dns(DnsError::ResponseCode(code)) => Err(LookupError::Failed {
            rcode: Some(format!("{code:?}").to_ascii_uppercase()),
            detail: error.to_string(),
        }),
        _ => Err(LookupError::Failed {
            rcode: None,
            detail: error.to_string(),
        }),
    }
}
