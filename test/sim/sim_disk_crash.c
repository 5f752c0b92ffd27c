/*
 * sim_disk_crash.c - what is left after a power cut.
 *
 * Each file's changes since its last sync are played onto its durable
 * content, unit by unit (a unit is a sector or a page): a unit takes the
 * changes up to some point and none after it, as the page cache was written
 * back at that point. Where the points are is what the policies differ in.
 *
 * Sizes are metadata: the changes of size survive up to a point of their own.
 * A cut that survived hides all that was there before it; one that did not
 * keeps all that was written after it from being seen. So the point of a unit
 * lies before the first cut that did not survive.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sim/sim_disk_internal.h"

const char *sim_crash_policy_name(enum sim_crash_policy policy)
{
    static const char *const names[SIM_CRASH_POLICY_COUNT] = {
        [SIM_CRASH_DROP] = "drop",
        [SIM_CRASH_KEEP] = "keep",
        [SIM_CRASH_TORN_512] = "torn-512",
        [SIM_CRASH_TORN_4K] = "torn-4k",
        [SIM_CRASH_REORDER_512] = "reorder-512",
        [SIM_CRASH_REORDER_4K] = "reorder-4k",
        [SIM_CRASH_MIXED] = "mixed",
    };

    return policy < SIM_CRASH_POLICY_COUNT ? names[policy] : "unknown";
}

/* How likely a thing is to survive: rarely, by even chance, nearly always. */
enum bias {
    BIAS_LOW,
    BIAS_EVEN,
    BIAS_HIGH,
    BIAS_COUNT
};

struct crash {
    struct sim_disk *disk;
    struct wdb_random *random;
    uint64_t unit;      /* SIM_SECTOR or SIM_PAGE */
    uint64_t last;      /* torn: the change at which the power went */
    bool last_survives; /* torn: if it is not data */
};

static bool chance(struct crash *crash, enum bias bias)
{
    static const uint64_t of_64[BIAS_COUNT] = {3, 32, 61};

    return wdb_random_below(crash->random, 64) < of_64[bias];
}

static enum bias draw_bias(struct crash *crash)
{
    return (enum bias)wdb_random_below(crash->random, BIAS_COUNT);
}

/* --- one file ------------------------------------------------------------- */

static bool changes_size(const struct sim_change *change)
{
    return change->is_resize || change->size_after != change->size_before;
}

/* Set the size that survived, and cut what is beyond. */
static void finish_file(struct sim_inode *inode, struct sim_content *result,
                        uint64_t size)
{
    sim_content_resize(result, size);
    sim_content_release(&inode->content);
    sim_content_release(&inode->durable);
    inode->content = *result;
    sim_content_copy(&inode->content, &inode->durable);
    sim_inode_forget_changes(inode, inode->change_count);
    size_t pages = sim_pages_of(size);
    if (inode->pages_allocated > pages) {
        inode->pages_allocated = pages;
    }
}

static void drop_file(struct sim_inode *inode)
{
    struct sim_content result;

    sim_content_copy(&inode->durable, &result);
    finish_file(inode, &result, inode->durable.size);
}

static void keep_file(struct sim_inode *inode)
{
    sim_inode_commit(inode);
    drop_file(inode);
}

/* Write the part of the change that lies in this unit. */
static void apply_unit(const struct sim_change *change, uint64_t unit_index,
                       uint64_t unit, struct sim_content *to)
{
    uint64_t from = unit_index * unit;
    uint64_t end = from + unit;
    uint64_t change_end = change->offset + change->size;

    from = from > change->offset ? from : change->offset;
    end = end < change_end ? end : change_end;
    if (from < end) {
        sim_content_write(to, from, change->data + (from - change->offset),
                          (size_t)(end - from));
    }
}

/* The change during which the power went: some units, or the first ones. */
static void apply_torn(struct crash *crash, const struct sim_change *change,
                       struct sim_content *to)
{
    uint64_t first = change->offset / crash->unit;
    uint64_t end =
        (change->offset + change->size + crash->unit - 1) / crash->unit;
    bool is_prefix = chance(crash, BIAS_EVEN);
    uint64_t stop = first + wdb_random_below(crash->random, end - first + 1);
    enum bias bias = draw_bias(crash);

    for (uint64_t i = first; i < end; i++) {
        if (is_prefix ? i < stop : chance(crash, bias)) {
            apply_unit(change, i, crash->unit, to);
        }
    }
}

static void tear_file(struct crash *crash, struct sim_inode *inode)
{
    struct sim_content result;
    uint64_t size = inode->durable.size;

    sim_content_copy(&inode->durable, &result);
    for (size_t i = 0; i < inode->change_count; i++) {
        const struct sim_change *change = inode->changes[i];
        bool is_last = change->sequence == crash->last;

        if (change->sequence > crash->last) {
            break;
        }
        if (is_last && change->is_resize && !crash->last_survives) {
            break;
        }
        if (is_last && !change->is_resize) {
            apply_torn(crash, change, &result);
        } else {
            sim_change_apply(change, &result);
        }
        if (!is_last || crash->last_survives) {
            size = change->size_after;
        }
    }
    finish_file(inode, &result, size);
}

/* The change of size up to which they survived; its sequence, 0 for none. */
static uint64_t draw_size(struct crash *crash, const struct sim_inode *inode,
                          uint64_t *size_out)
{
    enum bias bias = draw_bias(crash);
    uint64_t sequence = 0;

    *size_out = inode->durable.size;
    for (size_t i = 0; i < inode->change_count; i++) {
        const struct sim_change *change = inode->changes[i];

        if (changes_size(change)) {
            if (!chance(crash, bias)) {
                break;
            }
            sequence = change->sequence;
            *size_out = change->size_after;
        }
    }
    return sequence;
}

/*
 * Draw for each unit the last change that it shows. points[] is by unit, zero
 * at first; counts[] likewise. size_point: see draw_size().
 */
static void draw_points(struct crash *crash, const struct sim_inode *inode,
                        uint64_t size_point, uint64_t *points, uint32_t *counts)
{
    enum bias bias = draw_bias(crash);
    uint64_t limit = UINT64_MAX; /* a cut that did not survive was here */

    for (size_t i = 0; i < inode->change_count; i++) {
        const struct sim_change *change = inode->changes[i];

        if (change->is_resize) {
            if (change->size_after < change->size_before &&
                change->sequence > size_point && change->offset < limit) {
                limit = change->offset;
            }
            continue;
        }
        uint64_t at = change->offset / crash->unit;
        for (; at * crash->unit < change->offset + change->size; at++) {
            if ((at + 1) * crash->unit > limit) {
                break;
            }
            counts[at]++;
            if (bias == BIAS_EVEN
                    ? wdb_random_below(crash->random, counts[at] + 1) == 0
                    : chance(crash, bias)) {
                points[at] = change->sequence;
            }
        }
    }
}

static uint64_t units_of(const struct crash *crash,
                         const struct sim_inode *inode)
{
    uint64_t end = 0;

    for (size_t i = 0; i < inode->change_count; i++) {
        const struct sim_change *change = inode->changes[i];
        uint64_t change_end = change->offset + change->size;

        end = change_end > end ? change_end : end;
    }
    return end / crash->unit + 1;
}

static void reorder_file(struct crash *crash, struct sim_inode *inode)
{
    uint64_t unit_count = units_of(crash, inode);
    uint64_t *points = sim_alloc_zeroed(unit_count * sizeof(*points));
    uint32_t *counts = sim_alloc_zeroed(unit_count * sizeof(*counts));
    struct sim_content result;
    uint64_t size = 0;
    uint64_t size_point = draw_size(crash, inode, &size);

    draw_points(crash, inode, size_point, points, counts);
    sim_content_copy(&inode->durable, &result);
    for (size_t i = 0; i < inode->change_count; i++) {
        const struct sim_change *change = inode->changes[i];

        if (change->is_resize) {
            if (change->size_after < change->size_before &&
                change->sequence <= size_point) {
                sim_content_resize(&result, change->offset);
            }
            continue;
        }
        uint64_t at = change->offset / crash->unit;
        for (; at * crash->unit < change->offset + change->size; at++) {
            if (change->sequence <= points[at]) {
                apply_unit(change, at, crash->unit, &result);
            }
        }
    }
    finish_file(inode, &result, size);
    free(points);
    free(counts);
}

static void crash_file(struct crash *crash, struct sim_inode *inode,
                       enum sim_crash_policy policy)
{
    if (policy == SIM_CRASH_MIXED) {
        policy = (enum sim_crash_policy)wdb_random_below(crash->random,
                                                         SIM_CRASH_MIXED);
        crash->unit =
            wdb_random_below(crash->random, 2) == 0 ? SIM_SECTOR : SIM_PAGE;
    }
    switch (policy) {
    case SIM_CRASH_KEEP:
        keep_file(inode);
        break;
    case SIM_CRASH_TORN_512:
    case SIM_CRASH_TORN_4K:
        tear_file(crash, inode);
        break;
    case SIM_CRASH_REORDER_512:
    case SIM_CRASH_REORDER_4K:
        reorder_file(crash, inode);
        break;
    default:
        drop_file(inode);
        break;
    }
}

/* --- names ---------------------------------------------------------------- */

static bool name_survives(struct crash *crash,
                          const struct sim_name_change *change,
                          enum sim_crash_policy policy, enum bias bias)
{
    switch (policy) {
    case SIM_CRASH_KEEP:
        return true;
    case SIM_CRASH_TORN_512:
    case SIM_CRASH_TORN_4K:
        return change->sequence < crash->last ||
               (change->sequence == crash->last && crash->last_survives);
    case SIM_CRASH_REORDER_512:
    case SIM_CRASH_REORDER_4K:
    case SIM_CRASH_MIXED:
        return chance(crash, bias);
    default:
        return false;
    }
}

static void crash_names(struct crash *crash, enum sim_crash_policy policy)
{
    struct sim_disk *disk = crash->disk;
    enum bias bias = draw_bias(crash);

    for (size_t i = 0; i < disk->name_change_count; i++) {
        if (name_survives(crash, &disk->name_changes[i], policy, bias)) {
            sim_name_change_apply(disk, &disk->name_changes[i]);
        }
    }
    sim_disk_forget_name_changes(disk);
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        struct sim_inode *inode = disk->inodes[i];

        if (inode != NULL && inode->is_dir) {
            sim_names_release(&inode->names);
            sim_names_copy(&inode->names_durable, &inode->names);
        }
    }
}

/* Count the names of each inode anew. */
static void count_links(struct sim_disk *disk)
{
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        if (disk->inodes[i] != NULL) {
            disk->inodes[i]->link_count = i == 0;
        }
    }
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        const struct sim_inode *inode = disk->inodes[i];

        for (size_t k = 0; inode != NULL && k < inode->names.count; k++) {
            sim_disk_inode(disk, inode->names.items[k].inode)->link_count++;
        }
    }
}

/* --- the disk ------------------------------------------------------------- */

static int compare_sequences(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;

    return a < b ? -1 : a > b;
}

/* Draw the change at which the power goes, from all that are pending. */
static uint64_t draw_last(struct crash *crash)
{
    struct sim_disk *disk = crash->disk;
    size_t total = sim_disk_pending(disk);
    size_t count = 0;

    if (total == 0) {
        return 0;
    }
    uint64_t *sequences = sim_alloc(total * sizeof(*sequences));
    for (size_t i = 0; i < disk->name_change_count; i++) {
        sequences[count++] = disk->name_changes[i].sequence;
    }
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        const struct sim_inode *inode = disk->inodes[i];

        for (size_t k = 0; inode != NULL && k < inode->change_count; k++) {
            sequences[count++] = inode->changes[k]->sequence;
        }
    }
    wdb_assert(count == total);
    qsort(sequences, count, sizeof(*sequences), compare_sequences);
    /* The newest one often: that is the state "died in this very write". */
    size_t pick = chance(crash, BIAS_EVEN)
                      ? count - 1
                      : (size_t)wdb_random_below(crash->random, count);
    uint64_t last = sequences[pick];
    free(sequences);
    return last;
}

/* Nobody has anything open any more. */
static void forget_processes(struct sim_disk *disk)
{
    disk->crash_count++;
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        struct sim_inode *inode = disk->inodes[i];

        if (inode == NULL) {
            continue;
        }
        inode->open_count = 0;
        inode->lock_owner = NULL;
        sim_inode_detach_mappings(inode);
    }
}

void sim_disk_crash(struct sim_disk *disk, enum sim_crash_policy policy,
                    struct wdb_random *random)
{
    struct crash crash = {.disk = disk, .random = random};

    sim_disk_lock(disk);
    forget_processes(disk);
    crash.last = draw_last(&crash);
    crash.last_survives = chance(&crash, BIAS_EVEN);
    crash.unit = policy == SIM_CRASH_TORN_4K || policy == SIM_CRASH_REORDER_4K
                     ? SIM_PAGE
                     : SIM_SECTOR;
    crash_names(&crash, policy);
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        struct sim_inode *inode = disk->inodes[i];

        if (inode != NULL && !inode->is_dir) {
            crash_file(&crash, inode, policy);
        }
    }
    count_links(disk);
    sim_disk_collect(disk);
    sim_disk_unlock(disk);
}
