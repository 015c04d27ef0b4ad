/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a program must know to use a file: see features.h. */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "block/codec.h"
#include "rows/columns.h"
#include "rows/content.h"
#include "rows/features.h"

bool
features_know (const char *name)
{
  return name &&
         (codec_has_feature (name) || strcmp (name, CONTENT_FEATURE) == 0);
}

/* Say that the feature in which ROW stands keeps this program off. */
static int
fail_feature (sqlite3_stmt *row, struct status *status)
{
  const char *name = (const char *)sqlite3_column_text (row, FEATURE_NAME);

  if (!sqlite3_column_int (row, FEATURE_SUM))
    return status_fail (status, EIO,
                        "the row of the feature '%.100s' is damaged; restore "
                        "the database from a backup, or see 'sqlblock check "
                        "--salvage'",
                        name ? name : "");
  return status_fail (
      status,
      sqlite3_column_int64 (row, FEATURE_CLASS) == FEATURE_READ_ONLY ? EROFS
                                                                     : ENOTSUP,
      "the database uses the feature '%.100s', which this program does not "
      "have; use a newer one, or one that was built with it",
      name ? name : "");
}

/* A row that this program knows may be damaged: what is missing then is only
 * what others are told.
 */
int
features_check (struct connection *connection, bool write,
                struct status *status)
{
  static const char features_sql[] = "SELECT feature.id" EACH_FEATURE_COLUMN (
      COLUMN_NAME) ", feature.checksum = " FEATURE_CHECKSUM
                   " FROM feature NOT INDEXED";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, features_sql, status);
  int r;

  if (row == NULL)
    return -1;
  while ((r = connection_step (connection, row, status)) == 1) {
    const int64_t class = sqlite3_column_int64 (row, FEATURE_CLASS);

    if (features_know ((const char *)sqlite3_column_text (row, FEATURE_NAME)))
      continue;
    if (!sqlite3_column_int (row, FEATURE_SUM) ||
        (class != FEATURE_IGNORABLE && (class != FEATURE_READ_ONLY || write)))
      return fail_feature (row, status);
  }
  return r;
}

int
features_add (struct connection *connection, const char *name,
              struct status *status)
{
  static const char add_sql[] =
      "WITH feature (id, name, disk, class) AS"
      " (SELECT (SELECT ifnull (max (id), 0) + 1 FROM main.feature), ?1, 0, 3)"
      " INSERT INTO main.feature SELECT *, " FEATURE_CHECKSUM " FROM feature"
      " WHERE true ON CONFLICT (name, disk) DO NOTHING";
  CLEANUP_STATEMENT sqlite3_stmt *add = NULL;

  if (name == NULL)
    return 0;
  add = connection_statement (connection, add_sql, status);
  if (add == NULL)
    return -1;
  sqlite3_bind_text (add, 1, name, -1, SQLITE_STATIC);
  return connection_step (connection, add, status);
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
      " (SELECT (SELECT max (id) FROM main.feature) +"
      "   row_number () OVER (ORDER BY id), name, ?2, class"
      "  FROM main.feature WHERE disk = ?1)"
      " INSERT INTO main.feature SELECT *, " FEATURE_CHECKSUM " FROM feature";
  CLEANUP_STATEMENT sqlite3_stmt *clone =
      connection_statement (connection, clone_sql, status);

  if (clone == NULL)
    return -1;
  sqlite3_bind_int64 (clone, 1, from);
  sqlite3_bind_int64 (clone, 2, to);
  return connection_step (connection, clone, status);
}
