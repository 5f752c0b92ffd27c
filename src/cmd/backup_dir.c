/*
 * backup_dir.c - where backups lie, how they are called, which ones go.
 *
 *     backup-<database>-<yyyymmdd>-<hhmmss>-<ms>[.partial]
 *
 * <database> is the database's nonce, so that several may share a directory.
 * Only names of this form, with our own nonce, are ever removed, and none in
 * which a server was started (it has a lock file).
 */
#include "cmd/backup_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log/names.h"
#include "walkerdb.h"

#define DEFAULT_DIR   "backups"
#define PARTIAL       ".partial"
#define STAMP         "dddddddd-dddddd-ddd"
#define NAME_KEEP_MAX 65536 /* names in the directory that are looked at */

struct names {
    const char *prefix;
    char (*items)[WDB_BACKUP_NAME_MAX];
    size_t count, capacity;
};

/* The name of a backup: 0 no, 1 whole, 2 partial. */
static int classify(const char *name, const char *prefix)
{
    size_t length = strlen(prefix);
    if (strncmp(name, prefix, length) != 0) {
        return 0;
    }
    const char *stamp = name + length;
    for (const char *form = STAMP; *form != '\0'; form++, stamp++) {
        if (*form == 'd' ? *stamp < '0' || *stamp > '9' : *stamp != *form) {
            return 0;
        }
    }
    if (*stamp == '\0') {
        return 1;
    }
    return strcmp(stamp, PARTIAL) == 0 ? 2 : 0;
}

static int note_name(void *context, const char *name)
{
    struct names *names = context;
    if (classify(name, names->prefix) == 0 || names->count >= NAME_KEEP_MAX) {
        return 0;
    }
    if (names->count == names->capacity) {
        size_t capacity = names->capacity == 0 ? 16 : names->capacity * 2;
        void *grown = realloc(names->items, capacity * sizeof(*names->items));
        if (grown == NULL) {
            return WALKERDB_ENOMEM;
        }
        names->items = grown;
        names->capacity = capacity;
    }
    snprintf(names->items[names->count++], WDB_BACKUP_NAME_MAX, "%s", name);
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Our names in the directory, oldest first; free names->items. */
static int list_names(struct wdb_env *env, const struct wdb_backup_place *place,
                      struct names *names)
{
    *names = (struct names){.prefix = place->prefix};
    int code = env->ops->list(env, place->dir, note_name, names);
    if (code != 0) {
        free(names->items);
        return code;
    }
    if (names->count > 0) {
        qsort(names->items, names->count, sizeof(*names->items), compare_names);
    }
    return 0;
}

struct removal {
    struct wdb_env *env;
    const char *dir;
    int code;
};

static int remove_file(void *context, const char *name)
{
    struct removal *removal = context;
    char path[WDB_PATH_SIZE_MAX];
    int code = wdb_env_join(path, removal->dir, name);
    if (code == 0) {
        code = removal->env->ops->unlink(removal->env, path);
    }
    if (code != 0) {
        removal->code = code;
    }
    return 0;
}

/* A server was started in it: it is no backup any more. */
static bool was_opened(const struct wdb_context *context, const char *path)
{
    char lock[WDB_PATH_SIZE_MAX];
    struct wdb_file *file;
    struct wdb_env *env = context->env;
    if (wdb_env_join(lock, path, WDB_NAME_LOCK) != 0 ||
        env->ops->open(env, lock, WDB_OPEN_READ, &file) != 0) {
        return false;
    }
    env->ops->close(file);
    return true;
}

/* A backup is flat: files in one directory. */
static void remove_backup(const struct wdb_context *context, const char *dir,
                          const char *name)
{
    char path[WDB_PATH_SIZE_MAX];
    struct removal removal = {.env = context->env, .dir = path};
    int code = wdb_env_join(path, dir, name);
    if (code == 0 && was_opened(context, path)) {
        code = WALKERDB_EBUSY;
    }
    if (code == 0) {
        code =
            context->env->ops->list(context->env, path, remove_file, &removal);
    }
    if (code == 0) {
        code = removal.code;
    }
    if (code == 0) {
        code = context->env->ops->rmdir(context->env, path);
    }
    if (code == 0) {
        wdb_logger_print(context->logger, WDB_LOG_NOTICE, "Backup %s removed",
                         name);
    } else {
        wdb_logger_print(context->logger, WDB_LOG_WARNING,
                         "Backup %s can't be removed: %s", name,
                         walkerdb_strerror(code));
    }
}

/* --- the directory ---------------------------------------------------------------- */

static int choose_dir(const struct wdb_context *context,
                      char out[WDB_PATH_SIZE_MAX])
{
    char wanted[WDB_PATH_SIZE_MAX];
    size_t size = wdb_config_text(context->config, WDB_CONFIG_STORE_BACKUP_DIR,
                                  wanted, sizeof(wanted));
    if (size >= sizeof(wanted)) {
        return WALKERDB_ETOOBIG;
    }
    if (wanted[0] == '/') {
        memcpy(out, wanted, size + 1);
        return 0;
    }
    return wdb_env_join(out, wdb_log_dir(wdb_db_log(context->db)),
                        size == 0 ? DEFAULT_DIR : wanted);
}

int wdb_backup_place(struct wdb_context *context, struct wdb_backup_place *out)
{
    struct wdb_env *env = context->env;
    int code = choose_dir(context, out->dir);
    if (code != 0) {
        return code;
    }
    code = env->ops->mkdir(env, out->dir);
    if (code != 0 && code != WALKERDB_EEXISTS) {
        return code;
    }
    const uint64_t now_ms = env->ops->time_ms(env);
    const time_t now_s = (time_t)(now_ms / 1000);
    struct tm utc;
    gmtime_r(&now_s, &utc);
    snprintf(out->prefix, sizeof(out->prefix), "backup-%016llx-",
             (unsigned long long)wdb_log_nonce(wdb_db_log(context->db)));
    char stamp[24];
    strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &utc);
    snprintf(out->name, sizeof(out->name), "%s%s-%03u", out->prefix, stamp,
             (unsigned)(now_ms % 1000));
    char partial[WDB_BACKUP_NAME_MAX + sizeof(PARTIAL)];
    snprintf(partial, sizeof(partial), "%s%s", out->name, PARTIAL);
    code = wdb_env_join(out->path, out->dir, out->name);
    if (code == 0) {
        code = wdb_env_join(out->partial, out->dir, partial);
    }
    struct names names;
    if (code == 0) {
        code = list_names(env, out, &names);
    }
    if (code != 0) {
        return code;
    }
    for (size_t i = 0; i < names.count; i++) {
        if (classify(names.items[i], out->prefix) == 2) {
            remove_backup(context, out->dir, names.items[i]);
        }
    }
    free(names.items);
    return 0;
}

int wdb_backup_finish(struct wdb_context *context,
                      const struct wdb_backup_place *place)
{
    struct wdb_env *env = context->env;
    int code = env->ops->rename(env, place->partial, place->path);
    return code != 0 ? code : env->ops->sync_dir(env, place->dir);
}

void wdb_backup_prune(struct wdb_context *context,
                      const struct wdb_backup_place *place, uint64_t keep)
{
    struct names names;
    int code = list_names(context->env, place, &names);
    if (code != 0) {
        wdb_logger_print(context->logger, WDB_LOG_WARNING, "Backups in %s: %s",
                         place->dir, walkerdb_strerror(code));
        return;
    }
    uint64_t count = 0;
    for (size_t i = 0; i < names.count; i++) {
        count += classify(names.items[i], place->prefix) == 1;
    }
    for (size_t i = 0; i < names.count && count > keep; i++) {
        /* If the clock went back, the new one is not the last. */
        if (classify(names.items[i], place->prefix) == 1 &&
            strcmp(names.items[i], place->name) != 0) {
            remove_backup(context, place->dir, names.items[i]);
            count--;
        }
    }
    free(names.items);
}
