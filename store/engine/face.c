/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What store.h passes on of the floors below the engine. */

#include <config.h>

#include <sqlite3.h>

#include "block/codec.h"
#include "cluster/location.h"
#include "rows/database.h"
#include "rows/snapshots.h"
#include "sqlite/clustered.h"
#include "sqlite/files.h"
#include "sqlite/filesystem.h"
#include "sqlite/vfs-restart.h"
#include "store.h"

int
store_parse_compression (const char *text, struct compression *compression,
                         struct status *status)
{
  return compression_parse (text, compression, status);
}

void
store_print_compression (const struct compression *compression,
                         char text[COMPRESSION_TEXT])
{
  compression_print (compression, text);
}

void
store_show_snapshot (const struct snapshot_info *snapshot,
                     struct disk_info *disk)
{
  snapshots_as_disk (snapshot, disk);
}

void
store_set_one_machine (bool one_machine)
{
  filesystem_set_one_machine (one_machine);
}

bool
store_is_on_cluster (const char *path)
{
  return location_is_cluster (path);
}

void
store_set_cluster (uint64_t bytes, unsigned seconds)
{
  clustered_set_cache (bytes ? bytes : CLUSTERED_CACHE);
  clustered_set_timeout (seconds ? seconds : CLUSTERED_TIMEOUT);
}

void
store_set_takeover (void (*say) (const char *message))
{
  clustered_set_takeover (say);
}

bool
store_has_file (const char *path, const char *file)
{
  return files_has (path, file);
}

bool
store_has_descriptor (const char *path, int fd)
{
  return files_has_descriptor (path, fd);
}

int
store_check_name (const char *path, struct status *status)
{
  return database_check_name (path, status);
}

int
store_rename_new (const char *from, const char *to)
{
  return files_rename_new (from, to);
}

const char *
store_codec (unsigned number)
{
  return codec_built (number);
}

const char *
store_sqlite_compiled (void)
{
  return SQLITE_VERSION;
}

const char *
store_sqlite_used (void)
{
  return sqlite3_libversion ();
}

bool
store_sqlite_is_fixed (void)
{
  return vfs_restart_is_fixed (sqlite3_libversion_number ());
}

int
store_examine (const char *path, struct status *status)
{
  return database_examine (path, status);
}

int
store_make (const char *path, uint32_t block_size, struct status *status)
{
  return database_create_empty (path, block_size, status);
}
