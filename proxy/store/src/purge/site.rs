//! The clocks of one site.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use anypop_cache::tags::TagHash;
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::clocks::{Clock, Reading};
use super::{PurgeScope, Target};

#[derive(Default, Serialize, Deserialize)]
pub(super) struct SiteClocks {
    own: Clock,
    hosts: HashMap<Box<str>, HostClocks, RandomState>,
    tags: HashMap<TagHash, Clock, RandomState>,
    /// Folded tags: holds for every object that has a tag.
    tagged: Clock,
    /// Number of clocks besides `own` and `tagged`.
    inner: usize,
}

#[derive(Default, Serialize, Deserialize)]
struct HostClocks {
    own: Clock,
    urls: HashMap<u64, Clock, RandomState>,
    prefixes: BTreeMap<Box<[u8]>, Clock>,
}

impl SiteClocks {
    /// Number of clocks, the site's own included.
    pub(super) fn len(&self) -> usize {
        self.inner + 1
    }

    pub(super) fn turn(&mut self, scope: &PurgeScope, clock: Clock) {
        match scope {
            // Above the sites; nothing of it is here.
            PurgeScope::Everything => {}
            PurgeScope::Site { .. } => {
                self.own.merge(clock);
                if clock.is_hard() {
                    // Later than all of them.
                    *self = Self {
                        own: self.own,
                        ..Self::default()
                    };
                }
            }
            PurgeScope::Tag { site, tag } => {
                let tag = TagHash::new(site, tag);
                self.inner += usize::from(!self.tags.contains_key(&tag));
                self.tags.entry(tag).or_default().merge(clock);
            }
            PurgeScope::Host { host, .. } => {
                let host = self.host(host);
                host.own.merge(clock);
                if clock.is_hard() {
                    let cleared = host.urls.len() + host.prefixes.len();
                    *host = HostClocks {
                        own: host.own,
                        ..HostClocks::default()
                    };
                    self.inner -= cleared;
                }
            }
            PurgeScope::Url {
                host, path, query, ..
            } => {
                let url = hash_of(path, query.as_deref());
                let host = self.host(host);
                let new = !host.urls.contains_key(&url);
                host.urls.entry(url).or_default().merge(clock);
                self.inner += usize::from(new);
            }
            PurgeScope::Prefix { host, prefix, .. } => {
                let host = self.host(host);
                let new = !host.prefixes.contains_key(prefix.as_bytes());
                host.prefixes
                    .entry(prefix.as_bytes().into())
                    .or_default()
                    .merge(clock);
                self.inner += usize::from(new);
            }
        }
    }

    fn host(&mut self, host: &str) -> &mut HostClocks {
        let host = host.to_ascii_lowercase();
        self.inner += usize::from(!self.hosts.contains_key(host.as_str()));
        self.hosts.entry(host.into()).or_default()
    }

    pub(super) fn read(&self, target: &Target<'_>, reading: &mut Reading) {
        reading.note(self.own);
        if !target.tags.is_empty() {
            reading.note(self.tagged);
            if !self.tags.is_empty() {
                target
                    .tags
                    .iter()
                    .filter_map(|tag| self.tags.get(tag))
                    .for_each(|tag| reading.note(*tag));
            }
        }
        let Some(host) = self.hosts.get(target.host) else {
            return;
        };
        reading.note(host.own);
        if !host.urls.is_empty()
            && let Some(url) = host.urls.get(&hash_of(target.path, target.query))
        {
            reading.note(*url);
        }
        host.read_prefixes(target.path.as_bytes(), reading);
    }

    /// All clocks of the site in one.
    pub(super) fn merged(&self) -> Clock {
        let mut clock = self.own;
        clock.merge(self.tagged);
        self.tags.values().for_each(|tag| clock.merge(*tag));
        for host in self.hosts.values() {
            clock.merge(host.own);
            host.urls
                .values()
                .chain(host.prefixes.values())
                .for_each(|inner| clock.merge(*inner));
        }
        clock
    }

    /// Folds the older half of the clocks into wider ones.
    pub(super) fn fold(&mut self) {
        let mut ages: Vec<u64> = self.tags.values().map(|tag| tag.last()).collect();
        for host in self.hosts.values() {
            let inner = host.urls.values().chain(host.prefixes.values());
            let before = ages.len();
            ages.extend(inner.map(|clock| clock.last()));
            // A host that is there for its URLs goes with them; counted too, its age would hold back the middle.
            if ages.len() == before {
                ages.push(host.own.last());
            }
        }
        if ages.is_empty() {
            return;
        }
        let middle = ages.len() / 2;
        let (_, &mut limit, _) = ages.select_nth_unstable(middle);
        let Self {
            own,
            hosts,
            tags,
            tagged,
            ..
        } = self;
        tags.retain(|_, tag| keep_or_merge(*tag, limit, tagged));
        for host in hosts.values_mut() {
            let HostClocks {
                own,
                urls,
                prefixes,
            } = host;
            urls.retain(|_, url| keep_or_merge(*url, limit, own));
            prefixes.retain(|_, prefix| keep_or_merge(*prefix, limit, own));
        }
        hosts.retain(|_, host| {
            let has_inner = !host.urls.is_empty() || !host.prefixes.is_empty();
            has_inner || keep_or_merge(host.own, limit, own)
        });
        let of_hosts: usize = self
            .hosts
            .values()
            .map(|host| 1 + host.urls.len() + host.prefixes.len())
            .sum();
        self.inner = self.tags.len() + of_hosts;
    }
}

/// The hash of a URL within its host, the same in every process. A collision purges a URL too many.
fn hash_of(path: &str, query: Option<&str>) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(path.as_bytes());
    if let Some(query) = query {
        // No path has a question mark.
        hasher.update(b"?").update(query.as_bytes());
    }
    let hash = hasher.finalize();
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Whether a clock is later than the limit; if not, the wider one takes it over.
fn keep_or_merge(clock: Clock, limit: u64, wider: &mut Clock) -> bool {
    let keep = clock.last() > limit;
    if !keep {
        wider.merge(clock);
    }
    keep
}

impl HostClocks {
    /// Notes the clocks of all prefixes of a path.
    ///
    /// The greatest prefix that is not greater than the path is either a prefix of it, or shares with it all that a
    /// shorter one can: go on below that.
    fn read_prefixes(&self, path: &[u8], reading: &mut Reading) {
        let mut path = path;
        while let Some((prefix, found)) = self
            .prefixes
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(path)))
            .next_back()
        {
            let common = prefix.iter().zip(path).take_while(|(a, b)| a == b).count();
            let shorter = if common == prefix.len() {
                reading.note(*found);
                common.checked_sub(1)
            } else {
                Some(common)
            };
            match shorter.and_then(|length| path.get(..length)) {
                Some(rest) => path = rest,
                None => break,
            }
        }
    }
}
