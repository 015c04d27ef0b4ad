/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Group commit: requests that wait together share one transaction.
 *
 * There is one write connection.  A request thread puts its operation on
 * the queue and waits.  Where nobody leads, it leads itself:
 *
 *   thread A   enqueue  lead: [BEGIN  A      COMMIT] wake C, done
 *   thread B      enqueue  wait ................................ lead ...
 *   thread C   enqueue  wait
 *                              the queue grows while a commit runs
 *
 * The leader takes what is queued (at least its own operation, which stands
 * first, at most a bounded amount), runs it as one transaction, makes the
 * first of the queue the next leader and wakes the others.  Acknowledged
 * means committed: a call returns 0 only after the COMMIT.  An operation that
 * failed is not there for anybody who reads.  Only a crash can bring it back,
 * as a whole and if nothing was committed after it: where the write to the log
 * that failed has left all its bytes there.
 *
 * An operation that is larger than a batch, such as a trim of a whole disk, is
 * a batch alone, and waits in a queue of its own.  The two take turns, so a
 * write waits for one step of one of them, however many there are:
 *
 *   large   trim, trim, trim ...        batches   trim | w w | trim | w w w |
 *   small   write, write, write ...
 *
 * A batch also ends where it has changed WRITER_STEP_ROWS rows: with many
 * layers a small trim may hide many blocks.  What is left of it goes on.
 *
 * Invariants:
 * - Only the leader uses the connection and the fields marked so.
 * - An operation belongs to the thread that waits for it; the leader does
 *   not touch it after it has set its state to done.
 * - SQLite takes data from the owner's buffer, without a copy (SQLITE_STATIC).
 *   The statement is reset, and its bindings are cleared, before the owner is
 *   woken.
 * - Each operation has a futex of its own, and nobody is woken under a lock.
 * - If the transaction fails, each operation is tried alone, so that only
 *   those that fail get the error.
 * - A leader never waits for anything that ends with one client.
 * - A leader that waits for another program's lock in vain fails those who
 *   have waited as long as they may, and leaves the others in the queue.
 *
 * Lock order: `lock` is a leaf; no call into SQLite is made under it.
 */

#ifndef SQLBLOCK_WRITER_H
#define SQLBLOCK_WRITER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/codec.h"
#include "sqlite/connection.h"
#include "sqlite/marking.h"
#include "rows/disks.h"
#include "engine/connections.h"
#include "engine/flusher.h"
#include "rows/follow.h"
#include "rows/layers.h"
#include "engine/prefetch.h"
#include "rows/quota.h"
#include "status.h"

/* A trim or zero whose range has more stored blocks than this goes in
 * steps, each of which is atomic.  Where the file system is full a step may
 * have fewer, but not less than the second.  The manual states both.
 */
#define WRITER_STEP_ROWS  65536
#define WRITER_STEP_LEAST 256

struct operation;
struct statistics;

/* Operations that wait, the oldest first. */
struct queue {
  struct operation *head, *tail;
};

struct writer {
  struct connections *connections;
  struct flusher *flusher;
  struct statistics *statistics; /* may be NULL */

  /* Called by the leader after each transaction that changed something,
   * with the size of the log in bytes.
   */
  void (*committed) (uint64_t log_bytes, void *opaque);

  /* Called by the leader, while no transaction runs: move the log into the
   * database and give its space back.  Returns whether that was possible.
   */
  bool (*make_room) (void *opaque);

  /* The same: wait while the log is longer than its bound. */
  void (*await_room) (void *opaque);
  void *opaque;

  /* What a leader does before its transaction, so that a checkpoint can keep
   * up: wait so many times as long as the last one took, and await room.
   */
  atomic_uint slowness;
  atomic_bool past_bound;
  uint64_t batch_bytes; /* what a transaction takes at most */

  pthread_mutex_t lock;
  pthread_cond_t resumed; /* a pause has ended */
  pthread_cond_t rested;  /* a transaction has ended, and there is a pause */
  struct queue small;     /* operations of at most a batch */
  struct queue large;     /* longer ones */
  bool large_turn;        /* the last batch was of small ones */
  size_t queued;          /* how many operations are in both */
  bool led;               /* somebody leads, or was made the leader */
  bool running;           /* a transaction runs */
  bool paused;
  uint64_t paused_since;

  /* The leader's. */
  struct connection connection;
  int64_t page_size; /* bytes */
  uint64_t log_bytes;
  uint64_t duration;     /* of the last transaction, in nanoseconds */
  uint64_t step_rows;    /* WRITER_STEP_ROWS, or fewer */
  uint64_t locked_since; /* others hold the lock; 0: they do not */
  int64_t next_id;       /* of the next new row; 0: ask the database */
  int64_t next_content;  /* of the next new content; 0: the same */
  bool changed;          /* the transaction has an operation of writer_run */
  int64_t view_of;       /* the disk that `view` shows, or 0 */
  int64_t view_epoch;    /* the epoch in which that was opened; `view` is kept
                            until something else may have changed it */
  struct view view;      /* the disk as it is */
  struct view below;     /* it without its own rows and the `owned` layers */
  size_t owned;          /* layers below its own that only it sees */
  char *block;           /* room for one block */
  char *room;            /* room for what is stored of one */
  struct follow follow;
  int64_t quota_of; /* the disk that `quota` is about, or 0 */
  struct quota_state quota;

  struct codec_pool workspaces; /* of those who wait */
  struct prefetch prefetch;     /* theirs, too */
};

/* Open the write connection.  FLUSHER is told of each commit; it may be opened
 * later than this, but before the first operation.  Returns 0, or -1 with
 * nothing left open.
 */
int writer_open (struct writer *writer, struct connections *connections,
                 struct flusher *flusher, struct status *status);

/* Close it; no operation is running. */
void writer_close (struct writer *writer);

/* What a block was before a part of it is written.  It is merged with the
 * new part and compressed by the caller's thread; the transaction only looks
 * whether the block is still the same, and otherwise merges anew.
 */
struct block_before {
  char *bytes; /* the whole block, which is changed, or NULL: not known */
  struct row_version version;
};

/* A write of COUNT bytes of DATA at byte OFFSET. */
struct write_request {
  const void *data; /* must stay as it is */
  uint64_t offset, count;
  struct storing storing; /* then as the disk now says, for the next request */
  /* Its whole blocks, as they are to be stored, or NULL: encode them. */
  const struct encoded *encoded;
  /* Of the first and the last block, if only a part of it is written. */
  struct block_before before[2];
};

/* Write what REQUEST says, inside the size of DISK, as one atomic change;
 * blocks that become all zeroes are not stored.  Returns 0 once it is
 * committed, or -1 with nothing changed: ENOSPC, EIO, ENOMEM.  Thread rules:
 * any thread.
 */
int writer_write (struct writer *writer, const struct disk_info *disk,
                  struct write_request *request, struct status *status);

/* A writer without a queue, for a file that is being made: its owner opens and
 * closes writer->connection himself, and all is written in one transaction of
 * his.  The rest of WRITER is zeroes when it is opened.
 *
 * A write is prepared, whose data must stay as it is, and then put, which ends
 * it, whatever that returns.  Thread rules: one thread prepares, and one puts.
 */
struct prepared;
int writer_open_alone (struct writer *writer, struct status *status);
struct prepared *writer_prepare_alone (struct writer *writer,
                                       const struct disk_info *disk,
                                       const struct write_request *request,
                                       struct status *status);
int writer_put_alone (struct writer *writer, const struct disk_info *disk,
                      struct prepared *prepared, struct status *status);
void writer_close_alone (struct writer *writer);

/* Make the whole blocks in the range zeroes, without storing anything for
 * them; with EDGES also the parts of blocks at both ends.  A range with at
 * most WRITER_STEP_ROWS stored blocks is one atomic change, a larger one
 * goes in atomic steps from its start on.  Returns and thread rules as
 * writer_write.
 */
int writer_clear (struct writer *writer, const struct disk_info *disk,
                  uint64_t offset, uint64_t count, bool edges,
                  struct status *status);

/* Give DISK SIZE bytes, or for 0 as many as it has, with nothing left behind
 * its end.  A smaller size holds at once; then the rows past
 * the end are deleted, or hidden, in steps.  A larger one holds when that
 * was done for what it adds, so that this is zeroes.  When it fails it can
 * be called again.  Returns and thread rules as writer_write; EBUSY where the
 * disk does not have the size any more that DISK says.
 */
int writer_resize (struct writer *writer, const struct disk_info *disk,
                   uint64_t size, struct status *status);

/* Call CHANGE with the connection and OPAQUE inside a transaction, in which
 * requests may be, too.  CHANGE may be called a second time after a failure
 * that undid the first.  Returns 0 once it is committed, or -1 with nothing
 * changed.  Thread rules: any thread.
 */
typedef int (*writer_change) (struct connection *connection, void *opaque,
                              struct status *status);
int writer_run (struct writer *writer, writer_change change, void *opaque,
                struct status *status);

/* Would a write that came now wait for others?  Thread rules: any thread. */
bool writer_is_busy (struct writer *writer);

/* Let the transaction that runs end, and begin no other until
 * writer_resume.  Thread rules, here and below: one thread, not one that
 * writes.
 */
void writer_pause (struct writer *writer);

/* The same, unless the transaction that runs does not end within MILLISECONDS:
 * then writers go on, and it returns false.  For who has a lock for which the
 * leader may wait.
 */
bool writer_try_pause (struct writer *writer, int milliseconds);
void writer_resume (struct writer *writer);

/* As marking_end_log in a pause; waits for other programs' locks for at most
 * PATIENCE milliseconds.
 */
int writer_end_log (struct writer *writer, enum mark_state state, int patience,
                    struct marking_end *end, struct status *status);

#endif /* SQLBLOCK_WRITER_H */
