/*
 * test_proxy_ends.c - both ends of forwarding with real sessions and databases:
 * clients of a follower, a leader (or two, one after the other) that executes,
 * bytes carried over by hand.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/time.h"
#include "lib/cmd_cluster.h"
#include "lib/fault_alloc.h"
#include "proxy/acceptor.h"
#include "proxy/forward.h"
#include "walkerdb.h"

#define LEADERS 2

/* A node that may lead: id 2 and 3. */
struct leader {
    struct cmd_world *world;
    struct cmd_cluster *cluster;
    struct cmd_client *client; /* one of its own */
    struct wdb_executor *executor;
    struct wdb_acceptor_hub *hub;
    struct wdb_acceptor *acceptor;
    struct wdb_upstream *upstream; /* at the follower; NULL: not connected */
    bool is_up;
};

static struct cmd_world *world; /* of the follower */
static struct cmd_cluster *cluster;
static struct cmd_client *client, *other;
static struct wdb_forwarder forwarder;
static struct wdb_proxy *proxy;
static struct leader leaders[LEADERS];
static uint64_t now_ns;
static bool cut;  /* nothing comes through to the follower */
static bool deaf; /* nobody can be connected to */
/* This allocation fails in the leader's receiving, or sending. */
static uint64_t fail_receiving, fail_sending;
static uint32_t faults;

/* --- the connection ------------------------------------------------------------- */

static int link_connect(void *context, struct wdb_upstream *upstream,
                        const struct wdb_proxy_target *target, void **link_out)
{
    struct leader *leader = &leaders[target->node - 2];
    (void)context;
    if (deaf || leader->upstream != NULL ||
        wdb_acceptor_new(leader->hub, "10.0.0.1:8001", &leader->acceptor) !=
            0) {
        return -1;
    }
    leader->upstream = upstream;
    leader->is_up = false;
    *link_out = leader;
    return 0;
}

static void link_close(void *context, void *link)
{
    struct leader *leader = link;
    (void)context;
    wdb_acceptor_free(leader->acceptor);
    leader->upstream = NULL;
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

static void break_link(struct leader *leader)
{
    struct wdb_upstream *upstream = leader->upstream;
    link_close(NULL, leader);
    wdb_upstream_broken(upstream, now_ns);
}

static void begin_fault(uint64_t nth)
{
    if (nth > 0) {
        fault_alloc_arm(nth);
    }
}

static void end_fault(uint64_t *nth)
{
    if (*nth > 0 && fault_alloc_disarm()) {
        faults++;
        *nth = 0;
    }
}

/* Move what there is; in small pieces. */
static void to_leader(struct leader *leader)
{
    struct wdb_output *output = wdb_upstream_output(leader->upstream);
    struct iovec part;
    while (wdb_output_peek(output, &part, 1, 50000) == 1) {
        size_t room = 0;
        uint8_t *to = wdb_acceptor_room(leader->acceptor, &room);
        const size_t size = part.iov_len < room ? part.iov_len : room;
        memcpy(to, part.iov_base, size);
        wdb_upstream_handed(leader->upstream, size);
        wdb_output_consume(output, size);
        begin_fault(fail_receiving);
        const int rc = wdb_acceptor_received(leader->acceptor, size);
        end_fault(&fail_receiving);
        if (rc != 0) {
            CHECK_EQ(rc, WALKERDB_ENOMEM);
            break_link(leader);
            return;
        }
    }
}

static void to_follower(struct leader *leader)
{
    struct wdb_output *output = wdb_acceptor_output(leader->acceptor);
    struct iovec part;
    while (!cut && wdb_output_peek(output, &part, 1, 50000) == 1) {
        size_t room = 0;
        uint8_t *to = wdb_upstream_room(leader->upstream, &room);
        const size_t size = part.iov_len < room ? part.iov_len : room;
        memcpy(to, part.iov_base, size);
        wdb_output_consume(output, size);
        CHECK_EQ(wdb_upstream_received(leader->upstream, size, now_ns), 0);
    }
    (void)wdb_acceptor_sent(leader->acceptor);
}

static void look_at_clock(void)
{
    struct wdb_env *env = cmd_world_context(world)->env;
    now_ns = env->ops->monotonic_ns(env);
}

/* A turn of everybody. */
static void turn(void)
{
    cmd_world_advance_ms(world, 1);
    look_at_clock();
    (void)wdb_proxy_run(proxy, now_ns);
    for (uint32_t i = 0; i < LEADERS; i++) {
        struct leader *leader = &leaders[i];
        if (leader->upstream != NULL && !leader->is_up) {
            leader->is_up = true;
            wdb_upstream_up(leader->upstream, now_ns);
            (void)wdb_proxy_run(proxy, now_ns);
        }
        if (leader->upstream != NULL) {
            to_leader(leader);
        }
        /* A client's turn is one of the executor, with its jobs. */
        wdb_acceptor_hub_begin(leader->hub);
        CHECK_REPLY(leader->client, "PING", "+PONG");
        const struct wdb_gate gate = wdb_executor_gate(leader->executor);
        begin_fault(fail_sending);
        (void)wdb_acceptor_hub_send(leader->hub, gate);
        end_fault(&fail_sending);
        if (leader->upstream != NULL &&
            wdb_acceptor_output(leader->acceptor)->failed) {
            break_link(leader);
        }
        if (leader->upstream != NULL) {
            to_follower(leader);
        }
    }
    wdb_proxy_check(proxy);
}

static void turns(uint32_t count)
{
    while (count-- > 0) {
        turn();
    }
}

/* --- the world ----------------------------------------------------------------------- */

static void set_target(uint64_t node)
{
    const struct wdb_proxy_target target = {.node = node};
    cmd_cluster_follow(cluster, node);
    wdb_proxy_set_target(proxy, &target, now_ns);
}

static struct cmd_world *make_world(struct cmd_cluster **cluster_out)
{
    const struct cmd_world_options options = {.manual_commit = true};
    struct cmd_world *made = cmd_world_new(test_tmpdir(), &options);
    *cluster_out = cmd_cluster_new(made);
    cmd_world_set(made, "read-consistency", "leader");
    return made;
}

static void begin(void)
{
    cut = deaf = false;
    world = make_world(&cluster);
    look_at_clock();
    wdb_forwarder_init(&forwarder);
    cmd_world_context(world)->forward = &forwarder.hook;
    client = cmd_client_new(world);
    other = cmd_client_new(world);
    const struct wdb_proxy_options options = {
        .transport = &transport,
        .hold_ns = UINT64_C(900) * WDB_NS_PER_MS,
        .drain_ns = UINT64_C(250) * WDB_NS_PER_MS};
    REQUIRE_EQ(wdb_proxy_new(&options, &proxy), 0);
    REQUIRE_EQ(wdb_forwarder_add(&forwarder,
                                 cmd_client_session(client)->executor, proxy),
               0);
    for (uint32_t i = 0; i < LEADERS; i++) {
        struct leader *leader = &leaders[i];
        *leader = (struct leader){0};
        leader->world = make_world(&leader->cluster);
        struct wdb_context *context = cmd_world_context(leader->world);
        context->forward = &forwarder.hook;
        leader->client = cmd_client_new(leader->world);
        leader->executor = cmd_client_session(leader->client)->executor;
        const struct wdb_acceptor_hub_options hub_options = {
            .context = context, .executor = leader->executor};
        REQUIRE_EQ(wdb_acceptor_hub_new(&hub_options, &leader->hub), 0);
    }
    set_target(2);
    turns(2);
}

static void end(void)
{
    cmd_client_free(other);
    cmd_client_free(client);
    wdb_proxy_free(proxy);
    for (uint32_t i = 0; i < LEADERS; i++) {
        wdb_acceptor_hub_free(leaders[i].hub);
        cmd_client_free(leaders[i].client);
        cmd_cluster_free(leaders[i].cluster);
        cmd_world_free(leaders[i].world);
    }
    cmd_cluster_free(cluster);
    cmd_world_free(world);
}

static void commit(uint32_t i)
{
    cmd_cluster_commit(leaders[i].cluster);
    turns(2);
}

/* Send, let it be executed and committed by the first leader; the replies. */
static const char *ask(struct cmd_client *of, const char *line)
{
    static char text[1024];
    size_t size = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < 6; i++) {
        const char *more = cmd_send(of, i == 0 ? line : "");
        if (more[0] != '\0') {
            size += (size_t)snprintf(text + size, sizeof(text) - size, "%s%s",
                                     size == 0 ? "" : " | ", more);
        }
        turns(2);
        commit(0);
    }
    return text;
}

#define CHECK_ASK(client, line, reply)                                         \
    test_check_str(ask((client), (line)), (reply), __FILE__, __LINE__, (line))

/* --- tests ------------------------------------------------------------------------------ */

/* Replies come when the leader's gate lets them pass, in order, each to its own
 * client; what is local waits for what was forwarded before. */
TEST(forwards_in_order)
{
    begin();
    CHECK_REPLY(client, "SET a 1 ; GET a ; PING ; GET b ; ECHO x", "");
    CHECK_REPLY(other, "SET b 2 ; GET b", "");
    turns(3);
    CHECK_REPLY(client, "", "");
    commit(0);
    CHECK_REPLY(other, "", "+OK | $1 2");
    CHECK_REPLY(client, "", "+OK | $1 1 | +PONG");
    CHECK_ASK(client, "", "$1 2 | $1 x");
    CHECK_REPLY(leaders[0].client, "GET a", "$1 1");
    end();
}

/* The session's database, protocol and name are those of its channel. */
TEST(mirrors_state)
{
    begin();
    CHECK_ASK(client, "SELECT 3 ; SET a 3", "+OK | +OK");
    CHECK_ASK(client, "SELECT 0 ; GET a", "+OK | $-1");
    CHECK_REPLY(leaders[0].client, "SELECT 3 ; GET a", "+OK | $1 3");
    CHECK_ASK(other, "GET none", "$-1");
    (void)cmd_send(other, "HELLO 3");
    CHECK_ASK(other, "GET none", "_");
    (void)cmd_send(other, "CLIENT SETNAME somebody");
    (void)ask(other, "SELECT 9 ; GET none");
    const char *list = cmd_send(leaders[0].client, "CLIENT LIST");
    CHECK(strstr(list, "name=somebody") != NULL);
    CHECK(strstr(list, "addr=127.0.0.1:1 laddr=10.0.0.1:8001") != NULL);
    CHECK(strstr(list, "db=9") != NULL);
    end();
}

/* Queued here, executed there as one. */
TEST(transactions)
{
    begin();
    CHECK_REPLY(client, "MULTI ; SET a 1 ; GET a", "+OK | +QUEUED | +QUEUED");
    CHECK_ASK(client, "EXEC", "*2 +OK $1 1");
    CHECK_REPLY(client, "MULTI ; GET a", "+OK | +QUEUED");
    CHECK_ASK(client, "EXEC ; GET a ; INCR a", "*1 $1 1 | $1 1 | :2");
    /* Errors inside, and before. */
    CHECK_REPLY(client, "MULTI ; SET s x ; INCR s", "+OK | +QUEUED | +QUEUED");
    CHECK_ASK(client, "EXEC",
              "*2 +OK -ERR value is not an integer or out of range");
    CHECK(strstr(cmd_send(client, "MULTI ; SET s ; GET s"), "wrong number") !=
          NULL);
    CHECK_ASK(client, "EXEC",
              "-EXECABORT Transaction discarded because of previous errors.");
    CHECK_ASK(client, "GET s", "$1 x");
    end();
}

/* What is queued may change the session: it does so at both ends. */
TEST(transactions_that_change_the_session)
{
    begin();
    CHECK_REPLY(client, "MULTI ; SELECT 5 ; SET a 1",
                "+OK | +QUEUED | +QUEUED");
    CHECK_ASK(client, "EXEC ; SET b 2 ; SELECT 0 ; GET b",
              "*2 +OK +OK | +OK | +OK | $-1");
    CHECK_REPLY(leaders[0].client, "SELECT 5 ; MGET a b", "+OK | *2 $1 1 $1 2");
    CHECK_ASK(client, "SET c 3", "+OK");
    CHECK_REPLY(leaders[0].client, "SELECT 0 ; GET c", "+OK | $1 3");
    /* Not done: the database is what it was. */
    CHECK_ASK(client, "WATCH k", "+OK");
    CHECK_ASK(other, "SET k 1", "+OK");
    CHECK_REPLY(client, "MULTI ; SELECT 5 ; SET d 1",
                "+OK | +QUEUED | +QUEUED");
    CHECK_ASK(client, "EXEC ; GET c", "*-1 | $1 3");
    CHECK_REPLY(client, "MULTI ; CLIENT SETNAME one ; HELLO 3 ; SET d 1",
                "+OK | +QUEUED | +QUEUED | +QUEUED");
    (void)ask(client, "EXEC");
    CHECK_ASK(client, "CLIENT GETNAME ; GET none", "$3 one | _");
    CHECK_ASK(client, "SELECT 9 ; GET none", "+OK | _");
    CHECK(strstr(cmd_send(leaders[0].client, "CLIENT LIST"), "name=one") !=
          NULL);
    end();
}

TEST(transactions_that_change_replies)
{
    begin();
    CHECK_REPLY(client, "MULTI ; SET a 1 ; CLIENT REPLY OFF",
                "+OK | +QUEUED | +QUEUED");
    (void)ask(client, "EXEC");
    CHECK_ASK(client, "SET a 2", "");
    CHECK_ASK(client, "MULTI ; SELECT 3 ; SET a 3 ; EXEC", "");
    CHECK_ASK(client, "CLIENT REPLY ON ; GET a", "+OK | $1 3");
    CHECK_ASK(client, "SELECT 0 ; GET a", "+OK | $1 2");
    end();
}

/* A level of its own, behind another one that is under way. */
TEST(levels_of_reads)
{
    begin();
    cmd_world_set(world, "read-consistency", "consistent");
    CHECK_REPLY(client, "GET a ; LEVELGET a 0 ; GET a", "");
    turns(4);
    commit(0);
    CHECK_REPLY(client, "", "");
    cmd_cluster_confirm(leaders[0].cluster);
    turns(4);
    CHECK_REPLY(client, "", "$-1 | $-1");
    cmd_cluster_confirm(leaders[0].cluster);
    turns(4);
    CHECK_REPLY(client, "", "$-1");
    end();
}

/* Watched keys are watched at the leader. */
TEST(watches)
{
    begin();
    CHECK_ASK(client, "WATCH k", "+OK");
    CHECK_REPLY(client, "MULTI ; SET k 1", "+OK | +QUEUED");
    CHECK_ASK(client, "EXEC", "*1 +OK");
    CHECK_ASK(client, "WATCH k", "+OK");
    CHECK_ASK(other, "SET k 2", "+OK");
    CHECK_REPLY(client, "MULTI ; SET k 3", "+OK | +QUEUED");
    CHECK_ASK(client, "EXEC", "*-1");
    CHECK_ASK(client, "GET k", "$1 2");
    /* Given up here, forgotten there. */
    CHECK_ASK(client, "WATCH k", "+OK");
    CHECK_REPLY(client, "UNWATCH", "+OK");
    CHECK_ASK(other, "SET k 4", "+OK");
    CHECK_REPLY(client, "MULTI ; SET k 5", "+OK | +QUEUED");
    CHECK_ASK(client, "EXEC", "*1 +OK");
    CHECK_ASK(client, "WATCH k", "+OK");
    CHECK_REPLY(client, "MULTI ; SET k 6 ; DISCARD", "+OK | +QUEUED | +OK");
    CHECK_ASK(other, "SET k 7", "+OK");
    CHECK_REPLY(client, "MULTI ; GET k", "+OK | +QUEUED");
    CHECK_ASK(client, "EXEC", "*1 $1 7");
    end();
}

/* With the connection, watches are lost: EXEC does nothing, once. */
TEST(watches_are_lost)
{
    begin();
    CHECK_ASK(client, "WATCH k", "+OK");
    break_link(&leaders[0]);
    CHECK_REPLY(client, "MULTI ; SET k 1", "+OK | +QUEUED");
    CHECK_ASK(client, "EXEC", "*-1");
    CHECK_ASK(client, "GET k", "$-1");
    CHECK_REPLY(client, "MULTI ; SET k 1", "+OK | +QUEUED");
    CHECK_ASK(client, "EXEC", "*1 +OK");
    (void)cmd_send(client, "HELLO 3");
    CHECK_ASK(client, "WATCH k", "+OK");
    break_link(&leaders[0]);
    CHECK_REPLY(client, "MULTI ; SET k 2", "+OK | +QUEUED");
    CHECK_ASK(client, "EXEC", "_");
    end();
}

/* Nobody is asked what becomes of EXEC: it ends the watches all the same. */
TEST(watches_end_with_an_exec_that_was_not_sent)
{
    const struct wdb_proxy_target nobody = {0};
    begin();
    CHECK_ASK(client, "WATCH k", "+OK");
    wdb_proxy_set_target(proxy, &nobody, now_ns);
    CHECK_REPLY(client, "MULTI ; SET k 1 ; EXEC", "+OK | +QUEUED");
    turns(950);
    CHECK(strncmp(cmd_send(client, ""), "-CLUSTERDOWN", 12) == 0);
    set_target(2);
    CHECK_ASK(other, "SET k 2", "+OK");
    CHECK_REPLY(client, "MULTI ; SET k 3", "+OK | +QUEUED");
    CHECK_ASK(client, "EXEC", "*1 +OK");
    /* Some were lost, others are watched since. */
    CHECK_ASK(client, "WATCH k", "+OK");
    break_link(&leaders[0]);
    CHECK_ASK(client, "WATCH l", "+OK");
    CHECK_REPLY(client, "MULTI ; SET k 4", "+OK | +QUEUED");
    CHECK_ASK(client, "EXEC", "*-1");
    CHECK_ASK(other, "SET l 1", "+OK");
    CHECK_REPLY(client, "MULTI ; SET k 5", "+OK | +QUEUED");
    CHECK_ASK(client, "EXEC", "*1 +OK");
    end();
}

/* WATCH without a reply is one. */
TEST(watches_in_silence)
{
    begin();
    CHECK_ASK(client, "CLIENT REPLY SKIP ; WATCH k ; PING", "+PONG");
    break_link(&leaders[0]);
    CHECK_REPLY(client, "MULTI ; SET k 1", "+OK | +QUEUED");
    CHECK_ASK(client, "EXEC", "*-1");
    end();
}

/* The connection breaks: a write that was sent is unknown, a read is tried
 * again, what was never sent is done once. */
TEST(connection_breaks)
{
    begin();
    CHECK_REPLY(client, "SET a 1", "");
    turns(2); /* executed, not committed */
    CHECK_REPLY(client, "GET a", "");
    break_link(&leaders[0]);
    CHECK(strncmp(cmd_send(client, ""), "-UNKNOWN", 8) == 0);
    turns(2);
    commit(0);
    CHECK_REPLY(client, "", "$1 1");
    /* A read behind which a write was sent. */
    CHECK_REPLY(client, "GET a ; INCR a ; GET a", "");
    cut = true;
    turns(3);
    break_link(&leaders[0]);
    cut = false;
    const char *replies = ask(client, "");
    CHECK(strncmp(replies, "-TRYAGAIN", 9) == 0);
    CHECK(strstr(replies, " | -UNKNOWN") != NULL);
    CHECK(strstr(replies, " | $1 2") != NULL);
    end();
}

/* The leader loses office: executed writes are unknown, and undone here; what it
 * had not executed goes to the next one. */
TEST(leader_changes)
{
    begin();
    CHECK_ASK(client, "SET a 1", "+OK");
    CHECK_REPLY(client, "SET a 2", "");
    turns(2);
    cmd_cluster_lose(leaders[0].cluster);
    CHECK_REPLY(other, "SET b 1", "");
    turns(2);
    CHECK(strncmp(cmd_send(client, ""), "-UNKNOWN", 8) == 0);
    CHECK_REPLY(other, "GET b", ""); /* refused so far */
    turns(3);
    set_target(3);
    turns(4);
    commit(1);
    CHECK_REPLY(other, "", "+OK | $1 1");
    CHECK_REPLY(leaders[1].client, "GET b", "$1 1");
    cmd_cluster_serve(leaders[0].cluster);
    CHECK_REPLY(leaders[0].client, "GET b", "$-1");
    CHECK_REPLY(leaders[0].client, "GET a", "$1 1");
    end();
}

/* Who refuses and leads again executes what is asked again, in order. */
TEST(refused_for_a_while)
{
    begin();
    CHECK_ASK(client, "SET a 1", "+OK");
    cmd_cluster_lose(leaders[0].cluster);
    CHECK_REPLY(client, "APPEND a 2 ; APPEND a 3 ; GET a", "");
    turns(20);
    CHECK_REPLY(client, "", "");
    cmd_cluster_serve(leaders[0].cluster);
    turns(60);
    commit(0);
    CHECK_REPLY(client, "", ":2 | :3 | $3 123");
    CHECK(wdb_proxy_stats(proxy)->refused > 0);
    end();
}

/* Nobody leads for long: nothing was done. */
TEST(nobody_leads)
{
    begin();
    cmd_cluster_lose(leaders[0].cluster);
    CHECK_REPLY(client, "SET a 1 ; SET a 2", "");
    turns(500);
    CHECK_REPLY(client, "", "");
    turns(450);
    const char *replies = cmd_send(client, "");
    CHECK(strncmp(replies, "-CLUSTERDOWN", 12) == 0);
    CHECK(strstr(replies, "| -CLUSTERDOWN") != NULL);
    cmd_cluster_serve(leaders[0].cluster);
    CHECK_ASK(client, "GET a", "$-1");
    end();
}

static struct wdb_slice big_value(char fill, size_t size)
{
    char *value = malloc(size);
    if (value == NULL) {
        abort();
    }
    memset(value, fill, size);
    return wdb_slice(value, size);
}

/* Values larger than a frame, and than the window, both ways. */
TEST(big_values)
{
    begin();
    const struct wdb_slice value = big_value('v', (size_t)5 << 20);
    const struct wdb_slice set[] = {wdb_slice_str("SET"), wdb_slice_str("big"),
                                    value};
    (void)cmd_send_slices(client, 3, set);
    CHECK_REPLY(other, "SET small 1", "");
    turns(4);
    commit(0);
    CHECK_REPLY(other, "", "+OK"); /* it did not wait for the big one */
    turns(40);
    commit(0);
    CHECK_REPLY(client, "", "+OK");
    CHECK_REPLY(client, "STRLEN big ; GET big ; GET small", "");
    size_t size = 0;
    for (uint32_t i = 0; i < 200 && size < value.size; i++) {
        turn();
        (void)cmd_send(client, "");
        const struct wdb_slice bytes = cmd_reply_bytes(client);
        for (size_t k = 0; k < bytes.size; k++) {
            size += bytes.data[k] == 'v';
        }
    }
    CHECK_EQ(size, value.size);
    turns(3);
    CHECK_REPLY(client, "PING", "+PONG");
    /* It does not read: the leader keeps the rest. */
    CHECK_REPLY(client, "GET big", "");
    turns(60);
    CHECK(cmd_client_session(client)->output.size <= WDB_CHANNEL_WINDOW);
    free((void *)(uintptr_t)value.data);
    end();
}

/* What MONITOR shows stands in front of a reply or behind it, not within. */
TEST(monitor_and_a_big_value)
{
    begin();
    const struct wdb_slice value = big_value('v', (size_t)3 << 20);
    const struct wdb_slice set[] = {wdb_slice_str("SET"), wdb_slice_str("big"),
                                    value};
    (void)cmd_send_slices(other, 3, set);
    turns(40);
    commit(0);
    CHECK_REPLY(other, "", "+OK");
    CHECK_REPLY(client, "MONITOR", "+OK");
    (void)cmd_send(client, "GET big");
    size_t size = 0, before = 0, lines = 0;
    for (uint32_t i = 0; i < 200 && lines < before + 10; i++) {
        turn();
        if (size < value.size) {
            before++;
            CHECK_REPLY(other, "PING", "+PONG");
        } else if (i % 2 == 0) {
            CHECK_REPLY(other, "PING", "+PONG");
        }
        (void)cmd_send(client, "");
        const struct wdb_slice bytes = cmd_reply_bytes(client);
        for (size_t k = 0; k < bytes.size; k++) {
            size += bytes.data[k] == 'v';
            if (bytes.data[k] == '[') {
                lines++;
                CHECK(size == 0 || size == value.size);
            }
        }
    }
    CHECK_EQ(size, value.size);
    CHECK(before > 2 && lines >= before + 10);
    free((void *)(uintptr_t)value.data);
    end();
}

/* More than is kept for one client, while nothing is committed: the rest waits
 * for as long as it takes. */
TEST(much_at_once)
{
    begin();
    const struct wdb_slice value = big_value('v', (size_t)300 << 10);
    const struct wdb_slice append[] = {wdb_slice_str("APPEND"),
                                       wdb_slice_str("big"), value};
    for (uint32_t i = 0; i < 12; i++) {
        (void)cmd_send_slices(client, 3, append);
    }
    turns(2000);
    CHECK_REPLY(client, "", "");
    CHECK(wdb_proxy_route_waiting(cmd_client_session(client)->forward) < 6);
    for (uint32_t i = 0; i < 12; i++) {
        turns(2);
        commit(0);
        (void)cmd_send(client, "");
    }
    CHECK_ASK(client, "STRLEN big", ":3686400");
    free((void *)(uintptr_t)value.data);
    end();
}

/* What waited for room in a connection that breaks waits no longer than the rest.
 */
TEST(breaks_while_it_is_full)
{
    begin();
    const struct wdb_slice value = big_value('v', (size_t)900 << 10);
    const struct wdb_slice set[] = {wdb_slice_str("SET"), wdb_slice_str("big"),
                                    value};
    (void)cmd_send_slices(client, 3, set);
    (void)wdb_proxy_run(proxy, now_ns);
    CHECK_REPLY(other, "SET b 1", "");
    deaf = true;
    break_link(&leaders[0]);
    turns(950);
    CHECK(strncmp(cmd_send(other, ""), "-CLUSTERDOWN", 12) == 0);
    free((void *)(uintptr_t)value.data);
    end();
}

/* A change that has begun is not refused: it may be done. */
TEST(changes_that_have_begun)
{
    begin();
    leaders[0].cluster->is_slow = true;
    CHECK_REPLY(client, "RAFT REMOVE node03 ; SET a 1", "");
    turns(3);
    CHECK_EQ(leaders[0].cluster->request_count, 1);
    cmd_cluster_lose(leaders[0].cluster);
    turns(5);
    CHECK_REPLY(client, "", "");
    leaders[0].cluster->request_code = WALKERDB_ENOTLEADER;
    cmd_cluster_request_done(leaders[0].cluster);
    turns(5);
    CHECK(cmd_send(client, "")[0] == '-');
    CHECK_EQ(leaders[0].cluster->request_count, 1);
    cmd_cluster_serve(leaders[0].cluster);
    turns(60);
    commit(0);
    CHECK_REPLY(client, "", "+OK");
    /* The node ends, and waits for nothing. */
    CHECK_REPLY(client, "RAFT REMOVE node03 ; SET a 2", "");
    turns(3);
    CHECK_EQ(leaders[0].cluster->request_count, 2);
    wdb_acceptor_hub_leave(leaders[0].hub);
    turns(3);
    CHECK(strncmp(cmd_send(client, ""), "-UNKNOWN", 8) == 0);
    set_target(3);
    turns(4);
    commit(1);
    CHECK_REPLY(client, "", "+OK");
    CHECK_EQ(leaders[1].cluster->request_count, 0);
    cmd_cluster_request_done(leaders[0].cluster);
    turns(3);
    end();
}

/* A database that the leader does not have is the matter of one client. */
TEST(unknown_database)
{
    begin();
    char *message = NULL;
    CHECK_EQ(wdb_config_load_text(cmd_world_context(leaders[0].world)->config,
                                  "test", wdb_slice_str("databases 4\n"),
                                  &message),
             0);
    CHECK_ASK(other, "SET b 1", "+OK");
    CHECK_REPLY(client, "SELECT 4 ; SET a 1", "+OK");
    CHECK_REPLY(other, "SET b 2", "");
    turns(3);
    commit(0);
    CHECK_REPLY(other, "", "+OK");
    CHECK((cmd_client_session(client)->flags & WDB_SESSION_CLOSING) != 0);
    CHECK_EQ(wdb_acceptor_channel_count(leaders[0].acceptor), 1);
    CHECK_REPLY(other, "SELECT 4 ; SET b 3", "+OK");
    turns(3);
    CHECK((cmd_client_session(other)->flags & WDB_SESSION_CLOSING) != 0);
    CHECK_EQ(wdb_proxy_stats(proxy)->lost, 0);
    end();
}

/* A client that goes takes its channel along, whatever it has under way. */
TEST(client_goes)
{
    begin();
    struct cmd_client *third = cmd_client_new(world);
    CHECK_REPLY(third, "SET a 1 ; GET a ; SET b 2", "");
    turns(2);
    CHECK_EQ(wdb_acceptor_channel_count(leaders[0].acceptor), 1);
    cmd_client_free(third);
    turns(2);
    CHECK_EQ(wdb_acceptor_channel_count(leaders[0].acceptor), 0);
    commit(0);
    CHECK_ASK(client, "GET b", "$1 2");
    end();
}

/* Somebody kills the client at the leader: its connection ends. */
TEST(killed_at_the_leader)
{
    begin();
    CHECK_ASK(client, "SET a 1", "+OK");
    CHECK_REPLY(leaders[0].client, "CLIENT KILL ADDR 127.0.0.1:1 SKIPME yes",
                ":1");
    wdb_acceptor_hub_close_killed(leaders[0].hub);
    turns(2);
    CHECK((cmd_client_session(client)->flags & WDB_SESSION_CLOSING) != 0);
    end();
}

/* No reply where none is wanted. */
TEST(silent_requests)
{
    begin();
    CHECK_REPLY(client, "CLIENT REPLY OFF", "");
    CHECK_ASK(client, "SET a 1 ; SET b 2", "");
    CHECK_REPLY(client, "CLIENT REPLY ON", "+OK");
    CHECK_ASK(client, "CLIENT REPLY SKIP ; INCR a ; MGET a b", "*2 $1 2 $1 2");
    end();
}

/* No memory at the leader, at any point: the client is answered, or
 * disconnected. */
TEST(leader_without_memory)
{
    begin();
    for (uint64_t nth = 1; nth < 40; nth++) {
        struct cmd_client *third = cmd_client_new(world);
        fail_receiving = nth % 2 == 0 ? nth / 2 : 0;
        fail_sending = nth % 2 == 1 ? nth / 2 + 1 : 0;
        (void)cmd_send(third, "MULTI ; SET a 1");
        const char *reply = ask(third, "EXEC");
        fail_receiving = fail_sending = 0;
        if ((cmd_client_session(third)->flags & WDB_SESSION_CLOSING) == 0) {
            CHECK(strcmp(reply, "*1 +OK") == 0 ||
                  strncmp(reply, "-UNKNOWN", 8) == 0);
            reply = ask(third, "GET a");
            CHECK(strcmp(reply, "$1 1") == 0 || strcmp(reply, "$-1") == 0);
        }
        cmd_client_free(third);
        turns(2);
    }
    CHECK(faults > 3);
    CHECK_ASK(client, "GET a", "$1 1");
    end();
}
