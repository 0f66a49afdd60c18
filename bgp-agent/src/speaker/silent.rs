//! `--dry-run`: speaks to nobody, and shows what it would say.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Close, Peer, Promise, Speaker, Table};

/// A speaker that only logs.
#[derive(Debug, Default)]
pub struct Silent {
    table: Mutex<Arc<Table>>,
}

impl Speaker for Silent {
    fn say(&self, table: Arc<Table>) {
        let mut known = self.table.lock();
        for (prefix, route) in table.iter() {
            if known.get(prefix) != Some(route) {
                tracing::info!(%prefix, ?route, "would announce");
            }
        }
        for prefix in known.keys().filter(|prefix| !table.contains_key(prefix)) {
            tracing::info!(%prefix, "would withdraw");
        }
        *known = table;
    }

    fn flushed(&self) -> Promise<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn peers(&self) -> Vec<Peer> {
        vec![Peer {
            name: "nobody (dry run)".to_owned(),
            state: "down".to_owned(),
            announced: self.table.lock().len() as u64,
            ..Peer::default()
        }]
    }

    fn close(&self, _: Close) -> Promise<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
