/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Where the trees begin, when the schema does not tell: see salvage.c.
 *
 * SQLite puts the roots of a new database from page 3 on, in the order in which
 * the tables and indexes were made.  VACUUM makes all tables before the
 * indexes; and databases of earlier formats lack some:
 *
 *   page            3       4        5          6      7         8
 *   new             mark    feature  (feature)  layer  sequence  (layer)
 *   after VACUUM    mark    feature  (feature)  layer  sequence  disk
 *
 * Who goes by a wrong root takes an empty table for the one of blocks, and does
 * not miss any.  So all pages from there on must be what an arrangement says, a
 * table or an index, with the rows of that table, as far as they can be read;
 * and there must be only one that they fit.
 */

#include <config.h>

#include <string.h>

#include "check/salvage-parts.h"

/* No b-tree is deeper. */
#define DEPTH_MAX 20

#define FIRST_ROOT 3

/* The roots from FIRST_ROOT on: the tables and indexes that are walked over,
 * and others.
 */
#define OTHER_TABLE "t"
#define OTHER_INDEX "i"
static const char *const arrangements[] = {
  "tFiLtiDiiSiiiPiRBNZiCit",                         /* new */
  "tFiLtDiiSiPiRBCtiiiNZii",                         /* after VACUUM */
  "tFiLtiDiiSiiiRBNZiCit",                           /* the same of format 5 */
  "tFiLtDiiSiRBCtiiiNZii",   "FiLtiDiiSiiiRBNZiCit", /* and of format 4 */
  "FiLtDiiSiRBCtiiiNZii",
};

/* The letters of the tables and indexes that are walked over. */
static const char letters[TREES + 1] = {
  [TREE_BLOCK] = 'B',    [TREE_INDEX] = 'N',   [TREE_ZERO] = 'Z',
  [TREE_LAYER] = 'L',    [TREE_DISK] = 'D',    [TREE_SNAPSHOT] = 'S',
  [TREE_CONTENT] = 'C',  [TREE_RECLAIM] = 'R', [TREE_FEATURE] = 'F',
  [TREE_PROPERTY] = 'P',
};

bool
salvage_read_place (struct salvage *salvage, const struct cell *cell,
                    struct block_place *place)
{
  struct record row;

  row.count = record_parse (salvage->payload, cell->length, row.values);
  if (row.count != INDEX_COLUMNS || !row_has_integers (&row, 0, 3))
    return false;
  *place = (struct block_place){ row.values[0].integer, row.values[1].integer };
  return true;
}

/* The letter of the table that has ROW, or 0 where it does not tell. */
static char
row_letter (const struct record *row)
{
  switch (row->kind) {
  case ROW_LAYER:
    return letters[TREE_LAYER];
  case ROW_DISK:
    return letters[TREE_DISK];
  case ROW_SNAPSHOT:
    return letters[TREE_SNAPSHOT];
  case ROW_BLOCK:
    return letters[TREE_BLOCK];
  case ROW_CONTENT:
    return letters[TREE_CONTENT];
  case ROW_FEATURE:
    return letters[TREE_FEATURE];
  case ROW_PROPERTY:
    return letters[TREE_PROPERTY];
  default:
    return 0;
  }
}

static bool
is_index_letter (char letter)
{
  return strchr (OTHER_INDEX "NZ", letter) != NULL;
}

/* Can the cell at hand, which was read, be of the tree LETTER? */
static bool
cell_fits (struct salvage *salvage, const struct cell *cell, char letter)
{
  struct block_place place;
  struct record row;

  if (is_index_letter (letter))
    return salvage_read_place (salvage, cell, &place) ==
           (strchr (OTHER_INDEX, letter) == NULL);
  row_parse (salvage->payload, cell, &row);
  return row_letter (&row) == 0 || row_letter (&row) == letter;
}

/* The page at hand says something else, unless it is damaged. */
static int
differ (struct salvage *salvage)
{
  return salvage_page_fits (salvage->pages) ? -1 : 0;
}

/* Can page NUMBER be the root of the tree LETTER?  Returns 1, 0 where nothing
 * tells, since it is damaged, -1 where it is something else.
 */
static int
root_fits (struct salvage *salvage, uint32_t number, char letter)
{
  struct rawfile *pages = salvage->pages;
  struct tree_page tree;
  struct cell cell;

  for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
    if (number < 2 || number > pages->count)
      return depth > 0;
    rawfile_get (pages, number);
    if (!rawfile_tree (pages, &tree))
      return depth > 0;
    if ((tree.type == INDEX_LEAF || tree.type == INDEX_INTERIOR) !=
        is_index_letter (letter))
      return differ (salvage);
    /* An empty one can be any. */
    if (tree.cells == 0 ||
        !rawfile_tree_cell (pages, &tree, 0, &cell, salvage->payload))
      return 1;
    if (tree.type != TABLE_INTERIOR)
      return cell_fits (salvage, &cell, letter) ? 1 : differ (salvage);
    number = cell.child;
  }
  return 0;
}

/* Do the pages fit ARRANGEMENT, and what the schema tells of ROOTS?  Most of
 * them must tell something.
 */
static bool
fits (struct salvage *salvage, const char *arrangement,
      const uint32_t roots[TREES])
{
  const size_t count = strlen (arrangement);
  size_t fitting = 0;

  for (size_t i = 0; i < count; i++) {
    const char *tree = strchr (letters, arrangement[i]);
    const int r = root_fits (salvage, FIRST_ROOT + i, arrangement[i]);

    if (r == -1 || (tree && roots[tree - letters] != 0 &&
                    roots[tree - letters] != FIRST_ROOT + i))
      return false;
    fitting += r;
  }
  return fitting > count / 2;
}

/* Does the schema tell where the trees begin?  Earlier formats lack one. */
static bool
are_known (const uint32_t roots[TREES])
{
  for (size_t i = 0; i < TREES; i++)
    if (roots[i] == 0 && i != TREE_PROPERTY)
      return false;
  return true;
}

void
salvage_find_roots (struct salvage *salvage, uint32_t roots[TREES])
{
  const char *found = NULL;

  if (are_known (roots))
    return;
  for (size_t i = 0; i < sizeof arrangements / sizeof arrangements[0]; i++)
    if (fits (salvage, arrangements[i], roots)) {
      if (found)
        return;
      found = arrangements[i];
    }
  for (size_t i = 0; found && i < TREES; i++) {
    const char *place = strchr (found, letters[i]);

    roots[i] = place ? FIRST_ROOT + (place - found) : 0;
  }
}
