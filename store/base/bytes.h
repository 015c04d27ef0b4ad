/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Numbers as they stand in SQLite's files: the most significant byte first.
 */

#ifndef SQLBLOCK_BYTES_H
#define SQLBLOCK_BYTES_H

#include <stdint.h>

static inline uint32_t
big_endian (const unsigned char *bytes)
{
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 |
         (uint32_t)bytes[2] << 8 | bytes[3];
}

static inline unsigned
big_endian_16 (const unsigned char *bytes)
{
  return bytes[0] << 8 | bytes[1];
}

static inline void
put_big_endian (unsigned char *bytes, uint32_t value)
{
  for (int i = 4; i > 0; i--, value >>= 8)
    bytes[i - 1] = value;
}

#endif /* SQLBLOCK_BYTES_H */
