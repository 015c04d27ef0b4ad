/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* One file of a VFS whose every request costs much, opened once, and shared by
 * all of this process that have it open (process.h).
 *
 *   reads     from the cache (process-cache.h), else from the file, of which
 *             whole chunks are read; where they are read in order, in either
 *             direction, or near what was read before, up to a whole object of
 *             the cluster at once.  What one reads already others wait for
 *   writes    go into the cache, and are gathered as long as each begins where
 *             the one before it ended:
 *
 *               |  object   |  object   |  object   |
 *                     ######## gathered
 *                             ^ goes on here
 *
 *             A small gap is filled with what stands in the file, if that is in
 *             the cache.
 *             They reach the file before another write that does not go on, at
 *             the end of an object, before a read of what they are, and before
 *             the file is synced, truncated or closed.
 *
 * - What could not be written stays gathered.  Who comes next tries again: so
 *   each call fails until it is written, and none is told that it was.
 * - The size is known, since nobody else has the file.
 * - "Verified" (PROCESS_VERIFY): the VFS below may say that it has synced what
 *   never arrived.  So before each sync the end of what was last written to
 *   each object is read again, past the cache, and compared.  One request for
 *   each object: writes to one arrive in their order, and that one of them has
 *   failed the VFS below then knows.  The same before something of an object is
 *   read from the file that was written and not synced.  Where a write has to
 *   wait, as for space in a full pool, a read does not wait for it: then the
 *   sync does, and looks again.  The size is kept elsewhere, so where it has
 *   changed the file is opened once more afterwards, to see if it has that.
 *
 * Locks: `writing` is held by who changes the file below, `lock`, inside it, by
 * who looks at the cache or at what is gathered.  A read of the file holds
 * neither: it is in a list, and what is written to its range meanwhile says so
 * there, so that what was read does not come into the cache.  What was asked
 * for and written meanwhile is read again.
 *
 * Thread rules: any thread at any time, but for opening and closing.
 */

#ifndef SQLBLOCK_PROCESS_FILE_H
#define SQLBLOCK_PROCESS_FILE_H

#include <stdint.h>

#include <sqlite3.h>

/* How the cluster cuts a file into objects, in bytes: no request is longer, nor
 * goes over the border of two.
 */
#define PROCESS_OBJECT (INT64_C (4) << 20)

/* What the VFS below says of a sync is not believed. */
#define PROCESS_VERIFY 1

struct process_file;

/* Open the file NAME by the VFS BELOW with FLAGS, those of xOpen, with a cache
 * of CACHE bytes.  NAME stays valid until it is closed, and a database is
 * locked so long.  OPTIONS may be PROCESS_VERIFY.  Returns NULL where that
 * fails; then *RC is a result of SQLite.
 */
struct process_file *process_file_open (sqlite3_vfs *below, const char *name,
                                        int flags, uint64_t cache, int options,
                                        int *rc);

/* All of these return a result of SQLite. */
int process_file_close (struct process_file *file);
int process_file_read (struct process_file *file, void *data, int count,
                       int64_t offset);
int process_file_write (struct process_file *file, const void *data, int count,
                        int64_t offset);
int process_file_truncate (struct process_file *file, int64_t size);
int process_file_sync (struct process_file *file, int flags);

/* How many syncs of it have failed.  Who wrote before one of them, and syncs
 * after it, is not told by his own.
 */
unsigned process_file_failures (struct process_file *file);

/* How many bytes it has, with what is gathered. */
int64_t process_file_size (struct process_file *file);

/* The file of the VFS below, for what it says of itself. */
sqlite3_file *process_file_below (struct process_file *file);

#endif /* SQLBLOCK_PROCESS_FILE_H */
