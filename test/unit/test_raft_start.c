/*
 * test_raft_start.c - what a node makes of a log at its start, and of one that
 * becomes a new cluster.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/env.h"
#include "lib/test.h"
#include "raft/raft.h"
#include "walkerdb.h"

struct place {
    const char *dir;
    struct wdb_env *env;
    struct wdb_db *db;
    struct wdb_identity identity;
    struct wdb_member self;
};

static void open_db(struct place *p, bool is_member)
{
    struct wdb_db_options options = {0};
    char *message = NULL;
    wdb_store_options_init(&options.store);
    options.store.log.env = p->env;
    options.store.log.dir = p->dir;
    options.store.log.create = true;
    options.store.log.background_thread = false;
    options.store.log.segment_size = WDB_SEGMENT_SIZE_MIN;
    options.store.log.manual_commit = is_member;
    options.store.log.sync_policy = WDB_SYNC_ALWAYS;
    options.store.merge_enabled = false;
    options.store.stripe_count = 4;
    options.store.load_threads = 1;
    CHECK_EQ(wdb_db_open(&options, &p->db, &message), 0);
    free(message);
}

/* The only member of a cluster, founded on an empty directory; open. */
static void open_place(struct place *p)
{
    char *message = NULL;
    *p = (struct place){.dir = test_tmpdir()};
    CHECK_EQ(wdb_env_posix_new(&p->env), 0);
    CHECK_EQ(wdb_identity_open(p->env, test_tmpdir(), "one", &p->identity,
                               &message),
             0);
    p->self = (struct wdb_member){.id = p->identity.id,
                                  .role = WDB_MEMBER_VOTER,
                                  .name = "one",
                                  .raft_address = "h:1",
                                  .tcp_address = "h:2"};
    open_db(p, false);
    CHECK_EQ(wdb_raft_found(p->db, &p->identity, &p->self), 0);
    wdb_db_close(p->db);
    open_db(p, true);
}

static void close_place(struct place *p)
{
    wdb_db_close(p->db);
    wdb_identity_close(&p->identity);
    wdb_env_posix_free(p->env);
}

/* A configuration that remembers `removed` nodes, as the next entry. */
static void append_change(struct place *p, unsigned removed)
{
    struct wdb_members members;
    struct wdb_buffer payload;
    struct wdb_log_place at;
    struct wdb_entry_header entry = {.type = WDB_ENTRY_CHANGE};
    struct wdb_log *log = wdb_db_log(p->db);
    wdb_members_init(&members);
    wdb_buffer_init(&payload);
    members.cluster_id = p->identity.cluster_id;
    CHECK_EQ(wdb_members_add(&members, &p->self), 0);
    for (unsigned i = 0; i < removed; i++) {
        struct wdb_member gone = {.id = 100 + i, .role = WDB_MEMBER_STANDBY};
        snprintf(gone.name, sizeof(gone.name), "gone%u", i);
        snprintf(gone.raft_address, sizeof(gone.raft_address), "g%u:1", i);
        snprintf(gone.tcp_address, sizeof(gone.tcp_address), "g%u:2", i);
        CHECK_EQ(wdb_members_add(&members, &gone), 0);
        CHECK_EQ(wdb_members_remove(&members, gone.id), 0);
    }
    CHECK_EQ(wdb_members_encode(&members, &payload), 0);
    entry.payload_size = payload.size;
    wdb_log_set_term(log, p->identity.term);
    CHECK_EQ(wdb_log_append_entry(log, &entry, payload.data, &at), 0);
    CHECK_EQ(wdb_log_sync(log), 0);
    wdb_buffer_release(&payload);
    wdb_members_release(&members);
}

/* A new cluster takes over the last of several configurations, and lets go of
 * those before it (LeakSanitizer looks). */
TEST(raft_force_takes_the_last_configuration)
{
    struct place p;
    open_place(&p);
    const uint64_t before = p.identity.cluster_id;
    append_change(&p, 1);
    append_change(&p, 2);
    CHECK_EQ(wdb_raft_force(p.db, &p.identity, &p.self), 0);
    CHECK(p.identity.cluster_id != before);
    struct wdb_raft_base base = {0};
    const struct wdb_slice bytes = wdb_log_base(wdb_db_log(p.db));
    CHECK_EQ(wdb_raft_base_decode(bytes.data, bytes.size, &base), 0);
    CHECK_EQ(base.members.count, 1);
    CHECK_EQ(base.members.removed_count, 2);
    CHECK(base.members.cluster_id == p.identity.cluster_id);
    wdb_raft_base_release(&base);
    close_place(&p);
}

static void nothing(void *context)
{
    (void)context;
}

static void fails(void *context, int error, const char *message)
{
    (void)context;
    (void)error;
    (void)message;
}

/* A log that ends before the base is refused with what to do, not asserted. */
TEST(raft_start_refuses_a_log_that_ends_before_its_base)
{
    struct place p;
    struct wdb_raft_options options;
    struct wdb_raft *raft = NULL;
    struct wdb_buffer bytes;
    char *message = NULL;
    open_place(&p);
    struct wdb_raft_base base = {.index = 50, .term = 1, .members_index = 1};
    base.members.cluster_id = p.identity.cluster_id;
    CHECK_EQ(wdb_members_add(&base.members, &p.self), 0);
    wdb_buffer_init(&bytes);
    CHECK_EQ(wdb_raft_base_encode(&base, &bytes), 0);
    CHECK_EQ(wdb_log_set_base(wdb_db_log(p.db), true,
                              wdb_slice(bytes.data, bytes.size), 1),
             0);
    static const struct wdb_logger silent = {0};
    static const struct wdb_peers_ops no_ops = {0};
    const struct wdb_peers peers = {.ops = &no_ops};
    wdb_raft_options_init(&options);
    options.db = p.db;
    options.env = p.env;
    options.logger = &silent;
    options.identity = &p.identity;
    options.peers = &peers;
    options.on_work = nothing;
    options.on_gate = nothing;
    options.on_failure = fails;
    CHECK_EQ(wdb_raft_new(&options, &raft, &message), WALKERDB_ECORRUPT);
    CHECK(raft == NULL);
    CHECK(message != NULL && strstr(message, "RAFT REMOVE") != NULL);
    free(message);
    wdb_buffer_release(&bytes);
    wdb_raft_base_release(&base);
    close_place(&p);
}
