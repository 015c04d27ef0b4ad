/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Layers and blocks that the unit tests make: see rows.h. */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rows.h"

#include "block/checksum.h"
#include "block/codec.h"

static const char put_sql[] =
    "INSERT OR REPLACE INTO block"
    " (layer, number, generation, codec, checksum, data)"
    " VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

void
rows_open (struct rows *rows, uint64_t size, uint32_t block_size)
{
  const struct disk_options options = {
    .size = size,
    .block_size = block_size,
  };

  *rows = (struct rows){
    .path = unit_database (),
    .block_size = block_size,
  };
  unit_create (rows->path, &options);
  rows->db = unit_open_raw (rows->path);
  unit_open (&rows->connection, rows->path, CONNECTION_READ);
  assert_int_equal (
      sqlite3_prepare_v2 (rows->db, put_sql, -1, &rows->put, NULL), SQLITE_OK);
  assert_ok (rows_view (rows), &rows->status);
}

void
rows_close (struct rows *rows)
{
  view_free (&rows->view);
  connection_close (&rows->connection);
  sqlite3_finalize (rows->put);
  assert_int_equal (sqlite3_close (rows->db), SQLITE_OK);
  assert_int_equal (unlink (rows->path), 0);
}

void
rows_layer (struct rows *rows, int64_t id, int64_t parent,
            int64_t parent_generation, int64_t generation)
{
  unit_sql (rows->db,
            "INSERT OR REPLACE INTO layer"
            " SELECT id, parent, parent_generation, generation,"
            " " LAYER_CHECKSUM " FROM (SELECT %lld AS id,"
            " nullif (%lld, 0) AS parent,"
            " iif (%lld, %lld, NULL) AS parent_generation,"
            " %lld AS generation) AS layer",
            (long long)id, (long long)parent, (long long)parent,
            (long long)parent_generation, (long long)generation);
}

void
rows_put (struct rows *rows, int64_t layer, int64_t number, int64_t generation,
          int64_t codec, const void *data, size_t length)
{
  sqlite3_bind_int64 (rows->put, 1, layer);
  sqlite3_bind_int64 (rows->put, 2, number);
  sqlite3_bind_int64 (rows->put, 3, generation);
  sqlite3_bind_int64 (rows->put, 4, codec);
  sqlite3_bind_int64 (rows->put, 5,
                      checksum_block (layer, number, generation, codec, length,
                                      checksum_bytes (data, length)));
  sqlite3_bind_blob64 (rows->put, 6, data, length, SQLITE_TRANSIENT);
  assert_int_equal (sqlite3_step (rows->put), SQLITE_DONE);
  sqlite3_reset (rows->put);
}

void
rows_data (struct rows *rows, int64_t layer, int64_t number, int64_t generation)
{
  rows_put (rows, layer, number, generation, CODEC_RAW,
            rows_pattern (rows, layer, number, generation), rows->block_size);
}

void
rows_zero (struct rows *rows, int64_t layer, int64_t number, int64_t generation)
{
  rows_put (rows, layer, number, generation, CODEC_ZERO, NULL, 0);
}

const char *
rows_pattern (const struct rows *rows, int64_t layer, int64_t number,
              int64_t generation)
{
  static char block[DISK_BLOCK_SIZE_MAX];
  uint64_t state = (uint64_t)layer << 48 ^ (uint64_t)generation << 32 ^ number;

  random_fill (&state, block, rows->block_size);
  return block;
}

void
rows_show (struct rows *rows, int64_t layer, int64_t generation)
{
  unit_sql (rows->db, "UPDATE disk SET layer = %lld; %s", (long long)layer,
            unit_disk_checksums);
  assert_ok (rows_view (rows), &rows->status);
  if (generation)
    rows->view.layers[0].generation = generation;
}

int
rows_view (struct rows *rows)
{
  return disks_view (&rows->connection, 1, 1, &rows->view, &rows->status);
}

int
rows_read (struct rows *rows, uint64_t number, char *block)
{
  return view_read (&rows->connection, &rows->view, block,
                    number * rows->block_size, rows->block_size, &rows->status);
}

void
rows_expect (struct rows *rows, uint64_t number, int64_t layer,
             int64_t generation)
{
  const uint32_t block_size = rows->block_size;
  char *got = malloc (block_size);
  char *zeroes = calloc (1, block_size);
  const char *wanted =
      layer ? rows_pattern (rows, layer, number, generation) : zeroes;

  assert_non_null (got);
  assert_non_null (zeroes);
  memset (got, 'x', block_size);
  assert_ok (rows_read (rows, number, got), &rows->status);
  if (memcmp (got, wanted, block_size) != 0)
    fail_msg ("block %" PRIu64 " is not that of layer %" PRId64
              ", generation %" PRId64,
              number, layer, generation);
  free (got);
  free (zeroes);
}
