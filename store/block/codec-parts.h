/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a codec is: codec.c has the table of them, and each is in a file of its
 * own, codec-NAME.c, the only one that includes its library.
 */

#ifndef SQLBLOCK_CODEC_PARTS_H
#define SQLBLOCK_CODEC_PARTS_H

#include <stddef.h>
#include <stdint.h>

/* What a codec does; all NULL where this program was built without it.
 *
 * *CONTEXT is what it keeps from one block to the next: NULL at first, made
 * when it is needed.  Thread rules: a context is used by one thread at a time.
 */
struct codec_functions {
  /* Compress BLOCK of BLOCK_SIZE bytes into at most ROOM_SIZE bytes, at LEVEL;
   * 0: any.  Returns their number, or 0 where that is not possible or not worth
   * trying.
   */
  size_t (*compress) (void **context, int level, const void *block,
                      uint32_t block_size, void *room, size_t room_size);

  /* Decompress LENGTH bytes of DATA into BLOCK.  Never writes more than
   * BLOCK_SIZE bytes, whatever DATA says.  Returns 1, 0 where it is not a
   * block of this size, or -1 where there is no memory.
   */
  int (*decompress) (void **context, const void *data, size_t length,
                     void *block, uint32_t block_size);

  void (*free_context) (void *context); /* which is not NULL */
};

/* How even is the mix of bytes in a sample of the block?  The sum of the
 * squared counts: about CODEC_EVEN for random, encrypted and compressed data,
 * three times as much for base64, ten times for text.
 */
uint32_t codec_look_at_sample (const unsigned char *block, uint32_t block_size);

/* Bytes of a block that are looked at to tell whether all values are about
 * equally frequent.
 */
#define CODEC_SAMPLE 512
#define CODEC_EVEN   (CODEC_SAMPLE + CODEC_SAMPLE * CODEC_SAMPLE / 256)

/* Below this it is evenly mixed: it shrinks only if it repeats itself. */
#define CODEC_EVENLY_MIXED (5 * CODEC_EVEN / 4)

#endif /* SQLBLOCK_CODEC_PARTS_H */
