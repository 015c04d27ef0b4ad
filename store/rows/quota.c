/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Quotas: see quota.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "rows/columns.h"
#include "rows/features.h"
#include "rows/follow.h"
#include "rows/layers.h"
#include "rows/quota.h"
#include "rows/viewers.h"
#include "base/count.h"

/* How many rows a step counts, and then those of the same number. */
#define STEP_ROWS 1024

/* counted.number of a layer that is counted. */
#define COUNTED INT64_MAX

/* clang-format off */

/* The layers of a table, and those below them, until one is looked at. */
#define BELOW(table) \
  " below (layer) AS (" \
  "   SELECT layer FROM " table \
  "   UNION SELECT layer.parent" \
  "    FROM below JOIN layer ON layer.id = below.layer" \
  "    WHERE layer.parent IS NOT NULL" \
  "     AND NOT " LAYER_LOOKED_AT ("layer.parent") ") "

/* Of below.layer: that one, and what stands on it, until one is looked at. */
#define WITH_ABOVE \
  "WITH above (layer) AS (" \
  "   SELECT below.layer" \
  "   UNION SELECT layer.id" \
  "    FROM above JOIN layer ON layer.parent = above.layer" \
  "    WHERE NOT " LAYER_LOOKED_AT ("above.layer") ") "

/* The disks that count for the same quota as disk ?1: that one, and what
 * comes in for it, or the other way round; what they and their snapshots look
 * at; and what stands below that.
 */
#define WITH_FAMILY \
  "WITH own (name) AS (" \
  "   SELECT iif (instr (name, '/')," \
  "     substr (name, 1, instr (name, '/') - 1), name)" \
  "    FROM disk WHERE id = ?1)," \
  "  family (id, layer) AS (" \
  "   SELECT disk.id, disk.layer FROM own JOIN disk" \
  "    ON disk.name IN (own.name, own.name || '" DISK_RECEIVING "'))," \
  "  direct (layer) AS (" \
  "   SELECT layer FROM family" \
  "   UNION SELECT snapshot.layer" \
  "    FROM family JOIN snapshot ON snapshot.disk = family.id)," \
  BELOW ("direct")

/* Layer ?1, at which something has looked, and what stands below it. */
#define WITH_LOST "WITH lost (layer) AS (SELECT ?1)," BELOW ("lost")

/* Does below.layer count for the family?  Nobody else may see it. */
#define COUNTS \
  "NOT EXISTS (" WITH_ABOVE \
  "  SELECT 1 FROM above WHERE layer NOT IN (SELECT layer FROM direct)" \
  "   AND " LAYER_LOOKED_AT ("above.layer") ")"

/* Does a disk with a quota see below.layer, perhaps together with others? */
#define NEEDED \
  "EXISTS (" WITH_ABOVE \
  "  SELECT 1 FROM above JOIN disk USING (layer) WHERE quota IS NOT NULL" \
  "  UNION ALL SELECT 1 FROM above JOIN snapshot USING (layer)" \
  "   JOIN disk ON disk.id = snapshot.disk WHERE quota IS NOT NULL)"

/* Count those of the table `below` that are needed, from the beginning; one
 * without rows is counted.
 */
#define COUNT_BELOW \
  "INSERT INTO counted (layer, number, bytes)" \
  "  SELECT layer, iif (EXISTS (" \
  "      SELECT 1 FROM block INDEXED BY block_by_number" \
  "       WHERE block.layer = below.layer)," \
  "    0, 9223372036854775807), 0" \
  "   FROM below WHERE " NEEDED \
  "  ON CONFLICT (layer) DO NOTHING"

/* Give up the others. */
#define FORGET_BELOW \
  "DELETE FROM counted WHERE layer IN" \
  "  (SELECT layer FROM below WHERE NOT " NEEDED ")"

/* clang-format on */

/* The quota of disk ID, and its layer.  One that comes in has its own, which
 * allows for what it will replace.  Returns 1, 0 where it is gone.
 */
static int
look_at_disk (struct connection *connection, int64_t id,
              struct quota_state *state, struct status *status)
{
  static const char disk_sql[] = "SELECT layer, quota FROM disk WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *disk =
      connection_statement (connection, disk_sql, status);
  int r;

  if (disk == NULL)
    return -1;
  sqlite3_bind_int64 (disk, 1, id);
  r = connection_step (connection, disk, status);
  if (r != 1)
    return r;
  *state = (struct quota_state){
    .limit = sqlite3_column_type (disk, 1) == SQLITE_NULL
                 ? QUOTA_NONE
                 : sqlite3_column_int64 (disk, 1),
    .layer = sqlite3_column_int64 (disk, 0),
    .counted = true,
  };
  return 1;
}

int
quota_look (struct connection *connection, int64_t id,
            struct quota_state *state, struct status *status)
{
  /* clang-format off */
  static const char counted_sql[] =
    WITH_FAMILY
    "SELECT ifnull (sum (iif (layer = ?2, bytes, 0)), 0),"
    "   ifnull (sum (iif (layer = ?2, 0, bytes)), 0),"
    "   min (ifnull (number, 0))"
    "  FROM below LEFT JOIN counted USING (layer)"
    "  WHERE " COUNTS;
  /* clang-format on */
  CLEANUP_STATEMENT sqlite3_stmt *counted = NULL;
  int r = look_at_disk (connection, id, state, status);

  if (r == 0)
    return status_fail (status, ENOENT, "the disk is gone");
  if (r == -1 || state->limit == QUOTA_NONE)
    return r == -1 ? -1 : 0;
  counted = connection_statement (connection, counted_sql, status);
  if (counted == NULL)
    return -1;
  sqlite3_bind_int64 (counted, 1, id);
  sqlite3_bind_int64 (counted, 2, state->layer);
  if (connection_step (connection, counted, status) == -1)
    return -1;
  state->own = sqlite3_column_int64 (counted, 0);
  state->others = sqlite3_column_int64 (counted, 1);
  state->counted = sqlite3_column_int64 (counted, 2) == COUNTED;
  return 0;
}

int
quota_look_again (struct connection *connection, struct quota_state *state,
                  struct status *status)
{
  static const char own_sql[] = "SELECT bytes FROM counted WHERE layer = ?1";

  return connection_integer_for (connection, own_sql, state->layer, &state->own,
                                 status);
}

int
quota_check (const struct quota_state *state, const char *name,
             struct status *status)
{
  if (state->own <= state->limit - state->others)
    return 0;
  return status_fail (status, ENOSPC,
                      "the quota of disk '%s' of %s for it and its snapshots "
                      "would be exceeded: trim the disk, delete "
                      "snapshots, or raise it with \"sqlblock set\"",
                      name, COUNT (state->limit, "byte"));
}

/* Run SQL, a constant, for disk ID and LIMIT. */
static int
set_limit (struct connection *connection, const char *sql, int64_t id,
           int64_t limit, struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *set =
      connection_statement (connection, sql, status);

  if (set == NULL)
    return -1;
  sqlite3_bind_int64 (set, 1, id);
  if (limit != QUOTA_NONE)
    sqlite3_bind_int64 (set, 2, limit);
  return connection_step (connection, set, status);
}

int
quota_set (struct connection *connection, int64_t id, int64_t limit,
           struct status *status)
{
  /* clang-format off */
  /* First what comes in, which keeps the difference between the two. */
  static const char set_incoming_sql[] =
    WITH_FAMILY
    ", more (bytes) AS ("
    "   SELECT max (ifnull (incoming.quota - disk.quota, 0), 0)"
    "    FROM own JOIN disk ON disk.name = own.name"
    "     JOIN disk AS incoming"
    "     ON incoming.name = own.name || '" DISK_RECEIVING "')"
    " UPDATE disk SET quota = min (?2, 9223372036854775806 - bytes) + bytes"
    "  FROM own, more WHERE disk.name = own.name || '" DISK_RECEIVING "'";
  static const char set_sql[] =
    WITH_FAMILY
    "UPDATE disk SET quota = ?2 FROM own WHERE disk.name = own.name";
  static const char checksum_sql[] =
    WITH_FAMILY
    "UPDATE disk SET checksum = " DISK_CHECKSUM
    "  WHERE id IN (SELECT id FROM family)";
  /* clang-format on */
  static const char count_sql[] = WITH_FAMILY COUNT_BELOW;
  static const char forget_sql[] = WITH_FAMILY FORGET_BELOW;

  if (features_allow (connection, id, FEATURE_CHANGE, status) == -1 ||
      set_limit (connection, set_incoming_sql, id, limit, status) == -1 ||
      set_limit (connection, set_sql, id, limit, status) == -1 ||
      connection_run_for (connection, checksum_sql, id, status) == -1)
    return -1;
  return connection_run_for (
      connection, limit == QUOTA_NONE ? forget_sql : count_sql, id, status);
}

int
quota_follow (struct connection *connection, int64_t id, struct status *status)
{
  static const char count_sql[] =
      "WITH below (layer) AS (SELECT layer FROM disk WHERE id = ?1)"
      " " COUNT_BELOW;

  return connection_run_for (connection, count_sql, id, status);
}

int
quota_follow_layer (struct connection *connection, int64_t layer,
                    struct status *status)
{
  static const char forget_sql[] = WITH_LOST FORGET_BELOW;
  static const char count_sql[] = WITH_LOST COUNT_BELOW;

  if (connection_run_for (connection, forget_sql, layer, status) == -1)
    return -1;
  return connection_run_for (connection, count_sql, layer, status);
}

/*--------------------------------------------------------------------
 * Counting what was there before.
 */

/* A layer that is not counted as a whole. */
struct rest {
  int64_t layer;
  int64_t number; /* from which on rows are to be counted, and then how far */
  int64_t bytes;
};

/* Find one that is not in FAILED (may be NULL).  Returns 1, 0, -1. */
static int
find_rest (struct connection *connection, const struct failed_layers *failed,
           struct rest *rest, struct status *status)
{
  static const char rest_sql[] =
      "SELECT layer, number FROM counted WHERE number < 9223372036854775807";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, rest_sql, status);
  int r;

  if (row == NULL)
    return -1;
  do
    r = connection_step (connection, row, status);
  while (r == 1 && failed_layers_has (failed, sqlite3_column_int64 (row, 0)));
  rest->layer = sqlite3_column_int64 (row, 0);
  rest->number = sqlite3_column_int64 (row, 1);
  return r;
}

int
quota_is_counted (struct connection *connection, bool *counted,
                  struct status *status)
{
  struct rest rest;
  const int r = find_rest (connection, NULL, &rest, status);

  *counted = r == 0;
  return r == -1 ? -1 : 0;
}

/* Add rows up, until there are enough, or no more. */
static int
add_rows (struct connection *connection, struct rest *rest,
          struct status *status)
{
  static const char rows_sql[] = "SELECT number, " FOLLOW_BYTES (
      "block") " FROM block INDEXED BY block_by_number"
               " WHERE layer = ?1 AND number >= ?2 ORDER BY number";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, rows_sql, status);
  int64_t last = rest->number;
  int r;

  if (rows == NULL)
    return -1;
  sqlite3_bind_int64 (rows, 1, rest->layer);
  sqlite3_bind_int64 (rows, 2, rest->number);
  for (int count = 0; (r = connection_step (connection, rows, status)) == 1;
       count++) {
    rest->number = sqlite3_column_int64 (rows, 0);
    if (count >= STEP_ROWS && rest->number > last)
      return 0;
    last = rest->number;
    rest->bytes += sqlite3_column_int64 (rows, 1);
  }
  rest->number = COUNTED;
  return r;
}

int
quota_count_step (struct connection *connection,
                  const struct failed_layers *failed, struct quota_step *step,
                  struct status *status)
{
  static const char save_sql[] =
      "UPDATE counted SET number = ?2, bytes = bytes + ?3 WHERE layer = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *save =
      connection_statement (connection, save_sql, status);
  struct rest rest = { 0 };
  int r = save ? find_rest (connection, failed, &rest, status) : -1;

  *step = (struct quota_step){ .layer = r == 1 ? rest.layer : 0 };
  if (r != 1)
    return r;
  if (add_rows (connection, &rest, status) == -1)
    return -1;
  sqlite3_bind_int64 (save, 1, rest.layer);
  sqlite3_bind_int64 (save, 2, rest.number);
  sqlite3_bind_int64 (save, 3, rest.bytes);
  if (connection_step (connection, save, status) == -1)
    return -1;
  step->bytes = rest.bytes;
  return 1;
}
