/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* One server per disk: see guard.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cluster/location.h"
#include "sqlite/files.h"
#include "sqlite/guard.h"

/* Bytes of the file for each disk. */
#define PLACE 256

/* Of those the ones with the name of who has it; the others belong to the
 * snapshot of that id, and its readers have names of their own.
 */
#define HOLDER_SIZE   128
#define COPIES_PLACE  1 /* to be locked */
#define SHARERS_PLACE 2
#define READERS       3
#define READERS_PLACE (HOLDER_SIZE + 1)
#define NAMES_PLACE   (READERS_PLACE + READERS)
#define NAME_SIZE     ((PLACE - NAMES_PLACE) / READERS)

/* The bytes that belong to no disk. */
#define BYTE_SERVE   0
#define BYTE_ROWS    1
#define BYTE_DOUBT   2
#define BYTE_TOLD    3
#define BYTE_ENTRIES 64 /* the first of GUARD_ENTRIES */
#define BYTE_BOUND   128
#define BYTE_LOG     136 /* struct guard_log */

/* Behind all that is in the file: a byte for each disk, to be locked. */
#define FLATTEN_PLACE ((off_t)1 << 62)

/* How often to try to take the guard of a disk, or to lock BYTE_ROWS or a
 * snapshot, and how long to sleep between two tries, in nanoseconds.
 */
#define DISK_TRIES 200
#define LOCK_TRIES 400
#define TRY_AFTER  5000000

/* Give the lock file the owner and the mode of the database PATH, as SQLite
 * does for its own files: whoever may write the one may lock the other.  Where
 * that is not allowed it is another user's file already.  It stays when the
 * database gets another mode, so its owner can always write it.
 */
static void
copy_owner (int fd, const char *path)
{
  struct stat mine, st;
  mode_t mode;

  if (fstat (fd, &mine) == -1 || stat (path, &st) == -1)
    return;
  if ((mine.st_uid != st.st_uid || mine.st_gid != st.st_gid) &&
      geteuid () == 0 && fchown (fd, st.st_uid, st.st_gid) == -1)
    return;
  mode = (st.st_mode & 0666) | S_IRUSR | S_IWUSR;
  if ((mine.st_mode & 0666) != mode && fchmod (fd, mode) == -1)
    return;
}

/* Is this a file of its own?  A link to another one, which somebody put
 * there, must not be written to.
 */
static bool
is_lock_file (int fd)
{
  struct stat st;

  return fstat (fd, &st) == 0 && S_ISREG (st.st_mode) && st.st_nlink == 1;
}

/* May this user only read the database PATH, of somebody else?  What he made
 * beside it would be his, and in the owner's way.
 */
static bool
is_guest (const char *path)
{
  struct stat st;

  return stat (path, &st) == 0 && st.st_uid != geteuid () &&
         access (path, W_OK) == -1;
}

/* Open NAME, which is made only by who may write the database PATH.  Returns
 * -1 with errno.
 */
static int
open_or_make (const char *path, const char *name, int flags)
{
  const int others = O_CLOEXEC | O_NOFOLLOW;
  const int fd = open (name, (flags & ~O_CREAT) | others);

  if (fd != -1 || errno != ENOENT || !(flags & O_CREAT))
    return fd;
  if (is_guest (path)) {
    errno = EACCES;
    return -1;
  }
  return open (name, flags | others, 0600);
}

/* The FILE-lock of a database on a cluster, which one process has at a time: in
 * its memory.
 */
struct memory {
  struct memory *next;
  char *path;
  int fd;
};

/* The one of PATH; NULL and errno on failure.  Called with the lock held. */
static struct memory *
find_memory (const char *path)
{
  static struct memory *memories;
  struct memory *memory = memories;

  while (memory && strcmp (memory->path, path) != 0)
    memory = memory->next;
  if (memory)
    return memory;
  memory = malloc (sizeof *memory);
  if (memory == NULL)
    return NULL;
  *memory = (struct memory){
    .next = memories,
    .path = strdup (path),
    .fd = memfd_create ("sqlblock-lock", MFD_CLOEXEC),
  };
  if (memory->path && memory->fd != -1) {
    memories = memory;
    return memory;
  }
  if (memory->fd != -1)
    close (memory->fd);
  free (memory->path);
  free (memory);
  return NULL;
}

/* Open it, each time anew, so that its locks exclude each other.  Returns -1
 * with errno.
 */
static int
open_memory (const char *path)
{
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  struct memory *memory;
  char name[40];

  pthread_mutex_lock (&lock);
  memory = find_memory (path);
  if (memory)
    snprintf (name, sizeof name, "/proc/self/fd/%d", memory->fd);
  pthread_mutex_unlock (&lock);
  return memory ? open (name, O_RDWR | O_CLOEXEC) : -1;
}

/* Open FILE-lock for the database PATH, if it is there, to look at it. Somebody
 * may have put a pipe there, which has no locks and must not be waited for.
 * Returns -1 with errno.
 */
static int
open_to_look (const char *path)
{
  struct stat st;
  char *name;
  int fd, error;

  if (location_is_cluster (path))
    return open_memory (path);
  name = files_side (path, "-lock");
  fd = name ? open (name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
  error = errno;
  if (fd != -1 && (fstat (fd, &st) == -1 || !S_ISREG (st.st_mode))) {
    close (fd);
    fd = -1;
    error = EINVAL;
  }
  free (name);
  errno = error;
  return fd;
}

/* Open FILE-lock for the database PATH. */
static int
open_lock_file (const char *path, int flags, struct status *status)
{
  char *name;
  int fd;

  if (location_is_cluster (path)) {
    fd = open_memory (path);
    return fd == -1 ? status_fail (status, EIO, "making a lock in memory: %s",
                                   strerror (errno))
                    : fd;
  }
  name = files_side (path, "-lock");
  if (name == NULL)
    return status_no_memory (status);
  fd = open_or_make (path, name, flags);
  if (fd == -1)
    status_fail (status, EIO,
                 "opening %s: %s; give it the owner and the mode of the "
                 "database, or "
                 "remove it while no server runs",
                 name, strerror (errno));
  else if (!is_lock_file (fd)) {
    status_fail (status, EIO,
                 "%s is not a lock file; remove it while no server runs", name);
    close (fd);
    fd = -1;
  }
  else
    copy_owner (fd, path);
  free (name);
  return fd;
}

/* Who wrote his name at OFFSET, where it has LENGTH bytes. */
static void
read_name (int fd, off_t offset, size_t length, char name[HOLDER_SIZE + 1])
{
  memset (name, 0, HOLDER_SIZE + 1);
  if (pread (fd, name, length, offset) <= 0 || name[0] == '\0')
    strcpy (name, "another process");
}

/* Write down who this is.  It only helps people, so it may fail. */
static void
sign (int fd, off_t offset, size_t length)
{
  char name[HOLDER_SIZE] = "";
  struct utsname host;
  ssize_t written;

  uname (&host);
  snprintf (name, length, "process %ld on %.100s", (long)getpid (),
            host.nodename);
  written = pwrite (fd, name, length, offset);
  (void)written;
}

/* Lock the byte at OFFSET, for reading or writing; -1 with errno. */
static int
lock_byte (int fd, off_t offset, short type)
{
  struct flock lock = {
    .l_type = type,
    .l_whence = SEEK_SET,
    .l_start = offset,
    .l_len = 1,
  };

  return fcntl (fd, F_OFD_SETLK, &lock);
}

/* Does somebody else have the byte at OFFSET locked?  Returns 1, 0, or -1
 * with errno.
 */
static int
is_locked (int fd, off_t offset)
{
  struct flock lock = {
    .l_type = F_WRLCK,
    .l_whence = SEEK_SET,
    .l_start = offset,
    .l_len = 1,
  };

  return fcntl (fd, F_OFD_GETLK, &lock) == -1 ? -1 : lock.l_type != F_UNLCK;
}

/* Say who has the guard at OFFSET. */
static void
fail_held (int fd, off_t offset, struct status *status)
{
  char holder[HOLDER_SIZE + 1];

  if (is_locked (fd, offset + COPIES_PLACE) == 1) {
    status_fail (status, EBUSY, "a copy of the disk is being made");
    return;
  }
  read_name (fd, offset, HOLDER_SIZE, holder);
  status_fail (status, EBUSY, "%s has the disk open for writing", holder);
}

/* Did the last lock fail because somebody has it? */
static bool
is_held (void)
{
  return errno == EAGAIN || errno == EACCES;
}

static int
fail_locking (const char *path, struct status *status)
{
  return status_fail (status, errno, "locking %s-lock: %s", path,
                      strerror (errno));
}

/* Sleep before the next of at most MOST tries; false where this was the last.
 */
static bool
sleep_before_try (unsigned *tries, unsigned most)
{
  if (++*tries >= most)
    return false;
  nanosleep (&(struct timespec){ .tv_nsec = TRY_AFTER }, NULL);
  return true;
}

/* Lock the byte at OFFSET of FD, which may be -1, waiting for others for some
 * time.  Returns FD, or -1 with it closed: EBUSY where it is still locked.
 */
static int
lock_waiting (int fd, const char *path, off_t offset, short type,
              struct status *status)
{
  unsigned tries = 0;
  bool held;

  if (fd == -1)
    return -1;
  do {
    if (lock_byte (fd, offset, type) == 0)
      return fd;
    held = is_held ();
  } while (held && sleep_before_try (&tries, LOCK_TRIES));
  if (held)
    status_fail (status, EBUSY, "it is locked");
  else
    fail_locking (path, status);
  close (fd);
  return -1;
}

/* The bytes of the disk or snapshot ID; -1 for an impossible one. */
static off_t
place_of (int64_t id, struct status *status)
{
  if (id < 1 || id > INT64_MAX / PLACE - 1)
    return status_fail (
        status, EIO, "the disk or snapshot has the impossible id %" PRId64, id);
  return (off_t)id * PLACE;
}

/* Who has a guard, and does he let others have it? */
enum holder { ALONE, SHARER, COPY };

/* Lock the byte at OFFSET, and then, of those who let others have it, sharers
 * keep copies out, and copies sharers: each says that it is there before it
 * looks for the others.  Returns 0, or -1 with errno.
 */
static int
lock_guard (int fd, off_t offset, enum holder holder)
{
  static const off_t places[] = {
    [SHARER] = SHARERS_PLACE,
    [COPY] = COPIES_PLACE,
  };
  int others;

  if (lock_byte (fd, offset, holder == ALONE ? F_WRLCK : F_RDLCK) == -1)
    return -1;
  if (holder == ALONE)
    return 0;
  if (lock_byte (fd, offset + places[holder], F_RDLCK) == -1)
    return -1;
  others = is_locked (fd, offset + places[holder == COPY ? SHARER : COPY]);
  if (others == 1)
    errno = EAGAIN;
  return others == 0 ? 0 : -1;
}

static int
take (const char *path, int64_t id, enum holder holder, struct status *status)
{
  const off_t offset = place_of (id, status);
  int fd;

  if (offset == -1)
    return -1;
  fd = open_lock_file (path, O_RDWR | O_CREAT, status);
  if (fd == -1)
    return -1;
  if (lock_guard (fd, offset, holder) == 0) {
    if (holder != COPY)
      sign (fd, offset, HOLDER_SIZE);
    return fd;
  }
  if (is_held ())
    fail_held (fd, offset, status);
  else
    fail_locking (path, status);
  close (fd);
  return -1;
}

int
guard_take (const char *path, int64_t id, bool shared, struct status *status)
{
  return take (path, id, shared ? SHARER : ALONE, status);
}

int
guard_copy (const char *path, int64_t id, struct status *status)
{
  return take (path, id, COPY, status);
}

bool
guard_wait (unsigned *tries)
{
  return sleep_before_try (tries, DISK_TRIES);
}

static int
await (const char *path, int64_t id, enum holder holder, struct status *status)
{
  unsigned tries = 0;
  int guard;

  do
    guard = take (path, id, holder, status);
  while (guard == -1 && status->error == EBUSY && guard_wait (&tries));
  return guard;
}

int
guard_await (const char *path, int64_t id, struct status *status)
{
  return await (path, id, ALONE, status);
}

int
guard_await_copy (const char *path, int64_t id, struct status *status)
{
  return await (path, id, COPY, status);
}

/*--------------------------------------------------------------------
 * Those who read a snapshot.
 */

/* Have a name among the readers whose PLACE this is, if one is free. */
static void
sign_reader (int fd, off_t place)
{
  for (int i = 0; i < READERS; i++)
    if (lock_byte (fd, place + READERS_PLACE + i, F_WRLCK) == 0) {
      sign (fd, place + NAMES_PLACE + (off_t)i * NAME_SIZE, NAME_SIZE);
      return;
    }
}

/* Say who reads the snapshot. */
static int
fail_read (int fd, off_t place, struct status *status)
{
  char reader[HOLDER_SIZE + 1] = "another process";

  for (int i = 0; i < READERS; i++)
    if (is_locked (fd, place + READERS_PLACE + i) == 1) {
      read_name (fd, place + NAMES_PLACE + (off_t)i * NAME_SIZE, NAME_SIZE,
                 reader);
      break;
    }
  return status_fail (status, EBUSY,
                      "%s reads it: a client, or a copy; end "
                      "that first",
                      reader);
}

int
guard_read_snapshot (const char *path, int64_t id, struct status *status)
{
  const off_t place = place_of (id, status);
  int fd;

  if (place == -1)
    return -1;
  fd = open_lock_file (path, O_RDWR | O_CREAT, status);
  if (fd == -1) /* who may only read can have a shared lock, too */
    fd = open_lock_file (path, O_RDONLY, status);
  fd = lock_waiting (fd, path, place + HOLDER_SIZE, F_RDLCK, status);
  if (fd != -1)
    sign_reader (fd, place);
  else if (status->error == EBUSY)
    status_fail (status, EBUSY, "it is just being deleted");
  return fd;
}

int
guard_delete_snapshot (const char *path, int64_t id, int *guard,
                       struct status *status)
{
  const off_t place = place_of (id, status);

  if (place == -1)
    return -1;
  if (*guard == -1)
    *guard = open_lock_file (path, O_RDWR | O_CREAT, status);
  if (*guard == -1 || lock_byte (*guard, place + HOLDER_SIZE, F_WRLCK) == 0)
    return *guard == -1 ? -1 : 0;
  return is_held () ? fail_read (*guard, place, status)
                    : fail_locking (path, status);
}

/*--------------------------------------------------------------------
 * Looking.
 */

/* The name at OFFSET, with nothing that is not printed. */
static void
tell_name (int fd, off_t offset, size_t length,
           void (*found) (const char *who, void *opaque), void *opaque)
{
  char name[HOLDER_SIZE + 1];

  read_name (fd, offset, length, name);
  for (char *p = name; *p; p++)
    if (*p < ' ' || *p > '~')
      *p = '?';
  found (name, opaque);
}

enum guard_holder
guard_find_holder (const char *path, int64_t id,
                   void (*found) (const char *who, void *opaque), void *opaque)
{
  enum guard_holder holder = GUARD_FREE;
  struct status ignored;
  const off_t place = place_of (id, &ignored);
  const int fd = place == -1 ? -1 : open_to_look (path);

  if (fd == -1)
    return GUARD_FREE;
  if (is_locked (fd, place + COPIES_PLACE) == 1)
    holder = GUARD_COPY;
  else if (is_locked (fd, place) == 1) {
    holder = GUARD_WRITER;
    tell_name (fd, place, HOLDER_SIZE, found, opaque);
  }
  close (fd);
  return holder;
}

void
guard_find_readers (const char *path, int64_t id,
                    void (*found) (const char *who, void *opaque), void *opaque)
{
  struct status ignored;
  const off_t place = place_of (id, &ignored);
  const int fd = place == -1 ? -1 : open_to_look (path);
  bool any = false;

  if (fd == -1)
    return;
  for (int i = 0; i < READERS; i++)
    if (is_locked (fd, place + READERS_PLACE + i) == 1) {
      any = true;
      tell_name (fd, place + NAMES_PLACE + i * NAME_SIZE, NAME_SIZE, found,
                 opaque);
    }
  if (!any && is_locked (fd, place + HOLDER_SIZE) == 1)
    found ("another process", opaque);
  close (fd);
}

/*--------------------------------------------------------------------
 * What belongs to no disk.
 */

int
guard_serve (const char *path, struct status *status)
{
  const int fd = open_lock_file (path, O_RDWR | O_CREAT, status);

  if (fd == -1 || lock_byte (fd, BYTE_SERVE, F_RDLCK) == 0)
    return fd;
  fail_locking (path, status);
  close (fd);
  return -1;
}

int
guard_is_served (const char *path, struct status *status)
{
  const int fd = open_to_look (path);
  int r;

  if (fd == -1)
    return errno == ENOENT ? 0 : fail_locking (path, status);
  r = is_locked (fd, BYTE_SERVE);
  if (r == -1)
    fail_locking (path, status);
  close (fd);
  return r;
}

/* What was told; 0 where nothing was. */
static uint64_t
read_bound (int fd)
{
  uint64_t bound;

  return pread (fd, &bound, sizeof bound, BYTE_BOUND) == sizeof bound ? bound
                                                                      : 0;
}

int
guard_tell_bound (const char *path, uint64_t bound)
{
  struct status ignored;
  const int fd = open_lock_file (path, O_RDWR | O_CREAT, &ignored);
  uint64_t told;

  if (fd == -1)
    return -1;
  told = is_locked (fd, BYTE_TOLD) == 1 ? read_bound (fd) : 0;
  if (lock_byte (fd, BYTE_TOLD, F_RDLCK) == 0 &&
      ((told != 0 && told <= bound) ||
       pwrite (fd, &bound, sizeof bound, BYTE_BOUND) == sizeof bound))
    return fd;
  close (fd);
  return -1;
}

uint64_t
guard_told_bound (const char *path)
{
  struct status ignored;
  const int fd = open_lock_file (path, O_RDWR | O_CREAT, &ignored);
  uint64_t bound;

  if (fd == -1)
    return 0;
  bound = is_locked (fd, BYTE_TOLD) == 1 ? read_bound (fd) : 0;
  close (fd);
  return bound;
}

void
guard_tell_log (int serving, const struct guard_log *log)
{
  /* Where it cannot be told, others do not compare. */
  const ssize_t written = pwrite (serving, log, sizeof *log, BYTE_LOG);

  (void)written;
}

bool
guard_told_log (const char *path, struct guard_log *log)
{
  const int fd = open_to_look (path);
  bool told;

  if (fd == -1)
    return false;
  told = pread (fd, log, sizeof *log, BYTE_LOG) == sizeof *log &&
         log->log != 0 && log->index != 0;
  close (fd);
  return told;
}

/* Lock BYTE_ROWS. */
static int
lock_rows (const char *path, short type, struct status *status)
{
  const int fd = lock_waiting (open_lock_file (path, O_RDWR | O_CREAT, status),
                               path, BYTE_ROWS, type, status);

  if (fd == -1 && status->error == EBUSY)
    status_fail (status, EBUSY,
                 "a copy of the database is being made; space is freed when "
                 "that has ended");
  return fd;
}

int
guard_keep_rows (const char *path, struct status *status)
{
  return lock_rows (path, F_RDLCK, status);
}

int
guard_reclaim (const char *path, struct status *status)
{
  return lock_rows (path, F_WRLCK, status);
}

int
guard_flatten (const char *path, int64_t id, struct status *status)
{
  const int fd = open_lock_file (path, O_RDWR | O_CREAT, status);

  if (fd == -1 || lock_byte (fd, FLATTEN_PLACE + id, F_WRLCK) == 0)
    return fd;
  if (is_held ())
    status_fail (status, EBUSY, "another command flattens it");
  else
    fail_locking (path, status);
  close (fd);
  return -1;
}

/*--------------------------------------------------------------------
 * Those who write the log.
 */

static off_t
offset_of (int number)
{
  return BYTE_ENTRIES + number;
}

/* The byte of an entry; what was never written is 0.  Returns it, or -1. */
static int
read_mark (int fd, int number)
{
  char mark = 0;

  return pread (fd, &mark, 1, offset_of (number)) == -1 ? -1 : mark;
}

static int
write_mark (int fd, int number, char mark)
{
  return pwrite (fd, &mark, 1, offset_of (number)) == 1 ? 0 : -1;
}

/* Take an entry if it is free and 0.  It is looked at under a shared lock:
 * an exclusive one would make a dead process look alive.
 */
static bool
take_entry (int fd, int number)
{
  if (lock_byte (fd, offset_of (number), F_RDLCK) == -1)
    return false;
  if (read_mark (fd, number) == 0 &&
      lock_byte (fd, offset_of (number), F_WRLCK) == 0)
    return true;
  lock_byte (fd, offset_of (number), F_UNLCK);
  return false;
}

int
guard_enter (struct guard_entry *entry, const char *path, struct status *status)
{
  const int fd = open_lock_file (path, O_RDWR | O_CREAT, status);

  if (fd == -1)
    return -1;
  for (int i = 0; i < GUARD_ENTRIES; i++)
    if (take_entry (fd, i)) {
      *entry = (struct guard_entry){ .fd = fd, .number = i };
      if (write_mark (fd, i, 1) == 0)
        return 0;
      status_fail (status, errno, "writing %s-lock: %s", path,
                   strerror (errno));
      close (fd);
      return -1;
    }
  status_fail (status, EBUSY,
               "too many processes write the database, or died; end them all "
               "and remove %s-lock",
               path);
  close (fd);
  return -1;
}

/* While another dead process is there to tell of, that one is enough: an
 * error that comes each time does not use up all entries.
 */
void
guard_leave (struct guard_entry *entry, bool well)
{
  if (well || guard_find_dead (entry) != 0)
    write_mark (entry->fd, entry->number, 0);
  close (entry->fd);
}

void
guard_set_doubt (const struct guard_entry *entry, bool in_doubt)
{
  lock_byte (entry->fd, BYTE_DOUBT, in_doubt ? F_RDLCK : F_UNLCK);
}

/* In this order: who dies in between is found dead. */
bool
guard_has_doubt (const struct guard_entry *entry)
{
  return is_locked (entry->fd, BYTE_DOUBT) != 0 || guard_find_dead (entry) != 0;
}

/* Did the process of an entry die?  Its byte is 0 before it lets go. */
static bool
is_dead (const struct guard_entry *entry, int number)
{
  bool dead;

  if (lock_byte (entry->fd, offset_of (number), F_RDLCK) == -1)
    return false;
  dead = read_mark (entry->fd, number) != 0;
  lock_byte (entry->fd, offset_of (number), F_UNLCK);
  return dead;
}

uint64_t
guard_find_dead (const struct guard_entry *entry)
{
  /* Two threads with one descriptor would let go of each other's locks. */
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  char marks[GUARD_ENTRIES] = { 0 };
  uint64_t dead = 0;

  if (pread (entry->fd, marks, sizeof marks, BYTE_ENTRIES) == -1)
    memset (marks, 1, sizeof marks);
  pthread_mutex_lock (&lock);
  for (int i = 0; i < GUARD_ENTRIES; i++)
    if (marks[i] != 0 && i != entry->number && is_dead (entry, i))
      dead |= UINT64_C (1) << i;
  pthread_mutex_unlock (&lock);
  return dead;
}

void
guard_forget_dead (const struct guard_entry *entry, uint64_t dead)
{
  for (int i = 0; i < GUARD_ENTRIES; i++)
    if (dead >> i & 1)
      write_mark (entry->fd, i, 0);
}

void
guard_release (int guard)
{
  close (guard);
}
