//! All disks, and what goes to them.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use anypop_cache::key::CacheKey;
use parking_lot::RwLock;

use super::device::{Disk, Memory};
use super::format::Extent;
use super::head::Head;
use super::open::{Opened, open};
use super::recall::{DiskBody, Loaded, load};
use super::seen::Seen;
use super::segment::{Mode, ReadError};
use super::slot::{DiskStats, Slot, State, out_of_service};
use super::volume::Volume;
use super::writer::Identity;
use super::{Admission, DiskSettings, TierSettings};
use crate::body::Body;
use crate::memory::SiteUse;
use crate::object::{Object, Whereabouts};
use crate::purge::{PurgeSeq, Verdict};
use crate::store::{Inner, Lookup, Missed};

pub(crate) struct Tier {
    slots: Vec<Slot>,
    pub(crate) settings: TierSettings,
    seen: Seen,
    /// One object comes back from disk at a time for each of these, so that a crowd reads it once.
    turns: Box<[tokio::sync::Mutex<()>]>,
    quotas: RwLock<HashMap<String, u64>>,
    memory: OnceLock<Memory>,
}

const TURNS: usize = 1024;

/// Bytes of an object that is read where it is asked for, if it is in the page cache.
const INLINE: u64 = 128 * 1024;

impl Tier {
    /// Opens all disks. Those that cannot be opened are out of service. Gives the latest purge sequence they know too.
    pub(crate) fn open(
        settings: TierSettings,
        disks: Vec<(DiskSettings, Arc<dyn Volume>)>,
    ) -> (Self, u64) {
        let mut latest = 0;
        let slots = disks
            .into_iter()
            .map(|(settings, volume)| {
                let state = match open(&settings, volume.clone(), false) {
                    Ok(opened) => {
                        latest = latest.max(opened.latest);
                        State::Up(opened.disk)
                    }
                    Err(error) => State::Down(out_of_service(&settings, &error)),
                };
                Slot {
                    name: name_of(&settings),
                    settings,
                    volume,
                    state: RwLock::new(state),
                }
            })
            .collect();
        let tier = Self {
            slots,
            settings,
            seen: Seen::new(),
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::new(())).collect(),
            quotas: RwLock::default(),
            memory: OnceLock::new(),
        };
        (tier, latest)
    }

    /// Sets whom the disks ask what is hot in memory.
    pub(crate) fn ask_memory(&self, memory: Memory) {
        for disk in self.disks() {
            disk.ask_memory(memory.clone());
        }
        // For those that come back.
        let _ = self.memory.set(memory);
    }

    /// All disks in service.
    pub(crate) fn disks(&self) -> Vec<Arc<Disk>> {
        self.slots.iter().filter_map(Slot::disk).collect()
    }

    /// The disk of a key, if that is in service. Keys of a disk that isn't stay away from the others: nothing is on two
    /// disks, so nothing old is found when it returns.
    fn disk_for(&self, hash: u128) -> Option<Arc<Disk>> {
        let weight = |slot: &&Slot| {
            // Weighted rendezvous: a disk of twice the size gets twice the keys.
            let share = ((mix(hash as u64 ^ slot.name) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            slot.settings.size as f64 / -share.ln()
        };
        let best = match self.slots.as_slice() {
            [one] => Some(one),
            many => many.iter().max_by(|a, b| weight(a).total_cmp(&weight(b))),
        };
        best.and_then(Slot::disk)
    }

    /// An object is complete in memory.
    pub(crate) fn completed(&self, object: &Arc<Object>) {
        let hash = object.key().hash().0;
        let Some(disk) = self.disk_for(hash) else {
            return;
        };
        object.set_whereabouts(Whereabouts::Memory);
        let known = disk.forget_variant(hash, object.variant());
        let wanted = known || self.wants(hash);
        if wanted && !self.write(&disk, object) && known {
            drop_variant(&disk, hash, object.variant());
        }
    }

    /// A hit in memory of an object that is not known to be on disk.
    #[cold]
    pub(crate) fn noticed(&self, object: &Arc<Object>) {
        match object.whereabouts() {
            Whereabouts::Memory | Whereabouts::Wanted => {
                if let Some(disk) = self.disk_for(object.key().hash().0) {
                    object.set_whereabouts(Whereabouts::Wanted);
                    self.write(&disk, object);
                }
            }
            Whereabouts::Written => {
                object.set_whereabouts(Whereabouts::Settled);
                let hash = object.key().hash().0;
                match self.disk_for(hash) {
                    Some(disk) if has_variant(&disk, hash, object.variant()) => {
                        disk.index.warm(hash);
                    }
                    // Its segment went before it was known to be hot.
                    Some(disk) => drop(self.write(&disk, object)),
                    None => {}
                }
            }
            Whereabouts::Queued | Whereabouts::Settled | Whereabouts::Removed => {}
        }
    }

    /// An object leaves memory: the last moment to write it.
    pub(crate) fn evicted(&self, object: &Arc<Object>) {
        let wanted = match object.whereabouts() {
            Whereabouts::Wanted => true,
            Whereabouts::Memory => self.settings.admission == Admission::Always,
            _ => false,
        };
        if wanted
            && let Some(disk) = self.disk_for(object.key().hash().0)
            && !self.write(&disk, object)
        {
            disk.counters.refused.add();
        }
    }

    /// An object has new metadata over the body of another.
    pub(crate) fn refreshed(&self, base: &Object, object: &Arc<Object>) {
        let on_disk = match base.whereabouts() {
            Whereabouts::Memory | Whereabouts::Wanted => {
                object.set_whereabouts(Whereabouts::Wanted);
                return;
            }
            Whereabouts::Queued | Whereabouts::Written => true,
            Whereabouts::Settled | Whereabouts::Removed => false,
        };
        let hash = object.key().hash().0;
        let Some(disk) = self.disk_for(hash) else {
            return;
        };
        if !on_disk && !has_variant(&disk, hash, base.variant()) {
            return;
        }
        object.set_whereabouts(Whereabouts::Queued);
        if base.variant() != object.variant() {
            // Its Vary has changed.
            drop_variant(&disk, hash, base.variant());
        }
        let object = object.clone();
        disk.queue.urgent(move |disk, writer| {
            let extents = extents_of(object.body());
            let empty = object.body().length() == Some(0);
            let referred = match extents.filter(|extents| empty || !extents.is_empty()) {
                Some(extents) => writer
                    .refer(disk, object.identity(), &head_of(&object, extents))
                    .is_ok(),
                None => false,
            };
            if referred {
                settle(&object, Whereabouts::Written);
            } else {
                write_whole(disk, writer, &object);
            }
        });
    }

    /// Takes an object off its disk, and whatever else is there of its variant. `false`: there was nothing.
    pub(crate) fn remove(&self, object: &Object) -> bool {
        object.set_whereabouts(Whereabouts::Removed);
        let hash = object.key().hash().0;
        let Some(disk) = self.disk_for(hash) else {
            return false;
        };
        let there = has_variant(&disk, hash, object.variant());
        if there {
            drop_variant(&disk, hash, object.variant());
        }
        there
    }

    /// Where the body of a fill goes that memory cannot keep; `None`: it is not kept.
    pub(crate) fn spool(&self, object: &Object) -> Option<Arc<DiskBody>> {
        let hash = object.key().hash().0;
        let disk = self.disk_for(hash)?;
        let length = object.body().length().unwrap_or(0);
        let known = has_variant(&disk, hash, object.variant());
        let fits = length <= self.biggest(&disk);
        if fits
            && (known || self.wants(hash))
            && self.quota_left(&disk, object.key().site(), length)
        {
            return Some(Arc::new(DiskBody::begin(disk, hash)));
        }
        if !fits {
            disk.counters.refused.add();
        }
        None
    }

    /// Bytes of the biggest body that a disk takes.
    pub(crate) fn biggest(&self, disk: &Disk) -> u64 {
        self.settings.max_object.min(disk.biggest())
    }

    /// Whether a body of this length would be kept for this key, asked for often enough.
    pub(crate) fn keeps(&self, key: &CacheKey, length: u64) -> bool {
        self.disk_for(key.hash().0)
            .is_some_and(|disk| length <= self.biggest(&disk))
    }

    /// Whether a key is to be written: all are, or it has been asked about before.
    fn wants(&self, hash: u128) -> bool {
        let seen = self.seen.mark(hash);
        seen || self.settings.admission == Admission::Always
    }

    /// Queues an object to be written. `false`: it is not.
    fn write(&self, disk: &Arc<Disk>, object: &Arc<Object>) -> bool {
        let Some(complete) = object.body().try_complete() else {
            return false;
        };
        let length = complete.length();
        if length > self.biggest(disk) || !self.quota_left(disk, object.key().site(), length) {
            object.set_whereabouts(Whereabouts::Settled);
            disk.counters.refused.add();
            return false;
        }
        // Without room it is tried again at the next hit, and when it is evicted.
        let Some(room) = disk.queue.try_room(length + object.head_weight()) else {
            return false;
        };
        object.set_whereabouts(Whereabouts::Queued);
        let object = object.clone();
        disk.queue
            .add(room, move |disk, writer| write_whole(disk, writer, &object));
        true
    }

    /// Whether a site may store so many bytes more on disk. Over its quota its own oldest objects go.
    fn quota_left(&self, disk: &Arc<Disk>, site: &str, length: u64) -> bool {
        let Some(quota) = self.quotas.read().get(site).copied() else {
            return true;
        };
        if length > quota {
            return false;
        }
        let used = self.site_use(site).bytes;
        if used.saturating_add(length) > quota {
            let name = site.to_owned();
            let surplus = used.saturating_add(length) - quota;
            disk.queue
                .urgent(move |disk, writer| writer.trim_site(disk, &name, surplus));
        }
        // Until then it is over by no more than what is queued.
        used < quota.saturating_add(quota / 10)
    }

    /// Bounds the bytes of a site on all disks; `None`: not at all.
    pub(crate) fn set_quota(&self, site: &str, quota: Option<u64>) {
        let mut quotas = self.quotas.write();
        match quota {
            Some(bytes) => {
                quotas.insert(site.to_owned(), bytes);
            }
            None => {
                quotas.remove(site);
            }
        }
    }

    /// Bytes and objects of a site on all disks.
    pub(crate) fn site_use(&self, site: &str) -> SiteUse {
        let mut usage = SiteUse::default();
        for disk in self.disks() {
            if let Some(site) = disk.sites.by_name(site) {
                let on_disk = site.usage();
                usage.bytes += on_disk.bytes;
                usage.objects += on_disk.objects;
            }
        }
        usage
    }

    /// Bytes and objects of each site on all disks.
    pub(crate) fn sites_use(&self) -> Vec<(Box<str>, SiteUse)> {
        let mut all: HashMap<Box<str>, SiteUse> = HashMap::new();
        for site in self.disks().iter().flat_map(|disk| disk.sites.all()) {
            let (usage, on_disk) = (all.entry((&*site.name).into()).or_default(), site.usage());
            usage.bytes += on_disk.bytes;
            usage.objects += on_disk.objects;
        }
        all.retain(|_, usage| *usage != SiteUse::default());
        all.into_iter().collect()
    }

    /// Looks for a key on its disk after memory missed it.
    pub(crate) async fn recall(
        &self,
        store: &Arc<Inner>,
        key: &CacheKey,
        mut select: impl FnMut(&Object) -> bool,
        missed: Missed,
    ) -> Lookup {
        let hash = key.hash().0;
        let Some(disk) = self.disk_for(hash).filter(|disk| disk.index.has(hash)) else {
            return Lookup::Missed(missed);
        };
        let turn = self.turns.get((hash >> 32) as usize % TURNS);
        let _turn = match turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        // Who had the turn before may have brought it.
        let mut missed = match store.look(key, &mut select, false) {
            Lookup::Missed(missed) => missed,
            found => return found,
        };
        for record in disk.index.find(hash) {
            // Memory has what is newest.
            if missed
                .others
                .iter()
                .any(|other| other.object.variant() == record.variant)
            {
                continue;
            }
            let most = self.settings.promote.min(store.limits.biggest());
            // An event loop copies and checks no more than this.
            let small = record.bytes() <= INLINE || record.bytes() > most.saturating_add(INLINE);
            let cached = if small {
                load(&disk, &record, most, Mode::Cached)
            } else {
                Err(ReadError::WouldBlock)
            };
            let loaded = match cached {
                Err(ReadError::WouldBlock) => {
                    let reader = disk.clone();
                    let job = move || load(&reader, &record, most, Mode::Blocking);
                    disk.pool.run(job).await.unwrap_or(Err(ReadError::Gone))
                }
                loaded => loaded,
            };
            let Loaded { head, parts, body } = match loaded {
                Ok(loaded) => loaded,
                Err(error) => {
                    disk.unreadable(hash, &record, &error);
                    continue;
                }
            };
            if head.key != *key {
                continue;
            }
            let body = match body {
                Some(fragments) => {
                    let extents = parts.iter().map(|part| part.extent).collect();
                    Body::recalled(fragments, head.trailers.clone(), extents)
                }
                None => Body::of_disk(Arc::new(DiskBody::found(
                    disk.clone(),
                    record,
                    &head,
                    parts,
                ))),
            };
            let object = Arc::new(Object::recalled(head, body, PurgeSeq(record.began)));
            if object.verdict(&store.purges) == Verdict::Gone {
                disk.forget(hash, &record);
                store.counters.purged.add();
                continue;
            }
            let Some(found) = store.judge(&object) else {
                continue;
            };
            if !select(&object) {
                missed.others.push(found);
                continue;
            }
            disk.index.warm(hash);
            disk.counters.hits.add();
            store.counters.recalled.add();
            if object.body().try_complete().is_none() {
                return Lookup::Found(found);
            }
            let current = || disk.index.is_current(hash, &record);
            if let Some(found) = store.readmit(found, current) {
                return Lookup::Found(found);
            }
        }
        Lookup::Missed(missed)
    }

    /// A snapshot of each disk.
    pub(crate) fn stats(&self) -> Vec<DiskStats> {
        self.slots.iter().map(Slot::stats).collect()
    }

    /// Takes a disk into service again, empty: what was removed while it was out is not known to it.
    pub(crate) fn revive(&self, path: &str) -> io::Result<Arc<Disk>> {
        let slot = self
            .slots
            .iter()
            .find(|slot| slot.settings.path.as_os_str() == path)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such disk is configured"))?;
        let mut state = slot.state.write();
        if let State::Up(disk) = &*state {
            if disk.failure().is_none() {
                return Ok(disk.clone());
            }
            disk.close();
        }
        match open(&slot.settings, slot.volume.clone(), true) {
            Ok(Opened { disk, .. }) => {
                if let Some(memory) = self.memory.get() {
                    disk.ask_memory(memory.clone());
                }
                *state = State::Up(disk.clone());
                Ok(disk)
            }
            Err(error) => {
                *state = State::Down(out_of_service(&slot.settings, &error));
                Err(error)
            }
        }
    }

    /// Writes what is queued, seals what is open and lets other processes have the disks.
    pub(crate) fn close(&self) {
        for slot in &self.slots {
            let mut state = slot.state.write();
            if let State::Up(disk) = &*state {
                disk.close();
                *state = State::Down("closed".to_owned());
            }
        }
    }

    /// Waits until everything queued so far is written.
    pub(crate) fn flush(&self) {
        for disk in self.disks() {
            let mut writer = disk.writer.lock();
            disk.queue.work(&disk, &mut writer, usize::MAX);
        }
    }

    /// Walks over all objects on all disks.
    pub(crate) fn for_each(
        &self,
        mut each: impl FnMut(&Arc<Disk>, super::index::Record) -> ControlFlow<()>,
    ) {
        for disk in self.disks() {
            let mut stopped = false;
            disk.index.for_each(|record| {
                let flow = each(&disk, record);
                stopped = flow.is_break();
                flow
            });
            if stopped {
                return;
            }
        }
    }
}

/// Splitmix64's finaliser: written out, since keys must find their disk again after an update.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn name_of(settings: &DiskSettings) -> u64 {
    let hash = blake3::hash(settings.path.as_os_str().as_encoded_bytes());
    hash.as_bytes()
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn has_variant(disk: &Disk, hash: u128, variant: u32) -> bool {
    let records = disk.index.find(hash);
    records.iter().any(|record| record.variant == variant)
}

/// Forgets a variant now, and after a restart.
pub(crate) fn drop_variant(disk: &Disk, hash: u128, variant: u32) {
    disk.forget_variant(hash, variant);
    disk.queue.urgent(move |disk, writer| {
        if let Err(refused) = writer.drop_variant(disk, hash, variant) {
            tracing::debug!(disk = disk.path, ?refused, "a removal could not be written");
        }
    });
}

fn write_whole(disk: &Disk, writer: &mut super::writer::Writer, object: &Arc<Object>) {
    if object.whereabouts() == Whereabouts::Removed {
        return;
    }
    let Some(complete) = object.body().try_complete() else {
        return;
    };
    let head = head_of(object, Vec::new());
    match writer.store(disk, object.identity(), head, complete.fragments().iter()) {
        Ok(extents) => {
            object.body().set_place(extents);
            settle(object, Whereabouts::Written);
            if object.whereabouts() == Whereabouts::Removed {
                // Removed while it was being written. At once: what has come since waits behind this.
                drop(writer.drop_variant(disk, object.key().hash().0, object.variant()));
            }
        }
        Err(refused) => {
            tracing::debug!(disk = disk.path, key = %object.key(), ?refused, "an object was not written to disk");
            disk.counters.refused.add();
            settle(object, Whereabouts::Settled);
        }
    }
}

/// Notes where an object is, unless it was removed meanwhile.
fn settle(object: &Object, whereabouts: Whereabouts) {
    if object.whereabouts() != Whereabouts::Removed {
        object.set_whereabouts(whereabouts);
    }
}

pub(super) fn head_of(object: &Object, extents: Vec<Extent>) -> Head {
    Head {
        key: object.key().clone(),
        status: object.status(),
        headers: object.headers().clone(),
        meta: object.meta().clone(),
        length: object.body().length().unwrap_or(0),
        trailers: object.body().trailers(),
        extents,
    }
}

fn extents_of(body: &Body) -> Option<Vec<Extent>> {
    match body.on_disk() {
        Some(on_disk) => Some(on_disk.extents()),
        None => body.place(),
    }
}

impl Object {
    pub(super) fn identity(&self) -> Identity {
        Identity {
            hash: self.key().hash().0,
            variant: self.variant(),
            began: self.began().0,
        }
    }
}
