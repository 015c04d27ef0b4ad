/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Differences between disks and snapshots: see diff.h, and manage.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rows/layers.h"
#include "manage/calls.h"
#include "manage.h"
#include "manage/diff.h"
#include "engine/engine.h"
#include "rows/snapshots.h"

/* What both show, while it is compared. */
struct comparison {
  struct view from_view, to_view;
  struct layer_point from_rows[DIFF_BLOCKS], to_rows[DIFF_BLOCKS];
};

/* Go to the next block from PART->first on that either side has a row for, and
 * read which rows both show there and in those that follow.
 */
static int
read_rows (struct connection *connection, const struct disk_info *from,
           const struct disk_info *to, struct comparison *comparison,
           struct diff_part *part, struct status *status)
{
  struct view *from_view = &comparison->from_view;
  struct view *to_view = &comparison->to_view;
  uint64_t end, next, other;
  uint32_t count;

  if (snapshots_view (connection, to, to_view, status) == -1)
    return -1;
  end = view_blocks (to_view);
  if (view_next_row (connection, to_view, part->first, end, &next, status) ==
      -1)
    return -1;
  if (from->id != 0) {
    if (snapshots_view (connection, from, from_view, status) == -1 ||
        view_next_row (connection, from_view, part->first, end, &other,
                       status) == -1)
      return -1;
    next = other < next ? other : next;
  }
  count = end - next < DIFF_BLOCKS ? end - next : DIFF_BLOCKS;
  part->first = next;
  part->count = count;
  if (count == 0 || view_rows (connection, to_view, next, count,
                               comparison->to_rows, status) == -1)
    return count == 0 ? 0 : -1;
  /* What FROM has past its end does not count. */
  if (from->id == 0 || next >= view_blocks (from_view))
    return 0;
  if (count > view_blocks (from_view) - next)
    count = view_blocks (from_view) - next;
  return view_rows (connection, from_view, next, count, comparison->from_rows,
                    status);
}

int
diff_compare (struct store *store, const struct disk_info *from,
              const struct disk_info *to, uint64_t first,
              struct diff_part *part, struct status *status)
{
  struct comparison *comparison = calloc (1, sizeof *comparison);
  int r;

  if (comparison == NULL)
    return status_no_memory (status);
  part->first = first;
  r = STORE_READ (store, status, connection,
                  read_rows (connection, from, to, comparison, part, status));
  for (uint32_t i = 0; r == 0 && i < part->count; i++) {
    const struct layer_point *old = &comparison->from_rows[i];
    const struct layer_point *new = &comparison->to_rows[i];

    part->blocks[i] =
        old->layer == new->layer && old->generation == new->generation
            ? DIFF_SAME
        : new->layer == 0 ? DIFF_ZEROES
                          : DIFF_DATA;
  }
  view_free (&comparison->from_view);
  view_free (&comparison->to_view);
  free (comparison);
  return r;
}

/*--------------------------------------------------------------------
 * Telling of them.
 */

/* The range that is growing, in bytes; empty where there is none. */
struct growing {
  uint64_t start, end;
  bool hole;
  uint64_t size; /* of the second */
  difference_found found;
  void *opaque;
};

static int
report_range (struct growing *growing, struct status *status)
{
  const uint64_t size = growing->size;
  const uint64_t end = growing->end < size ? growing->end : size;

  if (growing->start < end &&
      growing->found (growing->start, end - growing->start, growing->hole,
                      growing->opaque) != 0)
    return status_fail (status, ECANCELED, "interrupted");
  return 0;
}

/* Blocks are different from byte START to END. */
static int
add_range (struct growing *growing, uint64_t start, uint64_t end, bool hole,
           struct status *status)
{
  if (start != growing->end || hole != growing->hole) {
    if (report_range (growing, status) == -1)
      return -1;
    growing->start = start;
    growing->hole = hole;
  }
  growing->end = end;
  return 0;
}

static int
add_part (struct growing *growing, const struct diff_part *part,
          uint64_t block_size, struct status *status)
{
  for (uint32_t i = 0; i < part->count; i++) {
    const uint64_t start = (part->first + i) * block_size;

    if (part->blocks[i] != DIFF_SAME &&
        add_range (growing, start, start + block_size,
                   part->blocks[i] == DIFF_ZEROES, status) == -1)
      return -1;
  }
  return 0;
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
  static const struct disk_info nothing;
  struct growing growing = {
    .size = to->size,
    .found = found,
    .opaque = opaque,
  };
  struct manage_call call = { .to_info = *to };
  struct diff_part *part;
  uint64_t first = 0;
  int r;

  if (from)
    call.from_info = *from;
  if (store_remote (store))
    return calls_ask_ranges (store, &call_manage_diff_found, &call, found,
                             opaque, status);
  if (from && from->block_size != to->block_size)
    return status_fail (status, EINVAL,
                        "'%s' and '%s' have different block sizes", from->name,
                        to->name);
  part = malloc (sizeof *part);
  if (part == NULL)
    return status_no_memory (status);
  do {
    r = store_is_interrupted (store)
            ? status_fail (status, ECANCELED, "interrupted")
            : diff_compare (store, from ? from : &nothing, to, first, part,
                            status);
    if (r == 0)
      r = add_part (&growing, part, to->block_size, status);
    first = part->first + part->count;
  } while (r == 0 && part->count > 0);
  free (part);
  return r == 0 ? report_range (&growing, status) : -1;
}
