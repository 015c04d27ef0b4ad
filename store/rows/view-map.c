/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Where a view has data, without reading it: see layers.h.
 *
 * A map says of each block whether it is data or zeroes, from two indexes: that
 * of all rows, and that of the rows of zeroes.  Extents are gathered from maps;
 * a hole goes on to the next row.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "rows/layers.h"
#include "rows/walk.h"

/* Bounds on the work of view_extents, in blocks: the first and the largest
 * part of the range that is mapped at a time, and the total.
 */
#define MAP_FIRST 64
#define MAP_MOST  65536
#define MAP_TOTAL 1048576

/* Values while a map is made; a caller sees only MAP_ZERO and MAP_DATA. */
enum { MAP_ZERO = 0, MAP_DATA = 1, MAP_UNKNOWN = 2 };

/* A walk that finds many rows in one step of SQLite.
 *
 * SQLite compares each row with a place (number, generation) once more, which
 * takes a sixth of the time.  So the walk begins with a statement that knows
 * numbers only, and goes on with the other one when a row is too new.
 */
struct run_sql {
  const char *numbers, *places;
};
#define RUN_SQL(index, more, where)                                            \
  "SELECT 1 FROM block INDEXED BY " index " WHERE " more                       \
  "layer = ?1 AND number >= ?2 AND " where                                     \
  " AND visit (?5, number, generation) ORDER BY number DESC, generation DESC"
#define RUN_NUMBERS "number <= ?3"
#define RUN_PLACES  "(number, generation) <= (?3, ?4)"

#define RUN_ROWS 128
struct run {
  struct visitor visitor;
  struct walk walk;
  const char *places_sql; /* NULL where it is in use */
  enum row_use last;      /* what the row looked at last was */
  bool ended;             /* no more can be found */
  size_t count;           /* rows that were found */
  size_t used;            /* of them: those that were used */
  struct {
    int64_t number, generation;
  } * row, rows[RUN_ROWS];
};

/* Look at a row.  Returns true when that is enough for one step. */
static bool
run_visit (struct visitor *visitor, int64_t number, int64_t generation)
{
  struct run *run = (struct run *)visitor;

  run->last = walk_look (&run->walk, number, generation);
  if (run->last != ROW_FOUND)
    return run->last != ROW_OLDER;
  run->rows[run->count].number = number;
  run->rows[run->count++].generation = generation;
  return run->count == RUN_ROWS || walk_is_over (&run->walk);
}

static int
run_begin (struct run *run, struct connection *connection,
           const struct run_sql *sql, const struct layer_point *layer,
           uint64_t first, uint64_t last, struct status *status)
{
  run->visitor.visit = run_visit;
  run->last = ROW_OLDER;
  run->ended = false;
  run->count = run->used = 0;
  run->places_sql = sql->places;
  if (walk_begin (&run->walk, connection, sql->numbers, layer, first, last, 4,
                  status) == -1)
    return -1;
  statement_visit (run->walk.statement, 5, &run->visitor);
  return 0;
}

/* Go on with the statement that can seek to a generation. */
static int
run_use_places (struct run *run, struct status *status)
{
  statement_done (&run->walk.statement);
  run->walk.statement =
      connection_statement (run->walk.connection, run->places_sql, status);
  run->places_sql = NULL;
  if (run->walk.statement == NULL)
    return -1;
  statement_visit (run->walk.statement, 5, &run->visitor);
  return 0;
}

static void
run_end (struct run *run)
{
  walk_end (&run->walk);
}
#define CLEANUP_RUN __attribute__ ((cleanup (run_end)))

/* Find more rows, unless there are none. */
static int
run_fill (struct run *run, struct status *status)
{
  int r;

  run->count = run->used = 0;
  while (run->count == 0 && !run->ended) {
    if (run->last == ROW_NEWER && run->places_sql &&
        run_use_places (run, status) == -1)
      return -1;
    r = walk_step (&run->walk, status);
    if (r == -1)
      return -1;
    if (r == 1 && run->last == ROW_WRONG)
      return walk_fail (status);
    run->ended = r == 0 || walk_is_over (&run->walk);
  }
  return 0;
}

/* Go on to the next visible row, run->row.  Returns 1, 0 at the end, -1. */
static int
run_next (struct run *run, struct status *status)
{
  if (run->used == run->count && run_fill (run, status) == -1)
    return -1;
  if (run->used == run->count)
    return 0;
  run->row = &run->rows[run->used++];
  return 1;
}

/* Map what one layer has of the blocks from FIRST on that are unknown; say
 * in SHOWN, where that is not NULL, which rows the data is in.  Returns how
 * many blocks it has mapped, or -1.
 */
static int64_t
map_layer (struct connection *connection, const struct layer_point *layer,
           uint64_t first, uint32_t count, uint8_t *map,
           struct layer_point *shown, struct status *status)
{
  static const struct run_sql rows_sql = {
    RUN_SQL ("block_by_number", "", RUN_NUMBERS),
    RUN_SQL ("block_by_number", "", RUN_PLACES),
  };
  static const struct run_sql zeroes_sql = {
    RUN_SQL ("block_zero", "codec = 0 AND ", RUN_NUMBERS),
    RUN_SQL ("block_zero", "codec = 0 AND ", RUN_PLACES),
  };
  const uint64_t last = first + count - 1;
  CLEANUP_RUN struct run rows = { .walk.statement = NULL };
  CLEANUP_RUN struct run zeroes = { .walk.statement = NULL };
  int64_t mapped = 0;
  int zero_left, r;
  uint64_t i;

  if (run_begin (&rows, connection, &rows_sql, layer, first, last, status) ==
          -1 ||
      run_begin (&zeroes, connection, &zeroes_sql, layer, first, last,
                 status) == -1)
    return -1;

  /* Both walks go down; a row is zeroes if it is the newest of both. */
  zero_left = run_next (&zeroes, status);
  while (zero_left != -1 && (r = run_next (&rows, status)) != 0) {
    if (r == -1)
      return -1;
    while (zero_left == 1 && zeroes.row->number > rows.row->number)
      zero_left = run_next (&zeroes, status);
    i = rows.row->number - first;
    if (map[i] != MAP_UNKNOWN)
      continue;
    mapped++;
    map[i] = zero_left == 1 && zeroes.row->number == rows.row->number &&
                     zeroes.row->generation == rows.row->generation
                 ? MAP_ZERO
                 : MAP_DATA;
    if (shown && map[i] == MAP_DATA)
      shown[i] = (struct layer_point){ layer->layer, rows.row->generation };
  }
  return zero_left == -1 ? -1 : mapped;
}

/* Map all layers of a view. */
static int
map_view (struct connection *connection, const struct view *view,
          uint64_t first, uint32_t count, uint8_t *map,
          struct layer_point *shown, struct status *status)
{
  int64_t unknown = count, mapped;

  memset (map, MAP_UNKNOWN, count);
  for (size_t i = 0; i < view->depth && unknown > 0; i++) {
    mapped = map_layer (connection, &view->layers[i], first, count, map, shown,
                        status);
    if (mapped == -1)
      return -1;
    unknown -= mapped;
  }
  return 0;
}

int
view_rows (struct connection *connection, const struct view *view,
           uint64_t first, uint32_t count, struct layer_point *rows,
           struct status *status)
{
  uint8_t *map = malloc (count);
  int r;

  if (map == NULL)
    return status_no_memory (status);
  memset (rows, 0, count * sizeof *rows);
  r = map_view (connection, view, first, count, map, rows, status);
  free (map);
  return r;
}

int
view_map (struct connection *connection, const struct view *view,
          uint64_t first, uint32_t count, uint8_t *map, struct status *status)
{
  if (map_view (connection, view, first, count, map, NULL, status) == -1)
    return -1;
  for (uint32_t i = 0; i < count; i++)
    if (map[i] == MAP_UNKNOWN)
      map[i] = MAP_ZERO;
  return 0;
}

int
view_row_limit (struct connection *connection, const struct view *view,
                uint64_t first, uint64_t end, uint32_t rows, uint64_t *number,
                struct status *status)
{
  static const char limit_sql[] =
      "SELECT number FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND number >= ?2 AND number < ?3"
      " ORDER BY number LIMIT 1 OFFSET ?4";

  *number = end;
  for (size_t i = 0; i < view->depth; i++) {
    CLEANUP_STATEMENT sqlite3_stmt *limit =
        connection_statement (connection, limit_sql, status);
    int r;

    if (limit == NULL)
      return -1;
    sqlite3_bind_int64 (limit, 1, view->layers[i].layer);
    sqlite3_bind_int64 (limit, 2, first);
    sqlite3_bind_int64 (limit, 3, *number);
    sqlite3_bind_int64 (limit, 4, rows - 1);
    r = connection_step (connection, limit, status);
    if (r == -1)
      return -1;
    if (r == 1)
      *number = sqlite3_column_int64 (limit, 0);
  }
  return 0;
}

int
view_next_row (struct connection *connection, const struct view *view,
               uint64_t first, uint64_t end, uint64_t *number,
               struct status *status)
{
  return view_row_limit (connection, view, first, end, 1, number, status);
}

/* Have all layers together more than ROWS rows of the blocks from FIRST to
 * before END?  Returns 1, 0, -1.
 */
static int
has_more_rows (struct connection *connection, const struct view *view,
               uint64_t first, uint64_t end, uint32_t rows,
               struct status *status)
{
  static const char count_sql[] =
      "SELECT count (*) FROM (SELECT 1 FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND number >= ?2 AND number < ?3 LIMIT ?4)";
  int64_t left = rows;

  for (size_t i = 0; i < view->depth && left >= 0; i++) {
    CLEANUP_STATEMENT sqlite3_stmt *count =
        connection_statement (connection, count_sql, status);

    if (count == NULL)
      return -1;
    sqlite3_bind_int64 (count, 1, view->layers[i].layer);
    sqlite3_bind_int64 (count, 2, first);
    sqlite3_bind_int64 (count, 3, end);
    sqlite3_bind_int64 (count, 4, left + 1);
    if (connection_step (connection, count, status) == -1)
      return -1;
    left -= sqlite3_column_int64 (count, 0);
  }
  return left < 0;
}

/* Where they have too many, each layer gets an equal share, which cannot be too
 * many; then twice of that, as long as all together stay below ROWS.
 */
static int
find_part_end (struct connection *connection, const struct view *view,
               uint64_t first, uint64_t end, uint32_t rows, uint64_t *number,
               struct status *status)
{
  int more = has_more_rows (connection, view, first, end, rows, status);
  uint64_t wider;

  *number = more == 0 ? end : first;
  if (more != 1)
    return more;
  for (uint64_t share = rows / view->depth; share <= rows;
       share = 2 * share + 1) {
    if (view_row_limit (connection, view, first, end, share + 1, &wider,
                        status) == -1)
      return -1;
    more = has_more_rows (connection, view, first, wider, rows, status);
    if (more != 0)
      return more == -1 ? -1 : 0;
    *number = wider;
  }
  return 0;
}

/* Most disks have one layer, where the row that is too many is the end. */
int
view_part_end (struct connection *connection, const struct view *view,
               uint64_t first, uint64_t end, uint32_t rows, uint64_t *number,
               struct status *status)
{
  return view->depth == 1 ? view_row_limit (connection, view, first, end,
                                            rows + 1, number, status)
                          : find_part_end (connection, view, first, end, rows,
                                           number, status);
}

/*--------------------------------------------------------------------
 * Extents.
 */

/* Gathers neighbours of one kind into extents of bytes. */
struct gatherer {
  uint64_t offset, end; /* the range asked for, in bytes */
  bool one;
  extent_found found;
  void *opaque;
  uint64_t start; /* of the extent that is growing, in bytes */
  bool hole;      /* its kind */
  bool done;      /* enough was said */
};

/* The range goes on as HOLE from byte AT.  Ends the growing extent if that
 * is a change of kind.
 */
static int
gather (struct gatherer *g, uint64_t at, bool hole, struct status *status)
{
  if (at <= g->offset) {
    g->start = g->offset;
    g->hole = hole;
    return 0;
  }
  if (hole == g->hole)
    return 0;
  if (g->found (g->start, at - g->start, g->hole, g->opaque) == -1)
    return status_no_memory (status);
  g->start = at;
  g->hole = hole;
  g->done = g->one;
  return 0;
}

/* The range ends, or is cut short, at byte AT. */
static int
gather_end (struct gatherer *g, uint64_t at, struct status *status)
{
  if (at > g->end)
    at = g->end;
  if (!g->done && at > g->start &&
      g->found (g->start, at - g->start, g->hole, g->opaque) == -1)
    return status_no_memory (status);
  return 0;
}

/* Have the view's map cover block FIRST, and as many as it is worth while of
 * those before END.  Who goes on near where the map ends gets more of them.
 */
static int
map_ahead (struct connection *connection, struct view *view, uint64_t first,
           uint64_t end, struct status *status)
{
  struct view_ahead *ahead = &view->ahead;
  uint32_t count = MAP_FIRST;

  if (first >= ahead->first && first < ahead->first + ahead->count)
    return 0;
  if (first >= ahead->first + ahead->count &&
      first < ahead->first + 2 * (uint64_t)ahead->count)
    count = 2 * ahead->count < MAP_MOST ? 2 * ahead->count : MAP_MOST;
  if (count > end - first)
    count = end - first;
  ahead->count = 0;
  if (ahead->map == NULL)
    ahead->map = malloc (MAP_MOST);
  if (ahead->map == NULL)
    return status_no_memory (status);
  if (view_map (connection, view, first, count, ahead->map, status) == -1)
    return -1;
  ahead->first = first;
  ahead->count = count;
  return 0;
}

/* Gather blocks from *AT to before END, as far as the view's map goes. */
static int
gather_blocks (struct connection *connection, struct view *view,
               struct gatherer *g, uint64_t *at, uint64_t end,
               struct status *status)
{
  const struct view_ahead *ahead = &view->ahead;

  if (map_ahead (connection, view, *at, end, status) == -1)
    return -1;
  if (end > ahead->first + ahead->count)
    end = ahead->first + ahead->count;
  for (; *at < end && !g->done; ++*at)
    if (gather (g, *at * view->block_size,
                ahead->map[*at - ahead->first] == MAP_ZERO, status) == -1)
      return -1;
  return 0;
}

int
view_extents (struct connection *connection, struct view *view, uint64_t offset,
              uint64_t count, bool one, extent_found found, void *opaque,
              struct status *status)
{
  const uint64_t end = (offset + count - 1) / view->block_size + 1;
  uint64_t at = offset / view->block_size, before, total = 0;
  struct gatherer g = {
    .offset = offset,
    .end = offset + count,
    .one = one,
    .found = found,
    .opaque = opaque,
  };
  int r = 0;

  while (r == 0 && at < end && !g.done && total < MAP_TOTAL) {
    before = at;
    r = gather_blocks (connection, view, &g, &at, end, status);
    total += at - before;
    /* A hole goes on to the next row. */
    if (r == 0 && at < end && !g.done && g.hole)
      r = view_next_row (connection, view, at, end, &at, status);
  }
  return r == 0 ? gather_end (&g, at * view->block_size, status) : -1;
}
