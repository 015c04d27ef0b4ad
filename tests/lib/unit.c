/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the unit tests of the store share: see unit.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

#include "encryption.h"
#include "engine/checkpoint.h"
#include "block/checksum.h"
#include "rows/database.h"
#include "sqlite/marking.h"
#include "sqlite/vfs.h"

/* A test is killed after this many seconds. */
#define LONGEST 300

static char directory[] = "/tmp/sqlblock-unit-XXXXXX";

/* What unit_path returned. */
static char *paths[1000];
static size_t paths_count;

const char unit_shown[] =
    "CREATE TEMP TABLE shown AS"
    " SELECT disk.id AS disk, snapshot.id AS snapshot, block.id AS id,"
    "  ifnull (length (block.data), 0) AS bytes, block.content AS content"
    " FROM contents JOIN disk ON disk.name = contents.disk"
    "  LEFT JOIN snapshot ON snapshot.disk = disk.id"
    "   AND snapshot.name = contents.snapshot"
    "  JOIN block ON block.id = contents.id";

const char unit_layer_checksums[] =
    "UPDATE layer SET checksum = " LAYER_CHECKSUM;

const char unit_disk_checksums[] = "UPDATE disk SET checksum = " DISK_CHECKSUM;

const char unit_snapshot_checksums[] =
    "UPDATE snapshot SET checksum = " SNAPSHOT_CHECKSUM;

const char unit_feature_checksums[] =
    "UPDATE feature SET checksum = " FEATURE_CHECKSUM;

const char unit_property_checksums[] =
    "UPDATE property SET checksum = " PROPERTY_CHECKSUM;

void
unit_alarm (unsigned seconds)
{
  const char *slow = getenv ("SQLBLOCK_SLOW");

  alarm (seconds * (slow ? atoi (slow) : 1));
}

int
unit_setup (void **state)
{
  (void)state;
  unit_alarm (LONGEST);
  strcpy (directory + strlen (directory) - 6, "XXXXXX");
  assert_non_null (mkdtemp (directory));
  return 0;
}

static int
remove_one (const char *path, const struct stat *st, int type,
            struct FTW *place)
{
  (void)st;
  (void)type;
  (void)place;
  return remove (path);
}

int
unit_remove_directory (const char *path)
{
  return nftw (path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int
unit_teardown (void **state)
{
  (void)state;
  while (paths_count > 0)
    free (paths[--paths_count]);
  alarm (0);
  chmod (directory, 0700);
  return unit_remove_directory (directory);
}

const char *
unit_directory (void)
{
  return directory;
}

char *
unit_path (const char *name)
{
  char *path;

  assert_true (paths_count < sizeof paths / sizeof paths[0]);
  assert_true (asprintf (&path, "%s/%s", directory, name) > 0);
  paths[paths_count++] = path;
  return path;
}

char *
unit_database (void)
{
  return unit_path ("database.sqlite");
}

char *
unit_read_file (const char *path, size_t *size)
{
  const int fd = open (path, O_RDONLY);
  struct stat st;
  char *bytes;

  if (fd == -1)
    return NULL;
  assert_int_equal (fstat (fd, &st), 0);
  bytes = malloc (st.st_size + 1);
  assert_non_null (bytes);
  assert_int_equal (read (fd, bytes, st.st_size), st.st_size);
  close (fd);
  *size = st.st_size;
  return bytes;
}

void
unit_write_file (const char *path, const void *bytes, size_t size)
{
  const int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

  assert_true (fd >= 0);
  assert_int_equal (write (fd, bytes, size), size);
  close (fd);
}

const struct cipher_key *unit_key;

const struct secret *
unit_encrypt (struct disk_options *options)
{
  static const char key_file[] = "32 bytes are a key, and these are more";
  static struct encryption encryption;
  static struct secret *secrets;
  struct status status;

  assert_true (encryption_is_built ());
  if (secrets == NULL)
    assert_ok (secret_add (&secrets, SECRET_KEY_FILE, key_file, sizeof key_file,
                           &status),
               &status);
  assert_ok (encryption_make (secrets, &encryption, &status), &status);
  unit_key = encryption_derive (&encryption, secrets, &status);
  assert_non_null (unit_key);
  options->encryption = encryption.header;
  options->slot = encryption.slots[0];
  return secrets;
}

void
unit_create (const char *path, const struct disk_options *options)
{
  struct status status;

  assert_ok (database_create (path, options, &status), &status);
}

void
unit_open (struct connection *connection, const char *path,
           enum connection_mode mode)
{
  struct status status;

  assert_ok (database_open (connection, path, mode, NULL, &status), &status);
}

void
unit_close (struct connection *connection)
{
  struct marking_end end;
  struct status status;

  assert_ok (marking_end_log (connection, MARK_CLOSED, &end, &status), &status);
  assert_ok (marking_permit_close (connection, &end, &status), &status);
  connection_close (connection);
}

static void
print_warning (const char *message)
{
  print_message ("%s\n", message);
}

static struct store *
open_store (const char *path, bool tolerant)
{
  const struct store_options options = {
    .command = true,
    .tolerant = tolerant,
    .limits = checkpoint_limits_default,
    .warn = print_warning,
  };
  struct status status;
  struct store *store = store_open (path, &options, &status);

  if (store == NULL)
    fail_msg ("%s", status.message);
  return store;
}

void
unit_ignore_warning (const char *message)
{
  (void)message;
}

int
unit_ignore_disk (const struct disk_info *info, void *opaque)
{
  (void)info;
  (void)opaque;
  return 0;
}

int
unit_ignore_extent (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  (void)offset;
  (void)count;
  (void)hole;
  (void)opaque;
  return 0;
}

struct store *
unit_open_store (const char *path)
{
  return open_store (path, false);
}

struct store *
unit_open_tolerant (const char *path)
{
  return open_store (path, true);
}

sqlite3 *
unit_open_raw (const char *path)
{
  sqlite3 *db;

  assert_int_equal (
      sqlite3_open_v2 (path, &db, SQLITE_OPEN_READWRITE, VFS_NAME), SQLITE_OK);
  assert_int_equal (checksum_register (db), SQLITE_OK);
  unit_sql (db, "PRAGMA ignore_check_constraints = ON;"
                "PRAGMA foreign_keys = OFF;"
                "PRAGMA writable_schema = ON;"
                "PRAGMA synchronous = OFF");
  /* What it does then belongs to the file, and the file is complete when it
   * is the last to close it.  What has no mark, or is locked, stays as it is.
   */
  sqlite3_exec (db, "UPDATE mark SET state = 4, salts = randomblob (8)", NULL,
                NULL, NULL);
  sqlite3_busy_timeout (db, 20000);
  return db;
}

/* Run SQL, which is freed. */
static void
run (sqlite3 *db, char *sql)
{
  assert_non_null (sql);
  if (sqlite3_exec (db, sql, NULL, NULL, NULL) != SQLITE_OK)
    fail_msg ("%s: %s", sql, sqlite3_errmsg (db));
  sqlite3_free (sql);
}

void
unit_sql (sqlite3 *db, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  run (db, sqlite3_vmprintf (format, args));
  va_end (args);
}

void
unit_sql_on (const char *path, const char *format, ...)
{
  sqlite3 *db = unit_open_raw (path);
  va_list args;

  va_start (args, format);
  run (db, sqlite3_vmprintf (format, args));
  va_end (args);
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
}

void
unit_sql_hostile (const char *path, const char *format, ...)
{
  sqlite3 *db = unit_open_raw (path);
  va_list args;

  unit_sql (db, "CREATE TEMP TABLE original AS"
                " SELECT name AS object, sql AS text FROM sqlite_schema;"
                "UPDATE sqlite_schema SET sql ="
                " replace (replace (sql, 'NOT NULL', ''), ' STRICT', '')"
                " WHERE type = 'table' AND name NOT GLOB 'sqlite_*';"
                "PRAGMA writable_schema = RESET;"
                "PRAGMA writable_schema = ON");
  va_start (args, format);
  run (db, sqlite3_vmprintf (format, args));
  va_end (args);
  unit_sql (db, "UPDATE sqlite_schema SET sql = (SELECT text FROM original"
                " WHERE object = name)");
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
}

/* The one integer that SQL returns, which is freed. */
static int64_t
ask (sqlite3 *db, char *sql)
{
  sqlite3_stmt *statement;
  int64_t value;

  assert_non_null (sql);
  if (sqlite3_prepare_v2 (db, sql, -1, &statement, NULL) != SQLITE_OK ||
      sqlite3_step (statement) != SQLITE_ROW)
    fail_msg ("%s: %s", sql, sqlite3_errmsg (db));
  value = sqlite3_column_int64 (statement, 0);
  sqlite3_finalize (statement);
  sqlite3_free (sql);
  return value;
}

int64_t
unit_integer (sqlite3 *db, const char *format, ...)
{
  int64_t value;
  va_list args;

  va_start (args, format);
  value = ask (db, sqlite3_vmprintf (format, args));
  va_end (args);
  return value;
}

int64_t
unit_integer_on (const char *path, const char *format, ...)
{
  sqlite3 *db = unit_open_raw (path);
  int64_t value;
  va_list args;

  va_start (args, format);
  value = ask (db, sqlite3_vmprintf (format, args));
  va_end (args);
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
  return value;
}

/* Rows that nobody sees, by the definition in schema.sql. */
static const char unseen_sql[] =
    "WITH viewer (layer, generation) AS ("
    " SELECT disk.layer, layer.generation FROM disk"
    "  JOIN layer ON layer.id = disk.layer"
    " UNION SELECT layer, generation FROM snapshot"
    " UNION SELECT parent, parent_generation FROM layer"
    "  WHERE parent IS NOT NULL),"
    " version AS (SELECT layer, generation, lead (generation) OVER"
    "  (PARTITION BY layer, number ORDER BY generation) AS newer FROM block)"
    "SELECT count (*) FROM version WHERE NOT EXISTS"
    " (SELECT 1 FROM viewer WHERE viewer.layer = version.layer"
    "  AND viewer.generation >= version.generation"
    "  AND viewer.generation < ifnull (version.newer, 1 << 62))";

/* Layers that nobody looks at. */
static const char orphans_sql[] =
    "SELECT count (*) FROM layer WHERE id NOT IN (SELECT layer FROM disk)"
    " AND id NOT IN (SELECT layer FROM snapshot) AND id NOT IN"
    " (SELECT parent FROM layer WHERE parent IS NOT NULL)";

enum codec
unit_codec (const char *name)
{
  struct compression compression;
  struct status status;

  if (compression_parse (name, &compression, &status) == -1)
    assert_int_equal (status.error, ENOTSUP);
  return compression.codec;
}

void
unit_assert_contents (sqlite3 *db)
{
  assert_int_equal (
      unit_integer (db, "SELECT count (*) FROM content WHERE NOT EXISTS"
                        " (SELECT 1 FROM block INDEXED BY block_content"
                        "  WHERE codec = 4 AND content = content.id)"),
      0);
  assert_int_equal (unit_integer (db, "SELECT count (*) FROM block"
                                      " WHERE codec = 4 AND content NOT IN"
                                      " (SELECT id FROM content)"),
                    0);
}

/* All views, as one statement that drops them. */
static char *
drop_views (sqlite3 *db)
{
  static const char views_sql[] =
      "SELECT group_concat ('DROP VIEW ' || name, ';')"
      " FROM sqlite_schema WHERE type = 'view'";
  sqlite3_stmt *views;
  char *sql;

  assert_int_equal (sqlite3_prepare_v2 (db, views_sql, -1, &views, NULL), 0);
  assert_int_equal (sqlite3_step (views), SQLITE_ROW);
  sql = strdup ((const char *)sqlite3_column_text (views, 0));
  assert_non_null (sql);
  sqlite3_finalize (views);
  return sql;
}

void
unit_assert_sound (const char *path)
{
  sqlite3 *db = unit_open_raw (path);
  char *sql = drop_views (db);

  unit_sql (db, "BEGIN; %s", sql);
  assert_int_equal (unit_integer (db, "SELECT count (*) FROM"
                                      " pragma_integrity_check"
                                      " WHERE integrity_check <> 'ok'"),
                    0);
  unit_sql (db, "ROLLBACK");
  sqlite3_close (db);
  free (sql);
}

void
unit_assert_reclaimed (const char *path)
{
  sqlite3 *db = unit_open_raw (path);

  assert_int_equal (unit_integer (db, unseen_sql), 0);
  assert_int_equal (unit_integer (db, orphans_sql), 0);
  assert_int_equal (unit_integer (db, "SELECT count (*) FROM reclaim"), 0);
  unit_assert_contents (db);
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
}

void
unit_assert_result (int64_t result, const struct status *status, int64_t wanted,
                    const char *file, int line)
{
  if (result == wanted)
    return;
  print_error ("the result is %" PRId64 " instead of %" PRId64 "\n", result,
               wanted);
  if (result == -1)
    print_error ("%s (%s)\n", status->message, strerror (status->error));
  _fail (file, line);
}

void
unit_assert_fails (int64_t result, const struct status *status, int error,
                   const char *text, const char *file, int line)
{
  if (result != -1)
    print_error ("the result is %" PRId64 ", but it was to fail\n", result);
  else if (status->error != error || !strstr (status->message, text))
    print_error ("expected: %s (%s)\ngot: %s (%s)\n", text, strerror (error),
                 status->message, strerror (status->error));
  else
    return;
  _fail (file, line);
}

uint64_t
unit_seed (void)
{
  const char *given = getenv ("SQLBLOCK_SEED");
  uint64_t seed = 0;

  if (given)
    seed = strtoull (given, NULL, 10);
  else
    assert_int_equal (getrandom (&seed, 4, 0), 4);
  print_message ("seed: %" PRIu64 " (set SQLBLOCK_SEED to repeat)\n", seed);
  return seed;
}
