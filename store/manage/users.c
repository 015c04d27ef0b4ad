/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Who has what open, as far as locks tell (guard.h), and what is on its way in
 * or is being copied.  See manage.h.
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "engine/engine.h"
#include "manage/calls.h"
#include "manage.h"
#include "rows/columns.h"
#include "sqlite/guard.h"

/* Uses that were found, and what is at hand. */
struct search {
  const char *path;
  struct manage_use *uses;
  size_t count;
  struct manage_use at;
  bool no_memory;
};

/* Who has what is at hand. */
static void
note (const char *who, void *opaque)
{
  struct search *search = opaque;
  struct manage_use *uses =
      grow (search->uses, search->count, sizeof *search->uses);

  search->no_memory |= uses == NULL;
  if (uses == NULL)
    return;
  search->uses = uses;
  uses[search->count] = search->at;
  snprintf (uses[search->count].who, sizeof uses->who, "%s", who);
  search->count++;
}

/* Look at the locks of a disk or of a snapshot. */
static void
look_at (struct search *search, sqlite3_stmt *row)
{
  const char *name = (const char *)sqlite3_column_text (row, 2);
  const int64_t id = sqlite3_column_int64 (row, 1);
  enum guard_holder holder = GUARD_FREE;

  search->at = (struct manage_use){
    .kind = sqlite3_column_int (row, 0),
    .since = sqlite3_column_int64 (row, 3),
  };
  snprintf (search->at.target, sizeof search->at.target, "%s",
            name ? name : "");
  switch (search->at.kind) {
  case MANAGE_READ:
    guard_find_readers (search->path, id, note, search);
    break;
  case MANAGE_PINNED:
    note ("", search);
    break;
  default:
    holder = guard_find_holder (search->path, id, note, search);
  }
  /* A copy shares the lock, and writes no name there. */
  if (holder == GUARD_COPY) {
    search->at.kind = MANAGE_COPIED;
    note ("", search);
  }
}

static int
find_uses (struct connection *connection, struct search *search,
           struct status *status)
{
  /* By the numbers of enum manage_use_kind. */
  static const char all_sql[] =
      "SELECT iif (name LIKE '%" DISK_RECEIVING "', 4, 0), id, name, 0"
      " FROM disk"
      " UNION ALL SELECT iif (snapshot.name LIKE '" SNAPSHOT_COPY "%', 3, 1),"
      "  snapshot.id, iif (snapshot.name LIKE '" SNAPSHOT_COPY "%',"
      "   disk.name, disk.name || '@' || snapshot.name),"
      "  iif (snapshot.name LIKE '" SNAPSHOT_COPY "%', snapshot.created, 0)"
      " FROM snapshot JOIN disk ON disk.id = snapshot.disk";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, all_sql, status);
  int r;

  if (rows == NULL)
    return -1;
  while ((r = connection_step (connection, rows, status)) == 1)
    look_at (search, rows);
  return r == 0 && search->no_memory ? status_no_memory (status) : r;
}

int
manage_list_uses (struct store *store,
                  int (*found) (const struct manage_use *use, void *opaque),
                  void *opaque, struct status *status)
{
  struct search search = { .count = 0 };
  struct manage_call call = { .uses = NULL };
  int r;

  if (store_remote (store)) {
    r = calls_ask (store, &call_manage_list_uses, &call, status);
    for (size_t i = 0; r == 0 && i < call.use_count; i++)
      if (found (&call.uses[i], opaque) != 0)
        break;
    return r;
  }
  search.path = store_path (store);
  r = STORE_READ (store, status, connection,
                  find_uses (connection, &search, status));
  for (size_t i = 0; r == 0 && i < search.count; i++)
    if (found (&search.uses[i], opaque) != 0)
      break;
  free (search.uses);
  return r;
}
