/* How a block's bytes become a row's data and come back.
 *
 * The codec of a row says how its data holds the block.  Blocks are
 * encoded by the thread of the request that writes them, before it waits
 * for the writer.
 */

#ifndef SQLBLOCK_CODEC_H
#define SQLBLOCK_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* The values of block.codec in format 1. */
enum codec {
  CODEC_ZERO = 0, /* all zeroes, no data */
  CODEC_RAW = 1,  /* the bytes as they are */
  CODEC_ZSTD = 2, /* written by later versions */
  CODEC_LZ4 = 3,  /* written by later versions */
};

/* A block ready to be stored. */
struct encoded {
  enum codec codec;
  const void *data; /* NULL for CODEC_ZERO; may point into the block */
  size_t length;    /* of data, in bytes */
  uint64_t hash;    /* checksum_bytes of data */
};

/* Encode BLOCK of BLOCK_SIZE bytes.  ENCODED may refer to BLOCK, which
 * must stay as it is until ENCODED is no longer used.  Thread rules: any
 * thread.
 */
void codec_encode (const void *block, uint32_t block_size,
                   struct encoded *encoded);

/* Check that LENGTH bytes of data can be a block of BLOCK_SIZE bytes under
 * CODEC.  Returns 0, or -1 and EIO.  Thread rules: any thread.
 */
int codec_check (int64_t codec, size_t length, uint32_t block_size,
                 struct status *status);

/* Copy COUNT bytes from byte OFFSET of a block into BUFFER.  CODEC, DATA
 * and its length have passed codec_check.  Thread rules: any thread.
 */
void codec_copy (int64_t codec, const void *data, uint32_t offset,
                 uint32_t count, void *buffer);

#endif /* SQLBLOCK_CODEC_H */
