/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Lines of JSON on a socket: see channel.h. */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/channel.h"

/* How much is read at a time. */
#define PIECE 65536

void
channel_init (struct channel *channel, int fd, size_t most)
{
  *channel = (struct channel){ .fd = fd, .most = most };
}

void
channel_close (struct channel *channel)
{
  close (channel->fd);
  free (channel->room);
  free (channel->queue);
  *channel = (struct channel){ .fd = -1 };
}

/*--------------------------------------------------------------------
 * Waiting.
 */

/* The other end has gone, or the socket is broken. */
static int
fail_gone (struct status *status)
{
  return status_fail (status, errno == EPIPE ? EPIPE : ECONNRESET,
                      "the connection between command and server has ended");
}

/* When a wait of so many MILLISECONDS ends; 0: never. */
static uint64_t
end_of_wait (int milliseconds)
{
  return milliseconds == CHANNEL_EVER
             ? 0
             : clock_now () + milliseconds * CLOCK_MILLISECOND;
}

/* Wait until the socket has EVENTS, or the time UNTIL. */
static int
wait_until (struct channel *channel, short events, uint64_t until,
            struct status *status)
{
  struct pollfd poll_fd = { .fd = channel->fd, .events = events };
  uint64_t now;
  int r;

  for (;;) {
    now = clock_now ();
    if (until != 0 && now >= until)
      return status_fail (status, ETIMEDOUT,
                          "the other end of the connection was waited for in "
                          "vain");
    r = poll (&poll_fd, 1,
              until == 0 ? -1 : (int)((until - now) / CLOCK_MILLISECOND) + 1);
    if (r > 0)
      return 0;
    if (r == -1 && errno != EINTR)
      return fail_gone (status);
    if (r == -1 && channel->interrupted &&
        channel->interrupted (channel->opaque) != 0)
      return status_fail (status, ECANCELED, "interrupted");
  }
}

/*--------------------------------------------------------------------
 * Reading.
 */

/* Have room for PIECE bytes more. */
static int
make_room (struct channel *channel, struct status *status)
{
  const size_t used = channel->end - channel->start;
  char *room;

  if (channel->size - channel->end >= PIECE)
    return 0;
  if (channel->start >= PIECE) {
    memmove (channel->room, channel->room + channel->start, used);
    channel->start = 0;
    channel->end = used;
    if (channel->size - channel->end >= PIECE)
      return 0;
  }
  room = realloc (channel->room, 2 * channel->size + PIECE);
  if (room == NULL)
    return status_no_memory (status);
  channel->room = room;
  channel->size = 2 * channel->size + PIECE;
  return 0;
}

/* Read what has come.  Returns 1, 0 at the end, 2 where nothing has, -1. */
static int
read_some (struct channel *channel, struct status *status)
{
  ssize_t n;

  if (make_room (channel, status) == -1)
    return -1;
  /* Descriptors that come along are closed by the kernel. */
  n = recv (channel->fd, channel->room + channel->end,
            channel->size - channel->end, MSG_DONTWAIT);
  if (n == -1 && (errno == EAGAIN || errno == EINTR))
    return 2;
  if (n == -1)
    return errno == ECONNRESET ? 0 : fail_gone (status);
  channel->end += n;
  return n > 0;
}

/* The place of the end of the line; NULL where it has not come. */
static char *
find_end (const struct channel *channel, size_t from)
{
  const size_t at = channel->start + from;

  return channel->end > at
             ? memchr (channel->room + at, '\n', channel->end - at)
             : NULL;
}

/* Take the line that ends at END. */
static int
take_line (struct channel *channel, const char *end, json_t **json,
           struct status *status)
{
  const char *line = channel->room + channel->start;
  json_error_t error;

  *json = json_loadb (line, end - line, JSON_REJECT_DUPLICATES, &error);
  channel->start = end + 1 - channel->room;
  if (channel->start == channel->end)
    channel->start = channel->end = 0;
  if (json_is_object (*json))
    return 1;
  json_decref (*json);
  *json = NULL;
  return status_fail (status, EINVAL,
                      "what has come is no object in JSON on one line");
}

static int
check_length (const struct channel *channel, struct status *status)
{
  if (channel->most == 0 || channel->end - channel->start <= channel->most)
    return 0;
  return status_fail (status, E2BIG,
                      "the request is longer than the %zu bytes that one may "
                      "have",
                      channel->most);
}

int
channel_read (struct channel *channel, int first, int rest, json_t **json,
              struct status *status)
{
  uint64_t until = end_of_wait (channel->end > channel->start ? rest : first);
  size_t looked = 0;
  char *end;
  int r;

  *json = NULL;
  while ((end = find_end (channel, looked)) == NULL) {
    looked = channel->end - channel->start;
    if (check_length (channel, status) == -1 ||
        wait_until (channel, POLLIN, until, status) == -1)
      return -1;
    r = read_some (channel, status);
    if (r == -1 || r == 0)
      return r;
    if (looked == 0 && r == 1)
      until = end_of_wait (rest);
  }
  return take_line (channel, end, json, status);
}

int
channel_poll (struct channel *channel, json_t **json, struct status *status)
{
  char *end;
  int r;

  *json = NULL;
  if (check_length (channel, status) == -1)
    return -1;
  r = read_some (channel, status);
  if (r == -1 || r == 0)
    return r;
  end = find_end (channel, 0);
  return end ? take_line (channel, end, json, status) : 2;
}

bool
channel_is_gone (const struct channel *channel)
{
  struct pollfd poll_fd = { .fd = channel->fd };

  return poll (&poll_fd, 1, 0) > 0 &&
         (poll_fd.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

int
channel_read_bytes (struct channel *channel, void *buffer, size_t length,
                    int milliseconds, struct status *status)
{
  const uint64_t until = end_of_wait (milliseconds);
  char *next = buffer;
  size_t part;
  int r = 1;

  while (length > 0 && r != -1) {
    part = channel->end - channel->start;
    part = part < length ? part : length;
    if (part > 0) {
      memcpy (next, channel->room + channel->start, part);
      next += part;
    }
    length -= part;
    channel->start += part;
    if (channel->start == channel->end)
      channel->start = channel->end = 0;
    if (length == 0)
      break;
    r = wait_until (channel, POLLIN, until, status);
    if (r == 0)
      r = read_some (channel, status);
    if (r == 0)
      return status_fail (status, ECONNRESET,
                          "the connection between command and server has "
                          "ended");
  }
  return r == -1 ? -1 : 0;
}

/*--------------------------------------------------------------------
 * Writing.
 */

int
channel_queue_bytes (struct channel *channel, const void *bytes, size_t length,
                     struct status *status)
{
  const size_t needed = channel->queued + length;
  char *queue = channel->queue;

  if (needed > channel->queue_size) {
    queue = realloc (queue, 2 * needed);
    if (queue == NULL)
      return status_no_memory (status);
    channel->queue = queue;
    channel->queue_size = 2 * needed;
  }
  if (length > 0)
    memcpy (queue + channel->queued, bytes, length);
  channel->queued = needed;
  return 0;
}

int
channel_queue (struct channel *channel, json_t *json, struct status *status)
{
  char *line = json ? json_dumps (json, JSON_COMPACT) : NULL;
  int r;

  json_decref (json);
  if (line == NULL)
    return status_no_memory (status);
  r = channel_queue_bytes (channel, line, strlen (line), status);
  free (line);
  return r == 0 ? channel_queue_bytes (channel, "\n", 1, status) : -1;
}

/* Send what goes at once.  Returns how many bytes that were, or -1. */
static ssize_t
send_some (struct channel *channel, size_t from, struct status *status)
{
  const ssize_t n = send (channel->fd, channel->queue + from,
                          channel->queued - from, MSG_NOSIGNAL | MSG_DONTWAIT);

  if (n == -1 && (errno == EAGAIN || errno == EINTR))
    return 0;
  return n == -1 ? fail_gone (status) : n;
}

/* The first SENT bytes of the queue have gone. */
static void
note_sent (struct channel *channel, size_t sent)
{
  channel->queued -= sent;
  if (sent > 0 && channel->queued > 0)
    memmove (channel->queue, channel->queue + sent, channel->queued);
}

int
channel_push (struct channel *channel, struct status *status)
{
  const ssize_t sent = channel->queued > 0 ? send_some (channel, 0, status) : 0;

  if (sent > 0)
    note_sent (channel, sent);
  return sent == -1 ? -1 : 0;
}

int
channel_flush (struct channel *channel, int milliseconds, struct status *status)
{
  size_t from = 0;
  ssize_t sent = 0;

  while (from < channel->queued && sent != -1) {
    sent = send_some (channel, from, status);
    if (sent > 0)
      from += sent;
    else if (sent == 0 && wait_until (channel, POLLOUT,
                                      end_of_wait (milliseconds), status) == -1)
      sent = -1;
  }
  note_sent (channel, from);
  return sent == -1 ? -1 : 0;
}
