/* Looking at the servers of a database, from another process.
 *
 * Nothing says where they are but the kernel: a process is a server of a
 * database if it has that file open for reading, which takes the right to do
 * so, and beside it a file in memory with statistics (statistics.h).  Both are
 * seen in /proc/PID/fd, where root sees all processes, and others their own. So
 * there is nothing to configure and nothing that could be stale.
 *
 * What a process says about itself may be anything, as anybody can call a
 * file in memory so.  It is copied, never mapped; its size, layout and
 * database are checked, and counters are only numbers to show.
 */

#ifndef SQLBLOCK_OBSERVE_H
#define SQLBLOCK_OBSERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/statistics.h"
#include "status.h"

/* The most disks that are looked at, of all servers together. */
#define OBSERVE_DISKS_MAX 1000

/* A server at one moment. */
struct observed {
  pid_t process;
  uid_t user;                    /* of the process */
  uint64_t looked;               /* when, by clock_now */
  struct server_counters server; /* a copy */
  struct disk_counters *disks;   /* copies */
  size_t count;
  bool more; /* it has more disks, but OBSERVE_DISKS_MAX is reached */
};

/* What was found. */
struct observation {
  struct observed **servers; /* by the numbers of their processes */
  size_t count;
  size_t disks;   /* of all servers */
  size_t hidden;  /* processes that this user may not look at */
  size_t strange; /* servers of another version, or that claim nonsense */
};

/* Look for the servers of the database PATH.  Returns 0, or -1: ENOENT where
 * there is no such file.  Finding no server is no failure.
 */
int observe (const char *path, struct observation *observation,
             struct status *status);
void observation_free (struct observation *observation);

#endif /* SQLBLOCK_OBSERVE_H */
