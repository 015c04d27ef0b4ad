/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A pool of read connections.
 *
 * A request takes a connection for as long as it reads, in one read
 * transaction in which it first looks up what the disk is now: so it never
 * mixes two states.  Connections are opened as they are needed, up to a
 * bound; then requests wait for one to come back.  The one used last goes
 * out first: its page cache is warm.
 *
 * While nothing is committed, the next request for the same disk would see
 * the same: then it goes on in the transaction of the one before, which
 * saves half of the work of a small read: 12.4 to 7.8 us, and 1.3 to 1.4 times
 * as many of them through nbdkit (bench/NOTES.md).  That is what all of the
 * following is for, the thread and the look at the header, too.  The header of
 * the log's index, in shared memory, changes with each commit, before that is
 * acknowledged
 * ("WAL-Index Header" in SQLite's walformat.html).  A transaction is kept
 * if the header was the same before it began and when it had begun, and
 * used again as long as it is still the same.
 *
 * Where the database is read without its log (watch.h), it may change under a
 * request, which reader_end finds out; then the request fails, or begins anew
 * where it can.  For that the connection is opened again, if the database is at
 * rest: perhaps only its mode was changed.  A command does not open it again:
 * what it has read before would not go together with that.  While requests
 * fail for this reason, the log gets one line.
 *
 * An open transaction keeps the log from being checkpointed and from
 * starting over.  So none is kept for longer than READER_KEEP, whether in
 * use or idle, and none while the checkpointer of this process works.  The
 * checkpointer of another process cannot say that.  So while only others
 * commit, none is kept either where the log is longer than a MiB.  When nobody
 * has committed for a second, they are kept again: the first commit after that
 * ends them (they are not fresh any more), and its checkpoint waits for that.
 */

#ifndef SQLBLOCK_READER_H
#define SQLBLOCK_READER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/connections.h"
#include "sqlite/connection.h"
#include "rows/disks.h"
#include "rows/layers.h"
#include "status.h"

/* nbdkit runs 16 threads for each client. */
#define READERS_MAX 16

/* How long a transaction is kept, in milliseconds; an idle one at most half
 * as long again.
 */
#define READER_KEEP 100

/* While only other processes write, none is kept when the log has more frames.
 */
#define READER_KEEP_FRAMES 256

/* The header of the log's index, in words of 64 bits. */
#define INDEX_HEADER 6

struct reader {
  struct connection connection;
  struct view view;
  struct reader *next;

  /* The transaction that is kept. */
  bool kept;
  uint64_t since;                    /* when it began */
  int64_t disk, snapshot, epoch;     /* what `view` shows */
  const volatile uint64_t *index;    /* the header; NULL: nothing is kept */
  uint64_t index_seen[INDEX_HEADER]; /* when the transaction began */
};

struct reader_pool {
  struct connections *connections;
  bool follow; /* go on with what it has become; set after the opening */
  atomic_bool failing;        /* since it changes, as the log says */
  _Atomic uint64_t committed; /* when this process last did; 0: never */

  /* The checksum of the index's header, and since when it was seen. */
  _Atomic uint64_t header, changed;

  pthread_mutex_t lock; /* of what follows; a leaf */
  pthread_cond_t returned;
  struct reader *idle;
  size_t open;   /* connections, idle or not */
  int suspended; /* where not 0, nothing is kept now */
  bool watched;  /* the thread looks for idle ones again and again */
  bool closing;
  pthread_cond_t wake;

  pthread_t thread; /* ends what is kept and idle */
};

/* Set up a pool; its first connection is the first of CONNECTIONS, which must
 * outlive it.  Returns 0, or -1 with nothing left open.
 */
int reader_pool_open (struct reader_pool *pool, struct connections *connections,
                      struct status *status);

/* Close all connections, none of which is in use. */
void reader_pool_close (struct reader_pool *pool);

/* Take a connection, in a read transaction, or NULL; give it back with
 * reader_end, or with reader_return where nothing depends on what was read.
 * Thread rules: any thread; the reader is the caller's.
 */
struct reader *reader_take (struct reader_pool *pool, struct status *status);
void reader_return (struct reader_pool *pool, struct reader *reader);

/* Give it back after work that has returned RESULT, and maybe filled STATUS.
 * Returns RESULT, or -1 with EIO where the database has changed under it.
 */
int reader_end (struct reader_pool *pool, struct reader *reader, int result,
                struct status *status);

/* The same for work that can be done again: where the database has changed, and
 * *AGAIN is set, nobody is told, and *AGAIN stays set.  In all other cases it
 * is cleared.
 */
int reader_end_or_again (struct reader_pool *pool, struct reader *reader,
                         int result, bool *again, struct status *status);

/* Keep no transaction until reader_pool_resume, called as often as this.
 * Thread rules: any thread.
 */
void reader_pool_suspend (struct reader_pool *pool);
void reader_pool_resume (struct reader_pool *pool);

/* As reader_take, with reader->view showing DISK. */
struct reader *reader_take_disk (struct reader_pool *pool,
                                 const struct disk_info *disk,
                                 struct status *status);

#endif /* SQLBLOCK_READER_H */
