/* test_net_raft_loop.c - the raft thread's loop. Uses a thread: pthread_. */
#include <stdatomic.h>
#include <unistd.h>

#include "lib/test.h"
#include "net/raft_loop.h"

#define WAIT_MS 15000

struct counting {
    struct wdb_raft_loop *loop;
    _Atomic uint32_t runs, works, dones, posts;
    uint64_t next_ns;
};

static uint64_t count_run(void *context)
{
    struct counting *counting = context;
    counting->runs++;
    struct wdb_env *env = wdb_raft_loop_env(counting->loop);
    return counting->next_ns == 0
               ? UINT64_MAX
               : env->ops->monotonic_ns(env) + counting->next_ns;
}

static void count_work(void *arg)
{
    struct counting *counting = arg;
    usleep(20000);
    counting->works++;
}

static void count_done(void *arg)
{
    struct counting *counting = arg;
    CHECK(wdb_raft_loop_is_here(counting->loop));
    counting->dones++;
}

static void count_post(void *arg)
{
    struct counting *counting = arg;
    counting->posts++;
}

static void start_job(void *arg)
{
    struct counting *counting = arg;
    wdb_raft_loop_run_off_loop(counting->loop, count_work, count_done, arg);
}

/* Turns come when they are asked for, and when run said; what was posted and the
 * jobs are done, also at the end. */
TEST(loop)
{
    struct counting counting = {.next_ns = 0};
    struct wdb_env *env = NULL;
    REQUIRE_EQ(wdb_env_posix_new(&env), 0);
    struct wdb_raft_loop_options options = {.env = env,
                                            .run = count_run,
                                            .context = &counting};
    REQUIRE_EQ(wdb_raft_loop_new(&options, &counting.loop), 0);
    CHECK_EQ(wdb_raft_loop_post(counting.loop, count_post, &counting), 0);
    wdb_raft_loop_wake(counting.loop);
    REQUIRE_EQ(wdb_raft_loop_start(counting.loop), 0);
    CHECK(!wdb_raft_loop_is_here(counting.loop));
    wdb_raft_loop_call(counting.loop, start_job, &counting);
    CHECK_EQ(counting.posts, 1);
    usleep(50000);
    CHECK_EQ(counting.dones, 1);
    uint32_t runs = counting.runs;
    CHECK(runs >= 1 && runs < 10);
    usleep(50000);
    CHECK_EQ(counting.runs, runs); /* nobody asked */
    wdb_raft_loop_wake(counting.loop);
    for (int i = 0; i < WAIT_MS && counting.runs == runs; i++) {
        usleep(1000);
    }
    CHECK(counting.runs > runs);
    for (int i = 0; i < 10; i++) {
        wdb_raft_loop_call(counting.loop, start_job, &counting);
    }
    wdb_raft_loop_stop(counting.loop);
    CHECK_EQ(counting.works, 11);
    CHECK_EQ(counting.dones, 11);
    CHECK_EQ(wdb_raft_loop_post(counting.loop, count_post, &counting), 0);
    CHECK_EQ(counting.posts, 2);
    wdb_raft_loop_wake(counting.loop);
    wdb_raft_loop_free(counting.loop);
    wdb_env_posix_free(env);
}

/* A time that run returned is kept, without anybody waking. */
TEST(loop_timer)
{
    struct counting counting = {.next_ns = 5000000};
    struct wdb_env *env = NULL;
    REQUIRE_EQ(wdb_env_posix_new(&env), 0);
    struct wdb_raft_loop_options options = {.env = env,
                                            .run = count_run,
                                            .context = &counting};
    REQUIRE_EQ(wdb_raft_loop_new(&options, &counting.loop), 0);
    REQUIRE_EQ(wdb_raft_loop_start(counting.loop), 0);
    usleep(200000);
    wdb_raft_loop_stop(counting.loop);
    CHECK(counting.runs >= 5 && counting.runs <= 45);
    wdb_raft_loop_free(counting.loop);
    wdb_env_posix_free(env);
}
