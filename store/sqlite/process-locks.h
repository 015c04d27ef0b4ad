/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* SQLite's locks of a database, and the index of its log, for connections that
 * are all in this process: in memory.
 *
 * The locks are those of https://www.sqlite.org/lockingv3.html, but that
 * PENDING is EXCLUSIVE that has not been reached: in WAL mode nobody waits for
 * readers of the file.  Those of the index are those of
 * https://www.sqlite.org/walformat.html, section 2.3.
 *
 * Thread rules: any thread; each holder is one connection, and so one thread at
 * a time.
 */

#ifndef SQLBLOCK_PROCESS_LOCKS_H
#define SQLBLOCK_PROCESS_LOCKS_H

#include <pthread.h>
#include <stdbool.h>

#include <sqlite3.h>

struct process_holder {
  int level;              /* SQLITE_LOCK_... */
  unsigned shared, alone; /* locks of the index, by bits */
  bool maps;              /* the index */
};

struct process_locks {
  pthread_mutex_t lock;
  unsigned readers; /* who have SHARED or more */
  const struct process_holder *reserved, *exclusive;
  int index[SQLITE_SHM_NLOCK]; /* how many share it; -1: one has it alone */
  void **regions;              /* of the index */
  int region_count;
  unsigned maps; /* who map it; with the last one it goes */
};

void process_locks_init (struct process_locks *locks);
void process_locks_destroy (struct process_locks *locks);

/* Raise HOLDER's lock to LEVEL, or lower it.  Return a result of SQLite. */
int process_locks_raise (struct process_locks *locks,
                         struct process_holder *holder, int level);
int process_locks_lower (struct process_locks *locks,
                         struct process_holder *holder, int level);

/* Has somebody RESERVED or more? */
bool process_locks_reserved (struct process_locks *locks);

/* As xShmMap and xShmLock. */
int process_locks_map (struct process_locks *locks,
                       struct process_holder *holder, int region, int size,
                       int extend, void volatile **memory);
int process_locks_index (struct process_locks *locks,
                         struct process_holder *holder, int offset, int count,
                         int flags);

/* Let go of all of the index. */
void process_locks_unmap (struct process_locks *locks,
                          struct process_holder *holder);

#endif /* SQLBLOCK_PROCESS_LOCKS_H */
