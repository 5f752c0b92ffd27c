/* check_peers_print.c - what --check-peers found, for people and for programs. */
#include <inttypes.h>
#include <string.h>

#include "server/check_peers_internal.h"

/* --- a table -------------------------------------------------------------------- */

static const char *mark(const struct wdb_check_port *port)
{
    return port->address[0] == '\0' ? "-"
           : port->is_good          ? "ok"
           : port->is_reached       ? "WRONG"
                                    : "NO";
}

static void print_row(const struct wdb_check_node *node, int width, FILE *out)
{
    char cluster[32] = "-", clock[32] = "-";
    if (node->is_known) {
        snprintf(cluster, sizeof(cluster), "%016" PRIx64,
                 node->party.cluster_id);
        snprintf(clock, sizeof(clock), "%+" PRId64 " ms",
                 node->clock_difference_ms);
    }
    if (node->is_known && node->party.cluster_id == 0) {
        snprintf(cluster, sizeof(cluster), "none yet");
    }
    fprintf(out, "%-*s  %-8s  %-5s  %-5s  %-16s  %-9s  %s\n", width,
            node->raft.address, node->raft.is_resolved ? "ok" : "NO",
            mark(&node->raft), mark(&node->tcp), cluster, clock,
            node->raft.is_good ? node->party.name : "-");
}

void wdb_check_peers_print(const struct wdb_check_result *result, FILE *out)
{
    int width = (int)strlen("raft address");
    for (int i = 0; i < result->count; i++) {
        int size = (int)strlen(result->nodes[i].raft.address);
        width = size > width ? size : width;
    }
    fprintf(out, "%-*s  %-8s  %-5s  %-5s  %-16s  %-9s  %s\n", width,
            "raft address", "resolves", "raft", "tcp", "cluster", "clock",
            "node");
    for (int i = 0; i < result->count; i++) {
        print_row(&result->nodes[i], width, out);
    }
    for (int i = 0; i < result->problem_count; i++) {
        fprintf(out, "%s\n", result->problems[i]);
    }
    if (result->problem_count == 0) {
        fprintf(out, "All is well.\n");
    }
}

/* --- JSON ------------------------------------------------------------------------- */

static void put_string(const char *text, FILE *out)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            fprintf(out, "\\%c", c);
        } else if (c < ' ' || c > '~') {
            fprintf(out, "\\u%04x", c);
        } else {
            fputc(c, out);
        }
    }
    fputc('"', out);
}

static void put_field(const char *name, const char *text, FILE *out)
{
    fprintf(out, ",\"%s\":", name);
    put_string(text, out);
}

static void put_port(const struct wdb_check_port *port, FILE *out)
{
    fprintf(out, "{\"ok\":%s", port->is_good ? "true" : "false");
    put_field("address", port->address, out);
    fprintf(out, ",\"resolves\":%s,\"reachable\":%s,\"addresses\":[",
            port->is_resolved ? "true" : "false",
            port->is_reached ? "true" : "false");
    for (int i = 0; i < port->resolved_count; i++) {
        fputs(i == 0 ? "" : ",", out);
        put_string(port->resolved[i], out);
    }
    fputs("]", out);
    put_field("error", port->error, out);
    fputs("}", out);
}

static void put_node(const struct wdb_check_node *node, FILE *out)
{
    fputs("{\"raft\":", out);
    put_port(&node->raft, out);
    fputs(",\"tcp\":", out);
    if (node->tcp.address[0] == '\0') {
        fputs("null", out);
    } else {
        put_port(&node->tcp, out);
    }
    if (node->is_known) {
        fprintf(out,
                ",\"id\":\"%016" PRIx64 "\",\"cluster_id\":\"%016" PRIx64
                "\",\"clock_difference_ms\":%" PRId64
                ",\"round_trip_ms\":%" PRId64,
                node->party.id, node->party.cluster_id,
                node->clock_difference_ms, node->round_trip_ms);
    }
    if (node->raft.is_good) {
        put_field("name", node->party.name, out);
        put_field("raft_address", node->party.raft_address, out);
        put_field("tcp_address", node->party.tcp_address, out);
    }
    fputs("}", out);
}

void wdb_check_peers_print_json(const struct wdb_check_result *result,
                                FILE *out)
{
    fprintf(out, "{\"ok\":%s,\"peers\":[",
            result->problem_count == 0 ? "true" : "false");
    for (int i = 0; i < result->count; i++) {
        fputs(i == 0 ? "" : ",", out);
        put_node(&result->nodes[i], out);
    }
    fputs("],\"problems\":[", out);
    for (int i = 0; i < result->problem_count; i++) {
        fputs(i == 0 ? "" : ",", out);
        put_string(result->problems[i], out);
    }
    fputs("]}\n", out);
}
