/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Gathering the appends to the log: see vfs-gather.h. */

#include <config.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "sqlite/log-format.h"
#include "sqlite/vfs-file.h"
#include "sqlite/vfs-gather.h"
#include "sqlite/vfs-room.h"

/* What is gathered at most; the default VFS writes no more than 128 KiB in
 * one call.
 */
#define BUFFER_SIZE 65536

/* At most this many zeroes are put behind a log that grows, and at most as many
 * bytes as it has.
 */
#define ROOM_MOST 1048576

/* If the log has just grown, put zeroes behind its end.  Where that fails,
 * the log grows with the next write, which tells of the error.
 */
static void
make_room (struct vfs_file *file)
{
  static const char zeroes[BUFFER_SIZE];
  struct vfs_gather *gather = &file->gather;
  int64_t end, count;

  if (gather->highest <= gather->size ||
      below_file_size (&file->base, &gather->size) != SQLITE_OK ||
      gather->highest != gather->size)
    return;
  end = gather->size + (gather->size < ROOM_MOST ? gather->size : ROOM_MOST);
  for (; gather->size < end; gather->size += count) {
    count = end - gather->size < BUFFER_SIZE ? end - gather->size : BUFFER_SIZE;
    if (vfs_room_write_log (file, zeroes, count, gather->size) != SQLITE_OK)
      return;
  }
}

int
vfs_gather_write_out (struct vfs_file *file)
{
  struct vfs_gather *gather = &file->gather;
  const int length = gather->length;
  int rc;

  gather->length = 0;
  if (length == 0)
    return SQLITE_OK;
  rc = vfs_room_write_log (file, gather->buffer, length, gather->start);
  if (rc == SQLITE_OK)
    make_room (file);
  return rc;
}

int
vfs_gather_before_read (struct vfs_file *file, int count, int64_t offset)
{
  const struct vfs_gather *gather = &file->gather;

  return gather->length > 0 && offset + count > gather->start
             ? vfs_gather_write_out (file)
             : SQLITE_OK;
}

int
vfs_gather_before_truncate (struct vfs_file *file, int64_t size)
{
  const int rc = vfs_gather_write_out (file);

  if (rc == SQLITE_OK && file->gather.highest > size)
    file->gather.highest = size;
  return rc;
}

/* What a write is, going by its place in the log. */
enum part { HEADER, PAGE, UNKNOWN };

static enum part
part_of (const struct vfs_file *file, int count, int64_t offset)
{
  const int64_t frame_size = FRAME_HEADER_SIZE + file->page_size;
  const int64_t place = (offset - LOG_HEADER_SIZE) % frame_size;

  if (file->page_size == 0)
    return UNKNOWN;
  if (place == 0 && count == FRAME_HEADER_SIZE)
    return HEADER;
  if (place == FRAME_HEADER_SIZE && count == file->page_size)
    return PAGE;
  return UNKNOWN;
}

/* Write at once. */
static int
write_through (struct vfs_file *file, const void *data, int count,
               int64_t offset)
{
  struct vfs_gather *gather = &file->gather;
  int rc = vfs_gather_write_out (file);

  if (rc == SQLITE_OK)
    rc = vfs_room_write_log (file, data, count, offset);
  if (rc == SQLITE_OK && gather->highest < offset + count)
    gather->highest = offset + count;
  return rc;
}

/* Gather a pure append; write it all when PART ends a transaction. */
static int
append (struct vfs_file *file, const void *data, int count, int64_t offset,
        enum part part)
{
  struct vfs_gather *gather = &file->gather;

  if (gather->length == 0)
    gather->start = offset;
  memcpy (gather->buffer + gather->length, data, count);
  gather->length += count;
  gather->highest = offset + count;
  if (part == PAGE && gather->commits)
    return vfs_gather_write_out (file);
  return SQLITE_OK;
}

int
vfs_gather_on_write (struct vfs_file *file, const void *data, int count,
                     int64_t offset)
{
  struct vfs_gather *gather = &file->gather;
  const enum part part = part_of (file, count, offset);
  int rc;

  if (offset == 0) { /* the log starts over with a new header */
    gather->highest = gather->size = 0;
    return write_through (file, data, count, offset);
  }
  if (part == HEADER)
    gather->commits =
        big_endian ((const unsigned char *)data + FRAME_HEADER_COMMIT) != 0;
  if (gather->length > 0 && (offset != gather->start + gather->length ||
                             gather->length + count > BUFFER_SIZE)) {
    rc = vfs_gather_write_out (file);
    if (rc != SQLITE_OK)
      return rc;
  }
  if (offset < gather->highest || count > BUFFER_SIZE || part == UNKNOWN)
    return write_through (file, data, count, offset);
  return append (file, data, count, offset, part);
}

int
vfs_gather_open (struct vfs_file *file)
{
  if (!file->database->gathers)
    return SQLITE_OK;
  file->gather.buffer = malloc (BUFFER_SIZE);
  return file->gather.buffer ? SQLITE_OK : SQLITE_NOMEM;
}

void
vfs_gather_close (struct vfs_file *file)
{
  free (file->gather.buffer);
}

void
vfs_gather_forget (sqlite3 *db)
{
  struct vfs_file *file;

  if (vfs_file_find (db, &file) != SQLITE_OK || file->log == NULL ||
      file->log->gather.length == 0)
    return;
  file->log->gather.length = 0;
  file->log->gather.highest = file->log->gather.start;
}
