/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Pages of every kind, each with one bit changed: who reads the page, or any
 * part of it, gets an error, so that it makes no difference how an SQLite
 * reads.  Where nobody reads it, it does no harm.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rows.h"

#include "base/bytes.h"
#include "sqlite/page.h"
#include "check/rawfile.h"

#define SIZE  4096
#define ROUND 3 /* pages of each kind that are tried */

/* The locks of the log's index: the first of those of the read marks. */
#define LOCK_READ_MARK 3

enum kind {
  FIRST_PAGE,
  ROW_LEAF,
  ROW_INTERIOR,
  KEY_LEAF,
  KEY_INTERIOR,
  OVERFLOW_FIRST,
  OVERFLOW_MIDDLE,
  OVERFLOW_LAST,
  POINTER_MAP,
  FREE_TRUNK,
  FREE_LEAF,
  OTHER,
};

static const char *const kind_names[] = {
  [FIRST_PAGE] = "page 1",
  [ROW_LEAF] = "leaf of a table",
  [ROW_INTERIOR] = "interior page of a table",
  [KEY_LEAF] = "leaf of an index",
  [KEY_INTERIOR] = "interior page of an index",
  [OVERFLOW_FIRST] = "first page of an overflow",
  [OVERFLOW_MIDDLE] = "page of an overflow",
  [OVERFLOW_LAST] = "last page of an overflow",
  [POINTER_MAP] = "pointer map",
  [FREE_TRUNK] = "trunk of the free list",
  [FREE_LEAF] = "leaf of the free list",
};

/* The database as it was made, and where it is spoiled. */
static char *bytes;
static size_t size;
static const char *spoiled;
static char *rows_right, *keys_right; /* what the queries answer */
static sqlite3_file *file;            /* of a connection to SPOILED */

/*--------------------------------------------------------------------
 * The database.
 */

/* A database with pages of every kind. */
static void
make_database (void)
{
  struct rows rows;

  rows_open (&rows, UINT64_C (1) << 30, SIZE);
  unit_sql (rows.db,
            "WITH RECURSIVE n (n) AS"
            " (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 4000)"
            " INSERT INTO block (layer, number, generation, codec, checksum,"
            " data) SELECT 1, n, 1, 1, n,"
            " randomblob (iif (n %% 200, 50, 50000)) FROM n;"
            "DELETE FROM block WHERE number > 3500;"
            "PRAGMA wal_checkpoint (TRUNCATE)");
  bytes = unit_read_file (rows.path, &size);
  assert_non_null (bytes);
  rows_close (&rows);
}

static bool
is_free_trunk (uint32_t number)
{
  uint32_t trunk =
      big_endian ((const unsigned char *)bytes + PAGE_HEADER_TRUNK);

  for (; trunk != 0 && trunk != number;
       trunk = big_endian ((const unsigned char *)bytes + (trunk - 1) * SIZE))
    ;
  return trunk == number;
}

static enum kind
kind_of (struct rawfile *pages, uint32_t number)
{
  if (number == 1)
    return FIRST_PAGE;
  rawfile_get (pages, number);
  switch (rawfile_use (pages, number)) {
  case PAGE_MAP:
    return POINTER_MAP;
  case PAGE_FREE:
    return is_free_trunk (number) ? FREE_TRUNK : FREE_LEAF;
  case PAGE_OVERFLOW:
    return OVERFLOW_FIRST;
  case PAGE_OVERFLOW_MORE:
    return big_endian (pages->page) ? OVERFLOW_MIDDLE : OVERFLOW_LAST;
  case PAGE_TREE:
    return pages->page[0] == TABLE_LEAF   ? ROW_LEAF
           : pages->page[0] == INDEX_LEAF ? KEY_LEAF
                                          : OTHER;
  default:
    return pages->page[0] == TABLE_INTERIOR   ? ROW_INTERIOR
           : pages->page[0] == INDEX_INTERIOR ? KEY_INTERIOR
                                              : OTHER;
  }
}

/* Is it one of those that the queries read, so that they must fail? */
static bool
is_queried (enum kind kind)
{
  return kind < POINTER_MAP;
}

/*--------------------------------------------------------------------
 * Reading it.
 */

/* What a query answers, in a new string; NULL where it fails for the checksum
 * of a page.
 */
static char *
ask (struct connection *connection, const char *sql)
{
  sqlite3_stmt *statement;
  char *answer = NULL;
  int rc = sqlite3_prepare_v2 (connection->db, sql, -1, &statement, NULL);

  if (rc == SQLITE_OK)
    rc = sqlite3_step (statement);
  if (rc == SQLITE_ROW)
    answer = strdup ((const char *)sqlite3_column_text (statement, 0));
  else
    assert_int_equal (sqlite3_extended_errcode (connection->db),
                      SQLITE_IOERR_DATA);
  sqlite3_finalize (statement);
  return answer;
}

static char *
ask_rows (struct connection *connection)
{
  return ask (connection,
              "SELECT sum (length (data)) || hex (max (data))"
              " || sum (unicode (substr (hex (data), -1))) FROM block"
              " NOT INDEXED");
}

static char *
ask_keys (struct connection *connection)
{
  return ask (connection,
              "SELECT count (*) || sum (number) || sum (generation) FROM block"
              " INDEXED BY block_by_number WHERE layer = 1");
}

/* Ask a query of the spoiled file: true if it fails; else it must be right.
 */
static bool
query_fails (struct connection *connection,
             char *(*query) (struct connection *connection), const char *right)
{
  char *answer = query (connection);
  const bool failed = answer == NULL;

  if (!failed)
    assert_string_equal (answer, right);
  free (answer);
  return failed;
}

static void
check_queries (enum kind kind)
{
  struct connection connection;
  struct status status;
  bool failed;

  /* It may be one of the schema. */
  if (connection_open (&connection, spoiled, CONNECTION_READ, NULL, &status) ==
      -1) {
    assert_int_equal (status.sqlite, SQLITE_IOERR_DATA);
    assert_true (is_queried (kind));
    return;
  }
  failed = query_fails (&connection, ask_rows, rows_right);
  failed = query_fails (&connection, ask_keys, keys_right) || failed;
  assert_int_equal (failed, is_queried (kind));
  connection_close (&connection);
}

/* Use the free pages and the pointer map: right or an error. */
static void
check_changes (enum kind kind)
{
  static const char change_sql[] =
      "UPDATE block SET data = randomblob (100000) WHERE number = 1";
  static const char move_sql[] = "PRAGMA incremental_vacuum (5)";
  struct connection connection;
  struct status status;
  bool well;

  unit_open (&connection, spoiled, CONNECTION_WRITE);
  well = connection_run (&connection, change_sql, &status) == 0 &&
         connection_run (&connection, move_sql, &status) == 0;
  if (!well)
    assert_int_equal (status.sqlite, SQLITE_IOERR_DATA);
  connection_close (&connection);
  assert_true (well || kind != FREE_LEAF);
  assert_true (!well || kind != FREE_TRUNK);
  if (kind == FREE_LEAF)
    unit_assert_sound (spoiled);
}

/*--------------------------------------------------------------------
 * Reading it directly.
 */

static int
read_file (void *data, int count, int64_t offset)
{
  return file->pMethods->xRead (file, data, count, offset);
}

/* The page NUMBER is the spoiled one: each read of a part of it must fail,
 * those beside it must give what is there.
 */
static void
check_reads (uint32_t number, uint64_t *seed)
{
  const int64_t page = (int64_t)(number - 1) * SIZE;
  /* SQLite looks at these without a lock. */
  const int least = number == 1 ? PAGE_HEADER_SIZE : 0;
  char data[2 * SIZE];
  int at, count;

  assert_int_equal (read_file (data, SIZE, page), SQLITE_IOERR_DATA);
  for (count = SIZE; count > least; count -= 1 + random_below (seed, 300))
    assert_int_equal (read_file (data, count, page), SQLITE_IOERR_DATA);
  for (count = SIZE / 2; count > 128; count /= 2)
    for (at = 0; at < SIZE; at += count)
      assert_int_equal (read_file (data, count, page + at), SQLITE_IOERR_DATA);
  for (int i = 0; i < 20; i++) {
    at = least + random_below (seed, SIZE - least);
    count = 1 + random_below (seed, SIZE - at);
    assert_int_equal (read_file (data, count, page + at), SQLITE_IOERR_DATA);
  }
  if (number > 1) {
    assert_int_equal (read_file (data, 10, page - 5), SQLITE_IOERR_DATA);
    assert_int_equal (read_file (data, SIZE, page - 100), SQLITE_IOERR_DATA);
    assert_int_equal (read_file (data, 500, page - 500), SQLITE_OK);
    assert_memory_equal (data, bytes + page - 500, 500 - PAGE_CHECKSUM_SIZE);
    for (int i = 500 - PAGE_CHECKSUM_SIZE; i < 500; i++)
      assert_int_equal (data[i], 0);
  }
  else {
    assert_int_equal (read_file (data, PAGE_HEADER_SIZE, 0), SQLITE_OK);
    assert_int_equal (read_file (data, 16, 24), SQLITE_OK);
  }
  if (page + SIZE + 100 < (int64_t)size) {
    assert_int_equal (read_file (data, 100, page + SIZE), SQLITE_OK);
    assert_memory_equal (data, bytes + page + SIZE, 100);
  }
}

/* Open what may be anything, only to read its bytes. */
static sqlite3 *
open_bytes (void)
{
  sqlite3 *db;

  assert_int_equal (
      sqlite3_open_v2 (spoiled, &db, SQLITE_OPEN_READONLY, VFS_CHECKSUM_NAME),
      SQLITE_OK);
  assert_int_equal (
      sqlite3_file_control (db, "main", SQLITE_FCNTL_FILE_POINTER, &file),
      SQLITE_OK);
  return db;
}

/* The same while pages are read ahead, and by a connection that writes. */
static void
check_all_reads (uint32_t number, uint64_t *seed)
{
  struct connection connection;
  struct status status;
  char part[SIZE];

  for (int i = 0; i < 3; i++) {
    sqlite3 *db = NULL;

    if (i == 0) {
      assert_ok (
          connection_open (&connection, spoiled, CONNECTION_LOG, NULL, &status),
          &status);
      assert_int_equal (sqlite3_file_control (connection.db, "main",
                                              SQLITE_FCNTL_FILE_POINTER, &file),
                        SQLITE_OK);
    }
    else
      db = open_bytes ();
    /* In order, by parts as SQLite reads overflow pages. */
    for (uint32_t before = number > 12 ? number - 12 : 1;
         i == 2 && before < number; before++)
      assert_int_equal (
          read_file (part, SIZE - 8, (before - 1) * (int64_t)SIZE), SQLITE_OK);
    check_reads (number, seed);
    if (i == 0)
      connection_close (&connection);
    sqlite3_close (db);
  }
}

/*--------------------------------------------------------------------
 * All kinds.
 */

/* A bit of page NUMBER, which is of KIND, is another. */
static void
spoil_page (uint32_t number, uint64_t *seed)
{
  const size_t least = number == 1 ? PAGE_HEADER_SIZE : 0;
  const size_t at =
      (number - 1) * (size_t)SIZE + least + random_below (seed, SIZE - least);
  const int bit = 1 << random_below (seed, 8);

  print_message ("page %u, byte %zu, bit %d\n", number, at % SIZE, bit);
  bytes[at] ^= bit;
  unit_write_file (spoiled, bytes, size);
  bytes[at] ^= bit;
}

static void
for_each_page (void (*check) (enum kind kind, uint32_t number, uint64_t *seed))
{
  uint64_t seed = unit_seed ();
  struct status status;
  struct rawfile *pages;
  uint32_t first;
  int left;

  make_database ();
  spoiled = unit_path ("spoiled.sqlite");
  unit_write_file (spoiled, bytes, size);
  pages = rawfile_open (spoiled, 0, &status);
  assert_non_null (pages);
  for (enum kind kind = FIRST_PAGE; kind < OTHER; kind++) {
    print_message ("%s:\n", kind_names[kind]);
    first = random_below (&seed, pages->count);
    left = ROUND;
    for (uint32_t i = 0; left > 0 && i < pages->count; i++) {
      const uint32_t number = (first + i) % pages->count + 1;

      if (kind_of (pages, number) == kind) {
        check (kind, number, &seed);
        left--;
      }
    }
    assert_true (left < ROUND);
  }
  rawfile_close (pages);
  free (bytes);
}

static void
try_reads (enum kind kind, uint32_t number, uint64_t *seed)
{
  (void)kind;
  spoil_page (number, seed);
  check_all_reads (number, seed);
}

static void
test_parts (void **state)
{
  (void)state;
  for_each_page (try_reads);
}

static void
try_sqlite (enum kind kind, uint32_t number, uint64_t *seed)
{
  struct connection connection;

  if (rows_right == NULL) {
    unit_open (&connection, spoiled, CONNECTION_READ);
    rows_right = ask_rows (&connection);
    keys_right = ask_keys (&connection);
    connection_close (&connection);
    assert_non_null (rows_right);
    assert_non_null (keys_right);
  }
  spoil_page (number, seed);
  check_queries (kind);
  if (!is_queried (kind))
    check_changes (kind);
}

static void
test_sqlite (void **state)
{
  (void)state;
  for_each_page (try_sqlite);
  free (rows_right);
  free (keys_right);
}

/*--------------------------------------------------------------------
 * The header.
 */

/* Does an SQLite that copies the database change this byte of it? */
static bool
is_changing (int place)
{
  return place == 18 || place == 19 || (place >= 24 && place <= 27) ||
         (place >= 40 && place <= 43) || (place >= 92 && place <= 99);
}

/* Each bit of it counts, but for those. */
static void
test_header (void **state)
{
  char page[SIZE];
  sqlite3 *db;

  (void)state;
  make_database ();
  spoiled = unit_path ("spoiled.sqlite");
  unit_write_file (spoiled, bytes, size);
  db = open_bytes ();
  assert_int_equal (read_file (page, SIZE, 0), SQLITE_OK);
  for (int bit = 0; bit < 8 * PAGE_HEADER_SIZE; bit++) {
    bytes[bit / 8] ^= 1 << bit % 8;
    unit_write_file (spoiled, bytes, SIZE);
    assert_int_equal (read_file (page, SIZE, 0),
                      is_changing (bit / 8) ? SQLITE_OK : SQLITE_IOERR_DATA);
    bytes[bit / 8] ^= 1 << bit % 8;
  }
  sqlite3_close (db);
  free (bytes);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_header),
    unit_test (test_parts),
    unit_test (test_sqlite),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
