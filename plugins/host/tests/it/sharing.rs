//! Shared data, queues, metrics, ticks.

use std::time::{Duration, Instant};

use anypop_plugins::{metrics::SampleValue, *};

use crate::{
    guests::{Guest, say},
    support::*,
};

const OUT: &str = "(i32.const 16) (i32.const 20)";

#[test]
fn shared_data_with_compare_and_swap() {
    let mut guest = Guest::new();
    let (key, one, two) = (guest.data("key"), guest.data("one"), guest.data("two"));
    let get = format!("(call $tell (call $proxy_get_shared_data {key} {OUT} (i32.const 24)))");
    let set = |value: &str, cas: &str| {
        format!("(call $say (call $proxy_set_shared_data {key} {value} {cas}))")
    };
    let guest = guest.on(
        "request_headers",
        &[
            get.clone(),
            set(&one, "(i32.const 7)"),
            set(&one, "(i32.const 0)"),
            get.clone(),
            set(&two, "(i32.add (i32.load (i32.const 24)) (i32.const 1))"),
            set(&two, "(i32.load (i32.const 24))"),
            set(&one, "(i32.load (i32.const 24))"),
            get,
            "(i32.const 0)".to_owned(),
        ]
        .join(" "),
    );
    let (_, _, lines) = Pop::new().get(&guest);
    assert_eq!(
        lines,
        ["1", "8", "0", "0", "one", "8", "0", "8", "0", "two"]
    );
}

/// Logs what is under `key`, then sets it to `value`.
fn writer(value: &str) -> Guest {
    let mut guest = Guest::new();
    let (key, value) = (guest.data("key"), guest.data(value));
    guest.on(
        "request_headers",
        &format!(
            "(call $tell (call $proxy_get_shared_data {key} {OUT} (i32.const 24)))
             (call $say (call $proxy_set_shared_data {key} {value} (i32.const 0))) (i32.const 0)"
        ),
    )
}

#[test]
fn sites_and_vm_ids_share_nothing_and_plugins_of_one_do() {
    let pop = Pop::new();
    let run = |site: &str, vm: &str, value: &str| {
        let plugin = pop.attach_to(site, &writer(value), |spec| spec.vm_id = vm.to_owned());
        pop.stream(&[&plugin])
            .head(Direction::Request, request(), true);
        pop.lines()
    };
    assert_eq!(run("a", "", "from-a"), ["1", "0"]);
    assert_eq!(run("b", "", "from-b"), ["1", "0"]);
    assert_eq!(run("a", "other", "x"), ["1", "0"]);
    // A reload is another plugin of the same site.
    assert_eq!(run("a", "", "again"), ["0", "from-a", "0"]);
    assert_eq!(
        pop.host
            .shared("b")
            .get(&bytes::Bytes::new(), b"key")
            .unwrap()
            .0,
        "from-b"
    );
    pop.host.forget_site("a");
    assert_eq!(run("a", "", "new"), ["1", "0"]);
}

#[test]
fn shared_bytes_are_bounded_per_site() {
    let pop = Pop::with(|options| options.shared.data = 16);
    let run = |site: &str, value: &str| {
        let plugin = pop.attach_to(site, &writer(value), |_| {});
        pop.stream(&[&plugin])
            .head(Direction::Request, request(), true);
        pop.lines().concat()
    };
    assert_eq!(run("a", "0123456789abc"), "10");
    assert_eq!(run("a", "0123456789abcd"), "00123456789abc:");
    assert_eq!(run("a", "x"), "00123456789abc0");
    assert_eq!(pop.host.shared("a").data_bytes(), 4);
    assert_eq!(run("b", "0123456789abc"), "10");
}

#[test]
fn queues_are_filled_emptied_and_announced() {
    let mut consumer = Guest::new();
    let name = consumer.data("work");
    let consumer = consumer
        .on("configure", &format!("(call $say (call $proxy_register_shared_queue {name} (i32.const 24))) (call $number (i32.load (i32.const 24))) (i32.const 1)"))
        .on("queue_ready", &format!("(call $number (local.get 1)) (call $tell (call $proxy_dequeue_shared_queue (local.get 1) {OUT}))"));
    let mut producer = Guest::new();
    let (name, vm, item, none) = (
        producer.data("work"),
        producer.data("vm"),
        producer.data("item"),
        producer.data("none"),
    );
    let producer = producer.on(
        "request_headers",
        &format!(
            "(call $say (call $proxy_resolve_shared_queue {vm} {none} (i32.const 24)))
             (call $say (call $proxy_resolve_shared_queue {vm} {name} (i32.const 24)))
             (call $say (call $proxy_enqueue_shared_queue (i32.load (i32.const 24)) {item}))
             (call $say (call $proxy_enqueue_shared_queue (i32.const 77) {item}))
             (call $say (call $proxy_dequeue_shared_queue (i32.const 0) {OUT}))
             (i32.const 0)"
        ),
    );
    let pop = Pop::new();
    let _consumer = pop.attach(&consumer, |spec| spec.vm_id = "vm".to_owned());
    assert_eq!(pop.lines(), ["0", "1"]);
    let producing = pop.attach(&producer, |spec| spec.name = "producer".to_owned());
    for _ in 0..2 {
        pop.stream(&[&producing])
            .head(Direction::Request, request(), true);
        assert_eq!(pop.lines().concat(), "10011");
    }
    pop.host.run_due(Instant::now());
    assert_eq!(pop.lines(), ["1", "0", "item", "1", "0", "item"]);
    pop.host.run_due(Instant::now());
    assert_eq!(pop.lines(), Vec::<String>::new());
    // Another site resolves nothing, and this queue's number means nothing there.
    let stranger = pop.attach_to("other", &producer, |_| {});
    pop.stream(&[&stranger])
        .head(Direction::Request, request(), true);
    assert_eq!(pop.lines().concat(), "11111");
}

#[test]
fn queues_are_bounded() {
    let limits = SharedLimits {
        queues: 1,
        queue_items: 2,
        queue_bytes: 5,
        ..SharedLimits::default()
    };
    let shared = shared::Shared::new(limits);
    let vm = bytes::Bytes::new();
    let id = shared.register_queue(&vm, b"a").unwrap();
    assert_eq!(shared.register_queue(&vm, b"a"), Ok(id));
    assert_eq!(
        shared.register_queue(&vm, b"b"),
        Err(Status::InternalFailure)
    );
    assert_eq!(shared.enqueue(id, b"123"), Ok(()));
    assert_eq!(shared.enqueue(id, b"456"), Err(Status::InternalFailure));
    assert_eq!(shared.enqueue(id, b""), Ok(()));
    assert_eq!(shared.enqueue(id, b""), Err(Status::InternalFailure));
    assert_eq!(shared.dequeue(id).unwrap(), "123");
    assert_eq!(shared.dequeue(id).unwrap(), "");
    assert_eq!(shared.dequeue(id), Err(Status::Empty));
}

#[test]
fn metrics_count_and_are_bounded() {
    let mut guest = Guest::new();
    let (counter, gauge, histogram, third) = (
        guest.data("hits"),
        guest.data("load"),
        guest.data("ms"),
        guest.data("more"),
    );
    let define = |kind: u32, name: &str, at: u32| {
        format!(
            "(call $say (call $proxy_define_metric (i32.const {kind}) {name} (i32.const {at})))"
        )
    };
    let id = |at: u32| format!("(i32.load (i32.const {at}))");
    let (c, g, h) = (id(100), id(104), id(108));
    let guest = guest.on(
        "request_headers",
        &[
            define(0, &counter, 100),
            define(1, &gauge, 104),
            define(2, &histogram, 108),
            define(0, &third, 112),
            define(1, &counter, 112),
            define(3, &counter, 112),
            format!("(call $say (call $proxy_increment_metric {c} (i64.const 3)))"),
            format!("(call $say (call $proxy_increment_metric {c} (i64.const -1)))"),
            format!("(call $say (call $proxy_increment_metric {g} (i64.const -2)))"),
            format!("(call $say (call $proxy_increment_metric {h} (i64.const 1)))"),
            format!("(call $say (call $proxy_record_metric {h} (i64.const 7)))"),
            format!("(call $say (call $proxy_get_metric {c} (i32.const 120)))"),
            "(call $number (i32.load (i32.const 120)))".to_owned(),
            format!("(call $say (call $proxy_get_metric {h} (i32.const 120)))"),
            "(call $say (call $proxy_get_metric (i32.const 9) (i32.const 120)))".to_owned(),
            "(call $say (call $proxy_record_metric (i32.const 0) (i64.const 1)))".to_owned(),
            "(i32.const 0)".to_owned(),
        ]
        .join(" "),
    );
    let pop = Pop::new();
    for (site, times) in [("a", 2), ("b", 1)] {
        let plugin = pop.attach_to(site, &guest, |spec| spec.limits.metrics = 3);
        for _ in 0..times {
            pop.stream(&[&plugin])
                .head(Direction::Request, request(), true);
        }
    }
    let lines = pop.lines();
    // defined: counter, gauge, histogram; too many; wrong type; no type; then as named above.
    assert_eq!(lines[..16].concat(), "000:220202003211");
    let samples = pop.host.metrics().samples();
    assert_eq!(samples.len(), 6);
    let value = |site: &str, name: &str| {
        samples
            .iter()
            .find(|s| s.site == site && s.name == name)
            .unwrap()
            .value
            .clone()
    };
    assert_eq!(value("a", "hits"), SampleValue::Counter(6));
    assert_eq!(value("b", "hits"), SampleValue::Counter(3));
    assert_eq!(value("a", "load"), SampleValue::Gauge(-4));
    let SampleValue::Histogram {
        buckets,
        count,
        sum,
    } = value("a", "ms")
    else {
        panic!()
    };
    assert_eq!((buckets[3], count, sum), (2, 2, 14));
}

#[test]
fn ticks_come_in_their_period_and_no_faster_than_allowed() {
    let mut guest = Guest::new();
    let tick = say(&mut guest, "tick");
    let guest = guest
        .on(
            "configure",
            "(call $say (call $proxy_set_tick_period_milliseconds (i32.const 1))) (i32.const 1)",
        )
        .on("tick", &tick);
    let pop = Pop::new();
    let _plugin = pop.attach(&guest, |spec| spec.limits.tick = Duration::from_secs(100));
    let now = Instant::now();
    assert_eq!(pop.lines(), ["0"]);
    let next = pop.host.run_due(now).unwrap();
    assert!(next > now + Duration::from_secs(99));
    assert!(pop.lines().is_empty());
    let next = pop.host.run_due(now + Duration::from_secs(101)).unwrap();
    assert_eq!(next, now + Duration::from_secs(201));
    assert_eq!(pop.lines(), ["tick"]);
}

#[test]
fn the_hosts_own_thread_ticks() {
    let guest = Guest::new()
        .on(
            "configure",
            "(drop (call $proxy_set_tick_period_milliseconds (i32.const 10))) (i32.const 1)",
        )
        .on("tick", "(call $say (i32.const 0))");
    let pop = Pop::with(|options| options.background = true);
    let _plugin = pop.attach(&guest, |_| {});
    let deadline = Instant::now() + Duration::from_secs(20);
    while pop.edge.lines.lock().len() < 3 {
        assert!(Instant::now() < deadline, "no ticks");
        std::thread::yield_now();
    }
}
