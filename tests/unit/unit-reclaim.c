/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Reclaiming a layer with too many rows to move them into its only child: it
 * gets few enough only on the way, after some were passed by.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "manage.h"

#define BLOCK 512

/* More rows than reclaim.c moves; less what the clone hides they are fewer. */
#define BLOCKS 69632
#define HIDDEN 8192
#define BEHIND 16384 /* blocks that the clone shows of its origin */

static char *path;
static struct store *store;

/* Write COUNT blocks from FIRST on: each is full of VALUE. */
static void
write_blocks (const char *name, uint64_t first, uint64_t count, char value)
{
  char *data = malloc (count * BLOCK);
  struct status status;
  struct disk *disk = disk_open (store, name, false, &status);

  assert_non_null (disk);
  assert_non_null (data);
  memset (data, value, count * BLOCK);
  assert_ok (
      disk_write (disk, data, first * BLOCK, count * BLOCK, false, &status),
      &status);
  disk_close (disk);
  free (data);
}

/* These blocks must be full of VALUE. */
static void
expect_blocks (const char *name, uint64_t first, uint64_t count, char value)
{
  char *data = malloc (count * BLOCK);
  struct status status;
  struct disk *disk = disk_open (store, name, true, &status);

  assert_non_null (disk);
  assert_non_null (data);
  assert_ok (disk_read (disk, data, first * BLOCK, count * BLOCK, &status),
             &status);
  for (uint64_t i = 0; i < count * BLOCK; i++)
    if (data[i] != value)
      fail_msg ("%s: byte %llu of block %llu is %d, not %d", name,
                (unsigned long long)(i % BLOCK),
                (unsigned long long)(first + i / BLOCK), data[i], value);
  disk_close (disk);
  free (data);
}

static void
test_few_on_the_way (void **state)
{
  const struct disk_options options = {
    .name = "origin",
    .size = BLOCKS * BLOCK,
    .block_size = BLOCK,
  };
  struct status status;

  (void)state;
  path = unit_database ();
  assert_ok (store_provide (path, &options, &status), &status);
  store = unit_open_store (path);
  write_blocks ("origin", 0, BLOCKS, 'o');
  assert_ok (manage_clone (store, "origin", "clone", NULL, &status), &status);
  write_blocks ("clone", BEHIND, HIDDEN, 'c');
  assert_ok (manage_delete (store, "origin", true, false, &status), &status);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  expect_blocks ("clone", 0, BEHIND, 'o');
  expect_blocks ("clone", BEHIND, HIDDEN, 'c');
  expect_blocks ("clone", BEHIND + HIDDEN, BLOCKS - BEHIND - HIDDEN, 'o');
  store_close (store);
  unit_assert_reclaimed (path);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_few_on_the_way),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
