/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Saving a log that has no name any more.
 *
 * Who deletes or replaces FILE-wal while it is in use (place.h) leaves its
 * bytes where they are, as long as a descriptor is open, and a connection that
 * was opened before can still move them into the database.  After that the
 * database alone is everything, and closed.
 *
 * That is right only if nobody has committed anything that this log has not,
 * and nobody does so meanwhile:
 *
 * - Who has the same index (-shm) may have opened a new file as the log, and
 *   have committed into that.  Then the index counts frames that our log does
 *   not have, or has otherwise: each frame is looked at by its checksum, up to
 *   the last one that the index knows (log_rewrite).
 * - Who has made a new index, since the old one was deleted, too, has a log of
 *   his own, and may have moved that into the database already.  So nothing
 *   is saved once another index was seen beside the database.
 * - Others cannot open it meanwhile: SQLite's lock "pending" is held on the
 *   database, which keeps out who has no lock yet.
 *
 * What is left of the log has no name, so nothing can be written any more by
 * the connections that there are.
 */

#ifndef SQLBLOCK_RESCUE_H
#define SQLBLOCK_RESCUE_H

#include "sqlite/connection.h"
#include "sqlite/guard.h"
#include "sqlite/place.h"
#include "status.h"

/* Move all of the log of CONNECTION, that place_has_lost_log, into the
 * database.  ENTRY is that of this process.  Returns 1, 0 where others keep it
 * from that now, -1.  Thread rules: those of the connection; writers of this
 * process pause.
 */
int rescue_log (struct connection *connection, struct place *place,
                const struct guard_entry *entry, struct status *status);

#endif /* SQLBLOCK_RESCUE_H */
