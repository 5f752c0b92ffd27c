/*
 * manifest.c - encodes, decodes and replaces the manifest.
 *
 *   0        120                         +80*count     +raft       +8
 *   +--------+-----------+-----+---------+-------------+-----------+
 *   | header | segment 0 | ... | n - 1   | raft, to 8  | 0u32, crc |
 *   +--------+-----------+-----+---------+-------------+-----------+
 *
 * The checksum at the end covers all before it. Magic, version and this
 * checksum stay where they are in every version, so that a newer manifest is
 * told apart from a damaged one.
 */
#include "log/manifest.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/checked.h"

#define MAGIC               UINT64_C(0x314e414d6264576b) /* "kWdbMAN1" */
#define TRAILER_SIZE        8
#define FLAG_CLUSTER        0x01
#define SEGMENT_FLAG_SEALED 0x01

struct header {
    uint64_t magic;
    uint32_t version;
    uint32_t flags;
    uint64_t size; /* of the file */
    uint64_t generation;
    uint64_t nonce;
    uint64_t segment_id_next;
    uint64_t truncation_index;
    uint64_t truncation_count;
    uint64_t index_retained;
    uint64_t object_counter;
    uint64_t term;
    uint64_t index_durable;
    uint64_t index_committed;
    uint64_t time_ms;
    uint32_t segment_count;
    uint32_t raft_size;
};
static_assert(sizeof(struct header) == 120, "on disk");

struct segment_image {
    uint64_t id;
    uint64_t size;
    uint64_t size_used;
    uint64_t index_first;
    uint64_t index_last;
    uint64_t clean_index;
    uint64_t record_count;
    uint64_t bytes_dead_hint;
    uint32_t first_previous_crc;
    uint32_t last_crc;
    uint8_t kind;
    uint8_t flags;
    uint8_t reserved[6];
};
static_assert(sizeof(struct segment_image) == 80, "on disk");

void wdb_manifest_init(struct wdb_manifest *m, uint64_t nonce)
{
    *m = (struct wdb_manifest){
        .nonce = nonce,
        .segment_id_next = 1,
        .term = 1,
    };
}

void wdb_manifest_release(struct wdb_manifest *m)
{
    free((void *)m->raft.data);
    free(m->segments);
    *m = (struct wdb_manifest){0};
}

/* --- invariants ------------------------------------------------------------
 */

/* What must hold for one segment by itself. */
static const char *segment_violation(const struct wdb_manifest *m,
                                     const struct wdb_manifest_segment *s)
{
    if (s->kind != WDB_SEGMENT_LOG && s->kind != WDB_SEGMENT_MERGED) {
        return "unknown kind of segment";
    }
    if (s->id == 0 || s->id >= m->segment_id_next) {
        return "id of a segment is not below segment_id_next";
    }
    if (s->size < WDB_SEGMENT_HEADER_SIZE) {
        return "segment is smaller than its header";
    }
    if (!s->sealed) {
        return s->kind == WDB_SEGMENT_LOG ? NULL
                                          : "merged segment is not sealed";
    }
    if (s->size_used < WDB_SEGMENT_HEADER_SIZE || s->size_used > s->size ||
        s->size_used % 8 != 0) {
        return "size_used of a sealed segment is out of range";
    }
    if (s->index_first == 0 || s->index_last < s->index_first - 1) {
        return "index range of a sealed segment is reversed";
    }
    return NULL;
}

/* What must hold between a segment and its predecessor. */
static const char *pair_violation(const struct wdb_manifest_segment *before,
                                  const struct wdb_manifest_segment *s)
{
    if (!before->sealed) {
        if (s->sealed) {
            return "sealed segment follows one that is not";
        }
        return s->id > before->id ? NULL : "unsealed segments out of order";
    }
    if (!s->sealed && s->index_first == 0) {
        return NULL;
    }
    /* Outputs of one merge may share the index at their boundary. */
    const bool merged =
        before->kind == WDB_SEGMENT_MERGED && s->kind == WDB_SEGMENT_MERGED;
    if (s->index_first < before->index_first ||
        s->index_first < before->index_last ||
        (s->index_first == before->index_last && !merged)) {
        return "segments overlap or are out of order";
    }
    return NULL;
}

static int compare_ids(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* True if two segments have one id. Without memory: false, unproven. */
static bool has_twins(const struct wdb_manifest *m)
{
    if (m->segment_count < 2) {
        return false;
    }
    uint64_t *ids = malloc(m->segment_count * sizeof(*ids));
    if (ids == NULL) {
        return false;
    }
    for (size_t i = 0; i < m->segment_count; i++) {
        ids[i] = m->segments[i].id;
    }
    qsort(ids, m->segment_count, sizeof(*ids), compare_ids);
    bool found = false;
    for (size_t i = 1; i < m->segment_count && !found; i++) {
        found = ids[i] == ids[i - 1];
    }
    free(ids);
    return found;
}

const char *wdb_manifest_violation(const struct wdb_manifest *m,
                                   size_t *place_out)
{
    for (size_t i = 0; i < m->segment_count; i++) {
        const char *broken = segment_violation(m, &m->segments[i]);
        if (broken == NULL && i > 0) {
            broken = pair_violation(&m->segments[i - 1], &m->segments[i]);
        }
        if (broken != NULL) {
            if (place_out != NULL) {
                *place_out = i;
            }
            return broken;
        }
    }
    if (has_twins(m)) {
        if (place_out != NULL) {
            *place_out = 0;
        }
        return "two segments share an id";
    }
    return NULL;
}

void wdb_manifest_check(const struct wdb_manifest *m)
{
    wdb_assert(m->segment_count == 0 || m->segments != NULL);
    wdb_assert(wdb_manifest_violation(m, NULL) == NULL);
}

/* --- encode ----------------------------------------------------------------
 */

static struct segment_image segment_encode(
    const struct wdb_manifest_segment *segment)
{
    return (struct segment_image){
        .id = segment->id,
        .size = segment->size,
        .size_used = segment->sealed ? segment->size_used : 0,
        .index_first = segment->index_first,
        .index_last = segment->sealed ? segment->index_last : 0,
        .clean_index = segment->clean_index,
        .record_count = segment->record_count,
        .bytes_dead_hint = segment->bytes_dead_hint,
        .first_previous_crc = segment->first_previous_crc,
        .last_crc = segment->sealed ? segment->last_crc : 0,
        .kind = segment->kind,
        .flags = segment->sealed ? SEGMENT_FLAG_SEALED : 0,
    };
}

int wdb_manifest_encode(const struct wdb_manifest *m, void **data_out,
                        size_t *size_out)
{
    if (m->raft.size > WDB_MANIFEST_SIZE_MAX ||
        m->segment_count >
            WDB_MANIFEST_SIZE_MAX / sizeof(struct segment_image)) {
        return WALKERDB_ETOOBIG;
    }
    const size_t segments_size =
        m->segment_count * sizeof(struct segment_image);
    const size_t size = sizeof(struct header) + segments_size +
                        wdb_align8(m->raft.size) + TRAILER_SIZE;
    if (size > WDB_MANIFEST_SIZE_MAX) {
        return WALKERDB_ETOOBIG;
    }
    uint8_t *data = calloc(1, size);
    if (data == NULL) {
        return WALKERDB_ENOMEM;
    }
    const struct header header = {
        .magic = MAGIC,
        .version = WDB_FORMAT_VERSION,
        .flags = m->cluster ? FLAG_CLUSTER : 0,
        .size = size,
        .generation = m->generation,
        .nonce = m->nonce,
        .segment_id_next = m->segment_id_next,
        .truncation_index = m->truncation_index,
        .truncation_count = m->truncation_count,
        .index_retained = m->index_retained,
        .object_counter = m->object_counter,
        .term = m->term,
        .index_durable = m->index_durable,
        .index_committed = m->index_committed,
        .time_ms = m->time_ms,
        .segment_count = (uint32_t)m->segment_count,
        .raft_size = (uint32_t)m->raft.size,
    };
    memcpy(data, &header, sizeof(header));
    uint8_t *p = data + sizeof(header);
    for (size_t i = 0; i < m->segment_count; i++) {
        const struct segment_image image = segment_encode(&m->segments[i]);
        memcpy(p, &image, sizeof(image));
        p += sizeof(image);
    }
    if (m->raft.size != 0) {
        memcpy(p, m->raft.data, m->raft.size);
    }
    wdb_store32(data + size - 4, wdb_crc32c(0, data, size - 4));
    *data_out = data;
    *size_out = size;
    return 0;
}

/* --- decode ----------------------------------------------------------------
 */

/* Read the header; everything about the file's size holds afterwards. */
static int header_decode(const uint8_t *data, size_t size, struct header *out)
{
    struct header header;
    if (size < sizeof(header) + TRAILER_SIZE || size > WDB_MANIFEST_SIZE_MAX) {
        return WALKERDB_ECORRUPT;
    }
    memcpy(&header, data, sizeof(header));
    if (header.magic != MAGIC ||
        wdb_load32(data + size - 4) != wdb_crc32c(0, data, size - 4)) {
        return WALKERDB_ECORRUPT;
    }
    if (header.version > WDB_FORMAT_VERSION) {
        return WALKERDB_EVERSION;
    }
    uint64_t expected = 0;
    if (WDB_MUL_OVERFLOWS(header.segment_count, sizeof(struct segment_image),
                          &expected) ||
        WDB_ADD_OVERFLOWS(expected, wdb_align8(header.raft_size), &expected) ||
        WDB_ADD_OVERFLOWS(expected, sizeof(header) + TRAILER_SIZE, &expected) ||
        expected != size || header.size != size ||
        header.version != WDB_FORMAT_VERSION ||
        (header.flags & ~(uint32_t)FLAG_CLUSTER) != 0 ||
        wdb_load32(data + size - TRAILER_SIZE) != 0) {
        return WALKERDB_ECORRUPT;
    }
    *out = header;
    return 0;
}

static int segment_decode(const uint8_t *data, struct wdb_manifest_segment *out)
{
    struct segment_image image;
    static const uint8_t zeros[sizeof(image.reserved)];
    memcpy(&image, data, sizeof(image));
    const bool sealed = image.flags == SEGMENT_FLAG_SEALED;
    if ((image.flags & ~SEGMENT_FLAG_SEALED) != 0 ||
        memcmp(image.reserved, zeros, sizeof(zeros)) != 0 ||
        (!sealed && (image.size_used != 0 || image.index_last != 0 ||
                     image.last_crc != 0))) {
        return WALKERDB_ECORRUPT;
    }
    *out = (struct wdb_manifest_segment){
        .id = image.id,
        .kind = image.kind,
        .sealed = sealed,
        .size = image.size,
        .size_used = image.size_used,
        .index_first = image.index_first,
        .index_last = image.index_last,
        .first_previous_crc = image.first_previous_crc,
        .last_crc = image.last_crc,
        .clean_index = image.clean_index,
        .record_count = image.record_count,
        .bytes_dead_hint = image.bytes_dead_hint,
    };
    return 0;
}

/* The opaque bytes, in memory of their own; their padding must be zeros. */
static int raft_decode(const uint8_t *data, size_t size, struct wdb_slice *out)
{
    for (size_t i = size; i < wdb_align8(size); i++) {
        if (data[i] != 0) {
            return WALKERDB_ECORRUPT;
        }
    }
    if (size == 0) {
        *out = wdb_slice(NULL, 0);
        return 0;
    }
    uint8_t *copy = malloc(size);
    if (copy == NULL) {
        return WALKERDB_ENOMEM;
    }
    memcpy(copy, data, size);
    *out = wdb_slice(copy, size);
    return 0;
}

int wdb_manifest_decode(const void *data, size_t size, struct wdb_manifest *out)
{
    struct header header;
    int rc = header_decode(data, size, &header);
    if (rc != 0) {
        return rc;
    }
    struct wdb_manifest m = {
        .generation = header.generation,
        .nonce = header.nonce,
        .segment_id_next = header.segment_id_next,
        .truncation_index = header.truncation_index,
        .truncation_count = header.truncation_count,
        .index_retained = header.index_retained,
        .object_counter = header.object_counter,
        .term = header.term,
        .index_durable = header.index_durable,
        .index_committed = header.index_committed,
        .time_ms = header.time_ms,
        .cluster = (header.flags & FLAG_CLUSTER) != 0,
        .segment_count = header.segment_count,
    };
    if (m.segment_count != 0) {
        m.segments = malloc(m.segment_count * sizeof(*m.segments));
        if (m.segments == NULL) {
            return WALKERDB_ENOMEM;
        }
    }
    const uint8_t *p = (const uint8_t *)data + sizeof(header);
    for (size_t i = 0; i < m.segment_count && rc == 0; i++) {
        rc = segment_decode(p, &m.segments[i]);
        p += sizeof(struct segment_image);
    }
    if (rc == 0) {
        rc = raft_decode(p, header.raft_size, &m.raft);
    }
    if (rc == 0 && wdb_manifest_violation(&m, NULL) != NULL) {
        rc = WALKERDB_ECORRUPT;
    }
    if (rc != 0) {
        wdb_manifest_release(&m);
        return rc;
    }
    *out = m;
    return 0;
}

int wdb_manifest_copy(const struct wdb_manifest *from, struct wdb_manifest *out)
{
    struct wdb_manifest m = *from;
    m.raft = wdb_slice(NULL, 0);
    m.segments = NULL;
    if (from->segment_count != 0) {
        const size_t size = from->segment_count * sizeof(*m.segments);
        m.segments = malloc(size);
        if (m.segments == NULL) {
            goto no_memory;
        }
        memcpy(m.segments, from->segments, size);
    }
    if (from->raft.size != 0) {
        uint8_t *raft = malloc(from->raft.size);
        if (raft == NULL) {
            goto no_memory;
        }
        memcpy(raft, from->raft.data, from->raft.size);
        m.raft = wdb_slice(raft, from->raft.size);
    }
    *out = m;
    return 0;

no_memory:
    wdb_manifest_release(&m);
    return WALKERDB_ENOMEM;
}

/* --- the file --------------------------------------------------------------
 */

int wdb_manifest_load(struct wdb_env *env, const char *dir,
                      struct wdb_manifest *out)
{
    char path[WDB_PATH_SIZE_MAX];
    int rc = wdb_env_join(path, dir, WDB_MANIFEST_NAME);
    if (rc != 0) {
        return rc;
    }
    void *data;
    size_t size;
    rc = wdb_env_read_file(env, path, WDB_MANIFEST_SIZE_MAX, &data, &size);
    if (rc != 0) {
        return rc == WALKERDB_ETOOBIG ? WALKERDB_ECORRUPT : rc;
    }
    rc = wdb_manifest_decode(data, size, out);
    free(data);
    return rc;
}

int wdb_manifest_store(struct wdb_env *env, const char *dir,
                       const struct wdb_manifest *m)
{
    wdb_manifest_check(m);
    void *data;
    size_t size;
    int rc = wdb_manifest_encode(m, &data, &size);
    if (rc != 0) {
        return rc;
    }
    rc = wdb_env_replace_file(env, dir, WDB_MANIFEST_NAME, data, size);
    free(data);
    return rc;
}
