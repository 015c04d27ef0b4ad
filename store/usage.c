/* How much space: see usage.h. */

#include <config.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "follow.h"
#include "layers.h"
#include "usage.h"

/* How many blocks are mapped at a time. */
#define MAP_BLOCKS 65536

/* After how many rows progress is told. */
#define PROGRESS_ROWS 4096

/* More than any number of a block. */
#define NUMBER_END INT64_MAX

/* No group: seen by others, or by several groups. */
#define SHARED SIZE_MAX

/* From where a layer is looked at. */
struct viewer {
  int64_t generation;
  size_t group; /* or SHARED */
  size_t since; /* from which viewer on, by generation, up to this one all
                   are of one group */
  struct usage_item *item; /* NULL where it is none */
  int64_t change; /* how many blocks of data more it shows than the viewer
                     before it does, of those in the layer's rows */
};

/* A layer that is to be walked over, or was. */
struct walked {
  int64_t layer;
  uint32_t block_size; /* bytes */
  size_t group;        /* of all that looks at it, or SHARED */
};

/* A growing list of layers. */
struct walked_list {
  struct walked *layers;
  size_t count, room;
};

static int
list_add (struct walked_list *list, const struct walked *layer,
          struct status *status)
{
  struct walked *layers;

  if (list->count == list->room) {
    list->room = 2 * list->room + 16;
    layers = realloc (list->layers, list->room * sizeof *layers);
    if (layers == NULL)
      return status_no_memory (status);
    list->layers = layers;
  }
  list->layers[list->count++] = *layer;
  return 0;
}

/* Take the highest layer off a list, however often it is there; returns
 * whether there was one.
 */
static bool
list_take_highest (struct walked_list *list, struct walked *highest)
{
  size_t left = 0;

  highest->layer = 0;
  for (size_t i = 0; i < list->count; i++)
    if (list->layers[i].layer > highest->layer)
      *highest = list->layers[i];
  for (size_t i = 0; i < list->count; i++)
    if (list->layers[i].layer != highest->layer)
      list->layers[left++] = list->layers[i];
  list->count = left;
  return highest->layer != 0;
}

/* The contents that show through a layer from below, mapped from the first
 * block to the last.
 */
struct below {
  struct view view;
  uint8_t *map;
  int64_t first;  /* what is mapped now */
  uint32_t count; /* 0 at first */
  bool ended;
  uint64_t data; /* how many blocks were data so far */
};

/* What is counted. */
struct count {
  struct connection *connection;
  struct usage_item **items; /* by their ids */
  size_t items_count;
  uint64_t *freed;
  progress_made progress;
  void *opaque;
  uint64_t rows, bytes; /* that were walked over */
  bool uneven;          /* rows may have fewer bytes than their blocks */

  struct walked_list live; /* that something looks at, the lowest first */
  struct walked_list todo;
  struct walked_list done; /* the highest first */

  /* The layer at hand. */
  struct walked at;
  struct viewer *viewers; /* by generation */
  size_t viewers_count;
  struct below below;
};

/*--------------------------------------------------------------------
 * Who looks at a layer.
 */

static int
compare_items (const void *a, const void *b)
{
  const struct usage_item *x = *(struct usage_item *const *)a;
  const struct usage_item *y = *(struct usage_item *const *)b;

  if (x->disk != y->disk)
    return x->disk < y->disk ? -1 : 1;
  return (x->snapshot > y->snapshot) - (x->snapshot < y->snapshot);
}

static struct usage_item *
find_item (const struct count *count, int64_t disk, int64_t snapshot)
{
  const struct usage_item wanted = { .disk = disk, .snapshot = snapshot };
  const struct usage_item *key = &wanted;
  struct usage_item **found = bsearch (&key, count->items, count->items_count,
                                       sizeof *count->items, compare_items);

  return found ? *found : NULL;
}

static int
compare_layers (const void *a, const void *b)
{
  const struct walked *x = a, *y = b;

  return (x->layer > y->layer) - (x->layer < y->layer);
}

/* For a list that begins with the highest. */
static int
compare_layers_down (const void *a, const void *b)
{
  return compare_layers (b, a);
}

/* LAYER in a list that COMPARE orders, or NULL. */
static const struct walked *
list_find (const struct walked_list *list, int64_t layer,
           int (*compare) (const void *a, const void *b))
{
  const struct walked key = { .layer = layer };

  return list->count == 0 ? NULL
                          : bsearch (&key, list->layers, list->count,
                                     sizeof *list->layers, compare);
}

/* The group of all that looks at LAYER, which has been walked over if all
 * of that is in a group.
 */
static size_t
group_of_layer (const struct count *count, int64_t layer)
{
  const struct walked *found =
      list_find (&count->done, layer, compare_layers_down);

  return found ? found->group : SHARED;
}

/* Find all layers that something looks at, if only through others: what
 * waits to be reclaimed sees nothing.
 */
static int
find_live (struct count *count, struct status *status)
{
  static const char live_sql[] =
      "WITH RECURSIVE live (id) AS (SELECT layer FROM disk"
      "  UNION SELECT layer FROM snapshot"
      "  UNION SELECT parent FROM live JOIN layer ON layer.id = live.id"
      "   WHERE parent IS NOT NULL)"
      " SELECT id FROM live ORDER BY id";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (count->connection, live_sql, status);
  struct walked layer = { 0 };
  int r;

  if (rows == NULL)
    return -1;
  while ((r = connection_step (count->connection, rows, status)) == 1) {
    layer.layer = sqlite3_column_int64 (rows, 0);
    if (list_add (&count->live, &layer, status) == -1)
      return -1;
  }
  return r;
}

static int
add_viewer (struct count *count, const struct viewer *viewer,
            struct status *status)
{
  const size_t n = count->viewers_count;
  struct viewer *viewers = count->viewers;

  /* Room is doubled at powers of two. */
  if ((n & (n - 1)) == 0) {
    viewers = realloc (viewers, (2 * n + 1) * sizeof *viewers);
    if (viewers == NULL)
      return status_no_memory (status);
    count->viewers = viewers;
  }
  viewers[n] = *viewer;
  viewers[n].since =
      n > 0 && viewers[n - 1].group == viewer->group ? viewers[n - 1].since : n;
  count->viewers_count++;
  return 0;
}

/* Fill count->viewers. */
static int
find_viewers (struct count *count, struct status *status)
{
  static const char viewers_sql[] = LAYER_VIEWERS;
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (count->connection, viewers_sql, status);
  int64_t child;
  int r;

  if (rows == NULL)
    return -1;
  count->viewers_count = 0;
  sqlite3_bind_int64 (rows, 1, count->at.layer);
  while ((r = connection_step (count->connection, rows, status)) == 1) {
    struct viewer viewer = { .generation = sqlite3_column_int64 (rows, 0) };

    child = sqlite3_column_int64 (rows, 3);
    if (child != 0 && !list_find (&count->live, child, compare_layers))
      continue;
    if (child == 0)
      viewer.item = find_item (count, sqlite3_column_int64 (rows, 1),
                               sqlite3_column_int64 (rows, 2));
    viewer.group = child         ? group_of_layer (count, child)
                   : viewer.item ? viewer.item->group
                                 : SHARED;
    if (add_viewer (count, &viewer, status) == -1)
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

/*--------------------------------------------------------------------
 * What shows through from below.
 */

/* Begin with the parent of the layer at hand, if it has one. */
static int
below_begin (struct count *count, struct status *status)
{
  static const char parent_sql[] = "SELECT parent, parent_generation FROM layer"
                                   " WHERE id = ?1 AND parent < id";
  CLEANUP_STATEMENT sqlite3_stmt *parent =
      connection_statement (count->connection, parent_sql, status);
  struct below *below = &count->below;
  int r;

  if (parent == NULL)
    return -1;
  below->first = below->count = below->data = 0;
  below->ended = true;
  sqlite3_bind_int64 (parent, 1, count->at.layer);
  r = connection_step (count->connection, parent, status);
  if (r != 1)
    return r;
  below->ended = false;
  return view_layers (count->connection, sqlite3_column_int64 (parent, 0),
                      sqlite3_column_int64 (parent, 1), &below->view, status);
}

/* Map on, until block NUMBER is behind the beginning of what is mapped next,
 * or there is nothing more.
 */
static int
below_advance (struct count *count, int64_t number, struct status *status)
{
  struct below *below = &count->below;
  uint64_t next;

  while (!below->ended && below->first + below->count <= number) {
    if (view_next_row (count->connection, &below->view,
                       below->first + below->count, NUMBER_END, &next,
                       status) == -1)
      return -1;
    below->ended = next >= NUMBER_END - MAP_BLOCKS;
    below->first = next;
    below->count = below->ended ? 0 : MAP_BLOCKS;
    if (below->count > 0 && view_map (count->connection, &below->view, next,
                                      MAP_BLOCKS, below->map, status) == -1)
      return -1;
    for (uint32_t i = 0; i < below->count; i++)
      below->data += below->map[i];
  }
  return 0;
}

/* Is block NUMBER, to which below_advance has come, data below? */
static bool
below_has (const struct below *below, int64_t number)
{
  return number >= below->first && number - below->first < below->count &&
         below->map[number - below->first];
}

/*--------------------------------------------------------------------
 * Walking over a layer.
 */

/* A row of the layer at hand. */
struct place {
  int64_t number;
  int64_t generation;
  uint64_t bytes; /* of its data, where that is uneven */
};

/* Step to the next row of a walk.  Returns 1, 0 at the end, -1. */
static int
next_place (struct count *count, sqlite3_stmt *rows, struct place *place,
            struct status *status)
{
  const int r = connection_step (count->connection, rows, status);

  *place = (struct place){ NUMBER_END, INT64_MAX, 0 };
  if (r == 1) {
    place->number = sqlite3_column_int64 (rows, 0);
    place->generation = sqlite3_column_int64 (rows, 1);
    place->bytes = sqlite3_column_int64 (rows, 2);
  }
  return r;
}

/* Count a row, the next newer of whose number is of generation NEWER. */
static void
count_row (struct count *count, const struct place *row, int64_t newer,
           bool data)
{
  struct viewer *viewers = count->viewers;
  const size_t first = first_viewer (count, row->generation);
  const size_t end = first_viewer (count, newer);
  const int change = data - below_has (&count->below, row->number);
  size_t group;

  if (first == end)
    return;
  viewers[first].change += change;
  if (end < count->viewers_count)
    viewers[end].change -= change;
  group = viewers[first].group;
  if (data && group != SHARED && viewers[end - 1].since <= first)
    count->freed[group] += count->uneven ? row->bytes : count->at.block_size;
}

static int
tell_progress (struct count *count, struct status *status)
{
  count->bytes += count->at.block_size;
  if (++count->rows % PROGRESS_ROWS != 0)
    return 0;
  return progress_report (count->progress, count->bytes, 0, count->opaque,
                          status);
}

/* Count the rows of the layer at hand. */
static int
count_rows (struct count *count, struct status *status)
{
  static const char rows_sql[] =
      "SELECT number, generation, 0 FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 ORDER BY number, generation";
  static const char bytes_sql[] = "SELECT number, generation, " FOLLOW_BYTES (
      "block") " FROM block INDEXED BY block_by_number"
               " WHERE layer = ?1 ORDER BY number, generation";
  static const char zeroes_sql[] =
      "SELECT number, generation, 0 FROM block INDEXED BY block_zero"
      " WHERE codec = 0 AND layer = ?1 ORDER BY number, generation";
  CLEANUP_STATEMENT sqlite3_stmt *rows = connection_statement (
      count->connection, count->uneven ? bytes_sql : rows_sql, status);
  CLEANUP_STATEMENT sqlite3_stmt *zeroes =
      connection_statement (count->connection, zeroes_sql, status);
  struct place row, next, zero;
  bool data;
  int r;

  if (rows == NULL || zeroes == NULL)
    return -1;
  sqlite3_bind_int64 (rows, 1, count->at.layer);
  sqlite3_bind_int64 (zeroes, 1, count->at.layer);
  if (next_place (count, zeroes, &zero, status) == -1)
    return -1;
  for (r = next_place (count, rows, &row, status); r == 1; row = next) {
    r = next_place (count, rows, &next, status);
    data = row.number != zero.number || row.generation != zero.generation;
    if (r == -1 || below_advance (count, row.number, status) == -1 ||
        (!data && next_place (count, zeroes, &zero, status) == -1) ||
        tell_progress (count, status) == -1)
      return -1;
    count_row (count, &row,
               next.number == row.number ? next.generation : INT64_MAX, data);
  }
  return r;
}

/* Tell the items that look at the layer at hand what they show. */
static int
count_stored (struct count *count, struct status *status)
{
  int64_t blocks;

  if (below_advance (count, NUMBER_END - 1, status) == -1)
    return -1;
  blocks = count->below.data;
  for (size_t i = 0; i < count->viewers_count; i++) {
    const struct viewer *viewer = &count->viewers[i];

    blocks += viewer->change;
    if (viewer->item)
      viewer->item->stored = (uint64_t)blocks * count->at.block_size;
  }
  return 0;
}

/* The layer at hand was walked over.  If all that looks at it is in one
 * group, what it takes from its parent is as well.
 */
static int
finish_layer (struct count *count, struct status *status)
{
  const size_t n = count->viewers_count;
  struct walked parent = count->at;

  count->at.group = n > 0 && count->viewers[n - 1].since == 0
                        ? count->viewers[0].group
                        : SHARED;
  if (list_add (&count->done, &count->at, status) == -1)
    return -1;
  if (count->at.group == SHARED || count->below.view.depth == 0)
    return 0;
  parent.layer = count->below.view.layers[0].layer;
  return list_add (&count->todo, &parent, status);
}

/* Begin with the layer of ITEM. */
static int
add_layer (struct count *count, const struct usage_item *item,
           struct status *status)
{
  static const char layer_sql[] =
      "SELECT layer, block_size FROM disk WHERE id = ?1 AND ?2 = 0"
      " UNION ALL SELECT snapshot.layer, block_size"
      " FROM snapshot JOIN disk ON disk.id = snapshot.disk"
      " WHERE snapshot.id = ?2 AND disk = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (count->connection, layer_sql, status);
  const struct walked_list *todo = &count->todo;
  struct walked layer;
  int r;

  if (row == NULL)
    return -1;
  sqlite3_bind_int64 (row, 1, item->disk);
  sqlite3_bind_int64 (row, 2, item->snapshot);
  r = connection_step (count->connection, row, status);
  if (r != 1)
    return r;
  layer.layer = sqlite3_column_int64 (row, 0);
  layer.block_size = sqlite3_column_int64 (row, 1);
  if (todo->count > 0 && todo->layers[todo->count - 1].layer == layer.layer)
    return 0;
  return list_add (&count->todo, &layer, status);
}

/* Only where a feature was used that makes rows smaller than blocks must each
 * row be looked at, and not just its entry in an index.
 */
static int
find_features (struct count *count, struct status *status)
{
  static const char features_sql[] = "SELECT EXISTS (SELECT 1 FROM feature)";
  int64_t features;

  if (connection_integer (count->connection, features_sql, &features, status) ==
      -1)
    return -1;
  count->uneven = features;
  return 0;
}

/* Children have higher ids than their parents: they go first. */
static int
count_layers (struct count *count, struct status *status)
{
  if (find_features (count, status) == -1 || find_live (count, status) == -1)
    return -1;
  for (size_t i = 0; i < count->items_count; i++)
    if (add_layer (count, count->items[i], status) == -1)
      return -1;
  while (list_take_highest (&count->todo, &count->at)) {
    count->below.view.depth = 0;
    if (find_viewers (count, status) == -1 ||
        below_begin (count, status) == -1 || count_rows (count, status) == -1 ||
        count_stored (count, status) == -1 ||
        finish_layer (count, status) == -1)
      return -1;
  }
  return 0;
}

int
usage_count (struct connection *connection, struct usage_item *items,
             size_t count, uint64_t *freed, size_t groups,
             progress_made progress, void *opaque, struct status *status)
{
  struct count counting = {
    .connection = connection,
    .items = calloc (count + 1, sizeof (struct usage_item *)),
    .items_count = count,
    .freed = freed,
    .progress = progress,
    .opaque = opaque,
    .below.map = malloc (MAP_BLOCKS),
  };
  int r;

  memset (freed, 0, groups * sizeof *freed);
  if (counting.items == NULL || counting.below.map == NULL)
    r = status_no_memory (status);
  else {
    for (size_t i = 0; i < count; i++) {
      items[i].stored = 0;
      counting.items[i] = &items[i];
    }
    qsort (counting.items, count, sizeof *counting.items, compare_items);
    r = count_layers (&counting, status);
  }
  view_free (&counting.below.view);
  free (counting.below.map);
  free (counting.items);
  free (counting.viewers);
  free (counting.live.layers);
  free (counting.todo.layers);
  free (counting.done.layers);
  return r;
}
