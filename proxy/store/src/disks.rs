//! The store's disks, for those who run it.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use anypop_cache::key::CacheKey;
use anypop_cache::tags::TagHash;
use anypop_cache::time::Timestamp;

use crate::disk::tier::Tier;
use crate::disk::volume::{Directory, Volume};
use crate::disk::{DiskSettings, DiskStats, Listed, Progress, TierSettings, Verified};
use crate::limits::Limits;
use crate::listing::Filter;
use crate::memory::SiteUse;
use crate::object::target;
use crate::purge::{PurgeSeq, Purges, Verdict};
use crate::store::Store;

impl Store {
    /// A store with disks, and what they have from before. Reads the footers of all segments, and all of those that were
    /// not sealed.
    ///
    /// A disk that cannot be opened is out of service; the store works without it ([`Store::disks`] says why).
    pub fn open(limits: Limits, tier: TierSettings, disks: Vec<DiskSettings>) -> Self {
        let volume = |settings: &DiskSettings| -> Arc<dyn Volume> {
            Arc::new(Directory::new(settings.path.clone()))
        };
        let disks = disks
            .into_iter()
            .map(|settings| {
                let volume = volume(&settings);
                (settings, volume)
            })
            .collect();
        Self::open_on(limits, tier, disks)
    }

    /// The same on other volumes than folders.
    pub fn open_on(
        limits: Limits,
        tier: TierSettings,
        disks: Vec<(DiskSettings, Arc<dyn Volume>)>,
    ) -> Self {
        if disks.is_empty() {
            return Self::new(limits);
        }
        let (tier, latest) = Tier::open(tier, disks);
        let purges = Purges::restore(limits.purges, tier.disks(), latest);
        Self::of(limits, Some(tier), purges)
    }

    /// Writes what is queued, seals what is open and lets another process have the disks; from here on the store is in
    /// memory only, and purges are not durable. For the end of a process, or before its successor begins.
    ///
    /// Blocks for as long as the disks take.
    pub fn close(&self) {
        if let Some(tier) = &self.inner.tier {
            // First: the logs may belong to another process from then on.
            self.inner.purges.leave();
            tier.close();
        }
    }

    /// Writes everything that is queued. Blocks for as long as the disks take.
    pub fn flush(&self) {
        if let Some(tier) = &self.inner.tier {
            tier.flush();
        }
    }

    /// How each disk is.
    pub fn disks(&self) -> Vec<DiskStats> {
        self.inner.tier.as_ref().map_or_else(Vec::new, Tier::stats)
    }

    /// Takes a disk into service again, empty: what was removed while it was out is not known to it. A disk that is in
    /// service stays as it is. Blocks.
    ///
    /// # Errors
    /// No such disk is configured, or it cannot be used yet.
    pub fn revive_disk(&self, path: &str) -> io::Result<()> {
        let Some(tier) = &self.inner.tier else {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the store has no disks",
            ));
        };
        let before = tier.disks();
        let disk = tier.revive(path)?;
        if before.iter().any(|known| Arc::ptr_eq(known, &disk)) {
            return Ok(());
        }
        self.inner.purges.join(disk.clone()).inspect_err(|error| {
            disk.fail("writing its purges", error);
        })
    }

    /// Bounds the bytes that a site may take on all disks; `None`: not at all. Beyond it the site's own oldest objects go.
    pub fn set_disk_quota(&self, site: &str, quota: Option<u64>) {
        if let Some(tier) = &self.inner.tier {
            tier.set_quota(site, quota);
        }
    }

    /// Bytes and objects of a site on all disks: what the records take, checksums and headers included.
    pub fn disk_use(&self, site: &str) -> SiteUse {
        self.inner
            .tier
            .as_ref()
            .map_or_else(SiteUse::default, |tier| tier.site_use(site))
    }

    /// Bytes and objects of each site that has any on disk.
    pub fn disk_sites_use(&self) -> Vec<(Box<str>, SiteUse)> {
        let tier = self.inner.tier.as_ref();
        tier.map_or_else(Vec::new, Tier::sites_use)
    }

    /// Whether a response of this length is kept, in memory or on a disk, if it is asked for often enough.
    pub fn keeps(&self, key: &CacheKey, length: u64) -> bool {
        let tier = self.inner.tier.as_ref();
        length <= self.inner.limits.biggest() || tier.is_some_and(|tier| tier.keeps(key, length))
    }

    /// Shows each object on disk that is not purged, in no order, until `each` has had enough.
    ///
    /// Reads the head of every object from disk: call it where that may block. Damaged objects are passed over.
    pub fn for_each_on_disk(
        &self,
        filter: &Filter,
        mut each: impl FnMut(Listed) -> ControlFlow<()>,
    ) {
        let Some(tier) = &self.inner.tier else { return };
        tier.list(|_, _, listed| {
            if !self.shows(filter, &listed) {
                return ControlFlow::Continue(());
            }
            each(listed)
        });
    }

    /// Takes everything that the filter matches out of memory and off the disks; how many objects that were. An empty
    /// filter matches all. Blocks: reads the head of every object on disk.
    ///
    /// For what must not be served any more use a purge, which also stops fills that are under way.
    pub fn drop_matching(&self, filter: &Filter) -> u64 {
        let mut dropped = 0;
        if let Some(tier) = &self.inner.tier {
            tier.list(|disk, record, listed| {
                if self.shows(filter, &listed) {
                    crate::disk::tier::drop_variant(disk, listed.key.hash().0, record.variant);
                    dropped += 1;
                }
                ControlFlow::Continue(())
            });
        }
        let mut objects = Vec::new();
        self.for_each(filter, |found| {
            objects.push(found.object);
            ControlFlow::Continue(())
        });
        for object in objects {
            dropped += u64::from(self.remove(&object));
        }
        dropped
    }

    /// Reads every byte on all disks and forgets what is damaged, until `progress` breaks off. Blocks.
    pub fn verify(&self, progress: impl FnMut(Progress) -> ControlFlow<()>) -> Verified {
        match &self.inner.tier {
            Some(tier) => tier.verify(progress),
            None => Verified::default(),
        }
    }

    /// Purges, as [`Store::purge`] does, and says whether that outlives a restart. Acknowledge a purge only then.
    ///
    /// # Errors
    /// [`NotDurable`](crate::NotDurable): it has taken effect, but no disk could write it down.
    pub fn purge_durably(
        &self,
        request: &crate::PurgeRequest,
        now: Timestamp,
    ) -> Result<PurgeSeq, crate::NotDurable> {
        if self.inner.purges.is_full(&request.scope) {
            self.inner.check_all();
            self.inner.purges.make_room(&request.scope);
        }
        self.inner.purges.apply(request, now)
    }

    fn shows(&self, filter: &Filter, listed: &Listed) -> bool {
        let (key, meta) = (&listed.key, &listed.meta);
        let tagged = |tag| meta.tags.contains(&TagHash::new(key.site(), tag));
        let matches = filter.matches_key(key) && filter.tag.as_ref().is_none_or(tagged);
        let purges = &self.inner.purges;
        matches && purges.examine(PurgeSeq(listed.began), &target(key, &meta.tags)) != Verdict::Gone
    }
}
