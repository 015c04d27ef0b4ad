/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Checkpointing: see checkpoint.h. */

#include <config.h>

#include <errno.h>

#include "engine/checkpoint.h"
#include "sqlite/marking.h"

/* How often to try to close a log that others write to. */
#define CLOSE_ATTEMPTS 5

int
checkpoint_run (struct connection *connection, int mode, int *frames, int *done)
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
  return checkpoint_run (connection, SQLITE_CHECKPOINT_TRUNCATE, &frames,
                         &done);
}

int
checkpoint_without_room (struct connection *connection, struct status *status)
{
  struct status ignored;
  struct marking_end end;
  int frames, done, rc;

  rc = checkpoint_run (connection, SQLITE_CHECKPOINT_PASSIVE, &frames, &done);
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
      rc = checkpoint_without_room (connection, status);
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
      checkpoint_run (connection, SQLITE_CHECKPOINT_PASSIVE, &frames, &done);

  if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY)
    rc = close_log (connection, status);
  if (rc == SQLITE_OK)
    return 1;
  if ((rc & 0xff) == SQLITE_BUSY)
    return 0;
  return status_fail_sqlite (status, connection->db, rc,
                             "checkpointing the write-ahead log");
}
