/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Checkpointing: moving what was committed from the log into the database, by
 * whoever has a connection.  checkpointer.h has the thread that does it.
 */

#ifndef SQLBLOCK_CHECKPOINT_H
#define SQLBLOCK_CHECKPOINT_H

#include "sqlite/connection.h"
#include "status.h"

/* Make a complete checkpoint of the log that CONNECTION finds: everything
 * is written into the database and synced, and the log is empty.  Returns
 * 1, 0 where a reader prevents it, -1 on failure.
 */
int checkpoint_complete (struct connection *connection, struct status *status);

/* The parts of that, which give a result of SQLite. */

/* Run a checkpoint of MODE, one of SQLITE_CHECKPOINT_*; *FRAMES and *DONE
 * become how many frames the log has, and how many are in the database.
 */
int checkpoint_run (struct connection *connection, int mode, int *frames,
                    int *done);

/* End the log and have it go on a full file system, where the log has no room
 * for the mark that closes it: the file says that it is closed before the log
 * goes, since without a log one that is open is refused.
 */
int checkpoint_without_room (struct connection *connection,
                             struct status *status);

#endif /* SQLBLOCK_CHECKPOINT_H */
