/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Looking: what there is, what it stands on, and what it takes.  See manage.h.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/engine.h"
#include "manage/calls.h"
#include "manage.h"
#include "manage/request.h"
#include "rows/carried.h"
#include "rows/columns.h"
#include "rows/features.h"
#include "rows/formats.h"
#include "rows/properties.h"
#include "rows/quota.h"
#include "rows/snapshots.h"
#include "rows/totals.h"
#include "rows/trash.h"
#include "rows/usage.h"
#include "sqlite/files.h"

int
manage_find_snapshot (struct store *store, const char *target,
                      struct snapshot_info *info, struct status *status)
{
  struct request request = { .target = target };
  struct manage_call call = { .target = target };
  int r;

  if (store_remote (store)) {
    r = calls_ask (store, &call_manage_find_snapshot, &call, status);
    *info = call.snapshot;
    return r;
  }
  if (STORE_READ (store, status, connection,
                  request_find_snapshot (connection, &request, true, status)) ==
      -1)
    return -1;
  *info = request.snapshot;
  return 0;
}

static int
list_snapshots (struct connection *connection, const char *disk,
                int (*found) (const struct snapshot_info *info, void *opaque),
                void *opaque, struct status *status)
{
  struct request request = { .target = disk };

  if (disk && request_find_disk (connection, &request, status) == -1)
    return -1;
  return snapshots_list (connection, request.disk.id, found, opaque, status);
}

int
manage_list_snapshots (struct store *store, const char *disk,
                       int (*found) (const struct snapshot_info *info,
                                     void *opaque),
                       void *opaque, struct status *status)
{
  struct manage_call call = { .disk = disk };

  if (store_remote (store)) {
    if (calls_ask (store, &call_manage_list_snapshots, &call, status) == -1)
      return -1;
    for (size_t i = 0; i < call.list_count; i++)
      if (found (&call.list[i], opaque) != 0)
        break;
    return 0;
  }
  return STORE_READ (store, status, connection,
                     list_snapshots (connection, disk, found, opaque, status));
}

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
look_at_details (struct connection *connection, const char *target,
                 struct manage_details *details, struct status *status)
{
  struct request request = { .target = target };
  struct quota_state quota;
  int64_t count;

  if (request_find_target (connection, &request, status) == -1 ||
      snapshots_count (connection, request.disk.id, &count, status) == -1 ||
      quota_look (connection, request.disk.id, &quota, status) == -1)
    return -1;
  details->snapshots = request.snapshot.id == 0 ? count : 0;
  details->quota_used = quota.own + quota.others;
  details->quota_counted = quota.counted;
  return find_origin (connection, &request, details->origin,
                      sizeof details->origin, status);
}

int
manage_details (struct store *store, const char *target,
                struct manage_details *details, struct status *status)
{
  struct manage_call call = { .target = target };
  int r;

  if (store_remote (store)) {
    r = calls_ask (store, &call_manage_details, &call, status);
    *details = call.details;
    return r;
  }
  return STORE_READ (store, status, connection,
                     look_at_details (connection, target, details, status));
}

static int
read_properties (struct connection *connection, const char *target,
                 struct optional *list, struct status *status)
{
  struct request request = { .target = target };
  const bool file = strcmp (target, TARGET_DATABASE) == 0;
  int64_t id = 0;

  if (!file && request_find_target (connection, &request, status) == -1)
    return -1;
  if (request.snapshot.id)
    return properties_read (connection, PROPERTY_SNAPSHOT, request.snapshot.id,
                            list, status);
  if (!file)
    id = request.disk.id;
  return properties_read (connection, file ? PROPERTY_FILE : PROPERTY_DISK, id,
                          list, status) == -1
             ? -1
             : features_of_settings (connection, id, list, status);
}

/* Add what a server has read, as CALL has it, to LIST. */
static int
add_optional (const struct manage_call *call, struct optional *list,
              struct status *status)
{
  const struct optional *read = &call->optional;

  for (size_t i = 0; i < read->property_count; i++)
    if (optional_add_property (list, &read->properties[i], status) == -1)
      return -1;
  for (size_t i = 0; i < read->feature_count; i++)
    if (optional_add_feature (list, &read->features[i], status) == -1)
      return -1;
  return 0;
}

int
manage_properties (struct store *store, const char *target,
                   struct optional *list, struct status *status)
{
  struct manage_call call = { .target = target };

  if (store_remote (store))
    return calls_ask (store, &call_manage_properties, &call, status) == 0
               ? add_optional (&call, list, status)
               : -1;
  return STORE_READ (store, status, connection,
                     read_properties (connection, target, list, status));
}

int
manage_outgoing (struct store *store, const struct snapshot_info *snapshot,
                 bool whole, struct optional *list, struct status *status)
{
  struct manage_call call = { .snapshot = *snapshot, .whole = whole };

  if (store_remote (store))
    return calls_ask (store, &call_manage_outgoing, &call, status) == 0
               ? add_optional (&call, list, status)
               : -1;
  if (STORE_READ (store, status, connection,
                  carried_read (connection, snapshot->disk, snapshot->id, whole,
                                list, status)) == 0)
    return 0;
  return status_prefix (status, "disk '%s'", snapshot->disk_name);
}

/* The same as manage_usage, where a server has the database. */
static int
ask_for_usage (struct store *store, struct usage_item *items, size_t count,
               uint64_t *freed, size_t groups, progress_made progress,
               void *opaque, struct status *status)
{
  struct manage_call call = {
    .items = items,
    .item_count = count,
    .groups = groups,
  };
  const int r = calls_ask_long (store, &call_manage_usage, &call, progress,
                                opaque, status);
  /* Not where it has failed before it could count. */
  const bool counted = call.items != items && call.item_count == count &&
                       call.frees_count == groups;

  for (size_t i = 0; i < count; i++) {
    items[i].logical = counted ? call.items[i].logical : USAGE_UNKNOWN;
    items[i].stored = counted ? call.items[i].stored : USAGE_UNKNOWN;
    items[i].shared = counted ? call.items[i].shared : USAGE_UNKNOWN;
  }
  for (size_t i = 0; i < groups; i++)
    freed[i] = counted ? call.frees[i] : USAGE_UNKNOWN;
  return r == 0 && !counted
             ? status_fail (status, EIO, "the server has counted other things")
             : r;
}

int
manage_usage (struct store *store, struct usage_item *items, size_t count,
              uint64_t *freed, size_t groups, progress_made progress,
              void *opaque, struct status *status)
{
  if (store_remote (store))
    return ask_for_usage (store, items, count, freed, groups, progress, opaque,
                          status);
  return STORE_READ (store, status, connection,
                     usage_count (connection, items, count, freed, groups,
                                  progress, opaque, status));
}

static int
look_at_file (struct connection *connection, struct manage_file *file,
              struct status *status)
{
  static const char free_sql[] = "PRAGMA freelist_count";
  static const char waiting_sql[] = "SELECT count (*) FROM reclaim";
  int64_t page_size, free_pages, waiting, trash, format;

  if (connection_page_size (connection, &page_size, status) == -1 ||
      connection_integer (connection, free_sql, &free_pages, status) == -1 ||
      connection_integer (connection, waiting_sql, &waiting, status) == -1 ||
      trash_count (connection, &trash, status) == -1 ||
      formats_number (connection, &format, status) == -1)
    return -1;
  file->page_size = page_size;
  file->free = free_pages * page_size;
  file->reclaimable = waiting;
  file->trash = trash;
  file->format = format;
  return 0;
}

int
manage_file (struct store *store, struct manage_file *file,
             struct status *status)
{
  struct manage_call call = { .size = 0 };
  int r;

  if (store_remote (store)) {
    r = calls_ask (store, &call_manage_file, &call, status);
    *file = call.file;
    return r;
  }
  file->size = files_bytes (store_path (store), "");
  file->log = files_bytes (store_path (store), "-wal");
  file->room = files_room (store_path (store));
  return STORE_READ (store, status, connection,
                     look_at_file (connection, file, status));
}

int
manage_totals (struct store *store, struct totals *totals,
               progress_made progress, void *opaque, struct status *status)
{
  struct manage_call call = { .size = 0 };
  int r;

  if (store_remote (store)) {
    r = calls_ask_long (store, &call_manage_totals, &call, progress, opaque,
                        status);
    *totals = call.totals;
    return r;
  }
  *totals = (struct totals){ .pages = 0 };
  return STORE_READ (
      store, status, connection,
      totals_count (connection, totals, progress, opaque, status));
}
