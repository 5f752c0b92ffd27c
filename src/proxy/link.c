/*
 * link.c - sockets of forwarding connections: one write for each turn, straight
 * from the output; what the socket does not take is left to libuv.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "cmd/context.h"
#include "proxy/worker_internal.h"
#include "walkerdb.h"

#define SEND_VECTORS  64
#define SEND_SIZE_MAX ((size_t)1 << 20)
/* So long the other end's system may leave sent bytes unacknowledged. */
#define SILENT_MS_MAX 5000

static struct wdb_proxy_link *link_new(struct wdb_proxy_part *part)
{
    struct wdb_proxy_link *link = calloc(1, sizeof(*link));
    if (link != NULL) {
        link->part = part;
        wdb_list_append(&part->links, &link->node);
    }
    return link;
}

static void free_link(struct wdb_proxy_link *link)
{
    wdb_list_remove(&link->node);
    free(link);
}

static void on_closed(uv_handle_t *handle)
{
    free_link(handle->data);
}

/* Let go of the socket; both ends are gone. */
static void close_link(struct wdb_proxy_link *link)
{
    wdb_assert(link->upstream == NULL && link->acceptor == NULL);
    if (link->closing) {
        return;
    }
    link->closing = true;
    if (link->dial != NULL) {
        link->dial->link = NULL;
        link->dial = NULL;
    }
    if (link->has_socket) {
        uv_close((uv_handle_t *)&link->tcp, on_closed);
    } else {
        free_link(link);
    }
}

void wdb_proxy_link_break(struct wdb_proxy_link *link)
{
    struct wdb_upstream *upstream = link->upstream;
    struct wdb_acceptor *acceptor = link->acceptor;
    link->upstream = NULL;
    link->acceptor = NULL;
    link->part->is_due = true;
    if (acceptor != NULL) {
        wdb_acceptor_free(acceptor);
    }
    if (upstream != NULL) {
        wdb_upstream_broken(upstream, wdb_proxy_part_now(link->part));
    }
    close_link(link);
}

/* --- sending --------------------------------------------------------------------- */

static struct wdb_output *output_of(const struct wdb_proxy_link *link)
{
    return link->upstream != NULL ? wdb_upstream_output(link->upstream)
                                  : wdb_acceptor_output(link->acceptor);
}

static bool is_open(const struct wdb_proxy_link *link)
{
    return link->has_socket && !link->closing &&
           (link->upstream != NULL || link->acceptor != NULL);
}

static unsigned gather(const struct wdb_output *output,
                       uv_buf_t bufs[SEND_VECTORS], size_t *size_out)
{
    struct iovec vector[SEND_VECTORS];
    size_t size = 0;
    const int count =
        wdb_output_peek(output, vector, SEND_VECTORS, SEND_SIZE_MAX);
    for (int i = 0; i < count; i++) {
        bufs[i] = uv_buf_init(vector[i].iov_base, (unsigned)vector[i].iov_len);
        size += vector[i].iov_len;
    }
    *size_out = size;
    return (unsigned)count;
}

/* These bytes are the system's now, and no part of the output any more. */
static void consume(struct wdb_proxy_link *link, size_t size)
{
    wdb_output_consume(output_of(link), size);
    if (link->acceptor != NULL && wdb_acceptor_sent(link->acceptor)) {
        link->part->is_due = true;
    }
}

static void on_written(uv_write_t *request, int status)
{
    struct wdb_proxy_link *link = request->data;
    const size_t size = link->write_size;
    link->write_size = 0;
    if (link->closing) {
        return;
    }
    if (status != 0) {
        wdb_proxy_link_break(link);
        return;
    }
    consume(link, size);
    link->part->is_due = true;
    wdb_proxy_link_send(link);
}

static void write_later(struct wdb_proxy_link *link)
{
    uv_buf_t bufs[SEND_VECTORS];
    size_t size;
    const unsigned count = gather(output_of(link), bufs, &size);
    link->write.data = link;
    if (uv_write(&link->write, (uv_stream_t *)&link->tcp, bufs, count,
                 on_written) != 0) {
        wdb_proxy_link_break(link);
        return;
    }
    link->write_size = size;
    if (link->upstream != NULL) {
        wdb_upstream_handed(link->upstream, size);
    }
}

void wdb_proxy_link_send(struct wdb_proxy_link *link)
{
    while (is_open(link) && link->write_size == 0 &&
           output_of(link)->size > 0) {
        uv_buf_t bufs[SEND_VECTORS];
        size_t size;
        const unsigned count = gather(output_of(link), bufs, &size);
        const int sent = uv_try_write((uv_stream_t *)&link->tcp, bufs, count);
        if (sent < 0 && sent != UV_EAGAIN) {
            wdb_proxy_link_break(link);
            return;
        }
        if (sent > 0) {
            if (link->upstream != NULL) {
                wdb_upstream_handed(link->upstream, (size_t)sent);
            }
            consume(link, (size_t)sent);
        }
        if (sent < 0 || (size_t)sent < size) {
            write_later(link);
        }
    }
}

/* --- receiving --------------------------------------------------------------------- */

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct wdb_proxy_link *link = handle->data;
    size_t size = 0;
    (void)suggested;
    uint8_t *room = link->upstream != NULL
                        ? wdb_upstream_room(link->upstream, &size)
                        : wdb_acceptor_room(link->acceptor, &size);
    *out = uv_buf_init((char *)room,
                       (unsigned)(size < INT32_MAX ? size : INT32_MAX));
}

static int give(struct wdb_proxy_link *link, size_t size, uint64_t now_ns)
{
    return link->upstream != NULL
               ? wdb_upstream_received(link->upstream, size, now_ns)
               : wdb_acceptor_received(link->acceptor, size);
}

static void complain(const struct wdb_proxy_link *link, int code)
{
    wdb_logger_print(link->part->workers->context->logger, WDB_LOG_WARNING,
                     "A connection for forwarded requests was closed: %s",
                     walkerdb_strerror(code));
}

static void take_input(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct wdb_proxy_link *link = stream->data;
    (void)buf;
    if (link->closing || size == 0) {
        return;
    }
    if (size < 0) {
        wdb_proxy_link_break(link);
        return;
    }
    const int code = give(link, (size_t)size, wdb_proxy_part_now(link->part));
    if (code != 0) {
        complain(link, code);
        wdb_proxy_link_break(link);
    }
}

static void set_socket_options(int fd)
{
    int on = 1;
    unsigned silent_ms = SILENT_MS_MAX;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
#ifdef TCP_USER_TIMEOUT
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silent_ms,
               sizeof(silent_ms));
#endif
}

/* Begin to read from the socket; it is the link's, also if this fails. */
static bool open_socket(struct wdb_proxy_link *link, int fd)
{
    if (uv_tcp_init(link->part->loop, &link->tcp) != 0) {
        close(fd);
        return false;
    }
    link->has_socket = true;
    link->tcp.data = link;
    set_socket_options(fd);
    if (uv_tcp_open(&link->tcp, fd) != 0) {
        close(fd);
        return false;
    }
    return uv_read_start((uv_stream_t *)&link->tcp, give_room, take_input) == 0;
}

void wdb_proxy_link_accept(struct wdb_proxy_part *part, int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    char host[64] = "?", text[128];
    getpeername(fd, (struct sockaddr *)&address, &size);
    (void)uv_ip_name((const struct sockaddr *)&address, host, sizeof(host));
    snprintf(text, sizeof(text), "%s:0", host);
    struct wdb_proxy_link *link = part->is_stopped ? NULL : link_new(part);
    if (link == NULL) {
        close(fd);
        return;
    }
    if (wdb_acceptor_new(part->hub, text, &link->acceptor) != 0) {
        close(fd);
        free_link(link);
        return;
    }
    if (!open_socket(link, fd)) {
        wdb_proxy_link_break(link);
    }
}

/* --- to the leader ------------------------------------------------------------------ */

/* On the worker: the socket is there, or not. */
static void dialed(void *part_pointer, void *arg)
{
    struct wdb_proxy_dial *dial = arg;
    struct wdb_proxy_part *part = part_pointer;
    struct wdb_proxy_link *link = dial->link;
    wdb_list_remove(&dial->node);
    if (link == NULL || part->is_stopped) {
        if (dial->fd >= 0) {
            close(dial->fd);
        }
    } else {
        link->dial = NULL;
        if (dial->code == 0 && open_socket(link, dial->fd)) {
            link->is_up = true;
            part->is_due = true;
            wdb_upstream_up(link->upstream, wdb_proxy_part_now(part));
        } else {
            wdb_proxy_link_break(link);
        }
    }
    free(dial);
}

/* On the raft thread. */
static void on_dialed(void *arg, int code, int fd, const char *message)
{
    struct wdb_proxy_dial *dial = arg;
    (void)message; /* the peers' own connections tell it, too */
    dial->code = code;
    dial->fd = fd;
    struct wdb_proxy_part *part = dial->part;
    if (wdb_net_call(part->workers->net, part->number, dialed, dial) != 0 &&
        fd >= 0) {
        close(fd); /* the proxy dials again when it has waited long enough */
    }
}

static int dial_leader(struct wdb_proxy_link *link,
                       const struct wdb_proxy_target *target)
{
    struct wdb_proxy_part *part = link->part;
    struct wdb_proxy_dial *dial = calloc(1, sizeof(*dial));
    if (dial == NULL) {
        return WALKERDB_ENOMEM;
    }
    *dial = (struct wdb_proxy_dial){.part = part, .link = link, .fd = -1};
    wdb_list_append(&part->dials, &dial->node);
    link->dial = dial;
    const int rc = wdb_peer_net_forward(part->workers->peers, target->node,
                                        target->address, on_dialed, dial);
    if (rc != 0) {
        link->dial = NULL;
        wdb_list_remove(&dial->node);
        free(dial);
    }
    return rc;
}

static int link_connect(void *context, struct wdb_upstream *upstream,
                        const struct wdb_proxy_target *target, void **link_out)
{
    struct wdb_proxy_part *part = context;
    struct wdb_proxy_link *link = link_new(part);
    if (link == NULL) {
        return WALKERDB_ENOMEM;
    }
    int rc;
    if (target->is_self) {
        link->is_loopback = true;
        rc = wdb_acceptor_new(part->hub, target->address, &link->acceptor);
        part->is_due = true;
    } else if (part->workers->peers == NULL) {
        rc = WALKERDB_EIO;
    } else {
        rc = dial_leader(link, target);
    }
    if (rc != 0) {
        free_link(link);
        return rc;
    }
    link->upstream = upstream;
    *link_out = link;
    return 0;
}

static void link_close(void *context, void *of)
{
    struct wdb_proxy_link *link = of;
    (void)context;
    link->upstream = NULL;
    if (link->acceptor != NULL) {
        wdb_acceptor_free(link->acceptor);
        link->acceptor = NULL;
    }
    close_link(link);
}

static void link_flush(void *context, void *of)
{
    struct wdb_proxy_link *link = of;
    (void)context;
    link->wants_flush = true; /* written, or carried, behind this call */
}

const struct wdb_proxy_transport wdb_proxy_link_transport = {
    .connect = link_connect,
    .close = link_close,
    .flush = link_flush,
};

/* --- to itself ------------------------------------------------------------------------ */

static int carry_up(struct wdb_proxy_link *link, bool *moved)
{
    struct wdb_output *output = wdb_upstream_output(link->upstream);
    struct iovec part;
    while (wdb_output_peek(output, &part, 1, SEND_SIZE_MAX) == 1) {
        size_t room = 0;
        uint8_t *to = wdb_acceptor_room(link->acceptor, &room);
        if (to == NULL) {
            return WALKERDB_ENOMEM;
        }
        const size_t size = part.iov_len < room ? part.iov_len : room;
        memcpy(to, part.iov_base, size);
        wdb_upstream_handed(link->upstream, size);
        wdb_output_consume(output, size);
        *moved = true;
        const int rc = wdb_acceptor_received(link->acceptor, size);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int carry_down(struct wdb_proxy_link *link, uint64_t now_ns, bool *moved)
{
    struct wdb_output *output = wdb_acceptor_output(link->acceptor);
    struct iovec part;
    while (wdb_output_peek(output, &part, 1, SEND_SIZE_MAX) == 1) {
        size_t room = 0;
        uint8_t *to = wdb_upstream_room(link->upstream, &room);
        if (to == NULL) {
            return WALKERDB_ENOMEM;
        }
        const size_t size = part.iov_len < room ? part.iov_len : room;
        memcpy(to, part.iov_base, size);
        wdb_output_consume(output, size);
        *moved = true;
        const int rc = wdb_upstream_received(link->upstream, size, now_ns);
        if (rc != 0) {
            return rc;
        }
    }
    if (wdb_acceptor_sent(link->acceptor)) {
        *moved = true;
    }
    return 0;
}

bool wdb_proxy_link_carry(struct wdb_proxy_link *link, uint64_t now_ns)
{
    bool moved = false;
    if (!link->is_up) {
        link->is_up = true;
        wdb_upstream_up(link->upstream, now_ns);
        return true;
    }
    int rc = carry_up(link, &moved);
    if (rc == 0) {
        rc = carry_down(link, now_ns, &moved);
    }
    if (rc != 0) {
        complain(link, rc);
        wdb_proxy_link_break(link);
    }
    return moved;
}
