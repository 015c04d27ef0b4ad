/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The rules that layers, disks, snapshots and what is kept about them obey:
 * see check-parts.h and schema.sql.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sane.h"
#include "check/check-parts.h"
#include "rows/follow.h"
#include "base/grow.h"
#include "rows/features.h"
#include "sqlite/guard.h"
#include "rows/layers.h"
#include "rows/partial.h"
#include "rows/snapshots.h"
#include "engine/engine.h"
#include "base/count.h"

/* More layers than any database has; the plan has room for them. */
#define LAYERS_MAX 10000000

/* How many blocks behind the end of a disk are looked at at a time. */
#define END_BLOCKS 65536

/* Beside a server, the rows of at most this many blocks are counted again. */
#define COUNTED_ROWS 1000000

/*--------------------------------------------------------------------
 * The plan.
 */

static int
compare_layers (const void *a, const void *b)
{
  const struct plan_layer *x = a, *y = b;

  return (x->id > y->id) - (x->id < y->id);
}

static struct plan_layer *
find_layer (const struct plan *plan, int64_t layer)
{
  const struct plan_layer key = { .id = layer };

  return plan->count == 0 ? NULL
                          : bsearch (&key, plan->layers, plan->count,
                                     sizeof *plan->layers, compare_layers);
}

const struct plan_layer *
plan_find (const struct plan *plan, int64_t layer)
{
  return find_layer (plan, layer);
}

static int
add_layer (struct plan *plan, const struct plan_layer *layer,
           struct status *status)
{
  struct plan_layer *layers;

  /* A damaged tree may give rows in any order. */
  if (plan->count > 0 && layer->id <= plan->layers[plan->count - 1].id)
    return 0;
  if (plan->count == LAYERS_MAX)
    return status_fail (status, EIO, "there are more than %d layers",
                        LAYERS_MAX);
  layers = grow (plan->layers, plan->count, sizeof *layers);
  if (layers == NULL)
    return status_no_memory (status);
  plan->layers = layers;
  layers[plan->count++] = *layer;
  return 0;
}

/* Read the layers. */
static int
read_layers (struct plan *plan, struct connection *connection,
             struct status *status)
{
  static const char layers_sql[] =
      "SELECT id, ifnull (parent, 0), generation, checksum = " LAYER_CHECKSUM
      " FROM layer NOT INDEXED ORDER BY id";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, layers_sql, status);
  int r;

  if (rows == NULL)
    return -1;
  plan->count = 0;
  while ((r = connection_step (connection, rows, status)) == 1) {
    struct plan_layer layer = {
      .id = sqlite3_column_int64 (rows, 0),
      .parent = sqlite3_column_int64 (rows, 1),
      .generation = sqlite3_column_int64 (rows, 2),
    };

    if (!sqlite3_column_int (rows, 3)) {
      layer.parent = 0;
      layer.generation = INT64_MAX;
    }
    if (add_layer (plan, &layer, status) == -1)
      return -1;
  }
  return r;
}

/* What a disk means with its rows that uses an unknown feature is not known. */
static int
forget_refused (struct plan *plan, struct connection *connection,
                struct status *status)
{
  struct status why;
  int r = 0;

  for (size_t i = 0; r != -1 && i < plan->count; i++) {
    r = features_forbid_layer (connection, plan->layers[i].id, FEATURE_READ,
                               &why);
    if (r == 1)
      plan->layers[i].block_size = 0;
  }
  if (r == -1)
    *status = why;
  return r == -1 ? -1 : 0;
}

/* SQL, of a row of disk: is it encrypted? */
#define IS_ENCRYPTED                                                           \
  "disk.id IN (SELECT disk FROM feature WHERE name = '" FEATURE_ENCRYPTED "')"

/* Find out the block sizes, and what is encrypted: for all that look at a layer
 * it is the same.
 */
static int
read_block_sizes (struct plan *plan, struct connection *connection,
                  struct status *status)
{
  static const char sizes_sql[] =
      "SELECT layer, block_size, " IS_ENCRYPTED
      " FROM disk WHERE checksum = " DISK_CHECKSUM
      " UNION SELECT snapshot.layer, block_size, " IS_ENCRYPTED
      " FROM snapshot JOIN disk ON disk.id = snapshot.disk"
      " WHERE snapshot.checksum = " SNAPSHOT_CHECKSUM
      " AND disk.checksum = " DISK_CHECKSUM;
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, sizes_sql, status);
  struct plan_layer *layer;
  int r;

  if (rows == NULL)
    return -1;
  while ((r = connection_step (connection, rows, status)) == 1) {
    layer = find_layer (plan, sqlite3_column_int64 (rows, 0));
    if (layer && sane_geometry (1, sqlite3_column_int64 (rows, 1)))
      layer->block_size = sqlite3_column_int64 (rows, 1);
    if (layer && sqlite3_column_int (rows, 2))
      layer->encrypted = true;
  }
  /* Parents have lower ids than their children. */
  for (size_t i = plan->count; i > 0; i--) {
    layer = find_layer (plan, plan->layers[i - 1].parent);
    if (layer && layer->block_size == 0)
      layer->block_size = plan->layers[i - 1].block_size;
    if (layer)
      layer->encrypted |= plan->layers[i - 1].encrypted;
  }
  return r == -1 ? -1 : forget_refused (plan, connection, status);
}

int
check_plan (struct check *check, struct connection *connection,
            struct status *status)
{
  if (check->plan_is_fresh)
    return 0;
  if (read_layers (&check->plan, connection, status) == -1 ||
      read_block_sizes (&check->plan, connection, status) == -1)
    return -1;
  check->plan_is_fresh = true;
  return 0;
}

/*--------------------------------------------------------------------
 * Layers.
 */

/* What is wrong with a row of layers_sql, or NULL. */
static const char *
layer_fault (sqlite3_stmt *row)
{
  const int64_t id = sqlite3_column_int64 (row, 0);
  const bool has_parent = sqlite3_column_type (row, 1) != SQLITE_NULL;
  const int64_t parent_generation = sqlite3_column_int64 (row, 2);
  const int64_t generation = sqlite3_column_int64 (row, 3);
  const bool parent_exists = sqlite3_column_type (row, 5) != SQLITE_NULL;

  if (!sqlite3_column_int (row, 4))
    return "its checksum does not match";
  if (id < 1 || id >= ID_END || generation < 1 || generation >= ID_END)
    return "its id or generation is impossible";
  if (has_parent != (sqlite3_column_type (row, 2) != SQLITE_NULL))
    return "it has half a parent";
  if (!has_parent)
    return NULL;
  if (sqlite3_column_int64 (row, 1) >= id)
    return "its parent is not older than it";
  if (!parent_exists)
    return "its parent is missing";
  if (parent_generation < 1 ||
      parent_generation > sqlite3_column_int64 (row, 5))
    return "its parent has no such generation yet";
  if (sqlite3_column_int (row, 6) &&
      parent_generation == sqlite3_column_int64 (row, 5))
    return "a disk still writes the generation of the parent that it shows";
  return NULL;
}

/* Which disks and snapshots are hurt where LAYER is? */
static int
find_hurt (struct connection *connection, int64_t layer,
           struct check_problem *problem, struct status *status)
{
  static const char hurt_sql[] = CHECK_VIEWERS;
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, hurt_sql, status);
  int r;

  if (rows == NULL)
    return -1;
  sqlite3_bind_int64 (rows, 1, layer);
  while ((r = connection_step (connection, rows, status)) == 1)
    check_add_shown (problem, (const char *)sqlite3_column_text (rows, 3));
  return r;
}

static int
check_layers (struct check *check, struct connection *connection,
              struct status *status)
{
  static const char layers_sql[] =
      "SELECT id, parent, parent_generation, generation,"
      " checksum IS " LAYER_CHECKSUM ","
      " (SELECT generation FROM layer AS below WHERE below.id = layer.parent),"
      " EXISTS (SELECT 1 FROM disk WHERE disk.layer = layer.parent),"
      " EXISTS (SELECT 1 FROM disk WHERE disk.layer = layer.id)"
      " OR EXISTS (SELECT 1 FROM snapshot WHERE snapshot.layer = layer.id)"
      " OR EXISTS (SELECT 1 FROM layer AS above WHERE above.parent = layer.id)"
      " OR EXISTS (SELECT 1 FROM reclaim WHERE reclaim.layer = layer.id)"
      " FROM layer NOT INDEXED";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, layers_sql, status);
  int r;

  if (rows == NULL)
    return -1;
  while ((r = connection_step (connection, rows, status)) == 1) {
    const int64_t id = sqlite3_column_int64 (rows, 0);
    const char *fault = layer_fault (rows);
    struct check_problem problem = { .kind = CHECK_LAYER };

    if (++check->counts->layers > LAYERS_MAX)
      return status_fail (status, EIO, "there are too many layers");
    if (fault) {
      if (find_hurt (connection, id, &problem, status) == -1)
        return -1;
      check_tell (check, &problem, "layer %" PRId64 ": %s", id, fault);
    }
    else if (!sqlite3_column_int (rows, 7)) {
      problem.kind = CHECK_ORPHAN;
      problem.mend = MEND_RECLAIM;
      problem.subject = id;
      check_tell (check, &problem,
                  "nobody looks at layer %" PRId64 ", and it does not wait to "
                  "be freed",
                  id);
    }
  }
  return r;
}

/*--------------------------------------------------------------------
 * Disks.
 */

/* The name in COLUMN of a row, to be told. */
static void
name_shown (struct check_problem *problem, sqlite3_stmt *row, int column)
{
  const char *name = (const char *)sqlite3_column_text (row, column);

  if (name)
    snprintf (problem->shown[problem->shown_count++], sizeof problem->shown[0],
              "%s", name);
}

static bool
has_suffix (const char *name, const char *suffix)
{
  const size_t length = strlen (name), end = strlen (suffix);

  return length > end && strcmp (name + length - end, suffix) == 0;
}

/* A disk on its way in is no leftover while somebody has its guard, where a
 * feature forbids to remove it, or where it is kept.
 */
static int
tell_hidden_disk (struct check *check, struct connection *connection,
                  int64_t id, struct status *status)
{
  struct check_problem problem = {
    .kind = CHECK_LEFTOVER,
    .mend = MEND_CLEAN,
  };
  struct partial_info kept;
  struct status held;
  int guard, r = features_forbid (connection, id, FEATURE_CHANGE, status);

  if (r == 0)
    r = partial_find_id (connection, id, &kept, status);
  if (r != 0)
    return r == -1 ? -1 : 0;
  guard = guard_take (store_path (check->store), id, false, &held);
  if (guard == -1 && held.error == EBUSY)
    return 0;
  if (guard != -1)
    guard_release (guard);
  check_tell (check, &problem, "an interrupted reception or import");
  return 0;
}

static int
check_disk (struct check *check, struct connection *connection,
            sqlite3_stmt *row, struct status *status)
{
  struct check_problem problem = { .kind = CHECK_DISK };
  const int64_t id = sqlite3_column_int64 (row, 0);
  const char *name = (const char *)sqlite3_column_text (row, 1);
  struct disk_info info;
  struct status fault;
  int r = 1;

  name_shown (&problem, row, 1);
  if (!sqlite3_column_int (row, 2))
    status_fail (&fault, EIO, "its checksum does not match");
  else if (!sqlite3_column_int (row, 3))
    status_fail (&fault, EIO, "its layer is missing");
  else if (id < 1 || id >= ID_END)
    status_fail (&fault, EIO, "its id is impossible");
  else {
    r = disks_find (connection, name && name[0] ? name : "/", &info, &fault);
    if (r == -1 && fault.error == ENOMEM)
      return *status = fault, -1;
    if (r == 0 || (r == 1 && info.id != id))
      r = status_fail (&fault, EIO, "it is not found by its name");
    if (r == 1 && has_suffix (info.name, DISK_RECEIVING))
      return tell_hidden_disk (check, connection, id, status);
    if (r != 1 || !strchr (info.name, '/'))
      check->counts->disks++;
    if (r == 1)
      return 0;
  }
  check_tell (check, &problem, "disk number %" PRId64 ": %s", id,
              fault.message);
  return 0;
}

static int
check_disks (struct check *check, struct connection *connection,
             struct status *status)
{
  static const char disks_sql[] =
      "SELECT id, name, checksum IS " DISK_CHECKSUM ","
      " EXISTS (SELECT 1 FROM layer WHERE layer.id = disk.layer)"
      " FROM disk NOT INDEXED";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, disks_sql, status);
  int r;

  if (rows == NULL)
    return -1;
  while ((r = connection_step (connection, rows, status)) == 1)
    if (check_disk (check, connection, rows, status) == -1)
      return -1;
  return r;
}

/*--------------------------------------------------------------------
 * Snapshots.
 */

/* What is wrong with a row of snapshots_sql, or NULL. */
static const char *
snapshot_fault (sqlite3_stmt *row, int64_t newest_block)
{
  const int64_t id = sqlite3_column_int64 (row, 0);
  const char *name = (const char *)sqlite3_column_text (row, 2);
  const int64_t generation = sqlite3_column_int64 (row, 4);
  const int64_t last_block = sqlite3_column_int64 (row, 6);

  if (!sqlite3_column_int (row, 3))
    return "its checksum does not match";
  if (sqlite3_column_type (row, 1) == SQLITE_NULL)
    return "its disk is missing";
  if (sqlite3_column_type (row, 5) == SQLITE_NULL)
    return "its layer is missing";
  if (generation < 1 || generation > sqlite3_column_int64 (row, 5))
    return "its layer has no such generation yet";
  if (sqlite3_column_int (row, 7) &&
      generation == sqlite3_column_int64 (row, 5))
    return "a disk still writes the generation that it shows";
  if (id < 1 || id >= ID_END || last_block < 0 || last_block >= ID_END)
    return "its id or its last block is impossible";
  if (last_block < newest_block)
    return "its last block comes before that of an older snapshot";
  if (name == NULL || name[0] == '\0' || strlen (name) > SNAPSHOT_NAME_MAX ||
      !sane_text (name) || strchr (name, '@'))
    return "its name is impossible";
  if (sqlite3_column_int64 (row, 8) < 1)
    return "its size is impossible";
  return NULL;
}

/* Snapshots of copies are no leftovers while somebody copies. */
static void
tell_hidden_snapshots (struct check *check, uint64_t count)
{
  struct check_problem problem = {
    .kind = CHECK_LEFTOVER,
    .mend = MEND_CLEAN,
  };
  struct status status;
  int guard;

  if (count == 0)
    return;
  guard = guard_reclaim (store_path (check->store), &status);
  if (guard == -1 && status.error == EBUSY)
    return;
  if (guard != -1)
    guard_release (guard);
  check_tell (check, &problem, "%s", COUNT (count, "interrupted copy"));
}

static int
check_snapshots (struct check *check, struct connection *connection,
                 struct status *status)
{
  static const char snapshots_sql[] =
      "SELECT id, (SELECT name FROM disk WHERE disk.id = snapshot.disk), name,"
      " checksum IS " SNAPSHOT_CHECKSUM ", generation,"
      " (SELECT generation FROM layer WHERE layer.id = snapshot.layer),"
      " last_block,"
      " EXISTS (SELECT 1 FROM disk WHERE disk.layer = snapshot.layer), size"
      " FROM snapshot NOT INDEXED ORDER BY id";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, snapshots_sql, status);
  int64_t newest_block = 0;
  uint64_t hidden = 0, copies = 0;
  int r;

  if (rows == NULL)
    return -1;
  while ((r = connection_step (connection, rows, status)) == 1) {
    struct check_problem problem = { .kind = CHECK_SNAPSHOT };
    const char *fault = snapshot_fault (rows, newest_block);
    const char *disk = (const char *)sqlite3_column_text (rows, 1);
    const char *name = (const char *)sqlite3_column_text (rows, 2);
    const bool is_hidden = name && strchr (name, '/');
    const bool is_copy =
        name && strncmp (name, SNAPSHOT_COPY, strlen (SNAPSHOT_COPY)) == 0;

    if (hidden + check->counts->snapshots > LAYERS_MAX)
      return status_fail (status, EIO, "there are too many snapshots");
    hidden += is_hidden;
    copies += is_copy;
    check->counts->snapshots += !is_hidden;
    if (fault) {
      problem.shown_count = disk && name;
      snprintf (problem.shown[0], sizeof problem.shown[0], "%s@%s",
                disk ? disk : "", name ? name : "");
      check_tell (check, &problem, "snapshot number %lld: %s",
                  sqlite3_column_int64 (rows, 0), fault);
    }
    else
      newest_block = sqlite3_column_int64 (rows, 6);
  }
  if (r == 0)
    tell_hidden_snapshots (check, copies);
  return r;
}

/*--------------------------------------------------------------------
 * What is kept about them.
 */

/* Tell of the layers that SELECT gives. */
static int
tell_layers (struct check *check, struct connection *connection,
             const char *select_sql, enum check_mend mend, const char *fault,
             struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, select_sql, status);
  int r;

  if (rows == NULL)
    return -1;
  while ((r = connection_step (connection, rows, status)) == 1) {
    struct check_problem problem = {
      .kind = CHECK_COUNTERS,
      .mend = mend,
      .subject = sqlite3_column_int64 (rows, 0),
    };

    check_tell (check, &problem, "layer %lld: %s",
                sqlite3_column_int64 (rows, 0), fault);
  }
  return r;
}

/* Are the bytes of LAYER below NUMBER as many as was counted?  Returns 1, 0,
 * -1.
 */
static int
is_counted (struct check *check, struct connection *connection, int64_t layer,
            int64_t number, int64_t bytes, struct status *status)
{
  static const char sum_sql[] =
      "SELECT count (*), ifnull (sum (bytes), 0) FROM (SELECT " FOLLOW_BYTES (
          "block") " AS bytes FROM block INDEXED BY block_by_number"
                   " WHERE layer = ?1 AND number < ?2 LIMIT ?3)";
  const int served = guard_is_served (store_path (check->store), status);
  const int64_t most = served == 0 ? INT64_MAX : COUNTED_ROWS;
  CLEANUP_STATEMENT sqlite3_stmt *sum =
      connection_statement (connection, sum_sql, status);

  if (sum == NULL)
    return -1;
  sqlite3_bind_int64 (sum, 1, layer);
  sqlite3_bind_int64 (sum, 2, number);
  sqlite3_bind_int64 (sum, 3, most);
  if (connection_step (connection, sum, status) == -1)
    return -1;
  return sqlite3_column_int64 (sum, 0) == most ||
         sqlite3_column_int64 (sum, 1) == bytes;
}

static int
check_counted (struct check *check, struct connection *connection,
               struct status *status)
{
  static const char counted_sql[] = "SELECT layer, number, bytes FROM counted";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, counted_sql, status);
  int r, good;

  /* Rows are found by the index. */
  if (check->file_is_damaged)
    return 0;
  if (rows == NULL)
    return -1;
  while ((r = connection_step (connection, rows, status)) == 1) {
    struct check_problem problem = {
      .kind = CHECK_COUNTERS,
      .mend = MEND_COUNT,
      .subject = sqlite3_column_int64 (rows, 0),
    };

    good = is_counted (check, connection, problem.subject,
                       sqlite3_column_int64 (rows, 1),
                       sqlite3_column_int64 (rows, 2), status);
    if (good == -1)
      return -1;
    if (!good)
      check_tell (check, &problem,
                  "layer %" PRId64 ": its bytes were not counted right",
                  problem.subject);
  }
  return r;
}

static int
check_sequences (struct check *check, struct connection *connection,
                 struct status *status)
{
  static const char wrong_sql[] = CHECK_HIGHEST
      " SELECT (SELECT count (*) FROM highest WHERE id IS NOT NULL AND"
      "  ifnull ((SELECT max (seq) FROM sqlite_sequence"
      "   WHERE sqlite_sequence.name = highest.name), -1)"
      "   NOT BETWEEN id AND 1 << 62)"
      " + (SELECT count (*) FROM sqlite_sequence WHERE " CHECK_FOREIGN_SEQUENCE
      ")";
  struct check_problem problem = {
    .kind = CHECK_COUNTERS,
    .mend = MEND_SEQUENCE,
  };
  int64_t wrong;

  if (connection_integer (connection, wrong_sql, &wrong, status) == -1)
    return -1;
  if (wrong > 0)
    check_tell (check, &problem,
                "the counters of the ids do not fit the ids that there are");
  return 0;
}

static int
check_counters (struct check *check, struct connection *connection,
                struct status *status)
{
  static const char reclaim_sql[] =
      "SELECT layer FROM reclaim WHERE layer NOT IN (SELECT id FROM layer)";
  static const char counted_sql[] =
      "SELECT layer FROM counted WHERE layer NOT IN (SELECT id FROM layer)";

  if (tell_layers (check, connection, reclaim_sql, MEND_FORGET,
                   "it waits to be freed, but is not there", status) == -1 ||
      tell_layers (check, connection, counted_sql, MEND_FORGET,
                   "it was counted, but is not there", status) == -1 ||
      check_counted (check, connection, status) == -1)
    return -1;
  return check_sequences (check, connection, status);
}

int
check_rules (struct check *check, struct connection *connection,
             struct status *status)
{
  int (*const parts[]) (struct check * check, struct connection * connection,
                        struct status * status) = {
    check_plan,      check_layers,   check_disks,
    check_snapshots, check_optional, check_counters,
  };

  /* Where one cannot be read, the others may be. */
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    struct check_problem problem = { .kind = CHECK_FILE };

    if (parts[i](check, connection, status) == 0)
      continue;
    if (!status_is_damage (status))
      return -1;
    check_tell (check, &problem, "%s", status->message);
  }
  return 0;
}

/*--------------------------------------------------------------------
 * Behind the end.
 */

/* Count what VIEW shows as data in some blocks behind its end, from
 * check->number on.  Returns 1 where there may be more, 0, -1.
 */
static int
count_behind (struct check *check, struct connection *connection,
              const struct view *view, struct status *status)
{
  const uint64_t end = INT64_MAX / view->block_size;
  uint64_t next = check->number;
  uint8_t *map;
  int r = 0;

  if (next < view_blocks (view))
    next = view_blocks (view);
  if (next >= end ||
      view_next_row (connection, view, next, end, &next, status) == -1)
    return next >= end ? 0 : -1;
  if (next >= end - END_BLOCKS)
    return 0;
  map = malloc (END_BLOCKS);
  if (map == NULL)
    return status_no_memory (status);
  r = view_map (connection, view, next, END_BLOCKS, map, status);
  for (uint32_t i = 0; r == 0 && i < END_BLOCKS; i++)
    check->unseen += map[i];
  free (map);
  check->number = next + END_BLOCKS;
  return r == -1 ? -1 : 1;
}

/* The next disk from check->next_id on.  Returns 1, 0, -1. */
static int
next_disk (struct check *check, struct connection *connection,
           struct disk_info *disk, struct check_problem *problem,
           struct status *status)
{
  static const char next_sql[] = "SELECT id, epoch, name FROM disk NOT INDEXED"
                                 " WHERE id >= ?1 ORDER BY id LIMIT 1";
  CLEANUP_STATEMENT sqlite3_stmt *next =
      connection_statement (connection, next_sql, status);
  int r;

  if (next == NULL)
    return -1;
  sqlite3_bind_int64 (next, 1, check->next_id);
  r = connection_step (connection, next, status);
  if (r == 1) {
    disk->id = sqlite3_column_int64 (next, 0);
    disk->epoch = sqlite3_column_int64 (next, 1);
    problem->subject = disk->id;
    name_shown (problem, next, 2);
  }
  return r == 1 && disk->id < check->next_id ? 0 : r;
}

int
check_end (struct check *check, struct connection *connection,
           struct status *status)
{
  struct check_problem problem = {
    .kind = CHECK_PAST_END,
    .mend = MEND_CLEAR_END,
  };
  struct disk_info disk;
  struct view view = { 0 };
  int r = next_disk (check, connection, &disk, &problem, status);

  if (r != 1) {
    check->next_id = 0;
    return r;
  }
  if (disk.id > check->next_id) { /* it was just begun */
    check->next_id = disk.id;
    check->number = 0;
    check->unseen = 0;
  }
  r = disks_view (connection, disk.id, disk.epoch, &view, status);
  if (r == 0)
    r = count_behind (check, connection, &view, status);
  view_free (&view);
  if (r == 1)
    return 0;
  if (check->unseen > 0)
    check_tell (check, &problem, "%s behind the end of the disk",
                COUNT (check->unseen, "block"));
  check->next_id = disk.id < ID_END ? disk.id + 1 : 0;
  check->number = 0;
  check->unseen = 0;
  /* A disk that cannot be looked at was told of. */
  return r == -1 && status->error == ENOMEM ? -1 : 0;
}
