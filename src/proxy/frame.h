/*
 * frame.h - what goes over a forwarding connection: many clients of one
 * follower's worker, told apart by channels.
 *
 *   0      4      5       6          8         16         24
 *   +------+------+-------+----------+---------+----------+---------+
 *   | size | kind | flags | zero u16 | channel | sequence | payload |
 *   +------+------+-------+----------+---------+----------+---------+
 *     u32     u8     u8                 u64        u64      size bytes
 *
 * Little-endian. A channel is one client: a session of its own at the leader.
 * Its requests are numbered 1, 2, 3, ... and answered in that order, each by
 * exactly one reply, or refused. A frame's payload is small, so large requests
 * and replies travel in parts, and those of other channels between them.
 *
 * follower to leader
 *   OPEN     a channel begins; payload: its state
 *   STATE    its state has changed, as of the next request
 *   REQUEST  sequence; payload: bytes of the request. A transaction is a block:
 *            MULTI, what was queued, EXEC; only EXEC's reply goes back
 *   WINDOW   sequence: so many bytes of replies have gone on to the client
 *   CLOSE    the client has gone: forget the channel, whatever it has begun
 *
 * leader to follower
 *   REPLY    payload: bytes of replies; sequence: the last request that is
 *            answered when they are added
 *   REFUSED  this request and all behind it were not done and never will be;
 *            the channel is gone. flags: why
 *   PUSH     bytes that answer no request
 *   CLOSE    the leader has closed the channel behind its last reply (the
 *            client was killed, or asked for it); what is not answered will
 *            not be, and may have been done
 *   LEAVING  (channel 0) this node ends: all channels are about to be refused,
 *            and so is what still comes; hang up when nothing is unanswered
 */
#ifndef WDB_PROXY_FRAME_H
#define WDB_PROXY_FRAME_H

#include <stdbool.h>

#include "base/attributes.h"
#include "base/buffer.h"

enum wdb_proxy_frame_kind {
    WDB_PROXY_FRAME_OPEN = 1,
    WDB_PROXY_FRAME_STATE,
    WDB_PROXY_FRAME_REQUEST,
    WDB_PROXY_FRAME_WINDOW,
    WDB_PROXY_FRAME_CLOSE,
    WDB_PROXY_FRAME_REPLY,
    WDB_PROXY_FRAME_REFUSED,
    WDB_PROXY_FRAME_PUSH,
    WDB_PROXY_FRAME_LEAVING,
};

/* REQUEST, REPLY: more of this request or reply follows. */
#define WDB_PROXY_FRAME_PART 1u
/* REQUEST, its first part: a u32 stands before the bytes, of how many requests
 * they are; all but the last one's replies are dropped. */
#define WDB_PROXY_FRAME_BLOCK 2u
/* REQUEST, its first part: its reply is not wanted; that it was answered is. */
#define WDB_PROXY_FRAME_SILENT          4u
#define WDB_PROXY_FRAME_BLOCK_COUNT_MAX (((uint32_t)1 << 20) + 2)

enum wdb_proxy_frame_reason { /* flags of REFUSED */
    WDB_PROXY_FRAME_NOT_LEADER = 1,
};

#define WDB_PROXY_FRAME_HEADER_SIZE ((size_t)24)
#define WDB_PROXY_FRAME_PART_SIZE   ((size_t)64 << 10) /* payload of parts */
#define WDB_PROXY_FRAME_STATE_MAX   ((size_t)1 << 10) /* payload of OPEN, STATE */

/* What both sessions of a channel have in common. */
struct wdb_channel_state {
    uint32_t database;
    uint32_t flags;     /* those of enum wdb_session_flag that are passed on */
    uint8_t protocol;   /* 2, 3 */
    uint8_t read_level; /* as set by the connection, or by default */
    uint64_t client_id; /* at the follower */
    char address[128];
    char name[256];
};

struct wdb_proxy_frame {
    enum wdb_proxy_frame_kind kind;
    uint8_t flags;
    uint64_t channel, sequence;
    struct wdb_slice payload; /* in the decoder's memory, until the next call */
};

/* The head of a frame with so much payload; out has WDB_PROXY_FRAME_HEADER_SIZE. */
void wdb_proxy_frame_encode_header(const struct wdb_proxy_frame *frame,
                                   size_t payload_size, uint8_t *out);
/* Append the payload of OPEN and STATE. ENOMEM: nothing was appended. */
WDB_MUST_CHECK int wdb_channel_state_encode(
    const struct wdb_channel_state *state, struct wdb_buffer *out);
/* ECORRUPT: it breaks a rule; *out is undefined then. */
WDB_MUST_CHECK int wdb_channel_state_decode(struct wdb_slice payload,
                                            struct wdb_channel_state *out);
bool wdb_channel_state_equal(const struct wdb_channel_state *a,
                             const struct wdb_channel_state *b);

/* Frames out of a stream of bytes. */
struct wdb_proxy_frame_decoder {
    struct wdb_buffer input;
    size_t used;      /* decoded up to here */
    bool from_leader; /* which kinds may come */
};

void wdb_proxy_frame_decoder_init(struct wdb_proxy_frame_decoder *decoder,
                                  bool from_leader);
void wdb_proxy_frame_decoder_release(struct wdb_proxy_frame_decoder *decoder);
/* Room to receive into, at least one whole frame; ends the life of frames that
 * were given out. NULL: no memory. */
uint8_t *wdb_proxy_frame_decoder_room(struct wdb_proxy_frame_decoder *decoder,
                                      size_t *size_out);
void wdb_proxy_frame_decoder_add(struct wdb_proxy_frame_decoder *decoder,
                                 size_t size);
/*
 * The next frame: 1 (in *out), 0 (more bytes are needed), or ECORRUPT: whoever
 * is at the other end does not keep the rules; hang up.
 */
WDB_MUST_CHECK int wdb_proxy_frame_decoder_next(
    struct wdb_proxy_frame_decoder *decoder, struct wdb_proxy_frame *out);

#endif
