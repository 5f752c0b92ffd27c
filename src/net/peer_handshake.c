/*
 * peer_handshake.c - the handshake's messages and its state machine.
 *
 *   HELLO      8 magic, 16 major minor (u16), 20 purpose (u8), 21 has secret,
 *              24 cluster id, 32 id, 40 to, 48 nonce,
 *              80 name, raft address, tcp address (u16 size, bytes each)
 *   CHALLENGE  8 major minor, 12 0, 16 cluster id, 24 id, 32 clock, 40 nonce,
 *              72 MAC
 *   PROOF      8 MAC
 *   WELCOME    8 MAC, 40 name, raft address, tcp address
 *   REFUSED    8 reason (u8), 9 has MAC, 10 size of text (u16), 12 MAC, 44 text
 */
#include "net/peer_handshake.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "walkerdb.h"

#define HEAD_SIZE      8
#define HELLO_FIXED    80
#define CHALLENGE_SIZE 104
#define CHALLENGE_MAC  72
#define PROOF_SIZE     40
#define WELCOME_FIXED  40
#define REFUSED_FIXED  44
#define VERSIONED_SIZE 20 /* of HELLO: what every version has there */
#define LABEL_SIZE     16
#define MACED_SIZE_MAX (LABEL_SIZE + 3 * WDB_HANDSHAKE_SIZE_MAX)

static const char magic[8] = "WDBPEER\n";

enum kind {
    KIND_HELLO = 1,
    KIND_CHALLENGE,
    KIND_PROOF,
    KIND_WELCOME,
    KIND_REFUSED,
};

const char *wdb_handshake_purpose_name(enum wdb_handshake_purpose purpose)
{
    static const char *const names[WDB_PURPOSE_COUNT] = {"control", "entries",
                                                         "transfer", "forward",
                                                         "probe"};
    return purpose < WDB_PURPOSE_COUNT ? names[purpose] : "unknown";
}

/* --- writing ---------------------------------------------------------------------- */

static uint8_t *begin(struct wdb_handshake *h, enum kind kind)
{
    wdb_assert(h->output_size == 0);
    memset(h->output, 0, HELLO_FIXED);
    h->output[4] = (uint8_t)kind;
    return h->output;
}

static void end(struct wdb_handshake *h, size_t size)
{
    wdb_assert(size <= sizeof(h->output));
    wdb_store32(h->output, (uint32_t)size);
    h->output_size = size;
}

static size_t put_text(uint8_t *at, const char *text)
{
    size_t size = strlen(text);
    wdb_store16(at, (uint16_t)size);
    memcpy(at + 2, text, size);
    return 2 + size;
}

static size_t put_party(uint8_t *at, const struct wdb_handshake_party *party)
{
    size_t size = put_text(at, party->name);
    size += put_text(at + size, party->raft_address);
    return size + put_text(at + size, party->tcp_address);
}

static void remember(struct wdb_handshake *h, const uint8_t *data, size_t size)
{
    wdb_assert(h->transcript_size + size <= sizeof(h->transcript));
    memcpy(h->transcript + h->transcript_size, data, size);
    h->transcript_size += size;
}

/* MAC over label, transcript, and what is not in there yet. False without
 * memory. */
static bool make_mac(const struct wdb_handshake *h, const char *label,
                     struct wdb_slice more, uint8_t out[WDB_PEER_MAC_SIZE])
{
    uint8_t text[MACED_SIZE_MAX] = {0};
    size_t size = LABEL_SIZE;
    memcpy(text, label, strlen(label));
    memcpy(text + size, h->transcript, h->transcript_size);
    size += h->transcript_size;
    wdb_assert(size + more.size <= sizeof(text));
    if (more.size > 0) {
        memcpy(text + size, more.data, more.size);
        size += more.size;
    }
    return wdb_peer_secret_mac(&h->options.secret, wdb_slice(text, size),
                               out) == 0;
}

static bool is_mac(const struct wdb_handshake *h, const char *label,
                   struct wdb_slice more, const uint8_t *mac)
{
    uint8_t expected[WDB_PEER_MAC_SIZE];
    return make_mac(h, label, more, expected) &&
           wdb_peer_mac_equal(expected, mac);
}

/* --- failing ------------------------------------------------------------------------ */

static void fail(struct wdb_handshake *h, enum wdb_handshake_reason reason,
                 const char *format, ...) WDB_PRINTF(3, 4);

/* What REFUSED's MAC covers besides the transcript. */
static struct wdb_slice refused_text(const uint8_t *message, size_t size)
{
    return wdb_slice(message + REFUSED_FIXED, size - REFUSED_FIXED);
}

static const char *refused_label(enum wdb_handshake_reason reason)
{
    return reason == WDB_REASON_REMOVED ? "removed" : "refused";
}

static void put_refused(struct wdb_handshake *h, bool with_mac)
{
    uint8_t *out = begin(h, KIND_REFUSED);
    size_t size = strlen(h->message);
    memcpy(out + REFUSED_FIXED, h->message, size);
    out[8] = (uint8_t)h->reason;
    wdb_store16(out + 10, (uint16_t)size);
    size += REFUSED_FIXED;
    out[9] = with_mac && make_mac(h, refused_label(h->reason),
                                  refused_text(out, size), out + 12);
    end(h, size);
}

/* An acceptor that read a HELLO answers with the text. */
static void fail(struct wdb_handshake *h, enum wdb_handshake_reason reason,
                 const char *format, ...)
{
    va_list arguments;
    bool proved = h->state == WDB_HANDSHAKE_PROOF && h->transcript_size > 0 &&
                  reason != WDB_REASON_SECRET && reason != WDB_REASON_PROTOCOL;
    va_start(arguments, format);
    vsnprintf(h->message, sizeof(h->message), format, arguments);
    va_end(arguments);
    h->reason = reason;
    h->state = WDB_HANDSHAKE_FAILED;
    h->output_size = 0;
    if (!h->is_initiator && reason != WDB_REASON_PROTOCOL) {
        put_refused(h, proved);
    }
}

static void fail_protocol(struct wdb_handshake *h)
{
    fail(h, WDB_REASON_PROTOCOL,
         "what came is not the handshake of a node (state %d, message %d of %u "
         "bytes): is another service at this port?",
         (int)h->state, h->input[4], wdb_load32(h->input));
}

static void fail_memory(struct wdb_handshake *h)
{
    fail(h, WDB_REASON_OTHER, "out of memory");
}

static void fail_version(struct wdb_handshake *h, unsigned major)
{
    fail(h, WDB_REASON_VERSION,
         "node %016" PRIx64 " speaks version %d of the peer protocol, the "
         "other node version %u: upgrade the older one",
         h->options.self.id, WDB_HANDSHAKE_VERSION_MAJOR, major);
}

/* Without a secret nothing is proved: then peers are on this machine. */
static bool check_protected(struct wdb_handshake *h)
{
    if (h->options.secret.is_set || h->options.is_loopback) {
        return true;
    }
    fail(h, WDB_REASON_SECRET,
         "protected mode: node %016" PRIx64
         " has no cluster secret, and so has "
         "peers on its own machine only: copy a member's %s to %.80s there "
         "(mode 600) and restart it",
         h->options.self.id, WDB_PEER_SECRET_NAME, h->options.secret_dir);
    return false;
}

/* A probe may ask anybody; a node that is in no cluster yet may talk to the
 * members of any (the node behind decides whether it is taken in). */
static bool check_cluster(struct wdb_handshake *h, uint64_t theirs)
{
    uint64_t ours = h->options.self.cluster_id;
    if (h->purpose == WDB_PURPOSE_PROBE || ours == theirs || ours == 0 ||
        theirs == 0) {
        return true;
    }
    uint64_t acceptor = h->is_initiator ? theirs : ours;
    uint64_t initiator = h->is_initiator ? ours : theirs;
    fail(h, WDB_REASON_CLUSTER,
         "this address belongs to cluster %016" PRIx64 ", but the node that "
         "dialed it is in cluster %016" PRIx64,
         acceptor, initiator);
    return false;
}

static bool check_to(struct wdb_handshake *h, wdb_node_id wanted,
                     wdb_node_id there)
{
    if (wanted == 0 || wanted == there) {
        return true;
    }
    fail(h, WDB_REASON_IDENTITY,
         "node %016" PRIx64 " was expected at this address, but %016" PRIx64
         " is there (was its disk lost, or did an address move?)",
         wanted, there);
    return false;
}

/* Is the other end whom we may talk to? Only who has proved to know the secret is
 * judged by what it says, and is told so with a MAC. */
static bool check_peer(struct wdb_handshake *h, wdb_node_id wanted,
                       wdb_node_id there)
{
    return check_cluster(h, h->peer.cluster_id) && check_to(h, wanted, there);
}

/* --- reading -------------------------------------------------------------------------- */

struct reader {
    const uint8_t *at, *end;
};

/* A text of printable characters without blanks. */
static bool get_text(struct reader *reader, char *out, size_t size_max,
                     bool may_be_empty)
{
    if (reader->end - reader->at < 2) {
        return false;
    }
    size_t size = wdb_load16(reader->at);
    if (size > size_max || size > (size_t)(reader->end - reader->at) - 2 ||
        (size == 0 && !may_be_empty)) {
        return false;
    }
    memcpy(out, reader->at + 2, size);
    out[size] = '\0';
    reader->at += 2 + size;
    for (size_t i = 0; i < size; i++) {
        if (out[i] <= ' ' || out[i] > '~') {
            return false;
        }
    }
    return true;
}

static bool get_party(struct reader *reader, struct wdb_handshake_party *party)
{
    return get_text(reader, party->name, WDB_MEMBER_NAME_MAX, false) &&
           get_text(reader, party->raft_address, WDB_MEMBER_ADDRESS_MAX,
                    true) &&
           get_text(reader, party->tcp_address, WDB_MEMBER_ADDRESS_MAX, true);
}

/* --- acceptor --------------------------------------------------------------------------- */

static void put_challenge(struct wdb_handshake *h)
{
    uint8_t *out = begin(h, KIND_CHALLENGE);
    wdb_store32(out, CHALLENGE_SIZE); /* is part of what the MAC covers */
    wdb_store16(out + 8, WDB_HANDSHAKE_VERSION_MAJOR);
    wdb_store16(out + 10, WDB_HANDSHAKE_VERSION_MINOR);
    wdb_store64(out + 16, h->options.self.cluster_id);
    wdb_store64(out + 24, h->options.self.id);
    wdb_store64(out + 32, h->clock_ms);
    memcpy(out + 40, h->options.nonce, WDB_HANDSHAKE_NONCE_SIZE);
    if (!make_mac(h, "acceptor", wdb_slice(out, CHALLENGE_MAC),
                  out + CHALLENGE_MAC)) {
        fail_memory(h);
        return;
    }
    end(h, CHALLENGE_SIZE);
    remember(h, out, CHALLENGE_SIZE);
    h->state = WDB_HANDSHAKE_PROOF;
}

/* May these two talk at all, as far as secrets go? */
static bool check_secret(struct wdb_handshake *h, bool peer_has_secret)
{
    bool we_have = h->options.secret.is_set;
    const char *dir = h->options.secret_dir;
    if (!check_protected(h)) {
        return false;
    }
    if (we_have != peer_has_secret) {
        fail(h, WDB_REASON_SECRET,
             "%s node has a cluster secret, the other has none: copy %s/%s to "
             "the same place of the one that lacks it (mode 600)",
             we_have ? "the dialed" : "the dialing", dir, WDB_PEER_SECRET_NAME);
        return false;
    }
    return true;
}

static void take_hello(struct wdb_handshake *h, const uint8_t *data,
                       size_t size)
{
    if (size < VERSIONED_SIZE || memcmp(data + 8, magic, 8) != 0) {
        fail_protocol(h);
        return;
    }
    if (wdb_load16(data + 16) != WDB_HANDSHAKE_VERSION_MAJOR) {
        fail_version(h, wdb_load16(data + 16));
        return;
    }
    struct reader reader = {data + HELLO_FIXED, data + size};
    struct wdb_handshake_party peer = {.id = 0};
    if (size < HELLO_FIXED || data[20] >= WDB_PURPOSE_COUNT || data[21] > 1 ||
        wdb_load64(data + 32) == 0 || !get_party(&reader, &peer)) {
        fail_protocol(h);
        return;
    }
    h->purpose = data[20];
    peer.cluster_id = wdb_load64(data + 24);
    peer.id = wdb_load64(data + 32);
    h->peer = peer;
    h->has_peer = true;
    remember(h, data, size);
    h->wanted = wdb_load64(data + 40);
    if (check_secret(h, data[21] != 0)) {
        put_challenge(h);
    }
}

static void take_proof(struct wdb_handshake *h, const uint8_t *data,
                       size_t size)
{
    struct wdb_handshake_options *options = &h->options;
    if (size != PROOF_SIZE) {
        fail_protocol(h);
        return;
    }
    if (!is_mac(h, "initiator", wdb_slice(NULL, 0), data + HEAD_SIZE)) {
        fail(h, WDB_REASON_SECRET,
             "the proof of the cluster's secret is wrong");
        return;
    }
    remember(h, data, size);
    h->peer_proved = options->secret.is_set;
    if (!check_peer(h, h->wanted, options->self.id)) {
        return;
    }
    if (h->purpose != WDB_PURPOSE_PROBE && options->is_removed != NULL &&
        options->is_removed(options->context, h->peer.id)) {
        fail(h, WDB_REASON_REMOVED,
             "node %016" PRIx64 " was removed from cluster %016" PRIx64
             " and can't come back: to use the machine again, empty its "
             "directories and join under another name",
             h->peer.id, options->self.cluster_id);
        return;
    }
    uint8_t *out = begin(h, KIND_WELCOME);
    size_t party_size = put_party(out + WELCOME_FIXED, &options->self);
    if (!make_mac(h, "welcome", wdb_slice(out + WELCOME_FIXED, party_size),
                  out + HEAD_SIZE)) {
        fail_memory(h);
        return;
    }
    end(h, WELCOME_FIXED + party_size);
    h->state = WDB_HANDSHAKE_DONE;
}

/* --- initiator ---------------------------------------------------------------------------- */

/* The acceptor has another secret; and maybe it is of another cluster. */
static void fail_secret(struct wdb_handshake *h)
{
    const uint64_t ours = h->options.self.cluster_id;
    const uint64_t theirs = h->peer.cluster_id;
    if (ours != 0 && theirs != 0 && ours != theirs) {
        fail(h, WDB_REASON_SECRET,
             "this address belongs to cluster %016" PRIx64
             ", which has another secret; the node that dialed it is in "
             "cluster %016" PRIx64
             " (was a disk lost, or did an address move?)",
             theirs, ours);
        return;
    }
    fail(h, WDB_REASON_SECRET,
         "node %016" PRIx64 " of cluster %016" PRIx64 " has another cluster "
         "secret than this node (%s/%s): copy the file of one to the other",
         h->peer.id, theirs, h->options.secret_dir, WDB_PEER_SECRET_NAME);
}

static void take_challenge(struct wdb_handshake *h, const uint8_t *data,
                           size_t size)
{
    if (size != CHALLENGE_SIZE) {
        fail_protocol(h);
        return;
    }
    if (wdb_load16(data + 8) != WDB_HANDSHAKE_VERSION_MAJOR) {
        fail_version(h, wdb_load16(data + 8));
        return;
    }
    h->peer.cluster_id = wdb_load64(data + 16);
    h->peer.id = wdb_load64(data + 24);
    h->peer_clock_ms = wdb_load64(data + 32);
    h->has_peer = true;
    if (h->peer.id == 0) {
        fail_protocol(h);
        return;
    }
    if (!check_protected(h)) {
        return;
    }
    if (!is_mac(h, "acceptor", wdb_slice(data, CHALLENGE_MAC),
                data + CHALLENGE_MAC)) {
        fail_secret(h);
        return;
    }
    remember(h, data, size);
    uint8_t *out = begin(h, KIND_PROOF);
    if (!make_mac(h, "initiator", wdb_slice(NULL, 0), out + HEAD_SIZE)) {
        fail_memory(h);
        return;
    }
    end(h, PROOF_SIZE);
    remember(h, out, PROOF_SIZE);
    h->state = WDB_HANDSHAKE_WELCOME;
}

static void take_welcome(struct wdb_handshake *h, const uint8_t *data,
                         size_t size)
{
    struct wdb_handshake_party peer = h->peer;
    struct reader reader = {data + WELCOME_FIXED, data + size};
    if (size < WELCOME_FIXED || !get_party(&reader, &peer)) {
        fail_protocol(h);
        return;
    }
    if (!is_mac(h, "welcome",
                wdb_slice(data + WELCOME_FIXED, size - WELCOME_FIXED),
                data + HEAD_SIZE)) {
        fail(h, WDB_REASON_SECRET, "the answer was changed on its way");
        return;
    }
    if (!check_peer(h, h->options.to, h->peer.id)) {
        return; /* the acceptor should have seen that */
    }
    h->peer = peer;
    h->state = WDB_HANDSHAKE_DONE;
}

static void take_refused(struct wdb_handshake *h, const uint8_t *data,
                         size_t size)
{
    if (size < REFUSED_FIXED || wdb_load16(data + 10) != size - REFUSED_FIXED ||
        size - REFUSED_FIXED > WDB_HANDSHAKE_TEXT_MAX) {
        fail_protocol(h);
        return;
    }
    enum wdb_handshake_reason reason =
        data[8] > WDB_REASON_NONE && data[8] < WDB_REASON_COUNT
            ? (enum wdb_handshake_reason)data[8]
            : WDB_REASON_OTHER;
    struct wdb_slice text = refused_text(data, size);
    h->by_proved_peer = h->state == WDB_HANDSHAKE_WELCOME && data[9] == 1 &&
                        h->options.secret.is_set &&
                        is_mac(h, refused_label(reason), text, data + 12);
    h->by_peer = true;
    fail(h, reason, "%.*s", (int)text.size, (const char *)text.data);
    for (char *c = h->message; *c != '\0'; c++) {
        *c = *c < ' ' || *c > '~' ? '?' : *c;
    }
}

/* --- the machine ---------------------------------------------------------------------------- */

static void take(struct wdb_handshake *h, size_t size)
{
    static const uint8_t expected[] = {
        [WDB_HANDSHAKE_HELLO] = KIND_HELLO,
        [WDB_HANDSHAKE_CHALLENGE] = KIND_CHALLENGE,
        [WDB_HANDSHAKE_PROOF] = KIND_PROOF,
        [WDB_HANDSHAKE_WELCOME] = KIND_WELCOME,
    };
    const uint8_t *data = h->input;
    if (h->is_initiator && data[4] == KIND_REFUSED) {
        take_refused(h, data, size);
        return;
    }
    if (data[4] != expected[h->state]) {
        fail_protocol(h);
        return;
    }
    switch (h->state) {
    case WDB_HANDSHAKE_HELLO:
        take_hello(h, data, size);
        break;
    case WDB_HANDSHAKE_CHALLENGE:
        take_challenge(h, data, size);
        break;
    case WDB_HANDSHAKE_PROOF:
        take_proof(h, data, size);
        break;
    case WDB_HANDSHAKE_WELCOME:
        take_welcome(h, data, size);
        break;
    case WDB_HANDSHAKE_DONE:
    case WDB_HANDSHAKE_FAILED:
        wdb_assert(false);
    }
}

static bool is_running(const struct wdb_handshake *h)
{
    return h->state != WDB_HANDSHAKE_DONE && h->state != WDB_HANDSHAKE_FAILED;
}

/* The size of the message that is coming in; HEAD_SIZE while that is not known;
 * 0 if there is no such message. */
static size_t wanted_size(const struct wdb_handshake *h)
{
    static const uint8_t zeros[3] = {0};
    if (h->input_size < HEAD_SIZE) {
        return HEAD_SIZE;
    }
    uint32_t size = wdb_load32(h->input);
    return size > HEAD_SIZE && size <= WDB_HANDSHAKE_SIZE_MAX &&
                   memcmp(h->input + 5, zeros, 3) == 0
               ? size
               : 0;
}

enum wdb_handshake_state wdb_handshake_feed(struct wdb_handshake *h,
                                            const uint8_t *data, size_t size,
                                            size_t *used_out)
{
    size_t used = 0;
    while (used < size && is_running(h) && h->output_size == 0) {
        size_t wanted = wanted_size(h);
        size_t take_size = wanted - h->input_size;
        take_size = take_size < size - used ? take_size : size - used;
        memcpy(h->input + h->input_size, data + used, take_size);
        h->input_size += take_size;
        used += take_size;
        wanted = wanted_size(h);
        if (wanted == 0) {
            fail_protocol(h);
        } else if (h->input_size == wanted && wanted > HEAD_SIZE) {
            take(h, wanted);
            h->input_size = 0;
        }
    }
    if (used < size && is_running(h)) {
        /* More than one answer of a peer that has not read ours. */
        fail_protocol(h);
    }
    *used_out = used;
    return h->state;
}

static void init(struct wdb_handshake *h,
                 const struct wdb_handshake_options *options)
{
    memset(h, 0, sizeof(*h));
    h->options = *options;
    if (h->options.secret_dir == NULL) {
        h->options.secret_dir = "PATH";
    }
}

void wdb_handshake_init_initiator(struct wdb_handshake *h,
                                  const struct wdb_handshake_options *options)
{
    init(h, options);
    h->is_initiator = true;
    h->state = WDB_HANDSHAKE_CHALLENGE;
    h->purpose = options->purpose;
    uint8_t *out = begin(h, KIND_HELLO);
    memcpy(out + 8, magic, sizeof(magic));
    wdb_store16(out + 16, WDB_HANDSHAKE_VERSION_MAJOR);
    wdb_store16(out + 18, WDB_HANDSHAKE_VERSION_MINOR);
    out[20] = (uint8_t)options->purpose;
    out[21] = options->secret.is_set;
    wdb_store64(out + 24, options->self.cluster_id);
    wdb_store64(out + 32, options->self.id);
    wdb_store64(out + 40, options->to);
    memcpy(out + 48, options->nonce, WDB_HANDSHAKE_NONCE_SIZE);
    end(h, HELLO_FIXED + put_party(out + HELLO_FIXED, &options->self));
    remember(h, out, h->output_size);
}

void wdb_handshake_init_acceptor(struct wdb_handshake *h,
                                 const struct wdb_handshake_options *options)
{
    init(h, options);
    h->state = WDB_HANDSHAKE_HELLO;
}
