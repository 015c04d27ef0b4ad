/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The part of the VFS (vfs.h) that guards when the write-ahead log starts over.
 *
 * SQLite's fault of 3.7.0 to 3.51.2 ("The WAL-Reset Bug" in SQLite's
 * wal.html): a checkpoint copies the header of the log's index, and looks only
 * then how far the log has been checkpointed.
 *
 *   checkpoint    lock, copy the header: M frames          look: 0 of M
 *   a writer                               start over: 0
 *
 * All M frames were checkpointed, the log starts over between the two steps,
 * and the checkpoint believes that M old frames are left for it.  It writes
 * what was replaced, and then says that the first M frames of the new log are
 * in the database, which nobody has copied: they are lost.
 *
 * Only who holds all read marks but 0 alone starts the log over: a writer, or
 * a checkpoint that restarts or truncates it (walRestartLog and walCheckpoint
 * in SQLite's wal.c).  So while a checkpoint begins, we hold one of them,
 * shared, for it:
 *
 *   SQLite's lock of checkpoints   |---------------------------------------|
 *   a read mark, held by us        |-------------------|
 *                                    header   looked   ^ SQLite asks for a
 *                                                        read mark, alone
 *
 * - It is taken with the lock of checkpoints, before that is SQLite's: so
 *   before the header is copied.
 * - It is let go of when SQLite asks for any read mark alone, and at the
 *   latest with the lock of checkpoints.  The first time that it asks, it has
 *   looked.  If frames were left then, nobody starts the log over any more:
 *   that takes a log that was checkpointed as a whole, and only who holds the
 *   lock of checkpoints gets on with that.  If none were left, it writes
 *   nothing; it asks for all of them when it is to start the log over
 *   itself, with the lock of writers.
 * - A checkpoint that finds the index broken makes it anew, and asks for read
 *   marks before it has looked.  Then nothing counts as checkpointed, and
 *   again nobody can start the log over until it has been.
 * - When SQLite closes a log it holds the whole database alone, without these
 *   locks.  Then there is nobody who could start the log over.
 * - Where SQLite itself holds a read mark on this connection, that will do.
 * - No reader needs the one that we take: SQLite looks for another.  It has
 *   four, and holds each alone for an instant only; where we get none after
 *   some time, the database is busy.
 *
 * Other programs are not kept from the fault, unless their SQLite is newer.
 *
 * Besides, on connections of the store the log starts over, or goes with the
 * last connection, only where somebody has said so: marking.h tells when.  It
 * is said of one state of the log, by the header of its index, which each
 * commit changes.
 *
 *   SQLite asks                              answer, unless it was permitted
 *   a writer, for all read marks but 0       busy: it appends to the log
 *   a checkpoint, for the same               busy, at once: it has copied what
 *                                            it could
 *   closing, for the whole database alone    busy: the log stays
 *
 * And on these connections the mark that ends a log (mark.h) gets into the file
 * last.  A checkpoint writes pages in the order of their numbers, so the file
 * would say early, in page 3, that all is in it:
 *
 *   SQLite           page 1, 2, 3, 4 ... 99   cut   sync                moved
 *   the file         page 1, 2,    4 ... 99   cut   sync, page 3, sync
 *
 * - Only a checkpoint writes whole pages while there is a log.  SQLite syncs
 *   after all of them, and only then says how many frames it has moved.  These
 *   connections never have "synchronous" at OFF.
 * - It does not sync where it had to leave frames in the log: somebody has
 *   committed meanwhile, or reads.  Then page 3 is not written, and before the
 *   lock of checkpoints is let go of the frames count as not moved again.
 *   Those that were left keep the log from starting over in between, and keep
 *   readers from reading the file alone.
 * - An error ends a checkpoint before it says anything, and so does a kill.
 * - Before a mark that closes the file its last page is stamped (mark.h).
 * - A mark that opens a log is written in its turn.
 */

#ifndef SQLBLOCK_VFS_RESTART_H
#define SQLBLOCK_VFS_RESTART_H

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "sqlite/log-format.h"

struct vfs_file;

/* SQLite writes these bytes, with their checksum, to FILE, a database: are they
 * the page of a mark that ends a log?  Then they are kept.
 */
bool vfs_restart_is_end (const struct vfs_file *file, const void *data,
                         int count, int64_t offset);
int vfs_restart_keep_end (struct vfs_file *file, const void *data, int count);

/* SQLite has synced it, with FLAGS: write what is kept, and sync that.  Returns
 * an SQLite result code.
 */
int vfs_restart_after_sync (struct vfs_file *file, int flags);

/* What is kept is not written any more. */
void vfs_restart_drop_end (struct vfs_file *file);

/* SQLite asks for COUNT locks of the index, from FIRST on, with FLAGS, or lets
 * go of them.  Returns SQLITE_OK, or a result code that is the answer.
 */
int vfs_restart_before_shm_lock (struct vfs_file *file, int first, int count,
                                 int flags);

/* The file below has answered RC.  Returns what SQLite is to be told. */
int vfs_restart_after_shm_lock (struct vfs_file *file, int first, int count,
                                int flags, int rc);

/* The same for a lock of the file. */
int vfs_restart_after_lock (struct vfs_file *file, int level, int rc);

/* From now on the log starts over on this connection, or goes when it is
 * closed, only where that is permitted.  Returns an SQLite result code.  Thread
 * rules of this and the next: those of the connection.
 */
int vfs_restart_guard (sqlite3 *db);

/* Copy the header as it is now, of a connection that has read.  It holds while
 * nobody can commit.  Returns an SQLite result code.
 */
int vfs_restart_header (sqlite3 *db, unsigned char header[LOG_INDEX_HEADER]);

/* Has all that is in the log, and something is, been moved into the database?
 * Of a connection that has read; it may be otherwise by now.
 */
bool vfs_restart_is_moved (sqlite3 *db);

/* Permit it, while the header is HEADER.  Returns an SQLite result code. */
int vfs_restart_permit (sqlite3 *db,
                        const unsigned char header[LOG_INDEX_HEADER]);

/* Does SQLite VERSION, such as 3051003 for 3.51.3, never have the fault?
 * Distributions mend older ones without a new number.
 */
bool vfs_restart_is_fixed (int version);

#endif /* SQLBLOCK_VFS_RESTART_H */
