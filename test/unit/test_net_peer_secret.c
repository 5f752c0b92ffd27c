/* test_net_peer_secret.c - the file of the cluster's secret; addresses. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/test.h"
#include "net/peer_address.h"
#include "net/peer_secret.h"
#include "walkerdb.h"

#define TEXT "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");
    if (file != NULL) {
        fputs(text, file);
        fclose(file);
    }
    CHECK_EQ(chmod(path, mode), 0);
}

static struct wdb_env *new_env(void)
{
    struct wdb_env *env = NULL;
    CHECK_EQ(wdb_env_posix_new(&env), 0);
    return env;
}

/* No file is no error; a secret that was made is found again, by everybody who
 * makes one there, and nobody else may read it. */
TEST(make_and_load)
{
    struct wdb_env *env = new_env();
    const char *dir = test_path(test_tmpdir(), "a/b");
    const char *path = test_path(dir, WDB_PEER_SECRET_NAME);
    struct wdb_peer_secret first, second, loaded;
    char *message = NULL;
    struct stat status;
    CHECK_EQ(wdb_peer_secret_load(dir, &loaded, &message), 0);
    CHECK(!loaded.is_set && message == NULL);
    mode_t before = umask(0);
    REQUIRE_EQ(wdb_peer_secret_make(env, dir, &first, &message), 0);
    umask(before);
    CHECK(first.is_set);
    CHECK_EQ(stat(path, &status), 0);
    CHECK_EQ(status.st_mode & 07777, 0600);
    CHECK_EQ(status.st_size, 65);
    CHECK_EQ(wdb_peer_secret_make(env, dir, &second, &message), 0);
    CHECK_EQ(wdb_peer_secret_load(dir, &loaded, &message), 0);
    CHECK_MEM(first.key, 32, second.key, 32);
    CHECK_MEM(first.key, 32, loaded.key, 32);
    static const uint8_t zeros[32];
    CHECK(memcmp(first.key, zeros, 32) != 0);
    wdb_env_posix_free(env);
}

/* A umask that takes everything away does not make it unreadable for us. */
TEST(strict_umask)
{
    struct wdb_env *env = new_env();
    struct wdb_peer_secret secret;
    char *message = NULL;
    mode_t before = umask(0777);
    CHECK_EQ(wdb_peer_secret_make(env, test_tmpdir(), &secret, &message), 0);
    umask(before);
    free(message);
    wdb_env_posix_free(env);
}

/* Files that others may read, or with other content, are refused with a text. */
TEST(refused_files)
{
    static const struct {
        const char *text;
        mode_t mode;
        int code;
        const char *says;
    } cases[] = {
        {TEXT "\n", 0644, WALKERDB_EACCESS, "chmod 600"},
        {TEXT "\n", 0640, WALKERDB_EACCESS, "0640"},
        {TEXT "\n", 0602, WALKERDB_EACCESS, "others"},
        {"", 0600, WALKERDB_ECORRUPT, "64 hex digits"},
        {TEXT "00\n", 0600, WALKERDB_ECORRUPT, "64 hex digits"},
        {TEXT "\n\n", 0600, WALKERDB_ECORRUPT, "64 hex digits"},
        {"g" TEXT, 0600, WALKERDB_ECORRUPT, "64 hex digits"},
        {TEXT, 0600, 0, NULL},
        {TEXT "\r\n", 0400, 0, NULL},
    };
    const char *dir = test_tmpdir();
    const char *path = test_path(dir, WDB_PEER_SECRET_NAME);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wdb_peer_secret secret = {.is_set = false};
        char *message = NULL;
        unlink(path);
        write_file(path, cases[i].text, cases[i].mode);
        CHECK_EQ(wdb_peer_secret_load(dir, &secret, &message), cases[i].code);
        CHECK_EQ(secret.is_set, cases[i].code == 0);
        CHECK((message == NULL) == (cases[i].code == 0));
        CHECK(message == NULL || strstr(message, cases[i].says) != NULL);
        free(message);
    }
    struct wdb_peer_secret secret;
    char *message = NULL;
    unlink(path);
    CHECK_EQ(mkdir(path, 0700), 0);
    CHECK_EQ(wdb_peer_secret_load(dir, &secret, &message), WALKERDB_ECORRUPT);
    free(message);
}

/* A secret that came as text is kept; the same again is fine, another is not. */
TEST(write_text)
{
    const char *dir = test_path(test_tmpdir(), "path");
    struct wdb_peer_secret secret, loaded;
    char *message = NULL;
    char text[WDB_PEER_SECRET_TEXT_SIZE + 1];
    CHECK_EQ(wdb_peer_secret_write_text(dir, wdb_slice_str("12"), &secret,
                                        &message),
             WALKERDB_EINVALID);
    free(message);
    for (int i = 0; i < 2; i++) {
        REQUIRE_EQ(wdb_peer_secret_write_text(dir, wdb_slice_str(TEXT), &secret,
                                              &message),
                   0);
    }
    CHECK_EQ(wdb_peer_secret_load(dir, &loaded, &message), 0);
    CHECK(loaded.is_set && loaded.key[31] == 0x1f && loaded.key[0] == 0);
    wdb_peer_secret_text(&loaded, text);
    CHECK_EQ(strcasecmp(text, TEXT), 0);
    text[0] = 'f';
    CHECK_EQ(wdb_peer_secret_write_text(dir, wdb_slice_str(text), &secret,
                                        &message),
             WALKERDB_EEXISTS);
    CHECK(message != NULL && strstr(message, "another cluster") != NULL);
    free(message);
}

/* RFC 4231, test cases 1 (with its key padded by zeros, which HMAC does itself)
 * and the empty key and text. */
TEST(mac)
{
    struct wdb_peer_secret secret = {.is_set = true};
    uint8_t mac[32];
    memset(secret.key, 0x0b, 20);
    CHECK_EQ(wdb_peer_secret_mac(&secret, wdb_slice_str("Hi There"), mac), 0);
    static const uint8_t expected[32] = {
        0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53, 0x5c, 0xa8, 0xaf,
        0xce, 0xaf, 0x0b, 0xf1, 0x2b, 0x88, 0x1d, 0xc2, 0x00, 0xc9, 0x83,
        0x3d, 0xa7, 0x26, 0xe9, 0x37, 0x6c, 0x2e, 0x32, 0xcf, 0xf7};
    CHECK_MEM(mac, 32, expected, 32);
    CHECK(wdb_peer_mac_equal(mac, expected));
    mac[31] ^= 1;
    CHECK(!wdb_peer_mac_equal(mac, expected));
    static const uint8_t empty[4] = {0xb6, 0x13, 0x67, 0x9a};
    secret = (struct wdb_peer_secret){.is_set = false};
    CHECK_EQ(wdb_peer_secret_mac(&secret, wdb_slice_str(""), mac), 0);
    CHECK_MEM(mac, 4, empty, 4);
}

/* What is an address, and what is none. */
TEST(addresses)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
        bool is_numeric, is_wildcard;
    } good[] = {
        {"localhost:8001", "localhost", 8001, false, false},
        {"127.0.0.1:65535", "127.0.0.1", 65535, true, false},
        {"[::1]:1", "::1", 1, true, false},
        {"[::]:1", "::", 1, true, true},
        {"0.0.0.0:8001", "0.0.0.0", 8001, true, true},
        {"*:8001", "*", 8001, false, true},
        {"raft-cluster-host-01:8001", "raft-cluster-host-01", 8001, false,
         false},
    };
    static const char *const bad[] = {
        "",       "8001",    ":8001",   "a:",    "a:0",   "a:65536",
        "a b:80", "::1:80",  "[::1:80", "[]:80", "a:-1",  "a:+1",
        "a:80 ",  "[::1]80", "[a]b:80", "a]:80", "a:080", "a\x80:80",
    };
    struct wdb_peer_address address;
    struct sockaddr_storage numeric;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        CHECK_EQ(wdb_peer_address_parse(good[i].text, false, &address), 0);
        CHECK_STR(address.host, good[i].host);
        CHECK_EQ(address.port_number, good[i].port);
        CHECK_EQ(wdb_peer_address_is_numeric(&address, &numeric),
                 good[i].is_numeric);
        CHECK_EQ(wdb_peer_address_is_wildcard(&address), good[i].is_wildcard);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_EQ(wdb_peer_address_parse(bad[i], false, &address),
                 WALKERDB_EINVALID);
    }
    CHECK_EQ(wdb_peer_address_parse("a:0", true, &address), 0);
}

/* Which socket addresses are this machine's loopback. */
TEST(loopback)
{
    static const struct {
        const char *text;
        bool is_loopback;
    } cases[] = {
        {"127.0.0.1:1", true},
        {"127.3.4.5:1", true},
        {"128.0.0.1:1", false},
        {"10.0.0.1:1", false},
        {"[::1]:1", true},
        {"[::2]:1", false},
        {"[::ffff:127.0.0.1]:1", true},
        {"[::ffff:10.0.0.1]:1", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wdb_peer_address address;
        struct sockaddr_storage numeric;
        char text[64];
        REQUIRE_EQ(wdb_peer_address_parse(cases[i].text, false, &address), 0);
        REQUIRE(wdb_peer_address_is_numeric(&address, &numeric));
        CHECK_EQ(wdb_peer_address_is_loopback((struct sockaddr *)&numeric),
                 cases[i].is_loopback);
        wdb_peer_address_format((struct sockaddr *)&numeric, text,
                                sizeof(text));
        CHECK_STR(text, cases[i].text);
    }
}
