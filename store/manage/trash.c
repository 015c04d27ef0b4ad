/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What lies in the trash: see manage.h, and rows/trash.h.  A disk gets there by
 * manage_discard (manage.c).
 */

#include <config.h>

#include <errno.h>

#include "base/sane.h"
#include "engine/engine.h"
#include "manage/calls.h"
#include "manage.h"
#include "manage/manage-parts.h"
#include "manage/request.h"
#include "rows/snapshots.h"
#include "rows/trash.h"

int
manage_list_trash (struct store *store,
                   int (*found) (const struct trashed_disk *disk, void *opaque),
                   void *opaque, struct status *status)
{
  struct manage_call call = { .trash = NULL };

  if (store_remote (store) == NULL)
    return STORE_READ (store, status, connection,
                       trash_list (connection, found, opaque, status));
  if (calls_ask (store, &call_manage_list_trash, &call, status) == -1)
    return -1;
  for (size_t i = 0; i < call.trash_count; i++)
    if (found (&call.trash[i], opaque) != 0)
      break;
  return 0;
}

/* The snapshots of disks in the trash: whom they are told to. */
struct listing {
  struct connection *connection;
  int (*found) (const struct snapshot_info *info, void *opaque);
  void *opaque;
  struct status *status;
  int result;
  bool ended;
};

static int
tell_snapshot (const struct snapshot_info *info, void *opaque)
{
  struct listing *listing = opaque;

  listing->ended = listing->found (info, listing->opaque) != 0;
  return listing->ended;
}

static int
list_snapshots_of (const struct trashed_disk *disk, void *opaque)
{
  struct listing *listing = opaque;

  listing->result = snapshots_list (listing->connection, disk->disk.id,
                                    tell_snapshot, listing, listing->status);
  return listing->result == -1 || listing->ended;
}

static int
list_snapshots (struct connection *connection, struct listing *listing,
                struct status *status)
{
  struct status failure;

  listing->connection = connection;
  listing->status = &failure;
  if (trash_list (connection, list_snapshots_of, listing, status) == -1)
    return -1;
  if (listing->result == -1)
    *status = failure;
  return listing->result;
}

int
manage_list_trash_snapshots (struct store *store,
                             int (*found) (const struct snapshot_info *info,
                                           void *opaque),
                             void *opaque, struct status *status)
{
  struct listing listing = { .found = found, .opaque = opaque };
  struct manage_call call = { .list = NULL };

  if (store_remote (store) == NULL)
    return STORE_READ (store, status, connection,
                       list_snapshots (connection, &listing, status));
  if (calls_ask (store, &call_manage_list_trash_snapshots, &call, status) == -1)
    return -1;
  for (size_t i = 0; i < call.list_count; i++)
    if (found (&call.list[i], opaque) != 0)
      break;
  return 0;
}

/*--------------------------------------------------------------------
 * Out of the trash.
 */

static int
undelete (struct connection *connection, void *opaque, struct status *status)
{
  const struct request *request = opaque;
  const char *name = request->name;
  struct trashed_disk disk;

  if (trash_find (connection, request->trashed, &disk, status) == -1)
    return -1;
  if (name == NULL && disk.name[0] == '\0')
    return status_fail (status, EINVAL,
                        "what the disk was called cannot be read; say what it "
                        "is to be called now");
  return trash_take_out (connection, &disk, name ? name : disk.name, status);
}

static int
undelete_or_try (struct store *store, bool only_try, int64_t id,
                 const char *name, struct status *status)
{
  struct request request = {
    .trashed = id,
    .name = name,
    .change = undelete,
  };

  if (name &&
      sane_check ("the name of a disk", name, DISK_NAME_MAX, status) == -1)
    return -1;
  return manage_change (store, only_try, &request, status);
}

int
manage_undelete (struct store *store, int64_t id, const char *name,
                 struct status *status)
{
  if (store_remote (store))
    return calls_ask (store, &call_manage_undelete,
                      &(struct manage_call){ .id = id, .name = name }, status);
  return undelete_or_try (store, false, id, name, status);
}

int
manage_try_undelete (struct store *store, int64_t id, const char *name,
                     struct status *status)
{
  if (store_remote (store))
    return calls_ask (store, &call_manage_try_undelete,
                      &(struct manage_call){ .id = id, .name = name }, status);
  return undelete_or_try (store, true, id, name, status);
}

/*--------------------------------------------------------------------
 * Emptying it.
 */

/* A disk in the trash is deleted as any other, with its snapshots. */
static int
purge_or_try (struct store *store, bool only_try,
              const struct trashed_disk *disk, struct status *status)
{
  struct request request = {
    .trashed = disk->disk.id,
    .listed = disk,
    .snapshots = true,
  };

  /* With 0 the request would name the oldest disk. */
  if (disk->disk.id < 1)
    return trash_fail_unknown (disk->disk.id, status);
  return manage_delete_requested (store, only_try, &request, status);
}

int
manage_purge (struct store *store, const struct trashed_disk *disk,
              struct status *status)
{
  if (store_remote (store))
    return calls_ask (store, &call_manage_purge,
                      &(struct manage_call){ .trashed = *disk }, status);
  return purge_or_try (store, false, disk, status);
}

int
manage_try_purge (struct store *store, const struct trashed_disk *disk,
                  struct status *status)
{
  if (store_remote (store))
    return calls_ask (store, &call_manage_try_purge,
                      &(struct manage_call){ .trashed = *disk }, status);
  return purge_or_try (store, true, disk, status);
}
