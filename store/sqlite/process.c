/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A VFS that shares files within a process: see process.h.
 *
 * Lock order: the list of files, the locks of one, the file (process-file.h).
 */

#include <config.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite/process.h"
#include "sqlite/process-file.h"
#include "sqlite/process-locks.h"

/* The log has this part of the cache. */
#define LOG_SHARE 4

/* A file that somebody has open. */
struct node {
  struct node *next;
  const char *name; /* of copy_name */
  unsigned users;
  struct process_file *file;
  struct process_locks locks;
};

/* What one connection has of it. */
struct handle {
  sqlite3_file base;
  struct node *node;
  struct process_holder holder;
  bool wrote;        /* since its last sync */
  unsigned failures; /* process_file_failures, when it began to */
};

static sqlite3_vfs vfs, *vfs_below, *vfs_local;
static uint64_t cache_bytes;
static int file_options;
static bool (*same_client) (void);
static pthread_mutex_t nodes_lock = PTHREAD_MUTEX_INITIALIZER;
static struct node *nodes;

static bool
is_same (void)
{
  return same_client == NULL || same_client ();
}

static struct handle *
handle_of (sqlite3_file *file)
{
  return (struct handle *)file;
}

static struct process_file *
file_of (sqlite3_file *file)
{
  return handle_of (file)->node->file;
}

/*--------------------------------------------------------------------
 * Bytes.
 */

static int
file_read (sqlite3_file *file, void *data, int count, sqlite3_int64 offset)
{
  return process_file_read (file_of (file), data, count, offset);
}

static int
file_write (sqlite3_file *file, const void *data, int count,
            sqlite3_int64 offset)
{
  struct handle *handle = handle_of (file);

  if (!handle->wrote) {
    handle->wrote = true;
    handle->failures = process_file_failures (file_of (file));
  }
  return process_file_write (file_of (file), data, count, offset);
}

static int
file_truncate (sqlite3_file *file, sqlite3_int64 size)
{
  return process_file_truncate (file_of (file), size);
}

/* Where another connection's sync has found that something written before did
 * not arrive, that may be what this one wrote.
 */
static int
file_sync (sqlite3_file *file, int flags)
{
  struct handle *handle = handle_of (file);
  int rc = process_file_sync (file_of (file), flags);

  if (rc == SQLITE_OK && handle->wrote &&
      handle->failures != process_file_failures (file_of (file)))
    rc = SQLITE_IOERR_FSYNC;
  handle->wrote = false;
  return rc;
}

static int
file_size (sqlite3_file *file, sqlite3_int64 *size)
{
  *size = process_file_size (file_of (file));
  return SQLITE_OK;
}

static int
file_control (sqlite3_file *file, int operation, void *argument)
{
  (void)file;
  if (operation == SQLITE_FCNTL_VFSNAME) {
    *(char **)argument =
        sqlite3_mprintf ("%s/%s", PROCESS_NAME, vfs_below->zName);
    return SQLITE_OK;
  }
  return SQLITE_NOTFOUND;
}

static int
sector_size (sqlite3_file *file)
{
  sqlite3_file *below = process_file_below (file_of (file));

  return below->pMethods->xSectorSize (below);
}

/* What is gathered reaches the file in its order. */
static int
characteristics (sqlite3_file *file)
{
  sqlite3_file *below = process_file_below (file_of (file));

  return below->pMethods->xDeviceCharacteristics (below);
}

/*--------------------------------------------------------------------
 * Locks.
 */

static int
file_lock (sqlite3_file *file, int level)
{
  struct handle *handle = handle_of (file);

  return process_locks_raise (&handle->node->locks, &handle->holder, level);
}

static int
file_unlock (sqlite3_file *file, int level)
{
  struct handle *handle = handle_of (file);

  return process_locks_lower (&handle->node->locks, &handle->holder, level);
}

static int
check_reserved (sqlite3_file *file, int *reserved)
{
  *reserved = process_locks_reserved (&handle_of (file)->node->locks);
  return SQLITE_OK;
}

static int
shm_map (sqlite3_file *file, int region, int size, int extend,
         void volatile **memory)
{
  struct handle *handle = handle_of (file);

  return process_locks_map (&handle->node->locks, &handle->holder, region, size,
                            extend, memory);
}

static int
shm_lock (sqlite3_file *file, int offset, int count, int flags)
{
  struct handle *handle = handle_of (file);

  return process_locks_index (&handle->node->locks, &handle->holder, offset,
                              count, flags);
}

static void
shm_barrier (sqlite3_file *file)
{
  (void)file;
  __sync_synchronize ();
}

static int
shm_unmap (sqlite3_file *file, int delete)
{
  struct handle *handle = handle_of (file);

  (void)delete;
  process_locks_unmap (&handle->node->locks, &handle->holder);
  return SQLITE_OK;
}

/*--------------------------------------------------------------------
 * Opening and closing.
 */

static void
free_node (struct node *node)
{
  process_locks_destroy (&node->locks);
  sqlite3_free_filename ((char *)node->name);
  free (node);
}

/* The most parameters of a URI that the VFS below is told. */
#define PARAMETERS 64

/* NAME, which xOpen has from SQLite, once more, of a database or, with SIDE, of
 * what is beside one: the VFS below may keep it as long as the file is open,
 * and the given one goes with the connection that came first.
 */
static const char *
copy_name (const char *name, bool side)
{
  const char *database = side ? sqlite3_filename_database (name) : name;
  const char *parameters[2 * PARAMETERS], *key;
  int count = 0;

  while (count < PARAMETERS && (key = sqlite3_uri_key (database, count))) {
    parameters[2 * count] = key;
    parameters[2 * count + 1] = sqlite3_uri_parameter (database, key);
    count++;
  }
  database = sqlite3_create_filename (
      database, sqlite3_filename_journal (database),
      sqlite3_filename_wal (database), count, parameters);
  if (!side || database == NULL)
    return database;
  return strcmp (name, sqlite3_filename_journal (database)) == 0
             ? sqlite3_filename_journal (database)
             : sqlite3_filename_wal (database);
}

/* Open the file NAME below.  It is opened for writing whatever FLAGS say, since
 * it is opened once for all who follow.
 */
static struct node *
make_node (const char *name, int flags, int *rc)
{
  const bool log = flags & SQLITE_OPEN_WAL;
  struct node *node = calloc (1, sizeof *node);

  *rc = SQLITE_NOMEM;
  if (node == NULL)
    return NULL;
  process_locks_init (&node->locks);
  node->name = copy_name (name, log);
  if (node->name)
    node->file = process_file_open (
        vfs_below, node->name,
        (flags & ~SQLITE_OPEN_READONLY) | SQLITE_OPEN_READWRITE,
        log ? cache_bytes / LOG_SHARE : cache_bytes, file_options, rc);
  if (node->file == NULL) {
    free_node (node);
    return NULL;
  }
  node->next = nodes;
  nodes = node;
  return node;
}

/* Close the file below.  Called with the list locked. */
static int
close_node (struct node *node)
{
  struct node **link = &nodes;
  int rc;

  while (*link != node)
    link = &(*link)->next;
  *link = node->next;
  rc = process_file_close (node->file);
  free_node (node);
  return rc;
}

/* As make_node, by who has locked the database below. */
static struct node *
open_node (const char *name, int flags, int *rc)
{
  struct node *node = NULL;

  *rc = SQLITE_IOERR;
  if (is_same ())
    node = make_node (name, flags, rc);
  if (node == NULL || is_same ())
    return node;
  close_node (node);
  *rc = SQLITE_IOERR;
  return NULL;
}

static int
file_close (sqlite3_file *file)
{
  struct handle *handle = handle_of (file);
  struct node *node = handle->node;
  int rc = SQLITE_OK;

  process_locks_unmap (&node->locks, &handle->holder);
  process_locks_lower (&node->locks, &handle->holder, SQLITE_LOCK_NONE);
  pthread_mutex_lock (&nodes_lock);
  if (--node->users == 0)
    rc = close_node (node);
  pthread_mutex_unlock (&nodes_lock);
  return rc;
}

static const sqlite3_io_methods methods = {
  .iVersion = 2,
  .xClose = file_close,
  .xRead = file_read,
  .xWrite = file_write,
  .xTruncate = file_truncate,
  .xSync = file_sync,
  .xFileSize = file_size,
  .xLock = file_lock,
  .xUnlock = file_unlock,
  .xCheckReservedLock = check_reserved,
  .xFileControl = file_control,
  .xSectorSize = sector_size,
  .xDeviceCharacteristics = characteristics,
  .xShmMap = shm_map,
  .xShmLock = shm_lock,
  .xShmBarrier = shm_barrier,
  .xShmUnmap = shm_unmap,
};

static int
open_shared (const char *name, struct handle *handle, int flags, int *out_flags)
{
  struct node *node;
  int rc = SQLITE_OK;

  *handle = (struct handle){ .node = NULL };
  pthread_mutex_lock (&nodes_lock);
  for (node = nodes; node && strcmp (node->name, name) != 0; node = node->next)
    ;
  if (node == NULL)
    node = open_node (name, flags, &rc);
  if (node) {
    node->users++;
    handle->node = node;
    handle->base.pMethods = &methods;
    if (out_flags)
      *out_flags = flags;
  }
  pthread_mutex_unlock (&nodes_lock);
  return rc;
}

static int
open_file (sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags,
           int *out_flags)
{
  (void)self;
  file->pMethods = NULL;
  if (name == NULL)
    return vfs_local->xOpen (vfs_local, name, file, flags, out_flags);
  if (name[0] == '\0')
    return SQLITE_CANTOPEN;
  if (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL))
    return open_shared (name, handle_of (file), flags, out_flags);
  return is_same () ? vfs_below->xOpen (vfs_below, name, file, flags, out_flags)
                    : SQLITE_IOERR;
}

static int
delete_file (sqlite3_vfs *self, const char *name, int sync)
{
  (void)self;
  return is_same () ? vfs_below->xDelete (vfs_below, name, sync)
                    : SQLITE_IOERR_DELETE;
}

bool
process_has (const char *name)
{
  struct node *node;

  pthread_mutex_lock (&nodes_lock);
  for (node = nodes; node && strcmp (node->name, name) != 0; node = node->next)
    ;
  pthread_mutex_unlock (&nodes_lock);
  return node != NULL;
}

/* The largest of the files that this VFS opens, in bytes. */
static int
largest_file (void)
{
  int size = sizeof (struct handle);

  if (size < vfs_below->szOsFile)
    size = vfs_below->szOsFile;
  return size < vfs_local->szOsFile ? vfs_local->szOsFile : size;
}

int
process_register (sqlite3_vfs *below, uint64_t cache, int options,
                  bool (*same) (void))
{
  vfs_local = sqlite3_vfs_find (NULL);
  if (vfs_local == NULL)
    return SQLITE_ERROR;
  vfs_below = below;
  cache_bytes = cache;
  file_options = options;
  same_client = same;
  vfs = *below;
  vfs.pNext = NULL;
  vfs.zName = PROCESS_NAME;
  vfs.szOsFile = largest_file ();
  vfs.xOpen = open_file;
  vfs.xDelete = delete_file;
  /* One for a cluster lacks some of these. */
  vfs.xSleep = vfs_local->xSleep;
  vfs.xRandomness = vfs_local->xRandomness;
  vfs.xGetLastError = vfs_local->xGetLastError;
  return sqlite3_vfs_register (&vfs, 0);
}
