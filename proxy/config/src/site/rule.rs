use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::QueryRule;
use crate::value::{CookieName, MethodSet, PathGlob, duration, header};

/// What is different for some paths, methods or statuses: `[[rules]]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// For which paths? `*` stands for any run of characters, also `/`.
    pub path: PathGlob,
    /// For which statuses of responses? All if not given.
    pub status: Option<Box<[u16]>>,
    /// For which methods? All if not given.
    pub methods: Option<MethodSet>,
    /// How long are responses fresh, whatever the origin says?
    #[serde(with = "duration::option")]
    #[schemars(with = "Option<duration::Text>")]
    pub ttl: Option<Duration>,
    /// Does the cache stay out of the way?
    pub bypass: bool,
    /// Which `max-age` do clients see?
    #[serde(with = "duration::option")]
    #[schemars(with = "Option<duration::Text>")]
    pub browser_ttl: Option<Duration>,
    /// Which query parameters tell responses apart?
    pub query: Option<QueryRule>,
    /// Which request header fields tell responses apart?
    #[serde(with = "header::names::option")]
    #[schemars(with = "Option<Vec<header::Name>>")]
    pub key_headers: Option<Box<[HeaderName]>>,
    /// Which cookies tell responses apart?
    pub key_cookies: Option<Box<[CookieName]>>,
    /// Do cookies stay out of cacheable requests?
    pub strip_cookies: Option<bool>,
    /// How long may a stale response be served while it is fetched anew, where the origin says nothing?
    #[serde(with = "duration::option")]
    #[schemars(with = "Option<duration::Text>")]
    pub stale_while_revalidate: Option<Duration>,
    /// How long may a stale response be served when the origin fails, where it says nothing?
    #[serde(with = "duration::option")]
    #[schemars(with = "Option<duration::Text>")]
    pub stale_if_error: Option<Duration>,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            path: PathGlob::any(),
            status: None,
            methods: None,
            ttl: None,
            bypass: false,
            browser_ttl: None,
            query: None,
            key_headers: None,
            key_cookies: None,
            strip_cookies: None,
            stale_while_revalidate: None,
            stale_if_error: None,
        }
    }
}

impl Rule {
    /// Whether the rule fits. A rule that asks for a status fits no request whose status isn't known yet.
    pub fn matches(&self, path: &str, method: &Method, status: Option<StatusCode>) -> bool {
        let status_fits = match &self.status {
            None => true,
            Some(wanted) => status.is_some_and(|status| wanted.contains(&status.as_u16())),
        };
        status_fits
            && self
                .methods
                .as_ref()
                .is_none_or(|methods| methods.contains(method))
            && self.path.matches(path)
    }
}
