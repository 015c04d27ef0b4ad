/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A VFS that makes room in the database: see vfs-room.h. */

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
#include "sqlite/log-walk.h"
#include "sqlite/reserve.h"
#include "sqlite/vfs-pass.h"
#include "sqlite/vfs-room.h"

/* Our file controls: which file this is, and about the reserve. */
#define FIND   0x73716c68
#define ALLOW  0x73716c69
#define REFILL 0x73716c6a

/* SQLite's locks of writers and of checkpoints, and where the log's index says
 * how many pages the database has ("WAL-Index Header" in walformat.html), in
 * 32-bit words.
 */
#define WRITE_LOCK      0
#define CHECKPOINT_LOCK 1
#define INDEX_PAGES     5

/* How often, each millisecond, cutting tries to take that lock. */
#define CUT_TRIES 20

/* Where the salt stands in the log's header, and in that of a frame. */
#define HEADER_SALT 16
#define FRAME_SALT  8

/* A database of this process. */
struct shared {
  struct shared *next;
  dev_t device;
  ino_t inode;
  unsigned users;    /* handles of it */
  int fd;            /* -1: none could be opened */
  int64_t allocated; /* so many bytes, from the beginning on */
  int64_t filled;    /* so many of them have data, or are none of ours */
  bool zeroes;       /* the file system cannot allocate */
  bool knows_holes;  /* filesystem_knows_holes */
};

/* A handle of a database or of a log, followed in memory by the file of the
 * VFS below.
 */
struct room_file {
  struct pass_file pass;

  /* Of a database. */
  char *path;
  struct shared *shared;
  const volatile uint32_t *index; /* the log's, once it is mapped */
  bool locked;                    /* this handle has the lock of writers, ... */
  bool checkpoints;               /* ... and that of checkpoints */
  bool allowed;                   /* to use the reserve */

  /* Of a log. */
  struct room_file *database;
  const char *name;
  int fd;            /* -1: not opened yet */
  int64_t page_size; /* 0: not known yet */
  uint32_t salt;     /* of the last frame: another one after each start, ... */
  int64_t held;      /* ... since when it may have at most this many bytes */
};

static sqlite3_vfs *vfs_below;
static sqlite3_vfs vfs;
static sqlite3_io_methods database_methods, log_methods;

/* Of the list, and of all that is in it; a leaf. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct shared *databases;

static struct room_file *
room_of (sqlite3_file *file)
{
  return (struct room_file *)file;
}

static sqlite3_file *
below (struct room_file *file)
{
  return file->pass.below;
}

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
write_below (struct room_file *file, const void *data, int count,
             int64_t offset)
{
  const int rc =
      below (file)->pMethods->xWrite (below (file), data, count, offset);
  int error = 0;

  if (rc != SQLITE_IOERR_WRITE ||
      pass_file_control (&file->pass.base, SQLITE_FCNTL_LAST_ERRNO, &error) !=
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
fill (struct room_file *file, int64_t size)
{
  static const char zeroes[VFS_ROOM_PIECE];
  sqlite3_int64 end, piece;
  int rc = pass_file_size (&file->pass.base, &end);

  for (; rc == SQLITE_OK && end < size; end += piece) {
    piece = VFS_ROOM_PIECE - end % VFS_ROOM_PIECE;
    if (piece > size - end)
      piece = size - end;
    rc = write_below (file, zeroes, piece, end);
  }
  return rc;
}

/* The same where the file system cannot allocate: with some more, if there is
 * enough.
 */
static int
fill_some (struct room_file *file, int64_t size)
{
  const int rc = fill (file, size + VFS_ROOM_PIECE - size % VFS_ROOM_PIECE);

  return rc == SQLITE_FULL ? fill (file, size) : rc;
}

/* Allocate up to END; what frees space, also with the reserve.  Returns as
 * filesystem_allocate.
 */
static int
allocate_up_to (struct room_file *file, int64_t end)
{
  struct shared *shared = file->shared;
  int error = filesystem_allocate (shared->fd, 0, shared->allocated, end);

  if (is_no_space (error) && file->allowed) {
    reserve_release (file->path);
    error = filesystem_allocate (shared->fd, 0, shared->allocated, end);
  }
  return error;
}

/* Allocate up to SIZE.  Where the file gets LONGER the reserve must be whole,
 * and some more is allocated if there is enough.
 */
static int
grow (struct room_file *file, int64_t size, bool longer)
{
  struct shared *shared = file->shared;
  int64_t end = size;
  int error;

  if (longer) {
    if (!file->allowed && !reserve_take (file->path))
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
make_room (struct room_file *file, int64_t size)
{
  struct shared *shared = file->shared;
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
needed (struct room_file *file, int64_t size)
{
  const unsigned char *bytes = (const unsigned char *)file->index;
  uint16_t page_size;
  int64_t size_now;

  memcpy (&page_size, bytes + 14, sizeof page_size);
  /* 65536 is written as 1. */
  size_now = (int64_t)file->index[INDEX_PAGES] *
             ((page_size & 0xfe00) + ((page_size & 1) << 16));
  return size_now > size ? size_now : size;
}

/* Take the lock of writers, with some patience. */
static bool
lock_writers (struct room_file *file)
{
  for (int i = 0; i < CUT_TRIES; i++) {
    if (i > 0)
      nanosleep (&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    if (pass_shm_lock (&file->pass.base, WRITE_LOCK, 1,
                       SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE) == SQLITE_OK)
      return true;
  }
  return false;
}

static int
cut (struct room_file *file, int64_t size)
{
  pthread_mutex_lock (&lock);
  if (file->shared->allocated > size)
    file->shared->allocated = size;
  if (file->shared->filled > size)
    file->shared->filled = size;
  pthread_mutex_unlock (&lock);
  return pass_truncate (&file->pass.base, size);
}

static int
room_truncate (sqlite3_file *handle, sqlite3_int64 size)
{
  struct room_file *file = room_of (handle);
  sqlite3_int64 now;
  int rc = pass_file_size (handle, &now);

  if (rc != SQLITE_OK || file->index == NULL || now <= size)
    return rc == SQLITE_OK ? cut (file, size) : rc;
  if (file->locked)
    return cut (file, needed (file, size));
  if (!lock_writers (file))
    return SQLITE_OK;
  size = needed (file, size);
  if (size < now)
    rc = cut (file, size);
  pass_shm_lock (handle, WRITE_LOCK, 1,
                 SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
  return rc;
}

/* Map a part of the index, and see to it that there is space for all of it:
 * SQLite writes one byte in 4096, and where the blocks of the file system are
 * smaller, the others would be missed only when they are used, by a signal.
 * The system has this since Linux 5.14.
 */
static int
map_all (sqlite3_file *handle, int region, int size, int extend,
         void volatile **memory)
{
  const int rc = pass_methods.xShmMap (handle, region, size, extend, memory);

  if (rc != SQLITE_OK || *memory == NULL ||
      madvise ((void *)*memory, size, MADV_POPULATE_WRITE) == 0 ||
      errno != EFAULT)
    return rc;
  *memory = NULL;
  return SQLITE_IOERR_SHMSIZE;
}

static int
room_shm_map (sqlite3_file *handle, int region, int size, int extend,
              void volatile **memory)
{
  struct room_file *file = room_of (handle);
  int rc = map_all (handle, region, size, extend, memory);

  if (rc == SQLITE_IOERR_SHMSIZE) {
    reserve_release (file->path);
    rc = map_all (handle, region, size, extend, memory);
  }
  if (rc == SQLITE_OK && region == 0 && *memory)
    file->index = *memory;
  return rc;
}

static int
room_shm_unmap (sqlite3_file *handle, int remove)
{
  room_of (handle)->index = NULL;
  return pass_methods.xShmUnmap (handle, remove);
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
fill_holes (struct room_file *file)
{
  struct shared *shared = file->shared;
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

static int
room_shm_lock (sqlite3_file *handle, int offset, int count, int flags)
{
  struct room_file *file = room_of (handle);
  const int rc = pass_shm_lock (handle, offset, count, flags);

  if (rc == SQLITE_OK && offset == WRITE_LOCK)
    file->locked = flags & SQLITE_SHM_LOCK;
  if (rc == SQLITE_OK && offset == CHECKPOINT_LOCK)
    file->checkpoints = flags & SQLITE_SHM_LOCK;
  if (rc == SQLITE_OK && offset == CHECKPOINT_LOCK && flags & SQLITE_SHM_LOCK)
    fill_holes (file);
  return rc;
}

static int
room_file_control (sqlite3_file *handle, int operation, void *argument)
{
  struct room_file *file = room_of (handle);

  switch (operation) {
  case FIND:
    *(struct room_file **)argument = file;
    return SQLITE_OK;
  case ALLOW:
    file->allowed = *(bool *)argument;
    return SQLITE_OK;
  case REFILL:
    reserve_take (file->path);
    return SQLITE_OK;
  default:
    return pass_file_control (handle, operation, argument);
  }
}

/* One handle of SHARED less. */
static void
leave (struct shared *shared)
{
  struct shared **link = &databases;

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

static int
database_close (sqlite3_file *handle)
{
  struct room_file *file = room_of (handle);
  const int rc = pass_close (handle);

  leave (file->shared);
  free (file->path);
  return rc;
}

/* Find what ST says, or add it.  Called with the lock held. */
static struct shared *
find_shared (const struct stat *st)
{
  struct shared *shared = databases;

  while (shared &&
         (shared->device != st->st_dev || shared->inode != st->st_ino))
    shared = shared->next;
  if (shared)
    return shared;
  shared = calloc (1, sizeof *shared);
  if (shared) {
    *shared = (struct shared){
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
static struct shared *
join (const struct stat *st)
{
  struct shared *shared;

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
open_descriptor (struct shared *shared, const char *name)
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

static int
open_shared (const char *name, struct room_file *file, int flags,
             int *out_flags)
{
  struct stat st, after;
  int rc;

  if (stat (name, &st) == -1)
    return SQLITE_CANTOPEN;
  file->path = strdup (name);
  file->shared = join (&st);
  if (file->path == NULL || file->shared == NULL)
    return SQLITE_NOMEM;
  rc = pass_open (vfs_below, name, &file->pass, sizeof *file, &database_methods,
                  flags, out_flags);
  if (rc == SQLITE_OK &&
      (stat (name, &after) == -1 || after.st_dev != st.st_dev ||
       after.st_ino != st.st_ino))
    rc = SQLITE_CANTOPEN;
  if (rc == SQLITE_OK && !(flags & SQLITE_OPEN_READONLY) &&
      !(out_flags && *out_flags & SQLITE_OPEN_READONLY))
    open_descriptor (file->shared, name);
  return rc;
}

static int
open_database (const char *name, struct room_file *file, int flags,
               int *out_flags)
{
  int rc;

  *file = (struct room_file){ .fd = -1 };
  rc = open_shared (name, file, flags, out_flags);
  if (rc == SQLITE_OK)
    return rc;
  if (file->pass.base.pMethods)
    pass_close (&file->pass.base);
  file->pass.base.pMethods = NULL;
  if (file->shared)
    leave (file->shared);
  free (file->path);
  return rc;
}

/*--------------------------------------------------------------------
 * The log.
 */

/* What the frame headers say that begin in a piece of the log: the last size
 * of the database, in pages, or 0 where none of them commits.
 */
static int64_t
look_at_frames (struct room_file *file, const unsigned char *data, int count,
                int64_t offset)
{
  const int64_t frame_size = FRAME_HEADER_SIZE + file->page_size;
  const int64_t past = (offset - LOG_HEADER_SIZE) % frame_size;
  int64_t at = past == 0 ? 0 : frame_size - past, pages = 0;
  uint32_t salt, commit;

  for (; at + FRAME_HEADER_SIZE <= count; at += frame_size) {
    commit = big_endian (data + at + 4);
    salt = big_endian (data + at + FRAME_SALT);
    if (commit)
      pages = commit;
    /* What a large transaction writes again has none at first; nor have zeroes
     * behind the log's end, see vfs-gather.h.
     */
    if (salt != 0 && salt != file->salt) {
      file->salt = salt;
      file->held = 0;
    }
  }
  return pages;
}

/* The log is to have END bytes.  A log that starts over has its own room, and
 * one that grows leaves the reserve alone.
 */
static int
grow_log (struct room_file *file, int64_t end)
{
  const bool allowed = file->database->allowed;
  const char *path = file->database->path;
  sqlite3_int64 size;
  int64_t own;
  int rc;

  if (end <= file->held)
    return SQLITE_OK;
  rc = pass_file_size (&file->pass.base, &size);
  if (rc != SQLITE_OK || end <= size)
    return rc;
  if (file->fd == -1)
    file->fd = open (file->name, O_RDWR | O_CLOEXEC);
  if (!allowed && !reserve_take (path))
    return SQLITE_FULL;
  /* Where another program was faster, what there is must do. */
  own = reserve_size (file->fd);
  if (file->held < own)
    filesystem_allocate (file->fd, FALLOC_FL_KEEP_SIZE, 0, own);
  file->held = end + VFS_ROOM_STEP > own ? end + VFS_ROOM_STEP : own;
  return SQLITE_OK;
}

/* Write, if need be with the reserve. */
static int
write_log (struct room_file *file, const void *data, int count, int64_t offset)
{
  int rc = write_below (file, data, count, offset);

  if (rc == SQLITE_FULL && file->database->allowed) {
    reserve_release (file->database->path);
    rc = write_below (file, data, count, offset);
  }
  return rc;
}

static int
log_write (sqlite3_file *handle, const void *data, int count,
           sqlite3_int64 offset)
{
  struct room_file *file = room_of (handle);
  int64_t pages = 0;
  int rc = SQLITE_OK;

  if (offset == 0 && count == LOG_HEADER_SIZE) {
    file->held = 0;
    file->page_size = big_endian ((const unsigned char *)data + 8);
    file->salt = big_endian ((const unsigned char *)data + HEADER_SALT);
  }
  else {
    if (file->page_size == 0)
      rc = pass_log_page_size (&file->pass, &file->page_size);
    if (rc == SQLITE_OK)
      pages = look_at_frames (file, data, count, offset);
  }
  if (rc == SQLITE_OK)
    rc = grow_log (file, offset + count);
  /* What is written again was committed once, see log.h, or is of a log before:
   * the database has room for it, or has become smaller since.
   */
  if (rc == SQLITE_OK && pages > 0 && !file->database->checkpoints)
    rc = make_room (file->database, pages * file->page_size);
  return rc == SQLITE_OK ? write_log (file, data, count, offset) : rc;
}

static int
log_truncate (sqlite3_file *handle, sqlite3_int64 size)
{
  struct room_file *file = room_of (handle);

  if (file->held > size)
    file->held = size;
  return pass_truncate (handle, size);
}

static int
log_close (sqlite3_file *handle)
{
  struct room_file *file = room_of (handle);

  if (file->fd != -1)
    close (file->fd);
  return pass_close (handle);
}

static int
open_log (const char *name, struct room_file *file, int flags, int *out_flags)
{
  sqlite3_file *database = sqlite3_database_file_object (name);
  int rc;

  *file = (struct room_file){ .name = name, .fd = -1 };
  rc = database->pMethods->xFileControl (database, FIND, &file->database);
  return rc == SQLITE_OK
             ? pass_open (vfs_below, name, &file->pass, sizeof *file,
                          &log_methods, flags, out_flags)
             : rc;
}

/*--------------------------------------------------------------------
 * The VFS.
 */

static int
open_file (sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags,
           int *out_flags)
{
  (void)self;
  file->pMethods = NULL;
  if (flags & SQLITE_OPEN_MAIN_DB)
    return open_database (name, room_of (file), flags, out_flags);
  if (flags & SQLITE_OPEN_WAL)
    return open_log (name, room_of (file), flags, out_flags);
  return vfs_below->xOpen (vfs_below, name, file, flags, out_flags);
}

/* The signal that tells of the limit for the size of a file would end the
 * process, with all disks.  EFBIG tells it, too.
 */
static void
ignore_limit_signal (void)
{
  struct sigaction action;

  if (sigaction (SIGXFSZ, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
    signal (SIGXFSZ, SIG_IGN);
}

int
vfs_room_register (void)
{
  database_methods = pass_methods;
  database_methods.xClose = database_close;
  database_methods.xTruncate = room_truncate;
  database_methods.xFileControl = room_file_control;
  database_methods.xShmMap = room_shm_map;
  database_methods.xShmLock = room_shm_lock;
  database_methods.xShmUnmap = room_shm_unmap;
  log_methods = pass_methods;
  log_methods.xClose = log_close;
  log_methods.xWrite = log_write;
  log_methods.xTruncate = log_truncate;
  vfs_below = sqlite3_vfs_find (NULL);
  ignore_limit_signal ();
  return pass_register (&vfs, vfs_below, VFS_ROOM_NAME,
                        sizeof (struct room_file), open_file);
}

void
vfs_room_allow_reserve (sqlite3 *db, bool allowed)
{
  sqlite3_file_control (db, "main", ALLOW, &allowed);
}

void
vfs_room_refill (sqlite3 *db)
{
  sqlite3_file_control (db, "main", REFILL, NULL);
}
