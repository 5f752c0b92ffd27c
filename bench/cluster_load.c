/*
 * cluster_load.c - clients that write or read for some seconds, each with one
 * request at a time: RESP, or etcd's gRPC over HTTP/2, from the same loop, so
 * that what the generator costs is alike.
 *
 *   cluster_load [-P resp|etcd] [-o set|get|load] [-a HOST:PORT,...] [-c CLIENTS]
 *                [-m STREAMS] [-d BYTES] [-k KEYS] [-s SECONDS] [-w SECONDS]
 *
 * Clients are spread over the addresses; -m puts so many clients on one HTTP/2
 * connection. "load" writes every key once. One line of JSON is printed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEY_SIZE      16
#define VALUE_MAX     65536
#define ADDRESSES_MAX 16
#define STREAMS_MAX   256
#define BUFFER_SIZE   (1 << 20)

enum operation {
    OPERATION_SET,
    OPERATION_GET,
    OPERATION_LOAD
};

/* HTTP/2 frames. */
enum frame {
    FRAME_DATA = 0,
    FRAME_HEADERS = 1,
    FRAME_RST_STREAM = 3,
    FRAME_SETTINGS = 4,
    FRAME_PING = 6,
    FRAME_GOAWAY = 7,
    FRAME_WINDOW_UPDATE = 8,
};
#define FLAG_ACK         0x1
#define FLAG_END_STREAM  0x1
#define FLAG_END_HEADERS 0x4
#define WINDOW_DEFAULT   65535
#define WINDOW_OURS      (1 << 30)

/* One client; has at most one request under way. */
struct slot {
    uint32_t stream; /* HTTP/2: of the request under way; 0: none */
    bool has_data;
    uint64_t sent_ns;
};

struct connection {
    int fd;
    bool wants_write;
    const char *authority;
    struct slot slots[STREAMS_MAX];
    uint32_t slot_count;
    uint32_t waiting[STREAMS_MAX]; /* slots that wait for the window */
    uint32_t waiting_count;
    uint32_t next_stream;
    bool headers_known;
    int64_t window;    /* what may be sent */
    uint32_t consumed; /* received and not given back yet */
    uint8_t *in, *out;
    size_t in_size, out_start, out_end;
};

struct load {
    bool is_etcd;
    enum operation operation;
    char *addresses[ADDRESSES_MAX];
    uint32_t address_count;
    uint32_t clients, streams, value_size;
    uint64_t keys, next_key;
    double seconds, warmup;
    uint64_t random;
    uint8_t value[VALUE_MAX];
    struct connection *connections;
    uint32_t connection_count;
    int epoll;
    uint64_t now_ns, start_ns, end_ns;
    bool is_over;
    uint32_t under_way;
    uint64_t done, errors, misses;
    uint64_t all; /* with those of the warm-up */
    char first_error[128];
    uint32_t *latencies_us;
    size_t latency_count, latency_room;
};

static void die(const char *text)
{
    fprintf(stderr, "cluster_load: %s\n", text);
    exit(1);
}

static uint64_t clock_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t draw(struct load *load)
{
    load->random ^= load->random << 13;
    load->random ^= load->random >> 7;
    load->random ^= load->random << 17;
    return load->random;
}

static uint8_t *reserve(struct connection *connection, size_t size)
{
    if (connection->out_end + size > BUFFER_SIZE) {
        memmove(connection->out, connection->out + connection->out_start,
                connection->out_end - connection->out_start);
        connection->out_end -= connection->out_start;
        connection->out_start = 0;
    }
    if (connection->out_end + size > BUFFER_SIZE) {
        die("the output buffer is full");
    }
    uint8_t *at = connection->out + connection->out_end;
    connection->out_end += size;
    return at;
}

static void put(struct connection *connection, const void *data, size_t size)
{
    memcpy(reserve(connection, size), data, size);
}

static void put_u32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

static uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 |
           (uint32_t)at[2] << 8 | at[3];
}

static void draw_key(struct load *load, char key[KEY_SIZE + 1])
{
    uint64_t number =
        load->operation == OPERATION_LOAD ? load->next_key++ : draw(load);
    snprintf(key, KEY_SIZE + 1, "key:%012" PRIu64,
             number % load->keys % 1000000000000u);
}

/* -- RESP ------------------------------------------------------------------- */

static void resp_request(struct load *load, struct connection *connection)
{
    char key[KEY_SIZE + 1];
    char text[96];
    draw_key(load, key);
    if (load->operation == OPERATION_GET) {
        int size = snprintf(text, sizeof(text),
                            "*2\r\n$3\r\nGET\r\n$16\r\n%s\r\n", key);
        put(connection, text, (size_t)size);
        return;
    }
    int size =
        snprintf(text, sizeof(text), "*3\r\n$3\r\nSET\r\n$16\r\n%s\r\n$%u\r\n",
                 key, load->value_size);
    put(connection, text, (size_t)size);
    put(connection, load->value, load->value_size);
    put(connection, "\r\n", 2);
}

static void count_error(struct load *load, const void *text, size_t size)
{
    if (load->errors++ == 0) {
        size = size < sizeof(load->first_error) - 1
                   ? size
                   : sizeof(load->first_error) - 1;
        for (size_t i = 0; i < size; i++) {
            char c = ((const char *)text)[i];
            load->first_error[i] = c < ' ' || c == '"' || c == '\\' ? '.' : c;
        }
    }
}

/* The size of the reply at the front of the buffer; 0: it is not whole. */
static size_t resp_reply(struct load *load, const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    if (end == NULL) {
        return 0;
    }
    size_t line = (size_t)(end - data) + 1;
    if (data[0] == '-') {
        count_error(load, data, line - 2);
        return line;
    }
    if (data[0] != '$') {
        return line;
    }
    long length = strtol((const char *)data + 1, NULL, 10);
    if (length < 0) {
        load->misses++;
        return line;
    }
    size_t whole = line + (size_t)length + 2;
    return size < whole ? 0 : whole;
}

/* -- gRPC over HTTP/2 --------------------------------------------------------- */

static void put_frame(struct connection *connection, uint32_t size,
                      enum frame kind, uint8_t flags, uint32_t stream)
{
    uint8_t head[9] = {(uint8_t)(size >> 16), (uint8_t)(size >> 8),
                       (uint8_t)size, (uint8_t)kind, flags};
    put_u32(head + 5, stream);
    put(connection, head, sizeof(head));
}

static void put_window_update(struct connection *connection, uint32_t size)
{
    uint8_t data[4];
    put_u32(data, size);
    put_frame(connection, sizeof(data), FRAME_WINDOW_UPDATE, 0, 0);
    put(connection, data, sizeof(data));
}

static void http_begin(struct connection *connection)
{
    static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    put(connection, PREFACE, sizeof(PREFACE) - 1);
    /* Initial window of the streams: the greatest. */
    static const uint8_t SETTINGS[6] = {0, 4, 0x7f, 0xff, 0xff, 0xff};
    put_frame(connection, sizeof(SETTINGS), FRAME_SETTINGS, 0, 0);
    put(connection, SETTINGS, sizeof(SETTINGS));
    put_window_update(connection, WINDOW_OURS - WINDOW_DEFAULT);
    connection->window = WINDOW_DEFAULT;
    connection->next_stream = 1;
}

static size_t put_literal(uint8_t *at, uint8_t name, const char *text)
{
    size_t size = strlen(text);
    at[0] = name;
    at[1] = (uint8_t)size; /* below 127, not Huffman coded */
    memcpy(at + 2, text, size);
    return size + 2;
}

/* The first request puts its headers into the table, the others refer to it. */
static void put_headers(struct load *load, struct connection *connection,
                        uint32_t stream)
{
    static const uint8_t KNOWN[] = {0x83, 0x86, 0xc1, 0xc0, 0xbf, 0xbe};
    uint8_t block[256];
    size_t size = 0;
    if (connection->headers_known) {
        memcpy(block, KNOWN, sizeof(KNOWN));
        size = sizeof(KNOWN);
    } else {
        block[size++] = 0x83; /* :method POST */
        block[size++] = 0x86; /* :scheme http */
        size += put_literal(block + size, 0x44,
                            load->operation == OPERATION_GET
                                ? "/etcdserverpb.KV/Range"
                                : "/etcdserverpb.KV/Put");
        size += put_literal(block + size, 0x41, connection->authority);
        size += put_literal(block + size, 0x5f, "application/grpc");
        block[size++] = 0x40;
        memcpy(block + size, "\2te\10trailers", 12);
        size += 12;
        connection->headers_known = true;
    }
    put_frame(connection, (uint32_t)size, FRAME_HEADERS, FLAG_END_HEADERS,
              stream);
    put(connection, block, size);
}

static size_t put_varint(uint8_t *at, uint32_t value)
{
    size_t size = 0;
    for (; value >= 0x80; value >>= 7) {
        at[size++] = (uint8_t)(value | 0x80);
    }
    at[size++] = (uint8_t)value;
    return size;
}

static bool http_request(struct load *load, struct connection *connection,
                         struct slot *slot)
{
    bool writes = load->operation != OPERATION_GET;
    uint8_t head[5 + 2 + KEY_SIZE + 8] = {0};
    char key[KEY_SIZE + 1];
    size_t size = 5;
    head[size++] = 0x0a; /* key */
    head[size++] = KEY_SIZE;
    size_t at_key = size;
    size += KEY_SIZE;
    if (writes) {
        head[size++] = 0x12; /* value */
        size += put_varint(head + size, load->value_size);
    }
    uint32_t whole = (uint32_t)size + (writes ? load->value_size : 0);
    if (connection->window < (int64_t)whole) {
        return false;
    }
    draw_key(load, key);
    memcpy(head + at_key, key, KEY_SIZE);
    put_u32(head + 1, whole - 5);
    connection->window -= whole;
    slot->stream = connection->next_stream;
    slot->has_data = false;
    connection->next_stream += 2;
    put_headers(load, connection, slot->stream);
    put_frame(connection, whole, FRAME_DATA, FLAG_END_STREAM, slot->stream);
    put(connection, head, size);
    if (writes) {
        put(connection, load->value, load->value_size);
    }
    return true;
}

/* -- the loop ------------------------------------------------------------------- */

static void request(struct load *load, struct connection *connection,
                    uint32_t number)
{
    if (load->operation == OPERATION_LOAD && load->next_key >= load->keys) {
        return;
    }
    struct slot *slot = &connection->slots[number];
    slot->sent_ns = load->now_ns;
    if (!load->is_etcd) {
        resp_request(load, connection);
    } else if (!http_request(load, connection, slot)) {
        connection->waiting[connection->waiting_count++] = number;
        return;
    }
    load->under_way++;
}

static void remember(struct load *load, uint64_t latency_ns)
{
    if (load->latency_count == load->latency_room) {
        load->latency_room =
            load->latency_room ? load->latency_room * 2 : 65536;
        load->latencies_us =
            realloc(load->latencies_us, load->latency_room * sizeof(uint32_t));
        if (load->latencies_us == NULL) {
            die("no memory");
        }
    }
    load->latencies_us[load->latency_count++] = (uint32_t)(latency_ns / 1000);
}

/* The request of a slot is answered: count it, send the next. */
static void answered(struct load *load, struct connection *connection,
                     uint32_t number)
{
    load->under_way--;
    load->all++;
    if (load->now_ns >= load->start_ns && !load->is_over) {
        load->done++;
        remember(load, load->now_ns - connection->slots[number].sent_ns);
    }
    if (!load->is_over) {
        request(load, connection, number);
    }
}

static void http_end_stream(struct load *load, struct connection *connection,
                            uint32_t stream)
{
    for (uint32_t i = 0; i < connection->slot_count; i++) {
        struct slot *slot = &connection->slots[i];
        if (slot->stream == stream) {
            if (!slot->has_data) {
                count_error(load, "no data in the answer", 21);
            }
            slot->stream = 0;
            answered(load, connection, i);
            return;
        }
    }
}

static void http_data(struct load *load, struct connection *connection,
                      uint32_t stream, uint32_t size)
{
    for (uint32_t i = 0; i < connection->slot_count; i++) {
        if (connection->slots[i].stream == stream && size > 5) {
            connection->slots[i].has_data = true;
            if (load->operation == OPERATION_GET && size < load->value_size) {
                load->misses++;
            }
        }
    }
    connection->consumed += size;
    if (connection->consumed > WINDOW_OURS / 4) {
        put_window_update(connection, connection->consumed);
        connection->consumed = 0;
    }
}

static void http_window(struct load *load, struct connection *connection,
                        uint32_t size)
{
    connection->window += size;
    uint32_t count = connection->waiting_count;
    uint32_t waiting[STREAMS_MAX];
    memcpy(waiting, connection->waiting, count * sizeof(uint32_t));
    connection->waiting_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        request(load, connection, waiting[i]);
    }
}

/* The size of the frame at the front of the buffer; 0: it is not whole. */
static size_t http_frame(struct load *load, struct connection *connection,
                         const uint8_t *data, size_t size)
{
    if (size < 9) {
        return 0;
    }
    uint32_t length = get_u32(data) >> 8;
    if (size < 9 + (size_t)length) {
        return 0;
    }
    uint8_t flags = data[4];
    uint32_t stream = get_u32(data + 5) & 0x7fffffff;
    const uint8_t *payload = data + 9;
    switch (data[3]) {
    case FRAME_DATA:
        http_data(load, connection, stream, length);
        break;
    case FRAME_SETTINGS:
        if (!(flags & FLAG_ACK)) {
            put_frame(connection, 0, FRAME_SETTINGS, FLAG_ACK, 0);
        }
        break;
    case FRAME_PING:
        if (!(flags & FLAG_ACK)) {
            put_frame(connection, 8, FRAME_PING, FLAG_ACK, 0);
            put(connection, payload, 8);
        }
        break;
    case FRAME_WINDOW_UPDATE:
        if (stream == 0) {
            http_window(load, connection, get_u32(payload));
        }
        break;
    case FRAME_GOAWAY:
        die("the server says GOAWAY");
        break;
    default:
        break;
    }
    if (data[3] == FRAME_RST_STREAM ||
        ((data[3] == FRAME_DATA || data[3] == FRAME_HEADERS) &&
         (flags & FLAG_END_STREAM))) {
        http_end_stream(load, connection, stream);
    }
    return 9 + (size_t)length;
}

static void wait_writable(struct load *load, struct connection *connection,
                          bool wanted)
{
    if (connection->wants_write == wanted) {
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0),
                                .data = {.ptr = connection}};
    epoll_ctl(load->epoll, EPOLL_CTL_MOD, connection->fd, &event);
    connection->wants_write = wanted;
}

static void flush(struct load *load, struct connection *connection)
{
    while (connection->out_start < connection->out_end) {
        ssize_t size =
            send(connection->fd, connection->out + connection->out_start,
                 connection->out_end - connection->out_start,
                 MSG_NOSIGNAL | MSG_DONTWAIT);
        if (size < 0 && errno == EAGAIN) {
            break;
        }
        if (size < 0) {
            die(strerror(errno));
        }
        connection->out_start += (size_t)size;
    }
    if (connection->out_start == connection->out_end) {
        connection->out_start = connection->out_end = 0;
    }
    wait_writable(load, connection, connection->out_end > 0);
}

static void receive(struct load *load, struct connection *connection)
{
    ssize_t size = recv(connection->fd, connection->in + connection->in_size,
                        BUFFER_SIZE - connection->in_size, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (size <= 0) {
        die("a connection was closed by the server");
    }
    connection->in_size += (size_t)size;
    size_t at = 0;
    for (;;) {
        size_t left = connection->in_size - at;
        size_t used =
            load->is_etcd
                ? http_frame(load, connection, connection->in + at, left)
                : resp_reply(load, connection->in + at, left);
        if (used == 0) {
            break;
        }
        at += used;
        if (!load->is_etcd) {
            answered(load, connection, 0);
        }
    }
    memmove(connection->in, connection->in + at, connection->in_size - at);
    connection->in_size -= at;
}

static int connect_to(const char *address)
{
    char host[256];
    const char *colon = strrchr(address, ':');
    if (colon == NULL || (size_t)(colon - address) >= sizeof(host)) {
        die("an address is HOST:PORT");
    }
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = 0;
    struct addrinfo *found = NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0) {
        die("can't resolve the host");
    }
    int fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        die(strerror(errno));
    }
    freeaddrinfo(found);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static void open_connections(struct load *load)
{
    uint32_t streams = load->is_etcd ? load->streams : 1;
    load->connection_count = (load->clients + streams - 1) / streams;
    load->connections =
        calloc(load->connection_count, sizeof(*load->connections));
    load->epoll = epoll_create1(0);
    if (load->connections == NULL || load->epoll < 0) {
        die("no memory");
    }
    uint32_t left = load->clients;
    for (uint32_t i = 0; i < load->connection_count; i++) {
        struct connection *connection = &load->connections[i];
        connection->authority = load->addresses[i % load->address_count];
        connection->fd = connect_to(connection->authority);
        connection->in = malloc(BUFFER_SIZE);
        connection->out = malloc(BUFFER_SIZE);
        if (connection->in == NULL || connection->out == NULL) {
            die("no memory");
        }
        connection->slot_count = left < streams ? left : streams;
        left -= connection->slot_count;
        struct epoll_event event = {.events = EPOLLIN,
                                    .data = {.ptr = connection}};
        epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->fd, &event);
    }
}

static void begin(struct load *load)
{
    load->now_ns = clock_ns();
    load->start_ns = load->now_ns + (uint64_t)(load->warmup * 1e9);
    load->end_ns = load->start_ns + (uint64_t)(load->seconds * 1e9);
    if (load->operation == OPERATION_LOAD) {
        load->start_ns = load->now_ns;
        load->end_ns = UINT64_MAX;
    }
    for (uint32_t i = 0; i < load->connection_count; i++) {
        struct connection *connection = &load->connections[i];
        if (load->is_etcd) {
            http_begin(connection);
        }
        for (uint32_t n = 0; n < connection->slot_count; n++) {
            request(load, connection, n);
        }
        flush(load, connection);
    }
}

static void run(struct load *load)
{
    struct epoll_event events[256];
    begin(load);
    while (!load->is_over) {
        int count = epoll_wait(load->epoll, events, 256, 100);
        load->now_ns = clock_ns();
        if (load->now_ns >= load->end_ns ||
            (load->operation == OPERATION_LOAD && load->under_way == 0)) {
            load->is_over = true;
            load->end_ns = load->now_ns;
            break;
        }
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
                receive(load, connection);
            }
            flush(load, connection);
        }
    }
}

static int compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static double percentile_ms(const struct load *load, double part)
{
    if (load->latency_count == 0) {
        return 0;
    }
    size_t at = (size_t)(part * (double)(load->latency_count - 1));
    return load->latencies_us[at] / 1000.0;
}

static void report(struct load *load)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double seconds = (double)(load->end_ns - load->start_ns) / 1e9;
    qsort(load->latencies_us, load->latency_count, sizeof(uint32_t), compare);
    printf("{\"operations\": %" PRIu64 ", \"all\": %" PRIu64
           ", \"seconds\": %.3f, "
           "\"per_second\": %.1f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"max_ms\": %.3f, \"errors\": %" PRIu64 ", \"misses\": %" PRIu64
           ", \"first_error\": \"%s\", \"generator_cpu_s\": %.2f}\n",
           load->done, load->all, seconds, (double)load->done / seconds,
           percentile_ms(load, .5), percentile_ms(load, .99),
           percentile_ms(load, 1), load->errors, load->misses,
           load->first_error,
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
}

static uint32_t number_of(const char *text, uint32_t max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end != 0 || value == 0 || value > max) {
        die("a number is out of range");
    }
    return (uint32_t)value;
}

static void take_addresses(struct load *load, char *text)
{
    load->address_count = 0;
    for (char *save, *part = strtok_r(text, ",", &save); part != NULL;
         part = strtok_r(NULL, ",", &save)) {
        if (load->address_count == ADDRESSES_MAX || strlen(part) > 126) {
            die("too many addresses");
        }
        load->addresses[load->address_count++] = part;
    }
}

static enum operation operation_of(const char *text)
{
    if (strcmp(text, "get") == 0) {
        return OPERATION_GET;
    }
    return strcmp(text, "load") == 0 ? OPERATION_LOAD : OPERATION_SET;
}

int main(int argc, char **argv)
{
    static char address[] = "127.0.0.1:6379";
    static struct load load = {.clients = 64,
                               .streams = 1,
                               .value_size = 100,
                               .keys = 100000,
                               .seconds = 5,
                               .warmup = 1};
    load.random = clock_ns() | 1;
    take_addresses(&load, address);
    int option;
    while ((option = getopt(argc, argv, "P:o:a:c:m:d:k:s:w:")) != -1) {
        switch (option) {
        case 'P':
            load.is_etcd = strcmp(optarg, "etcd") == 0;
            break;
        case 'o':
            load.operation = operation_of(optarg);
            break;
        case 'a':
            take_addresses(&load, optarg);
            break;
        case 'c':
            load.clients = number_of(optarg, 10000);
            break;
        case 'm':
            load.streams = number_of(optarg, STREAMS_MAX);
            break;
        case 'd':
            load.value_size = number_of(optarg, VALUE_MAX);
            break;
        case 'k':
            load.keys = number_of(optarg, 1000000000);
            break;
        case 's':
            load.seconds = strtod(optarg, NULL);
            break;
        case 'w':
            load.warmup = strtod(optarg, NULL);
            break;
        default:
            return 2;
        }
    }
    for (uint32_t i = 0; i < load.value_size; i++) {
        load.value[i] = (uint8_t)('a' + draw(&load) % 26);
    }
    open_connections(&load);
    run(&load);
    report(&load);
    return load.done == 0 || load.errors > load.done / 100;
}
