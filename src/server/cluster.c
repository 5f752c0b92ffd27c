/*
 * cluster.c - wires a node together: see cluster.h for what it decides.
 *
 * Whether a directory is a member's is read from its manifest before it is
 * opened, because a member's log is opened in another way: nothing counts as
 * committed there but what Raft says.
 */
#include "server/cluster.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/time.h"
#include "log/manifest.h"
#include "net/peer_address.h"
#include "server/join.h"
#include "server/process.h"
#include "walkerdb.h"

#define RESIGN_MS      2000
#define RESIGN_WAIT_MS 3000
#define TEXT_SIZE      1024
/* Not the name of the log's lock: -raftdir may be -dir. */
#define RAFT_LOCK_NAME "raft-lock"

struct wdb_server_cluster {
    struct wdb_server_cluster_options options;
    enum wdb_cluster_mode mode;
    char raft_dir[WDB_PATH_SIZE_MAX];
    char secret_dir[WDB_PATH_SIZE_MAX];
    struct wdb_member self;
    struct wdb_file *raft_lock; /* nobody else has -raftdir in use */
    struct wdb_identity identity;
    bool has_identity;
    uint64_t dir_nonce; /* of the database in -dir; 0: none */
    struct wdb_peer_secret
        secret; /* never changes; none: starts anew with it */
    struct wdb_raft_loop *loop;
    struct wdb_peer_net *peers;
    struct wdb_raft *raft;
    struct wdb_cluster table;
    struct wdb_cluster_ops ops; /* the table's, with the secret */
    struct wdb_join *join;
    _Atomic(struct wdb_net *) net;
    pthread_mutex_t resign_lock;
    pthread_cond_t resigned;
    bool resign_done;
};

static int say(char **message_out, int code, const char *format, ...)
    WDB_PRINTF(3, 4);
static int say(char **message_out, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (*message_out == NULL && vasprintf(message_out, format, arguments) < 0) {
        *message_out = NULL;
    }
    va_end(arguments);
    return code;
}

/* --- what is wanted ------------------------------------------------------------ */

/* Does the directory hold a database, and is it a member's? */
static int look_at_dir(struct wdb_server_cluster *c, bool *member_out,
                       char **message_out)
{
    struct wdb_manifest manifest;
    const int code =
        wdb_manifest_load(c->options.env, c->options.dir, &manifest);
    *member_out = false;
    if (code == WALKERDB_ENOTFOUND) {
        return 0;
    }
    if (code != 0) {
        return say(message_out, code, "%s/%s: %s; walkerdb-check %s tells more",
                   c->options.dir, WDB_MANIFEST_NAME, walkerdb_strerror(code),
                   c->options.dir);
    }
    *member_out = manifest.cluster;
    c->dir_nonce = manifest.nonce;
    wdb_manifest_release(&manifest);
    return 0;
}

static int choose_mode(struct wdb_server_cluster *c, char **message_out)
{
    const struct wdb_config *config = c->options.config;
    bool member;
    const int code = look_at_dir(c, &member, message_out);
    if (code != 0) {
        return code;
    }
    const bool join = wdb_config_bool(config, WDB_CONFIG_RAFT_JOIN);
    const bool address = wdb_config_bool(config, WDB_CONFIG_RAFT_ADDRESS);
    if (join) {
        c->mode = member ? WDB_CLUSTER_MEMBER : WDB_CLUSTER_JOIN;
    } else if (wdb_config_bool(config, WDB_CONFIG_RAFT_BOOTSTRAP)) {
        c->mode = member ? WDB_CLUSTER_MEMBER : WDB_CLUSTER_FOUND;
    } else if (member) {
        c->mode = WDB_CLUSTER_MEMBER;
    } else {
        c->mode = address ? WDB_CLUSTER_JOIN : WDB_CLUSTER_NONE;
    }
    if (c->mode == WDB_CLUSTER_MEMBER && !address) {
        return say(message_out, WALKERDB_EINVALID,
                   "%s belongs to a member of a cluster, which must not be "
                   "changed by itself: start it with -id, -raft and -raftdir "
                   "as before",
                   c->options.dir);
    }
    if (c->mode != WDB_CLUSTER_NONE && !address) {
        return say(message_out, WALKERDB_EINVALID,
                   "-bootstrap true and -join ask for a cluster: give this "
                   "node an address for its peers, -raft HOST:PORT");
    }
    return 0;
}

/* The address at which clients (and other nodes) reach this one. */
static int make_tcp_address(struct wdb_server_cluster *c, char **message_out)
{
    const struct wdb_config *config = c->options.config;
    char bind[512];
    struct wdb_peer_address raft;
    const int port = (int)wdb_config_i64(config, WDB_CONFIG_PORT);
    wdb_config_text(config, WDB_CONFIG_BIND, bind, sizeof(bind));
    if (wdb_peer_address_parse(c->self.raft_address, false, &raft) != 0 ||
        wdb_peer_address_is_wildcard(&raft)) {
        return say(message_out, WALKERDB_EINVALID,
                   "-raft '%s' is not HOST:PORT, with a host that the other "
                   "nodes can dial",
                   c->self.raft_address);
    }
    if (port == 0) {
        return say(message_out, WALKERDB_EINVALID,
                   "a member of a cluster needs a port for clients: -tcp "
                   "HOST:PORT");
    }
    char *end = bind + strcspn(bind, " ");
    *end = '\0';
    const char *host = bind[0] == '-' ? bind + 1 : bind;
    const bool any = host[0] == '\0' || strcmp(host, "*") == 0 ||
                     strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 ||
                     strcmp(host, "::*") == 0;
    host = any ? raft.host : host;
    const bool six = strchr(host, ':') != NULL;
    const int size =
        snprintf(c->self.tcp_address, sizeof(c->self.tcp_address), "%s%s%s:%d",
                 six ? "[" : "", host, six ? "]" : "", port);
    return size < (int)sizeof(c->self.tcp_address)
               ? 0
               : say(message_out, WALKERDB_ETOOBIG, "-tcp is too long");
}

static int describe_self(struct wdb_server_cluster *c, char **message_out)
{
    const struct wdb_config *config = c->options.config;
    char name[TEXT_SIZE], address[TEXT_SIZE];
    wdb_config_text(config, WDB_CONFIG_RAFT_ID, name, sizeof(name));
    wdb_config_text(config, WDB_CONFIG_RAFT_ADDRESS, address, sizeof(address));
    if (name[0] == '\0' || strlen(name) > WDB_MEMBER_NAME_MAX) {
        return say(message_out, WALKERDB_EINVALID,
                   "a member of a cluster needs a name of 1 to %d characters: "
                   "-id NAME",
                   WDB_MEMBER_NAME_MAX);
    }
    if (strlen(address) > WDB_MEMBER_ADDRESS_MAX) {
        return say(message_out, WALKERDB_ETOOBIG, "-raft is too long");
    }
    memcpy(c->self.name, name, strlen(name) + 1);
    memcpy(c->self.raft_address, address, strlen(address) + 1);
    return make_tcp_address(c, message_out);
}

/* --- identity and secret -------------------------------------------------------- */

/* Two processes with one identity could vote twice. */
static int lock_raft_dir(struct wdb_server_cluster *c, char **message_out)
{
    char path[WDB_PATH_SIZE_MAX];
    int64_t holder = 0;
    if (wdb_env_join(path, c->raft_dir, RAFT_LOCK_NAME) != 0) {
        return say(message_out, WALKERDB_ETOOBIG, "-raftdir is too long");
    }
    const int code =
        c->options.env->ops->lock(c->options.env, path, &c->raft_lock, &holder);
    if (code == WALKERDB_ELOCKED) {
        return say(message_out, code,
                   "-raftdir %s is in use by process %lld; every node has its "
                   "own",
                   c->raft_dir, (long long)holder);
    }
    return code == 0 ? 0
                     : say(message_out, code, "%s: cannot be locked: %s", path,
                           walkerdb_strerror(code));
}

static int open_identity(struct wdb_server_cluster *c, char **message_out)
{
    const struct wdb_config *config = c->options.config;
    wdb_config_text(config, WDB_CONFIG_RAFT_DIR, c->raft_dir,
                    sizeof(c->raft_dir));
    if (c->raft_dir[0] == '\0' &&
        wdb_env_join(c->raft_dir, c->options.dir, "raft") != 0) {
        return say(message_out, WALKERDB_ETOOBIG, "-dir is too long");
    }
    if (wdb_env_posix_make_dirs(c->raft_dir) != 0) {
        return say(message_out, WALKERDB_EIO, "can't make -raftdir %s: %s",
                   c->raft_dir, strerror(errno));
    }
    int code = lock_raft_dir(c, message_out);
    if (code != 0) {
        return code;
    }
    code = wdb_identity_open(c->options.env, c->raft_dir, c->self.name,
                             &c->identity, message_out);
    if (code != 0) {
        return say(message_out, code, "-raftdir %s: %s", c->raft_dir,
                   walkerdb_strerror(code));
    }
    if (c->identity.repaired) {
        wdb_logger_print(c->options.logger, WDB_LOG_WARNING,
                         "%s/" WDB_IDENTITY_NAME ": one of its two copies was "
                         "damaged, and was written anew from the other one",
                         c->raft_dir);
    }
    c->has_identity = true;
    c->self.id = c->identity.id;
    return 0;
}

static int open_secret(struct wdb_server_cluster *c, char **message_out)
{
    wdb_peer_secret_dir(c->options.config, c->secret_dir);
    if (c->mode == WDB_CLUSTER_FOUND) {
        return wdb_peer_secret_make(c->options.env, c->secret_dir, &c->secret,
                                    message_out);
    }
    return wdb_peer_secret_load(c->secret_dir, &c->secret, message_out);
}

/* The identity is stored before the log becomes a cluster's: what lies between, in
 * a crash, is an identity that has never voted beside a log that is standalone
 * still. It starts over as another node, since a backup has the log's number,
 * too. Any other identity that was in a cluster is refused. */
static int forget_founding(struct wdb_server_cluster *c, char **message_out)
{
    const struct wdb_identity *identity = &c->identity;
    if (identity->log_nonce == 0) {
        return 0;
    }
    if (identity->log_nonce != c->dir_nonce || identity->voted_for != 0 ||
        identity->removed) {
        return say(message_out, WALKERDB_EMISMATCH,
                   "-raftdir %s belongs to a member of a cluster, but -dir "
                   "%s does not: a member whose disk is lost may not come "
                   "back under its id. To found a new cluster here, give an "
                   "empty -raftdir",
                   c->raft_dir, c->options.dir);
    }
    const int code = wdb_identity_renew(&c->identity, c->raft_dir, message_out);
    if (code != 0) {
        return say(message_out, code, "-raftdir %s: %s", c->raft_dir,
                   walkerdb_strerror(code));
    }
    c->self.id = c->identity.id;
    wdb_logger_print(c->options.logger, WDB_LOG_NOTICE,
                     "The cluster was not founded to the end: doing it again");
    return 0;
}

/* Open it as a standalone server would, make it the first member, close it. */
static int found(struct wdb_server_cluster *c,
                 const struct wdb_db_options *db_options, char **message_out)
{
    struct wdb_db *db;
    struct wdb_db_options options = *db_options;
    options.store.merge_enabled = false;
    options.store.log.on_durable = NULL;
    options.store.log.on_failure = NULL;
    options.store.log.on_progress = NULL;
    int code = wdb_db_open(&options, &db, message_out);
    if (code != 0) {
        return say(message_out, code, "%s: %s", c->options.dir,
                   walkerdb_strerror(code));
    }
    code = wdb_raft_found(db, &c->identity, &c->self);
    wdb_db_close(db);
    if (code != 0) {
        return say(message_out, code, "the cluster could not be founded: %s",
                   walkerdb_strerror(code));
    }
    wdb_logger_print(c->options.logger, WDB_LOG_NOTICE,
                     "Founded the cluster %016llx; this node is %s (%016llx). "
                     "One node alone is not safe against the loss of its disk: "
                     "let two more join",
                     (unsigned long long)c->identity.cluster_id, c->self.name,
                     (unsigned long long)c->self.id);
    c->mode = WDB_CLUSTER_MEMBER;
    return 0;
}

static uint64_t run(void *context)
{
    const struct wdb_server_cluster *c = context;
    return wdb_raft_run(c->raft);
}

/* Before the log has a thread that may wake it. */
static int make_loop(struct wdb_server_cluster *c, char **message_out)
{
    const struct wdb_raft_loop_options options = {.env = c->options.env,
                                                  .run = run,
                                                  .context = c};
    const int code = wdb_raft_loop_new(&options, &c->loop);
    return code == 0 ? 0
                     : say(message_out, code, "can't make the raft thread: %s",
                           walkerdb_strerror(code));
}

int wdb_server_cluster_new(const struct wdb_server_cluster_options *options,
                           const struct wdb_db_options *db_options,
                           struct wdb_server_cluster **out, char **message_out)
{
    struct wdb_server_cluster *c = calloc(1, sizeof(*c));
    *out = NULL;
    if (c == NULL) {
        return WALKERDB_ENOMEM;
    }
    c->options = *options;
    pthread_mutex_init(&c->resign_lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&c->resigned, &attributes);
    pthread_condattr_destroy(&attributes);
    int code = choose_mode(c, message_out);
    if (code != 0 || c->mode == WDB_CLUSTER_NONE) {
        wdb_server_cluster_free(c);
        return code;
    }
    code = describe_self(c, message_out);
    code = code == 0 ? open_identity(c, message_out) : code;
    code = code == 0 ? open_secret(c, message_out) : code;
    code = code == 0 ? make_loop(c, message_out) : code;
    if (code == 0 && c->mode == WDB_CLUSTER_FOUND) {
        code = forget_founding(c, message_out);
        code = code == 0 ? found(c, db_options, message_out) : code;
    }
    if (code != 0) {
        wdb_server_cluster_free(c);
        return code;
    }
    *out = c;
    return 0;
}

/* --- the way back from the loss of a majority ----------------------------------- */

static int force(struct wdb_server_cluster *c,
                 const struct wdb_db_options *db_options, char **message_out)
{
    struct wdb_db *db;
    struct wdb_db_options options = *db_options;
    wdb_server_cluster_db_options(c, &options);
    options.store.merge_enabled = false;
    options.store.log.on_failure = NULL;
    options.store.log.on_progress = NULL;
    int code = describe_self(c, message_out);
    code = code == 0 ? open_identity(c, message_out) : code;
    if (code == 0) {
        code = wdb_db_open(&options, &db, message_out);
    }
    if (code != 0) {
        return say(message_out, code, "%s", walkerdb_strerror(code));
    }
    code = wdb_raft_force(db, &c->identity, &c->self);
    wdb_db_close(db);
    if (code == WALKERDB_ENOTFOUND) {
        return say(message_out, code, "%s is not a member of a cluster",
                   c->options.dir);
    }
    return code == 0 ? 0
                     : say(message_out, code, "it could not be done: %s",
                           walkerdb_strerror(code));
}

int wdb_server_cluster_force(const struct wdb_server_cluster_options *options,
                             const struct wdb_db_options *db_options, bool yes)
{
    char *message = NULL;
    if (!yes) {
        puts(
            "walkerdb --force-new-cluster makes a new cluster out of what this "
            "node alone has,\nfor the case that a majority of the old one is "
            "lost for good.\n\n"
            "  - Writes that were acknowledged but had not reached this node "
            "are lost. Run it on\n    the surviving node that has most "
            "(index-last of RAFT STATUS, or walkerdb-check).\n"
            "  - Writes that were never acknowledged may appear.\n"
            "  - The other nodes may not come back; stop them first, and let "
            "new ones join with\n    empty directories and new names.\n\n"
            "Make a copy of -dir and -raftdir. Then say --force-new-cluster "
            "yes.");
        return 1;
    }
    struct wdb_server_cluster *c = calloc(1, sizeof(*c));
    int code = WALKERDB_ENOMEM;
    if (c != NULL) {
        c->options = *options;
        pthread_mutex_init(&c->resign_lock, NULL);
        pthread_cond_init(&c->resigned, NULL);
        code = force(c, db_options, &message);
    }
    if (code == 0) {
        printf("%s is the only member of the cluster %016llx now. Start it "
               "without -join, then let others join.\n",
               c->self.name, (unsigned long long)c->identity.cluster_id);
    } else {
        fprintf(stderr, "walkerdb: %s\n",
                message == NULL ? "out of memory" : message);
    }
    free(message);
    wdb_server_cluster_free(c);
    return code == 0 ? 0 : 1;
}

/* --- the database ------------------------------------------------------------------ */

static void on_durable(void *context, uint64_t index)
{
    const struct wdb_server_cluster *c = context;
    (void)index; /* the node looks at the watermark itself */
    if (c->loop != NULL) {
        wdb_raft_loop_wake(c->loop);
    }
}

/* What the raft thread appends itself needs no wake-up. */
static void on_appended(void *context, uint64_t index)
{
    const struct wdb_server_cluster *c = context;
    (void)index;
    if (c->loop != NULL && !wdb_raft_loop_is_here(c->loop)) {
        wdb_raft_loop_wake(c->loop);
    }
}

static void on_log_failure(void *context, int error, const char *message)
{
    struct wdb_server_cluster *c = context;
    c->options.on_failure(c->options.context, error, message);
}

static void on_log_progress(void *context, uint64_t done, uint64_t total)
{
    const struct wdb_server_cluster *c = context;
    c->options.on_progress(c->options.context, done, total);
}

/* All that know the secret hash keys alike, and nobody else knows how: a cursor of
 * SCAN goes on at the next leader. */
static void make_hash_key(const struct wdb_server_cluster *c,
                          struct wdb_store_options *store)
{
    uint8_t mac[WDB_PEER_MAC_SIZE];
    if (c->secret.is_set &&
        wdb_peer_secret_mac(&c->secret, wdb_slice_str("keys of the keydir"),
                            mac) == 0) {
        memcpy(store->hash_key, mac, sizeof(store->hash_key));
        store->has_hash_key = true;
    }
}

void wdb_server_cluster_db_options(struct wdb_server_cluster *c,
                                   struct wdb_db_options *options)
{
    make_hash_key(c, &options->store);
    struct wdb_log_options *log = &options->store.log;
    log->manual_commit = true;
    log->sync_policy = WDB_SYNC_ALWAYS;
    log->prefill = true;
    log->on_durable = on_durable;
    log->on_appended = on_appended;
    log->on_failure = on_log_failure;
    log->on_progress = on_log_progress;
    log->context = c;
}

/* --- the node ------------------------------------------------------------------------ */

static void on_work(void *context)
{
    const struct wdb_server_cluster *c = context;
    wdb_raft_loop_wake(c->loop);
}

static void on_gate(void *context)
{
    struct wdb_server_cluster *c = context;
    struct wdb_net *net = atomic_load(&c->net);
    if (net != NULL) {
        wdb_net_wake_gated(net);
    }
}

static void on_raft_failure(void *context, int error, const char *message)
{
    struct wdb_server_cluster *c = context;
    c->options.on_failure(c->options.context, error, message);
}

static void on_message(void *context, wdb_node_id from,
                       const struct wdb_message *message)
{
    const struct wdb_server_cluster *c = context;
    wdb_raft_receive(c->raft, from, message);
}

static void on_writable(void *context, wdb_node_id peer,
                        enum wdb_peer_channel channel)
{
    const struct wdb_server_cluster *c = context;
    wdb_raft_writable(c->raft, peer, channel);
}

static void on_connected(void *context, wdb_node_id peer, bool is_connected)
{
    const struct wdb_server_cluster *c = context;
    wdb_raft_connected(c->raft, peer, is_connected);
}

static bool is_removed(void *context, wdb_node_id id)
{
    const struct wdb_server_cluster *c = context;
    return wdb_raft_is_removed(c->raft, id);
}

static void on_removed(void *context, wdb_node_id by)
{
    const struct wdb_server_cluster *c = context;
    wdb_raft_told_removed(c->raft, by);
}

static void on_other_cluster(void *context, wdb_node_id by, uint64_t cluster_id)
{
    const struct wdb_server_cluster *c = context;
    wdb_raft_told_other_cluster(c->raft, by, cluster_id);
}

static void on_forward(void *context, int fd, wdb_node_id peer)
{
    const struct wdb_server_cluster *c = context;
    c->options.on_forward(c->options.context, fd, peer);
}

static int make_peers(struct wdb_server_cluster *c, char **message_out)
{
    const struct wdb_peer_net_options options = {
        .loop = c->loop,
        .logger = c->options.logger,
        .identity = &c->identity,
        .secret = c->secret,
        .secret_dir = c->secret_dir,
        .raft_address = c->self.raft_address,
        .tcp_address = c->self.tcp_address,
        .callbacks = {.on_message = on_message,
                      .on_writable = on_writable,
                      .on_connected = on_connected,
                      .is_removed = is_removed,
                      .on_removed = on_removed,
                      .on_other_cluster = on_other_cluster,
                      .on_forward = on_forward,
                      .context = c},
    };
    int code = wdb_peer_net_new(&options, &c->peers);
    if (code != 0) {
        return say(message_out, code, "-raft %s: %s", c->self.raft_address,
                   walkerdb_strerror(code));
    }
    return wdb_peer_net_listen(c->peers, message_out);
}

/* The cluster's secret for a node that joins. */
static size_t secret_text(void *context, char *out, size_t size)
{
    const struct wdb_server_cluster *c = wdb_raft_owner(context);
    if (!c->secret.is_set || size <= WDB_PEER_SECRET_TEXT_SIZE) {
        return 0;
    }
    wdb_peer_secret_text(&c->secret, out);
    return WDB_PEER_SECRET_TEXT_SIZE;
}

static int make_raft(struct wdb_server_cluster *c, struct wdb_db *db,
                     char **message_out)
{
    const struct wdb_config *config = c->options.config;
    struct wdb_raft_options options;
    wdb_raft_options_init(&options);
    options.db = db;
    options.env = c->options.env;
    options.logger = c->options.logger;
    options.identity = &c->identity;
    options.peers = wdb_peer_net_peers(c->peers);
    options.election_timeout_ms =
        (uint32_t)wdb_config_u64(config, WDB_CONFIG_RAFT_ELECTION_TIMEOUT);
    options.heartbeat_ms =
        (uint32_t)wdb_config_u64(config, WDB_CONFIG_RAFT_HEARTBEAT);
    options.uncommitted_size_max =
        wdb_config_u64(config, WDB_CONFIG_RAFT_UNCOMMITTED_SIZE_MAX);
    options.retained_size =
        wdb_config_u64(config, WDB_CONFIG_RAFT_RETAINED_SIZE);
    options.transfer_rate =
        wdb_config_u64(config, WDB_CONFIG_RAFT_TRANSFER_RATE);
    options.on_work = on_work;
    options.on_gate = on_gate;
    options.on_failure = on_raft_failure;
    options.context = c;
    return wdb_raft_new(&options, &c->raft, message_out);
}

int wdb_server_cluster_open(struct wdb_server_cluster *c, struct wdb_db *db,
                            char **message_out)
{
    int code = make_peers(c, message_out);
    code = code == 0 ? make_raft(c, db, message_out) : code;
    if (code == 0) {
        wdb_cluster_of_raft(c->raft, &c->table);
        c->ops = *c->table.ops;
        c->ops.secret = secret_text;
        c->table.ops = &c->ops;
    }
    return code;
}

const struct wdb_cluster *wdb_server_cluster_of(struct wdb_server_cluster *c)
{
    return &c->table;
}

struct wdb_peer_net *wdb_server_cluster_peers(struct wdb_server_cluster *c)
{
    return c->peers;
}

struct wdb_raft *wdb_server_cluster_raft(struct wdb_server_cluster *c)
{
    return c->raft;
}

/* --- joining ---------------------------------------------------------------------------- */

/* PATH may be shared with the node that founds the cluster, which makes the
 * secret when we are running already. */
static void look_for_secret(struct wdb_server_cluster *c)
{
    struct wdb_peer_secret secret;
    char *message = NULL;
    if (!c->secret.is_set &&
        wdb_peer_secret_load(c->secret_dir, &secret, &message) == 0 &&
        secret.is_set) {
        c->options.on_secret(c->options.context);
    }
    free(message);
}

/* Asked again and again by the thread that joins. */
static bool is_member(void *context)
{
    struct wdb_server_cluster *c = context;
    struct wdb_raft_status status;
    look_for_secret(c);
    wdb_raft_status(c->raft, &status);
    for (uint32_t i = 0; i < status.peer_count; i++) {
        const struct wdb_member *member = &status.peers[i].member;
        if (member->id == c->self.id) {
            return strcmp(member->raft_address, c->self.raft_address) == 0 &&
                   strcmp(member->tcp_address, c->self.tcp_address) == 0;
        }
    }
    return false;
}

/* The answer to JOIN brought the secret. */
static int keep_secret(void *context, struct wdb_slice text)
{
    struct wdb_server_cluster *c = context;
    struct wdb_peer_secret secret;
    char *message = NULL;
    int code =
        wdb_peer_secret_write_text(c->secret_dir, text, &secret, &message);
    if (code == 0) {
        c->options.on_secret(c->options.context);
    } else {
        wdb_logger_print(c->options.logger, WDB_LOG_WARNING,
                         "The cluster's secret can't be kept: %s",
                         message == NULL ? walkerdb_strerror(code) : message);
    }
    free(message);
    return code;
}

static int start_join(struct wdb_server_cluster *c)
{
    const struct wdb_config *config = c->options.config;
    struct wdb_join_options options = {
        .logger = c->options.logger,
        .self = c->self,
        .wants_secret = !c->secret.is_set,
        .secret_dir = c->secret_dir,
        .is_member = is_member,
        .keep_secret = keep_secret,
        .context = c,
    };
    wdb_config_text(config, WDB_CONFIG_RAFT_JOIN, options.address,
                    sizeof(options.address));
    wdb_config_text(config, WDB_CONFIG_MASTERAUTH, options.password,
                    sizeof(options.password));
    return options.address[0] == '\0' || is_member(c)
               ? 0
               : wdb_join_start(&options, &c->join);
}

int wdb_server_cluster_start(struct wdb_server_cluster *c, struct wdb_net *net,
                             char **message_out)
{
    atomic_store(&c->net, net);
    int code = wdb_raft_loop_start(c->loop);
    if (code == 0) {
        code = start_join(c);
    }
    return code == 0 ? 0
                     : say(message_out, code, "can't start the raft thread: %s",
                           walkerdb_strerror(code));
}

/* --- the end ------------------------------------------------------------------------------ */

static void on_resigned(void *context, int code, const char *message)
{
    struct wdb_server_cluster *c = context;
    if (code != 0 && code != WALKERDB_ENOTLEADER) {
        wdb_logger_print(c->options.logger, WDB_LOG_NOTICE,
                         "Leadership was not handed over: %s", message);
    }
    pthread_mutex_lock(&c->resign_lock);
    c->resign_done = true;
    pthread_cond_signal(&c->resigned);
    pthread_mutex_unlock(&c->resign_lock);
}

void wdb_server_cluster_resign(struct wdb_server_cluster *c)
{
    const struct wdb_raft_request request = {
        .kind = WDB_RAFT_TRANSFER,
        .timeout_ms = RESIGN_MS,
        .done = on_resigned,
        .context = c,
    };
    struct timespec until;
    if (c->raft == NULL || !wdb_raft_serves(c->raft) ||
        wdb_raft_ask(c->raft, &request) != 0) {
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RESIGN_WAIT_MS / 1000;
    pthread_mutex_lock(&c->resign_lock);
    int error = 0;
    while (!c->resign_done && error != ETIMEDOUT) {
        error = pthread_cond_timedwait(&c->resigned, &c->resign_lock, &until);
    }
    pthread_mutex_unlock(&c->resign_lock);
}

static void stop_raft(void *arg)
{
    struct wdb_server_cluster *c = arg;
    if (c->raft != NULL) {
        wdb_raft_stop(c->raft);
    }
}

void wdb_server_cluster_stop(struct wdb_server_cluster *c)
{
    wdb_join_stop(c->join);
    c->join = NULL;
    if (c->loop != NULL) {
        wdb_raft_loop_call(c->loop, stop_raft, c);
        wdb_raft_loop_stop(c->loop);
    }
    atomic_store(&c->net, NULL);
    wdb_raft_free(c->raft);
    c->raft = NULL;
    wdb_peer_net_free(c->peers);
    c->peers = NULL;
}

void wdb_server_cluster_free(struct wdb_server_cluster *c)
{
    if (c == NULL) {
        return;
    }
    wdb_server_cluster_stop(c);
    wdb_raft_loop_free(c->loop);
    if (c->has_identity) {
        wdb_identity_close(&c->identity);
    }
    if (c->raft_lock != NULL) {
        c->options.env->ops->unlock(c->raft_lock);
    }
    pthread_cond_destroy(&c->resigned);
    pthread_mutex_destroy(&c->resign_lock);
    free(c);
}
