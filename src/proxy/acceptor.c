/* acceptor.c - the leader's end of connections for forwarded requests. */
#include "proxy/acceptor.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "cmd/cluster.h"
#include "cmd/context.h"
#include "proxy/acceptor_internal.h"
#include "walkerdb.h"

#define SLOTS_MAX ((uint32_t)1 << 16)
/* A channel that is quiet for so long keeps no buffer. */
#define IDLE_MS 2000

/* --- the hub -------------------------------------------------------------------- */

static uint64_t era_of(const struct wdb_acceptor_hub *hub)
{
    const struct wdb_cluster *cluster = hub->options.context->cluster;
    return cluster == NULL ? 0 : wdb_raft_gate_era(cluster->gate);
}

int wdb_acceptor_hub_new(const struct wdb_acceptor_hub_options *options,
                         struct wdb_acceptor_hub **out)
{
    struct wdb_acceptor_hub *hub = calloc(1, sizeof(*hub));
    if (hub == NULL) {
        return WALKERDB_ENOMEM;
    }
    hub->options = *options;
    wdb_list_init(&hub->acceptors);
    wdb_list_init(&hub->channels);
    wdb_list_init(&hub->ready);
    wdb_list_init(&hub->stalled);
    wdb_list_init(&hub->orphans);
    hub->era = era_of(hub);
    *out = hub;
    return 0;
}

/* Those whose job has ended. */
static void free_orphans(struct wdb_acceptor_hub *hub)
{
    struct wdb_list *next;
    for (struct wdb_list *node = hub->orphans.next; node != &hub->orphans;
         node = next) {
        struct wdb_channel *channel =
            WDB_LIST_ENTRY(node, struct wdb_channel, node);
        next = node->next;
        if ((channel->session->flags & WDB_SESSION_PARKED) == 0) {
            wdb_channel_free(channel);
        }
    }
}

void wdb_acceptor_hub_free(struct wdb_acceptor_hub *hub)
{
    if (hub == NULL) {
        return;
    }
    wdb_assert(wdb_list_empty(&hub->acceptors));
    free_orphans(hub);
    wdb_assert(wdb_list_empty(&hub->orphans) && wdb_list_empty(&hub->channels));
    free(hub);
}

static void refuse_all(struct wdb_acceptor_hub *hub)
{
    WDB_LIST_FOREACH(node, &hub->channels)
    {
        wdb_channel_refuse(WDB_LIST_ENTRY(node, struct wdb_channel, node));
    }
}

void wdb_acceptor_hub_begin(struct wdb_acceptor_hub *hub)
{
    const uint64_t era = era_of(hub);
    if (WDB_UNLIKELY(era != hub->era)) {
        hub->era = era;
        refuse_all(hub);
    }
}

static void put_leaving(struct wdb_acceptor *acceptor)
{
    const struct wdb_proxy_frame frame = {.kind = WDB_PROXY_FRAME_LEAVING};
    wdb_acceptor_put(acceptor, &frame);
}

void wdb_acceptor_hub_leave(struct wdb_acceptor_hub *hub)
{
    hub->leaving = true;
    WDB_LIST_FOREACH(node, &hub->acceptors)
    {
        put_leaving(WDB_LIST_ENTRY(node, struct wdb_acceptor, node));
    }
    refuse_all(hub);
}

bool wdb_acceptor_hub_send(struct wdb_acceptor_hub *hub, struct wdb_gate gate)
{
    struct wdb_list list;
    if (WDB_UNLIKELY(!wdb_list_empty(&hub->orphans))) {
        free_orphans(hub);
    }
    wdb_list_init(&list);
    while (!wdb_list_empty(&hub->ready)) {
        struct wdb_list *node = hub->ready.next;
        wdb_list_remove(node);
        wdb_list_append(&list, node);
    }
    while (!wdb_list_empty(&list)) {
        struct wdb_channel *channel =
            WDB_LIST_ENTRY(list.next, struct wdb_channel, ready);
        if (channel->acceptor == NULL) {
            wdb_list_remove(&channel->ready); /* an orphan */
        } else {
            wdb_channel_send(channel, gate);
        }
    }
    return !wdb_list_empty(&hub->ready);
}

bool wdb_acceptor_hub_has_work(const struct wdb_acceptor_hub *hub)
{
    return !wdb_list_empty(&hub->ready);
}

void wdb_acceptor_hub_close_killed(struct wdb_acceptor_hub *hub)
{
    WDB_LIST_FOREACH(node, &hub->channels)
    {
        struct wdb_channel *channel =
            WDB_LIST_ENTRY(node, struct wdb_channel, node);
        if (atomic_load_explicit(&channel->session->kill,
                                 memory_order_acquire)) {
            wdb_channel_mark(channel);
        }
    }
}

void wdb_acceptor_hub_tick(struct wdb_acceptor_hub *hub)
{
    struct wdb_env *env = hub->options.context->env;
    const uint64_t now_ms = env->ops->time_ms(env);
    WDB_LIST_FOREACH(node, &hub->channels)
    {
        struct wdb_session *session =
            WDB_LIST_ENTRY(node, struct wdb_channel, node)->session;
        const uint64_t active_ms =
            atomic_load_explicit(&session->last_active_ms,
                                 memory_order_relaxed);
        if (session->input.size == session->input_used &&
            now_ms > active_ms + IDLE_MS) {
            session->input_used = 0;
            wdb_buffer_release(&session->input);
        }
    }
}

const struct wdb_acceptor_stats *wdb_acceptor_hub_stats(
    const struct wdb_acceptor_hub *hub)
{
    return &hub->stats;
}

/* --- one connection --------------------------------------------------------------- */

int wdb_acceptor_new(struct wdb_acceptor_hub *hub, const char *address,
                     struct wdb_acceptor **out)
{
    struct wdb_acceptor *acceptor = calloc(1, sizeof(*acceptor));
    if (acceptor == NULL) {
        return WALKERDB_ENOMEM;
    }
    acceptor->hub = hub;
    size_t size = strlen(address);
    size =
        size < sizeof(acceptor->address) ? size : sizeof(acceptor->address) - 1;
    memcpy(acceptor->address, address, size);
    wdb_proxy_frame_decoder_init(&acceptor->decoder, false);
    wdb_output_init(&acceptor->output);
    acceptor->output.cache = hub->options.cache;
    wdb_list_append(&hub->acceptors, &acceptor->node);
    if (hub->leaving) {
        put_leaving(acceptor);
    }
    *out = acceptor;
    return 0;
}

void wdb_acceptor_free(struct wdb_acceptor *acceptor)
{
    for (uint32_t i = 0; i < acceptor->slot_count; i++) {
        if (acceptor->channels[i] != NULL) {
            wdb_channel_free(acceptor->channels[i]);
        }
    }
    wdb_assert(acceptor->channel_count == 0);
    wdb_list_remove(&acceptor->node);
    wdb_proxy_frame_decoder_release(&acceptor->decoder);
    wdb_output_release(&acceptor->output);
    free(acceptor->channels);
    free(acceptor);
}

uint32_t wdb_acceptor_channel_count(const struct wdb_acceptor *acceptor)
{
    return acceptor->channel_count;
}

struct wdb_output *wdb_acceptor_output(struct wdb_acceptor *acceptor)
{
    return &acceptor->output;
}

void wdb_acceptor_forget(struct wdb_acceptor *acceptor,
                         struct wdb_channel *channel)
{
    struct wdb_channel **place = &acceptor->channels[(uint32_t)channel->id];
    if (*place == channel) {
        *place = NULL;
        acceptor->channel_count--;
        acceptor->hub->stats.channels_now--;
    }
}

bool wdb_acceptor_sent(struct wdb_acceptor *acceptor)
{
    struct wdb_acceptor_hub *hub = acceptor->hub;
    struct wdb_list *next;
    bool goes_on = false;
    if (acceptor->output.size >= WDB_UPSTREAM_AHEAD) {
        return false;
    }
    for (struct wdb_list *node = hub->stalled.next; node != &hub->stalled;
         node = next) {
        struct wdb_channel *channel =
            WDB_LIST_ENTRY(node, struct wdb_channel, ready);
        next = node->next;
        if (channel->acceptor == acceptor) {
            wdb_list_remove(node);
            wdb_channel_mark(channel);
            goes_on = true;
        }
    }
    return goes_on;
}

/* --- frames ------------------------------------------------------------------------- */

void wdb_acceptor_put(struct wdb_acceptor *acceptor,
                      const struct wdb_proxy_frame *frame)
{
    uint8_t header[WDB_PROXY_FRAME_HEADER_SIZE];
    wdb_proxy_frame_encode_header(frame, frame->payload.size, header);
    wdb_output_append(&acceptor->output, header, sizeof(header));
    if (frame->payload.size > 0) {
        wdb_output_append(&acceptor->output, frame->payload.data,
                          frame->payload.size);
    }
}

void wdb_acceptor_put_output(struct wdb_acceptor *acceptor,
                             const struct wdb_proxy_frame *frame,
                             const struct wdb_output *from, size_t size)
{
    enum {
        VECTORS = 16
    };
    uint8_t header[WDB_PROXY_FRAME_HEADER_SIZE];
    wdb_proxy_frame_encode_header(frame, size, header);
    wdb_output_append(&acceptor->output, header, sizeof(header));
    for (const struct wdb_output_node *node = from->head; size > 0;
         node = node->next) {
        const size_t part = node->size < size ? node->size : size;
        wdb_output_append(&acceptor->output, node->data, part);
        size -= part;
    }
}

/* A place for the channel's number. */
static int make_place(struct wdb_acceptor *acceptor, uint32_t index)
{
    if (index < acceptor->slot_count) {
        return 0;
    }
    uint32_t count = acceptor->slot_count == 0 ? 16 : acceptor->slot_count;
    while (count <= index) {
        count *= 2;
    }
    struct wdb_channel **channels =
        realloc(acceptor->channels, count * sizeof(*channels));
    if (channels == NULL) {
        return WALKERDB_ENOMEM;
    }
    memset(channels + acceptor->slot_count, 0,
           (count - acceptor->slot_count) * sizeof(*channels));
    acceptor->channels = channels;
    acceptor->slot_count = count;
    return 0;
}

static int take_open(struct wdb_acceptor *acceptor,
                     const struct wdb_proxy_frame *frame)
{
    const uint32_t index = (uint32_t)frame->channel;
    struct wdb_channel_state state;
    int rc = wdb_channel_state_decode(frame->payload, &state);
    if (rc != 0 || index >= SLOTS_MAX) {
        return WALKERDB_ECORRUPT;
    }
    rc = make_place(acceptor, index);
    if (rc != 0) {
        return rc;
    }
    if (acceptor->channels[index] != NULL) {
        return WALKERDB_ECORRUPT;
    }
    struct wdb_channel *channel;
    rc = wdb_channel_new(acceptor, frame->channel, &state, &channel);
    if (rc == 0 && acceptor->hub->leaving) {
        wdb_channel_refuse(channel);
    }
    return rc;
}

static int take_frame(struct wdb_acceptor *acceptor,
                      const struct wdb_proxy_frame *frame)
{
    struct wdb_channel_state state;
    struct wdb_channel *channel = NULL;
    if (frame->kind == WDB_PROXY_FRAME_OPEN) {
        return take_open(acceptor, frame);
    }
    if ((uint32_t)frame->channel < acceptor->slot_count) {
        channel = acceptor->channels[(uint32_t)frame->channel];
    }
    if (channel == NULL || channel->id != frame->channel) {
        return 0; /* closed here, while this was on its way */
    }
    switch (frame->kind) {
    case WDB_PROXY_FRAME_STATE:
        return wdb_channel_state_decode(frame->payload, &state) == 0
                   ? wdb_channel_set_state(channel, &state)
                   : WALKERDB_ECORRUPT;
    case WDB_PROXY_FRAME_REQUEST:
        return wdb_channel_feed(channel, frame);
    case WDB_PROXY_FRAME_WINDOW:
        return wdb_channel_widen(channel, frame->sequence);
    case WDB_PROXY_FRAME_CLOSE:
        wdb_channel_free(channel);
        return 0;
    default:
        return WALKERDB_ECORRUPT; /* the decoder lets none of these pass */
    }
}

uint8_t *wdb_acceptor_room(struct wdb_acceptor *acceptor, size_t *size_out)
{
    return wdb_proxy_frame_decoder_room(&acceptor->decoder, size_out);
}

int wdb_acceptor_received(struct wdb_acceptor *acceptor, size_t size)
{
    struct wdb_proxy_frame frame;
    int rc;
    wdb_proxy_frame_decoder_add(&acceptor->decoder, size);
    while ((rc = wdb_proxy_frame_decoder_next(&acceptor->decoder, &frame)) ==
           1) {
        rc = take_frame(acceptor, &frame);
        if (rc != 0) {
            return rc;
        }
    }
    return rc;
}
