/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The files of a database: see files.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sqlite/files.h"
#include "sqlite/filesystem.h"

char *
files_side (const char *path, const char *suffix)
{
  char *real = realpath (path, NULL);
  char *name;

  if (asprintf (&name, "%s%s", real ? real : path, suffix) == -1)
    name = NULL;
  free (real);
  return name;
}

int64_t
files_size (const char *path, const char *suffix)
{
  char *name = files_side (path, suffix);
  struct stat st;
  const bool found = name && stat (name, &st) == 0;

  free (name);
  return found ? st.st_size : -1;
}

/* What is behind the name of a database in those of its files. */
static const char *const part_suffixes[] = { "", "-wal", "-shm", "-journal",
                                             "-lock" };

#define PARTS (sizeof part_suffixes / sizeof part_suffixes[0])

/* Is the file that ST tells of a part of the database PATH? */
static bool
has_inode (const char *path, const struct stat *st)
{
  bool found = false;

  for (size_t i = 0; !found && i < PARTS; i++) {
    char *name = files_side (path, part_suffixes[i]);
    struct stat part;

    found = name && stat (name, &part) == 0 && part.st_dev == st->st_dev &&
            part.st_ino == st->st_ino;
    free (name);
  }
  return found;
}

/* The name of FILE, which need not be there, in its real directory; a new
 * string, or NULL.
 */
static char *
future_name (const char *file)
{
  const char *slash = strrchr (file, '/');
  char *directory = slash ? strndup (file, slash - file + 1) : strdup (".");
  char *real = directory ? realpath (directory, NULL) : NULL;
  char *name = NULL;

  if (real && asprintf (&name, "%s/%s", real, slash ? slash + 1 : file) == -1)
    name = NULL;
  free (real);
  free (directory);
  return name;
}

bool
files_has_descriptor (const char *path, int fd)
{
  struct stat st;

  return fstat (fd, &st) == 0 && has_inode (path, &st);
}

bool
files_has (const char *path, const char *file)
{
  bool found = false;
  struct stat st;
  char *future;

  if (stat (file, &st) == 0)
    return has_inode (path, &st);
  future = future_name (file);
  for (size_t i = 0; future && !found && i < PARTS; i++) {
    char *name = files_side (path, part_suffixes[i]);

    found = name && strcmp (name, future) == 0;
    free (name);
  }
  free (future);
  return found;
}

char *
files_directory (const char *path)
{
  char *copy = strdup (path);
  char *directory = copy ? strdup (dirname (copy)) : NULL;

  free (copy);
  return directory;
}

int
files_check_system (const char *path, struct status *status)
{
  char *directory = files_directory (path);
  struct stat st;
  int r = 0;

  if (directory == NULL)
    return status_no_memory (status);
  /* Who makes the file says what is wrong with the directory. */
  if (stat (directory, &st) == 0 && !filesystem_is_own (directory)) {
    filesystem_fail_shared (directory, status);
    r = status_prefix (status, "%s cannot be created", path);
  }
  free (directory);
  return r;
}

int
files_check_directory (const char *path, struct status *status)
{
  char *directory = files_directory (path);
  struct stat st;
  int r = 0;

  if (directory == NULL)
    return status_no_memory (status);
  if (stat (directory, &st) == 0 && !S_ISDIR (st.st_mode))
    r = status_fail (status, ENOTDIR, "%s cannot be created: %s: %s", path,
                     directory, strerror (ENOTDIR));
  else if (access (directory, W_OK | X_OK) == -1)
    r = status_fail (status, errno, "%s cannot be created: directory %s: %s",
                     path, directory, strerror (errno));
  free (directory);
  return r == 0 ? files_check_system (path, status) : r;
}

/* Make the file or directory PATH durable. */
static int
sync_path (const char *path, int flags)
{
  const int fd = open (path, flags | O_CLOEXEC);
  int r = -1;

  if (fd >= 0) {
    r = fsync (fd);
    close (fd);
  }
  return r;
}

/* Some file systems cannot do that at once; a link fails as well where there
 * is a file.
 */
int
files_rename_new (const char *from, const char *to)
{
  if (renameat2 (AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
    return 0;
  if (errno != EINVAL && errno != ENOSYS)
    return -1;
  return link (from, to); /* the caller removes FROM */
}

int
files_publish (const char *temporary, const char *path, struct status *status)
{
  char *directory = files_directory (path);
  int r = -1;

  if (directory == NULL)
    return status_no_memory (status);
  if (sync_path (temporary, O_RDWR) == 0 &&
      files_rename_new (temporary, path) == 0)
    r = sync_path (directory, O_RDONLY | O_DIRECTORY);
  if (r == -1)
    status_fail (status, errno, "creating %s: %s", path, strerror (errno));
  free (directory);
  return r;
}
