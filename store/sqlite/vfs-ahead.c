/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Reading several pages of the database at once: see vfs-ahead.h. */

#include <config.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite/page.h"
#include "sqlite/vfs-ahead.h"
#include "sqlite/vfs-file.h"

/* The next page is at most this far from the last one, in pages.  Rows of 4 KiB
 * in pages of 4 KiB: a leaf has eight or nine, each of which has an overflow
 * page beside it.
 */
#define NEAR 12

/* At least this many pages must have been of use before there is a window. */
#define USED_LEAST 4

void
vfs_ahead_forget (struct vfs_file *file)
{
  struct vfs_ahead *ahead = &file->ahead;

  ahead->page_size = 0;
  ahead->windows[0].count = 0;
  ahead->windows[1].count = 0;
}

static bool
has (const struct vfs_ahead_window *window, int64_t page)
{
  return page >= window->first && page < window->first + window->count;
}

/* The window that has PAGE, or NULL. */
static const struct vfs_ahead_window *
find (const struct vfs_ahead *ahead, int64_t page)
{
  for (int i = 0; i < 2; i++)
    if (has (&ahead->windows[i], page))
      return &ahead->windows[i];
  return NULL;
}

/* Is PAGE, which is not in a window, one of those in order, or the first of
 * others?
 */
static bool
is_in_order (struct vfs_file *file, int page_size, int64_t page)
{
  struct vfs_ahead *ahead = &file->ahead;

  if (page_size == ahead->page_size && llabs (page - ahead->last) <= NEAR)
    return true;
  if (page_size == ahead->page_size && !ahead->strayed) {
    ahead->strayed = true;
    return false;
  }
  vfs_ahead_forget (file);
  ahead->page_size = page_size;
  ahead->low = ahead->high = page;
  ahead->used = 0;
  return true;
}

/* The pages from FIRST on, COUNT of them, replace the older window. */
static const struct vfs_ahead_window *
read_window (struct vfs_file *file, int64_t first, int count)
{
  struct vfs_ahead *ahead = &file->ahead;
  struct vfs_ahead_window *window = &ahead->windows[1 - ahead->latest];

  ahead->used = 0;
  window->count = 0;
  if (window->buffer == NULL)
    window->buffer = malloc (VFS_AHEAD_MOST);
  if (window->buffer == NULL ||
      below_read (&file->base, window->buffer, count * ahead->page_size,
                  first * ahead->page_size) != SQLITE_OK)
    return NULL;
  window->first = first;
  window->count = count;
  ahead->latest = 1 - ahead->latest;
  return window;
}

/* Read PAGE with those beyond it, if it is time for that. */
static const struct vfs_ahead_window *
fill (struct vfs_file *file, int64_t page)
{
  struct vfs_ahead *ahead = &file->ahead;
  const int most = VFS_AHEAD_MOST / ahead->page_size;
  const int count = 2 * ahead->used < most ? 2 * ahead->used : most;
  const int64_t low = ahead->low, high = ahead->high;
  const struct vfs_ahead_window *window = NULL;

  if (ahead->used < USED_LEAST || count < 2)
    return NULL;
  if (page > high && page <= high + count)
    window = read_window (file, high + 1, count);
  else if (page < low && page >= low - count && low >= count)
    window = read_window (file, low - count, count);
  if (window) {
    ahead->low = window->first < low ? window->first : low;
    ahead->high = page > high ? high + count : high;
  }
  return window;
}

/* Read a page, of SIZE bytes. */
static int
read_page (struct vfs_file *file, void *data, int size, int64_t page)
{
  struct vfs_ahead *ahead = &file->ahead;
  const struct vfs_ahead_window *window =
      size == ahead->page_size ? find (ahead, page) : NULL;
  int rc = SQLITE_OK;

  if (window == NULL) {
    if (!is_in_order (file, size, page))
      return below_read (&file->base, data, size, page * size);
    window = fill (file, page);
  }
  if (window)
    memcpy (data, window->buffer + (page - window->first) * size, size);
  else {
    ahead->low = page < ahead->low ? page : ahead->low;
    ahead->high = page > ahead->high ? page : ahead->high;
    rc = below_read (&file->base, data, size, page * size);
  }
  ahead->last = page;
  ahead->strayed = false;
  ahead->used++;
  return rc;
}

int
vfs_ahead_read (struct vfs_file *file, void *data, int count, int64_t offset)
{
  const struct vfs_ahead *ahead = &file->ahead;

  return (ahead->reading || ahead->immutable) && page_is_size (count) &&
                 offset % count == 0
             ? read_page (file, data, count, offset / count)
             : below_read (&file->base, data, count, offset);
}

void
vfs_ahead_open (struct vfs_file *file, const char *name, int flags)
{
  file->ahead.possible = flags & SQLITE_OPEN_READONLY;
  file->ahead.immutable =
      file->ahead.possible && sqlite3_uri_boolean (name, "immutable", 0);
}

void
vfs_ahead_close (struct vfs_file *file)
{
  free (file->ahead.windows[0].buffer);
  free (file->ahead.windows[1].buffer);
}

void
vfs_ahead_after_shm_lock (struct vfs_file *file, int first, int flags, int rc)
{
  struct vfs_ahead *ahead = &file->ahead;

  vfs_ahead_forget (file);
  if (first >= LOG_LOCK_READ_MARK && flags & SQLITE_SHM_UNLOCK)
    ahead->reading = false;
  if (first >= LOG_LOCK_READ_MARK && rc == SQLITE_OK && ahead->possible &&
      flags == (SQLITE_SHM_LOCK | SQLITE_SHM_SHARED))
    ahead->reading = true;
}
