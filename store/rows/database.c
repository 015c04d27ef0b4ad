/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The database file: see database.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sane.h"
#include "base/bytes.h"
#include "rows/columns.h"
#include "rows/database.h"
#include "rows/features.h"
#include "rows/formats.h"
#include "rows/properties.h"
#include "sqlite/litestream.h"
#include "sqlite/files.h"
#include "sqlite/guard.h"
#include "sqlite/mark.h"
#include "sqlite/marking.h"
#include "sqlite/page.h"
#include "sqlite/filesystem.h"
#include "sqlite/place.h"
#include "sqlite/raw.h"

#define APPLICATION_ID 0x73716c62

/*--------------------------------------------------------------------
 * Examining a file by its first 100 bytes ("The Database Header" in
 * SQLite's fileformat2.html).
 */

static int
check_header (const char *path, const unsigned char *header,
              struct status *status)
{
  const uint32_t format = big_endian (header + 60);
  const uint32_t application_id = big_endian (header + 68);

  if (memcmp (header, "SQLite format 3", 16) != 0)
    return status_fail (
        status, EINVAL,
        "%s is not an SQLite database; it was left as it is "
        "(if it was one of sqlblock, 'sqlblock check --salvage' "
        "saves what is left)",
        path);
  if (application_id != APPLICATION_ID)
    return status_fail (status, EINVAL,
                        "%s is an SQLite database, but not one of sqlblock "
                        "(its application_id is 0x%08" PRIx32
                        "); it was left as it is%s",
                        path, application_id,
                        application_id == 0 ? "; if it is one that was cut "
                                              "off, 'sqlblock check --salvage' "
                                              "saves what is left"
                                            : "");
  if (formats_check_number (format, status) == -1)
    return status_prefix (status, "%s", path);
  if (header[PAGE_HEADER_RESERVED] != PAGE_CHECKSUM_SIZE)
    return status_fail (status, EIO,
                        "%s is damaged: its pages have no room for "
                        "checksums; see 'sqlblock check --salvage'",
                        path);
  return 1;
}

int
database_examine (const char *path, struct status *status)
{
  unsigned char header[PAGE_HEADER_SIZE] = { 0 };
  struct raw file;
  int r = files_look (path, status);

  if (r == 1)
    r = raw_open (&file, path, "", status);
  if (r != 1)
    return r;
  r = raw_read (&file, header, sizeof header, 0) == -1
          ? status_fail (status, errno, "reading %s: %s", path,
                         strerror (errno))
          : check_header (path, header, status);
  raw_close (&file);
  return r;
}

/* Is there a file PATH that SQLite would take for a database?  One that cannot
 * be read counts.
 */
static bool
is_database (const char *path)
{
  char header[16] = { 0 };
  struct status ignored;
  struct raw file;
  bool is;

  if (files_look (path, &ignored) != 1)
    return false;
  if (raw_open (&file, path, "", &ignored) != 1)
    return true;
  is = raw_read (&file, header, sizeof header, 0) == -1 ||
       memcmp (header, "SQLite format 3", sizeof header) == 0;
  raw_close (&file);
  return is;
}

int
database_check_name (const char *path, struct status *status)
{
  char *owner = files_owner (path);
  int r = 0;

  if (owner && is_database (owner))
    r = status_fail (status, EINVAL,
                     "%s is the name of a file that belongs to the database "
                     "%s, which would overwrite or remove it; give another "
                     "name",
                     path, owner);
  free (owner);
  return r;
}

/*--------------------------------------------------------------------
 * Making a file.
 */

/* Run SQL, which returns the mode of the journal.  Returns 1 where the database
 * uses a write-ahead log, 0, -1.
 */
static int
ask_wal (struct connection *connection, const char *sql, struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *mode =
      connection_statement (connection, sql, status);
  const char *text;

  if (mode == NULL || connection_step (connection, mode, status) == -1)
    return -1;
  text = (const char *)sqlite3_column_text (mode, 0);
  return text && strcmp (text, "wal") == 0;
}

/* Does the file, whatever its log says, have the counter of a copy by SQLite's
 * backup API (mark.h)?
 */
static int
is_copy (struct connection *connection, struct status *status)
{
  unsigned char schema[4];
  sqlite3_file *file;
  int rc = sqlite3_file_control (connection->db, "main",
                                 SQLITE_FCNTL_FILE_POINTER, &file);

  if (rc == SQLITE_OK)
    rc =
        file->pMethods->xRead (file, schema, sizeof schema, PAGE_HEADER_SCHEMA);
  if (rc != SQLITE_OK)
    return status_fail_sqlite (status, connection->db, rc,
                               "reading the header of the database");
  return big_endian (schema) < MARK_SCHEMA;
}

/* Where somebody else has begun to write behind that, his log stays. */
int
database_adopt (struct connection *connection, struct status *status)
{
  struct marking_end end;
  int r = marking_adopt (connection, status), rc;

  if (r == 0)
    r = marking_is_closed (connection, &end, status);
  if (r == 1)
    r = marking_permit_restart (connection, &end, status);
  if (r == -1)
    return -1;
  rc = sqlite3_wal_checkpoint_v2 (connection->db, "main",
                                  SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
  return rc == SQLITE_OK || is_copy (connection, status) == 0
             ? 0
             : status_fail_sqlite (status, connection->db, rc,
                                   "making a copy by SQLite a database of its "
                                   "own");
}

/* Have the database use a write-ahead log, which everything depends on.  It may
 * have been switched to another journal by hand, or have been copied by SQLite;
 * then it is complete, and gets a new mark, which says so.
 */
static int
use_wal (struct connection *connection, bool has_mark, struct status *status)
{
  static const char mode_sql[] = "PRAGMA journal_mode";
  static const char wal_sql[] = "PRAGMA journal_mode = WAL";
  int r = ask_wal (connection, mode_sql, status);

  if (r == 1 && !has_mark)
    return 0;
  if (r == 1) {
    r = is_copy (connection, status);
    return r == 1 ? database_adopt (connection, status) : r;
  }
  if (r == 0 && has_mark && marking_renew (connection, status) == -1)
    return -1;
  if (r == 0)
    r = ask_wal (connection, wal_sql, status);
  if (r == 0)
    return status_fail (status, EIO,
                        "the database cannot use a write-ahead log here; "
                        "move it to a local file system");
  return r == -1 ? -1 : 0;
}

/* The mark of a file that is complete without a log (mark.h). */
static int
make_mark (struct connection *connection, struct status *status)
{
  static const char insert_sql[] =
      "INSERT INTO mark VALUES (1, 4, randomblob (16), zeroblob (16),"
      " zeroblob (8))";

  return connection_run (connection, insert_sql, status);
}

/* Nobody knows a file that is being made, and it is synced when it is complete:
 * so it needs no journal, and no sync before.  OFF would be refused, as a file
 * with that can be damaged from SQL; of new pages nothing is kept in memory.
 */
static const char making_sql[] = "PRAGMA journal_mode = MEMORY;"
                                 "PRAGMA synchronous = OFF";

/* Begin the contents of a new file, in a transaction that goes on. */
static int
begin_contents (struct connection *connection, uint32_t page_size,
                struct status *status)
{
  char *pragmas;
  int rc;

  /* All of this must be said before the first table exists. */
  pragmas = sqlite3_mprintf ("%s;"
                             "PRAGMA page_size = %u;"
                             "PRAGMA auto_vacuum = INCREMENTAL;"
                             "PRAGMA encoding = 'UTF-8';",
                             making_sql, page_size);
  rc = pragmas ? sqlite3_exec (connection->db, pragmas, NULL, NULL, NULL)
               : SQLITE_NOMEM;
  sqlite3_free (pragmas);
  if (rc != SQLITE_OK)
    return status_fail_sqlite (status, connection->db, rc,
                               "setting the page size");
  if (marking_begin (connection, status) == -1)
    return -1;
  pragmas = sqlite3_mprintf ("PRAGMA application_id = %d;"
                             "PRAGMA user_version = %d;",
                             APPLICATION_ID, DATABASE_FORMAT);
  rc = pragmas ? sqlite3_exec (connection->db, pragmas, NULL, NULL, NULL)
               : SQLITE_NOMEM;
  sqlite3_free (pragmas);
  if (rc == SQLITE_OK)
    rc = formats_make (connection->db);
  if (rc != SQLITE_OK)
    return status_fail_sqlite (status, connection->db, rc, "making the tables");
  if (make_mark (connection, status) == -1)
    return -1;
  return properties_make_id (connection, status);
}

/* Nor must what is beside the new file be a database: it would be overwritten.
 * files_check_new looks at the log and the journal.
 */
static int
check_beside (const char *path, const char *suffix, struct status *status)
{
  char *name = files_side (path, suffix);
  int r = 0;

  if (name == NULL)
    return status_no_memory (status);
  if (is_database (name))
    r = status_fail (status, EEXIST,
                     "%s cannot be created: %s is a database, which would be "
                     "taken for a part of it; rename that, or give another "
                     "name",
                     path, name);
  free (name);
  return r;
}

static int
check_new (const char *path, struct status *status)
{
  return files_check_new (path, status) == -1 ||
                 database_check_name (path, status) == -1 ||
                 check_beside (path, "-shm", status) == -1 ||
                 check_beside (path, "-lock", status) == -1
             ? -1
             : 0;
}

int
database_check_new (const char *path, struct status *status)
{
  return files_check_directory (path, status) == -1 ? -1
                                                    : check_new (path, status);
}

int
database_begin (struct new_database *new, struct connection *connection,
                const char *path, uint32_t page_size, struct status *status)
{
  *new = (struct new_database){ .path = path, .connection = connection };
  /* To fill it may take long. */
  if (check_new (path, status) == -1)
    return -1;
  new->temporary = files_begin (path, status);
  if (new->temporary == NULL)
    return -1;
  if (connection_open (connection, new->temporary, CONNECTION_CREATE, NULL,
                       status) == 0 &&
      begin_contents (connection, page_size, status) == 0)
    return 0;
  status_prefix (status, "creating %s", path);
  database_abandon (new);
  return -1;
}

int
database_publish (struct new_database *new, struct status *status)
{
  int r = connection_commit (new->connection, status);

  if (r == 0)
    r = use_wal (new->connection, true, status);
  connection_close (new->connection);
  if (r == -1)
    status_prefix (status, "creating %s", new->path);
  else
    r = files_publish (new->temporary, new->path, status);
  files_discard (new->temporary);
  return r;
}

void
database_abandon (struct new_database *new)
{
  connection_close (new->connection);
  files_discard (new->temporary);
}

int
database_make (const char *path, uint32_t page_size, database_fill fill,
               void *opaque, struct status *status)
{
  struct new_database new;
  struct connection connection;

  if (database_begin (&new, &connection, path, page_size, status) == -1)
    return -1;
  if (fill == NULL || fill (&connection, opaque, status) == 0)
    return database_publish (&new, status);
  status_prefix (status, "creating %s", path);
  database_abandon (&new);
  return -1;
}

static uint32_t
page_size_for (uint32_t block_size)
{
  return disks_page_size (block_size ? block_size : DISK_BLOCK_SIZE_DEFAULT);
}

/* Make the first disk of a new file. */
static int
fill_disk (struct connection *connection, void *opaque, struct status *status)
{
  return disks_create (connection, opaque, status);
}

int
database_create (const char *path, const struct disk_options *disk,
                 struct status *status)
{
  struct disk_options options = *disk;

  if (files_check_system (path, status) == -1)
    return -1;
  return database_make (path, page_size_for (disk->block_size), fill_disk,
                        &options, status);
}

int
database_create_empty (const char *path, uint32_t block_size,
                       struct status *status)
{
  const struct disk_options options = { .block_size = block_size };
  int r = sane_check_options (&options, status);

  if (r == 0)
    r = database_examine (path, status);
  if (r != 0)
    return r == -1 ? -1 : 0;
  r = files_check_system (path, status);
  if (r == 0)
    r = database_make (path, page_size_for (block_size), NULL, NULL, status);
  /* Somebody else may just have made it. */
  if (r == -1 && status->error == EEXIST &&
      database_examine (path, status) == 1)
    r = 0;
  return r;
}

/*--------------------------------------------------------------------
 * Opening a file.
 */

/* Statistics that ANALYZE made do no harm; but they can be written so that
 * SQLite sorts a whole layer for each block.
 */
static int
check_statistics (struct connection *connection, struct status *status)
{
  static const char present_sql[] =
      "SELECT count (*) FROM sqlite_schema"
      " WHERE type = 'table' AND name = 'sqlite_stat1'";
  static const char hostile_sql[] =
      "SELECT count (*) FROM sqlite_stat1 WHERE stat GLOB '*[^0-9 ]*'";
  int64_t count;

  if (connection_integer (connection, present_sql, &count, status) == -1)
    return -1;
  if (count > 0 &&
      connection_integer (connection, hostile_sql, &count, status) == -1)
    return -1;
  if (count > 0)
    return status_fail (status, EINVAL,
                        "the database has statistics that ANALYZE did not "
                        "make; drop the table sqlite_stat1");
  return 0;
}

/* The mark is read from its page without SQL. */
static int
check_mark_page (struct connection *connection, struct status *status)
{
  static const char root_sql[] =
      "SELECT rootpage FROM sqlite_schema WHERE name = 'mark'";
  int64_t root;

  if (connection_integer (connection, root_sql, &root, status) == -1)
    return -1;
  return root == MARK_PAGE
             ? 0
             : status_fail (status, EINVAL,
                            "the table 'mark' begins on page %" PRId64
                            ", not %d: another program has made the file "
                            "anew; \"sqlblock check --salvage\" copies what is "
                            "in it",
                            root, MARK_PAGE);
}

/* The format is that of the log, which may be newer than what the header in the
 * file says; and so is all else.
 */
static int
check_format (struct connection *connection, int64_t *format, bool *has_mark,
              struct status *status)
{
  if (formats_number (connection, format, status) == -1 ||
      formats_check_number (*format, status) == -1 ||
      formats_check_schema (connection, *format, has_mark, status) == -1)
    return -1;
  return *has_mark ? check_mark_page (connection, status) : 0;
}

/* What is read of an older format is shown as one of today; it is written by
 * who upgrades it, and its mark by who takes it without its log.
 */
static int
check_contents (struct connection *connection, const char *path,
                enum connection_mode mode, const struct patience *patience,
                struct status *status)
{
  const bool write = mode == CONNECTION_WRITE || mode == CONNECTION_GATHER;
  const bool upgrade = patience && patience->upgrade;
  const bool older = upgrade || (patience && patience->without_log);
  int64_t format;
  bool has_mark;

  if (check_format (connection, &format, &has_mark, status) == -1)
    return -1;
  if (formats_is_older (format) && write && !older)
    return formats_fail_older (path, format, status);
  if (check_statistics (connection, status) == -1 ||
      (!upgrade && formats_show_older (connection, status) == -1) ||
      (!upgrade &&
       features_allow (connection, 0, write ? FEATURE_CHANGE : FEATURE_READ,
                       status) == -1))
    return -1;
  return write ? use_wal (connection, has_mark, status) : 0;
}

/* Does somebody of ours write the file PATH?  The guard knows servers, this
 * process among them; where it cannot be asked, in a directory that is
 * read-only, and of commands, the claims tell of other processes.
 */
static bool
is_written (const char *path)
{
  struct status ignored;

  return guard_is_served (path, &ignored) == 1 ||
         claim_ask (path, claim_is_written, &ignored) == 1;
}

/* Fail where the log that is beside the file PATH is not its own, or the file
 * is without one that it needs.  While somebody of ours writes to it that is
 * theirs; he may have begun after a first look, which then meant nothing.
 */
static int
check_log (const char *path, struct patience *patience, struct status *status)
{
  struct mark_look look;

  if (is_written (path))
    return 0;
  if (mark_look (path, &look, status) == -1)
    return -1;
  if (look.fit == MARK_FITS || is_written (path))
    return 0;
  if ((look.fit == MARK_MISSING || look.fit == MARK_TORN) && patience &&
      patience->without_log)
    return 0;
  /* Who looks at damage looks at this, too. */
  if (look.fit == MARK_DAMAGED && patience && patience->damaged)
    return 0;
  return mark_check_fit (path, &look, status);
}

/* Is a failure that of media, or a directory, where the shared memory of
 * the log cannot be made?  The result of SQLite alone does not tell: it is
 * also that of passing troubles, and an immutable database misses all that
 * is written later.
 */
static bool
is_read_only_media (const char *path, const struct status *status)
{
  const int rc = status->sqlite & 0xff;

  return (rc == SQLITE_CANTOPEN || rc == SQLITE_READONLY) &&
         files_are_read_only (path);
}

/* Open and check, without a second try. */
static int
open_once (struct connection *connection, const char *path,
           enum connection_mode mode, struct patience *patience,
           struct status *status)
{
  int r;

  if (connection_open (connection, path, mode, patience, status) == -1)
    return -1;
  r = check_contents (connection, path, mode, patience, status);
  if (r == 0)
    r = litestream_find (connection, status);
  /* What seems to be wrong may be that it was changed meanwhile. */
  if (connection_check (connection, status) == -1)
    r = -1;
  if (r == 0)
    return 0;
  connection_close (connection);
  return status_prefix (status, "%s", path);
}

int
database_open (struct connection *connection, const char *path,
               enum connection_mode mode, struct patience *patience,
               struct status *status)
{
  struct status why, failed;

  /* One that gathers is opened beside others. */
  if (mode == CONNECTION_GATHER)
    return open_once (connection, path, mode, patience, status);
  if (place_check_served (path, status) == -1)
    return -1;
  if (mode == CONNECTION_READ && files_would_be_in_the_way (path))
    return open_once (connection, path, CONNECTION_IMMUTABLE, patience, status);
  if (mode != CONNECTION_READ || claim_check_name (path, &why) == 0) {
    if (check_log (path, patience, status) == -1)
      return -1;
    if (open_once (connection, path, mode, patience, status) == 0)
      return 0;
    return mode == CONNECTION_READ && is_read_only_media (path, status)
               ? open_once (connection, path, CONNECTION_IMMUTABLE, patience,
                            status)
               : -1;
  }
  /* Whoever watches looks at the mark himself. */
  if (open_once (connection, path, CONNECTION_IMMUTABLE, patience, status) == 0)
    return 0;
  failed = *status;
  status_fail (status, failed.error, "%s (it is not read with a log, since %s)",
               failed.message, why.message);
  status->sqlite = failed.sqlite;
  return -1;
}
