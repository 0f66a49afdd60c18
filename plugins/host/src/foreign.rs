//! Foreign functions of a CDN (`proxy_call_foreign_function`). Arguments are text unless said otherwise.
//!
//! | name | arguments | when |
//! |---|---|---|
//! | `anypop.set_cache_key` | up to 256 bytes that become part of the cache key | `phase = "client"`, until the request goes on |
//! | `anypop.set_ttl` | seconds, a whole number | until the response is stored: on the request, or in `phase = "origin"` |
//! | `anypop.add_tags` | tags separated by blanks, at most 64 of 128 bytes | as `set_ttl` |
//! | `anypop.purge` | `tag NAME`, `url URL`, `prefix URL` or `site`; before it optionally `soft ` | any time; own site only |

use std::time::Duration;

use bytes::Bytes;

use crate::{
    abi::{Direction, Status},
    exchange::Exchange,
    limits::Phase,
    services::{Purge, PurgeWhat},
};

/// Longest extra part of a cache key, in bytes.
pub const MAX_KEY: usize = 256;
/// Most tags of one response.
pub const MAX_TAGS: usize = 64;
/// Longest tag, in bytes.
pub const MAX_TAG: usize = 128;

pub(crate) fn set_cache_key(
    exchange: &mut Exchange,
    phase: Phase,
    arguments: &[u8],
) -> Result<(), Status> {
    if phase != Phase::Client
        || !exchange.head(Direction::Request).open
        || arguments.len() > MAX_KEY
    {
        return Err(Status::BadArgument);
    }
    exchange.wishes.key = Some(Bytes::copy_from_slice(arguments));
    Ok(())
}

pub(crate) fn set_ttl(
    exchange: &mut Exchange,
    phase: Phase,
    arguments: &[u8],
) -> Result<(), Status> {
    before_storing(exchange, phase)?;
    let text = std::str::from_utf8(arguments).map_err(|_| Status::BadArgument)?;
    let seconds: u32 = text.trim().parse().map_err(|_| Status::BadArgument)?;
    exchange.wishes.ttl = Some(Duration::from_secs(seconds.into()));
    Ok(())
}

pub(crate) fn add_tags(
    exchange: &mut Exchange,
    phase: Phase,
    arguments: &[u8],
) -> Result<(), Status> {
    before_storing(exchange, phase)?;
    let text = std::str::from_utf8(arguments).map_err(|_| Status::BadArgument)?;
    let tags: Vec<&str> = text.split_ascii_whitespace().collect();
    if exchange.wishes.tags.len() + tags.len() > MAX_TAGS || !tags.iter().all(|tag| is_tag(tag)) {
        return Err(Status::BadArgument);
    }
    exchange
        .wishes
        .tags
        .extend(tags.into_iter().map(str::to_owned));
    Ok(())
}

/// Reads the argument of `anypop.purge`.
///
/// # Errors
/// [`Status::BadArgument`] when it is none of the forms above.
pub fn parse_purge(arguments: &[u8]) -> Result<Purge, Status> {
    let text = std::str::from_utf8(arguments)
        .map_err(|_| Status::BadArgument)?
        .trim();
    let (soft, text) = text
        .strip_prefix("soft ")
        .map_or((false, text), |text| (true, text.trim_start()));
    let what = match text.split_once(' ').map(|(kind, of)| (kind, of.trim())) {
        Some(("tag", tag)) if is_tag(tag) => PurgeWhat::Tag(tag.to_owned()),
        Some(("url", url)) if is_url(url) => PurgeWhat::Url(url.to_owned()),
        Some(("prefix", url)) if is_url(url) => PurgeWhat::Prefix(url.to_owned()),
        None if text == "site" => PurgeWhat::Site,
        _ => return Err(Status::BadArgument),
    };
    Ok(Purge { what, soft })
}

fn before_storing(exchange: &Exchange, phase: Phase) -> Result<(), Status> {
    let open = exchange.head(Direction::Request).open
        || (phase == Phase::Origin
            && (exchange.head(Direction::Response).open
                || exchange.head(Direction::Response).fields.is_none()));
    if open {
        Ok(())
    } else {
        Err(Status::BadArgument)
    }
}

fn is_tag(tag: &str) -> bool {
    !tag.is_empty() && tag.len() <= MAX_TAG && tag.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_url(url: &str) -> bool {
    !url.is_empty() && url.len() <= 8192 && url.bytes().all(|byte| byte.is_ascii_graphic())
}
