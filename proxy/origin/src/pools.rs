//! Every site's pool.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::connect::Network;
use crate::pool::Pool;
use crate::settings::PoolSettings;

type Map = HashMap<Arc<str>, Arc<Pool>>;

/// Every site's pool, by the site's id.
///
/// Reading takes no lock. After a change, servers whose URL, TLS settings and HTTP version are
/// still the same keep health, count and connections; requests under way end with what they began.
#[derive(Debug)]
pub struct Pools {
    network: Arc<Network>,
    map: ArcSwap<Map>,
    /// Serialises changes.
    change: Mutex<()>,
}

impl Pools {
    /// No pools yet.
    #[must_use]
    pub fn new(network: Arc<Network>) -> Self {
        Self {
            network,
            map: ArcSwap::default(),
            change: Mutex::new(()),
        }
    }

    /// A site's pool.
    #[must_use]
    pub fn site(&self, id: &str) -> Option<Arc<Pool>> {
        self.map.load().get(id).cloned()
    }

    /// All of them, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Pool>> {
        self.map.load().values().cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.load().len()
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.load().is_empty()
    }

    /// Replaces all pools by these. Sites that are not among them are gone.
    pub fn replace(&self, settings: impl IntoIterator<Item = PoolSettings>) {
        let _changing = self.change.lock();
        let former = self.map.load_full();
        let map = settings.into_iter().map(|one| self.make(one, &former));
        self.map.store(Arc::new(map.collect()));
    }

    /// Adds or replaces some pools, and takes others away.
    pub fn update<'a>(
        &self,
        changed: impl IntoIterator<Item = PoolSettings>,
        removed: impl IntoIterator<Item = &'a str>,
    ) {
        let _changing = self.change.lock();
        let former = self.map.load_full();
        let mut map = Map::clone(&former);
        map.extend(changed.into_iter().map(|one| self.make(one, &former)));
        for id in removed {
            map.remove(id);
        }
        self.map.store(Arc::new(map));
    }

    fn make(&self, settings: PoolSettings, former: &Map) -> (Arc<str>, Arc<Pool>) {
        let site = Arc::clone(&settings.site);
        let network = Arc::clone(&self.network);
        let former = former.get(&site).map(Arc::as_ref);
        (site, Pool::with_servers(settings, network, former))
    }
}
