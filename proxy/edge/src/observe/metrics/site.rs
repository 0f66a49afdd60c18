//! The counters of one site, and the table of sites that have some.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use super::super::labels::{
    CacheResult, Direction, Label as _, OriginResult, Protocol, StatusClass,
};
use super::super::slot;
use super::counters::Labels;

/// The most sites with series of their own. Requests of further sites count as [`OTHER`], until sites with series are removed: a monitoring
/// system pays for every series, and each site can have some hundred.
pub const SITE_CAP: usize = 10_000;
/// The `site` label of sites beyond [`SITE_CAP`].
pub const OTHER: &str = "other";
/// The `site` label of requests that belong to no site.
pub const NO_SITE: &str = "none";

/// Copies of a site's counters; each is made when a thread of its number first serves the site, for most sites are quiet.
const COPIES: usize = 4;

type RequestLabels = (StatusClass, CacheResult, Protocol);

const REQUESTS: usize = StatusClass::ALL.len() * CacheResult::ALL.len() * Protocol::ALL.len();
const DIRECTIONS: usize = Direction::ALL.len();
const ORIGINS: usize = OriginResult::ALL.len();

/// The counters of one site. Keep the handle with the site: [`super::Metrics::site`] looks it up by name.
#[derive(Debug)]
pub struct SiteMetrics {
    id: Box<str>,
    copies: [OnceLock<Box<Tally>>; COPIES],
}

#[derive(Debug)]
#[repr(align(128))]
struct Tally {
    requests: [AtomicU64; REQUESTS],
    bytes: [AtomicU64; DIRECTIONS],
    origin: [AtomicU64; ORIGINS],
    retries: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            requests: [const { AtomicU64::new(0) }; REQUESTS],
            bytes: Default::default(),
            origin: Default::default(),
            retries: AtomicU64::new(0),
        }
    }
}

impl SiteMetrics {
    fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            copies: Default::default(),
        }
    }

    /// The `site` label: the site's id, or [`OTHER`].
    pub fn id(&self) -> &str {
        &self.id
    }

    fn mine(&self) -> &Tally {
        self.copies[slot::mine() % COPIES].get_or_init(Box::default)
    }

    /// Counts a request.
    #[inline]
    pub fn request(&self, status: StatusClass, cache: CacheResult, protocol: Protocol) {
        let place = (status, cache, protocol).place();
        self.mine().requests[place].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes.
    #[inline]
    pub fn bytes(&self, direction: Direction, bytes: u64) {
        if bytes > 0 {
            self.mine().bytes[direction.index()].fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Counts a try at an origin.
    pub fn origin(&self, result: OriginResult) {
        self.mine().origin[result.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts further tries after a first one.
    pub fn retries(&self, count: u64) {
        self.mine().retries.fetch_add(count, Ordering::Relaxed);
    }

    fn sum(&self, number: impl Fn(&Tally) -> &AtomicU64) -> u64 {
        self.copies
            .iter()
            .filter_map(OnceLock::get)
            .map(|copy| number(copy).load(Ordering::Relaxed))
            .sum()
    }

    /// Requests counted.
    pub fn request_count(
        &self,
        status: StatusClass,
        cache: CacheResult,
        protocol: Protocol,
    ) -> u64 {
        let place = (status, cache, protocol).place();
        self.sum(|copy| &copy.requests[place])
    }

    /// Bytes counted.
    pub fn byte_count(&self, direction: Direction) -> u64 {
        self.sum(|copy| &copy.bytes[direction.index()])
    }

    /// Tries at origins counted.
    pub fn origin_count(&self, result: OriginResult) -> u64 {
        self.sum(|copy| &copy.origin[result.index()])
    }

    /// Retries counted.
    pub fn retry_count(&self) -> u64 {
        self.sum(|copy| &copy.retries)
    }

    /// The request counters that are not zero.
    pub(super) fn requests(&self) -> Vec<(RequestLabels, u64)> {
        // One pass for each copy, not one for each of the labels: most are zero.
        let mut sums = [0u64; REQUESTS];
        for copy in self.copies.iter().filter_map(OnceLock::get) {
            for (sum, number) in sums.iter_mut().zip(&copy.requests) {
                *sum += number.load(Ordering::Relaxed);
            }
        }
        RequestLabels::all()
            .zip(sums)
            .filter(|(_, sum)| *sum > 0)
            .collect()
    }
}

/// The sites that have series.
#[derive(Debug)]
pub(super) struct SiteTable {
    cap: usize,
    sites: RwLock<HashMap<Box<str>, Arc<SiteMetrics>>>,
    other: Arc<SiteMetrics>,
    none: Arc<SiteMetrics>,
}

impl SiteTable {
    pub(super) fn new(cap: usize) -> Self {
        Self {
            cap,
            sites: RwLock::default(),
            other: Arc::new(SiteMetrics::new(OTHER)),
            none: Arc::new(SiteMetrics::new(NO_SITE)),
        }
    }

    pub(super) fn site(&self, id: &str) -> Arc<SiteMetrics> {
        // A site that is called like one of the two collective series shares it.
        match id {
            OTHER => return self.other.clone(),
            "" | NO_SITE => return self.none.clone(),
            _ => {}
        }
        if let Some(site) = self.sites.read().get(id) {
            return site.clone();
        }
        let mut sites = self.sites.write();
        if sites.len() >= self.cap && !sites.contains_key(id) {
            return self.other.clone();
        }
        sites
            .entry(id.into())
            .or_insert_with(|| Arc::new(SiteMetrics::new(id)))
            .clone()
    }

    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.sites.write().retain(|id, _| keep(id));
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.sites.read().contains_key(id)
    }

    /// All sites by name, then the two collective series.
    pub(super) fn all(&self) -> Vec<Arc<SiteMetrics>> {
        let mut sites: Vec<_> = self.sites.read().values().cloned().collect();
        sites.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        sites.extend([self.other.clone(), self.none.clone()]);
        sites
    }
}
