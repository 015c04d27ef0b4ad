/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Disks: see disks.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "block/codec.h"
#include "base/sane.h"
#include "rows/content.h"
#include "rows/disks.h"
#include "rows/features.h"
#include "rows/properties.h"
#include "sqlite/page.h"
#include "rows/quota.h"
#include "rows/inherit.h"
#include "rows/keys.h"
#include "base/count.h"

int
disks_check_match (const struct disk_info *info,
                   const struct disk_options *options, struct status *status)
{
  const struct storing *wanted = &options->storing, *is = &info->storing;
  char text[COMPRESSION_TEXT];

  if (options->size && options->size != info->size)
    return status_fail (status, EINVAL,
                        "disk '%s' has %s, but size= asks for %" PRIu64
                        ": leave size= out to serve the "
                        "disk as it is",
                        info->name, COUNT (info->size, "byte"), options->size);
  if (options->block_size && options->block_size != info->block_size)
    return status_fail (status, EINVAL,
                        "disk '%s' has blocks of %" PRIu32 " bytes, but "
                        "block-size= asks for %" PRIu32 ": the block size "
                        "is fixed when a disk is made, leave block-size= "
                        "out",
                        info->name, info->block_size, options->block_size);
  if (wanted->compression.codec &&
      (wanted->compression.codec != is->compression.codec ||
       wanted->compression.level != is->compression.level)) {
    compression_print (&is->compression, text);
    return status_fail (status, EINVAL,
                        "disk '%s' has the compression %s: leave "
                        "compression= out, or change it with sqlblock set",
                        info->name, text);
  }
  if (wanted->deduplicate && wanted->deduplicate != is->deduplicate)
    return status_fail (status, EINVAL,
                        "disk '%s' has dedup=%s: leave dedup= out, or change "
                        "it with sqlblock set",
                        info->name, is->deduplicate == DISK_ON ? "on" : "off");
  if (options->quota && options->quota != info->quota &&
      (options->quota != QUOTA_NONE || info->quota))
    return status_fail (
        status, EINVAL,
        "disk '%s' does not have the quota that quota= asks for: leave "
        "quota= out, or change it with sqlblock set",
        info->name);
  if (options->description &&
      strcmp (options->description, info->description) != 0)
    return status_fail (status, EINVAL,
                        "disk '%s' exists with the description '%s': leave "
                        "description= out",
                        info->name, info->description);
  return 0;
}

/* Bytes of the file that one block takes, times 16, when blocks of
 * BLOCK_SIZE fill leaf pages of PAGE_SIZE ("B-tree Cell Format" and "Cell
 * Payload Overflow Pages" in SQLite's fileformat2.html).
 */
static uint64_t
packed_size (uint64_t block_size, uint64_t page_size)
{
  const uint64_t payload = block_size + 24; /* with the other columns */
  const uint64_t usable = page_usable (page_size);
  const uint64_t local = page_local (usable, true, payload);
  const uint64_t overflow_bytes = usable - PAGE_NEXT_SIZE;
  const uint64_t overflow_pages =
      (payload - local + overflow_bytes - 1) / overflow_bytes;

  /* A cell has about 12 bytes around its payload. */
  return 16 * page_size / ((usable - 8) / (local + 12)) +
         16 * page_size * overflow_pages;
}

uint32_t
disks_page_size (uint32_t block_size)
{
  switch (block_size) {
  case 1024:
  case 32768:
    return 8192;
  case 2048:
    return 16384;
  case 512:
  case 4096:
  case 8192:
  case 16384:
    return 4096;
  default:
    return 16384;
  }
}

/* The block size that OPTIONS means. */
static uint32_t
wanted_block_size (const struct disk_options *options)
{
  return options->block_size ? options->block_size : DISK_BLOCK_SIZE_DEFAULT;
}

int
disks_check_packing (struct connection *connection,
                     const struct disk_options *options, struct status *status)
{
  const uint32_t block_size = wanted_block_size (options);
  int64_t page_size;

  if (connection_page_size (connection, &page_size, status) == -1)
    return -1;
  /* More than half of the block again would be wasted. */
  if (2 * packed_size (block_size, page_size) > 3 * 16 * block_size)
    return status_fail (status, EINVAL,
                        "blocks of %" PRIu32 " bytes would waste much of "
                        "this database's pages of %" PRId64 " bytes: use "
                        "another block-size=, or another database",
                        block_size, page_size);
  return 0;
}

/* A change of a disk's row failed; say so where the name is taken. */
static int
fail_taken (struct connection *connection, const char *name,
            struct status *status)
{
  if (sqlite3_extended_errcode (connection->db) == SQLITE_CONSTRAINT_UNIQUE)
    return status_fail (status, EEXIST,
                        "there is a disk '%s' already; give another name",
                        name);
  return -1;
}

/* The row of disk ID was changed, if that is allowed: whoever changes one comes
 * here, and takes it back where this fails.
 */
static int
set_checksum (struct connection *connection, int64_t id, struct status *status)
{
  static const char checksum_sql[] =
      "UPDATE disk SET checksum = " DISK_CHECKSUM " WHERE id = ?1";

  if (features_allow (connection, id, FEATURE_CHANGE, status) == -1 ||
      connection_run_for (connection, checksum_sql, id, status) == -1)
    return -1;
  return quota_follow (connection, id, status);
}

struct storing
disks_storing (const struct storing *wanted)
{
  return (struct storing){
    .compression = wanted->compression.codec ? wanted->compression
                                             : compression_default (),
    .deduplicate = wanted->deduplicate == DISK_ON ? DISK_ON : DISK_OFF,
  };
}

/* From now on the database may have blocks that are stored in this way. */
static int
add_storing_features (struct connection *connection,
                      const struct storing *storing, struct status *status)
{
  if (features_add (connection, codec_feature (storing->compression.codec),
                    status) == -1)
    return -1;
  return features_add (connection,
                       storing->deduplicate == DISK_ON ? CONTENT_FEATURE : NULL,
                       status);
}

/* Insert the row of a disk on LAYER. */
static int
insert_disk (struct connection *connection, const struct disk_options *options,
             int64_t layer, struct status *status)
{
  static const char insert_sql[] = "INSERT INTO disk" DISK_VALUES;
  const char *name = options->name ? options->name : DISK_NAME_DEFAULT;
  const struct storing storing = disks_storing (&options->storing);
  CLEANUP_STATEMENT sqlite3_stmt *insert =
      connection_statement (connection, insert_sql, status);
  int r;

  if (insert == NULL ||
      add_storing_features (connection, &storing, status) == -1)
    return -1;
  sqlite3_bind_text (insert, 1 + DISK_NAME, name, -1, SQLITE_STATIC);
  sqlite3_bind_text (insert, 1 + DISK_DESCRIPTION,
                     options->description ? options->description : "", -1,
                     SQLITE_STATIC);
  sqlite3_bind_int64 (insert, 1 + DISK_SIZE, options->size);
  sqlite3_bind_int64 (insert, 1 + DISK_BLOCK_SIZE, wanted_block_size (options));
  sqlite3_bind_int64 (insert, 1 + DISK_LAYER, layer);
  sqlite3_bind_int (insert, 1 + DISK_EPOCH, 1);
  sqlite3_bind_int (insert, 1 + DISK_COMPRESSION, storing.compression.codec);
  sqlite3_bind_int (insert, 1 + DISK_COMPRESSION_LEVEL,
                    storing.compression.level);
  sqlite3_bind_int (insert, 1 + DISK_DEDUPLICATE,
                    storing.deduplicate == DISK_ON);
  if (options->quota && options->quota != QUOTA_NONE)
    sqlite3_bind_int64 (insert, 1 + DISK_QUOTA, options->quota);
  sqlite3_bind_int64 (insert, 1 + DISK_CREATED, time (NULL));
  sqlite3_bind_int (insert, 1 + DISK_SUM, 0); /* set_checksum follows */
  r = connection_step (connection, insert, status);
  return r == -1 ? fail_taken (connection, name, status) : 0;
}

int
disks_create_on (struct connection *connection,
                 const struct disk_options *options,
                 const struct layer_point *parent, int64_t *id,
                 struct status *status)
{
  int64_t layer;

  if (layer_create (connection, parent, &layer, status) == -1 ||
      insert_disk (connection, options, layer, status) == -1)
    return -1;
  *id = sqlite3_last_insert_rowid (connection->db);
  if (set_checksum (connection, *id, status) == -1)
    return -1;
  return options->encryption ? keys_put (connection, *id, options->encryption,
                                         options->slot, status)
                             : 0;
}

int
disks_create (struct connection *connection, const struct disk_options *options,
              struct status *status)
{
  struct disk_options filled = *options;
  int64_t id;

  if (settings_fill_in (connection, &filled, status) == -1)
    return -1;
  return disks_create_on (connection, &filled, NULL, &id, status);
}

/* Is there a text in COLUMN of a row, without a NUL inside? */
static bool
has_text (sqlite3_stmt *row, int column)
{
  const char *text = (const char *)sqlite3_column_text (row, column);

  return text && strlen (text) == (size_t)sqlite3_column_bytes (row, column);
}

/* How the disk of a row of DISK_SELECT stores new blocks. */
static int
storing_from_row (sqlite3_stmt *row, struct storing *storing,
                  struct status *status)
{
  const int64_t codec = sqlite3_column_int64 (row, DISK_COMPRESSION);
  const int64_t level = sqlite3_column_int64 (row, DISK_COMPRESSION_LEVEL);

  if (compression_check (codec, level, status) == -1)
    return -1;
  *storing = (struct storing){
    .compression = { codec, level },
    .deduplicate =
        sqlite3_column_int (row, DISK_DEDUPLICATE) ? DISK_ON : DISK_OFF,
  };
  return 0;
}

/* The same where this program may do no more than ACCESS with the disk: what it
 * does not write there it need not understand.
 */
static int
storing_for (enum disk_access access, sqlite3_stmt *row,
             struct storing *storing, struct status *status)
{
  if (storing_from_row (row, storing, status) == 0)
    return 0;
  *storing = (struct storing){
    .compression = { sqlite3_column_int64 (row, DISK_COMPRESSION),
                     sqlite3_column_int64 (row, DISK_COMPRESSION_LEVEL) },
    .deduplicate = DISK_OFF,
  };
  return access == DISK_OPEN ? -1 : 0;
}

/* Fill INFO from a row of DISK_SELECT; -1 and EIO for a damaged one.  The size
 * of the blocks of one that is only listed may be any.
 */
static int
info_from_row (struct connection *connection, sqlite3_stmt *row,
               struct disk_info *info, struct status *status)
{
  const char *name = (const char *)sqlite3_column_text (row, DISK_NAME);
  const char *description =
      (const char *)sqlite3_column_text (row, DISK_DESCRIPTION);
  enum disk_access access;
  bool encrypted;
  int header;

  if (features_access (connection, sqlite3_column_int64 (row, DISK_ID), &access,
                       &encrypted, status) == -1)
    return -1;
  header =
      keys_has_header (connection, sqlite3_column_int64 (row, DISK_ID), status);
  if (header == -1)
    return -1;
  if (!sqlite3_column_int (row, DISK_SUM) ||
      sqlite3_column_int64 (row, DISK_ID) < 1 ||
      (access != DISK_REFUSED &&
       !sane_geometry (sqlite3_column_int64 (row, DISK_SIZE),
                       sqlite3_column_int64 (row, DISK_BLOCK_SIZE))) ||
      !has_text (row, DISK_NAME) || !has_text (row, DISK_DESCRIPTION) ||
      !sane_name (name, DISK_NAME_MAX) || !sane_description (description))
    return status_fail (status, EIO,
                        "the row of disk number %lld is damaged; restore "
                        "the database from a backup",
                        sqlite3_column_int64 (row, DISK_ID));
  *info = (struct disk_info){
    .id = sqlite3_column_int64 (row, DISK_ID),
    .size = sqlite3_column_int64 (row, DISK_SIZE),
    .block_size = sqlite3_column_int64 (row, DISK_BLOCK_SIZE),
    .epoch = sqlite3_column_int64 (row, DISK_EPOCH),
    .quota = sqlite3_column_int64 (row, DISK_QUOTA),
    .created = sqlite3_column_int64 (row, DISK_CREATED),
    .access = access,
    .encrypted = encrypted || header,
  };
  strcpy (info->name, name);
  strcpy (info->description, description);
  return storing_for (access, row, &info->storing, status);
}

int
disks_count_damaged (struct connection *connection, int64_t *count,
                     struct status *status)
{
  static const char damaged_sql[] =
      "SELECT count (*) FROM disk WHERE checksum IS NOT " DISK_CHECKSUM
      " OR layer NOT IN (SELECT id FROM layer)";

  return connection_integer (connection, damaged_sql, count, status);
}

int
disks_find (struct connection *connection, const char *name,
            struct disk_info *info, struct status *status)
{
  static const char by_name_sql[] = DISK_SELECT " FROM disk WHERE name = ?1";
  static const char oldest_sql[] = DISK_SELECT
      " FROM disk WHERE (name LIKE '%/%') IS NOT TRUE ORDER BY id LIMIT 1";
  const bool named = name && name[0] != '\0';
  CLEANUP_STATEMENT sqlite3_stmt *find = connection_statement (
      connection, named ? by_name_sql : oldest_sql, status);
  int r;

  if (find == NULL)
    return -1;
  if (named)
    sqlite3_bind_text (find, 1, name, -1, SQLITE_STATIC);
  r = connection_step (connection, find, status);
  if (r == 1 && info_from_row (connection, find, info, status) == -1)
    return -1;
  return r;
}

int
disks_find_id (struct connection *connection, int64_t id,
               struct disk_info *info, struct status *status)
{
  static const char by_id_sql[] = DISK_SELECT " FROM disk WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *find =
      connection_statement (connection, by_id_sql, status);
  int r;

  if (find == NULL)
    return -1;
  sqlite3_bind_int64 (find, 1, id);
  r = connection_step (connection, find, status);
  if (r == 1 && info_from_row (connection, find, info, status) == -1)
    return -1;
  return r;
}

int
disks_list (struct connection *connection,
            int (*found) (const struct disk_info *info, void *opaque),
            void *opaque, struct status *status)
{
  static const char list_sql[] =
      DISK_SELECT " FROM disk WHERE (name LIKE '%/%') IS NOT TRUE ORDER BY id";
  CLEANUP_STATEMENT sqlite3_stmt *list =
      connection_statement (connection, list_sql, status);
  struct disk_info info;
  int r;

  if (list == NULL)
    return -1;
  while ((r = connection_step (connection, list, status)) > 0)
    if (info_from_row (connection, list, &info, status) == 0 &&
        found (&info, opaque))
      return 0;
  return r;
}

/* Append a disk's name to the message in OPAQUE while there is room. */
static int
append_name (const struct disk_info *info, void *opaque)
{
  return status_list_name (opaque, info->name);
}

/* There is a disk. */
static int
note_disk (const struct disk_info *info, void *opaque)
{
  (void)info;
  *(bool *)opaque = true;
  return 1;
}

int
disks_fail_unknown (struct connection *connection, const char *name,
                    struct status *status)
{
  struct status list;
  bool any = false;

  if (disks_list (connection, note_disk, &any, status) == -1)
    return -1;
  status_fail (&list, ENOENT, "there is no disk '%.*s'; %s", DISK_NAME_MAX,
               name, any ? "the disks are:" : "there are none");
  if (disks_list (connection, append_name, &list, status) == -1)
    return -1;
  *status = list;
  return -1;
}

int
disks_view (struct connection *connection, int64_t id, int64_t epoch,
            struct view *view, struct status *status)
{
  static const char view_sql[] = DISK_SELECT " FROM disk WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *disk =
      connection_statement (connection, view_sql, status);
  int r;

  if (disk == NULL)
    return -1;
  sqlite3_bind_int64 (disk, 1, id);
  r = connection_step (connection, disk, status);
  if (r == -1)
    return -1;
  if (r == 0 || sqlite3_column_int64 (disk, DISK_EPOCH) != epoch)
    return status_fail_changed (status, EIO,
                                "the disk was deleted or rolled back under "
                                "this connection; connect again");
  if (features_access (connection, id, &view->access, &view->encrypted,
                       status) == -1)
    return -1;
  if (view->access == DISK_REFUSED)
    return features_allow (connection, id, FEATURE_READ, status);
  if (!sqlite3_column_int (disk, DISK_SUM) ||
      !sane_geometry (sqlite3_column_int64 (disk, DISK_SIZE),
                      sqlite3_column_int64 (disk, DISK_BLOCK_SIZE)))
    return status_fail (status, EIO,
                        "the disk's row is damaged; restore the database "
                        "from a backup");
  if (storing_for (view->access, disk, &view->storing, status) == -1)
    return -1;
  view->size = sqlite3_column_int64 (disk, DISK_SIZE);
  view->block_size = sqlite3_column_int64 (disk, DISK_BLOCK_SIZE);
  return view_layers (connection, sqlite3_column_int64 (disk, DISK_LAYER), 0,
                      view, status);
}

int
disks_head (struct connection *connection, int64_t id, struct layer_point *head,
            struct status *status)
{
  static const char head_sql[] =
      "SELECT disk.layer, layer.generation, disk.checksum = " DISK_CHECKSUM
      " AND layer.checksum = " LAYER_CHECKSUM
      " FROM disk JOIN layer ON layer.id = disk.layer WHERE disk.id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, head_sql, status);
  int r;

  if (row == NULL)
    return -1;
  sqlite3_bind_int64 (row, 1, id);
  r = connection_step (connection, row, status);
  if (r == -1)
    return -1;
  if (r == 0)
    return status_fail (status, ENOENT, "the disk is gone");
  if (!sqlite3_column_int (row, 2))
    return status_fail (status, EIO,
                        "the row of the disk or its layer is damaged; restore "
                        "the database from a backup");
  *head = (struct layer_point){
    .layer = sqlite3_column_int64 (row, 0),
    .generation = sqlite3_column_int64 (row, 1),
  };
  return 0;
}

/* What comes in for disk ID, or was left by a reception that died, goes on
 * belonging to it under the NAME that it will have; so where a feature forbids
 * to change that, the disk keeps its name.
 */
static int
rename_incoming (struct connection *connection, int64_t id, const char *name,
                 struct status *status)
{
  static const char incoming_sql[] =
      "SELECT ifnull ((SELECT id FROM disk WHERE name ="
      " (SELECT name FROM disk WHERE id = ?1) || '" DISK_RECEIVING "'), 0)";
  static const char name_sql[] =
      "UPDATE OR IGNORE disk SET name = ?2 || '" DISK_RECEIVING "'"
      " WHERE id = ?1";
  int64_t incoming;

  if (connection_integer_for (connection, incoming_sql, id, &incoming,
                              status) == -1)
    return -1;
  if (incoming == 0)
    return 0;
  if (features_allow (connection, incoming, FEATURE_CHANGE, status) == -1 ||
      connection_run_for_text (connection, name_sql, incoming, name, status) ==
          -1)
    return -1;
  return set_checksum (connection, incoming, status);
}

int
disks_rename (struct connection *connection, int64_t id, const char *name,
              struct status *status)
{
  static const char rename_sql[] = "UPDATE disk SET name = ?2 WHERE id = ?1";

  if (rename_incoming (connection, id, name, status) == -1)
    return -1;
  if (connection_run_for_text (connection, rename_sql, id, name, status) == -1)
    return fail_taken (connection, name, status);
  return set_checksum (connection, id, status);
}

int
disks_describe (struct connection *connection, int64_t id,
                const char *description, struct status *status)
{
  static const char describe_sql[] =
      "UPDATE disk SET description = ?2 WHERE id = ?1";

  if (connection_run_for_text (connection, describe_sql, id, description,
                               status) == -1)
    return -1;
  return set_checksum (connection, id, status);
}

int
disks_set_storing (struct connection *connection, int64_t id,
                   const struct storing *storing, struct status *status)
{
  static const char storing_sql[] =
      "UPDATE disk SET compression = ifnull (?2, compression),"
      " compression_level = ifnull (?3, compression_level),"
      " deduplicate = ifnull (?4, deduplicate) WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *set =
      connection_statement (connection, storing_sql, status);

  if (storing->compression.codec == 0 && storing->deduplicate == DISK_UNSAID)
    return 0;
  if (set == NULL || add_storing_features (connection, storing, status) == -1)
    return -1;
  sqlite3_bind_int64 (set, 1, id);
  if (storing->compression.codec) {
    sqlite3_bind_int (set, 2, storing->compression.codec);
    sqlite3_bind_int (set, 3, storing->compression.level);
  }
  if (storing->deduplicate)
    sqlite3_bind_int (set, 4, storing->deduplicate == DISK_ON);
  if (connection_step (connection, set, status) == -1)
    return -1;
  return set_checksum (connection, id, status);
}

int
disks_set_size (struct connection *connection, int64_t id, uint64_t size,
                struct status *status)
{
  static const char size_sql[] = "UPDATE disk SET size = ?2 WHERE id = ?1";

  if (connection_run_for_integer (connection, size_sql, id, size, status) == -1)
    return -1;
  return set_checksum (connection, id, status);
}

/* Have disk ID stand on LAYER, and have SIZE bytes if that is not 0. */
static int
set_layer (struct connection *connection, int64_t id, int64_t layer,
           uint64_t size, struct status *status)
{
  static const char layer_sql[] =
      "UPDATE disk SET layer = ?2, size = ifnull (nullif (?3, 0), size)"
      " WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *set =
      connection_statement (connection, layer_sql, status);

  if (set == NULL)
    return -1;
  sqlite3_bind_int64 (set, 1, id);
  sqlite3_bind_int64 (set, 2, layer);
  sqlite3_bind_int64 (set, 3, size);
  if (connection_step (connection, set, status) == -1)
    return -1;
  return set_checksum (connection, id, status);
}

int
disks_raise_epoch (struct connection *connection, int64_t id,
                   struct status *status)
{
  static const char epoch_sql[] =
      "UPDATE disk SET epoch = epoch + 1 WHERE id = ?1";

  if (connection_run_for (connection, epoch_sql, id, status) == -1)
    return -1;
  return set_checksum (connection, id, status);
}

/* Have disk ID go on as SIZE bytes on LAYER, in a new epoch. */
static int
move_to (struct connection *connection, int64_t id, int64_t layer,
         uint64_t size, struct status *status)
{
  struct layer_point old;

  if (disks_head (connection, id, &old, status) == -1 ||
      disks_raise_epoch (connection, id, status) == -1 ||
      set_layer (connection, id, layer, size, status) == -1)
    return -1;
  return reclaim_add (connection, old.layer, status);
}

int
disks_roll_back (struct connection *connection, int64_t id,
                 const struct layer_point *to, uint64_t size,
                 struct status *status)
{
  int64_t layer;

  if (layer_create (connection, to, &layer, status) == -1)
    return -1;
  return move_to (connection, id, layer, size, status);
}

int
disks_lend (struct connection *connection, const struct disk_options *options,
            int64_t id, const struct layer_point *base, int64_t *lent,
            struct status *status)
{
  struct layer_point head;
  int64_t layer;

  if (disks_head (connection, id, &head, status) == -1 ||
      layer_create (connection, base, &layer, status) == -1 ||
      set_layer (connection, id, layer, 0, status) == -1 ||
      insert_disk (connection, options, head.layer, status) == -1)
    return -1;
  *lent = sqlite3_last_insert_rowid (connection->db);
  return set_checksum (connection, *lent, status);
}

/* Delete the row of disk ID; where it wrote goes to HEAD. */
static int
delete_row (struct connection *connection, int64_t id, struct layer_point *head,
            struct status *status)
{
  static const char delete_sql[] = "DELETE FROM disk WHERE id = ?1";

  if (features_allow (connection, id, FEATURE_CHANGE, status) == -1 ||
      disks_head (connection, id, head, status) == -1 ||
      features_drop (connection, id, status) == -1 ||
      properties_drop (connection, PROPERTY_DISK, id, status) == -1)
    return -1;
  return connection_run_for (connection, delete_sql, id, status);
}

int
disks_take_back (struct connection *connection, int64_t id, int64_t lent,
                 struct status *status)
{
  struct layer_point own, back;

  if (disks_head (connection, id, &own, status) == -1 ||
      delete_row (connection, lent, &back, status) == -1 ||
      set_layer (connection, id, back.layer, 0, status) == -1)
    return -1;
  if (quota_follow_layer (connection, own.layer, status) == -1)
    return -1;
  return layer_remove (connection, own.layer, status);
}

int
disks_take_over (struct connection *connection, int64_t id, int64_t from,
                 uint64_t size, struct status *status)
{
  struct layer_point head;

  if (delete_row (connection, from, &head, status) == -1)
    return -1;
  return move_to (connection, id, head.layer, size, status);
}

int
disks_delete (struct connection *connection, int64_t id, struct status *status)
{
  struct layer_point head;

  if (delete_row (connection, id, &head, status) == -1)
    return -1;
  return reclaim_add (connection, head.layer, status);
}
