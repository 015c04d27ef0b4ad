/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Sight: does a disk or a snapshot show a row of a layer, which may be far
 * below its own?  That a row is left for it does not say so: where several
 * children look at a layer, it also has what each of them hides.
 */

#ifndef SQLBLOCK_SIGHT_H
#define SQLBLOCK_SIGHT_H

#include <stdint.h>

#include "base/types.h"
#include "rows/hiding.h"
#include "sqlite/connection.h"
#include "status.h"

/* All zeroes: none. */
struct sight {
  int64_t layer;        /* of which it is */
  int64_t generation;   /* at which that is looked at; 0: it is not */
  struct hiding hidden; /* by the layers above */
};

/* Make SIGHT that of ITEM on LAYER, unless it is.  Returns 0, or -1. */
int sight_find (struct sight *sight, struct connection *connection,
                const struct usage_item *item, int64_t layer,
                struct status *status);

/* Is the row of block NUMBER and GENERATION, the next newer of which is of
 * NEWER, shown?  Cheap if the numbers asked for go up.  Both functions run
 * inside a transaction of the caller.  Returns 1, 0, -1.
 */
int sight_has (struct sight *sight, struct connection *connection,
               int64_t number, int64_t generation, int64_t newer,
               struct status *status);

/* Free what it holds. */
void sight_free (struct sight *sight);

#endif /* SQLBLOCK_SIGHT_H */
