/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Giving free pages back to the file system.
 *
 *            end without free pages            end of the file
 *    |------------------|-----------------------------|
 *     used and free       free, and some that are used: these have to move
 *
 * SQLite has two ways:
 *
 *   one by one   takes the last page off, and if it is in use first moves it
 *                to a free place further down, which takes 20 microseconds.
 *                It can stop after each page.
 *   at once      with a commit: moves what is in use, passes over what is
 *                free, and forgets the list of free pages.  That takes 0.04
 *                microseconds for a page that is free, and 20 to 30 for one
 *                that moves.
 *
 * Both search the list of free pages, which has no order: the first for the
 * last page, a microsecond for each thousand that are free, so that giving
 * back many goes with their square; the second for places further down.  So
 * where many are free, the list is put in order first (freelist.h).  And the
 * pointer map, which says of each page what it is used for, tells whether so
 * few have to move that all can go at once.
 *
 * The file itself gets shorter with the next complete checkpoint.
 */

#ifndef SQLBLOCK_SHRINK_H
#define SQLBLOCK_SHRINK_H

#include <stdbool.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "status.h"

/* This many free pages are a long list. */
#define SHRINK_MANY 16384

/* The pages of the database. */
struct shrink_pages {
  uint64_t size;  /* of one, in bytes */
  uint64_t total; /* pages */
  uint64_t free;  /* of them: those that are free */
};

/* Look at them, inside a transaction.  Returns 0, or -1. */
int shrink_look (struct connection *connection, struct shrink_pages *pages,
                 struct status *status);

/* Would no more than LIMIT pages have to move, if all free ones went now?
 * Called in a read transaction, on PAGES that were looked at in it; what is
 * committed meanwhile may be counted or not.  Returns 1, 0, -1.
 */
int shrink_moves_few (struct connection *connection,
                      const struct shrink_pages *pages, uint64_t limit,
                      struct status *status);

/* Give all free pages back at once, in a transaction, if no more than LIMIT
 * have to move.  CONNECTION is one that is only for this, and is closed
 * afterwards.  Returns 1, 0 where more would have to move, -1.
 */
int shrink_at_once (struct connection *connection, uint64_t limit,
                    struct status *status);

/* Put the list of free pages in order, so that the last COUNT pages of the
 * file can be taken off one by one without a search: those behind *CUT.  For
 * CONNECTION as above.  Returns 0, or -1.
 */
int shrink_arrange (struct connection *connection, uint64_t count,
                    uint64_t *cut, struct status *status);

/* Take free pages off the file one by one until KEEP are left, MOST were taken
 * or NANOSECONDS have passed, but at least one; then look at what there is.
 * Inside a write transaction of the caller.  Returns 0, or -1.
 */
int shrink_step (struct connection *connection, uint64_t keep, uint64_t most,
                 uint64_t nanoseconds, struct shrink_pages *pages,
                 struct status *status);

#endif /* SQLBLOCK_SHRINK_H */
