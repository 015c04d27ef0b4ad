/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Below: the contents that show through a layer from its parent, mapped part by
 * part from the first block to the last.
 */

#ifndef SQLBLOCK_BELOW_H
#define SQLBLOCK_BELOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rows/layers.h"
#include "rows/shown.h"
#include "sqlite/connection.h"
#include "status.h"

/* A block that is data. */
struct below_block {
  uint64_t bytes; /* of its row's data; 0 with a content */
  size_t span;    /* of that, in shown; or SIZE_MAX */
};

/* All zeroes: nothing. */
struct below {
  struct view view; /* of the parent; its depth is 0 without one */
  bool details;     /* bytes and contents are asked for */
  bool ended;
  int64_t first; /* what is mapped now */
  uint32_t count;
  uint64_t data, bytes; /* blocks that were data so far, and their bytes */
  uint32_t viewers;     /* of the layer itself, for: */
  struct shown *shown;  /* gets each content, shown to all of them */

  /* Room. */
  uint8_t *map;
  struct layer_point *rows;
  struct below_block *blocks;
};

/* Begin with the parent of LAYER, if it has one; unless WANTED nothing of it
 * is mapped.  With SHOWN, bytes and contents are asked for; LAYER has VIEWERS.
 * All functions return 0, or -1, and run inside a transaction of the caller.
 */
int below_begin (struct below *below, struct connection *connection,
                 int64_t layer, bool wanted, struct shown *shown,
                 size_t viewers, struct status *status);

/* Map on, until block NUMBER is behind the beginning of what is mapped next,
 * or there is nothing more.
 */
int below_advance (struct below *below, struct connection *connection,
                   int64_t number, struct status *status);

/* Map all that is left. */
int below_finish (struct below *below, struct connection *connection,
                  struct status *status);

/* Is block NUMBER, to which below_advance has come, data below? */
static inline bool
below_has (const struct below *below, int64_t number)
{
  return number >= below->first && number - below->first < below->count &&
         below->map[number - below->first];
}

/* Free what it holds. */
void below_free (struct below *below);

#endif /* SQLBLOCK_BELOW_H */
