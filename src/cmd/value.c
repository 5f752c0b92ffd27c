/* value.c - finds, reads, replies and changes strings. */
#include "cmd/value.h"

#include <stdlib.h>

#include "walkerdb.h"

/* A piece of a chunk at least this large is sent from where it lies. */
#define BORROW_PIECE_MIN ((size_t)4 << 10)

bool wdb_call_find_string(struct wdb_call *call, uint32_t i,
                          enum wdb_find_mode mode, struct wdb_call_string *out)
{
    out->string.size = 0;
    out->string.chunk_size = 0;
    out->access = (struct wdb_db_access){call->txn, &call->keys[i]};
    wdb_db_value_io(&out->access, &out->io);
    out->found = wdb_db_find(call->txn, &call->keys[i], mode, &out->item);
    if (out->found && !wdb_item_is_string(&out->item)) {
        wdb_call_wrong_type(call);
        return false;
    }
    return true;
}

bool wdb_call_open_string(struct wdb_call *call, struct wdb_call_string *s)
{
    if (!s->found) {
        return true;
    }
    struct wdb_value value;
    int code = wdb_db_read(call->txn, &s->item, &value);
    if (code == 0) {
        code = wdb_string_open(&value, &s->string);
    }
    return !wdb_call_failed(call, code);
}

bool wdb_call_string(struct wdb_call *call, uint32_t i, enum wdb_find_mode mode,
                     struct wdb_call_string *out)
{
    return wdb_call_find_string(call, i, mode, out) &&
           wdb_call_open_string(call, out);
}

static void release_segment(void *segment)
{
    wdb_segment_drop(segment);
}

static void append_piece(struct wdb_output *output,
                         const struct wdb_string_piece *piece)
{
    if (piece->segment != NULL && piece->bytes.size >= BORROW_PIECE_MIN) {
        wdb_segment_acquire(piece->segment);
        wdb_output_borrow(output, piece->bytes, release_segment,
                          piece->segment);
    } else {
        wdb_output_append(output, piece->bytes.data, piece->bytes.size);
    }
}

void wdb_call_reply_range(struct wdb_call *call, struct wdb_call_string *s,
                          uint64_t offset, uint64_t size)
{
    if (s->string.chunk_size == 0) {
        struct wdb_value part = s->string.value;
        part.record.value = wdb_slice(part.record.value.data + offset, size);
        wdb_call_reply_value(call, &part);
        return;
    }
    wdb_reply_bulk_begin(call->reply, size);
    while (size > 0) {
        struct wdb_string_piece piece;
        int code = wdb_string_piece(&s->io, &s->string, offset, size, &piece);
        if (WDB_UNLIKELY(code != 0)) {
            (void)wdb_call_failed(call, code); /* takes the begun reply back */
            return;
        }
        append_piece(call->reply->output, &piece);
        offset += piece.bytes.size;
        size -= piece.bytes.size;
    }
    wdb_reply_bulk_end(call->reply);
}

bool wdb_call_whole_string(struct wdb_call *call, struct wdb_call_string *s,
                           struct wdb_slice *out, uint8_t **memory_out)
{
    *memory_out = NULL;
    if (s->string.chunk_size == 0) {
        *out = s->found ? s->string.value.record.value : wdb_slice("", 0);
        return true;
    }
    uint8_t *memory = malloc(s->string.size);
    int code = memory == NULL ? WALKERDB_ENOMEM
                              : wdb_string_copy(&s->io, &s->string, 0,
                                                s->string.size, memory);
    if (code != 0) {
        free(memory);
        (void)wdb_call_failed(call, code);
        return false;
    }
    *out = wdb_slice(memory, s->string.size);
    *memory_out = memory;
    return true;
}

bool wdb_call_check_size(struct wdb_call *call, uint64_t size, uint64_t more)
{
    const uint64_t limit =
        wdb_config_u64(call->context->config, WDB_CONFIG_PROTO_MAX_BULK_LEN);
    if (more > limit || size > limit - more) {
        wdb_call_error(call, "ERR string exceeds maximum allowed size "
                             "(proto-max-bulk-len)");
        return false;
    }
    return true;
}

bool wdb_call_write_string(struct wdb_call *call, struct wdb_call_string *s,
                           uint64_t offset, struct wdb_slice bytes)
{
    const uint64_t end = offset + bytes.size;
    struct wdb_string_edit edit;
    int code =
        wdb_string_edit_begin(&edit, &s->io, s->found ? &s->string : NULL,
                              end > s->string.size ? end : s->string.size);
    if (code == 0) {
        code = wdb_string_edit_write(&edit, offset, bytes);
    }
    if (code == 0) {
        code = wdb_string_edit_commit(&edit, s->found ? s->item.expiry_ms : 0);
    }
    wdb_string_edit_release(&edit);
    return !wdb_call_failed(call, code);
}
