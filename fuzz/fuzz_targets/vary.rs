//! `Vary`, and the key of a variant (RFC 9111 §4.1): fields of a response, an empty line, fields of a request.
#![no_main]

use anypop_cache::{
    encoding::{AcceptEncoding, Coding},
    vary::{Normalise, Vary, VaryKey},
};
use anypop_fuzz::{field_lines, fields};
use http::header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let cut = data
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .unwrap_or(data.len());
    let (response, request) = data.split_at(cut);
    let request = fields(request);
    let normal = AcceptEncoding::normalise(&request, &[Coding::Br, Coding::Gzip]);
    // What goes to the origin means to it what it means to us.
    let mut again = http::HeaderMap::new();
    again.insert(header::ACCEPT_ENCODING, normal.header_value());
    assert_eq!(
        AcceptEncoding::normalise(&again, &[Coding::Br, Coding::Gzip]).as_str(),
        normal.as_str()
    );

    if let Vary::Fields(names) = Vary::parse(&field_lines(&header::VARY, response)) {
        let rules = Normalise {
            accept_encoding: Some(normal),
            ignore_language_order: true,
        };
        assert_eq!(
            VaryKey::new(&names, &request, &rules),
            VaryKey::new(&names, &request.clone(), &rules)
        );
    }
});
