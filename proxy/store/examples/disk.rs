//! Prints what disks cost on this machine: `cargo run --release -p anypop-store --example disk -- FOLDER [OBJECTS]`.
//!
//! FOLDER is made, and should be on the disk in question; a million objects of 1 KiB take 2 GiB there.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a printer of figures"
)]

use std::time::Instant;

use anypop_cache::control::Control;
use anypop_cache::key::{CacheKey, Scheme};
use anypop_cache::meta::{Receipt, StoredMeta};
use anypop_cache::policy::Policy;
use anypop_cache::tags::{Limits as TagLimits, Tag, Tags};
use anypop_cache::time::Timestamp;
use anypop_cache::vary::Normalise;
use anypop_store::{
    Admission, DiskSettings, Limits, Lookup, PurgeRequest, PurgeScope, Response, Store,
    TierSettings,
};
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

const BODY: usize = 1024;
const LARGE: u64 = 1024 * 1024 * 1024;

fn key(path: &str) -> CacheKey {
    CacheKey::builder("shop", Scheme::Https, "www.shop.example")
        .target(path, None)
        .build()
}

fn response(length: u64) -> Response {
    let headers = HeaderMap::from_iter([(
        HeaderName::from_static("cache-tag"),
        HeaderValue::from_static("all"),
    )]);
    let receipt = Receipt {
        site: "shop",
        request: &HeaderMap::new(),
        normalise: &Normalise::default(),
        status: StatusCode::OK,
        response: &headers,
        requested: Timestamp::EPOCH,
        received: Timestamp::EPOCH,
        purge_seq: 0,
    };
    let policy = Policy::default();
    let control = Control::read(&headers, &policy.targets, Timestamp::EPOCH);
    let tags = Tags::of(&headers, &TagLimits::default());
    Response {
        status: StatusCode::OK,
        meta: StoredMeta::new(&receipt, &control, &tags, &policy).unwrap(),
        headers,
        length: Some(length),
    }
}

fn open(folder: &str, objects: usize) -> Store {
    let limits = Limits {
        memory: 64 * 1024 * 1024,
        ..Limits::default()
    };
    let tier = TierSettings {
        admission: Admission::Always,
        ..TierSettings::default()
    };
    let size = objects as u64 * 2048 + 4 * LARGE;
    Store::open(limits, tier, vec![DiskSettings::new(folder, size)])
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .unwrap_or_else(|| "/tmp/anypop-disk".to_owned());
    let objects: usize = arguments
        .next()
        .map_or(1_000_000, |count| count.parse().unwrap());
    let idle = resident();
    let store = open(&folder, objects);

    let begun = Instant::now();
    let body = Bytes::from(vec![7; BODY]);
    for number in 0..objects {
        let mut writer = store
            .begin(&key(&format!("/{number}")))
            .store(response(BODY as u64));
        writer.write(body.clone()).await.unwrap();
        writer.finish(None).unwrap();
        if number % 10_000 == 0 {
            store.flush();
        }
    }
    store.flush();
    let each = begun.elapsed() / objects as u32;
    println!("store {objects} objects of {BODY} bytes: {each:?} each");

    let begun = Instant::now();
    let (length, piece) = (LARGE, Bytes::from(vec![7; 1 << 20]));
    let before = resident();
    let mut writer = store.begin(&key("/large")).store(response(length));
    for _ in 0..length / piece.len() as u64 {
        writer.write(piece.clone()).await.unwrap();
    }
    let grown = resident().saturating_sub(before);
    writer.finish(None).unwrap();
    store.flush();
    let rate = length as f64 / begun.elapsed().as_secs_f64() / 1e6;
    println!("store a body of {length} bytes: {rate:.0} MB/s, {grown} bytes of memory more");

    let begun = Instant::now();
    let Lookup::Found(found) = store.find(&key("/large"), |_| true).await else {
        println!("the large body was not stored");
        return;
    };
    let (mut reader, mut read) = (found.object.body().reader(), 0);
    while let Some(bytes) = reader.next().await.unwrap() {
        read += bytes.len() as u64;
    }
    let rate = read as f64 / begun.elapsed().as_secs_f64() / 1e6;
    println!("read it: {rate:.0} MB/s");
    drop((reader, found));

    let begun = Instant::now();
    store.close();
    drop(store);
    println!("close: {:?}", begun.elapsed());
    let begun = Instant::now();
    let store = open(&folder, objects);
    let stats = store.disks().remove(0);
    println!("open {} objects: {:?}", stats.objects, begun.elapsed());
    println!(
        "index: {:.1} bytes an object; resident {:.1} an object more than at the start",
        stats.index_bytes as f64 / stats.objects as f64,
        resident().saturating_sub(idle) as f64 / stats.objects as f64,
    );

    let begun = Instant::now();
    let mut found = 0;
    let reads = objects.min(200_000);
    for read in 0..reads {
        let number = read.wrapping_mul(2_654_435_761) % objects;
        let lookup = store.find(&key(&format!("/{number}")), |_| true).await;
        found += usize::from(matches!(lookup, Lookup::Found(_)));
    }
    println!(
        "find one of them: {:?} each, {found} of {reads} found",
        begun.elapsed() / reads as u32
    );

    for scope in [
        PurgeScope::Tag {
            site: "shop".to_owned(),
            tag: Tag::new("all").unwrap(),
        },
        PurgeScope::Everything,
    ] {
        let begun = Instant::now();
        let request = PurgeRequest { scope, soft: false };
        store.purge_durably(&request, Timestamp::EPOCH).unwrap();
        let took = begun.elapsed();
        let gone = matches!(store.find(&key("/1"), |_| true).await, Lookup::Missed(_));
        println!(
            "purge {:?} durably: {took:?}, the next lookup misses: {gone}",
            request.scope
        );
    }
    store.close();
}
