/* check_peers.c - the option --check-peers: its words, and what is wrong. */
#include "server/check_peers.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "server/check_peers_internal.h"
#include "walkerdb.h"

/* --- the command line ----------------------------------------------------------- */

static const char *without_dashes(const char *word)
{
    return word[0] != '-' ? "" : word + (word[1] == '-' ? 2 : 1);
}

static bool is_peer(const char *word)
{
    return word[0] != '-' && word[0] != '/' && word[0] != '.' &&
           strchr(word, ':') != NULL;
}

static int add_word(struct wdb_check_peers *check, const char *word,
                    const char **message_out)
{
    if (check->count == WDB_CHECK_PEERS_MAX) {
        *message_out = "--check-peers: too many nodes";
        return WALKERDB_EINVALID;
    }
    check->words[check->count++] = word;
    return 0;
}

int wdb_check_peers_take(int *argc, char **argv, struct wdb_check_peers *out,
                         const char **message_out)
{
    static const char name[] = "check-peers";
    struct wdb_check_peers check = {.is_wanted = false};
    int kept = 1, code = 0;
    for (int i = 1; i < *argc && code == 0; i++) {
        const char *option = without_dashes(argv[i]);
        const char *value = NULL;
        if (strncmp(option, name, strlen(name)) == 0) {
            value = option + strlen(name);
        }
        if (value == NULL || (value[0] != '\0' && value[0] != '=')) {
            argv[kept++] = argv[i];
            continue;
        }
        check.is_wanted = true;
        if (value[0] == '=') {
            code = add_word(&check, value + 1, message_out);
        }
        while (code == 0 && i + 1 < *argc && is_peer(argv[i + 1])) {
            code = add_word(&check, argv[++i], message_out);
        }
    }
    if (code != 0 || !check.is_wanted) {
        *out = check;
        return code;
    }
    *argc = kept;
    kept = 1;
    for (int i = 1; i < *argc; i++) {
        if (strcmp(without_dashes(argv[i]), "json") == 0) {
            check.as_json = true;
        } else {
            argv[kept++] = argv[i];
        }
    }
    *argc = kept;
    if (check.count == 0) {
        *message_out = "--check-peers needs HOST:RAFTPORT[,HOST:TCPPORT]...";
        return WALKERDB_EINVALID;
    }
    *out = check;
    return 0;
}

/* --- asking all ------------------------------------------------------------------- */

static void *ask(void *node)
{
    wdb_check_peers_ask(node);
    return NULL;
}

static void ask_all(struct wdb_check_result *result)
{
    pthread_t threads[WDB_CHECK_PEERS_MAX];
    bool has_thread[WDB_CHECK_PEERS_MAX];
    for (int i = 0; i < result->count; i++) {
        has_thread[i] =
            pthread_create(&threads[i], NULL, ask, &result->nodes[i]) == 0;
    }
    for (int i = 0; i < result->count; i++) {
        if (has_thread[i]) {
            pthread_join(threads[i], NULL);
        } else {
            wdb_check_peers_ask(&result->nodes[i]);
        }
    }
}

/* "HOST:RAFTPORT" or "HOST:RAFTPORT,HOST:TCPPORT". */
static void split(const char *word, struct wdb_check_node *node)
{
    size_t first = strcspn(word, ",");
    const char *second = word[first] == '\0' ? "" : word + first + 1;
    snprintf(node->raft.address, sizeof(node->raft.address), "%.*s", (int)first,
             word);
    snprintf(node->tcp.address, sizeof(node->tcp.address), "%s", second);
}

/* --- what is wrong ---------------------------------------------------------------- */

static void add_problem(struct wdb_check_result *result, const char *format,
                        ...) WDB_PRINTF(2, 3);

static void add_problem(struct wdb_check_result *result, const char *format,
                        ...)
{
    va_list arguments;
    int room = (int)WDB_COUNT(result->problems);
    if (result->problem_count < room) {
        va_start(arguments, format);
        vsnprintf(result->problems[result->problem_count++],
                  sizeof(result->problems[0]), format, arguments);
        va_end(arguments);
    }
}

static void judge_node(struct wdb_check_result *result,
                       const struct wdb_check_node *node)
{
    int64_t difference = node->clock_difference_ms;
    if (!node->raft.is_good) {
        add_problem(result, "%s", node->raft.error);
    }
    if (node->tcp.address[0] != '\0' && !node->tcp.is_good) {
        add_problem(result, "%s", node->tcp.error);
    }
    if (node->is_known &&
        (difference > WDB_CHECK_CLOCK_MS + node->round_trip_ms ||
         difference < -WDB_CHECK_CLOCK_MS - node->round_trip_ms)) {
        add_problem(result,
                    "%s: its clock is %+" PRId64 " ms off ours: keys expire "
                    "at another time when it leads; use NTP",
                    node->raft.address, difference);
    }
}

/* Nodes that contradict each other. */
static void judge_pairs(struct wdb_check_result *result)
{
    const struct wdb_check_node *first = NULL;
    for (int i = 0; i < result->count; i++) {
        const struct wdb_check_node *node = &result->nodes[i];
        if (!node->is_known) {
            continue;
        }
        for (int j = 0; j < i; j++) {
            const struct wdb_check_node *other = &result->nodes[j];
            if (other->is_known && other->party.id == node->party.id) {
                add_problem(result,
                            "%s and %s are the same node (%016" PRIx64 "), or "
                            "copies of one: each needs a directory of its own",
                            other->raft.address, node->raft.address,
                            node->party.id);
            }
        }
        if (node->party.cluster_id == 0) {
            continue;
        }
        if (first == NULL) {
            first = node;
        } else if (first->party.cluster_id != node->party.cluster_id) {
            add_problem(result,
                        "%s is in cluster %016" PRIx64 ", but %s in cluster "
                        "%016" PRIx64,
                        first->raft.address, first->party.cluster_id,
                        node->raft.address, node->party.cluster_id);
        }
    }
}

static void name_self(struct wdb_env *env, struct wdb_handshake_options *out)
{
    memset(out, 0, sizeof(*out));
    memcpy(out->self.name, "check-peers", sizeof("check-peers"));
    out->purpose = WDB_PURPOSE_PROBE;
    while (out->self.id == 0) {
        env->ops->random(env, &out->self.id, sizeof(out->self.id));
    }
}

int wdb_check_peers_run(const struct wdb_check_peers *check,
                        struct wdb_env *env, const struct wdb_config *config)
{
    char dir[WDB_PATH_SIZE_MAX];
    char *message = NULL;
    struct wdb_handshake_options handshake;
    struct wdb_check_result *result = calloc(1, sizeof(*result));
    struct wdb_check_node *nodes = calloc((size_t)check->count, sizeof(*nodes));
    if (result == NULL || nodes == NULL) {
        free(result);
        free(nodes);
        fputs("walkerdb: out of memory\n", stderr);
        return 1;
    }
    result->nodes = nodes;
    result->count = check->count;
    name_self(env, &handshake);
    wdb_peer_secret_dir(config, dir);
    handshake.secret_dir = dir;
    if (wdb_peer_secret_load(dir, &handshake.secret, &message) != 0) {
        add_problem(result, "%s",
                    message == NULL ? "can't read the secret" : message);
    }
    free(message);
    for (int i = 0; i < check->count; i++) {
        nodes[i].env = env;
        nodes[i].handshake = &handshake;
        split(check->words[i], &nodes[i]);
    }
    ask_all(result);
    for (int i = 0; i < check->count; i++) {
        judge_node(result, &nodes[i]);
    }
    judge_pairs(result);
    if (check->as_json) {
        wdb_check_peers_print_json(result, stdout);
    } else {
        wdb_check_peers_print(result, stdout);
    }
    int exit_code = result->problem_count == 0 ? 0 : 1;
    free(nodes);
    free(result);
    return exit_code;
}
