/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Bookmarks of disks, for manage.h; what they are, bookmarks.h says. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "base/sane.h"
#include "engine/engine.h"
#include "manage/calls.h"
#include "manage.h"
#include "manage/request.h"
#include "rows/bookmarks.h"
#include "rows/disks.h"
#include "rows/snapshots.h"

/* Check that NAME can be that of a new bookmark.  It has no '#', so that the
 * last one of DISK#BOOKMARK is between the two.
 */
int
manage_check_bookmark (const char *name, struct status *status)
{
  if (strchr (name, '#'))
    return status_fail (status, EINVAL,
                        "the name of a bookmark cannot have a '#' in it");
  return sane_check ("the name of a bookmark", name, BOOKMARK_NAME_MAX, status);
}

/* A bookmark that is to be made. */
struct making {
  struct request request;
  const char *name;
};

static int
change_create (struct connection *connection, void *opaque,
               struct status *status)
{
  struct making *making = opaque;

  if (request_find_snapshot (connection, &making->request, false, status) == -1)
    return -1;
  return bookmarks_create (connection, &making->request.snapshot, making->name,
                           status);
}

int
manage_bookmark (struct store *store, const char *target, const char *name,
                 struct status *status)
{
  struct making making = { .request.target = target, .name = name };

  if (store_remote (store))
    return calls_ask (store, &call_manage_bookmark,
                      &(struct manage_call){ .target = target, .name = name },
                      status);
  if (manage_check_bookmark (name, status) == -1)
    return -1;
  return store_change (store, change_create, &making, status);
}

/*--------------------------------------------------------------------
 * Finding.
 */

/* Append a bookmark's name to the message in OPAQUE while there is room. */
static int
append_name (const struct bookmark_info *info, void *opaque)
{
  return status_list_name (opaque, info->name);
}

/* There is a bookmark. */
static int
note_bookmark (const struct bookmark_info *info, void *opaque)
{
  (void)info;
  *(bool *)opaque = true;
  return 1;
}

/* DISK has no bookmark NAME; say which it has. */
static int
fail_unknown (struct connection *connection, const struct disk_info *disk,
              const char *name, struct status *status)
{
  struct status list;
  bool any = false;

  if (bookmarks_list (connection, disk, note_bookmark, &any, status) == -1)
    return -1;
  status_fail (&list, ENOENT, "disk '%s' has no bookmark '%.*s'; %s",
               disk->name, BOOKMARK_NAME_MAX, name,
               any ? "it has:" : "it has none");
  if (bookmarks_list (connection, disk, append_name, &list, status) == -1)
    return -1;
  *status = list;
  return -1;
}

/* TARGET, DISK#BOOKMARK, as its two parts. */
struct parts {
  char disk[DISK_NAME_MAX + 1];
  const char *name; /* points into the target */
};

static int
split_target (const char *target, struct parts *parts, struct status *status)
{
  const char *hash = strrchr (target, '#');

  if (hash == NULL || hash == target || hash - target > DISK_NAME_MAX)
    return status_fail (status, EINVAL,
                        "'%.*s' is no bookmark; give DISK#BOOKMARK",
                        BOOKMARK_TARGET_MAX, target);
  snprintf (parts->disk, sizeof parts->disk, "%.*s", (int)(hash - target),
            target);
  parts->name = hash + 1;
  return 0;
}

/* Split TARGET, and find its disk. */
static int
find_disk (struct connection *connection, const char *target,
           struct parts *parts, struct disk_info *disk, struct status *status)
{
  if (split_target (target, parts, status) == -1)
    return -1;
  return snapshots_find_disk (connection, parts->disk, disk, status);
}

static int
find_bookmark (struct connection *connection, const char *target,
               struct bookmark_info *info, struct status *status)
{
  struct disk_info disk;
  struct parts parts;
  int r;

  if (find_disk (connection, target, &parts, &disk, status) == -1)
    return -1;
  r = bookmarks_find (connection, &disk, parts.name, info, status);
  if (r == 0)
    return fail_unknown (connection, &disk, parts.name, status);
  return r == -1 ? -1 : 0;
}

int
manage_find_bookmark (struct store *store, const char *target,
                      struct bookmark_info *info, struct status *status)
{
  struct manage_call call = { .target = target };
  int r;

  if (store_remote (store)) {
    r = calls_ask (store, &call_manage_find_bookmark, &call, status);
    *info = call.bookmark;
    return r;
  }
  return STORE_READ (store, status, connection,
                     find_bookmark (connection, target, info, status));
}

/* Each snapshot raises the generation of its layer, and a disk that goes on
 * from something else does so on a younger layer.
 */
bool
manage_is_later (const struct snapshot_info *snapshot,
                 const struct bookmark_info *bookmark)
{
  return snapshot->layer > bookmark->layer ||
         (snapshot->layer == bookmark->layer &&
          snapshot->generation > bookmark->generation);
}

/*--------------------------------------------------------------------
 * Deleting.
 */

struct deleting {
  const char *const *targets;
  size_t count;
};

static int
delete_bookmark (struct connection *connection, const char *target,
                 struct status *status)
{
  struct disk_info disk;
  struct parts parts;
  int r;

  if (find_disk (connection, target, &parts, &disk, status) == -1)
    return -1;
  r = bookmarks_delete (connection, &disk, parts.name, status);
  if (r == 0)
    return fail_unknown (connection, &disk, parts.name, status);
  return r == -1 ? -1 : 0;
}

static int
change_delete (struct connection *connection, void *opaque,
               struct status *status)
{
  const struct deleting *deleting = opaque;
  int r = 0;

  connection_frees_space (connection);
  for (size_t i = 0; r == 0 && i < deleting->count; i++)
    r = delete_bookmark (connection, deleting->targets[i], status);
  return r;
}

int
manage_delete_bookmarks (struct store *store, const char *const *targets,
                         size_t count, struct status *status)
{
  struct deleting deleting = { targets, count };

  if (store_remote (store))
    return calls_ask (
        store, &call_manage_delete_bookmarks,
        &(struct manage_call){ .targets = targets, .target_count = count },
        status);
  return store_change (store, change_delete, &deleting, status);
}

/*--------------------------------------------------------------------
 * Lists.
 */

/* The disks whose bookmarks are listed, gathered before their rows are read. */
struct disks {
  struct disk_info *list;
  size_t count;
  bool no_memory;
};

static int
add_disk (const struct disk_info *info, void *opaque)
{
  struct disks *disks = opaque;
  struct disk_info *list = grow (disks->list, disks->count, sizeof *list);

  disks->no_memory = list == NULL;
  if (list == NULL)
    return 1;
  disks->list = list;
  list[disks->count++] = *info;
  return 0;
}

/* Who is told, until he has heard enough. */
struct listener {
  int (*found) (const struct bookmark_info *info, void *opaque);
  void *opaque;
  bool ended;
};

static int
tell (const struct bookmark_info *info, void *opaque)
{
  struct listener *listener = opaque;

  listener->ended = listener->found (info, listener->opaque) != 0;
  return listener->ended;
}

static int
list_bookmarks (struct connection *connection, const char *disk,
                struct listener *listener, struct status *status)
{
  struct disks disks = { 0 };
  struct disk_info info;
  int r;

  if (disk) {
    if (snapshots_find_disk (connection, disk, &info, status) == -1)
      return -1;
    return bookmarks_list (connection, &info, tell, listener, status);
  }
  r = disks_list (connection, add_disk, &disks, status);
  if (r == 0 && disks.no_memory)
    r = status_no_memory (status);
  for (size_t i = 0; r == 0 && !listener->ended && i < disks.count; i++)
    r = bookmarks_list (connection, &disks.list[i], tell, listener, status);
  free (disks.list);
  return r;
}

int
manage_list_bookmarks (struct store *store, const char *disk,
                       int (*found) (const struct bookmark_info *info,
                                     void *opaque),
                       void *opaque, struct status *status)
{
  struct listener listener = { found, opaque, false };
  struct manage_call call = { .disk = disk };

  if (store_remote (store)) {
    if (calls_ask (store, &call_manage_list_bookmarks, &call, status) == -1)
      return -1;
    for (size_t i = 0; i < call.bookmark_count; i++)
      if (found (&call.bookmarks[i], opaque) != 0)
        break;
    return 0;
  }
  return STORE_READ (store, status, connection,
                     list_bookmarks (connection, disk, &listener, status));
}
