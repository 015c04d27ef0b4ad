/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Does a server still have the lock of its database on a cluster?
 *
 * A server that was stopped, or cut off from the cluster, for longer than its
 * lock lasts may find that another one serves the database by now, or that it
 * was fenced (rados.h).  Nothing that it writes comes into the database then,
 * and what it writes fails.  But libcephsqlite only says that something has
 * failed, not what, and what is in the cache can still be read, though it is
 * old:
 *
 *   server A   writes ── stopped ─────────────── wakes up: reads its cache?
 *   server B                     takes over, writes
 *
 * So a thread with a connection of its own, which is not the one that was
 * refused, looks every 2 seconds whose the lock is.  When it is another's, all
 * requests fail from then on, and who runs the server is told once.  A request
 * that comes when nobody has looked for 6 seconds, as after a stop, first
 * looks itself; where the cluster does not answer for 30 seconds, it fails,
 * since the lock has ended by then.
 */

#ifndef SQLBLOCK_LEASE_H
#define SQLBLOCK_LEASE_H

#include "status.h"

struct lease;

/* Begin to look whether this process, which has the database PATH open as
 * CLIENT (struct lock_holder), keeps its lock.  FENCED is called once, by a
 * thread, when it is lost.  PATH and CLIENT stay valid as long.  Returns NULL
 * on failure, also where another has the lock already.
 */
struct lease *lease_start (const char *path, const char *client,
                           void (*fenced) (const char *message),
                           struct status *status);

/* Fail unless the lock was there a moment ago: with ESHUTDOWN when it is lost,
 * with EIO when that is not known.  Thread rules: any thread.
 */
int lease_check (struct lease *lease, struct status *status);

void lease_stop (struct lease *lease);

#endif /* SQLBLOCK_LEASE_H */
