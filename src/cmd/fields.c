/* fields.c - named values as a RESP map, or as JSON. */
#include "cmd/fields.h"

#include <inttypes.h>
#include <stdio.h>

static void add(struct wdb_fields *f, const char *text)
{
    if (f->code == 0) {
        f->code = wdb_buffer_append(&f->text, text, strlen(text));
    }
}

/* A string in quotes: names and addresses are printable, but may have quotes
 * and backslashes. */
static void add_string(struct wdb_fields *f, const char *text)
{
    add(f, "\"");
    for (const char *c = text; *c != '\0'; c++) {
        char out[8];
        if (*c == '"' || *c == '\\') {
            snprintf(out, sizeof(out), "\\%c", *c);
        } else if ((unsigned char)*c < ' ') {
            snprintf(out, sizeof(out), "\\u%04x", (unsigned char)*c);
        } else {
            snprintf(out, sizeof(out), "%c", *c);
        }
        add(f, out);
    }
    add(f, "\"");
}

/* What stands before a value. True: it is JSON. */
static bool begin(struct wdb_fields *f, const char *name)
{
    if (f->reply != NULL) {
        if (name != NULL) {
            wdb_reply_bulk_str(f->reply, name);
        }
        return false;
    }
    add(f, f->follows ? "," : "");
    if (name != NULL) {
        add_string(f, name);
        add(f, ":");
    }
    f->follows = true;
    return true;
}

void wdb_fields_map(struct wdb_fields *f, const char *name, size_t pairs)
{
    if (begin(f, name)) {
        add(f, "{");
        f->follows = false;
    } else {
        wdb_reply_map(f->reply, pairs);
    }
}

static void end(struct wdb_fields *f, const char *text)
{
    if (f->reply == NULL) {
        add(f, text);
        f->follows = true;
    }
}

void wdb_fields_map_end(struct wdb_fields *f)
{
    end(f, "}");
}

void wdb_fields_array(struct wdb_fields *f, const char *name, size_t count)
{
    if (begin(f, name)) {
        add(f, "[");
        f->follows = false;
    } else {
        wdb_reply_array(f->reply, count);
    }
}

void wdb_fields_array_end(struct wdb_fields *f)
{
    end(f, "]");
}

void wdb_fields_integer(struct wdb_fields *f, const char *name, int64_t value)
{
    char text[32];
    if (begin(f, name)) {
        snprintf(text, sizeof(text), "%" PRId64, value);
        add(f, text);
    } else {
        wdb_reply_integer(f->reply, value);
    }
}

void wdb_fields_text(struct wdb_fields *f, const char *name, const char *value)
{
    if (begin(f, name)) {
        add_string(f, value);
    } else {
        wdb_reply_bulk_str(f->reply, value);
    }
}

void wdb_fields_flag(struct wdb_fields *f, const char *name, bool value)
{
    if (begin(f, name)) {
        add(f, value ? "true" : "false");
    } else {
        wdb_reply_integer(f->reply, value);
    }
}

void wdb_fields_id(struct wdb_fields *f, const char *name, uint64_t id)
{
    char text[32];
    snprintf(text, sizeof(text), "%016" PRIx64, id);
    wdb_fields_text(f, name, id == 0 ? "" : text);
}
