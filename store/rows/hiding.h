/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Hiding: what the only child of a layer does not show of it.
 *
 * If nothing but one child looks at a layer, a block of which the child has
 * a row that all who look at the child see, or an older one, shows nothing
 * of the layer.  If nothing but one child looks at the child, that one hides
 * rows as well, and so on: a list of layers, each as of the lowest
 * generation at which it is looked at.
 *
 *   layer 3             1    2    3    4    5     numbers of blocks
 *   its child, 5        -    2    3    -    -
 *   its child, 8        -    -    3    4    -     several look at this one
 *   layer 3 still has   1                   5
 */

#ifndef SQLBLOCK_HIDING_H
#define SQLBLOCK_HIDING_H

#include <stddef.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "rows/layers.h"
#include "status.h"

/* How many blocks are looked up at a time. */
#define HIDING_BLOCKS 8192

/* All zeroes: nothing hides anything. */
struct hiding {
  struct layer_point *layers;
  size_t count;
  int64_t first; /* what is looked up now */
  uint8_t *map;  /* HIDING_BLOCKS of them; NULL at first */
};

/* Add LAYER, whose lowest viewer looks at GENERATION, before anything is
 * asked.  Returns 0, or -1.
 */
int hiding_add (struct hiding *hiding, int64_t layer, int64_t generation,
                struct status *status);

/* Is block NUMBER hidden?  Cheap if the numbers asked for go up.  What was
 * looked up is remembered: rows must not change meanwhile.  Inside a
 * transaction of the caller.  Returns 1, 0, -1.
 */
int hiding_has (struct connection *connection, struct hiding *hiding,
                int64_t number, struct status *status);

/* Free what it holds. */
void hiding_free (struct hiding *hiding);

#endif /* SQLBLOCK_HIDING_H */
