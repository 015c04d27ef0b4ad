/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The write-ahead log as a file: see log.h. */

#include <config.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "sqlite/log.h"
#include "sqlite/log-format.h"
#include "sqlite/page.h"

/* How much is read and written at a time, in bytes, unless one frame is
 * larger.
 */
#define PART_SIZE 65536

/* Going through the log. */
struct pass {
  sqlite3_file *file;
  sqlite3_int64 size;
  unsigned char *bytes; /* of the log, the part where the pass is */

  /* What the index knows. */
  uint32_t frames;
  uint32_t last_checksum[2];
  unsigned char salts[LOG_SALTS_SIZE];

  bool is_big_endian;
  uint32_t page_size;
  uint32_t checksum[2]; /* of what came before */
};

int
log_fail_damaged (struct status *status)
{
  status_fail (status, EIO,
               "the write-ahead log is not what was written to it: after a "
               "failed sync the storage has lost a part of it; nothing more "
               "is written: end all programs that use the database, repair "
               "the storage below it (see the kernel's log) and start the "
               "server again, which goes on from before the damage, with all "
               "that was flushed");
  status->sqlite = SQLITE_IOERR_DATA;
  return -1;
}

bool
log_is_damaged (const struct status *status)
{
  return status->sqlite == SQLITE_IOERR_DATA;
}

/*--------------------------------------------------------------------
 * Checking.
 */

static void
add_bytes (struct pass *pass, const unsigned char *bytes, size_t count)
{
  log_checksum (pass->checksum, bytes, count, pass->is_big_endian);
}

/* Is the checksum so far the one that stands at BYTES? */
static bool
is_checksum (const struct pass *pass, const unsigned char *bytes)
{
  return pass->checksum[0] == big_endian (bytes) &&
         pass->checksum[1] == big_endian (bytes + 4);
}

static bool
check_header (struct pass *pass)
{
  const unsigned char *header = pass->bytes;
  uint32_t page_size;

  pass->is_big_endian = header[3] & 1;
  page_size = pass->page_size = big_endian (header + LOG_HEADER_PAGE_SIZE);
  add_bytes (pass, header, LOG_HEADER_SUMS);
  return (big_endian (header) & ~UINT32_C (1)) == LOG_MAGIC &&
         big_endian (header + 4) == LOG_VERSION && page_is_size (page_size) &&
         memcmp (header + LOG_HEADER_SALTS, pass->salts, LOG_SALTS_SIZE) == 0 &&
         is_checksum (pass, header + LOG_HEADER_SUMS);
}

static bool
check_frame (struct pass *pass, const unsigned char *frame)
{
  add_bytes (pass, frame, 8);
  add_bytes (pass, frame + FRAME_HEADER_SIZE, pass->page_size);
  return memcmp (frame + FRAME_HEADER_SALTS, pass->salts, LOG_SALTS_SIZE) ==
             0 &&
         is_checksum (pass, frame + FRAME_HEADER_SUMS);
}

/*--------------------------------------------------------------------
 * Writing again.
 */

static int
fail (struct status *status, int rc)
{
  return status_fail_sqlite (status, NULL, rc,
                             "writing the write-ahead log again");
}

static int
read_part (struct pass *pass, sqlite3_int64 offset, int count,
           struct status *status)
{
  const int rc =
      pass->file->pMethods->xRead (pass->file, pass->bytes, count, offset);

  return rc == SQLITE_OK ? 0 : fail (status, rc);
}

/* What was checked is written from memory: by now the kernel may have
 * dropped it.
 */
static int
write_part (struct pass *pass, sqlite3_int64 offset, int count,
            struct status *status)
{
  const int rc =
      pass->file->pMethods->xWrite (pass->file, pass->bytes, count, offset);

  return rc == SQLITE_OK ? 0 : fail (status, rc);
}

/* Check and write the header and the committed frames.  Returns where they
 * end, or -1.
 */
static sqlite3_int64
rewrite_frames (struct pass *pass, struct status *status)
{
  sqlite3_int64 offset = LOG_HEADER_SIZE;
  uint32_t left = pass->frames, frame_size, count, at_once;

  if (pass->size < LOG_HEADER_SIZE)
    return log_fail_damaged (status);
  if (read_part (pass, 0, LOG_HEADER_SIZE, status) == -1)
    return -1;
  if (!check_header (pass))
    return log_fail_damaged (status);
  if (write_part (pass, 0, LOG_HEADER_SIZE, status) == -1)
    return -1;

  frame_size = FRAME_HEADER_SIZE + pass->page_size;
  if ((pass->size - offset) / frame_size < left)
    return log_fail_damaged (status);
  at_once = PART_SIZE > frame_size ? PART_SIZE / frame_size : 1;
  for (; left > 0; left -= count, offset += count * frame_size) {
    count = left < at_once ? left : at_once;
    if (read_part (pass, offset, count * frame_size, status) == -1)
      return -1;
    for (uint32_t i = 0; i < count; i++)
      if (!check_frame (pass, pass->bytes + i * frame_size))
        return log_fail_damaged (status);
    if (write_part (pass, offset, count * frame_size, status) == -1)
      return -1;
  }
  if (memcmp (pass->checksum, pass->last_checksum, sizeof pass->checksum) != 0)
    return log_fail_damaged (status);
  return offset;
}

/* Write all of the log.  What stands behind the committed frames is of an
 * earlier log, and in the database; nothing tells what it should be.
 */
static int
rewrite_all (struct pass *pass, struct status *status)
{
  sqlite3_int64 offset = pass->frames > 0 ? rewrite_frames (pass, status) : 0;
  int count, rc = SQLITE_OK;

  if (offset == -1)
    return -1;
  for (; offset < pass->size; offset += count) {
    count = pass->size - offset < PART_SIZE ? pass->size - offset : PART_SIZE;
    if (read_part (pass, offset, count, status) == -1 ||
        write_part (pass, offset, count, status) == -1)
      return -1;
  }
  if (pass->size > 0)
    rc = pass->file->pMethods->xSync (pass->file, SQLITE_SYNC_NORMAL);
  return rc == SQLITE_OK ? 0 : fail (status, rc);
}

/* Take or let go of the lock of checkpoints. */
static int
lock_checkpoints (sqlite3_file *database, int flags)
{
  return database->pMethods->xShmLock (database, LOG_LOCK_CHECKPOINT, 1,
                                       flags | SQLITE_SHM_EXCLUSIVE);
}

/* Have the next checkpoint write every frame of the log again, also those
 * that earlier ones have moved: a failed sync may have lost them.
 */
static void
forget_progress (void volatile *index)
{
  ((uint32_t volatile *)index)[LOG_INDEX_MOVED / sizeof (uint32_t)] = 0;
}

/* Begin a pass; nobody can add to the log meanwhile. */
static int
begin_pass (struct pass *pass, struct connection *connection,
            sqlite3_file *database, void volatile **index)
{
  const unsigned char *header;
  int rc = database->pMethods->xShmMap (database, 0, LOG_INDEX_PART, 0, index);

  if (rc == SQLITE_OK && *index == NULL)
    rc = SQLITE_IOERR;
  if (rc == SQLITE_OK)
    rc = sqlite3_file_control (connection->db, "main",
                               SQLITE_FCNTL_JOURNAL_POINTER, &pass->file);
  if (rc == SQLITE_OK)
    rc = pass->file->pMethods->xFileSize (pass->file, &pass->size);
  if (rc != SQLITE_OK)
    return rc;
  pass->bytes = malloc (PART_SIZE + FRAME_HEADER_SIZE);
  if (pass->bytes == NULL)
    return SQLITE_NOMEM;
  header = (const unsigned char *)*index;
  memcpy (&pass->frames, header + LOG_INDEX_FRAMES, sizeof pass->frames);
  memcpy (pass->last_checksum, header + LOG_INDEX_SUMS,
          sizeof pass->last_checksum);
  memcpy (pass->salts, header + LOG_INDEX_SALTS, LOG_SALTS_SIZE);
  return SQLITE_OK;
}

/* The same while there is no checkpoint either, by those who hold both
 * locks.
 */
static int
rewrite (struct connection *connection, sqlite3_file *database,
         const struct guard_entry *entry, struct status *status)
{
  const uint64_t dead = guard_find_dead (entry);
  struct pass pass = { .bytes = NULL };
  void volatile *index;
  const int rc = begin_pass (&pass, connection, database, &index);
  const int r = rc == SQLITE_OK ? rewrite_all (&pass, status) : -1;

  free (pass.bytes);
  if (r == 0) {
    forget_progress (index);
    guard_forget_dead (entry, dead);
  }
  return rc == SQLITE_OK ? r : fail (status, rc);
}

/* It does not wait for a checkpoint, which would wait for the transaction.
 */
int
log_hold (struct connection *connection, sqlite3_file **database,
          struct status *status)
{
  int rc, attempts = 0;

  do {
    if (connection_begin_hold (connection, status) == -1)
      return -1;
    rc = sqlite3_file_control (connection->db, "main",
                               SQLITE_FCNTL_FILE_POINTER, database);
    if (rc == SQLITE_OK)
      rc = lock_checkpoints (*database, SQLITE_SHM_LOCK);
    if (rc == SQLITE_OK)
      return 0;
    connection_rollback (connection);
  } while (rc == SQLITE_BUSY && connection_wait (connection, attempts++));
  return fail (status, rc);
}

void
log_release (struct connection *connection, sqlite3_file *database)
{
  lock_checkpoints (database, SQLITE_SHM_UNLOCK);
  connection_rollback (connection);
}

int
log_rewrite (struct connection *connection, const struct guard_entry *entry,
             struct status *status)
{
  sqlite3_file *database;
  int r;

  if (log_hold (connection, &database, status) == -1)
    return -1;
  r = rewrite (connection, database, entry, status);
  log_release (connection, database);
  return r;
}

/*--------------------------------------------------------------------
 * Looking for pages.
 */

/* The shared memory of the log and the files of CONNECTION. */
static int
map_index (struct connection *connection, sqlite3_file **log,
           void volatile **index, struct status *status)
{
  sqlite3_file *database;
  int rc = connection_files (connection, &database, log);

  if (rc == SQLITE_OK)
    rc = database->pMethods->xShmMap (database, 0, LOG_INDEX_PART, 0, index);
  if (rc != SQLITE_OK || *index == NULL || (*log)->pMethods == NULL)
    return status_fail_sqlite (status, connection->db, rc, "reading the log");
  return 0;
}

int
log_moved (struct connection *connection, int64_t *offset,
           struct status *status)
{
  int64_t page_size;
  sqlite3_file *log;
  void volatile *index;

  if (connection_page_size (connection, &page_size, status) == -1 ||
      map_index (connection, &log, &index, status) == -1)
    return -1;
  *offset = LOG_HEADER_SIZE +
            ((uint32_t volatile *)index)[LOG_INDEX_MOVED / sizeof (uint32_t)] *
                (FRAME_HEADER_SIZE + page_size);
  return 0;
}

/* The frames that are committed, one after the other. */
struct frames {
  sqlite3_file *log;
  int64_t page_size;
  int64_t next;  /* where the header of the next one is */
  uint32_t left; /* how many come */

  /* The last one. */
  uint32_t page;
  int64_t offset; /* where the page stands */
};

static int
begin_frames (struct frames *frames, struct connection *connection,
              struct status *status)
{
  void volatile *index;

  *frames = (struct frames){ .next = LOG_HEADER_SIZE };
  if (connection_page_size (connection, &frames->page_size, status) == -1 ||
      map_index (connection, &frames->log, &index, status) == -1)
    return -1;
  frames->left =
      ((uint32_t volatile *)index)[LOG_INDEX_FRAMES / sizeof (uint32_t)];
  return 0;
}

/* Go on to the next one.  Returns a result of SQLite: SQLITE_DONE at the end,
 * SQLITE_IOERR_SHORT_READ where the log has started over meanwhile.
 */
static int
next_frame (struct frames *frames)
{
  unsigned char header[FRAME_HEADER_SIZE];
  int rc;

  if (frames->left == 0)
    return SQLITE_DONE;
  rc = frames->log->pMethods->xRead (frames->log, header, sizeof header,
                                     frames->next);
  frames->page = rc == SQLITE_OK ? big_endian (header) : 0;
  frames->offset = frames->next + FRAME_HEADER_SIZE;
  frames->next = frames->offset + frames->page_size;
  frames->left--;
  return rc;
}

int
log_find_pages (struct connection *connection,
                void (*found) (uint32_t page, int64_t offset, void *opaque),
                void *opaque, struct status *status)
{
  struct frames frames;
  int rc;

  if (begin_frames (&frames, connection, status) == -1)
    return -1;
  while ((rc = next_frame (&frames)) == SQLITE_OK)
    found (frames.page, frames.offset, opaque);
  return rc == SQLITE_DONE || rc == SQLITE_IOERR_SHORT_READ
             ? 0
             : status_fail_sqlite (status, connection->db, rc,
                                   "reading the log");
}

int
log_has_page (struct connection *connection, uint32_t number,
              struct status *status)
{
  struct frames frames;
  int rc;

  if (begin_frames (&frames, connection, status) == -1)
    return -1;
  while ((rc = next_frame (&frames)) == SQLITE_OK)
    if (frames.page == number)
      return 1;
  return rc == SQLITE_DONE ? 0
                           : status_fail_sqlite (status, connection->db, rc,
                                                 "reading the log");
}
