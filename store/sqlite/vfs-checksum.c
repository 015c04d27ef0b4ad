/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A VFS that gives each page of the database a checksum: see
 * vfs-checksum.h.
 */

#include <config.h>

#include <endian.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "block/checksum.h"
#include "sqlite/page.h"
#include "sqlite/vfs-ahead.h"
#include "sqlite/vfs-checksum.h"
#include "sqlite/vfs-pass.h"

/* Our file control. */
#define TOLERATE 0x73716c62
#define WATCH    0x73716c63

/* A checksum with a stamp. */
#define STAMP_SHIFT (64 - VFS_CHECKSUM_STAMP_BITS)
#define STAMP_SUM   ((UINT64_C (1) << STAMP_SHIFT) - 1)

/* Newer versions of SQLite read parts of pages where that may be. */
#ifndef SQLITE_IOCAP_SUBPAGE_READ
#define SQLITE_IOCAP_SUBPAGE_READ 0x00008000
#endif

/* An open database, followed in memory by the file of the VFS below. */
struct page_file {
  struct pass_file pass;
  struct damaged_pages *damaged; /* NULL: such a page is not read */
  atomic_bool *unsealed; /* set when a page without one is read; or NULL */
  unsigned char *copy;   /* room for one page; NULL: not used yet */
  int page_size;         /* as its header says; 0: not known */
};

static sqlite3_vfs *vfs_below;
static sqlite3_vfs vfs;
static sqlite3_io_methods methods; /* ours */

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

static int
page_close (sqlite3_file *file)
{
  struct page_file *pages = (struct page_file *)file;

  free (pages->copy);
  return pass_close (file);
}

/* The COUNT bytes at OFFSET of the database are these: the header may be
 * among them.
 */
static void
note_page_size (struct page_file *pages, const void *data, int count,
                int64_t offset)
{
  if (offset == 0 && count >= PAGE_HEADER_SIZE)
    pages->page_size = page_size_of (data);
}

/* Have room for a page. */
static bool
need_copy (struct page_file *pages)
{
  if (pages->copy == NULL)
    pages->copy = malloc (PAGE_SIZE_MAX);
  return pages->copy != NULL;
}

/* Read a whole page, of SIZE bytes, and tell whether it fits.  Somebody may
 * just be giving it a checksum (sealing.h), of which the first reading saw a
 * part; the second one is of the file itself.
 */
static int
read_and_compare (struct page_file *pages, void *data, int size, int64_t offset,
                  bool *right)
{
  sqlite3_file *below = pages->pass.below;
  const uint32_t number = offset / size + 1;
  int rc = below->pMethods->xRead (below, data, size, offset);

  *right = rc == SQLITE_OK && vfs_checksum_fits (data, size, number);
  if (rc != SQLITE_OK || *right)
    return rc;
  below->pMethods->xFileControl (below, VFS_AHEAD_FORGET, NULL);
  rc = below->pMethods->xRead (below, data, size, offset);
  *right = rc == SQLITE_OK && vfs_checksum_fits (data, size, number);
  return rc;
}

/* Read a whole page, of SIZE bytes. */
static int
read_page (struct page_file *pages, void *data, int size, int64_t offset)
{
  bool right;
  const int rc = read_and_compare (pages, data, size, offset, &right);

  if (rc != SQLITE_OK)
    return rc;
  if (!right) {
    if (pages->damaged == NULL)
      return SQLITE_IOERR_DATA;
    note_damaged (pages->damaged, offset / size + 1);
  }
  if (pages->unsealed && sum_on (data, size) == 0 &&
      !vfs_checksum_is_blank (data, size))
    atomic_store (pages->unsealed, true);
  note_page_size (pages, data, size, offset);
  memset ((char *)data + size - PAGE_CHECKSUM_SIZE, 0, PAGE_CHECKSUM_SIZE);
  return SQLITE_OK;
}

/* Read parts of pages, by reading these. */
static int
read_parts (struct page_file *pages, char *data, int count, int64_t offset)
{
  const int size = pages->page_size;
  int rc = SQLITE_OK;

  if (!need_copy (pages))
    return SQLITE_IOERR_NOMEM;
  while (count > 0 && rc == SQLITE_OK) {
    const int at = offset % size;
    const int part = count < size - at ? count : size - at;

    rc = read_page (pages, pages->copy, size, offset - at);
    memcpy (data, pages->copy + at, part);
    data += part;
    offset += part;
    count -= part;
  }
  return rc;
}

static int
page_read (sqlite3_file *file, void *data, int count, sqlite3_int64 offset)
{
  struct page_file *pages = (struct page_file *)file;
  sqlite3_file *below = pages->pass.below;
  unsigned char header[PAGE_HEADER_SIZE];
  int rc;

  if (offset + count <= PAGE_HEADER_SIZE) {
    rc = below->pMethods->xRead (below, data, count, offset);
    if (rc == SQLITE_OK)
      note_page_size (pages, data, count, offset);
    return rc;
  }
  if (pages->page_size == 0 &&
      below->pMethods->xRead (below, header, sizeof header, 0) == SQLITE_OK)
    note_page_size (pages, header, sizeof header, 0);
  if (is_page (count, offset) && count >= pages->page_size)
    return read_page (pages, data, count, offset);
  return pages->page_size ? read_parts (pages, data, count, offset)
                          : below->pMethods->xRead (below, data, count, offset);
}

static int
page_write (sqlite3_file *file, const void *data, int count,
            sqlite3_int64 offset)
{
  struct page_file *pages = (struct page_file *)file;
  sqlite3_file *below = pages->pass.below;

  if (!is_page (count, offset))
    return below->pMethods->xWrite (below, data, count, offset);
  /* SQLite may go on using the page that it gives us. */
  if (!need_copy (pages))
    return SQLITE_IOERR_NOMEM;
  memcpy (pages->copy, data, count);
  vfs_checksum_set (pages->copy, count, offset / count + 1);
  note_page_size (pages, data, count, offset);
  return below->pMethods->xWrite (below, pages->copy, count, offset);
}

static int
page_file_control (sqlite3_file *file, int operation, void *argument)
{
  struct page_file *pages = (struct page_file *)file;

  switch (operation) {
  case TOLERATE:
    pages->damaged = argument;
    return SQLITE_OK;
  case WATCH:
    pages->unsealed = argument;
    return SQLITE_OK;
  default:
    return pass_file_control (file, operation, argument);
  }
}

/* To read a part costs as much as the page. */
static int
page_device_characteristics (sqlite3_file *file)
{
  return pass_device_characteristics (file) & ~SQLITE_IOCAP_SUBPAGE_READ;
}

/* A database gets our methods; any other file is the one of the VFS below.
 */
static int
open_file (sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags,
           int *out_flags)
{
  struct page_file *pages = (struct page_file *)file;

  (void)self;
  if (!(flags & SQLITE_OPEN_MAIN_DB))
    return vfs_below->xOpen (vfs_below, name, file, flags, out_flags);
  *pages = (struct page_file){ .copy = NULL };
  return pass_open (vfs_below, name, &pages->pass, sizeof *pages, &methods,
                    flags, out_flags);
}

int
vfs_checksum_register (const char *below_it)
{
  methods = pass_methods;
  methods.xClose = page_close;
  methods.xRead = page_read;
  methods.xWrite = page_write;
  methods.xFileControl = page_file_control;
  methods.xDeviceCharacteristics = page_device_characteristics;
  vfs_below = sqlite3_vfs_find (below_it);
  return pass_register (&vfs, vfs_below, VFS_CHECKSUM_NAME,
                        sizeof (struct page_file), open_file);
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
  return sqlite3_file_control (db, "main", TOLERATE, pages);
}

int
vfs_checksum_watch (sqlite3 *db, atomic_bool *unsealed)
{
  return sqlite3_file_control (db, "main", WATCH, unsealed);
}

int
vfs_checksum_below (sqlite3 *db, sqlite3_file **below)
{
  struct page_file *pages;
  const int rc =
      sqlite3_file_control (db, "main", SQLITE_FCNTL_FILE_POINTER, &pages);

  if (rc == SQLITE_OK)
    *below = pages->pass.below;
  return rc;
}

/* Read a page as it stands in the file below that of DB. */
static int
read_below (sqlite3 *db, uint32_t number, size_t size, sqlite3_file **below,
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
  const int rc = read_below (db, number, size, &below, page);

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
    rc = read_below (db, number, size, &below, page);
  if (rc == SQLITE_OK)
    rc = write_sum (below, page, size, number);
  free (page);
  return rc;
}

int
vfs_checksum_seal (sqlite3 *db, uint32_t number, size_t size, bool *sealed)
{
  unsigned char *page = malloc (size);
  sqlite3_file *below;
  int rc = SQLITE_NOMEM;

  *sealed = false;
  if (page)
    rc = read_below (db, number, size, &below, page);
  if (rc == SQLITE_OK && sum_on (page, size) == 0) {
    rc = write_sum (below, page, size, number);
    *sealed = rc == SQLITE_OK;
  }
  free (page);
  return rc;
}
