/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Disks: the rows that give storage a name and a size.  (disk_... in store.h
 * is a disk that a client has opened; disks_... is about the table.)
 *
 * These are the short management transactions, and the way from a disk to
 * the layers that hold its blocks.
 *
 *   at first                   web ──► layer 7, writes generation 1
 *
 *   a snapshot (snapshots.h)   web ──► layer 7, writes generation 2
 *                              web@monday ──► layer 7 as of 1
 *
 *   a clone of that            test ──► layer 8, writes generation 2
 *                                          └─► layer 7 as of 1
 *
 *   a roll-back to it          web ──► layer 9, writes generation 2, epoch + 1
 *                                         └─► layer 7 as of 1
 *
 * A clone of a disk, not of a snapshot, raises the generation as a snapshot
 * does, and looks at the old one.  After a roll-back newer snapshots keep the
 * old layer.  Who has a disk open knows its epoch from then, and each
 * transaction compares it, so none mixes what was before a roll-back with what
 * is after it.  Servers need no message of all this: they read these rows in
 * each transaction.
 */

#ifndef SQLBLOCK_DISKS_H
#define SQLBLOCK_DISKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/codec.h"
#include "sqlite/connection.h"
#include "rows/columns.h"
#include "rows/layers.h"
#include "status.h"
#include "base/types.h"

/* The disk that is made when no name is given. */
#define DISK_NAME_DEFAULT "disk"

/* Check that the disk INFO is what OPTIONS asks for; what is not said fits
 * anything.  Returns 0, or -1 and EINVAL.
 */
int disks_check_match (const struct disk_info *info,
                       const struct disk_options *options,
                       struct status *status);

/* How a new disk is stored where WANTED is asked for: what that leaves unsaid
 * is as usual.
 */
struct storing disks_storing (const struct storing *wanted);

/* The page size, in bytes, for a new file whose first disk has blocks of
 * BLOCK_SIZE bytes.
 */
uint32_t disks_page_size (uint32_t block_size);

/* Check that blocks of OPTIONS->block_size do not waste much of the pages
 * of an existing file.  Returns 0, or -1 and EINVAL.
 */
int disks_check_packing (struct connection *connection,
                         const struct disk_options *options,
                         struct status *status);

/* Make a disk as OPTIONS says, and for what it does not say as the database
 * says of new disks (the size must be said).  Inside a write transaction of the
 * caller. Returns 0, or -1: EEXIST where the name is taken.
 */
int disks_create (struct connection *connection,
                  const struct disk_options *options, struct status *status);

/* The same, for what it does not say with what is usual, of a disk that begins
 * as PARENT, or for NULL as zeroes; its id goes to *ID.
 */
int disks_create_on (struct connection *connection,
                     const struct disk_options *options,
                     const struct layer_point *parent, int64_t *id,
                     struct status *status);

/* How many rows of disks are damaged: their checksum is wrong, or they have
 * no layer.
 */
int disks_count_damaged (struct connection *connection, int64_t *count,
                         struct status *status);

/* Find the disk NAME, or for NULL or "" the default disk, the oldest one.
 * Returns 1 and fills INFO, 0 where there is none, -1 on failure (EIO for a
 * row that is damaged).
 */
int disks_find (struct connection *connection, const char *name,
                struct disk_info *info, struct status *status);

/* The same for the disk ID. */
int disks_find_id (struct connection *connection, int64_t id,
                   struct disk_info *info, struct status *status);

/* Call FOUND for each disk, the oldest first, until it returns non-zero.
 * Damaged rows are passed over, and disks that are on their way in
 * (manage_receive).  Returns 0, or -1.
 */
int disks_list (struct connection *connection,
                int (*found) (const struct disk_info *info, void *opaque),
                void *opaque, struct status *status);

/* Fail with "there is no disk 'NAME'" and the names of the disks there
 * are; returns -1 and ENOENT.
 */
int disks_fail_unknown (struct connection *connection, const char *name,
                        struct status *status);

/* What disk ID looks like now: its size, epoch and layers.  Inside the
 * transaction in which the blocks are then read or written.  Returns 0, or
 * -1: EIO where the disk is gone or its epoch is not EPOCH, as features_allow
 * where it may not be read.  Who writes looks at view->access, too.
 */
int disks_view (struct connection *connection, int64_t id, int64_t epoch,
                struct view *view, struct status *status);

/* Where disk ID writes: its layer, and that one's present generation.
 * Returns 0, or -1: ENOENT where there is no such disk, EIO for rows that
 * are damaged.
 */
int disks_head (struct connection *connection, int64_t id,
                struct layer_point *head, struct status *status);

/* Changes of the row of disk ID, inside a write transaction of the caller, here
 * and below.  They fail as features_allow where it may not be changed.
 * The new values were checked (sane_check_options).  All return 0, or -1;
 * disks_rename with EEXIST where the name is taken.  What STORING does not say
 * stays as it is.
 */
int disks_rename (struct connection *connection, int64_t id, const char *name,
                  struct status *status);
int disks_describe (struct connection *connection, int64_t id,
                    const char *description, struct status *status);
int disks_set_storing (struct connection *connection, int64_t id,
                       const struct storing *storing, struct status *status);
int disks_set_size (struct connection *connection, int64_t id, uint64_t size,
                    struct status *status);

/* End all connections to disk ID: it goes on in a new epoch. */
int disks_raise_epoch (struct connection *connection, int64_t id,
                       struct status *status);

/* Have disk ID go on as SIZE bytes of TO, in a new epoch, on a new layer;
 * for a roll-back.  What only the disk saw before is freed later.
 */
int disks_roll_back (struct connection *connection, int64_t id,
                     const struct layer_point *to, uint64_t size,
                     struct status *status);

/* Disk LENT goes, and disk ID has the layer back that disks_lend gave that one:
 * its own layer is empty and nothing else looks at it, and the other one has no
 * rows that ID did not see.
 */
int disks_take_back (struct connection *connection, int64_t id, int64_t lent,
                     struct status *status);

/* Make a disk as OPTIONS says on the layer of disk ID, which shows what BASE
 * does, one of this layer's generations.  ID goes on showing that, on a new
 * layer over BASE, and in its epoch.  The new disk's id goes to *LENT.
 */
int disks_lend (struct connection *connection,
                const struct disk_options *options, int64_t id,
                const struct layer_point *base, int64_t *lent,
                struct status *status);

/* Have disk ID go on as SIZE bytes of disk FROM, in a new epoch, on the layer
 * of FROM, which is deleted and has no snapshots.  What only ID saw before is
 * freed later.
 */
int disks_take_over (struct connection *connection, int64_t id, int64_t from,
                     uint64_t size, struct status *status);

/* Delete disk ID, which has no snapshots.  What only it saw is freed later.
 */
int disks_delete (struct connection *connection, int64_t id,
                  struct status *status);

#endif /* SQLBLOCK_DISKS_H */
