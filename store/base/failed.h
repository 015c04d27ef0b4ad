/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Layers that work which goes from one to the next has failed at.  It goes on
 * with the others, so that one that is damaged does not keep them from their
 * turn, and fails at its end.  One with rows that this program does not
 * understand (ENOTSUP) is passed by, and that is no failure.
 */

#ifndef SQLBLOCK_FAILED_H
#define SQLBLOCK_FAILED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Is STATUS a failure of what is stored, or what this program does not know how
 * to treat, so that work on something else may succeed: not one of a lock, of
 * memory or of room?
 */
bool failed_is_local (const struct status *status);

/* All zeroes: there is none. */
struct failed_layers {
  int64_t *layers;
  size_t count;
  size_t failures;     /* without those that are passed by */
  int64_t failed;      /* the first of them, */
  struct status first; /* and why */
};

/* Has the work failed at LAYER?  FAILED may be NULL. */
bool failed_layers_has (const struct failed_layers *failed, int64_t layer);

/* The work has failed at LAYER with STATUS; 0: before there was one.  Returns
 * 0 where it is to go on with others, or -1 where those would fail as well.
 */
int failed_layers_add (struct failed_layers *failed, int64_t layer,
                       struct status *status);

/* The work is at its end, with RESULT, which for -1 STATUS explains: forget
 * the layers.  Returns RESULT, or where that is 0 and there was a layer, -1
 * and the failure of the first.
 */
int failed_layers_end (struct failed_layers *failed, int result,
                       struct status *status);

#endif /* SQLBLOCK_FAILED_H */
