/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* lz4: the default, since writing less makes up for what it takes. */

#include <config.h>

#include "block/codec-parts.h"

#ifdef HAVE_LZ4
#include <lz4.h>
#include <stdbool.h>
#include <stdlib.h>

/* After so many blocks in a row that did not shrink, only each one of so many
 * more that are evenly mixed is tried, and after so many times as many also of
 * those that are less so: the next ones may repeat themselves.
 */
#define IN_VAIN      8
#define LONG_IN_VAIN 64

struct context {
  unsigned in_vain; /* so many blocks in a row did not shrink */
};

/* Is a block to be tried? */
static bool
is_promising (const struct context *context, const void *block,
              uint32_t block_size)
{
  const uint32_t even =
      context->in_vain < LONG_IN_VAIN ? CODEC_EVENLY_MIXED : 3 * CODEC_EVEN;

  return context->in_vain < IN_VAIN || context->in_vain % IN_VAIN == 0 ||
         codec_look_at_sample (block, block_size) >= even;
}

/* lz4 gives up soon, but later than a look at a sample does: ten times where
 * it finds a little now and then.
 */
static size_t
compress (void **context, int level, const void *block, uint32_t block_size,
          void *room, size_t room_size)
{
  struct context *own;
  size_t length = 0;

  (void)level;
  if (*context == NULL)
    *context = calloc (1, sizeof *own);
  own = *context;
  if (own == NULL)
    return 0;
  if (is_promising (own, block, block_size))
    length = LZ4_compress_default (block, room, block_size, room_size);
  own->in_vain = length > 0 ? 0 : own->in_vain + 1;
  return length;
}

static int
decompress (void **context, const void *data, size_t length, void *block,
            uint32_t block_size)
{
  (void)context;
  return LZ4_decompress_safe (data, block, length, block_size) ==
         (int)block_size;
}

const struct codec_functions codec_lz4 = { compress, decompress, free };
#else
const struct codec_functions codec_lz4 = { 0 };
#endif
