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
 * also trace the process.  observe.h is the other end.
 *
 *   offset 0       struct server_counters
 *   64 KiB         struct disk_counters, of the first disk that was opened
 *   128 KiB        of the second ...
 *
 * Parts that were never counted in take no memory.  What is counted is only
 * added to, without an order between two counters.
 */

#ifndef SQLBLOCK_STATISTICS_H
#define SQLBLOCK_STATISTICS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <sqlite3.h>

#include "base/types.h"
#include "base/histogram.h"
#include "status.h"

/* Add to a counter; read one.  Thread rules: any thread. */
static inline void
counter_add (atomic_uint_fast64_t *value, uint64_t more)
{
  atomic_fetch_add_explicit (value, more, memory_order_relaxed);
}

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

/* Counters of so many disks, by name, are kept.  For more of them, those are
 * used again that no client counts in, the oldest first; while there are none
 * of these there may be more, but never more than MAX.
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
 * Counting.  Where the counters are NULL, nothing is counted.
 */

struct statistics {
  int file;
  struct server_counters *server;

  pthread_mutex_t lock; /* of what follows; a leaf */
  struct disk_counters **disks;
  size_t count;
  size_t next;      /* where to look for counters to use again */
  unsigned readers; /* of all counters; meanwhile none are used again */
};

/* Make the counters of a server of the database that is this DEVICE and
 * INODE.  Returns NULL on failure.
 */
struct statistics *statistics_open (dev_t device, ino_t inode,
                                    struct status *status);
void statistics_close (struct statistics *statistics);

/* A client opens the disk NAME, or DISK@SNAPSHOT, and is gone.  The counters
 * stay valid until then.  Returns NULL where there are none left, or no
 * memory: the disk is then served without.  Thread rules: any thread.
 */
struct disk_counters *statistics_open_disk (struct statistics *statistics,
                                            const char *name,
                                            struct status *status);
void statistics_close_disk (struct disk_counters *disk);

/* Between these two calls counters keep their names.  Thread rules: any
 * thread; not for long, as who opens a disk may get no counters meanwhile.
 */
void statistics_begin_reading (struct statistics *statistics);
void statistics_end_reading (struct statistics *statistics);

/* The counters of disk I, or NULL where there are fewer.  Thread rules: any
 * thread.
 */
const struct disk_counters *statistics_disk (struct statistics *statistics,
                                             size_t i);

/* Count a request of COUNT bytes that began at BEGAN, a time of clock_now;
 * RESULT is 0 or -1, and is returned.  Thread rules of this and all that
 * follow: any thread.
 */
int statistics_request (struct disk_counters *disk, enum request_kind kind,
                        uint64_t began, uint64_t count, int result);

/* Count how DB, the caller's connection, used its cache to read a disk. */
void statistics_cache (struct disk_counters *disk, sqlite3 *db);

/* Count a commit of so many OPERATIONS by DB, the writer's connection, whose
 * pages have PAGE_SIZE bytes, and how it used its cache.
 */
void statistics_commit (struct statistics *statistics, uint64_t began,
                        size_t operations, sqlite3 *db, uint64_t page_size);

/* Count a sync of the log, a checkpoint or a pause of the writers that began
 * at BEGAN.  RESULT is 0 or -1.
 */
void statistics_sync (struct statistics *statistics, uint64_t began,
                      int result);
void statistics_checkpoint (struct statistics *statistics, uint64_t began,
                            int result);
void statistics_pause (struct statistics *statistics, uint64_t began);

/* The log is BYTES long. */
void statistics_log (struct statistics *statistics, uint64_t bytes);

#endif /* SQLBLOCK_STATISTICS_H */
