#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
use proptest::prelude::*;

use super::*;

const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn parents_that_continue_a_trace() {
    let longer = format!("cc-{}-what-comes-later", &GOOD[3..]);
    let later = format!("cc-{}", &GOOD[3..]);
    for good in [
        GOOD,
        &longer,
        &later,
        &GOOD.replace("-01", "-00"),
        &GOOD.replace("-01", "-ff"),
    ] {
        let parent = TraceParent::parse(good.as_bytes()).expect(good);
        assert_eq!(
            parent.trace_id.to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(parent.span_id.to_string(), "00f067aa0ba902b7");
    }
    assert!(TraceParent::parse(GOOD.as_bytes()).unwrap().is_sampled());
    assert!(
        !TraceParent::parse(GOOD.replace("-01", "-02").as_bytes())
            .unwrap()
            .is_sampled()
    );
}

#[test]
fn parents_that_do_not() {
    for bad in [
        "",
        "00",
        &GOOD[..54],
        &format!("{GOOD}-"),
        &format!("{GOOD}0"),
        &format!("cc{}.later", &GOOD[2..]),
        &GOOD.replacen("00", "ff", 1),
        &GOOD.replacen("00", "0G", 1),
        &GOOD.to_uppercase(),
        &GOOD.replace(
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "00000000000000000000000000000000",
        ),
        &GOOD.replace("00f067aa0ba902b7", "0000000000000000"),
        &GOOD.replace('-', "_"),
        &GOOD.replace("-01", "-0x"),
        &format!(" {GOOD}"),
    ] {
        assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad:?}");
    }
    assert_eq!(
        TraceParent::from_fields([GOOD.as_bytes(), GOOD.as_bytes()]),
        None,
        "two fields"
    );
    assert_eq!(TraceParent::from_fields([]), None);
    assert!(TraceParent::from_fields([GOOD.as_bytes()]).is_some());
}

#[test]
fn states() {
    let many = (0..32)
        .map(|n| format!("k{n}=v"))
        .collect::<Vec<_>>()
        .join(",");
    let too_many = format!("{many},k32=v");
    let long_value = format!("k={}", "v".repeat(256));
    let too_long_value = format!("k={}", "v".repeat(257));
    let too_long = (0..9)
        .map(|n| format!("k{n}={}", "v".repeat(250)))
        .collect::<Vec<_>>()
        .join(",");
    let good: &[(&[&str], &str)] = &[
        (&["congo=t61rcWkgMzE"], "congo=t61rcWkgMzE"),
        (
            &["rojo=00f067aa0ba902b7 , congo=t61rcWkgMzE"],
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        ),
        (&["a=1", "b=2"], "a=1,b=2"),
        (&["a=1,,b=2,"], "a=1,b=2"),
        (&["0tenant@sys*/_-=x y"], "0tenant@sys*/_-=x y"),
        (&[&many], &many),
        (&[&long_value], &long_value),
    ];
    for (fields, joined) in good {
        assert_eq!(
            trace_state(fields.iter().map(|field| field.as_bytes())).as_deref(),
            Some(*joined)
        );
    }
    for bad in [
        "",
        " , ",
        "a",
        "=1",
        "A=1",
        "a=",
        "a=1=2",
        "a=1,a=2",
        "_a=1",
        "a@=1",
        "@a=1",
        "a@bcdefghijklmnop=1",
        "a=\u{7f}",
        "a=é",
        "a b=1",
        &too_many,
        &too_long_value,
        &too_long,
    ] {
        assert_eq!(trace_state([bad.as_bytes()]), None, "{bad:?}");
    }
}

#[test]
fn what_the_origin_gets() {
    let parent = TraceParent::parse(GOOD.as_bytes());
    let state = trace_state([&b"a=1"[..]]);

    let passed_on = Trace::begin(parent, state.clone(), false);
    assert_eq!(passed_on.traceparent(), GOOD, "not recorded: as it came");
    assert_eq!(passed_on.tracestate(), Some("a=1"));

    let recorded = Trace::begin(parent, state.clone(), true);
    let expected = format!(
        "00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01",
        recorded.origin_span_id
    );
    assert_eq!(recorded.traceparent(), expected);
    assert_eq!(recorded.parent, parent.map(|parent| parent.span_id));
    assert_ne!(recorded.span_id, recorded.origin_span_id);

    let started = Trace::begin(None, state, false);
    assert_eq!(
        started.traceparent(),
        format!("00-{}-{}-02", started.trace_id, started.span_id)
    );
    assert_eq!(
        started.tracestate(),
        None,
        "a state without a parent belongs to no trace"
    );
    assert!(
        Trace::begin(None, None, true)
            .traceparent()
            .ends_with("-03")
    );
}

#[test]
fn sampling() {
    let sampled = TraceParent::parse(GOOD.as_bytes());
    let unsampled = TraceParent::parse(GOOD.replace("-01", "-00").as_bytes());
    let half = Sampler::new(0.5);
    for (sampler, parent, trusted, dice, record) in [
        (half, None, false, 0.49, true),
        (half, None, false, 0.5, false),
        (half, sampled, false, 0.6, false),
        (half, sampled, true, 0.6, true),
        (half, unsampled, true, 0.1, false),
        (half, unsampled, false, 0.1, true),
        (Sampler::off(), sampled, true, 0.0, false),
        (Sampler::new(7.0), None, false, 0.999, true),
        (Sampler::new(f64::NAN), None, false, 0.0, false),
    ] {
        assert_eq!(
            sampler.decide(parent.as_ref(), trusted, dice),
            record,
            "{sampler:?} {parent:?} {trusted} {dice}"
        );
    }
    assert!((0.0..1.0).contains(&dice()));
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = TraceParent::parse(&bytes);
        if let Some(state) = trace_state([&bytes[..]]) {
            prop_assert_eq!(trace_state([state.as_bytes()]), Some(state.clone()), "a second reading changes nothing");
        }
    }

    #[test]
    fn what_is_sent_reads_back(trace: [u8; 16], span: [u8; 8], flags: u8, record: bool) {
        prop_assume!(trace != [0; 16] && span != [0; 8]);
        let sent = format!("00-{}-{}-{flags:02x}", TraceId::from_bits(trace), SpanId::from_bits(span));
        let parent = TraceParent::parse(sent.as_bytes()).unwrap();
        let trace = Trace::begin(Some(parent), None, record);
        let back = TraceParent::parse(trace.traceparent().as_bytes()).unwrap();
        prop_assert_eq!(back.trace_id, parent.trace_id);
        prop_assert_eq!(back.is_sampled(), record || parent.is_sampled());
        prop_assert_eq!(back.span_id == parent.span_id, !record);
    }

    /// One changed byte never makes a parent of something else than hexadecimal.
    #[test]
    fn a_changed_byte_is_noticed_or_hexadecimal(at in 0usize..55, byte: u8) {
        let mut changed = GOOD.as_bytes().to_vec();
        changed[at] = byte;
        if TraceParent::parse(&changed).is_some() {
            prop_assert!(byte == GOOD.as_bytes()[at] || matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        }
    }
}
