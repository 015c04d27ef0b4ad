/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the parts of salvage.c share.
 *
 *   salvage.c ──┬──► salvage-roots.c    where the trees begin
 *               ├──► salvage-rows.c     which rows are true, and can one
 *               │                       become so?
 *               ├──► salvage-out.c      what is written into the new file
 *               └──► salvage-unknown.c  what is put where nothing is known
 */

#ifndef SQLBLOCK_SALVAGE_PARTS_H
#define SQLBLOCK_SALVAGE_PARTS_H

#include "sqlite/connection.h"
#include "block/correct.h"
#include "check/rawfile.h"
#include "rows/columns.h"
#include "check.h"

/* The columns of the tables that columns.h does not have. */
enum { BLOCK_COLUMNS = 8, CONTENT_COLUMNS = 6, RECLAIM_COLUMNS = 3 };
enum { INDEX_COLUMNS = 4, SCHEMA_COLUMNS = 5 };

enum row_kind {
  ROW_UNKNOWN,
  ROW_LAYER,
  ROW_DISK,
  ROW_SNAPSHOT,
  ROW_BLOCK,
  ROW_CONTENT,
  ROW_FEATURE,
  ROW_PROPERTY,
  ROW_RECLAIM, /* it has no checksum */
};

/* A record of a table. */
struct record {
  enum row_kind kind;
  int64_t id;
  struct value values[RECORD_VALUES];
  unsigned count;
};

/* The tables and indexes that are walked over. */
enum salvage_tree {
  TREE_BLOCK,
  TREE_INDEX, /* block_by_number */
  TREE_ZERO,  /* block_zero */
  TREE_LAYER,
  TREE_DISK,
  TREE_SNAPSHOT,
  TREE_CONTENT,
  TREE_RECLAIM,
  TREE_FEATURE,
  TREE_PROPERTY, /* not before format 6 */
  TREES,
};

/* A place in the index of blocks. */
struct block_place {
  int64_t layer, number;
};

/* What the index says between these two, both included, is lost. */
struct unknown_range {
  struct block_place low, high;
};

/* What is read, and into what it is saved. */
struct salvage {
  const char *path;
  const struct salvage_options *options;
  struct salvage_counts *counts;
  struct rawfile *pages;
  struct connection *out;
  unsigned char *reached;        /* a bit for each page: a b-tree leads to it */
  bool rows_are_complete;        /* no page of a table was damaged */
  bool index_is_complete;        /* no page of an index was damaged */
  uint32_t block_root;           /* of the table of blocks */
  bool blocks_are_complete;      /* no row of a block was lost */
  struct unknown_range *unknown; /* where the index does not tell of them */
  size_t unknown_count;
  unsigned corrections;
  uint32_t carved; /* the page that was looked through last */
  uint64_t pages_done, pages_total;

  unsigned char payload[PAYLOAD_MAX];
};

/* Tell the user something. */
void salvage_say (struct salvage *salvage, const char *format, ...)
    __attribute__ ((format (printf, 2, 3)));

/* Tell the user that something is lost. */
void salvage_lose (struct salvage *salvage, const char *format, ...)
    __attribute__ ((format (printf, 2, 3)));

/* Are the values from FIRST to LAST integers? */
bool row_has_integers (const struct record *row, unsigned first, unsigned last);

/* Take the payload of a cell apart.  Returns what kind of row it is, which
 * is ROW_UNKNOWN unless its checksum is right.
 */
enum row_kind row_parse (const unsigned char *payload, const struct cell *cell,
                         struct record *row);

/* Does the page at hand fit its checksum, or has it none?  Pages of the log
 * have another.
 */
bool salvage_page_fits (const struct rawfile *pages);

/* The place that an entry of the index of blocks has, which stands in
 * salvage->payload; false where it is none.
 */
bool salvage_read_place (struct salvage *salvage, const struct cell *cell,
                         struct block_place *place);

/* Fill in the ROOTS that the schema does not tell of, which are 0, where the
 * pages leave no doubt where they are.  The others stay 0.
 */
void salvage_find_roots (struct salvage *salvage, uint32_t roots[TREES]);

/* Try to make the cell at OFFSET of the page at hand a true row by setting
 * one byte right, which changes the page in memory.
 */
bool salvage_correct (struct salvage *salvage, unsigned offset,
                      struct record *row);

/* All that follow return 0, or -1. */

/* Put a row into its table, if nothing is in its place. */
int salvage_put (struct salvage *salvage, struct record *row,
                 struct status *status);

/* Put a block in the place of one that was lost, if it is that one. */
int salvage_put_lost (struct salvage *salvage, const struct record *row,
                      struct status *status);

/* The index has an entry; if its row is not there, it is lost. */
int salvage_note_entry (struct salvage *salvage, const struct value *entry,
                        struct status *status);

/* The next lost block after ID.  Returns 1, 0 where there is none, -1. */
int salvage_next_lost (struct salvage *salvage, int64_t *id,
                       struct status *status);

/* All rows are there: make what refers to lost ones fit together. */
int salvage_fit_together (struct salvage *salvage, struct status *status);

/* A block of which only the place is known, from the index, and one of which
 * nothing is known.  Nothing has these checksums, as their data is empty.
 */
#define SALVAGE_LOST    "codec = 1 AND checksum = 0 AND length (data) = 0"
#define SALVAGE_UNKNOWN "codec = 1 AND checksum = 1 AND length (data) = 0"

/* The index does not tell of the blocks of RANGE. */
int salvage_add_unknown (struct salvage *salvage,
                         const struct unknown_range *range,
                         struct status *status);

/* It does tell of those of RANGE, by what else was found. */
int salvage_remove_unknown (struct salvage *salvage,
                            const struct unknown_range *range,
                            struct status *status);

/* Where rows are lost, and the index with them, put a row that cannot be read
 * wherever the newest may be missing.
 */
int salvage_mark_unknown (struct salvage *salvage, struct status *status);

/* Count what was saved. */
int salvage_count (struct salvage *salvage, struct status *status);

#endif /* SQLBLOCK_SALVAGE_PARTS_H */
