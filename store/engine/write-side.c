/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The write side of a store: who writes which disk, and what has to run before
 * anybody can.
 *
 *   the first client     opens the writer, the flusher and the checkpointer;
 *   that writes          what an earlier server has left in the log is moved
 *                        into the database, and others are told (guard.h)
 *   of each disk         takes its guard, and the last one releases it
 *   the end              the log is closed, and goes with the last connection
 *
 * Whoever only reads needs none of this, and it stays once it is there.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "engine/checkpoint.h"
#include "engine/remote.h"
#include "engine/rescue.h"
#include "engine/store-parts.h"
#include "sqlite/files.h"
#include "sqlite/guard.h"
#include "sqlite/litestream.h"
#include "sqlite/log.h"
#include "sqlite/marking.h"
#include "sqlite/reserve.h"
#include "store.h"

/* How long the first client waits for other programs that keep an earlier
 * server's log from being emptied, in milliseconds; and who ends while they
 * keep one that was deleted from being saved.
 */
#define SETTLE_WAIT 1000

/* How long to wait between two tries to save that, in nanoseconds. */
#define SAVE_AGAIN 20000000

/* A command beside a server checkpoints when there was no commit for so
 * long, in milliseconds.
 */
#define BESIDE_IDLE 60000

/* A disk that is open for writing, by how many clients. */
struct held {
  int64_t id;
  int guard;
  unsigned clients;
  struct held *next;
};

/*--------------------------------------------------------------------
 * Who writes what.
 */

/* A guard could not be had; say what can be done where somebody has it. */
static int
fail_held (struct status *status)
{
  const struct status held = *status;

  if (status->error == EBUSY)
    status_fail (status, EBUSY,
                 "%s; end it first, or give shared=true to both servers if "
                 "that is what you want",
                 held.message);
  return -1;
}

/* Count one more client that writes disk ID; the first takes the guard, or
 * fails with EBUSY.  Called with the lock held.
 */
static int
hold (struct store *store, int64_t id, struct status *status)
{
  struct held *held = store->held;

  while (held && held->id != id)
    held = held->next;
  if (held == NULL) {
    held = calloc (1, sizeof *held);
    if (held == NULL)
      return status_no_memory (status);
    held->id = id;
    held->guard = guard_take (store->connections.place.path, id,
                              store->options.shared, status);
    if (held->guard == -1) {
      free (held);
      return -1;
    }
    held->next = store->held;
    store->held = held;
  }
  held->clients++;
  return 0;
}

/* One client less.  Called with the lock held. */
static void
let_go (struct store *store, int64_t id)
{
  struct held **link = &store->held, *held;

  while ((held = *link)->id != id)
    link = &held->next;
  if (--held->clients > 0)
    return;
  *link = held->next;
  guard_release (held->guard);
  free (held);
}

/*--------------------------------------------------------------------
 * Opening it.
 */

/* Before anything is served, what an earlier server left in the log goes
 * into the database: whether it is durable nobody knows, its last sync may
 * have failed.  Where a reader keeps the checkpoint from its end, the log is
 * at least on the disk, and where the database is SERVED, or Litestream is to
 * have all of the log, that is enough.
 * Where somebody holds the write lock, not even that can be done now; then
 * the first flush does it, or the checkpointer.
 */
static int
settle_log (struct store *store, bool served, struct status *status)
{
  struct connection *connection = &store->writer.connection;
  int r;

  connection->longest_wait = SETTLE_WAIT;
  r = log_rewrite (connection, &store->flusher.entry, status);
  if (r == 0 && !served && !litestream_is_on (connection)) {
    /* The log is durable now; it may stay where the database cannot grow. */
    r = checkpoint_complete (connection, status);
    if (r == -1 && status->error == ENOSPC) {
      store->options.warn (status->message);
      r = 0;
    }
  }
  else if (r == -1 && (status->sqlite & 0xff) == SQLITE_BUSY) {
    flusher_unsettle (&store->flusher);
    /* A command waits for its turn anyway. */
    if (!store->options.command)
      store->options.warn ("another program holds the database locked; writes "
                           "and flushes wait until that ends");
    r = 0;
  }
  else if (r == -1 && status->error == ENOSPC) {
    flusher_fail (&store->flusher);
    store->options.warn ("the file system of the database is full; flushes "
                         "fail until there is space");
    r = 0;
  }
  connection->longest_wait = CONNECTION_LONGEST_WAIT;
  if (r == -1)
    flusher_fail (&store->flusher);
  return r == -1 ? -1 : 0;
}

/* When this store checkpoints.  A command beside a server, or another
 * command, leaves that to the other one: the server's writers would not
 * pause for it, and it would keep the server's own checkpoints out.  Unless
 * the log is about to pass the server's bound: the other must be gone, or has
 * no commits of its own and so does not see those of the command.
 */
static struct checkpoint_limits
choose_limits (const struct store *store, bool served)
{
  struct checkpoint_limits limits = store->options.limits;
  const uint64_t told = store->options.command
                            ? guard_told_bound (store->connections.place.path)
                            : 0;
  struct status ignored;

  if (told != 0)
    /* One that is too small leaves it. */
    checkpoint_set_bound (&limits, told, &ignored);
  if (served) {
    limits.start = limits.bound / 2;
    limits.idle = BESIDE_IDLE;
  }
  return limits;
}

/* Settle the log and start what works in the background.  By now all is open
 * through which the log is synced: from here on the system tells of each
 * sync that fails.  Called with the lock held.
 */
static int
start_serving (struct store *store, bool served, struct status *status)
{
  const int others = guard_is_served (store->connections.place.path, status);

  if (others == -1)
    return -1;
  if ((!served || guard_has_doubt (&store->flusher.entry)) &&
      settle_log (store, served, status) == -1)
    return -1;
  store->served = served;
  store->serving = guard_serve (store->connections.place.path, status);
  if (store->serving == -1)
    return -1;
  if (!others)
    place_tell_log (&store->connections.place, store->serving);
  if (checkpointer_start (&store->checkpointer, status) == 0)
    return 0;
  guard_release (store->serving);
  return -1;
}

/* The same, with the checkpointer's connection. */
static int
begin_serving (struct store *store, struct status *status)
{
  const int served =
      store->options.command
          ? guard_is_served (store->connections.place.path, status)
          : 0;
  const struct checkpoint_limits limits = choose_limits (store, served == 1);

  if (served == -1 ||
      checkpointer_open (&store->checkpointer, &store->writer, &store->flusher,
                         &store->readers, &limits, store->options.warn,
                         status) == -1)
    return -1;
  if (start_serving (store, served, status) == 0)
    return 0;
  checkpointer_close (&store->checkpointer);
  return -1;
}

/* Open the write side.  Called with the lock held. */
static int
open_write_side (struct store *store, struct status *status)
{
  if (writer_open (&store->writer, &store->connections, &store->flusher,
                   status) == -1)
    return -1;
  if (flusher_open (&store->flusher, &store->connections,
                    store->options.shared || store->options.command,
                    status) == -1) {
    writer_close (&store->writer);
    return -1;
  }
  place_watch_log (&store->connections.place);
  store->writer.statistics = store->flusher.statistics = store->statistics;
  if (place_check (&store->connections.place, status) == -1 ||
      begin_serving (store, status) == -1) {
    flusher_close (&store->flusher);
    writer_close (&store->writer);
    return -1;
  }
  place_watch_guard (&store->connections.place);
  store->writable = true;
  return 0;
}

bool
store_may_only_read (const struct status *status)
{
  return status->error == EROFS || status->error == EACCES ||
         status->error == EPERM;
}

int
store_need_write_side (struct store *store, struct status *status)
{
  int r = 0;

  if (store->remote)
    return remote_refuse (status);
  if (place_check (&store->connections.place, status) == -1) {
    status->error = EROFS; /* it can still be read */
    return -1;
  }
  pthread_mutex_lock (&store->lock);
  if (!store->writable)
    r = open_write_side (store, status);
  pthread_mutex_unlock (&store->lock);
  if (r == -1 && store_may_only_read (status))
    files_explain (store->connections.place.path, status);
  return r;
}

int
store_begin_writing (struct store *store, int64_t id, struct status *status)
{
  unsigned tries = 0;
  int r = store_need_write_side (store, status);

  if (r == -1)
    return -1;
  do {
    pthread_mutex_lock (&store->lock);
    r = hold (store, id, status);
    pthread_mutex_unlock (&store->lock);
  } while (r == -1 && status->error == EBUSY && guard_wait (&tries));
  if (r == -1)
    return fail_held (status);
  /* What an earlier connection to another server wrote may be in the log
   * without a sync; this one's first flush is to cover it.
   */
  flusher_committed (&store->flusher);
  return 0;
}

void
store_end_writing (struct store *store, int64_t id)
{
  pthread_mutex_lock (&store->lock);
  let_go (store, id);
  pthread_mutex_unlock (&store->lock);
}

/*--------------------------------------------------------------------
 * Closing it.
 */

/* Close the log, which has to be emptied first where there is no room in it for
 * the mark that says so.
 */
static int
end_log (struct connection *connection, struct marking_end *end)
{
  struct status status;
  int r = marking_end_log (connection, MARK_CLOSED, end, &status);

  if (r == -1 && status.error == ENOSPC &&
      checkpoint_complete (connection, &status) == 1)
    r = marking_end_log (connection, MARK_CLOSED, end, &status);
  return r;
}

/* Save a log that was deleted, which ends with the server.  Another server may
 * be about to do the same.
 */
static void
save_log (struct store *store)
{
  const uint64_t until = clock_now () + SETTLE_WAIT * CLOCK_MILLISECOND;
  struct status status;
  int r = 0;

  while (place_has_lost_log (&store->connections.place) &&
         (r = rescue_log (&store->writer.connection, &store->connections.place,
                          &store->flusher.entry, &status)) == 0 &&
         clock_now () < until)
    nanosleep (&(struct timespec){ .tv_nsec = SAVE_AGAIN }, NULL);
  if (r == 0 && place_has_lost_log (&store->connections.place))
    r = status_fail (&status, EBUSY,
                     "%s-wal was deleted or replaced, and while another "
                     "program reads, not all of it can be moved into the "
                     "database: what was only in it is lost, unless that "
                     "program closes the database and saves it",
                     store->connections.place.path);
  if (r == -1)
    store->options.warn (status.message);
}

/* Have the log go with the last connection.  Where others serve the database
 * it is theirs.
 */
static void
close_log (struct store *store)
{
  struct connection *connection = &store->writer.connection;
  struct marking_end end;
  struct status ignored;

  connection->longest_wait = SETTLE_WAIT;
  connection->asked = 0;
  if (place_has_lost_log (&store->connections.place)) {
    save_log (store);
    return;
  }
  if (flusher_ends_well (&store->flusher) &&
      place_check (&store->connections.place, &ignored) == 0 &&
      guard_is_served (store->connections.place.path, &ignored) != 1 &&
      end_log (connection, &end) == 0)
    marking_permit_close (connection, &end, &ignored);
}

void
store_close_write_side (struct store *store)
{
  while (store->held) {
    /* nbdkit does not always close a client's disk. */
    store->held->clients = 1;
    let_go (store, store->held->id);
  }
  checkpointer_close (&store->checkpointer);
  /* Whoever begins from here on settles the log, so it does no harm if a
   * sync fails in SQLite's own checkpoint.
   */
  guard_release (store->serving);
  close_log (store);
  flusher_close (&store->flusher);
  writer_close (&store->writer);
  /* What closed the log may have needed it; now that is gone. */
  reserve_take (store->connections.place.path);
}
