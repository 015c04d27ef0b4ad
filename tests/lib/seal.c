/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* seal DATABASE: give its pages checksums, see seal.h.
 * seal DATABASE rows: and its rows, but those of blocks, before that.
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
seal_rows (const char *path)
{
  static const char rows_sql[] =
      "UPDATE feature SET checksum = " FEATURE_CHECKSUM ";"
      "UPDATE property SET checksum = " PROPERTY_CHECKSUM ";"
      "UPDATE layer SET checksum = " LAYER_CHECKSUM ";"
      "UPDATE disk SET checksum = " DISK_CHECKSUM ";"
      "UPDATE snapshot SET checksum = " SNAPSHOT_CHECKSUM;
  sqlite3 *db;

  if (sqlite3_open (path, &db) != SQLITE_OK ||
      checksum_register (db) != SQLITE_OK ||
      sqlite3_exec (db, rows_sql, NULL, NULL, NULL) != SQLITE_OK)
    errx (EXIT_FAILURE, "%s: %s", path, sqlite3_errmsg (db));
  sqlite3_close (db);
}

int
main (int argc, char **argv)
{
  unsigned char *bytes;
  struct stat st;
  int fd;

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
