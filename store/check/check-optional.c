/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is optional: the rows of features and properties; see check-parts.h.
 *
 * Rows of kinds, and with names and keys, that this program does not know are
 * right as long as their checksums are: they are of those who know them.
 */

#include <config.h>

#include <inttypes.h>
#include <string.h>

#include "base/sane.h"
#include "check/check-parts.h"
#include "rows/bookmarks.h"
#include "rows/columns.h"
#include "rows/features.h"
#include "rows/properties.h"

/* The columns after those of the tables. */
enum { HAS_OWNER = FEATURE_COLUMNS };

/* Is COLUMN a text without a zero byte, of at most PROPERTY_KEY_MAX bytes? */
static bool
is_word (sqlite3_stmt *row, int column)
{
  const char *text = (const char *)sqlite3_column_text (row, column);

  return text && *text && strlen (text) <= PROPERTY_KEY_MAX &&
         strlen (text) == (size_t)sqlite3_column_bytes (row, column) &&
         sane_text (text);
}

/* What is wrong with a row of features, or NULL.  Where its disk is missing,
 * one that kept this program off stays: a program that has it may save the
 * disk.
 */
static const char *
feature_fault (sqlite3_stmt *row, struct check_problem *problem)
{
  const bool known =
      is_word (row, FEATURE_NAME) &&
      features_know ((const char *)sqlite3_column_text (row, FEATURE_NAME));

  if (!sqlite3_column_int (row, FEATURE_SUM)) {
    problem->mend = known ? MEND_FEATURE : MEND_NOT;
    return "its checksum is wrong";
  }
  if (!is_word (row, FEATURE_NAME))
    return "its name is impossible";
  if (sqlite3_column_int (row, HAS_OWNER))
    return NULL;
  if (known || sqlite3_column_int64 (row, FEATURE_CLASS) == FEATURE_IGNORABLE)
    problem->mend = MEND_DISOWNED;
  return "its disk is missing";
}

static int
check_features (struct check *check, struct connection *connection,
                struct status *status)
{
  static const char features_sql[] = "SELECT feature.id" EACH_FEATURE_COLUMN (
      COLUMN_NAME) ", feature.checksum = " FEATURE_CHECKSUM ","
                   " disk = 0 OR disk IN (SELECT id FROM disk)"
                   " FROM feature NOT INDEXED ORDER BY id";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, features_sql, status);
  int r;

  if (row == NULL)
    return -1;
  while ((r = connection_step (connection, row, status)) == 1) {
    struct check_problem problem = {
      .kind = CHECK_FEATURE,
      .subject = sqlite3_column_int64 (row, FEATURE_ID),
    };
    const char *fault = feature_fault (row, &problem);

    if (fault)
      check_tell (check, &problem, "feature number %" PRId64 ": %s",
                  problem.subject, fault);
  }
  return r;
}

/* Is a row of properties a bookmark that cannot be? */
static bool
is_odd_bookmark (sqlite3_stmt *row)
{
  const char *key = (const char *)sqlite3_column_text (row, PROPERTY_KEY);
  const char *value = (const char *)sqlite3_column_text (row, PROPERTY_VALUE);

  return sqlite3_column_int (row, PROPERTY_KIND) == PROPERTY_DISK &&
         optional_key_behind (key, PROPERTY_BOOKMARK) &&
         (value == NULL || !bookmark_is_sane (value) ||
          strlen (value) != (size_t)sqlite3_column_bytes (row, PROPERTY_VALUE));
}

/* What is wrong with a row of properties, or NULL. */
static const char *
property_fault (sqlite3_stmt *row, struct check_problem *problem)
{
  const int type = sqlite3_column_type (row, PROPERTY_VALUE);

  if (!sqlite3_column_int (row, PROPERTY_SUM))
    return "its checksum is wrong";
  if (!is_word (row, PROPERTY_KEY))
    return "its key is impossible";
  if (type != SQLITE_INTEGER &&
      sqlite3_column_bytes (row, PROPERTY_VALUE) > PROPERTY_VALUE_MAX)
    return "its value is too long";
  if (is_odd_bookmark (row))
    return "no bookmark can be so";
  if (sqlite3_column_int (row, PROPERTY_COLUMNS))
    return NULL;
  problem->mend = MEND_PROPERTY;
  return "what it is about is missing";
}

static int
check_properties (struct check *check, struct connection *connection,
                  struct status *status)
{
  static const char properties_sql[] =
      "SELECT property.id" EACH_PROPERTY_COLUMN (
          COLUMN_NAME) ", property.checksum = " PROPERTY_CHECKSUM
                       ", " PROPERTY_HAS_OWNER
                       " FROM property NOT INDEXED ORDER BY id";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, properties_sql, status);
  int r;

  if (row == NULL)
    return -1;
  while ((r = connection_step (connection, row, status)) == 1) {
    struct check_problem problem = {
      .kind = CHECK_PROPERTY,
      .subject = sqlite3_column_int64 (row, PROPERTY_ID),
    };
    const char *fault = property_fault (row, &problem);

    if (fault)
      check_tell (check, &problem, "property number %" PRId64 ": %s",
                  problem.subject, fault);
  }
  return r;
}

/* Look for features of settings without these: nobody, or nobody more, is let
 * in until they are set again.  What is of no disk was told as that.
 */
static int
check_settings (struct check *check, struct connection *connection,
                struct status *status)
{
  static const char lost_sql[] =
      "SELECT feature.name, disk.name FROM feature"
      " LEFT JOIN disk ON disk.id = feature.disk"
      " WHERE feature.name IN ('" FEATURE_ALLOW "', '" FEATURE_EXCLUSIVE "',"
      "  '" FEATURE_LITESTREAM "')"
      " AND (feature.disk = 0 OR disk.id IS NOT NULL)"
      " AND NOT EXISTS (SELECT 1 FROM property"
      "  WHERE kind = (feature.disk <> 0) AND owner = feature.disk"
      "   AND key = '" PROPERTY_LOCAL "' || feature.name)";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, lost_sql, status);
  int r;

  if (row == NULL)
    return -1;
  while ((r = connection_step (connection, row, status)) == 1) {
    struct check_problem problem = { .kind = CHECK_PROPERTY };
    const char *disk = (const char *)sqlite3_column_text (row, 1);

    if (disk)
      check_add_shown (&problem, disk);
    check_tell (check, &problem,
                "what the setting %s of %s%s%s was is lost; set it again",
                (const char *)sqlite3_column_text (row, 0),
                disk ? "disk '" : "the database", disk ? disk : "",
                disk ? "'" : "");
  }
  return r;
}

/* Look for encrypted disks of which one of both is lost: what says that they
 * are, or how.
 */
static int
check_encryption (struct check *check, struct connection *connection,
                  struct status *status)
{
  static const char lost_sql[] =
      "WITH said (disk) AS (SELECT disk FROM feature"
      "  WHERE name = '" FEATURE_ENCRYPTED "'),"
      " how (disk) AS (SELECT owner FROM property WHERE kind = 1"
      "  AND key = '" PROPERTY_ENCRYPTION "')"
      " SELECT name, id IN said FROM disk"
      " WHERE (id IN said) <> (id IN how) ORDER BY id";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, lost_sql, status);
  int r;

  if (row == NULL)
    return -1;
  while ((r = connection_step (connection, row, status)) == 1) {
    struct check_problem problem = { .kind = CHECK_PROPERTY };
    const char *disk = (const char *)sqlite3_column_text (row, 0);

    check_add_shown (&problem, disk ? disk : "?");
    check_tell (check, &problem,
                "disk '%s' is encrypted, and what says %s is lost; restore the "
                "database from a backup",
                disk ? disk : "?", sqlite3_column_int (row, 1) ? "how" : "so");
  }
  return r;
}

int
check_optional (struct check *check, struct connection *connection,
                struct status *status)
{
  return check_features (check, connection, status) == -1 ||
                 check_properties (check, connection, status) == -1 ||
                 check_settings (check, connection, status) == -1
             ? -1
             : check_encryption (check, connection, status);
}
