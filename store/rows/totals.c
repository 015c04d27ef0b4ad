/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the whole database takes: see totals.h. */

#include <config.h>

#include <stdlib.h>

#include "base/failed.h"
#include "base/grow.h"
#include "rows/columns.h"
#include "rows/totals.h"
#include "rows/usage.h"

/* Whose the data can be. */
enum part { PART_DISKS, PART_SNAPSHOTS, PART_TRASH, PART_HIDDEN, PARTS };

/* All that shows something. */
struct everything {
  struct usage_item *items;
  size_t count;
};

static int
find_everything (struct connection *connection, struct everything *all,
                 struct status *status)
{
  /* In the order of enum part. */
  static const char all_sql[] =
      "SELECT id, 0, iif (name = '" DISK_TRASH "' || id, 2,"
      "  iif (name LIKE '%/%', 3, 0)) FROM disk"
      " UNION ALL SELECT disk.id, snapshot.id,"
      "  iif (disk.name = '" DISK_TRASH "' || disk.id, 2,"
      "  iif (disk.name LIKE '%/%' OR snapshot.name LIKE '%/%', 3, 1))"
      " FROM snapshot JOIN disk ON disk.id = snapshot.disk";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, all_sql, status);
  struct usage_item *items;
  int r;

  if (rows == NULL)
    return -1;
  while ((r = connection_step (connection, rows, status)) == 1) {
    items = grow (all->items, all->count, sizeof *items);
    if (items == NULL)
      return status_no_memory (status);
    all->items = items;
    items[all->count++] = (struct usage_item){
      .disk = sqlite3_column_int64 (rows, 0),
      .snapshot = sqlite3_column_int64 (rows, 1),
      .group = sqlite3_column_int (rows, 2),
    };
  }
  return r;
}

/* The bytes of all rows, and of the blocks that they hold. */
static int
count_rows (struct connection *connection, struct totals *totals,
            struct status *status)
{
  /* A layer has blocks of the size of what looks at it. */
  /* clang-format off */
  static const char rows_sql[] =
    "WITH RECURSIVE sized (layer, size) AS ("
    "   SELECT layer, block_size FROM disk"
    "   UNION SELECT snapshot.layer, block_size"
    "    FROM snapshot JOIN disk ON disk.id = snapshot.disk"
    "   UNION SELECT parent, size FROM sized JOIN layer ON layer.id = layer"
    "    WHERE parent IS NOT NULL)"
    " SELECT ifnull (sum (bytes), 0)"
    "   + (SELECT ifnull (sum (length (data)), 0) FROM content),"
    "  ifnull (sum (rows * ifnull ((SELECT size FROM sized"
    "    WHERE sized.layer = stored.layer), 0)), 0)"
    " FROM (SELECT layer, count (*) AS rows,"
    "    ifnull (sum (length (data)), 0) AS bytes"
    "   FROM block NOT INDEXED WHERE codec <> 0 GROUP BY layer) AS stored";
  /* clang-format on */
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, rows_sql, status);

  if (row == NULL || connection_step (connection, row, status) == -1)
    return -1;
  totals->data = sqlite3_column_int64 (row, 0);
  totals->logical = sqlite3_column_int64 (row, 1);
  return 0;
}

static int
count_pages (struct connection *connection, struct totals *totals,
             struct status *status)
{
  static const char pages_sql[] = "PRAGMA page_count";
  static const char free_sql[] = "PRAGMA freelist_count";
  int64_t size, pages, unused;

  if (connection_page_size (connection, &size, status) == -1 ||
      connection_integer (connection, pages_sql, &pages, status) == -1 ||
      connection_integer (connection, free_sql, &unused, status) == -1)
    return -1;
  totals->pages = pages * size;
  totals->free = unused * size;
  return 0;
}

/* PARTS, which are of data, and ALL of them and what several show. */
static void
divide (struct totals *totals, const uint64_t *parts, uint64_t all)
{
  uint64_t sum = 0;

  totals->disks = parts[PART_DISKS];
  totals->snapshots = parts[PART_SNAPSHOTS];
  totals->trash = parts[PART_TRASH];
  totals->hidden = parts[PART_HIDDEN];
  totals->deleted = all > totals->data ? USAGE_UNKNOWN : totals->data - all;
  totals->shared = USAGE_UNKNOWN;
  for (size_t i = 0; i < PARTS; i++) {
    if (parts[i] == USAGE_UNKNOWN)
      return;
    sum += parts[i];
  }
  if (sum <= all && all != USAGE_UNKNOWN)
    totals->shared = all - sum;
}

int
totals_count (struct connection *connection, struct totals *totals,
              progress_made progress, void *opaque, struct status *status)
{
  struct everything all = { .count = 0 };
  uint64_t parts[PARTS], together = USAGE_UNKNOWN;
  struct status again;
  int r = find_everything (connection, &all, status);

  if (r == 0)
    r = count_rows (connection, totals, status);
  if (r == 0)
    r = count_pages (connection, totals, status);
  if (r == 0) {
    r = usage_count (connection, all.items, all.count, parts, PARTS, progress,
                     opaque, status);
    for (size_t i = 0; i < all.count; i++)
      all.items[i].group = 0;
    /* Damage keeps neither from counting the rest. */
    if (r == 0 || failed_is_local (status))
      if (usage_count (connection, all.items, all.count, &together, 1, progress,
                       opaque, r == 0 ? status : &again) == -1)
        r = -1;
    divide (totals, parts, together);
  }
  free (all.items);
  return r;
}
