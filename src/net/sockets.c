/* sockets.c - listening sockets: addresses, ports, paths. */
#include "net/sockets.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "walkerdb.h"

static int fail(char **message_out, const char *what, const char *where,
                const char *why)
{
    char text[512];
    snprintf(text, sizeof(text), "%s %s: %s", what, where, why);
    free(*message_out);
    *message_out = strdup(text);
    return WALKERDB_EIO;
}

static int backlog_of(const struct wdb_config *config)
{
    int64_t backlog = wdb_config_i64(config, WDB_CONFIG_TCP_BACKLOG);
    return backlog > 0 ? (int)backlog : SOMAXCONN;
}

static int listen_at(const struct wdb_config *config,
                     const struct addrinfo *address, const char *name,
                     struct wdb_sockets *out, char **message_out)
{
    int on = 1;
    int fd = socket(address->ai_family,
                    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return fail(message_out, "cannot listen on", name, strerror(errno));
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->ai_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 ||
        listen(fd, backlog_of(config)) != 0) {
        int error = errno;
        close(fd);
        return fail(message_out, "cannot listen on", name, strerror(error));
    }
    out->fds[out->count++] = fd;
    return 0;
}

/* Resolve one word of `bind` and listen on all that it means. */
static int listen_on_host(const struct wdb_config *config, const char *host,
                          bool optional, struct wdb_sockets *out,
                          char **message_out)
{
    char port[16], name[300];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    snprintf(port, sizeof(port), "%d",
             (int)wdb_config_i64(config, WDB_CONFIG_PORT));
    snprintf(name, sizeof(name), "%s port %s", host, port);
    const char *node = host;
    if (strcmp(host, "*") == 0) {
        node = NULL;
        hints.ai_family = AF_INET;
    } else if (strcmp(host, "::*") == 0) {
        node = NULL;
        hints.ai_family = AF_INET6;
    }
    int rc = getaddrinfo(node, port, &hints, &found);
    if (rc != 0) {
        return optional ? 0
                        : fail(message_out, "cannot resolve", name,
                               gai_strerror(rc));
    }
    int code = 0;
    for (struct addrinfo *a = found; a != NULL && code == 0; a = a->ai_next) {
        if (out->count < WDB_SOCKETS_MAX) {
            code = listen_at(config, a, name, out, message_out);
        }
    }
    freeaddrinfo(found);
    return optional ? 0 : code;
}

/* The next word of a list with blanks, NULL at its end. */
static char *next_word(char **rest)
{
    char *word = strsep(rest, " ");
    while (word != NULL && word[0] == '\0') {
        word = strsep(rest, " ");
    }
    return word;
}

int wdb_sockets_open(const struct wdb_config *config, struct wdb_sockets *out,
                     char **message_out)
{
    char hosts[2048];
    char *rest = hosts;
    int code = 0;
    struct wdb_sockets sockets = {.count = 0};
    *message_out = NULL;
    if (wdb_config_i64(config, WDB_CONFIG_PORT) != 0) {
        wdb_config_text(config, WDB_CONFIG_BIND, hosts, sizeof(hosts));
        for (char *host = next_word(&rest); host != NULL && code == 0;
             host = next_word(&rest)) {
            bool optional = host[0] == '-';
            code = listen_on_host(config, host + optional, optional, &sockets,
                                  message_out);
        }
    }
    if (code != 0) {
        wdb_sockets_close(&sockets);
        return code;
    }
    /* What an optional address said is of no interest. */
    free(*message_out);
    *message_out = NULL;
    *out = sockets;
    return 0;
}

void wdb_sockets_close(struct wdb_sockets *sockets)
{
    while (sockets->count > 0) {
        close(sockets->fds[--sockets->count]);
    }
}

int wdb_sockets_open_unix(const struct wdb_config *config, int *fd_out,
                          char **message_out)
{
    char path[256];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *message_out = NULL;
    wdb_config_text(config, WDB_CONFIG_UNIXSOCKET, path, sizeof(path));
    if (path[0] == '\0') {
        *fd_out = -1;
        return 0;
    }
    if (strlen(path) >= sizeof(address.sun_path)) {
        return fail(message_out, "cannot listen on", path, "name too long");
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return fail(message_out, "cannot listen on", path, strerror(errno));
    }
    unlink(path);
    /* Nobody may connect before the mode is the one that was asked for. */
    mode_t mode = (mode_t)wdb_config_i64(config, WDB_CONFIG_UNIXSOCKETPERM);
    mode_t before = umask(0177);
    int rc = bind(fd, (struct sockaddr *)&address, sizeof(address));
    umask(before);
    if (rc != 0 || (mode != 0 && chmod(path, mode) != 0) ||
        listen(fd, backlog_of(config)) != 0) {
        int error = errno;
        close(fd);
        return fail(message_out, "cannot listen on", path, strerror(error));
    }
    *fd_out = fd;
    return 0;
}
