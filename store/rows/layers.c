/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Layers, and which of them a view sees: see layers.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "rows/layers.h"
#include "rows/properties.h"
#include "rows/viewers.h"

/* More layers than any chain that this program makes. */
#define DEPTH_MAX 100000

void
view_free (struct view *view)
{
  free (view->layers);
  free (view->ahead.map);
  *view = (struct view){ 0 };
}

int
view_check_range (const struct view *view, uint64_t offset, uint64_t count,
                  int error, struct status *status)
{
  if (offset <= view->size && count <= view->size - offset)
    return 0;
  return status_fail_changed (
      status, error, "the disk has shrunk; connect again to see its size");
}

uint64_t
view_blocks (const struct view *view)
{
  return (view->size - 1) / view->block_size + 1;
}

/* Append a layer to a view. */
static int
add_layer (struct view *view, int64_t layer, int64_t generation,
           struct status *status)
{
  if (view->depth == DEPTH_MAX)
    return status_fail (status, EIO, "the disk has more than %d layers",
                        DEPTH_MAX);
  if (view->depth == view->capacity) {
    const size_t capacity = view->capacity ? 2 * view->capacity : 4;
    struct layer_point *layers =
        realloc (view->layers, capacity * sizeof *layers);

    if (layers == NULL)
      return status_no_memory (status);
    view->layers = layers;
    view->capacity = capacity;
  }
  view->layers[view->depth++] =
      (struct layer_point){ .layer = layer, .generation = generation };
  return 0;
}

/* Add LAYER as of GENERATION, or for 0 as of now, and set both to its
 * parent, or LAYER to 0 where it has none.
 */
static int
add_layer_row (struct connection *connection, int64_t *layer,
               int64_t *generation, struct view *view, struct status *status)
{
  static const char layer_sql[] =
      "SELECT parent, parent_generation, generation,"
      " checksum = " LAYER_CHECKSUM " FROM layer WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, layer_sql, status);
  int64_t parent, present, parent_generation;
  int r;

  if (row == NULL)
    return -1;
  sqlite3_bind_int64 (row, 1, *layer);
  r = connection_step (connection, row, status);
  if (r == -1)
    return -1;
  parent = sqlite3_column_int64 (row, 0);
  parent_generation = sqlite3_column_int64 (row, 1);
  present = sqlite3_column_int64 (row, 2);
  if (r == 0 || !sqlite3_column_int (row, 3) || present < 1 ||
      *generation > present || parent < 0 || parent >= *layer ||
      (parent > 0) != (parent_generation > 0))
    return status_fail (status, EIO,
                        "layer %" PRId64 " is damaged; restore the database "
                        "from a backup",
                        *layer);
  if (add_layer (view, *layer, *generation ? *generation : present, status) ==
      -1)
    return -1;
  *layer = parent;
  *generation = parent_generation;
  return 0;
}

int
layer_create (struct connection *connection, const struct layer_point *parent,
              int64_t *id, struct status *status)
{
  static const char insert_sql[] =
      "INSERT INTO layer (generation, checksum) VALUES (?1, 0)";
  CLEANUP_STATEMENT sqlite3_stmt *insert =
      connection_statement (connection, insert_sql, status);

  if (insert == NULL)
    return -1;
  sqlite3_bind_int64 (insert, 1, parent ? GENERATION_CHILD : GENERATION_FIRST);
  if (connection_step (connection, insert, status) == -1)
    return -1;
  *id = sqlite3_last_insert_rowid (connection->db);
  return layer_set_parent (connection, *id, parent, status);
}

/* The row of LAYER was changed. */
static int
set_layer_checksum (struct connection *connection, int64_t layer,
                    struct status *status)
{
  static const char checksum_sql[] =
      "UPDATE layer SET checksum = " LAYER_CHECKSUM " WHERE id = ?1";

  return connection_run_for (connection, checksum_sql, layer, status);
}

int
layer_set_generation (struct connection *connection, int64_t layer,
                      int64_t generation, struct status *status)
{
  static const char generation_sql[] =
      "UPDATE layer SET generation = ?2 WHERE id = ?1";

  if (connection_run_for_integer (connection, generation_sql, layer, generation,
                                  status) == -1)
    return -1;
  return set_layer_checksum (connection, layer, status);
}

int
layer_set_parent (struct connection *connection, int64_t layer,
                  const struct layer_point *parent, struct status *status)
{
  static const char parent_sql[] =
      "UPDATE layer SET parent = ?2, parent_generation = ?3 WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *set =
      connection_statement (connection, parent_sql, status);

  if (set == NULL)
    return -1;
  sqlite3_bind_int64 (set, 1, layer);
  if (parent) {
    sqlite3_bind_int64 (set, 2, parent->layer);
    sqlite3_bind_int64 (set, 3, parent->generation);
  }
  if (connection_step (connection, set, status) == -1)
    return -1;
  return set_layer_checksum (connection, layer, status);
}

int
reclaim_add (struct connection *connection, int64_t layer,
             struct status *status)
{
  static const char add_sql[] = RECLAIM_ADD ("SELECT ?1 AS layer");

  return connection_run_for (connection, add_sql, layer, status);
}

int
reclaim_add_hidden (struct connection *connection, struct status *status)
{
  static const char hidden_sql[] =
      RECLAIM_ADD ("SELECT parent AS layer FROM layer WHERE parent IS NOT NULL"
                   " GROUP BY parent HAVING count (*) = 1"
                   " AND NOT " LAYER_LOOKED_AT ("layer.parent"));

  return connection_run (connection, hidden_sql, status);
}

int
reclaim_drop (struct connection *connection, int64_t layer,
              struct status *status)
{
  static const char drop_sql[] = "DELETE FROM reclaim WHERE layer = ?1";

  return connection_run_for (connection, drop_sql, layer, status);
}

int
layer_remove (struct connection *connection, int64_t layer,
              struct status *status)
{
  static const char remove_sql[] = "DELETE FROM layer WHERE id = ?1";

  if (reclaim_drop (connection, layer, status) == -1 ||
      properties_drop (connection, PROPERTY_LAYER, layer, status) == -1)
    return -1;
  return connection_run_for (connection, remove_sql, layer, status);
}

int
layers_count_damaged (struct connection *connection, int64_t *count,
                      struct status *status)
{
  static const char damaged_sql[] =
      "SELECT count (*) FROM layer WHERE checksum IS NOT " LAYER_CHECKSUM
      " OR (parent IS NOT NULL AND parent NOT IN (SELECT id FROM layer))";

  return connection_integer (connection, damaged_sql, count, status);
}

int
layer_has_row (struct connection *connection, int64_t layer, int64_t number,
               int64_t generation, struct status *status)
{
  static const char row_sql[] =
      "SELECT 1 FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND number = ?2 AND generation <= ?3 LIMIT 1";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, row_sql, status);

  if (row == NULL)
    return -1;
  row_bind (row, layer, number, generation);
  return connection_step (connection, row, status);
}

void
row_bind (sqlite3_stmt *statement, int64_t layer, int64_t number,
          int64_t generation)
{
  sqlite3_bind_int64 (statement, 1, layer);
  sqlite3_bind_int64 (statement, 2, number);
  sqlite3_bind_int64 (statement, 3, generation);
}

int
row_next_id (struct connection *connection, int64_t *id, struct status *status)
{
  static const char highest_sql[] =
      "SELECT 1 + max (ifnull ((SELECT max (id) FROM block), 0),"
      " ifnull ((SELECT max (last_block) FROM snapshot), 0))";

  return connection_integer (connection, highest_sql, id, status);
}

int
view_layers (struct connection *connection, int64_t layer, int64_t generation,
             struct view *view, struct status *status)
{
  view->ahead.count = 0;
  /* A parent's id is lower than its child's: this ends. */
  view->depth = 0;
  do
    if (add_layer_row (connection, &layer, &generation, view, status) == -1)
      return -1;
  while (layer != 0);
  return 0;
}
