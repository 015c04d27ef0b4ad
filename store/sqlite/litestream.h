/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What Litestream has in a database that it replicates: two tables of its own.
 *
 * It copies the log.  So that nobody lets the log start over before that, it
 * holds a read transaction, and lets go of it only to checkpoint.  When it has,
 * it adds one to a number in its table: the first transaction in the new log.
 *
 *   _litestream_seq    one row: 1, and the number
 *   _litestream_lock   always empty: it takes SQLite's lock of writers
 *
 * - It knows nothing of our VFS.  So what it moves from the log into the
 *   database has no checksum, as with any other program (sealing.h).  The page
 *   that it writes, the root of the first table, keeps the checksum that it had
 *   before, which does not fit any more.  Such a page is taken where it is that
 *   root, and what is on it is that row and nothing else; then it gets a new
 *   checksum as one that has none does.
 * - The tables are made by us before it starts: its own CREATE TABLE would
 *   leave wrong checksums on pages that others need.
 * - A log that it has let start over begins with that page, and not with our
 *   mark.  It fits the file by the number (mark.h).
 * - Between its checkpoint and that first transaction it holds no lock.  What
 *   somebody else commits then has the log go on, and grow.  So a writer who
 *   finds that all of the log has been moved lets Litestream go first.
 * - What was committed between its last look at the old log and its checkpoint
 *   it copies only now, from behind the end of the new one.  If that were
 * longer by then, the replica would lack it, and nobody would notice.  So a
 * writer lets it go first once more, and the log does not grow longer than the
 * least that has it checkpoint before some time has passed
 *   (engine/checkpointer-litestream.c).
 */

#ifndef SQLBLOCK_LITESTREAM_H
#define SQLBLOCK_LITESTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "status.h"

/* The text of its tables, as it stands in the schema. */
#define LITESTREAM_SEQ                                                         \
  "CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)"
#define LITESTREAM_LOCK "CREATE TABLE _litestream_lock (id INTEGER)"

/* Find the root of the first table, and note it for all connections of the
 * store.  Returns 0 or -1.  Thread rules, here and below: those of the
 * connection.
 */
int litestream_find (struct connection *connection, struct status *status);

/* Was it found?  Then Litestream may be at work. */
bool litestream_is_on (const struct connection *connection);

/* Make its tables, or delete them, in the write transaction of CONNECTION.
 * Returns 0 or -1.
 */
int litestream_set (struct connection *connection, bool on,
                    struct status *status);

/* A log of ours begins: add one to its number, too, in the write transaction of
 * CONNECTION, so that each log has a number that the one before it has not.
 * Returns 0 or -1.
 */
int litestream_count (struct connection *connection, struct status *status);

/* How long the log is by its index, in bytes; where nobody has read it yet, 0.
 */
uint64_t litestream_log_size (struct connection *connection);

/* Called when a write transaction has just begun.  Where Litestream is about to
 * let the log start over, or, for the second, where somebody has done that just
 * now: roll back and let it go first, for a moment.  Returns whether that was
 * done, which is once for each log.
 */
bool litestream_let_restart (struct connection *connection);
bool litestream_let_copy (struct connection *connection);

#endif /* SQLBLOCK_LITESTREAM_H */
