/* number.h - numbers as Redis reads and writes them. */
#ifndef WDB_BASE_NUMBER_H
#define WDB_BASE_NUMBER_H

#include "base/slice.h"

/* Longest text of a 64-bit integer, with sign, without terminator. */
#define WDB_INT64_TEXT_MAX 20

/* True and *out set iff text is the canonical decimal form of an int64 (no
 * spaces, no plus, no leading zeros, no "-0"). */
bool wdb_parse_int64(struct wdb_slice text, int64_t *out);
bool wdb_parse_uint64(struct wdb_slice text, uint64_t *out);
/* A double or long double as strtod reads it, whole text, no blanks, no NaN;
 * "inf", "+inf", "-infinity" allowed. False on anything else, also on ranges
 * that overflow. */
bool wdb_parse_double(struct wdb_slice text, double *out);
bool wdb_parse_long_double(struct wdb_slice text, long double *out);
/* A size with a unit as in redis.conf (1k = 1000, 1kb = 1024, ... gb). */
bool wdb_parse_size(struct wdb_slice text, uint64_t *out);
/* Write decimal digits to out (at least 20 bytes); returns the length. */
size_t wdb_format_int64(char *out, int64_t value);
size_t wdb_format_uint64(char *out, uint64_t value);
/* The form that Redis 7.0 gives a score: "%.17g" (so 0.1 is written
 * 0.10000000000000001), "inf", "-inf", "nan"; out at least 128 bytes. */
size_t wdb_format_double(char *out, double value);
/* As Redis's ld2string human mode (INCRBYFLOAT): %.17Lf without trailing
 * zeros; out at least 5120 bytes. */
size_t wdb_format_long_double(char *out, long double value);

#endif
