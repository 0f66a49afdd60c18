//! Which site answers for a host.

use std::{collections::HashMap, hash::BuildHasher, hash::Hash, sync::Arc};

use foldhash::fast::RandomState;

use crate::{
    site::Site,
    value::{HostPattern, Hostname, SiteId},
};

/// How many parts a map has. A change copies the parts that it touches, of 100,000 sites about a hundred entries each.
const SHARDS: usize = 1024;

/// The longest host that can be a name (RFC 1035 §2.3.4); longer ones are not walked up.
const LONGEST_HOST: usize = 253;

/// All sites of a node, found by host or id in constant time.
///
/// It never changes: [`with_site`](Self::with_site) and [`without_site`](Self::without_site) make a new one that shares nearly everything with the old one.
#[derive(Debug, Clone)]
pub struct SiteIndex {
    exact: Sharded<Hostname>,
    wildcards: Sharded<Hostname>,
    any: Option<Arc<Site>>,
    ids: Sharded<SiteId>,
}

/// Why a site cannot be among the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Another one has the same id. Only when an index is built: later, a site with the same id takes the other's place.
    #[error("site \"{0}\" exists already")]
    Id(SiteId),
    /// Another one answers for the same hosts.
    #[error("\"{pattern}\" belongs to site \"{owner}\" already")]
    Host {
        /// The pattern that both have.
        pattern: HostPattern,
        /// The site that had it first.
        owner: SiteId,
    },
}

impl Default for SiteIndex {
    fn default() -> Self {
        let hasher = RandomState::default();
        Self {
            exact: Sharded::new(&hasher),
            wildcards: Sharded::new(&hasher),
            any: None,
            ids: Sharded::new(&hasher),
        }
    }
}

impl SiteIndex {
    /// The site that answers for a host, given in lower case and without a port.
    ///
    /// An exact name comes first, then the wildcard with the longest suffix, then `*`. A wildcard stands for one or more labels: `*.shop.example` answers for
    /// `a.shop.example` and `a.b.shop.example`, not for `shop.example`.
    pub fn find(&self, host: &str) -> Option<&Arc<Site>> {
        self.exact
            .get(host)
            .or_else(|| self.find_wildcard(host))
            .or(self.any.as_ref())
    }

    fn find_wildcard(&self, host: &str) -> Option<&Arc<Site>> {
        if self.wildcards.len == 0 || host.len() > LONGEST_HOST || host.starts_with('.') {
            return None;
        }
        let mut rest = host;
        while let Some((_, suffix)) = rest.split_once('.') {
            if let Some(site) = self.wildcards.get(suffix) {
                return Some(site);
            }
            rest = suffix;
        }
        None
    }

    /// The site of this id.
    pub fn by_id(&self, id: &str) -> Option<&Arc<Site>> {
        self.ids.get(id)
    }

    /// All sites, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.ids.values()
    }

    /// How many sites there are.
    pub fn len(&self) -> usize {
        self.ids.len
    }

    /// Whether there is no site.
    pub fn is_empty(&self) -> bool {
        self.ids.len == 0
    }

    /// A new index with this site, in place of the one with its id if there is one.
    ///
    /// # Errors
    /// With every pattern of the site that another one has.
    pub fn with_site(&self, site: Arc<Site>) -> Result<Self, Vec<Conflict>> {
        let mut new = self.without_site(site.id.as_str());
        let conflicts = new.insert(site);
        if conflicts.is_empty() {
            Ok(new)
        } else {
            Err(conflicts)
        }
    }

    /// A new index without the site of this id.
    pub fn without_site(&self, id: &str) -> Self {
        let mut new = self.clone();
        if let Some(site) = new.ids.remove(id) {
            for pattern in &site.hostnames {
                match pattern {
                    HostPattern::Exact(name) => drop(new.exact.remove(name.as_str())),
                    HostPattern::Wildcard(suffix) => drop(new.wildcards.remove(suffix.as_str())),
                    HostPattern::Any => new.any = None,
                }
            }
        }
        new
    }

    /// Adds a site, unless it conflicts with one that is there.
    pub(crate) fn insert(&mut self, site: Arc<Site>) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        if self.by_id(site.id.as_str()).is_some() {
            conflicts.push(Conflict::Id(site.id.clone()));
        }
        for pattern in &site.hostnames {
            if let Some(owner) = self.owner(pattern) {
                conflicts.push(Conflict::Host {
                    pattern: pattern.clone(),
                    owner: owner.id.clone(),
                });
            }
        }
        if conflicts.is_empty() {
            for pattern in &site.hostnames {
                match pattern {
                    HostPattern::Exact(name) => self.exact.insert(name.clone(), Arc::clone(&site)),
                    HostPattern::Wildcard(suffix) => {
                        self.wildcards.insert(suffix.clone(), Arc::clone(&site))
                    }
                    HostPattern::Any => self.any = Some(Arc::clone(&site)),
                }
            }
            self.ids.insert(site.id.clone(), site);
        }
        conflicts
    }

    /// The site that has exactly this pattern.
    fn owner(&self, pattern: &HostPattern) -> Option<&Arc<Site>> {
        match pattern {
            HostPattern::Exact(name) => self.exact.get(name.as_str()),
            HostPattern::Wildcard(suffix) => self.wildcards.get(suffix.as_str()),
            HostPattern::Any => self.any.as_ref(),
        }
    }
}

type Shard<K> = HashMap<K, Arc<Site>, RandomState>;

/// A map in parts, each of them shared until it changes.
#[derive(Debug, Clone)]
struct Sharded<K> {
    shards: Box<[Arc<Shard<K>>]>,
    hasher: RandomState,
    len: usize,
}

impl<K: Hash + Eq + Clone + std::borrow::Borrow<str>> Sharded<K> {
    fn new(hasher: &RandomState) -> Self {
        let empty = Arc::new(Shard::with_hasher(hasher.clone()));
        Self {
            shards: vec![empty; SHARDS].into(),
            hasher: hasher.clone(),
            len: 0,
        }
    }

    fn shard_of(&self, key: &str) -> usize {
        // The maps inside use the hash's upper and lower bits; the middle is as good as any.
        (self.hasher.hash_one(key) >> 20) as usize % SHARDS
    }

    fn get(&self, key: &str) -> Option<&Arc<Site>> {
        self.shards.get(self.shard_of(key))?.get(key)
    }

    fn values(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    fn insert(&mut self, key: K, site: Arc<Site>) {
        let at = self.shard_of(key.borrow());
        if let Some(shard) = self.shards.get_mut(at)
            && Arc::make_mut(shard).insert(key, site).is_none()
        {
            self.len += 1;
        }
    }

    fn remove(&mut self, key: &str) -> Option<Arc<Site>> {
        let at = self.shard_of(key);
        let shard = self
            .shards
            .get_mut(at)
            .filter(|shard| shard.contains_key(key))?;
        let site = Arc::make_mut(shard).remove(key)?;
        self.len -= 1;
        Some(site)
    }
}
