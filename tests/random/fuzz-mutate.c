/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the fuzzer does to a database: see fuzz.h.
 *
 * First come changes by SQL, of rows, of index entries and of the schema,
 * then changes of bytes, of the database or its log.  Bytes are mostly
 * changed where they matter: pages begin with a header and the places of
 * their cells.
 */

#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "fuzz.h"
#include "sqlite/log.h"
#include "seal.h"
#include "unit.h"

#define LENGTH(array) (sizeof (array) / sizeof (array)[0])

unsigned
fuzz_take (struct fuzz_case *c, unsigned bound)
{
  unsigned number = 0;

  for (unsigned most = bound; most > 1 && c->left > 0; most >>= 8, c->left--)
    number = number << 8 | *c->bytes++;
  return bound > 0 ? number % bound : 0;
}

/*--------------------------------------------------------------------
 * SQL.  It may fail: an earlier change may be in the way.
 */

static void
try_sql (sqlite3 *db, const char *format, ...)
{
  va_list args;
  char *sql;

  va_start (args, format);
  sql = sqlite3_vmprintf (format, args);
  va_end (args);
  if (sql)
    sqlite3_exec (db, sql, NULL, NULL, NULL);
  sqlite3_free (sql);
}

static const char *const columns[][2] = {
  { "layer", "id" },
  { "layer", "parent" },
  { "layer", "parent_generation" },
  { "layer", "generation" },
  { "layer", "checksum" },
  { "disk", "id" },
  { "disk", "name" },
  { "disk", "description" },
  { "disk", "size" },
  { "disk", "block_size" },
  { "disk", "layer" },
  { "disk", "epoch" },
  { "disk", "compression" },
  { "disk", "checksum" },
  { "snapshot", "id" },
  { "snapshot", "disk" },
  { "snapshot", "name" },
  { "snapshot", "size" },
  { "snapshot", "created" },
  { "snapshot", "automatic" },
  { "snapshot", "checksum" },
  { "reclaim", "layer" },
  { "reclaim", "number" },
  { "reclaim", "generation" },
  { "snapshot", "layer" },
  { "snapshot", "generation" },
  { "snapshot", "last_block" },
  { "feature", "name" },
  { "feature", "disk" },
  { "feature", "class" },
  { "feature", "checksum" },
  { "property", "kind" },
  { "property", "owner" },
  { "property", "key" },
  { "property", "value" },
  { "property", "checksum" },
  { "sqlite_stat1", "stat" },
  { "block", "id" },
  { "block", "layer" },
  { "block", "number" },
  { "block", "generation" },
  { "block", "codec" },
  { "block", "checksum" },
  { "block", "data" },
};

/* The first ones are integers. */
static const char *const values[] = {
  "0",
  "-1",
  "1",
  "2",
  "3",
  "511",
  "512",
  "4096",
  "4097",
  "1048576",
  "2097152",
  "2147483648",
  "4294967296",
  "562949953421312",
  "1125899906842623",
  "9223372036854775807",
  "-9223372036854775807 - 1",
  "NULL",
  "'plain'",
  "'clone'",
  "'first'",
  "'copy/0'",
  "''",
  "'read-only'",
  "char (27, 0, 10)",
  "printf ('%.300c', 'x')",
  "x''",
  "zeroblob (1)",
  "zeroblob (511)",
  "zeroblob (512)",
  "zeroblob (4096)",
  "zeroblob (8192)",
  "zeroblob (1100000)",
};

/* Write a value for COLUMN of TABLE into TEXT: a constant, one near the
 * present one, or that of another row.
 */
static void
take_value (struct fuzz_case *c, const char *table, const char *column,
            char *text, size_t size)
{
  switch (fuzz_take (c, 4)) {
  case 0:
    snprintf (text, size, "%s + %d", column, (int)fuzz_take (c, 7) - 3);
    break;
  case 1:
    snprintf (text, size, "(SELECT %s FROM %s LIMIT 1 OFFSET %u)", column,
              table, fuzz_take (c, 250));
    break;
  default:
    snprintf (text, size, "%s", values[fuzz_take (c, LENGTH (values))]);
  }
}

/* Change one row, and if LYING give it the right checksum. */
static void
change_row (sqlite3 *db, struct fuzz_case *c, bool lying)
{
  const char *const *place = columns[fuzz_take (c, LENGTH (columns))];
  const unsigned row = fuzz_take (c, 250);
  char value[200];

  take_value (c, place[0], place[1], value, sizeof value);
  try_sql (db,
           "UPDATE OR IGNORE %s SET %s = %s WHERE rowid ="
           " (SELECT rowid FROM %s LIMIT 1 OFFSET %u %%"
           " (SELECT max (1, count (*)) FROM %s))",
           place[0], place[1], value, place[0], row, place[0]);
  if (lying)
    try_sql (db,
             "%s; %s; %s; UPDATE block SET checksum ="
             " block_checksum (layer, number, generation, codec, data)",
             unit_layer_checksums, unit_disk_checksums,
             unit_snapshot_checksums);
}

/* Indexes, as tables on the same pages; a new order of the columns makes
 * entries stand in the wrong place.
 */
static const struct {
  const char *index, *columns, *key;
} indexes[] = {
  { "block_by_number", "layer, number, generation, id",
    "layer, number, generation, id" },
  { "block_by_number", "layer, number, generation, id",
    "layer, number DESC, generation, id" },
  { "block_by_number", "layer, number, generation, id",
    "layer DESC, number, generation DESC, id" },
  { "block_zero", "layer, number, generation, id",
    "layer, number, generation, id" },
  { "block_zero", "layer, number, generation, id",
    "layer, number DESC, generation, id" },
  { "layer_by_parent", "layer, id", "layer, id" },
  { "sqlite_autoindex_disk_1", "name, id", "name, id" },
  { "sqlite_autoindex_disk_2", "layer, id", "layer, id" },
  { "snapshot_by_layer", "layer, generation, id", "layer, generation, id" },
  { "snapshot_by_last_block", "generation, id", "generation, id" },
  { "sqlite_autoindex_snapshot_1", "id, name, layer", "id, name, layer" },
};

static int
root_page (sqlite3 *db, const char *index)
{
  sqlite3_stmt *statement;
  int root = 0;

  if (sqlite3_prepare_v2 (db,
                          "SELECT rootpage FROM sqlite_schema WHERE name = ?1",
                          -1, &statement, NULL) == SQLITE_OK) {
    sqlite3_bind_text (statement, 1, index, -1, SQLITE_STATIC);
    if (sqlite3_step (statement) == SQLITE_ROW)
      root = sqlite3_column_int (statement, 0);
  }
  sqlite3_finalize (statement);
  return root;
}

/* Change, add or remove an entry of an index, not the row. */
static void
change_index (sqlite3 *db, struct fuzz_case *c)
{
  const unsigned i = fuzz_take (c, LENGTH (indexes));
  const int root = root_page (db, indexes[i].index);
  static const char *const names[] = { "layer", "number", "generation", "id",
                                       "name" };
  const char *column = names[fuzz_take (c, LENGTH (names))];
  const unsigned change = fuzz_take (c, 4), row = fuzz_take (c, 250);
  char value[200], *entry;

  take_value (c, "imposter", column, value, sizeof value);
  sqlite3_test_control (SQLITE_TESTCTRL_IMPOSTER, db, "main", 1, root);
  try_sql (db, "CREATE TABLE imposter (%s, PRIMARY KEY (%s)) WITHOUT ROWID",
           indexes[i].columns, indexes[i].key);
  sqlite3_test_control (SQLITE_TESTCTRL_IMPOSTER, db, "main", 0, 0);
  entry = sqlite3_mprintf ("WHERE (%s) = (SELECT %s FROM imposter LIMIT 1"
                           " OFFSET %u %% (SELECT max (1, count (*))"
                           " FROM imposter))",
                           indexes[i].columns, indexes[i].columns, row);
  if (change == 0)
    try_sql (db, "DELETE FROM imposter %s", entry);
  else if (change == 1)
    try_sql (db,
             "CREATE TEMP TABLE copy AS SELECT * FROM imposter %s;"
             "UPDATE copy SET %s = %s;"
             "INSERT OR IGNORE INTO imposter SELECT * FROM copy;"
             "DROP TABLE temp.copy",
             entry, column, value);
  else
    try_sql (db, "UPDATE OR IGNORE imposter SET %s = %s %s", column, value,
             entry);
  sqlite3_free (entry);
  /* Forget the imposter. */
  sqlite3_test_control (SQLITE_TESTCTRL_IMPOSTER, db, "main", 0, 1);
}

static void
change_schema (sqlite3 *db, struct fuzz_case *c)
{
  static const char *const changes[] = {
    "CREATE VIEW v AS SELECT * FROM block",
    "CREATE TRIGGER t AFTER INSERT ON block BEGIN DELETE FROM disk; END",
    "CREATE TRIGGER t BEFORE UPDATE ON block BEGIN SELECT raise (FAIL, 'x');"
    " END",
    "CREATE INDEX i ON block (data)",
    "CREATE TABLE t (a)",
    "DROP INDEX block_zero",
    "DROP TABLE sqlite_stat1",
    "ALTER TABLE block ADD COLUMN more ANY",
    "UPDATE sqlite_schema SET sql = sql || ' ' WHERE name = 'block'",
    "UPDATE sqlite_schema SET sql = NULL WHERE name = 'block_by_number'",
    "UPDATE sqlite_schema SET tbl_name = 'disk' WHERE name = 'block_zero'",
    "UPDATE sqlite_schema SET type = 'view' WHERE name = 'layer'",
    "UPDATE sqlite_schema SET rootpage = 2 WHERE name = 'block'",
    "UPDATE sqlite_schema SET rootpage = 1 WHERE name = 'block_by_number'",
    "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema"
    " WHERE name = 'block_by_number') WHERE name = 'block_zero'",
    "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema"
    " WHERE name = 'snapshot_by_layer') WHERE name = 'block_by_number'",
    "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema"
    " WHERE name = 'disk') WHERE name = 'layer'",
    "UPDATE sqlite_schema SET rootpage = 1000000 WHERE name = 'disk'",
    "UPDATE sqlite_schema SET rootpage = 0 WHERE name = 'disk'",
    "PRAGMA user_version = 6",
    "PRAGMA schema_version = -1",
    "INSERT INTO sqlite_stat1 VALUES ('block', 'block_by_number', '1 1 1 1')",
    "INSERT INTO sqlite_stat1 VALUES ('block', 'block_by_number',"
    " '9223372036854775807 0 -1 x')",
    "INSERT INTO sqlite_stat1 VALUES ('block', NULL, 'noskipscan sz=0')",
    "DELETE FROM sqlite_sequence",
    "UPDATE sqlite_sequence SET seq = 9223372036854775807",
  };

  try_sql (db, "%s", changes[fuzz_take (c, LENGTH (changes))]);
}

/* Changes by SQL; returns whether rows lie. */
static bool
change_by_sql (struct fuzz_case *c)
{
  unsigned changes = fuzz_take (c, 4);
  bool lie = false;
  sqlite3 *db;

  if (changes == 0)
    return false;
  db = fuzz_open_raw ();
  for (; changes > 0; changes--)
    switch (fuzz_take (c, 8)) {
    case 0:
      change_schema (db, c);
      break;
    case 1:
    case 2:
    case 3:
      change_row (db, c, true);
      lie = true;
      break;
    case 4:
    case 5:
      change_row (db, c, false);
      break;
    default:
      change_index (db, c);
    }
  sqlite3_close (db);
  return lie;
}

/*--------------------------------------------------------------------
 * Bytes.
 */

/* A file of pages: the database, or its log. */
struct rawfile {
  int fd;
  unsigned size, first; /* of a page, and before the first, in bytes */
  unsigned header;      /* before the bytes of each */
  unsigned count;
};

static bool
open_pages (struct rawfile *pages, bool log)
{
  char name[600];
  unsigned char header[32];
  struct stat st;

  snprintf (name, sizeof name, "%s%s", fuzz_path (), log ? "-wal" : "");
  pages->fd = open (name, O_RDWR);
  if (pages->fd == -1)
    return false;
  if (pread (pages->fd, header, sizeof header, 0) != sizeof header ||
      fstat (pages->fd, &st) == -1) {
    close (pages->fd);
    return false;
  }
  pages->first = log ? LOG_HEADER_SIZE : 0;
  pages->header = log ? FRAME_HEADER_SIZE : 0;
  pages->size =
      log ? big_endian (header + 8) : (uint32_t)header[16] << 8 | header[17];
  if (pages->size < 512 || pages->size > 65536)
    pages->size = 4096;
  pages->count =
      (st.st_size - pages->first) / (pages->header + pages->size) + 1;
  return true;
}

/* A place in the file: mostly in the first bytes of a page. */
static off_t
take_place (struct fuzz_case *c, const struct rawfile *pages)
{
  const unsigned page = fuzz_take (c, pages->count);
  const off_t start =
      pages->first + (off_t)page * (pages->header + pages->size);

  switch (fuzz_take (c, 4)) {
  case 0:
    return start + fuzz_take (c, pages->header + 13);
  case 1:
    return start + pages->header + (page == 0 ? 100 : 0) + fuzz_take (c, 64);
  default:
    return start + fuzz_take (c, pages->header + pages->size);
  }
}

/* Put some interesting bytes at PLACE. */
static void
put_bytes (struct fuzz_case *c, const struct rawfile *pages, off_t place)
{
  static const uint32_t numbers[] = { 0,          1,          2,
                                      0x7fffffff, 0x80000000, 0xffffffff,
                                      0x10000,    0x00ff00ff };
  const unsigned kind = fuzz_take (c, 4);
  uint32_t number = numbers[fuzz_take (c, LENGTH (numbers))];
  unsigned char bytes[4];

  if (kind == 0)
    number = fuzz_take (c, pages->count + 2); /* a number of a page */
  for (int i = 0; i < 4; i++)
    bytes[i] = number >> (24 - 8 * i);
  pwrite (pages->fd, bytes + (kind == 1 ? 2 : 0), kind == 1 ? 2 : 4, place);
}

/* Copy bytes, up to a page, from one place to another. */
static void
copy_bytes (struct fuzz_case *c, const struct rawfile *pages, off_t place)
{
  static char bytes[65536];
  const off_t from = take_place (c, pages);
  const unsigned page = fuzz_take (c, 3);
  const ssize_t count =
      pread (pages->fd, bytes, page ? pages->size : fuzz_take (c, 64), from);

  if (count > 0)
    pwrite (pages->fd, bytes, count, place);
}

static void
change_bytes (struct fuzz_case *c, const struct rawfile *pages)
{
  static const char zeroes[4096];
  const off_t place = take_place (c, pages);
  uint8_t byte = 0;

  switch (fuzz_take (c, 8)) {
  case 0:
    put_bytes (c, pages, place);
    break;
  case 1:
    copy_bytes (c, pages, place);
    break;
  case 2:
    pwrite (pages->fd, zeroes, fuzz_take (c, sizeof zeroes), place);
    break;
  case 3:
    if (fuzz_take (c, 4) == 0) {
      ftruncate (pages->fd, place);
      break;
    }
    /* fall through */
  case 4:
    byte = fuzz_take (c, 256);
    pwrite (pages->fd, &byte, 1, place);
    break;
  default:
    pread (pages->fd, &byte, 1, place);
    byte ^= 1 << fuzz_take (c, 8);
    pwrite (pages->fd, &byte, 1, place);
  }
}

static void
put_sums (int fd, const uint32_t sums[2], off_t place)
{
  unsigned char bytes[8];

  for (int i = 0; i < 8; i++)
    bytes[i] = sums[i / 4] >> (24 - 8 * (i % 4));
  pwrite (fd, bytes, sizeof bytes, place);
}

/* Make the sums of a log right: or else it ends at the first change. */
static void
correct_sums (const struct rawfile *pages)
{
  static unsigned char frame[FRAME_HEADER_SIZE + 65536];
  const ssize_t size = FRAME_HEADER_SIZE + pages->size;
  uint32_t sums[2] = { 0, 0 };
  unsigned char header[LOG_HEADER_SIZE];
  bool big;

  if (pread (pages->fd, header, sizeof header, 0) != sizeof header)
    return;
  big = header[3] & 1;
  log_checksum (sums, header, 24, big);
  put_sums (pages->fd, sums, 24);
  for (off_t at = LOG_HEADER_SIZE; pread (pages->fd, frame, size, at) == size;
       at += size) {
    log_checksum (sums, frame, 8, big);
    log_checksum (sums, frame + FRAME_HEADER_SIZE, pages->size / 8 * 8, big);
    put_sums (pages->fd, sums, at + 16);
  }
}

/* Make the checksums of the pages right: or else nothing is read from those
 * that were changed.
 */
static void
correct_pages (void)
{
  size_t size;
  char *bytes = unit_read_file (fuzz_path (), &size);

  seal_pages ((unsigned char *)bytes, size);
  unit_write_file (fuzz_path (), bytes, size);
  free (bytes);
}

bool
fuzz_mutate (struct fuzz_case *c)
{
  const bool lie = change_by_sql (c);
  bool correct = false;
  struct rawfile pages;

  while (c->left > 0) {
    const unsigned kind = fuzz_take (c, 8);
    const bool log = kind & 1;

    if (!open_pages (&pages, log))
      continue;
    change_bytes (c, &pages);
    if (log && kind > 1)
      correct_sums (&pages);
    correct = correct || (!log && kind > 2);
    close (pages.fd);
  }
  if (correct)
    correct_pages ();
  return lie;
}
