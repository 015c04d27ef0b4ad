/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a view sees of layers, generations and zeroes, and what it costs.
 *
 * The rows are made by SQL, see rows.h.  Costs are counted in steps of
 * SQLite's virtual machine, not in time.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "rows.h"

#include "rows/database.h"

/* What view_read, view_map and view_extents do at a time, in blocks: the
 * limits of layers.c, past which these tests go.
 */
#define READ_BLOCKS 8192
#define MAP_TOTAL   1048576

/*--------------------------------------------------------------------
 * Reading blocks.
 */

static void
test_single_layer (void **state)
{
  struct rows rows;

  (void)state;
  rows_open (&rows, 10 * 4096, 4096);
  rows_data (&rows, 1, 0, 1);
  rows_data (&rows, 1, 3, 1);
  rows_data (&rows, 1, 9, 1);
  rows_zero (&rows, 1, 5, 1);
  for (int number = 0; number < 10; number++)
    rows_expect (&rows, number, number % 3 || number == 6 ? 0 : 1, 1);
  rows_close (&rows);
}

/* A block of generations 1, 3 and 5, and zeroes in 4, seen from each. */
static void
test_generations (void **state)
{
  static const int seen[] = { 0, 1, 1, 3, 0, 5, 5, 5 };
  struct rows rows;

  (void)state;
  rows_open (&rows, 10 * 512, 512);
  rows_layer (&rows, 1, 0, 0, 7);
  for (int number = 2; number < 7; number += 2) {
    rows_data (&rows, 1, number, 1);
    rows_data (&rows, 1, number, 3);
    rows_zero (&rows, 1, number, 4);
    rows_data (&rows, 1, number, 5);
  }
  for (int generation = 1; generation <= 7; generation++) {
    rows_show (&rows, 1, generation);
    for (int number = 0; number < 10; number++)
      rows_expect (&rows, number,
                   number >= 2 && number < 7 && number % 2 == 0 &&
                       seen[generation],
                   seen[generation]);
  }
  rows_close (&rows);
}

/* Rows that are newer than what the view may see, also of a number that
 * has no other, do not show.
 */
static void
test_newer_rows (void **state)
{
  struct rows rows;

  (void)state;
  rows_open (&rows, 10 * 512, 512);
  rows_layer (&rows, 1, 0, 0, 50);
  rows_data (&rows, 1, 4, 10);
  for (int generation = 11; generation <= 50; generation++) {
    rows_data (&rows, 1, 3, generation);
    rows_data (&rows, 1, 4, generation);
    rows_zero (&rows, 1, 5, generation);
  }
  rows_show (&rows, 1, 10);
  rows_expect (&rows, 3, 0, 0);
  rows_expect (&rows, 4, 1, 10);
  rows_expect (&rows, 5, 0, 0);
  rows_show (&rows, 1, 9);
  rows_expect (&rows, 4, 0, 0);
  rows_close (&rows);
}

/* The picture in schema.sql and layers.h: a layer on a parent as of a
 * generation, which goes on being written.
 */
static void
test_parent (void **state)
{
  struct rows rows;

  (void)state;
  rows_open (&rows, 10 * 1024, 1024);
  rows_layer (&rows, 5, 0, 0, 12);
  rows_layer (&rows, 7, 5, 9, 4);
  rows_data (&rows, 7, 0, 1);
  rows_data (&rows, 7, 0, 3);
  rows_zero (&rows, 7, 1, 2);
  rows_data (&rows, 5, 0, 2);
  rows_data (&rows, 5, 1, 2);
  rows_data (&rows, 5, 2, 8);
  rows_data (&rows, 5, 2, 11);
  rows_data (&rows, 5, 4, 10);
  rows_zero (&rows, 5, 6, 9);
  rows_show (&rows, 7, 0);
  assert_int_equal (rows.view.depth, 2);
  rows_expect (&rows, 0, 7, 3);
  rows_expect (&rows, 1, 0, 0);
  rows_expect (&rows, 2, 5, 8);
  for (int number = 3; number < 10; number++)
    rows_expect (&rows, number, 0, 0);
  rows_show (&rows, 7, 1);
  rows_expect (&rows, 0, 7, 1);
  rows_expect (&rows, 1, 5, 2);
  rows_show (&rows, 5, 0);
  rows_expect (&rows, 2, 5, 11);
  rows_expect (&rows, 4, 5, 10);
  rows_close (&rows);
}

/* Is COUNT bytes at OFFSET of the view what EXPECTED, all of the disk, has
 * there?
 */
static void
check_read (struct rows *rows, const char *expected, uint64_t offset,
            uint64_t count)
{
  char *got = malloc (count + 1);

  assert_non_null (got);
  memset (got, 'x', count);
  got[count] = 'y';
  assert_ok (view_read (&rows->connection, &rows->view, got, offset, count,
                        &rows->status),
             &rows->status);
  if (memcmp (got, expected + offset, count) != 0)
    fail_msg ("%" PRIu64 " bytes at offset %" PRIu64 " are wrong", count,
              offset);
  assert_int_equal (got[count], 'y');
  free (got);
}

/* Reads in, at and across the edges of blocks. */
static void
test_parts_of_blocks (void **state)
{
  static const int places[] = { 0, 1, 511, 512, 513, 1024, 1535, 1536, 2047 };
  const size_t count = sizeof places / sizeof places[0];
  char expected[4 * 512] = { 0 };
  struct rows rows;

  (void)state;
  rows_open (&rows, sizeof expected, 512);
  rows_layer (&rows, 1, 0, 0, 2);
  rows_data (&rows, 1, 0, 1);
  rows_data (&rows, 1, 1, 2);
  rows_data (&rows, 1, 3, 1);
  memcpy (expected, rows_pattern (&rows, 1, 0, 1), 512);
  memcpy (expected + 512, rows_pattern (&rows, 1, 1, 2), 512);
  memcpy (expected + 3 * 512, rows_pattern (&rows, 1, 3, 1), 512);
  rows_show (&rows, 1, 0);
  for (size_t i = 0; i < count; i++)
    for (size_t j = i; j < count; j++)
      check_read (&rows, expected, places[i], places[j] - places[i] + 1);
  rows_close (&rows);
}

/* A read so long that view_read takes it in parts, with rows on both sides
 * of the seams, whatever the offset.
 */
static void
test_long_read (void **state)
{
  const uint64_t blocks = 2 * READ_BLOCKS + 100;
  char *expected = calloc (blocks, 512);
  struct rows rows;

  (void)state;
  assert_non_null (expected);
  rows_open (&rows, blocks * 512, 512);
  rows_layer (&rows, 2, 1, 1, 1);
  unit_sql (rows.db, "BEGIN");
  for (uint64_t number = 0; number < blocks; number++)
    if (number % READ_BLOCKS < 5 || number % READ_BLOCKS > READ_BLOCKS - 5 ||
        number % 77 == 0) {
      const int layer = 1 + number % 2;

      rows_data (&rows, layer, number, 1);
      memcpy (expected + number * 512, rows_pattern (&rows, layer, number, 1),
              512);
    }
  unit_sql (rows.db, "COMMIT");
  rows_show (&rows, 2, 0);
  check_read (&rows, expected, 0, blocks * 512);
  check_read (&rows, expected, 1, blocks * 512 - 1);
  check_read (&rows, expected, 511, blocks * 512 - 1022);
  check_read (&rows, expected, 700, READ_BLOCKS * 512);
  check_read (&rows, expected, 512, (READ_BLOCKS - 1) * 512);
  check_read (&rows, expected, 512, (READ_BLOCKS - 1) * 512 + 1);
  rows_close (&rows);
  free (expected);
}

/*--------------------------------------------------------------------
 * Extents.
 */

/* What an extent_found was told. */
struct extents {
  uint64_t start, end; /* the range asked for, in bytes */
  uint64_t at;         /* how far it was told, in bytes */
  size_t count;
  bool hole; /* of the last */
  /* If not NULL, what is data, one byte for each block. */
  const uint8_t *map;
  uint32_t block_size;
};

/* Each extent begins where the last one ended, is of another kind, lies in
 * the range, and is right.
 */
static int
check_extent (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  struct extents *extents = opaque;

  assert_int_equal (offset, extents->at);
  assert_true (count > 0);
  assert_true (count <= extents->end - offset);
  assert_true (extents->count == 0 || hole != extents->hole);
  extents->at = offset + count;
  extents->hole = hole;
  extents->count++;
  if (extents->map)
    for (uint64_t i = offset / extents->block_size;
         i <= (offset + count - 1) / extents->block_size; i++)
      assert_int_equal (extents->map[i] == 0, hole);
  return 0;
}

/* The extents of a range; returns where the last one ended.  MAP may be
 * NULL.
 */
static uint64_t
check_extents (struct rows *rows, const uint8_t *map, uint64_t offset,
               uint64_t count, bool one, struct extents *extents)
{
  *extents = (struct extents){
    .start = offset,
    .end = offset + count,
    .at = offset,
    .map = map,
    .block_size = rows->block_size,
  };
  assert_ok (view_extents (&rows->connection, &rows->view, offset, count, one,
                           check_extent, extents, &rows->status),
             &rows->status);
  assert_true (extents->count > 0);
  if (one)
    assert_int_equal (extents->count, 1);
  return extents->at;
}

static int
fail_extent (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  int *left = opaque;

  (void)offset;
  (void)count;
  (void)hole;
  return (*left)-- > 0 ? 0 : -1;
}

static void
test_extents (void **state)
{
  const uint8_t map[12] = { 1, 1, 0, 0, 1, 0, 0, 0, 1, 1, 1, 0 };
  const uint64_t size = 12 * 4096 - 100;
  struct extents extents;
  struct rows rows;

  (void)state;
  rows_open (&rows, size, 4096);
  rows_layer (&rows, 2, 1, 1, 2);
  for (int number = 0; number < 12; number++)
    if (map[number])
      rows_data (&rows, 1 + number % 2, number, 1);
  rows_data (&rows, 1, 6, 1);
  rows_zero (&rows, 2, 6, 1);
  rows_data (&rows, 1, 5, 2);
  rows_show (&rows, 2, 0);

  assert_int_equal (check_extents (&rows, map, 0, size, false, &extents), size);
  assert_int_equal (extents.count, 6);
  assert_int_equal (check_extents (&rows, map, 0, size, true, &extents),
                    2 * 4096);
  assert_int_equal (
      check_extents (&rows, map, 5000, size - 5000, true, &extents), 2 * 4096);
  assert_int_equal (check_extents (&rows, map, 9000, 1, false, &extents), 9001);
  assert_int_equal (
      check_extents (&rows, map, 3 * 4096 + 7, 4096, false, &extents),
      4 * 4096 + 7);
  assert_int_equal (extents.count, 2);
  assert_int_equal (
      check_extents (&rows, map, 5 * 4096, size - 5 * 4096, true, &extents),
      8 * 4096);
  rows_close (&rows);
}

/* When FOUND fails, so does the call, whichever extent it was. */
static void
test_extents_fail (void **state)
{
  struct rows rows;

  (void)state;
  rows_open (&rows, 12 * 4096, 4096);
  rows_data (&rows, 1, 3, 1);
  for (int good = 0; good < 3; good++) {
    int left = good;

    assert_fails (view_extents (&rows.connection, &rows.view, 0, 12 * 4096,
                                false, fail_extent, &left, &rows.status),
                  &rows.status, ENOMEM, "out of memory");
  }
  rows_close (&rows);
}

/* Where there is too much work for one call, it stops early, and repeated
 * calls come to the end.
 */
static void
test_extents_stop_early (void **state)
{
  const uint64_t step = 200, blocks = 30000 * step;
  uint8_t *map = calloc (blocks, 1);
  uint64_t at = 0;
  struct extents extents;
  struct rows rows;
  int calls = 0;

  (void)state;
  assert_non_null (map);
  rows_open (&rows, blocks * 512, 512);
  for (uint64_t number = 0; number < blocks; number += step) {
    rows_data (&rows, 1, number, 1);
    map[number] = 1;
  }
  while (at < blocks * 512) {
    at = check_extents (&rows, map, at, blocks * 512 - at, false, &extents);
    calls++;
  }
  assert_uint_in_range (calls, 2, blocks / MAP_TOTAL + 2);
  rows_close (&rows);
  free (map);
}

/* The largest disk there can be: its last block ends at byte 2^63. */
static void
check_largest (uint32_t block_size)
{
  const uint64_t size = INT64_MAX;
  const uint64_t last = (size - 1) / block_size;
  struct extents extents;
  struct rows rows;
  uint8_t map[2];
  char bytes[2];

  rows_open (&rows, size, block_size);
  assert_int_equal (view_blocks (&rows.view), last + 1);
  rows_data (&rows, 1, last, 1);
  rows_expect (&rows, last, 1, 1);
  rows_expect (&rows, last - 1, 0, 0);
  assert_ok (view_read (&rows.connection, &rows.view, bytes, size - 2, 2,
                        &rows.status),
             &rows.status);
  assert_memory_equal (bytes, rows_pattern (&rows, 1, last, 1) + block_size - 3,
                       2);
  assert_ok (
      view_map (&rows.connection, &rows.view, last - 1, 2, map, &rows.status),
      &rows.status);
  assert_memory_equal (map, "\0\1", 2);
  assert_int_equal (check_extents (&rows, NULL, 0, size, false, &extents),
                    size);
  assert_int_equal (extents.count, 2);
  assert_int_equal (check_extents (&rows, NULL, 0, size, true, &extents),
                    last * block_size);
  assert_int_equal (check_extents (&rows, NULL, size - 1, 1, true, &extents),
                    size);
  assert_false (extents.hole);
  rows_close (&rows);
}

static void
test_largest_disk (void **state)
{
  (void)state;
  check_largest (512);
  check_largest (4096);
  check_largest (1048576);
}

/*--------------------------------------------------------------------
 * A random comparison with a model that looks at every row.
 */

#define LAYERS      6
#define GENERATIONS 8
#define BLOCKS      300

struct model {
  uint64_t random;
  struct rows rows;
  uint64_t blocks;
  int64_t parent[LAYERS + 1];            /* of each layer, or 0 */
  int64_t parent_generation[LAYERS + 1]; /* what is seen of it */
  int64_t generation[LAYERS + 1];
  char kind[LAYERS + 1][BLOCKS][GENERATIONS + 1]; /* 'd', 'z' or 0 */
};

/* The row that shows, as its layer and generation; layer 0 for none. */
static void
model_find (const struct model *model, uint64_t number, int64_t *layer,
            int64_t *generation)
{
  const struct view *view = &model->rows.view;
  int64_t at = *layer, as_of = *generation;

  /* The view must be made of the layers that the model has. */
  for (size_t i = 0; at != 0; i++) {
    assert_true (i < view->depth);
    assert_int_equal (view->layers[i].layer, at);
    for (*generation = as_of; *generation > 0; --*generation)
      if (model->kind[at][number][*generation]) {
        *layer = model->kind[at][number][*generation] == 'd' ? at : 0;
        return;
      }
    as_of = model->parent_generation[at];
    at = model->parent[at];
  }
  *layer = 0;
}

static void
model_make_layers (struct model *model)
{
  for (int layer = 1; layer <= LAYERS; layer++) {
    const int64_t parent = random_below (&model->random, layer);

    model->parent[layer] = parent;
    model->parent_generation[layer] =
        parent ? 1 + (int64_t)random_below (&model->random,
                                            model->generation[parent])
               : 0;
    model->generation[layer] = 1 + random_below (&model->random, GENERATIONS);
    rows_layer (&model->rows, layer, parent, model->parent_generation[layer],
                model->generation[layer]);
  }
}

/* Rows, in some rounds many and in others few. */
static void
model_make_rows (struct model *model)
{
  const int one_in = 1 << random_below (&model->random, 7);

  unit_sql (model->rows.db, "BEGIN");
  for (int layer = 1; layer <= LAYERS; layer++)
    for (uint64_t number = 0; number < model->blocks; number++)
      for (int g = 1; g <= model->generation[layer]; g++) {
        if (random_below (&model->random, one_in) != 0)
          continue;
        if (random_below (&model->random, 3) == 0) {
          model->kind[layer][number][g] = 'z';
          rows_zero (&model->rows, layer, number, g);
        }
        else {
          model->kind[layer][number][g] = 'd';
          rows_data (&model->rows, layer, number, g);
        }
      }
  unit_sql (model->rows.db, "COMMIT");
}

/* The whole disk as the model sees it; the last block is whole. */
static void
model_disk (const struct model *model, int64_t layer, int64_t generation,
            char *disk, uint8_t *map)
{
  const uint32_t block_size = model->rows.block_size;

  for (uint64_t number = 0; number < model->blocks; number++) {
    int64_t from = layer, as_of = generation;

    model_find (model, number, &from, &as_of);
    map[number] = from != 0;
    if (from)
      memcpy (disk + number * block_size,
              rows_pattern (&model->rows, from, number, as_of), block_size);
    else
      memset (disk + number * block_size, 0, block_size);
  }
}

/* view_row_limit by looking at every row. */
static uint64_t
model_row_limit (const struct model *model, uint64_t first, uint64_t end,
                 uint32_t limit)
{
  uint64_t result = end;

  for (size_t i = 0; i < model->rows.view.depth; i++) {
    const int64_t layer = model->rows.view.layers[i].layer;
    uint32_t count = 0;

    for (uint64_t number = first; number < end; number++)
      for (int g = 1; g <= GENERATIONS; g++)
        if (model->kind[layer][number][g] && ++count == limit &&
            number < result)
          result = number;
  }
  return result;
}

/* A random range below END: its start, and its length. */
static uint64_t
random_range (struct model *model, uint64_t end, uint64_t *count)
{
  const uint64_t first = random_below (&model->random, end);

  *count = 1 + random_below (&model->random, end - first);
  return first;
}

static void
model_check_limit (struct model *model)
{
  struct rows *rows = &model->rows;
  const uint32_t limit = 1 + random_below (&model->random, 40);
  uint64_t count, number;
  const uint64_t first = random_range (model, model->blocks, &count);
  const uint64_t end = first + count;

  assert_ok (view_row_limit (&rows->connection, &rows->view, first, end, limit,
                             &number, &rows->status),
             &rows->status);
  assert_int_equal (number, model_row_limit (model, first, end, limit));
  assert_ok (view_next_row (&rows->connection, &rows->view, first, end, &number,
                            &rows->status),
             &rows->status);
  assert_int_equal (number, model_row_limit (model, first, end, 1));
}

/* How many rows all layers have of the blocks from FIRST to before END. */
static uint32_t
model_rows (const struct model *model, uint64_t first, uint64_t end)
{
  uint32_t count = 0;

  for (size_t i = 0; i < model->rows.view.depth; i++)
    for (uint64_t number = first; number < end; number++)
      for (int g = 1; g <= GENERATIONS; g++)
        count += model->kind[model->rows.view.layers[i].layer][number][g] != 0;
  return count;
}

/* A part never has too many rows, is all that is asked for if that has not,
 * and else has at least a layer's share, unless one more block is too much.
 */
static void
model_check_part (struct model *model)
{
  struct rows *rows = &model->rows;
  const uint32_t most = 1 + random_below (&model->random, 80);
  uint64_t count, number;
  const uint64_t first = random_range (model, model->blocks, &count);
  const uint64_t end = first + count;

  assert_ok (view_part_end (&rows->connection, &rows->view, first, end, most,
                            &number, &rows->status),
             &rows->status);
  assert_true (number >= first && number <= end);
  assert_true (model_rows (model, first, number) <= most);
  assert_int_equal (number == end, model_rows (model, first, end) <= most);
  assert_true (number == end ||
               model_rows (model, first, number + 1) > most / rows->view.depth);
}

/* Compare a view with the model. */
static void
model_check_view (struct model *model, const char *disk, const uint8_t *map)
{
  struct rows *rows = &model->rows;
  const uint64_t bytes = model->blocks * rows->block_size;
  const uint64_t size = rows->view.size;
  uint8_t got[BLOCKS];
  uint64_t first, count;
  struct extents extents;

  check_read (rows, disk, 0, bytes);
  assert_int_equal (check_extents (rows, map, 0, size, false, &extents), size);
  for (int i = 0; i < 6; i++) {
    first = random_range (model, bytes, &count);
    check_read (rows, disk, first, count);

    first = random_range (model, model->blocks, &count);
    assert_ok (view_map (&rows->connection, &rows->view, first, count, got,
                         &rows->status),
               &rows->status);
    assert_memory_equal (got, map + first, count);

    first = random_range (model, size, &count);
    assert_int_equal (check_extents (rows, map, first, count, false, &extents),
                      first + count);
    check_extents (rows, map, first, count, true, &extents);
    if (extents.at < first + count)
      assert_int_not_equal (map[extents.at / rows->block_size],
                            map[extents.at / rows->block_size - 1]);
    model_check_limit (model);
    model_check_part (model);
  }
}

static void
model_round (struct model *model)
{
  const uint32_t block_size = 512 << random_below (&model->random, 3);
  char *disk;
  uint8_t map[BLOCKS];

  model->blocks = 1 + random_below (&model->random, BLOCKS);
  rows_open (&model->rows,
             model->blocks * block_size -
                 random_below (&model->random, block_size),
             block_size);
  disk = malloc (model->blocks * block_size);
  assert_non_null (disk);
  model_make_layers (model);
  model_make_rows (model);
  for (int64_t layer = 1; layer <= LAYERS; layer++)
    for (int64_t g = 1; g <= model->generation[layer]; g++) {
      rows_show (&model->rows, layer, g);
      model_disk (model, layer, g, disk, map);
      model_check_view (model, disk, map);
    }
  rows_close (&model->rows);
  free (disk);
}

static void
test_model (void **state)
{
  static struct model model;
  uint64_t seed = unit_seed ();

  (void)state;
  for (int round = 0; round < 40; round++) {
    memset (&model, 0, sizeof model);
    model.random = random_next (&seed);
    model_round (&model);
  }
}

/*--------------------------------------------------------------------
 * Costs.
 */

/* The steps that the statements of the view's connection took since the
 * last call.
 */
static uint64_t
steps (struct rows *rows)
{
  uint64_t sum = 0;

  for (int i = 0; i < CONNECTION_STATEMENTS; i++)
    if (rows->connection.statements[i].statement)
      sum += sqlite3_stmt_status (rows->connection.statements[i].statement,
                                  SQLITE_STMTSTATUS_VM_STEP, 1);
  return sum;
}

/* What each kind of look at all blocks of a view costs. */
struct costs {
  uint64_t read, map, extents, next_row;
};

static struct costs
costs (struct rows *rows, uint64_t blocks)
{
  const uint64_t bytes = blocks * rows->block_size;
  char *buffer = malloc (bytes);
  uint8_t *map = malloc (blocks);
  struct extents extents;
  struct costs costs;
  uint64_t number;

  assert_non_null (buffer);
  assert_non_null (map);
  steps (rows);
  assert_ok (view_read (&rows->connection, &rows->view, buffer, 0, bytes,
                        &rows->status),
             &rows->status);
  costs.read = steps (rows);
  assert_ok (
      view_map (&rows->connection, &rows->view, 0, blocks, map, &rows->status),
      &rows->status);
  costs.map = steps (rows);
  check_extents (rows, NULL, 0, bytes, false, &extents);
  costs.extents = steps (rows);
  assert_ok (view_next_row (&rows->connection, &rows->view, blocks / 2, blocks,
                            &number, &rows->status),
             &rows->status);
  costs.next_row = steps (rows);
  free (buffer);
  free (map);
  return costs;
}

/* Each cost may be at most TIMES the other. */
static void
assert_costs (const struct costs *costs, const struct costs *other, int times)
{
  print_message ("steps: read %" PRIu64 ", map %" PRIu64 ", extents %" PRIu64
                 ", next row %" PRIu64 "\n",
                 costs->read, costs->map, costs->extents, costs->next_row);
  assert_uint_in_range (costs->read, 1, times * other->read);
  assert_uint_in_range (costs->map, 1, times * other->map);
  assert_uint_in_range (costs->extents, 1, times * other->extents);
  assert_uint_in_range (costs->next_row, 1, times * other->next_row);
}

/* Give 64 blocks rows of the generations FIRST to LAST, every fourth block
 * zeroes.  Their data is wrong, so they must not be looked at.
 */
static void
make_generations (struct rows *rows, int first, int last)
{
  unit_sql (rows->db,
            "WITH RECURSIVE"
            " n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 63),"
            " g (g) AS (SELECT %d UNION ALL SELECT g + 1 FROM g WHERE g < %d)"
            " INSERT INTO block"
            " (layer, number, generation, codec, checksum, data)"
            " SELECT 1, n, g, n %% 4 <> 3, 0, iif (n %% 4 <> 3, x'00', NULL)"
            " FROM g, n",
            first, last);
}

static void
put_good_generation (struct rows *rows, int generation)
{
  for (int number = 0; number < 64; number++)
    if (number % 4 == 3)
      rows_zero (rows, 1, number, generation);
    else
      rows_data (rows, 1, number, generation);
}

/* What it costs to see the blocks as of GENERATION, which gets right rows. */
static struct costs
costs_as_of (struct rows *rows, int generation)
{
  put_good_generation (rows, generation);
  rows_show (rows, 1, generation);
  rows_expect (rows, 0, 1, generation);
  rows_expect (rows, 3, 0, 0);
  rows_expect (rows, 62, 1, generation);
  return costs (rows, 64);
}

/* With 10,001 generations of each block the oldest, an old one and the head
 * cost what they cost with 21.
 */
static void
test_many_generations (void **state)
{
  struct costs oldest, old, head, many;
  struct rows rows;

  (void)state;
  rows_open (&rows, 64 * 512, 512);
  rows_layer (&rows, 1, 0, 0, 21);
  make_generations (&rows, 1, 21);
  oldest = costs_as_of (&rows, 1);
  old = costs_as_of (&rows, 11);
  head = costs_as_of (&rows, 21);

  rows_layer (&rows, 1, 0, 0, 10001);
  make_generations (&rows, 22, 10001);
  many = costs_as_of (&rows, 1);
  assert_costs (&many, &oldest, 1);
  many = costs_as_of (&rows, 11);
  assert_costs (&many, &old, 1);
  many = costs_as_of (&rows, 5000);
  assert_costs (&many, &old, 1);
  many = costs_as_of (&rows, 10001);
  assert_costs (&many, &head, 1);
  rows_close (&rows);
}

/* Open the database anew, with statistics that it has now: that is refused,
 * or the look-ups cost what they did.
 */
static void
check_with_statistics (struct rows *rows, const struct costs *before)
{
  struct costs after;

  connection_close (&rows->connection);
  if (database_open (&rows->connection, rows->path, CONNECTION_READ, NULL,
                     &rows->status) == -1) {
    assert_fails (-1, &rows->status, EINVAL, "sqlite_stat");
    return;
  }
  rows_show (rows, 1, 0);
  rows_expect (rows, 62, 1, 100);
  after = costs (rows, 64);
  assert_costs (&after, before, 2);
}

/* Statistics, true ones or lies, do not lead the look-ups astray. */
static void
test_statistics (void **state)
{
  static const char *const lies[] = {
    "'block', 'block_zero', '1 1 1 1'",
    "'block', 'block_by_number', '1000000000 1000000000 1000000000 1000000000'",
    "'block', NULL, '1'",
    "'block', 'block_by_number', '1000 1000 2 1 noskipscan sz=1000000'",
    "'block', 'block_by_number', '-5 x'",
    "'block', 'block_zero', '1000000 1000000 1000000 1000000 unordered'",
    "'block', 'block_by_number', '1000000 1000000 1000000 1000000 unordered'",
  };
  struct costs before;
  struct rows rows;

  (void)state;
  rows_open (&rows, 64 * 512, 512);
  rows_layer (&rows, 1, 0, 0, 100);
  make_generations (&rows, 1, 99);
  put_good_generation (&rows, 100);
  rows_show (&rows, 1, 0);
  before = costs (&rows, 64);
  unit_sql (rows.db, "ANALYZE");
  check_with_statistics (&rows, &before);
  for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
    print_message ("sqlite_stat1: %s\n", lies[i]);
    unit_sql (rows.db,
              "DELETE FROM sqlite_stat1; INSERT INTO sqlite_stat1 VALUES (%s)",
              lies[i]);
    check_with_statistics (&rows, &before);
  }
  rows_close (&rows);
}

/* One extent costs the rows near it, not those of the range; a hole costs
 * nothing.
 */
static void
test_one_extent (void **state)
{
  const uint64_t size = UINT64_C (1) << 40;
  struct extents extents;
  struct rows rows;

  (void)state;
  rows_open (&rows, size, 512);
  unit_sql (rows.db, "WITH RECURSIVE"
                     " n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n"
                     " WHERE n < 100000)"
                     " INSERT INTO block"
                     " (layer, number, generation, codec, checksum, data)"
                     " SELECT 1, n, 1, 1, 0, x'00' FROM n WHERE n <> 11");
  steps (&rows);
  assert_int_equal (check_extents (&rows, NULL, 0, size, true, &extents), 512);
  assert_true (extents.hole);
  assert_uint_in_range (steps (&rows), 1, 5000);
  rows_show (&rows, 1, 0);
  assert_int_equal (
      check_extents (&rows, NULL, 512, size - 512, true, &extents), 11 * 512);
  assert_uint_in_range (steps (&rows), 1, 5000);
  assert_int_equal (check_extents (&rows, NULL, 100001 * 512,
                                   size - 100001 * 512, false, &extents),
                    size);
  assert_true (extents.hole);
  assert_uint_in_range (steps (&rows), 1, 100);
  rows_close (&rows);
}

/* Who asks for one extent after the other: what is already known is not asked
 * of the database again.
 */
static void
test_extents_in_turn (void **state)
{
  const uint64_t size = 100000 * 512;
  struct extents extents;
  struct rows rows;
  uint64_t at = 0;
  int calls = 0;

  (void)state;
  rows_open (&rows, size, 512);
  unit_sql (rows.db, "WITH RECURSIVE"
                     " n (n) AS (SELECT 0 UNION ALL SELECT n + 2 FROM n"
                     " WHERE n < 99998)"
                     " INSERT INTO block"
                     " (layer, number, generation, codec, checksum, data)"
                     " SELECT 1, n, 1, 1, 0, x'00' FROM n");
  steps (&rows);
  while (at < size) {
    at = check_extents (&rows, NULL, at, size - at, true, &extents);
    assert_int_equal (at, ++calls * 512);
  }
  assert_int_equal (calls, 100000);
  assert_uint_in_range (steps (&rows), calls, 20 * calls);

  /* Another view knows nothing of it. */
  unit_sql (rows.db, "DELETE FROM block WHERE number = 99998");
  rows_show (&rows, 1, 0);
  assert_int_equal (
      check_extents (&rows, NULL, 99997 * 512, 3 * 512, true, &extents), size);
  rows_close (&rows);
}

/* Layers on layers: each block's row stands in another one. */
static void
test_deep_chain (void **state)
{
  const int depth = 1000;
  struct costs deep;
  struct rows rows;

  (void)state;
  rows_open (&rows, depth * 512, 512);
  unit_sql (rows.db, "BEGIN");
  for (int layer = 1; layer <= depth; layer++) {
    rows_layer (&rows, layer, layer - 1, 1, 2);
    rows_data (&rows, layer, layer - 1, 1);
    rows_data (&rows, layer, layer - 1, 2);
  }
  unit_sql (rows.db, "COMMIT");
  rows_show (&rows, depth, 0);
  assert_int_equal (rows.view.depth, depth);
  for (int number = 0; number < depth; number += 37)
    rows_expect (&rows, number, number + 1, number + 1 == depth ? 2 : 1);

  /* As many seeks and rows as there are layers: each is asked once. */
  deep = costs (&rows, depth);
  assert_uint_in_range (deep.read, 1, depth * 100);
  assert_uint_in_range (deep.map, 1, depth * 150);
  assert_uint_in_range (deep.next_row, 1, depth * 50);
  rows_close (&rows);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_single_layer),
    unit_test (test_generations),
    unit_test (test_newer_rows),
    unit_test (test_parent),
    unit_test (test_parts_of_blocks),
    unit_test (test_long_read),
    unit_test (test_extents),
    unit_test (test_extents_fail),
    unit_test (test_extents_stop_early),
    unit_test (test_largest_disk),
    unit_test (test_model),
    unit_test (test_many_generations),
    unit_test (test_statistics),
    unit_test (test_one_extent),
    unit_test (test_extents_in_turn),
    unit_test (test_deep_chain),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
