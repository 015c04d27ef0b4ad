/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The log of a database that Litestream replicates (sqlite/litestream.h).
 *
 * Litestream copies the log, about once a second, checkpoints it and lets it
 * start over; it keeps others from both meanwhile, by a read transaction.  If
 * we did it, in the moment in which it has none, it might miss what was
 * committed last, and would copy the whole database again.  So all that is left
 * to do here is to keep the log short enough.
 *
 *   length of the log
 *     0                     half of it              limits.bound (log-size=)
 *     |------------------------|------------------------|----------------->
 *       writers go at            writers go at the rate    writers wait, for a
 *       full speed               of half the bound in a    second at most with
 *                                second, less and less     each transaction
 *
 * - What Litestream moves in its checkpoint is what was written since the last
 *   one, and writers wait for it: the rate bounds that, too.
 * - A log that stays past its bound is one that nobody looks after.  Then it is
 *   emptied as any other.  Where Litestream does run that fails, unless it is
 *   in the moment without a transaction; then it makes a new copy.
 * - After that nobody is waited for, until somebody else has let the log start
 *   over.
 * - A failed sync, and a lack of space, are as important as ever.
 */

#include <config.h>

#include <time.h>

#include "base/clock.h"
#include "engine/checkpointer-parts.h"
#include "sqlite/litestream.h"

/* How long Litestream may take to let the log start over, in nanoseconds: it
 * looks once a second, and has to copy and to move what is in the log.
 */
#define LITESTREAM_PATIENCE (8 * CLOCK_SECOND)

/* How often to look meanwhile, in nanoseconds. */
#define LOOK_EVERY (5 * CLOCK_MILLISECOND)

/* A log that has just started over does not become longer than this, in bytes,
 * for so long, in nanoseconds.  Litestream leaves one alone that has less than
 * 1000 pages.
 */
#define YOUNG_BYTES (UINT64_C (1000) * 4096)
#define YOUNG_TIME  (250 * CLOCK_MILLISECOND)

/* The longest that a writer is slowed down, in nanoseconds. */
#define LONGEST_PACE (200 * CLOCK_MILLISECOND)

/* Let go of the lock for some time, or until somebody commits past the start
 * of the log, or asks for something.
 */
static void
wait_until (struct checkpointer *checkpointer, uint64_t time)
{
  const struct timespec until = clock_timespec (time);

  pthread_cond_timedwait (&checkpointer->wake, &checkpointer->lock, &until);
}

/* Writers may all wait, and then nobody tells that the log has started over. */
static void
look_at_log (struct checkpointer *checkpointer)
{
  const uint64_t bytes = litestream_log_size (&checkpointer->connection);

  if (bytes < checkpointer->log_bytes) {
    checkpointer->restarted = true;
    checkpointer->log_bytes = bytes;
  }
  if (!checkpointer->restarted)
    return;
  checkpointer->restarted = false;
  checkpointer->unattended = false;
  checkpointer->stuck = false;
  checkpointer->failing_since = 0;
  checkpointer->warned_pinned = false;
  pthread_cond_broadcast (&checkpointer->made);
}

int
checkpointer_watch_litestream (struct checkpointer *checkpointer)
{
  const uint64_t bound = checkpointer->limits.bound;

  look_at_log (checkpointer);
  checkpointer->asked = false;
  if (checkpointer->log_bytes <= bound) {
    checkpointer->past_since = 0;
    pthread_cond_wait (&checkpointer->wake, &checkpointer->lock);
    return 0;
  }
  if (checkpointer->past_since == 0)
    checkpointer->past_since = clock_now ();
  if (checkpointer->unattended ||
      clock_now () - checkpointer->past_since >= LITESTREAM_PATIENCE)
    return SQLITE_CHECKPOINT_TRUNCATE;
  wait_until (checkpointer, clock_now () + LOOK_EVERY);
  return 0;
}

/* Up to here the log grows at full speed. */
static uint64_t
free_of (const struct checkpoint_limits *limits)
{
  return limits->bound / 2;
}

/* How long a writer waits after the log has grown by GROWN bytes, to BYTES. */
static uint64_t
pace_of (const struct checkpoint_limits *limits, uint64_t grown, uint64_t bytes)
{
  const uint64_t room = bytes < limits->bound ? limits->bound - bytes : 0;
  const double pace = room ? (double)grown / room * CLOCK_SECOND : LONGEST_PACE;

  return pace < LONGEST_PACE ? pace : LONGEST_PACE;
}

/* How long a log that is YOUNG nanoseconds old, and BYTES long, is to stay so.
 */
static uint64_t
time_to_grow (uint64_t young, uint64_t bytes)
{
  return bytes > YOUNG_BYTES && young < YOUNG_TIME ? YOUNG_TIME - young : 0;
}

void
checkpointer_pace (struct checkpointer *checkpointer)
{
  uint64_t bytes, paced, pace;

  pthread_mutex_lock (&checkpointer->lock);
  bytes = checkpointer->log_bytes;
  paced = checkpointer->paced;
  checkpointer->paced = bytes;
  pace = time_to_grow (clock_now () - checkpointer->restarted_at, bytes);
  if (bytes > paced && paced > 0 && bytes > free_of (&checkpointer->limits) &&
      !checkpointer->stuck && !checkpointer->stopping)
    pace = pace_of (&checkpointer->limits, bytes - paced, bytes);
  pthread_mutex_unlock (&checkpointer->lock);
  if (pace > 0)
    nanosleep (&(struct timespec){ .tv_nsec = pace }, NULL);
}
