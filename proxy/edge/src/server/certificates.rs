//! The sites' certificates and the session ticket keys, from the files that the documents name.

use std::{sync::Arc, time::Instant};

use anypop_config::{Node, Site, Snapshot, node::TlsVersion, site::ClientAuth as Wanted};
use anypop_listen::tls::{
    CertificateStore, ClientAuth, MinVersion, SiteTls, TicketKeys, load_certified_key, load_roots,
};

use crate::settings::Unusable;

/// A store, and the keys that its tickets are sealed with, unless tickets are off.
type Loaded = (Arc<CertificateStore>, Option<Arc<TicketKeys>>);

/// The store, filled, and the keys that its tickets are sealed with.
///
/// # Errors
/// When a file cannot be read or used, or a key does not belong to its certificate: one for each.
pub(super) fn load(snapshot: &Snapshot) -> Result<Loaded, Vec<Unusable>> {
    let (store, tickets) = empty(&snapshot.node).map_err(|error| vec![error])?;
    fill(&store, snapshot)?;
    Ok((store, tickets))
}

fn empty(node: &Node) -> Result<Loaded, Unusable> {
    let unusable = |error: &dyn std::fmt::Display| Unusable::new("tls", error);
    let tickets = match &node.tls.ticket_keys {
        _ if !node.tls.tickets => None,
        Some(path) => Some(TicketKeys::from_file(path).map_err(|error| unusable(&error))?),
        None => Some(TicketKeys::random(Instant::now()).map_err(|error| unusable(&error))?),
    };
    let tickets = tickets.map(Arc::new);
    let least = match node.tls.min_version {
        TlsVersion::V1_2 => MinVersion::Tls12,
        TlsVersion::V1_3 => MinVersion::Tls13,
    };
    let store = CertificateStore::new(least, tickets.clone()).map_err(|error| unusable(&error))?;
    Ok((Arc::new(store), tickets))
}

/// Puts the certificates of all sites of `snapshot` into `store`, in place of what was there.
///
/// # Errors
/// As [`load`]; the store is as before then.
pub(crate) fn fill(store: &CertificateStore, snapshot: &Snapshot) -> Result<(), Vec<Unusable>> {
    let mut wrong = Vec::new();
    let mut sites = Vec::new();
    for site in snapshot.sites.iter() {
        match of_site(site) {
            Ok(Some(tls)) => sites.push(tls),
            Ok(None) => {}
            Err(error) => wrong.push(error),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    store
        .replace(sites, None)
        .map_err(|error| vec![Unusable::new("tls", error)])
}

fn of_site(site: &Site) -> Result<Option<SiteTls>, Unusable> {
    let Some(tls) = &site.tls else {
        return Ok(None);
    };
    let unusable =
        |error: &dyn std::fmt::Display| Unusable::new(format!("site {}", site.id), error);
    let key = load_certified_key(&tls.certificate, &tls.key).map_err(|error| unusable(&error))?;
    let roots = match &tls.client_ca {
        Some(path) => Some(load_roots(path).map_err(|error| unusable(&error))?),
        None => None,
    };
    let client_auth = match (tls.client_auth, roots) {
        (Wanted::Optional, Some(roots)) => ClientAuth::Optional(roots),
        (Wanted::Required, Some(roots)) => ClientAuth::Required(roots),
        // The documents' check sees to it that who asks for certificates names a CA.
        (Wanted::None, _) | (_, None) => ClientAuth::None,
    };
    Ok(Some(SiteTls {
        site: Arc::from(site.id.as_str()),
        names: site.hostnames.iter().map(ToString::to_string).collect(),
        key,
        client_auth,
    }))
}
