/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Flattening: see flatten.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "rows/disks.h"
#include "rows/features.h"
#include "rows/flatten.h"
#include "rows/layers.h"
#include "rows/viewers.h"

/* What one step does at most: blocks looked at, rows deleted, and bytes of
 * blocks copied.
 */
#define STEP_BLOCKS  4096
#define STEP_DELETED 2048
#define STEP_BYTES   (4 * 1024 * 1024)

/* What a flatten works on. */
struct flatten {
  struct connection *connection;
  int64_t layer;  /* of the disk */
  int64_t lowest; /* generation at which it is looked at */
  struct view below;
  int64_t next_id; /* of a new row */
  uint64_t copied; /* bytes of blocks */
  uint32_t rows;   /* that were copied, or taken back */
};

/* Copy a row of another layer into the disk's. */
static int
copy_row (struct flatten *flatten, int64_t number,
          const struct layer_point *row, struct status *status)
{
  static const char copy_sql[] =
      "INSERT INTO block"
      " (id, layer, number, generation, codec, checksum, data, content)"
      " SELECT ?4, ?5, number, ?6, codec, moved_checksum (checksum, layer,"
      " number, generation, codec, ifnull (data, content), ?5, ?6), data,"
      " content FROM block"
      " WHERE layer = ?1 AND number = ?2 AND generation = ?3"
      " AND " CODEC_UNDERSTOOD ("block") " RETURNING ifnull (length (data), 0)";
  CLEANUP_STATEMENT sqlite3_stmt *copy =
      connection_statement (flatten->connection, copy_sql, status);
  int r;

  if (copy == NULL)
    return -1;
  if (flatten->next_id == INT64_MAX)
    return status_fail (status, EIO, "the database has used up its block ids");
  row_bind (copy, row->layer, number, row->generation);
  sqlite3_bind_int64 (copy, 4, flatten->next_id++);
  sqlite3_bind_int64 (copy, 5, flatten->layer);
  sqlite3_bind_int64 (copy, 6, GENERATION_TAKEN);
  flatten->rows++;
  while ((r = connection_step (flatten->connection, copy, status)) == 1)
    flatten->copied += sqlite3_column_int64 (copy, 0);
  return r;
}

/* Copy what COUNT blocks from progress->next on show of the layers below, and
 * move that on.
 */
static int
flatten_blocks (struct flatten *flatten, struct flatten_progress *progress,
                uint32_t count, struct status *status)
{
  struct layer_point *rows = calloc (count, sizeof *rows);
  uint64_t *next = &progress->next;
  const uint64_t most =
      progress->most < STEP_BYTES ? progress->most : STEP_BYTES;
  int r;

  if (rows == NULL)
    return status_no_memory (status);
  r = row_next_id (flatten->connection, &flatten->next_id, status);
  if (progress->first_id == 0)
    progress->first_id = flatten->next_id;
  if (r == 0)
    r = view_rows (flatten->connection, &flatten->below, *next, count, rows,
                   status);
  for (uint32_t i = 0;
       r == 0 && i < count && flatten->copied + 64 * flatten->rows < most;
       i++, ++*next) {
    if (rows[i].layer == 0)
      continue;
    r = layer_has_row (flatten->connection, flatten->layer, *next,
                       flatten->lowest, status);
    if (r == 0)
      r = copy_row (flatten, *next, &rows[i], status);
    else if (r == 1)
      r = 0;
  }
  free (rows);
  return r;
}

/* Take back the copy of a block of which the layers below show ROW. */
static int
take_back (struct flatten *flatten, int64_t first_id, int64_t number,
           const struct layer_point *row, struct status *status)
{
  static const char take_sql[] =
      "DELETE FROM block"
      " WHERE layer = ?5 AND number = ?2 AND generation = ?6 AND id >= ?4"
      " AND EXISTS (SELECT 1 FROM block AS below"
      " WHERE below.layer = ?1 AND below.number = ?2 AND below.generation = ?3"
      " AND below.codec = block.codec AND below.data IS block.data"
      " AND below.content IS block.content)"
      " AND " CODEC_UNDERSTOOD ("block") " RETURNING 1";
  CLEANUP_STATEMENT sqlite3_stmt *take =
      connection_statement (flatten->connection, take_sql, status);
  int r;

  if (take == NULL)
    return -1;
  row_bind (take, row->layer, number, row->generation);
  sqlite3_bind_int64 (take, 4, first_id);
  sqlite3_bind_int64 (take, 5, flatten->layer);
  sqlite3_bind_int64 (take, 6, GENERATION_TAKEN);
  while ((r = connection_step (flatten->connection, take, status)) == 1)
    flatten->rows++;
  return r;
}

/* The same for COUNT blocks from *NEXT on, and move *NEXT on. */
static int
take_blocks_back (struct flatten *flatten, int64_t first_id, uint64_t *next,
                  uint32_t count, struct status *status)
{
  struct layer_point *rows = calloc (count, sizeof *rows);
  int r;

  if (rows == NULL)
    return status_no_memory (status);
  r = view_rows (flatten->connection, &flatten->below, *next, count, rows,
                 status);
  for (uint32_t i = 0; r == 0 && i < count && flatten->rows < STEP_DELETED;
       i++, ++*next)
    if (rows[i].layer != 0)
      r = take_back (flatten, first_id, *next, &rows[i], status);
  free (rows);
  return r;
}

/* Everything is copied: cut the tie. */
static int
cut_tie (struct flatten *flatten, struct status *status)
{
  if (layer_set_parent (flatten->connection, flatten->layer, NULL, status) ==
          -1 ||
      reclaim_add (flatten->connection, flatten->layer, status) == -1)
    return -1;
  return reclaim_add (flatten->connection, flatten->below.layers[0].layer,
                      status);
}

/* Make flatten->below what the layer takes from its parents.  Returns 1, 0
 * where it has none, -1.
 */
static int
look_below (struct flatten *flatten, struct status *status)
{
  struct view *below = &flatten->below;

  if (view_layers (flatten->connection, flatten->layer, 0, below, status) == -1)
    return -1;
  below->depth--;
  for (size_t i = 0; i < below->depth; i++)
    below->layers[i] = below->layers[i + 1];
  return below->depth > 0;
}

int
flatten_copy_step (struct connection *connection, int64_t disk,
                   struct flatten_progress *progress, struct status *status)
{
  struct flatten flatten = { .connection = connection };
  uint64_t *next = &progress->next;
  struct layer_point head;
  int64_t child; /* none: the disk itself looks at its layer */
  int r;

  if (disks_head (connection, disk, &head, status) == -1)
    return -1;
  if (progress->layer != head.layer)
    *next = 0; /* the first step, or the disk was rolled back since */
  if (features_allow_layer (connection, head.layer, status) == -1)
    return -1;
  progress->layer = flatten.layer = head.layer;
  r = viewers_lowest (connection, head.layer, &flatten.lowest, &child, status);
  if (r == 0)
    r = look_below (&flatten, status);
  if (r == 1) {
    r = view_next_row (connection, &flatten.below, *next, INT64_MAX, next,
                       status);
    if (r == 0)
      r = *next == INT64_MAX
              ? cut_tie (&flatten, status)
              : (flatten_blocks (&flatten, progress, STEP_BLOCKS, status) == -1
                     ? -1
                     : 1);
  }
  view_free (&flatten.below);
  progress->copied += flatten.copied;
  return r;
}

int
flatten_undo_step (struct connection *connection, int64_t disk,
                   struct flatten_progress *progress, struct status *status)
{
  struct flatten flatten = { .connection = connection,
                             .layer = progress->layer };
  uint64_t *next = &progress->undone;
  struct layer_point head;
  int r;

  if (progress->first_id == 0)
    return 0;
  if (disks_head (connection, disk, &head, status) == -1)
    return -1;
  if (head.layer != progress->layer) /* it was rolled back since */
    return 0;
  if (features_allow_layer (connection, head.layer, status) == -1)
    return -1;
  r = look_below (&flatten, status);
  if (r == 1)
    r = view_next_row (connection, &flatten.below, *next, progress->next, next,
                       status);
  else if (r == 0)
    *next = progress->next;
  if (r != -1 && *next < progress->next)
    r = take_blocks_back (&flatten, progress->first_id, next, STEP_BLOCKS,
                          status);
  view_free (&flatten.below);
  return r == -1 ? -1 : *next < progress->next;
}
