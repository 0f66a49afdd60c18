//! Compiling, linking, starting, reloading, snapshots.

use std::time::Instant;

use anypop_plugins::{blueprint::ModuleError, *};

use crate::{
    guests::{Guest, say},
    support::*,
};

#[test]
fn the_order_of_starting() {
    let mut guest = Guest::new();
    let mut on = |text: &str| say(&mut guest, text);
    let (initialize, create, start, configure) = (
        on("initialize"),
        on("create"),
        on("vm_start"),
        on("configure"),
    );
    let (main, tick) = (on("main"), on("tick"));
    let guest = guest
        .with(&format!(
            "(func (export \"main\") (param i32 i32) (result i32) {main} (i32.const 0))"
        ))
        .on("_initialize", &initialize)
        .on("_start", "unreachable")
        .on(
            "context_create",
            &format!("{create} (call $number (local.get 0)) (call $number (local.get 1))"),
        )
        .on("vm_start", &format!("{start} (i32.const 1)"))
        .on("configure", &format!("{configure} (i32.const 1)"))
        .on("tick", &tick)
        .on("request_headers", "(i32.const 0)");
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |_| {});
    assert_eq!(
        pop.lines(),
        [
            "initialize",
            "main",
            "create",
            "1",
            "0",
            "vm_start",
            "configure"
        ]
    );
    pop.stream(&[&plugin])
        .head(Direction::Request, request(), true);
    assert_eq!(pop.lines(), ["create", "2", "1"]);
}

#[test]
fn older_markers_are_accepted_and_others_are_not() {
    let pop = Pop::new();
    for (marker, abi) in [
        ("0_2_0", "0.2.0"),
        ("0_2_1", "0.2.1"),
        ("0_2_100", "0.2.100"),
    ] {
        let module = pop.host.compile(&Guest::new().abi(marker).wasm()).unwrap();
        assert_eq!(module.inspection().abi, abi);
    }
    let error = pop
        .host
        .compile(&Guest::new().abi("0_1_0").wasm())
        .unwrap_err();
    assert!(
        matches!(&error, ModuleError::Abi(markers) if markers == "proxy_abi_version_0_1_0"),
        "{error}"
    );
}

#[test]
fn modules_that_are_none_are_refused_with_a_reason() {
    let pop = Pop::new();
    let compile = |text: &str| {
        pop.host
            .compile(&wat::parse_str(text).unwrap())
            .unwrap_err()
            .to_string()
    };
    assert!(compile("(module)").contains("no proxy_abi_version"));
    let marker = "(func (export \"proxy_abi_version_0_2_1\"))";
    assert!(compile(&format!("(module {marker})")).contains("no memory"));
    assert!(
        compile(&format!("(module {marker} (memory (export \"memory\") 1))")).contains("malloc")
    );
    let unknown = compile(&format!(
        "(module (import \"env\" \"secret\" (func)) {marker} (memory (export \"memory\") 1))"
    ));
    assert!(unknown.contains("secret"), "{unknown}");
    let wrong = compile(&format!(
        "(module (import \"env\" \"proxy_log\" (func)) {marker} (memory (export \"memory\") 1))"
    ));
    assert!(wrong.contains("proxy_log"), "{wrong}");
    assert!(pop.host.compile(b"\0asm").is_err());
    assert!(pop.host.compile(b"").is_err());
    assert!(pop.host.compile(b"\x7fELF not ours").is_err());
    let odd = compile(&format!(
        "(module {marker} (memory (export \"memory\") 1) (func (export \"malloc\") (param i32) (result i32) unreachable)
            (func (export \"proxy_on_log\") (param i64)))"
    ));
    assert!(odd.contains("proxy_on_log"), "{odd}");
}

#[test]
fn a_refused_configuration_leaves_the_running_plugin_alone() {
    let mut guest = Guest::new();
    let ran = say(&mut guest, "ran");
    // Only the empty configuration is good.
    let guest = guest
        .on("configure", "(i32.eqz (local.get 1))")
        .on("request_headers", &format!("{ran} (i32.const 0)"));
    let pop = Pop::new();
    let old = pop.attach(&guest, |_| {});
    let error = pop
        .try_attach("site", &guest.wasm(), |spec| {
            spec.configuration = "bad".into()
        })
        .unwrap_err();
    assert!(
        matches!(error, PluginError::Start(Fault::Refused(_))),
        "{error}"
    );
    assert_eq!(
        pop.stream(&[&old])
            .head(Direction::Request, request(), true),
        Flow::Continue
    );
    assert_eq!(pop.lines(), ["ran"]);
    assert_eq!(old.status(Instant::now()).crashes, 0);
    let refuses = Guest::new().on("vm_start", "(i32.const 0)");
    assert!(pop.try_attach("site", &refuses.wasm(), |_| {}).is_err());
}

#[test]
fn streams_end_on_the_plugin_they_began_with() {
    let version = |name: &str| {
        let mut guest = Guest::new();
        let (request, response) = (
            say(&mut guest, &format!("{name} request")),
            say(&mut guest, &format!("{name} response")),
        );
        guest
            .on("request_headers", &format!("{request} (i32.const 0)"))
            .on("response_headers", &format!("{response} (i32.const 0)"))
    };
    let pop = Pop::new();
    let old = pop.attach(&version("old"), |_| {});
    let mut running = pop.stream(&[&old]);
    running.head(Direction::Request, request(), true);
    let new = pop.attach(&version("new"), |_| {});
    drop(old);
    pop.stream(&[&new])
        .head(Direction::Request, request(), true);
    running.head(Direction::Response, response(), true);
    assert_eq!(pop.lines(), ["old request", "new request", "old response"]);
    drop(running);
    assert_eq!(pop.host.plugins().len(), 1);
}

/// Counts requests in memory and in a global, beside what configuration left there.
fn counter() -> Guest {
    let mut guest = Guest::new();
    let configured = say(&mut guest, "configured");
    guest
        .with("(global $count (mut i32) (i32.const 5))")
        .on(
            "configure",
            &format!("{configured} (i32.store (i32.const 500) (i32.const 40)) (global.set $count (i32.const -7)) (drop (memory.grow (i32.const 1))) (i32.const 1)"),
        )
        .on(
            "request_headers",
            "(i32.store (i32.const 500) (i32.add (i32.load (i32.const 500)) (i32.const 1)))
             (global.set $count (i32.add (global.get $count) (i32.const 8)))
             (call $number (i32.load (i32.const 500))) (call $number (global.get $count)) (call $number (memory.size))
             (i32.const 0)",
        )
}

#[test]
fn instances_are_shared_by_a_workers_requests() {
    let pop = Pop::with(|options| options.workers = 2);
    let plugin = pop.attach(&counter(), |_| {});
    assert!(!plugin.has_snapshot());
    let chain = Chain::new(std::slice::from_ref(&plugin), Phase::Client);
    for (worker, expected) in [(0, "41"), (0, "42"), (1, "41"), (2, "43")] {
        pop.lines();
        chain
            .stream(worker, StreamInfo::default())
            .head(Direction::Request, request(), true);
        let lines = pop.lines();
        assert!(lines.contains(&expected.to_owned()), "{worker}: {lines:?}");
    }
    assert_eq!(plugin.status(Instant::now()).instances, 2);
}

#[test]
fn isolated_requests_each_begin_where_configuration_ended() {
    let pop = Pop::new();
    let plugin = pop.attach(&counter(), |spec| spec.isolation = Isolation::Request);
    assert!(plugin.has_snapshot());
    pop.lines();
    for _ in 0..3 {
        pop.stream(&[&plugin])
            .head(Direction::Request, request(), true);
        assert_eq!(pop.lines(), ["41", "1", "2"]);
    }
}

#[test]
fn modules_with_state_elsewhere_are_configured_for_each_request() {
    let guest = counter()
        .with("(table 1 funcref) (func (export \"x\") (table.set (i32.const 0) (ref.null func)))");
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |spec| spec.isolation = Isolation::Request);
    assert!(!plugin.has_snapshot());
    pop.lines();
    for _ in 0..2 {
        pop.stream(&[&plugin])
            .head(Direction::Request, request(), true);
        assert_eq!(pop.lines(), ["configured", "41", "1", "2"]);
    }
}

#[test]
fn a_thousand_plugins_have_their_own_configurations() {
    let mut guest = Guest::new();
    let out = "(i32.const 16) (i32.const 20)";
    let _ = guest.data("x");
    let guest = guest.on(
        "request_headers",
        &format!("(call $tell (call $proxy_get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const -1) {out})) (i32.const 0)"),
    );
    let pop = Pop::with(|options| options.pool.instances = 1100);
    let module = pop.host.compile(&guest.wasm()).unwrap();
    let plugins: Vec<_> = (0..1000)
        .map(|n| {
            let spec = PluginSpec {
                configuration: format!("site {n}").into(),
                ..PluginSpec::new("p")
            };
            pop.host
                .plugin(&format!("site{n}"), &module, &spec)
                .unwrap()
        })
        .collect();
    for (n, plugin) in plugins.iter().enumerate().step_by(97) {
        pop.stream(&[plugin])
            .head(Direction::Request, request(), true);
        assert_eq!(pop.lines(), ["0".to_owned(), format!("site {n}")]);
    }
}

#[test]
fn limits_beyond_the_pool_are_refused() {
    let pop = Pop::new();
    let wasm = Guest::new().wasm();
    let error = pop
        .try_attach("site", &wasm, |spec| spec.limits.memory = 1 << 40)
        .unwrap_err();
    assert!(matches!(error, PluginError::Memory { .. }), "{error}");
    let error = pop
        .try_attach("site", &wasm, |spec| spec.limits.table_elements = 30_000)
        .unwrap_err();
    assert!(matches!(error, PluginError::Tables(30_000)), "{error}");
}
