/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Blocks as they are stored, one behind the other, on their way from one
 * database to another: nobody between has to know how they are compressed.
 *
 *   32 bits for each block: its codec in the lowest 7 bits (block.codec in
 *           schema.sql, but not 4: its bytes are those of the content), a bit
 *           that is 1 for what was encrypted then, and above them the length of
 *           its data in bytes
 *   the data of each block, in the same order
 *
 * A block of zeroes has codec 0 and no data.  All numbers are little-endian.
 * Where the disk ends inside its last block, that is whole here.
 */

#ifndef SQLBLOCK_PACKED_H
#define SQLBLOCK_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The most bytes of a disk that are packed together. */
#define PACKED_MAX 1048576

/* What stands before the data of COUNT blocks, in bytes. */
#define PACKED_HEAD(count) ((count) * sizeof (uint32_t))

/* The most bytes by which what is stored is longer than its block, as
 * encryption makes it.
 */
#define PACKED_ADDED 44

/* Room for COUNT bytes of a disk whose blocks have BLOCK_SIZE bytes. */
#define PACKED_ROOM(count, block_size)                                         \
  (((count) + (block_size)-1) / (block_size) *                                 \
   ((block_size) + PACKED_ADDED + sizeof (uint32_t)))

/* Say in HEAD what block I is. */
void packed_set (void *head, size_t i, uint32_t codec, uint32_t length);

/* The codec, and the length of the data, of block I. */
uint32_t packed_codec (const void *head, size_t i);
uint32_t packed_length (const void *head, size_t i);

/* Can LENGTH bytes be COUNT blocks of BLOCK_SIZE bytes? */
bool packed_fits (const void *packed, size_t length, size_t count,
                  uint32_t block_size);

#endif /* SQLBLOCK_PACKED_H */
