/*
 * peer_handshake.h - how two nodes find out who the other is, over memory.
 *
 *   initiator                                acceptor
 *     HELLO     who I am, whom I want, for what, nonce
 *                       ---------------------->
 *     CHALLENGE who I am, nonce, clock, MAC of all this ("acceptor")
 *                       <----------------------
 *     PROOF     MAC of all this ("initiator")
 *                       ---------------------->
 *     WELCOME   my member, MAC ("welcome") | REFUSED reason, text, MAC or none
 *                       <----------------------
 *
 * Who is of another cluster, or not whom the initiator wanted, is refused behind
 * both proofs: so each knows that it was told by a node with the secret.
 *
 * MACs are HMAC-SHA256 with the cluster's secret over a label and every byte
 * sent before, so they bind both ids, both cluster ids, the channel and both
 * nonces: none can be replayed, reflected or used for another connection. What
 * is sent afterwards is not protected: that is the place of TLS.
 *
 *   0      4      5..7   8                         size (at most 1 KiB)
 *   +------+------+------+-------------------------+
 *   | size | kind | 0    | fields, little-endian   |
 *   +------+------+------+-------------------------+
 *
 * HELLO begins with 8 bytes of magic and the version; REFUSED never changes; so
 * every version can refuse every other with a text. Newer minor versions may add
 * fields at the end, which older ones skip.
 *
 * The object is a state machine without a socket and without allocation.
 * Thread: one at a time.
 */
#ifndef WDB_NET_PEER_HANDSHAKE_H
#define WDB_NET_PEER_HANDSHAKE_H

#include "net/peer_secret.h"
#include "raft/members.h"
#include "raft/peer.h"

#define WDB_HANDSHAKE_VERSION_MAJOR 1
#define WDB_HANDSHAKE_VERSION_MINOR 0
#define WDB_HANDSHAKE_SIZE_MAX      1024
#define WDB_HANDSHAKE_NONCE_SIZE    32
#define WDB_HANDSHAKE_TEXT_MAX      255

/* What a connection is for: those of enum wdb_peer_channel, and these. */
enum wdb_handshake_purpose {
    WDB_PURPOSE_CONTROL = WDB_CHANNEL_CONTROL,
    WDB_PURPOSE_ENTRIES = WDB_CHANNEL_ENTRIES,
    WDB_PURPOSE_TRANSFER = WDB_CHANNEL_TRANSFER,
    WDB_PURPOSE_FORWARD, /* clients' requests, behind it another protocol */
    WDB_PURPOSE_PROBE,   /* only to ask who is there */
    WDB_PURPOSE_COUNT,
};

enum wdb_handshake_state {
    WDB_HANDSHAKE_HELLO,     /* acceptor waits for it */
    WDB_HANDSHAKE_CHALLENGE, /* initiator waits for it */
    WDB_HANDSHAKE_PROOF,     /* acceptor waits for it */
    WDB_HANDSHAKE_WELCOME,   /* initiator waits for it */
    WDB_HANDSHAKE_DONE,
    WDB_HANDSHAKE_FAILED, /* message says why */
};

enum wdb_handshake_reason {
    WDB_REASON_NONE,
    WDB_REASON_PROTOCOL, /* what came is no handshake */
    WDB_REASON_VERSION,
    WDB_REASON_CLUSTER,  /* another cluster */
    WDB_REASON_IDENTITY, /* not whom the initiator wanted */
    WDB_REASON_SECRET,   /* another secret, or none on one side */
    WDB_REASON_REMOVED,  /* the initiator was removed from the cluster */
    WDB_REASON_OTHER,
    WDB_REASON_COUNT,
};

struct wdb_handshake_party {
    wdb_node_id id;
    uint64_t cluster_id; /* 0: none yet */
    char name[WDB_MEMBER_NAME_MAX + 1];
    char raft_address[WDB_MEMBER_ADDRESS_MAX + 1];
    char tcp_address[WDB_MEMBER_ADDRESS_MAX + 1];
};

struct wdb_handshake_options {
    struct wdb_handshake_party self;
    struct wdb_peer_secret secret;
    uint8_t nonce[WDB_HANDSHAKE_NONCE_SIZE]; /* random, fresh */
    bool is_loopback; /* the other end is on this machine */
    /* Where the secret belongs, for texts: "/home/me/.walkerDb". */
    const char *secret_dir; /* borrowed for the life of the handshake */
    /* Initiator: */
    enum wdb_handshake_purpose purpose;
    wdb_node_id to; /* 0: whoever is there */
    /* Acceptor; may be NULL. The peer has proved that it knows the secret: was
     * it removed? */
    bool (*is_removed)(void *context, wdb_node_id id);
    void *context;
};

struct wdb_handshake {
    struct wdb_handshake_options options;
    enum wdb_handshake_state state;
    bool is_initiator;
    /* Of the peer, by what it said; proved when state is DONE. For the
     * initiator name and addresses are there when it is DONE. */
    struct wdb_handshake_party peer;
    bool has_peer; /* id, and for the acceptor all of peer, was read */
    /* Acceptor: whom the initiator wants (0: anybody); whether it has proved to
     * know the secret (never without one), and so whom it is sent by. */
    wdb_node_id wanted;
    bool peer_proved;
    enum wdb_handshake_purpose purpose;
    /* The wall clock of this side: set it before feeding. */
    uint64_t clock_ms;
    uint64_t peer_clock_ms; /* acceptor's, when it sent CHALLENGE */
    /* FAILED: why, and whether the peer said so (and whether it proved to know
     * the secret before it did). */
    enum wdb_handshake_reason reason;
    bool by_peer, by_proved_peer;
    char message[WDB_HANDSHAKE_TEXT_MAX + 1];
    /* To be sent, by the caller, who then sets output_size to 0; also when it
     * is FAILED. */
    uint8_t output[WDB_HANDSHAKE_SIZE_MAX];
    size_t output_size;
    /* private */
    uint8_t input[WDB_HANDSHAKE_SIZE_MAX];
    size_t input_size;
    uint8_t transcript[2 * WDB_HANDSHAKE_SIZE_MAX + 64];
    size_t transcript_size;
};

/* Options are copied. The initiator's HELLO is in output then. */
void wdb_handshake_init_initiator(struct wdb_handshake *handshake,
                                  const struct wdb_handshake_options *options);
void wdb_handshake_init_acceptor(struct wdb_handshake *handshake,
                                 const struct wdb_handshake_options *options);
/* Bytes came; *used_out of them belonged to the handshake (all, unless it is
 * DONE or FAILED). Returns the state. */
enum wdb_handshake_state wdb_handshake_feed(struct wdb_handshake *handshake,
                                            const uint8_t *data, size_t size,
                                            size_t *used_out);
/* "control", "entries"... */
const char *wdb_handshake_purpose_name(enum wdb_handshake_purpose purpose);

#endif
