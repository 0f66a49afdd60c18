//! A process that stores and purges is killed at random points, many times; after each, every byte that the disk gives
//! back is right, and nothing that was purged comes back.
//!
//! `ANYPOP_CRASH_ROUNDS` says how many times: 30 unless it is set.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};

use anypop_cache::key::CacheKey;
use anypop_store::{DiskSettings, Filter, Limits, PurgeRequest, PurgeScope, Store};
use bytes::Bytes;

use crate::common::{NOW, headers, limits, read_all, response_of};
use crate::setup::{MIB, always, find};

const FOLDER: &str = "ANYPOP_CRASH_FOLDER";
const SEED: &str = "ANYPOP_CRASH_SEED";
const ROUNDS: &str = "ANYPOP_CRASH_ROUNDS";
const KEYS: u64 = 60;

/// Numbers that are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }
}

fn open(path: &Path) -> Store {
    let disk = DiskSettings {
        segment: Some(MIB),
        readers: 2,
        ..DiskSettings::new(path, 24 * MIB)
    };
    let limits = Limits {
        max_object: 200_000,
        ..limits(4 * MIB)
    };
    let store = Store::open(limits, always(), vec![disk]);
    assert_eq!(store.disks()[0].state, anypop_store::DiskState::Online);
    store
}

fn key(number: u64) -> CacheKey {
    let site = format!("site{}", number % 3);
    crate::common::key_of(&site, "www.example", &format!("/{number}"))
}

/// The body of a version of an object; no two are alike.
fn body(number: u64, version: u64, length: u64) -> Vec<u8> {
    let mut dice = Dice(number << 32 | version);
    let mark = dice.below(u64::MAX).to_le_bytes();
    (0..length)
        .map(|at| mark[at as usize % 8] ^ (at / 8) as u8)
        .collect()
}

/// What is killed. It says what it is about to do, and what is done, in lines.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work(Path::new(&folder), seed));
}

#[expect(clippy::print_stdout, reason = "its way to tell the test")]
async fn work(folder: &Path, seed: u64) {
    let store = open(folder);
    let mut dice = Dice(seed);
    // Above all versions of earlier rounds.
    let mut version = seed;
    loop {
        let number = dice.below(KEYS);
        version += 1;
        match dice.below(20) {
            0..=13 => {
                let length = match dice.below(10) {
                    0 => 200_000 + dice.below(2_000_000),
                    1..=3 => 50_000 + dice.below(100_000),
                    _ => dice.below(5000),
                };
                println!("put {number} {version}");
                let fields = headers(&[
                    ("x-version", &version.to_string()),
                    ("cache-tag", &format!("tag{}", number % 5)),
                ]);
                let key = key(number);
                let mut response =
                    response_of(&http::HeaderMap::new(), fields.clone(), Some(length));
                let limits = anypop_cache::tags::Limits::default();
                let tags = anypop_cache::tags::Tags::of(&fields, &limits);
                response.meta.tags = tags.hashes(key.site());
                let mut writer = store.begin(&key).store(response);
                for piece in body(number, version, length).chunks(60_000) {
                    writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
                }
                writer.finish(None).unwrap();
            }
            14..=16 => {
                store.flush();
                println!("flushed 0 0");
            }
            17 | 18 => {
                let scope = PurgeScope::Url {
                    site: key(number).site().to_owned(),
                    host: "www.example".to_owned(),
                    path: format!("/{number}"),
                    query: None,
                };
                purge(&store, scope, "url", number);
            }
            _ => match dice.below(6) {
                0 => purge(&store, PurgeScope::Everything, "all", 0),
                1 => {
                    let site = format!("site{}", number % 3);
                    purge(&store, PurgeScope::Site { site }, "site", number % 3);
                }
                _ => {
                    let site = format!("site{}", number % 3);
                    let tag = anypop_cache::tags::Tag::new(&format!("tag{}", number % 5)).unwrap();
                    // Numbers that are equal modulo both are equal modulo their product.
                    purge(&store, PurgeScope::Tag { site, tag }, "tag", number % 15);
                }
            },
        }
    }
}

#[expect(clippy::print_stdout, reason = "its way to tell the test")]
fn purge(store: &Store, scope: PurgeScope, name: &str, number: u64) {
    println!("{name} {number} 0");
    store
        .purge_durably(&PurgeRequest { scope, soft: false }, NOW)
        .unwrap();
    println!("{name} {number} 1");
}

/// What the test knows of an object.
#[derive(Default, Clone, Copy)]
struct Known {
    /// The last version that was begun.
    begun: u64,
    /// All versions up to this are purged for sure.
    purged: u64,
    /// The version that is on disk for sure, unless its segment went.
    written: Option<u64>,
    /// Nothing was done to it since the last flush but storing this.
    stored: Option<u64>,
}

struct Model {
    objects: HashMap<u64, Known>,
}

impl Model {
    fn learn(&mut self, line: &str) {
        // The harness prints the test's name on the same line as the first of ours.
        let words: Vec<&str> = line.split_whitespace().collect();
        let [.., what, number, rest] = words.as_slice() else {
            return;
        };
        let (Ok(number), Ok(rest)) = (number.parse::<u64>(), rest.parse::<u64>()) else {
            return;
        };
        let hit: Box<dyn Fn(u64) -> bool> = match *what {
            "put" => {
                let known = self.objects.entry(number).or_default();
                known.begun = rest;
                known.written = None;
                known.stored = Some(rest);
                return;
            }
            "flushed" => {
                for known in self.objects.values_mut() {
                    known.written = known.stored;
                }
                return;
            }
            "url" => Box::new(move |key| key == number),
            "site" => Box::new(move |key| key % 3 == number),
            "tag" => Box::new(move |key| key % 15 == number),
            "all" => Box::new(|_| true),
            _ => return,
        };
        for (key, known) in &mut self.objects {
            if hit(*key) {
                known.written = None;
                known.stored = None;
                if rest == 1 {
                    known.purged = known.begun;
                }
            }
        }
    }

    /// What is on disk is right. Gives how many objects there are, and how many of those that had to be.
    async fn check(&mut self, store: &Store) -> (u64, u64, u64) {
        let (mut there, mut expected, mut kept) = (0, 0, 0);
        for number in 0..KEYS {
            let known = self.objects.get(&number).copied().unwrap_or_default();
            expected += u64::from(known.written.is_some());
            let Some(found) = find(store, &key(number)).await else {
                continue;
            };
            there += 1;
            let version = found.object.headers()["x-version"].to_str().unwrap();
            let version: u64 = version.parse().unwrap();
            assert!(
                version > known.purged,
                "{number}: {version} is purged up to {}",
                known.purged
            );
            assert!(version <= known.begun);
            let length = found.object.body().length().unwrap();
            let bytes = read_all(found.object.body().reader()).await.unwrap();
            assert!(
                bytes == body(number, version, length),
                "{number}: wrong bytes"
            );
            if let Some(written) = known.written {
                assert_eq!(version, written, "{number}: an older version came back");
                kept += 1;
            }
        }
        // From here on the next process begins.
        for known in self.objects.values_mut() {
            (known.written, known.stored) = (None, None);
        }
        (there, expected, kept)
    }
}

#[expect(clippy::print_stdout, reason = "how much survived")]
#[test]
fn nothing_wrong_comes_back_from_a_kill() {
    let rounds: u64 = std::env::var(ROUNDS)
        .ok()
        .map_or(30, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut model = Model {
        objects: HashMap::new(),
    };
    let mut dice = Dice(rounds);
    let (mut all_there, mut all_expected, mut all_kept) = (0, 0, 0);
    for round in 1..=rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child", "--nocapture"])
            .env(FOLDER, &path)
            .env(SEED, (round << 32).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..10 + dice.below(150) {
            let line = lines.next().expect("the child ended by itself").unwrap();
            model.learn(&line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died.
        for line in lines.map_while(Result::ok) {
            model.learn(&line);
        }
        let store = open(&path);
        let (there, expected, kept) = runtime.block_on(model.check(&store));
        let disk = store.disks().remove(0);
        assert_eq!(
            disk.damaged, 0,
            "a kill damages nothing but what is being written"
        );
        let verified = store.verify(|_| ControlFlow::Continue(()));
        assert_eq!(verified.damaged, 0);
        let mut listed = 0;
        store.for_each_on_disk(&Filter::default(), |_| {
            listed += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(listed, there, "what is listed is found");
        all_there += there;
        all_expected += expected;
        all_kept += kept;
    }
    println!(
        "{rounds} kills: {all_there} objects found again, all right; of {all_expected} known to be written {all_kept} are there"
    );
    // The rest went with the oldest segments: the disk is kept full on purpose.
    assert!(
        all_kept * 10 >= all_expected * 8,
        "{all_kept} of {all_expected}"
    );
}
