/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* One name per database: see claim.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/location.h"
#include "sqlite/claim.h"
#include "sqlite/filesystem.h"

/* Where the bytes are that stand for names. */
#define NAMES ((off_t)1 << 40)
#define READ  ((off_t)1 << 62)
#define WRITE (READ + NAMES)

/* SQLite's bytes, PENDING_BYTE and those behind it in its os.h. */
#define SQLITE_LOCKS     ((off_t)1 << 30)
#define SQLITE_LOCKS_END (SQLITE_LOCKS + 512)

/* A file that this process has open. */
struct claimed_file {
  dev_t device;
  ino_t inode;
  int fd;
  unsigned claims;
  unsigned readers, writers; /* those of them that use the log */
  off_t name;                /* by which they do */
  struct claimed_file *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct claimed_file *files;

/*--------------------------------------------------------------------
 * Names.
 */

/* The FNV-1a hash. */
static uint64_t
hash (uint64_t seed, const void *bytes, size_t count)
{
  for (const unsigned char *p = bytes; count > 0; count--, p++)
    seed = (seed ^ *p) * UINT64_C (0x100000001b3);
  return seed;
}

/* What stands for the name PATH, without symbolic links.  Returns 0, or -1 and
 * errno.
 */
static int
find_name (const char *path, off_t *name)
{
  uint64_t sum = UINT64_C (0xcbf29ce484222325);
  char *real = realpath (path, NULL);
  char *copy = real ? strdup (real) : NULL;
  struct stat st;
  int r = -1;

  if (copy && stat (dirname (copy), &st) == 0) {
    const char *base = strrchr (real, '/') + 1;

    sum = hash (sum, &st.st_dev, sizeof st.st_dev);
    sum = hash (sum, &st.st_ino, sizeof st.st_ino);
    *name = hash (sum, base, strlen (base)) % NAMES;
    r = 0;
  }
  free (copy);
  free (real);
  return r;
}

int
claim_check_name (const char *path, struct status *status)
{
  if (location_is_cluster (path)) /* it has one name, and no log by another */
    return 0;
  if (filesystem_has_links (path))
    return status_fail (
        status, EROFS,
        "%s has several names (hard links), and with each of them the "
        "database would have another write-ahead log: remove the others, or "
        "copy the file (cp) and use the copy",
        path);
  if (filesystem_is_mount_point (path))
    return status_fail (
        status, EROFS,
        "%s is mounted by itself, and its write-ahead log, which must lie "
        "beside it, would not be: mount the directory that it lies in "
        "instead, or copy the file",
        path);
  /* Who opens it says that there is no such file. */
  return filesystem_is_own (path) || access (path, F_OK) == -1
             ? 0
             : filesystem_fail_shared (path, status);
}

/*--------------------------------------------------------------------
 * Locks.
 */

/* Lock the byte at OFFSET, shared, or unlock it; -1 with errno. */
static int
lock_byte (const struct claimed_file *file, off_t offset, short type)
{
  struct flock request = {
    .l_type = type,
    .l_whence = SEEK_SET,
    .l_start = offset,
    .l_len = 1,
  };

  return fcntl (file->fd, F_OFD_SETLK, &request);
}

/* Has another one than FD any of these bytes? */
static bool
is_locked (int fd, off_t from, off_t to)
{
  struct flock request = {
    .l_type = F_WRLCK,
    .l_whence = SEEK_SET,
    .l_start = from,
    .l_len = to - from,
  };

  /* A length of 0 would mean all that follows. */
  return from < to && fcntl (fd, F_OFD_GETLK, &request) == 0 &&
         request.l_type != F_UNLCK;
}

/* Has anybody the byte of another name than NAME, of those that begin at
 * FIRST?
 */
static bool
has_other (const struct claimed_file *file, off_t first, off_t name)
{
  return is_locked (file->fd, first, first + name) ||
         is_locked (file->fd, first + name + 1, first + NAMES);
}

/*--------------------------------------------------------------------
 * The files of this process.  All this is called with the lock held.
 */

/* A descriptor of the file that FD, one of O_PATH, is of; -1 with errno. */
static int
open_again (int fd, const char *path)
{
  char name[40];
  int again;

  snprintf (name, sizeof name, "/proc/self/fd/%d", fd);
  again = open (name, O_RDONLY | O_CLOEXEC);
  return again == -1 && errno == ENOENT ? open (path, O_RDONLY | O_CLOEXEC)
                                        : again;
}

/* Add the file that FD is of.  Returns NULL and errno on failure. */
static struct claimed_file *
add_file (int fd, const struct stat *st, const char *path)
{
  struct claimed_file *file = calloc (1, sizeof *file);

  if (file == NULL)
    return NULL;
  *file = (struct claimed_file){
    .device = st->st_dev,
    .inode = st->st_ino,
    .fd = open_again (fd, path),
    .next = files,
  };
  if (file->fd == -1) {
    free (file);
    return NULL;
  }
  files = file;
  return file;
}

/* The file PATH, or NULL and errno. */
static struct claimed_file *
find_file (const char *path)
{
  struct claimed_file *file = NULL;
  const int fd = open (path, O_PATH | O_CLOEXEC);
  struct stat st;

  if (fd == -1)
    return NULL;
  if (fstat (fd, &st) == 0) {
    file = files;
    while (file && (file->device != st.st_dev || file->inode != st.st_ino))
      file = file->next;
    if (file == NULL)
      file = add_file (fd, &st, path);
  }
  close (fd);
  return file;
}

/* Count one claim less, and let go of what it was the last to need. */
static void
drop (struct claimed_file *file, enum claim_kind kind)
{
  struct claimed_file **link = &files;

  if (kind == CLAIM_WRITE && --file->writers == 0)
    lock_byte (file, WRITE + file->name, F_UNLCK);
  if (kind != CLAIM_NONE && --file->readers == 0)
    lock_byte (file, READ + file->name, F_UNLCK);
  if (--file->claims > 0)
    return;
  while (*link != file)
    link = &(*link)->next;
  *link = file->next;
  close (file->fd);
  free (file);
}

/* Count one claim more, and lock what it is the first to need.  Returns 0, or
 * -1 and errno with nothing counted.
 */
static int
add (struct claimed_file *file, enum claim_kind kind, off_t name)
{
  if (kind != CLAIM_NONE && file->readers == 0) {
    file->name = name;
    if (lock_byte (file, READ + name, F_RDLCK) == -1)
      return -1;
  }
  if (kind == CLAIM_WRITE && file->writers == 0 &&
      lock_byte (file, WRITE + name, F_RDLCK) == -1) {
    if (file->readers == 0)
      lock_byte (file, READ + name, F_UNLCK);
    return -1;
  }
  file->claims++;
  file->readers += kind != CLAIM_NONE;
  file->writers += kind == CLAIM_WRITE;
  return 0;
}

/*--------------------------------------------------------------------
 * Claims.
 */

static int
fail_in_use (const char *path, struct status *status)
{
  return status_fail (status, EBUSY,
                      "%s is in use under another name (it was renamed, or "
                      "linked, or is mounted elsewhere): use it by that "
                      "name, or end the programs that do",
                      path);
}

static int
fail_locking (const char *path, struct status *status)
{
  return status_fail (status, EIO,
                      "locking %s: %s; its file system must have locks: use "
                      "a local one such as ext4",
                      path, strerror (errno));
}

static int
fail_opening (const char *path, struct status *status)
{
  if (errno == ENOMEM)
    return status_no_memory (status);
  return status_fail (status, EIO,
                      "opening %s: %s; check that it exists and that this "
                      "user may read it and its directory",
                      path, strerror (errno));
}

/* Claim FILE for who uses the log.  Called with the lock held. */
static int
claim_log (struct claimed_file *file, const struct claim *claim,
           const char *path, struct status *status)
{
  /* It may be another name in this process: then nothing is locked. */
  if (file->readers > 0 && file->name != claim->name)
    return fail_in_use (path, status);
  if (add (file, claim->kind, claim->name) == -1)
    return fail_locking (path, status);
  if (!has_other (file, WRITE, claim->name) &&
      (claim->kind == CLAIM_READ || !has_other (file, READ, claim->name)))
    return 0;
  drop (file, claim->kind);
  return fail_in_use (path, status);
}

int
claim_take (struct claim *claim, const char *path, enum claim_kind kind,
            struct status *status)
{
  struct claimed_file *file;
  int r = 0;

  *claim = (struct claim){ .kind = kind };
  if (location_is_cluster (path)) /* this process has it alone (process.h) */
    return 0;
  if (kind != CLAIM_NONE && claim_check_name (path, status) == -1)
    return -1;
  if (find_name (path, &claim->name) == -1)
    return fail_opening (path, status);
  pthread_mutex_lock (&lock);
  file = find_file (path);
  if (file == NULL)
    r = fail_opening (path, status);
  else {
    file->claims++; /* for CLAIM_NONE, or while the others look */
    if (kind != CLAIM_NONE) {
      r = claim_log (file, claim, path, status);
      drop (file, CLAIM_NONE);
    }
  }
  pthread_mutex_unlock (&lock);
  if (r == 0)
    claim->file = file;
  return r;
}

void
claim_release (struct claim *claim)
{
  if (claim->file == NULL)
    return;
  pthread_mutex_lock (&lock);
  drop (claim->file, claim->kind);
  pthread_mutex_unlock (&lock);
  claim->file = NULL;
}

int
claim_descriptor (const struct claim *claim)
{
  return claim->file->fd;
}

bool
claim_is_written_elsewhere (const struct claim *claim)
{
  return has_other (claim->file, WRITE, claim->name);
}

bool
claim_is_written (int fd)
{
  return is_locked (fd, WRITE, WRITE + NAMES);
}

bool
claim_is_used (int fd)
{
  return is_locked (fd, SQLITE_LOCKS, SQLITE_LOCKS_END) ||
         is_locked (fd, READ, READ + NAMES);
}

int
claim_ask (const char *path, bool (*ask) (int fd), struct status *status)
{
  struct claim claim;
  bool answer;

  if (claim_take (&claim, path, CLAIM_NONE, status) == -1)
    return -1;
  answer = claim.file && ask (claim_descriptor (&claim));
  claim_release (&claim);
  return answer;
}
