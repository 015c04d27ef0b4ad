/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The bytes of a file of a database, read past SQLite: before SQLite may do
 * anything to it, or where it is not to know.
 *
 *   a file          by a descriptor: for the database itself that of the
 * claims, which is not closed while SQLite has it open (claim.h) on a cluster
 * by the VFS that all of this process share, which knows what is gathered
 * (process.h)
 *
 * Thread rules: any thread, one thread at a time for each.
 */

#ifndef SQLBLOCK_RAW_H
#define SQLBLOCK_RAW_H

#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

#include "sqlite/claim.h"
#include "status.h"

struct raw {
  int fd;             /* -1: on a cluster */
  struct claim claim; /* of the database: whose descriptor that is */
  sqlite3_file *file; /* NULL: not on a cluster */
};

/* Open the database PATH, or with SUFFIX what is beside it.  Returns 1, 0 where
 * there is no such file, or -1.
 */
int raw_open (struct raw *raw, const char *path, const char *suffix,
              struct status *status);
void raw_close (struct raw *raw);

/* Read COUNT bytes at OFFSET.  Returns how many there are, less behind the end
 * of the file; or -1 and errno.
 */
int64_t raw_read (const struct raw *raw, void *bytes, size_t count,
                  int64_t offset);

/* How many bytes it has, or -1. */
int64_t raw_size (const struct raw *raw);

#endif /* SQLBLOCK_RAW_H */
