/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Quotas: how many bytes a disk and its snapshots may take.
 *
 * What counts is the data of the rows of all layers at which the disk or
 * one of its snapshots looks directly, and of those below at which nothing
 * else looks, since what did was deleted.  Not what it shares with the disk
 * that it was cloned from, which that one has.  What comes in for a disk
 * (manage_receive) counts for it, too; where it is to replace what the disk
 * shows, its own quota is larger by what that frees.
 *
 *     disk 'web', quota 10G ──► layer 7     3G  counts
 *                               layer 6     1G  counts: a snapshot was here
 *     web@monday ─────────────► layer 5     2G  counts
 *     web@sunday ─────────────► layer 5
 *     disk 'origin' ──────────► layer 2     4G  does not, though layer 5
 *                                               stands on it
 *
 * The table `counted` has a row for each layer that a disk with a quota sees
 * as far as it may count, and keeps its bytes (follow.h).  A layer that had
 * rows before is counted in steps: the rows of lower numbers than
 * counted.number are, those of higher ones are not yet.  Until that is done a
 * quota lets more through.
 *
 * When something that looked at a layer goes, the layer is looked through for
 * rows to reclaim.  After that it gets its row in `counted`, if it may count
 * now, or loses one that is needed no more, which did no harm.
 * Whether another disk sees it as well, so that it counts for neither, is
 * looked at by each check.
 *
 * A request that adds bytes to the disk's layer is checked in its transaction,
 * which it fails; the requests of that are then tried one by one.  One that
 * adds nothing passes above the limit, too.  Flattening is checked like a
 * write.  Reclaiming is not: rows that it moves into the disk's own layer may
 * count more than before, but no less becomes free.  A snapshot adds nothing.
 *
 * A content counts for each block that refers to it: what a disk may take must
 * not depend on what others delete.
 *
 * All functions run inside a transaction of the caller, a write transaction
 * where they change something, and return 0, or -1.
 */

#ifndef SQLBLOCK_QUOTA_H
#define SQLBLOCK_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "base/failed.h"
#include "base/types.h"
#include "status.h"

/* What a disk may take and takes, in bytes. */
struct quota_state {
  int64_t limit;  /* or QUOTA_NONE; then the rest is 0 */
  int64_t layer;  /* the disk's own, to which it writes */
  int64_t own;    /* what `layer` has, as far as it is counted */
  int64_t others; /* what the other layers have that count */
  bool counted;   /* all is counted */
};

/* Find out about disk ID, which may be one that comes in.  ENOENT where it
 * is gone.
 */
int quota_look (struct connection *connection, int64_t id,
                struct quota_state *state, struct status *status);

/* Look at state->own again, to which the disk writes. */
int quota_look_again (struct connection *connection, struct quota_state *state,
                      struct status *status);

/* Fail with ENOSPC if the disk NAME takes more than its quota. */
int quota_check (const struct quota_state *state, const char *name,
                 struct status *status);

/* Give disk ID a quota of LIMIT bytes, or QUOTA_NONE. */
int quota_set (struct connection *connection, int64_t id, int64_t limit,
               struct status *status);

/* The row of disk ID is new or has changed: if it has a quota, its layer is
 * counted from now on.
 */
int quota_follow (struct connection *connection, int64_t id,
                  struct status *status);

/* Something that looked at LAYER has gone: count that one, and those below
 * that only it sees, if a disk with a quota needs it, or give it up.
 */
int quota_follow_layer (struct connection *connection, int64_t layer,
                        struct status *status);

/* Are all rows counted that are to be? */
int quota_is_counted (struct connection *connection, bool *counted,
                      struct status *status);

/* What one step has counted. */
struct quota_step {
  int64_t layer; /* of which; 0: it did not come to one */
  int64_t bytes;
};

/* Count some rows that are not counted yet, and not those of the layers in
 * FAILED.  Returns 1, 0 when all others are counted, -1.
 */
int quota_count_step (struct connection *connection,
                      const struct failed_layers *failed,
                      struct quota_step *step, struct status *status);

#endif /* SQLBLOCK_QUOTA_H */
