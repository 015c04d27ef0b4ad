/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Snapshots, clones, roll-backs and deletions in random order, of one or of
 * several disks at one instant, against a model that keeps a full copy of
 * everything; with holds, bookmarks and the trash.  (What is sent to another
 * database, test-replicas.sh has.)
 *
 * A block holds one number, repeated; 0 is zeroes.  After each few steps
 * something is read and compared; at the end everything, and then no row may
 * be left that nobody sees.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <time.h>

#include "unit.h"

#include "manage/manage-parts.h"
#include "rows/quota.h"
#include "rows/reclaim.h"
#include "store.h"

#define BLOCK         512
#define BLOCKS        48 /* of the largest disk */
#define THINGS        24 /* disks, and snapshots of each */
#define STEPS_DEFAULT 4000

/* What something looks like. */
struct contents {
  uint64_t size; /* bytes */
  uint32_t blocks[BLOCKS];
};

struct model_snapshot {
  char name[20]; /* empty: there is none */
  struct contents contents;
  bool held;
};

/* A bookmark, and what the snapshot was of which it was made. */
struct model_bookmark {
  char name[20]; /* empty: there is none */
  struct contents contents;
  bool doubtful; /* the disk may not come from it any more */
};

struct model_disk {
  char name[20]; /* empty: there is none */
  struct contents contents;
  uint64_t quota;  /* bytes; 0: none */
  uint32_t jumped; /* the number then; it was rolled back or flattened */
  struct model_snapshot snapshots[THINGS];
  struct model_bookmark bookmarks[THINGS];
};

static struct model_disk disks[THINGS];

/* A disk in the trash, or none, of id 0. */
static struct {
  struct model_disk disk;
  struct trashed_disk trashed;
} binned;
static struct store *store;
static char *path;
static bool encrypted;
static const struct secret *secrets; /* of encrypted disks */
static uint64_t seed;
static uint32_t counter; /* of numbers written, and of names */
static unsigned bookmarks_compared, bookmarks_refused;

static uint64_t
below (uint64_t bound)
{
  return random_below (&seed, bound);
}

/* Open the store as a server or as a command does. */
static struct store *
open_with (bool command, struct checkpoint_limits limits)
{
  const struct store_options options = {
    .command = command,
    .limits = limits,
    .warn = unit_ignore_warning,
    .secrets = secrets,
  };
  struct status status;
  struct store *opened = store_open (path, &options, &status);

  assert_non_null (opened);
  return opened;
}

static void
open_store (void)
{
  store = open_with (true, checkpoint_limits_default);
}

/*--------------------------------------------------------------------
 * The model.
 */

static struct model_disk *
random_disk (void)
{
  size_t i = below (THINGS);

  while (disks[i].name[0] == '\0')
    i = (i + 1) % THINGS;
  return &disks[i];
}

static struct model_disk *
free_disk (void)
{
  for (size_t i = 0; i < THINGS; i++)
    if (disks[i].name[0] == '\0')
      return &disks[i];
  return NULL;
}

static size_t
disks_count (void)
{
  size_t count = 0;

  for (size_t i = 0; i < THINGS; i++)
    count += disks[i].name[0] != '\0';
  return count;
}

/* A random snapshot of DISK, or NULL where it has none. */
static struct model_snapshot *
random_snapshot (struct model_disk *disk)
{
  const size_t start = below (THINGS);

  for (size_t i = 0; i < THINGS; i++)
    if (disk->snapshots[(start + i) % THINGS].name[0] != '\0')
      return &disk->snapshots[(start + i) % THINGS];
  return NULL;
}

/* A random bookmark of DISK, or NULL where it has none. */
static struct model_bookmark *
random_bookmark (struct model_disk *disk)
{
  const size_t start = below (THINGS);

  for (size_t i = 0; i < THINGS; i++)
    if (disk->bookmarks[(start + i) % THINGS].name[0] != '\0')
      return &disk->bookmarks[(start + i) % THINGS];
  return NULL;
}

static struct model_snapshot *
free_snapshot (struct model_disk *disk)
{
  for (size_t i = 0; i < THINGS; i++)
    if (disk->snapshots[i].name[0] == '\0')
      return &disk->snapshots[i];
  return NULL;
}

static const char *
target_of (const struct model_disk *disk, const struct model_snapshot *snapshot)
{
  static char target[50];

  snprintf (target, sizeof target, "%.19s%s%.19s", disk->name,
            snapshot ? "@" : "", snapshot ? snapshot->name : "");
  return target;
}

static uint64_t
blocks_of (const struct contents *contents)
{
  return (contents->size - 1) / BLOCK + 1;
}

/*--------------------------------------------------------------------
 * Comparing.
 */

/* What TARGET reads as must be CONTENTS. */
static void
compare_reads (struct disk *disk, const char *target,
               const struct contents *contents)
{
  static uint32_t buffer[BLOCKS][BLOCK / sizeof (uint32_t)];
  const uint64_t first = below (blocks_of (contents)) * BLOCK;
  struct status status;

  assert_int_equal (disk_get_info (disk)->size, contents->size);
  memset (buffer, 0xff, sizeof buffer);
  assert_ok (disk_read (disk, buffer, 0, contents->size, &status), &status);
  for (uint64_t i = 0; i < blocks_of (contents); i++) {
    const uint64_t left = contents->size - i * BLOCK;
    const size_t words = (left < BLOCK ? left : BLOCK) / sizeof (uint32_t);

    for (size_t word = 0; word < words; word++)
      if (buffer[i][word] != contents->blocks[i])
        fail_msg ("%s: block %" PRIu64 " has %" PRIu32 ", not %" PRIu32, target,
                  i, buffer[i][word], contents->blocks[i]);
  }
  /* And by another route: not from the start. */
  assert_ok (disk_read (disk, buffer, first, contents->size - first, &status),
             &status);
  assert_int_equal (buffer[0][0], contents->blocks[first / BLOCK]);
}

/* The extents of a disk, as the model has them. */
static int
check_extent (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  const struct contents *contents = opaque;

  for (uint64_t at = offset; at < offset + count; at += BLOCK)
    assert_int_equal (contents->blocks[at / BLOCK] == 0, hole);
  return 0;
}

static void
compare (const struct model_disk *model, const struct model_snapshot *snapshot)
{
  const struct contents *contents =
      snapshot ? &snapshot->contents : &model->contents;
  const char *target = target_of (model, snapshot);
  struct status status;
  struct disk *disk = disk_open (store, target, true, &status);

  if (disk == NULL)
    fail_msg ("%s", status.message);
  compare_reads (disk, target, contents);
  assert_ok (disk_extents (disk, 0, contents->size, false, check_extent,
                           (void *)contents, &status),
             &status);
  disk_close (disk);
}

static void
compare_all (void)
{
  for (size_t i = 0; i < THINGS; i++) {
    if (disks[i].name[0] == '\0')
      continue;
    compare (&disks[i], NULL);
    for (size_t j = 0; j < THINGS; j++)
      if (disks[i].snapshots[j].name[0] != '\0')
        compare (&disks[i], &disks[i].snapshots[j]);
  }
}

/* Blocks that manage_diff reports. */
struct reported {
  const struct contents *to;
  bool blocks[BLOCKS];
};

static int
mark_reported (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  struct reported *reported = opaque;

  for (uint64_t at = offset; at < offset + count; at += BLOCK) {
    reported->blocks[at / BLOCK] = true;
    assert_int_equal (reported->to->blocks[at / BLOCK] == 0, hole);
  }
  return 0;
}

/* What differs between two things must be reported. */
static void
compare_difference (void)
{
  struct model_disk *disk = random_disk ();
  struct model_snapshot *from = random_snapshot (disk);
  struct model_snapshot *to = below (2) ? random_snapshot (disk) : NULL;
  struct reported reported = {
    .to = to ? &to->contents : &disk->contents,
  };
  char *from_target;
  struct status status;

  if (from == NULL)
    return;
  from_target = strdup (target_of (disk, from));
  assert_ok (manage_diff (store, from_target, target_of (disk, to),
                          mark_reported, &reported, &status),
             &status);
  for (uint64_t i = 0; i < blocks_of (reported.to); i++)
    if (!reported.blocks[i])
      assert_int_equal (reported.to->blocks[i], i < blocks_of (&from->contents)
                                                    ? from->contents.blocks[i]
                                                    : 0);
  free (from_target);
}

/* What changed since a bookmark must be reported. */
static void
compare_bookmark (void)
{
  struct model_disk *disk = random_disk ();
  const struct model_bookmark *from = random_bookmark (disk);
  struct model_snapshot *to = below (2) ? random_snapshot (disk) : NULL;
  struct reported reported = {
    .to = to ? &to->contents : &disk->contents,
  };
  struct bookmark_info bookmark;
  struct disk_info info;
  struct status status;
  char name[50];

  if (from == NULL)
    return;
  snprintf (name, sizeof name, "%s#%s", disk->name, from->name);
  assert_ok (manage_find_bookmark (store, name, &bookmark, &status), &status);
  assert_int_equal (bookmark.size, from->contents.size);
  assert_ok (store_find (store, target_of (disk, to), &info, &status), &status);
  if (manage_diff_bookmark (store, &bookmark, &info, mark_reported, &reported,
                            &status) == -1) {
    assert_fails (-1, &status, EINVAL, "does not come from the bookmark");
    assert_true (to || from->doubtful);
    bookmarks_refused++;
    return;
  }
  bookmarks_compared++;
  for (uint64_t i = 0; i < blocks_of (reported.to); i++)
    if (!reported.blocks[i])
      assert_int_equal (reported.to->blocks[i], i < blocks_of (&from->contents)
                                                    ? from->contents.blocks[i]
                                                    : 0);
}

/* An increment that is compared. */
struct compared {
  const struct contents *from; /* NULL: nothing */
  const struct contents *to;
};

static int
check_change (uint64_t offset, uint64_t count, enum increment_kind kind,
              void *opaque)
{
  const struct compared *compared = opaque;
  const struct contents *from = compared->from, *to = compared->to;

  for (uint64_t i = offset / BLOCK; i * BLOCK < offset + count; i++) {
    const bool is_new = from == NULL || i >= blocks_of (from);

    if (kind == INCREMENT_SAME)
      assert_true (!is_new && from->blocks[i] == to->blocks[i]);
    else
      assert_int_equal (to->blocks[i] != 0, kind == INCREMENT_DATA);
    if (kind == INCREMENT_ZEROES || kind == INCREMENT_NEW)
      assert_int_equal (is_new, kind == INCREMENT_NEW);
  }
  return 0;
}

/* Of what is the same nothing may differ, and so on. */
static void
compare_increment (void)
{
  struct model_disk *disk = random_disk ();
  struct model_snapshot *from = below (5) ? random_snapshot (disk) : NULL;
  struct model_snapshot *to = below (2) ? random_snapshot (disk) : NULL;
  struct compared compared;
  struct increment *increment;
  struct status status;
  char name[60];

  if (from && to && atoi (from->name + 1) > atoi (to->name + 1)) {
    struct model_snapshot *newer = from;

    from = to;
    to = newer;
  }
  compared.from = from ? &from->contents : NULL;
  compared.to = to ? &to->contents : &disk->contents;
  snprintf (name, sizeof name, "%s@%s..%s", disk->name, from ? from->name : "",
            to ? to->name : "");
  assert_ok (manage_increment (store, name, &increment, &status), &status);
  assert_non_null (increment);
  compare_reads (increment_disk (increment), name, compared.to);
  assert_ok (increment_extents (increment, 0, compared.to->size, false,
                                check_change, &compared, &status),
             &status);
  increment_close (increment);
}

/*--------------------------------------------------------------------
 * Usage.
 */

/* The bytes of rows that something sees, through however many layers, and of
 * contents to which these refer.  What a layer has is hidden by rows of its
 * only child that all see who look at that, or of the only child's only child.
 */
static uint64_t
count_seen (void)
{
  static const char seen_sql[] =
      "WITH RECURSIVE live (layer) AS (SELECT layer FROM disk"
      "  UNION SELECT layer FROM snapshot"
      "  UNION SELECT parent FROM live JOIN layer ON layer.id = live.layer"
      "   WHERE parent IS NOT NULL),"
      " viewer (layer, generation, child) AS ("
      " SELECT disk.layer, layer.generation, NULL FROM disk"
      "  JOIN layer ON layer.id = disk.layer"
      " UNION ALL SELECT layer, generation, NULL FROM snapshot"
      " UNION ALL SELECT parent, parent_generation, id FROM layer"
      "  WHERE parent IS NOT NULL AND id IN live),"
      " lowest (layer, generation, child) AS (SELECT layer, min (generation),"
      "  iif (count (*) = 1, child, NULL) FROM viewer GROUP BY layer),"
      " hider (layer, child) AS (SELECT layer, child FROM lowest"
      "   WHERE child IS NOT NULL"
      "  UNION SELECT hider.layer, lowest.child FROM hider"
      "   JOIN lowest ON lowest.layer = hider.child"
      "   WHERE lowest.child IS NOT NULL),"
      " version AS (SELECT layer, number, generation, length (data) AS bytes,"
      "  content, lead (generation) OVER"
      "  (PARTITION BY layer, number ORDER BY generation) AS newer FROM block),"
      " seen (bytes, content) AS (SELECT bytes, content FROM version WHERE"
      "  EXISTS (SELECT 1 FROM viewer WHERE viewer.layer = version.layer"
      "   AND viewer.generation >= version.generation"
      "   AND viewer.generation < ifnull (version.newer, 1 << 62))"
      "  AND NOT EXISTS (SELECT 1 FROM hider"
      "   JOIN lowest ON lowest.layer = hider.child"
      "   JOIN block ON block.layer = hider.child"
      "    AND block.number = version.number"
      "    AND block.generation <= lowest.generation"
      "   WHERE hider.layer = version.layer))"
      "SELECT ifnull ((SELECT sum (bytes) FROM seen), 0) + ifnull ("
      " (SELECT sum (length (data)) FROM content"
      "  WHERE id IN (SELECT content FROM seen)), 0)";

  return unit_integer_on (path, seen_sql);
}

/* The item of a disk or its snapshot, in GROUP. */
static struct usage_item
item_of (const struct model_disk *disk, const struct model_snapshot *snapshot,
         size_t group)
{
  struct usage_item item = { .group = group, .shown = true };
  struct snapshot_info found;
  struct disk_info info;
  struct status status;

  assert_ok (store_find (store, disk->name, &info, &status), &status);
  item.disk = info.id;
  if (snapshot) {
    assert_ok (manage_find_snapshot (store, target_of (disk, snapshot), &found,
                                     &status),
               &status);
    item.snapshot = found.id;
  }
  return item;
}

/* Fill ITEMS with DISK and its snapshots, all in GROUP; returns how many. */
static size_t
items_of (const struct model_disk *disk, size_t group, struct usage_item *items)
{
  size_t count = 0;

  items[count++] = item_of (disk, NULL, group);
  for (size_t i = 0; i < THINGS; i++)
    if (disk->snapshots[i].name[0] != '\0')
      items[count++] = item_of (disk, &disk->snapshots[i], group);
  return count;
}

/* What deleting ITEMS would free, in bytes. */
static uint64_t
would_free (struct usage_item *items, size_t count)
{
  struct status status;
  uint64_t freed;

  assert_ok (manage_usage (store, items, count, &freed, 1, NULL, NULL, &status),
             &status);
  return freed;
}

/* What it shows that is not zeroes. */
static uint64_t
logical_of (const struct contents *contents)
{
  uint64_t logical = 0;

  for (uint64_t i = 0; i < blocks_of (contents); i++)
    logical += contents->blocks[i] ? BLOCK : 0;
  return logical;
}

/* ITEM shows what the model has, CONTENTS, and stores what SQLite finds. */
static void
compare_item (sqlite3 *db, const struct usage_item *item,
              const struct contents *contents)
{
  assert_int_equal (item->logical, logical_of (contents));
  assert_int_equal (item->stored,
                    unit_integer (db,
                                  "SELECT (SELECT ifnull (sum (bytes), 0)"
                                  "  FROM shown WHERE disk = %lld"
                                  "  AND snapshot IS nullif (%lld, 0))"
                                  " + (SELECT ifnull (sum (length (data)), 0)"
                                  "  FROM content WHERE id IN"
                                  "  (SELECT content FROM shown"
                                  "   WHERE disk = %lld"
                                  "   AND snapshot IS nullif (%lld, 0)))",
                                  item->disk, item->snapshot, item->disk,
                                  item->snapshot));
}

struct items {
  struct usage_item *items;
  size_t count;
};

static int
add_trashed (const struct snapshot_info *info, void *opaque)
{
  struct items *items = opaque;

  items->items[items->count++] =
      (struct usage_item){ .disk = info->disk, .snapshot = info->id };
  return 0;
}

/* The same of what is in the trash. */
static size_t
items_of_trash (struct usage_item *items)
{
  struct items list = { items, 0 };
  struct status status;

  if (binned.trashed.disk.id == 0)
    return 0;
  items[list.count++] = (struct usage_item){ .disk = binned.trashed.disk.id };
  assert_ok (manage_list_trash_snapshots (store, add_trashed, &list, &status),
             &status);
  return list.count;
}

/* Each disk and snapshot stores what the model has; all together would free
 * all.
 */
static void
compare_usage (void)
{
  static struct usage_item items[(THINGS + 1) * (THINGS + 1)];
  size_t count = 0, next = 0;
  sqlite3 *db;

  for (size_t i = 0; i < THINGS; i++)
    if (disks[i].name[0] != '\0')
      count += items_of (&disks[i], 0, items + count);
  count += items_of_trash (items + count);
  assert_int_equal (would_free (items, count), count_seen ());
  db = unit_open_raw (path);
  unit_sql (db, unit_shown);
  for (size_t i = 0; i < THINGS; i++) {
    if (disks[i].name[0] == '\0')
      continue;
    compare_item (db, &items[next++], &disks[i].contents);
    for (size_t j = 0; j < THINGS; j++)
      if (disks[i].snapshots[j].name[0] != '\0')
        compare_item (db, &items[next++], &disks[i].snapshots[j].contents);
  }
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
}

/*--------------------------------------------------------------------
 * Quotas.
 */

/* Each disk, or that of a snapshot, that looks at a layer directly; and each
 * layer with those that stand on it, itself counted, at which something
 * does, and below which nothing else does.
 */
#define WITH_SEEN                                                              \
  "WITH direct (layer, disk) AS (SELECT layer, id FROM disk"                   \
  "   UNION SELECT layer, disk FROM snapshot),"                                \
  " seen (layer, top) AS (SELECT layer, layer FROM direct"                     \
  "   UNION SELECT parent, top FROM seen JOIN layer ON layer.id = seen.layer"  \
  "   WHERE parent NOT NULL AND parent NOT IN (SELECT layer FROM direct)) "

/* What disks with a quota see as far as it may count. */
#define LIMITED                                                                \
  "(" WITH_SEEN "SELECT seen.layer FROM seen"                                  \
  " JOIN direct ON direct.layer = seen.top"                                    \
  " JOIN disk ON disk.id = direct.disk WHERE quota NOT NULL)"

/* What the data of rows takes. */
#define BYTES                                                                  \
  "ifnull (sum (length (ifnull (block.data, content.data))), 0)"               \
  " FROM block LEFT JOIN content ON content.id = block.content"

/* Counting again must give what is kept. */
static void
check_counted (void)
{
  sqlite3 *db = unit_open_raw (path);

  assert_int_equal (
      unit_integer (db, "SELECT count (*) FROM counted WHERE bytes <>"
                        " (SELECT " BYTES " WHERE layer = counted.layer"
                        "  AND block.number < counted.number)"),
      0);
  assert_int_equal (
      unit_integer (db, "SELECT count (*) FROM " LIMITED " WHERE layer NOT IN"
                        " (SELECT layer FROM counted)"
                        " AND NOT EXISTS (SELECT 1 FROM reclaim)"),
      0);
  sqlite3_close (db);
}

/* The bytes that count for the quota of a disk; with COUNTED only those that
 * are counted already.
 */
static uint64_t
used_by (const struct model_disk *disk, bool counted)
{
  return unit_integer_on (
      path,
      WITH_SEEN
      ", own (layer) AS (SELECT direct.layer FROM direct JOIN disk"
      "  ON disk.id = direct.disk WHERE disk.name = %Q) "
      "SELECT " BYTES " WHERE block.layer IN"
      " (SELECT layer FROM seen WHERE top IN own EXCEPT"
      "  SELECT layer FROM seen WHERE top NOT IN own)"
      " AND (NOT %d OR EXISTS (SELECT 1 FROM counted"
      "  WHERE counted.layer = block.layer AND counted.number > block.number))",
      disk->name, counted);
}

/* What is shown of a quota is what is so. */
static void
check_quota (const struct model_disk *disk)
{
  struct manage_details details;
  struct disk_info info;
  struct status status;

  assert_ok (store_find (store, disk->name, &info, &status), &status);
  assert_int_equal (info.quota, disk->quota);
  assert_ok (manage_details (store, disk->name, &details, &status), &status);
  assert_int_equal (details.quota_used, disk->quota ? used_by (disk, true) : 0);
  if (details.quota_counted && disk->quota)
    assert_int_equal (details.quota_used, used_by (disk, false));
}

static int
stop_soon (uint64_t done, uint64_t total, void *opaque)
{
  (void)done;
  (void)total;
  (void)opaque;
  return below (2);
}

/* Give a disk another quota, or none; perhaps by another process, perhaps
 * without counting all.
 */
static void
step_quota (void)
{
  struct model_disk *disk = random_disk ();
  struct store *other =
      below (2) ? open_with (true, checkpoint_limits_default) : NULL;
  struct disk_options options = { 0 };
  struct status status;

  disk->quota = below (3) ? (1 + below (2 * BLOCKS)) * BLOCK : 0;
  options.quota = disk->quota ? disk->quota : QUOTA_NONE;
  assert_ok (manage_set (other ? other : store, disk->name, &options, &status),
             &status);
  if (below (2) &&
      manage_count (other ? other : store, stop_soon, NULL, &status) == -1)
    assert_int_equal (status.error, ECANCELED);
  if (other)
    store_close (other);
  check_quota (disk);
}

static void
step_count (void)
{
  struct status status;

  assert_ok (manage_count (store, NULL, NULL, &status), &status);
}

/*--------------------------------------------------------------------
 * How blocks are stored.
 */

/* Have a disk compress or share its new blocks, or not; perhaps by another
 * process.
 */
static void
step_set (void)
{
  static const char *const names[] = { "none", "lz4", "zstd" };
  struct model_disk *disk = random_disk ();
  struct store *other =
      below (2) ? open_with (true, checkpoint_limits_default) : NULL;
  struct disk_options options = {
    .storing.deduplicate = below (3) ? DISK_ON : DISK_OFF,
  };
  struct status status;

  if (compression_parse (names[below (3)], &options.storing.compression,
                         &status) == -1)
    assert_int_equal (status.error, ENOTSUP);
  assert_ok (manage_set (other ? other : store, disk->name, &options, &status),
             &status);
  if (other)
    store_close (other);
}

/* Store what is there like that. */
static void
step_recompress (void)
{
  struct model_disk *disk = random_disk ();
  struct recompressed done;
  struct status status;

  assert_ok (recompress_disk (store, disk->name, NULL, NULL, &done, &status),
             &status);
  assert_int_equal (done.damaged, 0);
}

/* No content may be left over, and none may lack. */
static void
check_contents (void)
{
  sqlite3 *db = unit_open_raw (path);

  unit_assert_contents (db);
  sqlite3_close (db);
}

/* A write of COUNT blocks has ended as STATUS says, -1 in R; BEFORE, USED
 * bytes were counted.  Was that right?
 */
static void
check_limited (const struct model_disk *disk, int r,
               const struct status *status, uint64_t before, uint64_t count)
{
  const uint64_t after = used_by (disk, true);

  if (r == 0) {
    if (disk->quota && after > disk->quota)
      assert_uint_in_range (after, 0, before);
    return;
  }
  assert_fails (r, status, ENOSPC, "the quota of disk");
  assert_true (disk->quota > 0);
  assert_int_equal (after, before);
  assert_true (before + count * BLOCK > disk->quota);
}

/*--------------------------------------------------------------------
 * Steps.
 */

/* Write a few blocks, or make them zeroes. */
static void
step_write (void)
{
  static uint32_t buffer[BLOCKS * BLOCK / sizeof (uint32_t)];
  struct model_disk *model = random_disk ();
  const uint64_t blocks = model->contents.size / BLOCK;
  const uint64_t first = below (blocks);
  const uint64_t count = 1 + below (blocks - first < 8 ? blocks - first : 8);
  /* Some are often the same. */
  const uint32_t number = below (4) == 0   ? 0
                          : below (2) == 0 ? 1 + below (6)
                                           : ++counter;
  struct status status;
  struct disk *disk = disk_open (store, model->name, false, &status);
  const uint64_t used = used_by (model, true);
  int r;

  if (disk == NULL)
    fail_msg ("%s", status.message);
  for (size_t i = 0; i < count * BLOCK / sizeof buffer[0]; i++)
    buffer[i] = number;
  if (number == 0 && below (2))
    r = disk_trim (disk, first * BLOCK, count * BLOCK, false, &status);
  else
    r = disk_write (disk, buffer, first * BLOCK, count * BLOCK, false, &status);
  disk_close (disk);
  check_limited (model, r, &status, used, count);
  if (r == -1)
    return;
  for (uint64_t i = first; i < first + count; i++)
    model->contents.blocks[i] = number;
}

/* Is one of the snapshots of DISK held? */
static bool
is_held (const struct model_disk *disk)
{
  for (size_t i = 0; i < THINGS; i++)
    if (disk->snapshots[i].name[0] != '\0' && disk->snapshots[i].held)
      return true;
  return false;
}

/* Some disks, at most GROUP_MOST, each once.  Returns how many. */
#define GROUP_MOST 4
static size_t
random_group (struct model_disk *group[GROUP_MOST])
{
  const size_t most = 1 + below (GROUP_MOST);
  size_t count = 0, i;

  for (size_t n = 0; n < most; n++) {
    group[count] = random_disk ();
    for (i = 0; group[i] != group[count]; i++)
      ;
    count += i == count;
  }
  return count;
}

/* Take one of several disks at one instant, or of none where one of them
 * cannot have it.
 */
static void
step_snapshot (void)
{
  struct model_disk *group[GROUP_MOST];
  const size_t count = random_group (group);
  const bool fails = below (8) == 0;
  struct manage_step group_steps[GROUP_MOST + 1];
  struct model_snapshot *snapshot;
  struct status status;
  char name[20];

  snprintf (name, sizeof name, "s%" PRIu32, ++counter);
  for (size_t i = 0; i < count; i++) {
    group_steps[i] = (struct manage_step){ group[i]->name, name };
    if (free_snapshot (group[i]) == NULL)
      return;
  }
  group_steps[count] = (struct manage_step){ "none", name };
  if (fails) {
    assert_fails (manage_group (store, GROUP_SNAPSHOT, group_steps, count + 1,
                                0, &status),
                  &status, ENOENT, "none");
    return;
  }
  assert_ok (
      manage_group (store, GROUP_SNAPSHOT, group_steps, count, 0, &status),
      &status);
  for (size_t i = 0; i < count; i++) {
    snapshot = free_snapshot (group[i]);
    strcpy (snapshot->name, name);
    snapshot->contents = group[i]->contents;
    snapshot->held = false;
  }
}

static void
step_hold (void)
{
  struct model_disk *disk = random_disk ();
  struct model_snapshot *snapshot = random_snapshot (disk);
  struct status status;

  if (snapshot == NULL)
    return;
  if (snapshot->held)
    assert_ok (
        manage_release (store, target_of (disk, snapshot), "tag", &status),
        &status);
  /* Most are not for long. */
  else if (below (3) == 0)
    assert_ok (manage_hold (store, target_of (disk, snapshot), "tag", &status),
               &status);
  else
    return;
  snapshot->held = !snapshot->held;
}

static void
step_rename (void)
{
  struct model_disk *disk = random_disk ();
  struct model_snapshot *snapshot = below (2) ? random_snapshot (disk) : NULL;
  char name[20];
  struct status status;

  /* The number says when it was made, see compare_increment. */
  snprintf (name, sizeof name, "%s%" PRIu32, snapshot ? "s" : "d",
            snapshot ? (uint32_t)atoi (snapshot->name + 1) : ++counter);
  if (snapshot)
    strcat (name,
            snapshot->name[strlen (snapshot->name) - 1] == 'r' ? "" : "r");
  assert_ok (manage_rename (store, target_of (disk, snapshot), name, &status),
             &status);
  strcpy (snapshot ? snapshot->name : disk->name, name);
}

static void
step_delete_snapshot (void)
{
  struct model_disk *disk = random_disk ();
  struct model_snapshot *snapshot = random_snapshot (disk);
  struct usage_item item;
  struct status status;
  const char *target;
  uint64_t freed, before;

  if (snapshot == NULL)
    return;
  item = item_of (disk, snapshot, 0);
  freed = would_free (&item, 1);
  before = count_seen ();
  target = target_of (disk, snapshot);
  if (snapshot->held) {
    assert_fails (manage_delete_snapshots (store, &target, 1, &status), &status,
                  EBUSY, "held");
    return;
  }
  assert_ok (manage_delete_snapshots (store, &target, 1, &status), &status);
  assert_int_equal (freed, before - count_seen ());
  snapshot->name[0] = '\0';
}

static void
step_bookmark (void)
{
  struct model_disk *disk = random_disk ();
  struct model_snapshot *snapshot = random_snapshot (disk);
  struct model_bookmark *bookmark = &disk->bookmarks[below (THINGS)];
  struct status status;
  char name[50];
  const char *target = name;

  if (bookmark->name[0] != '\0') {
    snprintf (name, sizeof name, "%s#%s", disk->name, bookmark->name);
    assert_ok (manage_delete_bookmarks (store, &target, 1, &status), &status);
    bookmark->name[0] = '\0';
  }
  if (snapshot == NULL)
    return;
  snprintf (bookmark->name, sizeof bookmark->name, "b%" PRIu32, ++counter);
  bookmark->contents = snapshot->contents;
  /* Since the snapshot the disk may have jumped. */
  bookmark->doubtful = disk->jumped > (uint32_t)atoi (snapshot->name + 1);
  assert_ok (manage_bookmark (store, target_of (disk, snapshot), bookmark->name,
                              &status),
             &status);
}

/* What the disk was is not below what it is from then on. */
static void
doubt_bookmarks (struct model_disk *disk)
{
  disk->jumped = ++counter;
  for (size_t i = 0; i < THINGS; i++)
    disk->bookmarks[i].doubtful = true;
}

/* Roll several disks back, each to a snapshot of its own. */
static void
step_rollback (void)
{
  struct model_disk *group[GROUP_MOST];
  struct model_snapshot *snapshots[GROUP_MOST];
  struct manage_step group_steps[GROUP_MOST];
  const size_t count = random_group (group);
  size_t found = 0;
  struct status status;

  for (size_t i = 0; i < count; i++) {
    snapshots[found] = random_snapshot (group[i]);
    if (snapshots[found] == NULL)
      continue;
    group[found] = group[i];
    group_steps[found].target = strdup (target_of (group[i], snapshots[found]));
    found++;
  }
  if (found == 0)
    return;
  assert_ok (
      manage_group (store, GROUP_ROLLBACK, group_steps, found, 0, &status),
      &status);
  for (size_t i = 0; i < found; i++) {
    group[i]->contents = snapshots[i]->contents;
    doubt_bookmarks (group[i]);
    free ((char *)group_steps[i].target);
  }
}

/* Make several clones at one instant. */
static void
step_clone (void)
{
  struct manage_step group_steps[GROUP_MOST];
  const size_t most = 1 + below (GROUP_MOST);
  size_t count = 0;
  struct status status;

  while (count < most && free_disk () != NULL) {
    struct model_disk *disk = random_disk (), *clone = free_disk ();
    struct model_snapshot *snapshot = below (2) ? random_snapshot (disk) : NULL;

    group_steps[count].target = strdup (target_of (disk, snapshot));
    *clone = (struct model_disk){ .contents = snapshot ? snapshot->contents
                                                       : disk->contents };
    snprintf (clone->name, sizeof clone->name, "d%" PRIu32, ++counter);
    group_steps[count++].name = clone->name;
  }
  if (count == 0)
    return;
  assert_ok (manage_group (store, GROUP_CLONE, group_steps, count, 0, &status),
             &status);
  for (size_t i = 0; i < count; i++)
    free ((char *)group_steps[i].target);
}

/* Delete several disks, with their snapshots, or none where one is held. */
static void
step_delete_disk (void)
{
  static struct usage_item items[GROUP_MOST * (THINGS + 1)];
  struct model_disk *group[GROUP_MOST];
  struct manage_step group_steps[GROUP_MOST];
  const size_t count = random_group (group);
  size_t item_count = 0;
  uint64_t freed, before;
  bool held = false;
  struct status status;

  if (disks_count () <= count)
    return;
  for (size_t i = 0; i < count; i++) {
    group_steps[i] = (struct manage_step){ .target = group[i]->name };
    item_count += items_of (group[i], 0, items + item_count);
    held = held || is_held (group[i]);
  }
  freed = would_free (items, item_count);
  before = count_seen ();
  if (held) {
    assert_fails (manage_group (store, GROUP_DELETE, group_steps, count,
                                GROUP_SNAPSHOTS, &status),
                  &status, EBUSY, "held");
    assert_int_equal (before, count_seen ());
    return;
  }
  assert_ok (manage_group (store, GROUP_DELETE, group_steps, count,
                           GROUP_SNAPSHOTS, &status),
             &status);
  assert_int_equal (freed, before - count_seen ());
  for (size_t i = 0; i < count; i++)
    memset (group[i], 0, sizeof *group[i]);
}

/* Empty the trash, or have what is there back; or move a disk there. */
static void
step_trash (void)
{
  const struct property_setting setting = { "trash", "7d" };
  const struct disk_options options = {
    .settings = &setting,
    .settings_count = 1,
  };
  struct model_disk *disk = random_disk (), *back = free_disk ();
  struct status status;

  if (binned.trashed.disk.id != 0 && (back == NULL || below (2))) {
    assert_ok (manage_purge (store, &binned.trashed, &status), &status);
    binned.trashed.disk.id = 0;
  }
  else if (binned.trashed.disk.id != 0) {
    *back = binned.disk;
    if (below (2))
      snprintf (back->name, sizeof back->name, "d%" PRIu32, ++counter);
    assert_ok (
        manage_undelete (store, binned.trashed.disk.id, back->name, &status),
        &status);
    binned.trashed.disk.id = 0;
    check_quota (back);
    compare (back, NULL);
  }
  else if (disks_count () > 1 && !is_held (disk)) {
    assert_ok (manage_set (store, disk->name, &options, &status), &status);
    assert_ok (manage_discard (store, disk->name, true, false, &binned.trashed,
                               &status),
               &status);
    assert_true (binned.trashed.disk.id != 0);
    binned.disk = *disk;
    memset (disk, 0, sizeof *disk);
  }
}

static void
step_flatten (void)
{
  struct model_disk *disk = random_disk ();
  struct status status;

  doubt_bookmarks (disk);
  if (manage_flatten (store, disk->name, NULL, NULL, &status) == -1) {
    assert_fails (-1, &status, ENOSPC, "the quota of disk");
    assert_true (disk->quota > 0);
  }
}

static void
step_resize (void)
{
  struct model_disk *disk = random_disk ();
  /* Half blocks, too. */
  const uint64_t size = (4 + below (2 * BLOCKS - 3)) * BLOCK / 2;
  const uint64_t old = blocks_of (&disk->contents);
  struct status status;

  assert_ok (manage_resize (store, disk->name, size, true, &status), &status);
  /* A block that was cut in two would hold two numbers. */
  disk->contents.size = size;
  for (uint64_t i = 0; i < BLOCKS; i++)
    if (i >= blocks_of (&disk->contents) || i >= old)
      disk->contents.blocks[i] = 0;
  if (size % BLOCK != 0) {
    struct disk *handle = disk_open (store, disk->name, false, &status);

    assert_non_null (handle);
    /* It takes nothing. */
    assert_ok (
        disk_trim (handle, size - size % BLOCK, size % BLOCK, false, &status),
        &status);
    disk_close (handle);
    disk->contents.blocks[size / BLOCK] = 0;
  }
}

static void
step_reclaim (void)
{
  struct status status;
  uint64_t freed;
  bool done;

  if (below (8) == 0)
    assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  else
    assert_ok (manage_reclaim_step (store, &done, &freed, &status), &status);
}

static void
step_reopen (void)
{
  store_close (store);
  open_store ();
}

/*--------------------------------------------------------------------
 * What is left at the end.
 */

/* The views for people must say what the program says. */
static void
compare_views (sqlite3 *db, const struct model_disk *disk,
               const struct model_snapshot *snapshot)
{
  struct usage_item item = item_of (disk, snapshot, 0);
  const uint64_t freed = would_free (&item, 1);

  if (snapshot)
    /* The view does not look at what is freed in parents. */
    assert_uint_in_range (unit_integer (db,
                                        "SELECT bytes FROM snapshot_usage"
                                        " WHERE disk = %Q AND snapshot = %Q",
                                        disk->name, snapshot->name),
                          0, freed);
  else
    /* It is more where blocks are equal. */
    assert_int_equal (
        unit_integer (db,
                      "SELECT bytes = %llu OR (bytes > %llu AND EXISTS"
                      "  (SELECT 1 FROM content))"
                      " FROM disk_usage WHERE disk = %Q",
                      (unsigned long long)item.stored,
                      (unsigned long long)item.stored, disk->name),
        1);
}

/* Everything was reclaimed: see what is left. */
static void
check_nothing_unseen (void)
{
  const size_t first = random_disk () - disks;
  const struct model_snapshot *snapshot = random_snapshot (&disks[first]);
  struct status status;
  sqlite3 *db;

  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  unit_assert_reclaimed (path);
  db = unit_open_raw (path);
  assert_int_equal (unit_integer (db, "SELECT count (*) FROM counted"
                                      " WHERE layer NOT IN " LIMITED),
                    0);
  compare_views (db, &disks[first], NULL);
  if (snapshot)
    compare_views (db, &disks[first], snapshot);
  sqlite3_close (db);
}

static void
make_first_disk (void)
{
  struct disk_options options = {
    .name = "first",
    .size = BLOCKS * BLOCK,
    .block_size = BLOCK,
    .storing.compression = { CODEC_RAW, 0 },
  };
  struct status status;

  memset (disks, 0, sizeof disks);
  memset (&binned, 0, sizeof binned);
  if (encrypted)
    secrets = unit_encrypt (&options);
  path = unit_database ();
  assert_ok (store_provide (path, &options, &status), &status);
  strcpy (disks[0].name, "first");
  disks[0].contents.size = options.size;
  open_store ();
}

/* Which steps there are, and how often. */
static void (*const steps[]) (void) = {
  step_write,         step_write,           step_write,
  step_write,         step_write,           step_write,
  step_write,         step_snapshot,        step_snapshot,
  step_snapshot,      step_delete_snapshot, step_rollback,
  step_rollback,      step_clone,           step_delete_disk,
  step_flatten,       step_resize,          step_delete_snapshot,
  step_reclaim,       step_reclaim,         step_reopen,
  compare_difference, compare_increment,    compare_usage,
  step_quota,         step_count,           step_set,
  step_set,           step_recompress,      step_bookmark,
  step_bookmark,      compare_bookmark,     compare_bookmark,
  step_hold,          step_rename,          step_trash,
};

static void
test_random_steps (void **state)
{
  const char *many = getenv ("SQLBLOCK_STEPS");
  const unsigned long count = many ? strtoul (many, NULL, 10) : STEPS_DEFAULT;
  const int64_t few_rows = reclaim_few_rows;

  (void)state;
  seed = unit_seed ();
  /* Often a layer is too large to move up into its only child. */
  if (below (3))
    reclaim_few_rows = below (BLOCKS);
  make_first_disk ();
  for (unsigned long i = 0; i < count; i++) {
    struct model_disk *disk;

    steps[below (sizeof steps / sizeof steps[0])]();
    check_counted ();
    check_contents ();
    disk = random_disk ();
    check_quota (disk);
    compare (disk, below (2) ? random_snapshot (disk) : NULL);
    if (i % 500 == 499) {
      compare_all ();
      check_nothing_unseen ();
    }
  }
  compare_all ();
  check_nothing_unseen ();
  compare_all ();
  store_close (store);
  reclaim_few_rows = few_rows;
  print_message ("%lu steps; %u times changes since a bookmark, %u refused\n",
                 count, bookmarks_compared, bookmarks_refused);
}

/* The same with a disk that is encrypted, and its clones. */
static void
test_encrypted_steps (void **state)
{
  if (!encryption_is_built ())
    skip ();
  encrypted = true;
  test_random_steps (state);
  encrypted = false;
  secrets = NULL;
}

/* Write NUMBER to COUNT blocks from FIRST of the first disk. */
static void
put (uint32_t number, uint64_t first, uint64_t count)
{
  static uint32_t buffer[BLOCKS * BLOCK / sizeof (uint32_t)];
  struct status status;
  struct disk *disk = disk_open (store, "first", false, &status);

  assert_non_null (disk);
  for (size_t i = 0; i < count * BLOCK / sizeof buffer[0]; i++)
    buffer[i] = number;
  assert_ok (
      disk_write (disk, buffer, first * BLOCK, count * BLOCK, false, &status),
      &status);
  disk_close (disk);
  for (uint64_t i = first; i < first + count; i++)
    disks[0].contents.blocks[i] = number;
}

static void
take (size_t i, const char *name)
{
  const char *const disk = "first";
  struct status status;

  strcpy (disks[0].snapshots[i].name, name);
  disks[0].snapshots[i].contents = disks[0].contents;
  assert_ok (manage_snapshot (store, &disk, 1, name, &status), &status);
}

/* Numbers that a person can follow:
 *
 *   block      0  1  2  3
 *   first@a    1  1  1  1
 *   first@b    2  2  1  1
 *   first      2  2  1  .
 */
static void
test_usage (void **state)
{
  struct model_snapshot *const snapshots = disks[0].snapshots;
  struct usage_item items[3];
  uint64_t freed[3];
  struct status status;

  (void)state;
  make_first_disk ();
  put (1, 0, 4);
  take (0, "a");
  put (2, 0, 2);
  take (1, "b");
  put (0, 3, 1);
  compare_all ();

  for (size_t i = 0; i < 3; i++)
    items[i] = item_of (&disks[0], i == 0 ? NULL : &snapshots[i - 1], i);
  assert_ok (manage_usage (store, items, 3, freed, 3, NULL, NULL, &status),
             &status);
  assert_int_equal (items[0].stored, 3 * BLOCK);
  assert_int_equal (items[1].stored, 4 * BLOCK);
  assert_int_equal (items[2].stored, 4 * BLOCK);
  assert_int_equal (freed[0], 0);
  assert_int_equal (freed[1], 2 * BLOCK);
  assert_int_equal (freed[2], 0);

  /* Both snapshots: also block 3.  All: all six rows. */
  items[1].group = items[2].group = 0;
  assert_int_equal (would_free (items + 1, 2), 3 * BLOCK);
  assert_int_equal (would_free (items, 3), 6 * BLOCK);

  /* A clone sees what its origin does. */
  assert_ok (manage_clone (store, "first@a", "clone", NULL, &status), &status);
  assert_int_equal (would_free (items + 1, 1), 0);
  assert_int_equal (would_free (items, 3), 2 * BLOCK);
  store_close (store);
}

/*--------------------------------------------------------------------
 * Beside requests that fail.
 */

#define FAILING 4

static atomic_bool ending;

/* Write to a disk that was rolled back. */
static void *
run_failing (void *disk)
{
  static const char data[BLOCK];
  struct status status;

  while (!ending)
    assert_fails (disk_write (disk, data, 0, BLOCK, false, &status), &status,
                  EIO, "");
  return NULL;
}

/* What is in one transaction with a request that fails is undone and done
 * again: a flatten must not believe that it had done it.
 */
static void
test_flatten_beside_failures (void **state)
{
  const char *const stale = "stale";
  pthread_t threads[FAILING];
  struct status status;
  struct disk *disk;

  (void)state;
  make_first_disk ();
  put (1, 0, BLOCKS);
  assert_ok (manage_clone (store, "first", stale, NULL, &status), &status);
  assert_ok (manage_snapshot (store, &stale, 1, "a", &status), &status);
  disk = disk_open (store, stale, false, &status);
  assert_non_null (disk);
  assert_ok (manage_rollback (store, "stale@a", true, &status), &status);

  ending = false;
  for (int i = 0; i < FAILING; i++)
    assert_int_equal (pthread_create (&threads[i], NULL, run_failing, disk), 0);
  strcpy (disks[1].name, "clone");
  for (int i = 0; i < 50; i++) {
    assert_ok (manage_clone (store, "first", "clone", NULL, &status), &status);
    assert_ok (manage_flatten (store, "clone", NULL, NULL, &status), &status);
    disks[1].contents = disks[0].contents;
    compare (&disks[1], NULL);
    assert_ok (manage_delete (store, "clone", false, false, &status), &status);
  }
  ending = true;
  for (int i = 0; i < FAILING; i++)
    pthread_join (threads[i], NULL);
  disk_close (disk);
  store_close (store);
}

/*--------------------------------------------------------------------
 * Beside a server.
 */

/* Was anything written behind the first OFFSET bytes of the database?  What a
 * commit makes room for reads as zeroes.
 */
static bool
is_written_behind (off_t offset)
{
  const int fd = open (path, O_RDONLY);
  unsigned char byte;
  bool is = false;

  assert_true (fd >= 0);
  while (!is && pread (fd, &byte, 1, offset++) == 1)
    is = byte != 0;
  close (fd);
  return is;
}

static off_t
file_size (void)
{
  struct stat st;

  assert_int_equal (stat (path, &st), 0);
  return st.st_size;
}

/* A command leaves checkpoints to the server, whatever it thinks of the
 * log's size: the server's writers would not pause for it.
 */
static void
test_command_does_not_checkpoint (void **state)
{
  static char data[8 * 1024 * 1024];
  const struct disk_options disk_options = {
    .name = "web",
    .size = sizeof data,
    .storing.compression = { CODEC_RAW, 0 },
  };
  const struct checkpoint_limits never = {
    .start = 1 << 30,
    .bound = 1 << 30,
    .idle = 60000,
  };
  const struct checkpoint_limits soon = {
    .start = 1024 * 1024,
    .bound = 8 * 1024 * 1024,
    .idle = 1,
  };
  const char *names[] = { "web" };
  struct store *server;
  struct status status;
  struct disk *disk;
  off_t before;

  (void)state;
  path = unit_database ();
  memset (data, 'x', sizeof data);
  assert_ok (store_provide (path, &disk_options, &status), &status);
  server = open_with (false, never);
  disk = disk_open (server, "web", false, &status);
  assert_non_null (disk);
  before = file_size ();
  assert_ok (disk_write (disk, data, 0, sizeof data, false, &status), &status);
  store = open_with (true, soon);
  assert_ok (manage_snapshot (store, names, 1, "monday", &status), &status);
  nanosleep (&(struct timespec){ .tv_nsec = 200 * 1000 * 1000 }, NULL);
  store_close (store);
  assert_false (is_written_behind (before));
  disk_close (disk);
  store_close (server);
  assert_true (is_written_behind (before));
}

/* What a damaged row of a disk looks at is not taken for garbage. */
static void
test_damaged_viewer (void **state)
{
  static const char *const changes[] = {
    "UPDATE disk SET layer = layer + 1000",
    "UPDATE snapshot SET generation = generation - 1",
    "UPDATE layer SET generation = generation - 1",
  };
  struct connection connection;
  struct status status;
  int64_t rows;

  (void)state;
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
    make_first_disk ();
    put (1, 0, 4);
    take (0, "a");
    put (2, 0, 4);
    store_close (store);
    unit_sql_hostile (path, "%s; INSERT INTO reclaim VALUES (1, 0, 0)",
                      changes[i]);
    open_store ();
    assert_fails (manage_reclaim (store, NULL, NULL, NULL, &status), &status,
                  EIO, "no space is freed");
    store_close (store);
    unit_open (&connection, path, CONNECTION_WRITE);
    rows = unit_integer (connection.db, "SELECT count (*) FROM block");
    assert_int_equal (rows, 8);
    unit_close (&connection);
    unlink (path);
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_damaged_viewer),
    unit_test (test_usage),
    unit_test (test_random_steps),
    unit_test (test_encrypted_steps),
    unit_test (test_flatten_beside_failures),
    unit_test (test_command_does_not_checkpoint),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
