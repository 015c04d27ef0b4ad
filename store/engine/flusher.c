/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Durability: see flusher.h. */

#include <config.h>

#include <errno.h>

#include "base/clock.h"
#include "engine/flusher.h"
#include "sqlite/log.h"
#include "base/counters.h"

static int
open_wal (struct flusher *flusher, struct status *status)
{
  int rc;

  if (connection_touch (&flusher->connection, status) == -1)
    return -1;
  rc = sqlite3_file_control (flusher->connection.db, "main",
                             SQLITE_FCNTL_JOURNAL_POINTER, &flusher->log);
  if (rc != SQLITE_OK || flusher->log == NULL || !flusher->log->pMethods)
    return status_fail (status, EIO, "there is no write-ahead log to sync");
  return 0;
}

int
flusher_open (struct flusher *flusher, struct connections *connections,
              bool shared, struct status *status)
{
  *flusher = (struct flusher){ .connections = connections, .shared = shared };
  if (connections_open_another (connections, &flusher->connection,
                                CONNECTION_LOG, 0, status) == -1)
    return -1;
  if (open_wal (flusher, status) == -1 ||
      guard_enter (&flusher->entry, connections->place.path, status) == -1) {
    connection_close (&flusher->connection);
    return -1;
  }
  /* An earlier flusher that was in doubt has left that to the guard. */
  atomic_store (&connections->patience.in_doubt, false);
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

/* Where a sync of another process has failed, or may have, or with UNSETTLED,
 * writing the log again makes good whatever it was.
 */
static int
make_good (struct flusher *flusher, bool unsettled, struct status *status)
{
  if (!unsettled && (!flusher->shared || !guard_has_doubt (&flusher->entry)))
    return 0;
  return log_rewrite (&flusher->connection, &flusher->entry, status);
}

bool
flusher_ends_well (struct flusher *flusher)
{
  struct status ignored;

  return !flusher_failure (flusher) &&
         make_good (flusher, false, &ignored) == 0;
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
  guard_set_doubt (&flusher->entry, in_doubt);
  atomic_store (&flusher->connections->patience.in_doubt, in_doubt);
}

/* A sync has failed, or with UNSETTLED may have.  Called with the lock held. */
static void
fail (struct flusher *flusher, bool unsettled)
{
  flusher->failed = true;
  flusher->unsettled = unsettled;
  flusher->failures++;
  set_in_doubt (flusher, true);
}

/* What failed was made good.  Called with the lock held. */
static void
recover (struct flusher *flusher)
{
  flusher->failed = flusher->unsettled = false;
  set_in_doubt (flusher, false);
}

/* Is this only the lock that another program holds? */
static bool
is_locked (const struct status *status)
{
  return (status->sqlite & 0xff) == SQLITE_BUSY;
}

/* Sync the log for everybody who waits.  Called with the lock held; lets
 * go of it meanwhile.  Returns 0, also where the sync has failed, which
 * flusher->failed tells; or -1 where another program holds the lock.
 */
static int
sync_wal (struct flusher *flusher, struct status *status)
{
  const uint64_t target = atomic_load (&flusher->committed);
  const uint64_t began = clock_now ();
  const unsigned failures = flusher->failures;
  const bool unsettled = flusher->unsettled;
  bool synced, locked;

  flusher->syncing = true;
  pthread_mutex_unlock (&flusher->lock);
  status->sqlite = 0;
  synced = flusher->log->pMethods->xSync (flusher->log, SQLITE_SYNC_NORMAL) ==
               SQLITE_OK &&
           make_good (flusher, unsettled, status) == 0;
  locked = !synced && is_locked (status);
  statistics_sync (flusher->statistics, began, synced || locked ? 0 : -1);
  pthread_mutex_lock (&flusher->lock);
  flusher->syncing = false;
  if (synced) {
    flusher->synced = target;
    if (unsettled && flusher->failures == failures)
      recover (flusher);
  }
  else if (!locked)
    fail (flusher, false);
  pthread_cond_broadcast (&flusher->changed);
  return locked ? -1 : 0;
}

static int
fail_locked (struct status *status)
{
  const struct status locked = *status;

  return status_fail (status, EIO,
                      "what was written may not survive a power cut yet: the "
                      "log of a process that has ended is to be written again "
                      "before: %s",
                      locked.message);
}

int
flusher_flush (struct flusher *flusher, struct status *status)
{
  uint64_t wanted;
  bool failed;
  int r = 0;

  if (place_check_flush (&flusher->connections->place, status) == -1)
    return -1;
  if (flusher->shared)
    flusher_committed (flusher);
  wanted = atomic_load (&flusher->committed);

  pthread_mutex_lock (&flusher->lock);
  while (r == 0 && (flusher->unsettled ||
                    (!flusher->failed && flusher->synced < wanted))) {
    if (flusher->syncing)
      pthread_cond_wait (&flusher->changed, &flusher->lock);
    else /* who came while another one waited for the lock waits for it anew */
      r = sync_wal (flusher, status);
  }
  failed = flusher->failed;
  pthread_mutex_unlock (&flusher->lock);
  if (flusher_gave_up (flusher))
    return log_fail_damaged (status);
  if (r == -1)
    return fail_locked (status);
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
  fail (flusher, false);
  pthread_cond_broadcast (&flusher->changed);
  pthread_mutex_unlock (&flusher->lock);
}

void
flusher_unsettle (struct flusher *flusher)
{
  pthread_mutex_lock (&flusher->lock);
  fail (flusher, true);
  pthread_mutex_unlock (&flusher->lock);
}

int
flusher_settle (struct flusher *flusher, struct status *status)
{
  int r = 0;

  pthread_mutex_lock (&flusher->lock);
  while (r == 0 && flusher->unsettled) {
    if (flusher->syncing)
      pthread_cond_wait (&flusher->changed, &flusher->lock);
    else
      r = sync_wal (flusher, status);
  }
  pthread_mutex_unlock (&flusher->lock);
  return r;
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
  if (flusher->failures == failure)
    recover (flusher);
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
