//! What the native speaker sends, read by a decoder of other people's making; and what it makes of
//! what routers send.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::{collections::BTreeMap, net::IpAddr};

use anypop_bgp::{
    document::{Community, LargeCommunity, NextHop},
    speaker::{
        Route,
        native::{Outbound, Updates, decode},
    },
};
use bgpkit_parser::{
    models::{AsnLength, AttributeValue, BgpMessage, BgpUpdateMessage},
    parser::bgp::messages::parse_bgp_message,
};
use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
use proptest::prelude::*;

fn updates(local: &str, peer_asn: u32) -> Updates {
    Updates {
        local_asn: 4_200_000_001,
        peer_asn,
        local: local.parse().unwrap(),
        v4: true,
        v6: true,
        v4_over_v6: true,
        four_octets: true,
    }
}

/// Encodes, and reads with the other decoder.
fn others_see(updates: &Updates, from: &Rib, to: &Rib) -> Vec<BgpUpdateMessage> {
    updates
        .difference(from, to)
        .unwrap()
        .iter()
        .map(|update| {
            let mut bytes = BytesMut::new();
            update.encode(&mut bytes).unwrap();
            let mut bytes: Bytes = bytes.freeze();
            match parse_bgp_message(&mut bytes, false, &AsnLength::Bits32).unwrap() {
                BgpMessage::Update(update) => update,
                other => panic!("{other:?}"),
            }
        })
        .collect()
}

type Rib = BTreeMap<IpNet, Outbound>;

fn route() -> impl Strategy<Value = Route> {
    (
        prop::collection::btree_set(any::<u32>().prop_map(Community), 0..8),
        prop::collection::btree_set(any::<[u32; 3]>().prop_map(LargeCommunity), 0..8),
        0_u16..8,
        prop::option::of(any::<u32>()),
        any::<u32>(),
        any::<bool>(),
    )
        .prop_map(|(communities, large, prepend, med, local_pref, v6)| Route {
            next_hop: if v6 {
                NextHop::Address("2001:db8::99".parse().unwrap())
            } else {
                NextHop::Own
            },
            communities: communities.into_iter().collect(),
            large_communities: large.into_iter().collect(),
            prepend,
            med,
            local_pref,
        })
}

fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<[u8; 4]>(), 1_u8..=32)
            .prop_map(|(a, n)| IpNet::new(IpAddr::from(a), n).unwrap().trunc()),
        (any::<[u8; 16]>(), 1_u8..=128)
            .prop_map(|(a, n)| IpNet::new(IpAddr::from(a), n).unwrap().trunc()),
    ]
}

fn rib(updates: &Updates, table: &BTreeMap<IpNet, Route>) -> Rib {
    table
        .iter()
        .filter_map(|(prefix, route)| Some((*prefix, updates.outbound(prefix, route).ok()?)))
        .collect()
}

/// Applies UPDATEs as a router would.
fn apply(known: &mut BTreeMap<IpNet, (IpAddr, Vec<u32>, Option<u32>)>, seen: &[BgpUpdateMessage]) {
    for update in seen {
        let mut announced: Vec<IpNet> =
            update.announced_prefixes.iter().map(|p| p.prefix).collect();
        let mut withdrawn: Vec<IpNet> =
            update.withdrawn_prefixes.iter().map(|p| p.prefix).collect();
        let (mut hop, mut path, mut med) = (None, Vec::new(), None);
        for attribute in &update.attributes {
            match attribute {
                AttributeValue::MpReachNlri(nlri) => {
                    announced.extend(nlri.prefixes.iter().map(|p| p.prefix));
                    hop = nlri.next_hop.map(|hop| hop.addr());
                }
                AttributeValue::MpUnreachNlri(nlri) => {
                    withdrawn.extend(nlri.prefixes.iter().map(|p| p.prefix));
                }
                AttributeValue::NextHop(address) => hop = Some(*address),
                AttributeValue::AsPath(seen) => {
                    path = seen.to_u32_vec_opt(false).unwrap_or_default();
                }
                AttributeValue::MultiExitDiscriminator(value) => med = Some(*value),
                _ => {}
            }
        }
        for prefix in withdrawn {
            assert!(
                known.remove(&prefix).is_some(),
                "{prefix} was never announced"
            );
        }
        for prefix in announced {
            known.insert(prefix, (hop.expect("a next hop"), path.clone(), med));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever is announced before and after: another decoder reads every message, and ends up
    /// knowing exactly what is announced.
    #[test]
    fn another_decoder_knows_what_is_announced(
        before in prop::collection::btree_map(prefix(), route(), 0..12),
        after in prop::collection::btree_map(prefix(), route(), 0..12),
        external in any::<bool>(),
        v6 in any::<bool>(),
    ) {
        let local = if v6 { "2001:db8::2" } else { "192.0.2.2" };
        let updates = updates(local, if external { 64500 } else { 4_200_000_001 });
        let (before, after) = (rib(&updates, &before), rib(&updates, &after));
        let mut known = BTreeMap::new();
        apply(&mut known, &others_see(&updates, &Rib::new(), &before));
        apply(&mut known, &others_see(&updates, &before, &after));
        prop_assert_eq!(known.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        for (prefix, (hop, path, med)) in &known {
            let out = &after[prefix];
            prop_assert_eq!(*hop, out.next_hop);
            prop_assert_eq!(*med, out.route.med);
            let times = if external { usize::from(out.route.prepend) + 1 } else { 0 };
            prop_assert_eq!(path, &vec![4_200_000_001; times]);
        }
        prop_assert!(updates.difference(&after, &after).unwrap().is_empty(), "nothing changed");
    }

    /// Whatever a router sends: no panic, and no more taken than it sent.
    #[test]
    fn no_bytes_from_a_router_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..600),
        marked in any::<bool>(),
        kind in 0_u8..7,
        length in 0_u16..700,
        extended in any::<bool>(),
    ) {
        if marked && bytes.len() >= 19 {
            bytes[..16].fill(0xFF);
            bytes[16..18].copy_from_slice(&length.to_be_bytes());
            bytes[18] = kind;
        }
        let mut inbox = BytesMut::from(bytes.as_slice());
        let limit = if extended { 65535 } else { 4096 };
        while let Ok(Some(_)) = decode(&mut inbox, limit) {}
        prop_assert!(inbox.len() <= bytes.len());
    }
}

#[test]
fn many_prefixes_fit_into_messages_of_4096_bytes() {
    let updates = updates("2001:db8::2", 64500);
    let full = Route {
        next_hop: NextHop::Own,
        communities: (0..64).map(Community).collect(),
        large_communities: (0..64).map(|n| LargeCommunity([n, n, n])).collect(),
        prepend: 32,
        med: Some(1),
        local_pref: 100,
    };
    let table = (0..1000_u32)
        .map(|n| {
            (
                format!("2001:db8:{n:x}::1/128").parse().unwrap(),
                full.clone(),
            )
        })
        .collect();
    let rib = rib(&updates, &table);
    let seen = others_see(&updates, &Rib::new(), &rib);
    assert_eq!(seen.len(), 10);
    assert_eq!(others_see(&updates, &rib, &Rib::new()).len(), 10);
}

#[test]
fn what_cannot_be_said_over_a_session_is_refused_with_a_reason() {
    let route = Route {
        next_hop: NextHop::Own,
        communities: Vec::new(),
        large_communities: Vec::new(),
        prepend: 0,
        med: None,
        local_pref: 100,
    };
    let v4: IpNet = "203.0.113.1/32".parse().unwrap();
    let v6: IpNet = "2001:db8::1/128".parse().unwrap();
    let over_v4 = updates("192.0.2.2", 64500);
    assert!(
        over_v4
            .outbound(&v6, &route)
            .unwrap_err()
            .contains("IPv6 next hop")
    );
    let mut over_v6 = updates("2001:db8::2", 64500);
    assert!(over_v6.outbound(&v4, &route).is_ok());
    over_v6.v4_over_v6 = false;
    assert!(over_v6.outbound(&v4, &route).unwrap_err().contains("8950"));
    over_v6.v6 = false;
    assert!(
        over_v6
            .outbound(&v6, &route)
            .unwrap_err()
            .contains("does not take IPv6")
    );
}
