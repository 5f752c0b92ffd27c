/*
 * cluster_node.c - a node: the production objects of one process, driven by
 * events where the server has threads.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/config.h"
#include "base/assert.h"
#include "cmd/backup.h"
#include "cmd/command.h"
#include "raft/raft_internal.h"
#include "sim/cluster.h"

#define DB_DIR   "/db"
#define RAFT_DIR "/raft"

/* --- events ---------------------------------------------------------------- */

static void on_event(void *context, void *arg, bool happens);

/* What an event carries: which life of the node, and what is to be done. */
static void *event_arg(const struct cluster_node *node, enum cluster_work work)
{
    return (void *)(uintptr_t)(node->life << 8 | (uint64_t)work);
}

static bool outlives(enum cluster_work work)
{
    return work == CLUSTER_WORK_START || work == CLUSTER_WORK_RESUME;
}

void cluster_node_after(struct cluster_node *node, enum cluster_work work,
                        uint64_t ns)
{
    const uint64_t time = cluster_now(node->cluster) + ns;
    if (node->due_ns[work] != 0 && node->due_ns[work] <= time) {
        return;
    }
    node->due_ns[work] = time;
    cluster_events_add(&node->cluster->events, time, on_event, node,
                       event_arg(node, work));
}

static void soon(struct cluster_node *node, enum cluster_work work)
{
    cluster_node_after(node, work, 1000 + cluster_below(node->cluster, 60000));
}

static void sync_soon(struct cluster_node *node)
{
    const uint64_t spread = node->sync_max_ns - node->sync_min_ns;
    cluster_node_after(node, CLUSTER_WORK_LOG,
                       node->sync_min_ns +
                           cluster_below(node->cluster, spread + 1));
}

/* --- what the log and the node call ------------------------------------------ */

static void on_durable(void *context, uint64_t index)
{
    struct cluster_node *node = context;
    (void)index;
    if (node->raft != NULL) {
        soon(node, CLUSTER_WORK_RUN);
    }
}

static void on_appended(void *context, uint64_t index)
{
    struct cluster_node *node = context;
    (void)index;
    if (node->raft != NULL) {
        soon(node, CLUSTER_WORK_RUN);
    }
    sync_soon(node);
}

/* The process says why and ends, as the server does. */
static void fails(struct cluster_node *node, int error, const char *message)
{
    if (node->is_ending || node->is_stopping) {
        return;
    }
    node->is_ending = true;
    cluster_say(node->cluster, node, "FATAL %s (%s)",
                message == NULL ? "" : message, walkerdb_strerror(error));
    cluster_saw(node->cluster, CLUSTER_SAW_FAILED);
    if (!node->is_excused && !node->is_rotten) {
        cluster_complain(node->cluster, node, "it failed without a reason: %s",
                         message == NULL ? walkerdb_strerror(error) : message);
    }
    cluster_node_after(node, CLUSTER_WORK_END,
                       cluster_below(node->cluster, 3 * NS_PER_MS));
}

static void on_log_failure(void *context, int error, const char *message)
{
    fails(context, error, message);
}

static void on_raft_failure(void *context, int error, const char *message)
{
    fails(context, error, message);
}

static void on_work(void *context)
{
    soon(context, CLUSTER_WORK_RUN);
}

static void on_gate(void *context)
{
    soon(context, CLUSTER_WORK_TURN);
}

static void on_line(void *context, enum wdb_log_level level, const char *line)
{
    struct cluster_node *node = context;
    (void)level;
    cluster_say(node->cluster, node, "%s", line);
}

/* --- jobs off the loop --------------------------------------------------------- */

static void job_free(struct cluster_job *job)
{
    *job->link = job->next;
    if (job->next != NULL) {
        job->next->link = job->link;
    }
    free(job);
}

static void job_event(void *context, void *arg, bool happens);

static void job_later(struct cluster_job *job)
{
    struct cluster_node *node = job->node;
    const uint64_t bound = node->sync_max_ns + 200000;
    cluster_events_add(&node->cluster->events,
                       cluster_now(node->cluster) + 20000 +
                           cluster_below(node->cluster, bound),
                       job_event, node, job);
}

/* A job may still want the session: then it is freed behind that. */
static bool has_job(const struct wdb_session *session)
{
    return (session->flags & (WDB_SESSION_PARKED | WDB_SESSION_PAUSED)) ==
           WDB_SESSION_PARKED;
}

static void free_session(struct cluster_node *node, struct wdb_session *session)
{
    wdb_executor_remove(node->executor, session);
    wdb_session_free(session);
}

static void free_orphans(struct cluster_node *node)
{
    for (uint32_t i = node->orphan_count; i-- > 0;) {
        if (!has_job(node->orphans[i])) {
            free_session(node, node->orphans[i]);
            node->orphans[i] = node->orphans[--node->orphan_count];
        }
    }
}

void cluster_node_drop(struct cluster_node *node, struct wdb_session *session)
{
    if (!has_job(session)) {
        free_session(node, session);
        return;
    }
    wdb_assert(node->orphan_count < WDB_COUNT(node->orphans));
    session->flags |= WDB_SESSION_CLOSING;
    node->orphans[node->orphan_count++] = session;
}

/* Jobs of a process that has ended were done at its end; then their events find
 * them gone. */
static void job_event(void *context, void *arg, bool happens)
{
    struct cluster_node *node = context;
    struct cluster_job *job = node->jobs;
    while (job != NULL && (void *)job != arg) {
        job = job->next;
    }
    if (!happens || job == NULL) {
        return;
    }
    if (node->is_paused) {
        job_later(job);
    } else if (!job->worked) {
        job->work(job->arg);
        job->worked = true;
        job_later(job);
    } else {
        void (*done)(void *arg_done) = job->done;
        void *done_arg = job->arg;
        job_free(job);
        done(done_arg);
        free_orphans(node);
        soon(node, CLUSTER_WORK_RUN);
    }
}

static void job_add(struct cluster_node *node, void (*work)(void *arg),
                    void (*done)(void *arg), void *arg)
{
    struct cluster_job *job = calloc(1, sizeof(*job));
    wdb_assert(job != NULL);
    *job = (struct cluster_job){
        .node = node, .work = work, .done = done, .arg = arg};
    /* Last. */
    struct cluster_job **link = &node->jobs;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    job->link = link;
    *link = job;
    job_later(job);
}

static void finish_jobs(struct cluster_node *node)
{
    while (node->jobs != NULL) {
        struct cluster_job *job = node->jobs;
        if (!job->worked) {
            job->work(job->arg);
        }
        void (*done)(void *arg) = job->done;
        void *arg = job->arg;
        job_free(job);
        done(arg);
    }
}

static void net_run_off_loop(void *context, uint32_t number,
                             void (*work)(void *arg), void (*done)(void *arg),
                             void *arg)
{
    struct cluster *cluster = context;
    job_add(&cluster->nodes[number], work, done, arg);
}

/* --- what the net calls ---------------------------------------------------------- */

static void say_message(struct cluster_node *node, wdb_node_id from,
                        const struct wdb_message *m)
{
    static const char *const names[] = {
        "none",          "VOTE",        "VOTE_RESULT", "APPEND",
        "APPEND_RESULT", "TIMEOUT_NOW", "ROUND",       "ROUND_RESULT",
        "OFFER",         "FETCH",       "PIECE",       "FETCH_FAILED"};
    const struct cluster *cluster = node->cluster;
    uint32_t number = 0;
    while (number + 1 < cluster->knobs.machine_count &&
           cluster->nodes[number].id != from) {
        number++;
    }
    char text[200] = "";
    if (m->kind == WDB_MESSAGE_APPEND) {
        snprintf(text, sizeof(text),
                 "previous %llu/%llu count %u committed %llu",
                 (unsigned long long)m->append.previous_index,
                 (unsigned long long)m->append.previous_term,
                 m->append.entry_count,
                 (unsigned long long)m->append.committed);
    } else if (m->kind == WDB_MESSAGE_APPEND_RESULT) {
        snprintf(text, sizeof(text), "rejected %llu last %llu",
                 (unsigned long long)m->append_result.rejected,
                 (unsigned long long)m->append_result.last_index);
    } else if (m->kind == WDB_MESSAGE_VOTE) {
        snprintf(text, sizeof(text), "last %llu/%llu%s%s",
                 (unsigned long long)m->vote.last_index,
                 (unsigned long long)m->vote.last_term,
                 m->vote.pre_vote ? " pre" : "",
                 m->vote.disrupt_leader ? " disrupt" : "");
    } else if (m->kind == WDB_MESSAGE_VOTE_RESULT) {
        snprintf(text, sizeof(text), "%s%s",
                 m->vote_result.granted ? "granted" : "denied",
                 m->vote_result.pre_vote ? " pre" : "");
    }
    cluster_say(node->cluster, node, "<- n%u term %llu %s %s", number,
                (unsigned long long)m->term, names[m->kind], text);
}

static void net_message(void *context, uint32_t number, wdb_node_id from,
                        const struct wdb_message *message)
{
    struct cluster *cluster = context;
    struct cluster_node *node = &cluster->nodes[number];
    if (node->raft == NULL || node->is_ending) {
        return;
    }
    if (cluster->options.trace_messages) {
        say_message(node, from, message);
    }
    wdb_raft_receive(node->raft, from, message);
    cluster_check_node(node);
    soon(node, CLUSTER_WORK_RUN);
}

static void net_writable(void *context, uint32_t number, wdb_node_id peer,
                         enum wdb_peer_channel channel)
{
    struct cluster *cluster = context;
    struct cluster_node *node = &cluster->nodes[number];
    if (node->raft != NULL && !node->is_ending) {
        wdb_raft_writable(node->raft, peer, channel);
        soon(node, CLUSTER_WORK_RUN);
    }
}

static void net_connected(void *context, uint32_t number, wdb_node_id peer,
                          bool is_connected)
{
    struct cluster *cluster = context;
    struct cluster_node *node = &cluster->nodes[number];
    if (node->raft != NULL && !node->is_ending) {
        wdb_raft_connected(node->raft, peer, is_connected);
        soon(node, CLUSTER_WORK_RUN);
    }
}

static void describe(const struct cluster_node *node, struct wdb_member *out)
{
    *out =
        (struct wdb_member){.id = node->identity.id, .role = WDB_MEMBER_VOTER};
    snprintf(out->name, sizeof(out->name), "%s", node->name);
    snprintf(out->raft_address, sizeof(out->raft_address), "%s",
             node->raft_address);
    snprintf(out->tcp_address, sizeof(out->tcp_address), "%s",
             node->tcp_address);
}

static void net_describe(void *context, uint32_t number, struct wdb_member *out,
                         uint64_t *cluster_id_out)
{
    struct cluster *cluster = context;
    const struct cluster_node *node = &cluster->nodes[number];
    describe(node, out);
    *cluster_id_out = node->identity.cluster_id;
}

static void net_refused(void *context, uint32_t number)
{
    struct cluster *cluster = context;
    struct cluster_node *node = &cluster->nodes[number];
    if (!node->is_rotten) {
        cluster_complain(cluster, node,
                         "it sent a message that cannot be decoded");
    }
}

static void net_accepted_damage(void *context,
                                const struct wdb_message *message)
{
    cluster_complain(context, NULL,
                     "a message of kind %d was damaged and accepted",
                     (int)message->kind);
}

/* --- what commands call ------------------------------------------------------------- */

static void hook_run_off_loop(void *context, struct wdb_executor *executor,
                              void (*work)(void *), void (*done)(void *),
                              void *arg)
{
    (void)executor;
    job_add(context, work, done, arg);
}

static void hook_session(void *context, struct wdb_session *session)
{
    struct cluster_node *node = context;
    (void)session;
    node->wants_send = true;
}

static void hook_shutdown(void *context, bool save)
{
    (void)context;
    (void)save;
}

static void hook_monitor(void *context, const char *line, size_t size,
                         uint64_t index)
{
    (void)context;
    (void)line;
    (void)size;
    (void)index;
}

static void hook_config(void *context, const char *name)
{
    (void)context;
    (void)name;
}

static const struct wdb_context_hooks hooks = {
    .run_off_loop = hook_run_off_loop,
    .session_ready = hook_session,
    .session_wake = hook_session,
    .shutdown = hook_shutdown,
    .monitor = hook_monitor,
    .config_changed = hook_config,
};

/* --- begin --------------------------------------------------------------------------- */

static void set(struct cluster_node *node, enum wdb_config_id id,
                const char *value)
{
    char error[200] = "";
    const int rc =
        wdb_config_force(node->config, id, value, error, sizeof(error));
    wdb_assert(rc == 0);
}

static void make_context(struct cluster_node *node)
{
    struct wdb_context *context = &node->context;
    char number[32];
    memset(context, 0, sizeof(*context));
    context->env = sim_env_base(node->env);
    int rc = wdb_config_new(context->env, &node->config);
    context->config = node->config;
    context->logger = &node->logger;
    context->hooks = &hooks;
    context->hooks_context = node;
    context->cluster = &node->link;
    context->db = node->db;
#ifdef WDB_MUTATIONS
    context->mutations = node->cluster->options.cmd_mutations;
#endif
    pthread_mutex_init(&context->registry_lock, NULL);
    wdb_list_init(&context->sessions);
    rc = rc == 0 ? wdb_stats_new(1, wdb_command_id_count(), &context->stats)
                 : rc;
    rc = rc == 0 ? wdb_slowlog_new(&context->slowlog) : rc;
    rc = rc == 0 ? wdb_latency_new(&context->latency) : rc;
    rc = rc == 0 ? wdb_backup_new(&context->save) : rc;
    rc = rc == 0 ? wdb_executor_new(context, node,
                                    wdb_stats_worker(context->stats, 0),
                                    &node->executor)
                 : rc;
    wdb_assert(rc == 0);
    set(node, WDB_CONFIG_CLUSTER_REDIRECT, "yes");
    snprintf(number, sizeof(number), "%u", node->cluster->knobs.election_ms);
    set(node, WDB_CONFIG_RAFT_ELECTION_TIMEOUT, number);
}

static void release_context(struct cluster_node *node)
{
    struct wdb_context *context = &node->context;
    wdb_executor_free(node->executor);
    wdb_backup_free(context->save);
    wdb_latency_free(context->latency);
    wdb_slowlog_free(context->slowlog);
    wdb_stats_free(context->stats);
    wdb_config_free(node->config);
    pthread_mutex_destroy(&context->registry_lock);
    node->executor = NULL;
    node->config = NULL;
}

static int open_db(struct cluster_node *node, char **message_out)
{
    struct wdb_db_options options = {.context = node};
    struct wdb_log_options *log = &options.store.log;
    wdb_store_options_init(&options.store);
    log->env = sim_env_base(node->env);
    log->dir = DB_DIR;
    log->logger = &node->logger;
    log->create = true;
    log->background_thread = false;
    log->manual_commit = true;
    log->sync_policy = WDB_SYNC_ALWAYS;
    log->segment_size = WDB_SEGMENT_SIZE_MIN;
    log->on_durable = on_durable;
    log->on_appended = on_appended;
    log->on_failure = on_log_failure;
    log->context = node;
    options.store.stripe_count = 4;
    options.store.load_threads = 1;
    options.store.hints = true;
    options.store.merge_enabled = node->cluster->knobs.faults[CLUSTER_MERGE];
    options.store.merge_ratio = 0.1;
    options.store.merge_rate = 0;
#ifdef WDB_MUTATIONS
    log->mutations = node->cluster->options.log_mutations;
    options.store.mutations = node->cluster->options.store_mutations;
#endif
    return wdb_db_open(&options, &node->db, message_out);
}

static int make_raft(struct cluster_node *node, char **message_out)
{
    const struct cluster_knobs *knobs = &node->cluster->knobs;
    struct wdb_raft_options options;
    struct wdb_member self;
    describe(node, &self);
    int rc = 0;
    if (node->number == 0 && node->incarnation == 0 &&
        !wdb_log_is_cluster(wdb_db_log(node->db))) {
        rc = wdb_raft_found(node->db, &node->identity, &self);
    }
    if (rc != 0) {
        return rc;
    }
    wdb_raft_options_init(&options);
    options.db = node->db;
    options.env = sim_env_base(node->env);
    options.logger = &node->logger;
    options.identity = &node->identity;
    options.peers = cluster_net_peers(&node->cluster->net, node->number);
    options.election_timeout_ms = knobs->election_ms;
    options.uncommitted_size_max = knobs->uncommitted_max;
    options.retained_size = knobs->retained_size;
#ifdef WDB_MUTATIONS
    options.mutations = node->cluster->options.raft_mutations;
#endif
    options.on_work = on_work;
    options.on_gate = on_gate;
    options.on_failure = on_raft_failure;
    options.context = node;
    return wdb_raft_new(&options, &node->raft, message_out);
}

static void close_all(struct cluster_node *node)
{
    if (node->db != NULL) {
        wdb_db_close(node->db);
    }
    if (node->identity.file != NULL || node->identity.env != NULL) {
        wdb_identity_close(&node->identity);
    }
    sim_env_free(node->env);
    memset(&node->identity, 0, sizeof(node->identity));
    node->env = NULL;
    node->db = NULL;
    node->raft = NULL;
}

/* What could be opened is closed again. */
static void refuse(struct cluster_node *node, int rc, const char *message)
{
    struct cluster *cluster = node->cluster;
    cluster_say(cluster, node, "refuses to start: %s (%s)",
                message == NULL ? "" : message, walkerdb_strerror(rc));
    cluster_saw(cluster, CLUSTER_SAW_REFUSED_START);
    if (!node->is_excused && !node->is_rotten && node->is_wanted) {
        cluster_complain(cluster, node, "it refuses to start: %s (%s)",
                         message == NULL ? "" : message, walkerdb_strerror(rc));
    }
    node->is_stopping = true;
    cluster_net_down(&cluster->net, node->number);
    sim_env_die_after(node->env, 0);
    finish_jobs(node);
    close_all(node);
    node->is_stopping = false;
}

bool cluster_node_start(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    char *message = NULL;
    wdb_assert(!node->is_up);
    node->life++;
    node->is_ending = node->is_paused = node->is_stopping = false;
    node->due = 0;
    for (int i = 0; i < CLUSTER_WORK_COUNT; i++) {
        node->due_ns[i] = outlives((enum cluster_work)i) ? node->due_ns[i] : 0;
    }
    node->env = sim_env_new(node->disk,
                            cluster->options.seed * 1000 + node->number * 100 +
                                node->life,
                            &cluster->clock);
    sim_env_jump_ms(node->env, node->skew_ms);
    int rc = wdb_identity_open(sim_env_base(node->env), RAFT_DIR, node->name,
                               &node->identity, &message);
    if (rc == 0) {
        free(message); /* a warning */
        message = NULL;
        node->id = node->identity.id;
        cluster_net_up(&cluster->net, node->number, node->id,
                       node->raft_address);
        rc = open_db(node, &message);
    }
    if (rc == 0) {
        rc = make_raft(node, &message);
    }
    if (rc != 0) {
        refuse(node, rc, message);
        free(message);
        return false;
    }
    wdb_cluster_of_raft(node->raft, &node->link);
    make_context(node);
    node->is_up = true;
    node->is_empty = false;
    node->is_excused = node->is_full;
    node->needs_power_cut = false;
    node->checked = 0;
    node->era_seen = wdb_raft_era(node->raft);
    node->installs_seen = node->truncations_seen = node->merges_seen = 0;
    node->was_leader = false;
    cluster_say(cluster, node, "started: last %llu, committed %llu, term %llu",
                (unsigned long long)wdb_log_index_last(wdb_db_log(node->db)),
                (unsigned long long)wdb_log_committed(wdb_db_log(node->db)),
                (unsigned long long)node->identity.term);
    cluster_check_node(node);
    soon(node, CLUSTER_WORK_RUN);
    cluster_node_after(node, CLUSTER_WORK_TICK, 10 * NS_PER_MS);
    return true;
}

/* --- the end ---------------------------------------------------------------------------- */

void cluster_node_end(struct cluster_node *node, enum cluster_end how)
{
    static const char *const names[] = {"stops", "is killed",
                                        "loses its power"};
    struct cluster *cluster = node->cluster;
    if (!node->is_up) {
        return;
    }
    if (node->needs_power_cut) {
        how = CLUSTER_END_POWER;
    }
    cluster_say(cluster, node, "%s", names[how]);
    node->is_stopping = true;
    node->is_paused = false;
    node->life++;
    if (how != CLUSTER_END_STOP) {
        sim_env_die_after(node->env, 0);
    }
    cluster_net_down(&cluster->net, node->number);
    for (uint32_t i = 0; i < cluster->knobs.client_count; i++) {
        struct cluster_client *client = &cluster->clients[i];
        if (client->session != NULL && client->session_node == node->number) {
            cluster_client_lose(client);
        }
    }
    wdb_raft_stop(node->raft);
    cluster_net_stop(&cluster->net, node->number);
    finish_jobs(node);
    free_orphans(node);
    wdb_assert(node->orphan_count == 0);
    release_context(node);
    wdb_raft_free(node->raft);
    node->raft = NULL;
    close_all(node);
    node->is_up = node->is_stopping = node->is_ending = false;
    if (how == CLUSTER_END_POWER) {
        struct wdb_random random;
        wdb_random_seed(&random, wdb_random_next(&cluster->random));
        sim_disk_crash(node->disk,
                       (enum sim_crash_policy)cluster_below(
                           cluster, SIM_CRASH_POLICY_COUNT),
                       &random);
        node->needs_power_cut = false;
    }
}

/* --- a node's steps ------------------------------------------------------------------------ */

static void collect(struct cluster_node *node)
{
    const struct wdb_gate gate = wdb_executor_gate(node->executor);
    struct cluster *cluster = node->cluster;
    for (uint32_t i = 0; i < cluster->knobs.client_count; i++) {
        struct cluster_client *client = &cluster->clients[i];
        struct wdb_session *session = client->session;
        if (session == NULL || client->session_node != node->number) {
            continue;
        }
        size_t size = wdb_session_sendable(session, gate);
        while (size > 0) {
            struct iovec part;
            const int count = wdb_output_peek(&session->output, &part, 1, size);
            wdb_assert(count == 1);
            cluster_client_bytes(client, part.iov_base, part.iov_len);
            wdb_session_sent(session, part.iov_len);
            size -= part.iov_len;
        }
    }
}

/* The second half of a worker's turn. */
static void do_send(struct cluster_node *node)
{
    bool due = false;
    if (wdb_log_dirty(wdb_db_log(node->db))) {
        (void)!wdb_log_flush(wdb_db_log(node->db));
    }
    collect(node);
    if (wdb_executor_has_work(node->executor) ||
        (wdb_executor_waits_for_cluster(node->executor, &due) && due)) {
        soon(node, CLUSTER_WORK_TURN);
    }
}

static void do_turn(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    (void)wdb_executor_run(node->executor);
    (void)wdb_executor_needs_flush(node->executor);
    if (cluster->knobs.faults[CLUSTER_SPLIT_TURN] &&
        cluster_chance(cluster, 30)) {
        cluster->counters.faults[CLUSTER_SPLIT_TURN]++;
        cluster_node_after(node, CLUSTER_WORK_SEND,
                           1000 + cluster_below(cluster, 2 * NS_PER_MS));
    } else {
        do_send(node);
    }
}

static void do_run(struct cluster_node *node)
{
    const uint64_t at = wdb_raft_run(node->raft);
    const uint64_t now = cluster_now(node->cluster);
    if (at != UINT64_MAX) {
        cluster_node_after(node, CLUSTER_WORK_RUN, at > now ? at - now : 1000);
    }
}

static void do_tick(struct cluster_node *node)
{
    const uint64_t expired = wdb_db_expire_step(node->db, 1000);
    if (expired > 0) {
        (void)!wdb_log_flush(wdb_db_log(node->db));
    }
    sync_soon(node);
    cluster_node_after(node, CLUSTER_WORK_STORE,
                       cluster_below(node->cluster, 20 * NS_PER_MS));
    soon(node, CLUSTER_WORK_TURN);
    cluster_node_after(node, CLUSTER_WORK_TICK,
                       (20 + cluster_below(node->cluster, 60)) * NS_PER_MS);
}

static void do_steps(struct cluster_node *node, enum cluster_work work)
{
    for (int i = 0; i < 4 && !node->is_ending; i++) {
        const bool any = work == CLUSTER_WORK_LOG
                             ? wdb_log_step(wdb_db_log(node->db))
                             : wdb_store_step(wdb_db_store(node->db));
        if (!any) {
            return;
        }
    }
    if (work == CLUSTER_WORK_STORE) {
        cluster_node_after(node, work, 2 * NS_PER_MS);
    }
}

static void do_work(struct cluster_node *node, enum cluster_work work)
{
    switch (work) {
    case CLUSTER_WORK_RUN:
        do_run(node);
        break;
    case CLUSTER_WORK_TURN:
        do_turn(node);
        break;
    case CLUSTER_WORK_SEND:
        do_send(node);
        break;
    case CLUSTER_WORK_LOG:
    case CLUSTER_WORK_STORE:
        do_steps(node, work);
        break;
    case CLUSTER_WORK_TICK:
        do_tick(node);
        break;
    default:
        break;
    }
    if (!node->is_ending) {
        cluster_check_node(node);
    }
}

static void end_failed(struct cluster_node *node)
{
    cluster_node_end(node, node->needs_power_cut ? CLUSTER_END_POWER
                                                 : CLUSTER_END_KILL);
    cluster_node_after(node, CLUSTER_WORK_START,
                       (50 + cluster_below(node->cluster, 1000)) * NS_PER_MS);
}

static void start_again(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    if (node->is_up || (!node->is_wanted && node->is_empty)) {
        return;
    }
    cluster_saw(cluster, CLUSTER_SAW_RESTART);
    if (!cluster_node_start(node) && cluster->failure[0] == '\0') {
        if (node->is_rotten) {
            cluster_node_wipe(node);
        }
        cluster_node_after(node, CLUSTER_WORK_START,
                           (100 + cluster_below(cluster, 400)) * NS_PER_MS);
    }
}

static void on_event(void *context, void *arg, bool happens)
{
    struct cluster_node *node = context;
    const enum cluster_work work = (enum cluster_work)((uintptr_t)arg & 0xff);
    const uint64_t life = (uint64_t)(uintptr_t)arg >> 8;
    if (!happens || (life != node->life && !outlives(work)) ||
        node->due_ns[work] == 0 ||
        cluster_now(node->cluster) < node->due_ns[work]) {
        return;
    }
    node->due_ns[work] = 0;
    if (work == CLUSTER_WORK_START) {
        start_again(node);
    } else if (work == CLUSTER_WORK_RESUME) {
        cluster_node_pause(node, false);
    } else if (node->is_paused) {
        node->due |= 1u << work;
    } else if (work == CLUSTER_WORK_END) {
        end_failed(node);
    } else if (work == CLUSTER_WORK_CUT) {
        node->cluster->counters.faults[CLUSTER_POWER]++;
        cluster_node_end(node, CLUSTER_END_POWER);
        cluster_node_after(node, CLUSTER_WORK_START,
                           cluster_below(node->cluster, 800 * NS_PER_MS));
    } else if (node->is_up && !node->is_ending) {
        do_work(node, work);
    }
}

/* --- what is done to it -------------------------------------------------------------------- */

void cluster_node_pause(struct cluster_node *node, bool is_paused)
{
    if (!node->is_up || node->is_paused == is_paused) {
        return;
    }
    cluster_say(node->cluster, node, is_paused ? "is paused" : "goes on");
    node->is_paused = is_paused;
    cluster_net_pause(&node->cluster->net, node->number, is_paused);
    const uint32_t due = node->due;
    node->due = 0;
    for (int i = 0; !is_paused && i < CLUSTER_WORK_COUNT; i++) {
        if ((due >> i & 1) != 0) {
            soon(node, (enum cluster_work)i);
        }
    }
}

void cluster_node_jump(struct cluster_node *node, int64_t ms)
{
    node->skew_ms += ms;
    if (node->is_up) {
        sim_env_jump_ms(node->env, ms);
    }
}

bool cluster_node_serves(const struct cluster_node *node)
{
    return node->is_up && !node->is_paused && !node->is_ending &&
           wdb_raft_serves(node->raft);
}

static void make_dirs(struct cluster_node *node)
{
    struct sim_env *env = sim_env_new(node->disk, 1, &node->cluster->clock);
    struct wdb_env *base = sim_env_base(env);
    int rc = base->ops->mkdir(base, RAFT_DIR);
    rc = rc == 0 ? base->ops->mkdir(base, DB_DIR) : rc;
    rc = rc == 0 ? base->ops->sync_dir(base, "/") : rc;
    wdb_assert(rc == 0);
    sim_env_free(env);
}

void cluster_node_wipe(struct cluster_node *node)
{
    wdb_assert(!node->is_up);
    cluster_say(node->cluster, node, "gets an empty disk and a new name");
    sim_disk_free(node->disk);
    node->disk = sim_disk_new();
    make_dirs(node);
    node->incarnation++;
    node->id = 0;
    node->is_empty = true;
    node->is_rotten = node->is_excused = node->needs_power_cut = false;
    snprintf(node->name, sizeof(node->name), "n%u-%u", node->number,
             node->incarnation);
}

void cluster_node_init(struct cluster *cluster, uint32_t number)
{
    static const struct cluster_net_callbacks callbacks = {
        .message = net_message,
        .writable = net_writable,
        .connected = net_connected,
        .describe = net_describe,
        .run_off_loop = net_run_off_loop,
        .refused = net_refused,
        .accepted_damage = net_accepted_damage,
    };
    struct cluster_node *node = &cluster->nodes[number];
    node->cluster = cluster;
    node->number = number;
    node->disk = sim_disk_new();
    node->is_empty = true;
    node->sync_min_ns = 100000;
    node->sync_max_ns = 2 * NS_PER_MS;
    make_dirs(node);
    snprintf(node->name, sizeof(node->name), "n%u", number);
    snprintf(node->raft_address, sizeof(node->raft_address), "n%u:8001",
             number);
    snprintf(node->tcp_address, sizeof(node->tcp_address), "n%u:%u", number,
             9000 + number);
    node->logger.sink = cluster->options.trace ? on_line : NULL;
    node->logger.context = node;
    atomic_store(&node->logger.level_min, WDB_LOG_VERBOSE);
    cluster->net.callbacks = callbacks;
    cluster->net.callbacks.context = cluster;
}

void cluster_node_release(struct cluster_node *node)
{
    cluster_node_end(node, CLUSTER_END_KILL);
    if (node->disk != NULL) {
        sim_disk_free(node->disk);
        node->disk = NULL;
    }
}
