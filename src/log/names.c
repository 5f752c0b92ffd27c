/* names.c - makes file names and takes them apart. */
#include "log/names.h"

#include <inttypes.h>
#include <stdio.h>

#define ID_DIGITS 16
#define TRANSFER  ".transfer-"

void wdb_name_segment(char out[WDB_NAME_SIZE_MAX], uint64_t id,
                      enum wdb_segment_kind kind)
{
    snprintf(out, WDB_NAME_SIZE_MAX, "%016" PRIx64 ".%s", id,
             kind == WDB_SEGMENT_MERGED ? "mrg" : "log");
}

void wdb_name_hint(char out[WDB_NAME_SIZE_MAX], uint64_t id)
{
    snprintf(out, WDB_NAME_SIZE_MAX, "%016" PRIx64 ".hint", id);
}

void wdb_name_cut(char out[WDB_NAME_SIZE_MAX], uint64_t id, uint32_t number)
{
    snprintf(out, WDB_NAME_SIZE_MAX, "%016" PRIx64 ".cut-%" PRIu32, id, number);
}

/* 16 lower-case hex digits at *text; moves *text behind them. */
static bool parse_id(const char **text, uint64_t *out)
{
    uint64_t id = 0;
    for (int i = 0; i < ID_DIGITS; i++) {
        const char c = (*text)[i];
        if (c >= '0' && c <= '9') {
            id = id << 4 | (uint64_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            id = id << 4 | (uint64_t)(c - 'a' + 10);
        } else {
            return false;
        }
    }
    *text += ID_DIGITS;
    *out = id;
    return true;
}

/* A canonical decimal u32 that ends at `end`. */
static bool parse_number(const char *text, const char *end, uint32_t *out)
{
    uint64_t number = 0;
    if (text == end || end - text > 10 || (*text == '0' && end - text > 1)) {
        return false;
    }
    for (; text < end; text++) {
        if (*text < '0' || *text > '9') {
            return false;
        }
        number = number * 10 + (uint64_t)(*text - '0');
    }
    *out = (uint32_t)number;
    return number <= UINT32_MAX;
}

static bool is(const char *text, const char *end, const char *word)
{
    const size_t size = strlen(word);
    return (size_t)(end - text) == size && memcmp(text, word, size) == 0;
}

void wdb_name_transfer(char out[WDB_NAME_SIZE_MAX], uint64_t number)
{
    snprintf(out, WDB_NAME_SIZE_MAX, TRANSFER "%016" PRIx64, number);
}

bool wdb_name_is_transfer(const char *name)
{
    const size_t size = sizeof(TRANSFER) - 1;
    uint64_t number;
    if (strcmp(name, WDB_NAME_INCOMING) == 0) {
        return true;
    }
    if (strncmp(name, TRANSFER, size) != 0) {
        return false;
    }
    name += size;
    return parse_id(&name, &number) && *name == '\0';
}

static enum wdb_name_kind parse_suffix(const char *text, const char *end,
                                       uint32_t *number)
{
    static const char cut[] = ".cut-";
    const size_t cut_size = sizeof(cut) - 1;
    if (is(text, end, ".log")) {
        return WDB_NAME_KIND_LOG;
    }
    if (is(text, end, ".mrg")) {
        return WDB_NAME_KIND_MERGED;
    }
    if (is(text, end, ".hint")) {
        return WDB_NAME_KIND_HINT;
    }
    if ((size_t)(end - text) > cut_size && memcmp(text, cut, cut_size) == 0 &&
        parse_number(text + cut_size, end, number)) {
        return WDB_NAME_KIND_CUT;
    }
    return WDB_NAME_KIND_OTHER;
}

void wdb_name_parse(const char *name, struct wdb_name *out)
{
    static const char tmp[] = ".tmp";
    const size_t tmp_size = sizeof(tmp) - 1;
    const char *text = name;
    const char *end = name + strlen(name);
    struct wdb_name parsed = {.kind = WDB_NAME_KIND_OTHER};

    if ((size_t)(end - name) > tmp_size &&
        memcmp(end - tmp_size, tmp, tmp_size) == 0) {
        parsed.temporary = true;
        end -= tmp_size;
    }
    if (is(name, end, WDB_NAME_LOCK)) {
        parsed.kind = WDB_NAME_KIND_LOCK;
    } else if (is(name, end, WDB_NAME_MANIFEST)) {
        parsed.kind = WDB_NAME_KIND_MANIFEST;
    } else if (end - name > ID_DIGITS && parse_id(&text, &parsed.id)) {
        parsed.kind = parse_suffix(text, end, &parsed.number);
    }
    if (parsed.kind == WDB_NAME_KIND_OTHER) {
        parsed = (struct wdb_name){.kind = WDB_NAME_KIND_OTHER};
    }
    *out = parsed;
}
