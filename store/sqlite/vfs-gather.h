/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The part of the VFS (vfs.h) that gathers the appends to the write-ahead log,
 * and makes room for them.
 *
 * SQLite writes each page of a transaction to the log with two calls: a
 * header of 24 bytes, then the page.  More than half of the processor time
 * of a write is spent in the kernel for that.  So consecutive appends become
 * writes of up to 64 KiB.  The connection that writes blocks does this.
 *
 *   log file   header | frame | frame | frame | frame |
 *                                     ^ highest       ^
 *                                     |--- buffer ----|
 *
 * Rules, each of which keeps data from being lost:
 *
 * - Only pure appends are gathered: those at the end of the buffer, or,
 *   where that is empty, at or past `highest`, the highest byte written
 *   since the log started over.  Everything else is written at once, after
 *   the buffer: a transaction that was larger than the page cache goes back
 *   and writes headers of its own earlier frames.
 * - The page whose frame header says "commit" (a non-zero size of the
 *   database) ends a transaction: the buffer is written then, so that an
 *   error is that of this write, and the transaction fails.
 * - Frames are known by their offset, which the page size in the header of
 *   the log gives, not by how long a write is.
 * - What is gathered but not committed must not be written later: by then
 *   another process may have its own frames there.  After a rollback the
 *   owner of the connection calls vfs_gather_forget.
 * - Reads of what is gathered, syncs, truncations and sizes write the
 *   buffer first.  An error when writing it empties it.
 * - Other files, above all the database, are not touched: a checkpoint does
 *   not sync what readers use at once.
 *
 * Room: a sync of a file that has grown writes its inode, too, which takes
 * as long as the sync itself.  So when the log grows, zeroes are put behind
 * its end, as many as it has bytes, up to 1 MiB.  To SQLite they are like the
 * frames of an earlier log, which are left when the log starts over: they
 * have no valid checksum, so recovery ends before them.  They are written
 * inside a transaction, whose lock keeps others from appending, and only
 * past the end of the file.  Where there is no space for them they are left
 * out.
 */

#ifndef SQLBLOCK_VFS_GATHER_H
#define SQLBLOCK_VFS_GATHER_H

#include <stdint.h>

#include <sqlite3.h>

struct vfs_file;

/* A parameter of the URI of a database says that its log is gathered. */
#define VFS_GATHER_PARAMETER "gather"

/* FILE, a log, is to be opened: have a buffer, if it is gathered.  Returns an
 * SQLite result code.
 */
int vfs_gather_open (struct vfs_file *file);

/* SQLite writes to it, which has a buffer. */
int vfs_gather_on_write (struct vfs_file *file, const void *data, int count,
                         int64_t offset);

/* Write what is gathered: before SQLite reads from OFFSET on, COUNT bytes, if
 * that is among them; before it cuts the log to SIZE; and before it syncs, or
 * asks for the size.
 */
int vfs_gather_before_read (struct vfs_file *file, int count, int64_t offset);
int vfs_gather_before_truncate (struct vfs_file *file, int64_t size);
int vfs_gather_write_out (struct vfs_file *file);

/* A transaction that is open now will never be committed. */
void vfs_gather_close (struct vfs_file *file);

/* The transaction of a connection was rolled back: drop what was gathered, if
 * it gathers.  Thread rules: those of the connection.
 */
void vfs_gather_forget (sqlite3 *db);

#endif /* SQLBLOCK_VFS_GATHER_H */
