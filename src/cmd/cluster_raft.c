/* cluster_raft.c - what commands need of Raft, over the real object. */
#include "cmd/cluster.h"

static int admit(void *context, size_t size)
{
    return wdb_raft_admit(context, size);
}

static void ask_round(void *context)
{
    wdb_raft_ask_round(context);
}

static void leader(void *context, struct wdb_raft_leader *out)
{
    wdb_raft_leader(context, out);
}

static void status(void *context, struct wdb_raft_status *out)
{
    wdb_raft_status(context, out);
}

static uint32_t count_match(void *context, uint64_t index)
{
    return wdb_raft_count_match(context, index);
}

static int ask(void *context, const struct wdb_raft_request *request)
{
    return wdb_raft_ask(context, request);
}

void wdb_cluster_of_raft(struct wdb_raft *raft, struct wdb_cluster *out)
{
    static const struct wdb_cluster_ops ops = {
        .admit = admit,
        .ask_round = ask_round,
        .leader = leader,
        .status = status,
        .count_match = count_match,
        .ask = ask,
    };
    *out = (struct wdb_cluster){.ops = &ops,
                                .context = raft,
                                .gate = wdb_raft_gate(raft)};
}
