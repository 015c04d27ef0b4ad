/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The blocks that a view shows, as they are stored: see layers.h.
 *
 * First the indexes say which row each block shows, then these are read one by
 * one, in their order.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/packed.h"
#include "block/checksum.h"
#include "block/codec.h"
#include "rows/content.h"
#include "rows/layers.h"

/* What is being packed. */
struct packing {
  struct connection *connection;
  uint32_t block_size;
  char *buffer;  /* NULL: only its length is asked for */
  size_t length; /* so far */
};

/* Add DATA of LENGTH bytes, that of block I. */
static void
add (struct packing *packing, uint32_t i, uint32_t codec, const void *data,
     size_t length)
{
  if (packing->buffer) {
    packed_set (packing->buffer, i, codec, length);
    if (length > 0)
      memcpy (packing->buffer + packing->length, data, length);
  }
  packing->length += length;
}

/* Add content ID. */
static int
add_content (struct packing *packing, uint32_t i, int64_t id,
             struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *row = NULL;
  struct content content;

  if (content_find (packing->connection, id, packing->block_size, &content,
                    &row, status) == -1)
    return -1;
  add (packing, i, content.codec, content.data, content.length);
  return 0;
}

/* Add what ROW has, if it is as it was written. */
static int
add_row (struct packing *packing, uint32_t i, const struct block_row *row,
         struct status *status)
{
  if (row->data == NULL &&
      sqlite3_errcode (packing->connection->db) == SQLITE_NOMEM)
    return status_no_memory (status);
  if (!checksum_fits (row))
    return status_fail (status, EIO,
                        "its checksum does not match; restore the block "
                        "from a backup");
  if (row->codec == CODEC_CONTENT)
    return add_content (packing, i, row->content, status);
  if (codec_check (row->codec, row->length, packing->block_size, status) == -1)
    return -1;
  add (packing, i, row->codec, row->data, row->length);
  return 0;
}

/* Add block NUMBER, the Ith, whose row is in the layer and of the generation
 * POINT.
 */
static int
pack_block (struct packing *packing, uint32_t i, uint64_t number,
            const struct layer_point *point, struct status *status)
{
  static const char row_sql[] =
      "SELECT codec, checksum, data, content FROM block INDEXED BY"
      " block_by_number WHERE layer = ?1 AND number = ?2 AND generation = ?3";
  CLEANUP_STATEMENT sqlite3_stmt *statement =
      connection_statement (packing->connection, row_sql, status);
  struct block_row row;
  int r;

  if (statement == NULL)
    return -1;
  row_bind (statement, point->layer, number, point->generation);
  r = connection_step (packing->connection, statement, status);
  if (r != 1)
    return r == -1 ? -1 : status_fail (status, EIO, "its row is gone");
  row = (struct block_row){
    .layer = point->layer,
    .number = number,
    .generation = point->generation,
    .codec = sqlite3_column_int64 (statement, 0),
    .checksum = sqlite3_column_int64 (statement, 1),
    .data = sqlite3_column_blob (statement, 2),
    .length = sqlite3_column_bytes (statement, 2),
    .content = sqlite3_column_int64 (statement, 3),
  };
  return add_row (packing, i, &row, status);
}

/* Count the bytes of block NUMBER, without reading them. */
static int
measure_block (struct packing *packing, uint64_t number,
               const struct layer_point *point, struct status *status)
{
  static const char length_sql[] =
      "SELECT length (ifnull (block.data,"
      "  (SELECT data FROM content WHERE id = block.content)))"
      " FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND number = ?2 AND generation = ?3";
  CLEANUP_STATEMENT sqlite3_stmt *statement =
      connection_statement (packing->connection, length_sql, status);
  int64_t length;
  int r;

  if (statement == NULL)
    return -1;
  row_bind (statement, point->layer, number, point->generation);
  r = connection_step (packing->connection, statement, status);
  length = r == 1 ? sqlite3_column_int64 (statement, 0) : 0;
  if (length > 0 && length <= packing->block_size + PACKED_ADDED)
    packing->length += length;
  return r == -1 ? -1 : 0;
}

int
view_pack (struct connection *connection, const struct view *view,
           uint64_t first, uint32_t count, void *buffer, size_t *length,
           struct status *status)
{
  struct layer_point *rows = malloc (count * sizeof *rows);
  struct packing packing = {
    .connection = connection,
    .block_size = view->block_size,
    .buffer = buffer,
    .length = PACKED_HEAD (count),
  };
  int r = rows ? view_rows (connection, view, first, count, rows, status)
               : status_no_memory (status);

  for (uint32_t i = 0; r == 0 && i < count; i++) {
    if (rows[i].layer == 0)
      add (&packing, i, CODEC_ZERO, NULL, 0);
    else
      r = buffer ? pack_block (&packing, i, first + i, &rows[i], status)
                 : measure_block (&packing, first + i, &rows[i], status);
    if (r == -1)
      status_prefix (status, "block %" PRIu64 " (byte %" PRIu64 ")", first + i,
                     (first + i) * view->block_size);
  }
  free (rows);
  *length = packing.length;
  return r;
}
