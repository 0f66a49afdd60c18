//! How many connections there are, in total and from each client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::application::ConnectionLimit;

/// Whom a connection counts for: one IPv4 address or one IPv6 /64, which is what one subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientKey(u64, bool);

impl ClientKey {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u64::from(u32::from(v4)), false),
            IpAddr::V6(v6) => Self(high_half(v6), true),
        }
    }
}

fn high_half(address: Ipv6Addr) -> u64 {
    // 128 bits shifted by 64 fit 64.
    (u128::from(address) >> 64) as u64
}

/// Counts connections over all listeners of a node; clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    total: usize,
    by_client: HashMap<ClientKey, usize>,
}

impl Connections {
    /// No connections yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.counts.inner.lock().total
    }

    /// Counts a connection in, if the total allows it. For whom it counts is said with [`Slot::claim`], which may be later: behind a
    /// balancer the client is known only after the PROXY header.
    pub(crate) fn enter(&self, total: usize) -> Result<Slot, ConnectionLimit> {
        let mut inner = self.counts.inner.lock();
        if inner.total >= total {
            return Err(ConnectionLimit::Total);
        }
        inner.total += 1;
        Ok(Slot {
            counts: Arc::clone(&self.counts),
            client: None,
        })
    }
}

/// A connection's place; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Slot {
    counts: Arc<Counts>,
    client: Option<ClientKey>,
}

impl Slot {
    /// Counts the connection for `client`, if that one may have another.
    pub(crate) fn claim(
        &mut self,
        client: IpAddr,
        per_client: usize,
    ) -> Result<(), ConnectionLimit> {
        let key = ClientKey::of(client);
        let mut inner = self.counts.inner.lock();
        let count = inner.by_client.entry(key).or_default();
        if *count >= per_client {
            if *count == 0 {
                inner.by_client.remove(&key);
            }
            return Err(ConnectionLimit::PerClient);
        }
        *count += 1;
        drop(inner);
        self.release_client();
        self.client = Some(key);
        Ok(())
    }

    fn release_client(&mut self) {
        let Some(key) = self.client.take() else {
            return;
        };
        let mut inner = self.counts.inner.lock();
        if let Some(count) = inner.by_client.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                inner.by_client.remove(&key);
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.release_client();
        self.counts.inner.lock().total -= 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn total_and_per_client() {
        let connections = Connections::new();
        let mut a = connections.enter(3).unwrap();
        let mut b = connections.enter(3).unwrap();
        let mut c = connections.enter(3).unwrap();
        assert_eq!(connections.enter(3).unwrap_err(), ConnectionLimit::Total);
        a.claim(ip("192.0.2.1"), 1).unwrap();
        assert_eq!(
            b.claim(ip("192.0.2.1"), 1).unwrap_err(),
            ConnectionLimit::PerClient
        );
        // The same client as IPv4 within IPv6.
        assert_eq!(
            b.claim(ip("::ffff:192.0.2.1"), 1).unwrap_err(),
            ConnectionLimit::PerClient
        );
        b.claim(ip("2001:db8::1"), 1).unwrap();
        assert_eq!(
            c.claim(ip("2001:db8::2"), 1).unwrap_err(),
            ConnectionLimit::PerClient
        );
        c.claim(ip("2001:db8:0:1::2"), 1).unwrap();
        drop(a);
        let mut d = connections.enter(3).unwrap();
        d.claim(ip("192.0.2.1"), 1).unwrap();
        assert_eq!(connections.open(), 3);
        drop((b, c, d));
        assert_eq!(connections.open(), 0);
        assert!(connections.counts.inner.lock().by_client.is_empty());
    }

    #[test]
    fn an_address_is_not_taken_for_another_family() {
        assert_ne!(ClientKey::of(ip("0.0.0.1")), ClientKey::of(ip("0:0:0:1::")));
    }
}
