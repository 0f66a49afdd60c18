//! From routes to UPDATE messages, and from a router's bytes to messages.

use std::{collections::BTreeMap, net::IpAddr};

use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
use rustbgpd_wire::{
    Afi, AsPath, AsPathSegment, DecodeError, EncodeError, Ipv4NlriEntry, Ipv4Prefix,
    Ipv4UnicastMode, Ipv6Prefix, LargeCommunity, Message, MpReachNlri, MpUnreachNlri, NlriEntry,
    Origin, PathAttribute, Prefix, Safi, UpdateMessage, decode_message, peek_message_length,
};

use super::super::Route;
use crate::document::NextHop;

/// Prefixes in one UPDATE: with the attributes' own limits it stays far below 4096 bytes.
const PREFIXES: usize = 100;

/// Takes the first message out of `inbox`, if it holds a whole one.
///
/// # Errors
/// What is wrong with it; the session must end with the NOTIFICATION that belongs to it.
pub fn decode(inbox: &mut BytesMut, limit: u16) -> Result<Option<Message>, DecodeError> {
    let Some(length) = peek_message_length(inbox, limit)? else {
        return Ok(None);
    };
    let length = usize::from(length);
    if inbox.len() < length {
        return Ok(None);
    }
    let mut message = inbox.split_to(length).freeze();
    decode_message(&mut message, limit).map(Some)
}

/// Makes UPDATEs for one session.
#[derive(Clone, Debug)]
pub struct Updates {
    /// The agent's AS.
    pub local_asn: u32,
    /// The neighbour's.
    pub peer_asn: u32,
    /// The session's own address.
    pub local: IpAddr,
    /// Whether IPv4 unicast was agreed on.
    pub v4: bool,
    /// Whether IPv6 unicast was.
    pub v6: bool,
    /// Whether IPv4 prefixes may have IPv6 next hops (RFC 8950).
    pub v4_over_v6: bool,
    /// Whether AS numbers are of 4 octets (RFC 6793).
    pub four_octets: bool,
}

/// How a route goes over one session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outbound {
    /// The next hop.
    pub next_hop: IpAddr,
    /// The rest.
    pub route: Route,
}

impl Outbound {
    /// Whether it is IPv4 in the message's own fields, and not in a multiprotocol attribute.
    fn plain(&self, prefix: &IpNet) -> bool {
        prefix.addr().is_ipv4() && self.next_hop.is_ipv4()
    }
}

impl Updates {
    /// How the route goes over this session.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn outbound(&self, prefix: &IpNet, route: &Route) -> Result<Outbound, &'static str> {
        let next_hop = match route.next_hop {
            NextHop::Own => self.local,
            NextHop::Address(address) => address,
        };
        match (prefix.addr(), next_hop) {
            (IpAddr::V4(_), _) if !self.v4 => return Err("the router does not take IPv4"),
            (IpAddr::V6(_), _) if !self.v6 => return Err("the router does not take IPv6"),
            (IpAddr::V4(_), IpAddr::V6(_)) if !self.v4_over_v6 => {
                return Err("the router takes no IPv6 next hop for IPv4 (RFC 8950)");
            }
            (IpAddr::V6(_), IpAddr::V4(_)) => return Err("it needs an IPv6 next hop"),
            _ => {}
        }
        Ok(Outbound {
            next_hop,
            route: route.clone(),
        })
    }

    /// The messages that turn `from` into `to`: withdrawals first, and nothing about what stays.
    ///
    /// # Errors
    /// When an attribute cannot be encoded.
    pub fn difference(
        &self,
        from: &BTreeMap<IpNet, Outbound>,
        to: &BTreeMap<IpNet, Outbound>,
    ) -> Result<Vec<UpdateMessage>, EncodeError> {
        let mut messages = Vec::new();
        // A prefix that changes between the plain and the multiprotocol form replaces itself.
        let gone: Vec<_> = from
            .iter()
            .filter(|(prefix, _)| !to.contains_key(*prefix))
            .collect();
        let (plain, multi): (Vec<_>, Vec<_>) = gone
            .into_iter()
            .partition(|(prefix, out)| out.plain(prefix));
        let plain: Vec<IpNet> = plain.into_iter().map(|(prefix, _)| *prefix).collect();
        for chunk in plain.chunks(PREFIXES) {
            messages.push(self.message(&[], &v4_entries(chunk), &[])?);
        }
        let multi: Vec<IpNet> = multi.into_iter().map(|(prefix, _)| *prefix).collect();
        for v4 in [true, false] {
            let family: Vec<IpNet> = multi
                .iter()
                .filter(|prefix| prefix.addr().is_ipv4() == v4)
                .copied()
                .collect();
            for chunk in family.chunks(PREFIXES) {
                messages.push(self.message(&[], &[], &[unreach(v4, entries(chunk))])?);
            }
        }
        let mut groups: BTreeMap<(bool, &Outbound), Vec<IpNet>> = BTreeMap::new();
        for (prefix, out) in to {
            if from.get(prefix) != Some(out) {
                groups
                    .entry((prefix.addr().is_ipv4(), out))
                    .or_default()
                    .push(*prefix);
            }
        }
        for ((v4, out), prefixes) in groups {
            for chunk in prefixes.chunks(PREFIXES) {
                messages.push(self.announcement(v4, out, chunk)?);
            }
        }
        Ok(messages)
    }

    /// End-of-RIB for every family agreed on (RFC 4724 §2).
    ///
    /// # Errors
    /// None that could happen; the encoder has the same signature for all.
    pub fn end_of_rib(&self) -> Result<Vec<UpdateMessage>, EncodeError> {
        let mut messages = Vec::new();
        if self.v4 {
            messages.push(self.message(&[], &[], &[])?);
        }
        if self.v6 {
            messages.push(self.message(&[], &[], &[unreach(false, Vec::new())])?);
        }
        Ok(messages)
    }

    fn announcement(
        &self,
        v4: bool,
        out: &Outbound,
        prefixes: &[IpNet],
    ) -> Result<UpdateMessage, EncodeError> {
        let route = &out.route;
        let external = self.local_asn != self.peer_asn;
        let mut attributes = Vec::new();
        let body = match out.next_hop {
            IpAddr::V4(_) if v4 => v4_entries(prefixes),
            _ => {
                // First, so that even a router that fails at a later attribute knows what it is about
                // (RFC 7606 §5.1).
                attributes.push(PathAttribute::MpReachNlri(Box::new(MpReachNlri {
                    afi: if v4 { Afi::Ipv4 } else { Afi::Ipv6 },
                    safi: Safi::Unicast,
                    next_hop: out.next_hop,
                    link_local_next_hop: None,
                    announced: entries(prefixes),
                    flowspec_announced: Vec::new(),
                    evpn_announced: Vec::new(),
                    bgpls_announced: Vec::new(),
                    vpn_announced: Vec::new(),
                    labeled_announced: Vec::new(),
                    rtc_announced: Vec::new(),
                })));
                Vec::new()
            }
        };
        attributes.push(PathAttribute::Origin(Origin::Igp));
        let segments = if external {
            let times = usize::from(route.prepend) + 1;
            vec![AsPathSegment::AsSequence(vec![self.local_asn; times])]
        } else {
            Vec::new()
        };
        attributes.push(PathAttribute::AsPath(AsPath { segments }));
        if let (IpAddr::V4(next_hop), true) = (out.next_hop, v4) {
            attributes.push(PathAttribute::NextHop(next_hop));
        }
        if let Some(med) = route.med {
            attributes.push(PathAttribute::Med(med));
        }
        if !external {
            attributes.push(PathAttribute::LocalPref(route.local_pref));
        }
        if !route.communities.is_empty() {
            let communities = route.communities.iter().map(|community| community.0);
            attributes.push(PathAttribute::Communities(communities.collect()));
        }
        if !route.large_communities.is_empty() {
            let large = route
                .large_communities
                .iter()
                .map(|community| community.0)
                .map(|[a, b, c]| LargeCommunity::new(a, b, c));
            attributes.push(PathAttribute::LargeCommunities(large.collect()));
        }
        self.message(&body, &[], &attributes)
    }

    fn message(
        &self,
        announced: &[Ipv4NlriEntry],
        withdrawn: &[Ipv4NlriEntry],
        attributes: &[PathAttribute],
    ) -> Result<UpdateMessage, EncodeError> {
        UpdateMessage::try_build(
            announced,
            withdrawn,
            attributes,
            self.four_octets,
            false,
            Ipv4UnicastMode::Body,
        )
    }
}

/// The bytes of an UPDATE, RFC 4271 §4.3.
///
/// # Errors
/// When it is longer than the session allows.
pub(super) fn encode(update: &UpdateMessage, limit: u16) -> Result<Bytes, EncodeError> {
    let mut buffer = BytesMut::with_capacity(update.encoded_len());
    update.encode_with_limit(&mut buffer, limit)?;
    Ok(buffer.freeze())
}

fn unreach(v4: bool, withdrawn: Vec<NlriEntry>) -> PathAttribute {
    PathAttribute::MpUnreachNlri(Box::new(MpUnreachNlri {
        afi: if v4 { Afi::Ipv4 } else { Afi::Ipv6 },
        safi: Safi::Unicast,
        withdrawn,
        flowspec_withdrawn: Vec::new(),
        evpn_withdrawn: Vec::new(),
        bgpls_withdrawn: Vec::new(),
        vpn_withdrawn: Vec::new(),
        labeled_withdrawn: Vec::new(),
        rtc_withdrawn: Vec::new(),
    }))
}

fn entries(prefixes: &[IpNet]) -> Vec<NlriEntry> {
    let prefix = |net: &IpNet| match net {
        IpNet::V4(net) => Prefix::V4(Ipv4Prefix::new(net.network(), net.prefix_len())),
        IpNet::V6(net) => Prefix::V6(Ipv6Prefix::new(net.network(), net.prefix_len())),
    };
    prefixes
        .iter()
        .map(|net| NlriEntry {
            path_id: 0,
            prefix: prefix(net),
        })
        .collect()
}

fn v4_entries(prefixes: &[IpNet]) -> Vec<Ipv4NlriEntry> {
    prefixes
        .iter()
        .filter_map(|net| match net {
            IpNet::V4(net) => Some(Ipv4NlriEntry {
                path_id: 0,
                prefix: Ipv4Prefix::new(net.network(), net.prefix_len()),
            }),
            IpNet::V6(_) => None,
        })
        .collect()
}
