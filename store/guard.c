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
#include <unistd.h>

#include "database.h"
#include "guard.h"

/* Bytes of the file for each disk. */
#define PLACE 256

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
  status_fail (status, EBUSY,
               "%s has the disk open for writing; end it first, or give "
               "shared=true to both if that is what you want",
               holder);
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

int
guard_take (const char *path, int64_t id, struct status *status)
{
  struct flock lock = {
    .l_type = F_WRLCK,
    .l_whence = SEEK_SET,
    .l_len = 1,
  };
  int fd;

  if (id < 0 || id > INT64_MAX / PLACE - 1)
    return status_fail (status, EIO, "the disk has the impossible id %" PRId64,
                        id);
  lock.l_start = (off_t)id * PLACE;
  fd = open_lock_file (path, status);
  if (fd == -1)
    return -1;
  if (fcntl (fd, F_OFD_SETLK, &lock) == 0) {
    sign (fd, lock.l_start);
    return fd;
  }
  if (errno == EAGAIN || errno == EACCES)
    fail_held (fd, lock.l_start, status);
  else
    status_fail (status, errno, "locking %s-lock: %s", path, strerror (errno));
  close (fd);
  return -1;
}

void
guard_release (int guard)
{
  close (guard);
}
