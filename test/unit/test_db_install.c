/* test_db_install.c - who watches a key while a snapshot is installed. */
#include "db/db.h"
#include "lib/test.h"
#include "sim/snapshot_image.h"
#include "sim/store_fixture.h"
#include "walkerdb.h"

static struct wdb_watcher *watch(struct wdb_db *db, const char *name)
{
    struct wdb_watcher *watcher = NULL;
    struct wdb_txn txn;
    const struct wdb_key key =
        wdb_key(wdb_db_store(db), wdb_slice(name, strlen(name)));
    CHECK_EQ(wdb_watcher_new(db, &watcher), 0);
    wdb_txn_init(&txn, db);
    wdb_txn_begin_one(&txn, key.hash);
    CHECK_EQ(wdb_watcher_add(watcher, &txn, &key), 0);
    CHECK_EQ(wdb_txn_commit(&txn), 0);
    wdb_txn_release(&txn);
    return watcher;
}

/* Whether the key was there or not: nobody knows what it was in between. The
 * databases' ids are the same before and after. */
TEST(watch_of_an_installed_snapshot)
{
    struct store_fixture leader;
    struct snapshot_image image;
    struct wdb_db_options options = {.context = NULL};
    struct wdb_db *db;
    struct sim_disk *disk = sim_disk_new();
    struct sim_env *env = sim_env_new(disk, 1, NULL);
    store_fixture_init(&leader, 1);
    leader.model.has_databases = false;
    options.store = leader.options;
    options.store.log.env = sim_env_base(env);
    options.store.log.manual_commit = true;
    REQUIRE(store_fixture_open(&leader));
    store_fixture_run(&leader, 30);
    REQUIRE_EQ(snapshot_image_take(&image, leader.store), 0);
    REQUIRE_EQ(wdb_db_open(&options, &db, NULL), 0);
    wdb_log_hold(wdb_db_log(db), true);
    struct wdb_watcher *absent = watch(db, "absent");
    CHECK(!wdb_watcher_touched(absent));
    REQUIRE_EQ(snapshot_image_write(&image, sim_env_base(env), "/db/incoming"),
               0);
    CHECK_EQ(wdb_store_install(wdb_db_store(db), "/db/incoming", image.index,
                               image.term, wdb_slice(NULL, 0), NULL, NULL),
             0);
    CHECK(wdb_watcher_touched(absent));
    wdb_watcher_free(absent);
    struct wdb_watcher *later = watch(db, "absent");
    CHECK(!wdb_watcher_touched(later));
    wdb_watcher_free(later);
    wdb_db_close(db);
    sim_env_free(env);
    sim_disk_free(disk);
    snapshot_image_release(&image);
    store_fixture_release(&leader);
}
