/*
 * tour.c - a user's program: built against the installed library only, as C
 * and as C++, with the static and with the shared library.
 */
#include <stdio.h>
#include <string.h>

#include <walkerdb.h>

int main(int argc, char **argv)
{
    walkerdb_options options;
    walkerdb *db = NULL;
    char *message = NULL;
    char value[16] = "";
    size_t size = 0;
    int rc;

    if (argc != 2) {
        return 2;
    }
    walkerdb_options_init(&options);
    rc = walkerdb_open(argv[1], &options, &db, &message);
    if (rc != 0) {
        fprintf(stderr, "%s: %s\n", walkerdb_strerror(rc),
                message != NULL ? message : "");
        walkerdb_free(message);
        return 1;
    }
    rc = walkerdb_put(db, "tour", 4, "works", 5);
    if (rc == 0) {
        rc = walkerdb_get_into(db, "tour", 4, value, sizeof(value), &size);
    }
    walkerdb_close(db);
    printf("%s %s\n", walkerdb_version(), rc == 0 ? value : "failed");
    return rc != 0 || size != 5 || memcmp(value, "works", 5) != 0;
}
