/* test_store_install.c - a snapshot takes the place of everything. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "fault_alloc.h"
#include "lib/test.h"
#include "log/names.h"
#include "sim/snapshot_image.h"
#include "sim/store_fixture.h"
#include "walkerdb.h"

#define INCOMING "/db/" WDB_NAME_INCOMING

/* A leader, whose snapshot is taken, and a follower, which gets it. */
struct pair {
    struct store_fixture leader, follower;
    struct snapshot_image image;
};

static void draw_follower(struct store_fixture *f, uint64_t seed)
{
    store_fixture_init(f, seed);
    f->options.log.manual_commit = true;
    f->options.hints = seed % 3 != 0;
    f->options.ordered = seed % 4 == 0;
    f->model.has_databases = seed % 4 != 0;
    f->options.merge_enabled = seed % 2 == 0;
    f->options.merge_ratio = 0.1;
    f->options.log.sync_policy = WDB_SYNC_ALWAYS;
}

static void commit_all(struct store_fixture *f)
{
    struct wdb_log *log = wdb_store_log(f->store);
    CHECK_EQ(wdb_log_sync(log), 0);
    wdb_store_set_committed(f->store, wdb_log_index_last(log));
}

/* The follower has `batches` of its own, all committed, and is held. */
static bool pair_init(struct pair *p, uint64_t seed, int batches)
{
    *p = (struct pair){.image = {0}};
    store_fixture_init(&p->leader, seed + 100);
    p->leader.model.has_databases = seed % 4 != 0;
    p->leader.model.value_size_max = seed % 5 == 0 ? 3000 : 200;
    draw_follower(&p->follower, seed);
    if (!store_fixture_open(&p->leader) || !store_fixture_open(&p->follower)) {
        return false;
    }
    store_fixture_run(&p->leader, 100);
    if (seed % 2 == 0) {
        CHECK_EQ(wdb_store_merge(p->leader.store), 0);
    }
    store_fixture_run(&p->leader, 100);
    CHECK_EQ(snapshot_image_take(&p->image, p->leader.store), 0);
    store_fixture_run(&p->follower, batches);
    commit_all(&p->follower);
    wdb_log_hold(wdb_store_log(p->follower.store), true);
    return !test_has_failed();
}

static void pair_release(struct pair *p)
{
    snapshot_image_release(&p->image);
    store_fixture_release(&p->leader);
    store_fixture_release(&p->follower);
}

static int install(struct pair *p)
{
    static const uint8_t base[] = "what Raft knows";
    return wdb_store_install(p->follower.store, INCOMING, p->image.index,
                             p->image.term, wdb_slice(base, sizeof(base)), NULL,
                             NULL);
}

static void write_image(struct pair *p)
{
    CHECK_EQ(snapshot_image_write(&p->image, sim_env_base(p->follower.env),
                                  INCOMING),
             0);
}

/* From now on the follower is what the leader was. */
static void take_model(struct pair *p)
{
    struct store_model model = p->follower.model;
    p->follower.model = p->leader.model;
    p->leader.model = model;
}

static void check_installed(struct pair *p)
{
    struct wdb_log *log = wdb_store_log(p->follower.store);
    CHECK_EQ(wdb_log_index_last(log), p->image.index);
    CHECK_EQ(wdb_log_appended(log), p->image.index);
    CHECK_EQ(wdb_log_durable(log), p->image.index);
    CHECK_EQ(wdb_log_committed(log), p->image.index);
    CHECK_EQ(wdb_log_retained(log), p->image.index + 1);
    CHECK_EQ(wdb_log_base(log).size, sizeof("what Raft knows"));
    CHECK_EQ(wdb_log_failure(log), 0);
    store_fixture_check(&p->follower);
}

static uint64_t key_count(struct wdb_store *store)
{
    struct wdb_store_stats stats;
    wdb_store_stats(store, &stats);
    return stats.key_count;
}

static int count_segment(void *context, const char *text)
{
    struct wdb_name name;
    size_t *count = context;
    wdb_name_parse(text, &name);
    *count += name.kind == WDB_NAME_KIND_LOG ||
              name.kind == WDB_NAME_KIND_MERGED ||
              name.kind == WDB_NAME_KIND_HINT;
    return 0;
}

static size_t segment_files(struct store_fixture *f)
{
    size_t count = 0;
    struct wdb_env *env = sim_env_base(f->env);
    CHECK_EQ(env->ops->list(env, "/db", count_segment, &count), 0);
    return count;
}

/* Write, close, open, merge: it is a database like any other. */
static void go_on(struct store_fixture *f)
{
    wdb_log_hold(wdb_store_log(f->store), false);
    store_fixture_run(f, 60);
    commit_all(f);
    store_fixture_check(f);
    REQUIRE(store_fixture_reopen(f));
    store_fixture_check(f);
    CHECK_EQ(wdb_store_merge(f->store), 0);
    store_fixture_run(f, 30);
    commit_all(f);
    store_fixture_check(f);
    REQUIRE(store_fixture_reopen(f));
    store_fixture_check(f);
}

TEST(install_over_empty_and_full)
{
    for (uint64_t seed = 1; seed <= 24 && !test_has_failed(); seed++) {
        struct pair p;
        REQUIRE(pair_init(&p, seed, seed % 3 == 0 ? 0 : 90));
        write_image(&p);
        const uint64_t generation =
            wdb_log_generation(wdb_store_log(p.follower.store));
        CHECK_EQ(install(&p), 0);
        CHECK(wdb_log_generation(wdb_store_log(p.follower.store)) !=
              generation);
        take_model(&p);
        check_installed(&p);
        CHECK_EQ(key_count(p.follower.store), key_count(p.leader.store));
        store_fixture_settle(&p.follower);
        check_installed(&p);
        /* What is left of the directory goes with the next opening. */
        CHECK_EQ(snapshot_image_leftovers(sim_env_base(p.follower.env), "/db"),
                 1);
        if (seed % 2 == 0) {
            REQUIRE(store_fixture_reopen(&p.follower));
            check_installed(&p);
            CHECK_EQ(snapshot_image_leftovers(sim_env_base(p.follower.env),
                                              "/db"),
                     0);
        }
        go_on(&p.follower);
        pair_release(&p);
    }
}

/* A second one over the first; the old files go. */
TEST(install_again)
{
    struct pair p;
    REQUIRE(pair_init(&p, 7, 50));
    for (int i = 0; i < 5; i++) {
        write_image(&p);
        CHECK_EQ(install(&p), 0);
        snapshot_image_remove(sim_env_base(p.follower.env), INCOMING);
        struct store_model model = p.follower.model;
        p.follower.model = p.leader.model;
        check_installed(&p);
        store_fixture_settle(&p.follower);
        p.follower.model = model;
        store_fixture_run(&p.leader, 40);
        const size_t files = segment_files(&p.follower);
        CHECK(files < 2 * p.image.count + 4);
        snapshot_image_release(&p.image);
        CHECK_EQ(snapshot_image_take(&p.image, p.leader.store), 0);
    }
    pair_release(&p);
}

/* Wherever a merge of the old segments is. */
TEST(install_beside_a_merge)
{
    for (int steps = 0; steps < 40 && !test_has_failed(); steps++) {
        struct pair p;
        REQUIRE(pair_init(&p, 8, 0));
        wdb_log_hold(wdb_store_log(p.follower.store), false);
        p.follower.model.value_size_max = 2000;
        for (int i = 0; i < 60; i++) {
            CHECK_EQ(store_model_step(&p.follower.model, p.follower.store,
                                      &p.follower.batch, 5),
                     0);
            commit_all(&p.follower);
            while (wdb_log_step(wdb_store_log(p.follower.store))) {
            }
        }
        for (int i = 0; i < steps; i++) {
            (void)wdb_store_step(p.follower.store);
        }
        wdb_log_hold(wdb_store_log(p.follower.store), true);
        write_image(&p);
        if (steps % 3 == 0) {
            /* It fails at the last moment: the merge goes on. */
            p.image.index += 1;
            CHECK_EQ(install(&p), WALKERDB_ECORRUPT);
            p.image.index -= 1;
            store_fixture_settle(&p.follower);
            store_fixture_check(&p.follower);
        }
        CHECK_EQ(install(&p), 0);
        take_model(&p);
        check_installed(&p);
        store_fixture_settle(&p.follower);
        go_on(&p.follower);
        pair_release(&p);
    }
}

/* Somebody is inside the epoch, with a value in hand, and somebody keeps the
 * order of keys. */
TEST(install_beside_readers)
{
    struct pair p;
    REQUIRE(pair_init(&p, 4, 90));
    struct wdb_store *store = p.follower.store;
    struct wdb_epoch *epoch = wdb_log_epoch(wdb_store_log(store));
    const int slot = wdb_epoch_enter(epoch);
    struct wdb_value value = {.segment = NULL};
    struct model_text text;
    uint8_t copy[4096];
    wdb_store_lock_all(store);
    for (uint32_t k = 0; k < MODEL_KEYS && value.segment == NULL; k++) {
        const struct wdb_slice key = store_model_key(k, &text);
        struct wdb_item item;
        if (wdb_store_find(store, wdb_store_database(store, 0),
                           wdb_store_hash(store, key), key, &item)) {
            CHECK_EQ(wdb_store_read_wait(store, &item, &value), 0);
        }
    }
    wdb_store_unlock_all(store);
    REQUIRE(value.segment != NULL);
    wdb_segment_acquire(value.segment);
    REQUIRE(value.record.value.size <= sizeof(copy));
    memcpy(copy, value.record.value.data, value.record.value.size);
    struct wdb_ordered_cursor cursor;
    wdb_ordered_cursor_init(&cursor, wdb_store_ordered(store));
    CHECK_EQ(wdb_ordered_seek_prefix(&cursor, wdb_slice(NULL, 0), false), 0);

    write_image(&p);
    CHECK_EQ(install(&p), 0);
    take_model(&p);
    check_installed(&p);
    store_fixture_settle(&p.follower);
    CHECK_MEM(copy, value.record.value.size, value.record.value.data,
              value.record.value.size);
    (void)!wdb_ordered_next(&cursor);
    wdb_ordered_cursor_release(&cursor);
    wdb_segment_drop(value.segment);
    wdb_epoch_exit(epoch, slot);
    store_fixture_settle(&p.follower);
    check_installed(&p);
    go_on(&p.follower);
    pair_release(&p);
}

struct touches {
    int all, others;
};

static void on_touch(void *context, enum wdb_touch_kind kind, uint32_t database,
                     uint64_t hash, struct wdb_slice key)
{
    struct touches *touches = context;
    (void)database;
    (void)hash;
    (void)key;
    touches->all += kind == WDB_TOUCH_ALL;
    touches->others += kind != WDB_TOUCH_ALL;
}

TEST(install_touches_what_is_watched)
{
    struct pair p;
    struct touches touches = {0};
    REQUIRE(pair_init(&p, 5, 20));
    wdb_store_close(p.follower.store);
    p.follower.options.on_touch = on_touch;
    p.follower.options.touch_context = &touches;
    REQUIRE(store_fixture_open(&p.follower));
    wdb_log_hold(wdb_store_log(p.follower.store), true);
    write_image(&p);
    CHECK_EQ(install(&p), 0);
    CHECK_EQ(touches.all, 1);
    CHECK_EQ(touches.others, 0);
    pair_release(&p);
}

struct progress {
    uint64_t calls, done, total, stop_at;
};

static int on_progress(void *context, uint64_t done, uint64_t total)
{
    struct progress *progress = context;
    progress->calls++;
    CHECK(done >= progress->done && done <= total);
    progress->done = done;
    progress->total = total;
    return progress->calls == progress->stop_at;
}

TEST(install_tells_how_far_it_is)
{
    struct pair p;
    struct progress progress = {.stop_at = 1};
    REQUIRE(pair_init(&p, 5, 20));
    write_image(&p);
    CHECK_EQ(wdb_store_install(p.follower.store, INCOMING, p.image.index,
                               p.image.term, wdb_slice(NULL, 0), on_progress,
                               &progress),
             WALKERDB_EABORTED);
    CHECK_EQ(progress.calls, 1);
    store_fixture_check(&p.follower);
    snapshot_image_remove(sim_env_base(p.follower.env), INCOMING);
    write_image(&p);
    progress = (struct progress){0};
    CHECK_EQ(wdb_store_install(p.follower.store, INCOMING, p.image.index,
                               p.image.term, wdb_slice(NULL, 0), on_progress,
                               &progress),
             0);
    CHECK(progress.calls > 2);
    CHECK_EQ(progress.done, progress.total);
    take_model(&p);
    store_fixture_check(&p.follower);
    pair_release(&p);
}

/* In two steps: the store goes on in between, and may change its mind. */
TEST(install_in_two_steps)
{
    for (uint64_t seed = 1; seed <= 8 && !test_has_failed(); seed++) {
        struct pair p;
        struct wdb_installation *installation;
        REQUIRE(pair_init(&p, seed, 40));
        struct wdb_store *store = p.follower.store;
        store_fixture_settle(&p.follower);
        const size_t files = segment_files(&p.follower);
        write_image(&p);
        REQUIRE_EQ(wdb_store_install_check(store, INCOMING, p.image.index,
                                           p.image.term, NULL, NULL,
                                           &installation),
                   0);
        wdb_log_hold(wdb_store_log(store), false);
        store_fixture_run(&p.follower, 10);
        CHECK_EQ(wdb_store_merge(store), 0);
        commit_all(&p.follower);
        store_fixture_check(&p.follower);
        if (seed % 2 == 0) {
            wdb_store_install_drop(installation);
            CHECK_EQ(wdb_store_merge(store), 0);
            store_fixture_settle(&p.follower);
            CHECK(segment_files(&p.follower) <= files + 4);
        } else {
            wdb_log_hold(wdb_store_log(store), true);
            CHECK_EQ(wdb_store_install_switch(installation,
                                              wdb_slice("what Raft knows", 16)),
                     0);
            take_model(&p);
            check_installed(&p);
        }
        go_on(&p.follower);
        pair_release(&p);
    }
}

/* Two nodes that count for themselves lead one after the other. */
TEST(objects_of_two_leaders)
{
    struct pair p;
    struct wdb_object_id a, b;
    REQUIRE(pair_init(&p, 2, 0));
    wdb_log_set_term(wdb_store_log(p.leader.store), 5);
    wdb_log_set_term(wdb_store_log(p.follower.store), 6);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(wdb_store_new_object(p.leader.store, &a), 0);
        CHECK_EQ(wdb_store_new_object(p.follower.store, &b), 0);
        CHECK_EQ(a.term, 5);
        CHECK_EQ(b.term, 6);
    }
    pair_release(&p);
}

/* What must not be done. */
TEST(install_refuses)
{
    struct pair p;
    REQUIRE(pair_init(&p, 2, 20));
    struct wdb_store *store = p.follower.store;
    struct wdb_log *log = wdb_store_log(store);
    CHECK_EQ(install(&p), WALKERDB_ECORRUPT); /* nothing is there */
    write_image(&p);
    CHECK_EQ(wdb_store_install(store, INCOMING, wdb_log_committed(log) - 1, 1,
                               wdb_slice(NULL, 0), NULL, NULL),
             WALKERDB_EINVALID);
    CHECK_EQ(wdb_store_install(store, INCOMING, p.image.index, 0,
                               wdb_slice(NULL, 0), NULL, NULL),
             WALKERDB_EINVALID);
    CHECK_EQ(wdb_store_install(store, INCOMING, p.image.index + 1, 1,
                               wdb_slice(NULL, 0), NULL, NULL),
             WALKERDB_ECORRUPT);
    store_fixture_check(&p.follower);
    /* Entries that are applied, but may yet be undone. */
    wdb_log_hold(log, false);
    store_fixture_run(&p.follower, 3);
    CHECK_EQ(wdb_log_flush(log), 0);
    wdb_log_hold(log, true);
    CHECK_EQ(install(&p), WALKERDB_EINVALID);
    commit_all(&p.follower);
    CHECK_EQ(install(&p), 0);
    take_model(&p);
    check_installed(&p);
    pair_release(&p);
}

/* --- threads ---------------------------------------------------------------
 */

struct bystander {
    struct wdb_store *store;
    atomic_bool stop;
    uint64_t turns;
};

/* What may go on while a snapshot is installed: statistics, and prefetching,
 * which holds no lock. */
static void *look_on(void *argument)
{
    struct bystander *b = argument;
    struct wdb_epoch *epoch = wdb_log_epoch(wdb_store_log(b->store));
    while (!atomic_load(&b->stop)) {
        struct wdb_store_stats stats;
        wdb_store_stats(b->store, &stats);
        const int slot = wdb_epoch_enter(epoch);
        const struct wdb_keydir *keydir =
            wdb_store_keydir(b->store, wdb_store_database(b->store, 0));
        for (uint32_t k = 0; k < MODEL_KEYS && keydir != NULL; k++) {
            struct model_text text;
            struct wdb_keydir_probe probe;
            const uint64_t hash =
                wdb_store_hash(b->store, store_model_key(k, &text));
            wdb_keydir_probe_bucket(keydir, hash, &probe);
            wdb_keydir_probe_entry(&probe);
            const wdb_position position = wdb_keydir_probe_position(&probe);
            if (position != 0) {
                (void)wdb_log_peek(wdb_store_log(b->store), position);
            }
        }
        wdb_epoch_exit(epoch, slot);
        b->turns++;
    }
    return NULL;
}

static void *merge_on_demand(void *argument)
{
    struct bystander *b = argument;
    while (!atomic_load(&b->stop)) {
        const int rc = wdb_store_merge(b->store);
        CHECK(rc == 0 || rc == WALKERDB_EABORTED || rc == WALKERDB_EBUSY);
        b->turns++;
    }
    return NULL;
}

/* Write something that the model does not know. */
static void scribble(struct store_fixture *f, int number)
{
    static const uint8_t value[2000];
    uint64_t index;
    const struct wdb_record record = {
        .kind = WDB_RECORD_PUT,
        .database = wdb_store_database(f->store, 5),
        .key = wdb_slice(&number, sizeof(number)),
        .value = wdb_slice(value, sizeof(value)),
    };
    wdb_batch_clear(&f->batch);
    CHECK_EQ(wdb_batch_add(&f->batch, &record,
                           wdb_store_hash(f->store, record.key)),
             0);
    wdb_store_lock_all(f->store);
    CHECK_EQ(wdb_store_commit(f->store, &f->batch, &index), 0);
    wdb_store_unlock_all(f->store);
}

TEST(install_beside_threads)
{
    struct pair p;
    REQUIRE(pair_init(&p, 6, 0));
    wdb_store_close(p.follower.store);
    p.follower.options.log.background_thread = true;
    p.follower.options.load_threads = 2;
    REQUIRE(store_fixture_open(&p.follower));
    struct bystander looker = {.store = p.follower.store};
    struct bystander merger = {.store = p.follower.store};
    pthread_t threads[2];
    CHECK_EQ(pthread_create(&threads[0], NULL, look_on, &looker), 0);
    CHECK_EQ(pthread_create(&threads[1], NULL, merge_on_demand, &merger), 0);
    for (int round = 0; round < 12 && !test_has_failed(); round++) {
        wdb_log_hold(wdb_store_log(p.follower.store), true);
        write_image(&p);
        CHECK_EQ(install(&p), 0);
        snapshot_image_remove(sim_env_base(p.follower.env), INCOMING);
        CHECK(store_model_check(&p.leader.model, p.follower.store,
                                p.leader.model.state_count - 1));
        wdb_log_hold(wdb_store_log(p.follower.store), false);
        for (int i = 0; i < 30; i++) {
            scribble(&p.follower, i);
            commit_all(&p.follower);
        }
        /* The leader's log must end behind the follower's. */
        const uint64_t end =
            wdb_log_index_last(wdb_store_log(p.follower.store));
        while (wdb_log_index_last(wdb_store_log(p.leader.store)) < end) {
            store_fixture_run(&p.leader, 5);
        }
        snapshot_image_release(&p.image);
        CHECK_EQ(snapshot_image_take(&p.image, p.leader.store), 0);
    }
    atomic_store(&looker.stop, true);
    atomic_store(&merger.stop, true);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    CHECK(looker.turns > 0 && merger.turns > 0);
    pair_release(&p);
}

/* --- damage ----------------------------------------------------------------
 */

static void damage(struct snapshot_image *image, struct test_random *random)
{
    struct snapshot_file *file =
        &image->files[test_random_below(random, image->count)];
    switch (test_random_below(random, 8)) {
    case 0:
        file->size = test_random_below(random, file->size);
        break;
    case 1:
        file->name[0] = 'z'; /* missing */
        break;
    default:
        file->data[test_random_below(random, file->size)] ^=
            (uint8_t)(1 + test_random_below(random, 255));
        break;
    }
}

/* A damaged snapshot is refused, and nothing has changed; or the damage is where
 * nothing is. */
TEST(install_of_a_damaged_snapshot)
{
    struct test_random random = {test_number("WDB_TEST_SEED", 1)};
    const uint64_t rounds = 60 * test_number("WDB_TEST_ROUNDS", 1);
    uint64_t refused = 0;
    for (uint64_t i = 0; i < rounds && !test_has_failed(); i++) {
        struct pair p;
        REQUIRE(pair_init(&p, 1 + i % 6, 40));
        store_fixture_settle(&p.follower);
        const size_t files = segment_files(&p.follower);
        damage(&p.image, &random);
        write_image(&p);
        const int rc = install(&p);
        CHECK(rc == 0 || rc == WALKERDB_ECORRUPT || rc == WALKERDB_EVERSION);
        refused += rc != 0;
        if (rc != 0) {
            CHECK_EQ(wdb_log_failure(wdb_store_log(p.follower.store)), 0);
            store_fixture_settle(&p.follower);
            CHECK_EQ(segment_files(&p.follower), files);
        } else {
            take_model(&p);
        }
        store_fixture_check(&p.follower);
        go_on(&p.follower);
        pair_release(&p);
    }
    CHECK(refused > rounds / 3);
}

/* --- shortage --------------------------------------------------------------
 */

/* After a failure: the old state, and it goes on; or the new one, after a
 * restart. True if it was the old one. */
static bool check_failed(struct pair *p)
{
    struct store_fixture *f = &p->follower;
    if (wdb_log_failure(wdb_store_log(f->store)) == 0) {
        store_fixture_check(f);
        snapshot_image_remove(sim_env_base(f->env), INCOMING);
        return true;
    }
    wdb_store_abandon(f->store);
    f->store = NULL;
    if (!store_fixture_open(f)) {
        return false;
    }
    const uint64_t last = wdb_log_index_last(wdb_store_log(f->store));
    if (last == p->image.index) {
        take_model(p);
    }
    /* The manifest may not know what was committed. */
    for (uint64_t i = wdb_log_committed(wdb_store_log(f->store)) + 1; i <= last;
         i++) {
        CHECK_EQ(wdb_store_apply_entry(f->store, i), 0);
    }
    store_fixture_check(f);
    commit_all(f);
    return false;
}

TEST(install_without_memory)
{
    for (uint64_t seed = 3; seed <= 5 && !test_has_failed(); seed++) {
        bool again = true;
        for (uint64_t n = 1; again && !test_has_failed(); n++) {
            struct pair p;
            REQUIRE(pair_init(&p, seed, 60));
            write_image(&p);
            fault_alloc_arm(n);
            const int rc = install(&p);
            again = fault_alloc_disarm();
            CHECK(rc == 0 || rc == WALKERDB_ENOMEM || rc == WALKERDB_ENOSPACE);
            if (rc == 0) {
                take_model(&p);
                check_installed(&p);
            } else if (check_failed(&p)) {
                write_image(&p);
                sim_env_advance_ms(p.follower.env, 20000);
                CHECK_EQ(install(&p), 0);
                take_model(&p);
                check_installed(&p);
            }
            store_fixture_settle(&p.follower);
            pair_release(&p);
        }
    }
}

static void install_with_failing_file(uint64_t seed, int error)
{
    bool again = true;
    for (uint64_t n = 1; again && !test_has_failed(); n++) {
        struct pair p;
        REQUIRE(pair_init(&p, seed, 60));
        write_image(&p);
        sim_env_fail(p.follower.env, (struct sim_fault){.op = SIM_OP_ANY,
                                                        .nth = n,
                                                        .error = error});
        const int rc = install(&p);
        again = sim_env_clear_faults(p.follower.env) > 0;
        CHECK(rc == 0 || again);
        if (rc == 0) {
            take_model(&p);
            check_installed(&p);
        } else if (check_failed(&p)) {
            write_image(&p);
            sim_env_advance_ms(p.follower.env, 20000);
            CHECK_EQ(install(&p), 0);
            take_model(&p);
            check_installed(&p);
        }
        REQUIRE(store_fixture_reopen(&p.follower));
        store_fixture_check(&p.follower);
        pair_release(&p);
    }
}

TEST(install_with_failing_files)
{
    for (uint64_t seed = 3; seed <= 4; seed++) {
        install_with_failing_file(seed, WALKERDB_EIO);
        install_with_failing_file(seed, WALKERDB_ENOSPACE);
    }
}
