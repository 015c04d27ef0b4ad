/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Differences between disks and snapshots, for manage.h.
 *
 * Two views that show the same row of a block have the same bytes there, so
 * rows are compared, not data.  It goes in parts, each in a read transaction
 * of its own, and past holes by a seek.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rows/layers.h"
#include "manage/calls.h"
#include "manage.h"
#include "engine/engine.h"
#include "rows/snapshots.h"

/* How many blocks are compared at a time. */
#define DIFF_BLOCKS 65536

/* A comparison in progress. */
struct comparison {
  struct disk_info from; /* of id 0: nothing */
  struct disk_info to;
  struct view from_view, to_view;
  struct layer_point *from_rows, *to_rows; /* of the part at hand: */
  uint64_t first;                          /* block */
  uint32_t count;                          /* 0 at the end */

  /* The range that is growing, in bytes; empty where there is none. */
  uint64_t start, end;
  bool hole;
  difference_found found;
  void *opaque;
};

static int
report_range (struct comparison *comparison, struct status *status)
{
  const uint64_t size = comparison->to.size;
  const uint64_t end = comparison->end < size ? comparison->end : size;

  if (comparison->start < end &&
      comparison->found (comparison->start, end - comparison->start,
                         comparison->hole, comparison->opaque) != 0)
    return status_fail (status, ECANCELED, "interrupted");
  return 0;
}

/* Blocks are different from byte START to END. */
static int
add_range (struct comparison *comparison, uint64_t start, uint64_t end,
           bool hole, struct status *status)
{
  if (start != comparison->end || hole != comparison->hole) {
    if (report_range (comparison, status) == -1)
      return -1;
    comparison->start = start;
    comparison->hole = hole;
  }
  comparison->end = end;
  return 0;
}

/* Go to the next block that either side has a row for, and read which rows
 * both show there and in those that follow.
 */
static int
look_at_part (struct connection *connection, struct comparison *comparison,
              struct status *status)
{
  const uint64_t first = comparison->first + comparison->count;
  struct view *from = &comparison->from_view, *to = &comparison->to_view;
  uint64_t end, next, other;
  uint32_t count;

  if (snapshots_view (connection, &comparison->to, to, status) == -1)
    return -1;
  end = view_blocks (to);
  if (view_next_row (connection, to, first, end, &next, status) == -1)
    return -1;
  if (comparison->from.id != 0) {
    if (snapshots_view (connection, &comparison->from, from, status) == -1 ||
        view_next_row (connection, from, first, end, &other, status) == -1)
      return -1;
    next = other < next ? other : next;
  }
  count = end - next < DIFF_BLOCKS ? end - next : DIFF_BLOCKS;
  comparison->first = next;
  comparison->count = count;
  memset (comparison->from_rows, 0, count * sizeof *comparison->from_rows);
  if (count == 0 || view_rows (connection, to, next, count, comparison->to_rows,
                               status) == -1)
    return count == 0 ? 0 : -1;
  /* What FROM has past its end does not count. */
  if (comparison->from.id == 0 || next >= view_blocks (from))
    return 0;
  if (count > view_blocks (from) - next)
    count = view_blocks (from) - next;
  return view_rows (connection, from, next, count, comparison->from_rows,
                    status);
}

/* Compare the rows of the part at hand. */
static int
compare_part (struct comparison *comparison, struct status *status)
{
  const uint64_t block_size = comparison->to.block_size;

  for (uint32_t i = 0; i < comparison->count; i++) {
    const struct layer_point *from = &comparison->from_rows[i];
    const struct layer_point *to = &comparison->to_rows[i];
    const uint64_t start = (comparison->first + i) * block_size;

    if (from->layer == to->layer && from->generation == to->generation)
      continue;
    if (add_range (comparison, start, start + block_size, to->layer == 0,
                   status) == -1)
      return -1;
  }
  return 0;
}

static int
compare (struct store *store, struct comparison *comparison,
         struct status *status)
{
  do
    if (store_is_interrupted (store))
      return status_fail (status, ECANCELED, "interrupted");
    else if (STORE_READ (store, status, connection,
                         look_at_part (connection, comparison, status)) == -1 ||
             compare_part (comparison, status) == -1)
      return -1;
  while (comparison->count > 0);
  return report_range (comparison, status);
}

int
manage_diff (struct store *store, const char *from, const char *to,
             difference_found found, void *opaque, struct status *status)
{
  struct disk_info from_info, to_info;

  if (store_remote (store))
    return calls_ask_ranges (store, &call_manage_diff,
                             &(struct manage_call){ .from = from, .to = to },
                             found, opaque, status);
  if ((from && store_find (store, from, &from_info, status) == -1) ||
      store_find (store, to, &to_info, status) == -1)
    return -1;
  return manage_diff_found (store, from ? &from_info : NULL, &to_info, found,
                            opaque, status);
}

int
manage_diff_found (struct store *store, const struct disk_info *from,
                   const struct disk_info *to, difference_found found,
                   void *opaque, struct status *status)
{
  struct comparison comparison = {
    .to = *to,
    .found = found,
    .opaque = opaque,
  };
  struct manage_call call = { .to_info = *to };
  int r;

  if (from)
    comparison.from = call.from_info = *from;
  if (store_remote (store))
    return calls_ask_ranges (store, &call_manage_diff_found, &call, found,
                             opaque, status);
  if (from && from->block_size != to->block_size)
    return status_fail (status, EINVAL,
                        "'%s' and '%s' have different block sizes", from->name,
                        to->name);
  comparison.from_rows = calloc (DIFF_BLOCKS, sizeof *comparison.from_rows);
  comparison.to_rows = calloc (DIFF_BLOCKS, sizeof *comparison.to_rows);
  if (comparison.from_rows && comparison.to_rows)
    r = compare (store, &comparison, status);
  else
    r = status_no_memory (status);
  free (comparison.from_rows);
  free (comparison.to_rows);
  view_free (&comparison.from_view);
  view_free (&comparison.to_view);
  return r;
}
