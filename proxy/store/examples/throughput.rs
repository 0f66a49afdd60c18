//! Prints what the store's steps cost on this machine: `cargo run --release -p anypop-store --example throughput`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a printer of figures"
)]

use std::hint::black_box;
use std::time::Instant;

use anypop_cache::control::Control;
use anypop_cache::key::{CacheKey, Scheme};
use anypop_cache::meta::{Receipt, StoredMeta};
use anypop_cache::policy::Policy;
use anypop_cache::tags::Tags;
use anypop_cache::time::Timestamp;
use anypop_cache::vary::Normalise;
use anypop_store::{Limits, Lookup, PurgeRequest, PurgeScope, Response, Store};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

const OBJECTS: usize = 100_000;
const ROUNDS: usize = 2_000_000;

fn key(number: usize) -> CacheKey {
    CacheKey::builder("shop", Scheme::Https, "www.shop.example")
        .target(&format!("/{number}"), None)
        .build()
}

fn response() -> Response {
    let headers = HeaderMap::new();
    let receipt = Receipt {
        site: "shop",
        request: &headers,
        normalise: &Normalise::default(),
        status: StatusCode::OK,
        response: &headers,
        requested: Timestamp::EPOCH,
        received: Timestamp::EPOCH,
        purge_seq: 0,
    };
    let policy = Policy::default();
    let control = Control::read(&headers, &policy.targets, Timestamp::EPOCH);
    let meta = StoredMeta::new(&receipt, &control, &Tags::default(), &policy).unwrap();
    Response {
        status: StatusCode::OK,
        headers,
        meta,
        length: Some(1024),
    }
}

fn print(what: &str, times: usize, act: impl FnOnce()) {
    let began = Instant::now();
    act();
    let each = began.elapsed().as_nanos() / times as u128;
    println!("{what:<48}{each:>8} ns");
}

fn hit(store: &Store, key: &CacheKey) {
    let Lookup::Found(found) = store.lookup(key, |_| true) else {
        return;
    };
    black_box(
        found
            .object
            .body()
            .try_complete()
            .and_then(|body| body.contiguous()),
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let store = Store::new(Limits::default());
    let keys: Vec<CacheKey> = (0..OBJECTS).map(key).collect();
    let responses: Vec<Response> = keys.iter().map(|_| response()).collect();
    let body = Bytes::from(vec![b'x'; 1024]);

    let began = Instant::now();
    for (key, response) in keys.iter().zip(responses) {
        let mut writer = store.begin(key).store(response);
        writer.write(body.clone()).await.unwrap();
        writer.finish(None).unwrap();
    }
    println!(
        "{:<48}{:>8} ns",
        "fill of 1 KiB",
        began.elapsed().as_nanos() / OBJECTS as u128
    );
    let each = store.stats().bytes / OBJECTS as u64;
    println!("{:<48}{each:>8} bytes", "counted for each");

    print("hit of one hot object", ROUNDS, || {
        (0..ROUNDS).for_each(|_| hit(&store, &keys[0]))
    });
    print("hit of 100,000 objects in turn", ROUNDS, || {
        (0..ROUNDS).for_each(|round| hit(&store, &keys[round % OBJECTS]));
    });
    print("two threads, one hot object, each hit", ROUNDS, || {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..ROUNDS).for_each(|_| hit(&store, &keys[0])));
            }
        });
    });
    print("purge of a URL", OBJECTS, || {
        for key in &keys {
            let scope = PurgeScope::Url {
                site: "shop".into(),
                host: key.host().into(),
                path: format!("{}/other", key.path()),
                query: None,
            };
            store.purge(&PurgeRequest { scope, soft: false }, Timestamp::EPOCH);
        }
    });
    print("first hit after purges of other URLs", OBJECTS, || {
        keys.iter().for_each(|key| hit(&store, key))
    });
    println!("{:#?}", store.stats());
}
