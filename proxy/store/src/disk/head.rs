//! The head of a stored object: all of it but the data.

use anypop_cache::key::CacheKey;
use anypop_cache::meta::StoredMeta;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::format::{Extent, FRAGMENT};

/// An object without its data.
#[derive(Debug, Clone)]
pub struct Head {
    /// The key it is stored under.
    pub key: CacheKey,
    /// Status code.
    pub status: StatusCode,
    /// Header section.
    pub headers: HeaderMap,
    /// What the cache's rules know of it.
    pub meta: StoredMeta,
    /// Bytes of the body.
    pub length: u64,
    /// The body's trailer section.
    pub trailers: Option<HeaderMap>,
    /// Where the body is; empty where it lies right behind this head.
    pub extents: Vec<Extent>,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    key: CacheKey,
    status: u16,
    headers: Fields,
    meta: StoredMeta,
    length: u64,
    trailers: Option<Fields>,
    extents: Vec<Extent>,
}

type Fields = Vec<(String, Vec<u8>)>;

impl Head {
    /// Its bytes. `None`: it cannot be written down, such as one that lists more than fits.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let written = Written {
            key: self.key.clone(),
            status: self.status.as_u16(),
            headers: fields(&self.headers),
            meta: self.meta.clone(),
            length: self.length,
            trailers: self.trailers.as_ref().map(fields),
            extents: self.extents.clone(),
        };
        let bytes = postcard::to_stdvec(&written).ok()?;
        (bytes.len() <= super::format::MAX_HEAD as usize).then_some(bytes)
    }

    /// Reads it back. `None`: these bytes are no head, or one that contradicts itself.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let written: Written = postcard::from_bytes(bytes).ok()?;
        let head = Self {
            key: written.key,
            status: StatusCode::from_u16(written.status).ok()?,
            headers: map(written.headers)?,
            meta: written.meta,
            length: written.length,
            trailers: match written.trailers {
                Some(trailers) => Some(map(trailers)?),
                None => None,
            },
            extents: written.extents,
        };
        let listed = head.extents.iter().try_fold(0u64, |sum, extent| {
            let valid = extent.length > 0 && u64::from(extent.length) <= FRAGMENT;
            valid.then(|| sum + u64::from(extent.length))
        })?;
        (head.extents.is_empty() || listed == head.length).then_some(head)
    }
}

fn fields(headers: &HeaderMap) -> Fields {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

fn map(fields: Fields) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(fields.len().min(1024));
    for (name, value) in fields {
        let name = HeaderName::try_from(name).ok()?;
        let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).ok()?;
        headers.try_append(name, value).ok()?;
    }
    Some(headers)
}
