/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Has a disk changed since its newest snapshot?  For history.h, which asks
 * often, of disks that mostly have not.
 *
 *   rows by id, of all layers
 *   ────────┬───────────┬──────────────────────┬────────►
 *           │           │                      │
 *           last_block  looked: none of those  what is looked at now,
 *           of the      before is newer than   in parts
 *           snapshot    the snapshot
 *
 * A row that is newer than the snapshot has a higher id than the snapshot's
 * last_block, so an idle disk costs what was written to others since; none of
 * its own index is read.  This misses nothing:
 *
 * - "Newer" are the rows of the layer that the disk writes whose generation is
 *   above the snapshot's, or, in a layer that stands on what the snapshot
 *   shows, above GENERATION_TAKEN (what such a layer takes over from there is
 *   the same).
 * - A snapshot raises the generation of the layer in its own transaction.  So
 *   a newer row was inserted later, or the layer was made later, and the row's
 *   id is above all that were given before (row_next_id).
 * - A row keeps its id when it is written again in its generation, and when it
 *   is stored anew (recompress.c).  Reclaiming moves rows into a child, with
 *   their ids, but as GENERATION_TAKEN; flattening copies rows to new ids, as
 *   GENERATION_TAKEN, too: neither is newer.
 * - A roll-back, and the reception of other contents, give the disk another
 *   layer; then everything is looked at from last_block on.
 * - Ids above the last_block of all snapshots may be given again when the
 *   highest rows were deleted.  So `looked` never passes the last_block of a
 *   snapshot that was there then, the witness, and is forgotten where that one
 *   is gone: as long as it is there, no id up to its last_block was given.
 * - Nor does `looked` pass a newer row that has just what the snapshot has: it
 *   can be written again without another id.
 *
 * If much was written to other disks, reading the index of the disk's own
 * layer may be less than that.  So both are done by turns, and what ends first
 * decides.  A part takes a few milliseconds, and is a read transaction of its
 * own: a long one would keep the log from starting over.
 */

#ifndef SQLBLOCK_CHANGES_H
#define SQLBLOCK_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "rows/disks.h"
#include "rows/snapshots.h"
#include "status.h"

/* What is known of a disk; all zeroes at first. */
struct changes {
  int64_t snapshot; /* the newest */
  int64_t layer;    /* that the disk writes */
  int64_t looked;   /* kept from one search to the next, see above */
  int64_t witness;  /* `looked` holds while there is a snapshot of this id */

  /* The search at hand. */
  bool going;
  int64_t same; /* the first newer row that has nothing new, or 0 */
  int64_t id;   /* looked at by id, up to this one */
  int64_t number, generation; /* looked at in the index, up to here */
  unsigned compared;          /* blocks */
};

/* One part of the search, in a read transaction: does DISK, as it is now,
 * differ from its snapshot NEWEST, or for one of id 0 is there none?  *CHANGED
 * is the answer if *MORE is false; else go on, in a new transaction.  Blocks
 * that were written again with what they had are no difference, but many of
 * them count as one.  Returns 0, or -1.
 */
int changes_look (struct connection *connection, const struct disk_info *disk,
                  const struct snapshot_info *newest, struct changes *changes,
                  bool *changed, bool *more, struct status *status);

#endif /* SQLBLOCK_CHANGES_H */
