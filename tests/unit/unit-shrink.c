/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Giving free pages back where there are many, in no order, with pages in use
 * between them: the file is sound, its disk shows the same, and the work is
 * not the square of how many there are.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "manage.h"
#include "sqlite/marking.h"
#include "sqlite/shrink.h"
#include "sqlite/vfs-checksum.h"

#define BLOCK      4096
#define PIECE      8 /* blocks that are trimmed at a time */
#define PIECES_MAX 10000

static char *path;
static unsigned pieces; /* of the disk */
static unsigned kept;   /* of as many pieces one stays */

static void
fill (uint64_t number, uint64_t block[BLOCK / 8])
{
  for (size_t i = 0; i < BLOCK / 8; i++)
    block[i] = number + 1;
}

/* Trim pieces in random order. */
static void
trim (struct disk *disk)
{
  static uint32_t order[PIECES_MAX];
  uint64_t random = unit_seed ();
  struct status status;

  for (uint32_t i = 0; i < pieces; i++) {
    const uint32_t other = random_below (&random, i + 1);

    order[i] = order[other];
    order[other] = i;
  }
  for (size_t i = 0; i < pieces; i++)
    if (order[i] % kept != 0)
      assert_ok (disk_trim (disk, (uint64_t)order[i] * PIECE * BLOCK,
                            PIECE * BLOCK, false, &status),
                 &status);
}

/* Make a disk of COUNT pieces, fill it, and trim it but for every KEEPth one.
 * What is deduplicated is in another table.
 */
static void
make (unsigned count, unsigned keep, enum disk_choice deduplicate)
{
  const struct disk_options options = {
    .name = "d",
    .size = (uint64_t)count * PIECE * BLOCK,
    .block_size = BLOCK,
    .storing.compression = { CODEC_RAW, 0 },
    .storing.deduplicate = deduplicate,
  };
  uint64_t block[BLOCK / 8];
  struct status status;
  struct store *store;
  struct disk *disk;

  pieces = count;
  kept = keep;
  path = unit_database ();
  unit_create (path, &options);
  store = unit_open_store (path);
  disk = disk_open (store, "d", false, &status);
  assert_non_null (disk);
  for (uint64_t i = 0; i < pieces * PIECE; i++) {
    fill (i, block);
    assert_ok (disk_write (disk, block, i * BLOCK, BLOCK, false, &status),
               &status);
  }
  trim (disk);
  disk_close (disk);
  store_close (store);
}

/* The file is sound, and the disk shows what it should. */
static void
check (void)
{
  static const uint64_t zeroes[BLOCK / 8];
  uint64_t block[BLOCK / 8], wanted[BLOCK / 8];
  struct status status;
  struct store *store = unit_open_store (path);
  struct disk *disk = disk_open (store, "d", true, &status);
  sqlite3 *db;

  assert_non_null (disk);
  for (uint64_t i = 0; i < pieces * PIECE; i++) {
    fill (i, wanted);
    assert_ok (disk_read (disk, block, i * BLOCK, BLOCK, &status), &status);
    assert_memory_equal (block, i / PIECE % kept == 0 ? wanted : zeroes, BLOCK);
  }
  disk_close (disk);
  store_close (store);
  unit_assert_sound (path);
  db = unit_open_raw (path);
  /* It never says FULL. */
  assert_int_equal (unit_integer (db, "PRAGMA auto_vacuum"), 2);
  sqlite3_close (db);
}

static uint64_t
pages_free (void)
{
  return unit_integer_on (path, "PRAGMA freelist_count");
}

/* How many pages the connection has looked at. */
static int
looks (struct connection *connection)
{
  int hits, misses, ignored;

  sqlite3_db_status (connection->db, SQLITE_DBSTATUS_CACHE_HIT, &hits, &ignored,
                     1);
  sqlite3_db_status (connection->db, SQLITE_DBSTATUS_CACHE_MISS, &misses,
                     &ignored, 1);
  return hits + misses;
}

/* Take pages off one by one; returns how many others SQLite has looked at
 * for each.
 */
static double
take_off (uint64_t count)
{
  struct connection connection;
  struct shrink_pages pages;
  struct status status;
  uint64_t before;
  int looked;

  unit_open (&connection, path, CONNECTION_WRITE);
  assert_ok (marking_begin (&connection, &status), &status);
  assert_ok (shrink_look (&connection, &pages, &status), &status);
  before = pages.free;
  looks (&connection);
  assert_ok (shrink_step (&connection, before - count, UINT64_MAX,
                          UINT64_MAX / 2, &pages, &status),
             &status);
  looked = looks (&connection);
  assert_int_equal (before - pages.free, count);
  assert_ok (connection_commit (&connection, &status), &status);
  connection_close (&connection);
  return (double)looked / count;
}

static void
arrange (uint64_t count)
{
  struct connection connection;
  struct status status;
  uint64_t cut;

  unit_open (&connection, path, CONNECTION_WRITE);
  assert_ok (shrink_arrange (&connection, count, &cut, &status), &status);
  connection_close (&connection);
}

/* Half of the file is free: with the list in order SQLite does not search it
 * for each page.
 */
static void
test_one_by_one (void **state)
{
  double before, after;
  uint64_t free_pages;

  (void)state;
  make (PIECES_MAX, 2, DISK_OFF);
  check ();
  before = take_off (500);
  free_pages = pages_free ();
  arrange (3000);
  assert_int_equal (pages_free (), free_pages);
  check ();
  after = take_off (1000);
  print_message ("looks for each page: %.1f, in order %.1f\n", before, after);
  assert_true (after * 2 < before);
  check ();
}

static off_t
log_size (void)
{
  size_t size;
  char *name = malloc (strlen (path) + 5);

  sprintf (name, "%s-wal", path);
  free (unit_read_file (name, &size));
  free (name);
  return size;
}

/* Almost all is free: it goes at once, and only what moves is written. */
static void
at_once (enum disk_choice deduplicate)
{
  struct connection reader, connection;
  struct status status;

  make (5000, 500, deduplicate);
  assert_true (pages_free () > SHRINK_MANY);
  /* So that the log stays to be looked at. */
  unit_open (&reader, path, CONNECTION_READ);
  assert_ok (connection_touch (&reader, &status), &status);
  unit_open (&connection, path, CONNECTION_WRITE);
  assert_int_equal (shrink_at_once (&connection, 3, &status), 0);
  assert_result (shrink_at_once (&connection, 1000, &status), &status, 1);
  connection_close (&connection);
  print_message ("the log has %jd KiB\n", (intmax_t)log_size () / 1024);
  assert_true (log_size () < 2000 * BLOCK);
  connection_close (&reader);
  assert_int_equal (pages_free (), 0);
  check ();
}

static void
test_at_once (void **state)
{
  (void)state;
  at_once (DISK_OFF);
}

static void
test_at_once_deduplicated (void **state)
{
  (void)state;
  at_once (DISK_ON);
}

/* A command gives all back, whichever way. */
static void
test_all (void **state)
{
  struct status status;
  struct store *store;

  (void)state;
  make (5000, 3, DISK_ON);
  store = unit_open_store (path);
  assert_ok (manage_shrink_file (store, 0, NULL, NULL, &status), &status);
  store_close (store);
  assert_int_equal (pages_free (), 0);
  check ();
}

/* A list that is damaged is not touched, not even with right checksums. */
static void
test_damaged (void **state)
{
  struct connection connection;
  struct status status;
  size_t size;
  uint64_t cut;
  uint32_t trunk;
  unsigned char *bytes;

  (void)state;
  make (1000, 2, DISK_OFF);
  bytes = (unsigned char *)unit_read_file (path, &size);
  trunk =
      (uint32_t)bytes[32] << 24 | bytes[33] << 16 | bytes[34] << 8 | bytes[35];
  memset (bytes + (trunk - 1) * (size_t)BLOCK + 8, 0xff, 4);
  vfs_checksum_set (bytes + (trunk - 1) * (size_t)BLOCK, BLOCK, trunk);
  unit_write_file (path, bytes, size);
  unit_open (&connection, path, CONNECTION_WRITE);
  assert_fails (shrink_arrange (&connection, 1000, &cut, &status), &status, EIO,
                "the list of free pages is damaged");
  connection_close (&connection);
  free (bytes);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_one_by_one),
    unit_test (test_at_once),
    unit_test (test_at_once_deduplicated),
    unit_test (test_all),
    unit_test (test_damaged),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
