//! Counters that many threads raise at once: each thread adds to one of a few copies, a scrape adds the copies up.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::labels::Label;
use super::super::slot;

/// Copies of every counter of the node.
const COPIES: usize = 16;
/// Numbers in one cache line pair (128 bytes, which adjacent-line prefetch moves together).
const PER_LINE: usize = 16;

/// A row of atomic numbers, kept in several copies on cache lines of their own.
#[derive(Debug)]
pub(super) struct Striped {
    lines: Box<[Line]>,
    lines_per_copy: usize,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([AtomicU64; PER_LINE]);

impl Striped {
    pub(super) fn new(numbers: usize) -> Self {
        let lines_per_copy = numbers.div_ceil(PER_LINE);
        Self {
            lines: (0..COPIES * lines_per_copy)
                .map(|_| Line::default())
                .collect(),
            lines_per_copy,
        }
    }

    /// Adds to the number at `index`, wrapping; an index beyond the row is ignored.
    #[inline]
    pub(super) fn add(&self, index: usize, amount: u64) {
        let at = slot::mine() % COPIES * self.lines_per_copy + index / PER_LINE;
        if let Some(line) = self.lines.get(at) {
            line.0[index % PER_LINE].fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// The number at `index` over all copies. A scrape beside additions may see some of them and not others.
    pub(super) fn sum(&self, index: usize) -> u64 {
        let (line, place) = (index / PER_LINE, index % PER_LINE);
        self.lines
            .chunks_exact(self.lines_per_copy)
            .filter_map(|copy| copy.get(line))
            .fold(0, |sum, line| {
                line.0[place].load(Ordering::Relaxed).wrapping_add(sum)
            })
    }
}

/// The labels of a counter: one [`Label`], two, or three.
pub trait Labels: Copy + 'static {
    /// How many combinations there are.
    const COUNT: usize;
    /// The place of this combination, below [`Labels::COUNT`].
    fn place(self) -> usize;
    /// Every combination, in order.
    fn all() -> impl Iterator<Item = Self>;
    /// Names and values.
    fn pairs(self) -> Vec<(&'static str, &'static str)>;
}

impl<A: Label> Labels for A {
    const COUNT: usize = A::ALL.len();

    fn place(self) -> usize {
        self.index()
    }

    fn all() -> impl Iterator<Item = Self> {
        A::ALL.iter().copied()
    }

    fn pairs(self) -> Vec<(&'static str, &'static str)> {
        vec![(A::NAME, self.as_str())]
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    const COUNT: usize = A::ALL.len() * B::ALL.len();

    fn place(self) -> usize {
        self.0.index() * B::ALL.len() + self.1.index()
    }

    fn all() -> impl Iterator<Item = Self> {
        A::ALL
            .iter()
            .flat_map(|&a| B::ALL.iter().map(move |&b| (a, b)))
    }

    fn pairs(self) -> Vec<(&'static str, &'static str)> {
        vec![(A::NAME, self.0.as_str()), (B::NAME, self.1.as_str())]
    }
}

impl<A: Label, B: Label, C: Label> Labels for (A, B, C) {
    const COUNT: usize = A::ALL.len() * B::ALL.len() * C::ALL.len();

    fn place(self) -> usize {
        (self.0, self.1).place() * C::ALL.len() + self.2.index()
    }

    fn all() -> impl Iterator<Item = Self> {
        <(A, B)>::all().flat_map(|(a, b)| C::ALL.iter().map(move |&c| (a, b, c)))
    }

    fn pairs(self) -> Vec<(&'static str, &'static str)> {
        let mut pairs = (self.0, self.1).pairs();
        pairs.push((C::NAME, self.2.as_str()));
        pairs
    }
}

/// A counter for each combination of labels.
#[derive(Debug)]
pub struct Counters<L> {
    numbers: Striped,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Default for Counters<L> {
    fn default() -> Self {
        Self {
            numbers: Striped::new(L::COUNT),
            labels: PhantomData,
        }
    }
}

impl<L: Labels> Counters<L> {
    /// Counts one.
    #[inline]
    pub fn inc(&self, labels: L) {
        self.add(labels, 1);
    }

    /// Counts several.
    #[inline]
    pub fn add(&self, labels: L, amount: u64) {
        self.numbers.add(labels.place(), amount);
    }

    /// The count so far.
    pub fn value(&self, labels: L) -> u64 {
        self.numbers.sum(labels.place())
    }
}

/// A counter without labels.
#[derive(Debug)]
pub struct Counter(Striped);

impl Default for Counter {
    fn default() -> Self {
        Self(Striped::new(1))
    }
}

impl Counter {
    /// Counts one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts several.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.add(0, amount);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.sum(0)
    }
}

/// A number of things that come and go on any thread, for example open connections.
#[derive(Debug)]
pub struct Level(Striped);

impl Default for Level {
    fn default() -> Self {
        Self(Striped::new(1))
    }
}

impl Level {
    /// One more.
    #[inline]
    pub fn up(&self) {
        self.0.add(0, 1);
    }

    /// One less. It may be another thread than the one that went up: the copies wrap, and only their sum means something.
    #[inline]
    pub fn down(&self) {
        self.0.add(0, u64::MAX);
    }

    /// The number now; never below zero, even when a scrape falls between the two sides of a move.
    pub fn value(&self) -> u64 {
        u64::try_from(self.0.sum(0).cast_signed()).unwrap_or(0)
    }
}

/// Upper bounds of the histograms' buckets in seconds: from a hit in memory to a download of a minute.
pub const BOUNDS: [f64; 17] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];
/// The same in microseconds, for comparing without floating point.
const BOUNDS_MICROS: [u64; 17] = [
    100, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
/// Buckets, one beyond the last bound included, and the sum.
const PER_HISTOGRAM: usize = BOUNDS.len() + 2;

/// A histogram of durations for each combination of labels.
#[derive(Debug)]
pub struct Histograms<L> {
    numbers: Striped,
    labels: PhantomData<fn(L)>,
}

/// One histogram as read.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramValue {
    /// The sum of all observations in seconds.
    pub sum: f64,
    /// How many there were.
    pub count: u64,
    /// Upper bound and count of each bucket, not cumulative; the last bound is infinity.
    pub buckets: Vec<(f64, u64)>,
}

impl<L: Labels> Default for Histograms<L> {
    fn default() -> Self {
        Self {
            numbers: Striped::new(L::COUNT * PER_HISTOGRAM),
            labels: PhantomData,
        }
    }
}

impl<L: Labels> Histograms<L> {
    /// Adds an observation.
    #[inline]
    pub fn observe(&self, labels: L, duration: Duration) {
        // Saturating: 585,000 years.
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // A bucket holds what is at most its bound.
        let bucket = BOUNDS_MICROS.partition_point(|&bound| bound < micros);
        let first = labels.place() * PER_HISTOGRAM;
        self.numbers.add(first + bucket, 1);
        self.numbers.add(first + PER_HISTOGRAM - 1, micros);
    }

    /// The histogram so far.
    pub fn value(&self, labels: L) -> HistogramValue {
        let first = labels.place() * PER_HISTOGRAM;
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds
            .enumerate()
            .map(|(at, bound)| (bound, self.numbers.sum(first + at)))
            .collect();
        HistogramValue {
            sum: self.numbers.sum(first + PER_HISTOGRAM - 1) as f64 / 1e6,
            // From the buckets, so that count and the last bucket always agree.
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests"
    )]
    use super::super::super::labels::{CacheResult, PurgeKind, PurgeScope};
    use super::*;

    #[test]
    fn counts_of_many_threads_add_up() {
        let counters = Counters::<(PurgeScope, PurgeKind)>::default();
        let level = Level::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        counters.inc((PurgeScope::Tag, PurgeKind::Soft));
                        level.up();
                    }
                });
            }
        });
        std::thread::scope(|scope| {
            scope.spawn(|| (0..1999).for_each(|_| level.down()));
        });
        assert_eq!(counters.value((PurgeScope::Tag, PurgeKind::Soft)), 2000);
        assert_eq!(counters.value((PurgeScope::Tag, PurgeKind::Hard)), 0);
        assert_eq!(level.value(), 1);
        level.down();
        level.down();
        assert_eq!(level.value(), 0, "never below zero");
    }

    #[test]
    fn every_combination_has_its_place() {
        type All = (PurgeScope, PurgeKind, CacheResult);
        let places: Vec<usize> = All::all().map(Labels::place).collect();
        assert_eq!(places, (0..All::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn bounds_agree_and_include_their_end() {
        for (seconds, micros) in BOUNDS.iter().zip(BOUNDS_MICROS) {
            assert!((seconds * 1e6 - micros as f64).abs() < 1e-6);
        }
        let histograms = Histograms::<CacheResult>::default();
        for micros in [0, 100, 101, 60_000_000, 60_000_001] {
            histograms.observe(CacheResult::Hit, Duration::from_micros(micros));
        }
        histograms.observe(CacheResult::Miss, Duration::MAX);
        let value = histograms.value(CacheResult::Hit);
        assert_eq!(value.count, 5);
        assert_eq!(value.buckets[0], (0.0001, 2));
        assert_eq!(value.buckets[1], (0.0005, 1));
        assert_eq!(value.buckets[16], (60.0, 1));
        assert_eq!(value.buckets[17], (f64::INFINITY, 1));
        assert!((value.sum - 120.000_202).abs() < 1e-9);
    }
}
