/*
 * fuzz_proxy_frame.c - frames of a forwarding connection from any bytes.
 *
 * The first byte chooses the direction, and how the rest is cut: what comes out
 * in pieces must be what comes out in one run, and each frame encodes to the
 * bytes that it came from.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "proxy/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct digest {
    uint64_t hash;
    uint64_t frames;
    bool failed;
};

static void add(struct digest *digest, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) {
        digest->hash = (digest->hash ^ bytes[i]) * 0x100000001b3;
    }
}

/* A valid state encodes to what it was decoded from. */
static void check_state(struct wdb_slice payload)
{
    struct wdb_channel_state state;
    if (wdb_channel_state_decode(payload, &state) != 0) {
        return;
    }
    struct wdb_buffer again = WDB_BUFFER_INIT;
    if (wdb_channel_state_encode(&state, &again) == 0) {
        wdb_assert(wdb_slice_equal(wdb_buffer_slice(&again), payload));
    }
    wdb_buffer_release(&again);
}

static void take(struct digest *digest, const struct wdb_proxy_frame *frame)
{
    uint8_t header[WDB_PROXY_FRAME_HEADER_SIZE];
    wdb_proxy_frame_encode_header(frame, frame->payload.size, header);
    wdb_assert(memcmp(header, frame->payload.data - sizeof(header),
                      sizeof(header)) == 0);
    digest->frames++;
    add(digest, header, sizeof(header));
    add(digest, frame->payload.data, frame->payload.size);
    if (frame->kind == WDB_PROXY_FRAME_OPEN ||
        frame->kind == WDB_PROXY_FRAME_STATE) {
        check_state(frame->payload);
    }
}

static struct digest decode(bool from_leader, size_t step, const uint8_t *data,
                            size_t size)
{
    struct digest digest = {0};
    struct wdb_proxy_frame_decoder decoder;
    wdb_proxy_frame_decoder_init(&decoder, from_leader);
    while (size > 0 && !digest.failed) {
        size_t room = 0;
        uint8_t *to = wdb_proxy_frame_decoder_room(&decoder, &room);
        if (to == NULL) {
            break;
        }
        size_t piece = step < size ? step : size;
        piece = piece < room ? piece : room;
        memcpy(to, data, piece);
        wdb_proxy_frame_decoder_add(&decoder, piece);
        data += piece;
        size -= piece;
        struct wdb_proxy_frame frame;
        int rc;
        while ((rc = wdb_proxy_frame_decoder_next(&decoder, &frame)) == 1) {
            take(&digest, &frame);
        }
        digest.failed = rc != 0;
    }
    wdb_proxy_frame_decoder_release(&decoder);
    return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    const bool from_leader = (data[0] & 1) != 0;
    const size_t step = (size_t)(data[0] >> 1) + 1;
    const struct digest whole = decode(from_leader, size, data + 1, size - 1);
    const struct digest pieces = decode(from_leader, step, data + 1, size - 1);
    wdb_assert(whole.hash == pieces.hash && whole.frames == pieces.frames &&
               whole.failed == pieces.failed);
    return 0;
}
