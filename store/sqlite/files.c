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
#include <sys/statvfs.h>
#include <unistd.h>

#include "cluster/location.h"
#include "sqlite/clustered.h"
#include "sqlite/files.h"
#include "sqlite/filesystem.h"

char *
files_side (const char *path, const char *suffix)
{
  char *real = location_is_cluster (path) ? NULL : realpath (path, NULL);
  char *name;

  if (asprintf (&name, "%s%s", real ? real : path, suffix) == -1)
    name = NULL;
  free (real);
  return name;
}

int64_t
files_size (const char *path, const char *suffix)
{
  struct status ignored;
  struct stat st;
  char *name;
  bool found;

  if (location_is_cluster (path))
    return clustered_size (path, suffix, &ignored);
  name = files_side (path, suffix);
  found = name && stat (name, &st) == 0;
  free (name);
  return found ? st.st_size : -1;
}

uint64_t
files_bytes (const char *path, const char *suffix)
{
  const int64_t size = files_size (path, suffix);

  return size > 0 ? size : 0;
}

uint64_t
files_room (const char *path)
{
  struct statvfs room;

  return location_is_cluster (path) || statvfs (path, &room) == -1
             ? 0
             : (uint64_t)room.f_bavail * room.f_frsize;
}

bool
files_exist (const char *path)
{
  struct status ignored;
  struct stat st;

  if (location_is_cluster (path))
    return clustered_look (path, &ignored) != 0;
  return lstat (path, &st) == 0;
}

int
files_look (const char *path, struct status *status)
{
  struct stat st;

  if (location_is_cluster (path))
    return clustered_look (path, status);
  if (stat (path, &st) == 0)
    return S_ISREG (st.st_mode)
               ? 1
               : status_fail (status, EINVAL, "%s is not a regular file", path);
  if (errno != ENOENT)
    return status_fail (status, errno, "%s: %s", path, strerror (errno));
  return files_exist (path)
             ? status_fail (status, ENOENT,
                            "%s is a symbolic link to nothing; remove it, or "
                            "make what it points to",
                            path)
             : 0;
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

  return !location_is_cluster (path) && fstat (fd, &st) == 0 &&
         has_inode (path, &st);
}

bool
files_has (const char *path, const char *file)
{
  bool found = false;
  struct stat st;
  char *future;

  if (location_is_cluster (path))
    return false;
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
files_owner (const char *file)
{
  const size_t length = strlen (file);

  for (size_t i = 1; i < PARTS; i++) {
    const size_t suffix = strlen (part_suffixes[i]);

    if (length > suffix && file[length - suffix - 1] != '/' &&
        strcmp (file + length - suffix, part_suffixes[i]) == 0)
      return strndup (file, length - suffix);
  }
  return NULL;
}

char *
files_directory (const char *path)
{
  char *copy = strdup (path);
  char *directory = copy ? strdup (dirname (copy)) : NULL;

  free (copy);
  return directory;
}

char *
files_absolute (const char *path, struct status *status)
{
  char *directory = files_directory (path), *copy = strdup (path);
  char *real = directory ? realpath (directory, NULL) : NULL;
  char *absolute = NULL;

  if (directory && copy && real == NULL)
    status_fail (status, errno, "%s: directory %s: %s", path, directory,
                 strerror (errno));
  else if (real == NULL || copy == NULL ||
           asprintf (&absolute, "%s/%s", real, basename (copy)) == -1) {
    absolute = NULL;
    status_no_memory (status);
  }
  free (directory);
  free (copy);
  free (real);
  return absolute;
}

int
files_check_system (const char *path, struct status *status)
{
  char *directory;
  struct stat st;
  int r = 0;

  if (location_is_cluster (path)) /* one process has it at a time */
    return 0;
  directory = files_directory (path);
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
  char *directory;
  struct stat st;
  int r = 0;

  if (location_is_cluster (path)) /* there are none */
    return 0;
  directory = files_directory (path);
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

/*--------------------------------------------------------------------
 * Making a file.
 */

static int
check_leftover (const char *path, const char *suffix, struct status *status)
{
  char *name;
  int r;

  if (files_bytes (path, suffix) == 0)
    return 0;
  name = files_side (path, suffix);
  if (name == NULL)
    return status_no_memory (status);
  r = status_fail (status, EEXIST,
                   "%s cannot be created: there is %s of another database; "
                   "move it to that one, or remove it",
                   path, name);
  free (name);
  return r;
}

int
files_check_new (const char *path, struct status *status)
{
  if (files_exist (path))
    return status_fail (status, EEXIST, "creating %s: %s", path,
                        strerror (EEXIST));
  if (check_leftover (path, "-wal", status) == -1)
    return -1;
  return check_leftover (path, "-journal", status);
}

/* What the name of a new file begins with: for a cluster, where nothing can be
 * renamed, in a directory for that here.
 */
static int
format_temporary (char **temporary, const char *path)
{
  const char *directory = getenv ("TMPDIR");

  if (!location_is_cluster (path))
    return asprintf (temporary, "%s.new-XXXXXX", path);
  return asprintf (temporary, "%s/sqlblock.new-XXXXXX",
                   directory ? directory : "/var/tmp");
}

char *
files_begin (const char *path, struct status *status)
{
  char *temporary;
  int fd;

  if (format_temporary (&temporary, path) == -1) {
    status_no_memory (status);
    return NULL;
  }
  fd = mkostemp (temporary, O_CLOEXEC); /* mode 0600 */
  if (fd == -1) {
    status_fail (status, errno, "creating %s: %s", path, strerror (errno));
    free (temporary);
    return NULL;
  }
  close (fd);
  return temporary;
}

void
files_discard (char *temporary)
{
  static const char *const suffixes[] = { "", "-journal", "-wal", "-shm" };
  char *name;

  for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++)
    if (asprintf (&name, "%s%s", temporary, suffixes[i]) != -1) {
      unlink (name);
      free (name);
    }
  free (temporary);
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

/* Copy the complete file TEMPORARY to where PATH is on a cluster. */
static int
publish_on_cluster (const char *temporary, const char *path,
                    struct status *status)
{
  const int fd = open (temporary, O_RDONLY | O_CLOEXEC);
  int r;

  if (fd == -1)
    return status_fail (status, errno, "creating %s: %s: %s", path, temporary,
                        strerror (errno));
  r = clustered_publish (fd, path, status);
  close (fd);
  return r == -1 ? status_prefix (status, "creating %s", path) : 0;
}

int
files_publish (const char *temporary, const char *path, struct status *status)
{
  char *directory;
  int r = -1;

  if (location_is_cluster (path))
    return publish_on_cluster (temporary, path, status);
  directory = files_directory (path);
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

/*--------------------------------------------------------------------
 * What this user may do.
 */

/* What SQLite makes beside a database that is used. */
static const char *const made_suffixes[] = { "-wal", "-shm" };

#define MADE (sizeof made_suffixes / sizeof made_suffixes[0])

/* Is this user kept from writing NAME? */
static bool
is_read_only (const char *name)
{
  return access (name, W_OK) == -1 &&
         (errno == EROFS || errno == EACCES || errno == EPERM);
}

bool
files_are_read_only (const char *path)
{
  char *log, *directory;
  bool read_only;

  if (location_is_cluster (path)) /* what can be locked can be written */
    return false;
  log = files_side (path, "-wal");
  directory = log ? files_directory (log) : NULL;
  read_only = directory && (is_read_only (path) || is_read_only (directory));
  free (directory);
  free (log);
  return read_only;
}

bool
files_would_be_in_the_way (const char *path)
{
  struct stat st;
  bool would = false;

  if (location_is_cluster (path) || stat (path, &st) == -1 ||
      st.st_uid == geteuid () || !is_read_only (path))
    return false;
  for (size_t i = 0; i < MADE; i++) {
    char *name = files_side (path, made_suffixes[i]);

    would = would || (name && access (name, F_OK) == -1);
    free (name);
  }
  return would;
}

void
files_explain (const char *path, struct status *status)
{
  if (location_is_cluster (path) || is_read_only (path))
    return;
  for (size_t i = 0; i < MADE; i++) {
    char *name = files_side (path, made_suffixes[i]);
    struct stat st;

    if (name && is_read_only (name) && stat (name, &st) == 0)
      status_fail (status, EIO,
                   "%s belongs to the user %lu, and this one may not write "
                   "it: give it the owner and the mode of the database "
                   "(chown, chmod), while no program has that open",
                   name, (unsigned long)st.st_uid);
    free (name);
  }
}
