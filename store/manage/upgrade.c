/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* upgrade: a file of an older format becomes one of the newest.
 *
 * No row of a layer, disk, snapshot, block or content is touched: what differs
 * are the texts of their tables, `feature`, whose few rows are made anew, and
 * tables that are new.  So it takes a moment and some 100 KiB, whatever the
 * size of the file.
 *
 *   format 4   A  a mark, and the counter that goes with it (mark.h); into the
 *                 file before anything else.  It is still of format 4, so
 *                 nobody misses a mark in what is half there.
 *   4, 5       B  all the rest, in one transaction of which each way back and
 *                 forth is that of any other: it is in a log with an open mark.
 *
 * Whatever stops it, the file is an old one, and upgrading goes on, or a new
 * one.  B does not begin before A is in the file, whoever began with A: a
 * checkpoint writes page 1, which would say that there is a mark, before the
 * mark.
 *
 * Nobody else may have the file open, not even to read: what others know of its
 * tables would be wrong.  SQLite's lock of the whole file sees to that, which
 * it takes itself to find out whether a connection is the last one; no
 * connection to a database with a log is without a share in it.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "engine/checkpoint.h"
#include "engine/connections.h"
#include "manage.h"
#include "rows/columns.h"
#include "rows/content.h"
#include "rows/database.h"
#include "rows/features.h"
#include "rows/formats.h"
#include "rows/properties.h"
#include "sqlite/claim.h"
#include "sqlite/files.h"
#include "sqlite/guard.h"
#include "sqlite/log.h"
#include "sqlite/marking.h"

/* How long to wait for others to close the file, in milliseconds, and between
 * two looks, in nanoseconds.
 */
#define OTHERS_WAIT  2000
#define OTHERS_PAUSE 10000000

/* How often to try again when others want to upgrade it, too. */
#define TURNS 3

/*--------------------------------------------------------------------
 * SQL that changes the schema, which is not worth being kept prepared.
 */

static int
run (struct connection *connection, const char *sql, struct status *status)
{
  const int rc = sqlite3_exec (connection->db, sql, NULL, NULL, NULL);

  return rc == SQLITE_OK ? 0
                         : status_fail_sqlite (status, connection->db, rc,
                                               "changing the tables");
}

/* Is the table or index NAME in the file, and as TEXT says? */
static int
look_for (struct connection *connection, const char *name, const char *text,
          bool *is_there, bool *is_same, struct status *status)
{
  static const char text_sql[] =
      "SELECT sql = ?2 FROM main.sqlite_schema WHERE name = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, text_sql, status);
  int r;

  if (row == NULL)
    return -1;
  sqlite3_bind_text (row, 1, name, -1, SQLITE_STATIC);
  sqlite3_bind_text (row, 2, text, -1, SQLITE_STATIC);
  r = connection_step (connection, row, status);
  *is_there = r == 1;
  *is_same = r == 1 && sqlite3_column_int (row, 0);
  return r == -1 ? -1 : 0;
}

/* Have the file say TEXT of what it has already. */
static int
retell (struct connection *connection, const char *name, const char *text,
        struct status *status)
{
  static const char retell_sql[] =
      "UPDATE main.sqlite_schema SET sql = ?2 WHERE name = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *update =
      connection_statement (connection, retell_sql, status);

  if (update == NULL)
    return -1;
  sqlite3_bind_text (update, 1, name, -1, SQLITE_STATIC);
  sqlite3_bind_text (update, 2, text, -1, SQLITE_STATIC);
  return connection_step (connection, update, status);
}

static int
make_missing (struct connection *connection, const char *name, const char *text,
              struct status *status)
{
  bool is_there, is_same;

  if (look_for (connection, name, text, &is_there, &is_same, status) == -1)
    return -1;
  return is_there ? 0 : run (connection, text, status);
}

static int
make_mark (struct connection *connection, const char *name, const char *text,
           struct status *status)
{
  return strcmp (name, "mark") == 0
             ? make_missing (connection, name, text, status)
             : 0;
}

static int
retell_changed (struct connection *connection, const char *name,
                const char *text, struct status *status)
{
  bool is_there, is_same;

  if (look_for (connection, name, text, &is_there, &is_same, status) == -1)
    return -1;
  return is_same ? 0 : retell (connection, name, text, status);
}

/*--------------------------------------------------------------------
 * May it be upgraded?
 */

/* Rows that are damaged are mended, or saved, before. */
static int
check_rows (struct connection *connection, struct status *status)
{
  static const char rows_sql[] =
      "SELECT (SELECT count (*) FROM layer"
      "  WHERE layer.checksum IS NOT " LAYER_CHECKSUM ") +"
      " (SELECT count (*) FROM disk"
      "  WHERE disk.checksum IS NOT " DISK_CHECKSUM ") +"
      " (SELECT count (*) FROM snapshot"
      "  WHERE snapshot.checksum IS NOT " SNAPSHOT_CHECKSUM ")";
  int64_t count;

  if (connection_integer (connection, rows_sql, &count, status) == -1)
    return -1;
  return count == 0 ? 0
                    : status_fail (status, EIO,
                                   "%" PRId64 " rows of layers, disks or "
                                   "snapshots are damaged; see \"sqlblock "
                                   "check\"",
                                   count);
}

/* Who does not know all that is in it leaves it. */
static int
check_features (struct connection *connection, struct status *status)
{
  static const char features_sql[] =
      "SELECT name FROM main.feature NOT INDEXED WHERE kind <> 'compatible'";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, features_sql, status);
  int r;

  if (row == NULL)
    return -1;
  while ((r = connection_step (connection, row, status)) == 1) {
    const char *name = (const char *)sqlite3_column_text (row, 0);

    if (!features_know (name))
      return status_fail (status, ENOTSUP,
                          "it uses the feature '%.100s', which this program "
                          "does not have; use one that was built with it",
                          name ? name : "");
  }
  return r;
}

/* A view may have any name, also that of what is new. */
static int
check_name (struct connection *connection, const char *name, const char *text,
            struct status *status)
{
  static const char view_sql[] =
      "SELECT name FROM main.sqlite_schema"
      " WHERE type = 'view' AND name = ?1 COLLATE NOCASE";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, view_sql, status);
  int r;

  (void)text;
  if (row == NULL)
    return -1;
  sqlite3_bind_text (row, 1, name, -1, SQLITE_STATIC);
  r = connection_step (connection, row, status);
  return r == 1 ? status_fail (status, EEXIST,
                               "it has a view '%s', which is the name of a "
                               "table or index of format %d; drop the view, "
                               "or give it another name",
                               (const char *)sqlite3_column_text (row, 0),
                               DATABASE_FORMAT)
                : r;
}

/* A file without a mark gets it on its page: see add_mark. */
static int
check_place (struct connection *connection, struct status *status)
{
  static const char moves_sql[] = "PRAGMA auto_vacuum";
  static const char root_sql[] = "SELECT rootpage FROM main.sqlite_schema"
                                 " WHERE type = 'table' AND name = 'feature'";
  int64_t moves, root;

  if (connection_integer (connection, moves_sql, &moves, status) == -1 ||
      connection_integer (connection, root_sql, &root, status) == -1)
    return -1;
  return moves && root == MARK_PAGE
             ? 0
             : status_fail (status, EINVAL,
                            "the table 'feature' begins on page %" PRId64
                            ", or its pages do not move: another program has "
                            "made the file anew; \"sqlblock check --salvage\" "
                            "copies what is in it",
                            root);
}

/* Nobody else has it open, so what is true now stays so. */
static int
check_alone (struct connection *connection, int64_t *format, bool *has_mark,
             struct status *status)
{
  if (formats_number (connection, format, status) == -1 ||
      formats_check_number (*format, status) == -1 ||
      formats_check_schema (connection, *format, has_mark, status) == -1)
    return -1;
  if (!formats_is_older (*format))
    return 0;
  if (check_features (connection, status) == -1 ||
      formats_each (connection, DATABASE_FORMAT, check_name, status) == -1 ||
      (!*has_mark && check_place (connection, status) == -1))
    return -1;
  return check_rows (connection, status);
}

/*--------------------------------------------------------------------
 * Step A.
 */

/* Its root must be page 3, where that of `feature` is.  Roots stay together at
 * the beginning of a file with auto_vacuum: where one goes, the last one comes.
 * The place of the index of `feature` is for that of a table which goes, too.
 */
static int
add_mark (struct connection *connection, struct status *status)
{
  static const char mark_sql[] =
      "INSERT INTO mark VALUES (1, 4, randomblob (16), zeroblob (16),"
      " zeroblob (8))";
  static const char root_sql[] =
      "SELECT rootpage FROM sqlite_schema WHERE name = 'mark'";
  int64_t root;

  /* No view has the name of the table that goes. */
  if (run (connection,
           "CREATE TEMP TABLE was AS SELECT * FROM main.feature ORDER BY rowid",
           status) == -1 ||
      formats_each (connection, FORMAT_WITH_MARK, make_mark, status) == -1 ||
      run (connection,
           "CREATE TABLE main.property (x); DROP TABLE main.feature",
           status) == -1 ||
      formats_each (connection, FORMAT_WITH_MARK, make_missing, status) == -1 ||
      run (connection,
           "INSERT INTO main.feature SELECT * FROM temp.was;"
           " DROP TABLE temp.was; DROP TABLE main.property",
           status) == -1 ||
      run (connection, mark_sql, status) == -1 ||
      connection_integer (connection, root_sql, &root, status) == -1)
    return -1;
  return root == MARK_PAGE
             ? 0
             : status_fail (status, EINVAL,
                            "the table 'mark' would begin on page %" PRId64
                            ", not %d",
                            root, MARK_PAGE);
}

static int
step_a (struct connection *connection, struct status *status)
{
  if (connection_begin_hold (connection, status) == -1)
    return -1;
  if (add_mark (connection, status) == -1 ||
      connection_commit (connection, status) == -1) {
    connection_rollback (connection);
    return -1;
  }
  return database_adopt (connection, status);
}

/*--------------------------------------------------------------------
 * Step B.
 */

static int
set_number (struct connection *connection, struct status *status)
{
  char *sql = sqlite3_mprintf ("PRAGMA user_version = %d", DATABASE_FORMAT);
  const int r = sql ? run (connection, sql, status) : status_no_memory (status);

  sqlite3_free (sql);
  return r;
}

/* SQLite reads the schema again when that is asked for by "RESET". */
static int
change_tables (struct connection *connection, struct status *status)
{
  static const char before_sql[] =
      "CREATE TEMP TABLE was AS SELECT rowid AS id, * FROM main.feature;"
      "DROP TABLE main.feature";
  static const char after_sql[] =
      "WITH feature (id, name, disk, class) AS"
      " (SELECT id, name, 0, CASE kind WHEN 'compatible' THEN 1"
      "   WHEN 'read-only' THEN 2 ELSE 3 END FROM temp.was)"
      " INSERT INTO main.feature SELECT *, " FEATURE_CHECKSUM " FROM feature;"
      "DROP TABLE temp.was";

  if (run (connection, before_sql, status) == -1 ||
      formats_each (connection, DATABASE_FORMAT, make_missing, status) == -1 ||
      run (connection, "PRAGMA writable_schema = ON", status) == -1 ||
      formats_each (connection, DATABASE_FORMAT, retell_changed, status) ==
          -1 ||
      run (connection, "PRAGMA writable_schema = RESET", status) == -1)
    return -1;
  return run (connection, after_sql, status);
}

static int
make_newest (struct connection *connection, struct status *status)
{
  bool has_mark;

  if (change_tables (connection, status) == -1 ||
      properties_make_id (connection, status) == -1 ||
      set_number (connection, status) == -1)
    return -1;
  return formats_check_schema (connection, DATABASE_FORMAT, &has_mark, status);
}

static int
step_b (struct connection *connection, struct status *status)
{
  int r;

  if (marking_begin (connection, status) == -1)
    return -1;
  /* Else SQLite lets nobody change the texts. */
  sqlite3_db_config (connection->db, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
  r = make_newest (connection, status);
  sqlite3_db_config (connection->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  if (r == 0)
    r = connection_commit (connection, status);
  if (r == -1)
    connection_rollback (connection);
  return r;
}

/*--------------------------------------------------------------------
 * All of it.
 */

/* Have all that is in the log be in the file. */
static int
empty_log (struct connection *connection, struct status *status)
{
  const int r = checkpoint_complete (connection, status);

  if (r == 0)
    return status_fail (status, EBUSY, "the log cannot be emptied");
  return r == -1 ? -1 : 0;
}

/* And have it go, if the connection is the last one. */
static int
finish (struct connection *connection, struct status *status)
{
  struct marking_end end;

  if (empty_log (connection, status) == -1)
    return -1;
  if (marking_is_closed (connection, &end, status) == 1)
    marking_permit_close (connection, &end, status);
  return 0;
}

static int
fail_busy (struct status *status)
{
  return status_fail (status, EBUSY,
                      "another program has the database open; end it first");
}

/* Has a lock of the whole file been begun, so that nobody else comes in? */
static bool
is_first (sqlite3_file *below)
{
  int level = SQLITE_LOCK_NONE;

  below->pMethods->xFileControl (below, SQLITE_FCNTL_LOCKSTATE, &level);
  return level >= SQLITE_LOCK_PENDING;
}

/* Lock the whole file: see the head of this one.  Who is not the first to want
 * that does not wait, since the first waits for him.
 */
static int
keep_others_out (struct connection *connection, struct status *status)
{
  sqlite3_file *below;
  int rc = connection_touch (connection, status), attempts = 0;

  if (rc == -1)
    return -1;
  connection->longest_wait = OTHERS_WAIT;
  rc = vfs_checksum_below (connection->db, &below);
  if (rc == SQLITE_OK)
    do
      rc = below->pMethods->xLock (below, SQLITE_LOCK_EXCLUSIVE);
    while (rc == SQLITE_BUSY && is_first (below) &&
           connection_wait (connection, attempts++));
  if (rc == SQLITE_BUSY)
    return fail_busy (status);
  return rc == SQLITE_OK ? 0
                         : status_fail_sqlite (status, connection->db, rc,
                                               "locking the database");
}

/* What an earlier program left in the log is made durable first, as by a server
 * that begins: whether its last sync failed nobody knows.  Step A may be there,
 * too: that of an upgrade which was interrupted, or this one's, where a sync
 * has failed.
 */
static int
upgrade_alone (struct connection *connection, const struct guard_entry *entry,
               int64_t *format, struct status *status)
{
  bool has_mark;

  if (keep_others_out (connection, status) == -1 ||
      check_alone (connection, format, &has_mark, status) == -1 ||
      log_rewrite (connection, entry, status) == -1 ||
      (!has_mark && step_a (connection, status) == -1) ||
      (*format < FORMAT_WITH_MARK && empty_log (connection, status) == -1) ||
      (formats_is_older (*format) && step_b (connection, status) == -1))
    return -1;
  return finish (connection, status);
}

static int
upgrade_file (struct connections *connections, int64_t *format,
              struct status *status)
{
  struct connection connection;
  struct guard_entry entry;
  int r;

  connections->patience.upgrade = true;
  if (connections_open (connections, &connection, CONNECTION_WRITE, status) ==
      -1)
    return -1;
  r = guard_enter (&entry, connections->place.path, status);
  if (r == 0) {
    r = upgrade_alone (&connection, &entry, format, status);
    guard_leave (&entry, r == 0);
  }
  connection_close (&connection);
  return r;
}

/* The same checks without writing. */
static int
look (struct connections *connections, int64_t *format, struct status *status)
{
  struct connection connection;
  bool has_mark;
  int r;

  if (connections_open (connections, &connection, CONNECTION_READ, status) ==
      -1)
    return -1;
  r = check_alone (&connection, format, &has_mark, status);
  if (connection_check (&connection, status) == -1)
    r = -1;
  connection_close (&connection);
  return r;
}

/* May this user write it, and what must lie beside it? */
static int
check_writable (const char *path, struct status *status)
{
  if (claim_check_name (path, status) == -1)
    return -1;
  return files_are_read_only (path)
             ? status_fail (status, EROFS,
                            "the file or its directory is read-only")
             : 0;
}

/* Has anybody else the file open?  In rollback mode SQLite's locks tell only of
 * who reads just now, but our claims of all others, too.
 */
static int
is_open (const char *path, struct status *status)
{
  return claim_ask (path, claim_is_used, status);
}

/* Wait for others to close it, while this process has not opened it. */
static int
await_others (const char *path, struct status *status)
{
  const uint64_t began = clock_now ();
  int r = guard_is_served (path, status);

  if (r == 1)
    return status_fail (status, EBUSY,
                        "a server has the database open; end it first");
  while (r != -1 && (r = is_open (path, status)) == 1) {
    if (clock_now () - began >= OTHERS_WAIT * CLOCK_MILLISECOND)
      return fail_busy (status);
    nanosleep (&(struct timespec){ .tv_nsec = OTHERS_PAUSE }, NULL);
  }
  return r;
}

/* When several upgrade it at once, the first does it, and the others find it
 * done.
 */
static int
upgrade_in_turn (struct connections *connections, int64_t *format,
                 struct status *status)
{
  const char *path = connections->place.path;
  int r = upgrade_file (connections, format, status);

  for (int i = 0; r == -1 && status->error == EBUSY && i < TURNS; i++) {
    if (await_others (path, status) == -1)
      return -1;
    r = upgrade_file (connections, format, status);
  }
  return r;
}

/* Is it to be upgraded?  LOOKED is what look has returned.  What stopped while
 * it changed a file in rollback mode, such as an upgrade that makes it one with
 * a log, has left a journal: who may write rolls that back, and looks then.
 */
static bool
is_to_be_upgraded (int looked, int64_t format, bool dry_run,
                   const struct status *status)
{
  return looked == -1 ? status->sqlite == SQLITE_READONLY_ROLLBACK && !dry_run
                      : formats_is_older (format);
}

int
manage_upgrade (const char *path, bool dry_run, int *format,
                struct status *status)
{
  static const struct store_options options = { .command = true };
  struct connections connections;
  int64_t from = 0;
  int r = database_examine (path, status);

  if (r == 0)
    return status_fail (status, ENOENT, "%s does not exist", path);
  if (r == -1 || connections_find (&connections, path, &options, status) == -1)
    return -1;
  r = look (&connections, &from, status);
  if (is_to_be_upgraded (r, from, dry_run, status)) {
    r = check_writable (path, status);
    if (r == 0)
      r = await_others (path, status);
    if (r == 0 && !dry_run)
      r = upgrade_in_turn (&connections, &from, status);
  }
  connections_remove_empty_log (&connections);
  connections_free (&connections);
  *format = from;
  return r == -1 ? status_prefix (status, "upgrading %s", path) : 0;
}
