/* How much space: see usage.h. */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "layers.h"
#include "snapshots.h"
#include "usage.h"

/* How many blocks are mapped at a time. */
#define MAP_BLOCKS 65536

/* From where a layer is looked at. */
struct viewer {
  int64_t generation;
  size_t others; /* how many up to this one, by generation, are not own:
                    not of those whose usage is counted */
};

/* A growing list of layers. */
struct layer_list {
  int64_t *ids;
  size_t count;
  size_t room;
};

static int
list_add (struct layer_list *list, int64_t id, struct status *status)
{
  int64_t *ids;

  if (list->count == list->room) {
    list->room = 2 * list->room + 16;
    ids = realloc (list->ids, list->room * sizeof *ids);
    if (ids == NULL)
      return status_no_memory (status);
    list->ids = ids;
  }
  list->ids[list->count++] = id;
  return 0;
}

static bool
list_has (const struct layer_list *list, int64_t id)
{
  for (size_t i = 0; i < list->count; i++)
    if (list->ids[i] == id)
      return true;
  return false;
}

/* Take the highest layer off a list, however often it is there; 0 where it
 * is empty.
 */
static int64_t
list_take_highest (struct layer_list *list)
{
  int64_t highest = 0;
  size_t left = 0;

  for (size_t i = 0; i < list->count; i++)
    if (list->ids[i] > highest)
      highest = list->ids[i];
  for (size_t i = 0; i < list->count; i++)
    if (list->ids[i] != highest)
      list->ids[left++] = list->ids[i];
  list->count = left;
  return highest;
}

/* What is counted. */
struct count {
  struct connection *connection;
  const struct disk_info *disk;
  bool history;
  uint64_t rows;

  struct layer_list todo;
  struct layer_list own; /* layers that only own viewers look at */

  /* The layer at hand. */
  int64_t layer;
  struct viewer *viewers;
  size_t viewers_count;
};

static int
add_viewer (struct count *count, int64_t generation, bool own,
            struct status *status)
{
  struct viewer *viewers, *viewer;

  /* Room is doubled at powers of two. */
  if ((count->viewers_count & (count->viewers_count - 1)) == 0) {
    viewers = realloc (count->viewers,
                       (2 * count->viewers_count + 1) * sizeof *viewers);
    if (viewers == NULL)
      return status_no_memory (status);
    count->viewers = viewers;
  }
  viewer = &count->viewers[count->viewers_count];
  viewer->generation = generation;
  viewer->others = !own + (count->viewers_count > 0 ? viewer[-1].others : 0);
  count->viewers_count++;
  return 0;
}

/* Fill count->viewers, by generation. */
static int
find_viewers (struct count *count, struct status *status)
{
  static const char viewers_sql[] =
      "SELECT layer.generation, disk.id, 0, 0"
      " FROM disk JOIN layer ON layer.id = disk.layer WHERE disk.layer = ?1"
      " UNION ALL SELECT generation, disk, id, 0"
      " FROM snapshot WHERE layer = ?1"
      " UNION ALL SELECT parent_generation, 0, 0, id"
      " FROM layer WHERE parent = ?1 ORDER BY 1";
  CLEANUP_STATEMENT sqlite3_stmt *viewers =
      connection_statement (count->connection, viewers_sql, status);
  const struct disk_info *disk = count->disk;
  int64_t disk_id, snapshot, child;
  bool own;
  int r;

  if (viewers == NULL)
    return -1;
  count->viewers_count = 0;
  sqlite3_bind_int64 (viewers, 1, count->layer);
  while ((r = connection_step (count->connection, viewers, status)) == 1) {
    disk_id = sqlite3_column_int64 (viewers, 1);
    snapshot = sqlite3_column_int64 (viewers, 2);
    child = sqlite3_column_int64 (viewers, 3);
    if (child != 0)
      own = list_has (&count->own, child);
    else
      own =
          disk_id == disk->id && (count->history || snapshot == disk->snapshot);
    if (add_viewer (count, sqlite3_column_int64 (viewers, 0), own, status) ==
        -1)
      return -1;
  }
  return r;
}

/* The first viewer that is not below GENERATION. */
static size_t
first_viewer (const struct count *count, int64_t generation)
{
  size_t low = 0, high = count->viewers_count, middle;

  while (low < high) {
    middle = low + (high - low) / 2;
    if (count->viewers[middle].generation < generation)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* Is a row of GENERATION, the next newer of whose number is of NEWER, seen
 * by own viewers only?
 */
static bool
is_own (const struct count *count, int64_t generation, int64_t newer)
{
  const struct viewer *viewers = count->viewers;
  const size_t first = first_viewer (count, generation);
  const size_t end = first_viewer (count, newer);

  return first < end &&
         viewers[end - 1].others == (first > 0 ? viewers[first - 1].others : 0);
}

/* A row of the layer at hand, on a walk upwards; of zeroes or not. */
struct place {
  int64_t number;
  int64_t generation;
};

/* Step to the next row of a walk.  Returns 1, 0 at the end, -1. */
static int
next_place (struct count *count, sqlite3_stmt *rows, struct place *place,
            struct status *status)
{
  const int r = connection_step (count->connection, rows, status);

  *place = (struct place){ INT64_MAX, INT64_MAX };
  if (r == 1) {
    place->number = sqlite3_column_int64 (rows, 0);
    place->generation = sqlite3_column_int64 (rows, 1);
  }
  return r;
}

/* Count the rows of the layer at hand that are data. */
static int
count_rows (struct count *count, struct status *status)
{
  static const char rows_sql[] =
      "SELECT number, generation FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 ORDER BY number, generation";
  static const char zeroes_sql[] =
      "SELECT number, generation FROM block INDEXED BY block_zero"
      " WHERE codec = 0 AND layer = ?1 ORDER BY number, generation";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (count->connection, rows_sql, status);
  CLEANUP_STATEMENT sqlite3_stmt *zeroes =
      connection_statement (count->connection, zeroes_sql, status);
  struct place row, next, zero;
  int r;

  if (rows == NULL || zeroes == NULL)
    return -1;
  sqlite3_bind_int64 (rows, 1, count->layer);
  sqlite3_bind_int64 (zeroes, 1, count->layer);
  if (next_place (count, zeroes, &zero, status) == -1)
    return -1;
  for (r = next_place (count, rows, &row, status); r == 1; row = next) {
    r = next_place (count, rows, &next, status);
    if (r == -1)
      break;
    if (row.number == zero.number && row.generation == zero.generation) {
      if (next_place (count, zeroes, &zero, status) == -1)
        return -1;
    }
    else if (is_own (count, row.generation,
                     next.number == row.number ? next.generation : INT64_MAX))
      count->rows++;
    if (r == 0)
      break;
  }
  return r;
}

/* Everything that looks at the layer at hand is own: what it takes from its
 * parent is, too.
 */
static int
go_to_parent (struct count *count, struct status *status)
{
  static const char parent_sql[] =
      "SELECT parent FROM layer WHERE id = ?1 AND parent < id";
  CLEANUP_STATEMENT sqlite3_stmt *parent =
      connection_statement (count->connection, parent_sql, status);
  int r;

  if (parent == NULL || list_add (&count->own, count->layer, status) == -1)
    return -1;
  sqlite3_bind_int64 (parent, 1, count->layer);
  r = connection_step (count->connection, parent, status);
  if (r != 1)
    return r;
  return list_add (&count->todo, sqlite3_column_int64 (parent, 0), status);
}

/* Begin with the layer of the disk or snapshot, or with HISTORY with those
 * of the disk and all its snapshots.
 */
static int
find_layers (struct count *count, struct status *status)
{
  static const char layers_sql[] =
      "SELECT layer FROM disk WHERE id = ?1 AND ?2 = 0"
      " UNION SELECT layer FROM snapshot WHERE disk = ?1 AND ?2 IN (id, ?3)";
  CLEANUP_STATEMENT sqlite3_stmt *layers =
      connection_statement (count->connection, layers_sql, status);
  int r;

  if (layers == NULL)
    return -1;
  sqlite3_bind_int64 (layers, 1, count->disk->id);
  sqlite3_bind_int64 (layers, 2, count->disk->snapshot);
  sqlite3_bind_int64 (layers, 3, count->history ? 0 : -1);
  while ((r = connection_step (count->connection, layers, status)) == 1)
    if (list_add (&count->todo, sqlite3_column_int64 (layers, 0), status) == -1)
      return -1;
  return r;
}

/* Children have higher ids than their parents: they go first. */
static int
count_layers (struct count *count, struct status *status)
{
  const struct viewer *last;

  if (find_layers (count, status) == -1)
    return -1;
  while ((count->layer = list_take_highest (&count->todo)) != 0) {
    if (find_viewers (count, status) == -1 || count_rows (count, status) == -1)
      return -1;
    last = &count->viewers[count->viewers_count - 1];
    if (count->viewers_count > 0 && last->others == 0 &&
        go_to_parent (count, status) == -1)
      return -1;
  }
  return 0;
}

int
usage_exclusive (struct connection *connection, const struct disk_info *disk,
                 bool history, uint64_t *bytes, struct status *status)
{
  struct count count = {
    .connection = connection,
    .disk = disk,
    .history = history,
  };
  const int r = count_layers (&count, status);

  free (count.viewers);
  free (count.todo.ids);
  free (count.own.ids);
  *bytes = count.rows * disk->block_size;
  return r;
}

/* Add the data among COUNT blocks from FIRST. */
static int
add_stored (struct connection *connection, const struct view *view,
            uint64_t first, uint32_t count, uint8_t *map, uint64_t *bytes,
            struct status *status)
{
  if (view_map (connection, view, first, count, map, status) == -1)
    return -1;
  for (uint32_t i = 0; i < count; i++)
    *bytes += map[i] ? view->block_size : 0;
  return 0;
}

int
usage_stored (struct connection *connection, const struct disk_info *disk,
              uint64_t *bytes, struct status *status)
{
  struct view view = { 0 };
  uint8_t *map = malloc (MAP_BLOCKS);
  uint64_t next = 0, end;
  uint32_t count;
  int r;

  *bytes = 0;
  if (map == NULL)
    return status_no_memory (status);
  r = snapshots_view (connection, disk, &view, status);
  end = r == 0 ? view_blocks (&view) : 0;
  while (r == 0 && next < end) {
    r = view_next_row (connection, &view, next, end, &next, status);
    count = end - next < MAP_BLOCKS ? end - next : MAP_BLOCKS;
    if (r == 0 && count > 0)
      r = add_stored (connection, &view, next, count, map, bytes, status);
    next += count;
  }
  view_free (&view);
  free (map);
  return r;
}
