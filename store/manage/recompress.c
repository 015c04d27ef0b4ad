/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Storing blocks anew: for manage.h.
 *
 * In steps: some rows are read and encoded, without a lock; then one short
 * transaction writes those of them that are still what was read, by their
 * checksums.  A row keeps its key and its id, so nobody sees a difference.
 *
 * Of what blocks share, the data of the content changes and its id stays.  Rows
 * with data of their own get a content, or the other way round, as the disk now
 * says.  A content is made only when it is clear that the row is still there:
 * nothing would ever delete one that was never referred to.
 *
 * Where there is no space, rows that take more now are stored again as they
 * were, in smaller steps that free space.  For that their ids and codecs are
 * remembered.  Whether an equal block was stored only once is not: a row that
 * has got data of its own is compressed again, if it was.  A kill in between
 * leaves some rows as they are to be and some as they were, which all fit.
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "block/checksum.h"
#include "block/codec.h"
#include "rows/content.h"
#include "rows/features.h"
#include "manage/calls.h"
#include "manage.h"
#include "engine/engine.h"
#include "rows/snapshots.h"

/* What a step reads: at most STEP_ROWS rows, and no more once what it stores
 * has STEP_BYTES.
 */
#define STEP_ROWS  512
#define STEP_BYTES (4 * 1024 * 1024)

/* The same, of rows that are stored as they were. */
#define BACK_ROWS 64

/* A row that takes more than before, and the codec that it had. */
struct grown {
  int64_t id;
  enum codec codec;
};

/* A row that was read, and how it is to be. */
struct new_row {
  int64_t id;
  enum codec codec;         /* before, of the content to which it refers, too */
  int64_t checksum;         /* before */
  int64_t new_checksum;     /* if it gets data of its own */
  int64_t content;          /* to which it refers, or 0 */
  int64_t content_checksum; /* of `content` */
  size_t length;            /* of the data before, in bytes */
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
  int64_t step_layer; /* of its rows; 0: of several */
  uint64_t most;      /* bytes that it may write */
  struct new_row rows[STEP_ROWS];
  size_t count;
  struct recompressed written; /* by it */
  char *room;                  /* for blocks and encoded data */
  size_t used;
  char *block; /* the one at hand */

  struct grown *grown; /* by what was committed */
  size_t grown_count;
  size_t grown_room; /* how many fit in there */
};

/* Is a block that is equal to others to be stored only once? */
static bool
shares (const struct recompression *recompression)
{
  return recompression->disk.storing.deduplicate == DISK_ON;
}

/* With what the block at hand is encrypted. */
static struct block_key
key_of (const struct recompression *recompression)
{
  return (struct block_key){ recompression->disk.key, recompression->number,
                             shares (recompression) };
}

/* Find the disk and count its rows. */
static int
look_at_disk (struct connection *connection,
              struct recompression *recompression, struct status *status)
{
  static const char count_sql[] =
      "SELECT count (*) FROM block INDEXED BY block_by_number WHERE layer IN"
      " (SELECT layer FROM disk WHERE id = ?1"
      " UNION SELECT layer FROM snapshot WHERE disk = ?1)";
  int64_t rows;

  if (snapshots_find_disk (connection, recompression->name,
                           &recompression->disk, status) == -1 ||
      features_allow (connection, recompression->disk.id, FEATURE_CHANGE,
                      status) == -1 ||
      connection_integer_for (connection, count_sql, recompression->disk.id,
                              &rows, status) == -1)
    return -1;
  recompression->total = rows;
  return 0;
}

/* Of an encrypted disk, the key is needed. */
static int
have_key (struct store *store, struct disk_info *disk, struct status *status)
{
  return store_unlock (store, disk, status) == -1
             ? -1
             : store_check_key (store, disk, status);
}

/* The same without a look at who reads it. */
static int
step_to_layer (struct connection *connection,
               struct recompression *recompression, struct status *status)
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

/* Go on with the next layer of the disk and its snapshots, if there is one: of
 * those that no disk reads which must not be changed.
 */
static int
next_layer (struct connection *connection, struct recompression *recompression,
            struct status *status)
{
  struct status why;
  int r = 1;

  while (r == 1) {
    if (step_to_layer (connection, recompression, status) == -1)
      return -1;
    r = recompression->end
            ? 0
            : features_forbid_layer (connection, recompression->layer,
                                     FEATURE_CHANGE, &why);
  }
  if (r == -1)
    *status = why;
  return r;
}

/* Decode the content to which a row refers. */
static int
decode_content (struct connection *connection,
                struct recompression *recompression, struct new_row *row)
{
  const uint32_t block_size = recompression->disk.block_size;
  const struct block_key key = key_of (recompression);
  CLEANUP_STATEMENT sqlite3_stmt *found = NULL;
  struct content content;
  struct status ignored;

  if (content_find (connection, row->content, block_size, &content, &found,
                    &ignored) == -1)
    return -1;
  row->content_checksum = content.checksum;
  row->codec = content.codec;
  row->length = content.length;
  return codec_copy (&recompression->workspace, content.codec, &key,
                     content.data, content.length, block_size, 0, block_size,
                     recompression->block, &ignored);
}

/* Decode the row at hand into recompression->block. */
static int
decode_row (struct connection *connection, struct recompression *recompression,
            const struct block_row *found, struct new_row *row)
{
  const uint32_t block_size = recompression->disk.block_size;
  const struct block_key key = key_of (recompression);
  struct status ignored;

  *row = (struct new_row){
    .id = found->id,
    .checksum = found->checksum,
    .codec = found->codec,
    .length = found->length,
  };
  if (!checksum_fits (found))
    return -1;
  if (found->codec == CODEC_CONTENT) {
    row->content = found->content;
    return decode_content (connection, recompression, row);
  }
  if (codec_check (found->codec, found->length, block_size, &ignored) == -1)
    return -1;
  return codec_copy (&recompression->workspace, found->codec, &key, found->data,
                     found->length, block_size, 0, block_size,
                     recompression->block, &ignored);
}

/* Is a row that is to be as ROW says as it was? */
static bool
is_same (const struct recompression *recompression, const struct new_row *row)
{
  const struct encoded *encoded = &row->encoded;

  /* What is encrypted anew never is the same to the letter. */
  if (recompression->disk.key)
    return shares (recompression) == (row->content != 0) &&
           row->codec == encoded->codec && row->length == encoded->length;
  if (!shares (recompression))
    return row->new_checksum == row->checksum;
  return row->content != 0 &&
         row->content_checksum ==
             checksum_content (row->content, encoded->block_hash,
                               recompression->disk.block_size, encoded->codec,
                               encoded->hash);
}

/* Copy LENGTH bytes to where they stay until the step is written. */
static const void *
keep (struct recompression *recompression, const void *bytes, size_t length)
{
  char *room = recompression->room + recompression->used;

  memcpy (room, bytes, length);
  recompression->used += length;
  return room;
}

/* What took BEFORE bytes takes AFTER now. */
static void
count_bytes (struct recompressed *done, uint64_t before, uint64_t after)
{
  done->before += before;
  done->after += after;
}

/* Encode the block of the row at hand; keep it if that makes a difference. */
static void
encode_row (struct recompression *recompression, struct new_row *row)
{
  const uint32_t block_size = recompression->disk.block_size;
  const struct block_key key = key_of (recompression);
  struct encoded *encoded = &row->encoded;
  char *room = recompression->room + recompression->used;

  codec_encode (&recompression->workspace,
                &recompression->disk.storing.compression, &key,
                recompression->block, block_size, room, encoded);
  if (shares (recompression) && encoded->codec != CODEC_ZERO)
    codec_hash_block (encoded, key.key, block_size);
  row->new_checksum = checksum_block (
      recompression->layer, recompression->number, recompression->generation,
      encoded->codec, encoded->length, encoded->hash);
  if (is_same (recompression, row)) {
    if (row->content == 0)
      count_bytes (recompression->done, row->length, row->length);
    return;
  }
  if (encoded->data == recompression->block)
    encoded->data = encoded->block =
        keep (recompression, recompression->block, block_size);
  else {
    recompression->used += encoded->length;
    if (shares (recompression))
      encoded->block = keep (recompression, recompression->block, block_size);
  }
  recompression->count++;
}

/* Read and encode the rows of a step, all of one layer. */
static int
read_step (struct connection *connection, struct recompression *recompression,
           struct status *status)
{
  static const char rows_sql[] =
      "SELECT id, number, generation, codec, checksum, data, content"
      " FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND (number, generation) > (?2, ?3)"
      " ORDER BY number, generation";
  CLEANUP_STATEMENT sqlite3_stmt *statement =
      connection_statement (connection, rows_sql, status);
  struct new_row *row;
  int r = 1;

  if (statement == NULL)
    return -1;
  recompression->count = recompression->used = 0;
  recompression->step_layer = recompression->layer;
  sqlite3_bind_int64 (statement, 1, recompression->layer);
  sqlite3_bind_int64 (statement, 2, recompression->number);
  sqlite3_bind_int64 (statement, 3, recompression->generation);
  for (int rows = 0;
       rows < STEP_ROWS && recompression->used < recompression->most; rows++) {
    r = connection_step (connection, statement, status);
    if (r != 1)
      break;
    const struct block_row found = {
      .id = sqlite3_column_int64 (statement, 0),
      .layer = recompression->layer,
      .number = sqlite3_column_int64 (statement, 1),
      .generation = sqlite3_column_int64 (statement, 2),
      .codec = sqlite3_column_int64 (statement, 3),
      .checksum = sqlite3_column_int64 (statement, 4),
      .data = sqlite3_column_blob (statement, 5),
      .length = sqlite3_column_bytes (statement, 5),
      .content = sqlite3_column_int64 (statement, 6),
    };

    recompression->seen++;
    recompression->number = found.number;
    recompression->generation = found.generation;
    if (found.codec == CODEC_ZERO || !codec_is_known (found.codec))
      continue;
    row = &recompression->rows[recompression->count];
    if (decode_row (connection, recompression, &found, row) == -1)
      recompression->done->damaged++;
    else
      encode_row (recompression, row);
  }
  return r == 0 ? next_layer (connection, recompression, status)
                : (r == -1 ? -1 : 0);
}

/* Have a row be what its block is encoded to, or refer to CONTENT. */
static int
store_row (struct connection *connection, const struct new_row *row,
           int64_t checksum, int64_t content, struct status *status)
{
  static const char store_sql[] =
      "UPDATE block SET codec = ?3, checksum = ?4, data = ?5, content = ?6"
      " WHERE id = ?1 AND checksum = ?2 AND " CODEC_UNDERSTOOD ("block");
  CLEANUP_STATEMENT sqlite3_stmt *store =
      connection_statement (connection, store_sql, status);

  if (store == NULL)
    return -1;
  sqlite3_bind_int64 (store, 1, row->id);
  sqlite3_bind_int64 (store, 2, row->checksum);
  sqlite3_bind_int (store, 3, content ? CODEC_CONTENT : row->encoded.codec);
  sqlite3_bind_int64 (store, 4, checksum);
  if (content)
    sqlite3_bind_int64 (store, 6, content);
  else if (row->encoded.data)
    sqlite3_bind_blob64 (store, 5, row->encoded.data, row->encoded.length,
                         SQLITE_STATIC);
  return connection_step (connection, store, status);
}

/* Have the content of a row be what the block is encoded to. */
static int
store_content (struct connection *connection,
               struct recompression *recompression, const struct new_row *row,
               struct status *status)
{
  static const char store_sql[] =
      "UPDATE content SET codec = ?3, checksum = ?4, data = ?5"
      " WHERE id = ?1 AND checksum = ?2 AND " CODEC_UNDERSTOOD ("content");
  const struct encoded *encoded = &row->encoded;
  CLEANUP_STATEMENT sqlite3_stmt *store =
      connection_statement (connection, store_sql, status);

  if (store == NULL)
    return -1;
  sqlite3_bind_int64 (store, 1, row->content);
  sqlite3_bind_int64 (store, 2, row->content_checksum);
  sqlite3_bind_int (store, 3, encoded->codec);
  sqlite3_bind_int64 (store, 4,
                      checksum_content (row->content, encoded->block_hash,
                                        recompression->disk.block_size,
                                        encoded->codec, encoded->hash));
  sqlite3_bind_blob64 (store, 5, encoded->data, encoded->length, SQLITE_STATIC);
  count_bytes (&recompression->written, row->length, encoded->length);
  return connection_step (connection, store, status);
}

/* Have a row refer to an equal content, or to a new one, if it is still what
 * was read.
 */
static int
share_row (struct connection *connection, struct recompression *recompression,
           const struct new_row *row, int64_t *next_id, struct status *status)
{
  static const char key_sql[] = "SELECT layer, number, generation FROM block"
                                " WHERE id = ?1 AND checksum = ?2";
  CLEANUP_STATEMENT sqlite3_stmt *key =
      connection_statement (connection, key_sql, status);
  const int64_t before = *next_id;
  int64_t content, checksum = row->new_checksum;
  int r;

  if (key == NULL)
    return -1;
  sqlite3_bind_int64 (key, 1, row->id);
  sqlite3_bind_int64 (key, 2, row->checksum);
  r = connection_step (connection, key, status);
  if (r != 1)
    return r;
  if (content_put (connection, &row->encoded, recompression->disk.key,
                   recompression->disk.block_size, next_id, &content,
                   status) == -1)
    return -1;
  if (content != 0)
    checksum = checksum_reference (sqlite3_column_int64 (key, 0),
                                   sqlite3_column_int64 (key, 1),
                                   sqlite3_column_int64 (key, 2), content);
  /* The statement must not see what is changed now. */
  statement_done (&key);
  count_bytes (&recompression->written, row->length,
               content == 0 || *next_id != before ? row->encoded.length : 0);
  return store_row (connection, row, checksum, content, status);
}

/* Give a row data of its own. */
static int
unshare_row (struct connection *connection, struct recompression *recompression,
             const struct new_row *row, struct status *status)
{
  const uint64_t freed = connection->content_freed;

  if (store_row (connection, row, row->new_checksum, 0, status) == -1)
    return -1;
  count_bytes (&recompression->written,
               row->content ? connection->content_freed - freed : row->length,
               row->encoded.length);
  return 0;
}

/* May the step at hand still be written?  A feature may have come since it was
 * read.
 */
static int
check_step (struct connection *connection,
            const struct recompression *recompression, struct status *status)
{
  if (features_allow (connection, recompression->disk.id, FEATURE_CHANGE,
                      status) == -1)
    return -1;
  return recompression->step_layer
             ? features_allow_layer (connection, recompression->step_layer,
                                     status)
             : 0;
}

/* Write what a step has encoded.  Contents stay as they are where some disk
 * must not be changed: it may have them, too.
 */
static int
write_step (struct connection *connection, void *opaque, struct status *status)
{
  struct recompression *recompression = opaque;
  struct status why;
  const int stay = features_forbid_any (connection, &why);
  int64_t next_id = 0;
  int r = check_step (connection, recompression, status);

  if (stay == -1) {
    *status = why;
    return -1;
  }
  recompression->written = (struct recompressed){ 0 };
  for (size_t i = 0; i < recompression->count && r == 0; i++) {
    const struct new_row *row = &recompression->rows[i];

    if (!shares (recompression) || row->encoded.codec == CODEC_ZERO)
      r = unshare_row (connection, recompression, row, status);
    else if (row->content == 0)
      r = share_row (connection, recompression, row, &next_id, status);
    else if (!stay)
      r = store_content (connection, recompression, row, status);
  }
  return r;
}

/* Remember the rows of a step that take more now.  Without memory for it they
 * stay so.
 */
static void
remember_grown (struct recompression *recompression)
{
  const size_t most = recompression->grown_count + recompression->count;
  struct grown *grown;

  if (most > recompression->grown_room) {
    grown = realloc (recompression->grown, 2 * most * sizeof *grown);
    if (grown == NULL)
      return;
    recompression->grown = grown;
    recompression->grown_room = 2 * most;
  }
  for (size_t i = 0; i < recompression->count; i++) {
    const struct new_row *row = &recompression->rows[i];

    if (row->encoded.length > row->length)
      recompression->grown[recompression->grown_count++] =
          (struct grown){ .id = row->id, .codec = row->codec };
  }
}

/* Read and encode, as it was, one row. */
static int
read_grown (struct connection *connection, struct recompression *recompression,
            const struct grown *grown, struct status *status)
{
  static const char row_sql[] =
      "SELECT layer, number, generation, codec, checksum, data, content"
      " FROM block WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *statement =
      connection_statement (connection, row_sql, status);
  struct new_row *row = &recompression->rows[recompression->count];
  struct block_row found;
  int r;

  if (statement == NULL)
    return -1;
  sqlite3_bind_int64 (statement, 1, grown->id);
  r = connection_step (connection, statement, status);
  if (r != 1)
    return r;
  found = (struct block_row){
    .id = grown->id,
    .layer = sqlite3_column_int64 (statement, 0),
    .number = sqlite3_column_int64 (statement, 1),
    .generation = sqlite3_column_int64 (statement, 2),
    .codec = sqlite3_column_int64 (statement, 3),
    .checksum = sqlite3_column_int64 (statement, 4),
    .data = sqlite3_column_blob (statement, 5),
    .length = sqlite3_column_bytes (statement, 5),
    .content = sqlite3_column_int64 (statement, 6),
  };
  recompression->layer = found.layer;
  recompression->number = found.number;
  recompression->generation = found.generation;
  recompression->disk.storing.compression.codec = grown->codec;
  if (found.codec != CODEC_ZERO && found.codec != grown->codec &&
      decode_row (connection, recompression, &found, row) == 0)
    encode_row (recompression, row);
  return 0;
}

/* A step of rows that are to be as they were, the last ones first. */
static int
read_back_step (struct connection *connection,
                struct recompression *recompression, struct status *status)
{
  const struct grown *grown;

  recompression->count = recompression->used = 0;
  recompression->step_layer = 0;
  for (int rows = 0; rows < BACK_ROWS && recompression->grown_count > 0 &&
                     recompression->used < recompression->most;
       rows++) {
    grown = &recompression->grown[--recompression->grown_count];
    if (read_grown (connection, recompression, grown, status) == -1)
      return -1;
  }
  return 0;
}

static int
write_back_step (struct connection *connection, void *opaque,
                 struct status *status)
{
  connection_frees_space (connection);
  return write_step (connection, opaque, status);
}

/* There was no space for what takes more: have it be as it was.  Where that
 * fails the rest stays.
 */
static void
go_back (struct store *store, struct recompression *recompression)
{
  struct compression *compression = &recompression->disk.storing.compression;
  struct recompressed counted;
  struct status ignored;
  int r = 0;

  recompression->done = &counted;
  compression->level = 0; /* the default of the codec itself */
  while (r == 0 && recompression->grown_count > 0) {
    r = STORE_READ (store, &ignored, connection,
                    read_back_step (connection, recompression, &ignored));
    if (r == 0 && recompression->count > 0)
      r = store_change (store, write_back_step, recompression, &ignored);
  }
}

/* All steps. */
static int
run_steps (struct store *store, struct recompression *recompression,
           progress_made progress, void *opaque, struct status *status)
{
  const uint32_t block_size = recompression->disk.block_size;

  while (!recompression->end) {
    if (STORE_READ (store, status, connection,
                    read_step (connection, recompression, status)) == -1 ||
        (recompression->count > 0 &&
         store_change (store, write_step, recompression, status) == -1))
      return -1;
    if (recompression->count > 0)
      count_bytes (recompression->done, recompression->written.before,
                   recompression->written.after);
    remember_grown (recompression);
    recompression->done->blocks += recompression->count;
    if (recompression->total < recompression->seen)
      recompression->total = recompression->seen;
    if (progress_report (progress, recompression->seen * block_size,
                         recompression->total * block_size, opaque,
                         status) == -1)
      return -1;
  }
  return 0;
}

int
recompress_disk (struct store *store, const char *disk, progress_made progress,
                 void *opaque, struct recompressed *done, struct status *status)
{
  struct recompression *recompression;
  struct manage_call call = { .disk = disk };
  int r = -1;

  if (store_remote (store)) {
    r = calls_ask_long (store, &call_recompress_disk, &call, progress, opaque,
                        status);
    *done = call.done;
    return r;
  }
  *done = (struct recompressed){ 0 };
  recompression = calloc (1, sizeof *recompression);
  if (recompression)
    recompression->room =
        malloc (STEP_BYTES + 3 * CODEC_ROOM (DISK_BLOCK_SIZE_MAX));
  if (recompression == NULL || recompression->room == NULL) {
    free (recompression);
    return status_no_memory (status);
  }
  recompression->block =
      recompression->room + STEP_BYTES + 2 * CODEC_ROOM (DISK_BLOCK_SIZE_MAX);
  recompression->name = disk;
  recompression->done = done;
  recompression->most = store_transaction_bytes (store);
  if (recompression->most > STEP_BYTES)
    recompression->most = STEP_BYTES;
  if (STORE_READ (store, status, connection,
                  look_at_disk (connection, recompression, status)) == 0 &&
      have_key (store, &recompression->disk, status) == 0)
    r = run_steps (store, recompression, progress, opaque, status);
  if (r == -1 && status->error == ENOSPC)
    go_back (store, recompression);
  free (recompression->grown);
  codec_workspace_free (&recompression->workspace);
  free (recompression->room);
  free (recompression);
  return r;
}
