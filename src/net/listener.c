/*
 * listener.c - listening sockets, accepting, handing connections to workers in
 * turn.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/listener.h"
#include "net/net_internal.h"

static int fail(char **message_out, const char *what, const char *where,
                const char *why)
{
    char text[512];
    snprintf(text, sizeof(text), "%s %s: %s", what, where, why);
    free(*message_out);
    *message_out = strdup(text);
    return WALKERDB_EIO;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct wdb_listener *listener = poll->data;
    struct wdb_net *net = listener->net;
    (void)events;
    if (status != 0) {
        return;
    }
    for (int i = 0; i < WDB_ACCEPT_BURST; i++) {
        int fd =
            accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED) {
                continue;
            }
            if (errno == EMFILE || errno == ENFILE) {
                wdb_logger_print(net->context->logger, WDB_LOG_WARNING,
                                 "cannot accept a connection: %s; raise the "
                                 "limit of open files (ulimit -n)",
                                 strerror(errno));
                usleep(1000); /* the socket stays readable: do not spin */
            }
            return;
        }
        struct wdb_mail *mail = wdb_mail_new(WDB_MAIL_SOCKET, NULL, 0);
        if (mail == NULL) {
            close(fd);
            return;
        }
        mail->fd = fd;
        mail->is_unix = listener->is_unix;
        wdb_worker_post(net->workers[net->next_worker], mail);
        net->next_worker = (net->next_worker + 1) % net->worker_count;
    }
}

static int add_listener(struct wdb_net *net, int fd, bool is_unix)
{
    struct wdb_listener *listener = &net->listeners[net->listener_count];
    *listener = (struct wdb_listener){.fd = fd, .is_unix = is_unix, .net = net};
    if (uv_poll_init(net->options.loop, &listener->poll, fd) != 0) {
        return WALKERDB_EIO;
    }
    listener->poll.data = listener;
    net->listener_count++;
    return uv_poll_start(&listener->poll, UV_READABLE, on_readable) == 0
               ? 0
               : WALKERDB_EIO;
}

static int backlog_of(const struct wdb_net *net)
{
    int64_t backlog =
        wdb_config_i64(net->context->config, WDB_CONFIG_TCP_BACKLOG);
    return backlog > 0 ? (int)backlog : SOMAXCONN;
}

static int listen_at(struct wdb_net *net, const struct addrinfo *address,
                     const char *name, char **message_out)
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
        listen(fd, backlog_of(net)) != 0) {
        int error = errno;
        close(fd);
        return fail(message_out, "cannot listen on", name, strerror(error));
    }
    int rc = add_listener(net, fd, false);
    if (rc != 0) {
        close(fd);
    }
    return rc;
}

/* Resolve one word of `bind` and listen on all that it means. */
static int listen_on_host(struct wdb_net *net, const char *host, bool optional,
                          char **message_out)
{
    char port[16], name[300];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    snprintf(port, sizeof(port), "%d",
             (int)wdb_config_i64(net->context->config, WDB_CONFIG_PORT));
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
        if (net->listener_count < WDB_LISTENER_MAX) {
            code = listen_at(net, a, name, message_out);
        }
    }
    freeaddrinfo(found);
    return optional ? 0 : code;
}

static int listen_on_path(struct wdb_net *net, const char *path,
                          char **message_out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
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
    mode_t mode =
        (mode_t)wdb_config_i64(net->context->config, WDB_CONFIG_UNIXSOCKETPERM);
    mode_t before = umask(0177);
    int rc = bind(fd, (struct sockaddr *)&address, sizeof(address));
    umask(before);
    if (rc != 0 || (mode != 0 && chmod(path, mode) != 0) ||
        listen(fd, backlog_of(net)) != 0) {
        int error = errno;
        close(fd);
        return fail(message_out, "cannot listen on", path, strerror(error));
    }
    return add_listener(net, fd, true);
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

int wdb_listener_open_all(struct wdb_net *net, char **message_out)
{
    char hosts[2048], path[256];
    const struct wdb_config *config = net->context->config;
    char *rest = hosts;
    int code = 0;
    *message_out = NULL;
    if (wdb_config_i64(config, WDB_CONFIG_PORT) != 0) {
        wdb_config_text(config, WDB_CONFIG_BIND, hosts, sizeof(hosts));
        for (char *host = next_word(&rest); host != NULL && code == 0;
             host = next_word(&rest)) {
            bool optional = host[0] == '-';
            code = listen_on_host(net, host + optional, optional, message_out);
        }
    }
    wdb_config_text(config, WDB_CONFIG_UNIXSOCKET, path, sizeof(path));
    if (code == 0 && path[0] != '\0') {
        code = listen_on_path(net, path, message_out);
    }
    if (code == 0 && net->listener_count == 0) {
        code = fail(message_out, "nothing to listen on:", "port and unixsocket",
                    "both are unset, or no address of bind is there");
    }
    return code;
}

void wdb_listener_close_all(struct wdb_net *net)
{
    for (uint32_t i = 0; i < net->listener_count; i++) {
        uv_poll_stop(&net->listeners[i].poll);
        uv_close((uv_handle_t *)&net->listeners[i].poll, NULL);
        close(net->listeners[i].fd);
    }
    char path[256];
    wdb_config_text(net->context->config, WDB_CONFIG_UNIXSOCKET, path,
                    sizeof(path));
    if (path[0] != '\0' && net->listener_count > 0) {
        unlink(path);
    }
    net->listener_count = 0;
}
