/*
 * peer_connection.c - one TCP connection between two nodes.
 *
 * Life: connecting or accepted -> handshake -> authenticated -> closing. Whose
 * it is then: an outbound one belongs to a dial, an inbound one to a peer, and
 * both hear of its end from wdb_peer_connection_close, which may be called at
 * any moment; memory is freed when libuv is through with the handle.
 *
 * The place of TLS: on_read's bytes, write_some and start_write.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "net/peer_internal.h"
#include "walkerdb.h"

/* Give a connection up whose other end says nothing for so long: what is in
 * flight then is old, and a new connection is faster than TCP's patience. */
#define USER_TIMEOUT_CONTROL_MS 1500
#define STALLED_NS              ((uint64_t)WDB_NS_PER_S)
#define LOOK_NS                 (250 * (uint64_t)WDB_NS_PER_MS)
#define USER_TIMEOUT_BULK_MS    5000
#define KEEPALIVE_IDLE_S        3
#define KEEPALIVE_INTERVAL_S    1
#define KEEPALIVE_COUNT         3

static void finish_handshake(struct wdb_peer_connection *c);

/* --- sockets ------------------------------------------------------------------------ */

static void set_option(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof(value));
}

static void set_options(struct wdb_peer_connection *c)
{
    int fd;
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) != 0) {
        return;
    }
    bool is_bulk = c->purpose != WDB_PURPOSE_CONTROL;
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
               is_bulk ? USER_TIMEOUT_BULK_MS : USER_TIMEOUT_CONTROL_MS);
}

static bool is_same_host(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a->sa_family != b->sa_family) {
        return false;
    }
    if (a->sa_family == AF_INET6) {
        return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                      &((const struct sockaddr_in6 *)b)->sin6_addr,
                      sizeof(struct in6_addr)) == 0;
    }
    return a->sa_family == AF_INET &&
           ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)b)->sin_addr.s_addr;
}

/* Who is at the other end; true if it is a process of this machine. */
static bool look_at_ends(struct wdb_peer_connection *c)
{
    struct sockaddr_storage remote, local;
    int remote_size = sizeof(remote), local_size = sizeof(local);
    struct sockaddr *r = (struct sockaddr *)&remote;
    struct sockaddr *l = (struct sockaddr *)&local;
    if (uv_tcp_getpeername(&c->tcp, r, &remote_size) != 0 ||
        uv_tcp_getsockname(&c->tcp, l, &local_size) != 0) {
        return false;
    }
    wdb_peer_address_format(r, c->remote, sizeof(c->remote));
    return wdb_peer_address_is_loopback(r) || is_same_host(r, l);
}

/* --- the end --------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct wdb_peer_connection *c = handle->data;
    free(c->handshake);
    free(c->input);
    wdb_buffer_release(&c->pending);
    wdb_buffer_release(&c->writing);
    free(c);
}

static bool is_pending(const struct wdb_peer_connection *c)
{
    return !c->is_outbound && c->handshake != NULL;
}

static void no_longer_pending(struct wdb_peer_net *net)
{
    net->pending_count--;
    atomic_store(&net->stats.pending, net->pending_count);
}

static void end(struct wdb_peer_connection *c)
{
    struct wdb_peer_net *net = c->net;
    c->is_closing = true;
    c->deadline_ns = 0;
    if (is_pending(c)) {
        no_longer_pending(net);
    }
    atomic_fetch_sub(c->is_outbound ? &net->stats.outbound
                                    : &net->stats.inbound,
                     1);
    wdb_list_remove(&c->node);
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

void wdb_peer_connection_close(struct wdb_peer_connection *c, const char *why)
{
    if (c->is_closing) {
        return;
    }
    end(c);
    if (c->peer != NULL) {
        wdb_peer_net_left(c);
        c->peer = NULL;
    }
    struct wdb_peer_dial *dial = c->dial;
    if (dial != NULL) {
        bool is_answer =
            c->handshake != NULL && c->handshake->state == WDB_HANDSHAKE_FAILED;
        c->dial = NULL;
        wdb_peer_dial_lost(dial, why, is_answer);
    }
}

void wdb_peer_connection_drop(struct wdb_peer_connection *c)
{
    c->dial = NULL;
    c->peer = NULL;
    wdb_peer_connection_close(c, "");
}

int wdb_peer_connection_take_fd(struct wdb_peer_connection *c)
{
    int fd, copy = -1;
    if (!c->is_closing && uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0) {
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    }
    wdb_peer_connection_drop(c);
    return copy;
}

/* --- writing ------------------------------------------------------------------------------ */

static size_t waiting_size(const struct wdb_peer_connection *c)
{
    size_t size = c->pending.size;
    if (c->is_writing) {
        size += uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp);
    }
    return size;
}

bool wdb_peer_connection_has_room(const struct wdb_peer_connection *c)
{
    if (c->is_closing || c->handshake != NULL) {
        return false;
    }
    if (c->purpose == WDB_PURPOSE_CONTROL) {
        return c->pending_count < WDB_PEER_CONTROL_MAX;
    }
    return waiting_size(c) < WDB_PEER_BUFFER_SIZE;
}

/* Bytes that were not sent, or that the other end's TCP has not got. */
static size_t behind_size(const struct wdb_peer_connection *c)
{
    int fd, unacknowledged = 0;
    if (uv_fileno((const uv_handle_t *)&c->tcp, &fd) != 0 ||
        ioctl(fd, SIOCOUTQ, &unacknowledged) != 0 || unacknowledged < 0) {
        unacknowledged = 0;
    }
    return waiting_size(c) + (size_t)unacknowledged;
}

bool wdb_peer_connection_is_behind(const struct wdb_peer_connection *c)
{
    return !c->is_closing && behind_size(c) > 0;
}

/* Does what we send arrive? TCP's own patience is too long, and not exact. */
static void look_for_progress(struct wdb_peer_connection *c)
{
    uint64_t now = wdb_peer_net_now(c->net);
    size_t behind = behind_size(c);
    uint64_t arrived = c->put_size - behind;
    if (behind == 0 || arrived != c->arrived_size) {
        c->arrived_size = arrived;
        c->arrived_ns = now;
    } else if (now - c->arrived_ns >= STALLED_NS) {
        wdb_peer_connection_close(c, "what was sent does not arrive");
        return;
    }
    c->deadline_ns = now + LOOK_NS;
}

void wdb_peer_connection_expire(struct wdb_peer_connection *c)
{
    c->deadline_ns = 0;
    if (c->is_outbound && c->state == WDB_CONNECTION_READY) {
        look_for_progress(c);
        return;
    }
    if (is_pending(c)) {
        wdb_peer_net_complain(c->net,
                              "%s dialed the raft port, but did not say who it "
                              "is within 2 s",
                              c->remote);
    }
    wdb_peer_connection_close(c, c->state == WDB_CONNECTION_CONNECTING
                                     ? "no connection in time"
                                 : c->state == WDB_CONNECTION_READY
                                     ? "done"
                                     : "no answer to the handshake within 2 s");
}

bool wdb_peer_connection_put(struct wdb_peer_connection *c,
                             const struct wdb_message *message)
{
    uint8_t head[WDB_MESSAGE_HEAD_SIZE + WDB_MESSAGE_FIXED_MAX];
    size_t head_size = wdb_message_encode(message, head);
    struct wdb_slice payload = wdb_message_payload(message);
    if (wdb_buffer_reserve(&c->pending, head_size + payload.size) != 0) {
        return false;
    }
    uint8_t *at = c->pending.data + c->pending.size;
    memcpy(at, head, head_size);
    if (payload.size > 0) {
        memcpy(at + head_size, payload.data, payload.size);
    }
    c->pending.size += head_size + payload.size;
    c->put_size += head_size + payload.size;
    c->pending_count++;
    wdb_peer_count(&c->net->stats.messages_out, 1);
    if (c->pending.size >= WDB_PEER_FLUSH_SIZE) {
        wdb_peer_connection_flush(c);
    }
    return true;
}

/* As much as the socket takes now; an error of libuv. */
static ssize_t write_some(struct wdb_peer_connection *c, const uint8_t *data,
                          size_t size)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data, (unsigned)size);
    if (size > UINT32_MAX) {
        buf.len = UINT32_MAX;
    }
    ssize_t rc = uv_try_write((uv_stream_t *)&c->tcp, &buf, 1);
    return rc == UV_EAGAIN ? 0 : rc;
}

/* Do not keep what one large message needed. */
static void empty(struct wdb_buffer *buffer)
{
    if (buffer->capacity > WDB_PEER_INPUT_KEEP_MAX) {
        wdb_buffer_release(buffer);
    } else {
        wdb_buffer_clear(buffer);
    }
}

static void on_written(uv_write_t *request, int status)
{
    struct wdb_peer_connection *c = request->data;
    c->is_writing = false;
    if (c->is_closing) {
        return;
    }
    if (status != 0) {
        wdb_peer_connection_close(c, uv_strerror(status));
        return;
    }
    empty(&c->writing);
    c->writing_count = 0;
    wdb_peer_connection_flush(c);
    if (!c->is_closing && c->dial != NULL && c->dial->peer != NULL &&
        wdb_peer_connection_has_room(c)) {
        wdb_peer_net_has_room(c->dial->peer, (enum wdb_peer_channel)c->purpose);
    }
}

/* What the socket did not take: libuv goes on with it. */
static int start_write(struct wdb_peer_connection *c, size_t done)
{
    uv_buf_t bufs[4];
    unsigned count = 0;
    struct wdb_buffer swap = c->writing;
    c->writing = c->pending;
    c->pending = swap;
    c->writing_count = c->pending_count;
    c->pending_count = 0;
    while (done < c->writing.size) {
        size_t size = c->writing.size - done;
        size = size > INT32_MAX ? INT32_MAX : size;
        wdb_assert(count < WDB_COUNT(bufs));
        bufs[count++] =
            uv_buf_init((char *)c->writing.data + done, (unsigned)size);
        done += size;
    }
    c->write.data = c;
    c->is_writing = true;
    return uv_write(&c->write, (uv_stream_t *)&c->tcp, bufs, count, on_written);
}

void wdb_peer_connection_flush(struct wdb_peer_connection *c)
{
    if (c->is_closing || c->is_writing || c->pending.size == 0) {
        return;
    }
    size_t size = c->pending.size;
    ssize_t rc = write_some(c, c->pending.data, size);
    if (rc == (ssize_t)size) {
        empty(&c->pending);
        c->pending_count = 0;
    } else if (rc >= 0) {
        rc = start_write(c, (size_t)rc);
        c->is_writing = rc == 0;
    }
    if (rc < 0) {
        wdb_peer_connection_close(c, uv_strerror((int)rc));
        return;
    }
    wdb_peer_count(&c->net->stats.bytes_out, size);
}

/* --- reading messages ----------------------------------------------------------------------- */

static size_t input_base(const struct wdb_peer_connection *c)
{
    return c->purpose == WDB_PURPOSE_CONTROL ? WDB_PEER_INPUT_CONTROL
                                             : WDB_PEER_INPUT_BULK;
}

/* The size of the message that begins the input, 0 if that is not known yet. An
 * error: no message begins so. */
static int next_size(const struct wdb_peer_connection *c, uint64_t *size_out)
{
    *size_out = 0;
    if (c->input_end - c->input_begin < WDB_MESSAGE_HEAD_SIZE) {
        return 0;
    }
    int code = wdb_message_size(c->input + c->input_begin, size_out);
    if (code == 0 && c->purpose == WDB_PURPOSE_CONTROL &&
        *size_out > WDB_PEER_CONTROL_SIZE_MAX) {
        code = WALKERDB_ETOOBIG;
    }
    return code;
}

/* Room for the rest of the message that has begun, or for a fresh read. */
static bool make_room(struct wdb_peer_connection *c)
{
    uint64_t wanted = 0;
    size_t base = input_base(c), have = c->input_end - c->input_begin;
    if (c->input != NULL && next_size(c, &wanted) != 0) {
        return false; /* was looked at before: does not happen */
    }
    if (wanted < base) {
        wanted = base;
    }
    if (wanted > c->input_capacity ||
        (have == 0 && c->input_capacity > WDB_PEER_INPUT_KEEP_MAX)) {
        uint8_t *input = malloc(wanted);
        if (input == NULL) {
            return false;
        }
        if (have > 0) {
            memcpy(input, c->input + c->input_begin, have);
        }
        free(c->input);
        c->input = input;
        c->input_capacity = wanted;
    } else if (c->input_begin > 0) {
        memmove(c->input, c->input + c->input_begin, have);
    }
    c->input_begin = 0;
    c->input_end = have;
    return true;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct wdb_peer_connection *c = handle->data;
    (void)suggested;
    if (c->handshake != NULL || c->is_outbound ||
        c->purpose >= WDB_PURPOSE_FORWARD) {
        *buf = uv_buf_init((char *)c->net->handshake_input,
                           sizeof(c->net->handshake_input));
        return;
    }
    if (!make_room(c)) {
        *buf = uv_buf_init(NULL, 0); /* UV_ENOBUFS */
        return;
    }
    size_t room = c->input_capacity - c->input_end;
    *buf = uv_buf_init((char *)c->input + c->input_end,
                       (unsigned)(room > INT32_MAX ? INT32_MAX : room));
}

/* A message begins at a multiple of 8, as what is in it wants it. */
static const uint8_t *aligned(struct wdb_peer_connection *c,
                              const uint8_t *data, size_t size)
{
    struct wdb_buffer *copy = &c->net->aligned;
    if (((uintptr_t)data & 7) == 0) {
        return data;
    }
    empty(copy);
    return wdb_buffer_append(copy, data, size) == 0 ? copy->data : NULL;
}

static void hang_up(struct wdb_peer_connection *c, const char *why)
{
    wdb_peer_net_complain(c->net,
                          "node %016" PRIx64 " at %s sent %s over its %s "
                          "connection: hung up",
                          c->id, c->remote, why,
                          wdb_handshake_purpose_name(c->purpose));
    wdb_peer_connection_close(c, why);
}

static void take_messages(struct wdb_peer_connection *c)
{
    struct wdb_peer_net *net = c->net;
    while (!c->is_closing) {
        uint64_t size;
        struct wdb_message message;
        if (next_size(c, &size) != 0) {
            hang_up(c, "what is no message, or a message of an absurd size");
            return;
        }
        if (size == 0 || size > c->input_end - c->input_begin) {
            return;
        }
        const uint8_t *data =
            aligned(c, c->input + c->input_begin, (size_t)size);
        if (data == NULL) {
            wdb_peer_connection_close(c, "out of memory");
            return;
        }
        if (wdb_message_decode(data, (size_t)size, &message) != 0) {
            hang_up(c, "a damaged message");
            return;
        }
        c->input_begin += (size_t)size;
        wdb_peer_count(&net->stats.messages_in, 1);
        if (net->callbacks.on_message != NULL) {
            net->callbacks.on_message(net->callbacks.context, c->id, &message);
        }
    }
}

static void take_handshake(struct wdb_peer_connection *c, const uint8_t *data,
                           size_t size)
{
    struct wdb_handshake *h = c->handshake;
    size_t used;
    h->clock_ms = c->net->env->ops->time_ms(c->net->env);
    enum wdb_handshake_state state = wdb_handshake_feed(h, data, size, &used);
    if (h->output_size > 0) {
        /* Such a small thing fits into the socket's buffer, or this is no
         * connection worth to have. */
        ssize_t rc = write_some(c, h->output, h->output_size);
        if (rc != (ssize_t)h->output_size && state != WDB_HANDSHAKE_FAILED) {
            wdb_peer_connection_close(c, rc < 0 ? uv_strerror((int)rc)
                                                : "the connection is stuck");
            return;
        }
        h->output_size = 0;
    }
    if (state == WDB_HANDSHAKE_DONE && used < size) {
        wdb_peer_connection_close(c, "bytes behind the handshake");
    } else if (state == WDB_HANDSHAKE_DONE || state == WDB_HANDSHAKE_FAILED) {
        finish_handshake(c);
    }
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct wdb_peer_connection *c = stream->data;
    if (c->is_closing || size == 0) {
        return;
    }
    if (size < 0) {
        wdb_peer_connection_close(c, size == UV_EOF ? "the other end closed it"
                                                    : uv_strerror((int)size));
        return;
    }
    wdb_peer_count(&c->net->stats.bytes_in, (uint64_t)size);
    if (c->handshake != NULL) {
        take_handshake(c, (const uint8_t *)buf->base, (size_t)size);
    } else if (c->is_outbound || c->purpose >= WDB_PURPOSE_FORWARD) {
        hang_up(c, "something unasked");
    } else {
        c->input_end += (size_t)size;
        take_messages(c);
    }
}

/* --- the handshake -------------------------------------------------------------------------- */

/* A node of another cluster, that has our secret, wanted a member of its own. */
static bool is_other_cluster(const struct wdb_handshake *h)
{
    return h->peer_proved && h->reason == WDB_REASON_CLUSTER &&
           h->wanted != 0 && h->wanted != h->options.self.id;
}

static void refused(struct wdb_peer_connection *c)
{
    struct wdb_handshake *h = c->handshake;
    struct wdb_peer_net *net = c->net;
    wdb_peer_count(&net->stats.refused, 1);
    if (!c->is_outbound) {
        if (h->has_peer) {
            wdb_peer_net_complain(net,
                                  "refused node %016" PRIx64 " (%s) at %s: %s",
                                  h->peer.id, h->peer.name, c->remote,
                                  h->message);
        } else {
            wdb_peer_net_complain(net, "refused %s at the raft port: %s",
                                  c->remote, h->message);
        }
        if (is_other_cluster(h) && net->callbacks.on_other_cluster != NULL) {
            net->callbacks.on_other_cluster(net->callbacks.context, h->peer.id,
                                            h->peer.cluster_id);
        }
    } else if (h->by_proved_peer && h->reason == WDB_REASON_REMOVED &&
               net->callbacks.on_removed != NULL) {
        net->callbacks.on_removed(net->callbacks.context, h->peer.id);
    }
    wdb_peer_connection_close(c, h->message);
}

static void forward(struct wdb_peer_connection *c)
{
    const struct wdb_peer_net_callbacks *callbacks = &c->net->callbacks;
    wdb_node_id id = c->id;
    int fd = wdb_peer_connection_take_fd(c);
    if (fd >= 0 && callbacks->on_forward != NULL) {
        callbacks->on_forward(callbacks->context, fd, id);
    } else if (fd >= 0) {
        close(fd);
    }
}

static void finish_inbound(struct wdb_peer_connection *c,
                           struct wdb_handshake *h)
{
    if (c->purpose == WDB_PURPOSE_FORWARD) {
        forward(c);
    } else if (c->purpose == WDB_PURPOSE_PROBE) {
        /* The other end hangs up when it has read the answer. */
        c->deadline_ns = wdb_peer_net_now(c->net) + WDB_PEER_HANDSHAKE_NS;
        wdb_peer_net_set_timer(c->net);
    } else if (!wdb_peer_net_came(c->net, c, &h->peer)) {
        wdb_peer_net_complain(c->net,
                              "node %016" PRIx64 " (%s) at %s is one too many: "
                              "hung up",
                              c->id, h->peer.name, c->remote);
        wdb_peer_connection_close(c, "too many nodes");
    }
}

static void finish_handshake(struct wdb_peer_connection *c)
{
    struct wdb_handshake *h = c->handshake;
    if (h->state == WDB_HANDSHAKE_FAILED) {
        refused(c);
        return;
    }
    wdb_peer_count(&c->net->stats.authenticated, 1);
    if (is_pending(c)) {
        no_longer_pending(c->net);
    }
    c->handshake = NULL;
    c->id = h->peer.id;
    c->purpose = h->purpose;
    set_options(c); /* the purpose is known now */
    c->state = WDB_CONNECTION_READY;
    c->deadline_ns = 0;
    if (c->is_outbound) {
        if (c->purpose == WDB_PURPOSE_CONTROL) {
            c->arrived_ns = wdb_peer_net_now(c->net);
            c->deadline_ns = c->arrived_ns + LOOK_NS;
            wdb_peer_net_set_timer(c->net);
        }
        wdb_peer_dial_up(c->dial, h);
    } else {
        finish_inbound(c, h);
    }
    free(h);
}

/* Both ends are there. */
static int begin_handshake(struct wdb_peer_connection *c)
{
    struct wdb_handshake_options options;
    c->handshake = malloc(sizeof(*c->handshake));
    if (c->handshake == NULL) {
        return UV_ENOMEM;
    }
    c->state = WDB_CONNECTION_HANDSHAKE;
    wdb_peer_net_handshake_options(c->net, &options);
    options.is_loopback = look_at_ends(c);
    set_options(c);
    if (c->is_outbound) {
        options.to = c->dial->to;
        options.purpose = c->dial->purpose;
        wdb_handshake_init_initiator(c->handshake, &options);
    } else {
        wdb_handshake_init_acceptor(c->handshake, &options);
    }
    c->deadline_ns = wdb_peer_net_now(c->net) + WDB_PEER_HANDSHAKE_NS;
    wdb_peer_net_set_timer(c->net);
    struct wdb_handshake *h = c->handshake;
    ssize_t size = (ssize_t)h->output_size;
    ssize_t rc = size == 0 ? 0 : write_some(c, h->output, h->output_size);
    h->output_size = 0;
    if (rc != size) {
        return rc < 0 ? (int)rc : UV_EAGAIN;
    }
    return uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

/* --- the beginning -------------------------------------------------------------------------- */

static struct wdb_peer_connection *new_connection(struct wdb_peer_net *net)
{
    struct wdb_peer_connection *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return NULL;
    }
    if (uv_tcp_init(net->uv, &c->tcp) != 0) {
        free(c);
        return NULL;
    }
    c->net = net;
    c->tcp.data = c;
    wdb_list_append(&net->connections, &c->node);
    return c;
}

/* Room for one more that is unknown: the oldest of them goes. */
static void make_place(struct wdb_peer_net *net)
{
    if (net->pending_count < WDB_PEER_PENDING_MAX) {
        return;
    }
    WDB_LIST_FOREACH(node, &net->connections)
    {
        struct wdb_peer_connection *c =
            WDB_LIST_ENTRY(node, struct wdb_peer_connection, node);
        if (is_pending(c)) {
            wdb_peer_connection_close(c, "too many at once");
            wdb_peer_net_complain(net, "too many connections at once that do "
                                       "not say who they are");
            return;
        }
    }
}

void wdb_peer_connection_accept(struct wdb_peer_net *net, uv_stream_t *server)
{
    make_place(net);
    struct wdb_peer_connection *c = new_connection(net);
    if (c == NULL) {
        net->accept_failed = true; /* libuv keeps it, and accepts no other */
        wdb_peer_net_set_timer(net);
        return;
    }
    atomic_fetch_add(&net->stats.inbound, 1);
    wdb_peer_count(&net->stats.accepted, 1);
    int rc = uv_accept(server, (uv_stream_t *)&c->tcp);
    if (rc == 0) {
        rc = begin_handshake(c);
    }
    if (c->handshake != NULL) {
        net->pending_count++;
        atomic_store(&net->stats.pending, net->pending_count);
    }
    if (rc != 0) {
        wdb_peer_connection_close(c, uv_strerror(rc));
    }
}

static void on_connect(uv_connect_t *request, int status)
{
    struct wdb_peer_connection *c = request->data;
    if (c->is_closing) {
        return;
    }
    if (status == 0) {
        status = begin_handshake(c);
    }
    if (status != 0) {
        wdb_peer_connection_close(c, uv_strerror(status));
    }
}

int wdb_peer_connection_dial(struct wdb_peer_net *net,
                             struct wdb_peer_dial *dial,
                             const struct sockaddr *address)
{
    struct wdb_peer_connection *c = new_connection(net);
    if (c == NULL) {
        return UV_ENOMEM;
    }
    atomic_fetch_add(&net->stats.outbound, 1);
    wdb_peer_count(&net->stats.dialed, 1);
    c->is_outbound = true;
    c->purpose = dial->purpose;
    c->connect.data = c;
    int rc = uv_tcp_connect(&c->connect, &c->tcp, address, on_connect);
    if (rc != 0) {
        wdb_peer_connection_drop(c);
        return rc;
    }
    c->dial = dial;
    dial->connection = c;
    c->deadline_ns =
        wdb_peer_net_now(net) + dial->patience_ms * (uint64_t)WDB_NS_PER_MS;
    wdb_peer_net_set_timer(net);
    return 0;
}
