/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A database file as pages: see rawfile.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "sqlite/claim.h"
#include "sqlite/files.h"
#include "sqlite/log-walk.h"
#include "check/rawfile.h"

/* How many entries of a page of the pointer map may be wrong before the others
 * mean nothing, either.
 */
#define MAP_WRONG 3

/*--------------------------------------------------------------------
 * The file and its log.
 */

/* Read COUNT bytes at OFFSET; what cannot be read is zeroes. */
static bool
read_at (int file, void *bytes, size_t count, uint64_t offset)
{
  size_t done = 0;
  ssize_t r = 1;

  while (done < count && r > 0) {
    r = pread (file, (char *)bytes + done, count - done, offset + done);
    if (r > 0)
      done += r;
  }
  memset ((char *)bytes + done, 0, count - done);
  return done == count;
}

static int
compare_pages (const void *a, const void *b)
{
  const struct log_page *x = a, *y = b;

  if (x->page != y->page)
    return x->page < y->page ? -1 : 1;
  return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Keep the newest copy of each page. */
static void
keep_newest (struct rawfile *pages)
{
  size_t kept = 0;

  if (pages->in_log_count == 0)
    return;
  qsort (pages->in_log, pages->in_log_count, sizeof *pages->in_log,
         compare_pages);
  for (size_t i = 0; i < pages->in_log_count; i++)
    if (i + 1 == pages->in_log_count ||
        pages->in_log[i].page != pages->in_log[i + 1].page)
      pages->in_log[kept++] = pages->in_log[i];
  pages->in_log_count = kept;
}

static int
add_frame (struct rawfile *pages, const struct log_page *page, size_t frames,
           struct status *status)
{
  struct log_page *in_log = pages->in_log;

  /* Room is doubled at powers of two. */
  if ((frames & (frames - 1)) == 0) {
    in_log = realloc (in_log, (2 * frames + 1) * sizeof *in_log);
    if (in_log == NULL)
      return status_no_memory (status);
    pages->in_log = in_log;
  }
  in_log[frames] = *page;
  return 0;
}

/* Go through the frames of the log. */
static int
read_frames (struct rawfile *pages, struct log_walk *walk,
             struct status *status)
{
  size_t frames = 0;

  while (log_walk_next (walk, pages->page)) {
    const struct log_page page = { walk->page, walk->offset };

    if (add_frame (pages, &page, frames++, status) == -1)
      return -1;
    if (walk->commit != 0) { /* the end of a transaction */
      pages->in_log_count = pages->log_frames = frames;
      pages->count = walk->commit;
    }
  }
  pages->log_torn = walk->is_torn;
  return 0;
}

/* Read the log, and the salts of its header into SALTS.  Returns 1, 0 where
 * there is none that SQLite would take, -1.
 */
static int
read_log (struct rawfile *pages, const char *path,
          unsigned char salts[LOG_SALTS_SIZE], struct status *status)
{
  char *name = files_side (path, "-wal");
  struct log_walk walk;
  struct raw log;

  if (name == NULL)
    return status_no_memory (status);
  pages->log = open (name, O_RDONLY | O_CLOEXEC);
  free (name);
  log = (struct raw){ .fd = pages->log };
  if (pages->log == -1 || fstat (pages->log, &pages->log_opened) == -1 ||
      !log_walk_begin (&walk, &log) || walk.page_size != pages->page_size)
    return 0;
  if (read_frames (pages, &walk, status) == -1)
    return -1;
  keep_newest (pages);
  memcpy (salts, walk.salts, LOG_SALTS_SIZE);
  return 1;
}

/* The shared memory of the log tells how many frames were committed, and how
 * many of them are in the database, if it is of this log.  Nothing tells
 * where it is gone, too ("The WAL-Index File Format" in walformat.html).
 */
static void
look_for_lost_log (struct rawfile *pages, const char *index,
                   const unsigned char *log_salts)
{
  struct {
    uint32_t version, unused, change;
    uint8_t is_init, is_big_endian;
    uint16_t page_size;
    uint32_t frames, pages, frame_checksum[2];
    unsigned char salts[LOG_SALTS_SIZE];
    uint32_t checksum[2];
  } head[2];
  uint32_t in_database, known;
  const int fd = open (index, O_RDONLY | O_CLOEXEC);

  if (fd == -1)
    return;
  if (read_at (fd, head, sizeof head, 0) &&
      read_at (fd, &in_database, sizeof in_database, sizeof head) &&
      memcmp (&head[0], &head[1], sizeof head[0]) == 0 && head[0].is_init &&
      (log_salts == NULL ||
       memcmp (head[0].salts, log_salts, LOG_SALTS_SIZE) == 0)) {
    known = pages->log_frames > in_database ? pages->log_frames : in_database;
    if (head[0].frames > known)
      pages->log_lost = head[0].frames - known;
  }
  close (fd);
}

/* Count what is there, and how many pages the file is too short for: its
 * header, or the log, says how many there are.
 */
static void
count_pages (struct rawfile *pages)
{
  unsigned char header[PAGE_HEADER_SIZE];
  const uint64_t in_file = pages->opened.st_size / pages->page_size;
  uint64_t wanted = pages->count;
  uint32_t in_log = 0;

  pages->in_file = in_file < pages->count ? in_file : pages->count;
  for (size_t i = 0; i < pages->in_log_count; i++)
    in_log += pages->in_log[i].page > in_file &&
              pages->in_log[i].page <= pages->count;
  pages->present = pages->in_file + in_log;
  if (pages->in_log_count == 0) {
    read_at (pages->file, header, sizeof header, 0);
    if (memcmp (header, "SQLite format 3", 16) != 0)
      return;
    wanted = big_endian (header + PAGE_HEADER_PAGES);
  }
  if (wanted > in_file + in_log)
    pages->missing = wanted - in_file - in_log;
}

static int
read_header (struct rawfile *pages, uint32_t page_size, struct status *status)
{
  unsigned char header[PAGE_HEADER_SIZE];
  const struct stat *st = &pages->opened;

  if (fstat (pages->file, &pages->opened) == -1)
    return status_fail (status, errno, "%s", strerror (errno));
  read_at (pages->file, header, sizeof header, 0);
  pages->page_size = page_size ? page_size : page_size_of (header);
  if (!page_is_size (pages->page_size))
    return status_fail (status, EINVAL,
                        "nothing of a database of sqlblock was found "
                        "in it");
  pages->usable = page_usable (pages->page_size);
  pages->count = st->st_size / pages->page_size > UINT32_MAX - 2
                     ? UINT32_MAX - 2
                     : st->st_size / pages->page_size;
  return 0;
}

/* Read the log, and find out what is missing of it and of the file. */
static int
read_rest (struct rawfile *pages, const char *path, struct status *status)
{
  unsigned char salts[LOG_SALTS_SIZE];
  const int r = read_log (pages, path, salts, status);
  char *index;

  if (r == -1)
    return -1;
  index = files_side (path, "-shm");
  if (index == NULL)
    return status_no_memory (status);
  look_for_lost_log (pages, index, r == 1 ? salts : NULL);
  free (index);
  count_pages (pages);
  return 0;
}

struct rawfile *
rawfile_open (const char *path, uint32_t page_size, struct status *status)
{
  struct rawfile *pages = calloc (1, sizeof *pages);

  if (pages == NULL) {
    status_no_memory (status);
    return NULL;
  }
  pages->log = -1;
  pages->file = open (path, O_RDONLY | O_CLOEXEC);
  if (pages->file == -1)
    status_fail (status, errno, "%s", strerror (errno));
  else if (read_header (pages, page_size, status) == 0 &&
           read_rest (pages, path, status) == 0)
    return pages;
  status_prefix (status, "%s", path);
  rawfile_close (pages);
  return NULL;
}

/* Is the file of FD, which may be -1, what it was? */
static bool
is_still (int fd, const struct stat *opened)
{
  struct stat st;

  return fd == -1 || (fstat (fd, &st) == 0 && st.st_size == opened->st_size &&
                      st.st_ctim.tv_sec == opened->st_ctim.tv_sec &&
                      st.st_ctim.tv_nsec == opened->st_ctim.tv_nsec);
}

int
rawfile_check_still (const struct rawfile *pages, struct status *status)
{
  if (!claim_is_written (pages->file) &&
      is_still (pages->file, &pages->opened) &&
      is_still (pages->log, &pages->log_opened))
    return 0;
  return status_fail (status, EBUSY,
                      "another program has the database open for writing; "
                      "end it first");
}

void
rawfile_close (struct rawfile *pages)
{
  if (pages->file != -1)
    close (pages->file);
  if (pages->log != -1)
    close (pages->log);
  free (pages->in_log);
  free (pages);
}

/* The place in the log's pages of NUMBER, or of the first one behind it. */
static size_t
find_in_log (const struct rawfile *pages, uint32_t number)
{
  size_t low = 0, high = pages->in_log_count;

  while (low < high) {
    const size_t middle = low + (high - low) / 2;

    if (pages->in_log[middle].page < number)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

uint32_t
rawfile_next (const struct rawfile *pages, uint32_t number)
{
  size_t place;

  if (number < pages->in_file)
    return number + 1;
  if (number >= pages->count)
    return 0;
  place = find_in_log (pages, number + 1);
  return place < pages->in_log_count &&
                 pages->in_log[place].page <= pages->count
             ? pages->in_log[place].page
             : 0;
}

/* Returns whether the page is from the log. */
static bool
read_page (struct rawfile *pages, uint32_t number, unsigned char *page)
{
  const struct log_page *found = NULL;
  const size_t low = find_in_log (pages, number);

  if (low < pages->in_log_count && pages->in_log[low].page == number)
    found = &pages->in_log[low];
  if (!read_at (found ? pages->log : pages->file, page, pages->page_size,
                found ? found->offset
                      : (uint64_t)(number - 1) * pages->page_size))
    pages->unreadable++;
  return found;
}

void
rawfile_get (struct rawfile *pages, uint32_t number)
{
  pages->current_in_log = read_page (pages, number, pages->page);
  pages->current = number;
}

static bool
is_use (unsigned char use)
{
  return use >= PAGE_ROOT && use <= PAGE_TREE;
}

/* Read a page of the pointer map.  Where much of it makes no sense, nothing
 * of it does.
 */
static void
read_map (struct rawfile *pages, uint32_t map, uint32_t entries)
{
  unsigned wrong = 0;

  read_page (pages, map, pages->map);
  pages->map_number = map;
  for (uint32_t i = 0; i < entries && map + 1 + i <= pages->count; i++)
    wrong += !is_use (pages->map[PAGE_MAP_ENTRY * i]);
  if (wrong > MAP_WRONG)
    memset (pages->map, 0, pages->page_size);
}

enum page_use
rawfile_use (struct rawfile *pages, uint32_t number)
{
  uint32_t map;
  unsigned char use;

  if (number < 2)
    return PAGE_ROOT;
  map = page_map_of (pages->page_size, number);
  if (map == number)
    return PAGE_MAP;
  if (number < map)
    return 0;
  if (pages->map_number != map)
    read_map (pages, map, page_map_distance (pages->page_size) - 1);
  use = pages->map[PAGE_MAP_ENTRY * (number - map - 1)];
  return is_use (use) ? use : 0;
}

/*--------------------------------------------------------------------
 * Pages of b-trees.
 */

bool
rawfile_tree (const struct rawfile *pages, struct tree_page *tree)
{
  const unsigned start = pages->current == 1 ? PAGE_HEADER_SIZE : 0;
  const unsigned char *head = pages->page + start;

  tree->type = head[0];
  tree->cells = big_endian_16 (head + 3);
  switch (tree->type) {
  case INDEX_INTERIOR:
  case TABLE_INTERIOR:
    tree->last_child = big_endian (head + 8);
    tree->pointers = start + 12;
    break;
  case INDEX_LEAF:
  case TABLE_LEAF:
    tree->last_child = 0;
    tree->pointers = start + 8;
    break;
  default:
    return false;
  }
  return tree->pointers + 2 * tree->cells <= pages->usable;
}

unsigned
rawfile_cell (const struct rawfile *pages, const struct tree_page *tree,
              unsigned i)
{
  const unsigned at =
      big_endian_16 (pages->page + tree->pointers + 2 * (size_t)i);

  return at >= tree->pointers + 2 * tree->cells && at < pages->usable - 3 ? at
                                                                          : 0;
}

/* Read a number of 1 to 9 bytes; returns how many, 0 where they go past END.
 */
static unsigned
read_varint (const unsigned char *bytes, const unsigned char *end,
             uint64_t *value)
{
  *value = 0;
  for (unsigned i = 0; i < 9 && bytes + i < end; i++) {
    if (i == 8) {
      *value = *value << 8 | bytes[i];
      return 9;
    }
    *value = *value << 7 | (bytes[i] & 0x7f);
    if ((bytes[i] & 0x80) == 0)
      return i + 1;
  }
  return 0;
}

/* Read the rest of a payload from overflow pages. */
static bool
read_overflow (struct rawfile *pages, uint32_t number, unsigned char *payload,
               size_t left)
{
  const size_t most = pages->usable - PAGE_NEXT_SIZE;
  unsigned char page[PAGE_SIZE_MAX];
  size_t count;

  for (; left > 0; left -= count, payload += count) {
    if (number < 2 || number > pages->count)
      return false;
    read_page (pages, number, page);
    count = left < most ? left : most;
    memcpy (payload, page + PAGE_NEXT_SIZE, count);
    number = big_endian (page);
  }
  return true;
}

bool
rawfile_read_cell (struct rawfile *pages, enum tree_type type, unsigned offset,
                   struct cell *cell, unsigned char *payload)
{
  const unsigned char *const start = pages->page + offset;
  const unsigned char *const end = pages->page + pages->usable;
  const unsigned char *at = start;
  const bool table = type == TABLE_LEAF || type == TABLE_INTERIOR;
  uint64_t length = 0, rowid = 0;
  unsigned used;
  size_t local;

  *cell = (struct cell){ 0 };
  if (type == TABLE_INTERIOR || type == INDEX_INTERIOR) {
    if (end - at < 4)
      return false;
    cell->child = big_endian (at);
    at += 4;
  }
  if (type != TABLE_INTERIOR) {
    used = read_varint (at, end, &length);
    if (used == 0 || length > PAYLOAD_MAX)
      return false;
    at += used;
  }
  if (table) {
    used = read_varint (at, end, &rowid);
    if (used == 0)
      return false;
    at += used;
  }
  cell->rowid = rowid;
  cell->length = length;
  local = page_local (pages->usable, table, length);
  cell->local = at - start + local;
  if ((size_t)(end - at) < local + (local < length ? 4 : 0))
    return false;
  memcpy (payload, at, local);
  return local == length || read_overflow (pages, big_endian (at + local),
                                           payload + local, length - local);
}

bool
rawfile_tree_cell (struct rawfile *pages, const struct tree_page *tree,
                   unsigned i, struct cell *cell, unsigned char *payload)
{
  const unsigned at = rawfile_cell (pages, tree, i);

  return at != 0 && rawfile_read_cell (pages, tree->type, at, cell, payload);
}

/*--------------------------------------------------------------------
 * Records.
 */

/* The length of a value of a serial type; SIZE_MAX where there is none. */
static size_t
value_length (uint64_t type)
{
  static const unsigned char lengths[] = { 0, 1, 2, 3, 4, 6, 8, 8, 0, 0 };

  if (type < sizeof lengths)
    return lengths[type];
  return type < 12 || type > 2 * PAYLOAD_MAX + 13 ? SIZE_MAX : (type - 12) / 2;
}

static struct value
make_value (uint64_t type, const unsigned char *bytes, size_t length)
{
  struct value value = { .bytes = bytes, .length = length };
  uint64_t bits;

  if (type >= 12)
    value.type = type % 2 ? VALUE_TEXT : VALUE_BLOB;
  else if (type == 7)
    value.type = VALUE_REAL;
  else if (type > 0) {
    value.type = VALUE_INTEGER;
    bits = length > 0 && bytes[0] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = 0; i < length; i++)
      bits = bits << 8 | bytes[i];
    value.integer = type == 9 ? 1 : (int64_t)bits;
  }
  return value;
}

unsigned
record_parse (const unsigned char *payload, size_t length,
              struct value values[RECORD_VALUES])
{
  const unsigned char *const end = payload + length;
  const unsigned char *types = payload, *bytes;
  uint64_t header, type;
  unsigned count = 0, used = read_varint (payload, end, &header);
  size_t size;

  if (used == 0 || header > length || header < used)
    return 0;
  types += used;
  bytes = payload + header;
  while (types < payload + header) {
    used = read_varint (types, payload + header, &type);
    size = used ? value_length (type) : SIZE_MAX;
    if (size == SIZE_MAX || size > (size_t)(end - bytes) ||
        count == RECORD_VALUES)
      return 0;
    values[count++] = make_value (type, bytes, size);
    types += used;
    bytes += size;
  }
  return bytes == end ? count : 0;
}
