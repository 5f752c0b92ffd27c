/* test_log_residency.c - answers about pages are remembered, and forgotten. */
#include <pthread.h>
#include <stdlib.h>

#include "lib/fault_alloc.h"
#include "lib/test.h"
#include "log/residency.h"
#include "walkerdb.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define S   UINT64_C(1000000000)

/* An environment whose page cache is a table, and whose clock stands still. */
struct fake {
    struct wdb_env env;
    struct wdb_env_ops ops;
    unsigned char cached[65536]; /* a byte per page */
    _Atomic uint64_t asked;
    _Atomic uint64_t size_last;
    _Atomic uint64_t now_ns;
    bool fails;
};

/* Never touched: only addresses are computed from it. */
static const uint8_t *const map = (const uint8_t *)(uintptr_t)0x100000000;

static int fake_resident(struct wdb_env *env, const void *data, size_t size,
                         unsigned char *resident)
{
    struct fake *fake = (struct fake *)env;
    fake->asked++;
    fake->size_last = size;
    if (fake->fails) {
        return WALKERDB_EIO;
    }
    const size_t page = (size_t)((const uint8_t *)data - map) / 4096;
    for (size_t i = 0; i * 4096 < size; i++) {
        resident[i] = fake->cached[page + i];
    }
    return 0;
}

static uint64_t fake_monotonic(struct wdb_env *env)
{
    return ((struct fake *)env)->now_ns;
}

struct setup {
    struct fake *fake;
    struct wdb_residency_clock clock;
    struct wdb_residency *residency;
};

static void set_up(struct setup *s, uint64_t size)
{
    s->fake = calloc(1, sizeof(*s->fake));
    if (s->fake == NULL) {
        abort();
    }
    s->fake->ops.resident = fake_resident;
    s->fake->ops.monotonic_ns = fake_monotonic;
    s->fake->env.ops = &s->fake->ops;
    s->fake->now_ns = 100 * S;
    wdb_residency_clock_init(&s->clock, s->fake->now_ns);
    if (wdb_residency_new(&s->clock, size, &s->residency) != 0) {
        abort();
    }
}

static void tear_down(struct setup *s)
{
    wdb_residency_free(s->residency);
    free(s->fake);
}

static bool check(struct setup *s, uint64_t offset, uint64_t size)
{
    return wdb_residency_check(s->residency, &s->fake->env, map, offset, size);
}

static bool tick(struct setup *s, uint64_t add_ns)
{
    s->fake->now_ns += add_ns;
    return wdb_residency_clock_tick(&s->clock, s->fake->now_ns);
}

/* One question answers for all resident pages of a window. */
TEST(one_question_a_window)
{
    struct setup s;
    set_up(&s, 1 * MIB);
    memset(s.fake->cached, 1, 64);
    CHECK(check(&s, 0, 10));
    CHECK_EQ(s.fake->asked, 1);
    CHECK_EQ(s.fake->size_last, 256 * KIB);
    CHECK(check(&s, 255 * KIB, 1 * KIB));
    CHECK(check(&s, 0, 256 * KIB));
    CHECK_EQ(s.fake->asked, 1);
    CHECK(!check(&s, 0, 256 * KIB + 1));
    CHECK_EQ(s.fake->asked, 2);
    tear_down(&s);
}

/* A cold page is asked for again each time, until it is marked. */
TEST(cold_pages)
{
    struct setup s;
    set_up(&s, 1 * MIB);
    memset(s.fake->cached, 1, 64);
    s.fake->cached[5] = 0;
    CHECK(check(&s, 4 * 4096, 4096));
    CHECK(!check(&s, 4 * 4096, 4097));
    CHECK(!check(&s, 5 * 4096 + 4095, 1));
    CHECK(check(&s, 6 * 4096, 1));
    CHECK_EQ(s.fake->asked, 3);
    wdb_residency_mark(s.residency, 5 * 4096 + 100, 1);
    CHECK(check(&s, 5 * 4096, 4096));
    CHECK_EQ(s.fake->asked, 3);
    s.fake->cached[5] = 1;
    CHECK(check(&s, 0, 256 * KIB));
    CHECK_EQ(s.fake->asked, 3);
    tear_down(&s);
}

/* An answer lives for the rest of its generation and for the next one. */
TEST(generations)
{
    struct setup s;
    set_up(&s, 1 * MIB);
    memset(s.fake->cached, 1, 64);
    CHECK(check(&s, 0, 1));
    CHECK(!tick(&s, S - 1));
    CHECK(tick(&s, 1));
    CHECK(check(&s, 0, 1));
    CHECK_EQ(s.fake->asked, 1);
    CHECK(tick(&s, 2 * S));
    s.fake->cached[0] = 0;
    CHECK(!check(&s, 0, 1));
    CHECK_EQ(s.fake->asked, 2);
    tear_down(&s);
}

/* A segment that was idle for several generations has forgotten all. */
TEST(idle_segment)
{
    struct setup s;
    set_up(&s, 1 * MIB);
    wdb_residency_mark(s.residency, 0, 1 * MIB);
    for (int i = 0; i < 5; i++) {
        CHECK(tick(&s, 16 * S));
    }
    CHECK(!check(&s, 0, 1));
    CHECK_EQ(s.fake->asked, 1);
    tear_down(&s);
}

/* Without cold reads the interval doubles up to 16 s; one brings it back. */
TEST(interval)
{
    struct setup s;
    set_up(&s, 1 * MIB);
    for (uint64_t interval_ns = S; interval_ns < 16 * S; interval_ns *= 2) {
        CHECK(!tick(&s, interval_ns - 1));
        CHECK(tick(&s, 1));
    }
    CHECK(tick(&s, 16 * S));
    CHECK(!tick(&s, 16 * S - 1));
    CHECK(tick(&s, 1));
    CHECK(!tick(&s, 2 * S));
    CHECK(!check(&s, 0, 1)); /* cold: ends the generation itself */
    CHECK(!tick(&s, S - 1));
    CHECK(tick(&s, 1));
    CHECK(!tick(&s, S));
    CHECK(tick(&s, S));
    tear_down(&s);
}

/* Remember 16 windows but for one page of each; `gone` pages of each go; the
 * page that was never there is read, so all are asked for again. */
static void remember_and_judge(struct setup *s, int gone)
{
    memset(s->fake->cached, 1, 1024);
    for (size_t w = 0; w < 16; w++) {
        s->fake->cached[w * 64 + 63] = 0;
        CHECK(check(s, w * 256 * KIB, 1));
        memset(&s->fake->cached[w * 64 + 1], 0, (size_t)gone);
        CHECK(!check(s, w * 256 * KIB + 63 * 4096, 1));
    }
}

/* If more than a few of the remembered pages went, the interval is halved. */
TEST(outdated_answers)
{
    struct setup s;
    set_up(&s, 4 * MIB);
    remember_and_judge(&s, 7);
    CHECK(!tick(&s, S - 1));
    CHECK(tick(&s, 1));
    CHECK(!tick(&s, S / 2 - 1));
    CHECK(tick(&s, 1));
    tear_down(&s);
    set_up(&s, 4 * MIB);
    remember_and_judge(&s, 0);
    CHECK(tick(&s, S));
    CHECK(!tick(&s, S - 1));
    CHECK(tick(&s, 1));
    tear_down(&s);
}

/* What is behind the end, empty, or cannot be asked for is no obstacle. */
TEST(edges)
{
    struct setup s;
    set_up(&s, 300 * KIB);
    memset(s.fake->cached, 1, 75);
    CHECK(check(&s, 299 * KIB, 100 * MIB));
    CHECK_EQ(s.fake->size_last, 44 * KIB);
    CHECK(check(&s, 0, UINT64_MAX));
    CHECK_EQ(s.fake->asked, 2);
    CHECK(check(&s, 300 * KIB, 1));
    CHECK(check(&s, UINT64_MAX, 1));
    CHECK(check(&s, 0, 0));
    wdb_residency_mark(s.residency, 300 * KIB, UINT64_MAX);
    wdb_residency_mark(s.residency, 299 * KIB, UINT64_MAX);
    wdb_residency_mark(s.residency, 0, 0);
    CHECK_EQ(s.fake->asked, 2);
    tear_down(&s);

    set_up(&s, 1 * MIB);
    s.fake->fails = true;
    CHECK(check(&s, 0, 1 * MIB));
    tear_down(&s);
    wdb_residency_free(NULL);
}

/* Large mappings: windows of all pieces are told apart. */
TEST(many_pieces)
{
    struct setup s;
    set_up(&s, 256 * MIB);
    for (uint64_t at = 0; at < 256 * MIB; at += 16 * MIB) {
        s.fake->cached[at / 4096] = 1;
        CHECK(check(&s, at, 1));
        CHECK(!check(&s, at + 4096, 1));
    }
    for (uint64_t at = 0; at < 256 * MIB; at += 16 * MIB) {
        s.fake->cached[at / 4096] = 0;
        CHECK(check(&s, at, 1));
    }
    tear_down(&s);
}

/* Without memory for bits everything counts as resident. */
TEST(no_memory)
{
    struct setup s;
    set_up(&s, 1 * MIB);
    fault_alloc_arm(1);
    CHECK(check(&s, 0, 1));
    CHECK(fault_alloc_disarm());
    fault_alloc_arm(1);
    wdb_residency_mark(s.residency, 0, 1);
    CHECK(fault_alloc_disarm());
    CHECK(!check(&s, 0, 1));
    struct wdb_residency *none;
    fault_alloc_arm(1);
    CHECK_EQ(wdb_residency_new(&s.clock, 1, &none), WALKERDB_ENOMEM);
    CHECK(fault_alloc_disarm());
    tear_down(&s);
}

static void *hammer(void *context)
{
    struct setup *s = context;
    struct test_random random = {s->fake->asked++};
    for (int i = 0; i < 20000; i++) {
        const uint64_t at = test_random_below(&random, 256 * MIB);
        if (i % 50 == 0) {
            s->fake->now_ns += S / 20;
            wdb_residency_clock_tick(&s->clock, s->fake->now_ns);
        }
        if (i % 3 == 0) {
            wdb_residency_mark(s->residency, at, 8192);
        } else {
            (void)wdb_residency_check(s->residency, &s->fake->env, map, at,
                                      8192);
        }
    }
    return NULL;
}

/* Several threads at once do no harm (TSan watches). */
TEST(threads)
{
    struct setup s;
    pthread_t threads[4];
    set_up(&s, 256 * MIB);
    s.fake->fails = true; /* no plain memory in the fake is written */
    for (size_t i = 0; i < 4; i++) {
        REQUIRE_EQ(pthread_create(&threads[i], NULL, hammer, &s), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    tear_down(&s);
}

/* Against the real system: what was just written is resident. */
TEST(real_mapping)
{
    struct wdb_env *env;
    struct wdb_file *file;
    struct wdb_residency_clock clock;
    struct wdb_residency *residency;
    const void *mapping;
    static const uint8_t block[8192] = "x";
    REQUIRE_EQ(wdb_env_posix_new(&env), 0);
    REQUIRE_EQ(env->ops->open(env, test_path(test_tmpdir(), "file"),
                              WDB_OPEN_CREATE, &file),
               0);
    REQUIRE_EQ(wdb_env_pwrite(file, block, sizeof(block), 0), 0);
    REQUIRE_EQ(env->ops->map(file, sizeof(block), &mapping), 0);
    wdb_residency_clock_init(&clock, env->ops->monotonic_ns(env));
    REQUIRE_EQ(wdb_residency_new(&clock, sizeof(block), &residency), 0);
    CHECK(wdb_residency_check(residency, env, mapping, 0, sizeof(block)));
    wdb_residency_free(residency);
    env->ops->unmap(env, mapping, sizeof(block));
    env->ops->close(file);
    wdb_env_posix_free(env);
}
