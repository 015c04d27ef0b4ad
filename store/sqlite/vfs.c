/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The methods of our VFS, which say who acts when: see vfs.h. */

#include <config.h>

#include "base/bytes.h"
#include "sqlite/process.h"
#include "sqlite/vfs-ahead.h"
#include "sqlite/vfs-checksum.h"
#include "sqlite/vfs-file.h"
#include "sqlite/vfs-gather.h"
#include "sqlite/vfs-new.h"
#include "sqlite/vfs-restart.h"
#include "sqlite/vfs-room.h"
#include "sqlite/vfs.h"

/* Newer versions of SQLite read parts of pages where that may be. */
#ifndef SQLITE_IOCAP_SUBPAGE_READ
#define SQLITE_IOCAP_SUBPAGE_READ 0x00008000
#endif

/* A VFS of ours, and what lies below it. */
struct stack {
  sqlite3_vfs vfs; /* first: SQLite knows only this */
  sqlite3_vfs *below;
};

static struct stack on_files, on_cluster;

/*--------------------------------------------------------------------
 * A database.
 */

static int
database_close (sqlite3_file *handle)
{
  struct vfs_file *file = vfs_file_of (handle);
  int rc;

  vfs_restart_drop_end (file);
  vfs_checksum_close (file);
  vfs_ahead_close (file);
  vfs_new_close (file);
  rc = below_close (handle);
  vfs_room_after_close (file);
  return rc;
}

static int
database_read (sqlite3_file *handle, void *data, int count,
               sqlite3_int64 offset)
{
  struct vfs_file *file = vfs_file_of (handle);
  int rc;

  if (vfs_file_shows (file, data, count, offset))
    return SQLITE_OK;
  rc = vfs_new_before_read (file, count, offset);
  return rc == SQLITE_OK ? vfs_checksum_on_read (file, data, count, offset)
                         : rc;
}

static int
database_write (sqlite3_file *handle, const void *data, int count,
                sqlite3_int64 offset)
{
  struct vfs_file *file = vfs_file_of (handle);
  const int rc = vfs_checksum_on_write (file, &data, count, offset);

  if (rc != SQLITE_OK)
    return rc;
  return vfs_restart_is_end (file, data, count, offset)
             ? vfs_restart_keep_end (file, data, count)
             : vfs_new_on_write (file, data, count, offset);
}

static int
database_truncate (sqlite3_file *handle, sqlite3_int64 size)
{
  struct vfs_file *file = vfs_file_of (handle);
  const int rc = vfs_new_write_out (file);

  return rc == SQLITE_OK ? vfs_room_truncate (file, size) : rc;
}

static int
database_sync (sqlite3_file *handle, int flags)
{
  int rc = vfs_new_write_out (vfs_file_of (handle));

  if (rc == SQLITE_OK)
    rc = below_sync (handle, flags);
  return rc == SQLITE_OK ? vfs_restart_after_sync (vfs_file_of (handle), flags)
                         : rc;
}

static int
database_file_size (sqlite3_file *handle, sqlite3_int64 *size)
{
  const int rc = vfs_new_write_out (vfs_file_of (handle));

  return rc == SQLITE_OK ? below_file_size (handle, size) : rc;
}

static int
database_lock (sqlite3_file *handle, int level)
{
  const int rc = below_lock (handle, level);

  return vfs_restart_after_lock (vfs_file_of (handle), level, rc);
}

static int
database_file_control (sqlite3_file *handle, int operation, void *argument)
{
  int rc = SQLITE_OK;

  /* A transaction ends. */
  if (operation == SQLITE_FCNTL_SYNC)
    rc = vfs_new_write_out (vfs_file_of (handle));
  if (rc != SQLITE_OK)
    return rc;
  if (operation != VFS_FILE_FIND)
    return below_file_control (handle, operation, argument);
  *(struct vfs_file **)argument = vfs_file_of (handle);
  return SQLITE_OK;
}

/* To read a part costs as much as the page, which has the checksum. */
static int
database_device_characteristics (sqlite3_file *handle)
{
  return below_device_characteristics (handle) & ~SQLITE_IOCAP_SUBPAGE_READ;
}

static int
database_shm_map (sqlite3_file *handle, int region, int size, int extend,
                  void volatile **memory)
{
  struct vfs_file *file = vfs_file_of (handle);
  const int rc = vfs_room_shm_map (file, region, size, extend, memory);

  if (rc == SQLITE_OK && region == 0 && *memory)
    file->index = *memory;
  return rc;
}

static int
database_shm_lock (sqlite3_file *handle, int first, int count, int flags)
{
  struct vfs_file *file = vfs_file_of (handle);
  int rc = vfs_restart_before_shm_lock (file, first, count, flags);

  if (rc == SQLITE_OK) {
    rc = below_shm_lock (handle, first, count, flags);
    if (rc == SQLITE_OK)
      vfs_room_after_shm_lock (file, first, flags);
    rc = vfs_restart_after_shm_lock (file, first, count, flags, rc);
  }
  vfs_ahead_after_shm_lock (file, first, flags, rc);
  return rc;
}

static int
database_shm_unmap (sqlite3_file *handle, int remove)
{
  struct vfs_file *file = vfs_file_of (handle);

  vfs_restart_drop_end (file);
  file->index = NULL;
  return below_shm_unmap (handle, remove);
}

/* Version 2: a page in mapped memory would pass by the checksums. */
static const sqlite3_io_methods database_methods = {
  .iVersion = 2,
  .xClose = database_close,
  .xRead = database_read,
  .xWrite = database_write,
  .xTruncate = database_truncate,
  .xSync = database_sync,
  .xFileSize = database_file_size,
  .xLock = database_lock,
  .xUnlock = below_unlock,
  .xCheckReservedLock = below_check_reserved_lock,
  .xFileControl = database_file_control,
  .xSectorSize = below_sector_size,
  .xDeviceCharacteristics = database_device_characteristics,
  .xShmMap = database_shm_map,
  .xShmLock = database_shm_lock,
  .xShmBarrier = below_shm_barrier,
  .xShmUnmap = database_shm_unmap,
};

static int
open_database (const struct stack *stack, const char *name,
               struct vfs_file *file, int flags, int *out_flags)
{
  int rc;

  *file = (struct vfs_file){
    .on_cluster = stack == &on_cluster,
    .gathers = sqlite3_uri_boolean (name, VFS_GATHER_PARAMETER, 0),
  };
  rc = vfs_room_before_open (file, name);
  if (rc == SQLITE_OK)
    rc = vfs_new_open (file, name);
  if (rc == SQLITE_OK)
    rc = vfs_file_open (file, stack->below, name, flags, out_flags);
  if (rc == SQLITE_OK)
    rc = vfs_room_after_open (file, flags, out_flags);
  if (rc != SQLITE_OK) {
    if (file->below && file->below->pMethods)
      below_close (&file->base);
    vfs_new_close (file);
    vfs_room_after_close (file);
    return rc;
  }
  vfs_ahead_open (file, name, flags);
  file->base.pMethods = &database_methods;
  return SQLITE_OK;
}

/*--------------------------------------------------------------------
 * A log.
 */

static int
log_close (sqlite3_file *handle)
{
  struct vfs_file *file = vfs_file_of (handle);

  file->database->log = NULL;
  vfs_gather_close (file);
  vfs_room_close_log (file);
  return below_close (handle);
}

static int
log_read (sqlite3_file *handle, void *data, int count, sqlite3_int64 offset)
{
  struct vfs_file *file = vfs_file_of (handle);
  int rc;

  if (vfs_file_shows (file, data, count, offset))
    return SQLITE_OK;
  rc = vfs_gather_before_read (file, count, offset);
  return rc == SQLITE_OK ? below_read (handle, data, count, offset) : rc;
}

/* Know where frames are: from the header, which is written now or was by
 * others.  Without it a commit could be taken for a transaction that goes on.
 */
static int
know_page_size (struct vfs_file *file, const unsigned char *data, int count,
                int64_t offset)
{
  unsigned char header[LOG_HEADER_SIZE];
  int rc = SQLITE_OK;

  if (offset == 0)
    file->page_size =
        count == LOG_HEADER_SIZE ? big_endian (data + LOG_HEADER_PAGE_SIZE) : 0;
  else if (file->page_size == 0) {
    rc = below_read (&file->base, header, sizeof header, 0);
    if (rc == SQLITE_OK)
      file->page_size = big_endian (header + LOG_HEADER_PAGE_SIZE);
  }
  return rc;
}

static int
log_write (sqlite3_file *handle, const void *data, int count,
           sqlite3_int64 offset)
{
  struct vfs_file *file = vfs_file_of (handle);
  const int rc = know_page_size (file, data, count, offset);

  if (rc != SQLITE_OK)
    return rc;
  return file->gather.buffer ? vfs_gather_on_write (file, data, count, offset)
                             : vfs_room_write_log (file, data, count, offset);
}

static int
log_truncate (sqlite3_file *handle, sqlite3_int64 size)
{
  struct vfs_file *file = vfs_file_of (handle);
  const int rc = vfs_gather_before_truncate (file, size);

  return rc == SQLITE_OK ? vfs_room_truncate_log (file, size) : rc;
}

static int
log_sync (sqlite3_file *handle, int flags)
{
  const int rc = vfs_gather_write_out (vfs_file_of (handle));

  return rc == SQLITE_OK ? below_sync (handle, flags) : rc;
}

static int
log_file_size (sqlite3_file *handle, sqlite3_int64 *size)
{
  const int rc = vfs_gather_write_out (vfs_file_of (handle));

  return rc == SQLITE_OK ? below_file_size (handle, size) : rc;
}

/* Version 1: a log has no shared memory of its own. */
static const sqlite3_io_methods log_methods = {
  .iVersion = 1,
  .xClose = log_close,
  .xRead = log_read,
  .xWrite = log_write,
  .xTruncate = log_truncate,
  .xSync = log_sync,
  .xFileSize = log_file_size,
  .xLock = below_lock,
  .xUnlock = below_unlock,
  .xCheckReservedLock = below_check_reserved_lock,
  .xFileControl = below_file_control,
  .xSectorSize = below_sector_size,
  .xDeviceCharacteristics = below_device_characteristics,
};

static int
open_log (const struct stack *stack, const char *name, struct vfs_file *file,
          int flags, int *out_flags)
{
  int rc;

  *file = (struct vfs_file){ .on_cluster = stack == &on_cluster };
  rc = vfs_file_find_handle (sqlite3_database_file_object (name),
                             &file->database);
  if (rc == SQLITE_OK)
    rc = vfs_gather_open (file);
  if (rc != SQLITE_OK)
    return rc;
  vfs_room_open_log (file, name);
  rc = vfs_file_open (file, stack->below, name, flags, out_flags);
  if (file->below->pMethods == NULL) {
    vfs_gather_close (file);
    return rc;
  }
  file->database->log = file;
  file->base.pMethods = &log_methods;
  return rc;
}

/*--------------------------------------------------------------------
 * The VFS.
 */

static int
open_file (sqlite3_vfs *self, const char *name, sqlite3_file *handle, int flags,
           int *out_flags)
{
  const struct stack *stack = (const struct stack *)self;

  handle->pMethods = NULL;
  if (flags & SQLITE_OPEN_MAIN_DB)
    return open_database (stack, name, vfs_file_of (handle), flags, out_flags);
  if (flags & SQLITE_OPEN_WAL)
    return open_log (stack, name, vfs_file_of (handle), flags, out_flags);
  return stack->below->xOpen (stack->below, name, handle, flags, out_flags);
}

/* Make STACK known to SQLite, as NAME, above BELOW, which may be NULL. */
static int
register_above (struct stack *stack, const char *name, sqlite3_vfs *below)
{
  if (below == NULL)
    return SQLITE_ERROR;
  stack->below = below;
  stack->vfs = *below;
  stack->vfs.pNext = NULL;
  stack->vfs.zName = name;
  stack->vfs.szOsFile = sizeof (struct vfs_file) + below->szOsFile;
  stack->vfs.xOpen = open_file;
  return sqlite3_vfs_register (&stack->vfs, 0);
}

int
vfs_register (void)
{
  vfs_room_prepare ();
  return register_above (&on_files, VFS_NAME, sqlite3_vfs_find (NULL));
}

int
vfs_register_cluster (void)
{
  return register_above (&on_cluster, VFS_CLUSTER_NAME,
                         sqlite3_vfs_find (PROCESS_NAME));
}
