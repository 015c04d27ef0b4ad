/* Blocks to data and back: see codec.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "checksum.h"
#include "codec.h"

static bool
all_zero (const char *bytes, size_t length)
{
  return bytes[0] == 0 && memcmp (bytes, bytes + 1, length - 1) == 0;
}

void
codec_encode (const void *block, uint32_t block_size, struct encoded *encoded)
{
  const bool zero = all_zero (block, block_size);

  encoded->codec = zero ? CODEC_ZERO : CODEC_RAW;
  encoded->data = zero ? NULL : block;
  encoded->length = zero ? 0 : block_size;
  encoded->hash = checksum_bytes (encoded->data, encoded->length);
}

int
codec_check (int64_t codec, size_t length, uint32_t block_size,
             struct status *status)
{
  size_t expected;

  switch (codec) {
  case CODEC_ZERO:
    expected = 0;
    break;
  case CODEC_RAW:
    expected = block_size;
    break;
  case CODEC_ZSTD:
  case CODEC_LZ4:
    return status_fail (status, EIO,
                        "the block is compressed (codec %" PRId64 "), which "
                        "this version cannot read; use a newer one",
                        codec);
  default:
    return status_fail (status, EIO,
                        "the row is damaged: there is no codec %" PRId64
                        "; restore the block from a backup",
                        codec);
  }
  if (length != expected)
    return status_fail (status, EIO,
                        "the row is damaged: %zu bytes of data instead of "
                        "%zu; restore the block from a backup",
                        length, expected);
  return 0;
}

void
codec_copy (int64_t codec, const void *data, uint32_t offset, uint32_t count,
            void *buffer)
{
  if (codec == CODEC_ZERO)
    memset (buffer, 0, count);
  else
    memcpy (buffer, (const char *)data + offset, count);
}
