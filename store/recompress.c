/* Storing blocks anew: see recompress.h.
 *
 * In steps: some rows are read and encoded, without a lock; then one short
 * transaction writes those of them that are still what was read, by their
 * checksums.  A row keeps its key and its id, so nobody sees a difference.
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "checksum.h"
#include "codec.h"
#include "recompress.h"

/* What a step reads: so many rows, until what it stores has so many bytes. */
#define STEP_ROWS  512
#define STEP_BYTES (4 * 1024 * 1024)

/* A row that was read, and how it is to be. */
struct row {
  int64_t id;
  int64_t checksum; /* before, ... */
  int64_t new_checksum;
  struct encoded encoded;
};

struct recompression {
  const char *name;
  struct disk_info disk;
  struct codec_workspace workspace;
  struct recompressed *done;
  uint64_t total, seen; /* rows */

  /* Where the next step begins: behind this row of this layer. */
  int64_t layer, number, generation;
  bool end; /* there are no more */

  /* The step. */
  struct row rows[STEP_ROWS];
  size_t count;
  char *room; /* for encoded data */
  size_t used;
  char *block; /* the one at hand */
};

/* Find the disk and count its rows. */
static int
look_at_disk (struct connection *connection, void *opaque,
              struct status *status)
{
  static const char count_sql[] =
      "SELECT count (*) FROM block INDEXED BY block_by_number WHERE layer IN"
      " (SELECT layer FROM disk WHERE id = ?1"
      " UNION SELECT layer FROM snapshot WHERE disk = ?1)";
  struct recompression *recompression = opaque;
  struct snapshot_info snapshot;
  CLEANUP_STATEMENT sqlite3_stmt *count = NULL;

  if (snapshots_find_target (connection, recompression->name,
                             &recompression->disk, &snapshot, status) == -1)
    return -1;
  if (snapshot.id != 0)
    return status_fail (status, EINVAL, "'%s' is a snapshot; give a disk",
                        recompression->name);
  count = connection_statement (connection, count_sql, status);
  if (count == NULL)
    return -1;
  sqlite3_bind_int64 (count, 1, recompression->disk.id);
  if (connection_step (connection, count, status) == -1)
    return -1;
  recompression->total = sqlite3_column_int64 (count, 0);
  return 0;
}

/* Go on with the next layer of the disk and its snapshots, if there is one. */
static int
next_layer (struct connection *connection, struct recompression *recompression,
            struct status *status)
{
  static const char layer_sql[] =
      "SELECT min (layer) FROM"
      " (SELECT layer FROM disk WHERE id = ?1"
      " UNION SELECT layer FROM snapshot WHERE disk = ?1) WHERE layer > ?2";
  CLEANUP_STATEMENT sqlite3_stmt *next =
      connection_statement (connection, layer_sql, status);

  if (next == NULL)
    return -1;
  sqlite3_bind_int64 (next, 1, recompression->disk.id);
  sqlite3_bind_int64 (next, 2, recompression->layer);
  if (connection_step (connection, next, status) == -1)
    return -1;
  recompression->end = sqlite3_column_type (next, 0) == SQLITE_NULL;
  recompression->layer = sqlite3_column_int64 (next, 0);
  recompression->number = -1;
  recompression->generation = 0;
  return 0;
}

/* The checksum of the row at hand if it has this data. */
static int64_t
checksum_row (const struct recompression *recompression, int64_t codec,
              size_t length, uint64_t hash)
{
  return checksum_block (recompression->layer, recompression->number,
                         recompression->generation, codec, length, hash);
}

/* Decode the row at hand into recompression->block. */
static int
decode_row (struct recompression *recompression, sqlite3_stmt *statement)
{
  const uint32_t block_size = recompression->disk.block_size;
  const int64_t codec = sqlite3_column_int64 (statement, 3);
  const void *data = sqlite3_column_blob (statement, 5);
  const size_t length = sqlite3_column_bytes (statement, 5);
  struct status ignored;

  if (sqlite3_column_int64 (statement, 4) !=
          checksum_row (recompression, codec, length,
                        checksum_bytes (data, length)) ||
      codec_check (codec, length, block_size, &ignored) == -1)
    return -1;
  return codec_copy (&recompression->workspace, codec, data, length, block_size,
                     0, block_size, recompression->block, &ignored);
}

/* Encode the block of the row at hand; keep it if that makes a difference. */
static void
encode_row (struct recompression *recompression, sqlite3_stmt *statement)
{
  struct row *row = &recompression->rows[recompression->count];
  struct encoded *encoded = &row->encoded;
  char *room = recompression->room + recompression->used;

  codec_encode (&recompression->workspace, &recompression->disk.compression,
                recompression->block, recompression->disk.block_size, room,
                encoded);
  row->id = sqlite3_column_int64 (statement, 0);
  row->checksum = sqlite3_column_int64 (statement, 4);
  row->new_checksum = checksum_row (recompression, encoded->codec,
                                    encoded->length, encoded->hash);
  recompression->done->before += sqlite3_column_bytes (statement, 5);
  recompression->done->after += encoded->length;
  if (row->new_checksum == row->checksum)
    return;
  if (encoded->data == recompression->block) {
    memcpy (room, encoded->data, encoded->length);
    encoded->data = room;
  }
  recompression->used += encoded->length;
  recompression->count++;
}

/* Read and encode the rows of a step, all of one layer. */
static int
read_step (struct connection *connection, void *opaque, struct status *status)
{
  static const char rows_sql[] =
      "SELECT id, number, generation, codec, checksum, data"
      " FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND (number, generation) > (?2, ?3)"
      " ORDER BY number, generation";
  struct recompression *recompression = opaque;
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, rows_sql, status);
  int r = 1;

  if (row == NULL)
    return -1;
  recompression->count = recompression->used = 0;
  sqlite3_bind_int64 (row, 1, recompression->layer);
  sqlite3_bind_int64 (row, 2, recompression->number);
  sqlite3_bind_int64 (row, 3, recompression->generation);
  for (int rows = 0; rows < STEP_ROWS && recompression->used < STEP_BYTES;
       rows++) {
    r = connection_step (connection, row, status);
    if (r != 1)
      break;
    recompression->seen++;
    recompression->number = sqlite3_column_int64 (row, 1);
    recompression->generation = sqlite3_column_int64 (row, 2);
    if (sqlite3_column_int64 (row, 3) == CODEC_ZERO)
      continue;
    if (decode_row (recompression, row) == -1)
      recompression->done->damaged++;
    else
      encode_row (recompression, row);
  }
  return r == 0 ? next_layer (connection, recompression, status)
                : (r == -1 ? -1 : 0);
}

/* Write what a step has encoded. */
static int
write_step (struct connection *connection, void *opaque, struct status *status)
{
  static const char store_sql[] =
      "UPDATE block SET codec = ?3, checksum = ?4, data = ?5"
      " WHERE id = ?1 AND checksum = ?2";
  const struct recompression *recompression = opaque;
  CLEANUP_STATEMENT sqlite3_stmt *store =
      connection_statement (connection, store_sql, status);

  if (store == NULL)
    return -1;
  for (size_t i = 0; i < recompression->count; i++) {
    const struct row *row = &recompression->rows[i];

    sqlite3_reset (store);
    sqlite3_clear_bindings (store);
    sqlite3_bind_int64 (store, 1, row->id);
    sqlite3_bind_int64 (store, 2, row->checksum);
    sqlite3_bind_int (store, 3, row->encoded.codec);
    sqlite3_bind_int64 (store, 4, row->new_checksum);
    if (row->encoded.data)
      sqlite3_bind_blob64 (store, 5, row->encoded.data, row->encoded.length,
                           SQLITE_STATIC);
    if (connection_step (connection, store, status) == -1)
      return -1;
  }
  return 0;
}

/* All steps. */
static int
run_steps (struct store *store, struct recompression *recompression,
           progress_made progress, void *opaque, struct status *status)
{
  const uint32_t block_size = recompression->disk.block_size;

  while (!recompression->end) {
    if (store_look (store, read_step, recompression, status) == -1 ||
        (recompression->count > 0 &&
         store_change (store, write_step, recompression, status) == -1))
      return -1;
    recompression->done->blocks += recompression->count;
    if (recompression->total < recompression->seen)
      recompression->total = recompression->seen;
    if (progress && progress (recompression->seen * block_size,
                              recompression->total * block_size, opaque))
      return status_fail (status, ECANCELED, "interrupted");
  }
  return 0;
}

int
recompress_disk (struct store *store, const char *disk, progress_made progress,
                 void *opaque, struct recompressed *done, struct status *status)
{
  struct recompression *recompression = calloc (1, sizeof *recompression);
  int r = -1;

  *done = (struct recompressed){ 0 };
  if (recompression)
    recompression->room = malloc (STEP_BYTES + 2 * DISK_BLOCK_SIZE_MAX);
  if (recompression == NULL || recompression->room == NULL) {
    free (recompression);
    return status_no_memory (status);
  }
  recompression->block = recompression->room + STEP_BYTES + DISK_BLOCK_SIZE_MAX;
  recompression->name = disk;
  recompression->done = done;
  if (store_look (store, look_at_disk, recompression, status) == 0)
    r = run_steps (store, recompression, progress, opaque, status);
  codec_workspace_free (&recompression->workspace);
  free (recompression->room);
  free (recompression);
  return r;
}
