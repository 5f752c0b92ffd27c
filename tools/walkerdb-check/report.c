/* report.c - what the user sees: problems, notes, progress, the summary. */
#include "walkerdb-check/check.h"

#include <inttypes.h>
#include <stdarg.h>

#include "base/time.h"

#define SHOW_INTERVAL_NS (250 * (uint64_t)WDB_NS_PER_MS)
#define MESSAGE_SIZE     512

/* --- strings ---------------------------------------------------------------
 */

void check_print_json(FILE *out, struct wdb_slice bytes)
{
    fputc('"', out);
    for (size_t i = 0; i < bytes.size; i++) {
        const uint8_t c = bytes.data[i];
        if (c == '"' || c == '\\') {
            fputc('\\', out);
            fputc(c, out);
        } else if (c < 0x20 || c >= 0x7f) {
            fprintf(out, "\\u%04x", c);
        } else {
            fputc(c, out);
        }
    }
    fputc('"', out);
}

void check_print_text(FILE *out, struct wdb_slice bytes)
{
    fputc('"', out);
    for (size_t i = 0; i < bytes.size; i++) {
        const uint8_t c = bytes.data[i];
        if (c == '"' || c == '\\') {
            fputc('\\', out);
            fputc(c, out);
        } else if (c == '\n') {
            fputs("\\n", out);
        } else if (c == '\r') {
            fputs("\\r", out);
        } else if (c == '\t') {
            fputs("\\t", out);
        } else if (c < 0x20 || c >= 0x7f) {
            fprintf(out, "\\x%02x", c);
        } else {
            fputc(c, out);
        }
    }
    fputc('"', out);
}

/* --- problems and notes ----------------------------------------------------
 */

static void print_finding(struct check *check, const char *kind,
                          const char *file, uint64_t offset,
                          const char *message)
{
    check_progress_end(check);
    if (check->json) {
        fprintf(check->out, "{\"event\":\"%s\"", kind);
        if (file != NULL) {
            fputs(",\"file\":", check->out);
            check_print_json(check->out, wdb_slice_str(file));
        }
        if (offset != UINT64_MAX) {
            fprintf(check->out, ",\"offset\":%" PRIu64, offset);
        }
        fputs(",\"text\":", check->out);
        check_print_json(check->out, wdb_slice_str(message));
        fputs("}\n", check->out);
        return;
    }
    fprintf(check->out, "%s: ", kind);
    if (file != NULL) {
        fprintf(check->out, "%s: ", file);
    }
    if (offset != UINT64_MAX) {
        fprintf(check->out, "offset %" PRIu64 ": ", offset);
    }
    fprintf(check->out, "%s\n", message);
}

void check_problem(struct check *check, const char *file, uint64_t offset,
                   const char *format, ...)
{
    char message[MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    check->totals.problems++;
    print_finding(check, "problem", file, offset, message);
}

void check_note(struct check *check, const char *file, const char *format, ...)
{
    char message[MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    check->totals.notes++;
    print_finding(check, "note", file, UINT64_MAX, message);
}

int check_trouble(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("walkerdb-check: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return EXIT_TROUBLE;
}

/* --- progress --------------------------------------------------------------
 */

static void show_progress(struct check *check, uint64_t now_ns)
{
    const double seconds =
        (double)(now_ns - check->begun_ns) / (double)WDB_NS_PER_S;
    const double rate = seconds > 0 ? (double)check->bytes_done / seconds : 0;
    const double left =
        check->bytes_total > check->bytes_done && rate > 0
            ? (double)(check->bytes_total - check->bytes_done) / rate
            : 0;
    const double part =
        check->bytes_total == 0
            ? 100
            : 100 * (double)check->bytes_done / (double)check->bytes_total;
    fprintf(stderr, "\r%5.1f %%  %.0f of %.0f MiB  %.0f MiB/s  %.0f s left ",
            part > 100 ? 100 : part, (double)check->bytes_done / (1 << 20),
            (double)check->bytes_total / (1 << 20), rate / (1 << 20), left);
    fflush(stderr);
    check->line_shown = true;
}

void check_advance(struct check *check, uint64_t bytes)
{
    check->bytes_done += bytes;
    if (!check->progress) {
        return;
    }
    const uint64_t now_ns = check->env->ops->monotonic_ns(check->env);
    if (now_ns - check->shown_ns >= SHOW_INTERVAL_NS) {
        check->shown_ns = now_ns;
        show_progress(check, now_ns);
    }
}

void check_progress_end(struct check *check)
{
    if (check->line_shown) {
        fprintf(stderr, "\r%70s\r", "");
        fflush(stderr);
        check->line_shown = false;
    }
}

/* --- sizes -----------------------------------------------------------------
 */

struct size_text {
    char text[32];
};

static struct size_text size_text(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    struct size_text out;
    double size = (double)bytes;
    size_t unit = 0;
    while (size >= 10240 && unit + 1 < WDB_COUNT(units)) {
        size /= 1024;
        unit++;
    }
    snprintf(out.text, sizeof(out.text), "%.0f %s", size, units[unit]);
    return out;
}

/* --- summary ---------------------------------------------------------------
 */

static void summary_json(const struct check *check,
                         const struct check_key_totals *keys)
{
    const struct check_totals *t = &check->totals;
    FILE *out = check->out;
    fputs("{\"event\":\"summary\",\"dir\":", out);
    check_print_json(out, wdb_slice_str(check->dir));
    fprintf(out,
            ",\"clean\":%s,\"problems\":%" PRIu64 ",\"notes\":%" PRIu64
            ",\"segments\":%" PRIu64 ",\"hints\":%" PRIu64
            ",\"entries\":%" PRIu64 ",\"records\":%" PRIu64
            ",\"bytes\":%" PRIu64 ",\"regions_lost\":%" PRIu64
            ",\"bytes_lost\":%" PRIu64,
            t->problems == 0 ? "true" : "false", t->problems, t->notes,
            t->segments, t->hints, t->entries, t->records, t->bytes,
            t->regions_lost, t->bytes_lost);
    if (check->has_manifest) {
        fprintf(out,
                ",\"generation\":%" PRIu64 ",\"nonce\":\"%016" PRIx64
                "\",\"term\":%" PRIu64 ",\"cluster\":%s",
                check->manifest.generation, check->manifest.nonce,
                check->manifest.term,
                check->manifest.cluster ? "true" : "false");
    }
    fprintf(out,
            ",\"puts\":%" PRIu64 ",\"deletes\":%" PRIu64 ",\"expires\":%" PRIu64
            ",\"keys\":%" PRIu64 ",\"keys_with_expiry\":%" PRIu64
            ",\"elements\":%" PRIu64 ",\"tombstones\":%" PRIu64
            ",\"bytes_live\":%" PRIu64 ",\"databases\":{",
            t->records_of_kind[WDB_RECORD_PUT],
            t->records_of_kind[WDB_RECORD_DELETE],
            t->records_of_kind[WDB_RECORD_EXPIRE], keys->keys,
            keys->keys_with_expiry, keys->elements, keys->tombstones,
            keys->bytes_live);
    const char *comma = "";
    for (int i = 0; i < 16; i++) {
        if (keys->keys_of_database[i] != 0) {
            fprintf(out, "%s\"%d\":%" PRIu64, comma, i,
                    keys->keys_of_database[i]);
            comma = ",";
        }
    }
    fputs("}}\n", out);
}

static void summary_text(const struct check *check,
                         const struct check_key_totals *keys)
{
    const struct check_totals *t = &check->totals;
    FILE *out = check->out;
    fprintf(out, "\n%s\n", check->dir);
    if (check->has_manifest) {
        fprintf(out, "  manifest   generation %" PRIu64 "%s\n",
                check->manifest.generation,
                check->manifest.cluster ? ", of a cluster" : "");
    }
    check_cluster_print(check);
    for (size_t i = 0; i < check->segment_count; i++) {
        const struct check_segment *s = &check->segments[i];
        fprintf(out, "  %s  %s, ", s->name, s->m.sealed ? "sealed" : "open");
        if (s->record_count + s->entry_count == 0) {
            fputs("empty", out);
        } else {
            fprintf(out,
                    "%" PRIu64 " entries, %" PRIu64 " records, index %" PRIu64
                    " to %" PRIu64 ", %s of %s used",
                    s->entry_count, s->record_count, s->index_first,
                    s->index_last, size_text(s->end).text,
                    size_text(s->file_size).text);
        }
        fputs(s->problem_count != 0 ? "  DAMAGED\n" : "\n", out);
    }
    fprintf(out,
            "  records    %" PRIu64 " (%" PRIu64 " puts, %" PRIu64
            " deletes, %" PRIu64 " expiries) in %" PRIu64 " entries\n",
            t->records, t->records_of_kind[WDB_RECORD_PUT],
            t->records_of_kind[WDB_RECORD_DELETE],
            t->records_of_kind[WDB_RECORD_EXPIRE], t->entries);
    fprintf(out, "  keys       %" PRIu64 " (%" PRIu64 " with an expiry)",
            keys->keys, keys->keys_with_expiry);
    for (int i = 0; i < 16; i++) {
        if (keys->keys_of_database[i] != 0) {
            fprintf(out, "  db%d: %" PRIu64, i, keys->keys_of_database[i]);
        }
    }
    fprintf(out, "\n  live       %s of %s of records\n",
            size_text(keys->bytes_live).text, size_text(t->bytes).text);
    if (t->regions_lost != 0) {
        fprintf(out, "  lost       %" PRIu64 " regions, %s\n", t->regions_lost,
                size_text(t->bytes_lost).text);
    }
    if (t->problems == 0) {
        fputs("clean\n", out);
    } else {
        fprintf(out, "%" PRIu64 " problem%s\n", t->problems,
                t->problems == 1 ? "" : "s");
    }
}

void check_summary(struct check *check)
{
    struct check_key_totals keys = {0};
    check_progress_end(check);
    if (check_keys_count(check->keys, &keys) != 0) {
        check_note(check, NULL, "no memory to count the keys");
    }
    if (check->json) {
        check_cluster_print(check);
        summary_json(check, &keys);
    } else {
        summary_text(check, &keys);
    }
    fflush(check->out);
}
