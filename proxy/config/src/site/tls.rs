use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::duration;

/// TLS towards a site's clients as the document has it: `[tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SiteTlsSection {
    /// Which PEM file holds the certificate, and the chain behind it?
    pub certificate: Option<PathBuf>,
    /// Which PEM file holds its private key?
    pub key: Option<PathBuf>,
    /// Are requests by plain HTTP sent to https: 301 for GET and HEAD, 308 for others?
    pub redirect_http: bool,
    /// Which `Strict-Transport-Security` (RFC 6797) do responses by TLS carry? None if not given.
    pub hsts: Option<Hsts>,
    /// Which PEM file holds the authorities that clients' certificates are verified against?
    pub client_ca: Option<PathBuf>,
    /// Must clients show a certificate: `none`, `optional` or `required`?
    pub client_auth: ClientAuth,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They are asked, and verified if they show one.
    Optional,
    /// Without one the handshake fails.
    Required,
}

/// `Strict-Transport-Security` (RFC 6797 §6.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hsts {
    /// For how long do browsers use https only? Required.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub max_age: Duration,
    /// Also for every name below this one?
    #[serde(default)]
    pub include_subdomains: bool,
    /// May browsers build the name into their list? They want a year and `include_subdomains` for that.
    #[serde(default)]
    pub preload: bool,
}

impl Hsts {
    /// The field's value.
    pub fn field_value(&self) -> String {
        let subdomains = if self.include_subdomains {
            "; includeSubDomains"
        } else {
            ""
        };
        let preload = if self.preload { "; preload" } else { "" };
        format!("max-age={}{subdomains}{preload}", self.max_age.as_secs())
    }
}

/// TLS towards a site's clients, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteTls {
    /// The certificate's PEM file. Absolute.
    pub certificate: PathBuf,
    /// The private key's PEM file. Absolute.
    pub key: PathBuf,
    /// Whether plain HTTP is sent to https.
    pub redirect_http: bool,
    /// What responses by TLS carry.
    pub hsts: Option<Hsts>,
    /// The authorities' PEM file. Absolute; there is one exactly when clients are asked for certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
}
