/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Layers and blocks that the unit tests make row by row.
 *
 * A row's data is a pattern that depends on its layer, number and
 * generation: so a test can tell which row it was given.
 */

#ifndef SQLBLOCK_TESTS_ROWS_H
#define SQLBLOCK_TESTS_ROWS_H

#include <stdint.h>

#include "rows/layers.h"
#include "unit.h"

/* A database with one disk, which stands on layer 1 of generation 1. */
struct rows {
  char *path;
  uint32_t block_size;
  sqlite3 *db; /* for changes: nothing is checked, see unit_open_raw */
  sqlite3_stmt *put;
  struct connection connection; /* the store's own, for reading */
  struct view view;
  struct status status;
};

void rows_open (struct rows *rows, uint64_t size, uint32_t block_size);
void rows_close (struct rows *rows);

/* Make layer ID, or make it another; with PARENT 0 it has none. */
void rows_layer (struct rows *rows, int64_t id, int64_t parent,
                 int64_t parent_generation, int64_t generation);

/* Put a row, with the right checksum, in the place of one that has the same
 * key: any, one with the pattern, or one of zeroes.
 */
void rows_put (struct rows *rows, int64_t layer, int64_t number,
               int64_t generation, int64_t codec, const void *data,
               size_t length);
void rows_data (struct rows *rows, int64_t layer, int64_t number,
                int64_t generation);
void rows_zero (struct rows *rows, int64_t layer, int64_t number,
                int64_t generation);

/* The pattern of one block, in a buffer that the next call uses again. */
const char *rows_pattern (const struct rows *rows, int64_t layer,
                          int64_t number, int64_t generation);

/* Put the disk on LAYER and look at it as of GENERATION, for 0 as of now:
 * rows->view shows it.
 */
void rows_show (struct rows *rows, int64_t layer, int64_t generation);

/* The disk's view, as the store makes it.  Returns what disks_view does. */
int rows_view (struct rows *rows);

/* Read one block of the view.  Returns what view_read does. */
int rows_read (struct rows *rows, uint64_t number, char *block);

/* Does the view show a block as the row with this key, or for LAYER 0 as
 * zeroes?
 */
void rows_expect (struct rows *rows, uint64_t number, int64_t layer,
                  int64_t generation);

#endif /* SQLBLOCK_TESTS_ROWS_H */
