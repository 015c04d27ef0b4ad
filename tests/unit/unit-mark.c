/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The mark: where it stands, and which log fits which file. */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "rows/database.h"
#include "sqlite/mark.h"
#include "sqlite/marking.h"
#include "sqlite/page.h"
#include "sqlite/vfs.h"

#define SECTOR 512

/* How long to look at a log that changes, in nanoseconds: nothing but chance
 * makes a fault show, about once in a second.
 */
#define LOOKING (4 * CLOCK_SECOND)

/* A database of which the log starts over. */
struct restarting {
  const char *path;
  atomic_bool stopping;
};

static const struct disk_options options = { .name = "d", .size = 1 << 20 };

static struct status status;

static void
look_at (const char *path, struct mark_look *look)
{
  assert_ok (mark_look (path, look, &status), &status);
}

/* Open the database as another program does, with the store's VFS. */
static sqlite3 *
open_raw (const char *path)
{
  sqlite3 *db;

  assert_int_equal (
      sqlite3_open_v2 (path, &db, SQLITE_OPEN_READWRITE, VFS_NAME), SQLITE_OK);
  return db;
}

/* Run SQL so; a '%s' in it is TEXT. */
static void
sql_on (const char *path, const char *sql, const char *text)
{
  sqlite3 *db = open_raw (path);

  unit_sql (db, sql, text);
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
}

/*--------------------------------------------------------------------
 * Where it stands.
 */

/* Is the mark where it should be, and does SQL see the same? */
static void
check_place (const char *path, enum mark_state state)
{
  sqlite3 *db = open_raw (path);
  struct mark_look look;
  char id[2 * MARK_ID_SIZE + 1];

  look_at (path, &look);
  assert_true (look.readable);
  assert_int_equal (look.fit, MARK_FITS);
  assert_int_equal (look.mark.state, state);
  assert_int_equal (unit_integer (db, "SELECT rootpage FROM sqlite_schema"
                                      " WHERE name = 'mark'"),
                    MARK_PAGE);
  for (size_t i = 0; i < MARK_ID_SIZE; i++)
    sprintf (id + 2 * i, "%02X", look.mark.id[i]);
  assert_int_equal (unit_integer (db,
                                  "SELECT hex (id) = %Q AND state = %d"
                                  " FROM mark",
                                  id, state),
                    1);
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
}

static void
test_place (void **state)
{
  static const uint32_t block_sizes[] = { 512, 4096, 65536, 1048576 };
  char name[32];

  (void)state;
  for (size_t i = 0; i < sizeof block_sizes / sizeof block_sizes[0]; i++) {
    snprintf (name, sizeof name, "%u", block_sizes[i]);
    assert_ok (
        database_create_empty (unit_path (name), block_sizes[i], &status),
        &status);
    check_place (unit_path (name), MARK_CLOSED);
  }
}

/* Copies that SQLite itself makes have it in the same place. */
static void
test_copies (void **state)
{
  char *into = unit_path ("into"), *backup = unit_path ("backup");
  sqlite3 *db, *copy;
  sqlite3_backup *copying;

  (void)state;
  unit_create (unit_database (), &options);
  db = open_raw (unit_database ());
  unit_write_file (into, "", 0); /* our VFS makes no databases */
  unit_sql (db, "VACUUM INTO %Q", into);
  assert_int_equal (sqlite3_open (backup, &copy), SQLITE_OK);
  copying = sqlite3_backup_init (copy, "main", db, "main");
  assert_non_null (copying);
  assert_int_equal (sqlite3_backup_step (copying, -1), SQLITE_DONE);
  sqlite3_backup_finish (copying);
  sqlite3_close (copy);
  sqlite3_close (db);
  check_place (into, MARK_CLOSED);
  check_place (backup, MARK_CLOSED);
}

/* Of its page only the last sector changes. */
static void
test_sector (void **state)
{
  char *path = unit_database ();
  uint32_t page_size;
  char *old, *new;
  size_t size;

  (void)state;
  unit_create (path, &options);
  old = unit_read_file (path, &size);
  page_size = big_endian_16 ((unsigned char *)old + 16);
  sql_on (path,
          "UPDATE mark SET state = 3, id = randomblob (16),"
          " previous = id, salts = randomblob (8)",
          "");
  new = unit_read_file (path, &size);
  assert_memory_equal (old + 2 * page_size, new + 2 * page_size,
                       page_size - SECTOR);
  assert_memory_not_equal (old + 3 * page_size - SECTOR,
                           new + 3 * page_size - SECTOR, SECTOR);
  free (old);
  free (new);
}

/* What is parsed is formatted as it was. */
static void
test_format (void **state)
{
  char *path = unit_database ();
  unsigned char cell[MARK_CELL_SIZE];
  struct mark_look look;
  uint32_t page_size;
  char *bytes;
  size_t size;

  (void)state;
  unit_create (path, &options);
  bytes = unit_read_file (path, &size);
  page_size = big_endian_16 ((unsigned char *)bytes + 16);
  look_at (path, &look);
  mark_format (&look.mark, cell);
  assert_memory_equal (
      cell, bytes + 2 * page_size + page_usable (page_size) - MARK_CELL_SIZE,
      MARK_CELL_SIZE);
  free (bytes);
}

/* A page that is damaged, or is something else, is no mark. */
static void
test_damage (void **state)
{
  char *path = unit_database ();
  struct mark_look look;
  uint32_t page_size;
  char *bytes;
  size_t size;

  (void)state;
  unit_create (path, &options);
  bytes = unit_read_file (path, &size);
  page_size = big_endian_16 ((unsigned char *)bytes + 16);
  for (size_t at = 2 * page_size; at < 3 * page_size; at += 97) {
    bytes[at] ^= 4;
    unit_write_file (path, bytes, size);
    look_at (path, &look);
    assert_int_equal (look.fit, MARK_DAMAGED);
    assert_fails (mark_check_fit (path, &look, &status), &status, EIO,
                  "is damaged");
    bytes[at] ^= 4;
  }
  unit_write_file (path, bytes, 2 * page_size);
  look_at (path, &look);
  assert_int_equal (look.fit, MARK_DAMAGED);
  free (bytes);
}

/*--------------------------------------------------------------------
 * Which log fits which file.
 */

/* A file, or what a transaction of a log says: 'o', 'e' or 'c', an id, and the
 * one before it, each a letter; 'O' is 'o' with more behind it; or '.', another
 * transaction; or '!', one that is not committed.
 */
struct trial {
  const char *file, *log; /* log: NULL: there is none; "": an empty one */
  enum mark_fit fit;
  bool alone;
};

static const struct trial trials[] = {
  { "cXW", NULL, MARK_FITS, true },
  { "cXW", "", MARK_FITS, true },
  { "cXW", "!", MARK_FITS, true },
  { "cXW", "oXW.cXW", MARK_FITS, false },
  { "cXW", "cXW", MARK_FITS, false },
  { "cXW", "oXW.cXWoYX", MARK_FITS, false },
  { "cXW", "oXW.eXW.cXW", MARK_FITS, false },
  { "cXW", "oXW.", MARK_FOREIGN, false },
  { "cXW", "oXW.!", MARK_FOREIGN, false },
  { "cXW", "oXW.eXW", MARK_FOREIGN, false },
  { "cXW", "oYX", MARK_FITS, false },
  { "cXW", "oYX..eYXoZY", MARK_FITS, false },
  { "cXW", ".", MARK_FOREIGN, false },
  { "cXW", ".oYX", MARK_FITS, false },
  { "cXW", "oZY", MARK_FOREIGN, false },
  { "cXW", "oTS.cTS", MARK_FOREIGN, false },
  { "oXW", NULL, MARK_MISSING, false },
  { "oXW", "", MARK_MISSING, false },
  { "oXW", "!oXW", MARK_FITS, false },
  { "oXW", "oXW", MARK_FITS, false },
  { "oXW", "oVUoXW..", MARK_FITS, false },
  { "oXW", "oXWeXW", MARK_FITS, false },
  { "oXW", "oYX", MARK_FOREIGN, false },
  { "oXW", "..", MARK_FOREIGN, false },
  { "oXW", "oTS", MARK_FOREIGN, false },
  { "eXW", NULL, MARK_MISSING, false },
  { "eXW", "", MARK_MISSING, false },
  { "eXW", "oXWeXW", MARK_FITS, false },
  { "eXW", "oXWeXWoYX", MARK_FITS, false },
  { "eXW", "oXW.", MARK_FOREIGN, false },
  { "eXW", "oYX.", MARK_FITS, false },
  { "eXW", "cXW", MARK_FITS, false },
  { "eXW", "oZY.", MARK_FOREIGN, false },
  { "eXW", ".", MARK_FOREIGN, false },
};

/* Write a mark as TEXT says. */
static void
set_mark (sqlite3 *db, const char *text)
{
  const enum mark_state state = *text == 'e'   ? MARK_ENDED
                                : *text == 'c' ? MARK_CLOSED
                                               : MARK_OPEN;

  unit_sql (db,
            "BEGIN;"
            "UPDATE mark SET state = %d, salts = randomblob (8),"
            " id = CAST (substr (hex (zeroblob (8)), 2) || '%c' AS BLOB),"
            " previous = CAST (substr (hex (zeroblob (8)), 2) || '%c' AS BLOB);"
            "%s COMMIT",
            state, text[1], text[2],
            *text == 'O' ? UNIT_NOTE ("hex (randomblob (8))") ";" : "");
}

/* Write the file of a trial, and beside it the log, both from PATH. */
static void
make_files (const char *path, const struct trial *trial)
{
  char *log = unit_path ("db.sqlite-wal"), *file_bytes, *log_bytes = NULL;
  size_t file_size, log_size = 0;
  sqlite3 *db = open_raw (path);

  set_mark (db, trial->file);
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
  file_bytes = unit_read_file (path, &file_size);

  db = open_raw (path);
  sqlite3_db_config (db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  unit_sql (db, "PRAGMA wal_autocheckpoint = 0");
  for (const char *at = trial->log; at && *at;
       at += *at == '.' || *at == '!' ? 1 : 3)
    if (*at == '.')
      unit_sql (db, UNIT_NOTE ("hex (randomblob (8))"));
    else if (*at != '!')
      set_mark (db, at);
  if (trial->log && *trial->log)
    log_bytes = unit_read_file (log, &log_size);
  sqlite3_close (db);

  unlink (log);
  unlink (unit_path ("db.sqlite-shm"));
  unit_write_file (path, file_bytes, file_size);
  if (trial->log)
    unit_write_file (log, log_bytes ? log_bytes : "", log_size);
  free (file_bytes);
  free (log_bytes);
}

/* The last transaction of the log is cut short: it is not committed. */
static void
cut_log (void)
{
  char *log = unit_path ("db.sqlite-wal");
  size_t size;
  char *bytes = unit_read_file (log, &size);

  unit_write_file (log, bytes, size - 1);
  free (bytes);
}

static void
check_trial (const char *path, const struct trial *trial)
{
  struct mark_look look;

  look_at (path, &look);
  if (look.fit != trial->fit || look.alone != trial->alone)
    fail_msg ("file %s, log %s: %d, %d", trial->file,
              trial->log ? trial->log : "none", look.fit, look.alone);
}

static void
test_fits (void **state)
{
  char *path = unit_path ("db.sqlite");
  struct trial trial;

  (void)state;
  unit_create (path, &options);
  for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
    trial = trials[i];
    make_files (path, &trial);
    check_trial (path, &trial);
    unlink (unit_path ("db.sqlite-wal"));
  }
}

/* What is not committed, or does not fit its checksum, is not there. */
static void
test_cut (void **state)
{
  const struct trial has_it = { "oXW", "oVUOXW", MARK_FITS, false };
  const struct trial lost = { "oXW", "oVUOXW", MARK_FOREIGN, false };
  const struct trial empty = { "cXW", "oYX", MARK_FITS, true };
  char *path = unit_path ("db.sqlite");

  (void)state;
  unit_create (path, &options);
  make_files (path, &has_it);
  check_trial (path, &has_it);
  cut_log ();
  check_trial (path, &lost);
  unlink (unit_path ("db.sqlite-wal"));
  make_files (path, &empty);
  cut_log ();
  check_trial (path, &empty);
}

/* A log that has started over, of which nothing was synced but the header. */
static void
test_started_over (void **state)
{
  static const struct trial trial = { "eXW", "oYX", MARK_FITS, false };
  char *path = unit_path ("db.sqlite"), *log = unit_path ("db.sqlite-wal");
  struct mark_look look;
  size_t size;
  char *bytes, salts[2 * LOG_SALTS_SIZE + 1];
  uint32_t salt, salt_2;

  (void)state;
  unit_create (path, &options);
  for (int past = 0; past < 2; past++) {
    make_files (path, &trial);
    bytes = unit_read_file (log, &size);
    salt = big_endian ((unsigned char *)bytes + 16) - past;
    salt_2 = big_endian ((unsigned char *)bytes + 20);
    unlink (log);
    snprintf (salts, sizeof salts, "%08x%08x", salt, salt_2);
    sql_on (path, "UPDATE mark SET salts = x'%s'", salts);
    unit_write_file (log, bytes, LOG_HEADER_SIZE);
    look_at (path, &look);
    assert_int_equal (look.fit, past ? MARK_FITS : MARK_MISSING);
    assert_false (look.alone);
    bytes[LOG_HEADER_SIZE - 1] ^= 1;
    unit_write_file (log, bytes, LOG_HEADER_SIZE);
    look_at (path, &look);
    assert_int_equal (look.fit, MARK_MISSING);
    free (bytes);
    unlink (log);
  }
}

/* Let the log start over again and again. */
static void *
restart_log (void *opaque)
{
  static const char insert_sql[] = UNIT_NOTE ("hex (randomblob (8))");
  struct restarting *restarting = opaque;
  struct connection connection;
  struct marking_end end;
  struct status failed;

  unit_open (&connection, restarting->path, CONNECTION_WRITE);
  while (!atomic_load (&restarting->stopping)) {
    assert_ok (marking_begin (&connection, &failed), &failed);
    assert_ok (connection_run (&connection, insert_sql, &failed), &failed);
    assert_ok (connection_commit (&connection, &failed), &failed);
    assert_ok (marking_end_log (&connection, MARK_ENDED, &end, &failed),
               &failed);
    assert_ok (marking_permit_restart (&connection, &end, &failed), &failed);
    assert_int_equal (sqlite3_wal_checkpoint_v2 (connection.db, "main",
                                                 SQLITE_CHECKPOINT_RESTART,
                                                 NULL, NULL),
                      SQLITE_OK);
  }
  connection_close (&connection);
  return NULL;
}

/* Who looks while another process lets the log start over, which may have ended
 * when he asks whether there is one, must not take what he has read of two logs
 * for a log that is missing, or another's.
 */
static void
test_starting_over (void **state)
{
  struct restarting restarting = { .path = unit_path ("db.sqlite") };
  const uint64_t start = clock_now ();
  struct mark_look look;
  pthread_t thread;

  (void)state;
  unit_create (restarting.path, &options);
  assert_int_equal (pthread_create (&thread, NULL, restart_log, &restarting),
                    0);
  do {
    look_at (restarting.path, &look);
    assert_int_equal (look.fit, MARK_FITS);
  } while (clock_now () - start < LOOKING);
  atomic_store (&restarting.stopping, true);
  pthread_join (thread, NULL);
}

/* A file in rollback mode is complete without a log. */
static void
test_rollback (void **state)
{
  static const struct trial trial = { "oXW", "oXW", MARK_FITS, false };
  char *path = unit_path ("db.sqlite"), *log = unit_path ("db.sqlite-wal");
  struct mark_look look;
  size_t size;
  char *bytes;

  (void)state;
  unit_create (path, &options);
  make_files (path, &trial);
  bytes = unit_read_file (log, &size);
  sql_on (path, "PRAGMA journal_mode = DELETE", "");
  look_at (path, &look);
  assert_true (look.rollback && look.alone);
  assert_int_equal (look.fit, MARK_FITS);
  unit_write_file (log, bytes, size);
  look_at (path, &look);
  assert_int_equal (look.fit, MARK_FOREIGN);
  assert_false (look.alone);
  free (bytes);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_place),    unit_test (test_copies),
    unit_test (test_sector),   unit_test (test_format),
    unit_test (test_damage),   unit_test (test_fits),
    unit_test (test_cut),      unit_test (test_started_over),
    unit_test (test_rollback), unit_test (test_starting_over),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
