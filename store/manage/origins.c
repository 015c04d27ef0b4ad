/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a clone was made from, for manage.h.
 *
 *   web@5 ──► layer 7 as of 5            test@1 ──► layer 8 as of 2
 *   web@6 ──► layer 7 as of 6                          └─► layer 7 as of 5
 *
 * So test@1 shows what web@5 does, but for its own rows, and before that what
 * older snapshots of layer 7 do; not what web@6 does.
 */

#include <config.h>

#include <stdlib.h>

#include "base/grow.h"
#include "engine/engine.h"
#include "manage/calls.h"
#include "manage.h"
#include "rows/layers.h"
#include "rows/snapshots.h"

struct origin {
  struct snapshot_info info;
  size_t depth; /* layers above it */
};

struct origins {
  const struct snapshot_info *snapshot;
  struct view view; /* what that shows */
  struct origin *list;
  size_t count;
  bool no_memory;
};

/* Keep what the snapshot stands on. */
static int
add_origin (const struct snapshot_info *info, void *opaque)
{
  struct origins *origins = opaque;
  const struct view *view = &origins->view;
  struct origin *list;
  size_t i = 0;

  while (i < view->depth && view->layers[i].layer != info->layer)
    i++;
  if (info->disk == origins->snapshot->disk || i == view->depth ||
      info->generation > view->layers[i].generation)
    return 0;
  list = grow (origins->list, origins->count, sizeof *list);
  origins->no_memory = list == NULL;
  if (list == NULL)
    return 1;
  origins->list = list;
  list[origins->count++] = (struct origin){ .info = *info, .depth = i };
  return 0;
}

/* The nearest first. */
static int
compare_origins (const void *a, const void *b)
{
  const struct origin *first = a, *second = b;

  if (first->depth != second->depth)
    return first->depth < second->depth ? -1 : 1;
  if (first->info.generation != second->info.generation)
    return first->info.generation > second->info.generation ? -1 : 1;
  return first->info.id > second->info.id   ? -1
         : first->info.id < second->info.id ? 1
                                            : 0;
}

static int
find_origins (struct connection *connection, struct origins *origins,
              struct status *status)
{
  const struct snapshot_info *snapshot = origins->snapshot;

  if (view_layers (connection, snapshot->layer, snapshot->generation,
                   &origins->view, status) == -1 ||
      snapshots_list (connection, 0, add_origin, origins, status) == -1)
    return -1;
  return origins->no_memory ? status_no_memory (status) : 0;
}

int
manage_list_origins (struct store *store, const struct snapshot_info *snapshot,
                     int (*found) (const struct snapshot_info *info,
                                   void *opaque),
                     void *opaque, struct status *status)
{
  struct origins origins = { .snapshot = snapshot };
  struct manage_call call = { .snapshot = *snapshot };
  int r;

  if (store_remote (store)) {
    r = calls_ask (store, &call_manage_list_origins, &call, status);
    for (size_t i = 0; r == 0 && i < call.list_count; i++)
      if (found (&call.list[i], opaque) != 0)
        break;
    return r;
  }
  r = STORE_READ (store, status, connection,
                  find_origins (connection, &origins, status));
  if (r == 0 && origins.count > 0)
    qsort (origins.list, origins.count, sizeof *origins.list, compare_origins);
  for (size_t i = 0; r == 0 && i < origins.count; i++)
    if (found (&origins.list[i].info, opaque) != 0)
      break;
  free (origins.list);
  view_free (&origins.view);
  return r;
}
