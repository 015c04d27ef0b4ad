/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Saving a log that has no name any more: see rescue.h. */

#include <config.h>

#include "engine/checkpoint.h"
#include "sqlite/log.h"
#include "engine/rescue.h"

/* SQLite's PENDING_LOCK, of which it does not publish the number. */
#define LOCK_PENDING 3

/* Keep out who has no lock on the database yet; where we have connections that
 * read, SQLite stops at the lock that does so.
 */
static bool
keep_out (sqlite3_file *database)
{
  int level = SQLITE_LOCK_NONE;

  if (database->pMethods->xLock (database, SQLITE_LOCK_RESERVED) != SQLITE_OK)
    return false;
  database->pMethods->xLock (database, SQLITE_LOCK_EXCLUSIVE);
  return database->pMethods->xFileControl (database, SQLITE_FCNTL_LOCKSTATE,
                                           &level) == SQLITE_OK &&
         level >= LOCK_PENDING;
}

int
rescue_log (struct connection *connection, struct place *place,
            const struct guard_entry *entry, struct status *status)
{
  sqlite3_file *database, *log;
  int rc, r = 0;

  rc = connection_touch (connection, status) == -1
           ? sqlite3_errcode (connection->db)
           : connection_files (connection, &database, &log);
  if (rc != SQLITE_OK)
    return status_fail_sqlite (status, connection->db, rc,
                               "saving what is in the log that was deleted");
  if (keep_out (database) && place_has_lost_log (place)) {
    r = log_rewrite (connection, entry, status);
    if (r == 0)
      r = checkpoint_complete (connection, status);
  }
  database->pMethods->xUnlock (database, SQLITE_LOCK_SHARED);
  if (r == 1)
    place_note_saved (place);
  return r == -1 ? status_prefix (status, "saving what is in the log that was "
                                          "deleted")
                 : r;
}
