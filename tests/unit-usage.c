/* What usage_count says would be freed is what deleting frees: it is really
 * deleted, in a copy, and the bytes of all rows are counted before and after.
 * Some rows are compressed, others not.
 *
 * Where a disk was cloned or rolled back, more may be freed than was said: a
 * layer that is left with one child loses what that one hides from itself.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "manage.h"

#define BLOCK  4096
#define BLOCKS 64
#define ROUNDS 6

static char *path;
static struct store *store;
static uint64_t seed;

/* Write some blocks of DISK, of which some compress, or make them zeroes. */
static void
write_some (const char *name)
{
  static char data[8 * BLOCK];
  struct status status;
  struct disk *disk = disk_open (store, name, false, &status);

  assert_non_null (disk);
  for (int i = 0; i < 10; i++) {
    const uint64_t count = 1 + random_below (&seed, 8);
    const uint64_t first = random_below (&seed, BLOCKS - count);

    memset (data, 0, sizeof data);
    random_fill (&seed, data, random_below (&seed, sizeof data));
    assert_ok (
        disk_write (disk, data, first * BLOCK, count * BLOCK, false, &status),
        &status);
  }
  disk_close (disk);
}

/* Blocks written from now on are compressed or not. */
static void
change_codec (const char *disk)
{
  const struct disk_options options = {
    .compression = { random_below (&seed, 2) ? CODEC_RAW : CODEC_LZ4, 0 },
  };
  struct status status;

  if (codec_has_feature (codec_feature (CODEC_LZ4)))
    assert_ok (manage_set (store, disk, &options, &status), &status);
}

/* The bytes of all rows of a file. */
static uint64_t
bytes_of (const char *file)
{
  sqlite3 *db = unit_open_raw (file);
  const uint64_t bytes =
      unit_integer (db, "SELECT ifnull (sum (length (data)), 0) FROM block");

  sqlite3_close (db);
  return bytes;
}

/* What deleting TARGET, a snapshot, or a disk with all of its snapshots, frees
 * in a copy of the closed database.
 */
static uint64_t
freed_in_copy (const char *target)
{
  const char *copy = unit_path ("copy");
  const uint64_t before = bytes_of (path);
  struct store *opened;
  struct status status;
  size_t size;
  char *bytes;

  bytes = unit_read_file (path, &size);
  assert_non_null (bytes);
  unit_write_file (copy, bytes, size);
  free (bytes);
  opened = unit_open_store (copy);
  if (strchr (target, '@'))
    assert_ok (manage_delete_snapshots (opened, &target, 1, &status), &status);
  else
    assert_ok (manage_delete (opened, target, true, false, &status), &status);
  assert_ok (manage_reclaim (opened, NULL, NULL, NULL, &status), &status);
  store_close (opened);
  unit_assert_reclaimed (copy);
  return before - bytes_of (copy);
}

/* The items of a disk, or of one snapshot. */
struct items {
  struct usage_item items[ROUNDS + 1];
  size_t count;
};

static int
add_item (const struct snapshot_info *info, void *opaque)
{
  struct items *items = opaque;

  items->items[items->count++] =
      (struct usage_item){ .disk = info->disk, .snapshot = info->id };
  return 0;
}

/* What is said that deleting TARGET would free. */
static uint64_t
freed_as_said (const char *target)
{
  struct items items = { .count = 0 };
  struct snapshot_info snapshot;
  struct disk_info disk;
  struct status status;
  uint64_t freed;

  if (strchr (target, '@')) {
    assert_ok (manage_find_snapshot (store, target, &snapshot, &status),
               &status);
    add_item (&snapshot, &items);
  }
  else {
    assert_ok (store_find (store, target, &disk, &status), &status);
    items.items[items.count++] = (struct usage_item){ .disk = disk.id };
    assert_ok (manage_list_snapshots (store, target, add_item, &items, &status),
               &status);
  }
  assert_ok (manage_usage (store, items.items, items.count, &freed, 1, NULL,
                           NULL, &status),
             &status);
  return freed;
}

static void
check (const char *target, bool exactly)
{
  const uint64_t said = freed_as_said (target);
  uint64_t freed;

  store_close (store);
  freed = freed_in_copy (target);
  store = unit_open_store (path);
  if (exactly ? freed != said : freed < said)
    fail_msg ("deleting %s frees %" PRIu64 " bytes, not %" PRIu64, target,
              freed, said);
}

/* A disk, a clone of it and one of that, with snapshots. */
static void
test_freed (void **state)
{
  static const char *const names[] = { "a", "b", "c" };
  const struct disk_options options = {
    .name = "a",
    .size = BLOCKS * BLOCK,
    .compression = { CODEC_RAW, 0 },
  };
  struct status status;
  char target[30];
  size_t disks = 1;

  (void)state;
  seed = unit_seed ();
  path = unit_database ();
  assert_ok (store_provide (path, &options, &status), &status);
  store = unit_open_store (path);
  for (int round = 0; round < ROUNDS; round++) {
    for (size_t i = 0; i < disks; i++) {
      change_codec (names[i]);
      write_some (names[i]);
      snprintf (target, sizeof target, "s%d", round);
      assert_ok (manage_snapshot (store, &names[i], 1, target, &status),
                 &status);
      write_some (names[i]);
    }
    if (round % 2 == 1 && disks == 1) {
      check ("a", true);
      check ("a@s0", true);
      check ("a@s1", true);
    }
    if (round % 2 == 1 && disks < 3) {
      snprintf (target, sizeof target, "%s@s%d", names[disks - 1], round);
      assert_ok (manage_clone (
                     store, random_below (&seed, 2) ? target : names[disks - 1],
                     names[disks], NULL, &status),
                 &status);
      disks++;
    }
  }
  snprintf (target, sizeof target, "b@s%d", ROUNDS - 2);
  assert_ok (manage_rollback (store, target, false, &status), &status);
  write_some ("b");
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  for (size_t i = 0; i < disks; i++) {
    check (names[i], false);
    snprintf (target, sizeof target, "%s@s%d", names[i],
              (int)(4 + random_below (&seed, 2)));
    check (target, false);
  }
  check ("a@s1", false);
  store_close (store);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_freed),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
