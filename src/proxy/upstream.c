/*
 * upstream.c - a connection to a leader: channels of routes, frames out and in.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "proxy/proxy_internal.h"
#include "walkerdb.h"

#define SLOTS_MAX ((uint32_t)1 << 16)

int wdb_upstream_new(struct wdb_proxy *proxy,
                     const struct wdb_proxy_target *target,
                     struct wdb_upstream **out)
{
    struct wdb_upstream *upstream = calloc(1, sizeof(*upstream));
    if (upstream == NULL) {
        return WALKERDB_ENOMEM;
    }
    upstream->proxy = proxy;
    upstream->target = *target;
    upstream->phase = WDB_UPSTREAM_DIALING;
    wdb_list_init(&upstream->node);
    wdb_output_init(&upstream->output);
    upstream->output.cache = proxy->options.cache;
    wdb_proxy_frame_decoder_init(&upstream->decoder, true);
    *out = upstream;
    return 0;
}

void wdb_upstream_free(struct wdb_upstream *upstream)
{
    for (uint32_t i = 0; i < upstream->slot_count; i++) {
        struct wdb_proxy_route *route = upstream->slots[i].route;
        if (route != NULL) {
            wdb_upstream_detach(upstream, route, false);
            wdb_proxy_route_lost(route, upstream->handed);
        }
    }
    wdb_assert(upstream->channel_count == 0);
    wdb_output_release(&upstream->output);
    wdb_proxy_frame_decoder_release(&upstream->decoder);
    free(upstream->slots);
    free(upstream);
}

bool wdb_upstream_has_unanswered(const struct wdb_upstream *upstream)
{
    for (uint32_t i = 0; i < upstream->slot_count; i++) {
        const struct wdb_proxy_route *route = upstream->slots[i].route;
        if (route != NULL && route->sent_count > 0) {
            return true;
        }
    }
    return false;
}

/* --- frames out ---------------------------------------------------------------- */

static void put(struct wdb_upstream *upstream,
                const struct wdb_proxy_frame *frame, struct wdb_slice more)
{
    uint8_t header[WDB_PROXY_FRAME_HEADER_SIZE];
    wdb_proxy_frame_encode_header(frame, frame->payload.size + more.size,
                                  header);
    wdb_output_append(&upstream->output, header, sizeof(header));
    if (frame->payload.size > 0) {
        wdb_output_append(&upstream->output, frame->payload.data,
                          frame->payload.size);
    }
    if (more.size > 0) {
        wdb_output_append(&upstream->output, more.data, more.size);
    }
    upstream->given += sizeof(header) + frame->payload.size + more.size;
    upstream->flushing = true;
}

static void put_small(struct wdb_upstream *upstream,
                      enum wdb_proxy_frame_kind kind, uint64_t channel,
                      uint64_t sequence)
{
    const struct wdb_proxy_frame frame = {kind, 0, channel, sequence, {0}};
    put(upstream, &frame, wdb_slice(NULL, 0));
}

static void put_state(struct wdb_upstream *upstream,
                      enum wdb_proxy_frame_kind kind,
                      const struct wdb_proxy_route *route)
{
    struct wdb_buffer payload = WDB_BUFFER_INIT;
    if (wdb_channel_state_encode(&route->state_told, &payload) != 0) {
        upstream->output.failed = true;
        return;
    }
    const struct wdb_proxy_frame frame = {kind, 0, route->channel, 0,
                                          wdb_buffer_slice(&payload)};
    put(upstream, &frame, wdb_slice(NULL, 0));
    wdb_buffer_release(&payload);
}

/* --- channels -------------------------------------------------------------------- */

static struct wdb_upstream_slot *take_slot(struct wdb_upstream *upstream)
{
    if (upstream->slot_free != 0) {
        struct wdb_upstream_slot *slot =
            &upstream->slots[upstream->slot_free - 1];
        upstream->slot_free = slot->next_free;
        return slot;
    }
    if (upstream->slot_count == upstream->slot_capacity) {
        const uint32_t capacity =
            upstream->slot_capacity == 0 ? 16 : upstream->slot_capacity * 2;
        struct wdb_upstream_slot *slots =
            capacity > SLOTS_MAX
                ? NULL
                : realloc(upstream->slots, capacity * sizeof(*slots));
        if (slots == NULL) {
            return NULL;
        }
        upstream->slots = slots;
        upstream->slot_capacity = capacity;
    }
    return &upstream->slots[upstream->slot_count++];
}

static bool attach(struct wdb_upstream *upstream, struct wdb_proxy_route *route,
                   uint8_t read_level)
{
    struct wdb_upstream_slot *slot = take_slot(upstream);
    if (slot == NULL) {
        return false;
    }
    const uint64_t index = (uint64_t)(slot - upstream->slots);
    slot->route = route;
    slot->channel = (uint64_t)++upstream->generation << 32 | index;
    upstream->channel_count++;
    route->upstream = upstream;
    route->channel = slot->channel;
    route->answered = 0;
    route->unacked = 0;
    route->state_told = route->state;
    route->state_told.read_level = read_level;
    put_state(upstream, WDB_PROXY_FRAME_OPEN, route);
    return true;
}

void wdb_upstream_detach(struct wdb_upstream *upstream,
                         struct wdb_proxy_route *route, bool tell)
{
    const uint32_t index = (uint32_t)route->channel;
    struct wdb_upstream_slot *slot = &upstream->slots[index];
    wdb_assert(route->upstream == upstream && slot->route == route &&
               slot->channel == route->channel);
    if (tell) {
        put_small(upstream, WDB_PROXY_FRAME_CLOSE, route->channel, 0);
    }
    *slot = (struct wdb_upstream_slot){.next_free = upstream->slot_free};
    upstream->slot_free = index + 1;
    upstream->channel_count--;
    route->upstream = NULL;
    route->channel = 0;
    route->unacked = 0;
    wdb_list_remove(&route->unacked_node);
}

/* Nothing of it is under way here: it goes to the next leader. */
static void leave(struct wdb_upstream *upstream, struct wdb_proxy_route *route)
{
    wdb_upstream_detach(upstream, route, true);
    wdb_proxy_route_lost(route, 0);
}

void wdb_upstream_drain(struct wdb_upstream *upstream, uint64_t until_ns)
{
    upstream->phase = WDB_UPSTREAM_DRAINING;
    upstream->drain_until_ns = until_ns;
    for (uint32_t i = 0; i < upstream->slot_count; i++) {
        struct wdb_proxy_route *route = upstream->slots[i].route;
        if (route != NULL && route->sent_count == 0) {
            leave(upstream, route);
        }
    }
}

/* --- requests out ------------------------------------------------------------------ */

/* The next frame of the request. */
static void put_part(struct wdb_upstream *upstream,
                     struct wdb_proxy_route *route)
{
    struct wdb_proxy_request *request = route->unsent;
    struct wdb_proxy_frame frame = {
        .kind = WDB_PROXY_FRAME_REQUEST,
        .channel = route->channel,
        .sequence = route->answered + route->sent_count + 1,
    };
    uint8_t count[sizeof(uint32_t)];
    size_t room = WDB_PROXY_FRAME_PART_SIZE;
    if (route->unsent_offset == 0) {
        if (request->count > 1) {
            wdb_store32(count, request->count);
            frame.payload = wdb_slice(count, sizeof(count));
            frame.flags |= WDB_PROXY_FRAME_BLOCK;
            room -= sizeof(count);
        }
        if (request->flags & WDB_PROXY_REQUEST_SILENT) {
            frame.flags |= WDB_PROXY_FRAME_SILENT;
        }
    }
    const size_t rest = request->size - route->unsent_offset;
    const size_t size = rest < room ? rest : room;
    if (size < rest) {
        frame.flags |= WDB_PROXY_FRAME_PART;
    }
    put(upstream, &frame,
        wdb_slice(request->bytes + route->unsent_offset, size));
    route->unsent_offset += size;
    if (size == rest) {
        request->end = upstream->given;
        route->unsent = request->next;
        route->unsent_offset = 0;
        route->sent_count++;
        route->sent += request->size;
    }
}

void wdb_upstream_send(struct wdb_upstream *upstream,
                       struct wdb_proxy_route *route, size_t budget)
{
    const uint64_t end = upstream->given + budget;
    while (upstream->given < end && !upstream->output.failed &&
           wdb_proxy_route_can_send(route)) {
        const uint8_t read_level = route->unsent->read_level;
        if (route->upstream == NULL) {
            if (!attach(upstream, route, read_level)) {
                wdb_proxy_route_delay(
                    route); /* too many channels, or no memory */
                return;
            }
        } else if (route->unsent_offset == 0) {
            route->state.read_level = read_level;
            if (!wdb_channel_state_equal(&route->state, &route->state_told)) {
                route->state_told = route->state;
                put_state(upstream, WDB_PROXY_FRAME_STATE, route);
            }
        }
        put_part(upstream, route);
    }
    wdb_proxy_route_update(route);
}

void wdb_upstream_acknowledge(struct wdb_upstream *upstream,
                              struct wdb_proxy_route *route)
{
    if (route->unacked < WDB_CHANNEL_WINDOW / 2) {
        return;
    }
    if (route->ops->backlog(route->owner) >= WDB_CHANNEL_WINDOW / 2) {
        if (wdb_list_empty(&route->unacked_node)) {
            wdb_list_append(&route->proxy->unacked, &route->unacked_node);
        }
        return;
    }
    put_small(upstream, WDB_PROXY_FRAME_WINDOW, route->channel, route->unacked);
    route->unacked = 0;
    wdb_list_remove(&route->unacked_node);
}

/* --- frames in ------------------------------------------------------------------------ */

static struct wdb_proxy_route *find_route(const struct wdb_upstream *upstream,
                                          uint64_t channel)
{
    const uint32_t index = (uint32_t)channel;
    if (index >= upstream->slot_count ||
        upstream->slots[index].channel != channel) {
        return NULL; /* the client has gone */
    }
    return upstream->slots[index].route;
}

static int take_reply(struct wdb_upstream *upstream,
                      struct wdb_proxy_route *route,
                      const struct wdb_proxy_frame *frame)
{
    const bool is_part = (frame->flags & WDB_PROXY_FRAME_PART) != 0;
    if (route->sent_count == 0 ||
        frame->sequence != route->answered + (is_part ? 0 : 1)) {
        return WALKERDB_ECORRUPT;
    }
    const uint32_t flags = route->head->flags;
    route->unacked += frame->payload.size;
    if (is_part) {
        if ((flags & WDB_PROXY_REQUEST_SILENT) == 0) {
            route->part_came = true;
            route->ops->part(route->owner, frame->payload);
        }
    } else {
        if ((flags & WDB_PROXY_REQUEST_WATCHES) != 0 &&
            ((flags & WDB_PROXY_REQUEST_SILENT) != 0 ||
             (frame->payload.size > 0 && frame->payload.data[0] != '-'))) {
            route->watching = true;
        }
        route->answered++;
        route->refused_count = 0;
        route->held_ns = 0;
        wdb_proxy_route_answer(route, frame->payload);
    }
    wdb_upstream_acknowledge(upstream, route);
    if ((!is_part && (flags & WDB_PROXY_REQUEST_LAST) != 0) ||
        (upstream->phase == WDB_UPSTREAM_DRAINING && route->sent_count == 0)) {
        wdb_assert(route->sent_count == 0);
        leave(upstream, route);
    } else {
        wdb_proxy_route_update(route);
    }
    return 0;
}

static int take_refusal(struct wdb_upstream *upstream,
                        struct wdb_proxy_route *route,
                        const struct wdb_proxy_frame *frame)
{
    if (frame->sequence != route->answered + 1 || route->part_came) {
        return WALKERDB_ECORRUPT;
    }
    const bool was_asked = route->sent_count > 0;
    route->proxy->stats.refused += was_asked;
    wdb_upstream_detach(upstream, route, false);
    wdb_proxy_route_lost(route, 0);
    if (was_asked && upstream->phase == WDB_UPSTREAM_UP) {
        wdb_proxy_route_delay(route); /* the same leader would be asked again */
    }
    return 0;
}

static int take_frame(struct wdb_upstream *upstream,
                      const struct wdb_proxy_frame *frame)
{
    if (frame->kind == WDB_PROXY_FRAME_LEAVING) {
        wdb_proxy_upstream_leaves(upstream->proxy, upstream);
        return 0;
    }
    struct wdb_proxy_route *route = find_route(upstream, frame->channel);
    if (route == NULL) {
        return 0;
    }
    switch (frame->kind) {
    case WDB_PROXY_FRAME_REPLY:
        return take_reply(upstream, route, frame);
    case WDB_PROXY_FRAME_REFUSED:
        return take_refusal(upstream, route, frame);
    case WDB_PROXY_FRAME_PUSH:
        if (route->part_came) {
            return WALKERDB_ECORRUPT; /* in the middle of a reply */
        }
        route->unacked += frame->payload.size;
        route->ops->push(route->owner, frame->payload);
        wdb_upstream_acknowledge(upstream, route);
        return 0;
    case WDB_PROXY_FRAME_CLOSE:
        wdb_upstream_detach(upstream, route, false);
        wdb_proxy_route_kill(route, !route->part_came);
        return 0;
    default:
        return WALKERDB_ECORRUPT; /* the decoder lets none of these pass */
    }
}

uint8_t *wdb_upstream_room(struct wdb_upstream *upstream, size_t *size_out)
{
    return wdb_proxy_frame_decoder_room(&upstream->decoder, size_out);
}

int wdb_upstream_received(struct wdb_upstream *upstream, size_t size,
                          uint64_t now_ns)
{
    struct wdb_proxy_frame frame;
    int rc;
    upstream->proxy->now_ns = now_ns;
    wdb_proxy_frame_decoder_add(&upstream->decoder, size);
    while ((rc = wdb_proxy_frame_decoder_next(&upstream->decoder, &frame)) ==
           1) {
        rc = take_frame(upstream, &frame);
        if (rc != 0) {
            return rc;
        }
    }
    return rc;
}

/* --- for the transport ------------------------------------------------------------------ */

struct wdb_output *wdb_upstream_output(struct wdb_upstream *upstream)
{
    return &upstream->output;
}

void wdb_upstream_handed(struct wdb_upstream *upstream, size_t size)
{
    upstream->handed += size;
    wdb_assert(upstream->handed <= upstream->given);
}
