/* test_api.c - walkerdb.h over the real file system. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/test.h"
#include "walkerdb.h"

static walkerdb *open_in(const char *directory, walkerdb_options *options)
{
    walkerdb *db = NULL;
    char *message = NULL;
    int code = walkerdb_open(directory, options, &db, &message);
    if (code != 0) {
        fprintf(stderr, "open: %s\n", message == NULL ? "" : message);
        walkerdb_free(message);
    }
    CHECK_EQ(code, 0);
    return db;
}

static void small_options(walkerdb_options *options)
{
    walkerdb_options_init(options);
    options->segment_size = 256 << 10;
    options->merge = false;
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int put_text(walkerdb *db, const char *key, const char *value)
{
    return walkerdb_put(db, key, strlen(key), value, strlen(value));
}

/* True if the key's value is this text; NULL: the key is absent. */
static bool has_text(walkerdb *db, const char *key, const char *value)
{
    void *data = NULL;
    size_t size = 0;
    int code = walkerdb_get(db, key, strlen(key), &data, &size);
    if (value == NULL) {
        return code == WALKERDB_ENOTFOUND;
    }
    bool same =
        code == 0 && size == strlen(value) && memcmp(data, value, size) == 0;
    walkerdb_free(data);
    return same;
}

/* What is put is got, overwritten and deleted, also after a restart. */
TEST(api_put_get_delete_reopen)
{
    const char *dir = test_tmpdir();
    walkerdb *db = open_in(dir, NULL);
    CHECK(has_text(db, "a", NULL));
    CHECK_EQ(put_text(db, "a", "one"), 0);
    CHECK_EQ(put_text(db, "b", ""), 0);
    CHECK_EQ(walkerdb_put(db, "", 0, "empty key", 9), 0);
    CHECK_EQ(put_text(db, "a", "two"), 0);
    CHECK(has_text(db, "a", "two") && has_text(db, "b", ""));
    CHECK(has_text(db, "", "empty key"));
    CHECK_EQ(walkerdb_delete(db, "b", 1), 0);
    CHECK_EQ(walkerdb_delete(db, "b", 1), WALKERDB_ENOTFOUND);
    CHECK_EQ(walkerdb_exists(db, "a", 1), 0);
    walkerdb_close(db);
    db = open_in(dir, NULL);
    CHECK(has_text(db, "a", "two") && has_text(db, "b", NULL));
    CHECK(has_text(db, "", "empty key"));
    walkerdb_stats stats = {.struct_size = sizeof(stats)};
    CHECK_EQ(walkerdb_get_stats(db, &stats), 0);
    CHECK_EQ(stats.key_count, 2);
    walkerdb_close(db);
}

/* A second process (here: a second handle) is kept out, and told by whom. */
TEST(api_lock_names_the_holder)
{
    const char *dir = test_tmpdir();
    walkerdb *db = open_in(dir, NULL);
    walkerdb *second = NULL;
    char *message = NULL;
    CHECK_EQ(walkerdb_open(dir, NULL, &second, &message), WALKERDB_ELOCKED);
    char pid[32];
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    CHECK(message != NULL && strstr(message, pid) != NULL);
    walkerdb_free(message);
    walkerdb_close(db);
}

/* An expired key is gone for every kind of look, and stays gone. */
TEST(api_expiry)
{
    const char *dir = test_tmpdir();
    walkerdb *db = open_in(dir, NULL);
    uint64_t expiry = 0;
    CHECK_EQ(walkerdb_put_expiring(db, "old", 3, "x", 1, now_ms() - 1), 0);
    CHECK_EQ(walkerdb_put_expiring(db, "new", 3, "x", 1, now_ms() + 60000), 0);
    CHECK(has_text(db, "old", NULL) && has_text(db, "new", "x"));
    CHECK_EQ(walkerdb_exists(db, "old", 3), WALKERDB_ENOTFOUND);
    CHECK_EQ(walkerdb_expiry(db, "new", 3, &expiry), 0);
    CHECK(expiry > now_ms());
    CHECK_EQ(walkerdb_compare_and_set(db, "new", 3, "x", 1, "y", 1), 0);
    uint64_t kept = 0;
    CHECK_EQ(walkerdb_expiry(db, "new", 3, &kept), 0);
    CHECK_EQ(kept, expiry);
    walkerdb_close(db);
    db = open_in(dir, NULL);
    CHECK(has_text(db, "old", NULL) && has_text(db, "new", "y"));
    walkerdb_close(db);
}

/* Compare-and-set writes exactly if the value is the expected one. */
TEST(api_compare_and_set)
{
    walkerdb *db = open_in(test_tmpdir(), NULL);
    CHECK_EQ(walkerdb_compare_and_set(db, "k", 1, "x", 1, "y", 1),
             WALKERDB_EMISMATCH);
    CHECK_EQ(walkerdb_compare_and_set(db, "k", 1, NULL, 0, "1", 1), 0);
    CHECK_EQ(walkerdb_compare_and_set(db, "k", 1, NULL, 0, "2", 1),
             WALKERDB_EMISMATCH);
    CHECK_EQ(walkerdb_compare_and_set(db, "k", 1, "1", 1, "2", 1), 0);
    CHECK(has_text(db, "k", "2"));
    CHECK_EQ(walkerdb_compare_and_set(db, "k", 1, "2", 1, NULL, 0), 0);
    CHECK(has_text(db, "k", NULL));
    walkerdb_close(db);
}

/* A batch is there whole after its commit, and not at all before. */
TEST(api_batch)
{
    const char *dir = test_tmpdir();
    walkerdb *db = open_in(dir, NULL);
    walkerdb_batch *batch = NULL;
    CHECK_EQ(walkerdb_batch_new(db, &batch), 0);
    CHECK_EQ(put_text(db, "gone", "x"), 0);
    for (int i = 0; i < 1000; i++) {
        char key[16];
        int size = snprintf(key, sizeof(key), "key%d", i);
        CHECK_EQ(walkerdb_batch_put(batch, key, (size_t)size, key, (size_t)size,
                                    0),
                 0);
    }
    CHECK_EQ(walkerdb_batch_delete(batch, "gone", 4), 0);
    CHECK_EQ(walkerdb_batch_put(batch, "twice", 5, "1", 1, 0), 0);
    CHECK_EQ(walkerdb_batch_put(batch, "twice", 5, "2", 1, 0), 0);
    CHECK(has_text(db, "key7", NULL) && has_text(db, "gone", "x"));
    CHECK_EQ(walkerdb_batch_commit(batch, true), 0);
    CHECK_EQ(walkerdb_batch_count(batch), 0);
    CHECK(has_text(db, "key999", "key999") && has_text(db, "gone", NULL));
    CHECK(has_text(db, "twice", "2"));
    walkerdb_batch_free(batch);
    walkerdb_close(db);
    db = open_in(dir, NULL);
    CHECK(has_text(db, "key999", "key999") && has_text(db, "gone", NULL));
    CHECK(has_text(db, "twice", "2"));
    walkerdb_close(db);
}

struct seen {
    unsigned char times[5000];
    int others;
};

static int count_key(void *context, const void *key, size_t key_size,
                     const void *value, size_t value_size)
{
    struct seen *seen = context;
    char text[32] = "";
    memcpy(text, key, key_size < sizeof(text) - 1 ? key_size : 31);
    int number = -1;
    if (strchr(text, '-') == NULL && sscanf(text, "key%d", &number) == 1 &&
        number >= 0 && number < 5000) {
        seen->times[number]++;
    } else {
        seen->others++;
    }
    (void)value;
    (void)value_size;
    return 0;
}

struct growing {
    walkerdb *db;
    struct seen seen;
    int calls;
};

/* Writes and deletes other keys while the fold is under way. */
static int count_and_write(void *context, const void *key, size_t key_size,
                           const void *value, size_t value_size)
{
    struct growing *growing = context;
    char other[32];
    int size = snprintf(other, sizeof(other), "other%d", growing->calls++);
    CHECK_EQ(walkerdb_put(growing->db, other, (size_t)size, "x", 1), 0);
    if (growing->calls > 100) {
        size = snprintf(other, sizeof(other), "other%d", growing->calls - 100);
        int code = walkerdb_delete(growing->db, other, (size_t)size);
        CHECK(code == 0 || code == WALKERDB_ENOTFOUND);
    }
    if (growing->calls > 100000) {
        return 7; /* it would never end */
    }
    return count_key(&growing->seen, key, key_size, value, value_size);
}

/* A fold meets each key that stays exactly once, whatever comes and goes. */
TEST(api_fold_exactly_once)
{
    walkerdb *db = open_in(test_tmpdir(), NULL);
    for (int i = 0; i < 5000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key%d", i);
        CHECK_EQ(put_text(db, key, "value"), 0);
    }
    struct seen seen = {0};
    CHECK_EQ(walkerdb_fold(db, false, count_key, &seen), 0);
    struct growing growing = {.db = db};
    CHECK_EQ(walkerdb_fold(db, true, count_and_write, &growing), 0);
    int wrong = 0;
    for (int i = 0; i < 5000; i++) {
        wrong += seen.times[i] != 1;
        wrong += growing.seen.times[i] != 1;
    }
    CHECK_EQ(wrong, 0);
    walkerdb_close(db);
}

/* A value held in place survives overwriting, merge and deletion of its file.
 */
TEST(api_value_survives_merge)
{
    walkerdb_options options;
    small_options(&options);
    walkerdb *db = open_in(test_tmpdir(), &options);
    char value[1000];
    memset(value, 'v', sizeof(value));
    CHECK_EQ(walkerdb_put(db, "held", 4, value, sizeof(value)), 0);
    CHECK_EQ(walkerdb_sync(db), 0);
    walkerdb_value *held = NULL;
    const void *data = NULL;
    size_t size = 0;
    CHECK_EQ(walkerdb_value_acquire(db, "held", 4, &held, &data, &size), 0);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 500; i++) {
            char key[16];
            snprintf(key, sizeof(key), "key%d", i);
            CHECK_EQ(walkerdb_put(db, key, strlen(key), value, sizeof(value)),
                     0);
        }
    }
    CHECK_EQ(put_text(db, "held", "new"), 0);
    CHECK_EQ(walkerdb_merge(db), 0);
    walkerdb_stats stats = {.struct_size = sizeof(stats)};
    CHECK_EQ(walkerdb_get_stats(db, &stats), 0);
    CHECK_EQ(stats.key_count, 501);
    CHECK(stats.merge_count >= 1);
    CHECK_EQ(size, sizeof(value));
    CHECK(memcmp(data, value, sizeof(value)) == 0);
    walkerdb_value_release(held);
    CHECK(has_text(db, "held", "new"));
    walkerdb_close(db);
}

/* A backup opens, holds what was there, and nothing later. */
TEST(api_backup_opens)
{
    walkerdb_options options;
    small_options(&options);
    const char *dir = test_tmpdir();
    char data_dir[512], copy[512];
    snprintf(data_dir, sizeof(data_dir), "%s/data", dir);
    snprintf(copy, sizeof(copy), "%s/copy", dir);
    walkerdb *db = open_in(data_dir, &options);
    for (int i = 0; i < 2000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key%d", i);
        CHECK_EQ(walkerdb_put(db, key, strlen(key), dir, strlen(dir)), 0);
    }
    CHECK_EQ(walkerdb_backup(db, copy, NULL, NULL), 0);
    CHECK_EQ(walkerdb_backup(db, copy, NULL, NULL), WALKERDB_EEXISTS);
    CHECK_EQ(put_text(db, "later", "x"), 0);
    CHECK_EQ(put_text(db, "key0", "changed"), 0);
    walkerdb *other = open_in(copy, &options);
    CHECK(has_text(other, "key0", dir) && has_text(other, "key1999", dir));
    CHECK(has_text(other, "later", NULL));
    CHECK_EQ(put_text(other, "key1", "in the copy"), 0);
    walkerdb_close(other);
    CHECK(has_text(db, "key1", dir));
    walkerdb_close(db);
}

/* Sizes beyond the limits and wrong options are refused by their codes. */
TEST(api_limits)
{
    walkerdb_options options;
    walkerdb_options_init(&options);
    walkerdb *db = NULL;
    options.segment_size = 1;
    CHECK_EQ(walkerdb_open(test_tmpdir(), &options, &db, NULL),
             WALKERDB_EINVALID);
    walkerdb_options_init(&options);
    options.create = false;
    CHECK_EQ(walkerdb_open(test_tmpdir(), &options, &db, NULL),
             WALKERDB_ENOTFOUND);
    db = open_in(test_tmpdir(), NULL);
    char byte = 0;
    CHECK_EQ(walkerdb_put(db, &byte, WALKERDB_KEY_SIZE_MAX + 1, "", 0),
             WALKERDB_ETOOBIG);
    CHECK_EQ(walkerdb_put(db, &byte, 1, &byte, WALKERDB_VALUE_SIZE_MAX + 1),
             WALKERDB_ETOOBIG);
    CHECK_EQ(walkerdb_put(db, NULL, 1, "", 0), WALKERDB_EINVALID);
    walkerdb_close(db);
}

/* Read-only: reads work, writes are refused, no file changes. */
TEST(api_read_only)
{
    const char *dir = test_tmpdir();
    walkerdb *db = open_in(dir, NULL);
    CHECK_EQ(put_text(db, "a", "1"), 0);
    walkerdb_close(db);
    walkerdb_options options;
    walkerdb_options_init(&options);
    options.read_only = true;
    db = open_in(dir, &options);
    CHECK(has_text(db, "a", "1"));
    CHECK_EQ(put_text(db, "a", "2"), WALKERDB_EREADONLY);
    CHECK_EQ(walkerdb_delete(db, "a", 1), WALKERDB_EREADONLY);
    walkerdb_close(db);
}

/* A large value comes back whole, and from its place. */
TEST(api_large_value)
{
    walkerdb *db = open_in(test_tmpdir(), NULL);
    size_t size = (size_t)40 << 20;
    char *value = malloc(size);
    memset(value, 'x', size);
    value[size - 1] = 'y';
    CHECK_EQ(walkerdb_put(db, "big", 3, value, size), 0);
    void *data = NULL;
    size_t got = 0;
    CHECK_EQ(walkerdb_get(db, "big", 3, &data, &got), 0);
    CHECK(got == size && memcmp(data, value, size) == 0);
    walkerdb_free(data);
    free(value);
    walkerdb_close(db);
}

static void fill_ordered(walkerdb *db)
{
    static const char *const keys[] = {"b1", "a", "b2", "b", "c", "b3", "ba"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        CHECK_EQ(put_text(db, keys[i], keys[i]), 0);
    }
    CHECK_EQ(walkerdb_delete(db, "b2", 2), 0);
}

/* The keys that an iterator returns, joined by blanks. */
static void walk(walkerdb *db, const char *prefix, bool backwards,
                 const char *from, char *out, size_t size)
{
    walkerdb_iterator *iterator = NULL;
    size_t used = 0;
    CHECK_EQ(walkerdb_iterator_new(db, prefix, strlen(prefix), backwards,
                                   &iterator),
             0);
    out[0] = '\0';
    int code = from == NULL
                   ? walkerdb_iterator_first(iterator)
                   : walkerdb_iterator_seek(iterator, from, strlen(from));
    for (; code == 0; code = walkerdb_iterator_next(iterator)) {
        const void *key, *value;
        size_t key_size, value_size;
        walkerdb_iterator_key(iterator, &key, &key_size);
        CHECK_EQ(walkerdb_iterator_value(iterator, &value, &value_size), 0);
        CHECK(value_size == key_size && memcmp(key, value, key_size) == 0);
        used += (size_t)snprintf(out + used, size - used, "%.*s ",
                                 (int)key_size, (const char *)key);
    }
    CHECK_EQ(code, WALKERDB_ENOTFOUND);
    walkerdb_iterator_free(iterator);
}

/* Order, prefixes, seeks, both directions; also after a restart. */
TEST(api_iterator_order)
{
    walkerdb_options options;
    small_options(&options);
    options.index = WALKERDB_INDEX_ORDERED;
    const char *dir = test_tmpdir();
    char text[256];
    walkerdb *db = open_in(dir, &options);
    fill_ordered(db);
    for (int round = 0; round < 2; round++) {
        walk(db, "", false, NULL, text, sizeof(text));
        CHECK_STR(text, "a b b1 b3 ba c ");
        walk(db, "", true, NULL, text, sizeof(text));
        CHECK_STR(text, "c ba b3 b1 b a ");
        walk(db, "b", false, NULL, text, sizeof(text));
        CHECK_STR(text, "b b1 b3 ba ");
        walk(db, "b", true, NULL, text, sizeof(text));
        CHECK_STR(text, "ba b3 b1 b ");
        walk(db, "b", false, "b2", text, sizeof(text));
        CHECK_STR(text, "b3 ba ");
        walk(db, "b", true, "b2", text, sizeof(text));
        CHECK_STR(text, "b1 b ");
        walk(db, "b", false, "a", text, sizeof(text));
        CHECK_STR(text, "b b1 b3 ba ");
        walk(db, "b", true, "c", text, sizeof(text));
        CHECK_STR(text, "ba b3 b1 b ");
        walk(db, "b", false, "c", text, sizeof(text));
        CHECK_STR(text, "");
        walk(db, "x", false, NULL, text, sizeof(text));
        CHECK_STR(text, "");
        walkerdb_close(db);
        db = open_in(dir, &options);
    }
    walkerdb_close(db);
}

/* What is there all the time comes exactly once while others come and go. */
TEST(api_iterator_while_writing)
{
    walkerdb_options options;
    small_options(&options);
    options.index = WALKERDB_INDEX_ORDERED;
    walkerdb *db = open_in(test_tmpdir(), &options);
    walkerdb_iterator *iterator = NULL;
    struct seen seen = {0};
    for (int i = 0; i < 5000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key%d", i);
        CHECK_EQ(put_text(db, key, "value"), 0);
    }
    CHECK_EQ(walkerdb_iterator_new(db, NULL, 0, false, &iterator), 0);
    int steps = 0;
    for (int code = walkerdb_iterator_first(iterator);
         code == 0 && steps < 99999;
         code = walkerdb_iterator_next(iterator), steps++) {
        const void *key;
        size_t key_size;
        char other[32];
        walkerdb_iterator_key(iterator, &key, &key_size);
        count_key(&seen, key, key_size, NULL, 0);
        snprintf(other, sizeof(other), "key%d-other", steps * 7 % 5000);
        CHECK_EQ(put_text(db, other, "x"), 0);
        snprintf(other, sizeof(other), "key%d-other", steps * 3 % 5000);
        int gone = walkerdb_delete(db, other, strlen(other));
        CHECK(gone == 0 || gone == WALKERDB_ENOTFOUND);
        if (steps == 2000) {
            CHECK_EQ(walkerdb_merge(db), 0);
        }
    }
    walkerdb_iterator_free(iterator);
    int wrong = 0;
    for (int i = 0; i < 5000; i++) {
        wrong += seen.times[i] != 1;
    }
    CHECK_EQ(wrong, 0);
    CHECK(steps < 99999);
    walkerdb_close(db);
}

/* Without the ordered index there is no iterator, and that is said. */
TEST(api_iterator_needs_ordered)
{
    walkerdb *db = open_in(test_tmpdir(), NULL);
    walkerdb_iterator *iterator = NULL;
    CHECK_EQ(walkerdb_iterator_new(db, NULL, 0, false, &iterator),
             WALKERDB_EUNSUPPORTED);
    walkerdb_close(db);
}
