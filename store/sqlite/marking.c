/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Writing marks: see marking.h. */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite/connection.h"
#include "sqlite/litestream.h"
#include "sqlite/log.h"
#include "sqlite/log-format.h"
#include "sqlite/marking.h"
#include "sqlite/page.h"
#include "sqlite/vfs-restart.h"
#include "sqlite/vfs-room.h"

/* How often others may come in between when a log is ended. */
#define ATTEMPTS 20

/*--------------------------------------------------------------------
 * The mark by SQL.
 */

static int
read_header (struct connection *connection, unsigned char *header,
             struct status *status)
{
  const int rc = vfs_restart_header (connection->db, header);

  return rc == SQLITE_OK ? 0
                         : status_fail_sqlite (status, connection->db, rc,
                                               "reading the log's index");
}

static int
fail_row (struct status *status)
{
  return status_fail (status, EIO,
                      "the row of the table 'mark' is missing or damaged; see "
                      "'sqlblock check'");
}

static bool
take_blob (sqlite3_stmt *row, int column, unsigned char *bytes, int count)
{
  if (sqlite3_column_bytes (row, column) != count)
    return false;
  memcpy (bytes, sqlite3_column_blob (row, column), count);
  return true;
}

static int
read_mark (struct connection *connection, struct mark *mark,
           struct status *status)
{
  static const char mark_sql[] = "SELECT state, id, previous, salts FROM mark";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, mark_sql, status);
  const int r = row ? connection_step (connection, row, status) : -1;

  if (r == -1)
    return -1;
  if (r == 0 || !take_blob (row, 1, mark->id, sizeof mark->id) ||
      !take_blob (row, 2, mark->previous, sizeof mark->previous) ||
      !take_blob (row, 3, mark->salts, sizeof mark->salts))
    return fail_row (status);
  mark->state = sqlite3_column_int (row, 0);
  return mark->state >= MARK_OPEN && mark->state <= MARK_CLOSED
             ? 0
             : fail_row (status);
}

static int
write_mark (struct connection *connection, const struct mark *mark,
            struct status *status)
{
  static const char write_sql[] =
      "UPDATE mark SET state = ?1, id = ?2, previous = ?3, salts = ?4";
  CLEANUP_STATEMENT sqlite3_stmt *write =
      connection_statement (connection, write_sql, status);

  if (write == NULL)
    return -1;
  sqlite3_bind_int (write, 1, mark->state);
  sqlite3_bind_blob (write, 2, mark->id, sizeof mark->id, SQLITE_STATIC);
  sqlite3_bind_blob (write, 3, mark->previous, sizeof mark->previous,
                     SQLITE_STATIC);
  sqlite3_bind_blob (write, 4, mark->salts, sizeof mark->salts, SQLITE_STATIC);
  connection->marking.changed = true;
  return connection_step (connection, write, status);
}

/* The mark that opens the log after MARK. */
static void
open_after (struct mark *mark)
{
  mark->state = MARK_OPEN;
  memcpy (mark->previous, mark->id, sizeof mark->previous);
  sqlite3_randomness (sizeof mark->id, mark->id);
  memset (mark->salts, 0, sizeof mark->salts);
}

/*--------------------------------------------------------------------
 * The mark in the file.
 */

/* The last id that this process has seen, or put, in a file where it is
 * durable.
 */
static pthread_mutex_t durable_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned char durable_id[MARK_ID_SIZE];

static bool
is_durable (const struct marking *marking)
{
  const unsigned char *id = marking->mark.id;
  bool is = memcmp (marking->durable_id, id, MARK_ID_SIZE) == 0;

  if (is)
    return true;
  pthread_mutex_lock (&durable_lock);
  is = memcmp (durable_id, id, sizeof durable_id) == 0;
  pthread_mutex_unlock (&durable_lock);
  return is;
}

static void
note_durable (struct marking *marking, const struct mark *mark)
{
  memcpy (marking->durable_id, mark->id, sizeof marking->durable_id);
  pthread_mutex_lock (&durable_lock);
  memcpy (durable_id, mark->id, sizeof durable_id);
  pthread_mutex_unlock (&durable_lock);
}

/* What must be done about the mark in PAGE, which is the file's, for MARK,
 * which is open and in the log?  One that cannot be read passes as nothing.
 */
enum putting {
  NOTHING,
  PUT_AGAIN, /* it is there, but may not be durable */
  PUT_FIRST, /* the file passes as complete, or another program has let the log
                start over: it must become durable in the log first */
};

static enum putting
what_to_put (const struct mark *mark, const unsigned char *page,
             uint32_t page_size, bool right)
{
  struct mark old;

  if (!right || !mark_parse (&old, page, page_size))
    return NOTHING;
  /* Others may have ended the log meanwhile, which cannot be taken back.  But
   * who closed it without room for a mark has left it, or was killed.
   */
  if (memcmp (old.id, mark->id, sizeof old.id) == 0)
    return old.state == MARK_ENDED ? NOTHING : PUT_AGAIN;
  return old.state == MARK_CLOSED ||
                 (old.state == MARK_OPEN &&
                  memcmp (old.id, mark->previous, sizeof old.id) == 0)
             ? PUT_FIRST
             : NOTHING;
}

/* Have the file not pass as the one that was closed, before anything else
 * changes in it: PAGE, of the mark, may say that it is closed.
 */
static int
stamp_otherwise (struct connection *connection, const struct mark *mark,
                 const unsigned char *page, uint32_t page_size)
{
  sqlite3_file *below;
  struct mark old;
  uint32_t last = 0;
  int rc = vfs_checksum_below (connection->db, &below);

  if (rc == SQLITE_OK && mark_parse (&old, page, page_size))
    last = mark_last (&old);
  if (last != 0)
    rc = vfs_checksum_stamp (below, last, page_size, mark_stamp (mark));
  /* Others have taken the page from the file: then it is not as it was. */
  return rc == SQLITE_IOERR_SHORT_READ ? SQLITE_OK : rc;
}

/* Write MARK over the one in the file's page. */
static int
replace (sqlite3_file *database, const struct mark *mark, unsigned char *page,
         uint32_t page_size)
{
  const uint32_t start = page_usable (page_size) - MARK_CELL_SIZE;
  int rc;

  mark_format (mark, page + start);
  vfs_checksum_set (page, page_size, MARK_PAGE);
  rc =
      database->pMethods->xWrite (database, page + start, page_size - start,
                                  (int64_t)(MARK_PAGE - 1) * page_size + start);
  return rc == SQLITE_OK
             ? database->pMethods->xSync (database, SQLITE_SYNC_NORMAL)
             : rc;
}

/* Read the page of the mark into PAGE, and say what must be done. */
static int
look_at_page (struct connection *connection, const struct mark *mark,
              unsigned char *page, uint32_t page_size, enum putting *putting)
{
  bool right;
  const int rc =
      vfs_checksum_read (connection->db, MARK_PAGE, page_size, page, &right);

  *putting =
      rc == SQLITE_OK ? what_to_put (mark, page, page_size, right) : NOTHING;
  return rc;
}

static int
lock_checkpoints (sqlite3_file *database, int flags)
{
  return database->pMethods->xShmLock (database, LOG_LOCK_CHECKPOINT, 1,
                                       flags | SQLITE_SHM_EXCLUSIVE);
}

/* After a sync that failed the next one means nothing (flusher.h): first the
 * log must be written again.
 */
static int
sync_log (struct connection *connection, sqlite3_file *log)
{
  const struct patience *patience = connection->patience;

  return patience && atomic_load (&patience->in_doubt)
             ? SQLITE_IOERR_FSYNC
             : log->pMethods->xSync (log, SQLITE_SYNC_NORMAL);
}

/* Is MARK what the database says now?  Others may have ended its log, and begun
 * and ended later ones, and have that in the file.  Returns an SQLite result
 * code.
 */
static int
look_whether_current (struct connection *connection, const struct mark *mark,
                      bool *current)
{
  struct status failed;
  struct mark now;

  if (read_mark (connection, &now, &failed) == -1)
    return failed.sqlite ? failed.sqlite : SQLITE_CORRUPT;
  *current =
      now.state == mark->state && memcmp (now.id, mark->id, sizeof now.id) == 0;
  return SQLITE_OK;
}

/* Put MARK into the file, where it must be; PAGE is room for a page.  Nobody
 * looks without the lock: a checkpoint that runs may be about to write the mark
 * that ends the log before this one.  Returns an SQLite result code.
 */
static int
put_into_file (struct connection *connection, const struct mark *mark,
               unsigned char *page, uint32_t page_size)
{
  sqlite3_file *database, *log;
  int rc = connection_files (connection, &database, &log), attempts = 0;
  enum putting putting = NOTHING;
  bool current = false;

  if (rc != SQLITE_OK)
    return rc;
  do
    rc = lock_checkpoints (database, SQLITE_SHM_LOCK);
  while (rc == SQLITE_BUSY && connection_wait (connection, attempts++));
  if (rc != SQLITE_OK)
    return rc;
  rc = look_whether_current (connection, mark, &current);
  if (current)
    rc = look_at_page (connection, mark, page, page_size, &putting);
  if (rc == SQLITE_OK && putting == PUT_FIRST)
    rc = sync_log (connection, log);
  if (rc == SQLITE_OK && putting != NOTHING)
    rc = stamp_otherwise (connection, mark, page, page_size);
  if (rc == SQLITE_OK && putting != NOTHING)
    rc = replace (database, mark, page, page_size);
  lock_checkpoints (database, SQLITE_SHM_UNLOCK);
  return rc;
}

/* See to it that the file does not pass as complete while the log is MARK's,
 * which is committed.  Called without a transaction.
 */
static int
see_in_file (struct connection *connection, const struct mark *mark,
             struct status *status)
{
  unsigned char *page;
  int64_t page_size;
  int rc;

  if (connection_page_size (connection, &page_size, status) == -1)
    return -1;
  page = malloc (page_size);
  if (page == NULL)
    return status_no_memory (status);
  rc = put_into_file (connection, mark, page, page_size);
  free (page);
  if (rc != SQLITE_OK)
    return status_fail_sqlite (status, connection->db, rc,
                               "marking the database as open");
  note_durable (&connection->marking, mark);
  return 0;
}

/*--------------------------------------------------------------------
 * Opening.
 */

/* Read the mark and the log's salts, in a write transaction. */
static int
read_all (struct connection *connection, struct status *status)
{
  struct marking *marking = &connection->marking;
  unsigned char header[LOG_INDEX_HEADER];

  marking->known = false;
  if (read_header (connection, header, status) == -1 ||
      read_mark (connection, &marking->mark, status) == -1)
    return -1;
  memcpy (marking->salts, header + LOG_INDEX_SALTS, sizeof marking->salts);
  marking->version = connection_state_version (connection);
  marking->known = true;
  return 0;
}

/* Is the mark, which is open, in the log?  Then it is that of the log.  Returns
 * 1, 0, -1.
 */
static int
is_in_log (struct connection *connection, struct status *status)
{
  struct marking *marking = &connection->marking;
  int r;

  if (memcmp (marking->salts, marking->marked, sizeof marking->marked) == 0)
    return 1;
  r = log_has_page (connection, MARK_PAGE, status);
  if (r == 1)
    memcpy (marking->marked, marking->salts, sizeof marking->marked);
  return r;
}

/* Find out the mark in a write transaction.  *FOREIGN says that another program
 * has let the log start over.
 */
static int
find_mark (struct connection *connection, bool *foreign, struct status *status)
{
  struct marking *marking = &connection->marking;
  int r;

  *foreign = false;
  if (marking->known &&
      marking->version == connection_state_version (connection))
    return 0;
  if (read_all (connection, status) == -1)
    return -1;
  if (marking->mark.state != MARK_OPEN)
    return 0;
  r = is_in_log (connection, status);
  if (r == -1)
    marking->known = false;
  *foreign = r == 0;
  return r == -1 ? -1 : 0;
}

/* Open the mark in the transaction that has begun; where it has ended, the log
 * may start over with that.
 */
static int
open_mark (struct connection *connection, struct status *status)
{
  struct marking *marking = &connection->marking;
  const bool may_restart = marking->mark.state != MARK_OPEN;
  struct marking_end end;

  open_after (&marking->mark);
  if (write_mark (connection, &marking->mark, status) == -1 ||
      litestream_count (connection, status) == -1)
    return -1;
  if (!may_restart)
    return 0;
  return marking_note (connection, &end, status) == -1
             ? -1
             : marking_permit_restart (connection, &end, status);
}

/* The transaction that has begun has found the mark.  Returns 1 when it can go
 * on, 0 when it was ended and the next one is to look again, -1.
 */
static int
need_open (struct connection *connection, bool foreign, struct status *status)
{
  struct marking *marking = &connection->marking;
  struct mark mark;

  if (marking->mark.state == MARK_ENDED && is_durable (marking)) {
    if (open_mark (connection, status) == -1)
      return -1;
    /* The file says that it has ended, or at least is not closed. */
    note_durable (marking, &marking->mark);
    return 1;
  }
  if (marking->mark.state != MARK_OPEN || foreign) {
    vfs_room_allow_reserve (connection->db, true);
    if (open_mark (connection, status) == -1 ||
        connection_commit (connection, status) == -1)
      return -1;
  }
  else if (is_durable (marking))
    return 1;
  else
    connection_rollback (connection);
  mark = marking->mark;
  return see_in_file (connection, &mark, status);
}

static int
begin_once (struct connection *connection, struct status *status)
{
  bool foreign;

  if (connection_begin_hold (connection, status) == -1)
    return -1;
  if (litestream_let_restart (connection))
    return 0;
  if (find_mark (connection, &foreign, status) == -1)
    return -1;
  if (foreign && litestream_let_copy (connection))
    return 0;
  return need_open (connection, foreign, status);
}

int
marking_begin (struct connection *connection, struct status *status)
{
  int r;

  if (connection->mode == CONNECTION_CREATE)
    return connection_begin_hold (connection, status);
  while ((r = begin_once (connection, status)) == 0)
    ;
  if (r == -1)
    connection_rollback (connection);
  return r == -1 ? -1 : 0;
}

/*--------------------------------------------------------------------
 * Ending.
 */

/* Is what was found as ended as STATE asks? */
static bool
has_ended (const struct mark *mark, enum mark_state state)
{
  return mark->state == MARK_CLOSED || mark->state == state;
}

/* The last page is going to be stamped, when all is in the file. */
static int
name_last_page (struct connection *connection, struct mark *mark,
                struct status *status)
{
  static const char count_sql[] = "PRAGMA page_count";
  int64_t pages;

  if (connection_integer (connection, count_sql, &pages, status) == -1)
    return -1;
  mark_set_last (mark, pages);
  return 0;
}

/* Write the mark that ends the log as STATE says; one that has ended already
 * may have started over.
 */
static int
write_end (struct connection *connection, enum mark_state state,
           struct status *status)
{
  struct marking *marking = &connection->marking;
  const bool may_restart = marking->mark.state == MARK_ENDED;
  struct marking_end end;

  marking->mark.state = state;
  if (state == MARK_ENDED)
    memcpy (marking->mark.salts, marking->salts, sizeof marking->mark.salts);
  else if (name_last_page (connection, &marking->mark, status) == -1)
    return -1;
  if (write_mark (connection, &marking->mark, status) == -1)
    return -1;
  if (may_restart && (marking_note (connection, &end, status) == -1 ||
                      marking_permit_restart (connection, &end, status) == -1))
    return -1;
  return connection_commit (connection, status);
}

/* Returns 1 when the log has ended and END was noted, 0 when that is to be
 * looked at again, -1.
 */
static int
end_once (struct connection *connection, enum mark_state state,
          struct marking_end *end, struct status *status)
{
  int r;

  if (connection_begin_hold (connection, status) == -1 ||
      read_all (connection, status) == -1)
    return -1;
  vfs_room_allow_reserve (connection->db, true);
  if (!has_ended (&connection->marking.mark, state))
    return write_end (connection, state, status);
  r = marking_note (connection, end, status);
  connection_rollback (connection);
  return r == -1 ? -1 : 1;
}

int
marking_end_log (struct connection *connection, enum mark_state state,
                 struct marking_end *end, struct status *status)
{
  int r = 0;

  for (int i = 0; r == 0 && i < ATTEMPTS; i++)
    r = end_once (connection, state, end, status);
  if (r == -1)
    connection_rollback (connection);
  if (r == 0)
    status_fail (status, EBUSY, "others go on writing to the database");
  return r == 1 ? 0 : -1;
}

int
marking_is_closed (struct connection *connection, struct marking_end *end,
                   struct status *status)
{
  int r = -1;

  if (connection_begin_hold (connection, status) == 0 &&
      read_all (connection, status) == 0 &&
      marking_note (connection, end, status) == 0)
    r = connection->marking.mark.state == MARK_CLOSED;
  connection_rollback (connection);
  return r;
}

int
marking_note (struct connection *connection, struct marking_end *end,
              struct status *status)
{
  return read_header (connection, end->header, status);
}

/* Has all that is in the log been moved into the file?  Nobody commits or
 * checkpoints meanwhile.
 */
static bool
is_moved (struct connection *connection, const struct marking_end *end)
{
  struct status ignored;
  uint32_t frames;
  int64_t moved, page_size;

  memcpy (&frames, end->header + LOG_INDEX_FRAMES, sizeof frames);
  return connection_page_size (connection, &page_size, &ignored) == 0 &&
         log_moved (connection, &moved, &ignored) == 0 &&
         moved == LOG_HEADER_SIZE + frames * (FRAME_HEADER_SIZE + page_size);
}

/* Write over the mark in the file, once all else is durable there; the log has
 * no mark that closes it, and is named by its checksum.  PAGE is room for a
 * page.  Returns an SQLite result code.
 */
static int
close_in_file (struct connection *connection, sqlite3_file *database,
               struct marking_end *end, unsigned char *page, uint32_t page_size)
{
  uint32_t sums[2];
  struct mark mark;
  bool right;
  int rc = vfs_restart_header (connection->db, end->header);

  if (rc == SQLITE_OK && !is_moved (connection, end))
    rc = SQLITE_BUSY;
  if (rc == SQLITE_OK)
    rc = database->pMethods->xSync (database, SQLITE_SYNC_NORMAL);
  if (rc == SQLITE_OK)
    rc = vfs_checksum_read (connection->db, MARK_PAGE, page_size, page, &right);
  if (rc != SQLITE_OK)
    return rc;
  if (!right || !mark_parse (&mark, page, page_size))
    return SQLITE_BUSY;
  end->before = mark;
  end->closed = true;
  memcpy (sums, end->header + LOG_INDEX_SUMS, sizeof sums);
  mark.state = MARK_CLOSED;
  mark_set_sums (&mark, sums);
  return replace (database, &mark, page, page_size);
}

/* Take back what close_in_file has done, where the log is still there.  SQL
 * shows the mark in the file, and not that of the log, while all of the log has
 * been moved; so what stood in the file is put there again.
 */
static int
reopen_in_file (struct connection *connection, sqlite3_file *database,
                struct marking_end *end, unsigned char *page,
                uint32_t page_size)
{
  unsigned char now[LOG_INDEX_HEADER];
  struct mark mark;
  bool right;
  int rc = vfs_restart_header (connection->db, now);

  if (rc == SQLITE_OK)
    rc = vfs_checksum_read (connection->db, MARK_PAGE, page_size, page, &right);
  if (rc != SQLITE_OK || !right || !mark_parse (&mark, page, page_size) ||
      mark.state != MARK_CLOSED ||
      memcmp (mark.id, end->before.id, sizeof mark.id) != 0 ||
      memcmp (now + LOG_INDEX_SALTS, end->header + LOG_INDEX_SALTS,
              LOG_SALTS_SIZE) != 0)
    return rc;
  return replace (database, &end->before, page, page_size);
}

/* Do one or the other while nobody commits or checkpoints. */
static int
change_in_file (struct connection *connection, struct marking_end *end,
                int (*change) (struct connection *connection,
                               sqlite3_file *database, struct marking_end *end,
                               unsigned char *page, uint32_t page_size),
                const char *as, struct status *status)
{
  sqlite3_file *database;
  unsigned char *page;
  int64_t page_size;
  int rc;

  if (connection_page_size (connection, &page_size, status) == -1 ||
      log_hold (connection, &database, status) == -1)
    return -1;
  page = malloc (page_size);
  rc =
      page ? change (connection, database, end, page, page_size) : SQLITE_NOMEM;
  free (page);
  log_release (connection, database);
  connection->marking.known = false;
  return rc == SQLITE_OK
             ? 0
             : status_fail_sqlite (status, connection->db, rc,
                                   "marking the database as %s", as);
}

int
marking_close_in_file (struct connection *connection, struct marking_end *end,
                       struct status *status)
{
  end->closed = false;
  return change_in_file (connection, end, close_in_file, "closed", status);
}

int
marking_reopen_in_file (struct connection *connection, struct marking_end *end,
                        struct status *status)
{
  return end->closed
             ? change_in_file (connection, end, reopen_in_file, "open", status)
             : 0;
}

int
marking_permit_restart (struct connection *connection,
                        const struct marking_end *end, struct status *status)
{
  const int rc = vfs_restart_permit (connection->db, end->header);

  return rc == SQLITE_OK ? 0
                         : status_fail_sqlite (status, connection->db, rc,
                                               "letting the log start over");
}

int
marking_permit_close (struct connection *connection,
                      const struct marking_end *end, struct status *status)
{
  sqlite3_db_config (connection->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
  return marking_permit_restart (connection, end, status);
}

/*--------------------------------------------------------------------
 * A file without a log.
 */

/* Has the database the counter of a copy?  Returns 1, 0 or -1. */
static int
is_copied (struct connection *connection, struct status *status)
{
  static const char schema_sql[] = "PRAGMA schema_version";
  int64_t schema;

  if (connection_integer (connection, schema_sql, &schema, status) == -1)
    return -1;
  return schema >= 0 && schema < MARK_SCHEMA;
}

/* SQLite changes the counter only where it is not defensive.  It only has
 * connections read the schema again.
 */
static int
raise_schema (struct connection *connection, struct status *status)
{
  static const char raise_sql[] = "PRAGMA schema_version = 1073741824";
  int r;

  sqlite3_db_config (connection->db, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
  r = connection_run (connection, raise_sql, status);
  sqlite3_db_config (connection->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  return r;
}

/* A new mark, in the transaction that has begun, which ends. */
static int
renew (struct connection *connection, bool copied, struct status *status)
{
  struct mark mark;

  if (read_mark (connection, &mark, status) == -1)
    return -1;
  open_after (&mark);
  mark.state = MARK_CLOSED;
  if (write_mark (connection, &mark, status) == -1 ||
      (copied && raise_schema (connection, status) == -1))
    return -1;
  return connection_commit (connection, status);
}

int
marking_renew (struct connection *connection, struct status *status)
{
  int copied = -1;

  if (connection_begin_hold (connection, status) == 0)
    copied = is_copied (connection, status);
  if (copied != -1 && renew (connection, copied, status) == 0)
    return 0;
  connection_rollback (connection);
  return -1;
}

int
marking_adopt (struct connection *connection, struct status *status)
{
  int copied = -1;

  if (connection_begin_hold (connection, status) == 0)
    copied = is_copied (connection, status);
  if (copied == 1 && renew (connection, true, status) == 0)
    return 0;
  connection_rollback (connection);
  return copied == 0 ? 0 : -1;
}
