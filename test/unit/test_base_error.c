/* test_base_error.c - error names and texts, assertions, log lines. */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/logger.h"
#include "base/time.h"
#include "lib/test.h"
#include "walkerdb.h"

/* Every code of the table has its own name and text; others have none. */
TEST(error_names)
{
    CHECK_STR(walkerdb_error_name(WALKERDB_ENOTFOUND), "ENOTFOUND");
    CHECK_STR(walkerdb_strerror(WALKERDB_ENOTFOUND), "not found");
    CHECK_STR(walkerdb_error_name(0), "OK");
    CHECK_STR(walkerdb_strerror(0), "success");
    CHECK_STR(walkerdb_error_name(1), "EUNKNOWN");
    CHECK_STR(walkerdb_strerror(-1000), "unknown error");
#define CHECK_CODE(code, name, text)                                           \
    CHECK_STR(walkerdb_error_name(code), "E" #name);                           \
    CHECK_STR(walkerdb_strerror(code), text);                                  \
    CHECK((code) < 0);
    WALKERDB_ERRORS(CHECK_CODE)
#undef CHECK_CODE
}

/* The version's text and numbers agree. */
TEST(version)
{
    char text[32];
    snprintf(text, sizeof(text), "%d.%d.%d", WALKERDB_VERSION_MAJOR,
             WALKERDB_VERSION_MINOR, WALKERDB_VERSION_PATCH);
    CHECK_STR(walkerdb_version(), text);
}

/* Run in a child whose standard error is a pipe; what it printed. */
static int run_child(void (*run)(void), char *output, size_t output_size)
{
    int ends[2];
    if (pipe(ends) != 0) {
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        run();
        _exit(0);
    }
    close(ends[1]);
    size_t size = 0;
    ssize_t got;
    while (size + 1 < output_size &&
           (got = read(ends[0], output + size, output_size - size - 1)) > 0) {
        size += (size_t)got;
    }
    output[size] = '\0';
    close(ends[0]);
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

static void break_invariant(void)
{
    wdb_assert(1 + 1 == 3);
}

static void keep_invariant(void)
{
    wdb_assert(1 + 1 == 2);
    wdb_debug_assert(1 + 1 == 2);
}

/* A broken assertion tells its condition and place, and aborts. */
TEST(assert_aborts)
{
    char output[512];
    int status = run_child(break_invariant, output, sizeof(output));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK(strstr(output, "1 + 1 == 3") != NULL);
    CHECK(strstr(output, "test_base_error.c:") != NULL);
    CHECK(strstr(output, "break_invariant") != NULL);
    CHECK_EQ(run_child(keep_invariant, output, sizeof(output)), 0);
    CHECK_STR(output, "");
}

struct last_line {
    char text[2048];
    enum wdb_log_level level;
    int count;
};

static void keep_line(void *context, enum wdb_log_level level, const char *line)
{
    struct last_line *last = context;
    last->level = level;
    last->count++;
    snprintf(last->text, sizeof(last->text), "%s", line);
}

/* Lines below the level and loggers without a sink print nothing. */
TEST(logger_level)
{
    struct last_line last = {.count = 0};
    struct wdb_logger logger = {keep_line, &last, WDB_LOG_NOTICE};
    wdb_logger_print(&logger, WDB_LOG_VERBOSE, "quiet");
    CHECK_EQ(last.count, 0);
    wdb_logger_print(&logger, WDB_LOG_WARNING, "%s %d", "loud", 7);
    CHECK_EQ(last.count, 1);
    CHECK_EQ(last.level, WDB_LOG_WARNING);
    CHECK_STR(last.text, "loud 7");
    wdb_logger_print(NULL, WDB_LOG_WARNING, "nobody");
    logger.sink = NULL;
    wdb_logger_print(&logger, WDB_LOG_WARNING, "nowhere");
    CHECK_EQ(last.count, 1);
}

/* A line has at most 1,023 bytes, a cut one ends in dots; no line breaks. */
TEST(logger_line)
{
    struct last_line last = {.count = 0};
    struct wdb_logger logger = {keep_line, &last, WDB_LOG_DEBUG};
    wdb_logger_print(&logger, WDB_LOG_DEBUG, "a\r\nb\x7f%s", "\xc3\xa4");
    CHECK_STR(last.text, "a  b \xc3\xa4");
    wdb_logger_print(&logger, WDB_LOG_DEBUG, "%01023d", 5);
    CHECK_EQ(strlen(last.text), 1023);
    CHECK_STR(last.text + 1019, "0005");
    wdb_logger_print(&logger, WDB_LOG_DEBUG, "%01024d", 5);
    CHECK_EQ(strlen(last.text), 1023);
    CHECK_STR(last.text + 1019, "0...");
}

/* The units of time fit together. */
TEST(time_units)
{
    CHECK_EQ(WDB_NS_PER_S, WDB_NS_PER_MS * WDB_MS_PER_S);
    CHECK_EQ(WDB_NS_PER_S, WDB_NS_PER_US * WDB_US_PER_S);
    CHECK_EQ(WDB_US_PER_S, WDB_US_PER_MS * WDB_MS_PER_S);
}
