/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Partial receptions: see partial.h. */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/sane.h"
#include "rows/columns.h"
#include "rows/partial.h"
#include "rows/properties.h"

/* Room for the value. */
#define VALUE_MAX (6 * 24 + SNAPSHOT_NAME_MAX)

int
partial_put (struct connection *connection, int64_t id,
             const struct partial_info *info, struct status *status)
{
  char value[VALUE_MAX];

  /* Always as long, so that no row moves when the file system is full. */
  snprintf (value, sizeof value,
            "%011" PRId64 " %020" PRIu64 " %020" PRIu64 " %07" PRIu32
            " %016" PRIx64 " %016" PRIx64 " %s",
            info->updated, info->position, info->size, info->block_size,
            (uint64_t)info->guid, (uint64_t)info->base_guid, info->snapshot);
  return properties_set_text (connection, PROPERTY_DISK, id, PARTIAL_KEY, value,
                              status);
}

int
partial_drop (struct connection *connection, int64_t id, struct status *status)
{
  return properties_remove (connection, PROPERTY_DISK, id, PARTIAL_KEY,
                            status) == -1
             ? -1
             : 0;
}

/* Fill INFO from VALUE.  Returns false where it is something else. */
static bool
read_value (const char *value, struct partial_info *info)
{
  uint64_t guid, base;
  int end = -1;

  if (sscanf (value,
              "%" SCNd64 " %" SCNu64 " %" SCNu64 " %" SCNu32 " %16" SCNx64
              " %16" SCNx64 "%n",
              &info->updated, &info->position, &info->size, &info->block_size,
              &guid, &base, &end) != 6 ||
      end == -1 || value[end] != ' ' ||
      !sane_name (value + end + 1, SNAPSHOT_NAME_MAX))
    return false;
  info->guid = guid;
  info->base_guid = base;
  strcpy (info->snapshot, value + end + 1);
  return guid != 0 && info->size > 0 && info->size <= INT64_MAX &&
         sane_geometry (info->size, info->block_size) && info->position > 0 &&
         info->position <= info->size;
}

/* Fill INFO from a row: the disk's id and name, the value, and whether both
 * checksums are right.  Returns false where it is damaged.
 */
static bool
info_from_row (sqlite3_stmt *row, struct partial_info *info)
{
  const char *name = (const char *)sqlite3_column_text (row, 1);
  const char *value = (const char *)sqlite3_column_text (row, 2);
  const size_t length = name ? strlen (name) : 0;
  const size_t behind = sizeof DISK_RECEIVING - 1;

  *info = (struct partial_info){ .id = sqlite3_column_int64 (row, 0) };
  if (!sqlite3_column_int (row, 3) || length <= behind ||
      length - behind > DISK_NAME_MAX || value == NULL ||
      strlen (value) != (size_t)sqlite3_column_bytes (row, 2))
    return false;
  snprintf (info->disk_name, sizeof info->disk_name, "%.*s",
            (int)(length - behind), name);
  return read_value (value, info);
}

#define PARTIALS                                                               \
  "SELECT disk.id, disk.name, property.value,"                                 \
  " property.checksum = " PROPERTY_CHECKSUM                                    \
  " AND disk.checksum = " DISK_CHECKSUM                                        \
  " FROM disk JOIN property ON property.kind = 1"                              \
  " AND property.owner = disk.id AND property.key = '" PARTIAL_KEY "'"         \
  " WHERE disk.name LIKE '%" DISK_RECEIVING "'"                                \
  " AND CAST (property.value AS INTEGER) > ?1 - " PARTIAL_KEPT

/* Find the one row of FIND and fill INFO from it. */
static int
find_one (struct connection *connection, sqlite3_stmt *find,
          struct partial_info *info, struct status *status)
{
  int r;

  sqlite3_bind_int64 (find, 1, time (NULL));
  r = connection_step (connection, find, status);
  return r == 1 ? info_from_row (find, info) : r;
}

int
partial_find (struct connection *connection, const char *name,
              struct partial_info *info, struct status *status)
{
  static const char find_sql[] =
      PARTIALS " AND disk.name = ?2 || '" DISK_RECEIVING "'";
  CLEANUP_STATEMENT sqlite3_stmt *find =
      connection_statement (connection, find_sql, status);

  if (find == NULL)
    return -1;
  sqlite3_bind_text (find, 2, name, -1, SQLITE_STATIC);
  return find_one (connection, find, info, status);
}

int
partial_find_id (struct connection *connection, int64_t id,
                 struct partial_info *info, struct status *status)
{
  static const char find_sql[] = PARTIALS " AND disk.id = ?2";
  CLEANUP_STATEMENT sqlite3_stmt *find =
      connection_statement (connection, find_sql, status);

  if (find == NULL)
    return -1;
  sqlite3_bind_int64 (find, 2, id);
  return find_one (connection, find, info, status);
}

int
partial_list (struct connection *connection,
              int (*found) (const struct partial_info *info, void *opaque),
              void *opaque, struct status *status)
{
  static const char list_sql[] = PARTIALS " ORDER BY disk.id";
  CLEANUP_STATEMENT sqlite3_stmt *list =
      connection_statement (connection, list_sql, status);
  struct partial_info info;
  int r;

  if (list == NULL)
    return -1;
  sqlite3_bind_int64 (list, 1, time (NULL));
  while ((r = connection_step (connection, list, status)) > 0)
    if (info_from_row (list, &info) && strchr (info.disk_name, '/') == NULL &&
        found (&info, opaque))
      return 0;
  return r;
}
