use std::{net::SocketAddr, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use crate::{
    check::single_origin_site,
    index::{Conflict, SiteIndex},
    node::Node,
    site::Site,
    value::{Network, ServerUrl},
};

/// A node's whole configuration at one moment. A request takes one and keeps to it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The node.
    pub node: Arc<Node>,
    /// Its sites.
    pub sites: SiteIndex,
    /// Counts the configurations of this process, from 1.
    pub generation: u64,
}

impl Snapshot {
    /// The configuration of a node without documents: one listener in plain text, and one site named `default` that answers for any host from one origin,
    /// whose networks are allowed however private they are. Everything else is at its default; `node.sites_directory` is none.
    pub fn for_single_origin(
        server: ServerUrl,
        listen: SocketAddr,
        networks: impl IntoIterator<Item = Network>,
    ) -> Self {
        let site = Arc::new(single_origin_site(server));
        let mut sites = SiteIndex::default();
        let conflicts = sites.insert(site);
        debug_assert!(conflicts.is_empty(), "there is no other site");
        let node = Node::without_document(listen, networks.into_iter().collect());
        Self {
            node: Arc::new(node),
            sites,
            generation: 1,
        }
    }
}

/// The configuration that holds now. Reading it takes no lock; changes come one after the other, each as a whole.
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<Snapshot>,
    changing: Mutex<()>,
}

impl Live {
    /// Begins with this configuration.
    pub fn new(snapshot: Snapshot) -> Self {
        Self {
            current: ArcSwap::from_pointee(snapshot),
            changing: Mutex::new(()),
        }
    }

    /// The configuration that holds now. Cheap, but not to be held across an await: use [`snapshot`](Self::snapshot) for that.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The configuration that holds now, to keep.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts this node and these sites in place, and returns the new generation.
    pub fn replace(&self, node: Arc<Node>, sites: SiteIndex) -> u64 {
        self.change(|_| Ok::<_, std::convert::Infallible>((node, sites)))
            .unwrap_or_else(|never| match never {})
    }

    /// Adds a site, or puts it in the place of the one with its id, and returns the new generation.
    ///
    /// # Errors
    /// As [`SiteIndex::with_site`]; nothing has changed then.
    pub fn put_site(&self, site: Arc<Site>) -> Result<u64, Vec<Conflict>> {
        self.change(|now| Ok((Arc::clone(&now.node), now.sites.with_site(site)?)))
    }

    /// Takes out the site of this id and returns the new generation; none if there is no such site.
    pub fn remove_site(&self, id: &str) -> Option<u64> {
        self.change(|now| {
            now.sites.by_id(id).ok_or(())?;
            Ok::<_, ()>((Arc::clone(&now.node), now.sites.without_site(id)))
        })
        .ok()
    }

    fn change<E>(
        &self,
        change: impl FnOnce(&Snapshot) -> Result<(Arc<Node>, SiteIndex), E>,
    ) -> Result<u64, E> {
        let _one_at_a_time = self.changing.lock();
        let now = self.snapshot();
        let (node, sites) = change(&now)?;
        let generation = now.generation + 1;
        self.current.store(Arc::new(Snapshot {
            node,
            sites,
            generation,
        }));
        Ok(generation)
    }
}
