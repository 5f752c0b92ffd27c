/*
 * cluster_members.c - the operator: asks a leader for whatever the membership
 * lacks, one thing at a time, and replaces machines that are gone.
 */
#include <stdio.h>
#include <stdlib.h>

#include "raft/raft_internal.h"
#include "sim/cluster.h"

#define ASK_TIMEOUT_NS (3 * NS_PER_S)

struct cluster_node *cluster_leader(struct cluster *cluster)
{
    struct cluster_node *found = NULL;
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (cluster_node_serves(node) &&
            (found == NULL || wdb_core_term(node->raft->core) >
                                  wdb_core_term(found->raft->core))) {
            found = node;
        }
    }
    return found;
}

/* --- asking ---------------------------------------------------------------- */

static void asked(struct cluster *cluster, int code, const char *message,
                  enum cluster_sight sight)
{
    cluster->is_asking = false;
    cluster_say(cluster, NULL, "answer to the operator: %d %s", code, message);
    if (code == 0) {
        cluster_saw(cluster, sight);
    }
}

static void joined(void *context, int code, const char *message)
{
    asked(context, code, message, CLUSTER_SAW_JOINED);
}

static void removed(void *context, int code, const char *message)
{
    asked(context, code, message, CLUSTER_SAW_REMOVED);
}

static void transferred(void *context, int code, const char *message)
{
    asked(context, code, message, CLUSTER_SAW_TRANSFERRED);
}

static void ask(struct cluster_node *leader, struct wdb_raft_request *request)
{
    struct cluster *cluster = leader->cluster;
    request->context = cluster;
    request->timeout_ms = 1000;
    cluster->is_asking = true;
    cluster->asked_ns = cluster_now(cluster);
    if (wdb_raft_ask(leader->raft, request) != 0) {
        cluster->is_asking = false;
    }
    cluster_nemesis_cut_off(leader);
}

static void ask_join(struct cluster_node *leader,
                     const struct cluster_node *node)
{
    struct cluster *cluster = leader->cluster;
    struct wdb_raft_request request = {.kind = WDB_RAFT_JOIN, .done = joined};
    struct wdb_member *member = &request.member;
    member->id = cluster_chance(cluster, 50) ? node->id : 0;
    snprintf(member->name, sizeof(member->name), "%s", node->name);
    snprintf(member->raft_address, sizeof(member->raft_address), "%s",
             node->raft_address);
    snprintf(member->tcp_address, sizeof(member->tcp_address), "%s",
             node->tcp_address);
    cluster_say(cluster, leader, "asked to let %s join", node->name);
    ask(leader, &request);
}

static void ask_remove(struct cluster_node *leader, const char *name)
{
    struct wdb_raft_request request = {.kind = WDB_RAFT_REMOVE,
                                       .done = removed};
    snprintf(request.member.name, sizeof(request.member.name), "%s", name);
    cluster_say(leader->cluster, leader, "asked to remove %s", name);
    ask(leader, &request);
}

void cluster_members_transfer(struct cluster *cluster)
{
    struct cluster_node *leader = cluster_leader(cluster);
    struct wdb_raft_request request = {.kind = WDB_RAFT_TRANSFER,
                                       .done = transferred};
    if (leader == NULL || cluster->is_asking) {
        return;
    }
    if (cluster_chance(cluster, 50)) {
        const struct cluster_node *to =
            &cluster
                 ->nodes[cluster_below(cluster, cluster->knobs.machine_count)];
        snprintf(request.member.name, sizeof(request.member.name), "%s",
                 to->name);
    }
    cluster->counters.faults[CLUSTER_TRANSFER]++;
    cluster_say(cluster, leader, "asked to hand over to '%s'",
                request.member.name);
    ask(leader, &request);
}

/* --- what the membership lacks ----------------------------------------------- */

/* A machine that is wanted and has this id. */
static bool is_wanted(const struct cluster *cluster, wdb_node_id id)
{
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        if (cluster->nodes[i].id == id && cluster->nodes[i].is_wanted) {
            return true;
        }
    }
    return false;
}

/* Those that are out for good get an empty disk. */
static void clear_out(struct cluster *cluster,
                      const struct wdb_members *members)
{
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (!node->is_wanted && !node->is_empty &&
            wdb_members_find(members, node->id) == NULL) {
            cluster_node_end(node, CLUSTER_END_KILL);
            cluster_node_wipe(node);
        }
    }
}

static bool remove_one(struct cluster_node *leader,
                       const struct wdb_members *members)
{
    for (uint32_t i = 0; i < members->count; i++) {
        if (!is_wanted(leader->cluster, members->members[i].id)) {
            ask_remove(leader, members->members[i].name);
            return true;
        }
    }
    return false;
}

static bool add_one(struct cluster_node *leader,
                    const struct wdb_members *members)
{
    struct cluster *cluster = leader->cluster;
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (!node->is_wanted) {
            continue;
        }
        if (!node->is_up && node->is_empty) {
            cluster_node_after(node, CLUSTER_WORK_START, NS_PER_MS);
        } else if (node->is_up && node->id != 0 &&
                   wdb_members_find(members, node->id) == NULL) {
            ask_join(leader, node);
            return true;
        }
    }
    return false;
}

static bool is_complete(const struct cluster *cluster,
                        const struct wdb_members *members)
{
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        const struct cluster_node *node = &cluster->nodes[i];
        const struct wdb_member *member =
            node->id == 0 ? NULL : wdb_members_find(members, node->id);
        wanted += node->is_wanted;
        if (node->is_wanted &&
            (member == NULL || member->role != WDB_MEMBER_VOTER)) {
            return false;
        }
    }
    return members->count == wanted;
}

static void look(struct cluster *cluster, struct cluster_node *leader)
{
    struct wdb_raft *raft = leader->raft;
    struct wdb_members members;
    wdb_members_init(&members);
    if (raft->members_index > raft->committed ||
        wdb_members_copy(&raft->members, &members) != 0) {
        cluster->stable_ns = 0;
        return;
    }
    clear_out(cluster, &members);
    if (is_complete(cluster, &members)) {
        cluster->stable_ns =
            cluster->stable_ns == 0 ? cluster_now(cluster) : cluster->stable_ns;
        if (cluster->amnesiac != CLUSTER_NODES_MAX &&
            !cluster->nodes[cluster->amnesiac].is_rotten) {
            cluster->amnesiac = CLUSTER_NODES_MAX;
        }
    } else {
        cluster->stable_ns = 0;
        if (!cluster->is_asking && !remove_one(leader, &members)) {
            (void)add_one(leader, &members);
        }
    }
    wdb_members_release(&members);
}

bool cluster_members_are_stable(const struct cluster *cluster)
{
    return cluster->stable_ns != 0;
}

static void on_tick(void *context, void *arg, bool happens)
{
    struct cluster *cluster = context;
    (void)arg;
    if (!happens) {
        return;
    }
    struct cluster_node *leader = cluster_leader(cluster);
    if (cluster->is_asking &&
        cluster_now(cluster) - cluster->asked_ns > ASK_TIMEOUT_NS) {
        cluster->is_asking = false; /* whoever was asked is gone */
    }
    if (leader != NULL) {
        look(cluster, leader);
    }
    cluster_events_add(&cluster->events,
                       cluster_now(cluster) +
                           (20 + cluster_below(cluster, 80)) * NS_PER_MS,
                       on_tick, cluster, NULL);
}

void cluster_members_begin(struct cluster *cluster)
{
    on_tick(cluster, NULL, true);
}
