/*
 * cluster_model.h - what the cluster agreed on: its committed entries, one after
 * the other, and the keys that come of them.
 *
 * Whichever node commits an entry first adds it here; all others must have the
 * same. Contents are known by a sum of hashes that does not depend on an order,
 * at every index, so that a node that stands at any index can be compared.
 */
#ifndef WDB_TEST_SIM_CLUSTER_MODEL_H
#define WDB_TEST_SIM_CLUSTER_MODEL_H

#include "store/store.h"

struct cluster_model_entry {
    uint64_t term;
    uint32_t payload_crc;
    uint16_t type;
    uint64_t state_hash; /* as the node that committed it first has it, or 0 */
    uint64_t content;    /* of all keys behind it */
};

struct cluster_model_item;

struct cluster_model {
    struct cluster_model_entry *entries; /* [index] */
    uint64_t head, capacity;
    struct cluster_model_item *items; /* by database and key, open addressing */
    uint32_t item_count, item_size;
    uint64_t *sums; /* of contents, by database id */
    uint32_t sum_count;
    uint32_t mapping[WDB_DATABASE_COUNT];
    uint64_t *written; /* hashes of (key, value) that were ever committed */
    uint32_t written_count, written_size;
};

void cluster_model_init(struct cluster_model *model);
void cluster_model_release(struct cluster_model *model);
/* The entry behind head. ECORRUPT. */
WDB_MUST_CHECK int cluster_model_add(struct cluster_model *model,
                                     const struct wdb_entry_header *header,
                                     const uint8_t *payload);
/* Was this ever committed as the value of that key? */
bool cluster_model_was_written(const struct cluster_model *model,
                               struct wdb_slice key, struct wdb_slice value);
/* The same sum over what a store holds. ECORRUPT, EIO. */
WDB_MUST_CHECK int cluster_model_content(struct wdb_store *store,
                                         uint64_t *content_out);

#endif
