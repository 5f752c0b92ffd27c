/* store_model.c - random batches, and what a store must hold after them. */
#include "sim/store_model.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "walkerdb.h"

#define EXPIRY_BASE UINT64_C(2000000000000)

void store_model_init(struct store_model *model, uint64_t seed)
{
    *model = (struct store_model){
        .value_size_max = 200,
        .has_objects = true,
        .has_strings = true,
        .has_databases = true,
        .has_expiry = true,
    };
    wdb_random_seed(&model->random, seed);
    model->state_capacity = 64;
    model->states = calloc(model->state_capacity, sizeof(*model->states));
    wdb_assert(model->states != NULL);
    model->state_count = 1;
}

void store_model_release(struct store_model *model)
{
    free(model->states);
    model->states = NULL;
}

static uint64_t below(struct store_model *model, uint64_t bound)
{
    return wdb_random_below(&model->random, bound);
}

/* --- names and values ------------------------------------------------------
 */

struct wdb_slice store_model_key(uint32_t key, struct model_text *text)
{
    /* Some long ones, one empty. */
    text->size =
        key == 0
            ? 0
            : (size_t)snprintf((char *)text->bytes, sizeof(text->bytes),
                               key % 5 == 0 ? "a-longer-key-%08u" : "k%u", key);
    return wdb_slice(text->bytes, text->size);
}

static struct wdb_slice member_name(uint32_t member, struct model_text *text)
{
    text->size = (size_t)snprintf((char *)text->bytes, sizeof(text->bytes),
                                  "member:%u", member);
    return wdb_slice(text->bytes, text->size);
}

static size_t value_size(const struct store_model *model, uint32_t value)
{
    const uint64_t x = value * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    if (x % 16 == 0) {
        return (size_t)(x % (model->value_size_max * 8));
    }
    return (size_t)(x % model->value_size_max);
}

static void make_value(const struct store_model *model, uint32_t value,
                       struct wdb_buffer *out)
{
    const size_t size = value_size(model, value);
    wdb_buffer_clear(out);
    const int rc = wdb_buffer_reserve(out, size + 8);
    wdb_assert(rc == 0);
    /* The number again and again, each byte combined with its place. */
    const uint64_t pattern = (uint64_t)value << 32 | value;
    for (size_t i = 0; i < size; i += 8) {
        const uint64_t place = UINT64_C(0x0101010101010101) * (i & 0xf8);
        wdb_store64(out->data + i,
                    pattern ^ (place + UINT64_C(0x0706050403020100)));
    }
    out->size = size;
}

/* --- building --------------------------------------------------------------
 */

struct builder {
    struct store_model *model;
    struct wdb_store *store;
    struct wdb_batch *batch;
    struct wdb_buffer value;
};

static void add(struct builder *b, struct wdb_record *record, uint32_t value)
{
    if (value != 0) {
        make_value(b->model, value, &b->value);
        record->value = wdb_buffer_slice(&b->value);
    }
    const int rc =
        wdb_batch_add(b->batch, record, wdb_store_hash(b->store, record->key));
    wdb_assert(rc == 0);
}

static uint64_t random_expiry(struct store_model *model)
{
    /* Few different ones: the same value is set again now and then. */
    return EXPIRY_BASE + below(model, 4) * 1000;
}

static void put_header(struct builder *b, uint32_t d, uint32_t k)
{
    struct model_key *key = &b->model->next.keys[d][k];
    struct model_text text;
    struct wdb_record record = {
        .kind = WDB_RECORD_PUT,
        .database = wdb_store_database(b->store, d),
        .key = store_model_key(k, &text),
    };
    if (key->is_object) {
        record.flags |= WDB_RECORD_OBJECT;
        record.type = 3;
        record.object_id =
            (struct wdb_object_id){.term = 1, .counter = key->object};
    }
    if (key->expiry_ms != 0) {
        record.flags |= WDB_RECORD_EXPIRY;
        record.expiry_ms = key->expiry_ms;
    }
    add(b, &record, key->value);
}

static void put_string(struct builder *b, uint32_t d, uint32_t k)
{
    struct model_key *key = &b->model->next.keys[d][k];
    memset(key, 0, sizeof(*key));
    key->value = ++b->model->value_last;
    if (b->model->has_expiry && below(b->model, 4) == 0) {
        key->expiry_ms = random_expiry(b->model);
    }
    put_header(b, d, k);
}

static void delete_key(struct builder *b, uint32_t d, uint32_t k)
{
    struct model_text text;
    struct wdb_record record = {
        .kind = WDB_RECORD_DELETE,
        .database = wdb_store_database(b->store, d),
        .key = store_model_key(k, &text),
    };
    memset(&b->model->next.keys[d][k], 0, sizeof(struct model_key));
    add(b, &record, 0);
}

static void expire_key(struct builder *b, uint32_t d, uint32_t k)
{
    struct model_key *key = &b->model->next.keys[d][k];
    struct model_text text;
    struct wdb_record record = {
        .kind = WDB_RECORD_EXPIRE,
        .database = wdb_store_database(b->store, d),
        .key = store_model_key(k, &text),
    };
    key->expiry_ms = below(b->model, 4) == 0 ? 0 : random_expiry(b->model);
    if (key->expiry_ms != 0) {
        record.flags = WDB_RECORD_EXPIRY;
        record.expiry_ms = key->expiry_ms;
    }
    add(b, &record, 0);
}

static void new_object(struct builder *b, uint32_t d, uint32_t k)
{
    struct model_key *key = &b->model->next.keys[d][k];
    struct wdb_object_id id;
    if (wdb_store_new_object(b->store, &id) != 0) {
        return;
    }
    memset(key, 0, sizeof(*key));
    key->value = ++b->model->value_last;
    key->is_object = 1;
    key->object = id.counter;
    put_header(b, d, k);
}

static void change_member(struct builder *b, uint32_t d, uint32_t k)
{
    struct model_key *key = &b->model->next.keys[d][k];
    const uint32_t m = (uint32_t)below(b->model, MODEL_MEMBERS);
    struct model_text text;
    struct wdb_record record = {
        .kind = WDB_RECORD_ELEMENT_PUT,
        .flags = WDB_RECORD_OBJECT,
        .object_id = {.term = 1, .counter = key->object},
        .database = wdb_store_database(b->store, d),
        .key = member_name(m, &text),
    };
    if (key->members[m] != 0 && below(b->model, 3) == 0) {
        record.kind = WDB_RECORD_ELEMENT_DELETE;
        key->members[m] = 0;
    } else {
        key->members[m] = ++b->model->value_last;
    }
    add(b, &record, key->members[m]);
}

/* The object moves to another key of its database. */
static void rename_object(struct builder *b, uint32_t d, uint32_t k)
{
    const uint32_t to = (uint32_t)below(b->model, MODEL_KEYS);
    if (to == k) {
        return;
    }
    struct model_key *keys = b->model->next.keys[d];
    keys[to] = keys[k];
    put_header(b, d, to);
    delete_key(b, d, k);
}

static void change_databases(struct builder *b)
{
    struct model_state *next = &b->model->next;
    int rc;
    /* What follows in the batch needs the new mapping: stage it. */
    if (below(b->model, 2) == 0) {
        const uint32_t d = (uint32_t)below(b->model, MODEL_DATABASES);
        rc = wdb_store_stage_flush(b->store, b->batch, UINT32_C(1) << d);
        memset(next->keys[d], 0, sizeof(next->keys[d]));
    } else {
        struct model_key swapped[MODEL_KEYS];
        rc = wdb_store_stage_swap(b->store, b->batch, 0, 1);
        memcpy(swapped, next->keys[0], sizeof(swapped));
        memcpy(next->keys[0], next->keys[1], sizeof(swapped));
        memcpy(next->keys[1], swapped, sizeof(swapped));
    }
    wdb_assert(rc == 0);
}

/* True if the batch must be staged before anything else is added. */
static bool random_op(struct builder *b)
{
    struct store_model *model = b->model;
    const uint32_t d = (uint32_t)below(model, MODEL_DATABASES);
    const uint32_t k = (uint32_t)below(model, MODEL_KEYS);
    const struct model_key *key = &model->next.keys[d][k];
    const uint64_t dice = below(model, 100);
    if (model->has_databases && dice < 2) {
        change_databases(b);
        return true;
    }
    if (key->value == 0) {
        if (model->has_objects && (dice < 25 || !model->has_strings)) {
            new_object(b, d, k);
        } else {
            put_string(b, d, k);
        }
    } else if (dice < 25 && (model->has_strings || dice < 5)) {
        delete_key(b, d, k);
    } else if (model->has_expiry && model->has_strings && dice < 45) {
        expire_key(b, d, k);
    } else if (key->is_object && dice < 90) {
        change_member(b, d, k);
    } else if (key->is_object && dice < 95) {
        rename_object(b, d, k);
    } else {
        put_string(b, d, k);
    }
    return false;
}

void store_model_fill(struct store_model *model, struct wdb_store *store,
                      struct wdb_batch *batch, uint32_t ops)
{
    struct builder b = {.model = model, .store = store, .batch = batch};
    if (batch->count == 0) {
        model->next = model->states[model->state_count - 1];
    }
    for (uint32_t i = 0; i < ops; i++) {
        if (random_op(&b)) {
            break;
        }
    }
    wdb_buffer_release(&b.value);
}

void store_model_commit(struct store_model *model, uint64_t index)
{
    if (model->state_count == model->state_capacity) {
        model->state_capacity *= 2;
        model->states = realloc(model->states,
                                model->state_capacity * sizeof(*model->states));
        wdb_assert(model->states != NULL);
    }
    model->next.index = index;
    model->states[model->state_count++] = model->next;
}

void store_model_forget(struct store_model *model)
{
    model->next = model->states[model->state_count - 1];
}

void store_model_truncate(struct store_model *model, uint64_t from)
{
    while (model->states[model->state_count - 1].index >= from) {
        model->state_count--;
    }
    store_model_forget(model);
}

uint32_t store_model_at(const struct store_model *model, uint64_t index)
{
    uint32_t number = model->state_count - 1;
    while (model->states[number].index > index) {
        number--;
    }
    return number;
}

int store_model_step(struct store_model *model, struct wdb_store *store,
                     struct wdb_batch *batch, uint32_t ops)
{
    uint64_t index;
    int rc = 0;
    wdb_batch_clear(batch);
    wdb_store_lock_all(store);
    store_model_fill(model, store, batch, ops);
    if (batch->count > 0) {
        rc = wdb_store_commit(store, batch, &index);
        if (rc == 0) {
            store_model_commit(model, index);
        }
    }
    wdb_store_unlock_all(store);
    return rc;
}

/* --- comparing -------------------------------------------------------------
 */

struct checker {
    const struct store_model *model;
    struct wdb_store *store;
    struct wdb_buffer value;
    bool ok, quiet;
    uint32_t database, key;
};

static void differs(struct checker *c, const char *what, uint64_t found,
                    uint64_t expected)
{
    c->ok = false;
    if (c->quiet) {
        return;
    }
    fprintf(stderr, "database %u key %u: %s: found %llu, expected %llu\n",
            c->database, c->key, what, (unsigned long long)found,
            (unsigned long long)expected);
}

/* The record at the item has this value. */
static void check_value(struct checker *c, const struct wdb_item *item,
                        uint32_t value, struct wdb_slice key,
                        struct wdb_value *out)
{
    const int rc = wdb_store_read_wait(c->store, item, out);
    if (rc != 0) {
        differs(c, "error of read", (uint64_t)-rc, 0);
        return;
    }
    make_value(c->model, value, &c->value);
    if (!wdb_slice_equal(out->record.key, key)) {
        differs(c, "key of the record", out->record.key.size, key.size);
    } else if (!wdb_slice_equal(out->record.value,
                                wdb_buffer_slice(&c->value))) {
        const struct wdb_slice found = out->record.value;
        differs(c, "value",
                found.size < 4 ? 0 : wdb_load32(found.data) ^ 0x03020100,
                value);
    }
}

static void check_members(struct checker *c, const struct model_key *key,
                          const struct wdb_record *header)
{
    const struct wdb_object_id id = header->object_id;
    uint64_t count = 0;
    if (id.counter != key->object) {
        differs(c, "object", id.counter, key->object);
        return;
    }
    for (uint32_t m = 0; m < MODEL_MEMBERS && c->ok; m++) {
        struct model_text text;
        struct wdb_item item;
        struct wdb_value value;
        const struct wdb_slice name = member_name(m, &text);
        const bool found = wdb_store_find_element(c->store, id, name, &item);
        count += key->members[m] != 0;
        if (found != (key->members[m] != 0)) {
            differs(c, "member is there", found, key->members[m]);
        } else if (found) {
            check_value(c, &item, key->members[m], name, &value);
        }
    }
    if (c->ok && wdb_store_element_count(c->store, id) != count) {
        differs(c, "elements", wdb_store_element_count(c->store, id), count);
    }
}

static void check_key(struct checker *c, const struct model_key *key)
{
    struct model_text text;
    struct wdb_item item;
    struct wdb_value value;
    const struct wdb_slice name = store_model_key(c->key, &text);
    const bool found =
        wdb_store_find(c->store, wdb_store_database(c->store, c->database),
                       wdb_store_hash(c->store, name), name, &item);
    if (found != (key->value != 0)) {
        differs(c, "is there", found, key->value);
        return;
    }
    if (!found) {
        return;
    }
    if (item.expiry_ms != key->expiry_ms) {
        differs(c, "expiry", item.expiry_ms, key->expiry_ms);
    }
    if (((item.flags & WDB_ITEM_OBJECT) != 0) != (key->is_object != 0)) {
        differs(c, "is an object", item.flags & WDB_ITEM_OBJECT,
                key->is_object);
        return;
    }
    check_value(c, &item, key->value, name, &value);
    if (c->ok && key->is_object) {
        check_members(c, key, &value.record);
    }
}

static bool check_state(const struct store_model *model,
                        struct wdb_store *store,
                        const struct model_state *state, bool quiet)
{
    struct checker c = {
        .model = model, .store = store, .ok = true, .quiet = quiet};
    const int slot = wdb_epoch_enter(wdb_log_epoch(wdb_store_log(store)));
    for (c.database = 0; c.database < MODEL_DATABASES && c.ok; c.database++) {
        uint64_t count = 0;
        for (c.key = 0; c.key < MODEL_KEYS && c.ok; c.key++) {
            check_key(&c, &state->keys[c.database][c.key]);
            count += state->keys[c.database][c.key].value != 0;
        }
        const struct wdb_keydir *keydir =
            wdb_store_keydir(store, wdb_store_database(store, c.database));
        const uint64_t there = keydir == NULL ? 0 : wdb_keydir_count(keydir);
        if (c.ok && there != count) {
            differs(&c, "number of keys", there, count);
        }
    }
    wdb_epoch_exit(wdb_log_epoch(wdb_store_log(store)), slot);
    wdb_buffer_release(&c.value);
    return c.ok;
}

bool store_model_check(const struct store_model *model, struct wdb_store *store,
                       uint32_t number)
{
    wdb_assert(number < model->state_count);
    wdb_store_lock_all(store);
    const bool ok = check_state(model, store, &model->states[number], false);
    wdb_store_unlock_all(store);
    return ok;
}

bool store_model_check_next(const struct store_model *model,
                            struct wdb_store *store, bool quiet)
{
    return check_state(model, store, &model->next, quiet);
}
