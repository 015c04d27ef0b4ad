/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Guarding when the log starts over: see vfs-restart.h. */

#include <config.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sqlite/mark.h"
#include "sqlite/page.h"
#include "sqlite/vfs-checksum.h"
#include "sqlite/vfs-file.h"
#include "sqlite/vfs-restart.h"

/* How often, and in nanoseconds how long after each try, we look for a read
 * mark that nobody holds alone.
 */
#define ATTEMPTS 200
#define PAUSE    500000

/* Let go of our read mark. */
static void
let_go (struct vfs_file *file)
{
  if (file->restart.kept)
    below_shm_lock (&file->base, file->restart.kept, 1,
                    SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED);
  file->restart.kept = 0;
}

/* Take a read mark that SQLite does not use here: the last ones first, since
 * readers begin with the others.
 */
static int
take_any (struct vfs_file *file)
{
  int rc = SQLITE_BUSY;

  for (int i = LOG_READ_MARKS - 1; rc == SQLITE_BUSY && i > 0; i--) {
    rc = below_shm_lock (&file->base, LOG_LOCK_READ_MARK + i, 1,
                         SQLITE_SHM_LOCK | SQLITE_SHM_SHARED);
    if (rc == SQLITE_OK)
      file->restart.kept = LOG_LOCK_READ_MARK + i;
  }
  return rc;
}

/* Keep the log from starting over. */
static int
keep (struct vfs_file *file)
{
  int rc;

  if (file->restart.kept || file->restart.reading > LOG_LOCK_READ_MARK)
    return SQLITE_OK;
  rc = take_any (file);
  for (int i = 1; rc == SQLITE_BUSY && i < ATTEMPTS; i++) {
    nanosleep (&(struct timespec){ .tv_nsec = PAUSE }, NULL);
    rc = take_any (file);
  }
  return rc;
}

/* Copy the header of the index, which nobody changes meanwhile. */
static void
copy_header (const struct vfs_file *file, unsigned char *header)
{
  const volatile unsigned char *index = (volatile unsigned char *)file->index;

  for (size_t i = 0; i < LOG_INDEX_HEADER; i++)
    header[i] = index[i];
}

/* May the log start over, or go? */
static bool
may_restart (const struct vfs_file *file)
{
  const struct vfs_restart *restart = &file->restart;
  unsigned char now[LOG_INDEX_HEADER];

  if (!restart->guarded || file->index == NULL)
    return true;
  copy_header (file, now);
  return restart->permitted && memcmp (now, restart->header, sizeof now) == 0;
}

/* Does SQLite ask for all read marks but 0, or let go of them? */
static bool
are_all_marks (int first, int count)
{
  return first == LOG_LOCK_READ_MARK + 1 && count == LOG_READ_MARKS - 1;
}

/* Does it ask for the lock of checkpoints? */
static bool
is_begin (int first, int count, int flags)
{
  return first == LOG_LOCK_CHECKPOINT && count == 1 && flags & SQLITE_SHM_LOCK;
}

/* Does it ask to share a read mark, or let go of it? */
static bool
is_sharing (int first, int flags)
{
  return first >= LOG_LOCK_READ_MARK && !(flags & SQLITE_SHM_EXCLUSIVE);
}

/* A writer, which holds mark 0, goes on when the others are busy; a checkpoint
 * would ask again for as long as it may wait for readers, so it gets another
 * result of that kind.
 */
int
vfs_restart_before_shm_lock (struct vfs_file *file, int first, int count,
                             int flags)
{
  if (is_sharing (first, flags) || is_begin (first, count, flags))
    return SQLITE_OK;
  if (first >= LOG_LOCK_READ_MARK || first == LOG_LOCK_CHECKPOINT)
    let_go (file);
  if (first == LOG_LOCK_CHECKPOINT)
    vfs_restart_drop_end (file);
  if (are_all_marks (first, count) && flags & SQLITE_SHM_LOCK &&
      !may_restart (file))
    return file->restart.reading == LOG_LOCK_READ_MARK ? SQLITE_BUSY
                                                       : SQLITE_BUSY_SNAPSHOT;
  return SQLITE_OK;
}

/* SQLite shares a read mark, with the answer RC, or lets go of it. */
static void
note_mark (struct vfs_restart *restart, int lock, int flags, int rc)
{
  if (flags & SQLITE_SHM_UNLOCK)
    restart->reading = 0;
  else if (rc == SQLITE_OK) {
    restart->reading = lock;
    if (restart->kept == lock) /* SQLite will let go of it */
      restart->kept = 0;
  }
}

int
vfs_restart_after_shm_lock (struct vfs_file *file, int first, int count,
                            int flags, int rc)
{
  if (is_sharing (first, flags))
    note_mark (&file->restart, first, flags, rc);
  else if (is_begin (first, count, flags) && rc == SQLITE_OK) {
    rc = keep (file);
    if (rc != SQLITE_OK)
      below_shm_lock (&file->base, LOG_LOCK_CHECKPOINT, 1,
                      SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
  }
  return rc;
}

/* Who closes the last connection has the database alone by now, so nobody
 * commits any more.
 */
int
vfs_restart_after_lock (struct vfs_file *file, int level, int rc)
{
  if (rc != SQLITE_OK || level != SQLITE_LOCK_EXCLUSIVE || may_restart (file))
    return rc;
  below_unlock (&file->base, SQLITE_LOCK_SHARED);
  return SQLITE_BUSY;
}

/*--------------------------------------------------------------------
 * The mark that ends a log.
 */

bool
vfs_restart_is_end (const struct vfs_file *file, const void *data, int count,
                    int64_t offset)
{
  struct mark mark;

  return file->restart.guarded && file->index && page_is_size (count) &&
         offset == (int64_t)(MARK_PAGE - 1) * count &&
         mark_parse (&mark, data, count) && mark.state != MARK_OPEN;
}

int
vfs_restart_keep_end (struct vfs_file *file, const void *data, int count)
{
  struct vfs_restart *restart = &file->restart;

  free (restart->end);
  restart->end = malloc (count);
  if (restart->end == NULL)
    return SQLITE_IOERR_NOMEM;
  memcpy (restart->end, data, count);
  restart->end_size = count;
  restart->moved = *vfs_file_index (file, LOG_INDEX_MOVED);
  return SQLITE_OK;
}

/* Stamp the page that the mark at hand says is the last one (mark.h).  Another
 * program may have committed behind it, and there are more pages now, or fewer.
 */
static int
stamp_last (struct vfs_file *file)
{
  const struct vfs_restart *restart = &file->restart;
  const uint32_t pages = *vfs_file_index (file, LOG_INDEX_PAGES);
  struct mark mark;
  uint32_t last;

  if (!mark_parse (&mark, restart->end, restart->end_size))
    return SQLITE_OK;
  last = mark_last (&mark);
  return last == 0 || last > pages
             ? SQLITE_OK
             : vfs_checksum_stamp (file->below, last, restart->end_size,
                                   mark_stamp (&mark));
}

int
vfs_restart_after_sync (struct vfs_file *file, int flags)
{
  unsigned char *end = file->restart.end;
  const int size = file->restart.end_size;
  int rc = end ? stamp_last (file) : SQLITE_OK;

  if (rc != SQLITE_OK || end == NULL)
    return rc;
  file->restart.end = NULL;
  rc = below_write (&file->base, end, size, (int64_t)(MARK_PAGE - 1) * size);
  free (end);
  return rc == SQLITE_OK ? below_sync (&file->base, flags) : rc;
}

/* The checkpoint ends.  If it has not synced, its frames do not count as moved,
 * since a page is missing; in that case others have added to the log, and so
 * cannot have let it start over.
 */
void
vfs_restart_drop_end (struct vfs_file *file)
{
  struct vfs_restart *restart = &file->restart;

  if (restart->end && file->index &&
      *vfs_file_index (file, LOG_INDEX_MOVED) > restart->moved)
    *vfs_file_index (file, LOG_INDEX_MOVED) = restart->moved;
  free (restart->end);
  restart->end = NULL;
}

/*--------------------------------------------------------------------
 * What the owner of the connection says.
 */

int
vfs_restart_guard (sqlite3 *db)
{
  struct vfs_file *file;
  const int rc = vfs_file_find (db, &file);

  if (rc == SQLITE_OK)
    file->restart.guarded = true;
  return rc;
}

/* Map the index where only other connections have needed it so far. */
static int
need_index (struct vfs_file *file)
{
  sqlite3_file *base = &file->base;
  void volatile *memory;
  const int rc = file->index ? SQLITE_OK
                             : base->pMethods->xShmMap (base, 0, LOG_INDEX_PART,
                                                        0, &memory);

  return rc == SQLITE_OK && file->index == NULL ? SQLITE_IOERR_SHMMAP : rc;
}

int
vfs_restart_header (sqlite3 *db, unsigned char header[LOG_INDEX_HEADER])
{
  struct vfs_file *file;
  int rc = vfs_file_find (db, &file);

  if (rc == SQLITE_OK)
    rc = need_index (file);
  if (rc == SQLITE_OK)
    copy_header (file, header);
  return rc;
}

int
vfs_restart_permit (sqlite3 *db, const unsigned char header[LOG_INDEX_HEADER])
{
  struct vfs_file *file;
  const int rc = vfs_file_find (db, &file);

  if (rc == SQLITE_OK) {
    file->restart.permitted = true;
    memcpy (file->restart.header, header, sizeof file->restart.header);
  }
  return rc;
}

bool
vfs_restart_is_fixed (int version)
{
  return version >= 3051003 || (version >= 3050007 && version < 3051000) ||
         (version >= 3044006 && version < 3045000);
}

bool
vfs_restart_is_moved (sqlite3 *db)
{
  struct vfs_file *file;
  uint32_t frames;

  if (vfs_file_find (db, &file) != SQLITE_OK || file->index == NULL)
    return false;
  frames = *vfs_file_index (file, LOG_INDEX_FRAMES);
  return frames > 0 && *vfs_file_index (file, LOG_INDEX_MOVED) == frames;
}
