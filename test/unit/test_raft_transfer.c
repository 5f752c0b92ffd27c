/*
 * test_raft_transfer.c - both ends of a snapshot transfer, over a channel that
 * loses, doubles and reorders, with jobs that end in any order.
 */
#include <stdio.h>
#include <stdlib.h>

#include "fault_alloc.h"
#include "lib/test.h"
#include "log/names.h"
#include "raft/transfer_sink.h"
#include "raft/transfer_source.h"
#include "sim/snapshot_image.h"
#include "sim/store_fixture.h"
#include "walkerdb.h"

#define LEADER   7
#define JOBS_MAX 64
#define SENT_MAX 64

static const uint8_t base[] = "members, state hash";

struct job {
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
    bool has_run;
};

struct sent {
    struct wdb_message message;
    uint8_t *data; /* of a PIECE */
};

/* One end's world: its jobs, and the channel to the other end. */
struct end {
    struct world *world;
    struct job jobs[JOBS_MAX];
    size_t job_count;
    struct sent sent[SENT_MAX];
    size_t sent_count;
    bool is_cut; /* send fails */
};

struct world {
    struct store_fixture leader, follower;
    struct end source_end, sink_end;
    struct wdb_transfer_source *source;
    struct wdb_transfer_sink *sink;
    struct test_random random;
    uint64_t now_ns;
    uint64_t number;
    uint32_t loss; /* in 100 */
    bool checks;   /* the sink reads what it has fetched */
    uint32_t timeout_ms;
    bool reorders, doubles;
    uint64_t fetch_count, piece_bytes;
    int gone;
};

/* --- what the ends ask for ---------------------------------------------------
 */

static bool chance(struct world *w, uint32_t in_100)
{
    return test_random_below(&w->random, 100) < in_100;
}

static void put(struct end *end, const struct wdb_message *message)
{
    if (end->sent_count == SENT_MAX) {
        return; /* lost */
    }
    struct sent *sent = &end->sent[end->sent_count++];
    *sent = (struct sent){.message = *message};
    if (message->kind == WDB_MESSAGE_PIECE) {
        sent->data = malloc(message->piece.size);
        if (sent->data == NULL) {
            end->sent_count--;
            return; /* lost as well */
        }
        memcpy(sent->data, message->piece.data, message->piece.size);
        sent->message.piece.data = sent->data;
        end->world->piece_bytes += message->piece.size;
    }
    end->world->fetch_count += message->kind == WDB_MESSAGE_FETCH;
}

static bool on_send(void *context, struct wdb_message *message)
{
    struct end *end = context;
    struct world *w = end->world;
    if (end->is_cut) {
        return false;
    }
    if (!chance(w, w->loss)) {
        put(end, message);
    }
    if (w->doubles && chance(w, 10)) {
        put(end, message);
    }
    return true;
}

static void on_job(void *context, void (*work)(void *arg),
                   void (*done)(void *arg), void *arg)
{
    struct end *end = context;
    CHECK(end->job_count < JOBS_MAX);
    end->jobs[end->job_count++] = (struct job){work, done, arg, false};
}

static uint64_t on_now(void *context)
{
    const struct end *end = context;
    return end->world->now_ns;
}

static struct wdb_transfer_owner owner_of(struct end *end)
{
    return (struct wdb_transfer_owner){
        .send = on_send,
        .run_off_loop = on_job,
        .now_ns = on_now,
        .context = end,
    };
}

static void on_gone(void *context)
{
    struct world *w = context;
    w->gone++;
}

/* --- the world ---------------------------------------------------------------
 */

static bool world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){.random = {seed},
                        .now_ns = 1000,
                        .number = 100,
                        .checks = seed % 3 != 2};
    w->source_end.world = w->sink_end.world = w;
    store_fixture_init(&w->leader, seed);
    w->leader.model.value_size_max = seed % 2 == 0 ? 3000 : 100;
    store_fixture_init(&w->follower, seed + 50);
    w->follower.options.log.manual_commit = true;
    if (!store_fixture_open(&w->leader) || !store_fixture_open(&w->follower)) {
        return false;
    }
    store_fixture_run(&w->leader, 150);
    CHECK_EQ(wdb_log_flush(wdb_store_log(w->leader.store)), 0);
    wdb_log_hold(wdb_store_log(w->follower.store), true);
    return !test_has_failed();
}

static bool begin_source(struct world *w)
{
    const struct wdb_transfer_source_options options = {
        .owner = owner_of(&w->source_end),
        .store = w->leader.store,
        .number = ++w->number,
    };
    return wdb_transfer_source_new(&options, &w->source) == 0;
}

static bool begin_sink(struct world *w)
{
    const struct wdb_transfer_sink_options options = {
        .owner = owner_of(&w->sink_end),
        .env = sim_env_base(w->follower.env),
        .dir = "/db",
        .store = w->checks ? w->follower.store : NULL,
        .timeout_ms = w->timeout_ms,
    };
    return wdb_transfer_sink_new(&options, &w->sink) == 0;
}

/* Run some job of the end, or what follows one. False if there is none. */
static bool run_job(struct world *w, struct end *end)
{
    if (end->job_count == 0) {
        return false;
    }
    const size_t i = test_random_below(&w->random, end->job_count);
    if (!end->jobs[i].has_run) {
        end->jobs[i].work(end->jobs[i].arg);
        end->jobs[i].has_run = true;
        return true;
    }
    const struct job job = end->jobs[i];
    end->jobs[i] = end->jobs[--end->job_count];
    job.done(job.arg);
    return true;
}

static void end_jobs(struct world *w)
{
    while (run_job(w, &w->source_end) || run_job(w, &w->sink_end)) {
    }
}

static void forget_messages(struct end *end)
{
    for (size_t i = 0; i < end->sent_count; i++) {
        free(end->sent[i].data);
    }
    end->sent_count = 0;
}

static void deliver(struct world *w, struct end *from)
{
    if (from->sent_count == 0) {
        return;
    }
    const size_t i =
        w->reorders ? test_random_below(&w->random, from->sent_count) : 0;
    struct sent sent = from->sent[i];
    memmove(&from->sent[i], &from->sent[i + 1],
            (from->sent_count - i - 1) * sizeof(sent));
    from->sent_count--;
    if (from == &w->source_end) {
        if (w->sink != NULL) {
            wdb_transfer_sink_receive(w->sink, LEADER, &sent.message);
        }
    } else if (w->source != NULL) {
        wdb_transfer_source_receive(w->source, &sent.message);
    } else {
        struct wdb_message answer;
        wdb_transfer_refuse(&sent.message, &answer);
        put(&w->source_end, &answer);
    }
    free(sent.data);
}

static void offer(struct world *w)
{
    struct wdb_message message;
    wdb_transfer_source_offer(w->source, &message);
    put(&w->source_end, &message);
}

/* Something happens. */
static void turn(struct world *w)
{
    switch (test_random_below(&w->random, 6)) {
    case 0:
        (void)run_job(w, &w->source_end);
        break;
    case 1:
        (void)run_job(w, &w->sink_end);
        break;
    case 2:
        deliver(w, &w->source_end);
        break;
    case 3:
        deliver(w, &w->sink_end);
        break;
    case 4:
        w->now_ns += test_random_below(&w->random, 200000000);
        break;
    default:
        if (w->source != NULL) {
            if (wdb_transfer_source_state(w->source) == WDB_SOURCE_MADE) {
                CHECK_EQ(wdb_transfer_source_set_base(
                             w->source, wdb_slice(base, sizeof(base))),
                         0);
            }
            (void)wdb_transfer_source_run(w->source);
            if (wdb_transfer_source_state(w->source) == WDB_SOURCE_READY &&
                chance(w, 5)) {
                offer(w);
            }
        }
        if (w->sink != NULL) {
            (void)wdb_transfer_sink_run(w->sink);
        }
        break;
    }
}

static bool turn_until(struct world *w, enum wdb_transfer_sink_state state)
{
    for (int i = 0; i < 200000; i++) {
        if (w->sink != NULL && wdb_transfer_sink_state(w->sink) == state) {
            return true;
        }
        turn(w);
    }
    return false;
}

/* The snapshot is DONE: install it, and compare. */
static void install(struct world *w)
{
    struct wdb_transfer_snapshot snapshot;
    struct wdb_transfer_progress progress;
    wdb_transfer_sink_progress(w->sink, &progress);
    CHECK_EQ(progress.done, progress.total);
    wdb_transfer_sink_snapshot(w->sink, &snapshot);
    CHECK_EQ(snapshot.from, LEADER);
    /* A source that failed when all was sent may have been made anew. */
    CHECK(snapshot.number == w->number || snapshot.number + 1 == w->number);
    CHECK_MEM(snapshot.base.data, snapshot.base.size, base, sizeof(base));
    if (w->checks) {
        struct wdb_installation *installation = wdb_transfer_sink_take(w->sink);
        REQUIRE(installation != NULL);
        CHECK_EQ(wdb_store_install_switch(installation, snapshot.base), 0);
    } else {
        CHECK_EQ(wdb_store_install(w->follower.store, snapshot.dir,
                                   snapshot.index, snapshot.term, snapshot.base,
                                   NULL, NULL),
                 0);
    }
    CHECK_EQ(wdb_log_index_last(wdb_store_log(w->follower.store)),
             snapshot.index);
    CHECK(store_model_check(&w->leader.model, w->follower.store,
                            w->leader.model.state_count - 1));
    wdb_transfer_sink_reset(w->sink);
}

static void stop_source(struct world *w)
{
    const int gone = w->gone;
    wdb_transfer_source_stop(w->source, on_gone, w);
    w->source = NULL;
    CHECK_EQ(w->gone, gone);
    end_jobs(w);
    CHECK_EQ(w->gone, gone + 1);
    CHECK_EQ(snapshot_image_leftovers(sim_env_base(w->leader.env), "/db"), 0);
}

static void stop_sink(struct world *w)
{
    const int gone = w->gone;
    wdb_transfer_sink_stop(w->sink, on_gone, w);
    w->sink = NULL;
    CHECK_EQ(w->gone, gone);
    end_jobs(w);
    CHECK_EQ(w->gone, gone + 1);
    CHECK_EQ(snapshot_image_leftovers(sim_env_base(w->follower.env), "/db"), 0);
}

static void world_release(struct world *w)
{
    if (w->source != NULL) {
        stop_source(w);
    }
    if (w->sink != NULL) {
        stop_sink(w);
    }
    forget_messages(&w->source_end);
    forget_messages(&w->sink_end);
    store_fixture_release(&w->leader);
    store_fixture_release(&w->follower);
}

/* --- transfers ---------------------------------------------------------------
 */

TEST(transfer_over_a_good_channel)
{
    for (uint64_t seed = 1; seed <= 6 && !test_has_failed(); seed++) {
        struct world w;
        REQUIRE(world_init(&w, seed));
        w.timeout_ms = 100000;
        REQUIRE(begin_source(&w) && begin_sink(&w));
        REQUIRE(turn_until(&w, WDB_SINK_DONE));
        install(&w);
        CHECK(turn_until(&w, WDB_SINK_IDLE));
        end_jobs(&w);
        CHECK_EQ(snapshot_image_leftovers(sim_env_base(w.follower.env), "/db"),
                 0);
        /* Nothing was asked for twice. */
        struct wdb_transfer_progress progress;
        wdb_transfer_source_progress(w.source, &progress);
        CHECK_EQ(progress.done, progress.total);
        CHECK(w.piece_bytes <= progress.total + 4096);
        world_release(&w);
    }
}

TEST(transfer_over_a_bad_channel)
{
    const uint64_t rounds = 12 * test_number("WDB_TEST_ROUNDS", 1);
    for (uint64_t seed = 1; seed <= rounds && !test_has_failed(); seed++) {
        struct world w;
        REQUIRE(world_init(&w, seed));
        w.loss = 10 + (uint32_t)seed % 3 * 20;
        w.reorders = w.doubles = true;
        REQUIRE(begin_source(&w) && begin_sink(&w));
        REQUIRE(turn_until(&w, WDB_SINK_DONE));
        install(&w);
        world_release(&w);
    }
}

/* Connections break and come back; the transfer goes on where it was. */
TEST(transfer_goes_on_after_a_cut)
{
    struct world w;
    REQUIRE(world_init(&w, 4));
    REQUIRE(begin_source(&w) && begin_sink(&w));
    REQUIRE(turn_until(&w, WDB_SINK_FETCHING));
    for (int i = 0; i < 40; i++) {
        w.source_end.is_cut = w.sink_end.is_cut = i % 2 == 0;
        if (w.source_end.is_cut) {
            forget_messages(&w.source_end);
            forget_messages(&w.sink_end);
        }
        for (int k = 0; k < 30; k++) {
            turn(&w);
        }
    }
    REQUIRE(turn_until(&w, WDB_SINK_DONE));
    install(&w);
    struct wdb_transfer_progress progress;
    wdb_transfer_source_progress(w.source, &progress);
    CHECK(w.piece_bytes < 3 * progress.total);
    world_release(&w);
}

/* The leader writes and merges while it serves. */
TEST(transfer_while_the_leader_works)
{
    for (uint64_t seed = 1; seed <= 4 && !test_has_failed(); seed++) {
        struct world w;
        REQUIRE(world_init(&w, seed));
        REQUIRE(begin_source(&w) && begin_sink(&w));
        REQUIRE(turn_until(&w, WDB_SINK_LISTING));
        const uint32_t state = w.leader.model.state_count - 1;
        store_fixture_run(&w.leader, 100);
        CHECK_EQ(wdb_store_merge(w.leader.store), 0);
        store_fixture_settle(&w.leader);
        REQUIRE(turn_until(&w, WDB_SINK_DONE));
        w.leader.model.state_count = state + 1;
        install(&w);
        world_release(&w);
    }
}

/* The leader has it no more: the sink forgets it, and takes the next one. */
TEST(source_is_gone)
{
    for (int turns = 0; turns < 400 && !test_has_failed(); turns += 13) {
        struct world w;
        REQUIRE(world_init(&w, 2));
        REQUIRE(begin_source(&w) && begin_sink(&w));
        REQUIRE(turn_until(&w, WDB_SINK_LISTING));
        for (int i = 0; i < turns; i++) {
            turn(&w);
        }
        const enum wdb_transfer_sink_state state =
            wdb_transfer_sink_state(w.sink);
        stop_source(&w);
        if (state == WDB_SINK_FETCHING || state == WDB_SINK_LISTING) {
            for (int i = 0; i < 3000; i++) {
                turn(&w);
            }
            const enum wdb_transfer_sink_state now =
                wdb_transfer_sink_state(w.sink);
            CHECK(now == WDB_SINK_IDLE || now == WDB_SINK_DONE);
            wdb_transfer_sink_reset(w.sink);
        }
        if (wdb_transfer_sink_state(w.sink) == WDB_SINK_DONE) {
            install(&w);
        } else {
            wdb_transfer_sink_reset(w.sink);
        }
        w.source = NULL;
        store_fixture_run(&w.leader, 20);
        CHECK_EQ(wdb_log_flush(wdb_store_log(w.leader.store)), 0);
        REQUIRE(begin_source(&w));
        REQUIRE(turn_until(&w, WDB_SINK_DONE));
        install(&w);
        world_release(&w);
    }
}

/* Another snapshot is offered in the middle of one. */
TEST(another_snapshot_starts_afresh)
{
    for (int turns = 0; turns < 300 && !test_has_failed(); turns += 7) {
        struct world w;
        REQUIRE(world_init(&w, 2));
        w.reorders = w.doubles = turns % 2 == 0;
        REQUIRE(begin_source(&w) && begin_sink(&w));
        REQUIRE(turn_until(&w, WDB_SINK_LISTING));
        for (int i = 0; i < turns; i++) {
            turn(&w);
        }
        if (wdb_transfer_sink_state(w.sink) == WDB_SINK_DONE) {
            install(&w);
        }
        wdb_transfer_source_stop(w.source, on_gone, &w);
        store_fixture_run(&w.leader, 20);
        CHECK_EQ(wdb_log_flush(wdb_store_log(w.leader.store)), 0);
        REQUIRE(begin_source(&w));
        for (int i = 0; i < 200000 && !test_has_failed(); i++) {
            struct wdb_transfer_snapshot snapshot;
            wdb_transfer_sink_snapshot(w.sink, &snapshot);
            if (wdb_transfer_sink_state(w.sink) == WDB_SINK_DONE) {
                if (snapshot.number == w.number) {
                    break;
                }
                wdb_transfer_sink_reset(w.sink);
            }
            turn(&w);
        }
        REQUIRE(wdb_transfer_sink_state(w.sink) == WDB_SINK_DONE);
        install(&w);
        world_release(&w);
    }
}

/* The follower's process dies at any point: the next one finds its old state,
 * without the rest of the transfer, and fetches again. */
TEST(follower_dies)
{
    for (int turns = 0; turns < 600 && !test_has_failed(); turns += 23) {
        struct world w;
        REQUIRE(world_init(&w, 3));
        REQUIRE(begin_source(&w) && begin_sink(&w));
        for (int i = 0; i < turns; i++) {
            turn(&w);
        }
        /* Its jobs run to their end, or never began; nobody hears of it. */
        stop_sink(&w);
        wdb_store_abandon(w.follower.store);
        w.follower.store = NULL;
        struct wdb_env *env = sim_env_base(w.follower.env);
        if (env->ops->mkdir(env, "/db/incoming") == 0) {
            struct wdb_file *file;
            CHECK_EQ(env->ops->open(env, "/db/incoming/0000000000000001.log",
                                    WDB_OPEN_CREATE, &file),
                     0);
            env->ops->close(file);
        }
        REQUIRE(store_fixture_open(&w.follower));
        CHECK_EQ(snapshot_image_leftovers(env, "/db"), 0);
        store_fixture_check(&w.follower);
        wdb_log_hold(wdb_store_log(w.follower.store), true);
        REQUIRE(begin_sink(&w));
        REQUIRE(turn_until(&w, WDB_SINK_DONE));
        install(&w);
        world_release(&w);
    }
}

/* Both ends end at any point. */
TEST(ends_stop)
{
    for (int turns = 0; turns < 500 && !test_has_failed(); turns += 11) {
        struct world w;
        REQUIRE(world_init(&w, 5));
        REQUIRE(begin_source(&w) && begin_sink(&w));
        for (int i = 0; i < turns; i++) {
            turn(&w);
        }
        wdb_transfer_sink_stop(w.sink, on_gone, &w);
        w.sink = NULL;
        wdb_transfer_source_stop(w.source, on_gone, &w);
        w.source = NULL;
        end_jobs(&w);
        CHECK_EQ(w.gone, 2);
        world_release(&w);
    }
}

/* A rate is kept. */
TEST(source_is_throttled)
{
    struct world w;
    REQUIRE(world_init(&w, 2));
    REQUIRE(begin_source(&w) && begin_sink(&w));
    wdb_transfer_source_set_rate(w.source, 100000);
    REQUIRE(turn_until(&w, WDB_SINK_FETCHING));
    const uint64_t begin = w.now_ns;
    REQUIRE(turn_until(&w, WDB_SINK_DONE));
    struct wdb_transfer_progress progress;
    wdb_transfer_source_progress(w.source, &progress);
    const double seconds = (double)(w.now_ns - begin) / 1e9;
    /* The first one goes at once, the last one is not waited for. */
    CHECK(seconds * 100000 > (double)progress.total - 2.0 * 262144);
    CHECK(progress.total > 4 * 65536);
    install(&w);
    world_release(&w);
}

struct find {
    char dir[80];
    char *path;
    size_t size;
};

/* A log segment of a directory. */
static int find_segment(void *context, const char *text)
{
    struct find *find = context;
    struct wdb_name name;
    wdb_name_parse(text, &name);
    if (name.kind == WDB_NAME_KIND_LOG && find->path[0] != '/') {
        snprintf(find->path, find->size, "%s/%s", find->dir, text);
    }
    return 0;
}

/* --- trouble -----------------------------------------------------------------
 */

/* A file operation of the follower fails: it says so, and a later OFFER makes
 * good. */
static bool sink_with_failing_file(uint64_t n, int error)
{
    struct world w;
    bool failed = false;
    if (!world_init(&w, 3) || !begin_source(&w) || !begin_sink(&w)) {
        return false;
    }
    sim_env_fail(w.follower.env, (struct sim_fault){.op = SIM_OP_ANY,
                                                    .nth = n,
                                                    .error = error});
    for (int i = 0; i < 200000 && !test_has_failed(); i++) {
        const enum wdb_transfer_sink_state state =
            wdb_transfer_sink_state(w.sink);
        if (state == WDB_SINK_FAILED && !failed) {
            CHECK_EQ(wdb_transfer_sink_error(w.sink), error);
            failed = true;
        }
        if (state == WDB_SINK_DONE) {
            break;
        }
        turn(&w);
    }
    CHECK_EQ(wdb_transfer_sink_state(w.sink), WDB_SINK_DONE);
    const bool hit = sim_env_clear_faults(w.follower.env) > 0;
    install(&w);
    world_release(&w);
    return hit;
}

TEST(sink_with_failing_files)
{
    static const int errors[] = {WALKERDB_EIO, WALKERDB_ENOSPACE};
    for (size_t e = 0; e < 2; e++) {
        uint64_t n = 1;
        while (sink_with_failing_file(n, errors[e]) && !test_has_failed()) {
            n++;
        }
        CHECK(n > 10);
    }
}

/* The same for the leader: a new source is made. */
static bool source_with_failing_file(uint64_t n)
{
    struct world w;
    if (!world_init(&w, 3) || !begin_source(&w) || !begin_sink(&w)) {
        return false;
    }
    sim_env_fail(w.leader.env, (struct sim_fault){.op = SIM_OP_READ,
                                                  .nth = n,
                                                  .error = WALKERDB_EIO});
    for (int i = 0; i < 200000 && !test_has_failed() &&
                    wdb_transfer_sink_state(w.sink) != WDB_SINK_DONE;
         i++) {
        if (w.source != NULL &&
            wdb_transfer_source_state(w.source) == WDB_SOURCE_FAILED) {
            CHECK_EQ(wdb_transfer_source_error(w.source), WALKERDB_EIO);
            stop_source(&w);
            CHECK_EQ(wdb_log_failure(wdb_store_log(w.leader.store)), 0);
        }
        if (w.source == NULL) {
            CHECK(begin_source(&w));
        }
        turn(&w);
    }
    CHECK_EQ(wdb_transfer_sink_state(w.sink), WDB_SINK_DONE);
    const bool hit = sim_env_clear_faults(w.leader.env) > 0;
    install(&w);
    world_release(&w);
    return hit;
}

TEST(source_with_failing_reads)
{
    uint64_t n = 1;
    while (source_with_failing_file(n) && !test_has_failed()) {
        n++;
    }
    CHECK(n > 3);
}

/* Allocations fail now and then; nothing is lost but time. */
TEST(transfer_without_memory)
{
    for (uint64_t n = 1; n < 150 && !test_has_failed(); n++) {
        struct world w;
        REQUIRE(world_init(&w, 1 + n % 3));
        REQUIRE(begin_source(&w) && begin_sink(&w));
        fault_alloc_arm(n);
        for (int i = 0; i < 200000 && !test_has_failed(); i++) {
            if (w.source != NULL &&
                wdb_transfer_source_state(w.source) == WDB_SOURCE_FAILED) {
                stop_source(&w);
            }
            if (w.source == NULL) {
                (void)begin_source(&w);
            }
            if (wdb_transfer_sink_state(w.sink) == WDB_SINK_DONE ||
                wdb_log_failure(wdb_store_log(w.leader.store)) != 0) {
                break;
            }
            if (w.source != NULL &&
                wdb_transfer_source_state(w.source) == WDB_SOURCE_MADE) {
                (void)!wdb_transfer_source_set_base(
                    w.source, wdb_slice(base, sizeof(base)));
            }
            turn(&w);
        }
        (void)fault_alloc_disarm();
        CHECK_EQ(wdb_transfer_sink_state(w.sink), WDB_SINK_DONE);
        install(&w);
        world_release(&w);
    }
}

/* The source hears of a sink that is busy checking. */
TEST(sink_says_that_it_is_alive)
{
    struct world w;
    REQUIRE(world_init(&w, 3));
    w.checks = true;
    REQUIRE(begin_source(&w) && begin_sink(&w));
    REQUIRE(turn_until(&w, WDB_SINK_CHECKING));
    w.now_ns += 6000000000;
    const uint64_t count = w.fetch_count;
    const uint64_t next = wdb_transfer_sink_run(w.sink);
    CHECK_EQ(w.fetch_count, count + 1);
    CHECK_EQ(next, w.now_ns + 5000000000);
    CHECK_EQ(wdb_transfer_sink_run(w.sink), next);
    CHECK_EQ(w.fetch_count, count + 1);
    REQUIRE(turn_until(&w, WDB_SINK_DONE));
    install(&w);
    world_release(&w);
}

/* A byte goes bad on the leader's disk: the sink refuses it, and the follower is
 * what it was. */
TEST(sink_refuses_what_is_damaged)
{
    for (uint64_t seed = 1; seed <= 10 && !test_has_failed(); seed++) {
        struct world w;
        char path[100] = "";
        struct wdb_file *file;
        REQUIRE(world_init(&w, seed));
        w.checks = true;
        REQUIRE(begin_source(&w) && begin_sink(&w));
        while (run_job(&w, &w.source_end)) {
        }
        struct wdb_env *env = sim_env_base(w.leader.env);
        struct find find = {.path = path, .size = sizeof(path)};
        snprintf(find.dir, sizeof(find.dir), "/db/.transfer-%016llx",
                 (unsigned long long)w.number);
        (void)env->ops->list(env, find.dir, find_segment, &find);
        REQUIRE_EQ(env->ops->open(env, path, WDB_OPEN_WRITE, &file), 0);
        uint8_t byte;
        const uint64_t at = 4096 + test_random_below(&w.random, 2000);
        CHECK_EQ(wdb_env_pread_all(file, &byte, 1, at), 0);
        byte ^= 4;
        CHECK_EQ(wdb_env_pwrite(file, &byte, 1, at), 0);
        env->ops->close(file);
        REQUIRE(turn_until(&w, WDB_SINK_FAILED));
        CHECK_EQ(wdb_transfer_sink_error(w.sink), WALKERDB_ECORRUPT);
        store_fixture_check(&w.follower);
        /* The next snapshot is of other files; here the byte is put right. */
        REQUIRE_EQ(env->ops->open(env, path, WDB_OPEN_WRITE, &file), 0);
        byte ^= 4;
        CHECK_EQ(wdb_env_pwrite(file, &byte, 1, at), 0);
        env->ops->close(file);
        REQUIRE(turn_until(&w, WDB_SINK_DONE));
        install(&w);
        world_release(&w);
    }
}

/* The disk of the follower is too small. */
TEST(sink_without_space)
{
    struct world w;
    REQUIRE(world_init(&w, 2));
    REQUIRE(begin_source(&w) && begin_sink(&w));
    sim_disk_set_capacity(w.follower.disk, 1 << 20);
    REQUIRE(turn_until(&w, WDB_SINK_FAILED));
    CHECK_EQ(wdb_transfer_sink_error(w.sink), WALKERDB_ENOSPACE);
    sim_disk_set_capacity(w.follower.disk, UINT64_MAX);
    REQUIRE(turn_until(&w, WDB_SINK_DONE));
    install(&w);
    world_release(&w);
}

/* --- what a bad leader may send ----------------------------------------------
 */

TEST(sink_survives_nonsense)
{
    struct world w;
    REQUIRE(world_init(&w, 3));
    REQUIRE(begin_source(&w) && begin_sink(&w));
    struct wdb_message message;
    uint8_t data[64];
    for (int i = 0; i < 20000 && !test_has_failed(); i++) {
        turn(&w);
        struct wdb_transfer_snapshot snapshot;
        wdb_transfer_sink_snapshot(w.sink, &snapshot);
        test_random_fill(&w.random, data, sizeof(data));
        message = (struct wdb_message){.kind = WDB_MESSAGE_PIECE};
        message.piece.snapshot = chance(&w, 90) ? snapshot.number : 5;
        message.piece.file = (uint32_t)test_random_below(&w.random, 4);
        message.piece.offset = test_random_below(&w.random, 2) * 262144;
        message.piece.data = data;
        message.piece.size = test_random_below(&w.random, sizeof(data));
        message.piece.crc = (uint32_t)test_random_next(&w.random);
        wdb_transfer_sink_receive(w.sink, chance(&w, 90) ? LEADER : 9,
                                  &message);
        message = (struct wdb_message){.kind = WDB_MESSAGE_FETCH};
        message.fetch.snapshot = chance(&w, 90) ? w.number : 5;
        message.fetch.file = (uint32_t)test_random_below(&w.random, 100);
        message.fetch.offset = test_random_next(&w.random);
        message.fetch.size = (uint32_t)test_random_next(&w.random);
        if (chance(&w, 10)) {
            wdb_transfer_source_receive(w.source, &message);
            forget_messages(&w.source_end);
        }
        if (wdb_transfer_sink_state(w.sink) == WDB_SINK_DONE) {
            break;
        }
    }
    REQUIRE(turn_until(&w, WDB_SINK_DONE));
    install(&w);
    world_release(&w);
}

static void fill_list(struct wdb_transfer_list *list)
{
    *list = (struct wdb_transfer_list){.snapshot = 77, .count = 4};
    list->files = calloc(4, sizeof(*list->files));
    for (uint32_t i = 0; i < 3; i++) {
        list->files[i] =
            (struct wdb_transfer_file){.kind = i == 1 ? WDB_TRANSFER_MERGED
                                                      : WDB_TRANSFER_LOG,
                                       .id = 10 - i,
                                       .size = 4096 + i * 8};
    }
    list->files[3] = (struct wdb_transfer_file){.size = 200};
}

TEST(lists)
{
    struct wdb_transfer_list list, copy;
    uint8_t *data;
    size_t size, told;
    fill_list(&list);
    list.base = malloc(5);
    memcpy(list.base, "base!", 5);
    list.base_size = 5;
    REQUIRE_EQ(wdb_transfer_list_encode(&list, &data, &size), 0);
    CHECK_EQ(wdb_transfer_list_size(data, &told), 0);
    CHECK_EQ(told, size);
    CHECK_EQ(wdb_transfer_list_decode(data, size, &copy), 0);
    CHECK_EQ(copy.snapshot, 77);
    CHECK_EQ(copy.count, 4);
    CHECK_EQ(copy.files[1].kind, WDB_TRANSFER_MERGED);
    CHECK_EQ(copy.files[2].id, 8);
    CHECK_EQ(wdb_transfer_list_total(&copy), 3 * 4096 + 24 + 200);
    CHECK_MEM(copy.base, copy.base_size, "base!", 5);
    wdb_transfer_list_release(&copy);
    for (size_t i = 0; i < size; i++) {
        data[i] ^= 1;
        CHECK_EQ(wdb_transfer_list_decode(data, size, &copy),
                 WALKERDB_ECORRUPT);
        data[i] ^= 1;
        CHECK_EQ(wdb_transfer_list_decode(data, i, &copy), WALKERDB_ECORRUPT);
    }
    free(data);
    wdb_transfer_list_release(&list);
}

/* Lists that are sound as bytes, but say what cannot be. */
TEST(impossible_lists)
{
    for (int i = 0; i < 7; i++) {
        struct wdb_transfer_list list, copy;
        uint8_t *data;
        size_t size;
        fill_list(&list);
        switch (i) {
        case 0:
            list.files[1].id = 10;
            break;
        case 1:
            list.files[3] = list.files[1];
            list.files[3].id = 3;
            break;
        case 2:
            list.files[1] = list.files[3];
            break;
        case 3:
            list.files[0].size = 100;
            break;
        case 4:
            list.files[0].size = UINT64_MAX;
            break;
        case 5:
            list.files[3].id = 1;
            break;
        default:
            list.files[0].kind = (enum wdb_transfer_kind)7;
            break;
        }
        REQUIRE_EQ(wdb_transfer_list_encode(&list, &data, &size), 0);
        CHECK_EQ(wdb_transfer_list_decode(data, size, &copy),
                 WALKERDB_ECORRUPT);
        free(data);
        wdb_transfer_list_release(&list);
    }
}
