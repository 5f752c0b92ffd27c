/*
 * glob.c - Redis's glob patterns without recursion.
 *
 * A star first stands for nothing; on a mismatch further on, the last star
 * takes one byte more. Going back to an earlier star is never needed: between
 * two stars the leftmost match leaves the most text for the rest.
 *
 * The corner cases are Redis's: a class that is not closed ends with the
 * pattern, so "[ab" matches "a"; a range needs its right end, so "[a-" is the
 * class of 'a' and '-'; "[]" matches nothing, "[^]" any byte; a backslash at
 * the end is itself; an escape in a class is compared with its case.
 */
#include "base/glob.h"

static uint8_t fold(uint8_t c, bool ignore_case)
{
    return ignore_case && c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

static bool in_range(uint8_t low, uint8_t high, uint8_t c, bool ignore_case)
{
    if (low > high) {
        uint8_t swap = low;
        low = high;
        high = swap;
    }
    c = fold(c, ignore_case);
    return c >= fold(low, ignore_case) && c <= fold(high, ignore_case);
}

/*
 * Match c with the class whose '[' is at p[*at]; *at moves behind its ']', or
 * to the end of the pattern.
 */
static bool match_class(struct wdb_slice p, size_t *at, uint8_t c,
                        bool ignore_case)
{
    size_t i = *at + 1;
    bool negated = i < p.size && p.data[i] == '^';
    bool found = false;
    if (negated) {
        i++;
    }
    while (i < p.size && p.data[i] != ']') {
        size_t left = p.size - i;
        if (p.data[i] == '\\' && left >= 2) {
            found |= p.data[i + 1] == c;
            i += 2;
        } else if (left >= 3 && p.data[i + 1] == '-') {
            found |= in_range(p.data[i], p.data[i + 2], c, ignore_case);
            i += 3;
        } else {
            found |= fold(p.data[i], ignore_case) == fold(c, ignore_case);
            i++;
        }
    }
    *at = i < p.size ? i + 1 : p.size;
    return found != negated;
}

/* Match c with the one-byte item at p[*at] (not a star); *at moves behind. */
static bool match_one(struct wdb_slice p, size_t *at, uint8_t c,
                      bool ignore_case)
{
    switch (p.data[*at]) {
    case '?':
        ++*at;
        return true;
    case '[':
        return match_class(p, at, c, ignore_case);
    case '\\':
        if (*at + 1 < p.size) {
            ++*at;
        }
        break;
    default:
        break;
    }
    return fold(p.data[(*at)++], ignore_case) == fold(c, ignore_case);
}

bool wdb_glob_match(struct wdb_slice pattern, struct wdb_slice text,
                    bool ignore_case)
{
    size_t at = 0;        /* in the pattern */
    size_t i = 0;         /* in the text */
    size_t star_next = 0; /* behind the last star; 0: none yet */
    size_t star_end = 0;  /* the text behind what that star stands for */

    while (i < text.size) {
        if (at < pattern.size && pattern.data[at] == '*') {
            star_next = ++at;
            star_end = i;
            if (at == pattern.size) {
                return true;
            }
        } else if (at < pattern.size &&
                   match_one(pattern, &at, text.data[i], ignore_case)) {
            i++;
        } else if (star_next != 0) {
            at = star_next;
            i = ++star_end;
        } else {
            return false;
        }
    }
    while (at < pattern.size && pattern.data[at] == '*') {
        at++;
    }
    return at == pattern.size;
}
