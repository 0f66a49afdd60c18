#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeMap;

use super::*;

const LEASE: Duration = Duration::from_secs(3);

fn ms(ms: u64) -> Moment {
    Moment::from_millis(ms)
}

pub(super) fn check(name: &str) -> CheckSettings {
    CheckSettings {
        name: name.to_owned(),
        counts: Counts { rise: 2, fall: 3 },
        lease: Duration::from_secs(5),
    }
}

/// One VIP with one probe; a local and a shared check where asked for.
pub(super) fn settings(vips: usize, checks: &[Scope]) -> Settings {
    Settings {
        vips: (0..vips)
            .map(|n| VipSettings {
                prefix: format!("203.0.113.{n}/32").parse().unwrap(),
                addresses: vec![format!("203.0.113.{n}").parse().unwrap()],
                checks: vec![check("http")],
            })
            .collect(),
        checks: checks
            .iter()
            .map(|scope| NodeCheckSettings {
                check: check(&format!("{scope:?}")),
                scope: *scope,
            })
            .collect(),
        proxy: Counts { rise: 1, fall: 3 },
        drain: DrainSettings {
            deadline: Duration::from_secs(60),
            connections: 0,
            quiesce: Duration::from_secs(1),
            lead: Duration::from_secs(2),
        },
        hold_down: HoldDown {
            base: Duration::from_secs(10),
            max: Duration::from_secs(30),
            forget: Duration::from_secs(600),
        },
        guard: GuardSettings {
            withdrawals: 2,
            window: Duration::from_secs(60),
        },
    }
}

pub(super) fn line(state: ProxyState, connections: u64) -> Event {
    Event::Line(Line {
        generation: 1,
        state,
        reason: String::new(),
        connections,
        old_connections: None,
        vips: BTreeMap::new(),
        lease: LEASE,
    })
}

fn probe(result: Result<(), String>) -> Event {
    Event::Probed {
        vip: 0,
        check: 0,
        result,
    }
}

fn bad() -> Result<(), String> {
    Err("timed out".to_owned())
}

/// A policy with one VIP that has just been announced, at 1 s.
fn announced() -> Policy {
    let mut policy = Policy::new(settings(1, &[]));
    assert_eq!(policy.handle(ms(0), line(ProxyState::Ready, 5)), []);
    let address = Event::Address {
        vip: 0,
        present: true,
    };
    assert_eq!(policy.handle(ms(1), address), []);
    assert_eq!(policy.handle(ms(500), probe(Ok(()))), []);
    let out = policy.handle(ms(1000), probe(Ok(())));
    assert!(
        matches!(
            out.as_slice(),
            [Action::Announce {
                level: Level::Normal,
                ..
            }]
        ),
        "{out:?}"
    );
    policy
}

fn withdrawn(out: &[Action]) -> bool {
    matches!(out, [Action::Withdraw { .. }])
}

#[test]
fn nothing_is_said_again_while_nothing_changes() {
    let mut policy = announced();
    for n in 0..100 {
        assert_eq!(
            policy.handle(ms(1000 + n * 100), line(ProxyState::Ready, n)),
            []
        );
        assert_eq!(policy.handle(ms(1001 + n * 100), probe(Ok(()))), []);
    }
}

#[test]
fn a_dead_proxy_withdraws_at_once() {
    let mut policy = announced();
    assert!(withdrawn(
        &policy.handle(ms(1100), Event::Gone("refused".into()))
    ));
}

#[test]
fn a_frozen_proxy_withdraws_when_its_lease_ends() {
    let mut policy = announced();
    assert_eq!(policy.next_deadline(ms(1000)), Some(ms(3000)));
    assert_eq!(policy.handle(ms(2999), Event::Tick), []);
    assert!(withdrawn(&policy.handle(ms(3000), Event::Tick)));
}

#[test]
fn a_failing_proxy_withdraws_after_the_fall_count() {
    let mut policy = announced();
    assert_eq!(policy.handle(ms(1100), line(ProxyState::Failing, 0)), []);
    assert_eq!(policy.handle(ms(1200), line(ProxyState::Failing, 0)), []);
    assert!(withdrawn(
        &policy.handle(ms(1300), line(ProxyState::Failing, 0))
    ));
}

#[test]
fn a_new_generation_that_is_ready_changes_nothing_and_one_that_starts_withdraws() {
    let mut policy = announced();
    let Event::Line(mut next) = line(ProxyState::Ready, 0) else {
        panic!("a line");
    };
    next.generation = 2;
    assert_eq!(policy.handle(ms(1100), Event::Line(next)), []);
    assert!(withdrawn(
        &policy.handle(ms(1200), line(ProxyState::Starting, 0))
    ));
}

#[test]
fn probes_withdraw_after_the_fall_count_and_silence_of_the_prober_too() {
    let mut policy = announced();
    assert_eq!(policy.handle(ms(1500), probe(bad())), []);
    assert_eq!(policy.handle(ms(2000), probe(bad())), []);
    assert!(withdrawn(&policy.handle(ms(2500), probe(bad()))));

    let mut policy = announced();
    for n in 1..=4 {
        assert_eq!(
            policy.handle(ms(1000 + n * 1000), line(ProxyState::Ready, 0)),
            []
        );
    }
    assert!(withdrawn(&policy.handle(ms(6000), Event::Tick)));
}

#[test]
fn an_address_that_vanishes_withdraws() {
    let mut policy = announced();
    let gone = Event::Address {
        vip: 0,
        present: false,
    };
    assert!(withdrawn(&policy.handle(ms(1100), gone)));
}

#[test]
fn the_state_of_the_vips_own_address_counts_before_the_whole_proxys() {
    let mut policy = announced();
    let Event::Line(mut own) = line(ProxyState::Ready, 0) else {
        panic!("a line");
    };
    own.vips
        .insert("203.0.113.0".parse().unwrap(), ProxyState::Drained);
    assert!(withdrawn(&policy.handle(ms(1100), Event::Line(own))));
}

#[test]
fn hold_down_grows_and_is_forgotten() {
    let mut policy = announced();
    let mut now = ms(1000);
    // The first failure costs nothing, the second 10 s, the third 20 s, the fourth 30 s (the cap).
    for expected in [0, 10, 20, 30, 30] {
        now += ms(100);
        assert!(withdrawn(&policy.handle(now, Event::Gone("x".into()))));
        let died = now;
        let mut announced_after = None;
        while announced_after.is_none() {
            now += ms(100);
            let mut out = policy.handle(now, line(ProxyState::Ready, 0));
            out.extend(policy.handle(now, probe(Ok(()))));
            if out
                .iter()
                .any(|action| matches!(action, Action::Announce { .. }))
            {
                announced_after = Some((now - died).as_secs());
            }
            assert!(now < ms(1_000_000));
        }
        assert_eq!(announced_after, Some(expected));
    }
    // Announced for longer than `forget`: the next failure is a first one again.
    for _ in 0..610 {
        now += ms(1000);
        assert_eq!(policy.handle(now, line(ProxyState::Ready, 0)), []);
        assert_eq!(policy.handle(now, probe(Ok(()))), []);
    }
    assert!(withdrawn(&policy.handle(now, Event::Gone("x".into()))));
    let out = policy.handle(now + ms(1), line(ProxyState::Ready, 0));
    assert!(
        matches!(out.as_slice(), [Action::Announce { .. }]),
        "{out:?}"
    );
}

#[test]
fn a_proxy_that_ends_its_work_is_no_failure() {
    let mut policy = announced();
    for n in 0..3 {
        let now = ms(2000 + n * 100);
        assert!(withdrawn(&policy.handle(now, line(ProxyState::Drained, 0))));
        policy.handle(now, Event::Gone("it has ended".into()));
        let out = policy.handle(now + ms(1), line(ProxyState::Ready, 0));
        assert!(
            matches!(out.as_slice(), [Action::Announce { .. }]),
            "{out:?}"
        );
        // And one that ends in the middle of its own drain.
        policy.handle(now + ms(2), line(ProxyState::Bleeding, 3));
        let out = policy.handle(now + ms(3), Event::Gone("it has ended".into()));
        assert!(
            matches!(
                out.as_slice(),
                [Action::Stepped { .. }, Action::Withdraw { .. }]
            ),
            "{out:?}"
        );
        policy.handle(now + ms(4), line(ProxyState::Ready, 0));
        for _ in 0..2 {
            policy.handle(now + ms(5), probe(Ok(())));
        }
        assert_eq!(policy.vip_state(0), "announced");
    }
}

#[test]
fn a_shared_failure_degrades_and_a_local_one_withdraws() {
    for (scope, withdraws) in [(Scope::Shared, false), (Scope::Local, true)] {
        let mut policy = Policy::new(settings(1, &[scope]));
        let checked = |result| Event::Checked { check: 0, result };
        policy.handle(ms(0), line(ProxyState::Ready, 0));
        policy.handle(
            ms(0),
            Event::Address {
                vip: 0,
                present: true,
            },
        );
        for _ in 0..2 {
            policy.handle(ms(1), probe(Ok(())));
            policy.handle(ms(1), checked(Ok(())));
        }
        assert_eq!(policy.vip_state(0), "announced");
        for _ in 0..3 {
            policy.handle(ms(2), checked(bad()));
        }
        let expected = if withdraws { "withdrawn" } else { "degraded" };
        assert_eq!(policy.vip_state(0), expected);
    }
}

#[test]
fn the_guard_holds_withdrawals_by_checks_and_never_those_of_a_dead_proxy() {
    let mut policy = Policy::new(settings(4, &[]));
    policy.handle(ms(0), line(ProxyState::Ready, 0));
    let everywhere = |policy: &mut Policy, now, result: Result<(), String>| {
        let mut out = Vec::new();
        for vip in 0..4 {
            out.extend(policy.handle(
                now,
                Event::Probed {
                    vip,
                    check: 0,
                    result: result.clone(),
                },
            ));
        }
        out
    };
    for vip in 0..4 {
        policy.handle(ms(0), Event::Address { vip, present: true });
    }
    everywhere(&mut policy, ms(1), Ok(()));
    assert_eq!(everywhere(&mut policy, ms(2), Ok(())).len(), 4);
    let mut out = Vec::new();
    for now in 3..6 {
        out.extend(everywhere(&mut policy, ms(now), bad()));
    }
    let count = |kind: fn(&Action) -> bool| out.iter().filter(|action| kind(action)).count();
    assert_eq!(count(|action| matches!(action, Action::Withdraw { .. })), 2);
    assert_eq!(count(|action| matches!(action, Action::Held { .. })), 2);
    assert_eq!(policy.vip_state(3), "degraded");
    let out = policy.handle(ms(7), Event::Gone("killed".into()));
    assert_eq!(out.len(), 2);
    assert_eq!(policy.vip_state(3), "withdrawn");
}

#[test]
fn a_drain_takes_its_steps_in_order() {
    let mut policy = announced();
    let drain = Event::Drain {
        source: Source::Operator,
        reason: "kernel update".into(),
    };
    let out = policy.handle(ms(1100), drain);
    assert!(matches!(
        out.as_slice(),
        [
            Action::Stepped {
                to: Step::Bleeding,
                ..
            },
            Action::AskProxy(Ask::Bleed)
        ]
    ));
    assert_eq!(policy.vip_state(0), "draining");
    assert_eq!(policy.handle(ms(1200), line(ProxyState::Bleeding, 3)), []);
    let out = policy.handle(ms(2000), line(ProxyState::Bleeding, 0));
    assert!(matches!(
        out.as_slice(),
        [
            Action::Stepped {
                to: Step::Quiescing,
                ..
            },
            Action::AskProxy(Ask::Quiesce)
        ]
    ));
    // The proxy drops new connections now, probes among them.
    for _ in 0..5 {
        assert_eq!(policy.handle(ms(2100), probe(bad())), []);
    }
    assert_eq!(policy.handle(ms(2200), line(ProxyState::Quiescing, 1)), []);
    let out = policy.handle(ms(3000), Event::Tick);
    assert!(matches!(
        out.as_slice(),
        [
            Action::Stepped {
                to: Step::Shifting,
                connections: 1,
                ..
            },
            Action::Announce {
                level: Level::Shifting,
                ..
            }
        ]
    ));
    assert_eq!(policy.handle(ms(4000), line(ProxyState::Quiescing, 0)), []);
    assert_eq!(policy.next_deadline(ms(4000)), Some(ms(5000)));
    let out = policy.handle(ms(5000), Event::Tick);
    assert!(matches!(
        out.as_slice(),
        [
            Action::Stepped {
                to: Step::Drained,
                ..
            },
            Action::Withdraw { .. }
        ]
    ));
    // Back: by the rise count, from a proxy that is ready again.
    let out = policy.handle(ms(9000), Event::Undrain(Source::Operator));
    assert!(matches!(out[0], Action::Stepped { to: Step::None, .. }));
    assert_eq!(policy.handle(ms(9050), line(ProxyState::Ready, 0)), []);
    assert_eq!(policy.handle(ms(9100), probe(Ok(()))), []);
    let out = policy.handle(ms(9200), probe(Ok(())));
    assert!(
        matches!(out.as_slice(), [Action::Announce { .. }]),
        "{out:?}"
    );
}

#[test]
fn undrain_takes_every_step_back_without_a_withdrawal() {
    for (at, step) in [
        (1200, Step::Bleeding),
        (61_200, Step::Quiescing),
        (62_200, Step::Shifting),
    ] {
        let mut policy = announced();
        let mut now = 1100;
        policy.handle(
            ms(now),
            Event::Drain {
                source: Source::Operator,
                reason: String::new(),
            },
        );
        while now < at {
            now += 100;
            for event in [line(ProxyState::Bleeding, 9), probe(Ok(()))] {
                for action in policy.handle(ms(now), event) {
                    assert!(!matches!(action, Action::Withdraw { .. }));
                }
            }
        }
        assert_eq!(policy.step(), step);
        let out = policy.handle(ms(now), Event::Undrain(Source::Operator));
        assert!(out.contains(&Action::AskProxy(Ask::Resume)), "{out:?}");
        assert!(!out.iter().any(|a| matches!(a, Action::Withdraw { .. })));
        assert_eq!(policy.vip_state(0), "announced");
        // The proxy's last words from before do not start the drain again.
        assert_eq!(
            policy.handle(ms(now + 10), line(ProxyState::Bleeding, 9)),
            []
        );
        assert_eq!(policy.step(), Step::None);
    }
}

#[test]
fn a_proxy_that_bleeds_by_itself_drains_and_comes_back() {
    let mut policy = announced();
    let out = policy.handle(ms(1100), line(ProxyState::Bleeding, 7));
    assert!(
        matches!(
            out.as_slice(),
            [Action::Stepped {
                to: Step::Bleeding,
                ..
            }]
        ),
        "it need not be asked: {out:?}"
    );
    policy.handle(ms(1200), line(ProxyState::Ready, 7));
    assert_eq!(policy.step(), Step::None);
    assert_eq!(policy.vip_state(0), "announced");
}

#[test]
fn leaving_drains_first_or_withdraws_at_once() {
    let mut policy = announced();
    policy.handle(
        ms(1100),
        Event::Drain {
            source: Source::Exit,
            reason: "SIGTERM".into(),
        },
    );
    policy.handle(ms(1200), line(ProxyState::Bleeding, 0));
    policy.handle(ms(1300), line(ProxyState::Quiescing, 0));
    let out = policy.handle(ms(3300), Event::Tick);
    assert_eq!(out.last(), Some(&Action::MayExit));
    assert_eq!(policy.handle(ms(3400), Event::Tick), []);

    let mut policy = announced();
    let out = policy.handle(ms(1100), Event::Leave("SIGTERM".into()));
    assert!(matches!(
        out.as_slice(),
        [Action::Withdraw { .. }, Action::MayExit]
    ));
}
