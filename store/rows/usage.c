/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* How much space: see usage.h. */

#include <config.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/failed.h"
#include "base/grow.h"
#include "rows/below.h"
#include "rows/hiding.h"
#include "rows/shown.h"
#include "rows/sight.h"
#include "rows/usage.h"
#include "rows/viewers.h"

/* After how many rows progress is told. */
#define PROGRESS_ROWS 4096

/* More than any number of a block. */
#define NUMBER_END INT64_MAX

/* No group: seen by others, or by several groups. */
#define SHARED SIZE_MAX

/* No group: of no use to anybody. */
#define NOBODY (SIZE_MAX - 1)

/* What is counted for a viewer of a layer. */
struct onlooker {
  size_t group; /* or SHARED */
  size_t since; /* from which viewer on, by generation, up to this one all
                   are of one group */
  struct usage_item *item; /* NULL where it is none */
  int64_t change; /* how many blocks of data more it shows than the viewer
                     before it does, of those in the layer's rows */
  int64_t bytes;  /* and how many bytes of rows, and of contents */
};

/* All that looks at a layer, and is live. */
struct onlookers {
  struct viewers who;
  struct onlooker *list; /* one for each */
};

/* A group without which nothing but one child looks at the layer at hand,
 * or SHARED if nothing else does anyhow; and what that child then hides.
 */
struct remaining {
  size_t group;
  size_t viewer; /* the child */
  struct hiding hidden;
};

/* A block that refers to a content, and to which group it is of use, or
 * NOBODY.
 */
struct reference {
  int64_t content;
  size_t group;
  bool seen; /* the only item of the group shows it */
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
  size_t count;
};

static int
list_add (struct walked_list *list, const struct walked *layer,
          struct status *status)
{
  struct walked *layers = grow (list->layers, list->count, sizeof *layers);

  if (layers == NULL)
    return status_no_memory (status);
  list->layers = layers;
  layers[list->count++] = *layer;
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

/* A group. */
struct group {
  size_t members;          /* how many items */
  struct usage_item *only; /* NULL where they are not one */
  struct sight sight;      /* of that, on a layer */
  uint64_t seen;           /* bytes of what it frees and shows */
};

/* What is counted. */
struct count {
  struct connection *connection;
  struct usage_item **items; /* by their ids */
  size_t items_count;
  uint64_t *freed;
  struct group *group; /* each of the groups */
  size_t groups;
  progress_made progress;
  void *opaque;
  uint64_t rows, bytes; /* that were walked over */
  bool uneven;          /* rows may have fewer bytes than their blocks */
  bool contents;        /* or refer to contents */
  bool failed;          /* something could not be read */
  struct status first;  /* why it failed the first time */

  struct walked_list live; /* that something looks at, the lowest first */
  struct walked_list todo;
  struct walked_list done; /* the highest first */

  /* The layer at hand. */
  struct walked at;
  struct onlookers onlookers;
  struct remaining *remaining; /* the first is that of SHARED, if any is */
  size_t remaining_count;
  struct below below;
  struct shown shown;

  struct reference *references;
  size_t references_count;
};

/*--------------------------------------------------------------------
 * Who looks at a layer.
 */

static void
forget_item (struct usage_item *item)
{
  item->logical = item->stored = item->shared = USAGE_UNKNOWN;
}

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

/* All layers that something looks at, if only through others. */
#define WITH_LIVE                                                              \
  "WITH RECURSIVE live (id) AS ("                                              \
  "   SELECT layer FROM disk UNION SELECT layer FROM snapshot"                 \
  "   UNION SELECT parent FROM live JOIN layer ON layer.id = live.id"          \
  "    WHERE parent IS NOT NULL) "

/* Add the layers of a SELECT to LIST. */
static int
find_layers (struct count *count, const char *sql, struct walked_list *list,
             struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (count->connection, sql, status);
  struct walked layer = { 0 };
  int r;

  if (rows == NULL)
    return -1;
  while ((r = connection_step (count->connection, rows, status)) == 1) {
    layer.layer = sqlite3_column_int64 (rows, 0);
    if (list_add (list, &layer, status) == -1)
      return -1;
  }
  return r;
}

/* Find all that is live: what waits to be reclaimed sees nothing. */
static int
find_live (struct count *count, struct status *status)
{
  static const char live_sql[] = WITH_LIVE "SELECT id FROM live ORDER BY id";

  return find_layers (count, live_sql, &count->live, status);
}

/* Is VIEWER a child that waits to be reclaimed? */
static bool
is_dead (const struct count *count, const struct viewer *viewer)
{
  return viewer->child != 0 &&
         !list_find (&count->live, viewer->child, compare_layers);
}

/* What is counted for VIEWER. */
static struct onlooker
onlooker_of (const struct count *count, const struct viewer *viewer)
{
  struct onlooker onlooker = { .group = SHARED };

  if (viewer->child != 0)
    onlooker.group = group_of_layer (count, viewer->child);
  else {
    onlooker.item = find_item (count, viewer->disk, viewer->snapshot);
    if (onlooker.item)
      onlooker.group = onlooker.item->group;
  }
  return onlooker;
}

/* Find all that looks at LAYER, where children have been walked over. */
static int
find_onlookers (struct count *count, int64_t layer, struct onlookers *onlookers,
                struct status *status)
{
  struct viewers *who = &onlookers->who;
  struct onlooker *list;
  size_t n = 0;

  if (viewers_find (count->connection, layer, who, status) == -1)
    return -1;
  list = realloc (onlookers->list, (who->count + 1) * sizeof *list);
  if (list == NULL)
    return status_no_memory (status);
  onlookers->list = list;
  for (size_t i = 0; i < who->count; i++) {
    if (is_dead (count, &who->list[i]))
      continue;
    who->list[n] = who->list[i];
    list[n] = onlooker_of (count, &who->list[n]);
    list[n].since =
        n > 0 && list[n - 1].group == list[n].group ? list[n - 1].since : n;
    n++;
  }
  who->count = n;
  return 0;
}

static void
onlookers_free (struct onlookers *onlookers)
{
  viewers_free (&onlookers->who);
  free (onlookers->list);
}

/*--------------------------------------------------------------------
 * When one child remains.
 */

/* Which of ONLOOKERS is the only one without GROUP, and a child?  Or their
 * number.  *LOWEST becomes the lowest without GROUP, or their number.
 */
static size_t
only_child (const struct onlookers *onlookers, size_t group, size_t *lowest)
{
  size_t others = 0, child = onlookers->who.count;

  *lowest = onlookers->who.count;
  for (size_t i = 0; i < onlookers->who.count; i++)
    if (group == SHARED || onlookers->list[i].group != group) {
      if (others++ == 0)
        *lowest = i;
      child = onlookers->who.list[i].child ? i : onlookers->who.count;
    }
  return others == 1 ? child : onlookers->who.count;
}

static int
add_remaining (struct count *count, size_t group, struct status *status)
{
  const size_t n = count->remaining_count;
  struct remaining *remaining = count->remaining;

  for (size_t i = 0; i < n; i++)
    if (remaining[i].group == group)
      return 0;
  remaining = grow (remaining, n, sizeof *remaining);
  if (remaining == NULL)
    return status_no_memory (status);
  count->remaining = remaining;
  remaining[n] = (struct remaining){ .group = group };
  count->remaining_count++;
  return 0;
}

/* Forget what remains of the layer at hand. */
static void
remaining_free (struct count *count)
{
  for (size_t i = 0; i < count->remaining_count; i++)
    hiding_free (&count->remaining[i].hidden);
  free (count->remaining);
  count->remaining = NULL;
  count->remaining_count = 0;
}

/* Add the groups without which one child remains of ONLOOKERS.  They are of
 * one of the first two, since no more than one may remain.
 */
static int
add_candidates (struct count *count, const struct onlookers *onlookers,
                struct status *status)
{
  size_t group, lowest;

  for (size_t i = 0; i < 2 && i < onlookers->who.count; i++) {
    group = onlookers->list[i].group;
    if (group != SHARED &&
        only_child (onlookers, group, &lowest) < onlookers->who.count &&
        add_remaining (count, group, status) == -1)
      return -1;
  }
  return 0;
}

/* Nothing but a child looks at the layer at hand.  Add the groups without
 * which more of it is hidden: by the child, since the lowest that looks at
 * it goes, or since nothing remains there but a child that hides some, too.
 */
static int
add_changes (struct count *count, struct status *status)
{
  const size_t group = count->onlookers.list[0].group;
  struct onlookers onlookers = { 0 };
  int64_t layer = count->onlookers.who.list[0].child;
  int r = add_remaining (count, SHARED, status);

  while (r == 0 && layer != 0) {
    r = find_onlookers (count, layer, &onlookers, status);
    if (r == -1 || onlookers.who.count == 0)
      break;
    if (onlookers.list[0].group != SHARED && onlookers.list[0].group != group)
      r = add_remaining (count, onlookers.list[0].group, status);
    if (r == 0 && onlookers.who.count > 1)
      r = add_candidates (count, &onlookers, status);
    layer = onlookers.who.count == 1 && onlookers.who.list[0].child > layer
                ? onlookers.who.list[0].child
                : 0;
  }
  onlookers_free (&onlookers);
  return r;
}

/* Find out what is hidden of the layer at hand when it REMAINS. */
static int
find_hidden (struct count *count, struct remaining *remaining,
             struct status *status)
{
  struct onlookers onlookers = { 0 };
  size_t child, lowest;
  int64_t layer;
  int r = 0;

  remaining->viewer = only_child (&count->onlookers, remaining->group, &lowest);
  layer = count->onlookers.who.list[remaining->viewer].child;
  while (r == 0 && layer != 0) {
    r = find_onlookers (count, layer, &onlookers, status);
    if (r == -1)
      break;
    child = only_child (&onlookers, remaining->group, &lowest);
    if (lowest < onlookers.who.count)
      r = hiding_add (&remaining->hidden, layer,
                      onlookers.who.list[lowest].generation, status);
    layer =
        child < onlookers.who.count && onlookers.who.list[child].child > layer
            ? onlookers.who.list[child].child
            : 0;
  }
  onlookers_free (&onlookers);
  return r;
}

/* Fill count->remaining, but for what is hidden. */
static int
find_remaining (struct count *count, struct status *status)
{
  const struct onlookers *onlookers = &count->onlookers;
  size_t lowest;

  remaining_free (count);
  return only_child (onlookers, SHARED, &lowest) < onlookers->who.count
             ? add_changes (count, status)
             : add_candidates (count, onlookers, status);
}

/* Find out what is hidden of the layer at hand. */
static int
find_all_hidden (struct count *count, struct status *status)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < count->remaining_count; i++)
    r = find_hidden (count, &count->remaining[i], status);
  return r;
}

/* Is what ONLOOKERS show to be counted? */
static bool
has_items (const struct onlookers *onlookers)
{
  for (size_t i = 0; i < onlookers->who.count; i++)
    if (onlookers->list[i].item && onlookers->list[i].item->shown)
      return true;
  return false;
}

/*--------------------------------------------------------------------
 * Walking over a layer.
 */

/* A row of the layer at hand. */
struct place {
  int64_t number;
  int64_t generation;
  uint64_t bytes;  /* of its data, where that is uneven */
  int64_t content; /* or 0 */
  int64_t newer;   /* the generation of the next newer row of its number */
};

/* Step to the next row of a walk.  Returns 1, 0 at the end, -1. */
static int
next_place (struct count *count, sqlite3_stmt *rows, struct place *place,
            struct status *status)
{
  const int r = connection_step (count->connection, rows, status);

  *place = (struct place){ NUMBER_END, INT64_MAX, 0, 0, INT64_MAX };
  if (r == 1) {
    place->number = sqlite3_column_int64 (rows, 0);
    place->generation = sqlite3_column_int64 (rows, 1);
    place->bytes = sqlite3_column_int64 (rows, 2);
    place->content = sqlite3_column_int64 (rows, 3);
  }
  return r;
}

/* Note a block's reference to a content. */
static int
note_reference (struct count *count, int64_t content, size_t group, bool seen,
                struct status *status)
{
  struct reference *references =
      grow (count->references, count->references_count, sizeof *references);

  if (references == NULL)
    return status_no_memory (status);
  count->references = references;
  references[count->references_count++] =
      (struct reference){ content, group, seen };
  return 0;
}

/* BYTES go with GROUP; has its only item SEEN them? */
static void
add_freed (struct count *count, size_t group, uint64_t bytes, bool seen)
{
  if (count->freed[group] != USAGE_UNKNOWN)
    count->freed[group] += bytes;
  if (seen)
    count->group[group].seen += bytes;
}

/* Does the only item of GROUP, if it has just one, show ROW?  Returns 1, 0,
 * -1.
 */
static int
has_seen (struct count *count, const struct place *row, size_t group,
          struct status *status)
{
  struct group *seen = group == NOBODY ? NULL : &count->group[group];

  if (seen == NULL || seen->only == NULL || !seen->only->shown)
    return 0;
  return sight_find (&seen->sight, count->connection, seen->only,
                     count->at.layer, status) == -1
             ? -1
             : sight_has (&seen->sight, count->connection, row->number,
                          row->generation, row->newer, status);
}

/* ROW goes with GROUP. */
static int
free_row (struct count *count, const struct place *row, size_t group,
          struct status *status)
{
  const int seen = has_seen (count, row, group, status);

  if (seen == -1)
    return -1;
  if (row->content != 0)
    return note_reference (count, row->content, group, seen, status);
  if (group != NOBODY)
    add_freed (count, group, count->uneven ? row->bytes : count->at.block_size,
               seen);
  return 0;
}

/* Count ROW, which viewers from FIRST on before END see, for the groups
 * without which it is hidden.  Returns 1 where it is hidden anyhow, 0, -1.
 */
static int
count_hidden (struct count *count, const struct place *row, size_t first,
              size_t end, struct status *status)
{
  struct remaining *remaining;
  int r;

  for (size_t i = 0; i < count->remaining_count; i++) {
    remaining = &count->remaining[i];
    if (remaining->viewer < first || remaining->viewer >= end)
      continue;
    r = hiding_has (count->connection, &remaining->hidden, row->number, status);
    if (r == 1 && remaining->group == SHARED)
      return 1;
    if (r == -1 ||
        (r == 1 && free_row (count, row, remaining->group, status) == -1))
      return -1;
  }
  return 0;
}

/* The onlookers from FIRST on before END show BLOCKS and BYTES more. */
static void
add_change (struct count *count, size_t first, size_t end, int64_t blocks,
            int64_t bytes)
{
  struct onlooker *onlookers = count->onlookers.list;

  onlookers[first].change += blocks;
  onlookers[first].bytes += bytes;
  if (end < count->onlookers.who.count) {
    onlookers[end].change -= blocks;
    onlookers[end].bytes -= bytes;
  }
}

static void
add_content_bytes (size_t first, size_t end, uint64_t bytes, void *opaque)
{
  add_change (opaque, first, end, 0, bytes);
}

/* The onlookers from FIRST on before END show ROW, and not what is below. */
static int
count_change (struct count *count, const struct place *row, size_t first,
              size_t end, bool data, struct status *status)
{
  const struct below *below = &count->below;
  const bool hides = below_has (below, row->number);
  const struct below_block *hidden =
      hides && below->details ? &below->blocks[row->number - below->first]
                              : NULL;

  add_change (count, first, end, data - hides,
              (int64_t)row->bytes - (int64_t)(hidden ? hidden->bytes : 0));
  if (hidden && hidden->span != SIZE_MAX)
    shown_cut (&count->shown, hidden->span, first);
  return row->content && below->details
             ? shown_add (&count->shown, row->content, first, end, status)
             : 0;
}

/* Count a row. */
static int
count_row (struct count *count, const struct place *row, bool data,
           struct status *status)
{
  const struct onlooker *onlookers = count->onlookers.list;
  const size_t first = viewers_first (&count->onlookers.who, row->generation);
  const size_t end = viewers_first (&count->onlookers.who, row->newer);
  size_t group;
  int r;

  if (first == end)
    return free_row (count, row, NOBODY, status);
  if (count_change (count, row, first, end, data, status) == -1)
    return -1;
  if (!data)
    return 0;
  r = count_hidden (count, row, first, end, status);
  if (r != 0)
    return r == 1 ? free_row (count, row, NOBODY, status) : -1;
  group = onlookers[first].group;
  if (group == SHARED || onlookers[end - 1].since > first)
    return 0;
  return free_row (count, row, group, status);
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
      "SELECT number, generation, 0, 0 FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 ORDER BY number, generation";
  static const char bytes_sql[] =
      "SELECT number, generation, length (data), content"
      " FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 ORDER BY number, generation";
  static const char zeroes_sql[] =
      "SELECT number, generation, 0, 0 FROM block INDEXED BY block_zero"
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
    if (next.number == row.number)
      row.newer = next.generation;
    if (r == -1 ||
        below_advance (&count->below, count->connection, row.number, status) ==
            -1 ||
        (!data && next_place (count, zeroes, &zero, status) == -1) ||
        tell_progress (count, status) == -1 ||
        count_row (count, &row, data, status) == -1)
      return -1;
  }
  return r;
}

/* Tell the items that look at the layer at hand what they show. */
static int
count_shown (struct count *count, struct status *status)
{
  int64_t blocks, bytes;

  if (below_finish (&count->below, count->connection, status) == -1 ||
      shown_count (&count->shown, count->connection, add_content_bytes, count,
                   status) == -1)
    return -1;
  blocks = count->below.data;
  bytes = count->below.bytes;
  for (size_t i = 0; i < count->onlookers.who.count; i++) {
    const struct onlooker *onlooker = &count->onlookers.list[i];

    blocks += onlooker->change;
    bytes += onlooker->bytes;
    if (onlooker->item == NULL || !onlooker->item->shown)
      continue;
    onlooker->item->logical = (uint64_t)blocks * count->at.block_size;
    onlooker->item->stored =
        count->uneven ? (uint64_t)bytes : onlooker->item->logical;
  }
  return 0;
}

/* Is more of the layer at hand hidden without some group? */
static bool
may_change (const struct count *count)
{
  const size_t n = count->remaining_count;

  return n > 0 && count->remaining[n - 1].group != SHARED;
}

/* Is anything to be counted in the layer at hand? */
static bool
is_of_use (const struct count *count)
{
  const struct onlookers *onlookers = &count->onlookers;

  for (size_t i = 0; i < onlookers->who.count; i++)
    if (onlookers->list[i].item || onlookers->list[i].group != SHARED)
      return true;
  return count->contents || may_change (count);
}

/* The layer at hand is done with.  If all that looks at it is in one group,
 * what it takes from its parent is as well.  If its lowest viewer is in one,
 * or more of it may be hidden, it may hide more of its parent.
 */
static int
finish_layer (struct count *count, struct status *status)
{
  const struct onlooker *onlookers = count->onlookers.list;
  const size_t n = count->onlookers.who.count;
  struct walked parent = count->at;

  count->at.group =
      n > 0 && onlookers[n - 1].since == 0 ? onlookers[0].group : SHARED;
  if (list_add (&count->done, &count->at, status) == -1)
    return -1;
  if (n == 0 || count->below.view.depth == 0 ||
      (onlookers[0].group == SHARED && !may_change (count)))
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
  static const char contents_sql[] = "SELECT EXISTS (SELECT 1 FROM content)";
  int64_t features, contents;

  if (connection_integer (count->connection, features_sql, &features, status) ==
          -1 ||
      connection_integer (count->connection, contents_sql, &contents, status) ==
          -1)
    return -1;
  count->contents = contents;
  count->uneven = features || contents;
  return 0;
}

/* Where contents are shared, blocks that are of no use to anybody must be
 * known: begin with all layers that may have some.
 */
static int
add_useless (struct count *count, struct status *status)
{
  /* clang-format off */
  static const char useless_sql[] =
    WITH_LIVE
    "SELECT id FROM layer"
    "  WHERE id NOT IN live"
    "   OR id IN (SELECT layer FROM reclaim)"
    "   OR id IN (SELECT parent FROM layer WHERE id NOT IN live)"
    "   OR (id NOT IN (SELECT layer FROM disk UNION SELECT layer FROM snapshot)"
    "    AND 1 = (SELECT count (*) FROM layer AS child"
    "      WHERE child.parent = layer.id AND child.id IN live))";
  /* clang-format on */

  return find_layers (count, useless_sql, &count->todo, status);
}

/* STATUS has kept something from being read.  Returns 0 where the rest is to
 * be counted, -1.
 */
static int
pass_by (struct count *count, const struct status *status)
{
  if (!failed_is_local (status))
    return -1;
  if (!count->failed)
    count->first = *status;
  count->failed = true;
  return 0;
}

static void
forget_group (struct count *count, size_t group)
{
  if (group != SHARED)
    count->freed[group] = USAGE_UNKNOWN;
}

/* The layer at hand cannot be read: what looks at it is not known, nor what
 * goes of it with whom.
 */
static int
fail_layer (struct count *count, struct status *status)
{
  const struct onlookers *onlookers = &count->onlookers;

  for (size_t i = 0; i < onlookers->who.count; i++) {
    if (onlookers->list[i].item)
      forget_item (onlookers->list[i].item);
    forget_group (count, onlookers->list[i].group);
  }
  for (size_t i = 0; i < count->remaining_count; i++)
    forget_group (count, count->remaining[i].group);
  /* Nobody knows what else refers to the contents of its blocks. */
  for (size_t i = 0; count->contents && i < count->groups; i++)
    forget_group (count, i);
  return pass_by (count, status);
}

/* Walk over the layer at hand, if that is of any use. */
static int
walk_layer (struct count *count, struct status *status)
{
  const bool wanted = has_items (&count->onlookers);

  count->below.view.depth = 0;
  count->shown.count = 0;
  if (find_all_hidden (count, status) == -1 ||
      below_begin (&count->below, count->connection, count->at.layer, wanted,
                   wanted && count->uneven ? &count->shown : NULL,
                   count->onlookers.who.count, status) == -1)
    return -1;
  if (!is_of_use (count))
    return 0;
  if (count_rows (count, status) == -1)
    return -1;
  return count_shown (count, status);
}

static int
count_layer (struct count *count, struct status *status)
{
  if (find_onlookers (count, count->at.layer, &count->onlookers, status) ==
          -1 ||
      find_remaining (count, status) == -1 ||
      (walk_layer (count, status) == -1 && fail_layer (count, status) == -1))
    return -1;
  return finish_layer (count, status);
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
  if (count->contents && add_useless (count, status) == -1)
    return -1;
  while (list_take_highest (&count->todo, &count->at))
    if (count_layer (count, status) == -1)
      return -1;
  return 0;
}

/*--------------------------------------------------------------------
 * Contents.
 */

static int
compare_references (const void *a, const void *b)
{
  const struct reference *x = a, *y = b;

  if (x->content != y->content)
    return x->content < y->content ? -1 : 1;
  return (x->group > y->group) - (x->group < y->group);
}

/* The bytes of content ID if it has no more references than COUNT, or 0. */
static int
bytes_of_content (struct count *count, int64_t id, size_t references,
                  uint64_t *bytes, struct status *status)
{
  static const char bytes_sql[] =
      "SELECT length (data) FROM content WHERE id = ?1"
      " AND (SELECT count (*) FROM (SELECT 1"
      "  FROM block INDEXED BY block_content"
      "  WHERE codec = 4 AND content = ?1 LIMIT ?2 + 1)) = ?2";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (count->connection, bytes_sql, status);
  int r;

  if (row == NULL)
    return -1;
  sqlite3_bind_int64 (row, 1, id);
  sqlite3_bind_int64 (row, 2, references);
  r = connection_step (count->connection, row, status);
  *bytes = r == 1 ? sqlite3_column_int64 (row, 0) : 0;
  return r == -1 ? -1 : 0;
}

/* A content goes with a group if all blocks that refer to it are of use to
 * that or to nobody.
 */
static int
count_contents (struct count *count, struct status *status)
{
  const struct reference *first = count->references;
  const struct reference *end = first + count->references_count;
  const struct reference *next, *useless, *next_content;
  uint64_t bytes;
  bool seen;

  if (count->references_count > 0)
    qsort (count->references, count->references_count,
           sizeof *count->references, compare_references);
  for (; first < end; first = next_content) {
    for (useless = first; useless < end && useless->content == first->content &&
                          useless->group != NOBODY;)
      useless++;
    for (next_content = useless;
         next_content < end && next_content->content == first->content;)
      next_content++;
    for (; first < useless; first = next) {
      seen = false;
      for (next = first; next < useless && next->group == first->group; next++)
        seen = seen || next->seen;
      if (bytes_of_content (count, first->content,
                            (next - first) + (next_content - useless), &bytes,
                            status) == 0)
        add_freed (count, first->group, bytes, seen);
      else if (pass_by (count, status) == -1)
        return -1;
      else
        count->freed[first->group] = USAGE_UNKNOWN;
    }
  }
  return 0;
}

/* Begin with all ITEMS, as many as there are. */
static int
add_items (struct count *count, struct usage_item *items, struct status *status)
{
  struct group *group;

  if (count->items == NULL || count->group == NULL)
    return status_no_memory (status);
  for (size_t i = 0; i < count->groups; i++)
    count->freed[i] = 0;
  for (size_t i = 0; i < count->items_count; i++) {
    forget_item (&items[i]);
    if (items[i].shown)
      items[i].logical = items[i].stored = items[i].shared = 0;
    count->items[i] = &items[i];
    group = &count->group[items[i].group];
    group->only = group->members++ == 0 ? &items[i] : NULL;
  }
  qsort (count->items, count->items_count, sizeof *count->items, compare_items);
  return 0;
}

/* What is left when a group is deleted is shared, where it is of one item. */
static void
finish_items (struct count *count)
{
  for (size_t i = 0; i < count->items_count; i++) {
    struct usage_item *item = count->items[i];
    const struct group *group = &count->group[item->group];

    item->shared = item->shown && group->only &&
                           item->stored != USAGE_UNKNOWN &&
                           count->freed[item->group] != USAGE_UNKNOWN
                       ? item->stored - group->seen
                       : USAGE_UNKNOWN;
  }
}

static void
count_free (struct count *count)
{
  for (size_t i = 0; count->group && i < count->groups; i++)
    sight_free (&count->group[i].sight);
  below_free (&count->below);
  shown_free (&count->shown);
  remaining_free (count);
  free (count->group);
  free (count->items);
  onlookers_free (&count->onlookers);
  free (count->live.layers);
  free (count->todo.layers);
  free (count->done.layers);
  free (count->references);
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
    .group = calloc (groups + 1, sizeof (struct group)),
    .groups = groups,
    .progress = progress,
    .opaque = opaque,
  };
  int r = add_items (&counting, items, status);

  if (r == 0)
    r = count_layers (&counting, status);
  if (r == 0)
    r = count_contents (&counting, status);
  if (r == 0)
    finish_items (&counting);
  if (r == -1) {
    for (size_t i = 0; i < count; i++)
      forget_item (&items[i]);
    for (size_t i = 0; i < groups; i++)
      freed[i] = USAGE_UNKNOWN;
  }
  else if (counting.failed) {
    *status = counting.first;
    r = status_prefix (status, "counting what is stored");
  }
  count_free (&counting);
  return r;
}
