/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Blocks that are equal, stored once: what the random steps of
 * unit-history.c do not reach, such as hashes that collide, contents that
 * are damaged or hostile, and transactions that are undone and done again.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#include "block/checksum.h"
#include "rows/content.h"
#include "manage.h"

#define BLOCK  512
#define BLOCKS 400

static char *path;
static struct store *store;
static struct disk *disk; /* d, of the store */

static struct disk *
open_disk (const char *name)
{
  struct status status;
  struct disk *opened = disk_open (store, name, false, &status);

  if (opened == NULL)
    fail_msg ("%s", status.message);
  return opened;
}

static void
begin (void)
{
  const struct disk_options options = {
    .name = "d",
    .size = BLOCKS * BLOCK,
    .block_size = BLOCK,
    .storing.deduplicate = DISK_ON,
  };
  struct status status;

  path = unit_database ();
  assert_ok (store_provide (path, &options, &status), &status);
  store = unit_open_store (path);
  disk = open_disk ("d");
}

static void
end (void)
{
  disk_close (disk);
  store_close (store);
}

static int64_t
ask (const char *sql)
{
  sqlite3 *db = unit_open_raw (path);
  const int64_t value = unit_integer (db, "%s", sql);

  unit_assert_contents (db);
  sqlite3_close (db);
  return value;
}

static int64_t
contents (void)
{
  return ask ("SELECT count (*) FROM content");
}

static void
set (struct store *in, const char *name, enum disk_choice deduplicate,
     const char *compression)
{
  struct disk_options options = { .storing.deduplicate = deduplicate };
  struct status status;

  if (compression &&
      compression_parse (compression, &options.storing.compression, &status) ==
          -1)
    assert_int_equal (status.error, ENOTSUP);
  assert_ok (manage_set (in, name, &options, &status), &status);
}

/* Fill block NUMBER of a disk. */
static void
put (struct disk *on, uint64_t number, char fill)
{
  char block[BLOCK];
  struct status status;

  memset (block, fill, BLOCK);
  assert_ok (disk_write (on, block, number * BLOCK, BLOCK, false, &status),
             &status);
}

static void
expect (struct disk *on, uint64_t number, char fill)
{
  char block[BLOCK], wanted[BLOCK];
  struct status status;

  memset (wanted, fill, BLOCK);
  assert_ok (disk_read (on, block, number * BLOCK, BLOCK, &status), &status);
  assert_memory_equal (block, wanted, BLOCK);
}

static void
expect_damaged (uint64_t number, const char *text)
{
  char block[BLOCK];
  struct status status;

  assert_fails (disk_read (disk, block, number * BLOCK, BLOCK, &status),
                &status, EIO, text);
}

/* Delete a disk, and its rows at once. */
static void
delete_disk (const char *name)
{
  struct status status;

  assert_ok (manage_delete (store, name, false, false, &status), &status);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
}

/*--------------------------------------------------------------------
 * What is equal.
 */

/* Blocks of two disks, their snapshots and clones are stored once, and go
 * with the last of them.
 */
static void
test_last_reference (void **state)
{
  struct disk_options options = {
    .name = "e",
    .size = BLOCKS * BLOCK,
    .block_size = BLOCK,
    .storing.deduplicate = DISK_ON,
  };
  const char *name = "d";
  struct disk *other;
  struct status status;

  (void)state;
  begin ();
  for (int i = 0; i < 10; i++)
    put (disk, i, 'x');
  assert_int_equal (contents (), 1);
  assert_ok (manage_create (store, &options, &status), &status);
  other = open_disk ("e");
  put (other, 7, 'x');
  put (other, 8, 0);
  assert_int_equal (contents (), 1);
  disk_close (other);

  /* One of another length is another one. */
  options.name = "f";
  options.block_size = 2 * BLOCK;
  assert_ok (manage_create (store, &options, &status), &status);
  other = open_disk ("f");
  put (other, 0, 'x');
  put (other, 1, 'x');
  assert_int_equal (contents (), 2);
  disk_close (other);
  delete_disk ("f");
  assert_int_equal (contents (), 1);

  assert_ok (manage_snapshot (store, &name, 1, "s", &status), &status);
  assert_ok (manage_clone (store, "d@s", "c", NULL, &status), &status);
  assert_int_equal (ask ("SELECT deduplicate FROM disk WHERE name = 'c'"), 1);
  assert_ok (disk_trim (disk, 0, 9 * BLOCK, false, &status), &status);
  put (disk, 9, 'y');
  assert_int_equal (contents (), 2);
  assert_ok (manage_flatten (store, "c", NULL, NULL, &status), &status);
  assert_ok (manage_delete (store, "e", false, false, &status), &status);
  name = "d@s";
  assert_ok (manage_delete_snapshots (store, &name, 1, &status), &status);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  assert_int_equal (contents (), 2);
  other = open_disk ("c");
  for (int i = 0; i < 10; i++)
    expect (other, i, 'x');
  disk_close (other);
  assert_ok (manage_resize (store, "c", 3 * BLOCK, true, &status), &status);
  assert_int_equal (contents (), 2);
  delete_disk ("c");
  assert_int_equal (contents (), 1);
  assert_ok (disk_zero (disk, 9 * BLOCK, BLOCK, false, &status), &status);
  assert_int_equal (contents (), 0);
  end ();
}

/* An id is not used again, not even that of the highest, and whatever a
 * stranger has made of the table that knows it.
 */
static void
test_ids (void **state)
{
  (void)state;
  begin ();
  put (disk, 0, 'x');
  assert_int_equal (ask ("SELECT max (id) FROM content"), 1);
  put (disk, 0, 'y');
  put (disk, 0, 'z');
  assert_int_equal (ask ("SELECT max (id) FROM content"), 3);
  unit_sql_on (path, "DELETE FROM sqlite_sequence WHERE name = 'content'");
  put (disk, 1, 'a');
  assert_int_equal (ask ("SELECT max (id) FROM content"), 4);
  unit_sql_on (path, "UPDATE sqlite_sequence SET seq = 9223372036854775807"
                     " WHERE name = 'content'");
  put (disk, 2, 'a');
  {
    char block[BLOCK] = "b";
    struct status status;

    assert_fails (disk_write (disk, block, 0, BLOCK, false, &status), &status,
                  EIO, "used up the ids");
  }
  expect (disk, 0, 'z');
  end ();
}

/* Have content ID hold a block of FILL, under a right checksum. */
static void
forge (sqlite3 *db, int64_t id, int64_t hash, char fill)
{
  char block[BLOCK];
  sqlite3_stmt *statement;

  memset (block, fill, BLOCK);
  assert_int_equal (
      sqlite3_prepare_v2 (db,
                          "INSERT OR REPLACE INTO content (id, hash, size,"
                          " codec, checksum, data) VALUES (?, ?, ?, 1, ?, ?)",
                          -1, &statement, NULL),
      SQLITE_OK);
  sqlite3_bind_int64 (statement, 1, id);
  sqlite3_bind_int64 (statement, 2, hash);
  sqlite3_bind_int64 (statement, 3, BLOCK);
  sqlite3_bind_int64 (statement, 4,
                      checksum_content (id, hash, BLOCK, CODEC_RAW,
                                        checksum_bytes (block, BLOCK)));
  sqlite3_bind_blob (statement, 5, block, BLOCK, SQLITE_TRANSIENT);
  assert_int_equal (sqlite3_step (statement), SQLITE_DONE);
  sqlite3_finalize (statement);
}

/* The hash is not what decides: other bytes may have the same. */
static void
test_same_hash (void **state)
{
  static const char *const compressions[] = { "none", "zstd" };

  (void)state;
  for (size_t i = 0; i < 2; i++) {
    sqlite3 *db;
    int64_t hash;

    begin ();
    set (store, "d", DISK_ON, compressions[i]);
    put (disk, 0, 'x');
    db = unit_open_raw (path);
    hash = unit_integer (db, "SELECT hash FROM content");
    forge (db, 1, hash, 'y');
    expect (disk, 0, 'y');
    put (disk, 1, 'x');
    put (disk, 2, 'x');
    expect (disk, 0, 'y');
    expect (disk, 1, 'x');
    assert_int_equal (unit_integer (db, "SELECT count (DISTINCT content)"
                                        " FROM block WHERE number > 0"),
                      1);
    assert_int_equal (contents (), 2);

    /* With many of them there is an end of comparing. */
    for (int64_t id = 3; id < 100; id++)
      forge (db, id, hash, 'a' + id % 20);
    put (disk, 3, 'x');
    assert_int_equal (
        unit_integer (db, "SELECT content FROM block WHERE number = 3"), 2);
    unit_sql (db, "UPDATE block SET content = 1 WHERE content = 2");
    unit_sql (db, "DELETE FROM content WHERE id = 2");
    put (disk, 4, 'x');
    expect (disk, 4, 'x');
    assert_uint_in_range (
        unit_integer (db, "SELECT codec FROM block WHERE number = 4"),
        CODEC_RAW, unit_codec ("lz4"));
    sqlite3_close (db);
    end ();
    unit_sql_on (path, "DELETE FROM content");
    unlink (path);
  }
}

/* How an equal one is compressed does not matter. */
static void
test_other_compression (void **state)
{
  static const char *const compressions[] = { "none", "zstd", "lz4", "none" };

  (void)state;
  begin ();
  for (int i = 0; i < 4; i++) {
    set (store, "d", DISK_ON, compressions[i]);
    for (int j = 0; j < 3; j++)
      put (disk, 10 * i + j, 'x');
  }
  assert_int_equal (contents (), 1);
  put (disk, 50, 'y');
  put (disk, 51, 'y');
  assert_int_equal (contents (), 2);
  end ();
}

/*--------------------------------------------------------------------
 * Damage.
 */

static void
damage (const char *sql)
{
  unit_sql_on (path, "%s", sql);
}

/* A content that is damaged, or hostile: an error where it is read, nothing
 * new comes to it, and no backup takes it along.
 */
static void
test_damaged (void **state)
{
  static const struct {
    const char *sql, *text;
  } damages[] = {
    { "DELETE FROM content WHERE id = 1", "number 1, is missing" },
    { "UPDATE content SET checksum = 0 WHERE id = 1", "number 1, is damaged" },
    { "UPDATE content SET size = 1024 WHERE id = 1", "number 1, is damaged" },
    { "UPDATE content SET codec = 2 WHERE id = 1", "number 1, is damaged" },
    { "UPDATE content SET hash = 7 WHERE id = 1", "number 1, is damaged" },
    { "UPDATE content SET data = zeroblob (512) WHERE id = 1",
      "number 1, is damaged" },
    { "UPDATE content SET data = zeroblob (0) WHERE id = 1",
      "number 1, is damaged" },
    { "UPDATE block SET content = 2 WHERE number = 0", "checksum" },
  };

  (void)state;
  for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
    const char *copy = unit_path ("copy");
    struct backup_counts counts;
    struct recompressed done;
    struct status status;

    begin ();
    put (disk, 0, 'x');
    put (disk, 1, 'y');
    damage (damages[i].sql);
    expect_damaged (0, damages[i].text);
    expect (disk, 1, 'y');
    assert_fails (manage_backup (store, copy, NULL, NULL, &counts, &status),
                  &status, EIO, "block 0 of layer 1");
    set (store, "d", DISK_OFF, NULL);
    assert_ok (recompress_disk (store, "d", NULL, NULL, &done, &status),
               &status);
    assert_int_equal (done.damaged, 1);
    set (store, "d", DISK_ON, NULL);
    put (disk, 2, 'x');
    expect (disk, 2, 'x');
    put (disk, 0, 'z');
    expect (disk, 0, 'z');
    assert_ok (manage_delete (store, "d", false, true, &status), &status);
    assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
    end ();
    unlink (path);
  }
}

/* Contents under a right checksum that no program of ours writes. */
static void
test_hostile (void **state)
{
  static const struct {
    int64_t size, codec;
    int length;
    const char *text;
  } hostile[] = {
    { BLOCK, 0, BLOCK, "512 bytes of data" },
    { BLOCK, 4, BLOCK, "codec 4 is not one of its bytes" },
    { BLOCK, -1, BLOCK, "stored with the codec -1" },
    { BLOCK, 1, BLOCK - 1, "511 bytes of data" },
    { BLOCK, 1, 0, "0 bytes of data" },
    { BLOCK, 2, 100, "" },
    { BLOCK, 3, 100, "" },
    { 2 * BLOCK, 1, 2 * BLOCK, "number 1, is damaged" },
    { INT64_MAX, 1, BLOCK, "number 1, is damaged" },
    { -1, 1, BLOCK, "number 1, is damaged" },
  };
  char data[2 * BLOCK];

  (void)state;
  memset (data, 0xa5, sizeof data);
  begin ();
  put (disk, 0, 'x');
  for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
    sqlite3 *db = unit_open_raw (path);
    sqlite3_stmt *statement;

    assert_int_equal (
        sqlite3_prepare_v2 (db,
                            "UPDATE content SET size = ?, codec = ?,"
                            " data = ?, checksum = ? WHERE id = 1",
                            -1, &statement, NULL),
        SQLITE_OK);
    sqlite3_bind_int64 (statement, 1, hostile[i].size);
    sqlite3_bind_int64 (statement, 2, hostile[i].codec);
    sqlite3_bind_blob (statement, 3, data, hostile[i].length, SQLITE_STATIC);
    sqlite3_bind_int64 (
        statement, 4,
        checksum_content (1, unit_integer (db, "SELECT hash FROM content"),
                          hostile[i].size, hostile[i].codec,
                          checksum_bytes (data, hostile[i].length)));
    assert_int_equal (sqlite3_step (statement), SQLITE_DONE);
    sqlite3_finalize (statement);
    sqlite3_close (db);
    expect_damaged (0, hostile[i].text);
    put (disk, 1, 'x');
    expect (disk, 1, 'x');
    put (disk, 1, 0);
  }
  end ();
}

/*--------------------------------------------------------------------
 * Beside others.
 */

#define FILLS   5 /* how many different blocks there are */
#define WRITERS 3

static atomic_bool ending;

/* Write to a disk that was rolled back. */
static void *
run_failing (void *stale)
{
  char block[BLOCK] = "x";
  struct status status;

  while (!ending)
    assert_fails (disk_write (stale, block, 0, BLOCK, false, &status), &status,
                  EIO, "");
  return NULL;
}

/* Write parts of blocks, by a model of the disk. */
static void
write_some (struct disk *on, char *model, uint64_t first, uint64_t size,
            uint64_t *random)
{
  static _Thread_local char data[8 * BLOCK];
  const bool whole = random_below (random, 2);
  uint64_t offset = first + random_below (random, size - sizeof data);
  uint64_t count = 1 + random_below (random, sizeof data);
  struct status status;

  if (whole) {
    offset = offset / BLOCK * BLOCK;
    count = (count + BLOCK - 1) / BLOCK * BLOCK;
  }
  memset (data, random_below (random, FILLS), count);
  memcpy (model + offset, data, count);
  assert_ok (disk_write (on, data, offset, count, false, &status), &status);
}

/* One of those who write the same disk, each another part of it. */
struct some_writer {
  pthread_t thread;
  char *model;
  uint64_t first, random;
};

static void *
run_writer (void *opaque)
{
  struct some_writer *writer = opaque;

  while (!ending)
    write_some (disk, writer->model, writer->first, BLOCKS * BLOCK / WRITERS,
                &writer->random);
  return NULL;
}

static void
start_writers (struct some_writer *writers, char *model, uint64_t *random)
{
  for (int i = 0; i < WRITERS; i++) {
    writers[i] = (struct some_writer){
      .model = model,
      .first = BLOCKS / WRITERS * BLOCK * i,
      .random = random_below (random, UINT32_MAX),
    };
    assert_int_equal (
        pthread_create (&writers[i].thread, NULL, run_writer, &writers[i]), 0);
  }
}

/* Several write the disk while others fail in the same batches, the disk is
 * switched by this process and another, and stored anew.
 */
static void
test_beside_others (void **state)
{
  static const char *const names[] = { "none", "lz4", "zstd" };
  static char model[BLOCKS * BLOCK], found[BLOCKS * BLOCK];
  uint64_t random = unit_seed ();
  struct some_writer writers[WRITERS];
  struct recompressed done;
  struct status status;
  struct store *other;
  struct disk *stale;
  pthread_t failing;

  (void)state;
  begin ();
  memset (model, 0, sizeof model);
  other = unit_open_store (path);
  assert_ok (manage_clone (store, "d", "stale", NULL, &status), &status);
  assert_ok (
      manage_snapshot (store, &(const char *){ "stale" }, 1, "a", &status),
      &status);
  stale = open_disk ("stale");
  assert_ok (manage_rollback (store, "stale@a", true, &status), &status);
  ending = false;
  assert_int_equal (pthread_create (&failing, NULL, run_failing, stale), 0);
  start_writers (writers, model, &random);
  for (int i = 0; i < 60; i++) {
    set (random_below (&random, 2) ? store : other, "d",
         random_below (&random, 3) ? DISK_ON : DISK_OFF,
         names[random_below (&random, 3)]);
    assert_ok (recompress_disk (random_below (&random, 2) ? store : other, "d",
                                NULL, NULL, &done, &status),
               &status);
    assert_int_equal (done.damaged, 0);
    contents ();
  }
  ending = true;
  pthread_join (failing, NULL);
  for (int i = 0; i < WRITERS; i++)
    pthread_join (writers[i].thread, NULL);
  assert_ok (disk_read (disk, found, 0, sizeof found, &status), &status);
  assert_memory_equal (found, model, sizeof model);

  /* In the end each is there once. */
  set (other, "d", DISK_ON, "none");
  assert_ok (recompress_disk (store, "d", NULL, NULL, &done, &status), &status);
  assert_int_equal (ask ("SELECT count (*) FROM block"
                         " WHERE codec NOT IN (0, 4)"),
                    0);
  assert_int_equal (contents (),
                    ask ("SELECT count (DISTINCT data) FROM content"));
  assert_ok (disk_trim (disk, 0, sizeof model, false, &status), &status);
  assert_int_equal (contents (), 0);
  store_close (other);
  disk_close (stale);
  end ();
}

/* A disk that is open takes the new way from its next writes on. */
static void
test_switched (void **state)
{
  struct store *other;

  (void)state;
  begin ();
  other = unit_open_store (path);
  for (int i = 0; i < 6; i++) {
    const bool on = i % 2;

    set (i < 3 ? store : other, "d", on ? DISK_ON : DISK_OFF, NULL);
    put (disk, 0, 'a' + i);
    assert_int_equal (contents (), on);
    put (disk, 1, 'a' + i);
    assert_int_equal (contents (), on);
    put (disk, 0, 0);
    put (disk, 1, 0);
    assert_int_equal (contents (), 0);
  }
  store_close (other);
  end ();
}

/* A backup has each content once, and goes on with its ids. */
static void
test_backup (void **state)
{
  const char *copy = unit_path ("copy");
  struct backup_counts counts;
  struct status status;

  (void)state;
  begin ();
  for (int i = 0; i < 300; i++)
    put (disk, i, 1 + i % 50);
  assert_ok (manage_backup (store, copy, NULL, NULL, &counts, &status),
             &status);
  end ();
  assert_int_equal (counts.blocks, 300);
  path = unit_path ("copy");
  store = unit_open_store (path);
  disk = open_disk ("d");
  assert_int_equal (contents (), 50);
  for (int i = 0; i < 300; i++)
    expect (disk, i, 1 + i % 50);
  for (int i = 0; i < 300; i++)
    put (disk, i, 2 + i % 50);
  assert_int_equal (contents (), 50);
  assert_int_equal (ask ("SELECT max (id) FROM content"), 51);
  end ();
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_last_reference), unit_test (test_ids),
    unit_test (test_same_hash),      unit_test (test_other_compression),
    unit_test (test_damaged),        unit_test (test_hostile),
    unit_test (test_beside_others),  unit_test (test_switched),
    unit_test (test_backup),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
