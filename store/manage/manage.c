/* Managing disks and snapshots: see manage.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/sane.h"
#include "engine/checkpoint.h"
#include "base/clock.h"
#include "rows/database.h"
#include "sqlite/files.h"
#include "sqlite/guard.h"
#include "manage/manage-parts.h"
#include "rows/flatten.h"
#include "rows/quota.h"
#include "rows/reclaim.h"
#include "engine/engine.h"
#include "rows/snapshots.h"
#include "rows/usage.h"
#include "base/count.h"
#include "manage.h"

/* How often, each 50 ms, to try to delete a snapshot that somebody reads: a
 * client that has just gone may take so long.
 */
#define READER_TRIES 20

/* How long a step of giving pages back takes, in nanoseconds. */
#define SHRINK_STEP (10 * CLOCK_MILLISECOND)

/* For how many pages the list of free ones is put in order at a time. */
#define ARRANGED 131072

/*--------------------------------------------------------------------
 * What the changes below share: a change is a function that runs inside a
 * transaction and is told in a struct what to do.
 */
struct request {
  const char *path;
  const char *target;
  struct disk_info disk;         /* that TARGET names, ... */
  struct snapshot_info snapshot; /* ... and its snapshot, or one of id 0 */

  int64_t only; /* the id of the disk that may be changed, or 0: any */
  const struct disk_options *options;
  const char *name;
  const char *const *targets;
  size_t count;
  bool snapshots, force;
  int guard; /* keeps others from reading what is deleted, or -1 */
  int64_t held;

  /* For a change that is only tried. */
  writer_change change;
  bool would;
};

/* Find what a request's target names. */
static int
find_target (struct connection *connection, void *opaque, struct status *status)
{
  struct request *request = opaque;

  return snapshots_find_target (connection, request->target, &request->disk,
                                &request->snapshot, status);
}

/* The name may have come to mean another disk since its guard was taken. */
static int
check_only (const struct request *request, struct status *status)
{
  if (request->only == 0 || request->only == request->disk.id)
    return 0;
  return status_fail (status, EBUSY,
                      "disk '%s' has just been renamed or replaced; look at "
                      "it, and try again",
                      request->disk.name);
}

/* The target must be a disk. */
static int
find_disk (struct connection *connection, struct request *request,
           struct status *status)
{
  if (snapshots_find_disk (connection, request->target, &request->disk,
                           status) == -1)
    return -1;
  return check_only (request, status);
}

/* The target must be a snapshot, under its name or, with TIMES, a time. */
static int
find_snapshot (struct connection *connection, struct request *request,
               bool times, struct status *status)
{
  if (find_target (connection, request, status) == -1 ||
      check_only (request, status) == -1)
    return -1;
  if (request->snapshot.id == 0)
    return status_fail (status, EINVAL, "'%s' is a disk; give DISK@SNAPSHOT",
                        request->target);
  if (times ||
      strcmp (strchr (request->target, '@') + 1, request->snapshot.name) == 0)
    return 0;
  return status_fail (
      status, EINVAL, "'%s' is a time; give the name of the snapshot, '%s@%s'",
      request->target, request->disk.name, request->snapshot.name);
}

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

/* The same for the disk that the target names, which becomes the only one
 * that the request may change.  With FORCE it goes on without the guard.
 */
static int
guard_target (struct store *store, struct request *request, bool force,
              int *guard, struct status *status)
{
  *guard = -1;
  if (store_look (store, find_target, request, status) == -1)
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

/* The same, again where it deletes a snapshot that somebody reads. */
static int
make_change (struct store *store, bool only_try, struct request *request,
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
    if (find_snapshot (connection, request, false, status) == -1 ||
        sane_check_snapshot (request->name, status) == -1)
      return -1;
    return snapshots_rename (connection, &request->snapshot, request->name,
                             status);
  }
  if (find_disk (connection, request, status) == -1 ||
      sane_check ("the name of a disk", request->name, DISK_NAME_MAX, status) ==
          -1)
    return -1;
  return disks_rename (connection, request->disk.id, request->name, status);
}

int
manage_rename (struct store *store, const char *target, const char *name,
               struct status *status)
{
  struct request request = { .target = target, .name = name };

  return store_change (store, rename_target, &request, status);
}

static int
describe (struct connection *connection, void *opaque, struct status *status)
{
  struct request *request = opaque;

  if (find_disk (connection, request, status) == -1)
    return -1;
  return disks_describe (connection, request->disk.id,
                         request->options->description, status);
}

int
manage_describe (struct store *store, const char *disk, const char *description,
                 struct status *status)
{
  const struct disk_options options = { .description = description };
  struct request request = { .target = disk, .options = &options };

  if (sane_check_options (&options, status) == -1)
    return -1;
  return store_change (store, describe, &request, status);
}

static int
set (struct connection *connection, void *opaque, struct status *status)
{
  struct request *request = opaque;
  const struct disk_options *options = request->options;
  int r = find_disk (connection, request, status);

  if (r == 0 && options->compression.codec)
    r = disks_set_compression (connection, request->disk.id,
                               &options->compression, status);
  if (r == 0 && options->deduplicate)
    r = disks_set_deduplicate (connection, request->disk.id,
                               options->deduplicate == DISK_ON, status);
  if (r == 0 && options->quota)
    r = quota_set (connection, request->disk.id, options->quota, status);
  return r;
}

int
manage_set (struct store *store, const char *disk,
            const struct disk_options *options, struct status *status)
{
  struct request request = { .target = disk, .options = options };

  if (sane_check_options (options, status) == -1)
    return -1;
  return store_change (store, set, &request, status);
}

static int
look_for_disk (struct connection *connection, void *opaque,
               struct status *status)
{
  return find_disk (connection, opaque, status);
}

int
manage_resize_found (struct store *store, const struct disk_info *disk,
                     uint64_t size, bool shrink, struct status *status)
{
  const struct disk_options options = { .size = size };
  int guard = -1;
  int r;

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

  if (store_look (store, look_for_disk, &request, status) == -1)
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

static int
delete_disk (struct connection *connection, void *opaque, struct status *status)
{
  struct request *request = opaque;
  int64_t count;

  connection_frees_space (connection);
  if (find_disk (connection, request, status) == -1 ||
      snapshots_count (connection, request->disk.id, &count, status) == -1)
    return -1;
  if (count > 0 && !request->snapshots)
    return status_fail (status, ENOTEMPTY,
                        "disk '%s' has %s; delete them first, or ask for all "
                        "with --snapshots",
                        request->disk.name, COUNT (count, "snapshot"));
  if (!request->force && keep_readers_out (connection, request, status) == -1)
    return -1;
  if (snapshots_delete_all (connection, request->disk.id, status) == -1)
    return -1;
  return disks_delete (connection, request->disk.id, status);
}

/* Make a change for which no server may have the disk open, or only try. */
static int
change_guarded (struct store *store, bool only_try, bool force,
                struct request *request, struct status *status)
{
  int guard, r;

  if (guard_target (store, request, force, &guard, status) == -1)
    return -1;
  r = make_change (store, only_try, request, status);
  drop_guard (guard);
  return r;
}

/* Delete a disk, or with ONLY_TRY take that back. */
static int
delete_or_try (struct store *store, bool only_try, const char *disk,
               bool snapshots, bool force, struct status *status)
{
  struct request request = {
    .path = store_path (store),
    .target = disk,
    .snapshots = snapshots,
    .force = force,
    .change = delete_disk,
  };

  return change_guarded (store, only_try, force, &request, status);
}

int
manage_delete (struct store *store, const char *disk, bool snapshots,
               bool force, struct status *status)
{
  return delete_or_try (store, false, disk, snapshots, force, status);
}

int
manage_try_delete (struct store *store, const char *disk, bool snapshots,
                   bool force, struct status *status)
{
  return delete_or_try (store, true, disk, snapshots, force, status);
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
    if (find_disk (connection, request, status) == -1)
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

  if (sane_check_snapshot (name, status) == -1)
    return -1;
  return store_change (store, snapshot_disks, &request, status);
}

static int
delete_snapshots (struct connection *connection, void *opaque,
                  struct status *status)
{
  struct request *request = opaque;

  connection_frees_space (connection);
  for (size_t i = 0; i < request->count; i++) {
    request->target = request->targets[i];
    if (find_snapshot (connection, request, false, status) == -1 ||
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

  return make_change (store, only_try, &request, status);
}

int
manage_delete_snapshots (struct store *store, const char *const *targets,
                         size_t count, struct status *status)
{
  return delete_snapshots_or_try (store, false, targets, count, status);
}

int
manage_try_delete_snapshots (struct store *store, const char *const *targets,
                             size_t count, struct status *status)
{
  return delete_snapshots_or_try (store, true, targets, count, status);
}

static int
rollback (struct connection *connection, void *opaque, struct status *status)
{
  struct request *request = opaque;
  const struct snapshot_info *snapshot = &request->snapshot;
  struct layer_view to;

  connection_frees_space (connection);
  if (find_snapshot (connection, request, true, status) == -1)
    return -1;
  to = (struct layer_view){ snapshot->layer, snapshot->generation };
  return disks_jump (connection, request->disk.id, &to, snapshot->size, status);
}

int
manage_rollback (struct store *store, const char *target, bool force,
                 struct status *status)
{
  struct request request = { .target = target, .change = rollback };

  return change_guarded (store, false, force, &request, status);
}

int
manage_try_rollback (struct store *store, const char *target, bool force,
                     struct status *status)
{
  struct request request = { .target = target, .change = rollback };

  return change_guarded (store, true, force, &request, status);
}

/* What the target shows now, so that it stays: a snapshot's rows, or those
 * of a disk, which then writes the next generation.
 */
static int
freeze_target (struct connection *connection, struct request *request,
               struct layer_view *frozen, uint64_t *size, struct status *status)
{
  if (find_target (connection, request, status) == -1)
    return -1;
  *size = request->disk.size;
  if (request->snapshot.id != 0) {
    *size = request->snapshot.size;
    *frozen = (struct layer_view){ request->snapshot.layer,
                                   request->snapshot.generation };
    return 0;
  }
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
  struct layer_view frozen;
  int64_t id;

  if (freeze_target (connection, request, &frozen, &options.size, status) == -1)
    return -1;
  options.block_size = request->disk.block_size;
  options.compression = request->disk.compression;
  options.deduplicate = request->disk.deduplicate ? DISK_ON : DISK_OFF;
  return disks_create_on (connection, &options, &frozen, &id, status);
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

  if (sane_check ("the name of a disk", name, DISK_NAME_MAX, status) == -1 ||
      sane_check_options (&options, status) == -1)
    return -1;
  return store_change (store, clone_target, &request, status);
}

/*--------------------------------------------------------------------
 * What goes in steps.
 */

/* Let others write for as long as the last step took. */
static void
give_way (uint64_t start)
{
  const struct timespec taken = clock_timespec (clock_now () - start);

  nanosleep (&taken, NULL);
}

/* A flatten in progress. */
struct flattening {
  struct request request;
  struct flatten_progress committed;
  struct flatten_progress step; /* where the step at hand comes to */
  bool done;
};

/* Fail if a disk is past its quota. */
static int
check_quota (struct connection *connection, const struct disk_info *disk,
             struct status *status)
{
  struct quota_state quota;

  if (quota_look (connection, disk->id, &quota, status) == -1)
    return -1;
  return quota_check (&quota, disk->name, status);
}

static int
flatten_step (struct connection *connection, void *opaque,
              struct status *status)
{
  struct flattening *flattening = opaque;
  int r = find_disk (connection, &flattening->request, status);

  /* A first try of the step may have been undone. */
  flattening->step = flattening->committed;
  if (r == 0)
    r = flatten_copy_step (connection, flattening->request.disk.id,
                              &flattening->step, status);
  flattening->done = r == 0;
  if (r == 1 && flattening->step.copied > flattening->committed.copied)
    r = check_quota (connection, &flattening->request.disk, status);
  return r == -1 ? -1 : 0;
}

static int
unflatten_step (struct connection *connection, void *opaque,
                struct status *status)
{
  struct flattening *flattening = opaque;
  int r = find_disk (connection, &flattening->request, status);

  connection_frees_space (connection);
  flattening->step = flattening->committed;
  if (r == 0)
    r = flatten_undo_step (connection, flattening->request.disk.id,
                                &flattening->step, status);
  flattening->done = r == 0;
  return r == -1 ? -1 : 0;
}

/* A flatten has found no space, as STATUS says: give back what it has copied,
 * so that others have what they had.  Returns -1.
 */
static int
unflatten (struct store *store, struct flattening *flattening,
           struct status *status)
{
  struct status failure;
  uint64_t start;

  if (status->error != ENOSPC)
    return -1;
  flattening->done = false;
  while (!flattening->done) {
    start = clock_now ();
    if (store_change (store, unflatten_step, flattening, &failure) == -1)
      return status_prefix (status,
                            "some of what was copied stays, which the next "
                            "flatten uses, and goes with the disk (%s)",
                            failure.message);
    flattening->committed = flattening->step;
    give_way (start);
  }
  return -1;
}

/* Find the disk.  Whatever is called so later, it is this one. */
static int
look_for_flattened (struct connection *connection, void *opaque,
                    struct status *status)
{
  struct flattening *flattening = opaque;

  if (find_disk (connection, &flattening->request, status) == -1)
    return -1;
  flattening->request.only = flattening->request.disk.id;
  return 0;
}

static int
flatten (struct store *store, struct flattening *flattening,
         progress_made progress, void *opaque, struct status *status)
{
  uint64_t start;

  while (!flattening->done) {
    start = clock_now ();
    if (store_change (store, flatten_step, flattening, status) == -1)
      return unflatten (store, flattening, status);
    flattening->committed = flattening->step;
    if (progress_report (progress, flattening->committed.copied, 0, opaque,
                         status) == -1)
      return -1;
    give_way (start);
  }
  return 0;
}

int
manage_flatten (struct store *store, const char *disk, progress_made progress,
                void *opaque, struct status *status)
{
  struct flattening flattening = { .request.target = disk };
  int guard, r;

  if (store_look (store, look_for_flattened, &flattening, status) == -1)
    return -1;
  guard = guard_flatten (store_path (store), flattening.request.only, status);
  if (guard == -1)
    return status_prefix (status, "disk '%s'", disk);
  flattening.committed.most = store_transaction_bytes (store);
  r = flatten (store, &flattening, progress, opaque, status);
  guard_release (guard);
  return r;
}

/* A reclaim in progress. */
struct reclaiming {
  struct failed_layers failed;
  struct reclaim_step step;
  bool done;
};

static int
reclaim (struct connection *connection, void *opaque, struct status *status)
{
  struct reclaiming *reclaiming = opaque;
  int r;

  connection_frees_space (connection);
  r = reclaim_step (connection, &reclaiming->failed, &reclaiming->step, status);
  reclaiming->done = r == 0;
  return r == -1 ? -1 : 0;
}

static int
reclaim_some (struct store *store, struct reclaiming *reclaiming,
              struct status *status)
{
  const int guard = guard_reclaim (store_path (store), status);
  int r;

  reclaiming->step = (struct reclaim_step){ .layer = 0 };
  if (guard == -1)
    return -1;
  r = store_change (store, reclaim, reclaiming, status);
  guard_release (guard);
  return r;
}

int
manage_reclaim_step (struct store *store, bool *done, uint64_t *freed,
                     struct status *status)
{
  struct reclaiming reclaiming = { .done = false };
  const int r = reclaim_some (store, &reclaiming, status);

  *done = reclaiming.done;
  *freed = reclaiming.step.freed;
  return r;
}

static int
release_all (struct connection *connection, void *opaque, struct status *status)
{
  (void)opaque;
  connection_frees_space (connection);
  return snapshots_release (connection, 0, status);
}

int
manage_forget_copies (struct store *store, struct status *status)
{
  const int guard = guard_reclaim (store_path (store), status);
  int r;

  if (guard == -1)
    return -1;
  r = store_change (store, release_all, NULL, status);
  guard_release (guard);
  return r;
}

/* See whether there is something to free, and whether that is safe. */
static int
look_for_garbage (struct connection *connection, void *opaque,
                  struct status *status)
{
  bool *needed = opaque;

  if (reclaim_check (connection, status) == -1)
    return -1;
  return reclaim_is_needed (connection, needed, status);
}

/* Step on to the end, and pass by layers that cannot be read. */
static int
reclaim_all (struct store *store, struct reclaiming *reclaiming,
             progress_made progress, void *opaque, uint64_t *freed,
             struct status *status)
{
  uint64_t start;

  while (!reclaiming->done) {
    start = clock_now ();
    if (reclaim_some (store, reclaiming, status) == 0)
      *freed += reclaiming->step.freed;
    else if (failed_layers_add (&reclaiming->failed, reclaiming->step.layer,
                                status) == -1)
      return -1;
    if (progress_report (progress, *freed, 0, opaque, status) == -1)
      return -1;
    give_way (start);
  }
  return 0;
}

int
manage_reclaim (struct store *store, progress_made progress, void *opaque,
                uint64_t *freed, struct status *status)
{
  struct reclaiming reclaiming = { .done = false };
  uint64_t total = 0;
  bool needed;
  int r;

  if (freed)
    *freed = 0;
  if (store_look (store, look_for_garbage, &needed, status) == -1 ||
      (needed && manage_forget_copies (store, status) == -1))
    return status_prefix (status, "freeing space");
  /* A server asks often, and what is idle is not to write. */
  if (!needed)
    return 0;
  r = reclaim_all (store, &reclaiming, progress, opaque, &total, status);
  if (freed)
    *freed = total;
  r = failed_layers_end (&reclaiming.failed, r, status);
  return r == -1 ? status_prefix (status, "freeing space") : 0;
}

static int
reclaim_hidden (struct connection *connection, void *opaque,
                struct status *status)
{
  (void)opaque;
  connection_frees_space (connection);
  return reclaim_add_hidden (connection, status);
}

int
manage_reclaim_hidden (struct store *store, struct status *status)
{
  return store_change (store, reclaim_hidden, NULL, status);
}

/* A step of counting for quotas. */
struct quota_counting {
  const struct failed_layers *failed;
  struct quota_step step;
  bool done;
};

static int
count_step (struct connection *connection, void *opaque, struct status *status)
{
  struct quota_counting *counting = opaque;
  const int r =
      quota_count_step (connection, counting->failed, &counting->step, status);

  counting->done = r == 0;
  return r == -1 ? -1 : 0;
}

int
manage_count_step (struct store *store, struct failed_layers *failed,
                   bool *done, uint64_t *bytes, struct status *status)
{
  struct quota_counting counting = { .failed = failed };

  *done = false;
  *bytes = 0;
  if (store_step (store, count_step, &counting, status) == -1)
    return failed_layers_add (failed, counting.step.layer, status);
  *done = counting.done;
  *bytes = counting.step.bytes;
  return 0;
}

/* Step on to the end. */
static int
count_all (struct store *store, struct failed_layers *failed,
           progress_made progress, void *opaque, struct status *status)
{
  uint64_t start;
  uint64_t total = 0, some;
  bool done = false;

  while (!done) {
    start = clock_now ();
    if (manage_count_step (store, failed, &done, &some, status) == -1)
      return -1;
    total += some;
    if (progress_report (progress, total, 0, opaque, status) == -1)
      return -1;
    give_way (start);
  }
  return 0;
}

int
manage_count (struct store *store, progress_made progress, void *opaque,
              struct status *status)
{
  struct failed_layers failed = { .count = 0 };
  int r = count_all (store, &failed, progress, opaque, status);

  r = failed_layers_end (&failed, r, status);
  return r == -1 ? status_prefix (status, "counting for quotas") : 0;
}

/*--------------------------------------------------------------------
 * Giving pages back.
 */

/* Can all pages go at once? */
struct survey {
  struct shrink_pages *pages;
  uint64_t moves;
  bool can;
};

static int
survey (struct connection *connection, void *opaque, struct status *status)
{
  struct survey *survey = opaque;
  int r;

  if (shrink_look (connection, survey->pages, status) == -1)
    return -1;
  r = shrink_moves_few (connection, survey->pages, survey->moves, status);
  survey->can = r == 1;
  return r == -1 ? -1 : 0;
}

static int
look_at_pages (struct connection *connection, void *opaque,
               struct status *status)
{
  return shrink_look (connection, opaque, status);
}

int
manage_free_pages (struct store *store, struct shrink_pages *pages,
                   struct status *status)
{
  return store_look (store, look_at_pages, pages, status);
}

static int
shrink (struct connection *connection, void *opaque, struct status *status)
{
  struct shrinking *shrinking = opaque;

  connection_frees_space (connection);
  return shrink_step (connection, shrinking->keep, shrinking->nanoseconds,
                      &shrinking->pages, status);
}

static int
shrink_all (struct connection *connection, void *opaque, struct status *status)
{
  struct shrinking *shrinking = opaque;
  const int r = shrink_at_once (connection, shrinking->moves, status);

  shrinking->done = r == 1;
  return r == -1 ? -1 : 0;
}

static int
arrange (struct connection *connection, void *opaque, struct status *status)
{
  struct shrinking *shrinking = opaque;

  return shrink_arrange (connection, ARRANGED, &shrinking->cut, status);
}

/* Prepare for giving back many pages, or give all back at once. */
static int
shrink_many (struct store *store, struct shrinking *shrinking,
             struct status *status)
{
  struct survey request = { &shrinking->pages, shrinking->moves, false };

  shrinking->done = false;
  shrinking->cut = 0;
  if (shrinking->pages.free / 2 >= shrinking->keep) {
    if (store_look (store, survey, &request, status) == -1)
      return -1;
    /* What moves is in the log once more; one by one that takes less. */
    if (request.can &&
        store_apart (store, shrink_all, shrinking, status) == -1 &&
        status->error != ENOSPC)
      return -1;
  }
  if (!shrinking->done &&
      store_apart (store, arrange, shrinking, status) == -1) {
    if (status->error != ENOSPC)
      return -1;
    shrinking->cut = 1; /* in the order in which they are */
  }
  if (manage_free_pages (store, &shrinking->pages, status) == -1)
    return -1;
  shrinking->least = shrinking->pages.free;
  return 0;
}

bool
manage_free_grow (const struct shrinking *shrinking)
{
  return shrinking->pages.free > shrinking->least + shrinking->many / 4;
}

/* Is the list of free pages long, and not in order?  What becomes free is put
 * before what was in order.
 */
static bool
is_disordered (const struct shrinking *shrinking)
{
  return shrinking->pages.free >= shrinking->many &&
         (shrinking->cut == 0 || shrinking->pages.total <= shrinking->cut ||
          manage_free_grow (shrinking));
}

int
manage_shrink_step (struct store *store, struct shrinking *shrinking,
                    struct status *status)
{
  if (is_disordered (shrinking) && shrink_many (store, shrinking, status) == -1)
    return -1;
  /* So it gets on also where others free as much in that time. */
  if (shrinking->pages.free <= shrinking->keep)
    return 0;
  if (store_step (store, shrink, shrinking, status) == -1)
    return -1;
  if (shrinking->least > shrinking->pages.free)
    shrinking->least = shrinking->pages.free;
  return 0;
}

/* One step of giving back all.  A file system that is full has room for
 * short steps, each time that the log was emptied; *FAILED says how many pages
 * were free when it last had none.
 */
static int
shrink_in_room (struct store *store, struct shrinking *shrinking,
                uint64_t *failed, struct status *status)
{
  struct status ignored;

  while (manage_shrink_step (store, shrinking, status) == -1) {
    if (status->error != ENOSPC || shrinking->nanoseconds == 0 ||
        store_checkpoint (store, &ignored) == -1)
      return -1;
    if (shrinking->pages.free >= *failed)
      shrinking->nanoseconds /= 16;
    *failed = shrinking->pages.free;
  }
  return 0;
}

int
manage_shrink_file (struct store *store, uint64_t keep, progress_made progress,
                    void *opaque, struct status *status)
{
  struct shrinking shrinking = {
    .many = SHRINK_MANY,
    .nanoseconds = SHRINK_STEP,
  };
  struct manage_file file;
  uint64_t start, failed = 0;
  const int served = store_is_served (store, status);

  if (served == -1 || manage_file (store, &file, status) == -1 ||
      manage_free_pages (store, &shrinking.pages, status) == -1)
    return -1;
  shrinking.moves = served ? MANAGE_MOVES : MANAGE_MOVES_ALONE;
  shrinking.keep = keep / file.page_size;
  while (shrinking.pages.free > shrinking.keep) {
    start = clock_now ();
    if (shrink_in_room (store, &shrinking, &failed, status) == -1)
      return status_prefix (status, "giving pages back");
    if (progress_report (
            progress, file.free - shrinking.pages.free * shrinking.pages.size,
            file.free, opaque, status) == -1)
      return -1;
    if (served)
      give_way (start);
  }
  return store_checkpoint (store, status);
}

/*--------------------------------------------------------------------
 * Looking.
 */

static int
look_for_snapshot (struct connection *connection, void *opaque,
                   struct status *status)
{
  return find_snapshot (connection, opaque, true, status);
}

int
manage_find_snapshot (struct store *store, const char *target,
                      struct snapshot_info *info, struct status *status)
{
  struct request request = { .target = target };

  if (store_look (store, look_for_snapshot, &request, status) == -1)
    return -1;
  *info = request.snapshot;
  return 0;
}

/* A list of snapshots in progress. */
struct listing {
  struct request request;
  int (*found) (const struct snapshot_info *info, void *opaque);
  void *opaque;
};

static int
list_snapshots (struct connection *connection, void *opaque,
                struct status *status)
{
  struct listing *listing = opaque;

  if (listing->request.target &&
      find_disk (connection, &listing->request, status) == -1)
    return -1;
  return snapshots_list (connection, listing->request.disk.id, listing->found,
                         listing->opaque, status);
}

int
manage_list_snapshots (struct store *store, const char *disk,
                       int (*found) (const struct snapshot_info *info,
                                     void *opaque),
                       void *opaque, struct status *status)
{
  struct listing listing = {
    .request.target = disk,
    .found = found,
    .opaque = opaque,
  };

  return store_look (store, list_snapshots, &listing, status);
}

/* Details in progress. */
struct detailing {
  struct request request;
  struct manage_details *details;
};

/* The layer of a disk.  While it is lent to what comes in (receive.c), that
 * one, not the one on which the disk stands meanwhile.
 */
static int
find_own_layer (struct connection *connection, int64_t disk, int64_t *layer,
                struct status *status)
{
  static const char own_sql[] =
      "SELECT ifnull ((SELECT hidden.layer FROM disk AS hidden"
      " JOIN layer ON layer.parent = hidden.layer"
      " WHERE hidden.name = disk.name || '" DISK_RECEIVING "'"
      " AND layer.id = disk.layer), disk.layer) FROM disk WHERE id = ?1";

  return connection_integer_for (connection, own_sql, disk, layer, status);
}

/* Say what the layer of a disk or snapshot stands on. */
static int
find_origin (struct connection *connection, const struct request *request,
             char *origin, size_t room, struct status *status)
{
  static const char origin_sql[] =
      "SELECT ifnull ((SELECT disk.name || '@' || snapshot.name"
      " FROM snapshot JOIN disk ON disk.id = snapshot.disk"
      " WHERE snapshot.layer = layer.parent"
      " AND snapshot.generation = layer.parent_generation"
      " AND snapshot.name NOT LIKE '%/%' LIMIT 1),"
      " (SELECT name FROM disk WHERE disk.layer = layer.parent))"
      " FROM layer WHERE id = ?1 AND parent IS NOT NULL";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, origin_sql, status);
  int64_t layer = request->snapshot.layer;
  const char *text;
  int r;

  if (row == NULL)
    return -1;
  if (request->snapshot.id == 0 &&
      find_own_layer (connection, request->disk.id, &layer, status) == -1)
    return -1;
  sqlite3_bind_int64 (row, 1, layer);
  r = connection_step (connection, row, status);
  if (r == -1)
    return -1;
  text = r == 1 ? (const char *)sqlite3_column_text (row, 0) : "";
  snprintf (origin, room, "%s", text ? text : "?");
  return 0;
}

static int
look_at_details (struct connection *connection, void *opaque,
                 struct status *status)
{
  struct detailing *detailing = opaque;
  struct request *request = &detailing->request;
  struct manage_details *details = detailing->details;
  struct quota_state quota;
  int64_t count;

  if (find_target (connection, request, status) == -1 ||
      snapshots_count (connection, request->disk.id, &count, status) == -1 ||
      quota_look (connection, request->disk.id, &quota, status) == -1)
    return -1;
  details->snapshots = request->snapshot.id == 0 ? count : 0;
  details->quota_used = quota.own + quota.others;
  details->quota_counted = quota.counted;
  return find_origin (connection, request, details->origin,
                      sizeof details->origin, status);
}

int
manage_details (struct store *store, const char *target,
                struct manage_details *details, struct status *status)
{
  struct detailing detailing = {
    .request.target = target,
    .details = details,
  };

  return store_look (store, look_at_details, &detailing, status);
}

/* A count of the usage in progress. */
struct counting {
  struct usage_item *items;
  size_t count;
  uint64_t *freed;
  size_t groups;
  progress_made progress;
  void *opaque;
};

static int
look_at_usage (struct connection *connection, void *opaque,
               struct status *status)
{
  const struct counting *counting = opaque;

  return usage_count (connection, counting->items, counting->count,
                      counting->freed, counting->groups, counting->progress,
                      counting->opaque, status);
}

int
manage_usage (struct store *store, struct usage_item *items, size_t count,
              uint64_t *freed, size_t groups, progress_made progress,
              void *opaque, struct status *status)
{
  struct counting counting = {
    .items = items,
    .count = count,
    .freed = freed,
    .groups = groups,
    .progress = progress,
    .opaque = opaque,
  };

  return store_look (store, look_at_usage, &counting, status);
}

static int
look_at_file (struct connection *connection, void *opaque,
              struct status *status)
{
  static const char free_sql[] = "PRAGMA freelist_count";
  static const char waiting_sql[] = "SELECT count (*) FROM reclaim";
  struct manage_file *file = opaque;
  int64_t page_size, free_pages, waiting;

  if (connection_page_size (connection, &page_size, status) == -1 ||
      connection_integer (connection, free_sql, &free_pages, status) == -1 ||
      connection_integer (connection, waiting_sql, &waiting, status) == -1)
    return -1;
  file->page_size = page_size;
  file->free = free_pages * page_size;
  file->reclaimable = waiting;
  file->format = DATABASE_FORMAT;
  return 0;
}

/* The size of a file in bytes, 0 where there is none. */
static uint64_t
size_of (const char *path)
{
  struct stat st;

  return stat (path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

int
manage_file (struct store *store, struct manage_file *file,
             struct status *status)
{
  char *log = files_side (store_path (store), "-wal");

  if (log == NULL)
    return status_no_memory (status);
  file->size = size_of (store_path (store));
  file->log = size_of (log);
  free (log);
  return store_look (store, look_at_file, file, status);
}

/*--------------------------------------------------------------------
 * Freezing.
 */

/* Hold what the target shows now. */
static int
freeze (struct connection *connection, void *opaque, struct status *status)
{
  struct request *request = opaque;
  struct disk_info *disk = &request->disk;

  if (find_target (connection, request, status) == -1 ||
      snapshots_hold (connection, disk, &request->snapshot, &request->held,
                      status) == -1)
    return -1;
  if (request->snapshot.id != 0)
    snapshots_as_disk (&request->snapshot, disk);
  disk->snapshot = request->held;
  return 0;
}

static int
thaw (struct connection *connection, void *opaque, struct status *status)
{
  const int64_t *held = opaque;

  return snapshots_release (connection, *held, status);
}

struct disk *
manage_freeze (struct store *store, const char *target, struct status *status)
{
  struct request request = { .target = target };
  struct disk *disk = NULL;
  int guard;

  if (store_look (store, find_target, &request, status) == -1)
    return NULL;
  /* What is read without its log cannot be frozen, and need not be: when it
   * changes, reading fails.
   */
  guard = store_is_immutable (store)
              ? -1
              : guard_keep_rows (store_path (store), status);
  if (guard == -1)
    return store_is_immutable (store) || request.snapshot.id != 0
               ? disk_open (store, target, true, status)
               : NULL;
  if (store_change (store, freeze, &request, status) == 0)
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
manage_thaw (struct store *store, struct disk *disk)
{
  int64_t held = disk_get_info (disk)->snapshot;
  struct status ignored;

  /* Where it fails, manage_reclaim does it one day. */
  if (disk_has_guard (disk))
    store_change (store, thaw, &held, &ignored);
  disk_close (disk);
}
