/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the fuzzer (fuzz.h) has found, kept as cases. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#include "base/bytes.h"
#include "check.h"
#include "check/rawfile.h"
#include "seal.h"
#include "sqlite/log-format.h"
#include "sqlite/log-walk.h"
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

/* Put a checksum of the log at its PLACE. */
static void
put_sums (unsigned char *place, const uint32_t sums[2])
{
  put_big_endian (place, sums[0]);
  put_big_endian (place + 4, sums[1]);
}

/* A log with right checksums that says of the database that it has PAGES pages,
 * of which it has the last one.
 */
static void
make_log (const char *path, uint32_t pages)
{
  static unsigned char log[LOG_HEADER_SIZE + FRAME_HEADER_SIZE + BLOCK];
  unsigned char *frame = log + LOG_HEADER_SIZE;
  uint32_t sums[2] = { 0, 0 };
  char *name;
  FILE *file;

  put_big_endian (log, LOG_MAGIC | 1);
  put_big_endian (log + 4, LOG_VERSION);
  put_big_endian (log + LOG_HEADER_PAGE_SIZE, BLOCK);
  log_checksum (sums, log, LOG_HEADER_SUMS, true);
  put_sums (log + LOG_HEADER_SUMS, sums);
  put_big_endian (frame, pages);
  put_big_endian (frame + FRAME_HEADER_COMMIT, pages);
  log_checksum (sums, frame, 8, true);
  log_checksum (sums, frame + FRAME_HEADER_SIZE, BLOCK, true);
  put_sums (frame + FRAME_HEADER_SUMS, sums);
  assert_true (asprintf (&name, "%s-wal", path) > 0);
  file = fopen (name, "w");
  assert_non_null (file);
  assert_int_equal (fwrite (log, sizeof log, 1, file), 1);
  fclose (file);
  free (name);
}

/* A log says that there are as many pages as there can be: only those that are
 * there are gone through.
 */
static void
test_pages_of_log (void **state)
{
  const uint32_t most = UINT32_MAX - 1;
  char *path = make_disk (), *saved;
  const struct salvage_options options = { .lose = NULL };
  struct salvage_counts counts;
  struct status status;
  struct rawfile *pages;
  uint32_t steps = 0, last = 0;

  (void)state;
  assert_true (asprintf (&saved, "%s-saved", path) > 0);
  make_log (path, most);
  pages = rawfile_open (path, 0, &status);
  assert_non_null (pages);
  assert_int_equal (pages->count, most);
  for (uint32_t number = 0; (number = rawfile_next (pages, number)) != 0;
       steps++)
    last = number;
  assert_int_equal (last, most);
  assert_int_equal (steps, pages->present);
  assert_uint_in_range (steps, 10, 1000);
  rawfile_close (pages);
  assert_ok (salvage_database (path, saved, &options, &counts, &status),
             &status);
  unlink (saved);
  free (saved);
}

/* The tree of blocks says that a leaf in the middle, where a search begins,
 * goes up to a row that is far away: who looks for what comes behind that leaf
 * finds the same row each time, which stands before it.
 */
static void
test_far_key (void **state)
{
  static const unsigned char far_away[] = { 0xa0, 0x80, 0x80, 0x80, 0x80, 0 };
  static char blocks[2048 * BLOCK]; /* several times what is checked at once */
  const struct disk_options large = { .size = sizeof blocks };
  const struct check_options whole = { .found = NULL };
  const struct check_options rows_only = { .rows_only = true };
  char *path = unit_database (), *file;
  struct check_counts counts;
  struct status status;
  struct store *store;
  struct disk *disk;
  unsigned char *page, *pointer;
  size_t size;

  (void)state;
  unit_create (path, &large);
  disk = open_disk (path, "disk", &store, &status);
  sqlite3_randomness (sizeof blocks, blocks); /* not to be compressed */
  assert_ok (disk_write (disk, blocks, 0, sizeof blocks, false, &status),
             &status);
  disk_close (disk);
  store_close (store);
  file = unit_read_file (path, &size);
  page = (unsigned char *)file +
         (unit_integer_on (path, "SELECT rootpage FROM sqlite_schema"
                                 " WHERE name = 'block'") -
          1) *
             BLOCK;
  assert_int_equal (page[0], TABLE_INTERIOR);
  /* A cell is the number of a page and the key; it is made anew. */
  pointer = page + 12 + (big_endian_16 (page + 3) - 1) / 2 * 2;
  memcpy (page + 1000, page + big_endian_16 (pointer), 4);
  memcpy (page + 1004, far_away, sizeof far_away);
  pointer[0] = 1000 >> 8;
  pointer[1] = 1000 & 0xff;
  seal_pages ((unsigned char *)file, size);
  unit_write_file (path, file, size);
  free (file);

  store = unit_open_store (path);
  assert_ok (check_database (store, &whole, &counts, &status), &status);
  assert_true (counts.problems > 0);
  assert_ok (check_database (store, &rows_only, &counts, &status), &status);
  assert_true (counts.problems > 0);
  store_close (store);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_highest_id),     unit_test (test_disk_id),
    unit_test (test_index_of_names), unit_test (test_pages_of_log),
    unit_test (test_far_key),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
