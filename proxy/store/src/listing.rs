//! Walking through what is stored, for people.

use std::ops::ControlFlow;
use std::sync::Arc;

use anypop_cache::key::CacheKey;
use anypop_cache::tags::{Tag, TagHash};

use crate::memory::SiteUse;
use crate::object::Object;
use crate::store::{Found, Store};

/// Which objects to list. Empty: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this site.
    pub site: Option<String>,
    /// Of this host, lower case.
    pub host: Option<String>,
    /// Whose path begins with this.
    pub prefix: Option<String>,
    /// With this tag.
    pub tag: Option<Tag>,
}

impl Filter {
    /// Whether an object is among those asked for.
    pub fn matches(&self, object: &Object) -> bool {
        let key = object.key();
        let tagged = |tag| object.tags().contains(&TagHash::new(key.site(), tag));
        self.matches_key(key) && self.tag.as_ref().is_none_or(tagged)
    }

    /// Whether objects under a key are among those asked for, whatever their tags.
    pub(crate) fn matches_key(&self, key: &CacheKey) -> bool {
        self.site.as_deref().is_none_or(|site| key.site() == site)
            && self.host.as_deref().is_none_or(|host| key.host() == host)
            && self
                .prefix
                .as_deref()
                .is_none_or(|prefix| key.path().starts_with(prefix))
    }
}

impl Store {
    /// Shows each object that is stored and not purged, in no order, until `each` has had enough.
    ///
    /// Costs a walk over everything stored. Objects that come or go meanwhile may be missed; no lock is held while
    /// `each` runs.
    pub fn for_each(&self, filter: &Filter, mut each: impl FnMut(Found) -> ControlFlow<()>) {
        for shard in self.inner.index.shards() {
            let objects: Vec<Arc<Object>> = {
                let map = shard.read();
                map.values()
                    .flat_map(|entry| &entry.variants)
                    .map(|variant| variant.object.clone())
                    .collect()
            };
            for object in objects.iter().filter(|object| filter.matches(object)) {
                if let Some(found) = self.inner.judge(object)
                    && each(found).is_break()
                {
                    return;
                }
            }
        }
    }

    /// Bytes and objects of one site in memory.
    pub fn site_use(&self, site: &str) -> SiteUse {
        self.inner.memory.site(site)
    }

    /// Bytes and objects of each site that has any in memory.
    pub fn sites_use(&self) -> Vec<(Box<str>, SiteUse)> {
        self.inner.memory.sites()
    }
}
