/*
 * listener.c - accepting, handing connections to workers in turn, moving to
 * another port.
 *
 * Listeners belong to the main loop. CONFIG SET port, on a worker, opens the
 * new sockets by itself, so that it can tell whether that works, and leaves
 * them at net->next; the main loop then replaces its own. If CONFIG SET takes
 * the change back before that, the old sockets are still open.
 */
#include "net/listener.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net_internal.h"
#include "walkerdb.h"

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

/* Accept from this socket; takes it, and closes it if that fails. */
static int add_listener(struct wdb_net *net, int fd, bool is_unix)
{
    struct wdb_listener *listener = malloc(sizeof(*listener));
    if (listener == NULL) {
        close(fd);
        return WALKERDB_ENOMEM;
    }
    *listener = (struct wdb_listener){.fd = fd, .is_unix = is_unix, .net = net};
    if (uv_poll_init(net->options.loop, &listener->poll, fd) != 0) {
        free(listener);
        close(fd);
        return WALKERDB_EIO;
    }
    listener->poll.data = listener;
    net->listeners[net->listener_count++] = listener;
    return uv_poll_start(&listener->poll, UV_READABLE, on_readable) == 0
               ? 0
               : WALKERDB_EIO;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void close_listener(struct wdb_listener *listener)
{
    uv_poll_stop(&listener->poll);
    uv_close((uv_handle_t *)&listener->poll, on_closed);
    close(listener->fd);
}

/* Take the sockets; an error leaves those that it took. */
static int add_sockets(struct wdb_net *net, struct wdb_sockets *sockets)
{
    int code = 0;
    for (uint32_t i = 0; i < sockets->count; i++) {
        if (code == 0) {
            code = add_listener(net, sockets->fds[i], false);
        } else {
            close(sockets->fds[i]);
        }
    }
    sockets->count = 0;
    return code;
}

/* --- another port ------------------------------------------------------------- */

/* Main loop: replace the listeners by what waits at net->next. */
static void on_port_change(uv_async_t *request)
{
    struct wdb_net *net = request->data;
    pthread_mutex_lock(&net->listen_lock);
    if (net->has_next) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < net->listener_count; i++) {
            if (net->listeners[i]->is_unix) {
                net->listeners[kept++] = net->listeners[i];
            } else {
                close_listener(net->listeners[i]);
            }
        }
        net->listener_count = kept;
        net->has_next = false;
        net->port = net->next_port;
        int code = add_sockets(net, &net->next);
        wdb_logger_print(net->context->logger,
                         code == 0 ? WDB_LOG_NOTICE : WDB_LOG_WARNING,
                         code == 0 ? "Listening on port %d"
                                   : "Can't listen on port %d",
                         net->port);
    }
    pthread_mutex_unlock(&net->listen_lock);
}

int wdb_listener_change_port(struct wdb_net *net, char *error,
                             size_t error_size)
{
    int code = 0;
    char *message = NULL;
    const int port = (int)wdb_config_i64(net->context->config, WDB_CONFIG_PORT);
    pthread_mutex_lock(&net->listen_lock);
    struct wdb_sockets sockets = {.count = 0};
    bool back = port == net->port;
    if (net->listening && !back) {
        code = wdb_sockets_open(net->context->config, &sockets, &message);
    }
    if (code != 0) {
        snprintf(error, error_size, "Unable to listen on this port: %s",
                 message == NULL ? walkerdb_strerror(code) : message);
    } else if (net->listening) {
        wdb_sockets_close(&net->next);
        net->next = sockets;
        net->next_port = port;
        net->has_next = !back;
        uv_async_send(&net->port_change);
    }
    pthread_mutex_unlock(&net->listen_lock);
    free(message);
    return code;
}

/* --- life ----------------------------------------------------------------------- */

int wdb_listener_open_all(struct wdb_net *net, char **message_out)
{
    const struct wdb_config *config = net->context->config;
    struct wdb_sockets sockets = {.count = 0};
    int unix_fd = -1;
    int code = wdb_sockets_open(config, &sockets, message_out);
    if (code == 0) {
        code = add_sockets(net, &sockets);
    }
    if (code == 0) {
        code = wdb_sockets_open_unix(config, &unix_fd, message_out);
    }
    if (code == 0 && unix_fd >= 0) {
        code = add_listener(net, unix_fd, true);
    }
    if (code == 0 && net->listener_count == 0) {
        *message_out = strdup("nothing to listen on: port and unixsocket are "
                              "unset, or no address of bind is there");
        code = WALKERDB_EIO;
    }
    if (code == 0 && uv_async_init(net->options.loop, &net->port_change,
                                   on_port_change) != 0) {
        code = WALKERDB_EIO;
    }
    if (code == 0) {
        net->port_change.data = net;
        net->port = (int)wdb_config_i64(config, WDB_CONFIG_PORT);
        net->listening = true;
    }
    return code;
}

void wdb_listener_close_all(struct wdb_net *net)
{
    pthread_mutex_lock(&net->listen_lock);
    if (net->listening) {
        net->listening = false;
        uv_close((uv_handle_t *)&net->port_change, NULL);
    }
    wdb_sockets_close(&net->next);
    pthread_mutex_unlock(&net->listen_lock);
    for (uint32_t i = 0; i < net->listener_count; i++) {
        close_listener(net->listeners[i]);
    }
    char path[256];
    wdb_config_text(net->context->config, WDB_CONFIG_UNIXSOCKET, path,
                    sizeof(path));
    if (path[0] != '\0' && net->listener_count > 0) {
        unlink(path);
    }
    net->listener_count = 0;
}
