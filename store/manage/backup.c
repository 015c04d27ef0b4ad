/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Backup: a copy of the whole database while servers write to it.
 *
 * A file that is copied page by page, or in one long transaction, would
 * keep the log from starting over for as long as that takes.  Here one
 * short transaction takes a snapshot of every disk, which nobody sees, and
 * reads all rows but those of blocks.  The rows of blocks that snapshots show
 * do not change any more and are read later, some MiB at a time; nobody
 * reclaims rows meanwhile.
 *
 *   layer 7, generation 4:  rows of 1 ... 4   are copied
 *      snapshot: generation 5
 *   servers write:          rows of 5         are not
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "manage.h"
#include "block/checksum.h"
#include "cluster/location.h"
#include "rows/content.h"
#include "rows/database.h"
#include "rows/features.h"
#include "rows/follow.h"
#include "base/grow.h"
#include "sqlite/guard.h"
#include "rows/layers.h"
#include "rows/snapshots.h"
#include "engine/engine.h"
#include "manage/calls.h"
#include "sqlite/files.h"

/* What is read in one transaction at most: bytes of blocks, rows, and rows
 * that are passed over.
 */
#define CHUNK_BYTES (4 * 1024 * 1024)
#define CHUNK_ROWS  16384

/* The most bytes of one row: a whole block, with what belongs to a codec that
 * is not known.
 */
#define ROW_BYTES (DISK_BLOCK_SIZE_MAX + 4096)

/* The page cache of the new file, in KiB: its index is filled at random. */
static const char cache_sql[] = "PRAGMA cache_size = -65536";

/* Disks that are just coming in (manage_receive) are left out, and snapshots
 * that belong to copies like this one.
 */
#define COPIED                                                                 \
  "name NOT LIKE '%" DISK_RECEIVING "' AND name NOT LIKE '" SNAPSHOT_COPY "%'"

/* A row of a block that was read, in the chunk. */
struct chunk_row {
  int64_t id, layer, number, generation, codec, checksum;
  size_t offset, length; /* of its data in the chunk's bytes */
  bool bare;             /* there is none, not even an empty one */

  /* Codec 4: to which content it refers, and, where the copy does not have
   * that yet, the rest of it, with its data in the chunk's bytes.
   */
  struct content content;
};

/* A backup in progress. */
struct backup {
  struct store *store;
  struct connection *copy; /* the new file */
  bool pinned;             /* disks write a generation that is not copied */
  progress_made progress;
  void *opaque;
  struct backup_counts counts;
  uint64_t total; /* bytes to copy, about */

  int64_t *pins; /* snapshots that keep rows from being overwritten */
  size_t pins_count;
  int *guards; /* of disks that get none */
  size_t guards_count;
  struct layer_point *layers; /* that are copied, by id, and up to where */
  size_t layers_count;
  int64_t last_id; /* of the rows that are copied */

  /* The chunk. */
  int64_t next_id; /* where to go on */
  struct chunk_row *rows;
  size_t rows_count;
  char *bytes;
  size_t bytes_count;
};

/*--------------------------------------------------------------------
 * The rows of disks, layers and snapshots.
 */

/* Copy what SELECT returns on FROM by INSERT into the new file. */
static int
copy_rows (struct connection *from, struct connection *copy,
           const char *select_sql, const char *insert_sql,
           struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *select =
      connection_statement (from, select_sql, status);
  int r;

  if (select == NULL)
    return -1;
  while ((r = connection_step (from, select, status)) == 1) {
    CLEANUP_STATEMENT sqlite3_stmt *insert =
        connection_statement (copy, insert_sql, status);

    if (insert == NULL)
      return -1;
    for (int i = 0; i < sqlite3_column_count (select); i++)
      sqlite3_bind_value (insert, i + 1, sqlite3_column_value (select, i));
    if (connection_step (copy, insert, status) == -1)
      return -1;
  }
  return r;
}

/* The layers that disks and snapshots show, and below. */
#define NEEDED_LAYERS                                                          \
  "WITH RECURSIVE needed (id) AS ("                                            \
  " SELECT layer FROM disk WHERE " COPIED                                      \
  " UNION SELECT layer FROM snapshot WHERE " COPIED                            \
  " UNION SELECT layer.parent FROM layer JOIN needed USING (id)"               \
  " WHERE layer.parent IS NOT NULL)"

#define COUNTER_IS_RIGHT                                                       \
  "name IN ('layer', 'disk', 'snapshot', 'content')"                           \
  " AND seq BETWEEN 0 AND 1 << 62"

/* Copy all rows but those of blocks, in the order in which they refer to
 * each other.
 */
static int
copy_tables (struct connection *from, struct connection *copy,
             struct status *status)
{
  static const struct {
    const char *select, *insert;
  } tables[] = {
    /* Only the original is replicated, by tables that are not copied. */
    { "SELECT * FROM feature WHERE"
      " (disk = 0 AND name <> '" FEATURE_LITESTREAM "') OR disk IN"
      " (SELECT id FROM disk WHERE " COPIED ")",
      "INSERT INTO feature" FEATURE_VALUES },
    { NEEDED_LAYERS " SELECT * FROM property WHERE CASE kind"
                    " WHEN 1 THEN owner IN"
                    "  (SELECT id FROM disk WHERE " COPIED ")"
                    "  AND NOT (key GLOB '" PROPERTY_BOOKMARK "*'"
                    "   AND CAST (value AS INTEGER) NOT IN needed)"
                    " WHEN 2 THEN owner IN"
                    "  (SELECT id FROM snapshot WHERE " COPIED ")"
                    " WHEN 3 THEN owner IN needed"
                    " ELSE key <> '" PROPERTY_LITESTREAM "' END",
      "INSERT OR REPLACE INTO property" PROPERTY_VALUES },
    { NEEDED_LAYERS " SELECT * FROM layer WHERE id IN needed ORDER BY id",
      "INSERT INTO layer" LAYER_VALUES },
    { "SELECT * FROM disk WHERE " COPIED, "INSERT INTO disk" DISK_VALUES },
    { "SELECT * FROM snapshot WHERE " COPIED,
      "INSERT INTO snapshot" SNAPSHOT_VALUES },
    { NEEDED_LAYERS " SELECT layer, 0, 0 FROM reclaim WHERE layer IN needed",
      "INSERT INTO reclaim VALUES (?1, ?2, ?3)" },
    { NEEDED_LAYERS " SELECT layer, 9223372036854775807, 0 FROM counted"
                    " WHERE layer IN needed",
      "INSERT INTO counted VALUES (?1, ?2, ?3)" },
    /* Ids of what is gone are not used again in the copy, either. */
    { "SELECT DISTINCT name FROM sqlite_sequence WHERE " COUNTER_IS_RIGHT,
      "INSERT INTO sqlite_sequence (name, seq) SELECT ?1, 0"
      " WHERE ?1 NOT IN (SELECT name FROM sqlite_sequence)" },
    { "SELECT name, seq FROM sqlite_sequence WHERE " COUNTER_IS_RIGHT,
      "UPDATE sqlite_sequence SET seq = max (seq, ?2) WHERE name = ?1" },
  };

  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
    if (copy_rows (from, copy, tables[i].select, tables[i].insert, status) ==
        -1)
      return -1;
  return 0;
}

/* Empty the tables of the new file again. */
static int
clear_tables (struct connection *copy, struct status *status)
{
  static const char *const tables[] = {
    "DELETE FROM counted",  "DELETE FROM reclaim", "DELETE FROM snapshot",
    "DELETE FROM disk",     "DELETE FROM layer",   "DELETE FROM feature",
    "DELETE FROM property",
  };

  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
    if (connection_run (copy, tables[i], status) == -1)
      return -1;
  return 0;
}

/* Does DISK, of this id or 0, write a generation that is not copied?  Returns
 * 1, 0, -1.
 */
static int
is_pinned (struct backup *backup, int64_t disk, struct status *status)
{
  enum disk_access access;

  if (disk == 0 || !backup->pinned)
    return 0;
  if (features_access (backup->copy, disk, &access, NULL, status) == -1)
    return -1;
  return access == DISK_OPEN;
}

/* Note which layers the new file has, and up to which generation their rows
 * are shown: for that of a disk the one that was pinned, for others the
 * highest that is looked at.
 */
static int
note_layers (struct backup *backup, struct status *status)
{
  static const char limits_sql[] =
      "SELECT layer.id, ifnull ("
      "(SELECT layer.generation FROM disk WHERE disk.layer = layer.id),"
      " max (ifnull ((SELECT max (snapshot.generation) FROM snapshot"
      "               WHERE snapshot.layer = layer.id), 0),"
      "      ifnull ((SELECT max (child.parent_generation) FROM layer AS child"
      "               WHERE child.parent = layer.id), 0))),"
      " (SELECT id FROM disk WHERE disk.layer = layer.id)"
      " FROM layer ORDER BY layer.id";
  static const char count_sql[] = "SELECT count (*) FROM layer";
  CLEANUP_STATEMENT sqlite3_stmt *limits =
      connection_statement (backup->copy, limits_sql, status);
  int64_t count;
  int r;

  if (limits == NULL ||
      connection_integer (backup->copy, count_sql, &count, status) == -1)
    return -1;
  free (backup->layers);
  backup->layers_count = 0;
  backup->layers = calloc (count + 1, sizeof *backup->layers);
  if (backup->layers == NULL)
    return status_no_memory (status);
  while ((r = connection_step (backup->copy, limits, status)) == 1) {
    r = is_pinned (backup, sqlite3_column_int64 (limits, 2), status);
    if (r == -1)
      return -1;
    backup->layers[backup->layers_count++] = (struct layer_point){
      .layer = sqlite3_column_int64 (limits, 0),
      .generation = sqlite3_column_int64 (limits, 1) - r,
    };
  }
  return r;
}

static int
compare_layers (const void *a, const void *b)
{
  const struct layer_point *first = a, *second = b;

  return (first->layer > second->layer) - (first->layer < second->layer);
}

/* Is a row of this LAYER and GENERATION part of the backup? */
static bool
is_copied (const struct backup *backup, int64_t layer, int64_t generation)
{
  const struct layer_point key = { .layer = layer };
  const struct layer_point *found =
      backup->layers_count == 0
          ? NULL
          : bsearch (&key, backup->layers, backup->layers_count, sizeof key,
                     compare_layers);

  return found && generation <= found->generation;
}

/* The next disk after ID, as disks_find. */
static int
next_disk (struct connection *connection, int64_t id, struct disk_info *disk,
           struct status *status)
{
  static const char next_sql[] =
      "SELECT name FROM disk WHERE id > ?1 AND " COPIED " ORDER BY id LIMIT 1";
  CLEANUP_STATEMENT sqlite3_stmt *next =
      connection_statement (connection, next_sql, status);
  const char *name;
  int r;

  if (next == NULL)
    return -1;
  sqlite3_bind_int64 (next, 1, id);
  r = connection_step (connection, next, status);
  if (r != 1)
    return r;
  name = (const char *)sqlite3_column_text (next, 0);
  r = disks_find (connection, name ? name : "", disk, status);
  /* It would go on for ever with a damaged index of the names. */
  return r == 1 && disk->id <= id
             ? status_fail (status, EIO, "the index of the disks is damaged")
             : r;
}

/* Pin what DISK shows now. */
static int
pin_disk (struct connection *connection, struct backup *backup,
          const struct disk_info *disk, struct status *status)
{
  const struct snapshot_info none = { .id = 0 };
  int64_t *pins = grow (backup->pins, backup->pins_count, sizeof *pins);

  if (pins == NULL)
    return status_no_memory (status);
  backup->pins = pins;
  return snapshots_pin (connection, disk, &none, &pins[backup->pins_count++],
                        status);
}

/* A disk that must not be changed gets no pin: it stays as it is while this has
 * its guard, without which other programs of ours do not write it.
 */
static int
hold_disk (struct backup *backup, const struct disk_info *disk,
           struct status *status)
{
  int *guards, guard;

  if (store_is_immutable (backup->store))
    return 0;
  guards = grow (backup->guards, backup->guards_count, sizeof *guards);
  if (guards == NULL)
    return status_no_memory (status);
  backup->guards = guards;
  guard = guard_copy (store_path (backup->store), disk->id, status);
  if (guard == -1)
    return -1;
  guards[backup->guards_count++] = guard;
  return 0;
}

static void
let_go (struct backup *backup)
{
  while (backup->guards_count > 0)
    guard_release (backup->guards[--backup->guards_count]);
}

/* Pin or hold what every disk shows now.  All must be readable: a copy without
 * one of them would be none.
 */
static int
pin_disks (struct connection *connection, struct backup *backup,
           struct status *status)
{
  struct disk_info disk = { .id = 0 };
  int r;

  backup->pins_count = 0;
  let_go (backup); /* a first try may have been undone */
  while ((r = next_disk (connection, disk.id, &disk, status)) == 1) {
    r = features_allow (connection, disk.id, FEATURE_READ, status);
    if (r == 0 && disk.access != DISK_OPEN)
      r = hold_disk (backup, &disk, status);
    else if (r == 0 && backup->pinned)
      r = pin_disk (connection, backup, &disk, status);
    if (r == -1)
      return status_prefix (status, "disk '%s'", disk.name);
  }
  return r;
}

/* Unpin it. */
static int
unpin_disks (struct connection *connection, void *opaque, struct status *status)
{
  const struct backup *backup = opaque;

  connection_frees_space (connection);
  for (size_t i = 0; i < backup->pins_count; i++)
    if (snapshots_unpin (connection, backup->pins[i], status) == -1)
      return -1;
  return 0;
}

/* Pin the database and copy all but the blocks.  Nothing may be written
 * to the database between these.
 */
static int
begin_copy (struct connection *connection, void *opaque, struct status *status)
{
  static const char last_sql[] = "SELECT ifnull (max (id), 0) FROM block";
  struct backup *backup = opaque;

  if (clear_tables (backup->copy, status) == -1 ||
      pin_disks (connection, backup, status) == -1 ||
      copy_tables (connection, backup->copy, status) == -1 ||
      connection_integer (connection, last_sql, &backup->last_id, status) == -1)
    return -1;
  return note_layers (backup, status);
}

/*--------------------------------------------------------------------
 * The rows of blocks.
 */

/* Copy LENGTH bytes of DATA into the chunk. */
static void
take_bytes (struct backup *backup, const void *data, size_t length)
{
  if (length > 0)
    memcpy (backup->bytes + backup->bytes_count, data, length);
  backup->bytes_count += length;
}

static int
fail_row (const struct block_row *row, struct status *status)
{
  return status_fail (status, EIO,
                      "block %" PRId64 " of layer %" PRId64 ", generation "
                      "%" PRId64 ": its checksum does not match; restore "
                      "the block from an earlier backup",
                      row->number, row->layer, row->generation);
}

/* Has the new file the content with this id? */
static int
has_content (struct connection *copy, int64_t id, struct status *status)
{
  static const char there_sql[] = "SELECT 1 FROM content WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *there =
      connection_statement (copy, there_sql, status);

  if (there == NULL)
    return -1;
  sqlite3_bind_int64 (there, 1, id);
  return connection_step (copy, there, status);
}

/* Take the content to which a row refers into the chunk, where the new file
 * does not have it.
 */
static int
take_content (struct connection *connection, struct backup *backup,
              struct chunk_row *row, int64_t id, struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *found = NULL;
  int r;

  row->content.id = id;
  r = has_content (backup->copy, id, status);
  if (r != 0)
    return r == -1 ? -1 : 0;
  if (content_find_as_is (connection, id, &row->content, &found, status) == -1)
    return status_prefix (
        status, "block %" PRId64 " of layer %" PRId64 ", generation %" PRId64,
        row->number, row->layer, row->generation);
  if (row->content.length > ROW_BYTES)
    return status_fail (status, EIO,
                        "content %" PRId64 " is damaged; restore it from an "
                        "earlier backup",
                        id);
  take_bytes (backup, row->content.data, row->content.length);
  return 0;
}

/* Take the row at which BLOCKS stands into the chunk. */
static int
take_row (struct connection *connection, struct backup *backup,
          sqlite3_stmt *blocks, struct status *status)
{
  const struct block_row found = {
    .id = sqlite3_column_int64 (blocks, 0),
    .layer = sqlite3_column_int64 (blocks, 1),
    .number = sqlite3_column_int64 (blocks, 2),
    .generation = sqlite3_column_int64 (blocks, 3),
    .codec = sqlite3_column_int64 (blocks, 4),
    .checksum = sqlite3_column_int64 (blocks, 5),
    .data = sqlite3_column_blob (blocks, 6),
    .length = sqlite3_column_bytes (blocks, 6),
    .content = sqlite3_column_int64 (blocks, 7),
  };
  struct chunk_row *row = &backup->rows[backup->rows_count];

  if (!is_copied (backup, found.layer, found.generation))
    return 0;
  if (found.length > ROW_BYTES || (found.data == NULL && found.length > 0) ||
      !checksum_fits (&found))
    return fail_row (&found, status);
  *row = (struct chunk_row){
    .id = found.id,
    .layer = found.layer,
    .number = found.number,
    .generation = found.generation,
    .codec = found.codec,
    .checksum = found.checksum,
    .offset = backup->bytes_count,
  };
  if (found.codec == CODEC_CONTENT) {
    if (take_content (connection, backup, row, found.content, status) == -1)
      return -1;
  }
  else {
    row->bare = sqlite3_column_type (blocks, 6) == SQLITE_NULL;
    row->content.id = found.content; /* of a codec that is not known */
    row->length = found.length;
    take_bytes (backup, found.data, found.length);
  }
  backup->rows_count++;
  return 0;
}

/* Read the next chunk. */
static int
read_chunk (struct connection *connection, struct backup *backup,
            struct status *status)
{
  static const char blocks_sql[] =
      "SELECT id, layer, number, generation, codec, checksum, data, content"
      " FROM block WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
  CLEANUP_STATEMENT sqlite3_stmt *blocks =
      connection_statement (connection, blocks_sql, status);
  int r = -1;

  backup->rows_count = backup->bytes_count = 0;
  if (blocks == NULL)
    return -1;
  sqlite3_bind_int64 (blocks, 1, backup->next_id);
  sqlite3_bind_int64 (blocks, 2, backup->last_id);
  sqlite3_bind_int64 (blocks, 3, CHUNK_ROWS);
  backup->next_id = backup->last_id + 1;
  for (int seen = 1; (r = connection_step (connection, blocks, status)) == 1;
       seen++) {
    if (take_row (connection, backup, blocks, status) == -1)
      return -1;
    if (seen == CHUNK_ROWS || backup->bytes_count >= CHUNK_BYTES) {
      backup->next_id = sqlite3_column_int64 (blocks, 0) + 1;
      return 0;
    }
  }
  return r;
}

/* Write the content of a row into the new file.  Another row of the chunk may
 * have brought it along.
 */
static int
write_content (struct backup *backup, const struct chunk_row *row,
               struct status *status)
{
  static const char insert_sql[] =
      "INSERT INTO content (id, hash, size, codec, checksum, data)"
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING";
  const struct content *content = &row->content;
  CLEANUP_STATEMENT sqlite3_stmt *insert =
      connection_statement (backup->copy, insert_sql, status);

  if (insert == NULL)
    return -1;
  sqlite3_bind_int64 (insert, 1, content->id);
  sqlite3_bind_int64 (insert, 2, content->hash);
  sqlite3_bind_int64 (insert, 3, content->size);
  sqlite3_bind_int64 (insert, 4, content->codec);
  sqlite3_bind_int64 (insert, 5, content->checksum);
  sqlite3_bind_blob64 (insert, 6, backup->bytes + row->offset, content->length,
                       SQLITE_STATIC);
  return connection_step (backup->copy, insert, status);
}

/* Write the chunk into the new file. */
static int
write_chunk (struct backup *backup, struct status *status)
{
  static const char insert_sql[] =
      "INSERT INTO block"
      " (id, layer, number, generation, codec, checksum, data, content)"
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

  for (size_t i = 0; i < backup->rows_count; i++) {
    const struct chunk_row *row = &backup->rows[i];
    CLEANUP_STATEMENT sqlite3_stmt *insert =
        connection_statement (backup->copy, insert_sql, status);

    if (insert == NULL ||
        (row->content.length > 0 && write_content (backup, row, status) == -1))
      return -1;
    sqlite3_bind_int64 (insert, 1, row->id);
    sqlite3_bind_int64 (insert, 2, row->layer);
    sqlite3_bind_int64 (insert, 3, row->number);
    sqlite3_bind_int64 (insert, 4, row->generation);
    sqlite3_bind_int64 (insert, 5, row->codec);
    sqlite3_bind_int64 (insert, 6, row->checksum);
    if (row->content.id != 0)
      sqlite3_bind_int64 (insert, 8, row->content.id);
    if (row->codec != CODEC_CONTENT && !row->bare)
      sqlite3_bind_blob64 (insert, 7, backup->bytes + row->offset, row->length,
                           SQLITE_STATIC);
    if (connection_step (backup->copy, insert, status) == -1)
      return -1;
  }
  backup->counts.blocks += backup->rows_count;
  backup->counts.bytes += backup->bytes_count;
  return 0;
}

static int
copy_blocks (struct backup *backup, struct status *status)
{
  while (backup->next_id <= backup->last_id) {
    if (STORE_READ (backup->store, status, connection,
                    read_chunk (connection, backup, status)) == -1 ||
        write_chunk (backup, status) == -1)
      return -1;
    if (backup->total < backup->counts.bytes)
      backup->total = backup->counts.bytes;
    if (progress_report (backup->progress, backup->counts.bytes, backup->total,
                         backup->opaque, status) == -1)
      return -1;
  }
  return 0;
}

/* Is in the new file what was written there? */
static int
check_copy (struct backup *backup, struct status *status)
{
  static const char count_sql[] = "SELECT count (*) FROM block";
  static const char foreign_sql[] =
      "SELECT count (*) FROM pragma_foreign_key_check";
  int64_t blocks, dangling;

  if (connection_integer (backup->copy, count_sql, &blocks, status) == -1 ||
      connection_integer (backup->copy, foreign_sql, &dangling, status) == -1)
    return -1;
  if ((uint64_t)blocks != backup->counts.blocks || dangling != 0)
    return status_fail (status, EIO,
                        "the copy is not complete; the database is damaged");
  return 0;
}

/* Fill the new file. */
static int
fill (struct connection *copy, void *opaque, struct status *status)
{
  struct backup *backup = opaque;
  struct follow follow = { 0 };

  backup->copy = copy;
  if (connection_run (copy, cache_sql, status) == -1)
    return -1;
  if ((backup->pinned
           ? store_change (backup->store, begin_copy, backup, status)
           : STORE_READ (backup->store, status, connection,
                         begin_copy (connection, backup, status))) == -1 ||
      follow_again (&follow, copy, status) == -1 ||
      copy_blocks (backup, status) == -1)
    return -1;
  return check_copy (backup, status);
}

/*--------------------------------------------------------------------
 * All of it.
 */

/* Make the new file. */
static int
make_copy (struct backup *backup, const char *path, struct status *status)
{
  struct manage_file file;

  if (manage_file (backup->store, &file, status) == -1)
    return -1;
  backup->total = file.size - file.free;
  backup->rows = calloc (CHUNK_ROWS, sizeof *backup->rows);
  backup->bytes = malloc (CHUNK_BYTES + ROW_BYTES);
  if (backup->rows == NULL || backup->bytes == NULL)
    return status_no_memory (status);
  return database_make (path, file.page_size, fill, backup, status);
}

/* Find out whether disks can be pinned: not where the file itself has a feature
 * that forbids to change it.
 */
static int
may_pin (struct backup *backup, struct status *status)
{
  struct status why;
  const int r =
      STORE_READ (backup->store, &why, connection,
                  features_forbid (connection, 0, FEATURE_CHANGE, &why));

  if (r == -1)
    *status = why;
  backup->pinned = r == 0;
  return r == -1 ? -1 : 0;
}

/* The same as manage_backup, where a server has the database: it makes the
 * file, in the directory that is meant here.
 */
static int
backup_on_server (struct store *store, const char *path, progress_made progress,
                  void *opaque, struct backup_counts *counts,
                  struct status *status)
{
  char *absolute = files_absolute (path, status);
  char *directory = absolute ? files_directory (absolute) : NULL;
  char identity[PLACE_IDENTITY];
  struct manage_call call = { .path = absolute, .directory = identity };
  int r = -1;

  if (absolute && directory == NULL)
    status_no_memory (status);
  else if (absolute && place_identify (directory, identity, status) == 0)
    r = calls_ask_long (store, &call_manage_backup, &call, progress, opaque,
                        status);
  free (absolute);
  free (directory);
  if (counts)
    *counts = call.copied;
  return r;
}

int
manage_backup (struct store *store, const char *path, progress_made progress,
               void *opaque, struct backup_counts *counts,
               struct status *status)
{
  struct backup backup = {
    .store = store,
    .progress = progress,
    .opaque = opaque,
  };
  struct status ignored;
  int guard = -1, r = 0;

  if (store_remote (store) && location_is_cluster (path))
    return status_fail (status, ENOTSUP,
                        "%s: a backup on a cluster is not made through a "
                        "server: leave out its control socket",
                        path);
  if (store_remote (store))
    return backup_on_server (store, path, progress, opaque, counts, status);
  /* A database that is read without its log cannot be pinned, and need not
   * be: when it changes, reading fails.
   */
  if (!store_is_immutable (store)) {
    guard = guard_keep_rows (store_path (store), status);
    r = guard == -1 ? -1 : may_pin (&backup, status);
  }
  if (r == 0)
    r = make_copy (&backup, path, status);
  /* Where that fails, manage_reclaim does it one day. */
  if (backup.pins_count > 0)
    store_change (store, unpin_disks, &backup, &ignored);
  if (guard != -1)
    guard_release (guard);
  let_go (&backup);
  free (backup.guards);
  free (backup.pins);
  free (backup.layers);
  free (backup.rows);
  free (backup.bytes);
  if (r == -1)
    return status_prefix (status, "backing up %s", store_path (store));
  if (counts)
    *counts = backup.counts;
  return 0;
}
