/*
 * connection.c - one client's socket: reads into its session, sends what the
 * gate lets pass.
 *
 * Sending goes straight to the socket (uv_try_write) from the output's own
 * memory and from mappings. What the socket does not take is left to libuv as
 * one write at a time; its memory stays where it is until it is done.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/net_internal.h"

#define DENIED_TEXT                                                            \
    "-DENIED walkerdb runs in protected mode: without a password it serves "   \
    "only clients on this machine. Either connect through the loopback "       \
    "interface, or set a password (requirepass), or, if the network is "       \
    "trusted, turn protected mode off (protected-mode no).\r\n"
#define MAXCLIENTS_TEXT "-ERR max number of clients reached\r\n"
/* A connection that is quiet for so long keeps no buffer. */
#define IDLE_MS 2000
/* How long one that is to be closed may take to read its last reply. */
#define LAST_WORDS_MS 60000

/* --- addresses -------------------------------------------------------------- */

static void format_address(const struct sockaddr_storage *address, char *out,
                           size_t size)
{
    char host[64] = "?";
    unsigned port = 0;
    if (address->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof(in));
        uv_ip4_name(&in, host, sizeof(host));
        port = ntohs(in.sin_port);
        snprintf(out, size, "%s:%u", host, port);
    } else if (address->ss_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, address, sizeof(in));
        uv_ip6_name(&in, host, sizeof(host));
        port = ntohs(in.sin6_port);
        snprintf(out, size, "[%s]:%u", host, port);
    } else {
        snprintf(out, size, "?");
    }
}

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof(in));
        return (ntohl(in.sin_addr.s_addr) >> 24) == 127;
    }
    if (address->ss_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, address, sizeof(in));
        const uint8_t *a = in.sin6_addr.s6_addr;
        return IN6_IS_ADDR_LOOPBACK(&in.sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&in.sin6_addr) && a[12] == 127);
    }
    return true;
}

/* The addresses of both ends as text; whether the peer is on this machine. */
static bool read_addresses(struct wdb_worker *worker, int fd, bool is_unix,
                           char peer[128], char local[128])
{
    if (is_unix) {
        char path[100];
        wdb_config_text(worker->context->config, WDB_CONFIG_UNIXSOCKET, path,
                        sizeof(path));
        snprintf(peer, 128, "%s:0", path);
        snprintf(local, 128, "%s:0", path);
        return true;
    }
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    getsockname(fd, (struct sockaddr *)&address, &size);
    format_address(&address, local, 128);
    size = sizeof(address);
    if (getpeername(fd, (struct sockaddr *)&address, &size) != 0) {
        snprintf(peer, 128, "?:0");
        return false;
    }
    format_address(&address, peer, 128);
    return is_loopback(&address);
}

static void set_socket_options(const struct wdb_worker *worker, int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    int idle =
        (int)wdb_config_i64(worker->context->config, WDB_CONFIG_TCP_KEEPALIVE);
    if (idle > 0) {
        int interval = idle / 3 > 0 ? idle / 3 : 1;
        int count = 3;
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    }
}

/* --- reading ------------------------------------------------------------------- */

void wdb_connection_quiet(struct wdb_connection *connection)
{
    if (connection->reading) {
        uv_read_stop(&connection->uv.stream);
        connection->reading = false;
    }
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct wdb_connection *connection = handle->data;
    size_t size = 0;
    (void)suggested;
    uint8_t *room = wdb_session_input_room(connection->session, &size);
    *out = uv_buf_init((char *)room,
                       (unsigned)(size < INT32_MAX ? size : INT32_MAX));
}

/* The client closed its side, or its socket failed. */
static void end_input(struct wdb_connection *connection, ssize_t error)
{
    struct wdb_session *session = connection->session;
    const struct wdb_worker *worker = connection->worker;
    if (error == UV_EOF) {
        /* What it sent before is executed and answered first. */
        connection->ended = true;
        wdb_connection_quiet(connection);
        wdb_connection_mark(connection);
        return;
    }
    if (error == UV_ENOBUFS) {
        wdb_logger_print(worker->context->logger, WDB_LOG_WARNING,
                         "Client %s has sent more than "
                         "client-query-buffer-limit allows: closed",
                         session->about.address);
        wdb_stats_add(connection->worker->stats,
                      WDB_STATS_QUERY_BUFFER_LIMIT_CLOSED, 1);
    }
    wdb_connection_close(connection);
}

/* Whether it has sent more than is worth reading before some is executed; a
 * request that has begun is read to its end. */
static bool has_much_input(const struct wdb_session *session)
{
    return session->input.size - session->input_used >= WDB_INPUT_HOLD_SIZE &&
           session->parser.remaining <= 0;
}

static void take_input(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct wdb_connection *connection = stream->data;
    struct wdb_worker *worker = connection->worker;
    struct wdb_session *session = connection->session;
    (void)buf;
    if (WDB_UNLIKELY(size <= 0)) {
        if (size < 0) {
            end_input(connection, size);
        }
        return;
    }
    connection->active_ms = uv_now(&worker->loop);
    wdb_stats_add(worker->stats, WDB_STATS_NET_INPUT, (uint64_t)size);
    wdb_stats_add(worker->stats, WDB_STATS_READS_PROCESSED, 1);
    wdb_session_input_add(session, (size_t)size);
    wdb_executor_add(worker->executor, session);
    if (WDB_UNLIKELY(has_much_input(session))) {
        wdb_connection_quiet(connection);
        wdb_connection_mark(connection);
    }
}

static void go_on_reading(struct wdb_connection *connection)
{
    const struct wdb_session *session = connection->session;
    if (WDB_LIKELY(connection->reading)) {
        return;
    }
    if (connection->closing || connection->ended || has_much_input(session) ||
        session->output.size >= WDB_OUTPUT_HOLD_SIZE ||
        (session->flags & WDB_SESSION_CLOSING) ||
        connection->worker->phase_reached != WDB_PHASE_SERVE) {
        return;
    }
    if (uv_read_start(&connection->uv.stream, give_room, take_input) == 0) {
        connection->reading = true;
    } else {
        wdb_connection_close(connection);
    }
}

/* --- open and close ------------------------------------------------------------- */

static int attach(struct wdb_connection *connection, int fd, bool is_unix)
{
    uv_loop_t *loop = &connection->worker->loop;
    int rc;
    if (is_unix) {
        rc = uv_pipe_init(loop, &connection->uv.pipe, 0);
        if (rc == 0) {
            connection->uv.handle.data = connection;
            rc = uv_pipe_open(&connection->uv.pipe, fd);
        }
    } else {
        rc = uv_tcp_init(loop, &connection->uv.tcp);
        if (rc == 0) {
            connection->uv.handle.data = connection;
            rc = uv_tcp_open(&connection->uv.tcp, fd);
        }
    }
    return rc;
}

static void free_unattached(uv_handle_t *handle)
{
    free(handle->data);
}

/* Say no and hang up. */
static void refuse(int fd, const char *text)
{
    ssize_t rc = send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)rc;
    close(fd);
}

/* Whether this client may come in; else it was told why not. */
static bool admit(struct wdb_worker *worker, int fd, bool local)
{
    const struct wdb_context *context = worker->context;
    if (atomic_load_explicit(&context->session_count, memory_order_relaxed) >=
        wdb_config_u64(context->config, WDB_CONFIG_MAXCLIENTS)) {
        wdb_stats_add(worker->stats, WDB_STATS_CONNECTIONS_REJECTED, 1);
        refuse(fd, MAXCLIENTS_TEXT);
        return false;
    }
    if (!local && wdb_config_bool(context->config, WDB_CONFIG_PROTECTED_MODE) &&
        wdb_config_matches(context->config, WDB_CONFIG_REQUIREPASS,
                           wdb_slice("", 0))) {
        wdb_stats_add(worker->stats, WDB_STATS_CONNECTIONS_REJECTED, 1);
        refuse(fd, DENIED_TEXT);
        return false;
    }
    return true;
}

void wdb_connection_open(struct wdb_worker *worker, int fd, bool is_unix)
{
    char peer[128], local[128];
    bool on_machine = read_addresses(worker, fd, is_unix, peer, local);
    if (!admit(worker, fd, on_machine)) {
        return;
    }
    struct wdb_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        refuse(fd, MAXCLIENTS_TEXT);
        return;
    }
    connection->worker = worker;
    if (!is_unix) {
        set_socket_options(worker, fd);
    }
    if (attach(connection, fd, is_unix) != 0) {
        close(fd);
        uv_close(&connection->uv.handle, free_unattached);
        return;
    }
    const struct wdb_session_info info = {.address = peer,
                                          .local_address = local,
                                          .fd = fd,
                                          .unix_socket = is_unix,
                                          .owner = connection};
    if (wdb_session_new(worker->context, worker->executor, &info,
                        &connection->session) != 0) {
        uv_close(&connection->uv.handle, free_unattached);
        return;
    }
    connection->session->output.cache = &worker->cache;
    connection->active_ms = uv_now(&worker->loop);
    wdb_stats_add(worker->stats, WDB_STATS_CONNECTIONS, 1);
    wdb_list_append(&worker->connections, &connection->node);
    wdb_list_init(&connection->send_node);
    go_on_reading(connection);
}

void wdb_connection_reap(struct wdb_connection *connection)
{
    struct wdb_session *session = connection->session;
    bool parked = (session->flags & WDB_SESSION_PARKED) != 0 &&
                  (session->flags & WDB_SESSION_PAUSED) == 0;
    if (!connection->closed || parked) {
        return;
    }
    wdb_executor_remove(connection->worker->executor, session);
    wdb_list_remove(&connection->node);
    wdb_list_remove(&connection->send_node);
    wdb_session_free(session);
    free(connection);
}

static void on_closed(uv_handle_t *handle)
{
    struct wdb_connection *connection = handle->data;
    connection->closed = true;
    wdb_connection_reap(connection);
}

void wdb_connection_close(struct wdb_connection *connection)
{
    if (!connection->closing) {
        connection->closing = true;
        connection->session->flags |= WDB_SESSION_CLOSING;
        wdb_executor_remove(connection->worker->executor, connection->session);
        wdb_connection_quiet(connection);
        uv_close(&connection->uv.handle, on_closed);
    }
}

void wdb_connection_mark(struct wdb_connection *connection)
{
    if (wdb_list_empty(&connection->send_node)) {
        wdb_list_append(&connection->worker->sending, &connection->send_node);
    }
}

/* --- sending ------------------------------------------------------------------------ */

static void count_sent(struct wdb_connection *connection, size_t size)
{
    struct wdb_worker *worker = connection->worker;
    connection->active_ms = uv_now(&worker->loop);
    wdb_session_sent(connection->session, size);
    wdb_stats_add(worker->stats, WDB_STATS_NET_OUTPUT, size);
    wdb_stats_add(worker->stats, WDB_STATS_WRITES_PROCESSED, 1);
}

static void on_written(uv_write_t *request, int status)
{
    struct wdb_connection *connection = request->data;
    size_t size = connection->write_size;
    connection->write_size = 0;
    if (status != 0) {
        wdb_connection_close(connection);
        return;
    }
    count_sent(connection, size);
    wdb_connection_mark(connection);
}

/* The head of the output as libuv wants it; returns how many vectors. */
static unsigned gather(const struct wdb_connection *connection, size_t sendable,
                       uv_buf_t bufs[WDB_SEND_VECTORS], size_t *size_out)
{
    struct iovec vector[WDB_SEND_VECTORS];
    size_t size = 0;
    if (sendable > WDB_SEND_SIZE_MAX) {
        sendable = WDB_SEND_SIZE_MAX;
    }
    int count = wdb_output_peek(&connection->session->output, vector,
                                WDB_SEND_VECTORS, sendable);
    for (int i = 0; i < count; i++) {
        bufs[i] = uv_buf_init(vector[i].iov_base, (unsigned)vector[i].iov_len);
        size += vector[i].iov_len;
    }
    *size_out = size;
    return (unsigned)count;
}

/* Hand the rest to libuv. */
static void write_later(struct wdb_connection *connection, size_t sendable)
{
    uv_buf_t bufs[WDB_SEND_VECTORS];
    size_t size;
    unsigned count = gather(connection, sendable, bufs, &size);
    connection->write.data = connection;
    connection->write_size = size;
    if (uv_write(&connection->write, &connection->uv.stream, bufs, count,
                 on_written) != 0) {
        connection->write_size = 0;
        wdb_connection_close(connection);
    }
}

/* Send up to `sendable` bytes now; false if the socket is full or gone. */
static bool write_now(struct wdb_connection *connection, size_t sendable)
{
    uv_buf_t bufs[WDB_SEND_VECTORS];
    size_t size;
    unsigned count = gather(connection, sendable, bufs, &size);
    int sent = uv_try_write(&connection->uv.stream, bufs, count);
    if (sent == UV_EAGAIN) {
        write_later(connection, sendable);
        return false;
    }
    if (sent < 0) {
        wdb_connection_close(connection);
        return false;
    }
    count_sent(connection, (size_t)sent);
    if ((size_t)sent < size) {
        write_later(connection, sendable - (size_t)sent);
        return false;
    }
    return true;
}

/* Nothing is left that it could still be answered. */
static bool is_finished(const struct wdb_connection *connection)
{
    const struct wdb_session *session = connection->session;
    if (session->output.size > 0) {
        return false;
    }
    if (session->flags & WDB_SESSION_CLOSING) {
        return true;
    }
    return connection->ended && (session->flags & WDB_SESSION_PARKED) == 0 &&
           session->forwarded == 0 && wdb_list_empty(&session->ready_node) &&
           !session->output_full; /* then settle lets it go on */
}

/* It is to be closed although there is output for it. */
static bool is_hopeless(const struct wdb_connection *connection)
{
    const struct wdb_session *session = connection->session;
    const uint32_t last_words =
        WDB_SESSION_CLOSING | WDB_SESSION_CLOSE_AFTER_REPLY;
    if (session->output.failed) {
        return true;
    }
    if ((session->flags & last_words) == WDB_SESSION_CLOSING) {
        return true; /* killed, or it spoke another protocol */
    }
    return (session->flags & WDB_SESSION_AUTHENTICATED) == 0 &&
           session->output.size > WDB_STRANGER_OUTPUT_MAX;
}

/* What is left when nothing more can be sent now. */
static void settle(struct wdb_connection *connection)
{
    struct wdb_session *session = connection->session;
    if (WDB_UNLIKELY(session->output.size >= WDB_OUTPUT_HOLD_SIZE)) {
        wdb_connection_quiet(connection); /* and nothing is executed */
        return;
    }
    if (WDB_UNLIKELY(session->input.size > session->input_used)) {
        wdb_executor_add(connection->worker->executor, session);
    }
    go_on_reading(connection);
}

void wdb_connection_send(struct wdb_connection *connection,
                         struct wdb_gate gate)
{
    struct wdb_session *session = connection->session;
    wdb_list_remove(&connection->send_node);
    if (connection->closing) {
        wdb_connection_reap(connection);
        return;
    }
    if (atomic_load_explicit(&session->kill, memory_order_acquire)) {
        wdb_connection_close(connection);
        return;
    }
    size_t sendable = wdb_session_sendable(session, gate);
    while (sendable > 0 && connection->write_size == 0) {
        if (!write_now(connection, sendable)) {
            break;
        }
        sendable = wdb_session_sendable(session, gate);
    }
    if (connection->closing) {
        return;
    }
    if (WDB_UNLIKELY(is_hopeless(connection) || is_finished(connection))) {
        wdb_connection_close(connection);
        return;
    }
    if (session->mark_count > 0) {
        wdb_connection_mark(connection); /* something waits at the gate */
    }
    settle(connection);
}

/* --- the timer ---------------------------------------------------------------------- */

/* The limits of its class: those who only listen have the one of pubsub. */
struct output_limit {
    uint64_t hard, soft, soft_ms;
};

static struct output_limit output_limit(const struct wdb_connection *connection)
{
    const struct wdb_config *config = connection->worker->context->config;
    bool listens = (connection->session->flags & WDB_SESSION_MONITOR) != 0;
    enum wdb_config_id first =
        listens ? WDB_CONFIG_OUTPUT_HARD_PUBSUB : WDB_CONFIG_OUTPUT_HARD_NORMAL;
    return (struct output_limit){
        .hard = wdb_config_u64(config, first),
        .soft = wdb_config_u64(config, first + 1),
        .soft_ms = 1000 * wdb_config_u64(config, first + 2),
    };
}

/* More unsent output than client-output-buffer-limit allows? */
static bool over_limit(struct wdb_connection *connection, uint64_t now_ms)
{
    const struct output_limit limit = output_limit(connection);
    const size_t size = connection->session->output.size;
    if (limit.hard != 0 && size > limit.hard) {
        return true;
    }
    if (limit.soft == 0 || size <= limit.soft) {
        connection->soft_since_ms = 0;
        return false;
    }
    if (connection->soft_since_ms == 0) {
        connection->soft_since_ms = now_ms;
    }
    return now_ms - connection->soft_since_ms >= limit.soft_ms;
}

static bool over_time(const struct wdb_connection *connection, uint64_t now_ms)
{
    const struct wdb_session *session = connection->session;
    const uint64_t idle_ms = now_ms - connection->active_ms;
    const uint64_t timeout_s =
        wdb_config_u64(connection->worker->context->config, WDB_CONFIG_TIMEOUT);
    if ((session->flags & WDB_SESSION_CLOSING) || connection->ended) {
        return idle_ms > LAST_WORDS_MS; /* it does not read its last reply */
    }
    return timeout_s != 0 && idle_ms > timeout_s * 1000 &&
           session->forwarded == 0 &&
           (session->flags & (WDB_SESSION_PARKED | WDB_SESSION_MONITOR)) == 0;
}

bool wdb_connection_limit(struct wdb_connection *connection)
{
    struct wdb_worker *worker = connection->worker;
    if (!over_limit(connection, uv_now(&worker->loop))) {
        return false;
    }
    wdb_logger_print(worker->context->logger, WDB_LOG_WARNING,
                     "Client %s does not read its replies: closed by "
                     "client-output-buffer-limit",
                     connection->session->about.address);
    wdb_stats_add(worker->stats, WDB_STATS_OUTPUT_BUFFER_LIMIT_CLOSED, 1);
    wdb_connection_close(connection);
    return true;
}

void wdb_connection_tick(struct wdb_connection *connection)
{
    struct wdb_session *session = connection->session;
    struct wdb_worker *worker = connection->worker;
    const uint64_t now_ms = uv_now(&worker->loop);
    if (connection->closing) {
        wdb_connection_reap(connection);
        return;
    }
    if (wdb_connection_limit(connection)) {
        return;
    }
    if (over_time(connection, now_ms)) {
        wdb_stats_add(worker->stats, WDB_STATS_TIMEOUT_CLOSED, 1);
        wdb_connection_close(connection);
    } else if (session->input.size == session->input_used &&
               now_ms - connection->active_ms > IDLE_MS) {
        session->input_used = 0;
        wdb_buffer_release(&session->input);
    }
}
