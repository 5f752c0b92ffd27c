/*
 * store_model.h - a store in a few lines: what is there after each batch.
 *
 * A model generates random batches for a real store and remembers the state
 * after every one of them. Whatever happens to the store (a crash, a
 * truncation, a merge), what it holds must be the state after some number of
 * batches; which one, its log's last index tells.
 *
 * The universe is small, so that keys are overwritten often: two logical
 * databases with MODEL_KEYS keys each. A key is absent, a string, or an object
 * with up to MODEL_MEMBERS elements. Values are made from numbers that are
 * never used twice, so a value that comes back is noticed.
 */
#ifndef WDB_TEST_SIM_STORE_MODEL_H
#define WDB_TEST_SIM_STORE_MODEL_H

#include "base/random.h"
#include "store/store.h"

#define MODEL_DATABASES 2
#define MODEL_KEYS      24
#define MODEL_MEMBERS   6

struct model_key {
    uint32_t value; /* 0: absent */
    uint32_t is_object;
    uint64_t expiry_ms;
    uint64_t object;                 /* its counter */
    uint32_t members[MODEL_MEMBERS]; /* values, 0: absent */
};

struct model_state {
    struct model_key keys[MODEL_DATABASES][MODEL_KEYS];
    uint64_t index; /* of the entry of the batch that made it */
};

struct model_text {
    uint8_t bytes[40];
    size_t size;
};

struct store_model {
    struct wdb_random random;
    struct model_state *states; /* [0] is the empty store */
    uint32_t state_count, state_capacity;
    struct model_state next; /* with the batch that is being built */
    uint32_t value_last;
    uint32_t value_size_max;
    bool has_objects;   /* generate collections */
    bool has_strings;   /* and other things, too */
    bool has_databases; /* generate flushes and swaps */
    bool has_expiry;
};

void store_model_init(struct store_model *model, uint64_t seed);
void store_model_release(struct store_model *model);

/* Add up to `ops` random operations to the batch, which is empty or staged;
 * the store is in the model's last state (plus what is staged). All stripes
 * are held. */
void store_model_fill(struct store_model *model, struct wdb_store *store,
                      struct wdb_batch *batch, uint32_t ops);
/* The batch is in the log, in the entry `index`. */
void store_model_commit(struct store_model *model, uint64_t index);
/* It is not: forget it. */
void store_model_forget(struct store_model *model);
/* Everything from the entry `from` on was given up. */
void store_model_truncate(struct store_model *model, uint64_t from);
/* Number of the state that a log with this last index must show. */
uint32_t store_model_at(const struct store_model *model, uint64_t index);
/*
 * True if the store is in the state of that number: every key, value, expiry
 * and element, and nothing else. Else one line on standard error says what
 * differs. Takes all stripes.
 */
bool store_model_check(const struct store_model *model, struct wdb_store *store,
                       uint32_t number);
/* The same against the state with the open batch (stripes are held); `quiet`
 * says nothing. */
bool store_model_check_next(const struct store_model *model,
                            struct wdb_store *store, bool quiet);

/* The name of a key, in the text. */
struct wdb_slice store_model_key(uint32_t key, struct model_text *text);

/* One random batch: fill, commit, remember. Returns the store's error. */
WDB_MUST_CHECK int store_model_step(struct store_model *model,
                                    struct wdb_store *store,
                                    struct wdb_batch *batch, uint32_t ops);

#endif
