//! A site's settings in the forms that the cache's decisions take.

use anypop_cache::{
    encoding::Coding,
    policy::{Heuristic, Policy, SetCookie, StatusTtl},
    query::{QueryMode, QueryRules},
};
use anypop_config::{
    Site,
    site::{self as config, QueryRule},
};
use http::{Method, StatusCode};

/// What of a query counts.
pub(crate) fn query(rule: &QueryRule) -> QueryRules {
    let names = || rule.names.iter().map(|name| name.to_string()).collect();
    QueryRules {
        mode: match rule.mode {
            config::QueryMode::All => QueryMode::All,
            config::QueryMode::Allow => QueryMode::Allow(names()),
            config::QueryMode::Deny => QueryMode::Deny(names()),
            config::QueryMode::None => QueryMode::None,
        },
        sort: rule.sort,
    }
}

/// The content codings a site tells apart, best first.
pub(crate) fn codings(site: &Site) -> impl Iterator<Item = Coding> {
    site.cache
        .accept_encoding
        .iter()
        .map(|coding| match coding {
            config::Coding::Br => Coding::Br,
            config::Coding::Gzip => Coding::Gzip,
            config::Coding::Zstd => Coding::Zstd,
            config::Coding::Deflate => Coding::Deflate,
        })
}

/// What counts once the origin has answered a request for `path` with `status`.
pub(crate) fn response_policy(
    site: &Site,
    path: &str,
    method: &Method,
    status: StatusCode,
) -> Policy {
    let settings = site.settings(path, method, Some(status));
    // No rule can make what is stripped depend on the status: the request is long gone.
    let strip_cookies = site.settings(path, method, None).strip_cookies;
    let cache = &site.cache;
    Policy {
        ttl: settings.ttl,
        max_ttl: Some(cache.max_ttl),
        status_ttls: cache
            .negative
            .iter()
            .map(|(status, ttl)| StatusTtl {
                first: status,
                last: status,
                ttl,
            })
            .collect(),
        default_ttl: (!cache.default_ttl.is_zero()).then_some(cache.default_ttl),
        heuristic: cache.heuristic.then(|| Heuristic {
            cap: cache.heuristic_max,
            ..Heuristic::default()
        }),
        ignore_client: !cache.client_directives,
        set_cookie: match cache.store_set_cookie {
            _ if strip_cookies => SetCookie::Strip,
            config::SetCookie::Refuse => SetCookie::Refuse,
            config::SetCookie::Drop => SetCookie::Strip,
            config::SetCookie::Keep => SetCookie::Store,
        },
        stale_while_revalidate: settings.stale_while_revalidate,
        stale_if_error: settings.stale_if_error,
        ..Policy::default()
    }
}
