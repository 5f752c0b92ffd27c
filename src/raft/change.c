/*
 * change.c - requests that change who is in the cluster, or who leads it.
 *
 * A job goes through steps; each turn looks whether its next step may be taken.
 * One change of the configuration at a time (Ongaro 2014, 4.1: single-server
 * changes), and only by a leader that has heard a majority of late. A standby
 * that has caught up is made a voter without being asked for.
 */
#include <stdlib.h>
#include <string.h>

#include "raft/raft_internal.h"

enum step {
    STEP_NEW,
    STEP_PROBING, /* asked the node at the address who it is */
    STEP_WAITING, /* for the change before it */
    STEP_LOGGED,  /* our entry is in the log */
    STEP_DRAINING,
    STEP_HANDING_OVER,
};

struct wdb_raft_job {
    struct wdb_raft_request request;
    struct wdb_raft *raft;
    enum step step;
    uint64_t deadline_ns;
    uint64_t index; /* of the entry: LOGGED */
    uint64_t term;  /* in which it began */
    bool ended;     /* answered; kept for a probe that is under way */
    struct wdb_raft_job *next;
};

int wdb_raft_ask(struct wdb_raft *raft, const struct wdb_raft_request *request)
{
    struct wdb_raft_request *copy = malloc(sizeof(*copy));
    if (copy == NULL) {
        return WALKERDB_ENOMEM;
    }
    *copy = *request;
    pthread_mutex_lock(&raft->request_lock);
    if (raft->inbox_count >= WDB_RAFT_REQUESTS_MAX) {
        pthread_mutex_unlock(&raft->request_lock);
        free(copy);
        return WALKERDB_EBUSY;
    }
    copy->next = raft->inbox;
    raft->inbox = copy;
    raft->inbox_count++;
    pthread_mutex_unlock(&raft->request_lock);
    wdb_raft_want_turn(raft);
    return 0;
}

static void take_inbox(struct wdb_raft *raft)
{
    pthread_mutex_lock(&raft->request_lock);
    struct wdb_raft_request *list = raft->inbox;
    raft->inbox = NULL;
    raft->inbox_count = 0;
    pthread_mutex_unlock(&raft->request_lock);
    while (list != NULL) {
        struct wdb_raft_request *request = list;
        struct wdb_raft_job *job = calloc(1, sizeof(*job));
        list = request->next;
        if (job == NULL) {
            request->done(request->context, WALKERDB_ENOMEM, "out of memory");
        } else {
            job->request = *request;
            job->raft = raft;
            job->deadline_ns =
                wdb_deadline_ns(wdb_raft_now_ns(raft), request->timeout_ms);
            job->next = raft->jobs;
            raft->jobs = job;
        }
        free(request);
    }
}

static void end(struct wdb_raft_job *job, int code, const char *message)
{
    struct wdb_raft *raft = job->raft;
    if (job->ended) {
        return;
    }
    job->ended = true;
    if (raft->transfer == job) {
        raft->transfer = NULL;
        raft->publish = true;
    }
    job->request.done(job->request.context, code, message);
}

/* --- the log ------------------------------------------------------------------- */

/* A majority of the voters of this configuration was heard of late. */
static bool hears_majority(struct wdb_raft *raft,
                           const struct wdb_members *members)
{
    const uint64_t now = wdb_raft_now_ns(raft);
    const uint64_t late = 2 * (uint64_t)raft->options.election_timeout_ms *
                          (uint64_t)WDB_NS_PER_MS;
    uint32_t voters = 0, heard = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        const struct wdb_member *member = &members->members[i];
        const struct wdb_raft_peer *peer = wdb_raft_peer_of(raft, member->id);
        if (member->role == WDB_MEMBER_VOTER) {
            voters++;
            heard += member->id == raft->self ||
                     (peer != NULL && peer->heard_ns != 0 &&
                      now - peer->heard_ns < late);
        }
    }
    return heard > voters / 2;
}

/* Append the configuration as an entry of its own. */
static int log_members(struct wdb_raft *raft, const struct wdb_members *members,
                       uint64_t *index_out)
{
    struct wdb_buffer payload;
    struct wdb_log_place place;
    struct wdb_entry_header entry = {.type = WDB_ENTRY_CHANGE};
    wdb_buffer_init(&payload);
    int code = wdb_members_encode(members, &payload);
    if (code == 0) {
        entry.payload_size = payload.size;
        code = wdb_log_append_entry(raft->log, &entry, payload.data, &place);
    }
    wdb_buffer_release(&payload);
    if (code != 0) {
        return code;
    }
    code = wdb_log_flush(raft->log);
    *index_out = place.index;
    raft->change_index = place.index;
    wdb_raft_submit_turn(raft);
    return code;
}

static bool can_change(struct wdb_raft *raft)
{
    return wdb_core_can_change(raft->core) && raft->change_index == 0 &&
           raft->transfer == NULL && raft->executed_from != UINT64_MAX &&
           raft->members_index <= raft->committed &&
           hears_majority(raft, &raft->members);
}

/* --- members --------------------------------------------------------------------- */

/* The wanted configuration into *members (a copy of ours); false: answered. */
static bool edit_join(struct wdb_raft_job *job, struct wdb_members *members)
{
    struct wdb_member member = job->request.member;
    const struct wdb_member *same = wdb_members_find(members, member.id);
    const struct wdb_member *namesake =
        wdb_members_find_name(members, member.name);
    if (wdb_members_is_removed(members, member.id) ||
        wdb_members_is_removed_name(members, member.name)) {
        end(job, WALKERDB_EEXISTS,
            "this node was removed before and may not come back under its id: "
            "start it with empty directories and a new -id");
        return false;
    }
    if (namesake != NULL && namesake->id != member.id) {
        end(job, WALKERDB_EEXISTS,
            "another node (another disk) is a member under this id: if that "
            "disk is lost, RAFT REMOVE it, then join with a new -id");
        return false;
    }
    if (same != NULL) {
        struct wdb_member *own = &members->members[same - members->members];
        if (strcmp(own->raft_address, member.raft_address) == 0 &&
            strcmp(own->tcp_address, member.tcp_address) == 0) {
            end(job, 0, "is a member already");
            return false;
        }
        memcpy(own->raft_address, member.raft_address,
               sizeof(own->raft_address));
        memcpy(own->tcp_address, member.tcp_address, sizeof(own->tcp_address));
        return true;
    }
    member.role = WDB_MEMBER_STANDBY;
    const int code = wdb_members_add(members, &member);
    if (code != 0) {
        end(job, code,
            code == WALKERDB_ETOOBIG
                ? "the cluster has as many members as it may have"
                : "this raft address is that of another member, or id or "
                  "address are not valid");
        return false;
    }
    return true;
}

static bool edit_remove(struct wdb_raft_job *job, struct wdb_members *members)
{
    struct wdb_raft *raft = job->raft;
    const struct wdb_member *member =
        wdb_members_find_name(members, job->request.member.name);
    if (member == NULL) {
        end(job, WALKERDB_ENOTFOUND, "no member has this id");
        return false;
    }
    if (member->role == WDB_MEMBER_VOTER && wdb_members_voters(members) == 1) {
        end(job, WALKERDB_EINVALID,
            "this is the last voter: without it nobody can decide anything");
        return false;
    }
    const int code = wdb_members_remove(members, member->id);
    if (code != 0) {
        end(job, code, walkerdb_strerror(code));
        return false;
    }
    if (!hears_majority(raft, members)) {
        end(job, WALKERDB_EINVALID,
            "without this node the reachable ones would not be a majority, and "
            "writes would stop: bring the others back first");
        return false;
    }
    return true;
}

static bool edit_move(struct wdb_raft_job *job, struct wdb_members *members)
{
    const struct wdb_member *wanted = &job->request.member;
    const struct wdb_member *member =
        wdb_members_find_name(members, wanted->name);
    if (member == NULL) {
        end(job, WALKERDB_ENOTFOUND, "no member has this id");
        return false;
    }
    struct wdb_member *own = &members->members[member - members->members];
    memcpy(own->raft_address, wanted->raft_address, sizeof(own->raft_address));
    memcpy(own->tcp_address, wanted->tcp_address, sizeof(own->tcp_address));
    return true;
}

static bool edit(struct wdb_raft_job *job, struct wdb_members *members)
{
    switch (job->request.kind) {
    case WDB_RAFT_JOIN:
        return edit_join(job, members);
    case WDB_RAFT_REMOVE:
        return edit_remove(job, members);
    default:
        return edit_move(job, members);
    }
}

/* Log the change if it is our turn. */
static void try_change(struct wdb_raft_job *job)
{
    struct wdb_raft *raft = job->raft;
    struct wdb_members members;
    if (!can_change(raft)) {
        job->step = STEP_WAITING;
        return;
    }
    wdb_members_init(&members);
    int code = wdb_members_copy(&raft->members, &members);
    if (code == 0 && edit(job, &members)) {
        job->term = wdb_core_term(raft->core);
        code = log_members(raft, &members, &job->index);
        job->step = STEP_LOGGED;
    }
    wdb_members_release(&members);
    if (code != 0) {
        end(job, code, walkerdb_strerror(code));
    }
}

static void free_job(struct wdb_raft *raft, struct wdb_raft_job *job)
{
    struct wdb_raft_job **link = &raft->jobs;
    while (*link != job) {
        link = &(*link)->next;
    }
    *link = job->next;
    free(job);
}

static void on_probed(void *arg, int code, const char *message,
                      const struct wdb_member *member, uint64_t cluster_id)
{
    struct wdb_raft_job *job = arg;
    struct wdb_raft *raft = job->raft;
    raft->probe_count--;
    if (job->ended) {
        free_job(raft, job);
        return;
    }
    job->step = STEP_WAITING;
    if (code != 0) {
        end(job, code, message);
    } else if (cluster_id != 0 && cluster_id != raft->identity->cluster_id) {
        end(job, WALKERDB_EEXISTS,
            "the node at this address belongs to another cluster");
    } else if (strcmp(member->name, job->request.member.name) != 0) {
        end(job, WALKERDB_EINVALID,
            "the node at this raft address has another -id");
    } else {
        job->request.member.id = member->id;
    }
    wdb_raft_want_turn(raft);
}

static void begin_change(struct wdb_raft_job *job)
{
    struct wdb_raft *raft = job->raft;
    if (job->request.kind == WDB_RAFT_JOIN && job->request.member.id == 0) {
        job->step = STEP_PROBING;
        raft->probe_count++;
        raft->options.peers->ops->probe(raft->options.peers->context,
                                        job->request.member.raft_address,
                                        on_probed, job);
        return;
    }
    try_change(job);
}

/* --- leadership -------------------------------------------------------------------- */

static void begin_transfer(struct wdb_raft_job *job)
{
    struct wdb_raft *raft = job->raft;
    const char *name = job->request.member.name;
    const struct wdb_member *to = wdb_members_find_name(&raft->members, name);
    if (raft->transfer != NULL) {
        end(job, WALKERDB_EBUSY, "leadership is being handed over already");
    } else if (raft->executed_from == UINT64_MAX) {
        end(job, WALKERDB_EBUSY, "this node has just become the leader");
    } else if (name[0] != '\0' && to == NULL) {
        end(job, WALKERDB_ENOTFOUND, "no member has this id");
    } else if (to != NULL && to->id == raft->self) {
        end(job, 0, "is the leader already");
    } else if (to != NULL && to->role != WDB_MEMBER_VOTER) {
        end(job, WALKERDB_EINVALID, "this member does not vote yet");
    } else if (wdb_members_voters(&raft->members) < 2) {
        end(job, WALKERDB_EINVALID, "there is no other voter");
    } else {
        job->request.member.id = to != NULL ? to->id : 0;
        job->step = STEP_DRAINING;
        job->term = wdb_core_term(raft->core);
        raft->transfer = job;
        if (!WDB_RAFT_MUTATED(raft, WDB_MUTATION_TRANSFER_UNDRAINED)) {
            wdb_raft_hold(raft, true);
        }
        (void)!wdb_log_flush(raft->log); /* a failure stops the node itself */
        wdb_raft_submit_turn(raft);
    }
}

/* Nothing that anybody waits for is left here. */
static bool is_drained(struct wdb_raft *raft)
{
    return WDB_RAFT_MUTATED(raft, WDB_MUTATION_TRANSFER_UNDRAINED) ||
           (raft->committed == wdb_log_index_last(raft->log) &&
            raft->change_index == 0 && raft->round_active == 0 &&
            !atomic_load(&raft->round_asked));
}

static void go_on_serving(struct wdb_raft_job *job, int code, const char *why)
{
    wdb_raft_hold(job->raft, false);
    end(job, code, why);
}

static void transfer_turn(struct wdb_raft_job *job)
{
    struct wdb_raft *raft = job->raft;
    if (job->step == STEP_DRAINING) {
        if (wdb_raft_now_ns(raft) >= job->deadline_ns) {
            go_on_serving(job, WALKERDB_EBUSY,
                          "what was under way did not end in time");
        } else if (is_drained(raft)) {
            job->step = STEP_HANDING_OVER;
            const int code =
                wdb_core_transfer(raft->core, wdb_raft_now_ms(raft),
                                  job->request.member.id);
            if (code == WALKERDB_EBUSY || code == WALKERDB_ENOTLEADER ||
                code == WALKERDB_ENOTFOUND) {
                go_on_serving(job, code, "nobody to hand leadership over to");
            } else {
                wdb_raft_check(raft, code, "handing leadership over");
            }
        }
    } else if (!wdb_core_is_transferring(raft->core)) {
        go_on_serving(job, WALKERDB_EBUSY,
                      "the other node did not take over in time; this one "
                      "goes on");
    }
}

/* --- turns -------------------------------------------------------------------------- */

static void begin_job(struct wdb_raft_job *job)
{
    if (job->request.kind == WDB_RAFT_TRANSFER) {
        begin_transfer(job);
    } else {
        begin_change(job);
    }
}

static void job_turn(struct wdb_raft_job *job)
{
    struct wdb_raft *raft = job->raft;
    if (job->step == STEP_NEW) {
        begin_job(job);
    } else if (job->step == STEP_WAITING) {
        try_change(job);
    } else if (job->step == STEP_LOGGED && raft->committed >= job->index) {
        end(job, 0, "done");
    } else if (job == raft->transfer) {
        transfer_turn(job);
    }
    if (!job->ended && job != raft->transfer &&
        wdb_raft_now_ns(raft) >= job->deadline_ns) {
        const bool logged = job->step == STEP_LOGGED;
        end(job, logged ? WALKERDB_EABORTED : WALKERDB_EBUSY,
            logged ? "logged, but not known to be committed yet: look at RAFT "
                     "NODES"
                   : "another change is under way, or too few members answer: "
                     "nothing was done");
    }
}

/* A standby that has the log becomes a voter. */
static void promote(struct wdb_raft *raft)
{
    struct wdb_members members;
    if (!can_change(raft)) {
        return;
    }
    for (uint32_t i = 0; i < raft->members.count; i++) {
        const struct wdb_member *member = &raft->members.members[i];
        const struct wdb_raft_peer *peer = wdb_raft_peer_of(raft, member->id);
        const uint64_t match = wdb_core_match(raft->core, member->id);
        if (member->role != WDB_MEMBER_STANDBY || peer == NULL || match == 0 ||
            match + WDB_RAFT_PROMOTE_LAG < raft->committed ||
            peer->source != NULL) {
            continue;
        }
        wdb_members_init(&members);
        uint64_t index;
        if (wdb_members_copy(&raft->members, &members) == 0) {
            members.members[i].role = WDB_MEMBER_VOTER;
            if (log_members(raft, &members, &index) == 0) {
                wdb_raft_say(raft, WDB_LOG_NOTICE,
                             "%s has caught up and becomes a voter",
                             member->name);
            }
        }
        wdb_members_release(&members);
        return;
    }
}

void wdb_raft_change_turn(struct wdb_raft *raft)
{
    take_inbox(raft);
    struct wdb_raft_job *next;
    for (struct wdb_raft_job *job = raft->jobs; job != NULL; job = next) {
        next = job->next;
        if (!job->ended && !wdb_raft_is_leader(raft)) {
            end(job, WALKERDB_ENOTLEADER, "this node is not the leader");
        }
        if (!job->ended) {
            job_turn(job);
        }
        if (job->ended && job->step != STEP_PROBING) {
            free_job(raft, job);
        }
    }
    if (wdb_raft_is_leader(raft) && !raft->failed) {
        promote(raft);
    }
}

uint64_t wdb_raft_change_deadline(const struct wdb_raft *raft)
{
    uint64_t at = UINT64_MAX;
    for (const struct wdb_raft_job *job = raft->jobs; job != NULL;
         job = job->next) {
        if (!job->ended && job->deadline_ns < at) {
            at = job->deadline_ns;
        }
    }
    return at;
}

void wdb_raft_change_lost(struct wdb_raft *raft)
{
    for (struct wdb_raft_job *job = raft->jobs; job != NULL; job = job->next) {
        if (job == raft->transfer) {
            end(job, 0, "done"); /* that is what was asked for */
        } else if (job->step == STEP_LOGGED &&
                   job->index <= raft->core_committed) {
            end(job, 0, "done"); /* a leader that removed itself */
        } else if (job->step == STEP_LOGGED) {
            end(job, WALKERDB_EABORTED,
                "leadership was lost before the change was known to be "
                "committed: look at RAFT NODES");
        } else {
            end(job, WALKERDB_ENOTLEADER, "this node is not the leader");
        }
    }
    raft->transfer = NULL;
}

void wdb_raft_change_release(struct wdb_raft *raft)
{
    struct wdb_raft_job *next;
    take_inbox(raft);
    for (struct wdb_raft_job *job = raft->jobs; job != NULL; job = next) {
        next = job->next;
        end(job, WALKERDB_ECLOSED, "the node is stopping");
        if (job->step != STEP_PROBING) {
            free_job(raft, job);
        }
    }
}
