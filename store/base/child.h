/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Work that is done in a child process, for what would leave threads or locks
 * in this one, or may hang or abort:
 *
 *   parent   fork ──────────── waits ───────────► result, status
 *   child      └─► work (opaque) ─► pipe, _exit     (or: it took too long,
 *                                                    it was ended by a signal)
 *
 * What the work changes in memory is lost.
 */

#ifndef SQLBLOCK_CHILD_H
#define SQLBLOCK_CHILD_H

#include "status.h"

typedef int (*child_work) (void *opaque, struct status *status);

/* Where this process has inherited that SIGCHLD is ignored, ignore it no more:
 * children would be gone as they end, and how they did.  Thread rules: when a
 * program begins, before it has children.
 */
void child_begin (void);

/* Have WORK done on WHAT, and return what it does and its status.  The child is
 * killed when it has taken SECONDS (0: however long), or this process ends;
 * then this is -1, with ETIMEDOUT.  Thread rules: while this process has no
 * other threads.
 */
int child_run (child_work work, void *opaque, const char *what,
               unsigned seconds, struct status *status);

#endif /* SQLBLOCK_CHILD_H */
