/* load.c - rebuilds everything from the log: the steps and their threads. */
#include "store/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/time.h"
#include "log/names.h"
#include "walkerdb.h"

/* --- threads ---------------------------------------------------------------
 */

typedef int (*step_fn)(struct wdb_load_worker *worker);

struct step_thread {
    pthread_t thread;
    struct wdb_load_worker *worker;
    step_fn run;
    bool started;
};

static void fail(struct wdb_load *load, int rc)
{
    int none = 0;
    atomic_compare_exchange_strong(&load->error, &none, rc);
}

static void *run_thread(void *argument)
{
    struct step_thread *thread = argument;
    const int rc = thread->run(thread->worker);
    if (rc != 0) {
        fail(thread->worker->load, rc);
    }
    return NULL;
}

/* Run the step once for each worker. A worker without a thread of its own
 * (there may be no resources for it) runs here. */
static int run_step(struct wdb_load *load, step_fn run)
{
    struct step_thread threads[WDB_LOAD_THREADS_MAX] = {0};
    for (uint32_t i = 0; i < load->thread_count; i++) {
        threads[i].worker = &load->workers[i];
        threads[i].run = run;
        threads[i].started =
            i > 0 && pthread_create(&threads[i].thread, NULL, run_thread,
                                    &threads[i]) == 0;
    }
    for (uint32_t i = 0; i < load->thread_count; i++) {
        if (!threads[i].started) {
            run_thread(&threads[i]);
        }
    }
    for (uint32_t i = 0; i < load->thread_count; i++) {
        if (threads[i].started) {
            pthread_join(threads[i].thread, NULL);
        }
    }
    return atomic_load(&load->error);
}

/* --- steps -----------------------------------------------------------------
 */

static void progress(struct wdb_load *load, uint64_t bytes)
{
    const struct wdb_log_options *options = &load->store->options.log;
    pthread_mutex_lock(&load->progress_mutex);
    load->bytes_done += bytes;
    if (load->store->load_progress != NULL) {
        load->store->load_progress(load->store->load_context, load->bytes_done);
    } else if (options->on_progress != NULL) {
        options->on_progress(options->context, load->bytes_done,
                             load->bytes_total);
    }
    pthread_mutex_unlock(&load->progress_mutex);
}

static int open_sources(struct wdb_load_worker *worker)
{
    struct wdb_load *load = worker->load;
    for (;;) {
        const size_t i = atomic_fetch_add(&load->next, 1);
        if (i >= load->source_count || atomic_load(&load->error) != 0) {
            return 0;
        }
        const int rc = wdb_load_source_open(load, &load->sources[i]);
        if (rc != 0) {
            return rc;
        }
        progress(load, load->sources[i].segment->size_used);
    }
}

void wdb_load_say(struct wdb_load *load, const struct wdb_segment *segment,
                  uint64_t offset, int error)
{
    const char *dir = wdb_log_dir(load->store->log);
    char name[WDB_NAME_SIZE_MAX];
    wdb_name_segment(name, segment->id, segment->kind);
    pthread_mutex_lock(&load->progress_mutex);
    if (load->message == NULL &&
        asprintf(&load->message,
                 "%s/%s: %s at offset %llu; walkerdb-check %s tells more", dir,
                 name, walkerdb_strerror(error), (unsigned long long)offset,
                 dir) < 0) {
        load->message = NULL;
    }
    pthread_mutex_unlock(&load->progress_mutex);
}

/* The last DATABASES record counts; those before it are garbage. */
static int load_mapping(struct wdb_load *load)
{
    struct wdb_store *store = load->store;
    bool found = false;
    for (size_t i = load->source_count; i-- > 0;) {
        const struct wdb_load_source *source = &load->sources[i];
        if (source->databases_offset == 0) {
            continue;
        }
        const wdb_position position =
            wdb_position_make(source->segment->slot, source->databases_offset);
        if (found) {
            wdb_store_account(store, position, (int64_t)source->databases_size);
            continue;
        }
        struct wdb_record record;
        uint64_t size;
        int rc =
            wdb_record_decode(wdb_log_resolve(store->log, position, NULL),
                              source->databases_size, true, &record, &size);
        if (rc == 0) {
            rc = wdb_databases_load(store, &record, position, size);
        }
        if (rc != 0) {
            wdb_load_say(load, source->segment, source->databases_offset, rc);
            return rc;
        }
        found = true;
    }
    return 0;
}

/* Keys to expect in the database that has most: its table is made in the right
 * size. Overwritten ones are guessed from the garbage known last time. */
static void expect_keys(struct wdb_load *load)
{
    uint64_t counts[WDB_DATABASE_COUNT] = {0};
    for (size_t i = 0; i < load->source_count; i++) {
        const struct wdb_load_source *source = &load->sources[i];
        for (uint32_t k = 0; k < source->id_count; k++) {
            for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
                if (wdb_store_database(load->store, n) == source->puts[k].id) {
                    counts[n] += (uint64_t)((double)source->puts[k].count *
                                            source->live_part);
                }
            }
        }
    }
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        load->store->databases.count_hints[n] = counts[n];
    }
}

struct ordering {
    struct wdb_store *store;
    int rc;
};

static void order_key(void *context, struct wdb_slice key, uint64_t hash,
                      const struct wdb_item *item)
{
    struct ordering *ordering = context;
    (void)hash;
    (void)item;
    if (ordering->rc == 0) {
        ordering->rc = wdb_ordered_insert(ordering->store->ordered, key);
    }
}

/* Fill the ordered index from the keydir. */
static int order_keys(struct wdb_store *store)
{
    struct ordering ordering = {.store = store};
    store->ordered_database = wdb_store_database(store, 0);
    const struct wdb_keydir *keydir =
        wdb_store_keydir(store, store->ordered_database);
    uint64_t cursor = 0;
    do {
        cursor = keydir == NULL
                     ? 0
                     : wdb_keydir_scan(keydir, cursor, order_key, &ordering);
    } while (cursor != 0 && ordering.rc == 0);
    return ordering.rc;
}

static int attach_headers(struct wdb_load *load)
{
    struct wdb_store *store = load->store;
    for (uint32_t i = 0; i < load->thread_count; i++) {
        for (size_t k = 0; k < load->workers[i].header_count; k++) {
            const struct wdb_load_header *header = &load->workers[i].headers[k];
            const struct wdb_keydir *keydir =
                wdb_store_keydir(store, header->record.database);
            struct wdb_item item;
            if (keydir == NULL ||
                !wdb_keydir_get(keydir, header->hash, header->record.key,
                                &item) ||
                item.position != header->position) {
                continue;
            }
            const int rc =
                wdb_object_load_header(store, &header->record, header->hash);
            if (rc != 0) {
                return rc;
            }
        }
    }
    wdb_objects_loaded(store);
    return 0;
}

static uint32_t thread_count(const struct wdb_store *store)
{
    uint32_t count = store->options.load_threads;
    if (count == 0) {
        const long cores = sysconf(_SC_NPROCESSORS_ONLN);
        count = cores < 1 ? 1 : (uint32_t)cores;
    }
    return count < WDB_LOAD_THREADS_MAX ? count : WDB_LOAD_THREADS_MAX;
}

/* The broken rule: the order of files instead of that of sequences. */
static int compare_ids(const void *a, const void *b)
{
    const struct wdb_load_source *x = a, *y = b;
    return x->segment->id < y->segment->id ? -1
                                           : x->segment->id > y->segment->id;
}

static int init(struct wdb_load *load, struct wdb_store *store)
{
    *load = (struct wdb_load){.store = store};
    load->index_max =
        store->options.log.manual_commit &&
                !WDB_STORE_MUTATED(store, WDB_MUTATION_LOAD_UNCOMMITTED)
            ? wdb_log_committed(store->log)
            : UINT64_MAX;
    load->thread_count = thread_count(store);
    for (uint32_t i = 0; i < load->thread_count; i++) {
        load->workers[i].load = load;
        load->workers[i].number = i;
    }
    struct wdb_segment **segments;
    size_t count;
    const int rc = wdb_log_segments(store->log, &segments, &count);
    if (rc != 0) {
        return rc;
    }
    load->sources = calloc(count + 1, sizeof(*load->sources));
    for (size_t i = 0; i < count; i++) {
        if (load->sources == NULL) {
            wdb_segment_drop(segments[i]);
            continue;
        }
        load->sources[i].segment = segments[i];
        load->bytes_total += segments[i]->size_used;
    }
    free(segments);
    if (load->sources == NULL) {
        return WALKERDB_ENOMEM;
    }
    load->source_count = count;
    if (WDB_STORE_MUTATED(store, WDB_MUTATION_LOAD_BY_ID)) {
        qsort(load->sources, count, sizeof(*load->sources), compare_ids);
    }
    pthread_mutex_init(&load->progress_mutex, NULL);
    return 0;
}

static void release(struct wdb_load *load)
{
    for (size_t i = 0; i < load->source_count; i++) {
        load->store->load_scan_count += load->sources[i].scanned;
        load->store->load_hint_count +=
            load->sources[i].is_open && !load->sources[i].scanned;
        wdb_load_source_close(&load->sources[i]);
    }
    for (uint32_t i = 0; i < load->thread_count; i++) {
        free(load->workers[i].headers);
    }
    free(load->sources);
    pthread_mutex_destroy(&load->progress_mutex);
}

int wdb_store_load(struct wdb_store *store, char **message_out)
{
    struct wdb_load load;
    const uint64_t begin_ns = store->env->ops->monotonic_ns(store->env);
    int rc = init(&load, store);
    if (rc != 0) {
        return rc;
    }
    store->loading = true;
    rc = run_step(&load, open_sources);
    if (rc == 0) {
        rc = load_mapping(&load);
    }
    if (rc == 0) {
        expect_keys(&load);
        rc = run_step(&load, wdb_load_keys);
    }
    store->loading = false;
    if (rc == 0) {
        rc = attach_headers(&load);
    }
    if (rc == 0 && store->ordered != NULL) {
        rc = order_keys(store);
    }
    atomic_store(&store->applied, load.index_max < UINT64_MAX
                                      ? load.index_max
                                      : wdb_log_index_last(store->log));
    release(&load);
    if (message_out != NULL) {
        *message_out = load.message;
    } else {
        free(load.message);
    }
    wdb_log_loaded(store->log);
    store->load_duration_ms =
        (store->env->ops->monotonic_ns(store->env) - begin_ns) /
        (uint64_t)WDB_NS_PER_MS;
    return rc;
}
