/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The part of the VFS (vfs.h) that reads several pages of the database at
 * once.
 *
 * SQLite reads each page with a call of its own, and 1 MiB of a disk is 290
 * pages.  They lie side by side in the file, more or less, so who has read a
 * few that are close to each other gets the next ones from a buffer:
 *
 *   database   . . . . | 868 869 870 ... 875 | 876  877  878  879  880 . .
 *                        the next window       asked for, from the right
 *
 * - The walk over a disk's blocks goes from high numbers to low ones, other
 *   work goes up: the window lies at that end of what was read where the page
 *   asked for is.
 * - It is twice as long as what was used of the one before.  So it grows, and
 *   where less than half of it is of use it becomes shorter again.
 * - One page from elsewhere, of an index say, changes nothing; the second one
 *   in a row begins anew.  Reads at random hardly ever come so far as a window.
 * - Parts of pages do not come here: vfs-checksum.h reads the page.
 * - A window that cannot be read as a whole, at the end of the file or since
 *   a part of it is damaged, is forgotten, and the page is read by itself.
 *
 * Only connections that never write do this, and only within one read
 * transaction: each lock and unlock empties the buffer.  It then shows what
 * the file shows, as far as SQLite asks ("WAL-Mode File Format", "Locks on the
 * WAL"):
 *
 * - A reader holds a lock of a read mark.  It takes a page from the log if the
 *   log has it, up to its mark and past what had been checkpointed when it
 *   began.  Only other pages are read from the database.
 * - A checkpoint copies no frame past the mark of any reader.  A page that it
 *   writes has therefore a frame up to our mark.  If the newest one had not
 *   been checkpointed when we began, we take it from the log.  If it had been,
 *   what is written now are the bytes that were there before.
 * - Who holds read mark 0 ignores the log; then no checkpoint writes at all.
 * - So a page that a checkpoint changes while its bytes come into the buffer
 *   may be torn there, but is never asked for.  Its checksum is looked at when
 *   a page is handed out (vfs-checksum.h).
 * - A file that becomes shorter keeps the pages of every snapshot that is
 *   read.
 *
 * All who write to a database in WAL mode keep to this, other programs as
 * well.  A database that is opened as immutable has no locks; its connection
 * is not used again when it has changed (watch.h).  In other journal modes
 * nothing is read ahead.
 */

#ifndef SQLBLOCK_VFS_AHEAD_H
#define SQLBLOCK_VFS_AHEAD_H

#include <stdint.h>

struct vfs_file;

/* The longest window, in bytes: what each connection that reads in order
 * takes of memory.
 */
#define VFS_AHEAD_MOST 65536

/* FILE, the database NAME, was opened, with FLAGS. */
void vfs_ahead_open (struct vfs_file *file, const char *name, int flags);

/* Read from a database, with what comes next.  Returns an SQLite result code.
 */
int vfs_ahead_read (struct vfs_file *file, void *data, int count,
                    int64_t offset);

/* Forget what was read, and that it was in order. */
void vfs_ahead_forget (struct vfs_file *file);

/* SQLite has asked for locks of the index, with FLAGS, from FIRST on, and got
 * the answer RC.
 */
void vfs_ahead_after_shm_lock (struct vfs_file *file, int first, int flags,
                               int rc);

void vfs_ahead_close (struct vfs_file *file);

#endif /* SQLBLOCK_VFS_AHEAD_H */
