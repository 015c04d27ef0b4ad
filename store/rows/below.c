/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What shows through from below: see below.h. */

#include <config.h>

#include <stdlib.h>

#include "rows/below.h"

/* How many blocks are mapped at a time. */
#define MAP_BLOCKS 65536

/* More than any number of a block. */
#define NUMBER_END INT64_MAX

static int
make_room (struct below *below, struct status *status)
{
  if (below->map == NULL)
    below->map = malloc (MAP_BLOCKS);
  if (below->details && below->rows == NULL)
    below->rows = malloc (MAP_BLOCKS * sizeof *below->rows);
  if (below->details && below->blocks == NULL)
    below->blocks = malloc (MAP_BLOCKS * sizeof *below->blocks);
  return below->map == NULL || (below->details &&
                                (below->rows == NULL || below->blocks == NULL))
             ? status_no_memory (status)
             : 0;
}

int
below_begin (struct below *below, struct connection *connection, int64_t layer,
             bool wanted, struct shown *shown, size_t viewers,
             struct status *status)
{
  static const char parent_sql[] = "SELECT parent, parent_generation FROM layer"
                                   " WHERE id = ?1 AND parent < id";
  CLEANUP_STATEMENT sqlite3_stmt *parent =
      connection_statement (connection, parent_sql, status);
  int r;

  below->view.depth = 0;
  below->details = shown != NULL;
  below->ended = true;
  below->first = below->count = 0;
  below->data = below->bytes = 0;
  below->shown = shown;
  below->viewers = viewers;
  if (parent == NULL)
    return -1;
  sqlite3_bind_int64 (parent, 1, layer);
  r = connection_step (connection, parent, status);
  if (r != 1)
    return r;
  below->ended = !wanted;
  return make_room (below, status) == -1
             ? -1
             : view_layers (connection, sqlite3_column_int64 (parent, 0),
                            sqlite3_column_int64 (parent, 1), &below->view,
                            status);
}

/* Look up the rows that are data. */
static int
look_up_blocks (struct below *below, struct connection *connection,
                struct status *status)
{
  static const char block_sql[] =
      "SELECT length (data), content FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND number = ?2 AND generation = ?3";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, block_sql, status);
  struct below_block *block;
  int64_t content;

  if (row == NULL)
    return -1;
  for (uint32_t i = 0; i < below->count; i++) {
    if (!below->map[i])
      continue;
    block = &below->blocks[i];
    sqlite3_reset (row);
    row_bind (row, below->rows[i].layer, below->first + i,
              below->rows[i].generation);
    if (connection_step (connection, row, status) == -1)
      return -1;
    block->bytes = sqlite3_column_int64 (row, 0);
    content = sqlite3_column_int64 (row, 1);
    block->span = content ? below->shown->count : SIZE_MAX;
    if (content &&
        shown_add (below->shown, content, 0, below->viewers, status) == -1)
      return -1;
    below->bytes += block->bytes;
  }
  return 0;
}

/* Map COUNT blocks from FIRST on. */
static int
map_part (struct below *below, struct connection *connection, uint64_t first,
          uint32_t count, struct status *status)
{
  below->first = first;
  below->count = count;
  if (count == 0)
    return 0;
  if (!below->details) {
    if (view_map (connection, &below->view, first, count, below->map, status) ==
        -1)
      return -1;
  }
  else if (view_rows (connection, &below->view, first, count, below->rows,
                      status) == -1)
    return -1;
  for (uint32_t i = 0; i < count; i++) {
    if (below->details)
      below->map[i] = below->rows[i].layer != 0;
    below->data += below->map[i];
  }
  return below->details ? look_up_blocks (below, connection, status) : 0;
}

int
below_advance (struct below *below, struct connection *connection,
               int64_t number, struct status *status)
{
  uint64_t next;

  while (!below->ended && below->first + below->count <= number) {
    if (view_next_row (connection, &below->view, below->first + below->count,
                       NUMBER_END, &next, status) == -1)
      return -1;
    below->ended = next >= NUMBER_END - MAP_BLOCKS;
    if (map_part (below, connection, next, below->ended ? 0 : MAP_BLOCKS,
                  status) == -1)
      return -1;
  }
  return 0;
}

int
below_finish (struct below *below, struct connection *connection,
              struct status *status)
{
  return below_advance (below, connection, NUMBER_END - 1, status);
}

void
below_free (struct below *below)
{
  view_free (&below->view);
  free (below->map);
  free (below->rows);
  free (below->blocks);
}
