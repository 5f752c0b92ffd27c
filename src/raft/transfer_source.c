/*
 * transfer_source.c - makes a snapshot, and answers what is asked of it.
 *
 * A request goes through a slot: read by a job, then sent when the rate allows
 * it. The sink has at most as many under way; more are dropped, and come again.
 */
#include "raft/transfer_source.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/time.h"
#include "log/manifest.h"
#include "walkerdb.h"

/* A message that could not be sent is tried again after this, at the latest. */
#define SEND_AGAIN_NS ((uint64_t)100 * (uint64_t)WDB_NS_PER_MS)

enum slot_state {
    SLOT_FREE,
    SLOT_READING, /* by a job */
    SLOT_READY,   /* to be sent */
};

struct slot {
    struct wdb_transfer_source *source;
    enum slot_state state;
    uint32_t file;
    uint32_t size;
    uint64_t offset;
    uint64_t number; /* of the request: sent in order */
    uint8_t *data;   /* malloc'ed */
    int rc;          /* of the job */
};

struct wdb_transfer_source {
    struct wdb_transfer_source_options options;
    struct wdb_env *env;
    char dir[WDB_PATH_SIZE_MAX];
    enum wdb_transfer_source_state state;
    int error;
    uint32_t job_count;
    bool stopping;
    void (*gone)(void *context);
    void *gone_context;

    /* By the first job, until it is done. */
    int make_rc;
    uint64_t index, term;
    struct wdb_transfer_list list;

    uint8_t *list_data; /* from READY on */
    size_t list_size;
    uint64_t total;
    uint64_t *starts; /* of each file: bytes of those before it */
    struct slot slots[WDB_TRANSFER_OUTSTANDING];
    uint64_t request_count;
    uint64_t done;
    uint64_t heard_ns;
    uint64_t ready_ns; /* nothing may be sent before */
    struct wdb_transfer_meter meter;
};

static uint64_t now_ns(const struct wdb_transfer_source *source)
{
    return source->options.owner.now_ns(source->options.owner.context);
}

/* --- jobs -------------------------------------------------------------------- */

static void run_job(struct wdb_transfer_source *source, void (*work)(void *arg),
                    void (*done)(void *arg), void *arg)
{
    const struct wdb_transfer_owner *owner = &source->options.owner;
    source->job_count++;
    owner->run_off_loop(owner->context, work, done, arg);
}

static void remove_work(void *arg)
{
    struct wdb_transfer_source *source = arg;
    /* What stays is deleted when the database is opened the next time. */
    (void)!wdb_transfer_remove(source->env, source->dir);
}

static void remove_done(void *arg)
{
    struct wdb_transfer_source *source = arg;
    void (*gone)(void *context) = source->gone;
    void *context = source->gone_context;
    wdb_transfer_list_release(&source->list);
    free(source->list_data);
    free(source->starts);
    free(source);
    if (gone != NULL) {
        gone(context);
    }
}

static void end_job(struct wdb_transfer_source *source)
{
    const struct wdb_transfer_owner *owner = &source->options.owner;
    wdb_assert(source->job_count > 0);
    source->job_count--;
    if (source->stopping && source->job_count == 0) {
        run_job(source, remove_work, remove_done, source);
    } else if (!source->stopping && owner->on_work != NULL) {
        owner->on_work(owner->context);
    }
}

static void fail(struct wdb_transfer_source *source, int error)
{
    source->state = WDB_SOURCE_FAILED;
    source->error = error;
}

/* --- making ------------------------------------------------------------------ */

/* The files that the backup's manifest names, and itself. */
static int list_files(struct wdb_transfer_source *source,
                      const struct wdb_manifest *m, uint64_t manifest_size)
{
    struct wdb_transfer_list *list = &source->list;
    list->files = calloc(m->segment_count + 1, sizeof(*list->files));
    if (list->files == NULL) {
        return WALKERDB_ENOMEM;
    }
    list->snapshot = source->options.number;
    for (size_t i = 0; i < m->segment_count; i++) {
        const struct wdb_manifest_segment *segment = &m->segments[i];
        if (segment->sealed) { /* the one at its end is empty */
            list->files[list->count++] = (struct wdb_transfer_file){
                .kind = segment->kind == WDB_SEGMENT_LOG ? WDB_TRANSFER_LOG
                                                         : WDB_TRANSFER_MERGED,
                .id = segment->id,
                .size = segment->size_used,
            };
        }
    }
    list->files[list->count++] =
        (struct wdb_transfer_file){.kind = WDB_TRANSFER_MANIFEST,
                                   .size = manifest_size};
    return 0;
}

static int file_size(struct wdb_env *env, const char *path, uint64_t *size_out)
{
    struct wdb_file *file;
    int rc = env->ops->open(env, path, WDB_OPEN_READ, &file);
    if (rc == 0) {
        rc = env->ops->size(file, size_out);
        env->ops->close(file);
    }
    return rc;
}

static int read_manifest(struct wdb_transfer_source *source)
{
    struct wdb_manifest manifest;
    char path[WDB_PATH_SIZE_MAX];
    uint64_t size = 0;
    int rc = wdb_env_join(path, source->dir, WDB_MANIFEST_NAME);
    if (rc == 0) {
        rc = file_size(source->env, path, &size);
    }
    if (rc == 0) {
        rc = wdb_manifest_load(source->env, source->dir, &manifest);
    }
    if (rc != 0) {
        return rc;
    }
    source->index = manifest.index_committed;
    rc = list_files(source, &manifest, size);
    wdb_manifest_release(&manifest);
    return rc;
}

static void make_work(void *arg)
{
    struct wdb_transfer_source *source = arg;
    struct wdb_entry_header entry = {.term = 0};
    int rc = wdb_store_backup(source->options.store, source->dir, NULL, NULL);
    if (rc == 0) {
        rc = read_manifest(source);
    }
    if (rc == 0 && source->index != 0) {
        rc = wdb_log_entry_header(wdb_store_log(source->options.store),
                                  source->index, &entry);
        /* Merged already: the next attempt ends elsewhere. */
        rc = rc == WALKERDB_ENOTFOUND ? WALKERDB_EABORTED : rc;
    }
    source->term = entry.term;
    source->make_rc = rc;
}

static int count_starts(struct wdb_transfer_source *source)
{
    source->starts = calloc(source->list.count, sizeof(*source->starts));
    if (source->starts == NULL) {
        return WALKERDB_ENOMEM;
    }
    for (uint32_t i = 0; i < source->list.count; i++) {
        source->starts[i] = source->total;
        source->total += source->list.files[i].size;
    }
    return 0;
}

static void make_done(void *arg)
{
    struct wdb_transfer_source *source = arg;
    int rc = source->make_rc;
    if (rc == 0) {
        rc = count_starts(source);
    }
    if (rc == 0) {
        source->state = WDB_SOURCE_MADE;
    } else {
        fail(source, rc);
    }
    end_job(source);
}

int wdb_transfer_source_new(const struct wdb_transfer_source_options *options,
                            struct wdb_transfer_source **out)
{
    struct wdb_transfer_source *source = calloc(1, sizeof(*source));
    char name[WDB_NAME_SIZE_MAX];
    if (source == NULL) {
        return WALKERDB_ENOMEM;
    }
    source->options = *options;
    source->env = wdb_store_env(options->store);
    wdb_name_transfer(name, options->number);
    const int rc =
        wdb_env_join(source->dir, wdb_log_dir(wdb_store_log(options->store)),
                     name);
    if (rc != 0) {
        free(source);
        return rc;
    }
    for (int i = 0; i < WDB_TRANSFER_OUTSTANDING; i++) {
        source->slots[i].source = source;
    }
    run_job(source, make_work, make_done, source);
    *out = source;
    return 0;
}

int wdb_transfer_source_set_base(struct wdb_transfer_source *source,
                                 struct wdb_slice base)
{
    wdb_assert(source->state == WDB_SOURCE_MADE);
    struct wdb_transfer_list list = source->list;
    list.base = (uint8_t *)(uintptr_t)base.data;
    list.base_size = base.size;
    const int rc =
        wdb_transfer_list_encode(&list, &source->list_data, &source->list_size);
    if (rc == 0) {
        source->state = WDB_SOURCE_READY;
        source->heard_ns = now_ns(source);
    }
    return rc;
}

void wdb_transfer_source_stop(struct wdb_transfer_source *source,
                              void (*gone)(void *context), void *context)
{
    wdb_assert(!source->stopping);
    source->stopping = true;
    source->gone = gone;
    source->gone_context = context;
    for (int i = 0; i < WDB_TRANSFER_OUTSTANDING; i++) {
        if (source->slots[i].state == SLOT_READY) {
            free(source->slots[i].data);
            source->slots[i].state = SLOT_FREE;
        }
    }
    if (source->job_count == 0) {
        run_job(source, remove_work, remove_done, source);
    }
}

/* --- answering --------------------------------------------------------------- */

static int read_piece(const struct slot *slot)
{
    struct wdb_transfer_source *source = slot->source;
    struct wdb_file *file;
    char name[WDB_NAME_SIZE_MAX], path[WDB_PATH_SIZE_MAX];
    wdb_transfer_file_name(&source->list.files[slot->file - 1], name);
    int rc = wdb_env_join(path, source->dir, name);
    if (rc == 0) {
        rc = source->env->ops->open(source->env, path, WDB_OPEN_READ, &file);
    }
    if (rc == 0) {
        rc = wdb_env_pread_all(file, slot->data, slot->size, slot->offset);
        source->env->ops->close(file);
    }
    return rc;
}

static void read_work(void *arg)
{
    struct slot *slot = arg;
    slot->rc = read_piece(slot);
}

static void read_done(void *arg)
{
    struct slot *slot = arg;
    struct wdb_transfer_source *source = slot->source;
    if (slot->rc == 0 && !source->stopping) {
        slot->state = SLOT_READY;
    } else {
        free(slot->data);
        slot->state = SLOT_FREE;
        if (slot->rc != 0 && !source->stopping) {
            wdb_logger_print(source->options.logger, WDB_LOG_WARNING,
                             "A snapshot in %s cannot be read: %s", source->dir,
                             walkerdb_strerror(slot->rc));
            fail(source, slot->rc);
        }
    }
    end_job(source);
}

void wdb_transfer_refuse(const struct wdb_message *fetch,
                         struct wdb_message *out)
{
    *out = (struct wdb_message){.kind = WDB_MESSAGE_FETCH_FAILED};
    out->fetch = fetch->fetch;
}

/* What of the request there is: up to its end, and no more than a piece. 0 if
 * nothing is there. */
static uint32_t piece_size(const struct wdb_transfer_source *source,
                           const struct wdb_message *fetch)
{
    const uint32_t file = fetch->fetch.file;
    if (file > source->list.count) {
        return 0;
    }
    const uint64_t size =
        file == 0 ? source->list_size : source->list.files[file - 1].size;
    if (fetch->fetch.offset >= size) {
        return 0;
    }
    uint64_t left = size - fetch->fetch.offset;
    left = left < fetch->fetch.size ? left : fetch->fetch.size;
    return left < WDB_TRANSFER_PIECE_SIZE ? (uint32_t)left
                                          : WDB_TRANSFER_PIECE_SIZE;
}

/* A slot for the request: NULL if it is under way, or there are too many. */
static struct slot *take_slot(struct wdb_transfer_source *source,
                              const struct wdb_message *fetch)
{
    struct slot *found = NULL;
    for (int i = 0; i < WDB_TRANSFER_OUTSTANDING; i++) {
        struct slot *slot = &source->slots[i];
        if (slot->state == SLOT_FREE) {
            found = found == NULL ? slot : found;
        } else if (slot->file == fetch->fetch.file &&
                   slot->offset == fetch->fetch.offset) {
            return NULL;
        }
    }
    return found;
}

static void begin_request(struct wdb_transfer_source *source,
                          const struct wdb_message *fetch, uint32_t size)
{
    struct slot *slot = take_slot(source, fetch);
    uint8_t *data = slot == NULL ? NULL : malloc(size);
    if (data == NULL) {
        return; /* it comes again */
    }
    slot->file = fetch->fetch.file;
    slot->offset = fetch->fetch.offset;
    slot->size = size;
    slot->data = data;
    slot->number = ++source->request_count;
    if (slot->file == 0) {
        memcpy(data, source->list_data + slot->offset, size);
        slot->state = SLOT_READY;
        return;
    }
    slot->state = SLOT_READING;
    run_job(source, read_work, read_done, slot);
}

void wdb_transfer_source_receive(struct wdb_transfer_source *source,
                                 const struct wdb_message *fetch)
{
    const struct wdb_transfer_owner *owner = &source->options.owner;
    if (fetch->kind != WDB_MESSAGE_FETCH || source->stopping) {
        return;
    }
    const uint32_t size =
        source->state == WDB_SOURCE_READY &&
                fetch->fetch.snapshot == source->options.number
            ? piece_size(source, fetch)
            : 0;
    if (size == 0) {
        struct wdb_message answer;
        wdb_transfer_refuse(fetch, &answer);
        (void)owner->send(owner->context, &answer);
        return;
    }
    source->heard_ns = now_ns(source);
    begin_request(source, fetch, size);
}

static struct slot *first_ready(struct wdb_transfer_source *source)
{
    struct slot *first = NULL;
    for (int i = 0; i < WDB_TRANSFER_OUTSTANDING; i++) {
        struct slot *slot = &source->slots[i];
        if (slot->state == SLOT_READY &&
            (first == NULL || slot->number < first->number)) {
            first = slot;
        }
    }
    return first;
}

static bool send_piece(struct wdb_transfer_source *source,
                       const struct slot *slot)
{
    const struct wdb_transfer_owner *owner = &source->options.owner;
    struct wdb_message message = {.kind = WDB_MESSAGE_PIECE};
    message.piece.snapshot = source->options.number;
    message.piece.file = slot->file;
    message.piece.offset = slot->offset;
    message.piece.crc = wdb_crc32c(0, slot->data, slot->size);
    message.piece.data = slot->data;
    message.piece.size = slot->size;
    return owner->send(owner->context, &message);
}

/* A piece went out. */
static void count(struct wdb_transfer_source *source, const struct slot *slot,
                  uint64_t now)
{
    const uint64_t rate = source->options.rate;
    if (slot->file != 0) {
        const uint64_t end =
            source->starts[slot->file - 1] + slot->offset + slot->size;
        source->done = end > source->done ? end : source->done;
    }
    wdb_transfer_meter_add(&source->meter, now, slot->size);
    if (rate != 0) {
        const uint64_t from = source->ready_ns > now ? source->ready_ns : now;
        source->ready_ns =
            from + (uint64_t)((double)slot->size * (double)WDB_NS_PER_S /
                              (double)rate);
    }
}

uint64_t wdb_transfer_source_run(struct wdb_transfer_source *source)
{
    struct slot *slot;
    while (source->state == WDB_SOURCE_READY && !source->stopping &&
           (slot = first_ready(source)) != NULL) {
        const uint64_t now = now_ns(source);
        if (source->options.rate != 0 && source->ready_ns > now) {
            return source->ready_ns;
        }
        if (!send_piece(source, slot)) {
            return now + SEND_AGAIN_NS;
        }
        count(source, slot, now);
        free(slot->data);
        slot->state = SLOT_FREE;
    }
    return UINT64_MAX;
}

/* --- what there is to know --------------------------------------------------- */

enum wdb_transfer_source_state wdb_transfer_source_state(
    const struct wdb_transfer_source *source)
{
    return source->state;
}

int wdb_transfer_source_error(const struct wdb_transfer_source *source)
{
    return source->error;
}

uint64_t wdb_transfer_source_number(const struct wdb_transfer_source *source)
{
    return source->options.number;
}

uint64_t wdb_transfer_source_index(const struct wdb_transfer_source *source)
{
    return source->index;
}

uint64_t wdb_transfer_source_term(const struct wdb_transfer_source *source)
{
    return source->term;
}

void wdb_transfer_source_offer(const struct wdb_transfer_source *source,
                               struct wdb_message *out)
{
    wdb_assert(source->state == WDB_SOURCE_READY);
    *out = (struct wdb_message){.kind = WDB_MESSAGE_OFFER};
    out->offer.snapshot = source->options.number;
    out->offer.index = source->index;
    out->offer.index_term = source->term;
    out->offer.size = source->total;
}

void wdb_transfer_source_set_rate(struct wdb_transfer_source *source,
                                  uint64_t rate)
{
    source->options.rate = rate;
    if (rate == 0) {
        source->ready_ns = 0; /* else the next piece comes when it was due */
    }
}

void wdb_transfer_source_progress(const struct wdb_transfer_source *source,
                                  struct wdb_transfer_progress *out)
{
    *out = (struct wdb_transfer_progress){
        .done = source->done,
        .total = source->total,
        .rate = wdb_transfer_meter_rate(&source->meter, now_ns(source)),
    };
}

uint64_t wdb_transfer_source_heard_ns(const struct wdb_transfer_source *source)
{
    return source->heard_ns;
}
