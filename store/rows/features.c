/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a program must know to use a file: see features.h. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "block/cipher.h"
#include "block/codec.h"
#include "rows/columns.h"
#include "rows/content.h"
#include "rows/features.h"
#include "base/optional.h"

bool
features_know (const char *name)
{
  return name &&
         (codec_has_feature (name) || strcmp (name, CONTENT_FEATURE) == 0 ||
          features_stay (name) ||
          (strcmp (name, FEATURE_ENCRYPTED) == 0 && cipher_is_built ()));
}

bool
features_stay (const char *name)
{
  return strcmp (name, FEATURE_ALLOW) == 0 ||
         strcmp (name, FEATURE_EXCLUSIVE) == 0 ||
         strcmp (name, FEATURE_LITESTREAM) == 0;
}

/*--------------------------------------------------------------------
 * Asking.
 */

/* Rows of features: of the file and disk ?1; of disks that read layer ?1; of
 * all disks.
 */
/* clang-format off */
#define FEATURES \
  "SELECT feature.id" EACH_FEATURE_COLUMN (COLUMN_NAME) " FROM feature"

/* With IN (0, ?1) it takes half as long again, and it is asked often. */
static const char of_disk_sql[] = FEATURES " WHERE feature.disk = 0"
  " UNION ALL " FEATURES " WHERE feature.disk = ?1 AND ?1 <> 0";

static const char of_layer_sql[] =
  "WITH RECURSIVE above (layer) AS (SELECT ?1"
  "  UNION SELECT layer.id FROM above JOIN layer ON layer.parent = above.layer)"
  " " FEATURES " WHERE feature.disk <> 0 AND feature.disk IN"
  "  (SELECT disk.id FROM above JOIN disk USING (layer)"
  "   UNION SELECT snapshot.disk FROM above JOIN snapshot USING (layer))";

static const char of_disks_sql[] = FEATURES " WHERE feature.disk > ?1";
/* clang-format on */

/* Has the feature in which ROW stands a right checksum?  Only of those that are
 * not known this is asked: a disk's features are looked at for each
 * transaction, and to compute checksums would take most of that time.  Returns
 * 1, 0, -1.
 */
static int
is_whole (struct connection *connection, sqlite3_stmt *row,
          struct status *status)
{
  static const char whole_sql[] =
      "SELECT checksum = " FEATURE_CHECKSUM " FROM feature WHERE id = ?1";
  int64_t whole;

  return connection_integer_for (connection, whole_sql,
                                 sqlite3_column_int64 (row, FEATURE_ID), &whole,
                                 status) == -1
             ? -1
             : whole == 1;
}

/* Is the feature in which ROW stands known?  Its name may hold a zero. */
static bool
is_known (sqlite3_stmt *row)
{
  const char *name = (const char *)sqlite3_column_text (row, FEATURE_NAME);

  return features_know (name) &&
         strlen (name) == (size_t)sqlite3_column_bytes (row, FEATURE_NAME);
}

/* Does ROW say that the disk is encrypted? */
static bool
is_encrypted (sqlite3_stmt *row)
{
  const char *name = (const char *)sqlite3_column_text (row, FEATURE_NAME);

  return name && strcmp (name, FEATURE_ENCRYPTED) == 0;
}

/* What the feature in which ROW stands asks of this program; -1 for a failure.
 */
static int
class_of (struct connection *connection, sqlite3_stmt *row,
          struct status *status)
{
  const int64_t class = sqlite3_column_int64 (row, FEATURE_CLASS);
  int whole;

  if (is_known (row))
    return FEATURE_IGNORABLE;
  whole = is_whole (connection, row, status);
  if (whole == 1 && (class == FEATURE_IGNORABLE || class == FEATURE_READ_ONLY))
    return class;
  return whole == -1 ? -1 : FEATURE_REFUSE;
}

/* Write of what ROW is a feature, "the database" or "disk 'NAME'", to WHAT. */
static int
name_owner (struct connection *connection, sqlite3_stmt *row,
            char what[DISK_NAME_MAX + 20], struct status *status)
{
  static const char name_sql[] = "SELECT name FROM disk WHERE id = ?1";
  const int64_t disk = sqlite3_column_int64 (row, FEATURE_DISK);
  CLEANUP_STATEMENT sqlite3_stmt *found =
      connection_statement (connection, name_sql, status);
  const char *name;
  int r;

  if (found == NULL)
    return -1;
  sqlite3_bind_int64 (found, 1, disk);
  r = disk == 0 ? 0 : connection_step (connection, found, status);
  if (r == -1)
    return -1;
  name = r == 1 ? (const char *)sqlite3_column_text (found, 0) : NULL;
  if (disk == 0)
    snprintf (what, DISK_NAME_MAX + 20, "the database");
  else
    snprintf (what, DISK_NAME_MAX + 20, "disk '%.*s'", DISK_NAME_MAX,
              name ? name : "?");
  return 0;
}

/* Say that the feature in which ROW stands keeps this program off; returns 1,
 * or -1 where that cannot be said.
 */
static int
say_forbidden (struct connection *connection, sqlite3_stmt *row,
               struct status *status)
{
  const int whole = is_whole (connection, row, status);
  const bool reads =
      sqlite3_column_int64 (row, FEATURE_CLASS) == FEATURE_READ_ONLY;
  char what[DISK_NAME_MAX + 20];
  const char *name;

  if (whole == -1 || name_owner (connection, row, what, status) == -1)
    return -1;
  name = (const char *)sqlite3_column_text (row, FEATURE_NAME);
  if (!whole)
    status_fail (status, EIO,
                 "the row of the feature '%.100s' of %s is damaged; restore "
                 "the database from a backup, or see 'sqlblock check "
                 "--salvage'",
                 name ? name : "", what);
  else
    status_fail (status, reads ? EROFS : ENOTSUP,
                 "%s uses the feature '%.100s', which this program does not "
                 "have%s; use a newer one, or one that was built with it",
                 what, name ? name : "",
                 reads ? ", and so can only be read" : "");
  return 1;
}

/* The features of one owner, which come one after the other. */
struct owner {
  int64_t disk;
  int count;
};

/* ROW is the next one.  Has its owner more than anybody may have? */
static bool
has_too_many (struct owner *owner, sqlite3_stmt *row)
{
  const int64_t disk = sqlite3_column_int64 (row, FEATURE_DISK);

  owner->count = owner->disk == disk ? owner->count + 1 : 1;
  owner->disk = disk;
  return owner->count > FEATURES_MAX;
}

/* As say_forbidden, for one that has too many. */
static int
say_too_many (struct connection *connection, sqlite3_stmt *row,
              struct status *status)
{
  char what[DISK_NAME_MAX + 20];

  if (name_owner (connection, row, what, status) == -1)
    return -1;
  status_fail (status, ENOTSUP,
               "%s has more than %d features, which is impossible; restore "
               "the database from a backup",
               what, FEATURES_MAX);
  return 1;
}

/* Does a row of SQL, about ID, forbid this USE? */
static int
forbid (struct connection *connection, const char *sql, int64_t id,
        enum feature_use use, struct status *status)
{
  const enum feature_class most =
      use == FEATURE_READ ? FEATURE_READ_ONLY : FEATURE_IGNORABLE;
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, sql, status);
  struct owner owner = { 0 };
  int r, class;

  if (row == NULL)
    return -1;
  sqlite3_bind_int64 (row, 1, id);
  while ((r = connection_step (connection, row, status)) == 1) {
    if (has_too_many (&owner, row))
      return say_too_many (connection, row, status);
    class = class_of (connection, row, status);
    if (class == -1)
      return -1;
    if (class > (int)most)
      return say_forbidden (connection, row, status);
  }
  return r;
}

int
features_forbid (struct connection *connection, int64_t disk,
                 enum feature_use use, struct status *status)
{
  return forbid (connection, of_disk_sql, disk, use, status);
}

int
features_allow (struct connection *connection, int64_t disk,
                enum feature_use use, struct status *status)
{
  return features_forbid (connection, disk, use, status) == 0 ? 0 : -1;
}

int
features_forbid_layer (struct connection *connection, int64_t layer,
                       enum feature_use use, struct status *status)
{
  static const char any_sql[] =
      "SELECT EXISTS (SELECT 1 FROM feature WHERE disk > 0)";
  int64_t any;

  if (connection_integer (connection, any_sql, &any, status) == -1)
    return -1;
  return any ? forbid (connection, of_layer_sql, layer, use, status) : 0;
}

int
features_allow_layer (struct connection *connection, int64_t layer,
                      struct status *status)
{
  return features_forbid_layer (connection, layer, FEATURE_CHANGE, status) == 0
             ? 0
             : -1;
}

int
features_forbid_any (struct connection *connection, struct status *status)
{
  return forbid (connection, of_disks_sql, 0, FEATURE_CHANGE, status);
}

int
features_access (struct connection *connection, int64_t disk,
                 enum disk_access *access, bool *encrypted,
                 struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, of_disk_sql, status);
  struct owner owner = { 0 };
  int worst = FEATURE_IGNORABLE;
  int r = 1, class;

  if (encrypted)
    *encrypted = false;
  if (row == NULL)
    return -1;
  sqlite3_bind_int64 (row, 1, disk);
  while (worst != FEATURE_REFUSE &&
         (r = connection_step (connection, row, status)) == 1) {
    class = has_too_many (&owner, row) ? FEATURE_REFUSE
                                       : class_of (connection, row, status);
    if (class == -1)
      return -1;
    if (class > worst)
      worst = class;
    if (encrypted && is_encrypted (row))
      *encrypted = true;
  }
  *access = worst == FEATURE_IGNORABLE   ? DISK_OPEN
            : worst == FEATURE_READ_ONLY ? DISK_READ_ONLY
                                         : DISK_REFUSED;
  return r == -1 ? -1 : 0;
}

int
features_of_settings (struct connection *connection, int64_t id,
                      struct optional *list, struct status *status)
{
  static const char settings_sql[] =
      "SELECT name, class FROM feature WHERE disk = ?1"
      " AND name IN ('" FEATURE_ALLOW "', '" FEATURE_EXCLUSIVE "',"
      " '" FEATURE_LITESTREAM "')";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, settings_sql, status);
  int r;

  if (row == NULL)
    return -1;
  sqlite3_bind_int64 (row, 1, id);
  while ((r = connection_step (connection, row, status)) == 1) {
    const struct disk_feature feature = {
      .name = (const char *)sqlite3_column_text (row, 0),
      .class = sqlite3_column_int64 (row, 1),
    };

    if (optional_add_feature (list, &feature, status) == -1)
      return -1;
  }
  return r;
}

/*--------------------------------------------------------------------
 * Rows that come and go.
 */

int
features_put (struct connection *connection, int64_t disk, const char *name,
              int64_t class, struct status *status)
{
  static const char put_sql[] =
      "WITH feature (id, name, disk, class) AS"
      " (SELECT " HIGHEST_FEATURE " + 1, ?1, ?2, ?3)"
      " INSERT INTO main.feature SELECT *, " FEATURE_CHECKSUM " FROM feature"
      " WHERE true ON CONFLICT (name, disk) DO NOTHING";
  CLEANUP_STATEMENT sqlite3_stmt *put =
      connection_statement (connection, put_sql, status);

  if (put == NULL)
    return -1;
  sqlite3_bind_text (put, 1, name, -1, SQLITE_STATIC);
  sqlite3_bind_int64 (put, 2, disk);
  sqlite3_bind_int64 (put, 3, class);
  return connection_step (connection, put, status);
}

int
features_add (struct connection *connection, const char *name,
              struct status *status)
{
  return name ? features_put (connection, 0, name, FEATURE_REFUSE, status) : 0;
}

int
features_remove (struct connection *connection, int64_t disk, const char *name,
                 struct status *status)
{
  static const char remove_sql[] =
      "DELETE FROM feature WHERE disk = ?1 AND name = ?2";
  CLEANUP_STATEMENT sqlite3_stmt *remove =
      connection_statement (connection, remove_sql, status);

  if (remove == NULL)
    return -1;
  sqlite3_bind_int64 (remove, 1, disk);
  sqlite3_bind_text (remove, 2, name, -1, SQLITE_STATIC);
  return connection_step (connection, remove, status);
}

int
features_drop (struct connection *connection, int64_t disk,
               struct status *status)
{
  static const char drop_sql[] = "DELETE FROM feature WHERE disk = ?1";

  return connection_run_for (connection, drop_sql, disk, status);
}

int
features_clone (struct connection *connection, int64_t from, int64_t to,
                struct status *status)
{
  static const char clone_sql[] =
      "WITH feature (id, name, disk, class) AS"
      " (SELECT " HIGHEST_FEATURE " +"
      "   row_number () OVER (ORDER BY id), name, ?2, class"
      "  FROM main.feature WHERE disk = ?1)"
      " INSERT INTO main.feature SELECT *, " FEATURE_CHECKSUM " FROM feature";

  return connection_run_for_integer (connection, clone_sql, from, to, status);
}
