/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A log that belongs to its file: see mark.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "sqlite/vfs-checksum.h"
#include "sqlite/litestream-page.h"
#include "sqlite/mark.h"
#include "sqlite/page.h"
#include "sqlite/raw.h"

/* The header of the database: its version for reading, which is that for
 * writing, too.
 */
#define HEADER_VERSION   18
#define VERSION_ROLLBACK 1

/* The format that had no marks; an upgrade gives one of it a mark first. */
#define FORMAT_UNMARKED 4

/* How often, and in nanoseconds how long after each try, to look again at a
 * file that changes meanwhile.
 */
#define ATTEMPTS 20
#define PAUSE    5000000

/*--------------------------------------------------------------------
 * The mark on its page: the only cell of a leaf of a table.
 */

/* The parts of the cell: the length of the record and the number of the row;
 * the header of the record, which has the types of its columns; the columns.
 */
static const unsigned char cell_head[] = {
  47, 1,            /* bytes of the record; number */
  6,                /* bytes of the header, with this one */
  0,  1, 44, 44, 28 /* number: NULL; 1 byte; 16 bytes, twice; 8 bytes */
};

/* Where the columns stand in the cell. */
#define CELL_STATE    8
#define CELL_ID       9
#define CELL_PREVIOUS 25
#define CELL_SALTS    41

/* Where things stand in the page. */
#define PAGE_TYPE     0
#define PAGE_CELLS    3
#define PAGE_POINTERS 8
#define TYPE_LEAF     13

bool
mark_parse (struct mark *mark, const unsigned char *page, uint32_t page_size)
{
  const uint32_t start = page_usable (page_size) - MARK_CELL_SIZE;
  const unsigned char *cell = page + start;

  if (page[PAGE_TYPE] != TYPE_LEAF || big_endian_16 (page + PAGE_CELLS) != 1 ||
      big_endian_16 (page + PAGE_POINTERS) != start ||
      memcmp (cell, cell_head, sizeof cell_head) != 0 ||
      cell[CELL_STATE] < MARK_OPEN || cell[CELL_STATE] > MARK_CLOSED)
    return false;
  mark->state = cell[CELL_STATE];
  memcpy (mark->id, cell + CELL_ID, sizeof mark->id);
  memcpy (mark->previous, cell + CELL_PREVIOUS, sizeof mark->previous);
  memcpy (mark->salts, cell + CELL_SALTS, sizeof mark->salts);
  return true;
}

void
mark_format (const struct mark *mark, unsigned char cell[MARK_CELL_SIZE])
{
  memcpy (cell, cell_head, sizeof cell_head);
  cell[CELL_STATE] = mark->state;
  memcpy (cell + CELL_ID, mark->id, sizeof mark->id);
  memcpy (cell + CELL_PREVIOUS, mark->previous, sizeof mark->previous);
  memcpy (cell + CELL_SALTS, mark->salts, sizeof mark->salts);
}

void
mark_set_sums (struct mark *mark, const uint32_t sums[2])
{
  put_big_endian (mark->salts, sums[0]);
  put_big_endian (mark->salts + 4, sums[1]);
}

/* What begins the salts of a mark that names the last page. */
static const unsigned char last_begins[4] = { 'l', 'a', 's', 't' };

void
mark_set_last (struct mark *mark, uint32_t last)
{
  memset (mark->salts, 0, sizeof mark->salts);
  if (last <= MARK_PAGE)
    return;
  memcpy (mark->salts, last_begins, sizeof last_begins);
  put_big_endian (mark->salts + sizeof last_begins, last);
}

uint32_t
mark_last (const struct mark *mark)
{
  return mark->state == MARK_CLOSED &&
                 memcmp (mark->salts, last_begins, sizeof last_begins) == 0
             ? big_endian (mark->salts + sizeof last_begins)
             : 0;
}

/* 0 says nothing. */
uint32_t
mark_stamp (const struct mark *mark)
{
  const uint32_t stamp =
      big_endian (mark->id) >> (32 - VFS_CHECKSUM_STAMP_BITS);

  return stamp ? stamp : 1;
}

/*--------------------------------------------------------------------
 * Looking.
 */

/* Read COUNT bytes at OFFSET; behind the end of the file are zeroes.  Returns
 * 0, or -1 and errno.
 */
static int
read_at (const struct raw *file, unsigned char *bytes, size_t count,
         int64_t offset)
{
  memset (bytes, 0, count);
  return raw_read (file, bytes, count, offset) == -1 ? -1 : 0;
}

/* Has the backup API made the file, with this HEADER, to its end? */
static bool
is_copied (const struct raw *file, const unsigned char *header,
           uint32_t page_size)
{
  return big_endian (header + PAGE_HEADER_SCHEMA) < MARK_SCHEMA &&
         raw_size (file) >=
             (int64_t)big_endian (header + PAGE_HEADER_PAGES) * page_size;
}

/* Has the last page another stamp than MARK, from PAGE, asks for?  If another
 * program has moved PAGE out of the log, nobody has stamped the last one; and
 * if there are fewer pages now, one has removed it.
 */
static bool
is_torn (const struct raw *file, const struct mark *mark,
         const unsigned char *page, const unsigned char *header,
         uint32_t page_size)
{
  const uint32_t last = mark_last (mark);
  const int64_t end = (int64_t)last * page_size;
  unsigned char sum[PAGE_CHECKSUM_SIZE];
  uint32_t stamp;

  if (last == 0 || last > big_endian (header + PAGE_HEADER_PAGES) ||
      vfs_checksum_stamp_of (page + page_usable (page_size)) == 0)
    return false;
  if (raw_read (file, sum, sizeof sum, end - PAGE_CHECKSUM_SIZE) != sizeof sum)
    return true;
  stamp = vfs_checksum_stamp_of (sum);
  return stamp != 0 && stamp != mark_stamp (mark);
}

/* Read the mark of the file.  A page that cannot be read, or is not there, is
 * damage like any other.
 */
static int
look_at_file (const struct raw *file, struct mark_look *look)
{
  unsigned char header[PAGE_HEADER_SIZE], *page;
  uint32_t page_size;

  if (read_at (file, header, sizeof header, 0) == -1)
    return -1;
  look->rollback = header[HEADER_VERSION] == VERSION_ROLLBACK &&
                   header[HEADER_VERSION + 1] == VERSION_ROLLBACK;
  page_size = page_size_of (header);
  if (page_size == 0)
    return 0;
  look->copied = !look->rollback && is_copied (file, header, page_size);
  page = malloc (page_size);
  if (page == NULL)
    return -1;
  look->readable = read_at (file, page, page_size,
                            (int64_t)(MARK_PAGE - 1) * page_size) == 0 &&
                   vfs_checksum_fits (page, page_size, MARK_PAGE) &&
                   mark_parse (&look->mark, page, page_size);
  if (!look->readable &&
      big_endian (header + PAGE_HEADER_FORMAT) == FORMAT_UNMARKED) {
    look->moving = big_endian (header + PAGE_HEADER_SCHEMA) >= MARK_SCHEMA;
    look->unmarked = !look->moving;
  }
  look->torn = look->readable && !look->copied &&
               is_torn (file, &look->mark, page, header, page_size);
  free (page);
  return 0;
}

static int
read_file (const char *path, struct mark_look *look, struct status *status)
{
  struct raw file;
  int r = raw_open (&file, path, "", status);

  if (r == -1)
    return -1;
  if (r == 0)
    return status_fail (status, ENOENT, "%s: %s", path, strerror (ENOENT));
  r = look_at_file (&file, look);
  if (r == -1)
    status_fail (status, errno, "reading the mark of %s: %s", path,
                 strerror (errno));
  raw_close (&file);
  return r;
}

/* Is MARK, of the log, that of the file, or a later one of its log?  The file
 * gets what ends a log from there; so a log that does not say it is not all of
 * it.
 */
static bool
is_of_file (const struct mark_look *look, const struct mark *mark)
{
  return look->readable &&
         memcmp (mark->id, look->mark.id, sizeof mark->id) == 0 &&
         mark->state >= look->mark.state;
}

/* Does the transaction of the log that has ended here have the checksum which
 * the file's mark names?
 */
static bool
has_sums (const struct mark_look *look)
{
  struct mark here = { .state = MARK_CLOSED };

  mark_set_sums (&here, look->walk.sums);
  return look->readable && look->mark.state == MARK_CLOSED &&
         memcmp (here.salts, look->mark.salts, sizeof here.salts) == 0;
}

/* A page of the log, which may be that of Litestream; FIRST is the first one of
 * the log, and a transaction.
 */
static void
note_litestream (struct mark_look *look, bool first, const unsigned char *page)
{
  const struct log_walk *walk = &look->walk;
  int64_t number;

  if ((!first && walk->page != look->litestream) ||
      !litestream_parse (page, walk->page_size, &number))
    return;
  if (first) {
    look->litestream = walk->page;
    look->litestream_first = number;
  }
  look->litestream_last = number;
}

/* A transaction of the log has ended; in it was MARK, if HAS_MARK. */
static void
note_commit (struct mark_look *look, bool has_mark, const struct mark *mark)
{
  if (has_sums (look))
    look->log_has_sums = true;
  if (!has_mark)
    return;
  if (!look->log_has_marks)
    look->log_first = *mark;
  look->log_has_marks = true;
  look->log_last = *mark;
  if (is_of_file (look, mark))
    look->log_has_id = true;
}

static void
read_frames (struct mark_look *look, unsigned char *page)
{
  struct log_walk *walk = &look->walk;
  bool has_mark = false;
  struct mark mark;
  uint64_t frames;

  for (frames = 1; log_walk_next (walk, page); frames++) {
    if (walk->page == MARK_PAGE && mark_parse (&mark, page, walk->page_size))
      has_mark = true;
    note_litestream (look, frames == 1 && walk->commit, page);
    if (walk->commit) {
      look->log_frames = frames;
      note_commit (look, has_mark, &mark);
      has_mark = false;
    }
  }
}

static int
read_log (const char *path, struct mark_look *look, struct status *status)
{
  struct raw file;
  const int r = raw_open (&file, path, "-wal", status);
  unsigned char *page;

  if (r == -1)
    return -1;
  page = malloc (PAGE_SIZE_MAX);
  if (page && r == 1) {
    look->log_exists = raw_size (&file) > 0;
    look->log_has_header = log_walk_begin (&look->walk, &file);
    if (look->log_has_header)
      read_frames (look, page);
  }
  free (page);
  raw_close (&file);
  return page ? 0 : status_no_memory (status);
}

/* Does the file have what was on the page of Litestream before the log, or what
 * the log says?
 */
static int
look_at_litestream (const char *path, struct mark_look *look,
                    struct status *status)
{
  const uint32_t page_size = look->walk.page_size;
  unsigned char *page;
  struct raw file;
  int64_t number;
  int r;

  if (look->litestream == 0)
    return 0;
  r = raw_open (&file, path, "", status);
  if (r != 1)
    return r;
  page = malloc (page_size);
  look->litestream_fits =
      page &&
      read_at (&file, page, page_size,
               (int64_t)(look->litestream - 1) * page_size) == 0 &&
      litestream_parse (page, page_size, &number) &&
      number >= look->litestream_first - 1 && number <= look->litestream_last;
  free (page);
  raw_close (&file);
  return page ? 0 : status_no_memory (status);
}

/* Has the log the header with which it was read?  Returns 1, 0 or -1. */
static int
log_is_same (const char *path, const struct mark_look *look,
             struct status *status)
{
  struct log_walk now;
  bool has_header;
  struct raw file;
  const int r = raw_open (&file, path, "-wal", status);

  if (r == -1)
    return -1;
  has_header = r == 1 && log_walk_begin (&now, &file);
  raw_close (&file);
  return has_header == look->log_has_header &&
         (!has_header ||
          memcmp (now.salts, look->walk.salts, LOG_SALTS_SIZE) == 0);
}

/* Has the log a header, and not that of the log that has ended?  SQLite adds
 * one to the first salt, but where a transaction that let the log start over
 * was rolled back, the next connection may choose new ones.
 */
static bool
has_started_over (const struct mark_look *look)
{
  return look->log_has_header &&
         memcmp (look->walk.salts, look->mark.salts, LOG_SALTS_SIZE) != 0;
}

/* Does the log begin after the file's mark?  After a copy begins only the log
 * that makes it a database of its own, and gives it a mark that is closed.
 */
static bool
begins_after (const struct mark_look *look)
{
  const struct mark *mark = &look->mark, *first = &look->log_first;

  return look->log_has_marks &&
         memcmp (first->previous, mark->id, MARK_ID_SIZE) == 0 &&
         (first->state == MARK_CLOSED ||
          (mark->state != MARK_OPEN && !look->copied));
}

/* Has Litestream let the log start over, when all of it was in the file? */
static bool
begins_after_litestream (const struct mark_look *look)
{
  return look->litestream_fits && !look->torn && !look->copied &&
         (!look->log_has_marks ||
          memcmp (look->log_first.previous, look->mark.id, MARK_ID_SIZE) == 0);
}

/* Does the log of a file of format 4 fit?  If it has marks it is the one with
 * the first, before which there is none.
 */
static enum mark_fit
fit_unmarked (const struct mark_look *look)
{
  static const unsigned char none[MARK_ID_SIZE];
  const struct mark *first = &look->log_first;

  if (look->log_frames == 0)
    return look->moving ? MARK_MISSING : MARK_FITS;
  if (!look->log_has_marks)
    return look->moving ? MARK_FOREIGN : MARK_FITS;
  return first->state == MARK_CLOSED &&
                 memcmp (first->previous, none, sizeof none) == 0
             ? MARK_FITS
             : MARK_FOREIGN;
}

/* The table of mark.h. */
static enum mark_fit
fit (const struct mark_look *look)
{
  const struct mark *mark = &look->mark;

  if (look->rollback)
    return look->log_frames > 0 ? MARK_FOREIGN : MARK_FITS;
  if (look->unmarked || look->moving)
    return fit_unmarked (look);
  if (!look->readable)
    return MARK_DAMAGED;
  if (look->log_frames == 0 && look->torn)
    return MARK_TORN;
  if (look->log_frames == 0)
    return mark->state == MARK_CLOSED || look->copied ||
                   (mark->state == MARK_ENDED && has_started_over (look))
               ? MARK_FITS
               : MARK_MISSING;
  if ((look->log_has_id || look->log_has_sums) && !look->copied)
    return MARK_FITS;
  return begins_after (look) || begins_after_litestream (look) ? MARK_FITS
                                                               : MARK_FOREIGN;
}

/* Look once.  The log is read after the file. */
static int
look_once (const char *path, struct mark_look *look, struct status *status)
{
  *look = (struct mark_look){ .rollback = false };
  if (read_file (path, look, status) == -1 ||
      read_log (path, look, status) == -1 ||
      look_at_litestream (path, look, status) == -1)
    return -1;
  look->fit = fit (look);
  look->alone = look->fit == MARK_FITS && look->log_frames == 0 &&
                (look->unmarked || look->rollback || look->copied ||
                 look->mark.state == MARK_CLOSED);
  return 0;
}

/* Is all as it was seen?  Who closes or opens the file meanwhile changes its
 * mark, and before that the stamp; who lets the log start over changes its
 * header, and what was read of it may be of both logs.  Returns 1, 0 or -1.
 */
static int
is_still (const char *path, const struct mark_look *look, struct status *status)
{
  struct mark_look now = { .rollback = false };

  if (read_file (path, &now, status) == -1)
    return -1;
  return look->fit != MARK_TORN && now.readable && look->readable &&
                 now.rollback == look->rollback &&
                 memcmp (&now.mark, &look->mark, sizeof now.mark) == 0
             ? log_is_same (path, look, status)
             : 0;
}

int
mark_look (const char *path, struct mark_look *look, struct status *status)
{
  int r;

  for (int i = 0; i < ATTEMPTS; i++) {
    if (look_once (path, look, status) == -1)
      return -1;
    if (look->fit == MARK_FITS)
      return 0;
    r = is_still (path, look, status);
    if (r != 0)
      return r == 1 ? 0 : -1;
    nanosleep (&(struct timespec){ .tv_nsec = PAUSE }, NULL);
  }
  return 0;
}

/*--------------------------------------------------------------------
 * Refusing.
 */

static int
fail_missing (const char *path, struct status *status)
{
  return status_fail (
      status, EIO,
      "%s was not closed, and its write-ahead log, %s-wal, is missing: what "
      "was "
      "written last is not there, and the rest may be of different times; put "
      "the log back, or use a backup; without either, 'sqlblock check "
      "--accept' takes the file as it is if all in it fits together, and "
      "'sqlblock check --salvage' copies what can be read; nothing was changed",
      path, path);
}

static int
fail_foreign (const char *path, struct status *status)
{
  return status_fail (
      status, EIO,
      "the write-ahead log %s-wal does not belong to %s as it is now, but to "
      "another file, or to this one at another time: together they would be "
      "mixed up; put the file back to which the log belongs, or the log of "
      "this one; or if the file is a complete copy, move the log away; "
      "nothing was changed",
      path, path);
}

static int
fail_torn (const char *path, struct status *status)
{
  return status_fail (
      status, EIO,
      "%s is a copy that was begun while the database was closed, and went on "
      "while it was written: its parts are of different times; copy it again, "
      "or use a backup ('sqlblock backup' makes one while a server writes); "
      "without either, 'sqlblock check --accept' takes the file as it is if "
      "all in it fits together, and 'sqlblock check --salvage' copies what can "
      "be read; nothing was changed",
      path);
}

static int
fail_damaged (const char *path, struct status *status)
{
  return status_fail (
      status, EIO,
      "%s is damaged: page %d does not fit its checksum, and has the mark that "
      "says which write-ahead log belongs to it; use a backup, or see "
      "'sqlblock check --repair' and '--salvage'; nothing was changed",
      path, MARK_PAGE);
}

int
mark_check_fit (const char *path, const struct mark_look *look,
                struct status *status)
{
  switch (look->fit) {
  case MARK_FITS:
    return 0;
  case MARK_MISSING:
    return fail_missing (path, status);
  case MARK_FOREIGN:
    return fail_foreign (path, status);
  case MARK_TORN:
    return fail_torn (path, status);
  case MARK_DAMAGED:
    break;
  }
  return fail_damaged (path, status);
}
