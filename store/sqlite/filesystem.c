/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* On what kind of file system a file lies: see filesystem.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "sqlite/filesystem.h"

#define EXT4 0xef53
#define XFS  0x58465342

/* What statfs(2) calls the file systems of one machine.  Those of them that
 * cannot be written are here as well: nobody changes what is on them.
 */
static const uint32_t own[] = {
  EXT4,       /* ext2 and ext3 as well */
  XFS,        /* xfs */
  0x9123683e, /* btrfs */
  0x2fc12fc1, /* zfs */
  0xca451a4e, /* bcachefs */
  0xf2f52010, /* f2fs */
  0x01021994, /* tmpfs */
  0x858458f6, /* ramfs */
  0x794c7630, /* overlay */
  0x3153464a, /* jfs */
  0x52654973, /* reiserfs */
  0x3434,     /* nilfs2 */
  0x24051905, /* ubifs */
  0x482b,     /* hfsplus */
  0x4d44,     /* vfat */
  0x2011bab0, /* exfat */
  0x7366746e, /* ntfs3 */
  0x73717368, /* squashfs */
  0xe0f5e1e2, /* erofs */
  0x9660,     /* iso9660 */
  0x15013346, /* udf */
};

/* The names of others, for messages where the kernel's is not found. */
static const struct {
  uint32_t number;
  const char *name;
} others[] = {
  { 0x65735546, "fuse" },  { 0x6969, "nfs" },        { 0x517b, "smb" },
  { 0xff534d42, "cifs" },  { 0xfe534d42, "smb3" },   { 0x01021997, "9p" },
  { 0x5346414f, "afs" },   { 0x00c36400, "ceph" },   { 0x01161970, "gfs2" },
  { 0x6b414653, "afs" },   { 0x7461636f, "ocfs2" },  { 0x0bd00bd0, "lustre" },
  { 0x47504653, "gpfs" },  { 0x786f4256, "vboxsf" }, { 0x73757245, "coda" },
  { 0xaad7aaea, "panfs" },
};

static bool one_machine;

void
filesystem_set_one_machine (bool is_one)
{
  one_machine = is_one;
}

/*--------------------------------------------------------------------
 * What the kernel tells.
 */

/* The number of the file system of PATH, 0 where that cannot be found. */
static uint32_t
number_of (const char *path)
{
  struct statfs fs;

  return statfs (path, &fs) == 0 ? (uint32_t)fs.f_type : 0;
}

/* The number of the mount through which PATH is reached.  Returns 0, or -1
 * where that cannot be found.
 */
static int
mount_of (const char *path, uint64_t *mount)
{
  struct statx st;

  if (statx (AT_FDCWD, path, 0, STATX_MNT_ID, &st) == -1 ||
      !(st.stx_mask & STATX_MNT_ID))
    return -1;
  *mount = st.stx_mnt_id;
  return 0;
}

/* What /proc/self/mountinfo says of a mount ("/proc/pid/mountinfo" in
 * proc(5)).
 */
struct mount {
  char type[64];    /* of its file system */
  char options[64]; /* of the superblock, as far as they have room */
};

/* Read the last three fields of LINE, which come after a "-". */
static bool
read_line (const char *line, struct mount *mount)
{
  const char *end = strstr (line, " - ");

  return end &&
         sscanf (end, " - %63s %*s %63s", mount->type, mount->options) == 2;
}

/* Find the mount of PATH. */
static bool
find_mount (const char *path, struct mount *mount)
{
  FILE *file;
  char *line = NULL;
  size_t size = 0;
  uint64_t wanted, number;
  bool found = false;

  if (mount_of (path, &wanted) == -1)
    return false;
  file = fopen ("/proc/self/mountinfo", "re");
  if (file == NULL)
    return false;
  while (!found && getline (&line, &size, file) != -1)
    found = sscanf (line, "%" SCNu64, &number) == 1 && number == wanted &&
            read_line (line, mount);
  free (line);
  fclose (file);
  return found;
}

/*--------------------------------------------------------------------
 * What follows from it.
 */

static bool
is_own_number (uint32_t number)
{
  for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
    if (own[i] == number)
      return true;
  return false;
}

bool
filesystem_is_own (const char *path)
{
  return one_machine || is_own_number (number_of (path));
}

int
filesystem_fail_shared (const char *path, struct status *status)
{
  const uint32_t number = number_of (path);
  const char *name = NULL;
  struct mount mount;

  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
    if (others[i].number == number)
      name = others[i].name;
  /* "fuse.sshfs" says more; a number that is not the kernel's own type says
   * that something stands between us and the kernel.
   */
  if (find_mount (path, &mount) && !is_own_number (number) &&
      (name == NULL || strncmp (mount.type, name, strlen (name)) == 0))
    name = mount.type;
  return status_fail (
      status, EROFS,
      "%s is on a file system that other machines may share (%s), and "
      "programs on two machines that write one database destroy it: use a "
      "local file system such as ext4; or, if no other machine has it open, "
      "now or later, say so with one-machine=true (a server) or "
      "--one-machine (a command)",
      path, name ? name : "an unknown one");
}

bool
filesystem_has_links (const char *path)
{
  struct statx st;

  return statx (AT_FDCWD, path, 0, STATX_NLINK, &st) == 0 && st.stx_nlink > 1 &&
         statx (AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_NLINK, &st) == 0 &&
         st.stx_nlink > 1;
}

bool
filesystem_is_mount_point (const char *path)
{
  char *real = realpath (path, NULL);
  char *copy = real ? strdup (real) : NULL;
  uint64_t file, directory;
  const bool is = copy && mount_of (real, &file) == 0 &&
                  mount_of (dirname (copy), &directory) == 0 &&
                  file != directory;

  free (copy);
  free (real);
  return is;
}

bool
filesystem_knows_holes (int descriptor)
{
  struct statfs fs;

  return fstatfs (descriptor, &fs) == 0 &&
         ((uint32_t)fs.f_type == EXT4 || (uint32_t)fs.f_type == XFS);
}

static int
allocate (int fd, int mode, int64_t from, int64_t end)
{
  while (fallocate (fd, mode, from, end - from) == -1)
    if (errno != EINTR)
      return errno;
  return 0;
}

/* Extents that are asked for at a time. */
#define EXTENTS 64

/* Allocate what lies between the extents that FD has ("Fiemap Ioctl" in the
 * kernel's fiemap.rst).  Where the file system does not tell them it is ERROR.
 */
static int
allocate_between (int fd, int mode, int64_t *from, int64_t end, int error)
{
  union {
    struct fiemap map;
    char room[sizeof (struct fiemap) + EXTENTS * sizeof (struct fiemap_extent)];
  } found;
  const struct fiemap_extent *extent = found.map.fm_extents;

  memset (&found, 0, sizeof found);
  found.map.fm_start = *from;
  found.map.fm_length = end - *from;
  found.map.fm_extent_count = EXTENTS;
  if (ioctl (fd, FS_IOC_FIEMAP, &found) == -1)
    return error;
  error = 0;
  for (uint32_t i = 0; i < found.map.fm_mapped_extents && error == 0; i++) {
    if ((int64_t)extent[i].fe_logical > *from)
      error = allocate (fd, mode, *from, extent[i].fe_logical);
    *from = extent[i].fe_logical + extent[i].fe_length;
  }
  if (found.map.fm_mapped_extents == 0) {
    error = allocate (fd, mode, *from, end);
    *from = end;
  }
  return error;
}

/* Allocate what is missing.  A file that is to get longer may have blocks
 * behind its end that the file system takes back: those do not count.
 */
static int
allocate_missing (int fd, int mode, int64_t from, int64_t end, int error)
{
  int64_t stop = end;
  struct stat st;
  int r = 0;

  if (!(mode & FALLOC_FL_KEEP_SIZE)) {
    if (fstat (fd, &st) == -1)
      return error;
    stop = st.st_size < end ? st.st_size : end;
  }
  while (from < stop && r == 0)
    r = allocate_between (fd, mode, &from, stop, error);
  if (r != 0 || stop == end)
    return r;
  return allocate (fd, mode, stop, end);
}

uint64_t
filesystem_free (const char *path)
{
  struct statvfs room;

  return statvfs (path, &room) == 0 ? (uint64_t)room.f_bavail * room.f_frsize
                                    : UINT64_MAX;
}

bool
filesystem_is_full (int error)
{
  return error == ENOSPC || error == EDQUOT;
}

int
filesystem_allocate (int fd, int mode, int64_t from, int64_t end)
{
  const int error = allocate (fd, mode, from, end);

  return filesystem_is_full (error)
             ? allocate_missing (fd, mode, from, end, error)
             : error;
}

/* An overlay that is mounted read-only may have layers that others write. */
bool
filesystem_is_unchangeable (const char *path)
{
  struct mount mount;
  struct statx st;

  if (statx (AT_FDCWD, path, 0, 0, &st) == 0 &&
      st.stx_attributes & STATX_ATTR_IMMUTABLE)
    return true;
  return is_own_number (number_of (path)) && find_mount (path, &mount) &&
         strcmp (mount.type, "overlay") != 0 &&
         (strcmp (mount.options, "ro") == 0 ||
          strncmp (mount.options, "ro,", 3) == 0);
}
