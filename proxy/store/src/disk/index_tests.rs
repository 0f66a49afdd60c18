//! The index beside a list of everything that was done to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn record(segment: u32, offset: u32, variant: u32) -> Record {
    Record {
        segment,
        offset,
        oldest: segment,
        size: 1,
        variant,
        site: 0,
        began: 0,
    }
}

#[derive(Debug, Clone)]
enum Act {
    Insert(u128, u32),
    Remove(u128, u32),
    RemoveOld(u128, u32),
    Evict(u32),
}

/// Few hashes, all in few chains: low halves that differ in high bits only.
fn hashes() -> impl Strategy<Value = u128> {
    (0u128..4, 0u128..3, 0u128..3).prop_map(|(shard, low, high)| shard << 64 | high << 40 | low)
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (hashes(), 0u32..3).prop_map(|(hash, variant)| Act::Insert(hash, variant)),
        2 => (hashes(), 0u32..3).prop_map(|(hash, variant)| Act::Remove(hash, variant)),
        1 => (hashes(), 0u32..3).prop_map(|(hash, variant)| Act::RemoveOld(hash, variant)),
        1 => (0u32..400).prop_map(Act::Evict),
    ];
    proptest::collection::vec(act, 0..400)
}

proptest! {
    #[test]
    fn it_does_as_a_plain_map_does(acts in acts()) {
        let index = Index::new();
        let mut model: HashMap<(u128, u32), Record> = HashMap::new();
        for (time, act) in acts.into_iter().enumerate() {
            let time = time as u32;
            match act {
                Act::Insert(hash, variant) => {
                    let new = record(time, time % 7, variant);
                    prop_assert_eq!(index.insert(hash, new), model.insert((hash, variant), new));
                }
                Act::Remove(hash, variant) => {
                    prop_assert_eq!(index.remove_variant(hash, variant), model.remove(&(hash, variant)));
                }
                Act::RemoveOld(hash, variant) => {
                    // What was replaced meanwhile stays.
                    prop_assert_eq!(index.remove(hash, &record(u32::MAX, 0, variant)), None);
                }
                Act::Evict(limit) => {
                    let mut gone = 0;
                    index.retain(|record| record.oldest > limit, |_| gone += 1);
                    let before = model.len();
                    model.retain(|_, record| record.oldest > limit);
                    prop_assert_eq!(gone, before - model.len());
                }
            }
            prop_assert_eq!(index.len(), model.len() as u64);
        }
        for hash in model.keys().map(|(hash, _)| *hash) {
            let mut expected: Vec<Record> = model
                .iter()
                .filter(|((other, _), _)| *other == hash)
                .map(|(_, record)| *record)
                .collect();
            expected.sort_by_key(|record| std::cmp::Reverse(record.segment));
            prop_assert_eq!(index.find(hash).to_vec(), expected);
            prop_assert!(index.has(hash));
        }
        let mut seen = 0;
        index.for_each(|_| { seen += 1; std::ops::ControlFlow::Continue(()) });
        prop_assert_eq!(seen, model.len());
    }
}

#[test]
fn an_object_takes_at_most_64_bytes() {
    let index = Index::new();
    let count = 300_000u64;
    for number in 0..count {
        let hash = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        index.insert(hash, record(1, number as u32, 0));
    }
    assert_eq!(index.len(), count);
    let each = index.memory() as f64 / count as f64;
    assert!(each <= 64.0, "{each} bytes an object");
}

#[test]
fn heat_rises_with_hits_and_falls_by_asking() {
    let index = Index::new();
    let it = record(1, 2, 3);
    index.insert(7, it);
    assert_eq!(index.cool(7, &it), 0);
    for _ in 0..9 {
        index.warm(7);
    }
    assert_eq!(index.cool(7, &it), 3);
    assert_eq!(index.cool(7, &it), 1);
    assert_eq!(index.cool(7, &it), 0);
}
