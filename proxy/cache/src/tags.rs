//! Tags: names that an origin gives its responses so that it can purge them together.

use std::collections::HashSet;
use std::fmt;

use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::list::trim;

/// Tags separated by spaces.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// Tags separated by commas.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// How many tags a response may have, and how long they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tags of one response.
    pub count: usize,
    /// Bytes of one tag.
    pub length: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            count: 1000,
            length: 1024,
        }
    }
}

/// A tag: printable ASCII without spaces and commas, so that it can be written in either field.
/// Case counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Box<str>);

/// Text that is no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a tag: use printable ASCII without spaces and commas, at most 1024 bytes")]
pub struct InvalidTag;

impl Tag {
    /// Takes the text of a tag.
    ///
    /// # Errors
    /// [`InvalidTag`] if it is empty, too long, or has a character that a tag cannot have.
    pub fn new(text: &str) -> Result<Self, InvalidTag> {
        if is_tag(text.as_bytes(), Limits::default().length) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidTag)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Tag {
    type Error = InvalidTag;

    fn try_from(text: String) -> Result<Self, InvalidTag> {
        Self::new(&text)
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0.into()
    }
}

/// A tag of one site, as the index keeps it: two sites' equal tags have different hashes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TagHash(pub u64);

impl TagHash {
    /// BLAKE3 over the site's length, the site and the tag, truncated. A collision purges too much,
    /// never too little.
    #[must_use]
    pub fn new(site: &str, tag: &Tag) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&u64::try_from(site.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(site.as_bytes());
        hasher.update(tag.0.as_bytes());
        let [
            head @ ..,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
        ] = *hasher.finalize().as_bytes();
        Self(u64::from_le_bytes(head))
    }
}

impl fmt::Debug for TagHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The tags of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// The valid ones, each once, in order.
    pub tags: Vec<Tag>,
    /// How many were left out because they were invalid or over the limits. If not 0, a purge by
    /// tag may miss this response: log it, and do not store it where purges have to be certain.
    pub refused: usize,
}

impl Tags {
    /// Reads `Surrogate-Key` and `Cache-Tag`.
    #[must_use]
    pub fn of(headers: &HeaderMap, limits: &Limits) -> Self {
        let mut found = Self::default();
        let mut seen = HashSet::new();
        for line in headers.get_all(&SURROGATE_KEY) {
            found.add(
                line.as_bytes().split(|b| *b == b' ' || *b == b'\t'),
                &mut seen,
                limits,
            );
        }
        for line in headers.get_all(&CACHE_TAG) {
            found.add(line.as_bytes().split(|b| *b == b','), &mut seen, limits);
        }
        found
    }

    fn add<'a>(
        &mut self,
        texts: impl Iterator<Item = &'a [u8]>,
        seen: &mut HashSet<&'a [u8]>,
        limits: &Limits,
    ) {
        for text in texts.map(trim).filter(|text| !text.is_empty()) {
            if seen.contains(text) {
                continue;
            }
            match std::str::from_utf8(text) {
                Ok(tag) if self.tags.len() < limits.count && is_tag(text, limits.length) => {
                    self.tags.push(Tag(tag.into()));
                    seen.insert(text);
                }
                _ => self.refused = self.refused.saturating_add(1),
            }
        }
    }

    /// Their hashes for a site.
    #[must_use]
    pub fn hashes(&self, site: &str) -> TagHashes {
        self.tags
            .iter()
            .map(|tag| TagHash::new(site, tag))
            .collect()
    }
}

/// Hashes of a response's tags.
pub type TagHashes = SmallVec<[TagHash; 4]>;

/// Removes the tag fields: they are nobody's business beyond this cache.
pub fn strip(headers: &mut HeaderMap) {
    headers.remove(&SURROGATE_KEY);
    headers.remove(&CACHE_TAG);
}

fn is_tag(text: &[u8], length: usize) -> bool {
    !text.is_empty()
        && text.len() <= length
        && text.iter().all(|b| b.is_ascii_graphic() && *b != b',')
}
