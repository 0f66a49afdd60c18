//! What may stand in a node's and in a site's document. Every key that is not here is an error.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    node::{
        Admin, Listen, Log, NodeCache, NodeOrigin, NodeSection, NodeTls, ProxyLimits, Sites,
        StatusStream, Tracing,
    },
    site::{Acl, CachePolicy, Headers, OriginSection, Rule, SiteLimits, SiteTlsSection},
    value::{HostPattern, MethodSet, SiteId},
};

/// A node's document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["listen"]))]
pub struct NodeDocument {
    /// Who is this node?
    pub node: NodeSection,
    /// Where does it listen for clients? At least one is needed.
    #[schemars(length(min = 1))]
    pub listen: Vec<Listen>,
    /// How much may clients ask of it?
    pub limits: ProxyLimits,
    /// How does it speak TLS with clients? Certificates come from the sites.
    pub tls: NodeTls,
    /// Where does it take orders?
    pub admin: Admin,
    /// Where does it tell how it is?
    pub status: StatusStream,
    /// Where does it keep responses?
    pub cache: NodeCache,
    /// How does it reach origins?
    pub origin: NodeOrigin,
    /// What does it write down?
    pub log: Log,
    /// Where does it send traces?
    pub tracing: Tracing,
    /// Where are its sites' documents?
    pub sites: Sites,
}

/// A site's document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id", "hostnames", "origin"]))]
pub struct SiteDocument {
    /// What is the site called? Required, and no two sites may have the same.
    pub id: Option<SiteId>,
    /// Which hosts does it answer for? Required: names, `*.` and a name for everything below it, or `*` for every host that no other site has.
    #[schemars(length(min = 1))]
    pub hostnames: Vec<HostPattern>,
    /// Which methods may clients use? Others get 405.
    pub methods: MethodSet,
    /// How does it speak TLS with clients?
    pub tls: SiteTlsSection,
    /// Where does its content come from? Required.
    pub origin: OriginSection,
    /// What is kept, and for how long?
    pub cache: CachePolicy,
    /// What is different for some paths, methods or statuses? The first rule that fits applies.
    pub rules: Vec<Rule>,
    /// Which plugins see its requests? Not part of this version: any entry is refused.
    #[schemars(length(max = 0))]
    pub plugins: Vec<serde_json::Value>,
    /// How much may its clients ask?
    pub limits: SiteLimits,
    /// Which clients may ask?
    pub acl: Acl,
    /// Which header fields are changed on the way?
    pub headers: Headers,
}

impl Default for SiteDocument {
    fn default() -> Self {
        Self {
            id: None,
            hostnames: Vec::new(),
            methods: MethodSet::usual(),
            tls: SiteTlsSection::default(),
            origin: OriginSection::default(),
            cache: CachePolicy::default(),
            rules: Vec::new(),
            plugins: Vec::new(),
            limits: SiteLimits::default(),
            acl: Acl::default(),
            headers: Headers::default(),
        }
    }
}
