/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A walk over the rows of a layer: see walk.h. */

#include <config.h>

#include <errno.h>

#include "rows/walk.h"

int
walk_begin (struct walk *walk, struct connection *connection, const char *sql,
            const struct layer_point *layer, uint64_t first, uint64_t last,
            int patience, struct status *status)
{
  *walk = (struct walk){
    .connection = connection,
    .statement = connection_statement (connection, sql, status),
    .layer = *layer,
    .first = first,
    .patience = patience,
    .seek = true,
    .seek_from = last,
    .number = -1,
  };
  return walk->statement ? 0 : -1;
}

void
walk_end (struct walk *walk)
{
  statement_done (&walk->statement);
}

int
walk_step (struct walk *walk, struct status *status)
{
  sqlite3_stmt *statement = walk->statement;

  if (walk->seek) {
    sqlite3_reset (statement);
    sqlite3_bind_int64 (statement, 1, walk->layer.layer);
    sqlite3_bind_int64 (statement, 2, walk->first);
    sqlite3_bind_int64 (statement, 3, walk->seek_from);
    sqlite3_bind_int64 (statement, 4, walk->layer.generation);
    walk->seek = false;
  }
  return connection_step (walk->connection, statement, status);
}

int
walk_fail (struct status *status)
{
  return status_fail (status, EIO,
                      "the index of the blocks is damaged; restore the "
                      "database from a backup");
}

int
walk_next (struct walk *walk, struct status *status)
{
  int r;

  if (walk_is_over (walk))
    return 0;
  while ((r = walk_step (walk, status)) == 1)
    switch (walk_look (walk, sqlite3_column_int64 (walk->statement, 0),
                       sqlite3_column_int64 (walk->statement, 1))) {
    case ROW_FOUND:
      return 1;
    case ROW_WRONG:
      return walk_fail (status);
    case ROW_OLDER:
    case ROW_TAIL:
    case ROW_NEWER:
      break;
    }
  return r;
}
