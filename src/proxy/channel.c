/*
 * channel.c - one client of another node: a session here, whose output is cut
 * into the replies of its requests.
 *
 *   output:   | +OK | +QUEUED | *1 $1 v | $1 a | $3 ...
 *   replies:   muted  muted     completes completes
 *
 * Each executed request tells where its reply ends; what stands before passes
 * the gate with it.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "cmd/client.h"
#include "proxy/acceptor_internal.h"
#include "walkerdb.h"

/* Flags of a session that mean something at the leader. */
#define FLAGS_PASSED ((uint32_t)(WDB_SESSION_NO_TOUCH | WDB_SESSION_NO_EVICT))

/* --- life -------------------------------------------------------------------------- */

static void on_ready(struct wdb_session *session)
{
    struct wdb_channel *channel = session->owner;
    wdb_channel_mark(channel);
}

void wdb_channel_mark(struct wdb_channel *channel)
{
    struct wdb_acceptor_hub *hub = channel->hub;
    if (wdb_list_empty(&channel->ready)) {
        wdb_list_append(&hub->ready, &channel->ready);
    }
}

int wdb_channel_new(struct wdb_acceptor *acceptor, uint64_t id,
                    const struct wdb_channel_state *state,
                    struct wdb_channel **out)
{
    struct wdb_acceptor_hub *hub = acceptor->hub;
    struct wdb_channel *channel = calloc(1, sizeof(*channel));
    if (channel == NULL) {
        return WALKERDB_ENOMEM;
    }
    const struct wdb_session_info info = {
        .address = state->address,
        .local_address = acceptor->address,
        .fd = -1,
        .channel = true,
        .owner = channel,
        .on_ready = on_ready,
    };
    if (wdb_session_new(hub->options.context, hub->options.executor, &info,
                        &channel->session) != 0) {
        free(channel);
        return WALKERDB_ENOMEM;
    }
    channel->session->output.cache = hub->options.cache;
    channel->session->flags |= WDB_SESSION_AUTHENTICATED;
    channel->acceptor = acceptor;
    channel->hub = hub;
    channel->id = id;
    channel->window = WDB_CHANNEL_WINDOW;
    wdb_list_append(&hub->channels, &channel->node);
    wdb_list_init(&channel->ready);
    const int rc = wdb_channel_set_state(channel, state);
    if (rc != 0) {
        wdb_channel_free(channel);
        return rc;
    }
    hub->stats.channels++;
    hub->stats.channels_now++;
    acceptor->channel_count++;
    acceptor->channels[(uint32_t)id] = channel;
    *out = channel;
    return 0;
}

void wdb_channel_free(struct wdb_channel *channel)
{
    struct wdb_session *session = channel->session;
    struct wdb_acceptor_hub *hub = channel->hub;
    if (channel->acceptor != NULL) {
        wdb_acceptor_forget(channel->acceptor, channel);
        channel->acceptor = NULL;
    }
    session->flags |= WDB_SESSION_CLOSING;
    wdb_list_remove(&channel->node);
    wdb_list_remove(&channel->ready);
    if ((session->flags & (WDB_SESSION_PARKED | WDB_SESSION_PAUSED)) ==
        WDB_SESSION_PARKED) {
        wdb_list_append(&hub->orphans, &channel->node);
        return;
    }
    wdb_executor_remove(hub->options.executor, session);
    wdb_session_free(session);
    free(channel->requests.items);
    free(channel->replies.items);
    free(channel);
}

int wdb_channel_set_state(struct wdb_channel *channel,
                          const struct wdb_channel_state *state)
{
    struct wdb_session *session = channel->session;
    if (state->read_level > WDB_READ_DEFAULT) {
        return WALKERDB_ECORRUPT;
    }
    if (state->database >=
        wdb_config_u64(session->context->config, WDB_CONFIG_DATABASES)) {
        channel->broken = true; /* its node has more of them than this one */
        session->flags |= WDB_SESSION_CLOSING;
        wdb_channel_mark(channel);
        return 0;
    }
    session->database = state->database;
    session->protocol = state->protocol;
    session->level = (enum wdb_read_level)state->read_level;
    session->flags =
        (session->flags & ~FLAGS_PASSED) | (state->flags & FLAGS_PASSED);
    if (strcmp(session->about.name, state->name) != 0) {
        wdb_client_set_name(session, wdb_slice_str(state->name));
    }
    return 0;
}

/* --- requests ------------------------------------------------------------------------ */

static int begin_request(struct wdb_channel *channel,
                         const struct wdb_proxy_frame *frame,
                         struct wdb_slice *bytes)
{
    uint32_t count = 1;
    if (frame->flags & WDB_PROXY_FRAME_BLOCK) {
        if (bytes->size <= sizeof(count)) {
            return WALKERDB_ECORRUPT;
        }
        count = wdb_load32(bytes->data);
        *bytes =
            wdb_slice(bytes->data + sizeof(count), bytes->size - sizeof(count));
        if (count < 2 || count > WDB_PROXY_FRAME_BLOCK_COUNT_MAX) {
            return WALKERDB_ECORRUPT;
        }
    }
    channel->fed++;
    if (WDB_RING_RESERVE(&channel->requests) != 0) {
        channel->broken = true;
        return 0;
    }
    WDB_RING_AT(&channel->requests, channel->requests.count) =
        (struct wdb_channel_request){count, (frame->flags &
                                             WDB_PROXY_FRAME_SILENT) != 0};
    channel->requests.count++;
    channel->hub->stats.requests++;
    return 0;
}

static bool give_input(struct wdb_session *session, struct wdb_slice bytes)
{
    while (bytes.size > 0) {
        size_t room = 0;
        uint8_t *to = wdb_session_input_room(session, &room);
        if (to == NULL) {
            return false;
        }
        const size_t size = bytes.size < room ? bytes.size : room;
        memcpy(to, bytes.data, size);
        wdb_session_input_add(session, size);
        bytes = wdb_slice(bytes.data + size, bytes.size - size);
    }
    return true;
}

int wdb_channel_feed(struct wdb_channel *channel,
                     const struct wdb_proxy_frame *frame)
{
    struct wdb_slice bytes = frame->payload;
    if (frame->sequence != channel->fed + (channel->feeding ? 0 : 1)) {
        return WALKERDB_ECORRUPT;
    }
    if (!channel->feeding) {
        const int rc = begin_request(channel, frame, &bytes);
        if (rc != 0) {
            return rc;
        }
    } else if (frame->flags & ~WDB_PROXY_FRAME_PART) {
        return WALKERDB_ECORRUPT;
    }
    channel->feeding = (frame->flags & WDB_PROXY_FRAME_PART) != 0;
    if (channel->refused) {
        return 0; /* with all that is behind it */
    }
    if (channel->broken || !give_input(channel->session, bytes)) {
        channel->broken = true;
        wdb_channel_mark(channel);
        return 0;
    }
    wdb_executor_add(channel->hub->options.executor, channel->session);
    return 0;
}

/* --- what the executor tells ------------------------------------------------------------ */

void wdb_channel_refuse(struct wdb_channel *channel)
{
    channel->refused = true;
    channel->session->flags |= WDB_SESSION_CLOSING;
    wdb_channel_mark(channel);
}

void wdb_acceptor_executed(struct wdb_session *session,
                           enum wdb_channel_outcome outcome)
{
    struct wdb_channel *channel = session->owner;
    if (outcome == WDB_CHANNEL_REFUSED) {
        wdb_channel_refuse(channel);
        return;
    }
    /* More requests than were announced, or no memory: no reply could be told
     * from another any more. */
    if (channel->requests.count == 0 ||
        WDB_RING_RESERVE(&channel->replies) != 0) {
        channel->broken = true;
        session->flags |= WDB_SESSION_CLOSING;
        return;
    }
    struct wdb_channel_request *request = &WDB_RING_AT(&channel->requests, 0);
    const bool completes = --request->left == 0;
    WDB_RING_AT(&channel->replies, channel->replies.count) =
        (struct wdb_channel_reply){
            .end = wdb_session_output_end(session),
            .muted = !completes || request->silent,
            .completes = completes,
        };
    channel->replies.count++;
    if (completes) {
        WDB_RING_POP(&channel->requests);
    }
}

void wdb_acceptor_lost(struct wdb_session *session, uint64_t end)
{
    struct wdb_channel *channel = session->owner;
    for (uint32_t i = 0; i < channel->replies.count; i++) {
        struct wdb_channel_reply *reply = &WDB_RING_AT(&channel->replies, i);
        if (reply->end > end) {
            reply->end = end;
            reply->unknown = true;
            channel->hub->stats.lost += reply->completes;
        }
    }
}

/* --- replies --------------------------------------------------------------------------- */

int wdb_channel_widen(struct wdb_channel *channel, uint64_t size)
{
    if (size > WDB_CHANNEL_WINDOW - channel->window) {
        return WALKERDB_ECORRUPT;
    }
    channel->window += (size_t)size;
    wdb_channel_mark(channel);
    return 0;
}

static bool is_full(const struct wdb_acceptor *acceptor)
{
    return acceptor->output.size >= WDB_UPSTREAM_AHEAD;
}

/* The head of the output as one frame. */
static void put_output(struct wdb_channel *channel,
                       enum wdb_proxy_frame_kind kind, uint64_t sequence,
                       bool is_part, size_t size)
{
    const struct wdb_proxy_frame frame = {
        kind, is_part ? WDB_PROXY_FRAME_PART : 0, channel->id, sequence, {0}};
    wdb_acceptor_put_output(channel->acceptor, &frame,
                            &channel->session->output, size);
    wdb_session_sent(channel->session, size);
    channel->window -= size;
}

static void put_text(struct wdb_channel *channel, struct wdb_slice text)
{
    /* A line more than the window is not worth waiting for it. */
    channel->window -=
        text.size < channel->window ? text.size : channel->window;
    const struct wdb_proxy_frame frame = {WDB_PROXY_FRAME_REPLY, 0, channel->id,
                                          channel->answered + 1, text};
    wdb_acceptor_put(channel->acceptor, &frame);
}

/* As much of a reply's bytes as may be sent; true: all of it. */
static bool put_reply(struct wdb_channel *channel, size_t size)
{
    do {
        if (is_full(channel->acceptor)) {
            return false;
        }
        size_t part =
            size < WDB_PROXY_FRAME_PART_SIZE ? size : WDB_PROXY_FRAME_PART_SIZE;
        part = part < channel->window ? part : channel->window;
        if (part == 0 && size > 0) {
            return false;
        }
        const bool is_part = part < size;
        put_output(channel, WDB_PROXY_FRAME_REPLY,
                   channel->answered + (is_part ? 0 : 1), is_part, part);
        size -= part;
    } while (size > 0);
    return true;
}

/* Send the oldest reply; false: not now, or not all of it. */
static bool send_reply(struct wdb_channel *channel, uint64_t released)
{
    struct wdb_session *session = channel->session;
    const struct wdb_channel_reply *reply = &WDB_RING_AT(&channel->replies, 0);
    if (reply->end > released || is_full(channel->acceptor)) {
        return false;
    }
    const size_t size = (size_t)(reply->end - session->output_sent);
    if (reply->muted) {
        wdb_session_sent(session, size);
        if (reply->completes) {
            put_text(channel, wdb_slice(NULL, 0));
        }
    } else if (reply->unknown) {
        wdb_assert(size == 0);
        put_text(channel, wdb_reply_unknown());
    } else if (!put_reply(channel, size)) {
        return false;
    }
    if (reply->completes) {
        channel->answered++;
        channel->hub->stats.replies++;
    }
    WDB_RING_POP(&channel->replies);
    return true;
}

/* What answers no request. */
static void send_pushes(struct wdb_channel *channel, uint64_t released)
{
    struct wdb_session *session = channel->session;
    while (released > session->output_sent && channel->window > 0 &&
           !is_full(channel->acceptor)) {
        size_t size = (size_t)(released - session->output_sent);
        size =
            size < WDB_PROXY_FRAME_PART_SIZE ? size : WDB_PROXY_FRAME_PART_SIZE;
        size = size < channel->window ? size : channel->window;
        put_output(channel, WDB_PROXY_FRAME_PUSH, 0, false, size);
    }
}

/* The oldest request has begun and answers later: a change of the nodes. */
static bool has_begun(const struct wdb_session *session)
{
    return (session->flags & WDB_SESSION_PAUSED) != 0 &&
           session->hold == WDB_HOLD_REPLY;
}

/* The last frame of a channel that is to end; false: it goes on. */
static bool finish(struct wdb_channel *channel)
{
    struct wdb_session *session = channel->session;
    struct wdb_proxy_frame frame = {.kind = WDB_PROXY_FRAME_CLOSE,
                                    .channel = channel->id};
    if (channel->broken || session->output.failed ||
        atomic_load_explicit(&session->kill, memory_order_acquire)) {
        wdb_acceptor_put(channel->acceptor, &frame);
        return true;
    }
    if ((session->flags & WDB_SESSION_CLOSING) == 0 ||
        channel->replies.count > 0 || session->output.size > 0) {
        return false;
    }
    if (channel->refused) {
        if (has_begun(session)) {
            if (!channel->hub->leaving) {
                return false; /* it ends with the office */
            }
            put_text(channel, wdb_reply_unknown());
            channel->answered++;
            channel->hub->stats.lost++;
        }
        frame.kind = WDB_PROXY_FRAME_REFUSED;
        frame.flags = WDB_PROXY_FRAME_NOT_LEADER;
        frame.sequence = channel->answered + 1;
        channel->hub->stats.refused++;
    }
    wdb_acceptor_put(channel->acceptor, &frame);
    return true;
}

void wdb_channel_send(struct wdb_channel *channel, struct wdb_gate gate)
{
    struct wdb_acceptor_hub *hub = channel->hub;
    struct wdb_session *session = channel->session;
    wdb_list_remove(&channel->ready);
    const uint64_t released =
        session->output_sent + wdb_session_sendable(session, gate);
    while (channel->replies.count > 0 && send_reply(channel, released)) {
    }
    if (channel->replies.count == 0) {
        send_pushes(channel, released);
    }
    if (finish(channel)) {
        wdb_channel_free(channel);
        return;
    }
    if (is_full(channel->acceptor)) {
        wdb_list_append(&hub->stalled, &channel->ready);
    } else if (session->mark_count > 0) {
        wdb_list_append(&hub->ready, &channel->ready); /* waits at the gate */
    }
    if (session->input.size > session->input_used &&
        session->output.size < WDB_OUTPUT_HOLD_SIZE) {
        wdb_executor_add(hub->options.executor, session);
    }
}
