/* sockets.h - open listening sockets as the settings say; any thread. */
#ifndef WDB_NET_SOCKETS_H
#define WDB_NET_SOCKETS_H

#include "admin/config.h"

#define WDB_SOCKETS_MAX 17

struct wdb_sockets {
    int fds[WDB_SOCKETS_MAX];
    uint32_t count;
};

/* Listen on all addresses of `bind` at `port`; port 0: on none. All or nothing.
 * EIO; *message_out is malloc'ed text. */
WDB_MUST_CHECK int wdb_sockets_open(const struct wdb_config *config,
                                    struct wdb_sockets *out,
                                    char **message_out);
void wdb_sockets_close(struct wdb_sockets *sockets);
/* Listen on `unixsocket`; *fd_out is -1 if that is unset. As above. */
WDB_MUST_CHECK int wdb_sockets_open_unix(const struct wdb_config *config,
                                         int *fd_out, char **message_out);

#endif
