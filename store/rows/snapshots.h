/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Snapshots: what a disk looked like at one moment.
 *
 * A snapshot is one row, which remembers a layer and a generation; making
 * it raises the layer's generation, so that the rows it sees are never
 * written again.  These are the short transactions on those rows.
 *
 *   before   web ──► layer 7, writes generation 4
 *   after    web ──► layer 7, writes generation 5
 *            web@monday ──► layer 7 as of 4
 */

#ifndef SQLBLOCK_SNAPSHOTS_H
#define SQLBLOCK_SNAPSHOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "rows/columns.h"
#include "rows/disks.h"
#include "status.h"

/* Make a snapshot NAME of DISK as it is in this transaction, whatever else
 * DISK says than its id; the id of the snapshot goes to *ID.  GUID is 0 for a
 * new random one, CREATED 0 for the present time.  Inside a write transaction
 * of the caller.  Returns 0, or -1: EEXIST where the disk has a snapshot NAME,
 * ENOENT where the disk is gone.
 */
int snapshots_create (struct connection *connection,
                      const struct disk_info *disk, const char *name,
                      bool automatic, int64_t guid, int64_t created,
                      int64_t *id, struct status *status);

/* Pin: make a snapshot, under a name that nobody sees, of DISK as it is now, or
 * of its SNAPSHOT (of id 0: of the disk): for a copy that takes a while.
 * Its maker has guard_keep_rows.  Inside a write transaction of the caller.
 */
int snapshots_pin (struct connection *connection, const struct disk_info *disk,
                   const struct snapshot_info *snapshot, int64_t *id,
                   struct status *status);

/* Delete the snapshot ID that snapshots_pin made; for 0 delete all such:
 * somebody has guard_reclaim, so their makers are gone.  Inside a write
 * transaction of the caller.
 */
int snapshots_unpin (struct connection *connection, int64_t id,
                     struct status *status);

/* Find the snapshot NAME of disk ID; where there is none and NAME is a time
 * (times.h), the newest that was made not after it, by the order in which
 * they were made.  Returns 1, 0 where there is none, -1.
 */
int snapshots_find (struct connection *connection, int64_t disk,
                    const char *name, struct snapshot_info *info,
                    struct status *status);

/* Find what TARGET names: a disk, or NULL or "" for the default one, or
 * DISK@SNAPSHOT; then SNAPSHOT->id is not 0.  Returns 0, or -1: ENOENT,
 * naming those there are, where it is missing.
 */
int snapshots_find_target (struct connection *connection, const char *target,
                           struct disk_info *disk,
                           struct snapshot_info *snapshot,
                           struct status *status);

/* The same where only a disk will do: a snapshot is EINVAL. */
int snapshots_find_disk (struct connection *connection, const char *target,
                         struct disk_info *disk, struct status *status);

/* Find what TARGET names as a range of snapshots, DISK@FROM..TO: both as
 * snapshots_find, FROM not newer than TO (EINVAL).  Where one is missing its id
 * is 0, which means nothing but zeroes, and the disk as it is now.  Returns 1,
 * 0 where TARGET is no range, or names a snapshot that is called so, -1.
 */
int snapshots_find_range (struct connection *connection, const char *target,
                          struct disk_info *disk, struct snapshot_info *from,
                          struct snapshot_info *to, struct status *status);

/* Make DISK, a disk's own info, that of its SNAPSHOT. */
void snapshots_as_disk (const struct snapshot_info *snapshot,
                        struct disk_info *disk);

/* Call FOUND for each snapshot of disk ID, or for 0 of all disks, by disk
 * and then the oldest first, until it returns non-zero.  Damaged rows are
 * passed over.  Returns 0, or -1.
 */
int snapshots_list (struct connection *connection, int64_t disk,
                    int (*found) (const struct snapshot_info *info,
                                  void *opaque),
                    void *opaque, struct status *status);

/* What DISK, which may be a snapshot or pinned, looks like now: its size and
 * layers.  Inside the transaction in which the blocks are then read.
 * Returns 0, or -1: EIO where the disk or snapshot is gone, or the disk was
 * rolled back.
 */
int snapshots_view (struct connection *connection, const struct disk_info *disk,
                    struct view *view, struct status *status);

/* Say in *HELD whether the snapshot is held: has a property hold:..., damaged
 * or not.  Nothing deletes it then.  (It is no part of its info, so that who
 * reads what it shows does not depend on what is optional.)
 */
int snapshots_is_held (struct connection *connection,
                       const struct snapshot_info *info, bool *held,
                       struct status *status);

/* Fail with EBUSY where the snapshot, or one of disk ID, hidden or not, is
 * held.
 */
int snapshots_check_held (struct connection *connection,
                          const struct snapshot_info *info,
                          struct status *status);
int snapshots_check_held_all (struct connection *connection, int64_t disk,
                              struct status *status);

/* Delete a snapshot that is not held; what only it could see is freed later
 * (reclaim.h).  Inside a write transaction of the caller.
 */
int snapshots_delete (struct connection *connection,
                      const struct snapshot_info *info, struct status *status);

/* Delete all snapshots of disk ID, in the same way. */
int snapshots_delete_all (struct connection *connection, int64_t disk,
                          struct status *status);

/* How many rows of snapshots are damaged, as disks_count_damaged. */
int snapshots_count_damaged (struct connection *connection, int64_t *count,
                             struct status *status);

/* How many snapshots disk ID has. */
int snapshots_count (struct connection *connection, int64_t disk,
                     int64_t *count, struct status *status);

/* Give a snapshot another name; from then on it is a person's, and not the
 * schedule's to delete.  Returns 0, or -1: EEXIST where the name is taken.
 * Inside a write transaction of the caller.
 */
int snapshots_rename (struct connection *connection,
                      const struct snapshot_info *info, const char *name,
                      struct status *status);

#endif /* SQLBLOCK_SNAPSHOTS_H */
