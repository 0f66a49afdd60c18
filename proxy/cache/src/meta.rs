//! What is stored of a response besides its header and its body.

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::control::Control;
use crate::freshness::{self, Clock};
use crate::partial::Partial;
use crate::policy::Policy;
use crate::range::ContentRange;
use crate::storability::{self, Exchange, Storability};
use crate::tags::{self, TagHashes, Tags};
use crate::time::Timestamp;
use crate::update;
use crate::validators::Validators;
use crate::vary::{Normalise, Vary, VaryKey, VaryNames};

/// How long a body is, as far as the header says. A body that does not arrive whole is not stored
/// (RFC 9111 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyLength {
    /// This many bytes.
    Known(u64),
    /// The transport says where it ends.
    Unknown,
}

impl BodyLength {
    /// Of a response to `method`; `None` if its `Content-Length` cannot be: repeated with other
    /// values, or no number. Such a response is not to be used at all (RFC 9110 §8.6).
    #[must_use]
    pub fn of(method: &Method, status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        let bodiless = method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        if bodiless {
            return Some(Self::Known(0));
        }
        let mut found: Option<u64> = None;
        for line in headers.get_all(header::CONTENT_LENGTH) {
            let text = line.as_bytes();
            if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let length: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            if found.is_some_and(|known| known != length) {
                return None;
            }
            found = Some(length);
        }
        Some(found.map_or(Self::Unknown, Self::Known))
    }

    /// Whether a body of `received` bytes that the transport ended cleanly is whole.
    #[must_use]
    pub fn accepts(self, received: u64) -> bool {
        match self {
            Self::Known(length) => length == received,
            Self::Unknown => true,
        }
    }

    /// The length, if known.
    #[must_use]
    pub fn known(self) -> Option<u64> {
        match self {
            Self::Known(length) => Some(length),
            Self::Unknown => None,
        }
    }
}

/// What the store keeps of a response besides header and body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMeta {
    /// The status.
    #[serde(with = "status_code")]
    pub status: StatusCode,
    /// When it was received, how old it was, and how long it lasts.
    pub clock: Clock,
    /// The names in its `Vary`, sorted.
    #[serde(with = "names")]
    pub vary: VaryNames,
    /// What the request had for them.
    pub vary_key: VaryKey,
    /// The hashes of its tags.
    pub tags: TagHashes,
    /// Its validators.
    pub validators: Validators,
    /// The length of its body.
    pub length: BodyLength,
    /// What is there of it, if it is not the whole representation.
    pub partial: Option<Partial>,
    /// The purge sequence at the moment its fill began; a purge with a higher one makes it invalid.
    pub purge_seq: u64,
}

/// A response that is about to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Receipt<'a> {
    /// The site's id.
    pub site: &'a str,
    /// The request's header, as it selects variants.
    pub request: &'a HeaderMap,
    /// How that header is normalised.
    pub normalise: &'a Normalise,
    /// The response's status.
    pub status: StatusCode,
    /// The response's header as it came.
    pub response: &'a HeaderMap,
    /// When the request was sent.
    pub requested: Timestamp,
    /// When the response's header came.
    pub received: Timestamp,
    /// The purge sequence when the fill began.
    pub purge_seq: u64,
}

impl StoredMeta {
    /// The meta of a response to GET that [`crate::storability::decide`] let pass. `None` if its
    /// `Vary` is `*` or its length is contradictory.
    #[must_use]
    pub fn new(
        receipt: &Receipt<'_>,
        control: &Control,
        tags: &Tags,
        policy: &Policy,
    ) -> Option<Self> {
        let &Receipt {
            site,
            request,
            normalise,
            status,
            response,
            requested,
            received,
            purge_seq,
        } = receipt;
        let Vary::Fields(vary) = Vary::parse(response) else {
            return None;
        };
        let vary_key = VaryKey::new(&vary, request, normalise);
        let partial = if status == StatusCode::PARTIAL_CONTENT {
            let (range, complete) = ContentRange::part(response)?;
            Some(Partial::new(range, complete))
        } else {
            None
        };
        Some(Self {
            status,
            clock: Clock {
                received,
                initial_age: freshness::initial_age(control, requested, received),
                lifetime: freshness::lifetime(status, control, policy),
            },
            vary,
            vary_key,
            tags: tags.hashes(site),
            validators: Validators::of(response, received),
            length: BodyLength::of(&Method::GET, status, response)?,
            partial,
            purge_seq,
        })
    }

    /// Applies a 304 that selected this response ([`update::select`]), or a HEAD response that
    /// matches it ([`update::head_effect`]): updates the stored header and gives the new meta.
    ///
    /// `receipt` is of the validation: `response` is the 304's header as it came, `purge_seq` the
    /// sequence when the validation began, so that it makes a softly purged response valid again.
    /// Parts and the length of the body stay. See [`Refreshed::verdict`] for what to do with it.
    #[must_use]
    pub fn refresh(
        &self,
        stored: &mut HeaderMap,
        receipt: &Receipt<'_>,
        limits: &tags::Limits,
        policy: &Policy,
    ) -> Refreshed {
        let &Receipt {
            requested,
            received,
            ..
        } = receipt;
        let clock = update::freshen(
            self.status,
            stored,
            receipt.response,
            policy,
            requested,
            received,
        );
        let control = Control::read(stored, &policy.targets, received);
        let exchange = Exchange {
            method: &Method::GET,
            request: receipt.request,
            status: self.status,
            response: stored,
            control: &control,
            lifetime: &clock.lifetime,
        };
        let verdict = storability::decide(&exchange, policy);
        let vary = match Vary::parse(stored) {
            Vary::Fields(names) => names,
            Vary::Any => self.vary.clone(),
        };
        let meta = Self {
            status: self.status,
            clock,
            vary_key: VaryKey::new(&vary, receipt.request, receipt.normalise),
            vary,
            tags: Tags::of(stored, limits).hashes(receipt.site),
            validators: Validators::of(stored, received),
            length: self.length,
            partial: self.partial.clone(),
            purge_seq: receipt.purge_seq,
        };
        Refreshed { meta, verdict }
    }

    /// Whether a request selects this variant (RFC 9111 §4.1).
    #[must_use]
    pub fn matches(&self, request: &HeaderMap, normalise: &Normalise) -> bool {
        self.vary_key == VaryKey::new(&self.vary, request, normalise)
    }
}

/// A stored response after a successful validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refreshed {
    /// The new meta, with which this request is answered.
    pub meta: StoredMeta,
    /// Whether it may replace what is stored. If not, the entry stays as it was when the reason
    /// [`storability::Reason::is_about_request`], and else goes: the origin no longer wants it
    /// stored.
    pub verdict: Storability,
}

mod status_code {
    use super::{Deserialize, Deserializer, Serializer, StatusCode};

    pub(super) fn serialize<S: Serializer>(
        status: &StatusCode,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(status.as_u16())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<StatusCode, D::Error> {
        StatusCode::from_u16(u16::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

mod names {
    use super::{Deserialize, Deserializer, HeaderName, Serializer, VaryNames};

    pub(super) fn serialize<S: Serializer>(
        names: &VaryNames,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(names.iter().map(HeaderName::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<VaryNames, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts
            .iter()
            .map(|text| HeaderName::try_from(text.as_str()).map_err(serde::de::Error::custom))
            .collect()
    }
}
