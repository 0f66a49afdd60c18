#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use proptest::prelude::*;

use super::{Id, Resident, S3Fifo};

#[derive(Clone)]
struct Thing {
    name: u64,
    heat: Rc<Cell<u8>>,
    busy: bool,
}

impl Resident for Thing {
    fn heat(&self) -> u8 {
        self.heat.get()
    }

    fn set_heat(&self, heat: u8) {
        self.heat.set(heat);
    }

    fn busy(&self) -> bool {
        self.busy
    }
}

fn thing(name: u64) -> Thing {
    Thing {
        name,
        heat: Rc::default(),
        busy: false,
    }
}

/// A cache of `room` equal things over the queues.
struct Cache {
    queues: S3Fifo<Thing>,
    ids: HashMap<u64, Id>,
    room: u64,
}

impl Cache {
    fn new(room: u64) -> Self {
        Self {
            queues: S3Fifo::new(),
            ids: HashMap::new(),
            room,
        }
    }

    fn ask_all(&mut self, names: Range<u64>) {
        for name in names {
            self.ask(name);
        }
    }

    /// Whether it was there.
    fn ask(&mut self, name: u64) -> bool {
        if let Some(thing) = self.ids.get(&name).and_then(|id| self.queues.find(*id)) {
            thing.set_heat((thing.heat() + 1).min(3));
            return true;
        }
        while self.queues.weight() >= self.room {
            let (_, gone, _) = self.queues.evict(self.room / 10).unwrap();
            self.ids.remove(&gone.name);
        }
        let id = self.queues.insert(thing(name), name, 1);
        self.ids.insert(name, id);
        false
    }
}

#[test]
fn a_scan_does_not_wash_out_what_is_hot() {
    let mut cache = Cache::new(1000);
    for _ in 0..5 {
        cache.ask_all(0..800);
    }
    cache.ask_all(10_000..110_000);
    let kept = (0..800).filter(|hot| cache.ids.contains_key(hot)).count();
    assert!(kept >= 790, "{kept} of 800 survived the scan");
}

#[test]
fn what_comes_back_soon_goes_to_main() {
    let mut cache = Cache::new(100);
    cache.ask_all(0..2000);
    // Long gone from small, but remembered.
    assert!(!cache.ask(1500));
    cache.ask_all(3000..3500);
    assert!(
        cache.ask(1500),
        "it went to main at once, where the scan does not reach it"
    );
}

#[test]
fn busy_things_go_last_and_the_oldest_first() {
    let mut queues = S3Fifo::new();
    for name in 0..5 {
        queues.insert(
            Thing {
                busy: name != 3,
                ..thing(name)
            },
            name,
            1,
        );
    }
    let order: Vec<u64> = std::iter::from_fn(|| queues.evict(0))
        .map(|(_, thing, _)| thing.name)
        .collect();
    assert_eq!(order[0], 3);
    assert_eq!(order[1], 4, "passed over 0, 1 and 2, and now at the front");
    assert_eq!(order.len(), 5);
}

#[test]
fn a_handle_outlives_its_resident_in_vain() {
    let mut queues = S3Fifo::new();
    let old = queues.insert(thing(1), 1, 10);
    assert!(queues.remove(old).is_some());
    let new = queues.insert(thing(2), 2, 10);
    assert!(queues.find(old).is_none() && queues.find(new).is_some());
    assert!(
        !queues.grow(old, 5)
            && queues.remove(old).is_none()
            && queues.replace(old, thing(3), 1, 0).is_none()
    );
    assert_eq!(queues.weight(), 10);
}

#[derive(Debug, Clone)]
enum Step {
    Insert { name: u64, weight: u64, busy: bool },
    Hit(prop::sample::Index),
    Grow(prop::sample::Index, u64),
    Replace(prop::sample::Index, u64, u64),
    Remove(prop::sample::Index),
    Evict(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<prop::sample::Index>;
    let step = prop_oneof![
        4 => (0_u64..64, 0_u64..1000, any::<bool>())
            .prop_map(|(name, weight, busy)| Step::Insert { name, weight, busy }),
        4 => which().prop_map(Step::Hit),
        2 => (which(), 0_u64..1000).prop_map(|(which, more)| Step::Grow(which, more)),
        1 => (which(), 0_u64..500, 0_u64..500).prop_map(|(which, add, sub)| Step::Replace(which, add, sub)),
        1 => which().prop_map(Step::Remove),
        3 => (0_u64..2000).prop_map(Step::Evict),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    /// Whatever happens, the queues hold what a plain map holds, and weigh the same.
    #[test]
    fn the_queues_add_up(steps in steps()) {
        let mut queues = S3Fifo::new();
        let mut model: Vec<(Id, u64, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Insert { name, weight, busy } => {
                    let id = queues.insert(Thing { busy, ..thing(name) }, name, weight);
                    model.push((id, name, weight));
                }
                Step::Evict(small) => match queues.evict(small) {
                    Some((id, gone, weight)) => {
                        let at = model.iter().position(|known| *known == (id, gone.name, weight));
                        model.remove(at.expect("evicted what was not there"));
                    }
                    None => prop_assert!(model.is_empty()),
                },
                Step::Hit(which) => if !model.is_empty() {
                    let thing = queues.find(which.get(&model).0).unwrap();
                    thing.set_heat((thing.heat() + 1).min(3));
                },
                Step::Grow(which, more) => if !model.is_empty() {
                    let known = which.index(model.len());
                    prop_assert!(queues.grow(model[known].0, more));
                    model[known].2 += more;
                },
                Step::Replace(which, add, sub) => if !model.is_empty() {
                    let known = which.index(model.len());
                    let (id, name, weight) = model[known];
                    prop_assert_eq!(queues.replace(id, thing(name), add, sub).unwrap().name, name);
                    model[known].2 = (weight + add).saturating_sub(sub);
                },
                Step::Remove(which) => if !model.is_empty() {
                    let (id, name, weight) = model.remove(which.index(model.len()));
                    let (gone, weighed) = queues.remove(id).unwrap();
                    prop_assert_eq!((gone.name, weighed), (name, weight));
                },
            }
            prop_assert_eq!(queues.len(), model.len());
            prop_assert_eq!(queues.weight(), model.iter().map(|known| known.2).sum::<u64>());
            for (id, name, _) in &model {
                prop_assert_eq!(queues.find(*id).map(|thing| thing.name), Some(*name));
            }
            let walked = (0..queues.places()).filter(|place| queues.at_place(*place).is_some()).count();
            prop_assert_eq!(walked, model.len());
        }
    }
}
