use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

use super::{ValueError, shown};

/// An address range in CIDR form, `"192.0.2.0/24"`; a bare address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

impl Network {
    /// The range of one address.
    pub fn of(address: IpAddr) -> Self {
        Self(IpNet::from(address))
    }

    /// The range as `ipnet` has it.
    pub fn net(self) -> IpNet {
        self.0
    }
}

impl std::str::FromStr for Network {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::of(address));
        }
        let net: IpNet = text.parse().map_err(|_| ValueError(format!("\"{}\" is no network: write an address and a prefix length, such as \"192.0.2.0/24\"", shown(text))))?;
        if net.trunc() != net {
            return Err(ValueError(format!(
                "\"{net}\" has bits set behind its prefix length: write \"{}\"",
                net.trunc()
            )));
        }
        Ok(Self(net))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

super::as_text!(Network, "a network such as \"192.0.2.0/24\"", {
    "type": "string",
    "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"
});

/// A set of networks, quick to ask however long its list is. Written as a list; overlapping and adjoining networks are merged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Networks(
    /// In order and disjoint.
    Box<[Network]>,
);

impl Networks {
    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the address is in one of the networks. An IPv4 address mapped into IPv6 (RFC 4291 §2.5.5.2) counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let behind = self
            .0
            .partition_point(|network| network.0.network() <= address);
        behind
            .checked_sub(1)
            .and_then(|at| self.0.get(at))
            .is_some_and(|network| network.0.contains(&address))
    }

    /// The merged networks, in order.
    pub fn iter(&self) -> impl Iterator<Item = Network> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        let networks: Vec<IpNet> = networks.into_iter().map(Network::net).collect();
        let mut merged = IpNet::aggregate(&networks);
        merged.sort_unstable_by_key(|net| net.network());
        Self(merged.into_iter().map(Network).collect())
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Network>::deserialize(deserializer).map(|networks| networks.into_iter().collect())
    }
}
