/* bitmap.c - commands on single bits, and on ranges and sets of them. */
#include "type/bitmap.h"

#include <stdlib.h>

#include "base/number.h"
#include "cmd/bit_offset.h"
#include "cmd/handlers.h"
#include "cmd/value.h"
#include "walkerdb.h"

bool wdb_call_bit_offset(struct wdb_call *call, uint32_t i, unsigned width,
                         uint64_t *out)
{
    struct wdb_slice text = call->argv[i];
    const uint64_t limit =
        wdb_config_u64(call->context->config, WDB_CONFIG_PROTO_MAX_BULK_LEN);
    const bool in_fields = width > 0 && text.size > 0 && text.data[0] == '#';
    if (in_fields) {
        text = wdb_slice(text.data + 1, text.size - 1);
    }
    int64_t offset;
    if (!wdb_parse_int64(text, &offset) ||
        (in_fields && __builtin_mul_overflow(offset, width, &offset)) ||
        offset < 0 || (uint64_t)offset >> 3 >= limit) {
        wdb_call_error(call,
                       "ERR bit offset is not an integer or out of range");
        return false;
    }
    *out = (uint64_t)offset;
    return true;
}

/* --- one bit ------------------------------------------------------------------ */

/* The byte at an offset, 0 past the end. False: answered. */
static bool read_byte(struct wdb_call *call, struct wdb_call_string *s,
                      uint64_t offset, uint8_t *out)
{
    *out = 0;
    return offset >= s->string.size ||
           !wdb_call_failed(call, wdb_string_copy(&s->io, &s->string, offset, 1,
                                                  out));
}

void wdb_cmd_getbit(struct wdb_call *call)
{
    uint64_t offset;
    struct wdb_call_string s;
    uint8_t byte;
    if (wdb_call_bit_offset(call, 2, 0, &offset) &&
        wdb_call_string(call, 0, WDB_FIND_READ, &s) &&
        read_byte(call, &s, offset >> 3, &byte)) {
        wdb_reply_integer(call->reply, byte >> (7 - (offset & 7)) & 1);
    }
}

void wdb_cmd_setbit(struct wdb_call *call)
{
    uint64_t offset;
    if (!wdb_call_bit_offset(call, 2, 0, &offset)) {
        return;
    }
    const struct wdb_slice bit = call->argv[3];
    if (bit.size != 1 || (bit.data[0] != '0' && bit.data[0] != '1')) {
        wdb_call_error(call, "ERR bit is not an integer or out of range");
        return;
    }
    struct wdb_call_string s;
    uint8_t old;
    if (!wdb_call_string(call, 0, WDB_FIND_WRITE, &s) ||
        !read_byte(call, &s, offset >> 3, &old)) {
        return;
    }
    const unsigned shift = 7 - (unsigned)(offset & 7);
    const uint8_t mask = (uint8_t)(1u << shift);
    const uint8_t byte = bit.data[0] == '1' ? old | mask : old & (uint8_t)~mask;
    if ((byte != old || offset >> 3 >= s.string.size) &&
        !wdb_call_write_string(call, &s, offset >> 3, wdb_slice(&byte, 1))) {
        return;
    }
    wdb_reply_integer(call->reply, old >> shift & 1);
}

/* --- ranges --------------------------------------------------------------------- */

/* Bits from the first to the last, both included; none if first > last. */
struct bit_range {
    int64_t first, last;
};

/* Indexes that count from the end if they are negative, cut to [0, size). */
static struct bit_range cut_range(int64_t first, int64_t last, int64_t size,
                                  bool in_bits)
{
    const int64_t count = in_bits ? size * 8 : size;
    first = first < 0 ? first + count : first;
    last = last < 0 ? last + count : last;
    first = first < 0 ? 0 : first;
    last = last < 0 ? 0 : last;
    last = last >= count ? count - 1 : last;
    if (first > last) {
        return (struct bit_range){1, 0};
    }
    return in_bits ? (struct bit_range){first, last}
                   : (struct bit_range){first * 8, last * 8 + 7};
}

static bool parse_unit(struct wdb_call *call, uint32_t i, bool *in_bits_out)
{
    *in_bits_out = wdb_call_is(call, i, "BIT");
    if (!*in_bits_out && !wdb_call_is(call, i, "BYTE")) {
        wdb_call_syntax_error(call);
        return false;
    }
    return true;
}

/* BITCOUNT's range. False: answered. */
static bool count_range(struct wdb_call *call, int64_t size,
                        struct bit_range *out)
{
    int64_t first, last;
    bool in_bits = false;
    if (call->argc == 2) {
        *out = (struct bit_range){0, size * 8 - 1};
        return true;
    }
    if (call->argc != 4 && call->argc != 5) {
        wdb_call_syntax_error(call);
        return false;
    }
    if (!wdb_call_int64(call, 2, &first) || !wdb_call_int64(call, 3, &last)) {
        return false;
    }
    if (first < 0 && last < 0 && first > last) {
        *out = (struct bit_range){1, 0};
        return true;
    }
    if (call->argc == 5 && !parse_unit(call, 4, &in_bits)) {
        return false;
    }
    *out = cut_range(first, last, size, in_bits);
    return true;
}

/* Bits of the first and the last byte that are not in the range. */
static uint64_t count_outside(uint8_t first, uint8_t last,
                              struct bit_range range)
{
    const unsigned before = first & ~(0xffu >> (range.first & 7));
    const unsigned behind = last & (0x7fu >> (range.last & 7));
    return (uint64_t)(__builtin_popcount(before) + __builtin_popcount(behind));
}

void wdb_cmd_bitcount(struct wdb_call *call)
{
    struct wdb_call_string s;
    struct bit_range range = {1, 0};
    if (!wdb_call_string(call, 0, WDB_FIND_READ, &s) ||
        (s.found && !count_range(call, (int64_t)s.string.size, &range))) {
        return;
    }
    uint64_t count = 0;
    if (range.first <= range.last) {
        const uint64_t end = (uint64_t)range.last / 8 + 1;
        uint64_t at = (uint64_t)range.first / 8;
        uint8_t first, last;
        if (!read_byte(call, &s, at, &first) ||
            !read_byte(call, &s, end - 1, &last)) {
            return;
        }
        while (at < end) {
            struct wdb_string_piece piece;
            const int code =
                wdb_string_piece(&s.io, &s.string, at, end - at, &piece);
            if (wdb_call_failed(call, code)) {
                return;
            }
            count += wdb_bits_count(piece.bytes);
            at += piece.bytes.size;
        }
        count -= count_outside(first, last, range);
    }
    wdb_reply_integer(call->reply, (int64_t)count);
}

/* The first such bit in the range, -1 if there is none. False: answered. */
static bool find_bit(struct wdb_call *call, struct wdb_call_string *s,
                     struct bit_range range, bool bit, int64_t *out)
{
    const uint64_t end = (uint64_t)range.last / 8 + 1;
    uint64_t at = (uint64_t)range.first / 8;
    *out = -1;
    uint8_t first;
    if (!read_byte(call, s, at, &first)) {
        return false;
    }
    /* The first byte by itself, as its bits before the range do not count. */
    const unsigned outside = 0xff00u >> (range.first & 7) & 0xff;
    first = (uint8_t)(bit ? first & ~outside : first | outside);
    int64_t found = wdb_bits_find(wdb_slice(&first, 1), bit);
    uint64_t base = at++;
    while (found < 0 && at < end) {
        struct wdb_string_piece piece;
        const int code =
            wdb_string_piece(&s->io, &s->string, at, end - at, &piece);
        if (wdb_call_failed(call, code)) {
            return false;
        }
        found = wdb_bits_find(piece.bytes, bit);
        base = at;
        at += piece.bytes.size;
    }
    if (found >= 0 && (int64_t)base * 8 + found <= range.last) {
        *out = (int64_t)base * 8 + found;
    }
    return true;
}

/* BITPOS's range. False: answered. */
static bool position_range(struct wdb_call *call, int64_t size,
                           struct bit_range *out)
{
    int64_t first = 0, last = size - 1;
    bool in_bits = false;
    if (call->argc > 6) {
        wdb_call_syntax_error(call);
        return false;
    }
    if (call->argc == 3) {
        *out = (struct bit_range){0, size * 8 - 1};
        return true;
    }
    if (!wdb_call_int64(call, 3, &first) ||
        (call->argc == 6 && !parse_unit(call, 5, &in_bits)) ||
        (call->argc >= 5 && !wdb_call_int64(call, 4, &last))) {
        return false;
    }
    *out = cut_range(first, last, size, in_bits);
    return true;
}

void wdb_cmd_bitpos(struct wdb_call *call)
{
    int64_t bit;
    if (!wdb_call_int64(call, 2, &bit)) {
        return;
    }
    if (bit != 0 && bit != 1) {
        wdb_call_error(call, "ERR The bit argument must be 1 or 0.");
        return;
    }
    struct wdb_call_string s;
    if (!wdb_call_string(call, 0, WDB_FIND_READ, &s)) {
        return;
    }
    if (!s.found) {
        wdb_reply_integer(call->reply, bit == 1 ? -1 : 0);
        return;
    }
    struct bit_range range;
    int64_t position = -1;
    if (!position_range(call, (int64_t)s.string.size, &range)) {
        return;
    }
    if (range.first <= range.last) {
        if (!find_bit(call, &s, range, bit == 1, &position)) {
            return;
        }
        /* Without an end, zeros follow the string. */
        if (position < 0 && bit == 0 && call->argc < 5) {
            position = range.last + 1;
        }
    }
    wdb_reply_integer(call->reply, position);
}

/* --- BITOP ------------------------------------------------------------------------ */

enum operation {
    OPERATION_AND = WDB_BITS_AND,
    OPERATION_OR = WDB_BITS_OR,
    OPERATION_XOR = WDB_BITS_XOR,
    OPERATION_NOT,
};

static bool parse_operation(struct wdb_call *call, enum operation *out)
{
    static const char *const words[] = {"AND", "OR", "XOR", "NOT"};
    for (uint32_t i = 0; i < WDB_COUNT(words); i++) {
        if (wdb_call_is(call, 1, words[i])) {
            *out = (enum operation)i;
            if (*out != OPERATION_NOT || call->argc == 4) {
                return true;
            }
            wdb_call_error(call, "ERR BITOP NOT must be called with a single "
                                 "source key.");
            return false;
        }
    }
    wdb_call_syntax_error(call);
    return false;
}

/* Combine one source into the result, of which the first `done` bytes are
 * there already; missing bytes count as zeros. */
static int combine_source(struct wdb_call_string *s, enum operation operation,
                          bool is_first, uint8_t *result, uint64_t size)
{
    uint64_t at = 0;
    while (at < s->string.size) {
        struct wdb_string_piece piece;
        const int code = wdb_string_piece(&s->io, &s->string, at,
                                          s->string.size - at, &piece);
        if (code != 0) {
            return code;
        }
        if (is_first) {
            memcpy(result + at, piece.bytes.data, piece.bytes.size);
        } else {
            wdb_bits_combine((enum wdb_bit_operation)operation, result + at,
                             piece.bytes);
        }
        at += piece.bytes.size;
    }
    if (operation == OPERATION_AND && at < size) {
        memset(result + at, 0, size - at);
    }
    return 0;
}

/* Find and open all sources; the longest is as long as the result. */
static bool open_sources(struct wdb_call *call, struct wdb_call_string *sources,
                         uint32_t count, uint64_t *size_out)
{
    *size_out = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!wdb_call_find_string(call, i + 1, WDB_FIND_READ, &sources[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!wdb_call_open_string(call, &sources[i])) {
            return false;
        }
        if (sources[i].string.size > *size_out) {
            *size_out = sources[i].string.size;
        }
    }
    return true;
}

/* Store the result, or, if it is empty, delete the target. */
static int store_result(struct wdb_call *call, const uint8_t *result,
                        uint64_t size)
{
    const struct wdb_key *target = &call->keys[0];
    if (size == 0) {
        struct wdb_item item;
        return wdb_db_find(call->txn, target, WDB_FIND_WRITE, &item)
                   ? wdb_db_delete(call->txn, target)
                   : 0;
    }
    const struct wdb_record record = {
        .kind = WDB_RECORD_PUT,
        .type = WDB_TYPE_STRING_RAW,
        .key = target->name,
        .value = wdb_slice(result, size),
    };
    return wdb_db_put_record(call->txn, target, &record);
}

static int compute(struct wdb_call_string *sources, uint32_t count,
                   enum operation operation, uint8_t *result, uint64_t size)
{
    int code = 0;
    for (uint32_t i = 0; code == 0 && i < count; i++) {
        code = combine_source(&sources[i], operation, i == 0, result, size);
    }
    if (operation == OPERATION_NOT) {
        wdb_bits_invert(result, size);
    }
    return code;
}

void wdb_cmd_bitop(struct wdb_call *call)
{
    enum operation operation;
    if (!parse_operation(call, &operation)) {
        return;
    }
    const uint32_t count = call->key_count - 1;
    struct wdb_call_string *sources = calloc(count, sizeof(*sources));
    if (wdb_call_failed(call, sources == NULL ? WALKERDB_ENOMEM : 0)) {
        return;
    }
    uint64_t size;
    if (open_sources(call, sources, count, &size)) {
        uint8_t *result = calloc(1, size > 0 ? size : 1);
        int code = result == NULL
                       ? WALKERDB_ENOMEM
                       : compute(sources, count, operation, result, size);
        if (code == 0) {
            code = store_result(call, result, size);
        }
        free(result);
        if (!wdb_call_failed(call, code)) {
            wdb_reply_integer(call->reply, (int64_t)size);
        }
    }
    free(sources);
}
