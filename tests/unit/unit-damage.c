/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Damaged and hostile rows: each is found, named, and harms no other.
 *
 * Damage leaves the checksum wrong.  Hostile rows have the right checksum,
 * and values that no program of ours writes.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "rows.h"

#include "block/checksum.h"
#include "block/codec.h"
#include "rows/database.h"

#define BLOCK 4096

/*--------------------------------------------------------------------
 * Blocks.
 */

/* Block 5 is damaged; those beside it are well. */
static const struct block_key no_key;

static void
expect_damaged_block (struct rows *rows, const char *text)
{
  static char block[BLOCK];

  assert_fails (rows_read (rows, 5, block), &rows->status, EIO,
                "block 5 (byte 20480)");
  assert_fails (-1, &rows->status, EIO, text);
  rows_expect (rows, 4, 1, 1);
  rows_expect (rows, 6, 1, 1);
}

static void
make_three_blocks (struct rows *rows)
{
  rows_open (rows, 10 * BLOCK, BLOCK);
  for (int number = 4; number <= 6; number++)
    rows_data (rows, 1, number, 1);
}

/* Each change of a row's data or key, the checksum left as it was. */
static void
test_changed_block (void **state)
{
  static const char *const changes[] = {
    "data = cast (x'00' || substr (data, 2) AS BLOB)",
    "data = cast (substr (data, 1, 4095) || x'00' AS BLOB)",
    "data = zeroblob (4096)",
    "data = zeroblob (0)",
    "data = NULL",
    "data = substr (data, 1, 4095)",
    "data = cast (data || x'00' AS BLOB)",
    "codec = 0",
    "codec = 0, data = NULL",
    "codec = 2",
    "codec = -1",
    "codec = codec + (1 << 32)",
    "checksum = checksum + 1",
    "checksum = ~checksum",
    "checksum = 0",
  };
  struct rows rows;

  (void)state;
  make_three_blocks (&rows);
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
    print_message ("%s\n", changes[i]);
    unit_sql (rows.db, "UPDATE block SET %s WHERE number = 5", changes[i]);
    expect_damaged_block (&rows, "restore the block from a backup");
    rows_data (&rows, 1, 5, 1);
    rows_expect (&rows, 5, 1, 1);
  }
  rows_close (&rows);
}

/* Set one byte of the data of block 5. */
static void
set_byte (struct rows *rows, int place, unsigned char byte)
{
  const int64_t id =
      unit_integer (rows->db, "SELECT id FROM block WHERE number = 5");
  sqlite3_blob *blob;

  assert_int_equal (
      sqlite3_blob_open (rows->db, "main", "block", "data", id, 1, &blob),
      SQLITE_OK);
  assert_int_equal (sqlite3_blob_write (blob, &byte, 1, place), SQLITE_OK);
  assert_int_equal (sqlite3_blob_close (blob), SQLITE_OK);
}

/* Every single bit of a row's data counts. */
static void
test_flipped_bits (void **state)
{
  uint64_t seed = unit_seed ();
  struct rows rows;

  (void)state;
  make_three_blocks (&rows);
  for (int i = 0; i < 200; i++) {
    const int place = random_below (&seed, BLOCK);
    const unsigned char byte = rows_pattern (&rows, 1, 5, 1)[place];

    set_byte (&rows, place, byte ^ 1 << random_below (&seed, 8));
    expect_damaged_block (&rows, "checksum");
    set_byte (&rows, place, byte);
    rows_expect (&rows, 5, 1, 1);
  }
  rows_close (&rows);
}

/* A row that stands in another place than it was written for. */
static void
test_moved_block (void **state)
{
  struct rows rows;

  (void)state;
  make_three_blocks (&rows);
  rows_layer (&rows, 1, 0, 0, 2);
  rows_layer (&rows, 2, 1, 1, 1);
  rows_show (&rows, 2, 0);

  unit_sql (rows.db, "DELETE FROM block WHERE number = 5");
  rows_data (&rows, 1, 8, 1);
  unit_sql (rows.db, "UPDATE block SET number = 5 WHERE number = 8");
  expect_damaged_block (&rows, "checksum");

  unit_sql (rows.db, "DELETE FROM block WHERE number = 5");
  rows_data (&rows, 1, 5, 2);
  unit_sql (rows.db, "UPDATE block SET generation = 1 WHERE number = 5");
  expect_damaged_block (&rows, "checksum");

  rows_data (&rows, 1, 5, 1);
  unit_sql (rows.db, "UPDATE block SET layer = 2 WHERE number = 5");
  expect_damaged_block (&rows, "checksum");
  rows_close (&rows);
}

/* Rows that could not be told from good ones by the checksum. */
static void
test_hostile_block (void **state)
{
  const char *data;
  struct rows rows;

  (void)state;
  make_three_blocks (&rows);
  data = rows_pattern (&rows, 1, 5, 1);
  rows_put (&rows, 1, 5, 1, CODEC_RAW, data, BLOCK - 1);
  expect_damaged_block (&rows, "4095 bytes of data for a block of 4096");
  rows_put (&rows, 1, 5, 1, CODEC_RAW, data, BLOCK + 1);
  expect_damaged_block (&rows, "4097 bytes of data for a block of 4096");
  rows_put (&rows, 1, 5, 1, CODEC_RAW, "", 0);
  expect_damaged_block (&rows, "0 bytes of data for a block of 4096");
  rows_put (&rows, 1, 5, 1, CODEC_RAW, NULL, 0);
  expect_damaged_block (&rows, "0 bytes of data for a block of 4096");
  rows_put (&rows, 1, 5, 1, CODEC_ZERO, data, 1);
  expect_damaged_block (&rows, "1 byte of data for a block of 4096");
  rows_put (&rows, 1, 5, 1, 99, data, BLOCK);
  expect_damaged_block (&rows, "stored with the codec 99");
  rows_put (&rows, 1, 5, 1, -1, data, BLOCK);
  expect_damaged_block (&rows, "stored with the codec -1");
  rows_close (&rows);
}

/* Compressed data of a block of SIZE bytes where one of BLOCK is expected. */
static void
check_other_size (struct rows *rows, const struct compression *compression,
                  uint32_t size)
{
  static char block[1024 * 1024], room[1024 * 1024];
  struct codec_workspace workspace = { 0 };
  struct encoded encoded;

  memset (block, 'x', size);
  codec_encode (&workspace, compression, &no_key, block, size, room, &encoded);
  assert_int_equal (encoded.codec, compression->codec);
  if (encoded.length < BLOCK) {
    rows_put (rows, 1, 5, 1, encoded.codec, encoded.data, encoded.length);
    expect_damaged_block (rows, "not a whole block");
  }
  codec_workspace_free (&workspace);
}

/* Compressed data that is cut off, and some that is none, under a right
 * checksum.
 */
static void
check_hostile_compressed (struct rows *rows, const char *name)
{
  static const uint32_t sizes[] = { BLOCK - 1, BLOCK + 1, 512, 1024 * 1024 };
  char block[BLOCK], room[BLOCK];
  struct codec_workspace workspace = { 0 };
  struct compression compression;
  struct encoded encoded;
  struct status status;

  if (compression_parse (name, &compression, &status) == -1) {
    assert_int_equal (status.error, ENOTSUP);
    return;
  }
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
    check_other_size (rows, &compression, sizes[i]);
  memset (block, 'x', BLOCK);
  codec_encode (&workspace, &compression, &no_key, block, BLOCK, room,
                &encoded);
  for (size_t length = 1; length < encoded.length; length++) {
    rows_put (rows, 1, 5, 1, encoded.codec, room, length);
    expect_damaged_block (rows, "not a whole block");
  }
  rows_put (rows, 1, 5, 1, encoded.codec, block, 100);
  expect_damaged_block (rows, "not a whole block");
  rows_put (rows, 1, 5, 1, encoded.codec, NULL, 0);
  expect_damaged_block (rows, "0 bytes of data for a block");
  rows_put (rows, 1, 5, 1, encoded.codec, block, BLOCK);
  expect_damaged_block (rows, "4096 bytes of data for a block");
  codec_workspace_free (&workspace);
}

static void
test_hostile_compressed (void **state)
{
  enum codec codec = CODEC_ZERO;
  struct rows rows;

  (void)state;
  make_three_blocks (&rows);
  while (codec_next (&codec))
    if (codec_feature (codec))
      check_hostile_compressed (&rows, codec_feature (codec));
  rows_close (&rows);
}

/* A bad row that does not show harms nobody: an older one, and one that a
 * child hides.
 */
static void
test_hidden_damage (void **state)
{
  struct rows rows;

  (void)state;
  make_three_blocks (&rows);
  rows_layer (&rows, 1, 0, 0, 2);
  rows_layer (&rows, 2, 1, 2, 1);
  unit_sql (rows.db, "UPDATE block SET checksum = 0");
  rows_data (&rows, 1, 5, 2);
  rows_zero (&rows, 2, 4, 1);
  rows_data (&rows, 2, 6, 1);
  rows_show (&rows, 2, 0);
  rows_expect (&rows, 4, 0, 0);
  rows_expect (&rows, 5, 1, 2);
  rows_expect (&rows, 6, 2, 1);
  rows_close (&rows);
}

/*--------------------------------------------------------------------
 * Layers.
 */

/* Layers 1 <- 2 <- 3, the disk on the last. */
static void
make_three_layers (struct rows *rows)
{
  rows_layer (rows, 1, 0, 0, 3);
  rows_layer (rows, 2, 1, 2, 3);
  rows_layer (rows, 3, 2, 2, 3);
  rows_show (rows, 3, 0);
  assert_int_equal (rows->view.depth, 3);
}

/* Change layer 2 and expect that the disk cannot be seen. */
static void
check_layer (struct rows *rows, const char *change, const char *checksums)
{
  print_message ("%s\n", change);
  unit_sql_hostile (rows->path, "UPDATE layer SET %s; %s", change, checksums);
  assert_fails (rows_view (rows), &rows->status, EIO, "damaged");
  assert_non_null (strstr (rows->status.message, "layer"));
  make_three_layers (rows);
}

static void
test_changed_layer (void **state)
{
  static const char *const changes[] = {
    "parent = NULL WHERE id = 2",
    "parent_generation = 1 WHERE id = 2",
    "parent_generation = NULL WHERE id = 2",
    "generation = 4 WHERE id = 2",
    "checksum = checksum + 1 WHERE id = 2",
    "checksum = 0 WHERE id = 1",
    "checksum = NULL WHERE id = 2",
    "id = 4 WHERE id = 2",
    "generation = 4 WHERE id = 3",
  };
  struct rows rows;

  (void)state;
  rows_open (&rows, 10 * BLOCK, BLOCK);
  make_three_layers (&rows);
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
    check_layer (&rows, changes[i], "");
  rows_close (&rows);
}

/* Chains that make no sense, or never end, with right checksums. */
static void
test_hostile_layer (void **state)
{
  static const char *const changes[] = {
    "parent = 2 WHERE id = 2",
    "parent = 3 WHERE id = 2",
    "parent = 3, parent_generation = 1 WHERE id = 1",
    "parent = 1, parent_generation = 1 WHERE id = 1",
    "parent = -1 WHERE id = 2",
    "parent = -9223372036854775807 - 1 WHERE id = 2",
    "parent = 9223372036854775807 WHERE id = 2",
    "parent_generation = 4 WHERE id = 2",
    "parent_generation = 9223372036854775807 WHERE id = 2",
    "parent_generation = 0 WHERE id = 2",
    "parent_generation = -1 WHERE id = 2",
    "parent_generation = NULL WHERE id = 2",
    "generation = 1 WHERE id = 2",
    "generation = 0 WHERE id = 3",
    "generation = -1 WHERE id = 3",
    "id = 10 WHERE id = 1",
  };
  struct rows rows;

  (void)state;
  rows_open (&rows, 10 * BLOCK, BLOCK);
  make_three_layers (&rows);
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
    check_layer (&rows, changes[i], unit_layer_checksums);
  rows_close (&rows);
}

/* A disk must stand on a layer. */
static void
test_disk_without_layer (void **state)
{
  static const char *const layers[] = {
    "0", "-1", "99", "9223372036854775807", "-9223372036854775807 - 1",
  };
  struct rows rows;

  (void)state;
  rows_open (&rows, 10 * BLOCK, BLOCK);
  for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
    print_message ("disk.layer = %s\n", layers[i]);
    unit_sql (rows.db, "UPDATE disk SET layer = %s; %s", layers[i],
              unit_disk_checksums);
    assert_fails (rows_view (&rows), &rows.status, EIO, "damaged");
  }
  rows_close (&rows);
}

/* A chain without end as far as anybody can wait. */
static void
test_endless_chain (void **state)
{
  struct rows rows;

  (void)state;
  rows_open (&rows, 10 * BLOCK, BLOCK);
  unit_sql (rows.db,
            "WITH RECURSIVE n (n) AS"
            " (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < 100001)"
            " INSERT INTO layer SELECT n, n - 1, 1, 1, 0 FROM n; %s;"
            " UPDATE disk SET layer = 100001; %s",
            unit_layer_checksums, unit_disk_checksums);
  assert_fails (rows_view (&rows), &rows.status, EIO,
                "more than 100000 layers");
  rows_close (&rows);
}

/*--------------------------------------------------------------------
 * Disks.
 */

static int
count_disk (const struct disk_info *info, void *opaque)
{
  int *count = opaque;

  assert_string_equal (info->name, "other");
  ++*count;
  return 0;
}

/* The first disk must be refused however it is asked for; the other is
 * well.
 */
static void
expect_damaged_disk (struct rows *rows)
{
  struct disk_info info;
  int count = 0;

  assert_fails (rows_view (rows), &rows->status, EIO, "damaged");
  assert_fails (disks_find (&rows->connection, "", &info, &rows->status),
                &rows->status, EIO, "damaged");
  assert_ok (disks_list (&rows->connection, count_disk, &count, &rows->status),
             &rows->status);
  assert_int_equal (count, 1);
  assert_result (disks_find (&rows->connection, "other", &info, &rows->status),
                 &rows->status, 1);
}

/* Make the first disk right again, and a second one. */
static void
make_disks (struct rows *rows)
{
  unit_sql (
      rows->db,
      "DELETE FROM disk;"
      "INSERT INTO disk (id, name, description, size, block_size, layer,"
      " epoch, compression, compression_level, deduplicate, created, checksum)"
      " VALUES (1, 'disk', 'd', 40960, 4096, 1, 1, 1, 0, 0, 0, 0),"
      " (2, 'other', 'o', 40960, 4096, 2, 1, 1, 0, 0, 0, 0); %s",
      unit_disk_checksums);
  assert_ok (rows_view (rows), &rows->status);
}

static void
test_changed_disk (void **state)
{
  static const char *const changes[] = {
    "name = 'dis'",
    "description = ''",
    "size = size - 1",
    "block_size = 512",
    "layer = 3",
    "compression = 2",
    "compression_level = 1",
    "deduplicate = 1",
    "quota = 0",
    "created = 1",
    "checksum = checksum - 1",
    "checksum = NULL",
  };
  struct rows rows;

  (void)state;
  rows_open (&rows, 10 * BLOCK, BLOCK);
  make_disks (&rows);
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
    print_message ("%s\n", changes[i]);
    unit_sql_hostile (rows.path, "UPDATE disk SET %s WHERE id = 1", changes[i]);
    expect_damaged_disk (&rows);
    make_disks (&rows);
  }
  rows_close (&rows);
}

/* Sizes and names that no disk can have, with right checksums. */
static void
test_hostile_disk (void **state)
{
  static const char *const changes[] = {
    "size = 0",
    "size = -1",
    "size = -9223372036854775807 - 1",
    "block_size = 0",
    "block_size = 1",
    "block_size = 256",
    "block_size = 511",
    "block_size = 3000",
    "block_size = 2097152",
    "block_size = -512",
    "block_size = -9223372036854775807 - 1",
    "block_size = 9223372036854775807",
    "block_size = 4294967296",
    "block_size = 4294967296 + 512",
  };
  struct rows rows;

  (void)state;
  rows_open (&rows, 10 * BLOCK, BLOCK);
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
    print_message ("%s\n", changes[i]);
    make_disks (&rows);
    unit_sql (rows.db, "UPDATE disk SET %s WHERE id = 1; %s", changes[i],
              unit_disk_checksums);
    expect_damaged_disk (&rows);
  }
  rows_close (&rows);
}

/* Names that nobody can give, with right checksums, are not shown. */
static void
test_hostile_name (void **state)
{
  static const char *const changes[] = {
    "name = NULL",
    "description = NULL",
    "name = ''",
    "name = 'a' || char (10) || 'b'",
    "name = 'a' || char (0) || 'b'",
    "name = CAST (x'ff' AS TEXT)",
    "name = 'a@b'",
    "name = printf ('%.201c', 'n')",
    "name = printf ('%.1000000c', 'n')",
    "description = printf ('%.4001c', 'd')",
    "description = char (27)",
    "description = 'a' || char (0) || 'b'",
  };
  struct disk_info info;
  struct rows rows;
  int count;

  (void)state;
  rows_open (&rows, 10 * BLOCK, BLOCK);
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
    print_message ("%s\n", changes[i]);
    make_disks (&rows);
    unit_sql_hostile (rows.path, "UPDATE disk SET %s WHERE id = 1; %s",
                      changes[i], unit_disk_checksums);
    count = 0;
    assert_fails (disks_find (&rows.connection, NULL, &info, &rows.status),
                  &rows.status, EIO, "damaged");
    for (const char *p = rows.status.message; *p; p++)
      assert_true ((unsigned char)*p >= 0x20 && (unsigned char)*p != 0xff);
    assert_ok (disks_list (&rows.connection, count_disk, &count, &rows.status),
               &rows.status);
    assert_int_equal (count, 1);
  }
  rows_close (&rows);
}

/*--------------------------------------------------------------------
 * Anything goes: nothing may crash or hang, whatever the result.
 */

/* Read a disk of 10 blocks, if it is one.  Returns 0 or -1. */
static int
look_at_disk (struct connection *connection, struct view *view, char *buffer)
{
  struct status status;
  uint8_t map[10];
  uint64_t number;

  if (disks_view (connection, 1, 1, view, &status) == -1 ||
      view->size != 10 * BLOCK || view->block_size != BLOCK)
    return -1;
  view_map (connection, view, 0, 10, map, &status);
  view_next_row (connection, view, 0, 10, &number, &status);
  view_extents (connection, view, 0, 10 * BLOCK, false, unit_ignore_extent,
                NULL, &status);
  return view_read (connection, view, buffer, 0, 10 * BLOCK, &status);
}

/* Use all of a database that may be anything.  Returns 0 when the disk was
 * read into BUFFER, or -1.
 */
static int
look_at_everything (const char *path, char *buffer)
{
  struct connection connection;
  struct view view = { 0 };
  struct disk_info info;
  struct status status;
  int r;

  if (database_open (&connection, path, CONNECTION_READ, NULL, &status) == -1)
    return -1;
  disks_find (&connection, NULL, &info, &status);
  disks_find (&connection, "disk", &info, &status);
  disks_list (&connection, unit_ignore_disk, NULL, &status);
  disks_fail_unknown (&connection, "none", &status);
  r = look_at_disk (&connection, &view, buffer);
  view_free (&view);
  connection_close (&connection);
  return r;
}

/* Values of every type. */
static const struct {
  const char *table, *column;
} columns[] = {
  { "layer", "parent" },     { "layer", "parent_generation" },
  { "layer", "generation" }, { "disk", "name" },
  { "disk", "description" }, { "disk", "size" },
  { "disk", "block_size" },  { "disk", "layer" },
  { "disk", "epoch" },       { "block", "layer" },
  { "block", "number" },     { "block", "generation" },
  { "block", "codec" },      { "block", "checksum" },
  { "block", "data" },
};

/* Any value in every column that is read. */
static void
test_any_value (void **state)
{
  static const char *const values[] = {
    "NULL",
    "'text'",
    "''",
    "x'00ff'",
    "x''",
    "1.5",
    "-9e99",
    "9e999",
    "0",
    "-1",
    "4096",
    "9223372036854775807",
    "-9223372036854775807 - 1",
  };
  static char buffer[10 * BLOCK];
  struct rows rows;

  (void)state;
  for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
    for (size_t j = 0; j < sizeof values / sizeof values[0]; j++) {
      make_three_blocks (&rows);
      unit_sql_hostile (rows.path,
                        "UPDATE %s SET %s = %s WHERE id ="
                        " (SELECT max (id) FROM %s); %s; %s",
                        columns[i].table, columns[i].column, values[j],
                        columns[i].table, unit_layer_checksums,
                        unit_disk_checksums);
      look_at_everything (rows.path, buffer);
      rows_close (&rows);
    }
}

/* Overwrite some bytes of a file; DAMAGED is a copy of it. */
static void
damage (const char *from, size_t size, const char *damaged, uint64_t *seed)
{
  char *bytes = malloc (size);

  assert_non_null (bytes);
  memcpy (bytes, from, size);
  for (int left = 1 + random_below (seed, 8); left > 0; left--)
    bytes[100 + random_below (seed, size - 100)] = random_next (seed);
  unit_write_file (damaged, bytes, size);
  free (bytes);
}

/* A block that was read is one that was stored for its number, or zeroes
 * where the damage hid it: never another.
 */
static void
check_survivor (const struct rows *rows, int number, const char *block)
{
  static const char zeroes[BLOCK];

  if (memcmp (block, zeroes, BLOCK) == 0)
    return;
  for (int generation = 1; generation <= 3; generation++)
    if (memcmp (block, rows_pattern (rows, 1, number, generation), BLOCK) == 0)
      return;
  fail_msg ("block %d was never written like this", number);
}

/* Random bytes anywhere in the file, the pages of the B-trees included. */
static void
test_random_damage (void **state)
{
  static char buffer[10 * BLOCK];
  uint64_t seed = unit_seed ();
  const char *damaged = unit_path ("damaged.sqlite");
  int survived = 0;
  struct rows rows;
  size_t size;
  char *bytes;

  (void)state;
  rows_open (&rows, 10 * BLOCK, BLOCK);
  rows_layer (&rows, 1, 0, 0, 3);
  for (int number = 0; number < 10; number++)
    for (int generation = 1; generation <= 3; generation++)
      rows_data (&rows, 1, number, generation);
  unit_sql (rows.db, "PRAGMA wal_checkpoint (TRUNCATE)");
  bytes = unit_read_file (rows.path, &size);
  assert_non_null (bytes);
  for (int i = 0; i < 500; i++) {
    damage (bytes, size, damaged, &seed);
    if (look_at_everything (damaged, buffer) == 0) {
      survived++;
      for (int number = 0; number < 10; number++)
        check_survivor (&rows, number, buffer + number * BLOCK);
    }
  }
  print_message ("%d of 500 disks could be read\n", survived);
  assert_uint_in_range (survived, 1, 499);
  free (bytes);
  rows_close (&rows);
}

/* An index that cannot be read is noticed, where there are no rows, too. */
static void
test_damaged_index (void **state)
{
  uint8_t map[10];
  struct rows rows;

  (void)state;
  make_three_blocks (&rows);
  unit_sql (rows.db, "UPDATE sqlite_schema SET rootpage = (SELECT rootpage"
                     " FROM sqlite_schema WHERE name = 'layer')"
                     " WHERE name = 'block_zero';"
                     "PRAGMA schema_version = 1000");
  assert_fails (
      view_map (&rows.connection, &rows.view, 0, 10, map, &rows.status),
      &rows.status, EIO, "damaged");
  assert_fails (
      view_map (&rows.connection, &rows.view, 8, 2, map, &rows.status),
      &rows.status, EIO, "damaged");
  rows_close (&rows);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_changed_block),      unit_test (test_flipped_bits),
    unit_test (test_moved_block),        unit_test (test_hostile_block),
    unit_test (test_hostile_compressed), unit_test (test_hidden_damage),
    unit_test (test_changed_layer),      unit_test (test_hostile_layer),
    unit_test (test_disk_without_layer), unit_test (test_endless_chain),
    unit_test (test_changed_disk),       unit_test (test_hostile_disk),
    unit_test (test_hostile_name),       unit_test (test_any_value),
    unit_test (test_random_damage),      unit_test (test_damaged_index),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
