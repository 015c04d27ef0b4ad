/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The trash: disks that were deleted, and can be had back for a while.
 *
 *   web                                a disk, of id 7
 *    │  deleted                        setting trash=7d, see trash_span
 *    ▼
 *   trash/7                            hidden: nobody finds, opens, snapshots
 *    │        │                        or thins it out; its rows, snapshots and
 *    │        │                        properties stay as they are
 *    │        └─ undeleted ──► web     or by another name
 *    ▼
 *   (gone)                             as a disk that is deleted, when it is
 *                                      asked for or the time is over
 *
 * Two properties of such a disk say what it was called and when it was deleted,
 * a third until when it stays; later changes of the setting do not matter.  A
 * disk of which they cannot be read stays until somebody says what to do.
 *
 * All functions run inside a transaction of the caller.  Thread rules: those of
 * the connection.
 */

#ifndef SQLBLOCK_TRASH_H
#define SQLBLOCK_TRASH_H

#include <stdint.h>

#include "base/types.h"
#include "sqlite/connection.h"
#include "status.h"

/* How many seconds disk ID would stay in the trash, as its setting says or, if
 * it has none, that of the database; 0: it is deleted at once.  Returns 0, or
 * -1: EIO where the setting is damaged, so that nothing is deleted by that.
 */
int trash_span (struct connection *connection, int64_t id, int64_t *seconds,
                struct status *status);

/* Move DISK there for that long, and end connections to it.  Returns 0, or
 * -1 as disks_rename.  Its properties may be as many as can be.
 */
int trash_put (struct connection *connection, const struct disk_info *disk,
               int64_t seconds, struct status *status);

/* Disk ID, which is in the trash.  Returns 0, or -1: ENOENT where it is not. */
int trash_find (struct connection *connection, int64_t id,
                struct trashed_disk *found, struct status *status);

/* Fail since it is not; returns -1 and ENOENT. */
int trash_fail_unknown (int64_t id, struct status *status);

/* Call FOUND for each disk in the trash, in the order of their ids, until it
 * returns non-zero.  Damaged rows are passed over.  Returns 0, or -1.
 */
int trash_list (struct connection *connection,
                int (*found) (const struct trashed_disk *disk, void *opaque),
                void *opaque, struct status *status);

/* How many disks are there. */
int trash_count (struct connection *connection, int64_t *count,
                 struct status *status);

/* Have it back as NAME.  Returns 0, or -1: EEXIST where that is taken. */
int trash_take_out (struct connection *connection,
                    const struct trashed_disk *disk, const char *name,
                    struct status *status);

#endif /* SQLBLOCK_TRASH_H */
