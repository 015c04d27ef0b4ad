/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Has a disk changed since its newest snapshot?  See changes.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rows/changes.h"
#include "rows/layers.h"

/* A disk whose rows are new, but not its contents, is found out by comparing
 * at most this many blocks.
 */
#define COMPARE_BLOCKS 4096

/* A part looks at at most this many rows of the table, and of the index, which
 * is smaller.
 */
#define PART_ROWS    4096
#define PART_ENTRIES 65536

/* A part of the search. */
struct part {
  struct connection *connection;
  struct changes *changes;
  struct view head, old;
  int64_t generation; /* rows of head.layers[0] after this are newer */
  bool changed, ended;
};

/* Can it be told without looking at rows? */
static bool
is_another (const struct part *part, const struct snapshot_info *newest)
{
  const struct view *head = &part->head;

  if (newest->id == 0 || head->size != part->old.size)
    return true;
  return head->layers[0].layer != newest->layer &&
         (head->depth < 2 || head->layers[1].layer != newest->layer ||
          head->layers[1].generation != newest->generation);
}

/* There is a newer row of block NUMBER: has it what the snapshot has? */
static int
compare_block (struct part *part, int64_t number, struct status *status)
{
  const uint32_t size = part->head.block_size;
  const uint64_t offset = number * (uint64_t)size;
  char *buffer = malloc (2 * (size_t)size);
  int r;

  if (buffer == NULL)
    return status_no_memory (status);
  r = view_read (part->connection, &part->head, buffer, offset, size, status);
  if (r == 0)
    r = view_read (part->connection, &part->old, buffer + size, offset, size,
                   status);
  if (r == -1 && status->error == EACCES) { /* encrypted: it was written */
    part->changed = true;
    r = 0;
  }
  else if (r == 0)
    part->changed = memcmp (buffer, buffer + size, size) != 0 ||
                    ++part->changes->compared >= COMPARE_BLOCKS;
  free (buffer);
  return r;
}

/* Go on with the rows that were written last, whoever wrote them. */
static int
look_by_id (struct part *part, struct status *status)
{
  static const char later_sql[] =
      "SELECT id, layer, number, generation FROM block NOT INDEXED"
      " WHERE id > ?1 ORDER BY id";
  struct changes *changes = part->changes;
  CLEANUP_STATEMENT sqlite3_stmt *later =
      connection_statement (part->connection, later_sql, status);
  int r = 1;

  if (later == NULL)
    return -1;
  sqlite3_bind_int64 (later, 1, changes->id);
  for (int rows = 0; rows < PART_ROWS && !part->changed; rows++) {
    r = connection_step (part->connection, later, status);
    if (r != 1)
      break;
    changes->id = sqlite3_column_int64 (later, 0);
    if (sqlite3_column_int64 (later, 1) != changes->layer ||
        sqlite3_column_int64 (later, 3) <= part->generation)
      continue;
    if (changes->same == 0)
      changes->same = changes->id;
    if (compare_block (part, sqlite3_column_int64 (later, 2), status) == -1)
      return -1;
  }
  part->ended = r == 0;
  return r == -1 ? -1 : 0;
}

/* Go on in the index of the disk's own layer. */
static int
look_by_number (struct part *part, struct status *status)
{
  static const char entries_sql[] =
      "SELECT number, generation FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND (number, generation) > (?2, ?3)"
      " ORDER BY number, generation";
  struct changes *changes = part->changes;
  CLEANUP_STATEMENT sqlite3_stmt *entries =
      connection_statement (part->connection, entries_sql, status);
  int r = 1;

  if (entries == NULL)
    return -1;
  sqlite3_bind_int64 (entries, 1, changes->layer);
  sqlite3_bind_int64 (entries, 2, changes->number);
  sqlite3_bind_int64 (entries, 3, changes->generation);
  for (int rows = 0; rows < PART_ENTRIES && !part->changed; rows++) {
    r = connection_step (part->connection, entries, status);
    if (r != 1)
      break;
    changes->number = sqlite3_column_int64 (entries, 0);
    changes->generation = sqlite3_column_int64 (entries, 1);
    if (changes->generation > part->generation &&
        compare_block (part, changes->number, status) == -1)
      return -1;
  }
  part->ended = r == 0;
  return r == -1 ? -1 : 0;
}

/* The next search need not look at what this one has, as far as ids are not
 * given again.  (Snapshots with a '/' go when their copy is made.)
 */
static int
note_looked (struct part *part, struct status *status)
{
  static const char witness_sql[] =
      "SELECT id, last_block FROM snapshot WHERE name NOT LIKE '%/%'"
      " ORDER BY last_block DESC LIMIT 1";
  struct changes *changes = part->changes;
  CLEANUP_STATEMENT sqlite3_stmt *witness =
      connection_statement (part->connection, witness_sql, status);
  int r;

  if (witness == NULL)
    return -1;
  r = connection_step (part->connection, witness, status);
  if (r != 1)
    return r;
  changes->witness = sqlite3_column_int64 (witness, 0);
  changes->looked = changes->same ? changes->same - 1 : changes->id;
  if (changes->looked > sqlite3_column_int64 (witness, 1))
    changes->looked = sqlite3_column_int64 (witness, 1);
  return 0;
}

/* From where on rows are to be looked at.  What was known may be about another
 * snapshot or layer, or its witness may be gone.
 */
static int
find_start (struct part *part, int64_t snapshot, int64_t *start,
            struct status *status)
{
  static const char start_sql[] =
      "SELECT iif (EXISTS (SELECT 1 FROM snapshot WHERE id = ?2), ?3,"
      " (SELECT last_block FROM snapshot WHERE id = ?1))";
  const struct changes *changes = part->changes;
  const bool known = changes->snapshot == snapshot &&
                     changes->layer == part->head.layers[0].layer;
  CLEANUP_STATEMENT sqlite3_stmt *find =
      connection_statement (part->connection, start_sql, status);

  if (find == NULL)
    return -1;
  sqlite3_bind_int64 (find, 1, snapshot);
  sqlite3_bind_int64 (find, 2, known ? changes->witness : 0);
  sqlite3_bind_int64 (find, 3, changes->looked);
  if (connection_step (part->connection, find, status) == -1)
    return -1;
  *start = sqlite3_column_int64 (find, 0);
  return 0;
}

/* Begin a search, or go on with that at hand. */
static int
begin (struct part *part, const struct snapshot_info *newest,
       struct status *status)
{
  const int64_t layer = part->head.layers[0].layer;
  struct changes *changes = part->changes;
  int64_t start;

  part->generation =
      layer == newest->layer ? newest->generation : GENERATION_TAKEN;
  if (changes->going && changes->snapshot == newest->id &&
      changes->layer == layer)
    return 0;
  if (find_start (part, newest->id, &start, status) == -1)
    return -1;
  *changes = (struct changes){
    .snapshot = newest->id,
    .layer = layer,
    .going = true,
    .id = start,
    .number = -1,
  };
  return 0;
}

static int
look_at_rows (struct part *part, const struct snapshot_info *newest,
              struct status *status)
{
  if (begin (part, newest, status) == -1 || look_by_id (part, status) == -1 ||
      note_looked (part, status) == -1)
    return -1;
  if (part->changed || part->ended)
    return 0;
  return look_by_number (part, status);
}

int
changes_look (struct connection *connection, const struct disk_info *disk,
              const struct snapshot_info *newest, struct changes *changes,
              bool *changed, bool *more, struct status *status)
{
  struct part part = { .connection = connection, .changes = changes };
  struct disk_info snapshot = *disk;
  int r = snapshots_view (connection, disk, &part.head, status);

  snapshot.snapshot = newest->id;
  if (r == 0 && newest->id != 0)
    r = snapshots_view (connection, &snapshot, &part.old, status);
  if (r == 0) {
    part.changed = is_another (&part, newest);
    if (!part.changed)
      r = look_at_rows (&part, newest, status);
  }
  view_free (&part.head);
  view_free (&part.old);
  *changed = part.changed;
  *more = r == 0 && !part.changed && !part.ended;
  if (!*more)
    changes->going = false;
  return r;
}
