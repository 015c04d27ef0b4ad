/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A trim, a zero or a smaller size of a disk with many layers goes in steps,
 * each of which has at most WRITER_STEP_ROWS rows of all layers together; so
 * the client of another disk never waits for long.
 *
 *   number    0 1 2 3 4 5 6 7 ...
 *   layer 1   x       x             each of LAYERS layers has every LAYERS-th
 *   layer 2     x       x           block
 *   ...
 */

#include <config.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "base/clock.h"
#include "manage.h"
#include "engine/engine.h"

#define BLOCK  512
#define LAYERS 10

static char *path;
static struct store *store;

/* The name of the disk that writes layer I, from 0 on. */
static const char *
name_of (int i)
{
  static char name[20];

  snprintf (name, sizeof name, "disk%d", i);
  return name;
}

/* Give the layer of disk I its rows.  Nobody reads their data. */
static void
add_rows (int i, int rows)
{
  unit_sql_on (path,
               "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1"
               "  FROM n WHERE i < %d - 1)"
               " INSERT INTO block (layer, number, generation, codec, checksum,"
               "  data) SELECT layer, n.i * %d + %d, generation, 1, 0, x'00'"
               " FROM n, (SELECT disk.layer, generation FROM disk JOIN layer"
               "  ON layer.id = disk.layer WHERE name = %Q)",
               rows, LAYERS, i, name_of (i));
}

/* A chain of clones, each with ROWS rows of its own, and the disk "other".
 * With ALONE there is nothing but the last clone to look at the others.
 */
static void
make_chain (int rows, bool alone)
{
  const struct disk_options first = {
    .name = name_of (0),
    .size = (uint64_t)rows * LAYERS * BLOCK,
    .block_size = BLOCK,
  };
  const struct disk_options other = { .name = "other", .size = BLOCK };
  char source[20];
  struct status status;

  path = unit_database ();
  assert_ok (store_provide (path, &first, &status), &status);
  store = unit_open_store (path);
  assert_ok (manage_create (store, &other, &status), &status);
  add_rows (0, rows);
  for (int i = 1; i < LAYERS; i++) {
    strcpy (source, name_of (i - 1));
    assert_ok (manage_clone (store, source, name_of (i), NULL, &status),
               &status);
    add_rows (i, rows);
  }
  for (int i = 0; alone && i < LAYERS - 1; i++)
    assert_ok (manage_delete (store, name_of (i), false, false, &status),
               &status);
}

/* Somebody who writes another disk meanwhile. */
struct other {
  pthread_t thread;
  atomic_bool stop;
  uint64_t longest; /* nanoseconds that one write took */
  uint64_t writes;
};

static void *
write_other (void *opaque)
{
  struct other *other = opaque;
  struct status status;
  struct disk *disk = disk_open (store, "other", false, &status);
  uint64_t began, took;

  while (disk && !atomic_load (&other->stop)) {
    began = clock_now ();
    if (disk_write (disk, &began, 0, sizeof began, false, &status) == -1)
      break;
    took = clock_now () - began;
    if (took > other->longest)
      other->longest = took;
    other->writes++;
    nanosleep (&(struct timespec){ .tv_nsec = 1000000 }, NULL);
  }
  if (disk)
    disk_close (disk);
  return NULL;
}

enum clearing { TRIM_ALL, ZERO_ALL, CUT };
static const char *const clearing_names[] = { "trim", "zero", "shrink" };

/* Clear the last disk of the chain.  Returns how many commits that took. */
static uint64_t
clear (enum clearing clearing, uint64_t size)
{
  const char *name = name_of (LAYERS - 1);
  struct disk *disk = NULL;
  struct status status;
  uint64_t before;
  int r;

  if (clearing != CUT) {
    disk = disk_open (store, name, false, &status);
    assert_non_null (disk);
  }
  before = store_commits (store);
  if (clearing == CUT)
    r = manage_resize (store, name, BLOCK, true, &status);
  else
    r = (clearing == TRIM_ALL ? disk_trim : disk_zero) (disk, 0, size, false,
                                                        &status);
  assert_ok (r, &status);
  before = store_commits (store) - before;
  if (disk)
    disk_close (disk);
  return before;
}

static int
check_hole (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  const bool *all = opaque;

  (void)count;
  assert_true (hole || (!*all && offset == 0));
  return 0;
}

/* Nothing of the disk is left, but where its size was changed one block. */
static void
check_cleared (enum clearing clearing)
{
  const bool all = clearing != CUT;
  struct status status;
  struct disk *disk;
  uint64_t size;

  if (clearing == CUT)
    assert_ok (
        manage_resize (store, name_of (LAYERS - 1), 1 << 30, false, &status),
        &status);
  disk = disk_open (store, name_of (LAYERS - 1), true, &status);
  assert_non_null (disk);
  size = disk_get_info (disk)->size;
  assert_ok (
      disk_extents (disk, 0, size, false, check_hole, (void *)&all, &status),
      &status);
  disk_close (disk);
}

/* Clear chains whose layers have ROWS rows each: at least LEAST commits, and at
 * most MOST.
 */
static void
try_all (int rows, uint64_t least, uint64_t most)
{
  for (int alone = 0; alone < 2; alone++)
    for (enum clearing clearing = TRIM_ALL; clearing <= CUT; clearing++) {
      uint64_t commits;

      make_chain (rows, alone);
      commits = clear (clearing, (uint64_t)rows * LAYERS * BLOCK);
      print_message ("%s: %d commits\n", clearing_names[clearing],
                     (int)commits);
      /* The new size may be one by itself. */
      assert_true (commits >= least && commits <= most + (clearing == CUT));
      check_cleared (clearing);
      store_close (store);
      unlink (path);
    }
}

/* More than a step, but in no layer alone. */
static void
test_steps (void **state)
{
  const uint64_t least = 10000 * LAYERS / WRITER_STEP_ROWS + 1;

  (void)state;
  try_all (10000, least, 4 * least + 4);
}

/* What all layers together have is one step: it is atomic. */
static void
test_one_step (void **state)
{
  (void)state;
  try_all (WRITER_STEP_ROWS / LAYERS, 1, 1);
}

/* Another client meanwhile waits for steps, not for all.  The time is
 * printed; how long it is depends on what else the machine does.
 */
static void
test_other_client (void **state)
{
  struct other other = { .longest = 0 };
  uint64_t began, took;

  (void)state;
  make_chain (20000, false);
  assert_int_equal (pthread_create (&other.thread, NULL, write_other, &other),
                    0);
  began = clock_now ();
  clear (TRIM_ALL, UINT64_C (20000) * LAYERS * BLOCK);
  took = clock_now () - began;
  atomic_store (&other.stop, true);
  pthread_join (other.thread, NULL);
  print_message ("the trim took %d ms, another client's longest of %d writes "
                 "%d ms\n",
                 (int)(took / CLOCK_MILLISECOND), (int)other.writes,
                 (int)(other.longest / CLOCK_MILLISECOND));
  assert_true (other.longest < took);
  store_close (store);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_steps),
    unit_test (test_one_step),
    unit_test (test_other_client),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
