/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is optional and goes along: see carried.h. */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "base/sane.h"
#include "rows/carried.h"
#include "rows/columns.h"
#include "rows/features.h"
#include "rows/properties.h"

/* Add those of FOUND that go along to LIST; of what is not sent WHOLE, with
 * which key it is encrypted.
 */
static int
add_properties (const struct optional *found, bool whole, struct optional *list,
                struct status *status)
{
  size_t count = 0;

  for (size_t i = 0; i < found->property_count; i++) {
    const struct property *property = &found->properties[i];

    if (optional_stays (property->key) ||
        (!whole && strcmp (property->key, PROPERTY_ENCRYPTION) != 0))
      continue;
    if (++count > PROPERTIES_MAX)
      return status_fail (status, EIO,
                          "there are more than %d properties of one disk or "
                          "snapshot, which no program makes",
                          PROPERTIES_MAX);
    if (property->damaged && optional_key_encrypts (property->key))
      return status_fail (status, EIO,
                          "what says how it is encrypted, or a slot of its "
                          "key, is damaged, and a copy would not have it; "
                          "restore the database from a backup, or \"sqlblock "
                          "key remove\" the slot");
    if (!property->damaged &&
        optional_add_property (list, property, status) == -1)
      return -1;
  }
  return 0;
}

static int
read_properties (struct connection *connection, enum property_kind kind,
                 int64_t owner, bool whole, struct optional *list,
                 struct status *status)
{
  struct optional found = { 0 };
  int r = properties_read (connection, kind, owner, &found, status);

  if (r == 0)
    r = add_properties (&found, whole, list, status);
  optional_free (&found);
  return r;
}

static int
read_features (struct connection *connection, int64_t disk,
               struct optional *list, struct status *status)
{
  static const char features_sql[] = "SELECT feature.id" EACH_FEATURE_COLUMN (
      COLUMN_NAME) ", feature.checksum = " FEATURE_CHECKSUM
                   " FROM feature WHERE disk = ?1 ORDER BY name";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, features_sql, status);
  int r;

  if (row == NULL)
    return -1;
  sqlite3_bind_int64 (row, 1, disk);
  while ((r = connection_step (connection, row, status)) == 1) {
    const struct disk_feature feature = {
      .name = (const char *)sqlite3_column_text (row, FEATURE_NAME),
      .class = sqlite3_column_int64 (row, FEATURE_CLASS),
    };

    if (!sqlite3_column_int (row, FEATURE_SUM) || !sane_key (feature.name) ||
        list->feature_count == FEATURES_MAX)
      return status_fail (status, EIO,
                          "the rows of its features are damaged; \"sqlblock "
                          "check\" says more");
    if (!features_stay (feature.name) &&
        optional_add_feature (list, &feature, status) == -1)
      return -1;
  }
  return r;
}

int
carried_read (struct connection *connection, int64_t disk, int64_t snapshot,
              bool whole, struct optional *list, struct status *status)
{
  if (read_properties (connection, PROPERTY_DISK, disk, whole, list, status) ==
          -1 ||
      read_properties (connection, PROPERTY_SNAPSHOT, snapshot, true, list,
                       status) == -1)
    return -1;
  return read_features (connection, disk, list, status);
}

/* Can this program take a disk with FEATURE, see carried_check? */
static bool
can_take (const struct disk_feature *feature, bool changes)
{
  return feature->class == FEATURE_IGNORABLE ||
         (feature->class == FEATURE_READ_ONLY && !changes) ||
         features_know (feature->name);
}

int
carried_check (const struct optional *list, bool changes, struct status *status)
{
  for (size_t i = 0; i < list->feature_count; i++) {
    const struct disk_feature *feature = &list->features[i];

    if (!can_take (feature, changes))
      return status_fail (status, ENOTSUP,
                          "the disk uses the feature '%s', which this program "
                          "does not have%s; use a newer one, or one that was "
                          "built with it",
                          feature->name,
                          feature->class == FEATURE_READ_ONLY
                              ? ", and so can only take whole, as a new disk"
                              : "");
  }
  return 0;
}

int
carried_put (struct connection *connection, int64_t disk, int64_t snapshot,
             const struct optional *list, struct status *status)
{
  for (size_t i = 0; i < list->property_count; i++) {
    const struct property *property = &list->properties[i];
    const int64_t owner = property->kind == PROPERTY_DISK ? disk : snapshot;

    if (properties_set (connection, owner, property, status) == -1)
      return -1;
  }
  for (size_t i = 0; i < list->feature_count; i++)
    if (features_put (connection, disk, list->features[i].name,
                      list->features[i].class, status) == -1)
      return -1;
  return 0;
}
