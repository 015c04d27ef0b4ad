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

#endif /* SQLBLOCK_BYTES_H */
