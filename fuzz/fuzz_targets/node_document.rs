//! A node's document, as TOML and as JSON: never a panic, and what is wrong is always said.
#![no_main]

use std::path::Path;

use anypop_config::Node;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let base = Path::new("/nonexistent");
    for result in [
        Node::from_toml(text, Path::new("node.toml"), base),
        Node::from_json(text, base),
    ] {
        if let Err(wrong) = result {
            assert!(!wrong.is_empty());
            for diagnostic in wrong {
                assert!(!diagnostic.to_string().is_empty());
            }
        }
    }
});
