/* bitfield.c - BITFIELD: integers of any width inside a string. */
#include <stdlib.h>

#include "base/buffer.h"
#include "base/number.h"
#include "cmd/bit_offset.h"
#include "cmd/handlers.h"
#include "cmd/value.h"
#include "type/bitmap.h"
#include "walkerdb.h"

enum operation_kind {
    FIELD_GET,
    FIELD_SET,
    FIELD_ADD
};
enum overflow {
    OVERFLOW_WRAP,
    OVERFLOW_SAT,
    OVERFLOW_FAIL
};

struct operation {
    enum operation_kind kind;
    enum overflow overflow;
    bool is_signed;
    unsigned bits;
    uint64_t offset; /* of its first bit */
    int64_t amount;
};

struct request {
    struct wdb_buffer operations; /* struct operation */
    size_t count;
    bool writes;
    uint64_t size; /* bytes up to the end of the farthest write */
};

/* --- parsing ----------------------------------------------------------------- */

static bool parse_type(struct wdb_call *call, uint32_t i, struct operation *out)
{
    const struct wdb_slice text = call->argv[i];
    const char sign = text.size > 0 ? (char)text.data[0] : '\0';
    int64_t bits = 0;
    if ((sign != 'i' && sign != 'u') ||
        !wdb_parse_int64(wdb_slice(text.data + 1, text.size - 1), &bits) ||
        bits < 1 || bits > (sign == 'i' ? 64 : 63)) {
        wdb_call_error(call, "ERR Invalid bitfield type. Use something like "
                             "i16 u8. Note that u64 is not supported but i64 "
                             "is.");
        return false;
    }
    out->is_signed = sign == 'i';
    out->bits = (unsigned)bits;
    return true;
}

static bool parse_overflow(struct wdb_call *call, uint32_t i,
                           enum overflow *out)
{
    static const char *const words[] = {"WRAP", "SAT", "FAIL"};
    for (uint32_t word = 0; word < WDB_COUNT(words); word++) {
        if (wdb_call_is(call, i, words[word])) {
            *out = (enum overflow)word;
            return true;
        }
    }
    wdb_call_error(call, "ERR Invalid OVERFLOW type specified");
    return false;
}

/* GET, SET or INCRBY at argument *i, which moves to its last argument. */
static bool parse_operation(struct wdb_call *call, uint32_t *i,
                            struct operation *out)
{
    const uint32_t left = call->argc - *i - 1;
    if (left >= 2 && wdb_call_is(call, *i, "GET")) {
        out->kind = FIELD_GET;
    } else if (left >= 3 && wdb_call_is(call, *i, "SET")) {
        out->kind = FIELD_SET;
    } else if (left >= 3 && wdb_call_is(call, *i, "INCRBY")) {
        out->kind = FIELD_ADD;
    } else {
        wdb_call_syntax_error(call);
        return false;
    }
    if (!parse_type(call, *i + 1, out) ||
        !wdb_call_bit_offset(call, *i + 2, out->bits, &out->offset)) {
        return false;
    }
    if (out->kind != FIELD_GET && !wdb_call_int64(call, *i + 3, &out->amount)) {
        return false;
    }
    *i += out->kind == FIELD_GET ? 2 : 3;
    return true;
}

static bool parse(struct wdb_call *call, struct request *request)
{
    enum overflow overflow = OVERFLOW_WRAP;
    for (uint32_t i = 2; i < call->argc; i++) {
        if (i + 1 < call->argc && wdb_call_is(call, i, "OVERFLOW")) {
            if (!parse_overflow(call, ++i, &overflow)) {
                return false;
            }
            continue;
        }
        struct operation operation = {.overflow = overflow};
        if (!parse_operation(call, &i, &operation) ||
            wdb_call_failed(call,
                            wdb_buffer_append(&request->operations, &operation,
                                              sizeof(operation)))) {
            return false;
        }
        request->count++;
        if (operation.kind != FIELD_GET) {
            const uint64_t end =
                (operation.offset + operation.bits - 1) / 8 + 1;
            request->writes = true;
            request->size = end > request->size ? end : request->size;
        }
    }
    return true;
}

/* --- arithmetic --------------------------------------------------------------- */

static __int128 lowest(const struct operation *operation)
{
    return operation->is_signed ? -((__int128)1 << (operation->bits - 1)) : 0;
}

static __int128 highest(const struct operation *operation)
{
    const unsigned bits = operation->bits - (operation->is_signed ? 1 : 0);
    return ((__int128)1 << bits) - 1;
}

static int64_t sign_extend(const struct operation *operation, uint64_t field)
{
    const unsigned unused = 64 - operation->bits;
    return operation->is_signed ? (int64_t)(field << unused) >> unused
                                : (int64_t)field;
}

/* The field's new value; *overflows if it is not the exact one. */
static int64_t new_value(const struct operation *operation, int64_t old,
                         bool *overflows)
{
    __int128 value = operation->amount;
    if (operation->kind == FIELD_ADD) {
        value += old;
    } else if (!operation->is_signed) {
        value = (uint64_t)operation->amount; /* a negative one is too large */
    }
    *overflows = value < lowest(operation) || value > highest(operation);
    if (*overflows && operation->overflow == OVERFLOW_SAT) {
        value =
            value < lowest(operation) ? lowest(operation) : highest(operation);
    }
    const uint64_t mask = operation->bits == 64
                              ? UINT64_MAX
                              : (UINT64_C(1) << operation->bits) - 1;
    return sign_extend(operation, (uint64_t)value & mask);
}

/* --- execution ------------------------------------------------------------------ */

/* Set or add; *changed if that changed the string. */
static int change_field(struct wdb_call *call, struct wdb_string_edit *edit,
                        const struct operation *operation, bool *changed)
{
    const unsigned first = operation->offset & 7;
    const uint64_t at = operation->offset >> 3;
    uint8_t window[WDB_BITS_WINDOW];
    int code = wdb_string_edit_read(edit, at, sizeof(window), window);
    if (code != 0) {
        return code;
    }
    const int64_t old =
        sign_extend(operation,
                    wdb_bits_get_field(window, first, operation->bits));
    bool overflows;
    const int64_t value = new_value(operation, old, &overflows);
    if (overflows && operation->overflow == OVERFLOW_FAIL) {
        wdb_reply_null(call->reply);
        return 0;
    }
    if (value != old) {
        wdb_bits_set_field(window, first, operation->bits, (uint64_t)value);
        code = wdb_string_edit_write(
            edit, at, wdb_slice(window, (first + operation->bits - 1) / 8 + 1));
        *changed = true;
    }
    wdb_reply_integer(call->reply, operation->kind == FIELD_SET ? old : value);
    return code;
}

static void get_field(struct wdb_call *call, const uint8_t *window,
                      const struct operation *operation)
{
    const uint64_t field =
        wdb_bits_get_field(window, operation->offset & 7, operation->bits);
    wdb_reply_integer(call->reply, sign_extend(operation, field));
}

/* Bytes of the string, zeros past its end. */
static int read_window(struct wdb_call_string *s, uint64_t at,
                       uint8_t window[WDB_BITS_WINDOW])
{
    memset(window, 0, WDB_BITS_WINDOW);
    if (at >= s->string.size) {
        return 0;
    }
    const uint64_t left = s->string.size - at;
    return wdb_string_copy(&s->io, &s->string, at,
                           left < WDB_BITS_WINDOW ? left : WDB_BITS_WINDOW,
                           window);
}

static struct operation operation_at(const struct request *request, size_t i)
{
    struct operation operation;
    memcpy(&operation, request->operations.data + i * sizeof(operation),
           sizeof(operation));
    return operation;
}

static int execute_reads(struct wdb_call *call, struct wdb_call_string *s,
                         const struct request *request)
{
    int code = 0;
    wdb_reply_array(call->reply, request->count);
    for (size_t i = 0; code == 0 && i < request->count; i++) {
        const struct operation operation = operation_at(request, i);
        uint8_t window[WDB_BITS_WINDOW];
        code = read_window(s, operation.offset >> 3, window);
        if (code == 0) {
            get_field(call, window, &operation);
        }
    }
    return code;
}

/* All operations, in order, on an edit that begins here. */
static int execute_writes(struct wdb_call *call, struct wdb_call_string *s,
                          const struct request *request,
                          struct wdb_string_edit *edit)
{
    const uint64_t size =
        request->size > s->string.size ? request->size : s->string.size;
    int code =
        wdb_string_edit_begin(edit, &s->io, s->found ? &s->string : NULL, size);
    bool changed = size > s->string.size;
    wdb_reply_array(call->reply, request->count);
    for (size_t i = 0; code == 0 && i < request->count; i++) {
        const struct operation operation = operation_at(request, i);
        if (operation.kind != FIELD_GET) {
            code = change_field(call, edit, &operation, &changed);
            continue;
        }
        uint8_t window[WDB_BITS_WINDOW];
        code = wdb_string_edit_read(edit, operation.offset >> 3, sizeof(window),
                                    window);
        if (code == 0) {
            get_field(call, window, &operation);
        }
    }
    if (code == 0 && changed) {
        code = wdb_string_edit_commit(edit, s->found ? s->item.expiry_ms : 0);
    }
    return code;
}

/* The operations are parsed and allowed. */
static void execute(struct wdb_call *call, const struct request *request)
{
    struct wdb_call_string s;
    if (!request->writes) {
        if (wdb_call_string(call, 0, WDB_FIND_READ, &s)) {
            (void)wdb_call_failed(call, execute_reads(call, &s, request));
        }
        return;
    }
    if (!wdb_call_string(call, 0, WDB_FIND_WRITE, &s)) {
        return;
    }
    struct wdb_string_edit edit;
    (void)wdb_call_failed(call, execute_writes(call, &s, request, &edit));
    wdb_string_edit_release(&edit);
}

static void bitfield(struct wdb_call *call, bool readonly)
{
    struct request request = {.count = 0};
    if (parse(call, &request)) {
        if (readonly && request.writes) {
            wdb_call_error(call,
                           "ERR BITFIELD_RO only supports the GET subcommand");
        } else {
            execute(call, &request);
        }
    }
    wdb_buffer_release(&request.operations);
}

void wdb_cmd_bitfield(struct wdb_call *call)
{
    bitfield(call, false);
}

void wdb_cmd_bitfield_ro(struct wdb_call *call)
{
    bitfield(call, true);
}
