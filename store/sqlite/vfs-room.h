/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The part of the VFS (vfs.h) that makes room in the database for all that is
 * in the log.
 *
 * A page in the log for which the database has no room could never be moved
 * there, and then the log could not be used again.  So before the frame that
 * commits a transaction goes to the log, the database has allocated blocks up
 * to the size that the transaction gives it, which stands in that frame:
 *
 *   log        frame | frame | frame, commits, 1000 pages |
 *                                     |
 *   database   page 1 ...... page 900 | allocated, not yet written |
 *                       as checkpointed                 page 1000 ^
 *
 * Where there is no space the write of that frame fails with SQLITE_FULL, and
 * the transaction is rolled back.  A checkpoint never needs space.
 *
 * - fallocate(2) is called on a descriptor of our own, one for each database
 *   in this process.  Closing any descriptor drops the locks that SQLite has
 *   on the file, so it is closed after SQLite's last.  Where the file system
 *   cannot allocate, zeroes are written behind the end.
 * - What is allocated is remembered, so that most commits only compare two
 *   numbers, after one fstat(2).  The first commit of a process looks from the
 *   beginning on: other programs may have left holes.  What has blocks already
 *   needs no space for that, on xfs neither (filesystem_allocate).
 * - It is allocated a MiB at a time while there is enough.
 * - A checkpoint begins with zeroes, in large pieces, where it will write: see
 *   fill_holes.
 *
 * Cutting.  A complete checkpoint cuts the database to the size that it has
 * seen, while a writer, here or in another process, may just have made room
 * for more.  So nobody cuts without SQLite's lock of writers, and not below the
 * size that the log's index then says.  Who has not got that lock tries to
 * take it, for some milliseconds, and else leaves the file as it is: a later
 * checkpoint cuts it.  To cut some GiB takes a second, in which whoever reads
 * from the medium waits: so the file is cut piece by piece, and between pieces
 * writers go on.
 *
 * Lock order, with any number of processes: SQLite's lock of checkpoints, its
 * read marks, its lock of writers.  Cutting takes the last one while it has
 * the first, and does not wait for it without a limit; a writer that
 * has it takes no other.  Inside that a mutex of this file, which is a leaf.
 *
 * The log.  Where it starts over, as many bytes as the reserve has
 * (reserve.h) are allocated for it: what is full can still be overwritten in
 * place.  Where it grows the reserve must be whole, unless the transaction is
 * said to free space.
 *
 * Why not SQLITE_FCNTL_CHUNK_SIZE: SQLite says what it needs when a checkpoint
 * begins (SQLITE_FCNTL_SIZE_HINT), and by then it is committed.  No failure
 * can take it back any more.
 *
 * On a cluster nothing is allocated beforehand: all of this does nothing.
 *
 * A quota of the file system, and a limit for the size of a file (ulimit -f),
 * are the same to all this as a file system that is full.
 */

#ifndef SQLBLOCK_VFS_ROOM_H
#define SQLBLOCK_VFS_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

/* How many bytes are allocated at a time, and how many are written at a time
 * where zeroes are.
 */
#define VFS_ROOM_STEP  1048576
#define VFS_ROOM_PIECE 32768

/* At most this many bytes are cut off at a time, which takes some 10 ms. */
#define VFS_ROOM_CUT (INT64_C (64) << 20)

struct vfs_file;

/* Prepare the process.  Thread rules: called once. */
void vfs_room_prepare (void);

/* FILE, a database, is to be opened as NAME, and then has been, with FLAGS and
 * OUT_FLAGS as of xOpen.  Return SQLite result codes.
 */
int vfs_room_before_open (struct vfs_file *file, const char *name);
int vfs_room_after_open (struct vfs_file *file, int flags,
                         const int *out_flags);

/* It has been closed, or was not opened. */
void vfs_room_after_close (struct vfs_file *file);

/* SQLite cuts it to SIZE.  Somebody who writes may keep it longer. */
int vfs_room_truncate (struct vfs_file *file, int64_t size);

/* SQLite maps a part of the log's index, as xShmMap. */
int vfs_room_shm_map (struct vfs_file *file, int region, int size, int extend,
                      void volatile **memory);

/* It has got a lock of the index, FIRST, or let go of it, as FLAGS say. */
void vfs_room_after_shm_lock (struct vfs_file *file, int first, int flags);

/* FILE, a log, is to be opened as NAME, or is closed. */
void vfs_room_open_log (struct vfs_file *file, const char *name);
void vfs_room_close_log (struct vfs_file *file);

/* Write to it, with room in the database for what is committed by that; cut it
 * to SIZE.
 */
int vfs_room_write_log (struct vfs_file *file, const void *data, int count,
                        int64_t offset);
int vfs_room_truncate_log (struct vfs_file *file, int64_t size);

/* The transactions of DB do free space, or do not, from now on: they may use
 * the reserve.  Thread rules: those of the connection.
 */
void vfs_room_allow_reserve (sqlite3 *db, bool allowed);

/* While the database of DB is cut, CALL this after each piece, or NULL for
 * nothing.  Thread rules: those of the connection.
 */
void vfs_room_between_cuts (sqlite3 *db, void (*call) (void *opaque),
                            void *opaque);

/* Have the reserve be whole again, where there is space.  Thread rules: those
 * of the connection.
 */
void vfs_room_refill (sqlite3 *db);

#endif /* SQLBLOCK_VFS_ROOM_H */
