#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    tests::{line, settings},
    *,
};

const VIPS: usize = 2;

fn states() -> impl Strategy<Value = ProxyState> {
    prop_oneof![
        6 => Just(ProxyState::Ready),
        1 => Just(ProxyState::Starting),
        2 => Just(ProxyState::Bleeding),
        1 => Just(ProxyState::Quiescing),
        1 => Just(ProxyState::Drained),
        1 => Just(ProxyState::Failing),
        1 => Just(ProxyState::Unknown),
    ]
}

fn sources() -> impl Strategy<Value = Source> {
    prop_oneof![
        Just(Source::Operator),
        Just(Source::File),
        Just(Source::Exit)
    ]
}

fn results(good: u32) -> impl Strategy<Value = Result<(), String>> {
    prop_oneof![
        good => Just(Ok(())),
        1 => Just(Err("bad".to_owned())),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Tick),
        10 => (states(), 0_u64..3).prop_map(|(state, open)| line(state, open)),
        1 => Just(Event::Gone("gone".to_owned())),
        10 => (0..VIPS, results(5)).prop_map(|(vip, result)| Event::Probed { vip, check: 0, result }),
        4 => (0..2_usize, results(5)).prop_map(|(check, result)| Event::Checked { check, result }),
        6 => (0..VIPS, prop::bool::weighted(0.9)).prop_map(|(vip, present)| Event::Address { vip, present }),
        1 => sources().prop_map(|source| Event::Drain { source, reason: "test".to_owned() }),
        2 => sources().prop_map(Event::Undrain),
    ]
}

/// What a router would know, built from the actions alone.
fn apply(told: &mut BTreeMap<usize, Level>, actions: &[Action]) {
    for action in actions {
        match action {
            Action::Announce { vip, level, .. } => {
                assert_ne!(told.insert(*vip, *level), Some(*level), "said twice");
            }
            Action::Withdraw { vip, .. } => {
                assert!(told.remove(vip).is_some(), "withdrawn, but never announced");
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens: nothing is announced that is known to be dead.
    #[test]
    fn a_dead_data_plane_is_never_announced(
        script in prop::collection::vec((0_u64..2500, events()), 1..120),
    ) {
        let mut policy = Policy::new(settings(VIPS, &[Scope::Local, Scope::Shared]));
        let mut told = BTreeMap::new();
        let mut now = Moment::ZERO;
        let mut lease = None;
        let mut present = [false; VIPS];
        for (wait, event) in script {
            let target = now + Moment::from_millis(wait);
            // The shell ticks when it is told to, and not later.
            while let Some(due) = policy.next_deadline(now).filter(|due| *due <= target) {
                prop_assert!(due > now);
                now = due;
                apply(&mut told, &policy.handle(now, Event::Tick));
                if lease.is_some_and(|until| now >= until) {
                    prop_assert!(told.is_empty(), "announced without a lease");
                }
            }
            now = target;
            match &event {
                Event::Line(line) => lease = (!matches!(line.state, ProxyState::Starting | ProxyState::Drained)).then(|| now + line.lease),
                Event::Gone(_) => lease = None,
                Event::Address { vip, present: there } => present[*vip] = *there,
                _ => {}
            }
            apply(&mut told, &policy.handle(now, event));
            if lease.is_none_or(|until| now >= until) {
                prop_assert!(told.is_empty(), "announced although the proxy is dead");
            }
            for (vip, there) in present.iter().enumerate() {
                prop_assert!(*there || !told.contains_key(&vip), "announced without its address");
            }
            if policy.step() == Step::Drained {
                prop_assert!(told.is_empty(), "announced although drained");
            }
        }
    }

    /// Whatever is shared may fail as it likes: nothing is withdrawn.
    #[test]
    fn a_shared_failure_never_withdraws(
        script in prop::collection::vec((0_u64..900, any::<bool>()), 1..200),
    ) {
        let mut policy = Policy::new(settings(VIPS, &[Scope::Shared]));
        let mut now = Moment::ZERO;
        for vip in 0..VIPS {
            policy.handle(now, Event::Address { vip, present: true });
            for _ in 0..2 {
                policy.handle(now, Event::Probed { vip, check: 0, result: Ok(()) });
            }
        }
        policy.handle(now, line(ProxyState::Ready, 0));
        for (wait, ok) in script {
            now += Moment::from_millis(wait);
            let mut out = policy.handle(now, line(ProxyState::Ready, 0));
            for vip in 0..VIPS {
                out.extend(policy.handle(now, Event::Probed { vip, check: 0, result: Ok(()) }));
            }
            let result = if ok { Ok(()) } else { Err("origin is down".to_owned()) };
            out.extend(policy.handle(now, Event::Checked { check: 0, result }));
            let withdrawn = out.iter().any(|action| matches!(action, Action::Withdraw { .. }));
            prop_assert!(!withdrawn);
            prop_assert_ne!(policy.vip_state(0), "withdrawn");
        }
    }
}
