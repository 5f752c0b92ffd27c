/*
 * check_append.c - the graph of transactions, and its cycles.
 *
 * Nodes: transactions (an append or a read outside of MULTI is one, too), then
 * a node for each end of one, chained by time: "T1 ended before T2 began" is
 * T1 -> end -> end -> ... -> T2, so that the clock costs only three edges for
 * each transaction.
 */
#include "sim/check_append.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define NONE UINT32_MAX

enum edge_kind {
    EDGE_WW,
    EDGE_WR,
    EDGE_RW,
    EDGE_TIME,
    EDGE_KIND_COUNT
};

struct edge {
    uint32_t from, to;
    enum edge_kind kind;
};

/* Where an element was appended. */
struct element {
    uint32_t key, text;
    uint32_t txn;
    bool is_last; /* of its transaction's appends to the key */
    bool is_seen;
    uint32_t stamp; /* the last view that has it */
};

/* A list that somebody saw, taken apart. */
struct view {
    uint32_t key, txn;
    uint32_t *elements; /* numbers of check.elements */
    uint32_t count;
    uint32_t own; /* of these, at the end, the transaction itself appended */
    bool is_weak; /* need not be the newest */
};

struct check {
    struct history *history;
    struct history_report *report;
    const struct history_op **txns;
    uint32_t txn_count;
    bool *is_committed; /* ok, or somebody saw an element of it */
    struct element *elements;
    uint32_t element_count, element_capacity;
    uint32_t *table; /* elements by key and text */
    uint32_t table_size;
    struct view *views;
    uint32_t view_count, view_capacity;
    struct edge *edges;
    uint32_t edge_count, edge_capacity;
    uint32_t node_count;
    bool is_bad;
};

static void *grown(void *array, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity) {
        return array;
    }
    *capacity = *capacity == 0 ? 64 : *capacity * 2;
    array = realloc(array, *capacity * size);
    wdb_assert(array != NULL);
    return array;
}

static void *zeros(size_t count, size_t size)
{
    void *array = calloc(count + 1, size);
    wdb_assert(array != NULL);
    return array;
}

static void say(struct check *c, const char *what, uint32_t key, uint32_t txn)
{
    const struct wdb_slice name = history_slice(c->history, key);
    c->is_bad = true;
    history_complain(c->report, "key %.*s: %s:", (int)name.size,
                     (const char *)name.data, what);
    history_show(c->report, c->history, c->txns[txn]);
}

/* --- steps of a transaction ------------------------------------------------ */

static uint32_t step_count(const struct history_op *op)
{
    return op->kind == HISTORY_TXN ? op->part_count : 1;
}

/* An append or a read outside of MULTI looks like a transaction of one. */
static struct history_part step_at(const struct check *c,
                                   const struct history_op *op, uint32_t number)
{
    if (op->kind == HISTORY_TXN) {
        return c->history->parts[op->part_first + number];
    }
    return (struct history_part){op->kind, op->key, op->value, op->result};
}

/* --- elements -------------------------------------------------------------- */

static uint32_t *table_at(struct check *c, uint32_t key, uint32_t text)
{
    const uint64_t hash =
        (((uint64_t)key << 32) | text) * UINT64_C(0x9e3779b97f4a7c15);
    uint64_t at = hash >> 32 & (c->table_size - 1);
    while (c->table[at] != NONE && (c->elements[c->table[at]].key != key ||
                                    c->elements[c->table[at]].text != text)) {
        at = (at + 1) & (c->table_size - 1);
    }
    return &c->table[at];
}

static void add_element(struct check *c, uint32_t txn, uint32_t step)
{
    const struct history_op *op = c->txns[txn];
    const struct history_part part = step_at(c, op, step);
    uint32_t *slot = table_at(c, part.key, part.value);
    if (*slot != NONE) {
        say(c, "an element is appended twice, so nothing can be told", part.key,
            txn);
        return;
    }
    bool is_last = true;
    for (uint32_t i = step + 1; i < step_count(op); i++) {
        const struct history_part later = step_at(c, op, i);
        is_last &= later.kind != HISTORY_APPEND || later.key != part.key;
    }
    c->elements = grown(c->elements, c->element_count, &c->element_capacity,
                        sizeof(*c->elements));
    *slot = c->element_count;
    c->elements[c->element_count++] =
        (struct element){part.key, part.value, txn, is_last, false, 0};
}

static void find_elements(struct check *c)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->txn_count; i++) {
        count += step_count(c->txns[i]);
    }
    c->table_size = 64;
    while (c->table_size < count * 2) {
        c->table_size *= 2;
    }
    c->table = zeros(c->table_size, sizeof(*c->table));
    memset(c->table, 0xff, c->table_size * sizeof(*c->table));
    for (uint32_t i = 0; i < c->txn_count; i++) {
        for (uint32_t j = 0; j < step_count(c->txns[i]); j++) {
            if (step_at(c, c->txns[i], j).kind == HISTORY_APPEND) {
                add_element(c, i, j);
            }
        }
    }
}

/* --- views ----------------------------------------------------------------- */

/* Take "a1,b2," apart; false if there is something wrong with it. */
static bool split(struct check *c, struct view *view, uint32_t text)
{
    const struct wdb_slice list = history_slice(c->history, text);
    char *copy = zeros(list.size, 1);
    if (list.size > 0) {
        memcpy(copy, list.data, list.size); /* texts may move */
    }
    bool good = true;
    uint32_t capacity = 0;
    for (size_t at = 0; good && at < list.size;) {
        const char *comma = memchr(copy + at, ',', list.size - at);
        const size_t end = comma == NULL ? list.size : (size_t)(comma - copy);
        const uint32_t number =
            *table_at(c, view->key,
                      history_text(c->history, copy + at, end - at));
        good = comma != NULL && number != NONE;
        if (good) {
            view->elements = grown(view->elements, view->count, &capacity,
                                   sizeof(*view->elements));
            view->elements[view->count++] = number;
        }
        at = end + 1;
    }
    free(copy);
    return good;
}

/* The transaction's own appends before this step are the list's end. */
static bool sees_own(struct check *c, const struct history_op *op,
                     uint32_t step, struct view *view)
{
    uint32_t own = 0;
    for (uint32_t i = step; i-- > 0;) {
        const struct history_part part = step_at(c, op, i);
        if (part.kind != HISTORY_APPEND || part.key != view->key) {
            continue;
        }
        if (own == view->count ||
            c->elements[view->elements[view->count - 1 - own]].text !=
                part.value) {
            return false;
        }
        own++;
    }
    view->own = own;
    return true;
}

static void check_view(struct check *c, const struct view *view)
{
    for (uint32_t i = 0; i < view->count; i++) {
        struct element *element = &c->elements[view->elements[i]];
        const struct history_op *writer = c->txns[element->txn];
        element->is_seen = true;
        if (element->txn != view->txn) {
            c->is_committed[element->txn] = true;
        }
        if (writer->status == HISTORY_FAIL) {
            say(c, "G1a: a read saw what was refused", view->key, view->txn);
            history_show(c->report, c->history, writer);
            return;
        }
        if (element->stamp == c->view_count + 1) {
            say(c, "an element is there twice", view->key, view->txn);
            return;
        }
        element->stamp = c->view_count + 1;
    }
    if (view->count > 0) {
        const struct element *last =
            &c->elements[view->elements[view->count - 1]];
        if (!last->is_last && last->txn != view->txn) {
            say(c, "G1b: a read saw half of a transaction", view->key,
                view->txn);
            history_show(c->report, c->history, c->txns[last->txn]);
        }
    }
}

static void add_view(struct check *c, uint32_t txn, uint32_t step)
{
    const struct history_op *op = c->txns[txn];
    const struct history_part part = step_at(c, op, step);
    struct view view = {.key = part.key,
                        .txn = txn,
                        .is_weak = op->level != HISTORY_CONSISTENT};
    if (!split(c, &view, part.result)) {
        say(c, "a read saw an element that nobody appended", part.key, txn);
        free(view.elements);
        return;
    }
    if (!sees_own(c, op, step, &view)) {
        say(c, "internal: it does not see its own append", part.key, txn);
        free(view.elements);
        return;
    }
    check_view(c, &view);
    c->views =
        grown(c->views, c->view_count, &c->view_capacity, sizeof(*c->views));
    c->views[c->view_count++] = view;
}

static void find_views(struct check *c)
{
    for (uint32_t i = 0; i < c->txn_count; i++) {
        const struct history_op *op = c->txns[i];
        c->is_committed[i] |= op->status == HISTORY_OK;
        for (uint32_t j = 0; op->status == HISTORY_OK && j < step_count(op);
             j++) {
            if (step_at(c, op, j).kind == HISTORY_GET) {
                add_view(c, i, j);
            }
        }
    }
}

/* --- edges ----------------------------------------------------------------- */

static void add_edge(struct check *c, uint32_t from, uint32_t to,
                     enum edge_kind kind)
{
    if (from == to) {
        return;
    }
    c->edges =
        grown(c->edges, c->edge_count, &c->edge_capacity, sizeof(*c->edges));
    c->edges[c->edge_count++] = (struct edge){from, to, kind};
}

static int by_key(const void *left, const void *right)
{
    const struct view *a = left, *b = right;
    if (a->key != b->key) {
        return a->key < b->key ? -1 : 1;
    }
    return a->count < b->count ? -1 : a->count > b->count;
}

/* A list's appends are in the order of the longest view of it. */
static void add_view_edges(struct check *c, const struct view *view,
                           const struct view *longest, bool *has_order)
{
    if (view->count > 0 && memcmp(view->elements, longest->elements,
                                  view->count * sizeof(*view->elements)) != 0) {
        say(c, "two reads saw different orders", view->key, view->txn);
        history_show(c->report, c->history, c->txns[longest->txn]);
        *has_order = false;
        return;
    }
    if (view->is_weak) {
        return;
    }
    if (view->count > view->own) {
        const uint32_t last = view->elements[view->count - view->own - 1];
        add_edge(c, c->elements[last].txn, view->txn, EDGE_WR);
    }
    if (view->count < longest->count) {
        const uint32_t next = longest->elements[view->count];
        add_edge(c, view->txn, c->elements[next].txn, EDGE_RW);
    }
}

/* Appends that were done and that nobody saw come behind all others. */
static void add_unseen(struct check *c, const struct view *views,
                       uint32_t count, uint32_t key)
{
    const struct view *longest = count == 0 ? NULL : &views[count - 1];
    for (uint32_t i = 0; i < c->element_count; i++) {
        const struct element *element = &c->elements[i];
        if (element->key != key || element->is_seen ||
            !c->is_committed[element->txn] ||
            c->txns[element->txn]->status == HISTORY_FAIL) {
            continue;
        }
        if (longest != NULL && longest->count > 0) {
            const uint32_t last = longest->elements[longest->count - 1];
            add_edge(c, c->elements[last].txn, element->txn, EDGE_WW);
        }
        for (uint32_t j = count; j-- > 0;) {
            if (views[j].count < longest->count) {
                break;
            }
            if (!views[j].is_weak) {
                add_edge(c, views[j].txn, element->txn, EDGE_RW);
            }
        }
    }
}

static void add_data_edges(struct check *c)
{
    if (c->view_count > 0) {
        qsort(c->views, c->view_count, sizeof(*c->views), by_key);
    }
    for (uint32_t first = 0, end; first < c->view_count; first = end) {
        const uint32_t key = c->views[first].key;
        for (end = first; end < c->view_count && c->views[end].key == key;
             end++) {
        }
        const struct view *longest = &c->views[end - 1];
        bool has_order = true;
        for (uint32_t i = first; i < end; i++) {
            add_view_edges(c, &c->views[i], longest, &has_order);
        }
        for (uint32_t i = 1; has_order && i < longest->count; i++) {
            add_edge(c, c->elements[longest->elements[i - 1]].txn,
                     c->elements[longest->elements[i]].txn, EDGE_WW);
        }
        add_unseen(c, &c->views[first], end - first, key);
    }
}

struct moment {
    uint64_t time;
    uint32_t txn;
    bool is_end;
};

static int by_time(const void *left, const void *right)
{
    const struct moment *a = left, *b = right;
    if (a->time != b->time) {
        return a->time < b->time ? -1 : 1;
    }
    if (a->is_end != b->is_end) {
        return a->is_end ? 1 : -1; /* what touches may overlap */
    }
    return a->txn < b->txn ? -1 : a->txn > b->txn;
}

static void add_time_edges(struct check *c)
{
    struct moment *moments = zeros(2 * c->txn_count, sizeof(*moments));
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->txn_count; i++) {
        const struct history_op *op = c->txns[i];
        if (!c->is_committed[i] || op->level != HISTORY_CONSISTENT) {
            continue;
        }
        moments[count++] = (struct moment){op->start, i, false};
        if (op->status == HISTORY_OK) {
            moments[count++] = (struct moment){op->end, i, true};
        }
    }
    qsort(moments, count, sizeof(*moments), by_time);
    uint32_t last_end = NONE;
    c->node_count = c->txn_count;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t txn = moments[i].txn;
        if (!moments[i].is_end) {
            if (last_end != NONE) {
                add_edge(c, last_end, txn, EDGE_TIME);
            }
            continue;
        }
        if (last_end != NONE) {
            add_edge(c, last_end, c->node_count, EDGE_TIME);
        }
        last_end = c->node_count++;
        add_edge(c, txn, last_end, EDGE_TIME);
    }
    free(moments);
}

/* --- cycles ---------------------------------------------------------------- */

/* The edges up to a kind, by the node that they leave. */
struct graph {
    uint32_t node_count;
    uint32_t *first; /* node_count + 1 */
    uint32_t *to;
    enum edge_kind *kinds;
    uint32_t *component;
};

static void graph_make(const struct check *c, enum edge_kind kind_last,
                       struct graph *g)
{
    g->node_count = c->node_count;
    g->first = zeros(g->node_count + 2, sizeof(*g->first));
    g->to = zeros(c->edge_count, sizeof(*g->to));
    g->kinds = zeros(c->edge_count, sizeof(*g->kinds));
    g->component = zeros(g->node_count, sizeof(*g->component));
    for (uint32_t i = 0; i < c->edge_count; i++) {
        if (c->edges[i].kind <= kind_last) {
            g->first[c->edges[i].from + 2]++;
        }
    }
    for (uint32_t i = 2; i < g->node_count + 2; i++) {
        g->first[i] += g->first[i - 1];
    }
    for (uint32_t i = 0; i < c->edge_count; i++) {
        if (c->edges[i].kind <= kind_last) {
            const uint32_t at = g->first[c->edges[i].from + 1]++;
            g->to[at] = c->edges[i].to;
            g->kinds[at] = c->edges[i].kind;
        }
    }
}

static void graph_release(struct graph *g)
{
    free(g->first);
    free(g->to);
    free(g->kinds);
    free(g->component);
}

/* Tarjan's, without recursion. Returns a node of a component that has more
 * than one, NONE if there is none. Components are numbered from 1. */
static uint32_t graph_components(struct graph *g)
{
    const uint32_t count = g->node_count;
    uint32_t *index = zeros(count, sizeof(*index)); /* 0: not visited */
    uint32_t *low = zeros(count, sizeof(*low));
    uint32_t *edge = zeros(count, sizeof(*edge));
    uint32_t *stack = zeros(count, sizeof(*stack));
    uint32_t *path = zeros(count, sizeof(*path));
    uint32_t next = 0, stack_size = 0, path_size = 0, components = 0;
    uint32_t found = NONE;
    for (uint32_t root = 0; root < count; root++) {
        if (index[root] != 0) {
            continue;
        }
        path[path_size++] = root;
        while (path_size > 0) {
            const uint32_t node = path[path_size - 1];
            if (index[node] == 0) {
                index[node] = low[node] = ++next;
                edge[node] = g->first[node];
                stack[stack_size++] = node;
            }
            if (edge[node] < g->first[node + 1]) {
                const uint32_t to = g->to[edge[node]++];
                if (index[to] == 0) {
                    path[path_size++] = to;
                } else if (g->component[to] == 0 && index[to] < low[node]) {
                    low[node] = index[to];
                }
                continue;
            }
            path_size--;
            if (path_size > 0 && low[node] < low[path[path_size - 1]]) {
                low[path[path_size - 1]] = low[node];
            }
            if (low[node] == index[node]) {
                components++;
                uint32_t size = 0, member;
                do {
                    member = stack[--stack_size];
                    g->component[member] = components;
                    size++;
                } while (member != node);
                found = size > 1 && found == NONE ? node : found;
            }
        }
    }
    free(index);
    free(low);
    free(edge);
    free(stack);
    free(path);
    return found;
}

/* The shortest way from a node back to itself inside its component. */
static void show_cycle(struct check *c, const struct graph *g, uint32_t start)
{
    static const char *const names[] = {"ww", "wr", "rw", "earlier"};
    uint32_t *from = zeros(g->node_count, sizeof(*from));
    enum edge_kind *by = zeros(g->node_count, sizeof(*by));
    uint32_t *queue = zeros(g->node_count, sizeof(*queue));
    uint32_t first = 0, count = 0;
    memset(from, 0xff, g->node_count * sizeof(*from));
    queue[count++] = start;
    while (first < count && from[start] == NONE) {
        const uint32_t node = queue[first++];
        for (uint32_t i = g->first[node]; i < g->first[node + 1]; i++) {
            const uint32_t to = g->to[i];
            if (g->component[to] == g->component[start] && from[to] == NONE) {
                from[to] = node;
                by[to] = g->kinds[i];
                queue[count++] = to;
            }
        }
    }
    uint32_t node = start, shown = 0;
    do { /* backwards, without the nodes of the clock */
        if (node < c->txn_count && shown++ < 12) {
            history_show(c->report, c->history, c->txns[node]);
            history_complain(c->report, "   ^ %s", names[by[node]]);
        }
        node = from[node];
    } while (node != start && node != NONE);
    free(from);
    free(by);
    free(queue);
}

static void find_cycles(struct check *c)
{
    static const char *const names[] = {
        "G0: appends of transactions are interleaved",
        "G1c: transactions that depend on each other's appends",
        "G2: each of these missed what another appended",
        "-realtime: not in an order that the clock allows"};
    for (int kind = 0; kind < EDGE_KIND_COUNT; kind++) {
        struct graph graph;
        graph_make(c, (enum edge_kind)kind, &graph);
        uint32_t node = graph_components(&graph);
        if (node != NONE) {
            c->is_bad = true;
            history_complain(c->report,
                             "%s (a cycle, last first):", names[kind]);
            for (uint32_t i = 0; node >= c->txn_count; i++) {
                node = graph.component[i] == graph.component[node] ? i : node;
            }
            show_cycle(c, &graph, node);
        }
        graph_release(&graph);
        if (node != NONE) {
            return;
        }
    }
}

/* --- all of it ------------------------------------------------------------- */

static void find_txns(struct check *c)
{
    struct history *history = c->history;
    bool *is_append = zeros(history->text_count, sizeof(*is_append));
    for (size_t i = 0; i < history->count; i++) {
        if (history->ops[i].kind == HISTORY_APPEND) {
            is_append[history->ops[i].key] = true;
        }
    }
    for (size_t i = 0; i < history->part_count; i++) {
        is_append[history->parts[i].key] = true;
    }
    c->txns = zeros(history->count, sizeof(struct history_op *));
    for (size_t i = 0; i < history->count; i++) {
        const struct history_op *op = &history->ops[i];
        if (op->kind == HISTORY_TXN || op->kind == HISTORY_APPEND ||
            (op->kind == HISTORY_GET && is_append[op->key])) {
            c->txns[c->txn_count++] = op;
        }
    }
    c->is_committed = zeros(c->txn_count, sizeof(*c->is_committed));
    free(is_append);
}

void check_append(struct history *history, struct history_report *report)
{
    struct check check = {.history = history, .report = report};
    find_txns(&check);
    if (check.txn_count > 0) {
        find_elements(&check);
        find_views(&check);
        add_data_edges(&check);
        add_time_edges(&check);
        find_cycles(&check);
        report->passed += !check.is_bad;
        report->failed += check.is_bad;
    }
    for (uint32_t i = 0; i < check.view_count; i++) {
        free(check.views[i].elements);
    }
    free(check.txns);
    free(check.is_committed);
    free(check.elements);
    free(check.table);
    free(check.views);
    free(check.edges);
}
