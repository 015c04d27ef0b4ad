/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Reading what a view shows: see layers.h.
 *
 * Layer by layer, the disk's own first, and only what is still missing; a bit
 * for each block says what was found.  What no layer has is zeroes.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "block/checksum.h"
#include "block/codec.h"
#include "rows/content.h"
#include "rows/layers.h"
#include "rows/walk.h"

/* How many blocks view_read handles at a time: 1 KiB of bits. */
#define READ_BLOCKS 8192

/* A part of at most READ_BLOCKS blocks of a read in progress. */
struct part {
  const struct view *view;
  char *buffer;
  uint64_t offset, count;           /* bytes, the same as in the buffer */
  uint64_t first, last;             /* blocks */
  uint64_t missing;                 /* how many blocks were not found yet */
  uint64_t found[READ_BLOCKS / 64]; /* a bit for each that was */
};

static bool
part_has (const struct part *part, uint64_t number)
{
  const uint64_t i = number - part->first;

  return part->found[i / 64] >> (i % 64) & 1;
}

/* Where block NUMBER lies in the buffer, and which of its bytes. */
static char *
part_place (const struct part *part, uint64_t number, uint32_t *from,
            uint32_t *count)
{
  const uint64_t start = number * part->view->block_size;
  const uint64_t end = start + part->view->block_size;
  const uint64_t part_end = part->offset + part->count;
  const uint64_t first = start < part->offset ? part->offset : start;

  *from = first - start;
  *count = (end < part_end ? end : part_end) - first;
  return part->buffer + (first - part->offset);
}

/* Check the row at which a walk stands and copy what is asked for of it. */
static int
copy_row (const struct part *part, const struct walk *walk,
          struct status *status)
{
  const uint32_t block_size = part->view->block_size;
  sqlite3_stmt *statement = walk->statement;
  const struct block_row row = {
    .layer = walk->layer.layer,
    .number = walk->number,
    .generation = walk->generation,
    .codec = sqlite3_column_int64 (statement, 2),
    .checksum = sqlite3_column_int64 (statement, 3),
    .data = sqlite3_column_blob (statement, 4),
    .length = sqlite3_column_bytes (statement, 4),
    .content = sqlite3_column_int64 (statement, 5),
  };
  const struct block_key key = { .key = part->view->key, .number = row.number };
  uint32_t from, count;
  char *place;

  if (row.data == NULL &&
      sqlite3_errcode (walk->connection->db) == SQLITE_NOMEM)
    return status_no_memory (status);
  if (!checksum_fits (&row))
    return status_fail (status, EIO,
                        "its checksum does not match; restore the block "
                        "from a backup");
  place = part_place (part, walk->number, &from, &count);
  if (row.codec == CODEC_CONTENT)
    return content_read (walk->connection, row.content, &key, block_size, from,
                         count, place, status);
  if (codec_check (row.codec, row.length, block_size, status) == -1)
    return -1;
  return codec_copy (&walk->connection->workspace, row.codec, &key, row.data,
                     row.length, block_size, from, count, place, status);
}

static int
read_row (struct part *part, const struct walk *walk, struct status *status)
{
  const uint64_t i = walk->number - part->first;

  if (copy_row (part, walk, status) == -1)
    return -1;
  part->found[i / 64] |= UINT64_C (1) << (i % 64);
  part->missing--;
  return 0;
}

/* Read what one layer has of the blocks that are still missing. */
static int
read_layer (struct connection *connection, struct part *part,
            const struct layer_point *layer, struct status *status)
{
  static const char rows_sql[] =
      "SELECT number, generation, codec, checksum, data, content"
      " FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND number >= ?2"
      " AND (number, generation) <= (?3, ?4)"
      " ORDER BY number DESC, generation DESC";
  uint64_t first = part->first, last = part->last;
  CLEANUP_WALK struct walk walk = { 0 };
  int r;

  while (part_has (part, first))
    first++;
  while (part_has (part, last))
    last--;
  if (walk_begin (&walk, connection, rows_sql, layer, first, last, 0, status) ==
      -1)
    return -1;
  while (part->missing > 0 && (r = walk_next (&walk, status)) != 0) {
    if (r == -1)
      return -1;
    if (!part_has (part, walk.number) && read_row (part, &walk, status) == -1)
      return status_prefix (status, "block %" PRId64 " (byte %" PRIu64 ")",
                            walk.number,
                            walk.number * (uint64_t)part->view->block_size);
  }
  return 0;
}

/* Zero what no layer has. */
static void
zero_missing (const struct part *part)
{
  uint32_t from, count;
  char *place;

  for (uint64_t number = part->first; number <= part->last; number++)
    if (!part_has (part, number)) {
      place = part_place (part, number, &from, &count);
      memset (place, 0, count);
    }
}

static int
read_part (struct connection *connection, struct part *part,
           struct status *status)
{
  const struct view *view = part->view;

  part->first = part->offset / view->block_size;
  part->last = (part->offset + part->count - 1) / view->block_size;
  part->missing = part->last - part->first + 1;
  memset (part->found, 0, (part->missing + 63) / 64 * sizeof part->found[0]);
  for (size_t i = 0; i < view->depth && part->missing > 0; i++)
    if (read_layer (connection, part, &view->layers[i], status) == -1)
      return -1;
  if (part->missing > 0)
    zero_missing (part);
  return 0;
}

int
view_read (struct connection *connection, const struct view *view, void *buffer,
           uint64_t offset, uint64_t count, struct status *status)
{
  const uint64_t most = (uint64_t)(READ_BLOCKS - 1) * view->block_size;
  struct part part;

  part.view = view;
  part.buffer = buffer;
  part.offset = offset;
  while (count > 0) {
    part.count = count < most ? count : most;
    if (read_part (connection, &part, status) == -1)
      return -1;
    part.buffer += part.count;
    part.offset += part.count;
    count -= part.count;
  }
  return 0;
}

int
view_prefetch (struct connection *connection, const struct view *view,
               uint64_t first, uint64_t last, struct status *status)
{
  static const char own_sql[] =
      "SELECT data FROM block INDEXED BY block_by_number WHERE layer = ?1"
      " AND number >= ?2 AND number <= ?3 AND generation = ?4";
  CLEANUP_STATEMENT sqlite3_stmt *own =
      connection_statement (connection, own_sql, status);
  int r;

  if (own == NULL)
    return -1;
  sqlite3_bind_int64 (own, 1, view->layers[0].layer);
  sqlite3_bind_int64 (own, 2, first);
  sqlite3_bind_int64 (own, 3, last);
  sqlite3_bind_int64 (own, 4, view->layers[0].generation);
  while ((r = connection_step (connection, own, status)) == 1)
    ; /* the row was read as a whole, to return it */
  return r;
}

int
view_version (struct connection *connection, const struct view *view,
              uint64_t number, struct row_version *version,
              struct status *status)
{
  static const char version_sql[] =
      "SELECT number, generation, checksum FROM block INDEXED BY "
      "block_by_number"
      " WHERE layer = ?1 AND number >= ?2 AND (number, generation) <= (?3, ?4)"
      " ORDER BY number DESC, generation DESC";
  int r = 0;

  *version = (struct row_version){ 0 };
  for (size_t i = 0; i < view->depth && r == 0; i++) {
    CLEANUP_WALK struct walk walk = { 0 };

    if (walk_begin (&walk, connection, version_sql, &view->layers[i], number,
                    number, 0, status) == -1)
      return -1;
    r = walk_next (&walk, status);
    if (r == 1)
      *version = (struct row_version){
        .layer = walk.layer.layer,
        .generation = walk.generation,
        .checksum = sqlite3_column_int64 (walk.statement, 2),
      };
  }
  return r == -1 ? -1 : 0;
}
