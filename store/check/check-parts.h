/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the parts of check.h share.
 *
 *   check.c ──► check-rules.c   disks, layers, snapshots, counters
 *          └──► check-rows.c    rows of blocks and contents, the index
 *
 * The plan says what the layers are; it is read in one transaction and used
 * in others.  So where a row does not fit the plan, that is read again, in
 * the transaction of the row, before anything is said.
 */

#ifndef SQLBLOCK_CHECK_PARTS_H
#define SQLBLOCK_CHECK_PARTS_H

#include <pthread.h>

#include "check.h"
#include "sqlite/connection.h"

/* A layer, as far as rows are judged by it. */
struct plan_layer {
  int64_t id, parent, generation;
  uint32_t block_size; /* bytes; 0: nobody who looks at it knows */
  bool encrypted;      /* a disk that is looks at it */
};

struct plan {
  struct plan_layer *layers; /* by id */
  size_t count;
};

struct check {
  struct store *store;
  const struct check_options *options;
  pthread_mutex_t telling; /* the watcher of SQLite's check tells, too */
  struct check_counts *counts;
  struct plan plan;
  bool plan_is_fresh; /* it was read in the transaction at hand */
  char *block;        /* room for one */
  uint64_t done, total;
  uint64_t lookups; /* that find_shown may still make */

  /* Where the next part begins. */
  int64_t next_id; /* of a row of a block or a content; 0: at the end */
  int64_t end_id;  /* where the pass over blocks ends; 0: at the last */
  int64_t layer;   /* of the index: 0 before the first, -1 at the end */
  int64_t number, generation;
  bool file_is_damaged;   /* there is a problem of CHECK_FILE */
  bool torn;              /* some rows cannot be read at all */
  bool index_is_told;     /* that its order is wrong */
  bool index_is_torn;     /* some of it cannot be read; that is told */
  uint64_t unseen, above; /* rows of the layer: seen by nobody; above
                             its generation */
};

/* Tell of a problem; the format makes its message. */
void check_tell (struct check *check, struct check_problem *problem,
                 const char *format, ...)
    __attribute__ ((format (printf, 3, 4)));

/* NAME, which may be NULL, is one of those that PROBLEM is about. */
void check_add_shown (struct check_problem *problem, const char *name);

/* Who shows layer ?1 or one that stands on it: the disk's id, its epoch, the
 * snapshot's id or 0, the name, the block size.
 */
#define CHECK_VIEWERS                                                          \
  "WITH RECURSIVE above (layer) AS (SELECT ?1 UNION"                           \
  "  SELECT layer.id FROM layer JOIN above ON layer.parent = above.layer)"     \
  " SELECT disk.id, epoch, 0, name, block_size"                                \
  "  FROM disk JOIN above USING (layer)"                                       \
  "  WHERE name NOT LIKE '%/%' OR name LIKE '" DISK_TRASH "%'"                 \
  " UNION ALL SELECT disk.id, epoch, snapshot.id,"                             \
  "  disk.name || '@' || snapshot.name, block_size"                            \
  "  FROM snapshot JOIN above USING (layer)"                                   \
  "  JOIN disk ON disk.id = snapshot.disk"                                     \
  "  WHERE snapshot.name NOT LIKE '%/%'"

/* The highest id of each table whose ids are counted, to begin a statement; of
 * layers also that of one that is gone and has a bookmark.
 */
#define CHECK_HIGHEST                                                          \
  "WITH highest (name, id) AS ("                                               \
  " SELECT 'layer', (SELECT max (id) FROM (SELECT id FROM layer"               \
  "   UNION ALL SELECT CAST (value AS INTEGER) FROM property WHERE kind = 1"   \
  "    AND key GLOB '" PROPERTY_BOOKMARK "*'"                                  \
  "    AND CAST (value AS INTEGER) < 1 << 62))"                                \
  " UNION ALL SELECT 'disk', (SELECT max (id) FROM disk)"                      \
  " UNION ALL SELECT 'snapshot', (SELECT max (id) FROM snapshot)"              \
  " UNION ALL SELECT 'content', (SELECT max (id) FROM content))"

/* Is a row of sqlite_sequence neither of these tables nor of a feature's? */
#define CHECK_FOREIGN_SEQUENCE                                                 \
  "(name IS NULL OR (name NOT IN ('layer', 'disk', 'snapshot', 'content')"     \
  "  AND name NOT IN (SELECT name FROM sqlite_schema"                          \
  "   WHERE type = 'table' AND instr (name, '_') > 1)))"

/* Say in PROBLEM which disks and snapshots show the row that it names. */
int check_find_shown (struct check *check, struct connection *connection,
                      struct check_problem *problem, struct status *status);

/* Look at features and properties (check-optional.c). */
int check_optional (struct check *check, struct connection *connection,
                    struct status *status);

/* Read the plan in the transaction of CONNECTION, if it was not yet. */
int check_plan (struct check *check, struct connection *connection,
                struct status *status);
const struct plan_layer *plan_find (const struct plan *plan, int64_t layer);

/* A part of the check, called in a read transaction. */
typedef int (*check_part) (struct check *check, struct connection *connection,
                           struct status *status);

/* All rows but those of blocks and contents. */
int check_rules (struct check *check, struct connection *connection,
                 struct status *status);

/* What lies past the end of the disk whose id comes next; check->next_id
 * moves on.
 */
int check_end (struct check *check, struct connection *connection,
               struct status *status);

/* Some rows from check->next_id on. */
int check_some_blocks (struct check *check, struct connection *connection,
                       struct status *status);
int check_some_contents (struct check *check, struct connection *connection,
                         struct status *status);

/* Some entries of the index of blocks. */
int check_some_index (struct check *check, struct connection *connection,
                      struct status *status);

#endif /* SQLBLOCK_CHECK_PARTS_H */
