/* config_table.c - the rows of the settings, and finding one by its name. */
#include <limits.h>
#include <strings.h>

#include "admin/config_internal.h"
#include "base/assert.h"

#define MIB ((int64_t)1 << 20)

/* Flags of the rows, by their short names. */
#define FIXED   WDB_CONFIG_FIXED
#define GUARDED WDB_CONFIG_GUARDED
#define SECRET  WDB_CONFIG_SECRET
#define WORDS   WDB_CONFIG_WORDS
#define IDLE    WDB_CONFIG_IDLE
#define REFUSED WDB_CONFIG_REFUSED
#define HIDDEN  WDB_CONFIG_HIDDEN
#define OCTAL   WDB_CONFIG_OCTAL
#define PERCENT WDB_CONFIG_PERCENT

/* Words of the choices, in the order of their numbers. */
#define CHOICES(name, ...) static const char *const name[] = {__VA_ARGS__, NULL}
CHOICES(no_yes_local, "no", "yes", "local");
CHOICES(no_yes_optional, "no", "yes", "optional");
CHOICES(no_yes_clients, "no", "yes", "clients");
CHOICES(supervised, "upstart", "systemd", "auto", "no");
CHOICES(loglevel, "debug", "verbose", "notice", "warning");
CHOICES(syslog_facility, "user", "local0", "local1", "local2", "local3",
        "local4", "local5", "local6", "local7");
CHOICES(oom_score_adj, "no", "yes", "relative", "absolute");
CHOICES(acl_pubsub_default, "allchannels", "resetchannels");
CHOICES(appendfsync, "everysec", "always", "no");
CHOICES(maxmemory_policy, "volatile-lru", "volatile-lfu", "volatile-random",
        "volatile-ttl", "allkeys-lru", "allkeys-lfu", "allkeys-random",
        "noeviction");
CHOICES(repl_diskless_load, "disabled", "on-empty-db", "swapdb");
CHOICES(propagation_error, "ignore", "panic", "panic-on-replicas");
CHOICES(endpoint_type, "ip", "hostname", "unknown-endpoint");
CHOICES(read_consistency, "leader", "stale", "consistent");

const struct wdb_config_row wdb_config_rows[WDB_CONFIG_COUNT] = {
#define WDB_FLAG(id_, name_, alias_, value, flags_)                            \
    [WDB_CONFIG_##id_] = {.name = name_,                                       \
                          .alias = alias_,                                     \
                          .kind = WDB_KIND_FLAG,                               \
                          .flags = (flags_),                                   \
                          .number = (value),                                   \
                          .max = 1},
#define WDB_NUMBER(id_, name_, alias_, value, min_, max_, flags_)              \
    [WDB_CONFIG_##id_] = {.name = name_,                                       \
                          .alias = alias_,                                     \
                          .kind = WDB_KIND_NUMBER,                             \
                          .flags = (flags_),                                   \
                          .number = (value),                                   \
                          .min = (min_),                                       \
                          .max = (max_)},
#define WDB_BYTES(id_, name_, alias_, value, min_, max_, flags_)               \
    [WDB_CONFIG_##id_] = {.name = name_,                                       \
                          .alias = alias_,                                     \
                          .kind = WDB_KIND_BYTES,                              \
                          .flags = (flags_),                                   \
                          .number = (value),                                   \
                          .min = (min_),                                       \
                          .max = (max_)},
#define WDB_CHOICE(id_, name_, alias_, value, choices_, flags_)                \
    [WDB_CONFIG_##id_] = {.name = name_,                                       \
                          .alias = alias_,                                     \
                          .kind = WDB_KIND_CHOICE,                             \
                          .flags = (flags_),                                   \
                          .number = (value),                                   \
                          .choices = (choices_)},
#define WDB_TEXT(id_, name_, alias_, value, shape_, flags_)                    \
    [WDB_CONFIG_##id_] = {.name = name_,                                       \
                          .alias = alias_,                                     \
                          .kind = WDB_KIND_TEXT,                               \
                          .flags = (flags_),                                   \
                          .text = (value),                                     \
                          .shape = (shape_)},
#include "admin/config_table.inc"
};

const char *wdb_config_name(enum wdb_config_id id)
{
    wdb_assert(id < WDB_CONFIG_COUNT);
    return wdb_config_rows[id].name;
}

bool wdb_config_is_secret(enum wdb_config_id id)
{
    wdb_assert(id < WDB_CONFIG_COUNT);
    return (wdb_config_rows[id].flags & SECRET) != 0;
}

static bool is_named(struct wdb_slice name, const char *word)
{
    return word != NULL && strlen(word) == name.size &&
           strncasecmp((const char *)name.data, word, name.size) == 0;
}

int wdb_config_find(struct wdb_slice name)
{
    for (int id = 0; id < WDB_CONFIG_COUNT; id++) {
        if (is_named(name, wdb_config_rows[id].name) ||
            is_named(name, wdb_config_rows[id].alias)) {
            return id;
        }
    }
    return -1;
}

/* --- the nearest name ---------------------------------------------------------- */

#define DISTANCE_NAME_MAX 64

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned least_two = a < b ? a : b;
    return least_two < c ? least_two : c;
}

/* How many letters have to be put in, taken out or changed; UINT_MAX if it is
 * more than `most` by the lengths alone. */
static unsigned edit_distance(struct wdb_slice a, const char *b, unsigned most)
{
    unsigned row[DISTANCE_NAME_MAX + 1];
    size_t size = strlen(b);
    if (a.size > DISTANCE_NAME_MAX || size > DISTANCE_NAME_MAX ||
        a.size > size + most || size > a.size + most) {
        return UINT_MAX;
    }
    for (unsigned j = 0; j <= size; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; i <= a.size; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= size; j++) {
            unsigned above = row[j];
            bool same = lower((char)a.data[i - 1]) == lower(b[j - 1]);
            row[j] =
                least(above + 1, row[j - 1] + 1, diagonal + (same ? 0 : 1));
            diagonal = above;
        }
    }
    return row[size];
}

const char *wdb_config_nearest(struct wdb_slice name)
{
    const char *nearest = NULL;
    unsigned best = (unsigned)(name.size / 3) + 1;
    for (int id = 0; id < WDB_CONFIG_COUNT; id++) {
        const char *names[2] = {wdb_config_rows[id].name,
                                wdb_config_rows[id].alias};
        for (int i = 0; i < 2 && names[i] != NULL; i++) {
            unsigned distance = edit_distance(name, names[i], best);
            if (distance < best || (nearest == NULL && distance == best)) {
                best = distance;
                nearest = names[i];
            }
        }
    }
    return nearest;
}
