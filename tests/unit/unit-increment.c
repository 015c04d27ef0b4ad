/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Increments: their names, which extents are the same, data, zeroes or new,
 * what freezes, and what keeps snapshots from being deleted.  (unit-history.c
 * has them in random histories.)
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "manage.h"
#include "manage/diff.h"

#define BLOCK 512

static struct store *store;

/* A new database with the disk "web" of SIZE bytes. */
static void
begin (uint64_t size)
{
  const struct disk_options options = {
    .name = "web",
    .size = size,
    .block_size = BLOCK,
  };
  char *path = unit_database ();
  struct status status;

  assert_ok (store_provide (path, &options, &status), &status);
  store = unit_open_store (path);
}

/* Fill blocks with a letter, or with '.' make them zeroes. */
static void
fill (uint64_t first, const char *letters)
{
  char block[BLOCK];
  struct status status;
  struct disk *disk = disk_open (store, "web", false, &status);

  assert_non_null (disk);
  for (; *letters; letters++, first++) {
    memset (block, *letters, BLOCK);
    assert_ok (
        *letters == '.'
            ? disk_trim (disk, first * BLOCK, BLOCK, false, &status)
            : disk_write (disk, block, first * BLOCK, BLOCK, false, &status),
        &status);
  }
  disk_close (disk);
}

static void
take (const char *name)
{
  const char *disk = "web";
  struct status status;

  assert_ok (manage_snapshot (store, &disk, 1, name, &status), &status);
}

static struct increment *
open_increment (const char *name)
{
  struct increment *increment;
  struct status status;

  assert_ok (manage_increment (store, name, &increment, &status), &status);
  return increment;
}

/* It must not open, and say TEXT. */
static void
refuse (const char *name, int error, const char *text)
{
  struct increment *increment;
  struct status status;

  assert_fails (manage_increment (store, name, &increment, &status), &status,
                error, text);
  assert_null (increment);
}

/*--------------------------------------------------------------------
 * Extents.
 */

/* Extents as text: "same 512, data 1024, " */
static char told[1000];
static uint64_t told_to; /* byte */
static unsigned told_count;

static int
tell (uint64_t offset, uint64_t count, enum increment_kind kind, void *opaque)
{
  static const char *const kinds[] = { "same", "data", "zeroes", "new" };
  const size_t length = strlen (told);

  (void)opaque;
  assert_int_equal (offset, told_to);
  told_to += count;
  told_count++;
  snprintf (told + length, sizeof told - length, "%s %llu, ", kinds[kind],
            (unsigned long long)count);
  return 0;
}

static const char *
extents (struct increment *increment, uint64_t offset, uint64_t count, bool one)
{
  struct status status;

  told[0] = '\0';
  told_to = offset;
  told_count = 0;
  assert_ok (
      increment_extents (increment, offset, count, one, tell, NULL, &status),
      &status);
  return told;
}

/* All that the increment NAME has. */
static void
assert_extents (const char *name, const char *expected)
{
  struct increment *increment = open_increment (name);

  assert_string_equal (
      extents (increment, 0, disk_get_info (increment_disk (increment))->size,
               false),
      expected);
  increment_close (increment);
}

/* The picture in increment.c. */
static void
test_kinds (void **state)
{
  struct increment *increment;
  struct status status;
  char buffer[BLOCK];

  (void)state;
  begin (8 * BLOCK);
  fill (0, "aaaa");
  take ("from");
  fill (1, "b.");
  fill (5, "c");
  assert_ok (manage_resize (store, "web", 11 * BLOCK - 100, false, &status),
             &status);
  fill (9, "d");
  take ("to");
  assert_extents ("web@from..to", "same 512, data 512, zeroes 512, same 1024, "
                                  "data 512, same 1024, new 512, data 512, "
                                  "new 412, ");
  assert_extents ("web@..from", "data 2048, new 2048, ");
  assert_extents ("web@..", "data 1024, new 512, data 512, new 512, data 512, "
                            "new 1536, data 512, new 412, ");
  assert_extents ("web@from..from", "same 4096, ");
  assert_extents ("web@to..", "same 5532, ");

  /* A part of it, clipped; and one extent at a time. */
  increment = open_increment ("@from..to");
  assert_string_equal (extents (increment, 600, 500, false),
                       "data 424, zeroes 76, ");
  assert_string_equal (extents (increment, 4100, 1432, true), "new 508, ");
  assert_string_equal (extents (increment, 5531, 1, false), "new 1, ");
  assert_string_equal (extents (increment, 0, 1, true), "same 1, ");
  assert_string_equal (extents (increment, 1500, 5532 - 1500, true),
                       "zeroes 36, ");

  /* Bytes are those of the end, changed or not. */
  assert_ok (disk_read (increment_disk (increment), buffer, 0, BLOCK, &status),
             &status);
  assert_int_equal (buffer[17], 'a');
  assert_true (disk_is_readonly (increment_disk (increment)));
  increment_close (increment);
  store_close (store);
}

/* More than is compared at a time, and smaller than before. */
static void
test_parts (void **state)
{
  const uint64_t far = 3 * DIFF_BLOCKS + 5;
  struct increment *increment;
  struct status status;
  uint64_t at = 0;

  (void)state;
  begin (10 * (uint64_t)DIFF_BLOCKS * BLOCK);
  fill (0, "a");
  fill (DIFF_BLOCKS - 1, "aa");
  fill (far, "a");
  fill (9 * (uint64_t)DIFF_BLOCKS, "a");
  take ("from");
  fill (DIFF_BLOCKS - 1, "b");
  fill (DIFF_BLOCKS, "b");
  fill (far, ".");
  assert_ok (
      manage_resize (store, "web", 4 * DIFF_BLOCKS * BLOCK, true, &status),
      &status);
  take ("to");
  assert_extents ("web@from..to", "same 33553920, data 1024, same 67110912, "
                                  "zeroes 512, same 33551360, ");
  /* In requests of one extent, forwards, and then back again. */
  increment = open_increment ("web@from..to");
  while (at < 4 * DIFF_BLOCKS * BLOCK) {
    extents (increment, at, 4 * (uint64_t)DIFF_BLOCKS * BLOCK - at, true);
    assert_int_equal (told_count, 1);
    at = told_to;
  }
  assert_string_equal (extents (increment, 0, 33554000, false),
                       "same 33553920, data 80, ");
  increment_close (increment);
  store_close (store);
}

/*--------------------------------------------------------------------
 * Names.
 */

static void
test_names (void **state)
{
  char name[2000] = "web@";
  struct increment *increment;
  struct status status;

  (void)state;
  begin (8 * BLOCK);
  fill (0, "a");
  take ("a");
  fill (1, "b");
  take ("b..c");
  fill (2, "c");
  take ("c");

  /* No increment: a snapshot, whatever it is called, or a disk. */
  assert_ok (manage_increment (store, "web@b..c", &increment, &status),
             &status);
  assert_null (increment);
  assert_ok (manage_increment (store, "we..b", &increment, &status), &status);
  assert_null (increment);
  assert_extents ("web@a..b..c", "same 512, data 512, same 3072, ");
  assert_extents ("web@b..c..c", "same 1024, data 512, same 2560, ");
  assert_extents ("web@a..2999-01-01", "same 512, data 1024, same 2560, ");
  refuse ("web@c..a", EINVAL, "'web@c' was made after 'web@a'");
  refuse ("web@a..x", ENOENT, "no snapshot 'x'; it has: 'a' 'b..c' 'c'");
  refuse ("web@x..a", ENOENT, "no snapshot 'x'");
  refuse ("web@1970-01-01..a", ENOENT, "made by 1970-01-01");
  refuse ("mail@a..c", ENOENT, "mail");
  refuse ("web@/..a", ENOENT, "no snapshot '/'");
  memset (name + 4, '.', 1500);
  refuse (name, ENOENT, "no snapshot");

  /* "a..b..c" is a to b..c, or a..b to c. */
  take ("a..b");
  refuse ("web@a..b..c", EINVAL, "'web@a..b..c' can be read in two ways");
  store_close (store);
}

static void
test_text (void **state)
{
  static const char *const wrong[] = {
    "",
    "as of 2026-11-22T10:42:00+01:00",
    "changes of web@a/0123456789abcdef..b/0123456789abcde/1",
    "changes of web@a/0123456789abcdef..b/0123456789abcdef/",
    "changes of web@a/0123456789abcdef..b/0123456789abcdef/1 ",
    "changes of web@a/0123456789abcdef..b/0123456789abcdef0/1",
    "changes of web@a/0000000000000000..b/0123456789abcdef/1",
    "changes of web@/0123456789abcdef..b/0123456789abcdef/1",
    "changes of web@a/+123456789abcdef..b/0123456789abcdef/1",
    "changes of web@a/0123456789abcdef.b/0123456789abcdef/1",
    "changes of web",
  };
  struct increment *increment;
  struct increment_ends ends;
  struct snapshot_info info;
  struct status status;

  (void)state;
  begin (8 * BLOCK);
  take ("the first");
  take ("two..3");
  assert_ok (manage_find_snapshot (store, "web@two..3", &info, &status),
             &status);
  increment = open_increment ("web@the first..two..3");
  assert_false (increment_is_frozen (increment));
  assert_true (increment_parse (increment_text (increment), &ends));
  assert_string_equal (ends.disk, "web");
  assert_string_equal (ends.from, "the first");
  assert_string_equal (ends.to, "two..3");
  assert_int_equal (ends.to_guid, info.guid);
  assert_int_equal (ends.created, info.created);
  assert_true (ends.from_guid != 0 && ends.from_guid != ends.to_guid);
  increment_close (increment);
  increment = open_increment ("web@..");
  assert_true (increment_is_frozen (increment));
  assert_true (increment_parse (increment_text (increment), &ends));
  assert_true (ends.from_guid == 0 && ends.to_guid == 0 && ends.created > 0);
  increment_close (increment);
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
    assert_false (increment_parse (wrong[i], &ends));
  store_close (store);
}

/*--------------------------------------------------------------------
 * What lives as long as it.
 */

static void
test_frozen (void **state)
{
  struct increment *increment, *later;
  struct status status;
  char buffer[BLOCK];

  (void)state;
  begin (4 * BLOCK);
  fill (0, "aa");
  take ("from");
  fill (0, "b");
  increment = open_increment ("web@from..");
  fill (0, ".ccc");
  assert_ok (manage_rollback (store, "web@from", false, &status), &status);
  fill (3, "d");
  assert_string_equal (extents (increment, 0, 4 * BLOCK, false),
                       "data 512, same 1536, ");
  assert_ok (disk_read (increment_disk (increment), buffer, 0, BLOCK, &status),
             &status);
  assert_int_equal (buffer[0], 'b');
  later = open_increment ("web@from..");
  assert_string_equal (extents (later, 0, 4 * BLOCK, false),
                       "same 1536, data 512, ");
  increment_close (later);
  increment_close (increment);
  assert_int_equal (
      unit_integer_on (unit_database (), "SELECT count (*) FROM snapshot"), 1);
  store_close (store);
}

static void
test_kept (void **state)
{
  const char *from = "web@from", *to = "web@to";
  struct increment *increment;
  struct status status;

  (void)state;
  begin (4 * BLOCK);
  take ("from");
  fill (0, "b");
  take ("to");
  increment = open_increment ("web@from..to");
  assert_fails (manage_delete_snapshots (store, &from, 1, &status), &status,
                EBUSY, "reads it");
  assert_fails (manage_delete_snapshots (store, &to, 1, &status), &status,
                EBUSY, "reads it");
  increment_close (increment);
  increment = open_increment ("web@from..");
  assert_fails (manage_delete_snapshots (store, &from, 1, &status), &status,
                EBUSY, "reads it");
  assert_ok (manage_delete_snapshots (store, &to, 1, &status), &status);
  assert_string_equal (extents (increment, 0, 4 * BLOCK, false),
                       "data 512, same 1536, ");
  increment_close (increment);
  assert_ok (manage_delete_snapshots (store, &from, 1, &status), &status);

  /* By force all go, and then it fails. */
  take ("from");
  increment = open_increment ("web@from..");
  assert_ok (manage_delete (store, "web", true, true, &status), &status);
  assert_fails (
      increment_extents (increment, 0, 512, false, tell, NULL, &status),
      &status, EIO, "was deleted");
  assert_true (status.changed);
  increment_close (increment);
  store_close (store);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_kinds), unit_test (test_parts),  unit_test (test_names),
    unit_test (test_text),  unit_test (test_frozen), unit_test (test_kept),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
