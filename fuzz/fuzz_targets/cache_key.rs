//! The key: what two requests share, and reading a stored one back.
#![no_main]

use anypop_cache::{
    cookies,
    key::{CacheKey, Scheme},
    query::{QueryMode, QueryRules},
};
use anypop_fuzz::field_lines;
use http::header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(key) = CacheKey::try_from(data) {
        assert_eq!(key.encoding(), data);
    }
    let _ = cookies::value(&field_lines(&header::COOKIE, data), "session");
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (path, query) = text
        .split_once('?')
        .map_or((text, None), |(path, query)| (path, Some(query)));
    let key = CacheKey::builder("site", Scheme::Https, "host.example")
        .target(path, query)
        .build();
    assert_eq!((key.path(), key.query()), (path, query));
    assert_eq!(CacheKey::try_from(key.encoding()).ok().as_ref(), Some(&key));
    for mode in [
        QueryMode::Allow(vec!["v".into()]),
        QueryMode::Deny(vec!["utm".into()]),
        QueryMode::All,
    ] {
        let rules = QueryRules { mode, sort: true };
        let once = rules.apply(query);
        // Rules are idempotent: an edge behind an edge changes nothing.
        assert_eq!(rules.apply(once.as_deref()), once);
    }
});
