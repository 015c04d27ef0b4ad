/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A store: opened, closed, and what is in it.  See store.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "base/counters.h"
#include "engine/engine.h"
#include "engine/remote.h"
#include "engine/store-parts.h"
#include "rows/formats.h"
#include "rows/inherit.h"
#include "rows/snapshots.h"
#include "sqlite/claim.h"
#include "sqlite/filesystem.h"
#include "sqlite/guard.h"
#include "statistics.h"
#include "store.h"

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

/* The same where the file has an older format. */
static void
warn_of_format (struct store *store)
{
  struct status status;
  int64_t format;

  if (store->options.command ||
      STORE_READ (store, &status, connection,
                  formats_number (connection, &format, &status)) == -1 ||
      !formats_is_older (format))
    return;
  formats_fail_older (store->connections.place.path, format, &status);
  status_prefix (&status, "the disks are read-only");
  store->options.warn (status.message);
}

/* Make STORE that of the server whose control socket OPTIONS has. */
static struct store *
open_remote (struct store *store, const char *path,
             const struct store_options *options, struct status *status)
{
  store->options = *options;
  store->remote = remote_open (options->control, path, status);
  if (store->remote)
    return store;
  free (store);
  return NULL;
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
  if (options->control)
    return open_remote (store, path, options, status);
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
  keyring_init (&store->keyring, options->secrets, options->command);
  store->readers.follow = !options->command;
  if (store_is_immutable (store))
    warn_of_reading (store);
  warn_of_format (store);
  store->tells = -1;
  if (!options->command) {
    if (!store_is_immutable (store))
      store->tells = guard_tell_bound (store->connections.place.path,
                                       options->limits.bound);
    open_statistics (store);
  }
  return store;
}

/* Closes the write side last: with its last connection SQLite moves the
 * rest of the log into the database, so that the file alone is the disk
 * (not if the file is away: SQLite sees that by itself).
 */
void
store_close (struct store *store)
{
  if (store->remote) {
    remote_close (store->remote);
    free (store);
    return;
  }
  if (store->writable)
    checkpointer_stop (&store->checkpointer);
  reader_pool_close (&store->readers);
  if (store->writable)
    store_close_write_side (store);
  else if (store->options.command)
    connections_remove_empty_log (&store->connections);
  statistics_close (store->statistics);
  if (store->tells != -1)
    guard_release (store->tells);
  keyring_destroy (&store->keyring);
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

int
store_find_id (struct store *store, struct disk_info *info,
               struct status *status)
{
  const int r = STORE_READ (store, status, connection,
                            disks_find_id (connection, info->id, info, status));

  return r == 0 ? status_fail (status, ENOENT, "the disk is gone")
                : (r == 1 ? 0 : -1);
}

int
store_list (struct store *store,
            int (*found) (const struct disk_info *info, void *opaque),
            void *opaque, struct status *status)
{
  struct store_call call = { .disk_count = 0 };

  if (store->remote) {
    if (remote_call (store->remote, &call_store_list, &call, NULL, status) ==
        -1)
      return -1;
    for (size_t i = 0; i < call.disk_count; i++)
      if (found (&call.disks[i], opaque) != 0)
        break;
    return 0;
  }
  return STORE_READ (store, status, connection,
                     disks_list (connection, found, opaque, status));
}

int
store_list_snapshots (struct store *store,
                      int (*found) (const struct snapshot_info *info,
                                    void *opaque),
                      void *opaque, struct status *status)
{
  struct store_call call = { .snapshot_count = 0 };

  if (store->remote) {
    if (remote_call (store->remote, &call_store_list_snapshots, &call, NULL,
                     status) == -1)
      return -1;
    for (size_t i = 0; i < call.snapshot_count; i++)
      if (found (&call.snapshots[i], opaque) != 0)
        break;
    return 0;
  }
  return STORE_READ (store, status, connection,
                     snapshots_list (connection, 0, found, opaque, status));
}

int
store_find (struct store *store, const char *name, struct disk_info *info,
            struct status *status)
{
  struct store_call call = { .name = name ? name : "" };
  struct snapshot_info snapshot;

  if (store->remote) {
    if (remote_call (store->remote, &call_store_find, &call, NULL, status) ==
        -1)
      return -1;
    *info = call.info;
    return 0;
  }
  if (STORE_READ (store, status, connection,
                  snapshots_find_target (connection, name, info, &snapshot,
                                         status)) == -1)
    return -1;
  if (snapshot.id != 0)
    snapshots_as_disk (&snapshot, info);
  return 0;
}

int
store_setting (struct store *store, const struct setting *setting, int64_t id,
               struct setting_value *value, struct status *status)
{
  return STORE_READ (store, status, connection,
                     settings_look (connection, setting, id, value, status));
}
