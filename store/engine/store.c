/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A store, and its write side: see store.h. */

#include <config.h>

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sqlite/files.h"
#include "sqlite/filesystem.h"
#include "sqlite/guard.h"
#include "sqlite/log.h"
#include "sqlite/marking.h"
#include "base/counters.h"
#include "sqlite/reserve.h"
#include "engine/checkpoint.h"
#include "engine/engine.h"
#include "engine/store-parts.h"
#include "rows/snapshots.h"
#include "statistics.h"
#include "engine/rescue.h"
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
 * Opening and closing.
 */

/* A server counts what it does; it can also serve without. */
static void
open_statistics (struct store *store)
{
  struct status status;

  store->statistics = statistics_open (store->connections.place.device,
                                       store->connections.place.inode, &status);
  if (store->statistics == NULL)
    store->options.warn (status.message);
}

/* The database is read without its log: say why a server only reads, and when
 * that will fail.  A command either reads what is right or fails.
 */
static void
warn_of_reading (struct store *store)
{
  const char *path = store->connections.place.path;
  struct status why;

  if (store->options.command || filesystem_is_unchangeable (path))
    return;
  if (claim_check_name (path, &why) == 0)
    status_fail (&why, EROFS,
                 "this user may not write the file or its directory");
  status_prefix (&why, "the disks are read-only, and while another program "
                       "changes the database, reading them fails");
  store->options.warn (why.message);
}

struct store *
store_open (const char *path, const struct store_options *options,
            struct status *status)
{
  struct store *store = calloc (1, sizeof *store);

  if (store == NULL) {
    status_no_memory (status);
    return NULL;
  }
  if (connections_find (&store->connections, path, options, status) == -1) {
    free (store);
    return NULL;
  }
  store->options = *options;
  if (reader_pool_open (&store->readers, &store->connections, status) == -1) {
    connections_free (&store->connections);
    free (store);
    return NULL;
  }
  if (!store_is_immutable (store))
    place_watch_log (&store->connections.place);
  pthread_mutex_init (&store->lock, NULL);
  store->readers.follow = !options->command;
  if (store_is_immutable (store))
    warn_of_reading (store);
  store->tells = -1;
  if (!options->command) {
    if (!store_is_immutable (store))
      store->tells = guard_tell_bound (store->connections.place.path,
                                       options->limits.bound);
    open_statistics (store);
  }
  return store;
}

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

/* Closes the write side last: with its last connection SQLite moves the
 * rest of the log into the database, so that the file alone is the disk
 * (not if the file is away: SQLite sees that by itself).
 */
void
store_close (struct store *store)
{
  if (store->writable)
    checkpointer_stop (&store->checkpointer);
  reader_pool_close (&store->readers);
  if (store->options.command && !store->writable)
    connections_remove_empty_log (&store->connections);
  while (store->held) {
    /* nbdkit does not always close a client's disk. */
    store->held->clients = 1;
    let_go (store, store->held->id);
  }
  if (store->writable) {
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
  statistics_close (store->statistics);
  if (store->tells != -1)
    guard_release (store->tells);
  pthread_mutex_destroy (&store->lock);
  connections_free (&store->connections);
  free (store);
}

void
store_interrupt (struct store *store)
{
  patience_interrupt (&store->connections.patience);
}

bool
store_await_wait (struct store *store)
{
  return patience_await_wait (&store->connections.patience);
}

/* Before anything is served, what an earlier server left in the log goes
 * into the database: whether it is durable nobody knows, its last sync may
 * have failed.  Where a reader keeps the checkpoint from its end, the log is
 * at least on the disk, and where the database is SERVED that is enough.
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
  if (r == 0 && !served) {
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
      store->options.command ? guard_is_served (store_path (store), status) : 0;
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

/* Have the write side open. */
static int
need_write_side (struct store *store, struct status *status)
{
  int r = 0;

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
  int r = need_write_side (store, status);

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
 * Disks.
 */

struct connection *
store_begin_read (struct store *store, struct status *status)
{
  struct reader *reader = reader_take (&store->readers, status);

  return reader ? &reader->connection : NULL;
}

int
store_end_read (struct store *store, struct connection *connection, int result,
                struct status *status)
{
  char *reader = (char *)connection - offsetof (struct reader, connection);

  return reader_end (&store->readers, (struct reader *)reader, result, status);
}

int
store_step (struct store *store, writer_change step, void *opaque,
            struct status *status)
{
  if (need_write_side (store, status) == -1)
    return -1;
  return writer_run (&store->writer, step, opaque, status);
}

int
store_apart (struct store *store, writer_change work, void *opaque,
             struct status *status)
{
  struct connection connection;
  int r;

  if (need_write_side (store, status) == -1 ||
      flusher_settle (&store->flusher, status) == -1)
    return -1;
  if (flusher_gave_up (&store->flusher))
    return log_fail_damaged (status);
  if (connections_open_another (&store->connections, &connection,
                                CONNECTION_WRITE, 0, status) == -1)
    return -1;
  r = work (&connection, opaque, status);
  if (r == -1 && status->sqlite == SQLITE_IOERR_FSYNC) {
    flusher_fail (&store->flusher);
    checkpointer_wake (&store->checkpointer);
  }
  connection_close (&connection);
  return r;
}

/* Make a change durable that was committed; where that fails, it was made all
 * the same.
 */
static int
flush_change (struct store *store, struct status *status)
{
  if (flusher_flush (&store->flusher, status) == 0)
    return 0;
  return status_prefix (status, "the change was made, but is not known to be "
                                "on the disk");
}

int
store_change (struct store *store, writer_change change, void *opaque,
              struct status *status)
{
  if (store_step (store, change, opaque, status) == -1)
    return -1;
  return flush_change (store, status);
}

int
store_resize (struct store *store, const struct disk_info *info, uint64_t size,
              struct status *status)
{
  if (need_write_side (store, status) == -1 ||
      writer_resize (&store->writer, info, size, status) == -1)
    return -1;
  return flush_change (store, status);
}

int
store_find_id (struct store *store, struct disk_info *info,
               struct status *status)
{
  const int r = STORE_READ (store, status, connection,
                            disks_find_id (connection, info->id, info, status));

  return r == 0 ? status_fail (status, ENOENT, "the disk is gone")
                : (r == 1 ? 0 : -1);
}

size_t
store_damaged (struct store *store, uint32_t *numbers)
{
  struct damaged_pages *damaged = &store->connections.damaged;
  size_t count;

  pthread_mutex_lock (&damaged->lock);
  count = damaged->count;
  memcpy (numbers, damaged->numbers, count * sizeof *numbers);
  pthread_mutex_unlock (&damaged->lock);
  return count;
}

bool
store_take_unsealed (struct store *store)
{
  return atomic_exchange (&store->connections.patience.unsealed, false);
}

int
store_connect (struct store *store, struct connection *connection,
               struct status *status)
{
  return connections_open (&store->connections, connection, CONNECTION_WRITE,
                           status);
}

int
store_clear_end (struct store *store, int64_t id, struct status *status)
{
  struct disk_info info = { .id = id };

  if (store_find_id (store, &info, status) == -1)
    return -1;
  return store_resize (store, &info, 0, status);
}

int
store_checkpoint (struct store *store, struct status *status)
{
  struct connection connection;
  int r;

  if (need_write_side (store, status) == -1 ||
      connections_open_another (&store->connections, &connection,
                                CONNECTION_WRITE, 0, status) == -1)
    return -1;
  reader_pool_suspend (&store->readers);
  r = checkpoint_complete (&connection, status);
  reader_pool_resume (&store->readers);
  /* A sync may have failed. */
  if (r == -1)
    flusher_fail (&store->flusher);
  connection_close (&connection);
  return r == -1 ? -1 : 0;
}

/* Close the mark, and once that is in the file give it another id. */
static int
accept (struct connection *connection, struct status *status)
{
  int r = checkpoint_complete (connection, status);

  if (r == 1 && marking_renew (connection, status) == -1)
    r = -1;
  if (r == 1)
    r = checkpoint_complete (connection, status);
  if (r == 0)
    status_fail (status, EBUSY, "another program has the database open");
  return r == 1 ? 0 : -1;
}

int
store_accept (struct store *store, struct status *status)
{
  struct connection connection;
  int r;

  if (store_connect (store, &connection, status) == -1)
    return -1;
  reader_pool_suspend (&store->readers);
  r = accept (&connection, status);
  reader_pool_resume (&store->readers);
  connection_close (&connection);
  return r;
}

int
store_is_served (struct store *store, struct status *status)
{
  return need_write_side (store, status) == -1 ? -1 : store->served;
}

uint64_t
store_commits (struct store *store)
{
  uint64_t commits = 0;

  pthread_mutex_lock (&store->lock);
  if (store->writable)
    commits = atomic_load (&store->flusher.committed);
  pthread_mutex_unlock (&store->lock);
  return commits;
}

uint64_t
store_transaction_bytes (struct store *store)
{
  struct status ignored;

  return need_write_side (store, &ignored) == -1 ? UINT64_MAX
                                                 : store->writer.batch_bytes;
}

void
store_ask_checkpoint (struct store *store)
{
  checkpointer_ask (&store->checkpointer);
}

bool
store_is_immutable (const struct store *store)
{
  return store->connections.reading == CONNECTION_IMMUTABLE;
}

const char *
store_path (const struct store *store)
{
  return store->connections.place.path;
}

struct statistics *
store_statistics (const struct store *store)
{
  return store->statistics;
}

int
store_list (struct store *store,
            int (*found) (const struct disk_info *info, void *opaque),
            void *opaque, struct status *status)
{
  return STORE_READ (store, status, connection,
                     disks_list (connection, found, opaque, status));
}

int
store_list_snapshots (struct store *store,
                      int (*found) (const struct snapshot_info *info,
                                    void *opaque),
                      void *opaque, struct status *status)
{
  return STORE_READ (store, status, connection,
                     snapshots_list (connection, 0, found, opaque, status));
}

int
store_find (struct store *store, const char *name, struct disk_info *info,
            struct status *status)
{
  struct snapshot_info snapshot;

  if (STORE_READ (store, status, connection,
                  snapshots_find_target (connection, name, info, &snapshot,
                                         status)) == -1)
    return -1;
  if (snapshot.id != 0)
    snapshots_as_disk (&snapshot, info);
  return 0;
}
