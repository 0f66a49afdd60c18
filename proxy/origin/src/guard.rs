//! Which addresses an origin may have.
//!
//! A customer who controls a name controls where it points, so that a public name could lead the
//! node into its own network, or to a cloud's metadata service. The guard is therefore asked at
//! every connect, with the address that is about to be dialled (a name may answer differently the
//! second time: DNS rebinding). What it refuses: everything that IANA's special-purpose registries
//! (RFC 6890) do not call globally reachable, in each notation that hides an IPv4 address in an
//! IPv6 one. The node's document may allow networks again; the node's own listeners never.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An address that must not be dialled, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {reason}, and no network of the node's origin.allow holds it")]
pub struct Prohibited {
    /// The address.
    pub address: IpAddr,
    /// What it is: "a private address".
    pub reason: &'static str,
}

/// Decides which addresses may be dialled.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allow: Vec<IpNet>,
    own: Vec<SocketAddr>,
}

impl Guard {
    /// A guard that lets through global addresses and the networks in `allow`.
    #[must_use]
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self {
            allow,
            own: Vec::new(),
        }
    }

    /// The same guard that never lets through the node's own listeners: a fill from oneself is a
    /// loop. An unspecified address (`0.0.0.0:80`) stands for every loopback address at that port.
    #[must_use]
    pub fn with_own(mut self, own: Vec<SocketAddr>) -> Self {
        self.own = own;
        self
    }

    /// Decides about one address.
    ///
    /// # Errors
    /// It is the node's own, or not global and in no allowed network.
    pub fn check(&self, address: SocketAddr) -> Result<(), Prohibited> {
        let ip = address.ip().to_canonical();
        let own = |own: &SocketAddr| {
            let it = own.ip().to_canonical();
            own.port() == address.port()
                && (it == ip || it.is_unspecified() && (ip.is_loopback() || ip.is_unspecified()))
        };
        if self.own.iter().any(own) {
            return Err(Prohibited {
                address: ip,
                reason: "this node itself",
            });
        }
        self.check_ip(ip).map_err(|reason| Prohibited {
            address: ip,
            reason,
        })
    }

    fn allowed(&self, ip: IpAddr) -> bool {
        self.allow.iter().any(|net| net.contains(&ip))
    }

    fn check_ip(&self, ip: IpAddr) -> Result<(), &'static str> {
        if self.allowed(ip) {
            return Ok(());
        }
        match ip {
            IpAddr::V4(v4) => special_v4(v4).map_or(Ok(()), Err),
            IpAddr::V6(v6) => {
                if let Some(reason) = special_v6(v6) {
                    return Err(reason);
                }
                for inner in embedded(v6).into_iter().flatten() {
                    self.check_ip(IpAddr::V4(inner))?;
                }
                Ok(())
            }
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(head: [u16; 4], length: u8) -> Ipv6Net {
    let [a, b, c, d] = head;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length)
}

/// IANA's IPv4 special-purpose registry, and multicast. What is a part of a larger network with
/// another reason comes first.
const V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "an unspecified address"),
    (v4(10, 0, 0, 0, 8), "a private address"),
    (v4(100, 64, 0, 0, 10), "a carrier's shared address"),
    (v4(127, 0, 0, 0, 8), "a loopback address"),
    (v4(169, 254, 169, 254, 32), "a cloud's metadata service"),
    (v4(169, 254, 0, 0, 16), "a link-local address"),
    (v4(172, 16, 0, 0, 12), "a private address"),
    (v4(192, 0, 0, 0, 24), "an address for protocol assignments"),
    (v4(192, 0, 2, 0, 24), "a documentation address"),
    (v4(192, 31, 196, 0, 24), "an AS112 address"),
    (v4(192, 52, 193, 0, 24), "an AMT relay address"),
    (v4(192, 88, 99, 0, 24), "a 6to4 relay address"),
    (v4(192, 168, 0, 0, 16), "a private address"),
    (v4(192, 175, 48, 0, 24), "an AS112 address"),
    (v4(198, 18, 0, 0, 15), "a benchmarking address"),
    (v4(198, 51, 100, 0, 24), "a documentation address"),
    (v4(203, 0, 113, 0, 24), "a documentation address"),
    (v4(224, 0, 0, 0, 4), "a multicast address"),
    (v4(240, 0, 0, 0, 4), "a reserved address"),
];

/// IANA's IPv6 special-purpose registry, and multicast. Outside 2000::/3 nothing is assigned for
/// global use but the NAT64 prefix, so that the rest is refused as a whole further below.
const V6: &[(Ipv6Net, &str)] = &[
    (v6([0x64, 0xff9b, 1, 0], 48), "a local NAT64 address"),
    (v6([0x100, 0, 0, 0], 64), "a discard-only address"),
    (v6([0x2001, 2, 0, 0], 48), "a benchmarking address"),
    (v6([0x2001, 0x10, 0, 0], 28), "an ORCHID address"),
    (v6([0x2001, 0x20, 0, 0], 28), "an ORCHID address"),
    (v6([0x2001, 0xdb8, 0, 0], 32), "a documentation address"),
    (v6([0x2620, 0x4f, 0x8000, 0], 48), "an AS112 address"),
    (v6([0x3fff, 0, 0, 0], 20), "a documentation address"),
    (v6([0x5f00, 0, 0, 0], 16), "a segment-routing address"),
    (v6([0xfc00, 0, 0, 0], 7), "a private address"),
    (v6([0xfe80, 0, 0, 0], 10), "a link-local address"),
    (v6([0xfec0, 0, 0, 0], 10), "a site-local address"),
    (v6([0xff00, 0, 0, 0], 8), "a multicast address"),
];

const TEREDO: Ipv6Net = v6([0x2001, 0, 0, 0], 32);
const PROTOCOLS: Ipv6Net = v6([0x2001, 0, 0, 0], 23);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0], 16);
const GLOBAL: Ipv6Net = v6([0x2000, 0, 0, 0], 3);
/// RFC 6052 §2.1.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);

fn special_v4(ip: Ipv4Addr) -> Option<&'static str> {
    V4.iter()
        .find(|(net, _)| net.contains(&ip))
        .map(|(_, reason)| *reason)
}

fn special_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if ip.is_unspecified() {
        return Some("an unspecified address");
    }
    if ip.is_loopback() {
        return Some("a loopback address");
    }
    if ip == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254) {
        return Some("a cloud's metadata service");
    }
    if let Some((_, reason)) = V6.iter().find(|(net, _)| net.contains(&ip)) {
        return Some(reason);
    }
    if PROTOCOLS.contains(&ip) && !TEREDO.contains(&ip) {
        return Some("an address for protocol assignments");
    }
    if !GLOBAL.contains(&ip) && !NAT64.contains(&ip) {
        return Some("not a global address");
    }
    None
}

/// The IPv4 addresses that a global-looking IPv6 address leads to: NAT64 (RFC 6052), 6to4
/// (RFC 3056), Teredo's server and client (RFC 4380 §4) and ISATAP (RFC 5214 §6.1). Mapped and
/// compatible addresses do not come here: the first is made canonical, the second is not global.
fn embedded(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = ip.octets();
    let last = Ipv4Addr::new(m, n, o, p);
    if NAT64.contains(&ip) {
        return [Some(last), None];
    }
    if TEREDO.contains(&ip) {
        let client = Ipv4Addr::new(!m, !n, !o, !p);
        return [Some(Ipv4Addr::new(e, f, g, h)), Some(client)];
    }
    let isatap = matches!((i & !3, j, k, l), (0, 0, 0x5e, 0xfe)).then_some(last);
    if SIX_TO_FOUR.contains(&ip) {
        // `a` and `b` are the prefix itself.
        let _ = (a, b);
        return [Some(Ipv4Addr::new(c, d, e, f)), isatap];
    }
    [isatap, None]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn check(guard: &Guard, ip: &str) -> Result<(), &'static str> {
        let ip: IpAddr = ip.parse().unwrap();
        guard
            .check(SocketAddr::new(ip, 80))
            .map_err(|prohibited| prohibited.reason)
    }

    #[test]
    fn the_special_purpose_registries_are_refused() {
        let guard = Guard::default();
        for (ip, reason) in [
            ("0.0.0.0", "an unspecified address"),
            ("0.1.2.3", "an unspecified address"),
            ("10.0.0.1", "a private address"),
            ("100.64.0.1", "a carrier's shared address"),
            ("100.127.255.255", "a carrier's shared address"),
            ("127.0.0.1", "a loopback address"),
            ("127.255.255.254", "a loopback address"),
            ("169.254.169.254", "a cloud's metadata service"),
            ("169.254.170.2", "a link-local address"),
            ("172.16.0.1", "a private address"),
            ("172.31.255.255", "a private address"),
            ("192.0.0.192", "an address for protocol assignments"),
            ("192.0.2.1", "a documentation address"),
            ("192.88.99.1", "a 6to4 relay address"),
            ("192.168.1.1", "a private address"),
            ("198.19.0.1", "a benchmarking address"),
            ("198.51.100.1", "a documentation address"),
            ("203.0.113.1", "a documentation address"),
            ("224.0.0.1", "a multicast address"),
            ("239.255.255.255", "a multicast address"),
            ("240.0.0.1", "a reserved address"),
            ("255.255.255.255", "a reserved address"),
            ("::", "an unspecified address"),
            ("::1", "a loopback address"),
            ("100::1", "a discard-only address"),
            ("2001:2::1", "a benchmarking address"),
            ("2001:10::1", "an ORCHID address"),
            ("2001:20::1", "an ORCHID address"),
            ("2001:1::1", "an address for protocol assignments"),
            ("2001:db8::1", "a documentation address"),
            ("3fff::1", "a documentation address"),
            ("5f00::1", "a segment-routing address"),
            ("fc00::1", "a private address"),
            ("fd00::1", "a private address"),
            ("fd00:ec2::254", "a cloud's metadata service"),
            ("fe80::1", "a link-local address"),
            ("fec0::1", "a site-local address"),
            ("ff02::1", "a multicast address"),
            ("4000::1", "not a global address"),
            ("64:ff9b:1::808:808", "a local NAT64 address"),
        ] {
            assert_eq!(check(&guard, ip), Err(reason), "{ip}");
        }
    }

    #[test]
    fn a_hidden_ipv4_address_is_found() {
        let guard = Guard::default();
        for (ip, reason) in [
            ("::ffff:127.0.0.1", "a loopback address"),
            ("::ffff:169.254.169.254", "a cloud's metadata service"),
            ("::127.0.0.1", "not a global address"),
            ("::8.8.8.8", "not a global address"),
            ("::ffff:0:10.0.0.1", "not a global address"),
            ("64:ff9b::10.0.0.1", "a private address"),
            ("64:ff9b::169.254.169.254", "a cloud's metadata service"),
            ("2002:7f00:1::1", "a loopback address"),
            ("2002:c0a8:101::", "a private address"),
            // Teredo: a private server, then a private client (its bits inverted).
            ("2001:0:a00:1:0:0:f7f7:f7f7", "a private address"),
            ("2001:0:808:808:0:0:f5ff:fffe", "a private address"),
            ("2a00::5efe:10.0.0.1", "a private address"),
            ("2a00::200:5efe:127.0.0.1", "a loopback address"),
        ] {
            assert_eq!(check(&guard, ip), Err(reason), "{ip}");
        }
    }

    #[test]
    fn global_addresses_pass() {
        let guard = Guard::default();
        for ip in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1",
            "2a00::1",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert_eq!(check(&guard, ip), Ok(()), "{ip}");
        }
    }

    #[test]
    fn allowed_networks_pass_in_every_notation() {
        let guard = Guard::new(vec![
            "10.0.0.0/8".parse().unwrap(),
            "fd00::/16".parse().unwrap(),
        ]);
        for ip in [
            "10.1.2.3",
            "::ffff:10.1.2.3",
            "64:ff9b::10.1.2.3",
            "fd00::1",
        ] {
            assert_eq!(check(&guard, ip), Ok(()), "{ip}");
        }
        for ip in ["192.168.0.1", "127.0.0.1", "fd01::1", "::1"] {
            assert!(check(&guard, ip).is_err(), "{ip}");
        }
    }

    #[test]
    fn the_node_itself_is_refused_even_where_its_network_is_allowed() {
        let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap()]).with_own(vec![
            "0.0.0.0:80".parse().unwrap(),
            "1.1.1.1:443".parse().unwrap(),
        ]);
        let check = |at: &str| guard.check(at.parse().unwrap());
        assert_eq!(
            check("127.0.0.1:80").unwrap_err().reason,
            "this node itself"
        );
        assert_eq!(
            check("[::ffff:127.0.0.1]:80").unwrap_err().reason,
            "this node itself"
        );
        assert_eq!(check("1.1.1.1:443").unwrap_err().reason, "this node itself");
        assert!(check("127.0.0.1:8080").is_ok());
        assert!(check("1.1.1.1:80").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn mapped_and_plain_agree(bits: u32) {
            let guard = Guard::default();
            let plain = Ipv4Addr::from(bits);
            let at = |ip| guard.check(SocketAddr::new(ip, 80)).is_ok();
            let mapped = IpAddr::V6(plain.to_ipv6_mapped());
            proptest::prop_assert_eq!(at(IpAddr::V4(plain)), at(mapped));
        }
    }
}
