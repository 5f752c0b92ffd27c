/*
 * peer_dial.c - having a connection to a node: names, addresses, trying again.
 *
 *   WAITING ──► RESOLVING ──► CONNECTING ──► UP
 *      ▲  └── number, or known ──►│  ▲ │       │
 *      │                          │  └─┘ next address
 *      └──── 20 ms to 1 s ◄───────┴────────────┘
 *
 * A name is resolved again when all addresses that it had were tried in vain;
 * if that fails, the old ones are tried again, so that nothing depends on the
 * name service once it has answered.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "net/peer_internal.h"
#include "walkerdb.h"

/* A connection that lasted so long was a good one. */
#define GOOD_NS  ((uint64_t)WDB_NS_PER_S)
#define STUCK_NS (50 * (uint64_t)WDB_NS_PER_MS)
/* The same trouble is logged so often. */
#define LOG_AGAIN_NS (60 * (uint64_t)WDB_NS_PER_S)

struct wdb_resolve {
    uv_getaddrinfo_t request;
    struct wdb_peer_dial *dial; /* NULL: nobody waits any more */
};

static void try_next(struct wdb_peer_dial *dial);

static bool is_once(const struct wdb_peer_dial *dial)
{
    return dial->peer == NULL;
}

/* --- trouble ---------------------------------------------------------------------- */

static void note_trouble(struct wdb_peer_dial *dial, const char *why,
                         bool is_answer)
{
    char at[64] = "";
    if (dial->trouble_is_answer && !is_answer) {
        return; /* what a node said tells more than what sockets say */
    }
    if (dial->address_next > 0 && !dial->is_numeric) {
        const struct sockaddr_storage *address =
            &dial->addresses[dial->address_next - 1];
        wdb_peer_address_format((const struct sockaddr *)address, at,
                                sizeof(at));
    }
    snprintf(dial->trouble, sizeof(dial->trouble), "%s%s%.*s", at,
             at[0] == '\0' ? "" : ": ", WDB_HANDSHAKE_TEXT_MAX, why);
    dial->trouble_is_answer = is_answer;
}

/* Say it when it is new, and then now and again; for one of the connections of
 * a peer. */
static void log_trouble(struct wdb_peer_dial *dial)
{
    uint64_t now = wdb_peer_net_now(dial->net);
    if (dial->purpose != WDB_PURPOSE_CONTROL ||
        (strcmp(dial->trouble, dial->logged) == 0 &&
         now - dial->logged_ns < LOG_AGAIN_NS)) {
        return;
    }
    memcpy(dial->logged, dial->trouble, sizeof(dial->logged));
    dial->logged_ns = now;
    wdb_logger_print(dial->net->logger, WDB_LOG_WARNING,
                     "can't reach node %s (%016" PRIx64 ") at %s: %s; trying "
                     "again",
                     dial->peer->name, dial->peer->id, dial->address_text,
                     dial->trouble);
}

/* Wait, and begin from the first address. What the attempt itself took counts:
 * where nobody answers, that was wait enough. */
static void back_off(struct wdb_peer_dial *dial)
{
    uint64_t now = wdb_peer_net_now(dial->net);
    uint64_t least = dial->backoff_ms / 2;
    uint64_t wait_ms = least + wdb_random_below(&dial->net->random, least + 1);
    uint64_t next = dial->round_ns + wait_ms * (uint64_t)WDB_NS_PER_MS;
    uint64_t soon = now + WDB_PEER_BACKOFF_MIN_MS * (uint64_t)WDB_NS_PER_MS;
    dial->backoff_ms *= 2;
    if (dial->backoff_ms > WDB_PEER_BACKOFF_MAX_MS || dial->trouble_is_answer) {
        /* Who was refused by somebody need not hurry. */
        dial->backoff_ms = WDB_PEER_BACKOFF_MAX_MS;
    }
    dial->state = WDB_DIAL_WAITING;
    dial->next_ns = next > soon ? next : soon;
    wdb_peer_net_set_timer(dial->net);
}

/* All addresses were tried. */
static void give_up_round(struct wdb_peer_dial *dial)
{
    if (!is_once(dial)) {
        log_trouble(dial);
    } else if (dial->trouble_is_answer) {
        dial->deadline_ns = wdb_peer_net_now(dial->net); /* that is the end */
    }
    back_off(dial);
    dial->trouble_is_answer = false;
    dial->wants_names = true;
}

/* --- names -------------------------------------------------------------------------- */

static void on_resolved(uv_getaddrinfo_t *request, int status,
                        struct addrinfo *found)
{
    struct wdb_resolve *resolve = request->data;
    struct wdb_peer_dial *dial = resolve->dial;
    free(resolve);
    if (dial == NULL) {
        uv_freeaddrinfo(found);
        return;
    }
    dial->resolve = NULL;
    if (status == 0) {
        dial->address_count = 0;
        for (struct addrinfo *a = found;
             a != NULL && dial->address_count < WDB_PEER_ADDRESSES_MAX;
             a = a->ai_next) {
            memcpy(&dial->addresses[dial->address_count++], a->ai_addr,
                   a->ai_addrlen);
        }
    } else {
        dial->address_next = 0; /* the trouble is of no address */
        note_trouble(dial, uv_strerror(status), false);
    }
    uv_freeaddrinfo(found);
    dial->address_next = 0;
    if (dial->address_count == 0) {
        give_up_round(dial);
        return;
    }
    dial->state = WDB_DIAL_CONNECTING;
    try_next(dial);
}

static void start_resolve(struct wdb_peer_dial *dial)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct wdb_resolve *resolve = malloc(sizeof(*resolve));
    dial->state = WDB_DIAL_RESOLVING;
    if (resolve != NULL) {
        resolve->dial = dial;
        resolve->request.data = resolve;
        if (uv_getaddrinfo(dial->net->uv, &resolve->request, on_resolved,
                           dial->address.host, dial->address.port,
                           &hints) == 0) {
            dial->resolve = resolve;
            return;
        }
        free(resolve);
    }
    note_trouble(dial, "out of memory", false);
    give_up_round(dial);
}

/* --- addresses ----------------------------------------------------------------------- */

/* Connect to the next address; behind the last one, wait. */
static void try_next(struct wdb_peer_dial *dial)
{
    while (dial->address_next < dial->address_count) {
        const struct sockaddr_storage *address =
            &dial->addresses[dial->address_next++];
        dial->try_ns = wdb_peer_net_now(dial->net);
        int rc = wdb_peer_connection_dial(dial->net, dial,
                                          (const struct sockaddr *)address);
        if (rc == 0) {
            return;
        }
        note_trouble(dial, uv_strerror(rc), false);
    }
    give_up_round(dial);
}

static void start_round(struct wdb_peer_dial *dial)
{
    if (dial->tries_next) { /* in the middle of a round */
        dial->tries_next = false;
        dial->state = WDB_DIAL_CONNECTING;
        try_next(dial);
        return;
    }
    dial->round_ns = wdb_peer_net_now(dial->net);
    if (!dial->is_numeric && dial->wants_names) {
        start_resolve(dial);
        return;
    }
    dial->address_next = 0;
    dial->state = WDB_DIAL_CONNECTING;
    try_next(dial);
}

void wdb_peer_dial_expire(struct wdb_peer_dial *dial, uint64_t now_ns)
{
    if (is_once(dial) && now_ns >= dial->deadline_ns) {
        wdb_peer_dial_fail(dial, WALKERDB_EIO,
                           dial->trouble[0] == '\0' ? "no answer within 3 s"
                                                    : dial->trouble);
    } else if (dial->state == WDB_DIAL_WAITING && now_ns >= dial->next_ns) {
        start_round(dial);
    }
}

/* Connecting for longer than TCP takes nearby: the SYN is lost. */
static bool is_stuck(const struct wdb_peer_dial *dial)
{
    const struct wdb_peer_connection *c = dial->connection;
    return dial->state == WDB_DIAL_CONNECTING && c != NULL &&
           c->state == WDB_CONNECTION_CONNECTING &&
           wdb_peer_net_now(dial->net) > dial->try_ns + STUCK_NS;
}

void wdb_peer_dial_hurry(struct wdb_peer_dial *dial)
{
    if (is_stuck(dial)) {
        wdb_peer_connection_drop(dial->connection);
        dial->connection = NULL;
        dial->state = WDB_DIAL_WAITING;
    }
    if (dial->state == WDB_DIAL_WAITING && !dial->tries_next) {
        dial->backoff_ms = WDB_PEER_BACKOFF_MIN_MS;
        dial->next_ns = wdb_peer_net_now(dial->net);
        wdb_peer_net_set_timer(dial->net);
    }
}

/* --- what became of it ------------------------------------------------------------------ */

static void finish_probe(struct wdb_peer_dial *dial,
                         const struct wdb_handshake *handshake)
{
    struct wdb_member member = {.id = handshake->peer.id};
    uint64_t cluster_id = handshake->peer.cluster_id;
    _Static_assert(sizeof(member.name) == sizeof(handshake->peer.name) &&
                       sizeof(member.raft_address) ==
                           sizeof(handshake->peer.raft_address),
                   "copied whole");
    memcpy(member.name, handshake->peer.name, sizeof(member.name));
    memcpy(member.raft_address, handshake->peer.raft_address,
           sizeof(member.raft_address));
    memcpy(member.tcp_address, handshake->peer.tcp_address,
           sizeof(member.tcp_address));
    void (*probed)(void *, int, const char *, const struct wdb_member *,
                   uint64_t) = dial->probed;
    void *arg = dial->arg;
    wdb_peer_dial_free(dial);
    probed(arg, 0, "", &member, cluster_id);
}

static void finish_forward(struct wdb_peer_dial *dial)
{
    wdb_peer_forward_done forwarded = dial->forwarded;
    void *arg = dial->arg;
    struct wdb_peer_connection *connection = dial->connection;
    dial->connection = NULL;
    wdb_peer_dial_free(dial);
    int fd = wdb_peer_connection_take_fd(connection);
    forwarded(arg, fd < 0 ? WALKERDB_EIO : 0, fd,
              fd < 0 ? "out of file descriptors" : "");
}

/* The control connection is a new one: if the network was cut, the others of
 * the peer may wait for TCP to send again what got lost, for seconds. */
static void renew_others(struct wdb_peer_dial *dial)
{
    for (int i = 0; i < WDB_CHANNEL_COUNT; i++) {
        struct wdb_peer_dial *other = dial->peer->dials[i];
        if (other != NULL && other != dial && other->state == WDB_DIAL_UP &&
            wdb_peer_connection_is_behind(other->connection)) {
            wdb_peer_connection_close(other->connection, "the network was cut");
            wdb_peer_dial_hurry(other);
        }
    }
}

void wdb_peer_dial_up(struct wdb_peer_dial *dial,
                      const struct wdb_handshake *handshake)
{
    dial->state = WDB_DIAL_UP;
    dial->up_ns = wdb_peer_net_now(dial->net);
    dial->patience_ms = WDB_PEER_PATIENCE_MIN_MS;
    dial->trouble[0] = dial->logged[0] = '\0';
    dial->wants_names = false;
    dial->trouble_is_answer = false;
    if (dial->probed != NULL) {
        finish_probe(dial, handshake);
    } else if (is_once(dial)) {
        finish_forward(dial);
    } else {
        if (dial->purpose == WDB_PURPOSE_CONTROL) {
            wdb_logger_print(dial->net->logger, WDB_LOG_NOTICE,
                             "connected to node %s (%016" PRIx64 ") at %s",
                             handshake->peer.name, dial->to,
                             dial->address_text);
            renew_others(dial);
        }
        wdb_peer_net_has_room(dial->peer, (enum wdb_peer_channel)dial->purpose);
    }
}

void wdb_peer_dial_lost(struct wdb_peer_dial *dial, const char *why,
                        bool is_answer)
{
    bool was_up = dial->state == WDB_DIAL_UP;
    if (is_stuck(dial)) {
        /* Nobody said no: that was wait enough. */
        dial->backoff_ms = WDB_PEER_BACKOFF_MIN_MS;
        if (dial->patience_ms < WDB_PEER_PATIENCE_MAX_MS) {
            dial->patience_ms += WDB_PEER_PATIENCE_MIN_MS;
        }
    }
    dial->connection = NULL;
    note_trouble(dial, why, is_answer);
    if (was_up) {
        if (wdb_peer_net_now(dial->net) - dial->up_ns >= GOOD_NS) {
            dial->backoff_ms = WDB_PEER_BACKOFF_MIN_MS;
        }
        back_off(dial); /* and the same addresses first */
        return;
    }
    /* The next address: but from the timer, not inside of whatever closed it. */
    if (dial->address_next < dial->address_count) {
        dial->state = WDB_DIAL_WAITING;
        dial->next_ns = wdb_peer_net_now(dial->net);
        dial->tries_next = true;
        wdb_peer_net_set_timer(dial->net);
    } else {
        give_up_round(dial);
    }
}

void wdb_peer_dial_fail(struct wdb_peer_dial *dial, int code, const char *why)
{
    char text[sizeof(dial->trouble)];
    void (*probed)(void *, int, const char *, const struct wdb_member *,
                   uint64_t) = dial->probed;
    wdb_peer_forward_done forwarded = dial->forwarded;
    void *arg = dial->arg;
    snprintf(text, sizeof(text), "%s", why);
    wdb_peer_dial_free(dial);
    if (probed != NULL) {
        probed(arg, code, text, NULL, 0);
    } else {
        forwarded(arg, code, -1, text);
    }
}

/* --- life --------------------------------------------------------------------------------- */

int wdb_peer_dial_new(struct wdb_peer_net *net, struct wdb_peer *peer,
                      wdb_node_id to, enum wdb_handshake_purpose purpose,
                      const char *address, struct wdb_peer_dial **out)
{
    struct wdb_peer_dial *dial = calloc(1, sizeof(*dial));
    if (dial == NULL) {
        return WALKERDB_ENOMEM;
    }
    if (wdb_peer_address_parse(address, false, &dial->address) != 0) {
        free(dial);
        return WALKERDB_EINVALID;
    }
    dial->net = net;
    dial->peer = peer;
    dial->to = to;
    dial->purpose = purpose;
    snprintf(dial->address_text, sizeof(dial->address_text), "%s", address);
    dial->is_numeric =
        wdb_peer_address_is_numeric(&dial->address, &dial->addresses[0]);
    dial->address_count = dial->is_numeric;
    dial->wants_names = true;
    dial->backoff_ms = WDB_PEER_BACKOFF_MIN_MS;
    dial->patience_ms = WDB_PEER_PATIENCE_MIN_MS;
    dial->state = WDB_DIAL_WAITING;
    dial->next_ns = wdb_peer_net_now(net);
    dial->deadline_ns = dial->next_ns + WDB_PEER_ONCE_NS;
    wdb_list_append(&net->dials, &dial->node);
    wdb_peer_net_set_timer(net);
    *out = dial;
    return 0;
}

void wdb_peer_dial_free(struct wdb_peer_dial *dial)
{
    if (dial->resolve != NULL) {
        dial->resolve->dial = NULL;
        (void)uv_cancel((uv_req_t *)&dial->resolve->request);
    }
    if (dial->connection != NULL) {
        wdb_peer_connection_drop(dial->connection);
    }
    wdb_list_remove(&dial->node);
    free(dial);
}
