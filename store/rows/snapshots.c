/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Snapshots: see snapshots.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/sane.h"
#include "rows/features.h"
#include "rows/properties.h"
#include "rows/snapshots.h"
#include "base/times.h"

/* A snapshot, and what of its disk belongs to it. */
enum { SNAPSHOT_DISK_NAME = SNAPSHOT_COLUMNS, SNAPSHOT_BLOCK_SIZE };
#define SNAPSHOT_INFO                                                          \
  SNAPSHOT_SELECT ", disk.name, disk.block_size"                               \
                  " FROM snapshot JOIN disk ON disk.id = snapshot.disk"

/* A change of a row failed; say so where the name is taken. */
static int
fail_taken (struct connection *connection, const char *name,
            struct status *status)
{
  if (sqlite3_extended_errcode (connection->db) == SQLITE_CONSTRAINT_UNIQUE)
    return status_fail (status, EEXIST,
                        "the disk has a snapshot '%s' already; give another "
                        "name, or delete that one",
                        name);
  return -1;
}

/* The row of snapshot ID was changed. */
static int
set_checksum (struct connection *connection, int64_t id, struct status *status)
{
  static const char checksum_sql[] =
      "UPDATE snapshot SET checksum = " SNAPSHOT_CHECKSUM " WHERE id = ?1";

  return connection_run_for (connection, checksum_sql, id, status);
}

/* Insert a row with what ROW says, of the disk as it is now or was. */
static int
insert_row (struct connection *connection, const struct snapshot_info *row,
            int64_t *id, struct status *status)
{
  static const char insert_sql[] =
      "INSERT INTO snapshot (disk, name, guid, layer, generation, size,"
      " created, automatic, last_block, checksum)"
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,"
      " max (ifnull ((SELECT max (id) FROM block), 0),"
      " ifnull ((SELECT max (last_block) FROM snapshot), 0)), 0)";
  CLEANUP_STATEMENT sqlite3_stmt *insert =
      connection_statement (connection, insert_sql, status);

  if (insert == NULL ||
      features_allow (connection, row->disk, FEATURE_CHANGE, status) == -1)
    return -1;
  sqlite3_bind_int64 (insert, 1, row->disk);
  sqlite3_bind_text (insert, 2, row->name, -1, SQLITE_STATIC);
  sqlite3_bind_int64 (insert, 3, row->guid);
  sqlite3_bind_int64 (insert, 4, row->layer);
  sqlite3_bind_int64 (insert, 5, row->generation);
  sqlite3_bind_int64 (insert, 6, row->size);
  sqlite3_bind_int64 (insert, 7, row->created);
  sqlite3_bind_int (insert, 8, row->automatic);
  if (connection_step (connection, insert, status) == -1)
    return fail_taken (connection, row->name, status);
  *id = sqlite3_last_insert_rowid (connection->db);
  return set_checksum (connection, *id, status);
}

int
snapshots_create (struct connection *connection, const struct disk_info *disk,
                  const char *name, bool automatic, int64_t guid,
                  int64_t created, int64_t *id, struct status *status)
{
  struct snapshot_info row = {
    .disk = disk->id,
    .guid = guid,
    .created = created ? created : time (NULL),
    .automatic = automatic,
  };
  struct layer_point head;
  struct disk_info now;
  int r;

  while (row.guid == 0)
    sqlite3_randomness (sizeof row.guid, &row.guid);
  snprintf (row.name, sizeof row.name, "%s", name);
  /* The caller may have looked at the disk before this transaction. */
  r = disks_find_id (connection, disk->id, &now, status);
  if (r == 0)
    return status_fail (status, ENOENT, "the disk is gone");
  if (r == -1 || disks_head (connection, disk->id, &head, status) == -1)
    return -1;
  row.size = now.size;
  row.layer = head.layer;
  row.generation = head.generation;
  if (insert_row (connection, &row, id, status) == -1)
    return -1;
  return layer_set_generation (connection, head.layer, head.generation + 1,
                               status);
}

/* Fill INFO from a row of SNAPSHOT_INFO; -1 and EIO for a damaged one.  The
 * size of the blocks of one that is only listed may be any.
 */
static int
info_from_row (struct connection *connection, sqlite3_stmt *row,
               struct snapshot_info *info, struct status *status)
{
  const char *disk_name =
      (const char *)sqlite3_column_text (row, SNAPSHOT_DISK_NAME);
  const char *name = (const char *)sqlite3_column_text (row, SNAPSHOT_NAME);
  enum disk_access access;

  if (features_access (connection, sqlite3_column_int64 (row, SNAPSHOT_DISK),
                       &access, NULL, status) == -1)
    return -1;
  if (!sqlite3_column_int (row, SNAPSHOT_SUM) ||
      !sane_name (disk_name, DISK_NAME_MAX) ||
      !sane_name (name, SNAPSHOT_NAME_MAX) ||
      (access != DISK_REFUSED &&
       !sane_geometry (sqlite3_column_int64 (row, SNAPSHOT_SIZE),
                       sqlite3_column_int64 (row, SNAPSHOT_BLOCK_SIZE))))
    return status_fail (status, EIO,
                        "the row of snapshot number %lld is damaged; restore "
                        "the database from a backup",
                        sqlite3_column_int64 (row, SNAPSHOT_ID));
  *info = (struct snapshot_info){
    .id = sqlite3_column_int64 (row, SNAPSHOT_ID),
    .disk = sqlite3_column_int64 (row, SNAPSHOT_DISK),
    .guid = sqlite3_column_int64 (row, SNAPSHOT_GUID),
    .layer = sqlite3_column_int64 (row, SNAPSHOT_LAYER),
    .generation = sqlite3_column_int64 (row, SNAPSHOT_GENERATION),
    .size = sqlite3_column_int64 (row, SNAPSHOT_SIZE),
    .block_size = sqlite3_column_int64 (row, SNAPSHOT_BLOCK_SIZE),
    .created = sqlite3_column_int64 (row, SNAPSHOT_CREATED),
    .automatic = sqlite3_column_int (row, SNAPSHOT_AUTOMATIC),
    .access = access,
  };
  strcpy (info->disk_name, disk_name);
  strcpy (info->name, name);
  return 0;
}

/* Fill INFO from the row that FIND returns.  Returns 1, 0 for none, -1. */
static int
find_info (struct connection *connection, sqlite3_stmt *find,
           struct snapshot_info *info, struct status *status)
{
  const int r = connection_step (connection, find, status);

  return r == 1 && info_from_row (connection, find, info, status) == -1 ? -1
                                                                        : r;
}

static int
find_by_name (struct connection *connection, int64_t disk, const char *name,
              struct snapshot_info *info, struct status *status)
{
  static const char by_name_sql[] =
      SNAPSHOT_INFO " WHERE snapshot.disk = ?1 AND snapshot.name = ?2";
  CLEANUP_STATEMENT sqlite3_stmt *find =
      connection_statement (connection, by_name_sql, status);

  if (find == NULL)
    return -1;
  sqlite3_bind_int64 (find, 1, disk);
  sqlite3_bind_text (find, 2, name, -1, SQLITE_STATIC);
  return find_info (connection, find, info, status);
}

/* The newest by order that was made not after SECONDS. */
static int
find_by_time (struct connection *connection, int64_t disk, int64_t seconds,
              struct snapshot_info *info, struct status *status)
{
  static const char by_time_sql[] =
      SNAPSHOT_INFO " WHERE snapshot.disk = ?1 AND snapshot.created <= ?2"
                    " AND snapshot.name NOT LIKE '%/%'"
                    " ORDER BY snapshot.id DESC LIMIT 1";
  CLEANUP_STATEMENT sqlite3_stmt *find =
      connection_statement (connection, by_time_sql, status);

  if (find == NULL)
    return -1;
  sqlite3_bind_int64 (find, 1, disk);
  sqlite3_bind_int64 (find, 2, seconds);
  return find_info (connection, find, info, status);
}

int
snapshots_find (struct connection *connection, int64_t disk, const char *name,
                struct snapshot_info *info, struct status *status)
{
  const int r = find_by_name (connection, disk, name, info, status);
  int64_t seconds;

  if (r != 0 || !times_parse (name, &seconds))
    return r;
  return find_by_time (connection, disk, seconds, info, status);
}

/* Append a snapshot's name to the message in OPAQUE while there is room. */
static int
append_name (const struct snapshot_info *info, void *opaque)
{
  return status_list_name (opaque, info->name);
}

/* There is no snapshot NAME; say which there are. */
static int
fail_unknown (struct connection *connection, const struct disk_info *disk,
              const char *name, struct status *status)
{
  int64_t seconds, count;
  struct status list;

  if (snapshots_count (connection, disk->id, &count, status) == -1)
    return -1;
  if (times_parse (name, &seconds))
    status_fail (&list, ENOENT,
                 "disk '%s' has no snapshot that was made by %.*s; it has%s",
                 disk->name, SNAPSHOT_NAME_MAX, name, count ? ":" : " none");
  else
    status_fail (&list, ENOENT, "disk '%s' has no snapshot '%.*s'; it has%s",
                 disk->name, SNAPSHOT_NAME_MAX, name, count ? ":" : " none");
  if (snapshots_list (connection, disk->id, append_name, &list, status) == -1)
    return -1;
  *status = list;
  return -1;
}

/* Find the disk that TARGET names up to its "@", if it has one; *AT is that. */
static int
find_disk_of (struct connection *connection, const char *target,
              struct disk_info *disk, const char **at, struct status *status)
{
  char disk_name[DISK_NAME_MAX + 2];
  size_t length;
  int r;

  *at = strchr (target, '@');
  length = *at ? (size_t)(*at - target) : strlen (target);
  snprintf (disk_name, sizeof disk_name, "%.*s",
            length > DISK_NAME_MAX ? DISK_NAME_MAX + 1 : (int)length, target);
  /* A disk on its way in is not there yet. */
  r = strchr (disk_name, '/')
          ? 0
          : disks_find (connection, disk_name, disk, status);
  if (r == 0)
    return disks_fail_unknown (connection, disk_name, status);
  return r == -1 ? -1 : 0;
}

int
snapshots_find_target (struct connection *connection, const char *target,
                       struct disk_info *disk, struct snapshot_info *snapshot,
                       struct status *status)
{
  const char *at;
  int r;

  snapshot->id = 0;
  if (find_disk_of (connection, target ? target : "", disk, &at, status) == -1)
    return -1;
  if (at == NULL)
    return 0;
  r = snapshots_find (connection, disk->id, at + 1, snapshot, status);
  if (r == 0)
    return fail_unknown (connection, disk, at + 1, status);
  /* The row of the disk, from which this was read here, has a checksum. */
  if (r == 1)
    strcpy (snapshot->disk_name, disk->name);
  return r == -1 ? -1 : 0;
}

int
snapshots_find_disk (struct connection *connection, const char *target,
                     struct disk_info *disk, struct status *status)
{
  struct snapshot_info snapshot;

  if (snapshots_find_target (connection, target, disk, &snapshot, status) == -1)
    return -1;
  if (snapshot.id == 0)
    return 0;
  return status_fail (status, EINVAL, "'%s' is a snapshot; give a disk",
                      target);
}

/* Two snapshots, of which each may be missing: then its id is 0. */
struct sides {
  struct snapshot_info from, to;
};

/* Find what stands on one side of "..": NAME of LENGTH bytes, or for 0 nothing.
 * Returns 1, 0 where there is no such snapshot, -1.
 */
static int
find_side (struct connection *connection, const struct disk_info *disk,
           const char *name, size_t length, struct snapshot_info *info,
           struct status *status)
{
  char copy[SNAPSHOT_NAME_MAX + 1];
  int r;

  info->id = 0;
  if (length == 0)
    return 1;
  if (length > SNAPSHOT_NAME_MAX)
    return 0;
  snprintf (copy, sizeof copy, "%.*s", (int)length, name);
  r = snapshots_find (connection, disk->id, copy, info, status);
  if (r == 1)
    strcpy (info->disk_name, disk->name);
  return r;
}

/* The same for both sides of the ".." at DOTS in NAMES. */
static int
find_sides (struct connection *connection, const struct disk_info *disk,
            const char *names, const char *dots, struct sides *sides,
            struct status *status)
{
  const int r =
      find_side (connection, disk, names, dots - names, &sides->from, status);

  return r == 1 ? find_side (connection, disk, dots + 2, strlen (dots + 2),
                             &sides->to, status)
                : r;
}

/* A name may have ".." in it, so each of them is tried as the one between the
 * two.  Returns how many are, at most 2, or -1.
 */
static int
try_sides (struct connection *connection, const struct disk_info *disk,
           const char *names, struct sides *sides, struct status *status)
{
  const bool too_long = strlen (names) > 2 * SNAPSHOT_NAME_MAX + 2;
  const char *dots = too_long ? NULL : strstr (names, "..");
  struct sides tried;
  int count = 0;

  for (; dots && count < 2; dots = strstr (dots + 1, "..")) {
    const int r = find_sides (connection, disk, names, dots, &tried, status);

    if (r == -1)
      return -1;
    if (r == 1)
      *sides = tried;
    count += r;
  }
  return count;
}

/* No ".." is between two snapshots; say which one there is not. */
static int
fail_sides (struct connection *connection, const struct disk_info *disk,
            const char *names, struct status *status)
{
  const char *dots = strstr (names, "..");
  char from[SNAPSHOT_NAME_MAX + 2];
  struct snapshot_info info;
  const int r =
      find_side (connection, disk, names, dots - names, &info, status);

  if (r == -1)
    return -1;
  snprintf (from, sizeof from, "%.*s",
            dots - names > SNAPSHOT_NAME_MAX ? SNAPSHOT_NAME_MAX + 1
                                             : (int)(dots - names),
            names);
  return fail_unknown (connection, disk, r == 0 ? from : dots + 2, status);
}

int
snapshots_find_range (struct connection *connection, const char *target,
                      struct disk_info *disk, struct snapshot_info *from,
                      struct snapshot_info *to, struct status *status)
{
  const char *names = strchr (target, '@');
  struct sides sides;
  int r;

  if (names == NULL || strstr (names, "..") == NULL)
    return 0;
  if (find_disk_of (connection, target, disk, &names, status) == -1)
    return -1;
  names++;
  r = find_by_name (connection, disk->id, names, from, status);
  if (r != 0)
    return r == -1 ? -1 : 0;
  r = try_sides (connection, disk, names, &sides, status);
  if (r == 0)
    return fail_sides (connection, disk, names, status);
  if (r == 2)
    return status_fail (status, EINVAL,
                        "'%s@%s' can be read in two ways, since names of "
                        "snapshots have '..' in them; rename one",
                        disk->name, names);
  if (r == -1)
    return -1;
  *from = sides.from;
  *to = sides.to;
  if (to->id == 0 || from->id <= to->id)
    return 1;
  return status_fail (status, EINVAL,
                      "'%s@%s' was made after '%s@%s': what changed is shown "
                      "from the older one to the newer one",
                      disk->name, from->name, disk->name, to->name);
}

void
snapshots_as_disk (const struct snapshot_info *snapshot, struct disk_info *disk)
{
  char time[TIMES_TEXT_MAX];

  snprintf (disk->name, sizeof disk->name, "%s@%s", snapshot->disk_name,
            snapshot->name);
  snprintf (disk->description, sizeof disk->description, "as of %s",
            times_local (snapshot->created, time));
  disk->size = snapshot->size;
  disk->created = snapshot->created;
  disk->snapshot = snapshot->id;
}

/* What snapshot ID looks like. */
static int
view_snapshot (struct connection *connection, int64_t id, struct view *view,
               struct status *status)
{
  static const char by_id_sql[] = SNAPSHOT_INFO " WHERE snapshot.id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *find =
      connection_statement (connection, by_id_sql, status);
  struct snapshot_info info;
  int r;

  if (find == NULL)
    return -1;
  sqlite3_bind_int64 (find, 1, id);
  r = find_info (connection, find, &info, status);
  if (r == 0)
    return status_fail_changed (
        status, EIO, "the snapshot was deleted under this connection");
  if (r == -1 ||
      features_allow (connection, info.disk, FEATURE_READ, status) == -1)
    return -1;
  view->access = info.access;
  view->size = info.size;
  view->block_size = info.block_size;
  return view_layers (connection, info.layer, info.generation, view, status);
}

int
snapshots_view (struct connection *connection, const struct disk_info *disk,
                struct view *view, struct status *status)
{
  view->key = disk->key;
  if (disk->snapshot != 0)
    return view_snapshot (connection, disk->snapshot, view, status);
  return disks_view (connection, disk->id, disk->epoch, view, status);
}

int
snapshots_list (struct connection *connection, int64_t disk,
                int (*found) (const struct snapshot_info *info, void *opaque),
                void *opaque, struct status *status)
{
  static const char list_sql[] = SNAPSHOT_INFO
      " WHERE iif (?1, snapshot.disk = ?1, disk.name NOT LIKE '%/%')"
      " AND snapshot.name NOT LIKE '%/%'"
      " ORDER BY snapshot.disk, snapshot.id";
  CLEANUP_STATEMENT sqlite3_stmt *list =
      connection_statement (connection, list_sql, status);
  struct snapshot_info info;
  int r;

  if (list == NULL)
    return -1;
  sqlite3_bind_int64 (list, 1, disk);
  while ((r = connection_step (connection, list, status)) > 0)
    if (info_from_row (connection, list, &info, status) == 0 &&
        found (&info, opaque))
      return 0;
  return r;
}

/* SQL: a hold, of whatever value and checksum, and whose it is. */
#define HOLD                                                                   \
  "SELECT (SELECT name FROM disk WHERE disk.id = snapshot.disk) || '@' ||"     \
  " snapshot.name, substr (property.key, 1 + length ('" PROPERTY_HOLD "'))"    \
  " FROM snapshot JOIN property ON " PROPERTY_HOLDS

/* Fail where HELD, SQL that begins as HOLD, finds something for ID. */
static int
check_held (struct connection *connection, const char *held, int64_t id,
            struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *hold =
      connection_statement (connection, held, status);
  const char *name, *tag;
  int r;

  if (hold == NULL)
    return -1;
  sqlite3_bind_int64 (hold, 1, id);
  r = connection_step (connection, hold, status);
  if (r != 1)
    return r;
  name = (const char *)sqlite3_column_text (hold, 0);
  tag = (const char *)sqlite3_column_text (hold, 1);
  return status_fail (status, EBUSY,
                      "snapshot '%.401s' is held by '%.200s'; if nobody needs "
                      "it any more, release it: \"sqlblock snapshot release "
                      "DATABASE DISK@SNAPSHOT TAG\"",
                      name ? name : "", tag ? tag : "");
}

int
snapshots_is_held (struct connection *connection,
                   const struct snapshot_info *info, bool *held,
                   struct status *status)
{
  static const char held_sql[] =
      "SELECT EXISTS (" HOLD " WHERE snapshot.id = ?1)";
  int64_t is_held;

  if (connection_integer_for (connection, held_sql, info->id, &is_held,
                              status) == -1)
    return -1;
  *held = is_held;
  return 0;
}

int
snapshots_check_held (struct connection *connection,
                      const struct snapshot_info *info, struct status *status)
{
  static const char held_sql[] = HOLD " WHERE snapshot.id = ?1 LIMIT 1";

  return check_held (connection, held_sql, info->id, status);
}

int
snapshots_check_held_all (struct connection *connection, int64_t disk,
                          struct status *status)
{
  static const char held_sql[] = HOLD " WHERE snapshot.disk = ?1 LIMIT 1";

  return check_held (connection, held_sql, disk, status);
}

int
snapshots_delete (struct connection *connection,
                  const struct snapshot_info *info, struct status *status)
{
  static const char delete_sql[] = "DELETE FROM snapshot WHERE id = ?1";

  if (features_allow (connection, info->disk, FEATURE_CHANGE, status) == -1 ||
      snapshots_check_held (connection, info, status) == -1 ||
      properties_drop (connection, PROPERTY_SNAPSHOT, info->id, status) == -1 ||
      connection_run_for (connection, delete_sql, info->id, status) == -1)
    return -1;
  return reclaim_add (connection, info->layer, status);
}

int
snapshots_pin (struct connection *connection, const struct disk_info *disk,
               const struct snapshot_info *snapshot, int64_t *id,
               struct status *status)
{
  struct snapshot_info copy = *snapshot;
  uint64_t number;

  sqlite3_randomness (sizeof number, &number);
  snprintf (copy.name, sizeof copy.name, SNAPSHOT_COPY "%016" PRIx64, number);
  if (snapshot->id == 0)
    return snapshots_create (connection, disk, copy.name, false, 0, 0, id,
                             status);
  return insert_row (connection, &copy, id, status);
}

int
snapshots_unpin (struct connection *connection, int64_t id,
                 struct status *status)
{
  static const char reclaim_sql[] =
      RECLAIM_ADD ("SELECT layer FROM snapshot"
                   " WHERE name LIKE '" SNAPSHOT_COPY "%'"
                   " AND ?1 IN (0, id)");
  static const char unpin_sql[] =
      "DELETE FROM snapshot WHERE name LIKE '" SNAPSHOT_COPY "%'"
      " AND ?1 IN (0, id)";

  if (connection_run_for (connection, reclaim_sql, id, status) == -1)
    return -1;
  return connection_run_for (connection, unpin_sql, id, status);
}

int
snapshots_delete_all (struct connection *connection, int64_t disk,
                      struct status *status)
{
  static const char reclaim_sql[] =
      RECLAIM_ADD ("SELECT layer FROM snapshot WHERE disk = ?1");
  static const char properties_sql[] =
      "DELETE FROM property WHERE kind = 2"
      " AND owner IN (SELECT id FROM snapshot WHERE disk = ?1)";
  static const char delete_all_sql[] = "DELETE FROM snapshot WHERE disk = ?1";

  if (features_allow (connection, disk, FEATURE_CHANGE, status) == -1 ||
      snapshots_check_held_all (connection, disk, status) == -1 ||
      connection_run_for (connection, reclaim_sql, disk, status) == -1 ||
      connection_run_for (connection, properties_sql, disk, status) == -1)
    return -1;
  return connection_run_for (connection, delete_all_sql, disk, status);
}

int
snapshots_count_damaged (struct connection *connection, int64_t *count,
                         struct status *status)
{
  static const char damaged_sql[] =
      "SELECT count (*) FROM snapshot WHERE checksum IS NOT " SNAPSHOT_CHECKSUM
      " OR layer NOT IN (SELECT id FROM layer)";

  return connection_integer (connection, damaged_sql, count, status);
}

int
snapshots_count (struct connection *connection, int64_t disk, int64_t *count,
                 struct status *status)
{
  static const char count_sql[] = "SELECT count (*) FROM snapshot"
                                  " WHERE disk = ?1 AND name NOT LIKE '%/%'";

  return connection_integer_for (connection, count_sql, disk, count, status);
}

int
snapshots_rename (struct connection *connection,
                  const struct snapshot_info *info, const char *name,
                  struct status *status)
{
  static const char rename_sql[] =
      "UPDATE snapshot SET name = ?2, automatic = 0 WHERE id = ?1";

  if (features_allow (connection, info->disk, FEATURE_CHANGE, status) == -1)
    return -1;
  if (connection_run_for_text (connection, rename_sql, info->id, name,
                               status) == -1)
    return fail_taken (connection, name, status);
  return set_checksum (connection, info->id, status);
}
