//! Parts: ranges that are fetched as such, and put together once all are there (RFC 9111, sections
//! 3.3 and 3.4).

use std::{ops::Range, sync::Arc};

use anypop_cache::{
    meta::{BodyLength, StoredMeta},
    partial::{self, RangeSet},
    range::{self, ByteRange, ContentRange, Limits, RangeSpec},
    validators::Validators,
};
use anypop_store::{BodyWriter, Found, Object, Response, Store};
use http::{HeaderMap, StatusCode, header};

/// A range that begins within so many bytes is served from a fill of the whole, which is most
/// likely wanted next; one that begins later is fetched alone, so that nobody waits for what comes
/// before it.
const WHOLE_WITHIN: u64 = 1 << 20;

/// The one range that a request's fill should ask the origin for; `None`: everything.
pub(super) fn to_fetch(request: &HeaderMap) -> Option<RangeSpec> {
    if request.contains_key(header::IF_RANGE) {
        return None;
    }
    let specs = range::requested(request, &Limits::default())?;
    let [only] = specs.as_slice() else {
        return None;
    };
    let far = match only {
        RangeSpec::Within(range) => range.first() >= WHOLE_WITHIN,
        RangeSpec::From(first) => *first >= WHOLE_WITHIN,
        RangeSpec::Suffix(_) => true,
    };
    far.then_some(*only)
}

/// A range of a stored body.
type Slice = (Arc<Object>, Range<u64>);

/// Parts of one version of a representation, in their order.
#[derive(Clone)]
pub(super) struct Parts {
    sorted: Vec<(ByteRange, Arc<Object>)>,
    complete: u64,
    validators: Validators,
}

impl Parts {
    /// Those among `found` that go with the first complete part which `selects` takes. `None`:
    /// there is none, or it has no strong validator.
    pub(super) fn among(found: &[Found], selects: impl Fn(&StoredMeta) -> bool) -> Option<Self> {
        let parts = found.iter().filter_map(|found| {
            let meta = found.object.meta();
            let [range] = meta.partial.as_ref()?.stored.ranges() else {
                return None;
            };
            let usable = found.purged.is_none() && found.object.body().is_complete();
            (usable && selects(meta)).then(|| (*range, found.object.clone()))
        });
        let mut sorted: Vec<_> = parts.collect();
        let (_, first) = sorted.first()?;
        let validators = first.meta().validators.clone();
        let complete = first.meta().partial.as_ref()?.complete;
        sorted.retain(|(_, part)| {
            let theirs = part
                .meta()
                .partial
                .as_ref()
                .map_or(0, |partial| partial.complete);
            partial::may_combine((&part.meta().validators, theirs), (&validators, complete))
        });
        sorted.sort_by_key(|(range, _)| range.first());
        (!sorted.is_empty()).then_some(Self {
            sorted,
            complete,
            validators,
        })
    }

    /// What is missing, if it is one range: more than one would be as many requests.
    pub(super) fn gap(&self) -> Option<ByteRange> {
        let mut stored = RangeSet::new();
        for (range, _) in &self.sorted {
            stored.insert(*range);
        }
        let all = ByteRange::new(0, self.complete.checked_sub(1)?)?;
        match stored.missing(all).as_slice() {
            [gap] => Some(*gap),
            _ => None,
        }
    }

    /// Their strong validator.
    pub(super) fn validators(&self) -> &Validators {
        &self.validators
    }

    /// The length of the whole.
    pub(super) fn complete(&self) -> u64 {
        self.complete
    }

    /// Whether a response is the missing part of the same version.
    pub(super) fn are_completed_by(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        validators: &Validators,
    ) -> bool {
        status == StatusCode::PARTIAL_CONTENT
            && ContentRange::part(headers).is_some_and(|(range, complete)| {
                self.gap() == Some(range)
                    && partial::may_combine(
                        (&self.validators, self.complete),
                        (validators, complete),
                    )
            })
    }

    /// The slices, as offsets into each body, that make up the bytes before `end`, from `have` on;
    /// and how far they reach.
    fn slices(&self, mut have: u64, end: u64) -> (Vec<Slice>, u64) {
        let mut slices = Vec::new();
        for (range, part) in &self.sorted {
            if range.first() > have || have >= end {
                break;
            }
            if range.end() > have {
                let until = range.end().min(end);
                let slice = have - range.first()..until - range.first();
                slices.push((part.clone(), slice));
                have = until;
            }
        }
        (slices, have)
    }

    /// Writes the stored bytes from `from` to `end`.
    ///
    /// # Errors
    /// `Err` when some are not there, a part is gone, or the writer takes no more; dropping the
    /// writer takes back what it wrote.
    pub(super) async fn write(
        &self,
        writer: &mut BodyWriter,
        from: u64,
        end: u64,
    ) -> Result<(), String> {
        let (slices, reached) = self.slices(from, end);
        if reached < end {
            return Err(format!("the bytes from {reached} on are missing"));
        }
        for (part, slice) in slices {
            let mut reader = part.body().range(slice);
            while let Some(bytes) = reader.next().await.map_err(|error| error.to_string())? {
                writer
                    .write(bytes)
                    .await
                    .map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }
}

/// What a part's header and meta become when the whole is there.
pub(super) fn whole(mut headers: HeaderMap, mut meta: StoredMeta, complete: u64) -> Response {
    headers.remove(header::CONTENT_RANGE);
    headers.remove(header::CONTENT_LENGTH);
    meta.status = StatusCode::OK;
    meta.partial = None;
    meta.length = BodyLength::Known(complete);
    Response {
        status: StatusCode::OK,
        headers,
        meta,
        length: Some(complete),
    }
}

/// Stores the whole in place of its parts, if `newest` was the last one missing.
pub(super) async fn combine(store: &Store, newest: &Arc<Object>) {
    let meta = newest.meta();
    if meta.partial.is_none() {
        return;
    }
    let same = |other: &StoredMeta| {
        other.vary_key == meta.vary_key && other.validators.same_strong(&meta.validators)
    };
    let Some(parts) = Parts::among(&store.variants(newest.key()), same) else {
        return;
    };
    if parts.slices(0, parts.complete).1 < parts.complete {
        return;
    }
    // A part that was purged is not among the variants; from here on a purge hits the whole too.
    let permit = store.begin(newest.key());
    let mut meta = meta.clone();
    meta.purge_seq = permit.began().0;
    let response = whole(newest.headers().clone(), meta, parts.complete);
    let mut writer = permit.store(response);
    let written = parts.write(&mut writer, 0, parts.complete).await;
    let finished = written.and_then(|()| {
        writer
            .finish(None)
            .map(drop)
            .map_err(|error| error.to_string())
    });
    if let Err(error) = finished {
        tracing::debug!(error, "parts did not make a whole");
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn fetched(range: &str) -> bool {
        let mut request = HeaderMap::new();
        request.insert(header::RANGE, range.parse().unwrap());
        to_fetch(&request).is_some()
    }

    #[test]
    fn what_begins_late_is_fetched_alone() {
        assert!(!fetched("bytes=0-"));
        assert!(!fetched("bytes=1000-2000"));
        assert!(fetched("bytes=5000000-"));
        assert!(fetched("bytes=-500"));
        assert!(
            !fetched("bytes=5000000-5000001,6000000-"),
            "several are cut from the whole"
        );
        assert!(!fetched("lines=5000000-"));
    }
}
