/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Quotas: what the random steps of unit-history.c do not reach.  There, too,
 * what is kept is compared with what counting again gives.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "manage/manage-parts.h"
#include "rows/quota.h"
#include "rows/reclaim.h"
#include "check.h"

#define BLOCK  512
#define BLOCKS 6000

static char *path;
static struct store *store;
static int64_t few_rows; /* as it is by default */
static char data[64 * BLOCK];

/* Make the disk d with a quota in blocks, or 0, that stores blocks by
 * CODEC.
 */
static struct disk *
begin_with (uint64_t quota, enum codec codec)
{
  const struct disk_options options = {
    .name = "d",
    .size = BLOCKS * BLOCK,
    .block_size = BLOCK,
    .quota = quota * BLOCK,
    .compression = { codec, 0 },
  };
  struct status status;
  struct disk *disk;

  reclaim_few_rows = few_rows;
  path = unit_database ();
  memset (data, 'x', sizeof data);
  assert_ok (store_provide (path, &options, &status), &status);
  store = unit_open_store (path);
  disk = disk_open (store, "d", false, &status);
  assert_non_null (disk);
  return disk;
}

static struct disk *
begin (uint64_t quota)
{
  return begin_with (quota, CODEC_RAW);
}

static void
end (struct disk *disk)
{
  if (disk)
    disk_close (disk);
  store_close (store);
}

static void
set_quota (struct store *in, const char *disk, uint64_t quota)
{
  const struct disk_options options = { .quota = quota };
  struct status status;

  assert_ok (manage_set (in, disk, &options, &status), &status);
}

static void
take_snapshot (const char *name)
{
  const char *const disk = "d";
  struct status status;

  assert_ok (manage_snapshot (store, &disk, 1, name, &status), &status);
}

static void
write_blocks (struct disk *disk, uint64_t first, uint64_t count)
{
  struct status status;

  assert_ok (
      disk_write (disk, data, first * BLOCK, count * BLOCK, false, &status),
      &status);
}

static void
refuse_blocks (struct disk *disk, uint64_t first, uint64_t count)
{
  struct status status;

  assert_fails (
      disk_write (disk, data, first * BLOCK, count * BLOCK, false, &status),
      &status, ENOSPC, "the quota of disk 'd'");
}

/* What counts for the disk, in blocks: what is kept, which must be what is
 * there as far as it says that it is.
 */
static uint64_t
used (const char *file, bool *all)
{
  sqlite3 *db = unit_open_raw (file);
  const uint64_t kept =
      unit_integer (db, "SELECT ifnull (sum (bytes), 0) FROM counted");

  assert_int_equal (unit_integer (db, "SELECT ifnull (sum (length (data)), 0)"
                                      " FROM counted JOIN block USING (layer)"
                                      " WHERE block.number < counted.number"),
                    kept);
  *all = unit_integer (db, "SELECT count (*) FROM counted"
                           " WHERE number < 9223372036854775807") == 0;
  sqlite3_close (db);
  return kept / BLOCK;
}

static uint64_t
used_all (const char *file)
{
  bool all;
  const uint64_t blocks = used (file, &all);

  assert_true (all);
  return blocks;
}

/* At the limit what needs no more space goes on. */
static void
test_at_the_limit (void **state)
{
  struct disk *disk = begin (20);
  struct status status;

  (void)state;
  write_blocks (disk, 0, 20);
  refuse_blocks (disk, 20, 1);
  refuse_blocks (disk, 19, 2);
  write_blocks (disk, 5, 10);
  assert_ok (disk_read (disk, data, 0, 20 * BLOCK, &status), &status);
  take_snapshot ("a");
  refuse_blocks (disk, 5, 1);
  /* The snapshot has it still. */
  assert_ok (disk_trim (disk, 0, 10 * BLOCK, false, &status), &status);
  refuse_blocks (disk, 5, 1);
  assert_int_equal (used_all (path), 20);
  assert_ok (
      manage_delete_snapshots (store, &(const char *){ "d@a" }, 1, &status),
      &status);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  assert_int_equal (used_all (path), 10);
  write_blocks (disk, 0, 10);
  refuse_blocks (disk, 30, 1);

  /* Below what is used. */
  set_quota (store, "d", 5 * BLOCK);
  refuse_blocks (disk, 30, 1);
  write_blocks (disk, 0, 20);
  assert_ok (disk_zero (disk, 3, 30 * BLOCK - 7, false, &status), &status);
  assert_int_equal (used_all (path), 1);
  write_blocks (disk, 40, 4);
  refuse_blocks (disk, 50, 1);
  set_quota (store, "d", QUOTA_NONE);
  write_blocks (disk, 50, 30);
  end (disk);
}

/* What was there before is counted in steps, and what is written between
 * them just once.
 */
static void
count_beside_writes (enum codec codec, enum codec other)
{
  const struct disk_options anew = { .compression = { other, 0 } };
  struct disk *disk = begin_with (0, codec);
  uint64_t random = unit_seed (), some, first, steps = 0;
  struct recompressed recompressed;
  struct failed_layers failed = { .count = 0 };
  bool done = false, all;
  struct status status;

  /* Blocks that do not compress, and others. */
  random_fill (&random, data, sizeof data / 2);
  for (uint64_t i = 0; i + 64 <= BLOCKS; i += 64)
    write_blocks (disk, i, 60);
  take_snapshot ("a");
  for (uint64_t i = 10; i + 64 <= BLOCKS; i += 128)
    write_blocks (disk, i, 60);
  set_quota (store, "d", BLOCKS * 10 * BLOCK);
  for (; !done; steps++) {
    assert_ok (manage_count_step (store, &failed, &done, &some, &status),
               &status);
    for (int i = 0; i < 20; i++) {
      first = random_below (&random, BLOCKS - 64);
      if (random_below (&random, 2))
        write_blocks (disk, first, 1 + random_below (&random, 63));
      else
        assert_ok (disk_trim (disk, first * BLOCK, 40 * BLOCK, false, &status),
                   &status);
    }
    if (steps == 3)
      take_snapshot ("b");
    used (path, &all);
    assert_true (all || !done);
  }
  assert_true (steps > 4);
  first = used_all (path);
  assert_ok (manage_set (store, "d", &anew, &status), &status);
  assert_ok (recompress_disk (store, "d", NULL, NULL, &recompressed, &status),
             &status);
  some = used_all (path);
  assert_true (codec == CODEC_RAW ? some < first : some > first);
  end (disk);
}

static void
test_counting (void **state)
{
  (void)state;
  if (!codec_has_feature (codec_feature (CODEC_LZ4)))
    skip ();
  count_beside_writes (CODEC_RAW, CODEC_LZ4);
}

static void
test_counting_compressed (void **state)
{
  (void)state;
  if (!codec_has_feature (codec_feature (CODEC_LZ4)))
    skip ();
  count_beside_writes (CODEC_LZ4, CODEC_RAW);
}

/*--------------------------------------------------------------------
 * Beside requests that fail.
 */

#define FAILING 3

static atomic_bool ending;

/* Write to a disk that was rolled back. */
static void *
run_failing (void *disk)
{
  struct status status;

  while (!ending)
    assert_fails (disk_write (disk, data, 0, BLOCK, false, &status), &status,
                  EIO, "");
  return NULL;
}

/* Quotas come and go, set by this process or another, in transactions that
 * are undone and done again.
 */
static void
test_beside_failures (void **state)
{
  struct disk *disk = begin (0), *stale;
  uint64_t random = unit_seed ();
  struct store *other = unit_open_store (path);
  pthread_t threads[FAILING];
  struct status status;

  (void)state;
  assert_ok (manage_clone (store, "d", "stale", NULL, &status), &status);
  assert_ok (
      manage_snapshot (store, &(const char *){ "stale" }, 1, "a", &status),
      &status);
  stale = disk_open (store, "stale", false, &status);
  assert_non_null (stale);
  assert_ok (manage_rollback (store, "stale@a", true, &status), &status);
  ending = false;
  for (int i = 0; i < FAILING; i++)
    assert_int_equal (pthread_create (&threads[i], NULL, run_failing, stale),
                      0);
  for (int i = 0; i < 600; i++) {
    struct store *in = random_below (&random, 2) ? store : other;

    if (random_below (&random, 4) == 0)
      set_quota (in, "d",
                 random_below (&random, 2) ? BLOCKS * BLOCK : QUOTA_NONE);
    if (random_below (&random, 4) == 0)
      assert_ok (manage_count (in, NULL, NULL, &status), &status);
    write_blocks (disk, random_below (&random, BLOCKS - 64),
                  1 + random_below (&random, 64));
    used (path, &(bool){ false });
  }
  ending = true;
  for (int i = 0; i < FAILING; i++)
    pthread_join (threads[i], NULL);
  store_close (other);
  disk_close (stale);
  end (disk);
}

/*--------------------------------------------------------------------
 * Copies.
 */

/* A backup has the quota, and what counts for it. */
static void
test_backup (void **state)
{
  struct disk *disk = begin (100);
  const char *copy = unit_path ("copy");
  struct backup_counts counts;
  struct status status;

  (void)state;
  write_blocks (disk, 0, 60);
  take_snapshot ("a");
  write_blocks (disk, 0, 40);
  assert_ok (manage_backup (store, copy, NULL, NULL, &counts, &status),
             &status);
  refuse_blocks (disk, 60, 1);
  end (disk);
  assert_int_equal (used_all (copy), 100);
  store = unit_open_store (copy);
  disk = disk_open (store, "d", false, &status);
  assert_non_null (disk);
  write_blocks (disk, 0, 40);
  refuse_blocks (disk, 60, 1);
  end (disk);
}

/* What comes in for a disk counts for it, with what the disk has still. */
static void
test_receive (void **state)
{
  struct disk *disk = begin (100);
  const struct manage_incoming incoming = {
    .disk = "d",
    .size = BLOCKS * BLOCK,
    .block_size = BLOCK,
    .replace = true,
  };
  struct status status;

  (void)state;
  write_blocks (disk, 0, 60);
  disk_close (disk);
  disk = manage_receive (store, &incoming, &status);
  assert_non_null (disk);
  /* The 60 blocks that go in the end do not count. */
  write_blocks (disk, 200, 60);
  assert_fails (
      disk_write (disk, data, 300 * BLOCK, 41 * BLOCK, false, &status), &status,
      ENOSPC, "quota");
  set_quota (store, "d", 64 * BLOCK);
  assert_fails (disk_write (disk, data, 300 * BLOCK, 5 * BLOCK, false, &status),
                &status, ENOSPC, "quota");
  set_quota (store, "d", 130 * BLOCK);
  write_blocks (disk, 300, 10);
  assert_ok (manage_receive_end (store, disk, &incoming, &status), &status);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  assert_int_equal (used_all (path), 70);
  disk = disk_open (store, "d", false, &status);
  assert_non_null (disk);
  write_blocks (disk, 0, 60);
  refuse_blocks (disk, 60, 1);
  end (disk);
}

/* A clone has a quota of its own, for what it does not share: flattening
 * makes more of that.
 */
static void
test_clone (void **state)
{
  struct disk *disk = begin (100), *clone;
  struct status status;

  (void)state;
  write_blocks (disk, 0, 60);
  assert_ok (manage_clone (store, "d", "c", NULL, &status), &status);
  clone = disk_open (store, "c", false, &status);
  assert_non_null (clone);
  write_blocks (clone, 100, 60);
  set_quota (store, "c", 70 * BLOCK);
  assert_ok (manage_count (store, NULL, NULL, &status), &status);
  assert_int_equal (used_all (path), 120);
  assert_fails (manage_flatten (store, "c", NULL, NULL, &status), &status,
                ENOSPC, "the quota of disk 'c'");
  assert_int_equal (used_all (path), 120);
  set_quota (store, "c", 200 * BLOCK);
  assert_ok (manage_flatten (store, "c", NULL, NULL, &status), &status);
  assert_int_equal (used_all (path), 180);
  disk_close (clone);
  assert_ok (manage_delete (store, "c", false, false, &status), &status);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  assert_int_equal (used_all (path), 60);
  end (disk);
}

/* One that needs several steps gives back what the first ones have copied, also
 * where the disk was written to meanwhile, and another one does not come in
 * between.
 */
#define MANY 5500
static struct disk *flattened;

/* Write what is another thing in each block. */
static void
write_many (struct disk *disk, uint64_t count)
{
  char *bytes = malloc (count * BLOCK);
  struct status status;

  assert_non_null (bytes);
  for (uint64_t i = 0; i < count; i++)
    memset (bytes + i * BLOCK, 1 + i % 100, BLOCK);
  assert_ok (disk_write (disk, bytes, 0, count * BLOCK, false, &status),
             &status);
  free (bytes);
}

/* What COUNT blocks have in DISK; to be freed. */
static char *
read_many (struct disk *disk, uint64_t count)
{
  char *bytes = malloc (count * BLOCK);
  struct status status;

  assert_non_null (bytes);
  assert_ok (disk_read (disk, bytes, 0, count * BLOCK, &status), &status);
  return bytes;
}

static int
write_meanwhile (uint64_t done, uint64_t total, void *opaque)
{
  struct status status;

  (void)done;
  (void)total;
  if ((*(int *)opaque)++ == 0) {
    write_blocks (flattened, 10, 5);
    assert_fails (manage_flatten (store, "c", NULL, NULL, &status), &status,
                  EBUSY, "another command flattens it");
  }
  return 0;
}

static void
test_flatten_back (void **state)
{
  struct disk *disk = begin (0);
  char *before, *after;
  struct status status;
  uint64_t used;
  int steps = 0;

  (void)state;
  write_many (disk, MANY);
  assert_ok (manage_clone (store, "d", "c", NULL, &status), &status);
  flattened = disk_open (store, "c", false, &status);
  assert_non_null (flattened);
  write_blocks (flattened, 0, 20);
  before = read_many (flattened, MANY);
  memset (before + 10 * BLOCK, 'x', 5 * BLOCK);
  set_quota (store, "c", 5000 * BLOCK);
  assert_ok (manage_count (store, NULL, NULL, &status), &status);
  used = used_all (path);
  for (int i = 0; i < 2; i++) {
    assert_fails (manage_flatten (store, "c", write_meanwhile, &steps, &status),
                  &status, ENOSPC, "the quota of disk 'c'");
    assert_int_equal (used_all (path), used);
  }
  assert_int_equal (steps, 2);
  after = read_many (flattened, MANY);
  assert_memory_equal (after, before, MANY * BLOCK);
  free (after);
  set_quota (store, "c", 2 * MANY * BLOCK);
  assert_ok (manage_flatten (store, "c", NULL, NULL, &status), &status);
  after = read_many (flattened, MANY);
  assert_memory_equal (after, before, MANY * BLOCK);
  assert_int_equal (used_all (path), MANY);
  free (before);
  free (after);
  disk_close (flattened);
  end (disk);
}

static void
delete_and_reclaim (const char *name)
{
  struct status status;

  assert_ok (strchr (name, '@')
                 ? manage_delete_snapshots (store, &name, 1, &status)
                 : manage_delete (store, name, false, false, &status),
             &status);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  assert_ok (manage_count (store, NULL, NULL, &status), &status);
}

static struct disk *
roll_back (struct disk *disk, const char *snapshot)
{
  struct status status;

  disk_close (disk);
  assert_ok (manage_rollback (store, snapshot, true, &status), &status);
  disk = disk_open (store, "d", false, &status);
  assert_non_null (disk);
  return disk;
}

/* Roll the disk d back to its snapshot a, which has 60 blocks: too many to
 * move into the disk's own layer.
 */
static struct disk *
fill_and_roll_back (struct disk *disk)
{
  reclaim_few_rows = 5;
  write_blocks (disk, 0, 60);
  take_snapshot ("a");
  return roll_back (disk, "d@a");
}

/* What a disk was rolled back to counts when the snapshot is deleted. */
static void
test_rolled_back (void **state)
{
  struct disk *disk = begin (100);
  struct status status;

  (void)state;
  disk = fill_and_roll_back (disk);
  take_snapshot ("b");
  disk = roll_back (disk, "d@a");
  delete_and_reclaim ("d@a");
  /* Two layers of this disk stand on it. */
  assert_int_equal (used_all (path), 60);
  refuse_blocks (disk, 100, 41);
  delete_and_reclaim ("d@b");
  assert_int_equal (used_all (path), 60);
  refuse_blocks (disk, 100, 41);
  write_blocks (disk, 100, 40);

  /* Overwriting it goes on, and trimming makes room. */
  write_blocks (disk, 10, 20);
  refuse_blocks (disk, 140, 1);
  assert_int_equal (used_all (path), 100);
  assert_ok (disk_trim (disk, 0, 30 * BLOCK, false, &status), &status);
  assert_int_equal (used_all (path), 70);
  write_blocks (disk, 140, 20);
  write_blocks (disk, 0, 10);
  refuse_blocks (disk, 10, 1);
  set_quota (store, "d", QUOTA_NONE);
  assert_int_equal (used_all (path), 0);
  set_quota (store, "d", 101 * BLOCK);
  assert_ok (manage_count (store, NULL, NULL, &status), &status);
  assert_int_equal (used_all (path), 100);
  write_blocks (disk, 200, 1);
  refuse_blocks (disk, 201, 1);

  /* A snapshot has what stands below. */
  set_quota (store, "d", 120 * BLOCK);
  take_snapshot ("c");
  write_blocks (disk, 30, 19);
  refuse_blocks (disk, 49, 1);
  assert_int_equal (used_all (path), 120);
  end (disk);
}

/* The same in a database that was salvaged. */
static void
test_salvaged (void **state)
{
  const struct salvage_options options = { .corrections = 0 };
  struct disk *disk = begin (100);
  struct salvage_counts counts;
  struct status status;
  char *saved;

  (void)state;
  disk = fill_and_roll_back (disk);
  delete_and_reclaim ("d@a");
  write_blocks (disk, 100, 10);
  end (disk);
  saved = unit_path ("saved");
  assert_ok (salvage_database (path, saved, &options, &counts, &status),
             &status);
  store = unit_open_store (saved);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  assert_ok (manage_count (store, NULL, NULL, &status), &status);
  assert_int_equal (used_all (saved), 70);
  disk = disk_open (store, "d", false, &status);
  assert_non_null (disk);
  refuse_blocks (disk, 200, 31);
  end (disk);
}

/* What a clone shares with its origin counts when that is deleted, but not
 * as long as another clone shares it, too.
 */
static void
test_origin_deleted (void **state)
{
  struct disk *disk = begin (0), *clone;
  struct status status;

  (void)state;
  reclaim_few_rows = 5;
  write_blocks (disk, 0, 60);
  disk_close (disk);
  assert_ok (manage_clone (store, "d", "c", NULL, &status), &status);
  assert_ok (manage_clone (store, "d", "other", NULL, &status), &status);
  set_quota (store, "c", 100 * BLOCK);
  clone = disk_open (store, "c", false, &status);
  assert_non_null (clone);
  write_blocks (clone, 50, 20);
  assert_int_equal (used_all (path), 20);
  delete_and_reclaim ("d");
  write_blocks (clone, 100, 40);
  write_blocks (clone, 0, 10);
  delete_and_reclaim ("other");
  /* 40 of 60 are hidden by none. */
  assert_int_equal (used_all (path), 110);
  assert_fails (disk_write (clone, data, 200 * BLOCK, BLOCK, false, &status),
                &status, ENOSPC, "the quota of disk 'c'");
  write_blocks (clone, 0, 50);
  assert_int_equal (used_all (path), 110);
  end (clone);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_at_the_limit),
    unit_test (test_counting),
    unit_test (test_counting_compressed),
    unit_test (test_beside_failures),
    unit_test (test_backup),
    unit_test (test_receive),
    unit_test (test_clone),
    unit_test (test_flatten_back),
    unit_test (test_rolled_back),
    unit_test (test_salvaged),
    unit_test (test_origin_deleted),
  };

  few_rows = reclaim_few_rows;
  return cmocka_run_group_tests (tests, NULL, NULL);
}
