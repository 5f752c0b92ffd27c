/*
 * transfer.h - what the two ends of a snapshot transfer ask of their owner, and
 * the list of files that stands at its beginning.
 *
 *      leader: source                            follower: sink
 *      .transfer-<n>/ (links)                    incoming/
 *          │                                         ▲
 *          │ ──────── OFFER (number, size) ────────► │
 *          │ ◄─────── FETCH file 0 ───────────────── │
 *          │ ──────── PIECE: the list ─────────────► │
 *          │ ◄─────── FETCH file, offset ─────────── │  up to 4 at a time
 *          │ ──────── PIECE ───────────────────────► │
 *          │                                    all is durable: DONE
 *
 * Both ends are state machines on the thread of their owner (the raft thread,
 * or the simulator): they are moved by messages, by jobs that end, and by time.
 * What waits for the disk is done by jobs off that thread. Messages may be lost,
 * doubled and reordered: the sink asks again. Nothing holds more than a handful
 * of pieces in memory.
 *
 * The list, little-endian:
 *
 *   0       4         8       12      16          24
 *   +-------+---------+-------+-------+-----------+------+-----+-----+------+
 *   | magic | version | count | base  | number of | file | ... | base| crc  |
 *   |       |         |       | size  | snapshot  | 1    |     |     |      |
 *   +-------+---------+-------+-------+-----------+------+-----+-----+------+
 *   file: size u64, id u64, kind u8 (0 manifest, 1 .log, 2 .mrg), 7 zeros
 *
 * Names are not sent: they are made from kind and id, so none can be bad. The
 * manifest is the last file.
 */
#ifndef WDB_RAFT_TRANSFER_H
#define WDB_RAFT_TRANSFER_H

#include "env/env.h"
#include "log/names.h"
#include "raft/peer.h"

#define WDB_TRANSFER_PIECE_SIZE  ((uint32_t)256 << 10)
#define WDB_TRANSFER_OUTSTANDING 16
/* As many as a log can have open. */
#define WDB_TRANSFER_FILES_MAX WDB_SLOT_COUNT_MAX
#define WDB_TRANSFER_BASE_MAX  ((uint32_t)1 << 20)
#define WDB_TRANSFER_LIST_MAX                                                  \
    (24 + 24 * WDB_TRANSFER_FILES_MAX + WDB_TRANSFER_BASE_MAX + 4)

/* What an end asks of its owner. All of it is called on the owner's thread, and
 * none of it may call back into the end. */
struct wdb_transfer_owner {
    /* Send to the other end, on channel TRANSFER; `to` and `term` are left to
     * the owner. Copies it, or has written it on return. False: no room or no
     * connection; it is tried again at the next run. */
    bool (*send)(void *context, struct wdb_message *message);
    /* Run work(arg) where it may wait for the disk, several at a time and in
     * any order; then done(arg) on the owner's thread, always (also when all is
     * being shut down), and not inside of this call. */
    void (*run_off_loop)(void *context, void (*work)(void *arg),
                         void (*done)(void *arg), void *arg);
    uint64_t (*now_ns)(void *context); /* monotonic */
    /* A job has ended: look at the state, call run soon. May be NULL. */
    void (*on_work)(void *context);
    void *context;
};

struct wdb_transfer_progress {
    uint64_t done, total; /* bytes */
    uint64_t rate;        /* bytes a second, of the last seconds */
};

/* Measures a rate, second by second. */
struct wdb_transfer_meter {
    uint64_t begin_ns; /* of the second that is going on; 0: none */
    uint64_t bytes;
    uint64_t rate; /* of the one before */
};
void wdb_transfer_meter_add(struct wdb_transfer_meter *meter, uint64_t now_ns,
                            uint64_t bytes);
uint64_t wdb_transfer_meter_rate(const struct wdb_transfer_meter *meter,
                                 uint64_t now_ns);

/* Remove a directory of a transfer with what was put there; nothing happens if
 * there is none. What has other names than ours stays. May wait. EIO. */
WDB_MUST_CHECK int wdb_transfer_remove(struct wdb_env *env, const char *dir);

/* --- the list of files ------------------------------------------------------- */

enum wdb_transfer_kind {
    WDB_TRANSFER_MANIFEST,
    WDB_TRANSFER_LOG,
    WDB_TRANSFER_MERGED,
};

struct wdb_transfer_file {
    enum wdb_transfer_kind kind;
    uint64_t id; /* 0 for the manifest */
    uint64_t size;
};

struct wdb_transfer_list {
    uint64_t snapshot; /* number */
    uint32_t count;
    struct wdb_transfer_file *files; /* malloc'ed; file n of FETCH is n - 1 */
    uint8_t *base; /* malloc'ed: what the source's owner says of it */
    size_t base_size;
};

void wdb_transfer_list_release(struct wdb_transfer_list *list);
/* Bytes of the list that begins with these WDB_TRANSFER_LIST_HEAD bytes.
 * ECORRUPT. */
#define WDB_TRANSFER_LIST_HEAD 24
WDB_MUST_CHECK int wdb_transfer_list_size(const uint8_t *head,
                                          size_t *size_out);
/* Malloc'ed bytes of a list. ENOMEM, ETOOBIG. */
WDB_MUST_CHECK int wdb_transfer_list_encode(
    const struct wdb_transfer_list *list, uint8_t **data_out, size_t *size_out);
/*
 * Everything is checked: that there is exactly one manifest, at the end; that
 * no two files share an id; that sizes are possible for their kind. ECORRUPT,
 * ENOMEM.
 */
WDB_MUST_CHECK int wdb_transfer_list_decode(const uint8_t *data, size_t size,
                                            struct wdb_transfer_list *out);
/* Bytes of all files. */
uint64_t wdb_transfer_list_total(const struct wdb_transfer_list *list);
/* The name of a file in either directory. */
void wdb_transfer_file_name(const struct wdb_transfer_file *file,
                            char out[WDB_NAME_SIZE_MAX]);

#endif
