/*
 * config.c - the values of one server's settings.
 *
 * Two mutexes: `lock` guards the texts and is held for a copy only; `set_lock`
 * is held while somebody changes settings, apply hook included, so that two
 * CONFIG SETs and a REWRITE do not mix. Numbers are stored before the hook is
 * called: a reader may see a value that is then taken back.
 */
#include "admin/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "admin/config_internal.h"
#include "base/assert.h"
#include "base/glob.h"
#include "base/number.h"
#include "walkerdb.h"

#define IO_THREADS_DEFAULT_MAX 8

/* --- storing ------------------------------------------------------------------- */

/* Make `value` the one of `id`; *value becomes the old one. */
static void swap_value(struct wdb_config *config, enum wdb_config_id id,
                       struct wdb_config_value *value)
{
    struct wdb_config_private *p = config->p;
    const struct wdb_config_row *row = &wdb_config_rows[id];
    struct wdb_config_value old = {0};
    pthread_mutex_lock(&p->lock);
    old.number = wdb_config_i64(config, id);
    atomic_store_explicit(&config->numbers[id], value->number,
                          memory_order_relaxed);
    old.text = p->texts[id];
    p->texts[id] = value->text;
    if (row->kind == WDB_KIND_TEXT && row->shape == WDB_SHAPE_OUTPUT_LIMIT) {
        _Atomic int64_t *extra = &config->numbers[WDB_CONFIG_COUNT];
        for (int i = 0; i < WDB_CONFIG_EXTRA_COUNT; i++) {
            old.extra[i] = extra[i];
            extra[i] = value->extra[i];
        }
    }
    pthread_mutex_unlock(&p->lock);
    *value = old;
}

int wdb_config_copy(const struct wdb_config *config, enum wdb_config_id id,
                    struct wdb_config_value *out)
{
    struct wdb_config_private *p = config->p;
    struct wdb_config_value value = {0};
    pthread_mutex_lock(&p->lock);
    value.number = wdb_config_i64(config, id);
    for (int i = 0; i < WDB_CONFIG_EXTRA_COUNT; i++) {
        value.extra[i] = config->numbers[WDB_CONFIG_COUNT + i];
    }
    bool is_text = p->texts[id] != NULL;
    value.text = is_text ? strdup(p->texts[id]) : NULL;
    pthread_mutex_unlock(&p->lock);
    if (is_text && value.text == NULL) {
        return WALKERDB_ENOMEM;
    }
    *out = value;
    return 0;
}

int wdb_config_store(struct wdb_config *config, enum wdb_config_id id,
                     struct wdb_slice text, bool loading, char *error,
                     size_t error_size)
{
    struct wdb_config_value old, value;
    const char *reason = "out of memory";
    char room[WDB_CONFIG_ERROR_MAX];
    int code = wdb_config_copy(config, id, &old);
    if (code == 0) {
        code = wdb_config_value_parse(&wdb_config_rows[id], &old, text, loading,
                                      &value, &reason, room);
        free(old.text);
    }
    if (code != 0) {
        snprintf(error, error_size, "%s", reason);
        return code;
    }
    swap_value(config, id, &value);
    free(value.text);
    return 0;
}

int wdb_config_force(struct wdb_config *config, enum wdb_config_id id,
                     const char *value, char *error, size_t error_size)
{
    pthread_mutex_lock(&config->p->set_lock);
    int code = wdb_config_store(config, id, wdb_slice_str(value), false, error,
                                error_size);
    pthread_mutex_unlock(&config->p->set_lock);
    return code;
}

/* --- life ------------------------------------------------------------------------- */

static int64_t default_number(int id)
{
    if (id != WDB_CONFIG_IO_THREADS) {
        return wdb_config_rows[id].number;
    }
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores < 1) {
        return 1;
    }
    return cores < IO_THREADS_DEFAULT_MAX ? cores : IO_THREADS_DEFAULT_MAX;
}

static int set_defaults(struct wdb_config *config)
{
    for (int id = 0; id < WDB_CONFIG_COUNT; id++) {
        const struct wdb_config_row *row = &wdb_config_rows[id];
        char error[WDB_CONFIG_ERROR_MAX];
        config->p->defaults[id] = default_number(id);
        config->numbers[id] = config->p->defaults[id];
        if (row->kind != WDB_KIND_TEXT) {
            continue;
        }
        int code = wdb_config_store(config, id, wdb_slice_str(row->text), false,
                                    error, sizeof(error));
        wdb_assert(code == 0 || code == WALKERDB_ENOMEM);
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

int wdb_config_new(struct wdb_env *env, struct wdb_config **out)
{
    struct wdb_config *config = calloc(1, sizeof(*config));
    struct wdb_config_private *p = calloc(1, sizeof(*p));
    if (config == NULL || p == NULL) {
        free(config);
        free(p);
        return WALKERDB_ENOMEM;
    }
    config->p = p;
    p->env = env;
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->set_lock, NULL);
    p->file = strdup("");
    if (p->file == NULL || set_defaults(config) != 0) {
        wdb_config_free(config);
        return WALKERDB_ENOMEM;
    }
    *out = config;
    return 0;
}

void wdb_config_free(struct wdb_config *config)
{
    if (config == NULL) {
        return;
    }
    struct wdb_config_private *p = config->p;
    for (int id = 0; id < WDB_CONFIG_COUNT; id++) {
        free(p->texts[id]);
    }
    free(p->file);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->set_lock);
    free(p);
    free(config);
}

const char *wdb_config_file(const struct wdb_config *config)
{
    return config->p->file;
}

void wdb_config_on_apply(struct wdb_config *config, wdb_config_apply_cb apply,
                         void *context)
{
    pthread_mutex_lock(&config->p->set_lock);
    config->p->apply = apply;
    config->p->apply_context = context;
    pthread_mutex_unlock(&config->p->set_lock);
}

/* --- reading ------------------------------------------------------------------------ */

int wdb_config_append(const struct wdb_config *config, enum wdb_config_id id,
                      struct wdb_buffer *out)
{
    pthread_mutex_lock(&config->p->lock);
    int code =
        wdb_config_value_print(&wdb_config_rows[id], wdb_config_i64(config, id),
                               config->p->texts[id], out);
    pthread_mutex_unlock(&config->p->lock);
    return code;
}

size_t wdb_config_text(const struct wdb_config *config, enum wdb_config_id id,
                       char *out, size_t capacity)
{
    struct wdb_buffer text = WDB_BUFFER_INIT;
    size_t size = 0;
    if (wdb_config_rows[id].kind == WDB_KIND_TEXT) {
        pthread_mutex_lock(&config->p->lock);
        const char *value = config->p->texts[id];
        size = strlen(value);
        snprintf(out, capacity, "%s", value);
        pthread_mutex_unlock(&config->p->lock);
        return size;
    }
    out[0] = 0;
    if (wdb_config_append(config, id, &text) == 0) {
        size = text.size;
        snprintf(out, capacity, "%.*s", (int)size, (const char *)text.data);
    }
    wdb_buffer_release(&text);
    return size;
}

bool wdb_config_matches(const struct wdb_config *config, enum wdb_config_id id,
                        struct wdb_slice text)
{
    wdb_assert(wdb_config_rows[id].kind == WDB_KIND_TEXT);
    pthread_mutex_lock(&config->p->lock);
    const char *value = config->p->texts[id];
    size_t size = strlen(value);
    uint8_t different = size != text.size;
    for (size_t i = 0; i < text.size; i++) {
        /* Behind its end the value is read at the end again. */
        size_t at = i < size ? i : size;
        different |= (uint8_t)((uint8_t)value[at] ^ text.data[i]);
    }
    pthread_mutex_unlock(&config->p->lock);
    return different == 0;
}

size_t wdb_config_percentiles(const struct wdb_config *config, double *out,
                              size_t count)
{
    char text[1024];
    size_t found = 0;
    char *rest = text;
    wdb_config_text(config, WDB_CONFIG_LATENCY_TRACKING_INFO_PERCENTILES, text,
                    sizeof(text));
    while (found < count) {
        char *word = strsep(&rest, " ");
        if (word == NULL ||
            !wdb_parse_double(wdb_slice_str(word), &out[found])) {
            break;
        }
        found++;
    }
    return found;
}

/* --- CONFIG GET ----------------------------------------------------------------------- */

struct getter {
    const struct wdb_config *config;
    struct wdb_buffer text;
    bool shown[WDB_CONFIG_COUNT][2]; /* by name, by alias */
    wdb_config_get_cb callback;
    void *context;
};

static int show(struct getter *g, int id, int which, const char *name)
{
    if (g->shown[id][which]) {
        return 0;
    }
    g->shown[id][which] = true;
    wdb_buffer_clear(&g->text);
    int code = wdb_config_append(g->config, id, &g->text);
    if (code == 0) {
        g->callback(g->context, name, wdb_buffer_slice(&g->text));
    }
    return code;
}

static int show_matching(struct getter *g, struct wdb_slice pattern)
{
    int code = 0;
    for (int id = 0; id < WDB_CONFIG_COUNT && code == 0; id++) {
        const struct wdb_config_row *row = &wdb_config_rows[id];
        const char *names[2] = {row->name, row->alias};
        for (int i = 0; i < 2 && code == 0; i++) {
            if (names[i] != NULL && (row->flags & WDB_CONFIG_HIDDEN) == 0 &&
                wdb_glob_match(pattern, wdb_slice_str(names[i]), true)) {
                code = show(g, id, i, names[i]);
            }
        }
    }
    return code;
}

/* A name without wildcards is shown as it was asked for, as in Redis. */
static int show_named(struct getter *g, struct wdb_slice name)
{
    char text[64];
    int id = wdb_config_find(name);
    if (id < 0 || name.size >= sizeof(text)) {
        return 0;
    }
    snprintf(text, sizeof(text), "%.*s", (int)name.size,
             (const char *)name.data);
    bool is_alias = strcasecmp(text, wdb_config_rows[id].name) != 0;
    return show(g, id, is_alias, text);
}

int wdb_config_get(const struct wdb_config *config,
                   const struct wdb_slice *patterns, size_t count,
                   wdb_config_get_cb callback, void *context)
{
    struct getter g = {.config = config,
                       .callback = callback,
                       .context = context};
    int code = 0;
    for (size_t i = 0; i < count && code == 0; i++) {
        struct wdb_slice pattern = patterns[i];
        bool wild = false;
        for (size_t j = 0; j < pattern.size; j++) {
            wild = wild || strchr("[*?", pattern.data[j]) != NULL;
        }
        code = wild ? show_matching(&g, pattern) : show_named(&g, pattern);
    }
    wdb_buffer_release(&g.text);
    return code;
}

/* --- CONFIG SET ----------------------------------------------------------------------- */

struct change {
    int id;
    bool changed;
    struct wdb_config_value value; /* the new one; after swapping the old one */
};

struct setter {
    struct wdb_config *config;
    const struct wdb_slice *pairs;
    size_t count;
    bool local;
    struct change *changes;
    char *error;
    size_t error_size;
};

static int refuse(struct setter *s, struct wdb_slice name, const char *reason)
{
    snprintf(s->error, s->error_size,
             "CONFIG SET failed (possibly related to argument '%.*s') - %s",
             (int)(name.size > 128 ? 128 : name.size), (const char *)name.data,
             reason);
    return WALKERDB_EINVALID;
}

static bool guarded_allowed(const struct setter *s)
{
    int64_t guard =
        wdb_config_i64(s->config, WDB_CONFIG_ENABLE_PROTECTED_CONFIGS);
    return guard == WDB_GUARD_YES || (guard == WDB_GUARD_LOCAL && s->local);
}

static bool differs(const struct wdb_config_value *a,
                    const struct wdb_config_value *b)
{
    return a->number != b->number ||
           (a->text != NULL && strcmp(a->text, b->text) != 0);
}

/* The value is what the setting has: so what was shown can be set again, all of
 * it, whatever may be changed. */
static bool is_kept(const struct setter *s, int id, struct wdb_slice given)
{
    struct wdb_config_value old, new;
    const char *reason;
    char room[WDB_CONFIG_ERROR_MAX];
    if (wdb_config_copy(s->config, id, &old) != 0) {
        return false;
    }
    bool kept = false;
    if (wdb_config_value_parse(&wdb_config_rows[id], &old, given, false, &new,
                               &reason, room) == 0) {
        kept = !differs(&old, &new);
        free(new.text);
    }
    free(old.text);
    return kept;
}

/* Which settings are meant, and may they be changed? */
static int find_all(struct setter *s)
{
    for (size_t i = 0; i < s->count; i++) {
        struct wdb_slice name = s->pairs[2 * i];
        int id = wdb_config_find(name);
        if (id < 0) {
            snprintf(s->error, s->error_size,
                     "Unknown option or number of arguments for CONFIG SET - "
                     "'%.*s'",
                     (int)(name.size > 128 ? 128 : name.size),
                     (const char *)name.data);
            return WALKERDB_EINVALID;
        }
        uint32_t flags = wdb_config_rows[id].flags;
        bool fixed = (flags & WDB_CONFIG_FIXED) != 0;
        bool guarded = (flags & WDB_CONFIG_GUARDED) != 0 && !guarded_allowed(s);
        if ((fixed || guarded) && !is_kept(s, id, s->pairs[2 * i + 1])) {
            return refuse(s, name,
                          fixed ? "can't set immutable config"
                                : "can't set protected config");
        }
        for (size_t j = 0; j < i; j++) {
            if (s->changes[j].id == id) {
                return refuse(s, name, "duplicate parameter");
            }
        }
        s->changes[i].id = id;
    }
    return 0;
}

static int parse_all(struct setter *s)
{
    for (size_t i = 0; i < s->count; i++) {
        struct change *change = &s->changes[i];
        const struct wdb_config_row *row = &wdb_config_rows[change->id];
        struct wdb_config_value old;
        const char *reason = "out of memory";
        char room[WDB_CONFIG_ERROR_MAX];
        int code = wdb_config_copy(s->config, change->id, &old);
        if (code == 0) {
            code = wdb_config_value_parse(row, &old, s->pairs[2 * i + 1], false,
                                          &change->value, &reason, room);
            change->changed = code == 0 && differs(&old, &change->value);
            free(old.text);
        }
        if (code != 0) {
            (void)refuse(s, wdb_slice_str(row->name), reason);
            return code;
        }
    }
    return 0;
}

/* Take the values and tell the hook; if it refuses, take all of them back. */
static int take_all(struct setter *s)
{
    struct wdb_config_private *p = s->config->p;
    char reason[WDB_CONFIG_ERROR_MAX] = "", ignored[WDB_CONFIG_ERROR_MAX];
    for (size_t i = 0; i < s->count; i++) {
        swap_value(s->config, s->changes[i].id, &s->changes[i].value);
    }
    for (size_t i = 0; i < s->count && p->apply != NULL; i++) {
        if (!s->changes[i].changed ||
            p->apply(p->apply_context, s->changes[i].id, reason,
                     sizeof(reason)) == 0) {
            continue;
        }
        for (size_t j = 0; j < s->count; j++) {
            swap_value(s->config, s->changes[j].id, &s->changes[j].value);
        }
        for (size_t j = 0; j <= i; j++) {
            if (s->changes[j].changed) {
                (void)p->apply(p->apply_context, s->changes[j].id, ignored,
                               sizeof(ignored));
            }
        }
        return refuse(s, wdb_slice_str(wdb_config_rows[s->changes[i].id].name),
                      reason);
    }
    return 0;
}

int wdb_config_set(struct wdb_config *config, const struct wdb_slice *pairs,
                   size_t count, bool local, char *error, size_t error_size)
{
    struct setter s = {
        .config = config,
        .pairs = pairs,
        .count = count,
        .local = local,
        .changes = calloc(count + 1, sizeof(struct change)),
        .error = error,
        .error_size = error_size,
    };
    if (s.changes == NULL) {
        snprintf(error, error_size, "out of memory");
        return WALKERDB_ENOMEM;
    }
    pthread_mutex_lock(&config->p->set_lock);
    int code = find_all(&s);
    if (code == 0) {
        code = parse_all(&s);
    }
    if (code == 0) {
        code = take_all(&s);
    }
    pthread_mutex_unlock(&config->p->set_lock);
    for (size_t i = 0; i < count; i++) {
        free(s.changes[i].value.text);
    }
    free(s.changes);
    return code;
}

int wdb_config_idle_names(const struct wdb_config *config,
                          struct wdb_buffer *out)
{
    int code = 0;
    for (int id = 0; id < WDB_CONFIG_COUNT && code == 0; id++) {
        const struct wdb_config_row *row = &wdb_config_rows[id];
        if ((row->flags & WDB_CONFIG_IDLE) == 0) {
            continue;
        }
        pthread_mutex_lock(&config->p->lock);
        bool is_default =
            row->kind == WDB_KIND_TEXT
                ? strcmp(config->p->texts[id], row->text) == 0
                : wdb_config_i64(config, id) == config->p->defaults[id];
        pthread_mutex_unlock(&config->p->lock);
        if (!is_default) {
            code = wdb_buffer_printf(out, "%s%s", out->size == 0 ? "" : ", ",
                                     row->name);
        }
    }
    return code;
}
