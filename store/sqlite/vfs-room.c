/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Making room in the database: see vfs-room.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "sqlite/filesystem.h"
#include "sqlite/log-format.h"
#include "sqlite/reserve.h"
#include "sqlite/vfs-file.h"
#include "sqlite/vfs-room.h"

/* How often, each millisecond, cutting tries to take the lock of writers. */
#define CUT_TRIES 20

/* A database of this process. */
struct vfs_room_shared {
  struct vfs_room_shared *next;
  dev_t device;
  ino_t inode;
  unsigned users;    /* handles of it */
  int fd;            /* -1: none could be opened */
  int64_t allocated; /* up to this byte the file has blocks */
  int64_t filled;    /* up to this one they have data, or are none of ours */
  bool zeroes;       /* the file system cannot allocate */
  bool knows_holes;  /* filesystem_knows_holes */
};

/* Of the list, and of all that is in it; a leaf. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vfs_room_shared *databases;

/* A quota that is used up, and the limit of a process or of the file system
 * for the size of a file, are the same to us as a file system that is full.
 */
static bool
is_no_space (int error)
{
  return filesystem_is_full (error) || error == EFBIG;
}

/* Is this how a file system, a kernel or a sandbox answers that cannot allocate
 * (see fallocate(2)), or does not let us?
 */
static bool
is_unsupported (int error)
{
  return error == EOPNOTSUPP || error == ENOSYS || error == EINVAL ||
         error == EPERM;
}

/* Write to the file below, for which only ENOSPC is SQLITE_FULL. */
static int
write_it (struct vfs_file *file, const void *data, int count, int64_t offset)
{
  const int rc = below_write (&file->base, data, count, offset);
  int error = 0;

  if (rc != SQLITE_IOERR_WRITE ||
      below_file_control (&file->base, SQLITE_FCNTL_LAST_ERRNO, &error) !=
          SQLITE_OK)
    return rc;
  return is_no_space (error) ? SQLITE_FULL : rc;
}

/*--------------------------------------------------------------------
 * Making room.
 */

/* Fill FILE with zeroes up to SIZE, in pieces that begin at multiples of their
 * length.
 */
static int
fill (struct vfs_file *file, int64_t size)
{
  static const char zeroes[VFS_ROOM_PIECE];
  sqlite3_int64 end, piece;
  int rc = below_file_size (&file->base, &end);

  for (; rc == SQLITE_OK && end < size; end += piece) {
    piece = VFS_ROOM_PIECE - end % VFS_ROOM_PIECE;
    if (piece > size - end)
      piece = size - end;
    rc = write_it (file, zeroes, piece, end);
  }
  return rc;
}

/* The same where the file system cannot allocate: with some more, if there is
 * enough.
 */
static int
fill_some (struct vfs_file *file, int64_t size)
{
  const int rc = fill (file, size + VFS_ROOM_PIECE - size % VFS_ROOM_PIECE);

  return rc == SQLITE_FULL ? fill (file, size) : rc;
}

/* Allocate up to END; what frees space, also with the reserve.  Returns as
 * filesystem_allocate.
 */
static int
allocate_up_to (struct vfs_file *file, int64_t end)
{
  struct vfs_room_shared *shared = file->room.shared;
  int error = filesystem_allocate (shared->fd, 0, shared->allocated, end);

  if (is_no_space (error) && file->room.allowed) {
    reserve_release (file->room.path);
    error = filesystem_allocate (shared->fd, 0, shared->allocated, end);
  }
  return error;
}

/* Allocate up to SIZE.  Where the file gets LONGER the reserve must be whole,
 * and some more is allocated if there is enough.
 */
static int
grow (struct vfs_file *file, int64_t size, bool longer)
{
  struct vfs_room_shared *shared = file->room.shared;
  int64_t end = size;
  int error;

  if (longer) {
    if (!file->room.allowed && !reserve_take (file->room.path))
      return SQLITE_FULL;
    end += VFS_ROOM_STEP - size % VFS_ROOM_STEP;
  }
  error = filesystem_allocate (shared->fd, 0, shared->allocated, end);
  if (is_no_space (error)) {
    end = size;
    error = allocate_up_to (file, end);
  }
  if (is_no_space (error))
    return SQLITE_FULL;
  if (error != 0 && !is_unsupported (error))
    return SQLITE_IOERR_WRITE;
  shared->zeroes = error != 0;
  if (shared->zeroes)
    return fill_some (file, size);
  shared->allocated = end;
  return SQLITE_OK;
}

/* Have the database have room for SIZE bytes.  Called with SQLite's lock of
 * writers, so nobody cuts it.
 */
static int
make_room (struct vfs_file *file, int64_t size)
{
  struct vfs_room_shared *shared = file->room.shared;
  struct stat st = { .st_size = 0 };
  int rc = SQLITE_OK;

  pthread_mutex_lock (&lock);
  if (shared->fd == -1 || shared->zeroes || fstat (shared->fd, &st) == -1)
    rc = fill_some (file, size);
  else {
    /* Others may have cut it. */
    if (shared->allocated > st.st_size)
      shared->allocated = st.st_size;
    if (shared->allocated < size)
      rc = grow (file, size, st.st_size < size);
  }
  pthread_mutex_unlock (&lock);
  return rc;
}

/*--------------------------------------------------------------------
 * The database.
 */

/* How long the database must stay, in bytes. */
static int64_t
needed (struct vfs_file *file, int64_t size)
{
  const unsigned char *bytes = (const unsigned char *)file->index;
  uint16_t page_size;
  int64_t size_now;

  memcpy (&page_size, bytes + LOG_INDEX_PAGE_SIZE, sizeof page_size);
  size_now = (int64_t)*vfs_file_index (file, LOG_INDEX_PAGES) *
             ((page_size & 0xfe00) + ((page_size & 1) << 16));
  return size_now > size ? size_now : size;
}

/* Take the lock of writers, with some patience. */
static bool
lock_writers (struct vfs_file *file)
{
  for (int i = 0; i < CUT_TRIES; i++) {
    if (i > 0)
      nanosleep (&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    if (below_shm_lock (&file->base, LOG_LOCK_WRITE, 1,
                        SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE) == SQLITE_OK)
      return true;
  }
  return false;
}

static int
cut (struct vfs_file *file, int64_t size)
{
  if (file->on_cluster)
    return below_truncate (&file->base, size);
  pthread_mutex_lock (&lock);
  if (file->room.shared->allocated > size)
    file->room.shared->allocated = size;
  if (file->room.shared->filled > size)
    file->room.shared->filled = size;
  pthread_mutex_unlock (&lock);
  return below_truncate (&file->base, size);
}

/* Cut to SIZE at once, unless somebody writes. */
static int
cut_unless_written (struct vfs_file *file, int64_t size)
{
  sqlite3_int64 now;
  int rc = below_file_size (&file->base, &now);

  if (rc != SQLITE_OK || file->index == NULL || now <= size)
    return rc == SQLITE_OK ? cut (file, size) : rc;
  if (vfs_file_is_alone (file, LOG_LOCK_WRITE))
    return cut (file, needed (file, size));
  if (!lock_writers (file))
    return SQLITE_OK;
  size = needed (file, size);
  if (size < now)
    rc = cut (file, size);
  below_shm_lock (&file->base, LOG_LOCK_WRITE, 1,
                  SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
  return rc;
}

int
vfs_room_truncate (struct vfs_file *file, int64_t size)
{
  const struct vfs_room *room = &file->room;
  sqlite3_int64 now;
  int rc = below_file_size (&file->base, &now);

  for (; rc == SQLITE_OK && now > size + VFS_ROOM_CUT; now -= VFS_ROOM_CUT) {
    rc = cut_unless_written (file, now - VFS_ROOM_CUT);
    if (room->between_cuts)
      room->between_cuts (room->opaque);
  }
  return rc == SQLITE_OK ? cut_unless_written (file, size) : rc;
}

/* Map a part of the index, and see to it that there is space for all of it:
 * SQLite writes one byte in 4096, and where the blocks of the file system are
 * smaller, the others would be missed only when they are used, by a signal.
 * The system has this since Linux 5.14.
 */
static int
map_all (struct vfs_file *file, int region, int size, int extend,
         void volatile **memory)
{
  const int rc = below_shm_map (&file->base, region, size, extend, memory);

  if (rc != SQLITE_OK || *memory == NULL ||
      madvise ((void *)*memory, size, MADV_POPULATE_WRITE) == 0 ||
      errno != EFAULT)
    return rc;
  *memory = NULL;
  return SQLITE_IOERR_SHMSIZE;
}

int
vfs_room_shm_map (struct vfs_file *file, int region, int size, int extend,
                  void volatile **memory)
{
  int rc;

  if (file->on_cluster) /* it is in memory */
    return below_shm_map (&file->base, region, size, extend, memory);
  rc = map_all (file, region, size, extend, memory);
  if (rc != SQLITE_IOERR_SHMSIZE)
    return rc;
  reserve_release (file->room.path);
  return map_all (file, region, size, extend, memory);
}

/* Write zeroes where FD has no data from FROM to before END, or to the end of
 * the first hole.  Returns how far it came; END also where that fails: nothing
 * depends on it.
 */
static int64_t
fill_hole (int fd, int64_t from, int64_t end)
{
  static const char zeroes[VFS_ROOM_PIECE];
  const int64_t start = lseek (fd, from, SEEK_HOLE);
  int64_t stop, piece;

  if (start == -1 || start >= end)
    return end;
  stop = lseek (fd, start, SEEK_DATA);
  if (stop == -1 || stop > end)
    stop = end;
  for (int64_t at = start; at < stop; at += piece) {
    piece = VFS_ROOM_PIECE - at % VFS_ROOM_PIECE;
    if (piece > stop - at)
      piece = stop - at;
    if (pwrite (fd, zeroes, piece, at) != piece)
      return end;
  }
  return stop;
}

/* A checkpoint begins.  What was allocated, and has no data yet, gets zeroes in
 * large pieces: the file system then has few large pieces of memory to write,
 * instead of one for each page that the checkpoint writes after it.  Only
 * checkpoints write to the database and cut it, and this one has their lock: so
 * nobody has put a page into what is a hole here, or has cut it, before the
 * zeroes are there.  What was in the file before it was opened stays as it is:
 * a copy may have holes, which take no space.
 */
static void
fill_holes (struct vfs_file *file)
{
  struct vfs_room_shared *shared = file->room.shared;
  const int64_t end = file->index ? needed (file, 0) : 0;
  int64_t filled;
  int fd;

  pthread_mutex_lock (&lock);
  fd = shared->knows_holes && !shared->zeroes ? shared->fd : -1;
  filled = shared->filled;
  pthread_mutex_unlock (&lock);
  if (fd == -1 || filled >= end)
    return;
  while (filled < end)
    filled = fill_hole (fd, filled, end);
  pthread_mutex_lock (&lock);
  shared->filled = filled;
  pthread_mutex_unlock (&lock);
}

void
vfs_room_after_shm_lock (struct vfs_file *file, int first, int flags)
{
  if (first == LOG_LOCK_CHECKPOINT && flags & SQLITE_SHM_LOCK &&
      !file->on_cluster)
    fill_holes (file);
}

/* One handle of SHARED less. */
static void
leave (struct vfs_room_shared *shared)
{
  struct vfs_room_shared **link = &databases;

  pthread_mutex_lock (&lock);
  if (--shared->users == 0) {
    while (*link != shared)
      link = &(*link)->next;
    *link = shared->next;
    if (shared->fd != -1)
      close (shared->fd);
    free (shared);
  }
  pthread_mutex_unlock (&lock);
}

void
vfs_room_after_close (struct vfs_file *file)
{
  if (file->room.shared)
    leave (file->room.shared);
  free (file->room.path);
}

/* Find what ST says, or add it.  Called with the lock held. */
static struct vfs_room_shared *
find_shared (const struct stat *st)
{
  struct vfs_room_shared *shared = databases;

  while (shared &&
         (shared->device != st->st_dev || shared->inode != st->st_ino))
    shared = shared->next;
  if (shared)
    return shared;
  shared = calloc (1, sizeof *shared);
  if (shared) {
    *shared = (struct vfs_room_shared){
      .next = databases,
      .device = st->st_dev,
      .inode = st->st_ino,
      .fd = -1,
      .filled = st->st_size,
    };
    databases = shared;
  }
  return shared;
}

/* One handle more of what ST says.  From here on its descriptor stays open. */
static struct vfs_room_shared *
join (const struct stat *st)
{
  struct vfs_room_shared *shared;

  pthread_mutex_lock (&lock);
  shared = find_shared (st);
  if (shared)
    shared->users++;
  pthread_mutex_unlock (&lock);
  return shared;
}

/* Open a descriptor of our own, unless there is one.  What now stands in the
 * place of the file is none of ours.
 */
static void
open_descriptor (struct vfs_room_shared *shared, const char *name)
{
  struct stat st;
  int fd;

  pthread_mutex_lock (&lock);
  if (shared->fd == -1) {
    fd = open (name, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && fstat (fd, &st) == 0 && st.st_dev == shared->device &&
        st.st_ino == shared->inode) {
      shared->fd = fd;
      shared->knows_holes = filesystem_knows_holes (fd);
    }
    else if (fd >= 0)
      close (fd);
  }
  pthread_mutex_unlock (&lock);
}

int
vfs_room_before_open (struct vfs_file *file, const char *name)
{
  struct stat st;

  if (file->on_cluster)
    return SQLITE_OK;
  if (stat (name, &st) == -1)
    return SQLITE_CANTOPEN;
  file->room.path = strdup (name);
  file->room.shared = join (&st);
  return file->room.path && file->room.shared ? SQLITE_OK : SQLITE_NOMEM;
}

int
vfs_room_after_open (struct vfs_file *file, int flags, const int *out_flags)
{
  struct vfs_room_shared *shared = file->room.shared;
  struct stat st;

  if (file->on_cluster)
    return SQLITE_OK;
  if (stat (file->room.path, &st) == -1 || st.st_dev != shared->device ||
      st.st_ino != shared->inode)
    return SQLITE_CANTOPEN;
  if (!(flags & SQLITE_OPEN_READONLY) &&
      !(out_flags && *out_flags & SQLITE_OPEN_READONLY))
    open_descriptor (shared, file->room.path);
  return SQLITE_OK;
}

/*--------------------------------------------------------------------
 * The log.
 */

/* What the frame headers say that begin in a piece of the log: the last size
 * of the database, in pages, or 0 where none of them commits.
 */
static int64_t
look_at_frames (struct vfs_file *file, const unsigned char *data, int count,
                int64_t offset)
{
  const int64_t frame_size = FRAME_HEADER_SIZE + file->page_size;
  const int64_t past = (offset - LOG_HEADER_SIZE) % frame_size;
  int64_t at = past == 0 ? 0 : frame_size - past, pages = 0;
  struct vfs_room_log *log = &file->room_log;
  uint32_t salt, commit;

  for (; at + FRAME_HEADER_SIZE <= count; at += frame_size) {
    commit = big_endian (data + at + FRAME_HEADER_COMMIT);
    salt = big_endian (data + at + FRAME_HEADER_SALTS);
    if (commit)
      pages = commit;
    /* What a large transaction writes again has none at first; nor have zeroes
     * behind the log's end, see vfs-gather.h.
     */
    if (salt != 0 && salt != log->salt) {
      log->salt = salt;
      log->held = 0;
    }
  }
  return pages;
}

/* The log is to have END bytes.  A log that starts over has its own room, and
 * one that grows leaves the reserve alone.
 */
static int
grow_log (struct vfs_file *file, int64_t end)
{
  const struct vfs_room *room = &file->database->room;
  struct vfs_room_log *log = &file->room_log;
  sqlite3_int64 size;
  int64_t own;
  int rc;

  if (end <= log->held)
    return SQLITE_OK;
  rc = below_file_size (&file->base, &size);
  if (rc != SQLITE_OK || end <= size)
    return rc;
  if (log->fd == -1)
    log->fd = open (log->name, O_RDWR | O_CLOEXEC);
  if (!room->allowed && !reserve_take (room->path))
    return SQLITE_FULL;
  /* Where another program was faster, what there is must do. */
  own = reserve_size (log->fd);
  if (log->held < own)
    filesystem_allocate (log->fd, FALLOC_FL_KEEP_SIZE, 0, own);
  log->held = end + VFS_ROOM_STEP > own ? end + VFS_ROOM_STEP : own;
  return SQLITE_OK;
}

/* Write, if need be with the reserve. */
static int
write_with_reserve (struct vfs_file *file, const void *data, int count,
                    int64_t offset)
{
  const struct vfs_room *room = &file->database->room;
  int rc = write_it (file, data, count, offset);

  if (rc == SQLITE_FULL && room->allowed) {
    reserve_release (room->path);
    rc = write_it (file, data, count, offset);
  }
  return rc;
}

/* What is written again was committed once, see log.h, or is of a log before:
 * the database has room for it, or has become smaller since.
 */
int
vfs_room_write_log (struct vfs_file *file, const void *data, int count,
                    int64_t offset)
{
  struct vfs_room_log *log = &file->room_log;
  int64_t pages = 0;
  int rc;

  if (file->on_cluster)
    return below_write (&file->base, data, count, offset);
  if (offset == 0 && count == LOG_HEADER_SIZE) {
    log->held = 0;
    log->salt = big_endian ((const unsigned char *)data + LOG_HEADER_SALTS);
  }
  else
    pages = look_at_frames (file, data, count, offset);
  rc = grow_log (file, offset + count);
  if (rc == SQLITE_OK && pages > 0 &&
      !vfs_file_is_alone (file->database, LOG_LOCK_CHECKPOINT))
    rc = make_room (file->database, pages * file->page_size);
  return rc == SQLITE_OK ? write_with_reserve (file, data, count, offset) : rc;
}

int
vfs_room_truncate_log (struct vfs_file *file, int64_t size)
{
  if (file->room_log.held > size)
    file->room_log.held = size;
  return below_truncate (&file->base, size);
}

void
vfs_room_open_log (struct vfs_file *file, const char *name)
{
  file->room_log.name = name;
  file->room_log.fd = -1;
}

void
vfs_room_close_log (struct vfs_file *file)
{
  if (file->room_log.fd != -1)
    close (file->room_log.fd);
}

/*--------------------------------------------------------------------
 * The process, and what the owner of a connection says.
 */

/* The signal that tells of the limit for the size of a file would end the
 * process, with all disks.  EFBIG tells it, too.
 */
void
vfs_room_prepare (void)
{
  struct sigaction action;

  if (sigaction (SIGXFSZ, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
    signal (SIGXFSZ, SIG_IGN);
}

void
vfs_room_allow_reserve (sqlite3 *db, bool allowed)
{
  struct vfs_file *file;

  if (vfs_file_find (db, &file) == SQLITE_OK)
    file->room.allowed = allowed;
}

void
vfs_room_between_cuts (sqlite3 *db, void (*call) (void *opaque), void *opaque)
{
  struct vfs_file *file;

  if (vfs_file_find (db, &file) == SQLITE_OK) {
    file->room.between_cuts = call;
    file->room.opaque = opaque;
  }
}

void
vfs_room_refill (sqlite3 *db)
{
  struct vfs_file *file;

  if (vfs_file_find (db, &file) == SQLITE_OK && !file->on_cluster)
    reserve_take (file->room.path);
}
