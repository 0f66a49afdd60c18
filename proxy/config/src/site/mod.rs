//! A site's sections, and the [`Site`] made of them.

mod cache;
mod guards;
mod origin;
mod rule;
mod tls;

use std::{path::Path, sync::Arc};

use http::{Method, StatusCode};

pub use cache::{CachePolicy, Coding, QueryMode, QueryRule, SetCookie};
pub use guards::{Acl, HeaderEdits, Headers, Rate, SiteLimits};
pub use origin::{Balance, ForwardedStyle, Origin, OriginHttp2, OriginSection, Server};
pub use rule::Rule;
pub use tls::{ClientAuth, Hsts, SiteTls, SiteTlsSection};

use crate::value::{HostPattern, MethodSet, SiteId};

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
}
