/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Whose turn it is to open a database on a cluster.
 *
 * Between a look at who has it open and libcephsqlite's lock another process
 * could take that lock, and then libcephsqlite waits for ever.  So all of ours
 * open it one after the other, by a lock of its own (rados_take_turn):
 *
 *   take     wait for those that open it now; then either somebody has it open,
 *            or it is this process's turn
 *   leave    when it is open, or is not to be opened
 *
 * A server that begins opens its database several times, in two processes, and
 * nobody is to come between:
 *
 *   share    the children that this process makes from now on have its turn
 *   keep     leaving does not end it
 *   pass     it is kept, for some seconds, for another of these processes
 *   end      it is left after all
 */

#ifndef SQLBLOCK_TURN_H
#define SQLBLOCK_TURN_H

#include "cluster/rados.h"
#include "status.h"

/* Take the turn to open PATH.  TIMEOUT is that of rados_open, and how long to
 * wait for others' turns.  Where another process has it open, wait until it has
 * let go, however long, and have TAKEOVER told for whom; where that is NULL,
 * fail.  FOUND is set to what was found then.  Returns 0, or -1: EBUSY.  Thread
 * rules, here and for leaving: any thread.
 */
int turn_take (const char *path, unsigned timeout,
               void (*takeover) (const char *message),
               struct rados_found *found, struct status *status);
void turn_leave (void);

/* Thread rules for these: one thread. */
void turn_share (void);
void turn_keep (void);
void turn_pass (void);
void turn_end (void);

#endif /* SQLBLOCK_TURN_H */
