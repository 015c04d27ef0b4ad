/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* One damaged layer, or disk, of several: what goes from one to the next goes
 * on with the others, and fails at its end.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "check.h"
#include "manage.h"
#include "check/rawfile.h"

#define BLOCK  512
#define BLOCKS 3000

static const char *const names[] = { "a", "b", "c" };

static char *path;
static struct store *store;

static int64_t
ask (const char *sql)
{
  return unit_integer_on (path, "%s", sql);
}

/* The layer of a disk. */
static int64_t
layer_of (const char *disk)
{
  return unit_integer_on (path, "SELECT layer FROM disk WHERE name = %Q", disk);
}

static void
fill (const char *name)
{
  char *data = malloc (BLOCKS * BLOCK);
  struct status status;
  struct disk *disk = disk_open (store, name, false, &status);

  assert_non_null (disk);
  assert_non_null (data);
  memset (data, name[0], BLOCKS * BLOCK);
  assert_ok (disk_write (disk, data, 0, BLOCKS * BLOCK, false, &status),
             &status);
  disk_close (disk);
  free (data);
}

/* Three disks that are full. */
static void
begin (void)
{
  struct status status;

  path = unit_database ();
  for (size_t i = 0; i < 3; i++) {
    const struct disk_options options = {
      .name = names[i],
      .size = BLOCKS * BLOCK,
      .block_size = BLOCK,
      .storing.compression = { CODEC_RAW, 0 },
    };

    if (i == 0) {
      assert_ok (store_provide (path, &options, &status), &status);
      store = unit_open_store (path);
    }
    else
      assert_ok (manage_create (store, &options, &status), &status);
    fill (names[i]);
  }
}

/* Which pages are meant: leaves of TYPE whose records have VALUES values, of
 * which number PLACE is WANTED, if that is not 0.
 */
struct wanted {
  enum tree_type type;
  unsigned values, place;
  int64_t wanted;
};

static bool
is_wanted (struct rawfile *pages, const struct wanted *wanted)
{
  static unsigned char payload[PAYLOAD_MAX];
  struct value values[RECORD_VALUES];
  struct tree_page tree;
  struct cell cell;

  if (!rawfile_tree (pages, &tree) || tree.type != wanted->type ||
      tree.cells < 5)
    return false;
  for (unsigned i = 0; i < tree.cells; i++)
    if (!rawfile_tree_cell (pages, &tree, i, &cell, payload) ||
        record_parse (payload, cell.length, values) != wanted->values ||
        (wanted->wanted != 0 &&
         values[wanted->place].integer != wanted->wanted))
      return false;
  return true;
}

/* Spoil a page in the middle of those, while the store is closed. */
static void
spoil (const struct wanted *wanted)
{
  uint32_t found[1000], count = 0;
  struct status status;
  struct rawfile *pages;
  size_t size;
  char *bytes;

  store_close (store);
  pages = rawfile_open (path, 0, &status);
  assert_non_null (pages);
  for (uint32_t number = 2; number <= pages->count && count < 1000; number++) {
    rawfile_get (pages, number);
    if (is_wanted (pages, wanted))
      found[count++] = number;
  }
  assert_true (count >= 5);
  bytes = unit_read_file (path, &size);
  bytes[(found[count / 2] - 1) * (size_t)pages->page_size + 2000] ^= 1;
  unit_write_file (path, bytes, size);
  free (bytes);
  rawfile_close (pages);
  store = unit_open_store (path);
}

/* Spoil what the index of the blocks has of LAYER. */
static void
spoil_index (int64_t layer)
{
  spoil (&(struct wanted){ INDEX_LEAF, 4, 0, layer });
}

/* The others are freed. */
static void
test_reclaim (void **state)
{
  struct status status;
  uint64_t freed;
  int64_t damaged;

  (void)state;
  begin ();
  damaged = layer_of ("b");
  for (size_t i = 0; i < 3; i++)
    assert_ok (manage_delete (store, names[i], true, false, &status), &status);
  spoil_index (damaged);
  assert_fails (manage_reclaim (store, NULL, NULL, &freed, &status), &status,
                EIO, "freeing space: layer 2: ");
  assert_true (freed >= 2 * BLOCKS * BLOCK);
  assert_int_equal (ask ("SELECT count (*) FROM layer"), 1);
  assert_int_equal (ask ("SELECT layer FROM reclaim"), damaged);
  assert_int_equal (damaged, 2);
  store_close (store);
}

/* The others are counted. */
static void
test_count (void **state)
{
  const struct disk_options options = { .quota = 2 * BLOCKS * BLOCK };
  struct status status;

  (void)state;
  begin ();
  for (size_t i = 0; i < 3; i++)
    assert_ok (manage_set (store, names[i], &options, &status), &status);
  spoil_index (1);
  assert_fails (manage_count (store, NULL, NULL, &status), &status, EIO,
                "counting for quotas: layer 1: ");
  assert_int_equal (ask ("SELECT count (*) FROM counted WHERE bytes = 1536000"
                         " AND number = 9223372036854775807"),
                    2);
  store_close (store);
}

/* The others are removed. */
static void
test_receptions (void **state)
{
  struct status status;
  unsigned removed;

  (void)state;
  begin ();
  store_close (store);
  unit_sql_hostile (path,
                    "UPDATE disk SET name = name || '/receiving'; %s;"
                    "UPDATE disk SET checksum = checksum + 1 WHERE id = 1",
                    unit_disk_checksums);
  store = unit_open_store (path);
  assert_fails (manage_receive_clean (store, &removed, &status), &status, EIO,
                "removing interrupted receptions");
  assert_int_equal (removed, 2);
  assert_int_equal (ask ("SELECT id FROM disk"), 1);
  store_close (store);
}

/* Add an item, in a group of its own. */
static void
add_item (struct usage_item *items, size_t *count, int64_t disk,
          int64_t snapshot)
{
  items[*count] = (struct usage_item){
    .disk = disk, .snapshot = snapshot, .group = *count, .shown = true
  };
  ++*count;
}

/* What the damaged layer shows is not known, nor what goes with it; all else
 * is.
 */
static void
test_usage (void **state)
{
  const char *const target[] = { "b" };
  struct usage_item items[6];
  uint64_t freed[6];
  size_t count = 0;
  struct status status;

  (void)state;
  begin ();
  assert_ok (manage_snapshot (store, target, 1, "monday", &status), &status);
  assert_ok (manage_clone (store, "b@monday", "clone", NULL, &status), &status);
  assert_ok (manage_clone (store, "c", "other", NULL, &status), &status);
  fill ("other");
  for (int64_t disk = 1; disk <= 5; disk++)
    add_item (items, &count, disk, 0);
  add_item (items, &count, 2, ask ("SELECT id FROM snapshot"));
  spoil_index (2);
  assert_fails (
      manage_usage (store, items, count, freed, count, NULL, NULL, &status),
      &status, EIO, "does not fit its checksum");
  for (size_t i = 0; i < count; i++) {
    const bool known = i == 0 || i == 2 || i == 4;

    print_message ("item %zu\n", i);
    assert_int_equal (items[i].stored, known ? BLOCKS * BLOCK : USAGE_UNKNOWN);
    if (i != 3) /* the clone, which has no rows */
      assert_int_equal (freed[i], known ? BLOCKS * BLOCK : USAGE_UNKNOWN);
  }
  store_close (store);
}

/* What a check has told. */
struct told {
  unsigned unreadable, orphans;
};

static void
note (const struct check_problem *problem, void *opaque)
{
  struct told *told = opaque;

  print_message ("%s\n", problem->message);
  told->unreadable += strstr (problem->message, "does not fit") != NULL;
  told->orphans += strstr (problem->message, "3000 blocks of layer 3 that "
                                             "nobody shows") != NULL;
  told->orphans +=
      strstr (problem->message, "no block refers to content") != NULL;
}

static void
check (bool rows_only, struct told *told)
{
  const struct check_options options = {
    .found = note,
    .opaque = told,
    .rows_only = rows_only,
  };
  struct check_counts counts;
  struct status status;

  *told = (struct told){ 0 };
  assert_ok (check_database (store, &options, &counts, &status), &status);
}

/* What cannot be read of one layer does not hide what is wrong with another.
 */
static void
test_check_of_index (void **state)
{
  struct status status;
  struct told told;

  (void)state;
  begin ();
  assert_ok (manage_delete (store, "c", true, false, &status), &status);
  spoil_index (1);
  store_close (store);
  unit_sql_hostile (path, "DELETE FROM reclaim");
  store = unit_open_store (path);
  check (false, &told);
  assert_true (told.unreadable > 0);
  assert_int_equal (told.orphans, 1);
  store_close (store);
}

/* A scrub does not look at the index, and tells of rows all the same. */
static void
test_scrub_of_rows (void **state)
{
  struct told told;

  (void)state;
  begin ();
  spoil (&(struct wanted){ TABLE_LEAF, 8, 1, 2 });
  check (true, &told);
  assert_true (told.unreadable > 0);
  store_close (store);
}

/* A content that cannot be read does not hide that another is not used. */
static void
test_check_of_contents (void **state)
{
  const struct disk_options options = {
    .name = "a",
    .size = BLOCKS * BLOCK,
    .block_size = BLOCK,
    .storing.compression = { CODEC_RAW, 0 },
    .storing.deduplicate = DISK_ON,
  };
  uint32_t data[300][BLOCK / sizeof (uint32_t)] = { 0 };
  struct status status;
  struct disk *disk;
  struct told told;

  (void)state;
  path = unit_database ();
  assert_ok (store_provide (path, &options, &status), &status);
  store = unit_open_store (path);
  disk = disk_open (store, "a", false, &status);
  assert_non_null (disk);
  for (uint32_t i = 0; i < 300; i++)
    data[i][0] = i + 1;
  /* Twice: the first of several is not yet a content. */
  for (int i = 0; i < 2; i++)
    assert_ok (
        disk_write (disk, data, i * sizeof data, sizeof data, false, &status),
        &status);
  disk_close (disk);
  spoil (&(struct wanted){ TABLE_LEAF, 6, 2, BLOCK });
  store_close (store);
  unit_sql_hostile (path, "DELETE FROM block"
                          " WHERE content = (SELECT max (id) FROM content)");
  store = unit_open_store (path);
  check (true, &told);
  assert_int_equal (told.orphans, 1);
  store_close (store);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_reclaim),           unit_test (test_count),
    unit_test (test_receptions),        unit_test (test_usage),
    unit_test (test_check_of_index),    unit_test (test_scrub_of_rows),
    unit_test (test_check_of_contents),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
