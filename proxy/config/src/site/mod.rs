//! A site's sections, and the [`Site`] made of them.

mod cache;
mod guards;
mod origin;
mod rule;
mod tls;

use std::{path::Path, sync::Arc, time::Duration};

use http::{HeaderName, Method, StatusCode};

pub use cache::{CachePolicy, Coding, QueryMode, QueryRule, SetCookie};
pub use guards::{Acl, HeaderEdits, Headers, Rate, SiteLimits};
pub use origin::{Balance, ForwardedStyle, Origin, OriginHttp2, OriginSection, Server};
pub use rule::Rule;
pub use tls::{ClientAuth, Hsts, SiteTls, SiteTlsSection};

use crate::{
    check::{Checker, check_site},
    diagnostic::Diagnostic,
    intern::Interner,
    node::Node,
    value::{ByteSize, CookieName, HostPattern, MethodSet, SiteId},
};

/// A site's document, checked: every path is absolute, every file that it names could be read.
///
/// Parts that many sites have in common are shared between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// The site's name.
    pub id: SiteId,
    /// The hosts that it answers for. Never empty.
    pub hostnames: Box<[HostPattern]>,
    /// The methods that clients may use.
    pub methods: MethodSet,
    /// TLS towards clients; none without a certificate.
    pub tls: Option<Arc<SiteTls>>,
    /// Where its content comes from.
    pub origin: Arc<Origin>,
    /// What is kept, and for how long.
    pub cache: Arc<CachePolicy>,
    /// What is different for some paths, methods or statuses; the first that fits applies.
    pub rules: Arc<[Rule]>,
    /// What its clients may ask.
    pub limits: SiteLimits,
    /// Which clients may ask.
    pub acl: Arc<Acl>,
    /// Which header fields are changed on the way.
    pub headers: Arc<Headers>,
    /// The file that it was read from, if it was.
    pub source: Option<Arc<Path>>,
}

impl Site {
    /// Checks a site's document in TOML whose relative paths start at `base`.
    ///
    /// # Errors
    /// With everything that is wrong, in the order of the text. `file` is only named there.
    pub fn from_toml(text: &str, file: &Path, base: &Path) -> Result<Self, Vec<Diagnostic>> {
        Self::checked(Checker::toml(file, text, base))
    }

    /// The same for a document in JSON; what is wrong is named by JSON Pointers.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn from_json(text: &str, base: &Path) -> Result<Self, Vec<Diagnostic>> {
        Self::checked(Checker::json(text, base))
    }

    fn checked(mut checker: Checker<'_>) -> Result<Self, Vec<Diagnostic>> {
        let site = check_site(&mut checker, &mut Interner::default(), None);
        checker.sort();
        match site {
            Some(site) if !checker.failed() => Ok(site),
            _ => Err(checker.diagnostics),
        }
    }

    /// The first rule that fits. Before there is a response, give no status: rules that ask for one are then passed over.
    pub fn rule_for(
        &self,
        path: &str,
        method: &Method,
        status: Option<StatusCode>,
    ) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|rule| rule.matches(path, method, status))
    }

    /// The largest object that is kept for this site on this node.
    pub fn max_object(&self, node: &Node) -> ByteSize {
        let own = self.cache.max_object.unwrap_or(node.cache.max_object);
        own.min(node.cache.max_object)
    }

    /// What holds for a request, or for its response once there is a status: the site's settings with those of the first rule that fits in their place.
    ///
    /// What decides about the cache key (`query`, `key_headers`, `key_cookies`, `strip_cookies`) must be taken before there is a status; no rule can make it depend on one.
    pub fn settings(
        &self,
        path: &str,
        method: &Method,
        status: Option<StatusCode>,
    ) -> Settings<'_> {
        let cache = &*self.cache;
        let rule = self.rule_for(path, method, status);
        let of = |setting: fn(&Rule) -> Option<Duration>| rule.and_then(setting);
        Settings {
            bypass: !cache.enabled || rule.is_some_and(|rule| rule.bypass),
            ttl: of(|rule| rule.ttl),
            browser_ttl: of(|rule| rule.browser_ttl).or(cache.browser_ttl),
            query: rule
                .and_then(|rule| rule.query.as_ref())
                .unwrap_or(&cache.query),
            key_headers: rule
                .and_then(|rule| rule.key_headers.as_deref())
                .unwrap_or(&cache.key_headers),
            key_cookies: rule
                .and_then(|rule| rule.key_cookies.as_deref())
                .unwrap_or(&cache.key_cookies),
            strip_cookies: rule
                .and_then(|rule| rule.strip_cookies)
                .unwrap_or(cache.strip_cookies),
            stale_while_revalidate: of(|rule| rule.stale_while_revalidate)
                .unwrap_or(cache.stale_while_revalidate),
            stale_if_error: of(|rule| rule.stale_if_error).unwrap_or(cache.stale_if_error),
        }
    }
}

/// What a site and its rules say about one request or response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings<'a> {
    /// Whether the cache stays out of the way.
    pub bypass: bool,
    /// How long the response is fresh whatever the origin says, if a rule says so.
    pub ttl: Option<Duration>,
    /// The `max-age` that clients see; the origin's if none.
    pub browser_ttl: Option<Duration>,
    /// Which query parameters tell responses apart.
    pub query: &'a QueryRule,
    /// Which request header fields do.
    pub key_headers: &'a [HeaderName],
    /// Which cookies do.
    pub key_cookies: &'a [CookieName],
    /// Whether cookies stay out of cacheable requests.
    pub strip_cookies: bool,
    /// How long a stale response may be served while it is fetched anew, where the origin says nothing.
    pub stale_while_revalidate: Duration,
    /// How long a stale response may be served when the origin fails, where it says nothing.
    pub stale_if_error: Duration,
}
