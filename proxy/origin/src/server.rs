//! One server's state, which outlives a change of configuration.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::balance;
use crate::health::{self, Health};
use crate::random;
use crate::settings::{Http2, PoolSettings, ServerUrl};
use crate::tls::TlsSettings;

/// Addresses whose failures are remembered per server; a name that answers with ever new ones must
/// not fill the memory.
const MAX_ADDRESSES: usize = 64;

/// What makes connections to a server interchangeable. Where all of it is equal after a change of
/// configuration, health and connections stay.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) url: ServerUrl,
    pub(crate) tls: TlsSettings,
    pub(crate) http2: Http2,
}

impl Identity {
    pub(crate) fn new(settings: &PoolSettings, url: &ServerUrl) -> Self {
        Self {
            url: url.clone(),
            tls: settings.tls.clone(),
            http2: settings.http2,
        }
    }
}

/// A server's state.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) identity: Identity,
    /// `scheme://host:port`.
    pub(crate) name: Arc<str>,
    /// Keeps this site's connections to this server from everyone else's. Random, because Pingora
    /// hashes it together with names that customers choose, by a hash with a known key.
    pub(crate) group: u64,
    /// The same on every node, for [`balance::client_hash`].
    pub(crate) hash: u64,
    in_flight: AtomicUsize,
    rotation: AtomicUsize,
    health: Mutex<Health>,
    addresses: Mutex<HashMap<IpAddr, Health>>,
}

impl Server {
    pub(crate) fn new(identity: Identity) -> Self {
        let name: Arc<str> = identity.url.to_string().into();
        Self {
            hash: balance::hash(name.as_bytes()),
            name,
            identity,
            group: random::seed(),
            in_flight: AtomicUsize::new(0),
            rotation: AtomicUsize::new(0),
            health: Mutex::default(),
            addresses: Mutex::default(),
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes part in an exchange with this server. None: `limit` (0: none) are under way.
    pub(crate) fn lease(self: &Arc<Self>, limit: usize) -> Option<Lease> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now < limit).then_some(now.saturating_add(1))
            })
            .ok()?;
        Some(Lease {
            server: Arc::clone(self),
        })
    }

    pub(crate) fn is_down(&self, now: Instant) -> bool {
        self.health.lock().is_down(now)
    }

    pub(crate) fn succeeded(&self) {
        self.health.lock().succeeded();
    }

    /// True where the server is left alone from now on.
    pub(crate) fn failed(&self, now: Instant) -> bool {
        let jitter = random::unit(random::next());
        self.health.lock().failed(health::SERVER, now, jitter)
    }

    pub(crate) fn address_is_down(&self, ip: IpAddr, now: Instant) -> bool {
        let addresses = self.addresses.lock();
        addresses.get(&ip).is_some_and(|health| health.is_down(now))
    }

    pub(crate) fn address_succeeded(&self, ip: IpAddr) {
        self.addresses.lock().remove(&ip);
    }

    pub(crate) fn address_failed(&self, ip: IpAddr, now: Instant) {
        let jitter = random::unit(random::next());
        let mut addresses = self.addresses.lock();
        if addresses.len() >= MAX_ADDRESSES {
            addresses.retain(|_, health| health.is_down(now));
            if addresses.len() >= MAX_ADDRESSES {
                addresses.clear();
            }
        }
        let health = addresses.entry(ip).or_default();
        health.failed(health::ADDRESS, now, jitter);
    }

    /// Where the next connect begins among equal addresses, so that all of them are used.
    pub(crate) fn rotate(&self) -> usize {
        self.rotation.fetch_add(1, Ordering::Relaxed)
    }
}

/// One exchange under way with a server.
#[derive(Debug)]
pub(crate) struct Lease {
    server: Arc<Server>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.server.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
