/*
 * check_linear.c - the search for an order that explains all results.
 *
 * The operations that may come first are those that start before any other
 * ends. One that fits the state is taken (its two events leave the list), and
 * so on; if none fits, the last one taken is put back and the next is tried.
 * A pair of (what is taken, state) is tried once: the cache. Sets of taken
 * operations are known by the exclusive or of random 128-bit numbers.
 */
#include "sim/check_linear.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/number.h"
#include "base/random.h"

#define NONE UINT32_MAX

struct event {
    uint64_t time;
    uint32_t op; /* in search.ops */
    uint32_t
        pair; /* of a start: its end, NONE if it has none. Of an end: NONE */
    uint32_t next, prev;
    bool is_end;
};

struct state {
    uint32_t value; /* text, 0: absent */
    bool may_expire;
};

struct frame {
    uint32_t event;
    struct state state; /* before it */
    bool is_forced;     /* another choice would do no better */
};

struct candidate {
    const struct history_op *op;
    uint64_t code[2];
    uint32_t twin; /* unknown, too, and the same, but earlier: goes first */
    bool is_taken;
};

struct search {
    struct history *history;
    const struct history_op **ops; /* of the key, in order of their start */
    size_t count;
    struct candidate *candidates;
    struct event *events; /* [0] is the head of the list */
    uint32_t event_count;
    struct frame *frames;
    uint32_t depth;
    uint64_t code[2];
    uint64_t (*cache)[2];
    size_t cache_count, cache_size;
    uint64_t steps, steps_max;
    /* Where it got furthest. */
    uint32_t depth_max, stuck;
    struct state stuck_state;
};

enum outcome {
    GOOD,
    BAD,
    UNDECIDED
};

/* --- what an operation does ------------------------------------------------ */

static bool sum(struct search *s, uint32_t text, int64_t by, uint32_t *out)
{
    int64_t number = 0;
    if (text != 0 &&
        !wdb_parse_int64(history_slice(s->history, text), &number)) {
        return false;
    }
    char digits[32];
    const int size = snprintf(digits, sizeof(digits), "%" PRId64, number + by);
    *out = history_text(s->history, digits, (size_t)size);
    return true;
}

/* As if the time to live were over, if that helps. */
static bool could_be(const struct state *state, uint32_t value)
{
    return state->value == value || (value == 0 && state->may_expire);
}

static bool step_incr(struct search *s, const struct history_op *op,
                      struct state *state)
{
    const bool is_known = op->status == HISTORY_OK;
    uint32_t result;
    if (!sum(s, state->value, op->by, &result)) {
        return !is_known;
    }
    if (is_known && result != op->result && state->may_expire) {
        state->may_expire = false;
        (void)sum(s, 0, op->by, &result);
    }
    state->value = result;
    return !is_known || result == op->result;
}

/* Does it fit? Then the state is the one behind it. */
static bool step(struct search *s, const struct history_op *op,
                 struct state *state)
{
    const bool is_known = op->status == HISTORY_OK;
    switch (op->kind) {
    case HISTORY_GET:
        if (!could_be(state, op->result)) {
            return false;
        }
        if (op->result == 0) {
            *state = (struct state){0};
        }
        return true;
    case HISTORY_GETSET:
        if (is_known && !could_be(state, op->result)) {
            return false;
        }
        break;
    case HISTORY_SETNX:
        if (is_known && !op->flag) {
            return state->value != 0;
        }
        if (!could_be(state, 0)) {
            return !is_known;
        }
        break;
    case HISTORY_CAS:
        if (!could_be(state, op->expect)) {
            return !is_known;
        }
        break;
    case HISTORY_INCR:
        return step_incr(s, op, state);
    case HISTORY_DEL:
        if (is_known && op->has_result &&
            (op->flag ? state->value == 0 : !could_be(state, 0))) {
            return false;
        }
        *state = (struct state){0};
        return true;
    case HISTORY_FLUSH:
        *state = (struct state){0};
        return true;
    default:
        break;
    }
    *state = (struct state){op->value, op->may_expire};
    return true;
}

/* --- the list and the cache ------------------------------------------------ */

static void unlink_event(struct search *s, uint32_t number)
{
    const struct event *event = &s->events[number];
    s->events[event->prev].next = event->next;
    if (event->next != NONE) {
        s->events[event->next].prev = event->prev;
    }
}

static void link_event(struct search *s, uint32_t number)
{
    const struct event *event = &s->events[number];
    s->events[event->prev].next = number;
    if (event->next != NONE) {
        s->events[event->next].prev = number;
    }
}

static void take(struct search *s, uint32_t number, bool is_taken)
{
    struct event *event = &s->events[number];
    struct candidate *candidate = &s->candidates[event->op];
    candidate->is_taken = is_taken;
    s->code[0] ^= candidate->code[0];
    s->code[1] ^= candidate->code[1];
    if (is_taken) {
        unlink_event(s, number);
        if (event->pair != NONE) {
            unlink_event(s, event->pair);
        }
    } else {
        if (event->pair != NONE) {
            link_event(s, event->pair);
        }
        link_event(s, number);
    }
}

static void cache_grow(struct search *s)
{
    uint64_t(*old)[2] = s->cache;
    const size_t old_size = s->cache_size;
    s->cache_size = old_size == 0 ? 1024 : old_size * 2;
    s->cache = calloc(s->cache_size, sizeof(*s->cache));
    wdb_assert(s->cache != NULL);
    for (size_t i = 0; i < old_size; i++) {
        if (old[i][0] != 0) {
            size_t at = old[i][0] & (s->cache_size - 1);
            while (s->cache[at][0] != 0) {
                at = (at + 1) & (s->cache_size - 1);
            }
            memcpy(s->cache[at], old[i], sizeof(*old));
        }
    }
    free(old);
}

/* Remember (what would be taken, state); false if it was there. */
static bool cache_add(struct search *s, const struct candidate *candidate,
                      const struct state *state)
{
    if (s->cache_count * 2 >= s->cache_size) {
        cache_grow(s);
    }
    const uint64_t mix = (state->value * UINT64_C(2) + state->may_expire + 1) *
                         UINT64_C(0x9e3779b97f4a7c15);
    const uint64_t code[2] = {
        (s->code[0] ^ candidate->code[0] ^ mix ^ mix >> 31) | 1,
        s->code[1] ^ candidate->code[1] ^ mix};
    size_t at = code[0] & (s->cache_size - 1);
    for (; s->cache[at][0] != 0; at = (at + 1) & (s->cache_size - 1)) {
        if (s->cache[at][0] == code[0] && s->cache[at][1] == code[1]) {
            return false;
        }
    }
    memcpy(s->cache[at], code, sizeof(code));
    s->cache_count++;
    return true;
}

/* --- the search ------------------------------------------------------------ */

/* The next event from `number` on that can be taken now; NONE: none. */
static uint32_t choose(struct search *s, uint32_t number, struct state *state,
                       bool *forced_out)
{
    for (; number != NONE && !s->events[number].is_end;
         number = s->events[number].next) {
        const struct candidate *candidate =
            &s->candidates[s->events[number].op];
        struct state next = *state;
        s->steps++;
        if ((candidate->twin != NONE &&
             !s->candidates[candidate->twin].is_taken) ||
            !step(s, candidate->op, &next)) {
            continue;
        }
        *forced_out = candidate->op->kind == HISTORY_GET &&
                      next.value == state->value &&
                      next.may_expire == state->may_expire;
        if (cache_add(s, candidate, &next)) {
            *state = next;
            return number;
        }
        if (*forced_out) {
            return NONE; /* all that can follow was tried */
        }
    }
    return NONE;
}

/* Are only operations left that may never have happened? */
static bool is_done(const struct search *s)
{
    for (uint32_t i = s->events[0].next; i != NONE; i = s->events[i].next) {
        if (s->events[i].is_end) {
            return false;
        }
    }
    return true;
}

static void note_depth(struct search *s, const struct state *state)
{
    if (s->depth >= s->depth_max) {
        s->depth_max = s->depth;
        s->stuck_state = *state;
        uint32_t i = s->events[0].next;
        while (!s->events[i].is_end) {
            i = s->events[i].next;
        }
        s->stuck = s->events[i].op;
    }
}

static enum outcome search_run(struct search *s)
{
    struct state state = {0};
    uint32_t at = s->events[0].next;
    while (!is_done(s)) {
        if (s->steps > s->steps_max) {
            return UNDECIDED;
        }
        const struct state before = state;
        bool is_forced = false;
        const uint32_t chosen = choose(s, at, &state, &is_forced);
        if (chosen != NONE) {
            s->frames[s->depth++] = (struct frame){chosen, before, is_forced};
            take(s, chosen, true);
            at = s->events[0].next;
            continue;
        }
        note_depth(s, &state);
        bool again = true;
        while (again) {
            if (s->depth == 0) {
                return BAD;
            }
            const struct frame *frame = &s->frames[--s->depth];
            take(s, frame->event, false);
            state = frame->state;
            at = s->events[frame->event].next;
            again = frame->is_forced;
        }
    }
    return GOOD;
}

/* --- one key --------------------------------------------------------------- */

static int by_time(const void *left, const void *right)
{
    const struct event *a = left, *b = right;
    if (a->time != b->time) {
        return a->time < b->time ? -1 : 1;
    }
    if (a->is_end != b->is_end) {
        return a->is_end ? 1 : -1; /* what touches may overlap */
    }
    return a->op < b->op ? -1 : a->op > b->op;
}

static bool is_same(const struct history_op *a, const struct history_op *b)
{
    return a->kind == b->kind && a->value == b->value &&
           a->expect == b->expect && a->by == b->by &&
           a->may_expire == b->may_expire;
}

static void add_candidate(struct search *s, const struct history_op *op,
                          struct wdb_random *random)
{
    struct candidate *candidate = &s->candidates[s->count];
    *candidate = (struct candidate){
        op, {wdb_random_next(random), wdb_random_next(random)}, NONE, false};
    for (size_t i = s->count; op->status == HISTORY_UNKNOWN && i-- > 0;) {
        const struct candidate *other = &s->candidates[i];
        if (other->op->status == HISTORY_UNKNOWN && is_same(other->op, op)) {
            candidate->twin = (uint32_t)i;
            break;
        }
    }
    s->count++;
}

static void make_events(struct search *s)
{
    uint32_t *starts = calloc(s->count + 1, sizeof(*starts));
    s->events = calloc(2 * s->count + 1, sizeof(*s->events));
    s->frames = calloc(s->count + 1, sizeof(*s->frames));
    wdb_assert(starts != NULL && s->events != NULL && s->frames != NULL);
    s->event_count = 1;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct history_op *op = s->candidates[i].op;
        s->events[s->event_count++] =
            (struct event){.time = op->start, .op = i};
        if (op->status == HISTORY_OK) {
            s->events[s->event_count++] =
                (struct event){.time = op->end, .op = i, .is_end = true};
        }
    }
    qsort(s->events + 1, s->event_count - 1, sizeof(*s->events), by_time);
    for (uint32_t i = 0; i < s->event_count; i++) {
        struct event *event = &s->events[i];
        event->pair = NONE;
        event->prev = i - 1;
        event->next = i + 1 == s->event_count ? NONE : i + 1;
        if (i > 0 && event->is_end) {
            s->events[starts[event->op]].pair = i;
        } else if (i > 0) {
            starts[event->op] = i;
        }
    }
    free(starts);
}

/* A write that nobody saw, of which nobody can tell whether it was. */
static bool is_pointless(const struct history_op *op, const bool *seen,
                         bool is_plain)
{
    return op->status == HISTORY_UNKNOWN &&
           (op->kind == HISTORY_GET ||
            (is_plain && op->kind == HISTORY_SET && !seen[op->value]));
}

/* Texts that somebody saw; and is there nothing but reads and writes whose
 * results are values? */
static bool look(const struct search *s, bool *seen)
{
    bool is_plain = true;
    for (size_t i = 0; i < s->count; i++) {
        const struct history_op *op = s->ops[i];
        if (op->kind == HISTORY_GET || op->kind == HISTORY_GETSET) {
            seen[op->result] = true;
        } else if (op->kind == HISTORY_CAS) {
            seen[op->expect] = true;
        } else if (op->kind == HISTORY_INCR || op->kind == HISTORY_SETNX ||
                   (op->kind == HISTORY_DEL && op->has_result)) {
            is_plain = false;
        }
    }
    return is_plain;
}

/* A read that need not be the newest: is what it saw possible at all? */
static bool check_weak_read(const struct search *s, const struct history_op *op)
{
    if (op->result == 0) {
        return true;
    }
    for (size_t i = 0; i < s->count; i++) {
        const struct history_op *other = s->ops[i];
        if (other->status == HISTORY_FAIL || other->start > op->end) {
            continue;
        }
        if (other->value == op->result ||
            (other->kind == HISTORY_INCR && (other->status == HISTORY_UNKNOWN ||
                                             other->result == op->result))) {
            return true;
        }
    }
    return false;
}

static bool check_weak_reads(const struct search *s, uint32_t key,
                             struct history_report *report)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct history_op *op = s->ops[i];
        if (op->kind == HISTORY_GET && op->level != HISTORY_CONSISTENT &&
            op->status == HISTORY_OK && !check_weak_read(s, op)) {
            const struct wdb_slice name = history_slice(s->history, key);
            history_complain(report, "key %.*s: a read saw what nobody wrote:",
                             (int)name.size, (const char *)name.data);
            history_show(report, s->history, op);
            return false;
        }
    }
    return true;
}

static void explain(const struct search *s, uint32_t key,
                    struct history_report *report)
{
    const struct wdb_slice name = history_slice(s->history, key);
    const struct wdb_slice value =
        history_slice(s->history, s->stuck_state.value);
    const struct history_op *stuck = s->candidates[s->stuck].op;
    history_complain(report,
                     "key %.*s: not linearizable: after %u of %zu operations "
                     "its value is %.*s, and this does not fit:",
                     (int)name.size, (const char *)name.data, s->depth_max,
                     s->count, value.data == NULL ? 6 : (int)value.size,
                     value.data == NULL ? "absent" : (const char *)value.data);
    history_show(report, s->history, stuck);
    history_complain(report, " what ran at the same time, or shortly before:");
    int shown = 0;
    for (size_t i = s->count; i-- > 0 && shown < 12;) {
        const struct history_op *op = s->candidates[i].op;
        if (op != stuck && op->start <= stuck->end) {
            history_show(report, s->history, op);
            shown++;
        }
    }
}

/* Judge the operations of one key, ops[0 .. count). */
static void check_key(struct search *s, uint32_t key,
                      struct history_report *report)
{
    struct wdb_random random;
    wdb_random_seed(&random, key);
    bool *seen = calloc(s->history->text_count + 1, sizeof(*seen));
    s->candidates = calloc(s->count + 1, sizeof(*s->candidates));
    wdb_assert(seen != NULL && s->candidates != NULL);
    const bool is_plain = look(s, seen);
    bool good = check_weak_reads(s, key, report);
    const size_t count = s->count;
    s->count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct history_op *op = s->ops[i];
        if (op->status != HISTORY_FAIL && !is_pointless(op, seen, is_plain) &&
            (op->kind != HISTORY_GET || op->level == HISTORY_CONSISTENT)) {
            add_candidate(s, op, &random);
        }
    }
    make_events(s);
    const enum outcome outcome = search_run(s);
    if (outcome == BAD) {
        explain(s, key, report);
        good = false;
    }
    report->undecided += outcome == UNDECIDED;
    report->passed += good;
    report->failed += !good;
    free(seen);
    free(s->candidates);
    free(s->events);
    free(s->frames);
    free(s->cache);
}

/* --- all keys -------------------------------------------------------------- */

static int by_key(const void *left, const void *right)
{
    const struct history_op *a = *(const struct history_op *const *)left;
    const struct history_op *b = *(const struct history_op *const *)right;
    if (a->key != b->key) {
        return a->key < b->key ? -1 : 1;
    }
    return a->start < b->start ? -1 : a->start > b->start;
}

static int by_start(const void *left, const void *right)
{
    const struct history_op *a = *(const struct history_op *const *)left;
    const struct history_op *b = *(const struct history_op *const *)right;
    return a->start < b->start ? -1 : a->start > b->start;
}

/* Keys that appends use. */
static bool *append_keys(const struct history *history)
{
    bool *keys = calloc(history->text_count + 1, sizeof(*keys));
    wdb_assert(keys != NULL);
    for (size_t i = 0; i < history->count; i++) {
        if (history->ops[i].kind == HISTORY_APPEND) {
            keys[history->ops[i].key] = true;
        }
    }
    for (size_t i = 0; i < history->part_count; i++) {
        keys[history->parts[i].key] = true;
    }
    return keys;
}

void check_linear(struct history *history, uint64_t steps_max,
                  struct history_report *report)
{
    bool *is_append = append_keys(history);
    const struct history_op **sorted =
        calloc(history->count + 1, sizeof(struct history_op *));
    const struct history_op **ops =
        calloc(history->count + 1, sizeof(struct history_op *));
    wdb_assert(sorted != NULL && ops != NULL);
    size_t count = 0;
    for (size_t i = 0; i < history->count; i++) {
        if (!is_append[history->ops[i].key] &&
            history->ops[i].kind != HISTORY_TXN) {
            sorted[count++] = &history->ops[i];
        }
    }
    qsort(sorted, count, sizeof(*sorted), by_key);
    size_t flushes = 0; /* they have no key: key 0 is the first */
    while (flushes < count && sorted[flushes]->key == 0) {
        flushes++;
    }
    for (size_t first = flushes, end; first < count; first = end) {
        const uint32_t key = sorted[first]->key;
        for (end = first; end < count && sorted[end]->key == key; end++) {
            ops[end - first] = sorted[end];
        }
        memcpy(ops + (end - first), sorted, flushes * sizeof(*ops));
        struct search search = {.history = history,
                                .ops = ops,
                                .count = end - first + flushes,
                                .steps_max = steps_max};
        qsort(ops, search.count, sizeof(*ops), by_start);
        check_key(&search, key, report);
    }
    free(is_append);
    free(sorted);
    free(ops);
}
