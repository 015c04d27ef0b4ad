/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A VFS that gathers the appends to the log: see vfs-gather.h. */

#include <config.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "sqlite/log-walk.h"
#include "sqlite/vfs-gather.h"
#include "sqlite/vfs-pass.h"

/* What is gathered at most; the default VFS writes no more than 128 KiB in
 * one call.
 */
#define BUFFER_SIZE 65536

/* At most this many zeroes are put behind a log that grows, and at most as many
 * bytes as it has.
 */
#define ROOM_MOST 1048576

/* An open log, followed in memory by the file of the VFS below. */
struct log_file {
  struct pass_file pass;
  int64_t highest;    /* bytes written since the log started over */
  sqlite3_int64 size; /* the file is known to have as many bytes, or was */
  int64_t start;      /* of the buffer, in the log */
  int length;         /* of what is in the buffer */
  int64_t page_size;  /* 0: not known yet */
  bool commits;       /* the last frame header says "commit" */
  unsigned char *buffer;
};

static sqlite3_vfs *vfs_below;
static sqlite3_vfs vfs;
static sqlite3_io_methods methods; /* ours */

static struct log_file *
log_of (sqlite3_file *file)
{
  return (struct log_file *)file;
}

static sqlite3_file *
below (struct log_file *log)
{
  return log->pass.below;
}

/* If the log has just grown, put zeroes behind its end.  Where that fails,
 * the log grows with the next write, which tells of the error.
 */
static void
make_room (struct log_file *log)
{
  static const char zeroes[BUFFER_SIZE];
  const sqlite3_io_methods *file = below (log)->pMethods;
  int64_t end, count;

  if (log->highest <= log->size ||
      file->xFileSize (below (log), &log->size) != SQLITE_OK ||
      log->highest != log->size)
    return;
  end = log->size + (log->size < ROOM_MOST ? log->size : ROOM_MOST);
  for (; log->size < end; log->size += count) {
    count = end - log->size < BUFFER_SIZE ? end - log->size : BUFFER_SIZE;
    if (file->xWrite (below (log), zeroes, count, log->size) != SQLITE_OK)
      return;
  }
}

/* Write what is gathered. */
static int
write_buffer (struct log_file *log)
{
  const int length = log->length;
  int rc;

  log->length = 0;
  if (length == 0)
    return SQLITE_OK;
  rc = below (log)->pMethods->xWrite (below (log), log->buffer, length,
                                      log->start);
  if (rc == SQLITE_OK)
    make_room (log);
  return rc;
}

static int
log_close (sqlite3_file *file)
{
  struct log_file *log = log_of (file);

  /* A transaction that is open now will never be committed. */
  free (log->buffer);
  return pass_close (file);
}

static int
log_read (sqlite3_file *file, void *data, int count, sqlite3_int64 offset)
{
  struct log_file *log = log_of (file);
  int rc = SQLITE_OK;

  if (log->length > 0 && offset + count > log->start)
    rc = write_buffer (log);
  if (rc == SQLITE_OK)
    rc = below (log)->pMethods->xRead (below (log), data, count, offset);
  return rc;
}

/* What a write is, going by its place in the log. */
enum part { HEADER, PAGE, UNKNOWN };

static enum part
part_of (const struct log_file *log, int count, int64_t offset)
{
  const int64_t frame_size = FRAME_HEADER_SIZE + log->page_size;
  const int64_t place = (offset - LOG_HEADER_SIZE) % frame_size;

  if (log->page_size == 0)
    return UNKNOWN;
  if (place == 0 && count == FRAME_HEADER_SIZE)
    return HEADER;
  if (place == FRAME_HEADER_SIZE && count == log->page_size)
    return PAGE;
  return UNKNOWN;
}

/* Write at once. */
static int
write_through (struct log_file *log, const void *data, int count,
               int64_t offset)
{
  int rc = write_buffer (log);

  if (rc == SQLITE_OK)
    rc = below (log)->pMethods->xWrite (below (log), data, count, offset);
  if (rc == SQLITE_OK && log->highest < offset + count)
    log->highest = offset + count;
  return rc;
}

/* The log starts over with a new header. */
static int
write_log_header (struct log_file *log, const unsigned char *data, int count)
{
  log->highest = log->size = 0;
  log->page_size = count == LOG_HEADER_SIZE ? big_endian (data + 8) : 0;
  return write_through (log, data, count, 0);
}

/* Gather a pure append; write it all when PART ends a transaction. */
static int
append (struct log_file *log, const void *data, int count, int64_t offset,
        enum part part)
{
  if (log->length == 0)
    log->start = offset;
  memcpy (log->buffer + log->length, data, count);
  log->length += count;
  log->highest = offset + count;
  if (part == PAGE && log->commits)
    return write_buffer (log);
  return SQLITE_OK;
}

static int
log_write (sqlite3_file *file, const void *data, int count,
           sqlite3_int64 offset)
{
  struct log_file *log = log_of (file);
  enum part part;
  int rc = SQLITE_OK;

  if (offset == 0)
    return write_log_header (log, data, count);
  /* Without it a commit could be taken for a transaction that goes on. */
  if (log->page_size == 0)
    rc = pass_log_page_size (&log->pass, &log->page_size);
  if (rc != SQLITE_OK)
    return rc;
  part = part_of (log, count, offset);
  if (part == HEADER)
    log->commits = big_endian ((const unsigned char *)data + 4) != 0;
  if (log->length > 0 && (offset != log->start + log->length ||
                          log->length + count > BUFFER_SIZE)) {
    rc = write_buffer (log);
    if (rc != SQLITE_OK)
      return rc;
  }
  if (offset < log->highest || count > BUFFER_SIZE || part == UNKNOWN)
    return write_through (log, data, count, offset);
  return append (log, data, count, offset, part);
}

static int
log_truncate (sqlite3_file *file, sqlite3_int64 size)
{
  struct log_file *log = log_of (file);
  const int rc = write_buffer (log);

  if (rc != SQLITE_OK)
    return rc;
  if (log->highest > size)
    log->highest = size;
  return pass_truncate (file, size);
}

static int
log_sync (sqlite3_file *file, int flags)
{
  struct log_file *log = log_of (file);
  const int rc = write_buffer (log);

  if (rc != SQLITE_OK)
    return rc;
  return pass_sync (file, flags);
}

static int
log_file_size (sqlite3_file *file, sqlite3_int64 *size)
{
  struct log_file *log = log_of (file);
  const int rc = write_buffer (log);

  if (rc != SQLITE_OK)
    return rc;
  return pass_file_size (file, size);
}

/* A log gets our methods; any other file is the one of the VFS below. */
static int
open_file (sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags,
           int *out_flags)
{
  struct log_file *log = log_of (file);
  int rc;

  (void)self;
  if (!(flags & SQLITE_OPEN_WAL))
    return vfs_below->xOpen (vfs_below, name, file, flags, out_flags);
  *log = (struct log_file){
    .buffer = malloc (BUFFER_SIZE),
  };
  if (log->buffer == NULL)
    return SQLITE_NOMEM;
  rc = pass_open (vfs_below, name, &log->pass, sizeof *log, &methods, flags,
                  out_flags);
  if (log->pass.base.pMethods == NULL)
    free (log->buffer);
  return rc;
}

int
vfs_gather_register (const char *below_it)
{
  methods = pass_methods;
  methods.iVersion = 1; /* the log has no shared memory of its own */
  methods.xClose = log_close;
  methods.xRead = log_read;
  methods.xWrite = log_write;
  methods.xTruncate = log_truncate;
  methods.xSync = log_sync;
  methods.xFileSize = log_file_size;
  vfs_below = sqlite3_vfs_find (below_it);
  return pass_register (&vfs, vfs_below, VFS_GATHER_NAME,
                        sizeof (struct log_file), open_file);
}

void
vfs_gather_forget (sqlite3 *db)
{
  sqlite3_file *file = NULL;

  if (sqlite3_file_control (db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) ==
          SQLITE_OK &&
      file && file->pMethods == &methods && log_of (file)->length > 0) {
    log_of (file)->length = 0;
    log_of (file)->highest = log_of (file)->start;
  }
}
