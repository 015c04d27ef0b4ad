/* The face of the engine: see store.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sane.h"
#include "base/clock.h"
#include "rows/database.h"
#include "sqlite/files.h"
#include "sqlite/filesystem.h"
#include "engine/flusher.h"
#include "sqlite/guard.h"
#include "sqlite/log.h"
#include "engine/reader.h"
#include "base/counters.h"
#include "sqlite/reserve.h"
#include "engine/engine.h"
#include "engine/writer.h"
#include "engine/checkpoint.h"
#include "rows/snapshots.h"
#include "base/count.h"
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

/* How much is read at a time to have it in the caches, in bytes. */
#define CACHE_BYTES (1024 * 1024)

/* How often to read what changes meanwhile (watch.h). */
#define READ_TRIES 3

/* A disk that is open for writing, by how many clients. */
struct held {
  int64_t id;
  int guard;
  unsigned clients;
  struct held *next;
};

struct store {
  struct place place;
  struct store_options options;
  struct patience patience;
  struct damaged_pages damaged;
  struct reader_pool readers;
  struct statistics *statistics; /* or NULL */

  pthread_mutex_t lock; /* of `held`, and of opening the write side */
  struct held *held;

  int tells; /* guard_tell_bound, or -1 */

  /* The write side; once `writable` is true it stays. */
  bool writable;
  int serving; /* a guard */
  bool served; /* others did when this began */
  struct writer writer;
  struct flusher flusher;
  struct checkpointer checkpointer;
};

struct disk {
  struct store *store;
  struct disk_info info;
  /* How new blocks are stored, at last sight.  That both change at once does
   * not matter: a codec takes any level.
   */
  atomic_int codec, level, deduplicate;
  struct disk_counters *counters; /* or NULL */
  bool readonly;
  int guard; /* released at the end, or -1 */
  int reads; /* guard_read_snapshot, or -1 */
};

/*--------------------------------------------------------------------
 * Before a server runs.
 */

/* The name of the disk that OPTIONS would make. */
static const char *
new_name (const struct disk_options *options)
{
  return options->name ? options->name : DISK_NAME_DEFAULT;
}

/* Check the disk that OPTIONS asks for in an open database.  Returns 1 when
 * it is there as it should be, 0 when it is to be made, -1 on failure.
 */
static int
check_disk (struct connection *connection, const struct disk_options *options,
            struct status *status)
{
  struct snapshot_info snapshot;
  struct disk_info info;
  int r;

  if (options->name && strchr (options->name, '@'))
    return snapshots_find_target (connection, options->name, &info, &snapshot,
                                  status) == -1
               ? -1
               : 1;
  r = disks_find (connection, options->name, &info, status);
  if (r == -1)
    return -1;
  if (r == 1)
    return disks_check_match (&info, options, status) == -1 ? -1 : 1;
  if (options->size == 0) {
    disks_fail_unknown (connection, new_name (options), status);
    return status_prefix (status, "give size=SIZE to make the disk");
  }
  return disks_check_packing (connection, options, status);
}

/* As check_disk, for the file PATH, which is ours. */
static int
check_file (const char *path, const struct disk_options *options,
            struct status *status)
{
  struct connection connection;
  int r;

  if (database_open (&connection, path, CONNECTION_READ, NULL, status) == -1)
    return -1;
  r = check_disk (&connection, options, status);
  if (connection_check (&connection, status) == -1)
    r = -1;
  connection_close (&connection);
  if (r == -1)
    return status_prefix (status, "%s", path);
  if (r == 0) {
    /* A disk can be added only where the file can be written. */
    if (database_open (&connection, path, CONNECTION_WRITE, NULL, status) == -1)
      return -1;
    connection_close (&connection);
  }
  return r;
}

/* The checks for a file that is not there. */
static int
check_new_file (const char *path, const struct disk_options *options,
                struct status *status)
{
  if (options->size == 0)
    return status_fail (status, ENOENT,
                        "%s does not exist: give size=SIZE to create it", path);
  return files_check_directory (path, status);
}

int
store_check (const char *path, const struct disk_options *options,
             struct status *status)
{
  int r;

  if (sane_check_options (options, status) == -1)
    return -1;
  r = database_examine (path, status);
  if (r == 0)
    return check_new_file (path, options, status);
  return r == 1 ? check_file (path, options, status) : -1;
}

static int
create (struct connection *connection, void *opaque, struct status *status)
{
  return disks_create (connection, opaque, status);
}

/* The server that comes next says it again. */
static void
ignore_warning (const char *message)
{
  (void)message;
}

/* Add a disk to the file PATH, as a command does. */
static int
add_disk (const char *path, const struct disk_options *options,
          struct status *status)
{
  const struct store_options store_options = {
    .command = true,
    .limits = checkpoint_limits_default,
    .warn = ignore_warning,
  };
  struct store *store = store_open (path, &store_options, status);
  int r;

  if (store == NULL)
    return -1;
  r = store_change (store, create, (void *)options, status);
  store_close (store);
  if (r == -1)
    status_prefix (status, "%s: making disk '%s'", path, new_name (options));
  return r;
}

/* Make what store_check found missing. */
static int
make_missing (const char *path, const struct disk_options *options,
              struct status *status)
{
  const int r = database_examine (path, status);

  if (r == 0)
    return database_create (path, options, status);
  return r == 1 ? add_disk (path, options, status) : -1;
}

int
store_provide (const char *path, const struct disk_options *options,
               struct status *status)
{
  int r = store_check (path, options, status);

  /* When others make the same at the same time, it is there afterwards. */
  for (int tries = 3; r == 0 && tries > 0; tries--) {
    if (make_missing (path, options, status) == 0)
      return 0;
    r = status->error == EEXIST ? store_check (path, options, status) : -1;
  }
  return r == 1 ? 0 : -1;
}

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
    held->guard =
        guard_take (store->place.path, id, store->options.shared, status);
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

  store->statistics =
      statistics_open (store->place.device, store->place.inode, &status);
  if (store->statistics == NULL)
    store->options.warn (status.message);
}

/* The database is read without its log: say why a server only reads, and when
 * that will fail.  A command either reads what is right or fails.
 */
static void
warn_of_reading (struct store *store)
{
  const char *path = store->place.path;
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
  if (place_find (&store->place, path, options->warn, status) == -1) {
    free (store);
    return NULL;
  }
  store->options = *options;
  patience_init (&store->patience);
  pthread_mutex_init (&store->damaged.lock, NULL);
  if (options->tolerant)
    store->patience.damaged = &store->damaged;
  store->patience.without_log = options->without_log;
  if (reader_pool_open (&store->readers, &store->place, &store->patience,
                        status) == -1) {
    pthread_mutex_destroy (&store->damaged.lock);
    patience_destroy (&store->patience);
    place_free (&store->place);
    free (store);
    return NULL;
  }
  if (store->readers.mode == CONNECTION_READ)
    place_watch_log (&store->place);
  pthread_mutex_init (&store->lock, NULL);
  store->readers.follow = !options->command;
  if (store_is_immutable (store))
    warn_of_reading (store);
  store->tells = -1;
  if (!options->command) {
    if (!store_is_immutable (store))
      store->tells =
          guard_tell_bound (store->place.path, options->limits.bound);
    open_statistics (store);
  }
  return store;
}

/* A connection that only reads leaves the log's files behind, empty, which
 * people may take for something that is still to be kept.
 */
static void
remove_empty_log (struct store *store)
{
  char *log = files_side (store->place.path, "-wal");
  struct connection connection;
  struct marking_end end;
  struct status ignored;
  struct stat st;

  if (log && store->options.command && !store->writable &&
      store->readers.mode == CONNECTION_READ && stat (log, &st) == 0 &&
      st.st_size == 0 && place_check (&store->place, &ignored) == 0 &&
      connection_open (&connection, store->place.path, CONNECTION_WRITE, NULL,
                       &ignored) == 0) {
    if (marking_is_closed (&connection, &end, &ignored) == 1)
      marking_permit_close (&connection, &end, &ignored);
    connection_close (&connection);
  }
  free (log);
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

  while (place_has_lost_log (&store->place) &&
         (r = rescue_log (&store->writer.connection, &store->place,
                          &store->flusher.entry, &status)) == 0 &&
         clock_now () < until)
    nanosleep (&(struct timespec){ .tv_nsec = SAVE_AGAIN }, NULL);
  if (r == 0 && place_has_lost_log (&store->place))
    r = status_fail (&status, EBUSY,
                     "%s-wal was deleted or replaced, and while another "
                     "program reads, not all of it can be moved into the "
                     "database: what was only in it is lost, unless that "
                     "program closes the database and saves it",
                     store->place.path);
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
  if (place_has_lost_log (&store->place)) {
    save_log (store);
    return;
  }
  if (flusher_ends_well (&store->flusher) &&
      place_check (&store->place, &ignored) == 0 &&
      guard_is_served (store->place.path, &ignored) != 1 &&
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
  remove_empty_log (store);
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
    reserve_take (store->place.path);
  }
  statistics_close (store->statistics);
  if (store->tells != -1)
    guard_release (store->tells);
  pthread_mutex_destroy (&store->lock);
  pthread_mutex_destroy (&store->damaged.lock);
  patience_destroy (&store->patience);
  place_free (&store->place);
  free (store);
}

void
store_interrupt (struct store *store)
{
  patience_interrupt (&store->patience);
}

bool
store_await_wait (struct store *store)
{
  return patience_await_wait (&store->patience);
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
  const uint64_t told =
      store->options.command ? guard_told_bound (store->place.path) : 0;
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
  const int others = guard_is_served (store->place.path, status);

  if (others == -1)
    return -1;
  if ((!served || guard_has_doubt (&store->flusher.entry)) &&
      settle_log (store, served, status) == -1)
    return -1;
  store->served = served;
  store->serving = guard_serve (store->place.path, status);
  if (store->serving == -1)
    return -1;
  if (!others)
    place_tell_log (&store->place, store->serving);
  if (checkpointer_start (&store->checkpointer, status) == 0)
    return 0;
  guard_release (store->serving);
  return -1;
}

/* The same, with the checkpointer's connection. */
static int
begin_serving (struct store *store, struct status *status)
{
  const char *path = store->place.path;
  const int served =
      store->options.command ? guard_is_served (path, status) : 0;
  const struct checkpoint_limits limits = choose_limits (store, served == 1);

  if (served == -1 ||
      checkpointer_open (&store->checkpointer, path, &store->writer,
                         &store->flusher, &store->readers, &limits,
                         store->options.warn, &store->patience, status) == -1)
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
  if (writer_open (&store->writer, store->place.path, &store->flusher,
                   &store->patience, status) == -1)
    return -1;
  if (flusher_open (&store->flusher, store->place.path,
                    store->options.shared || store->options.command,
                    &store->patience, status) == -1) {
    writer_close (&store->writer);
    return -1;
  }
  place_watch_log (&store->place);
  store->writer.place = store->flusher.place = &store->place;
  store->writer.statistics = store->flusher.statistics = store->statistics;
  if (place_check (&store->place, status) == -1 ||
      begin_serving (store, status) == -1) {
    flusher_close (&store->flusher);
    writer_close (&store->writer);
    return -1;
  }
  place_watch_guard (&store->place);
  store->writable = true;
  return 0;
}

/* Is this how a file or medium that may only be read answers? */
static bool
may_only_read (const struct status *status)
{
  return status->error == EROFS || status->error == EACCES ||
         status->error == EPERM;
}

/* Have the write side open. */
static int
need_write_side (struct store *store, struct status *status)
{
  int r = 0;

  if (place_check (&store->place, status) == -1) {
    status->error = EROFS; /* it can still be read */
    return -1;
  }
  pthread_mutex_lock (&store->lock);
  if (!store->writable)
    r = open_write_side (store, status);
  pthread_mutex_unlock (&store->lock);
  if (r == -1 && may_only_read (status))
    database_explain (store->place.path, status);
  return r;
}

/* A client wants to write disk ID. */
static int
begin_writing (struct store *store, int64_t id, struct status *status)
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

static void
end_writing (struct store *store, int64_t id)
{
  pthread_mutex_lock (&store->lock);
  let_go (store, id);
  pthread_mutex_unlock (&store->lock);
}

/*--------------------------------------------------------------------
 * Disks.
 */

int
store_look (struct store *store,
            int (*look) (struct connection *connection, void *opaque,
                         struct status *status),
            void *opaque, struct status *status)
{
  struct reader *reader = reader_take (&store->readers, status);
  int r;

  if (reader == NULL)
    return -1;
  r = look (&reader->connection, opaque, status);
  return reader_end (&store->readers, reader, r, status);
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
      place_check (&store->place, status) == -1)
    return -1;
  if (flusher_settle (&store->flusher, status) == -1)
    return -1;
  if (flusher_gave_up (&store->flusher))
    return log_fail_damaged (status);
  if (connection_open (&connection, store->place.path, CONNECTION_WRITE,
                       &store->patience, status) == -1)
    return -1;
  r = place_check (&store->place, status);
  if (r == 0)
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

/* Find the disk whose id is in INFO. */
static int
find_by_id (struct connection *connection, void *opaque, struct status *status)
{
  struct disk_info *info = opaque;
  const int r = disks_find_id (connection, info->id, info, status);

  return r == 0 ? status_fail (status, ENOENT, "the disk is gone")
                : (r == 1 ? 0 : -1);
}

size_t
store_damaged (struct store *store, uint32_t *numbers)
{
  struct damaged_pages *damaged = &store->damaged;
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
  return atomic_exchange (&store->patience.unsealed, false);
}

struct patience *
store_patience (struct store *store)
{
  return &store->patience;
}

int
store_clear_end (struct store *store, int64_t id, struct status *status)
{
  struct disk_info info = { .id = id };

  if (store_look (store, find_by_id, &info, status) == -1)
    return -1;
  return store_resize (store, &info, 0, status);
}

int
store_checkpoint (struct store *store, struct status *status)
{
  struct connection connection;
  int r;

  if (need_write_side (store, status) == -1 ||
      database_open (&connection, store->place.path, CONNECTION_WRITE,
                     &store->patience, status) == -1)
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

  if (database_open (&connection, store->place.path, CONNECTION_WRITE,
                     &store->patience, status) == -1)
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
  return store->readers.mode == CONNECTION_IMMUTABLE;
}

const char *
store_path (const struct store *store)
{
  return store->place.path;
}

struct statistics *
store_statistics (const struct store *store)
{
  return store->statistics;
}

/* What a list needs. */
struct listing {
  int (*disk) (const struct disk_info *info, void *opaque);
  int (*snapshot) (const struct snapshot_info *info, void *opaque);
  void *opaque;
};

static int
look_for_all (struct connection *connection, void *opaque,
              struct status *status)
{
  const struct listing *listing = opaque;

  if (listing->snapshot)
    return snapshots_list (connection, 0, listing->snapshot, listing->opaque,
                           status);
  return disks_list (connection, listing->disk, listing->opaque, status);
}

int
store_list (struct store *store,
            int (*found) (const struct disk_info *info, void *opaque),
            void *opaque, struct status *status)
{
  struct listing listing = { .disk = found, .opaque = opaque };

  return store_look (store, look_for_all, &listing, status);
}

int
store_list_snapshots (struct store *store,
                      int (*found) (const struct snapshot_info *info,
                                    void *opaque),
                      void *opaque, struct status *status)
{
  struct listing listing = { .snapshot = found, .opaque = opaque };

  return store_look (store, look_for_all, &listing, status);
}

/* What store_find looks for and finds. */
struct finding {
  const char *name;
  struct disk_info *info;
};

static int
look_for_one (struct connection *connection, void *opaque,
              struct status *status)
{
  const struct finding *finding = opaque;
  struct snapshot_info snapshot;

  if (snapshots_find_target (connection, finding->name, finding->info,
                             &snapshot, status) == -1)
    return -1;
  if (snapshot.id != 0)
    snapshots_as_disk (&snapshot, finding->info);
  return 0;
}

int
store_find (struct store *store, const char *name, struct disk_info *info,
            struct status *status)
{
  struct finding finding = { .name = name, .info = info };

  return store_look (store, look_for_one, &finding, status);
}

/* DISK was looked at before its guard was taken: a roll-back, a change of its
 * size or a deletion may have had that until then.  With it they have to wait,
 * so what is seen now stays.
 */
static int
look_again (struct disk *disk, struct status *status)
{
  struct disk_info now = { .id = disk->info.id };

  if (store_look (disk->store, find_by_id, &now, status) == -1)
    return -1;
  strcpy (now.name, disk->info.name);
  disk->info = now;
  return 0;
}

/* As store_find; a snapshot stays as long as *READS, a guard, is held.  Where
 * this user cannot have the guard, *READS is -1, and a client that reads it
 * when it is deleted gets errors.
 */
static int
find_to_read (struct store *store, const char *name, struct disk_info *info,
              int *reads, struct status *status)
{
  int64_t id;
  int r;

  *reads = -1;
  if (store_find (store, name, info, status) == -1)
    return -1;
  /* It may be gone, or a time may mean another one, by the time that it is
   * held.
   */
  while (info->snapshot != 0) {
    id = info->snapshot;
    *reads = guard_read_snapshot (store->place.path, id, status);
    if (*reads == -1 && status->error == EBUSY)
      return status_prefix (status, "'%s'", info->name);
    if (*reads == -1)
      return 0;
    r = store_find (store, name, info, status);
    if (r == 0 && info->snapshot == id)
      return 0;
    guard_release (*reads);
    *reads = -1;
    if (r == -1)
      return -1;
  }
  return 0;
}

struct disk *
disk_open (struct store *store, const char *name, bool readonly,
           struct status *status)
{
  struct disk_info info, now;
  struct disk *disk;
  int reads;

  for (;;) {
    if (find_to_read (store, name, &info, &reads, status) == -1)
      return NULL;
    disk = disk_open_found (store, &info, readonly, status);
    if (disk)
      disk->reads = reads;
    else if (reads != -1)
      guard_release (reads);
    if (disk == NULL || disk->readonly)
      return disk;
    /* Is it still called so? */
    if (store_find (store, name, &now, status) == -1) {
      disk_close (disk);
      return NULL;
    }
    if (now.id == info.id)
      return disk;
    disk_close (disk);
  }
}

struct disk *
disk_open_found (struct store *store, const struct disk_info *info,
                 bool readonly, struct status *status)
{
  struct disk *disk = calloc (1, sizeof *disk);
  struct status ignored;

  if (disk == NULL) {
    status_no_memory (status);
    return NULL;
  }
  disk->store = store;
  disk->info = *info;
  disk->guard = disk->reads = -1;
  /* Who reads without the log would not see what is written. */
  disk->readonly = readonly || info->snapshot != 0 ||
                   store->readers.mode == CONNECTION_IMMUTABLE;
  if (!disk->readonly && begin_writing (store, info->id, status) == -1) {
    if (!may_only_read (status)) {
      status_prefix (status, "disk '%s'", info->name);
      free (disk);
      return NULL;
    }
    disk->readonly = true;
  }
  if (!disk->readonly && look_again (disk, status) == -1) {
    status_prefix (status, "disk '%s'", info->name);
    disk_close (disk);
    return NULL;
  }
  disk->codec = disk->info.compression.codec;
  disk->level = disk->info.compression.level;
  disk->deduplicate = disk->info.deduplicate;
  /* It can also be served without. */
  if (store->statistics)
    disk->counters =
        statistics_open_disk (store->statistics, info->name, &ignored);
  return disk;
}

void
disk_keep_guard (struct disk *disk, int guard)
{
  disk->guard = guard;
}

bool
disk_has_guard (const struct disk *disk)
{
  return disk->guard != -1;
}

void
disk_close (struct disk *disk)
{
  if (!disk->readonly)
    end_writing (disk->store, disk->info.id);
  if (disk->guard != -1)
    guard_release (disk->guard);
  if (disk->reads != -1)
    guard_release (disk->reads);
  statistics_close_disk (disk->counters);
  free (disk);
}

const struct disk_info *
disk_get_info (const struct disk *disk)
{
  return &disk->info;
}

bool
disk_is_readonly (const struct disk *disk)
{
  return disk->readonly;
}

/*--------------------------------------------------------------------
 * Requests.
 */

/* Say of a failure what was being done; returns -1. */
static int
failed_range (const struct disk *disk, const char *doing, uint64_t offset,
              uint64_t count, struct status *status)
{
  return status_prefix (status, "disk '%s': %s %s at offset %" PRIu64,
                        disk->info.name, doing, COUNT (count, "byte"), offset);
}

/* Read into BUFFER, and count how the cache was used; maybe AGAIN, see
 * reader.h.
 */
static int
read_once (struct disk *disk, void *buffer, uint64_t offset, uint64_t count,
           bool *again, struct status *status)
{
  struct reader_pool *readers = &disk->store->readers;
  struct reader *reader = reader_take_disk (readers, &disk->info, status);
  int r;

  if (reader == NULL) {
    *again = false;
    return -1;
  }
  r = view_read (&reader->connection, &reader->view, buffer, offset, count,
                 status);
  statistics_cache (disk->counters, reader->connection.db);
  return reader_end_or_again (readers, reader, r, again, status);
}

static int
read_range (struct disk *disk, void *buffer, uint64_t offset, uint64_t count,
            struct status *status)
{
  bool again = true;
  int r = -1;

  for (int tries = READ_TRIES; r == -1 && again; tries--) {
    again = tries > 1;
    r = read_once (disk, buffer, offset, count, &again, status);
  }
  if (r == -1)
    return failed_range (disk, "reading", offset, count, status);
  return 0;
}

int
disk_read (struct disk *disk, void *buffer, uint64_t offset, uint64_t count,
           struct status *status)
{
  const uint64_t began = clock_now ();
  const int r = read_range (disk, buffer, offset, count, status);

  return statistics_request (disk->counters, REQUEST_READ, began, count, r);
}

int
disk_cache (struct disk *disk, uint64_t offset, uint64_t count,
            struct status *status)
{
  const uint64_t began = clock_now (), all = count;
  uint64_t part = count < CACHE_BYTES ? count : CACHE_BYTES;
  void *scratch = malloc (part);
  int r = scratch ? 0 : status_no_memory (status);

  for (; r == 0 && count > 0; count -= part, offset += part) {
    if (part > count)
      part = count;
    r = read_range (disk, scratch, offset, part, status);
  }
  free (scratch);
  return statistics_request (disk->counters, REQUEST_CACHE, began, all, r);
}

/* Make durable what was written before. */
static int
flush (struct disk *disk, struct status *status)
{
  if (disk->readonly)
    return 0;
  if (flusher_flush (&disk->store->flusher, status) == -1) {
    checkpointer_wake (&disk->store->checkpointer);
    return status_prefix (status, "disk '%s': flushing", disk->info.name);
  }
  return 0;
}

int
disk_flush (struct disk *disk, struct status *status)
{
  const uint64_t began = clock_now ();
  const int r = flush (disk, status);

  return statistics_request (disk->counters, REQUEST_FLUSH, began, 0, r);
}

/* Read the block in which byte OFFSET is, of which a part is to be written.
 * The write does it itself where this fails.
 */
static void
read_before (struct disk *disk, uint64_t offset, struct block_before *before)
{
  const uint32_t block_size = disk->info.block_size;
  const uint64_t number = offset / block_size;
  struct status ignored;
  struct reader *reader =
      reader_take_disk (&disk->store->readers, &disk->info, &ignored);

  if (reader == NULL)
    return;
  before->bytes = malloc (block_size);
  if (before->bytes &&
      (view_version (&reader->connection, &reader->view, number,
                     &before->version, &ignored) == -1 ||
       view_read (&reader->connection, &reader->view, before->bytes,
                  number * block_size, block_size, &ignored) == -1)) {
    free (before->bytes);
    before->bytes = NULL;
  }
  statistics_cache (disk->counters, reader->connection.db);
  reader_return (&disk->store->readers, reader);
}

/* Read what a disk that is compressed or deduplicated has in the blocks of
 * which a part is written, so that the transaction need not.
 */
static void
read_edges (struct disk *disk, struct write_request *request)
{
  const uint32_t block_size = disk->info.block_size;
  const uint64_t offset = request->offset, end = offset + request->count;
  const bool one = offset / block_size == (end - 1) / block_size;

  if (request->compression.codec == CODEC_RAW && !request->deduplicate)
    return;
  if (offset % block_size != 0 || (one && end % block_size != 0))
    read_before (disk, offset, &request->before[0]);
  if (!one && end % block_size != 0)
    read_before (disk, end - 1, &request->before[1]);
}

/* Read what COUNT bytes at byte OFFSET will overwrite, where that comes from
 * the medium and the write has to wait anyway.  What fails here, the write
 * meets itself.
 */
static void
prefetch (struct disk *disk, uint64_t offset, uint64_t count)
{
  struct writer *writer = &disk->store->writer;
  const uint32_t block_size = disk->info.block_size;
  struct status ignored;
  struct reader *reader;
  long before;

  if (count > PREFETCH_BYTES || !prefetch_is_due (&writer->prefetch) ||
      !writer_is_busy (writer))
    return;
  before = prefetch_so_far ();
  reader = reader_take_disk (&disk->store->readers, &disk->info, &ignored);
  if (reader == NULL)
    return;
  view_prefetch (&reader->connection, &reader->view, offset / block_size,
                 (offset + count - 1) / block_size, &ignored);
  statistics_cache (disk->counters, reader->connection.db);
  reader_return (&disk->store->readers, reader);
  prefetch_note (&writer->prefetch, before);
}

/* What a thread has seen, for the others; it rarely changes. */
static void
note_seen (atomic_int *seen, int now)
{
  if (atomic_load_explicit (seen, memory_order_relaxed) != now)
    atomic_store_explicit (seen, now, memory_order_relaxed);
}

/* Write, and make durable with FUA. */
static int
write_range (struct disk *disk, const void *data, uint64_t offset,
             uint64_t count, bool fua, struct status *status)
{
  struct write_request request = {
    .data = data,
    .offset = offset,
    .count = count,
    .compression = { atomic_load_explicit (&disk->codec, memory_order_relaxed),
                     atomic_load_explicit (&disk->level,
                                           memory_order_relaxed) },
    .deduplicate =
        atomic_load_explicit (&disk->deduplicate, memory_order_relaxed),
  };
  int r;

  prefetch (disk, offset, count);
  read_edges (disk, &request);
  r = writer_write (&disk->store->writer, &disk->info, &request, status);
  free (request.before[0].bytes);
  free (request.before[1].bytes);
  if (r == -1)
    return failed_range (disk, "writing", offset, count, status);
  note_seen (&disk->codec, request.compression.codec);
  note_seen (&disk->level, request.compression.level);
  note_seen (&disk->deduplicate, request.deduplicate);
  return fua ? flush (disk, status) : 0;
}

int
disk_write (struct disk *disk, const void *data, uint64_t offset,
            uint64_t count, bool fua, struct status *status)
{
  const uint64_t began = clock_now ();
  const int r = write_range (disk, data, offset, count, fua, status);

  return statistics_request (disk->counters, REQUEST_WRITE, began, count, r);
}

int
disk_fill (struct disk *disk, const void *data, uint64_t offset, uint64_t count,
           struct status *status)
{
  const uint32_t block_size = disk->info.block_size;
  const uint64_t blocks = disk->store->writer.batch_bytes / block_size;
  const uint64_t most = (blocks ? blocks : 1) * block_size;
  const char *bytes = data;
  uint64_t part;
  int r = 0;

  for (; r == 0 && count > 0; bytes += part, offset += part, count -= part) {
    part = most - offset % block_size;
    if (part > count)
      part = count;
    r = disk_write (disk, bytes, offset, part, false, status);
  }
  return r;
}

/* A trim, or with EDGES a zero. */
static int
clear (struct disk *disk, uint64_t offset, uint64_t count, bool edges, bool fua,
       struct status *status)
{
  const uint64_t began = clock_now ();
  int r = writer_clear (&disk->store->writer, &disk->info, offset, count, edges,
                        status);

  if (r == -1)
    failed_range (disk, edges ? "zeroing" : "trimming", offset, count, status);
  else if (fua)
    r = flush (disk, status);
  return statistics_request (
      disk->counters, edges ? REQUEST_ZERO : REQUEST_TRIM, began, count, r);
}

int
disk_trim (struct disk *disk, uint64_t offset, uint64_t count, bool fua,
           struct status *status)
{
  return clear (disk, offset, count, false, fua, status);
}

int
disk_zero (struct disk *disk, uint64_t offset, uint64_t count, bool fua,
           struct status *status)
{
  return clear (disk, offset, count, true, fua, status);
}

int
disk_extents (struct disk *disk, uint64_t offset, uint64_t count, bool one,
              extent_found found, void *opaque, struct status *status)
{
  const uint64_t began = clock_now ();
  struct reader *reader =
      reader_take_disk (&disk->store->readers, &disk->info, status);
  int r = -1;

  if (reader) {
    r = view_extents (&reader->connection, &reader->view, offset, count, one,
                      found, opaque, status);
    statistics_cache (disk->counters, reader->connection.db);
    r = reader_end (&disk->store->readers, reader, r, status);
  }
  if (r == -1)
    failed_range (disk, "mapping", offset, count, status);
  return statistics_request (disk->counters, REQUEST_EXTENTS, began, count, r);
}
