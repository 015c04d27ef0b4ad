/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A VFS through which a test sees and stops calls: see shim.h. */

#include <config.h>

#include <stdlib.h>

#include "shim.h"

/* Our file, followed in memory by that of the system's VFS. */
struct shim_handle {
  sqlite3_file base;
  enum shim_file kind;
  const char *path; /* SQLite keeps it as long as the file is open */
};

const char *const shim_method_names[SHIM_METHODS] = {
  [SHIM_OPEN] = "xOpen",
  [SHIM_DELETE] = "xDelete",
  [SHIM_ACCESS] = "xAccess",
  [SHIM_FULL_PATHNAME] = "xFullPathname",
  [SHIM_CLOSE] = "xClose",
  [SHIM_READ] = "xRead",
  [SHIM_WRITE] = "xWrite",
  [SHIM_TRUNCATE] = "xTruncate",
  [SHIM_SYNC] = "xSync",
  [SHIM_FILE_SIZE] = "xFileSize",
  [SHIM_LOCK] = "xLock",
  [SHIM_UNLOCK] = "xUnlock",
  [SHIM_CHECK_RESERVED_LOCK] = "xCheckReservedLock",
  [SHIM_FILE_CONTROL] = "xFileControl",
  [SHIM_SHM_MAP] = "xShmMap",
  [SHIM_SHM_LOCK] = "xShmLock",
  [SHIM_SHM_UNMAP] = "xShmUnmap",
};

static sqlite3_vfs *system_vfs;
static sqlite3_vfs shim_vfs;
static struct shim_hooks hooks;

/*--------------------------------------------------------------------
 * The way of a call.
 */

/* SQLite's VFS for Unix syncs a directory when it thinks fit, within other
 * calls: it opens it by this function of its own.
 */
static int (*system_open_directory) (const char *file, int *fd);
static _Thread_local bool directory_opened;

static int
open_directory (const char *file, int *fd)
{
  directory_opened = true;
  return system_open_directory (file, fd);
}

/* How many bytes of a long call are passed on at once. */
#define PIECE 65536

int
shim_pass_in_pieces (const struct shim_call *call)
{
  struct shim_call piece = *call;
  int rc = SQLITE_OK;

  for (int done = 0; rc == SQLITE_OK && done < call->count; done += PIECE) {
    piece.number = call->number + done;
    piece.count = call->count - done < PIECE ? call->count - done : PIECE;
    piece.memory = (char *)call->memory + done;
    rc = shim_pass (&piece);
  }
  return rc == SQLITE_OK ? SHIM_DONE : rc;
}

int
shim_pass (struct shim_call *call)
{
  sqlite3_file *file = call->handle;

  switch (call->method) {
  case SHIM_OPEN:
    return system_vfs->xOpen (system_vfs, call->path, file, call->flags,
                              call->memory);
  case SHIM_DELETE:
    return system_vfs->xDelete (system_vfs, call->path, call->flags);
  case SHIM_ACCESS:
    return system_vfs->xAccess (system_vfs, call->path, call->flags,
                                call->memory);
  case SHIM_FULL_PATHNAME:
    return system_vfs->xFullPathname (system_vfs, call->path, call->count,
                                      call->memory);
  case SHIM_CLOSE:
    return file->pMethods->xClose (file);
  case SHIM_READ:
    return file->pMethods->xRead (file, call->memory, call->count,
                                  call->number);
  case SHIM_WRITE:
    return file->pMethods->xWrite (file, call->memory, call->count,
                                   call->number);
  case SHIM_TRUNCATE:
    return file->pMethods->xTruncate (file, call->number);
  case SHIM_SYNC:
    return file->pMethods->xSync (file, call->flags);
  case SHIM_FILE_SIZE:
    return file->pMethods->xFileSize (file, call->memory);
  case SHIM_LOCK:
    return file->pMethods->xLock (file, call->flags);
  case SHIM_UNLOCK:
    return file->pMethods->xUnlock (file, call->flags);
  case SHIM_CHECK_RESERVED_LOCK:
    return file->pMethods->xCheckReservedLock (file, call->memory);
  case SHIM_FILE_CONTROL:
    return file->pMethods->xFileControl (file, call->flags, call->memory);
  case SHIM_SHM_MAP:
    return file->pMethods->xShmMap (file, call->number, call->count,
                                    call->flags, call->memory);
  case SHIM_SHM_LOCK:
    return file->pMethods->xShmLock (file, call->number, call->count,
                                     call->flags);
  case SHIM_SHM_UNMAP:
    return file->pMethods->xShmUnmap (file, call->flags);
  case SHIM_METHODS:
    break;
  }
  abort ();
}

static int
run (struct shim_call *call)
{
  int rc = hooks.before ? hooks.before (call) : SQLITE_OK;

  if (rc == SHIM_DONE)
    return SQLITE_OK;
  if (rc != SQLITE_OK)
    return rc;
  directory_opened = false;
  rc = shim_pass (call);
  call->directory_synced = directory_opened;
  if (hooks.after)
    hooks.after (call, rc);
  return rc;
}

/*--------------------------------------------------------------------
 * The methods of files.
 */

static sqlite3_file *
handle_of (sqlite3_file *file)
{
  return (sqlite3_file *)((struct shim_handle *)file + 1);
}

/* Begin a struct shim_call of a method of FILE. */
#define CALL(name, of)                                                         \
  .method = SHIM_##name, .file = ((struct shim_handle *)(of))->kind,           \
  .path = ((struct shim_handle *)(of))->path, .handle = handle_of (of)

static int
shim_close (sqlite3_file *file)
{
  return run (&(struct shim_call){ CALL (CLOSE, file) });
}

static int
shim_read (sqlite3_file *file, void *buffer, int count, sqlite3_int64 offset)
{
  return run (&(struct shim_call){
      CALL (READ, file),
      .number = offset,
      .count = count,
      .memory = buffer,
  });
}

static int
shim_write (sqlite3_file *file, const void *data, int count,
            sqlite3_int64 offset)
{
  return run (&(struct shim_call){
      CALL (WRITE, file),
      .number = offset,
      .count = count,
      .memory = (void *)data,
  });
}

static int
shim_truncate (sqlite3_file *file, sqlite3_int64 size)
{
  return run (&(struct shim_call){ CALL (TRUNCATE, file), .number = size });
}

static int
shim_sync (sqlite3_file *file, int flags)
{
  return run (&(struct shim_call){ CALL (SYNC, file), .flags = flags });
}

static int
shim_file_size (sqlite3_file *file, sqlite3_int64 *size)
{
  return run (&(struct shim_call){ CALL (FILE_SIZE, file), .memory = size });
}

static int
shim_lock (sqlite3_file *file, int level)
{
  return run (&(struct shim_call){ CALL (LOCK, file), .flags = level });
}

static int
shim_unlock (sqlite3_file *file, int level)
{
  return run (&(struct shim_call){ CALL (UNLOCK, file), .flags = level });
}

static int
shim_check_reserved_lock (sqlite3_file *file, int *result)
{
  return run (&(struct shim_call){
      CALL (CHECK_RESERVED_LOCK, file),
      .memory = result,
  });
}

static int
shim_file_control (sqlite3_file *file, int operation, void *argument)
{
  return run (&(struct shim_call){
      CALL (FILE_CONTROL, file),
      .flags = operation,
      .memory = argument,
  });
}

static int
shim_sector_size (sqlite3_file *file)
{
  file = handle_of (file);
  return file->pMethods->xSectorSize (file);
}

static int
shim_device_characteristics (sqlite3_file *file)
{
  file = handle_of (file);
  return file->pMethods->xDeviceCharacteristics (file);
}

static int
shim_shm_map (sqlite3_file *file, int region, int size, int extend,
              void volatile **memory)
{
  return run (&(struct shim_call){
      CALL (SHM_MAP, file),
      .number = region,
      .count = size,
      .flags = extend,
      .memory = memory,
  });
}

static int
shim_shm_lock (sqlite3_file *file, int first, int count, int flags)
{
  return run (&(struct shim_call){
      CALL (SHM_LOCK, file),
      .number = first,
      .count = count,
      .flags = flags,
  });
}

static void
shim_shm_barrier (sqlite3_file *file)
{
  file = handle_of (file);
  if (hooks.barrier)
    hooks.barrier (file);
  file->pMethods->xShmBarrier (file);
}

static int
shim_shm_unmap (sqlite3_file *file, int delete)
{
  return run (&(struct shim_call){ CALL (SHM_UNMAP, file), .flags = delete });
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

/*--------------------------------------------------------------------
 * The methods of the VFS.
 */

static int
shim_open (sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
           int *out_flags)
{
  struct shim_handle *handle = (struct shim_handle *)file;
  int rc;

  (void)vfs;
  *handle = (struct shim_handle){
    .kind = flags & SQLITE_OPEN_MAIN_DB ? SHIM_DATABASE
            : flags & SQLITE_OPEN_WAL   ? SHIM_LOG
                                        : SHIM_OTHER,
    .path = name,
  };
  handle_of (file)->pMethods = NULL;
  rc = run (&(struct shim_call){
      CALL (OPEN, file),
      .flags = flags,
      .memory = out_flags,
  });
  if (handle_of (file)->pMethods)
    handle->base.pMethods = &shim_methods;
  return rc;
}

static int
shim_delete (sqlite3_vfs *vfs, const char *name, int sync)
{
  (void)vfs;
  return run (&(struct shim_call){
      .method = SHIM_DELETE,
      .file = SHIM_OTHER,
      .path = name,
      .flags = sync,
  });
}

static int
shim_access (sqlite3_vfs *vfs, const char *name, int flags, int *result)
{
  (void)vfs;
  return run (&(struct shim_call){
      .method = SHIM_ACCESS,
      .file = SHIM_OTHER,
      .path = name,
      .flags = flags,
      .memory = result,
  });
}

static int
shim_full_pathname (sqlite3_vfs *vfs, const char *name, int size, char *full)
{
  (void)vfs;
  return run (&(struct shim_call){
      .method = SHIM_FULL_PATHNAME,
      .file = SHIM_OTHER,
      .path = name,
      .count = size,
      .memory = full,
  });
}

void
shim_install (const struct shim_hooks *given)
{
  static const char directory_call[] = "openDirectory";

  hooks = *given;
  system_vfs = sqlite3_vfs_find (NULL);
  system_open_directory =
      (int (*) (const char *, int *))system_vfs->xGetSystemCall (
          system_vfs, directory_call);
  shim_vfs = *system_vfs;
  shim_vfs.zName = "shim";
  shim_vfs.szOsFile = sizeof (struct shim_handle) + system_vfs->szOsFile;
  shim_vfs.xOpen = shim_open;
  shim_vfs.xDelete = shim_delete;
  shim_vfs.xAccess = shim_access;
  shim_vfs.xFullPathname = shim_full_pathname;
  if (system_open_directory == NULL ||
      system_vfs->xSetSystemCall (system_vfs, directory_call,
                                  (sqlite3_syscall_ptr)open_directory) !=
          SQLITE_OK ||
      sqlite3_vfs_register (&shim_vfs, 1) != SQLITE_OK)
    abort ();
}

/* What a disk writes as a whole, in bytes. */
#define SECTOR 512

int
shim_whole_sectors (const struct shim_call *call, int part)
{
  const int rest = (call->number + part) % SECTOR;

  if (call->file != SHIM_DATABASE && call->number != 0)
    return part;
  return part > rest ? part - rest : 0;
}
