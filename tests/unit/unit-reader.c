/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Read transactions that are kept from one request to the next: they show
 * what is committed at once, and are given up soon.
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "base/clock.h"
#include "engine/reader.h"
#include "rows/snapshots.h"
#include "sqlite/marking.h"

#define SIZE     65536
#define LONGEST  (UINT64_C (20000) * CLOCK_MILLISECOND)
#define TRIES    100
#define ONE_DISK "WHERE name = 'one'"

static char *path;
static struct connections connections;
static struct reader_pool pool;
static struct disk_info one, two;

static void
sleep_milliseconds (int milliseconds)
{
  nanosleep (&(struct timespec){ .tv_nsec = milliseconds * 1000000L }, NULL);
}

/* Give the disk "one" another size, in a transaction of another connection.
 */
static void
resize (int64_t size)
{
  unit_sql_on (path,
               "BEGIN IMMEDIATE; UPDATE disk SET size = %lld " ONE_DISK
               "; %s; COMMIT",
               (long long)size, unit_disk_checksums);
}

/* Have something in the log: to write what is there already is nothing. */
static void
commit (void)
{
  resize (2 * SIZE);
  resize (SIZE);
}

/* Find a disk by name. */
static void
find (struct connection *connection, const char *name, struct disk_info *info)
{
  struct status status;

  assert_result (disks_find (connection, name, info, &status), &status, 1);
}

/* A database with two disks, the second half as large, and a pool. */
static int
setup (void **state)
{
  const struct disk_options first = { .name = "one", .size = SIZE };
  const struct disk_options second = { .name = "two", .size = SIZE / 2 };
  const struct store_options options = { .warn = unit_ignore_warning };
  struct connection connection;
  struct status status;

  unit_setup (state);
  path = unit_database ();
  unit_create (path, &first);
  unit_open (&connection, path, CONNECTION_WRITE);
  assert_ok (marking_begin (&connection, &status), &status);
  assert_ok (disks_create (&connection, &second, &status), &status);
  assert_ok (connection_commit (&connection, &status), &status);
  find (&connection, "one", &one);
  find (&connection, "two", &two);
  connection_close (&connection);
  assert_ok (connections_find (&connections, path, &options, &status), &status);
  assert_ok (reader_pool_open (&pool, &connections, &status), &status);
  return 0;
}

static int
teardown (void **state)
{
  reader_pool_close (&pool);
  connections_free (&connections);
  return unit_teardown (state);
}

/* What a request sees: the size of a disk.  Says in KEPT whether it went on
 * in the transaction of the one before.
 */
static uint64_t
look (const struct disk_info *disk, bool *kept)
{
  static uint64_t since;
  struct status status;
  struct reader *reader = reader_take_disk (&pool, disk, &status);
  uint64_t size;

  if (reader == NULL)
    fail_msg ("%s", status.message);
  size = reader->view.size;
  *kept = reader->since == since;
  since = reader->since;
  reader_return (&pool, reader);
  return size;
}

/* Do requests go on in transactions?  A slow machine may make some wait for
 * so long that these have been given up.
 */
static bool
transactions_are_kept (void)
{
  bool kept = false;

  for (int i = 0; i < TRIES && !kept; i++)
    assert_int_equal (look (&one, &kept), SIZE);
  return kept;
}

/* Could another program empty the log just now?  It must read first, else
 * it does nothing.
 */
static bool
log_can_be_emptied (void)
{
  sqlite3 *db = unit_open_raw (path);
  int64_t busy;

  unit_integer (db, "SELECT count (*) FROM disk");
  busy = unit_integer (db, "PRAGMA wal_checkpoint (TRUNCATE)");
  sqlite3_close (db);
  return busy == 0;
}

static void
test_kept (void **state)
{
  const uint64_t start = clock_now ();
  bool kept;

  (void)state;
  assert_true (transactions_are_kept ());

  /* Not for ever, even if it is used all the time. */
  do {
    sleep_milliseconds (1);
    look (&one, &kept);
  } while (kept && clock_now () - start < LONGEST);
  assert_false (kept);
}

static void
test_commits_are_seen (void **state)
{
  bool kept;

  (void)state;
  for (int i = 0; i < TRIES; i++) {
    look (&one, &kept);
    resize (SIZE + 4096 * (i + 1));
    assert_int_equal (look (&one, &kept), SIZE + 4096 * (i + 1));
    assert_false (kept);
  }
}

static void
test_other_disk (void **state)
{
  bool kept;

  (void)state;
  for (int i = 0; i < TRIES; i++) {
    assert_int_equal (look (&one, &kept), SIZE);
    assert_int_equal (look (&two, &kept), SIZE / 2);
    assert_false (kept);
  }
}

/* What did not begin for a disk shows what is there now, too. */
static void
test_without_disk (void **state)
{
  struct status status;
  struct reader *reader;
  struct disk_info info;
  bool kept;

  (void)state;
  look (&one, &kept);
  resize (2 * SIZE);
  reader = reader_take (&pool, &status);
  assert_non_null (reader);
  find (&reader->connection, "one", &info);
  assert_int_equal (info.size, 2 * SIZE);
  reader_return (&pool, reader);
  assert_true (log_can_be_emptied ());
}

static void
test_given_up (void **state)
{
  const uint64_t start = clock_now ();

  (void)state;
  commit ();
  assert_true (transactions_are_kept ());
  while (!log_can_be_emptied ()) {
    assert_true (clock_now () - start < LONGEST);
    sleep_milliseconds (10);
  }
}

static void
test_suspended (void **state)
{
  bool kept;

  (void)state;
  for (int i = 0; i < 10; i++) {
    commit ();
    look (&one, &kept);
    reader_pool_suspend (&pool);
    reader_pool_suspend (&pool);
    assert_true (log_can_be_emptied ());
    commit ();
    look (&one, &kept);
    look (&one, &kept);
    assert_false (kept);
    assert_true (log_can_be_emptied ());
    reader_pool_resume (&pool);
    look (&one, &kept);
    look (&one, &kept);
    assert_false (kept);
    reader_pool_resume (&pool);
    assert_true (transactions_are_kept ());
  }
}

/* One that is in use ends with its request. */
static void
test_suspended_in_use (void **state)
{
  struct status status;
  struct reader *reader;

  (void)state;
  commit ();
  reader = reader_take_disk (&pool, &one, &status);
  assert_non_null (reader);
  reader_pool_suspend (&pool);
  assert_false (log_can_be_emptied ());
  reader_return (&pool, reader);
  assert_true (log_can_be_emptied ());
  reader_pool_resume (&pool);
}

/* Commit by other connections until the log has more than READER_KEEP_FRAMES.
 */
static void
make_log_long (void)
{
  struct stat st = { .st_size = 0 };
  char *name;

  assert_true (asprintf (&name, "%s-wal", path) > 0);
  while (st.st_size < (READER_KEEP_FRAMES + 1) * INT64_C (4200)) {
    commit ();
    assert_int_equal (stat (name, &st), 0);
  }
  free (name);
}

/* While others write to a long log none is kept; when nobody has written for a
 * second, they are again, until somebody does.
 */
static void
test_long_log (void **state)
{
  bool kept;

  (void)state;
  make_log_long ();
  for (int i = 0; i < 2; i++) {
    const uint64_t start = clock_now ();

    do {
      look (&one, &kept);
      assert_false (kept && clock_now () - start < CLOCK_SECOND);
    } while (clock_now () - start < CLOCK_SECOND / 2);
    sleep_milliseconds (600);
    assert_true (transactions_are_kept ());
    commit ();
  }
  look (&one, &kept);
  assert_true (log_can_be_emptied ());
}

/* A file with two names is read without its log.  Once it was replaced, and no
 * connection is left, requests fail instead of waiting for one.
 */
static void
test_replaced (void **state)
{
  const struct store_options options = { .warn = unit_ignore_warning };
  char *first = unit_path ("first"), *second = unit_path ("second");
  const struct disk_options disk = { .name = "one", .size = SIZE };
  struct connections linked;
  struct reader_pool readers;
  struct reader *reader;
  struct status status;

  (void)state;
  unit_create (first, &disk);
  unit_create (second, &disk);
  assert_int_equal (link (first, unit_path ("link")), 0);
  assert_ok (connections_find (&linked, first, &options, &status), &status);
  assert_ok (reader_pool_open (&readers, &linked, &status), &status);
  readers.follow = true;
  assert_int_equal (linked.reading, CONNECTION_IMMUTABLE);
  reader = reader_take (&readers, &status);
  assert_non_null (reader);
  assert_ok (reader_end (&readers, reader, 0, &status), &status);
  assert_int_equal (rename (second, first), 0);
  for (int i = 0; i < 3; i++) {
    reader = reader_take (&readers, &status);
    assert_null (reader);
    assert_int_equal (status.error, EIO);
  }
  assert_int_equal (rename (unit_path ("link"), first), 0);
  sleep_milliseconds (200);
  reader = reader_take (&readers, &status);
  assert_non_null (reader);
  assert_ok (reader_end (&readers, reader, 0, &status), &status);
  reader_pool_close (&readers);
  connections_free (&linked);
}

#define reader_test(function)                                                  \
  cmocka_unit_test_setup_teardown (function, setup, teardown)

int
main (void)
{
  const struct CMUnitTest tests[] = {
    reader_test (test_kept),         reader_test (test_commits_are_seen),
    reader_test (test_other_disk),   reader_test (test_long_log),
    reader_test (test_without_disk), reader_test (test_given_up),
    reader_test (test_suspended),    reader_test (test_suspended_in_use),
    unit_test (test_replaced),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
