/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Methods that pass a call on: see vfs-pass.h. */

#include <config.h>

#include <stddef.h>

#include "base/bytes.h"
#include "sqlite/log-walk.h"
#include "sqlite/vfs-pass.h"

static sqlite3_file *
below (sqlite3_file *file)
{
  return ((struct pass_file *)file)->below;
}

int
pass_close (sqlite3_file *file)
{
  return below (file)->pMethods->xClose (below (file));
}

static int
pass_read (sqlite3_file *file, void *data, int count, sqlite3_int64 offset)
{
  return below (file)->pMethods->xRead (below (file), data, count, offset);
}

int
pass_write (sqlite3_file *file, const void *data, int count,
            sqlite3_int64 offset)
{
  return below (file)->pMethods->xWrite (below (file), data, count, offset);
}

int
pass_truncate (sqlite3_file *file, sqlite3_int64 size)
{
  return below (file)->pMethods->xTruncate (below (file), size);
}

int
pass_sync (sqlite3_file *file, int flags)
{
  return below (file)->pMethods->xSync (below (file), flags);
}

int
pass_file_size (sqlite3_file *file, sqlite3_int64 *size)
{
  return below (file)->pMethods->xFileSize (below (file), size);
}

int
pass_lock (sqlite3_file *file, int level)
{
  return below (file)->pMethods->xLock (below (file), level);
}

int
pass_unlock (sqlite3_file *file, int level)
{
  return below (file)->pMethods->xUnlock (below (file), level);
}

static int
pass_check_reserved_lock (sqlite3_file *file, int *result)
{
  return below (file)->pMethods->xCheckReservedLock (below (file), result);
}

int
pass_file_control (sqlite3_file *file, int operation, void *argument)
{
  return below (file)->pMethods->xFileControl (below (file), operation,
                                               argument);
}

static int
pass_sector_size (sqlite3_file *file)
{
  return below (file)->pMethods->xSectorSize (below (file));
}

int
pass_device_characteristics (sqlite3_file *file)
{
  return below (file)->pMethods->xDeviceCharacteristics (below (file));
}

int
pass_shm_map (sqlite3_file *file, int region, int size, int extend,
              void volatile **memory)
{
  return below (file)->pMethods->xShmMap (below (file), region, size, extend,
                                          memory);
}

int
pass_shm_lock (sqlite3_file *file, int offset, int count, int flags)
{
  return below (file)->pMethods->xShmLock (below (file), offset, count, flags);
}

static void
pass_shm_barrier (sqlite3_file *file)
{
  below (file)->pMethods->xShmBarrier (below (file));
}

int
pass_shm_unmap (sqlite3_file *file, int remove)
{
  return below (file)->pMethods->xShmUnmap (below (file), remove);
}

const sqlite3_io_methods pass_methods = {
  .iVersion = 2,
  .xClose = pass_close,
  .xRead = pass_read,
  .xWrite = pass_write,
  .xTruncate = pass_truncate,
  .xSync = pass_sync,
  .xFileSize = pass_file_size,
  .xLock = pass_lock,
  .xUnlock = pass_unlock,
  .xCheckReservedLock = pass_check_reserved_lock,
  .xFileControl = pass_file_control,
  .xSectorSize = pass_sector_size,
  .xDeviceCharacteristics = pass_device_characteristics,
  .xShmMap = pass_shm_map,
  .xShmLock = pass_shm_lock,
  .xShmBarrier = pass_shm_barrier,
  .xShmUnmap = pass_shm_unmap,
};

int
pass_log_page_size (struct pass_file *file, int64_t *page_size)
{
  unsigned char header[LOG_HEADER_SIZE];
  const int rc =
      file->below->pMethods->xRead (file->below, header, sizeof header, 0);

  if (rc == SQLITE_OK)
    *page_size = big_endian (header + 8);
  return rc;
}

int
pass_open (sqlite3_vfs *below_it, const char *name, struct pass_file *file,
           size_t size, const sqlite3_io_methods *methods, int flags,
           int *out_flags)
{
  int rc;

  file->below = (sqlite3_file *)((char *)file + size);
  rc = below_it->xOpen (below_it, name, file->below, flags, out_flags);
  if (file->below->pMethods)
    file->base.pMethods = methods;
  return rc;
}

int
pass_register (sqlite3_vfs *vfs, sqlite3_vfs *below_it, const char *name,
               int size,
               int (*open) (sqlite3_vfs *vfs, const char *name,
                            sqlite3_file *file, int flags, int *out_flags))
{
  if (below_it == NULL)
    return SQLITE_ERROR;
  *vfs = *below_it;
  vfs->pNext = NULL;
  vfs->zName = name;
  vfs->szOsFile = size + below_it->szOsFile;
  vfs->xOpen = open;
  return sqlite3_vfs_register (vfs, 0);
}
