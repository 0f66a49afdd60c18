//! Stored parts of a representation, and their combination (RFC 9111 §3.4, RFC 9110 §15.3.7.3).

use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::range::{self, ByteRange, Limits, Selection};
use crate::time::Timestamp;
use crate::validators::Validators;

/// A set of bytes: ranges that are sorted, and neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RangeSet(SmallVec<[ByteRange; 2]>);

impl RangeSet {
    /// No bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The ranges.
    #[must_use]
    pub fn ranges(&self) -> &[ByteRange] {
        &self.0
    }

    /// Adds a range.
    pub fn insert(&mut self, range: ByteRange) {
        let (mut first, mut last) = (range.first(), range.last());
        self.0.retain(|known| {
            let apart = known.end() < first || last.saturating_add(1) < known.first();
            if !apart {
                first = first.min(known.first());
                last = last.max(known.last());
            }
            apart
        });
        // The union of valid ranges is one; the set is sorted, so all that touch were met in one
        // pass.
        if let Some(union) = ByteRange::new(first, last) {
            let at = self.0.partition_point(|known| known.first() < first);
            self.0.insert(at, union);
        }
    }

    /// Whether all bytes of `range` are there.
    #[must_use]
    pub fn contains(&self, range: ByteRange) -> bool {
        self.0
            .iter()
            .any(|known| known.first() <= range.first() && range.last() <= known.last())
    }

    /// Whether all of a representation of `complete` bytes is there.
    #[must_use]
    pub fn is_complete(&self, complete: u64) -> bool {
        complete == 0 || ByteRange::new(0, complete - 1).is_some_and(|whole| self.contains(whole))
    }

    /// The bytes of `wanted` that are not there, in order: what to ask the origin for.
    #[must_use]
    pub fn missing(&self, wanted: ByteRange) -> SmallVec<[ByteRange; 2]> {
        let mut gaps = SmallVec::new();
        let mut from = wanted.first();
        for known in &self.0 {
            if known.first() > wanted.last() {
                break;
            }
            if known.first() > from {
                gaps.extend(ByteRange::new(from, known.first() - 1));
            }
            from = from.max(known.end());
        }
        gaps.extend(ByteRange::new(from, wanted.last()));
        gaps
    }

    /// How many bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, range| sum.saturating_add(range.len()))
    }
}

/// What is there of a representation that is not whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial {
    /// The length of the whole.
    pub complete: u64,
    /// The bytes that are stored.
    pub stored: RangeSet,
}

impl Partial {
    /// One part.
    #[must_use]
    pub fn new(range: ByteRange, complete: u64) -> Self {
        let mut stored = RangeSet::new();
        stored.insert(range);
        Self { complete, stored }
    }

    /// Selects the bytes to answer a request with; `None` if some of them are missing (RFC 9111
    /// §3.3: an incomplete response answers only what lies wholly within it).
    #[must_use]
    pub fn select(
        &self,
        method: &Method,
        request: &HeaderMap,
        validators: &Validators,
        limits: &Limits,
        now: Timestamp,
    ) -> Option<Selection> {
        let selection = range::select(method, request, validators, self.complete, limits, now);
        let there = match &selection {
            Selection::Whole => self.stored.is_complete(self.complete),
            Selection::Single(range) => self.stored.contains(*range),
            Selection::Multi(ranges) => ranges.iter().all(|range| self.stored.contains(*range)),
            Selection::Unsatisfiable => true,
        };
        there.then_some(selection)
    }
}

/// Whether a new part belongs to what is stored: the same strong validator and the same length of
/// the whole. Otherwise the newer response replaces the older one.
#[must_use]
pub fn may_combine(stored: (&Validators, u64), new: (&Validators, u64)) -> bool {
    stored.1 == new.1 && stored.0.same_strong(new.0)
}
