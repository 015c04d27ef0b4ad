/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the files of the control socket share: control.c has the threads and
 * their sessions, control-socket.c the socket's file, control-calls.c what is
 * done for each call.
 */

#ifndef SQLBLOCK_CONTROL_PARTS_H
#define SQLBLOCK_CONTROL_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/channel.h"
#include "engine/message.h"
#include "manage.h"
#include "status.h"
#include "store.h"

/*--------------------------------------------------------------------
 * The socket's file (control-socket.c).
 */

struct control_socket {
  int fd; /* which listens */
  char *path;
  dev_t device;
  ino_t inode;
};

/* Make it.  Returns 0, or -1 with nothing left. */
int control_socket_make (struct control_socket *made, const char *path,
                         struct status *status);

/* Close it, and remove the file if it is still this one. */
void control_socket_remove (struct control_socket *made);

/*--------------------------------------------------------------------
 * Sessions (control.c).
 */

/* How many disks a client may have open. */
#define SESSION_DISKS 16

/* How a disk was opened, and is to be closed. */
enum opened_by { OPENED_NOT = 0, OPENED, OPENED_PINNED, OPENED_INCOMING };

struct opened {
  enum opened_by by;
  struct disk *disk;

  /* OPENED_INCOMING: what comes in, and what that points to. */
  struct manage_incoming incoming;
  struct optional optional;
  json_t *arguments;
  struct message_memory memory;
};

struct session {
  struct store *store;
  struct clients *clients;    /* all who are at the server */
  struct server_place *place; /* this one among them */
  int64_t since;              /* when the server started */
  struct channel channel;
  struct opened disks[SESSION_DISKS];
  const atomic_bool *stopping; /* the server ends */

  /* Of the client. */
  bool cancelled; /* it wants the call to stop */
  bool broken;    /* it has gone, or nothing that it says is understood */
  bool waiting;   /* a call has stopped for it to make others */

  /* Of the progress of a call. */
  uint64_t done, total;
  bool told;
  uint64_t told_at;
};

/* A call that is being served. */
struct serving {
  struct session *session;
  const json_t *arguments;
  struct message_memory memory;
  struct optional optional; /* freed after the reply */

  void *data; /* bytes that came with it */
  size_t data_length;
  void *reply; /* bytes that go with the reply; freed after it */
  size_t reply_length;
  bool has_results; /* also if it fails */
};

/* A progress_made: OPAQUE is the session. */
int session_progress (uint64_t done, uint64_t total, void *opaque);

/* Tell the client, without waiting, of something that a call has found; FOUND
 * goes with that.
 */
void session_tell (struct session *session, json_t *found);

/* The same, and wait until it has taken that, and serve its other calls until
 * then.  Returns 0, or -1 where it does not want more.
 */
int session_tell_and_wait (struct session *session, json_t *found);

/*--------------------------------------------------------------------
 * Calls (control-calls.c).
 */

/* Does VALUES, a struct of the call's type, what is asked for. */
typedef int (*serve_call) (struct serving *serving, void *values,
                           struct status *status);

struct control_call {
  const struct call_type *type;
  serve_call serve;
};

/* The call NAME, or NULL. */
const struct control_call *control_find_call (const char *name);

/* Close what is open under NUMBER, from 0 on, if something is. */
void control_close_disk (struct session *session, size_t number);

#endif /* SQLBLOCK_CONTROL_PARTS_H */
