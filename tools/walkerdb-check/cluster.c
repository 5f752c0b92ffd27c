/*
 * cluster.c - what a member of a cluster has besides records: Raft's base in
 * the manifest, configurations in the log, the identity in a file of its own;
 * and whether these belong together.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "walkerdb-check/check.h"

#define NO_OFFSET UINT64_MAX

/* --- printing --------------------------------------------------------------
 */

static const char *role_name(const struct wdb_member *member)
{
    return member->role == WDB_MEMBER_VOTER ? "voter" : "standby";
}

/* "cluster_id":..,"members":[..],"removed":[..] */
static void members_json(FILE *out, const struct wdb_members *members)
{
    fprintf(out, "\"cluster_id\":\"%016" PRIx64 "\",\"members\":[",
            members->cluster_id);
    for (uint32_t i = 0; i < members->count; i++) {
        const struct wdb_member *m = &members->members[i];
        fprintf(out, "%s{\"id\":\"%016" PRIx64 "\",\"name\":", i ? "," : "",
                m->id);
        check_print_json(out, wdb_slice_str(m->name));
        fprintf(out, ",\"role\":\"%s\",\"raft\":", role_name(m));
        check_print_json(out, wdb_slice_str(m->raft_address));
        fputs(",\"tcp\":", out);
        check_print_json(out, wdb_slice_str(m->tcp_address));
        fputc('}', out);
    }
    fputs("],\"removed\":[", out);
    for (uint32_t i = 0; i < members->removed_count; i++) {
        fprintf(out, "%s{\"id\":\"%016" PRIx64 "\",\"name\":", i ? "," : "",
                members->removed[i].id);
        check_print_json(out, wdb_slice_str(members->removed[i].name));
        fputc('}', out);
    }
    fputc(']', out);
}

/* Each member and each of the removed, between these two texts. */
static void members_text(FILE *out, const struct wdb_members *members,
                         const char *before, const char *after)
{
    for (uint32_t i = 0; i < members->count; i++) {
        const struct wdb_member *m = &members->members[i];
        fprintf(out, "%s%s ", before, role_name(m));
        check_print_text(out, wdb_slice_str(m->name));
        fprintf(out, " id=%016" PRIx64 " raft=%s tcp=%s%s", m->id,
                m->raft_address, m->tcp_address, after);
    }
    for (uint32_t i = 0; i < members->removed_count; i++) {
        fprintf(out, "%sremoved ", before);
        check_print_text(out, wdb_slice_str(members->removed[i].name));
        fprintf(out, " id=%016" PRIx64 "%s", members->removed[i].id, after);
    }
}

static void dump_change(struct check *check,
                        const struct check_segment *segment,
                        const struct wdb_frame *frame,
                        const struct wdb_entry_header *entry,
                        const struct wdb_members *members)
{
    FILE *out = check->out;
    if (check->json) {
        fprintf(out,
                "{\"event\":\"change\",\"index\":%" PRIu64 ",\"term\":%" PRIu64
                ",",
                entry->index, entry->term);
        members_json(out, members);
        fprintf(out,
                ",\"file\":\"%s\",\"offset\":%" PRIu64 ",\"size\":%" PRIu64
                "}\n",
                segment->name, frame->offset,
                WDB_ENTRY_OVERHEAD + entry->payload_size);
        return;
    }
    fprintf(out, "%" PRIu64 " change cluster=%016" PRIx64 ":", entry->index,
            members->cluster_id);
    members_text(out, members, " ", ";");
    fprintf(out, " at %s:%" PRIu64 "+%" PRIu64 "\n", segment->name,
            frame->offset, WDB_ENTRY_OVERHEAD + entry->payload_size);
}

/* --- the base --------------------------------------------------------------
 */

int check_cluster_open(struct check *check)
{
    struct check_cluster *cluster = &check->cluster;
    const struct wdb_manifest *m = &check->manifest;
    if (!check->has_manifest || !m->cluster || m->raft.size == 0) {
        return 0;
    }
    int rc = wdb_raft_base_decode(m->raft.data, m->raft.size, &cluster->base);
    if (rc == WALKERDB_ECORRUPT || rc == WALKERDB_EVERSION) {
        check_problem(check, WDB_MANIFEST_NAME, NO_OFFSET,
                      "its part for the cluster %s",
                      rc == WALKERDB_EVERSION
                          ? "was written by a newer version of walkerDb"
                          : "is damaged");
        return 0;
    }
    if (rc != 0) {
        return rc;
    }
    cluster->has_base = true;
    if (cluster->base.index > m->index_committed) {
        check_problem(check, WDB_MANIFEST_NAME, NO_OFFSET,
                      "the base stands for entry %" PRIu64 ", but only %" PRIu64
                      " was known to be committed",
                      cluster->base.index, m->index_committed);
    }
    if (cluster->base.members.count != 0) {
        rc = wdb_members_copy(&cluster->base.members, &cluster->members);
        cluster->members_index = cluster->base.members_index;
    }
    return rc;
}

void check_cluster_close(struct check *check)
{
    wdb_raft_base_release(&check->cluster.base);
    wdb_members_release(&check->cluster.members);
}

/* --- entries ---------------------------------------------------------------
 */

/* What one configuration owes to those before. */
static void check_succession(struct check *check,
                             const struct check_segment *segment,
                             const struct wdb_frame *frame,
                             const struct wdb_entry_header *entry,
                             const struct wdb_members *members)
{
    const struct wdb_members *before = &check->cluster.members;
    if (before->count == 0) {
        return;
    }
    if (members->cluster_id != before->cluster_id) {
        check_note(check, segment->name,
                   "with entry %" PRIu64 " begins another cluster: %016" PRIx64
                   " was made out of this node of %016" PRIx64,
                   entry->index, members->cluster_id, before->cluster_id);
        return;
    }
    for (uint32_t i = 0; i < before->removed_count; i++) {
        if (!wdb_members_is_removed(members, before->removed[i].id)) {
            check_problem(check, segment->name, frame->offset,
                          "a configuration in which %s is no longer removed",
                          before->removed[i].name);
        }
    }
}

static int take_change(struct check *check, const struct check_segment *segment,
                       const struct wdb_frame *frame,
                       const struct wdb_entry_header *entry,
                       const uint8_t *payload)
{
    struct check_cluster *cluster = &check->cluster;
    struct wdb_members members;
    int rc = wdb_members_decode(payload, entry->payload_size, &members);
    if (rc == WALKERDB_ECORRUPT) {
        if (!check->has_manifest || check->manifest.cluster) {
            check_problem(check, segment->name, frame->offset,
                          "the configuration of entry %" PRIu64
                          " cannot be read",
                          entry->index);
        }
        return 0;
    }
    if (rc != 0) {
        return rc;
    }
    if (check->dump) {
        dump_change(check, segment, frame, entry, &members);
    }
    if (entry->index > cluster->members_index) {
        check_succession(check, segment, frame, entry, &members);
        rc = wdb_members_copy(&members, &cluster->members);
        cluster->members_index = entry->index;
    }
    wdb_members_release(&members);
    return rc;
}

int check_cluster_entry(struct check *check,
                        const struct check_segment *segment,
                        const struct wdb_frame *frame,
                        const struct wdb_entry_header *entry,
                        const uint8_t *payload)
{
    struct check_cluster *cluster = &check->cluster;
    if (segment->m.kind != WDB_SEGMENT_LOG) {
        return 0;
    }
    if (entry->index == 1 && entry->type != WDB_ENTRY_CHANGE &&
        check->has_manifest && check->manifest.cluster &&
        cluster->base.index == 0) {
        check_problem(check, segment->name, frame->offset,
                      "the log of a member does not begin with a "
                      "configuration");
    }
    if (entry->term > cluster->term_last) {
        cluster->term_last = entry->term;
    }
    if (frame->index_committed > cluster->index_committed) {
        cluster->index_committed = frame->index_committed;
    }
    if (cluster->has_base && entry->index == cluster->base.index &&
        entry->term != cluster->base.term) {
        check_problem(check, segment->name, frame->offset,
                      "entry %" PRIu64 " is of term %" PRIu64
                      ", the base says %" PRIu64,
                      entry->index, entry->term, cluster->base.term);
    }
    return entry->type == WDB_ENTRY_CHANGE
               ? take_change(check, segment, frame, entry, payload)
               : 0;
}

/* --- the identity ----------------------------------------------------------
 */

/* Read the identity below `dir`, whose path for people is `name`. ENOTFOUND. */
static int read_identity(struct check *check, const char *dir, const char *name)
{
    struct check_cluster *cluster = &check->cluster;
    char path[WDB_PATH_SIZE_MAX];
    void *data;
    size_t size;
    unsigned damaged, old;
    int rc = wdb_env_join(path, dir, WDB_IDENTITY_NAME);
    if (rc == 0) {
        rc = wdb_env_read_file(check->env, path, (size_t)1 << 20, &data, &size);
    }
    if (rc != 0) {
        return rc == WALKERDB_ETOOBIG ? WALKERDB_ECORRUPT : rc;
    }
    rc = wdb_identity_choose(data, size, &cluster->identity, &damaged, &old);
    free(data);
    if (rc != 0) {
        return rc;
    }
    cluster->has_identity = true;
    snprintf(cluster->identity_name, sizeof(cluster->identity_name), "%s",
             name);
    for (unsigned i = 0; i < WDB_IDENTITY_SLOTS; i++) {
        if ((damaged & 1u << i) != 0) {
            check_problem(check, name, (uint64_t)i * WDB_IDENTITY_SLOT_STEP,
                          "this copy is damaged; the other one is sound, and "
                          "the next start writes this one anew");
        }
    }
    if (old != 0) {
        check_note(check, name, "a crash came while it was being written");
    }
    return 0;
}

/* Look for it where it was said to be, or else where the server puts it. */
static int find_identity(struct check *check)
{
    static const char *const places[] = {"raft", "."};
    char dir[WDB_PATH_SIZE_MAX];
    char name[WDB_PATH_SIZE_MAX];
    int rc = WALKERDB_ENOTFOUND;
    if (check->cluster.dir != NULL) {
        rc = wdb_env_join(name, check->cluster.dir, WDB_IDENTITY_NAME);
        if (rc == 0) {
            rc = read_identity(check, check->cluster.dir, name);
        }
    }
    for (size_t i = 0; i < WDB_COUNT(places) && check->cluster.dir == NULL;
         i++) {
        rc = wdb_env_join(dir, check->dir, places[i]);
        if (rc == 0) {
            snprintf(name, sizeof(name), "%s" WDB_IDENTITY_NAME,
                     i == 0 ? "raft/" : "");
            rc = read_identity(check, dir, name);
        }
        if (rc != WALKERDB_ENOTFOUND) {
            break;
        }
    }
    if (rc == WALKERDB_ECORRUPT || rc == WALKERDB_EVERSION) {
        check_problem(check, name, NO_OFFSET, "%s",
                      rc == WALKERDB_EVERSION
                          ? "it was written by a newer version of walkerDb"
                          : "both of its copies are damaged: the node must "
                            "not start again under this id");
        return 0;
    }
    return rc == WALKERDB_ENOTFOUND ? 0 : rc;
}

/* Identity and database must be of one node, and of one age. */
static void check_pair(struct check *check)
{
    const struct check_cluster *cluster = &check->cluster;
    const struct wdb_identity *identity = &cluster->identity;
    const char *name = cluster->identity_name;
    if (!check->has_manifest || !check->manifest.cluster) {
        if (identity->log_nonce != 0) {
            check_note(check, name,
                       "it belongs to a cluster, the database does not (yet)");
        }
        return;
    }
    if (identity->log_nonce != check->manifest.nonce) {
        check_problem(check, name, NO_OFFSET,
                      "it belongs to another database (nonce %016" PRIx64
                      ", not %016" PRIx64 ")",
                      identity->log_nonce, check->manifest.nonce);
    }
    if (cluster->members.count != 0 &&
        identity->cluster_id != cluster->members.cluster_id) {
        check_problem(check, name, NO_OFFSET,
                      "it is of another cluster (%016" PRIx64
                      ", not %016" PRIx64 ")",
                      identity->cluster_id, cluster->members.cluster_id);
    }
    if (identity->term < cluster->term_last ||
        identity->term < cluster->base.term) {
        check_problem(check, name, NO_OFFSET,
                      "its term is %" PRIu64 ", but the log has entries of "
                      "term %" PRIu64 ": it is an old copy",
                      identity->term,
                      cluster->term_last > cluster->base.term
                          ? cluster->term_last
                          : cluster->base.term);
    }
    if (identity->removed) {
        check_note(check, name, "the cluster has removed this node");
    }
}

/* --- the summary -----------------------------------------------------------
 */

static bool is_committed(const struct check *check)
{
    const struct check_cluster *cluster = &check->cluster;
    return cluster->members_index <= check->manifest.index_committed ||
           cluster->members_index <= cluster->index_committed;
}

static void print_json(const struct check *check)
{
    const struct check_cluster *cluster = &check->cluster;
    const struct wdb_identity *identity = &cluster->identity;
    FILE *out = check->out;
    fputs("{\"event\":\"cluster\"", out);
    if (cluster->members.count != 0) {
        fprintf(out,
                ",\"configuration\":{\"index\":%" PRIu64 ",\"committed\":%s,",
                cluster->members_index, is_committed(check) ? "true" : "false");
        members_json(out, &cluster->members);
        fputc('}', out);
    }
    if (cluster->has_base) {
        fprintf(out,
                ",\"base\":{\"index\":%" PRIu64 ",\"term\":%" PRIu64
                ",\"state_hash\":\"%016" PRIx64 "\",\"configuration\":%" PRIu64
                "}",
                cluster->base.index, cluster->base.term,
                cluster->base.state_hash, cluster->base.members_index);
    }
    if (cluster->has_identity) {
        fprintf(out, ",\"identity\":{\"id\":\"%016" PRIx64 "\",\"name\":",
                identity->id);
        check_print_json(out, wdb_slice_str(identity->name));
        fprintf(out,
                ",\"cluster_id\":\"%016" PRIx64 "\",\"nonce\":\"%016" PRIx64
                "\",\"term\":%" PRIu64 ",\"voted_for\":\"%016" PRIx64
                "\",\"removed\":%s,\"file\":",
                identity->cluster_id, identity->log_nonce, identity->term,
                identity->voted_for, identity->removed ? "true" : "false");
        check_print_json(out, wdb_slice_str(cluster->identity_name));
        fputc('}', out);
    }
    fputs("}\n", out);
}

static void print_text(const struct check *check)
{
    const struct check_cluster *cluster = &check->cluster;
    const struct wdb_identity *identity = &cluster->identity;
    FILE *out = check->out;
    if (cluster->members.count != 0) {
        fprintf(out,
                "  cluster    %016" PRIx64 ", configuration of entry %" PRIu64
                "%s\n",
                cluster->members.cluster_id, cluster->members_index,
                is_committed(check) ? "" : ", not known to be committed");
        members_text(out, &cluster->members, "    ", "\n");
    }
    if (cluster->has_base) {
        fprintf(out,
                "  base       up to entry %" PRIu64 " of term %" PRIu64
                ", state hash %016" PRIx64 "\n",
                cluster->base.index, cluster->base.term,
                cluster->base.state_hash);
    }
    if (cluster->has_identity) {
        fputs("  identity   ", out);
        check_print_text(out, wdb_slice_str(identity->name));
        fprintf(out, " id=%016" PRIx64 ", term %" PRIu64, identity->id,
                identity->term);
        if (identity->voted_for != 0) {
            fprintf(out, ", voted for %016" PRIx64, identity->voted_for);
        }
        fputs(identity->removed ? ", removed\n" : "\n", out);
    }
}

int check_cluster_finish(struct check *check)
{
    const int rc = find_identity(check);
    if (rc == 0 && check->cluster.has_identity) {
        check_pair(check);
    }
    return rc;
}

void check_cluster_print(const struct check *check)
{
    const struct check_cluster *cluster = &check->cluster;
    if (!cluster->has_base && !cluster->has_identity &&
        cluster->members.count == 0) {
        return;
    }
    if (check->json) {
        print_json(check);
    } else {
        print_text(check);
    }
}
