/* Durability: see flusher.h. */

#include <config.h>

#include <errno.h>

#include "clock.h"
#include "flusher.h"
#include "log.h"
#include "statistics.h"

static int
open_wal (struct flusher *flusher, struct status *status)
{
  int rc;

  if (connection_touch (&flusher->connection, status) == -1)
    return -1;
  rc = sqlite3_file_control (flusher->connection.db, "main",
                             SQLITE_FCNTL_JOURNAL_POINTER, &flusher->wal);
  if (rc != SQLITE_OK || flusher->wal == NULL || !flusher->wal->pMethods)
    return status_fail (status, EIO, "there is no write-ahead log to sync");
  return 0;
}

int
flusher_open (struct flusher *flusher, const char *path, bool shared,
              struct patience *patience, struct status *status)
{
  *flusher = (struct flusher){ .shared = shared };
  if (connection_open (&flusher->connection, path, CONNECTION_LOG, patience,
                       status) == -1)
    return -1;
  if (open_wal (flusher, status) == -1 ||
      guard_enter (&flusher->entry, path, status) == -1) {
    connection_close (&flusher->connection);
    return -1;
  }
  pthread_mutex_init (&flusher->lock, NULL);
  pthread_cond_init (&flusher->changed, NULL);
  return 0;
}

void
flusher_close (struct flusher *flusher)
{
  connection_close (&flusher->connection);
  guard_leave (&flusher->entry, !flusher->failed);
  pthread_mutex_destroy (&flusher->lock);
  pthread_cond_destroy (&flusher->changed);
}

/* Where a sync of another process has failed, or may have, writing the log
 * again makes good whatever it was.
 */
static int
make_good (struct flusher *flusher)
{
  struct status ignored;

  if (!flusher->shared || !guard_has_doubt (&flusher->entry))
    return 0;
  return log_rewrite (&flusher->connection, &flusher->entry, &ignored);
}

bool
flusher_ends_well (struct flusher *flusher)
{
  return !flusher_failure (flusher) && make_good (flusher) == 0;
}

void
flusher_committed (struct flusher *flusher)
{
  atomic_fetch_add (&flusher->committed, 1);
}

/* Tell the other connections of the store. */
static void
set_in_doubt (struct flusher *flusher, bool in_doubt)
{
  struct patience *patience = flusher->connection.patience;

  guard_set_doubt (&flusher->entry, in_doubt);
  if (patience)
    atomic_store (&patience->in_doubt, in_doubt);
}

/* A sync has failed.  Called with the lock held. */
static void
fail (struct flusher *flusher)
{
  flusher->failed = true;
  flusher->failures++;
  set_in_doubt (flusher, true);
}

/* Sync the log for everybody who waits.  Called with the lock held; lets
 * go of it meanwhile.
 */
static void
sync_wal (struct flusher *flusher)
{
  const uint64_t target = atomic_load (&flusher->committed);
  const uint64_t began = clock_now ();
  bool synced;

  flusher->syncing = true;
  pthread_mutex_unlock (&flusher->lock);
  synced = flusher->wal->pMethods->xSync (flusher->wal, SQLITE_SYNC_NORMAL) ==
               SQLITE_OK &&
           make_good (flusher) == 0;
  statistics_sync (flusher->statistics, began, synced ? 0 : -1);
  pthread_mutex_lock (&flusher->lock);
  flusher->syncing = false;
  if (synced)
    flusher->synced = target;
  else
    fail (flusher);
  pthread_cond_broadcast (&flusher->changed);
}

int
flusher_flush (struct flusher *flusher, struct status *status)
{
  uint64_t wanted;
  bool failed;

  if (place_check (flusher->place, status) == -1)
    return -1;
  if (flusher->shared)
    flusher_committed (flusher);
  wanted = atomic_load (&flusher->committed);

  pthread_mutex_lock (&flusher->lock);
  while (!flusher->failed && flusher->synced < wanted) {
    if (flusher->syncing)
      pthread_cond_wait (&flusher->changed, &flusher->lock);
    else
      sync_wal (flusher);
  }
  failed = flusher->failed;
  pthread_mutex_unlock (&flusher->lock);
  if (flusher_gave_up (flusher))
    return log_fail_damaged (status);
  if (failed)
    return status_fail (status, EIO,
                        "a sync of the write-ahead log failed; what was "
                        "written may not survive a power cut until a "
                        "checkpoint succeeds: look at the kernel's log and "
                        "at the storage below the database");
  return 0;
}

void
flusher_fail (struct flusher *flusher)
{
  pthread_mutex_lock (&flusher->lock);
  fail (flusher);
  pthread_cond_broadcast (&flusher->changed);
  pthread_mutex_unlock (&flusher->lock);
}

unsigned
flusher_failure (struct flusher *flusher)
{
  unsigned failure;

  pthread_mutex_lock (&flusher->lock);
  failure = flusher->failed ? flusher->failures : 0;
  pthread_mutex_unlock (&flusher->lock);
  return failure;
}

void
flusher_recovered (struct flusher *flusher, unsigned failure)
{
  pthread_mutex_lock (&flusher->lock);
  if (flusher->failures == failure) {
    flusher->failed = false;
    set_in_doubt (flusher, false);
  }
  pthread_mutex_unlock (&flusher->lock);
}

void
flusher_give_up (struct flusher *flusher)
{
  atomic_store (&flusher->given_up, true);
}

bool
flusher_gave_up (struct flusher *flusher)
{
  return atomic_load (&flusher->given_up);
}
