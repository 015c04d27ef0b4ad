/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Blocks to data and back: see codec.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/checksum.h"
#include "block/codec.h"
#include "block/codec-parts.h"
#include "base/count.h"
#include "base/packed.h"

/* Each in a file of its own. */
extern const struct codec_functions codec_lz4, codec_zstd;

/* What can hold the bytes of a block, besides zeroes.  The numbers are those
 * of the format, see schema.sql: what is stored under one must be read by it
 * for ever.
 *
 * Nothing else in the program asks which codec it is, so to add one means: a
 * file beside codec-lz4.c, its row, its library and its name in configure.ac
 * (COMPRESSION_HELP), a test in unit-codec.c, and the manual.  In the schema,
 * disks and contents list the numbers they may have: a new one is a new format
 * of the database.
 */
static const struct codec_row {
  enum codec codec;
  const char *name;    /* also of the feature of databases that have it */
  int lowest, highest; /* levels; the lowest is the default.  0: it has none */
  const struct codec_functions *functions; /* NULL: the bytes as they are */
} codecs[] = {
  { CODEC_RAW, "none", 0, 0, NULL },
  /* The third level takes 3 % less space and a third more time than the first,
   * see the README.
   */
  { 2, "zstd", 1, 19, &codec_zstd },
  { 3, "lz4", 0, 0, &codec_lz4 },
};
#define CODECS (sizeof codecs / sizeof codecs[0])

_Static_assert(CODECS <= CODECS_MAX, "a workspace has too few contexts");
_Static_assert(PACKED_ADDED == CIPHER_ADDED, "packed blocks lack room");

/* How disks are stored where nobody says it. */
#define DEFAULT_NAME "lz4"

static bool
is_built (const struct codec_row *row)
{
  return row->functions == NULL || row->functions->compress != NULL;
}

/* The row of CODEC, or NULL. */
static const struct codec_row *
find_codec (int64_t codec)
{
  for (size_t i = 0; i < CODECS; i++)
    if (codecs[i].codec == codec)
      return &codecs[i];
  return NULL;
}

/* The row of the codec whose name is the LENGTH bytes at NAME, or NULL. */
static const struct codec_row *
find_name (const char *name, size_t length)
{
  for (size_t i = 0; i < CODECS; i++)
    if (strlen (codecs[i].name) == length &&
        memcmp (codecs[i].name, name, length) == 0)
      return &codecs[i];
  return NULL;
}

/*--------------------------------------------------------------------
 * What a disk's compression is called.
 */

struct compression
compression_default (void)
{
  const struct codec_row *row = find_name (DEFAULT_NAME, strlen (DEFAULT_NAME));

  return is_built (row) ? (struct compression){ row->codec, row->lowest }
                        : (struct compression){ CODEC_RAW, 0 };
}

static int
check_built (const struct codec_row *row, struct status *status)
{
  return is_built (row)
             ? 0
             : status_fail (status, ENOTSUP,
                            "this program was built without %s; use one that "
                            "was built with it",
                            row->name);
}

static bool
has_level (const struct codec_row *row, int64_t level)
{
  return level >= row->lowest && level <= row->highest;
}

/* Read the level behind a codec's name; "" means the default. */
static int
parse_level (const struct codec_row *row, const char *text, int *level)
{
  char *end;
  long value;

  *level = row->lowest;
  if (text[0] == '\0')
    return 0;
  if (row->highest == 0 || text[0] != ':' || text[1] < '0' || text[1] > '9')
    return -1;
  value = strtol (text + 1, &end, 10);
  *level = value;
  return *end == '\0' && has_level (row, value) ? 0 : -1;
}

int
compression_parse (const char *text, struct compression *compression,
                   struct status *status)
{
  const size_t length = strcspn (text, ":");
  const struct codec_row *row = find_name (text, length);

  if (row == NULL ||
      parse_level (row, text + length, &compression->level) == -1)
    return status_fail (status, EINVAL,
                        "'%.100s' is no compression: give " COMPRESSION_HELP,
                        text);
  compression->codec = row->codec;
  return check_built (row, status);
}

void
compression_print (const struct compression *compression,
                   char text[COMPRESSION_TEXT])
{
  const struct codec_row *row = find_codec (compression->codec);

  if (row && row->highest > 0)
    snprintf (text, COMPRESSION_TEXT, "%s:%d", row->name, compression->level);
  else
    snprintf (text, COMPRESSION_TEXT, "%s", row ? row->name : "unknown");
}

int
compression_check (int64_t codec, int64_t level, struct status *status)
{
  const struct codec_row *row = find_codec (codec);

  if (row == NULL || !has_level (row, level))
    return status_fail (status, EIO,
                        "the disk's row is damaged; restore the database "
                        "from a backup");
  return check_built (row, status);
}

const char *
codec_built (unsigned number)
{
  for (size_t i = 0; i < CODECS; i++)
    if (is_built (&codecs[i]) && number-- == 0)
      return codecs[i].name;
  return NULL;
}

bool
codec_next (enum codec *codec)
{
  const struct codec_row *row = find_codec (*codec);

  row = row ? row + 1 : codecs;
  if (row == codecs + CODECS)
    return false;
  *codec = row->codec;
  return true;
}

const char *
codec_feature (enum codec codec)
{
  const struct codec_row *row = find_codec (codec);

  return row && row->functions ? row->name : NULL;
}

bool
codec_has_feature (const char *feature)
{
  const struct codec_row *row = find_name (feature, strlen (feature));

  return row && row->functions && is_built (row);
}

/*--------------------------------------------------------------------
 * Workspaces.
 */

void
codec_workspace_free (struct codec_workspace *workspace)
{
  for (size_t i = 0; i < CODECS; i++)
    if (workspace->contexts[i])
      codecs[i].functions->free_context (workspace->contexts[i]);
  free (workspace->block);
  free (workspace->plain);
  *workspace = (struct codec_workspace){ 0 };
}

void
codec_pool_init (struct codec_pool *pool)
{
  pthread_mutex_init (&pool->lock, NULL);
  pool->idle = NULL;
}

void
codec_pool_destroy (struct codec_pool *pool)
{
  struct codec_workspace *next;

  for (; pool->idle; pool->idle = next) {
    next = pool->idle->next;
    codec_workspace_free (pool->idle);
    free (pool->idle);
  }
  pthread_mutex_destroy (&pool->lock);
}

struct codec_workspace *
codec_take (struct codec_pool *pool)
{
  struct codec_workspace *workspace;

  pthread_mutex_lock (&pool->lock);
  workspace = pool->idle;
  if (workspace)
    pool->idle = workspace->next;
  pthread_mutex_unlock (&pool->lock);
  return workspace ? workspace : calloc (1, sizeof *workspace);
}

void
codec_return (struct codec_pool *pool, struct codec_workspace *workspace)
{
  if (workspace == NULL)
    return;
  pthread_mutex_lock (&pool->lock);
  workspace->next = pool->idle;
  pool->idle = workspace;
  pthread_mutex_unlock (&pool->lock);
}

/*--------------------------------------------------------------------
 * Encoding.
 */

static bool
all_zero (const char *bytes, size_t length)
{
  return bytes[0] == 0 && memcmp (bytes, bytes + 1, length - 1) == 0;
}

uint32_t
codec_look_at_sample (const unsigned char *block, uint32_t block_size)
{
  const uint32_t chunk = 16, step = block_size / (CODEC_SAMPLE / chunk);
  const unsigned char *bytes;
  uint16_t counts[256] = { 0 };
  uint32_t sum = 0; /* of the squares of the counts */

  /* At changing distances from the starts of sectors, where there may be
   * headers.
   */
  for (uint32_t i = 0; i < CODEC_SAMPLE / chunk; i++) {
    bytes = block + i * step + i * chunk % step;
    for (uint32_t j = 0; j < chunk; j++)
      sum += 2 * counts[bytes[j]]++ + 1;
  }
  return sum;
}

/* Compress BLOCK into at most ROOM_SIZE bytes.  Returns their number, or 0
 * where it does not shrink to that.
 */
static size_t
compress (struct codec_workspace *workspace,
          const struct compression *compression, const void *block,
          uint32_t block_size, void *room, size_t room_size)
{
  const struct codec_row *row = find_codec (compression->codec);

  if (workspace == NULL || row == NULL || row->functions == NULL ||
      !is_built (row))
    return 0;
  return row->functions->compress (&workspace->contexts[row - codecs],
                                   compression->level, block, block_size, room,
                                   room_size);
}

/* Encrypt what ENCODED has, of a block of BLOCK_SIZE bytes, into ROOM, which
 * may have it already, behind what is added.
 */
static void
encrypt (const struct block_key *key, uint32_t block_size, void *room,
         struct encoded *encoded)
{
  const struct cipher_place place = { key->number, block_size, encoded->codec };

  cipher_encrypt (key->key, &place, key->shared, encoded->data, encoded->length,
                  room);
  encoded->codec += CODEC_ENCRYPTED;
  encoded->data = room;
  encoded->length += CIPHER_ADDED;
}

void
codec_encode (struct codec_workspace *workspace,
              const struct compression *compression,
              const struct block_key *key, const void *block,
              uint32_t block_size, void *room, struct encoded *encoded)
{
  char *compressed = key->key ? (char *)room + CIPHER_ADDED : room;
  size_t length;

  if (all_zero (block, block_size))
    *encoded = (struct encoded){ .codec = CODEC_ZERO };
  else {
    /* Less than an eighth saved is not worth decompressing it. */
    length = compress (workspace, compression, block, block_size, compressed,
                       block_size - block_size / 8);
    if (length > 0)
      *encoded = (struct encoded){
        .codec = compression->codec,
        .data = compressed,
        .length = length,
      };
    else
      *encoded = (struct encoded){
        .codec = CODEC_RAW,
        .data = block,
        .length = block_size,
      };
    if (key->key)
      encrypt (key, block_size, room, encoded);
  }
  encoded->hash = checksum_bytes (encoded->data, encoded->length);
  encoded->block = block;
  encoded->shared = key->shared || key->key == NULL;
}

void
codec_hash_block (struct encoded *encoded, const struct cipher_key *key,
                  uint32_t block_size)
{
  if (key)
    encoded->block_hash = cipher_hash (key, encoded->block, block_size);
  else
    encoded->block_hash = encoded->data == encoded->block
                              ? encoded->hash
                              : checksum_bytes (encoded->block, block_size);
  encoded->hashed = true;
}

/*--------------------------------------------------------------------
 * Decoding.
 */

bool
codec_is_encrypted (int64_t codec)
{
  return codec > CODEC_ENCRYPTED && find_codec (codec - CODEC_ENCRYPTED);
}

/* The codec of the data before it was encrypted. */
static int64_t
plain_codec (int64_t codec)
{
  return codec_is_encrypted (codec) ? codec - CODEC_ENCRYPTED : codec;
}

bool
codec_is_known (int64_t codec)
{
  return codec == CODEC_ZERO || codec == CODEC_CONTENT ||
         find_codec (plain_codec (codec)) != NULL;
}

int
codec_fail_unknown (int64_t codec, int error, struct status *status)
{
  return status_fail (status, error,
                      "the block is stored with the codec %" PRId64
                      ", which this program does not know: use a newer one, or "
                      "one that was built with it",
                      codec);
}

int
codec_check (int64_t codec, size_t length, uint32_t block_size,
             struct status *status)
{
  const struct codec_row *row = find_codec (plain_codec (codec));
  const size_t added = codec_is_encrypted (codec) ? CIPHER_ADDED : 0;
  bool possible;

  if (!codec_is_known (codec))
    return codec_fail_unknown (codec, EIO, status);
  if (codec != CODEC_ZERO && row == NULL)
    return status_fail (status, EIO,
                        "the row is damaged: codec %" PRId64
                        " is not one of its bytes; restore the block from a "
                        "backup",
                        codec);
  if (codec == CODEC_ZERO)
    possible = length == 0;
  else if (row->codec == CODEC_RAW)
    possible = length == block_size + added;
  else
    possible = length > added && length < block_size + added;
  if (!possible)
    return status_fail (status, EIO,
                        "the row is damaged: %s of data for a block of %" PRIu32
                        "; restore the block from a backup",
                        COUNT (length, "byte"), block_size);
  return codec == CODEC_ZERO ? 0 : check_built (row, status);
}

/* Decompress a whole block into BUFFER of BLOCK_SIZE bytes. */
static int
decompress (struct codec_workspace *workspace, int64_t codec, const void *data,
            size_t length, uint32_t block_size, void *buffer,
            struct status *status)
{
  const struct codec_row *row = find_codec (codec);

  switch (row->functions->decompress (&workspace->contexts[row - codecs], data,
                                      length, buffer, block_size)) {
  case 1:
    return 0;
  case 0:
    return status_fail (status, EIO,
                        "the row is damaged: its data is not a whole block; "
                        "restore the block from a backup");
  default:
    return status_no_memory (status);
  }
}

/* Make room for a block of BLOCK_SIZE bytes, and for one that is decrypted. */
static int
make_room (struct codec_workspace *workspace, uint32_t block_size,
           struct status *status)
{
  char *block, *plain;

  if (workspace->block_size >= block_size)
    return 0;
  block = realloc (workspace->block, block_size);
  if (block)
    workspace->block = block;
  plain = realloc (workspace->plain, block_size);
  if (plain)
    workspace->plain = plain;
  if (block == NULL || plain == NULL)
    return status_no_memory (status);
  workspace->block_size = block_size;
  return 0;
}

/* What is stored of a block. */
struct stored {
  int64_t codec;
  const void *data;
  size_t length;
};

/* Decrypt what is STORED of a block, where the disk has a KEY. */
static int
decrypt (struct codec_workspace *workspace, const struct block_key *key,
         uint32_t block_size, struct stored *stored, struct status *status)
{
  const bool encrypted = codec_is_encrypted (stored->codec);
  const struct cipher_place place = { key->number, block_size,
                                      plain_codec (stored->codec) };

  if (encrypted && key->key == NULL)
    return status_fail (status, EACCES,
                        "it is encrypted; give the key of the disk");
  if (!encrypted && key->key)
    return status_fail (status, EIO,
                        "it is not encrypted as its disk is: it was put there "
                        "by who has not the key; restore the block from a "
                        "backup");
  if (!encrypted)
    return 0;
  if (make_room (workspace, block_size, status) == -1 ||
      cipher_decrypt (key->key, &place, stored->data, stored->length,
                      workspace->plain, status) == -1)
    return -1;
  *stored = (struct stored){ place.codec, workspace->plain,
                             stored->length - CIPHER_ADDED };
  return 0;
}

int
codec_copy (struct codec_workspace *workspace, int64_t codec,
            const struct block_key *key, const void *data, size_t length,
            uint32_t block_size, uint32_t offset, uint32_t count, void *buffer,
            struct status *status)
{
  struct stored stored = { codec, data, length };

  if (codec == CODEC_ZERO) {
    memset (buffer, 0, count);
    return 0;
  }
  if (decrypt (workspace, key, block_size, &stored, status) == -1)
    return -1;
  if (stored.codec == CODEC_RAW)
    memcpy (buffer, (const char *)stored.data + offset, count);
  else if (count == block_size)
    return decompress (workspace, stored.codec, stored.data, stored.length,
                       block_size, buffer, status);
  else {
    if (make_room (workspace, block_size, status) == -1 ||
        decompress (workspace, stored.codec, stored.data, stored.length,
                    block_size, workspace->block, status) == -1)
      return -1;
    memcpy (buffer, workspace->block + offset, count);
  }
  return 0;
}

int
codec_adopt (struct codec_workspace *workspace, int64_t codec, const void *data,
             size_t length, uint32_t block_size, void *block,
             struct encoded *encoded, struct status *status)
{
  const struct block_key none = { 0 };
  const bool encrypted = codec_is_encrypted (codec);

  if (codec_check (codec, length, block_size, status) == -1 ||
      (!encrypted &&
       codec_copy (workspace, codec, &none, data, length, block_size, 0,
                   block_size, block, status) == -1))
    return -1;
  *encoded = (struct encoded){
    .codec = codec,
    .data = codec == CODEC_RAW ? block : data,
    .length = length,
    .block = encrypted ? NULL : block,
    .shared = !encrypted,
  };
  if (!encrypted && all_zero (block, block_size)) {
    encoded->codec = CODEC_ZERO;
    encoded->data = NULL;
    encoded->length = 0;
  }
  encoded->hash = checksum_bytes (encoded->data, encoded->length);
  return 0;
}

int
codec_compare (struct codec_workspace *workspace, int64_t codec,
               const struct block_key *key, const void *data, size_t length,
               const void *block, uint32_t block_size, struct status *status)
{
  if (codec == CODEC_RAW && key->key == NULL)
    return memcmp (data, block, block_size) == 0;
  if (make_room (workspace, block_size, status) == -1 ||
      codec_copy (workspace, codec, key, data, length, block_size, 0,
                  block_size, workspace->block, status) == -1)
    return -1;
  return memcmp (workspace->block, block, block_size) == 0;
}
