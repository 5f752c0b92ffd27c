/*
 * sync_floor.c - the floor of what a log can do here: processes that only write
 * and sync, each to a file of its own that was filled with zeros before.
 *
 *   sync_floor [-p PROCESSES] [-b BYTES] [-s SECONDS] [-d DIRECTORY]
 *
 * Each write of BYTES (of a group of requests, say) is followed by fdatasync.
 * Prints one line of JSON: syncs per second of the slowest process, of the
 * middle one (a majority of three has synced then), latencies, and the CPU time
 * of all.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILE_SIZE     ((size_t)64 << 20)
#define PROCESSES_MAX 16
#define SAMPLES_MAX   1000000

struct worker {
    uint64_t syncs;
    uint64_t p50_ns, p99_ns;
    int failed;
};

static uint64_t clock_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static int compare_syncs(const void *left, const void *right)
{
    const struct worker *a = left;
    const struct worker *b = right;
    return compare(&a->syncs, &b->syncs);
}

static int open_filled(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    char *zeros = calloc(1, 1 << 20);
    for (size_t at = 0; fd >= 0 && zeros && at < FILE_SIZE; at += 1 << 20) {
        if (pwrite(fd, zeros, 1 << 20, (off_t)at) != 1 << 20) {
            close(fd);
            fd = -1;
        }
    }
    free(zeros);
    if (fd >= 0 && fsync(fd) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void work(struct worker *worker, const char *path, size_t size,
                 double seconds)
{
    int fd = open_filled(path);
    char *data = malloc(size);
    uint64_t *samples = malloc(SAMPLES_MAX * sizeof(*samples));
    if (fd < 0 || data == NULL || samples == NULL) {
        worker->failed = 1;
        return;
    }
    memset(data, 'x', size);
    uint64_t end = clock_ns() + (uint64_t)(seconds * 1e9);
    size_t at = 0;
    for (uint64_t now = clock_ns(); now < end && worker->syncs < SAMPLES_MAX;) {
        at = at + size > FILE_SIZE ? 0 : at;
        if (pwrite(fd, data, size, (off_t)at) != (ssize_t)size ||
            fdatasync(fd) != 0) {
            worker->failed = 1;
            break;
        }
        at += size;
        uint64_t then = clock_ns();
        samples[worker->syncs++] = then - now;
        now = then;
    }
    if (worker->syncs > 0) {
        qsort(samples, worker->syncs, sizeof(*samples), compare);
        worker->p50_ns = samples[worker->syncs / 2];
        worker->p99_ns = samples[worker->syncs * 99 / 100];
    }
    free(samples);
    free(data);
    close(fd);
    unlink(path);
}

static void report(struct worker *workers, size_t count, double seconds)
{
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    double cpu_s =
        (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
        (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    qsort(workers, count, sizeof(*workers), compare_syncs);
    const struct worker *middle = &workers[count / 2];
    printf("{\"slowest_per_second\": %.1f, \"middle_per_second\": %.1f, "
           "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"cpu_s\": %.3f}\n",
           (double)workers[0].syncs / seconds, (double)middle->syncs / seconds,
           (double)middle->p50_ns / 1e6, (double)middle->p99_ns / 1e6, cpu_s);
}

int main(int argc, char **argv)
{
    size_t count = 3, size = 4096;
    double seconds = 3;
    const char *directory = ".";
    int option;
    while ((option = getopt(argc, argv, "p:b:s:d:")) != -1) {
        switch (option) {
        case 'p':
            count = strtoul(optarg, NULL, 10);
            break;
        case 'b':
            size = strtoul(optarg, NULL, 10);
            break;
        case 's':
            seconds = strtod(optarg, NULL);
            break;
        case 'd':
            directory = optarg;
            break;
        default:
            return 2;
        }
    }
    if (count == 0 || count > PROCESSES_MAX || size == 0 || size > FILE_SIZE) {
        return 2;
    }
    struct worker *workers =
        mmap(NULL, count * sizeof(*workers), PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (workers == MAP_FAILED) {
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        if (fork() == 0) {
            char path[4096];
            snprintf(path, sizeof(path), "%s/sync-floor-%d-%zu", directory,
                     (int)getppid(), i);
            work(&workers[i], path, size, seconds);
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
    for (size_t i = 0; i < count; i++) {
        if (workers[i].failed) {
            return 1;
        }
    }
    report(workers, count, seconds);
    return 0;
}
