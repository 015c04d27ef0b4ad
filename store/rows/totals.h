/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Totals: what the whole database takes, in parts that add up.
 *
 *   pages of the file = free pages + data + all else, the tables
 *
 *   data = disks       that nothing shows but disks as they are now
 *        + snapshots   ... but snapshots
 *        + trash       ... but disks in the trash and their snapshots
 *        + hidden      ... but what comes in, and copies that are being made
 *        + shared      that several of these show
 *        + deleted     that nothing shows: it waits to be reclaimed
 *
 * Data are the bytes of blocks as they are stored, compressed and each content
 * once.
 */

#ifndef SQLBLOCK_TOTALS_H
#define SQLBLOCK_TOTALS_H

#include "base/progress.h"
#include "sqlite/connection.h"
#include "base/types.h"
#include "status.h"

/* Count them, in one read transaction of the caller.  What is damaged does not
 * keep the rest from being counted: then it fails with EIO at its end, and what
 * it does not know is USAGE_UNKNOWN.  Cost and PROGRESS: twice usage_count for
 * all that there is, and a walk over all rows.  Returns 0, or -1.
 */
int totals_count (struct connection *connection, struct totals *totals,
                  progress_made progress, void *opaque, struct status *status);

#endif /* SQLBLOCK_TOTALS_H */
