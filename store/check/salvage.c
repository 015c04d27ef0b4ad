/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Saving what can be read of a damaged database into a new one.
 *
 * Each row of disks, snapshots, layers, blocks and contents has a checksum,
 * so the truth can be told from damage wherever it lies.  The pages of the
 * file are read one by one, without SQLite:
 *
 *   1. rows of the pages that both the b-trees and the pointer map say are
 *      in use; where one byte of a row has changed, it is set right
 *   2. the entries of the index: those without a row are lost blocks
 *   3. lost blocks are looked for in pages that are damaged themselves, or
 *      to which damage has cut the way
 *   4. where the b-trees are damaged so that no index tells what is missing,
 *      all rows that are true and have no other in their place
 *
 * SQL would stop at the first damaged page, and Debian's .recover does not
 * work.  No schema is needed: the number of columns and the checksum tell of
 * which table a row is.  One changed byte cannot make both a b-tree and the
 * pointer map lie.
 *
 * So what was deleted once, and still stands in free pages, does not come
 * back.  A block that stays lost gets a row whose checksum is wrong: reading
 * it is an error, not wrong data.  The same holds for a lost layer.  Where
 * the index is lost together with rows, nothing tells which blocks there were,
 * and such a row stands wherever one may have been, or a newer one:
 *
 *   index, by layer and number     1:1  1:2  ....lost....  1:9  2:4
 *   found in the table             1:1  1:2  1:5      2:4
 *   not to be read                      1:3  1:4  1:6  1:7  1:8  1:9
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rows/database.h"
#include "sqlite/files.h"
#include "sqlite/guard.h"
#include "rows/layers.h"
#include "check/salvage-parts.h"
#include "sqlite/vfs-checksum.h"
#include "base/count.h"
#include "cluster/location.h"

/* No b-tree is deeper. */
#define DEPTH_MAX 20

/* How many pages are read between reports. */
#define REPORT_PAGES 256

/* How many pages at the beginning tell whether a size of pages is right. */
#define GUESS_BYTES (4 << 20)

void
salvage_say (struct salvage *salvage, const char *format, ...)
{
  char text[900];
  va_list arguments;

  va_start (arguments, format);
  vsnprintf (text, sizeof text, format, arguments);
  va_end (arguments);
  if (salvage->options->say)
    salvage->options->say (text, salvage->options->opaque);
}

void
salvage_lose (struct salvage *salvage, const char *format, ...)
{
  char text[900];
  va_list arguments;

  va_start (arguments, format);
  vsnprintf (text, sizeof text, format, arguments);
  va_end (arguments);
  salvage->counts->losses++;
  if (salvage->options->lose)
    salvage->options->lose (text, salvage->options->opaque);
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
  const enum page_use use = rawfile_use (salvage->pages, number);

  return (use == 0 || use == PAGE_TREE || use == PAGE_ROOT) +
         is_reached (salvage, number);
}

/* The tables and indexes that are walked over, and what is at stake. */
static const struct tree {
  const char *name;
  bool index;
  const char *loss; /* NULL: nothing, or what is known otherwise */
} trees[TREES] = {
  [TREE_BLOCK] = { "block", false, NULL },
  [TREE_INDEX] = { "block_by_number", true, NULL },
  [TREE_ZERO] = { "block_zero", true, NULL },
  [TREE_LAYER] = { "layer", false, "layers" },
  [TREE_DISK] = { "disk", false, "disks" },
  [TREE_SNAPSHOT] = { "snapshot", false, "snapshots" },
  [TREE_CONTENT] = { "content", false, NULL },
  [TREE_RECLAIM] = { "reclaim", false, NULL },
  [TREE_FEATURE] = { "feature", false, "features" },
  [TREE_PROPERTY] = { "property", false, "properties" },
};

/* The roots that the schema tells of. */
struct roots {
  uint32_t pages[64];
  size_t count;
  uint32_t known[TREES]; /* of the trees above; 0: it does not tell */
};

static bool
is_text (const struct value *value, const char *text)
{
  return value->type == VALUE_TEXT && value->length == strlen (text) &&
         memcmp (value->bytes, text, value->length) == 0;
}

bool
salvage_page_fits (const struct rawfile *pages)
{
  return pages->current_in_log ||
         vfs_checksum_fits (pages->page, pages->page_size, pages->current);
}

/* Note the root of a table or an index, a row of sqlite_schema.  A page that
 * does not FIT its checksum may tell of a wrong one.
 */
static void
note_root (struct salvage *salvage, struct roots *roots,
           const struct record *row, bool fits)
{
  const struct value *value = row->values;

  if (row->count != SCHEMA_COLUMNS || value[3].type != VALUE_INTEGER ||
      value[3].integer < 2 || value[3].integer > UINT32_MAX)
    return;
  for (size_t i = 0; i < TREES; i++)
    if (is_text (&value[1], trees[i].name)) {
      if (fits)
        roots->known[i] = value[3].integer;
      return;
    }
  if (value[3].integer <= salvage->pages->count &&
      roots->count < sizeof roots->pages / sizeof roots->pages[0])
    roots->pages[roots->count++] = value[3].integer;
}

static void
note_roots (struct salvage *salvage, const struct tree_page *tree,
            struct roots *roots)
{
  const bool fits = salvage_page_fits (salvage->pages);
  struct cell cell;
  struct record row;

  for (unsigned i = 0; i < tree->cells; i++)
    if (rawfile_tree_cell (salvage->pages, tree, i, &cell, salvage->payload)) {
      row_parse (salvage->payload, &cell, &row);
      note_root (salvage, roots, &row, fits);
    }
}

/* A walk over a tree. */
struct walk {
  struct salvage *salvage;
  bool index;
  bool blocks;         /* the index of all blocks, in which places count */
  struct roots *roots; /* the schema: note them */
  bool complete;       /* no page was damaged */
  struct status *status;
  int result;
};

static const struct unknown_range everything = {
  { 0, 0 },
  { INT64_MAX, INT64_MAX },
};

/* What page leads to, or the page itself, is damaged; RANGE was there. */
static void
note_damage (struct walk *walk, const struct unknown_range *range)
{
  walk->complete = false;
  if (walk->blocks && walk->result == 0)
    walk->result = salvage_add_unknown (walk->salvage, range, walk->status);
}

static void walk_page (struct walk *walk, uint32_t number, unsigned depth,
                       struct unknown_range range);

/* Go through the leaf at hand, of an index of blocks. */
static void
walk_leaf (struct walk *walk, const struct tree_page *tree,
           struct unknown_range range)
{
  struct salvage *salvage = walk->salvage;
  const struct block_place end = range.high;
  struct block_place place;
  struct cell cell;
  bool gap = false;

  for (unsigned i = 0; i <= tree->cells; i++) {
    if (i < tree->cells && (!rawfile_tree_cell (salvage->pages, tree, i, &cell,
                                                salvage->payload) ||
                            !salvage_read_place (salvage, &cell, &place))) {
      gap = true;
      continue;
    }
    range.high = i < tree->cells ? place : end;
    if (gap)
      note_damage (walk, &range);
    gap = false;
    range.low = range.high;
  }
}

/* Go down from the interior page at hand. */
static void
walk_children (struct walk *walk, const struct tree_page *tree, unsigned depth,
               struct unknown_range range)
{
  struct rawfile *pages = walk->salvage->pages;
  const uint32_t number = pages->current;
  const struct block_place end = range.high;
  struct cell cell;

  for (unsigned i = 0; i <= tree->cells; i++) {
    bool known = true;
    uint32_t child = tree->last_child;

    range.high = end;
    if (i < tree->cells) {
      known = rawfile_tree_cell (pages, tree, i, &cell, walk->salvage->payload);
      child = known ? cell.child : 0;
      if (walk->blocks && known)
        known = salvage_read_place (walk->salvage, &cell, &range.high);
      if (!known)
        range.high = end;
    }
    if (!reach (walk->salvage, child))
      note_damage (walk, &range);
    else
      walk_page (walk, child, depth + 1, range);
    if (known)
      range.low = range.high;
    else
      note_damage (walk, &range);
    rawfile_get (pages, number);
  }
}

/* Go down from page NUMBER, which was just reached, and has RANGE. */
static void
walk_page (struct walk *walk, uint32_t number, unsigned depth,
           struct unknown_range range)
{
  struct salvage *salvage = walk->salvage;
  struct rawfile *pages = salvage->pages;
  const bool in_use = trust_page (salvage, number) == IN_USE;
  struct tree_page tree;

  rawfile_get (pages, number);
  if (!in_use || (walk->blocks && !salvage_page_fits (pages)))
    note_damage (walk, &range);
  if (!rawfile_tree (pages, &tree) || depth == DEPTH_MAX ||
      (tree.type == INDEX_LEAF || tree.type == INDEX_INTERIOR) != walk->index)
    note_damage (walk, &range);
  else if (tree.type == TABLE_LEAF && walk->roots)
    note_roots (salvage, &tree, walk->roots);
  else if (tree.type == INDEX_LEAF && walk->blocks)
    walk_leaf (walk, &tree, range);
  else if (tree.type == TABLE_INTERIOR || tree.type == INDEX_INTERIOR)
    walk_children (walk, &tree, depth, range);
}

static void
walk_tree (struct walk *walk, uint32_t root)
{
  walk->complete = true;
  if (reach (walk->salvage, root))
    walk_page (walk, root, 0, everything);
  else
    note_damage (walk, &everything);
}

/* A leaf of the index of blocks to which the way is lost still tells of all
 * blocks between its first entry and its last.
 */
static int
use_orphan (struct salvage *salvage, struct status *status)
{
  struct rawfile *pages = salvage->pages;
  struct unknown_range known;
  struct tree_page tree;
  struct cell cell;

  if (!salvage_page_fits (pages) || !rawfile_tree (pages, &tree) ||
      tree.type != INDEX_LEAF)
    return 0;
  for (unsigned i = 0; i < tree.cells; i++) {
    if (!rawfile_tree_cell (pages, &tree, i, &cell, salvage->payload) ||
        !salvage_read_place (salvage, &cell, i == 0 ? &known.low : &known.high))
      return 0;
    if (i == 0)
      known.high = known.low;
  }
  return tree.cells > 0 ? salvage_remove_unknown (salvage, &known, status) : 0;
}

/* Look for such leaves.  Those of block_zero look the same. */
static int
use_orphans (struct salvage *salvage, bool zero_is_complete,
             struct status *status)
{
  int r = 0;

  if (salvage->unknown_count == 0 || !zero_is_complete)
    return 0;
  for (uint32_t number = 1;
       r == 0 && (number = rawfile_next (salvage->pages, number));)
    if (rawfile_use (salvage->pages, number) == PAGE_TREE &&
        !is_reached (salvage, number)) {
      rawfile_get (salvage->pages, number);
      r = use_orphan (salvage, status);
    }
  return r;
}

static bool
is_index (const struct tree_page *tree)
{
  return tree->type == INDEX_LEAF || tree->type == INDEX_INTERIOR;
}

/* Walk over the trees that matter. */
static int
walk_known (struct salvage *salvage, struct roots *roots, struct status *status)
{
  bool zero_is_complete = false;

  salvage_find_roots (salvage, roots->known);
  for (size_t i = 0; i < TREES; i++) {
    struct walk walk = {
      .salvage = salvage,
      .index = trees[i].index,
      .blocks = i == TREE_INDEX,
      .status = status,
    };

    if (i == TREE_PROPERTY && roots->known[i] == 0 &&
        roots->known[TREE_FEATURE] != 0)
      continue;
    walk_tree (&walk, roots->known[i]);
    if (walk.result == -1)
      return -1;
    if (i == TREE_ZERO)
      zero_is_complete = walk.complete;
    if (walk.complete)
      continue;
    if (i == TREE_INDEX)
      salvage->index_is_complete = false;
    else if (!trees[i].index)
      salvage->rows_are_complete = false;
    if (i == TREE_BLOCK)
      salvage->blocks_are_complete = false;
    if (trees[i].loss)
      salvage_lose (salvage,
                    "the table of %s is damaged; some of them may be lost%s",
                    trees[i].loss,
                    i == TREE_FEATURE
                        ? ", and what only a newer program can read may then "
                          "look as if this one could"
                        : "");
  }
  salvage->block_root = roots->known[TREE_BLOCK];
  return use_orphans (salvage, zero_is_complete, status);
}

static int
walk_trees (struct salvage *salvage, struct status *status)
{
  struct roots roots = { .count = 0 };
  struct walk schema = {
    .salvage = salvage,
    .roots = &roots,
    .status = status,
  };

  salvage->reached = calloc (salvage->pages->count / 8 + 1, 1);
  if (salvage->reached == NULL)
    return status_no_memory (status);
  salvage->rows_are_complete = salvage->index_is_complete =
      salvage->blocks_are_complete = true;
  walk_tree (&schema, 1);
  if (walk_known (salvage, &roots, status) == -1)
    return -1;
  for (size_t i = 0; i < roots.count; i++) {
    struct walk other = { .salvage = salvage, .status = status };
    struct tree_page tree;

    rawfile_get (salvage->pages, roots.pages[i]);
    other.index = rawfile_tree (salvage->pages, &tree) && is_index (&tree);
    walk_tree (&other, roots.pages[i]);
  }
  return 0;
}

/*--------------------------------------------------------------------
 * The passes over the pages.
 */

/* What becomes of a true row. */
typedef int (*record_use) (struct salvage *salvage, struct record *row,
                           struct status *status);

static int
use_lost (struct salvage *salvage, struct record *row, struct status *status)
{
  return row->kind == ROW_BLOCK ? salvage_put_lost (salvage, row, status) : 0;
}

/* Can a row, in which a byte was changed, be one with a checksum?  Others
 * have fewer columns, or begin with text.
 */
static bool
may_be_true (const struct record *row)
{
  return row->count == 0 ||
         (row->count >= LAYER_COLUMNS && row->values[0].type != VALUE_TEXT);
}

/* Use the rows of the page at hand; with CORRECTED also those of which a byte
 * can be set right.
 */
static int
use_rows (struct salvage *salvage, bool corrected, record_use use,
          struct status *status)
{
  struct rawfile *pages = salvage->pages;
  const uint32_t number = pages->current;
  struct tree_page tree;
  struct cell cell;
  struct record row;

  if (!rawfile_tree (pages, &tree) || tree.type != TABLE_LEAF)
    return 0;
  for (unsigned i = 0; i < tree.cells; i++) {
    const unsigned at = rawfile_cell (pages, &tree, i);

    if (at == 0) {
      salvage->blocks_are_complete = false;
      continue;
    }
    row.kind = ROW_UNKNOWN;
    row.count = 0;
    if (rawfile_read_cell (pages, TABLE_LEAF, at, &cell, salvage->payload))
      row_parse (salvage->payload, &cell, &row);
    if (row.kind == ROW_UNKNOWN && corrected && may_be_true (&row) &&
        !salvage_correct (salvage, at, &row)) {
      rawfile_get (pages, number); /* as it was */
      salvage->blocks_are_complete = false;
    }
    if (row.kind != ROW_UNKNOWN && use (salvage, &row, status) == -1)
      return -1;
    if (row.kind != ROW_UNKNOWN && pages->current != number)
      rawfile_get (pages, number);
  }
  return 0;
}

/* Pass 1: what is in use for sure. */
static int
read_rows (struct salvage *salvage, struct status *status)
{
  for (uint32_t number = 0; (number = rawfile_next (salvage->pages, number));) {
    if (trust_page (salvage, number) == IN_USE) {
      rawfile_get (salvage->pages, number);
      if (use_rows (salvage, true, salvage_put, status) == -1)
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
  struct record row;

  if (!rawfile_tree (salvage->pages, &tree) ||
      (tree.type != INDEX_LEAF && tree.type != INDEX_INTERIOR))
    return 0;
  for (unsigned i = 0; i < tree.cells; i++) {
    if (!rawfile_tree_cell (salvage->pages, &tree, i, &cell, salvage->payload))
      continue;
    row.count = record_parse (salvage->payload, cell.length, row.values);
    if (row.count == INDEX_COLUMNS && row_has_integers (&row, 0, 3) &&
        row.values[0].integer > 0 && row.values[1].integer >= 0 &&
        row.values[2].integer > 0 && row.values[3].integer > 0 &&
        row.values[3].integer < ID_END &&
        salvage_note_entry (salvage, row.values, status) == -1)
      return -1;
  }
  return 0;
}

/* Pass 2: what else there should be. */
static int
read_index (struct salvage *salvage, enum trust trust, struct status *status)
{
  for (uint32_t number = 1; (number = rawfile_next (salvage->pages, number));) {
    if (trust_page (salvage, number) == trust) {
      rawfile_get (salvage->pages, number);
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
  struct rawfile *pages = salvage->pages;
  uint32_t number = salvage->block_root;
  struct tree_page tree;
  struct cell cell;

  for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
    if (number < 2 || number > pages->count)
      return 0;
    rawfile_get (pages, number);
    if (!rawfile_tree (pages, &tree) || tree.type != TABLE_INTERIOR)
      return number;
    number = tree.last_child;
    for (unsigned i = 0; i < tree.cells; i++)
      if (rawfile_tree_cell (pages, &tree, i, &cell, salvage->payload) &&
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
  struct record row;

  rawfile_get (salvage->pages, number);
  for (unsigned at = 8; at < salvage->pages->usable - 8; at++)
    if (rawfile_read_cell (salvage->pages, TABLE_LEAF, at, &cell,
                           salvage->payload) &&
        row_parse (salvage->payload, &cell, &row) == ROW_BLOCK &&
        salvage_put_lost (salvage, &row, status) == -1)
      return -1;
  return 0;
}

/* Use the rows of pages of which it is not sure that they are in use. */
static int
use_doubtful (struct salvage *salvage, record_use use, struct status *status)
{
  for (uint32_t number = 1; (number = rawfile_next (salvage->pages, number));) {
    if (trust_page (salvage, number) != PERHAPS)
      continue;
    rawfile_get (salvage->pages, number);
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
  int r = salvage_next_lost (salvage, &id, status);

  if (r == 1 && use_doubtful (salvage, use_lost, status) == -1)
    return -1;
  for (id = 0; r == 1;) {
    r = salvage_next_lost (salvage, &id, status);
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
use_others (struct salvage *salvage, struct record *row, struct status *status)
{
  return row->kind != ROW_BLOCK ? salvage_put (salvage, row, status) : 0;
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
  salvage_lose (salvage,
                "the b-trees are damaged so that it is not known what is "
                "missing; deleted blocks may have come back");
  if (use_doubtful (salvage, salvage_put, status) == -1)
    return -1;
  return read_index (salvage, PERHAPS, status);
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
      salvage_fit_together (salvage, status) == -1 ||
      salvage_mark_unknown (salvage, status) == -1 ||
      salvage_count (salvage, status) == -1)
    return -1;
  if (rawfile_check_still (salvage->pages, status) == -1)
    return -1;
  if (salvage->counts->layers == 0)
    return status_fail (status, EINVAL,
                        "nothing of a database of sqlblock "
                        "was found in it");
  return 0;
}

/*--------------------------------------------------------------------
 * The size of the pages.
 */

/* How many true rows are found in pages of SIZE bytes at the beginning? */
static uint64_t
count_true (const char *path, uint32_t size, unsigned char *payload)
{
  struct status ignored;
  struct rawfile *pages = rawfile_open (path, size, &ignored);
  struct tree_page tree;
  struct cell cell;
  struct record row;
  uint64_t found = 0;

  if (pages == NULL)
    return 0;
  for (uint32_t number = 0; (number = rawfile_next (pages, number)) != 0 &&
                            number <= GUESS_BYTES / pages->page_size;) {
    rawfile_get (pages, number);
    if (!rawfile_tree (pages, &tree) || tree.type != TABLE_LEAF)
      continue;
    for (unsigned i = 0; i < tree.cells; i++)
      if (rawfile_tree_cell (pages, &tree, i, &cell, payload) &&
          row_parse (payload, &cell, &row) != ROW_UNKNOWN &&
          row.kind != ROW_RECLAIM)
        found++;
  }
  rawfile_close (pages);
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
  /* Where the lock file cannot be made, others may serve all the same: who
   * reads the file looks for them (rawfile_check_still).
   */
  return 0;
}

/* Say what the file and its log lack. */
static void
tell_missing (struct salvage *salvage)
{
  const struct rawfile *pages = salvage->pages;

  if (pages->missing > 0)
    salvage_say (salvage, "the file is too short, by %s of %" PRIu32 " bytes",
                 COUNT (pages->missing, "page"), pages->page_size);
  if (pages->log_lost > 0)
    salvage_lose (salvage,
                  "the write-ahead log, %s-wal, is missing or lacks its end: "
                  "%s that had been committed",
                  salvage->path, COUNT (pages->log_lost, "page"));
  else if (pages->log_torn)
    salvage_lose (salvage,
                  "the write-ahead log, %s-wal, is damaged after %s; what was "
                  "committed behind that is lost",
                  salvage->path, COUNT (pages->log_frames, "page"));
}

static int
salvage_from (struct salvage *salvage, const char *out, struct status *status)
{
  const uint32_t page_size = guess_page_size (salvage->path, salvage->payload);

  salvage->pages = rawfile_open (salvage->path, page_size, status);
  if (salvage->pages == NULL ||
      rawfile_check_still (salvage->pages, status) == -1)
    return -1;
  tell_missing (salvage);
  salvage->pages_total = 2 * (uint64_t)salvage->pages->present;
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
  int r;

  *counts = (struct salvage_counts){ 0 };
  if (location_is_cluster (path))
    return status_fail (status, ENOTSUP,
                        "%s is on a cluster: copy its objects into a file "
                        "(rados get), and salvage that",
                        path);
  if (files_exist (out))
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
    rawfile_close (salvage->pages);
  free (salvage->reached);
  free (salvage->unknown);
  free (salvage);
  return r;
}
