/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* How the blocks of two disks or snapshots compare: for those who tell of
 * differences (manage_diff), and who show them to clients (increment.c).
 *
 * Two views that show the same row of a block have the same bytes there, so
 * rows are compared, not data.  It goes in parts, each in a read transaction
 * of its own, and past holes by a seek.
 */

#ifndef SQLBLOCK_DIFF_H
#define SQLBLOCK_DIFF_H

#include <stdint.h>

#include "base/types.h"
#include "status.h"
#include "store.h"

/* How many blocks are compared at a time. */
#define DIFF_BLOCKS 65536

/* What the second has in a block. */
enum { DIFF_SAME = 0, DIFF_DATA, DIFF_ZEROES };

/* A part that was compared. */
struct diff_part {
  uint64_t first; /* block; neither has a row between it and what was asked
                     for */
  uint32_t count; /* blocks from `first` on; 0: there is no row any more */
  uint8_t blocks[DIFF_BLOCKS];
};

/* Compare blocks from block FIRST on: FROM, of id 0 for nothing, with TO.  Both
 * have the same block size.  What FROM has past its end does not count.
 * Returns 0, or -1.  Thread rules: any thread.
 */
int diff_compare (struct store *store, const struct disk_info *from,
                  const struct disk_info *to, uint64_t first,
                  struct diff_part *part, struct status *status);

#endif /* SQLBLOCK_DIFF_H */
