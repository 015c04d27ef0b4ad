/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The write-ahead log as a file ("The WAL File Format" in SQLite's
 * fileformat2.html), and writing it again.
 *
 *   header   magic, version, page size, ..., salts, checksum
 *   frame 1  page number, commit mark, salts, checksum; then the page
 *   frame 2  ...
 *
 * A checksum covers all that stands before it, so one look through the log
 * tells whether each byte is what SQLite wrote.  SQLite looks only when it
 * recovers the log after a crash, not when it reads or checkpoints.
 */

#ifndef SQLBLOCK_LOG_H
#define SQLBLOCK_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "sqlite/guard.h"
#include "sqlite/log-walk.h"
#include "status.h"

/* Write the log again, as it is, and sync it, and have the next checkpoint
 * move all of it.  Where an earlier sync failed, or may have, the kernel
 * thinks that the log is on the disk; only this makes it so, and before it
 * is, a checkpoint must not touch the database: after a power cut nothing
 * could repair what it left half done.
 *
 * What the kernel could not write it may have dropped, and then it reads
 * older bytes.  So each frame is checked first; see log_is_damaged.
 *
 * ENTRY is that of this process; those who died are forgotten afterwards.
 * Returns 0, or -1.
 */
int log_rewrite (struct connection *connection, const struct guard_entry *entry,
                 struct status *status);

/* Keep out writers and checkpoints, by a write transaction on CONNECTION and
 * SQLite's lock of checkpoints.  Returns 0, or -1 with nothing held; let go
 * with log_release.
 */
int log_hold (struct connection *connection, sqlite3_file **database,
              struct status *status);
void log_release (struct connection *connection, sqlite3_file *database);

/* Call FOUND for each frame that is committed, in order, with the page that
 * it has and where in the log that stands.  Called in a read transaction;
 * what is committed meanwhile may be among it.  Returns 0, or -1.
 */
int log_find_pages (struct connection *connection,
                    void (*found) (uint32_t page, int64_t offset, void *opaque),
                    void *opaque, struct status *status);

/* Is page NUMBER among the frames that are committed?  Called in a write
 * transaction.  Returns 1, 0, or -1.
 */
int log_has_page (struct connection *connection, uint32_t number,
                  struct status *status);

/* Up to which OFFSET the frames of the log have been moved into the database.
 * Called in a read transaction.  Returns 0, or -1.
 */
int log_moved (struct connection *connection, int64_t *offset,
               struct status *status);

/* Say that the log has lost what was written to it; returns -1. */
int log_fail_damaged (struct status *status);

/* Is STATUS that of a log that is not what was written?  It cannot be made
 * good.  It must not be checkpointed, and nothing may be added: when SQLite
 * recovers it, all from the damage on is gone.
 */
bool log_is_damaged (const struct status *status);

#endif /* SQLBLOCK_LOG_H */
