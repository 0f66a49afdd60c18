//! W3C Trace Context (Level 1, with the random flag of Level 2): what a client sent, what the origin gets.
//!
//! A trace that a client began is continued. Only requests that this node records get a span of their own in the header toward the origin:
//! a span that nobody records would leave a hole in the trace, so the others pass the client's header on as it came (§3.2, "forward").

use std::fmt::Write as _;

/// A trace: 128 bits, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TraceId([u8; 16]);

/// A span within a trace: 64 bits, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SpanId([u8; 8]);

macro_rules! ids {
    ($name:ident, $bytes:literal, $digits:literal) => {
        impl $name {
            /// A new random id.
            pub fn random() -> Self {
                // All zero means "none"; it comes up once in more requests than will ever be made.
                let bits: [u8; $bytes] = rand::random();
                if bits == [0; $bytes] {
                    Self([1; $bytes])
                } else {
                    Self(bits)
                }
            }

            /// The id of the given bits; all zero stands for none.
            pub const fn from_bits(bits: [u8; $bytes]) -> Self {
                Self(bits)
            }

            /// Lower-case hexadecimal of the right length, not all zero.
            pub fn parse(hex: &[u8]) -> Option<Self> {
                let mut bits = [0; $bytes];
                if hex.len() != $digits {
                    return None;
                }
                for (byte, pair) in bits.iter_mut().zip(hex.chunks_exact(2)) {
                    *byte = hex_byte(pair)?;
                }
                (bits != [0; $bytes]).then_some(Self(bits))
            }

            /// Whether there is an id at all.
            pub fn is_set(&self) -> bool {
                self.0 != [0; $bytes]
            }

            /// The id in lower-case hexadecimal.
            pub fn hex(&self) -> [u8; $digits] {
                let mut out = [0; $digits];
                hex_into(&self.0, &mut out);
                out
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
            }
        }
    };
}
ids!(TraceId, 16, 32);
ids!(SpanId, 8, 16);

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// Flag: the caller records the trace (Level 1 §3.2.2.5).
const SAMPLED: u8 = 0x01;
/// Flag: the trace id is random (Level 2 §3.2.2.5.2).
const RANDOM: u8 = 0x02;
/// The most bytes of `tracestate` that are passed on (§3.3.1.5 asks for at least 512). Longer ones are dropped whole, for an entry must not
/// be cut.
const STATE_LIMIT: usize = 2048;
/// The most entries of `tracestate` (§3.3.1.1).
const STATE_ENTRIES: usize = 32;

/// A `traceparent` as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The caller's span.
    pub span_id: SpanId,
    /// The flags this implementation knows: sampled and random.
    flags: u8,
}

impl TraceParent {
    /// Parses one field value (Level 1 §3.2). Strict: lower-case hexadecimal only, no zero ids, exactly 55 characters for version 00; later
    /// versions may go on after a dash, version ff is invalid. `None` means: start a new trace.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let head = value.get(..LENGTH)?;
        let version = hex_byte(head.get(..2)?)?;
        match (version, value.get(LENGTH)) {
            (0xff, _) => return None,
            (0, Some(_)) => return None,
            (_, Some(next)) if *next != b'-' => return None,
            _ => {}
        }
        if [2, 35, 52]
            .iter()
            .any(|&dash| head.get(dash) != Some(&b'-'))
        {
            return None;
        }
        Some(Self {
            trace_id: TraceId::parse(head.get(3..35)?)?,
            span_id: SpanId::parse(head.get(36..52)?)?,
            flags: hex_byte(head.get(53..55)?)? & (SAMPLED | RANDOM),
        })
    }

    /// Parses the values of all `traceparent` fields of a request: more than one is invalid.
    pub fn from_fields<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut values = values.into_iter();
        let first = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(first)
    }

    /// Whether the caller says that it records this trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// Joins the `tracestate` fields of a request to one value, if they follow the grammar (§3.3); otherwise, or beyond 2048 bytes, `None`: the
/// state is dropped and the trace continued without.
pub fn trace_state<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Box<str>> {
    let mut joined = String::new();
    let mut keys: Vec<&[u8]> = Vec::new();
    for value in values {
        for entry in value.split(|&byte| byte == b',') {
            let entry = entry.trim_ascii();
            // Empty list members are allowed (RFC 9110 §5.6.1) and dropped.
            if entry.is_empty() {
                continue;
            }
            let equals = entry.iter().position(|&byte| byte == b'=')?;
            let (key, rest) = entry.split_at(equals);
            let state = rest.get(1..)?;
            if !is_state_key(key) || !is_state_value(state) || keys.contains(&key) {
                return None;
            }
            keys.push(key);
            let text = std::str::from_utf8(entry).ok()?;
            if keys.len() > STATE_ENTRIES || joined.len() + text.len() + 1 > STATE_LIMIT {
                return None;
            }
            if !joined.is_empty() {
                joined.push(',');
            }
            joined.push_str(text);
        }
    }
    (!joined.is_empty()).then(|| joined.into_boxed_str())
}

/// `simple-key` or `tenant@system` (§3.3.1.3.1), with Level 2's leave to begin with a digit.
fn is_state_key(key: &[u8]) -> bool {
    let allowed = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    let part = |part: &[u8], longest: usize| {
        part.len() <= longest
            && part
                .first()
                .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
            && part.iter().all(allowed)
    };
    match key.iter().position(|&byte| byte == b'@') {
        None => part(key, 256),
        Some(at) => part(&key[..at], 241) && part(&key[at + 1..], 14),
    }
}

/// Printable ASCII without comma and equals sign, up to 256, not ending in a space (§3.3.1.3.2).
fn is_state_value(value: &[u8]) -> bool {
    (1..=256).contains(&value.len())
        && value
            .iter()
            .all(|&byte| matches!(byte, 0x20..=0x7e) && byte != b',' && byte != b'=')
        && value.last() != Some(&b' ')
}

/// One request's place in its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub trace_id: TraceId,
    /// The caller's span, if it sent one.
    pub parent: Option<SpanId>,
    /// This node's span: the request as served here.
    pub span_id: SpanId,
    /// The span of the fetch from the origin; it is what the origin sees as its parent when the request is recorded.
    pub origin_span_id: SpanId,
    /// Whether this node records spans of the request.
    pub recorded: bool,
    flags: u8,
    state: Option<Box<str>>,
}

impl Trace {
    /// Continues the client's trace, or starts one. `record` is this node's own decision ([`Sampler::decide`]).
    pub fn begin(parent: Option<TraceParent>, state: Option<Box<str>>, record: bool) -> Self {
        let sampled = if record { SAMPLED } else { 0 };
        let (span_id, origin_span_id) = (SpanId::random(), SpanId::random());
        match parent {
            Some(parent) => Self {
                trace_id: parent.trace_id,
                parent: Some(parent.span_id),
                span_id,
                origin_span_id,
                recorded: record,
                flags: parent.flags | sampled,
                state,
            },
            // A state without a valid parent belongs to no trace (§3.2, "if parsing fails").
            None => Self {
                trace_id: TraceId::random(),
                parent: None,
                span_id,
                origin_span_id,
                recorded: record,
                flags: RANDOM | sampled,
                state: None,
            },
        }
    }

    /// The `traceparent` field for the origin.
    pub fn traceparent(&self) -> String {
        let span = match (self.recorded, self.parent) {
            (true, _) => self.origin_span_id,
            (false, Some(parent)) => parent,
            (false, None) => self.span_id,
        };
        let mut out = String::with_capacity(LENGTH);
        // Writing into a string cannot fail.
        let _ = write!(out, "00-{}-{span}-{:02x}", self.trace_id, self.flags);
        out
    }

    /// The `tracestate` field for the origin, as the client sent it.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// Decides which requests are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    share: f64,
}

impl Sampler {
    /// Records the given share of requests (`tracing.sample`), from 0 to 1; values outside are taken as the nearest bound, NaN as 0.
    pub fn new(share: f64) -> Self {
        Self {
            share: if share.is_nan() {
                0.0
            } else {
                share.clamp(0.0, 1.0)
            },
        }
    }

    /// Records nothing: for a node without a collector.
    pub fn off() -> Self {
        Self { share: 0.0 }
    }

    /// Whether to record a request. A trusted client's own decision is followed; anybody else's sampled flag is not, or one client could
    /// have everything recorded. `dice` is uniform in `0.0..1.0` (see [`dice`]).
    pub fn decide(&self, parent: Option<&TraceParent>, trusted: bool, dice: f64) -> bool {
        if self.share <= 0.0 {
            return false;
        }
        match parent {
            Some(parent) if trusted => parent.is_sampled(),
            _ => dice < self.share,
        }
    }
}

/// A random number from 0 (included) to 1 (excluded), for [`Sampler::decide`].
pub fn dice() -> f64 {
    rand::random()
}

/// Two lower-case hexadecimal digits.
fn hex_byte(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// Writes `bytes` in lower-case hexadecimal, as many as `out` has room for.
pub(super) fn hex_into(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
