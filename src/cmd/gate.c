/*
 * gate.c - which replies of a worker may go out.
 *
 * On a single node: those whose entries are written, or synced. In a cluster:
 * those whose entries are committed and whose round has been made, as long as
 * the node has not lost office since they were executed. The indexes are loaded
 * before the era: if the era is the same then, they are those of the log in
 * which the replies were executed. If it is not, some of the entries may have
 * been replaced by others of another leader under the same numbers; then only
 * what had passed when the era was last seen unchanged may still go out.
 */
#include "cmd/cluster.h"
#include "cmd/executor_internal.h"

/* Everything that was not let pass before is lost. */
static void lose_all(struct wdb_executor *executor, uint64_t era)
{
    uint64_t lost = 0;
    WDB_LIST_FOREACH(node, &executor->sessions)
    {
        struct wdb_session *session =
            WDB_LIST_ENTRY(node, struct wdb_session, executor_node);
        const uint64_t replies = wdb_session_lose(session, executor->passed);
        if (replies > 0) {
            wdb_session_ready(session);
            lost += replies;
        }
    }
    executor->era = era;
    wdb_stats_add(executor->stats, WDB_STATS_LOST, lost);
}

struct wdb_gate wdb_executor_gate(struct wdb_executor *executor)
{
    const struct wdb_cluster *cluster = executor->context->cluster;
    struct wdb_gate gate = {.index = wdb_context_gate(executor->context)};
    if (WDB_LIKELY(cluster == NULL)) {
        return gate;
    }
    gate.round = atomic_load(&cluster->gate->round_done);
    const uint64_t era = wdb_raft_gate_era(cluster->gate);
    if (WDB_UNLIKELY(era != executor->era)) {
        lose_all(executor, era);
        /* What comes depends on what is there now. */
        gate = executor->passed;
    } else {
        executor->passed = gate;
    }
    return gate;
}

uint64_t wdb_executor_next_round(struct wdb_executor *executor)
{
    executor->round_asked = true;
    return atomic_load(&executor->context->cluster->gate->round);
}

void wdb_gate_begin_turn(struct wdb_executor *executor)
{
    if (WDB_UNLIKELY(executor->context->cluster != NULL)) {
        const struct wdb_gate gate = wdb_executor_gate(executor);
        (void)gate;
    }
}

void wdb_gate_end_turn(struct wdb_executor *executor)
{
    if (WDB_UNLIKELY(executor->round_asked)) {
        const struct wdb_cluster *cluster = executor->context->cluster;
        executor->round_asked = false;
        cluster->ops->ask_round(cluster->context);
    }
}
