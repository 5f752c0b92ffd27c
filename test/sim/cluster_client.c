/*
 * cluster_client.c - sessions as clients: one operation at a time, wherever the
 * leader is said to be, and what came of it in the history.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/number.h"
#include "raft/raft_internal.h"
#include "sim/cluster.h"

#define DATABASE_LISTS 1

static void begin_op(struct cluster_client *client);

static uint64_t below(struct cluster_client *client, uint64_t bound)
{
    return cluster_below(client->cluster, bound);
}

/* --- replies --------------------------------------------------------------- */

/* Bytes of the first reply; 0: it is not whole yet. */
static size_t reply_size(const uint8_t *data, size_t size)
{
    const uint8_t *end = size == 0 ? NULL : memchr(data, '\n', size);
    if (end == NULL) {
        return 0;
    }
    size_t at = (size_t)(end - data) + 1;
    const long number = strtol((const char *)data + 1, NULL, 10);
    if (data[0] == '$') {
        at += number < 0 ? 0 : (size_t)number + 2;
        return at <= size ? at : 0;
    }
    for (long i = 0; data[0] == '*' && i < number; i++) {
        const size_t part = reply_size(data + at, size - at);
        if (part == 0) {
            return 0;
        }
        at += part;
    }
    return at;
}

/* The text of a bulk reply; 0: nil. */
static uint32_t bulk_text(struct cluster_client *client, struct wdb_slice reply)
{
    const long size = strtol((const char *)reply.data + 1, NULL, 10);
    const uint8_t *end = memchr(reply.data, '\n', reply.size);
    if (reply.data[0] != '$' || size < 0 || end == NULL) {
        return 0;
    }
    return history_text(&client->cluster->history, end + 1, (size_t)size);
}

static bool starts(struct wdb_slice reply, const char *with)
{
    const size_t size = strlen(with);
    return reply.size >= size && memcmp(reply.data, with, size) == 0;
}

/* --- requests -------------------------------------------------------------- */

static void put_argument(struct wdb_buffer *out, struct wdb_slice argument)
{
    int rc = wdb_buffer_printf(out, "$%zu\r\n", argument.size);
    rc = rc == 0 ? wdb_buffer_append(out, argument.data, argument.size) : rc;
    rc = rc == 0 ? wdb_buffer_append(out, "\r\n", 2) : rc;
    wdb_assert(rc == 0);
}

/* A command of words, NULL at the end. */
static void put_command(struct cluster_client *client, struct wdb_buffer *out,
                        ...)
{
    const char *words[8];
    int count = 0;
    va_list arguments;
    va_start(arguments, out);
    for (const char *word = va_arg(arguments, const char *); word != NULL;
         word = va_arg(arguments, const char *)) {
        words[count++] = word;
    }
    va_end(arguments);
    int rc = wdb_buffer_printf(out, "*%d\r\n", count);
    wdb_assert(rc == 0);
    for (int i = 0; i < count; i++) {
        put_argument(out, wdb_slice_str(words[i]));
    }
    client->plan.replies++;
}

struct words {
    char key[16], value[4200], number[32];
};

static void draw_key(struct cluster_client *client, struct words *w, char kind)
{
    snprintf(w->key, sizeof(w->key), "%c%" PRIu64, kind,
             below(client, client->cluster->knobs.key_count));
    client->plan.op.key = history_text_str(&client->cluster->history, w->key);
}

/* A value that nobody else writes; sometimes a long one. */
static uint32_t draw_value(struct cluster_client *client, struct words *w,
                           bool is_element)
{
    int size = snprintf(w->value, sizeof(w->value), "%u.%" PRIu64,
                        client->number, ++client->written);
    if (!is_element) {
        uint64_t extra =
            cluster_chance(client->cluster, client->cluster->knobs.value_long)
                ? below(client, client->cluster->knobs.value_max)
                : below(client, 20);
        extra = extra < sizeof(w->value) - 40 ? extra : sizeof(w->value) - 40;
        w->value[size++] = '/';
        memset(w->value + size, 'v', extra);
        w->value[size + (int)extra] = '\0';
    }
    return history_text_str(&client->cluster->history, w->value);
}

static void plan_get(struct cluster_client *client, struct wdb_buffer *out,
                     const char *key)
{
    struct history_op *op = &client->plan.op;
    const uint64_t drawn = client->plan.is_final ? 0 : below(client, 10);
    op->kind = HISTORY_GET;
    op->has_result = true;
    if (drawn == 8) {
        op->level = HISTORY_LEADER;
        put_command(client, out, "LEVELGET", key, "0", NULL);
    } else if (drawn == 9) {
        op->level = HISTORY_STALE;
        put_command(client, out, "LEVELGET", key, "1", NULL);
    } else if (drawn == 7) {
        put_command(client, out, "LEVELGET", key, "2", NULL);
    } else {
        put_command(client, out, "GET", key, NULL);
    }
}

static void plan_register(struct cluster_client *client, struct wdb_buffer *out)
{
    struct words w;
    struct history_op *op = &client->plan.op;
    draw_key(client, &w, 'r');
    switch (below(client, 10)) {
    case 0:
        op->kind = HISTORY_DEL;
        op->has_result = true;
        put_command(client, out, "DEL", w.key, NULL);
        break;
    case 1:
        op->kind = HISTORY_GETSET;
        op->has_result = true;
        op->value = draw_value(client, &w, false);
        put_command(client, out, "GETSET", w.key, w.value, NULL);
        break;
    case 2:
    case 3:
    case 4:
    case 5:
        op->kind = HISTORY_SET;
        op->value = draw_value(client, &w, false);
        put_command(client, out, "SET", w.key, w.value, NULL);
        break;
    default:
        plan_get(client, out, w.key);
    }
}

static void plan_expiring(struct cluster_client *client, struct wdb_buffer *out)
{
    struct words w;
    struct history_op *op = &client->plan.op;
    draw_key(client, &w, 'x');
    const uint64_t drawn = below(client, 8);
    if (drawn < 3) {
        plan_get(client, out, w.key);
        return;
    }
    op->kind = HISTORY_SET;
    op->may_expire = true; /* by what comes, if not by itself */
    snprintf(w.number, sizeof(w.number), "%" PRIu64, 1 + below(client, 1500));
    if (drawn < 5) {
        client->plan.is_noise = true;
        if (drawn == 3) {
            put_command(client, out, "PERSIST", w.key, NULL);
        } else {
            put_command(client, out, "PEXPIRE", w.key, w.number, NULL);
        }
        return;
    }
    op->value = draw_value(client, &w, false);
    if (drawn == 5) {
        put_command(client, out, "SET", w.key, w.value, NULL);
    } else {
        put_command(client, out, "SET", w.key, w.value, "PX", w.number, NULL);
    }
}

static void plan_once(struct cluster_client *client, struct wdb_buffer *out)
{
    struct words w;
    struct history_op *op = &client->plan.op;
    draw_key(client, &w, 's');
    switch (below(client, 4)) {
    case 0:
        plan_get(client, out, w.key);
        break;
    case 1:
        op->kind = HISTORY_DEL;
        op->has_result = true;
        put_command(client, out, "DEL", w.key, NULL);
        break;
    default:
        op->kind = HISTORY_SETNX;
        op->has_result = true;
        op->value = draw_value(client, &w, false);
        put_command(client, out, "SET", w.key, w.value, "NX", NULL);
    }
}

static void plan_counter(struct cluster_client *client, struct wdb_buffer *out)
{
    struct words w;
    struct history_op *op = &client->plan.op;
    draw_key(client, &w, 'c');
    if (below(client, 4) == 0) {
        plan_get(client, out, w.key);
        return;
    }
    op->kind = HISTORY_INCR;
    op->has_result = true;
    op->by = 1 + (int64_t)below(client, 2);
    snprintf(w.number, sizeof(w.number), "%" PRId64, op->by);
    put_command(client, out, "INCRBY", w.key, w.number, NULL);
}

/* WATCH and GET; the second step follows when the answer is there. */
static void plan_watch(struct cluster_client *client, struct wdb_buffer *out)
{
    struct words w;
    draw_key(client, &w, 'w');
    client->plan.is_watch = true;
    client->plan.op.kind = HISTORY_GET;
    client->plan.op.has_result = true;
    put_command(client, out, "WATCH", w.key, NULL);
    put_command(client, out, "GET", w.key, NULL);
}

static void plan_list(struct cluster_client *client, struct wdb_buffer *out)
{
    struct cluster *cluster = client->cluster;
    struct cluster_plan *plan = &client->plan;
    struct words w;
    plan->database = DATABASE_LISTS;
    const uint64_t steps = below(client, 5);
    if (steps == 0) {
        draw_key(client, &w, 'l');
        plan_get(client, out, w.key);
        return;
    }
    plan->op.kind = HISTORY_TXN;
    put_command(client, out, "MULTI", NULL);
    for (uint64_t i = 0; i < steps; i++) {
        struct history_part *part = &plan->parts[plan->part_count++];
        draw_key(client, &w, 'l');
        *part = (struct history_part){.key = plan->op.key};
        if (below(client, 2) == 0) {
            part->kind = HISTORY_GET;
            put_command(client, out, "GET", w.key, NULL);
            continue;
        }
        part->kind = HISTORY_APPEND;
        part->value = draw_value(client, &w, true);
        const size_t size = strlen(w.value);
        w.value[size] = ',';
        w.value[size + 1] = '\0';
        put_command(client, out, "APPEND", w.key, w.value, NULL);
    }
    put_command(client, out, "EXEC", NULL);
    plan->op.key = 0;
    (void)cluster;
}

static void draw_plan(struct cluster_client *client, struct wdb_buffer *out)
{
    struct cluster *cluster = client->cluster;
    if (cluster->knobs.faults[CLUSTER_FLUSH] && below(client, 150) == 0) {
        cluster->counters.faults[CLUSTER_FLUSH]++;
        client->plan.op.kind = HISTORY_FLUSH;
        put_command(client, out, "FLUSHDB", NULL);
        return;
    }
    if (client->number < cluster->knobs.reader_count) {
        struct words w;
        draw_key(client, &w, "rrrrrcw"[below(client, 7)]);
        plan_get(client, out, w.key);
        return;
    }
    if (cluster_chance(cluster, cluster->knobs.register_percent)) {
        plan_register(client, out);
        return;
    }
    switch (below(client, 12)) {
    case 0:
    case 1:
    case 2:
        plan_register(client, out);
        break;
    case 3:
        plan_expiring(client, out);
        break;
    case 4:
        plan_once(client, out);
        break;
    case 5:
    case 6:
        plan_counter(client, out);
        break;
    case 7:
    case 8:
        plan_watch(client, out);
        break;
    default:
        plan_list(client, out);
    }
}

/* --- the history ------------------------------------------------------------- */

static void record(struct cluster_client *client, enum history_status status)
{
    static const enum cluster_sight sights[] = {CLUSTER_SAW_OP_OK,
                                                CLUSTER_SAW_OP_FAIL,
                                                CLUSTER_SAW_OP_UNKNOWN};
    struct cluster *cluster = client->cluster;
    struct cluster_plan *plan = &client->plan;
    cluster_saw(cluster, sights[status]);
    if (plan->is_noise) {
        cluster->ok_count += status == HISTORY_OK;
        return;
    }
    struct history_op *op = history_add(&cluster->history);
    const uint32_t first = op->part_first;
    *op = plan->op;
    op->part_first = first;
    op->client = client->id;
    op->status = status;
    op->end = status == HISTORY_UNKNOWN ? HISTORY_NEVER : cluster_now(cluster);
    for (uint32_t i = 0; i < plan->part_count; i++) {
        *history_add_part(&cluster->history) = plan->parts[i];
    }
    if (status == HISTORY_OK) {
        cluster->ok_count++;
        if (op->level == HISTORY_STALE) {
            cluster_saw(cluster, CLUSTER_SAW_STALE_READ);
        }
    }
    if (status == HISTORY_UNKNOWN) {
        client->id += CLUSTER_CLIENTS_MAX;
    }
    if (cluster->options.trace) {
        struct wdb_buffer text = WDB_BUFFER_INIT;
        history_print(&cluster->history,
                      &cluster->history.ops[cluster->history.count - 1], &text);
        cluster_say(cluster, NULL, "%.*s", (int)text.size,
                    (const char *)text.data);
        wdb_buffer_release(&text);
    }
}

/* --- going on ------------------------------------------------------------------ */

struct client_event {
    struct cluster_client *client;
    uint64_t life;
    enum client_work {
        CLIENT_STEP,
        CLIENT_DELIVER, /* the request arrives */
        CLIENT_RECEIVE, /* the whole answer arrived */
        CLIENT_TIMEOUT,
    } work;
    struct wdb_buffer request;
};

static void on_client(void *context, void *arg, bool happens);

static struct client_event *client_after(struct cluster_client *client,
                                         enum client_work work, uint64_t ns)
{
    struct client_event *event = calloc(1, sizeof(*event));
    wdb_assert(event != NULL);
    *event = (struct client_event){.client = client,
                                   .life = client->life,
                                   .work = work};
    cluster_events_add(&client->cluster->events,
                       cluster_now(client->cluster) + ns, on_client, client,
                       event);
    return event;
}

static void drop_session(struct cluster_client *client)
{
    struct wdb_session *session = client->session;
    if (session == NULL) {
        return;
    }
    cluster_node_drop(&client->cluster->nodes[client->session_node], session);
    client->session = NULL;
    client->session_database = 0;
}

static void settle(struct cluster_client *client)
{
    client->is_busy = false;
    client->life++;
    client->replies.size = 0;
}

static void next_op(struct cluster_client *client, uint64_t ns)
{
    struct cluster *cluster = client->cluster;
    settle(client);
    if (cluster->phase == CLUSTER_CHAOS || cluster->phase == CLUSTER_HEALS) {
        (void)client_after(client, CLIENT_STEP,
                           ns + below(client, cluster->knobs.think_ns));
    }
}

static void elsewhere(struct cluster_client *client)
{
    client->target =
        (uint32_t)below(client, client->cluster->knobs.machine_count);
}

/* Nobody knows what became of it. */
static void give_up(struct cluster_client *client)
{
    const bool is_final = client->plan.is_final;
    if (client->is_busy && !client->plan.is_watch) {
        record(client, HISTORY_UNKNOWN);
    }
    drop_session(client);
    elsewhere(client);
    if (is_final) {
        settle(client);
    } else {
        next_op(client, 5 * NS_PER_MS);
    }
}

void cluster_client_lose(struct cluster_client *client)
{
    if (client->is_busy) {
        give_up(client);
    } else {
        drop_session(client);
    }
}

static bool open_session(struct cluster_client *client)
{
    struct cluster *cluster = client->cluster;
    struct cluster_node *node = &cluster->nodes[client->target];
    if (client->session != NULL && client->session_node == client->target) {
        return true;
    }
    drop_session(client);
    if (!node->is_up || node->is_ending) {
        return false;
    }
    const struct wdb_session_info info = {.address = "client:1",
                                          .local_address = "node:1",
                                          .fd = -1,
                                          .owner = client};
    const int rc = wdb_session_new(&node->context, node->executor, &info,
                                   &client->session);
    wdb_assert(rc == 0);
    client->session_node = client->target;
    client->session_database = 0;
    return true;
}

/* Send what the plan wants. */
static void send_request(struct cluster_client *client,
                         struct wdb_buffer *request)
{
    client->is_busy = true;
    client->life++;
    client->replies.size = 0;
    client->plan.op.start = cluster_now(client->cluster);
    struct client_event *event =
        client_after(client, CLIENT_DELIVER, 20000 + below(client, 400000));
    event->request = *request;
    *request = (struct wdb_buffer)WDB_BUFFER_INIT;
    (void)client_after(client, CLIENT_TIMEOUT,
                       client->cluster->knobs.client_timeout_ns);
}

static void put_select(struct cluster_client *client, struct wdb_buffer *out,
                       uint32_t database)
{
    if (client->session_database != database) {
        put_command(client, out, "SELECT", database == 0 ? "0" : "1", NULL);
        client->session_database = database;
    }
}

static void begin_op(struct cluster_client *client)
{
    struct cluster *cluster = client->cluster;
    struct wdb_buffer request = WDB_BUFFER_INIT, select = WDB_BUFFER_INIT;
    if (cluster->phase > CLUSTER_HEALS ||
        cluster->op_count >= cluster->knobs.op_max) {
        return;
    }
    if (below(client, 30) == 0) {
        elsewhere(client); /* somewhere else, for stale reads and MOVED */
    }
    if (!open_session(client)) {
        elsewhere(client);
        (void)client_after(client, CLIENT_STEP, 10 * NS_PER_MS);
        return;
    }
    cluster->op_count++;
    client->plan = (struct cluster_plan){0};
    draw_plan(client, &request);
    put_select(client, &select, client->plan.database);
    const int rc = wdb_buffer_append(&select, request.data, request.size);
    wdb_assert(rc == 0);
    wdb_buffer_release(&request);
    send_request(client, &select);
}

void cluster_client_read(struct cluster_client *client, const char *key,
                         bool is_list)
{
    struct wdb_buffer request = WDB_BUFFER_INIT;
    if (!open_session(client)) {
        elsewhere(client);
        return;
    }
    client->plan = (struct cluster_plan){.is_final = true};
    client->plan.op.key = history_text_str(&client->cluster->history, key);
    put_select(client, &request, is_list ? DATABASE_LISTS : 0);
    plan_get(client, &request, key);
    send_request(client, &request);
}

/* --- what came back ---------------------------------------------------------------- */

/* Second step of a compare-and-set. */
static void go_on_with_set(struct cluster_client *client)
{
    struct wdb_buffer request = WDB_BUFFER_INIT;
    struct words w;
    struct cluster_plan *plan = &client->plan;
    const struct wdb_slice key =
        history_slice(&client->cluster->history, plan->op.key);
    const struct history_op op = {.kind = HISTORY_CAS,
                                  .key = plan->op.key,
                                  .expect = plan->op.result};
    snprintf(w.key, sizeof(w.key), "%.*s", (int)key.size,
             (const char *)key.data);
    *plan = (struct cluster_plan){.op = op};
    plan->op.value = draw_value(client, &w, false);
    put_command(client, &request, "MULTI", NULL);
    put_command(client, &request, "SET", w.key, w.value, NULL);
    put_command(client, &request, "EXEC", NULL);
    send_request(client, &request);
}

/* The results of a transaction; false: it answered nil. */
static bool take_results(struct cluster_client *client, struct wdb_slice reply)
{
    struct cluster_plan *plan = &client->plan;
    const uint8_t *end = memchr(reply.data, '\n', reply.size);
    size_t at = (size_t)(end - reply.data) + 1;
    if (strtol((const char *)reply.data + 1, NULL, 10) < 0) {
        cluster_saw(client->cluster, CLUSTER_SAW_WATCH_LOST);
        return false;
    }
    for (uint32_t i = 0; i < plan->part_count; i++) {
        const size_t size = reply_size(reply.data + at, reply.size - at);
        wdb_assert(size > 0);
        if (plan->parts[i].kind == HISTORY_GET) {
            plan->parts[i].result =
                bulk_text(client, wdb_slice(reply.data + at, size));
        }
        at += size;
    }
    return true;
}

static enum history_status take_reply(struct cluster_client *client,
                                      struct wdb_slice reply)
{
    struct history_op *op = &client->plan.op;
    char digits[32];
    switch (op->kind) {
    case HISTORY_GET:
    case HISTORY_GETSET:
        op->result = bulk_text(client, reply);
        break;
    case HISTORY_SETNX:
        op->flag = reply.data[0] == '+';
        break;
    case HISTORY_DEL:
        op->flag = starts(reply, ":1");
        break;
    case HISTORY_INCR:
        snprintf(digits, sizeof(digits), "%lld",
                 strtoll((const char *)reply.data + 1, NULL, 10));
        op->result = history_text_str(&client->cluster->history, digits);
        break;
    case HISTORY_CAS:
    case HISTORY_TXN:
        return take_results(client, reply) ? HISTORY_OK : HISTORY_FAIL;
    default:
        break;
    }
    return HISTORY_OK;
}

/* Whoever says so has done nothing. */
static bool is_definite(struct cluster_client *client, struct wdb_slice reply)
{
    static const struct {
        const char *prefix;
        enum cluster_sight sight;
    } errors[] = {
        {"-MOVED ", CLUSTER_SAW_REPLY_MOVED},
        {"-CLUSTERDOWN ", CLUSTER_SAW_REPLY_DOWN},
        {"-NOLEADER ", CLUSTER_SAW_REPLY_DOWN},
        {"-LOADING ", CLUSTER_SAW_REPLY_LOADING},
        {"-TRYAGAIN ", CLUSTER_SAW_REPLY_BUSY},
        {"-BUSY", CLUSTER_SAW_REPLY_BUSY},
        {"-EXECABORT ", CLUSTER_SAW_REPLY_OTHER},
    };
    for (size_t i = 0; i < WDB_COUNT(errors); i++) {
        if (starts(reply, errors[i].prefix)) {
            cluster_saw(client->cluster, errors[i].sight);
            return true;
        }
    }
    cluster_saw(client->cluster, starts(reply, "-UNKNOWN ")
                                     ? CLUSTER_SAW_REPLY_UNKNOWN
                                     : CLUSTER_SAW_REPLY_OTHER);
    if (!starts(reply, "-UNKNOWN ")) {
        cluster_say(client->cluster, NULL, "client %u got %.*s", client->number,
                    (int)reply.size - 2, (const char *)reply.data);
    }
    return false;
}

static void follow(struct cluster_client *client, struct wdb_slice reply)
{
    char text[100];
    unsigned node;
    snprintf(text, sizeof(text), "%.*s", (int)reply.size,
             (const char *)reply.data);
    if (sscanf(text, "-MOVED %*u n%u:", &node) == 1 &&
        node < client->cluster->knobs.machine_count) {
        client->target = node;
    } else if (below(client, 2) == 0) {
        elsewhere(client);
    }
}

static void receive(struct cluster_client *client)
{
    const uint8_t *data = client->replies.data;
    size_t at = 0;
    struct wdb_slice reply = wdb_slice(NULL, 0);
    for (uint32_t i = 0; i < client->plan.replies; i++) {
        const size_t size = reply_size(data + at, client->replies.size - at);
        reply = wdb_slice(data + at, size);
        at += size;
        if (client->plan.is_watch && reply.data[0] == '-') {
            break; /* WATCH failed: nothing that GET says matters */
        }
    }
    const bool is_final = client->plan.is_final;
    enum history_status status;
    uint64_t pause = 0;
    if (reply.data[0] == '-') {
        status = is_definite(client, reply) ? HISTORY_FAIL : HISTORY_UNKNOWN;
        follow(client, reply);
        client->failures++;
        pause = NS_PER_MS * (client->failures < 20 ? client->failures : 20);
    } else {
        status = take_reply(client, reply);
        client->failures = 0;
    }
    const bool is_watch = client->plan.is_watch;
    if (!is_watch || status == HISTORY_OK) {
        record(client, status);
    }
    if (is_watch && status == HISTORY_OK) {
        go_on_with_set(client);
        return;
    }
    if (is_watch || status == HISTORY_UNKNOWN) {
        drop_session(client); /* what it watches is forgotten */
    }
    if (is_final) {
        settle(client);
    } else {
        next_op(client, pause);
    }
}

void cluster_client_bytes(struct cluster_client *client, const void *data,
                          size_t size)
{
    size_t at = 0;
    uint32_t count = 0;
    const int rc = wdb_buffer_append(&client->replies, data, size);
    wdb_assert(rc == 0);
    while (count < client->plan.replies) {
        const size_t next =
            reply_size(client->replies.data + at, client->replies.size - at);
        if (next == 0) {
            return;
        }
        at += next;
        count++;
    }
    if (at != client->replies.size) {
        cluster_complain(client->cluster,
                         &client->cluster->nodes[client->session_node],
                         "a client got more replies than it asked for");
        return;
    }
    (void)client_after(client, CLIENT_RECEIVE, 20000 + below(client, 400000));
}

static void deliver(struct cluster_client *client, struct wdb_buffer *request)
{
    struct wdb_session *session = client->session;
    struct cluster_node *node = &client->cluster->nodes[client->session_node];
    for (size_t at = 0; at < request->size;) {
        size_t room;
        uint8_t *to = wdb_session_input_room(session, &room);
        wdb_assert(to != NULL);
        room = room < request->size - at ? room : request->size - at;
        memcpy(to, request->data + at, room);
        wdb_session_input_add(session, room);
        at += room;
    }
    wdb_executor_add(node->executor, session);
    cluster_node_after(node, CLUSTER_WORK_TURN, 1000 + below(client, 30000));
}

static void on_client(void *context, void *arg, bool happens)
{
    struct cluster_client *client = context;
    struct client_event *event = arg;
    struct cluster *cluster = client->cluster;
    if (happens && event->life == client->life) {
        switch (event->work) {
        case CLIENT_STEP:
            begin_op(client);
            break;
        case CLIENT_DELIVER:
            deliver(client, &event->request);
            if (cluster->knobs.faults[CLUSTER_CLIENT_LOSS] &&
                !client->plan.is_final && below(client, 100) == 0) {
                cluster->counters.faults[CLUSTER_CLIENT_LOSS]++;
                give_up(client);
            }
            break;
        case CLIENT_RECEIVE:
            receive(client);
            break;
        case CLIENT_TIMEOUT:
            cluster_saw(cluster, CLUSTER_SAW_TIMEOUT);
            give_up(client);
            break;
        }
    }
    wdb_buffer_release(&event->request);
    free(event);
}

void cluster_client_init(struct cluster *cluster, uint32_t number)
{
    struct cluster_client *client = &cluster->clients[number];
    client->cluster = cluster;
    client->number = number;
    client->id = number;
    client->target = number % cluster->knobs.node_count;
}

void cluster_client_release(struct cluster_client *client)
{
    wdb_buffer_release(&client->replies);
}

void cluster_client_begin(struct cluster_client *client)
{
    (void)client_after(client, CLIENT_STEP, below(client, 20 * NS_PER_MS));
}
