/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The databases that the fuzzer begins with: see fuzz.h.
 *
 *   disk "plain"   layer 1, three generations; snapshots of the first two
 *   disk "clone"   layer 3 over layer 2 as of generation 2 (it has 3)
 *   disk "small"   blocks of 512 bytes, a size that is no multiple of them
 *   disk "large"   2^63 - 1 bytes, blocks at both ends
 *
 * Each seed has the same rows; it has pages of 4096 or of 512 bytes (more
 * and deeper B-trees, more overflow pages), with or without a log.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "unit.h"

#include "block/checksum.h"
#include "rows/database.h"

const struct fuzz_disk fuzz_disks[FUZZ_DISKS] = {
  { "plain", 1, 20 * 4096 + 512, 4096, { { 1, 3 } } },
  { "clone", 2, 15 * 4096, 4096, { { 3, 2 }, { 2, 2 } } },
  { "small", 3, 60 * 512 + 100, 512, { { 4, 1 } } },
  { "large", 4, INT64_MAX, 8192, { { 5, 1 } } },
  { "plain@first", 1, 20 * 4096 + 512, 4096, { { 1, 1 } } },
  { "plain@second", 1, 20 * 4096 + 512, 4096, { { 1, 2 } } },
};

bool
fuzz_is_snapshot (const struct fuzz_disk *disk)
{
  return strchr (disk->name, '@') != NULL;
}

struct seed {
  char *database, *log; /* the bytes of the files */
  size_t database_size, log_size;
};

#define SEEDS 4
static struct seed seeds[SEEDS];

static char path[500], log_path[520], memory_path[520], lock_path[520];

void
fuzz_pattern (int64_t layer, uint64_t number, int64_t generation,
              uint32_t place, void *sector)
{
  uint64_t state = (uint64_t)layer << 48 ^ (uint64_t)generation << 40 ^
                   (uint64_t)place << 30 ^
                   number * UINT64_C (0x9e3779b97f4a7c15);

  random_fill (&state, sector, FUZZ_SECTOR);
}

/* pattern (layer, number, generation, length) */
static void
sql_pattern (sqlite3_context *context, int argc, sqlite3_value **argv)
{
  static char block[8192];
  const int length = sqlite3_value_int (argv[3]);

  (void)argc;
  for (int i = 0; i < length / FUZZ_SECTOR; i++)
    fuzz_pattern (sqlite3_value_int64 (argv[0]), sqlite3_value_int64 (argv[1]),
                  sqlite3_value_int64 (argv[2]), i, block + i * FUZZ_SECTOR);
  sqlite3_result_blob (context, block, length, SQLITE_TRANSIENT);
}

/* block_checksum (layer, number, generation, codec, data) */
static void
sql_block_checksum (sqlite3_context *context, int argc, sqlite3_value **argv)
{
  const void *data = sqlite3_value_blob (argv[4]);
  const int length = sqlite3_value_bytes (argv[4]);

  (void)argc;
  sqlite3_result_int64 (
      context, checksum_block (
                   sqlite3_value_int64 (argv[0]), sqlite3_value_int64 (argv[1]),
                   sqlite3_value_int64 (argv[2]), sqlite3_value_int64 (argv[3]),
                   length, checksum_bytes (data, length)));
}

sqlite3 *
fuzz_open_raw (void)
{
  sqlite3 *db = unit_open_raw (path);

  sqlite3_db_config (db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  sqlite3_create_function (db, "pattern", 4, SQLITE_UTF8, NULL, sql_pattern,
                           NULL, NULL);
  sqlite3_create_function (db, "block_checksum", 5, SQLITE_UTF8, NULL,
                           sql_block_checksum, NULL, NULL);
  return db;
}

/* The rows that are made first and those that come after them. */
static const char first_sql[] =
    "INSERT INTO feature VALUES (1, 'color', 0, 1, 0);"
    "INSERT OR REPLACE INTO property VALUES (1, 0, 0, 'id', x'0123', 0),"
    " (2, 1, 1, 'user:owner', 'ann', 0), (3, 2, 1, 'hold:backup', 4, 0),"
    " (4, 3, 1, 'color', 'red', 0), (5, 9, 1, 'other', x'00', 0);"
    "INSERT OR REPLACE INTO layer VALUES (1, NULL, NULL, 3, 0),"
    " (2, NULL, NULL, 3, 0), (3, 2, 2, 2, 0), (4, NULL, NULL, 1, 0),"
    " (5, NULL, NULL, 1, 0);"
    "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n"
    "  WHERE n < 59),"
    " kind (layer, generation, blocks, size) AS (VALUES (1, 1, 21, 4096),"
    "  (1, 2, 21, 4096), (2, 1, 15, 4096), (2, 2, 15, 4096),"
    "  (4, 1, 60, 512))"
    " INSERT INTO block (layer, number, generation, codec, checksum, data)"
    " SELECT layer, n, generation, 1, 0, pattern (layer, n, generation, size)"
    " FROM kind, n WHERE n < blocks AND (n * 7 + generation) % 4 <> 0;"
    /* Pages that are free afterwards. */
    "INSERT INTO block SELECT id + 100000, layer + 100, number, generation,"
    " codec, checksum, content, data FROM block WHERE layer = 1 LIMIT 20;"
    "DELETE FROM block WHERE layer > 100;";

static const char then_sql[] =
    "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n"
    "  WHERE n < 59),"
    " kind (layer, generation, blocks) AS (VALUES (1, 3, 21), (2, 3, 15),"
    "  (3, 1, 15), (3, 2, 15))"
    " INSERT INTO block (layer, number, generation, codec, checksum, data)"
    " SELECT layer, n, generation, n % 3 > 0, 0,"
    "  iif (n % 3, pattern (layer, n, generation, 4096), NULL)"
    " FROM kind, n WHERE n < blocks AND (n + generation) % 5 < 2;"
    "INSERT INTO block (layer, number, generation, codec, checksum, data)"
    " SELECT 5, column1, 1, 1, 0, pattern (5, column1, 1, 8192) FROM"
    " (VALUES (0), (1), (7), (562949953421312), (1125899906842622),"
    "  (1125899906842623));"
    "UPDATE block SET checksum ="
    " block_checksum (layer, number, generation, codec, data);"
    "INSERT INTO snapshot VALUES (1, 1, 'first', 7, 1, 1, 82432, 0, 0, 30, 0),"
    " (2, 1, 'second', 8, 1, 2, 82432, 0, 0, 60, 0);"
    "INSERT INTO reclaim VALUES (1, 0, 0), (2, 3, 1), (3, 0, 0);"
    "ANALYZE;";

/* Make the disks. */
static void
insert_disks (sqlite3 *db)
{
  for (const struct fuzz_disk *disk = fuzz_disks;
       disk < fuzz_disks + FUZZ_DISKS; disk++)
    if (!fuzz_is_snapshot (disk))
      unit_sql (
          db,
          "INSERT INTO disk (id, name, description, size, block_size, layer,"
          " epoch, compression, compression_level, deduplicate, created,"
          " checksum)"
          " VALUES (%lld, %Q, 'a disk', %lld, %u, %lld, 1, 1, 0, 0, 0, 0)",
          (long long)disk->id, disk->name, (long long)disk->size,
          disk->block_size, (long long)disk->layers[0].layer);
  unit_sql (db, "%s; %s; %s; %s", unit_layer_checksums, unit_disk_checksums,
            unit_feature_checksums, unit_property_checksums);
}

static void
make_seed (struct seed *seed, int page_size, bool with_log)
{
  struct status status;
  sqlite3 *db;

  assert_ok (database_make (path, page_size, NULL, NULL, &status), &status);
  db = fuzz_open_raw ();
  unit_sql (db, "BEGIN; %s", first_sql);
  insert_disks (db);
  unit_sql (db, "COMMIT; PRAGMA wal_checkpoint (TRUNCATE); BEGIN");
  unit_sql (db, "%s; %s", then_sql, unit_snapshot_checksums);
  unit_sql (db, "COMMIT; %s",
            with_log ? "" : "PRAGMA wal_checkpoint (TRUNCATE)");
  sqlite3_close (db);
  seed->database = unit_read_file (path, &seed->database_size);
  if (with_log)
    seed->log = unit_read_file (log_path, &seed->log_size);
  fuzz_remove_files ();
}

void
fuzz_make_seeds (const char *directory)
{
  snprintf (path, sizeof path, "%s/fuzz.sqlite", directory);
  snprintf (log_path, sizeof log_path, "%s-wal", path);
  snprintf (memory_path, sizeof memory_path, "%s-shm", path);
  snprintf (lock_path, sizeof lock_path, "%s-lock", path);
  for (unsigned i = 0; i < SEEDS; i++)
    make_seed (&seeds[i], i & 1 ? 512 : 4096, i & 2);
}

const char *
fuzz_path (void)
{
  return path;
}

void
fuzz_remove_files (void)
{
  unlink (path);
  unlink (log_path);
  unlink (memory_path);
  unlink (lock_path);
}

void
fuzz_put_seed (unsigned i)
{
  const struct seed *seed = &seeds[i % SEEDS];

  fuzz_remove_files ();
  unit_write_file (path, seed->database, seed->database_size);
  if (seed->log)
    unit_write_file (log_path, seed->log, seed->log_size);
}
