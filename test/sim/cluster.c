/*
 * cluster.c - one run: members come together, things go wrong under the hands of
 * clients, everything heals, clients get on again, everything is read once
 * more, and in the end all nodes hold the same.
 */
#include "sim/cluster.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "raft/raft_internal.h"

#define BEGIN_MAX_NS (60 * NS_PER_S)
#define HEAL_MAX_NS  (60 * NS_PER_S)
#define READ_MAX_NS  (60 * NS_PER_S)
#define REST_MAX_NS  (60 * NS_PER_S)
#define EVENT_MAX    3000000

uint64_t cluster_below(struct cluster *cluster, uint64_t bound)
{
    return wdb_random_below(&cluster->random, bound == 0 ? 1 : bound);
}

bool cluster_chance(struct cluster *cluster, uint32_t percent)
{
    return cluster_below(cluster, 100) < percent;
}

static void print_line(struct cluster *cluster, const struct cluster_node *node,
                       const char *text)
{
    const uint64_t now = cluster_now(cluster);
    printf("%4llu.%06llu %s %s\n", (unsigned long long)(now / NS_PER_S),
           (unsigned long long)(now % NS_PER_S / 1000),
           node == NULL ? "--" : node->name, text);
}

void cluster_say(struct cluster *cluster, const struct cluster_node *node,
                 const char *format, ...)
{
    char text[2048];
    va_list arguments;
    if (!cluster->options.trace) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    print_line(cluster, node, text);
}

void cluster_complain(struct cluster *cluster, const struct cluster_node *node,
                      const char *format, ...)
{
    va_list arguments;
    char text[900];
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (cluster->options.trace) {
        print_line(cluster, node, text);
    }
    if (cluster->failure[0] == '\0') {
        snprintf(cluster->failure, sizeof(cluster->failure), "%s%s%s",
                 node == NULL ? "" : node->name, node == NULL ? "" : ": ",
                 text);
    }
}

/* --- phases ---------------------------------------------------------------- */

static void enter(struct cluster *cluster, enum cluster_phase phase)
{
    static const char *const names[] = {"begins", "chaos", "heals", "reads",
                                        "rests"};
    cluster->phase = phase;
    cluster->phase_since_ns = cluster_now(cluster);
    cluster_say(cluster, NULL, "--- phase: %s", names[phase]);
}

static bool lasts_longer(struct cluster *cluster, uint64_t ns)
{
    return cluster_now(cluster) - cluster->phase_since_ns > ns;
}

static void begin_chaos(struct cluster *cluster)
{
    enter(cluster, CLUSTER_CHAOS);
    for (uint32_t i = 0; i < cluster->knobs.client_count; i++) {
        cluster_client_begin(&cluster->clients[i]);
    }
    cluster_nemesis_begin(cluster);
}

static void begin_healing(struct cluster *cluster)
{
    enter(cluster, CLUSTER_HEALS);
    cluster_nemesis_heal(cluster);
    cluster->knobs.op_max = cluster->op_count + 4000;
    cluster->ok_wanted = cluster->ok_count + 2 * cluster->knobs.client_count;
    for (uint32_t i = 0; i < cluster->knobs.client_count; i++) {
        if (!cluster->clients[i].is_busy) {
            cluster_client_begin(&cluster->clients[i]);
        }
    }
}

static bool clients_are_idle(const struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->knobs.client_count; i++) {
        if (cluster->clients[i].is_busy) {
            return false;
        }
    }
    return true;
}

/* The next of all keys, by kind and number; false: that was the last. */
static bool read_next(struct cluster *cluster)
{
    static const char kinds[] = "rxscwl";
    struct cluster_client *client = &cluster->clients[0];
    const uint32_t count = cluster->knobs.key_count;
    if (!clients_are_idle(cluster)) {
        return true;
    }
    if (cluster->reading > 0 && client->plan.is_final) {
        const struct history_op *last =
            &cluster->history.ops[cluster->history.count - 1];
        if (last->status != HISTORY_OK) {
            cluster->reading--; /* once more */
        }
        client->plan.is_final = false;
    }
    if (cluster->reading == count * (sizeof(kinds) - 1)) {
        return false;
    }
    char key[16];
    snprintf(key, sizeof(key), "%c%u", kinds[cluster->reading / count],
             cluster->reading % count);
    cluster_client_read(client, key, key[0] == 'l');
    cluster->reading += client->is_busy;
    return true;
}

/* Where everything stands, for a run that does not come to its end. */
static void complain_of_state(struct cluster *cluster, const char *what)
{
    struct wdb_buffer text = WDB_BUFFER_INIT;
    int rc = 0;
    for (uint32_t i = 0; i < cluster->knobs.machine_count && rc == 0; i++) {
        const struct cluster_node *node = &cluster->nodes[i];
        if (!node->is_up) {
            rc = wdb_buffer_printf(&text, " [%s %s down]", node->name,
                                   node->is_wanted ? "wanted" : "not wanted");
            continue;
        }
        const struct wdb_raft *raft = node->raft;
        rc = wdb_buffer_printf(
            &text,
            " [%s %s term %llu %s%s last %llu committed %llu applied %llu]",
            node->name, node->is_wanted ? "wanted" : "not wanted",
            (unsigned long long)wdb_core_term(raft->core),
            wdb_raft_is_leader(raft) ? "leader" : "follower",
            wdb_raft_serves(raft) ? " serves" : "",
            (unsigned long long)wdb_log_index_last(raft->log),
            (unsigned long long)raft->committed,
            (unsigned long long)raft->applied);
    }
    cluster_complain(cluster, NULL, "%s:%.*s", what, (int)text.size,
                     (const char *)text.data);
    wdb_buffer_release(&text);
}

static void look(struct cluster *cluster)
{
    switch (cluster->phase) {
    case CLUSTER_BEGINS:
        if (cluster_members_are_stable(cluster)) {
            begin_chaos(cluster);
        } else if (lasts_longer(cluster, BEGIN_MAX_NS)) {
            complain_of_state(cluster, "the cluster does not come together");
        }
        break;
    case CLUSTER_CHAOS:
        if (lasts_longer(cluster, cluster->knobs.chaos_ns)) {
            begin_healing(cluster);
        }
        break;
    case CLUSTER_HEALS:
        if (cluster_members_are_stable(cluster) &&
            cluster->ok_count >= cluster->ok_wanted) {
            enter(cluster, CLUSTER_READS);
        } else if (lasts_longer(cluster, HEAL_MAX_NS)) {
            complain_of_state(cluster,
                              cluster->ok_count >= cluster->ok_wanted
                                  ? "the members do not become complete"
                                  : "no progress after healing");
        }
        break;
    case CLUSTER_READS:
        if (!read_next(cluster)) {
            enter(cluster, CLUSTER_RESTS);
        } else if (lasts_longer(cluster, READ_MAX_NS)) {
            complain_of_state(cluster, "the last reads do not end");
        }
        break;
    case CLUSTER_RESTS:
        if (cluster_check_rest(cluster)) {
            cluster->is_over = true;
        } else if (lasts_longer(cluster, REST_MAX_NS)) {
            complain_of_state(cluster, "the nodes do not become the same");
        }
        break;
    }
}

static void on_look(void *context, void *arg, bool happens)
{
    struct cluster *cluster = context;
    (void)arg;
    if (!happens) {
        return;
    }
    look(cluster);
    const uint64_t ns =
        cluster->phase == CLUSTER_READS ? NS_PER_MS : 10 * NS_PER_MS;
    cluster_events_add(&cluster->events, cluster_now(cluster) + ns, on_look,
                       cluster, NULL);
}

/* --- the run --------------------------------------------------------------- */

static void init(struct cluster *cluster, const struct cluster_options *options)
{
    memset(cluster, 0, sizeof(*cluster));
    cluster->options = *options;
    cluster->clock.monotonic_ns = NS_PER_S;
    cluster->clock.start_ms = UINT64_C(1767225600000); /* 2026-01-01 */
    cluster->amnesiac = CLUSTER_NODES_MAX;
    wdb_random_seed(&cluster->random, options->seed);
    cluster_events_init(&cluster->events);
    cluster_model_init(&cluster->model);
    history_init(&cluster->history);
    wdb_buffer_init(&cluster->details);
    cluster_nemesis_draw(cluster);
    cluster_net_init(&cluster->net, cluster->knobs.machine_count,
                     options->seed ^ UINT64_C(0x1234567), &cluster->events,
                     &cluster->clock.monotonic_ns);
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        cluster_node_init(cluster, i);
    }
    for (uint32_t i = 0; i < cluster->knobs.client_count; i++) {
        cluster_client_init(cluster, i);
    }
}

static void say_knobs(struct cluster *cluster)
{
    static const char *const names[] = {
#define CLUSTER_FAULT_X(name, text) text,
        CLUSTER_FAULTS(CLUSTER_FAULT_X)
#undef CLUSTER_FAULT_X
    };
    const struct cluster_knobs *knobs = &cluster->knobs;
    cluster_say(cluster, NULL,
                "seed %llu: %u nodes, %u machines, %u clients, chaos of %llu "
                "ms, election timeout %u ms, retained %llu",
                (unsigned long long)cluster->options.seed, knobs->node_count,
                knobs->machine_count, knobs->client_count,
                (unsigned long long)(knobs->chaos_ns / NS_PER_MS),
                knobs->election_ms, (unsigned long long)knobs->retained_size);
    for (int i = 0; i < CLUSTER_FAULT_COUNT; i++) {
        if (knobs->faults[i]) {
            cluster_say(cluster, NULL, "fault: %s", names[i]);
        }
    }
}

bool cluster_run(struct cluster *cluster, const struct cluster_options *options)
{
    struct cluster_event event;
    init(cluster, options);
    say_knobs(cluster);
    for (uint32_t i = 0; i < cluster->knobs.node_count; i++) {
        if (!cluster_node_start(&cluster->nodes[i])) {
            cluster_complain(cluster, &cluster->nodes[i], "it did not start");
        }
    }
    cluster_members_begin(cluster);
    on_look(cluster, NULL, true);
    while (!cluster->is_over && cluster->failure[0] == '\0') {
        if (!cluster_events_next(&cluster->events, &event)) {
            cluster_complain(cluster, NULL, "nothing happens any more");
            break;
        }
        if (event.time_ns > cluster->clock.monotonic_ns) {
            cluster->clock.monotonic_ns = event.time_ns;
        }
        event.fn(event.context, event.arg, true);
        if (++cluster->counters.events > EVENT_MAX) {
            complain_of_state(cluster, "too many events");
        }
    }
    cluster->counters.virtual_ns = cluster_now(cluster) - NS_PER_S;
    cluster->counters.net = cluster->net.counters;
    if (cluster->failure[0] == '\0') {
        cluster_check_history(cluster);
    }
    return cluster->failure[0] == '\0';
}

void cluster_release(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        cluster_node_release(&cluster->nodes[i]);
    }
    for (uint32_t i = 0; i < cluster->knobs.client_count; i++) {
        cluster_client_release(&cluster->clients[i]);
    }
    cluster_events_release(&cluster->events);
    cluster_net_release(&cluster->net);
    cluster_model_release(&cluster->model);
    history_release(&cluster->history);
    wdb_buffer_release(&cluster->details);
}
