/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the parts of writer.h share.
 *
 *   writer.c ──► writer-blocks.c
 *   the queue, who leads, transactions      what one operation does to rows
 *
 * What the leader has found out of the disk, its layers and the next ids is
 * kept from one transaction to the next, until writer_forget: after an
 * operation that is no request, a transaction that was rolled back, or a commit
 * of another connection, which SQLite tells (follow_begin).
 */

#ifndef SQLBLOCK_WRITER_PARTS_H
#define SQLBLOCK_WRITER_PARTS_H

#include "engine/writer.h"

enum operation_kind { WRITE, TRIM, ZERO, RESIZE, CHANGE };

enum operation_state { WAITING, LEADING, DONE };

/* A block of which a write changes a part, as it is to be if its version is
 * still the same.
 */
struct merged {
  bool known;
  struct row_version version;
  struct encoded encoded;
};

/* A request on its way through the queue. */
struct operation {
  enum operation_kind kind;
  const struct disk_info *disk;
  uint64_t offset, count;        /* bytes */
  const char *data;              /* WRITE: the bytes */
  const struct encoded *encoded; /* WRITE: its whole blocks */
  const struct merged *merged;   /* WRITE: first and last, in part */
  struct storing storing;        /* WRITE: the disk's, when it was done */
  writer_change change;          /* CHANGE: what to call */
  void *opaque;                  /* CHANGE: what to call it with */

  uint64_t cleared; /* TRIM, ZERO: bytes that this step has done; RESIZE: the
                       block up to which it has come */
  uint64_t size;    /* RESIZE: what the disk is to have, in bytes, or 0:
                       what it has */
  uint64_t limit;   /* RESIZE: up to where there may be old rows */
  bool begun;       /* RESIZE: steps were done */
  uint64_t reached; /* RESIZE: the block up to which they were */
  bool done;        /* RESIZE: nothing is left to do */
  int result;
  struct status *status;

  uint64_t asked; /* when it was put on the queue */
  bool large;     /* which queue that is */
  struct operation *next;
  atomic_uint state; /* enum operation_state; a futex */
};

/* Run OPERATION in the leader's transaction.  Returns 0, or -1, after which
 * the transaction is to be rolled back.  Thread rules, here and below: the
 * leader.
 */
int writer_run_operation (struct writer *writer, struct operation *operation,
                          struct status *status);

/* Something else than requests may have changed disks and ids, or what was
 * changed was rolled back.
 */
void writer_forget (struct writer *writer);

#endif /* SQLBLOCK_WRITER_PARTS_H */
