/* Checkpointing: see checkpoint.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "checkpoint.h"
#include "clock.h"
#include "log.h"
#include "statistics.h"

/* Rounds of checkpointing while writers go on; fewer when what is left is
 * small, in bytes.
 */
#define ROUNDS            4
#define SMALL_REST(start) ((start) / 16)

/* How long writers may pause for a reader that does not end, in
 * milliseconds.
 */
#define PAUSE_PATIENCE 100

/* How often to try to close a log that others write to. */
#define CLOSE_ATTEMPTS 5

/* How long a writer waits before a transaction when the log is longer than
 * its bound, in nanoseconds.
 */
#define DELAY_PAST_BOUND 50000000

/* How much of the database file is cut off at a time, in bytes: so much
 * takes some 10 ms.
 */
#define CUT_SIZE (INT64_C (64) << 20)

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

/* Run a checkpoint.  Returns a result of SQLite. */
static int
run_checkpoint (struct connection *connection, int mode, int *frames, int *done)
{
  struct status ignored;

  if (connection_touch (connection, &ignored) == -1)
    return sqlite3_errcode (connection->db);
  return sqlite3_wal_checkpoint_v2 (connection->db, "main", mode, frames, done);
}

/* Close the log and empty it.  Others may commit in between, and then it does
 * not begin to be emptied; see marking.h.
 */
static int
close_log (struct connection *connection, struct status *status)
{
  struct marking_end end;
  int frames, done, rc = SQLITE_BUSY_SNAPSHOT;

  for (int i = 0; rc == SQLITE_BUSY_SNAPSHOT && i < CLOSE_ATTEMPTS; i++) {
    if (marking_end_log (connection, MARK_CLOSED, &end, status) == -1 ||
        marking_permit_restart (connection, &end, status) == -1)
      return status->sqlite ? status->sqlite : SQLITE_BUSY;
    rc =
        run_checkpoint (connection, SQLITE_CHECKPOINT_TRUNCATE, &frames, &done);
  }
  return rc;
}

int
checkpoint_complete (struct connection *connection, struct status *status)
{
  int frames, done;
  /* The second keeps writers waiting, so it is to find little to do. */
  int rc =
      run_checkpoint (connection, SQLITE_CHECKPOINT_PASSIVE, &frames, &done);

  if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY)
    rc = close_log (connection, status);
  if (rc == SQLITE_OK)
    return 1;
  if ((rc & 0xff) == SQLITE_BUSY)
    return 0;
  return status_fail_sqlite (status, connection->db, rc,
                             "checkpointing the write-ahead log");
}

/* How long the log is now, in bytes. */
static uint64_t
log_size (struct checkpointer *checkpointer)
{
  uint64_t bytes;

  pthread_mutex_lock (&checkpointer->lock);
  bytes = checkpointer->wal_bytes;
  pthread_mutex_unlock (&checkpointer->lock);
  return bytes;
}

static void
pause_writers (struct checkpointer *checkpointer)
{
  writer_pause (checkpointer->writer);
  checkpointer->pausing = true;
}

static void
resume_writers (struct checkpointer *checkpointer)
{
  if (checkpointer->pausing)
    writer_resume (checkpointer->writer);
  checkpointer->pausing = false;
}

/* A checkpoint that is complete cuts off what is behind the database's end,
 * which takes a second for some GiB, and then whoever reads from the disk
 * waits.  So it goes piece by piece.  Writers append to the log, and this
 * does not keep them from it.
 */
static int
cut_in_pieces (sqlite3_file *file, sqlite3_int64 size)
{
  struct checkpointer *checkpointer =
      (struct checkpointer *)((char *)file->pMethods -
                              offsetof (struct checkpointer, methods));
  sqlite3_int64 now;
  int rc = file->pMethods->xFileSize (file, &now);

  if (checkpointer->may_resume && now > size + CUT_SIZE)
    resume_writers (checkpointer);
  for (; rc == SQLITE_OK && now > size + CUT_SIZE; now -= CUT_SIZE)
    rc = checkpointer->truncate (file, now - CUT_SIZE);
  return rc == SQLITE_OK ? checkpointer->truncate (file, size) : rc;
}

/* Have the connection cut its file in pieces. */
static int
set_up_cutting (struct checkpointer *checkpointer, struct status *status)
{
  sqlite3 *db = checkpointer->connection.db;
  sqlite3_file *file;
  const int rc =
      sqlite3_file_control (db, "main", SQLITE_FCNTL_FILE_POINTER, &file);

  if (rc != SQLITE_OK)
    return status_fail_sqlite (status, db, rc, "opening the database");
  checkpointer->methods = *file->pMethods;
  checkpointer->truncate = file->pMethods->xTruncate;
  checkpointer->methods.xTruncate = cut_in_pieces;
  file->pMethods = &checkpointer->methods;
  return 0;
}

/* Say once that the log has grown past its bound. */
static void
warn_pinned (struct checkpointer *checkpointer)
{
  const uint64_t wal_bytes = log_size (checkpointer);
  char message[256];

  if (checkpointer->warned_pinned || wal_bytes < checkpointer->limits.bound)
    return;
  checkpointer->warned_pinned = true;
  snprintf (message, sizeof message,
            "the write-ahead log has grown to %" PRIu64 " MiB: another "
            "program keeps a read transaction open; end it",
            wal_bytes >> 20);
  checkpointer->warn (message);
}

/* Say once that checkpoints fail. */
static void
warn_failed (struct checkpointer *checkpointer, const struct status *status)
{
  if (checkpointer->warned_failed)
    return;
  checkpointer->warned_failed = true;
  checkpointer->warn (status->message);
}

/* Move what can be moved while writers go on, and sync it, so that little
 * is left to do in the pause: a partial checkpoint does not sync.  Writers
 * are slower in each round than in the one before, so that each finds less
 * to do.  Returns
 * SQLITE_BUSY where a reader keeps it from getting on, so that no pause is
 * worth its while.
 */
static int
run_rounds (struct checkpointer *checkpointer)
{
  sqlite3 *db = checkpointer->connection.db;
  const uint64_t page_size = checkpointer->writer->page_size;
  const uint64_t small = SMALL_REST (checkpointer->limits.start);
  sqlite3_file *file;
  int frames, done, before = -1, rc;

  rc = sqlite3_file_control (db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  for (int i = 0; rc == SQLITE_OK && i < ROUNDS; i++, before = done) {
    atomic_store (&checkpointer->writer->slowness, i);
    rc = run_checkpoint (&checkpointer->connection, SQLITE_CHECKPOINT_PASSIVE,
                         &frames, &done);
    if (rc == SQLITE_OK)
      rc = file->pMethods->xSync (file, SQLITE_SYNC_NORMAL);
    /* The log has grown meanwhile. */
    if (rc == SQLITE_OK && log_size (checkpointer) < done * page_size + small)
      break;
    if (rc == SQLITE_OK && done == before)
      return done < frames ? SQLITE_BUSY : SQLITE_OK;
  }
  return rc;
}

/* Prepare, once, a checkpoint that makes good a failed sync.  Returns a
 * result of SQLite.
 */
static int
prepare_repair (struct checkpointer *checkpointer, unsigned failure,
                struct status *status)
{
  int r;

  if (failure == 0 || checkpointer->prepared == failure)
    return SQLITE_OK;
  pause_writers (checkpointer);
  r = log_rewrite (&checkpointer->connection, &checkpointer->flusher->entry,
                   status);
  if (r == -1 && log_is_damaged (status))
    flusher_give_up (checkpointer->flusher);
  resume_writers (checkpointer);
  if (r == -1)
    return status->sqlite ? status->sqlite : SQLITE_ERROR;
  checkpointer->prepared = failure;
  return SQLITE_OK;
}

/* Is much of the file behind the database's end? */
static bool
has_tail (struct checkpointer *checkpointer)
{
  static const char pages_sql[] = "PRAGMA page_count";
  struct connection *connection = &checkpointer->connection;
  struct status ignored;
  sqlite3_file *file;
  sqlite3_int64 size;
  int64_t pages;

  return sqlite3_file_control (connection->db, "main",
                               SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK &&
         file->pMethods->xFileSize (file, &size) == SQLITE_OK &&
         connection_integer (connection, pages_sql, &pages, &ignored) == 0 &&
         size > pages * checkpointer->writer->page_size + CUT_SIZE;
}

/* Cut that off.  The file is cut by a checkpoint during which nothing is
 * committed, so writers pause; but not while the file is cut (see
 * cut_in_pieces).  Then a little is left to do again.
 */
static int
cut_tail (struct checkpointer *checkpointer)
{
  int frames, done, rc;

  pause_writers (checkpointer);
  checkpointer->may_resume = true;
  rc = run_checkpoint (&checkpointer->connection, SQLITE_CHECKPOINT_PASSIVE,
                       &frames, &done);
  checkpointer->may_resume = false;
  resume_writers (checkpointer);
  return rc == SQLITE_OK ? run_rounds (checkpointer) : rc;
}

/* Put the mark at the end of the log, where the file system has room for it,
 * and let the log start over after it.  Without the mark it starts over as if
 * by another program (marking.h).
 */
static int
end_log (struct checkpointer *checkpointer, int mode, struct status *status)
{
  const enum mark_state state =
      mode == SQLITE_CHECKPOINT_TRUNCATE ? MARK_CLOSED : MARK_ENDED;
  struct marking_end end;
  int r;

  r = writer_end_log (checkpointer->writer, state, PAUSE_PATIENCE, &end,
                      status);
  if (r == -1 && status->error == ENOSPC)
    r = writer_note_log (checkpointer->writer, &end, status);
  if (r == 0)
    r = marking_permit_restart (&checkpointer->connection, &end, status);
  if (r == 0)
    return SQLITE_OK;
  return status->sqlite ? status->sqlite : SQLITE_BUSY;
}

/* A checkpoint in which writers pause only at its end.  Returns a result of
 * SQLite.
 */
static int
run_pausing (struct checkpointer *checkpointer, int mode, struct status *status)
{
  int frames, done, rc = run_rounds (checkpointer);

  if (rc == SQLITE_OK && has_tail (checkpointer))
    rc = cut_tail (checkpointer);
  atomic_store (&checkpointer->writer->slowness, 0);
  if (rc == SQLITE_OK) {
    /* A pause that is for nothing must not come again soon. */
    checkpointer->retry = checkpointer->limits.idle;
    pause_writers (checkpointer);
    rc = end_log (checkpointer, mode, status);
    if (rc == SQLITE_OK)
      rc = run_checkpoint (&checkpointer->connection, mode, &frames, &done);
    resume_writers (checkpointer);
  }
  if (rc != SQLITE_OK)
    status_fail_sqlite (status, checkpointer->connection.db, rc,
                        "checkpointing the write-ahead log");
  return rc;
}

/* Empty the log.  MODE says whether its file is also truncated.  Returns
 * whether that was possible.
 */
static bool
empty_log (struct checkpointer *checkpointer, int mode)
{
  const unsigned failure = flusher_failure (checkpointer->flusher);
  struct status status;
  int rc;

  checkpointer->retry = checkpointer->limits.idle;
  if (place_check (checkpointer->writer->place, &status) == -1)
    return false;
  checkpointer->retry = checkpointer->limits.idle / 10;
  rc = prepare_repair (checkpointer, failure, &status);
  if (rc == SQLITE_OK)
    rc = run_pausing (checkpointer, mode, &status);
  if (rc == SQLITE_OK) {
    checkpointer->warned_pinned = checkpointer->warned_failed = false;
    if (failure)
      flusher_recovered (checkpointer->flusher, failure);
    return true;
  }
  if ((rc & 0xff) == SQLITE_BUSY)
    warn_pinned (checkpointer);
  else {
    if ((rc & 0xff) == SQLITE_IOERR)
      flusher_fail (checkpointer->flusher);
    if (log_is_damaged (&status))
      checkpointer->warned_failed = false; /* of something else */
    warn_failed (checkpointer, &status);
  }
  return false;
}

/* The leader of the writer tells of each commit. */
static void
note_commit (uint64_t wal_bytes, void *opaque)
{
  struct checkpointer *checkpointer = opaque;
  unsigned delay = 0;

  pthread_mutex_lock (&checkpointer->lock);
  if (!checkpointer->stuck) { /* else waiting would not help */
    if (!checkpointer->dirty || wal_bytes > checkpointer->limits.start)
      pthread_cond_signal (&checkpointer->wake);
    if (wal_bytes > checkpointer->limits.bound)
      delay = DELAY_PAST_BOUND;
  }
  checkpointer->dirty = true;
  checkpointer->commits++;
  checkpointer->wal_bytes = wal_bytes;
  pthread_mutex_unlock (&checkpointer->lock);
  statistics_log (checkpointer->writer->statistics, wal_bytes);
  atomic_store (&checkpointer->writer->delay, delay);
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

/* Wait until something is to be done.  Returns the kind of checkpoint, or
 * -1 to stop.  Called with the lock held.
 */
static int
wait_for_work (struct checkpointer *checkpointer)
{
  uint64_t commits;

  while (!checkpointer->stopping) {
    if (flusher_gave_up (checkpointer->flusher)) {
      pthread_cond_wait (&checkpointer->wake, &checkpointer->lock);
      continue;
    }
    /* A log that has outgrown its bound gives its space back; another one
     * is kept, since writing to pages that exist is faster.
     */
    if (checkpointer->wal_bytes > checkpointer->limits.bound)
      return SQLITE_CHECKPOINT_TRUNCATE;
    if (checkpointer->wal_bytes > checkpointer->limits.start ||
        checkpointer->asked)
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

/* One checkpoint.  Called with the lock held; lets go of it meanwhile. */
static void
work (struct checkpointer *checkpointer, int mode)
{
  struct statistics *statistics = checkpointer->writer->statistics;
  const uint64_t commits = checkpointer->commits;
  const uint64_t began = clock_now ();
  bool emptied;

  checkpointer->asked = false;
  pthread_mutex_unlock (&checkpointer->lock);
  reader_pool_suspend (checkpointer->readers);
  emptied = empty_log (checkpointer, mode);
  reader_pool_resume (checkpointer->readers);
  statistics_checkpoint (statistics, began, emptied ? 0 : -1);
  pthread_mutex_lock (&checkpointer->lock);
  checkpointer->stuck = !emptied;
  if (emptied) {
    /* Commits made since the pause report the size of the new log. */
    atomic_store (&checkpointer->writer->delay, 0);
    if (mode == SQLITE_CHECKPOINT_TRUNCATE && commits == checkpointer->commits)
      checkpointer->dirty = false;
    checkpointer->wal_bytes = 0;
    statistics_log (statistics, 0);
  }
  else if (!checkpointer->stopping)
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
checkpointer_open (struct checkpointer *checkpointer, const char *path,
                   struct writer *writer, struct flusher *flusher,
                   struct reader_pool *readers,
                   const struct checkpoint_limits *limits,
                   void (*warn) (const char *message),
                   struct patience *patience, struct status *status)
{
  *checkpointer = (struct checkpointer){
    .writer = writer,
    .flusher = flusher,
    .readers = readers,
    .limits = *limits,
    .warn = warn,
    .dirty = true, /* an earlier server's log may be left */
  };
  if (connection_open (&checkpointer->connection, path, CONNECTION_LOG,
                       patience, status) == -1)
    return -1;
  if (connection_touch (&checkpointer->connection, status) == -1 ||
      set_up_cutting (checkpointer, status) == -1 ||
      place_check (writer->place, status) == -1) {
    connection_close (&checkpointer->connection);
    return -1;
  }
  checkpointer->connection.longest_wait = PAUSE_PATIENCE;
  pthread_mutex_init (&checkpointer->lock, NULL);
  clock_init_condition (&checkpointer->wake);
  writer->committed = note_commit;
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
  pthread_mutex_unlock (&checkpointer->lock);
  pthread_join (checkpointer->thread, NULL);
}

void
checkpointer_close (struct checkpointer *checkpointer)
{
  connection_close (&checkpointer->connection);
  pthread_mutex_destroy (&checkpointer->lock);
  pthread_cond_destroy (&checkpointer->wake);
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
