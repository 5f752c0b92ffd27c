/* test_store_basic.c - batches, reads and reopening against the model. */
#include "lib/test.h"
#include "sim/store_fixture.h"

/* Random batches are there at once, and after every reopening. */
TEST(batches_survive_reopening)
{
    const uint64_t seeds = test_number("WDB_TEST_ROUNDS", 20);
    for (uint64_t seed = 1; seed <= seeds && !test_has_failed(); seed++) {
        struct store_fixture f;
        store_fixture_init(&f, seed);
        f.options.hints = seed % 3 != 0;
        REQUIRE(store_fixture_open(&f));
        for (int round = 0; round < 6 && !test_has_failed(); round++) {
            store_fixture_run(&f, 60);
            store_fixture_check(&f);
            REQUIRE(store_fixture_reopen(&f));
            store_fixture_check(&f);
        }
        store_fixture_release(&f);
    }
}
