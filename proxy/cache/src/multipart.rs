//! `multipart/byteranges` (RFC 9110 §14.6): what stands between the bytes of the parts, and how
//! long it all is.

use std::fmt::Write as _;

use bytes::Bytes;
use http::HeaderValue;

use crate::range::{ByteRange, ContentRange};

/// The frame of a multipart answer.
#[derive(Clone, Debug)]
pub struct Multipart<'a> {
    /// 1 to 70 characters that do not occur in the content, e.g. [`boundary`].
    pub boundary: &'a str,
    /// The stored `Content-Type`, repeated in each part.
    pub content_type: Option<&'a HeaderValue>,
    /// The length of the whole representation.
    pub complete: u64,
}

/// A boundary from random bits of the caller. It has to be unforeseeable for who wrote the content.
#[must_use]
pub fn boundary(random: u128) -> String {
    format!("{random:032x}")
}

impl Multipart<'_> {
    /// The answer's `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("multipart/byteranges; boundary={}", self.boundary)).ok()
    }

    /// What precedes a part's bytes: delimiter and header.
    #[must_use]
    pub fn part_head(&self, range: ByteRange) -> Bytes {
        let mut head = Vec::with_capacity(160);
        head.extend_from_slice(b"\r\n--");
        head.extend_from_slice(self.boundary.as_bytes());
        head.extend_from_slice(b"\r\n");
        if let Some(content_type) = self.content_type {
            head.extend_from_slice(b"Content-Type: ");
            head.extend_from_slice(content_type.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        let mut line = String::new();
        let content_range = ContentRange::Satisfied {
            range,
            complete: Some(self.complete),
        };
        // Writing to a String cannot fail.
        let _ = write!(line, "Content-Range: {content_range}\r\n\r\n");
        head.extend_from_slice(line.as_bytes());
        head.into()
    }

    /// What follows the last part's bytes.
    #[must_use]
    pub fn tail(&self) -> Bytes {
        format!("\r\n--{}--\r\n", self.boundary).into()
    }

    /// The answer's `Content-Length`; `None` if it does not fit into u64.
    #[must_use]
    pub fn content_length(&self, ranges: &[ByteRange]) -> Option<u64> {
        let tail = u64::try_from(self.tail().len()).ok()?;
        ranges.iter().try_fold(tail, |sum, range| {
            let head = u64::try_from(self.part_head(*range).len()).ok()?;
            sum.checked_add(head)?.checked_add(range.len())
        })
    }
}
