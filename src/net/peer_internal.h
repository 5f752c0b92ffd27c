/* peer_internal.h - what the files of the transport between nodes share. All of
 * it belongs to the raft thread. */
#ifndef WDB_NET_PEER_INTERNAL_H
#define WDB_NET_PEER_INTERNAL_H

#include <stdatomic.h>

#include "base/list.h"
#include "base/random.h"
#include "base/time.h"
#include "net/peer_address.h"
#include "net/peer_handshake.h"
#include "net/peers.h"
#include "raft/message.h"

#define WDB_PEER_LISTENERS_MAX 8
#define WDB_PEER_ADDRESSES_MAX 8
/* Connections that have not proved who they are; the oldest goes. */
#define WDB_PEER_PENDING_MAX 64
/* Nodes that are no members here, but know the secret. */
#define WDB_PEER_STRANGERS_MAX 32
#define WDB_PEER_HANDSHAKE_NS  (2 * (uint64_t)WDB_NS_PER_S)
/* For a connection: short, since TCP repeats a lost SYN after a second only;
 * longer each time, in case that the network is slow. */
#define WDB_PEER_PATIENCE_MIN_MS 200
#define WDB_PEER_PATIENCE_MAX_MS 600
#define WDB_PEER_ONCE_NS         (3 * (uint64_t)WDB_NS_PER_S)
#define WDB_PEER_BACKOFF_MIN_MS  20
#define WDB_PEER_BACKOFF_MAX_MS  1000
/* A control message is smaller than that. */
#define WDB_PEER_CONTROL_SIZE_MAX ((size_t)64 << 10)
/* Memory for input: what a connection has, and what it may keep. */
#define WDB_PEER_INPUT_CONTROL  ((size_t)64 << 10)
#define WDB_PEER_INPUT_BULK     ((size_t)256 << 10)
#define WDB_PEER_INPUT_KEEP_MAX ((size_t)2 << 20)
/* So much is written in the middle of a turn. */
#define WDB_PEER_FLUSH_SIZE ((size_t)256 << 10)

struct wdb_peer;
struct wdb_peer_dial;

/* --- connections (peer_connection.c) ----------------------------------------- */

enum wdb_connection_state {
    WDB_CONNECTION_CONNECTING,
    WDB_CONNECTION_HANDSHAKE,
    WDB_CONNECTION_READY,
};

struct wdb_peer_connection {
    uv_tcp_t tcp;
    struct wdb_peer_net *net;
    struct wdb_list node;            /* in net->connections, the newest last */
    struct wdb_handshake *handshake; /* NULL: authenticated */
    enum wdb_connection_state state;
    bool is_outbound;
    bool is_closing;
    uint64_t deadline_ns;       /* 0: none */
    struct wdb_peer_dial *dial; /* outbound; NULL: not wanted any more */
    struct wdb_peer *peer;      /* inbound, authenticated: whose it is */
    wdb_node_id id;
    enum wdb_handshake_purpose purpose;
    char remote[64]; /* address, for people */
    uv_connect_t connect;
    /* Input: messages at [input_begin, input_end). */
    uint8_t *input;
    size_t input_capacity, input_begin, input_end;
    /* Output: gathered, and being written. */
    struct wdb_buffer pending, writing;
    uint32_t pending_count, writing_count; /* messages */
    bool is_writing;
    uv_write_t write;
    /* Bytes of all messages; those of them that had arrived when it was looked
     * at, and when there was progress last. */
    uint64_t put_size, arrived_size, arrived_ns;
};

/* Take the connection that waits at a listener. */
void wdb_peer_connection_accept(struct wdb_peer_net *net, uv_stream_t *server);
/* Connect; then shake hands. What happens is told to the dial, but not inside of
 * this. An error of libuv: nothing was begun. */
WDB_MUST_CHECK int wdb_peer_connection_dial(struct wdb_peer_net *net,
                                            struct wdb_peer_dial *dial,
                                            const struct sockaddr *address);
/* Hang up. Calls nobody but the dial, which calls nobody. Harmless twice. */
void wdb_peer_connection_close(struct wdb_peer_connection *connection,
                               const char *why);
/* Nobody wants it any more: close, and tell nobody. */
void wdb_peer_connection_drop(struct wdb_peer_connection *connection);
/* Room for one more message? */
bool wdb_peer_connection_has_room(const struct wdb_peer_connection *connection);
/* Gather a message. False: no memory. */
bool wdb_peer_connection_put(struct wdb_peer_connection *connection,
                             const struct wdb_message *message);
/* Write what was gathered. */
void wdb_peer_connection_flush(struct wdb_peer_connection *connection);
/* Is there anything that was not sent, or that the other end has not got? */
bool wdb_peer_connection_is_behind(
    const struct wdb_peer_connection *connection);
/* The socket without its handle, non-blocking; the connection is dropped. -1. */
int wdb_peer_connection_take_fd(struct wdb_peer_connection *connection);
/* The deadline has passed. */
void wdb_peer_connection_expire(struct wdb_peer_connection *connection);

/* --- dialing (peer_dial.c) ---------------------------------------------------- */

enum wdb_dial_state {
    WDB_DIAL_WAITING,    /* until next_ns */
    WDB_DIAL_RESOLVING,  /* the host's name */
    WDB_DIAL_CONNECTING, /* up to the end of the handshake */
    WDB_DIAL_UP,
};

struct wdb_resolve; /* a request to the name service */

/* Keeps one connection to a peer up; or makes one, once, and tells. */
struct wdb_peer_dial {
    struct wdb_peer_net *net;
    struct wdb_list node;  /* in net->dials */
    struct wdb_peer *peer; /* NULL: once */
    wdb_node_id to;
    enum wdb_handshake_purpose purpose;
    struct wdb_peer_address address;
    char address_text[WDB_MEMBER_ADDRESS_MAX + 1];
    enum wdb_dial_state state;
    struct wdb_peer_connection *connection;
    struct wdb_resolve *resolve;
    struct sockaddr_storage addresses[WDB_PEER_ADDRESSES_MAX];
    uint32_t address_count, address_next;
    bool is_numeric;
    bool wants_names; /* resolve the name before the next round */
    bool tries_next;  /* WAITING, but only for the next address */
    uint64_t next_ns, up_ns;
    uint64_t round_ns; /* when the round began: counts as waiting */
    uint64_t try_ns;   /* when the last address was tried */
    uint32_t backoff_ms, patience_ms;
    /* The last trouble, for people. */
    char trouble[WDB_HANDSHAKE_TEXT_MAX + 80];
    bool trouble_is_answer; /* the other end said it: more telling */
    uint64_t logged_ns;
    char logged[WDB_HANDSHAKE_TEXT_MAX + 80];
    /* Once: */
    uint64_t deadline_ns;
    void (*probed)(void *arg, int code, const char *message,
                   const struct wdb_member *member, uint64_t cluster_id);
    wdb_peer_forward_done forwarded;
    void *arg;
};

/* Begin to dial (when the timer says so: at once). EINVALID (address), ENOMEM. */
WDB_MUST_CHECK int wdb_peer_dial_new(struct wdb_peer_net *net,
                                     struct wdb_peer *peer, wdb_node_id to,
                                     enum wdb_handshake_purpose purpose,
                                     const char *address,
                                     struct wdb_peer_dial **out);
/* Hang up, and forget it. A dial of once tells nobody. */
void wdb_peer_dial_free(struct wdb_peer_dial *dial);
/* Try again at once, if it waits. */
void wdb_peer_dial_hurry(struct wdb_peer_dial *dial);
/* The time has come: next_ns, or deadline_ns. May free the dial. */
void wdb_peer_dial_expire(struct wdb_peer_dial *dial, uint64_t now_ns);
/* The connection is authenticated / is gone. May free the dial. */
void wdb_peer_dial_up(struct wdb_peer_dial *dial,
                      const struct wdb_handshake *handshake);
void wdb_peer_dial_lost(struct wdb_peer_dial *dial, const char *why,
                        bool is_answer);
/* A dial of once is over without success: tell, and free it. */
void wdb_peer_dial_fail(struct wdb_peer_dial *dial, int code, const char *why);

/* --- peers and the whole (peers.c) ------------------------------------------- */

struct wdb_peer {
    struct wdb_list node; /* in net->peers */
    struct wdb_peer_net *net;
    wdb_node_id id;
    char name[WDB_MEMBER_NAME_MAX + 1];
    bool is_member; /* else it came by itself */
    /* Of the configuration; and the one that is dialed, which may be newer: what
     * the node itself said when it came. */
    char configured[WDB_MEMBER_ADDRESS_MAX + 1];
    char address[WDB_MEMBER_ADDRESS_MAX + 1];
    struct wdb_peer_dial *dials[WDB_CHANNEL_COUNT];
    struct wdb_peer_connection *inbound[WDB_CHANNEL_COUNT];
    bool wants_room[WDB_CHANNEL_COUNT]; /* send refused */
    bool tell_writable[WDB_CHANNEL_COUNT];
    bool was_connected; /* what was told last */
};

struct wdb_peer_net {
    struct wdb_peers peers; /* what others see */
    struct wdb_raft_loop *loop;
    struct wdb_env *env;
    uv_loop_t *uv;
    const struct wdb_logger *logger;
    const struct wdb_identity *identity;
    struct wdb_peer_net_callbacks callbacks;
    struct wdb_peer_secret secret;
    char *secret_dir;
    char raft_address[WDB_MEMBER_ADDRESS_MAX + 1];
    char tcp_address[WDB_MEMBER_ADDRESS_MAX + 1];
    int backlog;
    bool is_stopped;
    uv_tcp_t *listeners[WDB_PEER_LISTENERS_MAX];
    uint32_t listener_count;
    uint16_t port;
    bool accept_failed; /* without memory: try again soon */
    uv_timer_t timer;
    struct wdb_random random; /* jitter */
    struct wdb_list peer_list, connections, dials;
    struct wdb_member members[WDB_MEMBERS_MAX]; /* the others, as was told */
    uint32_t member_count;
    bool members_wait; /* for memory */
    uint32_t pending_count, stranger_count;
    uint8_t handshake_input[WDB_HANDSHAKE_SIZE_MAX];
    struct wdb_buffer aligned; /* a message that lay at an odd place */
    /* Lines about strangers: so many in the window. */
    uint64_t log_window_ns;
    uint32_t log_count, log_suppressed;
    struct {
        _Atomic uint32_t inbound, outbound, pending;
        _Atomic uint64_t accepted, dialed, authenticated, refused;
        _Atomic uint64_t messages_in, messages_out, bytes_in, bytes_out;
        _Atomic uint64_t dropped;
    } stats;
};

uint64_t wdb_peer_net_now(const struct wdb_peer_net *net);
/* Who we are now, a fresh nonce; is_loopback is the caller's to set. */
void wdb_peer_net_handshake_options(struct wdb_peer_net *net,
                                    struct wdb_handshake_options *out);
/* peer_timer.c: a deadline was set or moved: look at the timer anew. */
void wdb_peer_net_set_timer(struct wdb_peer_net *net);
void wdb_peer_timer_init(struct wdb_peer_net *net);
/* An inbound connection for messages proved who it is. False: not wanted. */
bool wdb_peer_net_came(struct wdb_peer_net *net,
                       struct wdb_peer_connection *connection,
                       const struct wdb_handshake_party *party);
/* It is gone. */
void wdb_peer_net_left(struct wdb_peer_connection *connection);
/* There is room on an outbound connection, or it came up. */
void wdb_peer_net_has_room(struct wdb_peer *peer,
                           enum wdb_peer_channel channel);
/* A line in the log about a node that is no peer (yet); not too many of them. */
void wdb_peer_net_complain(struct wdb_peer_net *net, const char *format, ...)
    WDB_PRINTF(2, 3);

/* peer_once.c: an operation of struct wdb_peers. */
void wdb_peer_once_probe(void *context, const char *raft_address,
                         void (*done)(void *arg, int code, const char *message,
                                      const struct wdb_member *member,
                                      uint64_t cluster_id),
                         void *arg);

/* peer_listener.c */
void wdb_peer_listener_close_all(struct wdb_peer_net *net);
void wdb_peer_listener_accept_again(struct wdb_peer_net *net);

static inline void wdb_peer_count(_Atomic uint64_t *counter, uint64_t by)
{
    /* One thread adds; others read. */
    atomic_store_explicit(counter,
                          atomic_load_explicit(counter, memory_order_relaxed) +
                              by,
                          memory_order_relaxed);
}

#endif
