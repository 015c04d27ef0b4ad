/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Partial receptions: what has arrived of a snapshot and is kept, so that the
 * rest can come later.
 *
 * It is the hidden disk DISK/receiving with a property local:resume, a text:
 *
 *   UPDATED POSITION SIZE BLOCK GUID BASE SNAPSHOT
 *
 * UPDATED is when something came last (since 1970); all that the snapshot has
 * before the byte POSITION is there.  GUID and BASE, the guid of what it began
 * with or 0, are in 16 digits of hex.
 *
 * The property is written after what came before POSITION, and in one log: so
 * what a power cut leaves never has less than it says.
 */

#ifndef SQLBLOCK_PARTIAL_H
#define SQLBLOCK_PARTIAL_H

#include <stdint.h>

#include "base/types.h"
#include "sqlite/connection.h"
#include "status.h"

/* The key. */
#define PARTIAL_KEY "local:resume"

/* For how long something is kept of which nothing comes any more, in seconds.
 */
#define PARTIAL_KEPT "604800"

/* SQL: is the disk in whose row this stands kept? */
#define PARTIAL_IS_KEPT                                                        \
  "EXISTS (SELECT 1 FROM property WHERE property.kind = 1"                     \
  " AND property.owner = disk.id AND property.key = '" PARTIAL_KEY "'"         \
  " AND CAST (property.value AS INTEGER)"                                      \
  "  > CAST (strftime ('%s', 'now') AS INTEGER) - " PARTIAL_KEPT ")"

/* Note in the row of disk ID, which is hidden, what INFO says; its disk_name is
 * not looked at.  Inside a write transaction of the caller.  Returns 0, or -1.
 * Thread rules, here and below: those of the connection.
 */
int partial_put (struct connection *connection, int64_t id,
                 const struct partial_info *info, struct status *status);

/* Disk ID has all: forget that.  As partial_put. */
int partial_drop (struct connection *connection, int64_t id,
                  struct status *status);

/* Find what has come in for the disk NAME.  Returns 1, 0 where there is nothing
 * that is kept, or -1.
 */
int partial_find (struct connection *connection, const char *name,
                  struct partial_info *info, struct status *status);

/* The same for the hidden disk ID itself. */
int partial_find_id (struct connection *connection, int64_t id,
                     struct partial_info *info, struct status *status);

/* Call FOUND for all that is kept, until it returns non-zero.  Damaged rows,
 * and what is for disks in the trash, are passed over.  Returns 0, or -1.
 */
int partial_list (struct connection *connection,
                  int (*found) (const struct partial_info *info, void *opaque),
                  void *opaque, struct status *status);

#endif /* SQLBLOCK_PARTIAL_H */
