/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A backup while the disk is written and the log is to start over.
 *
 * Between any two of its transactions everything is overwritten, and a
 * checkpoint must be able to empty the log: so nothing that a backup has
 * open stands in its way.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "unit.h"

#include "engine/checkpoint.h"
#include "manage.h"

/* More than a backup reads in one transaction. */
#define SIZE (16 << 20)

static char *pattern;

static struct disk *
open_disk (struct store *store, const char *name, bool readonly)
{
  struct status status;
  struct disk *disk = disk_open (store, name, readonly, &status);

  if (disk == NULL)
    fail_msg ("%s", status.message);
  return disk;
}

/* The disk is all of VALUE. */
static void
fill (struct disk *disk, int value)
{
  struct status status;

  memset (pattern, value, SIZE);
  assert_ok (disk_write (disk, pattern, 0, SIZE, false, &status), &status);
}

static void
expect (struct store *store, const char *name, int value)
{
  struct disk *disk = open_disk (store, name, true);
  char *bytes = malloc (SIZE);
  struct status status;

  assert_non_null (bytes);
  assert_ok (disk_read (disk, bytes, 0, SIZE, &status), &status);
  memset (pattern, value, SIZE);
  assert_memory_equal (bytes, pattern, SIZE);
  free (bytes);
  disk_close (disk);
}

/* What happens during a backup. */
struct meanwhile {
  const char *path;
  struct disk *disk;
  int calls;
  int stop_at; /* the call that ends the backup */
};

/* Empty the log.  The store's own checkpointer may be at work. */
static void
empty_log (struct connection *connection)
{
  struct status status;
  int r = 0;

  for (int i = 0; i < 1000 && r == 0; i++) {
    r = checkpoint_complete (connection, &status);
    if (r == 0)
      nanosleep (&(struct timespec){ .tv_nsec = 10000000 }, NULL);
  }
  assert_result (r, &status, 1);
}

static int
overwrite (uint64_t done, uint64_t total, void *opaque)
{
  struct meanwhile *meanwhile = opaque;
  struct connection connection;

  assert_true (done <= total);
  meanwhile->calls++;
  fill (meanwhile->disk, 2 + meanwhile->calls);
  unit_open (&connection, meanwhile->path, CONNECTION_WRITE);
  assert_int_equal (unit_integer (connection.db, "SELECT count (*) FROM disk"),
                    1);
  empty_log (&connection);
  connection_close (&connection);
  return meanwhile->calls == meanwhile->stop_at;
}

/* Make the database with a disk of 1 and a snapshot of that, then 2. */
static struct store *
make_store (const char *path, struct disk **disk)
{
  static const char *const names[] = { "web" };
  const struct disk_options options = { .name = "web",
                                        .size = SIZE,
                                        .compression = { CODEC_RAW, 0 } };
  struct status status;
  struct store *store;

  unit_create (path, &options);
  store = unit_open_store (path);
  *disk = open_disk (store, "web", false);
  fill (*disk, 1);
  assert_ok (manage_snapshot (store, names, 1, "one", &status), &status);
  fill (*disk, 2);
  return store;
}

static void
test_meanwhile (void **state)
{
  const char *path = unit_database ();
  char *copy_path = unit_path ("copy.sqlite");
  struct meanwhile meanwhile = { .path = path };
  struct store *store = make_store (path, &meanwhile.disk);
  struct connection connection;
  struct backup_counts counts;
  struct status status;
  struct store *copy;

  (void)state;
  assert_ok (
      manage_backup (store, copy_path, overwrite, &meanwhile, &counts, &status),
      &status);
  assert_true (meanwhile.calls >= 4);
  assert_int_equal (counts.bytes, 2 * SIZE);
  assert_int_equal (counts.blocks, 2 * SIZE / 4096);
  expect (store, "web", 2 + meanwhile.calls);
  copy = unit_open_store (copy_path);
  expect (copy, "web", 2);
  expect (copy, "web@one", 1);
  store_close (copy);

  /* What it kept goes. */
  unit_open (&connection, path, CONNECTION_READ);
  assert_int_equal (
      unit_integer (connection.db, "SELECT count (*) FROM snapshot"), 1);
  connection_close (&connection);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  disk_close (meanwhile.disk);
  store_close (store);
  unit_open (&connection, path, CONNECTION_READ);
  assert_int_equal (unit_integer (connection.db, "SELECT count (*) FROM block"),
                    2 * SIZE / 4096);
  connection_close (&connection);
}

static void
test_interrupted (void **state)
{
  const char *path = unit_database ();
  char *copy_path = unit_path ("copy.sqlite");
  struct meanwhile meanwhile = { .path = path, .stop_at = 2 };
  struct store *store = make_store (path, &meanwhile.disk);
  struct status status;
  size_t size;

  (void)state;
  assert_fails (
      manage_backup (store, copy_path, overwrite, &meanwhile, NULL, &status),
      &status, ECANCELED, "interrupted");
  assert_int_equal (meanwhile.calls, 2);
  assert_null (unit_read_file (copy_path, &size));
  meanwhile.stop_at = 0;
  assert_ok (
      manage_backup (store, copy_path, overwrite, &meanwhile, NULL, &status),
      &status);
  assert_fails (manage_backup (store, copy_path, NULL, NULL, NULL, &status),
                &status, EEXIST, "exists");
  disk_close (meanwhile.disk);
  store_close (store);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_meanwhile),
    unit_test (test_interrupted),
  };
  int failed;

  pattern = malloc (SIZE);
  if (pattern == NULL)
    return 1;
  failed = cmocka_run_group_tests (tests, NULL, NULL);
  free (pattern);
  return failed;
}
