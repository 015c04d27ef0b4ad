/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Reclaiming: deleting the rows that nothing sees any more.
 *
 * A layer is looked at, at a generation, by its disk, by snapshots and by
 * child layers.  When one of them goes, the layer is put into the table
 * `reclaim`.  From there it is worked off in steps, each a short
 * transaction of its own that says in the table how far it came; so it can
 * be interrupted at any time, and goes on wherever somebody calls it next.
 *
 *   looked at by nothing       all rows of the layer go, then the layer;
 *                              its parent is next
 *   by one child layer only    rows that the child hides (hiding.h) go, the
 *                              others move up into it, and it gets the
 *                              parent's parent: chains stay short.  If they
 *                              are many they stay, and are looked through
 *                              again when something of the child goes
 *   else                       rows that no generation looked at shows go
 *
 * Passed by are layers that a disk reads which a feature keeps this program off
 * (features.h).
 *
 *   number 3 of a layer that is looked at, at generations 4 and 9:
 *     rows of generations    1    3    5    8    11
 *     seen at                -    4    -    9     -
 *                           gone      gone       gone (by nobody yet)
 */

#ifndef SQLBLOCK_RECLAIM_H
#define SQLBLOCK_RECLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "base/failed.h"
#include "status.h"

/* A layer of at most this many rows moves up into its only child: 65,536, but
 * tests make it fewer, before they use a database.
 */
extern int64_t reclaim_few_rows;

/* Check that all rows that say who looks at which layer are as they were
 * written: what a damaged one looks at would be taken for garbage.  To be
 * called before the first step, in a read transaction.  Returns 0, or -1
 * and EIO.
 */
int reclaim_check (struct connection *connection, struct status *status);

/* Is there anything that somebody may have to free, also what copies have
 * left?  In a read transaction.  Returns 0, or -1.
 */
int reclaim_is_needed (struct connection *connection, bool *needed,
                       struct status *status);

/* What one step did. */
struct reclaim_step {
  uint64_t most;  /* bytes to rewrite; there is a limit as well */
  int64_t layer;  /* at which; 0: it did not come to one */
  uint64_t rows;  /* looked at */
  uint64_t freed; /* bytes of blocks that were deleted */
};

/* One bounded step, which passes by the layers in FAILED (may be NULL).
 * Inside a write transaction of the caller.  Returns 1, 0 where nothing is
 * left to do, -1: ENOTSUP where a row has a codec that is not known.
 */
int reclaim_step (struct connection *connection,
                  const struct failed_layers *failed, struct reclaim_step *step,
                  struct status *status);

#endif /* SQLBLOCK_RECLAIM_H */
