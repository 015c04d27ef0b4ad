/* One server per disk: see guard.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "database.h"
#include "guard.h"

/* Bytes of the file for each disk. */
#define PLACE 256

/* The bytes that belong to no disk. */
#define BYTE_SERVE 0
#define BYTE_ROWS  1
#define BYTE_DOUBT 2

/* How often, each 5 ms, to try to lock BYTE_ROWS. */
#define ROWS_TRIES 400

/* Give a new lock file the owner and the mode of the database PATH, as
 * SQLite does for its own files: whoever may write the one may lock the
 * other.  Where that is not allowed it is another user's file already.
 */
static void
copy_owner (int fd, const char *path)
{
  struct stat st;

  if (fstat (fd, &st) == -1 || st.st_size > 0 || stat (path, &st) == -1)
    return;
  if (geteuid () == 0 && fchown (fd, st.st_uid, st.st_gid) == -1)
    return;
  if (fchmod (fd, st.st_mode & 0666) == -1)
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

/* Open FILE-lock for the database PATH. */
static int
open_lock_file (const char *path, struct status *status)
{
  char *name = database_side_file (path, "-lock");
  int fd;

  if (name == NULL)
    return status_no_memory (status);
  fd = open (name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd == -1)
    status_fail (status, EIO,
                 "opening %s: %s; give it the owner of the database, or "
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

/* Say who has the guard at OFFSET. */
static void
fail_held (int fd, off_t offset, struct status *status)
{
  char holder[PLACE + 1] = "";

  if (pread (fd, holder, PLACE, offset) <= 0 || holder[0] == '\0')
    strcpy (holder, "another process");
  status_fail (status, EBUSY, "%s has the disk open for writing", holder);
}

/* Write down who has the guard at OFFSET.  It only helps people, so it may
 * fail.
 */
static void
sign (int fd, off_t offset)
{
  char holder[PLACE] = "";
  struct utsname host;
  ssize_t written;

  uname (&host);
  snprintf (holder, sizeof holder, "process %ld on %.100s", (long)getpid (),
            host.nodename);
  written = pwrite (fd, holder, sizeof holder, offset);
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

int
guard_take (const char *path, int64_t id, bool shared, struct status *status)
{
  off_t offset;
  int fd;

  if (id < 1 || id > INT64_MAX / PLACE - 1)
    return status_fail (status, EIO, "the disk has the impossible id %" PRId64,
                        id);
  offset = (off_t)id * PLACE;
  fd = open_lock_file (path, status);
  if (fd == -1)
    return -1;
  if (lock_byte (fd, offset, shared ? F_RDLCK : F_WRLCK) == 0) {
    sign (fd, offset);
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
guard_serve (const char *path, struct status *status)
{
  const int fd = open_lock_file (path, status);

  if (fd == -1 || lock_byte (fd, BYTE_SERVE, F_RDLCK) == 0)
    return fd;
  fail_locking (path, status);
  close (fd);
  return -1;
}

int
guard_is_served (const char *path, struct status *status)
{
  const int fd = open_lock_file (path, status);
  int r;

  if (fd == -1)
    return -1;
  r = is_locked (fd, BYTE_SERVE);
  if (r == -1)
    fail_locking (path, status);
  close (fd);
  return r;
}

/* Lock BYTE_ROWS, waiting for others for some time. */
static int
lock_rows (const char *path, short type, struct status *status)
{
  const struct timespec pause = { .tv_nsec = 5000000 };
  const int fd = open_lock_file (path, status);

  if (fd == -1)
    return -1;
  for (int tries = ROWS_TRIES; tries > 0; tries--) {
    if (lock_byte (fd, BYTE_ROWS, type) == 0)
      return fd;
    if (!is_held ())
      break;
    nanosleep (&pause, NULL);
  }
  if (is_held ())
    status_fail (status, EBUSY,
                 "a copy of the database is being made; space is freed when "
                 "that has ended");
  else
    fail_locking (path, status);
  close (fd);
  return -1;
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
guard_watch (const char *path, struct status *status)
{
  return open_lock_file (path, status);
}

void
guard_set_doubt (int watch, bool in_doubt)
{
  lock_byte (watch, BYTE_DOUBT, in_doubt ? F_RDLCK : F_UNLCK);
}

bool
guard_has_doubt (int watch)
{
  return is_locked (watch, BYTE_DOUBT) == 1;
}

void
guard_release (int guard)
{
  close (guard);
}
