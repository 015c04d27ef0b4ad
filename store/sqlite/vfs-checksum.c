/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Giving each page of the database a checksum: see vfs-checksum.h. */

#include <config.h>

#include <endian.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "block/checksum.h"
#include "sqlite/litestream-page.h"
#include "sqlite/page.h"
#include "sqlite/vfs-ahead.h"
#include "sqlite/vfs-checksum.h"
#include "sqlite/vfs-file.h"

/* A checksum with a stamp. */
#define STAMP_SHIFT (64 - VFS_CHECKSUM_STAMP_BITS)
#define STAMP_SUM   ((UINT64_C (1) << STAMP_SHIFT) - 1)

/* Can this be a whole page? */
static bool
is_page (int count, int64_t offset)
{
  return page_is_size (count) && offset % count == 0;
}

static uint64_t
sum_of_bytes (const unsigned char *page, size_t size, uint32_t number)
{
  const uint64_t sum = checksum_page (page, size - PAGE_CHECKSUM_SIZE, number);

  return htole64 (sum ? sum : 1);
}

/* Page 1, without what other programs change there. */
static uint64_t
sum_of_first_page (const unsigned char *page, size_t size)
{
  static const struct {
    int from, to;
  } changing[] = { { 18, 20 }, { 24, 28 }, { 40, 44 }, { 92, 100 } };
  unsigned char copy[PAGE_SIZE_MAX];

  memcpy (copy, page, size);
  for (size_t i = 0; i < sizeof changing / sizeof changing[0]; i++)
    memset (copy + changing[i].from, 0, changing[i].to - changing[i].from);
  return sum_of_bytes (copy, size, 1);
}

static uint64_t
sum_of (const unsigned char *page, size_t size, uint32_t number)
{
  return number == 1 ? sum_of_first_page (page, size)
                     : sum_of_bytes (page, size, number);
}

/* In format 4 the checksum of page 1 was that of all of it. */
static bool
fits_format_4 (const unsigned char *page, size_t size, uint32_t number,
               uint64_t sum)
{
  return number == 1 && big_endian (page + PAGE_HEADER_FORMAT) == 4 &&
         sum == sum_of_bytes (page, size, number);
}

/* The checksum that a page has; 0: none. */
static uint64_t
sum_on (const unsigned char *page, size_t size)
{
  uint64_t sum;

  memcpy (&sum, page + size - PAGE_CHECKSUM_SIZE, sizeof sum);
  return sum;
}

/* What the page would have with STAMP, as a number. */
static uint64_t
stamped (const unsigned char *page, size_t size, uint32_t number,
         uint32_t stamp)
{
  return (~le64toh (sum_of (page, size, number)) & STAMP_SUM) |
         (uint64_t)stamp << STAMP_SHIFT;
}

uint32_t
vfs_checksum_stamp_of (const unsigned char sum[PAGE_CHECKSUM_SIZE])
{
  return le64toh (sum_on (sum, PAGE_CHECKSUM_SIZE)) >> STAMP_SHIFT;
}

static uint32_t
stamp_on (const unsigned char *page, size_t size)
{
  return vfs_checksum_stamp_of (page + size - PAGE_CHECKSUM_SIZE);
}

bool
vfs_checksum_fits (const unsigned char *page, size_t size, uint32_t number)
{
  const uint64_t sum = sum_on (page, size);

  return sum == 0 || sum == sum_of (page, size, number) ||
         le64toh (sum) == stamped (page, size, number, stamp_on (page, size)) ||
         fits_format_4 (page, size, number, sum);
}

bool
vfs_checksum_is_blank (const unsigned char *page, size_t size)
{
  return page[0] == 0 && memcmp (page, page + 1, size - 1) == 0;
}

void
vfs_checksum_set (unsigned char *page, size_t size, uint32_t number)
{
  const uint64_t sum = sum_of (page, size, number);

  memcpy (page + size - PAGE_CHECKSUM_SIZE, &sum, sizeof sum);
}

static void
note_damaged (struct damaged_pages *pages, uint32_t number)
{
  size_t i = 0;

  pthread_mutex_lock (&pages->lock);
  while (i < pages->count && pages->numbers[i] != number)
    i++;
  if (i == pages->count && i < DAMAGED_PAGES_MAX)
    pages->numbers[pages->count++] = number;
  pthread_mutex_unlock (&pages->lock);
}

void
vfs_checksum_close (struct vfs_file *file)
{
  free (file->checksum.copy);
}

/* The COUNT bytes at OFFSET of the database are these: the header may be
 * among them.
 */
static void
note_page_size (struct vfs_checksum *checksum, const void *data, int count,
                int64_t offset)
{
  if (offset == 0 && count >= PAGE_HEADER_SIZE)
    checksum->page_size = page_size_of (data);
}

/* Have room for a page. */
static bool
need_copy (struct vfs_checksum *checksum)
{
  if (checksum->copy == NULL)
    checksum->copy = malloc (PAGE_SIZE_MAX);
  return checksum->copy != NULL;
}

/* Read a whole page, of SIZE bytes, and tell whether it fits.  Somebody may
 * just be giving it a checksum (sealing.h), of which the first reading saw a
 * part; the second one is of the file itself.
 */
static int
read_and_compare (struct vfs_file *file, void *data, int size, int64_t offset,
                  bool *right)
{
  const uint32_t number = offset / size + 1;
  int rc = vfs_ahead_read (file, data, size, offset);

  *right = rc == SQLITE_OK && vfs_checksum_fits (data, size, number);
  if (rc != SQLITE_OK || *right)
    return rc;
  vfs_ahead_forget (file);
  rc = vfs_ahead_read (file, data, size, offset);
  *right = rc == SQLITE_OK && vfs_checksum_fits (data, size, number);
  return rc;
}

/* Has Litestream written PAGE, which does not fit its checksum? */
static bool
is_litestream (const struct vfs_checksum *checksum, const unsigned char *page,
               size_t size, uint32_t number)
{
  int64_t ignored;

  return checksum->litestream && atomic_load (checksum->litestream) == number &&
         litestream_parse (page, size, &ignored);
}

/* Read a whole page, of SIZE bytes. */
static int
read_page (struct vfs_file *file, void *data, int size, int64_t offset)
{
  struct vfs_checksum *checksum = &file->checksum;
  const uint32_t number = offset / size + 1;
  bool right, theirs;
  const int rc = read_and_compare (file, data, size, offset, &right);

  if (rc != SQLITE_OK)
    return rc;
  theirs = !right && is_litestream (checksum, data, size, number);
  if (!right && !theirs) {
    if (checksum->damaged == NULL)
      return SQLITE_IOERR_DATA;
    note_damaged (checksum->damaged, number);
  }
  if (checksum->unsealed && (theirs || (sum_on (data, size) == 0 &&
                                        !vfs_checksum_is_blank (data, size))))
    atomic_store (checksum->unsealed, true);
  note_page_size (checksum, data, size, offset);
  memset ((char *)data + size - PAGE_CHECKSUM_SIZE, 0, PAGE_CHECKSUM_SIZE);
  return SQLITE_OK;
}

/* Read parts of pages, by reading these. */
static int
read_parts (struct vfs_file *file, char *data, int count, int64_t offset)
{
  const int size = file->checksum.page_size;
  int rc = SQLITE_OK;

  if (!need_copy (&file->checksum))
    return SQLITE_IOERR_NOMEM;
  while (count > 0 && rc == SQLITE_OK) {
    const int at = offset % size;
    const int part = count < size - at ? count : size - at;

    rc = read_page (file, file->checksum.copy, size, offset - at);
    memcpy (data, file->checksum.copy + at, part);
    data += part;
    offset += part;
    count -= part;
  }
  return rc;
}

int
vfs_checksum_on_read (struct vfs_file *file, void *data, int count,
                      int64_t offset)
{
  struct vfs_checksum *checksum = &file->checksum;
  unsigned char header[PAGE_HEADER_SIZE];
  int rc;

  if (offset + count <= PAGE_HEADER_SIZE) {
    rc = below_read (&file->base, data, count, offset);
    if (rc == SQLITE_OK)
      note_page_size (checksum, data, count, offset);
    return rc;
  }
  if (checksum->page_size == 0 &&
      below_read (&file->base, header, sizeof header, 0) == SQLITE_OK)
    note_page_size (checksum, header, sizeof header, 0);
  if (is_page (count, offset) && count >= checksum->page_size)
    return read_page (file, data, count, offset);
  return checksum->page_size ? read_parts (file, data, count, offset)
                             : below_read (&file->base, data, count, offset);
}

int
vfs_checksum_on_write (struct vfs_file *file, const void **data, int count,
                       int64_t offset)
{
  struct vfs_checksum *checksum = &file->checksum;

  if (!is_page (count, offset))
    return SQLITE_OK;
  /* SQLite may go on using the page that it gives us. */
  if (!need_copy (checksum))
    return SQLITE_IOERR_NOMEM;
  memcpy (checksum->copy, *data, count);
  vfs_checksum_set (checksum->copy, count, offset / count + 1);
  note_page_size (checksum, *data, count, offset);
  *data = checksum->copy;
  return SQLITE_OK;
}

int
vfs_checksum_reserve (sqlite3 *db)
{
  int size = PAGE_CHECKSUM_SIZE;

  return sqlite3_file_control (db, "main", SQLITE_FCNTL_RESERVE_BYTES, &size);
}

int
vfs_checksum_tolerate (sqlite3 *db, struct damaged_pages *pages)
{
  struct vfs_file *file;
  const int rc = vfs_file_find (db, &file);

  if (rc == SQLITE_OK)
    file->checksum.damaged = pages;
  return rc;
}

int
vfs_checksum_watch (sqlite3 *db, atomic_bool *unsealed,
                    const atomic_uint *litestream)
{
  struct vfs_file *file;
  const int rc = vfs_file_find (db, &file);

  if (rc == SQLITE_OK) {
    file->checksum.unsealed = unsealed;
    file->checksum.litestream = litestream;
  }
  return rc;
}

int
vfs_checksum_below (sqlite3 *db, sqlite3_file **below)
{
  struct vfs_file *file;
  const int rc = vfs_file_find (db, &file);

  if (rc == SQLITE_OK)
    *below = file->below;
  return rc;
}

/* Read a page as it stands in the file below that of DB. */
static int
read_raw (sqlite3 *db, uint32_t number, size_t size, sqlite3_file **below,
          unsigned char *page)
{
  const int rc = vfs_checksum_below (db, below);

  if (rc != SQLITE_OK)
    return rc;
  return (*below)->pMethods->xRead (*below, page, size,
                                    (int64_t)(number - 1) * size);
}

int
vfs_checksum_read (sqlite3 *db, uint32_t number, size_t size,
                   unsigned char *page, bool *right)
{
  sqlite3_file *below;
  const int rc = read_raw (db, number, size, &below, page);

  *right = rc == SQLITE_OK && vfs_checksum_fits (page, size, number);
  return rc;
}

int
vfs_checksum_look (sqlite3 *db, uint32_t number, size_t size, bool *right)
{
  unsigned char *page = malloc (size);
  int rc = SQLITE_NOMEM;

  if (page)
    rc = vfs_checksum_read (db, number, size, page, right);
  free (page);
  return rc;
}

/* Write what stands at the end of PAGE, and only that: readers may be reading
 * it.
 */
static int
write_end (sqlite3_file *below, const unsigned char *page, size_t size,
           uint32_t number)
{
  return below->pMethods->xWrite (below, page + size - PAGE_CHECKSUM_SIZE,
                                  PAGE_CHECKSUM_SIZE,
                                  (int64_t)number * size - PAGE_CHECKSUM_SIZE);
}

/* Give PAGE its checksum, with STAMP. */
static void
set_stamped (unsigned char *page, size_t size, uint32_t number, uint32_t stamp)
{
  const uint64_t sum = htole64 (stamped (page, size, number, stamp));

  if (sum == 0) /* that would be none */
    vfs_checksum_set (page, size, number);
  else
    memcpy (page + size - PAGE_CHECKSUM_SIZE, &sum, sizeof sum);
}

/* Write the checksum of PAGE.  It keeps its stamp, of which a closed file is
 * known; a page that has none has stamp 0, which says nothing.
 */
static int
write_sum (sqlite3_file *below, unsigned char *page, size_t size,
           uint32_t number)
{
  set_stamped (page, size, number, stamp_on (page, size));
  return write_end (below, page, size, number);
}

/* The same for vfs_checksum_stamp. */
static int
write_stamp (sqlite3_file *file, unsigned char *page, size_t size,
             uint32_t number, uint32_t stamp)
{
  uint64_t sum = le64toh (sum_on (page, size));

  if (sum == 0 && !vfs_checksum_is_blank (page, size))
    return SQLITE_OK;
  if (vfs_checksum_fits (page, size, number))
    set_stamped (page, size, number, stamp);
  else {
    sum = htole64 ((sum & STAMP_SUM) | (uint64_t)stamp << STAMP_SHIFT);
    memcpy (page + size - PAGE_CHECKSUM_SIZE, &sum, sizeof sum);
  }
  return write_end (file, page, size, number);
}

int
vfs_checksum_stamp (sqlite3_file *file, uint32_t number, size_t size,
                    uint32_t stamp)
{
  unsigned char *page = malloc (size);
  int rc = SQLITE_NOMEM;

  if (page)
    rc = file->pMethods->xRead (file, page, size, (int64_t)(number - 1) * size);
  if (rc == SQLITE_OK)
    rc = write_stamp (file, page, size, number, stamp);
  free (page);
  return rc;
}

int
vfs_checksum_accept (sqlite3 *db, uint32_t number, size_t size)
{
  unsigned char *page = malloc (size);
  sqlite3_file *below;
  int rc = SQLITE_NOMEM;

  if (page)
    rc = read_raw (db, number, size, &below, page);
  if (rc == SQLITE_OK)
    rc = write_sum (below, page, size, number);
  free (page);
  return rc;
}

int
vfs_checksum_seal (sqlite3 *db, uint32_t number, size_t size, bool *sealed)
{
  unsigned char *page = malloc (size);
  struct vfs_file *file;
  sqlite3_file *below;
  int rc = vfs_file_find (db, &file);

  *sealed = false;
  if (rc == SQLITE_OK)
    rc = page ? read_raw (db, number, size, &below, page) : SQLITE_NOMEM;
  if (rc == SQLITE_OK &&
      (sum_on (page, size) == 0 ||
       is_litestream (&file->checksum, page, size, number))) {
    rc = write_sum (below, page, size, number);
    *sealed = rc == SQLITE_OK;
  }
  free (page);
  return rc;
}
