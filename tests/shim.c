/* A VFS that counts and fails: see shim.h. */

#include <config.h>

#include <stdlib.h>

#include <sqlite3.h>

#include "shim.h"

atomic_int shim_syncs[SHIM_FILES];
atomic_int shim_writes[SHIM_FILES];
atomic_int shim_fail_sync[SHIM_FILES];
atomic_long shim_full_at[SHIM_FILES];

/* Our file, followed in memory by that of the system's VFS. */
struct shim_handle {
  sqlite3_file base;
  enum shim_file kind;
};

static sqlite3_vfs *system_vfs;
static sqlite3_vfs shim_vfs;

static sqlite3_file *
real (sqlite3_file *file)
{
  return (sqlite3_file *)((struct shim_handle *)file + 1);
}

static enum shim_file
kind_of (sqlite3_file *file)
{
  return ((struct shim_handle *)file)->kind;
}

static int
shim_close (sqlite3_file *file)
{
  return real (file)->pMethods->xClose (real (file));
}

static int
shim_read (sqlite3_file *file, void *buffer, int count, sqlite3_int64 offset)
{
  return real (file)->pMethods->xRead (real (file), buffer, count, offset);
}

static int
shim_write (sqlite3_file *file, const void *data, int count,
            sqlite3_int64 offset)
{
  const long full_at = atomic_load (&shim_full_at[kind_of (file)]);

  if (full_at && offset + count > full_at)
    return SQLITE_FULL;
  atomic_fetch_add (&shim_writes[kind_of (file)], 1);
  return real (file)->pMethods->xWrite (real (file), data, count, offset);
}

static int
shim_truncate (sqlite3_file *file, sqlite3_int64 size)
{
  return real (file)->pMethods->xTruncate (real (file), size);
}

static int
shim_sync (sqlite3_file *file, int flags)
{
  atomic_fetch_add (&shim_syncs[kind_of (file)], 1);
  if (atomic_load (&shim_fail_sync[kind_of (file)]))
    return SQLITE_IOERR_FSYNC;
  return real (file)->pMethods->xSync (real (file), flags);
}

static int
shim_file_size (sqlite3_file *file, sqlite3_int64 *size)
{
  return real (file)->pMethods->xFileSize (real (file), size);
}

static int
shim_lock (sqlite3_file *file, int level)
{
  return real (file)->pMethods->xLock (real (file), level);
}

static int
shim_unlock (sqlite3_file *file, int level)
{
  return real (file)->pMethods->xUnlock (real (file), level);
}

static int
shim_check_reserved_lock (sqlite3_file *file, int *result)
{
  return real (file)->pMethods->xCheckReservedLock (real (file), result);
}

static int
shim_file_control (sqlite3_file *file, int operation, void *argument)
{
  return real (file)->pMethods->xFileControl (real (file), operation, argument);
}

static int
shim_sector_size (sqlite3_file *file)
{
  return real (file)->pMethods->xSectorSize (real (file));
}

static int
shim_device_characteristics (sqlite3_file *file)
{
  return real (file)->pMethods->xDeviceCharacteristics (real (file));
}

static int
shim_shm_map (sqlite3_file *file, int page, int size, int extend,
              void volatile **memory)
{
  return real (file)->pMethods->xShmMap (real (file), page, size, extend,
                                         memory);
}

static int
shim_shm_lock (sqlite3_file *file, int offset, int count, int flags)
{
  return real (file)->pMethods->xShmLock (real (file), offset, count, flags);
}

static void
shim_shm_barrier (sqlite3_file *file)
{
  real (file)->pMethods->xShmBarrier (real (file));
}

static int
shim_shm_unmap (sqlite3_file *file, int delete)
{
  return real (file)->pMethods->xShmUnmap (real (file), delete);
}

static const sqlite3_io_methods shim_methods = {
  .iVersion = 2,
  .xClose = shim_close,
  .xRead = shim_read,
  .xWrite = shim_write,
  .xTruncate = shim_truncate,
  .xSync = shim_sync,
  .xFileSize = shim_file_size,
  .xLock = shim_lock,
  .xUnlock = shim_unlock,
  .xCheckReservedLock = shim_check_reserved_lock,
  .xFileControl = shim_file_control,
  .xSectorSize = shim_sector_size,
  .xDeviceCharacteristics = shim_device_characteristics,
  .xShmMap = shim_shm_map,
  .xShmLock = shim_shm_lock,
  .xShmBarrier = shim_shm_barrier,
  .xShmUnmap = shim_shm_unmap,
};

static int
shim_open (sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
           int *out_flags)
{
  struct shim_handle *handle = (struct shim_handle *)file;
  const int rc =
      system_vfs->xOpen (system_vfs, name, real (file), flags, out_flags);

  (void)vfs;
  handle->kind = flags & SQLITE_OPEN_MAIN_DB ? SHIM_DATABASE
                 : flags & SQLITE_OPEN_WAL   ? SHIM_LOG
                                             : SHIM_OTHER;
  handle->base.pMethods = real (file)->pMethods ? &shim_methods : NULL;
  return rc;
}

void
shim_install (void)
{
  system_vfs = sqlite3_vfs_find (NULL);
  shim_vfs = *system_vfs;
  shim_vfs.zName = "shim";
  shim_vfs.szOsFile = sizeof (struct shim_handle) + system_vfs->szOsFile;
  shim_vfs.xOpen = shim_open;
  if (sqlite3_vfs_register (&shim_vfs, 1) != SQLITE_OK)
    abort ();
}

void
shim_reset (void)
{
  for (int i = 0; i < SHIM_FILES; i++) {
    atomic_store (&shim_syncs[i], 0);
    atomic_store (&shim_writes[i], 0);
    atomic_store (&shim_fail_sync[i], 0);
    atomic_store (&shim_full_at[i], 0);
  }
}
