/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What there is to know of a database on a cluster before SQLite opens it, and
 * who has it open.
 *
 * libcephsqlite aborts the process where the cluster cannot be reached, or
 * where what it finds is no file of its own, and waits without end for a lock
 * that others hold.  So all of this is asked first, as any other client of
 * Ceph does: with the configuration that CEPH_CONF names, what CEPH_ARGS
 * says, and the user and keyring that these name.
 *
 * Who has a database open holds the exclusive lock "striper.lock" on its first
 * object.  A thread of libcephsqlite renews it every 2 seconds; 30 seconds
 * after it was last renewed it ends:
 *
 *   server killed               lock ends              the next server
 *   ──┴───────────── 30 s ────────┴──────────────────────┴─────►
 *     its address is still in the attribute "striper.excl", so the next one,
 *     with the lock, has the cluster refuse that client (a "blocklist") before
 *     it reads anything
 *
 * rados_fence does the same without waiting: first the cluster refuses the
 * client, then its lock is broken.  The other way round the old server could
 * still write while the new one already reads.  What was refused stays so for
 * an hour (mon_osd_blocklist_default_expire); a server that was only stopped
 * finds then that its lock is gone when it renews it, and fails all that
 * SQLite asks of it.
 *
 * librados is loaded when it is needed, so that a program that never sees a
 * cluster goes without.  Where it was not there when this was built, all of
 * these fail with ENOTSUP.  Thread rules: any thread.
 */

#ifndef SQLBLOCK_RADOS_H
#define SQLBLOCK_RADOS_H

#include <stdbool.h>

#include "base/types.h"
#include "status.h"

struct rados_found {
  bool exists; /* a file of no bytes does not: nothing was committed to it */
  bool left;   /* who had it open last, or has, has not closed it */
  bool held;
  struct lock_holder holder;
};

/* Look at the database PATH, a location.  TIMEOUT is how many seconds
 * connecting may take, and then each question.  Returns 0, or -1: EINVAL for
 * what is no location, ENOENT where there is no such pool, EACCES without
 * permission, ETIMEDOUT, EIO for what is no file of libcephsqlite.
 */
int rados_find (const char *path, unsigned timeout, struct rados_found *found,
                struct status *status);

/* Have the cluster refuse HOLDER, as rados_find has found it, and then break
 * its lock on the database PATH.  Returns 0, or -1: EBUSY where it does not
 * hold the lock any more, but another does, and then nothing was done.
 */
int rados_fence (const char *path, unsigned timeout,
                 const struct lock_holder *holder, struct status *status);

/* A connection that stays, to ask again and again.  The limit for each answer
 * is TIMEOUT.  Returns NULL on failure: ESHUTDOWN where this machine's address
 * is refused, here and in what asks.  Thread rules: one thread at a time uses
 * it.
 */
struct rados_session;
struct rados_session *rados_open (const char *path, unsigned timeout,
                                  struct status *status);
void rados_close (struct rados_session *session);

/* As rados_find; or only set the holder of FOUND. */
int rados_examine (const struct rados_session *session,
                   struct rados_found *found, struct status *status);
int rados_look (const struct rados_session *session, struct rados_found *found,
                struct status *status);

/* Whose turn it is to open the database, if nobody has it open: of those that
 * see this at the same time libcephsqlite would have all but one wait for ever.
 * It is a lock of an object of its own, which stays, as NAME-turn.
 *
 * Take it for at most so many SECONDS; others with the same TOKEN share it.
 * Returns 1, 0 where it is HOLDER's, or -1.
 */
int rados_take_turn (const struct rados_session *session, const char *token,
                     unsigned seconds, struct lock_holder *holder,
                     struct status *status);

/* Give it back for all that have TOKEN. */
int rados_end_turn (const struct rados_session *session, const char *token,
                    struct status *status);

#endif /* SQLBLOCK_RADOS_H */
