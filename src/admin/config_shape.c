/*
 * config_shape.c - settings whose text has a form of its own.
 *
 * Each function reads the words of a value, says what is wrong in Redis's
 * words, and writes the text in one canonical form.
 */
#include <stdlib.h>
#include <strings.h>

#include "admin/config_internal.h"
#include "base/number.h"
#include "walkerdb.h"

#define WORDS_MAX 64

struct words {
    struct wdb_slice at[WORDS_MAX];
    size_t count;
};

/* Split at blanks; false if there are too many. */
static bool split(struct wdb_slice text, struct words *words)
{
    words->count = 0;
    for (size_t i = 0; i < text.size;) {
        size_t start = i;
        while (i < text.size && text.data[i] != ' ' && text.data[i] != '\t') {
            i++;
        }
        if (i > start) {
            if (words->count == WORDS_MAX) {
                return false;
            }
            words->at[words->count++] = wdb_slice(text.data + start, i - start);
        }
        i++;
    }
    return true;
}

static int join(const struct words *words, struct wdb_buffer *out)
{
    int code = 0;
    for (size_t i = 0; i < words->count && code == 0; i++) {
        code = wdb_buffer_printf(out, "%s%.*s", i == 0 ? "" : " ",
                                 (int)words->at[i].size,
                                 (const char *)words->at[i].data);
    }
    return code;
}

static bool is_word(struct wdb_slice text, const char *word)
{
    return text.size == strlen(word) &&
           strncasecmp((const char *)text.data, word, text.size) == 0;
}

/* What a function below works on. */
struct shape {
    struct words words;
    struct wdb_slice given;
    const struct wdb_config_value *old;
    bool loading;
    struct wdb_config_value value; /* number and extra */
    struct wdb_buffer text;
    const char *error;
};

static int bad(struct shape *s, const char *error)
{
    s->error = error;
    return WALKERDB_EINVALID;
}

static int shape_any(struct shape *s)
{
    return wdb_buffer_append(&s->text, s->given.data, s->given.size);
}

static int shape_empty(struct shape *s)
{
    return s->given.size == 0 ? 0 : bad(s, "it is not supported");
}

static int shape_dir(struct shape *s)
{
    return s->given.size == 0 ? bad(s, "it must not be empty") : shape_any(s);
}

static int shape_file_name(struct shape *s)
{
    if (s->given.size == 0 || memchr(s->given.data, '/', s->given.size)) {
        return bad(s, "it can't be a path, just a filename");
    }
    return shape_any(s);
}

static int shape_bind(struct shape *s)
{
    if (s->words.count > 16) {
        return bad(s, "Too many bind addresses specified.");
    }
    return join(&s->words, &s->text);
}

static int shape_save(struct shape *s)
{
    const struct words *words = &s->words;
    if (words->count % 2 != 0) {
        return bad(s, "Invalid save parameters");
    }
    for (size_t i = 0; i < words->count; i++) {
        int64_t number;
        if (!wdb_parse_int64(words->at[i], &number) ||
            number < (i % 2 == 0 ? 1 : 0)) {
            return bad(s, "Invalid save parameters");
        }
    }
    /* Lines of a file add up; an empty one begins anew. */
    const char *before =
        s->loading && words->count > 0 && s->old != NULL ? s->old->text : "";
    int code =
        wdb_buffer_printf(&s->text, "%s%s", before, before[0] == 0 ? "" : " ");
    return code == 0 ? join(words, &s->text) : code;
}

static const char *const output_classes[] = {"normal", "slave", "pubsub"};

static int output_class(struct wdb_slice word)
{
    if (is_word(word, "replica")) {
        return 1;
    }
    for (int i = 0; i < (int)WDB_COUNT(output_classes); i++) {
        if (is_word(word, output_classes[i])) {
            return i;
        }
    }
    return -1;
}

static int shape_output_limit(struct shape *s)
{
    const struct words *words = &s->words;
    if (words->count == 0 || words->count % 4 != 0) {
        return bad(s, "Wrong number of arguments in buffer limit "
                      "configuration.");
    }
    if (s->old != NULL) {
        memcpy(s->value.extra, s->old->extra, sizeof(s->value.extra));
    }
    for (size_t i = 0; i < words->count; i += 4) {
        uint64_t hard, soft;
        int64_t seconds;
        int class = output_class(words->at[i]);
        if (class < 0) {
            return bad(s, "Invalid client class specified in buffer limit "
                          "configuration.");
        }
        if (!wdb_parse_size(words->at[i + 1], &hard) || hard > INT64_MAX ||
            !wdb_parse_size(words->at[i + 2], &soft) || soft > INT64_MAX ||
            !wdb_parse_int64(words->at[i + 3], &seconds) || seconds < 0) {
            return bad(s, "Error in hard, soft or soft_seconds setting in "
                          "buffer limit configuration.");
        }
        int64_t *limit = s->value.extra + (size_t) class * 3;
        limit[0] = (int64_t)hard;
        limit[1] = (int64_t)soft;
        limit[2] = seconds;
    }
    int code = 0;
    for (size_t i = 0; i < WDB_COUNT(output_classes) && code == 0; i++) {
        const int64_t *limit = s->value.extra + i * 3;
        code = wdb_buffer_printf(&s->text, "%s%s %lld %lld %lld",
                                 i == 0 ? "" : " ", output_classes[i],
                                 (long long)limit[0], (long long)limit[1],
                                 (long long)limit[2]);
    }
    return code;
}

static int shape_oom_values(struct shape *s)
{
    if (s->words.count != 3) {
        return bad(s, "wrong number of arguments");
    }
    for (size_t i = 0; i < 3; i++) {
        int64_t number;
        if (!wdb_parse_int64(s->words.at[i], &number) || number < -2000 ||
            number > 2000) {
            return bad(s, "Invalid oom-score-adj-values, elements must be "
                          "between -2000 and 2000.");
        }
    }
    return join(&s->words, &s->text);
}

static int shape_percentiles(struct shape *s)
{
    int code = 0;
    for (size_t i = 0; i < s->words.count && code == 0; i++) {
        double number;
        if (!wdb_parse_double(s->words.at[i], &number)) {
            return bad(s, "Invalid latency-tracking-info-percentiles "
                          "parameters");
        }
        if (number < 0.0 || number > 100.0) {
            return bad(s, "latency-tracking-info-percentiles parameters should "
                          "sit between [0.0,100.0]");
        }
        code = wdb_buffer_printf(&s->text, "%s%.6f", i == 0 ? "" : " ", number);
        while (code == 0 && s->text.data[s->text.size - 1] == '0') {
            s->text.size--;
        }
        if (code == 0 && s->text.data[s->text.size - 1] == '.') {
            s->text.size--;
        }
    }
    return code;
}

static const struct {
    char letter;
    uint32_t bit;
} notify_letters[] = {
    {'g', WDB_NOTIFY_GENERIC},  {'$', WDB_NOTIFY_STRING},
    {'l', WDB_NOTIFY_LIST},     {'s', WDB_NOTIFY_SET},
    {'h', WDB_NOTIFY_HASH},     {'z', WDB_NOTIFY_ZSET},
    {'x', WDB_NOTIFY_EXPIRED},  {'e', WDB_NOTIFY_EVICTED},
    {'t', WDB_NOTIFY_STREAM},   {'d', WDB_NOTIFY_MODULE},
    {'n', WDB_NOTIFY_NEW},      {'K', WDB_NOTIFY_KEYSPACE},
    {'E', WDB_NOTIFY_KEYEVENT}, {'m', WDB_NOTIFY_MISS},
};
#define NOTIFY_ALL_COUNT 10 /* of the first ones: what A stands for */

static uint32_t notify_all(void)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < NOTIFY_ALL_COUNT; i++) {
        bits |= notify_letters[i].bit;
    }
    return bits;
}

static int shape_notify(struct shape *s)
{
    uint32_t bits = 0, all = notify_all();
    for (size_t i = 0; i < s->given.size; i++) {
        uint32_t bit = s->given.data[i] == 'A' ? all : 0;
        for (size_t j = 0; j < WDB_COUNT(notify_letters); j++) {
            if (s->given.data[i] == notify_letters[j].letter) {
                bit = notify_letters[j].bit;
            }
        }
        if (bit == 0) {
            return bad(s, "Invalid event class character. Use "
                          "'Ag$lszhxeKEtmdn'.");
        }
        bits |= bit;
    }
    s->value.number = bits;
    int code = 0;
    size_t first = 0;
    if ((bits & all) == all) {
        code = wdb_buffer_append(&s->text, "A", 1);
        first = NOTIFY_ALL_COUNT;
    }
    for (size_t i = first; i < WDB_COUNT(notify_letters) && code == 0; i++) {
        /* As Redis: n is not shown beside A. */
        bool hidden = first > 0 && notify_letters[i].letter == 'n';
        if ((bits & notify_letters[i].bit) != 0 && !hidden) {
            code = wdb_buffer_append(&s->text, &notify_letters[i].letter, 1);
        }
    }
    return code;
}

static int shape_signal(struct shape *s)
{
    static const char *const names[] = {"default", "save", "nosave", "now",
                                        "force"};
    for (size_t i = 0; i < s->words.count; i++) {
        size_t j = 0;
        while (j < WDB_COUNT(names) && !is_word(s->words.at[i], names[j])) {
            j++;
        }
        if (j == WDB_COUNT(names)) {
            return bad(s, "argument(s) must be one of the following: default, "
                          "save, nosave, now, force");
        }
        s->value.number |= j == 0 ? 0 : 1 << (j - 1);
    }
    if (s->words.count == 0) {
        return bad(s, "wrong number of arguments");
    }
    if ((s->value.number & 3) == 3) {
        return bad(s, "shutdown-on-sigint and shutdown-on-sigterm cannot be "
                      "both save and nosave");
    }
    return join(&s->words, &s->text);
}

static int (*const shapes[])(struct shape *) = {
    [WDB_SHAPE_ANY] = shape_any,
    [WDB_SHAPE_EMPTY] = shape_empty,
    [WDB_SHAPE_BIND] = shape_bind,
    [WDB_SHAPE_DIR] = shape_dir,
    [WDB_SHAPE_FILE_NAME] = shape_file_name,
    [WDB_SHAPE_SAVE] = shape_save,
    [WDB_SHAPE_OUTPUT_LIMIT] = shape_output_limit,
    [WDB_SHAPE_OOM_VALUES] = shape_oom_values,
    [WDB_SHAPE_PERCENTILES] = shape_percentiles,
    [WDB_SHAPE_NOTIFY] = shape_notify,
    [WDB_SHAPE_SIGNAL] = shape_signal,
};

int wdb_config_shape_parse(const struct wdb_config_row *row,
                           const struct wdb_config_value *old,
                           struct wdb_slice given, bool loading,
                           struct wdb_config_value *out, const char **error_out)
{
    struct shape s = {.given = given, .old = old, .loading = loading};
    if ((row->flags & WDB_CONFIG_WORDS) != 0 && !split(given, &s.words)) {
        *error_out = "too many arguments";
        return WALKERDB_EINVALID;
    }
    int code = shapes[row->shape](&s);
    if (code == 0) {
        code = wdb_buffer_append(&s.text, "", 1);
    }
    if (code != 0) {
        wdb_buffer_release(&s.text);
        *error_out = s.error == NULL ? "out of memory" : s.error;
        return code;
    }
    if (row->shape != WDB_SHAPE_NOTIFY && row->shape != WDB_SHAPE_SIGNAL) {
        s.value.number = s.text.size > 1;
    }
    *out = s.value;
    out->text = (char *)s.text.data;
    return 0;
}
