/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Viewers: who looks at a layer, and which of its rows are seen.
 *
 * A layer is looked at, at a generation, by its disk, by snapshots and by
 * child layers.  Of each block a viewer sees the newest row that is not newer
 * than its generation.  So a row is seen by those from its generation on,
 * before that of the next newer row of the same block:
 *
 *   block 3 of a layer that is looked at, at generations 4 and 9:
 *     rows of generations    1    3    5    8    11
 *     seen at                -    4    -    9     -
 *
 * Rows that nobody sees are garbage: reclaim.c deletes them, usage.c counts
 * what would become garbage with whom, and check-rows.c tells of garbage for
 * which nobody waits.  That the check asks the same question as what it checks
 * is safe: were the answer wrong, rows that are needed would be gone, which no
 * look at those that are left could find, or garbage would stay, which harms
 * nobody.  What finds such a mistake are the tests: they compare what disks and
 * snapshots show with a model, and ask SQL of their own for garbage
 * (unit_assert_reclaimed).
 *
 * All functions run inside a transaction of the caller.
 */

#ifndef SQLBLOCK_VIEWERS_H
#define SQLBLOCK_VIEWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "status.h"

/* SQL: does a disk or a snapshot look at a layer? */
#define LAYER_LOOKED_AT(layer)                                                 \
  "(EXISTS (SELECT 1 FROM disk AS any WHERE any.layer = " layer ")"            \
  " OR EXISTS (SELECT 1 FROM snapshot AS any WHERE any.layer = " layer "))"

/* What looks at a layer: a disk; a snapshot of a disk; or a child layer. */
struct viewer {
  int64_t generation;
  int64_t disk, snapshot, child; /* ids; 0: not that */
};

/* All zeroes: nothing. */
struct viewers {
  struct viewer *list; /* by generation */
  size_t count;
};

/* Find all that looks at LAYER; VIEWERS may have another layer's, which they
 * replace.  Returns 0, or -1.
 */
int viewers_find (struct connection *connection, int64_t layer,
                  struct viewers *viewers, struct status *status);

/* Free what it holds. */
void viewers_free (struct viewers *viewers);

/* The first that is not below GENERATION, or their number. */
size_t viewers_first (const struct viewers *viewers, int64_t generation);

/* Does anybody see a row of GENERATION, the next newer of whose number is of
 * NEWER?
 */
bool viewers_see (const struct viewers *viewers, int64_t generation,
                  int64_t newer);

/* The child, if nothing else looks at the layer, or 0. */
int64_t viewers_only_child (const struct viewers *viewers);

/* The lowest generation at which LAYER is looked at, or INT64_MAX; *CHILD
 * becomes the only child, or 0.  Cheap, however many there are.
 */
int viewers_lowest (struct connection *connection, int64_t layer,
                    int64_t *generation, int64_t *child, struct status *status);

#endif /* SQLBLOCK_VIEWERS_H */
