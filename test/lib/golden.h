/*
 * golden.h - compares bytes with the golden files, or writes these
 * (WDB_TEST_GOLDEN_WRITE=1).
 */
#ifndef WDB_TEST_LIB_GOLDEN_H
#define WDB_TEST_LIB_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>

/* Where the seeds of the fuzzers are, from the golden directory. */
#define GOLDEN_SEEDS "../fuzz/corpus/"

/* True if golden files are to be written. */
bool golden_is_writing(void);
/* Write a file, at any path. */
void golden_write(const char *path, const void *data, size_t size);
/* Compare with the golden file `name`, or write it; and write the seed of a
 * fuzzer (NULL: none). */
void golden_compare(const char *name, const char *seed, const void *data,
                    size_t size);
/* Write the seed of a fuzzer, if golden files are to be written. */
void golden_seed(const char *seed, const void *data, size_t size);
/* The content of a golden file, malloc'ed; NULL (and a failure) without. */
void *golden_load(const char *name, size_t *size_out);

#endif
