/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Bookmarks: see bookmarks.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/optional.h"
#include "base/sane.h"
#include "rows/bookmarks.h"
#include "rows/disks.h"
#include "rows/features.h"
#include "rows/properties.h"

/* Room for the value. */
#define VALUE_MAX (5 * 24 + SNAPSHOT_NAME_MAX)

/* The key of the bookmark NAME. */
struct key {
  char text[PROPERTY_KEY_MAX + 1];
};

static struct key
key_of (const char *name)
{
  struct key key;

  snprintf (key.text, sizeof key.text, PROPERTY_BOOKMARK "%s", name);
  return key;
}

/*--------------------------------------------------------------------
 * The value.
 */

static void
write_value (const struct snapshot_info *snapshot, char value[VALUE_MAX])
{
  snprintf (value, VALUE_MAX,
            "%" PRId64 " %" PRId64 " %" PRIu64 " %" PRId64 " %016" PRIx64 " %s",
            snapshot->layer, snapshot->generation, snapshot->size,
            snapshot->created, (uint64_t)snapshot->guid, snapshot->name);
}

/* Fill INFO from VALUE.  Returns false where it is something else. */
static bool
read_value (const char *value, struct bookmark_info *info)
{
  uint64_t guid;
  int end = -1;

  if (sscanf (value,
              "%" SCNd64 " %" SCNd64 " %" SCNu64 " %" SCNd64 " %16" SCNx64 "%n",
              &info->layer, &info->generation, &info->size, &info->created,
              &guid, &end) != 5 ||
      end == -1 || value[end] != ' ' ||
      !sane_name (value + end + 1, SNAPSHOT_NAME_MAX))
    return false;
  info->guid = guid;
  strcpy (info->snapshot, value + end + 1);
  return info->layer > 0 && info->layer < ID_END && info->generation > 0 &&
         info->generation < ID_END && info->guid != 0 && info->size > 0 &&
         info->size <= INT64_MAX;
}

bool
bookmark_is_sane (const char *value)
{
  struct bookmark_info ignored;

  return read_value (value, &ignored);
}

/* The same for a property, of DISK.  Returns false where it is damaged. */
static bool
info_from_property (const struct property *property,
                    const struct disk_info *disk, struct bookmark_info *info)
{
  const char *name = optional_key_behind (property->key, PROPERTY_BOOKMARK);

  *info = (struct bookmark_info){
    .disk = disk->id,
    .block_size = disk->block_size,
  };
  if (property->damaged || property->type != PROPERTY_TEXT ||
      strlen (property->bytes) != property->length ||
      !sane_name (name, BOOKMARK_NAME_MAX) ||
      !read_value (property->bytes, info))
    return false;
  snprintf (info->disk_name, sizeof info->disk_name, "%.*s", DISK_NAME_MAX,
            disk->name);
  strcpy (info->name, name);
  return true;
}

/*--------------------------------------------------------------------
 * Rows.
 */

int
bookmarks_create (struct connection *connection,
                  const struct snapshot_info *snapshot, const char *name,
                  struct status *status)
{
  const struct key key = key_of (name);
  char value[VALUE_MAX];
  struct optional list = { 0 };
  int r;

  if (features_allow (connection, snapshot->disk, FEATURE_CHANGE, status) == -1)
    return -1;
  r = properties_read (connection, PROPERTY_DISK, snapshot->disk, &list,
                       status);
  if (r == 0 && optional_find (&list, key.text))
    r = status_fail (status, EEXIST,
                     "there is a bookmark '%s#%s' already; give another name, "
                     "or delete that one",
                     snapshot->disk_name, name);
  optional_free (&list);
  if (r == -1)
    return -1;
  write_value (snapshot, value);
  return properties_set_text (connection, PROPERTY_DISK, snapshot->disk,
                              key.text, value, status);
}

/* Is what DISK shows now from the bookmark?  Where that cannot be read it is
 * not.
 */
static bool
is_usable (struct connection *connection, const struct disk_info *disk,
           const struct bookmark_info *info)
{
  struct view view = { 0 };
  struct status ignored;
  const bool usable =
      disks_view (connection, disk->id, disk->epoch, &view, &ignored) == 0 &&
      bookmark_is_below (info, &view);

  view_free (&view);
  return usable;
}

int
bookmarks_find (struct connection *connection, const struct disk_info *disk,
                const char *name, struct bookmark_info *info,
                struct status *status)
{
  const struct key key = key_of (name);
  const struct property *property;
  struct optional list = { 0 };
  int r = properties_read (connection, PROPERTY_DISK, disk->id, &list, status);

  property = r == 0 ? optional_find (&list, key.text) : NULL;
  if (property)
    r = info_from_property (property, disk, info)
            ? 1
            : status_fail (status, EIO,
                           "the row of the bookmark '%s#%s' is damaged; delete "
                           "it, and send from a snapshot",
                           disk->name, name);
  optional_free (&list);
  if (r == 1)
    info->usable = is_usable (connection, disk, info);
  return r;
}

int
bookmarks_list (struct connection *connection, const struct disk_info *disk,
                int (*found) (const struct bookmark_info *info, void *opaque),
                void *opaque, struct status *status)
{
  struct optional list = { 0 };
  struct bookmark_info info;
  bool ended = false;
  int r = properties_read (connection, PROPERTY_DISK, disk->id, &list, status);

  for (size_t i = 0; r == 0 && !ended && i < list.property_count; i++)
    if (optional_key_behind (list.properties[i].key, PROPERTY_BOOKMARK) &&
        info_from_property (&list.properties[i], disk, &info)) {
      info.usable = is_usable (connection, disk, &info);
      ended = found (&info, opaque) != 0;
    }
  optional_free (&list);
  return r;
}

int
bookmarks_delete (struct connection *connection, const struct disk_info *disk,
                  const char *name, struct status *status)
{
  /* Its layer may move into a younger one now. */
  static const char reclaim_sql[] =
      RECLAIM_ADD ("SELECT layer.id AS layer FROM property JOIN layer"
                   " ON layer.id = CAST (property.value AS INTEGER)"
                   " WHERE kind = 1 AND owner = ?1 AND key = ?2");
  const struct key key = key_of (name);

  if (features_allow (connection, disk->id, FEATURE_CHANGE, status) == -1 ||
      connection_run_for_text (connection, reclaim_sql, disk->id, key.text,
                               status) == -1)
    return -1;
  return properties_remove (connection, PROPERTY_DISK, disk->id, key.text,
                            status);
}

int
bookmarks_on_layer (struct connection *connection, int64_t layer,
                    int64_t generation, struct status *status)
{
  static const char any_sql[] =
      "SELECT 1 FROM property WHERE kind = 1"
      " AND key GLOB '" PROPERTY_BOOKMARK "*'"
      " AND CAST (value AS INTEGER) = ?1"
      " AND CAST (substr (value, instr (value, ' ')) AS INTEGER) <= ?2"
      " LIMIT 1";
  CLEANUP_STATEMENT sqlite3_stmt *any =
      connection_statement (connection, any_sql, status);

  if (any == NULL)
    return -1;
  sqlite3_bind_int64 (any, 1, layer);
  sqlite3_bind_int64 (any, 2, generation);
  return connection_step (connection, any, status);
}

/*--------------------------------------------------------------------
 * What has changed since.
 */

bool
bookmark_is_below (const struct bookmark_info *info, const struct view *view)
{
  for (size_t i = 0; i < view->depth; i++)
    if (view->layers[i].layer == info->layer)
      return view->layers[i].generation >= info->generation;
  return false;
}

bool
bookmark_has_row (const struct bookmark_info *info,
                  const struct layer_point *row)
{
  /* Parents are older than their children. */
  return row->layer < info->layer ||
         (row->layer == info->layer && row->generation <= info->generation);
}
