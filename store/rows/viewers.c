/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Who looks at a layer: see viewers.h. */

#include <config.h>

#include <stdlib.h>

#include "base/grow.h"
#include "rows/viewers.h"

/* clang-format off */
static const char viewers_sql[] =
  "SELECT layer.generation, disk.id, 0, 0"
  "  FROM disk JOIN layer ON layer.id = disk.layer WHERE disk.layer = ?1"
  " UNION ALL"
  " SELECT generation, disk, id, 0 FROM snapshot WHERE layer = ?1"
  " UNION ALL"
  " SELECT parent_generation, 0, 0, id FROM layer WHERE parent = ?1"
  " ORDER BY 1";
/* clang-format on */

static struct viewer
viewer_from_row (sqlite3_stmt *row)
{
  return (struct viewer){
    .generation = sqlite3_column_int64 (row, 0),
    .disk = sqlite3_column_int64 (row, 1),
    .snapshot = sqlite3_column_int64 (row, 2),
    .child = sqlite3_column_int64 (row, 3),
  };
}

int
viewers_find (struct connection *connection, int64_t layer,
              struct viewers *viewers, struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, viewers_sql, status);
  struct viewer *list;
  int r;

  if (rows == NULL)
    return -1;
  viewers->count = 0;
  sqlite3_bind_int64 (rows, 1, layer);
  while ((r = connection_step (connection, rows, status)) == 1) {
    list = grow (viewers->list, viewers->count, sizeof *list);
    if (list == NULL)
      return status_no_memory (status);
    viewers->list = list;
    list[viewers->count++] = viewer_from_row (rows);
  }
  return r;
}

void
viewers_free (struct viewers *viewers)
{
  free (viewers->list);
  *viewers = (struct viewers){ 0 };
}

size_t
viewers_first (const struct viewers *viewers, int64_t generation)
{
  size_t low = 0, high = viewers->count, middle;

  while (low < high) {
    middle = low + (high - low) / 2;
    if (viewers->list[middle].generation < generation)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

bool
viewers_see (const struct viewers *viewers, int64_t generation, int64_t newer)
{
  const size_t first = viewers_first (viewers, generation);

  return first < viewers->count && viewers->list[first].generation < newer;
}

int64_t
viewers_only_child (const struct viewers *viewers)
{
  return viewers->count == 1 ? viewers->list[0].child : 0;
}

int
viewers_lowest (struct connection *connection, int64_t layer,
                int64_t *generation, int64_t *child, struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, viewers_sql, status);
  struct viewer lowest;
  int r;

  if (rows == NULL)
    return -1;
  *generation = INT64_MAX;
  *child = 0;
  sqlite3_bind_int64 (rows, 1, layer);
  r = connection_step (connection, rows, status);
  if (r == 1) {
    lowest = viewer_from_row (rows);
    *generation = lowest.generation;
    *child = lowest.child;
    r = connection_step (connection, rows, status);
    if (r == 1)
      *child = 0;
  }
  return r == -1 ? -1 : 0;
}
