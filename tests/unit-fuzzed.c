/* What the fuzzer (fuzz.h) has found, kept as cases. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "store.h"

#define BLOCK 4096

static void
ignore_warning (const char *message)
{
  (void)message;
}

/* Open the disk of the database PATH for writing. */
static struct disk *
open_disk (const char *path, struct store **store, struct status *status)
{
  const struct store_options options = {
    .limits = checkpoint_limits_default,
    .warn = ignore_warning,
  };

  *store = store_open (path, &options, status);
  assert_non_null (*store);
  return disk_open (*store, "", false, status);
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
  struct disk *disk = open_disk (path, &store, &status);

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

/* Disks whose ids cannot be a place in the lock file. */
static void
test_disk_id (void **state)
{
  static const char *const ids[] = {
    "-1",
    "-9223372036854775807 - 1",
    "9223372036854775807",
    "9223372036854775807 / 256",
  };
  char *path = make_disk ();
  struct status status;
  struct store *store;

  (void)state;
  for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
    unit_sql_on (path, "UPDATE disk SET id = %s; %s", ids[i],
                 unit_disk_checksums);
    assert_null (open_disk (path, &store, &status));
    assert_fails (-1, &status, EIO, "impossible id");
    store_close (store);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_highest_id),
    unit_test (test_disk_id),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
