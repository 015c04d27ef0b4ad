/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Flattening: copying what a disk takes from its parents, to end the tie.
 *
 *     layer 7 of the disk   3  -  2  -  -   ──►   3  8  2  6  5
 *     layer 5 below it      -  8  -  6  -         no longer below it
 *     layer 2 below that    1  -  -  4  5
 *
 * What is copied has the lowest generation, so snapshots of the disk see it as
 * they saw what it was copied from.  It goes in bounded steps, in each of which
 * the disk shows the same.  When there is no space left, what was copied is
 * taken back.
 */

#ifndef SQLBLOCK_FLATTEN_H
#define SQLBLOCK_FLATTEN_H

#include <stdint.h>

#include "sqlite/connection.h"
#include "status.h"

/* How far a flatten has come; all zeroes at first, but for MOST. */
struct flatten_progress {
  uint64_t most;    /* bytes that a step may write */
  int64_t layer;    /* that is filled */
  uint64_t next;    /* block */
  uint64_t copied;  /* bytes of blocks */
  int64_t first_id; /* rows that it has made have this id or a higher one */
  uint64_t undone;  /* blocks that were looked at to take it back */
};

/* Copy what disk ID takes from its parents into its own layer, in bounded
 * steps; when all is copied, the tie to the parent is cut.  PROGRESS is moved
 * on; it holds only if the transaction is committed.  Inside a write
 * transaction of the caller.  Returns 1, 0 when it is done, -1.
 */
int flatten_copy_step (struct connection *connection, int64_t disk,
                       struct flatten_progress *progress,
                       struct status *status);

/* Take back what a flatten of disk ID has copied, in bounded steps: a row that
 * it has made goes if the parents still show the same, which they may not where
 * space was freed since.  Inside a write transaction of the caller.  Returns 1,
 * 0 when it is done, -1.
 */
int flatten_undo_step (struct connection *connection, int64_t disk,
                       struct flatten_progress *progress,
                       struct status *status);

#endif /* SQLBLOCK_FLATTEN_H */
