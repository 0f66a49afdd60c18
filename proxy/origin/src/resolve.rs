//! Addresses of a name, kept by their TTL.
//!
//! One lookup per name and family is under way at a time, whoever waits for it; it goes on when
//! they leave. What has expired is served while a refresh fails or takes long, as RFC 8767
//! describes, so that a broken resolver does not take origins away that still stand.

mod dns;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use url::Host;

pub use dns::{Dns, DnsSetupError};

/// The shortest time an answer is kept, whatever its TTL.
pub const MIN_TTL: Duration = Duration::from_secs(1);
/// The longest time an answer is kept, whatever its TTL.
pub const MAX_TTL: Duration = Duration::from_secs(3600);
/// How long after its TTL an answer is still used while refreshing fails.
pub const MAX_STALE: Duration = Duration::from_secs(3600);
/// How long "no such name" is kept at most.
pub const MAX_NEGATIVE: Duration = Duration::from_secs(30);
/// How long another failure is kept.
pub const FAILURE: Duration = Duration::from_secs(1);
/// How long a failed refresh is not tried again while there is an answer (RFC 8767 §5).
const STALE_RECHECK: Duration = Duration::from_secs(30);
/// How long a refresh is waited for while there is an expired answer (RFC 8767 §5).
const STALE_WAIT: Duration = Duration::from_millis(1800);
/// How long a lookup may take in all.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);
/// Names and families kept. Names come from site documents only, so this bounds what changes of
/// configuration leave behind.
const MAX_ENTRIES: usize = 1 << 18;

/// Which addresses of a name?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

/// What the DNS says about one family of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The addresses; empty where the name exists and has none.
    pub addresses: Vec<IpAddr>,
    /// How long this may be kept.
    pub ttl: Duration,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No DNS server answered in time.
    #[error("no DNS server answered in time")]
    Timeout,
    /// NXDOMAIN.
    #[error("the name does not exist")]
    NoSuchName {
        /// How long this may be kept (RFC 2308 §5), if said.
        ttl: Option<Duration>,
    },
    /// Anything else.
    #[error("{detail}")]
    Failed {
        /// The response code, if there was a response.
        rcode: Option<String>,
        /// What happened.
        detail: String,
    },
}

/// Asks for the addresses of a name. Implemented by [`Dns`]; tests have their own.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// One family's addresses of `name`.
    async fn lookup(&self, name: &str, family: Family) -> Result<Answer, LookupError>;
}

type Key = (String, Family);
type Addresses = Arc<[IpAddr]>;

#[derive(Default)]
struct Entry {
    answer: Option<Kept>,
    failure: Option<(LookupError, Instant)>,
    flight: Option<watch::Receiver<bool>>,
}

struct Kept {
    addresses: Addresses,
    fresh_until: Instant,
    stale_until: Instant,
}

impl Entry {
    fn stale(&self, now: Instant) -> Option<Addresses> {
        let kept = self.answer.as_ref()?;
        (now < kept.stale_until).then(|| Arc::clone(&kept.addresses))
    }

    fn is_dead(&self, now: Instant) -> bool {
        self.flight.is_none()
            && self
                .answer
                .as_ref()
                .is_none_or(|kept| kept.stale_until <= now)
            && self.failure.as_ref().is_none_or(|(_, until)| *until <= now)
    }

    fn finish(&mut self, outcome: Result<Answer, LookupError>, now: Instant) {
        self.flight = None;
        match outcome {
            Ok(answer) => {
                let ttl = answer.ttl.clamp(MIN_TTL, MAX_TTL);
                self.failure = None;
                self.answer = Some(Kept {
                    addresses: answer.addresses.into(),
                    fresh_until: now + ttl,
                    stale_until: now + ttl + MAX_STALE,
                });
            }
            // A name that is gone is not served on: that is an answer, not a failure to get one.
            Err(LookupError::NoSuchName { ttl }) => {
                let keep = ttl.unwrap_or(MAX_NEGATIVE).clamp(MIN_TTL, MAX_NEGATIVE);
                self.answer = None;
                self.failure = Some((LookupError::NoSuchName { ttl }, now + keep));
            }
            Err(error) => {
                let recheck = match self.stale(now) {
                    Some(_) => STALE_RECHECK,
                    None => FAILURE,
                };
                self.failure = Some((error, now + recheck));
            }
        }
    }
}

/// Resolves names, each once at a time, and keeps the answers.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    lookup: Arc<dyn Lookup>,
    entries: Mutex<HashMap<Key, Entry>>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resolver({} entries)", self.shared.entries.lock().len())
    }
}

impl Resolver {
    /// A resolver over a way to ask.
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self {
            shared: Arc::new(Shared {
                lookup,
                entries: Mutex::default(),
            }),
        }
    }

    /// A resolver over the DNS: the given servers, or the system's where there is none.
    ///
    /// # Errors
    /// The system's configuration cannot be read.
    pub fn dns(servers: &[SocketAddr]) -> Result<Self, DnsSetupError> {
        Ok(Self::new(Arc::new(Dns::new(servers)?)))
    }

    /// The addresses of one family of a host. Literals and `localhost` (RFC 6761 §6.3) are not
    /// asked for. Empty where the host has none in this family.
    ///
    /// # Errors
    /// There is no answer, not even an expired one.
    pub async fn resolve(
        &self,
        host: &Host<String>,
        family: Family,
    ) -> Result<Arc<[IpAddr]>, LookupError> {
        let none = || Arc::from([]);
        match (host, family) {
            (Host::Ipv4(v4), Family::V4) => Ok(Arc::from([IpAddr::V4(*v4)])),
            (Host::Ipv6(v6), Family::V6) => Ok(Arc::from([IpAddr::V6(*v6)])),
            (Host::Ipv4(_) | Host::Ipv6(_), _) => Ok(none()),
            (Host::Domain(name), family) if is_localhost(name) => Ok(match family {
                Family::V4 => Arc::from([IpAddr::V4(Ipv4Addr::LOCALHOST)]),
                Family::V6 => Arc::from([IpAddr::V6(Ipv6Addr::LOCALHOST)]),
            }),
            (Host::Domain(name), family) => self.resolve_name(name, family).await,
        }
    }

    async fn resolve_name(&self, name: &str, family: Family) -> Result<Addresses, LookupError> {
        let key = (name.to_ascii_lowercase(), family);
        let (mut flight, stale) = match self.shared.step(&key) {
            Step::Done(outcome) => return outcome,
            Step::Wait(flight, stale) => (flight, stale),
        };
        let landed = flight.wait_for(|landed| *landed);
        match stale {
            Some(stale) => match timeout(STALE_WAIT, landed).await {
                Ok(_) => {}
                Err(_) => return Ok(stale),
            },
            // An error here means that the task died with its runtime: the state says so below.
            None => drop(landed.await),
        }
        self.shared.outcome(&key)
    }
}

enum Step {
    Done(Result<Addresses, LookupError>),
    Wait(watch::Receiver<bool>, Option<Addresses>),
}

impl Shared {
    fn step(self: &Arc<Self>, key: &Key) -> Step {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(key) {
            entries.retain(|_, entry| !entry.is_dead(now));
        }
        let entry = entries.entry(key.clone()).or_default();
        if let Some(kept) = &entry.answer
            && now < kept.fresh_until
        {
            return Step::Done(Ok(Arc::clone(&kept.addresses)));
        }
        let stale = entry.stale(now);
        if let Some((error, until)) = &entry.failure
            && now < *until
        {
            return Step::Done(stale.ok_or_else(|| error.clone()));
        }
        // A flight whose task is gone with its runtime would be waited for without end.
        if let Some(flight) = &entry.flight
            && flight.has_changed().is_ok()
        {
            return Step::Wait(flight.clone(), stale);
        }
        let (landed, flight) = watch::channel(false);
        entry.flight = Some(flight.clone());
        drop(entries);
        tokio::spawn(Arc::clone(self).fly(key.clone(), landed));
        Step::Wait(flight, stale)
    }

    async fn fly(self: Arc<Self>, key: Key, landed: watch::Sender<bool>) {
        let (name, family) = &key;
        let asked = timeout(LOOKUP_LIMIT, self.lookup.lookup(name, *family)).await;
        let outcome = asked.unwrap_or(Err(LookupError::Timeout));
        if let Err(error) = &outcome {
            tracing::debug!(%name, ?family, %error, "lookup failed");
        }
        if let Some(entry) = self.entries.lock().get_mut(&key) {
            entry.finish(outcome, Instant::now());
        }
        landed.send_replace(true);
    }

    /// What a finished lookup left behind.
    fn outcome(&self, key: &Key) -> Result<Addresses, LookupError> {
        let now = Instant::now();
        let entries = self.entries.lock();
        let entry = entries.get(key);
        if let Some(addresses) = entry.and_then(|entry| entry.stale(now)) {
            return Ok(addresses);
        }
        let failure = entry.and_then(|entry| entry.failure.as_ref());
        Err(failure.map_or_else(
            || LookupError::Failed {
                rcode: None,
                detail: "the lookup was given up".to_owned(),
            },
            |(error, _)| error.clone(),
        ))
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let top = name.rsplit('.').next().unwrap_or(name);
    top.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
#[path = "resolve/tests.rs"]
mod tests;
