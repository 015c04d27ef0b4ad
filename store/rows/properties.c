/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is optional about a disk and others: see properties.h. */

#include <config.h>

#include "rows/columns.h"
#include "rows/properties.h"

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
  sqlite3_bind_int (drop, 1, kind);
  sqlite3_bind_int64 (drop, 2, owner);
  return connection_step (connection, drop, status);
}

int
properties_clone (struct connection *connection, int64_t from, int64_t to,
                  struct status *status)
{
  static const char clone_sql[] =
      "WITH property (id, kind, owner, key, value) AS"
      " (SELECT (SELECT max (id) FROM main.property) +"
      "   row_number () OVER (ORDER BY id), kind, ?2, key, value"
      "  FROM main.property WHERE kind = 1 AND owner = ?1"
      "   AND checksum = row_checksum ('property', id, kind, owner, key, value)"
      "   AND key NOT LIKE 'hold:%' AND key NOT LIKE 'local:%')"
      " INSERT INTO main.property SELECT *, " PROPERTY_CHECKSUM
      " FROM property";
  CLEANUP_STATEMENT sqlite3_stmt *clone =
      connection_statement (connection, clone_sql, status);

  if (clone == NULL)
    return -1;
  sqlite3_bind_int64 (clone, 1, from);
  sqlite3_bind_int64 (clone, 2, to);
  return connection_step (connection, clone, status);
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
