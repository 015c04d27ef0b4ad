/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What an operation does to blocks: see writer-parts.h.
 *
 * Which older rows go with a write depends on the floor: the highest generation
 * at which a snapshot or a child looks at the disk's layer, or 0.  Rows above
 * it are seen by the disk alone.
 *
 *   layer 7, writes generation 6; snapshots as of 2 and of 3: the floor is 3
 *
 *   rows of number 0        1     3     5              a write now
 *                         stays  stays  goes           makes a row of 6
 *
 * A row above the floor is overwritten, or deleted when its block is trimmed;
 * only what lies at or below it must be hidden by a row of zeroes.  Else each
 * snapshot that was taken and deleted again would leave a generation behind,
 * until somebody reclaims.
 *
 * Some layers below are the disk's alone, too: after a roll-back to a snapshot
 * that was then deleted, or when the origin of a clone was deleted, nothing but
 * the disk's layer may look at its parent, and nothing but that at the next.
 * Where there is no floor, the rows of a block that is written or trimmed go
 * there as well.  So a layer that is too large to be moved up (reclaim.h) keeps
 * no rows that nobody sees, and a disk at its quota can be overwritten.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/checksum.h"
#include "block/codec.h"
#include "rows/content.h"
#include "rows/features.h"
#include "rows/properties.h"
#include "rows/viewers.h"
#include "engine/writer-parts.h"
#include "base/count.h"

/* Blocks whose map is read at a time to hide what stands below. */
#define HIDE_BLOCKS 4096

void
writer_forget (struct writer *writer)
{
  writer->view_of = writer->quota_of = 0;
  writer->next_id = writer->next_content = 0;
}

/* The newest generation of the disk's layer that something else than the
 * disk looks at, or 0.  Rows after it are the disk's own: what it
 * overwrites of them goes.
 */
static int
find_floor (struct writer *writer, int64_t *floor, struct status *status)
{
  static const char floor_sql[] =
      "SELECT max (ifnull ((SELECT max (generation) FROM snapshot"
      " WHERE layer = ?1), 0), ifnull ((SELECT max (parent_generation)"
      " FROM layer WHERE parent = ?1), 0))";
  const struct layer_point *layer = &writer->view.layers[0];

  if (connection_integer_for (&writer->connection, floor_sql, layer->layer,
                              floor, status) == -1)
    return -1;
  return *floor < layer->generation
             ? 0
             : status_fail (status, EIO,
                            "the disk's layer is damaged; restore the "
                            "database from a backup");
}

/* How many of the layers below the disk's own nobody else sees, since what
 * looked at them was deleted: what the disk overwrites of them goes, too.  This
 * cannot be left to the reclaimer: it does not move a layer of many rows, and
 * looks for what is hidden of it only when something else goes.  A disk would
 * keep what it overwrites, and at its quota could not be overwritten at all.
 */
static int
find_owned (struct writer *writer, size_t *owned, struct status *status)
{
  static const char alone_sql[] =
      "SELECT 1 = (SELECT count (*) FROM (SELECT 1 FROM layer"
      "  WHERE parent = ?1 LIMIT 2)) AND NOT " LAYER_LOOKED_AT ("?1");
  const struct view *view = &writer->view;
  int64_t alone;

  *owned = 0;
  while (*owned + 1 < view->depth) {
    if (connection_integer_for (&writer->connection, alone_sql,
                                view->layers[*owned + 1].layer, &alone,
                                status) == -1)
      return -1;
    if (!alone)
      break;
    ++*owned;
  }
  return 0;
}

/* Have writer->view show DISK. */
static int
look_at (struct writer *writer, const struct disk_info *disk,
         struct status *status)
{
  struct view *view = &writer->view, *below = &writer->below;
  int64_t floor;

  view->key = disk->key;
  if (writer->view_of == disk->id && writer->view_epoch == disk->epoch) {
    view->encrypted |= disk->encrypted;
    return 0;
  }
  writer->view_of = 0;
  if (disks_view (&writer->connection, disk->id, disk->epoch, view, status) ==
      -1)
    return -1;
  view->encrypted |= disk->encrypted;
  if (view->access != DISK_OPEN)
    return features_allow (&writer->connection, disk->id, FEATURE_CHANGE,
                           status);
  if (view->block_size != disk->block_size)
    return status_fail (status, EIO,
                        "the disk's block size was changed under this "
                        "connection; restore the database from a backup");
  if (below->capacity < view->depth) {
    struct layer_point *layers =
        realloc (below->layers, view->depth * sizeof *layers);

    if (layers == NULL)
      return status_no_memory (status);
    below->layers = layers;
    below->capacity = view->depth;
  }
  writer->owned = 0;
  if (find_floor (writer, &floor, status) == -1 ||
      (floor == 0 && find_owned (writer, &writer->owned, status) == -1))
    return -1;
  below->size = view->size;
  below->block_size = view->block_size;
  below->depth = view->depth - writer->owned;
  below->layers[0] = (struct layer_point){ view->layers[0].layer, floor };
  memcpy (below->layers + 1, view->layers + 1 + writer->owned,
          (below->depth - 1) * sizeof *view->layers);
  writer->view_of = disk->id;
  writer->view_epoch = disk->epoch;
  return 0;
}

/* Can anything show through where the present generation has no row? */
static bool
has_below (const struct writer *writer)
{
  return writer->below.depth > 1 || writer->below.layers[0].generation > 0;
}

/* The ids for COUNT new rows; FIRST is that of the first. */
static int
new_ids (struct writer *writer, int count, int64_t *first,
         struct status *status)
{
  if (writer->next_id == 0 &&
      row_next_id (&writer->connection, &writer->next_id, status) == -1)
    return -1;
  if (writer->next_id > INT64_MAX - count)
    return status_fail (status, EIO,
                        "the database has used up its block ids; restore it "
                        "from a backup");
  *first = writer->next_id;
  writer->next_id += count;
  return 0;
}

/* Delete the rows of a layer of blocks FIRST to before END, those after the
 * generation FLOOR up to the one that the layer is seen at.
 */
static int
delete_in (struct writer *writer, const struct layer_point *layer,
           int64_t floor, uint64_t first, uint64_t end, struct status *status)
{
  static const char delete_sql[] =
      "DELETE FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND number >= ?2 AND number < ?3"
      " AND generation > ?4 AND generation <= ?5"
      " AND " CODEC_UNDERSTOOD ("block");
  CLEANUP_STATEMENT sqlite3_stmt *delete =
      connection_statement (&writer->connection, delete_sql, status);

  if (delete == NULL)
    return -1;
  sqlite3_bind_int64 (delete, 1, layer->layer);
  sqlite3_bind_int64 (delete, 2, first);
  sqlite3_bind_int64 (delete, 3, end);
  sqlite3_bind_int64 (delete, 4, floor);
  sqlite3_bind_int64 (delete, 5, layer->generation);
  return connection_step (&writer->connection, delete, status);
}

/* Delete the rows that only the disk sees of blocks FIRST to before END; of
 * its own layer those of the generation LAST and older ones.
 */
static int
delete_rows (struct writer *writer, uint64_t first, uint64_t end, int64_t last,
             struct status *status)
{
  const struct layer_point own = { writer->view.layers[0].layer, last };

  for (size_t i = 1; i <= writer->owned; i++)
    if (delete_in (writer, &writer->view.layers[i], 0, first, end, status) ==
        -1)
      return -1;
  return delete_in (writer, &own, writer->below.layers[0].generation, first,
                    end, status);
}

/* Parameters of a row, behind those that all rows of a statement share. */
enum { ROW_ID = 3, ROW_NUMBER, ROW_CODEC, ROW_CHECKSUM, ROW_DATA, ROW_CONTENT };
#define ROW_PARAMETERS 6
#define ROW_SQL        "(?1, ?2, ?, ?, ?, ?, ?, ?)"

/* The SQL that puts rows of the present generation. */
#define PUT_SQL(rows)                                                          \
  "INSERT INTO block"                                                          \
  " (layer, generation, id, number, codec, checksum, data, content)"           \
  " VALUES " rows " ON CONFLICT (layer, number, generation) DO UPDATE SET"     \
  " codec = excluded.codec, checksum = excluded.checksum,"                     \
  " data = excluded.data, content = excluded.content"                          \
  " WHERE " CODEC_UNDERSTOOD ("block")

/* How many rows one statement puts where their blocks are neighbours. */
#define RUN     8
#define RUN_SQL ROW_SQL ", " ROW_SQL ", " ROW_SQL ", " ROW_SQL

/* Bind what makes a row refer to CONTENT.  Its parameters begin AT behind
 * those of the first.
 */
static void
bind_reference (sqlite3_stmt *put, int at, const struct layer_point *layer,
                int64_t number, int64_t content)
{
  sqlite3_bind_int (put, at + ROW_CODEC, CODEC_CONTENT);
  sqlite3_bind_int64 (
      put, at + ROW_CHECKSUM,
      checksum_reference (layer->layer, number, layer->generation, content));
  sqlite3_bind_int64 (put, at + ROW_CONTENT, content);
}

/* Bind what gives a row data of its own. */
static void
bind_data (sqlite3_stmt *put, int at, const struct layer_point *layer,
           int64_t number, const struct encoded *encoded)
{
  sqlite3_bind_int (put, at + ROW_CODEC, encoded->codec);
  sqlite3_bind_int64 (put, at + ROW_CHECKSUM,
                      checksum_block (layer->layer, number, layer->generation,
                                      encoded->codec, encoded->length,
                                      encoded->hash));
  if (encoded->data)
    sqlite3_bind_blob64 (put, at + ROW_DATA, encoded->data, encoded->length,
                         SQLITE_STATIC);
}

/* An encrypted disk has no plain rows, nor another one encrypted ones. */
static int
check_encrypted (const struct writer *writer, const struct encoded *encoded,
                 struct status *status)
{
  if (encoded->codec == CODEC_ZERO ||
      codec_is_encrypted (encoded->codec) == writer->view.encrypted)
    return 0;
  return writer->view.encrypted
             ? status_fail (status, EACCES, "it is encrypted; give its key")
             : status_fail (status, EINVAL,
                            "what comes is encrypted, and it is not");
}

/* Put the rows of COUNT blocks from NUMBER on: of one, which may refer to
 * CONTENT, or of RUN.
 */
static int
put_rows (struct writer *writer, int64_t number, const struct encoded *encoded,
          int count, int64_t content, struct status *status)
{
  static const char one_sql[] = PUT_SQL (ROW_SQL);
  static const char run_sql[] = PUT_SQL (RUN_SQL ", " RUN_SQL);
  const struct layer_point *layer = &writer->view.layers[0];
  CLEANUP_STATEMENT sqlite3_stmt *put = connection_statement (
      &writer->connection, count == 1 ? one_sql : run_sql, status);
  int64_t first = 0, last;

  if (put == NULL || new_ids (writer, count, &first, status) == -1)
    return -1;
  sqlite3_bind_int64 (put, 1, layer->layer);
  sqlite3_bind_int64 (put, 2, layer->generation);
  for (int i = 0, at = 0; i < count; i++, at += ROW_PARAMETERS) {
    if (check_encrypted (writer, &encoded[i], status) == -1)
      return -1;
    sqlite3_bind_int64 (put, at + ROW_ID, first + i);
    sqlite3_bind_int64 (put, at + ROW_NUMBER, number + i);
    if (content != 0)
      bind_reference (put, at, layer, number, content);
    else
      bind_data (put, at, layer, number + i, &encoded[i]);
  }
  if (connection_step (&writer->connection, put, status) == -1)
    return -1;
  /* Where there were rows already their ids stay. */
  last = sqlite3_last_insert_rowid (writer->connection.db);
  writer->next_id = last >= first && last < first + count ? last + 1 : first;
  return 0;
}

/* After snapshots were deleted a block may have older rows that only the disk
 * sees.
 */
static bool
may_have_older (const struct writer *writer)
{
  return writer->view.layers[0].generation -
                 writer->below.layers[0].generation >
             1 ||
         writer->owned > 0;
}

/* Store a row of the present generation. */
static int
put_row (struct writer *writer, int64_t number, const struct encoded *encoded,
         struct status *status)
{
  int64_t content = 0;

  if (check_encrypted (writer, encoded, status) == -1)
    return -1;
  if (may_have_older (writer) &&
      delete_rows (writer, number, number + 1,
                   writer->view.layers[0].generation - 1, status) == -1)
    return -1;
  if (writer->view.storing.deduplicate == DISK_ON &&
      encoded->codec != CODEC_ZERO &&
      content_put (&writer->connection, encoded, writer->view.key,
                   writer->view.block_size, &writer->next_content, &content,
                   status) == -1)
    return -1;
  return put_rows (writer, number, encoded, 1, content, status);
}

/* Hide the data that stands below in COUNT blocks from FIRST on. */
static int
hide_blocks (struct writer *writer, uint64_t first, uint32_t count,
             struct status *status)
{
  const struct encoded zeroes = {
    .codec = CODEC_ZERO,
    .hash = checksum_bytes (NULL, 0),
  };
  uint8_t map[HIDE_BLOCKS];

  if (view_map (&writer->connection, &writer->below, first, count, map,
                status) == -1)
    return -1;
  for (uint32_t i = 0; i < count; i++)
    if (map[i] && put_row (writer, first + i, &zeroes, status) == -1)
      return -1;
  return 0;
}

/* Make the blocks from FIRST to before END zeroes. */
static int
clear_blocks (struct writer *writer, uint64_t first, uint64_t end,
              struct status *status)
{
  uint64_t count;

  if (delete_rows (writer, first, end, writer->view.layers[0].generation,
                   status) == -1)
    return -1;
  while (has_below (writer) && first < end) {
    if (view_next_row (&writer->connection, &writer->below, first, end, &first,
                       status) == -1)
      return -1;
    count = end - first < HIDE_BLOCKS ? end - first : HIDE_BLOCKS;
    if (count > 0 && hide_blocks (writer, first, count, status) == -1)
      return -1;
    first += count;
  }
  return 0;
}

/* Store one block. */
static int
put_block (struct writer *writer, uint64_t number,
           const struct encoded *encoded, struct status *status)
{
  if (encoded->codec == CODEC_ZERO)
    return clear_blocks (writer, number, number + 1, status);
  return put_row (writer, number, encoded, status);
}

/* Change COUNT bytes at byte OFFSET, all in one block, to DATA, or to
 * zeroes where that is NULL.  The rest of the block is read here, in the
 * transaction: two writers to two parts of a block both succeed.
 */
static int
merge_block (struct writer *writer, uint64_t offset, uint64_t count,
             const char *data, struct status *status)
{
  const uint32_t block_size = writer->view.block_size;
  const uint64_t number = offset / block_size;
  const struct block_key key = {
    .key = writer->view.key,
    .number = number,
    .shared = writer->view.storing.deduplicate == DISK_ON,
  };
  char *place = writer->block + offset % block_size;
  struct encoded encoded;

  if (view_read (&writer->connection, &writer->view, writer->block,
                 number * block_size, block_size, status) == -1)
    return -1;
  if (data)
    memcpy (place, data, count);
  else
    memset (place, 0, count);
  codec_encode (&writer->connection.workspace,
                &writer->view.storing.compression, &key, writer->block,
                block_size, writer->room, &encoded);
  return put_block (writer, number, &encoded, status);
}

/* Is block NUMBER as it was when MERGED was made of it?  Returns 1, 0, -1. */
static int
is_unchanged (struct writer *writer, uint64_t number,
              const struct merged *merged, struct status *status)
{
  struct row_version now;

  if (!merged->known)
    return 0;
  if (view_version (&writer->connection, &writer->view, number, &now, status) ==
      -1)
    return -1;
  return memcmp (&now, &merged->version, sizeof now) == 0;
}

/* As merge_block, where the thread of the request may have MERGED it before.
 * That takes reading and compressing out of the transaction, for which others
 * wait; merge_block stays for what has changed since, for disks that are not
 * compressed, of which nothing is read before, and for zeroes.
 */
static int
put_part (struct writer *writer, uint64_t offset, uint64_t count,
          const char *data, const struct merged *merged, struct status *status)
{
  const uint64_t number = offset / writer->view.block_size;
  const int r = is_unchanged (writer, number, merged, status);

  if (r == 1)
    return put_block (writer, number, &merged->encoded, status);
  return r == -1 ? -1 : merge_block (writer, offset, count, data, status);
}

/* How many of the COUNT whole blocks ENCODED can be stored at a time. */
static int
run_length (const struct writer *writer, const struct encoded *encoded,
            uint64_t count)
{
  if (count < RUN || may_have_older (writer) ||
      writer->view.storing.deduplicate == DISK_ON)
    return 1;
  for (int i = 0; i < RUN; i++)
    if (encoded[i].codec == CODEC_ZERO)
      return 1;
  return RUN;
}

/* Store a whole block, or some, of which there are COUNT; returns how many in
 * DONE.
 */
static int
put_whole (struct writer *writer, uint64_t number,
           const struct encoded *encoded, uint64_t count, int *done,
           struct status *status)
{
  *done = run_length (writer, encoded, count);
  return *done == 1 ? put_block (writer, number, encoded, status)
                    : put_rows (writer, number, encoded, *done, 0, status);
}

/* A write: perhaps a part of a block, whole blocks, perhaps a part. */
static int
run_write (struct writer *writer, struct operation *operation,
           struct status *status)
{
  const uint32_t block_size = writer->view.block_size;
  const struct encoded *encoded = operation->encoded;
  const char *data = operation->data;
  uint64_t offset = operation->offset, left = operation->count, count;
  int r, done;

  operation->storing = writer->view.storing;
  while (left > 0) {
    count = block_size - offset % block_size;
    if (count > left)
      count = left;
    if (count == block_size) {
      r = put_whole (writer, offset / block_size, encoded, left / block_size,
                     &done, status);
      encoded += done;
      count *= done;
    }
    /* One of which nobody here knows what it holds comes whole. */
    else if (encoded->data && encoded->block == NULL)
      r = put_block (writer, offset / block_size, encoded++, status);
    else
      r = put_part (writer, offset, count, data,
                    &operation->merged[offset != operation->offset], status);
    if (r == -1)
      return -1;
    offset += count;
    data += count;
    left -= count;
  }
  return 0;
}

/* One step of a trim or a zero; says in operation->cleared how far it came.
 *
 *    offset       first                     step     last        end
 *      |----edge----|---- blocks cleared ----|- - - - -|----edge---|
 */
static int
run_clear (struct writer *writer, struct operation *operation,
           struct status *status)
{
  const uint32_t block_size = writer->view.block_size;
  const uint64_t offset = operation->offset;
  const uint64_t end = offset + operation->count;
  const bool edges = operation->kind == ZERO;
  const uint64_t first = (offset + block_size - 1) / block_size;
  /* The disk's last block counts as whole even if the size ends in it. */
  const uint64_t last =
      end == writer->view.size ? view_blocks (&writer->view) : end / block_size;
  uint64_t step;

  operation->cleared = operation->count;
  if (first > last) /* inside one block */
    return edges ? merge_block (writer, offset, operation->count, NULL, status)
                 : 0;
  if (edges && offset % block_size &&
      merge_block (writer, offset, first * block_size - offset, NULL, status) ==
          -1)
    return -1;
  if (view_part_end (&writer->connection, &writer->view, first, last,
                     writer->step_rows, &step, status) == -1)
    return -1;
  if (step < last) {
    step = step > first ? step : first + 1;
    operation->cleared = step * block_size - offset;
    return clear_blocks (writer, first, step, status);
  }
  if (clear_blocks (writer, first, last, status) == -1)
    return -1;
  if (edges && last * block_size < end)
    return merge_block (writer, last * block_size, end - last * block_size,
                        NULL, status);
  return 0;
}

/* What was behind the end is gone, also where the disk grows again. */
static int
note_shrunk (struct writer *writer, int64_t disk, struct status *status)
{
  struct property shrunk = {
    .kind = PROPERTY_DISK,
    .key = PROPERTY_SHRUNK,
    .type = PROPERTY_INTEGER,
  };

  sqlite3_randomness (sizeof shrunk.integer, &shrunk.integer);
  return properties_set (&writer->connection, disk, &shrunk, status);
}

/* Cut the disk's end off, without its rows. */
static int
shrink (struct writer *writer, const struct operation *operation,
        struct status *status)
{
  const uint64_t size = operation->size;
  const uint32_t block_size = writer->view.block_size;
  const uint64_t rest = size % block_size;

  /* What a later growth shows again must be zeroes. */
  if (rest > 0 &&
      merge_block (writer, size, block_size - rest, NULL, status) == -1)
    return -1;
  writer->view.size = writer->below.size = size;
  return disks_set_size (&writer->connection, operation->disk->id, size,
                         status) == -1
             ? -1
             : note_shrunk (writer, operation->disk->id, status);
}

/* One step of a change of size.  A smaller size holds at once, and then the
 * rows past the end go; a larger one holds when no rows are there, which a
 * change that was interrupted may have left.
 */
static int
run_resize (struct writer *writer, struct operation *operation,
            struct status *status)
{
  const uint32_t block_size = writer->view.block_size;
  const uint64_t end = (operation->limit - 1) / block_size + 1;
  const uint64_t size = operation->size ? operation->size : writer->view.size;
  uint64_t first, step;

  operation->done = false;
  /* Who chose the size saw another one: it may be smaller now without a
   * guard, or leave rows behind that nobody has looked for.
   */
  if (operation->size != 0 && !operation->begun &&
      writer->view.size != operation->disk->size)
    return status_fail (status, EBUSY,
                        "its size has just been changed, to %s; look at it, "
                        "and try again",
                        COUNT (writer->view.size, "byte"));
  if (size < writer->view.size && shrink (writer, operation, status) == -1)
    return -1;
  /* Rows of layers below stay where they are, so go on behind what was done. */
  first = view_blocks (&writer->view);
  if (first < operation->reached)
    first = operation->reached;
  operation->cleared = first;
  if (first < end) {
    if (view_part_end (&writer->connection, &writer->view, first, end,
                       writer->step_rows, &step, status) == -1)
      return -1;
    if (step == first)
      step++;
    if (clear_blocks (writer, first, step, status) == -1)
      return -1;
    operation->cleared = step;
    if (step < end)
      return 0;
  }
  operation->done = true;
  writer->view_of = 0;
  return size == writer->view.size
             ? 0
             : disks_set_size (&writer->connection, operation->disk->id, size,
                               status);
}

/* Something else than a request: it may change any disk. */
static int
run_change (struct writer *writer, const struct operation *operation,
            struct status *status)
{
  int r = features_allow (&writer->connection, 0, FEATURE_CHANGE, status);

  if (r == 0)
    r = operation->change (&writer->connection, operation->opaque, status);
  writer_forget (writer);
  writer->changed = true;
  return r == -1 ? -1
                 : follow_again (&writer->follow, &writer->connection, status);
}

static int
run_request (struct writer *writer, struct operation *operation,
             struct status *status)
{
  if (operation->kind == RESIZE)
    return run_resize (writer, operation, status);
  if (view_check_range (&writer->view, operation->offset, operation->count,
                        ENOSPC, status) == -1)
    return -1;
  if (operation->kind == WRITE)
    return run_write (writer, operation, status);
  return run_clear (writer, operation, status);
}

static int
look_at_quota (struct writer *writer, const struct disk_info *disk,
               struct status *status)
{
  writer->quota_of = 0;
  if (quota_look (&writer->connection, disk->id, &writer->quota, status) == -1)
    return -1;
  writer->quota_of = disk->id;
  return 0;
}

/* May a request take the disk past its quota?  What it replaces in layers
 * below is still counted in quota->others, until that is looked at again.
 */
static bool
is_near_quota (const struct writer *writer, const struct operation *operation)
{
  const struct quota_state *quota = &writer->quota;
  const int64_t most = operation->count + INT64_C (2) * writer->view.block_size;

  return quota->own > quota->limit - quota->others - most;
}

/* A request where some disk has a quota: what is written must not take the
 * disk past it, but may keep it there.
 */
static int
run_counted (struct writer *writer, struct operation *operation,
             struct status *status)
{
  struct quota_state *quota = &writer->quota;
  const struct disk_info *disk = operation->disk;
  int64_t before;
  bool near;

  if (writer->quota_of != disk->id &&
      look_at_quota (writer, disk, status) == -1)
    return -1;
  if (quota->limit == QUOTA_NONE)
    return run_request (writer, operation, status);
  near = writer->owned > 0 && is_near_quota (writer, operation);
  if (near && look_at_quota (writer, disk, status) == -1)
    return -1;
  before = quota->own + quota->others;
  if (run_request (writer, operation, status) == -1 ||
      quota_look_again (&writer->connection, quota, status) == -1 ||
      (near && look_at_quota (writer, disk, status) == -1))
    return -1;
  return operation->kind == RESIZE || quota->own + quota->others <= before
             ? 0
             : quota_check (quota, disk->name, status);
}

int
writer_run_operation (struct writer *writer, struct operation *operation,
                      struct status *status)
{
  if (operation->kind == CHANGE)
    return run_change (writer, operation, status);
  if (operation->kind != WRITE)
    connection_frees_space (&writer->connection);
  if (look_at (writer, operation->disk, status) == -1)
    return -1;
  return writer->follow.counting ? run_counted (writer, operation, status)
                                 : run_request (writer, operation, status);
}
