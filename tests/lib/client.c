/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the randomized checks share as clients.
 *
 * One thread serves all the connections: libnbd sends and receives what
 * the sockets take without blocking, and poll tells it when to go on.  So
 * the server sees many requests at once, while the check itself needs no
 * locks.
 */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client.h"
#include "serving.h"

/* When no reply comes for so long, the server hangs. */
#define REPLY_SECONDS 120

/* At most this much goes into one request of read_disk. */
#define READ_LENGTH (4 << 20)

void
sleep_microseconds (uint64_t microseconds)
{
  const struct timespec time = {
    .tv_sec = microseconds / 1000000,
    .tv_nsec = microseconds % 1000000 * 1000,
  };

  nanosleep (&time, NULL);
}

uint64_t
now_microseconds (void)
{
  struct timespec time;

  clock_gettime (CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

void
connections_open (struct connections *connections, unsigned count)
{
  connections->idle = 0;
  for (connections->count = 0; connections->count < count; connections->count++)
    connections->nbd[connections->count] = server_connect ();
}

/* Let libnbd go on with one connection: 0, or -1 when it is lost. */
static int
notify (struct nbd_handle *nbd, short happened)
{
  unsigned direction = nbd_aio_get_direction (nbd);

  if ((happened & (POLLIN | POLLHUP | POLLERR)) != 0 &&
      (direction & LIBNBD_AIO_DIRECTION_READ) != 0)
    return nbd_aio_notify_read (nbd);
  if ((happened & (POLLOUT | POLLHUP | POLLERR)) != 0 &&
      (direction & LIBNBD_AIO_DIRECTION_WRITE) != 0)
    return nbd_aio_notify_write (nbd);
  return 0;
}

/* Let all the connections go on, when one of them can within the time.
 * Only a crash of the server loses a connection.
 */
void
connections_wait (struct connections *connections, uint64_t microseconds)
{
  struct pollfd fds[MAX_CONNECTIONS];
  const struct timespec timeout = {
    .tv_sec = microseconds / 1000000,
    .tv_nsec = microseconds % 1000000 * 1000,
  };
  unsigned i, direction;
  int ready;

  for (i = 0; i < connections->count; i++) {
    direction = nbd_aio_get_direction (connections->nbd[i]);
    fds[i].fd = nbd_aio_get_fd (connections->nbd[i]);
    fds[i].events = 0;
    if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0)
      fds[i].events |= POLLIN;
    if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0)
      fds[i].events |= POLLOUT;
  }
  ready = ppoll (fds, connections->count, &timeout, NULL);
  if (ready == -1 && errno == EINTR)
    return;
  if (ready == -1)
    fail ("poll: %s", strerror (errno));
  connections->idle = ready == 0 ? connections->idle + microseconds : 0;
  if (connections->idle > REPLY_SECONDS * UINT64_C (1000000))
    fail ("no reply for %d seconds", REPLY_SECONDS);
  for (i = 0; i < connections->count; i++) {
    if (notify (connections->nbd[i], fds[i].revents) == -1)
      fail ("connection %u: %s", i, nbd_get_error ());
  }
}

/* After the server was killed: take every reply that it had sent, since
 * those count as acknowledged too.
 */
void
connections_drain (struct connections *connections)
{
  struct nbd_handle *nbd;
  unsigned i;

  for (i = 0; i < connections->count; i++) {
    nbd = connections->nbd[i];
    while (nbd_aio_notify_read (nbd) == 0 && !nbd_aio_is_dead (nbd) &&
           !nbd_aio_is_closed (nbd))
      ;
  }
}

void
connections_close (struct connections *connections)
{
  while (connections->count > 0)
    nbd_close (connections->nbd[--connections->count]);
}

uint64_t
first_difference (const char *a, const char *b, uint64_t length)
{
  uint64_t i;

  if (memcmp (a, b, length) == 0)
    return length;
  for (i = 0; a[i] == b[i]; i++)
    ;
  return i;
}

char *
read_disk (struct connections *connections)
{
  char *disk = malloc (settings.size);
  uint64_t offset, length;

  if (disk == NULL)
    fail ("no memory for a disk of this size");
  for (offset = 0; offset < settings.size; offset += length) {
    length = settings.size - offset;
    if (length > READ_LENGTH)
      length = READ_LENGTH;
    if (nbd_pread (connections->nbd[0], disk + offset, length, offset, 0) == -1)
      fail ("read at %llu: %s", (unsigned long long)offset, nbd_get_error ());
  }
  return disk;
}
