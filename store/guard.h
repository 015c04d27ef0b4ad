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
 */

#ifndef SQLBLOCK_GUARD_H
#define SQLBLOCK_GUARD_H

#include <stdint.h>

#include "status.h"

/* Take the guard of disk ID of the database PATH.  Returns a descriptor, to
 * be closed by guard_release, or -1: EBUSY, with the holder's name, where
 * somebody has it.  Thread rules: any thread; two guards of one process
 * exclude each other too.
 */
int guard_take (const char *path, int64_t id, struct status *status);

/* Let go of a guard.  Thread rules: any thread. */
void guard_release (int guard);

#endif /* SQLBLOCK_GUARD_H */
