/* Methods that pass a call on: see vfs_pass.h. */

#include <config.h>

#include <stddef.h>

#include "vfs_pass.h"

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

int
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

int
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

void
pass_shm_barrier (sqlite3_file *file)
{
  below (file)->pMethods->xShmBarrier (below (file));
}

int
pass_shm_unmap (sqlite3_file *file, int remove)
{
  return below (file)->pMethods->xShmUnmap (below (file), remove);
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
