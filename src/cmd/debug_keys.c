/*
 * debug_keys.c - DEBUG subcommands that read or make keys: OBJECT, DIGEST,
 * DIGEST-VALUE, POPULATE, RELOAD.
 *
 * They run off the loop, with a transaction of their own, one key at a time, so
 * the others go on meanwhile; a digest is one of all keys at one moment only if
 * nobody writes.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/sha1.h"
#include "cmd/client.h"
#include "cmd/debug.h"
#include "cmd/value.h"

/* A value that was read in vain so often is read while its stripe is held. */
#define READ_RETRY_MAX 8
/* Keys that are copied out of the keydir at a time. */
#define WALK_COUNT 1000

struct debug_job {
    struct wdb_context *context;
    struct wdb_txn txn;
    int (*run)(struct debug_job *job);
    void (*answer)(struct debug_job *job, struct wdb_reply *reply);
    int code;
    uint64_t depends;
    struct wdb_buffer arguments; /* size (8 bytes), then bytes, for each */
    struct wdb_buffer text;      /* the reply, or its elements */
    uint32_t count;              /* elements */
    bool missing;                /* no such key */
    /* POPULATE */
    uint64_t key_count;
    int64_t value_size; /* -1: as long as it comes */
};

/* --- jobs ------------------------------------------------------------------------- */

static void job_free(struct debug_job *job)
{
    wdb_txn_release(&job->txn);
    wdb_buffer_release(&job->arguments);
    wdb_buffer_release(&job->text);
    free(job);
}

static void work(void *arg)
{
    struct debug_job *job = arg;
    job->code = job->run(job);
}

static void done(struct wdb_session *session, struct wdb_reply *reply,
                 void *arg)
{
    struct debug_job *job = arg;
    if (session->depends < job->depends) {
        session->depends = job->depends;
    }
    if (job->code != 0) {
        wdb_reply_error(reply, "ERR %s", walkerdb_strerror(job->code));
    } else if (job->missing) {
        wdb_reply_error(reply, "ERR no such key");
    } else {
        job->answer(job, reply);
    }
    job_free(job);
}

static int append_piece(struct wdb_buffer *out, struct wdb_slice bytes)
{
    const uint64_t size = bytes.size;
    int code = wdb_buffer_append(out, &size, sizeof(size));
    return code != 0 ? code : wdb_buffer_append(out, bytes.data, bytes.size);
}

/* The piece at *at, which moves on; false at the end. */
static bool next_piece(const struct wdb_buffer *pieces, size_t *at,
                       struct wdb_slice *out)
{
    if (*at == pieces->size) {
        return false;
    }
    uint64_t size;
    memcpy(&size, pieces->data + *at, sizeof(size));
    *out = wdb_slice(pieces->data + *at + sizeof(size), size);
    *at += sizeof(size) + size;
    return true;
}

/* NULL: answered. The arguments from number `from` on are copied. */
static struct debug_job *job_new(struct wdb_call *call, uint32_t from)
{
    if (call->in_exec) {
        /* EXEC holds stripes. */
        wdb_call_error(call, "ERR this DEBUG subcommand is not possible inside "
                             "of a transaction");
        return NULL;
    }
    struct debug_job *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        (void)wdb_call_failed(call, WALKERDB_ENOMEM);
        return NULL;
    }
    job->context = call->context;
    wdb_txn_init(&job->txn, call->context->db);
    job->txn.database = call->session->database;
    for (uint32_t i = from; i < call->argc; i++) {
        const int code = append_piece(&job->arguments, call->argv[i]);
        if (code != 0) {
            (void)wdb_call_failed(call, code);
            job_free(job);
            return NULL;
        }
    }
    return job;
}

static void start(struct wdb_call *call, struct debug_job *job,
                  int (*run)(struct debug_job *job),
                  void (*answer)(struct debug_job *job,
                                 struct wdb_reply *reply))
{
    job->run = run;
    job->answer = answer;
    wdb_call_park(call, work, done, job);
}

static void answer_ok(struct debug_job *job, struct wdb_reply *reply)
{
    (void)job;
    wdb_reply_ok(reply);
}

static void answer_text(struct debug_job *job, struct wdb_reply *reply)
{
    wdb_reply_simple(reply, (const char *)job->text.data);
}

/* --- one key ------------------------------------------------------------------------ */

typedef int (*use_fn)(struct debug_job *job, const struct wdb_key *key,
                      const struct wdb_item *item,
                      const struct wdb_string *string,
                      const struct wdb_value_io *io, void *context);

static int read_and_use(struct debug_job *job, const struct wdb_key *key,
                        use_fn use, void *context)
{
    struct wdb_item item;
    struct wdb_value value;
    struct wdb_string string;
    if (!wdb_db_find(&job->txn, key, WDB_FIND_PEEK, &item)) {
        return WALKERDB_ENOTFOUND;
    }
    if (!wdb_item_is_string(&item)) {
        return WALKERDB_EUNSUPPORTED;
    }
    int code = wdb_db_read(&job->txn, &item, &value);
    if (code == 0) {
        code = wdb_string_open(&value, &string);
    }
    if (code == 0) {
        struct wdb_db_access access = {&job->txn, key};
        struct wdb_value_io io;
        wdb_db_value_io(&access, &io);
        code = use(job, key, &item, &string, &io, context);
    }
    return code;
}

/* Call `use` with the key's string, its stripe held; again and again until what
 * it reads is in memory. ENOTFOUND. */
static int with_string(struct debug_job *job, struct wdb_slice name, use_fn use,
                       void *context)
{
    struct wdb_epoch *epoch = wdb_log_epoch(wdb_db_log(job->context->db));
    const struct wdb_key key = wdb_key(wdb_db_store(job->context->db), name);
    for (int attempt = 0;; attempt++) {
        const int slot = wdb_epoch_enter(epoch);
        job->txn.wait = attempt >= READ_RETRY_MAX;
        wdb_txn_begin_one(&job->txn, key.hash);
        int code = read_and_use(job, &key, use, context);
        if (job->depends < job->txn.depends) {
            job->depends = job->txn.depends;
        }
        wdb_txn_abort(&job->txn);
        wdb_epoch_exit(epoch, slot);
        if (code != WALKERDB_EAGAIN) {
            return code;
        }
        code = wdb_txn_fetch(&job->txn);
        if (code != 0) {
            return code;
        }
    }
}

/* --- OBJECT ------------------------------------------------------------------------- */

static int describe(struct debug_job *job, const struct wdb_key *key,
                    const struct wdb_item *item,
                    const struct wdb_string *string,
                    const struct wdb_value_io *io, void *context)
{
    (void)io;
    (void)context;
    const struct wdb_representation inside =
        wdb_represent(item, string->value.record.value);
    const uint64_t idle_s = wdb_db_idle_s(&job->txn, key);
    /* A string in RDB has its length in 1, 2 or 5 bytes before it. */
    const uint64_t head =
        string->size < 64 ? 1 : (string->size < 16384 ? 2 : 5);
    return wdb_buffer_printf(
        &job->text,
        "Value at:0x%" PRIx64 " refcount:%" PRId64
        " encoding:%s serializedlength:%" PRIu64 " lru:%" PRIu64
        " lru_seconds_idle:%" PRIu64,
        item->position, inside.references, inside.encoding, string->size + head,
        (job->txn.now_ms / 1000 - idle_s) & ((1 << 24) - 1), idle_s);
}

static int run_object(struct debug_job *job)
{
    size_t at = 0;
    struct wdb_slice name;
    if (!next_piece(&job->arguments, &at, &name)) {
        return WALKERDB_EINVALID;
    }
    int code = with_string(job, name, describe, NULL);
    if (code == WALKERDB_ENOTFOUND) {
        job->missing = true;
        return 0;
    }
    return code != 0 ? code : wdb_buffer_append(&job->text, "", 1);
}

void wdb_debug_object(struct wdb_call *call)
{
    struct debug_job *job = job_new(call, 2);
    if (job != NULL) {
        start(call, job, run_object, answer_text);
    }
}

/* --- DIGEST ------------------------------------------------------------------------- */

/*
 * As Redis does it. XOR in: the order does not matter. Mix: XOR in, then hash
 * what came out: it does.
 */
static void xor_in(uint8_t digest[WDB_SHA1_SIZE], const void *data, size_t size)
{
    uint8_t hash[WDB_SHA1_SIZE];
    wdb_sha1(data, size, hash);
    for (int i = 0; i < WDB_SHA1_SIZE; i++) {
        digest[i] ^= hash[i];
    }
}

static void mix_in(uint8_t digest[WDB_SHA1_SIZE], const void *data, size_t size)
{
    xor_in(digest, data, size);
    wdb_sha1(digest, WDB_SHA1_SIZE, digest);
}

static void mix_number(uint8_t digest[WDB_SHA1_SIZE], uint32_t number)
{
    number = htonl(number);
    mix_in(digest, &number, sizeof(number));
}

static int mix_string(struct debug_job *job, const struct wdb_key *key,
                      const struct wdb_item *item,
                      const struct wdb_string *string,
                      const struct wdb_value_io *io, void *context)
{
    uint8_t *digest = context;
    uint8_t *bytes = malloc(string->size == 0 ? 1 : string->size);
    (void)job;
    (void)key;
    if (bytes == NULL) {
        return WALKERDB_ENOMEM;
    }
    int code = string->size == 0
                   ? 0
                   : wdb_string_copy(io, string, 0, string->size, bytes);
    if (code == 0) {
        mix_number(digest, 0); /* the type: a string */
        mix_in(digest, bytes, string->size);
        if (item->expiry_ms != 0) {
            xor_in(digest, "!!expire!!", 10);
        }
    }
    free(bytes);
    return code;
}

static int append_hex(struct wdb_buffer *out,
                      const uint8_t digest[WDB_SHA1_SIZE])
{
    int code = 0;
    for (int i = 0; i < WDB_SHA1_SIZE && code == 0; i++) {
        code = wdb_buffer_printf(out, "%02x", digest[i]);
    }
    return code != 0 ? code : wdb_buffer_append(out, "", 1);
}

static int run_digest_value(struct debug_job *job)
{
    size_t at = 0;
    struct wdb_slice name;
    while (next_piece(&job->arguments, &at, &name)) {
        uint8_t digest[WDB_SHA1_SIZE] = {0};
        int code = with_string(job, name, mix_string, digest);
        if (code == 0 || code == WALKERDB_ENOTFOUND) {
            code = append_hex(&job->text, digest);
        }
        if (code != 0) {
            return code;
        }
        job->count++;
    }
    return 0;
}

static void answer_digests(struct debug_job *job, struct wdb_reply *reply)
{
    const char *text = (const char *)job->text.data;
    wdb_reply_array(reply, job->count);
    for (uint32_t i = 0; i < job->count; i++, text += strlen(text) + 1) {
        wdb_reply_simple(reply, text);
    }
}

void wdb_debug_digest_value(struct wdb_call *call)
{
    struct debug_job *job = job_new(call, 2);
    if (job != NULL) {
        start(call, job, run_digest_value, answer_digests);
    }
}

struct walk {
    struct wdb_buffer names;
    bool failed;
};

static void note_name(void *context, struct wdb_slice key,
                      const struct wdb_item *item)
{
    struct walk *walk = context;
    (void)item;
    walk->failed |= append_piece(&walk->names, key) != 0;
}

static int digest_names(struct debug_job *job, const struct wdb_buffer *names,
                        uint8_t final[WDB_SHA1_SIZE])
{
    size_t at = 0;
    struct wdb_slice name;
    while (next_piece(names, &at, &name)) {
        uint8_t digest[WDB_SHA1_SIZE] = {0};
        mix_in(digest, name.data, name.size);
        const int code = with_string(job, name, mix_string, digest);
        if (code == WALKERDB_ENOTFOUND) {
            continue;
        }
        if (code != 0) {
            return code;
        }
        xor_in(final, digest, sizeof(digest));
    }
    return 0;
}

/* All keys of a database into the digest. A bucket that moves meanwhile may show
 * its keys twice, so this holds only while nobody writes. */
static int digest_database(struct debug_job *job, uint32_t number,
                           uint8_t final[WDB_SHA1_SIZE])
{
    struct walk walk = {.names = WDB_BUFFER_INIT};
    uint64_t cursor = 0;
    int code = 0;
    job->txn.database = number;
    mix_number(final, number);
    do {
        uint64_t depends = 0;
        wdb_buffer_clear(&walk.names);
        cursor = wdb_db_scan(&job->txn, cursor, WALK_COUNT, note_name, &walk,
                             &depends);
        if (job->depends < depends) {
            job->depends = depends;
        }
        code = walk.failed ? WALKERDB_ENOMEM
                           : digest_names(job, &walk.names, final);
    } while (code == 0 && cursor != 0);
    wdb_buffer_release(&walk.names);
    return code;
}

static int run_digest(struct debug_job *job)
{
    uint8_t final[WDB_SHA1_SIZE] = {0};
    for (uint32_t n = 0; n < WDB_DATABASE_COUNT; n++) {
        if (wdb_db_size(job->context->db, n) == 0) {
            continue;
        }
        const int code = digest_database(job, n, final);
        if (code != 0) {
            return code;
        }
    }
    return append_hex(&job->text, final);
}

void wdb_debug_digest(struct wdb_call *call)
{
    struct debug_job *job = job_new(call, 2);
    if (job != NULL) {
        start(call, job, run_digest, answer_text);
    }
}

/* --- RELOAD and LOADAOF --------------------------------------------------------------- */

/* The index can't be rebuilt under a running server; what can be done is what a
 * restart would have to find: all of it in the files, and readable. */
static int run_reload(struct debug_job *job)
{
    int code = wdb_log_sync(wdb_db_log(job->context->db));
    return code != 0 ? code : run_digest(job);
}

void wdb_debug_reload(struct wdb_call *call)
{
    for (uint32_t i = 2; i < call->argc; i++) {
        if (!wdb_call_is(call, i, "MERGE") &&
            !wdb_call_is(call, i, "NOFLUSH") &&
            !wdb_call_is(call, i, "NOSAVE")) {
            wdb_call_error(call, "ERR DEBUG RELOAD only supports the MERGE, "
                                 "NOFLUSH and NOSAVE options.");
            return;
        }
    }
    struct debug_job *job = job_new(call, call->argc);
    if (job != NULL) {
        start(call, job, run_reload, answer_ok);
    }
}

/* --- POPULATE --------------------------------------------------------------------------- */

/* One key, unless it is there. */
static int populate_one(struct debug_job *job, struct wdb_slice name,
                        struct wdb_slice value)
{
    struct wdb_epoch *epoch = wdb_log_epoch(wdb_db_log(job->context->db));
    const struct wdb_key key = wdb_key(wdb_db_store(job->context->db), name);
    struct wdb_item item;
    const int slot = wdb_epoch_enter(epoch);
    wdb_txn_begin_one(&job->txn, key.hash);
    int code = 0;
    if (!wdb_db_find(&job->txn, &key, WDB_FIND_PEEK, &item)) {
        code = wdb_db_put(&job->txn, &key, value, 0);
    }
    if (code != 0) {
        wdb_txn_abort(&job->txn);
    } else {
        code = wdb_txn_commit(&job->txn);
    }
    if (job->depends < job->txn.depends) {
        job->depends = job->txn.depends;
    }
    wdb_epoch_exit(epoch, slot);
    return code;
}

static int run_populate(struct debug_job *job)
{
    size_t at = 0;
    struct wdb_slice prefix = wdb_slice_str("key");
    struct wdb_buffer name = WDB_BUFFER_INIT;
    struct wdb_buffer value = WDB_BUFFER_INIT;
    int code = 0;
    (void)next_piece(&job->arguments, &at, &prefix);
    for (uint64_t i = 0; i < job->key_count && code == 0; i++) {
        wdb_buffer_clear(&name);
        wdb_buffer_clear(&value);
        code = wdb_buffer_append(&name, prefix.data, prefix.size);
        if (code == 0) {
            code = wdb_buffer_printf(&name, ":%" PRIu64, i);
        }
        if (code == 0) {
            code = wdb_buffer_printf(&value, "value:%" PRIu64, i);
        }
        if (code == 0 && job->value_size > (int64_t)value.size) {
            const size_t more = (size_t)job->value_size - value.size;
            code = wdb_buffer_reserve(&value, more);
            if (code == 0) {
                memset(value.data + value.size, 0, more);
                value.size += more;
            }
        } else if (job->value_size > 0) {
            value.size = (size_t)job->value_size;
        }
        if (code == 0) {
            code = populate_one(job, wdb_buffer_slice(&name),
                                wdb_buffer_slice(&value));
        }
    }
    wdb_buffer_release(&name);
    wdb_buffer_release(&value);
    const int flushed = wdb_log_flush(wdb_db_log(job->context->db));
    return code != 0 ? code : flushed;
}

void wdb_debug_populate(struct wdb_call *call)
{
    int64_t count, size = -1;
    if (!wdb_call_int64(call, 2, &count) ||
        (call->argc == 5 && !wdb_call_int64(call, 4, &size))) {
        return;
    }
    if (count < 0 || size > (int64_t)WALKERDB_VALUE_SIZE_MAX) {
        wdb_call_error(call, "ERR value is out of range, must be positive");
        return;
    }
    struct debug_job *job = job_new(call, call->argc > 3 ? 3 : call->argc);
    if (job != NULL) {
        job->key_count = (uint64_t)count;
        job->value_size = size;
        start(call, job, run_populate, answer_ok);
    }
}
