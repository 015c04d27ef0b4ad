/* Usage: how much space a disk or a snapshot takes, and shares. */

#ifndef SQLBLOCK_USAGE_H
#define SQLBLOCK_USAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "connection.h"
#include "disks.h"
#include "status.h"

/* Count the bytes of blocks in rows that nobody sees but DISK (which may be
 * a snapshot), or with HISTORY but DISK and its snapshots.  These are the
 * rows that deleting it would free.  Cost: the rows of its layers in the
 * index.  Returns 0, or -1.
 */
int usage_exclusive (struct connection *connection,
                     const struct disk_info *disk, bool history,
                     uint64_t *bytes, struct status *status);

/* Count the bytes of DISK's blocks that are data.  Cost as above. */
int usage_stored (struct connection *connection, const struct disk_info *disk,
                  uint64_t *bytes, struct status *status);

#endif /* SQLBLOCK_USAGE_H */
