/* listener.h - listening sockets on the main loop. */
#ifndef WDB_NET_LISTENER_H
#define WDB_NET_LISTENER_H

#include <stddef.h>

#include "base/attributes.h"

struct wdb_net;

/* Listen as the settings say. EIO; *message_out is malloc'ed text. Main
 * thread. */
WDB_MUST_CHECK int wdb_listener_open_all(struct wdb_net *net,
                                         char **message_out);
/* The setting `port` changed: open the sockets, the main loop goes over to them
 * soon. EIO, text in error: everything is as before. Any thread, one at a
 * time. */
WDB_MUST_CHECK int wdb_listener_change_port(struct wdb_net *net, char *error,
                                            size_t error_size);
/* Accept no more. Main thread; the loop has to run once more. */
void wdb_listener_close_all(struct wdb_net *net);

#endif
