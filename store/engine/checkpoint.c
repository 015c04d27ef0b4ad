/* Checkpointing: see checkpoint.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>

#include "engine/checkpoint.h"
#include "base/clock.h"
#include "sqlite/log.h"
#include "base/counters.h"
#include "sqlite/vfs_room.h"
#include "store.h"
#include "engine/rescue.h"
#include "statistics.h"

/* Rounds of checkpointing while writers go on; fewer when what is left is
 * small, in bytes.
 */
#define ROUNDS            4
#define SMALL_REST(start) ((start) / 16)

/* How long a checkpoint may wait for a reader that does not end, in
 * milliseconds: longer than one of ours keeps a transaction, in whatever
 * process.
 */
#define PAUSE_PATIENCE (READER_KEEP * 3 / 2 + 30)

/* How often to try to close a log that others write to. */
#define CLOSE_ATTEMPTS 5

/* How long it may wait for a checkpoint of another process, and a writer for
 * the log to get shorter than its bound, in milliseconds.
 */
#define OTHERS_PATIENCE 1000

/* A checkpoint that has not succeeded for so long, in milliseconds, is kept
 * from it by a reader that is none of ours.
 */
#define STUCK_AFTER 2000

/* How often it looks meanwhile, in nanoseconds. */
#define LOOK_AGAIN 5000000

/* The log takes so much of what is free in the file system, but may have so
 * many bytes.
 */
#define FREE_SHARE  8
#define START_LEAST (UINT64_C (1) << 20)

/* What a transaction takes of the log's bound. */
#define BATCH_SHARE 8

/* How much of the database file is cut off at a time, in bytes: so much
 * takes some 10 ms.
 */
#define CUT_SIZE (INT64_C (64) << 20)

/* How long cutting waits for a transaction to end, in milliseconds. */
#define CUT_PATIENCE 100

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

/* Permit that the log goes which END says, and have it go. */
static int
truncate_log (struct connection *connection, const struct marking_end *end,
              struct status *status)
{
  int frames, done;

  if (marking_permit_restart (connection, end, status) == -1)
    return status->sqlite ? status->sqlite : SQLITE_ERROR;
  return run_checkpoint (connection, SQLITE_CHECKPOINT_TRUNCATE, &frames,
                         &done);
}

/* The same on a full file system, where the log has no room for the mark that
 * closes it: the file says that it is closed before the log goes, since without
 * a log one that is open is refused.
 */
static int
close_without_room (struct connection *connection, struct status *status)
{
  struct status ignored;
  struct marking_end end;
  int frames, done, rc;

  rc = run_checkpoint (connection, SQLITE_CHECKPOINT_PASSIVE, &frames, &done);
  if (rc != SQLITE_OK)
    return rc;
  rc = marking_close_in_file (connection, &end, status) == 0
           ? truncate_log (connection, &end, status)
       : status->sqlite ? status->sqlite
                        : SQLITE_ERROR;
  if (rc != SQLITE_OK)
    marking_reopen_in_file (connection, &end, &ignored);
  return rc;
}

/* Close the log and empty it.  Others may commit in between, and then it does
 * not begin to be emptied; see marking.h.
 */
static int
close_log (struct connection *connection, struct status *status)
{
  struct marking_end end;
  int rc = SQLITE_BUSY_SNAPSHOT;

  for (int i = 0; rc == SQLITE_BUSY_SNAPSHOT && i < CLOSE_ATTEMPTS; i++) {
    if (marking_end_log (connection, MARK_CLOSED, &end, status) == -1) {
      if (status->error != ENOSPC)
        return status->sqlite ? status->sqlite : SQLITE_BUSY;
      rc = close_without_room (connection, status);
      continue;
    }
    rc = truncate_log (connection, &end, status);
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

/* Let writers go on for a moment, inside of a checkpoint.  The leader may wait
 * for the end of that, to put a mark into the file (marking.h): then it is not
 * waited for, nor does it keep the file from being cut.
 */
static void
let_writers_go_on (struct checkpointer *checkpointer, uint64_t nanoseconds)
{
  resume_writers (checkpointer);
  nanosleep (&(struct timespec){ .tv_nsec = nanoseconds }, NULL);
  checkpointer->pausing = writer_try_pause (checkpointer->writer, CUT_PATIENCE);
}

/* A checkpoint that is complete cuts off what is behind the database's end,
 * which takes a second for some GiB, and then whoever reads from the disk
 * waits.  So it goes piece by piece.  A piece is not cut while somebody writes
 * (vfs_room.h), so between them writers go on.
 */
static int
cut_in_pieces (sqlite3_file *file, sqlite3_int64 size)
{
  struct checkpointer *checkpointer =
      (struct checkpointer *)((char *)file->pMethods -
                              offsetof (struct checkpointer, methods));
  sqlite3_int64 now;
  int rc = file->pMethods->xFileSize (file, &now);

  for (; rc == SQLITE_OK && now > size + CUT_SIZE; now -= CUT_SIZE) {
    rc = checkpointer->truncate (file, now - CUT_SIZE);
    if (checkpointer->may_resume)
      let_writers_go_on (checkpointer, LOOK_AGAIN);
  }
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

/* Have checkpoints failed for so long that waiting does not help? */
static bool
is_pinned (const struct checkpointer *checkpointer)
{
  return checkpointer->failing_since != 0 &&
         clock_now () - checkpointer->failing_since >=
             STUCK_AFTER * CLOCK_MILLISECOND;
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

/* A checkpoint of what the readers allow; another process may be making one.
 */
static int
run_passive (struct checkpointer *checkpointer, int *frames, int *done)
{
  const uint64_t until = clock_now () + OTHERS_PATIENCE * CLOCK_MILLISECOND;
  int rc;

  while (((rc = run_checkpoint (&checkpointer->connection,
                                SQLITE_CHECKPOINT_PASSIVE, frames, done)) &
          0xff) == SQLITE_BUSY &&
         clock_now () < until)
    nanosleep (&(struct timespec){ .tv_nsec = LOOK_AGAIN }, NULL);
  return rc;
}

/* The same, and sync the database.  A reader may keep it from getting further
 * than the frame *DONE: then again until it does, unless it takes too long.
 */
static int
run_round (struct checkpointer *checkpointer, int *frames, int *done)
{
  const int before = *done;
  const uint64_t until = clock_now () + PAUSE_PATIENCE * CLOCK_MILLISECOND;
  sqlite3_file *file;
  int rc;

  while ((rc = run_passive (checkpointer, frames, done)) == SQLITE_OK &&
         *done == before && *done < *frames) {
    if (clock_now () >= until)
      return SQLITE_BUSY;
    nanosleep (&(struct timespec){ .tv_nsec = LOOK_AGAIN }, NULL);
  }
  if (rc == SQLITE_OK)
    rc = sqlite3_file_control (checkpointer->connection.db, "main",
                               SQLITE_FCNTL_FILE_POINTER, &file);
  return rc == SQLITE_OK ? file->pMethods->xSync (file, SQLITE_SYNC_NORMAL)
                         : rc;
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
  const uint64_t page_size = checkpointer->writer->page_size;
  const uint64_t small = SMALL_REST (checkpointer->limits.start);
  int frames, done = -1, before, rc = SQLITE_OK;

  for (int i = 0; rc == SQLITE_OK && i < ROUNDS; i++) {
    atomic_store (&checkpointer->writer->slowness, i);
    before = done;
    rc = run_round (checkpointer, &frames, &done);
    /* The log has grown meanwhile. */
    if (log_size (checkpointer) < done * page_size + small || done == before)
      break;
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

/* The checkpoint of the pause: behind a mark that ends the log. */
static int
end_and_checkpoint (struct checkpointer *checkpointer, int mode,
                    struct status *status)
{
  const enum mark_state state =
      mode == SQLITE_CHECKPOINT_TRUNCATE ? MARK_CLOSED : MARK_ENDED;
  struct connection *connection = &checkpointer->connection;
  struct marking_end end;
  int frames, done;

  if (writer_end_log (checkpointer->writer, state, PAUSE_PATIENCE, &end,
                      status) == -1)
    return status->error == ENOSPC ? close_without_room (connection, status)
           : status->sqlite        ? status->sqlite
                                   : SQLITE_BUSY;
  if (marking_permit_restart (connection, &end, status) == -1)
    return SQLITE_ERROR;
  return run_checkpoint (connection, mode, &frames, &done);
}

/* A checkpoint in which writers pause only at its end.  Returns a result of
 * SQLite.
 */
static int
run_pausing (struct checkpointer *checkpointer, int mode, struct status *status)
{
  int rc = run_rounds (checkpointer);

  if (rc == SQLITE_OK && has_tail (checkpointer))
    rc = cut_tail (checkpointer);
  atomic_store (&checkpointer->writer->slowness, 0);
  if (rc == SQLITE_OK) {
    /* A pause that is for nothing must not come again soon. */
    checkpointer->retry = checkpointer->limits.idle;
    pause_writers (checkpointer);
    rc = end_and_checkpoint (checkpointer, mode, status);
    resume_writers (checkpointer);
  }
  if (rc != SQLITE_OK)
    status_fail_sqlite (status, checkpointer->connection.db, rc,
                        "checkpointing the write-ahead log");
  return rc;
}

/* The database is not in its place: if it is only that the log has no name any
 * more, move it into the database.  Returns whether that is done.
 */
static bool
rescue (struct checkpointer *checkpointer)
{
  struct place *place = checkpointer->writer->place;
  struct status status;
  int r;

  if (!place_has_lost_log (place))
    return false;
  pause_writers (checkpointer);
  r = rescue_log (&checkpointer->connection, place,
                  &checkpointer->flusher->entry, &status);
  resume_writers (checkpointer);
  if (r == -1)
    warn_failed (checkpointer, &status);
  return r == 1;
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
    return rescue (checkpointer);
  checkpointer->retry = checkpointer->limits.idle / 10;
  rc = prepare_repair (checkpointer, failure, &status);
  if (rc == SQLITE_OK)
    rc = run_pausing (checkpointer, mode, &status);
  if (rc == SQLITE_OK) {
    checkpointer->warned_pinned = checkpointer->warned_failed = false;
    checkpointer->failing_since = 0;
    if (failure)
      flusher_recovered (checkpointer->flusher, failure);
    return true;
  }
  if (checkpointer->failing_since == 0)
    checkpointer->failing_since = clock_now ();
  if ((rc & 0xff) == SQLITE_BUSY) {
    if (is_pinned (checkpointer))
      warn_pinned (checkpointer);
  }
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

  pthread_mutex_lock (&checkpointer->lock);
  if (wal_bytes < checkpointer->wal_bytes)
    checkpointer->restarted = true;
  if (!checkpointer->stuck &&
      (!checkpointer->dirty || wal_bytes > checkpointer->start))
    pthread_cond_signal (&checkpointer->wake);
  checkpointer->dirty = true;
  checkpointer->commits++;
  checkpointer->wal_bytes = wal_bytes;
  atomic_store (&checkpointer->readers->committed, clock_now ());
  pthread_mutex_unlock (&checkpointer->lock);
  statistics_log (checkpointer->writer->statistics, wal_bytes);
  atomic_store (&checkpointer->writer->past_bound,
                wal_bytes > checkpointer->limits.bound);
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

  pthread_mutex_lock (&checkpointer->lock);
  while (r == 0 && checkpointer->wal_bytes > checkpointer->limits.bound &&
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
  struct statvfs room;
  uint64_t free;

  checkpointer->start = checkpointer->limits.start;
  if (statvfs (sqlite3_db_filename (checkpointer->connection.db, "main"),
               &room) == -1)
    return;
  free = (uint64_t)room.f_bavail * room.f_frsize / FREE_SHARE;
  if (free < START_LEAST)
    free = START_LEAST;
  if (checkpointer->start > free)
    checkpointer->start = free;
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

  while (!checkpointer->stopping) {
    if (flusher_gave_up (checkpointer->flusher)) {
      end_wait (checkpointer, checkpointer->wanted, false);
      pthread_cond_wait (&checkpointer->wake, &checkpointer->lock);
      continue;
    }
    /* A log that has outgrown its bound gives its space back; another one
     * is kept, since writing to pages that exist is faster.
     */
    if (checkpointer->wal_bytes > checkpointer->limits.bound ||
        checkpointer->wanted != checkpointer->done)
      return SQLITE_CHECKPOINT_TRUNCATE;
    if (checkpointer->wal_bytes > checkpointer->start || checkpointer->asked)
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
  bool emptied;

  checkpointer->asked = false;
  look_at_others (checkpointer);
  pthread_mutex_unlock (&checkpointer->lock);
  reader_pool_suspend (checkpointer->readers);
  emptied = empty_log (checkpointer, mode);
  reader_pool_resume (checkpointer->readers);
  if (emptied && mode == SQLITE_CHECKPOINT_TRUNCATE)
    vfs_room_refill (checkpointer->connection.db);
  statistics_checkpoint (statistics, began, emptied ? 0 : -1);
  pthread_mutex_lock (&checkpointer->lock);
  look_at_others (checkpointer);
  checkpointer->stuck = is_pinned (checkpointer);
  if (!checkpointer->stuck && checkpointer->retry > limits->idle / 10)
    checkpointer->retry = limits->idle / 10;
  choose_start (checkpointer);
  if (emptied) {
    /* Commits made since the pause report the size of the new log. */
    atomic_store (&checkpointer->writer->past_bound, false);
    if (mode == SQLITE_CHECKPOINT_TRUNCATE && commits == checkpointer->commits)
      checkpointer->dirty = false;
    checkpointer->wal_bytes = 0;
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
  clock_init_condition (&checkpointer->made);
  choose_start (checkpointer);
  if (writer->batch_bytes > limits->bound / BATCH_SHARE)
    writer->batch_bytes = limits->bound / BATCH_SHARE;
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
