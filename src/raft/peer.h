/*
 * peer.h - what a node asks of the transport to its peers, and the messages.
 *
 * net/ implements it over sockets, the simulator over a list of messages. The
 * transport dials the members that it is told of, authenticates both ends with
 * the cluster's secret, and delivers messages on the raft thread. It may lose,
 * double or reorder messages; within one channel of one connection it keeps
 * their order. It never blocks.
 *
 * Channels are connections of their own, so that what is urgent never waits
 * behind what is large:
 *   CONTROL   votes, heartbeats, results, rounds: small
 *   ENTRIES   log entries
 *   TRANSFER  pieces of snapshots
 */
#ifndef WDB_RAFT_PEER_H
#define WDB_RAFT_PEER_H

#include "log/format.h"
#include "raft/members.h"

enum wdb_peer_channel {
    WDB_CHANNEL_CONTROL,
    WDB_CHANNEL_ENTRIES,
    WDB_CHANNEL_TRANSFER,
    WDB_CHANNEL_COUNT,
};

enum wdb_message_kind {
    WDB_MESSAGE_VOTE = 1,
    WDB_MESSAGE_VOTE_RESULT,
    WDB_MESSAGE_APPEND, /* entries, or none: a heartbeat */
    WDB_MESSAGE_APPEND_RESULT,
    WDB_MESSAGE_TIMEOUT_NOW,
    WDB_MESSAGE_ROUND, /* do you know of a newer term? */
    WDB_MESSAGE_ROUND_RESULT,
    WDB_MESSAGE_OFFER,        /* there is a snapshot for you: fetch it */
    WDB_MESSAGE_FETCH,        /* a piece of a file of it, or its list */
    WDB_MESSAGE_PIECE,        /* the answer */
    WDB_MESSAGE_FETCH_FAILED, /* no such snapshot any more */
    WDB_MESSAGE_KIND_LAST = WDB_MESSAGE_FETCH_FAILED,
};

/*
 * A message. Every one has kind, term (of the sender), to (whom it is meant
 * for: others drop it); of the rest what the kind needs. On the wire: message.h.
 */
struct wdb_message {
    enum wdb_message_kind kind;
    wdb_node_id to;
    uint64_t term;
    union {
        struct {
            uint64_t last_index, last_term;
            bool disrupt_leader, pre_vote;
        } vote;
        struct {
            uint64_t request_term;
            bool granted, pre_vote;
        } vote_result;
        struct {
            uint64_t previous_index, previous_term, committed;
            uint64_t hash_index, hash; /* state hash there; 0: none */
            uint32_t entry_count;
            /* Encoded one behind the other: wdb_entry_header, payload. */
            const uint8_t *entries;
            size_t entries_size;
        } append;
        struct {
            uint64_t request_term; /* of the message that it answers */
            uint64_t rejected, last_index;
        } append_result;
        struct {
            uint64_t last_index, last_term;
        } timeout_now;
        struct {
            uint64_t round;
        } round; /* and of its result */
        struct {
            uint64_t snapshot;          /* number, of this leader's process */
            uint64_t index, index_term; /* last entry in it, its term */
            uint64_t size;              /* bytes in all */
        } offer;
        struct {
            uint64_t snapshot, offset;
            uint32_t file; /* 0: the list of files */
            uint32_t size;
        } fetch; /* of FETCH_FAILED, too */
        struct {
            uint64_t snapshot, offset;
            uint32_t file;
            uint32_t crc; /* CRC32C of data */
            const uint8_t *data;
            size_t size;
        } piece;
    };
};

/* The vtable; all of it is called on the raft thread. */
struct wdb_peers_ops {
    /* These are the others (never self) from now on: dial the new ones, hang
     * up on those that are gone, dial again where an address changed. */
    void (*set_members)(void *context, const struct wdb_member *members,
                        uint32_t count);
    /*
     * Send; everything is copied (or written) before it returns. Returns false,
     * and drops it, if there is no connection or the channel's buffer is full:
     * then wdb_raft_writable is called when there is room again. CONTROL takes
     * at least WDB_PEER_CONTROL_MAX messages; ENTRIES and TRANSFER take one
     * whenever less than WDB_PEER_BUFFER_SIZE bytes wait.
     */
    bool (*send)(void *context, wdb_node_id peer, enum wdb_peer_channel channel,
                 const struct wdb_message *message);
    /* Would send on ENTRIES or TRANSFER take a message now? */
    bool (*is_writable)(void *context, wdb_node_id peer,
                        enum wdb_peer_channel channel);
    /* Run work(arg) where it may wait for the disk, then done(arg) on the raft
     * thread. */
    void (*run_off_loop)(void *context, void (*work)(void *arg),
                         void (*done)(void *arg), void *arg);
    /*
     * Who answers at this raft address? done gets its member (id, name,
     * addresses) and the cluster that it is in (0: none), or code != 0 with a
     * text for people; once, within some seconds.
     */
    void (*probe)(void *context, const char *raft_address,
                  void (*done)(void *arg, int code, const char *message,
                               const struct wdb_member *member,
                               uint64_t cluster_id),
                  void *arg);
};

struct wdb_peers {
    const struct wdb_peers_ops *ops;
    void *context;
};

#define WDB_PEER_CONTROL_MAX 256
#define WDB_PEER_BUFFER_SIZE ((size_t)4 << 20)

#endif
