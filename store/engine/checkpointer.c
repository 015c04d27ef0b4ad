/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* When the log is emptied: see checkpointer.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "base/clock.h"
#include "base/counters.h"
#include "engine/checkpointer-parts.h"
#include "sqlite/filesystem.h"
#include "sqlite/litestream.h"
#include "sqlite/vfs-room.h"
#include "statistics.h"
#include "store.h"

/* The log takes at most this part of what is free in the file system, but may
 * always have this many bytes.
 */
#define FREE_SHARE  8
#define START_LEAST (UINT64_C (1) << 20)

/* What a transaction takes of the log's bound, at most. */
#define BATCH_SHARE 8

const struct checkpoint_limits checkpoint_limits_default = {
  .start = UINT64_C (64) << 20,
  .bound = UINT64_C (256) << 20,
  .idle = 1000,
};

int
checkpoint_set_bound (struct checkpoint_limits *limits, uint64_t bytes,
                      struct status *status)
{
  if (bytes < CHECKPOINT_BOUND_MIN)
    return status_fail (status, EINVAL,
                        "the write-ahead log cannot be kept shorter than "
                        "%" PRIu64 " bytes",
                        CHECKPOINT_BOUND_MIN);
  limits->bound = bytes;
  limits->start = bytes / 4;
  return 0;
}

uint64_t
checkpoint_share (const struct checkpoint_limits *limits)
{
  return limits->bound / BATCH_SHARE;
}

/* The leader of the writer tells of each commit. */
static void
note_commit (uint64_t log_bytes, void *opaque)
{
  struct checkpointer *checkpointer = opaque;

  pthread_mutex_lock (&checkpointer->lock);
  if (log_bytes < checkpointer->log_bytes) {
    checkpointer->restarted = true;
    checkpointer->restarted_at = clock_now ();
  }
  if (!checkpointer->stuck &&
      (!checkpointer->dirty || log_bytes > checkpointer->start))
    pthread_cond_signal (&checkpointer->wake);
  checkpointer->dirty = true;
  checkpointer->commits++;
  checkpointer->log_bytes = log_bytes;
  atomic_store (&checkpointer->readers->committed, clock_now ());
  pthread_mutex_unlock (&checkpointer->lock);
  statistics_log (checkpointer->writer->statistics, log_bytes);
  atomic_store (&checkpointer->writer->past_bound,
                litestream_is_on (&checkpointer->connection) ||
                    log_bytes > checkpointer->limits.bound);
}

/* The leader waits for the log to get shorter.  Where somebody keeps it from
 * that and does not end, waiting would not help.
 */
static void
await_room (void *opaque)
{
  struct checkpointer *checkpointer = opaque;
  const struct timespec until =
      clock_timespec (clock_now () + OTHERS_PATIENCE * CLOCK_MILLISECOND);
  int r = 0;

  if (litestream_is_on (&checkpointer->connection))
    checkpointer_pace (checkpointer);
  pthread_mutex_lock (&checkpointer->lock);
  while (r == 0 && checkpointer->log_bytes > checkpointer->limits.bound &&
         !checkpointer->stuck && !checkpointer->stopping &&
         !flusher_gave_up (checkpointer->flusher))
    r = pthread_cond_timedwait (&checkpointer->made, &checkpointer->lock,
                                &until);
  pthread_mutex_unlock (&checkpointer->lock);
}

/* The leader has found no space. */
static bool
make_room (void *opaque)
{
  struct checkpointer *checkpointer = opaque;
  uint64_t own;
  bool emptied;

  pthread_mutex_lock (&checkpointer->lock);
  own = ++checkpointer->wanted;
  pthread_cond_signal (&checkpointer->wake);
  while (checkpointer->done < own && !checkpointer->stopping)
    pthread_cond_wait (&checkpointer->made, &checkpointer->lock);
  emptied = checkpointer->done >= own && checkpointer->emptied;
  pthread_mutex_unlock (&checkpointer->lock);
  return emptied;
}

/* Where little is free the log is to be short, so that most of it can hold
 * data.  Called with the lock held.
 */
static void
choose_start (struct checkpointer *checkpointer)
{
  const char *path = checkpointer->writer->connections->place.path;
  uint64_t share = filesystem_free (path) / FREE_SHARE;

  if (share < START_LEAST)
    share = START_LEAST;
  checkpointer->start = checkpointer->limits.start;
  if (checkpointer->start > share)
    checkpointer->start = share;
}

/* Wait, at most for MILLISECONDS, to be woken.  Called with the lock held.
 */
static void
wait_for_wake (struct checkpointer *checkpointer, int milliseconds)
{
  const struct timespec until =
      clock_timespec (clock_now () + milliseconds * CLOCK_MILLISECOND);

  pthread_cond_timedwait (&checkpointer->wake, &checkpointer->lock, &until);
}

/* Tell those who waited for a checkpoint, up to the one who came as number
 * WANTED.  Called with the lock held.
 */
static void
end_wait (struct checkpointer *checkpointer, uint64_t wanted, bool emptied)
{
  checkpointer->done = wanted;
  checkpointer->emptied = emptied;
  pthread_cond_broadcast (&checkpointer->made);
}

/* Wait until something is to be done.  Returns the kind of checkpoint, or
 * -1 to stop.  Called with the lock held.
 */
static int
wait_for_work (struct checkpointer *checkpointer)
{
  uint64_t commits;
  int mode;

  while (!checkpointer->stopping) {
    if (flusher_gave_up (checkpointer->flusher)) {
      end_wait (checkpointer, checkpointer->wanted, false);
      pthread_cond_wait (&checkpointer->wake, &checkpointer->lock);
      continue;
    }
    if (litestream_is_on (&checkpointer->connection) &&
        !flusher_failure (checkpointer->flusher) &&
        checkpointer->wanted == checkpointer->done) {
      mode = checkpointer_watch_litestream (checkpointer);
      if (mode)
        return mode;
      continue;
    }
    /* A log that has outgrown its bound gives its space back; another one
     * is kept, since writing to pages that exist is faster.
     */
    if (checkpointer->log_bytes > checkpointer->limits.bound ||
        checkpointer->wanted != checkpointer->done)
      return SQLITE_CHECKPOINT_TRUNCATE;
    if (checkpointer->log_bytes > checkpointer->start || checkpointer->asked)
      return SQLITE_CHECKPOINT_RESTART;
    if (flusher_failure (checkpointer->flusher))
      return SQLITE_CHECKPOINT_TRUNCATE;
    commits = checkpointer->commits;
    if (!checkpointer->dirty)
      pthread_cond_wait (&checkpointer->wake, &checkpointer->lock);
    else {
      wait_for_wake (checkpointer, checkpointer->limits.idle);
      if (commits == checkpointer->commits && !checkpointer->stopping)
        return SQLITE_CHECKPOINT_TRUNCATE;
    }
  }
  return -1;
}

/* Where somebody else has emptied the log, nobody keeps it from that, however
 * often we have come at the wrong moment.  Called with the lock held.
 */
static void
look_at_others (struct checkpointer *checkpointer)
{
  if (checkpointer->restarted)
    checkpointer->failing_since = 0;
  checkpointer->restarted = false;
}

/* One checkpoint.  Called with the lock held; lets go of it meanwhile. */
static void
work (struct checkpointer *checkpointer, int mode)
{
  struct statistics *statistics = checkpointer->writer->statistics;
  const struct checkpoint_limits *limits = &checkpointer->limits;
  const uint64_t commits = checkpointer->commits;
  const uint64_t wanted = checkpointer->wanted;
  const uint64_t began = clock_now ();
  struct status ignored;
  bool emptied;

  checkpointer->asked = false;
  look_at_others (checkpointer);
  pthread_mutex_unlock (&checkpointer->lock);
  litestream_find (&checkpointer->connection, &ignored);
  reader_pool_suspend (checkpointer->readers);
  emptied = checkpointer_empty_log (checkpointer, mode);
  reader_pool_resume (checkpointer->readers);
  if (emptied && mode == SQLITE_CHECKPOINT_TRUNCATE)
    vfs_room_refill (checkpointer->connection.db);
  statistics_checkpoint (statistics, began, emptied ? 0 : -1);
  pthread_mutex_lock (&checkpointer->lock);
  look_at_others (checkpointer);
  checkpointer->stuck = checkpointer_is_pinned (checkpointer);
  if (!checkpointer->stuck && checkpointer->retry > limits->idle / 10)
    checkpointer->retry = limits->idle / 10;
  choose_start (checkpointer);
  if (emptied) {
    /* Commits made since the pause report the size of the new log. */
    atomic_store (&checkpointer->writer->past_bound, false);
    if (mode == SQLITE_CHECKPOINT_TRUNCATE && commits == checkpointer->commits)
      checkpointer->dirty = false;
    checkpointer->log_bytes = 0;
    checkpointer->unattended = true;
    statistics_log (statistics, 0);
  }
  end_wait (checkpointer, wanted, emptied);
  if (!emptied && !checkpointer->stopping)
    wait_for_wake (checkpointer, checkpointer->retry);
}

static void *
run (void *opaque)
{
  struct checkpointer *checkpointer = opaque;
  int mode;

  pthread_mutex_lock (&checkpointer->lock);
  while ((mode = wait_for_work (checkpointer)) != -1)
    work (checkpointer, mode);
  pthread_mutex_unlock (&checkpointer->lock);
  return NULL;
}

int
checkpointer_open (struct checkpointer *checkpointer, struct writer *writer,
                   struct flusher *flusher, struct reader_pool *readers,
                   const struct checkpoint_limits *limits,
                   void (*warn) (const char *message), struct status *status)
{
  *checkpointer = (struct checkpointer){
    .writer = writer,
    .flusher = flusher,
    .readers = readers,
    .limits = *limits,
    .warn = warn,
    .dirty = true, /* an earlier server's log may be left */
  };
  if (connections_open_another (writer->connections, &checkpointer->connection,
                                CONNECTION_LOG, 0, status) == -1)
    return -1;
  if (connection_touch (&checkpointer->connection, status) == -1 ||
      place_check (&writer->connections->place, status) == -1) {
    connection_close (&checkpointer->connection);
    return -1;
  }
  checkpointer->connection.longest_wait = PAUSE_PATIENCE;
  pthread_mutex_init (&checkpointer->lock, NULL);
  clock_init_condition (&checkpointer->wake);
  clock_init_condition (&checkpointer->made);
  choose_start (checkpointer);
  if (writer->batch_bytes > checkpoint_share (limits))
    writer->batch_bytes = checkpoint_share (limits);
  writer->committed = note_commit;
  writer->make_room = make_room;
  writer->await_room = await_room;
  writer->opaque = checkpointer;
  return 0;
}

int
checkpointer_start (struct checkpointer *checkpointer, struct status *status)
{
  if (pthread_create (&checkpointer->thread, NULL, run, checkpointer) != 0)
    return status_fail (status, EAGAIN, "cannot start a thread");
  return 0;
}

void
checkpointer_stop (struct checkpointer *checkpointer)
{
  pthread_mutex_lock (&checkpointer->lock);
  checkpointer->stopping = true;
  pthread_cond_signal (&checkpointer->wake);
  pthread_cond_broadcast (&checkpointer->made);
  pthread_mutex_unlock (&checkpointer->lock);
  pthread_join (checkpointer->thread, NULL);
}

void
checkpointer_close (struct checkpointer *checkpointer)
{
  connection_close (&checkpointer->connection);
  pthread_mutex_destroy (&checkpointer->lock);
  pthread_cond_destroy (&checkpointer->wake);
  pthread_cond_destroy (&checkpointer->made);
}

void
checkpointer_wake (struct checkpointer *checkpointer)
{
  pthread_mutex_lock (&checkpointer->lock);
  pthread_cond_signal (&checkpointer->wake);
  pthread_mutex_unlock (&checkpointer->lock);
}

void
checkpointer_ask (struct checkpointer *checkpointer)
{
  pthread_mutex_lock (&checkpointer->lock);
  checkpointer->asked = true;
  pthread_cond_signal (&checkpointer->wake);
  pthread_mutex_unlock (&checkpointer->lock);
}
