/* peer_secret.c - the file of the cluster's secret, and MACs with it. */
#include "net/peer_secret.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "walkerdb.h"

#define FILE_SIZE (WDB_PEER_SECRET_TEXT_SIZE + 1)

static int fail(char **message_out, int code, const char *format, ...)
    WDB_PRINTF(3, 4);

static int fail(char **message_out, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(message_out, format, arguments) < 0) {
        *message_out = NULL;
    }
    va_end(arguments);
    return code;
}

static int code_of(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
        return WALKERDB_EACCESS;
    case ENOSPC:
    case EDQUOT:
        return WALKERDB_ENOSPACE;
    case EROFS:
        return WALKERDB_EREADONLY;
    case ENAMETOOLONG:
        return WALKERDB_ETOOBIG;
    default:
        return WALKERDB_EIO;
    }
}

void wdb_peer_secret_dir(const struct wdb_config *config,
                         char out[WDB_PATH_SIZE_MAX])
{
    static const enum wdb_config_id places[] = {WDB_CONFIG_SHARED_PATH,
                                                WDB_CONFIG_RAFT_DIR,
                                                WDB_CONFIG_DIR};
    out[0] = '\0';
    for (size_t i = 0; i < WDB_COUNT(places) && out[0] == '\0'; i++) {
        wdb_config_text(config, places[i], out, WDB_PATH_SIZE_MAX);
    }
}

/* --- text ---------------------------------------------------------------------- */

static int digit_of(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* 64 hex digits, maybe with an end of line. */
static bool parse(struct wdb_slice text, struct wdb_peer_secret *out)
{
    struct wdb_peer_secret secret = {.is_set = true};
    if (text.size > 0 && text.data[text.size - 1] == '\n') {
        text.size--;
    }
    if (text.size > 0 && text.data[text.size - 1] == '\r') {
        text.size--;
    }
    if (text.size != WDB_PEER_SECRET_TEXT_SIZE) {
        return false;
    }
    for (size_t i = 0; i < WDB_PEER_SECRET_SIZE; i++) {
        int high = digit_of(text.data[2 * i]);
        int low = digit_of(text.data[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        secret.key[i] = (uint8_t)(high << 4 | low);
    }
    *out = secret;
    return true;
}

void wdb_peer_secret_text(const struct wdb_peer_secret *secret,
                          char out[WDB_PEER_SECRET_TEXT_SIZE + 1])
{
    for (size_t i = 0; i < WDB_PEER_SECRET_SIZE; i++) {
        snprintf(out + 2 * i, 3, "%02x", secret->key[i]);
    }
}

/* --- the file -------------------------------------------------------------------- */

static int path_of(const char *dir, char out[WDB_PATH_SIZE_MAX],
                   char **message_out)
{
    int code = wdb_env_join(out, dir, WDB_PEER_SECRET_NAME);
    return code == 0
               ? 0
               : fail(message_out, code, "the path %.200s... is too long", dir);
}

static int read_secret(int fd, const char *path, struct wdb_peer_secret *out,
                       char **message_out)
{
    struct stat status;
    uint8_t text[FILE_SIZE + 2];
    if (fstat(fd, &status) != 0) {
        return fail(message_out, WALKERDB_EIO, "can't read %s: %s", path,
                    strerror(errno));
    }
    if (!S_ISREG(status.st_mode)) {
        return fail(message_out, WALKERDB_ECORRUPT, "%s is not a file", path);
    }
    if ((status.st_mode & 077) != 0) {
        return fail(message_out, WALKERDB_EACCESS,
                    "%s may be read or written by others (mode %04o), and who "
                    "knows the cluster's secret owns the cluster: chmod 600 %s",
                    path, (unsigned)status.st_mode & 07777, path);
    }
    ssize_t size = read(fd, text, sizeof(text));
    if (size < 0) {
        return fail(message_out, WALKERDB_EIO, "can't read %s: %s", path,
                    strerror(errno));
    }
    bool good = parse(wdb_slice(text, (size_t)size), out);
    OPENSSL_cleanse(text, sizeof(text));
    return good ? 0
                : fail(message_out, WALKERDB_ECORRUPT,
                       "%s does not hold a secret (%d hex digits and a "
                       "newline): copy the file of another node, in mode 600",
                       path, WDB_PEER_SECRET_TEXT_SIZE);
}

int wdb_peer_secret_load(const char *dir, struct wdb_peer_secret *out,
                         char **message_out)
{
    char path[WDB_PATH_SIZE_MAX];
    struct wdb_peer_secret secret = {.is_set = false};
    *message_out = NULL;
    int code = path_of(dir, path, message_out);
    if (code != 0) {
        return code;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno != ENOENT) {
        return fail(message_out, code_of(errno), "can't open %s: %s", path,
                    strerror(errno));
    }
    if (fd >= 0) {
        code = read_secret(fd, path, &secret, message_out);
        close(fd);
    }
    if (code == 0) {
        *out = secret;
    }
    OPENSSL_cleanse(&secret, sizeof(secret));
    return code;
}

static int make_dir(const char *dir, char **message_out)
{
    return wdb_env_posix_make_dirs(dir) == 0
               ? 0
               : fail(message_out, code_of(errno),
                      "can't make the directory %s: %s", dir, strerror(errno));
}

/* A new file with this content, durable; errno says what went wrong. */
static int write_new(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -1;
    }
    /* Whatever the umask took away belongs to the owner. */
    bool good = fchmod(fd, 0600) == 0 &&
                write(fd, text, FILE_SIZE) == (ssize_t)FILE_SIZE &&
                fsync(fd) == 0;
    int error = errno;
    close(fd);
    if (!good) {
        unlink(path);
        errno = error == 0 ? ENOSPC : error;
    }
    return good ? 0 : -1;
}

static int sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    int rc = fsync(fd);
    int error = errno;
    close(fd);
    errno = error;
    return rc;
}

/* Give a file its name unless that is taken: EEXIST in errno. */
static int rename_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return -1;
    }
    /* A file system without that: what is left is a race of founders. */
    if (access(to, F_OK) == 0) {
        errno = EEXIST;
        return -1;
    }
    return rename(from, to);
}

/* Make the file; 0 as well if another one is there by now. */
static int create(const char *dir, const struct wdb_peer_secret *secret,
                  char **message_out)
{
    char path[WDB_PATH_SIZE_MAX], temporary[WDB_PATH_SIZE_MAX + 32];
    char text[FILE_SIZE + 1];
    int code = path_of(dir, path, message_out);
    if (code == 0) {
        code = make_dir(dir, message_out);
    }
    if (code != 0) {
        return code;
    }
    snprintf(temporary, sizeof(temporary), "%s.%d.tmp", path, (int)getpid());
    wdb_peer_secret_text(secret, text);
    text[FILE_SIZE - 1] = '\n';
    unlink(temporary); /* of an earlier process with our number */
    int rc = write_new(temporary, text);
    OPENSSL_cleanse(text, sizeof(text));
    if (rc == 0) {
        rc = rename_new(temporary, path);
        int error = errno;
        if (rc != 0) {
            unlink(temporary);
        }
        errno = error;
        rc = rc != 0 && errno == EEXIST ? 0 : rc;
    }
    if (rc == 0) {
        rc = sync_dir(dir);
    }
    return rc == 0 ? 0
                   : fail(message_out, code_of(errno), "can't write %s: %s",
                          path, strerror(errno));
}

int wdb_peer_secret_make(struct wdb_env *env, const char *dir,
                         struct wdb_peer_secret *out, char **message_out)
{
    struct wdb_peer_secret secret = {.is_set = false};
    int code = wdb_peer_secret_load(dir, &secret, message_out);
    if (code == 0 && !secret.is_set) {
        env->ops->random(env, secret.key, sizeof(secret.key));
        code = create(dir, &secret, message_out);
        if (code == 0) {
            code = wdb_peer_secret_load(dir, &secret, message_out);
        }
    }
    if (code == 0) {
        *out = secret;
    }
    OPENSSL_cleanse(&secret, sizeof(secret));
    return code;
}

int wdb_peer_secret_write_text(const char *dir, struct wdb_slice text,
                               struct wdb_peer_secret *out, char **message_out)
{
    struct wdb_peer_secret given, there = {.is_set = false};
    *message_out = NULL;
    if (!parse(text, &given)) {
        return fail(message_out, WALKERDB_EINVALID,
                    "this is no cluster secret (%d hex digits)",
                    WDB_PEER_SECRET_TEXT_SIZE);
    }
    int code = wdb_peer_secret_load(dir, &there, message_out);
    if (code == 0 && !there.is_set) {
        code = create(dir, &given, message_out);
        if (code == 0) {
            code = wdb_peer_secret_load(dir, &there, message_out);
        }
    }
    if (code == 0 && !wdb_peer_mac_equal(given.key, there.key)) {
        code = fail(message_out, WALKERDB_EEXISTS,
                    "%s/%s is the secret of another cluster: if this node is "
                    "to leave that, move the file away",
                    dir, WDB_PEER_SECRET_NAME);
    }
    if (code == 0) {
        *out = given;
    }
    OPENSSL_cleanse(&given, sizeof(given));
    OPENSSL_cleanse(&there, sizeof(there));
    return code;
}

/* --- proofs ------------------------------------------------------------------------ */

_Static_assert(WDB_PEER_SECRET_SIZE == WDB_PEER_MAC_SIZE,
               "wdb_peer_mac_equal compares both");

int wdb_peer_secret_mac(const struct wdb_peer_secret *secret,
                        struct wdb_slice data, uint8_t out[WDB_PEER_MAC_SIZE])
{
    unsigned size = WDB_PEER_MAC_SIZE;
    int key_size = secret->is_set ? WDB_PEER_SECRET_SIZE : 0;
    return HMAC(EVP_sha256(), secret->key, key_size, data.data, data.size, out,
                &size) != NULL
               ? 0
               : WALKERDB_ENOMEM;
}

bool wdb_peer_mac_equal(const uint8_t a[WDB_PEER_MAC_SIZE],
                        const uint8_t b[WDB_PEER_MAC_SIZE])
{
    return CRYPTO_memcmp(a, b, WDB_PEER_MAC_SIZE) == 0;
}
