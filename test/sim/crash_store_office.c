/*
 * crash_store_office.c - the part of sim_crash_store for commits by hand: a node
 * that loses office, follows, and serves again; and Raft's base.
 */
#include "sim/crash_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "walkerdb.h"

uint64_t crash_store_below(struct notes *n, uint64_t bound)
{
    return wdb_random_below(&n->random, bound);
}

void crash_store_complain(struct notes *n, const char *what, uint64_t found,
                          uint64_t expected)
{
    if (n->complaint[0] == '\0') {
        snprintf(n->complaint, sizeof(n->complaint),
                 "%s: %" PRIu64 ", expected %" PRIu64, what, found, expected);
    }
}

/* An entry that was truncated. */
struct saved {
    struct saved *next;
    struct wdb_entry_header entry;
    uint8_t payload[];
};

void crash_store_set_committed(struct work *w)
{
    struct notes *n = w->notes;
    struct wdb_log *log = wdb_store_log(w->store);
    const uint64_t committed = wdb_log_committed(log);
    const uint64_t durable = wdb_log_durable(log);
    if (durable > committed) {
        const uint64_t index =
            crash_store_below(n, 2) == 0
                ? durable
                : committed + 1 + crash_store_below(n, durable - committed);
        n->committed = index;
        wdb_store_set_committed(w->store, index);
        wdb_log_set_retained(log,
                             crash_store_below(n, 2) == 0 ? index : index / 2);
    }
}

bool crash_store_set_base(struct work *w)
{
    struct notes *n = w->notes;
    struct wdb_log *log = wdb_store_log(w->store);
    uint8_t bytes[200] = {0};
    n->base_next = (struct base){
        .number = n->base.number + 1,
        .retained = crash_store_below(n, wdb_log_committed(log) + 1),
    };
    if (n->base_next.retained < n->base.retained) {
        n->base_next.retained = n->base.retained;
    }
    wdb_store64(bytes, n->base_next.number);
    if (wdb_log_set_base(log, true,
                         wdb_slice(bytes,
                                   8 + crash_store_below(n, sizeof(bytes) - 8)),
                         n->base_next.retained) != 0) {
        return false;
    }
    n->base = n->base_next;
    return true;
}

/* --- out of office ---------------------------------------------------------
 */

static bool shows(struct work *w, uint64_t index)
{
    struct notes *n = w->notes;
    if (!store_model_check(&n->model, w->store,
                           store_model_at(&n->model, index))) {
        crash_store_complain(n, "out of office, entries up to", index,
                             wdb_log_index_last(wdb_store_log(w->store)));
        return false;
    }
    return true;
}

/* Nothing can be written, and to try changes nothing. */
static bool is_refused(struct work *w)
{
    struct notes *n = w->notes;
    uint64_t index;
    int rc = WALKERDB_ENOTLEADER;
    wdb_batch_clear(&w->batch);
    wdb_store_lock_all(w->store);
    store_model_fill(&n->model, w->store, &w->batch,
                     1 + (uint32_t)crash_store_below(n, 3));
    if (w->batch.count > 0) {
        rc = wdb_store_commit(w->store, &w->batch, &index);
    }
    store_model_forget(&n->model);
    wdb_store_unlock_all(w->store);
    if (rc != WALKERDB_ENOTLEADER) {
        crash_store_complain(n, "a commit that is held says", (uint64_t)-rc,
                             -WALKERDB_ENOTLEADER);
    }
    return rc == WALKERDB_ENOTLEADER;
}

/* As far as it gets: it may have to wait for a commit, and go on later. */
bool crash_store_merge_some(struct work *w)
{
    const int rc = wdb_store_merge(w->store);
    return rc == 0 || rc == WALKERDB_EABORTED;
}

bool crash_store_lose_office(struct work *w)
{
    struct notes *n = w->notes;
    struct wdb_log *log = wdb_store_log(w->store);
    if (crash_store_below(n, 2) == 0 && !crash_store_merge_some(w)) {
        return false;
    }
    wdb_log_hold(log, true);
    if (!is_refused(w)) {
        return false;
    }
    const uint64_t committed = wdb_log_committed(log);
    const uint64_t last = wdb_log_index_last(log);
    const uint64_t from =
        committed + 1 + crash_store_below(n, last - committed + 1);
    if (wdb_store_revert(w->store, from) != 0) {
        return false;
    }
    w->deposed = true;
    w->applied = from - 1;
    return shows(w, w->applied);
}

/* One more entry; committed before, or later, or never. */
static bool apply_next(struct work *w)
{
    struct notes *n = w->notes;
    const uint64_t index = w->applied + 1;
    struct wdb_log *log = wdb_store_log(w->store);
    if (index > wdb_log_appended(log)) {
        return true;
    }
    if (index <= wdb_log_durable(log) && index > wdb_log_committed(log) &&
        crash_store_below(n, 2) == 0) {
        n->committed = index;
        wdb_store_set_committed(w->store, index);
    }
    if (wdb_store_apply_entry(w->store, index) != 0) {
        return false;
    }
    w->applied = index;
    return true;
}

void crash_store_forget_saved(struct work *w)
{
    while (w->saved != NULL) {
        struct saved *next = w->saved->next;
        free(w->saved);
        w->saved = next;
    }
}

static bool save(struct work *w, uint64_t from, uint64_t last)
{
    struct saved **end = &w->saved;
    for (uint64_t i = from; i <= last; i++) {
        struct wdb_entry_header entry;
        struct wdb_segment *segment;
        const uint8_t *payload;
        if (wdb_log_entry(wdb_store_log(w->store), i, &entry, &payload,
                          &segment) != 0) {
            return false;
        }
        struct saved *saved = malloc(sizeof(*saved) + entry.payload_size);
        wdb_assert(saved != NULL);
        saved->next = NULL;
        saved->entry = entry;
        memcpy(saved->payload, payload, entry.payload_size);
        wdb_segment_drop(segment);
        *end = saved;
        end = &saved->next;
    }
    return true;
}

/* Give up some entries, which may come again. */
static bool withdraw(struct work *w)
{
    struct notes *n = w->notes;
    struct wdb_log *log = wdb_store_log(w->store);
    const uint64_t committed = wdb_log_committed(log);
    const uint64_t last = wdb_log_index_last(log);
    if (last <= committed || w->saved != NULL || wdb_log_flush(log) != 0) {
        return true;
    }
    const uint64_t from =
        committed + 1 + crash_store_below(n, last - committed);
    if (!save(w, from, last)) {
        return false;
    }
    n->durable = from - 1 < n->durable ? from - 1 : n->durable;
    n->live = NULL;
    if (wdb_store_truncate(w->store, from) != 0) {
        return false;
    }
    n->live = w->store;
    w->applied = from - 1 < w->applied ? from - 1 : w->applied;
    return shows(w, w->applied);
}

/* Some of them come again. */
static bool bring_back(struct work *w, uint64_t count)
{
    while (w->saved != NULL && count-- > 0) {
        struct wdb_log_place place;
        struct saved *saved = w->saved;
        if (wdb_log_append_entry(wdb_store_log(w->store), &saved->entry,
                                 saved->payload, &place) != 0) {
            return false;
        }
        w->saved = saved->next;
        free(saved);
    }
    return wdb_log_flush(wdb_store_log(w->store)) == 0;
}

static bool return_to_office(struct work *w)
{
    struct notes *n = w->notes;
    struct wdb_log *log = wdb_store_log(w->store);
    bool good = true;
    if (w->saved != NULL && crash_store_below(n, 2) == 0) {
        good = bring_back(w, UINT64_MAX);
    }
    if (w->saved != NULL) {
        crash_store_forget_saved(w);
        store_model_truncate(&n->model, wdb_log_index_last(log) + 1);
    }
    good = good && wdb_log_flush(log) == 0;
    while (good && w->applied < wdb_log_index_last(log)) {
        good = apply_next(w);
    }
    wdb_log_hold(log, false);
    w->deposed = false;
    return good && shows(w, w->applied);
}

bool crash_store_follow(struct work *w)
{
    struct notes *n = w->notes;
    bool good = true;
    if (crash_store_below(n, 3) == 0) {
        if (crash_store_below(n, 2) == 0) {
            crash_store_set_committed(w);
        }
        good = crash_store_merge_some(w) && shows(w, w->applied);
    }
    for (uint64_t i = crash_store_below(n, 5); good && i > 0; i--) {
        good = apply_next(w);
    }
    if (good && crash_store_below(n, 4) == 0) {
        good = withdraw(w);
    }
    if (good && crash_store_below(n, 3) == 0) {
        good = bring_back(w, 1 + crash_store_below(n, 4));
    }
    if (good && crash_store_below(n, 5) == 0) {
        good = return_to_office(w);
    }
    return good;
}

/* The base, and the entries that it was promised with. */
bool crash_store_check_base(struct notes *n, struct wdb_log *log)
{
    const struct wdb_slice bytes = wdb_log_base(log);
    const uint64_t number = bytes.size < 8 ? 0 : wdb_load64(bytes.data);
    const struct base *base =
        number == n->base.number ? &n->base : &n->base_next;
    if (number != base->number || wdb_log_is_cluster(log) != (number > 0)) {
        crash_store_complain(n, "base", number, n->base.number);
        return false;
    }
    const uint64_t retained = wdb_log_retained(log);
    if (retained < base->retained) {
        crash_store_complain(n, "retained", retained, base->retained);
        return false;
    }
    if (wdb_log_index_first(log) > (retained == 0 ? 1 : retained)) {
        crash_store_complain(n, "first entry that is there",
                             wdb_log_index_first(log), retained);
        return false;
    }
    return true;
}
