//! The sites' certificates by name, replaceable while handshakes go on.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::{Certificates, Selected, TicketKeys, provider};

/// The least TLS version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

/// Whether clients of a site show a certificate.
#[derive(Clone, Debug, Default)]
pub enum ClientAuth {
    /// None is asked for.
    #[default]
    None,
    /// One is asked for; who has none is served too, who has one that does not verify is not.
    Optional(Arc<RootCertStore>),
    /// Without a certificate of these CAs there is no handshake.
    Required(Arc<RootCertStore>),
}

/// One site's part of the store.
#[derive(Clone, Debug)]
pub struct SiteTls {
    /// The site's id.
    pub site: Arc<str>,
    /// Its names: "www.shop.example", "*.shop.example" (one label), or "*" (any name, and none).
    pub names: Vec<String>,
    /// Certificate and key.
    pub key: Arc<CertifiedKey>,
    /// Whether its clients show certificates.
    pub client_auth: ClientAuth,
}

/// Why sites cannot be put into the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Two sites have the same name.
    #[error("sites {first:?} and {second:?} both have the name {name:?}")]
    Twice {
        /// The name.
        name: String,
        /// The site that had it.
        first: Arc<str>,
        /// The site that wanted it.
        second: Arc<str>,
    },
    /// The default site is not among the sites.
    #[error("the default site {0:?} has no certificate")]
    NoDefault(Arc<str>),
    /// rustls does not take the settings.
    #[error("site {site:?}: {detail}")]
    Rustls {
        /// The site, or "" for all of them.
        site: Arc<str>,
        /// What rustls says.
        detail: String,
    },
}

/// All sites' certificates. [`replace`](Self::replace) swaps them at once: a handshake sees the old ones or the new ones.
pub struct CertificateStore {
    table: Arc<ArcSwap<Table>>,
    versions: &'static [&'static SupportedProtocolVersion],
    /// For all sites that ask for no client certificates, with and without "h2".
    shared: [Arc<ServerConfig>; 2],
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateStore")
            .field("sites", &self.table.load().entries.len())
            .finish_non_exhaustive()
    }
}

impl CertificateStore {
    /// An empty store. Without `tickets` no session is resumed.
    ///
    /// # Errors
    /// When rustls does not take the versions.
    pub fn new(
        min_version: MinVersion,
        tickets: Option<Arc<TicketKeys>>,
    ) -> Result<Self, StoreError> {
        static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
        static NEWEST: [&SupportedProtocolVersion; 1] = [&version::TLS13];
        let versions: &'static [&'static SupportedProtocolVersion] = match min_version {
            MinVersion::Tls12 => &BOTH,
            MinVersion::Tls13 => &NEWEST,
        };
        let table = Arc::new(ArcSwap::from_pointee(Table::default()));
        let resolver = Arc::new(Resolver(Arc::clone(&table)));
        let shared = |http2| {
            config(
                versions,
                None,
                Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>,
                tickets.clone(),
                http2,
            )
            .map_err(|detail| StoreError::Rustls {
                site: "".into(),
                detail,
            })
        };
        Ok(Self {
            versions,
            shared: [shared(false)?, shared(true)?],
            table,
        })
    }

    /// Replaces all sites. `default` serves clients that send no name.
    ///
    /// # Errors
    /// When two sites have the same name, the default is missing, or a CA list is empty; the store is as before then.
    pub fn replace(&self, sites: Vec<SiteTls>, default: Option<&str>) -> Result<(), StoreError> {
        let mut table = Table::default();
        for site in sites {
            let index = table.entries.len();
            for name in &site.names {
                let name = name.to_ascii_lowercase();
                let taken = if name == "*" {
                    table.any.replace(index)
                } else if let Some(parent) = name.strip_prefix("*.") {
                    table.wildcard.insert(parent.into(), index)
                } else {
                    table.exact.insert(name.as_str().into(), index)
                };
                if let Some(first) = taken
                    .filter(|first| *first != index)
                    .and_then(|first| table.entries.get(first))
                {
                    return Err(StoreError::Twice {
                        name,
                        first: Arc::clone(&first.site),
                        second: site.site,
                    });
                }
            }
            if default == Some(&*site.site) {
                table.default = Some(index);
            }
            let configs = self.own_configs(&site)?;
            table.entries.push(Entry {
                site: site.site,
                key: site.key,
                configs,
            });
        }
        if let Some(default) = default
            && table.default.is_none()
        {
            return Err(StoreError::NoDefault(default.into()));
        }
        self.table.store(Arc::new(table));
        Ok(())
    }

    /// The configurations of a site that asks for client certificates. They resume no sessions: a resumed one would skip the
    /// verification, and a ticket from before the site asked for certificates would get in without one (CVE-2025-23419).
    fn own_configs(&self, site: &SiteTls) -> Result<Option<[Arc<ServerConfig>; 2]>, StoreError> {
        let failed = |detail: String| StoreError::Rustls {
            site: Arc::clone(&site.site),
            detail,
        };
        let builder = |roots: &Arc<RootCertStore>| {
            WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider())
        };
        let verifier = match &site.client_auth {
            ClientAuth::None => return Ok(None),
            ClientAuth::Optional(roots) => builder(roots).allow_unauthenticated().build(),
            ClientAuth::Required(roots) => builder(roots).build(),
        };
        let verifier = verifier.map_err(|error| failed(error.to_string()))?;
        let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&site.key)));
        let own = |http2| {
            config(
                self.versions,
                Some(Arc::clone(&verifier)),
                Arc::clone(&resolver) as _,
                None,
                http2,
            )
            .map_err(failed)
        };
        Ok(Some([own(false)?, own(true)?]))
    }
}

impl Certificates for CertificateStore {
    fn select(&self, server_name: Option<&str>, http2: bool) -> Option<Selected> {
        let table = self.table.load();
        let entry = table.find(server_name)?;
        let [without, with] = entry.configs.as_ref().unwrap_or(&self.shared);
        Some(Selected {
            config: Arc::clone(if http2 { with } else { without }),
            site: Arc::clone(&entry.site),
        })
    }
}

#[derive(Debug)]
struct Entry {
    site: Arc<str>,
    key: Arc<CertifiedKey>,
    configs: Option<[Arc<ServerConfig>; 2]>,
}

#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    exact: HashMap<Box<str>, usize>,
    /// By what follows "*.".
    wildcard: HashMap<Box<str>, usize>,
    any: Option<usize>,
    default: Option<usize>,
}

impl Table {
    /// Exact, then one label less under a wildcard, then the site for any name. Without a name: the default, or the site for any.
    fn find(&self, name: Option<&str>) -> Option<&Entry> {
        let index = match name {
            None => self.default.or(self.any),
            Some(name) => {
                let lower;
                let name = if name.bytes().any(|b| b.is_ascii_uppercase()) {
                    lower = name.to_ascii_lowercase();
                    lower.as_str()
                } else {
                    name
                };
                let exact = self.exact.get(name);
                let wildcard = || {
                    name.split_once('.')
                        .and_then(|(_, parent)| self.wildcard.get(parent))
                };
                exact.or_else(wildcard).copied().or(self.any)
            }
        };
        self.entries.get(index?)
    }
}

/// Looks the certificate up for the configurations that sites share.
#[derive(Debug)]
struct Resolver(Arc<ArcSwap<Table>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0
            .load()
            .find(hello.server_name())
            .map(|entry| Arc::clone(&entry.key))
    }
}

fn config(
    versions: &[&'static SupportedProtocolVersion],
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    resolver: Arc<dyn ResolvesServerCert>,
    tickets: Option<Arc<TicketKeys>>,
    http2: bool,
) -> Result<Arc<ServerConfig>, String> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?;
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = if http2 {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    } else {
        vec![b"http/1.1".to_vec()]
    };
    // Sessions live in tickets only: a cache in this process would be of no use on the PoP's next node.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match tickets {
        Some(tickets) => config.ticketer = tickets as Arc<dyn ProducesTickets>,
        None => config.send_tls13_tickets = 0,
    }
    Ok(Arc::new(config))
}
