/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The manager of a load: takes and deletes snapshots, rolls disks back,
 * clones, one or two at an instant, writes to clones, flattens, resizes,
 * deletes and reclaims, in random order.
 *
 * Before it begins, an operation says what it makes of the things in the
 * store.  So whoever sees the store change knows whether the operation is
 * what changed it:
 *
 *   chosen   active ──────────────────────────────► done
 *   things   before ... before │ after ... after
 *                              └ the commit: seen
 *
 * What begins as the clients' disk, a snapshot or a clone of it, is known
 * only then: the disk changes all the time.
 */

#ifndef SQLBLOCK_TESTS_MANAGER_H
#define SQLBLOCK_TESTS_MANAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"
#include "store.h"
#include "things.h"

enum operation_kind {
  OPERATION_SNAPSHOT,
  OPERATION_DELETE_SNAPSHOTS,
  OPERATION_ROLLBACK,
  OPERATION_CLONE,
  OPERATION_WRITE,
  OPERATION_ZERO,
  OPERATION_FLATTEN,
  OPERATION_RESIZE,
  OPERATION_DELETE,
  OPERATION_DISCARD,  /* into the trash */
  OPERATION_UNDELETE, /* out of it */
  OPERATION_RECLAIM,
  OPERATION_SHRINK, /* give free pages back, by the ways for many of them */
  OPERATION_SET,    /* how a disk is stored; perhaps anew */
  OPERATIONS
};

/* One operation changes at most this many things. */
#define EFFECTS_MOST 2

/* What becomes of a thing. */
struct effect {
  char name[THING_NAME];
  const char *bytes; /* NULL: it is gone, with its snapshots */
  uint64_t size;
  bool taken; /* it becomes what the clients' disk is then */
};

struct operation {
  enum operation_kind kind;
  char targets[EFFECTS_MOST][THING_NAME];
  size_t targets_count;
  char name[THING_NAME]; /* of what is made */
  char second_name[THING_NAME];
  uint64_t offset, count;
  bool fua;
  struct disk_options options; /* to be set */
  bool recompress;

  struct effect effects[EFFECTS_MOST];
  size_t effects_count;
  char *buffer; /* what a write or a resize makes of a disk */

  bool active;
  bool seen;    /* it is done */
  size_t state; /* in which it was done; 0: it changes nothing */
};

/* A store begins of which nothing is known: what is in its trash stays there.
 */
void manager_begin (void);

/* Choose an operation for a store that contains THINGS and the clients'
 * DISK; those must stay until it is done.
 */
void operation_choose (struct operation *operation, struct things *things,
                       struct thing *disk, uint64_t *random);
void operation_free (struct operation *operation);

/* Is it one that must have the clients' disk, DISK, for itself? */
bool operation_changes (const struct operation *operation, const char *disk);

/* What it does becomes durable before it returns. */
bool operation_is_durable (const struct operation *operation);

/* Do it.  Returns what the function of manage.h or store.h does. */
int operation_run (const struct operation *operation, struct store *store,
                   struct status *status);

#endif /* SQLBLOCK_TESTS_MANAGER_H */
