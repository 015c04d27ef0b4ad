/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Calls to a server: see remote.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/channel.h"
#include "engine/remote.h"
#include "sqlite/place.h"

const struct field store_fields[] = {
  FIELD (struct store_call, name, "name", TEXT),
  FIELD (struct store_call, database, "database", TEXT),
  FIELD (struct store_call, version, "version", TEXT),
  FIELD_OF (struct store_call, info, "info", message_disk_info),
  FIELD (struct store_call, disk, "disk", UNSIGNED),
  FIELD (struct store_call, readonly, "readonly", BOOL),
  FIELD (struct store_call, one, "one", BOOL),
  FIELD (struct store_call, anew, "anew", BOOL),
  FIELD (struct store_call, offset, "offset", UNSIGNED),
  FIELD (struct store_call, count, "count", UNSIGNED),
  FIELD (struct store_call, length, "length", UNSIGNED),
  FIELD_LIST_OF (struct store_call, disks, disk_count, "disks",
                 message_disk_info),
  FIELD_LIST_OF (struct store_call, snapshots, snapshot_count, "snapshots",
                 message_snapshot_info),
  FIELD_LIST_OF (struct store_call, extents, extent_count, "extents",
                 message_range),
  FIELD_END,
};

#define CALL_DEFINED(name, arguments, results)                                 \
  const struct call_type call_##name = { #name, arguments, results,            \
                                         store_fields,                         \
                                         sizeof (struct store_call) };

EACH_STORE_CALL (CALL_DEFINED)

struct remote {
  struct channel channel;

  /* Of the last call: what its results point to. */
  json_t *reply;
  struct message_memory memory;
};

/* A call that is being made. */
struct calling {
  const struct remote_more *more;
  uint64_t done, total; /* what was told of progress last */
  bool cancelled;       /* the server was asked to stop */
};

int
remote_refuse (struct status *status)
{
  return status_fail (status, ENOTSUP,
                      "this does not work through a server: end the server, "
                      "and try again without its control socket");
}

/*--------------------------------------------------------------------
 * Connecting.
 */

static int
connect_to (const char *socket_path, struct status *status)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int fd;

  if (strlen (socket_path) >= sizeof address.sun_path)
    return status_fail (status, ENAMETOOLONG,
                        "the name of the socket %s is longer than the %zu "
                        "bytes that one may have",
                        socket_path, sizeof address.sun_path - 1);
  strcpy (address.sun_path, socket_path);
  fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect (fd, (struct sockaddr *)&address, sizeof address) == 0)
    return fd;
  status_fail (status, errno,
               "no server answers at the socket %s (%s); without --control, "
               "the database is opened here",
               socket_path, strerror (errno));
  /* No server is what no file is. */
  if (status->error == ECONNREFUSED)
    status->error = ENOENT;
  if (fd >= 0)
    channel_close (&(struct channel){ .fd = fd });
  return -1;
}

/* Nobody else's server is to be told what to do, or to say what there is. */
static int
check_user (int fd, const char *socket_path, struct status *status)
{
  struct ucred peer = { .uid = 0 };
  socklen_t length = sizeof peer;

  if (getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
      (geteuid () == 0 || peer.uid == geteuid () || peer.uid == 0))
    return 0;
  return status_fail (status, EACCES,
                      "the server at the socket %s belongs to another user",
                      socket_path);
}

struct remote *
remote_open (const char *socket_path, const char *path, struct status *status)
{
  char database[PLACE_IDENTITY];
  struct store_call call = { .database = database, .version = PACKAGE_VERSION };
  struct remote *remote;
  int fd;

  if (place_identify (path, database, status) == -1)
    return NULL;
  remote = calloc (1, sizeof *remote);
  if (remote == NULL) {
    status_no_memory (status);
    return NULL;
  }
  fd = connect_to (socket_path, status);
  if (fd == -1) {
    free (remote);
    return NULL;
  }
  channel_init (&remote->channel, fd, 0);
  if (check_user (fd, socket_path, status) == 0 &&
      remote_call (remote, &call_store_open, &call, NULL, status) == 0)
    return remote;
  status_prefix (status, "%s", path);
  remote_close (remote);
  return NULL;
}

static void
forget_reply (struct remote *remote)
{
  json_decref (remote->reply);
  remote->reply = NULL;
  message_memory_free (&remote->memory);
}

void
remote_close (struct remote *remote)
{
  forget_reply (remote);
  channel_close (&remote->channel);
  free (remote);
}

/*--------------------------------------------------------------------
 * Calls.
 */

/* Send a line. */
static int
send_line (struct remote *remote, json_t *line, struct status *status)
{
  if (channel_queue (&remote->channel, line, status) == -1)
    return -1;
  return channel_flush (&remote->channel, CHANNEL_EVER, status);
}

/* Send the request. */
static int
send_request (struct remote *remote, const struct call_type *type,
              const void *values, const struct remote_more *more,
              struct status *status)
{
  json_t *arguments = message_write (type->fields, type->arguments, values);
  json_t *line = arguments ? json_pack ("{s:s, s:o}", "call", type->name,
                                        "arguments", arguments)
                           : NULL;

  if (line && more && more->data)
    json_object_set_new (line, "bytes", json_integer (more->data_length));
  if (channel_queue (&remote->channel, line, status) == -1)
    return -1;
  if (remote->channel.queued > CHANNEL_REQUEST_MAX + 1) { /* with its newline */
    remote->channel.queued = 0;
    return status_fail (status, E2BIG,
                        "this is too much to be asked of a server at once; ask "
                        "for less at a time");
  }
  if (more && more->data &&
      channel_queue_bytes (&remote->channel, more->data, more->data_length,
                           status) == -1)
    return -1;
  return channel_flush (&remote->channel, CHANNEL_EVER, status);
}

/* Ask the server to stop; it then replies soon. */
static int
cancel (struct remote *remote, struct calling *calling, struct status *status)
{
  if (calling->cancelled)
    return 0;
  calling->cancelled = true;
  return send_line (remote, json_pack ("{s:b}", "cancel", 1), status);
}

/* Tell of the progress that was told last.  Returns whether to stop. */
static bool
tell_progress (const struct calling *calling)
{
  const struct remote_more *more = calling->more;

  return more && more->progress &&
         more->progress (calling->done, calling->total, more->opaque) != 0;
}

static int
note_interrupt (void *opaque)
{
  struct calling *calling = opaque;

  return !calling->cancelled && tell_progress (calling);
}

/* Take a line that is no reply yet. */
static int
take_event (struct remote *remote, struct calling *calling, const json_t *line,
            struct status *status)
{
  const json_t *progress = json_object_get (line, "progress");
  const json_t *found = json_object_get (line, "found");
  const struct remote_more *more = calling->more;
  bool stop = false;

  if (progress) {
    calling->done = json_integer_value (json_array_get (progress, 0));
    calling->total = json_integer_value (json_array_get (progress, 1));
    stop = tell_progress (calling);
  }
  if (found && more && more->found && !calling->cancelled)
    stop = more->found (found, more->found_opaque) != 0 || stop;
  if (stop && cancel (remote, calling, status) == -1)
    return -1;
  if (json_is_true (json_object_get (line, "waiting")) && !calling->cancelled)
    return send_line (remote, json_pack ("{s:b}", "continue", 1), status);
  return 0;
}

/* Wait for the next line. */
static int
next_line (struct remote *remote, struct calling *calling, json_t **line,
           struct status *status)
{
  struct channel *channel = &remote->channel;
  int r;

  for (;;) {
    /* What a line calls back may have made another call. */
    channel->interrupted = note_interrupt;
    channel->opaque = calling;
    r = channel_read (channel, CHANNEL_EVER, CHANNEL_EVER, line, status);
    channel->interrupted = NULL;
    if (r == 1)
      return 0;
    if (r == 0)
      return status_fail (status, ECONNRESET, "the server has ended");
    if (status->error != ECANCELED || cancel (remote, calling, status) == -1)
      return -1;
  }
}

/* Take the reply, whose results go to VALUES. */
static int
take_reply (struct remote *remote, const struct call_type *type, void *values,
            const struct remote_more *more, struct status *status)
{
  const json_t *error = json_object_get (remote->reply, "error");
  const json_t *result = json_object_get (remote->reply, "result");
  const size_t bytes =
      json_integer_value (json_object_get (remote->reply, "bytes"));
  const size_t most = more ? more->buffer_length : 0;
  struct status unclear;

  if (result &&
      message_read (type->fields, type->results, false, result, values,
                    &remote->memory, &unclear) == -1 &&
      error == NULL) {
    *status = unclear;
    status->error = EIO;
    return status_prefix (status, "the reply of the server to %s", type->name);
  }
  if (error) {
    message_read_status (error, status);
    return -1;
  }
  if (result == NULL || bytes > most || (bytes < most && more->got == NULL))
    return status_fail (status, EIO, "the server has no answer to %s",
                        type->name);
  if (more && more->got)
    *more->got = bytes;
  return channel_read_bytes (&remote->channel, more ? more->buffer : NULL,
                             bytes, CHANNEL_EVER, status);
}

int
remote_call (struct remote *remote, const struct call_type *type, void *values,
             const struct remote_more *more, struct status *status)
{
  struct calling calling = { .more = more };
  json_t *line;
  int r;

  forget_reply (remote);
  /* One that ends the connection may have said why. */
  if (send_request (remote, type, values, more, status) == -1 &&
      status->error != EPIPE)
    return -1;
  for (;;) {
    if (next_line (remote, &calling, &line, status) == -1)
      return -1;
    if (json_object_get (line, "result") || json_object_get (line, "error"))
      break;
    r = take_event (remote, &calling, line, status);
    json_decref (line);
    if (r == -1)
      return -1;
  }
  forget_reply (remote);
  remote->reply = line;
  return take_reply (remote, type, values, more, status);
}
