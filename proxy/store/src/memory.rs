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
use crate::s3fifo::{Id, S3Fifo};

/// Residents that had to go. They are still in the index: whoever gets this takes them out, holding no lock.
pub(crate) type Victims = SmallVec<[(Id, Arc<Object>); 2]>;

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
}

/// Newcomers may hold this part of the limit.
const SMALL_PART: u64 = 10;

/// It does not fit, however much would go.
pub(crate) struct TooBig;

impl Memory {
    pub(crate) fn new(limit: u64) -> Self {
        let state = State {
            queues: S3Fifo::new(),
            sites: HashMap::default(),
        };
        Self {
            limit,
            state: Mutex::new(state),
        }
    }

    /// Takes in an object of `weight` bytes.
    pub(crate) fn admit(&self, object: Arc<Object>, weight: u64) -> Result<(Id, Victims), TooBig> {
        if weight > self.limit {
            return Err(TooBig);
        }
        let mut state = self.state.lock();
        let victims = state.make_room(weight, self.limit);
        let fingerprint = object.key().hash().0 as u64;
        state.count(object.key().site(), weight, 0, 1);
        let id = state.queues.insert(object, fingerprint, weight);
        Ok((id, victims))
    }

    /// Adds to a resident's bytes. `false`: it is not a resident any more, perhaps since this call: then it is among the
    /// victims.
    pub(crate) fn grow(&self, id: Id, more: u64) -> (bool, Victims) {
        let mut state = self.state.lock();
        if state.queues.find(id).is_none() {
            return (false, Victims::new());
        }
        let victims = state.make_room(more, self.limit);
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
    ) -> (bool, Victims) {
        let mut state = self.state.lock();
        let victims = state.make_room(add, self.limit);
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
    fn make_room(&mut self, wanted: u64, limit: u64) -> Victims {
        let mut victims = Victims::new();
        while self.queues.weight().saturating_add(wanted) > limit {
            let Some((id, object, weight)) = self.queues.evict(limit / SMALL_PART) else {
                break;
            };
            self.count(object.key().site(), 0, weight, -1);
            victims.push((id, object));
        }
        victims
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
