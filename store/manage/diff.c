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
#include "rows/bookmarks.h"
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

/*--------------------------------------------------------------------
 * Since a bookmark.
 */

/* What is compared with a bookmark: a part of what `to` shows. */
struct later {
  const struct bookmark_info *bookmark;
  struct view view; /* of `to` */
  struct layer_point rows[DIFF_BLOCKS];
  uint64_t first; /* block */
  uint64_t at;    /* the next one of which there is a row, */
  uint32_t count; /* and how many are looked at from there on */
};

/* Look at a part of TO from later->first on. */
static int
read_later (struct connection *connection, const struct disk_info *to,
            struct later *later, struct status *status)
{
  struct view *view = &later->view;
  uint64_t end;

  if (snapshots_view (connection, to, view, status) == -1)
    return -1;
  if (!bookmark_is_below (later->bookmark, view))
    return status_fail (status, EINVAL,
                        "'%s' does not come from the bookmark '%s#%s', or was "
                        "flattened since: the disk was rolled back to what was "
                        "before it, or got other contents; send from a "
                        "snapshot, or everything",
                        to->name, later->bookmark->disk_name,
                        later->bookmark->name);
  end = view_blocks (view);
  if (view_next_row (connection, view, later->first, end, &later->at, status) ==
      -1)
    return -1;
  later->count = end - later->at < DIFF_BLOCKS ? end - later->at : DIFF_BLOCKS;
  return later->count == 0 ? 0
                           : view_rows (connection, view, later->at,
                                        later->count, later->rows, status);
}

/* Tell of what was read.  Past the end of the bookmark all is zeroes at first.
 */
static int
add_later (struct growing *growing, const struct later *later,
           struct status *status)
{
  const struct bookmark_info *bookmark = later->bookmark;
  const uint64_t size = later->view.block_size;
  const uint64_t limit = (bookmark->size - 1) / size + 1;

  if (later->first < later->at && later->first < limit &&
      add_range (growing, later->first * size,
                 (later->at < limit ? later->at : limit) * size, true,
                 status) == -1)
    return -1;
  for (uint32_t i = 0; i < later->count; i++) {
    const uint64_t number = later->at + i, start = number * size;
    const bool hole = later->rows[i].layer == 0;

    if (hole ? number < limit
             : number >= limit || !bookmark_has_row (bookmark, &later->rows[i]))
      if (add_range (growing, start, start + size, hole, status) == -1)
        return -1;
  }
  return 0;
}

int
manage_diff_bookmark (struct store *store, const struct bookmark_info *bookmark,
                      const struct disk_info *to, difference_found found,
                      void *opaque, struct status *status)
{
  struct growing growing = {
    .size = to->size,
    .found = found,
    .opaque = opaque,
  };
  struct manage_call call = { .bookmark = *bookmark, .to_info = *to };
  struct later *later;
  int r;

  if (store_remote (store))
    return calls_ask_ranges (store, &call_manage_diff_bookmark, &call, found,
                             opaque, status);
  later = calloc (1, sizeof *later);
  if (later == NULL)
    return status_no_memory (status);
  later->bookmark = bookmark;
  do {
    r = store_is_interrupted (store)
            ? status_fail (status, ECANCELED, "interrupted")
            : STORE_READ (store, status, connection,
                          read_later (connection, to, later, status));
    if (r == 0)
      r = add_later (&growing, later, status);
    later->first = later->at + later->count;
  } while (r == 0 && later->count > 0);
  view_free (&later->view);
  free (later);
  return r == 0 ? report_range (&growing, status) : -1;
}
