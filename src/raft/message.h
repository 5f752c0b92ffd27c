/*
 * message.h - messages between peers as bytes.
 *
 *   0      4      5..7   8       12     16                        size
 *   +------+------+------+-------+------+--------------+---------+
 *   | size | kind | 0    | crc   | fixed| fixed fields | payload |
 *   +------+------+------+-------+------+--------------+---------+
 *
 * size counts everything; crc is CRC32C over all but itself and the payload
 * (payloads have their own checksums: piece.crc, entries' payload_crc, and one
 * over all entry headers among the fixed fields, made by encode). `fixed` is the
 * size of the fixed fields, a multiple of 8, so that a payload is as aligned as
 * its message. Little-endian. Newer versions may add fixed fields at the end,
 * which older ones skip.
 */
#ifndef WDB_RAFT_MESSAGE_H
#define WDB_RAFT_MESSAGE_H

#include "raft/peer.h"

#define WDB_MESSAGE_HEAD_SIZE 16
#define WDB_MESSAGE_FIXED_MAX 256
/* Larger ones are refused: one batch of the greatest size, and some. */
#define WDB_MESSAGE_SIZE_MAX (WDB_BATCH_SIZE_MAX + ((size_t)4 << 20))
/* The same for the data of one piece of a snapshot. */
#define WDB_MESSAGE_PIECE_MAX WDB_PEER_BUFFER_SIZE

/* Head and fixed fields into out; the payload (append.entries, piece.data)
 * follows them on the wire; of it only the entry headers are looked at. Returns
 * their size. piece.crc is the caller's. */
size_t wdb_message_encode(
    const struct wdb_message *message,
    uint8_t out[WDB_MESSAGE_HEAD_SIZE + WDB_MESSAGE_FIXED_MAX]);
/* Where the payload of a message is. */
struct wdb_slice wdb_message_payload(const struct wdb_message *message);
/* The size of the message whose first WDB_MESSAGE_HEAD_SIZE bytes are given; it
 * is possible for its kind (only APPEND and PIECE can be large). Nothing is
 * proven by a checksum yet. ECORRUPT, ETOOBIG. */
WDB_MUST_CHECK int wdb_message_size(const uint8_t *head, uint64_t *size_out);
/*
 * Take a whole message apart; slices in *out point into data. Everything that
 * can be told without knowing the receiver's state is checked: kind, sizes,
 * booleans, non-zero terms where there must be one, entries (count and sizes
 * fit exactly; indexes follow previous_index without gaps; terms are not 0, do
 * not fall, are between previous_term and term; types; payload checksums and,
 * for COMMAND entries, every record; a CHANGE decodes; piece.crc). ECORRUPT;
 * ENOMEM.
 */
WDB_MUST_CHECK int wdb_message_decode(const uint8_t *data, size_t size,
                                      struct wdb_message *out);
/* Walk the entries of a decoded APPEND: *at begins at 0; false at the end. */
bool wdb_message_next_entry(const struct wdb_message *message, size_t *at,
                            struct wdb_entry_header *entry_out,
                            const uint8_t **payload_out);

#endif
