/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Reading a database without its log, while nobody changes it.
 *
 * Where the log's shared memory cannot be made, since this user may not write
 * the directory, or it is mounted read-only here, or must not be made, since
 * the name is one of several or the file system may be another machine's,
 * SQLite reads a database that is complete in itself, without locks
 * (immutable=1).  It takes for granted that the file does not change.  If it
 * does all the same, pages that SQLite has kept no longer fit those that it
 * reads: rows are not found, and what is not found reads as zeroes.
 *
 * Nothing simpler reads such a file.  Without shared memory SQLite reads one
 * that had a log only in exclusive mode, whose lock takes the right to write.
 *
 * So each connection that reads in this way remembers what the file was before
 * it was opened, and whoever has read something looks, before he believes it,
 * whether the file still is that:
 *
 *   begin                        read        check: still the same?
 *     | wait until it rests, and  |  pages    |  yes: it is what the database
 *     | is closed; note it        |           |       was when that began
 *     ▼                           ▼           ▼  no:  EIO; the connection, with
 *   ──┬───────────────────────────┬───────────┬─      all that it has kept, is
 *     noted = ctime, size, first bytes, ...           not used again
 *
 * The argument:
 *
 * - The kernel sets the ctime of a file before a write changes its bytes
 *   (file_update_time; every write of SQLite is such a write, it maps databases
 *   only to read).  So if any byte that we have read was written after the
 *   begin, the ctime has changed when we look.
 * - It may have changed to the value that it had: the kernel's clock for it
 *   goes on in steps of up to 10 ms.  So a file is only begun with when it has
 *   rested: when its ctime is REST ago, or, since that clock may be another
 *   machine's, when it was seen unchanged for so long.  Old file systems step
 *   in whole seconds, which shows in the number.
 * - Whether the file is complete without a log its mark says (mark.h); what
 *   changes the mark changes the ctime.
 * - The file rests and is complete, but somebody begins to write: his commits
 *   are in his log until there is a checkpoint.  What we read is not wrong, but
 *   old, and nobody would know.  So a log with something in it beside our name,
 *   or a writer by another name (claim.h), counts like a change.
 *
 * A file that has changed, rests again and is closed can be read with new
 * connections.  Nothing is taken for unchangeable, not even what lies on a
 * read-only superblock, which can be mounted anew.  On file systems of other
 * machines all of this is as true as what they tell of the file; the server
 * says so when it starts.
 */

#ifndef SQLBLOCK_WATCH_H
#define SQLBLOCK_WATCH_H

#include "sqlite/claim.h"
#include "status.h"

struct watch;

/* Begin to watch the database PATH, of which CLAIM is one, before it is opened;
 * it may have to rest first.  Returns a new one, for watch_end, or NULL: EROFS
 * where there is a log or a writer, or it does not come to rest.  Thread rules:
 * any thread.
 */
struct watch *watch_begin (const char *path, const struct claim *claim,
                           struct status *status);
void watch_end (struct watch *watch);

/* Is the database what it was when WATCH began?  Returns 0, or -1 with EIO.
 * Thread rules: any thread.
 */
int watch_check (const struct watch *watch, struct status *status);

/* Fail as that does; always returns -1. */
int watch_fail (struct status *status);

#endif /* SQLBLOCK_WATCH_H */
