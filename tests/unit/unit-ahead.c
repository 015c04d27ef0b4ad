/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Pages that are read ahead: fewer reads of the file, of the same bytes.
 *
 * A shim below counts the reads, and stands for a medium with a bad place.
 */

#include <config.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "rows.h"

#include "block/checksum.h"
#include "block/codec.h"
#include "shim.h"
#include "sqlite/vfs-ahead.h"

#define BLOCK  4096
#define BLOCKS 1024
#define MIB    (1048576 / BLOCK)
#define TRIALS 20

/*--------------------------------------------------------------------
 * What reaches the file.
 */

static bool counting;
static int reads, windows; /* of them: those of several pages */
static int longest;        /* in bytes */
static int64_t bad_page;   /* its number from 1; 0: none */

static int
before (struct shim_call *call)
{
  const int64_t bad = (bad_page - 1) * BLOCK;

  if (call->method != SHIM_READ || call->file != SHIM_DATABASE)
    return SQLITE_OK;
  if (counting) {
    reads++;
    windows += call->count > BLOCK;
    longest = call->count > longest ? call->count : longest;
  }
  return bad_page && call->number <= bad && bad < call->number + call->count
             ? SQLITE_IOERR_READ
             : SQLITE_OK;
}

static const struct shim_hooks hooks = { .before = before };

static void
count_reads (void)
{
  reads = windows = longest = 0;
  counting = true;
}

/*--------------------------------------------------------------------
 * A disk whose blocks are overwritten where they lie.
 */

static struct rows rows;
static unsigned versions[BLOCKS]; /* of each block; 0: it has none */

/* Write a block in its next version. */
static void
overwrite (unsigned number)
{
  const char *data = rows_pattern (&rows, 1, number, ++versions[number]);
  const int64_t sum = checksum_block (1, number, 1, CODEC_RAW, BLOCK,
                                      checksum_bytes (data, BLOCK));
  sqlite3_stmt *update;

  assert_int_equal (sqlite3_prepare_v2 (rows.db,
                                        "UPDATE block SET data = ?1,"
                                        " checksum = ?2 WHERE number = ?3",
                                        -1, &update, NULL),
                    SQLITE_OK);
  sqlite3_bind_blob (update, 1, data, BLOCK, SQLITE_STATIC);
  sqlite3_bind_int64 (update, 2, sum);
  sqlite3_bind_int64 (update, 3, number);
  assert_int_equal (sqlite3_step (update), SQLITE_DONE);
  assert_int_equal (sqlite3_finalize (update), SQLITE_OK);
}

/* Overwrite COUNT blocks from FIRST on, in one transaction. */
static void
overwrite_range (unsigned first, unsigned count)
{
  unit_sql (rows.db, "BEGIN");
  for (unsigned i = 0; i < count; i++)
    overwrite (first + i);
  unit_sql (rows.db, "COMMIT");
}

/* Move what can be moved from the log to the database, or all. */
static void
checkpoint (bool all)
{
  unit_sql (rows.db, "PRAGMA wal_checkpoint (%s)",
            all ? "TRUNCATE" : "PASSIVE");
}

static void
open_rows (void)
{
  rows_open (&rows, BLOCKS * BLOCK, BLOCK);
  unit_sql (rows.db, "BEGIN");
  for (unsigned i = 0; i < BLOCKS; i++) {
    versions[i] = 1;
    rows_data (&rows, 1, i, 1);
  }
  unit_sql (rows.db, "COMMIT");
  checkpoint (true);
  counting = false;
}

/* A transaction, which shows what the disk is. */
static void
begin (void)
{
  assert_ok (connection_begin_read (&rows.connection, &rows.status),
             &rows.status);
  assert_ok (rows_view (&rows), &rows.status);
}

static void
end (void)
{
  connection_rollback (&rows.connection);
}

static int
read_range (unsigned first, unsigned count, char *buffer)
{
  return view_read (&rows.connection, &rows.view, buffer,
                    first * (uint64_t)BLOCK, count * (uint64_t)BLOCK,
                    &rows.status);
}

/* These blocks must be read in the versions WANTED. */
static void
expect (unsigned first, unsigned count, const unsigned wanted[BLOCKS])
{
  static char buffer[BLOCKS * BLOCK];

  assert_ok (read_range (first, count, buffer), &rows.status);
  for (unsigned i = 0; i < count; i++)
    if (memcmp (buffer + i * BLOCK,
                rows_pattern (&rows, 1, first + i, wanted[first + i]),
                BLOCK) != 0)
      fail_msg ("block %u is not that of version %u", first + i,
                wanted[first + i]);
}

/* The number of pages of the database. */
static int
pages (void)
{
  return unit_integer (rows.db, "PRAGMA page_count");
}

/*--------------------------------------------------------------------
 * How often it is read.
 */

static void
expect_few_reads (int pages_read)
{
  assert_uint_in_range (longest, BLOCK + 1, VFS_AHEAD_MOST);
  print_message ("%d reads of %d pages\n", reads, pages_read);
  assert_uint_in_range (reads, 1, pages_read / 8);
}

static void
test_in_order (void **state)
{
  (void)state;
  open_rows ();
  begin ();
  count_reads ();
  for (int i = 0; i < BLOCKS / MIB; i++)
    expect (i * MIB, MIB, versions);
  expect_few_reads (BLOCKS);
  end ();
  rows_close (&rows);
}

static void
test_upwards (void **state)
{
  static const char scan_sql[] = "SELECT max (data) FROM block NOT INDEXED";

  (void)state;
  open_rows ();
  count_reads ();
  assert_ok (connection_run (&rows.connection, scan_sql, &rows.status),
             &rows.status);
  expect_few_reads (pages ());
  rows_close (&rows);
}

static void
test_immutable (void **state)
{
  (void)state;
  open_rows ();
  connection_close (&rows.connection);
  unit_open (&rows.connection, rows.path, CONNECTION_IMMUTABLE);
  begin ();
  count_reads ();
  expect (0, BLOCKS, versions);
  expect_few_reads (BLOCKS);
  end ();
  rows_close (&rows);
}

/* Hardly anything is read in vain, where each block is far from the one before.
 * Every other one may by chance be near another: that has happened once in
 * some hundred times.
 */
static void
test_at_random (void **state)
{
  uint64_t seed = unit_seed ();
  unsigned number = 0;

  (void)state;
  open_rows ();
  begin ();
  count_reads ();
  for (int i = 0; i < BLOCKS; i++) {
    number += MIB / 2 + random_below (&seed, BLOCKS - MIB);
    number %= BLOCKS;
    expect (number, 1, versions);
  }
  assert_uint_in_range (windows, 0, 2);
  assert_uint_in_range (longest, BLOCK, 8 * BLOCK);
  end ();
  rows_close (&rows);
}

/*--------------------------------------------------------------------
 * What is read.
 */

/* The file of the connection, where no statement runs. */
static sqlite3_file *
database_file (void)
{
  sqlite3_file *database, *log;

  assert_int_equal (connection_files (&rows.connection, &database, &log),
                    SQLITE_OK);
  return database;
}

/* Take or let go of a read mark, as SQLite does. */
static void
lock_mark (sqlite3_file *file, int action)
{
  assert_int_equal (
      file->pMethods->xShmLock (file, 3, 1, action | SQLITE_SHM_SHARED),
      SQLITE_OK);
}

/* Read pages, by numbers from 0: they must be as they are in the file now. */
static void
expect_pages (sqlite3_file *file, int first, int count)
{
  char page[BLOCK];
  size_t size;
  char *bytes = unit_read_file (rows.path, &size);

  for (int i = first; i < first + count; i++) {
    assert_int_equal (
        file->pMethods->xRead (file, page, BLOCK, i * (int64_t)BLOCK),
        SQLITE_OK);
    assert_memory_equal (page, bytes + i * BLOCK, BLOCK - PAGE_CHECKSUM_SIZE);
  }
  free (bytes);
}

/* Without a transaction the file may change at any time. */
static void
test_without_transaction (void **state)
{
  sqlite3_file *file;

  (void)state;
  open_rows ();
  file = database_file ();
  lock_mark (file, SQLITE_SHM_LOCK);
  expect_pages (file, 1, 100);
  lock_mark (file, SQLITE_SHM_UNLOCK);
  count_reads ();
  expect_pages (file, 1, 100);
  assert_int_equal (reads, 100);
  rows_close (&rows);
}

/* What was read ahead in a transaction is not shown in the next one. */
static void
test_new_transaction (void **state)
{
  sqlite3_file *file;

  (void)state;
  open_rows ();
  file = database_file ();
  for (int page = 100; page < 500; page += 25) {
    lock_mark (file, SQLITE_SHM_LOCK);
    expect_pages (file, page, 25);
    lock_mark (file, SQLITE_SHM_UNLOCK);
    overwrite_range (0, BLOCKS);
    checkpoint (true);
  }
  rows_close (&rows);
}

/* A transaction shows the same, whatever is written and moved meanwhile. */
static void
test_snapshot (void **state)
{
  unsigned shown[BLOCKS];
  uint64_t seed = unit_seed ();

  (void)state;
  open_rows ();
  for (int i = 0; i < TRIALS; i++) {
    /* Some begin with frames in the log, some with none. */
    overwrite_range (random_below (&seed, BLOCKS - MIB), MIB / 2);
    if (random_below (&seed, 2))
      checkpoint (random_below (&seed, 2));
    begin ();
    memcpy (shown, versions, sizeof shown);
    for (int j = 0; j < 6; j++) {
      const unsigned first = random_below (&seed, BLOCKS - MIB);

      expect (first, 1 + random_below (&seed, MIB), shown);
      overwrite_range (first > MIB ? first - MIB : 0, MIB);
      checkpoint (false);
    }
    expect (0, BLOCKS, shown);
    end ();
  }
  rows_close (&rows);
}

/* The page, by its number from 1, in which most of a block lies. */
static int64_t
page_of (unsigned number)
{
  const char *data = rows_pattern (&rows, 1, number, versions[number]);
  size_t size, at = BLOCK;
  char *file = unit_read_file (rows.path, &size);

  /* An overflow page has the end of the block after a number of 4 bytes. */
  while (at < size && memmem (file + at, BLOCK, data + BLOCK - 64, 64) == NULL)
    at += BLOCK;
  assert_true (at < size);
  free (file);
  return at / BLOCK + 1;
}

/* Only what lies in the bad page cannot be read. */
static void
expect_bad_block (unsigned number, const char *text)
{
  static char buffer[BLOCKS * BLOCK];

  begin ();
  assert_fails (read_range (0, BLOCKS, buffer), &rows.status, EIO, text);
  end ();
  begin ();
  expect (number + 1, BLOCKS - number - 1, versions);
  expect (0, number, versions);
  assert_fails (read_range (number, 1, buffer), &rows.status, EIO, text);
  end ();
}

static void
test_bad_place (void **state)
{
  (void)state;
  open_rows ();
  bad_page = page_of (500);
  expect_bad_block (500, "disk I/O error");
  bad_page = 0;
  begin ();
  expect (0, BLOCKS, versions);
  end ();
  rows_close (&rows);
}

static void
test_damaged_page (void **state)
{
  char *file;
  size_t size;
  int64_t page;

  (void)state;
  open_rows ();
  overwrite_range (0, BLOCKS);
  checkpoint (true);
  page = page_of (500);
  file = unit_read_file (rows.path, &size);
  file[(page - 1) * BLOCK + BLOCK / 2] ^= 1;
  unit_write_file (rows.path, file, size);
  free (file);
  expect_bad_block (500, "checksum");
  rows_close (&rows);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_in_order),
    unit_test (test_upwards),
    unit_test (test_immutable),
    unit_test (test_at_random),
    unit_test (test_without_transaction),
    unit_test (test_new_transaction),
    unit_test (test_snapshot),
    unit_test (test_bad_place),
    unit_test (test_damaged_page),
  };

  shim_install (&hooks);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
