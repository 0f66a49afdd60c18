//! A site's servers, and the choice among them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use pingora_core::upstreams::peer::HttpPeer;
use tokio::time::Instant;

use crate::balance::{self, Candidate};
use crate::connect::{self, Connect, Network, Tried};
use crate::error::{ErrorKind, FetchError, Next};
use crate::random;
use crate::server::{Identity, Lease, Server};
use crate::settings::{Balance, PoolSettings};

/// A site's servers.
#[derive(Debug)]
pub struct Pool {
    settings: PoolSettings,
    members: Vec<Member>,
    credit: Mutex<Vec<i64>>,
    network: Arc<Network>,
}

#[derive(Debug)]
struct Member {
    server: Arc<Server>,
    weight: u32,
    template: HttpPeer,
}

/// How a server is doing, for metrics and the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// The server, as `scheme://host:port`.
    pub server: Arc<str>,
    /// Its share against the others.
    pub weight: u32,
    /// False while it is left alone after failures.
    pub up: bool,
    /// Exchanges under way.
    pub in_flight: usize,
}

impl Pool {
    /// A pool on its own; [`crate::Pools`] makes those that outlive a change of configuration.
    pub fn new(settings: PoolSettings, network: Arc<Network>) -> Arc<Self> {
        Self::with_servers(settings, network, None)
    }

    /// Makes a pool, with the state of those servers of `former` that are still the same.
    pub(crate) fn with_servers(
        settings: PoolSettings,
        network: Arc<Network>,
        former: Option<&Self>,
    ) -> Arc<Self> {
        let mut known: Vec<Arc<Server>> = former.map_or_else(Vec::new, |pool| {
            pool.members.iter().map(|m| Arc::clone(&m.server)).collect()
        });
        let members: Vec<Member> = settings
            .servers
            .iter()
            .map(|one| {
                let identity = Identity::new(&settings, &one.url);
                let at = known.iter().position(|server| server.identity == identity);
                let server = match at {
                    Some(at) => known.swap_remove(at),
                    None => Arc::new(Server::new(identity)),
                };
                Member {
                    template: connect::template(&settings, &server),
                    weight: one.weight,
                    server,
                }
            })
            .collect();
        Arc::new(Self {
            credit: Mutex::new(vec![0; members.len()]),
            settings,
            members,
            network,
        })
    }

    /// What the site says.
    #[must_use]
    pub fn settings(&self) -> &PoolSettings {
        &self.settings
    }

    /// How the servers are doing now.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerStatus> {
        let now = Instant::now();
        let status = |member: &Member| ServerStatus {
            server: Arc::clone(&member.server.name),
            weight: member.weight,
            up: !member.server.is_down(now),
            in_flight: member.server.in_flight(),
        };
        self.members.iter().map(status).collect()
    }

    /// Chooses a server for one request. `client` is whom [`Balance::ClientHash`] goes by.
    ///
    /// # Errors
    /// The site has no server, or all of them are at the site's cap.
    pub fn pick(self: &Arc<Self>, client: Option<IpAddr>) -> Result<Pick, FetchError> {
        let (index, lease) = self.choose(client, &[])?;
        Ok(Pick {
            pool: Arc::clone(self),
            client,
            index,
            tried: vec![index],
            addresses: Tried::default(),
            left: self.settings.retries,
            _lease: lease,
        })
    }

    fn choose(
        &self,
        client: Option<IpAddr>,
        except: &[usize],
    ) -> Result<(usize, Lease), FetchError> {
        let now = Instant::now();
        let limit = self.settings.max_connections;
        let mut up = Vec::with_capacity(self.members.len());
        let mut down = Vec::new();
        for (index, member) in self.members.iter().enumerate() {
            if except.contains(&index) {
                continue;
            }
            let candidate = Candidate {
                index,
                weight: member.weight,
                in_flight: member.server.in_flight(),
                hash: member.server.hash,
            };
            if member.server.is_down(now) {
                down.push(candidate);
            } else {
                up.push(candidate);
            }
        }
        let none = up.is_empty() && down.is_empty();
        // Where all are down one is tried anyway: nothing is lost by it.
        for mut candidates in [up, down] {
            while let Some(index) = self.balance(&candidates, client) {
                let lease = self.members.get(index).and_then(|m| m.server.lease(limit));
                if let Some(lease) = lease {
                    return Ok((index, lease));
                }
                candidates.retain(|candidate| candidate.index != index);
            }
        }
        let mut error = if none {
            FetchError::new(
                ErrorKind::DestinationNotFound,
                "the site has no server left",
            )
        } else {
            let detail = format!("{limit} exchanges are under way with every server");
            FetchError::new(ErrorKind::ConnectionLimitReached, detail)
        };
        error.site = Some(Arc::clone(&self.settings.site));
        Err(error)
    }

    fn balance(&self, candidates: &[Candidate], client: Option<IpAddr>) -> Option<usize> {
        if let [only] = candidates {
            return Some(only.index);
        }
        match (self.settings.balance, client) {
            (Balance::LeastRequests, _) => balance::least_requests(candidates, random::next()),
            (Balance::ClientHash, Some(client)) => balance::client_hash(candidates, client),
            (Balance::Random | Balance::ClientHash, _) => {
                balance::random(candidates, random::next())
            }
            (Balance::RoundRobin, _) => balance::round_robin(candidates, &mut self.credit.lock()),
        }
    }
}

/// The server of one request, and what that request has tried. Holds a place under the site's cap
/// until it is dropped, so it lives as long as the exchange.
#[derive(Debug)]
pub struct Pick {
    pool: Arc<Pool>,
    client: Option<IpAddr>,
    index: usize,
    tried: Vec<usize>,
    addresses: Tried,
    left: u32,
    _lease: Lease,
}

impl Pick {
    fn member(&self) -> &Member {
        #[expect(
            clippy::indexing_slicing,
            reason = "`index` comes from this pool's own members, which never change"
        )]
        &self.pool.members[self.index]
    }

    /// The site's pool.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The site's id.
    #[must_use]
    pub fn site(&self) -> &Arc<str> {
        &self.pool.settings.site
    }

    /// The server, as `scheme://host:port`.
    #[must_use]
    pub fn server(&self) -> &Arc<str> {
        &self.member().server.name
    }

    /// True where the server is spoken to over TLS.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.member().server.identity.url.tls()
    }

    /// The peer for Pingora's connectors and proxy. It resolves, guards and connects by itself;
    /// its address is a placeholder ([`Connected`](crate::Connected) tells the real one).
    #[must_use]
    pub fn peer(&self) -> Box<HttpPeer> {
        let member = self.member();
        let mut peer = Box::new(member.template.clone());
        peer.options.custom_l4 = Some(Arc::new(Connect {
            network: Arc::clone(&self.pool.network),
            server: Arc::clone(&member.server),
            site: Arc::clone(&self.pool.settings.site),
            limit: self.pool.settings.timeouts.connect,
            tried: Arc::clone(&self.addresses),
        }));
        peer
    }

    /// Notes an answer. 502, 503 and 504 say that the server cannot serve now and count as
    /// failures; 500 says it about one resource, which must not take the server away.
    pub fn answered(&self, status: StatusCode) {
        let server = &self.member().server;
        if matches!(status.as_u16(), 502..=504) {
            self.note_failure(status.as_str());
        } else {
            server.succeeded();
        }
    }

    /// Notes an address that was used, so that a further try goes to another one first.
    pub fn used(&self, address: SocketAddr) {
        let mut addresses = self.addresses.lock();
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }

    /// Notes a failure without trying again (a body that ended early).
    pub fn failed(&self, error: &FetchError) {
        if error.kind.blames_server() {
            self.note_failure(error.kind.token());
        }
    }

    fn note_failure(&self, what: &str) {
        if self.member().server.failed(Instant::now()) {
            tracing::warn!(
                site = %self.site(),
                server = %self.server(),
                what,
                "origin server is left alone for a while",
            );
        }
    }

    /// Notes a failure and moves on to the next try, if there may be one. `replayable` says that
    /// the request can be made again: it is idempotent (RFC 9110 §9.2.2) and its body, if any, is
    /// still at hand. A request that was never sent can always be made again.
    ///
    /// True: [`Self::peer`] leads to the next try. False: it is over.
    pub fn retry(&mut self, error: &FetchError, replayable: bool) -> bool {
        self.failed(error);
        if self.left == 0 || error.next() == Next::GiveUp || (error.sent() && !replayable) {
            return false;
        }
        let elsewhere = self.pool.choose(self.client, &self.tried);
        match elsewhere {
            Ok((index, lease)) => {
                self.index = index;
                self.tried.push(index);
                self.addresses = Tried::default();
                self._lease = lease;
            }
            // The same server again: another of its addresses may do better, or the same one did
            // no more than close a connection. Not so where all addresses were tried already.
            Err(_) => match error.kind {
                ErrorKind::ConnectionTerminated
                | ErrorKind::ConnectionWriteTimeout
                | ErrorKind::TlsProtocolError
                | ErrorKind::TlsCertificateError
                | ErrorKind::TlsAlertReceived => {}
                _ => return false,
            },
        }
        self.left -= 1;
        true
    }
}
