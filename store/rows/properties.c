/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is optional about a disk and others: see properties.h. */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "base/sane.h"
#include "rows/columns.h"
#include "rows/properties.h"

/* Bind KIND, OWNER and KEY, which may be NULL, as the first parameters. */
static void
bind_key (sqlite3_stmt *statement, enum property_kind kind, int64_t owner,
          const char *key)
{
  sqlite3_bind_int (statement, 1, kind);
  sqlite3_bind_int64 (statement, 2, owner);
  if (key)
    sqlite3_bind_text (statement, 3, key, -1, SQLITE_STATIC);
}

/* Add what ROW says to LIST. */
static int
add_row (sqlite3_stmt *row, struct optional *list, struct status *status)
{
  const char *key = (const char *)sqlite3_column_text (row, PROPERTY_KEY);
  const int type = sqlite3_column_type (row, PROPERTY_VALUE);
  struct property property = {
    .kind = sqlite3_column_int (row, PROPERTY_KIND),
    .key = key,
    .type = type == SQLITE_INTEGER ? PROPERTY_INTEGER
            : type == SQLITE_TEXT  ? PROPERTY_TEXT
                                   : PROPERTY_BYTES,
    .damaged = !sqlite3_column_int (row, PROPERTY_SUM),
  };

  if (!sane_key (key) ||
      strlen (key) != (size_t)sqlite3_column_bytes (row, PROPERTY_KEY))
    return 0;
  if (type == SQLITE_INTEGER)
    property.integer = sqlite3_column_int64 (row, PROPERTY_VALUE);
  else {
    property.bytes = sqlite3_column_blob (row, PROPERTY_VALUE);
    property.length = sqlite3_column_bytes (row, PROPERTY_VALUE);
  }
  if (property.length > PROPERTY_VALUE_MAX) {
    property.length = 0;
    property.damaged = true;
  }
  return optional_add_property (list, &property, status);
}

int
properties_read (struct connection *connection, enum property_kind kind,
                 int64_t owner, struct optional *list, struct status *status)
{
  static const char read_sql[] = "SELECT property.id" EACH_PROPERTY_COLUMN (
      COLUMN_NAME) ", property.checksum = " PROPERTY_CHECKSUM
                   " FROM property WHERE kind = ?1 AND owner = ?2"
                   " ORDER BY key LIMIT ?3";
  CLEANUP_STATEMENT sqlite3_stmt *read =
      connection_statement (connection, read_sql, status);
  int r;

  if (read == NULL)
    return -1;
  bind_key (read, kind, owner, NULL);
  sqlite3_bind_int (read, 3, 2 * PROPERTIES_MAX + 1);
  while ((r = connection_step (connection, read, status)) == 1)
    if (add_row (read, list, status) == -1)
      return -1;
  return r;
}

/* Fail where OWNER cannot have one more, of KEY. */
static int
check_room (struct connection *connection, int64_t owner,
            const struct property *property, struct status *status)
{
  static const char count_sql[] =
      "SELECT count (*) FROM property"
      " WHERE kind = ?1 AND owner = ?2 AND key <> ?3"
      " AND (key GLOB '" PROPERTY_HOLD "*') = (?3 GLOB '" PROPERTY_HOLD "*')";
  CLEANUP_STATEMENT sqlite3_stmt *count =
      connection_statement (connection, count_sql, status);
  const bool hold = optional_key_behind (property->key, PROPERTY_HOLD) != NULL;

  if (optional_key_behind (property->key, PROPERTY_TRASH) ||
      strcmp (property->key, PROPERTY_TOLD) == 0 ||
      strcmp (property->key, PROPERTY_SHRUNK) == 0)
    return 0;
  if (count == NULL)
    return -1;
  bind_key (count, property->kind, owner, property->key);
  if (connection_step (connection, count, status) == -1)
    return -1;
  if (sqlite3_column_int64 (count, 0) < PROPERTIES_MAX)
    return 0;
  return status_fail (status, EDQUOT,
                      "it has %d %s, and cannot have more; %s one",
                      PROPERTIES_MAX, hold ? "holds" : "properties",
                      hold ? "release" : "remove");
}

static void
bind_value (sqlite3_stmt *statement, int parameter,
            const struct property *property)
{
  if (property->type == PROPERTY_INTEGER)
    sqlite3_bind_int64 (statement, parameter, property->integer);
  else if (property->type == PROPERTY_TEXT)
    sqlite3_bind_text (statement, parameter, property->bytes, property->length,
                       SQLITE_STATIC);
  else
    sqlite3_bind_blob (statement, parameter, property->bytes, property->length,
                       SQLITE_STATIC);
}

int
properties_set (struct connection *connection, int64_t owner,
                const struct property *property, struct status *status)
{
  static const char set_sql[] =
      "WITH property (id, kind, owner, key, value) AS"
      " (SELECT ifnull ((SELECT id FROM main.property"
      "   WHERE kind = ?1 AND owner = ?2 AND key = ?3),"
      "   " HIGHEST_PROPERTY " + 1),"
      "  ?1, ?2, ?3, ?4)"
      " INSERT OR REPLACE INTO main.property SELECT *, " PROPERTY_CHECKSUM
      " FROM property";
  CLEANUP_STATEMENT sqlite3_stmt *set =
      connection_statement (connection, set_sql, status);

  if (set == NULL || check_room (connection, owner, property, status) == -1)
    return -1;
  bind_key (set, property->kind, owner, property->key);
  bind_value (set, 4, property);
  return connection_step (connection, set, status);
}

/* Remove the property of exactly this key.  Returns 1, 0 where there is none,
 * or -1.
 */
static int
remove_key (struct connection *connection, enum property_kind kind,
            int64_t owner, const char *key, struct status *status)
{
  static const char remove_sql[] =
      "DELETE FROM property WHERE kind = ?1 AND owner = ?2 AND key = ?3";
  CLEANUP_STATEMENT sqlite3_stmt *statement =
      connection_statement (connection, remove_sql, status);

  if (statement == NULL)
    return -1;
  bind_key (statement, kind, owner, key);
  if (connection_step (connection, statement, status) == -1)
    return -1;
  return sqlite3_changes (connection->db) > 0;
}

/* Is TEXT, of LENGTH bytes, PRINTED so, and not to be typed? */
static bool
is_shown_as (const char *text, size_t length, const char *printed)
{
  const signed char *key = (const signed char *)text;
  const signed char *shown = (const signed char *)printed;
  size_t i = 0;

  if (strlen (text) == length && sane_text (text))
    return false;
  while (i < length && key[i] && shown[i] &&
         (key[i] == shown[i] ||
          (shown[i] == '?' && (key[i] < ' ' || key[i] == 0x7f))))
    i++;
  return shown[i] == '\0' && (i == length || key[i] == '\0');
}

/* The same for one whose key nobody can type: for KEY as it is printed. */
static int
remove_shown (struct connection *connection, enum property_kind kind,
              int64_t owner, const char *key, struct status *status)
{
  static const char keys_sql[] =
      "SELECT id, key FROM property WHERE kind = ?1 AND owner = ?2";
  static const char remove_sql[] = "DELETE FROM property WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, keys_sql, status);
  int r;

  if (row == NULL)
    return -1;
  bind_key (row, kind, owner, NULL);
  while ((r = connection_step (connection, row, status)) == 1)
    if (is_shown_as ((const char *)sqlite3_column_text (row, 1),
                     sqlite3_column_bytes (row, 1), key))
      return connection_run_for (connection, remove_sql,
                                 sqlite3_column_int64 (row, 0), status) == -1
                 ? -1
                 : 1;
  return r;
}

int
properties_remove (struct connection *connection, enum property_kind kind,
                   int64_t owner, const char *key, struct status *status)
{
  const int r = remove_key (connection, kind, owner, key, status);

  return r == 0 ? remove_shown (connection, kind, owner, key, status) : r;
}

int
properties_set_text (struct connection *connection, enum property_kind kind,
                     int64_t owner, const char *key, const char *text,
                     struct status *status)
{
  const struct property property = {
    .kind = kind,
    .key = key,
    .type = PROPERTY_TEXT,
    .bytes = text,
    .length = strlen (text),
  };

  if (text[0])
    return properties_set (connection, owner, &property, status);
  return properties_remove (connection, kind, owner, key, status) == -1 ? -1
                                                                        : 0;
}

int
properties_drop (struct connection *connection, enum property_kind kind,
                 int64_t owner, struct status *status)
{
  static const char drop_sql[] =
      "DELETE FROM property WHERE kind = ?1 AND owner = ?2";
  CLEANUP_STATEMENT sqlite3_stmt *drop =
      connection_statement (connection, drop_sql, status);

  if (drop == NULL)
    return -1;
  bind_key (drop, kind, owner, NULL);
  return connection_step (connection, drop, status);
}

/* SQL: disk ?2 gets those of disk ?1 of WHICH keys. */
#define CLONE(which)                                                           \
  "WITH property (id, kind, owner, key, value) AS"                             \
  " (SELECT " HIGHEST_PROPERTY " +"                                            \
  "   row_number () OVER (ORDER BY id), kind, ?2, key, value"                  \
  "  FROM main.property WHERE kind = 1 AND owner = ?1"                         \
  "   AND checksum = row_checksum ('property', id, kind, owner, key, value)"   \
  "   AND (" which "))"                                                        \
  " INSERT INTO main.property SELECT *, " PROPERTY_CHECKSUM " FROM property"

#define IS_ACCESS "key IN ('" PROPERTY_ALLOW "', '" PROPERTY_EXCLUSIVE "')"

int
properties_clone (struct connection *connection, int64_t from, int64_t to,
                  struct status *status)
{
  static const char clone_sql[] =
      CLONE (IS_ACCESS " OR (key <> 'id' AND key NOT GLOB '" PROPERTY_HOLD "*'"
                       "  AND key NOT GLOB '" PROPERTY_LOCAL "*')");

  return connection_run_for_integer (connection, clone_sql, from, to, status);
}

int
properties_clone_access (struct connection *connection, int64_t from,
                         int64_t to, struct status *status)
{
  static const char clone_sql[] = CLONE (IS_ACCESS);

  return connection_run_for_integer (connection, clone_sql, from, to, status);
}

int
properties_make_id (struct connection *connection, struct status *status)
{
  static const char insert_sql[] =
      "WITH property (id, kind, owner, key, value) AS MATERIALIZED"
      " (VALUES (1, 0, 0, 'id', randomblob (16)))"
      " INSERT INTO main.property SELECT *, " PROPERTY_CHECKSUM
      " FROM property";

  return connection_run (connection, insert_sql, status);
}
