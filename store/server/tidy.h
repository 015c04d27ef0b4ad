/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Tidying up: what a server does in the background for the whole file.
 *
 * A thread looks now and then, if something was committed since, whether
 *
 *   - disks with a quota store what is not counted yet (quota.h), or
 *   - there are more free pages than are kept for what is written next.  The
 *     user's parameter for this is reclaim=, since space is what he gets back;
 *     reclaim.h frees rows, which makes pages free, or
 *   - once an hour, something is left of receptions that died, or was kept for
 *     more than a week (rows/partial.h).
 *
 * Then it goes on in short steps through the queue of the writers, like
 * a client that is never in a hurry: while others write it takes a third of
 * the time at most, in steps of half a millisecond; where many pages are free
 * there are longer ones, see shrink.h.  Nothing is given back while the free
 * pages are being used quickly, nor while many more become free, since then it
 * is soon less work.
 *
 * At its end a checkpoint is asked for, which makes the file shorter: under a
 * load that neither fills the log nor ever pauses for a second there would be
 * none.
 *
 * What has been in the trash for its time is deleted by it, too (emptying.h):
 * every few seconds it looks, whether somebody writes or not.
 *
 * It does nothing of that before a client has opened a disk for writing, and so
 * nothing in a server that is read-only.
 */

#ifndef SQLBLOCK_TIDY_H
#define SQLBLOCK_TIDY_H

#include <stdbool.h>
#include <stdint.h>

#include "server.h"
#include "status.h"
#include "store.h"

/* How many bytes of free pages are kept when nobody says: the first, and at
 * least the file's size divided by the second.  The manual states both.
 */
#define TIDY_KEEP       (UINT64_C (16) << 20)
#define TIDY_KEEP_SHARE 8

struct tidy;

/* Start the thread.  Returns NULL on failure. */
struct tidy *tidy_start (struct store *store,
                         const struct tidy_options *options,
                         struct status *status);

/* End it. */
void tidy_stop (struct tidy *tidy);

#endif /* SQLBLOCK_TIDY_H */
