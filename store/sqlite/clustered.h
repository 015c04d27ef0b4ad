/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The files of a database on a cluster (location.h), for SQLite and past it.
 *
 *   our VFS (vfs.h)            as for files
 *   one file for a process     process.h: locks and the log's index in memory,
 *                              gathered writes, a cache
 *   "ceph"                     libcephsqlite, Ceph's own VFS: a file is a row
 * of objects, and locked by one process at a time
 *
 * libcephsqlite is loaded when the first such database is opened, as SQLite
 * loads extensions, so that nobody else needs it.  It connects as every client
 * of Ceph does, and makes threads: nothing of this may come before nbdkit
 * forks.
 *
 * What a process has locked stays so until the last of its connections, and of
 * the files here, is closed.  A new database is made in a file of this machine
 * and copied then (files.h): its size, which stands in the first object, is
 * written last, and an object of size 0 counts as no database.
 *
 * libcephsqlite writes asynchronously, and a sync that waits for these writes
 * does not see that they have failed, as those of a client that the cluster
 * refuses do: it asks librados for what is always 0, and drops an error at
 * once (SimpleRADOSStriper::wait_for_aios and ::write).  So what was written is
 * read back (process-file.h).  The first is right in Ceph's main branch since
 * September 2026 (https://github.com/ceph/ceph/pull/69195); that was proposed
 * for Ceph 19, 20 and 21 then, and not for 16 and 18, which Debian 12 and 13
 * have.  The second was only proposed (.../pull/69198).  Where both are in,
 * test-takeover.sh can tell whether reading back can go.
 *
 * libcephsqlite 18 connects anew when the cluster has refused it.  A file that
 * is open stays refused: each request of it fails.  What is opened or deleted
 * after that, or looked at, is not: process.h.  The end of each write is read
 * through the file that wrote it, so that it is read back proves enough there,
 * too.
 *
 * Thread rules, where nothing else is said: any thread.
 */

#ifndef SQLBLOCK_CLUSTERED_H
#define SQLBLOCK_CLUSTERED_H

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "status.h"

/* How much of each database to have in memory, in bytes, if nobody says it.
 * Thread rules, here and for the next: before anything is opened.
 */
#define CLUSTERED_CACHE (INT64_C (64) << 20)
void clustered_set_cache (uint64_t bytes);

/* How long to wait for a cluster when a database is opened, in seconds. */
#define CLUSTERED_TIMEOUT 30
void clustered_set_timeout (unsigned seconds);
unsigned clustered_timeout (void);

/* Where another process has a database open, wait until it has let go, however
 * long, and have SAY told for whom; NULL: fail.
 */
void clustered_set_takeover (void (*say) (const char *message));
bool clustered_takes_over (void);

/* Wait for that, and open nothing; the turn is passed on then (cluster/turn.h).
 * Returns 0, or -1.
 */
int clustered_await (const char *path, struct status *status);

/* Have SQLite know the VFS that opens PATH, and see to it that it can open it:
 * before SQLite does, since libcephsqlite waits for ever, or aborts the
 * process, where it cannot.  So it is this process's turn to open it from then
 * on, until turn_leave.  Returns 1 where there is a database at PATH, 0, or -1:
 * EBUSY where another process has it open.
 */
int clustered_enter (const char *path, struct status *status);

/* The same in one. */
int clustered_look (const char *path, struct status *status);

/* Opening PATH has failed, as STATUS says: say why, too, where that can be
 * seen. Returns -1.
 */
int clustered_explain (const char *path, struct status *status);

/* Who this process is to the cluster when it has a database open, as
 * lock_holder has it.
 */
const char *clustered_client (void);

/* A new string: the name of PATH in a URI for SQLite, or NULL. */
char *clustered_uri (const char *path);

/* Open the file of the database PATH with SUFFIX ("", "-wal" or "-journal"),
 * which is read, or with CREATE written.  Returns 1, 0 where there is none, or
 * -1.
 */
int clustered_open (const char *path, const char *suffix, bool create,
                    sqlite3_file **file, struct status *status);
void clustered_close (sqlite3_file *file);

/* The size of that file in bytes; -1 where there is none, or it cannot be
 * looked at, as STATUS says: then its errno is not ENOENT.
 */
int64_t clustered_size (const char *path, const char *suffix,
                        struct status *status);

/* Write what the file FD has to where PATH is, durably, if there is nothing
 * yet.  Returns 0, or -1: EEXIST where there is.
 */
int clustered_publish (int fd, const char *path, struct status *status);

#endif /* SQLBLOCK_CLUSTERED_H */
