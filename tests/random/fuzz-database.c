/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Use what is left of a database in every way: see fuzz.h. */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "unit.h"

#include "check.h"
#include "rows/database.h"
#include "manage.h"
#include "store.h"

/* What is read of a disk at its start; the largest block is read whole. */
#define PART (128 * 1024)

/* Calls of disk_extents for a whole disk, at most: each does a bounded
 * amount of work.
 */
#define MAPS 20

/* Steps that flattening or reclaiming may take for the few rows there are. */
#define STEPS 1000

struct fuzz_counts fuzz_counts;

/* The case that runs. */
static bool lying;
static const char *doing = "nothing";

static void __attribute__ ((format (printf, 1, 2), noreturn))
wrong (const char *format, ...)
{
  va_list args;

  fprintf (stderr, "fuzz-database: WRONG: %s: ", doing);
  va_start (args, format);
  vfprintf (stderr, format, args);
  va_end (args);
  fputc ('\n', stderr);
  abort ();
}

/*--------------------------------------------------------------------
 * What may be read.
 */

/* May SECTOR stand at PLACE (counted in sectors) of block NUMBER? */
static bool
may_be (const struct fuzz_disk *disk, uint64_t number, uint32_t place,
        const char *sector, size_t length)
{
  static const char zeroes[FUZZ_SECTOR];
  char pattern[FUZZ_SECTOR];

  if (memcmp (sector, zeroes, length) == 0)
    return true;
  fuzz_pattern (disk->layers[0].layer, number, FUZZ_WRITTEN, place, pattern);
  if (!fuzz_is_snapshot (disk) && memcmp (sector, pattern, length) == 0)
    return true;
  for (int i = 0; disk->layers[i].layer > 0; i++)
    for (int64_t g = 1; g <= disk->layers[i].generation; g++) {
      fuzz_pattern (disk->layers[i].layer, number, g, place, pattern);
      if (memcmp (sector, pattern, length) == 0)
        return true;
    }
  return false;
}

/* Compare what was read from OFFSET, where a block begins. */
static void
compare (const struct fuzz_disk *disk, const char *data, uint64_t offset,
         uint64_t count)
{
  uint64_t number;
  uint32_t place;
  size_t length;

  if (lying)
    return;
  for (uint64_t i = 0; i < count; i += length) {
    number = (offset + i) / disk->block_size;
    place = (offset + i) % disk->block_size / FUZZ_SECTOR;
    length = count - i < FUZZ_SECTOR ? count - i : FUZZ_SECTOR;
    if (!may_be (disk, number, place, data + i, length))
      wrong ("disk '%s', block %" PRIu64 ", sector %" PRIu32
             " was never written like this",
             disk->name, number, place);
    fuzz_counts.sectors++;
  }
}

/* A disk that was found must be the one that was asked for. */
static void
compare_info (const struct fuzz_disk *disk, const struct disk_info *info)
{
  if (lying)
    return;
  if (info->id != disk->id || strcmp (info->name, disk->name) != 0 ||
      info->size != disk->size || info->block_size != disk->block_size)
    wrong ("disk '%s' was opened as %" PRId64 " '%s', %" PRIu64
           " bytes in blocks of %" PRIu32,
           disk->name, info->id, info->name, info->size, info->block_size);
}

/*--------------------------------------------------------------------
 * Reading.
 */

/* Read a range; where that fails, each of its blocks. */
static void
read_range (struct disk *disk, const struct fuzz_disk *expected,
            uint64_t offset, uint64_t count)
{
  static char buffer[DISK_BLOCK_SIZE_MAX];
  const uint32_t block_size = disk_get_info (disk)->block_size;
  struct status status;

  if (disk_read (disk, buffer, offset, count, &status) == 0) {
    fuzz_counts.reads++;
    compare (expected, buffer, offset, count);
    return;
  }
  fuzz_counts.damaged++;
  if (count <= block_size)
    return;
  for (uint64_t part; count > 0; offset += part, count -= part) {
    part = count < block_size ? count : block_size;
    read_range (disk, expected, offset, part);
  }
}

struct extents {
  uint64_t next, end;
  bool had_one, hole;
};

/* Extents must follow on another, inside the range, and change kind. */
static int
check_extent (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  struct extents *extents = opaque;

  if (offset != extents->next || count == 0 || count > extents->end - offset)
    wrong ("an extent of %" PRIu64 " bytes at %" PRIu64 " instead of %" PRIu64
           ", with the end at %" PRIu64,
           count, offset, extents->next, extents->end);
  if (extents->had_one && hole == extents->hole)
    wrong ("two neighbouring extents are both %s", hole ? "holes" : "data");
  extents->next = offset + count;
  extents->had_one = true;
  extents->hole = hole;
  return 0;
}

static void
map_disk (struct disk *disk)
{
  const uint64_t size = disk_get_info (disk)->size;
  struct extents extents = { .end = size };
  struct status status;
  uint64_t before;

  for (int i = 0; i < MAPS && extents.next < size; i++) {
    before = extents.next;
    extents.had_one = false;
    if (disk_extents (disk, before, size - before, i % 4 == 3, check_extent,
                      &extents, &status) == -1)
      return;
    if (extents.next == before)
      wrong ("no extent at %" PRIu64, before);
  }
}

static void
read_disk (struct disk *disk, const struct fuzz_disk *expected)
{
  const uint64_t size = disk_get_info (disk)->size;
  const uint32_t block_size = disk_get_info (disk)->block_size;
  uint64_t last;

  read_range (disk, expected, 0, size < PART ? size : PART);
  if (size > PART) {
    last = (size - 1) / block_size * block_size;
    read_range (disk, expected, last, size - last);
    last = size / 2 / block_size * block_size;
    read_range (disk, expected, last,
                size - last < block_size ? size - last : block_size);
  }
  map_disk (disk);
}

/*--------------------------------------------------------------------
 * Writing.
 */

/* Write sectors FIRST to before END with the pattern. */
static void
write_sectors (struct disk *disk, const struct fuzz_disk *expected,
               uint64_t first, uint64_t end, bool fua)
{
  static char data[64 * FUZZ_SECTOR];
  const uint32_t each = expected->block_size / FUZZ_SECTOR;
  struct status status;

  if (end * FUZZ_SECTOR > disk_get_info (disk)->size)
    return;
  for (uint64_t i = first; i < end; i++)
    fuzz_pattern (expected->layers[0].layer, i / each, FUZZ_WRITTEN, i % each,
                  data + (i - first) * FUZZ_SECTOR);
  if (disk_write (disk, data, first * FUZZ_SECTOR, (end - first) * FUZZ_SECTOR,
                  fua, &status) == 0)
    fuzz_counts.writes++;
}

/* Whole blocks and parts of blocks, and everything else that changes. */
static void
write_disk (struct disk *disk, const struct fuzz_disk *expected)
{
  const uint64_t size = disk_get_info (disk)->size;
  const uint64_t end = size / FUZZ_SECTOR * FUZZ_SECTOR;
  const uint32_t block_size = disk_get_info (disk)->block_size;
  struct status status;

  write_sectors (disk, expected, 16, 32, false);
  write_sectors (disk, expected, 37, 43, true);
  if (size < 16 * (uint64_t)block_size)
    return;
  disk_zero (disk, 3 * block_size + FUZZ_SECTOR, 2 * block_size, false,
             &status);
  disk_trim (disk, 7 * block_size, 3 * block_size, true, &status);
  read_disk (disk, expected);
  disk_zero (disk, end - 8 * block_size, 4 * block_size, true, &status);
  disk_trim (disk, end - 4 * block_size, 4 * block_size, false, &status);
  disk_flush (disk, &status);
}

/*--------------------------------------------------------------------
 * Managing.
 */

/* It must end. */
static int
count_step (uint64_t done, uint64_t total, void *opaque)
{
  int *steps = opaque;

  (void)done;
  (void)total;
  if (++*steps > STEPS)
    wrong ("more than %d steps", STEPS);
  return 0;
}

static int
ignore_difference (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  (void)offset;
  (void)count;
  (void)hole;
  return count_step (0, 0, opaque);
}

/* What is optional about them: set, read, and made ready for a stream. */
static void
manage_optional (struct store *store)
{
  const struct property_setting setting = { "user:owner", "eve" };
  const struct disk_options options = {
    .description = "another",
    .settings = &setting,
    .settings_count = 1,
  };
  struct snapshot_info snapshot;
  struct optional list = { 0 };
  struct status status;

  manage_set (store, "plain", &options, &status);
  manage_set (store, "plain@second", &options, &status);
  manage_hold (store, "plain@second", "eve", &status);
  manage_release (store, "plain@first", "backup", &status);
  manage_hold (store, "plain@first", "backup", &status);
  manage_release (store, "plain@second", "eve", &status);
  manage_properties (store, "plain", &list, &status);
  manage_properties (store, "plain@first", &list, &status);
  if (manage_find_snapshot (store, "plain@first", &snapshot, &status) == 0)
    manage_outgoing (store, &snapshot, true, &list, &status);
  optional_free (&list);
}

static int
ignore_change (uint64_t offset, uint64_t count, enum increment_kind kind,
               void *opaque)
{
  (void)offset;
  (void)count;
  (void)kind;
  (void)opaque;
  return 0;
}

/* What a client of an increment asks. */
static void
map_increment (struct store *store, const char *name)
{
  struct increment *increment;
  struct status status;
  char byte;

  if (manage_increment (store, name, &increment, &status) == -1 ||
      increment == NULL)
    return;
  increment_extents (increment, 0,
                     disk_get_info (increment_disk (increment))->size, false,
                     ignore_change, NULL, &status);
  disk_read (increment_disk (increment), &byte, 0, 1, &status);
  increment_close (increment);
}

/* What the command does; the disks and snapshots that stay must read as
 * before.
 */
static void
manage (struct store *store)
{
  const char *disks[] = { "plain", "clone" };
  const char *snapshot = "plain@second";
  struct status status;
  struct disk *pinned;
  int steps = 0;

  manage_diff (store, "plain@first", "plain@second", ignore_difference, &steps,
               &status);
  map_increment (store, "plain@first..second");
  map_increment (store, "clone@..");
  manage_snapshot (store, disks, 2, "third", &status);
  pinned = manage_pin (store, "clone", &status);
  manage_rollback (store, "plain@first", false, &status);
  manage_clone (store, snapshot, "new", NULL, &status);
  manage_optional (store);
  if (pinned)
    manage_unpin (store, pinned);
  steps = 0;
  manage_flatten (store, "clone", count_step, &steps, &status);
  steps = 0;
  manage_flatten (store, "new", count_step, &steps, &status);
  if (manage_delete_snapshots (store, &snapshot, 1, &status) == 0)
    fuzz_counts.managed++;
  manage_delete (store, "small", true, false, &status);
  steps = 0;
  manage_reclaim (store, count_step, &steps, NULL, &status);
}

/*--------------------------------------------------------------------
 * A case.
 */

static void
use_disk (struct store *store, const struct fuzz_disk *expected, bool write)
{
  struct status status;
  struct disk *disk;

  disk = disk_open (store, expected->name, !write, &status);
  if (disk == NULL)
    return;
  fuzz_counts.disks++;
  compare_info (expected, disk_get_info (disk));
  read_disk (disk, expected);
  if (!disk_is_readonly (disk)) {
    write_disk (disk, expected);
    read_disk (disk, expected);
  }
  disk_close (disk);
}

static int
ignore_snapshot (const struct snapshot_info *info, void *opaque)
{
  (void)info;
  (void)opaque;
  return 0;
}

/* Use the database as a server and the command do. */
static void
use_database (bool write, const char *what)
{
  const struct store_options options = {
    .limits = checkpoint_limits_default,
    .warn = unit_ignore_warning,
  };
  struct disk_options wanted = { .name = "plain" };
  struct disk_info info;
  struct status status;
  struct store *store;

  doing = what;
  if (store_check (fuzz_path (), &wanted, &status) == -1 &&
      database_examine (fuzz_path (), &status) != 1)
    return;
  store = store_open (fuzz_path (), &options, &status);
  if (store == NULL)
    return;
  fuzz_counts.stores++;
  store_list (store, unit_ignore_disk, NULL, &status);
  store_list_snapshots (store, ignore_snapshot, NULL, &status);
  store_find (store, NULL, &info, &status);
  store_find (store, "none", &info, &status);
  for (int i = 0; i < FUZZ_DISKS; i++)
    use_disk (store, &fuzz_disks[i], write);
  if (write) {
    manage (store);
    for (int i = 0; i < FUZZ_DISKS; i++)
      use_disk (store, &fuzz_disks[i], false);
  }
  store_close (store);
}

/* Check what is there, and with MEND mend it. */
static void
look_for_damage (bool mend)
{
  const struct store_options options = {
    .command = true,
    .tolerant = true,
    .limits = checkpoint_limits_default,
    .warn = unit_ignore_warning,
  };
  const struct check_options how = { .rows_only = false };
  const struct repair_options how_to_mend = { .corrections = 1 };
  struct check_counts counts;
  struct status status;
  struct store *store;

  doing = mend ? "mending" : "checking";
  if (database_examine (fuzz_path (), &status) != 1)
    return;
  store = store_open (fuzz_path (), &options, &status);
  if (store == NULL)
    return;
  if (mend)
    repair_database (store, &how_to_mend, &counts, &status);
  else
    check_database (store, &how, &counts, &status);
  store_close (store);
}

/* Save what can be saved, and use that. */
static void
save (void)
{
  const struct store_options options = {
    .command = true,
    .limits = checkpoint_limits_default,
    .warn = unit_ignore_warning,
  };
  const struct salvage_options how = { .corrections = 1 };
  struct salvage_counts counts;
  struct status status;
  struct store *store = NULL;
  char *saved;

  doing = "saving";
  if (asprintf (&saved, "%s-saved", fuzz_path ()) == -1)
    wrong ("no memory");
  if (salvage_database (fuzz_path (), saved, &how, &counts, &status) == 0)
    store = store_open (saved, &options, &status);
  for (int i = 0; store && i < FUZZ_DISKS; i++)
    use_disk (store, &fuzz_disks[i], false);
  if (store)
    store_close (store);
  unlink (saved);
  free (saved);
}

void
fuzz_run (const uint8_t *bytes, size_t length)
{
  struct fuzz_case c = { bytes, length };
  const unsigned way = fuzz_take (&c, 6);

  fuzz_counts.cases++;
  fuzz_put_seed (fuzz_take (&c, 4));
  lying = fuzz_mutate (&c);
  fuzz_counts.hostile += lying;
  if (way < 2)
    use_database (false, "reading");
  if (way > 0 && way < 4)
    use_database (true, "writing");
  if (way == 3)
    use_database (false, "reading again");
  if (way == 4) {
    look_for_damage (false);
    look_for_damage (true);
    use_database (true, "using what was mended");
  }
  if (way == 5)
    save ();
}
