/*
 * check_history.c - judges what clients wrote down.
 *
 *   check_history [--seconds N] [--json] FILE...
 *
 * test/sim/README.md tells what is in a file. Each file is a history of its
 * own. Exit code 1: a violation; 2: a file that cannot be read.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/check_append.h"
#include "sim/check_linear.h"

static int read_file(struct history *history, const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fprintf(stderr, "check_history: %s cannot be read\n", path);
        return 2;
    }
    char *line = NULL;
    size_t capacity = 0;
    uint64_t number = 0;
    ssize_t size;
    int code = 0;
    while (code == 0 && (size = getline(&line, &capacity, file)) >= 0) {
        const char *error;
        number++;
        size -= size > 0 && line[size - 1] == '\n';
        if (size > 0 &&
            history_parse(history, line, (size_t)size, &error) != 0) {
            fprintf(stderr, "%s:%" PRIu64 ": %s\n", path, number, error);
            code = 2;
        }
    }
    free(line);
    fclose(file);
    return code;
}

static uint64_t count_unknown(const struct history *history)
{
    uint64_t count = 0;
    for (size_t i = 0; i < history->count; i++) {
        count += history->ops[i].status == HISTORY_UNKNOWN;
    }
    return count;
}

static void show(const struct history *history,
                 const struct history_report *report, bool json)
{
    const uint64_t unknown = count_unknown(history);
    const uint64_t keys = report->passed + report->failed;
    if (report->text.size > 0) {
        fwrite(report->text.data, 1, report->text.size, stdout);
    }
    if (json) {
        printf("{\"keys\":%" PRIu64 ",\"operations\":%zu,\"unknown\":%" PRIu64
               ",\"undecided\":%" PRIu64 ",\"passed\":%" PRIu64
               ",\"failed\":%" PRIu64 "}\n",
               keys, history->count, unknown, report->undecided, report->passed,
               report->failed);
        return;
    }
    printf("keys %" PRIu64 ", operations %zu, unknown %" PRIu64
           ", undecided %" PRIu64 "\n",
           keys, history->count, unknown, report->undecided);
}

int main(int argc, char **argv)
{
    uint64_t seconds = 10, passed = 0, failed = 0;
    bool json = false;
    int files = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) {
            seconds = strtoull(argv[++i], NULL, 10);
            continue;
        }
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
            continue;
        }
        struct history history;
        struct history_report report = {0};
        history_init(&history);
        const int code = read_file(&history, argv[i]);
        if (code != 0) {
            return code;
        }
        check_linear(&history, seconds * CHECK_LINEAR_STEPS_A_SECOND, &report);
        check_append(&history, &report);
        show(&history, &report, json);
        passed += report.passed;
        failed += report.failed;
        history_report_release(&report);
        history_release(&history);
        files++;
    }
    if (files == 0) {
        fprintf(stderr,
                "usage: check_history [--seconds N] [--json] FILE...\n");
        return 2;
    }
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
