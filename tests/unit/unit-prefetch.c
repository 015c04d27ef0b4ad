/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Reading what writes will overwrite: when, and what.  The medium is here
 * whatever getrusage, in this file, says of it.
 */

#include <config.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "rows.h"
#include "unit.h"

#include "base/histogram.h"
#include "engine/prefetch.h"
#include "base/counters.h"
#include "engine/engine.h"

#define BLOCK   4096
#define BLOCKS  64
#define THREADS 8

/* Is all that is read in memory? */
static atomic_bool in_memory;
static atomic_long blocks_read;

int
getrusage (__rusage_who_t who, struct rusage *usage)
{
  assert_int_equal (who, RUSAGE_THREAD);
  memset (usage, 0, sizeof *usage);
  usage->ru_inblock = atomic_load (&in_memory)
                          ? atomic_load (&blocks_read)
                          : atomic_fetch_add (&blocks_read, 8);
  return 0;
}

/* How many writes are to read now. */
static int
count_due (struct prefetch *prefetch)
{
  int count = 0;

  while (prefetch_is_due (prefetch))
    count++;
  return count;
}

/* Some writes read after one that met the medium, and then none. */
static void
test_when (void **state)
{
  struct prefetch prefetch = { .left = 0 };
  long before;

  (void)state;
  assert_int_equal (count_due (&prefetch), 0);
  atomic_store (&in_memory, true);
  before = prefetch_so_far ();
  prefetch_note (&prefetch, before);
  assert_int_equal (count_due (&prefetch), 0);

  atomic_store (&in_memory, false);
  before = prefetch_so_far ();
  prefetch_note (&prefetch, before);
  assert_int_equal (count_due (&prefetch), PREFETCH_WRITES);
  assert_int_equal (count_due (&prefetch), 0);
}

/* Pages that the connection did not find in its cache since the last call.
 */
static int
count_misses (struct connection *connection)
{
  int misses, ignored;

  assert_int_equal (sqlite3_db_status (connection->db,
                                       SQLITE_DBSTATUS_CACHE_MISS, &misses,
                                       &ignored, 1),
                    SQLITE_OK);
  return misses;
}

/* How many pages have to be read for a block, in a new transaction, after
 * blocks FIRST to LAST were prefetched.
 */
static int
count_needed (struct rows *rows, uint64_t number, uint64_t first, uint64_t last)
{
  struct status status;
  char block[BLOCK];

  connection_rollback (&rows->connection);
  sqlite3_db_release_memory (rows->connection.db);
  assert_ok (connection_begin_read (&rows->connection, &status), &status);
  if (first <= last)
    assert_ok (
        view_prefetch (&rows->connection, &rows->view, first, last, &status),
        &status);
  count_misses (&rows->connection);
  assert_ok (rows_read (rows, number, block), &rows->status);
  return count_misses (&rows->connection);
}

/* What is overwritten is read as a whole; what a snapshot has, and blocks
 * that are not written, are not.
 */
static void
test_what (void **state)
{
  struct rows rows;
  int alone;

  (void)state;
  rows_open (&rows, BLOCKS * BLOCK, BLOCK);
  rows_layer (&rows, 1, 0, 0, 2);
  for (int i = 0; i < BLOCKS; i++)
    rows_data (&rows, 1, i, i < BLOCKS / 2 ? 1 : 2);
  rows_show (&rows, 1, 0);

  alone = count_needed (&rows, 50, 1, 0);
  assert_true (alone >= 3); /* of the index, of the table, and the rest */
  assert_int_equal (count_needed (&rows, 50, 50, 50), 0);
  assert_int_equal (count_needed (&rows, 50, 48, 51), 0);
  assert_uint_in_range (count_needed (&rows, 50, 40, 41), 1, alone - 1);

  alone = count_needed (&rows, 10, 1, 0);
  assert_uint_in_range (count_needed (&rows, 10, 10, 10), 2, alone - 1);
  rows_close (&rows);
}

static struct store *store;
static struct disk *disk;
static atomic_int written;

/* Open a store as a server does, which counts, and its disk. */
static const struct disk_counters *
serve (const char *path)
{
  const struct store_options options = {
    .limits = checkpoint_limits_default,
    .warn = unit_ignore_warning,
  };
  struct status status;

  store = store_open (path, &options, &status);
  if (store == NULL)
    fail_msg ("%s", status.message);
  disk = disk_open (store, "web", false, &status);
  if (disk == NULL)
    fail_msg ("%s", status.message);
  return statistics_disk (store_statistics (store), 0);
}

/* Write one block; OPAQUE points to its first byte. */
static void *
write_block (void *opaque)
{
  const char first = *(const char *)opaque;
  struct status status;
  char block[BLOCK];

  memset (block, first, sizeof block);
  if (disk_write (disk, block, first * BLOCK, BLOCK, false, &status) == 0)
    atomic_fetch_add (&written, 1);
  return NULL;
}

static void
write_and_wait (char first)
{
  const int before = atomic_load (&written);

  write_block (&first);
  assert_int_equal (atomic_load (&written), before + 1);
}

/* Pages that were asked for in order to read the disk. */
static uint64_t
count_pages (const struct disk_counters *counters)
{
  return counter_read (&counters->cache_hits) +
         counter_read (&counters->cache_misses);
}

/* Threads begin to write, one after the other, while another program has the
 * lock: the first one leads, the others have to wait, and read if READS.
 */
static void
write_many (const char *path, const struct disk_counters *counters, bool reads)
{
  static const char blocks[THREADS] = { 1, 2, 3, 4, 5, 6, 7, 8 };
  const uint64_t before = count_pages (counters);
  const int written_before = atomic_load (&written);
  sqlite3 *other = unit_open_raw (path);
  pthread_t threads[THREADS];

  unit_sql (other, "BEGIN IMMEDIATE");
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal (
        pthread_create (&threads[i], NULL, write_block, (void *)&blocks[i]), 0);
    nanosleep (&(struct timespec){ .tv_nsec = 20000000 }, NULL);
  }
  unit_sql (other, "COMMIT");
  sqlite3_close (other);
  for (int i = 0; i < THREADS; i++)
    pthread_join (threads[i], NULL);
  assert_int_equal (atomic_load (&written), written_before + THREADS);
  if (reads)
    assert_true (count_pages (counters) > before);
  else
    assert_int_equal (count_pages (counters), before);
}

/* A write reads where it has to wait, after another one met the medium. */
static void
test_writes (void **state)
{
  const struct disk_options options = { .name = "web", .size = BLOCKS * BLOCK };
  const struct disk_counters *counters;
  char *path = unit_database ();

  (void)state;
  unit_create (path, &options);
  counters = serve (path);
  assert_non_null (counters);

  atomic_store (&in_memory, true);
  for (char i = 1; i <= THREADS; i++)
    write_and_wait (i);
  write_many (path, counters, false);
  atomic_store (&in_memory, false);
  for (char i = 1; i <= THREADS; i++)
    write_and_wait (i);
  assert_int_equal (count_pages (counters), 0); /* each led at once */
  write_many (path, counters, true);

  disk_close (disk);
  store_close (store);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_when),
    unit_test (test_what),
    unit_test (test_writes),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
