/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a server has done: see statistics.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/grow.h"
#include "base/counters.h"

_Static_assert(sizeof (struct server_counters) <= STATISTICS_PART &&
                   sizeof (struct disk_counters) <= STATISTICS_PART,
               "a part is too small");

const char *const request_names[REQUEST_KINDS] = {
  "read", "write", "flush", "trim", "zero", "extents", "cache",
};

/*--------------------------------------------------------------------
 * The file in memory.
 */

/* Lengthen the file by one part, which is all zeroes, and map it.  NULL with
 * errno on failure.
 */
static void *
add_part (int file, size_t number)
{
  const off_t offset = (off_t)number * STATISTICS_PART;
  void *part;

  if (ftruncate (file, offset + STATISTICS_PART) == -1)
    return NULL;
  part = mmap (NULL, STATISTICS_PART, PROT_READ | PROT_WRITE, MAP_SHARED, file,
               offset);
  return part == MAP_FAILED ? NULL : part;
}

/* Make the file with its first part.  Returns 0, or -1 with errno. */
static int
make_file (struct statistics *statistics)
{
  statistics->file = memfd_create (STATISTICS_FILE_NAME, MFD_CLOEXEC);
  if (statistics->file == -1)
    return -1;
  statistics->server = add_part (statistics->file, 0);
  if (statistics->server)
    return 0;
  close (statistics->file);
  return -1;
}

struct statistics *
statistics_open (dev_t device, ino_t inode, struct status *status)
{
  struct statistics *statistics = calloc (1, sizeof *statistics);
  struct server_counters *server;

  if (statistics == NULL) {
    status_no_memory (status);
    return NULL;
  }
  if (make_file (statistics) == -1) {
    status_fail (status, errno, "making the file of the statistics: %s",
                 strerror (errno));
    free (statistics);
    return NULL;
  }
  pthread_mutex_init (&statistics->lock, NULL);
  server = statistics->server;
  server->layout = STATISTICS_LAYOUT;
  server->device = device;
  server->inode = inode;
  server->started = clock_now ();
  server->started_time = time (NULL);
  strncpy (server->version, PACKAGE_VERSION, sizeof server->version - 1);
  /* Whoever sees the magic sees all of the above. */
  atomic_thread_fence (memory_order_release);
  server->magic = STATISTICS_MAGIC;
  return statistics;
}

void
statistics_close (struct statistics *statistics)
{
  if (statistics == NULL)
    return;
  for (size_t i = 0; i < statistics->count; i++)
    munmap (statistics->disks[i], STATISTICS_PART);
  munmap (statistics->server, STATISTICS_PART);
  close (statistics->file);
  free (statistics->disks);
  pthread_mutex_destroy (&statistics->lock);
  free (statistics);
}

/* Make counters for the disk of the LENGTH bytes of NAME, or NULL.  Called
 * with the lock held.
 */
static struct disk_counters *
add_disk (struct statistics *statistics, const char *name, size_t length)
{
  const size_t count = statistics->count;
  struct disk_counters **disks = grow (statistics->disks, count, sizeof *disks);

  if (disks == NULL)
    return NULL;
  statistics->disks = disks;
  disks[count] = add_part (statistics->file, count + 1);
  if (disks[count] == NULL)
    return NULL;
  memcpy (disks[count]->name, name, length);
  statistics->count++;
  atomic_store_explicit (&statistics->server->disks, statistics->count,
                         memory_order_release);
  return disks[count];
}

/* Counters that nobody counts in any more, as if they were new, for the disk of
 * the LENGTH bytes of NAME, or NULL.  Called with the lock held.
 */
static struct disk_counters *
use_again (struct statistics *statistics, const char *name, size_t length)
{
  struct disk_counters *disk;

  if (statistics->readers > 0)
    return NULL;
  for (size_t i = 0; i < statistics->count; i++) {
    disk = statistics->disks[statistics->next];
    statistics->next = (statistics->next + 1) % statistics->count;
    if (counter_read (&disk->clients) > 0)
      continue;
    memset (disk, 0, sizeof *disk);
    memcpy (disk->name, name, length);
    return disk;
  }
  return NULL;
}

/* The counters of the disk of the LENGTH bytes of NAME; NULL where there are
 * none left.  Called with the lock held.
 */
static struct disk_counters *
find_disk (struct statistics *statistics, const char *name, size_t length)
{
  struct disk_counters *disk = NULL;

  for (size_t i = 0; i < statistics->count; i++)
    if (strncmp (statistics->disks[i]->name, name, length) == 0 &&
        statistics->disks[i]->name[length] == '\0')
      return statistics->disks[i];
  if (statistics->count >= STATISTICS_DISKS_KEPT)
    disk = use_again (statistics, name, length);
  if (disk == NULL && statistics->count < STATISTICS_DISKS_MAX)
    disk = add_disk (statistics, name, length);
  return disk ? disk : use_again (statistics, name, length);
}

struct disk_counters *
statistics_open_disk (struct statistics *statistics, const char *name,
                      struct status *status)
{
  const size_t length = strcspn (name, "@");
  struct disk_counters *disk;

  pthread_mutex_lock (&statistics->lock);
  disk = find_disk (statistics, name,
                    length < DISK_NAME_MAX ? length : DISK_NAME_MAX);
  if (disk) {
    counter_add (&disk->clients, 1);
    counter_add (&disk->connections, 1);
  }
  pthread_mutex_unlock (&statistics->lock);
  if (disk == NULL)
    status_fail (status, ENOMEM, "there are no counters left for disk '%s'",
                 name);
  return disk;
}

void
statistics_close_disk (struct disk_counters *disk)
{
  if (disk)
    counter_add (&disk->clients, -1);
}

void
statistics_begin_reading (struct statistics *statistics)
{
  pthread_mutex_lock (&statistics->lock);
  statistics->readers++;
  pthread_mutex_unlock (&statistics->lock);
}

void
statistics_end_reading (struct statistics *statistics)
{
  pthread_mutex_lock (&statistics->lock);
  statistics->readers--;
  pthread_mutex_unlock (&statistics->lock);
}

const struct disk_counters *
statistics_disk (struct statistics *statistics, size_t i)
{
  const struct disk_counters *disk = NULL;

  pthread_mutex_lock (&statistics->lock);
  if (i < statistics->count)
    disk = statistics->disks[i];
  pthread_mutex_unlock (&statistics->lock);
  return disk;
}

/*--------------------------------------------------------------------
 * Counting.
 */

int
statistics_request (struct disk_counters *disk, enum request_kind kind,
                    uint64_t began, uint64_t count, int result)
{
  struct request_counters *request;

  if (disk == NULL)
    return result;
  request = &disk->requests[kind];
  if (result == 0)
    counter_add (&request->bytes, count);
  else
    counter_add (&request->errors, 1);
  histogram_count_time (&request->times, clock_now () - began);
  return result;
}

/* What a status of DB, which counts something, has got since the last time.
 */
static uint64_t
take_status (sqlite3 *db, int what)
{
  int value = 0, highest;

  sqlite3_db_status (db, what, &value, &highest, 1);
  return value;
}

void
statistics_cache (struct disk_counters *disk, sqlite3 *db)
{
  if (disk == NULL)
    return;
  counter_add (&disk->cache_hits, take_status (db, SQLITE_DBSTATUS_CACHE_HIT));
  counter_add (&disk->cache_misses,
               take_status (db, SQLITE_DBSTATUS_CACHE_MISS));
}

void
statistics_commit (struct statistics *statistics, uint64_t began,
                   size_t operations, sqlite3 *db, uint64_t page_size)
{
  struct server_counters *server;

  if (statistics == NULL)
    return;
  server = statistics->server;
  histogram_count_time (&server->commits, clock_now () - began);
  histogram_count (&server->operations, operations);
  counter_add (&server->cache_hits,
               take_status (db, SQLITE_DBSTATUS_CACHE_HIT));
  counter_add (&server->cache_misses,
               take_status (db, SQLITE_DBSTATUS_CACHE_MISS));
  counter_add (&server->log_written,
               take_status (db, SQLITE_DBSTATUS_CACHE_WRITE) * page_size);
}

void
statistics_sync (struct statistics *statistics, uint64_t began, int result)
{
  if (statistics == NULL)
    return;
  histogram_count_time (&statistics->server->syncs, clock_now () - began);
  if (result == -1)
    counter_add (&statistics->server->sync_errors, 1);
}

void
statistics_checkpoint (struct statistics *statistics, uint64_t began,
                       int result)
{
  if (statistics == NULL)
    return;
  histogram_count_time (&statistics->server->checkpoints, clock_now () - began);
  if (result == -1)
    counter_add (&statistics->server->checkpoint_errors, 1);
}

void
statistics_pause (struct statistics *statistics, uint64_t began)
{
  if (statistics)
    histogram_count_time (&statistics->server->pauses, clock_now () - began);
}

void
statistics_log (struct statistics *statistics, uint64_t bytes)
{
  if (statistics)
    atomic_store_explicit (&statistics->server->log_bytes, bytes,
                           memory_order_relaxed);
}
