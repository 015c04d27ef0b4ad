/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Emptying the trash: a server deletes for good what has been there for its
 * time (rows/trash.h).
 *
 * The clock that says so may be wrong for a while, or the database was away for
 * a month; then the time of all is over at once.  So a disk goes only after the
 * server has seen for an hour, by a clock that nobody sets, that its time is
 * over; or for as long as it was to stay, if that is less.  Meanwhile it can be
 * had back.  When the clock is set back, that hour begins anew.
 *
 * Of each disk that goes the log has a line.
 */

#ifndef SQLBLOCK_EMPTYING_H
#define SQLBLOCK_EMPTYING_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"
#include "store.h"

/* What is kept from one time to the next; all zeroes: nothing was seen yet. */
struct emptying {
  struct overdue *disks; /* by id */
  size_t count;
};

/* Delete what is to go when it is NOW (seconds since 1970, UTC), and CLOCK by
 * clock_now; *PURGED says how many, WARN is told of each.  Disks that somebody
 * has open, or that have a snapshot which is held, stay, and so do those that
 * cannot be deleted; then it fails.  Returns 0, or -1.  Thread rules, here and
 * below: one thread at a time.
 */
int emptying_run (struct emptying *emptying, struct store *store, int64_t now,
                  uint64_t clock, void (*warn) (const char *message),
                  unsigned *purged, struct status *status);

/* Free what it has. */
void emptying_end (struct emptying *emptying);

#endif /* SQLBLOCK_EMPTYING_H */
