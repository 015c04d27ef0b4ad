/* Disks: see disks.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "codec.h"
#include "disks.h"

/* The columns of a disk that its checksum covers, in their order. */
#define DISK_CHECKSUM                                                          \
  "row_checksum ('disk', disk.id, disk.name, disk.description, disk.size,"     \
  " disk.block_size, disk.layer, disk.epoch, disk.compression,"                \
  " disk.compression_level, disk.deduplicate, disk.quota,"                     \
  " disk.snapshot_interval, disk.snapshot_keep, disk.created)"

#define DISK_INFO                                                              \
  "SELECT id, name, description, size, block_size, epoch,"                     \
  " checksum = " DISK_CHECKSUM " FROM disk"

/* Is TEXT valid UTF-8 without control characters? */
static bool
is_plain_text (const char *text)
{
  const unsigned char *p = (const unsigned char *)text;

  while (*p) {
    const int more = *p < 0x80                  ? 0
                     : *p >= 0xc2 && *p <= 0xdf ? 1
                     : *p >= 0xe0 && *p <= 0xef ? 2
                     : *p >= 0xf0 && *p <= 0xf4 ? 3
                                                : -1;

    if (more == -1 || *p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
      return false;
    /* Overlong forms, surrogates and what lies past U+10FFFF. */
    if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
        (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
      return false;
    p++;
    for (int i = 0; i < more; i++, p++)
      if ((*p & 0xc0) != 0x80)
        return false;
  }
  return true;
}

static int
check_name (const char *name, struct status *status)
{
  if (name[0] == '\0')
    return status_fail (status, EINVAL, "the name of a disk is empty");
  if (strlen (name) > DISK_NAME_MAX)
    return status_fail (status, EINVAL,
                        "the name of a disk is longer than %d bytes",
                        DISK_NAME_MAX);
  if (!is_plain_text (name) || strpbrk (name, "@/"))
    return status_fail (status, EINVAL,
                        "'%s' cannot be the name of a disk: it must be UTF-8 "
                        "without '@', '/' and control characters",
                        name);
  return 0;
}

static bool
is_block_size (int64_t bytes)
{
  return bytes >= DISK_BLOCK_SIZE_MIN && bytes <= DISK_BLOCK_SIZE_MAX &&
         (bytes & (bytes - 1)) == 0;
}

int
disks_check_options (const struct disk_options *options, struct status *status)
{
  if (options->name && check_name (options->name, status) == -1)
    return -1;
  if (options->description &&
      (strlen (options->description) > DISK_DESCRIPTION_MAX ||
       !is_plain_text (options->description)))
    return status_fail (status, EINVAL,
                        "the description must be UTF-8 without control "
                        "characters, of at most %d bytes",
                        DISK_DESCRIPTION_MAX);
  if (options->size > INT64_MAX)
    return status_fail (
        status, EINVAL,
        "the size is larger than the largest, %" PRId64 " bytes", INT64_MAX);
  if (options->block_size && !is_block_size (options->block_size))
    return status_fail (status, EINVAL,
                        "the block size %" PRIu32
                        " is not a power of two from 512 to 1M",
                        options->block_size);
  return 0;
}

int
disks_check_match (const struct disk_info *info,
                   const struct disk_options *options, struct status *status)
{
  if (options->size && options->size != info->size)
    return status_fail (status, EINVAL,
                        "disk '%s' has %" PRIu64 " bytes, but size= asks "
                        "for %" PRIu64 ": leave size= out to serve the "
                        "disk as it is",
                        info->name, info->size, options->size);
  if (options->block_size && options->block_size != info->block_size)
    return status_fail (status, EINVAL,
                        "disk '%s' has blocks of %" PRIu32 " bytes, but "
                        "block-size= asks for %" PRIu32 ": the block size "
                        "is fixed when a disk is made, leave block-size= "
                        "out",
                        info->name, info->block_size, options->block_size);
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
  const uint64_t most_local = page_size - 35;
  const uint64_t least_local = (page_size - 12) * 32 / 255 - 23;
  const uint64_t overflow_bytes = page_size - 4;
  uint64_t local = payload, overflow_pages = 0;

  if (payload > most_local) {
    local = least_local + (payload - least_local) % overflow_bytes;
    if (local > most_local)
      local = least_local;
    overflow_pages = (payload - local + overflow_bytes - 1) / overflow_bytes;
  }
  /* A cell has about 12 bytes around its payload. */
  return 16 * page_size / ((page_size - 8) / (local + 12)) +
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

/* Make the layer of a new disk. */
static int
create_layer (struct connection *connection, int64_t *id, struct status *status)
{
  static const char insert_sql[] =
      "INSERT INTO layer (generation, checksum) VALUES (1, 0)";
  static const char checksum_sql[] =
      "UPDATE layer SET checksum = " LAYER_CHECKSUM
      " WHERE id = last_insert_rowid ()";

  if (connection_run (connection, insert_sql, status) == -1 ||
      connection_run (connection, checksum_sql, status) == -1)
    return -1;
  *id = sqlite3_last_insert_rowid (connection->db);
  return 0;
}

int
disks_create (struct connection *connection, const struct disk_options *options,
              struct status *status)
{
  static const char insert_sql[] =
      "INSERT INTO disk (name, description, size, block_size, layer, epoch,"
      " compression, compression_level, deduplicate, quota,"
      " snapshot_interval, snapshot_keep, created, checksum)"
      " VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, 0, 0, NULL, NULL, NULL, ?7, 0)";
  static const char checksum_sql[] = "UPDATE disk SET checksum = " DISK_CHECKSUM
                                     " WHERE id = last_insert_rowid ()";
  const char *name = options->name ? options->name : DISK_NAME_DEFAULT;
  CLEANUP_STATEMENT sqlite3_stmt *insert =
      connection_statement (connection, insert_sql, status);
  int64_t layer;
  int r;

  if (insert == NULL || create_layer (connection, &layer, status) == -1)
    return -1;
  sqlite3_bind_text (insert, 1, name, -1, SQLITE_STATIC);
  sqlite3_bind_text (insert, 2,
                     options->description ? options->description : "", -1,
                     SQLITE_STATIC);
  sqlite3_bind_int64 (insert, 3, options->size);
  sqlite3_bind_int64 (insert, 4, wanted_block_size (options));
  sqlite3_bind_int64 (insert, 5, layer);
  sqlite3_bind_int (insert, 6, CODEC_RAW);
  sqlite3_bind_int64 (insert, 7, time (NULL));
  r = connection_step (connection, insert, status);
  if (r == -1 &&
      sqlite3_extended_errcode (connection->db) == SQLITE_CONSTRAINT_UNIQUE)
    return status_fail (status, EEXIST, "there is a disk '%s' already", name);
  if (r == -1 || connection_run (connection, checksum_sql, status) == -1)
    return -1;
  return 0;
}

/* Are the size and the block size, which stand side by side from COLUMN of
 * a row on, numbers to calculate with?
 */
static bool
sane_geometry (sqlite3_stmt *row, int column)
{
  const int64_t size = sqlite3_column_int64 (row, column);
  const int64_t block_size = sqlite3_column_int64 (row, column + 1);

  return size > 0 && is_block_size (block_size);
}

/* Is there a text in COLUMN of a row, without a NUL inside? */
static bool
sane_text (sqlite3_stmt *row, int column)
{
  const char *text = (const char *)sqlite3_column_text (row, column);

  return text && strlen (text) == (size_t)sqlite3_column_bytes (row, column);
}

/* Fill INFO from a row of DISK_INFO; -1 and EIO for a damaged one. */
static int
info_from_row (sqlite3_stmt *row, struct disk_info *info, struct status *status)
{
  const char *name = (const char *)sqlite3_column_text (row, 1);
  const char *description = (const char *)sqlite3_column_text (row, 2);
  const struct disk_options as_options = {
    .name = name,
    .description = description,
  };

  if (!sqlite3_column_int (row, 6) || sqlite3_column_int64 (row, 0) < 1 ||
      !sane_geometry (row, 3) || !sane_text (row, 1) || !sane_text (row, 2) ||
      disks_check_options (&as_options, status) == -1)
    return status_fail (status, EIO,
                        "the row of disk number %lld is damaged; restore "
                        "the database from a backup",
                        sqlite3_column_int64 (row, 0));
  *info = (struct disk_info){
    .id = sqlite3_column_int64 (row, 0),
    .size = sqlite3_column_int64 (row, 3),
    .block_size = sqlite3_column_int64 (row, 4),
    .epoch = sqlite3_column_int64 (row, 5),
  };
  strcpy (info->name, name);
  strcpy (info->description, description);
  return 0;
}

int
disks_find (struct connection *connection, const char *name,
            struct disk_info *info, struct status *status)
{
  static const char by_name_sql[] = DISK_INFO " WHERE name = ?1";
  static const char oldest_sql[] = DISK_INFO " ORDER BY id LIMIT 1";
  const bool named = name && name[0] != '\0';
  CLEANUP_STATEMENT sqlite3_stmt *find = connection_statement (
      connection, named ? by_name_sql : oldest_sql, status);
  int r;

  if (find == NULL)
    return -1;
  if (named)
    sqlite3_bind_text (find, 1, name, -1, SQLITE_STATIC);
  r = connection_step (connection, find, status);
  if (r == 1 && info_from_row (find, info, status) == -1)
    return -1;
  return r;
}

int
disks_list (struct connection *connection,
            int (*found) (const struct disk_info *info, void *opaque),
            void *opaque, struct status *status)
{
  static const char list_sql[] = DISK_INFO " ORDER BY id";
  CLEANUP_STATEMENT sqlite3_stmt *list =
      connection_statement (connection, list_sql, status);
  struct disk_info info;
  int r;

  if (list == NULL)
    return -1;
  while ((r = connection_step (connection, list, status)) > 0)
    if (info_from_row (list, &info, status) == 0 && found (&info, opaque))
      return 0;
  return r;
}

/* Append a disk's name to the message in OPAQUE while there is room. */
static int
append_name (const struct disk_info *info, void *opaque)
{
  struct status *status = opaque;
  const size_t length = strlen (status->message);

  snprintf (status->message + length, sizeof status->message - length, " '%s'",
            info->name);
  return length > 600;
}

int
disks_fail_unknown (struct connection *connection, const char *name,
                    struct status *status)
{
  struct status list;

  status_fail (&list, ENOENT,
               "there is no disk '%.*s'; the disks are:", DISK_NAME_MAX, name);
  if (disks_list (connection, append_name, &list, status) == -1)
    return -1;
  *status = list;
  return -1;
}

int
disks_view (struct connection *connection, int64_t id, int64_t epoch,
            struct view *view, struct status *status)
{
  static const char view_sql[] =
      "SELECT size, block_size, epoch, layer, checksum = " DISK_CHECKSUM
      " FROM disk WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *disk =
      connection_statement (connection, view_sql, status);
  int r;

  if (disk == NULL)
    return -1;
  sqlite3_bind_int64 (disk, 1, id);
  r = connection_step (connection, disk, status);
  if (r == -1)
    return -1;
  if (r == 0 || sqlite3_column_int64 (disk, 2) != epoch)
    return status_fail (status, EIO,
                        "the disk was deleted or rolled back under this "
                        "connection; connect again");
  if (!sqlite3_column_int (disk, 4) || !sane_geometry (disk, 0))
    return status_fail (status, EIO,
                        "the disk's row is damaged; restore the database "
                        "from a backup");
  view->size = sqlite3_column_int64 (disk, 0);
  view->block_size = sqlite3_column_int64 (disk, 1);
  return view_layers (connection, sqlite3_column_int64 (disk, 3), view, status);
}
