/*
 * slowlog.c - the last commands that took long.
 *
 * An entry and everything that it points to is one allocation, in a list with
 * the newest in front.
 */
#include "admin/slowlog.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/list.h"
#include "walkerdb.h"

/* Room for "... (N more bytes)" and "... (N more arguments)". */
#define REST_TEXT_MAX 64

struct node {
    struct wdb_list list;
    struct wdb_slowlog_entry entry;
    struct wdb_slice arguments[]; /* then their bytes, address and name */
};

struct wdb_slowlog {
    pthread_mutex_t lock;
    struct wdb_list entries; /* newest first */
    uint64_t length;
    uint64_t id_next;
};

int wdb_slowlog_new(struct wdb_slowlog **out)
{
    struct wdb_slowlog *slowlog = calloc(1, sizeof(*slowlog));
    if (slowlog == NULL) {
        return WALKERDB_ENOMEM;
    }
    pthread_mutex_init(&slowlog->lock, NULL);
    wdb_list_init(&slowlog->entries);
    *out = slowlog;
    return 0;
}

void wdb_slowlog_free(struct wdb_slowlog *slowlog)
{
    if (slowlog == NULL) {
        return;
    }
    wdb_slowlog_reset(slowlog);
    pthread_mutex_destroy(&slowlog->lock);
    free(slowlog);
}

static uint32_t shown_count(uint32_t argument_count)
{
    return argument_count < WDB_SLOWLOG_ARGUMENTS_MAX
               ? argument_count
               : WDB_SLOWLOG_ARGUMENTS_MAX;
}

static size_t shown_size(size_t size)
{
    return size <= WDB_SLOWLOG_ARGUMENT_SIZE_MAX
               ? size
               : WDB_SLOWLOG_ARGUMENT_SIZE_MAX + REST_TEXT_MAX;
}

static size_t node_size(const struct wdb_slowlog_entry *entry, uint32_t count)
{
    size_t size = sizeof(struct node) + count * sizeof(struct wdb_slice) +
                  REST_TEXT_MAX + strlen(entry->address) + strlen(entry->name) +
                  2;
    for (uint32_t i = 0; i < count; i++) {
        size += shown_size(entry->arguments[i].size);
    }
    return size;
}

/* Copy one argument to `to`, cut; returns its shown size. */
static size_t copy_argument(char *to, struct wdb_slice argument)
{
    if (argument.size <= WDB_SLOWLOG_ARGUMENT_SIZE_MAX) {
        if (argument.size > 0) {
            memcpy(to, argument.data, argument.size);
        }
        return argument.size;
    }
    memcpy(to, argument.data, WDB_SLOWLOG_ARGUMENT_SIZE_MAX);
    int rest = snprintf(to + WDB_SLOWLOG_ARGUMENT_SIZE_MAX, REST_TEXT_MAX,
                        "... (%zu more bytes)",
                        argument.size - WDB_SLOWLOG_ARGUMENT_SIZE_MAX);
    return WDB_SLOWLOG_ARGUMENT_SIZE_MAX + (size_t)rest;
}

static struct node *new_node(const struct wdb_slowlog_entry *entry)
{
    uint32_t count = shown_count(entry->argument_count);
    size_t size = node_size(entry, count);
    struct node *node = malloc(size);
    if (node == NULL) {
        return NULL;
    }
    node->entry = *entry;
    node->entry.argument_count = count;
    node->entry.arguments = node->arguments;
    char *at = (char *)(node->arguments + count);
    for (uint32_t i = 0; i < count; i++) {
        size_t used;
        if (i + 1 == count && entry->argument_count > count) {
            /* The last one says what is left out, itself included. */
            used =
                (size_t)snprintf(at, REST_TEXT_MAX, "... (%u more arguments)",
                                 entry->argument_count - count + 1);
        } else {
            used = copy_argument(at, entry->arguments[i]);
        }
        node->arguments[i] = wdb_slice(at, used);
        at += used;
    }
    size_t address_size = strlen(entry->address) + 1;
    memcpy(at, entry->address, address_size);
    node->entry.address = at;
    at += address_size;
    memcpy(at, entry->name, strlen(entry->name) + 1);
    node->entry.name = at;
    wdb_assert(at + strlen(entry->name) + 1 <= (char *)node + size);
    return node;
}

static void drop_oldest(struct wdb_slowlog *slowlog)
{
    struct wdb_list *last = slowlog->entries.prev;
    wdb_list_remove(last);
    slowlog->length--;
    free(WDB_LIST_ENTRY(last, struct node, list));
}

void wdb_slowlog_add(struct wdb_slowlog *slowlog,
                     const struct wdb_slowlog_entry *entry, uint64_t length_max)
{
    struct node *node = length_max == 0 ? NULL : new_node(entry);
    pthread_mutex_lock(&slowlog->lock);
    if (node != NULL) {
        node->entry.id = slowlog->id_next++;
        wdb_list_insert_before(slowlog->entries.next, &node->list);
        slowlog->length++;
    }
    while (slowlog->length > length_max) {
        drop_oldest(slowlog);
    }
    pthread_mutex_unlock(&slowlog->lock);
}

/* The mutex is no part of what a reader may not change. */
static struct wdb_slowlog *writable(const struct wdb_slowlog *slowlog)
{
    return (struct wdb_slowlog *)(uintptr_t)slowlog;
}

uint64_t wdb_slowlog_length(const struct wdb_slowlog *slowlog)
{
    pthread_mutex_lock(&writable(slowlog)->lock);
    uint64_t length = slowlog->length;
    pthread_mutex_unlock(&writable(slowlog)->lock);
    return length;
}

void wdb_slowlog_visit(struct wdb_slowlog *slowlog, uint64_t count,
                       void (*begin)(void *context, uint64_t count),
                       void (*visit)(void *context,
                                     const struct wdb_slowlog_entry *entry),
                       void *context)
{
    pthread_mutex_lock(&slowlog->lock);
    count = count < slowlog->length ? count : slowlog->length;
    if (begin != NULL) {
        begin(context, count);
    }
    WDB_LIST_FOREACH(at, &slowlog->entries)
    {
        if (count-- == 0) {
            break;
        }
        visit(context, &WDB_LIST_ENTRY(at, struct node, list)->entry);
    }
    pthread_mutex_unlock(&slowlog->lock);
}

void wdb_slowlog_reset(struct wdb_slowlog *slowlog)
{
    pthread_mutex_lock(&slowlog->lock);
    while (slowlog->length > 0) {
        drop_oldest(slowlog);
    }
    pthread_mutex_unlock(&slowlog->lock);
}
