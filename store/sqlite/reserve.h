/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A reserve of space, for what frees space.
 *
 * On a file system that is full, even to delete something takes space, for
 * the log.  So some is kept: blocks that belong to FILE-lock (guard.h), but
 * lie behind its end, where nothing is ever written.
 *
 *   FILE-lock   | who has which disk | . . . . . . . . . . . . . . . |
 *                                end ^   allocated: the reserve      ^
 *
 * Nobody removes that file, so the reserve is still there when the log was
 * truncated, when all have closed the database, and when a command comes
 * without a server.  `ls` does not show it; `du` does.
 *
 * - Database and log grow only in commits, under SQLite's lock of writers
 *   (vfs-room.h).  What grows them by an ordinary transaction first sees to
 *   it that the reserve is whole, else it fails as if there was no space:
 *   so no writer of ours takes what another one has let go.
 * - A transaction that frees space lets go of the reserve where it finds no
 *   other space, and writes on at once, under the same lock.  Another program
 *   that fills the same file system could be faster.  Then the transaction
 *   fails, is rolled back, and nothing is lost but the reserve, until space
 *   becomes free.
 * - The shared memory of the log's index may need it, too, to open the
 *   database at all.
 * - Where the file is not there, or the file system cannot allocate blocks
 *   beforehand, there is none.
 */

#ifndef SQLBLOCK_RESERVE_H
#define SQLBLOCK_RESERVE_H

#include <stdbool.h>
#include <stdint.h>

/* How large it is in the file system of DESCRIPTOR, in bytes: a part of it,
 * but between these.  The manual states them.
 */
#define RESERVE_SHARE 64
#define RESERVE_LEAST 65536
#define RESERVE_MOST  (INT64_C (4) << 20)
int64_t reserve_size (int descriptor);

/* Have the reserve of the database PATH be whole.  Returns false where there
 * is no space for it.  Thread rules, here and below: any thread.
 */
bool reserve_take (const char *path);

/* Let go of it. */
void reserve_release (const char *path);

#endif /* SQLBLOCK_RESERVE_H */
