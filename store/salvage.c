/* Saving what can be read: see salvage.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checksum.h"
#include "codec.h"
#include "connection.h"
#include "content.h"
#include "correct.h"
#include "database.h"
#include "disks.h"
#include "guard.h"
#include "layers.h"
#include "pages.h"
#include "salvage.h"
#include "snapshots.h"

/* No b-tree is deeper. */
#define DEPTH_MAX 20

/* How many pages are read between reports. */
#define REPORT_PAGES 256

/* How many pages at the beginning tell whether a size of pages is right. */
#define GUESS_BYTES (4 << 20)

/* The columns of the tables. */
enum { LAYER_COLUMNS = 5, DISK_COLUMNS = 13, SNAPSHOT_COLUMNS = 11 };
enum { BLOCK_COLUMNS = 8, CONTENT_COLUMNS = 6, RECLAIM_COLUMNS = 3 };
enum { INDEX_COLUMNS = 4, SCHEMA_COLUMNS = 5 };

enum row_kind {
  ROW_UNKNOWN,
  ROW_LAYER,
  ROW_DISK,
  ROW_SNAPSHOT,
  ROW_BLOCK,
  ROW_CONTENT,
  ROW_RECLAIM, /* it has no checksum */
};

/* A record of a table. */
struct row {
  enum row_kind kind;
  int64_t id;
  struct value values[RECORD_VALUES];
  unsigned count;
};

struct salvage {
  const char *path;
  const struct salvage_options *options;
  struct salvage_counts *counts;
  struct pages *pages;
  struct connection *out;
  unsigned char *reached; /* a bit for each page: a b-tree leads to it */
  bool rows_are_complete; /* no page of a table was damaged, ... */
  bool index_is_complete; /* ... and none of an index */
  uint32_t block_root;    /* of the table of blocks; 0: unknown */
  unsigned corrections;
  uint32_t carved; /* the page that was looked through last */
  uint64_t pages_done, pages_total;

  unsigned char payload[PAYLOAD_MAX];
};

static void say (struct salvage *salvage, const char *format, ...)
    __attribute__ ((format (printf, 2, 3)));
static void
say (struct salvage *salvage, const char *format, ...)
{
  char text[900];
  va_list arguments;

  va_start (arguments, format);
  vsnprintf (text, sizeof text, format, arguments);
  va_end (arguments);
  if (salvage->options->say)
    salvage->options->say (text, salvage->options->opaque);
}

/* One page more was looked at. */
static int
progress (struct salvage *salvage, struct status *status)
{
  const struct salvage_options *options = salvage->options;
  const uint64_t size = salvage->pages->page_size;

  return ++salvage->pages_done % REPORT_PAGES == 0
             ? progress_report (options->progress, salvage->pages_done * size,
                                salvage->pages_total * size, options->opaque,
                                status)
             : 0;
}

/*--------------------------------------------------------------------
 * Telling the truth from damage.
 */

/* What row_checksum hashes. */
struct sum {
  unsigned char bytes[16384];
  size_t length;
};

static bool
add_bytes (struct sum *sum, const void *bytes, size_t length)
{
  if (length > sizeof sum->bytes - sum->length)
    return false;
  memcpy (sum->bytes + sum->length, bytes, length);
  sum->length += length;
  return true;
}

static bool
add_number (struct sum *sum, unsigned char type, uint64_t number)
{
  unsigned char bytes[9] = { type };

  for (int i = 0; i < 8; i++)
    bytes[1 + i] = number >> 8 * i;
  return add_bytes (sum, bytes, sizeof bytes);
}

static bool
add_text (struct sum *sum, const void *text, size_t length)
{
  return add_number (sum, 3, length) && add_bytes (sum, text, length);
}

static bool
add_value (struct sum *sum, const struct value *value)
{
  switch (value->type) {
  case VALUE_NULL:
    return add_bytes (sum, "", 1);
  case VALUE_INTEGER:
    return add_number (sum, 1, value->integer);
  case VALUE_TEXT:
    return add_text (sum, value->bytes, value->length);
  default:
    return false;
  }
}

/* Is the last value the row_checksum of the others, in table NAME? */
static bool
has_row_checksum (const char *name, const struct row *row)
{
  const struct value *stored = &row->values[row->count - 1];
  struct sum sum = { .length = 0 };

  if (row->values[0].type != VALUE_NULL || stored->type != VALUE_INTEGER ||
      !add_text (&sum, name, strlen (name)) || !add_number (&sum, 1, row->id))
    return false;
  for (unsigned i = 1; i + 1 < row->count; i++)
    if (!add_value (&sum, &row->values[i]))
      return false;
  return (uint64_t)stored->integer == checksum_bytes (sum.bytes, sum.length);
}

/* Are the values from FIRST to LAST integers? */
static bool
are_integers (const struct row *row, unsigned first, unsigned last)
{
  for (unsigned i = first; i <= last; i++)
    if (row->values[i].type != VALUE_INTEGER)
      return false;
  return true;
}

static bool
is_block (const struct row *row)
{
  const struct value *value = row->values;
  const bool refers = value[4].integer == CODEC_CONTENT;
  const bool has_data = !refers && value[4].integer != CODEC_ZERO;

  if (row->id < 1 || value[0].type != VALUE_NULL || !are_integers (row, 1, 5) ||
      value[6].type != (refers ? VALUE_INTEGER : VALUE_NULL) ||
      value[7].type != (has_data ? VALUE_BLOB : VALUE_NULL))
    return false;
  return checksum_fits (&(struct block_row){
      .layer = value[1].integer,
      .number = value[2].integer,
      .generation = value[3].integer,
      .codec = value[4].integer,
      .checksum = value[5].integer,
      .content = value[6].integer,
      .data = value[7].bytes,
      .length = value[7].length,
  });
}

static bool
is_content (const struct row *row)
{
  const struct value *value = row->values;

  return value[0].type == VALUE_NULL && are_integers (row, 1, 4) &&
         value[5].type == VALUE_BLOB &&
         value[4].integer ==
             checksum_content (
                 row->id, value[1].integer, value[2].integer, value[3].integer,
                 checksum_bytes (value[5].bytes, value[5].length));
}

/* What a row must be, since its checksum is right. */
static enum row_kind
true_kind (const struct row *row)
{
  switch (row->count) {
  case LAYER_COLUMNS:
    return has_row_checksum ("layer", row) ? ROW_LAYER : ROW_UNKNOWN;
  case DISK_COLUMNS:
    return has_row_checksum ("disk", row) ? ROW_DISK : ROW_UNKNOWN;
  case SNAPSHOT_COLUMNS:
    return has_row_checksum ("snapshot", row) ? ROW_SNAPSHOT : ROW_UNKNOWN;
  case BLOCK_COLUMNS:
    return is_block (row) ? ROW_BLOCK : ROW_UNKNOWN;
  case CONTENT_COLUMNS:
    return is_content (row) ? ROW_CONTENT : ROW_UNKNOWN;
  case RECLAIM_COLUMNS:
    return row->values[0].type == VALUE_NULL && are_integers (row, 1, 2)
               ? ROW_RECLAIM
               : ROW_UNKNOWN;
  default:
    return ROW_UNKNOWN;
  }
}

/* Take the payload of a cell apart. */
static enum row_kind
parse_row (const unsigned char *payload, const struct cell *cell,
           struct row *row)
{
  row->id = cell->rowid;
  row->count = record_parse (payload, cell->length, row->values);
  row->kind = row->count ? true_kind (row) : ROW_UNKNOWN;
  return row->kind;
}

/*--------------------------------------------------------------------
 * Setting a byte right.
 */

struct correction {
  struct salvage *salvage;
  unsigned offset; /* of the cell on its page */
  struct cell cell;
  struct row row;
};

static bool
is_true (const struct correction *correction)
{
  return correction->row.kind != ROW_UNKNOWN &&
         correction->row.kind != ROW_RECLAIM;
}

/* Is the payload, as it is now, that of a true row? */
static bool
payload_is_true (void *opaque)
{
  struct correction *correction = opaque;

  parse_row (correction->salvage->payload, &correction->cell, &correction->row);
  return is_true (correction);
}

/* Is the cell, as it is now on its page, a true row? */
static bool
cell_is_true (void *opaque)
{
  struct correction *correction = opaque;
  struct salvage *salvage = correction->salvage;

  return pages_read_cell (salvage->pages, TABLE_LEAF, correction->offset,
                          &correction->cell, salvage->payload) &&
         payload_is_true (opaque);
}

/* Try to make the cell at OFFSET of the page at hand a true row. */
static bool
correct (struct salvage *salvage, unsigned offset, struct row *row)
{
  struct correction correction = { .salvage = salvage, .offset = offset };
  struct pages *pages = salvage->pages;
  const size_t head = pages->usable - offset < 20 ? pages->usable - offset : 20;
  bool done;

  if (salvage->corrections == salvage->options->corrections)
    return false;
  salvage->corrections++;
  done = correct_byte (pages->page + offset, head, pages->usable, cell_is_true,
                       &correction);
  if (!done && pages_read_cell (pages, TABLE_LEAF, offset, &correction.cell,
                                salvage->payload))
    done = correct_byte (salvage->payload, correction.cell.length,
                         correction.cell.length, payload_is_true, &correction);
  if (done) {
    salvage->counts->corrected++;
    *row = correction.row;
  }
  return done;
}

/*--------------------------------------------------------------------
 * Writing.
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

/* A block of which only the place is known.  Nothing has this checksum, as
 * its data is empty.
 */
#define LOST "codec = 1 AND checksum = 0 AND length (data) = 0"

/* Put a row into its table, if nothing is in its place. */
static int
insert_row (struct salvage *salvage, const struct row *row,
            struct status *status)
{
  static const char *const insert_sql[] = {
    [ROW_LAYER] = "INSERT OR IGNORE INTO layer VALUES (?1, ?2, ?3, ?4, ?5)",
    [ROW_DISK] = "INSERT OR IGNORE INTO disk VALUES (?1, ?2, ?3, ?4, ?5, ?6,"
                 " ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    [ROW_SNAPSHOT] = "INSERT OR IGNORE INTO snapshot VALUES (?1, ?2, ?3, ?4,"
                     " ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    [ROW_BLOCK] = "INSERT OR IGNORE INTO block VALUES (?1, ?2, ?3, ?4, ?5, ?6,"
                  " ?7, ?8)",
    [ROW_CONTENT] =
        "INSERT OR IGNORE INTO content VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
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
insert_block (struct salvage *salvage, struct row *row, struct status *status)
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

static int
put_row (struct salvage *salvage, struct row *row, struct status *status)
{
  if (row->kind == ROW_RECLAIM)
    return keep_reclaim (salvage, row->id, status);
  return row->kind == ROW_BLOCK ? insert_block (salvage, row, status)
                                : insert_row (salvage, row, status);
}

/* Put a block in the place of one that was lost, if it is that one. */
static int
put_lost (struct salvage *salvage, const struct row *row, struct status *status)
{
  static const char put_sql[] =
      "UPDATE block SET codec = ?5, checksum = ?6, content = ?7, data = ?8"
      " WHERE id = ?1 AND layer = ?2 AND number = ?3 AND generation = ?4"
      " AND " LOST;
  CLEANUP_STATEMENT sqlite3_stmt *put =
      connection_statement (salvage->out, put_sql, status);

  if (put == NULL)
    return -1;
  sqlite3_bind_int64 (put, 1, row->id);
  for (unsigned i = 1; i < row->count; i++)
    bind_value (put, i + 1, &row->values[i]);
  return connection_step (salvage->out, put, status);
}

/* The index has an entry; if its row is not there, it is lost. */
static int
note_entry (struct salvage *salvage, const struct value *entry,
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

/*--------------------------------------------------------------------
 * Which pages the b-trees lead to.
 */

static bool
is_reached (const struct salvage *salvage, uint32_t number)
{
  return salvage->reached[number / 8] >> number % 8 & 1;
}

/* A tree leads to page NUMBER; returns whether that is new. */
static bool
reach (struct salvage *salvage, uint32_t number)
{
  if (number < 1 || number > salvage->pages->count ||
      is_reached (salvage, number))
    return false;
  salvage->reached[number / 8] |= 1 << number % 8;
  return true;
}

/* How sure is it that page NUMBER is in use? */
enum trust { NOT_IN_USE, PERHAPS, IN_USE };

static enum trust
trust_page (struct salvage *salvage, uint32_t number)
{
  const enum page_use use = pages_use (salvage->pages, number);

  return (use == 0 || use == PAGE_TREE || use == PAGE_ROOT) +
         is_reached (salvage, number);
}

/* The roots that the schema tells of. */
struct roots {
  uint32_t pages[64];
  size_t count;
};

/* Note the root of a table or an index, a row of sqlite_schema. */
static void
note_root (struct salvage *salvage, struct roots *roots, const struct row *row)
{
  const struct value *value = row->values;

  if (row->count != SCHEMA_COLUMNS || value[3].type != VALUE_INTEGER ||
      value[3].integer < 2 || value[3].integer > salvage->pages->count ||
      roots->count == sizeof roots->pages / sizeof roots->pages[0])
    return;
  roots->pages[roots->count++] = value[3].integer;
  if (value[0].type == VALUE_TEXT && value[0].length == 5 &&
      memcmp (value[0].bytes, "table", 5) == 0 && value[1].length == 5 &&
      value[1].type == VALUE_TEXT && memcmp (value[1].bytes, "block", 5) == 0)
    salvage->block_root = value[3].integer;
}

static void
note_roots (struct salvage *salvage, const struct tree_page *tree,
            struct roots *roots)
{
  struct cell cell;
  struct row row;

  for (unsigned i = 0; i < tree->cells; i++)
    if (pages_tree_cell (salvage->pages, tree, i, &cell, salvage->payload)) {
      parse_row (salvage->payload, &cell, &row);
      note_root (salvage, roots, &row);
    }
}

/* A page that a tree leads to is damaged. */
static void
note_damage (struct salvage *salvage, bool index)
{
  if (index)
    salvage->index_is_complete = false;
  else
    salvage->rows_are_complete = false;
}

/* Go down from page NUMBER, which was just reached, in an INDEX or a table.
 * With ROOTS it is that of the schema.
 */
static void
walk (struct salvage *salvage, uint32_t number, bool index, unsigned depth,
      struct roots *roots)
{
  struct pages *pages = salvage->pages;
  struct tree_page tree;
  struct cell cell;
  uint32_t child;

  if (trust_page (salvage, number) != IN_USE)
    note_damage (salvage, index);
  pages_get (pages, number);
  if (!pages_tree (pages, &tree) || depth == DEPTH_MAX ||
      (tree.type == INDEX_LEAF || tree.type == INDEX_INTERIOR) != index) {
    note_damage (salvage, index);
    return;
  }
  if (tree.type == TABLE_LEAF && roots)
    note_roots (salvage, &tree, roots);
  if (tree.type == TABLE_LEAF || tree.type == INDEX_LEAF)
    return;
  for (unsigned i = 0; i <= tree.cells; i++) {
    child = tree.last_child;
    if (i < tree.cells) {
      const unsigned at = pages_cell (pages, &tree, i);

      child = at && pages_read_cell (pages, TABLE_INTERIOR, at, &cell,
                                     salvage->payload)
                  ? cell.child
                  : 0;
    }
    if (!reach (salvage, child)) {
      note_damage (salvage, index);
      continue;
    }
    walk (salvage, child, index, depth + 1, roots);
    pages_get (pages, number);
  }
}

/* Walk over the tree with this root. */
static void
walk_tree (struct salvage *salvage, uint32_t root, struct roots *roots)
{
  struct tree_page tree;

  if (!reach (salvage, root))
    return;
  pages_get (salvage->pages, root);
  if (!pages_tree (salvage->pages, &tree)) {
    note_damage (salvage, false);
    note_damage (salvage, true);
    return;
  }
  walk (salvage, root, tree.type == INDEX_LEAF || tree.type == INDEX_INTERIOR,
        0, roots);
}

static int
walk_trees (struct salvage *salvage, struct status *status)
{
  struct roots roots = { .count = 0 };

  salvage->reached = calloc (salvage->pages->count / 8 + 1, 1);
  if (salvage->reached == NULL)
    return status_no_memory (status);
  salvage->rows_are_complete = salvage->index_is_complete = true;
  walk_tree (salvage, 1, &roots);
  for (size_t i = 0; i < roots.count; i++)
    walk_tree (salvage, roots.pages[i], NULL);
  if (salvage->block_root != 0)
    return 0;
  /* The schema is lost; the pointer map knows the roots, too. */
  salvage->rows_are_complete = salvage->index_is_complete = false;
  for (uint32_t number = 2; number <= salvage->pages->count; number++)
    if (pages_use (salvage->pages, number) == PAGE_ROOT)
      walk_tree (salvage, number, NULL);
  return 0;
}

/*--------------------------------------------------------------------
 * The passes over the pages.
 */

/* What becomes of a true row. */
typedef int (*row_use) (struct salvage *salvage, struct row *row,
                        struct status *status);

static int
use_lost (struct salvage *salvage, struct row *row, struct status *status)
{
  return row->kind == ROW_BLOCK ? put_lost (salvage, row, status) : 0;
}

/* Can a row, in which a byte was changed, be one with a checksum?  Others
 * have fewer columns, or begin with text.
 */
static bool
may_be_true (const struct row *row)
{
  return row->count == 0 ||
         (row->count >= LAYER_COLUMNS && row->values[0].type != VALUE_TEXT);
}

/* Use the rows of the page at hand; with CORRECTED also those of which a byte
 * can be set right.
 */
static int
use_rows (struct salvage *salvage, bool corrected, row_use use,
          struct status *status)
{
  struct pages *pages = salvage->pages;
  const uint32_t number = pages->current;
  struct tree_page tree;
  struct cell cell;
  struct row row;

  if (!pages_tree (pages, &tree) || tree.type != TABLE_LEAF)
    return 0;
  for (unsigned i = 0; i < tree.cells; i++) {
    const unsigned at = pages_cell (pages, &tree, i);

    if (at == 0)
      continue;
    row.kind = ROW_UNKNOWN;
    row.count = 0;
    if (pages_read_cell (pages, TABLE_LEAF, at, &cell, salvage->payload))
      parse_row (salvage->payload, &cell, &row);
    if (row.kind == ROW_UNKNOWN && corrected && may_be_true (&row) &&
        !correct (salvage, at, &row))
      pages_get (pages, number); /* as it was */
    if (row.kind != ROW_UNKNOWN && use (salvage, &row, status) == -1)
      return -1;
    if (row.kind != ROW_UNKNOWN && pages->current != number)
      pages_get (pages, number);
  }
  return 0;
}

/* Pass 1: what is in use for sure. */
static int
read_rows (struct salvage *salvage, struct status *status)
{
  for (uint32_t number = 1; number <= salvage->pages->count; number++) {
    if (trust_page (salvage, number) == IN_USE) {
      pages_get (salvage->pages, number);
      if (use_rows (salvage, true, put_row, status) == -1)
        return -1;
    }
    if (progress (salvage, status) == -1)
      return -1;
  }
  return 0;
}

/* Note what the index page at hand says. */
static int
note_entries (struct salvage *salvage, struct status *status)
{
  struct tree_page tree;
  struct cell cell;
  struct row row;

  if (!pages_tree (salvage->pages, &tree) ||
      (tree.type != INDEX_LEAF && tree.type != INDEX_INTERIOR))
    return 0;
  for (unsigned i = 0; i < tree.cells; i++) {
    if (!pages_tree_cell (salvage->pages, &tree, i, &cell, salvage->payload))
      continue;
    row.count = record_parse (salvage->payload, cell.length, row.values);
    if (row.count == INDEX_COLUMNS && are_integers (&row, 0, 3) &&
        row.values[0].integer > 0 && row.values[1].integer >= 0 &&
        row.values[2].integer > 0 && row.values[3].integer > 0 &&
        row.values[3].integer < ID_END &&
        note_entry (salvage, row.values, status) == -1)
      return -1;
  }
  return 0;
}

/* Pass 2: what else there should be. */
static int
read_index (struct salvage *salvage, enum trust trust, struct status *status)
{
  for (uint32_t number = 2; number <= salvage->pages->count; number++) {
    if (trust_page (salvage, number) == trust) {
      pages_get (salvage->pages, number);
      if (note_entries (salvage, status) == -1)
        return -1;
    }
    if (progress (salvage, status) == -1)
      return -1;
  }
  return 0;
}

/* The page of the table where the row ID should be; 0: unknown. */
static uint32_t
find_leaf (struct salvage *salvage, int64_t id)
{
  struct pages *pages = salvage->pages;
  uint32_t number = salvage->block_root;
  struct tree_page tree;
  struct cell cell;

  for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
    if (number < 2 || number > pages->count)
      return 0;
    pages_get (pages, number);
    if (!pages_tree (pages, &tree) || tree.type != TABLE_INTERIOR)
      return number;
    number = tree.last_child;
    for (unsigned i = 0; i < tree.cells; i++)
      if (pages_tree_cell (pages, &tree, i, &cell, salvage->payload) &&
          id <= cell.rowid) {
        number = cell.child;
        break;
      }
  }
  return 0;
}

/* Look for rows anywhere on page NUMBER. */
static int
carve (struct salvage *salvage, uint32_t number, struct status *status)
{
  struct cell cell;
  struct row row;

  pages_get (salvage->pages, number);
  for (unsigned at = 8; at < salvage->pages->usable - 8; at++)
    if (pages_read_cell (salvage->pages, TABLE_LEAF, at, &cell,
                         salvage->payload) &&
        parse_row (salvage->payload, &cell, &row) == ROW_BLOCK &&
        put_lost (salvage, &row, status) == -1)
      return -1;
  return 0;
}

/* The next lost block after ID. */
static int
next_lost (struct salvage *salvage, int64_t *id, struct status *status)
{
  static const char next_sql[] =
      "SELECT id FROM block NOT INDEXED WHERE id > ?1 AND " LOST
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

/* Use the rows of pages of which it is not sure that they are in use. */
static int
use_doubtful (struct salvage *salvage, row_use use, struct status *status)
{
  for (uint32_t number = 2; number <= salvage->pages->count; number++) {
    if (trust_page (salvage, number) != PERHAPS)
      continue;
    pages_get (salvage->pages, number);
    if (use_rows (salvage, false, use, status) == -1)
      return -1;
  }
  return 0;
}

/* Pass 3: look for lost blocks. */
static int
find_lost (struct salvage *salvage, struct status *status)
{
  int64_t id = 0;
  uint32_t leaf;
  int r = next_lost (salvage, &id, status);

  if (r == 1 && use_doubtful (salvage, use_lost, status) == -1)
    return -1;
  for (id = 0; r == 1;) {
    r = next_lost (salvage, &id, status);
    if (r != 1)
      break;
    leaf = find_leaf (salvage, id);
    if (leaf != 0 && leaf != salvage->carved &&
        carve (salvage, leaf, status) == -1)
      return -1;
    salvage->carved = leaf;
  }
  return r == -1 ? -1 : 0;
}

static int
use_others (struct salvage *salvage, struct row *row, struct status *status)
{
  return row->kind != ROW_BLOCK ? put_row (salvage, row, status) : 0;
}

/* Pass 4: where nothing tells what is missing; for other rows than those of
 * blocks nothing ever does.
 */
static int
fill_up (struct salvage *salvage, struct status *status)
{
  if (salvage->rows_are_complete)
    return 0;
  if (salvage->index_is_complete)
    return use_doubtful (salvage, use_others, status);
  say (salvage, "the b-trees are damaged so that it is not known what is "
                "missing; deleted blocks may have come back");
  if (use_doubtful (salvage, put_row, status) == -1)
    return -1;
  return read_index (salvage, PERHAPS, status);
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
    say (salvage, "%d %s", changes, what);
  return 0;
}

/* Rows of layers that others refer to and that are lost, with a checksum
 * that is wrong: who looks at them gets an error.
 */
static const char layers_sql[] =
    "WITH needed (id) AS (SELECT layer FROM disk UNION"
    "  SELECT layer FROM snapshot UNION SELECT parent FROM layer"
    "  WHERE parent IS NOT NULL UNION SELECT DISTINCT layer FROM block)"
    " INSERT INTO layer (id, generation, checksum)"
    "  SELECT id, 1 + max (1,"
    "   ifnull ((SELECT max (generation) FROM block"
    "    WHERE layer = needed.id), 0),"
    "   ifnull ((SELECT max (generation) FROM snapshot"
    "    WHERE layer = needed.id), 0),"
    "   ifnull ((SELECT max (parent_generation) FROM layer AS above"
    "    WHERE above.parent = needed.id), 0)), 0"
    "  FROM needed WHERE id > 0 AND id NOT IN (SELECT id FROM layer)";

/* Disks that are lost, for the snapshots that they have and for layers at
 * which nobody looks.  How large they were is guessed.
 */
#define FOUND_DISK(id, layer, size)                                            \
  "SELECT " id ", 'recovered-' || (" layer "), '', " size ", bytes, " layer    \
  ", 1, 1, 0, 0, NULL, CAST (strftime ('%s') AS INTEGER), 0"
#define BLOCK_SIZE(layer)                                                      \
  "ifnull ((SELECT max (length (data)) FROM block WHERE block.layer = " layer  \
  " AND codec = 1 AND length (data) IN (512, 1024, 2048, 4096, 8192, 16384,"   \
  " 32768, 65536, 131072, 262144, 524288, 1048576)), 4096)"

static const char snapshot_disks_sql[] =
    "WITH lost (disk, layer, size) AS (SELECT disk, max (layer), max (size)"
    "  FROM snapshot WHERE disk NOT IN (SELECT id FROM disk)"
    "  AND layer NOT IN (SELECT layer FROM disk) GROUP BY disk),"
    " found AS (SELECT *, " BLOCK_SIZE (
        "lost.layer") " AS bytes FROM lost)"
                      " INSERT OR IGNORE INTO disk " FOUND_DISK (
                          "disk", "layer", "size") " FROM found";

static const char layer_disks_sql[] =
    "WITH lost (layer) AS (SELECT id FROM layer"
    "  WHERE id NOT IN (SELECT layer FROM disk)"
    "  AND id NOT IN (SELECT layer FROM snapshot)"
    "  AND id NOT IN (SELECT parent FROM layer WHERE parent IS NOT "
    "NULL)"
    "  AND id NOT IN (SELECT layer FROM reclaim)),"
    " found AS (SELECT *, " BLOCK_SIZE (
        "lost.layer") " AS bytes FROM lost)"
                      " INSERT OR IGNORE INTO disk " FOUND_DISK (
                          "NULL", "layer",
                          "(1 + ifnull ((SELECT max (number) FROM block"
                          " WHERE block.layer = found.layer), 0)) * "
                          "bytes") " FROM found";

static const char disk_checksums_sql[] =
    "UPDATE disk SET checksum = " DISK_CHECKSUM " WHERE checksum = 0"
    " AND name LIKE 'recovered-%'";

/* Snapshots whose disk is not even known cannot be kept. */
static const char snapshots_sql[] =
    "DELETE FROM snapshot WHERE disk NOT IN (SELECT id FROM disk)";

/* Rows whose ids were taken get new ones: after all others, as if they had
 * been written last.
 */
static const char ids_sql[] =
    "UPDATE block SET id = (SELECT max (ifnull ((SELECT max (id) FROM block),"
    "  0), ifnull ((SELECT max (last_block) FROM snapshot), 0))) - id"
    " WHERE id < 0";

static const char reclaim_sql[] =
    "DELETE FROM reclaim WHERE layer NOT IN (SELECT id FROM layer)";

/* What a quota counts is counted anew. */
static const char counted_sql[] =
    "INSERT OR IGNORE INTO counted (layer, number, bytes)"
    " SELECT layer, 0, 0 FROM disk WHERE quota IS NOT NULL"
    " UNION SELECT snapshot.layer, 0, 0 FROM snapshot"
    " JOIN disk ON disk.id = snapshot.disk WHERE quota IS NOT NULL";

static int
add_features (struct salvage *salvage, struct status *status)
{
  static const char used_sql[] =
      "SELECT count (*) FROM (SELECT 1 FROM disk WHERE compression = ?1"
      " OR (deduplicate = 1 AND ?1 = 4)"
      " UNION ALL SELECT 1 FROM content WHERE codec = ?1"
      " UNION ALL SELECT 1 FROM block WHERE codec = ?1 LIMIT 1)";

  for (int codec = CODEC_ZSTD; codec <= CODEC_CONTENT; codec++) {
    CLEANUP_STATEMENT sqlite3_stmt *used =
        connection_statement (salvage->out, used_sql, status);

    if (used == NULL)
      return -1;
    sqlite3_bind_int (used, 1, codec);
    if (connection_step (salvage->out, used, status) == -1)
      return -1;
    if (sqlite3_column_int (used, 0) > 0 &&
        disks_add_feature (salvage->out,
                           codec == CODEC_CONTENT ? CONTENT_FEATURE
                                                  : codec_feature (codec),
                           status) == -1)
      return -1;
  }
  return 0;
}

/* Make a lost block zeroes. */
static int
zero_block (struct salvage *salvage, int64_t id, struct status *status)
{
  static const char key_sql[] =
      "SELECT layer, number, generation FROM block WHERE id = ?1";
  static const char zero_sql[] = "UPDATE block SET codec = 0, data = NULL,"
                                 " checksum = ?2 WHERE id = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *key =
      connection_statement (salvage->out, key_sql, status);
  CLEANUP_STATEMENT sqlite3_stmt *zero =
      connection_statement (salvage->out, zero_sql, status);

  if (key == NULL || zero == NULL)
    return -1;
  sqlite3_bind_int64 (key, 1, id);
  if (connection_step (salvage->out, key, status) == -1)
    return -1;
  sqlite3_bind_int64 (zero, 1, id);
  sqlite3_bind_int64 (zero, 2,
                      checksum_block (sqlite3_column_int64 (key, 0),
                                      sqlite3_column_int64 (key, 1),
                                      sqlite3_column_int64 (key, 2), CODEC_ZERO,
                                      0, checksum_bytes (NULL, 0)));
  return connection_step (salvage->out, zero, status);
}

static int
zero_lost (struct salvage *salvage, struct status *status)
{
  int64_t id = 0;
  int r;

  while ((r = next_lost (salvage, &id, status)) == 1)
    if (zero_block (salvage, id, status) == -1)
      return -1;
  return r;
}

static int
fit_together (struct salvage *salvage, struct status *status)
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
      connection_run (salvage->out, disk_checksums_sql, status) == -1 ||
      run_and_say (salvage, snapshots_sql,
                   "snapshots are left out, since their disk is lost",
                   status) == -1 ||
      connection_run (salvage->out, ids_sql, status) == -1 ||
      connection_run (salvage->out, counted_sql, status) == -1)
    return -1;
  return add_features (salvage, status);
}

/* Count what was saved. */
static int
count (struct salvage *salvage, struct status *status)
{
  static const char disks_sql[] = "SELECT count (*) FROM disk";
  static const char snapshots_count_sql[] = "SELECT count (*) FROM snapshot";
  static const char layers_count_sql[] = "SELECT count (*) FROM layer";
  static const char lost_sql[] =
      "SELECT count (*) FROM block NOT INDEXED WHERE " LOST;
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
  counts->blocks -= counts->lost;
  counts->unreadable = salvage->pages->unreadable;
  return 0;
}

/* Fill the new file. */
static int
fill (struct connection *out, void *opaque, struct status *status)
{
  static const char defer_sql[] = "PRAGMA defer_foreign_keys = ON";
  static const char cache_sql[] = "PRAGMA cache_size = -65536";
  struct salvage *salvage = opaque;

  salvage->out = out;
  if (connection_run (out, cache_sql, status) == -1 ||
      connection_run (out, defer_sql, status) == -1 ||
      read_rows (salvage, status) == -1 ||
      read_index (salvage, IN_USE, status) == -1 ||
      find_lost (salvage, status) == -1 || fill_up (salvage, status) == -1 ||
      fit_together (salvage, status) == -1 || count (salvage, status) == -1)
    return -1;
  if (salvage->counts->layers == 0)
    return status_fail (status, EINVAL,
                        "nothing of a database of sqlblock "
                        "was found in it");
  return salvage->options->zero_lost ? zero_lost (salvage, status) : 0;
}

/*--------------------------------------------------------------------
 * The size of the pages.
 */

/* How many true rows are found in pages of SIZE bytes at the beginning? */
static uint64_t
count_true (const char *path, uint32_t size, unsigned char *payload)
{
  struct status ignored;
  struct pages *pages = pages_open (path, size, &ignored);
  struct tree_page tree;
  struct cell cell;
  struct row row;
  uint64_t found = 0;

  if (pages == NULL)
    return 0;
  for (uint32_t number = 1;
       number <= pages->count && number <= GUESS_BYTES / pages->page_size;
       number++) {
    pages_get (pages, number);
    if (!pages_tree (pages, &tree) || tree.type != TABLE_LEAF)
      continue;
    for (unsigned i = 0; i < tree.cells; i++)
      if (pages_tree_cell (pages, &tree, i, &cell, payload) &&
          parse_row (payload, &cell, &row) != ROW_UNKNOWN &&
          row.kind != ROW_RECLAIM)
        found++;
  }
  pages_close (pages);
  return found;
}

/* The size of pages with which most is found: the header may be damaged. */
static uint32_t
guess_page_size (const char *path, unsigned char *payload)
{
  uint64_t most = 0, found;
  uint32_t best = 0;

  for (uint32_t size = PAGE_SIZE_MIN; size <= PAGE_SIZE_MAX; size *= 2) {
    found = count_true (path, size, payload);
    if (found > most) {
      most = found;
      best = size;
    }
  }
  return best;
}

/*--------------------------------------------------------------------
 * All of it.
 */

/* Nobody else may have it open: what is read would not fit together. */
static int
refuse_served (const char *path, struct status *status)
{
  const int served = guard_is_served (path, status);

  if (served == 1)
    return status_fail (status, EBUSY,
                        "a server has the database open; end it first");
  /* Where the lock file cannot be made, nobody serves either. */
  return 0;
}

static int
salvage_from (struct salvage *salvage, const char *out, struct status *status)
{
  const uint32_t page_size = guess_page_size (salvage->path, salvage->payload);

  salvage->pages = pages_open (salvage->path, page_size, status);
  if (salvage->pages == NULL)
    return -1;
  salvage->pages_total = 2 * (uint64_t)salvage->pages->count;
  if (walk_trees (salvage, status) == -1)
    return -1;
  return database_make (out, salvage->pages->page_size, fill, salvage, status);
}

int
salvage_database (const char *path, const char *out,
                  const struct salvage_options *options,
                  struct salvage_counts *counts, struct status *status)
{
  struct salvage *salvage;
  struct stat st;
  int r;

  *counts = (struct salvage_counts){ 0 };
  if (lstat (out, &st) == 0)
    return status_fail (status, EEXIST,
                        "there is %s already; nothing is overwritten", out);
  if (refuse_served (path, status) == -1)
    return -1;
  salvage = calloc (1, sizeof *salvage);
  if (salvage == NULL)
    return status_no_memory (status);
  salvage->path = path;
  salvage->options = options;
  salvage->counts = counts;
  r = salvage_from (salvage, out, status);
  if (salvage->pages)
    pages_close (salvage->pages);
  free (salvage->reached);
  free (salvage);
  return r;
}
