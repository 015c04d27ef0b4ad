/* One server per disk: a lock that ends with the process.
 *
 * Next to the database FILE stands FILE-lock.  Whoever opens a disk for
 * writing locks one byte of it, and writes there who he is:
 *
 *   byte   0        256 x id               256 x (id + 1)
 *          |  ...   |*process 1234 on host |  ...          * the byte locked
 *
 * It is an open-file-description lock (F_OFD_SETLK in fcntl(2)): closing
 * some other descriptor does not drop it, the end of the process does, so
 * nothing is left to clean up after a crash.  The file itself stays, since
 * removing it would race with others; what is written in it means nothing
 * while the byte is not locked.
 *
 * No disk has the id 0.  Its byte is locked, shared, by all who serve the
 * database; the one after it by those who need rows to stay, shared, or who
 * reclaim rows; the next one, shared, by those whose sync of the log has
 * failed, until the log is on the disk all the same.
 */

#ifndef SQLBLOCK_GUARD_H
#define SQLBLOCK_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* Take the guard of disk ID of the database PATH; with SHARED others may
 * have it as well, if they share it, too.  Returns a descriptor, to be
 * closed by guard_release, or -1: EBUSY, with the holder's name, where
 * somebody has it.  Thread rules: any thread; two guards of one process
 * exclude each other too.
 */
int guard_take (const char *path, int64_t id, bool shared,
                struct status *status);

/* Say that this process writes the database PATH, and takes care of its log.
 * Returns and thread rules as guard_take; any number of processes can have
 * it.
 */
int guard_serve (const char *path, struct status *status);

/* Does a process have guard_serve of the database PATH?  Returns 1, 0, -1. */
int guard_is_served (const char *path, struct status *status);

/* Keep others from reclaiming rows of the database PATH, as long as a copy
 * is made of what it was; any number of processes can do this.  Or reclaim
 * some, for a short time, alone.  Both wait a while for each other; then
 * they fail with EBUSY.  Returns and thread rules as guard_take.
 */
int guard_keep_rows (const char *path, struct status *status);
int guard_reclaim (const char *path, struct status *status);

/* Open what tells all processes that write the database PATH that a sync has
 * failed somewhere: only who synced is told by the system.  Returns a
 * descriptor, to be closed by guard_release, or -1.
 */
int guard_watch (const char *path, struct status *status);

/* Say by a descriptor of guard_watch that the log is in doubt, or no longer;
 * and ask whether somebody else says so.  Thread rules: one thread at a
 * time for a descriptor.
 */
void guard_set_doubt (int watch, bool in_doubt);
bool guard_has_doubt (int watch);

/* Let go of a guard.  Thread rules: any thread. */
void guard_release (int guard);

#endif /* SQLBLOCK_GUARD_H */
