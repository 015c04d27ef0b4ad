/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Reclaiming: see reclaim.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

#include "rows/bookmarks.h"
#include "rows/disks.h"
#include "rows/features.h"
#include "rows/hiding.h"
#include "rows/layers.h"
#include "rows/quota.h"
#include "rows/reclaim.h"
#include "rows/snapshots.h"
#include "rows/viewers.h"
#include "base/count.h"

/* What one step does at most: index entries looked at, rows deleted, and
 * bytes of blocks rewritten.
 */
#define STEP_ENTRIES 65536
#define STEP_DELETED 2048
#define STEP_BYTES   (4 * 1024 * 1024)

/* A layer with one child moves up into it when it has few rows, or when so
 * many layers stand below it.  Moving rewrites a row, which a short chain is
 * not worth.
 */
#define MERGE_DEPTH 16

int64_t reclaim_few_rows = 65536;

int
reclaim_check (struct connection *connection, struct status *status)
{
  int64_t disks, snapshots, layers;

  if (disks_count_damaged (connection, &disks, status) == -1 ||
      snapshots_count_damaged (connection, &snapshots, status) == -1 ||
      layers_count_damaged (connection, &layers, status) == -1)
    return -1;
  if (disks + snapshots + layers == 0)
    return 0;
  return status_fail (status, EIO,
                      "rows of %s, %s and %s are damaged; no space is freed, "
                      "since what they show may still be needed: restore the "
                      "database from a backup",
                      COUNT (disks, "disk"), COUNT (snapshots, "snapshot"),
                      COUNT (layers, "layer"));
}

/* Does a disk read the layer that a feature keeps this program off?  Then it is
 * left to the programs that have the feature.  Returns 1, 0, -1.
 */
static int
is_foreign (struct connection *connection, int64_t layer, struct status *status)
{
  struct status why;
  const int r = features_forbid_layer (connection, layer, FEATURE_CHANGE, &why);

  if (r == -1)
    *status = why;
  return r;
}

int
reclaim_is_needed (struct connection *connection, bool *needed,
                   struct status *status)
{
  static const char copies_sql[] = "SELECT EXISTS (SELECT 1 FROM snapshot"
                                   "  WHERE name LIKE '" SNAPSHOT_COPY "%')";
  static const char waiting_sql[] = "SELECT layer FROM reclaim";
  CLEANUP_STATEMENT sqlite3_stmt *waiting =
      connection_statement (connection, waiting_sql, status);
  int64_t copies;
  int r = 0;

  if (waiting == NULL ||
      connection_integer (connection, copies_sql, &copies, status) == -1)
    return -1;
  *needed = copies != 0;
  while (!*needed && (r = connection_step (connection, waiting, status)) == 1) {
    r = is_foreign (connection, sqlite3_column_int64 (waiting, 0), status);
    *needed = r == 0;
    if (r == -1)
      break;
  }
  return r == -1 ? -1 : 0;
}

/*--------------------------------------------------------------------
 * What is looked at.
 */

/* A layer to be worked on. */
struct work {
  struct connection *connection;
  struct reclaim_step *step;
  int64_t layer;
  struct layer_point parent; /* layer 0: none */
  int64_t number;            /* where to go on */
  int64_t generation;

  struct viewers viewers;
  int64_t child;        /* not 0: only this layer looks at it */
  struct hiding hidden; /* blocks of it that `child` does not show */
  bool merge;           /* move what the child sees into it */
  uint64_t bytes;       /* rewritten */
};

/* Take a layer off the table: the highest first, so that children go before
 * their parents.  Returns 1, 0 where there is none, -1.
 */
static int
find_work (struct work *work, const struct failed_layers *failed,
           struct status *status)
{
  static const char next_sql[] =
      "SELECT reclaim.layer, reclaim.number, reclaim.generation,"
      " layer.parent, layer.parent_generation,"
      " layer.checksum = " LAYER_CHECKSUM ","
      " EXISTS (SELECT 1 FROM reclaim AS entry"
      "  WHERE entry.layer = reclaim.layer)"
      " FROM reclaim JOIN layer ON layer.id = reclaim.layer"
      " ORDER BY reclaim.layer DESC";
  CLEANUP_STATEMENT sqlite3_stmt *next =
      connection_statement (work->connection, next_sql, status);
  int r, passed = 1;

  if (next == NULL)
    return -1;
  while (passed == 1) {
    r = connection_step (work->connection, next, status);
    if (r != 1)
      return r;
    passed = failed_layers_has (failed, sqlite3_column_int64 (next, 0))
                 ? 1
                 : is_foreign (work->connection, sqlite3_column_int64 (next, 0),
                               status);
  }
  if (passed == -1)
    return -1;
  work->layer = work->step->layer = sqlite3_column_int64 (next, 0);
  work->number = sqlite3_column_int64 (next, 1);
  work->generation = sqlite3_column_int64 (next, 2);
  work->parent.layer = sqlite3_column_int64 (next, 3);
  work->parent.generation = sqlite3_column_int64 (next, 4);
  if (!sqlite3_column_int (next, 5))
    return status_fail (status, EIO,
                        "layer %" PRId64 " is damaged; restore the database "
                        "from a backup",
                        work->layer);
  /* An entry that is out of its place in a damaged file can neither be changed
   * nor taken off, and would come again and again.
   */
  if (!sqlite3_column_int (next, 6))
    return status_fail (status, EIO,
                        "the entry of layer %" PRId64 " in the table reclaim "
                        "is damaged: \"sqlblock check\" says more",
                        work->layer);
  return 1;
}

/* Find out what the only child hides. */
static int
find_hidden (struct work *work, struct status *status)
{
  int64_t layer = work->child, generation, child;

  while (layer != 0) {
    if (viewers_lowest (work->connection, layer, &generation, &child, status) ==
            -1 ||
        hiding_add (&work->hidden, layer, generation, status) == -1)
      return -1;
    /* Children are younger: this ends in a damaged file, too. */
    layer = child > layer ? child : 0;
  }
  return 0;
}

/* Decide whether the layer moves into its only child.  It stays where there is
 * a bookmark of what the child sees: that is only known by its layer.
 */
static int
decide_merge (struct work *work, struct status *status)
{
  static const char rows_sql[] =
      "SELECT count (*) FROM (SELECT 1 FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 LIMIT ?2)";
  struct view below = { 0 };
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (work->connection, rows_sql, status);
  int r;

  if (rows == NULL)
    return -1;
  r = bookmarks_on_layer (work->connection, work->layer,
                          work->viewers.list[0].generation, status);
  if (r != 0)
    return r == -1 ? -1 : 0;
  sqlite3_bind_int64 (rows, 1, work->layer);
  sqlite3_bind_int64 (rows, 2, reclaim_few_rows + 1);
  if (connection_step (work->connection, rows, status) == -1)
    return -1;
  work->merge = sqlite3_column_int64 (rows, 0) <= reclaim_few_rows;
  if (!work->merge) {
    r = view_layers (work->connection, work->layer, 0, &below, status);
    work->merge = below.depth > MERGE_DEPTH;
    view_free (&below);
  }
  return r;
}

/*--------------------------------------------------------------------
 * Changing rows.
 */

/* Run a statement that returns the lengths of rows, and add them to *BYTES. */
static int
add_lengths (struct connection *connection, sqlite3_stmt *statement,
             uint64_t *bytes, struct status *status)
{
  int r;

  while ((r = connection_step (connection, statement, status)) == 1)
    *bytes += sqlite3_column_int64 (statement, 0);
  return r;
}

static int
delete_row (struct work *work, int64_t number, int64_t generation,
            struct status *status)
{
  static const char delete_sql[] =
      "DELETE FROM block"
      " WHERE layer = ?1 AND number = ?2 AND generation = ?3"
      " AND " CODEC_UNDERSTOOD ("block") " RETURNING length (data)";
  CLEANUP_STATEMENT sqlite3_stmt *delete =
      connection_statement (work->connection, delete_sql, status);

  if (delete == NULL)
    return -1;
  row_bind (delete, work->layer, number, generation);
  return add_lengths (work->connection, delete, &work->step->freed, status);
}

/* Move a row into the child.  A checksum that was wrong stays wrong. */
static int
move_row (struct work *work, int64_t number, int64_t generation,
          struct status *status)
{
  static const char move_sql[] =
      "UPDATE block SET layer = ?4, generation = ?5,"
      " checksum = moved_checksum (checksum, layer, number, generation, codec,"
      " ifnull (data, content), ?4, ?5)"
      " WHERE layer = ?1 AND number = ?2 AND generation = ?3"
      " AND " CODEC_UNDERSTOOD ("block") " RETURNING ifnull (length (data), 0)";
  CLEANUP_STATEMENT sqlite3_stmt *move =
      connection_statement (work->connection, move_sql, status);

  if (move == NULL)
    return -1;
  row_bind (move, work->layer, number, generation);
  sqlite3_bind_int64 (move, 4, work->child);
  sqlite3_bind_int64 (move, 5, GENERATION_TAKEN);
  work->bytes += 64;
  return add_lengths (work->connection, move, &work->bytes, status);
}

/*--------------------------------------------------------------------
 * Looking for rows to change.
 */

enum action { KEEP, DELETE, MOVE };

/* A row to be changed. */
struct change {
  int64_t number;
  int64_t generation;
  enum action action;
};

/* A walk over the rows of a layer, upwards. */
struct search {
  struct work *work;
  sqlite3_stmt *rows;
  sqlite3_stmt *zeroes; /* those of codec 0, where that matters */
  int zero_left;
  int64_t older; /* the last number of which an older row stays */
  struct change *changes;
  size_t count;
};

/* Bind where a search starts. */
static void
bind_start (sqlite3_stmt *statement, const struct work *work)
{
  row_bind (statement, work->layer, work->number, work->generation);
}

static int
search_begin (struct search *search, struct work *work, struct status *status)
{
  static const char rows_sql[] =
      "SELECT number, generation FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND (number, generation) >= (?2, ?3)"
      " ORDER BY number, generation";
  static const char zeroes_sql[] =
      "SELECT number, generation FROM block INDEXED BY block_zero"
      " WHERE codec = 0 AND layer = ?1 AND (number, generation) >= (?2, ?3)"
      " ORDER BY number, generation";
  int r;

  *search = (struct search){
    .work = work,
    .rows = connection_statement (work->connection, rows_sql, status),
    .older = -1,
    .changes = calloc (STEP_DELETED, sizeof *search->changes),
  };
  if (search->changes == NULL)
    return status_no_memory (status);
  if (search->rows == NULL)
    return -1;
  bind_start (search->rows, work);
  r = work->generation > 0
          ? layer_has_row (work->connection, work->layer, work->number,
                           work->generation - 1, status)
          : 0;
  if (r == 1)
    search->older = work->number;
  if (r == -1 || work->parent.layer != 0)
    return r == -1 ? -1 : 0;
  search->zeroes = connection_statement (work->connection, zeroes_sql, status);
  if (search->zeroes == NULL)
    return -1;
  bind_start (search->zeroes, work);
  search->zero_left =
      connection_step (work->connection, search->zeroes, status);
  return search->zero_left == -1 ? -1 : 0;
}

static void
search_end (struct search *search)
{
  statement_done (&search->rows);
  statement_done (&search->zeroes);
  free (search->changes);
}
#define CLEANUP_SEARCH __attribute__ ((cleanup (search_end)))

/* Is this row, which comes after those that were asked for before, one of
 * zeroes with nothing below that it could hide?  Returns 1, 0, -1.
 */
static int
hides_nothing (struct search *search, int64_t number, int64_t generation,
               struct status *status)
{
  sqlite3_stmt *zeroes = search->zeroes;

  while (search->zero_left == 1 &&
         (sqlite3_column_int64 (zeroes, 0) < number ||
          (sqlite3_column_int64 (zeroes, 0) == number &&
           sqlite3_column_int64 (zeroes, 1) < generation)))
    search->zero_left =
        connection_step (search->work->connection, zeroes, status);
  if (search->zero_left != 1)
    return search->zero_left;
  return sqlite3_column_int64 (zeroes, 0) == number &&
         sqlite3_column_int64 (zeroes, 1) == generation &&
         search->older != number;
}

/* What is to become of a row, the next newer of whose number is of NEWER?
 */
static int
decide (struct search *search, int64_t number, int64_t generation,
        int64_t newer, enum action *action, struct status *status)
{
  struct work *work = search->work;
  int r;

  *action = DELETE;
  if (!viewers_see (&work->viewers, generation, newer))
    return 0;
  r = hides_nothing (search, number, generation, status);
  if (r == 0)
    r = hiding_has (work->connection, &work->hidden, number, status);
  if (r != 0)
    return r == -1 ? -1 : 0;
  *action = work->merge ? MOVE : KEEP;
  search->older = number;
  return 0;
}

/* Decide about the row at NUMBER and GENERATION and note it. */
static int
note (struct search *search, int64_t number, int64_t generation, int64_t newer,
      struct status *status)
{
  struct change *change = &search->changes[search->count];

  if (decide (search, number, generation, newer, &change->action, status) == -1)
    return -1;
  change->number = number;
  change->generation = generation;
  if (change->action != KEEP)
    search->count++;
  return 0;
}

/* Look at rows until there is enough to do.  Returns 1, and where to go on
 * in the work, or 0 at the end, or -1.
 */
static int
search_rows (struct search *search, struct status *status)
{
  struct work *work = search->work;
  bool pending = false;
  int64_t number, generation;
  int r;

  while ((r = connection_step (work->connection, search->rows, status)) == 1) {
    number = sqlite3_column_int64 (search->rows, 0);
    generation = sqlite3_column_int64 (search->rows, 1);
    if (pending &&
        note (search, work->number, work->generation,
              number == work->number ? generation : INT64_MAX, status) == -1)
      return -1;
    pending = true;
    work->number = number;
    work->generation = generation;
    if (++work->step->rows == STEP_ENTRIES || search->count == STEP_DELETED)
      return 1;
  }
  if (r == 0 && pending)
    r = note (search, work->number, work->generation, INT64_MAX, status);
  return r;
}

/* Make the changes found; where that is enough for one step, go on from
 * the next one.  Returns 1 then, 0 when all are made, -1.
 */
static int
make_changes (struct search *search, struct status *status)
{
  struct work *work = search->work;
  const uint64_t most =
      work->step->most < STEP_BYTES ? work->step->most : STEP_BYTES;
  struct change *change;
  int r = 0;

  for (size_t i = 0; i < search->count && r == 0; i++) {
    change = &search->changes[i];
    if (work->bytes >= most) {
      work->number = change->number;
      work->generation = change->generation;
      return 1;
    }
    if (change->action == MOVE)
      r = move_row (work, change->number, change->generation, status);
    else
      r = delete_row (work, change->number, change->generation, status);
  }
  return r;
}

/*--------------------------------------------------------------------
 * The steps.
 */

/* The layer was looked through. */
static int
forget_work (struct work *work, struct status *status)
{
  if (reclaim_drop (work->connection, work->layer, status) == -1)
    return -1;
  return quota_follow_layer (work->connection, work->layer, status);
}

/* The layer is empty, and nothing looks at it. */
static int
remove_layer (struct work *work, struct status *status)
{
  if (quota_follow_layer (work->connection, work->layer, status) == -1 ||
      layer_remove (work->connection, work->layer, status) == -1)
    return -1;
  return work->parent.layer
             ? reclaim_add (work->connection, work->parent.layer, status)
             : 0;
}

/* All that the child saw has moved into it. */
static int
unlink_layer (struct work *work, struct status *status)
{
  if (layer_set_parent (work->connection, work->child,
                        work->parent.layer ? &work->parent : NULL,
                        status) == -1 ||
      remove_layer (work, status) == -1)
    return -1;
  /* Without a parent it may have zeroes that hide nothing any more. */
  return work->parent.layer
             ? 0
             : reclaim_add (work->connection, work->child, status);
}

static int
save_progress (struct work *work, struct status *status)
{
  static const char save_sql[] =
      "UPDATE reclaim SET number = ?2, generation = ?3 WHERE layer = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *save =
      connection_statement (work->connection, save_sql, status);

  if (save == NULL)
    return -1;
  bind_start (save, work);
  return connection_step (work->connection, save, status);
}

/* Nothing looks at the layer: some of its rows go, or at last the layer. */
static int
delete_some (struct work *work, struct status *status)
{
  static const char some_sql[] =
      "DELETE FROM block WHERE id IN"
      " (SELECT id FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 LIMIT ?2)"
      " AND " CODEC_UNDERSTOOD ("block") " RETURNING length (data)";
  CLEANUP_STATEMENT sqlite3_stmt *some =
      connection_statement (work->connection, some_sql, status);
  uint64_t deleted = 0;
  int r;

  if (some == NULL)
    return -1;
  sqlite3_bind_int64 (some, 1, work->layer);
  sqlite3_bind_int64 (some, 2, STEP_DELETED);
  while ((r = connection_step (work->connection, some, status)) == 1) {
    work->step->freed += sqlite3_column_int64 (some, 0);
    deleted++;
  }
  work->step->rows += deleted;
  if (r == -1 || deleted == STEP_DELETED)
    return r;
  return remove_layer (work, status);
}

/* The layer stays.  Since something that looked at it is gone, it may hide
 * more of its parent, if nothing else looks at that.
 */
static int
keep_layer (struct work *work, struct status *status)
{
  int64_t generation, child = 0;

  if (forget_work (work, status) == -1 ||
      (work->parent.layer != 0 && work->parent.layer < work->layer &&
       viewers_lowest (work->connection, work->parent.layer, &generation,
                       &child, status) == -1))
    return -1;
  return child ? reclaim_add (work->connection, work->parent.layer, status) : 0;
}

/* All rows were looked through.  While some were, the layer may still have
 * had too many of them to move: then those are looked at again.
 */
static int
end_search (struct work *work, struct status *status)
{
  static const char left_sql[] =
      "SELECT EXISTS (SELECT 1 FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1)";
  int64_t left;

  if (!work->merge)
    return keep_layer (work, status);
  if (connection_integer_for (work->connection, left_sql, work->layer, &left,
                              status) == -1)
    return -1;
  if (left == 0)
    return unlink_layer (work, status);
  work->number = work->generation = 0;
  return save_progress (work, status);
}

/* Look through some rows of a layer that something looks at. */
static int
search_some (struct work *work, struct status *status)
{
  CLEANUP_SEARCH struct search search = { 0 };
  int more, r;

  if (work->child != 0 &&
      (find_hidden (work, status) == -1 || decide_merge (work, status) == -1))
    return -1;
  if (search_begin (&search, work, status) == -1)
    return -1;
  more = search_rows (&search, status);
  /* The statements must not see what is changed now. */
  statement_done (&search.rows);
  statement_done (&search.zeroes);
  if (more == -1)
    return -1;
  r = make_changes (&search, status);
  if (r == -1)
    return -1;
  if (more == 1 || r == 1)
    return save_progress (work, status);
  return end_search (work, status);
}

int
reclaim_step (struct connection *connection, const struct failed_layers *failed,
              struct reclaim_step *step, struct status *status)
{
  struct work work = { .connection = connection, .step = step };
  const uint64_t freed = connection->content_freed;
  int r;

  *step = (struct reclaim_step){ .most = step->most };
  r = find_work (&work, failed, status);
  if (r == 1) {
    r = viewers_find (connection, work.layer, &work.viewers, status);
    work.child = viewers_only_child (&work.viewers);
    if (r == 0)
      r = work.viewers.count == 0 ? delete_some (&work, status)
                                  : search_some (&work, status);
    r = r == 0 ? 1 : -1;
  }
  step->freed += connection->content_freed - freed;
  viewers_free (&work.viewers);
  hiding_free (&work.hidden);
  return r;
}
