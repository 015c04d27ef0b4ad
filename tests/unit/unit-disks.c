/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Disks: names, options, finding them, how their blocks fill pages; and the
 * checksums of format 1.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sane.h"
#include "unit.h"

#include "block/checksum.h"
#include "rows/database.h"
#include "sqlite/marking.h"

/*--------------------------------------------------------------------
 * Checksums, against values that xxhsum -H3 computed (xxhash 0.8.1).  A
 * change here is a change of the format.
 */

/* The bytes that were hashed: byte I is I * I + 3 * I + 7. */
static const unsigned char *
sample (void)
{
  static unsigned char bytes[1 << 20];

  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = i * i + 3 * i + 7;
  return bytes;
}

static void
test_checksum_bytes (void **state)
{
  static const struct {
    size_t length;
    uint64_t hash;
  } cases[] = {
    { 0, UINT64_C (0x2d06800538d394c2) },
    { 1, UINT64_C (0x4c5cca45d0f4811f) },
    { 16, UINT64_C (0x4b66f62b89709939) },
    { 128, UINT64_C (0xe9ba3bbc0d07ad2b) },
    { 240, UINT64_C (0xfd257e44ff978149) },
    { 241, UINT64_C (0xbb9bbcf86b96eaa5) },
    { 512, UINT64_C (0x8ce1ccf87ecd95be) },
    { 4096, UINT64_C (0x8d10dafe26981195) },
    { 1 << 20, UINT64_C (0x1682e2d3e543a103) },
  };

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    assert_int_equal (checksum_bytes (sample (), cases[i].length),
                      cases[i].hash);
  assert_int_equal (checksum_bytes (NULL, 0), cases[0].hash);
}

static void
test_checksum_block (void **state)
{
  (void)state;
  assert_int_equal (checksum_block (1, 0, 1, 0, 0, checksum_bytes (NULL, 0)),
                    INT64_C (-5339665344063123875));
  assert_int_equal (checksum_block (7, (INT64_C (1) << 54) - 1, 3, 1, 4096,
                                    checksum_bytes (sample (), 4096)),
                    INT64_C (3015159225089809471));
  assert_int_equal (checksum_block (INT64_MAX, 2, (INT64_C (1) << 40) + 5, 2,
                                    1000, checksum_bytes (sample (), 1000)),
                    INT64_C (195333460781178107));
}

static void
test_row_checksum (void **state)
{
  sqlite3 *db;

  (void)state;
  unit_create (unit_database (), &(struct disk_options){ .size = 1 });
  db = unit_open_raw (unit_database ());
  assert_int_equal (
      unit_integer (db, "SELECT row_checksum ('layer', 1, NULL, NULL, 1)"),
      INT64_C (-8497769516294321862));
  assert_int_equal (
      unit_integer (db, "SELECT row_checksum ('layer', 7, 5, 9, 4)"),
      INT64_C (-7683633406868307920));
  assert_int_equal (
      unit_integer (db, "SELECT row_checksum ('x', -1, '', NULL,"
                        " 9223372036854775807, -9223372036854775807 - 1)"),
      INT64_C (3585619995892439953));
  assert_int_equal (
      unit_integer (db, "SELECT row_checksum ('disk', 3, 'Plätze', 'für alle',"
                        " 9223372036854775807, 4096, 7, 2, 1, 0, 0, NULL,"
                        " 3600, '24h 7d', 1700000000)"),
      INT64_C (6764960323610518869));
  sqlite3_close (db);
}

/* The rows of a new database have the checksums that schema.sql says. */
static void
test_checksums_of_rows (void **state)
{
  sqlite3 *db;

  (void)state;
  unit_create (unit_database (), &(struct disk_options){
                                     .name = "Plätze",
                                     .size = 12345,
                                     .storing.compression = { CODEC_RAW, 0 } });
  db = unit_open_raw (unit_database ());
  assert_int_equal (unit_integer (db, "SELECT checksum FROM layer"),
                    INT64_C (-8497769516294321862));
  assert_int_equal (
      unit_integer (db, "SELECT checksum = row_checksum ('disk', 1, 'Plätze',"
                        " '', 12345, 4096, 1, 1, 1, 0, 0, NULL,"
                        " created) FROM disk"),
      1);
  sqlite3_close (db);
}

/*--------------------------------------------------------------------
 * What a user may ask for.
 */

static int
check_name (const char *name, struct status *status)
{
  return sane_check_options (&(struct disk_options){ .name = name, .size = 1 },
                             status);
}

/* COUNT times the letter 'n'. */
static const char *
long_name (size_t count)
{
  static char name[5000];

  assert_true (count < sizeof name);
  memset (name, 'n', count);
  name[count] = '\0';
  return name;
}

/* Names of disks. */
static const char *const good_names[] = {
  "disk",
  "a",
  "a b",
  " ",
  "..",
  "-",
  "'; DROP TABLE",
  "%n%s",
  "Pl\xc3\xa4tze",
  "\xe2\x82\xac",
  "\xed\x9f\xbf",
  "\xee\x80\x80",
  "\xef\xbf\xbf",
  "\xf0\x90\x80\x80",
  "\xf4\x8f\xbf\xbf",
};

static const char *const bad_names[] = {
  /* Reserved and control characters. */
  "/",
  "a/b",
  "\n",
  "a\tb",
  "\x1f",
  "\x7f",
  "\x1b[1m",
  "\xc2\x80",
  "\xc2\x9b",
  "\xc2\x9f",
  /* Not UTF-8: alone, cut off, overlong, a surrogate, too large. */
  "\x80",
  "a\xbf",
  "\xff",
  "\xfe",
  "\xc3",
  "a\xc3",
  "\xc3z",
  "\xe2\x82",
  "\xe2\x82z",
  "\xf0\x90\x80",
  "\xc0\xaf",
  "\xc1\xbf",
  "\xe0\x9f\xbf",
  "\xf0\x8f\xbf\xbf",
  "\xed\xa0\x80",
  "\xed\xbf\xbf",
  "\xf4\x90\x80\x80",
  "\xf5\x80\x80\x80",
};

static void
test_names (void **state)
{
  struct status status;

  (void)state;
  for (size_t i = 0; i < sizeof good_names / sizeof good_names[0]; i++)
    assert_ok (check_name (good_names[i], &status), &status);
  for (size_t i = 0; i < sizeof bad_names / sizeof bad_names[0]; i++) {
    print_message ("bad name %zu\n", i);
    assert_fails (check_name (bad_names[i], &status), &status, EINVAL,
                  "cannot be the name of a disk");
  }
  assert_ok (check_name (long_name (DISK_NAME_MAX), &status), &status);
  assert_fails (check_name (long_name (DISK_NAME_MAX + 1), &status), &status,
                EINVAL, "longer than 200 bytes");
  assert_fails (check_name ("", &status), &status, EINVAL, "empty");
}

static void
test_options (void **state)
{
  static const uint32_t bad_sizes[] = {
    1, 256, 511, 513, 1000, 4095, 12288, 1048575, 2097152, 0x80000000,
  };
  struct status status;

  (void)state;
  for (uint32_t size = 512; size <= 1048576; size *= 2)
    assert_ok (sane_check_options (&(struct disk_options){ .block_size = size },
                                   &status),
               &status);
  for (size_t i = 0; i < sizeof bad_sizes / sizeof bad_sizes[0]; i++)
    assert_fails (
        sane_check_options (
            &(struct disk_options){ .block_size = bad_sizes[i] }, &status),
        &status, EINVAL, "power of two");
  assert_ok (
      sane_check_options (&(struct disk_options){ .size = INT64_MAX }, &status),
      &status);
  assert_fails (
      sane_check_options (&(struct disk_options){ .size = UINT64_C (1) << 63 },
                          &status),
      &status, EINVAL, "9223372036854775807");
}

static void
test_descriptions (void **state)
{
  static const char *const good[] = { "", "the web server's / disk @ home" };
  static const char *const bad[] = { "two\nlines", "\xff", "\x1b[1m" };
  struct status status;

  (void)state;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
    assert_ok (sane_check_options (
                   &(struct disk_options){ .description = good[i] }, &status),
               &status);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_fails (sane_check_options (
                      &(struct disk_options){ .description = bad[i] }, &status),
                  &status, EINVAL, "description");
  assert_ok (sane_check_options (
                 &(struct disk_options){ .description =
                                             long_name (DISK_DESCRIPTION_MAX) },
                 &status),
             &status);
  assert_fails (sane_check_options (
                    &(struct disk_options){
                        .description = long_name (DISK_DESCRIPTION_MAX + 1) },
                    &status),
                &status, EINVAL, "4000 bytes");
}

/* An existing disk against what is asked for. */
static void
test_match (void **state)
{
  static const struct {
    struct disk_options options;
    const char *error; /* NULL for none */
  } cases[] = {
    { { 0 }, NULL },
    { { .size = 8192 }, NULL },
    { { .block_size = 512 }, NULL },
    { { .description = "about it" }, NULL },
    { { .size = 8193 }, "has 8192 bytes, but size= asks for 8193" },
    { { .block_size = 1024 }, "blocks of 512 bytes" },
    { { .description = "" }, "'about it'" },
  };
  const struct disk_info info = {
    .name = "web",
    .description = "about it",
    .size = 8192,
    .block_size = 512,
  };
  struct status status;

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const int r = disks_check_match (&info, &cases[i].options, &status);

    if (cases[i].error == NULL)
      assert_ok (r, &status);
    else {
      assert_fails (r, &status, EINVAL, cases[i].error);
      assert_fails (r, &status, EINVAL, "disk 'web'");
    }
  }
}

/*--------------------------------------------------------------------
 * Making and finding disks.
 */

/* Make a disk in an open database.  Returns what disks_create does. */
static int
create (struct connection *connection, const struct disk_options *options,
        struct status *status)
{
  int r;

  assert_ok (marking_begin (connection, status), status);
  r = disks_create (connection, options, status);
  if (r == 0)
    assert_ok (connection_commit (connection, status), status);
  else
    connection_rollback (connection);
  return r;
}

/* A database with the disks "first", "second" and "Plätze". */
static void
make_disks (struct connection *connection)
{
  struct status status;

  unit_create (unit_database (), &(struct disk_options){
                                     .name = "first",
                                     .description = "about it",
                                     .size = 5000,
                                     .block_size = 512,
                                 });
  unit_open (connection, unit_database (), CONNECTION_WRITE);
  assert_ok (
      create (connection,
              &(struct disk_options){ .name = "second", .size = INT64_MAX },
              &status),
      &status);
  assert_ok (create (connection,
                     &(struct disk_options){ .name = "Plätze", .size = 1 },
                     &status),
             &status);
}

static void
test_create_and_find (void **state)
{
  struct connection connection;
  struct disk_info info;
  struct status status;

  (void)state;
  make_disks (&connection);
  assert_result (disks_find (&connection, "first", &info, &status), &status, 1);
  assert_string_equal (info.name, "first");
  assert_string_equal (info.description, "about it");
  assert_int_equal (info.id, 1);
  assert_int_equal (info.size, 5000);
  assert_int_equal (info.block_size, 512);

  assert_result (disks_find (&connection, "second", &info, &status), &status,
                 1);
  assert_string_equal (info.description, "");
  assert_int_equal (info.size, INT64_MAX);
  assert_int_equal (info.block_size, DISK_BLOCK_SIZE_DEFAULT);

  assert_result (disks_find (&connection, "Plätze", &info, &status), &status,
                 1);
  assert_result (disks_find (&connection, "FIRST", &info, &status), &status, 0);
  assert_result (disks_find (&connection, "%", &info, &status), &status, 0);
  connection_close (&connection);
}

/* A name that is taken: nothing is changed, and others can be made. */
static void
test_duplicate (void **state)
{
  static const char layers_sql[] = "SELECT count (*) FROM layer";
  struct connection connection;
  struct disk_info info;
  struct status status;
  int64_t layers;

  (void)state;
  make_disks (&connection);
  assert_fails (create (&connection,
                        &(struct disk_options){ .name = "second", .size = 1 },
                        &status),
                &status, EEXIST, "there is a disk 'second' already");
  assert_result (disks_find (&connection, "second", &info, &status), &status,
                 1);
  assert_int_equal (info.size, INT64_MAX);
  assert_ok (connection_integer (&connection, layers_sql, &layers, &status),
             &status);
  assert_int_equal (layers, 3);
  assert_ok (create (&connection,
                     &(struct disk_options){ .name = "fourth", .size = 1 },
                     &status),
             &status);
  connection_close (&connection);
}

/* The default disk is the oldest that is left, whatever its name. */
static void
test_default (void **state)
{
  static const char delete_sql[] = "DELETE FROM disk WHERE id = 1";
  struct connection connection;
  struct disk_info info;
  struct status status;

  (void)state;
  make_disks (&connection);
  assert_result (disks_find (&connection, NULL, &info, &status), &status, 1);
  assert_string_equal (info.name, "first");
  assert_result (disks_find (&connection, "", &info, &status), &status, 1);
  assert_string_equal (info.name, "first");
  assert_ok (connection_run (&connection, delete_sql, &status), &status);
  assert_ok (create (&connection,
                     &(struct disk_options){ .name = "a", .size = 1 }, &status),
             &status);
  assert_result (disks_find (&connection, "", &info, &status), &status, 1);
  assert_string_equal (info.name, "second");
  connection_close (&connection);
}

struct names {
  char text[100];
  int left;
};

static int
add_name (const struct disk_info *info, void *opaque)
{
  struct names *names = opaque;

  strcat (names->text, info->name);
  strcat (names->text, " ");
  return --names->left == 0;
}

static void
test_list (void **state)
{
  static const char delete_sql[] = "DELETE FROM disk";
  struct connection connection;
  struct names all = { .left = 10 }, two = { .left = 2 }, none = { .left = 1 };
  struct disk_info info;
  struct status status;

  (void)state;
  make_disks (&connection);
  assert_ok (disks_list (&connection, add_name, &all, &status), &status);
  assert_string_equal (all.text, "first second Plätze ");
  assert_ok (disks_list (&connection, add_name, &two, &status), &status);
  assert_string_equal (two.text, "first second ");

  assert_ok (connection_run (&connection, delete_sql, &status), &status);
  assert_ok (disks_list (&connection, add_name, &none, &status), &status);
  assert_string_equal (none.text, "");
  assert_result (disks_find (&connection, "", &info, &status), &status, 0);
  connection_close (&connection);
}

static void
expect_printable (const char *text)
{
  for (; *text; text++)
    assert_true ((unsigned char)*text >= 0x20 && *text != 0x7f);
}

/* The error for an unknown name names the disks that there are. */
static void
test_unknown (void **state)
{
  struct connection connection;
  struct status status;

  (void)state;
  make_disks (&connection);
  assert_fails (disks_fail_unknown (&connection, "web", &status), &status,
                ENOENT,
                "no disk 'web'; the disks are: 'first' 'second' 'Plätze'");
  assert_fails (disks_fail_unknown (&connection, long_name (4096), &status),
                &status, ENOENT, "'first' 'second' 'Plätze'");
  assert_fails (disks_fail_unknown (&connection, "a\nb\x1b[1m", &status),
                &status, ENOENT, "'first' 'second' 'Plätze'");
  expect_printable (status.message);

  /* More disks with longer names than a message can hold. */
  for (int i = 0; i < 30; i++) {
    char name[DISK_NAME_MAX + 1];

    memset (name, 'a' + i % 26, DISK_NAME_MAX);
    name[0] = 'A' + i;
    name[DISK_NAME_MAX] = '\0';
    assert_ok (create (&connection,
                       &(struct disk_options){ .name = name, .size = 1 },
                       &status),
               &status);
  }
  assert_fails (disks_fail_unknown (&connection, "web", &status), &status,
                ENOENT, "'first' 'second' 'Plätze' 'Aaaa");
  connection_close (&connection);
}

/* A disk that was deleted or rolled back is not another's. */
static void
test_view (void **state)
{
  struct connection connection;
  struct view view = { 0 };
  struct status status;

  (void)state;
  make_disks (&connection);
  assert_ok (disks_view (&connection, 2, 1, &view, &status), &status);
  assert_int_equal (view.size, INT64_MAX);
  assert_int_equal (view.block_size, DISK_BLOCK_SIZE_DEFAULT);
  assert_int_equal (view.depth, 1);
  assert_int_equal (view.layers[0].layer, 2);
  assert_int_equal (view.layers[0].generation, 1);
  assert_fails (disks_view (&connection, 2, 2, &view, &status), &status, EIO,
                "connect again");
  assert_true (status.changed);
  assert_fails (disks_view (&connection, 4, 1, &view, &status), &status, EIO,
                "connect again");
  assert_true (status.changed);
  assert_fails (view_check_range (&view, 1, INT64_MAX, ENOSPC, &status),
                &status, ENOSPC, "has shrunk");
  assert_true (status.changed);
  status_no_memory (&status);
  assert_false (status.changed);
  view_free (&view);
  connection_close (&connection);
}

/*--------------------------------------------------------------------
 * How blocks fill pages.
 */

static uint64_t
file_size (const char *path)
{
  struct stat st;

  assert_int_equal (stat (path, &st), 0);
  return st.st_size;
}

/* Store COUNT blocks of random bytes in PATH and return by how many bytes
 * the file grows.
 */
static uint64_t
fill (const char *path, uint32_t block_size, int count)
{
  sqlite3 *db = unit_open_raw (path);
  const uint64_t before = file_size (path);

  unit_sql (db,
            "WITH RECURSIVE n (n) AS"
            " (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < %d)"
            " INSERT INTO block"
            " SELECT n, 1, n, 1, 1, random (), NULL, randomblob (%d)"
            " FROM n;"
            "PRAGMA wal_checkpoint (TRUNCATE)",
            count, (int)block_size);
  assert_int_equal (unit_integer (db, "SELECT count (*) FROM block"), count);
  sqlite3_close (db);
  return file_size (path) - before;
}

/* How many blocks: 1000, but not too many bytes for a test. */
static int
enough_blocks (uint32_t block_size, uint32_t most)
{
  return block_size > most / 1000 ? most / block_size : 1000;
}

/* With the page size that a new file gets, no block takes more than half
 * of its size again.
 */
static void
test_page_sizes (void **state)
{
  (void)state;
  print_message ("  block   page  blocks       data       file  ratio\n");
  for (uint32_t block_size = 512; block_size <= 1048576; block_size *= 2) {
    const uint32_t page_size = disks_page_size (block_size);
    const int count = enough_blocks (block_size, 32 << 20);
    const uint64_t data = (uint64_t)count * block_size;
    uint64_t file;
    sqlite3 *db;

    unit_create (unit_database (), &(struct disk_options){
                                       .size = INT64_MAX,
                                       .block_size = block_size,
                                   });
    db = unit_open_raw (unit_database ());
    assert_int_equal (unit_integer (db, "PRAGMA page_size"), page_size);
    sqlite3_close (db);
    file = fill (unit_database (), block_size, count);
    print_message (
        "%7" PRIu32 " %6" PRIu32 " %7d %10" PRIu64 " %10" PRIu64 "  %5.2f\n",
        block_size, page_size, count, data, file, (double)file / data);
    assert_true (2 * file <= 3 * data);
    assert_int_equal (unlink (unit_database ()), 0);
  }
}

/* Does disks_check_packing take blocks of this size in this file? */
static bool
packs (const char *path, uint32_t block_size)
{
  const struct disk_options options = { .block_size = block_size };
  struct connection connection;
  struct status status;
  int r;

  unit_open (&connection, path, CONNECTION_READ);
  r = disks_check_packing (&connection, &options, &status);
  if (r == -1)
    assert_fails (r, &status, EINVAL, "would waste much");
  connection_close (&connection);
  return r == 0;
}

/* A file of another page size than unit_create makes. */
static char *
make_file_of_pages (uint32_t page_size)
{
  char *path = unit_path ("pages.sqlite");
  struct status status;

  assert_ok (database_make (path, page_size, NULL, NULL, &status), &status);
  return path;
}

/* For every page size: what disks_check_packing refuses wastes much, and
 * what it takes does not.  Near the limit it may say either.
 */
static void
test_packing (void **state)
{
  (void)state;
  print_message ("block sizes that waste much, by page size:\n");
  for (uint32_t page_size = 512; page_size <= 65536; page_size *= 2) {
    print_message ("%5" PRIu32 ":", page_size);
    for (uint32_t block_size = 512; block_size <= 1048576; block_size *= 2) {
      char *path = make_file_of_pages (page_size);
      const int count = 1 + enough_blocks (block_size, 2 << 20);
      const double ratio =
          (double)fill (path, block_size, count) / count / block_size;
      const bool good = packs (path, block_size);

      if (!good)
        print_message (" %" PRIu32 " (%.2f)", block_size, ratio);
      if (good ? ratio > 1.6 : ratio < 1.4)
        fail_msg ("block %" PRIu32 " in pages of %" PRIu32 ": the file takes "
                  "%.2f of the data, but it is %s",
                  block_size, page_size, ratio, good ? "taken" : "refused");
      assert_int_equal (unlink (path), 0);
    }
    print_message ("\n");
  }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_checksum_bytes),  unit_test (test_checksum_block),
    unit_test (test_row_checksum),    unit_test (test_checksums_of_rows),
    unit_test (test_names),           unit_test (test_options),
    unit_test (test_descriptions),    unit_test (test_match),
    unit_test (test_create_and_find), unit_test (test_duplicate),
    unit_test (test_default),         unit_test (test_list),
    unit_test (test_unknown),         unit_test (test_view),
    unit_test (test_page_sizes),      unit_test (test_packing),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
