/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Gathering the pages of a database that is being made: see vfs-new.h. */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "sqlite/page.h"
#include "sqlite/vfs-file.h"
#include "sqlite/vfs-new.h"

/* The default VFS writes less than 128 KiB in one call. */
#define WRITE_SIZE 65536

int
vfs_new_open (struct vfs_file *file, const char *name)
{
  if (!sqlite3_uri_boolean (name, VFS_NEW_PARAMETER, 0))
    return SQLITE_OK;
  file->new = calloc (1, sizeof *file->new);
  return file->new ? SQLITE_OK : SQLITE_NOMEM;
}

void
vfs_new_close (struct vfs_file *file)
{
  free (file->new);
}

/* What is in the window stays there until it has been written. */
int
vfs_new_write_out (struct vfs_file *file)
{
  struct vfs_new *new = file->new;
  int end, rc = SQLITE_OK;

  if (new == NULL)
    return SQLITE_OK;
  for (int i = 0; i < new->end &&rc == SQLITE_OK; i = end) {
    for (end = i; end < new->end &&new->has[end] &&
                  (end - i) * new->page_size < WRITE_SIZE;
         end++)
      ;
    if (end > i)
      rc = below_write (&file->base, new->bytes + i *new->page_size,
                        (end - i) * new->page_size,
                        new->start + (int64_t)i *new->page_size);
    else
      end++;
  }
  if (rc == SQLITE_OK) {
    memset (new->has, 0, new->end);
    new->end = 0;
  }
  return rc;
}

int
vfs_new_before_read (struct vfs_file *file, int count, int64_t offset)
{
  const struct vfs_new *new = file->new;

  return new &&new->end > 0 &&
                 offset + count > new->start &&offset <
                     new->start + (int64_t) new->end *new->page_size
             ? vfs_new_write_out (file)
             : SQLITE_OK;
}

/* Is it a page behind the window, or is that of other pages? */
static bool
moves_on (const struct vfs_new *new, int count, int64_t offset)
{
  return page_is_size (count) && offset % count == 0 &&
         (count != new->page_size || offset >= new->start + VFS_NEW_WINDOW);
}

int
vfs_new_on_write (struct vfs_file *file, const void *data, int count,
                  int64_t offset)
{
  struct vfs_new *new = file->new;
  int i, rc = SQLITE_OK;

  if (new == NULL)
    return below_write (&file->base, data, count, offset);
  if (moves_on (new, count, offset) || count != new->page_size)
    rc = vfs_new_write_out (file);
  if (rc != SQLITE_OK)
    return rc;
  if (moves_on (new, count, offset)) {
    new->page_size = count;
    new->start = offset;
  }
  if (count != new->page_size || offset < new->start)
    return below_write (&file->base, data, count, offset);
  i = (offset - new->start) / count;
  memcpy (new->bytes + i *count, data, count);
  new->has[i] = true;
  if (new->end <= i)
    new->end = i + 1;
  return SQLITE_OK;
}
