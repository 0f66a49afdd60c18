//! RFC 9111 as pure functions. No I/O, no clock, no Pingora: time and headers are parameters,
//! decisions are values.
//!
//! In the order in which a request meets them:
//! 1. [`key`], [`query`] and [`cookies`] name the resource; [`vary`] and [`encoding`] select a
//!    variant of it.
//! 2. [`freshness`] says whether a stored response may answer, [`directives`] what the client wants
//!    of it, [`policy`] what the site does.
//! 3. [`conditional`] and [`range`] (with [`validators`], [`multipart`] and [`partial`]) shape the
//!    answer: 200, 206, 304, 412 or 416.
//! 4. On a miss, [`conditional`] prepares the request to the origin, and [`fields`] what goes over
//!    no further hop.
//! 5. [`control`] reads what the origin's response says ([`date`], [`targeted`], [`surrogate`]), [`storability`]
//!    decides, [`meta`] and [`tags`] are stored with it.
//! 6. [`update`] applies a 304 or a HEAD, [`invalidate`] what an unsafe method did.
//! 7. [`cache_status`] and [`proxy_status`] tell the client.
//!
//! Beneath them: [`time`], [`list`], [`status`].

pub mod cache_status;
pub mod conditional;
pub mod control;
pub mod cookies;
pub mod date;
pub mod directives;
pub mod encoding;
pub mod fields;
pub mod freshness;
pub mod invalidate;
pub mod key;
pub mod list;
pub mod meta;
pub mod multipart;
pub mod partial;
pub mod policy;
pub mod proxy_status;
pub mod query;
pub mod range;
mod sf;
pub mod status;
pub mod storability;
pub mod surrogate;
pub mod tags;
pub mod targeted;
pub mod time;
pub mod update;
pub mod validators;
pub mod vary;
