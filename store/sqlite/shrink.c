/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Giving free pages back: see shrink.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "sqlite/freelist.h"
#include "sqlite/log.h"
#include "sqlite/marking.h"
#include "sqlite/page.h"
#include "sqlite/shrink.h"

/* A page cache with room for what moves, in KiB. */
#define LARGE_CACHE 64000

int
shrink_look (struct connection *connection, struct shrink_pages *pages,
             struct status *status)
{
  static const char total_sql[] = "PRAGMA page_count";
  static const char free_sql[] = "PRAGMA freelist_count";
  int64_t size, total, free;

  if (connection_page_size (connection, &size, status) == -1 ||
      connection_integer (connection, total_sql, &total, status) == -1 ||
      connection_integer (connection, free_sql, &free, status) == -1)
    return -1;
  *pages = (struct shrink_pages){ size, total, free };
  return 0;
}

/*--------------------------------------------------------------------
 * The pointer map ("Pointer Map or Ptrmap Pages" in SQLite's fileformat2.html).
 *
 * Page 2 is the first of its pages; it says what the pages after it are, and
 * the page after those is the next of it: that is a group.
 */

struct map {
  const struct shrink_pages *pages;
  sqlite3_file *database, *log;
  uint64_t each;    /* pages in a group */
  uint64_t new_end; /* the last page that stays */
  uint64_t first;   /* the group with the first page that goes */
  uint64_t count;   /* groups from that one on */
  int64_t *in_log;  /* where their newest map is in the log; 0: it is not */
  unsigned char *page;
  uint64_t moves; /* pages that have to move */
};

static uint64_t
group_of (const struct map *map, uint64_t page)
{
  return (page - 2) / map->each;
}

static uint64_t
map_of (const struct map *map, uint64_t group)
{
  return page_map_of (map->pages->size, group * map->each + 2);
}

/* Where the file ends without free pages, as SQLite reckons it: a part of
 * the map goes as well.
 */
static uint64_t
find_new_end (const struct map *map)
{
  const uint64_t total = map->pages->total, free = map->pages->free;
  const uint64_t entries = map->each - 1;
  const uint64_t unused = page_unused (map->pages->size);
  const uint64_t last_map = page_map_of (map->pages->size, total);
  uint64_t end = total - free - (free + last_map + entries - total) / entries;

  if (total > unused && end < unused)
    end--;
  while (end > 2 &&
         (end == unused || end == page_map_of (map->pages->size, end)))
    end--;
  return end;
}

static void
note_in_log (uint32_t page, int64_t offset, void *opaque)
{
  struct map *map = opaque;
  uint64_t group;

  if (page < 2)
    return;
  group = group_of (map, page);
  if (group >= map->first && group - map->first < map->count &&
      page == map_of (map, group))
    map->in_log[group - map->first] = offset;
}

static int
read_map (struct map *map, uint64_t group)
{
  const int64_t in_log = map->in_log[group - map->first];
  const int64_t in_file = (map_of (map, group) - 1) * map->pages->size;
  sqlite3_file *file = in_log ? map->log : map->database;

  return file->pMethods->xRead (file, map->page, map->pages->size,
                                in_log ? in_log : in_file);
}

/* How many pages of a group have to move? */
static uint64_t
count_moves (const struct map *map, uint64_t group)
{
  const uint64_t first = map_of (map, group) + 1;
  const uint64_t next = (group + 1) * map->each + 2;
  const uint64_t end = next < map->pages->total ? next : map->pages->total + 1;
  uint64_t moves = 0;

  for (uint64_t page = first > map->new_end ? first : map->new_end + 1;
       page < end; page++)
    moves += page != page_unused (map->pages->size) &&
             map->page[PAGE_MAP_ENTRY * (page - first)] != PAGE_FREE;
  return moves;
}

/* Find the files, and the layout of the map. */
static int
open_map (struct map *map, struct connection *connection, struct status *status)
{
  const int rc = connection_files (connection, &map->database, &map->log);

  if (rc != SQLITE_OK)
    return status_fail_sqlite (status, connection->db, rc,
                               "reading the pointer map");
  map->each = page_map_distance (map->pages->size);
  map->new_end = find_new_end (map);
  map->first = group_of (map, map->new_end + 1);
  map->count = group_of (map, map->pages->total) - map->first + 1;
  map->in_log = calloc (map->count, sizeof *map->in_log);
  map->page = malloc (map->pages->size);
  if (map->in_log == NULL || map->page == NULL)
    return status_no_memory (status);
  return log_find_pages (connection, note_in_log, map, status);
}

/* The pages of most groups are free, or all of one are in use: a few groups
 * tell soon where there are too many.
 */
static int
moves_few (struct map *map, uint64_t limit, struct status *status)
{
  int rc;

  for (uint64_t i = 0; i < map->count && map->moves <= limit; i++) {
    rc = read_map (map, map->first + i);
    if (rc != SQLITE_OK)
      return status_fail_sqlite (status, NULL, rc, "reading the pointer map");
    map->moves += count_moves (map, map->first + i);
  }
  return map->moves <= limit;
}

/* As shrink_moves_few; also says where the file is to end, and where it
 * returns 1 how many pages move.
 */
static int
survey (struct connection *connection, const struct shrink_pages *pages,
        uint64_t limit, struct freelist_order *order, struct status *status)
{
  struct map map = { .pages = pages };
  int r;

  if (pages->total < 3 || pages->free >= pages->total - 2)
    return status_fail (status, EIO,
                        "the list of free pages is damaged; see \"sqlblock "
                        "check\"");
  r = open_map (&map, connection, status);
  if (r == 0)
    r = moves_few (&map, limit, status);
  *order = (struct freelist_order){
    .total = pages->total,
    .free = pages->free,
    .new_end = map.new_end,
    .places = map.moves,
  };
  free (map.in_log);
  free (map.page);
  return r;
}

int
shrink_moves_few (struct connection *connection,
                  const struct shrink_pages *pages, uint64_t limit,
                  struct status *status)
{
  struct freelist_order ignored;

  return survey (connection, pages, limit, &ignored, status);
}

/*--------------------------------------------------------------------
 * Giving back.
 */

/* The transaction of shrink_at_once.  Returns 1 where it is to be committed.
 */
static int
prepare_at_once (struct connection *connection, uint64_t limit,
                 struct status *status)
{
  struct freelist_order order;
  struct shrink_pages pages;
  int r;

  connection_frees_space (connection);
  if (shrink_look (connection, &pages, status) == -1)
    return -1;
  r = survey (connection, &pages, limit, &order, status);
  if (r != 1)
    return r;
  if (freelist_arrange (connection, &order, status) == -1 ||
      connection_set_cache (connection, LARGE_CACHE, status) == -1 ||
      connection_vacuum_at_commit (connection, status) == -1)
    return -1;
  return 1;
}

int
shrink_at_once (struct connection *connection, uint64_t limit,
                struct status *status)
{
  int r;

  if (marking_begin (connection, status) == -1)
    return -1;
  r = prepare_at_once (connection, limit, status);
  if (r == 1 && connection_commit (connection, status) == -1)
    r = -1;
  if (r != 1)
    connection_rollback (connection);
  return r;
}

/* The transaction of shrink_arrange. */
static int
arrange (struct connection *connection, uint64_t count, uint64_t *cut,
         struct status *status)
{
  struct freelist_order order;
  struct shrink_pages pages;

  connection_frees_space (connection);
  if (shrink_look (connection, &pages, status) == -1 ||
      survey (connection, &pages, 0, &order, status) == -1)
    return -1;
  order.cut = order.new_end;
  if (pages.total - order.new_end > count)
    order.cut = pages.total - count;
  *cut = order.cut;
  return freelist_arrange (connection, &order, status);
}

int
shrink_arrange (struct connection *connection, uint64_t count, uint64_t *cut,
                struct status *status)
{
  if (marking_begin (connection, status) == 0 &&
      arrange (connection, count, cut, status) == 0 &&
      connection_commit (connection, status) == 0)
    return 0;
  connection_rollback (connection);
  return -1;
}

int
shrink_step (struct connection *connection, uint64_t keep, uint64_t most,
             uint64_t nanoseconds, struct shrink_pages *pages,
             struct status *status)
{
  /* It takes one page off for each row that it returns. */
  static const char vacuum_sql[] = "PRAGMA incremental_vacuum";
  const uint64_t end = clock_now () + nanoseconds;
  CLEANUP_STATEMENT sqlite3_stmt *vacuum =
      connection_statement (connection, vacuum_sql, status);
  uint64_t taken = 0;
  int r = 1;

  if (vacuum == NULL || shrink_look (connection, pages, status) == -1)
    return -1;
  while (r == 1 && pages->free > keep + taken) {
    r = connection_step (connection, vacuum, status);
    if (++taken >= most || clock_now () >= end)
      break;
  }
  statement_done (&vacuum);
  return r == -1 ? -1 : shrink_look (connection, pages, status);
}
