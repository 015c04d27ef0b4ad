/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Before a server runs: is the file there with the disk that it is to serve,
 * and making what is missing.  See store_check and store_provide.
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/child.h"
#include "base/sane.h"
#include "cluster/location.h"
#include "cluster/turn.h"
#include "engine/connections.h"
#include "encryption.h"
#include "engine/engine.h"
#include "rows/database.h"
#include "rows/features.h"
#include "rows/keys.h"
#include "rows/snapshots.h"
#include "sqlite/clustered.h"
#include "sqlite/files.h"
#include "store.h"

/* How many seconds a child has more than it may wait for one answer: it reads a
 * log twice, and one that is killed leaves its lock behind.
 */
#define CHILD_MORE 60

/* The name of the disk that OPTIONS would make. */
static const char *
new_name (const struct disk_options *options)
{
  return options->name ? options->name : DISK_NAME_DEFAULT;
}

/* Does a key open the disk that OPTIONS asks for, which is there as INFO?
 * Where nobody has named it, clients are told.
 */
static int
check_key (struct connection *connection, const struct disk_info *info,
           const struct disk_options *options, struct status *status)
{
  struct encryption encryption;
  int r;

  if (options->name == NULL)
    return 0;
  r = keys_read_to_open (connection, info, options->secrets != NULL,
                         &encryption, status);
  if (r == 0 && encryption_is_there (&encryption))
    r = encryption_try (&encryption, options->secrets, status);
  else if (r == 0 && options->secrets)
    r = status_fail (status, EACCES,
                     "it is not encrypted, but a key was given: whoever can "
                     "change the database may have put it in the place of one "
                     "that is; leave the key out");
  return r == -1 ? status_prefix (status, "disk '%s'", info->name) : 0;
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
                                  status) == -1 ||
                   features_allow (connection, info.id, FEATURE_READ, status) ==
                       -1 ||
                   check_key (connection, &info, options, status) == -1
               ? -1
               : 1;
  r = disks_find (connection, options->name, &info, status);
  if (r == -1)
    return -1;
  /* One that nobody has named is one of those that a server serves; if it may
   * not be read its clients are told.
   */
  if (r == 1)
    return (options->name &&
            features_allow (connection, info.id, FEATURE_READ, status) == -1) ||
                   disks_check_match (&info, options, status) == -1 ||
                   check_key (connection, &info, options, status) == -1
               ? -1
               : 1;
  if (options->size == 0) {
    disks_fail_unknown (connection, new_name (options), status);
    return status_prefix (status, "give size=SIZE to make the disk");
  }
  return disks_check_packing (connection, options, status);
}

/* As check_disk, for the file PATH, with CONNECTIONS, none of which is open. */
static int
open_and_check (struct connections *connections, const char *path,
                const struct disk_options *options, struct status *status)
{
  struct connection connection;
  int r;

  if (connections_open (connections, &connection, CONNECTION_READ, status) ==
      -1)
    return -1;
  r = check_disk (&connection, options, status);
  if (connection_check (&connection, status) == -1)
    r = -1;
  connection_close (&connection);
  if (r == -1)
    return status_prefix (status, "%s", path);
  if (r == 0) {
    /* A disk can be added only where the file can be written. */
    if (connections_open (connections, &connection, CONNECTION_WRITE, status) ==
        -1)
      return -1;
    connection_close (&connection);
  }
  return r;
}

/* The server that comes next says it again. */
static void
ignore_warning (const char *message)
{
  (void)message;
}

/* As a command opens it. */
static struct store_options
command_options (void)
{
  return (struct store_options){
    .command = true,
    .limits = checkpoint_limits_default,
    .warn = ignore_warning,
  };
}

/* The same for a file that is ours. */
static int
check_file (const char *path, const struct disk_options *options,
            struct status *status)
{
  const struct store_options store_options = command_options ();
  struct connections connections;
  int r;

  if (connections_find (&connections, path, &store_options, status) == -1)
    return -1;
  r = open_and_check (&connections, path, options, status);
  connections_free (&connections);
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

/* As store_check, by this process. */
static int
check (const char *path, const struct disk_options *options,
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

/* What a child does for store_check. */
struct asked {
  const char *path;
  const struct disk_options *options;
};

static int
check_in_child (void *opaque, struct status *status)
{
  const struct asked *asked = opaque;
  int r;

  /* It has only so long, and is not where to wait. */
  clustered_set_takeover (NULL);
  turn_keep ();
  r = check (asked->path, asked->options, status);
  if (r == -1)
    turn_end ();
  else
    turn_pass ();
  return r;
}

static int
await_in_child (void *opaque, struct status *status)
{
  const struct asked *asked = opaque;

  return clustered_await (asked->path, status);
}

/* What connects to a cluster has threads, which a server that forks would lose,
 * and hangs or aborts where something is wrong.  Who waits until another has
 * let go may still find that a third one came first, and waits again.
 */
static int
check_in_children (struct asked *asked, struct status *status)
{
  const bool waits = clustered_takes_over ();
  int r;

  turn_share ();
  do {
    if (waits &&
        child_run (await_in_child, asked, asked->path, 0, status) == -1)
      return -1;
    /* What has no answer in time says so itself, unless it hangs. */
    r = child_run (check_in_child, asked, asked->path,
                   clustered_timeout () + CHILD_MORE, status);
  } while (r == -1 && waits && status->error == EBUSY);
  return r;
}

int
store_check (const char *path, const struct disk_options *options,
             struct status *status)
{
  struct asked asked = { path, options };

  return location_is_cluster (path) ? check_in_children (&asked, status)
                                    : check (path, options, status);
}

static int
create (struct connection *connection, void *opaque, struct status *status)
{
  return disks_create (connection, opaque, status);
}

/* Add a disk to the file PATH. */
static int
add_disk (const char *path, const struct disk_options *options,
          struct status *status)
{
  const struct store_options store_options = command_options ();
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

/* As store_provide. */
static int
provide (const char *path, const struct disk_options *options,
         struct status *status)
{
  int r = check (path, options, status);

  /* When others make the same at the same time, it is there afterwards. */
  for (int tries = 3; r == 0 && tries > 0; tries--) {
    if (make_missing (path, options, status) == 0)
      return 0;
    r = status->error == EEXIST ? check (path, options, status) : -1;
  }
  return r == 1 ? 0 : -1;
}

int
store_provide (const char *path, const struct disk_options *options,
               struct status *status)
{
  int r;

  /* A server listens by now: whom others have forestalled ends, rather than
   * have clients wait, and be deaf to signals.
   */
  clustered_set_takeover (NULL);
  turn_keep ();
  r = provide (path, options, status);
  /* Until the server has it open: place_watch_lock. */
  if (r == -1)
    turn_end ();
  else
    turn_pass ();
  return r;
}
