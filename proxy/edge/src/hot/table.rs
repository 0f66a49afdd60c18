//! Where a worker finds what it has prepared. Each worker has a table of its own, so that nothing
//! here is shared and nothing is locked.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use super::entry::Entry;

/// Answers a worker keeps. Those of up to [`super::entry::COPY_UP_TO`] bytes of body are copies, so a
/// full table takes at most some twelve megabytes.
const PLACES: usize = 2048;
/// Questions a worker remembers to have heard once.
const SIGHTINGS: usize = 8192;
/// How many more times a question is asked before it is tried again, after it had no answer here.
const PAUSE: u8 = 16;

/// What tells two requests apart on the hot path. Equality is exact: no two of them are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question<'a> {
    /// Which node of this process.
    pub(super) edge: u64,
    pub(super) tls: bool,
    pub(super) head: bool,
    /// As sent.
    pub(super) host: &'a [u8],
    /// As sent, in origin form.
    pub(super) target: &'a [u8],
    pub(super) accept_encoding: Option<&'a [u8]>,
}

/// Entries by question; each question has one place, which the last to be prepared takes.
pub(super) struct Table {
    hasher: RandomState,
    places: Box<[Option<Box<Entry>>]>,
    sightings: Box<[Sighting]>,
}

#[derive(Clone, Copy, Default)]
struct Sighting {
    fingerprint: u32,
    pause: u8,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            places: (0..PLACES).map(|_| None).collect(),
            sightings: vec![Sighting::default(); SIGHTINGS].into(),
        }
    }
}

impl Table {
    pub(super) fn hash(&self, question: &Question<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        let flags = question.edge << 2 | u64::from(question.tls) << 1 | u64::from(question.head);
        hasher.write_u64(flags);
        hasher.write(question.host);
        hasher.write(question.target);
        hasher.write(question.accept_encoding.unwrap_or_default());
        hasher.finish()
    }

    /// The place of a question, whoever has it now.
    pub(super) fn place(&mut self, hash: u64) -> &mut Option<Box<Entry>> {
        #[expect(clippy::indexing_slicing, reason = "there are PLACES places")]
        &mut self.places[hash as usize % PLACES]
    }

    /// Whether a question without an entry is worth one now: it was asked before, and not just found
    /// to have no answer here.
    pub(super) fn is_due(&mut self, hash: u64) -> bool {
        let fingerprint = (hash >> 32) as u32;
        let sighting = self.sighting(hash);
        if sighting.fingerprint != fingerprint {
            *sighting = Sighting {
                fingerprint,
                pause: 0,
            };
            return false;
        }
        sighting.pause = sighting.pause.saturating_sub(1);
        sighting.pause == 0
    }

    /// A question has no answer here for now.
    pub(super) fn pause(&mut self, hash: u64) {
        self.sighting(hash).pause = PAUSE;
    }

    fn sighting(&mut self, hash: u64) -> &mut Sighting {
        #[expect(clippy::indexing_slicing, reason = "there are SIGHTINGS of them")]
        &mut self.sightings[(hash >> 16) as usize % SIGHTINGS]
    }
}
