//! The sites of a disk: their numbers, what they use, and what they may.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use super::index::Record;
use crate::memory::SiteUse;

#[derive(Default)]
pub(crate) struct Sites {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    numbers: HashMap<Arc<str>, u32, RandomState>,
    sites: Vec<Arc<Site>>,
}

/// One site.
pub(crate) struct Site {
    pub(crate) name: Arc<str>,
    bytes: AtomicU64,
    objects: AtomicU64,
}

impl Site {
    pub(crate) fn usage(&self) -> SiteUse {
        SiteUse {
            bytes: self.bytes.load(Ordering::Relaxed),
            objects: self.objects.load(Ordering::Relaxed),
        }
    }
}

impl Sites {
    /// The number of a site, given now if it has none.
    pub(crate) fn number(&self, name: &str) -> u32 {
        if let Some(number) = self.inner.read().numbers.get(name) {
            return *number;
        }
        let mut inner = self.inner.write();
        if let Some(number) = inner.numbers.get(name) {
            return *number;
        }
        let (name, number) = (Arc::<str>::from(name), inner.sites.len() as u32);
        inner.sites.push(Arc::new(Site {
            name: name.clone(),
            bytes: AtomicU64::new(0),
            objects: AtomicU64::new(0),
        }));
        inner.numbers.insert(name, number);
        number
    }

    pub(crate) fn get(&self, number: u32) -> Option<Arc<Site>> {
        self.inner.read().sites.get(number as usize).cloned()
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Site>> {
        let inner = self.inner.read();
        let number = *inner.numbers.get(name)?;
        inner.sites.get(number as usize).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Site>> {
        self.inner.read().sites.clone()
    }

    pub(crate) fn add(&self, record: &Record) {
        if let Some(site) = self.get(record.site) {
            site.bytes.fetch_add(record.bytes(), Ordering::Relaxed);
            site.objects.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn subtract(&self, record: &Record) {
        if let Some(site) = self.get(record.site) {
            site.bytes.fetch_sub(record.bytes(), Ordering::Relaxed);
            site.objects.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
