/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The counters of a server, for who counts: see statistics.h.  Where they are
 * NULL, nothing is counted.
 */

#ifndef SQLBLOCK_COUNTERS_H
#define SQLBLOCK_COUNTERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <sqlite3.h>

#include "statistics.h"
#include "status.h"

/* Add to a counter.  Thread rules: any thread. */
static inline void
counter_add (atomic_uint_fast64_t *value, uint64_t more)
{
  atomic_fetch_add_explicit (value, more, memory_order_relaxed);
}

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

/* Count a commit of OPERATIONS operations by DB, the writer's connection, whose
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

#endif /* SQLBLOCK_COUNTERS_H */
