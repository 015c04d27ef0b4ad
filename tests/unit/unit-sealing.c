/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Pages that another program moved into the database have no checksum: they
 * are counted, and get one again, while others read, write and checkpoint.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "rows.h"

#include "check.h"
#include "sqlite/page.h"
#include "check/sealing.h"
#include "shim.h"
#include "engine/engine.h"
#include "sqlite/vfs-checksum.h"

#define BLOCK  4096
#define BLOCKS 500
#define ROUNDS 20

/*--------------------------------------------------------------------
 * What a reading sees while a page is given its checksum.
 */

static atomic_int torn; /* how many readings of the page see a part of it */
static int64_t torn_page;

static void
after (const struct shim_call *call, int result)
{
  const int64_t sum = torn_page * BLOCK - PAGE_CHECKSUM_SIZE;
  int before = atomic_load (&torn);

  if (call->method != SHIM_READ || call->file != SHIM_DATABASE ||
      result != SQLITE_OK || sum < call->number ||
      sum >= call->number + call->count)
    return;
  if (before > 0 && atomic_compare_exchange_strong (&torn, &before, before - 1))
    memset ((char *)call->memory + (sum - call->number), 0, 3);
}

static const struct shim_hooks hooks = { .after = after };

/*--------------------------------------------------------------------
 * A database that a foreign program writes, too.
 */

static struct rows rows;
static struct store *store;
static sqlite3 *foreign; /* knows nothing of checksums */
static struct status status;

/* Write every block again. */
static void
write_blocks (void)
{
  unit_sql (rows.db, "BEGIN");
  for (int i = 0; i < BLOCKS; i++)
    rows_data (&rows, 1, i, 1);
  unit_sql (rows.db, "COMMIT");
}

static void
open_rows (void)
{
  torn = 0;
  rows_open (&rows, BLOCKS * BLOCK, BLOCK);
  unit_sql (rows.db, "PRAGMA wal_autocheckpoint = 0");
  sqlite3_busy_timeout (rows.db, 20000);
  write_blocks ();
  store = unit_open_store (rows.path);
  assert_int_equal (
      sqlite3_open_v2 (rows.path, &foreign, SQLITE_OPEN_READWRITE, NULL),
      SQLITE_OK);
  /* For transactions that readers keep for some time. */
  sqlite3_busy_timeout (foreign, 20000);
}

static void
close_rows (void)
{
  assert_int_equal (sqlite3_close (foreign), SQLITE_OK);
  store_close (store);
  rows_close (&rows);
}

/* Have another program move the log as MODE says. */
static void
move_foreign (const char *mode)
{
  /* Who has not read does nothing. */
  unit_integer (foreign, "SELECT count (*) FROM disk");
  unit_sql (foreign, "PRAGMA wal_checkpoint (%s)", mode);
}

static void
write_foreign (const char *mode)
{
  write_blocks ();
  move_foreign (mode);
}

static void
print (const struct check_problem *problem, void *opaque)
{
  (void)opaque;
  print_message ("%s\n", problem->message);
}

/* How many pages have no checksum. */
static uint64_t
count (void)
{
  const struct check_options options = { .found = print };
  struct check_counts counts;

  assert_ok (check_database (store, &options, &counts, &status), &status);
  assert_int_equal (counts.problems, 0);
  return counts.without_checksum;
}

static uint64_t
seal (void)
{
  uint64_t sealed;

  assert_ok (seal_all (store, NULL, NULL, &sealed, &status), &status);
  return sealed;
}

static void
expect_blocks (void)
{
  for (int i = 0; i < BLOCKS; i++)
    rows_expect (&rows, i, 1, 1);
}

/* All of them are found, and no others. */
static void
test_count (void **state)
{
  uint64_t pages;

  (void)state;
  open_rows ();
  /* In the log they still get one. */
  write_blocks ();
  assert_int_equal (count (), 0);
  /* They have been moved, and the log is still there. */
  write_foreign ("PASSIVE");
  pages = count ();
  assert_uint_in_range (pages, BLOCKS, 2 * BLOCKS);
  assert_true (store_take_unsealed (store));
  write_foreign ("TRUNCATE");
  pages = count ();
  assert_uint_in_range (pages, BLOCKS, 2 * BLOCKS);
  assert_int_equal (seal (), pages);
  store_take_unsealed (store);
  assert_int_equal (count (), 0);
  expect_blocks ();
  assert_false (store_take_unsealed (store));
  close_rows ();
}

/* They are of use: a changed bit is noticed. */
static void
test_noticed (void **state)
{
  size_t size;
  char *bytes;
  int r = 0;

  (void)state;
  open_rows ();
  write_foreign ("TRUNCATE");
  seal ();
  bytes = unit_read_file (rows.path, &size);
  for (size_t page = 1; page < size / BLOCK; page++)
    bytes[page * BLOCK + 100] ^= 1;
  unit_write_file (rows.path, bytes, size);
  free (bytes);
  for (int i = 0; i < BLOCKS && r == 0; i++)
    r = rows_read (&rows, i, (char[BLOCK]){ 0 });
  assert_fails (r, &rows.status, EIO, "checksum");
  close_rows ();
}

/* Pages that are free may be anything. */
static void
test_free_pages (void **state)
{
  uint64_t pages;

  (void)state;
  open_rows ();
  write_foreign ("TRUNCATE");
  unit_sql (rows.db, "DELETE FROM block WHERE number > 100");
  move_foreign ("TRUNCATE");
  pages = count ();
  assert_uint_in_range (pages, 100, BLOCKS);
  assert_uint_in_range (unit_integer (rows.db, "PRAGMA freelist_count"),
                        BLOCKS / 2, 2 * BLOCKS);
  assert_int_equal (seal (), pages);
  assert_int_equal (count (), 0);
  close_rows ();
}

/* A repair seals if nothing is wrong, and not else. */
static void
test_repair (void **state)
{
  const struct repair_options options = { .corrections = 1 };
  struct check_counts counts;
  uint64_t pages;

  (void)state;
  open_rows ();
  write_foreign ("TRUNCATE");
  pages = count ();
  unit_sql (rows.db, "UPDATE block SET data = zeroblob (4096)"
                     " WHERE number = 7");
  move_foreign ("TRUNCATE");
  assert_ok (repair_database (store, &options, &counts, &status), &status);
  assert_int_equal (counts.problems, 1);
  assert_ok (check_database (store, &(struct check_options){ .found = NULL },
                             &counts, &status),
             &status);
  /* But for what a repair itself writes. */
  assert_uint_in_range (counts.without_checksum, pages - 3, pages);
  rows_data (&rows, 1, 7, 1);
  move_foreign ("TRUNCATE");
  pages = count ();
  assert_ok (repair_database (store, &options, &counts, &status), &status);
  assert_int_equal (counts.problems, 0);
  assert_int_equal (counts.without_checksum, pages);
  assert_int_equal (count (), 0);
  close_rows ();
}

/* Who sees a part of the eight bytes reads them again, but not for ever. */
static void
test_torn (void **state)
{
  char data[BLOCK];
  sqlite3_file *file;

  (void)state;
  open_rows ();
  /* Pages of the store have checksums, as these are its connections. */
  write_foreign ("TRUNCATE");
  seal ();
  assert_int_equal (sqlite3_file_control (rows.connection.db, "main",
                                          SQLITE_FCNTL_FILE_POINTER, &file),
                    SQLITE_OK);
  for (torn_page = 20; torn_page < 40; torn_page++) {
    torn = 1;
    assert_int_equal (
        file->pMethods->xRead (file, data, BLOCK, (torn_page - 1) * BLOCK),
        SQLITE_OK);
    assert_int_equal (torn, 0);
    torn = 2;
    assert_int_equal (
        file->pMethods->xRead (file, data, BLOCK, (torn_page - 1) * BLOCK),
        SQLITE_IOERR_DATA);
  }
  /* It may come from what was read ahead. */
  assert_ok (connection_begin_read (&rows.connection, &rows.status),
             &rows.status);
  assert_ok (rows_view (&rows), &rows.status);
  for (torn_page = 20; torn_page < 300; torn_page += 20) {
    torn = 1;
    expect_blocks ();
  }
  torn = 0;
  connection_rollback (&rows.connection);
  close_rows ();
}

static atomic_bool ended;

/* Read all blocks, over and over. */
static void *
read_all (void *opaque)
{
  char *block = malloc (BLOCK * BLOCKS);
  const char *failed = NULL;
  struct disk *disk;
  struct status read_status;

  (void)opaque;
  disk = disk_open (store, "disk", true, &read_status);
  assert_non_null (disk);
  while (failed == NULL && !atomic_load (&ended))
    if (disk_read (disk, block, 0, BLOCK * BLOCKS, &read_status) == -1)
      failed = strdup (read_status.message);
  disk_close (disk);
  free (block);
  return (void *)failed;
}

/* Readers, writers and checkpoints notice nothing of it. */
static void
test_readers (void **state)
{
  pthread_t threads[2];
  void *failed;

  (void)state;
  open_rows ();
  ended = false;
  for (int i = 0; i < 2; i++)
    assert_int_equal (pthread_create (&threads[i], NULL, read_all, NULL), 0);
  for (int i = 0; i < ROUNDS; i++) {
    write_foreign ("PASSIVE");
    seal ();
  }
  ended = true;
  for (int i = 0; i < 2; i++) {
    pthread_join (threads[i], &failed);
    if (failed)
      fail_msg ("%s", (char *)failed);
  }
  write_foreign ("TRUNCATE");
  assert_uint_in_range (seal (), BLOCKS, 2 * BLOCKS);
  assert_int_equal (count (), 0);
  expect_blocks ();
  close_rows ();
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_count),      unit_test (test_noticed),
    unit_test (test_free_pages), unit_test (test_repair),
    unit_test (test_torn),       unit_test (test_readers),
  };

  shim_install (&hooks);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
