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

static void hold_reading(struct wdb_connection *connection)
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

static void take_input(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct wdb_connection *connection = stream->data;
    struct wdb_session *session = connection->session;
    (void)buf;
    if (size == 0) {
        return;
    }
    if (size < 0) {
        if (size == UV_ENOBUFS) {
            wdb_logger_print(connection->worker->context->logger,
                             WDB_LOG_WARNING,
                             "client %s has sent more than "
                             "client-query-buffer-limit allows: closed",
                             session->about.address);
            wdb_stats_add(connection->worker->stats,
                          WDB_STATS_QUERY_BUFFER_LIMIT_CLOSED, 1);
        }
        wdb_connection_close(connection);
        return;
    }
    wdb_stats_add(connection->worker->stats, WDB_STATS_NET_INPUT,
                  (uint64_t)size);
    wdb_session_input_add(session, (size_t)size);
    wdb_executor_add(connection->worker->executor, session);
    if (session->parser.bulk_size <= 0 &&
        session->input.size - session->input_used >= WDB_INPUT_HOLD_SIZE) {
        hold_reading(connection);
        wdb_connection_mark(connection);
    }
}

static void go_on_reading(struct wdb_connection *connection)
{
    const struct wdb_session *session = connection->session;
    bool full =
        session->parser.bulk_size <= 0 &&
        session->input.size - session->input_used >= WDB_INPUT_HOLD_SIZE;
    if (connection->reading || connection->closing || full ||
        session->output.size >= WDB_OUTPUT_HOLD_SIZE ||
        (session->flags & WDB_SESSION_CLOSING)) {
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
        hold_reading(connection);
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
    wdb_session_sent(connection->session, size);
    wdb_stats_add(connection->worker->stats, WDB_STATS_NET_OUTPUT, size);
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

/* Hand the rest to libuv. */
static void write_later(struct wdb_connection *connection, size_t sendable)
{
    struct iovec vector[WDB_SEND_VECTORS];
    uv_buf_t bufs[WDB_SEND_VECTORS];
    int count = wdb_output_peek(&connection->session->output, vector,
                                WDB_SEND_VECTORS, sendable);
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        bufs[i] = uv_buf_init(vector[i].iov_base, (unsigned)vector[i].iov_len);
        size += vector[i].iov_len;
    }
    connection->write.data = connection;
    connection->write_size = size;
    if (uv_write(&connection->write, &connection->uv.stream, bufs,
                 (unsigned)count, on_written) != 0) {
        connection->write_size = 0;
        wdb_connection_close(connection);
    }
}

/* Send up to `sendable` bytes now; false if the socket is full or gone. */
static bool write_now(struct wdb_connection *connection, size_t sendable)
{
    struct iovec vector[WDB_SEND_VECTORS];
    uv_buf_t bufs[WDB_SEND_VECTORS];
    if (sendable > WDB_SEND_SIZE_MAX) {
        sendable = WDB_SEND_SIZE_MAX;
    }
    int count = wdb_output_peek(&connection->session->output, vector,
                                WDB_SEND_VECTORS, sendable);
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        bufs[i] = uv_buf_init(vector[i].iov_base, (unsigned)vector[i].iov_len);
        size += vector[i].iov_len;
    }
    int sent = uv_try_write(&connection->uv.stream, bufs, (unsigned)count);
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

/* What is left when nothing more can be sent now. */
static void settle(struct wdb_connection *connection)
{
    struct wdb_session *session = connection->session;
    if (session->output.failed) {
        wdb_connection_close(connection);
        return;
    }
    if (session->output.size == 0 && (session->flags & WDB_SESSION_CLOSING)) {
        wdb_connection_close(connection);
        return;
    }
    if (session->output.size >= WDB_OUTPUT_HOLD_SIZE) {
        hold_reading(connection);
        return;
    }
    if (session->input.size > session->input_used) {
        wdb_executor_add(connection->worker->executor, session);
    }
    go_on_reading(connection);
}

void wdb_connection_send(struct wdb_connection *connection, uint64_t gate)
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
    if (session->mark_count > 0) {
        wdb_connection_mark(connection); /* something waits at the gate */
    }
    settle(connection);
}

/* --- the timer ---------------------------------------------------------------------- */

/* More unsent output than client-output-buffer-limit allows? */
static bool over_limit(struct wdb_connection *connection, uint64_t now_ms)
{
    const struct wdb_config *config = connection->worker->context->config;
    const size_t size = connection->session->output.size;
    const uint64_t hard = wdb_config_u64(config, WDB_CONFIG_OUTPUT_HARD_NORMAL);
    const uint64_t soft = wdb_config_u64(config, WDB_CONFIG_OUTPUT_SOFT_NORMAL);
    if (hard != 0 && size > hard) {
        return true;
    }
    if (soft == 0 || size <= soft) {
        connection->soft_since_ms = 0;
        return false;
    }
    if (connection->soft_since_ms == 0) {
        connection->soft_since_ms = now_ms;
    }
    return now_ms - connection->soft_since_ms >=
           1000 * wdb_config_u64(config, WDB_CONFIG_OUTPUT_SECONDS_NORMAL);
}

void wdb_connection_tick(struct wdb_connection *connection, uint64_t now_ms)
{
    struct wdb_session *session = connection->session;
    const struct wdb_context *context = connection->worker->context;
    if (connection->closing) {
        wdb_connection_reap(connection);
        return;
    }
    if (over_limit(connection, now_ms)) {
        wdb_logger_print(context->logger, WDB_LOG_WARNING,
                         "client %s does not read its replies: closed by "
                         "client-output-buffer-limit",
                         session->about.address);
        wdb_stats_add(connection->worker->stats,
                      WDB_STATS_OUTPUT_BUFFER_LIMIT_CLOSED, 1);
        wdb_connection_close(connection);
        return;
    }
    const uint64_t timeout_s =
        wdb_config_u64(context->config, WDB_CONFIG_TIMEOUT);
    const uint64_t active =
        atomic_load_explicit(&session->last_active_ms, memory_order_relaxed);
    if (timeout_s != 0 && now_ms > active &&
        now_ms - active > timeout_s * 1000 &&
        (session->flags & (WDB_SESSION_PARKED | WDB_SESSION_MONITOR)) == 0) {
        wdb_stats_add(connection->worker->stats, WDB_STATS_TIMEOUT_CLOSED, 1);
        wdb_connection_close(connection);
    }
}
