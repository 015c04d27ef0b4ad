/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Scrubbing: a server reads everything that is stored, slowly, over and over,
 * so that damage is found while a copy is still at hand, and not on the day
 * when the block is needed.
 *
 * Within each period all rows are checked once, as check_database does it, in
 * parts that are spread evenly over the period.  A pass begins at a random
 * row: so all get their turn where the server is often started anew.
 */

#ifndef SQLBLOCK_SCRUB_H
#define SQLBLOCK_SCRUB_H

#include <stdint.h>

#include "status.h"
#include "store.h"

struct scrub_options {
  int64_t period; /* seconds; more than 0 */
  /* Takes lines for the server's log; called from the thread. */
  void (*warn) (const char *message);
};

struct scrub;

/* Start the thread; STORE outlives it.  Returns NULL on failure. */
struct scrub *scrub_start (struct store *store,
                           const struct scrub_options *options,
                           struct status *status);

/* End the thread. */
void scrub_stop (struct scrub *scrub);

#endif /* SQLBLOCK_SCRUB_H */
