//! HTTP/1 request heads: what is accepted has one meaning, and another parser finds the same.
#![no_main]

use anypop_listen::head::{HeadLimits, Parse, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = HeadLimits {
        bytes: 2048,
        fields: 32,
        target: 512,
    };
    let mut spans = Vec::new();
    let Parse::Complete(parsed) = parse(data, &limits, &mut spans) else {
        return;
    };
    let length = parsed.head_len();
    assert!(length <= limits.bytes && data[..length].ends_with(b"\r\n\r\n"));
    let head = parsed.view(data, &spans);
    assert!(!head.host().is_empty());
    assert!(
        head.host()
            .bytes()
            .all(|byte| !b"/?#@\\ ,\t".contains(&byte)),
        "{}",
        head.host()
    );
    assert!(
        head.path() == "*" || head.path().starts_with(['/', '?']),
        "{}",
        head.path()
    );
    assert!(head.path().bytes().all(|byte| byte.is_ascii_graphic()));

    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut other = httparse::Request::new(&mut fields);
    assert_eq!(other.parse(data), Ok(httparse::Status::Complete(length)));
    assert_eq!(other.method, Some(head.method()));
    let ours: Vec<_> = head
        .fields()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim_ascii().to_vec()))
        .collect();
    let theirs: Vec<_> = other
        .headers
        .iter()
        .map(|field| {
            (
                field.name.to_ascii_lowercase(),
                field.value.trim_ascii().to_vec(),
            )
        })
        .collect();
    assert_eq!(ours, theirs);
    assert_eq!(ours.iter().filter(|(name, _)| name == "host").count(), 1);

    // It means the same however it came: no shorter piece was refused, and none was taken for whole.
    let mut again = Vec::new();
    for cut in 0..length {
        assert_eq!(
            parse(&data[..cut], &limits, &mut again),
            Parse::Partial,
            "cut at {cut}"
        );
    }
});
