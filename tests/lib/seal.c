/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* seal DATABASE: give its pages checksums, see seal.h.
 * seal DATABASE rows: and its rows, but those of blocks, before that.
 * seal DATABASE live SQL: run SQL, as another program beside a server would,
 * and then give the rows of features and properties theirs, but not the pages.
 * SQL has functions for the checksums of other rows:
 *   block_checksum (layer, number, generation, codec, data)
 *   content_checksum (id, hash, size, codec, data)
 */

#include <config.h>

#include <err.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/checksum.h"
#include "rows/columns.h"
#include "seal.h"

static void
block_checksum (sqlite3_context *context, int argc, sqlite3_value **argv)
{
  const void *data = sqlite3_value_blob (argv[4]);
  const size_t length = sqlite3_value_bytes (argv[4]);

  (void)argc;
  sqlite3_result_int64 (
      context, checksum_block (
                   sqlite3_value_int64 (argv[0]), sqlite3_value_int64 (argv[1]),
                   sqlite3_value_int64 (argv[2]), sqlite3_value_int64 (argv[3]),
                   length, checksum_bytes (data, length)));
}

static void
content_checksum (sqlite3_context *context, int argc, sqlite3_value **argv)
{
  const void *data = sqlite3_value_blob (argv[4]);
  const size_t length = sqlite3_value_bytes (argv[4]);

  (void)argc;
  sqlite3_result_int64 (
      context, checksum_content (
                   sqlite3_value_int64 (argv[0]), sqlite3_value_int64 (argv[1]),
                   sqlite3_value_int64 (argv[2]), sqlite3_value_int64 (argv[3]),
                   checksum_bytes (data, length)));
}

#define OPTIONAL_SQL                                                           \
  "UPDATE feature SET checksum = " FEATURE_CHECKSUM                            \
  " WHERE checksum <> " FEATURE_CHECKSUM ";"                                   \
  "UPDATE property SET checksum = " PROPERTY_CHECKSUM                          \
  " WHERE checksum <> " PROPERTY_CHECKSUM ";"

/* Run SQL, and then SEAL, in one transaction. */
static void
run (const char *path, const char *sql, const char *seal)
{
  const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
  sqlite3 *db;

  if (sqlite3_open (path, &db) != SQLITE_OK ||
      sqlite3_busy_timeout (db, 20000) != SQLITE_OK ||
      checksum_register (db) != SQLITE_OK ||
      sqlite3_create_function (db, "block_checksum", 5, flags, NULL,
                               block_checksum, NULL, NULL) != SQLITE_OK ||
      sqlite3_create_function (db, "content_checksum", 5, flags, NULL,
                               content_checksum, NULL, NULL) != SQLITE_OK ||
      sqlite3_exec (db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK ||
      sqlite3_exec (db, sql, NULL, NULL, NULL) != SQLITE_OK ||
      sqlite3_exec (db, seal, NULL, NULL, NULL) != SQLITE_OK ||
      sqlite3_exec (db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
    errx (EXIT_FAILURE, "%s: %s", path, sqlite3_errmsg (db));
  sqlite3_close (db);
}

static void
seal_rows (const char *path)
{
  run (path, "",
       OPTIONAL_SQL "UPDATE layer SET checksum = " LAYER_CHECKSUM ";"
                    "UPDATE disk SET checksum = " DISK_CHECKSUM ";"
                    "UPDATE snapshot SET checksum = " SNAPSHOT_CHECKSUM);
}

int
main (int argc, char **argv)
{
  unsigned char *bytes;
  struct stat st;
  int fd;

  if (argc == 4 && strcmp (argv[2], "live") == 0) {
    run (argv[1], argv[3], OPTIONAL_SQL);
    return 0;
  }
  if (argc < 2 || argc > 3 || (argc == 3 && strcmp (argv[2], "rows") != 0))
    errx (EXIT_FAILURE, "give a database");
  if (argc == 3)
    seal_rows (argv[1]);
  fd = open (argv[1], O_RDWR | O_CLOEXEC);
  if (fd == -1 || fstat (fd, &st) == -1)
    err (EXIT_FAILURE, "%s", argv[1]);
  bytes = mmap (NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (bytes == MAP_FAILED)
    err (EXIT_FAILURE, "%s", argv[1]);
  seal_pages (bytes, st.st_size);
  return 0;
}
