//! May this response be stored? (RFC 9111 §3)

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};

use crate::control::Control;
use crate::directives::RequestDirectives;
use crate::freshness::{Lifetime, Source};
use crate::policy::{Policy, SetCookie};
use crate::range::ContentRange;
use crate::status;
use crate::vary::Vary;

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storability {
    /// It may, provided that it arrives whole ([`crate::meta::BodyLength::accepts`]).
    Storable,
    /// It may not.
    NotStorable(Reason),
}

impl Storability {
    /// Whether it may.
    #[must_use]
    pub fn is_storable(self) -> bool {
        self == Self::Storable
    }
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// Only responses to GET are stored.
    #[error("method")]
    Method,
    /// 1xx is not final, 304 updates, 206 only if the policy says so and its `Content-Range` is
    /// sound.
    #[error("status")]
    Status,
    /// `must-understand` with a status that this cache does not understand.
    #[error("must-understand")]
    MustUnderstand,
    /// The response says `no-store`.
    #[error("no-store")]
    NoStore,
    /// The request says `no-store`.
    #[error("request-no-store")]
    RequestNoStore,
    /// The response is for one user.
    #[error("private")]
    Private,
    /// The request had `Authorization` and the response does not permit sharing (RFC 9111 §3.5).
    #[error("authorization")]
    Authorization,
    /// `Vary: *`, or a `Vary` that cannot be read.
    #[error("vary-star")]
    VaryStar,
    /// `Set-Cookie`, and the site does not store it.
    #[error("set-cookie")]
    SetCookie,
    /// Nobody said that it may be stored.
    #[error("no-freshness")]
    NoFreshness,
    /// It could be stored but never be used: stale at once, without a validator.
    #[error("never-reusable")]
    NeverReusable,
}

impl Reason {
    /// Whether it lies in this request alone: another client's may well be stored, and what is
    /// stored already may stay.
    #[must_use]
    pub fn is_about_request(self) -> bool {
        matches!(
            self,
            Self::Method | Self::RequestNoStore | Self::Authorization
        )
    }
}

/// One exchange with the origin.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's header as the client sent it: `Authorization` counts even if it is not
    /// forwarded.
    pub request: &'a HeaderMap,
    /// The response's status.
    pub status: StatusCode,
    /// The response's header before any field was removed.
    pub response: &'a HeaderMap,
    /// [`Control::read`] of that header.
    pub control: &'a Control,
    /// [`crate::freshness::lifetime`] of it.
    pub lifetime: &'a Lifetime,
}

/// Decides.
#[must_use]
pub fn decide(exchange: &Exchange<'_>, policy: &Policy) -> Storability {
    match refusal(exchange, policy) {
        Some(reason) => Storability::NotStorable(reason),
        None => Storability::Storable,
    }
}

fn refusal(exchange: &Exchange<'_>, policy: &Policy) -> Option<Reason> {
    let &Exchange {
        method,
        request,
        status,
        response,
        control,
        lifetime,
    } = exchange;
    let said = &control.directives;
    if method != Method::GET {
        return Some(Reason::Method);
    }
    if status.is_informational() || status == StatusCode::NOT_MODIFIED {
        return Some(Reason::Status);
    }
    if status == StatusCode::PARTIAL_CONTENT
        && !(policy.store_partial && ContentRange::part(response).is_some())
    {
        return Some(Reason::Status);
    }
    if !policy.ignore_client && RequestDirectives::parse(request).no_store {
        return Some(Reason::RequestNoStore);
    }
    if !policy.ignore_origin {
        // must-understand tells those who understand to pass over no-store (RFC 9111 §5.2.2.3).
        if said.must_understand && !status::is_understood(status) {
            return Some(Reason::MustUnderstand);
        }
        if said.no_store && !said.must_understand {
            return Some(Reason::NoStore);
        }
        if said.private.is_whole() {
            return Some(Reason::Private);
        }
    }
    if request.contains_key(header::AUTHORIZATION)
        && !(said.public || said.must_revalidate || said.s_maxage.is_some())
    {
        return Some(Reason::Authorization);
    }
    if Vary::parse(response) == Vary::Any {
        return Some(Reason::VaryStar);
    }
    if policy.set_cookie == SetCookie::Refuse && response.contains_key(header::SET_COOKIE) {
        return Some(Reason::SetCookie);
    }
    let permitted = lifetime.source != Source::None
        || (!policy.ignore_origin && said.public)
        || status::is_heuristically_cacheable(status);
    if !permitted {
        return Some(Reason::NoFreshness);
    }
    let has_validator = response.contains_key(header::ETAG) || control.last_modified.is_some();
    // Stale grants alone do not make a response worth keeping of which nobody ever said that it is
    // cacheable.
    let usable = !lifetime.no_cache
        && (lifetime.fresh_for > Duration::ZERO
            || (lifetime.source != Source::None
                && (lifetime.stale_if_error > Duration::ZERO
                    || lifetime.stale_while_revalidate > Duration::ZERO)));
    if !usable && !has_validator {
        return Some(Reason::NeverReusable);
    }
    None
}
