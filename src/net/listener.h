/* listener.h - listening sockets on the main loop. */
#ifndef WDB_NET_LISTENER_H
#define WDB_NET_LISTENER_H

struct wdb_net;

/* Listen as the settings say. EIO; *message_out is malloc'ed text. */
int wdb_listener_open_all(struct wdb_net *net, char **message_out);
/* Accept no more. Main thread. */
void wdb_listener_close_all(struct wdb_net *net);

#endif
