//! The store: what requests ask, and what fills tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anypop_cache::key::CacheKey;
use anypop_cache::meta::StoredMeta;
use anypop_cache::time::Timestamp;
use anypop_cache::vary::VaryKey;
use http::HeaderMap;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::disk::spool::Spool;
use crate::disk::tier::Tier;
use crate::fill::{Fill, FillPermit, FillWatch};
use crate::index::{Index, Shard, Variant};
use crate::limits::Limits;
use crate::memory::{Memory, Victim, Victims};
use crate::object::{Object, Whereabouts, target};
use crate::pass::PassTable;
use crate::purge::{PurgeRequest, PurgeSeq, Purges, Verdict};
use crate::s3fifo::Id;
use crate::stats::{Counters, Stats};

/// The store of a node. Cheap to clone: all clones are the same store.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// The parts. Locks are taken in this order: a shard of the index, then memory or clocks; never two shards.
pub(crate) struct Inner {
    pub(crate) limits: Limits,
    pub(crate) index: Index,
    pub(crate) memory: Memory,
    pub(crate) pass: PassTable,
    pub(crate) purges: Purges,
    pub(crate) counters: Counters,
    /// The disks, if there are any.
    pub(crate) tier: Option<Tier>,
    /// Bytes in the windows of bodies that are not stored.
    window_bytes: Arc<AtomicU64>,
}

/// An object that a lookup found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The object, complete or being filled.
    pub object: Arc<Object>,
    /// When it was purged softly, if it was: stale from then on, whatever its lifetime says.
    pub purged: Option<Timestamp>,
}

/// Objects under one key, newest first.
pub type FoundList = SmallVec<[Found; 2]>;

/// A state of the store, as far as one key depends on it: see [`Store::epoch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    changes: u64,
    purges: PurgeSeq,
}

/// What a lookup found.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// The newest object that was selected.
    Found(Found),
    /// None was selected.
    Missed(Missed),
}

/// What there is instead of an object.
#[derive(Debug, Clone, Default)]
pub struct Missed {
    /// Objects under the key that were not selected: other variants.
    pub others: FoundList,
    /// Fills for the key without a header: [`Store::join_or_begin`] joins one of the same hint.
    pub fills: usize,
    /// The key is remembered as uncacheable: fetch alone.
    pub pass: bool,
}

/// What a request that needs a fill gets.
#[derive(Debug)]
pub enum Join {
    /// What it needs has come meanwhile.
    Ready(Found),
    /// It is to fill.
    Begin(FillPermit),
    /// Somebody fills.
    Wait(FillWatch),
}

impl Store {
    /// An empty store.
    pub fn new(limits: Limits) -> Self {
        Self::of(limits, None, Purges::new(limits.purges))
    }

    pub(crate) fn of(limits: Limits, tier: Option<Tier>, purges: Purges) -> Self {
        let inner = Inner {
            limits,
            index: Index::new(),
            memory: Memory::new(limits.memory),
            pass: PassTable::new(),
            purges,
            counters: Counters::default(),
            tier,
            window_bytes: Arc::default(),
        };
        let inner = Arc::new(inner);
        if let Some(tier) = &inner.tier {
            let memory = Arc::downgrade(&inner);
            tier.ask_memory(Arc::new(move |hash, variant| {
                let memory = memory.upgrade();
                memory.is_some_and(|memory| memory.index.is_hot(hash, variant))
            }));
        }
        Self { inner }
    }

    /// The store's limits.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The newest object under a key that `select` takes (`Vary`, ranges). Objects still being filled are among those
    /// asked about; purged ones are not.
    ///
    /// No lock is held while `select` runs.
    ///
    /// Asks memory only: [`Store::find`] asks the disks too.
    pub fn lookup(&self, key: &CacheKey, mut select: impl FnMut(&Object) -> bool) -> Lookup {
        self.inner.look(key, &mut select, true)
    }

    /// The same, and on a miss in memory asks the key's disk. What is found there and is not too big comes back to memory
    /// ([`TierSettings::promote`](crate::TierSettings::promote)); the body of what is bigger is read from disk by its readers.
    ///
    /// Where nothing is on disk under the key this costs no more than [`Store::lookup`].
    pub async fn find(&self, key: &CacheKey, mut select: impl FnMut(&Object) -> bool) -> Lookup {
        match (self.inner.look(key, &mut select, true), &self.inner.tier) {
            (Lookup::Missed(missed), Some(tier)) => {
                tier.recall(&self.inner, key, select, missed).await
            }
            (lookup, _) => lookup,
        }
    }

    /// All objects under a key, in memory and on disk, newest first in each. Counts as a miss.
    pub async fn find_variants(&self, key: &CacheKey) -> FoundList {
        match self.find(key, |_| false).await {
            Lookup::Found(found) => FoundList::from_iter([found]),
            Lookup::Missed(missed) => missed.others,
        }
    }

    /// What a later lookup of this key depends on besides the time. Taken before a lookup, it tells whether the lookup
    /// would still find the same: as long as it is the same, nothing under the key was stored, replaced, evicted or
    /// purged. It changes more often than that.
    ///
    /// Two loads, no lock: for who answers many requests from one lookup.
    pub fn epoch(&self, key: &CacheKey) -> Epoch {
        Epoch {
            changes: self.inner.index.shard(key).changes(),
            purges: self.inner.purges.now(),
        }
    }

    /// Counts hits that an earlier lookup answered.
    pub fn touch(&self, object: &Object, hits: u32) {
        for _ in 0..hits.min(3) {
            object.warm();
        }
        let counters = &self.inner.index.shard(object.key()).counters;
        counters.hits.add_many(hits.into());
        if hits > 0 && !object.is_settled() {
            self.inner.notice(object);
        }
    }

    /// All objects under a key, newest first. Counts neither as hit nor as miss.
    pub fn variants(&self, key: &CacheKey) -> FoundList {
        let shard = self.inner.index.shard(key);
        let variants: SmallVec<[Variant; 2]> = match shard.read().get(key) {
            Some(entry) => entry.variants.iter().rev().cloned().collect(),
            None => SmallVec::new(),
        };
        variants
            .iter()
            .filter_map(|variant| self.inner.admit_to_reader(shard, variant))
            .collect()
    }

    /// Joins the fill of this key, or begins it. One of all those who ask at once gets [`Join::Begin`].
    ///
    /// `hint` is what the request has for the fields that stored variants vary by, where there are some: only requests
    /// with equal hints wait for each other. `usable` is asked first about what is stored, since it may have come after
    /// the caller's lookup; it must not call the store. For a key remembered as uncacheable everybody begins.
    ///
    /// A fill that began before a purge of its URL is not joined.
    pub fn join_or_begin(
        &self,
        key: &CacheKey,
        hint: Option<&VaryKey>,
        mut usable: impl FnMut(&Found) -> bool,
    ) -> Join {
        let inner = &self.inner;
        let pass = inner.pass.has(key.hash().0, Instant::now());
        let mut map = inner.index.shard(key).write();
        if let Some(entry) = map.get(key) {
            for variant in entry.variants.iter().rev() {
                if let Some(found) = inner.judge(&variant.object)
                    && usable(&found)
                {
                    found.object.warm();
                    return Join::Ready(found);
                }
            }
            let joined = entry.fills.iter().find(|fill| {
                let current =
                    || inner.purges.examine(fill.began(), &target(key, &[])) == Verdict::Valid;
                !pass && fill.is_for(hint) && current()
            });
            if let Some(fill) = joined {
                inner.counters.joined.add();
                return Join::Wait(fill.watch(inner.clone()));
            }
        }
        let fill = Arc::new(Fill::new(hint.cloned(), inner.purges.now()));
        if !pass {
            map.entry(key.into()).or_default().fills.push(fill.clone());
        }
        drop(map);
        Join::Begin(FillPermit::new(inner.clone(), key.clone(), fill, !pass))
    }

    /// Begins a fill that nobody joins: for a request that cannot share, or that fell out of another's fill. What it
    /// stores is for everyone.
    pub fn begin(&self, key: &CacheKey) -> FillPermit {
        let fill = Arc::new(Fill::new(None, self.inner.purges.now()));
        FillPermit::new(self.inner.clone(), key.clone(), fill, false)
    }

    /// Gives a stored object new headers and metadata without a validation of its body, as after a HEAD (RFC 9111
    /// §4.3.5). Purges since the object's own fill stay in force. `None`: it has been purged.
    pub fn update(
        &self,
        base: &Arc<Object>,
        headers: &HeaderMap,
        meta: StoredMeta,
    ) -> Option<Arc<Object>> {
        if base.verdict(&self.inner.purges) == Verdict::Gone {
            return None;
        }
        let object = Arc::new(Object::refreshed(base, headers, meta, base.began()));
        self.inner.replace(base, &object);
        self.inner.counters.refreshed.add();
        Some(object)
    }

    /// Takes one object out of the store. Who reads it goes on reading. `false`: it was not there.
    pub fn remove(&self, object: &Arc<Object>) -> bool {
        let on_disk = self
            .inner
            .tier
            .as_ref()
            .is_some_and(|tier| tier.remove(object));
        let in_memory = self
            .inner
            .find(object)
            .is_some_and(|id| self.inner.take_out(object, id));
        on_disk || in_memory
    }

    /// Purges. When this returns, no lookup finds what it hits.
    ///
    /// Costs the same whatever it hits. Once in some ten thousand purges, when clocks have to be folded, it first walks
    /// over all objects (some hundred nanoseconds each): call it where that may block.
    pub fn purge(&self, request: &PurgeRequest, now: Timestamp) -> PurgeSeq {
        self.purge_durably(request, now).unwrap_or_else(|error| {
            tracing::error!(%error, "a purge is not durable");
            error.seq
        })
    }

    /// The purge clocks.
    pub fn purges(&self) -> &Purges {
        &self.inner.purges
    }

    /// Counts everything.
    pub fn stats(&self) -> Stats {
        let inner = &self.inner;
        let (counters, usage) = (&inner.counters, inner.memory.usage());
        let shards = inner.index.shards();
        Stats {
            limit: inner.limits.memory,
            bytes: usage.bytes,
            objects: usage.objects,
            window_bytes: inner.window_bytes.load(Ordering::Relaxed),
            fills: counters.begun.get().saturating_sub(counters.settled.get()),
            hits: shards.iter().map(|shard| shard.counters.hits.get()).sum(),
            misses: shards.iter().map(|shard| shard.counters.misses.get()).sum(),
            joined: counters.joined.get(),
            stored: counters.stored.get(),
            refreshed: counters.refreshed.get(),
            evictions: counters.evictions.get(),
            purged: counters.purged.get(),
            aborted: counters.aborted.get(),
            overruns: counters.overruns.get(),
            recalled: counters.recalled.get(),
            purge_clocks: inner.purges.clocks() as u64,
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("limits", &self.inner.limits)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// An object as a reader may have it, or nothing if it was purged.
    pub(crate) fn judge(&self, object: &Arc<Object>) -> Option<Found> {
        let purged = match object.verdict(&self.purges) {
            Verdict::Valid => None,
            Verdict::Stale { since } => Some(since),
            Verdict::Gone => return None,
        };
        Some(Found {
            object: object.clone(),
            purged,
        })
    }

    /// The same, reclaiming the memory of what was purged.
    fn admit_to_reader(&self, shard: &Shard, variant: &Variant) -> Option<Found> {
        let found = self.judge(&variant.object);
        if found.is_none() && self.discard(shard, &variant.object, variant.id) {
            self.counters.purged.add();
        }
        found
    }

    /// Checks all objects against the purges so far, so that later ones alone can hit what is left.
    pub(crate) fn check_all(&self) {
        for shard in self.index.shards() {
            let variants: Vec<Variant> = {
                let map = shard.read();
                map.values()
                    .flat_map(|entry| &entry.variants)
                    .cloned()
                    .collect()
            };
            for variant in variants {
                self.admit_to_reader(shard, &variant);
            }
        }
    }

    /// Puts an object whose header has come into the index, in place of its fill. `None`: it is too big to be stored,
    /// and its body is windowed.
    pub(crate) fn insert(&self, object: &Arc<Object>, fill: Option<&Arc<Fill>>) -> Option<Id> {
        let key = object.key();
        let too_big = object
            .body()
            .length()
            .is_some_and(|length| length > self.limits.biggest())
            && object.body().on_disk().is_none();
        let mut dropped = Victims::new();
        let mut map = self.index.shard(key).write();
        // Admitted under the shard's lock: should it be evicted at once, the evictor finds it here.
        let place = if too_big {
            None
        } else {
            self.memory
                .admit(object.clone(), object.head_weight(), &self.purges)
                .ok()
        };
        let place = place.map(|(id, victims)| {
            dropped = victims;
            id
        });
        let entry = map.entry(key.into()).or_default();
        if let Some(fill) = fill {
            entry.fills.retain(|other| !Arc::ptr_eq(other, fill));
        }
        if let Some(id) = place {
            entry.variants.push(Variant {
                id,
                object: object.clone(),
            });
            if entry.variants.len() > self.limits.max_variants.max(1) {
                let oldest = entry.variants.remove(0);
                self.memory.remove(oldest.id);
                dropped.push(Victim {
                    id: oldest.id,
                    object: oldest.object,
                    purged: false,
                });
            }
        }
        if entry.is_empty() {
            map.remove(key);
        }
        drop(map);
        self.bury(dropped);
        if place.is_none() {
            self.counters.overruns.add();
            self.pass_through(object);
        }
        place
    }

    /// Puts an object in the place of one with the same body, or back into the store if that has been evicted.
    pub(crate) fn replace(&self, base: &Arc<Object>, object: &Arc<Object>) {
        let key = object.key();
        let mut map = self.index.shard(key).write();
        let variants = map.get_mut(key).map(|entry| &mut entry.variants);
        let present = variants.and_then(|all| {
            all.iter_mut()
                .find(|other| other.object.body().is_same(base.body()))
        });
        let mut victims = Victims::new();
        let mut back = None;
        match present {
            Some(variant) => {
                let (add, sub) = (object.head_weight(), variant.object.head_weight());
                let (replaced, gone) =
                    self.memory
                        .replace(variant.id, object.clone(), add, sub, &self.purges);
                victims = gone;
                if replaced {
                    variant.object = object.clone();
                }
            }
            None => {
                if let Some(complete) = object.body().try_complete() {
                    let trailers = complete.trailers().map_or(0, crate::headers::weight) as u64;
                    let weight = object.head_weight() + complete.length() + trailers;
                    if let Ok((id, gone)) = self.memory.admit(object.clone(), weight, &self.purges)
                    {
                        victims = gone;
                        back = Some(id);
                        map.entry(key.into()).or_default().variants.push(Variant {
                            id,
                            object: object.clone(),
                        });
                    }
                }
            }
        }
        drop(map);
        self.bury(victims);
        if back.is_some() {
            self.supersede(object, back);
        }
        if let Some(tier) = &self.tier {
            tier.refreshed(base, object);
        }
    }

    /// The newest object in memory that `select` takes.
    pub(crate) fn look(
        &self,
        key: &CacheKey,
        select: &mut impl FnMut(&Object) -> bool,
        counted: bool,
    ) -> Lookup {
        let shard = self.index.shard(key);
        let mut missed = Missed::default();
        let variants: SmallVec<[Variant; 2]> = match shard.read().get(key) {
            Some(entry) => {
                missed.fills = entry.fills.len();
                entry.variants.iter().rev().cloned().collect()
            }
            None => SmallVec::new(),
        };
        for variant in variants {
            let Some(found) = self.admit_to_reader(shard, &variant) else {
                continue;
            };
            if select(&found.object) {
                found.object.warm();
                if !found.object.is_settled()
                    && let Some(tier) = &self.tier
                {
                    tier.noticed(&found.object);
                }
                if counted {
                    shard.counters.hits.add();
                }
                return Lookup::Found(found);
            }
            missed.others.push(found);
        }
        if counted {
            shard.counters.misses.add();
        }
        missed.pass = self.pass.has(key.hash().0, Instant::now());
        Lookup::Missed(missed)
    }

    /// Tells the disk tier of a hit that came another way.
    #[cold]
    fn notice(&self, object: &Object) {
        let Some(tier) = &self.tier else { return };
        let known = {
            let map = self.index.shard(object.key()).read();
            let variants = map.get(object.key()).map(|entry| &entry.variants);
            variants.and_then(|all| {
                all.iter()
                    .find(|variant| std::ptr::eq(&*variant.object, object))
                    .map(|variant| variant.object.clone())
            })
        };
        if let Some(object) = known {
            tier.noticed(&object);
        }
    }

    /// Sends the body of an object that is being filled to disk, if a disk takes it.
    pub(crate) fn spool(&self, object: &Arc<Object>) -> Option<Spool> {
        let on_disk = self.tier.as_ref()?.spool(object)?;
        object
            .body()
            .spool(on_disk.clone(), self.window_bytes.clone())
            .then(|| Spool::new(on_disk))
    }

    /// The body of an object goes to no disk any more.
    pub(crate) fn stop_spooling(&self, object: &Object) {
        self.counters.overruns.add();
        object
            .body()
            .stop_spooling(self.window_bytes.clone(), self.limits.window);
    }

    /// Puts an object that was found on disk into memory. Gives what has come there meanwhile instead, if that is newer;
    /// `None`: what was read is no longer what is on disk.
    pub(crate) fn readmit(&self, found: Found, current: impl FnOnce() -> bool) -> Option<Found> {
        let object = &found.object;
        let Some(complete) = object.body().try_complete() else {
            return Some(found);
        };
        let trailers = complete.trailers().map_or(0, crate::headers::weight) as u64;
        let weight = object.head_weight() + complete.length() + trailers;
        let mut map = self.index.shard(object.key()).write();
        if let Some(entry) = map.get(object.key()) {
            let newer = entry
                .variants
                .iter()
                .rev()
                .find(|other| other.object.supersedes(object))
                .and_then(|newer| self.judge(&newer.object));
            if newer.is_some() {
                return newer;
            }
        }
        // Asked with the lock held that whoever supersedes it needs: it is the newest, or not in the index.
        if !current() {
            return None;
        }
        let admitted = self.memory.admit(object.clone(), weight, &self.purges);
        let Ok((id, victims)) = admitted else {
            return Some(found);
        };
        let entry = map.entry(object.key().into()).or_default();
        // Older than what has come since.
        entry.variants.insert(
            0,
            Variant {
                id,
                object: object.clone(),
            },
        );
        drop(map);
        self.bury(victims);
        Some(found)
    }

    /// Takes a fill that has no header out of the index.
    pub(crate) fn withdraw(&self, key: &CacheKey, fill: &Arc<Fill>) {
        let mut map = self.index.shard(key).write();
        if let Some(entry) = map.get_mut(key) {
            entry.fills.retain(|other| !Arc::ptr_eq(other, fill));
            if entry.is_empty() {
                map.remove(key);
            }
        }
    }

    /// Counts more bytes for an object. `false`: it has lost its place.
    pub(crate) fn grow(&self, place: Id, more: u64) -> bool {
        let (grown, victims) = self.memory.grow(place, more, &self.purges);
        self.bury(victims);
        grown
    }

    /// An object that is being filled is not stored after all; its readers go on.
    pub(crate) fn give_up(&self, object: &Arc<Object>, place: Id, too_big: bool) {
        tracing::debug!(key = %object.key(), too_big, "a body goes on without being stored");
        self.counters.overruns.add();
        self.take_out(object, place);
        self.pass_through(object);
        if too_big {
            // A newer response than what is stored has come, even though it can't be kept.
            self.supersede(object, None);
            if let Some(tier) = &self.tier {
                tier.remove(object);
            }
        }
    }

    /// An object is complete.
    pub(crate) fn completed(&self, object: &Arc<Object>, place: Id) {
        self.counters.stored.add();
        self.supersede(object, Some(place));
        if let Some(tier) = &self.tier {
            tier.completed(object);
        }
    }

    /// Takes an object out of index and memory.
    pub(crate) fn take_out(&self, object: &Arc<Object>, place: Id) -> bool {
        self.discard(self.index.shard(object.key()), object, place)
    }

    fn discard(&self, shard: &Shard, object: &Object, place: Id) -> bool {
        let taken = shard.take(object.key(), place);
        self.memory.remove(place);
        match taken {
            Some(variant) => {
                self.pass_through(&variant.object);
                true
            }
            None => false,
        }
    }

    /// Takes out the objects that this one supersedes: those before `place`, or all if it has none.
    pub(crate) fn supersede(&self, object: &Arc<Object>, place: Option<Id>) {
        let key = object.key();
        let mut dropped: SmallVec<[Variant; 2]> = SmallVec::new();
        let mut map = self.index.shard(key).write();
        let Some(entry) = map.get_mut(key) else {
            return;
        };
        let end = match place {
            Some(id) => match entry.variants.iter().position(|variant| variant.id == id) {
                Some(position) => position,
                // Evicted meanwhile: which ones came before it is no longer known.
                None => return,
            },
            None => entry.variants.len(),
        };
        let mut position = 0;
        entry.variants.retain(|variant| {
            let older = position < end && variant.object.began() <= object.began();
            position += 1;
            let superseded = older && object.supersedes(&variant.object);
            if superseded {
                // It must not be written any more.
                variant.object.set_whereabouts(Whereabouts::Removed);
                dropped.push(variant.clone());
            }
            !superseded
        });
        if entry.is_empty() {
            map.remove(key);
        }
        drop(map);
        for variant in dropped {
            self.memory.remove(variant.id);
            self.pass_through(&variant.object);
        }
    }

    /// Takes evicted objects out of the index. No lock may be held.
    fn bury(&self, victims: Victims) {
        for Victim { id, object, purged } in victims {
            self.index.shard(object.key()).take(object.key(), id);
            if purged {
                self.counters.purged.add();
            } else {
                if let Some(tier) = &self.tier {
                    tier.evicted(&object);
                }
                self.counters.evictions.add();
            }
            self.pass_through(&object);
        }
    }

    /// Lets the body of an object that is out of the store go on for the readers it has.
    fn pass_through(&self, object: &Object) {
        if !object.body().is_complete() {
            object
                .body()
                .open_window(self.window_bytes.clone(), self.limits.window);
        }
    }

    fn find(&self, object: &Arc<Object>) -> Option<Id> {
        let map = self.index.shard(object.key()).read();
        let entry = map.get(object.key())?;
        entry
            .variants
            .iter()
            .find(|variant| Arc::ptr_eq(&variant.object, object))
            .map(|variant| variant.id)
    }
}
