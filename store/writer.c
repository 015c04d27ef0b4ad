/* Group commit: see writer.h. */

#include <config.h>

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "checksum.h"
#include "clock.h"
#include "codec.h"
#include "content.h"
#include "database.h"
#include "log.h"
#include "statistics.h"
#include "writer.h"

/* What one transaction takes at most: so many operations, and so many bytes
 * unless one operation alone has more.
 */
#define BATCH_OPERATIONS 256
#define BATCH_BYTES      (8 * 1024 * 1024)

/* The longest that a leader gives way, in nanoseconds. */
#define LONGEST_DELAY 50000000

/* What clearing a step counts as in a batch, in bytes. */
#define CLEAR_BYTES (1024 * 1024)

/* Blocks whose map is read at a time to hide what stands below. */
#define HIDE_BLOCKS 4096

enum operation_kind { WRITE, TRIM, ZERO, RESIZE, CHANGE };

enum operation_state { WAITING, LEADING, DONE };

/* A block of which a write changes a part, as it is to be if its version is
 * still the same.
 */
struct merged {
  bool known;
  struct row_version version;
  struct encoded encoded;
};

/* A request on its way through the queue. */
struct operation {
  enum operation_kind kind;
  const struct disk_info *disk;
  uint64_t offset, count;         /* bytes */
  const char *data;               /* WRITE: the bytes */
  const struct encoded *encoded;  /* WRITE: its whole blocks, ... */
  const struct merged *merged;    /* ... and its first and last, in part */
  struct compression compression; /* WRITE: the disk's, when it was done, ... */
  bool deduplicate;               /* ... and whether it was deduplicated */
  writer_change change;           /* CHANGE: what to call, ... */
  void *opaque;                   /* ... and with what */

  uint64_t cleared; /* TRIM, ZERO: bytes that this step has done */
  uint64_t size;    /* RESIZE: what the disk is to have, in bytes, or 0:
                       what it has, ... */
  uint64_t limit;   /* ... and up to where there may be old rows */
  bool done;        /* RESIZE: nothing is left to do */
  int result;
  struct status *status;

  uint64_t asked; /* when it was put on the queue */
  struct operation *next;
  atomic_uint state; /* enum operation_state; a futex */
};

/*--------------------------------------------------------------------
 * Changing blocks, inside the leader's transaction.
 */

/* Forget what is known of disks and ids: something else than requests may have
 * changed it.  Otherwise it is kept from one transaction to the next.
 */
static void
forget (struct writer *writer)
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
  const struct layer_view *layer = &writer->view.layers[0];

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
 * looked at them was deleted: what the disk overwrites of them goes, too.
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

  if (writer->view_of == disk->id && writer->view_epoch == disk->epoch)
    return 0;
  writer->view_of = 0;
  if (disks_view (&writer->connection, disk->id, disk->epoch, view, status) ==
      -1)
    return -1;
  if (view->block_size != disk->block_size)
    return status_fail (status, EIO,
                        "the disk's block size was changed under this "
                        "connection; restore the database from a backup");
  if (below->capacity < view->depth) {
    struct layer_view *layers =
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
  below->layers[0] = (struct layer_view){ view->layers[0].layer, floor };
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

/* The id for a new row. */
static int
new_id (struct writer *writer, int64_t *id, struct status *status)
{
  if (writer->next_id == 0 &&
      row_next_id (&writer->connection, &writer->next_id, status) == -1)
    return -1;
  if (writer->next_id == INT64_MAX)
    return status_fail (status, EIO,
                        "the database has used up its block ids; restore it "
                        "from a backup");
  *id = writer->next_id++;
  return 0;
}

/* Delete the rows of a layer of blocks FIRST to before END, those after the
 * generation FLOOR up to the one that the layer is seen at.
 */
static int
delete_in (struct writer *writer, const struct layer_view *layer, int64_t floor,
           uint64_t first, uint64_t end, struct status *status)
{
  static const char delete_sql[] =
      "DELETE FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND number >= ?2 AND number < ?3"
      " AND generation > ?4 AND generation <= ?5";
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
  const struct layer_view own = { writer->view.layers[0].layer, last };

  for (size_t i = 1; i <= writer->owned; i++)
    if (delete_in (writer, &writer->view.layers[i], 0, first, end, status) ==
        -1)
      return -1;
  return delete_in (writer, &own, writer->below.layers[0].generation, first,
                    end, status);
}

/* Bind what makes a row refer to CONTENT. */
static void
bind_reference (sqlite3_stmt *put, const struct layer_view *layer,
                int64_t number, int64_t content)
{
  sqlite3_bind_int (put, 5, CODEC_CONTENT);
  sqlite3_bind_int64 (
      put, 6,
      checksum_reference (layer->layer, number, layer->generation, content));
  sqlite3_bind_int64 (put, 8, content);
}

/* Bind what gives a row data of its own. */
static void
bind_data (sqlite3_stmt *put, const struct layer_view *layer, int64_t number,
           const struct encoded *encoded)
{
  sqlite3_bind_int (put, 5, encoded->codec);
  sqlite3_bind_int64 (put, 6,
                      checksum_block (layer->layer, number, layer->generation,
                                      encoded->codec, encoded->length,
                                      encoded->hash));
  if (encoded->data)
    sqlite3_bind_blob64 (put, 7, encoded->data, encoded->length, SQLITE_STATIC);
}

/* Store a row of the present generation. */
static int
put_row (struct writer *writer, int64_t number, const struct encoded *encoded,
         struct status *status)
{
  static const char put_sql[] =
      "INSERT INTO block"
      " (id, layer, number, generation, codec, checksum, data, content)"
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
      " ON CONFLICT (layer, number, generation) DO UPDATE SET"
      " codec = excluded.codec, checksum = excluded.checksum,"
      " data = excluded.data, content = excluded.content";
  const struct layer_view *layer = &writer->view.layers[0];
  CLEANUP_STATEMENT sqlite3_stmt *put =
      connection_statement (&writer->connection, put_sql, status);
  int64_t id = 0, content = 0;

  if (put == NULL || new_id (writer, &id, status) == -1)
    return -1;
  /* After snapshots were deleted there may be older ones that only it sees. */
  if ((layer->generation - writer->below.layers[0].generation > 1 ||
       writer->owned > 0) &&
      delete_rows (writer, number, number + 1, layer->generation - 1, status) ==
          -1)
    return -1;
  if (writer->view.deduplicate && encoded->codec != CODEC_ZERO &&
      content_put (&writer->connection, encoded, writer->view.block_size,
                   &writer->next_content, &content, status) == -1)
    return -1;
  sqlite3_bind_int64 (put, 1, id);
  sqlite3_bind_int64 (put, 2, layer->layer);
  sqlite3_bind_int64 (put, 3, number);
  sqlite3_bind_int64 (put, 4, layer->generation);
  if (content != 0)
    bind_reference (put, layer, number, content);
  else
    bind_data (put, layer, number, encoded);
  if (connection_step (&writer->connection, put, status) == -1)
    return -1;
  if (sqlite3_last_insert_rowid (writer->connection.db) != id)
    writer->next_id = id; /* there was a row */
  return 0;
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
  char *place = writer->block + offset % block_size;
  struct encoded encoded;

  if (view_read (&writer->connection, &writer->view, writer->block,
                 number * block_size, block_size, status) == -1)
    return -1;
  if (data)
    memcpy (place, data, count);
  else
    memset (place, 0, count);
  codec_encode (&writer->connection.workspace, &writer->view.compression,
                writer->block, block_size, writer->room, &encoded);
  return put_block (writer, number, &encoded, status);
}

/* As merge_block, for a part of a block that was merged before. */
static int
put_merged (struct writer *writer, uint64_t number, const struct merged *merged,
            bool *put, struct status *status)
{
  struct row_version now;

  *put = false;
  if (!merged->known)
    return 0;
  if (view_version (&writer->connection, &writer->view, number, &now, status) ==
      -1)
    return -1;
  if (memcmp (&now, &merged->version, sizeof now) != 0)
    return 0;
  *put = true;
  return put_block (writer, number, &merged->encoded, status);
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
  bool put;
  int r;

  operation->compression = writer->view.compression;
  operation->deduplicate = writer->view.deduplicate;
  while (left > 0) {
    count = block_size - offset % block_size;
    if (count > left)
      count = left;
    if (count == block_size)
      r = put_block (writer, offset / block_size, encoded++, status);
    else {
      r = put_merged (writer, offset / block_size,
                      &operation->merged[offset != operation->offset], &put,
                      status);
      if (r == 0 && !put)
        r = merge_block (writer, offset, count, data, status);
    }
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
  if (view_row_limit (&writer->connection, &writer->view, first, last,
                      WRITER_STEP_ROWS + 1, &step, status) == -1)
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
                         status);
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
  if (size < writer->view.size && shrink (writer, operation, status) == -1)
    return -1;
  first = view_blocks (&writer->view);
  if (first < end) {
    if (view_row_limit (&writer->connection, &writer->view, first, end,
                        WRITER_STEP_ROWS + 1, &step, status) == -1)
      return -1;
    if (step == first)
      step++;
    if (clear_blocks (writer, first, step, status) == -1)
      return -1;
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
  const int r =
      operation->change (&writer->connection, operation->opaque, status);

  forget (writer);
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
  if (operation->offset > writer->view.size ||
      operation->count > writer->view.size - operation->offset)
    return status_fail (status, ENOSPC,
                        "the disk has shrunk; connect again to see its size");
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

static int
run_operation (struct writer *writer, struct operation *operation,
               struct status *status)
{
  if (operation->kind == CHANGE)
    return run_change (writer, operation, status);
  if (look_at (writer, operation->disk, status) == -1)
    return -1;
  return writer->follow.counting ? run_counted (writer, operation, status)
                                 : run_request (writer, operation, status);
}

/*--------------------------------------------------------------------
 * Leading.
 */

/* SQLite tells the size of the log after each commit. */
static int
note_wal_size (void *opaque, sqlite3 *db, const char *name, int pages)
{
  struct writer *writer = opaque;

  (void)db;
  (void)name;
  writer->wal_bytes = pages * writer->page_size;
  return SQLITE_OK;
}

/* Since when an operation has waited for the lock of another program, and
 * not for those that stood before it.
 */
static uint64_t
waiting_since (const struct writer *writer, const struct operation *operation)
{
  return operation->asked > writer->locked_since ? operation->asked
                                                 : writer->locked_since;
}

/* Begin a transaction, and wait for its lock as long as the first operation
 * of LIST may.
 */
static int
begin (struct writer *writer, const struct operation *list,
       struct status *status)
{
  if (writer->locked_since == 0)
    writer->locked_since = clock_now ();
  writer->connection.asked = waiting_since (writer, list);
  if (connection_begin_write (&writer->connection, status) == -1)
    return -1;
  writer->locked_since = 0;
  return 0;
}

/* Run COUNT operations of a list as one transaction.  Returns 0, or -1 with
 * nothing changed; *BEGUN says whether the transaction could begin.
 */
static int
run_transaction (struct writer *writer, struct operation *list, size_t count,
                 bool *begun, struct status *status)
{
  struct connection *connection = &writer->connection;
  const int changes = sqlite3_total_changes (connection->db);
  const uint64_t began = clock_now ();
  const size_t operations = count;
  bool others;
  int r;

  writer->changed = false;
  *begun = false;
  if (flusher_gave_up (writer->flusher))
    return log_fail_damaged (status);
  if (place_check_at_times (writer->place, status) == -1)
    return -1;
  if (begin (writer, list, status) == -1)
    return -1;
  *begun = true;
  r = follow_begin (&writer->follow, connection, &others, status);
  if (others)
    forget (writer);
  for (; r == 0 && count > 0; count--, list = list->next)
    r = run_operation (writer, list, status);
  if (r == 0)
    r = connection_commit (connection, status);
  if (r == -1) {
    connection_rollback (connection);
    forget (writer);
  }
  follow_end (&writer->follow, connection, r == 0);
  if (r == 0 &&
      (writer->changed || sqlite3_total_changes (connection->db) != changes)) {
    flusher_committed (writer->flusher);
    statistics_commit (writer->statistics, began, operations, connection->db,
                       writer->page_size);
    if (writer->committed)
      writer->committed (writer->wal_bytes, writer->opaque);
  }
  return r;
}

/* After waiting for a lock in vain: how many of COUNT operations, the oldest
 * first, have waited as long as they may?  Where not even the first has,
 * the server ends, and none is to wait any longer.
 */
static size_t
count_expired (const struct writer *writer, const struct operation *list,
               size_t count)
{
  const uint64_t longest = writer->connection.longest_wait * CLOCK_MILLISECOND;
  const uint64_t now = clock_now ();
  size_t expired = 0;

  for (; expired < count && now - waiting_since (writer, list) >= longest;
       list = list->next)
    expired++;
  return expired > 0 ? expired : count;
}

/* Run COUNT operations together, or else each alone.  Returns how many, from
 * the first on, have a result; the others may still wait for a lock.
 */
static size_t
run_batch (struct writer *writer, struct operation *list, size_t count)
{
  struct status status;
  bool begun;
  const int r = run_transaction (writer, list, count, &begun, &status);

  if (r == -1 && !begun && (status.sqlite & 0xff) == SQLITE_BUSY)
    count = count_expired (writer, list, count);
  for (size_t left = count; left > 0; left--, list = list->next) {
    if (r == -1 && begun && count > 1)
      list->result = run_transaction (writer, list, 1, &begun, list->status);
    else {
      list->result = r;
      if (r == -1)
        *list->status = status;
    }
  }
  return count;
}

/* How much an operation adds to a batch, in bytes. */
static uint64_t
weight (const struct operation *operation)
{
  return operation->kind == WRITE ? operation->count : CLEAR_BYTES;
}

/* Take a batch off the queue.  Called with the lock held. */
static struct operation *
take_batch (struct writer *writer, size_t *count)
{
  struct operation *list = writer->head, *last = list;
  uint64_t bytes = weight (list);

  *count = 1;
  while (last->next && *count < BATCH_OPERATIONS &&
         bytes + weight (last->next) <= BATCH_BYTES) {
    last = last->next;
    bytes += weight (last);
    ++*count;
  }
  writer->head = last->next;
  if (writer->head == NULL)
    writer->tail = NULL;
  writer->queued -= *count;
  return list;
}

/* Set an operation's state and wake its thread, after which the operation
 * may be gone: the futex call touches only its address.
 */
static void
set_state (struct operation *operation, enum operation_state state)
{
  atomic_store (&operation->state, state);
  syscall (SYS_futex, &operation->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static enum operation_state
wait_for_state (struct operation *operation)
{
  while (atomic_load (&operation->state) == WAITING)
    syscall (SYS_futex, &operation->state, FUTEX_WAIT_PRIVATE, WAITING, NULL,
             NULL, 0);
  return atomic_load (&operation->state);
}

/* Give way to a checkpoint. */
static void
give_way (struct writer *writer)
{
  uint64_t delay = atomic_load (&writer->slowness) * writer->duration +
                   atomic_load (&writer->delay);

  if (delay > LONGEST_DELAY)
    delay = LONGEST_DELAY;
  if (delay > 0)
    nanosleep (&(struct timespec){ .tv_nsec = delay }, NULL);
}

/* Give way, then take a batch. */
static struct operation *
begin_leading (struct writer *writer, size_t *count)
{
  struct operation *list;

  give_way (writer);
  pthread_mutex_lock (&writer->lock);
  while (writer->paused)
    pthread_cond_wait (&writer->resumed, &writer->lock);
  writer->running = true;
  list = take_batch (writer, count);
  pthread_mutex_unlock (&writer->lock);
  return list;
}

/* Put COUNT operations of a list back in front of the queue.  Called with
 * the lock held.
 */
static void
put_back (struct writer *writer, struct operation *list, size_t count)
{
  struct operation *last = list;

  writer->queued += count;
  for (; count > 1; count--)
    last = last->next;
  last->next = writer->head;
  if (writer->head == NULL)
    writer->tail = last;
  writer->head = list;
}

/* Hand on the lead: before the finished are woken, so that the next
 * transaction starts at once.  Of the batch, COUNT operations of LIST are
 * left.
 */
static void
end_leading (struct writer *writer, struct operation *list, size_t count)
{
  struct operation *next;

  pthread_mutex_lock (&writer->lock);
  if (count > 0)
    put_back (writer, list, count);
  writer->running = false;
  if (writer->paused)
    pthread_cond_signal (&writer->rested);
  next = writer->head;
  writer->led = next != NULL;
  pthread_mutex_unlock (&writer->lock);
  if (next)
    set_state (next, LEADING);
}

/* Lead one batch, of which OWN, the caller's operation, is the first. */
static void
lead (struct writer *writer, struct operation *own)
{
  struct operation *list, *rest, *next;
  uint64_t start;
  size_t count, done;
  long before;

  list = rest = begin_leading (writer, &count);
  before = prefetch_so_far ();
  start = clock_now ();
  done = run_batch (writer, list, count);
  writer->duration = clock_now () - start;
  prefetch_note (&writer->prefetch, before);
  for (size_t i = 0; i < done; i++)
    rest = rest->next;
  end_leading (writer, rest, count - done);
  for (; done > 0; done--, list = next) {
    next = list->next;
    if (list != own)
      set_state (list, DONE);
  }
}

/* Put an operation on the queue and return when it is done. */
static int
submit (struct writer *writer, struct operation *operation)
{
  bool leading;

  atomic_init (&operation->state, WAITING);
  operation->next = NULL;
  operation->asked = clock_now ();
  pthread_mutex_lock (&writer->lock);
  if (writer->tail)
    writer->tail->next = operation;
  else
    writer->head = operation;
  writer->tail = operation;
  writer->queued++;
  leading = !writer->led;
  writer->led = true;
  pthread_mutex_unlock (&writer->lock);
  if (leading || wait_for_state (operation) == LEADING)
    lead (writer, operation);
  return operation->result;
}

/*--------------------------------------------------------------------
 * The public side.
 */

/* A write with its blocks encoded. */
struct encoding {
  const struct write_request *request;
  uint32_t block_size;
  struct codec_workspace *workspace;
  struct encoded *whole; /* its whole blocks */
  struct merged merged[2];
  char *room; /* what is compressed; NULL where nothing is to be */
  size_t used;
};

/* Encode BLOCK. */
static void
encode (struct encoding *encoding, const void *block, struct encoded *encoded)
{
  char *room = encoding->room ? encoding->room + encoding->used : NULL;

  codec_encode (encoding->workspace, &encoding->request->compression, block,
                encoding->block_size, room, encoded);
  if (encoding->request->deduplicate && encoded->codec != CODEC_ZERO)
    codec_hash_block (encoded, encoding->block_size);
  if (encoded->data == room)
    encoding->used += encoded->length;
}

/* Merge COUNT bytes of DATA, which go to byte OFFSET, with the rest of their
 * block if that is known.
 */
static void
merge (struct encoding *encoding, const char *data, uint64_t offset,
       uint64_t count, size_t i)
{
  const struct block_before *before = &encoding->request->before[i];
  struct merged *merged = &encoding->merged[i];

  if (before->bytes == NULL)
    return;
  memcpy (before->bytes + offset % encoding->block_size, data, count);
  encode (encoding, before->bytes, &merged->encoded);
  merged->version = before->version;
  merged->known = true;
}

/* Encode all blocks of a write.  What this allocates is freed by
 * encoding_free.  Returns 0, or -1.
 */
static int
encode_blocks (struct encoding *encoding, struct writer *writer,
               struct status *status)
{
  const struct write_request *request = encoding->request;
  const uint32_t block_size = encoding->block_size;
  const uint64_t blocks = request->count / block_size;
  const char *data = request->data;
  uint64_t offset = request->offset, left = request->count, count;
  size_t i = 0;

  encoding->whole = malloc ((blocks + 1) * sizeof *encoding->whole);
  if (encoding->whole && request->compression.codec != CODEC_RAW) {
    encoding->workspace = codec_take (&writer->workspaces);
    encoding->room = malloc ((blocks + 2) * block_size);
  }
  if (encoding->whole == NULL ||
      (request->compression.codec != CODEC_RAW && encoding->room == NULL))
    return status_no_memory (status);
  for (; left > 0; offset += count, data += count, left -= count) {
    count = block_size - offset % block_size;
    if (count > left)
      count = left;
    if (count == block_size)
      encode (encoding, data, &encoding->whole[i++]);
    else
      merge (encoding, data, offset, count, offset != request->offset);
  }
  return 0;
}

static void
encoding_free (struct encoding *encoding, struct writer *writer)
{
  free (encoding->whole);
  free (encoding->room);
  codec_return (&writer->workspaces, encoding->workspace);
}

int
writer_write (struct writer *writer, const struct disk_info *disk,
              struct write_request *request, struct status *status)
{
  struct encoding encoding = {
    .request = request,
    .block_size = disk->block_size,
  };
  struct operation operation = {
    .kind = WRITE,
    .disk = disk,
    .offset = request->offset,
    .count = request->count,
    .data = request->data,
    .merged = encoding.merged,
    .compression = request->compression,
    .deduplicate = request->deduplicate,
    .status = status,
  };
  int r = encode_blocks (&encoding, writer, status);

  if (r == 0) {
    operation.encoded = encoding.whole;
    r = submit (writer, &operation);
    request->compression = operation.compression;
    request->deduplicate = operation.deduplicate;
  }
  encoding_free (&encoding, writer);
  return r;
}

int
writer_clear (struct writer *writer, const struct disk_info *disk,
              uint64_t offset, uint64_t count, bool edges,
              struct status *status)
{
  while (count > 0) {
    struct operation operation = {
      .kind = edges ? ZERO : TRIM,
      .disk = disk,
      .offset = offset,
      .count = count,
      .status = status,
    };

    if (submit (writer, &operation) == -1)
      return -1;
    offset += operation.cleared;
    count -= operation.cleared;
  }
  return 0;
}

int
writer_resize (struct writer *writer, const struct disk_info *disk,
               uint64_t size, struct status *status)
{
  struct operation operation = {
    .kind = RESIZE,
    .disk = disk,
    .size = size,
    .limit = size == 0           ? INT64_MAX
             : size > disk->size ? size
                                 : disk->size,
    .status = status,
  };

  while (!operation.done)
    if (submit (writer, &operation) == -1)
      return -1;
  return 0;
}

int
writer_run (struct writer *writer, writer_change change, void *opaque,
            struct status *status)
{
  struct operation operation = {
    .kind = CHANGE,
    .change = change,
    .opaque = opaque,
    .status = status,
  };

  return submit (writer, &operation);
}

bool
writer_is_busy (struct writer *writer)
{
  bool busy;

  pthread_mutex_lock (&writer->lock);
  busy = writer->led;
  pthread_mutex_unlock (&writer->lock);
  return busy;
}

void
writer_pause (struct writer *writer)
{
  pthread_mutex_lock (&writer->lock);
  writer->paused = true;
  writer->paused_since = clock_now ();
  while (writer->running)
    pthread_cond_wait (&writer->rested, &writer->lock);
  pthread_mutex_unlock (&writer->lock);
}

void
writer_resume (struct writer *writer)
{
  pthread_mutex_lock (&writer->lock);
  writer->paused = false;
  pthread_cond_signal (&writer->resumed);
  pthread_mutex_unlock (&writer->lock);
  statistics_pause (writer->statistics, writer->paused_since);
}

int
writer_open (struct writer *writer, const char *path, struct flusher *flusher,
             struct patience *patience, struct status *status)
{
  *writer = (struct writer){ .flusher = flusher };
  if (database_open (&writer->connection, path, CONNECTION_GATHER, patience,
                     status) == -1)
    return -1;
  writer->block = malloc (2 * DISK_BLOCK_SIZE_MAX);
  if (writer->block == NULL)
    status_no_memory (status);
  if (writer->block == NULL ||
      connection_page_size (&writer->connection, &writer->page_size, status) ==
          -1) {
    free (writer->block);
    connection_close (&writer->connection);
    return -1;
  }
  writer->room = writer->block + DISK_BLOCK_SIZE_MAX;
  codec_pool_init (&writer->workspaces);
  sqlite3_wal_hook (writer->connection.db, note_wal_size, writer);
  pthread_mutex_init (&writer->lock, NULL);
  pthread_cond_init (&writer->resumed, NULL);
  pthread_cond_init (&writer->rested, NULL);
  return 0;
}

void
writer_close (struct writer *writer)
{
  connection_close (&writer->connection);
  view_free (&writer->view);
  view_free (&writer->below);
  free (writer->block);
  codec_pool_destroy (&writer->workspaces);
  pthread_mutex_destroy (&writer->lock);
  pthread_cond_destroy (&writer->resumed);
  pthread_cond_destroy (&writer->rested);
}
