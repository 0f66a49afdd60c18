//! Ranges, multipart answers and stored parts.

use anypop_cache::multipart::{Multipart, boundary};
use anypop_cache::partial::{Partial, RangeSet, may_combine};
use anypop_cache::range::{
    ByteRange, ContentRange, Limits, Selection, if_range, parse, resolve, select,
};
use anypop_cache::validators::Validators;
use http::{HeaderValue, Method};
use proptest::prelude::*;

use crate::support::{NOW, dated, headers};

fn range(first: u64, last: u64) -> ByteRange {
    ByteRange::new(first, last).unwrap()
}

fn of(value: &str, len: u64) -> Selection {
    let limits = Limits {
        max_ranges: 4,
        coalesce_gap: 2,
    };
    select(
        &Method::GET,
        &headers(&[&format!("range: {value}")]),
        &Validators::of(&headers(&[]), NOW),
        len,
        &limits,
        NOW,
    )
}

#[test]
fn selections() {
    use Selection::{Single, Unsatisfiable, Whole};
    for (value, len, expected) in [
        ("bytes=0-499", 1000, Single(range(0, 499))),
        ("BYTES=0-499", 1000, Single(range(0, 499))),
        ("bytes=500-", 1000, Single(range(500, 999))),
        ("bytes=-500", 1000, Single(range(500, 999))),
        ("bytes=-5000", 1000, Single(range(0, 999))),
        ("bytes=0-5000", 1000, Single(range(0, 999))),
        (
            "bytes=0-99999999999999999999999",
            1000,
            Single(range(0, 999)),
        ),
        ("bytes= 0-1 ,", 1000, Single(range(0, 1))),
        ("bytes=1000-", 1000, Unsatisfiable),
        ("bytes=99999999999999999999999-", 1000, Unsatisfiable),
        ("bytes=-0", 1000, Unsatisfiable),
        ("bytes=1000-, -0", 1000, Unsatisfiable),
        ("bytes=1000-, 0-1", 1000, Single(range(0, 1))),
        ("bytes=0-", 0, Unsatisfiable),
        ("bytes=-1", 0, Whole),
        ("bytes=0-4,5-9", 1000, Single(range(0, 9))),
        ("bytes=7-9,0-4", 1000, Single(range(0, 9))),
        ("bytes=0-599,400-", 1000, Whole),
        // Not ranges, so they are ignored.
        ("bytes=5-4", 1000, Whole),
        ("bytes=", 1000, Whole),
        ("bytes=a-b", 1000, Whole),
        ("bytes=0-1,x", 1000, Whole),
        ("bytes=--1", 1000, Whole),
        ("bytes=1", 1000, Whole),
        ("bytes=+1-2", 1000, Whole),
        ("bytes 0-1", 1000, Whole),
        ("lines=0-1", 1000, Whole),
        ("bytes=0-0,10-10,20-20,30-30,40-40", 1000, Whole),
    ] {
        assert_eq!(of(value, len), expected, "{value} of {len}");
    }
    assert_eq!(
        of("bytes=500-501,0-1", 1000),
        Selection::Multi([range(500, 501), range(0, 1)].into_iter().collect()),
        "the client's order"
    );
    assert_eq!(
        of("bytes=500-510,0-1,505-520", 1000),
        Selection::Multi([range(0, 1), range(500, 520)].into_iter().collect()),
        "joined and sorted"
    );
    let two = headers(&["range: bytes=0-1", "range: bytes=0-1"]);
    let none = Validators::of(&headers(&[]), NOW);
    assert_eq!(
        select(&Method::GET, &two, &none, 10, &Limits::default(), NOW),
        Whole
    );
    assert_eq!(
        select(
            &Method::HEAD,
            &headers(&["range: bytes=0-1"]),
            &none,
            10,
            &Limits::default(),
            NOW
        ),
        Whole
    );
}

#[test]
fn if_ranges() {
    let holds = |request: &str, response: &[&str]| {
        if_range(
            &dated(&[request]),
            &Validators::of(&dated(response), NOW),
            NOW,
        )
    };
    assert!(holds("if-range: \"a\"", &["etag: \"a\""]));
    assert!(!holds("if-range: \"b\"", &["etag: \"a\""]));
    assert!(!holds("if-range: W/\"a\"", &["etag: W/\"a\""]));
    assert!(!holds("if-range: \"a\"", &[]));
    assert!(holds(
        "if-range: {-100}",
        &["last-modified: {-100}", "date: {0}"]
    ));
    assert!(
        !holds("if-range: {-99}", &["last-modified: {-100}", "date: {0}"]),
        "the very date, not a later one"
    );
    assert!(
        !holds("if-range: {0}", &["last-modified: {0}", "date: {0}"]),
        "a weak date"
    );
    assert!(!holds("if-range: a", &["etag: \"a\""]));
    assert!(holds("range: x", &[]), "without If-Range");
}

#[test]
fn content_ranges() {
    let parse = |text: &str| ContentRange::parse(text.as_bytes());
    for good in ["bytes 0-4/10", "bytes 0-4/*", "bytes */10", "bytes 9-9/10"] {
        assert_eq!(parse(good).unwrap().to_string(), good);
        assert_eq!(parse(good).unwrap().header_value(), good);
    }
    for bad in [
        "bytes 4-9/9",
        "bytes 5-4/10",
        "bytes */*",
        "bytes 0-4",
        "bytes=0-4/10",
        "bytes  0-4/10",
        "bytes 0-4/10 ",
        "lines 0-4/10",
        "bytes 0-18446744073709551615/*",
        "bytes 0-4/99999999999999999999999",
        "bytes -/10",
        "bytes /10",
        "",
    ] {
        assert_eq!(parse(bad), None, "{bad}");
    }
    let part = |lines: &[&str]| ContentRange::part(&headers(lines));
    assert_eq!(
        part(&["content-range: bytes 0-4/10"]),
        Some((range(0, 4), 10))
    );
    assert_eq!(
        part(&["content-range: bytes 0-4/10", "content-range: bytes 0-4/10"]),
        None
    );
    assert_eq!(part(&["content-range: bytes 0-4/*"]), None);
}

#[test]
fn multipart_answers() {
    let content_type = HeaderValue::from_static("text/plain");
    let boundary = boundary(0x1234);
    let frame = Multipart {
        boundary: &boundary,
        content_type: Some(&content_type),
        complete: 26,
    };
    let alphabet = b"abcdefghijklmnopqrstuvwxyz";
    let ranges = [range(0, 1), range(23, 25)];
    let mut body = Vec::new();
    for part in ranges {
        body.extend_from_slice(&frame.part_head(part));
        body.extend_from_slice(&alphabet[part.first() as usize..part.end() as usize]);
    }
    body.extend_from_slice(&frame.tail());
    let b = &boundary;
    let expected = format!(
        "\r\n--{b}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/26\r\n\r\nab\
         \r\n--{b}\r\nContent-Type: text/plain\r\nContent-Range: bytes 23-25/26\r\n\r\nxyz\r\n--{b}--\r\n"
    );
    assert_eq!(String::from_utf8(body).unwrap(), expected);
    assert_eq!(frame.content_length(&ranges), Some(expected.len() as u64));
    assert_eq!(
        frame.content_type().unwrap(),
        format!("multipart/byteranges; boundary={b}").as_str()
    );
    assert_eq!(
        frame.content_length(&[range(0, u64::MAX - 1), range(0, 9)]),
        None
    );
}

#[test]
fn parts_combine_by_strong_validators() {
    let of = |lines: &[&str]| Validators::of(&dated(lines), NOW);
    let strong = of(&["etag: \"a\""]);
    assert!(may_combine((&strong, 10), (&strong, 10)));
    assert!(!may_combine((&strong, 10), (&strong, 11)));
    assert!(!may_combine((&strong, 10), (&of(&["etag: \"b\""]), 10)));
    assert!(!may_combine((&of(&[]), 10), (&of(&[]), 10)));
    let old = of(&["last-modified: {-100}", "date: {0}"]);
    assert!(may_combine((&old, 10), (&old, 10)));
}

#[test]
fn sets_of_bytes() {
    let mut set = RangeSet::new();
    assert!(set.is_complete(0) && !set.is_complete(1));
    for part in [range(10, 19), range(30, 39), range(20, 24)] {
        set.insert(part);
    }
    assert_eq!(set.ranges(), [range(10, 24), range(30, 39)]);
    assert_eq!(
        set.missing(range(0, 49)).as_slice(),
        [range(0, 9), range(25, 29), range(40, 49)]
    );
    assert_eq!(set.missing(range(12, 20)).as_slice(), []);
    assert_eq!(set.missing(range(25, 29)).as_slice(), [range(25, 29)]);
    set.insert(range(0, 49));
    assert!(set.is_complete(50) && !set.is_complete(51));
    assert_eq!(set.total(), 50);
}

#[test]
fn parts_answer_what_lies_within() {
    let part = Partial::new(range(4, 8), 10);
    let of = |value: &str| {
        let validators = Validators::of(&headers(&[]), NOW);
        part.select(
            &Method::GET,
            &headers(&[&format!("range: {value}")]),
            &validators,
            &Limits::default(),
            NOW,
        )
    };
    assert_eq!(of("bytes=5-7"), Some(Selection::Single(range(5, 7))));
    assert_eq!(of("bytes=4-8"), Some(Selection::Single(range(4, 8))));
    assert_eq!(of("bytes=5-"), None);
    assert_eq!(of("bytes=-1"), None);
    assert_eq!(of("bytes=0-"), None);
    assert_eq!(of("x"), None, "the whole");
    assert_eq!(of("bytes=10-"), Some(Selection::Unsatisfiable));
}

proptest! {
    /// Whatever is asked for, what is selected lies within the representation, does not overlap,
    /// and is no longer than it.
    #[test]
    fn selections_stay_within_bounds(value in prop_oneof!["bytes=[0-9,-]{0,30}", "[a-z=0-9,-]{0,30}", "bytes=([0-9]{1,20}-[0-9]{0,20},?){1,9}"], len in prop_oneof![0u64..100, any::<u64>()], gap in 0u64..100) {
        let limits = Limits { max_ranges: 8, coalesce_gap: gap };
        if let Some(specs) = parse(value.as_bytes(), limits.max_ranges) {
            prop_assert!(specs.len() <= limits.max_ranges);
            match resolve(&specs, len, &limits) {
                Selection::Whole | Selection::Unsatisfiable => {}
                Selection::Single(one) => prop_assert!(one.end() <= len && one.len() <= len),
                Selection::Multi(many) => {
                    prop_assert!(many.len() > 1);
                    let mut sorted = many.to_vec();
                    sorted.sort();
                    for pair in sorted.windows(2) {
                        prop_assert!(pair[0].end() < pair[1].first());
                    }
                    prop_assert!(sorted.last().unwrap().end() <= len);
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = parse(&bytes, 8);
        if let Some(found) = ContentRange::parse(&bytes) {
            prop_assert_eq!(ContentRange::parse(found.to_string().as_bytes()), Some(found));
        }
    }

    /// A set behaves as the set of its bytes.
    #[test]
    fn sets_agree_with_a_model(parts in proptest::collection::vec((0u64..60, 0u64..20), 0..10), wanted in (0u64..60, 0u64..30)) {
        let mut set = RangeSet::new();
        let mut model = std::collections::BTreeSet::new();
        for (first, more) in parts {
            set.insert(range(first, first + more));
            model.extend(first..=first + more);
        }
        prop_assert!(set.ranges().windows(2).all(|pair| pair[0].end() < pair[1].first()));
        prop_assert_eq!(set.total(), model.len() as u64);
        let wanted = range(wanted.0, wanted.0 + wanted.1);
        let bytes = wanted.first()..=wanted.last();
        prop_assert_eq!(set.contains(wanted), bytes.clone().all(|b| model.contains(&b)));
        let missing: Vec<u64> = set.missing(wanted).iter().flat_map(|gap| gap.first()..=gap.last()).collect();
        prop_assert_eq!(missing, bytes.filter(|b| !model.contains(b)).collect::<Vec<_>>());
    }
}
