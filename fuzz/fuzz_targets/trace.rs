//! What a client says of its trace and its request: `traceparent`, `tracestate`, `X-Request-Id`.
#![no_main]

use anypop::observe::{
    request_id::RequestId,
    trace::{self, Trace, TraceParent},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let parent = TraceParent::from_fields(lines.iter().copied());
    let state = trace::trace_state(lines.iter().copied());
    let trace = Trace::begin(parent, state, true);
    // What is sent on must be readable by who gets it.
    assert!(TraceParent::parse(trace.traceparent().as_bytes()).is_some());
    if let Some(state) = trace.tracestate() {
        assert_eq!(
            trace::trace_state([state.as_bytes()]).as_deref(),
            Some(state)
        );
    }
    if let Some(id) = RequestId::parse(data) {
        assert_eq!(id.as_str().as_bytes(), data);
    }
});
