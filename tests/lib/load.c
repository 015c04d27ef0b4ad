/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A random load on a store: see load.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "engine/flusher.h"
#include "block/checksum.h"
#include "load.h"
#include "manager.h"
#include "rows/reclaim.h"
#include "store.h"
#include "rows/snapshots.h"
#include "sqlite/marking.h"

#define CLIENTS 4

/* How many servers there are where disks are shared. */
#define STORES 2

/* How often a load starts the store. */
#define STARTS 3

/* Milliseconds without a commit until the store empties the log. */
#define IDLE 20

/* How many milliseconds a sync takes at most. */
#define LONGEST_SYNC 2

/* Writes fail for SPELL milliseconds now and then, and then for as long not
 * at all: a store that repairs the log has to write all of it again.
 */
#define SPELL 100

/* How often a start may fail where calls fail. */
#define TRIES 1000

/* More than files are ever open. */
#define HANDLES 100

/* A request in flight; the others keep off its range. */
struct request {
  bool active;
  uint64_t offset, count;
  char *after;  /* what its range contains when it is done; NULL: a read */
  bool seen;    /* it is done */
  size_t state; /* in which it was done first; 0: it changes nothing */
};

struct client {
  pthread_t thread;
  uint64_t random;
  struct disk *disk;
  struct request request;
  char *buffer;
};

/* Somebody read the whole disk, and must have seen one of these states. */
struct whole_read {
  size_t first, last;
  uint64_t disk;
};

/* An open file of the database.  After a sync has failed, the next one of
 * each handle that was open then reports it, too; so does Linux.
 */
struct handle {
  sqlite3_file *handle;
  enum shim_file file;
  bool failed;
};

/* A write that a broken VFS holds back. */
struct delayed {
  struct shim_call call;
  struct delayed *next;
};

/* Set while a client or the manager changes something: then reads may fail,
 * too.
 */
static _Thread_local bool changing, managing;

static struct history *history;
static const struct load_options *options;
static const char *path;
static struct store *stores[STORES];
static struct client clients[CLIENTS];
static struct operation operation; /* the manager's */

/* Clients that use their disks share it; who rolls the disk back has it
 * alone.
 */
static pthread_rwlock_t disks_lock;

/* Of all of the history, and of what follows. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct whole_read *reads;
static size_t reads_count, reads_capacity;
static size_t known; /* the last state that an acknowledged request is in */
static uint64_t fault_random;
static struct handle handles[HANDLES];
static bool log_exists;
static uint64_t log_end; /* as far as it was written since it started over */
static struct delayed *delayed[SHIM_FILES];

/* Clients sleep until then, in milliseconds. */
static atomic_llong quiet_until;
static atomic_bool ending;

/* Set while no thread of the load runs. */
static bool recording;

/* The connection that looks at the states, and what it has read. */
static pthread_mutex_t watcher_lock = PTHREAD_MUTEX_INITIALIZER;
static struct connection watcher;
static char *watched; /* NULL: nobody looks */
static struct things watched_others;
static _Thread_local bool watching;

static bool
may_fail (void)
{
  return options->failing_syncs > 0 || options->failing_writes > 0 ||
         options->failing_reads > 0;
}

/* Make room for one more element of an array. */
static void *
grow (void *array, size_t count, size_t *capacity, size_t size)
{
  if (count < *capacity)
    return array;
  *capacity = *capacity ? 2 * *capacity : 64;
  array = realloc (array, *capacity * size);
  assert_non_null (array);
  return array;
}

static long long
now (void)
{
  struct timespec time;

  clock_gettime (CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

static void
sleep_until (long long milliseconds)
{
  long long left;

  while ((left = milliseconds - now ()) > 0)
    nanosleep (&(struct timespec){ .tv_nsec = left % 1000 * 1000000,
                                   .tv_sec = left / 1000 },
               NULL);
}

/*--------------------------------------------------------------------
 * From below: what reaches the files.
 */

/* Called with the lock held, as all up to the hooks. */
static struct event *
add_event (enum event_kind kind, enum shim_file file, size_t begin)
{
  struct event *event;

  history->events = grow (history->events, history->events_count,
                          &history->events_capacity, sizeof *event);
  event = &history->events[history->events_count++];
  *event = (struct event){ .kind = kind, .file = file, .begin = begin };
  return event;
}

static void
record_write (const struct shim_call *call)
{
  struct event *event = add_event (EVENT_WRITE, call->file, 0);

  assert_true (call->file != SHIM_OTHER);
  event->offset = call->number;
  event->count = call->count;
  event->data = malloc (call->count);
  assert_non_null (event->data);
  memcpy (event->data, call->memory, call->count);
}

/* Is this the header of a frame of the log, which is written again? */
static bool
is_rewrite (const struct shim_call *call)
{
  return call->file == SHIM_LOG && call->count == 24 &&
         (uint64_t)call->number < log_end;
}

static void
note_log_end (const struct shim_call *call)
{
  if (call->number == 0)
    log_end = 0;
  if (log_end < (uint64_t)call->number + call->count)
    log_end = call->number + call->count;
}

static void
delay (const struct shim_call *call)
{
  struct delayed **link = &delayed[call->file];

  while (*link)
    link = &(*link)->next;
  *link = malloc (sizeof **link);
  assert_non_null (*link);
  **link = (struct delayed){ .call = *call };
  (*link)->call.memory = malloc (call->count);
  assert_non_null ((*link)->call.memory);
  memcpy ((*link)->call.memory, call->memory, call->count);
}

/* Make the delayed writes to a file, by HANDLE. */
static void
release (enum shim_file file, sqlite3_file *handle)
{
  struct delayed *first;

  while ((first = delayed[file]) != NULL) {
    delayed[file] = first->next;
    first->call.handle = handle;
    assert_int_equal (shim_pass (&first->call), SQLITE_OK);
    record_write (&first->call);
    free (first->call.memory);
    free (first);
  }
}

static bool
happens (int percent)
{
  return (int)random_below (&fault_random, 100) < percent;
}

/* Does what stands in the file behind the first COUNT bytes of a write equal
 * the rest of it?
 */
static bool
is_rest_there (const struct shim_call *call, int count)
{
  const int rest = call->count - count;
  char *bytes = malloc (rest);
  struct shim_call read = *call;
  bool there;

  assert_non_null (bytes);
  read.method = SHIM_READ;
  read.number += count;
  read.count = rest;
  read.memory = bytes;
  there = shim_pass (&read) == SQLITE_OK &&
          memcmp (bytes, (const char *)call->memory + count, rest) == 0;
  free (bytes);
  return there;
}

/* A part is written, and then there is no more space, or an error.  Not where
 * nothing is missing then: a request that failed, and is not to be found,
 * could be found after a crash, as a whole.
 */
static int
fail_write (struct shim_call *call)
{
  const int part =
      shim_whole_sectors (call, random_below (&fault_random, call->count));

  if (is_rest_there (call, part))
    return SQLITE_OK;
  history->total.failed_writes++;
  call->count = part;
  if (call->count > 0) {
    assert_int_equal (shim_pass (call), SQLITE_OK);
    record_write (call);
  }
  return happens (50) ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

/* Does a broken VFS hold back this write? */
static bool
is_delayed (const struct shim_call *call)
{
  switch (options->broken) {
  case BROKEN_DATABASE:
    return call->file == SHIM_DATABASE;
  case BROKEN_HEADERS:
    return is_rewrite (call);
  case BROKEN_COMMIT:
    return call->file == SHIM_LOG;
  default:
    return false;
  }
}

static int
before_write (struct shim_call *call)
{
  const bool rewrite = is_rewrite (call);

  if (options->broken == BROKEN_COMMIT)
    release (call->file, call->handle);
  if (is_delayed (call)) {
    delay (call);
    return SHIM_DONE;
  }
  if (call->file == SHIM_LOG)
    note_log_end (call);
  history->total.rewrites += rewrite;
  if (now () / SPELL % 2 == 0 && happens (options->failing_writes))
    return fail_write (call);
  return SQLITE_OK;
}

/* Where HANDLE stands among the handles; NULL: a free place. */
static struct handle *
find_handle (const sqlite3_file *handle)
{
  int i = 0;

  while (handles[i].handle != handle)
    assert_true (++i < HANDLES);
  return &handles[i];
}

/* The handles that are open now will report a failed sync of FILE. */
static void
spread_failure (enum shim_file file, const struct handle *own)
{
  for (int i = 0; i < HANDLES; i++)
    if (handles[i].file == file && &handles[i] != own)
      handles[i].failed = true;
}

static _Thread_local size_t sync_began;

/* Returns whether there is a sync, and how long it takes, in milliseconds. */
static bool
begin_sync (const struct shim_call *call, int *duration)
{
  history->total.syncs++;
  if ((options->broken == BROKEN_FLUSH && call->file == SHIM_LOG) ||
      (options->broken == BROKEN_CHECKPOINT && call->file == SHIM_DATABASE))
    return false;
  release (call->file, call->handle);
  sync_began = history->events_count;
  *duration = random_below (&fault_random, LONGEST_SYNC + 1);
  return true;
}

/* A sync fails by itself, or reports only that another one has failed. */
static int
end_sync (const struct shim_call *call)
{
  struct handle *own = find_handle (call->handle);
  const bool failed =
      (managing || !options->commands) && happens (options->failing_syncs);
  const bool reports = own->failed;

  add_event (failed ? EVENT_FAILED_SYNC : EVENT_SYNC, call->file, sync_began);
  if (!failed && !reports)
    return SQLITE_OK;
  history->total.failed_syncs++;
  own->failed = false;
  if (failed)
    spread_failure (call->file, own);
  return SQLITE_IOERR_FSYNC;
}

static bool
is_log_name (const char *name)
{
  const size_t length = strlen (name);

  return length > 4 && strcmp (name + length - 4, "-wal") == 0;
}

static void
record (const struct shim_call *call)
{
  switch (call->method) {
  case SHIM_WRITE:
    record_write (call);
    break;
  case SHIM_TRUNCATE:
    add_event (EVENT_TRUNCATE, call->file, 0)->offset = call->number;
    break;
  case SHIM_SYNC:
    break;
  case SHIM_OPEN:
    *find_handle (NULL) = (struct handle){
      .handle = call->handle,
      .file = call->file,
    };
    if (call->file == SHIM_LOG && !log_exists) {
      add_event (EVENT_CREATE, SHIM_LOG, 0);
      log_exists = true;
    }
    break;
  case SHIM_DELETE:
    if (is_log_name (call->path)) {
      add_event (EVENT_DELETE, SHIM_LOG, 0);
      log_exists = false;
    }
    sync_began = history->events_count;
    break;
  case SHIM_CLOSE:
    find_handle (call->handle)->handle = NULL;
    break;
  default:
    return;
  }
  if (call->directory_synced)
    add_event (EVENT_DIRECTORY_SYNC, SHIM_LOG, sync_began);
}

static void watch (void);

/* Does a transaction give up the lock of writers? */
static bool
ends_writing (const struct shim_call *call)
{
  return call->method == SHIM_SHM_LOCK && call->number == 0 &&
         call->flags == (SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
}

/* A sync takes a while, in which others commit and flush. */
static int
before_sync (const struct shim_call *call)
{
  int rc = SHIM_DONE, duration;
  bool begun;

  if (options->broken == BROKEN_DATABASE)
    sleep_until (now () + 5);
  pthread_mutex_lock (&lock);
  begun = begin_sync (call, &duration);
  pthread_mutex_unlock (&lock);
  if (begun) {
    sleep_until (now () + duration);
    pthread_mutex_lock (&lock);
    rc = end_sync (call);
    pthread_mutex_unlock (&lock);
  }
  return rc;
}

static int
before (struct shim_call *call)
{
  int rc = SQLITE_OK;

  if (!recording || watching)
    return SQLITE_OK;
  if (watched && ends_writing (call))
    watch ();
  if (call->method == SHIM_SYNC)
    return before_sync (call);
  pthread_mutex_lock (&lock);
  if (call->method == SHIM_WRITE)
    rc = before_write (call);
  else if (call->method == SHIM_READ && changing)
    rc = happens (options->failing_reads) ? SQLITE_IOERR_READ : SQLITE_OK;
  else if (call->method == SHIM_TRUNCATE || call->method == SHIM_CLOSE ||
           call->method == SHIM_FILE_SIZE)
    release (call->file, call->handle);
  pthread_mutex_unlock (&lock);
  return rc;
}

static void
after (const struct shim_call *call, int result)
{
  if (!recording || watching || result != SQLITE_OK)
    return;
  pthread_mutex_lock (&lock);
  record (call);
  pthread_mutex_unlock (&lock);
}

void __real_vfs_gather_forget (sqlite3 *db);
void __wrap_vfs_gather_forget (sqlite3 *db);

/* The linker puts this in the place of vfs_gather_forget.  What is not
 * dropped does harm where the other server writes next: it gets the time.
 */
void
__wrap_vfs_gather_forget (sqlite3 *db)
{
  if (recording && options->broken == BROKEN_FORGET)
    sleep_until (now () + 5);
  else
    __real_vfs_gather_forget (db);
}

/* Declared by what they stand for, so that they cannot differ. */
__typeof__ (flusher_flush) __real_flusher_flush, __wrap_flusher_flush;
__typeof__ (reclaim_step) __real_reclaim_step, __wrap_reclaim_step;
__typeof__ (snapshots_create) __real_snapshots_create, __wrap_snapshots_create;

/* The same for what the manager calls. */
int
__wrap_flusher_flush (struct flusher *flusher, struct status *status)
{
  if (managing && options->broken == BROKEN_CHANGE)
    return 0;
  return __real_flusher_flush (flusher, status);
}

int
__wrap_reclaim_step (struct connection *connection,
                     const struct failed_layers *failed,
                     struct reclaim_step *step, struct status *status)
{
  static const char delete_sql[] =
      "DELETE FROM block WHERE id = (SELECT max (id) FROM block)";
  const int r = __real_reclaim_step (connection, failed, step, status);

  if (recording && options->broken == BROKEN_RECLAIM && r == 1)
    return connection_run (connection, delete_sql, status) == -1 ? -1 : 1;
  return r;
}

int
__wrap_snapshots_create (struct connection *connection,
                         const struct disk_info *disk, const char *name,
                         bool automatic, int64_t guid, int64_t created,
                         int64_t *id, struct status *status)
{
  const int r = __real_snapshots_create (connection, disk, name, automatic,
                                         guid, created, id, status);

  if (r == -1 || !recording || options->broken != BROKEN_SNAPSHOT)
    return r;
  if (connection_commit (connection, status) == -1)
    return -1;
  return marking_begin (connection, status);
}

void
load_install (void)
{
  pthread_rwlockattr_t attributes;

  /* Or else there would always be some client with it. */
  pthread_rwlockattr_init (&attributes);
  pthread_rwlockattr_setkind_np (&attributes,
                                 PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  pthread_rwlock_init (&disks_lock, &attributes);
  shim_install (&(struct shim_hooks){ .before = before, .after = after });
}

/*--------------------------------------------------------------------
 * In between: the states.
 */

void
state_of (const struct history *of, const char *contents,
          const struct things *others, struct state *state)
{
  uint64_t from = 0, count;

  *state = (struct state){ .event = 0 };
  for (size_t i = 0; from < of->size; i++, from += count) {
    count = of->block_size < of->size - from ? of->block_size : of->size - from;
    state->blocks[i] = checksum_bytes (contents + from, count);
  }
  state->disk = checksum_bytes (state->blocks, sizeof state->blocks);
  state->others = things_hash (others);
  state->hash = state->disk + state->others;
}

/* The model has changed.  Called with the lock held. */
static void
add_state (void)
{
  struct state *state;

  history->states = grow (history->states, history->states_count,
                          &history->states_capacity, sizeof *state);
  state = &history->states[history->states_count++];
  state_of (history, history->model, &history->others, state);
  state->event = history->events_count;
}

/* Is this a request in flight that was not seen before, and now is? */
static bool
is_new (const struct request *request)
{
  return request->active && !request->seen && request->after &&
         memcmp (watched + request->offset, request->after, request->count) ==
             0;
}

/* What became of the disk when the manager took it: what it was, and some of
 * the requests that are seen with the operation.
 */
static void
explain_taken (const struct effect *effect)
{
  const struct thing *taken = things_find (&watched_others, effect->name);
  char *bytes = malloc (history->size);

  assert_non_null (bytes);
  memcpy (bytes, history->model, history->size);
  for (int c = 0; taken && c < CLIENTS; c++) {
    const struct request *request = &clients[c].request;

    if (is_new (request) && memcmp (taken->bytes + request->offset,
                                    request->after, request->count) == 0)
      memcpy (bytes + request->offset, request->after, request->count);
  }
  things_put (&history->others, effect->name, bytes, history->size);
  free (bytes);
}

/* Apply the manager's operation to the model. */
static void
apply_operation (void)
{
  for (size_t i = 0; i < operation.effects_count; i++) {
    const struct effect *effect = &operation.effects[i];

    if (strcmp (effect->name, LOAD_DISK) == 0)
      memcpy (history->model, effect->bytes, history->size);
    else if (effect->taken)
      explain_taken (effect);
    else if (effect->bytes)
      things_put (&history->others, effect->name, effect->bytes, effect->size);
    else
      things_remove (&history->others, effect->name);
  }
}

/* The other disks and snapshots must be what they were, or what the manager
 * makes of them just now; where it rolls the disk back, nobody else changes
 * that.  Returns whether anything has changed.
 */
static bool
explain_others (void)
{
  const bool changed =
      operation.active && operation_changes (&operation, LOAD_DISK)
          ? memcmp (watched, history->model, history->size) != 0
          : things_hash (&watched_others) != things_hash (&history->others);

  if (changed && operation.active && !operation.seen) {
    apply_operation ();
    operation.seen = true;
    operation.state = history->states_count;
  }
  if (things_hash (&watched_others) != things_hash (&history->others))
    fail_msg ("after state %zu: the disks and snapshots are not what they were,"
              " and not what the manager makes of them",
              history->states_count - 1);
  return changed;
}

/* What the store contains must follow from what it was by requests and an
 * operation in flight.
 */
static void
explain (void)
{
  bool changed = explain_others ();
  uint64_t i = 0;

  for (int c = 0; c < CLIENTS; c++) {
    struct request *request = &clients[c].request;
    char *place = history->model + request->offset;

    if (!is_new (request))
      continue;
    request->seen = true;
    if (memcmp (place, request->after, request->count) != 0) {
      memcpy (place, request->after, request->count);
      request->state = history->states_count;
      changed = true;
    }
  }
  while (i < history->size && history->model[i] == watched[i])
    i++;
  if (i < history->size)
    fail_msg ("after state %zu: no whole requests explain byte %" PRIu64,
              history->states_count - 1, i);
  if (changed)
    add_state ();
}

static void
read_whole (struct connection *connection, char *contents,
            struct things *others)
{
  struct view view = { 0 };
  struct disk_info info;
  struct status status;

  assert_result (disks_find (connection, LOAD_DISK, &info, &status), &status,
                 1);
  assert_ok (disks_view (connection, info.id, info.epoch, &view, &status),
             &status);
  view.key = unit_key;
  assert_ok (view_read (connection, &view, contents, 0, history->size, &status),
             &status);
  view_free (&view);
  things_read (connection, LOAD_DISK, others);
}

static void
read_state (void)
{
  struct status status;

  watching = true;
  assert_ok (connection_begin_read (&watcher, &status), &status);
  read_whole (&watcher, watched, &watched_others);
  connection_rollback (&watcher);
  watching = false;
  pthread_mutex_lock (&lock);
  explain ();
  pthread_mutex_unlock (&lock);
  things_free (&watched_others);
}

/* Look at the disk. */
static void
watch (void)
{
  pthread_mutex_lock (&watcher_lock);
  if (watcher.db)
    read_state ();
  pthread_mutex_unlock (&watcher_lock);
}

static void
start_watching (void)
{
  pthread_mutex_lock (&watcher_lock);
  watching = true;
  unit_open (&watcher, path, CONNECTION_READ);
  read_state ();
  pthread_mutex_unlock (&watcher_lock);
}

/* Nobody writes any more. */
static void
stop_watching (void)
{
  pthread_mutex_lock (&watcher_lock);
  watching = true;
  connection_close (&watcher);
  watching = false;
  pthread_mutex_unlock (&watcher_lock);
}

/* Whoever began to read after state FIRST read these CONTENTS now. */
static void
add_read (size_t first, const char *contents)
{
  static const struct things none;
  struct state state;

  state_of (history, contents, &none, &state);
  pthread_mutex_lock (&lock);
  reads = grow (reads, reads_count, &reads_capacity, sizeof *reads);
  /* A commit is visible a little before it is watched. */
  reads[reads_count++] = (struct whole_read){
    .first = first,
    .last = history->states_count,
    .disk = state.disk,
  };
  history->total.reads++;
  pthread_mutex_unlock (&lock);
}

static void
check_reads (void)
{
  for (size_t i = 0; i < reads_count; i++) {
    size_t state = reads[i].first;

    while (state < history->states_count && state <= reads[i].last &&
           history->states[state].disk != reads[i].disk)
      state++;
    if (state == history->states_count || state > reads[i].last)
      fail_msg ("somebody read what was none of the states %zu to %zu",
                reads[i].first, reads[i].last);
  }
  reads_count = 0;
}

/* The last state that anybody was told of: a flush covers that. */
static size_t
known_state (void)
{
  size_t state;

  pthread_mutex_lock (&lock);
  state = known;
  pthread_mutex_unlock (&lock);
  return state;
}

/*--------------------------------------------------------------------
 * From above: the requests.
 */

static void
add_promise (size_t state)
{
  pthread_mutex_lock (&lock);
  history->promises =
      grow (history->promises, history->promises_count,
            &history->promises_capacity, sizeof (struct promise));
  history->promises[history->promises_count++] = (struct promise){
    .event = history->events_count,
    .state = state,
  };
  history->total.flushes++;
  pthread_mutex_unlock (&lock);
}

/* A part of a block, some blocks, any range, or a large one, which fills
 * small caches.
 */
static void
choose_range (struct client *client)
{
  const uint64_t block = history->block_size, size = history->size;
  const uint64_t kind = random_below (&client->random, 100);
  uint64_t offset = random_below (&client->random, size);
  uint64_t count;

  if (kind < 40)
    count = 1 + random_below (&client->random, block);
  else if (kind < 75) {
    offset -= offset % block;
    count = block * (1 + random_below (&client->random, 4));
  }
  else if (kind < 95)
    count = 1 + random_below (&client->random, 8 * block);
  else
    count = block * (16 + random_below (&client->random, 32));
  client->request.offset = offset;
  client->request.count = count < size - offset ? count : size - offset;
}

/* Take a range that is free.  Called with the lock held. */
static bool
take_range (struct client *client)
{
  struct request *own = &client->request;

  choose_range (client);
  for (int i = 0; i < CLIENTS; i++) {
    const struct request *other = &clients[i].request;

    if (other->active && own->offset < other->offset + other->count &&
        other->offset < own->offset + own->count)
      return false;
  }
  own->active = true;
  own->seen = false;
  own->state = 0;
  return true;
}

/* Zeroes in the whole blocks of a range; the last one of the disk counts as
 * whole.
 */
static void
clear_whole_blocks (struct request *request)
{
  const uint64_t block = history->block_size;
  const uint64_t end = request->offset + request->count;
  const uint64_t first = (request->offset + block - 1) / block * block;
  const uint64_t last = end == history->size ? end : end - end % block;

  if (first < last)
    memset (request->after + (first - request->offset), 0, last - first);
}

enum kind { READ, WRITE, WRITE_ZEROES, TRIM, ZERO };

/* Begin a request: what will its range contain? */
static bool
begin_request (struct client *client, enum kind kind)
{
  struct request *request = &client->request;
  bool taken = false;

  pthread_mutex_lock (&lock);
  for (int i = 0; i < 20 && !taken; i++)
    taken = take_range (client);
  request->after = kind == READ ? NULL : client->buffer;
  if (taken && kind != READ) {
    memcpy (request->after, history->model + request->offset, request->count);
    if (kind == WRITE)
      random_fill (&client->random, request->after, request->count);
    else if (kind == TRIM)
      clear_whole_blocks (request);
    else
      memset (request->after, 0, request->count);
    history->total.requests++;
  }
  pthread_mutex_unlock (&lock);
  return taken;
}

/* The end of a request; returns the state in which it was done. */
static size_t
end_request (struct client *client, bool acknowledged)
{
  struct request *request = &client->request;

  pthread_mutex_lock (&lock);
  if (acknowledged && !request->seen &&
      memcmp (history->model + request->offset, request->after,
              request->count) != 0)
    fail_msg ("a request of %" PRIu64 " bytes at %" PRIu64
              " was acknowledged, but is not committed",
              request->count, request->offset);
  request->active = false;
  if (acknowledged && request->state > known)
    known = request->state;
  pthread_mutex_unlock (&lock);
  return request->state;
}

/* Where calls fail on purpose, requests may fail in the way of NBD. */
static void
check_result (int r, const struct status *status)
{
  if (!may_fail ())
    assert_ok (r, status);
  else if (r == -1)
    assert_true (status->error == EIO || status->error == ENOSPC);
}

static void
change (struct client *client, enum kind kind)
{
  const bool fua = random_below (&client->random, 8) == 0;
  const bool synced = fua || options->durable;
  const size_t before_it = known_state ();
  struct request *request = &client->request;
  struct status status;
  size_t state;
  int r;

  if (!begin_request (client, kind))
    return;
  changing = true;
  if (kind == TRIM)
    r = disk_trim (client->disk, request->offset, request->count, fua, &status);
  else if (kind == ZERO)
    r = disk_zero (client->disk, request->offset, request->count, fua, &status);
  else
    r = disk_write (client->disk, request->after, request->offset,
                    request->count, fua, &status);
  changing = false;
  check_result (r, &status);
  state = end_request (client, r == 0);
  /* Only a failed sync leaves something done. */
  assert_true (r == 0 || synced || state == 0);
  if (synced && r == 0)
    add_promise (state > before_it ? state : before_it);
}

static void
flush (struct client *client)
{
  const size_t state = known_state ();
  struct status status;
  const int r = disk_flush (client->disk, &status);

  check_result (r, &status);
  if (r == 0)
    add_promise (state);
}

/* Nobody changes the range meanwhile. */
static void
read_range (struct client *client)
{
  struct request *request = &client->request;
  struct status status;

  if (!begin_request (client, READ))
    return;
  assert_ok (disk_read (client->disk, client->buffer, request->offset,
                        request->count, &status),
             &status);
  pthread_mutex_lock (&lock);
  if (memcmp (client->buffer, history->model + request->offset,
              request->count) != 0)
    fail_msg ("%" PRIu64 " bytes at %" PRIu64 " are not as they were written",
              request->count, request->offset);
  request->active = false;
  pthread_mutex_unlock (&lock);
}

static void
read_disk (struct client *client)
{
  const size_t first = known_state ();
  struct status status;

  assert_ok (
      disk_read (client->disk, client->buffer, 0, history->size, &status),
      &status);
  add_read (first, client->buffer);
}

static void *
run_client (void *opaque)
{
  struct client *client = opaque;

  for (int i = 0; i < options->requests; i++) {
    const uint64_t kind = random_below (&client->random, 100);

    sleep_until (quiet_until);
    pthread_rwlock_rdlock (&disks_lock);
    if (kind < 50)
      change (client, WRITE);
    else if (kind < 55)
      change (client, WRITE_ZEROES);
    else if (kind < 65)
      change (client, TRIM);
    else if (kind < 75)
      change (client, ZERO);
    else if (kind < 85)
      flush (client);
    else if (kind < 92)
      read_range (client);
    else if (kind < 99)
      read_disk (client);
    else
      quiet_until = now () + 3 * IDLE;
    pthread_rwlock_unlock (&disks_lock);
  }
  return NULL;
}

/* Another program that reads for long: what it sees does not change. */
static void *
run_pin (void *opaque)
{
  uint64_t *random = opaque;
  char *contents = malloc (history->size);
  struct connection connection;
  struct things others = { .count = 0 };
  struct status status;
  struct state early, late;
  size_t first;

  assert_non_null (contents);
  unit_open (&connection, path, CONNECTION_READ);
  while (!ending) {
    first = known_state ();
    assert_ok (connection_begin_read (&connection, &status), &status);
    read_whole (&connection, contents, &others);
    add_read (first, contents);
    state_of (history, contents, &others, &early);
    things_free (&others);
    sleep_until (now () + random_below (random, 10 * IDLE));
    read_whole (&connection, contents, &others);
    state_of (history, contents, &others, &late);
    things_free (&others);
    assert_true (early.hash == late.hash);
    connection_rollback (&connection);
    sleep_until (now () + random_below (random, 5 * IDLE));
  }
  connection_close (&connection);
  free (contents);
  return NULL;
}

/*--------------------------------------------------------------------
 * Opening.
 */

/* Try for a while where calls fail. */
static struct disk *
open_disk (struct store *store)
{
  const int tries = may_fail () ? TRIES : 1;
  struct status status;
  struct disk *disk = NULL;

  for (int i = 0; i < tries && !disk; i++)
    disk = disk_open (store, LOAD_DISK, false, &status);
  if (disk == NULL)
    fail_msg ("%s", status.message);
  return disk;
}

/* Open a store as a server or as a command does. */
static struct store *
open_one (bool command, uint64_t *random)
{
  const struct store_options store_options = {
    .shared = options->shared,
    .durable = options->durable,
    .command = command,
    .limits = {
      .start = UINT64_C (65536) << random_below (random, 5),
      .bound = UINT64_C (65536) << 6,
      .idle = IDLE,
    },
    .warn = unit_ignore_warning,
    .secrets = options->secrets,
  };
  struct status status;
  struct store *store = store_open (path, &store_options, &status);

  if (store == NULL)
    fail_msg ("%s", status.message);
  return store;
}

static void
open_stores (uint64_t *random)
{
  for (int i = 0; i < (options->shared ? STORES : 1); i++)
    stores[i] = open_one (false, random);
}

static struct disk *
open_client (int i)
{
  return open_disk (stores[options->shared ? i % STORES : 0]);
}

/*--------------------------------------------------------------------
 * The manager.
 */

static void
choose_operation (uint64_t *random)
{
  struct thing disk = {
    .name = LOAD_DISK,
    .size = history->size,
    .bytes = history->model,
  };

  pthread_mutex_lock (&lock);
  operation_choose (&operation, &history->others, &disk, random);
  pthread_mutex_unlock (&lock);
}

static void
begin_operation (void)
{
  pthread_mutex_lock (&lock);
  operation.active = true;
  history->total.operations++;
  pthread_mutex_unlock (&lock);
}

/* Is a thing what an operation makes of it? */
static bool
is_done (const struct effect *effect)
{
  const struct thing *thing = things_find (&history->others, effect->name);

  if (strcmp (effect->name, LOAD_DISK) == 0)
    return memcmp (history->model, effect->bytes, history->size) == 0;
  if (effect->bytes == NULL || thing == NULL)
    return effect->bytes == NULL && thing == NULL;
  return !effect->taken && thing->size == effect->size &&
         memcmp (thing->bytes, effect->bytes, thing->size) == 0;
}

/* The end of an operation; one that was acknowledged must be done. */
static void
end_operation (bool acknowledged)
{
  pthread_mutex_lock (&lock);
  for (size_t i = 0; i < operation.effects_count; i++)
    if (acknowledged && !operation.seen && !is_done (&operation.effects[i]))
      fail_msg ("the manager's operation %d on %s was acknowledged, but is not "
                "committed",
                operation.kind, operation.effects[i].name);
  operation.active = false;
  pthread_mutex_unlock (&lock);
  if (acknowledged && operation.state > 0 && operation_is_durable (&operation))
    add_promise (operation.state);
}

/* Do what was chosen, in the server, or as a command beside it. */
static void
run_operation (uint64_t *random)
{
  const bool command = options->commands || random_below (random, 2);
  struct store *store = command ? open_one (true, random) : stores[0];
  struct status status;
  int r;

  begin_operation ();
  changing = managing = true;
  r = operation_run (&operation, store, &status);
  changing = managing = false;
  check_result (r, &status);
  end_operation (r == 0);
  if (command)
    store_close (store);
}

/* A roll-back ends all connections to the disk. */
static void
run_rollback (uint64_t *random)
{
  pthread_rwlock_wrlock (&disks_lock);
  run_operation (random);
  for (int i = 0; i < CLIENTS; i++) {
    disk_close (clients[i].disk);
    clients[i].disk = open_client (i);
  }
  pthread_rwlock_unlock (&disks_lock);
}

static void *
run_manager (void *opaque)
{
  uint64_t *random = opaque;

  for (int i = 0; i < options->requests / 2; i++) {
    sleep_until (quiet_until);
    choose_operation (random);
    if (operation_changes (&operation, LOAD_DISK))
      run_rollback (random);
    else
      run_operation (random);
    /* The watchers look at it. */
    pthread_mutex_lock (&lock);
    operation_free (&operation);
    pthread_mutex_unlock (&lock);
  }
  return NULL;
}

/*--------------------------------------------------------------------
 * The whole.
 */

static void
start (uint64_t *random)
{
  open_stores (random);
  for (int i = 0; i < CLIENTS; i++) {
    clients[i] = (struct client){
      .random = random_next (random),
      .disk = open_client (i),
      .buffer = malloc (history->size),
    };
    assert_non_null (clients[i].buffer);
  }
  start_watching ();
  known = history->states_count - 1;
}

static void
finish (void)
{
  stop_watching ();
  for (int i = 0; i < CLIENTS; i++) {
    disk_close (clients[i].disk);
    free (clients[i].buffer);
  }
  for (int i = 0; i < (options->shared ? STORES : 1); i++)
    store_close (stores[i]);
}

static void
run_clients (uint64_t *random)
{
  uint64_t pin_random = random_next (random);
  uint64_t manager_random = random_next (random);
  pthread_t pin, manager;

  ending = false;
  if (options->managed)
    assert_int_equal (
        pthread_create (&manager, NULL, run_manager, &manager_random), 0);
  if (options->pinned)
    assert_int_equal (pthread_create (&pin, NULL, run_pin, &pin_random), 0);
  for (int i = 0; i < CLIENTS; i++)
    assert_int_equal (
        pthread_create (&clients[i].thread, NULL, run_client, &clients[i]), 0);
  for (int i = 0; i < CLIENTS; i++)
    pthread_join (clients[i].thread, NULL);
  if (options->managed)
    pthread_join (manager, NULL);
  ending = true;
  if (options->pinned)
    pthread_join (pin, NULL);
}

static void
begin (struct history *of, const char *database,
       const struct load_options *given, uint64_t *random)
{
  char *log;

  history = of;
  path = database;
  options = given;
  fault_random = random_next (random);
  assert_true (asprintf (&log, "%s-wal", path) > 0);
  log_exists = access (log, F_OK) == 0;
  free (log);
  log_end = 0;
  manager_begin ();
}

void
load_run (struct history *of, const char *database,
          const struct load_options *given, uint64_t *random)
{
  begin (of, database, given, random);
  watched = malloc (history->size);
  assert_non_null (watched);
  recording = true;
  for (int i = 0; i < STARTS; i++) {
    start (random);
    run_clients (random);
    finish ();
  }
  recording = false;
  check_reads ();
  free (watched);
  watched = NULL;
}

int
load_record (struct history *of, const char *database,
             const struct load_options *given, uint64_t *random,
             int (*work) (const char *path, struct status *status),
             struct status *status)
{
  int r;

  begin (of, database, given, random);
  recording = true;
  r = work (database, status);
  recording = false;
  return r;
}

void
history_init (struct history *of, uint32_t block_size)
{
  *of = (struct history){
    .block_size = block_size,
    .size = (LOAD_BLOCKS - 1) * block_size + 300,
  };
  of->model = calloc (1, of->size);
  assert_non_null (of->model);
  history = of;
  add_state ();
}

void
history_free (struct history *of)
{
  for (size_t i = 0; i < of->events_count; i++)
    free (of->events[i].data);
  free (of->events);
  free (of->states);
  free (of->promises);
  free (of->model);
  things_free (&of->others);
}
