/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Bytes that are changed one at a time, anywhere in a database: each change
 * does no harm, or a check finds it; what is then read is right or an error;
 * and a salvage saves everything else.
 *
 * SOAK=yes in the environment makes it 10,000 bytes, or FLIPS=NUMBER.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#include "check.h"
#include "block/checksum.h"
#include "block/codec.h"
#include "rows/database.h"
#include "manage.h"
#include "store.h"

#define SHORT 300
#define LONG  10000

/* A change may take at most this many seconds. */
#define LONGEST 240

/* To look for the byte that was changed takes most of the time. */
#define CORRECT_EACH 16
#define MEND_EACH    4

/* A page has at most this many blocks. */
#define LOST_MOST 40

/* What the database shows: disks and snapshots, block by block. */
static const struct {
  const char *name;
  uint64_t size;
  uint32_t block_size;
} exports[] = {
  { "web", 300000, 4096 },   { "web@a", 300000, 4096 },
  { "web@b", 300000, 4096 }, { "clone", 300000, 4096 },
  { "text", 1000000, 4096 }, { "text@x", 1000000, 4096 },
  { "fast", 500000, 4096 },  { "large", 163840, 16384 },
  { "shared", 16384, 4096 },
};
#define EXPORTS (sizeof exports / sizeof exports[0])

struct image {
  char *bytes;
  bool *failed; /* by block */
  bool missing;
};

static struct image original[EXPORTS], found[EXPORTS];
static char *path, *saved;
static char *file;
static size_t file_size;

/* What was counted. */
static struct {
  uint64_t harmless, found, served_errors;
  uint64_t corrected, lost, missing, mended;
} counts;

/*--------------------------------------------------------------------
 * Making the database.
 */

static void
warn (const char *message)
{
  (void)message;
}

static struct store_options options = {
  .command = true,
  .limits = { .start = 1 << 20, .bound = 1 << 22, .idle = 60000 },
  .warn = warn,
};

static struct store *
open_store (const char *name)
{
  struct status status;
  struct store *store = store_open (name, &options, &status);

  if (store == NULL)
    fail_msg ("%s", status.message);
  return store;
}

static void
create (struct store *store, const char *name, uint64_t size,
        uint32_t block_size, enum codec codec)
{
  const struct disk_options disk = {
    .name = name,
    .size = size,
    .block_size = block_size,
    .compression = { codec, codec == CODEC_ZSTD ? 3 : 0 },
  };
  struct status status;

  assert_ok (manage_create (store, &disk, &status), &status);
}

/* Write to a part of a disk; TEXT: what can be compressed. */
static void
write_part (struct store *store, const char *name, uint64_t offset,
            size_t count, bool text, uint64_t *seed)
{
  char *bytes = malloc (count);
  struct status status;
  struct disk *disk = disk_open (store, name, false, &status);

  if (disk == NULL)
    fail_msg ("%s", status.message);
  assert_non_null (bytes);
  random_fill (seed, bytes, count);
  for (size_t i = 0; text && i < count; i++)
    bytes[i] = "etaoin shrdlu..."[(unsigned char)bytes[i] % 16];
  assert_ok (disk_write (disk, bytes, offset, count, true, &status), &status);
  disk_close (disk);
  free (bytes);
}

static void
zero_part (struct store *store, const char *name, uint64_t offset, size_t count)
{
  struct status status;
  struct disk *disk = disk_open (store, name, false, &status);

  if (disk == NULL)
    fail_msg ("%s", status.message);
  assert_ok (disk_zero (disk, offset, count, true, &status), &status);
  disk_close (disk);
}

static void
snapshot (struct store *store, const char *disk, const char *name)
{
  struct status status;

  assert_ok (manage_snapshot (store, &disk, 1, name, &status), &status);
}

/* Blocks that share a content, until disks do that by themselves. */
static void
add_contents (void)
{
  static char block[4096];
  uint64_t seed = 77;
  sqlite3 *db = unit_open_raw (path);
  sqlite3_stmt *put;
  int64_t layer, id, hash;

  layer = unit_integer (db, "SELECT layer FROM disk WHERE name = 'shared'");
  for (id = 1; id <= 3; id++) {
    random_fill (&seed, block, sizeof block);
    hash = checksum_bytes (block, sizeof block);
    assert_int_equal (
        sqlite3_prepare_v2 (db,
                            "INSERT INTO content VALUES (?1, ?2, 4096, 1,"
                            " ?3, ?4)",
                            -1, &put, NULL),
        SQLITE_OK);
    sqlite3_bind_int64 (put, 1, id);
    sqlite3_bind_int64 (put, 2, hash);
    sqlite3_bind_int64 (
        put, 3, checksum_content (id, hash, sizeof block, CODEC_RAW, hash));
    sqlite3_bind_blob (put, 4, block, sizeof block, SQLITE_STATIC);
    assert_int_equal (sqlite3_step (put), SQLITE_DONE);
    sqlite3_finalize (put);
    unit_sql (db,
              "INSERT INTO block (id, layer, number, generation, codec,"
              " checksum, content) SELECT 1 + max (id), %lld, %lld, 1, 4, %lld,"
              " %lld FROM block",
              (long long)layer, (long long)id,
              (long long)checksum_reference (layer, id, 1, id), (long long)id);
  }
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
}

/* A bit of everything, free pages included. */
static void
make_database (void)
{
  static const char *const deleted[] = { "web@gone" };
  uint64_t seed = 1;
  struct status status;
  struct store *store;

  assert_ok (database_create_empty (path, 4096, &status), &status);
  store = open_store (path);
  create (store, "web", 300000, 4096, CODEC_RAW);
  create (store, "gone", 300000, 4096, CODEC_RAW);
  create (store, "text", 1000000, 4096, CODEC_ZSTD);
  create (store, "fast", 500000, 4096, CODEC_LZ4);
  create (store, "large", 163840, 16384, CODEC_RAW);
  create (store, "shared", 16384, 4096, CODEC_RAW);
  write_part (store, "gone", 0, 100000, false, &seed);
  write_part (store, "web", 0, 250000, false, &seed);
  write_part (store, "text", 0, 700000, true, &seed);
  snapshot (store, "web", "a");
  snapshot (store, "text", "x");
  write_part (store, "web", 50000, 50000, false, &seed);
  zero_part (store, "web", 150000, 50000);
  write_part (store, "fast", 4096, 400000, true, &seed);
  write_part (store, "large", 0, 100000, false, &seed);
  assert_ok (manage_delete (store, "gone", false, false, &status), &status);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  snapshot (store, "web", "gone");
  write_part (store, "web", 25000, 10000, false, &seed);
  snapshot (store, "web", "b");
  write_part (store, "web", 60000, 10000, false, &seed);
  zero_part (store, "text", 300000, 200000);
  assert_ok (manage_clone (store, "web@a", "clone", NULL, &status), &status);
  write_part (store, "clone", 0, 30000, false, &seed);
  zero_part (store, "clone", 100000, 30000);
  /* What a salvage must not bring back stays in free pages. */
  zero_part (store, "fast", 100000, 250000);
  /* This one waits to be reclaimed. */
  assert_ok (manage_delete_snapshots (store, deleted, 1, &status), &status);
  store_close (store);
  add_contents ();
}

/*--------------------------------------------------------------------
 * Reading all of it.
 */

static uint64_t
blocks_of (size_t i)
{
  return (exports[i].size - 1) / exports[i].block_size + 1;
}

static void
read_export (struct store *store, size_t i, struct image *image)
{
  const uint32_t block_size = exports[i].block_size;
  struct status status;
  struct disk *disk = disk_open (store, exports[i].name, true, &status);
  uint64_t offset, count;

  image->missing = disk == NULL ||
                   disk_get_info (disk)->size != exports[i].size ||
                   disk_get_info (disk)->block_size != block_size;
  for (uint64_t block = 0; !image->missing && block < blocks_of (i); block++) {
    offset = block * block_size;
    count = exports[i].size - offset < block_size ? exports[i].size - offset
                                                  : block_size;
    image->failed[block] =
        disk_read (disk, image->bytes + offset, offset, count, &status) == -1;
  }
  if (disk)
    disk_close (disk);
}

static void
make_images (struct image *images)
{
  for (size_t i = 0; i < EXPORTS; i++) {
    images[i].bytes = malloc (exports[i].size);
    images[i].failed = calloc (blocks_of (i), sizeof (bool));
    assert_non_null (images[i].bytes);
    assert_non_null (images[i].failed);
  }
}

static void
free_images (struct image *images)
{
  for (size_t i = 0; i < EXPORTS; i++) {
    free (images[i].bytes);
    free (images[i].failed);
  }
}

/* How what was read differs from the original. */
struct difference {
  uint64_t wrong, errors, missing;
};

static struct difference
compare (void)
{
  struct difference d = { 0 };

  for (size_t i = 0; i < EXPORTS; i++) {
    const uint32_t block_size = exports[i].block_size;

    d.missing += found[i].missing && !original[i].missing;
    for (uint64_t b = 0; !found[i].missing && b < blocks_of (i); b++) {
      const uint64_t offset = b * block_size;
      const uint64_t count = exports[i].size - offset < block_size
                                 ? exports[i].size - offset
                                 : block_size;

      if (original[i].failed[b])
        continue;
      if (found[i].failed[b])
        d.errors++;
      else if (memcmp (found[i].bytes + offset, original[i].bytes + offset,
                       count) != 0)
        d.wrong++;
    }
  }
  return d;
}

static struct difference
read_all (struct store *store)
{
  for (size_t i = 0; i < EXPORTS; i++)
    read_export (store, i, &found[i]);
  return compare ();
}

/*--------------------------------------------------------------------
 * One change.
 */

static void
remove_database (const char *name)
{
  static const char *const suffixes[] = { "", "-wal", "-shm", "-lock" };
  char *side;

  for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
    assert_true (asprintf (&side, "%s%s", name, suffixes[i]) > 0);
    unlink (side);
    free (side);
  }
}

/* Open a database that may be damaged. */
static struct store *
try_open (const char *name)
{
  struct status status;

  return database_examine (name, &status) == 1
             ? store_open (name, &options, &status)
             : NULL;
}

static void
note_first (const struct check_problem *problem, void *opaque)
{
  char *first = opaque;

  if (first[0] == '\0')
    snprintf (first, 300, "%s: %.250s", check_kind_name (problem->kind),
              problem->message);
}

static uint64_t
check_store (struct store *store, char first[300])
{
  const struct check_options how = { .found = note_first, .opaque = first };
  struct check_counts result;
  struct status status;

  first[0] = '\0';
  assert_ok (check_database (store, &how, &result, &status), &status);
  return result.problems;
}

/* Save what can be saved, and compare. */
static void
salvage (size_t place, bool correct)
{
  const struct salvage_options how = { .corrections = correct ? 10 : 0 };
  struct salvage_counts result;
  struct difference d;
  struct status status;
  struct store *store;

  assert_ok (salvage_database (path, saved, &how, &result, &status), &status);
  store = open_store (saved);
  d = read_all (store);
  store_close (store);
  remove_database (saved);
  if (d.wrong > 0 || result.lost > LOST_MOST || d.missing > 3)
    fail_msg ("byte %zu: the salvage has %" PRIu64 " wrong blocks, %" PRIu64
              " errors, %" PRIu64 " lost, %" PRIu64 " exports missing",
              place, d.wrong, d.errors, result.lost, d.missing);
  if (result.lost > 0 && getenv ("FLIPS_VERBOSE"))
    print_message ("lost %" PRIu64 "\n", result.lost);
  counts.corrected += result.corrected;
  counts.lost += result.lost;
  counts.missing += d.missing;
}

/* Mend what can be mended, and compare. */
static void
mend (size_t place)
{
  const struct repair_options how = { .corrections = 10 };
  struct check_counts result;
  struct difference d;
  struct status status;
  struct store *store;

  options.tolerant = true;
  store = try_open (path);
  options.tolerant = false;
  if (store == NULL)
    return;
  assert_ok (repair_database (store, &how, &result, &status), &status);
  store_close (store);
  store = try_open (path);
  if (store == NULL)
    return;
  d = read_all (store);
  store_close (store);
  if (d.wrong > 0)
    fail_msg ("byte %zu: the repair has made %" PRIu64 " blocks wrong", place,
              d.wrong);
  counts.mended += d.errors + d.missing == 0;
}

/* Change the byte at PLACE by CHANGE. */
static void
flip (uint64_t number, size_t place, unsigned char change)
{
  struct difference d = { 0 };
  struct store *store;
  char first[300] = "cannot be opened";
  uint64_t problems = 1;

  alarm (LONGEST);
  file[place] ^= change;
  unit_write_file (path, file, file_size);
  options.tolerant = true;
  store = try_open (path);
  if (store) {
    problems = check_store (store, first);
    store_close (store);
  }
  options.tolerant = false;
  /* What the check did may have changed the file. */
  unit_write_file (path, file, file_size);
  store = try_open (path);
  if (store) {
    d = read_all (store);
    store_close (store);
  }
  if (d.wrong > 0)
    fail_msg ("byte %zu, changed by %d: %" PRIu64 " blocks are wrong", place,
              change, d.wrong);
  if (problems == 0 && d.wrong + d.errors + d.missing > 0)
    fail_msg ("byte %zu, changed by %d: the check finds nothing, but %" PRIu64
              " blocks are wrong, %" PRIu64 " fail, %" PRIu64 " missing",
              place, change, d.wrong, d.errors, d.missing);
  counts.harmless += problems == 0;
  counts.found += problems > 0;
  counts.served_errors += d.errors > 0;
  if (getenv ("FLIPS_VERBOSE"))
    print_message ("byte %zu, page %zu.%zu, by %d: %" PRIu64 " errors; %s\n",
                   place, place / 4096 + 1, place % 4096, change, d.errors,
                   problems ? first : "harmless");
  /* What the check did may have changed the file. */
  unit_write_file (path, file, file_size);
  if (problems > 0)
    salvage (place, number % CORRECT_EACH == 0);
  if (problems > 0 && number % MEND_EACH == 0)
    mend (place);
  remove_database (path);
  file[place] ^= change;
}

/* In memory, if there is some: each salvage is synced. */
static char in_memory[] = "/dev/shm/sqlblock-flips-XXXXXX";

static void
use_directory (void)
{
  if (mkdtemp (in_memory) == NULL) {
    in_memory[0] = '\0';
    path = unit_database ();
    saved = unit_path ("saved.sqlite");
    return;
  }
  assert_true (asprintf (&path, "%s/database.sqlite", in_memory) > 0);
  assert_true (asprintf (&saved, "%s/saved.sqlite", in_memory) > 0);
}

static void
test_flips (void **state)
{
  const char *given = getenv ("FLIPS"), *soak = getenv ("SOAK");
  const uint64_t total = given ? strtoull (given, NULL, 10)
                         : soak && strcmp (soak, "yes") == 0 ? LONG
                                                             : SHORT;
  uint64_t seed = unit_seed ();
  struct store *store;
  char first[300];

  (void)state;
  use_directory ();
  make_database ();
  make_images (original);
  make_images (found);
  store = open_store (path);
  for (size_t i = 0; i < EXPORTS; i++)
    read_export (store, i, &original[i]);
  if (check_store (store, first) != 0)
    fail_msg ("the database is not well to begin with: %s", first);
  store_close (store);
  file = unit_read_file (path, &file_size);
  assert_non_null (file);
  salvage (0, false);
  for (uint64_t i = 0; i < total; i++)
    flip (i, random_below (&seed, file_size), 1 + random_below (&seed, 255));
  print_message ("%" PRIu64 " bytes changed, one at a time, in %zu bytes: "
                 "%" PRIu64 " found, %" PRIu64 " harmless, 0 missed; "
                 "reading failed after %" PRIu64 " and was never wrong"
                 "; a repair of each fourth mended %" PRIu64
                 "; salvage set %" PRIu64 " rows right, lost %" PRIu64
                 " blocks and %" PRIu64 " disks or snapshots\n",
                 total, file_size, counts.found, counts.harmless,
                 counts.served_errors, counts.mended, counts.corrected,
                 counts.lost, counts.missing);
  free (file);
  free_images (original);
  free_images (found);
  if (in_memory[0])
    unit_remove_directory (in_memory);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_flips),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
