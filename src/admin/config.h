/*
 * config.h - the settings: their table, values, files and command line.
 *
 * One row for each in config_table.inc. Numbers, flags and choices are read
 * with one relaxed load, from any thread; texts are copied under a mutex.
 * CONFIG SET checks every value before it takes the first; then the apply
 * hook (of server/) is called for what changed, and if it refuses, everything
 * is as before.
 */
#ifndef WDB_ADMIN_CONFIG_H
#define WDB_ADMIN_CONFIG_H

#include <stdatomic.h>

#include "base/attributes.h"
#include "base/buffer.h"
#include "base/slice.h"
#include "env/env.h"

enum wdb_config_id {
#define WDB_FLAG(id, name, alias, value, flags)             WDB_CONFIG_##id,
#define WDB_NUMBER(id, name, alias, value, min, max, flags) WDB_CONFIG_##id,
#define WDB_BYTES(id, name, alias, value, min, max, flags)  WDB_CONFIG_##id,
#define WDB_CHOICE(id, name, alias, value, choices, flags)  WDB_CONFIG_##id,
#define WDB_TEXT(id, name, alias, value, shape, flags)      WDB_CONFIG_##id,
#include "admin/config_table.inc"
    WDB_CONFIG_COUNT,
    /* Numbers that follow from client-output-buffer-limit: bytes, bytes,
     * seconds; 0 = no limit. */
    WDB_CONFIG_OUTPUT_HARD_NORMAL = WDB_CONFIG_COUNT,
    WDB_CONFIG_OUTPUT_SOFT_NORMAL,
    WDB_CONFIG_OUTPUT_SECONDS_NORMAL,
    WDB_CONFIG_OUTPUT_HARD_REPLICA,
    WDB_CONFIG_OUTPUT_SOFT_REPLICA,
    WDB_CONFIG_OUTPUT_SECONDS_REPLICA,
    WDB_CONFIG_OUTPUT_HARD_PUBSUB,
    WDB_CONFIG_OUTPUT_SOFT_PUBSUB,
    WDB_CONFIG_OUTPUT_SECONDS_PUBSUB,
    WDB_CONFIG_NUMBER_COUNT,
};

/* Values of choices that code asks for; the others are the place of the word
 * in the list of config_value.c. */
enum {
    WDB_GUARD_NO,
    WDB_GUARD_YES,
    WDB_GUARD_LOCAL
};
enum {
    WDB_FSYNC_EVERYSEC,
    WDB_FSYNC_ALWAYS,
    WDB_FSYNC_NO
};
enum {
    WDB_SUPERVISED_UPSTART,
    WDB_SUPERVISED_SYSTEMD,
    WDB_SUPERVISED_AUTO,
    WDB_SUPERVISED_NO
};

/* Bits of notify-keyspace-events (its number). */
#define WDB_IO_THREADS_MAX 128 /* workers */

#define WDB_NOTIFY_KEYSPACE (1u << 0)  /* K */
#define WDB_NOTIFY_KEYEVENT (1u << 1)  /* E */
#define WDB_NOTIFY_GENERIC  (1u << 2)  /* g */
#define WDB_NOTIFY_STRING   (1u << 3)  /* $ */
#define WDB_NOTIFY_LIST     (1u << 4)  /* l */
#define WDB_NOTIFY_SET      (1u << 5)  /* s */
#define WDB_NOTIFY_HASH     (1u << 6)  /* h */
#define WDB_NOTIFY_ZSET     (1u << 7)  /* z */
#define WDB_NOTIFY_EXPIRED  (1u << 8)  /* x */
#define WDB_NOTIFY_EVICTED  (1u << 9)  /* e */
#define WDB_NOTIFY_STREAM   (1u << 10) /* t */
#define WDB_NOTIFY_MISS     (1u << 11) /* m, not in A */
#define WDB_NOTIFY_MODULE   (1u << 13) /* d */
#define WDB_NOTIFY_NEW      (1u << 14) /* n, not in A */

struct wdb_config_private;
struct wdb_config {
    /* By id: the number; flags 0 or 1; choices the place; texts 1 if not
     * empty (notify-keyspace-events: its bits). Write only through the
     * functions below. */
    _Atomic int64_t numbers[WDB_CONFIG_NUMBER_COUNT];
    struct wdb_config_private *p;
};

/* All settings at their defaults. ENOMEM. */
WDB_MUST_CHECK int wdb_config_new(struct wdb_env *env, struct wdb_config **out);
void wdb_config_free(struct wdb_config *config);

/* --- reading: any thread ------------------------------------------------------ */
static inline int64_t wdb_config_i64(const struct wdb_config *config,
                                     enum wdb_config_id id)
{
    return atomic_load_explicit(&config->numbers[id], memory_order_relaxed);
}
static inline uint64_t wdb_config_u64(const struct wdb_config *config,
                                      enum wdb_config_id id)
{
    return (uint64_t)wdb_config_i64(config, id);
}
static inline bool wdb_config_bool(const struct wdb_config *config,
                                   enum wdb_config_id id)
{
    return wdb_config_i64(config, id) != 0;
}
/* Copy the value (of any setting, as CONFIG GET shows it) to out, cut to
 * capacity - 1 bytes and terminated; returns its whole length. */
size_t wdb_config_text(const struct wdb_config *config, enum wdb_config_id id,
                       char *out, size_t capacity);
/* The same, appended to a buffer. ENOMEM. */
WDB_MUST_CHECK int wdb_config_append(const struct wdb_config *config,
                                     enum wdb_config_id id,
                                     struct wdb_buffer *out);
/* Whether a text setting equals `text`, in a time that depends on the length
 * of `text` only: for passwords. */
bool wdb_config_matches(const struct wdb_config *config, enum wdb_config_id id,
                        struct wdb_slice text);
/* The name of a setting, static; its id by name or alias in any case, -1. */
const char *wdb_config_name(enum wdb_config_id id);
int wdb_config_find(struct wdb_slice name);
/* True if the value must not be shown (passwords): SLOWLOG, MONITOR, logs. */
bool wdb_config_is_secret(enum wdb_config_id id);
/* The percentiles of latency-tracking-info-percentiles, at most count; returns
 * how many. */
size_t wdb_config_percentiles(const struct wdb_config *config, double *out,
                              size_t count);

/* --- CONFIG GET, SET, REWRITE: any thread ------------------------------------- */
typedef void (*wdb_config_get_cb)(void *context, const char *name,
                                  struct wdb_slice value);
/* Call back once for each name or alias that matches one of the patterns.
 * ENOMEM. */
WDB_MUST_CHECK int wdb_config_get(const struct wdb_config *config,
                                  const struct wdb_slice *patterns,
                                  size_t count, wdb_config_get_cb callback,
                                  void *context);
/*
 * Set count pairs (name, value, name, value, ...), all or none. `local`: the
 * client is on this machine, for enable-protected-configs local. EINVALID: the
 * text for the client, without "ERR ", is in error. A setting that can't be
 * changed takes the value that it has.
 */
WDB_MUST_CHECK int wdb_config_set(struct wdb_config *config,
                                  const struct wdb_slice *pairs, size_t count,
                                  bool local, char *error, size_t error_size);
/* Set one, whatever its flags, without the apply hook: before the start, and
 * for values that the server finds out. EINVALID as above. */
WDB_MUST_CHECK int wdb_config_force(struct wdb_config *config,
                                    enum wdb_config_id id, const char *value,
                                    char *error, size_t error_size);
/* Called for each setting that CONFIG SET changed, in the order given, by its
 * thread, with no lock held that readers need. Non-zero refuses: text in error.
 * It is called again with the old values then. */
typedef int (*wdb_config_apply_cb)(void *context, enum wdb_config_id id,
                                   char *error, size_t error_size);
void wdb_config_on_apply(struct wdb_config *config, wdb_config_apply_cb apply,
                         void *context);
/* Write the values back into the file that they came from, keeping comments,
 * order and includes. EINVALID (there is no file), EIO etc., text in error. */
WDB_MUST_CHECK int wdb_config_rewrite(struct wdb_config *config, char *error,
                                      size_t error_size);
/* The absolute path of the file, "" if there is none. Static after loading. */
const char *wdb_config_file(const struct wdb_config *config);

/* --- loading: before the threads start ---------------------------------------- */
enum wdb_config_action {
    WDB_CONFIG_RUN,
    WDB_CONFIG_SHOW_HELP,
    WDB_CONFIG_SHOW_VERSION,
    WDB_CONFIG_CHECK_ONLY,
    WDB_CONFIG_FORCE_ASK, /* --force-new-cluster: tell what it does */
    WDB_CONFIG_FORCE,     /* --force-new-cluster yes: do it */
};
/*
 * Read the command line, and before it counts the file that it names: doc/man/
 * walkerdb.1. EINVALID, EIO, ENOTFOUND: *message_out says what is wrong
 * (malloc'ed; free() it).
 */
WDB_MUST_CHECK int wdb_config_load(struct wdb_config *config, int argc,
                                   char *const *argv,
                                   enum wdb_config_action *action_out,
                                   char **message_out);
/* Read settings from text as of a file; `name` is for messages, and includes
 * are relative to the working directory. As above. */
WDB_MUST_CHECK int wdb_config_load_text(struct wdb_config *config,
                                        const char *name, struct wdb_slice text,
                                        char **message_out);
/* Names of IDLE settings that were set to another value than the default, for
 * a line in the log; "" if none. */
WDB_MUST_CHECK int wdb_config_idle_names(const struct wdb_config *config,
                                         struct wdb_buffer *out);

#endif
