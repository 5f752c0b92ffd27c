/* split.c - a line into arguments, with quotes. */
#include "base/split.h"

struct cursor {
    struct wdb_slice line;
    size_t at;
    uint8_t *out;
    size_t size;
};

static uint8_t peek(const struct cursor *c, size_t ahead)
{
    return c->at + ahead < c->line.size ? c->line.data[c->at + ahead] : 0;
}

/* What isspace() says in the C locale, whatever the process's is. */
static bool is_blank(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static int hex_digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static void put(struct cursor *c, uint8_t byte)
{
    c->out[c->size++] = byte;
}

static uint8_t escaped(uint8_t byte)
{
    switch (byte) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return byte;
    }
}

/* A quote ends an argument only if nothing is glued to it. */
static bool ends_argument(const struct cursor *c)
{
    return peek(c, 1) == 0 || is_blank(peek(c, 1));
}

/* Inside "...": false if it never ends. Stops behind the closing quote. */
static bool read_double_quoted(struct cursor *c)
{
    for (;; c->at++) {
        uint8_t byte = peek(c, 0);
        if (byte == 0) {
            return false;
        }
        if (byte == '"') {
            bool good = ends_argument(c);
            c->at++;
            return good;
        }
        if (byte == '\\' && peek(c, 1) == 'x' && hex_digit(peek(c, 2)) >= 0 &&
            hex_digit(peek(c, 3)) >= 0) {
            put(c,
                (uint8_t)(hex_digit(peek(c, 2)) << 4 | hex_digit(peek(c, 3))));
            c->at += 3;
        } else if (byte == '\\' && peek(c, 1) != 0) {
            c->at++;
            put(c, escaped(peek(c, 0)));
        } else {
            put(c, byte);
        }
    }
}

static bool read_single_quoted(struct cursor *c)
{
    for (;; c->at++) {
        uint8_t byte = peek(c, 0);
        if (byte == 0) {
            return false;
        }
        if (byte == '\'') {
            bool good = ends_argument(c);
            c->at++;
            return good;
        }
        if (byte == '\\' && peek(c, 1) == '\'') {
            c->at++;
            byte = '\'';
        }
        put(c, byte);
    }
}

/* An argument that begins here, which may switch to quotes in the middle. */
static bool read_argument(struct cursor *c)
{
    for (;; c->at++) {
        uint8_t byte = peek(c, 0);
        switch (byte) {
        case ' ':
        case '\n':
        case '\r':
        case '\t':
        case 0:
            return true;
        case '"':
            c->at++;
            return read_double_quoted(c);
        case '\'':
            c->at++;
            return read_single_quoted(c);
        default:
            put(c, byte);
        }
    }
}

enum wdb_split_result wdb_split_next(struct wdb_slice line, size_t *position,
                                     uint8_t *out, size_t *size_out)
{
    struct cursor c = {.line = line, .at = *position, .out = out};
    while (is_blank(peek(&c, 0))) {
        c.at++;
    }
    if (peek(&c, 0) == 0) {
        *position = c.at;
        return WDB_SPLIT_END;
    }
    if (!read_argument(&c)) {
        return WDB_SPLIT_UNBALANCED;
    }
    *position = c.at;
    *size_out = c.size;
    return WDB_SPLIT_ARGUMENT;
}
