/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A VFS for files that one process may have open at a time, and that it opens
 * once: all its connections share that.
 *
 *   connection   connection   connection      of this process
 *       └────────────┼────────────┘
 *             our VFS (vfs.h)
 *                    │
 *              this VFS            locks, and the index of the log, in memory:
 *                    │             process-locks.h; one process-file.h for the
 *                    │             database, another one for its log
 *            the VFS below         has the database locked as long as one of
 *                                  them has it open
 *
 * So a file on a cluster, whose VFS has neither shared memory nor locks for
 * more than one connection, has what a log needs: readers beside the writer,
 * and checkpoints beside both.  It is what SQLite's "unix-excl" is to files
 * (https://www.sqlite.org/vfs.html), with gathered writes and a cache.
 *
 * Files that SQLite keeps only for itself are those of the default VFS.
 */

#ifndef SQLBLOCK_PROCESS_H
#define SQLBLOCK_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#define PROCESS_NAME "sqlblock-process"

/* Make the VFS known to SQLite, over the one BELOW.  CACHE bytes are for each
 * database, and a quarter of that for its log; OPTIONS are those of
 * process_file_open.  Only the database is locked below, and what is beside it
 * goes with it: so SAME, unless it is NULL, says whether the VFS below is
 * still the client that it was when it was asked first.  If not, nothing is
 * opened or deleted any more.  Returns a result of SQLite.  Thread rules:
 * called once, while nothing is open.
 */
int process_register (sqlite3_vfs *below, uint64_t cache, int options,
                      bool (*same) (void));

/* Has this process the file NAME open, as xFullPathname of the VFS calls it?
 * Thread rules: any thread.
 */
bool process_has (const char *name);

#endif /* SQLBLOCK_PROCESS_H */
