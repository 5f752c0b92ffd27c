/*
 * test_proxy_random.c - the follower's end of forwarding against leaders that
 * are models: many clients, every interleaving, leaders that change and die at
 * any point, connections that break, in virtual time from one seed.
 *
 * The models share one list of applied writes; what is not committed may be lost
 * when the leader changes. For each client: no reply that is not its own, none
 * twice, replies in order; a write that was answered is there once, one that was
 * definitely not done is not there, none is there twice, all are in the order
 * in which they were sent; a read sees all answered writes of its client that
 * were sent before, and none that was sent behind it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/time.h"
#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "proxy/proxy.h"

#define CLIENTS      6 /* at a time */
#define CLIENTS_MAX  64
#define OUTSTANDING  512
#define ENTRIES_MAX  4096
#define CHANNELS_MAX 64
#define LINKS_MAX    4
#define HOLD_NS      (UINT64_C(900) * WDB_NS_PER_MS)
#define DRAIN_NS     (UINT64_C(250) * WDB_NS_PER_MS)
/* An EXEC behind which nothing may come. */
#define IS_LAST(kind, number) ((kind) == 'E' && (number) % 2 == 0)

struct entry {
    uint32_t client, number;
};

/* A request that was executed, its reply behind the gate. */
struct done {
    struct wdb_buffer reply;
    size_t sent;    /* of the reply */
    uint64_t needs; /* entries committed */
    bool silent, is_write;
};

struct model_channel {
    uint64_t id; /* 0: free */
    uint64_t fed, answered;
    bool feeding, silent, watching, refused, ended;
    uint8_t read_level;
    uint32_t count;          /* requests in the block that comes */
    struct wdb_buffer input; /* whole and partial requests, one per "\n" */
    bool silents[OUTSTANDING];
    uint32_t waiting; /* whole ones */
    uint32_t silent_first;
    struct done done[OUTSTANDING];
    uint32_t done_first, done_count;
    size_t window;
};

/* A connection, with the leader at its other end. */
struct link {
    struct world *world;
    struct wdb_upstream *upstream; /* NULL: free */
    uint64_t leader;
    bool is_up, frozen; /* the leader has gone silent */
    bool deposed, leaving;
    struct wdb_buffer to_leader, to_follower;
    struct wdb_proxy_frame_decoder decoder;
    struct model_channel channels[CHANNELS_MAX];
};

struct expected {
    char kind; /* W, R, E (exec), P (watch), S (silent write) */
    uint32_t number;
    uint32_t acknowledged; /* R: highest answered write when it was sent */
    uint32_t written;      /* R: highest write sent before */
};

struct client {
    struct world *world;
    uint32_t index;
    struct wdb_proxy_route *route;
    uint32_t number; /* of the last request */
    struct expected expected[OUTSTANDING];
    uint32_t first, count;
    struct wdb_buffer part;
    uint32_t write_last, write_acknowledged;
    bool watched; /* since the last exec */
    bool closed, ending;
    bool gone;          /* another one comes in its place */
    uint32_t depth_max; /* requests that it has under way at most */
    size_t backlog;
    uint8_t verdict[ENTRIES_MAX]; /* of writes, by number */
};

enum {
    NOT_SENT,
    PENDING,
    APPLIED,
    UNKNOWN,
    NOT_DONE
};

struct world {
    struct test_random random;
    struct wdb_proxy *proxy;
    uint64_t now_ns;
    struct link links[LINKS_MAX];
    uint64_t leader;        /* 0: none */
    uint64_t election_odds; /* one in so many steps */
    uint64_t leader_last;
    struct entry entries[ENTRIES_MAX];
    uint32_t entry_count, committed;
    struct client clients[CLIENTS_MAX];
    uint32_t client_count;
    uint32_t changes; /* of leaders or connections: may lose watches */
    bool calm;        /* nothing breaks any more */
    uint64_t faults;
    uint64_t answers, unknown, down, again, nulls, closes, refusals;
};

static uint64_t below(struct world *world, uint64_t bound)
{
    return test_random_below(&world->random, bound);
}

/* An allocation that is made to fail fails once. */
static void append(struct wdb_buffer *out, const void *data, size_t size)
{
    if (wdb_buffer_append(out, data, size) != 0 &&
        wdb_buffer_append(out, data, size) != 0) {
        abort();
    }
}

/* Now and then there is no memory in the middle of something. */
static void begin_fault(struct world *world)
{
    if (!world->calm && below(world, 60) == 0) {
        fault_alloc_arm_thread(1 + below(world, 4));
    }
}

static void end_fault(struct world *world)
{
    world->faults += fault_alloc_disarm();
}

/* --- clients --------------------------------------------------------------------- */

static void judge(struct client *client, const struct expected *expected,
                  struct wdb_slice bytes, uint32_t count)
{
    struct world *world = client->world;
    char text[64];
    const bool writes = strchr("WES", expected->kind) != NULL;
    world->answers++;
    if (expected->kind == 'S') {
        CHECK_EQ(count, 0);
        client->verdict[expected->number] = UNKNOWN; /* nobody told */
        return;
    }
    CHECK_EQ(count, 1);
    REQUIRE(bytes.size > 0 && bytes.data[bytes.size - 1] == '\n');
    if (bytes.size > 8 && memcmp(bytes.data, "-UNKNOWN", 8) == 0) {
        CHECK(writes);
        world->unknown++;
        client->verdict[expected->number] = UNKNOWN;
        return;
    }
    if (bytes.data[0] == '-') {
        const bool down = memcmp(bytes.data, "-CLUSTERDOWN", 12) == 0;
        CHECK(down || (memcmp(bytes.data, "-TRYAGAIN", 9) == 0 && !writes));
        world->down += down;
        world->again += !down;
        client->verdict[expected->number] = NOT_DONE;
        return;
    }
    if (bytes.data[0] == '*') { /* a null array */
        CHECK(expected->kind == 'E' && client->watched);
        world->nulls++;
        client->verdict[expected->number] = NOT_DONE;
        return;
    }
    const int length =
        snprintf(text, sizeof(text), "+%c %u %u ", expected->kind,
                 client->index, expected->number);
    CHECK(bytes.size > (size_t)length &&
          memcmp(bytes.data, text, (size_t)length) == 0);
    client->verdict[expected->number] = writes ? APPLIED : NOT_DONE;
    client->watched |= expected->kind == 'P';
    if (writes) {
        client->write_acknowledged = expected->number;
    } else if (expected->kind == 'R') {
        const uint32_t seen =
            (uint32_t)strtoul((const char *)bytes.data + length, NULL, 10);
        CHECK(seen >= expected->acknowledged);
        CHECK(seen <= expected->written);
    }
}

static void on_answer(void *owner, struct wdb_slice bytes, uint32_t count)
{
    struct client *client = owner;
    CHECK(!client->closed);
    REQUIRE(client->count > 0);
    const struct expected expected =
        client->expected[client->first % OUTSTANDING];
    append(&client->part, bytes.data, bytes.size);
    judge(client, &expected, wdb_buffer_slice(&client->part), count);
    client->backlog += bytes.size;
    client->part.size = 0;
    if (expected.kind == 'E') {
        client->watched = false;
    }
    client->first++;
    client->count--;
}

static void on_part(void *owner, struct wdb_slice bytes)
{
    struct client *client = owner;
    CHECK(!client->closed && client->count > 0);
    append(&client->part, bytes.data, bytes.size);
    client->backlog += bytes.size;
}

static void on_push(void *owner, struct wdb_slice bytes)
{
    const struct client *client = owner;
    CHECK_MEM(bytes.data, bytes.size, "!", 1);
    CHECK(client->part.size == 0);
}

static void on_close(void *owner, bool after_replies)
{
    struct client *client = owner;
    CHECK(!client->closed);
    CHECK(!after_replies); /* the model closes no channel */
    CHECK(client->part.size > 0);
    client->closed = true;
    client->world->closes++;
}

static size_t get_backlog(const void *owner)
{
    const struct client *client = owner;
    return client->backlog;
}

static const struct wdb_proxy_route_ops route_ops = {
    .answer = on_answer,
    .part = on_part,
    .push = on_push,
    .close = on_close,
    .backlog = get_backlog,
};

/* Those that are unanswered may have been done. */
static void disconnect(struct client *client)
{
    wdb_proxy_route_free(client->route);
    client->route = NULL;
    for (uint32_t i = 0; i < client->count; i++) {
        const struct expected *expected =
            &client->expected[(client->first + i) % OUTSTANDING];
        client->verdict[expected->number] = UNKNOWN;
    }
    client->count = 0;
    client->gone = true;
    wdb_buffer_release(&client->part);
}

static void add_client(struct world *world)
{
    if (world->client_count < CLIENTS_MAX) {
        struct client *client = &world->clients[world->client_count];
        client->world = world;
        client->index = world->client_count++;
        static const uint32_t depths[] = {1, 1, 2, 8, OUTSTANDING};
        client->depth_max = depths[below(world, 5)];
    }
}

/* Text of a request: kind, client, number, size wanted of the reply, filler. */
static size_t write_request(struct world *world, char kind,
                            const struct client *client, char *out)
{
    const uint64_t reply_size =
        below(world, 40) == 0 && kind != 'S' ? below(world, 300000) : 0;
    return (size_t)snprintf(out, 64, "%c %u %u %u ", kind, client->index,
                            client->number, (unsigned)reply_size);
}

static uint32_t flags_of(char kind)
{
    switch (kind) {
    case 'W':
        return WDB_PROXY_REQUEST_WRITES;
    case 'S':
        return WDB_PROXY_REQUEST_WRITES | WDB_PROXY_REQUEST_SILENT;
    case 'E':
        return WDB_PROXY_REQUEST_WRITES | WDB_PROXY_REQUEST_EXEC;
    case 'P':
        return WDB_PROXY_REQUEST_WATCHES;
    default:
        return 0;
    }
}

static void issue(struct client *client)
{
    struct world *world = client->world;
    static const char kinds[] = "WWWRRRREPS";
    char head[64];
    if (client->closed || client->count >= client->depth_max ||
        client->number + 1 >= ENTRIES_MAX ||
        (client->ending && client->count > 0)) {
        return;
    }
    if (client->route == NULL) {
        begin_fault(world);
        const int rc = wdb_proxy_route_new(world->proxy, &route_ops, client,
                                           &client->route);
        end_fault(world);
        if (rc != 0) {
            return;
        }
    }
    const char kind = kinds[below(world, sizeof(kinds) - 1)];
    if (kind == 'E' && client->count > 0) {
        return; /* as the dispatcher does */
    }
    client->number++;
    const size_t head_size = write_request(world, kind, client, head);
    const size_t fill = below(world, 30) == 0 ? below(world, 200000) : 10;
    struct wdb_proxy_request *request;
    begin_fault(world);
    const int rc =
        wdb_proxy_route_request(client->route, head_size + fill + 1, &request);
    end_fault(world);
    if (rc != 0) {
        client->number--;
        return;
    }
    memcpy(request->bytes, head, head_size);
    memset(request->bytes + head_size, 'x', fill);
    request->bytes[head_size + fill] = '\n';
    client->ending = IS_LAST(kind, client->number);
    request->flags =
        flags_of(kind) | (client->ending ? WDB_PROXY_REQUEST_LAST : 0u);
    request->read_level = below(world, 8) == 0 ? 2 : 0;
    request->count = kind == 'E' ? 3 : 1;
    struct expected *expected =
        &client->expected[(client->first + client->count) % OUTSTANDING];
    *expected =
        (struct expected){kind, client->number, client->write_acknowledged,
                          client->write_last};
    client->count++;
    client->verdict[client->number] = PENDING;
    if (strchr("WES", kind) != NULL) {
        client->write_last = client->number;
    }
    const struct wdb_channel_state state = {.protocol = 2,
                                            .database = client->number % 3,
                                            .address = "here"};
    wdb_proxy_route_send(client->route, request, &state, world->now_ns);
}

/* --- leaders ----------------------------------------------------------------------- */

static struct model_channel *find_channel(struct link *link, uint64_t id)
{
    for (uint32_t i = 0; i < CHANNELS_MAX; i++) {
        if (link->channels[i].id == id) {
            return &link->channels[i];
        }
    }
    return NULL;
}

static void drop_channel(struct model_channel *channel)
{
    while (channel->done_count > 0) {
        wdb_buffer_release(&channel->done[channel->done_first].reply);
        channel->done_first = (channel->done_first + 1) % OUTSTANDING;
        channel->done_count--;
    }
    wdb_buffer_release(&channel->input);
    *channel = (struct model_channel){0};
}

static void put_frame(struct link *link, enum wdb_proxy_frame_kind kind,
                      uint8_t flags, uint64_t channel, uint64_t sequence,
                      struct wdb_slice payload)
{
    uint8_t header[WDB_PROXY_FRAME_HEADER_SIZE];
    const struct wdb_proxy_frame frame = {kind, flags, channel, sequence,
                                          payload};
    wdb_proxy_frame_encode_header(&frame, payload.size, header);
    append(&link->to_follower, header, sizeof(header));
    append(&link->to_follower, payload.data, payload.size);
}

static void take_request(struct model_channel *channel,
                         const struct wdb_proxy_frame *frame)
{
    struct wdb_slice bytes = frame->payload;
    CHECK_EQ(frame->sequence, channel->fed + (channel->feeding ? 0 : 1));
    if (!channel->feeding) {
        channel->fed++;
        channel->silent = (frame->flags & WDB_PROXY_FRAME_SILENT) != 0;
        if (frame->flags & WDB_PROXY_FRAME_BLOCK) {
            bytes = wdb_slice(bytes.data + 4, bytes.size - 4);
            CHECK_EQ(bytes.data[0], 'E');
        }
    }
    append(&channel->input, bytes.data, bytes.size);
    channel->feeding = (frame->flags & WDB_PROXY_FRAME_PART) != 0;
    if (!channel->feeding) {
        CHECK_EQ(bytes.data[bytes.size - 1], '\n');
        channel->silents[(channel->silent_first + channel->waiting) %
                         OUTSTANDING] = channel->silent;
        channel->waiting++;
    }
}

static void take_frame(struct link *link, const struct wdb_proxy_frame *frame)
{
    struct wdb_channel_state state;
    struct model_channel *channel = find_channel(link, frame->channel);
    switch (frame->kind) {
    case WDB_PROXY_FRAME_OPEN:
        CHECK(channel == NULL);
        CHECK_EQ(wdb_channel_state_decode(frame->payload, &state), 0);
        channel = find_channel(link, 0);
        REQUIRE(channel != NULL);
        channel->id = frame->channel;
        channel->window = WDB_CHANNEL_WINDOW;
        channel->refused = link->leaving;
        channel->read_level = state.read_level;
        break;
    case WDB_PROXY_FRAME_STATE:
        CHECK_EQ(wdb_channel_state_decode(frame->payload, &state), 0);
        if (channel != NULL && channel->read_level != state.read_level) {
            CHECK(channel->waiting == 0);
            channel->read_level = state.read_level;
        }
        break;
    case WDB_PROXY_FRAME_REQUEST:
        if (channel != NULL) {
            take_request(channel, frame);
        }
        break;
    case WDB_PROXY_FRAME_WINDOW:
        if (channel != NULL) {
            channel->window += (size_t)frame->sequence;
            CHECK(channel->window <= WDB_CHANNEL_WINDOW);
        }
        break;
    case WDB_PROXY_FRAME_CLOSE:
        if (channel != NULL) {
            drop_channel(channel);
        }
        break;
    default:
        CHECK(false);
        break;
    }
}

/* The highest write of the client that is applied (or about to be). */
static uint32_t last_write(const struct world *world, uint32_t client)
{
    for (uint32_t i = world->entry_count; i > 0; i--) {
        if (world->entries[i - 1].client == client) {
            return world->entries[i - 1].number;
        }
    }
    return 0;
}

/* Refuse what was not executed, once all else is answered. */
static void refuse(struct link *link, struct model_channel *channel)
{
    if (channel->refused && channel->done_count == 0) {
        put_frame(link, WDB_PROXY_FRAME_REFUSED, WDB_PROXY_FRAME_NOT_LEADER,
                  channel->id, channel->answered + 1, wdb_slice(NULL, 0));
        link->world->refusals++;
        drop_channel(channel);
    }
}

/* Execute the oldest whole request of the channel. */
static void execute(struct link *link, struct model_channel *channel)
{
    struct world *world = link->world;
    char text[64];
    if (channel->waiting == 0 || channel->refused) {
        return;
    }
    if (link->deposed || world->leader != link->leader) {
        channel->refused = true;
        return;
    }
    const uint8_t *end = memchr(channel->input.data, '\n', channel->input.size);
    REQUIRE(end != NULL);
    char kind;
    unsigned client, number, reply_size;
    REQUIRE_EQ(sscanf((const char *)channel->input.data, "%c %u %u %u", &kind,
                      &client, &number, &reply_size),
               4);
    wdb_buffer_consume(&channel->input,
                       (size_t)(end + 1 - channel->input.data));
    struct done *done =
        &channel
             ->done[(channel->done_first + channel->done_count) % OUTSTANDING];
    *done = (struct done){.is_write = strchr("WES", kind) != NULL};
    done->silent = channel->silents[channel->silent_first % OUTSTANDING];
    CHECK_EQ(done->silent, kind == 'S');
    CHECK(!channel->ended);
    channel->ended = IS_LAST(kind, number);
    channel->silent_first = (channel->silent_first + 1) % OUTSTANDING;
    channel->waiting--;
    if (done->is_write) {
        world->entries[world->entry_count++] = (struct entry){client, number};
    }
    channel->watching = kind == 'P' || (channel->watching && kind != 'E');
    const int length = snprintf(text, sizeof(text), "+%c %u %u %u", kind,
                                client, number, last_write(world, client));
    append(&done->reply, text, (size_t)length);
    while (done->reply.size < reply_size) {
        append(&done->reply, "................", 16);
    }
    append(&done->reply, "\r\n", 2);
    done->needs = world->entry_count;
    channel->done_count++;
}

/* Send (a piece of) the oldest reply if the gate lets it pass. */
static void answer(struct link *link, struct model_channel *channel)
{
    struct world *world = link->world;
    if (channel->done_count == 0) {
        refuse(link, channel);
        return;
    }
    struct done *done = &channel->done[channel->done_first];
    if (done->needs > world->committed) {
        return;
    }
    size_t size = done->silent ? 0 : done->reply.size - done->sent;
    const size_t rest = size;
    const size_t limit = below(world, 3) == 0 ? 1 + below(world, 2000)
                                              : WDB_PROXY_FRAME_PART_SIZE;
    size = size < limit ? size : limit;
    size = size < channel->window ? size : channel->window;
    if (size == 0 && rest > 0) {
        return;
    }
    if (below(world, 50) == 0 && done->sent == 0 && channel->window > 0) {
        put_frame(link, WDB_PROXY_FRAME_PUSH, 0, channel->id, 0,
                  wdb_slice("!", 1));
        channel->window--;
        size = size < channel->window ? size : channel->window;
    }
    const bool is_part = size < rest;
    channel->answered += !is_part;
    channel->window -= size;
    put_frame(link, WDB_PROXY_FRAME_REPLY, is_part ? WDB_PROXY_FRAME_PART : 0,
              channel->id, channel->answered,
              wdb_slice(done->reply.data + done->sent, size));
    done->sent += size;
    if (!is_part) {
        wdb_buffer_release(&done->reply);
        channel->done_first = (channel->done_first + 1) % OUTSTANDING;
        channel->done_count--;
    }
}

/* Office is lost: what waits at the gate is unknown. */
static void depose(struct link *link)
{
    static const char text[] = "-UNKNOWN lost\r\n";
    link->deposed = true;
    for (uint32_t i = 0; i < CHANNELS_MAX; i++) {
        struct model_channel *channel = &link->channels[i];
        for (uint32_t k = 0; k < channel->done_count; k++) {
            struct done *done =
                &channel->done[(channel->done_first + k) % OUTSTANDING];
            if (done->needs > link->world->committed) {
                REQUIRE_EQ(done->sent, 0);
                /* A read then sees nothing that will not be. */
                done->reply.size = 0;
                if (done->is_write) {
                    append(&done->reply, text, sizeof(text) - 1);
                } else {
                    append(&done->reply, "-TRYAGAIN lost\r\n", 16);
                }
                done->needs = 0;
            }
        }
    }
}

/* The leader's process is about to end in order. */
static void leave(struct link *link)
{
    link->leaving = true;
    put_frame(link, WDB_PROXY_FRAME_LEAVING, 0, 0, 0, wdb_slice(NULL, 0));
    for (uint32_t i = 0; i < CHANNELS_MAX; i++) {
        if (link->channels[i].id != 0) {
            link->channels[i].refused = true;
        }
    }
}

/* --- connections ---------------------------------------------------------------------- */

static void free_link(struct link *link)
{
    for (uint32_t i = 0; i < CHANNELS_MAX; i++) {
        drop_channel(&link->channels[i]);
    }
    wdb_buffer_release(&link->to_leader);
    wdb_buffer_release(&link->to_follower);
    wdb_proxy_frame_decoder_release(&link->decoder);
    link->upstream = NULL;
}

static int link_connect(void *context, struct wdb_upstream *upstream,
                        const struct wdb_proxy_target *target, void **link_out)
{
    struct world *world = context;
    for (uint32_t i = 0; i < LINKS_MAX; i++) {
        struct link *link = &world->links[i];
        if (link->upstream == NULL) {
            memset(link, 0, sizeof(*link));
            link->world = world;
            link->upstream = upstream;
            link->leader = target->node;
            wdb_proxy_frame_decoder_init(&link->decoder, false);
            *link_out = link;
            return 0;
        }
    }
    return -1;
}

/* The follower hangs up: what it handed over may still arrive. */
static void link_close(void *context, void *of)
{
    struct link *link = of;
    (void)context;
    free_link(link);
}

static void link_flush(void *context, void *link)
{
    (void)context;
    (void)link;
}

static const struct wdb_proxy_transport transport = {
    .connect = link_connect,
    .close = link_close,
    .flush = link_flush,
};

/* The leader works on what has arrived. */
static void leader_reads(struct link *link)
{
    size_t room = 0;
    const size_t size = link->to_leader.size == 0
                            ? 0
                            : 1 + below(link->world, link->to_leader.size);
    uint8_t *to = wdb_proxy_frame_decoder_room(&link->decoder, &room);
    const size_t piece = size < room ? size : room;
    if (piece > 0) {
        memcpy(to, link->to_leader.data, piece);
        wdb_proxy_frame_decoder_add(&link->decoder, piece);
        wdb_buffer_consume(&link->to_leader, piece);
    }
    struct wdb_proxy_frame frame;
    int rc;
    while ((rc = wdb_proxy_frame_decoder_next(&link->decoder, &frame)) == 1) {
        take_frame(link, &frame);
    }
    CHECK_EQ(rc, 0);
}

static void break_link(struct link *link)
{
    struct world *world = link->world;
    struct wdb_upstream *upstream = link->upstream;
    world->changes++;
    if (!link->frozen && below(world, 2) == 0) {
        leader_reads(link); /* some of it arrives all the same */
        for (uint32_t i = 0; i < CHANNELS_MAX; i++) {
            while (link->channels[i].waiting > 0 &&
                   !link->channels[i].refused) {
                execute(link, &link->channels[i]);
            }
        }
    }
    free_link(link);
    wdb_upstream_broken(upstream, world->now_ns);
}

/* Follower to system. */
static void hand_over(struct link *link)
{
    struct wdb_output *output = wdb_upstream_output(link->upstream);
    struct iovec vector[8];
    if (output->size == 0) {
        return;
    }
    const size_t limit = below(link->world, 4) == 0
                             ? 1 + below(link->world, output->size)
                             : output->size;
    const int count = wdb_output_peek(output, vector, 8, limit);
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        append(&link->to_leader, vector[i].iov_base, vector[i].iov_len);
        size += vector[i].iov_len;
    }
    wdb_upstream_handed(link->upstream, size);
    wdb_output_consume(output, size);
}

static void follower_reads(struct link *link)
{
    if (link->to_follower.size == 0) {
        return;
    }
    size_t room = 0;
    const size_t size = 1 + below(link->world, link->to_follower.size);
    begin_fault(link->world);
    uint8_t *to = wdb_upstream_room(link->upstream, &room);
    end_fault(link->world);
    if (to == NULL) {
        break_link(link);
        return;
    }
    const size_t piece = size < room ? size : room;
    memcpy(to, link->to_follower.data, piece);
    wdb_buffer_consume(&link->to_follower, piece);
    CHECK_EQ(wdb_upstream_received(link->upstream, piece, link->world->now_ns),
             0);
}

static void step_link(struct link *link)
{
    struct world *world = link->world;
    if (!link->is_up) {
        if (!world->calm && below(world, 4) == 0) {
            break_link(link); /* could not connect */
        } else {
            link->is_up = true;
            wdb_upstream_up(link->upstream, world->now_ns);
        }
        return;
    }
    if (!world->calm && below(world, 200) == 0) {
        break_link(link);
        return;
    }
    hand_over(link);
    if (link->frozen) {
        return;
    }
    if (!world->calm && !link->leaving && below(world, 200) == 0) {
        leave(link);
    }
    if (below(world, 2) == 0) {
        leader_reads(link);
    }
    for (uint32_t i = 0; i < CHANNELS_MAX; i++) {
        struct model_channel *channel = &link->channels[i];
        if (channel->id != 0 && (world->calm || below(world, 3) > 0)) {
            execute(link, channel);
        }
        if (channel->id != 0 && (world->calm || below(world, 3) > 0)) {
            answer(link, channel);
        }
    }
    if (below(world, 2) == 0) {
        follower_reads(link);
    }
}

/* --- the world ------------------------------------------------------------------------ */

static void tell_leader(struct world *world)
{
    struct wdb_proxy_target target = {.node = world->leader};
    snprintf(target.address, sizeof(target.address), "node%u",
             (unsigned)world->leader);
    wdb_proxy_set_target(world->proxy, &target, world->now_ns);
}

/* The leader goes, by itself or by death; some of what it has not committed
 * survives. */
static void lose_leader(struct world *world)
{
    const bool silent = below(world, 2) == 0;
    world->changes++;
    for (uint32_t i = 0; i < LINKS_MAX; i++) {
        struct link *link = &world->links[i];
        if (link->upstream != NULL && link->leader == world->leader) {
            depose(link);
            link->frozen = silent;
        }
    }
    const uint32_t open = world->entry_count - world->committed;
    world->entry_count = world->committed + (uint32_t)below(world, open + 1);
    world->committed = world->entry_count;
    world->leader = 0;
    world->election_odds = below(world, 6) == 0 ? 1000 : 40;
    if (below(world, 4) > 0) {
        tell_leader(world); /* else it hears of the next one only */
    }
}

static void step(struct world *world)
{
    world->now_ns += below(world, 5) * WDB_NS_PER_MS;
    if (!world->calm && world->leader != 0 && below(world, 150) == 0) {
        lose_leader(world);
    }
    if (world->leader == 0 &&
        below(world, world->calm ? 5 : world->election_odds) == 0) {
        world->leader = 1 + (world->leader_last + below(world, 3)) % 3;
        world->leader_last = world->leader;
        for (uint32_t i = 0; i < LINKS_MAX; i++) {
            struct link *link = &world->links[i];
            if (link->leader == world->leader) {
                link->deposed = link->frozen = false; /* it leads again */
            }
        }
        tell_leader(world);
    }
    if (world->leader != 0 && below(world, 2) == 0) {
        world->committed +=
            (uint32_t)below(world, world->entry_count - world->committed + 1);
    }
    for (uint32_t i = 0; i < world->client_count; i++) {
        struct client *client = &world->clients[i];
        client->backlog -= below(world, client->backlog + 1);
        if (client->gone) {
            continue;
        }
        if (client->closed || (!world->calm && below(world, 400) == 0)) {
            if (client->route != NULL) {
                disconnect(client);
                add_client(world);
            }
        } else if (!world->calm) {
            for (uint64_t k = below(world, 4); k > 0; k--) {
                issue(client);
            }
        }
    }
    for (uint32_t i = 0; i < LINKS_MAX; i++) {
        if (world->links[i].upstream != NULL) {
            step_link(&world->links[i]);
        }
    }
    begin_fault(world);
    (void)wdb_proxy_run(world->proxy, world->now_ns);
    end_fault(world);
    wdb_proxy_check(world->proxy);
}

static uint32_t unanswered(const struct world *world)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->client_count; i++) {
        count += world->clients[i].closed ? 0 : world->clients[i].count;
    }
    return count;
}

/* Everything that was promised about the writes. */
static void check_writes(struct world *world)
{
    static uint8_t found[CLIENTS_MAX][ENTRIES_MAX];
    uint32_t last[CLIENTS_MAX] = {0};
    memset(found, 0, sizeof(found));
    for (uint32_t i = 0; i < world->entry_count; i++) {
        const struct entry *entry = &world->entries[i];
        CHECK(entry->number > last[entry->client]); /* in order, and once */
        last[entry->client] = entry->number;
        found[entry->client][entry->number] = 1;
    }
    for (uint32_t c = 0; c < world->client_count; c++) {
        for (uint32_t n = 1; n <= world->clients[c].number; n++) {
            const uint8_t verdict = world->clients[c].verdict[n];
            CHECK(verdict != PENDING);
            if (verdict == NOT_DONE) {
                CHECK_EQ(found[c][n], 0);
            }
        }
    }
}

/* Answered writes are there; reads leave no entry. */
static void check_answered(struct world *world, const struct client *client)
{
    uint32_t at = 0;
    for (uint32_t n = 1; n <= client->number; n++) {
        if (client->verdict[n] != APPLIED) {
            continue;
        }
        while (at < world->entry_count &&
               (world->entries[at].client != client->index ||
                world->entries[at].number < n)) {
            at++;
        }
        CHECK(at < world->entry_count && world->entries[at].number == n);
    }
}

static void run_world(uint64_t seed, uint32_t steps, struct world *totals)
{
    struct world *world = calloc(1, sizeof(*world));
    REQUIRE(world != NULL);
    world->random.state = seed * 0x9e3779b97f4a7c15 + 1;
    world->now_ns = WDB_NS_PER_S;
    world->election_odds = 10;
    const struct wdb_proxy_options options = {.transport = &transport,
                                              .transport_context = world,
                                              .hold_ns = HOLD_NS,
                                              .drain_ns = DRAIN_NS};
    REQUIRE_EQ(wdb_proxy_new(&options, &world->proxy), 0);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        add_client(world);
    }
    for (uint32_t i = 0; i < steps && !test_has_failed() &&
                         world->entry_count < ENTRIES_MAX - 100;
         i++) {
        step(world);
    }
    world->calm = true;
    for (uint32_t i = 0; i < 20000 && unanswered(world) > 0; i++) {
        step(world);
    }
    CHECK_EQ(unanswered(world), 0);
    for (uint32_t i = 0; i < world->client_count; i++) {
        if (world->clients[i].closed && !world->clients[i].gone) {
            disconnect(&world->clients[i]);
        }
    }
    check_writes(world);
    for (uint32_t i = 0; i < world->client_count; i++) {
        check_answered(world, &world->clients[i]);
        if (world->clients[i].route != NULL) {
            disconnect(&world->clients[i]);
        }
    }
    totals->answers += world->answers;
    totals->unknown += world->unknown;
    totals->down += world->down;
    totals->again += world->again;
    totals->nulls += world->nulls;
    totals->closes += world->closes;
    totals->refusals += world->refusals;
    totals->changes += world->changes;
    totals->faults += world->faults;
    wdb_proxy_free(world->proxy);
    free(world);
}

/* Many worlds; each kind of answer occurs. */
TEST(random_leaders)
{
    struct world *totals = calloc(1, sizeof(*totals));
    REQUIRE(totals != NULL);
    const uint64_t first = test_number("WDB_TEST_SEED", 1);
    const uint64_t count = test_number("WDB_TEST_ROUNDS", 24);
    for (uint64_t seed = first; seed < first + count; seed++) {
        run_world(seed, 1200, totals);
        if (test_has_failed()) {
            printf("seed %u\n", (unsigned)seed);
            break;
        }
    }
    printf("answers %u unknown %u down %u again %u null %u closed %u "
           "refused %u changes %u faults %u\n",
           (unsigned)totals->answers, (unsigned)totals->unknown,
           (unsigned)totals->down, (unsigned)totals->again,
           (unsigned)totals->nulls, (unsigned)totals->closes,
           (unsigned)totals->refusals, totals->changes,
           (unsigned)totals->faults);
    if (count >= 24 && !test_has_failed()) {
        CHECK(totals->unknown > 0 && totals->down > 0 && totals->again > 0 &&
              totals->nulls > 0 && totals->closes > 0 && totals->refusals > 0 &&
              totals->faults > 0);
    }
    free(totals);
}
