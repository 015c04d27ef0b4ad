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

void
codec_encode (struct codec_workspace *workspace,
              const struct compression *compression, const void *block,
              uint32_t block_size, void *room, struct encoded *encoded)
{
  size_t length;

  if (all_zero (block, block_size))
    *encoded = (struct encoded){ .codec = CODEC_ZERO };
  else {
    /* Less than an eighth saved is not worth decompressing it. */
    length = compress (workspace, compression, block, block_size, room,
                       block_size - block_size / 8);
    if (length > 0)
      *encoded = (struct encoded){
        .codec = compression->codec,
        .data = room,
        .length = length,
      };
    else
      *encoded = (struct encoded){
        .codec = CODEC_RAW,
        .data = block,
        .length = block_size,
      };
  }
  encoded->hash = checksum_bytes (encoded->data, encoded->length);
  encoded->block = block;
}

void
codec_hash_block (struct encoded *encoded, uint32_t block_size)
{
  encoded->block_hash = encoded->data == encoded->block
                            ? encoded->hash
                            : checksum_bytes (encoded->block, block_size);
  encoded->hashed = true;
}

/*--------------------------------------------------------------------
 * Decoding.
 */

bool
codec_is_known (int64_t codec)
{
  return codec == CODEC_ZERO || codec == CODEC_CONTENT ||
         find_codec (codec) != NULL;
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
  const struct codec_row *row = find_codec (codec);
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
  else if (codec == CODEC_RAW)
    possible = length == block_size;
  else
    possible = length > 0 && length < block_size;
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

/* Make room for a block of BLOCK_SIZE bytes. */
static int
make_room (struct codec_workspace *workspace, uint32_t block_size,
           struct status *status)
{
  char *block;

  if (workspace->block_size >= block_size)
    return 0;
  block = realloc (workspace->block, block_size);
  if (block == NULL)
    return status_no_memory (status);
  workspace->block = block;
  workspace->block_size = block_size;
  return 0;
}

int
codec_copy (struct codec_workspace *workspace, int64_t codec, const void *data,
            size_t length, uint32_t block_size, uint32_t offset, uint32_t count,
            void *buffer, struct status *status)
{
  if (codec == CODEC_ZERO)
    memset (buffer, 0, count);
  else if (codec == CODEC_RAW)
    memcpy (buffer, (const char *)data + offset, count);
  else if (count == block_size)
    return decompress (workspace, codec, data, length, block_size, buffer,
                       status);
  else {
    if (make_room (workspace, block_size, status) == -1 ||
        decompress (workspace, codec, data, length, block_size,
                    workspace->block, status) == -1)
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
  if (codec_check (codec, length, block_size, status) == -1 ||
      codec_copy (workspace, codec, data, length, block_size, 0, block_size,
                  block, status) == -1)
    return -1;
  *encoded = (struct encoded){
    .codec = codec,
    .data = codec == CODEC_RAW ? block : data,
    .length = length,
    .block = block,
  };
  if (all_zero (block, block_size)) {
    encoded->codec = CODEC_ZERO;
    encoded->data = NULL;
    encoded->length = 0;
  }
  encoded->hash = checksum_bytes (encoded->data, encoded->length);
  return 0;
}

int
codec_compare (struct codec_workspace *workspace, int64_t codec,
               const void *data, size_t length, const void *block,
               uint32_t block_size, struct status *status)
{
  if (codec == CODEC_RAW)
    return memcmp (data, block, block_size) == 0;
  if (make_room (workspace, block_size, status) == -1 ||
      codec_copy (workspace, codec, data, length, block_size, 0, block_size,
                  workspace->block, status) == -1)
    return -1;
  return memcmp (workspace->block, block, block_size) == 0;
}
