//! Requests per second of one client at one site: the generic cell rate algorithm (GCRA), a token
//! bucket kept as one time stamp.

use std::{
    hash::{BuildHasher, Hash},
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashMapExt, fast::FixedState};
use parking_lot::Mutex;

/// Shards, so that workers rarely meet at one lock. A power of two.
const SHARDS: usize = 64;
/// Clients remembered in one shard; beyond it, those whose bucket is full again are forgotten.
const CLIENTS_PER_SHARD: usize = 16 * 1024;

/// A site's limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Requests per second in the long run; more than 0.
    pub per_second: f64,
    /// Requests that may come at once; at least 1.
    pub burst: u32,
}

/// The time stamps of every client that was seen lately.
#[derive(Debug)]
pub struct RateLimiter {
    shards: Vec<Mutex<HashMap<Client, Instant>>>,
    hasher: FixedState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Client {
    site: Box<str>,
    network: IpAddr,
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect(),
            hasher: FixedState::default(),
        }
    }
}

impl RateLimiter {
    /// Counts one request. `Err` holds how long the client should wait.
    ///
    /// A client is an IPv4 address or an IPv6 /64, which is what one household or server gets.
    ///
    /// # Errors
    /// The wait, when the client is over its rate.
    pub fn admit(
        &self,
        site: &str,
        address: IpAddr,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Duration> {
        let interval = Duration::from_secs_f64(1.0 / rate.per_second.max(1e-6));
        let tolerance = interval.saturating_mul(rate.burst.max(1) - 1);
        let client = Client {
            site: site.into(),
            network: network(address),
        };
        let shard = self.hasher.hash_one(&client) as usize % SHARDS;
        let mut clients = self.shards[shard].lock();
        if clients.len() >= CLIENTS_PER_SHARD && !clients.contains_key(&client) {
            clients.retain(|_, full_again| *full_again > now);
            if clients.len() >= CLIENTS_PER_SHARD {
                // Every remembered client is active: a flood of addresses. Forgetting one at
                // random keeps memory bounded and errs toward serving.
                if let Some(victim) = clients.keys().next().cloned() {
                    clients.remove(&victim);
                }
            }
        }
        let full_again = clients.get(&client).copied().unwrap_or(now).max(now);
        let ahead = full_again.duration_since(now);
        if ahead > tolerance {
            return Err(ahead - tolerance);
        }
        clients.insert(client, full_again + interval);
        Ok(())
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10.0,
        burst: 3,
    };

    fn address(text: &str) -> IpAddr {
        #[expect(clippy::unwrap_used, reason = "tests")]
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let limiter = RateLimiter::default();
        let start = Instant::now();
        let client = address("192.0.2.1");
        for _ in 0..3 {
            assert_eq!(limiter.admit("shop", client, RATE, start), Ok(()));
        }
        let wait = limiter.admit("shop", client, RATE, start);
        assert_eq!(wait, Err(Duration::from_millis(100)));
        assert_eq!(
            limiter.admit("shop", client, RATE, start + Duration::from_millis(100)),
            Ok(())
        );
        assert!(
            limiter
                .admit("shop", client, RATE, start + Duration::from_millis(101))
                .is_err()
        );
    }

    #[test]
    fn sites_and_clients_do_not_share_a_bucket_but_a_64_does() {
        let limiter = RateLimiter::default();
        let now = Instant::now();
        let rate = Rate {
            per_second: 1.0,
            burst: 1,
        };
        assert!(limiter.admit("a", address("192.0.2.1"), rate, now).is_ok());
        assert!(limiter.admit("b", address("192.0.2.1"), rate, now).is_ok());
        assert!(limiter.admit("a", address("192.0.2.2"), rate, now).is_ok());
        assert!(
            limiter
                .admit("a", address("2001:db8::1"), rate, now)
                .is_ok()
        );
        assert!(
            limiter
                .admit("a", address("2001:db8::2"), rate, now)
                .is_err()
        );
        assert!(
            limiter
                .admit("a", address("::ffff:192.0.2.1"), rate, now)
                .is_err()
        );
    }

    #[test]
    fn a_flood_of_addresses_keeps_memory_bounded() {
        let limiter = RateLimiter::default();
        let now = Instant::now();
        for n in 0..(SHARDS * CLIENTS_PER_SHARD + 10_000) {
            let client = IpAddr::V4(u32::try_from(n).unwrap_or(u32::MAX).into());
            let _ = limiter.admit("a", client, RATE, now);
        }
        assert!(
            limiter
                .shards
                .iter()
                .all(|shard| shard.lock().len() <= CLIENTS_PER_SHARD)
        );
    }
}
