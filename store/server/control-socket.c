/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The file of a control socket: made so that nobody else can come between.
 *
 * It stands in a directory where only this user, or root, can remove it.  One
 * that is there is tried: where somebody answers, the new server is refused;
 * where nobody does, its server has died, and it is replaced.  Two servers that
 * start at once take turns by a lock on the directory.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "server/control.h"
#include "server/control-parts.h"

/* How often to try to lock the directory, and how long to sleep between two
 * tries, in nanoseconds.
 */
#define LOCK_TRIES 100
#define LOCK_AFTER 20000000

static int
fail_errno (const char *doing, const char *path, struct status *status)
{
  return status_fail (status, errno, "%s %s: %s", doing, path,
                      strerror (errno));
}

static int
make_address (const char *path, struct sockaddr_un *address,
              struct status *status)
{
  *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
  if (strlen (path) >= sizeof address->sun_path)
    return status_fail (status, ENAMETOOLONG,
                        "%s is longer than the %zu bytes that the name of a "
                        "socket may have",
                        path, sizeof address->sun_path - 1);
  strcpy (address->sun_path, path);
  return 0;
}

/* Open the directory of PATH. */
static int
open_directory (const char *path, struct status *status)
{
  char *copy = strdup (path);
  int fd;

  if (copy == NULL)
    return status_no_memory (status);
  fd = open (dirname (copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd == -1)
    fail_errno ("the directory of", path, status);
  free (copy);
  return fd;
}

/* May nobody but OWNER and root remove what is in the directory? */
static int
check_directory (int directory, const char *path, uid_t owner,
                 struct status *status)
{
  struct stat st;
  mode_t others;

  if (fstat (directory, &st) == -1)
    return fail_errno ("the directory of", path, status);
  /* A group of the user's own is the user. */
  others = st.st_gid == getegid () ? S_IWOTH : S_IWGRP | S_IWOTH;
  if ((st.st_uid == owner || st.st_uid == 0) &&
      ((st.st_mode & others) == 0 || (st.st_mode & S_ISVTX)))
    return 0;
  return status_fail (status, EACCES,
                      "others could replace %s; give a socket in a directory "
                      "that is yours",
                      path);
}

/* Is there a socket, and does a server answer at it?  Returns 1: one that died
 * has left it; 0: there is nothing; -1: there is a server, or something else.
 */
static int
look (const char *path, const struct sockaddr_un *address,
      struct status *status)
{
  struct stat st;
  int fd, r;

  if (lstat (path, &st) == -1)
    return errno == ENOENT ? 0 : fail_errno ("the socket", path, status);
  if (!S_ISSOCK (st.st_mode))
    return status_fail (status, EEXIST,
                        "%s is there already, and is no socket; remove it, or "
                        "give another name",
                        path);
  fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd == -1)
    return fail_errno ("the socket", path, status);
  r = connect (fd, (const struct sockaddr *)address, sizeof *address);
  if (r == -1 && errno == ECONNREFUSED)
    r = 1;
  else if (r == 0 || errno == EAGAIN)
    r = status_fail (status, EADDRINUSE,
                     "another server has the socket %s; give this one a socket "
                     "of its own",
                     path);
  else
    r = fail_errno ("the socket", path, status);
  close (fd);
  return r;
}

int
control_check (const char *path, struct status *status)
{
  struct sockaddr_un address;
  struct stat st;
  int directory, r;

  if (make_address (path, &address, status) == -1)
    return -1;
  directory = open_directory (path, status);
  if (directory == -1)
    return -1;
  /* A server that root starts may go on as the owner of the directory. */
  r = check_directory (
      directory, path,
      geteuid () == 0 && fstat (directory, &st) == 0 ? st.st_uid : geteuid (),
      status);
  close (directory);
  return r == 0 && look (path, &address, status) == -1 ? -1 : r;
}

/* Lock the directory, against others who make a socket there. */
static int
lock_directory (int directory, const char *path, struct status *status)
{
  const struct timespec pause = { .tv_nsec = LOCK_AFTER };

  for (int tries = LOCK_TRIES; flock (directory, LOCK_EX | LOCK_NB) == -1;) {
    if (errno != EWOULDBLOCK || --tries == 0)
      return fail_errno ("locking the directory of", path, status);
    nanosleep (&pause, NULL);
  }
  return 0;
}

/* Make the socket where there is nothing.  It has its mode from the beginning:
 * Linux takes that of the descriptor.
 */
static int
make_file (struct control_socket *made, const struct sockaddr_un *address,
           struct status *status)
{
  const char *path = made->path;
  struct stat st;

  made->fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (made->fd == -1 || fchmod (made->fd, 0600) == -1 ||
      bind (made->fd, (const struct sockaddr *)address, sizeof *address) == -1)
    return fail_errno ("making the socket", path, status);
  if (lstat (path, &st) == -1)
    return fail_errno ("making the socket", path, status);
  made->device = st.st_dev;
  made->inode = st.st_ino;
  if ((st.st_mode & 077) != 0 && chmod (path, 0600) == -1)
    return fail_errno ("making the socket", path, status);
  if (listen (made->fd, SOMAXCONN) == -1)
    return fail_errno ("making the socket", path, status);
  return 0;
}

/* The same in a directory that is locked. */
static int
replace (struct control_socket *made, const struct sockaddr_un *address,
         struct status *status)
{
  const int there = look (made->path, address, status);

  if (there == -1)
    return -1;
  if (there == 1 && unlink (made->path) == -1)
    return fail_errno ("replacing the socket", made->path, status);
  return make_file (made, address, status);
}

int
control_socket_make (struct control_socket *made, const char *path,
                     struct status *status)
{
  struct sockaddr_un address;
  int directory, r;

  *made = (struct control_socket){ .fd = -1 };
  if (make_address (path, &address, status) == -1)
    return -1;
  directory = open_directory (path, status);
  if (directory == -1)
    return -1;
  made->path = strdup (path);
  r = made->path ? 0 : status_no_memory (status);
  if (r == 0)
    r = check_directory (directory, path, geteuid (), status);
  if (r == 0)
    r = lock_directory (directory, path, status);
  if (r == 0)
    r = replace (made, &address, status);
  close (directory);
  if (r == -1)
    control_socket_remove (made);
  return r;
}

void
control_socket_remove (struct control_socket *made)
{
  struct stat st;

  if (made->inode != 0 && lstat (made->path, &st) == 0 &&
      st.st_dev == made->device && st.st_ino == made->inode)
    unlink (made->path);
  if (made->fd != -1)
    close (made->fd);
  free (made->path);
  *made = (struct control_socket){ .fd = -1 };
}
