/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The program that is called before and after each snapshot of the schedule:
 * it may have a guest write what it holds back (fsfreeze), and go on again.
 *
 *   PROGRAM before DISK SNAPSHOT        its exit status is 0: it has done so
 *     ... the snapshot is taken ...     in any case
 *   PROGRAM after DISK SNAPSHOT         always, if "before" was called
 *
 * It also finds this in its environment, see hook_call.  It comes only from
 * whoever starts the server, never from the database, and is called without a
 * shell, with no descriptor but standard input, which is empty, and the error
 * output of the server as both outputs.  What takes too long is killed, with
 * all of its process group.
 */

#ifndef SQLBLOCK_HOOK_H
#define SQLBLOCK_HOOK_H

#include "base/background.h"
#include "server.h"
#include "status.h"

/* What is happening. */
struct hook_event {
  const char *when; /* "before" or "after" */
  const char *database, *disk, *snapshot;
  const char *result; /* "" before; after: "taken" or "none" */
};

/* Call the program of OPTIONS, and wait for its end: with its arguments it has
 * SQLBLOCK_EVENT, _DATABASE, _DISK, _SNAPSHOT and _RESULT in its environment.
 * While BACKGROUND (may be NULL) is to end, it has at most HOOK_LAST.  Returns
 * 0, or -1 where it cannot be called, fails, or was killed (ETIMEDOUT).  Thread
 * rules: one thread, which also waits for no other children.
 */
int hook_call (const struct hook_options *options,
               const struct hook_event *event, struct background *background,
               struct status *status);

#endif /* SQLBLOCK_HOOK_H */
