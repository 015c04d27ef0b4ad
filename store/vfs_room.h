/* A VFS that makes room at the end of the database, before it grows.
 *
 * A checkpoint writes each page with a call of its own.  Where the file ends,
 * the kernel finds memory and makes an entry for each of them, which takes
 * five times as long as to copy the page.  For 32 KiB at once it does so once.
 *
 *   database   . . . . . . . . | 0 0 0 0 0 0 0 0 | 0 0 0 0 0 0 0 0 | 0 0 0
 *                       its end ^                        new end, as told ^
 *
 * SQLite tells before a checkpoint how long the file will be
 * (SQLITE_FCNTL_SIZE_HINT).  So much is filled with zeroes, and the pages are
 * written over them.
 *
 * - Pages past the end are in the log, or not at all, until a checkpoint has
 *   written and synced them: nobody reads the zeroes, also after a crash.
 *   What is left over at the end is cut off by the next complete checkpoint.
 * - Only who holds the lock of checkpoints makes the file longer; in other
 *   journal modes who holds the lock of the file, with a journal that cuts it
 *   off again.
 * - Zeroes that cannot be written are left out.  The pages themselves meet
 *   the error.
 * - More than 32 KiB at a time makes filling little faster, and from 128 KiB on
 *   slower.  And Linux counts all of such a piece as changed when one page is:
 *   with large ones it makes those who write at random places wait early.
 */

#ifndef SQLBLOCK_VFS_ROOM_H
#define SQLBLOCK_VFS_ROOM_H

#include <sqlite3.h>

#define VFS_ROOM_NAME "sqlblock-room"

/* How much is filled at a time, in bytes. */
#define VFS_ROOM_PIECE 32768

/* Make the VFS known to SQLite, above the VFS that is the default now.
 * Returns an SQLite result code.  Thread rules: called once.
 */
int vfs_room_register (void);

#endif /* SQLBLOCK_VFS_ROOM_H */
