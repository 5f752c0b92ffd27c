/*
 * fuzz_handshake.c - both ends of the handshake of nodes, fed with anything.
 *
 * The first byte chooses the end, and whether it is far in the handshake; the
 * second the pieces in which the rest comes. What comes in pieces must end as
 * what comes in one run, and nobody gets in without the secret.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "net/peer_handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void name_self(struct wdb_handshake_options *options, wdb_node_id id)
{
    *options = (struct wdb_handshake_options){.secret = {.is_set = true}};
    options->self.id = id;
    options->self.cluster_id = 5;
    memcpy(options->self.name, "node", 5);
    memcpy(options->self.raft_address, "a:1", 4);
    memset(options->secret.key, 9, sizeof(options->secret.key));
    memset(options->nonce, (int)id, sizeof(options->nonce));
    options->secret_dir = "/dir";
    options->purpose = WDB_PURPOSE_CONTROL;
}

/* An end as it is in the middle of a good handshake. */
static void init_end(struct wdb_handshake *end, bool is_initiator, bool is_far)
{
    struct wdb_handshake_options a, b;
    struct wdb_handshake other;
    size_t used;
    name_self(&a, 1);
    name_self(&b, 2);
    struct wdb_handshake *initiator = is_initiator ? end : &other;
    struct wdb_handshake *acceptor = is_initiator ? &other : end;
    wdb_handshake_init_initiator(initiator, &a);
    wdb_handshake_init_acceptor(acceptor, &b);
    if (is_far) {
        wdb_handshake_feed(acceptor, initiator->output, initiator->output_size,
                           &used);
        initiator->output_size = 0;
        wdb_assert(acceptor->state == WDB_HANDSHAKE_PROOF);
        if (is_initiator) {
            wdb_handshake_feed(initiator, acceptor->output,
                               acceptor->output_size, &used);
            wdb_assert(initiator->state == WDB_HANDSHAKE_WELCOME);
        }
    }
    end->output_size = 0;
}

static size_t feed(struct wdb_handshake *end, const uint8_t *data, size_t size,
                   size_t piece)
{
    size_t at = 0;
    while (at < size && end->state != WDB_HANDSHAKE_FAILED) {
        size_t used, part = size - at < piece ? size - at : piece;
        enum wdb_handshake_state state =
            wdb_handshake_feed(end, data + at, part, &used);
        wdb_assert(state == end->state && used <= part);
        wdb_assert(state != WDB_HANDSHAKE_DONE);
        wdb_assert(end->output_size <= sizeof(end->output));
        wdb_assert(memchr(end->message, 0, sizeof(end->message)) != NULL);
        wdb_assert((state == WDB_HANDSHAKE_FAILED) ==
                   (end->message[0] != 0 || end->reason != 0));
        at += used;
        if (end->output_size > 0) {
            break; /* what comes now depends on where it is cut */
        }
    }
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct wdb_handshake whole, cut;
    if (size < 2) {
        return 0;
    }
    bool is_initiator = data[0] & 1, is_far = data[0] & 2;
    size_t piece = 1 + data[1] % 64;
    init_end(&whole, is_initiator, is_far);
    init_end(&cut, is_initiator, is_far);
    feed(&whole, data + 2, size - 2, SIZE_MAX);
    feed(&cut, data + 2, size - 2, piece);
    if (whole.output_size == 0 && cut.output_size == 0) {
        wdb_assert(whole.state == cut.state && whole.reason == cut.reason);
    }
    return 0;
}
