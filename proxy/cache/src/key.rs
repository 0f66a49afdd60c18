//! The cache key: what makes two requests the same.
//!
//! A [`CacheKey`] cannot be built without site, scheme and host, so no customer's key can meet
//! another's. Its encoding gives every part its length, so that no choice of parts makes two keys
//! equal that differ in a part; the hash is BLAKE3, so that nobody can construct two keys with one
//! hash either.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As in a URI.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// From a URI's scheme, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https]
            .into_iter()
            .find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
    }

    /// 80 or 443.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key's 128-bit hash: BLAKE3 over its encoding, truncated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(pub u128);

impl KeyHash {
    /// Of an encoding.
    #[must_use]
    pub fn of(encoding: &[u8]) -> Self {
        Self(hash128(encoding))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first 128 bits of BLAKE3.
pub(crate) fn hash128(bytes: &[u8]) -> u128 {
    let [head @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        *blake3::hash(bytes).as_bytes();
    u128::from_le_bytes(head)
}

/// The key of a response. Cheap to clone; equality is exact, not by hash.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Box<[u8]>", into = "Box<[u8]>")]
pub struct CacheKey {
    encoding: Arc<[u8]>,
    hash: KeyHash,
    scheme: Scheme,
    /// Where the texts of site, host, path and query lie in the encoding; checked to be UTF-8 when
    /// built.
    texts: [(u32, u32); 4],
    has_query: bool,
}

const VERSION: u8 = 1;

/// Bytes that are no encoding of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cache key: the bytes are from another version or damaged")]
pub struct InvalidKey;

impl CacheKey {
    /// Begins a key. `host` is the authority as the site knows it, with a port unless it is the
    /// scheme's default; it is lower-cased.
    #[must_use]
    pub fn builder(site: &str, scheme: Scheme, host: &str) -> KeyBuilder {
        let mut encoding = Vec::with_capacity(64 + site.len() + host.len());
        encoding.push(VERSION);
        encoding.push(match scheme {
            Scheme::Http => 0,
            Scheme::Https => 1,
        });
        let site = push(&mut encoding, site.as_bytes());
        let host_at = push(&mut encoding, host.as_bytes());
        if let Some(host) = encoding.get_mut(host_at.0 as usize..host_at.1 as usize) {
            host.make_ascii_lowercase();
        }
        KeyBuilder {
            encoding,
            scheme,
            site,
            host: host_at,
        }
    }

    /// The hash, computed once.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        self.hash
    }

    /// The site's id.
    #[must_use]
    pub fn site(&self) -> &str {
        self.text(0)
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, lower case, with its port unless it is the default.
    #[must_use]
    pub fn host(&self) -> &str {
        self.text(1)
    }

    /// The path, as the client sent it.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text(2)
    }

    /// The query after the site's rules; `/a` has none, `/a?` has an empty one.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.has_query.then(|| self.text(3))
    }

    /// The whole encoding, for the disk.
    #[must_use]
    pub fn encoding(&self) -> &[u8] {
        &self.encoding
    }

    /// The extra parts in their order: kind, name, value.
    pub fn extras(&self) -> impl Iterator<Item = Extra<'_>> {
        let end = self.texts[3].1 as usize;
        let mut reader = Reader {
            bytes: self.encoding.get(end..).unwrap_or_default(),
        };
        std::iter::from_fn(move || reader.extra())
    }

    fn text(&self, index: usize) -> &str {
        let range = self
            .texts
            .get(index)
            .map_or(0..0, |(from, to)| *from as usize..*to as usize);
        // The offsets were taken from strings when the key was built.
        self.encoding
            .get(range)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.encoding == other.encoding
    }
}

impl Eq for CacheKey {}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

/// The form for `key` in Cache-Status, which only an authorised debugger gets: it names everything
/// that went in.
impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}|{}://{}{}",
            self.site(),
            self.scheme,
            self.host(),
            self.path()
        )?;
        if let Some(query) = self.query() {
            write!(f, "?{query}")?;
        }
        for (kind, name, value) in self.extras() {
            write!(f, "|{kind:?}:{}", name.escape_ascii())?;
            if let Some(value) = value {
                write!(f, "={}", value.escape_ascii())?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({self})")
    }
}

/// An extra part of a key: kind, name, value if present.
pub type Extra<'a> = (ExtraKind, &'a [u8], Option<&'a [u8]>);

/// What an extra part of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExtraKind {
    /// A request header field.
    Header,
    /// A cookie.
    Cookie,
    /// What a plugin added.
    Plugin,
    /// Which part of an object or which variant this is, as the pipeline numbers them.
    Variant,
}

impl ExtraKind {
    const ALL: [(u8, Self); 4] = [
        (1, Self::Header),
        (2, Self::Cookie),
        (3, Self::Plugin),
        (4, Self::Variant),
    ];

    fn code(self) -> u8 {
        Self::ALL
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or(0, |(code, _)| *code)
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == code)
            .map(|(_, kind)| *kind)
    }
}

/// A key that has site, scheme and host but no path yet.
#[derive(Debug)]
pub struct KeyBuilder {
    encoding: Vec<u8>,
    scheme: Scheme,
    site: (u32, u32),
    host: (u32, u32),
}

impl KeyBuilder {
    /// Adds the path and the query ([`crate::query::QueryRules::apply`]) as they are, byte by byte:
    /// `/%7Ea` and `/~a` are two keys.
    #[must_use]
    pub fn target(mut self, path: &str, query: Option<&str>) -> TargetedKey {
        let path = push(&mut self.encoding, path.as_bytes());
        self.encoding.push(query.is_some().into());
        let query_at = push(&mut self.encoding, query.unwrap_or_default().as_bytes());
        TargetedKey {
            encoding: self.encoding,
            scheme: self.scheme,
            texts: [self.site, self.host, path, query_at],
            has_query: query.is_some(),
        }
    }

    /// [`KeyBuilder::target`] split at the first `?`, without query rules.
    #[must_use]
    pub fn path_and_query(self, path_and_query: &str) -> TargetedKey {
        match path_and_query.split_once('?') {
            Some((path, query)) => self.target(path, Some(query)),
            None => self.target(path_and_query, None),
        }
    }
}

/// A key that only lacks its extra parts.
#[derive(Debug)]
pub struct TargetedKey {
    encoding: Vec<u8>,
    scheme: Scheme,
    texts: [(u32, u32); 4],
    has_query: bool,
}

impl TargetedKey {
    /// Adds a part; an absent value (`None`) and an empty one differ. The order of parts counts:
    /// add them in the order of the site's document, not of the request.
    #[must_use]
    pub fn extra(mut self, kind: ExtraKind, name: &[u8], value: Option<&[u8]>) -> Self {
        self.encoding.push(kind.code());
        push(&mut self.encoding, name);
        self.encoding.push(value.is_some().into());
        push(&mut self.encoding, value.unwrap_or_default());
        self
    }

    /// The key.
    #[must_use]
    pub fn build(self) -> CacheKey {
        let hash = KeyHash::of(&self.encoding);
        CacheKey {
            encoding: self.encoding.into(),
            hash,
            scheme: self.scheme,
            texts: self.texts,
            has_query: self.has_query,
        }
    }
}

/// Appends length and bytes; returns where the bytes lie. No part of a request comes near 4 GiB
/// (the gate limits the header), and a longer one is cut to that, so that the encoding stays
/// readable.
fn push(encoding: &mut Vec<u8>, bytes: &[u8]) -> (u32, u32) {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    encoding.extend_from_slice(&len.to_be_bytes());
    let from = encoding.len();
    encoding.extend_from_slice(bytes.get(..len as usize).unwrap_or_default());
    (
        u32::try_from(from).unwrap_or(u32::MAX),
        u32::try_from(encoding.len()).unwrap_or(u32::MAX),
    )
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.bytes.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        self.bytes = rest;
        Some(part)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.part()?).ok()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn extra(&mut self) -> Option<Extra<'a>> {
        let kind = ExtraKind::from_code(self.byte()?)?;
        let name = self.part()?;
        let present = self.flag()?;
        let value = self.part()?;
        Some((kind, name, present.then_some(value)))
    }
}

impl TryFrom<&[u8]> for CacheKey {
    type Error = InvalidKey;

    /// Reads [`CacheKey::encoding`] back.
    fn try_from(bytes: &[u8]) -> Result<Self, InvalidKey> {
        decode(bytes).ok_or(InvalidKey)
    }
}

impl TryFrom<Box<[u8]>> for CacheKey {
    type Error = InvalidKey;

    fn try_from(bytes: Box<[u8]>) -> Result<Self, InvalidKey> {
        Self::try_from(&*bytes)
    }
}

impl From<CacheKey> for Box<[u8]> {
    fn from(key: CacheKey) -> Self {
        (*key.encoding).into()
    }
}

fn decode(bytes: &[u8]) -> Option<CacheKey> {
    let mut reader = Reader { bytes };
    if reader.byte()? != VERSION {
        return None;
    }
    let scheme = match reader.byte()? {
        0 => Scheme::Http,
        1 => Scheme::Https,
        _ => return None,
    };
    let builder = CacheKey::builder(reader.text()?, scheme, reader.text()?);
    let path = reader.text()?;
    let present = reader.flag()?;
    let query = reader.text()?;
    let mut key = builder.target(path, present.then_some(query));
    while !reader.bytes.is_empty() {
        let (kind, name, value) = reader.extra()?;
        key = key.extra(kind, name, value);
    }
    // Rebuilding is exact unless the bytes were not canonical: a host in capitals, a value marked
    // absent.
    (key.encoding == bytes).then(|| key.build())
}
