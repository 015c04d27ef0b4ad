/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Layers: where blocks are, and which of their rows a view sees.
 *
 * A view is what a disk or a snapshot looks like at one moment: a list of
 * layers, the disk's own first, each as of a generation.  A block is the
 * row with the highest generation that the view may see in the first layer
 * that has one; where no layer has one it is zeroes.
 *
 *               number   0    1    2    3    4    5
 *   layer 7 as of 4:     3    -    2z   -    -    -      z: zeroes
 *   layer 5 as of 9:     8    6    9    -    1z   -
 *   the view shows       3    6    zero zero zero zero
 *
 * All functions run inside the transaction in which the view was made.
 */

#ifndef SQLBLOCK_LAYERS_H
#define SQLBLOCK_LAYERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "base/types.h"
#include "rows/columns.h"
#include "status.h"

/* More than any id that this program gives. */
#define ID_END (INT64_C (1) << 62)

/* The generations of layers: what a layer without a parent begins with, and
 * one with a parent, whose generation 1 is what it took over from there.
 */
#define GENERATION_FIRST 1
#define GENERATION_TAKEN 1
#define GENERATION_CHILD 2

/* A layer as it was at a generation: the rows of it that are not newer.  What
 * a view shows begins at such a point.
 */
struct layer_point {
  int64_t layer;
  int64_t generation;
};

/* What view_extents has found out beyond what was asked for: the next request
 * in the same transaction often goes on there.
 */
struct view_ahead {
  uint64_t first; /* block */
  uint32_t count; /* blocks from `first` on; 0: nothing is known */
  uint8_t *map;   /* as view_map fills it */
};

struct cipher_key;

struct view {
  uint64_t size;           /* bytes */
  uint32_t block_size;     /* bytes */
  struct storing storing;  /* if it is a disk; */
  enum disk_access access; /* and what may be done with it */
  bool encrypted;          /* if it is a disk; its rows must be */
  const struct cipher_key
      *key; /* its blocks are encrypted with this, or NULL */
  struct layer_point *layers;
  size_t depth;    /* how many layers */
  size_t capacity; /* room for how many; kept from one use to the next */
  struct view_ahead ahead;
};

/* Free what a view holds; a view of all zeroes is a valid empty one. */
void view_free (struct view *view);

/* Are COUNT bytes from OFFSET on inside the disk as it is now?  Its client
 * asks by the size that it had when he came, and it may have shrunk since.
 * Returns 0, or -1 and ERROR.
 */
int view_check_range (const struct view *view, uint64_t offset, uint64_t count,
                      int error, struct status *status);

/* Make a layer over PARENT, or for NULL one without a parent; its id goes
 * to *ID.  Inside a write transaction of the caller.  Returns 0, or -1.
 */
int layer_create (struct connection *connection,
                  const struct layer_point *parent, int64_t *id,
                  struct status *status);

/* Have LAYER's new rows carry GENERATION.  Inside a write transaction of
 * the caller.  Returns 0, or -1.
 */
int layer_set_generation (struct connection *connection, int64_t layer,
                          int64_t generation, struct status *status);

/* Give LAYER another parent, or for NULL none.  Inside a write transaction
 * of the caller.  Returns 0, or -1.
 */
int layer_set_parent (struct connection *connection, int64_t layer,
                      const struct layer_point *parent, struct status *status);

/* Put LAYER into the table `reclaim` (reclaim.h): something that looked at it
 * is gone.  Inside a write transaction of the caller.
 */
int reclaim_add (struct connection *connection, int64_t layer,
                 struct status *status);

/* Put all layers into the table at which nothing but a child looks: by what
 * was written since, that may hide more of them.  Inside a write transaction
 * of the caller.
 */
int reclaim_add_hidden (struct connection *connection, struct status *status);

/* Take LAYER out of it again.  Inside a write transaction of the caller. */
int reclaim_drop (struct connection *connection, int64_t layer,
                  struct status *status);

/* SQL that puts the layers that a SELECT returns into the table. */
#define RECLAIM_ADD(select)                                                    \
  "INSERT INTO reclaim (layer, number, generation)"                            \
  " SELECT layer, 0, 0 FROM (" select ") WHERE TRUE"                           \
  " ON CONFLICT (layer) DO UPDATE SET number = 0, generation = 0"

/* Remove LAYER, which is empty and at which nothing looks any more, also from
 * the table.  Inside a write transaction of the caller, who has called
 * quota_follow_layer.  Returns 0, or -1.
 */
int layer_remove (struct connection *connection, int64_t layer,
                  struct status *status);

/* How many rows of layers are damaged, as disks_count_damaged. */
int layers_count_damaged (struct connection *connection, int64_t *count,
                          struct status *status);

/* Is there a row of NUMBER in LAYER of at most GENERATION?  Returns 1, 0,
 * -1.
 */
int layer_has_row (struct connection *connection, int64_t layer, int64_t number,
                   int64_t generation, struct status *status);

/* Bind where a row is as ?1, ?2 and ?3. */
void row_bind (sqlite3_stmt *statement, int64_t layer, int64_t number,
               int64_t generation);

/* The id for the next new row.  Ids must not go back, even after the highest
 * rows were deleted: snapshots remember how far they had come.  Inside a
 * write transaction of the caller.  Returns 0, or -1.
 */
int row_next_id (struct connection *connection, int64_t *id,
                 struct status *status);

/* Fill the layers of VIEW: LAYER as of GENERATION, or for 0 as it is now,
 * and its parents.  Returns 0, or -1: EIO for layers that make no sense.
 */
int view_layers (struct connection *connection, int64_t layer,
                 int64_t generation, struct view *view, struct status *status);

/* The number of blocks of a disk, the last one perhaps partial. */
uint64_t view_blocks (const struct view *view);

/* Read COUNT bytes at byte OFFSET into BUFFER.  The range lies inside the
 * disk, its last block counted whole.  Every row used is checked against
 * its checksum.  Returns 0, or -1 (EIO for a damaged block).
 */
int view_read (struct connection *connection, const struct view *view,
               void *buffer, uint64_t offset, uint64_t count,
               struct status *status);

/* Put COUNT blocks from block FIRST into BUFFER as they are stored (packed.h),
 * which has room for them, or for NULL only find out how long that is; their
 * bytes go to *LENGTH.  Every row that is put there is checked against its
 * checksum.  Returns 0, or -1 as view_read.
 */
int view_pack (struct connection *connection, const struct view *view,
               uint64_t first, uint32_t count, void *buffer, size_t *length,
               struct status *status);

/* Read the rows that a write of the blocks FIRST to LAST to the disk that VIEW
 * shows will overwrite, so that their pages are in memory.  Returns 0, or -1.
 */
int view_prefetch (struct connection *connection, const struct view *view,
                   uint64_t first, uint64_t last, struct status *status);

/* For each of COUNT blocks from block FIRST, set MAP to 1 where the view
 * has data and 0 where it has zeroes.  Reads indexes only, not the data.
 */
int view_map (struct connection *connection, const struct view *view,
              uint64_t first, uint32_t count, uint8_t *map,
              struct status *status);

/* For each of COUNT blocks from block FIRST, say which row the view shows:
 * two views that show the same row have the same bytes.  Where it shows
 * zeroes, the layer is 0.  Reads indexes only, not the data.
 */
int view_rows (struct connection *connection, const struct view *view,
               uint64_t first, uint32_t count, struct layer_point *rows,
               struct status *status);

/* Which row a view shows of a block, and what is in it.  Where two are equal
 * the bytes are.  The layer is 0 where there is no row.
 */
struct row_version {
  int64_t layer, generation, checksum;
};

/* The version of block NUMBER. */
int view_version (struct connection *connection, const struct view *view,
                  uint64_t number, struct row_version *version,
                  struct status *status);

/* The first block from FIRST on that has any row in any layer of the view,
 * whether seen or not, or END where there is none before END.
 */
int view_next_row (struct connection *connection, const struct view *view,
                   uint64_t first, uint64_t end, uint64_t *number,
                   struct status *status);

/* The block with the ROWS-th row from block FIRST on, in whichever layer
 * comes to it first; END where there are fewer before END.
 */
int view_row_limit (struct connection *connection, const struct view *view,
                    uint64_t first, uint64_t end, uint32_t rows,
                    uint64_t *number, struct status *status);

/* The end of a part of the blocks from FIRST to before END in which the layers
 * of the view, all together, have at most ROWS rows: END where that is so of
 * all; FIRST where the part would be empty.  Bounds the work of one step over
 * a range; reads a few times as many entries of the index.
 */
int view_part_end (struct connection *connection, const struct view *view,
                   uint64_t first, uint64_t end, uint32_t rows,
                   uint64_t *number, struct status *status);

/* Call FOUND for each extent of COUNT bytes at byte OFFSET, in order, until
 * it fails or enough was said: with ONE after the first extent, else after
 * a bounded amount of work, but never before the first.  Neighbouring
 * extents differ in kind.  What FOUND gets is clipped to the range.
 * Cost: the rows of the extents reported, not those of the range.
 */
int view_extents (struct connection *connection, struct view *view,
                  uint64_t offset, uint64_t count, bool one, extent_found found,
                  void *opaque, struct status *status);

#endif /* SQLBLOCK_LAYERS_H */
