/*
 * config_internal.h - what the files of the settings share.
 *
 *   config.c          values of one instance: get, set, hooks
 *   config_table.c    the rows, looking names up
 *   config_value.c    text to value and back, by kind
 *   config_shape.c    the texts that have a form of their own
 *   config_file.c     configuration files
 *   config_args.c     the command line
 *   config_rewrite.c  CONFIG REWRITE
 */
#ifndef WDB_ADMIN_CONFIG_INTERNAL_H
#define WDB_ADMIN_CONFIG_INTERNAL_H

#include <pthread.h>

#include "admin/config.h"

enum wdb_config_kind {
    WDB_KIND_FLAG,
    WDB_KIND_NUMBER,
    WDB_KIND_BYTES,
    WDB_KIND_CHOICE,
    WDB_KIND_TEXT,
};

enum wdb_config_shape {
    WDB_SHAPE_ANY,
    WDB_SHAPE_EMPTY,        /* known, but not supported: must stay empty */
    WDB_SHAPE_BIND,         /* addresses */
    WDB_SHAPE_DIR,          /* not empty */
    WDB_SHAPE_FILE_NAME,    /* no slash */
    WDB_SHAPE_SAVE,         /* pairs of seconds and changes */
    WDB_SHAPE_OUTPUT_LIMIT, /* class, hard, soft, seconds; by class */
    WDB_SHAPE_OOM_VALUES,   /* three numbers */
    WDB_SHAPE_PERCENTILES,  /* numbers from 0 to 100 */
    WDB_SHAPE_NOTIFY,       /* letters of keyspace events */
    WDB_SHAPE_SIGNAL,       /* what a signal does: words */
};

#define WDB_CONFIG_FIXED   (1u << 0)
#define WDB_CONFIG_GUARDED (1u << 1)
#define WDB_CONFIG_SECRET  (1u << 2)
#define WDB_CONFIG_WORDS   (1u << 3)
#define WDB_CONFIG_IDLE    (1u << 4)
#define WDB_CONFIG_REFUSED (1u << 5)
#define WDB_CONFIG_HIDDEN  (1u << 6)
#define WDB_CONFIG_OCTAL   (1u << 7)
#define WDB_CONFIG_PERCENT (1u << 8)

struct wdb_config_row {
    const char *name, *alias; /* alias may be NULL */
    enum wdb_config_kind kind;
    uint32_t flags;
    int64_t number, min, max;   /* default and range; flags 0 or 1 */
    const char *const *choices; /* ends with NULL */
    const char *text;           /* default of a text */
    enum wdb_config_shape shape;
};

#define WDB_CONFIG_EXTRA_COUNT                                                 \
    (WDB_CONFIG_NUMBER_COUNT - WDB_CONFIG_OUTPUT_HARD_NORMAL)

/* One value outside of an instance. */
struct wdb_config_value {
    int64_t number;
    int64_t extra[WDB_CONFIG_EXTRA_COUNT]; /* of an output limit */
    char *text;                            /* of a text: malloc'ed; else NULL */
};

struct wdb_config_private {
    struct wdb_env *env;
    pthread_mutex_t lock;     /* texts; short */
    pthread_mutex_t set_lock; /* one CONFIG SET or REWRITE at a time */
    char *texts[WDB_CONFIG_COUNT];
    int64_t defaults[WDB_CONFIG_COUNT]; /* the rows', or found out at start */
    bool given[WDB_CONFIG_COUNT];       /* by a file or the command line */
    wdb_config_apply_cb apply;
    void *apply_context;
    char *file; /* absolute; "" if none */
};

/* --- config_table.c --- */
extern const struct wdb_config_row wdb_config_rows[WDB_CONFIG_COUNT];
/* The known name that is most like `name`, NULL if none is near. */
const char *wdb_config_nearest(struct wdb_slice name);

/* --- config_value.c --- */
/*
 * Text to value. `old` is the value now, for settings that are changed in
 * parts; `loading`: from a file or the command line, where some add up.
 * *out's text is the caller's to free. EINVALID with *error_out (static or in
 * `room`, which has WDB_CONFIG_ERROR_MAX bytes); ENOMEM.
 */
#define WDB_CONFIG_ERROR_MAX 512
WDB_MUST_CHECK int wdb_config_value_parse(const struct wdb_config_row *row,
                                          const struct wdb_config_value *old,
                                          struct wdb_slice given, bool loading,
                                          struct wdb_config_value *out,
                                          const char **error_out, char *room);
/* Value to text, as CONFIG GET shows it. ENOMEM. */
WDB_MUST_CHECK int wdb_config_value_print(const struct wdb_config_row *row,
                                          int64_t number, const char *text,
                                          struct wdb_buffer *out);

/* --- config_shape.c --- */
/* The same for texts: sets text, number, extra. */
WDB_MUST_CHECK int wdb_config_shape_parse(const struct wdb_config_row *row,
                                          const struct wdb_config_value *old,
                                          struct wdb_slice given, bool loading,
                                          struct wdb_config_value *out,
                                          const char **error_out);

/* --- config.c --- */
/* A copy of the value now; free text. ENOMEM. */
WDB_MUST_CHECK int wdb_config_copy(const struct wdb_config *config,
                                   enum wdb_config_id id,
                                   struct wdb_config_value *out);
/* Parse and store, whatever the flags. As wdb_config_force. */
WDB_MUST_CHECK int wdb_config_store(struct wdb_config *config,
                                    enum wdb_config_id id,
                                    struct wdb_slice value, bool loading,
                                    char *error, size_t error_size);

/* --- config_file.c --- */
/* A message for *message_out, if there is memory; returns code. */
int wdb_config_message(char **message_out, int code, const char *format, ...)
    WDB_PRINTF(3, 4);
/* One line of a configuration: its name and arguments, resolved. */
struct wdb_config_line {
    struct wdb_slice name;  /* size 0: blank or comment */
    struct wdb_slice value; /* arguments, joined by blanks */
    uint32_t value_count;
    uint8_t *memory; /* behind both; free() */
};
/* ENOMEM; EINVALID: quotes. */
WDB_MUST_CHECK int wdb_config_line_parse(struct wdb_slice text,
                                         struct wdb_config_line *out);
/* Set by name and (joined) value: also what only files and command lines know
 * ("tcp", "include"). `where` is for messages. */
WDB_MUST_CHECK int wdb_config_directive(struct wdb_config *config,
                                        const char *where, unsigned depth,
                                        const struct wdb_config_line *line,
                                        char **message_out);
WDB_MUST_CHECK int wdb_config_load_file(struct wdb_config *config,
                                        const char *path, unsigned depth,
                                        char **message_out);
/* After all is loaded: relative directories become absolute. ENOMEM, EIO */
WDB_MUST_CHECK int wdb_config_settle(struct wdb_config *config);
/* path made absolute and malloc'ed. ENOMEM, EIO. */
WDB_MUST_CHECK int wdb_config_absolute(const char *path, char **out);

#endif
