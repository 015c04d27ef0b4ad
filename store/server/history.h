/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* History: snapshots that a server takes by itself, and thins out with age.
 *
 *   every 10 minutes, if the disk has changed, a snapshot;
 *   keep=all:1h,1h:1d,1d:30d keeps
 *
 *     now        1 hour        1 day                      30 days
 *      |||||||||||  |   |   |   |        |         |         |   (none)
 *        all of it   the newest of      the newest of
 *                    each hour          each day
 *
 * So the disk as it was at some time is there without anyone having
 * planned for it: DISK@2026-11-22T10:42 is the newest snapshot not after
 * that.  Only snapshots that a schedule has made are thinned out.
 *
 * In each interval at most one more snapshot of a disk is deleted than was
 * taken: a clock that is wrong for a while, or a computer that was off, makes
 * all of them too old at once, and then nobody shall lose all of them at once.
 *
 * Snapshots that say that they were taken later than now were taken while the
 * clock was ahead.  They count as taken just before the next one, and make no
 * other one superfluous.
 *
 * How often, and what is kept, a server is told for all of its disks, or each
 * disk says it, or the database (settings.h); that is looked at on each visit.
 * Where several servers have the database open, one of them takes the snapshot.
 *
 * A thread does this, for all disks or one.  A failure is that of one disk; the
 * others, and reclaiming, go on.  What becomes free is reclaimed by it, in
 * steps (reclaim.h).
 */

#ifndef SQLBLOCK_HISTORY_H
#define SQLBLOCK_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "server.h"
#include "status.h"
#include "store.h"

struct history;

/* Start the thread; STORE and what OPTIONS points to outlive it.  Returns
 * NULL on failure.
 */
struct history *history_start (struct store *store,
                               const struct history_options *options,
                               struct status *status);

/* End the thread. */
void history_stop (struct history *history);

/* For tests: what the thread does once, as if it were NOW; a failure is that
 * of the first disk that had one.  MEMORY is what it keeps from one time to
 * the next; without, it is as if it had just begun.
 */
struct history_memory *history_remember (void);
int history_run_on (struct store *store, const struct history_options *options,
                    struct history_memory *memory, int64_t now,
                    struct status *status);
void history_forget (struct history_memory *memory);
int history_run (struct store *store, const struct history_options *options,
                 int64_t now, struct status *status);

#endif /* SQLBLOCK_HISTORY_H */
