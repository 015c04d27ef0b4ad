/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Increments that come from elsewhere: see increment.h.
 *
 * In files an increment is FILE, of the size of the disk, with the bytes that
 * have changed in their places, and FILE.map, which an NBD client writes when
 * the bytes are there:
 *
 *   changes of web@monday/6f1a...70..tuesday/9e3b...e0/1795977656
 *            0       36864    1  hole
 *        36864        8192    0  data
 *        45056     2052096    1  hole
 *
 * That is the description of the export, and below it what "nbdinfo --map"
 * prints: offset, length and flags of each extent, without a gap.  The last one
 * must end where FILE does, so a map that was cut off is refused.
 *
 * The bytes have no checksums on this way; those of NBD's transport (TLS) and
 * of the file system must do.  Which snapshots it is between is told by guids,
 * so it cannot go to another disk, or be left out of a chain.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/count.h"
#include "base/sane.h"
#include "copy.h"
#include "increment.h"
#include "nbd-export.h"
#include "tool.h"

struct extent {
  uint64_t offset, count; /* bytes */
  uint32_t flags;
};

struct increment_source {
  const char *name;
  struct increment_ends ends;
  uint64_t size;       /* bytes */
  uint32_t block_size; /* of the disk; 0: not known */
  uint64_t next;       /* where the next extent begins, in bytes */

  struct nbd_export *remote; /* or NULL: then a file, and its map */
  int fd;
  FILE *map;
  char *map_name;
  char *line; /* of the map */
  size_t line_room;

  /* What the server has told last, and how much of it was used. */
  struct extent *list;
  size_t count, room, used;
};

/*--------------------------------------------------------------------
 * Opening.
 */

static int
fail_errno (const char *doing, const char *path, struct status *status)
{
  return status_fail (status, errno, "%s %s: %s", doing, path,
                      strerror (errno));
}

/* Take what an increment says that it is. */
static int
take_description (struct increment_source *source, const char *text,
                  const char *where, struct status *status)
{
  if (increment_parse (text, &source->ends))
    return 0;
  return status_fail (status, EINVAL,
                      "%s is no increment: %s does not say between which "
                      "snapshots it is; make it from an export DISK@A..B",
                      source->name, where);
}

static int
open_remote (struct increment_source *source, unsigned patience,
             struct status *status)
{
  source->remote = nbd_export_open (source->name, patience, status);
  if (source->remote == NULL)
    return -1;
  if (!source->remote->tells_extents)
    return status_fail (status, ENOTSUP,
                        "%s: the server does not tell what is stored",
                        source->name);
  source->size = source->remote->size;
  if (sane_block_size (source->remote->block_size))
    source->block_size = source->remote->block_size;
  return take_description (source, source->remote->description,
                           "the export's description", status);
}

/* Read a line of the map, without its end.  Returns 1, 0 at the end, -1. */
static int
read_line (struct increment_source *source, struct status *status)
{
  ssize_t length;

  errno = 0;
  length = getline (&source->line, &source->line_room, source->map);
  if (length == -1)
    return errno ? fail_errno ("reading", source->map_name, status) : 0;
  if (source->line[length - 1] != '\n')
    return status_fail (status, EINVAL, "%s is cut off in its last line",
                        source->map_name);
  source->line[length - 1] = '\0';
  return 1;
}

/* Open a file, without waiting as for a pipe, and note its size. */
static int
open_regular (const char *name, uint64_t *size, struct status *status)
{
  const int fd = open (name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  struct stat st;

  if (fd == -1 || fstat (fd, &st) == -1)
    fail_errno ("opening", name, status);
  else if (S_ISREG (st.st_mode)) {
    *size = st.st_size;
    return fd;
  }
  else
    status_fail (status, EINVAL, "%s is no regular file", name);
  if (fd != -1)
    close (fd);
  return -1;
}

static int
open_files (struct increment_source *source, struct status *status)
{
  uint64_t map_size;
  int fd, r;

  source->fd = open_regular (source->name, &source->size, status);
  if (source->fd == -1)
    return -1;
  source->map_name = tool_format ("%s.map", source->name);
  fd = open_regular (source->map_name, &map_size, status);
  if (fd == -1)
    return status_prefix (status, "%s has no map of what changed beside it",
                          source->name);
  source->map = fdopen (fd, "r");
  if (source->map == NULL) {
    close (fd);
    return status_no_memory (status);
  }
  r = read_line (source, status);
  return r == -1 ? -1
                 : take_description (source, r == 1 ? source->line : "",
                                     "the first line of its map", status);
}

struct increment_source *
increment_source_open (const char *name, unsigned patience,
                       struct status *status)
{
  struct increment_source *source = tool_alloc (sizeof *source);
  int r;

  source->name = name;
  source->fd = -1;
  r = nbd_export_is_uri (name) ? open_remote (source, patience, status)
                               : open_files (source, status);
  if (r == 0)
    return source;
  increment_source_close (source);
  return NULL;
}

void
increment_source_close (struct increment_source *source)
{
  if (source->remote)
    nbd_export_close (source->remote);
  if (source->fd != -1)
    close (source->fd);
  if (source->map)
    fclose (source->map);
  free (source->map_name);
  free (source->line);
  free (source->list);
  free (source);
}

const struct increment_ends *
increment_source_ends (const struct increment_source *source)
{
  return &source->ends;
}

bool
increment_source_is_of (const struct increment_source *source, const char *path)
{
  return source->fd != -1 && store_has_descriptor (path, source->fd);
}

/*--------------------------------------------------------------------
 * Reading.
 */

static int
remember (uint64_t offset, uint64_t count, uint32_t flags, void *opaque)
{
  struct increment_source *source = opaque;

  if (source->count == source->room) {
    source->room = source->room ? 2 * source->room : 1024;
    source->list =
        tool_realloc (source->list, source->room * sizeof *source->list);
  }
  source->list[source->count++] =
      (struct extent){ .offset = offset, .count = count, .flags = flags };
  return 0;
}

/* The next extent that the server tells. */
static int
next_of_remote (struct increment_source *source, struct extent *extent,
                struct status *status)
{
  if (source->next == source->size)
    return 0;
  if (source->used == source->count) {
    source->used = source->count = 0;
    if (nbd_export_extents (source->remote, source->next,
                            source->size - source->next, remember, source,
                            status) == -1)
      return status_prefix (status, "%s", source->name);
  }
  *extent = source->list[source->used++];
  return 1;
}

/* The next one of the map; what stands behind its numbers is for people. */
static int
next_of_map (struct increment_source *source, struct extent *extent,
             struct status *status)
{
  const int r = read_line (source, status);

  if (r != 1)
    return r;
  if (sscanf (source->line, " %20" SCNu64 " %20" SCNu64 " %9" SCNu32,
              &extent->offset, &extent->count, &extent->flags) == 3 &&
      strchr (source->line, '-') == NULL)
    return 1;
  return status_fail (status, EINVAL, "%s: '%.80s' is no extent",
                      source->map_name, source->line);
}

/* Go on to the next extent.  Returns 1, 0 at the end of the disk, -1. */
static int
next_extent (struct increment_source *source, struct extent *extent,
             struct status *status)
{
  const int r = source->remote ? next_of_remote (source, extent, status)
                               : next_of_map (source, extent, status);
  const uint64_t left = source->size - source->next;

  if (r == 0 && left > 0)
    return status_fail (status, EINVAL,
                        "%s ends at byte %" PRIu64 ", but %s has %s",
                        source->map_name, source->next, source->name,
                        COUNT (source->size, "byte"));
  if (r != 1)
    return r;
  if (extent->offset != source->next || extent->count == 0 ||
      extent->count > left ||
      extent->flags > (NBD_EXPORT_HOLE | NBD_EXPORT_ZERO))
    return status_fail (status, EINVAL,
                        "%s: what it says of %" PRIu64
                        " bytes at offset %" PRIu64 " makes no sense",
                        source->remote ? source->name : source->map_name,
                        extent->count, extent->offset);
  source->next += extent->count;
  return 1;
}

/* Fill BUFFER with COUNT bytes at byte OFFSET. */
static int
read_bytes (struct increment_source *source, char *buffer, uint64_t offset,
            uint64_t count, struct status *status)
{
  ssize_t n;

  if (source->remote)
    return nbd_export_read (source->remote, buffer, offset, count, status) == -1
               ? status_prefix (status, "%s", source->name)
               : 0;
  for (; count > 0; buffer += n, offset += n, count -= n) {
    n = pread (source->fd, buffer, count, offset);
    if (n == 0)
      return status_fail (status, EIO, "%s became shorter while it was read",
                          source->name);
    if (n == -1)
      return fail_errno ("reading", source->name, status);
  }
  return 0;
}

/*--------------------------------------------------------------------
 * Applying.
 */

/* Copy COUNT bytes at OFFSET to DISK. */
static int
copy_bytes (struct increment_source *source, struct disk *disk, uint64_t offset,
            uint64_t count, struct status *status)
{
  static char *buffer;
  uint64_t piece;
  int r = 0;

  if (buffer == NULL)
    buffer = tool_alloc (COPY_PIECE);
  for (; r == 0 && count > 0; offset += piece, count -= piece) {
    piece = count < COPY_PIECE ? count : COPY_PIECE;
    r = progress_report (tool_progress, offset, source->size, NULL, status);
    if (r == 0)
      r = read_bytes (source, buffer, offset, piece, status);
    if (r == 0)
      r = disk_fill (disk, buffer, offset, piece, status);
  }
  return r;
}

/* Have DISK, which is as the increment begins, become what it ends with.  A new
 * one is zeroes.
 */
static int
copy_changes (struct increment_source *source, struct disk *disk,
              struct status *status)
{
  const bool is_new = source->ends.from_guid == 0;
  struct extent extent;
  int r;

  while ((r = next_extent (source, &extent, status)) == 1) {
    if (progress_report (tool_progress, extent.offset, source->size, NULL,
                         status) == -1)
      return -1;
    r = 0;
    if (extent.flags & NBD_EXPORT_ZERO)
      r = is_new ? 0
                 : disk_zero (disk, extent.offset, extent.count, false, status);
    else if (is_new || !(extent.flags & NBD_EXPORT_HOLE))
      r = copy_bytes (source, disk, extent.offset, extent.count, status);
    if (r == -1)
      return -1;
  }
  return r;
}

/* Does DISK have a snapshot of that guid?  Returns non-zero at the first. */
struct search {
  int64_t guid;
  bool found;
};

static int
compare_guid (const struct snapshot_info *info, void *opaque)
{
  struct search *search = opaque;

  search->found = info->guid == search->guid;
  return search->found;
}

/* The disk must have the snapshot with which the increment begins.  That it
 * stands there, manage_receive finds out.
 */
static int
check_beginning (struct store *store, const struct increment_source *source,
                 struct manage_incoming *incoming, struct status *status)
{
  struct search search = { .guid = source->ends.from_guid };
  struct disk_info info;

  if (store_find (store, incoming->disk, &info, status) == -1 ||
      manage_list_snapshots (store, incoming->disk, compare_guid, &search,
                             status) == -1)
    return -1;
  incoming->block_size = info.block_size;
  if (search.found)
    return 0;
  return status_fail (status, EINVAL,
                      "disk '%s' does not have the snapshot '%s' with which "
                      "%s begins (guid %016" PRIx64 "); import what leads to "
                      "that first, beginning with an increment DISK@..A",
                      incoming->disk, source->ends.from, source->name,
                      (uint64_t)source->ends.from_guid);
}

int
increment_apply (struct store *store, struct increment_source *source,
                 struct manage_incoming *incoming, struct status *status)
{
  const struct increment_ends *ends = &source->ends;
  struct disk *disk;

  if (source->size == 0)
    return status_fail (status, EINVAL,
                        "%s is empty: an increment is as large as the disk",
                        source->name);
  incoming->size = source->size;
  incoming->guid = ends->to_guid;
  incoming->created = ends->created;
  incoming->snapshot = ends->to_guid ? ends->to : NULL;
  incoming->base_guid = ends->from_guid;
  incoming->base = ends->from_guid ? ends->from : NULL;
  if (incoming->block_size == 0)
    incoming->block_size = source->block_size;
  if (ends->from_guid &&
      check_beginning (store, source, incoming, status) == -1)
    return -1;
  disk = manage_receive (store, incoming, status);
  if (disk == NULL)
    return -1;
  if (copy_changes (source, disk, status) == 0)
    return manage_receive_end (store, disk, incoming, status);
  manage_receive_cancel (store, disk);
  return -1;
}
