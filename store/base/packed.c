/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Blocks as they are stored: see packed.h. */

#include <config.h>

#include <endian.h>
#include <string.h>

#include "base/packed.h"
#include "base/types.h"

/* The bits of a codec, and the one of those that says that data with it was
 * encrypted; which codec that is then (block.codec).
 */
#define CODEC_BITS 8
#define ENCRYPTED  (1 << (CODEC_BITS - 1))

static uint32_t
get (const void *head, size_t i)
{
  uint32_t word;

  memcpy (&word, (const char *)head + PACKED_HEAD (i), sizeof word);
  return le32toh (word);
}

void
packed_set (void *head, size_t i, uint32_t codec, uint32_t length)
{
  const uint32_t bits =
      codec < CODEC_ENCRYPTED ? codec : (codec - CODEC_ENCRYPTED) | ENCRYPTED;
  const uint32_t word = htole32 (length << CODEC_BITS | bits);

  memcpy ((char *)head + PACKED_HEAD (i), &word, sizeof word);
}

uint32_t
packed_codec (const void *head, size_t i)
{
  const uint32_t bits = get (head, i) & ((1 << CODEC_BITS) - 1);

  return bits & ENCRYPTED ? (bits & ~ENCRYPTED) + CODEC_ENCRYPTED : bits;
}

uint32_t
packed_length (const void *head, size_t i)
{
  return get (head, i) >> CODEC_BITS;
}

bool
packed_fits (const void *packed, size_t length, size_t count,
             uint32_t block_size)
{
  if (packed == NULL || length < PACKED_HEAD (count))
    return false;
  length -= PACKED_HEAD (count);
  for (size_t i = 0; i < count; i++) {
    const uint32_t size = packed_length (packed, i);
    const uint32_t codec = packed_codec (packed, i);
    const uint32_t added = codec < CODEC_ENCRYPTED ? 0 : PACKED_ADDED;

    if (size > block_size + added || size > length ||
        (codec == 0) != (size == 0))
      return false;
    length -= size;
  }
  return length == 0;
}
