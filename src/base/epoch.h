/*
 * epoch.h - deferred reclamation for what readers use without a lock
 * (epoch-based reclamation: Fraser, Practical lock-freedom, 2004, 5.2.3).
 *
 * A reader enters before it loads a shared pointer and exits when it is done
 * with what it pointed to. A writer unpublishes the pointer first, then
 * retires the memory; it is freed once every reader that was inside at that
 * time has left. A stuck reader delays freeing, never writers.
 *
 * One instance per database handle; no globals. WDB_EPOCH_SLOTS readers at a
 * time; a further one waits (yielding) for a slot.
 */
#ifndef WDB_BASE_EPOCH_H
#define WDB_BASE_EPOCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"

#define WDB_EPOCH_SLOTS 256

struct wdb_epoch;
struct wdb_epoch_retired {
    struct wdb_epoch_retired *next;
    uint64_t epoch;
    void (*free)(struct wdb_epoch_retired *self);
};

/* New instance; WALKERDB_ENOMEM. Free it with wdb_epoch_free. */
WDB_MUST_CHECK int wdb_epoch_new(struct wdb_epoch **out);
/* No reader may be inside; frees all that is retired. */
void wdb_epoch_free(struct wdb_epoch *epoch);
/* Enter; returns the slot that exit takes. Thread: any. Not recursive per
 * slot, but a thread may hold several slots. */
int wdb_epoch_enter(struct wdb_epoch *epoch);
void wdb_epoch_exit(struct wdb_epoch *epoch, int slot);
/* Hand over memory that embeds `node`; node->free runs later, on whichever
 * thread calls retire or reclaim. Never fails. Thread: any. */
void wdb_epoch_retire(struct wdb_epoch *epoch, struct wdb_epoch_retired *node,
                      void (*free_node)(struct wdb_epoch_retired *));
/* Wait (yielding) until every reader that is inside now has left. The caller is
 * not inside itself. Thread: any. */
void wdb_epoch_wait(struct wdb_epoch *epoch);
/* Free what may be freed now; returns how many things still wait. */
size_t wdb_epoch_reclaim(struct wdb_epoch *epoch);

#endif
