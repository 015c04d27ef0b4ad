/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* zstd: a third smaller than lz4, at three times the processor time. */

#include <config.h>

#include "block/codec-parts.h"

#ifdef HAVE_ZSTD
#include <stdlib.h>
#include <zstd.h>

/* The level of a quick try; lower ones are faster and find less. */
#define QUICK_LEVEL (-20)

/* Each is made by the first block that needs it. */
struct context {
  ZSTD_CCtx *compressor;
  ZSTD_DCtx *decompressor;
};

static struct context *
get_context (void **context)
{
  if (*context == NULL)
    *context = calloc (1, sizeof (struct context));
  return *context;
}

static void
free_context (void *context)
{
  struct context *own = context;

  ZSTD_freeCCtx (own->compressor);
  ZSTD_freeDCtx (own->decompressor);
  free (own);
}

static size_t
compress (void **context, int level, const void *block, uint32_t block_size,
          void *room, size_t room_size)
{
  struct context *own = get_context (context);
  size_t length;

  if (own && own->compressor == NULL)
    own->compressor = ZSTD_createCCtx ();
  if (own == NULL || own->compressor == NULL)
    return 0;
  if (codec_look_at_sample (block, block_size) < CODEC_EVENLY_MIXED) {
    length = ZSTD_compressCCtx (own->compressor, room, room_size, block,
                                block_size, QUICK_LEVEL);
    if (ZSTD_isError (length))
      return 0;
  }
  length = ZSTD_compressCCtx (own->compressor, room, room_size, block,
                              block_size, level);
  return ZSTD_isError (length) ? 0 : length;
}

static int
decompress (void **context, const void *data, size_t length, void *block,
            uint32_t block_size)
{
  struct context *own = get_context (context);

  if (own && own->decompressor == NULL)
    own->decompressor = ZSTD_createDCtx ();
  if (own == NULL || own->decompressor == NULL)
    return -1;
  return ZSTD_decompressDCtx (own->decompressor, block, block_size, data,
                              length) == block_size;
}

const struct codec_functions codec_zstd = { compress, decompress,
                                            free_context };
#else
const struct codec_functions codec_zstd = { 0 };
#endif
