//! Purge by clock.
//!
//! A purge deletes nothing. It takes the next number of one global sequence and writes it to the clock of its scope: a
//! URL, a path prefix, a tag, a host, a site, or everything. An object keeps the number of the moment its fill *began*
//! and is gone (or, after a soft purge, stale) when any of its scopes shows a later one. So a purge costs the same
//! however many objects it hits, takes effect for all of them at once, and a fill that was in flight when the purge came
//! cannot bring old bytes back: it began before.
//!
//! A check looks at each scope of the object; an object remembers the number at which it was last checked, so that
//! while nothing is purged anywhere a check is one load and one comparison.
//!
//! # Bounds
//! The number of clocks is bounded ([`PurgeLimits`]). Beyond it the oldest are folded into wider ones: URLs and prefixes
//! into their host, tags into one clock for all tagged objects of the site, hosts into their site, sites into
//! everything. A wider clock purges more than was asked for, among objects that have not been checked since the folded
//! purge; it never serves what was purged. The store checks all it has in memory before clocks are folded
//! ([`Purges::is_full`]), so there a fold costs next to nothing.

mod clocks;
mod journal;
mod site;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anypop_cache::tags::{Tag, TagHash};
use anypop_cache::time::Timestamp;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

pub use self::clocks::PurgeLimits;
pub use self::journal::{NotDurable, check_journal_bytes};

use self::clocks::{Clock, Clocks};
use self::journal::{Journal, LOG_LIMIT};
use crate::disk::device::Disk;

/// A position in the sequence of purges. Later is greater.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PurgeSeq(pub u64);

/// What a purge hits. Paths and queries are as in the cache key, that is after the site's rules for queries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "snake_case", deny_unknown_fields)]
pub enum PurgeScope {
    /// One URL, with all its variants, under both schemes.
    Url {
        /// The site's id.
        site: String,
        /// Host as in the key; case does not matter.
        host: String,
        /// Path, beginning with a slash.
        path: String,
        /// Query without its question mark; `None` differs from an empty one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        query: Option<String>,
    },
    /// All URLs of a host whose path begins with these bytes, whatever their query: `/a` hits `/a`, `/a/b` and `/ab`.
    Prefix {
        /// The site's id.
        site: String,
        /// Host as in the key; case does not matter.
        host: String,
        /// The path's first bytes, beginning with a slash.
        prefix: String,
    },
    /// All objects of a site that carry a tag (`Surrogate-Key`, `Cache-Tag`).
    Tag {
        /// The site's id.
        site: String,
        /// The tag as the origin wrote it.
        tag: Tag,
    },
    /// All objects of a host.
    Host {
        /// The site's id.
        site: String,
        /// Host as in the key; case does not matter.
        host: String,
    },
    /// All objects of a site.
    Site {
        /// The site's id.
        site: String,
    },
    /// All objects of all sites.
    Everything,
}

impl PurgeScope {
    /// The site it is in; `None`: all of them.
    pub fn site(&self) -> Option<&str> {
        match self {
            Self::Url { site, .. }
            | Self::Prefix { site, .. }
            | Self::Tag { site, .. }
            | Self::Host { site, .. }
            | Self::Site { site } => Some(site),
            Self::Everything => None,
        }
    }
}

/// A purge as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PurgeRequest {
    /// What to purge.
    #[serde(flatten)]
    pub scope: PurgeScope,
    /// Objects become stale instead of going: they may be served while they are revalidated, or on an origin's error.
    #[serde(default)]
    pub soft: bool,
}

/// What a check says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not purged.
    Valid,
    /// Purged softly.
    Stale {
        /// When: the earliest soft purge that is known to have hit it.
        since: Timestamp,
    },
    /// Purged.
    Gone,
}

/// The scopes an object is in.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The site's id.
    pub site: &'a str,
    /// Host, lower case.
    pub host: &'a str,
    /// Path.
    pub path: &'a str,
    /// Query, if there is one.
    pub query: Option<&'a str>,
    /// Hashes of the tags.
    pub tags: &'a [TagHash],
}

/// When an object was last checked, and what was found.
#[derive(Debug)]
pub struct Checked {
    /// The sequence at that time, and in the lowest bit whether it was stale.
    seq: AtomicU64,
    /// Since when it is stale, in milliseconds since the epoch.
    stale_since: AtomicU64,
}

impl Checked {
    /// Not since its fill began.
    pub fn new(began: PurgeSeq) -> Self {
        Self {
            seq: AtomicU64::new(began.0 << 1),
            stale_since: AtomicU64::new(u64::MAX),
        }
    }
}

/// All the clocks of a node.
pub struct Purges {
    /// The last purge that has taken effect.
    latest: AtomicU64,
    clocks: RwLock<Clocks>,
    /// Taken first: purges take turns here, while the clocks stay readable.
    journal: Mutex<Journal>,
}

impl Purges {
    /// No purges so far.
    pub fn new(limits: PurgeLimits) -> Self {
        Self {
            latest: AtomicU64::new(0),
            clocks: RwLock::new(Clocks::new(limits)),
            journal: Mutex::new(Journal::diskless()),
        }
    }

    /// The sequence now. A fill takes it before it asks the origin.
    pub fn now(&self) -> PurgeSeq {
        PurgeSeq(self.latest.load(Ordering::Acquire))
    }

    /// The clocks as disks have them, which are told of every purge from now on. No object of theirs was begun after
    /// `latest`.
    pub(crate) fn restore(limits: PurgeLimits, disks: Vec<Arc<Disk>>, latest: u64) -> Self {
        Self::restore_bounded(limits, disks, latest, LOG_LIMIT)
    }

    /// The same with logs of at most so many bytes.
    pub(crate) fn restore_bounded(
        limits: PurgeLimits,
        disks: Vec<Arc<Disk>>,
        latest: u64,
        log_limit: u64,
    ) -> Self {
        let (journal, restored) = Journal::open(disks, log_limit);
        let mut clocks = restored.clocks.unwrap_or_else(|| Clocks::new(limits));
        clocks.bound(limits);
        for (seq, request, at) in restored.later {
            clocks.turn(&request.scope, Clock::at(seq, request.soft, at));
        }
        Self {
            // Not less than any object has: else the next purge would not be later than its fill.
            latest: AtomicU64::new(restored.latest.max(latest)),
            clocks: RwLock::new(clocks),
            journal: Mutex::new(journal),
        }
    }

    /// Tells a disk that has come back of the purges so far, and of all from now on.
    pub(crate) fn join(&self, disk: Arc<Disk>) -> io::Result<()> {
        let mut journal = self.journal.lock();
        journal.join(disk, self.now().0, &self.clocks.read())
    }

    /// Writes to no disk any more.
    pub(crate) fn leave(&self) {
        self.journal.lock().leave();
    }

    /// Applies a purge. When this returns, no lookup anywhere finds what it hits, nor after a restart.
    ///
    /// Waits for the disks, if there are any: one write and one `fdatasync` on each.
    ///
    /// # Errors
    /// [`NotDurable`]: it has taken effect, but a restart would undo it.
    pub fn apply(&self, request: &PurgeRequest, now: Timestamp) -> Result<PurgeSeq, NotDurable> {
        let mut journal = self.journal.lock();
        let seq = self.latest.load(Ordering::Relaxed) + 1;
        // Before the clock turns, and so before anybody hears of success. Fills that begin meanwhile began before it.
        let durable = journal.append(seq, request, now);
        self.clocks
            .write()
            .turn(&request.scope, Clock::at(seq, request.soft, now));
        self.latest.store(seq, Ordering::Release);
        if journal.is_long() {
            journal.fold(seq, &self.clocks.read());
        }
        if durable {
            Ok(PurgeSeq(seq))
        } else {
            Err(NotDurable { seq: PurgeSeq(seq) })
        }
    }

    /// Checks an object whose fill began at `began`.
    pub fn check<'a>(
        &self,
        began: PurgeSeq,
        checked: &Checked,
        target: impl FnOnce() -> Target<'a>,
    ) -> Verdict {
        // Read before the clocks: a purge in between is noticed again by the next check.
        let latest = self.latest.load(Ordering::Acquire);
        let last = checked.seq.load(Ordering::Acquire);
        if last >> 1 >= latest {
            return if last & 1 == 0 {
                Verdict::Valid
            } else {
                let since = checked.stale_since.load(Ordering::Relaxed);
                Verdict::Stale {
                    since: Timestamp::from_millis(since),
                }
            };
        }
        // What it has outlived already needs no second look; and so clocks folded since then do not hit it wrongly.
        let outlived = PurgeSeq(began.0.max(last >> 1));
        let verdict = match self.examine(outlived, &target()) {
            Verdict::Valid if last & 1 == 1 => Verdict::Stale {
                since: Timestamp::from_millis(checked.stale_since.load(Ordering::Relaxed)),
            },
            verdict => verdict,
        };
        match verdict {
            Verdict::Valid => {
                checked.seq.store(latest << 1, Ordering::Release);
                Verdict::Valid
            }
            Verdict::Stale { since } => {
                // Another soft purge does not make it any fresher.
                let since = since.as_millis();
                let since = checked
                    .stale_since
                    .fetch_min(since, Ordering::Relaxed)
                    .min(since);
                checked.seq.store(latest << 1 | 1, Ordering::Release);
                Verdict::Stale {
                    since: Timestamp::from_millis(since),
                }
            }
            Verdict::Gone => Verdict::Gone,
        }
    }

    /// Checks without the memory of earlier checks.
    pub fn examine(&self, began: PurgeSeq, target: &Target<'_>) -> Verdict {
        self.clocks.read().read(began, target)
    }

    /// Whether a purge of this scope may fold clocks. Objects that are checked before it are not hit by what is folded.
    pub fn is_full(&self, scope: &PurgeScope) -> bool {
        self.clocks.read().is_full(scope)
    }

    /// Folds clocks now if a purge of this scope might: for a caller that has just checked all objects, so that it has
    /// to do so once per fold and not at each purge near the bound.
    pub fn make_room(&self, scope: &PurgeScope) {
        self.clocks.write().make_room(scope);
    }

    /// Number of clocks kept.
    pub fn clocks(&self) -> usize {
        self.clocks.read().len()
    }
}

impl std::fmt::Debug for Purges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Purges")
            .field("latest", &self.now())
            .finish_non_exhaustive()
    }
}
