/*
 * keydir_bench.c - bytes per key and time per operation of the keydir.
 *
 *     keydir_bench [stripes] [key size]
 *
 * One thread, CPU time; keys `key:%012d` (16 bytes) or padded to the size given. Memory is
 * what the keydir counts, and the growth of the resident set for comparison.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/siphash.h"
#include "store/keydir.h"

static const struct wdb_siphash_key hash_key = {11, 22};
static size_t key_size = 16;

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double resident(void)
{
    unsigned long size, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL) {
        if (fscanf(file, "%lu %lu", &size, &pages) != 2) {
            pages = 0;
        }
        fclose(file);
    }
    return (double)pages * 4096;
}

static struct wdb_slice make_key(char *text, uint64_t number)
{
    memset(text, 'x', 256);
    memcpy(text, "key:", 4);
    for (int i = 15; i >= 4; i--) {
        text[i] = (char)('0' + number % 10);
        number /= 10;
    }
    return wdb_slice(text, key_size);
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= UINT64_C(0x7fb5d329728ea185);
    x ^= x >> 27;
    x *= UINT64_C(0x81dadef4bc2dd44d);
    return x ^ x >> 33;
}

/* Keys first..first + count, ns for each. */
static double insert(struct wdb_keydir *keydir, uint64_t first, uint64_t count)
{
    char text[256];
    double begin = now_ns();
    for (uint64_t i = first; i < first + count; i++) {
        struct wdb_slice key = make_key(text, i);
        struct wdb_item item = {.position = i + 1, .record_size = 64};
        if (wdb_keydir_put(keydir, wdb_siphash13(&hash_key, key), key, &item,
                           NULL, NULL) != 0) {
            exit(1);
        }
    }
    return (now_ns() - begin) / (double)count;
}

static double lookup(struct wdb_keydir *keydir, uint64_t first, uint64_t range,
                     uint64_t times, bool expected)
{
    char text[256];
    struct wdb_item item;
    double begin = now_ns();
    for (uint64_t i = 0; i < times; i++) {
        struct wdb_slice key = make_key(text, first + mix(i) % range);
        if (wdb_keydir_get(keydir, wdb_siphash13(&hash_key, key), key, &item) !=
            expected) {
            exit(1);
        }
    }
    return (now_ns() - begin) / (double)times;
}

static double hash_only(uint64_t range, uint64_t times)
{
    char text[256];
    uint64_t sum = 0;
    double begin = now_ns();
    for (uint64_t i = 0; i < times; i++) {
        sum += wdb_siphash13(&hash_key, make_key(text, mix(i) % range));
    }
    double end = now_ns();
    return sum == 1 ? 0 : (end - begin) / (double)times;
}

static double delete_all(struct wdb_keydir *keydir, uint64_t count)
{
    char text[256];
    double begin = now_ns();
    for (uint64_t i = 0; i < count; i++) {
        struct wdb_slice key = make_key(text, i);
        wdb_keydir_delete(keydir, wdb_siphash13(&hash_key, key), key, NULL);
    }
    return (now_ns() - begin) / (double)count;
}

int main(int argc, char **argv)
{
    uint32_t stripes = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 64;
    key_size = argc > 2 ? strtoul(argv[2], NULL, 10) : 16;
    struct wdb_keydir_options options = {.stripe_count = stripes,
                                         .hash_key = &hash_key};
    struct wdb_keydir *keydir;
    double base = resident();
    if (wdb_keydir_new(&options, &keydir) != 0) {
        return 1;
    }
    printf("key and hash alone: %.1f ns\n", hash_only(1000000, 2000000));
    uint64_t count = 0;
    static const uint64_t stops[] = {1000,    10000,   100000,  1000000,
                                     1250000, 1500000, 1750000, 2000000,
                                     2500000, 3000000, 4000000, 5000000,
                                     6000000, 7000000, 8000000};
    for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
        double ns = insert(keydir, count, stops[i] - count);
        count = stops[i];
        printf("%8lu keys: %6.2f bytes a key (resident %6.2f), insert %5.1f "
               "ns, hit %5.1f ns, hot %5.1f ns, miss %5.1f ns\n",
               (unsigned long)count,
               (double)wdb_keydir_memory(keydir) / (double)count,
               (resident() - base) / (double)count, ns,
               lookup(keydir, 0, count, 1000000, true),
               lookup(keydir, 0, 500, 1000000, true),
               lookup(keydir, count, count, 1000000, false));
    }
    printf("overwrite: %.1f ns\n", insert(keydir, 0, count));
    printf("delete 3/4: %.1f ns", delete_all(keydir, count / 4 * 3));
    printf(", then %.2f bytes a key (resident %.2f)\n",
           (double)wdb_keydir_memory(keydir) / (double)(count / 4),
           (resident() - base) / (double)(count / 4));
    printf("delete all: %.1f ns", delete_all(keydir, count));
    printf(", then %.0f bytes\n", (double)wdb_keydir_memory(keydir));
    wdb_keydir_free(keydir);

    options.count_hint = 5000000;
    if (wdb_keydir_new(&options, &keydir) != 0) {
        return 1;
    }
    printf("5 M with a hint: insert %.1f ns,", insert(keydir, 0, 5000000));
    printf(" %.2f bytes a key\n", (double)wdb_keydir_memory(keydir) / 5e6);
    wdb_keydir_free(keydir);
    return 0;
}
