/* cmd_client.c - a server without sockets, for tests of commands. */
#include "lib/cmd_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/split.h"
#include "cmd/backup.h"
#include "cmd/command.h"
#include "cmd/config.h"
#include "lib/fault_alloc.h"
#include "walkerdb.h"

#define JOBS_MAX 64

struct job {
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

struct cmd_world {
    struct wdb_env *env;
    bool own_env;
    const struct wdb_env_ops *real_ops; /* of env, which has `ops` meanwhile */
    struct wdb_env_ops ops;
    uint64_t advance_ms;
    uint64_t fail_nth; /* of the next run; 0: none */
    bool failed;       /* in the last run */
    struct cmd_world_options options;
    const char *dir;
    struct wdb_context context;
    struct wdb_context_hooks hooks;
    struct wdb_executor *executor;
    struct job jobs[JOBS_MAX];
    size_t job_count;
    uint32_t shutdowns;
};

struct cmd_client {
    struct cmd_world *world;
    struct wdb_session *session;
    struct wdb_buffer replies; /* as they came */
    struct wdb_buffer text;    /* as they are shown */
};

static void must(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "cmd_client: %s\n", what);
        abort();
    }
}

/* --- hooks ------------------------------------------------------------------- */

/* Behind the executor's run, as a loop would do it. */
static void run_off_loop(void *context, struct wdb_executor *executor,
                         void (*work)(void *), void (*done)(void *), void *arg)
{
    struct cmd_world *world = context;
    (void)executor;
    must(world->job_count < JOBS_MAX, "too many jobs");
    world->jobs[world->job_count++] = (struct job){work, done, arg};
}

static void session_noted(void *context, struct wdb_session *session)
{
    (void)context;
    (void)session;
}

static void shutdown_noted(void *context, bool save)
{
    struct cmd_world *world = context;
    (void)save;
    world->shutdowns++;
}

/* As the workers do it. */
static void show_monitors(void *context, const char *line, size_t size,
                          uint64_t index)
{
    struct cmd_world *world = context;
    WDB_LIST_FOREACH(node, &world->context.sessions)
    {
        struct wdb_session *session =
            WDB_LIST_ENTRY(node, struct wdb_session, registry_node);
        if (session->flags & WDB_SESSION_MONITOR) {
            wdb_session_push(session, wdb_slice(line, size), index);
        }
    }
}

static void config_noted(void *context, const char *name)
{
    (void)context;
    (void)name;
}

static uint64_t moved_time_ms(struct wdb_env *env)
{
    struct cmd_world *world = WDB_CONTAINER_OF(env->ops, struct cmd_world, ops);
    return world->real_ops->time_ms(env) + world->advance_ms;
}

static uint64_t moved_monotonic_ns(struct wdb_env *env)
{
    struct cmd_world *world = WDB_CONTAINER_OF(env->ops, struct cmd_world, ops);
    return world->real_ops->monotonic_ns(env) + world->advance_ms * 1000000;
}

static int nothing_resident(struct wdb_env *env, const void *data, size_t size,
                            unsigned char *resident)
{
    (void)env;
    (void)data;
    memset(resident, 0, (size + 4095) / 4096);
    return 0;
}

/* --- the world --------------------------------------------------------------- */

static void open_db(struct cmd_world *world)
{
    struct wdb_db_options options = {.context = world};
    wdb_store_options_init(&options.store);
    options.store.log.env = world->env;
    options.store.log.dir = world->dir;
    options.store.log.create = true;
    options.store.log.background_thread = false;
    options.store.log.segment_size = world->options.segment_size;
    options.store.log.manual_commit = world->options.manual_commit;
    options.store.merge_enabled = false;
    char *message = NULL;
    const int rc = wdb_db_open(&options, &world->context.db, &message);
    must(rc == 0, message != NULL ? message : "the database does not open");
    must(wdb_executor_new(&world->context, NULL,
                          wdb_stats_worker(world->context.stats, 0),
                          &world->executor) == 0,
         "no executor");
}

static void close_db(struct cmd_world *world)
{
    wdb_executor_free(world->executor);
    wdb_db_close(world->context.db);
}

struct cmd_world *cmd_world_new(const char *dir,
                                const struct cmd_world_options *options)
{
    struct cmd_world *world = calloc(1, sizeof(*world));
    must(world != NULL, "no memory");
    if (options != NULL) {
        world->options = *options;
    }
    if (world->options.segment_size == 0) {
        world->options.segment_size = (uint64_t)4 << 20;
    }
    world->dir = dir;
    world->env = world->options.env;
    if (world->env == NULL) {
        must(wdb_env_posix_new(&world->env) == 0, "no environment");
        world->own_env = true;
    }
    world->real_ops = world->env->ops;
    world->ops = *world->real_ops;
    world->ops.time_ms = moved_time_ms;
    world->ops.monotonic_ns = moved_monotonic_ns;
    if (world->options.cold) {
        world->ops.resident = nothing_resident;
    }
    world->env->ops = &world->ops;
    world->hooks = (struct wdb_context_hooks){
        .run_off_loop = run_off_loop,
        .session_ready = session_noted,
        .session_wake = session_noted,
        .shutdown = shutdown_noted,
        .monitor = show_monitors,
        .config_changed = config_noted,
    };
    struct wdb_context *context = &world->context;
    context->env = world->env;
    context->hooks = &world->hooks;
    context->hooks_context = world;
    pthread_mutex_init(&context->registry_lock, NULL);
    wdb_list_init(&context->sessions);
    must(wdb_config_new(world->env, &context->config) == 0 &&
             wdb_stats_new(1, wdb_command_id_count(), &context->stats) == 0 &&
             wdb_slowlog_new(&context->slowlog) == 0 &&
             wdb_latency_new(&context->latency) == 0 &&
             wdb_backup_new(&context->save) == 0,
         "no memory");
    wdb_config_on_apply(context->config, wdb_context_apply, context);
    open_db(world);
    return world;
}

void cmd_world_free(struct cmd_world *world)
{
    close_db(world);
    wdb_backup_free(world->context.save);
    wdb_latency_free(world->context.latency);
    wdb_slowlog_free(world->context.slowlog);
    wdb_stats_free(world->context.stats);
    wdb_config_free(world->context.config);
    pthread_mutex_destroy(&world->context.registry_lock);
    world->env->ops = world->real_ops;
    if (world->own_env) {
        wdb_env_posix_free(world->env);
    }
    free(world);
}

void cmd_world_reopen(struct cmd_world *world)
{
    close_db(world);
    open_db(world);
}

struct wdb_context *cmd_world_context(struct cmd_world *world)
{
    return &world->context;
}

uint32_t cmd_world_shutdowns(const struct cmd_world *world)
{
    return world->shutdowns;
}

void cmd_world_set(struct cmd_world *world, const char *name, const char *value)
{
    const struct wdb_slice pair[] = {wdb_slice_str(name), wdb_slice_str(value)};
    char error[256] = "";
    must(wdb_config_set(world->context.config, pair, 1, true, error,
                        sizeof(error)) == 0,
         error);
}

void cmd_world_advance_ms(struct cmd_world *world, uint64_t ms)
{
    world->advance_ms += ms;
}

/* --- clients ----------------------------------------------------------------- */

void cmd_world_fail_allocation(struct cmd_world *world, uint64_t nth)
{
    world->fail_nth = nth;
}

bool cmd_world_allocation_failed(const struct cmd_world *world)
{
    return world->failed;
}

struct cmd_client *cmd_client_new(struct cmd_world *world)
{
    struct cmd_client *client = calloc(1, sizeof(*client));
    must(client != NULL, "no memory");
    client->world = world;
    const struct wdb_session_info info = {.address = "127.0.0.1:1",
                                          .local_address = "127.0.0.1:2",
                                          .fd = -1,
                                          .owner = client};
    must(wdb_session_new(&world->context, world->executor, &info,
                         &client->session) == 0,
         "no session");
    return client;
}

void cmd_client_free(struct cmd_client *client)
{
    wdb_executor_remove(client->world->executor, client->session);
    wdb_session_free(client->session);
    wdb_buffer_release(&client->replies);
    wdb_buffer_release(&client->text);
    free(client);
}

struct wdb_session *cmd_client_session(struct cmd_client *client)
{
    return client->session;
}

static void feed(struct cmd_client *client, const void *data, size_t size)
{
    const uint8_t *at = data;
    while (size > 0) {
        size_t room = 0;
        uint8_t *to = wdb_session_input_room(client->session, &room);
        must(to != NULL, "no room for input");
        room = room < size ? room : size;
        memcpy(to, at, room);
        wdb_session_input_add(client->session, room);
        at += room;
        size -= room;
    }
}

static void run_jobs(struct cmd_world *world)
{
    while (world->job_count > 0) {
        const struct job job = world->jobs[0];
        world->job_count--;
        memmove(world->jobs, world->jobs + 1,
                world->job_count * sizeof(world->jobs[0]));
        job.work(job.arg);
        job.done(job.arg);
    }
}

static void collect(struct cmd_client *client)
{
    struct wdb_session *session = client->session;
    size_t size =
        wdb_session_sendable(session,
                             wdb_executor_gate(client->world->executor));
    while (size > 0) {
        struct iovec part;
        must(wdb_output_peek(&session->output, &part, 1, size) == 1,
             "no output");
        must(wdb_buffer_append(&client->replies, part.iov_base, part.iov_len) ==
                 0,
             "no memory");
        wdb_session_sent(session, part.iov_len);
        size -= part.iov_len;
    }
}

/* One turn of the worker's loop; true: there is more to do. */
static bool turn(struct cmd_client *client)
{
    struct cmd_world *world = client->world;
    bool more = wdb_executor_run(world->executor);
    run_jobs(world);
    more |= !wdb_list_empty(&client->session->ready_node) &&
            (client->session->flags & WDB_SESSION_PARKED) == 0;
    if (wdb_executor_needs_flush(world->executor)) {
        const int rc = wdb_log_flush(wdb_db_log(world->context.db));
        (void)rc; /* a poisoned log answers errors by itself */
    }
    return more || world->job_count > 0;
}

static void run(struct cmd_client *client)
{
    struct cmd_world *world = client->world;
    if (world->fail_nth > 0) {
        fault_alloc_arm(world->fail_nth);
    }
    wdb_executor_add(world->executor, client->session);
    for (int turns = 0; turn(client); turns++) {
        must(turns < 100000, "no end of turns");
    }
    world->failed = world->fail_nth > 0 && fault_alloc_disarm();
    world->fail_nth = 0;
    collect(client);
}

/* Length of the reply at data (size bytes are there), nested ones included. */
static size_t reply_size(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    if (end == NULL) {
        return size;
    }
    size_t at = (size_t)(end - data) + 1;
    const long number = strtol((const char *)data + 1, NULL, 10);
    long parts = 0;
    switch (data[0]) {
    case '$':
    case '=':
        return number < 0 ? at : at + (size_t)number + 2;
    case '*':
    case '~':
    case '>':
        parts = number;
        break;
    case '%':
        parts = number * 2;
        break;
    }
    for (long i = 0; i < parts && at < size; i++) {
        at += reply_size(data + at, size - at);
    }
    return at < size ? at : size;
}

static void show(struct cmd_client *client)
{
    struct wdb_buffer *text = &client->text;
    const uint8_t *data = client->replies.data;
    const size_t size = client->replies.size;
    text->size = 0;
    size_t reply_end = 0;
    for (size_t i = 0; i < size; i++) {
        if (i == reply_end) {
            must(i == 0 || wdb_buffer_append(text, " |", 2) == 0, "no memory");
            must(i == 0 || wdb_buffer_append(text, " ", 1) == 0, "no memory");
            reply_end = i + reply_size(data + i, size - i);
        }
        int rc = 0;
        if (data[i] == '\r' && i + 1 < size && data[i + 1] == '\n') {
            i++;
            rc = i + 1 == reply_end ? 0 : wdb_buffer_append(text, " ", 1);
        } else if (data[i] >= ' ' && data[i] < 0x7f) {
            rc = wdb_buffer_append(text, &data[i], 1);
        } else {
            rc = wdb_buffer_printf(text, "\\x%02x", data[i]);
        }
        must(rc == 0, "no memory");
    }
    must(wdb_buffer_append(text, "", 1) == 0, "no memory");
}

static void feed_command(struct cmd_client *client, size_t count,
                         const struct wdb_slice *arguments)
{
    char head[40];
    feed(client, head, (size_t)snprintf(head, sizeof(head), "*%zu\r\n", count));
    for (size_t i = 0; i < count; i++) {
        feed(client, head,
             (size_t)snprintf(head, sizeof(head), "$%zu\r\n",
                              arguments[i].size));
        feed(client, arguments[i].data, arguments[i].size);
        feed(client, "\r\n", 2);
    }
}

const char *cmd_send_slices(struct cmd_client *client, size_t count,
                            const struct wdb_slice *arguments)
{
    client->replies.size = 0;
    feed_command(client, count, arguments);
    run(client);
    show(client);
    return (const char *)client->text.data;
}

const char *cmd_send(struct cmd_client *client, const char *line)
{
    struct wdb_slice words[256];
    size_t count = 0, position = 0;
    const struct wdb_slice whole = wdb_slice_str(line);
    uint8_t *memory = malloc(whole.size + 1);
    must(memory != NULL, "no memory");
    uint8_t *out = memory;
    client->replies.size = 0;
    for (;;) {
        size_t size = 0;
        const enum wdb_split_result result =
            wdb_split_next(whole, &position, out, &size);
        must(result != WDB_SPLIT_UNBALANCED && count < WDB_COUNT(words), line);
        const bool separator =
            result == WDB_SPLIT_ARGUMENT && size == 1 && out[0] == ';';
        if (result == WDB_SPLIT_ARGUMENT && !separator) {
            words[count++] = wdb_slice(out, size);
            out += size;
            continue;
        }
        feed_command(client, count, words);
        count = 0;
        if (result == WDB_SPLIT_END) {
            break;
        }
    }
    run(client);
    free(memory);
    show(client);
    return (const char *)client->text.data;
}

struct wdb_slice cmd_reply_bytes(const struct cmd_client *client)
{
    return wdb_buffer_slice(&client->replies);
}
