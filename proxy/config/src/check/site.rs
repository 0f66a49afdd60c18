use std::{path::Path, sync::Arc};

use http::{HeaderName, header};

use super::{Checker, origin::check_origin, rules::check_rules};
use crate::{
    document::SiteDocument,
    intern::Interner,
    key::Key,
    site::{
        CachePolicy, ClientAuth, HeaderEdits, QueryMode, QueryRule, Server, Site, SiteLimits,
        SiteTls, SiteTlsSection,
    },
    value::{HostPattern, ServerUrl, SiteId},
};

/// Checks a site's document; what is wrong is noted in the checker. None where it is so wrong that there is no site.
pub(crate) fn check_site(
    checker: &mut Checker<'_>,
    interner: &mut Interner,
    source: Option<&Path>,
) -> Option<Site> {
    let document: SiteDocument = checker.read();
    if document.id.is_none() {
        checker.error(
            &Key::of("id"),
            "is missing: give the site a name of a-z, 0-9 and \"-\"",
        );
    }
    if document.hostnames.is_empty() {
        checker.error(
            &Key::of("hostnames"),
            "is missing: name the hosts that the site answers for, such as [\"www.shop.example\"]",
        );
    }
    checker.no_repeats(&Key::of("hostnames"), &document.hostnames);
    if document.methods.is_empty() {
        checker.error(&Key::of("methods"), "is empty: no request could be served");
    }
    if !document.plugins.is_empty() {
        checker.error(&Key::of("plugins"), "plugins are not part of this version");
    }
    let tls = check_tls(checker, document.tls);
    let origin = check_origin(checker, document.origin);
    check_cache(checker, &document.cache);
    check_rules(checker, &document.rules, &document.cache);
    check_limits(checker, &document.limits);
    check_edits(
        checker,
        &Key::of("headers.request"),
        &document.headers.request,
    );
    check_edits(
        checker,
        &Key::of("headers.response"),
        &document.headers.response,
    );

    let id: SiteId = document.id?;
    Some(Site {
        id,
        hostnames: document.hostnames.into(),
        methods: document.methods,
        tls: tls.map(Arc::new),
        origin: Arc::new(origin),
        cache: interner.cache(document.cache),
        rules: interner.rules(document.rules),
        limits: document.limits,
        acl: interner.acl(document.acl),
        headers: interner.headers(document.headers),
        source: source.map(Arc::from),
    })
}

fn check_tls(checker: &mut Checker<'_>, tls: SiteTlsSection) -> Option<SiteTls> {
    let at = |name: &str| Key::of("tls").key(name);
    match (&tls.certificate, &tls.key) {
        (Some(_), None) => checker.error(
            &at("key"),
            "is missing: tls.certificate needs its private key",
        ),
        (None, Some(_)) => checker.error(
            &at("certificate"),
            "is missing: tls.key needs its certificate",
        ),
        (None, None) => {
            let idle = [
                ("redirect_http", tls.redirect_http),
                ("hsts", tls.hsts.is_some()),
                ("client_ca", tls.client_ca.is_some()),
                ("client_auth", tls.client_auth != ClientAuth::None),
            ];
            for (name, given) in idle {
                if given {
                    checker.error(&at(name), "needs TLS: give tls.certificate and tls.key");
                }
            }
        }
        (Some(_), Some(_)) => {}
    }
    if tls.client_auth != ClientAuth::None && tls.client_ca.is_none() {
        checker.error(
            &at("client_ca"),
            "is missing: tls.client_auth needs authorities to verify clients' certificates against",
        );
    }
    if tls.client_auth == ClientAuth::None && tls.client_ca.is_some() {
        checker.error(
            &at("client_ca"),
            "does nothing while tls.client_auth is \"none\"",
        );
    }
    if let Some(hsts) = &tls.hsts
        && hsts.preload
        && !(hsts.include_subdomains && hsts.max_age.as_secs() >= 365 * 86_400)
    {
        checker.error(&at("hsts").key("preload"), "needs include_subdomains = true and a max_age of at least \"365d\", or browsers won't take the name");
    }
    let certificate = checker.readable_option(&at("certificate"), tls.certificate.as_ref());
    let key = checker.readable_option(&at("key"), tls.key.as_ref());
    let client_ca = checker.readable_option(&at("client_ca"), tls.client_ca.as_ref());
    Some(SiteTls {
        certificate: certificate?,
        key: key?,
        redirect_http: tls.redirect_http,
        hsts: tls.hsts,
        client_ca,
        client_auth: tls.client_auth,
    })
}

fn check_cache(checker: &mut Checker<'_>, cache: &CachePolicy) {
    let at = |name: &str| Key::of("cache").key(name);
    check_query(checker, &at("query"), &cache.query);
    if cache.vary_limit == 0 {
        checker.error(&at("vary_limit"), "must be at least 1");
    }
    if cache.max_object.is_some_and(|size| size.bytes() == 0) {
        checker.error(
            &at("max_object"),
            "must be more than 0; to keep nothing, write enabled = false",
        );
    }
    if cache.default_ttl > cache.max_ttl {
        checker.error(&at("default_ttl"), "is more than cache.max_ttl");
    }
    checker.no_repeats(&at("accept_encoding"), &cache.accept_encoding);
    checker.no_repeats(&at("key_headers"), &cache.key_headers);
    checker.no_repeats(&at("key_cookies"), &cache.key_cookies);
    if cache.strip_cookies && !cache.key_cookies.is_empty() {
        checker.error(&at("strip_cookies"), "contradicts cache.key_cookies: the origin would not see the cookies that tell responses apart");
    }
}

/// A query rule, of a site or of one of its rules.
pub(super) fn check_query(checker: &mut Checker<'_>, key: &Key, query: &QueryRule) {
    let names = key.key("names");
    match query.mode {
        QueryMode::All | QueryMode::None if !query.names.is_empty() => {
            checker.error(&names, "does nothing unless mode is \"allow\" or \"deny\"");
        }
        QueryMode::Allow | QueryMode::Deny if query.names.is_empty() => {
            checker.error(&names, "is missing: name the parameters that are meant");
        }
        _ => {}
    }
    if query.mode == QueryMode::None && query.sort {
        checker.error(&key.key("sort"), "does nothing while mode is \"none\"");
    }
    let numbers = checker.remaining(&names);
    for (name, at) in query.names.iter().zip(numbers) {
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"&=#".contains(&byte))
        {
            checker.error(&names.index(at), "is no parameter name as it stands in URLs: write it percent-encoded, without \"&\", \"=\" and \"#\"");
        }
    }
    checker.no_repeats(&names, &query.names);
}

fn check_limits(checker: &mut Checker<'_>, limits: &SiteLimits) {
    if limits.burst != 0 && limits.requests_per_second == 0 {
        checker.error(
            &Key::of("limits.burst"),
            "does nothing without limits.requests_per_second",
        );
    }
}

/// Fields that belong to one connection or frame its messages (RFC 9110 §7.6.1, RFC 9112 §6): setting or removing them would give a message two meanings.
const FRAMING: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::TE,
    header::UPGRADE,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

fn check_edits(checker: &mut Checker<'_>, key: &Key, edits: &HeaderEdits) {
    let (set, remove) = (key.key("set"), key.key("remove"));
    let given = edits
        .set
        .iter()
        .map(|(name, _)| (set.key(name.as_str()), name));
    let taken = edits
        .remove
        .iter()
        .zip(checker.remaining(&remove))
        .map(|(name, at)| (remove.index(at), name));
    let all: Vec<(Key, &HeaderName)> = given.chain(taken).collect();
    for (place, name) in all {
        if FRAMING.contains(name) {
            checker.error(
                &place,
                format!("\"{name}\" frames messages, and is this proxy's own"),
            );
        } else if *name == header::HOST {
            checker.error(&place, "\"host\" is set by origin.host");
        }
    }
    let numbers = checker.remaining(&remove);
    for (name, at) in edits.remove.iter().zip(numbers) {
        if edits.set.iter().any(|(set, _)| set == name) {
            checker.error(
                &remove.index(at),
                format!("\"{name}\" is set as well, which removes what was there"),
            );
        }
    }
    checker.no_repeats(&remove, &edits.remove);
}

/// The site of `serve --origin`: any host, one origin, and the defaults.
pub(crate) fn single_origin_site(server: ServerUrl) -> Site {
    let mut interner = Interner::default();
    let document = SiteDocument::default();
    let mut section = document.origin;
    section.servers = vec![Server {
        url: server,
        weight: 1,
    }];
    let origin = section.into_origin(None, None);
    Site {
        id: SiteId::default_site(),
        hostnames: [HostPattern::Any].into(),
        methods: document.methods,
        tls: None,
        origin: Arc::new(origin),
        cache: interner.cache(document.cache),
        rules: interner.rules(document.rules),
        limits: document.limits,
        acl: interner.acl(document.acl),
        headers: interner.headers(document.headers),
        source: None,
    }
}
