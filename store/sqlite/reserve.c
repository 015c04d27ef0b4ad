/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A reserve of space: see reserve.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cluster/location.h"
#include "sqlite/files.h"
#include "sqlite/reserve.h"
#include "sqlite/filesystem.h"

/* Blocks are allocated in multiples of this. */
#define UNIT 4096

int64_t
reserve_size (int descriptor)
{
  struct statvfs room;
  int64_t size;

  if (fstatvfs (descriptor, &room) == -1)
    return RESERVE_LEAST;
  size = (int64_t)room.f_blocks * room.f_frsize / RESERVE_SHARE / UNIT * UNIT;
  return size < RESERVE_LEAST  ? RESERVE_LEAST
         : size > RESERVE_MOST ? RESERVE_MOST
                               : size;
}

/* Open FILE-lock and find its end.  It is not made here. */
static int
open_lock_file (const char *path, off_t *end)
{
  char *name;
  struct stat st;
  int fd;

  if (location_is_cluster (path)) /* a cluster reserves nothing */
    return -1;
  name = files_side (path, "-lock");
  if (name == NULL)
    return -1;
  fd = open (name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  free (name);
  if (fd >= 0 &&
      (fstat (fd, &st) == -1 || !S_ISREG (st.st_mode) || st.st_nlink != 1)) {
    close (fd);
    fd = -1;
  }
  if (fd >= 0)
    *end = (st.st_size + UNIT - 1) / UNIT * UNIT;
  return fd;
}

bool
reserve_take (const char *path)
{
  off_t end;
  const int fd = open_lock_file (path, &end);
  int error;

  if (fd == -1)
    return true;
  error = filesystem_allocate (fd, FALLOC_FL_KEEP_SIZE, end,
                               end + reserve_size (fd));
  close (fd);
  return !filesystem_is_full (error);
}

/* To give a file the length that it has frees what lies behind its end.  Who
 * signs it at that moment may have to sign again; that only helps people.
 */
void
reserve_release (const char *path)
{
  struct stat st;
  off_t end;
  const int fd = open_lock_file (path, &end);
  int r;

  if (fd == -1)
    return;
  if (fstat (fd, &st) == 0) {
    r = ftruncate (fd, st.st_size);
    (void)r;
  }
  close (fd);
}
