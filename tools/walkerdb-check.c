/* walkerdb-check.c - verifies a database directory, dumps it, salvages it. */
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#include "walkerdb-check/check.h"

struct options {
    bool json, dump, progress;
    const char *repair;
    const char *raft_dir;
    const char *dir;
};

static void print_usage(FILE *out)
{
    fputs(
        "Usage: walkerdb-check [OPTION...] DIR\n"
        "Verify every byte of a walkerDb database that no process has open.\n"
        "\n"
        "  --dump         print every verified record, in sequence order\n"
        "  --json         print one JSON object a line\n"
        "  --repair DEST  write all verified records to a new database in\n"
        "                 DEST, which must not exist or be empty; DIR itself\n"
        "                 is never changed\n"
        "  --raftdir PATH where the member's raft-identity is, if it is not "
        "in\n"
        "                 DIR/raft or DIR\n"
        "  --progress     show progress even if standard error is no "
        "terminal\n"
        "  --help         print this\n"
        "  --version      print the version\n"
        "\n"
        "Exit status: 0 no damage; 1 damage; 2 wrong usage or trouble.\n",
        out);
}

/* Returns an exit status, or -1 to go on. */
static int parse_options(int argc, char **argv, struct options *out)
{
    enum {
        JSON = 256,
        DUMP,
        REPAIR,
        RAFTDIR,
        PROGRESS,
        HELP,
        VERSION
    };
    static const struct option names[] = {
        {"json", no_argument, NULL, JSON},
        {"dump", no_argument, NULL, DUMP},
        {"repair", required_argument, NULL, REPAIR},
        {"raftdir", required_argument, NULL, RAFTDIR},
        {"progress", no_argument, NULL, PROGRESS},
        {"help", no_argument, NULL, HELP},
        {"version", no_argument, NULL, VERSION},
        {NULL, 0, NULL, 0},
    };
    int name;
    *out = (struct options){.progress = isatty(STDERR_FILENO) != 0};
    while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (name) {
        case JSON:
            out->json = true;
            break;
        case DUMP:
            out->dump = true;
            break;
        case REPAIR:
            out->repair = optarg;
            break;
        case RAFTDIR:
            out->raft_dir = optarg;
            break;
        case PROGRESS:
            out->progress = true;
            break;
        case HELP:
            print_usage(stdout);
            return EXIT_CLEAN;
        case VERSION:
            printf("walkerdb-check %s\n", walkerdb_version());
            return EXIT_CLEAN;
        default:
            print_usage(stderr);
            return EXIT_TROUBLE;
        }
    }
    if (argc - optind != 1) {
        print_usage(stderr);
        return EXIT_TROUBLE;
    }
    out->dir = argv[optind];
    return -1;
}

/* --- the lock --------------------------------------------------------------
 */

static int on_name_lock(void *context, const char *name)
{
    struct wdb_name parsed;
    wdb_name_parse(name, &parsed);
    if (parsed.kind == WDB_NAME_KIND_LOCK && !parsed.temporary) {
        *(bool *)context = true;
    }
    return 0;
}

/* Keep others out while we read. A directory without a lock file (a backup, a
 * read-only medium) stays without one. */
static int take_lock(struct wdb_env *env, const char *dir,
                     struct wdb_file **out)
{
    char path[WDB_PATH_SIZE_MAX];
    bool has_lock = false;
    int64_t holder = 0;
    *out = NULL;
    int rc = env->ops->list(env, dir, on_name_lock, &has_lock);
    if (rc == 0 && has_lock) {
        rc = wdb_env_join(path, dir, WDB_NAME_LOCK);
        if (rc == 0) {
            rc = env->ops->lock(env, path, out, &holder);
        }
        if (rc == WALKERDB_ELOCKED) {
            return check_trouble(
                "%s is in use by process %lld: stop it, or check a backup", dir,
                (long long)holder);
        }
        if (rc != 0) {
            *out = NULL; /* not ours, or read-only: then nobody writes */
            rc = 0;
        }
    }
    if (rc != 0) {
        return check_trouble("%s: %s", dir, walkerdb_strerror(rc));
    }
    return EXIT_CLEAN;
}

/* --- running ---------------------------------------------------------------
 */

/* Make ready to write to dest, which must lie outside of the directory. */
static int begin_repair(struct check *check, const char *dest)
{
    int rc = check_repair_new(check, dest, &check->repair);
    if (rc == WALKERDB_EEXISTS) {
        return check_trouble("%s: exists, and is not an empty directory", dest);
    }
    if (rc != 0) {
        return check_trouble("%s: %s", dest, walkerdb_strerror(rc));
    }
    char *inner = realpath(dest, NULL);
    char *outer = realpath(check->dir, NULL);
    const size_t size = outer != NULL ? strlen(outer) : 0;
    const bool inside = inner != NULL && outer != NULL &&
                        strncmp(inner, outer, size) == 0 &&
                        (inner[size] == '/' || inner[size] == '\0');
    free(inner);
    free(outer);
    if (inside) {
        (void)check->env->ops->rmdir(check->env, dest);
        return check_trouble("%s: must not be inside of %s", dest, check->dir);
    }
    return EXIT_CLEAN;
}

/* Check a directory; returns an exit status. */
static int run(struct check *check, const char *repair_dest)
{
    int rc = check_keys_new(check->env, &check->keys);
    if (rc == 0) {
        rc = check_open_directory(check);
    }
    if (rc == WALKERDB_ENOTFOUND) {
        return check_trouble("%s: there is no database", check->dir);
    }
    if (rc == WALKERDB_EVERSION) {
        return check_trouble("%s: %s", check->dir, walkerdb_strerror(rc));
    }
    if (rc == 0 && repair_dest != NULL) {
        const int status = begin_repair(check, repair_dest);
        if (status != EXIT_CLEAN) {
            return status;
        }
    }
    if (rc == 0) {
        check_find_ends(check);
        rc = check_verify(check);
    }
    if (rc == 0) {
        rc = check_cluster_finish(check);
    }
    if (rc == 0 && check->repair != NULL) {
        rc = check_repair_run(check->repair);
    }
    if (rc != 0) {
        check_progress_end(check);
        return check_trouble("%s: %s", check->dir, walkerdb_strerror(rc));
    }
    check_summary(check);
    return check->totals.problems == 0 ? EXIT_CLEAN : EXIT_DAMAGE;
}

static int check_directory(struct wdb_env *env, const struct options *options,
                           const char *dir, const char *repair_dest)
{
    struct check check = {
        .env = env,
        .dir = dir,
        .json = options->json,
        .dump = options->dump,
        .progress = options->progress,
        .out = stdout,
        .cluster = {.dir = options->raft_dir},
        .begun_ns = env->ops->monotonic_ns(env),
    };
    struct wdb_file *lock;
    int status = take_lock(env, dir, &lock);
    if (status != EXIT_CLEAN) {
        return status;
    }
    status = run(&check, repair_dest);
    check_repair_free(check.repair);
    check_close_directory(&check);
    check_keys_free(check.keys);
    if (lock != NULL) {
        env->ops->unlock(lock);
    }
    return status;
}

int main(int argc, char **argv)
{
    struct options options;
    struct wdb_env *env;
    int status = parse_options(argc, argv, &options);
    if (status >= 0) {
        return status;
    }
    if (wdb_env_posix_new(&env) != 0) {
        return check_trouble("%s", walkerdb_strerror(WALKERDB_ENOMEM));
    }
    status = check_directory(env, &options, options.dir, options.repair);
    if (options.repair != NULL && status != EXIT_TROUBLE) {
        /* What was written must be clean; the status is that of DIR. */
        struct options again = options;
        again.dump = false;
        again.raft_dir = NULL;
        if (check_directory(env, &again, options.repair, NULL) != EXIT_CLEAN) {
            status = check_trouble("%s: the repaired copy is not clean",
                                   options.repair);
        }
    }
    wdb_env_posix_free(env);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return check_trouble("standard output cannot be written");
    }
    return status;
}
