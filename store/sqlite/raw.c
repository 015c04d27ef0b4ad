/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The bytes of a file of a database: see raw.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/location.h"
#include "sqlite/clustered.h"
#include "sqlite/files.h"
#include "sqlite/raw.h"

/* Open what is beside the database. */
static int
open_side (struct raw *raw, const char *path, const char *suffix,
           struct status *status)
{
  char *name = files_side (path, suffix);
  int r = 1;

  if (name == NULL)
    return status_no_memory (status);
  raw->fd = open (name, O_RDONLY | O_CLOEXEC);
  if (raw->fd == -1)
    r = errno == ENOENT
            ? 0
            : status_fail (status, errno, "%s: %s", name, strerror (errno));
  free (name);
  return r;
}

int
raw_open (struct raw *raw, const char *path, const char *suffix,
          struct status *status)
{
  *raw = (struct raw){ .fd = -1 };
  if (location_is_cluster (path))
    return clustered_open (path, suffix, false, &raw->file, status);
  if (suffix[0] != '\0')
    return open_side (raw, path, suffix, status);
  if (claim_take (&raw->claim, path, CLAIM_NONE, status) == -1)
    return -1;
  raw->fd = claim_descriptor (&raw->claim);
  return 1;
}

void
raw_close (struct raw *raw)
{
  if (raw->file)
    clustered_close (raw->file);
  else if (raw->claim.file)
    claim_release (&raw->claim);
  else if (raw->fd != -1)
    close (raw->fd);
}

/* The same as raw_read, of a cluster. */
static int64_t
read_clustered (const struct raw *raw, void *bytes, size_t count,
                int64_t offset)
{
  const int64_t rest = raw_size (raw) - offset;

  if (rest <= 0)
    return 0;
  if ((int64_t)count > rest)
    count = rest;
  if (raw->file->pMethods->xRead (raw->file, bytes, count, offset) == SQLITE_OK)
    return count;
  errno = EIO;
  return -1;
}

int64_t
raw_read (const struct raw *raw, void *bytes, size_t count, int64_t offset)
{
  size_t done = 0;
  ssize_t r = 1;

  if (raw->file)
    return read_clustered (raw, bytes, count, offset);
  while (done < count && r > 0) {
    r = pread (raw->fd, (char *)bytes + done, count - done, offset + done);
    if (r > 0)
      done += r;
  }
  return r == -1 ? -1 : (int64_t)done;
}

int64_t
raw_size (const struct raw *raw)
{
  sqlite3_int64 size = -1;
  struct stat st;

  if (raw->file)
    return raw->file->pMethods->xFileSize (raw->file, &size) == SQLITE_OK ? size
                                                                          : -1;
  return fstat (raw->fd, &st) == 0 ? st.st_size : -1;
}
