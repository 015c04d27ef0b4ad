/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Walking over a disk: see copy.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "copy.h"
#include "tool.h"

/* The extents of a part of a disk. */
struct extents {
  struct extent {
    uint64_t offset, count; /* bytes */
    bool hole;
  } * list;
  size_t count, room;
};

/* Remember an extent.  What is done with it waits for the end of the
 * transaction in which it was found.
 */
static int
remember (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  struct extents *extents = opaque;

  if (extents->count == extents->room) {
    extents->room = extents->room ? 2 * extents->room : 1024;
    extents->list =
        tool_realloc (extents->list, extents->room * sizeof *extents->list);
  }
  extents->list[extents->count++] =
      (struct extent){ .offset = offset, .count = count, .hole = hole };
  return 0;
}

int
copy_data (struct disk *disk, uint64_t offset, uint64_t count, copy_taken take,
           void *opaque, struct status *status)
{
  static char *buffer;
  struct stream_range piece = { .offset = offset };
  int r = 0;

  if (buffer == NULL)
    buffer = tool_alloc (COPY_PIECE);
  piece.data = buffer;
  for (; r == 0 && count > 0; count -= piece.count) {
    piece.count = count < COPY_PIECE ? count : COPY_PIECE;
    r = disk_read (disk, buffer, piece.offset, piece.count, status);
    if (r == 0)
      r = take (&piece, opaque, status);
    piece.offset += piece.count;
  }
  return r;
}

/* Give on what was remembered. */
static int
copy_extents (struct disk *disk, const struct extents *extents, copy_taken take,
              void *opaque, struct status *status)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < extents->count; i++) {
    const struct extent *extent = &extents->list[i];
    const struct stream_range zeroes = { .offset = extent->offset,
                                         .count = extent->count };

    r = extent->hole ? take (&zeroes, opaque, status)
                     : copy_data (disk, extent->offset, extent->count, take,
                                  opaque, status);
  }
  return r;
}

int
copy_disk (struct disk *disk, copy_taken take, void *opaque,
           struct status *status)
{
  return copy_rest (disk, 0, take, opaque, status);
}

int
copy_rest (struct disk *disk, uint64_t offset, copy_taken take, void *opaque,
           struct status *status)
{
  const uint64_t size = disk_get_info (disk)->size;
  struct extents extents = { 0 };
  int r = 0;

  while (r == 0 && offset < size) {
    extents.count = 0;
    r = disk_extents (disk, offset, size - offset, false, remember, &extents,
                      status);
    if (r == 0)
      r = copy_extents (disk, &extents, take, opaque, status);
    if (r == 0) {
      const struct extent *last = &extents.list[extents.count - 1];

      offset = last->offset + last->count;
    }
  }
  free (extents.list);
  return r;
}

void
copy_free_space (struct store *store)
{
  char text[TOOL_SIZE_MAX];
  struct manage_file file;
  struct status status;
  uint64_t freed = 0;
  int r;

  if (tool_interrupted () || manage_file (store, &file, &status) == -1 ||
      file.reclaimable == 0)
    return;
  tool_progress_begin ("freeing space");
  r = manage_reclaim (store, tool_progress, NULL, &freed, &status);
  tool_progress_end (r);
  if (freed > 0)
    tool_say ("freed %s", tool_amount (freed, text));
  if (r == -1 && status.error != EBUSY)
    tool_leave_rest ("not all of the space that nobody needs is free", &status);
}

uint64_t
copy_free_pages (struct store *store)
{
  struct manage_file file;
  struct status ignored;

  return manage_file (store, &file, &ignored) == 0 ? file.free : UINT64_MAX;
}

void
copy_give_back (struct store *store, uint64_t before)
{
  struct status status;
  int r;

  copy_free_space (store);
  if (tool_interrupted ())
    return;
  tool_progress_begin ("giving pages back");
  r = manage_shrink_file (store, before, tool_progress, NULL, &status);
  tool_progress_end (r);
  if (r == -1)
    tool_fail (&status);
}

int
copy_end (struct store *store, uint64_t before, int r,
          const struct status *status)
{
  const int code = r == -1 ? tool_fail (status) : TOOL_DONE;

  if (code != TOOL_DONE && status->error == ENOSPC)
    copy_give_back (store, before);
  else
    copy_free_space (store);
  return code;
}
