/* test_store_flip.c - a flipped bit in any file is noticed, or was in nothing
 * that matters: a wrong value is never served. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/test.h"
#include "sim/store_fixture.h"
#include "walkerdb.h"

#define FILES_MAX 64

struct files {
    char names[FILES_MAX][64];
    size_t count;
};

static int note_name(void *context, const char *name)
{
    struct files *files = context;
    if (files->count < FILES_MAX && strcmp(name, "LOCK") != 0) {
        snprintf(files->names[files->count++], 64, "%s", name);
    }
    return 0;
}

struct tally {
    uint64_t refused, noticed, harmless;
};

/* Read every record that the keydir knows; false on a damaged one. */
static bool read_all(struct wdb_store *store)
{
    bool sound = true;
    struct wdb_epoch *epoch = wdb_log_epoch(wdb_store_log(store));
    const int slot = wdb_epoch_enter(epoch);
    wdb_store_lock_all(store);
    for (uint32_t d = 0; d < MODEL_DATABASES; d++) {
        for (uint32_t k = 0; k < MODEL_KEYS; k++) {
            struct model_text text;
            struct wdb_item item;
            struct wdb_value value;
            const struct wdb_slice key = store_model_key(k, &text);
            if (wdb_store_find(store, wdb_store_database(store, d),
                               wdb_store_hash(store, key), key, &item)) {
                const int rc = wdb_store_read_wait(store, &item, &value);
                CHECK(rc == 0 || rc == WALKERDB_ECORRUPT);
                sound = sound && rc == 0;
            }
        }
    }
    wdb_store_unlock_all(store);
    wdb_epoch_exit(epoch, slot);
    return sound;
}

static void flip_one(struct store_fixture *f, const char *name, uint64_t offset,
                     unsigned bit, struct tally *tally)
{
    char path[128];
    snprintf(path, sizeof(path), "/db/%s", name);
    struct sim_disk *disk = sim_disk_clone(f->disk);
    CHECK_EQ(sim_disk_flip_bit(disk, path, offset, bit), 0);
    struct sim_env *env = sim_env_new(disk, offset, NULL);
    struct wdb_store_options options = f->options;
    struct wdb_store *store;
    options.log.env = sim_env_base(env);
    const int rc = wdb_store_open(&options, &store, NULL);
    if (rc != 0) {
        CHECK(rc == WALKERDB_ECORRUPT || rc == WALKERDB_EVERSION);
        tally->refused++;
    } else {
        if (!read_all(store)) {
            tally->noticed++;
        } else {
            const bool same =
                store_model_check(&f->model, store, f->model.state_count - 1);
            CHECK(same);
            tally->harmless++;
            if (!same) {
                printf("  %s, offset %llu, bit %u\n", name,
                       (unsigned long long)offset, bit);
            }
        }
        wdb_store_abandon(store);
    }
    sim_env_free(env);
    sim_disk_free(disk);
}

/* Elements are few and read by the comparison, so a damaged one would show as a
 * difference: leave them out here. */
TEST(flipped_bits_are_noticed)
{
    struct tally tally = {0, 0, 0};
    struct test_random random = {test_number("WDB_TEST_SEED", 1)};
    for (uint64_t seed = 1; seed <= 3 && !test_has_failed(); seed++) {
        struct store_fixture f;
        struct files files = {.count = 0};
        store_fixture_init(&f, seed);
        f.model.has_objects = false;
        f.options.hints = seed != 2;
        REQUIRE(store_fixture_open(&f));
        store_fixture_run(&f, 120);
        CHECK_EQ(wdb_store_merge(f.store), 0);
        store_fixture_run(&f, 60);
        CHECK_EQ(wdb_log_roll(wdb_store_log(f.store)), 0);
        store_fixture_settle(&f);
        store_fixture_run(&f, 30);
        wdb_store_close(f.store);
        f.store = NULL;
        struct wdb_env *env = sim_env_base(f.env);
        CHECK_EQ(env->ops->list(env, "/db", note_name, &files), 0);
        CHECK(files.count >= 4);
        const uint64_t rounds = 250 * test_number("WDB_TEST_ROUNDS", 1);
        for (uint64_t i = 0; i < rounds && !test_has_failed(); i++) {
            const char *name =
                files.names[test_random_below(&random, files.count)];
            char path[128];
            void *data;
            size_t size;
            snprintf(path, sizeof(path), "/db/%s", name);
            REQUIRE_EQ(wdb_env_read_file(env, path, 1 << 20, &data, &size), 0);
            free(data);
            flip_one(&f, name, test_random_below(&random, size),
                     (unsigned)test_random_below(&random, 8), &tally);
        }
        REQUIRE(store_fixture_open(&f));
        store_fixture_check(&f);
        store_fixture_release(&f);
    }
    printf("  %llu refused, %llu noticed by a read, %llu in nothing that "
           "matters\n",
           (unsigned long long)tally.refused, (unsigned long long)tally.noticed,
           (unsigned long long)tally.harmless);
    CHECK(tally.refused > 0 && tally.noticed > 0);
}
