/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The database file: making it, telling it from others, and opening it.
 *
 * What is not ours, or is damaged, must be left exactly as it was: tests
 * compare a print of the whole directory, with times and contents.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "block/checksum.h"
#include "rows/database.h"
#include "sqlite/files.h"
#include "sqlite/marking.h"

static const struct disk_options web = {
  .name = "web",
  .size = 1 << 20,
};

/*--------------------------------------------------------------------
 * Files.
 */

static void
copy_file (const char *from, const char *to)
{
  size_t size;
  char *bytes = unit_read_file (from, &size);

  assert_non_null (bytes);
  unit_write_file (to, bytes, size);
  free (bytes);
}

/* The path of a file beside PATH, such as its log. */
static const char *
beside (const char *path, const char *suffix)
{
  char name[100];

  snprintf (name, sizeof name, "%s%s", strrchr (path, '/') + 1, suffix);
  return unit_path (name);
}

/* A hash of one directory entry with all that a change would change. */
static uint64_t
print_entry (const char *name)
{
  char *path, *text, *bytes;
  struct stat st;
  uint64_t hash;
  size_t size = 0;

  assert_true (asprintf (&path, "%s/%s", unit_directory (), name) > 0);
  assert_int_equal (lstat (path, &st), 0);
  bytes = S_ISREG (st.st_mode) ? unit_read_file (path, &size) : NULL;
  assert_true (asprintf (&text, "%s %o %ju %jd.%09ld %" PRIx64, name,
                         (unsigned)st.st_mode, (uintmax_t)st.st_ino,
                         (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                         checksum_bytes (bytes, size)) > 0);
  hash = checksum_bytes (text, strlen (text));
  free (bytes);
  free (text);
  free (path);
  return hash;
}

/* A hash of the test's directory; *COUNT is how many entries it has. */
static uint64_t
print_directory (int *count)
{
  DIR *directory = opendir (unit_directory ());
  const struct dirent *entry;
  uint64_t sum = 0;

  assert_non_null (directory);
  *count = 0;
  while ((entry = readdir (directory)))
    if (strcmp (entry->d_name, ".") != 0 && strcmp (entry->d_name, "..") != 0) {
      sum += print_entry (entry->d_name);
      ++*count;
    }
  closedir (directory);
  return sum;
}

static void
assert_entries (int wanted)
{
  int count;

  print_directory (&count);
  assert_int_equal (count, wanted);
}

/* Run IN_CHILD in a child process; returns its exit code. */
static int
run_child (int (*in_child) (void *opaque), void *opaque)
{
  const pid_t pid = fork ();
  int status;

  assert_true (pid >= 0);
  if (pid == 0)
    _exit (in_child (opaque));
  assert_int_equal (waitpid (pid, &status, 0), pid);
  assert_true (WIFEXITED (status));
  return WEXITSTATUS (status);
}

/*--------------------------------------------------------------------
 * Making a database.
 */

/* What schema.sql promises about a file. */
static void
test_create (void **state)
{
  const mode_t mask = umask (0);
  const char *path = unit_database ();
  struct stat st;
  sqlite3 *db;

  (void)state;
  unit_create (path, &web);
  umask (mask);
  assert_entries (1);
  assert_int_equal (stat (path, &st), 0);
  assert_int_equal (st.st_mode, S_IFREG | 0600);

  db = unit_open_raw (path);
  assert_int_equal (unit_integer (db, "PRAGMA application_id"), 0x73716c62);
  assert_int_equal (unit_integer (db, "PRAGMA user_version"), DATABASE_FORMAT);
  assert_int_equal (unit_integer (db, "PRAGMA auto_vacuum"), 2);
  assert_int_equal (unit_integer (db, "SELECT encoding = 'UTF-8'"
                                      " FROM pragma_encoding"),
                    1);
  assert_int_equal (unit_integer (db, "SELECT journal_mode = 'wal'"
                                      " FROM pragma_journal_mode"),
                    1);
  assert_int_equal (unit_integer (db, "SELECT integrity_check = 'ok'"
                                      " FROM pragma_integrity_check"),
                    1);
  assert_int_equal (unit_integer (db, "SELECT count (*) FROM disk"
                                      " WHERE name = 'web' AND size = 1 << 20"
                                      " AND abs (created - unixepoch ()) < 60"),
                    1);
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
}

/* Any name of a file works, in a URI too, and a relative one. */
static void
test_file_names (void **state)
{
  static const char *const names[] = {
    "a b.sqlite", "50%25.sqlite", "what?mode=memory",
    "a#b&c=d;e",  "'\"\\",        ":memory:",
    "-",          "new\nline",    "Pl\xc3\xa4tze",
    "\xff",
  };
  const int cwd = open (".", O_RDONLY | O_DIRECTORY);
  struct connection connection;
  struct disk_info info;
  struct status status;

  (void)state;
  assert_int_equal (chdir (unit_directory ()), 0);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    print_message ("%s\n", names[i]);
    unit_create (i % 2 ? names[i] : unit_path (names[i]), &web);
    assert_int_equal (access (unit_path (names[i]), F_OK), 0);
    assert_entries (i + 1);
    assert_result (database_examine (names[i], &status), &status, 1);
    unit_open (&connection, names[i], CONNECTION_WRITE);
    assert_result (disks_find (&connection, "", &info, &status), &status, 1);
    unit_close (&connection);
  }
  assert_int_equal (fchdir (cwd), 0);
  close (cwd);
}

/* What stands at the path is not overwritten, whatever it is. */
static void
test_create_exists (void **state)
{
  const char *path = unit_database ();
  struct status status;
  uint64_t before;
  int count;

  (void)state;
  for (int kind = 0; kind < 5; kind++) {
    if (kind == 0)
      unit_write_file (path, "precious", 8);
    else if (kind == 1)
      unit_write_file (path, "", 0);
    else if (kind == 2)
      unit_create (path, &web);
    else if (kind == 3)
      assert_int_equal (mkdir (path, 0700), 0);
    else
      assert_int_equal (symlink ("nowhere", path), 0);
    before = print_directory (&count);
    assert_fails (database_create (path, &web, &status), &status, EEXIST, path);
    assert_int_equal (print_directory (&count), before);
    assert_int_equal (remove (path), 0);
  }
}

static void
test_create_fails (void **state)
{
  static const struct disk_options no_size = { .name = "web" };
  struct status status;

  (void)state;
  assert_fails (database_create (unit_path ("none/a.sqlite"), &web, &status),
                &status, ENOENT, "none/a.sqlite");
  assert_int_equal (database_create (unit_database (), &no_size, &status), -1);
  assert_entries (0);
  unit_write_file (unit_path ("file"), "", 0);
  assert_fails (database_create (unit_path ("file/a.sqlite"), &web, &status),
                &status, ENOTDIR, "file/a.sqlite");
  assert_entries (1);
}

static void
test_check_directory (void **state)
{
  struct status status;

  (void)state;
  assert_ok (files_check_directory (unit_database (), &status), &status);
  assert_entries (0);
  assert_fails (files_check_directory (unit_path ("none/a"), &status), &status,
                ENOENT, "none");
  unit_write_file (unit_path ("file"), "", 0);
  assert_fails (files_check_directory (unit_path ("file/a"), &status), &status,
                ENOTDIR, "file");
}

/* Make the database where files can have *LIMIT bytes at most. */
static int
create_limited (void *opaque)
{
  const rlim_t *limit = opaque;
  struct status status;

  signal (SIGXFSZ, SIG_IGN);
  if (setrlimit (RLIMIT_FSIZE, &(struct rlimit){ .rlim_cur = *limit,
                                                 .rlim_max = *limit }) == -1)
    return 2;
  return database_create (unit_database (), &web, &status) == -1;
}

/* Wherever the storage fails, there is a whole database or nothing. */
static void
test_create_without_space (void **state)
{
  int good = 0, bad = 0;

  (void)state;
  for (rlim_t limit = 0; limit <= 160 * 1024; limit += 4096) {
    const int code = run_child (create_limited, &limit);
    struct connection connection;

    assert_uint_in_range (code, 0, 1);
    if (code == 0) {
      unit_open (&connection, unit_database (), CONNECTION_WRITE);
      unit_close (&connection);
      assert_int_equal (unlink (unit_database ()), 0);
      good++;
    }
    else
      bad++;
    assert_entries (0);
  }
  print_message ("%d failed, %d succeeded\n", bad, good);
  assert_true (good > 0 && bad > 0);
}

/* Of several that make the same file at once, one succeeds. */
static void
test_create_race (void **state)
{
  enum { CREATORS = 6 };
  int good = 0, status;
  pid_t pid;

  (void)state;
  for (int i = 0; i < CREATORS; i++) {
    pid = fork ();
    assert_true (pid >= 0);
    if (pid == 0) {
      struct status why;

      if (database_create (unit_database (), &web, &why) == 0)
        _exit (0);
      _exit (why.error == EEXIST ? 1 : 2);
    }
  }
  for (int i = 0; i < CREATORS; i++) {
    assert_true (wait (&status) > 0);
    assert_true (WIFEXITED (status));
    assert_uint_in_range (WEXITSTATUS (status), 0, 1);
    good += WEXITSTATUS (status) == 0;
  }
  assert_int_equal (good, 1);
  assert_entries (1);
}

/* Killed at any moment, the file is not there or whole. */
static void
test_create_killed (void **state)
{
  uint64_t seed = unit_seed ();
  struct connection connection;
  struct status status;
  int whole = 0;

  (void)state;
  for (int i = 0; i < 40; i++) {
    const pid_t pid = fork ();

    assert_true (pid >= 0);
    if (pid == 0)
      _exit (database_create (unit_database (), &web, &status) == -1);
    nanosleep (&(struct timespec){ .tv_nsec = random_below (&seed, 25000000) },
               NULL);
    kill (pid, SIGKILL);
    assert_int_equal (waitpid (pid, NULL, 0), pid);
    if (database_examine (unit_database (), &status) == 0)
      continue;
    unit_open (&connection, unit_database (), CONNECTION_WRITE);
    unit_close (&connection);
    assert_int_equal (unlink (unit_database ()), 0);
    whole++;
  }
  print_message ("%d of 40 were made before they were killed\n", whole);
}

/* A log or journal of a database that is gone is not taken for the new
 * one's: making it fails, or it is as new.
 */
static void
check_stale_file (const char *journal_mode, const char *suffix)
{
  const char *path = unit_database ();
  struct connection connection;
  struct disk_info info;
  struct status status;
  sqlite3 *db;

  unit_create (path, &(struct disk_options){ .name = "old", .size = 4096 });
  db = unit_open_raw (path);
  unit_sql (db,
            "PRAGMA journal_mode = %s; PRAGMA cache_size = 5; BEGIN;"
            "UPDATE disk SET name = 'older';"
            "INSERT INTO block SELECT value, 1, value, 1, 1, 0, NULL,"
            " randomblob (4096) FROM json_each ('[1,2,3,4,5,6,7,8,9,10,11]')",
            journal_mode);
  if (strcmp (journal_mode, "WAL") == 0)
    unit_sql (db, "COMMIT");
  copy_file (beside (path, suffix), unit_path ("saved"));
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
  assert_int_equal (unlink (path), 0);
  assert_int_equal (rename (unit_path ("saved"), beside (path, suffix)), 0);

  if (database_create (path, &web, &status) == 0) {
    unit_open (&connection, path, CONNECTION_WRITE);
    assert_result (disks_find (&connection, "web", &info, &status), &status, 1);
    connection_close (&connection);
  }
  else
    assert_fails (-1, &status, EEXIST, suffix);
}

static void
test_stale_log (void **state)
{
  (void)state;
  check_stale_file ("WAL", "-wal");
}

static void
test_stale_journal (void **state)
{
  (void)state;
  check_stale_file ("DELETE", "-journal");
}

/* Empty ones are what a server that only read leaves: they are no hindrance.
 */
static void
test_empty_leftovers (void **state)
{
  static const char *const suffixes[] = { "-wal", "-shm", "-journal" };
  const char *path = unit_database ();
  struct connection connection;

  (void)state;
  unit_create (path, &web);
  unit_open (&connection, path, CONNECTION_READ);
  connection_close (&connection);
  assert_int_equal (unlink (path), 0);
  for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++)
    unit_write_file (beside (path, suffixes[i]), "", 0);
  unit_create (path, &web);
  unit_open (&connection, path, CONNECTION_WRITE);
  connection_close (&connection);
}

/*--------------------------------------------------------------------
 * Telling files apart.
 */

/* Examine a file: RESULT is what database_examine must return and ERROR
 * the errno with -1.  Nothing may change.
 */
static void
check_examine (const char *path, int result, int error, const char *text)
{
  struct status status;
  uint64_t before;
  int count;

  before = print_directory (&count);
  if (result == -1)
    assert_fails (database_examine (path, &status), &status, error, text);
  else
    assert_result (database_examine (path, &status), &status, result);
  assert_int_equal (print_directory (&count), before);
}

/* The same with a file of these bytes. */
static void
check_examine_bytes (const void *bytes, size_t size, const char *text)
{
  const char *path = unit_path ("file");

  unit_write_file (path, bytes, size);
  check_examine (path, -1, EINVAL, text);
  assert_int_equal (unlink (path), 0);
}

static void
test_examine_garbage (void **state)
{
  uint64_t seed = unit_seed ();
  char bytes[10000];

  (void)state;
  check_examine (unit_path ("file"), 0, 0, "");
  check_examine_bytes ("", 0, "is not an SQLite database");
  check_examine_bytes ("x", 1, "is not an SQLite database");
  check_examine_bytes ("SQLite format 3", 16, "not one of sqlblock");
  check_examine_bytes ("SQLite format 2", 16, "is not an SQLite database");
  for (size_t size = 50; size <= sizeof bytes; size += 995) {
    random_fill (&seed, bytes, sizeof bytes);
    check_examine_bytes (bytes, size, "is not an SQLite database");
  }
  memset (bytes, 0, sizeof bytes);
  check_examine_bytes (bytes, sizeof bytes, "is not an SQLite database");
  memcpy (bytes, "SQLite format 3", 16);
  check_examine_bytes (bytes, sizeof bytes, "not one of sqlblock");
}

/* Things that are not files. */
static void
test_examine_other (void **state)
{
  const char *path = unit_path ("thing");

  (void)state;
  check_examine (unit_directory (), -1, EINVAL, "is not a regular file");
  assert_int_equal (mkfifo (path, 0600), 0);
  check_examine (path, -1, EINVAL, "is not a regular file");
  assert_int_equal (unlink (path), 0);
  assert_int_equal (symlink ("nowhere", path), 0);
  check_examine (path, -1, ENOENT, "is a symbolic link to nothing");
  check_examine (unit_path ("none/file"), 0, 0, "");
  check_examine ("/dev/null", -1, EINVAL, "is not a regular file");
}

/* Ours, as a file alone, and as a killed server leaves it. */
static void
test_examine_ours (void **state)
{
  const char *path = unit_database ();
  sqlite3 *db;

  (void)state;
  unit_create (path, &web);
  check_examine (path, 1, 0, "");
  assert_int_equal (symlink (path, unit_path ("link")), 0);
  check_examine (unit_path ("link"), 1, 0, "");

  db = unit_open_raw (path);
  unit_sql (db, "UPDATE disk SET size = 1");
  copy_file (path, unit_path ("killed"));
  copy_file (beside (path, "-wal"), unit_path ("killed-wal"));
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
  check_examine (unit_path ("killed"), 1, 0, "");
}

static void
test_examine_formats (void **state)
{
  const char *path = unit_database ();

  (void)state;
  unit_create (path, &web);
  unit_sql_hostile (path, "PRAGMA user_version = %d", DATABASE_FORMAT + 1);
  check_examine (path, -1, ENOTSUP, "use a newer version");
  unit_sql_hostile (path, "PRAGMA user_version = 1");
  check_examine (path, -1, ENOTSUP, "has format 1, which no release used");
  unit_sql_hostile (path, "PRAGMA user_version = -1");
  check_examine (path, -1, ENOTSUP, "has format 4294967295");
  unit_sql_hostile (path, "PRAGMA user_version = 0");
  check_examine (path, -1, ENOTSUP, "which no release used");
  unit_sql_hostile (path, "PRAGMA application_id = 0x12345678");
  check_examine (path, -1, EINVAL, "application_id is 0x12345678");
}

/* Another application's database, as its owner left it in the middle of a
 * transaction: what SQLite would do about that must not happen.
 */
static void
check_foreign (const char *journal_mode, const char *suffix)
{
  const char *path = unit_path ("foreign");
  sqlite3 *db;

  unit_write_file (path, "", 0);
  db = unit_open_raw (path);
  unit_sql (db,
            "PRAGMA journal_mode = %s; PRAGMA cache_size = 5;"
            "CREATE TABLE t (x); INSERT INTO t VALUES (randomblob (100000));"
            "BEGIN; UPDATE t SET x = randomblob (100000)",
            journal_mode);
  copy_file (path, unit_path ("copy"));
  copy_file (beside (path, suffix), beside (unit_path ("copy"), suffix));
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
  check_examine (path, -1, EINVAL, "not one of sqlblock");
  check_examine (unit_path ("copy"), -1, EINVAL, "not one of sqlblock");
  assert_int_equal (unlink (path), 0);
}

static void
test_examine_foreign (void **state)
{
  (void)state;
  check_foreign ("DELETE", "-journal");
  check_foreign ("WAL", "-wal");
}

/*--------------------------------------------------------------------
 * Opening.
 */

/* Every connection has these settings. */
static void
test_settings (void **state)
{
  static const struct {
    const char *sql;
    int64_t value;
  } settings[] = {
    { "PRAGMA trusted_schema", 0 },
    { "PRAGMA cell_size_check", 1 },
    { "PRAGMA foreign_keys", 1 },
    { "PRAGMA secure_delete", 0 },
    { "PRAGMA synchronous", 1 },
    { "PRAGMA wal_autocheckpoint", 0 },
    { "PRAGMA max_page_count", 4294967294 },
  };
  struct connection connection;
  struct status status;
  int64_t value;

  (void)state;
  unit_create (unit_database (), &web);
  unit_open (&connection, unit_database (), CONNECTION_WRITE);
  for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
    print_message ("%s\n", settings[i].sql);
    assert_ok (
        connection_integer (&connection, settings[i].sql, &value, &status),
        &status);
    assert_int_equal (value, settings[i].value);
  }
  connection_close (&connection);
}

/* How many bytes the schema takes that a connection has read. */
static int
schema_bytes (struct connection *connection)
{
  int bytes, highest;

  assert_int_equal (sqlite3_db_status (connection->db,
                                       SQLITE_DBSTATUS_SCHEMA_USED, &bytes,
                                       &highest, 0),
                    SQLITE_OK);
  return bytes;
}

/* What only syncs and checkpoints the log has it open, and has not read the
 * schema: that takes most of the time to open a connection.
 */
static void
test_log_only (void **state)
{
  struct connection connection, writer;
  sqlite3_file *database, *log;
  struct status status;
  int frames, done;

  (void)state;
  unit_create (unit_database (), &web);
  assert_ok (connection_open (&connection, unit_database (), CONNECTION_LOG,
                              NULL, &status),
             &status);
  assert_ok (connection_touch (&connection, &status), &status);
  assert_int_equal (connection_files (&connection, &database, &log), SQLITE_OK);
  assert_non_null (log->pMethods);

  unit_open (&writer, unit_database (), CONNECTION_WRITE);
  assert_true (schema_bytes (&writer) > 0);
  unit_sql (writer.db, "UPDATE disk SET name = name || 'x'");
  assert_int_equal (sqlite3_wal_checkpoint_v2 (connection.db, "main",
                                               SQLITE_CHECKPOINT_PASSIVE,
                                               &frames, &done),
                    SQLITE_OK);
  assert_true (frames > 0);
  assert_int_equal (done, frames);
  assert_int_equal (schema_bytes (&connection), 0);
  connection_close (&writer);
  connection_close (&connection);
}

/* Opening fails for reading and for writing and does not change the file.
 */
static void
check_refused (const char *path, const char *text)
{
  static const enum connection_mode modes[] = {
    CONNECTION_READ,
    CONNECTION_WRITE,
  };
  struct connection connection;
  struct status status;
  size_t size, size_after;
  char *before = unit_read_file (path, &size), *after;

  assert_non_null (before);
  for (int i = 0; i < 2; i++) {
    assert_int_equal (
        database_open (&connection, path, modes[i], NULL, &status), -1);
    if (status.error != EINVAL && status.error != EIO)
      fail_msg ("%s (%s)", status.message, strerror (status.error));
    assert_fails (-1, &status, status.error, path);
    assert_fails (-1, &status, status.error, text);
    after = unit_read_file (path, &size_after);
    assert_non_null (after);
    assert_int_equal (size_after, size);
    assert_memory_equal (before, after, size);
    free (after);
  }
  free (before);
}

/* Each changes the schema in a way that must be noticed. */
static const char *const foreign_schemas[] = {
  "CREATE TABLE extra (x)",
  "CREATE INDEX extra ON block (id)",
  "CREATE INDEX extra ON disk (name) WHERE name > abs (-1)",
  "CREATE TRIGGER extra AFTER INSERT ON disk BEGIN DELETE FROM disk; END",
  "CREATE TRIGGER extra BEFORE UPDATE ON layer BEGIN SELECT 1; END",
  "CREATE VIRTUAL TABLE extra USING dbstat",
  "DROP INDEX block_by_number",
  "DROP INDEX block_zero",
  "DROP INDEX layer_by_parent",
  "DROP INDEX snapshot_by_layer",
  "DROP TABLE feature",
  "DROP TABLE snapshot",
  "DROP TABLE feature;"
  "CREATE VIEW feature AS SELECT 1 AS id, '' AS name, 0 AS disk, 1 AS class,"
  " 0 AS checksum",
  "ALTER TABLE block ADD COLUMN extra ANY",
  "ALTER TABLE disk RENAME COLUMN name TO title",
  "ALTER TABLE feature RENAME TO features",
  "DROP INDEX block_by_number;"
  "CREATE INDEX block_by_number ON block (layer, number, generation)",
  "DROP INDEX block_zero;"
  "CREATE INDEX block_zero ON block (layer, number, generation)",
  "UPDATE sqlite_schema SET sql = replace (sql, ' STRICT', '')",
  "UPDATE sqlite_schema SET sql = replace (sql, 'CHECK (size > 0)', '')",
  "UPDATE sqlite_schema SET sql = replace (sql, 'In bytes', 'In bits')",
  /* Disguised as what is tolerated. */
  "INSERT INTO sqlite_schema VALUES ('view', 'extra', 'disk', 0,"
  " 'CREATE TRIGGER extra AFTER INSERT ON disk BEGIN DELETE FROM disk; END')",
  "INSERT INTO sqlite_schema VALUES ('trigger', 'sqlite_stat1', 'disk', 0,"
  " 'CREATE TRIGGER sqlite_stat1 AFTER INSERT ON disk"
  " BEGIN DELETE FROM disk; END')",
  "INSERT INTO sqlite_schema VALUES ('view', 'sqlite_stat1',"
  " 'sqlite_stat1', 0, 'CREATE VIEW sqlite_stat1 AS WITH RECURSIVE n (n) AS"
  " (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT n AS tbl, n AS idx,"
  " n AS stat FROM n')",
  "CREATE UNIQUE INDEX extra ON block (codec);"
  "UPDATE sqlite_schema SET name = 'sqlite_stat4',"
  " sql = replace (sql, 'extra', 'sqlite_stat4') WHERE name = 'extra'",
  "CREATE VIEW block2 AS SELECT 1;"
  "UPDATE sqlite_schema SET name = 'block', tbl_name = 'block',"
  " sql = 'CREATE VIEW block AS SELECT 1' WHERE name = 'block2'",
  "INSERT INTO sqlite_schema VALUES ('table', 'block', 'block', 2,"
  " 'CREATE TABLE block (id)')",
  "UPDATE sqlite_schema SET type = 'view' WHERE name = 'snapshot'",
  "DELETE FROM sqlite_schema",
};

static void
test_foreign_schema (void **state)
{
  const char *path = unit_database ();

  (void)state;
  unit_create (path, &web);
  copy_file (path, unit_path ("good"));
  for (size_t i = 0; i < sizeof foreign_schemas / sizeof foreign_schemas[0];
       i++) {
    print_message ("%s\n", foreign_schemas[i]);
    unit_sql_on (path, foreign_schemas[i]);
    check_refused (path, "");
    copy_file (unit_path ("good"), path);
    unlink (beside (path, "-wal"));
    unlink (beside (path, "-shm"));
  }
}

/* Views and statistics are let be: they are never used. */
static void
test_tolerated (void **state)
{
  static const char *const additions[] = {
    "CREATE VIEW extra AS SELECT name FROM disk",
    "CREATE VIEW \"sqlblock's\" AS SELECT no_such_function (1)",
    "CREATE VIEW disks AS SELECT * FROM no_such_table",
    "ANALYZE",
    "ANALYZE; DELETE FROM sqlite_stat1",
  };
  const char *path = unit_database ();
  struct connection connection;
  struct disk_info info;
  struct status status;

  (void)state;
  unit_create (path, &web);
  for (size_t i = 0; i < sizeof additions / sizeof additions[0]; i++) {
    print_message ("%s\n", additions[i]);
    unit_sql_on (path, additions[i]);
    for (int write = 0; write < 2; write++) {
      unit_open (&connection, path, write ? CONNECTION_WRITE : CONNECTION_READ);
      assert_result (disks_find (&connection, "web", &info, &status), &status,
                     1);
      connection_close (&connection);
    }
  }
}

/* A trigger that comes after the database was opened does not run, and no
 * view can be read.
 */
static void
test_nothing_runs (void **state)
{
  static const char view_sql[] = "SELECT * FROM extra";
  const char *path = unit_database ();
  struct connection connection;
  struct disk_info info;
  struct status status;

  (void)state;
  unit_create (path, &web);
  unit_open (&connection, path, CONNECTION_WRITE);
  unit_sql_on (path, "CREATE VIEW extra AS SELECT 1;"
                     "CREATE TRIGGER evil_disk AFTER INSERT ON disk"
                     " BEGIN DELETE FROM disk; END;"
                     "CREATE TRIGGER evil_layer AFTER INSERT ON layer"
                     " BEGIN SELECT RAISE (ABORT, 'evil'); END");
  assert_ok (marking_begin (&connection, &status), &status);
  assert_ok (disks_create (&connection,
                           &(struct disk_options){ .name = "new", .size = 1 },
                           &status),
             &status);
  assert_ok (connection_commit (&connection, &status), &status);
  assert_result (disks_find (&connection, "web", &info, &status), &status, 1);
  assert_result (disks_find (&connection, "new", &info, &status), &status, 1);
  assert_fails (connection_run (&connection, view_sql, &status), &status, EIO,
                "extra");
  connection_close (&connection);
}

static void
test_features (void **state)
{
  static const struct {
    const char *name, *class;
    int disk;
    int read_error, write_error; /* 0: it opens */
  } cases[] = {
    { "shiny", "1", 0, 0, 0 },
    { "shiny", "2", 0, 0, EROFS },
    { "shiny", "3", 0, ENOTSUP, ENOTSUP },
    { "shiny", "4", 0, ENOTSUP, ENOTSUP },
    { "shiny", "9223372036854775807", 0, ENOTSUP, ENOTSUP },
    { "shiny", "1", 1, 0, 0 },
    { "shiny", "2", 1, 0, 0 },
    { "shiny", "3", 1, 0, 0 },
    { "dedup", "3", 0, 0, 0 },
    { "dedup", "4", 0, 0, 0 },
  };
  const char *path = unit_database ();
  struct connection connection;
  struct status status;

  (void)state;
  unit_create (path, &web);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    for (int write = 0; write < 2; write++) {
      const int error = write ? cases[i].write_error : cases[i].read_error;
      int r;

      print_message ("%s of class %s, to %s\n", cases[i].name, cases[i].class,
                     write ? "write" : "read");
      unit_sql_hostile (path,
                        "DELETE FROM feature; INSERT INTO feature VALUES"
                        " (1, 'old', 0, 1, 0), (2, %Q, %d, %s, 0); %s",
                        cases[i].name, cases[i].disk, cases[i].class,
                        unit_feature_checksums);
      r = database_open (&connection, path,
                         write ? CONNECTION_WRITE : CONNECTION_READ, NULL,
                         &status);
      if (error)
        assert_fails (r, &status, error, "'shiny'");
      else
        assert_ok (r, &status);
      connection_close (&connection);
    }
}

/* A class that cannot be believed is that of who must refuse, unless it is
 * known what the name stands for.
 */
static void
test_damaged_features (void **state)
{
  const char *path = unit_database ();
  struct connection connection;
  struct status status;

  (void)state;
  unit_create (path, &web);
  unit_sql_hostile (path, "DELETE FROM feature;"
                          "INSERT INTO feature VALUES (1, 'dedup', 0, 1, 0)");
  assert_ok (database_open (&connection, path, CONNECTION_WRITE, NULL, &status),
             &status);
  connection_close (&connection);
  unit_sql_hostile (path, "INSERT INTO feature VALUES (2, 'shiny', 0, 1, 0)");
  assert_fails (
      database_open (&connection, path, CONNECTION_READ, NULL, &status),
      &status, EIO, "'shiny' of the database is damaged");
}

/* A database that somebody switched to another journal gets its log back
 * when it is opened for writing; for reading it is left.
 */
static void
test_other_journal (void **state)
{
  static const char *const modes[] = { "DELETE", "TRUNCATE", "PERSIST" };
  const char *path = unit_database ();
  struct connection connection;
  sqlite3 *db;

  (void)state;
  unit_create (path, &web);
  for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
    unit_sql_on (path, "PRAGMA journal_mode = %s", modes[i]);
    unit_open (&connection, path, CONNECTION_READ);
    connection_close (&connection);
    db = unit_open_raw (path);
    assert_int_equal (unit_integer (db, "SELECT journal_mode <> 'wal'"
                                        " FROM pragma_journal_mode"),
                      1);
    sqlite3_close (db);
    unit_open (&connection, path, CONNECTION_WRITE);
    connection_close (&connection);
    db = unit_open_raw (path);
    assert_int_equal (unit_integer (db, "SELECT journal_mode = 'wal'"
                                        " FROM pragma_journal_mode"),
                      1);
    sqlite3_close (db);
  }
}

/* A file that ends too early. */
static void
test_truncated (void **state)
{
  const char *path = unit_database ();
  size_t size;
  char *bytes;

  (void)state;
  unit_create (path, &web);
  bytes = unit_read_file (path, &size);
  assert_non_null (bytes);
  for (size_t left = 100; left < size; left += 1000) {
    unit_write_file (path, bytes, left);
    check_refused (path, "");
  }
  free (bytes);
}

static void
test_missing (void **state)
{
  struct connection connection;
  struct status status;

  (void)state;
  assert_fails (database_open (&connection, unit_database (), CONNECTION_READ,
                               NULL, &status),
                &status, EIO, unit_database ());
  assert_fails (database_open (&connection, unit_database (), CONNECTION_WRITE,
                               NULL, &status),
                &status, EIO, unit_database ());
  assert_entries (0);
}

/*--------------------------------------------------------------------
 * Files and directories that may only be read, as a user who is not root.
 */

enum opened { OPENED, OPENED_IMMUTABLE, EXISTS_BUT_READ_ONLY, OTHER };

/* Open the database for *MODE. */
static int
open_as_nobody (void *opaque)
{
  const enum connection_mode *mode = opaque;
  struct connection connection;
  struct disk_info info;
  struct status status;

  if (geteuid () == 0 && (setgid (65534) == -1 || setuid (65534) == -1))
    return OTHER;
  if (database_open (&connection, unit_database (), *mode, NULL, &status) ==
      -1) {
    printf ("%s (%s)\n", status.message, strerror (status.error));
    fflush (stdout);
    return status.error == EROFS ? EXISTS_BUT_READ_ONLY : OTHER;
  }
  if (disks_find (&connection, "web", &info, &status) != 1)
    return OTHER;
  return connection.mode == CONNECTION_IMMUTABLE ? OPENED_IMMUTABLE : OPENED;
}

static void
check_open (enum connection_mode mode, enum opened wanted)
{
  int count;
  const uint64_t before = print_directory (&count);

  assert_int_equal (run_child (open_as_nobody, &mode), wanted);
  assert_int_equal (print_directory (&count), before);
}

static void
test_read_only (void **state)
{
  const char *path = unit_database ();
  sqlite3 *db;

  (void)state;
  unit_create (path, &web);
  assert_int_equal (chmod (path, 0444), 0);
  assert_int_equal (chmod (unit_directory (), 0555), 0);
  check_open (CONNECTION_READ, OPENED_IMMUTABLE);
  check_open (CONNECTION_WRITE, EXISTS_BUT_READ_ONLY);

  /* With a log that would have to be read. */
  assert_int_equal (chmod (unit_directory (), 0755), 0);
  assert_int_equal (chmod (path, 0644), 0);
  db = unit_open_raw (path);
  unit_sql (db, "UPDATE disk SET name = name");
  copy_file (beside (path, "-wal"), unit_path ("saved"));
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
  assert_int_equal (rename (unit_path ("saved"), beside (path, "-wal")), 0);
  assert_int_equal (chmod (beside (path, "-wal"), 0444), 0);
  assert_int_equal (chmod (path, 0444), 0);
  assert_int_equal (chmod (unit_directory (), 0555), 0);
  check_open (CONNECTION_READ, EXISTS_BUT_READ_ONLY);
  check_open (CONNECTION_WRITE, EXISTS_BUT_READ_ONLY);
  assert_int_equal (chmod (unit_directory (), 0755), 0);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_create),          unit_test (test_file_names),
    unit_test (test_create_exists),   unit_test (test_create_fails),
    unit_test (test_check_directory), unit_test (test_create_without_space),
    unit_test (test_create_race),     unit_test (test_create_killed),
    unit_test (test_stale_log),       unit_test (test_stale_journal),
    unit_test (test_empty_leftovers), unit_test (test_examine_garbage),
    unit_test (test_examine_other),   unit_test (test_examine_ours),
    unit_test (test_examine_formats), unit_test (test_examine_foreign),
    unit_test (test_settings),        unit_test (test_foreign_schema),
    unit_test (test_tolerated),       unit_test (test_nothing_runs),
    unit_test (test_features),        unit_test (test_damaged_features),
    unit_test (test_other_journal),   unit_test (test_truncated),
    unit_test (test_missing),         unit_test (test_read_only),
    unit_test (test_log_only),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
