/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Working in a store besides what its clients ask: see engine.h. */

#include <config.h>

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "engine/checkpoint.h"
#include "engine/engine.h"
#include "engine/remote.h"
#include "engine/store-parts.h"
#include "sqlite/log.h"
#include "sqlite/marking.h"
#include "store.h"

struct connection *
store_begin_read (struct store *store, struct status *status)
{
  struct reader *reader;

  if (store->remote) {
    remote_refuse (status);
    return NULL;
  }
  reader = reader_take (&store->readers, status);
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
  if (store_need_write_side (store, status) == -1)
    return -1;
  return writer_run (&store->writer, step, opaque, status);
}

int
store_apart (struct store *store, writer_change work, void *opaque,
             struct status *status)
{
  struct connection connection;
  int r;

  if (store_need_write_side (store, status) == -1 ||
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

bool
store_is_replicated (struct store *store)
{
  return atomic_load (&store->connections.patience.litestream) != 0;
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
  struct disk_info disk = *info;

  if (store_unlock (store, &disk, status) == -1 ||
      store_need_write_side (store, status) == -1 ||
      writer_resize (&store->writer, &disk, size, status) == -1)
    return -1;
  return flush_change (store, status);
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
  if (store->remote)
    return remote_refuse (status);
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

  if (store_need_write_side (store, status) == -1 ||
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

  if (store_forget_told (store, status) == -1 ||
      store_connect (store, &connection, status) == -1)
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
  return store_need_write_side (store, status) == -1
             ? -1
             : !store->options.command || store->served;
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

  return store_need_write_side (store, &ignored) == -1
             ? UINT64_MAX
             : store->writer.batch_bytes;
}

uint64_t
store_log_share (struct store *store)
{
  struct status ignored;

  return store_need_write_side (store, &ignored) == -1
             ? UINT64_MAX
             : checkpoint_share (&store->checkpointer.limits);
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

struct remote *
store_remote (const struct store *store)
{
  return store->remote;
}

void
store_identity (const struct store *store, char identity[PLACE_IDENTITY])
{
  place_write_identity (&store->connections.place, identity);
}

bool
store_is_interrupted (const struct store *store)
{
  return patience_is_interrupted (&store->connections.patience);
}

struct statistics *
store_statistics (const struct store *store)
{
  return store->statistics;
}
