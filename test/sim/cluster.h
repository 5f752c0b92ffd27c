/*
 * cluster.h - a whole cluster with its clients in one process, in virtual time,
 * from one seed; and what must hold in it.
 *
 *   main_cluster.c     seeds, mutations, sums
 *   cluster.c          one run: begin, chaos, healing, what must hold at the end
 *   cluster_nemesis.c  what goes wrong, and when
 *   cluster_members.c  who is to be a member, and what is asked for that
 *   cluster_node.c     a node: production objects, events instead of threads
 *   cluster_check.c    what must hold of nodes, all the time
 *   cluster_client.c   sessions as clients, and their history
 *   cluster_net.h, cluster_model.h, cluster_events.h
 */
#ifndef WDB_TEST_SIM_CLUSTER_H
#define WDB_TEST_SIM_CLUSTER_H

#include "cmd/cluster.h"
#include "cmd/context.h"
#include "cmd/executor.h"
#include "cmd/session.h"
#include "sim/cluster_events.h"
#include "sim/cluster_model.h"
#include "sim/cluster_net.h"
#include "sim/history.h"
#include "sim/sim_env.h"

#define CLUSTER_CLIENTS_MAX 12
#define CLUSTER_ARGS_MAX    40
#define NS_PER_MS           UINT64_C(1000000)
#define NS_PER_S            UINT64_C(1000000000)

struct cluster;

/* What can go wrong. Each seed has some of them. */
#define CLUSTER_FAULTS(X)                                                      \
    X(LOSS, "loss")                                                            \
    X(DUPLICATE, "duplicate")                                                  \
    X(DELAY, "delay")                                                          \
    X(DAMAGE, "damage")                                                        \
    X(BREAK, "break")                                                          \
    X(GHOST, "ghost")                                                          \
    X(PARTITION, "partition")                                                  \
    X(ONE_WAY, "one-way")                                                      \
    X(PARTIAL, "partial")                                                      \
    X(ISOLATE_LEADER, "isolate-leader")                                        \
    X(KILL, "kill")                                                            \
    X(POWER, "power")                                                          \
    X(POWER_ALL, "power-all")                                                  \
    X(STOP, "stop")                                                            \
    X(PAUSE, "pause")                                                          \
    X(CLOCK, "clock")                                                          \
    X(SLOW_DISK, "slow-disk")                                                  \
    X(DISK_FULL, "disk-full")                                                  \
    X(SYNC_FAIL, "sync-fail")                                                  \
    X(WRITE_FAIL, "write-fail")                                                \
    X(BIT_ROT, "bit-rot")                                                      \
    X(WIPE, "wipe")                                                            \
    X(MEMBERS, "members")                                                      \
    X(TRANSFER, "transfer")                                                    \
    X(MERGE, "merge")                                                          \
    X(LAG, "lag")                                                              \
    X(FLUSH, "flush")                                                          \
    X(SPLIT_TURN, "split-turn")                                                \
    X(CLIENT_LOSS, "client-loss")

enum cluster_fault {
#define CLUSTER_FAULT_X(name, text) CLUSTER_##name,
    CLUSTER_FAULTS(CLUSTER_FAULT_X)
#undef CLUSTER_FAULT_X
    CLUSTER_FAULT_COUNT,
};

/* Things that happened, besides faults. */
#define CLUSTER_SIGHTS(X)                                                      \
    X(ELECTION, "leaders")                                                     \
    X(LOST_OFFICE, "offices-lost")                                             \
    X(TRUNCATION, "truncations")                                               \
    X(SNAPSHOT, "snapshots-installed")                                         \
    X(MERGED, "merges")                                                        \
    X(JOINED, "members-joined")                                                \
    X(REMOVED, "members-removed")                                              \
    X(TRANSFERRED, "leaderships-transferred")                                  \
    X(RESTART, "restarts")                                                     \
    X(FAILED, "nodes-failed")                                                  \
    X(REFUSED_START, "starts-refused")                                         \
    X(CONTENT, "contents-compared")                                            \
    X(CONTENT_DEPOSED, "contents-after-undo")                                  \
    X(OP_OK, "ops-ok")                                                         \
    X(OP_FAIL, "ops-failed")                                                   \
    X(OP_UNKNOWN, "ops-unknown")                                               \
    X(REPLY_MOVED, "replies-moved")                                            \
    X(REPLY_DOWN, "replies-clusterdown")                                       \
    X(REPLY_UNKNOWN, "replies-unknown")                                        \
    X(REPLY_LOADING, "replies-loading")                                        \
    X(REPLY_BUSY, "replies-busy")                                              \
    X(REPLY_OTHER, "replies-other-errors")                                     \
    X(TIMEOUT, "client-timeouts")                                              \
    X(STALE_READ, "stale-reads")                                               \
    X(WATCH_LOST, "execs-nil")                                                 \
    X(UNDECIDED, "keys-undecided")

enum cluster_sight {
#define CLUSTER_SIGHT_X(name, text) CLUSTER_SAW_##name,
    CLUSTER_SIGHTS(CLUSTER_SIGHT_X)
#undef CLUSTER_SIGHT_X
    CLUSTER_SIGHT_COUNT,
};

struct cluster_counters {
    uint64_t faults[CLUSTER_FAULT_COUNT];
    uint64_t sights[CLUSTER_SIGHT_COUNT];
    struct cluster_net_counters net;
    uint64_t events, virtual_ns;
};

/* --- a node ---------------------------------------------------------------- */

enum cluster_work {     /* events of a node; bits of `due` while it is paused */
    CLUSTER_WORK_RUN,   /* wdb_raft_run */
    CLUSTER_WORK_TURN,  /* of the worker */
    CLUSTER_WORK_SEND,  /* second half of a worker's turn */
    CLUSTER_WORK_LOG,   /* wdb_log_step: sync, new segments */
    CLUSTER_WORK_STORE, /* wdb_store_step: hints, merge */
    CLUSTER_WORK_TICK,  /* timers of the server */
    CLUSTER_WORK_END,   /* it has failed, and exits */
    CLUSTER_WORK_CUT,   /* of its power */
    CLUSTER_WORK_START,
    CLUSTER_WORK_RESUME,
    CLUSTER_WORK_COUNT,
};

struct cluster_job { /* off the loop */
    struct cluster_node *node;
    struct cluster_job *next, **link;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
    bool worked;
};

struct cluster_node {
    struct cluster *cluster;
    uint32_t number;
    /* The machine. */
    struct sim_disk *disk;
    struct wdb_config *config;
    int64_t skew_ms;
    uint32_t incarnation; /* raised with every wiped disk */
    char name[32], raft_address[32], tcp_address[32];
    wdb_node_id id;  /* as its identity says; 0: not known yet */
    bool is_wanted;  /* is to be a member */
    bool is_empty;   /* its disk: never started */
    bool is_rotten;  /* bits on its disk were flipped */
    bool is_excused; /* a fault of its disk explains its failure */
    bool is_full;    /* its disk, for a time */
    uint64_t sync_min_ns, sync_max_ns;
    /* The process; zero while there is none. */
    uint64_t life; /* raised by start and end */
    bool is_up, is_paused, is_ending, needs_power_cut, is_stopping;
    uint32_t due; /* bits: events that came while it was paused */
    uint64_t due_ns[CLUSTER_WORK_COUNT]; /* next event of each; 0: none */
    struct sim_env *env;
    struct wdb_identity identity;
    struct wdb_db *db;
    struct wdb_raft *raft;
    struct wdb_cluster link;
    struct wdb_context context;
    struct wdb_executor *executor;
    struct wdb_logger logger;
    struct cluster_job *jobs;
    bool wants_send;
    struct wdb_session *orphans[64]; /* clients are gone, a job is not */
    uint32_t orphan_count;
    /* cluster_check.c */
    uint64_t checked; /* committed entries up to here were compared */
    uint64_t era_seen, installs_seen, truncations_seen, merges_seen;
    bool was_leader;
};

void cluster_node_init(struct cluster *cluster, uint32_t number);
void cluster_node_release(struct cluster_node *node);
/* Begin the process. False: it refused (counted; a complaint if nothing
 * explains it). */
bool cluster_node_start(struct cluster_node *node);
enum cluster_end {
    CLUSTER_END_STOP,  /* orderly */
    CLUSTER_END_KILL,  /* the page cache stays */
    CLUSTER_END_POWER, /* what was not synced may be lost */
};
void cluster_node_end(struct cluster_node *node, enum cluster_end how);
void cluster_node_pause(struct cluster_node *node, bool is_paused);
/* An empty disk, a new name. The process has ended. */
void cluster_node_wipe(struct cluster_node *node);
/* Have an event of this kind, after so long at the latest. */
void cluster_node_after(struct cluster_node *node, enum cluster_work work,
                        uint64_t ns);
/* The client is gone. */
void cluster_node_drop(struct cluster_node *node, struct wdb_session *session);
void cluster_node_jump(struct cluster_node *node, int64_t ms);
/* Serves as a leader, as far as it knows. */
bool cluster_node_serves(const struct cluster_node *node);

/* --- clients --------------------------------------------------------------- */

struct cluster_plan { /* an operation under way, or a step of it */
    struct history_op op;
    struct history_part parts[8];
    uint32_t part_count;
    uint32_t database;
    uint32_t replies; /* that are to come */
    bool is_watch;    /* first step of a compare-and-set */
    bool is_final;    /* of the reads at the end */
    bool is_noise;    /* not for the history */
};

struct cluster_client {
    struct cluster *cluster;
    uint32_t number;
    uint64_t id;     /* in the history; another one after an unknown end */
    uint64_t life;   /* raised with every operation */
    uint32_t target; /* node */
    bool is_busy;
    struct cluster_plan plan;
    struct wdb_session *session; /* at session_node; NULL: none */
    uint32_t session_node;
    uint32_t session_database;
    struct wdb_buffer replies;
    uint64_t written;  /* values so far */
    uint32_t failures; /* in a row */
};

void cluster_client_init(struct cluster *cluster, uint32_t number);
void cluster_client_release(struct cluster_client *client);
/* Begin with operations. */
void cluster_client_begin(struct cluster_client *client);
/* The node ends: the session is freed, what was under way is unknown. */
void cluster_client_lose(struct cluster_client *client);
/* Bytes that the gate let pass. */
void cluster_client_bytes(struct cluster_client *client, const void *data,
                          size_t size);
/* Read a key consistently, as part of the history; done: is_busy is false. */
void cluster_client_read(struct cluster_client *client, const char *key,
                         bool is_list);

/* --- the cluster ----------------------------------------------------------- */

struct cluster_options {
    uint64_t seed;
    bool trace, trace_messages;
    bool no_faults;
    uint32_t node_count; /* 0: drawn */
    uint32_t log_mutations, store_mutations, raft_mutations, cmd_mutations;
};

/* Drawn from the seed. */
struct cluster_knobs {
    uint32_t node_count; /* members at the beginning */
    uint32_t machine_count;
    uint32_t client_count;
    uint32_t reader_count; /* of these, they only read */
    uint64_t chaos_ns;
    uint32_t op_max;
    uint64_t think_ns;
    uint32_t election_ms;
    uint64_t retained_size;
    uint64_t uncommitted_max;
    uint32_t key_count;        /* of each kind */
    uint32_t register_percent; /* of operations that are on plain registers */
    uint32_t value_max;
    uint32_t value_long; /* percent that are not short */
    uint64_t client_timeout_ns;
    bool faults[CLUSTER_FAULT_COUNT];
    uint64_t nemesis_ns; /* mean time between two faults */
};

enum cluster_phase {
    CLUSTER_BEGINS, /* members join, nothing goes wrong */
    CLUSTER_CHAOS,
    CLUSTER_HEALS,
    CLUSTER_READS, /* everything once more */
    CLUSTER_RESTS, /* until all nodes are the same */
};

struct cluster {
    struct cluster_options options;
    struct cluster_knobs knobs;
    struct wdb_random random;
    struct sim_clock clock;
    struct cluster_events events;
    struct cluster_net net;
    struct cluster_node nodes[CLUSTER_NODES_MAX];
    struct cluster_client clients[CLUSTER_CLIENTS_MAX];
    struct cluster_model model;
    struct history history;
    struct cluster_counters counters;
    enum cluster_phase phase;
    uint64_t phase_since_ns;
    uint32_t op_count, ok_count, ok_wanted;
    bool is_over;
    char failure[1024]; /* the first complaint; empty: none */
    struct wdb_buffer details;
    /* cluster_nemesis.c */
    uint32_t faults_under_way;
    uint32_t amnesiac; /* machine whose disk was lost and that is not back yet;
                          CLUSTER_NODES_MAX: none */
    /* cluster_members.c */
    bool is_asking;
    uint64_t asked_ns, asking; /* number of the request */
    uint64_t stable_ns;        /* since when all who are wanted are voters; 0 */
    uint32_t reading;          /* final reads: the next key */
};

/* Run it from beginning to end; false: options->failure says why. */
bool cluster_run(struct cluster *cluster,
                 const struct cluster_options *options);
void cluster_release(struct cluster *cluster);

uint64_t cluster_below(struct cluster *cluster, uint64_t bound);
bool cluster_chance(struct cluster *cluster, uint32_t percent);
/* A line of the trace. node NULL: nobody's. */
void cluster_say(struct cluster *cluster, const struct cluster_node *node,
                 const char *format, ...) WDB_PRINTF(3, 4);
/* Something that must hold does not. */
void cluster_complain(struct cluster *cluster, const struct cluster_node *node,
                      const char *format, ...) WDB_PRINTF(3, 4);
static inline void cluster_saw(struct cluster *cluster, enum cluster_sight what)
{
    cluster->counters.sights[what]++;
}
static inline uint64_t cluster_now(const struct cluster *cluster)
{
    return cluster->clock.monotonic_ns;
}

/* cluster_check.c: behind each step of a node. */
void cluster_check_node(struct cluster_node *node);
/* All nodes are at rest: do they hold the same? True: nothing is left to wait
 * for. */
bool cluster_check_rest(struct cluster *cluster);
/* The histories; at the end. */
void cluster_check_history(struct cluster *cluster);

/* cluster_nemesis.c */
void cluster_nemesis_draw(struct cluster *cluster);
void cluster_nemesis_begin(struct cluster *cluster);
void cluster_nemesis_heal(struct cluster *cluster);
/* A truncation, an installed snapshot: a good moment for a power cut. */
void cluster_nemesis_provoke(struct cluster_node *node);
/* A leader was asked for something: let it be alone with that. */
void cluster_nemesis_cut_off(struct cluster_node *leader);

/* cluster_members.c */
void cluster_members_begin(struct cluster *cluster);
/* All that are wanted are voters, nobody else is. */
bool cluster_members_are_stable(const struct cluster *cluster);
/* A node that serves, NULL: none is known. */
struct cluster_node *cluster_leader(struct cluster *cluster);
/* Ask for a transfer of leadership. */
void cluster_members_transfer(struct cluster *cluster);

#endif
