/* test_server_check_peers.c - --check-peers against a node on loopback, and a
 * service that is none. Uses pthread_ threads. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/test.h"
#include "net/peers.h"
#include "server/check_peers_internal.h"

/* --- the command line --------------------------------------------------------- */

static int take(const char *line, struct wdb_check_peers *check, int *argc_out,
                char **argv)
{
    static char words[256];
    const char *message = NULL;
    char *rest = words, *word;
    int argc = 0;
    snprintf(words, sizeof(words), "%s", line);
    while ((word = strsep(&rest, " ")) != NULL) {
        argv[argc++] = word;
    }
    int code = wdb_check_peers_take(&argc, argv, check, &message);
    CHECK((code == 0) == (message == NULL));
    *argc_out = argc;
    return code;
}

/* The option and its words are taken out; everything else stays. */
TEST(command_line)
{
    struct wdb_check_peers check;
    char *argv[16];
    int argc;
    CHECK_EQ(take("walkerdb --port 1 -dir x /path", &check, &argc, argv), 0);
    CHECK(!check.is_wanted);
    CHECK_EQ(argc, 6);
    CHECK_EQ(take("walkerdb --json", &check, &argc, argv), 0);
    CHECK_EQ(argc, 2);
    CHECK_EQ(take("walkerdb -dir x --check-peers a:1,a:2 [::1]:3 /path --json "
                  "--port 7",
                  &check, &argc, argv),
             0);
    CHECK(check.is_wanted && check.as_json);
    CHECK_EQ(check.count, 2);
    CHECK_STR(check.words[0], "a:1,a:2");
    CHECK_STR(check.words[1], "[::1]:3");
    REQUIRE_EQ(argc, 6);
    CHECK_STR(argv[3], "/path");
    CHECK_STR(argv[5], "7");
    CHECK_EQ(take("walkerdb -check-peers=a:1 b:2 path", &check, &argc, argv),
             0);
    CHECK_EQ(check.count, 2);
    CHECK_STR(argv[1], "path");
    CHECK(take("walkerdb --check-peers", &check, &argc, argv) != 0);
    CHECK(take("walkerdb --check-peers /path", &check, &argc, argv) != 0);
}

/* --- a node ---------------------------------------------------------------------- */

struct node {
    struct wdb_env *env;
    struct wdb_identity identity;
    struct wdb_raft_loop *loop;
    struct wdb_peer_net *net;
    char address[64];
};

static void open_node(struct node *node, const char *tcp_address)
{
    char *message = NULL;
    memset(node, 0, sizeof(*node));
    CHECK_EQ(wdb_env_posix_new(&node->env), 0);
    node->identity.id = 5;
    node->identity.cluster_id = 6;
    memcpy(node->identity.name, "five", 5);
    struct wdb_raft_loop_options loop_options = {.env = node->env};
    CHECK_EQ(wdb_raft_loop_new(&loop_options, &node->loop), 0);
    struct wdb_peer_net_options options = {
        .loop = node->loop,
        .identity = &node->identity,
        .secret = {.is_set = true, .key = {1}},
        .secret_dir = "/path",
        .raft_address = "127.0.0.1:0",
        .tcp_address = tcp_address,
    };
    CHECK_EQ(wdb_peer_net_new(&options, &node->net), 0);
    CHECK_EQ(wdb_peer_net_listen(node->net, &message), 0);
    CHECK_EQ(wdb_raft_loop_start(node->loop), 0);
    snprintf(node->address, sizeof(node->address), "127.0.0.1:%u",
             (unsigned)wdb_peer_net_port(node->net));
}

static void close_node(struct node *node)
{
    wdb_raft_loop_stop(node->loop);
    wdb_peer_net_free(node->net);
    wdb_raft_loop_free(node->loop);
    wdb_env_posix_free(node->env);
}

/* Something that answers one line to each connection. */
struct service {
    int fd;
    char address[64];
    const char *answer;
    pthread_t thread;
};

static void *serve(void *context)
{
    struct service *service = context;
    char request[256];
    for (;;) {
        int fd = accept(service->fd, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        if (read(fd, request, sizeof(request)) > 0) {
            (void)!write(fd, service->answer, strlen(service->answer));
        }
        close(fd);
    }
}

static void open_service(struct service *service, const char *answer)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    service->answer = answer;
    service->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(service->fd, (struct sockaddr *)&address, size), 0);
    CHECK_EQ(listen(service->fd, 8), 0);
    CHECK_EQ(getsockname(service->fd, (struct sockaddr *)&address, &size), 0);
    snprintf(service->address, sizeof(service->address), "127.0.0.1:%u",
             (unsigned)ntohs(address.sin_port));
    CHECK_EQ(pthread_create(&service->thread, NULL, serve, service), 0);
}

static void close_service(struct service *service)
{
    shutdown(service->fd, SHUT_RDWR);
    pthread_join(service->thread, NULL);
    close(service->fd);
}

static void ask(struct wdb_check_node *node, struct wdb_env *env,
                const char *raft, const char *tcp, uint8_t key)
{
    static struct wdb_handshake_options options;
    memset(&options, 0, sizeof(options));
    options.self.id = 99;
    memcpy(options.self.name, "check", 6);
    options.purpose = WDB_PURPOSE_PROBE;
    options.secret.is_set = true;
    options.secret.key[0] = key;
    options.secret_dir = "/mine";
    memset(node, 0, sizeof(*node));
    node->env = env;
    node->handshake = &options;
    snprintf(node->raft.address, sizeof(node->raft.address), "%s", raft);
    snprintf(node->tcp.address, sizeof(node->tcp.address), "%s", tcp);
    wdb_check_peers_ask(node);
}

/* A node that is well; its client address is the one that it tells. */
TEST(good_node)
{
    struct service service;
    struct node node;
    struct wdb_check_node check;
    open_service(&service, "-NOAUTH Authentication required.\r\n");
    open_node(&node, service.address);
    ask(&check, node.env, node.address, "", 1);
    CHECK_STR(check.raft.error, "");
    CHECK_STR(check.tcp.error, "");
    CHECK(check.raft.is_good && check.tcp.is_good && check.is_known);
    CHECK_EQ(check.party.id, 5);
    CHECK_EQ(check.party.cluster_id, 6);
    CHECK_STR(check.party.name, "five");
    CHECK(check.clock_difference_ms < 3000 &&
          check.clock_difference_ms > -3000);
    CHECK_EQ(check.raft.resolved_count, 1);
    CHECK_STR(check.raft.resolved[0], node.address);
    close_node(&node);
    close_service(&service);
}

/* Another secret, another service, nobody, no name: each is told apart. */
TEST(bad_nodes)
{
    struct service service;
    struct node node;
    struct wdb_check_node check;
    char address[64];
    open_service(&service, "-DENIED protected mode\r\n");
    open_node(&node, "127.0.0.1:1");
    ask(&check, node.env, node.address, service.address, 2);
    CHECK(check.raft.is_reached && !check.raft.is_good && check.is_known);
    CHECK_EQ(check.party.cluster_id, 6);
    CHECK(strstr(check.raft.error, "another cluster secret") != NULL);
    CHECK(check.tcp.is_reached && !check.tcp.is_good);
    CHECK(strstr(check.tcp.error, "-DENIED") != NULL);
    ask(&check, node.env, service.address, "", 1);
    CHECK(check.raft.is_reached && !check.raft.is_good && !check.is_known);
    CHECK(strstr(check.raft.error, "another service") != NULL);
    ask(&check, node.env, "nowhere", "a:1", 1);
    CHECK(strstr(check.raft.error, "HOST:PORT") != NULL);
    ask(&check, node.env, "no-such-host.invalid:1", "", 1);
    CHECK(!check.raft.is_resolved && check.raft.error[0] != '\0');
    struct wdb_env *env = NULL;
    REQUIRE_EQ(wdb_env_posix_new(&env), 0);
    memcpy(address, node.address, sizeof(address));
    close_node(&node);
    ask(&check, env, address, "", 1);
    CHECK(check.raft.is_resolved && !check.raft.is_reached);
    CHECK(strstr(check.raft.error, "can't connect") != NULL);
    wdb_env_posix_free(env);
    close_service(&service);
}

/* --- what is printed ---------------------------------------------------------------- */

/* Texts of others do not break the JSON. */
TEST(json)
{
    struct wdb_check_node node;
    struct wdb_check_result *result = calloc(1, sizeof(*result));
    char *text = NULL;
    size_t size;
    REQUIRE(result != NULL);
    memset(&node, 0, sizeof(node));
    memcpy(node.raft.address, "a\"b\\:1", 7);
    memcpy(node.raft.error, "line\nend\x80", 10);
    result->nodes = &node;
    result->count = 1;
    result->problem_count = 1;
    memcpy(result->problems[0], "bad", 4);
    FILE *out = open_memstream(&text, &size);
    REQUIRE(out != NULL);
    wdb_check_peers_print_json(result, out);
    wdb_check_peers_print(result, out);
    fclose(out);
    CHECK(strstr(text, "{\"ok\":false,\"peers\":[{\"raft\":{\"ok\":false,"
                       "\"address\":\"a\\\"b\\\\:1\"") == text);
    CHECK(strstr(text, "\"error\":\"line\\u000aend\\u0080\"},\"tcp\":null}],"
                       "\"problems\":[\"bad\"]}\n") != NULL);
    CHECK(strstr(text, "raft address  resolves") != NULL);
    CHECK(strstr(text, "\nbad\n") != NULL);
    free(text);
    free(result);
}
