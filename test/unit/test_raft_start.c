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

static void copy_file(const char *from, const char *to)
{
    char buffer[1 << 16];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    CHECK(in != NULL && out != NULL);
    const size_t size = fread(buffer, 1, sizeof(buffer), in);
    CHECK(size < sizeof(buffer));
    CHECK_EQ(fwrite(buffer, 1, size, out), size);
    CHECK_EQ(fclose(in), 0);
    CHECK_EQ(fclose(out), 0);
}

static void no_members(void *context, const struct wdb_member *members,
                       uint32_t count)
{
    (void)context;
    (void)members;
    (void)count;
}

static void run_at_once(void *context, void (*work)(void *arg),
                        void (*done)(void *arg), void *arg)
{
    (void)context;
    work(arg);
    done(arg);
}

/* A crash between the identity and the manifest: the log has the first
 * configuration, and is standalone. It is founded again, as another node, and the
 * later configuration counts. */
TEST(raft_found_again_after_a_crash)
{
    struct place p;
    char *message = NULL;
    char path[512], copy[512];
    open_place(&p);
    wdb_db_close(p.db);
    p.dir = test_tmpdir();
    open_db(&p, false);
    wdb_db_close(p.db);
    snprintf(path, sizeof(path), "%s/MANIFEST", p.dir);
    snprintf(copy, sizeof(copy), "%s/before", p.dir);
    copy_file(path, copy);
    const char *raft_dir = test_tmpdir();
    wdb_identity_close(&p.identity);
    CHECK_EQ(wdb_identity_open(p.env, raft_dir, "one", &p.identity, &message),
             0);
    open_db(&p, false);
    CHECK_EQ(wdb_raft_found(p.db, &p.identity, &p.self), 0);
    wdb_db_close(p.db);
    copy_file(copy, path);
    const uint64_t id = p.identity.id, cluster_id = p.identity.cluster_id;
    CHECK_EQ(wdb_identity_renew(&p.identity, raft_dir, &message), 0);
    CHECK(p.identity.id != id && p.identity.id != 0);
    CHECK(p.identity.log_nonce == 0 && p.identity.term == 0);
    CHECK_STR(p.identity.name, "one");
    p.self.id = p.identity.id;
    open_db(&p, false);
    CHECK_EQ(wdb_raft_found(p.db, &p.identity, &p.self), 0);
    CHECK(p.identity.cluster_id != cluster_id);
    wdb_db_close(p.db);
    open_db(&p, true);
    struct wdb_raft_options options;
    struct wdb_raft *raft;
    wdb_raft_options_init(&options);
    static const struct wdb_logger silent = {0};
    static const struct wdb_peers_ops no_ops = {.set_members = no_members,
                                                .run_off_loop = run_at_once};
    const struct wdb_peers peers = {.ops = &no_ops};
    options.db = p.db;
    options.env = p.env;
    options.logger = &silent;
    options.identity = &p.identity;
    options.peers = &peers;
    options.on_work = nothing;
    options.on_gate = nothing;
    options.on_failure = fails;
    REQUIRE_EQ(wdb_raft_new(&options, &raft, &message), 0);
    struct wdb_raft_status status;
    wdb_raft_status(raft, &status);
    REQUIRE_EQ(status.peer_count, 1);
    CHECK_EQ(status.peers[0].member.id, p.self.id);
    wdb_raft_free(raft);
    close_place(&p);
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
