/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A disk with a feature that this program does not have, among others.
 *
 * Random commands meet all disks of a database.  What is of the one that is
 * kept off - its rows, those of its snapshots and properties, and of the layers
 * that it reads what they show - must stay as it is, byte by byte, whatever is
 * done beside it: to the disk that it was cloned from, and to its clones, one
 * of which has the feature, too.  Some of its rows have a codec that nobody
 * knows.  Others are compared with a model.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/checksum.h"
#include "check.h"
#include "engine/engine.h"
#include "manage.h"
#include "rows/columns.h"
#include "rows/features.h"
#include "rows/reclaim.h"
#include "server/history.h"
#include "unit.h"

#define BLOCK  512
#define BLOCKS 24
#define DISKS  7
#define SHOTS  4

/* How many commands, and how often all is compared. */
#define STEPS_DEFAULT 500
#define COMPARE_EVERY 10

struct model_shot {
  char name[20]; /* "": there is none */
  uint32_t blocks[BLOCKS];
};

struct model_disk {
  char name[20];
  bool kept; /* off */
  uint32_t blocks[BLOCKS];
  struct model_shot shots[SHOTS];
};

static struct store *store;
static char *path;
static struct model_disk disks[DISKS];
static int class; /* of the feature */
static uint64_t seed;
static uint32_t counter;
static int64_t now; /* of the schedule */
static unsigned long refusals;

static uint32_t
below (uint32_t limit)
{
  return random_below (&seed, limit);
}

static struct model_disk *
random_disk (void)
{
  struct model_disk *disk;

  do
    disk = &disks[below (DISKS)];
  while (!disk->name[0]);
  return disk;
}

static struct model_disk *
free_disk (void)
{
  for (size_t i = 0; i < DISKS; i++)
    if (!disks[i].name[0])
      return &disks[i];
  return NULL;
}

/* A snapshot of DISK, or a free place for one. */
static struct model_shot *
random_shot (struct model_disk *disk, bool there)
{
  const uint32_t first = below (SHOTS);

  for (uint32_t i = 0; i < SHOTS; i++)
    if ((disk->shots[(first + i) % SHOTS].name[0] != '\0') == there)
      return &disk->shots[(first + i) % SHOTS];
  return NULL;
}

static const char *
target_of (const struct model_disk *disk, const struct model_shot *shot)
{
  static char target[50];

  snprintf (target, sizeof target, "%s%s%s", disk->name, shot ? "@" : "",
            shot ? shot->name : "");
  return target;
}

/* A change of DISK has ended with R: it was to fail where that is kept off, and
 * else not.  Returns whether it was made.
 */
static bool
changed (const struct model_disk *disk, int r, const struct status *status)
{
  if (!disk->kept) {
    assert_ok (r, status);
    return true;
  }
  if (strstr (status->message, "'novel'") == NULL)
    print_message ("%s\n", status->message);
  assert_int_equal (r, -1);
  assert_non_null (strstr (status->message, "'novel'"));
  refusals++;
  return false;
}

/* The same where it may also fail since the disk that is kept off reads what
 * is to be changed.
 */
static bool
changed_shared (const struct model_disk *disk, int r,
                const struct status *status)
{
  if (r == -1 && strstr (status->message, "'novel'"))
    return false;
  return changed (disk, r, status);
}

/*--------------------------------------------------------------------
 * What must stay, and what is read.
 */

/* The disk that is kept off, and its clone that is as well. */
#define KEPT "(SELECT disk FROM feature WHERE name = 'novel')"

/* All that is of them, as text. */
static const char *const dump_sql[] = {
  "SELECT quote (id) || quote (name) || disk || class || checksum FROM feature"
  " WHERE disk IN " KEPT " ORDER BY id",
  "SELECT 'disk' || id || name || description || size || block_size || layer"
  " || epoch || compression || compression_level || deduplicate"
  " || quote (quota) || created || checksum"
  " FROM disk WHERE id IN " KEPT " ORDER BY id",
  "SELECT 'snapshot' || id || disk || name || guid || layer || generation ||"
  " size || created || automatic || last_block || checksum"
  " FROM snapshot WHERE disk IN " KEPT " ORDER BY id",
  "SELECT 'property' || id || kind || owner || key || quote (value) || checksum"
  " FROM property WHERE (kind = 1 AND owner IN " KEPT ") OR (kind = 2 AND owner"
  " IN (SELECT id FROM snapshot WHERE disk IN " KEPT ")) ORDER BY id",
  /* Of another one's the generation may grow. */
  "SELECT 'layer' || id || quote (parent) || quote (parent_generation)"
  " || iif (id IN (SELECT layer FROM disk WHERE id IN " KEPT "), generation,"
  " '') FROM layer WHERE id IN"
  " (SELECT layer FROM reads_layer WHERE disk IN " KEPT ") ORDER BY id",
  "SELECT 'block' || block.id || ' ' || block.layer || ' ' || block.number"
  " || ' ' || block.generation || ' ' || block.codec || ' ' || block.checksum"
  " || quote (block.content) || quote (block.data) || quote (content.codec)"
  " || quote (content.data) FROM block LEFT JOIN content"
  "  ON content.id = block.content"
  " WHERE block.generation <= (SELECT max (generation) FROM reads_layer"
  "  WHERE disk IN " KEPT " AND reads_layer.layer = block.layer)"
  " ORDER BY block.id",
};
#define DUMPS (sizeof dump_sql / sizeof dump_sql[0])

static uint64_t dumped[DUMPS];

static void
dump (uint64_t hashes[DUMPS])
{
  sqlite3 *db;
  sqlite3_stmt *rows;

  assert_int_equal (sqlite3_open (path, &db), SQLITE_OK);
  sqlite3_busy_timeout (db, 10000);
  for (size_t i = 0; i < DUMPS; i++) {
    hashes[i] = 0;
    assert_int_equal (sqlite3_prepare_v2 (db, dump_sql[i], -1, &rows, NULL),
                      SQLITE_OK);
    while (sqlite3_step (rows) == SQLITE_ROW)
      hashes[i] =
          hashes[i] * 31 + checksum_bytes (sqlite3_column_text (rows, 0),
                                           sqlite3_column_bytes (rows, 0));
    sqlite3_finalize (rows);
  }
  sqlite3_close (db);
}

static void
assert_stayed (const char *after)
{
  uint64_t hashes[DUMPS];

  dump (hashes);
  for (size_t i = 0; i < DUMPS; i++)
    if (hashes[i] != dumped[i]) {
      print_message ("after %s: %s\n", after, dump_sql[i]);
      fail ();
    }
}

static void
compare (const struct model_disk *disk, const struct model_shot *shot)
{
  static uint32_t bytes[BLOCKS * BLOCK / sizeof (uint32_t)];
  const uint32_t *blocks = shot ? shot->blocks : disk->blocks;
  struct status status;
  struct disk *open = disk_open (store, target_of (disk, shot), true, &status);

  if (open == NULL)
    print_message ("%s\n", status.message);
  assert_non_null (open);
  assert_ok (disk_read (open, bytes, 0, sizeof bytes, &status), &status);
  for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++)
    if (bytes[i] != blocks[i * sizeof bytes[0] / BLOCK])
      print_message ("%s, block %zu\n", target_of (disk, shot),
                     i * sizeof bytes[0] / BLOCK);
  for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++)
    assert_int_equal (bytes[i], blocks[i * sizeof bytes[0] / BLOCK]);
  disk_close (open);
}

static void
compare_all (void)
{
  for (size_t i = 0; i < DISKS; i++) {
    if (!disks[i].name[0] || disks[i].kept)
      continue;
    compare (&disks[i], NULL);
    for (size_t j = 0; j < SHOTS; j++)
      if (disks[i].shots[j].name[0])
        compare (&disks[i], &disks[i].shots[j]);
  }
}

/*--------------------------------------------------------------------
 * The commands.
 */

static void
step_write (void)
{
  static uint32_t bytes[BLOCKS * BLOCK / sizeof (uint32_t)];
  struct model_disk *disk = random_disk ();
  const uint32_t first = below (BLOCKS), count = 1 + below (BLOCKS - first);
  /* Some blocks are equal. */
  const uint32_t number = below (3) ? ++counter : below (3);
  struct status status;
  struct disk *open = disk_open (store, disk->name, false, &status);

  if (disk->kept) {
    assert_true (open ? disk_is_readonly (open) && class == 2 : class != 2);
    if (open)
      disk_close (open);
    return;
  }
  assert_non_null (open);
  for (size_t i = 0; i < count * BLOCK / sizeof bytes[0]; i++)
    bytes[i] = number;
  assert_ok (
      disk_write (open, bytes, first * BLOCK, count * BLOCK, false, &status),
      &status);
  disk_close (open);
  for (uint32_t i = first; i < first + count; i++)
    disk->blocks[i] = number;
}

static void
step_trim (void)
{
  struct model_disk *disk = random_disk ();
  const uint32_t first = below (BLOCKS), count = 1 + below (BLOCKS - first);
  struct status status;
  struct disk *open =
      disk->kept ? NULL : disk_open (store, disk->name, false, &status);

  if (disk->kept)
    return;
  assert_non_null (open);
  assert_ok (disk_trim (open, first * BLOCK, count * BLOCK, false, &status),
             &status);
  disk_close (open);
  for (uint32_t i = first; i < first + count; i++)
    disk->blocks[i] = 0;
}

static void
step_snapshot (void)
{
  struct model_disk *disk = random_disk ();
  struct model_shot *shot = random_shot (disk, false);
  const char *name = disk->name;
  struct status status;
  char text[20];
  int r;

  if (shot == NULL)
    return;
  snprintf (text, sizeof text, "s%" PRIu32, ++counter);
  r = manage_snapshot (store, &name, 1, text, &status);
  if (changed (disk, r, &status)) {
    strcpy (shot->name, text);
    memcpy (shot->blocks, disk->blocks, sizeof shot->blocks);
  }
}

static void
step_delete_snapshot (void)
{
  struct model_disk *disk = random_disk ();
  struct model_shot *shot = random_shot (disk, true);
  const char *target;
  struct status status;
  int r;

  if (shot == NULL)
    return;
  target = target_of (disk, shot);
  r = manage_delete_snapshots (store, &target, 1, &status);
  if (changed (disk, r, &status))
    shot->name[0] = '\0';
}

static void
step_rollback (void)
{
  struct model_disk *disk = random_disk ();
  struct model_shot *shot = random_shot (disk, true);
  struct status status;
  int r;

  if (shot == NULL)
    return;
  r = manage_rollback (store, target_of (disk, shot), below (2), &status);
  if (changed (disk, r, &status))
    memcpy (disk->blocks, shot->blocks, sizeof disk->blocks);
}

/* A clone of a snapshot of the disk that is kept off would have the feature:
 * the test has made one.
 */
static void
step_clone (void)
{
  struct model_disk *disk = random_disk (), *clone = free_disk ();
  struct model_shot *shot = below (2) ? random_shot (disk, true) : NULL;
  struct status status;
  char name[20];
  int r;

  if (clone == NULL || (disk->kept && shot && class == 2))
    return;
  snprintf (name, sizeof name, "d%" PRIu32, ++counter);
  r = manage_clone (store, target_of (disk, shot), name, NULL, &status);
  if (!changed (disk, r, &status))
    return;
  *clone = (struct model_disk){ .kept = false };
  strcpy (clone->name, name);
  memcpy (clone->blocks, shot ? shot->blocks : disk->blocks,
          sizeof clone->blocks);
}

static void
step_delete (void)
{
  struct model_disk *disk = random_disk ();
  struct status status;
  unsigned others = 0;
  int r;

  for (size_t i = 0; i < DISKS; i++)
    others += disks[i].name[0] && !disks[i].kept;
  if (!disk->kept && others < 2)
    return;
  r = manage_delete (store, disk->name, true, below (2), &status);
  if (changed (disk, r, &status))
    disk->name[0] = '\0';
}

static void
step_flatten (void)
{
  struct model_disk *disk = random_disk ();
  struct status status;

  changed_shared (disk, manage_flatten (store, disk->name, NULL, NULL, &status),
                  &status);
}

static void
step_recompress (void)
{
  struct model_disk *disk = random_disk ();
  struct recompressed done;
  struct status status;

  changed (disk,
           recompress_disk (store, disk->name, NULL, NULL, &done, &status),
           &status);
}

static void
step_set (void)
{
  struct model_disk *disk = random_disk ();
  const struct disk_options options = {
    .storing = { .compression = below (2) ? (struct compression){ CODEC_RAW, 0 }
                                          : compression_default (),
                 .deduplicate = below (2) ? DISK_ON : DISK_OFF },
    .quota = below (2) ? 1 << 30 : QUOTA_NONE,
  };
  struct status status;

  changed (disk, manage_set (store, disk->name, &options, &status), &status);
}

static void
step_name (void)
{
  struct model_disk *disk = random_disk ();
  struct model_shot *shot = below (2) ? random_shot (disk, true) : NULL;
  struct status status;
  char name[20];

  snprintf (name, sizeof name, "n%" PRIu32, ++counter);
  if (changed (disk,
               manage_rename (store, target_of (disk, shot), name, &status),
               &status))
    strcpy (shot ? shot->name : disk->name, name);
  changed (disk, manage_describe (store, disk->name, name, &status), &status);
}

static void
step_resize (void)
{
  struct model_disk *disk = random_disk ();
  struct status status;

  if (!changed (
          disk,
          manage_resize (store, disk->name, 2 * BLOCKS * BLOCK, false, &status),
          &status))
    return;
  assert_ok (manage_resize (store, disk->name, BLOCKS * BLOCK, true, &status),
             &status);
}

static void
step_receive (void)
{
  struct model_disk *disk = random_disk ();
  const struct manage_incoming incoming = {
    .disk = disk->name,
    .size = BLOCKS * BLOCK,
    .block_size = BLOCK,
    .replace = true,
  };
  struct status status;
  struct disk *open = manage_receive (store, &incoming, &status);

  if (!changed (disk, open ? 0 : -1, &status))
    return;
  if (below (2)) {
    manage_receive_cancel (store, open);
    return;
  }
  assert_ok (manage_receive_end (store, open, &incoming, &status), &status);
  memset (disk->blocks, 0, sizeof disk->blocks);
}

static void
step_compact (void)
{
  struct status status;

  if (below (2))
    assert_ok (manage_reclaim_hidden (store, &status), &status);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  assert_ok (manage_count (store, NULL, NULL, &status), &status);
}

static void
step_history (void)
{
  const struct history_options options = {
    .interval = 60,
    .keep = { .rules = { { .every = 0, .span = 120 } }, .count = 1 },
    .warn = unit_ignore_warning,
  };
  struct status status;

  now += 60;
  if (history_run (store, &options, now, &status) == -1)
    assert_non_null (strstr (status.message, "'novel'"));
}

static void
step_repair (void)
{
  const struct repair_options options = { .corrections = 1 };
  struct check_counts counts;
  struct status status;

  assert_ok (repair_database (store, &options, &counts, &status), &status);
  assert_int_equal (counts.problems, 0);
  assert_int_equal (counts.unknown, 3);
}

static void
step_backup (void)
{
  char *copy = unit_path ("copy");
  struct status status;
  const int r = manage_backup (store, copy, NULL, NULL, NULL, &status);

  if (class == 2)
    assert_ok (r, &status);
  else
    assert_fails (r, &status, ENOTSUP, "'novel'");
  unlink (copy);
}

static void
step_export (void)
{
  struct model_disk *disk = random_disk ();
  struct status status;
  struct disk *open = manage_pin (
      store, target_of (disk, below (2) ? random_shot (disk, true) : NULL),
      &status);

  if (open)
    manage_unpin (store, open);
  assert_int_equal (open == NULL, disk->kept && class != 2);
}

static const struct {
  const char *name;
  void (*run) (void);
} steps[] = {
  { "write", step_write },
  { "write", step_write },
  { "write", step_write },
  { "trim", step_trim },
  { "snapshot", step_snapshot },
  { "snapshot", step_snapshot },
  { "delete a snapshot", step_delete_snapshot },
  { "delete a snapshot", step_delete_snapshot },
  { "roll back", step_rollback },
  { "clone", step_clone },
  { "clone", step_clone },
  { "delete", step_delete },
  { "flatten", step_flatten },
  { "recompress", step_recompress },
  { "set", step_set },
  { "rename, describe", step_name },
  { "resize", step_resize },
  { "receive", step_receive },
  { "compact", step_compact },
  { "compact", step_compact },
  { "history", step_history },
  { "repair", step_repair },
  { "back up", step_backup },
  { "export", step_export },
};

/*--------------------------------------------------------------------
 * All of it.
 */

/* The feature comes, and rows of a codec that nobody knows, which the disk
 * shows, and a property of it and of its snapshots.
 */
static void
keep_off (const char *name)
{
  static const char find_sql[] =
      "SELECT layer, number, generation, id FROM block WHERE codec <> 0"
      " AND layer = (SELECT layer FROM disk WHERE name = 'kept')"
      " ORDER BY id DESC LIMIT 3";
  sqlite3 *db = unit_open_raw (path);
  int64_t keys[3][4];
  sqlite3_stmt *rows;

  unit_sql (db,
            "INSERT INTO feature SELECT max (id) + 1, 'novel',"
            " (SELECT id FROM disk WHERE name = %Q), %d, 0 FROM feature; %s",
            name, class, unit_feature_checksums);
  unit_sql (db,
            "INSERT INTO property SELECT NULL, 1, id, 'user:a', 'b', 0"
            " FROM disk WHERE name = %Q; INSERT INTO property"
            " SELECT NULL, 2, snapshot.id, 'user:a', 'b', 0 FROM snapshot"
            " JOIN disk ON disk.id = snapshot.disk WHERE disk.name = %Q; %s",
            name, name, unit_property_checksums);
  /* The schedule would thin out some of its snapshots. */
  unit_sql (db,
            "UPDATE snapshot SET automatic = 1, created = 1000 WHERE id %% 2"
            " AND disk = (SELECT id FROM disk WHERE name = %Q); %s",
            name, unit_snapshot_checksums);
  assert_int_equal (sqlite3_prepare_v2 (db, find_sql, -1, &rows, NULL),
                    SQLITE_OK);
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal (sqlite3_step (rows), SQLITE_ROW);
    for (int j = 0; j < 4; j++)
      keys[i][j] = sqlite3_column_int64 (rows, j);
  }
  sqlite3_finalize (rows);
  for (size_t i = 0; i < 3; i++)
    unit_sql (db,
              "UPDATE block SET codec = 99, content = NULL, data = x'010203',"
              " checksum = %lld WHERE id = %lld",
              (long long)checksum_block (keys[i][0], keys[i][1], keys[i][2], 99,
                                         3, checksum_bytes ("\1\2\3", 3)),
              (long long)keys[i][3]);
  unit_sql (db, "DELETE FROM content WHERE id NOT IN"
                " (SELECT content FROM block WHERE codec = 4)");
  sqlite3_close (db);
}

/* origin, of which "kept" is a clone, with snapshots and a roll-back behind it,
 * of which "child" and "twin" are clones; twin is kept off as well.
 */
static void
make_disks (void)
{
  const struct disk_options options = {
    .name = "origin",
    .size = BLOCKS * BLOCK,
    .block_size = BLOCK,
    .storing.deduplicate = below (2) ? DISK_ON : DISK_OFF,
  };
  struct model_shot *shot;
  struct status status;

  memset (disks, 0, sizeof disks);
  strcpy (disks[0].name, "origin");
  unit_create (path, &options);
  store = unit_open_store (path);
  for (int i = 0; i < 20; i++)
    step_write ();
  for (int i = 0; i < 3; i++)
    step_snapshot ();
  shot = below (2) ? random_shot (&disks[0], true) : NULL;
  assert_ok (
      manage_clone (store, target_of (&disks[0], shot), "kept", NULL, &status),
      &status);
  memcpy (disks[1].blocks, shot ? shot->blocks : disks[0].blocks,
          sizeof disks[1].blocks);
  strcpy (disks[1].name, "kept");
  disks[0].name[0] = '\0'; /* what follows is done to kept */
  for (int i = 0; i < 12; i++) {
    step_write ();
    step_snapshot ();
  }
  step_rollback ();
  step_delete_snapshot ();
  for (int i = 0; i < 4; i++)
    step_write ();
  /* Everything that is to be found is there: not zeroes at the end. */
  counter++;
  step_write ();
  assert_ok (manage_clone (store, "kept", "child", NULL, &status), &status);
  assert_ok (manage_clone (store, "kept", "twin", NULL, &status), &status);
  strcpy (disks[0].name, "origin");
  strcpy (disks[2].name, "child");
  strcpy (disks[3].name, "twin");
  for (int i = 0; i < 6; i++) {
    struct disk *open = disk_open (store, "kept", false, &status);
    char bytes[BLOCK];

    assert_non_null (open);
    memset (bytes, 'a' + i, sizeof bytes);
    assert_ok (disk_write (open, bytes, i * BLOCK, BLOCK, true, &status),
               &status);
    disk_close (open);
  }
  memcpy (disks[2].blocks, disks[1].blocks, sizeof disks[2].blocks);
  store_close (store);
}

static void
run_steps (unsigned long count)
{
  store = unit_open_store (path);
  dump (dumped);
  for (unsigned long i = 0; i < count; i++) {
    const size_t step = below (sizeof steps / sizeof steps[0]);

    if (getenv ("SQLBLOCK_TRACE"))
      print_message ("%lu: %s\n", i, steps[step].name);
    steps[step].run ();
    assert_stayed (steps[step].name);
    if (i % COMPARE_EVERY == 0)
      compare_all ();
  }
  step_compact ();
  assert_stayed ("the last compact");
  step_repair ();
  assert_stayed ("the last repair");
  compare_all ();
  store_close (store);
}

/* Random commands beside a disk with a feature of each class. */
static void
test_random_steps (void **state)
{
  const char *many = getenv ("SQLBLOCK_STEPS");
  const unsigned long count = many ? strtoul (many, NULL, 10) : STEPS_DEFAULT;
  const int64_t few_rows = reclaim_few_rows;

  (void)state;
  seed = unit_seed ();
  if (below (2))
    reclaim_few_rows = below (BLOCKS);
  for (class = 2; class <= 3; class ++) {
    path = unit_path (class == 2 ? "read-only" : "refused");
    now = 1000000;
    refusals = 0;
    make_disks ();
    keep_off ("kept");
    keep_off ("twin");
    disks[1].kept = disks[3].kept = true;
    run_steps (count);
    print_message ("class %d: %lu steps, %lu refused\n", class, count,
                   refusals);
    assert_true (refusals > count / 50);
  }
  reclaim_few_rows = few_rows;
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_random_steps),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
