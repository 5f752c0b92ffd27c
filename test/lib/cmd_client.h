/*
 * cmd_client.h - the real executor over a database in a directory, with clients
 * that are just memory: no sockets, no loops, one thread.
 *
 *     struct cmd_world *world = cmd_world_new(test_tmpdir(), NULL);
 *     struct cmd_client *client = cmd_client_new(world);
 *     CHECK_REPLY(client, "SET key 'a b'", "+OK");
 *     CHECK_REPLY(client, "MGET key none", "*2 $3 a b $-1");
 *     cmd_client_free(client);
 *     cmd_world_free(world);
 *
 * A reply is shown as it is on the wire, with a blank for each line end but the
 * last; bytes that cannot be printed are \xHH. Several replies are joined by
 * " | ". Without memory, or when the database cannot be opened, it aborts.
 */
#ifndef WDB_TEST_LIB_CMD_CLIENT_H
#define WDB_TEST_LIB_CMD_CLIENT_H

#include "cmd/context.h"
#include "cmd/executor.h"
#include "cmd/session.h"
#include "lib/test.h"

struct cmd_world;
struct cmd_client;

struct cmd_world_options {
    struct wdb_env *env; /* NULL: posix */
    uint64_t segment_size;
    bool manual_commit;
    bool cold; /* nothing is in the page cache until it was fetched */
};

/* Open (or make) the database of a directory. options may be NULL. */
struct cmd_world *cmd_world_new(const char *dir,
                                const struct cmd_world_options *options);
/* Close it; all clients must be gone. */
void cmd_world_free(struct cmd_world *world);
/* Close the database and open it again: what was kept? No clients. */
void cmd_world_reopen(struct cmd_world *world);
struct wdb_context *cmd_world_context(struct cmd_world *world);
/* How often a stop was asked for (SHUTDOWN). */
uint32_t cmd_world_shutdowns(const struct cmd_world *world);
/* Set a setting, as CONFIG SET. */
void cmd_world_set(struct cmd_world *world, const char *name,
                   const char *value);
/* Let time pass for the keys: the world's clock is the real one plus this. */
void cmd_world_advance_ms(struct cmd_world *world, uint64_t ms);

/* Let the nth allocation of the next call's execution fail; whether one did. */
void cmd_world_fail_allocation(struct cmd_world *world, uint64_t nth);
bool cmd_world_allocation_failed(const struct cmd_world *world);

struct cmd_client *cmd_client_new(struct cmd_world *world);
void cmd_client_free(struct cmd_client *client);
struct wdb_session *cmd_client_session(struct cmd_client *client);

/* Send a line of words (quotes as in redis-cli; several commands are separated
 * by " ; "), run, return the replies. Valid until the client's next call. */
const char *cmd_send(struct cmd_client *client, const char *line);
/* One command of any bytes. */
const char *cmd_send_slices(struct cmd_client *client, size_t count,
                            const struct wdb_slice *arguments);
/* The replies of the last call as they came. */
struct wdb_slice cmd_reply_bytes(const struct cmd_client *client);

#define CHECK_REPLY(client, line, reply)                                       \
    test_check_str(cmd_send((client), (line)), (reply), __FILE__, __LINE__,    \
                   (line))

#endif
