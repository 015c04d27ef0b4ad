/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is put where nothing is known: see salvage.c.
 *
 * A block whose newest row may be missing must not show an older one, or
 * zeroes.  So of each number that the index does not tell of, each viewer of
 * the layer that does not find a row of its own generation may miss one:
 *
 *   generations that are looked at      2        5        9
 *   rows that were found                2             7
 *   rows that are put there                      5        9
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "block/checksum.h"
#include "block/codec.h"
#include "base/grow.h"
#include "check/salvage-parts.h"
#include "engine/engine.h"

/* How many places are looked at at a time, and are marked at most. */
#define PART     4096
#define MARK_MAX (32 << 20)

/* With more ranges nothing is taken away from them: that takes as long as the
 * square of their number.
 */
#define RANGES_MAX 20000

int
salvage_add_unknown (struct salvage *salvage, const struct unknown_range *range,
                     struct status *status)
{
  struct unknown_range *unknown =
      grow (salvage->unknown, salvage->unknown_count, sizeof *unknown);

  if (unknown == NULL)
    return status_no_memory (status);
  salvage->unknown = unknown;
  unknown[salvage->unknown_count++] = *range;
  return 0;
}

static bool
is_before (const struct block_place *a, const struct block_place *b)
{
  return a->layer != b->layer ? a->layer < b->layer : a->number < b->number;
}

/* The ends stay unknown: of their blocks there may be other entries elsewhere.
 */
int
salvage_remove_unknown (struct salvage *salvage,
                        const struct unknown_range *range,
                        struct status *status)
{
  struct unknown_range rest;

  if (salvage->unknown_count > RANGES_MAX)
    return 0;
  for (size_t i = 0; i < salvage->unknown_count; i++) {
    struct unknown_range *unknown = &salvage->unknown[i];

    if (is_before (&unknown->high, &range->low) ||
        is_before (&range->high, &unknown->low))
      continue;
    rest = (struct unknown_range){ range->high, unknown->high };
    if (is_before (&unknown->low, &range->low)) {
      unknown->high = range->low;
      /* This is looked at again, and stays as it is. */
      if (!is_before (&rest.high, &rest.low) &&
          salvage_add_unknown (salvage, &rest, status) == -1)
        return -1;
      continue;
    }
    unknown->low = is_before (&rest.high, &rest.low) ? rest.high : rest.low;
  }
  return 0;
}

/* A layer, and who looks at it. */
struct looked_at {
  int64_t layer;
  int64_t blocks; /* of the largest that shows it */
  int64_t *viewers;
  size_t count;
};

/* Fill in at which generations the layer is looked at, in order. */
static int
find_viewers (struct connection *out, struct looked_at *looked,
              struct status *status)
{
  static const char viewers_sql[] =
      "SELECT generation FROM snapshot WHERE layer = ?1"
      " UNION SELECT parent_generation FROM layer WHERE parent = ?1"
      " UNION SELECT layer.generation FROM layer WHERE id = ?1"
      "  AND (id IN (SELECT layer FROM disk) OR NOT EXISTS"
      "  (SELECT 1 FROM layer AS child WHERE child.parent = ?1))"
      " ORDER BY 1";
  CLEANUP_STATEMENT sqlite3_stmt *viewers =
      connection_statement (out, viewers_sql, status);
  int64_t *list;
  int r;

  if (viewers == NULL)
    return -1;
  looked->count = 0;
  sqlite3_bind_int64 (viewers, 1, looked->layer);
  while ((r = connection_step (out, viewers, status)) == 1) {
    list = grow (looked->viewers, looked->count, sizeof *list);
    if (list == NULL)
      return status_no_memory (status);
    looked->viewers = list;
    list[looked->count++] = sqlite3_column_int64 (viewers, 0);
  }
  return r;
}

/* The part of RANGE that is of the layer: numbers from *FIRST to *LAST. */
static bool
clip (const struct unknown_range *range, const struct looked_at *looked,
      int64_t *first, int64_t *last)
{
  if (range->low.layer > looked->layer || range->high.layer < looked->layer)
    return false;
  *first = range->low.layer == looked->layer ? range->low.number : 0;
  *last = range->high.layer == looked->layer ? range->high.number : INT64_MAX;
  if (*last >= looked->blocks)
    *last = looked->blocks - 1;
  return *first <= *last;
}

/* Put a row that cannot be read there. */
static int
put_mark (struct connection *out, int64_t layer, int64_t number,
          int64_t generation, struct status *status)
{
  static const char put_sql[] =
      "INSERT INTO block (layer, number, generation, codec, checksum, data)"
      " VALUES (?1, ?2, ?3, 1, 1, x'')";
  CLEANUP_STATEMENT sqlite3_stmt *put =
      connection_statement (out, put_sql, status);

  if (put == NULL)
    return -1;
  sqlite3_bind_int64 (put, 1, layer);
  sqlite3_bind_int64 (put, 2, number);
  sqlite3_bind_int64 (put, 3, generation);
  return connection_step (out, put, status);
}

/* Rows that were found, in order. */
struct found {
  struct version {
    int64_t number, generation;
  } * rows;
  size_t count;
};

static int
find_rows (struct connection *out, int64_t layer, int64_t first, int64_t last,
           struct found *found, struct status *status)
{
  static const char rows_sql[] =
      "SELECT number, generation FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND number BETWEEN ?2 AND ?3"
      " ORDER BY number, generation";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (out, rows_sql, status);
  struct version *list;
  int r;

  if (rows == NULL)
    return -1;
  found->count = 0;
  sqlite3_bind_int64 (rows, 1, layer);
  sqlite3_bind_int64 (rows, 2, first);
  sqlite3_bind_int64 (rows, 3, last);
  while ((r = connection_step (out, rows, status)) == 1) {
    list = grow (found->rows, found->count, sizeof *list);
    if (list == NULL)
      return status_no_memory (status);
    found->rows = list;
    list[found->count++] = (struct version){ sqlite3_column_int64 (rows, 0),
                                             sqlite3_column_int64 (rows, 1) };
  }
  return r;
}

/* Mark block NUMBER, of which COUNT ROWS were found. */
static int
mark_number (struct connection *out, const struct looked_at *looked,
             int64_t number, const struct version *rows, size_t count,
             struct status *status)
{
  int64_t newest = 0;
  size_t row = 0;

  for (size_t i = 0; i < looked->count; i++) {
    const int64_t viewer = looked->viewers[i];
    bool marked = newest < 0;

    for (; row < count && rows[row].generation <= viewer; row++) {
      newest = rows[row].generation;
      marked = false;
    }
    if (marked || newest == viewer)
      continue;
    if (put_mark (out, looked->layer, number, viewer, status) == -1)
      return -1;
    newest = -1;
  }
  return 0;
}

/* Mark the numbers from FIRST to LAST, which are few. */
static int
mark_part (struct connection *out, const struct looked_at *looked,
           int64_t first, int64_t last, struct found *found,
           struct status *status)
{
  size_t row = 0, end;

  if (find_rows (out, looked->layer, first, last, found, status) == -1)
    return -1;
  for (int64_t number = first; number <= last; number++, row = end) {
    for (end = row; end < found->count && found->rows[end].number == number;)
      end++;
    if (mark_number (out, looked, number, found->rows + row, end - row,
                     status) == -1)
      return -1;
  }
  return 0;
}

/* What is done with each part of a layer that is not known. */
struct unknowns {
  struct salvage *salvage;
  uint64_t places;
  bool count_only;
  struct found found;
};

static int
mark_range (struct unknowns *unknowns, const struct looked_at *looked,
            int64_t first, int64_t last, struct status *status)
{
  unknowns->places += last - first + 1;
  for (int64_t end; !unknowns->count_only && first <= last; first = end + 1) {
    end = last - first < PART ? last : first + PART - 1;
    if (mark_part (unknowns->salvage->out, looked, first, end, &unknowns->found,
                   status) == -1 ||
        progress_report (unknowns->salvage->options->progress, 0, 0,
                         unknowns->salvage->options->opaque, status) == -1)
      return -1;
  }
  return 0;
}

static int
mark_layer (struct unknowns *unknowns, struct looked_at *looked,
            struct status *status)
{
  const struct salvage *salvage = unknowns->salvage;
  int64_t first, last;

  if (find_viewers (salvage->out, looked, status) == -1)
    return -1;
  for (size_t i = 0; i < salvage->unknown_count; i++)
    if (clip (&salvage->unknown[i], looked, &first, &last) &&
        mark_range (unknowns, looked, first, last, status) == -1)
      return -1;
  return 0;
}

/* The layers, and how many blocks the largest disk or snapshot has that shows
 * them; of one that nothing shows, and is to be freed, nothing is asked.
 */
static int
list_layers (struct connection *out, struct looked_at **layers, size_t *count,
             struct status *status)
{
  static const char layers_sql[] =
      "WITH RECURSIVE shown (layer, blocks) AS ("
      " SELECT layer, (size + block_size - 1) / block_size FROM disk"
      " UNION SELECT snapshot.layer,"
      "  (snapshot.size + block_size - 1) / block_size"
      "  FROM snapshot JOIN disk ON disk.id = snapshot.disk"
      " UNION SELECT layer.parent, blocks FROM shown"
      "  JOIN layer ON layer.id = shown.layer WHERE layer.parent IS NOT NULL)"
      " SELECT layer, max (blocks) FROM shown GROUP BY layer ORDER BY layer";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (out, layers_sql, status);
  struct looked_at *list;
  int r;

  if (rows == NULL)
    return -1;
  while ((r = connection_step (out, rows, status)) == 1) {
    list = grow (*layers, *count, sizeof *list);
    if (list == NULL)
      return status_no_memory (status);
    *layers = list;
    list[(*count)++] = (struct looked_at){
      .layer = sqlite3_column_int64 (rows, 0),
      .blocks = sqlite3_column_int64 (rows, 1),
    };
  }
  return r;
}

static int
mark_layers (struct unknowns *unknowns, struct looked_at *layers, size_t count,
             struct status *status)
{
  int r = 0;

  unknowns->places = 0;
  for (size_t i = 0; r == 0 && i < count; i++)
    r = mark_layer (unknowns, &layers[i], status);
  return r;
}

/* Too much is not known: no rows are put there. */
static int
give_up (struct salvage *salvage, uint64_t places, struct status *status)
{
  if (!salvage->options->zero_lost)
    return status_fail (status, EFBIG,
                        "of %" PRIu64 " blocks it is not known what they were, "
                        "too many to mark each: --zero-lost has those that "
                        "are not found read as zeroes",
                        places);
  salvage_lose (salvage,
                "of %" PRIu64 " blocks it is not known what they were; those "
                "that are not found read as zeroes, or as an older version",
                places);
  return 0;
}

int
salvage_mark_unknown (struct salvage *salvage, struct status *status)
{
  struct unknowns unknowns = { .salvage = salvage, .count_only = true };
  struct looked_at *layers = NULL;
  size_t count = 0;
  int r;

  if (salvage->blocks_are_complete || salvage->unknown_count == 0)
    return 0;
  r = list_layers (salvage->out, &layers, &count, status);
  if (r == 0)
    r = mark_layers (&unknowns, layers, count, status);
  if (r == 0 && unknowns.places > MARK_MAX)
    r = give_up (salvage, unknowns.places, status);
  else if (r == 0) {
    unknowns.count_only = false;
    r = mark_layers (&unknowns, layers, count, status);
  }
  for (size_t i = 0; i < count; i++)
    free (layers[i].viewers);
  free (layers);
  free (unknowns.found.rows);
  return r;
}

/*--------------------------------------------------------------------
 * Giving up what is lost.
 */

/* The next lost block after ID.  Returns 1, 0 where there is none, -1. */
static int
next_lost (struct connection *connection, int64_t *id, struct block_row *row,
           struct status *status)
{
  static const char next_sql[] =
      "SELECT id, layer, number, generation FROM block NOT INDEXED"
      " WHERE id > ?1 AND " SALVAGE_LOST " ORDER BY id LIMIT 1";
  CLEANUP_STATEMENT sqlite3_stmt *next =
      connection_statement (connection, next_sql, status);
  int r;

  if (next == NULL)
    return -1;
  sqlite3_bind_int64 (next, 1, *id);
  r = connection_step (connection, next, status);
  if (r != 1)
    return r;
  *id = sqlite3_column_int64 (next, 0);
  *row = (struct block_row){
    .layer = sqlite3_column_int64 (next, 1),
    .number = sqlite3_column_int64 (next, 2),
    .generation = sqlite3_column_int64 (next, 3),
  };
  return 1;
}

static int
zero_block (struct connection *connection, int64_t id,
            const struct block_row *row, struct status *status)
{
  static const char zero_sql[] = "UPDATE block SET codec = 0, data = NULL,"
                                 " checksum = ?2 WHERE id = ?1";

  return connection_run_for_integer (
      connection, zero_sql, id,
      checksum_block (row->layer, row->number, row->generation, CODEC_ZERO, 0,
                      checksum_bytes (NULL, 0)),
      status);
}

static int
change_zero_lost (struct connection *connection, void *opaque,
                  struct status *status)
{
  static const char forget_sql[] = "DELETE FROM block WHERE " SALVAGE_UNKNOWN;
  struct block_row row;
  int64_t id = 0;
  int r;

  (void)opaque;
  while ((r = next_lost (connection, &id, &row, status)) == 1)
    if (zero_block (connection, id, &row, status) == -1)
      return -1;
  return r == -1 ? -1 : connection_run (connection, forget_sql, status);
}

int
salvage_zero_lost (struct store *store, struct status *status)
{
  return store_change (store, change_zero_lost, NULL, status);
}
