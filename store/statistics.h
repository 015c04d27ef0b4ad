/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a server has done: counters that everybody who may can look at.
 *
 * They lie in a file in memory (memfd_create(2)), which has no name in any
 * directory, and of which the server alone has a descriptor:
 *
 *   server  ──counts──►  file in memory  ◄──reads──  sqlblock top
 *                                          /proc/PID/fd/N
 *
 * So counting costs a few additions to memory and no thread, it works
 * whatever can be written, it leaves nothing behind however the server ends,
 * and the kernel says who may look: the server's user and root, who could
 * also trace the process.  counters.c is one end, observe.c the other.
 *
 *   offset 0       struct server_counters
 *   64 KiB         struct disk_counters, of the first disk that was opened
 *   128 KiB        of the second ...
 *
 * Parts that were never counted in take no memory.  What is counted is only
 * added to, without an order between two counters.
 *
 * Nothing is counted twice: FUA is part of the request that asks for it, and no
 * flush; a request of .cache is one, whatever it reads.  Commands count
 * nothing.
 */

#ifndef SQLBLOCK_STATISTICS_H
#define SQLBLOCK_STATISTICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/types.h"
#include "base/histogram.h"
#include "status.h"

/* Read a counter.  Thread rules: any thread. */
static inline uint64_t
counter_read (const atomic_uint_fast64_t *value)
{
  return atomic_load_explicit (value, memory_order_relaxed);
}

/* The requests of clients. */
enum request_kind {
  REQUEST_READ,
  REQUEST_WRITE,
  REQUEST_FLUSH,
  REQUEST_TRIM,
  REQUEST_ZERO,
  REQUEST_EXTENTS,
  REQUEST_CACHE,
  REQUEST_KINDS
};

/* Their names, "read" ... */
extern const char *const request_names[REQUEST_KINDS];

/*--------------------------------------------------------------------
 * The file in memory.  Whoever changes it raises STATISTICS_LAYOUT.
 */

#define STATISTICS_FILE_NAME "sqlblock-statistics"
#define STATISTICS_MAGIC     UINT64_C (0x7461747371736c62)
#define STATISTICS_LAYOUT    1

/* Counters of at most this many disks, by name, are kept.  For more of them,
 * those are used again that no client counts in, the oldest first; while there
 * are none of these there may be more, but never more than MAX.
 */
#define STATISTICS_DISKS_KEPT 1000
#define STATISTICS_DISKS_MAX  4096

/* Each part begins at a multiple of this, which all sizes of pages divide. */
#define STATISTICS_PART 65536

/* A page: kinds of requests that never come take none. */
#define STATISTICS_ALIGNED _Alignas(4096)

struct request_counters {
  STATISTICS_ALIGNED struct histogram times; /* of all, failed ones as well */
  atomic_uint_fast64_t bytes;                /* of those that succeeded */
  atomic_uint_fast64_t errors;
};

/* A disk with its snapshots, under the name by which clients opened it. */
struct disk_counters {
  char name[DISK_NAME_MAX + 1];
  atomic_uint_fast64_t clients;                  /* now */
  atomic_uint_fast64_t connections;              /* clients until now */
  atomic_uint_fast64_t cache_hits, cache_misses; /* pages, when reading */
  struct request_counters requests[REQUEST_KINDS];
};

struct server_counters {
  uint64_t magic;
  uint64_t layout;
  uint64_t device, inode; /* of the database */
  uint64_t started;       /* by clock_now */
  int64_t started_time;   /* seconds since 1970, UTC */
  char version[32];

  atomic_uint_fast64_t disks; /* how many parts follow */

  atomic_uint_fast64_t log_bytes;   /* how long the log is now */
  atomic_uint_fast64_t log_written; /* bytes of pages, all in all */
  atomic_uint_fast64_t cache_hits, cache_misses; /* pages, when writing */
  atomic_uint_fast64_t sync_errors;
  atomic_uint_fast64_t
      checkpoint_errors; /* those that did not get to their end */

  STATISTICS_ALIGNED struct histogram commits;     /* times */
  STATISTICS_ALIGNED struct histogram operations;  /* in each commit */
  STATISTICS_ALIGNED struct histogram syncs;       /* times, of the log */
  STATISTICS_ALIGNED struct histogram checkpoints; /* times, all of them */
  STATISTICS_ALIGNED struct histogram pauses;      /* times, of writers */
};

/*--------------------------------------------------------------------
 * Looking at the servers of a database, from another process (observe.c).
 */

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

#endif /* SQLBLOCK_STATISTICS_H */
