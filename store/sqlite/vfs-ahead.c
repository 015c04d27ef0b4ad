/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A VFS that reads several pages of the database at once: see vfs-ahead.h. */

#include <config.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite/page.h"
#include "sqlite/vfs-ahead.h"
#include "sqlite/vfs-pass.h"

/* So far from the last page the next one may be, in pages.  Rows of 4 KiB in
 * pages of 4 KiB: a leaf has eight or nine, each of which has an overflow
 * page beside it.
 */
#define NEAR 12

/* So many pages must have been of use before there is a window. */
#define USED_LEAST 4

/* The locks of the log's index: those of the read marks come last. */
#define LOCK_READ_MARKS 3

struct window {
  unsigned char *buffer; /* NULL: not used yet */
  int64_t first;
  int count; /* pages; 0: it is empty */
};

/* An open database, followed in memory by the file of the VFS below. */
struct ahead_file {
  struct pass_file pass;
  bool immutable;
  bool reading; /* holds the lock of a read mark */

  /* The pages that are read in order, by numbers from 0. */
  int page_size; /* 0: none yet */
  int64_t last;
  bool strayed;      /* one from elsewhere came after the last */
  int64_t low, high; /* of all, with the windows */
  int used;          /* since the last window was read, with those of it */

  /* The last one, and the one before: what is left of that is asked for when
   * the leaf before it has been.
   */
  struct window windows[2];
  int latest;
};

static sqlite3_vfs *vfs_below;
static sqlite3_vfs vfs;
static sqlite3_io_methods methods; /* ours */

/* Forget what was read, and that it was in order. */
static void
forget (struct ahead_file *ahead)
{
  ahead->page_size = 0;
  ahead->windows[0].count = 0;
  ahead->windows[1].count = 0;
}

static int
read_below (struct ahead_file *ahead, void *data, int count, int64_t offset)
{
  sqlite3_file *below = ahead->pass.below;

  return below->pMethods->xRead (below, data, count, offset);
}

static bool
has (const struct window *window, int64_t page)
{
  return page >= window->first && page < window->first + window->count;
}

/* The window that has PAGE, or NULL. */
static const struct window *
find (const struct ahead_file *ahead, int64_t page)
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
is_in_order (struct ahead_file *ahead, int page_size, int64_t page)
{
  if (page_size == ahead->page_size && llabs (page - ahead->last) <= NEAR)
    return true;
  if (page_size == ahead->page_size && !ahead->strayed) {
    ahead->strayed = true;
    return false;
  }
  forget (ahead);
  ahead->page_size = page_size;
  ahead->low = ahead->high = page;
  ahead->used = 0;
  return true;
}

/* The pages from FIRST on, COUNT of them, replace the older window. */
static const struct window *
read_window (struct ahead_file *ahead, int64_t first, int count)
{
  struct window *window = &ahead->windows[1 - ahead->latest];

  ahead->used = 0;
  window->count = 0;
  if (window->buffer == NULL)
    window->buffer = malloc (VFS_AHEAD_MOST);
  if (window->buffer == NULL ||
      read_below (ahead, window->buffer, count * ahead->page_size,
                  first * ahead->page_size) != SQLITE_OK)
    return NULL;
  window->first = first;
  window->count = count;
  ahead->latest = 1 - ahead->latest;
  return window;
}

/* Read PAGE with those beyond it, if it is time for that. */
static const struct window *
fill (struct ahead_file *ahead, int64_t page)
{
  const int most = VFS_AHEAD_MOST / ahead->page_size;
  const int count = 2 * ahead->used < most ? 2 * ahead->used : most;
  const int64_t low = ahead->low, high = ahead->high;
  const struct window *window = NULL;

  if (ahead->used < USED_LEAST || count < 2)
    return NULL;
  if (page > high && page <= high + count)
    window = read_window (ahead, high + 1, count);
  else if (page < low && page >= low - count && low >= count)
    window = read_window (ahead, low - count, count);
  if (window) {
    ahead->low = window->first < low ? window->first : low;
    ahead->high = page > high ? high + count : high;
  }
  return window;
}

/* Read a page, of SIZE bytes. */
static int
read_page (struct ahead_file *ahead, void *data, int size, int64_t page)
{
  const struct window *window =
      size == ahead->page_size ? find (ahead, page) : NULL;
  int rc = SQLITE_OK;

  if (window == NULL) {
    if (!is_in_order (ahead, size, page))
      return read_below (ahead, data, size, page * size);
    window = fill (ahead, page);
  }
  if (window)
    memcpy (data, window->buffer + (page - window->first) * size, size);
  else {
    ahead->low = page < ahead->low ? page : ahead->low;
    ahead->high = page > ahead->high ? page : ahead->high;
    rc = read_below (ahead, data, size, page * size);
  }
  ahead->last = page;
  ahead->strayed = false;
  ahead->used++;
  return rc;
}

static int
ahead_read (sqlite3_file *file, void *data, int count, sqlite3_int64 offset)
{
  struct ahead_file *ahead = (struct ahead_file *)file;

  return (ahead->reading || ahead->immutable) && page_is_size (count) &&
                 offset % count == 0
             ? read_page (ahead, data, count, offset / count)
             : read_below (ahead, data, count, offset);
}

static int
ahead_close (sqlite3_file *file)
{
  struct ahead_file *ahead = (struct ahead_file *)file;

  free (ahead->windows[0].buffer);
  free (ahead->windows[1].buffer);
  return pass_close (file);
}

static int
ahead_shm_lock (sqlite3_file *file, int offset, int count, int flags)
{
  struct ahead_file *ahead = (struct ahead_file *)file;
  const int rc = pass_shm_lock (file, offset, count, flags);

  forget (ahead);
  if (offset >= LOCK_READ_MARKS && flags & SQLITE_SHM_UNLOCK)
    ahead->reading = false;
  if (offset >= LOCK_READ_MARKS && rc == SQLITE_OK &&
      flags == (SQLITE_SHM_LOCK | SQLITE_SHM_SHARED))
    ahead->reading = true;
  return rc;
}

static int
ahead_file_control (sqlite3_file *file, int operation, void *argument)
{
  if (operation != VFS_AHEAD_FORGET)
    return pass_file_control (file, operation, argument);
  forget ((struct ahead_file *)file);
  return SQLITE_OK;
}

/* A database that is only read gets our methods; any other file is the one
 * of the VFS below.
 */
static int
open_file (sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags,
           int *out_flags)
{
  struct ahead_file *ahead = (struct ahead_file *)file;

  (void)self;
  if (!(flags & SQLITE_OPEN_MAIN_DB) || !(flags & SQLITE_OPEN_READONLY))
    return vfs_below->xOpen (vfs_below, name, file, flags, out_flags);
  *ahead = (struct ahead_file){
    .immutable = sqlite3_uri_boolean (name, "immutable", 0),
  };
  return pass_open (vfs_below, name, &ahead->pass, sizeof *ahead, &methods,
                    flags, out_flags);
}

int
vfs_ahead_register (const char *below_it)
{
  methods = pass_methods;
  methods.xClose = ahead_close;
  methods.xRead = ahead_read;
  methods.xFileControl = ahead_file_control;
  methods.xShmLock = ahead_shm_lock;
  vfs_below = sqlite3_vfs_find (below_it);
  return pass_register (&vfs, vfs_below, VFS_AHEAD_NAME,
                        sizeof (struct ahead_file), open_file);
}
