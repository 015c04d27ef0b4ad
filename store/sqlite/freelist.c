/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Putting the list of free pages in order: see freelist.h. */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "sqlite/freelist.h"
#include "base/grow.h"
#include "sqlite/log.h"
#include "sqlite/page.h"

/* At most this many trunk pages of the list are put in order: a value has at
 * most 1 GB, and what is behind stays as it is.
 */
#define TRUNKS_MAX(part) (UINT64_C (500000000) / (part))

/* The row that is shown. */
#define ROW         1
#define COLUMNS     6
#define TYPE_ZERO   8 /* the integer 0 */
#define HEADER_TYPE 13
#define VARINT_MAX  9

struct list;

/* A file of the connection, with one page replaced. */
struct lens {
  sqlite3_io_methods methods; /* the first: the file points to them */
  const sqlite3_io_methods *real;
  sqlite3_file *file;
  int64_t offset; /* of the page that is replaced; 0: none is */
  struct list *list;
};

struct list {
  struct connection *connection;
  const struct freelist_order *order;
  int64_t page_size;
  uint32_t usable; /* bytes of a page */
  uint32_t first_trunk;
  uint32_t root; /* of the table for which another page is shown */
  int64_t root_in_log, first_in_log; /* newest copies; 0: in the file */
  struct lens database, log;
  unsigned char *shown;
  bool showing;
  unsigned looks; /* how often SQLite has read that page */

  sqlite3_blob *blob;
  int before;         /* bytes of the value before the first trunk page */
  uint32_t part;      /* bytes of a trunk page that are part of the value:
                         how many numbers follow, and these */
  unsigned char *all; /* these parts of all trunk pages */
  uint64_t trunks;
  uint64_t lows; /* places in them up to the new end */
};

/*--------------------------------------------------------------------
 * What is shown.
 */

static int
read_through_lens (sqlite3_file *file, void *bytes, int count,
                   sqlite3_int64 offset)
{
  const struct lens *lens = (const struct lens *)file->pMethods;
  struct list *list = lens->list;

  if (lens->offset != offset || list->page_size != count)
    return lens->real->xRead (file, bytes, count, offset);
  list->looks++;
  if (!list->showing)
    return lens->real->xRead (file, bytes, count, offset);
  memcpy (bytes, list->shown, count);
  return SQLITE_OK;
}

/* Look at a file through a lens, which replaces the page at OFFSET. */
static void
put_lens (struct lens *lens, struct list *list, int64_t offset)
{
  lens->real = lens->file->pMethods;
  lens->methods = *lens->real;
  lens->methods.xRead = read_through_lens;
  lens->offset = offset;
  lens->list = list;
  lens->file->pMethods = &lens->methods;
}

static void
take_lens_away (struct lens *lens)
{
  if (lens->real)
    lens->file->pMethods = lens->real;
}

/* Write a number as SQLite does, in fewer than 9 bytes. */
static unsigned
put_varint (unsigned char *bytes, uint64_t value)
{
  unsigned count = 1;

  for (uint64_t rest = value >> 7; rest > 0; rest >>= 7)
    count++;
  for (unsigned i = count; i > 0; i--, value >>= 7)
    bytes[i - 1] = (value & 0x7f) | (i < count ? 0x80 : 0);
  return count;
}

/* Make the page: a leaf with a row of the table `content`, whose last column
 * is a value that goes on in TRUNKS trunk pages.  ("B-tree Pages" and "Record
 * Format" in SQLite's fileformat2.html.)
 */
static void
make_page (struct list *list, uint64_t trunks)
{
  const unsigned local = page_least_local (list->usable);
  const uint64_t length = local + trunks * list->part;
  unsigned char head[2 * VARINT_MAX], record[COLUMNS + VARINT_MAX];
  unsigned char *page = list->shown;
  unsigned head_length = put_varint (head, length), start;
  unsigned record_length = COLUMNS;

  head_length += put_varint (head + head_length, ROW);
  /* The type says how long the value is, which depends on how long it is
   * itself.
   */
  for (int i = 0; i < 2; i++)
    record_length = COLUMNS + put_varint (record + COLUMNS,
                                          2 * (length - record_length) + 12);
  record[0] = record_length;
  record[1] = 0;
  memset (record + 2, TYPE_ZERO, COLUMNS - 2);
  list->before = local - record_length;

  memset (page, 0, list->page_size);
  start = list->usable - head_length - local - 4;
  page[0] = HEADER_TYPE;
  page[4] = 1; /* row */
  page[5] = start >> 8;
  page[6] = start;
  page[8] = start >> 8;
  page[9] = start;
  memcpy (page + start, head, head_length);
  memcpy (page + start + head_length, record, record_length);
  put_big_endian (page + list->usable - 4, list->first_trunk);
}

/*--------------------------------------------------------------------
 * Opening.
 */

static void
note_in_log (uint32_t page, int64_t offset, void *opaque)
{
  struct list *list = opaque;

  if (page == 1)
    list->first_in_log = offset;
  if (page == list->root)
    list->root_in_log = offset;
}

/* Read the header of the database. */
static int
read_header (struct list *list, struct status *status)
{
  sqlite3_file *file =
      list->first_in_log ? list->log.file : list->database.file;
  unsigned char *page = list->shown;
  const int rc =
      file->pMethods->xRead (file, page, list->page_size, list->first_in_log);

  if (rc != SQLITE_OK)
    return status_fail_sqlite (status, NULL, rc, "reading the header");
  list->first_trunk = big_endian (page + PAGE_HEADER_TRUNK);
  return 0;
}

static int
find_files (struct list *list, struct status *status)
{
  static const char root_sql[] =
      "SELECT rootpage FROM sqlite_schema WHERE name = 'content'";
  struct connection *connection = list->connection;
  int64_t root;
  int rc;

  if (connection_page_size (connection, &list->page_size, status) == -1 ||
      connection_integer (connection, root_sql, &root, status) == -1)
    return -1;
  list->root = root;
  list->usable = page_usable (list->page_size);
  list->part = list->usable - PAGE_NEXT_SIZE;
  rc = connection_files (connection, &list->database.file, &list->log.file);
  if (rc != SQLITE_OK)
    return status_fail_sqlite (status, connection->db, rc,
                               "looking at free pages");
  list->shown = malloc (list->page_size);
  return list->shown ? 0 : status_no_memory (status);
}

static int
fail (const struct list *list, struct status *status, int rc)
{
  return status_fail_sqlite (status, list->connection->db, rc,
                             "putting free pages in order");
}

static int
fail_damaged (struct status *status)
{
  return status_fail (status, EIO,
                      "the list of free pages is damaged; see \"sqlblock "
                      "check\"");
}

/* Open the value. */
static int
open_list (struct list *list, struct status *status)
{
  const struct freelist_order *order = list->order;
  uint64_t trunks;
  int rc;

  if (find_files (list, status) == -1 ||
      log_find_pages (list->connection, note_in_log, list, status) == -1 ||
      read_header (list, status) == -1)
    return -1;
  trunks = TRUNKS_MAX (list->part);
  if (trunks > order->free)
    trunks = order->free;
  make_page (list, trunks);
  /* Of the schema it has read page 1 and what follows; not this one. */
  sqlite3_db_release_memory (list->connection->db);
  put_lens (&list->database, list, (int64_t)(list->root - 1) * list->page_size);
  put_lens (&list->log, list, list->root_in_log);
  list->showing = true;
  rc = sqlite3_blob_open (list->connection->db, "main", "content", "data", ROW,
                          1, &list->blob);
  if (rc != SQLITE_OK)
    return fail (list, status, rc);
  /* It must be the value that was shown. */
  if (list->looks == 0 || sqlite3_blob_bytes (list->blob) !=
                              list->before + (int64_t)trunks * list->part)
    return fail_damaged (status);
  return 0;
}

static void
close_list (struct list *list)
{
  sqlite3_blob_close (list->blob);
  take_lens_away (&list->database);
  take_lens_away (&list->log);
  free (list->all);
  free (list->shown);
}

/* Have SQLite forget what was shown, and see that it has: that it reads the
 * page when it is asked for what is in the table.
 */
static int
show_no_more (struct list *list, struct status *status)
{
  static const char look_sql[] = "SELECT count (*) FROM"
                                 " (SELECT 1 FROM content NOT INDEXED"
                                 " LIMIT 1)";

  sqlite3_blob_close (list->blob);
  list->blob = NULL;
  sqlite3_db_release_memory (list->connection->db);
  list->showing = false;
  list->looks = 0;
  if (connection_run (list->connection, look_sql, status) == -1)
    return -1;
  return list->looks > 0
             ? 0
             : status_fail (status, EIO,
                            "this version of SQLite cannot put its free pages "
                            "in order");
}

/*--------------------------------------------------------------------
 * Reading and writing trunk pages.
 */

static unsigned char *
trunk_at (const struct list *list, uint64_t i)
{
  return list->all + i * list->part;
}

static uint32_t
leaves_of (const struct list *list, uint64_t i)
{
  return big_endian (trunk_at (list, i));
}

static unsigned char *
leaf_at (const struct list *list, uint64_t i, uint32_t leaf)
{
  return trunk_at (list, i) + 4 + 4 * (size_t)leaf;
}

static uint32_t
most_leaves (const struct list *list)
{
  return list->usable / 4 - 2;
}

/* Is what trunk page I has a list of pages? */
static bool
is_good (const struct list *list, uint64_t i)
{
  const uint32_t count = leaves_of (list, i);
  uint32_t page;

  if (count > most_leaves (list))
    return false;
  for (uint32_t leaf = 0; leaf < count; leaf++) {
    page = big_endian (leaf_at (list, i, leaf));
    if (page < 2 || page > list->order->total)
      return false;
  }
  return true;
}

/* How many places for pages that move does trunk page I have? */
static uint64_t
count_low (const struct list *list, uint64_t i)
{
  const uint32_t count = leaves_of (list, i);
  uint64_t lows = 0;

  for (uint32_t leaf = 0; leaf < count; leaf++)
    lows += big_endian (leaf_at (list, i, leaf)) <= list->order->new_end;
  return lows;
}

/* Make room for one more. */
static int
make_room (struct list *list, struct status *status)
{
  unsigned char *all = grow (list->all, list->trunks, list->part);

  if (all == NULL)
    return status_no_memory (status);
  list->all = all;
  return 0;
}

/* Read until all free pages are there, or as many as are needed. */
static int
read_list (struct list *list, struct status *status)
{
  const struct freelist_order *order = list->order;
  const int bytes = sqlite3_blob_bytes (list->blob) - list->before;
  const uint64_t most = bytes / list->part;
  uint64_t found = 0;
  int rc;

  while (found < order->free && list->trunks < most &&
         (order->cut != 0 || list->lows < order->places)) {
    if (make_room (list, status) == -1)
      return -1;
    rc = sqlite3_blob_read (list->blob, trunk_at (list, list->trunks),
                            list->part,
                            list->before + list->trunks * list->part);
    if (rc != SQLITE_OK)
      return fail (list, status, rc);
    if (!is_good (list, list->trunks))
      return fail_damaged (status);
    list->lows += count_low (list, list->trunks);
    found += 1 + leaves_of (list, list->trunks++);
  }
  return found <= order->free ? 0 : fail_damaged (status);
}

static int
write_trunk (struct list *list, uint64_t i, struct status *status)
{
  const int rc = sqlite3_blob_write (list->blob, trunk_at (list, i), list->part,
                                     list->before + i * list->part);

  return rc == SQLITE_OK ? 0 : fail (list, status, rc);
}

/*--------------------------------------------------------------------
 * Two orders.
 */

/* Put the low pages at the head, and leave out the others, which go with the
 * end of the file.  Returns how many trunk pages are needed for that.
 */
static uint64_t
collect_low (struct list *list)
{
  uint64_t to = 0;
  uint32_t filled = 0, count, page;

  for (uint64_t i = 0; i < list->trunks; i++) {
    count = leaves_of (list, i);
    /* What is filled was read before: each is filled as far as it can. */
    for (uint32_t leaf = 0; leaf < count; leaf++) {
      page = big_endian (leaf_at (list, i, leaf));
      if (page > list->order->new_end)
        continue;
      if (filled == most_leaves (list)) {
        put_big_endian (trunk_at (list, to++), filled);
        filled = 0;
      }
      put_big_endian (leaf_at (list, to, filled++), page);
    }
  }
  if (list->trunks > 0)
    put_big_endian (trunk_at (list, to++), filled);
  return to;
}

/* SQLite goes from trunk page to trunk page until it has enough.  Some of
 * what it needs may be trunk pages: so no others may stand in between, nor any
 * page twice.
 */
static int
leave_low (struct list *list, struct status *status)
{
  const uint64_t filled = collect_low (list);

  for (uint64_t i = 0; i < list->trunks; i++) {
    if (i >= filled)
      put_big_endian (trunk_at (list, i), 0);
    if (write_trunk (list, i, status) == -1)
      return -1;
  }
  return 0;
}

/* Pages that are to come first, and what stood in their place. */
struct wanted {
  uint32_t *high, *low, *displaced;
  uint64_t highs, lows, displaceds;
  uint64_t most_lows, count; /* of both */
};

static bool
is_wanted (const struct list *list, const struct wanted *wanted, uint32_t page)
{
  return page > list->order->cut ||
         (page <= list->order->new_end && wanted->lows < wanted->most_lows);
}

/* How many are there? */
static int
count_wanted (const struct list *list, struct wanted *wanted,
              struct status *status)
{
  const struct freelist_order *order = list->order;
  uint64_t highs = 0;

  for (uint64_t i = 0; i < list->trunks; i++)
    for (uint32_t leaf = 0; leaf < leaves_of (list, i); leaf++)
      highs += big_endian (leaf_at (list, i, leaf)) > order->cut;
  wanted->most_lows = order->total - order->cut - highs;
  if (wanted->most_lows > list->lows)
    wanted->most_lows = list->lows;
  wanted->count = highs + wanted->most_lows;
  wanted->high = malloc ((highs + 1) * sizeof *wanted->high);
  wanted->low = malloc ((wanted->most_lows + 1) * sizeof *wanted->low);
  wanted->displaced = malloc ((wanted->count + 1) * sizeof *wanted->displaced);
  return wanted->high && wanted->low && wanted->displaced
             ? 0
             : status_no_memory (status);
}

/* Take page number PAGE, which stands at AT, place PLACE of the list.
 * Returns whether it was changed.
 */
static bool
take (const struct list *list, struct wanted *wanted, uint64_t place,
      unsigned char *at)
{
  const uint32_t page = big_endian (at);

  if (!is_wanted (list, wanted, page)) {
    if (place < wanted->count)
      wanted->displaced[wanted->displaceds++] = page;
    return false;
  }
  if (page > list->order->cut)
    wanted->high[wanted->highs++] = page;
  else
    wanted->low[wanted->lows++] = page;
  if (place < wanted->count)
    return false;
  put_big_endian (at, wanted->displaced[--wanted->displaceds]);
  return true;
}

static int
compare_down (const void *a, const void *b)
{
  const uint32_t *x = a, *y = b;

  return (*x < *y) - (*x > *y);
}

/* The page for place PLACE at the head: the highest first, and low ones
 * evenly between them.
 */
static uint32_t
choose (struct wanted *wanted, uint64_t place)
{
  const uint64_t lows = wanted->count - wanted->highs;

  if (wanted->lows > lows - (place + 1) * lows / wanted->count)
    return wanted->low[--wanted->lows];
  return *wanted->high++;
}

/* Put those that are wanted at the head. */
static int
put_first (struct list *list, struct wanted *wanted, struct status *status)
{
  uint32_t *const highs = wanted->high;
  uint64_t place = 0;
  bool changed;

  for (uint64_t i = 0; i < list->trunks; i++) {
    changed = false;
    for (uint32_t leaf = 0; leaf < leaves_of (list, i); leaf++, place++)
      changed |= take (list, wanted, place, leaf_at (list, i, leaf));
    if (changed && place > wanted->count && write_trunk (list, i, status) == -1)
      return -1;
  }
  qsort (wanted->high, wanted->highs, sizeof *wanted->high, compare_down);
  place = 0;
  for (uint64_t i = 0; i < list->trunks && place < wanted->count; i++) {
    for (uint32_t leaf = 0; leaf < leaves_of (list, i) && place < wanted->count;
         leaf++, place++)
      put_big_endian (leaf_at (list, i, leaf), choose (wanted, place));
    if (write_trunk (list, i, status) == -1)
      return -1;
  }
  wanted->high = highs;
  return 0;
}

static int
put_wanted_first (struct list *list, struct status *status)
{
  struct wanted wanted = { .high = NULL };
  int r = count_wanted (list, &wanted, status);

  if (r == 0)
    r = put_first (list, &wanted, status);
  free (wanted.high);
  free (wanted.low);
  free (wanted.displaced);
  return r;
}

int
freelist_arrange (struct connection *connection,
                  const struct freelist_order *order, struct status *status)
{
  struct list list = { .connection = connection, .order = order };
  int r = open_list (&list, status);

  if (r == 0)
    r = read_list (&list, status);
  if (r == 0)
    r = order->cut ? put_wanted_first (&list, status)
                   : leave_low (&list, status);
  if (r == 0)
    r = show_no_more (&list, status);
  close_list (&list);
  return r;
}
