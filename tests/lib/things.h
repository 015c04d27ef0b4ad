/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Disks and snapshots with all that they contain: a small model of a store,
 * and the same read from one.
 */

#ifndef SQLBLOCK_TESTS_THINGS_H
#define SQLBLOCK_TESTS_THINGS_H

#include <stddef.h>
#include <stdint.h>

#include "sqlite/connection.h"

#define THINGS_MOST 12
#define THING_NAME  48

/* A disk, or a snapshot of one. */
struct thing {
  char name[THING_NAME]; /* DISK or DISK@SNAPSHOT */
  uint64_t size;         /* bytes */
  char *bytes;
  uint64_t hash; /* of all of these */
};

/* In no order. */
struct things {
  struct thing all[THINGS_MOST];
  size_t count;
};

/* NULL where there is none. */
struct thing *things_find (struct things *things, const char *name);

/* Make a thing, or make it another; BYTES are copied. */
void things_put (struct things *things, const char *name, const char *bytes,
                 uint64_t size);

/* Remove a thing, and if it is a disk, its snapshots. */
void things_remove (struct things *things, const char *name);

/* Equal for the same things with the same contents. */
uint64_t things_hash (const struct things *things);

void things_free (struct things *things);

/* Read all disks and snapshots but the disk EXCEPT.  Inside a read
 * transaction of the caller.
 */
void things_read (struct connection *connection, const char *except,
                  struct things *things);

#endif /* SQLBLOCK_TESTS_THINGS_H */
