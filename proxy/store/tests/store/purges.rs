//! Purge clocks against a plain list of all purges.

use anypop_cache::tags::{Tag, TagHash};
use anypop_cache::time::Timestamp;
use anypop_store::purge::{Checked, Target};
use anypop_store::{PurgeLimits, PurgeRequest, PurgeScope, PurgeSeq, Purges, Verdict};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Thing {
    site: String,
    host: String,
    path: String,
    query: Option<String>,
    tags: Vec<Tag>,
}

impl Thing {
    fn is_in(&self, scope: &PurgeScope) -> bool {
        let here =
            |other: &str, of: &str| *other == self.site && of.eq_ignore_ascii_case(&self.host);
        match scope {
            PurgeScope::Everything => true,
            PurgeScope::Site { site } => *site == self.site,
            PurgeScope::Host { site, host } => here(site, host),
            PurgeScope::Tag { site, tag } => *site == self.site && self.tags.contains(tag),
            PurgeScope::Prefix { site, host, prefix } => {
                here(site, host) && self.path.starts_with(prefix)
            }
            PurgeScope::Url {
                site,
                host,
                path,
                query,
            } => here(site, host) && *path == self.path && *query == self.query,
        }
    }

    fn verdict(&self, purges: &Purges, began: PurgeSeq, checked: &Checked) -> Verdict {
        let tags: Vec<TagHash> = self
            .tags
            .iter()
            .map(|tag| TagHash::new(&self.site, tag))
            .collect();
        let target = || Target {
            site: &self.site,
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            tags: &tags,
        };
        let verdict = purges.check(began, checked, target);
        // The memory of earlier checks only protects from folded clocks.
        assert!(kind(verdict) <= kind(purges.examine(began, &target())));
        verdict
    }
}

fn kind(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Valid => 0,
        Verdict::Stale { .. } => 1,
        Verdict::Gone => 2,
    }
}

fn site() -> impl Strategy<Value = String> {
    "[st]"
}

fn host() -> impl Strategy<Value = String> {
    "[ab]\\.example"
}

fn path() -> impl Strategy<Value = String> {
    "/[ab]{0,4}"
}

fn tag() -> impl Strategy<Value = Tag> {
    "[x-z]".prop_map(|text| Tag::new(&text).unwrap())
}

fn thing() -> impl Strategy<Value = Thing> {
    let query = prop::option::of("[q]?");
    let tags = prop::collection::vec(tag(), 0..3);
    (site(), host(), path(), query, tags).prop_map(|(site, host, path, query, tags)| Thing {
        site,
        host,
        path,
        query,
        tags,
    })
}

fn request() -> impl Strategy<Value = PurgeRequest> {
    let host = || r"([ab]\.example|[AB]\.EXAMPLE)";
    let scope = prop_oneof![
        8 => (site(), host(), path(), prop::option::of("[q]?"))
            .prop_map(|(site, host, path, query)| PurgeScope::Url { site, host, path, query }),
        8 => (site(), host(), path())
            .prop_map(|(site, host, prefix)| PurgeScope::Prefix { site, host, prefix }),
        8 => (site(), tag()).prop_map(|(site, tag)| PurgeScope::Tag { site, tag }),
        2 => (site(), host()).prop_map(|(site, host)| PurgeScope::Host { site, host }),
        1 => site().prop_map(|site| PurgeScope::Site { site }),
        1 => Just(PurgeScope::Everything),
    ];
    (scope, any::<bool>()).prop_map(|(scope, soft)| PurgeRequest { scope, soft })
}

#[derive(Debug, Clone)]
enum Step {
    Fill(Thing),
    Purge(PurgeRequest),
    CheckAll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => thing().prop_map(Step::Fill),
        3 => request().prop_map(Step::Purge),
        1 => Just(Step::CheckAll),
    ];
    prop::collection::vec(step, 0..120)
}

struct Filled {
    thing: Thing,
    began: PurgeSeq,
    checked: Checked,
    /// Purges that came after it began.
    since: usize,
}

/// Runs the steps; `exact`: nothing is folded, so the clocks and the list agree.
fn compare(steps: Vec<Step>, limits: PurgeLimits, exact: bool) {
    let purges = Purges::new(limits);
    let mut list: Vec<(PurgeRequest, Timestamp)> = Vec::new();
    let mut filled: Vec<Filled> = Vec::new();
    for step in steps.into_iter().chain([Step::CheckAll]) {
        match step {
            Step::Fill(thing) => {
                let began = purges.now();
                filled.push(Filled {
                    thing,
                    began,
                    checked: Checked::new(began),
                    since: list.len(),
                });
            }
            Step::Purge(request) => {
                let now = Timestamp::from_secs(1000 + list.len() as u64);
                let before = purges.now();
                if purges.is_full(&request.scope) && list.len().is_multiple_of(2) {
                    purges.make_room(&request.scope);
                }
                assert!(purges.apply(&request, now).unwrap() > before);
                list.push((request, now));
                assert!(purges.clocks() <= limits.total.max(2) + 1);
            }
            Step::CheckAll => {
                for Filled {
                    thing,
                    began,
                    checked,
                    since,
                } in &filled
                {
                    let hits = || {
                        list[*since..]
                            .iter()
                            .filter(|(purge, _)| thing.is_in(&purge.scope))
                    };
                    let hard = hits().any(|(purge, _)| !purge.soft);
                    let first_soft = hits().find(|(purge, _)| purge.soft).map(|(_, at)| *at);
                    let expected = match (hard, first_soft) {
                        (true, _) => 2,
                        (false, Some(_)) => 1,
                        (false, None) => 0,
                    };
                    let verdict = thing.verdict(&purges, *began, checked);
                    if exact {
                        assert_eq!(
                            kind(verdict),
                            expected,
                            "{thing:?} began {began:?}: {verdict:?}"
                        );
                    } else {
                        assert!(
                            kind(verdict) >= expected,
                            "purged bytes are served: {thing:?} began {began:?}"
                        );
                    }
                    if let (true, Verdict::Stale { since }) = (exact, verdict) {
                        assert!(list.iter().any(|(purge, at)| purge.soft && *at == since));
                        assert!(since >= first_soft.unwrap());
                    }
                }
                // What begins now is valid, folded clocks or not.
                for known in &filled {
                    let now = purges.now();
                    assert_eq!(
                        known.thing.verdict(&purges, now, &Checked::new(now)),
                        Verdict::Valid
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn clocks_agree_with_a_list_of_all_purges(steps in steps()) {
        compare(steps, PurgeLimits::default(), true);
    }

    #[test]
    fn folded_clocks_never_let_purged_bytes_through(
        steps in steps(),
        per_site in 0_usize..12,
        total in 0_usize..16,
    ) {
        compare(steps, PurgeLimits { per_site, total }, false);
    }
}

fn url(path: &str) -> PurgeRequest {
    let scope = PurgeScope::Url {
        site: "s".into(),
        host: "a.example".into(),
        path: path.into(),
        query: None,
    };
    PurgeRequest { scope, soft: false }
}

#[test]
fn clocks_are_bounded() {
    let limits = PurgeLimits {
        per_site: 1000,
        total: 5000,
    };
    let purges = Purges::new(limits);
    for number in 0..20_000 {
        purges
            .apply(&url(&format!("/{number}")), Timestamp::EPOCH)
            .unwrap();
        assert!(purges.clocks() <= limits.per_site);
    }
    for site in 0..20_000 {
        let scope = PurgeScope::Site {
            site: site.to_string(),
        };
        purges
            .apply(
                &PurgeRequest {
                    scope,
                    soft: site % 2 == 0,
                },
                Timestamp::EPOCH,
            )
            .unwrap();
        assert!(purges.clocks() <= limits.total);
    }
}

#[test]
fn what_was_checked_is_not_hit_by_folded_clocks() {
    let purges = Purges::new(PurgeLimits {
        per_site: 10,
        total: 1000,
    });
    let thing = Thing {
        site: "s".into(),
        host: "a.example".into(),
        path: "/a".into(),
        query: None,
        tags: Vec::new(),
    };
    let (began, checked) = (purges.now(), Checked::new(purges.now()));
    for number in 0..100 {
        if purges.is_full(&url("/b").scope) {
            assert_eq!(thing.verdict(&purges, began, &checked), Verdict::Valid);
            purges.make_room(&url("/b").scope);
            assert!(
                !purges.is_full(&url("/b").scope),
                "folding would be due again at once"
            );
        }
        purges
            .apply(&url(&format!("/{number}")), Timestamp::EPOCH)
            .unwrap();
    }
    assert_eq!(thing.verdict(&purges, began, &checked), Verdict::Valid);
    assert_eq!(
        thing.verdict(&purges, began, &Checked::new(began)),
        Verdict::Gone,
        "unchecked, it may have been purged"
    );
    purges.apply(&url("/a"), Timestamp::EPOCH).unwrap();
    assert_eq!(thing.verdict(&purges, began, &checked), Verdict::Gone);
}

#[test]
fn a_fold_makes_room_for_many_purges() {
    let purges = Purges::new(PurgeLimits {
        per_site: 1000,
        total: 5000,
    });
    let mut folds = 0;
    for number in 0..10_000 {
        let scope = PurgeScope::Url {
            site: "s".into(),
            host: format!("h{number}.example"),
            path: "/".into(),
            query: None,
        };
        if purges.is_full(&scope) {
            purges.make_room(&scope);
            folds += 1;
        }
        purges
            .apply(&PurgeRequest { scope, soft: false }, Timestamp::EPOCH)
            .unwrap();
    }
    assert!(folds < 50, "{folds} folds");
}

#[test]
fn a_second_soft_purge_makes_nothing_fresher() {
    let purges = Purges::new(PurgeLimits::default());
    let soft = PurgeRequest {
        soft: true,
        ..url("/a")
    };
    let thing = Thing {
        site: "s".into(),
        host: "a.example".into(),
        path: "/a".into(),
        query: None,
        tags: Vec::new(),
    };
    let (began, checked) = (purges.now(), Checked::new(purges.now()));
    let first = Verdict::Stale {
        since: Timestamp::from_secs(10),
    };
    purges.apply(&soft, Timestamp::from_secs(10)).unwrap();
    assert_eq!(thing.verdict(&purges, began, &checked), first);
    purges.apply(&soft, Timestamp::from_secs(20)).unwrap();
    assert_eq!(thing.verdict(&purges, began, &checked), first);
    purges.apply(&url("/b"), Timestamp::from_secs(30)).unwrap();
    assert_eq!(thing.verdict(&purges, began, &checked), first);
    purges.apply(&url("/a"), Timestamp::from_secs(40)).unwrap();
    assert_eq!(thing.verdict(&purges, began, &checked), Verdict::Gone);
}

#[test]
fn requests_are_documents() {
    let read = |text: &str| serde_json::from_str::<PurgeRequest>(text);
    let text = r#"{"scope":"url","site":"s","host":"a.example","path":"/a","soft":false}"#;
    assert_eq!(read(text).unwrap(), url("/a"));
    assert_eq!(serde_json::to_string(&url("/a")).unwrap(), text);
    assert!(read(r#"{"scope":"everything"}"#).is_ok_and(|all| all.scope == PurgeScope::Everything));
    assert!(
        read(r#"{"scope":"tag","site":"s","tag":"news","soft":true}"#).is_ok_and(|tag| tag.soft)
    );
    assert!(read(r#"{"scope":"tag","site":"s","tag":"two words"}"#).is_err());
    assert!(
        read(r#"{"scope":"site","site":"s","sfot":true}"#).is_err(),
        "a typo must not purge hard"
    );
    assert!(read(r#"{"scope":"site"}"#).is_err());
    assert!(read(r#"{"scope":"planet"}"#).is_err());
}
