/*
 * command.h - the command table: what every command is called, takes, touches
 * and is documented as. One table drives dispatch, key locking, COMMAND with
 * its subcommands, and later ACL rules and forwarding.
 */
#ifndef WDB_CMD_COMMAND_H
#define WDB_CMD_COMMAND_H

#include "base/slice.h"

struct wdb_call;

/* Flags; the names are those that COMMAND INFO shows. */
enum wdb_command_flag {
    WDB_CMD_WRITE = 1 << 0,
    WDB_CMD_READONLY = 1 << 1,
    WDB_CMD_DENYOOM = 1 << 2,
    WDB_CMD_ADMIN = 1 << 3,
    WDB_CMD_PUBSUB = 1 << 4,
    WDB_CMD_NOSCRIPT = 1 << 5,
    WDB_CMD_BLOCKING = 1 << 6,
    WDB_CMD_LOADING = 1 << 7,
    WDB_CMD_STALE = 1 << 8,
    WDB_CMD_SKIP_MONITOR = 1 << 9,
    WDB_CMD_SKIP_SLOWLOG = 1 << 10,
    WDB_CMD_FAST = 1 << 11,
    WDB_CMD_NO_AUTH = 1 << 12,
    WDB_CMD_MAY_REPLICATE = 1 << 13,
    WDB_CMD_NO_MANDATORY_KEYS = 1 << 14,
    WDB_CMD_PROTECTED = 1 << 15,
    WDB_CMD_MOVABLE_KEYS = 1 << 16,
    WDB_CMD_ALLOW_BUSY = 1 << 17,
    WDB_CMD_NO_MULTI = 1 << 18,
    WDB_CMD_NO_ASYNC_LOADING = 1 << 19,
    /* Not shown: how the dispatcher treats it. */
    WDB_CMD_SESSION = 1 << 23,      /* changes what its session is (database,
                                       protocol, name, ...), or its node's
                                       clients: in a transaction that the leader
                                       executes it is done here, too */
    WDB_CMD_ALL_STRIPES = 1 << 24,  /* may touch any key: takes every stripe */
    WDB_CMD_NO_TXN = 1 << 25,       /* takes no lock: touches no key, or locks
                                       by itself (SCAN, admin commands) */
    WDB_CMD_IN_MULTI = 1 << 26,     /* runs at once inside MULTI, not queued */
    WDB_CMD_WHILE_PAUSED = 1 << 27, /* CLIENT PAUSE does not hold it */
    WDB_CMD_SCANS = 1 << 28,  /* with NO_TXN: walks all keys, locking as it
                                goes; inside EXEC all stripes are held */
    WDB_CMD_LEADER = 1 << 29, /* in a cluster the leader executes it, although
                                 it neither reads nor writes keys */
    WDB_CMD_ALWAYS_FORWARD = 1 << 30, /* and it is no business of the client
                                         where that is: never redirected */
};

/* ACL categories, one bit each, in the order in which COMMAND INFO names them
 * (command_names.c). */
typedef uint32_t wdb_acl_categories;
#define WDB_ACL_KEYSPACE    (1u << 0)
#define WDB_ACL_READ        (1u << 1)
#define WDB_ACL_WRITE       (1u << 2)
#define WDB_ACL_SET         (1u << 3)
#define WDB_ACL_SORTEDSET   (1u << 4)
#define WDB_ACL_LIST        (1u << 5)
#define WDB_ACL_HASH        (1u << 6)
#define WDB_ACL_STRING      (1u << 7)
#define WDB_ACL_BITMAP      (1u << 8)
#define WDB_ACL_HYPERLOGLOG (1u << 9)
#define WDB_ACL_GEO         (1u << 10)
#define WDB_ACL_STREAM      (1u << 11)
#define WDB_ACL_PUBSUB      (1u << 12)
#define WDB_ACL_ADMIN       (1u << 13)
#define WDB_ACL_FAST        (1u << 14)
#define WDB_ACL_SLOW        (1u << 15)
#define WDB_ACL_BLOCKING    (1u << 16)
#define WDB_ACL_DANGEROUS   (1u << 17)
#define WDB_ACL_CONNECTION  (1u << 18)
#define WDB_ACL_TRANSACTION (1u << 19)
#define WDB_ACL_SCRIPTING   (1u << 20)

/* Where keys are, as COMMAND's key specifications say it. */
#define WDB_KEY_RO             0x01
#define WDB_KEY_RW             0x02
#define WDB_KEY_OW             0x04
#define WDB_KEY_RM             0x08
#define WDB_KEY_ACCESS         0x10
#define WDB_KEY_UPDATE         0x20
#define WDB_KEY_INSERT         0x40
#define WDB_KEY_DELETE         0x80
#define WDB_KEY_NOT_KEY        0x100
#define WDB_KEY_INCOMPLETE     0x200
#define WDB_KEY_VARIABLE_FLAGS 0x400
struct wdb_key_spec {
    uint32_t flags;
    int16_t first;      /* begin_search index */
    int16_t last, step; /* find_keys range, last counted from first, <0 from
                           the end as in Redis */
    int16_t keynum;     /* != 0: find_keys keynum: keynumidx = first, keys from
                           first + keynum on */
};
#define WDB_KEY_SPEC_MAX 3

struct wdb_command {
    const char *name; /* lower case; "client|kill" for a subcommand */
    void (*handler)(struct wdb_call *call);
    int16_t arity; /* with the name; negative: at least */
    uint16_t id;   /* place in the table, for statistics; set by the table */
    uint32_t flags;
    wdb_acl_categories acl;
    struct wdb_key_spec keys[WDB_KEY_SPEC_MAX];
    uint8_t key_spec_count;
    const char *group;      /* "string", "generic", ... */
    const char *since;      /* "1.0.0" */
    const char *complexity; /* "O(1)" */
    const char *summary;
    const char *deprecated_since; /* NULL: it is not */
    const char *replaced_by;
    const struct wdb_command *subcommands; /* NULL: none */
    uint16_t subcommand_count;
    const char *const *tips; /* NULL or NULL-terminated */
    const char *arguments;   /* for DOCS, see command_docs.c; NULL: none */
};

/* The table, immutable: count commands, group by group; a row's place is its
 * id. Subcommands have ids, too: ids are below wdb_command_id_count(). */
const struct wdb_command *wdb_command_table(size_t *count_out);
size_t wdb_command_id_count(void);
/* By name, any case; NULL. A few ns (an open hash that is part of the program:
 * scripts/command-index). */
const struct wdb_command *wdb_command_find(struct wdb_slice name);
const struct wdb_command *wdb_command_find_sub(const struct wdb_command *parent,
                                               struct wdb_slice name);
const struct wdb_command *wdb_command_by_id(uint16_t id);

/* Indexes into argv of the keys of a request, into out (room for out_count);
 * returns how many there are, -1 if the request is malformed (bad numkeys). */
int wdb_command_keys(const struct wdb_command *command, uint32_t argc,
                     const struct wdb_slice *argv, uint32_t *out,
                     uint32_t out_count);
/* How this request uses the keys of a specification: its flags, unless the
 * arguments decide (WDB_KEY_VARIABLE_FLAGS). */
uint32_t wdb_command_key_flags(const struct wdb_command *command, uint8_t spec,
                               uint32_t argc, const struct wdb_slice *argv);
/* The specification that argument `index`, a key of the request, is of. */
uint8_t wdb_command_key_spec_of(const struct wdb_command *command,
                                uint32_t argc, const struct wdb_slice *argv,
                                uint32_t index);

#endif
