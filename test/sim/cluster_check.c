/* cluster_check.c - what must hold: of each node all the time, of all of them
 * when they are at rest, of what clients saw. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "raft/raft_internal.h"
#include "sim/check_append.h"
#include "sim/check_linear.h"
#include "sim/cluster.h"

#define LINEAR_STEPS_MAX 300000

/* --- committed entries ----------------------------------------------------- */

/* The same entry everywhere. */
static bool check_entry(struct cluster_node *node,
                        const struct wdb_entry_header *header)
{
    struct cluster *cluster = node->cluster;
    const struct cluster_model_entry *entry =
        &cluster->model.entries[header->index];
    if (entry->term != header->term || entry->type != header->type ||
        entry->payload_crc != header->payload_crc) {
        cluster_complain(cluster, node,
                         "its committed entry %" PRIu64 " is of term %" PRIu64
                         ", but of term %" PRIu64
                         " where it was committed first",
                         header->index, header->term, entry->term);
        return false;
    }
    return true;
}

static bool add_entry(struct cluster_node *node, uint64_t index)
{
    struct cluster *cluster = node->cluster;
    struct wdb_entry_header header;
    const uint8_t *payload;
    struct wdb_segment *segment;
    int rc =
        wdb_log_entry(wdb_db_log(node->db), index, &header, &payload, &segment);
    if (rc == 0) {
        rc = cluster_model_add(&cluster->model, &header, payload);
        wdb_segment_drop(segment);
    }
    if (rc != 0 && !node->is_rotten) {
        cluster_complain(cluster, node,
                         "entry %" PRIu64 " was just committed and cannot be "
                         "read: %s",
                         index, walkerdb_strerror(rc));
    }
    return rc == 0;
}

static void check_committed(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    struct wdb_log *log = wdb_db_log(node->db);
    const uint64_t committed = wdb_log_committed(log);
    struct wdb_entry_header header;
    if (node->checked == 0) {
        const uint64_t first = wdb_log_index_first(log);
        node->checked = first > 0 ? first - 1 : 0;
    }
    for (uint64_t i = node->checked + 1; i <= committed; i++) {
        if (i > cluster->model.head + 1) {
            cluster_complain(cluster, node,
                             "entry %" PRIu64 " is committed, but nobody has "
                             "committed %" PRIu64,
                             i, cluster->model.head + 1);
            return;
        }
        if (i > cluster->model.head) {
            if (!add_entry(node, i)) {
                return;
            }
        } else if (wdb_log_entry_header(log, i, &header) == 0 &&
                   !check_entry(node, &header)) {
            return;
        }
    }
    node->checked = committed > node->checked ? committed : node->checked;
}

/* --- watermarks, hashes ---------------------------------------------------- */

static void check_indexes(struct cluster_node *node)
{
    const struct wdb_raft *raft = node->raft;
    const struct wdb_log *log = wdb_db_log(node->db);
    const uint64_t committed = wdb_log_committed(log);
    const uint64_t durable = wdb_log_durable(log);
    if (committed > durable) {
        cluster_complain(node->cluster, node,
                         "committed is %" PRIu64 ", durable only %" PRIu64,
                         committed, durable);
    }
    if (wdb_core_index_stored(raft->core) > durable) {
        cluster_complain(node->cluster, node,
                         "the core counts on entries up to %" PRIu64
                         ", durable is only %" PRIu64,
                         wdb_core_index_stored(raft->core), durable);
    }
    if (!raft->failed &&
        wdb_core_index_members(raft->core) != raft->members_index) {
        cluster_complain(node->cluster, node,
                         "the members are those of entry %" PRIu64
                         ", but of entry %" PRIu64 " for the core",
                         raft->members_index,
                         wdb_core_index_members(raft->core));
    }
    if (raft->applied > raft->committed && raft->executed_from == UINT64_MAX) {
        cluster_complain(node->cluster, node,
                         "applied is %" PRIu64 ", committed only %" PRIu64,
                         raft->applied, raft->committed);
    }
}

static void check_hash(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    const struct wdb_raft *raft = node->raft;
    if (raft->committed == 0 || raft->committed > cluster->model.head) {
        return;
    }
    uint64_t *hash = &cluster->model.entries[raft->committed].state_hash;
    if (*hash == 0) {
        *hash = raft->state_hash;
    } else if (*hash != raft->state_hash) {
        cluster_complain(cluster, node,
                         "its state hash at %" PRIu64 " is not that of others",
                         raft->committed);
    }
}

/* --- contents ---------------------------------------------------------------- */

/* What a node shows must be what was committed up to where it stands. */
static bool check_content(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    const struct wdb_raft *raft = node->raft;
    struct wdb_log *log = wdb_db_log(node->db);
    uint64_t content;
    const bool executes = raft->executed_from != UINT64_MAX;
    if (raft->applied == 0 || raft->applied > cluster->model.head ||
        raft->failed ||
        (executes && wdb_log_index_last(log) != raft->committed)) {
        return false;
    }
    const uint64_t index = executes ? raft->committed : raft->applied;
    if (cluster_model_content(wdb_db_store(node->db), &content) != 0) {
        if (!node->is_rotten) {
            cluster_complain(cluster, node, "a value cannot be read");
        }
        return false;
    }
    cluster_saw(cluster, CLUSTER_SAW_CONTENT);
    if (content != cluster->model.entries[index].content) {
        cluster_complain(cluster, node,
                         "its keys are not those of the committed entries up "
                         "to %" PRIu64 "%s",
                         index, executes ? " (it leads)" : "");
        return false;
    }
    return true;
}

static void look_at_changes(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    const struct wdb_raft *raft = node->raft;
    const uint64_t era = wdb_raft_era(raft);
    if (era != node->era_seen) {
        node->era_seen = era;
        cluster_saw(cluster, CLUSTER_SAW_LOST_OFFICE);
        if (check_content(node)) {
            cluster_saw(cluster, CLUSTER_SAW_CONTENT_DEPOSED);
        }
    }
    if (raft->snapshots_installed != node->installs_seen) {
        node->installs_seen = raft->snapshots_installed;
        cluster_saw(cluster, CLUSTER_SAW_SNAPSHOT);
        node->checked = 0;
        (void)check_content(node);
        cluster_nemesis_provoke(node);
    }
    if (raft->truncations != node->truncations_seen) {
        node->truncations_seen = raft->truncations;
        cluster_saw(cluster, CLUSTER_SAW_TRUNCATION);
        cluster_nemesis_provoke(node);
    }
    const bool is_leader = wdb_raft_is_leader(raft);
    if (is_leader && !node->was_leader) {
        cluster_saw(cluster, CLUSTER_SAW_ELECTION);
    }
    node->was_leader = is_leader;
}

void cluster_check_node(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    if (node->raft == NULL || node->raft->failed ||
        cluster->failure[0] != '\0') {
        return;
    }
    check_committed(node);
    check_indexes(node);
    check_hash(node);
    look_at_changes(node);
    if (cluster_below(cluster, 64) == 0) {
        (void)check_content(node);
    }
}

/* --- at the end ------------------------------------------------------------------ */

bool cluster_check_rest(struct cluster *cluster)
{
    const uint64_t head = cluster->model.head;
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (!node->is_wanted) {
            continue;
        }
        if (!node->is_up || node->raft->applied < head ||
            wdb_log_index_last(wdb_db_log(node->db)) != head ||
            wdb_log_committed(wdb_db_log(node->db)) != head) {
            return false;
        }
    }
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (node->is_wanted) {
            check_hash(node);
            (void)check_content(node);
            struct wdb_store_stats stats;
            wdb_store_stats(wdb_db_store(node->db), &stats);
            cluster->counters.sights[CLUSTER_SAW_MERGED] += stats.merge_count;
        }
    }
    return true;
}

/* Whatever a client saw was committed at some time. */
static void check_seen(struct cluster *cluster)
{
    const struct history *history = &cluster->history;
    for (size_t i = 0; i < history->count; i++) {
        const struct history_op *op = &history->ops[i];
        if (op->status != HISTORY_OK || op->kind != HISTORY_GET ||
            op->result == 0) {
            continue;
        }
        if (!cluster_model_was_written(&cluster->model,
                                       history_slice(history, op->key),
                                       history_slice(history, op->result))) {
            const struct wdb_slice key = history_slice(history, op->key);
            const struct wdb_slice value = history_slice(history, op->result);
            cluster_complain(cluster, NULL,
                             "client %" PRIu64 " read %.*s = %.*s, which was "
                             "never committed",
                             op->client, (int)key.size, (const char *)key.data,
                             (int)value.size, (const char *)value.data);
            return;
        }
    }
}

void cluster_check_history(struct cluster *cluster)
{
    struct history_report report = {0};
    check_seen(cluster);
    check_linear(&cluster->history, LINEAR_STEPS_MAX, &report);
    check_append(&cluster->history, &report);
    cluster->counters.sights[CLUSTER_SAW_UNDECIDED] += report.undecided;
    if (report.failed > 0) {
        cluster_complain(cluster, NULL, "the history of the clients:");
        wdb_buffer_release(&cluster->details);
        cluster->details = report.text;
        report.text = (struct wdb_buffer)WDB_BUFFER_INIT;
    }
    history_report_release(&report);
}
