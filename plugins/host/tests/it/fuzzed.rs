//! Host calls with random arguments: statuses or traps, never a panic, and the head stays whole.

use std::fmt::Write;

use anypop_plugins::*;
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{guests::Guest, support::*};

const CALLS: &[(&str, usize)] = &[
    ("proxy_log", 3),
    ("proxy_get_log_level", 1),
    ("proxy_get_current_time_nanoseconds", 1),
    ("proxy_set_tick_period_milliseconds", 1),
    ("proxy_done", 0),
    ("proxy_set_effective_context", 1),
    ("proxy_get_buffer_bytes", 5),
    ("proxy_set_buffer_bytes", 5),
    ("proxy_get_buffer_status", 3),
    ("proxy_get_header_map_size", 2),
    ("proxy_get_header_map_pairs", 3),
    ("proxy_set_header_map_pairs", 3),
    ("proxy_get_header_map_value", 5),
    ("proxy_add_header_map_value", 5),
    ("proxy_replace_header_map_value", 5),
    ("proxy_remove_header_map_value", 3),
    ("proxy_continue_stream", 1),
    ("proxy_get_status", 3),
    ("proxy_http_call", 10),
    ("proxy_get_shared_data", 5),
    ("proxy_set_shared_data", 5),
    ("proxy_register_shared_queue", 3),
    ("proxy_resolve_shared_queue", 5),
    ("proxy_enqueue_shared_queue", 3),
    ("proxy_dequeue_shared_queue", 3),
    ("proxy_define_metric", 4),
    ("proxy_get_metric", 2),
    ("proxy_get_property", 4),
    ("proxy_set_property", 4),
    ("proxy_call_foreign_function", 6),
];

fn argument() -> impl Strategy<Value = u32> {
    // Small numbers are types and sizes, those around 1024 hold data, and the edges are where arithmetic breaks.
    prop_oneof![
        0..9_u32,
        1000..1200_u32,
        65_500..65_540_u32,
        Just(u32::MAX),
        Just(u32::MAX - 3),
        any::<u32>()
    ]
}

#[test]
fn host_calls_with_random_arguments() {
    let pop = Pop::new();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let call = (0..CALLS.len(), prop::collection::vec(argument(), 10));
    runner
        .run(&prop::collection::vec(call, 120), |calls| {
            let mut guest = Guest::new();
            guest.data(":path\0x-a\0\x01\0\0\0\x01\0\0\0\x01\0\0\0a\x001\0auth");
            let mut body = String::new();
            for (index, arguments) in calls {
                let (name, count) = CALLS[index];
                write!(body, "(drop (call ${name}").unwrap();
                for argument in arguments.iter().take(count) {
                    write!(body, " (i32.const {argument})").unwrap();
                }
                body.push_str("))\n");
            }
            let guest = guest
                .on("request_headers", &format!("{body} (i32.const 0)"))
                .on("request_body", &format!("{body} (i32.const 0)"));
            let plugin = pop.attach(&guest, |_| {});
            let mut stream = pop.stream(&[&plugin]);
            let mut flow = stream.head(Direction::Request, request(), false);
            if flow == Flow::Continue {
                flow = stream.body(Direction::Request, "body".into(), true);
            }
            prop_assert!(!matches!(flow, Flow::Pause | Flow::NeedBody));
            if let Some(head) = stream.released_head(Direction::Request) {
                prop_assert_eq!(head.method().is_empty(), false);
                prop_assert_eq!(head.authority().is_empty(), false);
            }
            pop.edge.calls.lock().clear();
            Ok(())
        })
        .unwrap();
}
