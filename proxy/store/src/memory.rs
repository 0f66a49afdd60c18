//! The bytes of the memory tier: who may have some, and who must give.
//!
//! Hits never come here; only what changes the number of bytes does, so one lock is enough: it is held for a few list
//! operations per fill and per chunk of one.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::object::Object;
use crate::purge::{PurgeSeq, Purges, Verdict};
use crate::s3fifo::{Id, S3Fifo};

/// Residents that had to go, to make room or because they were purged. They are still in the index: whoever gets this takes them out, holding no lock.
pub(crate) type Victims = SmallVec<[Victim; 2]>;

/// One of them.
pub(crate) struct Victim {
    pub(crate) id: Id,
    pub(crate) object: Arc<Object>,
    pub(crate) purged: bool,
}

/// Bytes and objects of one site in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SiteUse {
    /// Bytes, counted as the store's limit counts them.
    pub bytes: u64,
    /// Objects, those being filled included.
    pub objects: u64,
}

/// The residents of the memory tier, never heavier than the limit.
pub(crate) struct Memory {
    limit: u64,
    state: Mutex<State>,
}

struct State {
    queues: S3Fifo<Arc<Object>>,
    sites: HashMap<Box<str>, SiteUse, RandomState>,
    sweep: Sweep,
}

/// A walk over all residents after a purge, a few places at a time.
///
/// What was purged and is not asked for again would leave main only as fast as others earn a place there: after a purge
/// of everything nine tenths of the memory would be dead for long.
#[derive(Default)]
struct Sweep {
    /// The purge that it looks for.
    purge: PurgeSeq,
    /// The next place to look at.
    place: usize,
    /// Places still to look at.
    left: usize,
}

/// Places swept whenever memory changes.
const SWEEP_STEP: usize = 8;

/// Newcomers may hold this part of the limit.
const SMALL_PART: u64 = 10;

/// It does not fit, however much would go.
pub(crate) struct TooBig;

impl Memory {
    pub(crate) fn new(limit: u64) -> Self {
        let state = State {
            queues: S3Fifo::new(),
            sites: HashMap::default(),
            sweep: Sweep::default(),
        };
        Self {
            limit,
            state: Mutex::new(state),
        }
    }

    /// Takes in an object of `weight` bytes.
    pub(crate) fn admit(
        &self,
        object: Arc<Object>,
        weight: u64,
        purges: &Purges,
    ) -> Result<(Id, Victims), TooBig> {
        if weight > self.limit {
            return Err(TooBig);
        }
        let mut state = self.state.lock();
        let victims = state.make_room(weight, self.limit, purges);
        let fingerprint = object.key().hash().0 as u64;
        state.count(object.key().site(), weight, 0, 1);
        let id = state.queues.insert(object, fingerprint, weight);
        Ok((id, victims))
    }

    /// Adds to a resident's bytes. `false`: it is not a resident any more, perhaps since this call: then it is among the
    /// victims.
    pub(crate) fn grow(&self, id: Id, more: u64, purges: &Purges) -> (bool, Victims) {
        let mut state = self.state.lock();
        if state.queues.find(id).is_none() {
            return (false, Victims::new());
        }
        let victims = state.make_room(more, self.limit, purges);
        let grown =
            state.queues.weight().saturating_add(more) <= self.limit && state.queues.grow(id, more);
        if grown && let Some(object) = state.queues.find(id).cloned() {
            state.count(object.key().site(), more, 0, 0);
        }
        (grown, victims)
    }

    /// Puts an object in the place of its predecessor, `add` bytes heavier and `sub` lighter.
    pub(crate) fn replace(
        &self,
        id: Id,
        object: Arc<Object>,
        add: u64,
        sub: u64,
        purges: &Purges,
    ) -> (bool, Victims) {
        let mut state = self.state.lock();
        let victims = state.make_room(add, self.limit, purges);
        let fits = state.queues.weight().saturating_add(add) <= self.limit;
        let replaced = fits && state.queues.replace(id, object.clone(), add, sub).is_some();
        if replaced {
            state.count(object.key().site(), add, sub, 0);
        }
        (replaced, victims)
    }

    /// Takes a resident out; it may be gone already.
    pub(crate) fn remove(&self, id: Id) {
        let mut state = self.state.lock();
        if let Some((object, weight)) = state.queues.remove(id) {
            state.count(object.key().site(), 0, weight, -1);
        }
    }

    /// Bytes and objects in all.
    pub(crate) fn usage(&self) -> SiteUse {
        let state = self.state.lock();
        SiteUse {
            bytes: state.queues.weight(),
            objects: state.queues.len() as u64,
        }
    }

    /// Bytes and objects of one site.
    pub(crate) fn site(&self, site: &str) -> SiteUse {
        self.state
            .lock()
            .sites
            .get(site)
            .copied()
            .unwrap_or_default()
    }

    /// Bytes and objects of each site that has any.
    pub(crate) fn sites(&self) -> Vec<(Box<str>, SiteUse)> {
        self.state
            .lock()
            .sites
            .iter()
            .map(|(site, usage)| (site.clone(), *usage))
            .collect()
    }
}

impl State {
    /// Evicts until `wanted` bytes are free, or nobody is left.
    fn make_room(&mut self, wanted: u64, limit: u64, purges: &Purges) -> Victims {
        let mut victims = Victims::new();
        self.sweep(purges, &mut victims);
        while self.queues.weight().saturating_add(wanted) > limit {
            let Some((id, object, weight)) = self.queues.evict(limit / SMALL_PART) else {
                break;
            };
            self.count(object.key().site(), 0, weight, -1);
            victims.push(Victim {
                id,
                object,
                purged: false,
            });
        }
        victims
    }

    fn sweep(&mut self, purges: &Purges, victims: &mut Victims) {
        let now = purges.now();
        if self.sweep.purge != now {
            self.sweep.purge = now;
            self.sweep.left = self.queues.places();
        }
        for _ in 0..self.sweep.left.min(SWEEP_STEP) {
            let place = self.sweep.place;
            self.sweep.left -= 1;
            self.sweep.place = if place + 1 < self.queues.places() {
                place + 1
            } else {
                0
            };
            let Some((id, object)) = self.queues.at_place(place) else {
                continue;
            };
            if object.verdict(purges) == Verdict::Gone
                && let Some((object, weight)) = self.queues.remove(id)
            {
                self.count(object.key().site(), 0, weight, -1);
                victims.push(Victim {
                    id,
                    object,
                    purged: true,
                });
            }
        }
    }

    fn count(&mut self, site: &str, add: u64, sub: u64, objects: i64) {
        let usage = match self.sites.get_mut(site) {
            Some(usage) => usage,
            None => self.sites.entry(site.into()).or_default(),
        };
        usage.bytes = (usage.bytes + add).saturating_sub(sub);
        usage.objects = usage.objects.saturating_add_signed(objects);
        if *usage == SiteUse::default() {
            self.sites.remove(site);
        }
    }
}
