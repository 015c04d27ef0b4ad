/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The rows of blocks and contents, and the index: see check-parts.h.
 *
 * Rows are read in the order of their ids, which is that of the file.  Where
 * some cannot be read, the next that can is sought, and their places are told
 * from the index.
 *
 * Shared with the engine are reading (snapshots_view, view_version), decoding
 * and checksums, without which there is nothing to judge, and who sees a row:
 * viewers.h says why.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sane.h"
#include "check/check-parts.h"
#include "block/checksum.h"
#include "block/codec.h"
#include "rows/features.h"
#include "rows/layers.h"
#include "rows/snapshots.h"
#include "rows/viewers.h"
#include "base/count.h"

/* What one transaction reads at most. */
#define PART_BYTES   (4 * 1024 * 1024)
#define PART_ROWS    16384
#define PART_ENTRIES 65536

/* What reading a row costs beside its data, in bytes. */
#define ROW_COST 64

/*--------------------------------------------------------------------
 * Who shows a row.
 */

/* Does DISK, which may be a snapshot, show the row that PROBLEM names? */
static int
shows (struct connection *connection, const struct disk_info *disk,
       const struct check_problem *problem, struct status *status)
{
  struct row_version version = { 0 };
  struct view view = { 0 };
  int r = snapshots_view (connection, disk, &view, status);

  if (r == 0)
    r = view_version (connection, &view, problem->number, &version, status);
  view_free (&view);
  if (r == -1)
    return status->error == ENOMEM ? -1 : 0;
  return version.layer == problem->layer &&
         version.generation == problem->generation;
}

static int
note_shown (struct connection *connection, sqlite3_stmt *row,
            struct check_problem *problem, struct status *status)
{
  const struct disk_info disk = {
    .id = sqlite3_column_int64 (row, 0),
    .epoch = sqlite3_column_int64 (row, 1),
    .snapshot = sqlite3_column_int64 (row, 2),
  };
  const char *name = (const char *)sqlite3_column_text (row, 3);
  const int r = shows (connection, &disk, problem, status);

  if (r != 1)
    return r;
  problem->count = sqlite3_column_int64 (row, 4);
  problem->offset = problem->number * problem->count;
  check_add_shown (problem, name);
  return 0;
}

int
check_find_shown (struct check *check, struct connection *connection,
                  struct check_problem *problem, struct status *status)
{
  static const char viewers_sql[] = CHECK_VIEWERS;
  CLEANUP_STATEMENT sqlite3_stmt *viewers =
      connection_statement (connection, viewers_sql, status);
  int r = -1;

  if (viewers == NULL)
    return -1;
  sqlite3_bind_int64 (viewers, 1, problem->layer);
  while (check->lookups > 0 &&
         (r = connection_step (connection, viewers, status)) == 1) {
    check->lookups--;
    if (note_shown (connection, viewers, problem, status) == -1)
      return -1;
  }
  /* Where the rows that say it are damaged, it is not known. */
  return r == -1 && status->error == ENOMEM ? -1 : 0;
}

/*--------------------------------------------------------------------
 * Judging a row.
 */

/* Can LENGTH bytes of DATA be decoded into check->block?  What is encrypted
 * cannot be without its key: its checksum has to do.
 */
static int
decode (struct check *check, struct connection *connection, int64_t codec,
        const void *data, size_t length, uint32_t block_size,
        struct status *status)
{
  const struct block_key none = { 0 };

  if (codec_check (codec, length, block_size, status) == -1)
    return -1;
  if (codec_is_encrypted (codec))
    return 0;
  return codec_copy (&connection->workspace, codec, &none, data, length,
                     block_size, 0, block_size, check->block, status);
}

/* Is there a content of this id, for blocks of BLOCK_SIZE bytes?  Its codec
 * goes to *CODEC.
 */
static int
has_content (struct connection *connection, int64_t id, uint32_t block_size,
             int64_t *codec, struct status *status)
{
  static const char size_sql[] =
      "SELECT size, codec FROM content WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, size_sql, status);
  int r;

  if (row == NULL)
    return -1;
  sqlite3_bind_int64 (row, 1, id);
  r = connection_step (connection, row, status);
  *codec = sqlite3_column_int64 (row, 1);
  return r == 1 ? sqlite3_column_int64 (row, 0) == block_size : r;
}

/* A block of CODEC stands in LAYER: who has not the key may have put a plain
 * one among those that are encrypted.
 */
static int
check_encrypted (const struct plan_layer *layer, int64_t codec,
                 struct status *status)
{
  return layer->encrypted && codec != CODEC_ZERO && codec_is_known (codec) &&
                 !codec_is_encrypted (codec)
             ? status_fail (status, EIO, "it is not encrypted as its disk is")
             : 0;
}

/* Does a row fit its layer?  Returns 0, or -1 and why not: EIO, or ENOMEM
 * and the like for another failure.  A layer that is missing is the index's
 * business.
 */
static int
fits_plan (struct check *check, struct connection *connection,
           const struct block_row *row, struct status *status)
{
  const struct plan_layer *layer = plan_find (&check->plan, row->layer);
  int64_t codec;
  int r;

  if (layer == NULL)
    return 0;
  if (row->generation < 1 || row->generation > layer->generation)
    return status_fail (status, EIO,
                        "the layer has no generation %" PRId64 " yet",
                        row->generation);
  if (layer->block_size == 0)
    return 0;
  if (row->number < 0 || row->number > INT64_MAX / layer->block_size)
    return status_fail (status, EIO, "no disk has so many blocks");
  if (!codec_is_known (row->codec))
    return 0;
  if (row->codec != CODEC_CONTENT)
    return decode (check, connection, row->codec, row->data, row->length,
                   layer->block_size, status) == -1
               ? -1
               : check_encrypted (layer, row->codec, status);
  r = has_content (connection, row->content, layer->block_size, &codec, status);
  if (r == 1)
    return check_encrypted (layer, codec, status);
  return r == 0 ? status_fail (status, EIO,
                               "content %" PRId64 ", to which it refers, is "
                               "missing or of another size",
                               row->content)
                : -1;
}

/* Is this a row that a salvage has put where nothing was found? */
static bool
is_mark (const struct block_row *row)
{
  return row->codec == CODEC_RAW && row->length == 0 && !checksum_fits (row);
}

/* Is there something wrong with the row alone? */
static bool
is_wrong (const struct block_row *row, struct status *why)
{
  if (row->id < 1 || row->id >= ID_END)
    status_fail (why, EIO, "its id %" PRId64 " is impossible", row->id);
  else if (is_mark (row) && row->checksum == 0)
    status_fail (why, EIO, "it is lost");
  else if (is_mark (row) && row->checksum == 1)
    status_fail (why, EIO,
                 "it is not known what it was; what was written to it is lost, "
                 "if anything was");
  else if (!checksum_fits (row))
    status_fail (why, EIO, "its checksum does not match");
  else if (row->layer < 1)
    status_fail (why, EIO, "its layer is impossible");
  else
    return false;
  return true;
}

/* Returns 0 for a good row, 1 for another one and why, -1 on failure. */
static int
judge (struct check *check, struct connection *connection,
       const struct block_row *row, struct status *why)
{
  int r;

  if (is_wrong (row, why))
    return 1;
  r = fits_plan (check, connection, row, why);
  if (check->plan_is_fresh ||
      (r == 0 && plan_find (&check->plan, row->layer) != NULL))
    return r == -1 && (why->error == EIO || why->error == ENOTSUP) ? 1 : r;
  /* The plan may be older than what was read. */
  if (check_plan (check, connection, why) == -1)
    return -1;
  return judge (check, connection, row, why);
}

/* Tell that ROW is wrong, and WHY. */
static int
tell_row (struct check *check, struct connection *connection,
          const struct block_row *row, const struct status *why,
          struct status *status)
{
  struct check_problem problem = {
    .kind = CHECK_BLOCK,
    .mend = row->length > 0 && !checksum_fits (row) ? MEND_BLOCK : MEND_NOT,
    .layer = row->layer,
    .number = row->number,
    .generation = row->generation,
  };

  if (check_find_shown (check, connection, &problem, status) == -1)
    return -1;
  check_tell (check, &problem,
              "block %" PRId64 " of layer %" PRId64 ", generation %" PRId64
              ": %s",
              row->number, row->layer, row->generation, why->message);
  return 0;
}

/*--------------------------------------------------------------------
 * Rows that cannot be read.
 */

/* Can a row be found at ID or after it?  Returns 1, also where there is none,
 * 0 where that cannot be read, or what is found stands before it, -1.  The
 * row's id goes to *FOUND, or 0.
 */
static int
can_seek (struct connection *connection, const char *seek_sql, int64_t id,
          int64_t *found, struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *seek =
      connection_statement (connection, seek_sql, status);
  int r;

  if (seek == NULL)
    return -1;
  sqlite3_bind_int64 (seek, 1, id);
  r = connection_step (connection, seek, status);
  if (r == -1)
    return status_is_damage (status) ? 0 : -1;
  *found = r == 1 ? sqlite3_column_int64 (seek, 0) : 0;
  return r == 0 || *found >= id;
}

/* No row can be found from check->next_id on: go on where one can. */
static int
seek_past (struct check *check, struct connection *connection,
           const char *seek_sql, struct status *status)
{
  int64_t bad = check->next_id, good = bad, step = 1, found;
  int r = 0;

  while (r == 0 && good < ID_END) {
    good = bad + step;
    r = can_seek (connection, seek_sql, good, &found, status);
    if (r == 0)
      bad = good;
    step *= 2;
  }
  while (r == 1 && good - bad > 1) {
    r = can_seek (connection, seek_sql, bad + (good - bad) / 2, &found, status);
    if (r == 1)
      good = bad + (good - bad) / 2;
    else if (r == 0)
      bad += (good - bad) / 2, r = 1;
  }
  check->next_id = r == 1 ? good : 0;
  return r == -1 ? -1 : 0;
}

/* Reading the row at check->next_id or after it has failed; SEEK_SQL finds
 * the id of the first from one on.
 */
static int
pass_over (struct check *check, struct connection *connection,
           const char *seek_sql, struct status *status)
{
  const int64_t from = check->next_id;
  int64_t id = 0;
  const int r = can_seek (connection, seek_sql, from, &id, status);

  if (r == -1)
    return -1;
  if (r == 0)
    return seek_past (check, connection, seek_sql, status);
  check->next_id = id != 0 && id < ID_END ? id + 1 : 0;
  return 0;
}

/*--------------------------------------------------------------------
 * The passes over the rows.
 */

/* Judge the row at which BLOCKS stands. */
static int
check_block (struct check *check, struct connection *connection,
             sqlite3_stmt *blocks, struct status *status)
{
  const struct block_row row = {
    .id = sqlite3_column_int64 (blocks, 0),
    .layer = sqlite3_column_int64 (blocks, 1),
    .number = sqlite3_column_int64 (blocks, 2),
    .generation = sqlite3_column_int64 (blocks, 3),
    .codec = sqlite3_column_int64 (blocks, 4),
    .checksum = sqlite3_column_int64 (blocks, 5),
    .content = sqlite3_column_int64 (blocks, 6),
    .data = sqlite3_column_blob (blocks, 7),
    .length = sqlite3_column_bytes (blocks, 7),
  };
  struct status why;
  int r;

  if (row.data == NULL && sqlite3_errcode (connection->db) == SQLITE_NOMEM)
    return status_no_memory (status);
  check->counts->blocks++;
  check->counts->bytes += row.length;
  check->done += row.length + ROW_COST;
  r = judge (check, connection, &row, &why);
  if (r == -1)
    *status = why;
  if (r == 0 && !codec_is_known (row.codec))
    check->counts->unknown++;
  return r == 1 ? tell_row (check, connection, &row, &why, status) : r;
}

/* Judge the rows that ROWS gives, by their ids, up to a bound. */
static int
check_rows (struct check *check, struct connection *connection,
            sqlite3_stmt *rows,
            int (*judge_row) (struct check *check,
                              struct connection *connection, sqlite3_stmt *rows,
                              struct status *status),
            struct status *status)
{
  const uint64_t start = check->done;
  int64_t id;
  int r;

  sqlite3_bind_int64 (rows, 1, check->next_id);
  for (int seen = 0; (r = connection_step (connection, rows, status)) == 1;) {
    id = sqlite3_column_int64 (rows, 0);
    /* A damaged tree may give rows in any order, for ever. */
    if (id < check->next_id)
      return seen > 0 ? 0
                      : status_fail_sqlite (
                            status, NULL, SQLITE_CORRUPT,
                            "row %" PRId64 " stands behind later ones", id);
    if (judge_row (check, connection, rows, status) == -1)
      return -1;
    check->next_id = id < INT64_MAX ? id + 1 : 0;
    if (check->next_id == 0)
      return 0;
    if (check->end_id != 0 && id >= check->end_id) {
      check->next_id = 0;
      return 0;
    }
    if (++seen == PART_ROWS || check->done - start >= PART_BYTES)
      return 0;
  }
  if (r == 0)
    check->next_id = 0;
  return r;
}

int
check_some_blocks (struct check *check, struct connection *connection,
                   struct status *status)
{
  static const char blocks_sql[] =
      "SELECT id, layer, number, generation, codec, checksum, content, data"
      " FROM block NOT INDEXED WHERE id >= ?1 ORDER BY id";
  static const char seek_sql[] =
      "SELECT id FROM block NOT INDEXED WHERE id >= ?1 ORDER BY id LIMIT 1";
  struct check_problem problem = { .kind = CHECK_FILE };
  CLEANUP_STATEMENT sqlite3_stmt *blocks =
      connection_statement (connection, blocks_sql, status);

  if (blocks == NULL)
    return -1;
  if (check_rows (check, connection, blocks, check_block, status) == 0)
    return 0;
  statement_done (&blocks);
  if (!status_is_damage (status))
    return -1;
  /* The look through the index tells which they are. */
  check->torn = true;
  if (check->options->rows_only)
    check_tell (check, &problem, "%s", status->message);
  return pass_over (check, connection, seek_sql, status);
}

/* The blocks that refer to content ID have the same damage. */
static int
tell_references (struct check *check, struct connection *connection, int64_t id,
                 const struct status *why, struct status *status)
{
  static const char references_sql[] =
      "SELECT layer, number, generation FROM block INDEXED BY block_content"
      " WHERE codec = 4 AND content = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *references =
      connection_statement (connection, references_sql, status);
  int r, count = 0;

  if (references == NULL)
    return -1;
  sqlite3_bind_int64 (references, 1, id);
  while ((r = connection_step (connection, references, status)) == 1) {
    const struct block_row row = {
      .layer = sqlite3_column_int64 (references, 0),
      .number = sqlite3_column_int64 (references, 1),
      .generation = sqlite3_column_int64 (references, 2),
    };

    if (++count > PART_ENTRIES)
      return 0;
    if (tell_row (check, connection, &row, why, status) == -1)
      return -1;
  }
  return r;
}

/* Does nothing refer to content ID? */
static int
is_unused (struct connection *connection, int64_t id, struct status *status)
{
  static const char used_sql[] = "SELECT 1 FROM block INDEXED BY block_content"
                                 " WHERE codec = 4 AND content = ?1 LIMIT 1";
  CLEANUP_STATEMENT sqlite3_stmt *used =
      connection_statement (connection, used_sql, status);
  int r;

  if (used == NULL)
    return -1;
  sqlite3_bind_int64 (used, 1, id);
  r = connection_step (connection, used, status);
  return r == -1 ? -1 : !r;
}

/* Returns 0 for a good content, 1 for another one and why, -1. */
static int
judge_content (struct check *check, struct connection *connection,
               sqlite3_stmt *contents, struct status *why)
{
  const int64_t id = sqlite3_column_int64 (contents, 0);
  const int64_t hash = sqlite3_column_int64 (contents, 1);
  const int64_t size = sqlite3_column_int64 (contents, 2);
  const int64_t codec = sqlite3_column_int64 (contents, 3);
  const void *data = sqlite3_column_blob (contents, 5);
  const size_t length = sqlite3_column_bytes (contents, 5);

  if (sqlite3_column_int64 (contents, 4) !=
      checksum_content (id, hash, size, codec, checksum_bytes (data, length))) {
    status_fail (why, EIO, "its checksum does not match");
    return 1;
  }
  if (id < 1 || id >= ID_END || !sane_geometry (1, size)) {
    status_fail (why, EIO, "its id or its size is impossible");
    return 1;
  }
  if (!codec_is_known (codec)) {
    check->counts->unknown++;
    return 0;
  }
  if (decode (check, connection, codec, data, length, size, why) == -1)
    return why->error == ENOMEM ? -1 : 1;
  if (!codec_is_encrypted (codec) &&
      checksum_bytes (check->block, size) != (uint64_t)hash) {
    status_fail (why, EIO, "its bytes do not have its hash");
    return 1;
  }
  return 0;
}

static int
check_content (struct check *check, struct connection *connection,
               sqlite3_stmt *contents, struct status *status)
{
  const int64_t id = sqlite3_column_int64 (contents, 0);
  struct check_problem problem = {
    .kind = CHECK_ORPHAN,
    .mend = MEND_CONTENT,
    .subject = id,
  };
  const size_t length = sqlite3_column_bytes (contents, 5);
  struct status why;
  int r = judge_content (check, connection, contents, &why);

  check->counts->bytes += length;
  check->done += length + ROW_COST;
  if (r == -1) {
    *status = why;
    return -1;
  }
  if (r == 1) {
    status_prefix (&why, "content %" PRId64 ", to which it refers", id);
    return tell_references (check, connection, id, &why, status);
  }
  /* To what is not known, blocks may refer in a way that is not known. */
  r = codec_is_known (sqlite3_column_int64 (contents, 3))
          ? is_unused (connection, id, status)
          : 0;
  if (r == 1)
    check_tell (check, &problem, "no block refers to content %" PRId64, id);
  return r == -1 ? -1 : 0;
}

int
check_some_contents (struct check *check, struct connection *connection,
                     struct status *status)
{
  static const char contents_sql[] =
      "SELECT id, hash, size, codec, checksum, data FROM content NOT INDEXED"
      " WHERE id >= ?1 ORDER BY id";
  static const char seek_sql[] =
      "SELECT id FROM content NOT INDEXED WHERE id >= ?1 ORDER BY id LIMIT 1";
  struct check_problem problem = { .kind = CHECK_FILE };
  CLEANUP_STATEMENT sqlite3_stmt *contents =
      connection_statement (connection, contents_sql, status);

  if (contents == NULL)
    return -1;
  if (check_rows (check, connection, contents, check_content, status) == 0)
    return 0;
  statement_done (&contents);
  if (!status_is_damage (status))
    return -1;
  check_tell (check, &problem, "%s", status->message);
  return pass_over (check, connection, seek_sql, status);
}

/*--------------------------------------------------------------------
 * The index.
 */

/* Does the layer wait to be reclaimed? */
static int
is_waiting (struct connection *connection, int64_t layer, struct status *status)
{
  static const char waiting_sql[] = "SELECT 1 FROM reclaim WHERE layer = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *waiting =
      connection_statement (connection, waiting_sql, status);

  if (waiting == NULL)
    return -1;
  sqlite3_bind_int64 (waiting, 1, layer);
  return connection_step (connection, waiting, status);
}

/* The same, or will this program free none of its rows? */
static int
is_left_alone (struct connection *connection, int64_t layer,
               struct status *status)
{
  struct status why;
  int r = is_waiting (connection, layer, status);

  if (r == 0) {
    r = features_forbid_layer (connection, layer, FEATURE_CHANGE, &why);
    if (r == -1)
      *status = why;
  }
  return r;
}

/* The index has an entry for a row that may not be there. */
static int
look_up (struct check *check, struct connection *connection,
         sqlite3_stmt *entry, struct status *status)
{
  static const char row_sql[] = "SELECT layer, number, generation, data"
                                " FROM block NOT INDEXED WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *found =
      connection_statement (connection, row_sql, status);
  const struct block_row row = {
    .layer = check->layer,
    .number = sqlite3_column_int64 (entry, 0),
    .generation = sqlite3_column_int64 (entry, 1),
  };
  struct status why;
  int r;

  if (found == NULL)
    return -1;
  sqlite3_bind_int64 (found, 1, sqlite3_column_int64 (entry, 2));
  r = connection_step (connection, found, status);
  if (r == 1 || (r == -1 && !status_is_damage (status)))
    return r == 1 ? 0 : -1;
  status_fail (&why, EIO, "its row cannot be read");
  return tell_row (check, connection, &row, &why, status);
}

/* Go on with the next layer that has rows. */
static int
next_layer (struct check *check, struct connection *connection,
            struct status *status)
{
  static const char next_sql[] =
      "SELECT layer FROM block INDEXED BY block_by_number"
      " WHERE layer > ?1 ORDER BY layer LIMIT 1";
  CLEANUP_STATEMENT sqlite3_stmt *next =
      connection_statement (connection, next_sql, status);
  int64_t layer;
  int r;

  if (next == NULL)
    return -1;
  sqlite3_bind_int64 (next, 1, check->layer);
  r = connection_step (connection, next, status);
  layer = r == 1 ? sqlite3_column_int64 (next, 0) : -1;
  check->layer = layer > check->layer ? layer : -1;
  check->number = check->generation = INT64_MIN;
  check->unseen = check->above = 0;
  return r == -1 ? -1 : 0;
}

/* Where a look through a part of the index stands. */
struct entries {
  sqlite3_stmt *rows;
  struct viewers viewers;
  bool is_layer; /* there is such a layer */
  bool waiting;
  bool pending; /* check->number and generation are those of a row */
};

/* The row at which the check stands is followed by one of NEWER. */
static void
count_entry (struct check *check, const struct entries *entries, int64_t newer)
{
  if (entries->pending && entries->is_layer && !entries->waiting &&
      !viewers_see (&entries->viewers, check->generation, newer))
    check->unseen++;
  if (entries->pending && !entries->is_layer)
    check->above++;
}

/* Look at entries until there are enough.  Returns 1, 0 at the end, -1. */
static int
look_at_entries (struct check *check, struct connection *connection,
                 struct entries *entries, struct status *status)
{
  struct check_problem problem = { .kind = CHECK_FILE };
  int64_t number, generation;
  int r;

  for (int seen = 0;
       (r = connection_step (connection, entries->rows, status)) == 1;) {
    number = sqlite3_column_int64 (entries->rows, 0);
    generation = sqlite3_column_int64 (entries->rows, 1);
    if (number < check->number ||
        (number == check->number && generation < check->generation)) {
      if (!check->index_is_told)
        check_tell (check, &problem, "the index of the blocks is out of order");
      check->index_is_told = true;
      return 0;
    }
    if (check->torn && look_up (check, connection, entries->rows, status) == -1)
      return -1;
    count_entry (check, entries,
                 number == check->number ? generation : INT64_MAX);
    entries->pending = true;
    check->number = number;
    check->generation = generation;
    if (++seen == PART_ENTRIES)
      return 1;
  }
  if (r == 0)
    count_entry (check, entries, INT64_MAX);
  return r;
}

/* A layer is at its end: tell of what it should not have. */
static void
tell_layer (struct check *check)
{
  struct check_problem problem = {
    .kind = CHECK_ORPHAN,
    .subject = check->layer,
  };

  problem.mend = MEND_RECLAIM;
  if (check->unseen > 0)
    check_tell (check, &problem,
                "%s of layer %" PRId64 " that nobody shows, and not waiting to "
                "be freed",
                COUNT (check->unseen, "block"), check->layer);
  problem.mend = MEND_DELETE;
  if (check->above > 0)
    check_tell (check, &problem, "%s of layer %" PRId64 ", but no such layer",
                COUNT (check->above, "block"), check->layer);
}

static int
entries_begin (struct check *check, struct connection *connection,
               struct entries *entries, struct status *status)
{
  static const char entries_sql[] =
      "SELECT number, generation, id FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND (number, generation) >= (?2, ?3)"
      " ORDER BY number, generation";
  static const char layer_sql[] = "SELECT 1 FROM layer WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *layer =
      connection_statement (connection, layer_sql, status);
  int r;

  entries->rows = connection_statement (connection, entries_sql, status);
  if (layer == NULL || entries->rows == NULL)
    return -1;
  sqlite3_bind_int64 (layer, 1, check->layer);
  r = connection_step (connection, layer, status);
  entries->is_layer = r == 1;
  if (r == 1)
    r = is_left_alone (connection, check->layer, status);
  entries->waiting = r == 1;
  sqlite3_bind_int64 (entries->rows, 1, check->layer);
  sqlite3_bind_int64 (entries->rows, 2, check->number);
  sqlite3_bind_int64 (entries->rows, 3, check->generation);
  return r == -1 ? -1
                 : viewers_find (connection, check->layer, &entries->viewers,
                                 status);
}

/* Look at some entries of the layer at hand, or go on with the next one. */
static int
look_at_layer (struct check *check, struct connection *connection,
               struct status *status)
{
  struct entries entries = { 0 };
  int r;

  if (check->layer == 0 && next_layer (check, connection, status) == -1)
    return -1;
  if (check->layer == -1)
    return 0;
  r = entries_begin (check, connection, &entries, status);
  if (r == 0)
    r = look_at_entries (check, connection, &entries, status);
  statement_done (&entries.rows);
  viewers_free (&entries.viewers);
  if (r != 0)
    return r == -1 ? -1 : 0;
  tell_layer (check);
  return next_layer (check, connection, status);
}

/* The index cannot be read in LAYER, or behind it: go on with the next one that
 * there is, whether it has rows or not.
 */
static int
skip_layer (struct check *check, struct connection *connection, int64_t layer,
            struct status *status)
{
  static const char next_sql[] =
      "SELECT ifnull (min (id), -1) FROM layer WHERE id > ?1";

  check->number = check->generation = INT64_MIN;
  check->unseen = check->above = 0;
  return connection_integer_for (connection, next_sql, layer, &check->layer,
                                 status);
}

int
check_some_index (struct check *check, struct connection *connection,
                  struct status *status)
{
  struct check_problem problem = { .kind = CHECK_FILE };
  const int64_t layer = check->layer;

  if (look_at_layer (check, connection, status) == 0)
    return 0;
  if (!status_is_damage (status))
    return -1;
  if (!check->index_is_torn)
    check_tell (check, &problem, "%s", status->message);
  check->index_is_torn = true;
  return skip_layer (check, connection, layer, status);
}
