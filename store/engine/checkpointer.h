/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The checkpointer: moves the log into the database in time.
 *
 * A thread with a connection of its own keeps the write-ahead log short,
 * since a long one makes every look-up slower, by one probe for each 4096
 * frames, and every crash costlier.  SQLite's own checkpoint, at a commit,
 * would stop one unlucky writer.
 *
 *   the log is longer    a few rounds of: checkpoint what the readers allow,
 *   than limits.start    sync the database; writers go on.  Then writers
 *                        pause for the small rest, and the log starts over.
 *   nothing committed    the same, and the log is truncated: the file alone
 *   for limits.idle      is then the disk.
 *   somebody asks        once, as for a long log.
 *   a sync has failed    a complete checkpoint, until one succeeds.
 *
 *   the leader has found   the same, and what the log gives back is used.
 *   no space
 *
 *   length of the log
 *     0           limits.start: a quarter         limits.bound (log-size=)
 *     |----------------|-------------------------------|----------------->
 *       writers go at    writers are slowed down         writers wait for
 *       full speed       from round to round             the checkpoint
 *
 * Writers are slowed down from round to round, and past limits.bound they wait
 * for the checkpoint: the log exceeds it only by what is committed while one
 * checkpoint runs.  Readers of ours end soon enough, in whatever process, and
 * so do checkpoints of others; they are waited for.  A reader in another
 * program that stays open keeps the log from starting over; where that goes on
 * for 2 s nobody waits for it, the log grows past the bound, and a warning says
 * so.
 *
 * Where Litestream replicates the database all is different: see
 * checkpointer-litestream.c.
 *
 * Where little is free in the file system, the log is to be short, so that
 * most of that can hold data.
 *
 * How writers are slowed down cannot be read off the log's length alone: until
 * the pause it grows, however much of it was moved.  So each of these is there:
 *
 *   writer.slowness      which round it is
 *   writer.past_bound    whether to wait, for who does not take the lock
 *   stuck                waiting would not help
 *   dirty                the log is to be emptied when it rests
 *   asked, wanted        others have asked for it, with its space or not
 *   retry                when to try again: a pause for nothing costs writers,
 *                        a try without one only this thread
 *   prepared             the log was written again for this failure already
 */

#ifndef SQLBLOCK_CHECKPOINTER_H
#define SQLBLOCK_CHECKPOINTER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "engine/flusher.h"
#include "engine/reader.h"
#include "base/types.h"
#include "status.h"
#include "engine/writer.h"

/* The smallest bound that can be set, in bytes. */
#define CHECKPOINT_BOUND_MIN (UINT64_C (1) << 20)

/* How many bytes of the bound one transaction takes, at most. */
uint64_t checkpoint_share (const struct checkpoint_limits *limits);

struct checkpointer {
  struct connection connection;
  struct writer *writer;
  struct flusher *flusher;
  struct reader_pool *readers;
  struct checkpoint_limits limits;
  uint64_t start; /* limits.start, or less where little is free; `lock` */
  void (*warn) (const char *message);
  pthread_t thread;

  pthread_mutex_t lock; /* of what follows; taken before the flusher's */
  pthread_cond_t wake;
  pthread_cond_t made; /* a checkpoint has ended */
  bool stopping;
  bool stuck;         /* who keeps the log from being emptied does not end */
  bool restarted;     /* somebody else has let it start over */
  bool dirty;         /* something was committed and not checkpointed */
  bool asked;         /* by checkpointer_ask */
  uint64_t wanted;    /* counts who wants room */
  uint64_t done;      /* counts those for whom a checkpoint was made */
  bool emptied;       /* the last checkpoint has emptied the log */
  uint64_t commits;   /* counts them */
  uint64_t log_bytes; /* after the last one */

  /* Of checkpointer-litestream.c, and guarded in the same way. */
  uint64_t past_since;   /* the log is past its bound; 0: it is not */
  uint64_t restarted_at; /* somebody else has let it start over last */
  bool unattended;       /* it was we who let it start over last */
  uint64_t paced; /* how long it was when writers were last slowed down */

  /* The thread's own. */
  bool warned_pinned;
  bool warned_failed;
  uint64_t failing_since; /* no checkpoint has succeeded since; 0: one has */
  int retry;              /* milliseconds, after a checkpoint that failed */
  bool pausing;           /* writers pause */
  unsigned prepared;      /* the failure for which the log was written again */
};

/* Open the connection; the thread that WARN is called from starts later.
 * Returns 0, or -1 with nothing left open.
 */
int checkpointer_open (struct checkpointer *checkpointer, struct writer *writer,
                       struct flusher *flusher, struct reader_pool *readers,
                       const struct checkpoint_limits *limits,
                       void (*warn) (const char *message),
                       struct status *status);

/* Start the thread, or end it. */
int checkpointer_start (struct checkpointer *checkpointer,
                        struct status *status);
void checkpointer_stop (struct checkpointer *checkpointer);

void checkpointer_close (struct checkpointer *checkpointer);

/* Have the thread look at once, since a sync has failed.  Thread rules: any
 * thread.
 */
void checkpointer_wake (struct checkpointer *checkpointer);

/* Have the thread empty the log soon, however short that is.  Thread rules:
 * any thread.
 */
void checkpointer_ask (struct checkpointer *checkpointer);

#endif /* SQLBLOCK_CHECKPOINTER_H */
