/* frame.c - frames of a forwarding connection: encode, decode, limits. */
#include "proxy/frame.h"

#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "walkerdb.h"

#define ROOM_SIZE       ((size_t)256 << 10)
#define STATE_HEAD_SIZE ((size_t)20)

void wdb_proxy_frame_encode_header(const struct wdb_proxy_frame *frame,
                                   size_t payload_size, uint8_t *out)
{
    wdb_assert(payload_size <= WDB_PROXY_FRAME_PART_SIZE);
    wdb_store32(out, (uint32_t)payload_size);
    out[4] = (uint8_t)frame->kind;
    out[5] = frame->flags;
    wdb_store16(out + 6, 0);
    wdb_store64(out + 8, frame->channel);
    wdb_store64(out + 16, frame->sequence);
}

/* --- the state of a channel --------------------------------------------------- */

int wdb_channel_state_encode(const struct wdb_channel_state *state,
                             struct wdb_buffer *out)
{
    const size_t address_size = strlen(state->address);
    const size_t name_size = strlen(state->name);
    const size_t size = STATE_HEAD_SIZE + 4 + address_size + name_size;
    wdb_assert(size <= WDB_PROXY_FRAME_STATE_MAX);
    const int rc = wdb_buffer_reserve(out, size);
    if (rc != 0) {
        return rc;
    }
    uint8_t *to = out->data + out->size;
    wdb_store32(to, state->database);
    wdb_store32(to + 4, state->flags);
    to[8] = state->protocol;
    to[9] = state->read_level;
    wdb_store16(to + 10, 0);
    wdb_store64(to + 12, state->client_id);
    to += STATE_HEAD_SIZE;
    wdb_store16(to, (uint16_t)address_size);
    memcpy(to + 2, state->address, address_size);
    to += 2 + address_size;
    wdb_store16(to, (uint16_t)name_size);
    memcpy(to + 2, state->name, name_size);
    out->size += size;
    return 0;
}

/* Text without control characters: it comes to stand in a line. */
static bool decode_text(struct wdb_slice *in, char *out, size_t size)
{
    if (in->size < 2) {
        return false;
    }
    const size_t length = wdb_load16(in->data);
    if (length >= size || in->size < 2 + length) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        const uint8_t c = in->data[2 + i];
        if (c < ' ' || c == 0x7f) {
            return false;
        }
    }
    memcpy(out, in->data + 2, length);
    out[length] = '\0';
    *in = wdb_slice(in->data + 2 + length, in->size - 2 - length);
    return true;
}

int wdb_channel_state_decode(struct wdb_slice payload,
                             struct wdb_channel_state *out)
{
    if (payload.size < STATE_HEAD_SIZE || wdb_load16(payload.data + 10) != 0) {
        return WALKERDB_ECORRUPT;
    }
    out->database = wdb_load32(payload.data);
    out->flags = wdb_load32(payload.data + 4);
    out->protocol = payload.data[8];
    out->read_level = payload.data[9];
    out->client_id = wdb_load64(payload.data + 12);
    payload = wdb_slice(payload.data + STATE_HEAD_SIZE,
                        payload.size - STATE_HEAD_SIZE);
    if ((out->protocol != 2 && out->protocol != 3) ||
        !decode_text(&payload, out->address, sizeof(out->address)) ||
        !decode_text(&payload, out->name, sizeof(out->name)) ||
        payload.size != 0) {
        return WALKERDB_ECORRUPT;
    }
    return 0;
}

bool wdb_channel_state_equal(const struct wdb_channel_state *a,
                             const struct wdb_channel_state *b)
{
    return a->database == b->database && a->flags == b->flags &&
           a->protocol == b->protocol && a->read_level == b->read_level &&
           a->client_id == b->client_id && strcmp(a->name, b->name) == 0 &&
           strcmp(a->address, b->address) == 0;
}

/* --- the decoder ---------------------------------------------------------------- */

void wdb_proxy_frame_decoder_init(struct wdb_proxy_frame_decoder *decoder,
                                  bool from_leader)
{
    *decoder = (struct wdb_proxy_frame_decoder){.from_leader = from_leader};
}

void wdb_proxy_frame_decoder_release(struct wdb_proxy_frame_decoder *decoder)
{
    wdb_buffer_release(&decoder->input);
    decoder->used = 0;
}

uint8_t *wdb_proxy_frame_decoder_room(struct wdb_proxy_frame_decoder *decoder,
                                      size_t *size_out)
{
    struct wdb_buffer *input = &decoder->input;
    wdb_buffer_consume(input, decoder->used);
    decoder->used = 0;
    const size_t whole =
        WDB_PROXY_FRAME_HEADER_SIZE + WDB_PROXY_FRAME_PART_SIZE;
    if (input->capacity - input->size < whole &&
        wdb_buffer_reserve(input, ROOM_SIZE) != 0) {
        return NULL;
    }
    *size_out = input->capacity - input->size;
    return input->data + input->size;
}

void wdb_proxy_frame_decoder_add(struct wdb_proxy_frame_decoder *decoder,
                                 size_t size)
{
    wdb_assert(size <= decoder->input.capacity - decoder->input.size);
    decoder->input.size += size;
}

/* What a frame of a kind may look like. */
struct rule {
    bool from_follower, from_leader;
    bool has_sequence; /* else it must be 0 */
    uint8_t flags;     /* that may be set */
    size_t size_min, size_max;
};

static const struct rule *rule_of(uint8_t kind)
{
    static const struct rule rules[] = {
        [WDB_PROXY_FRAME_OPEN] = {true, false, false, 0, 1,
                                  WDB_PROXY_FRAME_STATE_MAX},
        [WDB_PROXY_FRAME_STATE] = {true, false, false, 0, 1,
                                   WDB_PROXY_FRAME_STATE_MAX},
        [WDB_PROXY_FRAME_REQUEST] = {true, false, true,
                                     WDB_PROXY_FRAME_PART |
                                         WDB_PROXY_FRAME_BLOCK |
                                         WDB_PROXY_FRAME_SILENT,
                                     1, WDB_PROXY_FRAME_PART_SIZE},
        [WDB_PROXY_FRAME_WINDOW] = {true, false, true, 0, 0, 0},
        [WDB_PROXY_FRAME_CLOSE] = {true, true, false, 0, 0, 0},
        [WDB_PROXY_FRAME_REPLY] = {false, true, true, WDB_PROXY_FRAME_PART, 0,
                                   WDB_PROXY_FRAME_PART_SIZE},
        [WDB_PROXY_FRAME_REFUSED] = {false, true, true, UINT8_MAX, 0, 0},
        [WDB_PROXY_FRAME_PUSH] = {false, true, false, 0, 1,
                                  WDB_PROXY_FRAME_PART_SIZE},
        [WDB_PROXY_FRAME_LEAVING] = {false, true, false, 0, 0, 0},
    };
    const size_t count = sizeof(rules) / sizeof(rules[0]);
    return kind >= WDB_PROXY_FRAME_OPEN && kind < count ? &rules[kind] : NULL;
}

static bool header_is_valid(const struct wdb_proxy_frame_decoder *decoder,
                            const uint8_t *data)
{
    const struct rule *rule = rule_of(data[4]);
    if (rule == NULL ||
        !(decoder->from_leader ? rule->from_leader : rule->from_follower)) {
        return false;
    }
    const size_t size = wdb_load32(data);
    const uint64_t channel = wdb_load64(data + 8);
    const uint64_t sequence = wdb_load64(data + 16);
    if (size < rule->size_min || size > rule->size_max ||
        (data[5] & ~rule->flags) != 0 || wdb_load16(data + 6) != 0 ||
        (channel == 0) != (data[4] == WDB_PROXY_FRAME_LEAVING)) {
        return false;
    }
    if (data[4] == WDB_PROXY_FRAME_REPLY) {
        return true; /* 0: the first part of the first reply */
    }
    return rule->has_sequence ? sequence != 0 : sequence == 0;
}

int wdb_proxy_frame_decoder_next(struct wdb_proxy_frame_decoder *decoder,
                                 struct wdb_proxy_frame *out)
{
    const uint8_t *data = decoder->input.data + decoder->used;
    const size_t rest = decoder->input.size - decoder->used;
    if (rest < WDB_PROXY_FRAME_HEADER_SIZE) {
        return 0;
    }
    if (!header_is_valid(decoder, data)) {
        return WALKERDB_ECORRUPT;
    }
    const size_t size = wdb_load32(data);
    if (rest - WDB_PROXY_FRAME_HEADER_SIZE < size) {
        return 0;
    }
    *out = (struct wdb_proxy_frame){
        .kind = (enum wdb_proxy_frame_kind)data[4],
        .flags = data[5],
        .channel = wdb_load64(data + 8),
        .sequence = wdb_load64(data + 16),
        .payload = wdb_slice(data + WDB_PROXY_FRAME_HEADER_SIZE, size),
    };
    decoder->used += WDB_PROXY_FRAME_HEADER_SIZE + size;
    return 1;
}
