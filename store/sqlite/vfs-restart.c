/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A VFS that guards when the log starts over: see vfs-restart.h. */

#include <config.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sqlite/mark.h"
#include "sqlite/page.h"
#include "sqlite/vfs-checksum.h"
#include "sqlite/vfs-pass.h"
#include "sqlite/vfs-restart.h"

/* The locks of the log's index ("WAL Locks" in SQLite's walformat.html). */
#define LOCK_CHECKPOINT 1
#define LOCK_READ_MARK  3 /* of mark 0; a log that starts over ignores it */
#define READ_MARKS      5

/* The first region of the index, and where it says how many pages the database
 * has, and how many frames count as moved ("The WAL-Index File Format" in
 * SQLite's walformat.html).
 */
#define INDEX_REGION   32768
#define INDEX_PAGES    20
#define INDEX_BACKFILL 96

/* Our file controls. */
#define GUARD  0x73716c65
#define HEADER 0x73716c66
#define PERMIT 0x73716c67

/* How often, and in nanoseconds how long after each try, we look for a read
 * mark that nobody holds alone.
 */
#define ATTEMPTS 200
#define PAUSE    500000

/* An open database, followed in memory by the file of the VFS below. */
struct restart_file {
  struct pass_file pass;
  int reading; /* the lock of the read mark that SQLite shares, or 0 */
  int kept;    /* that of the one we share while a checkpoint begins, or 0 */

  bool guarded;
  const volatile unsigned char *index; /* NULL: there is no log yet */
  bool permitted;                      /* for the log as it was then: */
  unsigned char header[VFS_RESTART_HEADER];

  unsigned char
      *end;       /* the page of a mark that is written last, or NULL, ... */
  int end_size;   /* ... its size, ... */
  uint32_t moved; /* ... and how many frames counted as moved before it */
};

static sqlite3_vfs *vfs_below;
static sqlite3_vfs vfs;
static sqlite3_io_methods methods; /* ours */

/* Let go of our read mark. */
static void
let_go (struct restart_file *restart)
{
  if (restart->kept)
    pass_shm_lock (&restart->pass.base, restart->kept, 1,
                   SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED);
  restart->kept = 0;
}

/* Take a read mark that SQLite does not use here: the last ones first, since
 * readers begin with the others.
 */
static int
take_any (struct restart_file *restart)
{
  int rc = SQLITE_BUSY;

  for (int i = READ_MARKS - 1; rc == SQLITE_BUSY && i > 0; i--) {
    rc = pass_shm_lock (&restart->pass.base, LOCK_READ_MARK + i, 1,
                        SQLITE_SHM_LOCK | SQLITE_SHM_SHARED);
    if (rc == SQLITE_OK)
      restart->kept = LOCK_READ_MARK + i;
  }
  return rc;
}

/* Keep the log from starting over. */
static int
keep (struct restart_file *restart)
{
  int rc;

  if (restart->kept || restart->reading > LOCK_READ_MARK)
    return SQLITE_OK;
  rc = take_any (restart);
  for (int i = 1; rc == SQLITE_BUSY && i < ATTEMPTS; i++) {
    nanosleep (&(struct timespec){ .tv_nsec = PAUSE }, NULL);
    rc = take_any (restart);
  }
  return rc;
}

/* SQLite asks for the lock of checkpoints. */
static int
begin_checkpoint (struct restart_file *restart, int flags)
{
  sqlite3_file *file = &restart->pass.base;
  int rc = pass_shm_lock (file, LOCK_CHECKPOINT, 1, flags);

  if (rc != SQLITE_OK)
    return rc;
  rc = keep (restart);
  if (rc != SQLITE_OK)
    pass_shm_lock (file, LOCK_CHECKPOINT, 1,
                   SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
  return rc;
}

/* Copy the header of the index, which nobody changes meanwhile. */
static void
copy_header (const struct restart_file *restart, unsigned char *header)
{
  for (size_t i = 0; i < VFS_RESTART_HEADER; i++)
    header[i] = restart->index[i];
}

/* May the log start over, or go? */
static bool
may_restart (const struct restart_file *restart)
{
  unsigned char now[VFS_RESTART_HEADER];

  if (!restart->guarded || restart->index == NULL)
    return true;
  copy_header (restart, now);
  return restart->permitted && memcmp (now, restart->header, sizeof now) == 0;
}

/* SQLite asks for all read marks but 0.  A writer, which holds mark 0, goes on
 * when they are busy; a checkpoint would ask again for as long as it may wait
 * for readers, so it gets another result of that kind.
 */
static int
ask_restart (struct restart_file *restart, int flags)
{
  if (!may_restart (restart))
    return restart->reading == LOCK_READ_MARK ? SQLITE_BUSY
                                              : SQLITE_BUSY_SNAPSHOT;
  return pass_shm_lock (&restart->pass.base, LOCK_READ_MARK + 1, READ_MARKS - 1,
                        flags);
}

/* SQLite asks to share a read mark, or lets go of it. */
static int
share_mark (struct restart_file *restart, int lock, int flags)
{
  const int rc = pass_shm_lock (&restart->pass.base, lock, 1, flags);

  if (flags & SQLITE_SHM_UNLOCK)
    restart->reading = 0;
  else if (rc == SQLITE_OK) {
    restart->reading = lock;
    if (restart->kept == lock) /* SQLite will let go of it */
      restart->kept = 0;
  }
  return rc;
}

/*--------------------------------------------------------------------
 * The mark that ends a log.
 */

static volatile uint32_t *
backfill (const struct restart_file *restart)
{
  return (volatile uint32_t *)(restart->index + INDEX_BACKFILL);
}

/* Are these bytes the page of a mark that ends a log, as a checkpoint writes
 * it?
 */
static bool
is_end (const struct restart_file *restart, const void *data, int count,
        int64_t offset)
{
  struct mark mark;

  return restart->guarded && restart->index && page_is_size (count) &&
         offset == (int64_t)(MARK_PAGE - 1) * count &&
         mark_parse (&mark, data, count) && mark.state != MARK_OPEN;
}

static int
restart_write (sqlite3_file *file, const void *data, int count,
               sqlite3_int64 offset)
{
  struct restart_file *restart = (struct restart_file *)file;

  if (!is_end (restart, data, count, offset))
    return pass_write (file, data, count, offset);
  free (restart->end);
  restart->end = malloc (count);
  if (restart->end == NULL)
    return SQLITE_IOERR_NOMEM;
  memcpy (restart->end, data, count);
  restart->end_size = count;
  restart->moved = *backfill (restart);
  return SQLITE_OK;
}

/* Stamp the page that the mark at hand says is the last one (mark.h).  Another
 * program may have committed behind it, and there are more pages now, or fewer.
 */
static int
stamp_last (struct restart_file *restart)
{
  uint32_t pages, last;
  struct mark mark;

  memcpy (&pages, (const void *)(restart->index + INDEX_PAGES), sizeof pages);
  if (!mark_parse (&mark, restart->end, restart->end_size))
    return SQLITE_OK;
  last = mark_last (&mark);
  return last == 0 || last > pages
             ? SQLITE_OK
             : vfs_checksum_stamp (restart->pass.below, last, restart->end_size,
                                   mark_stamp (&mark));
}

/* All else has been written. */
static int
restart_sync (sqlite3_file *file, int flags)
{
  struct restart_file *restart = (struct restart_file *)file;
  unsigned char *end = restart->end;
  const int size = restart->end_size;
  int rc = pass_sync (file, flags);

  if (rc == SQLITE_OK && end)
    rc = stamp_last (restart);
  if (rc != SQLITE_OK || end == NULL)
    return rc;
  restart->end = NULL;
  rc = pass_write (file, end, size, (int64_t)(MARK_PAGE - 1) * size);
  free (end);
  return rc == SQLITE_OK ? pass_sync (file, flags) : rc;
}

/* The checkpoint ends.  If it has not synced, its frames do not count as moved,
 * since a page is missing; in that case others have added to the log, and so
 * cannot have let it start over.
 */
static void
drop_end (struct restart_file *restart)
{
  if (restart->end && restart->index && *backfill (restart) > restart->moved)
    *backfill (restart) = restart->moved;
  free (restart->end);
  restart->end = NULL;
}

/*--------------------------------------------------------------------
 * The methods.
 */

static int
restart_close (sqlite3_file *file)
{
  drop_end ((struct restart_file *)file);
  return pass_close (file);
}

static int
restart_shm_lock (sqlite3_file *file, int first, int count, int flags)
{
  struct restart_file *restart = (struct restart_file *)file;
  const bool alone = flags & SQLITE_SHM_EXCLUSIVE;

  if (first >= LOCK_READ_MARK && !alone)
    return share_mark (restart, first, flags);
  if (first == LOCK_CHECKPOINT && count == 1 && flags & SQLITE_SHM_LOCK)
    return begin_checkpoint (restart, flags);
  if (first >= LOCK_READ_MARK || first == LOCK_CHECKPOINT)
    let_go (restart);
  if (first == LOCK_CHECKPOINT)
    drop_end (restart);
  if (first == LOCK_READ_MARK + 1 && count == READ_MARKS - 1 &&
      flags & SQLITE_SHM_LOCK)
    return ask_restart (restart, flags);
  return pass_shm_lock (file, first, count, flags);
}

static int
restart_shm_map (sqlite3_file *file, int region, int size, int extend,
                 void volatile **memory)
{
  struct restart_file *restart = (struct restart_file *)file;
  const int rc = pass_shm_map (file, region, size, extend, memory);

  if (region == 0)
    restart->index = rc == SQLITE_OK ? *memory : NULL;
  return rc;
}

static int
restart_shm_unmap (sqlite3_file *file, int remove)
{
  struct restart_file *restart = (struct restart_file *)file;

  drop_end (restart);
  restart->index = NULL;
  return pass_shm_unmap (file, remove);
}

/* Who closes the last connection has the database alone by now, so nobody
 * commits any more.
 */
static int
restart_lock (sqlite3_file *file, int level)
{
  struct restart_file *restart = (struct restart_file *)file;
  const int rc = pass_lock (file, level);

  if (rc != SQLITE_OK || level != SQLITE_LOCK_EXCLUSIVE ||
      may_restart (restart))
    return rc;
  pass_unlock (file, SQLITE_LOCK_SHARED);
  return SQLITE_BUSY;
}

/* Permit what the header ARGUMENT says. */
static int
permit (struct restart_file *restart, const void *argument)
{
  restart->permitted = true;
  memcpy (restart->header, argument, sizeof restart->header);
  return SQLITE_OK;
}

/* Map the index where only other connections have needed it so far. */
static int
tell_header (struct restart_file *restart, unsigned char *header)
{
  void volatile *memory;
  const int rc = restart->index ? SQLITE_OK
                                : restart_shm_map (&restart->pass.base, 0,
                                                   INDEX_REGION, 0, &memory);

  if (rc != SQLITE_OK || restart->index == NULL)
    return rc == SQLITE_OK ? SQLITE_IOERR_SHMMAP : rc;
  copy_header (restart, header);
  return SQLITE_OK;
}

static int
restart_file_control (sqlite3_file *file, int operation, void *argument)
{
  struct restart_file *restart = (struct restart_file *)file;

  switch (operation) {
  case GUARD:
    restart->guarded = true;
    return SQLITE_OK;
  case HEADER:
    return tell_header (restart, argument);
  case PERMIT:
    return permit (restart, argument);
  default:
    return pass_file_control (file, operation, argument);
  }
}

/* A database gets our methods; any other file is the one of the VFS below.
 */
static int
open_file (sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags,
           int *out_flags)
{
  struct restart_file *restart = (struct restart_file *)file;

  (void)self;
  if (!(flags & SQLITE_OPEN_MAIN_DB))
    return vfs_below->xOpen (vfs_below, name, file, flags, out_flags);
  *restart = (struct restart_file){ .kept = 0 };
  return pass_open (vfs_below, name, &restart->pass, sizeof *restart, &methods,
                    flags, out_flags);
}

int
vfs_restart_register (const char *below_it)
{
  methods = pass_methods;
  methods.xClose = restart_close;
  methods.xWrite = restart_write;
  methods.xSync = restart_sync;
  methods.xLock = restart_lock;
  methods.xFileControl = restart_file_control;
  methods.xShmMap = restart_shm_map;
  methods.xShmLock = restart_shm_lock;
  methods.xShmUnmap = restart_shm_unmap;
  vfs_below = sqlite3_vfs_find (below_it);
  return pass_register (&vfs, vfs_below, VFS_RESTART_NAME,
                        sizeof (struct restart_file), open_file);
}

int
vfs_restart_guard (sqlite3 *db)
{
  return sqlite3_file_control (db, "main", GUARD, NULL);
}

int
vfs_restart_header (sqlite3 *db, unsigned char header[VFS_RESTART_HEADER])
{
  return sqlite3_file_control (db, "main", HEADER, header);
}

int
vfs_restart_permit (sqlite3 *db, const unsigned char header[VFS_RESTART_HEADER])
{
  return sqlite3_file_control (db, "main", PERMIT, (void *)header);
}

bool
vfs_restart_is_fixed (int version)
{
  return version >= 3051003 || (version >= 3050007 && version < 3051000) ||
         (version >= 3044006 && version < 3045000);
}
