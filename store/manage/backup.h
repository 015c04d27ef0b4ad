/* Backup: a copy of the whole database while servers write to it.
 *
 * A file that is copied page by page, or in one long transaction, would
 * keep the log from starting over for as long as that takes.  Here one
 * short transaction takes a snapshot of every disk, which nobody sees, and
 * reads all rows but those of blocks.  The rows of blocks that snapshots show
 * do not change any more and are read later, some MiB at a time; nobody
 * reclaims rows meanwhile.
 *
 *   layer 7, generation 4:  rows of 1 ... 4   are copied
 *      snapshot: generation 5
 *   servers write:          rows of 5         are not
 */

#ifndef SQLBLOCK_BACKUP_H
#define SQLBLOCK_BACKUP_H

#include <stdint.h>

#include "manage/manage.h"
#include "status.h"
#include "engine/store.h"

/* What a backup has copied. */
struct backup_counts {
  uint64_t blocks;
  uint64_t bytes; /* of their data */
};

/* Copy the database of STORE into the new file PATH, which appears complete
 * or not at all.  The checksum of every block is verified.  COUNTS may be
 * NULL.  Thread rules: any thread.  Returns 0, or -1: EEXIST where there is
 * a file, EIO for a damaged block.
 */
int manage_backup (struct store *store, const char *path,
                   progress_made progress, void *opaque,
                   struct backup_counts *counts, struct status *status);

#endif /* SQLBLOCK_BACKUP_H */
