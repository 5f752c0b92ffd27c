/* cluster_nemesis.c - what goes wrong in a run: drawn from the seed, some kinds
 * for each, and how often. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sim/cluster.h"
#include "walkerdb.h"

static uint64_t some_ms(struct cluster *cluster, uint64_t min, uint64_t max)
{
    return (min + cluster_below(cluster, max - min + 1)) * NS_PER_MS;
}

/* --- what a seed is like ----------------------------------------------------- */

static void draw_sizes(struct cluster *cluster)
{
    static const uint64_t retained[] = {2 << 10, 8 << 10, 64 << 10, 1 << 20};
    static const uint32_t elections[] = {100, 300, 300, 1000};
    struct cluster_knobs *knobs = &cluster->knobs;
    knobs->node_count = 3 + (uint32_t)cluster_below(cluster, 2);
    if (cluster_chance(cluster, 25)) {
        knobs->node_count = 3 + (uint32_t)cluster_below(cluster, 5);
    }
    if (cluster->options.node_count != 0) {
        knobs->node_count = cluster->options.node_count;
    }
    knobs->machine_count = knobs->node_count;
    knobs->client_count = 3 + (uint32_t)cluster_below(cluster, 6);
    knobs->reader_count = (uint32_t)cluster_below(cluster, 3);
    knobs->chaos_ns = (500 + cluster_below(cluster, 4000)) * NS_PER_MS;
    knobs->op_max = 80 + (uint32_t)cluster_below(cluster, 220);
    /* So that there are operations as long as there are faults. */
    knobs->think_ns = 2 * knobs->chaos_ns * knobs->client_count /
                      knobs->op_max * (30 + cluster_below(cluster, 70)) / 100;
    knobs->election_ms = elections[cluster_below(cluster, 4)];
    knobs->retained_size = retained[cluster_below(cluster, 4)];
    knobs->uncommitted_max =
        cluster_chance(cluster, 20) ? 2000 : (uint64_t)1 << 20;
    knobs->key_count = 1 + (uint32_t)cluster_below(cluster, 5);
    knobs->value_max = cluster_chance(cluster, 50) ? 4000 : 200;
    knobs->value_long = 25;
    knobs->client_timeout_ns = (300 + cluster_below(cluster, 4000)) * NS_PER_MS;
    knobs->nemesis_ns = (30 + cluster_below(cluster, 600)) * NS_PER_MS;
}

/* Leaders that do not know yet that there is another one, clients that still
 * read from them, and others that write elsewhere. */
static void draw_deposed(struct cluster *cluster)
{
    struct cluster_knobs *knobs = &cluster->knobs;
    knobs->faults[CLUSTER_ISOLATE_LEADER] = true;
    knobs->faults[CLUSTER_ONE_WAY] = cluster_chance(cluster, 50);
    knobs->faults[CLUSTER_PAUSE] = cluster_chance(cluster, 70);
    knobs->faults[CLUSTER_DELAY] = cluster_chance(cluster, 50);
    knobs->faults[CLUSTER_TRANSFER] = cluster_chance(cluster, 30);
    knobs->faults[CLUSTER_MEMBERS] |= cluster_chance(cluster, 30);
    knobs->faults[CLUSTER_GHOST] |= cluster_chance(cluster, 40);
    knobs->faults[CLUSTER_DUPLICATE] |= cluster_chance(cluster, 40);
    knobs->faults[CLUSTER_BREAK] |= cluster_chance(cluster, 40);
    knobs->faults[CLUSTER_POWER] |= cluster_chance(cluster, 50);
    knobs->faults[CLUSTER_POWER_ALL] |= cluster_chance(cluster, 30);
    knobs->faults[CLUSTER_SLOW_DISK] |= cluster_chance(cluster, 40);
    knobs->election_ms = 100;
    knobs->key_count = 1 + (uint32_t)cluster_below(cluster, 2);
    knobs->reader_count = 1 + (uint32_t)cluster_below(cluster, 3);
    knobs->client_timeout_ns = some_ms(cluster, 40, 120);
    knobs->nemesis_ns = some_ms(cluster, 20, 120);
    knobs->think_ns = some_ms(cluster, 1, 15);
    knobs->op_max = 600;
    knobs->register_percent = 70;
    knobs->chaos_ns = some_ms(cluster, 500, 2500);
}

/* So much data that segments follow each other: merges, snapshots. */
static void draw_data(struct cluster *cluster)
{
    struct cluster_knobs *knobs = &cluster->knobs;
    knobs->faults[CLUSTER_MERGE] = true;
    knobs->faults[CLUSTER_LAG] = true;
    knobs->faults[CLUSTER_POWER] |= cluster_chance(cluster, 60);
    knobs->faults[CLUSTER_FLUSH] |= cluster_chance(cluster, 50);
    knobs->faults[CLUSTER_BIT_ROT] |= cluster_chance(cluster, 40);
    knobs->retained_size = (uint64_t)8 << 10;
    knobs->value_max = 4000;
    knobs->value_long = 100;
    knobs->op_max = 300;
    knobs->think_ns = some_ms(cluster, 1, 10);
}

void cluster_nemesis_draw(struct cluster *cluster)
{
    struct cluster_knobs *knobs = &cluster->knobs;
    draw_sizes(cluster);
    const uint32_t percent = 10 + (uint32_t)cluster_below(cluster, 40);
    for (int i = 0; i < CLUSTER_FAULT_COUNT; i++) {
        knobs->faults[i] =
            cluster_chance(cluster, percent) && !cluster->options.no_faults;
    }
    if (cluster_chance(cluster, 30) && !cluster->options.no_faults) {
        draw_deposed(cluster);
    } else if (cluster_chance(cluster, 15) && !cluster->options.no_faults) {
        draw_data(cluster);
    }
    if (knobs->faults[CLUSTER_MEMBERS] || knobs->faults[CLUSTER_WIPE]) {
        knobs->machine_count += (uint32_t)cluster_below(cluster, 2);
    }
    for (uint32_t i = 0; i < knobs->node_count; i++) {
        cluster->nodes[i].is_wanted = true;
    }
}

static void disturb_net(struct cluster *cluster)
{
    const bool *faults = cluster->knobs.faults;
    struct cluster_net_faults *net = &cluster->net.faults;
    net->loss =
        faults[CLUSTER_LOSS] ? (uint32_t)cluster_below(cluster, 60000) : 0;
    net->duplicate =
        faults[CLUSTER_DUPLICATE] ? (uint32_t)cluster_below(cluster, 60000) : 0;
    net->damage =
        faults[CLUSTER_DAMAGE] ? (uint32_t)cluster_below(cluster, 20000) : 0;
    net->connection_break =
        faults[CLUSTER_BREAK] ? (uint32_t)cluster_below(cluster, 20000) : 0;
    net->ghost = faults[CLUSTER_GHOST] ? 500000 : 0;
    if (faults[CLUSTER_DELAY]) {
        net->delay_max_ns =
            (1 +
             cluster_below(cluster, cluster_chance(cluster, 20) ? 200 : 20)) *
            NS_PER_MS;
        cluster->counters.faults[CLUSTER_DELAY]++;
    }
    if (cluster_chance(cluster, 20)) {
        net->buffer_size = (size_t)1 << 14;
    }
    cluster->net.partition_holds = cluster_chance(cluster, 50);
}

/* --- faults that end by themselves ------------------------------------------- */

struct cure {
    struct cluster *cluster;
    enum cluster_fault fault;
    uint32_t node;
    bool blocked[CLUSTER_NODES_MAX][CLUSTER_NODES_MAX];
    bool slow[CLUSTER_NODES_MAX]; /* towards node */
};

static void cure_disk(struct cluster_node *node)
{
    if (node->is_full) {
        node->is_full = false;
        sim_disk_set_capacity(node->disk, 0);
    }
}

static void on_cure(void *context, void *arg, bool happens)
{
    struct cluster *cluster = context;
    struct cure *cure = arg;
    struct cluster_node *node = &cluster->nodes[cure->node];
    if (happens && cure->fault == CLUSTER_SLOW_DISK) {
        node->sync_max_ns = 2 * NS_PER_MS;
    } else if (happens && cure->fault == CLUSTER_DISK_FULL) {
        cluster_say(cluster, node, "its disk has room again");
        cure_disk(node);
    } else if (happens) {
        cluster_say(cluster, NULL, "a partition ends");
        for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
            if (cure->slow[i]) {
                cluster->net.endpoints[i].slow_ns[cure->node] = 0;
            }
            for (uint32_t j = 0; j < cluster->knobs.machine_count; j++) {
                if (cure->blocked[i][j]) {
                    cluster_net_block(&cluster->net, i, j, false);
                }
            }
        }
    }
    free(cure);
}

static struct cure *cure_later(struct cluster *cluster,
                               enum cluster_fault fault, uint32_t node,
                               uint64_t ns)
{
    struct cure *cure = calloc(1, sizeof(*cure));
    wdb_assert(cure != NULL);
    cure->cluster = cluster;
    cure->fault = fault;
    cure->node = node;
    cluster_events_add(&cluster->events, cluster_now(cluster) + ns, on_cure,
                       cluster, cure);
    return cure;
}

static void block(struct cure *cure, uint32_t from, uint32_t to)
{
    if (from != to) {
        cure->blocked[from][to] = true;
        cluster_net_block(&cure->cluster->net, from, to, true);
    }
}

#define DEAFEN_STEPS 8

struct deafness {
    uint32_t leader, step;
    uint64_t step_ns;
};

/* One step later than the last one; then nothing that it says arrives. */
static void on_deafen(void *context, void *arg, bool happens)
{
    struct cluster *cluster = context;
    struct deafness *deaf = arg;
    if (!happens || cluster->phase != CLUSTER_CHAOS) {
        free(deaf);
        return;
    }
    const bool silent = deaf->step == DEAFEN_STEPS;
    struct cure *cure =
        silent ? cure_later(cluster, CLUSTER_ISOLATE_LEADER, deaf->leader,
                            some_ms(cluster, 50, 500))
               : NULL;
    deaf->step++;
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        if (silent && cluster_chance(cluster, 80)) {
            block(cure, deaf->leader, i);
        } else if (!silent) {
            cluster->net.endpoints[i].slow_ns[deaf->leader] =
                deaf->step * deaf->step_ns;
        }
    }
    if (silent) {
        cluster_say(cluster, &cluster->nodes[deaf->leader],
                    "does not get through");
        free(deaf);
        return;
    }
    cluster_events_add(&cluster->events,
                       cluster_now(cluster) + deaf->step_ns * 3 / 2, on_deafen,
                       cluster, deaf);
}

/* What it hears is more and more old news, while it still hears something; then
 * nothing that it says arrives any more, but answers are on their way. */
static void deafen(struct cluster *cluster, struct cluster_node *leader)
{
    struct deafness *deaf = calloc(1, sizeof(*deaf));
    wdb_assert(deaf != NULL);
    *deaf = (struct deafness){
        .leader = leader->number,
        .step_ns = some_ms(cluster, 100, 400) / DEAFEN_STEPS,
    };
    struct cure *cure =
        cure_later(cluster, CLUSTER_ISOLATE_LEADER, leader->number,
                   deaf->step_ns * DEAFEN_STEPS * 5 / 2 +
                       some_ms(cluster, 0, 200));
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        cure->slow[i] = true;
    }
    cluster_say(cluster, leader, "hears late, and later");
    on_deafen(cluster, deaf, true);
}

/* Asleep just long enough for another leader; then it can talk with one other
 * node, and believes that it leads until that one, or the time, tells it. */
static void put_to_sleep(struct cluster *cluster, struct cluster_node *leader)
{
    const uint64_t election = cluster->knobs.election_ms;
    const uint64_t ns = some_ms(cluster, election, 2 * election);
    const uint32_t one =
        (uint32_t)cluster_below(cluster, cluster->knobs.machine_count);
    struct cure *cure =
        cure_later(cluster, CLUSTER_ISOLATE_LEADER, leader->number,
                   ns + some_ms(cluster, 5, election));
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        if (i != one) {
            block(cure, i, leader->number);
        }
    }
    cluster_node_pause(leader, true);
    cluster_node_after(leader, CLUSTER_WORK_RESUME, ns);
}

static void partition(struct cluster *cluster, enum cluster_fault fault)
{
    const uint32_t count = cluster->knobs.machine_count;
    struct cluster_node *leader = cluster_leader(cluster);
    if (fault == CLUSTER_ISOLATE_LEADER && leader != NULL &&
        cluster_chance(cluster, 60)) {
        if (cluster_chance(cluster, 50)) {
            deafen(cluster, leader);
        } else {
            put_to_sleep(cluster, leader);
        }
        return;
    }
    const uint32_t one = fault == CLUSTER_ISOLATE_LEADER && leader != NULL
                             ? leader->number
                             : (uint32_t)cluster_below(cluster, count);
    const bool lags = fault == CLUSTER_LAG;
    struct cure *cure = cure_later(cluster, fault, 0,
                                   lags ? some_ms(cluster, 500, 3000)
                                        : some_ms(cluster, 20, 1500));
    const uint64_t sides = cluster_below(cluster, 1u << count);
    const uint32_t other = (uint32_t)cluster_below(cluster, count);
    const uint64_t ways = 1 + cluster_below(cluster, 3);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < count; j++) {
            const bool is_cut =
                fault == CLUSTER_PARTITION
                    ? (sides >> i & 1) != (sides >> j & 1)
                : fault == CLUSTER_ONE_WAY
                    ? (i == one && ((sides >> j & 1) || j == other))
                : fault == CLUSTER_PARTIAL
                    ? (i == one && j == other) || (j == one && i == other)
                : lags ? i == one || j == one
                       : (i == one && (ways & 1)) || (j == one && (ways & 2));
            if (is_cut) {
                block(cure, i, j);
            }
        }
    }
    cluster_say(cluster, NULL, "a partition: kind %d around n%u", (int)fault,
                one);
}

static void do_fault(struct cluster *cluster, enum cluster_fault fault);

/* --- faults of machines ---------------------------------------------------------- */

static void end_node(struct cluster *cluster, struct cluster_node *node,
                     enum cluster_end how)
{
    cluster_node_end(node, how);
    cluster_node_after(node, CLUSTER_WORK_START, some_ms(cluster, 5, 1200));
}

static void fill_disk(struct cluster *cluster, struct cluster_node *node)
{
    node->is_full = node->is_excused = true;
    sim_disk_set_capacity(node->disk, sim_disk_used(node->disk) +
                                          cluster_below(cluster, 200000));
    (void)cure_later(cluster, CLUSTER_DISK_FULL, node->number,
                     some_ms(cluster, 100, 2000));
}

static void fail_operation(struct cluster *cluster, struct cluster_node *node,
                           enum sim_op op)
{
    node->is_excused = node->needs_power_cut = true;
    sim_env_fail(node->env,
                 (struct sim_fault){.op = op,
                                    .nth = 1 + cluster_below(cluster, 12),
                                    .error = WALKERDB_EIO,
                                    .is_partial = op == SIM_OP_WRITE});
}

struct names {
    struct cluster *cluster;
    uint64_t newest; /* id of the newest log segment */
    uint32_t count;
    char chosen[64];
};

static int note_newest(void *context, const char *name)
{
    struct names *names = context;
    char *end;
    const uint64_t id = strtoull(name, &end, 16);
    if (strcmp(end, ".log") == 0 && id > names->newest) {
        names->newest = id;
    }
    return 0;
}

/* Any file but the end of the log: there, damage cannot be told from what was
 * not written to its end before a crash. */
static int choose_name(void *context, const char *name)
{
    struct names *names = context;
    char *end;
    const uint64_t id = strtoull(name, &end, 16);
    if (strcmp(end, ".log") == 0
            ? id + 2 < names->newest
            : strcmp(end, ".mrg") == 0 || strcmp(end, ".hint") == 0) {
        names->count++;
        if (cluster_below(names->cluster, names->count) == 0) {
            snprintf(names->chosen, sizeof(names->chosen), "/db/%s", name);
        }
    }
    return 0;
}

static bool rot(struct cluster *cluster, struct cluster_node *node)
{
    struct names names = {.cluster = cluster};
    struct sim_env *env = sim_env_new(node->disk, 1, &cluster->clock);
    struct wdb_env *base = sim_env_base(env);
    struct wdb_file *file;
    uint64_t size = 0;
    int rc = base->ops->list(base, "/db", note_newest, &names);
    rc = rc == 0 ? base->ops->list(base, "/db", choose_name, &names) : rc;
    if (rc == 0 && names.count > 0 &&
        base->ops->open(base, names.chosen, WDB_OPEN_READ, &file) == 0) {
        (void)base->ops->size(file, &size);
        base->ops->close(file);
    }
    sim_env_free(env);
    if (size == 0) {
        return false;
    }
    const uint64_t at = cluster_below(cluster, size);
    cluster_say(cluster, node, "a bit of %s flips at %llu", names.chosen,
                (unsigned long long)at);
    node->is_rotten = true;
    return sim_disk_flip_bit(node->disk, names.chosen, at,
                             (unsigned)cluster_below(cluster, 8)) == 0;
}

static void machine_fault(struct cluster *cluster, enum cluster_fault fault)
{
    struct cluster_node *node =
        &cluster->nodes[cluster_below(cluster, cluster->knobs.machine_count)];
    struct cluster_node *leader = cluster_leader(cluster);
    if (leader != NULL && cluster_chance(cluster, 40)) {
        node = leader;
    }
    if (!node->is_up || node->is_ending) {
        return;
    }
    cluster->counters.faults[fault]++;
    switch (fault) {
    case CLUSTER_KILL:
        end_node(cluster, node, CLUSTER_END_KILL);
        break;
    case CLUSTER_POWER:
        end_node(cluster, node, CLUSTER_END_POWER);
        break;
    case CLUSTER_STOP:
        end_node(cluster, node, CLUSTER_END_STOP);
        break;
    case CLUSTER_PAUSE:
        cluster_node_pause(node, true);
        /* Long ones, or just long enough for another leader. */
        cluster_node_after(node, CLUSTER_WORK_RESUME,
                           cluster_chance(cluster, 50)
                               ? some_ms(cluster, cluster->knobs.election_ms,
                                         2 * cluster->knobs.election_ms + 50)
                               : some_ms(cluster, 20, 1500));
        break;
    case CLUSTER_CLOCK: {
        const int64_t ms = (int64_t)cluster_below(
            cluster, cluster_chance(cluster, 30) ? 3600000 : 2000);
        cluster_node_jump(node, cluster_chance(cluster, 50) ? ms : -ms);
        break;
    }
    case CLUSTER_SLOW_DISK:
        node->sync_max_ns = some_ms(cluster, 5, 200);
        (void)cure_later(cluster, fault, node->number,
                         some_ms(cluster, 100, 1500));
        break;
    case CLUSTER_DISK_FULL:
        fill_disk(cluster, node);
        break;
    case CLUSTER_SYNC_FAIL:
        fail_operation(cluster, node, SIM_OP_SYNC);
        break;
    default:
        fail_operation(cluster, node, SIM_OP_WRITE);
        break;
    }
}

static void power_all(struct cluster *cluster)
{
    const enum cluster_end how =
        cluster_chance(cluster, 70) ? CLUSTER_END_POWER : CLUSTER_END_KILL;
    cluster->counters.faults[CLUSTER_POWER_ALL]++;
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        if (cluster->nodes[i].is_up) {
            end_node(cluster, &cluster->nodes[i], how);
        }
    }
}

void cluster_nemesis_cut_off(struct cluster_node *leader)
{
    struct cluster *cluster = leader->cluster;
    if (cluster->phase == CLUSTER_CHAOS &&
        cluster->knobs.faults[CLUSTER_ISOLATE_LEADER] &&
        cluster_chance(cluster, 30)) {
        do_fault(cluster, CLUSTER_ISOLATE_LEADER);
    }
}

/* In a moment in which something may not be durable that should be. */
void cluster_nemesis_provoke(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    if (cluster->phase != CLUSTER_CHAOS ||
        !cluster->knobs.faults[CLUSTER_POWER] || !cluster_chance(cluster, 40)) {
        return;
    }
    const bool all =
        cluster->knobs.faults[CLUSTER_POWER_ALL] && cluster_chance(cluster, 30);
    const uint64_t ns = cluster_below(cluster, 15 * NS_PER_MS);
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        if (all || i == node->number) {
            cluster_node_after(&cluster->nodes[i], CLUSTER_WORK_CUT,
                               ns + cluster_below(cluster, NS_PER_MS));
        }
    }
}

/* --- faults that take a machine's memory, or the machine ------------------------------ */

/* One machine at a time may forget, and only while all members are there. */
static bool may_forget(struct cluster *cluster)
{
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        wanted += cluster->nodes[i].is_wanted;
    }
    return wanted >= 3 && cluster->amnesiac == CLUSTER_NODES_MAX &&
           cluster_members_are_stable(cluster) &&
           cluster_leader(cluster) != NULL;
}

static void forget(struct cluster *cluster, enum cluster_fault fault)
{
    struct cluster_node *node =
        &cluster->nodes[cluster_below(cluster, cluster->knobs.machine_count)];
    if (!may_forget(cluster) || !node->is_wanted || !node->is_up ||
        node->is_rotten) {
        return;
    }
    if (fault == CLUSTER_BIT_ROT) {
        if (rot(cluster, node)) {
            cluster->amnesiac = node->number;
            cluster->counters.faults[fault]++;
            if (cluster_chance(cluster, 50)) {
                end_node(cluster, node, CLUSTER_END_KILL);
            }
        }
        return;
    }
    cluster->counters.faults[fault]++;
    cluster->amnesiac = node->number;
    cluster->stable_ns = 0;
    cluster_node_end(node, CLUSTER_END_KILL);
    cluster_node_wipe(node);
    cluster_node_after(node, CLUSTER_WORK_START, some_ms(cluster, 5, 500));
}

static void change_members(struct cluster *cluster)
{
    uint32_t wanted = 0;
    struct cluster_node *node =
        &cluster->nodes[cluster_below(cluster, cluster->knobs.machine_count)];
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        wanted += cluster->nodes[i].is_wanted;
    }
    if (!cluster_members_are_stable(cluster) ||
        cluster->amnesiac != CLUSTER_NODES_MAX ||
        (node->is_wanted && wanted <= 3)) {
        return;
    }
    cluster->counters.faults[CLUSTER_MEMBERS]++;
    cluster->stable_ns = 0;
    node->is_wanted = !node->is_wanted;
    cluster_say(cluster, node, node->is_wanted ? "is to join" : "is to go");
}

/* --- when ------------------------------------------------------------------------------- */

static void do_fault(struct cluster *cluster, enum cluster_fault fault)
{
    switch (fault) {
    case CLUSTER_PARTITION:
    case CLUSTER_ONE_WAY:
    case CLUSTER_PARTIAL:
    case CLUSTER_ISOLATE_LEADER:
    case CLUSTER_LAG:
        cluster->counters.faults[fault]++;
        partition(cluster, fault);
        break;
    case CLUSTER_KILL:
    case CLUSTER_POWER:
    case CLUSTER_STOP:
    case CLUSTER_PAUSE:
    case CLUSTER_CLOCK:
    case CLUSTER_SLOW_DISK:
    case CLUSTER_DISK_FULL:
    case CLUSTER_SYNC_FAIL:
    case CLUSTER_WRITE_FAIL:
        machine_fault(cluster, fault);
        break;
    case CLUSTER_POWER_ALL:
        if (cluster_chance(cluster, 30)) {
            power_all(cluster);
        }
        break;
    case CLUSTER_BIT_ROT:
    case CLUSTER_WIPE:
        forget(cluster, fault);
        break;
    case CLUSTER_MEMBERS:
        change_members(cluster);
        break;
    case CLUSTER_TRANSFER:
        cluster_members_transfer(cluster);
        break;
    default:
        break; /* of the net, of clients: all the time */
    }
}

static void on_nemesis(void *context, void *arg, bool happens)
{
    struct cluster *cluster = context;
    (void)arg;
    if (!happens || cluster->phase != CLUSTER_CHAOS) {
        return;
    }
    const enum cluster_fault fault =
        (enum cluster_fault)cluster_below(cluster, CLUSTER_FAULT_COUNT);
    if (cluster->knobs.faults[fault]) {
        do_fault(cluster, fault);
    }
    cluster_events_add(&cluster->events,
                       cluster_now(cluster) + 1 +
                           cluster_below(cluster,
                                         2 * cluster->knobs.nemesis_ns / 4),
                       on_nemesis, cluster, NULL);
}

void cluster_nemesis_begin(struct cluster *cluster)
{
    disturb_net(cluster);
    on_nemesis(cluster, NULL, true);
}

void cluster_nemesis_heal(struct cluster *cluster)
{
    cluster_net_calm(&cluster->net);
    cluster_net_heal(&cluster->net);
    for (uint32_t i = 0; i < cluster->knobs.machine_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        cure_disk(node);
        node->sync_max_ns = 2 * NS_PER_MS;
        if (node->is_up) {
            (void)sim_env_clear_faults(node->env);
        }
        cluster_node_pause(node, false);
        if (node->is_rotten) { /* the operator replaces it */
            cluster_node_end(node, CLUSTER_END_KILL);
            cluster_node_wipe(node);
        }
        if (!node->is_up && (node->is_wanted || !node->is_empty)) {
            cluster_node_after(node, CLUSTER_WORK_START,
                               some_ms(cluster, 1, 100));
        }
    }
}
