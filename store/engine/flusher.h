/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Durability: what FLUSH and FUA wait for.
 *
 * A commit puts a transaction into the write-ahead log without a sync; the
 * log survives the end of the process, not a power cut.  A flush syncs the
 * log: all that was committed before is then durable, whichever connection
 * it came from.  Flushes that wait at the same time share one sync, and
 * the next transaction may commit meanwhile.
 *
 *   committed   how many transactions were committed
 *   synced      how many of them a sync has covered
 *
 * A flush remembers `committed` and returns when `synced` has reached it.
 * Where nothing was committed since the last sync there is none, unless
 * other processes write, too, whose commits are not counted.
 *
 * A sync that failed, of the log or of the database, is not forgotten:
 * Linux drops the pages that it could not write, so the next sync would
 * succeed and mean nothing.  Every flush fails until a complete checkpoint
 * has written all of the log into the database and synced that.  Other
 * processes that write, commands and servers that share disks, may open the
 * log later and are not told by the kernel: the guard tells them (guard.h),
 * also where somebody died who may have known.  Then they do not sync the
 * log but write it again.
 *
 * It would not be less to have a process stop writing until it is started
 * again, which writes the log again anyway: the others must be told all the
 * same, and storage that was full or away for a moment would end all servers.
 *
 * That takes the lock of writers.  Where another program holds it, nothing
 * has failed: the flush waits, and so does each next one until the log was
 * written.
 *
 * The sync goes to the log's file through a connection of its own, so that
 * no other thread uses it.
 *
 * What makes a failed sync good, in this order:
 *
 *   1. while writers pause, each frame is compared with its checksum, and the
 *      whole log is written again and synced (log_rewrite); before that no
 *      checkpoint may touch the database
 *   2. in the shared memory no frame counts as moved any more, so that all are
 *      moved again, also those that an earlier checkpoint has moved
 *   3. a complete checkpoint, which syncs the database
 *
 * For who was only told of a failure of others 1 and 2 are enough.  If a
 * checksum is wrong, flushes and writes fail for good (flusher_give_up).
 */

#ifndef SQLBLOCK_FLUSHER_H
#define SQLBLOCK_FLUSHER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/connections.h"
#include "sqlite/connection.h"
#include "sqlite/guard.h"
#include "status.h"

struct statistics;

struct flusher {
  struct connections *connections;
  struct connection connection;
  sqlite3_file *log;
  bool shared;                   /* other processes write, too */
  struct guard_entry entry;      /* tells them, and is told, of failed syncs */
  struct statistics *statistics; /* may be NULL */
  atomic_uint_fast64_t committed;

  pthread_mutex_t lock; /* of what follows */
  pthread_cond_t changed;
  uint64_t synced;
  bool syncing;
  unsigned failures;    /* syncs that have failed */
  bool failed;          /* the last of them was not made good */
  bool unsettled;       /* nor did one fail: the log is to be written again */
  atomic_bool given_up; /* for good */
};

/* Open the flusher; the log exists (a connection has read or written it).
 * SHARED says that other processes write, too.  Returns 0, or -1 with nothing
 * left open.
 */
int flusher_open (struct flusher *flusher, struct connections *connections,
                  bool shared, struct status *status);

void flusher_close (struct flusher *flusher);

/* Is the log as it should be, at the end?  Where another process says that
 * it is not, or has died, it is written again.
 */
bool flusher_ends_well (struct flusher *flusher);

/* A transaction was committed.  Called before anybody is told of it.
 * Thread rules: any thread.
 */
void flusher_committed (struct flusher *flusher);

/* Make all durable that was committed before the call.  Returns 0, or -1:
 * EIO; also where another program has held the database locked for so long
 * that it is given up, and then the next flush tries again.  Thread rules:
 * any thread.
 */
int flusher_flush (struct flusher *flusher, struct status *status);

/* A sync of the database has failed, or one of the log that an earlier server
 * made may have.  Thread rules: any thread. */
void flusher_fail (struct flusher *flusher);

/* What an earlier server left in the log could not be written again, since
 * the database is locked: the next flush, or checkpoint, is to do it.  Thread
 * rules: any thread.
 */
void flusher_unsettle (struct flusher *flusher);

/* Where that was said, write the log again before somebody begins to write: the
 * mark of a log that may not be on the disk cannot be synced (marking.h).
 * Called without a transaction.  Returns 0, also where the sync fails, or -1
 * where another program holds the lock for longer than a write may wait.
 * Thread rules: any thread.
 */
int flusher_settle (struct flusher *flusher, struct status *status);

/* The number of the failure that no complete checkpoint has made good, or 0.
 * Thread rules: any thread.
 */
unsigned flusher_failure (struct flusher *flusher);

/* A complete checkpoint, begun after that failure, has succeeded.  It makes
 * good no later one.  Thread rules: any thread.
 */
void flusher_recovered (struct flusher *flusher, unsigned failure);

/* The log is damaged (see log_is_damaged): no flush succeeds any more, and
 * nothing may be committed.  Thread rules: any thread.
 */
void flusher_give_up (struct flusher *flusher);
bool flusher_gave_up (struct flusher *flusher);

#endif /* SQLBLOCK_FLUSHER_H */
