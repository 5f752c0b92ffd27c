/*
 * crash_store.h - what the parts of sim_crash_store share: what the application
 * knows, and what it works with.
 */
#ifndef WDB_TEST_SIM_CRASH_STORE_H
#define WDB_TEST_SIM_CRASH_STORE_H

#include "sim/sim_explore.h"
#include "sim/store_model.h"

#define BACKUPS_MAX 3

/* What set_base was given: its number is what the bytes say. */
struct base {
    uint64_t number, retained;
};

struct backup {
    uint64_t index; /* what it holds at least; when it is done */
    bool begun, done;
};

/* What the application knows at any moment. */
struct notes {
    struct wdb_store_options options;
    struct store_model model;
    struct wdb_random random;
    uint32_t mutations;
    bool truncates;
    int turns, turn;
    uint32_t ballast; /* keys beside the model's: they keep segments clean */
    bool has_ballast;
    struct wdb_store *live; /* what it promises now */
    uint64_t durable;       /* must be there */
    uint64_t committed;     /* with commits by hand: more must not be served */
    bool pending;           /* model.next may be in the log already */
    struct base base, base_next; /* set; being set, or the same */
    struct backup backups[BACKUPS_MAX];
    uint32_t backup_count;
    char complaint[400];
    bool broken; /* the workload itself failed */
};

uint64_t crash_store_below(struct notes *n, uint64_t bound);
/* Note what is wrong, unless something was noted before. */
void crash_store_complain(struct notes *n, const char *what, uint64_t found,
                          uint64_t expected);

struct saved;

struct work {
    struct notes *notes;
    struct sim_env *env;
    struct wdb_store *store;
    struct wdb_batch batch;
    bool deposed;        /* batches are held; */
    uint64_t applied;    /* entries up to here are shown */
    struct saved *saved; /* what was given up, and may come again */
};

/* --- crash_store_office.c: with commits by hand ----------------------------
 */

/* Some of what is durable is committed. */
void crash_store_set_committed(struct work *w);
/* Set another base for Raft; look whether the right one is there. */
bool crash_store_set_base(struct work *w);
bool crash_store_check_base(struct notes *n, struct wdb_log *log);
/* Merge as far as it gets: it may have to wait for a commit, and go on later. */
bool crash_store_merge_some(struct work *w);
/* Hold batches and take back what is not committed; then, turn by turn, what a
 * follower does, until the node serves again. False: something is wrong. */
bool crash_store_lose_office(struct work *w);
bool crash_store_follow(struct work *w);
void crash_store_forget_saved(struct work *w);

#endif
