/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Usage: how much space disks and snapshots take, alone and together.
 *
 * What deleting some of them frees are the bytes of all data of rows, of
 * block and of content, that would be left by reclaiming (reclaim.h) if
 * nothing was deleted, less those that would be left if they were.  What
 * waits to be reclaimed counts for nobody.  It is computed, not tried:
 *
 *   a row is left      if a viewer is left that sees it, unless one child is
 *                      all that is left to look at the layer, and hides it
 *                      (hiding.h)
 *   a content is left  if a row that refers to it is
 *
 * A viewer sees a row if it looks at its layer at a generation from the
 * row's on and before that of the next newer one of its number.  A layer to
 * which nothing is left to look looks at its parent no more.
 *
 * For many groups that may be deleted, each by itself, this is counted in one
 * walk over each layer.  Rows that one group alone sees are found by its
 * viewers, which are in order.  That one child is left can be the work of two
 * groups at most, whatever their number, so few need be looked at row by row.
 *
 * So reclaiming must leave the same rows, whatever was reclaimed before and in
 * which order:
 *
 * - Whether rows have moved into an only child makes no difference: what would
 *   be hidden in one of the two places is hidden in the other.  For that, in a
 *   chain of layers that each have one child, what the topmost hides is hidden
 *   of all (hiding.h).
 * - A layer that stays puts its parent into `reclaim`, if it is the only child.
 *
 * Where a layer cannot be read, all else is counted; but of contents nobody
 * knows then what else refers to them.
 *
 * What items show is counted in the same walk: a row is shown by the viewers
 * from one to another, so by what each shows more than the one before it.  What
 * shows through from below (below.h) is walked over once for each layer, and of
 * contents (shown.h) each counts once for each viewer.
 */

#ifndef SQLBLOCK_USAGE_H
#define SQLBLOCK_USAGE_H

#include <stddef.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "base/progress.h"
#include "base/types.h"
#include "status.h"

/* Count the usage of COUNT ITEMS, which are of GROUPS groups: what each of
 * them shows, and in FREED[group] the bytes of blocks that deleting a group
 * would free.  An item that is not there counts nothing.  PROGRESS, if not
 * NULL, is told bytes now and then; if it returns non-zero, the call fails
 * with ECANCELED.  What is damaged does not keep the others from being
 * counted: it fails with EIO at its end, and what it then does not know is
 * USAGE_UNKNOWN; after another failure that is everything.
 * Cost: the rows of the items' layers, and for each of those at which one looks
 * whose SHOWN is set, what shows through from below, in the index, and in the
 * table where a feature such as compression was used; 40 bytes of memory for
 * each block of those that refers to a content. Returns 0, or -1.
 */
int usage_count (struct connection *connection, struct usage_item *items,
                 size_t count, uint64_t *freed, size_t groups,
                 progress_made progress, void *opaque, struct status *status);

#endif /* SQLBLOCK_USAGE_H */
