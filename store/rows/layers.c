/* Which rows a view sees, and reading them: see layers.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/checksum.h"
#include "block/codec.h"
#include "rows/content.h"
#include "rows/layers.h"

/* More layers than any chain that this program makes. */
#define DEPTH_MAX 100000

/* How many blocks view_read handles at a time: 1 KiB of bits. */
#define READ_BLOCKS 8192

/* Bounds on the work of view_extents, in blocks: the first and the largest
 * part of the range that is mapped at a time, and the total.
 */
#define MAP_FIRST 64
#define MAP_MOST  65536
#define MAP_TOTAL 1048576

void
view_free (struct view *view)
{
  free (view->layers);
  free (view->ahead.map);
  *view = (struct view){ 0 };
}

uint64_t
view_blocks (const struct view *view)
{
  return (view->size - 1) / view->block_size + 1;
}

/* Append a layer to a view. */
static int
add_layer (struct view *view, int64_t layer, int64_t generation,
           struct status *status)
{
  if (view->depth == DEPTH_MAX)
    return status_fail (status, EIO, "the disk has more than %d layers",
                        DEPTH_MAX);
  if (view->depth == view->capacity) {
    const size_t capacity = view->capacity ? 2 * view->capacity : 4;
    struct layer_view *layers =
        realloc (view->layers, capacity * sizeof *layers);

    if (layers == NULL)
      return status_no_memory (status);
    view->layers = layers;
    view->capacity = capacity;
  }
  view->layers[view->depth++] =
      (struct layer_view){ .layer = layer, .generation = generation };
  return 0;
}

/* Add LAYER as of GENERATION, or for 0 as of now, and set both to its
 * parent, or LAYER to 0 where it has none.
 */
static int
add_layer_row (struct connection *connection, int64_t *layer,
               int64_t *generation, struct view *view, struct status *status)
{
  static const char layer_sql[] =
      "SELECT parent, parent_generation, generation,"
      " checksum = " LAYER_CHECKSUM " FROM layer WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, layer_sql, status);
  int64_t parent, present, parent_generation;
  int r;

  if (row == NULL)
    return -1;
  sqlite3_bind_int64 (row, 1, *layer);
  r = connection_step (connection, row, status);
  if (r == -1)
    return -1;
  parent = sqlite3_column_int64 (row, 0);
  parent_generation = sqlite3_column_int64 (row, 1);
  present = sqlite3_column_int64 (row, 2);
  if (r == 0 || !sqlite3_column_int (row, 3) || present < 1 ||
      *generation > present || parent < 0 || parent >= *layer ||
      (parent > 0) != (parent_generation > 0))
    return status_fail (status, EIO,
                        "layer %" PRId64 " is damaged; restore the database "
                        "from a backup",
                        *layer);
  if (add_layer (view, *layer, *generation ? *generation : present, status) ==
      -1)
    return -1;
  *layer = parent;
  *generation = parent_generation;
  return 0;
}

int
layer_create (struct connection *connection, const struct layer_view *parent,
              int64_t *id, struct status *status)
{
  static const char insert_sql[] =
      "INSERT INTO layer (generation, checksum) VALUES (?1, 0)";
  CLEANUP_STATEMENT sqlite3_stmt *insert =
      connection_statement (connection, insert_sql, status);

  if (insert == NULL)
    return -1;
  sqlite3_bind_int64 (insert, 1, parent ? GENERATION_CHILD : GENERATION_FIRST);
  if (connection_step (connection, insert, status) == -1)
    return -1;
  *id = sqlite3_last_insert_rowid (connection->db);
  return layer_set_parent (connection, *id, parent, status);
}

/* The row of LAYER was changed. */
static int
set_layer_checksum (struct connection *connection, int64_t layer,
                    struct status *status)
{
  static const char checksum_sql[] =
      "UPDATE layer SET checksum = " LAYER_CHECKSUM " WHERE id = ?1";

  return connection_run_for (connection, checksum_sql, layer, status);
}

int
layer_set_generation (struct connection *connection, int64_t layer,
                      int64_t generation, struct status *status)
{
  static const char generation_sql[] =
      "UPDATE layer SET generation = ?2 WHERE id = ?1";

  if (connection_run_for_integer (connection, generation_sql, layer, generation,
                                  status) == -1)
    return -1;
  return set_layer_checksum (connection, layer, status);
}

int
layer_set_parent (struct connection *connection, int64_t layer,
                  const struct layer_view *parent, struct status *status)
{
  static const char parent_sql[] =
      "UPDATE layer SET parent = ?2, parent_generation = ?3 WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *set =
      connection_statement (connection, parent_sql, status);

  if (set == NULL)
    return -1;
  sqlite3_bind_int64 (set, 1, layer);
  if (parent) {
    sqlite3_bind_int64 (set, 2, parent->layer);
    sqlite3_bind_int64 (set, 3, parent->generation);
  }
  if (connection_step (connection, set, status) == -1)
    return -1;
  return set_layer_checksum (connection, layer, status);
}

int
reclaim_add (struct connection *connection, int64_t layer,
             struct status *status)
{
  static const char add_sql[] = RECLAIM_ADD ("SELECT ?1 AS layer");

  return connection_run_for (connection, add_sql, layer, status);
}

int
reclaim_add_hidden (struct connection *connection, struct status *status)
{
  static const char hidden_sql[] =
      RECLAIM_ADD ("SELECT parent AS layer FROM layer WHERE parent IS NOT NULL"
                   " GROUP BY parent HAVING count (*) = 1"
                   " AND NOT " LAYER_LOOKED_AT ("layer.parent"));

  return connection_run (connection, hidden_sql, status);
}

int
reclaim_drop (struct connection *connection, int64_t layer,
              struct status *status)
{
  static const char drop_sql[] = "DELETE FROM reclaim WHERE layer = ?1";

  return connection_run_for (connection, drop_sql, layer, status);
}

int
layer_remove (struct connection *connection, int64_t layer,
              struct status *status)
{
  static const char remove_sql[] = "DELETE FROM layer WHERE id = ?1";

  if (reclaim_drop (connection, layer, status) == -1)
    return -1;
  return connection_run_for (connection, remove_sql, layer, status);
}

int
layers_count_damaged (struct connection *connection, int64_t *count,
                      struct status *status)
{
  static const char damaged_sql[] =
      "SELECT count (*) FROM layer WHERE checksum IS NOT " LAYER_CHECKSUM
      " OR (parent IS NOT NULL AND parent NOT IN (SELECT id FROM layer))";

  return connection_integer (connection, damaged_sql, count, status);
}

int
row_next_id (struct connection *connection, int64_t *id, struct status *status)
{
  static const char highest_sql[] =
      "SELECT 1 + max (ifnull ((SELECT max (id) FROM block), 0),"
      " ifnull ((SELECT max (last_block) FROM snapshot), 0))";

  return connection_integer (connection, highest_sql, id, status);
}

int
view_layers (struct connection *connection, int64_t layer, int64_t generation,
             struct view *view, struct status *status)
{
  view->ahead.count = 0;
  /* A parent's id is lower than its child's: this ends. */
  view->depth = 0;
  do
    if (add_layer_row (connection, &layer, &generation, view, status) == -1)
      return -1;
  while (layer != 0);
  return 0;
}

/*--------------------------------------------------------------------
 * A walk over what a generation sees of one layer: for each number the
 * newest visible row, from high numbers to low ones.
 *
 * The statement gives the rows from a place downwards, by number and then
 * generation.  Newer rows than the generation may see, and a long tail of
 * older ones, are passed by seeking anew.
 */
struct walk {
  struct connection *connection;
  sqlite3_stmt *statement; /* columns: number, generation, ... */
  struct layer_view layer;
  uint64_t first;    /* where the walk ends */
  int patience;      /* older rows to step over before a seek, ... */
  int skipped;       /* ... and how many were */
  bool seek;         /* seek before the next step, ... */
  int64_t seek_from; /* ... to this number; no row comes from above it */
  int64_t number;    /* of the row found, with its generation */
  int64_t generation;
};

/* A walk over the blocks FIRST to LAST.  SQL takes the layer as ?1, FIRST
 * as ?2 and the place to start from as (?3, ?4).
 */
static int
walk_begin (struct walk *walk, struct connection *connection, const char *sql,
            const struct layer_view *layer, uint64_t first, uint64_t last,
            int patience, struct status *status)
{
  *walk = (struct walk){
    .connection = connection,
    .statement = connection_statement (connection, sql, status),
    .layer = *layer,
    .first = first,
    .patience = patience,
    .seek = true,
    .seek_from = last,
    .number = -1,
  };
  return walk->statement ? 0 : -1;
}

static void
walk_end (struct walk *walk)
{
  statement_done (&walk->statement);
}
#define CLEANUP_WALK __attribute__ ((cleanup (walk_end)))

/* One row further down.  Returns 1, 0 at the end, -1. */
static int
walk_step (struct walk *walk, struct status *status)
{
  sqlite3_stmt *statement = walk->statement;

  if (walk->seek) {
    sqlite3_reset (statement);
    sqlite3_bind_int64 (statement, 1, walk->layer.layer);
    sqlite3_bind_int64 (statement, 2, walk->first);
    sqlite3_bind_int64 (statement, 3, walk->seek_from);
    sqlite3_bind_int64 (statement, 4, walk->layer.generation);
    walk->seek = false;
  }
  return connection_step (walk->connection, statement, status);
}

/* What a row is to a walk. */
enum row_use {
  ROW_FOUND, /* it is the next visible one */
  ROW_OLDER, /* go on */
  ROW_TAIL,  /* many older ones: the walk seeks the next number */
  ROW_NEWER, /* too new: the walk seeks what stands further down */
  ROW_WRONG, /* where none can be */
};

/* The walk has come to a row. */
static enum row_use
walk_look (struct walk *walk, int64_t number, int64_t generation)
{
  /* A damaged index may not be in order; then the walk might not end. */
  if (number < (int64_t)walk->first || number > walk->seek_from)
    return ROW_WRONG;
  walk->seek_from = number;
  if (number == walk->number) {
    /* Older than the row that was found. */
    if (++walk->skipped <= walk->patience)
      return ROW_OLDER;
    walk->seek = true;
    walk->seek_from = number - 1;
    return ROW_TAIL;
  }
  if (generation > walk->layer.generation) {
    walk->seek = true;
    return ROW_NEWER;
  }
  walk->skipped = 0;
  walk->number = number;
  walk->generation = generation;
  return ROW_FOUND;
}

static int
walk_fail (struct status *status)
{
  return status_fail (status, EIO,
                      "the index of the blocks is damaged; restore the "
                      "database from a backup");
}

/* Has the walk found a row of its last number? */
static bool
walk_is_over (const struct walk *walk)
{
  return walk->number == (int64_t)walk->first;
}

/* The next visible row.  Returns 1, 0 at the end, -1. */
static int
walk_next (struct walk *walk, struct status *status)
{
  int r;

  if (walk_is_over (walk))
    return 0;
  while ((r = walk_step (walk, status)) == 1)
    switch (walk_look (walk, sqlite3_column_int64 (walk->statement, 0),
                       sqlite3_column_int64 (walk->statement, 1))) {
    case ROW_FOUND:
      return 1;
    case ROW_WRONG:
      return walk_fail (status);
    case ROW_OLDER:
    case ROW_TAIL:
    case ROW_NEWER:
      break;
    }
  return r;
}

/*--------------------------------------------------------------------
 * Reading.
 */

/* A part of at most READ_BLOCKS blocks of a read in progress. */
struct part {
  const struct view *view;
  char *buffer;
  uint64_t offset, count; /* bytes, the same as in the buffer */
  uint64_t first, last;   /* blocks */
  uint64_t missing;       /* how many blocks were not found yet, ... */
  uint64_t found[READ_BLOCKS / 64]; /* ... and a bit for each that was */
};

static bool
part_has (const struct part *part, uint64_t number)
{
  const uint64_t i = number - part->first;

  return part->found[i / 64] >> (i % 64) & 1;
}

/* Where block NUMBER lies in the buffer, and which of its bytes. */
static char *
part_place (const struct part *part, uint64_t number, uint32_t *from,
            uint32_t *count)
{
  const uint64_t start = number * part->view->block_size;
  const uint64_t end = start + part->view->block_size;
  const uint64_t part_end = part->offset + part->count;
  const uint64_t first = start < part->offset ? part->offset : start;

  *from = first - start;
  *count = (end < part_end ? end : part_end) - first;
  return part->buffer + (first - part->offset);
}

/* Check the row at which a walk stands and copy what is asked for of it. */
static int
copy_row (const struct part *part, const struct walk *walk,
          struct status *status)
{
  const uint32_t block_size = part->view->block_size;
  sqlite3_stmt *statement = walk->statement;
  const struct block_row row = {
    .layer = walk->layer.layer,
    .number = walk->number,
    .generation = walk->generation,
    .codec = sqlite3_column_int64 (statement, 2),
    .checksum = sqlite3_column_int64 (statement, 3),
    .data = sqlite3_column_blob (statement, 4),
    .length = sqlite3_column_bytes (statement, 4),
    .content = sqlite3_column_int64 (statement, 5),
  };
  uint32_t from, count;
  char *place;

  if (row.data == NULL &&
      sqlite3_errcode (walk->connection->db) == SQLITE_NOMEM)
    return status_no_memory (status);
  if (!checksum_fits (&row))
    return status_fail (status, EIO,
                        "its checksum does not match; restore the block "
                        "from a backup");
  place = part_place (part, walk->number, &from, &count);
  if (row.codec == CODEC_CONTENT)
    return content_read (walk->connection, row.content, block_size, from, count,
                         place, status);
  if (codec_check (row.codec, row.length, block_size, status) == -1)
    return -1;
  return codec_copy (&walk->connection->workspace, row.codec, row.data,
                     row.length, block_size, from, count, place, status);
}

static int
read_row (struct part *part, const struct walk *walk, struct status *status)
{
  const uint64_t i = walk->number - part->first;

  if (copy_row (part, walk, status) == -1)
    return -1;
  part->found[i / 64] |= UINT64_C (1) << (i % 64);
  part->missing--;
  return 0;
}

/* Read what one layer has of the blocks that are still missing. */
static int
read_layer (struct connection *connection, struct part *part,
            const struct layer_view *layer, struct status *status)
{
  static const char rows_sql[] =
      "SELECT number, generation, codec, checksum, data, content"
      " FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND number >= ?2"
      " AND (number, generation) <= (?3, ?4)"
      " ORDER BY number DESC, generation DESC";
  uint64_t first = part->first, last = part->last;
  CLEANUP_WALK struct walk walk = { 0 };
  int r;

  while (part_has (part, first))
    first++;
  while (part_has (part, last))
    last--;
  if (walk_begin (&walk, connection, rows_sql, layer, first, last, 0, status) ==
      -1)
    return -1;
  while (part->missing > 0 && (r = walk_next (&walk, status)) != 0) {
    if (r == -1)
      return -1;
    if (!part_has (part, walk.number) && read_row (part, &walk, status) == -1)
      return status_prefix (status, "block %" PRId64 " (byte %" PRIu64 ")",
                            walk.number,
                            walk.number * (uint64_t)part->view->block_size);
  }
  return 0;
}

/* Zero what no layer has. */
static void
zero_missing (const struct part *part)
{
  uint32_t from, count;
  char *place;

  for (uint64_t number = part->first; number <= part->last; number++)
    if (!part_has (part, number)) {
      place = part_place (part, number, &from, &count);
      memset (place, 0, count);
    }
}

static int
read_part (struct connection *connection, struct part *part,
           struct status *status)
{
  const struct view *view = part->view;

  part->first = part->offset / view->block_size;
  part->last = (part->offset + part->count - 1) / view->block_size;
  part->missing = part->last - part->first + 1;
  memset (part->found, 0, (part->missing + 63) / 64 * sizeof part->found[0]);
  for (size_t i = 0; i < view->depth && part->missing > 0; i++)
    if (read_layer (connection, part, &view->layers[i], status) == -1)
      return -1;
  if (part->missing > 0)
    zero_missing (part);
  return 0;
}

int
view_read (struct connection *connection, const struct view *view, void *buffer,
           uint64_t offset, uint64_t count, struct status *status)
{
  const uint64_t most = (uint64_t)(READ_BLOCKS - 1) * view->block_size;
  struct part part;

  part.view = view;
  part.buffer = buffer;
  part.offset = offset;
  while (count > 0) {
    part.count = count < most ? count : most;
    if (read_part (connection, &part, status) == -1)
      return -1;
    part.buffer += part.count;
    part.offset += part.count;
    count -= part.count;
  }
  return 0;
}

int
view_prefetch (struct connection *connection, const struct view *view,
               uint64_t first, uint64_t last, struct status *status)
{
  static const char own_sql[] = "SELECT data"
                                " FROM block INDEXED BY block_by_number"
                                " WHERE layer = ?1 AND number >= ?2"
                                " AND number <= ?3 AND generation = ?4";
  CLEANUP_STATEMENT sqlite3_stmt *own =
      connection_statement (connection, own_sql, status);
  int r;

  if (own == NULL)
    return -1;
  sqlite3_bind_int64 (own, 1, view->layers[0].layer);
  sqlite3_bind_int64 (own, 2, first);
  sqlite3_bind_int64 (own, 3, last);
  sqlite3_bind_int64 (own, 4, view->layers[0].generation);
  while ((r = connection_step (connection, own, status)) == 1)
    ; /* the row was read as a whole, to return it */
  return r;
}

int
view_version (struct connection *connection, const struct view *view,
              uint64_t number, struct row_version *version,
              struct status *status)
{
  static const char version_sql[] = "SELECT number, generation, checksum"
                                    " FROM block INDEXED BY block_by_number"
                                    " WHERE layer = ?1 AND number >= ?2"
                                    " AND (number, generation) <= (?3, ?4)"
                                    " ORDER BY number DESC, generation DESC";
  int r = 0;

  *version = (struct row_version){ 0 };
  for (size_t i = 0; i < view->depth && r == 0; i++) {
    CLEANUP_WALK struct walk walk = { 0 };

    if (walk_begin (&walk, connection, version_sql, &view->layers[i], number,
                    number, 0, status) == -1)
      return -1;
    r = walk_next (&walk, status);
    if (r == 1)
      *version = (struct row_version){
        .layer = walk.layer.layer,
        .generation = walk.generation,
        .checksum = sqlite3_column_int64 (walk.statement, 2),
      };
  }
  return r == -1 ? -1 : 0;
}

/*--------------------------------------------------------------------
 * The map: what is data and what is zeroes.
 */

/* Values while a map is made; a caller sees only MAP_ZERO and MAP_DATA. */
enum { MAP_ZERO = 0, MAP_DATA = 1, MAP_UNKNOWN = 2 };

/* A walk that finds many rows in one step of SQLite.
 *
 * SQLite compares each row with a place (number, generation) once more, which
 * takes a sixth of the time.  So the walk begins with a statement that knows
 * numbers only, and goes on with the other one when a row is too new.
 */
struct run_sql {
  const char *numbers, *places;
};
#define RUN_SQL(index, more, where)                                            \
  "SELECT 1 FROM block INDEXED BY " index " WHERE " more                       \
  "layer = ?1 AND number >= ?2 AND " where                                     \
  " AND visit (?5, number, generation) ORDER BY number DESC, generation DESC"
#define RUN_NUMBERS "number <= ?3"
#define RUN_PLACES  "(number, generation) <= (?3, ?4)"

#define RUN_ROWS 128
struct run {
  struct visitor visitor;
  struct walk walk;
  const char *places_sql; /* NULL where it is in use */
  enum row_use last;      /* what the row looked at last was */
  bool ended;             /* no more can be found, and ... */
  size_t count;           /* ... so many were, ... */
  size_t used;            /* ... of which so many were used */
  struct {
    int64_t number, generation;
  } * row, rows[RUN_ROWS];
};

/* Look at a row.  Returns true when that is enough for one step. */
static bool
run_visit (struct visitor *visitor, int64_t number, int64_t generation)
{
  struct run *run = (struct run *)visitor;

  run->last = walk_look (&run->walk, number, generation);
  if (run->last != ROW_FOUND)
    return run->last != ROW_OLDER;
  run->rows[run->count].number = number;
  run->rows[run->count++].generation = generation;
  return run->count == RUN_ROWS || walk_is_over (&run->walk);
}

static int
run_begin (struct run *run, struct connection *connection,
           const struct run_sql *sql, const struct layer_view *layer,
           uint64_t first, uint64_t last, struct status *status)
{
  run->visitor.visit = run_visit;
  run->last = ROW_OLDER;
  run->ended = false;
  run->count = run->used = 0;
  run->places_sql = sql->places;
  if (walk_begin (&run->walk, connection, sql->numbers, layer, first, last, 4,
                  status) == -1)
    return -1;
  statement_visit (run->walk.statement, 5, &run->visitor);
  return 0;
}

/* Go on with the statement that can seek to a generation. */
static int
run_use_places (struct run *run, struct status *status)
{
  statement_done (&run->walk.statement);
  run->walk.statement =
      connection_statement (run->walk.connection, run->places_sql, status);
  run->places_sql = NULL;
  if (run->walk.statement == NULL)
    return -1;
  statement_visit (run->walk.statement, 5, &run->visitor);
  return 0;
}

static void
run_end (struct run *run)
{
  walk_end (&run->walk);
}
#define CLEANUP_RUN __attribute__ ((cleanup (run_end)))

/* Find more rows, unless there are none. */
static int
run_fill (struct run *run, struct status *status)
{
  int r;

  run->count = run->used = 0;
  while (run->count == 0 && !run->ended) {
    if (run->last == ROW_NEWER && run->places_sql &&
        run_use_places (run, status) == -1)
      return -1;
    r = walk_step (&run->walk, status);
    if (r == -1)
      return -1;
    if (r == 1 && run->last == ROW_WRONG)
      return walk_fail (status);
    run->ended = r == 0 || walk_is_over (&run->walk);
  }
  return 0;
}

/* Go on to the next visible row, run->row.  Returns 1, 0 at the end, -1. */
static int
run_next (struct run *run, struct status *status)
{
  if (run->used == run->count && run_fill (run, status) == -1)
    return -1;
  if (run->used == run->count)
    return 0;
  run->row = &run->rows[run->used++];
  return 1;
}

/* Map what one layer has of the blocks from FIRST on that are unknown; say
 * in SHOWN, where that is not NULL, which rows the data is in.  Returns how
 * many blocks it has mapped, or -1.
 */
static int64_t
map_layer (struct connection *connection, const struct layer_view *layer,
           uint64_t first, uint32_t count, uint8_t *map,
           struct layer_view *shown, struct status *status)
{
  static const struct run_sql rows_sql = {
    RUN_SQL ("block_by_number", "", RUN_NUMBERS),
    RUN_SQL ("block_by_number", "", RUN_PLACES),
  };
  static const struct run_sql zeroes_sql = {
    RUN_SQL ("block_zero", "codec = 0 AND ", RUN_NUMBERS),
    RUN_SQL ("block_zero", "codec = 0 AND ", RUN_PLACES),
  };
  const uint64_t last = first + count - 1;
  CLEANUP_RUN struct run rows = { .walk.statement = NULL };
  CLEANUP_RUN struct run zeroes = { .walk.statement = NULL };
  int64_t mapped = 0;
  int zero_left, r;
  uint64_t i;

  if (run_begin (&rows, connection, &rows_sql, layer, first, last, status) ==
          -1 ||
      run_begin (&zeroes, connection, &zeroes_sql, layer, first, last,
                 status) == -1)
    return -1;

  /* Both walks go down; a row is zeroes if it is the newest of both. */
  zero_left = run_next (&zeroes, status);
  while (zero_left != -1 && (r = run_next (&rows, status)) != 0) {
    if (r == -1)
      return -1;
    while (zero_left == 1 && zeroes.row->number > rows.row->number)
      zero_left = run_next (&zeroes, status);
    i = rows.row->number - first;
    if (map[i] != MAP_UNKNOWN)
      continue;
    mapped++;
    map[i] = zero_left == 1 && zeroes.row->number == rows.row->number &&
                     zeroes.row->generation == rows.row->generation
                 ? MAP_ZERO
                 : MAP_DATA;
    if (shown && map[i] == MAP_DATA)
      shown[i] = (struct layer_view){ layer->layer, rows.row->generation };
  }
  return zero_left == -1 ? -1 : mapped;
}

/* Map all layers of a view. */
static int
map_view (struct connection *connection, const struct view *view,
          uint64_t first, uint32_t count, uint8_t *map,
          struct layer_view *shown, struct status *status)
{
  int64_t unknown = count, mapped;

  memset (map, MAP_UNKNOWN, count);
  for (size_t i = 0; i < view->depth && unknown > 0; i++) {
    mapped = map_layer (connection, &view->layers[i], first, count, map, shown,
                        status);
    if (mapped == -1)
      return -1;
    unknown -= mapped;
  }
  return 0;
}

int
view_rows (struct connection *connection, const struct view *view,
           uint64_t first, uint32_t count, struct layer_view *rows,
           struct status *status)
{
  uint8_t *map = malloc (count);
  int r;

  if (map == NULL)
    return status_no_memory (status);
  memset (rows, 0, count * sizeof *rows);
  r = map_view (connection, view, first, count, map, rows, status);
  free (map);
  return r;
}

int
view_map (struct connection *connection, const struct view *view,
          uint64_t first, uint32_t count, uint8_t *map, struct status *status)
{
  if (map_view (connection, view, first, count, map, NULL, status) == -1)
    return -1;
  for (uint32_t i = 0; i < count; i++)
    if (map[i] == MAP_UNKNOWN)
      map[i] = MAP_ZERO;
  return 0;
}

int
view_row_limit (struct connection *connection, const struct view *view,
                uint64_t first, uint64_t end, uint32_t rows, uint64_t *number,
                struct status *status)
{
  static const char limit_sql[] =
      "SELECT number FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND number >= ?2 AND number < ?3"
      " ORDER BY number LIMIT 1 OFFSET ?4";

  *number = end;
  for (size_t i = 0; i < view->depth; i++) {
    CLEANUP_STATEMENT sqlite3_stmt *limit =
        connection_statement (connection, limit_sql, status);
    int r;

    if (limit == NULL)
      return -1;
    sqlite3_bind_int64 (limit, 1, view->layers[i].layer);
    sqlite3_bind_int64 (limit, 2, first);
    sqlite3_bind_int64 (limit, 3, *number);
    sqlite3_bind_int64 (limit, 4, rows - 1);
    r = connection_step (connection, limit, status);
    if (r == -1)
      return -1;
    if (r == 1)
      *number = sqlite3_column_int64 (limit, 0);
  }
  return 0;
}

int
view_next_row (struct connection *connection, const struct view *view,
               uint64_t first, uint64_t end, uint64_t *number,
               struct status *status)
{
  return view_row_limit (connection, view, first, end, 1, number, status);
}

/* Have all layers together more than ROWS rows of the blocks from FIRST to
 * before END?  Returns 1, 0, -1.
 */
static int
has_more_rows (struct connection *connection, const struct view *view,
               uint64_t first, uint64_t end, uint32_t rows,
               struct status *status)
{
  static const char count_sql[] =
      "SELECT count (*) FROM (SELECT 1 FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND number >= ?2 AND number < ?3 LIMIT ?4)";
  int64_t left = rows;

  for (size_t i = 0; i < view->depth && left >= 0; i++) {
    CLEANUP_STATEMENT sqlite3_stmt *count =
        connection_statement (connection, count_sql, status);

    if (count == NULL)
      return -1;
    sqlite3_bind_int64 (count, 1, view->layers[i].layer);
    sqlite3_bind_int64 (count, 2, first);
    sqlite3_bind_int64 (count, 3, end);
    sqlite3_bind_int64 (count, 4, left + 1);
    if (connection_step (connection, count, status) == -1)
      return -1;
    left -= sqlite3_column_int64 (count, 0);
  }
  return left < 0;
}

/* Where they have too many, each layer gets an equal share, which cannot be too
 * many; then twice of that, as long as all together stay below ROWS.
 */
static int
find_part_end (struct connection *connection, const struct view *view,
               uint64_t first, uint64_t end, uint32_t rows, uint64_t *number,
               struct status *status)
{
  int more = has_more_rows (connection, view, first, end, rows, status);
  uint64_t wider;

  *number = more == 0 ? end : first;
  if (more != 1)
    return more;
  for (uint64_t share = rows / view->depth; share <= rows;
       share = 2 * share + 1) {
    if (view_row_limit (connection, view, first, end, share + 1, &wider,
                        status) == -1)
      return -1;
    more = has_more_rows (connection, view, first, wider, rows, status);
    if (more != 0)
      return more == -1 ? -1 : 0;
    *number = wider;
  }
  return 0;
}

/* Most disks have one layer, where the row that is too many is the end. */
int
view_part_end (struct connection *connection, const struct view *view,
               uint64_t first, uint64_t end, uint32_t rows, uint64_t *number,
               struct status *status)
{
  return view->depth == 1 ? view_row_limit (connection, view, first, end,
                                            rows + 1, number, status)
                          : find_part_end (connection, view, first, end, rows,
                                           number, status);
}

/*--------------------------------------------------------------------
 * Extents.
 */

/* Gathers neighbours of one kind into extents of bytes. */
struct gatherer {
  uint64_t offset, end; /* the range asked for, in bytes */
  bool one;
  extent_found found;
  void *opaque;
  uint64_t start; /* of the extent that is growing, in bytes */
  bool hole;      /* its kind */
  bool done;      /* enough was said */
};

/* The range goes on as HOLE from byte AT.  Ends the growing extent if that
 * is a change of kind.
 */
static int
gather (struct gatherer *g, uint64_t at, bool hole, struct status *status)
{
  if (at <= g->offset) {
    g->start = g->offset;
    g->hole = hole;
    return 0;
  }
  if (hole == g->hole)
    return 0;
  if (g->found (g->start, at - g->start, g->hole, g->opaque) == -1)
    return status_no_memory (status);
  g->start = at;
  g->hole = hole;
  g->done = g->one;
  return 0;
}

/* The range ends, or is cut short, at byte AT. */
static int
gather_end (struct gatherer *g, uint64_t at, struct status *status)
{
  if (at > g->end)
    at = g->end;
  if (!g->done && at > g->start &&
      g->found (g->start, at - g->start, g->hole, g->opaque) == -1)
    return status_no_memory (status);
  return 0;
}

/* Have the view's map cover block FIRST, and as many as it is worth while of
 * those before END.  Who goes on near where the map ends gets more of them.
 */
static int
map_ahead (struct connection *connection, struct view *view, uint64_t first,
           uint64_t end, struct status *status)
{
  struct view_ahead *ahead = &view->ahead;
  uint32_t count = MAP_FIRST;

  if (first >= ahead->first && first < ahead->first + ahead->count)
    return 0;
  if (first >= ahead->first + ahead->count &&
      first < ahead->first + 2 * (uint64_t)ahead->count)
    count = 2 * ahead->count < MAP_MOST ? 2 * ahead->count : MAP_MOST;
  if (count > end - first)
    count = end - first;
  ahead->count = 0;
  if (ahead->map == NULL)
    ahead->map = malloc (MAP_MOST);
  if (ahead->map == NULL)
    return status_no_memory (status);
  if (view_map (connection, view, first, count, ahead->map, status) == -1)
    return -1;
  ahead->first = first;
  ahead->count = count;
  return 0;
}

/* Gather blocks from *AT to before END, as far as the view's map goes. */
static int
gather_blocks (struct connection *connection, struct view *view,
               struct gatherer *g, uint64_t *at, uint64_t end,
               struct status *status)
{
  const struct view_ahead *ahead = &view->ahead;

  if (map_ahead (connection, view, *at, end, status) == -1)
    return -1;
  if (end > ahead->first + ahead->count)
    end = ahead->first + ahead->count;
  for (; *at < end && !g->done; ++*at)
    if (gather (g, *at * view->block_size,
                ahead->map[*at - ahead->first] == MAP_ZERO, status) == -1)
      return -1;
  return 0;
}

int
view_extents (struct connection *connection, struct view *view, uint64_t offset,
              uint64_t count, bool one, extent_found found, void *opaque,
              struct status *status)
{
  const uint64_t end = (offset + count - 1) / view->block_size + 1;
  uint64_t at = offset / view->block_size, before, total = 0;
  struct gatherer g = {
    .offset = offset,
    .end = offset + count,
    .one = one,
    .found = found,
    .opaque = opaque,
  };
  int r = 0;

  while (r == 0 && at < end && !g.done && total < MAP_TOTAL) {
    before = at;
    r = gather_blocks (connection, view, &g, &at, end, status);
    total += at - before;
    /* A hole goes on to the next row. */
    if (r == 0 && at < end && !g.done && g.hole)
      r = view_next_row (connection, view, at, end, &at, status);
  }
  return r == 0 ? gather_end (&g, at * view->block_size, status) : -1;
}
