/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the settings of a disk say of its clients:
 *
 *   allow=      who sees and opens it, its snapshots and increments
 *   exclusive=  whether one client at a time may write it
 *
 * They are looked at when a client lists or opens; who has it open stays.  For
 * who is not let in by allow= there is no such disk.  Whatever cannot be read
 * or understood lets nobody in.
 */

#ifndef SQLBLOCK_ACCESS_H
#define SQLBLOCK_ACCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "fence.h"
#include "peer.h"
#include "status.h"
#include "store.h"

/* The place of a connection that may write a disk. */
struct place {
  struct place *next;
  int64_t disk; /* 0: it has none */
  const struct peer *peer;
  const struct attached *attached;
};

/* Does allow= let PEER in, to disk ID, or a snapshot of it, of which NAME is
 * the name?  Returns 0, or -1: ENOENT, and STATUS is for the log only.  Thread
 * rules, here and below: any thread of a client.
 */
int access_check (struct store *store, int64_t id, const char *name,
                  const struct peer *peer, struct status *status);

/* Is exclusive=on for disk ID?  Returns 0, or -1. */
int access_exclusive (struct store *store, int64_t id, bool *exclusive,
                      struct status *status);

/* PEER, by a connection that is ATTACHED or not, which both are as they are
 * until access_leave, takes a PLACE among those that may write DISK.  If it is
 * EXCLUSIVE, then only beside others of the same client or attachment, and
 * those that are fenced off.  Somebody who is just leaving is waited for.
 * Returns 0, or -1: EBUSY where others have it.
 */
int access_enter (struct place *place, const struct disk_info *disk,
                  const struct peer *peer, const struct attached *attached,
                  bool exclusive, struct status *status);
void access_leave (struct place *place);

#endif /* SQLBLOCK_ACCESS_H */
