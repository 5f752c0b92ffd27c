/*
 * replicate.c - entries: taken from a leader, told to the core, sent to peers.
 *
 * The core says which entries a peer should get (prev, count); what is sent is
 * read from the log when the channel takes it, in messages of a bounded size.
 * So nothing waits in memory for a slow peer but a range of numbers.
 */
#include <string.h>

#include "raft/raft_internal.h"

uint64_t wdb_raft_term_at(struct wdb_raft *raft, uint64_t index)
{
    struct wdb_entry_header entry;
    if (index == 0) {
        return 0;
    }
    if (index == raft->base.index) {
        return raft->base.term;
    }
    if (index < raft->base.index ||
        wdb_log_entry_header(raft->log, index, &entry) != 0) {
        return 0;
    }
    return entry.term;
}

/* --- a follower takes entries ---------------------------------------------------- */

/*
 * The first entries ever: this node now belongs to that cluster, for good. First
 * the identity, then the log: a crash in between leaves a node that is not in
 * yet, and comes here again.
 */
int wdb_raft_adopt(struct wdb_raft *raft, uint64_t cluster_id)
{
    struct wdb_identity *identity = raft->identity;
    int code = 0;
    if (identity->cluster_id == 0) {
        identity->cluster_id = cluster_id;
        identity->log_nonce = wdb_log_nonce(raft->log);
        code = wdb_identity_store(identity);
    } else if (identity->cluster_id != cluster_id) {
        code = WALKERDB_EABORTED;
    }
    if (code == 0 && !wdb_log_is_cluster(raft->log)) {
        code = wdb_log_set_base(raft->log, true, wdb_slice(NULL, 0), 1);
    }
    return code;
}

static int take_change(struct wdb_raft *raft,
                       const struct wdb_entry_header *entry,
                       const uint8_t *payload)
{
    struct wdb_members members;
    wdb_members_init(&members);
    int code = wdb_members_decode(payload, entry->payload_size, &members);
    if (code == 0) {
        code = wdb_raft_adopt(raft, members.cluster_id);
    }
    if (code == 0) {
        code = wdb_raft_use_members(raft, &members, entry->index);
    }
    wdb_members_release(&members);
    if (code == 0) {
        wdb_raft_apply_members(raft);
    }
    return code;
}

static int truncate(struct wdb_raft *raft, uint64_t from)
{
    raft->truncations++;
    int code = wdb_store_truncate(raft->store, from);
    if (code == 0) {
        const uint64_t before = raft->members_index;
        if (!WDB_RAFT_MUTATED(raft, WDB_MUTATION_MEMBERS_KEPT)) {
            code = wdb_raft_forget_members(raft, from);
        }
        if (code == 0 && before != raft->members_index) {
            wdb_raft_apply_members(raft);
        }
    }
    return code;
}

static int append_entry(struct wdb_raft *raft,
                        const struct wdb_entry_header *entry,
                        const uint8_t *payload)
{
    struct wdb_log_place place;
    int code = 0;
    if (entry->type == WDB_ENTRY_CHANGE) {
        code = take_change(raft, entry, payload);
    }
    return code == 0 ? wdb_log_append_entry(raft->log, entry, payload, &place)
                     : code;
}

int wdb_raft_core_append(void *context, uint64_t index, uint32_t count)
{
    struct wdb_raft *raft = context;
    struct wdb_entry_header entry;
    const uint8_t *payload;
    size_t at = 0;
    uint32_t taken = 0;
    int code = 0;
    wdb_assert(raft->receiving != NULL);
    if (index <= wdb_log_index_last(raft->log)) {
        code = truncate(raft, index);
    }
    while (code == 0 && taken < count &&
           wdb_message_next_entry(raft->receiving, &at, &entry, &payload)) {
        if (entry.index >= index) {
            code = append_entry(raft, &entry, payload);
            taken++;
        }
    }
    if (code == 0) {
        wdb_assert(taken == count);
        code = wdb_log_flush(raft->log);
    }
    raft->submitted = wdb_log_index_last(raft->log);
    if (code != 0) {
        wdb_raft_fail(raft, code, "entries could not be written: %s",
                      walkerdb_strerror(code));
    }
    return code;
}

/* --- room ------------------------------------------------------------------ */

#define FULL_TOLD_NS ((uint64_t)10 * (uint64_t)WDB_NS_PER_S)

static void say_full(struct wdb_raft *raft)
{
    const uint64_t now = wdb_raft_now_ns(raft);
    if (raft->full_told_ns == 0 || now - raft->full_told_ns > FULL_TOLD_NS) {
        raft->full_told_ns = now;
        wdb_raft_say(raft, WDB_LOG_WARNING,
                     "the disk is full: entries of the leader are not taken "
                     "until a merge, or you, make room");
    }
}

/* What the entries take that are not in the log yet. */
static uint64_t count_new(const struct wdb_raft *raft,
                          const struct wdb_message *message,
                          uint64_t *largest_out)
{
    const uint64_t last = wdb_log_index_last(raft->log);
    struct wdb_entry_header entry;
    const uint8_t *payload;
    uint64_t all = 0;
    size_t at = 0;
    *largest_out = 0;
    while (wdb_message_next_entry(message, &at, &entry, &payload)) {
        const uint64_t size = wdb_raft_entry_size(&entry);
        if (entry.index > last) {
            all += size;
            *largest_out = size > *largest_out ? size : *largest_out;
        }
    }
    return all;
}

int wdb_raft_fit(struct wdb_raft *raft, struct wdb_message *message)
{
    const uint64_t last = wdb_log_index_last(raft->log);
    struct wdb_entry_header entry;
    const uint8_t *payload;
    uint64_t room[2], largest;
    size_t at = 0, end = 0;
    uint32_t count = 0;
    const uint64_t most = message->append.entries_size +
                          message->append.entry_count * WDB_ENTRY_OVERHEAD;
    int code = wdb_log_entry_room(raft->log, most, 0, room);
    if (code != 0 || most <= room[0]) {
        return code;
    }
    const uint64_t all = count_new(raft, message, &largest);
    code = wdb_log_entry_room(raft->log, all, largest, room);
    if (code != 0 || all <= room[0]) {
        return code;
    }
    while (wdb_message_next_entry(message, &at, &entry, &payload)) {
        const uint64_t size = wdb_raft_entry_size(&entry);
        if (entry.index > last && size > room[0]) {
            room[0] = room[1]; /* of the next segment */
            room[1] = 0;
        }
        if (entry.index > last && size > room[0]) {
            say_full(raft);
            break;
        }
        room[0] -= entry.index > last ? size : 0;
        end = at;
        count++;
    }
    message->append.entry_count = count;
    message->append.entries_size = end;
    return 0;
}

/* --- a leader submits --------------------------------------------------------------- */

/* Our own CHANGE is in the log: tell the core, alone. */
static int submit_change(struct wdb_raft *raft)
{
    struct wdb_entry_header header;
    const uint8_t *payload;
    struct wdb_segment *segment;
    struct wdb_members members;
    wdb_members_init(&members);
    int code = wdb_log_entry(raft->log, raft->change_index, &header, &payload,
                             &segment);
    if (code != 0) {
        return code;
    }
    code = wdb_members_decode(payload, header.payload_size, &members);
    wdb_segment_drop(segment);
    if (code == 0) {
        code = wdb_raft_use_members(raft, &members, header.index);
    }
    if (code == 0) {
        const struct wdb_core_entry entry = {.term = header.term,
                                             .type = WDB_ENTRY_CHANGE,
                                             .members = &members};
        raft->submitted++;
        raft->bytes_submitted += wdb_raft_entry_size(&header);
        raft->change_index = 0;
        wdb_raft_apply_members(raft);
        code = wdb_core_submit(raft->core, wdb_raft_now_ms(raft), 1, &entry);
    }
    wdb_members_release(&members);
    return code;
}

/* Sizes of what is submitted, for the limit of what is not committed. */
static int count_bytes(struct wdb_raft *raft, uint64_t from, uint64_t to)
{
    struct wdb_entry_header header;
    for (uint64_t i = from; i <= to; i++) {
        const int code = wdb_log_entry_header(raft->log, i, &header);
        if (code != 0) {
            return code;
        }
        wdb_debug_assert(header.type == WDB_ENTRY_COMMAND &&
                         header.term == wdb_core_term(raft->core));
        raft->bytes_submitted += wdb_raft_entry_size(&header);
    }
    atomic_store_explicit(&raft->uncommitted_size,
                          raft->bytes_submitted - raft->bytes_committed,
                          memory_order_relaxed);
    return 0;
}

void wdb_raft_submit_turn(struct wdb_raft *raft)
{
    const uint64_t appended = wdb_log_appended(raft->log);
    if (!wdb_raft_is_leader(raft) || raft->executed_from == UINT64_MAX) {
        return;
    }
    while (raft->submitted < appended && !raft->failed) {
        const uint64_t first = raft->submitted + 1;
        uint64_t last = appended;
        if (first == raft->change_index) {
            wdb_raft_check(raft, submit_change(raft), "a configuration");
            continue;
        }
        if (raft->change_index > first && raft->change_index <= last) {
            last = raft->change_index - 1;
        }
        if (last - first >= WDB_RAFT_SUBMIT_MAX) {
            last = first + WDB_RAFT_SUBMIT_MAX - 1;
        }
        const struct wdb_core_entry entry = {.term = wdb_core_term(raft->core),
                                             .type = WDB_ENTRY_COMMAND};
        int code = count_bytes(raft, first, last);
        raft->submitted = last;
        if (code == 0) {
            code = wdb_core_submit(raft->core, wdb_raft_now_ms(raft),
                                   (uint32_t)(last - first + 1), &entry);
        }
        wdb_raft_check(raft, code, "entries of our own");
        wdb_pace_submitted(&raft->pace, last, wdb_raft_now_ns(raft));
    }
}

/* --- a leader sends -------------------------------------------------------------------- */

static void add_hash(const struct wdb_raft *raft, struct wdb_message *message)
{
    if (raft->committed > raft->base.index) {
        message->append.hash_index = raft->committed;
        message->append.hash = raft->state_hash;
    }
}

/* Are entries up to this one on their way to the peer? Not any more, if the last
 * was sent long ago: they, or the answer to them, were lost with a connection. */
static bool is_on_its_way(const struct wdb_raft *raft,
                          const struct wdb_raft_peer *peer, uint64_t index)
{
    const uint64_t late =
        (uint64_t)raft->options.election_timeout_ms * (uint64_t)WDB_NS_PER_MS;
    return peer != NULL && peer->until >= index &&
           (peer->next <= peer->until ||
            wdb_raft_now_ns(raft) - peer->sent_ns < late);
}

/* Entries on their way would make the peer reject a heartbeat that overtakes
 * them: it is anchored at what the peer has acknowledged. Else the core has to
 * learn what the peer has and lacks. */
static void send_heartbeat(struct wdb_raft *raft, wdb_node_id to,
                           const struct wdb_message *from)
{
    struct wdb_message message = *from;
    const uint64_t match = wdb_core_match(raft->core, to);
    const struct wdb_raft_peer *peer = wdb_raft_peer_of(raft, to);
    if (match > 0 && match < message.append.previous_index &&
        is_on_its_way(raft, peer, message.append.previous_index)) {
        const uint64_t term = wdb_raft_term_at(raft, match);
        if (term != 0) {
            message.append.previous_index = match;
            message.append.previous_term = term;
        }
    }
    message.append.entries = NULL;
    message.append.entries_size = 0;
    add_hash(raft, &message);
    (void)wdb_raft_send(raft, to, WDB_CHANNEL_CONTROL, &message);
}

void wdb_raft_core_send(void *context, wdb_node_id to,
                        const struct wdb_message *message)
{
    struct wdb_raft *raft = context;
    struct wdb_message copy = *message;
    struct wdb_raft_peer *peer = wdb_raft_peer_of(raft, to);
    if (raft->starting) {
        return; /* it will be said again */
    }
    if (message->kind == WDB_MESSAGE_OFFER) {
        wdb_raft_offer(raft, to);
        return;
    }
    if (message->kind != WDB_MESSAGE_APPEND) {
        (void)wdb_raft_send(raft, to, WDB_CHANNEL_CONTROL, &copy);
        return;
    }
    if (message->append.entry_count == 0) {
        send_heartbeat(raft, to, message);
        return;
    }
    if (peer == NULL) {
        return;
    }
    const uint64_t first = message->append.previous_index + 1;
    const uint64_t last = first + message->append.entry_count - 1;
    if (first != peer->until + 1 || peer->next > peer->until) {
        peer->next = first;
    }
    peer->until = last;
    wdb_raft_pump(raft, peer);
}

/* Entries from peer->next on, as many as one message holds; false: they can't
 * be read. */
static bool collect(struct wdb_raft *raft, const struct wdb_raft_peer *peer,
                    struct wdb_message *message,
                    struct wdb_segment **segment_out)
{
    size_t used = 0;
    uint64_t index = peer->next;
    while (index <= peer->until) {
        struct wdb_entry_header header;
        const uint8_t *payload;
        struct wdb_segment *segment;
        if (wdb_log_entry(raft->log, index, &header, &payload, &segment) != 0) {
            break;
        }
        const size_t size = sizeof(header) + header.payload_size;
        if (size > WDB_RAFT_MESSAGE_SIZE_MAX - used) {
            if (used == 0) {
                /* Larger than the scratch: sent from the mapping, where the
                 * header stands in front of the payload. */
                message->append.entry_count = 1;
                message->append.entries = payload - sizeof(header);
                message->append.entries_size = size;
                *segment_out = segment;
                return true;
            }
            wdb_segment_drop(segment);
            break;
        }
        memcpy(raft->scratch + used, payload - sizeof(header), size);
        used += size;
        wdb_segment_drop(segment);
        index++;
    }
    message->append.entry_count = (uint32_t)(index - peer->next);
    message->append.entries = raft->scratch;
    message->append.entries_size = used;
    return index > peer->next;
}

void wdb_raft_pump(struct wdb_raft *raft, struct wdb_raft_peer *peer)
{
    const struct wdb_peers *peers = raft->options.peers;
    if (!wdb_raft_is_leader(raft)) {
        return;
    }
    while (peer->next <= peer->until &&
           peers->ops->is_writable(peers->context, peer->id,
                                   WDB_CHANNEL_ENTRIES)) {
        struct wdb_segment *segment = NULL;
        struct wdb_message message = {
            .kind = WDB_MESSAGE_APPEND,
            .term = wdb_core_term(raft->core),
        };
        message.append.previous_index = peer->next - 1;
        message.append.previous_term = wdb_raft_term_at(raft, peer->next - 1);
        message.append.committed = wdb_core_index_committed(raft->core);
        add_hash(raft, &message);
        if ((message.append.previous_term == 0 && peer->next != 1) ||
            !collect(raft, peer, &message, &segment)) {
            peer->until = peer->next - 1; /* given up: a snapshot will come */
            return;
        }
        const bool sent =
            wdb_raft_send(raft, peer->id, WDB_CHANNEL_ENTRIES, &message);
        if (segment != NULL) {
            wdb_segment_drop(segment);
        }
        if (!sent) {
            return;
        }
        peer->next += message.append.entry_count;
        peer->sent_ns = wdb_raft_now_ns(raft);
    }
}
