/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* One end of the connection between a command and a server: lines of JSON on a
 * unix socket, some with bytes behind them.
 *
 *   {"call": "disk_read", "arguments": {...}}\n
 *   {"result": {}, "bytes": 4096}\n and 4096 bytes
 *
 * The other end may be slow, stopped or hostile.  So nothing waits for it
 * longer than it was told to, a line has a bound, and what is to be written
 * beside work goes into a queue, which is emptied as far as that does not wait.
 */

#ifndef SQLBLOCK_CHANNEL_H
#define SQLBLOCK_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "status.h"

/* The most bytes of a request's line, enough for 100,000 snapshots, and of what
 * is behind a line; a reply is as long as what it tells of.
 */
#define CHANNEL_REQUEST_MAX ((size_t)8 << 20)
#define CHANNEL_BYTES_MAX   ((size_t)4 << 20)

/* Wait as long as it takes. */
#define CHANNEL_EVER (-1)

/* Thread rules: one thread at a time. */
struct channel {
  int fd;
  size_t most; /* bytes of a line that comes; 0: any number */

  /* What has come and is not taken: room[start] to room[end]. */
  char *room;
  size_t start, end, size;

  /* What is to go. */
  char *queue;
  size_t queued, queue_size;

  /* Where not NULL: asked when a signal interrupts waiting; non-zero has that
   * end with ECANCELED.
   */
  int (*interrupted) (void *opaque);
  void *opaque;
};

/* FD, a socket, is closed by channel_close. */
void channel_init (struct channel *channel, int fd, size_t most);
void channel_close (struct channel *channel);

/* Read a line: wait FIRST milliseconds for its first byte, and REST for all
 * others.  *JSON is a new object.  Returns 1; 0 where the other end is closed;
 * -1: ETIMEDOUT, E2BIG, EINVAL for what is no object in JSON, ECONNRESET.
 */
int channel_read (struct channel *channel, int first, int rest, json_t **json,
                  struct status *status);

/* Read LENGTH bytes that follow a line, within MILLISECONDS.  Returns 0, or -1.
 */
int channel_read_bytes (struct channel *channel, void *buffer, size_t length,
                        int milliseconds, struct status *status);

/* Without waiting: has a line come, and is it JSON?  As channel_read, or 2:
 * nothing complete has come yet.
 */
int channel_poll (struct channel *channel, json_t **json,
                  struct status *status);

/* Has the other end gone, and not only said its last? */
bool channel_is_gone (const struct channel *channel);

/* Put JSON, which goes with that, and a newline, or bytes, into the queue.
 * Returns 0, or -1: ENOMEM, also where JSON is NULL.
 */
int channel_queue (struct channel *channel, json_t *json,
                   struct status *status);
int channel_queue_bytes (struct channel *channel, const void *bytes,
                         size_t length, struct status *status);

/* Empty the queue: as far as that does not wait, or all of it, where it may
 * stand still for so many MILLISECONDS.  Returns 0, or -1: ETIMEDOUT, EPIPE.
 */
int channel_push (struct channel *channel, struct status *status);
int channel_flush (struct channel *channel, int milliseconds,
                   struct status *status);

#endif /* SQLBLOCK_CHANNEL_H */
