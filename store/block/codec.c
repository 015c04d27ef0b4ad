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

#ifdef HAVE_ZSTD
#include <zstd.h>
#endif
#ifdef HAVE_LZ4
#include <lz4.h>
#endif

#include "block/checksum.h"
#include "block/codec.h"
#include "base/count.h"

/* The levels of zstd that a disk can have.  The first is also the default:
 * the third takes 3 % less space and a third more time, see the README.
 */
#define ZSTD_LEVEL_MIN 1
#define ZSTD_LEVEL_MAX 19

#ifdef HAVE_ZSTD
#define WITH_ZSTD 1
#else
#define WITH_ZSTD 0
#endif
#ifdef HAVE_LZ4
#define WITH_LZ4 1
#else
#define WITH_LZ4 0
#endif

/* What can hold the bytes of a block, besides zeroes. */
static const struct {
  enum codec codec;
  const char *name;
  bool built;
  const char *feature; /* of a database in which it is used */
} codecs[] = {
  { CODEC_RAW, "none", true, NULL },
  { CODEC_ZSTD, "zstd", WITH_ZSTD, "zstd" },
  { CODEC_LZ4, "lz4", WITH_LZ4, "lz4" },
};
#define CODECS (sizeof codecs / sizeof codecs[0])

/* The place of CODEC in the table, or CODECS. */
static size_t
find_codec (int64_t codec)
{
  size_t i = 0;

  while (i < CODECS && codecs[i].codec != codec)
    i++;
  return i;
}

/*--------------------------------------------------------------------
 * What a disk's compression is called.
 */

struct compression
compression_default (void)
{
  return (struct compression){ .codec = WITH_LZ4 ? CODEC_LZ4 : CODEC_RAW };
}

static int
fail_not_built (const char *name, struct status *status)
{
  return status_fail (status, ENOTSUP,
                      "this program was built without %s; use one that was "
                      "built with it",
                      name);
}

/* Read the level behind a codec's name; "" means the default. */
static int
parse_level (enum codec codec, const char *text, int *level)
{
  char *end;
  long value;

  *level = codec == CODEC_ZSTD ? ZSTD_LEVEL_MIN : 0;
  if (text[0] == '\0')
    return 0;
  if (codec != CODEC_ZSTD || text[0] != ':' || text[1] < '0' || text[1] > '9')
    return -1;
  value = strtol (text + 1, &end, 10);
  *level = value;
  return *end == '\0' && value >= ZSTD_LEVEL_MIN && value <= ZSTD_LEVEL_MAX
             ? 0
             : -1;
}

int
compression_parse (const char *text, struct compression *compression,
                   struct status *status)
{
  const size_t length = strcspn (text, ":");

  for (size_t i = 0; i < CODECS; i++)
    if (strlen (codecs[i].name) == length &&
        strncmp (text, codecs[i].name, length) == 0 &&
        parse_level (codecs[i].codec, text + length, &compression->level) ==
            0) {
      compression->codec = codecs[i].codec;
      return codecs[i].built ? 0 : fail_not_built (codecs[i].name, status);
    }
  return status_fail (status, EINVAL,
                      "'%.100s' is no compression: give none, lz4, zstd, or "
                      "zstd:LEVEL with a level of %d to %d",
                      text, ZSTD_LEVEL_MIN, ZSTD_LEVEL_MAX);
}

void
compression_print (const struct compression *compression,
                   char text[COMPRESSION_TEXT])
{
  const size_t i = find_codec (compression->codec);
  const char *name = i < CODECS ? codecs[i].name : "unknown";

  if (compression->codec == CODEC_ZSTD)
    snprintf (text, COMPRESSION_TEXT, "%s:%d", name, compression->level);
  else
    snprintf (text, COMPRESSION_TEXT, "%s", name);
}

int
compression_check (int64_t codec, int64_t level, struct status *status)
{
  const size_t i = find_codec (codec);

  if (i == CODECS ||
      (codec == CODEC_ZSTD ? level < ZSTD_LEVEL_MIN || level > ZSTD_LEVEL_MAX
                           : level != 0))
    return status_fail (status, EIO,
                        "the disk's row is damaged; restore the database "
                        "from a backup");
  return codecs[i].built ? 0 : fail_not_built (codecs[i].name, status);
}

const char *
codec_feature (enum codec codec)
{
  const size_t i = find_codec (codec);

  return i < CODECS ? codecs[i].feature : NULL;
}

bool
codec_has_feature (const char *feature)
{
  for (size_t i = 0; i < CODECS; i++)
    if (codecs[i].feature && strcmp (codecs[i].feature, feature) == 0)
      return codecs[i].built;
  return false;
}

/*--------------------------------------------------------------------
 * Workspaces.
 */

void
codec_workspace_free (struct codec_workspace *workspace)
{
#ifdef HAVE_ZSTD
  ZSTD_freeCCtx (workspace->compressor);
  ZSTD_freeDCtx (workspace->decompressor);
#endif
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

#if WITH_ZSTD || WITH_LZ4
/* Bytes of a block that are looked at to tell whether all values are about
 * equally frequent.
 */
#define SAMPLE 512

/* How even is the mix of bytes in a sample of the block?  The sum of the
 * squared counts: about SAMPLE_EVEN for random, encrypted and compressed
 * data, three times as much for base64, ten times for text.  The sample is
 * taken at changing distances from the starts of sectors, where there may be
 * headers.
 */
#define SAMPLE_EVEN  (SAMPLE + SAMPLE * SAMPLE / 256)
#define EVENLY_MIXED (5 * SAMPLE_EVEN / 4)

static uint32_t
look_at_sample (const unsigned char *block, uint32_t block_size)
{
  const uint32_t chunk = 16, step = block_size / (SAMPLE / chunk);
  const unsigned char *bytes;
  uint16_t counts[256] = { 0 };
  uint32_t sum = 0;

  for (uint32_t i = 0; i < SAMPLE / chunk; i++) {
    bytes = block + i * step + i * chunk % step;
    for (uint32_t j = 0; j < chunk; j++)
      counts[bytes[j]]++;
  }
  for (size_t i = 0; i < 256; i++)
    sum += counts[i] * counts[i];
  return sum;
}
#endif

#ifdef HAVE_ZSTD
/* The level of a quick try; lower ones are faster and find less. */
#define QUICK_LEVEL (-20)

/* Compress with zstd into at most ROOM_SIZE bytes.  Returns their number, or
 * 0 where that is not possible.
 */
static size_t
compress_zstd (struct codec_workspace *workspace, int level, const void *block,
               uint32_t block_size, void *room, size_t room_size)
{
  size_t length;

  if (workspace->compressor == NULL)
    workspace->compressor = ZSTD_createCCtx ();
  if (workspace->compressor == NULL)
    return 0;
  /* What is evenly mixed shrinks only if it repeats itself. */
  if (look_at_sample (block, block_size) < EVENLY_MIXED) {
    length = ZSTD_compressCCtx (workspace->compressor, room, room_size, block,
                                block_size, QUICK_LEVEL);
    if (ZSTD_isError (length))
      return 0;
  }
  length = ZSTD_compressCCtx (workspace->compressor, room, room_size, block,
                              block_size, level);
  return ZSTD_isError (length) ? 0 : length;
}
#endif

#ifdef HAVE_LZ4
/* After so many blocks in a row that did not shrink, only each one of so many
 * more that are evenly mixed is tried, and after so many times as many also of
 * those that are less so: the next ones may repeat themselves.
 */
#define IN_VAIN      8
#define LONG_IN_VAIN 64

/* Is a block to be tried? */
static bool
is_promising (const struct codec_workspace *workspace, const void *block,
              uint32_t block_size)
{
  const uint32_t even =
      workspace->in_vain < LONG_IN_VAIN ? EVENLY_MIXED : 3 * SAMPLE_EVEN;

  return workspace->in_vain < IN_VAIN || workspace->in_vain % IN_VAIN == 0 ||
         look_at_sample (block, block_size) >= even;
}

/* As compress_zstd.  lz4 gives up soon, but later than a look at a sample does:
 * ten times where it finds a little now and then.
 */
static size_t
compress_lz4 (struct codec_workspace *workspace, const void *block,
              uint32_t block_size, void *room, size_t room_size)
{
  size_t length = 0;

  if (is_promising (workspace, block, block_size))
    length = LZ4_compress_default (block, room, block_size, room_size);
  workspace->in_vain = length > 0 ? 0 : workspace->in_vain + 1;
  return length;
}
#endif

/* Compress BLOCK into at most ROOM_SIZE bytes.  Returns their number, or 0
 * where it does not shrink to that.
 */
static size_t
compress (struct codec_workspace *workspace,
          const struct compression *compression, const void *block,
          uint32_t block_size, void *room, size_t room_size)
{
  (void)block, (void)block_size, (void)room, (void)room_size;
  if (workspace == NULL)
    return 0;
  switch (compression->codec) {
#ifdef HAVE_ZSTD
  case CODEC_ZSTD:
    return compress_zstd (workspace, compression->level, block, block_size,
                          room, room_size);
#endif
#ifdef HAVE_LZ4
  case CODEC_LZ4:
    return compress_lz4 (workspace, block, block_size, room, room_size);
#endif
  default:
    return 0;
  }
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

int
codec_check (int64_t codec, size_t length, uint32_t block_size,
             struct status *status)
{
  const size_t i = find_codec (codec);
  bool possible;

  if (codec != CODEC_ZERO && i == CODECS)
    return status_fail (status, EIO,
                        "the row is damaged: there is no codec %" PRId64
                        "; restore the block from a backup",
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
  return codec == CODEC_ZERO || codecs[i].built
             ? 0
             : fail_not_built (codecs[i].name, status);
}

/* Decompress a whole block into BUFFER of BLOCK_SIZE bytes. */
static int
decompress (struct codec_workspace *workspace, int64_t codec, const void *data,
            size_t length, uint32_t block_size, void *buffer,
            struct status *status)
{
  bool whole = false;

  (void)workspace, (void)codec, (void)data, (void)length, (void)block_size;
  (void)buffer;
#ifdef HAVE_ZSTD
  if (codec == CODEC_ZSTD) {
    if (workspace->decompressor == NULL)
      workspace->decompressor = ZSTD_createDCtx ();
    if (workspace->decompressor == NULL)
      return status_no_memory (status);
    whole = ZSTD_decompressDCtx (workspace->decompressor, buffer, block_size,
                                 data, length) == block_size;
  }
#endif
#ifdef HAVE_LZ4
  if (codec == CODEC_LZ4)
    whole = LZ4_decompress_safe (data, buffer, length, block_size) ==
            (int)block_size;
#endif
  return whole ? 0
               : status_fail (status, EIO,
                              "the row is damaged: its data is not a whole "
                              "block; restore the block from a backup");
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
