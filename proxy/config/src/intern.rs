use std::{collections::HashSet, hash::Hash, sync::Arc};

use foldhash::fast::RandomState;

use crate::site::{Acl, CachePolicy, Headers, Rule};

/// Keeps one copy of what many sites have in common. Most sites have most sections at their defaults or from one template.
#[derive(Default)]
pub(crate) struct Interner {
    caches: HashSet<Arc<CachePolicy>, RandomState>,
    rules: HashSet<Arc<[Rule]>, RandomState>,
    acls: HashSet<Arc<Acl>, RandomState>,
    headers: HashSet<Arc<Headers>, RandomState>,
}

impl Interner {
    pub(crate) fn cache(&mut self, cache: CachePolicy) -> Arc<CachePolicy> {
        intern(&mut self.caches, cache)
    }

    pub(crate) fn acl(&mut self, acl: Acl) -> Arc<Acl> {
        intern(&mut self.acls, acl)
    }

    pub(crate) fn headers(&mut self, headers: Headers) -> Arc<Headers> {
        intern(&mut self.headers, headers)
    }

    pub(crate) fn rules(&mut self, rules: Vec<Rule>) -> Arc<[Rule]> {
        match self.rules.get(rules.as_slice()) {
            Some(shared) => Arc::clone(shared),
            None => {
                let shared: Arc<[Rule]> = rules.into();
                self.rules.insert(Arc::clone(&shared));
                shared
            }
        }
    }
}

fn intern<T: Hash + Eq>(known: &mut HashSet<Arc<T>, RandomState>, value: T) -> Arc<T> {
    match known.get(&value) {
        Some(shared) => Arc::clone(shared),
        None => {
            let shared = Arc::new(value);
            known.insert(Arc::clone(&shared));
            shared
        }
    }
}
