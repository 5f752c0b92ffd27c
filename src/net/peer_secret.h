/*
 * peer_secret.h - the secret of a cluster: who knows it is a member.
 *
 * The file PATH/cluster-secret has 64 hex digits and a newline, mode 0600. It
 * is made when a cluster is founded; a node on another machine gets a copy of
 * it, or the same text in the answer to its JOIN. The secret itself is never
 * sent to a peer: peer_handshake.h.
 *
 * Thread: any; no function keeps anything.
 */
#ifndef WDB_NET_PEER_SECRET_H
#define WDB_NET_PEER_SECRET_H

#include "admin/config.h"
#include "base/slice.h"

#define WDB_PEER_SECRET_NAME      "cluster-secret"
#define WDB_PEER_SECRET_SIZE      32
#define WDB_PEER_SECRET_TEXT_SIZE (2 * WDB_PEER_SECRET_SIZE) /* no newline */
#define WDB_PEER_MAC_SIZE         32

struct wdb_peer_secret {
    bool is_set; /* false: there is none; then key is zeros */
    uint8_t key[WDB_PEER_SECRET_SIZE];
};

/* The directory of the file by the settings: shared-path (PATH), else raft-dir,
 * else dir. */
void wdb_peer_secret_dir(const struct wdb_config *config,
                         char out[WDB_PATH_SIZE_MAX]);
/*
 * Read dir/cluster-secret. No file: 0, and !is_set. EACCESS (others may read it,
 * or we may not), ECORRUPT (its content), EIO; *message_out is malloc'ed text.
 */
WDB_MUST_CHECK int wdb_peer_secret_load(const char *dir,
                                        struct wdb_peer_secret *out,
                                        char **message_out);
/* The same, and make it (and dir) if it is not there: random, durable, never
 * over one that somebody else made meanwhile. ENOSPACE too. */
WDB_MUST_CHECK int wdb_peer_secret_make(struct wdb_env *env, const char *dir,
                                        struct wdb_peer_secret *out,
                                        char **message_out);
/* Keep a secret that came as text (64 hex digits, maybe a newline), as the
 * answer to JOIN. EINVALID (not such a text); EEXISTS: another one is there. */
WDB_MUST_CHECK int wdb_peer_secret_write_text(const char *dir,
                                              struct wdb_slice text,
                                              struct wdb_peer_secret *out,
                                              char **message_out);
/* As text, with a terminator. */
void wdb_peer_secret_text(const struct wdb_peer_secret *secret,
                          char out[WDB_PEER_SECRET_TEXT_SIZE + 1]);
/* HMAC-SHA256 of data; without a secret, with an empty key. ENOMEM. */
WDB_MUST_CHECK int wdb_peer_secret_mac(const struct wdb_peer_secret *secret,
                                       struct wdb_slice data,
                                       uint8_t out[WDB_PEER_MAC_SIZE]);
/* In a time that does not depend on the content. */
bool wdb_peer_mac_equal(const uint8_t a[WDB_PEER_MAC_SIZE],
                        const uint8_t b[WDB_PEER_MAC_SIZE]);

#endif
