//! The `Date` field's value, made once a second and thread.

use std::cell::RefCell;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;

/// IMF-fixdate has 29 characters (RFC 9110 §5.6.7).
const LEN: usize = 29;

thread_local! {
    static CACHED: RefCell<(u64, String)> = RefCell::new((u64::MAX, String::with_capacity(LEN)));
}

/// Appends the current time as an HTTP date.
pub fn append_date(out: &mut BytesMut) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    CACHED.with_borrow_mut(|(second, text)| {
        if *second != now {
            text.clear();
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "{}",
                httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(now))
            );
            *second = now;
        }
        out.extend_from_slice(text.as_bytes());
    });
}
