/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Bookmarks: what a snapshot was, without its data, so that it can be deleted
 * and still be the base of a later increment.
 *
 * A bookmark is a property of its disk, local:bookmark:NAME, a text:
 *
 *   LAYER GENERATION SIZE CREATED GUID SNAPSHOT      (GUID in 16 digits of hex)
 *
 * What a later snapshot shows is as it was at the bookmark where the row that
 * it shows was there then: in a layer below LAYER, or in LAYER and of at most
 * GENERATION.
 *
 *   layer 9            .   5   .   .        writes since: other
 *   layer 7 as of 6    4   3   .   6        bookmark: layer 7, generation 4
 *   layer 5 as of 2    1   1   2   .
 *   shown              4   5   2   6
 *                    same other same other
 *
 * Such a row may not have been what was shown at the bookmark: a newer one may
 * have been there and be gone.  But the disk showed that, and what it shows
 * changes only by a write, which leaves a newer row, or by a trim, after which
 * it shows zeroes.  So zeroes always count as other, whether there is a row or
 * not.  They cost a few bytes in a stream; and nobody who writes, reclaims,
 * or does not know bookmarks can make one miss a change:
 *
 *   reclaiming      changes nothing that a snapshot shows.  It moves no rows of
 *                   a layer with a bookmark into a younger one
 *   flattening      and programs that do not know bookmarks do: then LAYER is
 *                   not below the snapshot, and the bookmark cannot be used
 *   a roll-back     to what was before the bookmark: the same, or LAYER is seen
 *                   at a lower generation
 *   salvage         drops bookmarks
 *
 * Ids of layers are never used again.
 */

#ifndef SQLBLOCK_BOOKMARKS_H
#define SQLBLOCK_BOOKMARKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/types.h"
#include "rows/layers.h"
#include "sqlite/connection.h"
#include "status.h"

/* Make the bookmark NAME of SNAPSHOT.  Inside a write transaction of the
 * caller.  Returns 0, or -1: EEXIST where its disk has one of that name, EDQUOT
 * where it has too many properties.  Thread rules, here and below: those of the
 * connection.
 */
int bookmarks_create (struct connection *connection,
                      const struct snapshot_info *snapshot, const char *name,
                      struct status *status);

/* Find the bookmark NAME of DISK.  Returns 1, 0 where there is none, or -1: EIO
 * where its row is damaged.
 */
int bookmarks_find (struct connection *connection, const struct disk_info *disk,
                    const char *name, struct bookmark_info *info,
                    struct status *status);

/* Call FOUND for each bookmark of DISK, in the order of their names, until it
 * returns non-zero.  Damaged rows are passed over.  Returns 0, or -1.
 */
int bookmarks_list (struct connection *connection, const struct disk_info *disk,
                    int (*found) (const struct bookmark_info *info,
                                  void *opaque),
                    void *opaque, struct status *status);

/* Delete the bookmark NAME of DISK, damaged or not.  Inside a write transaction
 * of the caller.  Returns 1, 0 where there is none, or -1.
 */
int bookmarks_delete (struct connection *connection,
                      const struct disk_info *disk, const char *name,
                      struct status *status);

/* Is there a bookmark of any disk on LAYER, of at most GENERATION?  Returns 1,
 * 0, or -1.
 */
int bookmarks_on_layer (struct connection *connection, int64_t layer,
                        int64_t generation, struct status *status);

/* Does what VIEW shows come from the bookmark? */
bool bookmark_is_below (const struct bookmark_info *info,
                        const struct view *view);

/* Was the row, that such a view shows, there at the bookmark? */
bool bookmark_has_row (const struct bookmark_info *info,
                       const struct layer_point *row);

/* Can the text VALUE of a property be that of a bookmark?  For "check". */
bool bookmark_is_sane (const char *value);

#endif /* SQLBLOCK_BOOKMARKS_H */
