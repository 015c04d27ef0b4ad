/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the fuzzer (fuzz.h) has found, kept as cases. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "store.h"

#define BLOCK 4096

/* Open the disk NAME of the database PATH for writing. */
static struct disk *
open_disk (const char *path, const char *name, struct store **store,
           struct status *status)
{
  const struct store_options options = {
    .limits = checkpoint_limits_default,
    .warn = unit_ignore_warning,
  };

  *store = store_open (path, &options, status);
  assert_non_null (*store);
  return disk_open (*store, name, false, status);
}

static char *
make_disk (void)
{
  const struct disk_options options = { .size = 10 * BLOCK };
  char *path = unit_database ();

  unit_create (path, &options);
  return path;
}

/* A row has the highest id there can be: there is none for the next. */
static void
test_highest_id (void **state)
{
  static char block[BLOCK] = "x", got[BLOCK];
  char *path = make_disk ();
  struct status status;
  struct store *store;
  struct disk *disk = open_disk (path, "disk", &store, &status);

  (void)state;
  assert_non_null (disk);
  assert_ok (disk_write (disk, block, 0, BLOCK, false, &status), &status);
  unit_sql_on (path, "UPDATE block SET id = 9223372036854775807");
  assert_fails (disk_write (disk, block, BLOCK, BLOCK, false, &status), &status,
                EIO, "writing");
  assert_ok (disk_read (disk, got, 0, BLOCK, &status), &status);
  assert_memory_equal (got, block, BLOCK);
  assert_ok (disk_trim (disk, 0, BLOCK, false, &status), &status);
  disk_close (disk);
  store_close (store);
}

/* Disks whose ids no disk can have.  0 was taken for "no disk" by the
 * writer, which then wrote to the disk that it had written before.
 */
static void
test_disk_id (void **state)
{
  static const char *const ids[] = {
    "0",
    "-1",
    "-9223372036854775807 - 1",
    "9223372036854775807",
    "9223372036854775807 / 256",
  };
  const struct disk_options other = { .name = "other", .size = 20 * BLOCK };
  static char block[BLOCK];
  char *path = make_disk ();
  struct status status;
  struct store *store;
  struct disk *disk, *hostile;

  (void)state;
  assert_ok (store_provide (path, &other, &status), &status);
  for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
    print_message ("%s\n", ids[i]);
    unit_sql_on (path, "UPDATE disk SET id = %s WHERE name = 'other'; %s",
                 ids[i], unit_disk_checksums);
    disk = open_disk (path, "disk", &store, &status);
    assert_non_null (disk);
    assert_ok (disk_write (disk, block, 0, BLOCK, false, &status), &status);
    hostile = disk_open (store, "other", false, &status);
    assert_null (hostile);
    assert_fails (-1, &status, EIO, "disk");
    disk_close (disk);
    store_close (store);
  }
}

/* The index of names leads to another disk: what is found must not be it. */
static void
test_index_of_names (void **state)
{
  const struct disk_options options = { .name = "other", .size = 20 * BLOCK };
  char *path = make_disk ();
  struct disk_info info;
  struct status status;
  struct store *store;
  struct disk *disk;
  sqlite3 *db;

  (void)state;
  assert_ok (store_provide (path, &options, &status), &status);
  db = unit_open_raw (path);
  sqlite3_test_control (
      SQLITE_TESTCTRL_IMPOSTER, db, "main", 1,
      (int)unit_integer (db, "SELECT rootpage FROM sqlite_schema"
                             " WHERE name = 'sqlite_autoindex_disk_1'"));
  unit_sql (db, "CREATE TABLE imposter (name, id, PRIMARY KEY (name, id))"
                " WITHOUT ROWID");
  sqlite3_test_control (SQLITE_TESTCTRL_IMPOSTER, db, "main", 0, 0);
  unit_sql (db, "UPDATE imposter SET id = 1 WHERE name = 'other'");
  sqlite3_close (db);

  disk = open_disk (path, "disk", &store, &status);
  assert_non_null (disk);
  assert_fails (store_find (store, "other", &info, &status), &status, EIO,
                "damaged");
  disk_close (disk);
  store_close (store);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_highest_id),
    unit_test (test_disk_id),
    unit_test (test_index_of_names),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
