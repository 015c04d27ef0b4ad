/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Receiving disks and snapshots, for manage.h.
 *
 * What comes in is written to a disk of its own, DISK/receiving, which
 * nobody finds by its name, and becomes the disk in one transaction:
 *
 *   a new disk       DISK/receiving gets the name DISK.
 *
 *   a clone          The same, and DISK/receiving begins on a layer over the
 *                    snapshot that is its base.
 *
 *   what changed     before    DISK ──► layer 7
 *   since a base               DISK@base ──► layer 7 as of 3
 *
 *                    during    DISK ──► layer 8 ──► layer 7 as of 3
 *                              DISK/receiving ──► layer 7, writes 4
 *
 *                    after     DISK ──► layer 7; layer 8 is gone
 *
 *     So layers do not pile up, however often something is received.  If it
 *     fails, what came in is deleted in steps, and DISK takes its layer back
 *     together with the end of DISK/receiving.  Until then, also if the process
 *     has died, DISK/receiving tells that layer 8 is only a stand-in.  Where
 *     layer 7 has rows that the base does not see, which are to be given
 *     up, DISK/receiving gets a new layer over the base.
 *
 *   other contents   DISK gets the layer of DISK/receiving.
 *
 * What is kept of a reception that was interrupted (partial.h) stays as it is
 * "during": DISK goes on on layer 8, and may be read.
 *
 * Who receives has the guards of both disks: so what a process that died
 * has left can be told from what comes in just now.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/sane.h"
#include "base/failed.h"
#include "base/grow.h"
#include "block/codec.h"
#include "sqlite/guard.h"
#include "rows/carried.h"
#include "rows/features.h"
#include "rows/layers.h"
#include "rows/partial.h"
#include "rows/properties.h"
#include "manage/calls.h"
#include "manage.h"
#include "rows/quota.h"
#include "engine/engine.h"
#include "rows/inherit.h"
#include "rows/keys.h"
#include "rows/snapshots.h"
#include "rows/usage.h"

/* What a transaction works on. */
struct reception {
  struct store *store;
  const struct manage_incoming *incoming;
  struct disk_info hidden;          /* DISK/receiving */
  int64_t held;                     /* its id, when this has its guard; or 0 */
  struct disk_info disk;            /* DISK, if it is there */
  struct snapshot_info base;        /* the base, if there is one */
  bool newest;                      /* and DISK has no newer snapshot */
  char last[SNAPSHOT_NAME_MAX + 1]; /* the newest that DISK has; "": none */
  bool clean;                       /* nothing was written to DISK since */
  int64_t known;     /* `clean` holds up to this id of a block, at least */
  uint64_t given_up; /* bytes that go when DISK is replaced */
  bool would;        /* what was only tried would be done */
};

/* Is it for a disk that is there, or for a new one? */
static bool
is_for_new (const struct manage_incoming *incoming)
{
  return !incoming->replace && (incoming->base_guid == 0 || incoming->origin);
}

/*--------------------------------------------------------------------
 * The base.
 */

/* Does DISK have the incoming snapshot, if one comes in, or another one of that
 * name?  Then nothing that can be said about the base helps.
 */
static int
compare_snapshot (const struct snapshot_info *info, void *opaque)
{
  struct reception *reception = opaque;

  if (info->guid != reception->incoming->guid &&
      strcmp (info->name, reception->incoming->snapshot) != 0)
    return 0;
  reception->base = *info;
  return 1;
}

static int
check_snapshot (struct connection *connection, const struct reception *given,
                struct status *status)
{
  struct reception reception = *given;

  if (given->incoming->snapshot == NULL)
    return 0;
  reception.base.id = 0;
  if (snapshots_list (connection, given->disk.id, compare_snapshot, &reception,
                      status) == -1)
    return -1;
  if (reception.base.id == 0)
    return 0;
  if (reception.base.guid == given->incoming->guid)
    return status_fail (status, EEXIST,
                        "disk '%s' has this snapshot already, as '%s'",
                        given->disk.name, reception.base.name);
  /* A whole snapshot makes another disk. */
  if (given->incoming->base_guid == 0)
    return 0;
  return status_fail (status, EEXIST,
                      "disk '%s' has another snapshot '%s'; rename that one",
                      given->disk.name, reception.base.name);
}

/* DISK does not have the base. */
static int
fail_gap (struct connection *connection, const struct reception *reception,
          struct status *status)
{
  const struct manage_incoming *incoming = reception->incoming;
  struct status there;

  if (check_snapshot (connection, reception, &there) == -1 &&
      there.error == EEXIST)
    return status_fail (status, EINVAL,
                        "disk '%s' does not have the snapshot '%s' with which "
                        "the stream begins (%s)",
                        reception->disk.name, incoming->base, there.message);
  if (reception->last[0])
    return status_fail (status, EINVAL,
                        "disk '%s' does not have the snapshot '%s' with which "
                        "the stream begins, the newest that it has is '%s'; "
                        "send from that, --from=@%s, or send everything to a "
                        "new disk",
                        reception->disk.name, incoming->base, reception->last,
                        reception->last);
  return status_fail (status, EINVAL,
                      "disk '%s' does not have the snapshot '%s' with which "
                      "the stream begins, nor any other; send everything to a "
                      "new disk",
                      reception->disk.name, incoming->base);
}

/* Look for the base among the snapshots of DISK, the oldest first. */
static int
compare_base (const struct snapshot_info *info, void *opaque)
{
  struct reception *reception = opaque;

  reception->newest = info->guid == reception->incoming->base_guid;
  if (reception->newest)
    reception->base = *info;
  strcpy (reception->last, info->name);
  return 0;
}

/* What comes as it is stored must be encrypted as what it goes to is. */
static int
check_keys (struct connection *connection, const struct reception *reception,
            int64_t id, struct status *status)
{
  const struct optional *optional = reception->incoming->optional;

  return optional ? keys_match (connection, id, optional, status) : 0;
}

static int
find_base (struct connection *connection, struct reception *reception,
           struct status *status)
{
  reception->base.id = 0;
  reception->last[0] = '\0';
  if (snapshots_list (connection, reception->disk.id, compare_base, reception,
                      status) == -1)
    return -1;
  if (reception->base.id == 0)
    return fail_gap (connection, reception, status);
  if (check_snapshot (connection, reception, status) == -1)
    return -1;
  if (!reception->newest && !reception->incoming->rollback)
    return status_fail (status, EINVAL,
                        "disk '%s' has snapshots that are newer than '%s', "
                        "with which this begins; delete those, or use "
                        "--rollback",
                        reception->disk.name, reception->base.name);
  return check_keys (connection, reception, reception->disk.id, status);
}

/* Look for the base of a clone among the snapshots of all disks. */
static int
compare_origin (const struct snapshot_info *info, void *opaque)
{
  struct reception *reception = opaque;

  if (info->guid != reception->incoming->base_guid || info->access != DISK_OPEN)
    return 0;
  reception->base = *info;
  return 1;
}

static int
find_origin (struct connection *connection, struct reception *reception,
             struct status *status)
{
  const struct manage_incoming *incoming = reception->incoming;

  reception->base.id = 0;
  if (snapshots_list (connection, 0, compare_origin, reception, status) == -1)
    return -1;
  if (reception->base.id == 0)
    return status_fail (status, ENOENT,
                        "no disk here has the snapshot '%s@%s', of which it is "
                        "a clone; receive that first, or send all of it, "
                        "without what it was cloned from",
                        incoming->origin, incoming->base);
  if (reception->base.block_size != reception->hidden.block_size)
    return status_fail (status, EINVAL,
                        "'%s@%s' has blocks of %" PRIu32 " bytes, the clone of "
                        "%" PRIu32,
                        reception->base.disk_name, reception->base.name,
                        reception->base.block_size,
                        reception->hidden.block_size);
  return 0;
}

/* Has LAYER rows of generations after GENERATION, with ids after KNOWN?
 * Returns 1, 0, -1.
 */
static int
has_rows (struct connection *connection, int64_t layer, int64_t generation,
          int64_t known, struct status *status)
{
  static const char any_sql[] = "SELECT 1 FROM block INDEXED BY block_by_number"
                                " WHERE layer = ?1 AND generation > ?2 LIMIT 1";
  static const char later_sql[] =
      "SELECT 1 FROM block NOT INDEXED"
      " WHERE layer = ?1 AND generation > ?2 AND id > ?3 LIMIT 1";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, known ? later_sql : any_sql, status);

  if (rows == NULL)
    return -1;
  sqlite3_bind_int64 (rows, 1, layer);
  sqlite3_bind_int64 (rows, 2, generation);
  if (known)
    sqlite3_bind_int64 (rows, 3, known);
  return connection_step (connection, rows, status);
}

/* Does VIEW show what the base does, with only empty layers on it?  Returns
 * 1, 0, -1.
 */
static int
view_is_base (struct connection *connection, const struct view *view,
              const struct snapshot_info *base, int64_t known,
              struct status *status)
{
  size_t i = 0;
  int r;

  for (; i < view->depth && view->layers[i].layer != base->layer; i++) {
    r = has_rows (connection, view->layers[i].layer, 0, 0, status);
    if (r != 0)
      return r == -1 ? -1 : 0;
  }
  if (i == view->depth)
    return 0;
  if (i > 0)
    return view->layers[i].generation == base->generation;
  r = has_rows (connection, base->layer, base->generation, known, status);
  return r == -1 ? -1 : !r;
}

/* Was nothing written to DISK since the base?  Sets reception->clean. */
static int
compare_contents (struct connection *connection, struct reception *reception,
                  int64_t known, struct status *status)
{
  struct view view = { 0 };
  int r = -1;

  if (disks_view (connection, reception->disk.id, reception->disk.epoch, &view,
                  status) == 0)
    r = view_is_base (connection, &view, &reception->base, known, status);
  view_free (&view);
  reception->clean = r == 1 && reception->disk.size == reception->base.size;
  return r == -1 ? -1 : 0;
}

/* Find DISK and the base, and whether anything was written since, which
 * takes long for a large disk: in a read transaction.
 */
static int
look_at_base (struct connection *connection, struct reception *reception,
              struct status *status)
{
  static const char highest_sql[] = "SELECT ifnull (max (id), 0) FROM block";
  struct snapshot_info none;

  if (snapshots_find_target (connection, reception->incoming->disk,
                             &reception->disk, &none, status) == -1 ||
      find_base (connection, reception, status) == -1 ||
      connection_integer (connection, highest_sql, &reception->known, status) ==
          -1)
    return -1;
  return compare_contents (connection, reception, 0, status);
}

static int
fail_written (const struct reception *reception, struct status *status)
{
  return status_fail (status, EINVAL,
                      "disk '%s' was written since its snapshot '%s', with "
                      "which this begins; roll it back to that, or use "
                      "--rollback",
                      reception->disk.name, reception->base.name);
}

/*--------------------------------------------------------------------
 * Taking a layer back that was lent.
 */

/* How many rows are deleted in one transaction. */
#define STEP_ROWS 2048

/* A loan that comes to its end. */
struct loan {
  int64_t hidden; /* DISK/receiving */
  int64_t disk;
  struct layer_point own;  /* the layer on which DISK stands meanwhile */
  struct layer_point base; /* what it stands on: of the layer that was lent */
  int64_t last;            /* id of the block that was looked at last */
  bool done;
  bool returned;
};

/* Find out what DISK/receiving has lent.  Returns 1, 0 where that is nothing,
 * or can no more be given back as DISK has gone on, or -1.
 */
static int
find_loan (struct connection *connection, struct loan *loan,
           struct status *status)
{
  static const char loan_sql[] =
      "SELECT disk.id, layer.id, layer.parent, layer.parent_generation,"
      "  (SELECT count (*) FROM snapshot WHERE snapshot.layer = layer.id)"
      "  + (SELECT count (*) FROM layer AS child WHERE parent = layer.id)"
      " FROM disk AS hidden JOIN disk"
      "  ON disk.name || '" DISK_RECEIVING "' = hidden.name"
      " JOIN layer ON layer.id = disk.layer AND layer.parent = hidden.layer"
      " WHERE hidden.id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *find =
      connection_statement (connection, loan_sql, status);
  int r;

  if (find == NULL)
    return -1;
  sqlite3_bind_int64 (find, 1, loan->hidden);
  r = connection_step (connection, find, status);
  if (r != 1 || sqlite3_column_int64 (find, 4) != 0)
    return r == -1 ? -1 : 0;
  loan->disk = sqlite3_column_int64 (find, 0);
  loan->own.layer = sqlite3_column_int64 (find, 1);
  loan->base.layer = sqlite3_column_int64 (find, 2);
  loan->base.generation = sqlite3_column_int64 (find, 3);
  r = has_rows (connection, loan->own.layer, 0, 0, status);
  return r == -1 ? -1 : !r;
}

/* Where the rows of what came in begin: after those that were there when the
 * base was taken.  Rows that are moved into the layer keep their ids, but
 * those carry GENERATION_TAKEN, which the base shows.
 */
static int
find_first (struct connection *connection, struct loan *loan,
            struct status *status)
{
  static const char first_sql[] =
      "SELECT ifnull (max (last_block), 0) FROM snapshot"
      " WHERE layer = ?1 AND generation = ?2";
  CLEANUP_STATEMENT sqlite3_stmt *first =
      connection_statement (connection, first_sql, status);

  if (first == NULL)
    return -1;
  sqlite3_bind_int64 (first, 1, loan->base.layer);
  sqlite3_bind_int64 (first, 2, loan->base.generation);
  if (connection_step (connection, first, status) == -1)
    return -1;
  loan->last = sqlite3_column_int64 (first, 0);
  return 0;
}

/* Delete some rows of what came in.  Returns how many, or -1. */
static int
delete_rows (struct connection *connection, struct loan *loan,
             struct status *status)
{
  static const char delete_sql[] =
      "DELETE FROM block WHERE id IN (SELECT id FROM block NOT INDEXED"
      "  WHERE id > ?3 AND layer = ?1 AND generation > ?2 ORDER BY id LIMIT ?4)"
      " AND " CODEC_UNDERSTOOD ("block") " RETURNING id";
  CLEANUP_STATEMENT sqlite3_stmt *delete =
      connection_statement (connection, delete_sql, status);
  int64_t last = loan->last;
  int r, count = 0;

  if (delete == NULL)
    return -1;
  sqlite3_bind_int64 (delete, 1, loan->base.layer);
  sqlite3_bind_int64 (delete, 2, loan->base.generation);
  sqlite3_bind_int64 (delete, 3, loan->last);
  sqlite3_bind_int (delete, 4, STEP_ROWS);
  while ((r = connection_step (connection, delete, status)) == 1) {
    if (sqlite3_column_int64 (delete, 0) > last)
      last = sqlite3_column_int64 (delete, 0);
    count++;
  }
  return r == -1 ? -1 : count;
}

/* The same; but where one of the two has got a feature meanwhile which forbids
 * to change it, both stay where they stand.
 */
static int
find_changeable_loan (struct connection *connection, struct loan *loan,
                      struct status *status)
{
  int r = find_loan (connection, loan, status);

  if (r != 1)
    return r;
  r = features_forbid (connection, loan->disk, FEATURE_CHANGE, status);
  if (r == 0)
    r = features_forbid (connection, loan->hidden, FEATURE_CHANGE, status);
  return r == -1 ? -1 : !r;
}

static int
change_take_back (struct connection *connection, void *opaque,
                  struct status *status)
{
  struct loan *loan = opaque;
  int r, count;

  connection_frees_space (connection);
  r = find_changeable_loan (connection, loan, status);
  loan->done = r == 0;
  loan->returned = false;
  if (r != 1)
    return r;
  /* From the first row on that goes, what is left is no more what was kept. */
  if (find_first (connection, loan, status) == -1 ||
      partial_drop (connection, loan->hidden, status) == -1)
    return -1;
  count = delete_rows (connection, loan, status);
  loan->done = count < STEP_ROWS;
  if (count == -1 || !loan->done)
    return count == -1 ? -1 : 0;
  loan->returned = true;
  return disks_take_back (connection, loan->disk, loan->hidden, status);
}

/* Give back what DISK/receiving, of that id, has lent, and with it that goes,
 * too.  The caller has its guard.  Returns 1, 0 where nothing was lent, or -1.
 */
static int
take_back (struct store *store, int64_t hidden, struct status *status)
{
  struct loan loan = { .hidden = hidden };

  while (!loan.done)
    if (store_step (store, change_take_back, &loan, status) == -1)
      return -1;
  return loan.returned;
}

/*--------------------------------------------------------------------
 * Removing what is hidden.
 */

/* Take back what the hidden disk ID, which was left behind, has lent; not if
 * it is just coming in.  Returns as take_back.
 */
static int
take_leftover_back (struct store *store, int64_t id, struct status *status)
{
  const int guard = guard_take (store_path (store), id, false, status);
  int r;

  if (guard == -1)
    return status->error == EBUSY ? 0 : -1;
  r = take_back (store, id, status);
  guard_release (guard);
  return r;
}

/* Delete the hidden disk ID, unless it is just coming in.  Returns 1, 0, or
 * -1.
 */
static int
delete_hidden (struct connection *connection, const char *path, int64_t id,
               struct status *status)
{
  const int guard = guard_take (path, id, false, status);
  int r;

  if (guard == -1)
    return status->error == EBUSY ? 0 : -1;
  r = disks_delete (connection, id, status);
  guard_release (guard);
  return r == -1 ? -1 : 1;
}

/* Delete what an earlier reception of the disk has left. */
static int
delete_leftover (struct connection *connection,
                 const struct reception *reception, const char *hidden_name,
                 struct status *status)
{
  static const char find_sql[] =
      "SELECT ifnull ((SELECT id FROM disk WHERE name = ?1), 0)";
  sqlite3_stmt *find = connection_statement (connection, find_sql, status);
  int64_t id = 0;
  int r = -1;

  if (find) {
    sqlite3_bind_text (find, 1, hidden_name, -1, SQLITE_STATIC);
    r = connection_step (connection, find, status);
    id = sqlite3_column_int64 (find, 0);
  }
  statement_done (&find);
  if (r == -1 || id == 0)
    return r == -1 ? -1 : 0;
  r = delete_hidden (connection, store_path (reception->store), id, status);
  if (r == 0)
    return status_fail (status, EBUSY, "disk '%s' is being received already",
                        reception->incoming->disk);
  return r == -1 ? -1 : 0;
}

/* The ids of all hidden disks, or that of the one for the disk NAME, without
 * what is kept, in a new array that ends with 0.
 */
static int64_t *
list_hidden (struct connection *connection, const char *name,
             struct status *status)
{
  static const char list_sql[] =
      "SELECT id FROM disk WHERE name LIKE '%" DISK_RECEIVING "'"
      " AND (?1 IS NULL OR name = ?1 || '" DISK_RECEIVING "')"
      " AND NOT " PARTIAL_IS_KEPT;
  CLEANUP_STATEMENT sqlite3_stmt *list =
      connection_statement (connection, list_sql, status);
  int64_t *ids = NULL, *more;
  size_t count = 0;
  int r = list ? 1 : -1;

  if (list)
    sqlite3_bind_text (list, 1, name, -1, SQLITE_STATIC);
  while (r == 1) {
    r = connection_step (connection, list, status);
    more = grow (ids, count, sizeof *ids);
    if (more == NULL)
      r = status_no_memory (status);
    else {
      ids = more;
      ids[count++] = r == 1 ? sqlite3_column_int64 (list, 0) : 0;
    }
  }
  if (r == 0)
    return ids;
  free (ids);
  return NULL;
}

/* Receptions that were interrupted. */
struct cleaning {
  struct store *store;
  const char *name; /* of the disk for which they were, or NULL: any */
  int64_t *ids;     /* of the hidden disks, and then 0 */
  int64_t id;       /* the one at hand */
  bool kept;        /* it is to go although it is kept */
  bool done;        /* `id` is deleted */
};

static int
look_for_hidden (struct connection *connection, struct cleaning *cleaning,
                 struct status *status)
{
  cleaning->ids = list_hidden (connection, cleaning->name, status);
  return cleaning->ids ? 0 : -1;
}

/* Delete the disk at hand, unless it has come in completely since, and is
 * hidden no more, or is kept since; or a feature forbids that, which is left to
 * who has it.
 */
static int
change_remove (struct connection *connection, void *opaque,
               struct status *status)
{
  static const char hidden_sql[] =
      "SELECT EXISTS (SELECT 1 FROM disk WHERE id = ?1"
      " AND name LIKE '%" DISK_RECEIVING "')";
  static const char left_sql[] =
      "SELECT EXISTS (SELECT 1 FROM disk WHERE id = ?1"
      " AND name LIKE '%" DISK_RECEIVING "' AND NOT " PARTIAL_IS_KEPT ")";
  struct cleaning *cleaning = opaque;
  int64_t hidden;
  int r;

  connection_frees_space (connection);
  cleaning->done = false;
  if (connection_integer_for (connection,
                              cleaning->kept ? hidden_sql : left_sql,
                              cleaning->id, &hidden, status) == -1)
    return -1;
  r = hidden
          ? features_forbid (connection, cleaning->id, FEATURE_CHANGE, status)
          : 1;
  if (r != 0)
    return r == -1 ? -1 : 0;
  r = delete_hidden (connection, store_path (cleaning->store), cleaning->id,
                     status);
  cleaning->done = r == 1;
  return r == -1 ? -1 : 0;
}

/* Take back what one that was left behind for the disk NAME has lent. */
static int
take_old_back (struct store *store, const char *name, struct status *status)
{
  struct cleaning cleaning = { .store = store, .name = name };
  int r = STORE_READ (store, status, connection,
                      look_for_hidden (connection, &cleaning, status));

  for (size_t i = 0; r != -1 && cleaning.ids[i] != 0; i++)
    r = take_leftover_back (store, cleaning.ids[i], status);
  free (cleaning.ids);
  return r == -1 ? -1 : 0;
}

/* Remove the disk at hand, with what it has lent given back.  Returns 1, 0
 * where it is just coming in, or has, or -1.
 */
static int
remove_hidden (struct cleaning *cleaning, struct status *status)
{
  const int r = take_leftover_back (cleaning->store, cleaning->id, status);

  if (r != 0)
    return r;
  if (store_change (cleaning->store, change_remove, cleaning, status) == -1)
    return -1;
  return cleaning->done;
}

int
manage_receive_clean (struct store *store, unsigned *removed,
                      struct status *status)
{
  struct cleaning cleaning = { .store = store };
  struct manage_call call = { .removed = 0 };
  struct status failure;
  int one, r;

  if (store_remote (store)) {
    r = calls_ask (store, &call_manage_receive_clean, &call, status);
    *removed = call.removed;
    return r;
  }
  r = STORE_READ (store, status, connection,
                  look_for_hidden (connection, &cleaning, status));
  *removed = 0;
  for (size_t i = 0; cleaning.ids && cleaning.ids[i] != 0; i++) {
    cleaning.id = cleaning.ids[i];
    one = remove_hidden (&cleaning, &failure);
    if (one != -1)
      *removed += one;
    else if (r == 0) {
      *status = failure;
      r = -1;
    }
    if (r == -1 && !failed_is_local (status))
      break;
  }
  free (cleaning.ids);
  return r == -1 ? status_prefix (status, "removing interrupted receptions")
                 : 0;
}

/*--------------------------------------------------------------------
 * Beginning.
 */

/* Make the hidden disk DISK/receiving on PARENT, or for NULL on nothing. */
static int
make_hidden (struct connection *connection, struct reception *reception,
             const struct disk_options *options,
             const struct layer_point *parent, struct status *status)
{
  reception->hidden.storing = options->storing;
  if (disks_create_on (connection, options, parent, &reception->hidden.id,
                       status) == -1)
    return -1;
  /* What comes in for a disk is encrypted as that is. */
  return reception->disk.id == 0 ? 0
                                 : keys_copy (connection, reception->disk.id,
                                              reception->hidden.id, status);
}

/* Make DISK/receiving for a clone of the base. */
static int
begin_clone (struct connection *connection, struct reception *reception,
             struct disk_options *options, struct status *status)
{
  struct layer_point base;

  /* What was found before the transaction may have gone. */
  if (find_origin (connection, reception, status) == -1 ||
      features_allow (connection, reception->base.disk, FEATURE_CHANGE,
                      status) == -1)
    return -1;
  base =
      (struct layer_point){ reception->base.layer, reception->base.generation };
  options->size = reception->hidden.size = reception->base.size;
  if (make_hidden (connection, reception, options, &base, status) == -1 ||
      features_clone (connection, reception->base.disk, reception->hidden.id,
                      status) == -1)
    return -1;
  return keys_copy (connection, reception->base.disk, reception->hidden.id,
                    status) == -1 ||
                 check_keys (connection, reception, reception->hidden.id,
                             status) == -1
             ? -1
             : properties_clone_access (connection, reception->base.disk,
                                        reception->hidden.id, status);
}

/* Check that DISK is not there. */
static int
check_new (struct connection *connection, struct reception *reception,
           struct status *status)
{
  const int r = disks_find (connection, reception->incoming->disk,
                            &reception->disk, status);

  if (r == 1 && reception->incoming->snapshot &&
      check_snapshot (connection, reception, status) == -1)
    return -1;
  if (r == 1)
    return status_fail (status, EEXIST,
                        "there is a disk '%s' already; give another name%s",
                        reception->incoming->disk,
                        reception->incoming->snapshot
                            ? ""
                            : ", or replace its contents with --overwrite");
  return r;
}

/* Make DISK/receiving where DISK must not be there. */
static int
begin_new (struct connection *connection, struct reception *reception,
           struct disk_options *options, struct status *status)
{
  if (check_new (connection, reception, status) == -1 ||
      disks_check_packing (connection, options, status) == -1 ||
      settings_fill_in (connection, options, status) == -1)
    return -1;
  if ((reception->incoming->origin
           ? begin_clone (connection, reception, options, status)
           : make_hidden (connection, reception, options, NULL, status)) == -1)
    return -1;
  return reception->incoming->optional
             ? keys_take (connection, reception->hidden.id,
                          reception->incoming->optional, status)
             : 0;
}

static int
check_block_size (const struct reception *reception, struct status *status)
{
  if (reception->hidden.block_size != reception->disk.block_size)
    return status_fail (
        status, EINVAL,
        "the disk has blocks of %" PRIu32 " bytes, what comes in of %" PRIu32,
        reception->disk.block_size, reception->hidden.block_size);
  return 0;
}

/* The quota of DISK/receiving: what DISK shows alone counts for it, too, but
 * not when all has come in.
 */
static uint64_t
incoming_quota (const struct reception *reception)
{
  const uint64_t quota = reception->disk.quota;

  if (quota == 0)
    return 0;
  return reception->given_up < QUOTA_NONE - quota ? quota + reception->given_up
                                                  : QUOTA_NONE - 1;
}

/* Make DISK/receiving where DISK is to have its contents. */
static int
begin_replacing (struct connection *connection, struct reception *reception,
                 struct disk_options *options, struct status *status)
{
  struct snapshot_info none;

  if (snapshots_find_target (connection, reception->incoming->disk,
                             &reception->disk, &none, status) == -1 ||
      features_allow (connection, reception->disk.id, FEATURE_CHANGE, status) ==
          -1 ||
      check_block_size (reception, status) == -1)
    return -1;
  options->storing = reception->disk.storing;
  options->quota = incoming_quota (reception);
  return make_hidden (connection, reception, options, NULL, status);
}

/* Make DISK/receiving where changes since a base come in. */
static int
begin_changes (struct connection *connection, struct reception *reception,
               struct disk_options *options, struct status *status)
{
  const struct manage_incoming *incoming = reception->incoming;
  const struct layer_point base = { .layer = reception->base.layer,
                                    .generation = reception->base.generation };
  const int64_t disk = reception->disk.id;
  struct layer_point head;
  struct snapshot_info none;

  /* What was found before the transaction may have changed. */
  if (snapshots_find_target (connection, incoming->disk, &reception->disk,
                             &none, status) == -1 ||
      features_allow (connection, reception->disk.id, FEATURE_CHANGE, status) ==
          -1 ||
      find_base (connection, reception, status) == -1)
    return -1;
  if (reception->disk.id != disk || reception->base.layer != base.layer ||
      reception->base.generation != base.generation)
    return status_fail (status, EBUSY, "disk '%s' has just been changed",
                        incoming->disk);
  if (reception->clean &&
      compare_contents (connection, reception, reception->known, status) == -1)
    return -1;
  if (!reception->clean && !incoming->rollback)
    return fail_written (reception, status);
  if (check_block_size (reception, status) == -1 ||
      disks_head (connection, disk, &head, status) == -1)
    return -1;
  options->storing = reception->hidden.storing = reception->disk.storing;
  options->quota = incoming_quota (reception);
  if (reception->clean && head.layer == base.layer)
    return disks_lend (connection, options, disk, &base, &reception->hidden.id,
                       status) == -1
               ? -1
               : keys_copy (connection, disk, reception->hidden.id, status);
  return make_hidden (connection, reception, options, &base, status);
}

/*--------------------------------------------------------------------
 * Going on.
 */

/* Nothing begins anew where something is kept. */
static int
check_kept (struct connection *connection, const struct reception *reception,
            struct status *status)
{
  const char *disk = reception->incoming->disk;
  struct partial_info kept;
  const int r = partial_find (connection, disk, &kept, status);

  if (r != 1)
    return r;
  return status_fail (status, EEXIST,
                      "a part of snapshot '%s' has been received for disk '%s' "
                      "and is kept; send the rest with the token that "
                      "\"sqlblock list\" shows, or give it up: \"sqlblock "
                      "receive --abort DATABASE %s\"",
                      kept.snapshot, disk, disk);
}

/* What comes in must go on exactly where what is kept ends. */
static int
check_goes_on (const struct manage_incoming *incoming,
               const struct partial_info *kept, struct status *status)
{
  if (kept->guid != incoming->guid || kept->base_guid != incoming->base_guid ||
      kept->size != incoming->size || kept->block_size != incoming->block_size)
    return status_fail (status, EINVAL,
                        "what is kept for it is a part of snapshot '%s', and "
                        "the stream goes on with another one%s; \"sqlblock "
                        "list\" shows the token with which to send",
                        kept->snapshot,
                        kept->guid == incoming->guid ? ", from another base"
                                                     : "");
  if (kept->position != incoming->resumed)
    return status_fail (
        status, EINVAL,
        "what is kept ends at byte %" PRIu64
        ", and the stream goes on at byte %" PRIu64
        ": its token is an old one; \"sqlblock list\" shows the "
        "present one",
        kept->position, incoming->resumed);
  return 0;
}

/* May DISK still become what has come in? */
static int
check_still (struct connection *connection, struct reception *reception,
             struct status *status)
{
  const struct manage_incoming *incoming = reception->incoming;
  struct snapshot_info none;

  if (is_for_new (incoming))
    return check_new (connection, reception, status);
  if (snapshots_find_target (connection, incoming->disk, &reception->disk,
                             &none, status) == -1 ||
      features_allow (connection, reception->disk.id, FEATURE_CHANGE, status) ==
          -1 ||
      find_base (connection, reception, status) == -1 ||
      compare_contents (connection, reception, 0, status) == -1)
    return -1;
  return reception->clean || incoming->rollback
             ? 0
             : fail_written (reception, status);
}

/* Go on with the hidden disk NAME. */
static int
begin_again (struct connection *connection, struct reception *reception,
             const char *name, struct status *status)
{
  const struct manage_incoming *incoming = reception->incoming;
  struct partial_info kept;
  int guard, r;

  if (check_still (connection, reception, status) == -1)
    return -1;
  r = partial_find (connection, incoming->disk, &kept, status);
  if (r == 0)
    return status_fail (status, EINVAL,
                        "the stream goes on where an earlier one was cut off, "
                        "but nothing of that is kept here for disk '%s'; "
                        "send everything, without a token",
                        incoming->disk);
  if (r == -1 || check_goes_on (incoming, &kept, status) == -1)
    return -1;
  guard = guard_take (store_path (reception->store), kept.id, false, status);
  if (guard == -1)
    return status->error == EBUSY
               ? status_fail (status, EBUSY,
                              "disk '%s' is being received already",
                              incoming->disk)
               : -1;
  guard_release (guard);
  if (disks_find (connection, name, &reception->hidden, status) != 1)
    return -1;
  strcpy (reception->hidden.name, incoming->disk);
  return 0;
}

/* Make DISK/receiving, or find it. */
static int
make_or_find (struct connection *connection, struct reception *reception,
              struct status *status)
{
  const struct manage_incoming *incoming = reception->incoming;
  char name[DISK_NAME_MAX + sizeof DISK_RECEIVING];
  struct disk_options options = {
    .name = name,
    .description = incoming->description,
    .size = reception->hidden.size,
    .block_size = reception->hidden.block_size,
    .storing = incoming->storing,
    .encryption = incoming->encryption,
    .slot = incoming->slot,
  };

  snprintf (name, sizeof name, "%s" DISK_RECEIVING, incoming->disk);
  if (incoming->resumed)
    return begin_again (connection, reception, name, status);
  if (check_kept (connection, reception, status) == -1 ||
      delete_leftover (connection, reception, name, status) == -1)
    return -1;
  if (is_for_new (incoming))
    return begin_new (connection, reception, &options, status);
  return incoming->replace
             ? begin_replacing (connection, reception, &options, status)
             : begin_changes (connection, reception, &options, status);
}

static void
let_go (struct reception *reception)
{
  if (reception->held != 0)
    store_end_writing (reception->store, reception->held);
  reception->held = 0;
}

/* Its guard is taken before anybody sees it: who removes what was left behind
 * would take it for that.  A transaction that is undone may be made again.
 */
static int
change_begin (struct connection *connection, void *opaque,
              struct status *status)
{
  struct reception *reception = opaque;

  let_go (reception);
  if (make_or_find (connection, reception, status) == -1 ||
      store_begin_writing (reception->store, reception->hidden.id, status) ==
          -1)
    return -1;
  reception->held = reception->hidden.id;
  return 0;
}

/* Can this program write what a new disk is to have? */
static int
check_compression (const struct compression *compression, struct status *status)
{
  if (compression->codec == 0 ||
      compression_check (compression->codec, compression->level, status) == 0)
    return 0;
  return status->error == EIO
             ? status_fail (status, ENOTSUP,
                            "this program does not know how the disk is "
                            "compressed; use a newer one, or --compression")
             : -1;
}

struct disk_options
manage_incoming_options (const struct manage_incoming *incoming)
{
  return (struct disk_options){
    .name = incoming->disk,
    .description = incoming->description,
    .size = incoming->size,
    .block_size = incoming->block_size,
    .encryption = incoming->encryption,
    .slot = incoming->slot,
  };
}

int
manage_check_incoming (const struct manage_incoming *incoming,
                       struct status *status)
{
  const struct disk_options options = manage_incoming_options (incoming);

  if (sane_check ("the name of a disk", incoming->disk, DISK_NAME_MAX,
                  status) == -1)
    return -1;
  return sane_check_options (&options, status);
}

/* Check what is to come in. */
static int
check_incoming (struct reception *reception, struct status *status)
{
  const struct manage_incoming *incoming = reception->incoming;

  if (manage_check_incoming (incoming, status) == -1 ||
      (incoming->snapshot &&
       sane_check_snapshot (incoming->snapshot, status) == -1) ||
      (incoming->optional &&
       carried_check (incoming->optional, !is_for_new (incoming), status) ==
           -1) ||
      check_compression (&incoming->storing.compression, status) == -1)
    return -1;
  if (incoming->size == 0)
    return status_fail (status, EINVAL,
                        "a disk of no bytes cannot be received");
  reception->hidden = (struct disk_info){
    .size = incoming->size,
    .block_size =
        incoming->block_size ? incoming->block_size : DISK_BLOCK_SIZE_DEFAULT,
    .epoch = 1,
  };
  strcpy (reception->hidden.name, incoming->disk);
  return 0;
}

/* There is no DISK, of which a base should come, as MISSING says.  It may have
 * another name here, or got one where the stream comes from.
 */
static int
fail_missing (struct reception *reception, const struct status *missing,
              struct status *status)
{
  const struct manage_incoming *incoming = reception->incoming;

  reception->base.id = 0;
  if (STORE_READ (reception->store, status, connection,
                  snapshots_list (connection, 0, compare_origin, reception,
                                  status)) == -1)
    return -1;
  if (reception->base.id == 0)
    return status_fail (status, ENOENT,
                        "%s; the stream has only what changed since snapshot "
                        "'%s', receive that first",
                        missing->message, incoming->base);
  return status_fail (status, ENOENT,
                      "there is no disk '%s', but the snapshot '%s' with which "
                      "the stream begins is that of disk '%s': give that name, "
                      "or rename that disk",
                      incoming->disk, reception->base.name,
                      reception->base.disk_name);
}

/* Look for what makes waiting for DISK useless: it has the snapshot already, or
 * not the base.
 */
static int
look_at_snapshots (struct connection *connection, struct reception *reception,
                   struct status *status)
{
  struct snapshot_info none;

  if (snapshots_find_target (connection, reception->incoming->disk,
                             &reception->disk, &none, status) == -1)
    return -1;
  return find_base (connection, reception, status);
}

/* Take the guard of DISK, where it is there to be changed. */
static int
take_guard (struct reception *reception, int *guard, struct status *status)
{
  const struct manage_incoming *incoming = reception->incoming;

  if (is_for_new (incoming))
    return 0;
  if (store_find (reception->store, incoming->disk, &reception->disk, status) ==
      -1) {
    const struct status missing = *status;

    return missing.error == ENOENT && incoming->base
               ? fail_missing (reception, &missing, status)
               : -1;
  }
  if (incoming->base_guid != 0 &&
      STORE_READ (reception->store, status, connection,
                  look_at_snapshots (connection, reception, status)) == -1)
    return -1;
  if (STORE_READ (reception->store, status, connection,
                  features_allow (connection, reception->disk.id,
                                  FEATURE_CHANGE, status)) == -1)
    return -1;
  *guard =
      guard_await (store_path (reception->store), reception->disk.id, status);
  return *guard == -1 ? -1 : 0;
}

/* Find the base, if there is one, and whether it may be one. */
static int
look_for_base (struct reception *reception, struct status *status)
{
  const struct manage_incoming *incoming = reception->incoming;

  if (incoming->base_guid == 0 || incoming->origin)
    return 0;
  if (STORE_READ (reception->store, status, connection,
                  look_at_base (connection, reception, status)) == -1)
    return -1;
  if (!reception->clean && !incoming->rollback)
    return fail_written (reception, status);
  /* Where the disk shrank, its end is cut off at the end. */
  if (reception->hidden.size < reception->base.size)
    reception->hidden.size = reception->base.size;
  return 0;
}

/* Find out how much is given up, which only DISK shows now, where a quota asks
 * for it.
 */
static int
look_for_given_up (struct reception *reception, struct status *status)
{
  const struct manage_incoming *incoming = reception->incoming;
  const bool gives_up =
      !is_for_new (incoming) && (incoming->replace || !reception->clean);
  struct usage_item item = { .disk = reception->disk.id };

  if (!gives_up || reception->disk.quota == 0)
    return 0;
  return STORE_READ (reception->store, status, connection,
                     usage_count (connection, &item, 1, &reception->given_up, 1,
                                  NULL, NULL, status));
}

/* A clone that comes in has the size of its base; give it its own where that is
 * larger, with zeroes behind the other's end.  If this fails, what is left of
 * it is removed by the next reception.
 */
static int
grow_clone (struct reception *reception, struct status *status)
{
  const uint64_t size = reception->incoming->size;

  if (reception->incoming->origin == NULL || size <= reception->hidden.size ||
      reception->incoming->resumed)
    return 0;
  if (store_resize (reception->store, &reception->hidden, size, status) == -1)
    return -1;
  reception->hidden.size = size;
  return 0;
}

/* The same, where a server has the database. */
static struct disk *
receive_on_server (struct store *store, const struct manage_incoming *incoming,
                   struct status *status)
{
  struct manage_call call = { .incoming = *incoming };

  if (incoming->optional)
    call.optional = *incoming->optional;
  return calls_ask (store, &call_manage_receive, &call, status) == 0
             ? disk_open_remote (store, call.open, &call.info, call.readonly,
                                 status)
             : NULL;
}

struct disk *
manage_receive (struct store *store, const struct manage_incoming *incoming,
                struct status *status)
{
  struct reception reception = { .store = store, .incoming = incoming };
  struct disk *disk = NULL;
  int guard = -1;

  if (store_remote (store))
    return receive_on_server (store, incoming, status);
  if (check_incoming (&reception, status) == 0 &&
      take_guard (&reception, &guard, status) == 0 &&
      (incoming->base_guid == 0 || incoming->origin ||
       take_old_back (store, incoming->disk, status) == 0) &&
      (incoming->resumed || (look_for_base (&reception, status) == 0 &&
                             look_for_given_up (&reception, status) == 0)) &&
      store_change (store, change_begin, &reception, status) == 0 &&
      grow_clone (&reception, status) == 0)
    disk = disk_open_found (store, &reception.hidden, false, status);
  let_go (&reception);
  if (disk) {
    disk_keep_guard (disk, guard);
    return disk;
  }
  if (guard != -1)
    guard_release (guard);
  status_prefix (status, "receiving disk '%s'", incoming->disk);
  return NULL;
}

static int
try_begin (struct connection *connection, void *opaque, struct status *status)
{
  struct reception *reception = opaque;

  reception->would = change_begin (connection, reception, status) == 0;
  return reception->would
             ? status_fail (status, ECANCELED, "this was only tried")
             : -1;
}

int
manage_try_receive (struct store *store, const struct manage_incoming *incoming,
                    struct status *status)
{
  struct reception reception = { .store = store, .incoming = incoming };
  struct manage_call call = { .incoming = *incoming };
  int guard = -1;

  if (store_remote (store)) {
    if (incoming->optional)
      call.optional = *incoming->optional;
    return calls_ask (store, &call_manage_try_receive, &call, status);
  }
  if (check_incoming (&reception, status) == 0 &&
      take_guard (&reception, &guard, status) == 0 &&
      look_for_base (&reception, status) == 0)
    store_change (store, try_begin, &reception, status);
  let_go (&reception);
  if (guard != -1)
    guard_release (guard);
  return reception.would
             ? 0
             : status_prefix (status, "receiving disk '%s'", incoming->disk);
}

/*--------------------------------------------------------------------
 * Ending.
 */

/* Check that DISK may still become what has come in. */
static int
check_end (struct connection *connection, struct reception *reception,
           struct status *status)
{
  const struct manage_incoming *incoming = reception->incoming;
  struct snapshot_info none;

  if (snapshots_find_target (connection, incoming->disk, &reception->disk,
                             &none, status) == -1)
    return -1;
  if (incoming->base_guid == 0) {
    if (reception->disk.size != incoming->size)
      return status_fail (status, EBUSY, "its size was changed meanwhile");
    return check_keys (connection, reception, reception->disk.id, status);
  }
  if (find_base (connection, reception, status) == -1 ||
      compare_contents (connection, reception, 0, status) == -1)
    return -1;
  if (!reception->clean && !incoming->rollback)
    return fail_written (reception, status);
  return 0;
}

static int
change_end (struct connection *connection, void *opaque, struct status *status)
{
  struct reception *reception = opaque;
  const struct manage_incoming *incoming = reception->incoming;
  struct disk_info disk = reception->hidden;
  int64_t snapshot;

  if (is_for_new (incoming)) {
    if (partial_drop (connection, disk.id, status) == -1 ||
        disks_set_size (connection, disk.id, incoming->size, status) == -1 ||
        disks_rename (connection, disk.id, incoming->disk, status) == -1)
      return -1;
  }
  else {
    if (check_end (connection, reception, status) == -1 ||
        disks_take_over (connection, reception->disk.id, disk.id,
                         incoming->size, status) == -1)
      return -1;
    disk.id = reception->disk.id;
  }
  if (incoming->snapshot == NULL)
    return 0;
  disk.size = incoming->size;
  if (snapshots_create (connection, &disk, incoming->snapshot, false,
                        incoming->guid, incoming->created, &snapshot,
                        status) == -1)
    return -1;
  return incoming->optional ? carried_put (connection, disk.id, snapshot,
                                           incoming->optional, status)
                            : 0;
}

/* Delete DISK/receiving, but not what it may have become already. */
static int
change_cancel (struct connection *connection, void *opaque,
               struct status *status)
{
  const struct disk_info *hidden = opaque;
  int64_t *ids = list_hidden (connection, NULL, status);
  int r = ids ? 0 : -1;

  connection_frees_space (connection);
  for (size_t i = 0; r == 0 && ids[i] != 0; i++)
    if (ids[i] == hidden->id)
      r = disks_delete (connection, hidden->id, status);
  free (ids);
  return r;
}

/*--------------------------------------------------------------------
 * Keeping what has come in.
 */

/* Is what comes in as the hidden disk ID kept?  In doubt it is. */
static bool
is_kept (struct store *store, int64_t id)
{
  struct partial_info kept;
  struct status ignored;

  return STORE_READ (store, &ignored, connection,
                     partial_find_id (connection, id, &kept, &ignored)) != 0;
}

struct keeping {
  int64_t hidden;
  struct partial_info info;
};

static int
change_keep (struct connection *connection, void *opaque, struct status *status)
{
  const struct keeping *keeping = opaque;

  return partial_put (connection, keeping->hidden, &keeping->info, status);
}

int
manage_receive_keep (struct store *store, struct disk *incoming_disk,
                     const struct manage_incoming *incoming, uint64_t position,
                     struct status *status)
{
  struct manage_call call = {
    .open = disk_remote (incoming_disk),
    .size = position,
  };
  struct keeping keeping = {
    .hidden = disk_get_info (incoming_disk)->id,
    .info = {
      .guid = incoming->guid,
      .base_guid = incoming->base_guid,
      .size = incoming->size,
      .position = position,
      .block_size = incoming->block_size,
      .updated = time (NULL),
    },
  };

  if (store_remote (store))
    return calls_ask (store, &call_manage_receive_keep, &call, status);
  if (incoming->snapshot == NULL || position == 0 ||
      position > incoming->size || incoming->block_size == 0 ||
      (position % incoming->block_size && position != incoming->size))
    return status_fail (status, EINVAL,
                        "what has come in of disk '%s' cannot be kept",
                        incoming->disk);
  snprintf (keeping.info.snapshot, sizeof keeping.info.snapshot, "%s",
            incoming->snapshot);
  return store_change (store, change_keep, &keeping, status);
}

int
manage_list_partial (struct store *store,
                     int (*found) (const struct partial_info *info,
                                   void *opaque),
                     void *opaque, struct status *status)
{
  struct manage_call call = { .partial_count = 0 };

  if (store_remote (store)) {
    if (calls_ask (store, &call_manage_list_partial, &call, status) == -1)
      return -1;
    for (size_t i = 0; i < call.partial_count; i++)
      if (found (&call.partial[i], opaque) != 0)
        break;
    return 0;
  }
  return STORE_READ (store, status, connection,
                     partial_list (connection, found, opaque, status));
}

int
manage_receive_abort (struct store *store, const char *disk,
                      struct status *status)
{
  struct cleaning cleaning = { .store = store };
  struct partial_info kept;
  int r;

  if (store_remote (store))
    return calls_ask (store, &call_manage_receive_abort,
                      &(struct manage_call){ .disk = disk }, status);
  r = STORE_READ (store, status, connection,
                  partial_find (connection, disk, &kept, status));
  if (r == 0)
    return status_fail (status, ENOENT,
                        "nothing that was received for disk '%s' is kept",
                        disk);
  if (r == -1)
    return -1;
  cleaning.id = kept.id;
  cleaning.kept = true;
  r = remove_hidden (&cleaning, status);
  if (r == 0)
    return status_fail (status, EBUSY, "disk '%s' is just being received",
                        disk);
  return r == -1 ? status_prefix (status,
                                  "giving up what was received for "
                                  "disk '%s'",
                                  disk)
                 : 0;
}

void
manage_receive_cancel (struct store *store, struct disk *incoming_disk)
{
  struct disk_info hidden = *disk_get_info (incoming_disk);
  struct manage_call call = { .open = disk_remote (incoming_disk) };
  struct status ignored;

  if (store_remote (store)) {
    calls_ask (store, &call_manage_receive_cancel, &call, &ignored);
    disk_forget (incoming_disk);
    return;
  }
  if (is_kept (store, hidden.id)) {
    disk_close (incoming_disk);
    return;
  }
  take_back (store, hidden.id, &ignored);

  /* Where that fails, the next reception or manage_receive_clean does it. */
  store_change (store, change_cancel, &hidden, &ignored);
  disk_close (incoming_disk);
}

int
manage_receive_end (struct store *store, struct disk *incoming_disk,
                    const struct manage_incoming *incoming,
                    struct status *status)
{
  struct reception reception = {
    .store = store,
    .incoming = incoming,
    .hidden = *disk_get_info (incoming_disk),
  };
  struct manage_call call = {
    .open = disk_remote (incoming_disk),
    .size = incoming->size,
  };
  const uint64_t block_size = reception.hidden.block_size;
  uint64_t size = incoming->size;
  int r = 0;

  if (store_remote (store)) {
    r = calls_ask (store, &call_manage_receive_end, &call, status);
    disk_forget (incoming_disk);
    return r;
  }
  r = store_unlock (store, &reception.hidden, status);
  /* Without its key, no block can be cut here: that has come with zeroes behind
   * the end.
   */
  if (reception.hidden.encrypted && reception.hidden.key == NULL)
    size = (size + block_size - 1) / block_size * block_size;
  if (r == 0 && reception.hidden.size != incoming->size)
    r = store_resize (store, &reception.hidden, size, status);
  if (r == 0)
    r = store_change (store, change_end, &reception, status);
  if (r == 0) {
    disk_close (incoming_disk);
    return 0;
  }
  manage_receive_cancel (store, incoming_disk);
  return status_prefix (status, "receiving disk '%s'", incoming->disk);
}
