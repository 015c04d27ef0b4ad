/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Reading from the medium what a write will overwrite, before its turn comes.
 *
 * A row is read before it is changed.  Only one thread at a time changes
 * rows, and where the file is not in the kernel's memory that thread waits
 * for the medium again and again, which could read many pages at once.  So
 * the threads that wait for their turn read their rows meanwhile:
 *
 *   thread 1   transaction ─────────┐ transaction: all is in memory
 *   thread 2   read ──┐ wait ───────┤
 *   thread 3   read ─────┐ wait ────┘
 *
 * Where all is in memory that would be in vain, and a fifth of the work of a
 * small write.  So PREFETCH_WRITES of them read after one that met the
 * medium, in its transaction or here.  The kernel tells of each thread how
 * much it has read ("ru_inblock" in getrusage(2)); what it has in memory it
 * tells only of pages that one knows, and which those are only SQLite knows.
 * With nothing in memory this makes 2.1 times as many writes of 4 KiB, with all
 * of it as many as without (bench/NOTES.md).  Nor do long writes read:
 * where rows lie side by side, the kernel itself reads ahead.
 */

#ifndef SQLBLOCK_PREFETCH_H
#define SQLBLOCK_PREFETCH_H

#include <stdatomic.h>
#include <stdbool.h>

/* A wait for the medium takes as long as some ten reads from memory. */
#define PREFETCH_WRITES 16

/* The longest write that reads. */
#define PREFETCH_BYTES (64 * 1024)

struct prefetch {
  atomic_int left; /* so many writes more are to read */
};

/* What this thread has read from the medium until now. */
long prefetch_so_far (void);

/* This thread had read BEFORE when it began something that could be
 * prefetched, or to prefetch, and has ended it.  Thread rules: any thread.
 */
void prefetch_note (struct prefetch *prefetch, long before);

/* Is a write that has to wait to read?  Thread rules: any thread. */
bool prefetch_is_due (struct prefetch *prefetch);

#endif /* SQLBLOCK_PREFETCH_H */
