/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is shown of a layer: see sight.h. */

#include <config.h>

#include "rows/layers.h"
#include "rows/sight.h"

/* Fill VIEW with the layers of ITEM: none if it is not there. */
static int
find_view (struct connection *connection, const struct usage_item *item,
           struct view *view, struct status *status)
{
  static const char layer_sql[] =
      "SELECT layer, 0 FROM disk WHERE id = ?1 AND ?2 = 0"
      " UNION ALL SELECT layer, generation FROM snapshot"
      " WHERE id = ?2 AND disk = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, layer_sql, status);
  int r;

  if (row == NULL)
    return -1;
  sqlite3_bind_int64 (row, 1, item->disk);
  sqlite3_bind_int64 (row, 2, item->snapshot);
  r = connection_step (connection, row, status);
  return r != 1 ? r
                : view_layers (connection, sqlite3_column_int64 (row, 0),
                               sqlite3_column_int64 (row, 1), view, status);
}

int
sight_find (struct sight *sight, struct connection *connection,
            const struct usage_item *item, int64_t layer, struct status *status)
{
  struct view view = { .depth = 0 };
  int r;

  if (sight->layer == layer)
    return 0;
  sight_free (sight);
  r = find_view (connection, item, &view, status);
  for (size_t i = 0; r == 0 && i < view.depth && sight->generation == 0; i++)
    if (view.layers[i].layer == layer)
      sight->generation = view.layers[i].generation;
    else
      r = hiding_add (&sight->hidden, view.layers[i].layer,
                      view.layers[i].generation, status);
  if (r == 0)
    sight->layer = layer;
  view_free (&view);
  return r;
}

int
sight_has (struct sight *sight, struct connection *connection, int64_t number,
           int64_t generation, int64_t newer, struct status *status)
{
  int r;

  if (sight->generation < generation || sight->generation >= newer)
    return 0;
  r = hiding_has (connection, &sight->hidden, number, status);
  return r == -1 ? -1 : !r;
}

void
sight_free (struct sight *sight)
{
  hiding_free (&sight->hidden);
  *sight = (struct sight){ 0 };
}
