/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Checksums of blocks and of rows: see checksum.h and schema.sql. */

#include <config.h>

#include <endian.h>
#include <xxhash.h>
#ifdef HAVE_XXH_X86DISPATCH_H
#include <xxh_x86dispatch.h>
#endif

#include "block/checksum.h"
#include "base/types.h"

uint64_t
checksum_bytes (const void *data, size_t length)
{
  return XXH3_64bits (data, length);
}

uint64_t
checksum_page (const void *data, size_t length, uint32_t number)
{
  return XXH3_64bits_withSeed (data, length, number);
}

int64_t
checksum_block (int64_t layer, int64_t number, int64_t generation,
                int64_t codec, size_t length, uint64_t data_hash)
{
  const uint64_t key[6] = {
    htole64 (layer), htole64 (number), htole64 (generation),
    htole64 (codec), htole64 (length), htole64 (data_hash),
  };

  return XXH3_64bits (key, sizeof key);
}

/* The hash of what stands for the data of a row of codec 4. */
static uint64_t
hash_reference (int64_t content)
{
  const uint64_t bytes = htole64 (content);

  return XXH3_64bits (&bytes, sizeof bytes);
}

int64_t
checksum_reference (int64_t layer, int64_t number, int64_t generation,
                    int64_t content)
{
  return checksum_block (layer, number, generation, CODEC_CONTENT,
                         sizeof content, hash_reference (content));
}

bool
checksum_fits (const struct block_row *row)
{
  const int64_t right =
      row->codec == CODEC_CONTENT
          ? checksum_reference (row->layer, row->number, row->generation,
                                row->content)
          : checksum_block (row->layer, row->number, row->generation,
                            row->codec, row->length,
                            checksum_bytes (row->data, row->length));

  return row->checksum == right;
}

int64_t
checksum_content (int64_t id, int64_t hash, int64_t size, int64_t codec,
                  uint64_t data_hash)
{
  const uint64_t columns[5] = {
    htole64 (id),    htole64 (hash),      htole64 (size),
    htole64 (codec), htole64 (data_hash),
  };

  return XXH3_64bits (columns, sizeof columns);
}

/* Feed one SQL value to the hash. */
static void
hash_value (XXH3_state_t *state, sqlite3_value *value)
{
  const int sql_type = sqlite3_value_type (value);
  const unsigned char type = sql_type == SQLITE_NULL      ? 0
                             : sql_type == SQLITE_INTEGER ? 1
                             : sql_type == SQLITE_BLOB    ? 4
                                                          : 3;
  uint64_t number;

  XXH3_64bits_update (state, &type, 1);
  if (type == 1) {
    number = htole64 (sqlite3_value_int64 (value));
    XXH3_64bits_update (state, &number, sizeof number);
  }
  else if (type != 0) {
    const void *text = type == 3 ? (const void *)sqlite3_value_text (value)
                                 : sqlite3_value_blob (value);
    const size_t length = sqlite3_value_bytes (value);

    number = htole64 (length);
    XXH3_64bits_update (state, &number, sizeof number);
    XXH3_64bits_update (state, text, length);
  }
}

/* row_checksum (table, column, ...) */
static void
row_checksum (sqlite3_context *context, int argc, sqlite3_value **argv)
{
  XXH3_state_t *state = XXH3_createState ();

  if (state == NULL) {
    sqlite3_result_error_nomem (context);
    return;
  }
  XXH3_64bits_reset (state);
  for (int i = 0; i < argc; i++)
    hash_value (state, argv[i]);
  sqlite3_result_int64 (context, (int64_t)XXH3_64bits_digest (state));
  XXH3_freeState (state);
}

/* moved_checksum (checksum, layer, number, generation, codec, data,
 * to_layer, to_generation): what the checksum of a row of blocks becomes.
 * Where it has no data, that argument is its content.  A checksum that is
 * wrong stays as wrong as it was.
 */
static void
moved_checksum (sqlite3_context *context, int argc, sqlite3_value **argv)
{
  const bool reference = sqlite3_value_type (argv[5]) == SQLITE_INTEGER;
  const size_t length =
      reference ? sizeof (int64_t) : (size_t)sqlite3_value_bytes (argv[5]);
  const uint64_t hash =
      reference ? hash_reference (sqlite3_value_int64 (argv[5]))
                : checksum_bytes (sqlite3_value_blob (argv[5]), length);
  const int64_t number = sqlite3_value_int64 (argv[2]);
  const int64_t codec = sqlite3_value_int64 (argv[4]);
  const int64_t before =
      checksum_block (sqlite3_value_int64 (argv[1]), number,
                      sqlite3_value_int64 (argv[3]), codec, length, hash);
  const int64_t after =
      checksum_block (sqlite3_value_int64 (argv[6]), number,
                      sqlite3_value_int64 (argv[7]), codec, length, hash);

  (void)argc;
  sqlite3_result_int64 (context,
                        sqlite3_value_int64 (argv[0]) ^ before ^ after);
}

int
checksum_register (sqlite3 *db)
{
  const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY;
  int rc = sqlite3_create_function_v2 (db, "row_checksum", -1, flags, NULL,
                                       row_checksum, NULL, NULL, NULL);

  if (rc == SQLITE_OK)
    rc = sqlite3_create_function_v2 (db, "moved_checksum", 8, flags, NULL,
                                     moved_checksum, NULL, NULL, NULL);
  return rc;
}
