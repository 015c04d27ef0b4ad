/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What usage_count says would be freed is what deleting frees.
 *
 * After a random history, with clones of clones and roll-backs, every disk
 * alone and with its snapshots, and every snapshot, is really deleted in a
 * copy, and the bytes of all rows that are left at the end are compared with
 * those of a copy in which nothing was deleted.  Some blocks are compressed
 * or deduplicated, and some of what was deleted before still waits to be
 * reclaimed.  The views of the database must not say more.  What is shown, and
 * is left when it is deleted, is compared with rows that SQL finds.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "manage/manage-parts.h"
#include "rows/reclaim.h"

#define BLOCK  4096
#define BLOCKS 48

#define HISTORIES 8
#define STEPS     50
#define DISKS_MAX 5
#define ITEMS_MAX 80

static char *path;
static struct store *store;
static uint64_t seed;
static unsigned names; /* how many were given */
static bool sharing;   /* some disks are deduplicated */

/* What there is. */
struct list {
  struct usage_item items[ITEMS_MAX];
  char targets[ITEMS_MAX][DISK_TARGET_MAX + 1]; /* DISK or DISK@SNAPSHOT */
  size_t count;
};

/* Add an item; returns where its name belongs. */
static char *
add_item (struct list *list, int64_t disk, int64_t snapshot)
{
  assert_true (list->count < ITEMS_MAX);
  list->items[list->count] =
      (struct usage_item){ .disk = disk, .snapshot = snapshot, .shown = true };
  return list->targets[list->count++];
}

static int
add_snapshot (const struct snapshot_info *info, void *opaque)
{
  snprintf (add_item (opaque, info->disk, info->id), DISK_TARGET_MAX + 1,
            "%s@%s", info->disk_name, info->name);
  return 0;
}

static int
add_disk (const struct disk_info *info, void *opaque)
{
  strcpy (add_item (opaque, info->id, 0), info->name);
  return 0;
}

/* The disks, and then the snapshots. */
static void
list_all (struct list *list, size_t *disks)
{
  struct status status;

  list->count = 0;
  assert_ok (store_list (store, add_disk, list, &status), &status);
  *disks = list->count;
  assert_ok (store_list_snapshots (store, add_snapshot, list, &status),
             &status);
}

/*--------------------------------------------------------------------
 * A random history.
 */

/* Write some blocks: ones that compress, zeroes, and ones that there are
 * often.
 */
static void
write_some (const char *name)
{
  static char data[4 * BLOCK];
  struct status status;
  struct disk *disk = disk_open (store, name, false, &status);
  uint64_t common;

  assert_non_null (disk);
  for (int i = 0; i < 8; i++) {
    const uint64_t count = 1 + random_below (&seed, 4);
    const uint64_t first = random_below (&seed, BLOCKS - count);

    memset (data, 0, sizeof data);
    for (uint64_t j = 0; j < count; j++) {
      common = random_below (&seed, 8);
      random_fill (random_below (&seed, 2) ? &common : &seed, data + j * BLOCK,
                   random_below (&seed, 4) * BLOCK / 3);
    }
    assert_ok (
        disk_write (disk, data, first * BLOCK, count * BLOCK, false, &status),
        &status);
  }
  disk_close (disk);
}

/* Blocks written from now on are stored in another way. */
static void
change_options (const char *disk)
{
  const bool lz4 = codec_has_feature ("lz4");
  const struct disk_options options = {
    .storing.compression = { lz4 && random_below (&seed, 2) ? unit_codec ("lz4")
                                                            : CODEC_RAW,
                             0 },
    .storing.deduplicate =
        sharing && random_below (&seed, 2) ? DISK_ON : DISK_OFF,
  };
  struct status status;

  assert_ok (manage_set (store, disk, &options, &status), &status);
}

static void
delete_some (const char *target)
{
  struct status status;

  if (strchr (target, '@'))
    assert_ok (manage_delete_snapshots (store, &target, 1, &status), &status);
  else
    assert_ok (manage_delete (store, target, true, false, &status), &status);
}

static void
reclaim_some (void)
{
  struct status status;
  uint64_t freed;
  bool done;

  if (random_below (&seed, 3) == 0)
    assert_ok (manage_reclaim_step (store, &done, &freed, &status), &status);
  else
    assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
}

/* Do something at random. */
static void
do_step (void)
{
  struct list list;
  struct status status;
  const char *disk, *any;
  char name[30];
  size_t disks;

  list_all (&list, &disks);
  disk = list.targets[random_below (&seed, disks)];
  any = list.targets[random_below (&seed, list.count)];
  snprintf (name, sizeof name, "n%u", names++);
  switch (random_below (&seed, 10)) {
  case 0:
  case 1:
    if (list.count < ITEMS_MAX - DISKS_MAX)
      assert_ok (manage_snapshot (store, &disk, 1, name, &status), &status);
    break;
  case 2:
    if (disks < DISKS_MAX)
      assert_ok (manage_clone (store, any, name, NULL, &status), &status);
    break;
  case 3:
    if (strchr (any, '@'))
      assert_ok (manage_rollback (store, any, false, &status), &status);
    break;
  case 4:
    if (strcmp (any, "other") != 0)
      delete_some (any);
    break;
  case 5:
    change_options (disk);
    break;
  case 6:
    reclaim_some ();
    break;
  default:
    write_some (disk);
    break;
  }
}

/*--------------------------------------------------------------------
 * What is said, and what is.
 */

/* The bytes of all rows of a file. */
static uint64_t
bytes_of (const char *file)
{
  return unit_integer_on (
      file, "SELECT (SELECT ifnull (sum (length (data)), 0) FROM block)"
            " + (SELECT ifnull (sum (length (data)), 0) FROM content)");
}

/* The bytes of rows that are left in a copy of the closed database when
 * TARGET, if that is not NULL, was deleted: a snapshot, a disk with its
 * snapshots, or, ALONE, a disk whose snapshots go to the disk "other".  With
 * ALL what clones hide by now is looked for.
 */
static uint64_t
left_in_copy (const char *target, bool alone, bool all)
{
  const char *copy = unit_path ("copy");
  struct status status;
  size_t size;
  char *data;

  data = unit_read_file (path, &size);
  assert_non_null (data);
  unit_write_file (copy, data, size);
  free (data);
  if (target && alone)
    unit_sql_on (copy,
                 "INSERT OR REPLACE INTO reclaim"
                 " SELECT layer, 0, 0 FROM disk WHERE name = %Q;"
                 "UPDATE snapshot SET disk = (SELECT id FROM disk"
                 "  WHERE name = 'other')"
                 " WHERE disk = (SELECT id FROM disk WHERE name = %Q);"
                 "DELETE FROM disk WHERE name = %Q; %s",
                 target, target, target, unit_snapshot_checksums);
  store = unit_open_store (copy);
  if (target && !alone)
    delete_some (target);
  if (all)
    assert_ok (manage_reclaim_hidden (store, &status), &status);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  store_close (store);
  unit_assert_reclaimed (copy);
  return bytes_of (copy);
}

static void
compare (const char *target, const char *what, uint64_t said, uint64_t freed)
{
  if (said != freed)
    fail_msg ("deleting %s%s frees %" PRIu64 " bytes, not %" PRIu64, target,
              what, freed, said);
}

/* What the views of the closed database say of TARGET alone. */
static uint64_t
view_says (sqlite3 *db, const char *target)
{
  return strchr (target, '@')
             ? unit_integer (db,
                             "SELECT bytes FROM snapshot_usage"
                             " WHERE disk || '@' || snapshot = %Q",
                             target)
             : unit_integer (db,
                             "SELECT exclusive FROM disk_usage"
                             " WHERE disk = %Q",
                             target);
}

/* They must not say too much, and if there is nothing but disks with
 * snapshots just what they free.
 */
static void
check_views (const struct list *list, const uint64_t *freed)
{
  sqlite3 *db = unit_open_raw (path);
  const bool simple = unit_integer (
      db, "SELECT NOT EXISTS (SELECT 1 FROM layer WHERE parent IS NOT NULL)"
          " AND NOT EXISTS (SELECT 1 FROM content)");
  uint64_t said;

  for (size_t i = 0; i < list->count; i++) {
    said = view_says (db, list->targets[i]);
    if (simple ? said != freed[i] : said > freed[i])
      fail_msg ("%s: the view says %" PRIu64 ", not %" PRIu64, list->targets[i],
                said, freed[i]);
  }
  sqlite3_close (db);
}

/* Read what is shown in the closed database, into a table of the
 * connection.
 */
static sqlite3 *
read_shown (void)
{
  sqlite3 *db = unit_open_raw (path);

  unit_sql (db, unit_shown);
  return db;
}

/* The bytes that ITEM shows, by DB, and that there are in FILE as well. */
static uint64_t
shown_in (sqlite3 *db, const struct usage_item *item, const char *file)
{
  uint64_t bytes;

  unit_sql (db, "ATTACH %Q AS file", file);
  bytes = unit_integer (
      db,
      "WITH mine AS (SELECT id, bytes, content FROM shown"
      "  WHERE disk = %lld AND snapshot IS nullif (%lld, 0))"
      "SELECT (SELECT ifnull (sum (bytes), 0) FROM mine"
      "  WHERE id IN (SELECT id FROM file.block))"
      " + (SELECT ifnull (sum (length (data)), 0) FROM file.content"
      "  WHERE id IN (SELECT content FROM mine))",
      item->disk, item->snapshot);
  unit_sql (db, "DETACH file");
  return bytes;
}

/* What ITEM, of TARGET, says of itself, where it was deleted in the copy. */
static void
check_shared (sqlite3 *shown, const struct usage_item *item, const char *target)
{
  const uint64_t shared = shown_in (shown, item, unit_path ("copy"));

  if (item->shared != shared)
    fail_msg ("%s shares %" PRIu64 " bytes, not %" PRIu64, target, shared,
              item->shared);
}

/* What ITEM shows, in blocks and in bytes. */
static void
check_stored (sqlite3 *shown, const struct usage_item *item, const char *target)
{
  const uint64_t stored = shown_in (shown, item, path);
  const uint64_t logical =
      BLOCK * unit_integer (shown,
                            "SELECT count (*) FROM shown WHERE disk = %lld"
                            " AND snapshot IS nullif (%lld, 0)",
                            item->disk, item->snapshot);

  if (item->stored != stored || item->logical != logical)
    fail_msg ("%s stores %" PRIu64 " of %" PRIu64 ", not %" PRIu64
              " of %" PRIu64,
              target, stored, logical, item->stored, item->logical);
}

/* Check the usage of everything, ALL as in left_in_copy. */
static void
check_usage (bool all)
{
  uint64_t alone[ITEMS_MAX], with[ITEMS_MAX], left;
  struct list list;
  struct status status;
  sqlite3 *shown;
  size_t disks;

  list_all (&list, &disks);
  for (size_t i = 0, disk; i < list.count; i++) {
    for (disk = 0; list.items[disk].disk != list.items[i].disk;)
      disk++;
    list.items[i].group = disk;
  }
  assert_ok (manage_usage (store, list.items, list.count, with, disks, NULL,
                           NULL, &status),
             &status);
  for (size_t i = 0; i < list.count; i++)
    list.items[i].group = i;
  assert_ok (manage_usage (store, list.items, list.count, alone, list.count,
                           NULL, NULL, &status),
             &status);
  store_close (store);
  check_views (&list, alone);
  shown = read_shown ();
  left = left_in_copy (NULL, false, all);
  for (size_t i = 0; i < list.count; i++) {
    const char *target = list.targets[i];

    check_stored (shown, &list.items[i], target);
    if (i >= disks) {
      compare (target, "", alone[i], left - left_in_copy (target, false, all));
      check_shared (shown, &list.items[i], target);
    }
    else if (strcmp (target, "other") != 0) {
      compare (target, " alone", alone[i],
               left - left_in_copy (target, true, all));
      check_shared (shown, &list.items[i], target);
      compare (target, " and its snapshots", with[i],
               left - left_in_copy (target, false, all));
    }
  }
  assert_int_equal (sqlite3_close (shown), SQLITE_OK);
  store = unit_open_store (path);
}

/* Delete most of what there is, and then write: layers without a disk or a
 * snapshot are left, of which clones hide some.
 */
static void
delete_most (void)
{
  struct list list;
  size_t disks;

  for (list_all (&list, &disks); list.count > disks; list.count--)
    if (random_below (&seed, 4) > 0)
      delete_some (list.targets[list.count - 1]);
  for (; disks > 1; disks--)
    if (random_below (&seed, 3) == 0 &&
        strcmp (list.targets[disks - 1], "other") != 0)
      delete_some (list.targets[disks - 1]);
  reclaim_some ();
  for (int step = 0; step < STEPS / 4; step++)
    do_step ();
}

/* Check as it is, and when there is nothing to be reclaimed any more. */
static void
check_all (void)
{
  struct status status;

  check_usage (true);
  assert_ok (manage_reclaim_hidden (store, &status), &status);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  check_usage (false);
}

/* Begin with two empty disks. */
static void
begin (void)
{
  struct disk_options options = {
    .name = "other",
    .size = BLOCKS * BLOCK,
    .block_size = BLOCK,
  };
  struct status status;

  path = unit_path ("history");
  remove (path);
  assert_ok (store_provide (path, &options, &status), &status);
  store = unit_open_store (path);
  options.name = "first";
  assert_ok (manage_create (store, &options, &status), &status);
}

/* Many random histories. */
static void
test_freed (void **state)
{
  const int64_t few_rows = reclaim_few_rows;

  (void)state;
  seed = unit_seed ();
  for (int i = 0; i < HISTORIES; i++) {
    begin ();
    sharing = i % 4 < 2;
    reclaim_few_rows = i % 2 ? few_rows : BLOCKS / 6;
    for (int step = 0; step < STEPS; step++)
      do_step ();
    if (random_below (&seed, 3) > 0)
      delete_most ();
    check_all ();
    store_close (store);
  }
}

/* A disk with snapshots. */
static void
test_simple (void **state)
{
  static const char *const disk = "first";
  struct status status;
  char name[30];

  (void)state;
  seed = unit_seed ();
  begin ();
  for (int i = 0; i < 5; i++) {
    write_some (disk);
    snprintf (name, sizeof name, "s%d", i);
    assert_ok (manage_snapshot (store, &disk, 1, name, &status), &status);
  }
  write_some (disk);
  check_all ();
  store_close (store);
}

/* Write COUNT blocks of DISK from FIRST on. */
static void
write_blocks (const char *name, uint64_t first, uint64_t count)
{
  static char data[BLOCKS * BLOCK];
  struct status status;
  struct disk *disk = disk_open (store, name, false, &status);

  assert_non_null (disk);
  random_fill (&seed, data, count * BLOCK);
  assert_ok (
      disk_write (disk, data, first * BLOCK, count * BLOCK, false, &status),
      &status);
  disk_close (disk);
}

/* Layers of two origins that were deleted, neither of which moves up: what
 * the last clone hides is hidden of both.
 */
static void
test_chain (void **state)
{
  static const char *const clone = "c";
  struct status status;

  (void)state;
  seed = unit_seed ();
  reclaim_few_rows = 2;
  begin ();
  write_blocks ("first", 0, 16);
  assert_ok (manage_clone (store, "first", "b", NULL, &status), &status);
  write_blocks ("b", 0, 12);
  assert_ok (manage_clone (store, "b", clone, NULL, &status), &status);
  assert_ok (manage_snapshot (store, &clone, 1, "s", &status), &status);
  delete_some ("b");
  delete_some ("first");
  check_all ();
  write_blocks (clone, 4, 4);
  write_blocks (clone, 12, 4);
  check_all ();
  store_close (store);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_freed),
    unit_test (test_simple),
    unit_test (test_chain),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
