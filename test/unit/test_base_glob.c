/* test_base_glob.c - glob patterns, as Redis 7.0 matches them. */
#include "base/glob.h"
#include "lib/test.h"

static bool match(const char *pattern, const char *text)
{
    return wdb_glob_match(wdb_slice_str(pattern), wdb_slice_str(text), false);
}

static bool match_ignoring_case(const char *pattern, const char *text)
{
    return wdb_glob_match(wdb_slice_str(pattern), wdb_slice_str(text), true);
}

/* Bytes, question marks and stars. */
TEST(glob_simple)
{
    CHECK(match("", ""));
    CHECK(!match("", "a"));
    CHECK(match("abc", "abc"));
    CHECK(!match("abc", "ab"));
    CHECK(!match("ab", "abc"));
    CHECK(!match("abc", "abd"));
    CHECK(match("a?c", "abc"));
    CHECK(!match("a?c", "ac"));
    CHECK(!match("?", ""));
    CHECK(match("*", ""));
    CHECK(match("***", ""));
    CHECK(match("*", "anything"));
    CHECK(match("a*", "a"));
    CHECK(match("a*c", "abbbc"));
    CHECK(match("a*c", "acbc"));
    CHECK(!match("a*c", "abcd"));
    CHECK(match("*b*", "abc"));
    CHECK(match("**b**", "b"));
    CHECK(match("*?", "x"));
    CHECK(!match("*?", ""));
    CHECK(match("h*llo*w?rld", "heeeello, my world"));
    CHECK(!match("ABC", "abc"));
}

/* Classes, ranges and negation. */
TEST(glob_class)
{
    CHECK(match("h[ae]llo", "hallo"));
    CHECK(!match("h[ae]llo", "hillo"));
    CHECK(match("[a-c]", "b"));
    CHECK(match("[c-a]", "b"));
    CHECK(!match("[a-c]", "d"));
    CHECK(!match("[^a]", "a"));
    CHECK(match("[^a]", "b"));
    CHECK(!match("[^a]", ""));
    CHECK(!match("[^a-c]x", "bx"));
    CHECK(match("[a^]", "^"));
    CHECK(match("x[0-9][0-9]*", "x42y"));
    CHECK(match("*[ab]", "ccb"));
}

/* Classes without an end or without content. */
TEST(glob_class_corners)
{
    CHECK(match("[ab", "a"));
    CHECK(match("[ab", "b"));
    CHECK(!match("[ab", "c"));
    CHECK(match("[a-", "a"));
    CHECK(match("[a-", "-"));
    CHECK(!match("[a-", "b"));
    /* A range from 'a' down to ']', and then the class has no end. */
    CHECK(match("[a-]", "]"));
    CHECK(match("[a-]", "^"));
    CHECK(match("[a-]b]", "b"));
    CHECK(!match("[a-]b]", "c"));
    CHECK(!match("[]", "]"));
    CHECK(!match("[]", "a"));
    CHECK(!match("[", "["));
    CHECK(match("[^]", "a"));
    CHECK(match("[^", "a"));
    CHECK(match("[\\]]", "]"));
    CHECK(match("[\\", "\\"));
    CHECK(match("[\\]", "]"));
    CHECK(match("[a\\-z]", "-"));
    CHECK(!match("[a\\-z]", "b"));
}

/* A backslash takes the meaning from what follows; the last is itself. */
TEST(glob_escape)
{
    CHECK(match("\\*", "*"));
    CHECK(!match("\\*", "a"));
    CHECK(match("\\?\\[", "?["));
    CHECK(match("\\a", "a"));
    CHECK(match("\\", "\\"));
    CHECK(match("a\\", "a\\"));
    CHECK(!match("a\\", "a"));
    CHECK(match("*\\", "xx\\"));
    CHECK(match("\\\\", "\\"));
}

/* Letters of both cases are equal, but not behind a backslash in a class. */
TEST(glob_ignore_case)
{
    CHECK(match_ignoring_case("HeLLo*", "hEllO world"));
    CHECK(match_ignoring_case("[A-C]x", "bX"));
    CHECK(match_ignoring_case("[a-c]", "B"));
    CHECK(match_ignoring_case("[B]", "b"));
    CHECK(match_ignoring_case("\\a", "A"));
    CHECK(!match_ignoring_case("[\\a]", "A"));
    CHECK(!match_ignoring_case("[^A]", "a"));
}

/* Any byte may stand in pattern and text, zero and those above 127 too. */
TEST(glob_binary)
{
    CHECK(wdb_glob_match(wdb_slice("a\0*", 3), wdb_slice("a\0b\0", 4), false));
    CHECK(!wdb_glob_match(wdb_slice("a\0b", 3), wdb_slice("a\0c", 3), false));
    CHECK(match("[\x80-\xff]", "\xc3"));
    CHECK(!match("[\x80-\xff]", "a"));
    CHECK(wdb_glob_match(wdb_slice("*", 1), wdb_slice(NULL, 0), false));
    CHECK(wdb_glob_match(wdb_slice(NULL, 0), wdb_slice(NULL, 0), false));
}

/* By the definition, with recursion: what the iterative version must equal
 * for patterns of a, b, ? and *. */
static bool match_by_definition(const char *p, const char *t)
{
    if (*p == '\0') {
        return *t == '\0';
    }
    if (*p == '*') {
        return match_by_definition(p + 1, t) ||
               (*t != '\0' && match_by_definition(p, t + 1));
    }
    return *t != '\0' && (*p == '?' || *p == *t) &&
           match_by_definition(p + 1, t + 1);
}

static void fill_text(struct test_random *random, char *text, size_t size_max,
                      const char *letters)
{
    size_t size = test_random_below(random, size_max + 1);
    for (size_t i = 0; i < size; i++) {
        text[i] = letters[test_random_below(random, strlen(letters))];
    }
    text[size] = '\0';
}

/* Going back to the last star only never misses a match. */
TEST(glob_random)
{
    struct test_random random = {test_number("WDB_TEST_SEED", 1)};
    uint64_t rounds = test_number("WDB_TEST_ROUNDS", 100000);
    int matched = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        char pattern[9];
        char text[11];
        fill_text(&random, pattern, sizeof(pattern) - 1, "aab?**");
        fill_text(&random, text, sizeof(text) - 1, "aab");
        bool expected = match_by_definition(pattern, text);
        matched += expected;
        CHECK_EQ(match(pattern, text), expected);
    }
    CHECK(matched > 0);
}

/* Patterns that take exponential time by recursion take none to speak of. */
TEST(glob_many_stars_are_fast)
{
    static char pattern[2 * 500 + 2];
    static char text[10000 + 1];
    for (int i = 0; i < 500; i++) {
        memcpy(pattern + 2 * i, "a*", 2);
    }
    pattern[1000] = 'b';
    memset(text, 'a', sizeof(text) - 1);
    uint64_t start_ns = test_now_ns();
    CHECK(!match(pattern, text));
    CHECK(!match("*[^b]*[^b]*[^b]*[^b]*[^b]*[^b]*[^b]*[^b]*[^b]*b", text));
    CHECK(!match("?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*b", text));
    CHECK(test_now_ns() - start_ns < 2000000000);
}
