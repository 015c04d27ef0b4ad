/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A walk over what a generation sees of one layer: for each number the
 * newest visible row, from high numbers to low ones.
 *
 * The statement gives the rows from a place downwards, by number and then
 * generation.  Newer rows than the generation may see, and a long tail of
 * older ones, are passed by seeking anew.
 *
 *   as of generation 4, from number 7 down
 *     number       7        7      7      6        5      5
 *     generation   9        4      2      8        3      1
 *                  too new  found  older  too new  found  older
 *
 * Only for what reads a view (layers.h), inside its transaction.
 */

#ifndef SQLBLOCK_WALK_H
#define SQLBLOCK_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "rows/layers.h"
#include "sqlite/connection.h"
#include "status.h"

struct walk {
  struct connection *connection;
  sqlite3_stmt *statement; /* columns: number, generation, ... */
  struct layer_point layer;
  uint64_t first;    /* where the walk ends */
  int patience;      /* older rows to step over before a seek */
  int skipped;       /* older rows that were stepped over */
  bool seek;         /* seek before the next step */
  int64_t seek_from; /* the number to seek; no row comes from above it */
  int64_t number;    /* of the row found, with its generation */
  int64_t generation;
};

/* A walk over the blocks FIRST to LAST.  SQL takes the layer as ?1, FIRST
 * as ?2 and the place to start from as (?3, ?4).  Returns 0, or -1.
 */
int walk_begin (struct walk *walk, struct connection *connection,
                const char *sql, const struct layer_point *layer,
                uint64_t first, uint64_t last, int patience,
                struct status *status);

/* Let go of its statement. */
void walk_end (struct walk *walk);
#define CLEANUP_WALK __attribute__ ((cleanup (walk_end)))

/* One row further down.  Returns 1, 0 at the end, -1. */
int walk_step (struct walk *walk, struct status *status);

/* What a row is to a walk. */
enum row_use {
  ROW_FOUND, /* it is the next visible one */
  ROW_OLDER, /* go on */
  ROW_TAIL,  /* many older ones: the walk seeks the next number */
  ROW_NEWER, /* too new: the walk seeks what stands further down */
  ROW_WRONG, /* where none can be */
};

/* The walk has come to a row. */
static inline enum row_use
walk_look (struct walk *walk, int64_t number, int64_t generation)
{
  /* A damaged index may not be in order; then the walk might not end. */
  if (number < (int64_t)walk->first || number > walk->seek_from)
    return ROW_WRONG;
  walk->seek_from = number;
  if (number == walk->number) {
    /* Older than the row that was found. */
    if (++walk->skipped <= walk->patience)
      return ROW_OLDER;
    walk->seek = true;
    walk->seek_from = number - 1;
    return ROW_TAIL;
  }
  if (generation > walk->layer.generation) {
    walk->seek = true;
    return ROW_NEWER;
  }
  walk->skipped = 0;
  walk->number = number;
  walk->generation = generation;
  return ROW_FOUND;
}

/* Say that a row was ROW_WRONG; returns -1. */
int walk_fail (struct status *status);

/* Has the walk found a row of its last number? */
static inline bool
walk_is_over (const struct walk *walk)
{
  return walk->number == (int64_t)walk->first;
}

/* The next visible row.  Returns 1, 0 at the end, -1. */
int walk_next (struct walk *walk, struct status *status);

#endif /* SQLBLOCK_WALK_H */
