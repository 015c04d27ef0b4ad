/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Where a server of this machine listens: the kernel knows the sockets of a
 * process, and under which names they listen.
 *
 *   /proc/PID/fd/N ──► socket:[4711]      /proc/PID/net/unix, tcp: 4711, a name
 *
 * Thread rules: one thread.
 */

#ifndef SQLBLOCK_LISTENING_H
#define SQLBLOCK_LISTENING_H

#include <stdbool.h>
#include <sys/types.h>

/* Call TRY with the NBD URI of the export DISK on each socket with a name, on
 * which PROCESS listens, until it returns true.  Returns whether it has; not
 * all of them need be for NBD.
 */
bool listening_find (pid_t process, const char *disk,
                     bool (*try) (const char *uri, void *opaque), void *opaque);

#endif /* SQLBLOCK_LISTENING_H */
