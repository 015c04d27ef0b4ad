/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* How the log is emptied while others write: see checkpointer.h.
 *
 *   rounds     checkpoint what readers allow, and sync; writers go on, slower
 *              from round to round
 *   the tail   is cut off in pieces, where much of the file is free
 *   a pause    the log gets a mark that ends it, the small rest is moved, and
 *              the log starts over
 *
 * After a sync that has failed, the log is written again first.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "engine/checkpoint.h"
#include "engine/checkpointer-parts.h"
#include "engine/rescue.h"
#include "sqlite/litestream.h"
#include "sqlite/log.h"
#include "sqlite/marking.h"
#include "sqlite/vfs-room.h"

/* Rounds of checkpointing while writers go on; fewer when what is left is
 * small, in bytes.
 */
#define ROUNDS            4
#define SMALL_REST(start) ((start) / 16)

/* A checkpoint that has not succeeded for so long, in milliseconds, is kept
 * from it by a reader that is none of ours.
 */
#define STUCK_AFTER 2000

/* How often it looks meanwhile, in nanoseconds. */
#define LOOK_AGAIN 5000000

/* How long cutting waits for a transaction to end, in milliseconds. */
#define CUT_PATIENCE 100

/* How long the log is now, in bytes. */
static uint64_t
log_size (struct checkpointer *checkpointer)
{
  uint64_t bytes;

  pthread_mutex_lock (&checkpointer->lock);
  bytes = checkpointer->log_bytes;
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
let_writers_go_on (void *opaque)
{
  struct checkpointer *checkpointer = opaque;

  resume_writers (checkpointer);
  nanosleep (&(struct timespec){ .tv_nsec = LOOK_AGAIN }, NULL);
  checkpointer->pausing = writer_try_pause (checkpointer->writer, CUT_PATIENCE);
}

bool
checkpointer_is_pinned (const struct checkpointer *checkpointer)
{
  return checkpointer->failing_since != 0 &&
         clock_now () - checkpointer->failing_since >=
             STUCK_AFTER * CLOCK_MILLISECOND;
}

/* Say once that the log has grown past its bound. */
static void
warn_pinned (struct checkpointer *checkpointer)
{
  const uint64_t log_bytes = log_size (checkpointer);
  char message[300];

  if (checkpointer->warned_pinned || log_bytes < checkpointer->limits.bound)
    return;
  checkpointer->warned_pinned = true;
  snprintf (message, sizeof message,
            "the write-ahead log has grown to %" PRIu64 " MiB: %s",
            log_bytes >> 20,
            litestream_is_on (&checkpointer->connection)
                ? "Litestream, which is to let it start over, does not; its "
                  "own log may say why, or else another program keeps a read "
                  "transaction open"
                : "another program keeps a read transaction open; end it");
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

  while (((rc = checkpoint_run (&checkpointer->connection,
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
         size > pages * checkpointer->writer->page_size + VFS_ROOM_CUT;
}

/* Cut that off.  SQLite cuts the file only in a checkpoint during which nothing
 * is committed, so writers pause; but while the file is cut they go on between
 * the pieces (vfs-room.h).  Then a little is left to do again.  The checkpoint
 * behind the end of the log would do it as well, but with writers waiting: what
 * they committed meanwhile would keep the log from starting over.
 */
static int
cut_tail (struct checkpointer *checkpointer)
{
  struct connection *connection = &checkpointer->connection;
  int frames, done, rc;

  pause_writers (checkpointer);
  vfs_room_between_cuts (connection->db, let_writers_go_on, checkpointer);
  rc = checkpoint_run (connection, SQLITE_CHECKPOINT_PASSIVE, &frames, &done);
  vfs_room_between_cuts (connection->db, NULL, NULL);
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
    return status->error == ENOSPC
               ? checkpoint_without_room (connection, status)
           : status->sqlite ? status->sqlite
                            : SQLITE_BUSY;
  if (marking_permit_restart (connection, &end, status) == -1)
    return SQLITE_ERROR;
  return checkpoint_run (connection, mode, &frames, &done);
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
  struct place *place = &checkpointer->writer->connections->place;
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

bool
checkpointer_empty_log (struct checkpointer *checkpointer, int mode)
{
  const unsigned failure = flusher_failure (checkpointer->flusher);
  struct status status;
  int rc;

  checkpointer->retry = checkpointer->limits.idle;
  if (place_check (&checkpointer->writer->connections->place, &status) == -1)
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
    if (checkpointer_is_pinned (checkpointer))
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
