/* join.c - a small client that says JOIN, again and again. */
#include "server/join.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/peer_address.h"
#include "walkerdb.h"

#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS   3000
#define WAIT_MS        15000 /* for an answer: a change may have to wait */
#define STEP_MS        200   /* of waiting, to notice a stop */
#define REPLY_SIZE     4096

struct wdb_join {
    struct wdb_join_options options;
    pthread_t thread;
    atomic_bool stopping;
    char last_complaint[512]; /* said once, not at every attempt */
};

static void pause_ms(struct wdb_join *join, int ms)
{
    for (int left = ms; left > 0 && !atomic_load(&join->stopping);
         left -= STEP_MS) {
        const int part = left < STEP_MS ? left : STEP_MS;
        (void)poll(NULL, 0, part);
    }
}

static void complain(struct wdb_join *join, const char *where, const char *text)
{
    char complaint[sizeof(join->last_complaint)];
    snprintf(complaint, sizeof(complaint), "Joining by %s: %.300s", where,
             text);
    if (strcmp(complaint, join->last_complaint) == 0) {
        return;
    }
    memcpy(join->last_complaint, complaint, sizeof(complaint));
    wdb_logger_print(join->options.logger, WDB_LOG_WARNING,
                     "%s; trying again until it works", complaint);
}

/* --- the connection ------------------------------------------------------------- */

/* Wait until the socket can be read (or written). False: stop, or too late. */
static bool wait_for(struct wdb_join *join, int fd, short events)
{
    for (int waited = 0; waited < WAIT_MS && !atomic_load(&join->stopping);
         waited += STEP_MS) {
        struct pollfd p = {.fd = fd, .events = events};
        const int rc = poll(&p, 1, STEP_MS);
        if (rc > 0) {
            return true;
        }
        if (rc < 0 && errno != EINTR) {
            return false;
        }
    }
    return false;
}

static int connect_one(struct wdb_join *join, const struct addrinfo *info)
{
    const int fd =
        socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = 0;
    socklen_t size = sizeof(error);
    if (fd < 0) {
        return -1;
    }
    if (connect(fd, info->ai_addr, info->ai_addrlen) != 0 &&
        (errno != EINPROGRESS || !wait_for(join, fd, POLLOUT) ||
         getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 ||
         error != 0)) {
        errno = error != 0 ? error : errno;
        close(fd);
        return -1;
    }
    return fd;
}

static int dial(struct wdb_join *join, const char *address)
{
    struct wdb_peer_address parsed;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    if (wdb_peer_address_parse(address, false, &parsed) != 0) {
        complain(join, address, "it is not HOST:PORT");
        return -1;
    }
    const int rc = getaddrinfo(parsed.host, parsed.port, &hints, &list);
    if (rc != 0) {
        complain(join, address, gai_strerror(rc));
        return -1;
    }
    int fd = -1;
    for (struct addrinfo *i = list; i != NULL && fd < 0; i = i->ai_next) {
        fd = connect_one(join, i);
    }
    if (fd < 0) {
        complain(join, address, strerror(errno));
    }
    freeaddrinfo(list);
    return fd;
}

/* --- talking ---------------------------------------------------------------------- */

static bool send_all(struct wdb_join *join, int fd, const char *data,
                     size_t size)
{
    while (size > 0) {
        const ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        } else if (errno != EINTR &&
                   (errno != EAGAIN || !wait_for(join, fd, POLLOUT))) {
            return false;
        }
    }
    return true;
}

static bool send_words(struct wdb_join *join, int fd, const char *const *words,
                       int count)
{
    char text[4096];
    int size = snprintf(text, sizeof(text), "*%d\r\n", count);
    for (int i = 0; i < count && size < (int)sizeof(text); i++) {
        size += snprintf(text + size, sizeof(text) - (size_t)size,
                         "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    }
    return size < (int)sizeof(text) && send_all(join, fd, text, (size_t)size);
}

/* One line, without its end. */
static bool read_line(struct wdb_join *join, int fd, char *out, size_t size)
{
    size_t used = 0;
    while (used + 1 < size) {
        char c;
        const ssize_t got = recv(fd, &c, 1, 0);
        if (got == 1) {
            if (c == '\n') {
                used -= used > 0 && out[used - 1] == '\r';
                out[used] = '\0';
                return true;
            }
            out[used++] = c;
        } else if (got == 0 ||
                   (errno != EINTR &&
                    (errno != EAGAIN || !wait_for(join, fd, POLLIN)))) {
            return false;
        }
    }
    return false;
}

/* Taken in, but nobody is going to talk to a node without the secret (unless
 * none has one). */
static void miss_secret(struct wdb_join *join, const char *address)
{
    char text[300];
    snprintf(text, sizeof(text),
             "no secret of the cluster came with the answer: copy a member's "
             "cluster-secret to %.100s (mode 600), or set masterauth to the "
             "members' password",
             join->options.secret_dir);
    complain(join, address, text);
}

/* The reply to JOIN ... SECRET: "*2", "+OK" or "$2 OK", "$64", the secret. */
static bool read_secret(struct wdb_join *join, int fd, const char *address)
{
    char line[REPLY_SIZE];
    bool done = false;
    for (int i = 0; i < 4 && !done; i++) {
        if (!read_line(join, fd, line, sizeof(line))) {
            return false;
        }
        if (strlen(line) == 64) {
            done = join->options.keep_secret(join->options.context,
                                             wdb_slice_str(line)) == 0;
        } else if (line[0] == '_' || strcmp(line, "$-1") == 0) {
            miss_secret(join, address);
            return true;
        }
    }
    return done;
}

/* True: taken in, or so it says. */
static bool ask(struct wdb_join *join, int fd, const char *address)
{
    const struct wdb_join_options *o = &join->options;
    char line[REPLY_SIZE], id[17];
    snprintf(id, sizeof(id), "%016llx", (unsigned long long)o->self.id);
    if (o->password[0] != '\0') {
        const char *const auth[] = {"AUTH", o->password};
        if (!send_words(join, fd, auth, 2) ||
            !read_line(join, fd, line, sizeof(line)) || line[0] != '+') {
            complain(join, address, "AUTH was refused: is masterauth right?");
            return false;
        }
    }
    const char *const words[] = {
        "JOIN", o->self.name, o->self.raft_address, o->self.tcp_address,
        id,     "SECRET"};
    if (!send_words(join, fd, words, o->wants_secret ? 6 : 5) ||
        !read_line(join, fd, line, sizeof(line))) {
        complain(join, address, "no answer");
        return false;
    }
    if (line[0] == '*') {
        return read_secret(join, fd, address);
    }
    if (line[0] != '+') {
        complain(join, address, line[0] == '-' ? line + 1 : line);
        return false;
    }
    if (o->wants_secret) {
        miss_secret(join, address); /* not asked for on our behalf */
    }
    return true;
}

static void attempt(struct wdb_join *join)
{
    char addresses[sizeof(join->options.address)];
    char *rest = NULL;
    memcpy(addresses, join->options.address, sizeof(addresses));
    for (char *address = strtok_r(addresses, " ,", &rest); address != NULL;
         address = strtok_r(NULL, " ,", &rest)) {
        const int fd = dial(join, address);
        if (fd < 0) {
            continue;
        }
        const bool taken = ask(join, fd, address);
        close(fd);
        if (taken) {
            return;
        }
    }
}

static void *run(void *context)
{
    struct wdb_join *join = context;
    int pause = PAUSE_FIRST_MS;
    pthread_setname_np(pthread_self(), "wdb-join");
    while (!atomic_load(&join->stopping) &&
           !join->options.is_member(join->options.context)) {
        attempt(join);
        pause_ms(join, pause);
        pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
    }
    if (!atomic_load(&join->stopping)) {
        wdb_logger_print(join->options.logger, WDB_LOG_NOTICE,
                         "This node is a member of the cluster now");
    }
    return NULL;
}

int wdb_join_start(const struct wdb_join_options *options,
                   struct wdb_join **out)
{
    struct wdb_join *join = calloc(1, sizeof(*join));
    if (join == NULL) {
        return WALKERDB_ENOMEM;
    }
    join->options = *options;
    if (pthread_create(&join->thread, NULL, run, join) != 0) {
        free(join);
        return WALKERDB_ENOMEM;
    }
    *out = join;
    return 0;
}

void wdb_join_stop(struct wdb_join *join)
{
    if (join != NULL) {
        atomic_store(&join->stopping, true);
        pthread_join(join->thread, NULL);
        free(join);
    }
}
