/* logger.c - formatting of log lines on the stack, without allocation. */
#include "base/logger.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_SIZE_MAX 1023

/* What a client sent may end up in a line: it must not forge a second one. */
static void blank_control_characters(char *line)
{
    for (; *line != '\0'; line++) {
        unsigned char c = (unsigned char)*line;
        if (c < 0x20 || c == 0x7f) {
            *line = ' ';
        }
    }
}

void wdb_logger_print(const struct wdb_logger *logger, enum wdb_log_level level,
                      const char *format, ...)
{
    if (logger == NULL || logger->sink == NULL ||
        level <
            atomic_load_explicit(&logger->level_min, memory_order_relaxed)) {
        return;
    }
    char line[LINE_SIZE_MAX + 1];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (length < 0) {
        return; /* an invalid wide character: nothing sensible to print */
    }
    if (length > LINE_SIZE_MAX) {
        memcpy(line + LINE_SIZE_MAX - 3, "...", 4);
    }
    blank_control_characters(line);
    logger->sink(logger->context, level, line);
}
