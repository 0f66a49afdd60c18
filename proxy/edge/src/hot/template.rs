//! Bytes with gaps: prepared once, filled at each request.

use bytes::{BufMut, BytesMut};

use crate::observe::request_id::RequestId;

/// What fills the gaps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values {
    /// Seconds.
    pub(super) age: u64,
    /// Seconds.
    pub(super) ttl: i64,
    pub(super) request_id: RequestId,
}

impl Values {
    /// Values that stand for themselves nowhere: where they are found, there is a gap.
    ///
    /// `ttl` has the fifteen digits that a structured field allows (RFC 9651 §3.3.1).
    pub(super) fn marks() -> Self {
        Self {
            age: rand::random_range(1_000_000_000_000_000_000..10_000_000_000_000_000_000),
            ttl: rand::random_range(100_000_000_000_000..1_000_000_000_000_000),
            request_id: RequestId::random(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    Age,
    Ttl,
    RequestId,
}

/// The bytes, without what filled the gaps.
#[derive(Debug)]
pub(super) struct Template {
    bytes: Box<[u8]>,
    /// In order: the offset in `bytes` before which each gap is.
    gaps: Box<[(usize, Gap)]>,
}

impl Template {
    /// Finds the gaps of `text` by what `marks` left in it. `None` when it is there more than once,
    /// by chance or by somebody's will.
    pub(super) fn new(text: &[u8], marks: &Values) -> Option<Self> {
        let mut spans = Vec::with_capacity(3);
        for (mark, gap) in [
            (marks.age.to_string(), Gap::Age),
            (marks.ttl.to_string(), Gap::Ttl),
            (marks.request_id.as_str().to_owned(), Gap::RequestId),
        ] {
            let mut found = memchr::memmem::find_iter(text, mark.as_bytes());
            if let Some(at) = found.next() {
                spans.push((at, mark.len(), gap));
            }
            if found.next().is_some() {
                return None;
            }
        }
        spans.sort_unstable_by_key(|(at, ..)| *at);
        let mut bytes = Vec::with_capacity(text.len());
        let mut gaps = Vec::with_capacity(spans.len());
        let mut rest = 0;
        for (at, length, gap) in spans {
            // One mark within another leaves no slice here.
            bytes.extend_from_slice(text.get(rest..at)?);
            gaps.push((bytes.len(), gap));
            rest = at + length;
        }
        bytes.extend_from_slice(text.get(rest..)?);
        Some(Self {
            bytes: bytes.into(),
            gaps: gaps.into(),
        })
    }

    /// Appends the bytes with their gaps filled.
    pub(super) fn fill(&self, values: &Values, out: &mut BytesMut) {
        out.reserve(self.bytes.len() + 96);
        let mut from = 0;
        for (at, gap) in &self.gaps {
            out.put_slice(self.bytes.get(from..*at).unwrap_or_default());
            from = *at;
            match gap {
                Gap::Age => put_number(values.age, out),
                Gap::Ttl => {
                    if values.ttl < 0 {
                        out.put_u8(b'-');
                    }
                    put_number(values.ttl.unsigned_abs(), out);
                }
                Gap::RequestId => out.put_slice(values.request_id.as_str().as_bytes()),
            }
        }
        out.put_slice(self.bytes.get(from..).unwrap_or_default());
    }

    /// How many bytes fill the gaps.
    pub(super) fn gaps(&self, values: &Values) -> u64 {
        let digits = |number: u64| u64::from(number.checked_ilog10().unwrap_or(0)) + 1;
        self.gaps
            .iter()
            .map(|(_, gap)| match gap {
                Gap::Age => digits(values.age),
                Gap::Ttl => digits(values.ttl.unsigned_abs()) + u64::from(values.ttl < 0),
                Gap::RequestId => values.request_id.as_str().len() as u64,
            })
            .sum()
    }

    /// How long it is without what fills the gaps.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

fn put_number(mut value: u64, out: &mut BytesMut) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    for digit in digits.iter_mut().rev() {
        // The remainder is below ten.
        *digit = b'0' + (value % 10) as u8;
        at -= 1;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.put_slice(digits.get(at..).unwrap_or_default());
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(values: &Values, parts: &[String; 4], order: [usize; 3]) -> String {
        let marks = [
            values.age.to_string(),
            values.ttl.to_string(),
            values.request_id.to_string(),
        ];
        let mut text = parts[0].clone();
        for (which, part) in order.into_iter().zip(&parts[1..]) {
            text.push_str(&marks[which]);
            text.push_str(part);
        }
        text
    }

    proptest! {
        #[test]
        fn what_is_filled_reads_as_if_written(
            parts in any::<[String; 4]>(), order in Just([0usize, 1, 2]).prop_shuffle(),
            age: u64, ttl: i64, id: [u8; 16],
        ) {
            let marks = Values::marks();
            let template = Template::new(text(&marks, &parts, order).as_bytes(), &marks).unwrap();
            let values = Values { age, ttl, request_id: RequestId::from_bits(id) };
            let mut out = BytesMut::new();
            template.fill(&values, &mut out);
            let expected = text(&values, &parts, order);
            prop_assert_eq!(&out[..], expected.as_bytes());
            prop_assert_eq!(template.len() as u64 + template.gaps(&values), out.len() as u64);
        }
    }

    #[test]
    fn a_mark_that_is_there_twice_is_no_gap() {
        let marks = Values::marks();
        let text = format!("{0} {0}", marks.age);
        assert!(Template::new(text.as_bytes(), &marks).is_none());
        let none = Template::new(b"nothing", &marks).unwrap();
        assert_eq!(none.len(), 7);
    }
}
