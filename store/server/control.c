/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The threads of a control socket: see control.h. */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/background.h"
#include "base/clock.h"
#include "server/clients.h"
#include "server/control-parts.h"
#include "server/control.h"

/* How long a client may take, in milliseconds: between two requests, if it has
 * nothing open; to send one that it has begun; the same if it has something
 * open, and to take a part of the reply.  Somebody may have stopped it for a
 * while, or reads page by page what it prints; nobody else waits for it.
 */
#define IDLE_WAIT    60000
#define REQUEST_WAIT 60000
#define LONG_WAIT    3600000

/* How often progress is told, in nanoseconds. */
#define TELL_INTERVAL (100 * CLOCK_MILLISECOND)

/* The most that waits to be told to a client while a call runs, in bytes. */
#define QUEUE_MAX ((size_t)64 << 20)

/* After a failure that will last, such as too many open files. */
#define ACCEPT_AGAIN (100 * CLOCK_MILLISECOND)

/* A session and its thread. */
struct client {
  struct session session;
  pthread_t thread;
  struct control *control;
  atomic_bool ended; /* the thread is about to end */
  struct client *next;
};

struct control {
  struct store *store;
  struct clients *known; /* all who are at the server */
  int64_t since;
  struct control_socket socket;
  struct background acceptor;
  int wake; /* an eventfd: a client has ended, or the server ends */
  atomic_bool stopping;

  /* Of the acceptor, and when that has ended of control_stop. */
  struct client *clients;
  size_t count;
};

/*--------------------------------------------------------------------
 * While a call runs.
 */

/* Take what the client has said meanwhile. */
static void
listen_to_client (struct session *session)
{
  struct status ignored;
  json_t *line;
  const int r = channel_poll (&session->channel, &line, &ignored);

  if (r == 1 && json_is_true (json_object_get (line, "cancel")))
    session->cancelled = true;
  else if (r == 1 || r == -1)
    session->broken = true;
  if (channel_is_gone (&session->channel))
    session->broken = true;
  json_decref (line);
}

/* Tell what progress there was last, if that was not done. */
static void
tell_progress (struct session *session)
{
  struct status status;

  if (session->told)
    return;
  session->told = true;
  session->told_at = clock_now ();
  if (channel_queue (&session->channel,
                     json_pack ("{s:[I, I]}", "progress",
                                (json_int_t)session->done,
                                (json_int_t)session->total),
                     &status) == -1)
    session->broken = true;
}

int
session_progress (uint64_t done, uint64_t total, void *opaque)
{
  struct session *session = opaque;
  struct status ignored;

  session->done = done;
  session->total = total;
  session->told = false;
  listen_to_client (session);
  if (session->channel.queued == 0 &&
      clock_now () - session->told_at >= TELL_INTERVAL)
    tell_progress (session);
  if (channel_push (&session->channel, &ignored) == -1)
    session->broken = true;
  return session->cancelled || session->broken ||
         atomic_load (session->stopping);
}

void
session_tell (struct session *session, json_t *found)
{
  struct status ignored;

  if (channel_queue (&session->channel, json_pack ("{s:o}", "found", found),
                     &ignored) == -1 ||
      channel_push (&session->channel, &ignored) == -1 ||
      session->channel.queued > QUEUE_MAX)
    session->broken = true;
}

/*--------------------------------------------------------------------
 * Requests.
 */

static bool
has_disks (const struct session *session)
{
  for (size_t i = 0; i < SESSION_DISKS; i++)
    if (session->disks[i].by != OPENED_NOT)
      return true;
  return false;
}

/* How long the client may take to send a request. */
static int
request_wait (const struct session *session)
{
  return has_disks (session) ? LONG_WAIT : REQUEST_WAIT;
}

/* A call fails; always returns -1. */
static int
queue_failure (struct session *session, const struct status *failure,
               json_t *result)
{
  json_t *error = message_write_status (failure);
  json_t *reply = error ? json_pack ("{s:o}", "error", error) : NULL;
  struct status status;

  if (reply && result)
    json_object_set (reply, "result", result);
  json_decref (result);
  if (channel_queue (&session->channel, reply, &status) == -1)
    session->broken = true;
  return -1;
}

/* Queue the reply of a call that has returned R. */
static void
queue_reply (struct serving *serving, const struct call_type *type,
             const void *values, int r, struct status *status)
{
  struct session *session = serving->session;
  json_t *result = NULL, *reply;

  if (r == 0 || serving->has_results) {
    result = message_write (type->fields, type->results, values);
    if (result == NULL)
      r = status_no_memory (status);
  }
  if (r == -1) {
    queue_failure (session, status, result);
    return;
  }
  reply = json_pack ("{s:o}", "result", result);
  if (reply && serving->reply)
    json_object_set_new (reply, "bytes", json_integer (serving->reply_length));
  if (channel_queue (&session->channel, reply, status) == -1 ||
      channel_queue_bytes (&session->channel, serving->reply,
                           serving->reply ? serving->reply_length : 0,
                           status) == -1)
    session->broken = true;
}

/* Read the arguments, make the call and queue its reply. */
static void
make_call (struct serving *serving, const struct control_call *call)
{
  const struct call_type *type = call->type;
  struct session *session = serving->session;
  void *values = calloc (1, type->size);
  struct status status;
  int r;

  if (values == NULL)
    r = status_no_memory (&status);
  else if (message_read (type->fields, type->arguments, true,
                         serving->arguments, values, &serving->memory,
                         &status) == -1)
    r = status_prefix (&status, "arguments of %s", type->name);
  else {
    session->told = true;
    session->told_at = 0;
    clients_tell (session->place, type->name);
    r = call->serve (serving, values, &status);
    clients_tell (session->place, NULL);
    if (!session->broken)
      tell_progress (session);
  }
  queue_reply (serving, type, values, r, &status);
  optional_free (&serving->optional);
  message_memory_free (&serving->memory);
  free (serving->reply);
  free (values);
}

/* Read the bytes that come with the request LINE, so that the next one can be
 * read whatever becomes of this one.
 */
static int
read_data (struct serving *serving, const json_t *line, struct status *status)
{
  const json_t *bytes = json_object_get (line, "bytes");
  const json_int_t length = json_integer_value (bytes);

  if (bytes == NULL)
    return 0;
  if (!json_is_integer (bytes) || length < 0 ||
      (size_t)length > CHANNEL_BYTES_MAX)
    return status_fail (status, E2BIG,
                        "at most %zu bytes can come with a request",
                        CHANNEL_BYTES_MAX);
  serving->data = malloc (length ? length : 1);
  if (serving->data == NULL)
    return status_no_memory (status);
  serving->data_length = length;
  return channel_read_bytes (&serving->session->channel, serving->data, length,
                             request_wait (serving->session), status);
}

/* Serve the request LINE, and send the reply. */
static void
serve_line (struct session *session, json_t *line)
{
  const char *name = json_string_value (json_object_get (line, "call"));
  const struct control_call *call = name ? control_find_call (name) : NULL;
  json_t *arguments = json_object_get (line, "arguments");
  struct serving serving = { .session = session, .arguments = arguments };
  struct status status;

  if (read_data (&serving, line, &status) == -1) {
    queue_failure (session, &status, NULL);
    session->broken = true;
  }
  else if (call == NULL) {
    status_fail (&status, name ? ENOTSUP : EINVAL,
                 name ? "this server does not know the call '%.100s'"
                      : "there is no call in the request%s",
                 name ? name : "");
    queue_failure (session, &status, NULL);
  }
  else if (!json_is_object (arguments)) {
    status_fail (&status, EINVAL, "there are no arguments of %s", name);
    queue_failure (session, &status, NULL);
  }
  else
    make_call (&serving, call);
  free (serving.data);
  if (channel_flush (&session->channel, LONG_WAIT, &status) == -1)
    session->broken = true;
}

/* Serve the client until it wants the call that waits for it to go on. */
static int
wait_for_client (struct session *session)
{
  struct status ignored;
  json_t *line;
  int r;

  while (!session->broken && !session->cancelled &&
         !atomic_load (session->stopping)) {
    r = channel_read (&session->channel, CHANNEL_EVER, LONG_WAIT, &line,
                      &ignored);
    /* One that has said its last can only take what comes. */
    if (r == 0 && !channel_is_gone (&session->channel) &&
        !atomic_load (session->stopping))
      return 0;
    if (r == 1 && json_is_true (json_object_get (line, "continue"))) {
      json_decref (line);
      return 0;
    }
    if (r == 1 && json_is_true (json_object_get (line, "cancel")))
      session->cancelled = true;
    else if (r == 1)
      serve_line (session, line);
    else
      session->broken = true;
    json_decref (line);
  }
  return -1;
}

int
session_tell_and_wait (struct session *session, json_t *found)
{
  struct status ignored;
  int r = -1;

  if (channel_queue (&session->channel,
                     json_pack ("{s:o, s:b}", "found", found, "waiting", 1),
                     &ignored) == -1 ||
      channel_flush (&session->channel, LONG_WAIT, &ignored) == -1)
    session->broken = true;
  else {
    session->waiting = true;
    r = wait_for_client (session);
    session->waiting = false;
  }
  return r;
}

/*--------------------------------------------------------------------
 * Sessions.
 */

/* Is the client this user, or root?  Then it is at the server. */
static int
check_user (struct session *session, struct status *status)
{
  struct server_client client = { .command = true, .since = time (NULL) };
  struct ucred peer;
  socklen_t length = sizeof peer;

  if (getsockopt (session->channel.fd, SOL_SOCKET, SO_PEERCRED, &peer,
                  &length) == 0 &&
      (peer.uid == geteuid () || peer.uid == 0)) {
    client.process = peer.pid;
    client.user = peer.uid;
    session->place = clients_add (session->clients, &client);
    return 0;
  }
  return status_fail (status, EACCES,
                      "only the user of the server and root may manage it");
}

/* Serve requests until the client ends, or is not understood. */
static void
serve_requests (struct session *session)
{
  struct status status;
  json_t *line;
  int r = 1;

  while (r == 1 && !session->broken && !atomic_load (session->stopping)) {
    r = channel_read (&session->channel,
                      has_disks (session) ? CHANNEL_EVER : IDLE_WAIT,
                      request_wait (session), &line, &status);
    if (r == 1) {
      session->cancelled = false;
      /* One that comes when its call has ended already. */
      if (!json_is_true (json_object_get (line, "cancel")))
        serve_line (session, line);
    }
    json_decref (line);
  }
  if (r == -1) {
    queue_failure (session, &status, NULL);
    channel_push (&session->channel, &status);
  }
}

static void *
run (void *opaque)
{
  struct client *client = opaque;
  struct session *session = &client->session;
  struct status status;

  if (check_user (session, &status) == 0)
    serve_requests (session);
  else {
    queue_failure (session, &status, NULL);
    channel_push (&session->channel, &status);
  }
  for (size_t i = 0; i < SESSION_DISKS; i++)
    control_close_disk (session, i);
  clients_remove (session->place);
  shutdown (session->channel.fd, SHUT_RDWR);
  atomic_store (&client->ended, true);
  eventfd_write (client->control->wake, 1);
  return NULL;
}

/* Start the session of the client FD. */
static void
start_client (struct control *control, int fd)
{
  struct client *client = calloc (1, sizeof *client);

  if (client == NULL) {
    close (fd);
    return;
  }
  client->control = control;
  client->session.store = control->store;
  client->session.clients = control->known;
  client->session.since = control->since;
  client->session.stopping = &control->stopping;
  channel_init (&client->session.channel, fd, CHANNEL_REQUEST_MAX);
  if (pthread_create (&client->thread, NULL, run, client) != 0) {
    channel_close (&client->session.channel);
    free (client);
    return;
  }
  client->next = control->clients;
  control->clients = client;
  control->count++;
}

/* Free the clients that have ended; or with ALL, wait until they have. */
static void
reap (struct control *control, bool all)
{
  struct client **link = &control->clients, *client;

  while ((client = *link) != NULL) {
    if (!all && !atomic_load (&client->ended)) {
      link = &client->next;
      continue;
    }
    *link = client->next;
    control->count--;
    pthread_join (client->thread, NULL);
    channel_close (&client->session.channel);
    free (client);
  }
}

/*--------------------------------------------------------------------
 * The acceptor.
 */

static void
accept_client (struct control *control)
{
  const int fd = accept4 (control->socket.fd, NULL, NULL, SOCK_CLOEXEC);

  if (fd >= 0)
    start_client (control, fd);
  else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
    background_sleep (&control->acceptor, ACCEPT_AGAIN);
}

static void *
accept_clients (void *opaque)
{
  struct control *control = opaque;
  struct pollfd fds[] = {
    { .fd = control->wake, .events = POLLIN },
    { .fd = control->socket.fd, .events = POLLIN },
  };
  eventfd_t woken;

  while (!atomic_load (&control->stopping)) {
    /* Where there are many, others wait. */
    if (poll (fds, control->count < CONTROL_CLIENTS ? 2 : 1, -1) == -1)
      continue;
    if (fds[0].revents && eventfd_read (control->wake, &woken) == 0)
      reap (control, false);
    else if (fds[1].revents && control->count < CONTROL_CLIENTS)
      accept_client (control);
    fds[1].revents = 0;
  }
  return NULL;
}

struct control *
control_start (struct store *store, struct clients *clients, const char *path,
               struct status *status)
{
  struct control *control = calloc (1, sizeof *control);

  if (control == NULL) {
    status_no_memory (status);
    return NULL;
  }
  control->store = store;
  control->known = clients;
  control->since = time (NULL);
  control->wake = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (control->wake == -1) {
    status_fail (status, errno, "the control socket: %s", strerror (errno));
    free (control);
    return NULL;
  }
  if (control_socket_make (&control->socket, path, status) == 0) {
    if (background_start (&control->acceptor, accept_clients, control,
                          status) == 0)
      return control;
    control_socket_remove (&control->socket);
  }
  close (control->wake);
  free (control);
  return NULL;
}

void
control_stop (struct control *control)
{
  atomic_store (&control->stopping, true);
  eventfd_write (control->wake, 1);
  background_stop (&control->acceptor);
  for (struct client *client = control->clients; client; client = client->next)
    shutdown (client->session.channel.fd, SHUT_RDWR);
  reap (control, true);
  control_socket_remove (&control->socket);
  close (control->wake);
  free (control);
}
