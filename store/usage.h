/* Usage: how much space disks and snapshots take, alone and together.
 *
 * A row is seen by what looks at its layer at a generation from its own on
 * and before that of the next newer row of its number.  Deleting some disks
 * and snapshots frees the rows that only they see.  For many of them this
 * is counted in one walk over each layer, not in one for each.
 */

#ifndef SQLBLOCK_USAGE_H
#define SQLBLOCK_USAGE_H

#include <stddef.h>
#include <stdint.h>

#include "connection.h"
#include "progress.h"
#include "status.h"

/* A disk or a snapshot whose usage is counted. */
struct usage_item {
  int64_t disk;     /* ids, as in disk_info and snapshot_info */
  int64_t snapshot; /* 0: the disk as it is now */
  size_t group;     /* items of one group are deleted together */
  uint64_t stored;  /* counted: bytes of its blocks that are not zeroes */
};

/* Count the usage of COUNT ITEMS, which are of GROUPS groups: what each of
 * them shows, and in FREED[group] the bytes of blocks that deleting a group
 * would free.  An item that is not there counts nothing.  PROGRESS, if not
 * NULL, is told bytes now and then; if it returns non-zero, the call fails
 * with ECANCELED.
 * What blocks share since they are equal counts for each of them; deleting
 * some may free less.
 * Cost: the rows of the items' layers in the index, and in the table where a
 * feature such as compression was used.  Returns 0, or -1.
 */
int usage_count (struct connection *connection, struct usage_item *items,
                 size_t count, uint64_t *freed, size_t groups,
                 progress_made progress, void *opaque, struct status *status);

#endif /* SQLBLOCK_USAGE_H */
