/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Contents that blocks share: see content.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/sane.h"
#include "block/checksum.h"
#include "rows/content.h"

/* Fill CONTENT from a row: id, hash, size, codec, checksum, data. */
static int
content_from_row (struct connection *connection, sqlite3_stmt *row,
                  struct content *content, struct status *status)
{
  *content = (struct content){
    .id = sqlite3_column_int64 (row, 0),
    .hash = sqlite3_column_int64 (row, 1),
    .size = sqlite3_column_int64 (row, 2),
    .codec = sqlite3_column_int64 (row, 3),
    .checksum = sqlite3_column_int64 (row, 4),
    .data = sqlite3_column_blob (row, 5),
    .length = sqlite3_column_bytes (row, 5),
  };
  return content->data == NULL &&
                 sqlite3_errcode (connection->db) == SQLITE_NOMEM
             ? status_no_memory (status)
             : 0;
}

/* Is this a row as it was written, if its data has this hash? */
static bool
is_whole (const struct content *content, uint64_t data_hash)
{
  return content->checksum == checksum_content (content->id, content->hash,
                                                content->size, content->codec,
                                                data_hash);
}

/*--------------------------------------------------------------------
 * Reading.
 */

/* Find content ID, of BLOCK_SIZE bytes or 0, without a look at its codec. */
static int
find_whole (struct connection *connection, int64_t id, uint32_t block_size,
            struct content *content, sqlite3_stmt **row, struct status *status)
{
  static const char find_sql[] =
      "SELECT id, hash, size, codec, checksum, data FROM content WHERE id = ?1";
  int r;

  *row = connection_statement (connection, find_sql, status);
  if (*row == NULL)
    return -1;
  sqlite3_bind_int64 (*row, 1, id);
  r = connection_step (connection, *row, status);
  if (r == 0)
    return status_fail (status, EIO,
                        "its content, number %" PRId64 ", is missing; "
                        "restore the block from a backup",
                        id);
  if (r == -1 || content_from_row (connection, *row, content, status) == -1)
    return -1;
  if (block_size == 0 && sane_geometry (content->size, content->size))
    block_size = content->size;
  if (content->size != block_size ||
      !is_whole (content, checksum_bytes (content->data, content->length)))
    return status_fail (status, EIO,
                        "its content, number %" PRId64 ", is damaged; "
                        "restore the block from a backup",
                        id);
  return 0;
}

int
content_find (struct connection *connection, int64_t id, uint32_t block_size,
              struct content *content, sqlite3_stmt **row,
              struct status *status)
{
  if (find_whole (connection, id, block_size, content, row, status) == -1)
    return -1;
  return codec_check (content->codec, content->length, block_size, status);
}

int
content_find_as_is (struct connection *connection, int64_t id,
                    struct content *content, sqlite3_stmt **row,
                    struct status *status)
{
  if (find_whole (connection, id, 0, content, row, status) == -1)
    return -1;
  return codec_is_known (content->codec)
             ? codec_check (content->codec, content->length, content->size,
                            status)
             : 0;
}

int
content_read (struct connection *connection, int64_t id,
              const struct block_key *key, uint32_t block_size, uint32_t offset,
              uint32_t count, void *buffer, struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *row = NULL;
  struct content content;

  if (content_find (connection, id, block_size, &content, &row, status) == -1)
    return -1;
  return codec_copy (&connection->workspace, content.codec, key, content.data,
                     content.length, block_size, offset, count, buffer, status);
}

/*--------------------------------------------------------------------
 * Writing.
 */

/* Has CONTENT the bytes of a block?  One that is damaged has not. */
static bool
is_equal (struct connection *connection, const struct content *content,
          const struct encoded *encoded, const struct cipher_key *key,
          uint32_t block_size)
{
  const struct block_key shared = { .key = key, .shared = true };
  struct status ignored;

  if (content->size != block_size ||
      (codec_is_encrypted (content->codec) &&
       !cipher_is_shared (content->data, content->length)))
    return false;
  if (content->codec == (int64_t)encoded->codec &&
      content->length == encoded->length &&
      memcmp (content->data, encoded->data, encoded->length) == 0)
    return is_whole (content, encoded->hash);
  return is_whole (content, checksum_bytes (content->data, content->length)) &&
         codec_check (content->codec, content->length, block_size, &ignored) ==
             0 &&
         codec_compare (&connection->workspace, content->codec, &shared,
                        content->data, content->length, encoded->block,
                        block_size, &ignored) == 1;
}

/* Look for an equal one among those with HASH.  *COUNT tells how many were
 * compared.
 */
static int
find_equal (struct connection *connection, const struct encoded *encoded,
            const struct cipher_key *key, uint32_t block_size, int64_t hash,
            int64_t *id, int *count, struct status *status)
{
  static const char same_hash_sql[] =
      "SELECT id, hash, size, codec, checksum, data"
      " FROM content INDEXED BY content_by_hash WHERE hash = ?1";
  CLEANUP_STATEMENT sqlite3_stmt *rows =
      connection_statement (connection, same_hash_sql, status);
  struct content content;
  int r = 0;

  if (rows == NULL)
    return -1;
  sqlite3_bind_int64 (rows, 1, hash);
  for (*count = 0; *count < CONTENT_COMPARED; ++*count) {
    r = connection_step (connection, rows, status);
    if (r != 1)
      return r;
    if (content_from_row (connection, rows, &content, status) == -1)
      return -1;
    if (is_equal (connection, &content, encoded, key, block_size)) {
      *id = content.id;
      return 0;
    }
  }
  return 0;
}

/* The id of the next new row.  The table sqlite_sequence should know it, but
 * the file may come from anywhere.
 */
static int
find_next_id (struct connection *connection, int64_t *id, struct status *status)
{
  static const char highest_sql[] =
      "SELECT max (ifnull ((SELECT seq FROM sqlite_sequence"
      " WHERE name = 'content'), 0),"
      " ifnull ((SELECT max (id) FROM content), 0))";

  if (connection_integer (connection, highest_sql, id, status) == -1)
    return -1;
  if (*id < INT64_MAX)
    ++*id;
  return 0;
}

static int
insert (struct connection *connection, const struct encoded *encoded,
        uint32_t block_size, int64_t hash, int64_t id, struct status *status)
{
  static const char insert_sql[] =
      "INSERT INTO content (id, hash, size, codec, checksum, data)"
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, insert_sql, status);

  if (row == NULL)
    return -1;
  sqlite3_bind_int64 (row, 1, id);
  sqlite3_bind_int64 (row, 2, hash);
  sqlite3_bind_int64 (row, 3, block_size);
  sqlite3_bind_int64 (row, 4, encoded->codec);
  sqlite3_bind_int64 (
      row, 5,
      checksum_content (id, hash, block_size, encoded->codec, encoded->hash));
  sqlite3_bind_blob64 (row, 6, encoded->data, encoded->length, SQLITE_STATIC);
  return connection_step (connection, row, status);
}

int
content_put (struct connection *connection, const struct encoded *encoded,
             const struct cipher_key *key, uint32_t block_size,
             int64_t *next_id, int64_t *id, struct status *status)
{
  struct encoded hashed = *encoded;
  int64_t hash;
  int compared;

  *id = 0;
  if (!encoded->shared)
    return 0;
  if (!hashed.hashed)
    codec_hash_block (&hashed, key, block_size);
  hash = hashed.block_hash;
  if (find_equal (connection, encoded, key, block_size, hash, id, &compared,
                  status) == -1)
    return -1;
  if (*id != 0 || compared == CONTENT_COMPARED)
    return 0;
  if (*next_id == 0 && find_next_id (connection, next_id, status) == -1)
    return -1;
  if (*next_id < 1 || *next_id == INT64_MAX)
    return status_fail (status, EIO,
                        "the database has used up the ids of its contents; "
                        "restore it from a backup");
  if (insert (connection, encoded, block_size, hash, *next_id, status) == -1)
    return -1;
  *id = (*next_id)++;
  return 0;
}
