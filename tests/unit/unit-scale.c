/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Scale: what must not cost more where there is more.
 *
 * A snapshot of a large disk takes no longer than one of a small one; a
 * disk with 10,000 snapshots is as fast as one without; so is one that was
 * rolled back 10,000 times.  A chain of 1,000 layers reads right, in
 * bounded time, and all of it can be deleted in any order.
 *
 * Comparisons are of processor time of the thread, on two disks in turn, in
 * one run, so that they mean something on a busy machine.  Syncs of files
 * are not made: their time says nothing here.  SOAK=yes in the environment
 * makes it larger.
 */

#include <config.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "base/clock.h"
#include "manage/manage-parts.h"
#include "shim.h"
#include "engine/engine.h"

#define BLOCK 512
#define RANGE (1024 * 1024)

/* What a comparison may show, in percent: machines are noisy. */
#define BOUND 150

/* How often each thing is measured. */
#define ROUNDS 25

static uint64_t seed;

static bool
is_long (void)
{
  const char *soak = getenv ("SOAK");

  return soak && strcmp (soak, "yes") == 0;
}

/* Syncs are not made. */
static int
before (struct shim_call *call)
{
  return call->method == SHIM_SYNC ? SHIM_DONE : SQLITE_OK;
}

static const struct shim_hooks hooks = { .before = before };

/*--------------------------------------------------------------------
 * A store with a disk.
 */

/* What each block of the disk has: this number, repeated. */
struct subject {
  char *path;
  struct store *store;
  const char *name;
  struct disk *disk;
  uint32_t blocks; /* of the disk */
  uint32_t *numbers;
  uint32_t counter; /* of numbers written */
};

static void
open_disk (struct subject *subject)
{
  struct status status;

  subject->disk = disk_open (subject->store, subject->name, false, &status);
  if (subject->disk == NULL)
    fail_msg ("%s", status.message);
}

static void
begin (struct subject *subject, uint32_t blocks)
{
  const struct disk_options disk = {
    .name = "web",
    .size = blocks * (uint64_t)BLOCK,
    .block_size = BLOCK,
  };
  const struct store_options options = {
    .command = true,
    .limits = checkpoint_limits_default,
    .warn = unit_ignore_warning,
  };
  struct status status;

  *subject = (struct subject){
    .path = unit_database (),
    .name = disk.name,
    .blocks = blocks,
    .numbers = calloc (blocks, sizeof *subject->numbers),
  };
  assert_non_null (subject->numbers);
  assert_ok (store_provide (subject->path, &disk, &status), &status);
  subject->store = store_open (subject->path, &options, &status);
  assert_non_null (subject->store);
  open_disk (subject);
}

/* Another disk of the same size in the same store. */
static void
begin_beside (struct subject *subject, const struct subject *other)
{
  const struct disk_options disk = {
    .name = "plain",
    .size = other->blocks * (uint64_t)BLOCK,
    .block_size = BLOCK,
  };
  struct status status;

  *subject = *other;
  subject->name = disk.name;
  subject->numbers = calloc (subject->blocks, sizeof *subject->numbers);
  assert_non_null (subject->numbers);
  assert_ok (manage_create (subject->store, &disk, &status), &status);
  open_disk (subject);
}

static void
end_beside (struct subject *subject)
{
  disk_close (subject->disk);
  free (subject->numbers);
}

static void
end (struct subject *subject)
{
  if (subject->disk)
    disk_close (subject->disk);
  store_close (subject->store);
  free (subject->numbers);
  assert_int_equal (unlink (subject->path), 0);
}

/* Write COUNT blocks, all with the next number. */
static void
write_blocks (struct subject *subject, uint32_t first, uint32_t count)
{
  static uint32_t buffer[RANGE / sizeof (uint32_t)];
  const uint32_t number = ++subject->counter;
  struct status status;

  assert_true (count * BLOCK <= sizeof buffer);
  for (size_t i = 0; i < count * BLOCK / sizeof number; i++)
    buffer[i] = number;
  assert_ok (disk_write (subject->disk, buffer, first * (uint64_t)BLOCK,
                         count * (uint64_t)BLOCK, false, &status),
             &status);
  for (uint32_t i = 0; i < count; i++)
    subject->numbers[first + i] = number;
}

static void
write_all (struct subject *subject)
{
  const uint32_t step = RANGE / BLOCK;

  for (uint32_t at = 0; at < subject->blocks; at += step)
    write_blocks (subject, at,
                  subject->blocks - at < step ? subject->blocks - at : step);
}

/* Read a range, which must have NUMBERS. */
static void
check_range (struct disk *disk, const uint32_t *numbers, uint32_t first,
             uint32_t count)
{
  static uint32_t buffer[RANGE / sizeof (uint32_t)];
  const size_t words = BLOCK / sizeof buffer[0];
  struct status status;

  assert_ok (disk_read (disk, buffer, first * (uint64_t)BLOCK,
                        count * (uint64_t)BLOCK, &status),
             &status);
  for (uint32_t i = 0; i < count; i++)
    if (buffer[i * words] != numbers[first + i] ||
        buffer[i * words + words - 1] != numbers[first + i])
      fail_msg ("block %" PRIu32 " has %" PRIu32 ", not %" PRIu32, first + i,
                buffer[i * words], numbers[first + i]);
}

static uint32_t
range_blocks (const struct subject *subject)
{
  return subject->blocks < RANGE / BLOCK ? subject->blocks : RANGE / BLOCK;
}

/* All of a disk or snapshot must have NUMBERS. */
static void
check_all (struct subject *subject, const char *target, const uint32_t *numbers)
{
  const uint32_t step = range_blocks (subject);
  struct status status;
  struct disk *disk = disk_open (subject->store, target, true, &status);

  if (disk == NULL)
    fail_msg ("%s", status.message);
  for (uint32_t at = 0; at + step <= subject->blocks; at += step)
    check_range (disk, numbers, at, step);
  disk_close (disk);
}

static void
take_snapshot (struct subject *subject, uint32_t number)
{
  const char *names[] = { subject->name };
  char name[20];
  struct status status;

  snprintf (name, sizeof name, "s%" PRIu32, number);
  assert_ok (manage_snapshot (subject->store, names, 1, name, &status),
             &status);
}

/* Roll back to a snapshot, and open the disk again. */
static void
roll_back (struct subject *subject, uint32_t number)
{
  char target[30];
  struct status status;

  snprintf (target, sizeof target, "%s@s%" PRIu32, subject->name, number);
  disk_close (subject->disk);
  assert_ok (manage_rollback (subject->store, target, false, &status), &status);
  open_disk (subject);
}

/*--------------------------------------------------------------------
 * Measuring.
 */

/* Processor time of this thread, in nanoseconds. */
static uint64_t
thread_time (void)
{
  struct timespec time;

  clock_gettime (CLOCK_THREAD_CPUTIME_ID, &time);
  return time.tv_sec * UINT64_C (1000000000) + time.tv_nsec;
}

static int
compare_times (const void *a, const void *b)
{
  const uint64_t *x = a, *y = b;

  return *x < *y ? -1 : *x > *y;
}

static uint64_t
median (uint64_t *times, size_t count)
{
  qsort (times, count, sizeof *times, compare_times);
  return times[count / 2];
}

static uint64_t
least (const uint64_t *times, size_t count)
{
  uint64_t time = times[0];

  for (size_t i = 1; i < count; i++)
    time = times[i] < time ? times[i] : time;
  return time;
}

/* What is measured; each is a batch. */
static void
do_reads (struct subject *subject)
{
  for (int i = 0; i < 300; i++)
    check_range (subject->disk, subject->numbers,
                 random_below (&seed, subject->blocks), 1);
}

static void
do_range_reads (struct subject *subject)
{
  for (int i = 0; i < 4; i++)
    check_range (subject->disk, subject->numbers, 0, range_blocks (subject));
}

static void
do_extents (struct subject *subject)
{
  struct status status;

  for (int i = 0; i < 3; i++)
    assert_ok (disk_extents (subject->disk, 0,
                             subject->blocks * (uint64_t)BLOCK, false,
                             unit_ignore_extent, NULL, &status),
               &status);
}

static void
do_writes (struct subject *subject)
{
  for (int i = 0; i < 200; i++)
    write_blocks (subject, random_below (&seed, subject->blocks), 1);
}

static const struct {
  const char *name;
  void (*run) (struct subject *subject);
} things[] = {
  { "reads", do_reads },
  { "reads of 1 MiB", do_range_reads },
  { "extents", do_extents },
  { "writes", do_writes },
};

#define THINGS (sizeof things / sizeof things[0])

struct measures {
  uint64_t least[THINGS]; /* nanoseconds of a batch */
};

/* Measure COUNT subjects in turn.  What else the machine does only adds to
 * the time, so the least is what is meant.
 */
static void
measure (struct subject *const *subjects, struct measures *measures,
         size_t count)
{
  static uint64_t times[THINGS][2][ROUNDS];
  uint64_t start;

  for (size_t round = 0; round < ROUNDS; round++)
    for (size_t thing = 0; thing < THINGS; thing++)
      for (size_t i = 0; i < count; i++) {
        start = thread_time ();
        things[thing].run (subjects[i]);
        times[thing][i][round] = thread_time () - start;
      }
  for (size_t thing = 0; thing < THINGS; thing++)
    for (size_t i = 0; i < count; i++)
      measures[i].least[thing] = least (times[thing][i], ROUNDS);
}

/* Is one of them slower than the other, which comes first? */
static bool
is_slower (const char *what, const struct measures *measures)
{
  bool slower = false;

  for (size_t i = 0; i < THINGS; i++) {
    const uint64_t plain = measures[0].least[i], other = measures[1].least[i];

    print_message ("%s, %s: %" PRIu64 "%% (%" PRIu64 " and %" PRIu64 " us)\n",
                   what, things[i].name, other * 100 / plain, plain / 1000,
                   other / 1000);
    slower |= other * 100 / plain > BOUND;
  }
  return slower;
}

/* SUBJECT must not be slower than PLAIN. */
static void
compare (const char *what, struct subject *plain, struct subject *subject)
{
  struct subject *const subjects[] = { plain, subject };
  struct measures measures[2];

  for (int tries = 3; tries > 0; tries--) {
    measure (subjects, measures, 2);
    if (!is_slower (what, measures))
      return;
  }
  fail_msg ("it is slower than %d%% in each of three tries", BOUND);
}

/*--------------------------------------------------------------------
 * The tests.
 */

/* A snapshot of a million blocks. */
static void
test_large_disk (void **state)
{
  enum { SNAPSHOTS = 101 };
  const uint32_t sizes[] = { 1000, 1000 * 1000 };
  uint64_t times[SNAPSHOTS], start;
  struct subject subject;

  (void)state;
  for (size_t size = 0; size < 2; size++) {
    begin (&subject, sizes[size]);
    write_all (&subject);
    for (uint32_t i = 0; i < SNAPSHOTS; i++) {
      write_blocks (&subject, i, 1);
      start = clock_now ();
      take_snapshot (&subject, i);
      times[i] = clock_now () - start;
    }
    start = median (times, SNAPSHOTS);
    print_message ("a snapshot of %" PRIu32 " blocks: %" PRIu64
                   " us, the slowest %" PRIu64 " us\n",
                   sizes[size], start / 1000, times[SNAPSHOTS - 1] / 1000);
    assert_true (start < 10 * CLOCK_MILLISECOND);
    end (&subject);
  }
}

/* 10,000 snapshots; what they share of the disk is rewritten after each. */
static void
test_many_snapshots (void **state)
{
  const uint32_t snapshots = is_long () ? 50000 : 10000;
  struct subject plain, snapped;
  struct status status;

  (void)state;
  begin (&snapped, 16384);
  begin_beside (&plain, &snapped);
  write_all (&plain);
  write_all (&snapped);
  for (uint32_t i = 0; i < snapshots; i++) {
    take_snapshot (&snapped, i);
    for (uint32_t hot = 0; hot < 8; hot++)
      write_blocks (&snapped, hot * 256, 1);
  }
  assert_ok (store_checkpoint (snapped.store, &status), &status);
  compare ("many snapshots", &plain, &snapped);
  check_all (&snapped, "web", snapped.numbers);
  end_beside (&plain);
  end (&snapped);
}

/* A disk with a snapshot 0, which has NUMBERS. */
static uint32_t *
fill_and_keep (struct subject *subject)
{
  const size_t size = subject->blocks * sizeof *subject->numbers;
  uint32_t *numbers = malloc (size);

  assert_non_null (numbers);
  write_all (subject);
  take_snapshot (subject, 0);
  memcpy (numbers, subject->numbers, size);
  return numbers;
}

/* Many roll-backs to one snapshot, with writes and reclaiming in between,
 * compared with a disk that was rolled back once.
 */
static void
test_many_rollbacks (void **state)
{
  const uint32_t rollbacks = is_long () ? 50000 : 10000;
  struct subject once, often;
  uint32_t *numbers;
  struct status status;
  uint64_t freed;
  bool done;

  (void)state;
  begin (&often, 4096);
  begin_beside (&once, &often);
  free (fill_and_keep (&once));
  roll_back (&once, 0);
  numbers = fill_and_keep (&often);
  for (uint32_t i = 0; i < rollbacks; i++) {
    write_blocks (&often, random_below (&seed, often.blocks), 1);
    roll_back (&often, 0);
    assert_ok (manage_reclaim_step (often.store, &done, &freed, &status),
               &status);
  }
  memcpy (often.numbers, numbers, often.blocks * sizeof *numbers);
  compare ("many roll-backs", &once, &often);
  check_all (&often, "web", often.numbers);
  check_all (&often, "web@s0", numbers);
  assert_ok (manage_reclaim (often.store, NULL, NULL, NULL, &status), &status);
  unit_assert_reclaimed (often.path);
  check_all (&often, "web", often.numbers);
  free (numbers);
  end_beside (&once);
  end (&often);
}

/* Delete snapshots 0 to before COUNT in random order; those that are left
 * must be what they were.
 */
static void
delete_snapshots (struct subject *subject, uint32_t count,
                  uint32_t *const *contents)
{
  uint32_t *order = malloc (count * sizeof *order);
  char name[30];
  const char *target = name;
  struct status status;

  assert_non_null (order);
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t other = random_below (&seed, i + 1);

    order[i] = order[other];
    order[other] = i;
  }
  for (uint32_t i = 0; i < count; i++) {
    snprintf (name, sizeof name, "web@s%" PRIu32, order[i]);
    assert_ok (manage_delete_snapshots (subject->store, &target, 1, &status),
               &status);
    if (i % 16 == 0)
      assert_ok (manage_reclaim (subject->store, NULL, NULL, NULL, &status),
                 &status);
    if (i % 50 == 0 && i + 1 < count) {
      snprintf (name, sizeof name, "web@s%" PRIu32, order[i + 1]);
      check_all (subject, name, contents[order[i + 1]]);
      check_all (subject, "web", subject->numbers);
    }
  }
  free (order);
}

/* How many layers the database has. */
static int64_t
layers_count (const char *path)
{
  return unit_integer_on (path, "SELECT count (*) FROM layer");
}

/* A chain: a snapshot, a roll-back to it, a write, a snapshot ... */
static void
test_deep_chain (void **state)
{
  const uint32_t depth = is_long () ? 4000 : 1000;
  uint32_t **contents = calloc (depth, sizeof *contents);
  struct subject subject;
  struct status status;
  uint64_t start, time;

  (void)state;
  assert_non_null (contents);
  begin (&subject, 256);
  write_all (&subject);
  for (uint32_t i = 0; i < depth; i++) {
    take_snapshot (&subject, i);
    contents[i] = malloc (subject.blocks * sizeof **contents);
    assert_non_null (contents[i]);
    memcpy (contents[i], subject.numbers, subject.blocks * sizeof **contents);
    roll_back (&subject, i);
    write_blocks (&subject, random_below (&seed, subject.blocks), 1);
  }
  assert_ok (manage_reclaim (subject.store, NULL, NULL, NULL, &status),
             &status);
  start = thread_time ();
  check_all (&subject, "web", subject.numbers);
  time = thread_time () - start;
  print_message ("a chain of %" PRIu32 ": 128 KiB are read in %" PRIu64 " us\n",
                 depth, time / 1000);
  assert_true (time < depth * CLOCK_MILLISECOND);
  for (uint32_t i = 0; i < depth; i += depth / 10) {
    char name[30];

    snprintf (name, sizeof name, "web@s%" PRIu32, i);
    check_all (&subject, name, contents[i]);
  }
  start = clock_now ();
  delete_snapshots (&subject, depth, contents);
  assert_ok (manage_reclaim (subject.store, NULL, NULL, NULL, &status),
             &status);
  unit_assert_reclaimed (subject.path);
  /* They have moved up into the disk's own. */
  assert_uint_in_range (layers_count (subject.path), 1, 20);
  check_all (&subject, "web", subject.numbers);
  disk_close (subject.disk);
  subject.disk = NULL;
  assert_ok (manage_delete (subject.store, "web", true, false, &status),
             &status);
  assert_ok (manage_reclaim (subject.store, NULL, NULL, NULL, &status),
             &status);
  print_message ("all of it is deleted in %" PRIu64 " ms\n",
                 (clock_now () - start) / CLOCK_MILLISECOND);
  unit_assert_reclaimed (subject.path);
  for (uint32_t i = 0; i < depth; i++)
    free (contents[i]);
  free (contents);
  end (&subject);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_large_disk),
    unit_test (test_many_snapshots),
    unit_test (test_many_rollbacks),
    unit_test (test_deep_chain),
  };

  seed = unit_seed ();
  shim_install (&hooks);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
