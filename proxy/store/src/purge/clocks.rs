//! The map from scopes to clocks.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::site::SiteClocks;
use super::{PurgeScope, Target};

/// How many clocks are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeLimits {
    /// Clocks of one site: its URLs, prefixes, tags and hosts.
    pub per_site: usize,
    /// Clocks in total. A clock takes some 50 bytes, and a prefix its length.
    pub total: usize,
}

impl Default for PurgeLimits {
    fn default() -> Self {
        Self {
            per_site: 64 * 1024,
            total: 1024 * 1024,
        }
    }
}

/// The last hard and the last soft purge of a scope; 0 for never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Clock {
    pub(super) hard: u64,
    pub(super) soft: u64,
}

impl Clock {
    pub(super) fn at(seq: u64, soft: bool) -> Self {
        if soft {
            Self { hard: 0, soft: seq }
        } else {
            Self { hard: seq, soft: 0 }
        }
    }

    /// Takes over what the other has later.
    pub(super) fn merge(&mut self, other: Self) {
        self.hard = self.hard.max(other.hard);
        self.soft = self.soft.max(other.soft);
    }

    /// The later of both.
    pub(super) fn last(self) -> u64 {
        self.hard.max(self.soft)
    }
}

pub(super) struct Clocks {
    limits: PurgeLimits,
    everything: Clock,
    sites: HashMap<Box<str>, SiteClocks, RandomState>,
    /// Number of clocks in all sites.
    total: usize,
    /// Hashes URLs. A collision purges a URL too many.
    hasher: RandomState,
}

/// A site with at most this many clocks is folded as a whole when the total is exceeded.
const FEW: usize = 16;

impl Clocks {
    pub(super) fn new(limits: PurgeLimits) -> Self {
        Self {
            limits,
            everything: Clock::default(),
            sites: HashMap::default(),
            total: 0,
            hasher: RandomState::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.total
    }

    /// Sets the clock of a scope.
    pub(super) fn turn(&mut self, scope: &PurgeScope, clock: Clock) {
        let site = match scope {
            PurgeScope::Everything => {
                self.everything.merge(clock);
                if clock.hard > 0 {
                    // Later than all of them.
                    self.sites.clear();
                    self.total = 0;
                }
                return;
            }
            PurgeScope::Url { site, .. }
            | PurgeScope::Prefix { site, .. }
            | PurgeScope::Tag { site, .. }
            | PurgeScope::Host { site, .. }
            | PurgeScope::Site { site } => site,
        };
        let clocks = match self.sites.get_mut(site.as_str()) {
            Some(clocks) => clocks,
            None => {
                self.total += 1;
                self.sites.entry(site.as_str().into()).or_default()
            }
        };
        let before = clocks.len();
        clocks.turn(scope, clock, &self.hasher);
        if clocks.len() > self.limits.per_site.max(2) {
            clocks.fold();
        }
        self.total = self.total + clocks.len() - before;
        while self.total > self.limits.total.max(2) {
            self.fold();
        }
    }

    /// The latest clocks among a target's scopes.
    pub(super) fn read(&self, target: &Target<'_>) -> Clock {
        let mut clock = self.everything;
        if let Some(site) = self.sites.get(target.site) {
            site.read(target, &self.hasher, &mut clock);
        }
        clock
    }

    /// Makes room: folds the older half of the site that has most, or, where all have few, the older half of the sites.
    fn fold(&mut self) {
        let biggest = self.sites.values_mut().max_by_key(|site| site.len());
        if let Some(site) = biggest
            && site.len() > FEW
        {
            let before = site.len();
            site.fold();
            self.total -= before - site.len();
            return;
        }
        let mut ages: Vec<u64> = self
            .sites
            .values()
            .map(|site| site.merged().last())
            .collect();
        let middle = ages.len() / 2;
        let Some((_, &mut limit, _)) = (!ages.is_empty()).then(|| ages.select_nth_unstable(middle))
        else {
            self.total = 0;
            return;
        };
        let (everything, total) = (&mut self.everything, &mut self.total);
        self.sites.retain(|_, site| {
            let clock = site.merged();
            let keep = clock.last() > limit;
            if !keep {
                everything.merge(clock);
                *total -= site.len();
            }
            keep
        });
    }
}
