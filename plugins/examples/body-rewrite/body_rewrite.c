/* Replaces one text by another in response bodies. Configuration: the text, a tab, its replacement.
 *
 * No SDK and no libc: it shows how little a guest needs. The body is collected whole before it goes on
 * (up to the plugin's limits.buffer), since what is sought may lie across two chunks.
 */
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(name) __attribute__((import_module("env"), import_name(#name)))

enum { OK = 0, CONTINUE = 0, PAUSE = 1, RESPONSE_BODY = 1, PLUGIN_CONFIGURATION = 7, RESPONSE_HEADERS = 2, ERROR = 4 };

IMPORT(proxy_log) int proxy_log(int level, const char *data, size_t size);
IMPORT(proxy_get_buffer_bytes) int proxy_get_buffer_bytes(int buffer, size_t start, size_t most, char **data, size_t *size);
IMPORT(proxy_set_buffer_bytes) int proxy_set_buffer_bytes(int buffer, size_t start, size_t size, const char *data, size_t data_size);
IMPORT(proxy_remove_header_map_value) int proxy_remove_header_map_value(int map, const char *key, size_t size);

/* An allocator for one callback at a time: everything is given back at once by `arena_used = kept`. */
extern unsigned char __heap_base;
static size_t arena_used, kept;

static void *allocate(size_t size) {
    uintptr_t base = (uintptr_t)&__heap_base;
    size_t start = (arena_used + 15) & ~(size_t)15;
    if (size > SIZE_MAX - start - base) return NULL;
    uintptr_t end = base + start + size;
    size_t have = __builtin_wasm_memory_size(0) << 16;
    if (end > have && __builtin_wasm_memory_grow(0, (end - have + 65535) >> 16) == (size_t)-1) return NULL;
    arena_used = start + size;
    return (void *)(base + start);
}

static const char *from, *to;
static size_t from_size, to_size;

static int equal(const char *a, const char *b, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (a[i] != b[i]) return 0;
    return 1;
}

EXPORT(proxy_abi_version_0_2_1) void proxy_abi_version_0_2_1(void) {}

EXPORT(proxy_on_memory_allocate) void *proxy_on_memory_allocate(size_t size) { return allocate(size); }

EXPORT(proxy_on_configure) int proxy_on_configure(int context, size_t size) {
    (void)context;
    char *text = NULL;
    size_t length = 0, tab = 0;
    if (proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, &text, &length) != OK) return 0;
    while (tab < length && text[tab] != '\t') tab++;
    if (tab == 0 || tab == length) {
        static const char message[] = "body-rewrite: the configuration is TEXT, a tab, REPLACEMENT";
        proxy_log(ERROR, message, sizeof message - 1);
        return 0;
    }
    from = text, from_size = tab;
    to = text + tab + 1, to_size = length - tab - 1;
    kept = arena_used;
    return 1;
}

EXPORT(proxy_on_response_headers) int proxy_on_response_headers(int context, int count, int end) {
    (void)context, (void)count;
    static const char name[] = "content-length";
    if (!end) proxy_remove_header_map_value(RESPONSE_HEADERS, name, sizeof name - 1);
    return CONTINUE;
}

EXPORT(proxy_on_response_body) int proxy_on_response_body(int context, size_t size, int end) {
    (void)context;
    if (!end) return PAUSE;
    char *body = NULL, *out;
    size_t length = 0, found = 0, at = 0, written = 0;
    if (size == 0 || proxy_get_buffer_bytes(RESPONSE_BODY, 0, size, &body, &length) != OK) return CONTINUE;
    for (size_t i = 0; i + from_size <= length;)
        if (equal(body + i, from, from_size)) found++, i += from_size;
        else i++;
    if (found == 0 || (to_size > 0 && found > SIZE_MAX / to_size)) goto done;
    out = allocate(length - found * from_size + found * to_size);
    if (out == NULL) goto done;
    while (at < length) {
        if (at + from_size <= length && equal(body + at, from, from_size)) {
            for (size_t i = 0; i < to_size; i++) out[written++] = to[i];
            at += from_size;
        } else {
            out[written++] = body[at++];
        }
    }
    proxy_set_buffer_bytes(RESPONSE_BODY, 0, length, out, written);
done:
    arena_used = kept;
    return CONTINUE;
}
