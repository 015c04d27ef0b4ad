/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Checking and mending, by rows that break one rule each: each is found, in
 * words that name it, and what can be mended is, without loss.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "seal.h"
#include "shim.h"
#include "unit.h"

#include "base/bytes.h"
#include "check.h"
#include "block/checksum.h"
#include "manage.h"
#include "sqlite/marking.h"

#define SIZE  (64 * 4096)
#define BLOCK 4096

static void
write_block (struct store *store, const char *name, uint64_t number, int value)
{
  char block[BLOCK];
  struct status status;
  struct disk *disk = disk_open (store, name, false, &status);

  if (disk == NULL)
    fail_msg ("%s", status.message);
  memset (block, value, sizeof block);
  assert_ok (disk_write (disk, block, number * BLOCK, BLOCK, true, &status),
             &status);
  disk_close (disk);
}

static void
snapshot (struct store *store, const char *disk, const char *name)
{
  struct status status;

  assert_ok (manage_snapshot (store, &disk, 1, name, &status), &status);
}

/* A disk 'web' of blocks 0 to 9, a snapshot 'a' of it, blocks 3 and 4
 * written since; a clone of the snapshot with block 5 of its own.
 */
static char *
make_database (void)
{
  const struct disk_options web = {
    .name = "web",
    .size = SIZE,
    .quota = 1 << 30,
    .storing.compression = { CODEC_RAW, 0 },
  };
  char *path = unit_database ();
  struct status status;
  struct store *store;

  unit_create (path, &web);
  store = unit_open_store (path);
  for (int i = 0; i < 10; i++)
    write_block (store, "web", i, 'a' + i);
  snapshot (store, "web", "a");
  write_block (store, "web", 3, 'x');
  write_block (store, "web", 4, 'y');
  assert_ok (manage_clone (store, "web@a", "clone", NULL, &status), &status);
  write_block (store, "clone", 5, 'z');
  store_close (store);
  return path;
}

/* What was found: lines "kind: disks: message". */
struct findings {
  char text[20000];
  size_t length;
};

static void
note (const struct check_problem *problem, void *opaque)
{
  struct findings *findings = opaque;
  char *end = findings->text + findings->length;
  const size_t room = sizeof findings->text - findings->length;

  if (room < 1200)
    return;
  end += sprintf (end, "%s: ", check_kind_name (problem->kind));
  for (size_t i = 0; i < problem->shown_count; i++)
    end += sprintf (end, "%s%s", i ? ", " : "", problem->shown[i]);
  if (problem->count)
    end += sprintf (end, " at %" PRIu64, problem->offset);
  end += sprintf (end, ": %s\n", problem->message);
  findings->length = end - findings->text;
}

static struct check_counts
check (const char *path, struct findings *findings)
{
  const struct check_options options = { .found = note, .opaque = findings };
  struct check_counts counts;
  struct store *store = unit_open_tolerant (path);
  struct status status;

  *findings = (struct findings){ .length = 0 };
  assert_ok (check_database (store, &options, &counts, &status), &status);
  store_close (store);
  return counts;
}

/* The check must say TEXT, and nothing where that is NULL. */
static void
expect (const char *path, const char *text)
{
  struct findings findings;
  const struct check_counts counts = check (path, &findings);

  if (text ? strstr (findings.text, text) == NULL
           : findings.length > 0 || counts.problems > 0)
    fail_msg ("expected: %s\ngot:\n%s", text ? text : "nothing", findings.text);
}

static void
mend (const char *path)
{
  const struct repair_options options = { .corrections = 10 };
  struct check_counts counts;
  struct store *store = unit_open_tolerant (path);
  struct status status;

  assert_ok (repair_database (store, &options, &counts, &status), &status);
  store_close (store);
}

/* The blocks of an export, one letter each, '.' for zeroes, '!' for one that
 * cannot be read.
 */
static void
expect_contents (const char *path, const char *name, const char *wanted)
{
  struct store *store = unit_open_store (path);
  struct status status;
  struct disk *disk = disk_open (store, name, true, &status);
  char block[BLOCK], got[65] = "";

  if (disk == NULL)
    fail_msg ("%s", status.message);
  for (size_t i = 0; i < strlen (wanted); i++) {
    got[i] = '!';
    if (disk_read (disk, block, i * BLOCK, BLOCK, &status) == 0)
      got[i] = block[0] ? block[0] : '.';
  }
  disk_close (disk);
  store_close (store);
  assert_string_equal (got, wanted);
}

static void
expect_all (const char *path)
{
  expect_contents (path, "web", "abcxyfghij...");
  expect_contents (path, "web@a", "abcdefghij...");
  expect_contents (path, "clone", "abcdezghij...");
}

static void
test_well (void **state)
{
  struct findings findings;
  struct check_counts counts;
  char *path = make_database ();

  (void)state;
  counts = check (path, &findings);
  assert_string_equal (findings.text, "");
  assert_int_equal (counts.problems, 0);
  assert_int_equal (counts.leftovers, 0);
  assert_int_equal (counts.disks, 2);
  assert_int_equal (counts.snapshots, 1);
  assert_int_equal (counts.layers, 2);
  assert_int_equal (counts.blocks, 13);
  assert_false (counts.file_not_checked);
  expect_all (path);
}

/* Each change, in SQL, what the check says, and whether it can be mended so
 * that everything is as it was.
 */
static const struct {
  const char *change, *text;
  bool mended;
} changes[] = {
  /* Blocks. */
  { "UPDATE block SET data = CAST (x'00' || substr (data, 2) AS BLOB)"
    " WHERE id = 3",
    "block: web, clone, web@a at 8192: block 2 of layer 1, generation 1: its"
    " checksum does not match",
    true },
  { "UPDATE block SET checksum = checksum + 1 WHERE id = 11",
    "block: web at 12288: block 3 of layer 1, generation 2: its checksum",
    true },
  { "UPDATE block SET data = zeroblob (4096) WHERE id = 4",
    "block: clone, web@a at 12288: block 3", false },
  { "UPDATE block SET id = 1 << 62 WHERE id = 1", "is impossible", false },
  { "UPDATE block SET codec = 4, content = 7, data = NULL, checksum = ("
    "SELECT 0) WHERE id = 1",
    "its checksum does not match", false },
  /* Layers. */
  { "UPDATE layer SET checksum = 1 WHERE id = 1",
    "layer: web, clone, web@a: layer 1: its checksum", false },
  { "UPDATE layer SET parent_generation = 9 WHERE id = 2",
    "its parent has no such generation", false },
  { "UPDATE layer SET parent_generation = 2 WHERE id = 2",
    "a disk still writes the generation of the parent", false },
  { "UPDATE layer SET generation = 1 WHERE id = 1",
    "the layer has no generation 2 yet", false },
  { "DELETE FROM layer WHERE id = 2", "its layer is missing", false },
  { "INSERT INTO layer VALUES (9, NULL, NULL, 1, 0)",
    "orphan: : nobody looks at layer 9", true },
  { "INSERT INTO layer VALUES (9, 1, 1, 2, 0); INSERT INTO block SELECT"
    " 99, 9, 0, 1, 1, moved_checksum (checksum, layer, number, generation,"
    " codec, data, 9, 1), NULL, data FROM block WHERE id = 1",
    "nobody looks at layer 9", true },
  /* Rows that nobody sees. */
  { "UPDATE layer SET generation = 5 WHERE id = 1; INSERT INTO block SELECT"
    " 99, 1, 3, 4, 1, moved_checksum (checksum, layer, number, generation,"
    " codec, data, 1, 4), NULL, data FROM block WHERE id = 11",
    "orphan: : 1 block of layer 1 that nobody shows", true },
  { "INSERT INTO block SELECT 99, 7, 0, 1, 1, moved_checksum (checksum,"
    " layer, number, generation, codec, data, 7, 1), NULL, data FROM block"
    " WHERE id = 1",
    "1 block of layer 7, but no such layer", true },
  { "INSERT INTO content VALUES (1, 2, 4096, 1, 3, x'00')", "", false },
  /* Disks and snapshots. */
  { "UPDATE disk SET size = size + 4096 WHERE id = 1",
    "disk: web: disk number 1: its checksum", false },
  { "UPDATE disk SET layer = 77 WHERE id = 1", "its layer is missing", false },
  { "UPDATE disk SET block_size = 8192 WHERE id = 1",
    "4096 bytes of data for a block of 8192", false },
  { "UPDATE snapshot SET generation = 2 WHERE id = 1",
    "snapshot: web@a: snapshot number 1: a disk still writes", false },
  { "UPDATE snapshot SET generation = 7 WHERE id = 1",
    "its layer has no such generation", false },
  { "UPDATE snapshot SET last_block = (1 << 62) WHERE id = 1",
    "its id or its last block is impossible", false },
  { "UPDATE snapshot SET disk = 5 WHERE id = 1", "its disk is missing", false },
  { "UPDATE snapshot SET size = 0 WHERE id = 1", "its size is impossible",
    false },
  /* What is kept about them. */
  { "INSERT INTO reclaim VALUES (77, 0, 0)",
    "layer 77: it waits to be freed, but is not there", true },
  { "INSERT INTO counted VALUES (77, 0, 0)", "layer 77: it was counted", true },
  { "UPDATE counted SET bytes = bytes + 1", "its bytes were not counted right",
    true },
  { "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'layer'",
    "the counters of the ids", true },
  { "UPDATE sqlite_sequence SET name = 'layes' WHERE name = 'layer'",
    "the counters of the ids", true },
  /* Behind the end. */
  { "INSERT INTO block SELECT 99, 1, 100, 2, 1, checksum, NULL, data"
    " FROM block WHERE id = 1;"
    "UPDATE block SET checksum = moved_checksum (0, layer, 0, 1, codec, data,"
    " layer, 1) WHERE id = 99",
    "past-end: web: 1 block behind the end of the disk", false },
  /* What copies leave. */
  { "INSERT INTO snapshot SELECT 9, disk, 'copy/1', 3, layer, generation,"
    " size, created, 0, last_block, 0 FROM snapshot",
    "leftover: : 1 interrupted copy", true },
  { "INSERT INTO layer VALUES (9, NULL, NULL, 1, 0);"
    "INSERT INTO disk (id, name, description, size, block_size, layer,"
    " epoch, compression, compression_level, deduplicate, created, checksum)"
    " SELECT 9, 'web/receiving', '', size, block_size, 9, 1, 1, 0, 0, 0, 0 "
    "FROM disk WHERE id = 1",
    "leftover: : an interrupted reception", true },
};

static void
test_changes (void **state)
{
  (void)state;
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
    char *path = make_database ();
    const bool keeps_checksum =
        strstr (changes[i].change, "layer SET checksum") != NULL ||
        strstr (changes[i].change, "size = size + 4096") != NULL;

    print_message ("%s\n", changes[i].change);
    if (keeps_checksum)
      unit_sql_hostile (path, "%s", changes[i].change);
    else
      unit_sql_hostile (path, "%s; %s; %s; %s", changes[i].change,
                        unit_layer_checksums, unit_disk_checksums,
                        unit_snapshot_checksums);
    expect (path, changes[i].text);
    mend (path);
    if (changes[i].mended) {
      expect (path, NULL);
      expect_all (path);
    }
    unlink (path);
  }
}

/* Have an index that disagrees with its table. */
static void
change_index (const char *path)
{
  sqlite3 *db = unit_open_raw (path);
  sqlite3_stmt *index;
  char *sql;
  int root;

  assert_int_equal (
      sqlite3_prepare_v2 (db,
                          "SELECT rootpage, sql FROM sqlite_schema"
                          " WHERE name = 'block_by_number'",
                          -1, &index, NULL),
      SQLITE_OK);
  assert_int_equal (sqlite3_step (index), SQLITE_ROW);
  root = sqlite3_column_int (index, 0);
  sql = strdup ((const char *)sqlite3_column_text (index, 1));
  assert_non_null (sql);
  sqlite3_finalize (index);
  unit_sql (db,
            "DELETE FROM sqlite_schema WHERE name = 'block_by_number';"
            "PRAGMA writable_schema = RESET;"
            "PRAGMA writable_schema = ON;"
            "UPDATE block SET id = 70 WHERE id = 7;"
            "INSERT INTO sqlite_schema VALUES ('index', 'block_by_number',"
            " 'block', %d, %Q)",
            root, sql);
  free (sql);
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
}

/* What the table says counts. */
static void
test_index (void **state)
{
  char *path = make_database ();

  (void)state;
  change_index (path);
  expect (path, "row 13 missing from index block_by_number");
  mend (path);
  expect (path, NULL);
  expect_all (path);
}

/* Change the byte of page NUMBER at OFFSET by CHANGE. */
static void
change_byte (const char *path, uint32_t number, unsigned offset,
             unsigned char change)
{
  size_t size;
  char *bytes = unit_read_file (path, &size);

  assert_true (number * 4096 <= size);
  bytes[(number - 1) * 4096 + offset] ^= change;
  unit_write_file (path, bytes, size);
  free (bytes);
}

/* The page where the first leaf of the index of blocks is. */
static uint32_t
find_index_page (const char *path)
{
  sqlite3 *db = unit_open_raw (path);
  const uint32_t number = unit_integer (db, "SELECT max (pageno) FROM dbstat"
                                            " WHERE name = 'block_by_number'"
                                            " AND pagetype = 'leaf'");

  unit_sql (db, "PRAGMA wal_checkpoint (TRUNCATE)");
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
  return number;
}

/* Does opening a disk, or reading its first block, fail as it should? */
static void
expect_read_error (const char *path)
{
  struct store *store = unit_open_store (path);
  struct status status;
  struct disk *disk = disk_open (store, "web", true, &status);
  char block[BLOCK];

  assert_non_null (disk);
  assert_fails (disk_read (disk, block, 0, BLOCK, &status), &status, EIO,
                "does not fit its checksum");
  disk_close (disk);
  store_close (store);
}

/* A byte that means nothing: nothing is read from the page until it has been
 * accepted.
 */
static void
test_page (void **state)
{
  char *path = make_database ();
  const uint32_t number = find_index_page (path);

  (void)state;
  expect (path, NULL);
  /* The checksum itself. */
  change_byte (path, number, 4090, 1);
  expect (path, "does not fit its checksum");
  expect_read_error (path);
  mend (path);
  expect (path, NULL);
  expect_all (path);
}

/* A page that is free twice would be used twice. */
static void
test_free_twice (void **state)
{
  char *path = make_database (), *bytes;
  unsigned char *trunk;
  uint32_t number;
  size_t size;
  sqlite3 *db;

  (void)state;
  db = unit_open_raw (path);
  unit_sql (db, "CREATE TABLE more (x); INSERT INTO more VALUES"
                " (zeroblob (40960)); DROP TABLE more;"
                "PRAGMA wal_checkpoint (TRUNCATE)");
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
  expect (path, NULL);
  bytes = unit_read_file (path, &size);
  number = big_endian ((unsigned char *)bytes + 32);
  assert_true (number > 0 && number * (size_t)4096 <= size);
  trunk = (unsigned char *)bytes + (number - 1) * (size_t)4096;
  assert_true (big_endian (trunk + 4) >= 2);
  memcpy (trunk + 12, trunk + 8, 4);
  seal_pages ((unsigned char *)bytes, size);
  unit_write_file (path, bytes, size);
  free (bytes);
  expect (path, "2nd reference");
}

/* Where there is other damage pages are not accepted. */
static void
test_page_and_more (void **state)
{
  char *path = make_database ();
  const uint32_t number = find_index_page (path);

  (void)state;
  unit_sql_on (path, "UPDATE layer SET parent_generation = 9 WHERE id = 2");
  change_byte (path, number, 4090, 1);
  expect (path, "does not fit its checksum");
  mend (path);
  expect (path, "does not fit its checksum");
}

/* Another program moves the log into the database: pages without checksums
 * are read, and get one when they are written again.
 */
static void
test_foreign_checkpoint (void **state)
{
  char *path = make_database ();
  struct store *store = unit_open_store (path);
  struct status status;
  struct disk *disk = disk_open (store, "web", false, &status);
  char block[BLOCK];
  sqlite3 *db;

  (void)state;
  assert_non_null (disk);
  memset (block, 'n', sizeof block);
  assert_ok (disk_write (disk, block, 0, BLOCK, true, &status), &status);
  assert_int_equal (sqlite3_open_v2 (path, &db, SQLITE_OPEN_READWRITE, NULL),
                    SQLITE_OK);
  unit_sql (db, "PRAGMA wal_checkpoint (TRUNCATE)");
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
  disk_close (disk);
  store_close (store);
  expect (path, NULL);
  store = unit_open_store (path);
  disk = disk_open (store, "web", true, &status);
  assert_non_null (disk);
  memset (block, 0, sizeof block);
  assert_ok (disk_read (disk, block, 0, BLOCK, &status), &status);
  assert_int_equal (block[0], 'n');
  disk_close (disk);
  store_close (store);
}

/* What another program has changed fails until it is accepted. */
static void
test_foreign_change (void **state)
{
  char *path = make_database ();
  sqlite3 *db;

  (void)state;
  assert_int_equal (sqlite3_open_v2 (path, &db, SQLITE_OPEN_READWRITE, NULL),
                    SQLITE_OK);
  unit_sql (db, "CREATE VIEW mine AS SELECT 1");
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
  expect (path, " does not fit its checksum");
  mend (path);
  expect (path, NULL);
  expect_all (path);
}

/* A key that was changed in its row is known from the index only, by which it
 * is found: that must not be made anew.
 */
static void
test_changed_key (void **state)
{
  char *path = make_database (), *bytes;
  struct findings findings;
  size_t size, place = 0;
  sqlite3 *db;

  (void)state;
  /* The 8 bytes of the checksum stand between the number and the data; a
   * generation of 1 takes none.
   */
  db = unit_open_raw (path);
  unit_sql (db, "PRAGMA wal_checkpoint (TRUNCATE)");
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
  bytes = unit_read_file (path, &size);
  while (memcmp (bytes + place, "jjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjj", 32) != 0)
    assert_true (++place + 32 < size);
  assert_int_equal (bytes[place - 9], 9);
  bytes[place - 9] = 30;
  seal_pages ((unsigned char *)bytes, size);
  unit_write_file (path, bytes, size);
  free (bytes);
  check (path, &findings);
  assert_non_null (strstr (findings.text, "its checksum does not match"));
  mend (path);
  check (path, &findings);
  assert_non_null (strstr (findings.text, "its checksum does not match"));
  expect_all (path);
}

/* Interrupted, it says so. */
static int
interrupt (uint64_t done, uint64_t total, void *opaque)
{
  (void)done;
  (void)total;
  (void)opaque;
  return 1;
}

static void
test_interrupted (void **state)
{
  const struct check_options options = { .progress = interrupt };
  char *path = make_database ();
  struct store *store = unit_open_store (path);
  struct check_counts counts;
  struct status status;

  (void)state;
  assert_fails (check_database (store, &options, &counts, &status), &status,
                ECANCELED, "interrupted");
  store_close (store);
}

/* Whoever is told of a problem takes some time, and hears nothing else. */
struct listener {
  atomic_bool told;
  atomic_int problems, overlaps;
};

static void
listen_slowly (const struct check_problem *problem, void *opaque)
{
  struct listener *listener = opaque;

  (void)problem;
  atomic_store (&listener->told, true);
  usleep (100000);
  atomic_store (&listener->told, false);
  atomic_fetch_add (&listener->problems, 1);
}

static int
listen_to_progress (uint64_t done, uint64_t total, void *opaque)
{
  struct listener *listener = opaque;

  (void)done;
  (void)total;
  if (atomic_load (&listener->told))
    atomic_fetch_add (&listener->overlaps, 1);
  return 0;
}

static void
test_told_one_by_one (void **state)
{
  struct listener listener = { .problems = 0 };
  const struct check_options options = {
    .found = listen_slowly,
    .progress = listen_to_progress,
    .opaque = &listener,
  };
  char *path = make_database ();
  struct check_counts counts;
  struct store *store;
  struct status status;

  (void)state;
  change_index (path);
  store = unit_open_store (path);
  assert_ok (check_database (store, &options, &counts, &status), &status);
  store_close (store);
  assert_int_not_equal (atomic_load (&listener.problems), 0);
  assert_int_equal (atomic_load (&listener.overlaps), 0);
}

/* While the database is read, which takes some time, others commit. */
static struct connection beside;
static bool committing;

static int
commit_beside (struct shim_call *call)
{
  static const char insert_sql[] = UNIT_NOTE ("hex (randomblob (8))");
  struct status status;

  if (!committing || call->method != SHIM_READ || call->file != SHIM_DATABASE)
    return SQLITE_OK;
  committing = false;
  assert_ok (marking_begin (&beside, &status), &status);
  assert_ok (connection_run (&beside, insert_sql, &status), &status);
  assert_ok (connection_run (&beside, unit_property_checksums, &status),
             &status);
  assert_ok (connection_commit (&beside, &status), &status);
  committing = true;
  usleep (100000);
  return SQLITE_OK;
}

/* SQLite's check is given up when the log grows by more than it may. */
static void
test_given_up (void **state)
{
  static const int64_t growths[] = { INT64_C (1) << 30, 1 };
  char *path = make_database ();

  (void)state;
  unit_open (&beside, path, CONNECTION_WRITE);
  for (int i = 0; i < 2; i++) {
    const struct check_options options = { .log_growth = growths[i] };
    struct store *store = unit_open_store (path);
    struct check_counts counts;
    struct status status;

    committing = true;
    assert_ok (check_database (store, &options, &counts, &status), &status);
    committing = false;
    assert_int_equal (counts.problems, 0);
    assert_int_equal (counts.file_not_checked, i == 1);
    store_close (store);
  }
  unit_close (&beside);
}

static const struct shim_hooks hooks = { .before = commit_beside };

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_well),
    unit_test (test_changes),
    unit_test (test_index),
    unit_test (test_page),
    unit_test (test_free_twice),
    unit_test (test_page_and_more),
    unit_test (test_foreign_checkpoint),
    unit_test (test_foreign_change),
    unit_test (test_changed_key),
    unit_test (test_interrupted),
    unit_test (test_told_one_by_one),
    unit_test (test_given_up),
  };

  shim_install (&hooks);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
