/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* An open file of our VFS, and calls of the one below: see vfs-file.h. */

#include <config.h>

#include <string.h>

#include "sqlite/vfs-file.h"

int
vfs_file_open (struct vfs_file *file, sqlite3_vfs *below_it, const char *name,
               int flags, int *out_flags)
{
  file->below = (sqlite3_file *)(file + 1);
  file->below->pMethods = NULL;
  return below_it->xOpen (below_it, name, file->below, flags, out_flags);
}

int
vfs_file_find (sqlite3 *db, struct vfs_file **file)
{
  return sqlite3_file_control (db, "main", VFS_FILE_FIND, file);
}

int
vfs_file_find_handle (sqlite3_file *handle, struct vfs_file **file)
{
  return handle->pMethods->xFileControl (handle, VFS_FILE_FIND, file);
}

bool
vfs_file_shows (struct vfs_file *file, void *data, int count, int64_t offset)
{
  struct vfs_shown *shown = &file->shown;

  if (count != shown->count || offset != shown->offset)
    return false;
  shown->looks++;
  if (shown->bytes)
    memcpy (data, shown->bytes, count);
  return shown->bytes != NULL;
}

static sqlite3_file *
below (sqlite3_file *file)
{
  return vfs_file_of (file)->below;
}

int
below_close (sqlite3_file *file)
{
  return below (file)->pMethods->xClose (below (file));
}

int
below_read (sqlite3_file *file, void *data, int count, sqlite3_int64 offset)
{
  return below (file)->pMethods->xRead (below (file), data, count, offset);
}

int
below_write (sqlite3_file *file, const void *data, int count,
             sqlite3_int64 offset)
{
  return below (file)->pMethods->xWrite (below (file), data, count, offset);
}

int
below_truncate (sqlite3_file *file, sqlite3_int64 size)
{
  return below (file)->pMethods->xTruncate (below (file), size);
}

int
below_sync (sqlite3_file *file, int flags)
{
  return below (file)->pMethods->xSync (below (file), flags);
}

int
below_file_size (sqlite3_file *file, sqlite3_int64 *size)
{
  return below (file)->pMethods->xFileSize (below (file), size);
}

int
below_lock (sqlite3_file *file, int level)
{
  return below (file)->pMethods->xLock (below (file), level);
}

int
below_unlock (sqlite3_file *file, int level)
{
  return below (file)->pMethods->xUnlock (below (file), level);
}

int
below_check_reserved_lock (sqlite3_file *file, int *result)
{
  return below (file)->pMethods->xCheckReservedLock (below (file), result);
}

int
below_file_control (sqlite3_file *file, int operation, void *argument)
{
  return below (file)->pMethods->xFileControl (below (file), operation,
                                               argument);
}

int
below_sector_size (sqlite3_file *file)
{
  return below (file)->pMethods->xSectorSize (below (file));
}

int
below_device_characteristics (sqlite3_file *file)
{
  return below (file)->pMethods->xDeviceCharacteristics (below (file));
}

int
below_shm_map (sqlite3_file *file, int region, int size, int extend,
               void volatile **memory)
{
  return below (file)->pMethods->xShmMap (below (file), region, size, extend,
                                          memory);
}

/* Note which locks SQLite, or a part for it, now holds alone. */
static void
note_locks (struct vfs_file *file, int first, int count, int flags)
{
  const unsigned locks = ((1u << count) - 1) << first;

  if (!(flags & SQLITE_SHM_EXCLUSIVE))
    return;
  if (flags & SQLITE_SHM_LOCK)
    file->alone |= locks;
  else
    file->alone &= ~locks;
}

int
below_shm_lock (sqlite3_file *file, int first, int count, int flags)
{
  const int rc =
      below (file)->pMethods->xShmLock (below (file), first, count, flags);

  if (rc == SQLITE_OK)
    note_locks (vfs_file_of (file), first, count, flags);
  return rc;
}

void
below_shm_barrier (sqlite3_file *file)
{
  below (file)->pMethods->xShmBarrier (below (file));
}

int
below_shm_unmap (sqlite3_file *file, int remove)
{
  return below (file)->pMethods->xShmUnmap (below (file), remove);
}
