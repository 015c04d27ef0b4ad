/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What salvaging writes into the new file: see salvage.c. */

#include <config.h>

#include "block/checksum.h"
#include "block/codec.h"
#include "rows/content.h"
#include "rows/disks.h"
#include "rows/features.h"
#include "rows/partial.h"
#include "rows/properties.h"
#include "rows/layers.h"
#include "check/salvage-parts.h"

/*--------------------------------------------------------------------
 * Rows, as they are found.
 */

/* Bind a value of a record. */
static void
bind_value (sqlite3_stmt *statement, int i, const struct value *value)
{
  switch (value->type) {
  case VALUE_INTEGER:
    sqlite3_bind_int64 (statement, i, value->integer);
    break;
  case VALUE_TEXT:
    sqlite3_bind_text64 (statement, i, (const char *)value->bytes,
                         value->length, SQLITE_STATIC, SQLITE_UTF8);
    break;
  case VALUE_BLOB:
    sqlite3_bind_blob64 (statement, i, value->bytes, value->length,
                         SQLITE_STATIC);
    break;
  default:
    sqlite3_bind_null (statement, i);
  }
}

/* Put a row into its table, if nothing is in its place. */
static int
insert_row (struct salvage *salvage, const struct record *row,
            struct status *status)
{
  static const char *const insert_sql[] = {
    [ROW_LAYER] = "INSERT OR IGNORE INTO layer" LAYER_VALUES,
    [ROW_DISK] = "INSERT OR IGNORE INTO disk" DISK_VALUES,
    [ROW_SNAPSHOT] = "INSERT OR IGNORE INTO snapshot" SNAPSHOT_VALUES,
    [ROW_BLOCK] = "INSERT OR IGNORE INTO block VALUES (?1, ?2, ?3, ?4, ?5, ?6,"
                  " ?7, ?8)",
    [ROW_CONTENT] =
        "INSERT OR IGNORE INTO content VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [ROW_FEATURE] = "INSERT OR IGNORE INTO feature" FEATURE_VALUES,
    [ROW_PROPERTY] = "INSERT OR REPLACE INTO property" PROPERTY_VALUES,
  };
  CLEANUP_STATEMENT sqlite3_stmt *insert =
      connection_statement (salvage->out, insert_sql[row->kind], status);

  if (insert == NULL)
    return -1;
  sqlite3_bind_int64 (insert, 1, row->id);
  for (unsigned i = 1; i < row->count; i++)
    bind_value (insert, i + 1, &row->values[i]);
  /* A true row that the tables do not take was not made by this program. */
  if (connection_step (salvage->out, insert, status) == -1 &&
      (status->sqlite & 0xff) != SQLITE_CONSTRAINT)
    return -1;
  return 0;
}

/* Keep a row of which nothing but its form tells that it is one of the table
 * reclaim, until it is known which layers there are.
 */
static int
keep_reclaim (struct salvage *salvage, int64_t layer, struct status *status)
{
  static const char keep_sql[] = "INSERT OR IGNORE INTO reclaim"
                                 " (layer, number, generation)"
                                 " VALUES (?1, 0, 0)";

  return connection_run_for (salvage->out, keep_sql, layer, status);
}

/* A block whose id is taken, or impossible, gets a new one at the end; until
 * then it is negative.
 */
static int
insert_block (struct salvage *salvage, struct record *row,
              struct status *status)
{
  static const char taken_sql[] = "SELECT 1 FROM block WHERE id = ?1";
  static const char lowest_sql[] =
      "SELECT min (0, ifnull (min (id), 0)) - 1 FROM block";
  CLEANUP_STATEMENT sqlite3_stmt *taken =
      connection_statement (salvage->out, taken_sql, status);
  int r;

  if (taken == NULL)
    return -1;
  sqlite3_bind_int64 (taken, 1, row->id);
  r = connection_step (salvage->out, taken, status);
  if (r == -1)
    return -1;
  if ((r == 1 || row->id >= ID_END) &&
      connection_integer (salvage->out, lowest_sql, &row->id, status) == -1)
    return -1;
  return insert_row (salvage, row, status);
}

int
salvage_put (struct salvage *salvage, struct record *row, struct status *status)
{
  if (row->kind == ROW_RECLAIM)
    return keep_reclaim (salvage, row->id, status);
  return row->kind == ROW_BLOCK ? insert_block (salvage, row, status)
                                : insert_row (salvage, row, status);
}

int
salvage_put_lost (struct salvage *salvage, const struct record *row,
                  struct status *status)
{
  static const char put_sql[] =
      "UPDATE block SET codec = ?5, checksum = ?6, content = ?7, data = ?8"
      " WHERE id = ?1 AND layer = ?2 AND number = ?3 AND generation = ?4"
      " AND " SALVAGE_LOST;
  CLEANUP_STATEMENT sqlite3_stmt *put =
      connection_statement (salvage->out, put_sql, status);

  if (put == NULL)
    return -1;
  sqlite3_bind_int64 (put, 1, row->id);
  for (unsigned i = 1; i < row->count; i++)
    bind_value (put, i + 1, &row->values[i]);
  return connection_step (salvage->out, put, status);
}

int
salvage_note_entry (struct salvage *salvage, const struct value *entry,
                    struct status *status)
{
  static const char note_sql[] =
      "INSERT INTO block (id, layer, number, generation, codec, checksum, data)"
      " SELECT ?4, ?1, ?2, ?3, 1, 0, x'' WHERE NOT EXISTS"
      " (SELECT 1 FROM block WHERE id = ?4) AND NOT EXISTS"
      " (SELECT 1 FROM block"
      "  WHERE layer = ?1 AND number = ?2 AND generation = ?3)";
  CLEANUP_STATEMENT sqlite3_stmt *note =
      connection_statement (salvage->out, note_sql, status);

  if (note == NULL)
    return -1;
  for (int i = 0; i < INDEX_COLUMNS; i++)
    sqlite3_bind_int64 (note, i + 1, entry[i].integer);
  return connection_step (salvage->out, note, status);
}

int
salvage_next_lost (struct salvage *salvage, int64_t *id, struct status *status)
{
  static const char next_sql[] =
      "SELECT id FROM block NOT INDEXED WHERE id > ?1 AND " SALVAGE_LOST
      " ORDER BY id LIMIT 1";
  CLEANUP_STATEMENT sqlite3_stmt *next =
      connection_statement (salvage->out, next_sql, status);
  int r;

  if (next == NULL)
    return -1;
  sqlite3_bind_int64 (next, 1, *id);
  r = connection_step (salvage->out, next, status);
  if (r == 1)
    *id = sqlite3_column_int64 (next, 0);
  return r;
}

/*--------------------------------------------------------------------
 * Fitting it together.
 */

/* Run an SQL constant, and say how many rows it has changed if any. */
static int
run_and_say (struct salvage *salvage, const char *sql, const char *what,
             struct status *status)
{
  const int before = sqlite3_total_changes (salvage->out->db);
  int changes;

  if (connection_run (salvage->out, sql, status) == -1)
    return -1;
  changes = sqlite3_total_changes (salvage->out->db) - before;
  if (changes > 0 && what)
    salvage_lose (salvage, "%d %s", changes, what);
  return 0;
}

/* clang-format off */

/* Rows of layers that others refer to and that are lost, with a checksum
 * that is wrong: who looks at them gets an error.
 */
static const char layers_sql[] =
  "WITH needed (id) AS ("
  "  SELECT layer FROM disk"
  "  UNION SELECT layer FROM snapshot"
  "  UNION SELECT parent FROM layer WHERE parent IS NOT NULL"
  "  UNION SELECT DISTINCT layer FROM block)"
  " INSERT INTO layer (id, generation, checksum)"
  "  SELECT id, 1 + max (1,"
  "    ifnull ((SELECT max (generation) FROM block"
  "      WHERE layer = needed.id), 0),"
  "    ifnull ((SELECT max (generation) FROM snapshot"
  "      WHERE layer = needed.id), 0),"
  "    ifnull ((SELECT max (parent_generation) FROM layer AS above"
  "      WHERE above.parent = needed.id), 0)), 0"
  "   FROM needed WHERE id > 0 AND id NOT IN (SELECT id FROM layer)";

/* Disks that are lost, for the snapshots that they have and for layers at
 * which nobody looks: of FOUND (id, layer, size, bytes).  How large they were,
 * and their blocks, is guessed.  Who they were is known for the former only;
 * the latter get ids that nobody had, so that nothing of others becomes theirs.
 */
#define INSERT_FOUND \
  " INSERT OR IGNORE INTO disk (id, name, description, size, block_size," \
  "   layer, epoch, compression, compression_level, deduplicate, quota," \
  "   created, checksum)" \
  "  SELECT id, 'recovered-' || layer, '', size, bytes," \
  "    layer, 1, 1, 0, 0, NULL," \
  "    CAST (strftime ('%s') AS INTEGER), 0" \
  "   FROM found"
#define RECOVERED "disk.checksum = 0 AND disk.name LIKE 'recovered-%'"
#define BLOCK_SIZE \
  "ifnull ((SELECT max (length (data)) FROM block" \
  "  WHERE block.layer = lost.layer AND codec = 1 AND length (data) IN" \
  "   (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144," \
  "    524288, 1048576)), 4096)"

static const char snapshot_disks_sql[] =
  "WITH lost (id, layer, size) AS ("
  "   SELECT disk, max (layer), max (size) FROM snapshot"
  "    WHERE disk NOT IN (SELECT id FROM disk)"
  "     AND layer NOT IN (SELECT layer FROM disk) GROUP BY disk),"
  "  found AS (SELECT *, " BLOCK_SIZE " AS bytes FROM lost)"
  INSERT_FOUND;

static const char layer_disks_sql[] =
  "WITH taken (id) AS (SELECT id FROM disk UNION SELECT disk FROM snapshot"
  "   UNION SELECT disk FROM feature"
  "   UNION SELECT owner FROM property WHERE kind = 1),"
  "  lost (id, layer) AS ("
  "   SELECT (SELECT ifnull (max (id), 0) FROM taken WHERE id < 1 << 61)"
  "     + row_number () OVER (ORDER BY id), id FROM layer"
  "    WHERE id NOT IN (SELECT layer FROM disk)"
  "     AND id NOT IN (SELECT layer FROM snapshot)"
  "     AND id NOT IN (SELECT parent FROM layer WHERE parent IS NOT NULL)"
  "     AND id NOT IN (SELECT layer FROM reclaim)),"
  "  sized AS (SELECT *, " BLOCK_SIZE " AS bytes FROM lost),"
  "  found AS (SELECT *, bytes * (1 + ifnull ((SELECT max (number) FROM block"
  "     WHERE block.layer = sized.layer), 0)) AS size FROM sized)"
  INSERT_FOUND;

/* A disk of which nobody knows who it was may be one that had a feature, of
 * those that keep a program off: so it gets what disks had that are lost.
 */
static const char recovered_features_sql[] =
  "WITH unknown (id) AS (SELECT id FROM disk WHERE " RECOVERED
  "   AND id NOT IN (SELECT disk FROM snapshot)),"
  "  kept (name, class) AS ("
  "   SELECT name, max (class) FROM main.feature"
  "    WHERE disk <> 0 AND class <> 1"
  "     AND disk NOT IN (SELECT id FROM disk WHERE NOT (" RECOVERED "))"
  "    GROUP BY name LIMIT ?1),"
  "  feature (id, name, disk, class) AS ("
  "   SELECT (SELECT ifnull (max (id), 0) FROM main.feature"
  "      WHERE id < 1 << 61) + row_number () OVER (ORDER BY unknown.id, name),"
  "     name, unknown.id, class FROM kept, unknown)"
  " INSERT OR IGNORE INTO main.feature SELECT *, " FEATURE_CHECKSUM
  "  FROM feature";

static const char recovered_sql[] =
  "SELECT DISTINCT name FROM feature WHERE class <> 1"
  " AND disk IN (SELECT id FROM disk WHERE " RECOVERED ") LIMIT ?1";

static const char disk_checksums_sql[] =
  "UPDATE disk SET checksum = " DISK_CHECKSUM " WHERE " RECOVERED;

/* Snapshots whose disk is not even known cannot be kept. */
static const char snapshots_sql[] =
  "DELETE FROM snapshot WHERE disk NOT IN (SELECT id FROM disk)";

/* What is optional about what is lost; and bookmarks, and how much has come of
 * what is kept, since a disk that has lost blocks may show older ones, which
 * these would take for unchanged and for arrived; and who was told of it.
 */
static const char features_sql[] =
  "DELETE FROM feature WHERE disk <> 0 AND disk NOT IN (SELECT id FROM disk)";
static const char properties_sql[] =
  "DELETE FROM property WHERE key GLOB '" PROPERTY_BOOKMARK "*'"
  " OR key IN ('" PARTIAL_KEY "', '" PROPERTY_TOLD "')"
  " OR NOT " PROPERTY_HAS_OWNER;

/* Rows whose ids were taken get new ones: after all others, as if they had
 * been written last.
 */
static const char ids_sql[] =
  "UPDATE block SET id = (SELECT max ("
  "   ifnull ((SELECT max (id) FROM block), 0),"
  "   ifnull ((SELECT max (last_block) FROM snapshot), 0))) - id"
  " WHERE id < 0";

static const char reclaim_sql[] =
  "DELETE FROM reclaim WHERE layer NOT IN (SELECT id FROM layer)";

/* What a quota counts is counted anew.  Rows of `counted` look like those of
 * `reclaim`, so layers that they told of are looked through, and followed.
 */
static const char counted_sql[] =
  "INSERT OR IGNORE INTO counted (layer, number, bytes)"
  " SELECT layer, 0, 0 FROM disk WHERE quota IS NOT NULL"
  " UNION SELECT snapshot.layer, 0, 0"
  "  FROM snapshot JOIN disk ON disk.id = snapshot.disk"
  "  WHERE quota IS NOT NULL";

/* clang-format on */

/* If anything is stored with CODEC, the database has this feature. */
static int
add_feature (struct salvage *salvage, enum codec codec, const char *feature,
             struct status *status)
{
  static const char used_sql[] =
      "SELECT count (*) FROM (SELECT 1 FROM disk WHERE compression = ?1"
      " OR (deduplicate = 1 AND ?1 = 4)"
      " UNION ALL SELECT 1 FROM content WHERE codec = ?1"
      " UNION ALL SELECT 1 FROM block WHERE codec = ?1 LIMIT 1)";
  int64_t used;

  if (connection_integer_for (salvage->out, used_sql, codec, &used, status) ==
      -1)
    return -1;
  return used ? features_add (salvage->out, feature, status) : 0;
}

static int
add_features (struct salvage *salvage, struct status *status)
{
  enum codec codec = CODEC_ZERO;

  while (codec_next (&codec))
    if (codec_feature (codec) &&
        add_feature (salvage, codec, codec_feature (codec), status) == -1)
      return -1;
  return add_feature (salvage, CODEC_CONTENT, CONTENT_FEATURE, status);
}

/* Give the disks that were recovered the features that they may have had, and
 * say so: one more than a disk can have keeps everybody off.
 */
static int
recover_features (struct salvage *salvage, struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (salvage->out, recovered_sql, status);
  const char *name;
  int r;

  if (row == NULL || connection_run_for (salvage->out, recovered_features_sql,
                                         FEATURES_MAX + 1, status) == -1)
    return -1;
  sqlite3_bind_int (row, 1, FEATURES_MAX + 1);
  while ((r = connection_step (salvage->out, row, status)) == 1) {
    name = (const char *)sqlite3_column_text (row, 0);
    if (!features_know (name))
      salvage_lose (salvage,
                    "recovered-NUMBER may be a disk with the feature '%.100s', "
                    "which this program does not have, and so has it",
                    name ? name : "");
  }
  return r;
}

int
salvage_fit_together (struct salvage *salvage, struct status *status)
{
  if (run_and_say (salvage, layers_sql,
                   "layers are lost; what stands on them cannot be read",
                   status) == -1 ||
      run_and_say (salvage, reclaim_sql, NULL, status) == -1 ||
      run_and_say (salvage, snapshot_disks_sql,
                   "disks were lost, and are called recovered-NUMBER; check "
                   "their sizes",
                   status) == -1 ||
      run_and_say (salvage, layer_disks_sql,
                   "disks were lost, and are called recovered-NUMBER; check "
                   "their sizes",
                   status) == -1 ||
      recover_features (salvage, status) == -1 ||
      connection_run (salvage->out, disk_checksums_sql, status) == -1 ||
      run_and_say (salvage, snapshots_sql,
                   "snapshots are left out, since their disk is lost",
                   status) == -1 ||
      connection_run (salvage->out, features_sql, status) == -1 ||
      connection_run (salvage->out, properties_sql, status) == -1 ||
      connection_run (salvage->out, ids_sql, status) == -1 ||
      connection_run (salvage->out, counted_sql, status) == -1)
    return -1;
  return add_features (salvage, status);
}

int
salvage_count (struct salvage *salvage, struct status *status)
{
  static const char disks_sql[] =
      "SELECT count (*) FROM disk WHERE name NOT LIKE '%" DISK_RECEIVING "'";
  static const char snapshots_count_sql[] = "SELECT count (*) FROM snapshot";
  static const char layers_count_sql[] = "SELECT count (*) FROM layer";
  static const char lost_sql[] =
      "SELECT count (*) FROM block NOT INDEXED WHERE " SALVAGE_LOST;
  static const char unknown_sql[] =
      "SELECT count (*) FROM block NOT INDEXED WHERE " SALVAGE_UNKNOWN;
  static const char blocks_sql[] = "SELECT count (*) FROM block";
  static const char bytes_sql[] =
      "SELECT ifnull (sum (length (data)), 0) FROM block";
  struct salvage_counts *counts = salvage->counts;
  const struct {
    const char *sql;
    uint64_t *value;
  } counters[] = {
    { disks_sql, &counts->disks },
    { snapshots_count_sql, &counts->snapshots },
    { layers_count_sql, &counts->layers },
    { lost_sql, &counts->lost },
    { unknown_sql, &counts->unknown },
    { blocks_sql, &counts->blocks },
    { bytes_sql, &counts->bytes },
  };
  int64_t value;

  for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
    if (connection_integer (salvage->out, counters[i].sql, &value, status) ==
        -1)
      return -1;
    *counters[i].value = value;
  }
  counts->blocks -= counts->lost + counts->unknown;
  counts->unreadable = salvage->pages->unreadable;
  return 0;
}
