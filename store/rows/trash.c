/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Disks that were deleted, and can be had back: see trash.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/sane.h"
#include "base/schedule.h"
#include "rows/columns.h"
#include "rows/disks.h"
#include "rows/inherit.h"
#include "rows/properties.h"
#include "rows/snapshots.h"
#include "rows/trash.h"

/* Keys of properties, see schema.sql. */
#define NAME  PROPERTY_TRASH "name"
#define SINCE PROPERTY_TRASH "since"
#define UNTIL PROPERTY_TRASH "until"

/* SQL: is a disk in the trash? */
#define IS_IN_TRASH "disk.name = '" DISK_TRASH "' || disk.id"

/* The number that KEY of LIST has, or 0. */
static int64_t
find_number (const struct optional *list, const char *key)
{
  const struct property *property =
      optional_find_whole (list, key, PROPERTY_INTEGER);

  return property && property->integer > 0 ? property->integer : 0;
}

int
trash_span (struct connection *connection, int64_t id, int64_t *seconds,
            struct status *status)
{
  struct setting_value value;

  if (settings_look (connection, setting_find ("trash"), id, &value, status) ==
      -1)
    return -1;
  return schedule_parse_interval (value.text, seconds, status);
}

/*--------------------------------------------------------------------
 * What is in the trash.
 */

/* Read what else is known of FOUND, whose disk was read. */
static int
read_rest (struct connection *connection, struct trashed_disk *found,
           struct status *status)
{
  struct optional list = { 0 };
  const struct property *name;
  int64_t snapshots = 0;
  int r = properties_read (connection, PROPERTY_DISK, found->disk.id, &list,
                           status);

  found->name[0] = '\0';
  name = optional_find_whole (&list, NAME, PROPERTY_TEXT);
  if (name && sane_name (name->bytes, DISK_NAME_MAX) &&
      strlen (name->bytes) == name->length && !strchr (name->bytes, '/'))
    strcpy (found->name, name->bytes);
  found->deleted = find_number (&list, SINCE);
  found->until = find_number (&list, UNTIL);
  optional_free (&list);
  if (r == 0)
    r = snapshots_count (connection, found->disk.id, &snapshots, status);
  found->snapshots = snapshots;
  return r;
}

int
trash_fail_unknown (int64_t id, struct status *status)
{
  return status_fail (status, ENOENT,
                      "there is no disk number %" PRId64 " in the trash", id);
}

int
trash_find (struct connection *connection, int64_t id,
            struct trashed_disk *found, struct status *status)
{
  char hidden[DISK_NAME_MAX + 1];
  const int r = disks_find_id (connection, id, &found->disk, status);

  if (r == -1)
    return -1;
  snprintf (hidden, sizeof hidden, DISK_TRASH "%" PRId64, id);
  if (r == 0 || strcmp (found->disk.name, hidden) != 0)
    return trash_fail_unknown (id, status);
  return read_rest (connection, found, status);
}

int
trash_list (struct connection *connection,
            int (*found) (const struct trashed_disk *disk, void *opaque),
            void *opaque, struct status *status)
{
  static const char list_sql[] =
      "SELECT id FROM disk WHERE " IS_IN_TRASH " ORDER BY id";
  CLEANUP_STATEMENT sqlite3_stmt *list =
      connection_statement (connection, list_sql, status);
  struct trashed_disk disk;
  int r;

  if (list == NULL)
    return -1;
  while ((r = connection_step (connection, list, status)) > 0)
    if (trash_find (connection, sqlite3_column_int64 (list, 0), &disk,
                    status) == 0 &&
        found (&disk, opaque))
      return 0;
  return r;
}

int
trash_count (struct connection *connection, int64_t *count,
             struct status *status)
{
  static const char count_sql[] =
      "SELECT count (*) FROM disk WHERE " IS_IN_TRASH;

  return connection_integer (connection, count_sql, count, status);
}

/*--------------------------------------------------------------------
 * To and fro.
 */

static int
set_number (struct connection *connection, int64_t id, const char *key,
            int64_t number, struct status *status)
{
  const struct property property = {
    .kind = PROPERTY_DISK,
    .key = key,
    .type = PROPERTY_INTEGER,
    .integer = number,
  };

  return properties_set (connection, id, &property, status);
}

int
trash_put (struct connection *connection, const struct disk_info *disk,
           int64_t seconds, struct status *status)
{
  const int64_t now = time (NULL);
  const int64_t until = seconds < INT64_MAX - now ? now + seconds : INT64_MAX;
  char hidden[DISK_NAME_MAX + 1];

  snprintf (hidden, sizeof hidden, DISK_TRASH "%" PRId64, disk->id);
  if (disks_rename (connection, disk->id, hidden, status) == -1 ||
      disks_raise_epoch (connection, disk->id, status) == -1)
    return -1;
  if (properties_set_text (connection, PROPERTY_DISK, disk->id, NAME,
                           disk->name, status) == 0 &&
      set_number (connection, disk->id, SINCE, now, status) == 0 &&
      set_number (connection, disk->id, UNTIL, until, status) == 0)
    return 0;
  return status_prefix (status, "disk '%s': moving it to the trash",
                        disk->name);
}

int
trash_take_out (struct connection *connection, const struct trashed_disk *disk,
                const char *name, struct status *status)
{
  static const char *const keys[] = { NAME, SINCE, UNTIL };

  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
    if (properties_remove (connection, PROPERTY_DISK, disk->disk.id, keys[i],
                           status) == -1)
      return -1;
  return disks_rename (connection, disk->disk.id, name, status);
}
