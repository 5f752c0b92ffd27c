/*
 * transfer_sink.c - fetches a snapshot, piece by piece.
 *
 * A piece goes through a slot: asked for, written by a job, and if it was the
 * last of its file, that file is synced by another. Pieces are asked for in
 * order, so only the slots remember what is missing.
 */
#include "raft/transfer_sink.h"
#include "raft/mutations.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/time.h"
#include "walkerdb.h"

#define TIMEOUT_MS 2000
/* A message that could not be sent is tried again after this, at the latest. */
#define SEND_AGAIN_NS ((uint64_t)100 * (uint64_t)WDB_NS_PER_MS)
/* Without any answer the transfer is given up after this. */
#define SILENCE_NS ((uint64_t)600 * (uint64_t)WDB_NS_PER_S)
/* After a failure OFFERs are not heard for so long. */
#define PAUSE_NS ((uint64_t)5 * (uint64_t)WDB_NS_PER_S)
/* So often the source hears of us while the snapshot is being checked. */
#define ALIVE_NS ((uint64_t)5 * (uint64_t)WDB_NS_PER_S)
/* So often the log says how far it is. */
#define TELL_NS ((uint64_t)10 * (uint64_t)WDB_NS_PER_S)
/* Space that is left to the log while a snapshot comes. */
#define SPACE_MARGIN ((uint64_t)16 << 20)
/* Bytes between two syncs of a file that is being fetched. */
#define SYNC_SIZE ((uint64_t)8 << 20)

enum slot_state {
    SLOT_FREE,
    SLOT_ASKED,
    SLOT_WRITING, /* by a job; or its file is being synced */
};

struct slot {
    struct wdb_transfer_sink *sink;
    enum slot_state state;
    uint32_t file;
    uint32_t size;
    uint64_t offset;
    uint64_t asked_ns; /* 0: not sent yet */
    uint8_t *data;     /* malloc'ed; by the job */
    int rc;            /* of the job */
};

struct wdb_transfer_sink {
    struct wdb_transfer_sink_options options;
    struct wdb_env *env;
    char *db_dir;
    char dir[WDB_PATH_SIZE_MAX];
    enum wdb_transfer_sink_state state;
    int error;
    uint32_t job_count;
    bool stopping;
    void (*gone)(void *context);
    void *gone_context;

    /* The job that clears the directory, or syncs it at the end. */
    bool clear_wanted;
    bool whole_running;
    bool make_dir;
    int whole_rc;
    uint64_t free_space;
    /* The job that checks it; its result is ours until DONE ends. */
    uint64_t check_index, check_term;
    atomic_bool check_ends; /* told to the job */
    struct wdb_installation *installation;

    wdb_node_id from;
    uint64_t number, index, term, size;
    uint8_t *list_data;
    size_t list_size; /* 0: not known yet */
    size_t list_done;
    struct wdb_transfer_list list;
    uint64_t *left; /* of each file: bytes that are not written yet */
    struct slot slots[WDB_TRANSFER_OUTSTANDING];
    uint32_t next_file; /* to be asked for; 0: the list */
    uint64_t next_offset;
    uint32_t files_left; /* not synced yet */
    uint64_t done;
    uint64_t heard_ns, told_ns, failed_ns, alive_ns;
    struct wdb_transfer_meter meter;
};

static uint64_t now_ns(const struct wdb_transfer_sink *sink)
{
    return sink->options.owner.now_ns(sink->options.owner.context);
}

/* --- jobs -------------------------------------------------------------------- */

static void next_step(struct wdb_transfer_sink *sink);

static void run_job(struct wdb_transfer_sink *sink, void (*work)(void *arg),
                    void (*done)(void *arg), void *arg)
{
    const struct wdb_transfer_owner *owner = &sink->options.owner;
    sink->job_count++;
    owner->run_off_loop(owner->context, work, done, arg);
}

static void end_job(struct wdb_transfer_sink *sink)
{
    const struct wdb_transfer_owner *owner = &sink->options.owner;
    wdb_assert(sink->job_count > 0);
    sink->job_count--;
    next_step(sink);
    if (!sink->stopping && owner->on_work != NULL) {
        owner->on_work(owner->context);
    }
}

/* Forget the transfer; its jobs may still be running. */
static void drop(struct wdb_transfer_sink *sink)
{
    for (int i = 0; i < WDB_TRANSFER_OUTSTANDING; i++) {
        if (sink->slots[i].state == SLOT_ASKED) {
            sink->slots[i].state = SLOT_FREE;
        }
    }
    sink->clear_wanted = true;
    atomic_store(&sink->check_ends, true);
    if (!sink->whole_running) {
        wdb_store_install_drop(sink->installation);
        sink->installation = NULL;
    }
}

static void fail(struct wdb_transfer_sink *sink, int error, const char *what)
{
    if (sink->state == WDB_SINK_FAILED || sink->state == WDB_SINK_IDLE ||
        sink->stopping) {
        return;
    }
    wdb_logger_print(sink->options.logger, WDB_LOG_WARNING,
                     "Fetching a snapshot failed: %s: %s", what,
                     walkerdb_strerror(error));
    sink->state = WDB_SINK_FAILED;
    sink->error = error;
    sink->failed_ns = now_ns(sink);
    drop(sink);
}

/* --- the directory as a whole ------------------------------------------------ */

static void clear_work(void *arg)
{
    struct wdb_transfer_sink *sink = arg;
    const struct wdb_env_ops *ops = sink->env->ops;
    int rc = wdb_transfer_remove(sink->env, sink->dir);
    if (rc == 0 && sink->make_dir) {
        rc = ops->mkdir(sink->env, sink->dir);
        rc = rc == WALKERDB_EEXISTS ? 0 : rc;
    }
    if (rc == 0 && sink->make_dir) {
        rc = ops->free_space(sink->env, sink->dir, &sink->free_space);
    }
    sink->whole_rc = rc;
}

/* The list, and all that depends on it. */
static void release_list(struct wdb_transfer_sink *sink)
{
    wdb_transfer_list_release(&sink->list);
    free(sink->list_data);
    free(sink->left);
    sink->list_data = NULL;
    sink->left = NULL;
    sink->list_size = sink->list_done = 0;
}

static void clear_done(void *arg)
{
    struct wdb_transfer_sink *sink = arg;
    sink->whole_running = false;
    if (sink->make_dir && sink->state == WDB_SINK_CLEARING &&
        !sink->clear_wanted) {
        const uint64_t need = sink->size + SPACE_MARGIN;
        if (sink->whole_rc != 0) {
            fail(sink, sink->whole_rc, sink->dir);
        } else if (sink->free_space < need || need < sink->size) {
            wdb_logger_print(sink->options.logger, WDB_LOG_WARNING,
                             "A snapshot of %llu MB does not fit beside the "
                             "database in %s: %llu MB are free. Make room; the "
                             "leader offers it again",
                             (unsigned long long)(sink->size >> 20),
                             sink->db_dir,
                             (unsigned long long)(sink->free_space >> 20));
            fail(sink, WALKERDB_ENOSPACE, sink->dir);
        } else {
            sink->state = WDB_SINK_LISTING;
        }
    }
    end_job(sink);
}

static int on_check_progress(void *context, uint64_t done, uint64_t total)
{
    struct wdb_transfer_sink *sink = context;
    (void)done;
    (void)total;
    return atomic_load(&sink->check_ends);
}

static void check_work(void *arg)
{
    struct wdb_transfer_sink *sink = arg;
    sink->whole_rc =
        wdb_store_install_check(sink->options.store, sink->dir,
                                sink->check_index, sink->check_term,
                                on_check_progress, sink, &sink->installation);
}

static void check_done(void *arg)
{
    struct wdb_transfer_sink *sink = arg;
    sink->whole_running = false;
    if (sink->whole_rc != 0) {
        sink->installation = NULL;
    }
    if (sink->state != WDB_SINK_CHECKING || sink->clear_wanted ||
        sink->stopping) {
        wdb_store_install_drop(sink->installation);
        sink->installation = NULL;
    } else if (sink->whole_rc != 0) {
        fail(sink, sink->whole_rc, sink->dir);
    } else {
        sink->state = WDB_SINK_DONE;
    }
    end_job(sink);
}

static void sync_work(void *arg)
{
    struct wdb_transfer_sink *sink = arg;
    sink->whole_rc = WDB_RAFT_MUTATED(sink, WDB_MUTATION_SNAPSHOT_UNSYNCED)
                         ? 0
                         : sink->env->ops->sync_dir(sink->env, sink->dir);
}

static void sync_done(void *arg)
{
    struct wdb_transfer_sink *sink = arg;
    sink->whole_running = false;
    if (sink->state == WDB_SINK_SYNCING && !sink->clear_wanted) {
        if (sink->whole_rc == 0) {
            sink->state =
                sink->options.store == NULL ? WDB_SINK_DONE : WDB_SINK_CHECKING;
            wdb_logger_print(
                sink->options.logger, WDB_LOG_NOTICE,
                "A snapshot up to entry %llu, %llu MB, was fetched",
                (unsigned long long)sink->index,
                (unsigned long long)(sink->size >> 20));
        } else {
            fail(sink, sink->whole_rc, sink->dir);
        }
    }
    end_job(sink);
}

static void gone_done(void *arg)
{
    struct wdb_transfer_sink *sink = arg;
    void (*gone)(void *context) = sink->gone;
    void *context = sink->gone_context;
    release_list(sink);
    free(sink->db_dir);
    free(sink);
    if (gone != NULL) {
        gone(context);
    }
}

/* A job for the directory as a whole, if one is due: alone. */
static void next_step(struct wdb_transfer_sink *sink)
{
    if (sink->job_count != 0) {
        return;
    }
    wdb_assert(!sink->whole_running);
    if (sink->stopping) {
        sink->make_dir = false;
        run_job(sink, clear_work, gone_done, sink);
    } else if (sink->clear_wanted) {
        release_list(sink);
        sink->clear_wanted = false;
        sink->whole_running = true;
        sink->make_dir = sink->state == WDB_SINK_CLEARING;
        run_job(sink, clear_work, clear_done, sink);
    } else if (sink->state == WDB_SINK_FETCHING && sink->files_left == 0) {
        sink->state = WDB_SINK_SYNCING;
        sink->whole_running = true;
        run_job(sink, sync_work, sync_done, sink);
    } else if (sink->state == WDB_SINK_CHECKING) {
        sink->whole_running = true;
        sink->check_index = sink->index;
        sink->check_term = sink->term;
        atomic_store(&sink->check_ends, false);
        run_job(sink, check_work, check_done, sink);
    }
}

/* --- pieces ------------------------------------------------------------------ */

static int open_file(struct wdb_transfer_sink *sink, uint32_t number,
                     struct wdb_file **out)
{
    const struct wdb_transfer_file *file = &sink->list.files[number - 1];
    const struct wdb_env_ops *ops = sink->env->ops;
    char name[WDB_NAME_SIZE_MAX], path[WDB_PATH_SIZE_MAX];
    wdb_transfer_file_name(file, name);
    int rc = wdb_env_join(path, sink->dir, name);
    if (rc == 0) {
        rc = ops->open(sink->env, path, WDB_OPEN_WRITE, out);
    }
    if (rc != WALKERDB_ENOTFOUND) {
        return rc;
    }
    rc = ops->open(sink->env, path, WDB_OPEN_CREATE, out);
    if (rc == WALKERDB_EEXISTS) {
        /* By another job, meanwhile. */
        return ops->open(sink->env, path, WDB_OPEN_WRITE, out);
    }
    if (rc == 0) {
        rc = ops->allocate(*out, file->size);
        if (rc != 0) {
            ops->close(*out);
        }
    }
    return rc;
}

static void write_work(void *arg)
{
    struct slot *slot = arg;
    struct wdb_transfer_sink *sink = slot->sink;
    struct wdb_file *file;
    int rc = open_file(sink, slot->file, &file);
    if (rc == 0) {
        rc = wdb_env_pwrite(file, slot->data, slot->size, slot->offset);
        /* Now and then, so that the sync at the end has little left: a disk that
         * writes much at once makes others wait for their small syncs. */
        if (rc == 0 && (slot->offset + slot->size) / SYNC_SIZE !=
                           slot->offset / SYNC_SIZE) {
            rc = sink->env->ops->sync(file);
        }
        sink->env->ops->close(file);
    }
    slot->rc = rc;
}

static void sync_file_work(void *arg)
{
    struct slot *slot = arg;
    struct wdb_transfer_sink *sink = slot->sink;
    struct wdb_file *file;
    uint64_t size;
    int rc = open_file(sink, slot->file, &file);
    if (rc != 0) {
        slot->rc = rc;
        return;
    }
    rc = sink->env->ops->size(file, &size);
    if (rc == 0 && size != sink->list.files[slot->file - 1].size) {
        rc = WALKERDB_ECORRUPT;
    }
    if (rc == 0 && !WDB_RAFT_MUTATED(sink, WDB_MUTATION_SNAPSHOT_UNSYNCED)) {
        rc = sink->env->ops->sync(file);
    }
    sink->env->ops->close(file);
    slot->rc = rc;
}

/* Of the transfer that the slot's job was begun for? */
static bool is_current(const struct wdb_transfer_sink *sink)
{
    return sink->state == WDB_SINK_FETCHING && !sink->clear_wanted &&
           !sink->stopping;
}

static void sync_file_done(void *arg)
{
    struct slot *slot = arg;
    struct wdb_transfer_sink *sink = slot->sink;
    slot->state = SLOT_FREE;
    if (is_current(sink)) {
        if (slot->rc != 0) {
            fail(sink, slot->rc, sink->dir);
        } else {
            sink->files_left--;
        }
    }
    end_job(sink);
}

static void write_done(void *arg)
{
    struct slot *slot = arg;
    struct wdb_transfer_sink *sink = slot->sink;
    free(slot->data);
    slot->data = NULL;
    if (!is_current(sink)) {
        slot->state = SLOT_FREE;
    } else if (slot->rc != 0) {
        slot->state = SLOT_FREE;
        fail(sink, slot->rc, sink->dir);
    } else {
        sink->done += slot->size;
        sink->left[slot->file - 1] -= slot->size;
        if (sink->left[slot->file - 1] == 0) {
            run_job(sink, sync_file_work, sync_file_done, slot);
        } else {
            slot->state = SLOT_FREE;
        }
    }
    end_job(sink);
}

/* --- the list ---------------------------------------------------------------- */

static int take_list(struct wdb_transfer_sink *sink)
{
    int rc =
        wdb_transfer_list_decode(sink->list_data, sink->list_size, &sink->list);
    if (rc == 0 && (sink->list.snapshot != sink->number ||
                    wdb_transfer_list_total(&sink->list) != sink->size)) {
        rc = WALKERDB_ECORRUPT;
    }
    if (rc == 0) {
        sink->left = calloc(sink->list.count, sizeof(*sink->left));
        rc = sink->left == NULL ? WALKERDB_ENOMEM : 0;
    }
    if (rc != 0) {
        fail(sink, rc, "its list of files");
        return rc;
    }
    for (uint32_t i = 0; i < sink->list.count; i++) {
        sink->left[i] = sink->list.files[i].size;
    }
    free(sink->list_data);
    sink->list_data = NULL;
    sink->files_left = sink->list.count;
    sink->state = WDB_SINK_FETCHING;
    sink->next_file = 1;
    sink->next_offset = 0;
    return 0;
}

/* A piece of the list came. It is asked for one after the other. */
static void take_list_piece(struct wdb_transfer_sink *sink,
                            const struct wdb_message *message)
{
    const uint8_t *data = message->piece.data;
    const size_t size = message->piece.size;
    int rc = 0;
    if (sink->list_size == 0) {
        rc = size < WDB_TRANSFER_LIST_HEAD
                 ? WALKERDB_ECORRUPT
                 : wdb_transfer_list_size(data, &sink->list_size);
        if (rc == 0) {
            sink->list_data = malloc(sink->list_size);
            rc = sink->list_data == NULL ? WALKERDB_ENOMEM : 0;
        }
    }
    if (rc == 0 && (size == 0 || size > sink->list_size - sink->list_done)) {
        rc = WALKERDB_ECORRUPT;
    }
    if (rc != 0) {
        fail(sink, rc, "its list of files");
        return;
    }
    memcpy(sink->list_data + sink->list_done, data, size);
    sink->list_done += size;
    sink->next_offset = sink->list_done;
    if (sink->list_done == sink->list_size) {
        (void)!take_list(sink);
    }
}

/* --- asking ------------------------------------------------------------------ */

/* Let the slot stand for the next piece. False if there is none. */
static bool choose_next(struct wdb_transfer_sink *sink, struct slot *slot)
{
    if (sink->state == WDB_SINK_LISTING) {
        *slot = (struct slot){
            .sink = sink,
            .state = SLOT_ASKED,
            .size = WDB_TRANSFER_PIECE_SIZE,
            .offset = sink->next_offset,
        };
        return true;
    }
    if (sink->next_file > sink->list.count) {
        return false;
    }
    const struct wdb_transfer_file *file =
        &sink->list.files[sink->next_file - 1];
    const uint64_t left = file->size - sink->next_offset;
    *slot = (struct slot){
        .sink = sink,
        .state = SLOT_ASKED,
        .file = sink->next_file,
        .size = left < WDB_TRANSFER_PIECE_SIZE ? (uint32_t)left
                                               : WDB_TRANSFER_PIECE_SIZE,
        .offset = sink->next_offset,
    };
    sink->next_offset += slot->size;
    if (sink->next_offset == file->size) {
        sink->next_file++;
        sink->next_offset = 0;
    }
    return true;
}

static bool send_fetch(struct wdb_transfer_sink *sink, const struct slot *slot)
{
    const struct wdb_transfer_owner *owner = &sink->options.owner;
    struct wdb_message message = {.kind = WDB_MESSAGE_FETCH};
    message.fetch.snapshot = sink->number;
    message.fetch.file = slot->file;
    message.fetch.offset = slot->offset;
    message.fetch.size = slot->size;
    return owner->send(owner->context, &message);
}

/* So many pieces are asked for at a time: of the list one. */
static int slots_in_use(const struct wdb_transfer_sink *sink)
{
    return sink->state == WDB_SINK_LISTING ? 1 : WDB_TRANSFER_OUTSTANDING;
}

static void tell_progress(struct wdb_transfer_sink *sink, uint64_t now)
{
    if (now - sink->told_ns < TELL_NS || sink->size == 0) {
        return;
    }
    sink->told_ns = now;
    const uint64_t rate = wdb_transfer_meter_rate(&sink->meter, now);
    wdb_logger_print(
        sink->options.logger, WDB_LOG_NOTICE,
        "Fetching a snapshot: %.1f %%, %.1f MB/s, %.0f s left",
        100.0 * (double)sink->done / (double)sink->size, (double)rate / 1e6,
        rate == 0 ? 0.0 : (double)(sink->size - sink->done) / (double)rate);
}

/* Ask, again if need be; when to look again. */
static uint64_t ask(struct wdb_transfer_sink *sink, uint64_t now)
{
    const uint64_t timeout =
        (uint64_t)sink->options.timeout_ms * (uint64_t)WDB_NS_PER_MS;
    uint64_t next = UINT64_MAX;
    for (int i = 0; i < slots_in_use(sink); i++) {
        struct slot *slot = &sink->slots[i];
        if (slot->state == SLOT_WRITING ||
            (slot->state == SLOT_FREE && !choose_next(sink, slot))) {
            continue;
        }
        if (slot->asked_ns == 0 || now - slot->asked_ns >= timeout) {
            if (!send_fetch(sink, slot)) {
                return now + SEND_AGAIN_NS;
            }
            slot->asked_ns = now == 0 ? 1 : now;
        }
        const uint64_t again = slot->asked_ns + timeout;
        next = again < next ? again : next;
    }
    return next;
}

/* The source gives up a peer that is silent for long. It answers with the
 * list's head, which is dropped. */
static uint64_t say_alive(struct wdb_transfer_sink *sink)
{
    const uint64_t now = now_ns(sink);
    if (now - sink->alive_ns >= ALIVE_NS) {
        const struct slot slot = {.size = WDB_TRANSFER_LIST_HEAD};
        sink->alive_ns = now;
        (void)send_fetch(sink, &slot);
    }
    return sink->alive_ns + ALIVE_NS;
}

uint64_t wdb_transfer_sink_run(struct wdb_transfer_sink *sink)
{
    if (sink->state == WDB_SINK_CHECKING && !sink->stopping) {
        return say_alive(sink);
    }
    if (sink->stopping ||
        (sink->state != WDB_SINK_LISTING && sink->state != WDB_SINK_FETCHING)) {
        return UINT64_MAX;
    }
    const uint64_t now = now_ns(sink);
    if (now - sink->heard_ns > SILENCE_NS) {
        wdb_logger_print(sink->options.logger, WDB_LOG_WARNING,
                         "Fetching a snapshot: the leader has been silent for "
                         "%llu s, it is given up",
                         (unsigned long long)(SILENCE_NS /
                                              (uint64_t)WDB_NS_PER_S));
        wdb_transfer_sink_reset(sink);
        return UINT64_MAX;
    }
    tell_progress(sink, now);
    return ask(sink, now);
}

/* --- messages ---------------------------------------------------------------- */

static bool is_same(const struct wdb_transfer_sink *sink, wdb_node_id from,
                    const struct wdb_message *offer)
{
    return sink->from == from && sink->number == offer->offer.snapshot &&
           sink->index == offer->offer.index &&
           sink->term == offer->offer.index_term &&
           sink->size == offer->offer.size;
}

static void receive_offer(struct wdb_transfer_sink *sink, wdb_node_id from,
                          const struct wdb_message *offer)
{
    const bool is_idle =
        sink->state == WDB_SINK_IDLE || sink->state == WDB_SINK_FAILED;
    if (sink->state == WDB_SINK_DONE ||
        (sink->state == WDB_SINK_FAILED &&
         now_ns(sink) - sink->failed_ns < PAUSE_NS)) {
        return;
    }
    if (!is_idle && is_same(sink, from, offer)) {
        sink->heard_ns = now_ns(sink);
        return;
    }
    drop(sink);
    sink->from = from;
    sink->number = offer->offer.snapshot;
    sink->index = offer->offer.index;
    sink->term = offer->offer.index_term;
    sink->size = offer->offer.size;
    sink->next_file = 0;
    sink->next_offset = 0;
    sink->done = 0;
    sink->error = 0;
    sink->meter = (struct wdb_transfer_meter){0};
    sink->heard_ns = sink->told_ns = now_ns(sink);
    sink->state = WDB_SINK_CLEARING;
    wdb_logger_print(sink->options.logger, WDB_LOG_NOTICE,
                     "Fetching a snapshot up to entry %llu from node %016llx: "
                     "%llu MB",
                     (unsigned long long)sink->index, (unsigned long long)from,
                     (unsigned long long)(sink->size >> 20));
    next_step(sink);
}

static struct slot *find_slot(struct wdb_transfer_sink *sink,
                              const struct wdb_message *message)
{
    for (int i = 0; i < WDB_TRANSFER_OUTSTANDING; i++) {
        struct slot *slot = &sink->slots[i];
        if (slot->state == SLOT_ASKED && slot->file == message->piece.file &&
            slot->offset == message->piece.offset) {
            return slot;
        }
    }
    return NULL;
}

static void receive_piece(struct wdb_transfer_sink *sink,
                          const struct wdb_message *message)
{
    struct slot *slot = find_slot(sink, message);
    const size_t size = message->piece.size;
    if (slot == NULL || size == 0 || size > slot->size ||
        (slot->file != 0 && size != slot->size) ||
        message->piece.crc != wdb_crc32c(0, message->piece.data, size)) {
        return; /* doubled, late or damaged: what is missing comes again */
    }
    const uint64_t now = now_ns(sink);
    sink->heard_ns = now;
    wdb_transfer_meter_add(&sink->meter, now, size);
    if (slot->file == 0) {
        slot->state = SLOT_FREE;
        take_list_piece(sink, message);
        next_step(sink); /* it may have failed */
        return;
    }
    slot->data = malloc(size);
    if (slot->data == NULL) {
        return;
    }
    memcpy(slot->data, message->piece.data, size);
    slot->state = SLOT_WRITING;
    run_job(sink, write_work, write_done, slot);
}

void wdb_transfer_sink_receive(struct wdb_transfer_sink *sink, wdb_node_id from,
                               const struct wdb_message *message)
{
    const bool is_fetching =
        sink->state == WDB_SINK_LISTING || sink->state == WDB_SINK_FETCHING;
    if (sink->stopping) {
        return;
    }
    switch (message->kind) {
    case WDB_MESSAGE_OFFER:
        receive_offer(sink, from, message);
        break;
    case WDB_MESSAGE_PIECE:
        if (is_fetching && sink->from == from &&
            sink->number == message->piece.snapshot) {
            receive_piece(sink, message);
        }
        break;
    case WDB_MESSAGE_FETCH_FAILED:
        if (is_fetching && sink->from == from &&
            sink->number == message->fetch.snapshot) {
            wdb_logger_print(sink->options.logger, WDB_LOG_NOTICE,
                             "Fetching a snapshot: the leader has it no more");
            wdb_transfer_sink_reset(sink);
        }
        break;
    default:
        break;
    }
}

/* --- life -------------------------------------------------------------------- */

int wdb_transfer_sink_new(const struct wdb_transfer_sink_options *options,
                          struct wdb_transfer_sink **out)
{
    struct wdb_transfer_sink *sink = calloc(1, sizeof(*sink));
    if (sink == NULL) {
        return WALKERDB_ENOMEM;
    }
    sink->options = *options;
    sink->env = options->env;
    if (sink->options.timeout_ms == 0) {
        sink->options.timeout_ms = TIMEOUT_MS;
    }
    sink->db_dir = strdup(options->dir);
    int rc = sink->db_dir == NULL ? WALKERDB_ENOMEM : 0;
    if (rc == 0) {
        rc = wdb_env_join(sink->dir, options->dir, WDB_NAME_INCOMING);
    }
    if (rc != 0) {
        free(sink->db_dir);
        free(sink);
        return rc;
    }
    sink->options.dir = sink->db_dir;
    *out = sink;
    return 0;
}

void wdb_transfer_sink_stop(struct wdb_transfer_sink *sink,
                            void (*gone)(void *context), void *context)
{
    wdb_assert(!sink->stopping);
    sink->stopping = true;
    sink->gone = gone;
    sink->gone_context = context;
    drop(sink);
    next_step(sink);
}

void wdb_transfer_sink_reset(struct wdb_transfer_sink *sink)
{
    sink->state = WDB_SINK_IDLE;
    sink->from = 0;
    drop(sink);
    next_step(sink);
}

struct wdb_installation *wdb_transfer_sink_take(struct wdb_transfer_sink *sink)
{
    struct wdb_installation *installation = sink->installation;
    wdb_assert(sink->state == WDB_SINK_DONE);
    sink->installation = NULL;
    return installation;
}

enum wdb_transfer_sink_state wdb_transfer_sink_state(
    const struct wdb_transfer_sink *sink)
{
    return sink->state;
}

int wdb_transfer_sink_error(const struct wdb_transfer_sink *sink)
{
    return sink->error;
}

void wdb_transfer_sink_snapshot(const struct wdb_transfer_sink *sink,
                                struct wdb_transfer_snapshot *out)
{
    *out = (struct wdb_transfer_snapshot){
        .from = sink->from,
        .number = sink->number,
        .index = sink->index,
        .term = sink->term,
        .dir = sink->dir,
        .base = wdb_slice(sink->list.base, sink->list.base_size),
    };
}

void wdb_transfer_sink_progress(const struct wdb_transfer_sink *sink,
                                struct wdb_transfer_progress *out)
{
    const bool any = sink->state != WDB_SINK_IDLE;
    *out = (struct wdb_transfer_progress){
        .done = any ? sink->done : 0,
        .total = any ? sink->size : 0,
        .rate = wdb_transfer_meter_rate(&sink->meter, now_ns(sink)),
    };
}
