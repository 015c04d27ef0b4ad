/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Managing disks and snapshots: see manage.h. */

#include <config.h>

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/sane.h"
#include "sqlite/guard.h"
#include "manage/manage-parts.h"
#include "manage/request.h"
#include "rows/features.h"
#include "rows/partial.h"
#include "rows/properties.h"
#include "rows/inherit.h"
#include "rows/keys.h"
#include "rows/trash.h"
#include "engine/engine.h"
#include "rows/snapshots.h"
#include "base/count.h"
#include "manage/calls.h"
#include "manage.h"

/* How often, each 50 ms, to try to delete a snapshot that somebody reads: a
 * client that has just gone may take so long.
 */
#define READER_TRIES 20

/* Take the guard of DISK, so that no server can open it meanwhile. */
static int
take_guard (struct store *store, const struct disk_info *disk, int *guard,
            struct status *status)
{
  struct status held;

  *guard = guard_await (store_path (store), disk->id, status);
  if (*guard != -1)
    return 0;
  if (status->error == EBUSY) {
    held = *status;
    status_fail (status, EBUSY, "%s; disconnect its clients first",
                 held.message);
  }
  return status_prefix (status, "disk '%s'", disk->name);
}

/* Find the target, of a disk that may be changed. */
static int
find_changeable (struct connection *connection, struct request *request,
                 struct status *status)
{
  if (request_find_target (connection, request, status) == -1)
    return -1;
  return features_allow (connection, request->disk.id, FEATURE_CHANGE, status);
}

int
manage_guard_target (struct store *store, struct request *request, bool force,
                     int *guard, struct status *status)
{
  *guard = -1;
  if (STORE_READ (store, status, connection,
                  find_changeable (connection, request, status)) == -1)
    return -1;
  request->only = request->disk.id;
  if (!force)
    return take_guard (store, &request->disk, guard, status);
  *guard = guard_take (store_path (store), request->disk.id, false, status);
  return *guard == -1 && status->error != EBUSY
             ? status_prefix (status, "disk '%s'", request->disk.name)
             : 0;
}

static void
drop_guard (int guard)
{
  if (guard != -1)
    guard_release (guard);
}

int
manage_keep_readers_out (const char *path, const struct snapshot_info *snapshot,
                         int *guard, struct status *status)
{
  if (guard_delete_snapshot (path, snapshot->id, guard, status) == 0)
    return 0;
  return status_prefix (status, "snapshot '%s@%s'", snapshot->disk_name,
                        snapshot->name);
}

/* Do the change of a request, and take it back by failing. */
static int
try_change (struct connection *connection, void *opaque, struct status *status)
{
  struct request *request = opaque;

  request->would = request->change (connection, request, status) == 0;
  if (!request->would)
    return -1;
  return status_fail (status, ECANCELED, "this was only tried");
}

/* Make the change of a request; or with ONLY_TRY fail as it would fail, and
 * change nothing.
 */
static int
change_once (struct store *store, bool only_try, struct request *request,
             struct status *status)
{
  if (!only_try)
    return store_change (store, request->change, request, status);
  request->would = false;
  store_step (store, try_change, request, status);
  return request->would ? 0 : -1;
}

int
manage_change (struct store *store, bool only_try, struct request *request,
               struct status *status)
{
  const struct timespec pause = { .tv_nsec = 50000000 };
  bool read;
  int r = -1;

  for (int tries = READER_TRIES; r == -1 && tries > 0; tries--) {
    if (tries < READER_TRIES)
      nanosleep (&pause, NULL);
    request->guard = -1;
    r = change_once (store, only_try, request, status);
    read = request->guard != -1 && status->error == EBUSY;
    drop_guard (request->guard);
    if (r == -1 && !read)
      return -1;
  }
  return r;
}

/*--------------------------------------------------------------------
 * Disks.
 */

static int
create (struct connection *connection, void *opaque, struct status *status)
{
  const struct request *request = opaque;

  if (disks_check_packing (connection, request->options, status) == -1)
    return -1;
  return disks_create (connection, request->options, status);
}

int
manage_create (struct store *store, const struct disk_options *options,
               struct status *status)
{
  struct request request = { .options = options };

  if (store_remote (store))
    return calls_ask (store, &call_manage_create,
                      &(struct manage_call){ .options = *options }, status);
  if (sane_check_options (options, status) == -1)
    return -1;
  if (options->size == 0)
    return status_fail (status, EINVAL, "a disk needs a size");
  return store_change (store, create, &request, status);
}

static int
rename_target (struct connection *connection, void *opaque,
               struct status *status)
{
  struct request *request = opaque;

  if (strchr (request->target, '@')) {
    if (request_find_snapshot (connection, request, false, status) == -1 ||
        sane_check_snapshot (request->name, status) == -1)
      return -1;
    return snapshots_rename (connection, &request->snapshot, request->name,
                             status);
  }
  if (request_find_disk (connection, request, status) == -1 ||
      sane_check ("the name of a disk", request->name, DISK_NAME_MAX, status) ==
          -1 ||
      /* It would be looked at, too, when the row has the new name. */
      features_allow (connection, request->disk.id, FEATURE_CHANGE, status) ==
          -1)
    return -1;
  return disks_rename (connection, request->disk.id, request->name, status);
}

int
manage_rename (struct store *store, const char *target, const char *name,
               struct status *status)
{
  struct request request = { .target = target, .name = name };

  if (store_remote (store))
    return calls_ask (store, &call_manage_rename,
                      &(struct manage_call){ .target = target, .name = name },
                      status);
  return store_change (store, rename_target, &request, status);
}

int
manage_resize_found (struct store *store, const struct disk_info *disk,
                     uint64_t size, bool shrink, struct status *status)
{
  const struct disk_options options = { .size = size };
  int guard = -1;
  int r;

  if (store_remote (store))
    return calls_ask (
        store, &call_manage_resize_found,
        &(struct manage_call){ .info = *disk, .size = size, .shrink = shrink },
        status);
  if (size == 0)
    return status_fail (status, EINVAL, "the size must not be zero");
  if (sane_check_options (&options, status) == -1)
    return -1;
  if (size < disk->size) {
    if (!shrink)
      return status_fail (status, EINVAL,
                          "disk '%s' has %s; making it smaller "
                          "cuts off its end, ask for that with --shrink",
                          disk->name, COUNT (disk->size, "byte"));
    if (take_guard (store, disk, &guard, status) == -1)
      return -1;
  }
  r = store_resize (store, disk, size, status);
  drop_guard (guard);
  if (r == -1)
    status_prefix (status, "disk '%s': resizing", disk->name);
  return r;
}

int
manage_resize (struct store *store, const char *disk, uint64_t size,
               bool shrink, struct status *status)
{
  struct request request = { .target = disk };

  if (store_remote (store))
    return calls_ask (
        store, &call_manage_resize,
        &(struct manage_call){ .disk = disk, .size = size, .shrink = shrink },
        status);
  if (STORE_READ (store, status, connection,
                  request_find_disk (connection, &request, status)) == -1)
    return -1;
  return manage_resize_found (store, &request.disk, size, shrink, status);
}

/* What keeping readers out of all snapshots of a disk needs. */
struct keeping_out {
  const char *path;
  int *guard;
  struct status *status;
  int result;
};

static int
keep_out (const struct snapshot_info *snapshot, void *opaque)
{
  struct keeping_out *keeping = opaque;

  keeping->result = manage_keep_readers_out (keeping->path, snapshot,
                                             keeping->guard, keeping->status);
  return keeping->result != 0;
}

/* Keep readers out of all snapshots of the disk. */
static int
keep_readers_out (struct connection *connection, struct request *request,
                  struct status *status)
{
  struct status reader;
  struct keeping_out keeping = {
    .path = request->path,
    .guard = &request->guard,
    .status = &reader,
  };

  if (snapshots_list (connection, request->disk.id, keep_out, &keeping,
                      status) == -1)
    return -1;
  if (keeping.result == -1)
    *status = reader;
  return keeping.result;
}

/* What is kept of changes for the disk goes with it; into the trash it goes
 * along, and comes back, as with any new name (disks_rename).
 */
static int
delete_partial (struct connection *connection, const struct request *request,
                struct status *status)
{
  struct partial_info kept;
  int guard, r = partial_find (connection, request->disk.name, &kept, status);

  if (r != 1 || kept.base_guid == 0)
    return r == -1 ? -1 : 0;
  guard = guard_take (request->path, kept.id, false, status);
  if (guard == -1) /* who receives it finds out */
    return status->error == EBUSY ? 0 : -1;
  r = disks_delete (connection, kept.id, status);
  guard_release (guard);
  return r;
}

static int
remove_disk (struct connection *connection, const struct request *request,
             struct status *status)
{
  if (delete_partial (connection, request, status) == -1 ||
      snapshots_delete_all (connection, request->disk.id, status) == -1)
    return -1;
  return disks_delete (connection, request->disk.id, status);
}

/* Move the disk to the trash, if the database or the disk says so. */
static int
discard (struct connection *connection, struct request *request,
         struct status *status)
{
  const int64_t id = request->disk.id;
  int64_t seconds;

  request->to_trash->disk.id = 0;
  if (trash_span (connection, id, &seconds, status) == -1)
    return status_prefix (status, "disk '%s'", request->disk.name);
  if (seconds == 0)
    return remove_disk (connection, request, status);
  if (trash_put (connection, &request->disk, seconds, status) == -1)
    return -1;
  return trash_find (connection, id, request->to_trash, status);
}

static int
delete_disk (struct connection *connection, void *opaque, struct status *status)
{
  struct request *request = opaque;
  int64_t count;

  connection_frees_space (connection);
  if (request_find_disk (connection, request, status) == -1 ||
      snapshots_count (connection, request->disk.id, &count, status) == -1)
    return -1;
  if (count > 0 && !request->snapshots)
    return status_fail (status, ENOTEMPTY,
                        "disk '%s' has %s; delete them first, or ask for all "
                        "with --snapshots",
                        request->disk.name, COUNT (count, "snapshot"));
  if (snapshots_check_held_all (connection, request->disk.id, status) == -1 ||
      (!request->force && keep_readers_out (connection, request, status) == -1))
    return -1;
  return request->to_trash ? discard (connection, request, status)
                           : remove_disk (connection, request, status);
}

/* Make a change for which no server may have the disk open, or only try. */
static int
change_guarded (struct store *store, bool only_try, bool force,
                struct request *request, struct status *status)
{
  int guard, r;

  if (manage_guard_target (store, request, force, &guard, status) == -1)
    return -1;
  r = manage_change (store, only_try, request, status);
  drop_guard (guard);
  return r;
}

int
manage_delete_requested (struct store *store, bool only_try,
                         struct request *request, struct status *status)
{
  request->path = store_path (store);
  request->change = delete_disk;
  return change_guarded (store, only_try, request->force, request, status);
}

/* Delete a disk, or with ONLY_TRY take that back. */
static int
delete_or_try (struct store *store, bool only_try, const char *disk,
               bool snapshots, bool force, struct trashed_disk *to_trash,
               struct status *status)
{
  struct request request = {
    .target = disk,
    .snapshots = snapshots,
    .force = force,
    .to_trash = to_trash,
  };

  return manage_delete_requested (store, only_try, &request, status);
}

int
manage_delete (struct store *store, const char *disk, bool snapshots,
               bool force, struct status *status)
{
  if (store_remote (store))
    return calls_ask (store, &call_manage_delete,
                      &(struct manage_call){ .disk = disk,
                                             .snapshots = snapshots,
                                             .force = force },
                      status);
  return delete_or_try (store, false, disk, snapshots, force, NULL, status);
}

int
manage_try_delete (struct store *store, const char *disk, bool snapshots,
                   bool force, struct status *status)
{
  if (store_remote (store))
    return calls_ask (store, &call_manage_try_delete,
                      &(struct manage_call){ .disk = disk,
                                             .snapshots = snapshots,
                                             .force = force },
                      status);
  return delete_or_try (store, true, disk, snapshots, force, NULL, status);
}

/* The same as manage_discard and manage_try_discard, on the server. */
static int
ask_to_discard (struct store *store, const struct call_type *type,
                const char *disk, bool snapshots, bool force,
                struct trashed_disk *to_trash, struct status *status)
{
  struct manage_call call = {
    .disk = disk,
    .snapshots = snapshots,
    .force = force,
  };
  const int r = calls_ask (store, type, &call, status);

  *to_trash = call.trashed;
  return r;
}

int
manage_discard (struct store *store, const char *disk, bool snapshots,
                bool force, struct trashed_disk *to_trash,
                struct status *status)
{
  if (store_remote (store))
    return ask_to_discard (store, &call_manage_discard, disk, snapshots, force,
                           to_trash, status);
  return delete_or_try (store, false, disk, snapshots, force, to_trash, status);
}

int
manage_try_discard (struct store *store, const char *disk, bool snapshots,
                    bool force, struct trashed_disk *to_trash,
                    struct status *status)
{
  if (store_remote (store))
    return ask_to_discard (store, &call_manage_try_discard, disk, snapshots,
                           force, to_trash, status);
  return delete_or_try (store, true, disk, snapshots, force, to_trash, status);
}

/*--------------------------------------------------------------------
 * Snapshots and clones.
 */

static int
snapshot_disks (struct connection *connection, void *opaque,
                struct status *status)
{
  struct request *request = opaque;
  int64_t id;

  for (size_t i = 0; i < request->count; i++) {
    request->target = request->targets[i];
    if (request_find_disk (connection, request, status) == -1)
      return -1;
    if (snapshots_create (connection, &request->disk, request->name, false, 0,
                          0, &id, status) == -1)
      return status_prefix (status, "disk '%s'", request->disk.name);
  }
  return 0;
}

int
manage_snapshot (struct store *store, const char *const *disks, size_t count,
                 const char *name, struct status *status)
{
  struct request request = {
    .targets = disks,
    .count = count,
    .name = name,
  };

  if (store_remote (store))
    return calls_ask (store, &call_manage_snapshot,
                      &(struct manage_call){ .targets = disks,
                                             .target_count = count,
                                             .name = name },
                      status);
  if (sane_check_snapshot (name, status) == -1)
    return -1;
  return store_change (store, snapshot_disks, &request, status);
}

/* A hold stays, other than a reader, for whom manage_change waits: so it is
 * looked for before readers are kept out.
 */
static int
check_all_held (struct connection *connection, struct request *request,
                struct status *status)
{
  for (size_t i = 0; i < request->count; i++) {
    request->target = request->targets[i];
    if (request_find_snapshot (connection, request, false, status) == -1 ||
        snapshots_check_held (connection, &request->snapshot, status) == -1)
      return -1;
  }
  return 0;
}

static int
delete_snapshots (struct connection *connection, void *opaque,
                  struct status *status)
{
  struct request *request = opaque;

  connection_frees_space (connection);
  if (check_all_held (connection, request, status) == -1)
    return -1;
  for (size_t i = 0; i < request->count; i++) {
    request->target = request->targets[i];
    if (request_find_snapshot (connection, request, false, status) == -1 ||
        manage_keep_readers_out (request->path, &request->snapshot,
                                 &request->guard, status) == -1 ||
        snapshots_delete (connection, &request->snapshot, status) == -1)
      return -1;
  }
  return 0;
}

/* Delete snapshots, or with ONLY_TRY take that back. */
static int
delete_snapshots_or_try (struct store *store, bool only_try,
                         const char *const *targets, size_t count,
                         struct status *status)
{
  struct request request = {
    .path = store_path (store),
    .targets = targets,
    .count = count,
    .change = delete_snapshots,
  };

  return manage_change (store, only_try, &request, status);
}

int
manage_delete_snapshots (struct store *store, const char *const *targets,
                         size_t count, struct status *status)
{
  if (store_remote (store))
    return calls_ask (
        store, &call_manage_delete_snapshots,
        &(struct manage_call){ .targets = targets, .target_count = count },
        status);
  return delete_snapshots_or_try (store, false, targets, count, status);
}

int
manage_try_delete_snapshots (struct store *store, const char *const *targets,
                             size_t count, struct status *status)
{
  if (store_remote (store))
    return calls_ask (
        store, &call_manage_try_delete_snapshots,
        &(struct manage_call){ .targets = targets, .target_count = count },
        status);
  return delete_snapshots_or_try (store, true, targets, count, status);
}

static int
rollback (struct connection *connection, void *opaque, struct status *status)
{
  struct request *request = opaque;
  const struct snapshot_info *snapshot = &request->snapshot;
  struct layer_point to;

  connection_frees_space (connection);
  if (request_find_snapshot (connection, request, true, status) == -1)
    return -1;
  to = (struct layer_point){ snapshot->layer, snapshot->generation };
  return disks_roll_back (connection, request->disk.id, &to, snapshot->size,
                          status);
}

int
manage_rollback (struct store *store, const char *target, bool force,
                 struct status *status)
{
  struct request request = { .target = target, .change = rollback };

  if (store_remote (store))
    return calls_ask (store, &call_manage_rollback,
                      &(struct manage_call){ .target = target, .force = force },
                      status);
  return change_guarded (store, false, force, &request, status);
}

int
manage_try_rollback (struct store *store, const char *target, bool force,
                     struct status *status)
{
  struct request request = { .target = target, .change = rollback };

  if (store_remote (store))
    return calls_ask (store, &call_manage_try_rollback,
                      &(struct manage_call){ .target = target, .force = force },
                      status);
  return change_guarded (store, true, force, &request, status);
}

/* What the target shows now, so that it stays: a snapshot's rows, or those
 * of a disk, which then writes the next generation.
 */
static int
freeze_target (struct connection *connection, struct request *request,
               struct layer_point *frozen, uint64_t *size,
               struct status *status)
{
  if (request_find_target (connection, request, status) == -1 ||
      features_allow (connection, request->disk.id, FEATURE_READ, status) == -1)
    return -1;
  *size = request->disk.size;
  if (request->snapshot.id != 0) {
    *size = request->snapshot.size;
    *frozen = (struct layer_point){ request->snapshot.layer,
                                    request->snapshot.generation };
    return 0;
  }
  if (features_allow (connection, request->disk.id, FEATURE_CHANGE, status) ==
      -1)
    return status_prefix (status, "only snapshots of it can be cloned");
  if (disks_head (connection, request->disk.id, frozen, status) == -1)
    return -1;
  return layer_set_generation (connection, frozen->layer,
                               frozen->generation + 1, status);
}

static int
clone_target (struct connection *connection, void *opaque,
              struct status *status)
{
  struct request *request = opaque;
  struct disk_options options = *request->options;
  struct layer_point frozen;
  int64_t id;

  if (freeze_target (connection, request, &frozen, &options.size, status) == -1)
    return -1;
  options.block_size = request->disk.block_size;
  options.storing = request->disk.storing;
  if (settings_fill_in (connection, &options, status) == -1 ||
      disks_create_on (connection, &options, &frozen, &id, status) == -1 ||
      features_clone (connection, request->disk.id, id, status) == -1)
    return -1;
  if (keys_check (connection, request->disk.id, status) == -1)
    return status_prefix (status, "disk '%s'", request->disk.name);
  return properties_clone (connection, request->disk.id, id, status);
}

int
manage_clone (struct store *store, const char *source, const char *name,
              const char *description, struct status *status)
{
  const struct disk_options options = {
    .name = name,
    .description = description,
  };
  struct request request = { .target = source, .options = &options };

  if (store_remote (store))
    return calls_ask (store, &call_manage_clone,
                      &(struct manage_call){
                          .source = source, .name = name, .text = description },
                      status);
  if (sane_check ("the name of a disk", name, DISK_NAME_MAX, status) == -1 ||
      sane_check_options (&options, status) == -1)
    return -1;
  return store_change (store, clone_target, &request, status);
}

const writer_change manage_delete_change = delete_disk;
const writer_change manage_snapshot_change = snapshot_disks;
const writer_change manage_rollback_change = rollback;
const writer_change manage_clone_change = clone_target;

/*--------------------------------------------------------------------
 * Pinning.
 *
 * A copy that takes an hour is to show one moment.  One read transaction would
 * do, but the log could not start over for so long.  So it gets a snapshot of
 * which nobody knows (snapshots_pin), whose rows stay while its maker has
 * guard_keep_rows, and each piece is read in a transaction of its own.  Whoever
 * reclaims meanwhile fails, and space is freed later.
 *
 * A disk that a feature forbids to change gets none, and is not written
 * meanwhile, see open_unpinned.
 *
 * What a client or "sqlblock send" reads is a snapshot with a name, which stays
 * by guard_read_snapshot; nothing is made for it, and others can reclaim.
 */

/* Pin what the target shows now. */
static int
pin (struct connection *connection, void *opaque, struct status *status)
{
  struct request *request = opaque;
  struct disk_info *disk = &request->disk;

  if (request_find_target (connection, request, status) == -1 ||
      snapshots_pin (connection, disk, &request->snapshot, &request->pin,
                     status) == -1)
    return -1;
  if (request->snapshot.id != 0)
    snapshots_as_disk (&request->snapshot, disk);
  disk->snapshot = request->pin;
  return 0;
}

static int
unpin (struct connection *connection, void *opaque, struct status *status)
{
  const int64_t *id = opaque;

  return snapshots_unpin (connection, *id, status);
}

/* Open a disk or a snapshot that must not be changed, and so not be pinned:
 * while this has the guard of the disk, no other program of ours writes it.
 */
static struct disk *
open_unpinned (struct store *store, const struct request *request,
               struct status *status)
{
  struct disk_info now = { .id = request->disk.id };
  struct disk *disk = NULL;
  int guard, r;

  if (request->snapshot.id != 0)
    return disk_open (store, request->target, true, status);
  guard = guard_await_copy (store_path (store), now.id, status);
  if (guard == -1) {
    status_prefix (status, "disk '%s'", request->disk.name);
    return NULL;
  }
  /* It may have been changed until then. */
  r = STORE_READ (store, status, connection,
                  disks_find_id (connection, now.id, &now, status));
  if (r == 0)
    status_fail (status, ENOENT, "the disk is gone");
  if (r == 1)
    disk = disk_open_found (store, &now, true, status);
  if (disk)
    disk_keep_guard (disk, guard);
  else
    guard_release (guard);
  return disk;
}

struct disk *
manage_pin (struct store *store, const char *target, struct status *status)
{
  struct request request = { .target = target };
  struct disk *disk = NULL;
  struct manage_call call = { .target = target };
  int guard;

  if (store_remote (store))
    return calls_ask (store, &call_manage_pin, &call, status) == 0
               ? disk_open_remote (store, call.open, &call.info, call.readonly,
                                   status)
               : NULL;
  if (STORE_READ (store, status, connection,
                  request_find_target (connection, &request, status)) == -1)
    return NULL;
  if (request.disk.access != DISK_OPEN && !store_is_immutable (store))
    return open_unpinned (store, &request, status);
  /* What is read without its log cannot be pinned, and need not be: when it
   * changes, reading fails.
   */
  guard = store_is_immutable (store)
              ? -1
              : guard_keep_rows (store_path (store), status);
  if (guard == -1)
    return store_is_immutable (store) || request.snapshot.id != 0
               ? disk_open (store, target, true, status)
               : NULL;
  if (store_change (store, pin, &request, status) == 0)
    disk = disk_open_found (store, &request.disk, true, status);
  if (disk) {
    disk_keep_guard (disk, guard);
    return disk;
  }
  guard_release (guard);
  /* Who may only read it can read a snapshot by its name. */
  return status->error == EROFS && request.snapshot.id != 0
             ? disk_open (store, target, true, status)
             : NULL;
}

void
manage_unpin (struct store *store, struct disk *disk)
{
  int64_t id = disk_get_info (disk)->snapshot;
  struct status ignored;

  if (store_remote (store)) {
    calls_ask (store, &call_manage_unpin,
               &(struct manage_call){ .open = disk_remote (disk) }, &ignored);
    disk_forget (disk);
    return;
  }
  /* Where it fails, manage_reclaim does it one day. */
  if (id != 0 && disk_has_guard (disk))
    store_change (store, unpin, &id, &ignored);
  disk_close (disk);
}
