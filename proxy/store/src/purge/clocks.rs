//! The map from scopes to clocks.

use std::collections::HashMap;

use anypop_cache::time::Timestamp;
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::site::SiteClocks;
use super::{PurgeScope, PurgeSeq, Target, Verdict};

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clock {
    hard: u64,
    soft: u64,
    /// When the soft one was.
    soft_at: Timestamp,
}

impl Clock {
    pub(super) fn at(seq: u64, soft: bool, now: Timestamp) -> Self {
        if soft {
            Self {
                hard: 0,
                soft: seq,
                soft_at: now,
            }
        } else {
            Self {
                hard: seq,
                ..Self::default()
            }
        }
    }

    /// Takes over what the other has later.
    pub(super) fn merge(&mut self, other: Self) {
        self.hard = self.hard.max(other.hard);
        if other.soft > self.soft {
            self.soft = other.soft;
            self.soft_at = other.soft_at;
        }
    }

    /// The later of both.
    pub(super) fn last(self) -> u64 {
        self.hard.max(self.soft)
    }

    /// Whether it shows a hard purge.
    pub(super) fn is_hard(self) -> bool {
        self.hard > 0
    }
}

/// What the clocks of an object's scopes say together.
pub(super) struct Reading {
    began: u64,
    verdict: Verdict,
}

impl Reading {
    pub(super) fn new(began: PurgeSeq) -> Self {
        Self {
            began: began.0,
            verdict: Verdict::Valid,
        }
    }

    /// Takes one more scope into account.
    pub(super) fn note(&mut self, clock: Clock) {
        if clock.hard > self.began {
            self.verdict = Verdict::Gone;
        } else if clock.soft > self.began {
            self.verdict = match self.verdict {
                Verdict::Gone => Verdict::Gone,
                Verdict::Valid => Verdict::Stale {
                    since: clock.soft_at,
                },
                Verdict::Stale { since } => Verdict::Stale {
                    since: since.min(clock.soft_at),
                },
            };
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Clocks {
    /// Not written down: the configuration may have changed.
    #[serde(skip)]
    limits: PurgeLimits,
    everything: Clock,
    sites: HashMap<Box<str>, SiteClocks, RandomState>,
    /// Number of clocks in all sites.
    total: usize,
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
        }
    }

    /// Keeps at most so many from now on.
    pub(super) fn bound(&mut self, limits: PurgeLimits) {
        self.limits = limits;
    }

    pub(super) fn len(&self) -> usize {
        self.total
    }

    /// Whether the clock of this scope may make others fold: a URL adds two at most, its host's and its own.
    pub(super) fn is_full(&self, scope: &PurgeScope) -> bool {
        let crowded = self
            .site_of(scope)
            .is_some_and(|site| site.len() + 2 > self.limits.per_site.max(2));
        crowded || self.total + 3 > self.limits.total.max(2)
    }

    /// Folds until it is not full for this scope.
    pub(super) fn make_room(&mut self, scope: &PurgeScope) {
        if let Some(site) = scope.site().and_then(|site| self.sites.get_mut(site))
            && site.len() + 2 > self.limits.per_site.max(2)
        {
            let before = site.len();
            site.fold();
            self.total -= before - site.len();
        }
        while self.total > 0 && self.total + 3 > self.limits.total.max(2) {
            self.fold();
        }
    }

    fn site_of(&self, scope: &PurgeScope) -> Option<&SiteClocks> {
        self.sites.get(scope.site()?)
    }

    /// Sets the clock of a scope.
    pub(super) fn turn(&mut self, scope: &PurgeScope, clock: Clock) {
        let Some(site) = scope.site() else {
            self.everything.merge(clock);
            if clock.is_hard() {
                // Later than all of them.
                self.sites.clear();
                self.total = 0;
            }
            return;
        };
        let clocks = match self.sites.get_mut(site) {
            Some(clocks) => clocks,
            None => {
                self.total += 1;
                self.sites.entry(site.into()).or_default()
            }
        };
        let before = clocks.len();
        clocks.turn(scope, clock);
        if clocks.len() > self.limits.per_site.max(2) {
            clocks.fold();
        }
        self.total = self.total + clocks.len() - before;
        while self.total > self.limits.total.max(2) {
            self.fold();
        }
    }

    /// Judges a target whose fill began at `began`.
    pub(super) fn read(&self, began: PurgeSeq, target: &Target<'_>) -> Verdict {
        let mut reading = Reading::new(began);
        reading.note(self.everything);
        if let Some(site) = self.sites.get(target.site) {
            site.read(target, &mut reading);
        }
        reading.verdict()
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
