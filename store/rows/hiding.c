/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the only child of a layer does not show of it: see hiding.h. */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "rows/hiding.h"

int
hiding_add (struct hiding *hiding, int64_t layer, int64_t generation,
            struct status *status)
{
  struct layer_point *layers =
      grow (hiding->layers, hiding->count, sizeof *layers);

  if (layers == NULL)
    return status_no_memory (status);
  hiding->layers = layers;
  layers[hiding->count++] = (struct layer_point){ layer, generation };
  return 0;
}

/* Look up what LAYER hides from hiding->first on. */
static int
map_layer (struct connection *connection, struct hiding *hiding,
           const struct layer_point *layer, struct status *status)
{
  static const char rows_sql[] =
      "SELECT number FROM block INDEXED BY block_by_number WHERE layer = ?1"
      " AND number BETWEEN ?2 AND ?3 AND generation <= ?4";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, rows_sql, status);
  const int64_t most = INT64_MAX - HIDING_BLOCKS;
  int r;

  if (rows == NULL)
    return -1;
  sqlite3_bind_int64 (rows, 1, layer->layer);
  sqlite3_bind_int64 (rows, 2, hiding->first);
  sqlite3_bind_int64 (rows, 3,
                      (hiding->first < most ? hiding->first : most) +
                          HIDING_BLOCKS - 1);
  sqlite3_bind_int64 (rows, 4, layer->generation);
  while ((r = connection_step (connection, rows, status)) == 1)
    hiding->map[sqlite3_column_int64 (rows, 0) - hiding->first] = 1;
  return r;
}

int
hiding_has (struct connection *connection, struct hiding *hiding,
            int64_t number, struct status *status)
{
  const bool first = hiding->map == NULL;

  if (hiding->count == 0)
    return 0;
  if (first) {
    hiding->map = malloc (HIDING_BLOCKS);
    if (hiding->map == NULL)
      return status_no_memory (status);
  }
  if (first || number < hiding->first ||
      number - hiding->first >= HIDING_BLOCKS) {
    hiding->first = number;
    memset (hiding->map, 0, HIDING_BLOCKS);
    for (size_t i = 0; i < hiding->count; i++)
      if (map_layer (connection, hiding, &hiding->layers[i], status) == -1)
        return -1;
  }
  return hiding->map[number - hiding->first];
}

void
hiding_free (struct hiding *hiding)
{
  free (hiding->layers);
  free (hiding->map);
  *hiding = (struct hiding){ 0 };
}
