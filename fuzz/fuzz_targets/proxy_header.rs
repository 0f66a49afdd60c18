//! PROXY protocol headers, both versions.
#![no_main]

use anypop_listen::{ProxyHeader, parse_proxy_header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match parse_proxy_header(data) {
        ProxyHeader::Complete { len, addresses } => {
            assert!(len <= data.len());
            assert_eq!(
                parse_proxy_header(&data[..len]),
                ProxyHeader::Complete { len, addresses }
            );
            for cut in 0..len {
                assert_eq!(
                    parse_proxy_header(&data[..cut]),
                    ProxyHeader::Partial,
                    "cut at {cut}"
                );
            }
        }
        ProxyHeader::Partial => assert!(data.len() < 5000, "no header is that long"),
        ProxyHeader::Malformed(reason) => assert!(!reason.is_empty()),
    }
});
