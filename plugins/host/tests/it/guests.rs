//! Guests in the text format. The prelude imports every host function with its type, so each of these modules also
//! proves that all of them link.

/// Every host function of proxy-wasm 0.2.1 with its parameters; all answer one i32.
const IMPORTS: &[(&str, &str)] = &[
    ("proxy_log", "i32 i32 i32"),
    ("proxy_get_log_level", "i32"),
    ("proxy_get_current_time_nanoseconds", "i32"),
    ("proxy_set_tick_period_milliseconds", "i32"),
    ("proxy_done", ""),
    ("proxy_set_effective_context", "i32"),
    ("proxy_get_buffer_bytes", "i32 i32 i32 i32 i32"),
    ("proxy_set_buffer_bytes", "i32 i32 i32 i32 i32"),
    ("proxy_get_buffer_status", "i32 i32 i32"),
    ("proxy_get_header_map_size", "i32 i32"),
    ("proxy_get_header_map_pairs", "i32 i32 i32"),
    ("proxy_set_header_map_pairs", "i32 i32 i32"),
    ("proxy_get_header_map_value", "i32 i32 i32 i32 i32"),
    ("proxy_add_header_map_value", "i32 i32 i32 i32 i32"),
    ("proxy_replace_header_map_value", "i32 i32 i32 i32 i32"),
    ("proxy_remove_header_map_value", "i32 i32 i32"),
    ("proxy_continue_stream", "i32"),
    ("proxy_close_stream", "i32"),
    ("proxy_get_status", "i32 i32 i32"),
    (
        "proxy_send_local_response",
        "i32 i32 i32 i32 i32 i32 i32 i32",
    ),
    ("proxy_http_call", "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32"),
    (
        "proxy_grpc_call",
        "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32",
    ),
    ("proxy_grpc_stream", "i32 i32 i32 i32 i32 i32 i32 i32 i32"),
    ("proxy_grpc_send", "i32 i32 i32 i32"),
    ("proxy_grpc_cancel", "i32"),
    ("proxy_grpc_close", "i32"),
    ("proxy_get_shared_data", "i32 i32 i32 i32 i32"),
    ("proxy_set_shared_data", "i32 i32 i32 i32 i32"),
    ("proxy_register_shared_queue", "i32 i32 i32"),
    ("proxy_resolve_shared_queue", "i32 i32 i32 i32 i32"),
    ("proxy_enqueue_shared_queue", "i32 i32 i32"),
    ("proxy_dequeue_shared_queue", "i32 i32 i32"),
    ("proxy_define_metric", "i32 i32 i32 i32"),
    ("proxy_record_metric", "i32 i64"),
    ("proxy_increment_metric", "i32 i64"),
    ("proxy_get_metric", "i32 i32"),
    ("proxy_get_property", "i32 i32 i32 i32"),
    ("proxy_set_property", "i32 i32 i32 i32"),
    ("proxy_call_foreign_function", "i32 i32 i32 i32 i32 i32"),
];

/// Callbacks with their parameters and results.
const CALLBACKS: &[(&str, &str, &str)] = &[
    ("_initialize", "", ""),
    ("_start", "", ""),
    ("proxy_on_context_create", "i32 i32", ""),
    ("proxy_on_vm_start", "i32 i32", "i32"),
    ("proxy_on_configure", "i32 i32", "i32"),
    ("proxy_on_tick", "i32", ""),
    ("proxy_on_queue_ready", "i32 i32", ""),
    ("proxy_on_request_headers", "i32 i32 i32", "i32"),
    ("proxy_on_request_body", "i32 i32 i32", "i32"),
    ("proxy_on_request_trailers", "i32 i32", "i32"),
    ("proxy_on_response_headers", "i32 i32 i32", "i32"),
    ("proxy_on_response_body", "i32 i32 i32", "i32"),
    ("proxy_on_response_trailers", "i32 i32", "i32"),
    ("proxy_on_done", "i32", "i32"),
    ("proxy_on_log", "i32", ""),
    ("proxy_on_delete", "i32", ""),
    ("proxy_on_http_call_response", "i32 i32 i32 i32 i32", ""),
    ("proxy_on_foreign_function", "i32 i32 i32", ""),
];

/// Where host functions put pointers, sizes and numbers that they return.
pub(crate) const POINTER: u32 = 16;
pub(crate) const SIZE: u32 = 20;
pub(crate) const NUMBER: u32 = 24;

/// A guest being written.
pub(crate) struct Guest {
    data: Vec<(usize, Vec<u8>)>,
    next: usize,
    functions: String,
    extra: String,
    allocator: String,
    abi: &'static str,
}

impl Guest {
    pub(crate) fn new() -> Self {
        Self {
            data: Vec::new(),
            next: 1024,
            functions: String::new(),
            extra: String::new(),
            allocator: "(local $at i32) (local.set $at (global.get $heap))
                (global.set $heap (i32.add (global.get $heap) (i32.and (i32.add (local.get 0) (i32.const 15)) (i32.const -16))))
                (local.get $at)"
                .to_owned(),
            abi: "0_2_1",
        }
    }

    pub(crate) fn abi(mut self, version: &'static str) -> Self {
        self.abi = version;
        self
    }

    /// Another body for `proxy_on_memory_allocate`.
    pub(crate) fn allocator(mut self, body: &str) -> Self {
        self.allocator = body.to_owned();
        self
    }

    /// More imports or fields of the module.
    pub(crate) fn with(mut self, field: &str) -> Self {
        self.extra.push_str(field);
        self
    }

    /// Puts bytes into the guest's memory; gives back `(i32.const pointer) (i32.const size)`.
    pub(crate) fn data(&mut self, bytes: impl AsRef<[u8]>) -> String {
        let bytes = bytes.as_ref();
        let at = self.next;
        self.next += bytes.len() + 1;
        assert!(self.next < 32_000, "the heap begins there");
        self.data.push((at, bytes.to_vec()));
        format!("(i32.const {at}) (i32.const {})", bytes.len())
    }

    /// Adds a callback; parameters are `(local.get 0)` and so on, and there are i32 locals `$a` and `$b`.
    pub(crate) fn on(mut self, callback: &str, body: &str) -> Self {
        let name = if callback.starts_with('_') {
            callback.to_owned()
        } else {
            format!("proxy_on_{callback}")
        };
        let (_, parameters, results) = CALLBACKS
            .iter()
            .find(|(known, ..)| *known == name)
            .expect("a callback");
        let result = if results.is_empty() {
            String::new()
        } else {
            format!("(result {results})")
        };
        self.functions.push_str(&format!(
            "(func (export \"{name}\") (param {parameters}) {result} (local $a i32) (local $b i32) {body})\n"
        ));
        self
    }

    pub(crate) fn wasm(&self) -> Vec<u8> {
        let mut text = String::from("(module\n");
        for (name, parameters) in IMPORTS {
            text.push_str(&format!(
                "(import \"env\" \"{name}\" (func ${name} (param {parameters}) (result i32)))\n"
            ));
        }
        // Imports come first in a module.
        let (imports, rest): (Vec<&str>, Vec<&str>) = self
            .extra
            .split('\n')
            .partition(|line| line.trim_start().starts_with("(import"));
        text.push_str(&imports.join("\n"));
        text.push_str(&format!(
            "(memory (export \"memory\") 1)
             (global $heap (mut i32) (i32.const 32768))
             (func (export \"proxy_abi_version_{}\"))
             (func $allocate (export \"proxy_on_memory_allocate\") (param i32) (result i32) {})
             ;; Logs a status as one character: '0' for Ok, '1' for NotFound, ':' for InternalFailure …
             (func $say (param i32)
                (i32.store8 (i32.const 0) (i32.add (i32.const 48) (local.get 0)))
                (drop (call $proxy_log (i32.const 2) (i32.const 0) (i32.const 1))))
             ;; Logs a status, and what was returned when it is Ok.
             (func $tell (param i32)
                (call $say (local.get 0))
                (if (i32.eqz (local.get 0)) (then
                    (drop (call $proxy_log (i32.const 2) (i32.load (i32.const {POINTER})) (i32.load (i32.const {SIZE})))))))
             ;; Logs a number.
             (func $number (param i32) (local $at i32)
                (local.set $at (i32.const 15))
                (loop $digit
                    (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get 0) (i32.const 10))))
                    (local.set $at (i32.sub (local.get $at) (i32.const 1)))
                    (local.set 0 (i32.div_u (local.get 0) (i32.const 10)))
                    (br_if $digit (local.get 0)))
                (drop (call $proxy_log (i32.const 2) (i32.add (local.get $at) (i32.const 1)) (i32.sub (i32.const 15) (local.get $at)))))
             ",
            self.abi, self.allocator
        ));
        text.push_str(&rest.join("\n"));
        for (at, bytes) in &self.data {
            let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
            text.push_str(&format!("(data (i32.const {at}) \"{escaped}\")\n"));
        }
        text.push_str(&self.functions);
        text.push(')');
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}

/// Text that a guest logs.
pub(crate) fn say(guest: &mut Guest, text: &str) -> String {
    let data = guest.data(text);
    format!("(drop (call $proxy_log (i32.const 2) {data}))")
}
