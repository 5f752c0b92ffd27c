/* test_proxy_frame.c - frames of a forwarding connection. */
#include "lib/test.h"
#include "proxy/frame.h"
#include "walkerdb.h"

static void put(struct wdb_proxy_frame_decoder *decoder, const void *data,
                size_t size)
{
    size_t room = 0;
    uint8_t *to = wdb_proxy_frame_decoder_room(decoder, &room);
    REQUIRE(to != NULL && room >= size);
    if (size > 0) {
        memcpy(to, data, size);
        wdb_proxy_frame_decoder_add(decoder, size);
    }
}

static void put_frame(struct wdb_proxy_frame_decoder *decoder,
                      const struct wdb_proxy_frame *frame)
{
    uint8_t header[WDB_PROXY_FRAME_HEADER_SIZE];
    wdb_proxy_frame_encode_header(frame, frame->payload.size, header);
    put(decoder, header, sizeof(header));
    put(decoder, frame->payload.data, frame->payload.size);
}

/* What was encoded comes out, whatever the pieces in which it arrives. */
TEST(frames_in_pieces)
{
    const char *text = "*1\r\n$4\r\nPING\r\n";
    const struct wdb_proxy_frame frame = {WDB_PROXY_FRAME_REQUEST,
                                          WDB_PROXY_FRAME_PART, 7, 9,
                                          wdb_slice_str(text)};
    uint8_t bytes[64];
    const size_t size = WDB_PROXY_FRAME_HEADER_SIZE + frame.payload.size;
    wdb_proxy_frame_encode_header(&frame, frame.payload.size, bytes);
    memcpy(bytes + WDB_PROXY_FRAME_HEADER_SIZE, text, frame.payload.size);
    for (size_t cut = 0; cut <= size; cut++) {
        struct wdb_proxy_frame_decoder decoder;
        struct wdb_proxy_frame out;
        wdb_proxy_frame_decoder_init(&decoder, false);
        put(&decoder, bytes, cut);
        if (cut < size) {
            CHECK_EQ(wdb_proxy_frame_decoder_next(&decoder, &out), 0);
        }
        put(&decoder, bytes + cut, size - cut);
        REQUIRE_EQ(wdb_proxy_frame_decoder_next(&decoder, &out), 1);
        CHECK_EQ(out.kind, WDB_PROXY_FRAME_REQUEST);
        CHECK_EQ(out.flags, WDB_PROXY_FRAME_PART);
        CHECK_EQ(out.channel, 7);
        CHECK_EQ(out.sequence, 9);
        CHECK(wdb_slice_equal(out.payload, frame.payload));
        CHECK_EQ(wdb_proxy_frame_decoder_next(&decoder, &out), 0);
        wdb_proxy_frame_decoder_release(&decoder);
    }
}

static int decode_one(bool from_leader, struct wdb_proxy_frame frame)
{
    struct wdb_proxy_frame_decoder decoder;
    struct wdb_proxy_frame out;
    wdb_proxy_frame_decoder_init(&decoder, from_leader);
    put_frame(&decoder, &frame);
    const int rc = wdb_proxy_frame_decoder_next(&decoder, &out);
    wdb_proxy_frame_decoder_release(&decoder);
    return rc;
}

/* Each end takes only what the other one may say. */
TEST(rules_of_kinds)
{
    const struct wdb_slice some = wdb_slice_str("bytes");
    const struct wdb_slice none = {0};
    const struct {
        bool from_leader;
        struct wdb_proxy_frame frame;
        bool valid;
    } cases[] = {
        {false, {WDB_PROXY_FRAME_REQUEST, 0, 1, 1, some}, true},
        {true, {WDB_PROXY_FRAME_REQUEST, 0, 1, 1, some}, false},
        {false, {WDB_PROXY_FRAME_REQUEST, 0, 1, 0, some}, false},
        {false, {WDB_PROXY_FRAME_REQUEST, 0, 0, 1, some}, false},
        {false, {WDB_PROXY_FRAME_REQUEST, 8, 1, 1, some}, false},
        {false, {WDB_PROXY_FRAME_REQUEST, 0, 1, 1, none}, false},
        {true, {WDB_PROXY_FRAME_REPLY, 0, 1, 1, some}, true},
        {true, {WDB_PROXY_FRAME_REPLY, 0, 1, 1, none}, true},
        {true, {WDB_PROXY_FRAME_REPLY, WDB_PROXY_FRAME_PART, 1, 0, some}, true},
        {false, {WDB_PROXY_FRAME_REPLY, 0, 1, 1, some}, false},
        {true,
         {WDB_PROXY_FRAME_REFUSED, WDB_PROXY_FRAME_NOT_LEADER, 1, 3, none},
         true},
        {true,
         {WDB_PROXY_FRAME_REFUSED, WDB_PROXY_FRAME_NOT_LEADER, 1, 0, none},
         false},
        {true,
         {WDB_PROXY_FRAME_REFUSED, WDB_PROXY_FRAME_NOT_LEADER, 1, 1, some},
         false},
        {true, {WDB_PROXY_FRAME_PUSH, 0, 1, 0, some}, true},
        {true, {WDB_PROXY_FRAME_PUSH, 0, 1, 1, some}, false},
        {true, {WDB_PROXY_FRAME_CLOSE, 0, 1, 0, none}, true},
        {false, {WDB_PROXY_FRAME_CLOSE, 0, 1, 0, none}, true},
        {false, {WDB_PROXY_FRAME_WINDOW, 0, 1, 4096, none}, true},
        {true, {WDB_PROXY_FRAME_WINDOW, 0, 1, 4096, none}, false},
        {true, {WDB_PROXY_FRAME_LEAVING, 0, 0, 0, none}, true},
        {true, {WDB_PROXY_FRAME_LEAVING, 0, 1, 0, none}, false},
        {false, {WDB_PROXY_FRAME_LEAVING, 0, 0, 0, none}, false},
        {true, {(enum wdb_proxy_frame_kind)10, 0, 1, 0, some}, false},
        {false, {(enum wdb_proxy_frame_kind)0, 0, 1, 0, some}, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const int rc = decode_one(cases[i].from_leader, cases[i].frame);
        CHECK_EQ(rc, cases[i].valid ? 1 : WALKERDB_ECORRUPT);
    }
}

/* A size that no frame has is refused before anything is kept for it. */
TEST(size_is_limited)
{
    struct wdb_proxy_frame_decoder decoder;
    struct wdb_proxy_frame out;
    uint8_t header[WDB_PROXY_FRAME_HEADER_SIZE];
    const struct wdb_proxy_frame frame = {
        WDB_PROXY_FRAME_REQUEST, 0, 1, 1, {0}};
    wdb_proxy_frame_encode_header(&frame, 1, header);
    header[2] = 1; /* 65537 */
    wdb_proxy_frame_decoder_init(&decoder, false);
    put(&decoder, header, sizeof(header));
    CHECK_EQ(wdb_proxy_frame_decoder_next(&decoder, &out), WALKERDB_ECORRUPT);
    wdb_proxy_frame_decoder_release(&decoder);
}

/* The state of a channel, and every length that it is cut to. */
TEST(state_of_a_channel)
{
    const struct wdb_channel_state state = {.database = 15,
                                            .flags = 0x1000,
                                            .protocol = 3,
                                            .read_level = 2,
                                            .client_id = UINT64_MAX,
                                            .address = "[::1]:65000",
                                            .name = "somebody"};
    struct wdb_buffer bytes = WDB_BUFFER_INIT;
    struct wdb_channel_state out;
    REQUIRE_EQ(wdb_channel_state_encode(&state, &bytes), 0);
    REQUIRE_EQ(wdb_channel_state_decode(wdb_buffer_slice(&bytes), &out), 0);
    CHECK(wdb_channel_state_equal(&state, &out));
    for (size_t size = 0; size < bytes.size; size++) {
        CHECK_EQ(wdb_channel_state_decode(wdb_slice(bytes.data, size), &out),
                 WALKERDB_ECORRUPT);
    }
    bytes.data[8] = 4; /* no such protocol */
    CHECK_EQ(wdb_channel_state_decode(wdb_buffer_slice(&bytes), &out),
             WALKERDB_ECORRUPT);
    bytes.data[8] = 3;
    bytes.data[bytes.size - 1] = '\n';
    CHECK_EQ(wdb_channel_state_decode(wdb_buffer_slice(&bytes), &out),
             WALKERDB_ECORRUPT);
    wdb_buffer_release(&bytes);
}
